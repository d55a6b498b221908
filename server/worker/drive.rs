//! Drives one execution for as long as something of it is out, or there is something to do.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use windlass_engine::{
    Call, Child, Event, INTERRUPTED, Look, OnUncertain, State, StepError, ToolName,
    UnexpectedEvent, Workflow, advance, is_too_deep,
};

use super::{
    DRAIN, SET_ASIDE_MS, Shared, hear,
    leases::{FRESH, Held, Renewal},
    looks, observed,
    permits::{self, Permits},
};
use crate::{
    bell::{Ear, Ring},
    children::{self, Family},
    clock::Moment,
    driver::{HandOver, Kept},
    fault, metrics, revisions,
    store::{self, Claim, Commit, Committed, ExecutionRow, Loaded, NewChild, Signal},
    tool_servers::{self, Failure, MaySend, Outcome, RetryClass},
    trace,
};

/// How often a worker asks what an interrupted call's tool allows before it takes the careful answer.
const LOOKUPS: u32 = 5;

/// When an execution is looked at again that the database did not give out, in milliseconds.
const LOOK_AGAIN_MS: i64 = 1_000;

/// How long something that the database did not do waits before it is asked again, at most.
const COMMIT_BACKOFF: Duration = Duration::from_secs(5);

/// One execution that is driven by this worker.
pub(super) struct Drive {
    shared: Arc<Shared>,
    claim: Claim,
    workflow: Arc<Workflow>,
    state: State,
    family: Family,
    signals_done: i64,
    /// Signals were taken note of that no commit has written yet.
    heard: bool,
    happened: Vec<Event>,
    /// What was seen of tools that are not done, and that the state does not know yet.
    looked: Vec<(String, Look)>,
    to_call: Vec<Call>,
    wake_at: Option<i64>,
    permits: Permits,
    out: JoinSet<(String, Outcome)>,
    cancels: HashMap<String, CancellationToken>,
    /// Whether the execution above knows that a person or a lock is waited for.
    is_held_up: bool,
    /// The executions that were told to stop from here.
    stopped: BTreeSet<String>,
    /// When the lease was last known to hold; calls that wait for their turn look at it too.
    held_at: watch::Sender<Moment>,
    _held: Held,
    /// Where it was handed over, with its row as it was then: those who wait for it trust that the bell will ring.
    kept: Option<(Kept, ExecutionRow)>,
    _driven: metrics::UnderWay,
    renewals: watch::Receiver<Renewal>,
    rings: Ear,
}

/// What a turn writes.
struct Written<'w> {
    events: &'w [Event],
    children: &'w [NewChild],
    cancels: &'w [String],
    looks: &'w [(String, Look)],
}

/// Why a drive ended early.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Revision(#[from] revisions::Error),
    #[error(transparent)]
    History(#[from] UnexpectedEvent),
    #[error("what its interrupted calls allow cannot be asked: {0}")]
    Unreachable(tool_servers::Error),
    #[error("this worker has not the tool servers it was started with, configured the same: {0}")]
    Elsewhere(String),
}

impl From<permits::Error> for Error {
    fn from(err: permits::Error) -> Error {
        match err {
            permits::Error::Store(err) => Error::Store(err),
            permits::Error::History(err) => Error::History(err),
        }
    }
}

/// Drives an execution that was claimed.
pub(super) async fn claimed(shared: Arc<Shared>, claim: Claim, claimed_at: Moment, held: Held) {
    match Drive::from_claim(&shared, claim.clone(), claimed_at, held).await {
        Ok(drive) => drive.run().await,
        Err(err) => set_aside(&shared, &claim, &err).await,
    }
}

/// Leaves an execution to others, who may know more.
async fn set_aside(shared: &Shared, claim: &Claim, err: &Error) {
    let id = &claim.execution_id;
    let mut wake_at = shared.store.now() + SET_ASIDE_MS;
    match err {
        Error::Store(store::Error::Fenced(_)) => {
            metrics::lease_lost();
            tracing::debug!(execution.id = %id, "another worker drives the execution now");
            return;
        }
        Error::Store(err) if err.is_passing() => {
            tracing::warn!(execution.id = %id, "the execution waits for the database: {err}");
            wake_at = shared.store.now() + LOOK_AGAIN_MS;
        }
        Error::Elsewhere(tool_servers) => {
            shared.refuse(id, tool_servers);
            wake_at = shared.store.now();
            tracing::warn!(execution.id = %id, "left to another worker: {err}");
        }
        Error::Unreachable(_) => tracing::warn!(execution.id = %id, "the execution waits: {err}"),
        Error::Store(_) | Error::Revision(_) | Error::History(_) => {
            tracing::error!(execution.id = %id, "the execution cannot be driven: {err}");
        }
    }
    let released = match err {
        // There was nothing to hear when its tools were asked for; what was said meanwhile makes it urgent.
        Error::Unreachable(_) => shared.store.release_unless_told(claim, wake_at).await,
        _ => shared.store.release(claim, wake_at).await,
    };
    if let Err(err) = released {
        tracing::debug!(execution.id = %id, "the lease runs out by itself: {err}");
    }
}

impl Drive {
    /// Goes on where the process that created the execution stopped.
    pub(super) fn from_hand_over(shared: &Arc<Shared>, letter: HandOver, kept: Kept) -> Drive {
        let held = shared.leases.begin(&letter.claim.execution_id);
        let HandOver { claim, row, claimed_at, workflow, state, family, .. } = letter;
        let mut drive = Drive::new(shared, claim, (claimed_at, held), workflow, (state, family), 0);
        drive.kept = Some((kept, row));
        drive.to_call = letter.calls;
        drive.wake_at = letter.wake_at;
        drive
    }

    async fn from_claim(
        shared: &Arc<Shared>,
        claim: Claim,
        claimed_at: Moment,
        held: Held,
    ) -> Result<Drive, Error> {
        let loaded = shared.store.load(&claim).await?;
        if !shared.serves(&loaded.tool_servers) {
            return Err(Error::Elsewhere(loaded.tool_servers));
        }
        let workflow = shared.revisions.read(&loaded.revision, &loaded.document)?;
        let mut state = fold(&shared.store, &workflow, &claim, &loaded).await?;
        looks::keep(&mut state, &workflow, loaded.looks);
        let lease = (claimed_at, held);
        let family = Family {
            root_id: loaded.root_id,
            links: serde_json::from_str(&loaded.links).unwrap_or_default(),
            depth: loaded.depth,
            traceparent: loaded.traceparent,
            requested_by: loaded.requested_by,
        };
        let standing = (state, family);
        let mut drive = Drive::new(shared, claim, lease, workflow, standing, loaded.signals_done);
        shared.adopt(
            drive
                .state
                .running_steps()
                .into_iter()
                .filter_map(|step| drive.state.step(step)?.child.as_deref()),
        );
        drive.happened = drive.interrupted(!loaded.signals.is_empty()).await?;
        if !drive.happened.is_empty() {
            metrics::took_over();
        }
        drive.hear(loaded.signals);
        Ok(drive)
    }

    fn new(
        shared: &Arc<Shared>,
        claim: Claim,
        (held_at, held): (Moment, Held),
        workflow: Arc<Workflow>,
        (mut state, family): (State, Family),
        signals_done: i64,
    ) -> Drive {
        let permits = Permits::new(shared, &workflow, &mut state);
        let due = Ring::Due(claim.execution_id.as_str().into());
        Drive {
            shared: Arc::clone(shared),
            is_held_up: state.is_held_up(),
            claim,
            workflow,
            state,
            family,
            signals_done,
            heard: false,
            happened: Vec::new(),
            looked: Vec::new(),
            to_call: Vec::new(),
            wake_at: None,
            permits,
            out: JoinSet::new(),
            cancels: HashMap::new(),
            stopped: BTreeSet::new(),
            held_at: watch::Sender::new(held_at),
            _held: held,
            kept: None,
            _driven: metrics::driven(),
            renewals: shared.leases.listen(),
            rings: shared.bell.listen_for(due),
        }
    }

    /// Drives until nothing is out and nothing is to do.
    pub(super) async fn run(mut self) {
        let ended = self.go_on().await;
        if let Err(err) = ended {
            // What is out is cancelled with the tasks: whoever drives now decides about it.
            self.out.shutdown().await;
            set_aside(&self.shared, &self.claim, &err).await;
        }
    }

    async fn go_on(&mut self) -> Result<(), Error> {
        let calls = mem::take(&mut self.to_call);
        let is_handed_over = !calls.is_empty();
        self.call(calls).await?;
        // What is not wanted any more of what began with the execution is told so.
        if is_handed_over && self.turn().await? {
            return Ok(());
        }
        if self.claim.due.contains(&self.claim.execution_id) {
            self.listen().await?;
        }
        loop {
            let due = self.wake_at.is_some_and(|at| at <= self.shared.store.now());
            let changed = self.heard
                || self.permits.is_rung
                || !self.happened.is_empty()
                || !self.looked.is_empty();
            if (changed || due || self.out.is_empty()) && self.turn().await? {
                return Ok(());
            }
            if self.wait().await? {
                return self.hand_back().await;
            }
        }
    }

    /// Decides, commits, acts. Whether the lease was given back: there is nothing left to do here.
    async fn turn(&mut self) -> Result<bool, Error> {
        let now = self.shared.store.now();
        let (mut happened, looked) = (mem::take(&mut self.happened), mem::take(&mut self.looked));
        happened.extend(looks::begun(&mut self.state, &self.workflow, &looked));
        let id = self.claim.execution_id.clone();
        let mut turn = advance(&self.workflow, &mut self.state, &id, happened, now)?;
        let standing = (&*self.workflow, &mut self.state);
        self.permits.go_on(&self.shared, &self.claim, standing, &mut turn, now).await?;
        let looks = looks::keep(&mut self.state, &self.workflow, looked);
        let release = self.out.is_empty() && turn.calls.is_empty() && !turn.is_unfinished;
        self.wake_at = self.permits.wake_at(turn.wake_at);
        let children = self.prepare(&turn.children, now).await?;
        let stops = self.to_stop(&turn.cancels);
        let is_news = !turn.events.is_empty() || !stops.is_empty() || !looks.is_empty();
        if release || self.heard || is_news {
            let written = Written {
                events: &turn.events,
                children: &children,
                cancels: &stops,
                looks: &looks,
            };
            self.commit(written, now, release).await?;
        }
        self.stopped.extend(stops);
        self.call(turn.calls).await?;
        // Also one that begins in this very turn: its race may be decided already.
        for step in &turn.cancels {
            if let Some(cancel) = self.cancels.get(step) {
                cancel.cancel();
            }
        }
        Ok(release)
    }

    async fn prepare(&self, children: &[Child], at: i64) -> Result<Vec<NewChild>, Error> {
        let Shared { store, revisions, .. } = &*self.shared;
        let prepared = patiently(&self.shared, || async {
            match children::prepare(store, revisions, &self.family, children, at).await {
                Err(revisions::Error::Store(err)) => Err(err),
                prepared => Ok(prepared),
            }
        });
        Ok(prepared.await??)
    }

    /// The executions that some steps are and that were not told to stop yet.
    fn to_stop(&self, steps: &[String]) -> Vec<String> {
        let children = steps.iter().filter_map(|step| self.state.step(step)?.child.clone());
        children.filter(|child| !self.stopped.contains(child)).collect()
    }

    /// Writes a turn; sends it again for as long as the database does not take it.
    async fn commit(&mut self, written: Written<'_>, at: i64, release: bool) -> Result<(), Error> {
        let Written { events, children, cancels, looks } = written;
        let is_held_up = self.state.is_held_up();
        let commit = Commit {
            workflow: &self.workflow,
            state: &self.state,
            events,
            children,
            cancels,
            looks,
            held_up: (is_held_up != self.is_held_up).then_some(is_held_up),
            at,
            signals_done: self.signals_done,
            wake_at: self.wake_at,
            release,
        };
        fault::point("before_commit");
        if release {
            fault::point("before_release");
        }
        let span = trace::commit(&self.family, &self.claim.execution_id);
        let committed =
            patiently(&self.shared, || self.shared.store.commit(&self.claim, &commit)).await;
        observed::committed(span, events, &committed);
        let Committed { last_seq, signals_in, due } = committed?;
        fault::point("after_commit");
        let id = &self.claim.execution_id;
        observed::turned(&self.family, id, &self.workflow, &self.state, events, children);
        self.claim.last_seq = last_seq;
        self.heard = false;
        self.is_held_up = is_held_up;
        self.shared.adopt(children.iter().map(|child| child.execution_id.as_str()));
        for other in due.iter().filter(|other| **other != self.claim.execution_id) {
            self.shared.bell.ring(Ring::Due(other.as_str().into()));
        }
        let id: Arc<str> = self.claim.execution_id.as_str().into();
        self.shared.bell.ring(Ring::Moved(Arc::clone(&id)));
        if release || self.state.status.is_final() {
            // Before it rings: who comes later looks.
            let kept = self.kept.take();
            if let Some((kept, row)) = kept.filter(|_| self.state.status.is_final())
                // It has just been written as the same text.
                && let Ok(row) = row.ended(&commit, last_seq)
            {
                kept.ended(row);
            }
            self.shared.bell.ring(Ring::Settled(Arc::clone(&id)));
        }
        if release {
            self.shared.wake(self.wake_at);
            self.permits.left_alone(&self.shared, &self.claim.execution_id).await;
        }
        if self.state.status.is_final() {
            self.shared.dismiss(&self.claim.execution_id);
        }
        if self.signals_done < signals_in {
            self.shared.bell.heard(Ring::Due(id));
        }
        Ok(())
    }

    /// Lets calls go out, each in a task of its own; none while the lease may have run out.
    async fn call(&mut self, calls: Vec<Call>) -> Result<(), Error> {
        if !calls.is_empty() {
            self.make_sure_of_the_lease().await?;
        }
        for call in calls {
            let cancel = CancellationToken::new();
            self.cancels.insert(call.step.clone(), cancel.clone());
            let step = call.step.clone();
            let now = self.shared.store.now();
            if call.deadline.is_some_and(|deadline| deadline <= now) {
                // The database took that long. A call without time would be sent only to be lost.
                self.out.spawn(async move { (step, too_late()) });
                continue;
            }
            let secrets = call.secrets.clone();
            let mut call = self.address(call, cancel);
            let id = &self.claim.execution_id;
            let span = observed::sent(&self.family, id, &step, &mut call);
            let outgoing = self.shared.outgoing.clone();
            let root_id = self.family.root_id.clone();
            self.out.spawn(async move {
                fault::point("before_call");
                let outgoing = outgoing.call(&root_id, call, &secrets, &|_| {});
                let outcome = AssertUnwindSafe(outgoing).catch_unwind().await;
                fault::point("after_call");
                let outcome = outcome.unwrap_or_else(|_| panicked());
                observed::answered(span, &outcome);
                (step, outcome)
            });
        }
        Ok(())
    }

    fn address(&self, call: Call, cancel: CancellationToken) -> tool_servers::Call {
        let left = call.deadline.map(|deadline| deadline - self.shared.store.now());
        let left = left.map_or(self.shared.settings.call_timeout_ms, |left| {
            u64::try_from(left).unwrap_or_default()
        });
        tool_servers::Call {
            params: serde_json::Value::clone(&call.params),
            idempotency_key: call.idempotency_key,
            attempt: call.call,
            first_started_at: call.first_started_at,
            timeout: Duration::from_millis(left),
            cancel,
            may_send: Some(self.lease_holds()),
            inspect: Some(self.shared.pins.inspect(&self.workflow, &call.tool)),
            traceparent: None,
            tracestate: None,
            tool: call.tool,
        }
    }

    /// Whether the lease is known to hold, asked at the last moment before a call goes out: it may have waited long.
    fn lease_holds(&self) -> MaySend {
        let (held_at, presence) = (self.held_at.subscribe(), self.shared.presence.clone());
        Arc::new(move || {
            let (held_at, presence) = (held_at.clone(), presence.clone());
            Box::pin(async move {
                let is_known = presence.is_known().await;
                let held_at = *held_at.borrow();
                is_known && held_at.elapsed() < FRESH && !presence.may_have_ended(held_at)
            })
        })
    }

    /// Renews a lease that may have run out, or that somebody may have ended who did not see this worker live.
    async fn make_sure_of_the_lease(&mut self) -> Result<(), Error> {
        self.shared.presence.regained().await;
        let held_at = *self.held_at.borrow();
        if FRESH <= held_at.elapsed() || self.shared.presence.may_have_ended(held_at) {
            self.renew().await?;
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), Error> {
        let id = &self.claim.execution_id;
        let (sent, held) = patiently(&self.shared, || async {
            // Counted from before the renewal that was answered, not from the first that was tried.
            let sent = Moment::now();
            let held = self.shared.store.renew_one(&self.shared.id, id).await?;
            Ok((sent, held))
        })
        .await?;
        match held {
            Some((epoch, _)) if self.claim.is_epoch(epoch) => {
                self.held_at.send_replace(sent);
                Ok(())
            }
            Some(_) | None => Err(store::Error::Fenced(id.clone()).into()),
        }
    }

    /// Waits for the next thing to happen; whether it was that this worker is to stop.
    async fn wait(&mut self) -> Result<bool, Error> {
        let stop = self.shared.stop.clone();
        tokio::select! {
            Some(ended) = self.out.join_next() => {
                self.note(ended);
                // What came home at the same time shares the commit.
                while let Some(ended) = self.out.try_join_next() {
                    self.note(ended);
                }
            }
            () = self.rings.rung() => {
                self.permits.is_rung = self.permits.waits;
                self.listen().await?;
            }
            changed = self.renewals.changed() => {
                if changed.is_ok() {
                    self.check_lease().await?;
                }
            }
            () = until(&self.shared.store, self.wake_at) => {}
            () = stop.cancelled() => return Ok(true),
        }
        Ok(false)
    }

    /// Reads the signals that came in.
    async fn listen(&mut self) -> Result<(), Error> {
        match self.shared.store.signals(&self.claim.execution_id, self.signals_done).await {
            Ok(signals) => self.hear(signals),
            // The row's count remembers them: the next commit or renewal asks again.
            Err(err) if err.is_passing() => tracing::debug!("signals could not be read: {err}"),
            Err(err) => return Err(err.into()),
        }
        Ok(())
    }

    fn hear(&mut self, mut signals: Vec<(i64, Signal)>) {
        hear::put_in_order(&self.state, &mut signals);
        for (number, signal) in signals {
            self.signals_done = self.signals_done.max(number);
            self.heard = true;
            let now = self.shared.store.now();
            let event = hear::event(&self.workflow, &self.state, &self.happened, signal, now);
            self.happened.extend(event);
        }
    }

    async fn check_lease(&mut self) -> Result<(), Error> {
        let renewal = self.renewals.borrow_and_update().clone();
        let id = &self.claim.execution_id;
        match renewal.held.get(id) {
            Some((epoch, signals_in)) if self.claim.is_epoch(*epoch) => {
                self.held_at.send_replace(renewal.sent);
                if self.signals_done < *signals_in { self.listen().await } else { Ok(()) }
            }
            Some(_) => Err(store::Error::Fenced(id.clone()).into()),
            // Its row was just being written, or the lease is lost, or the renewal was on its way before
            // this claim existed: asked for itself, it is one or the other.
            None if renewal.sent.elapsed() < self.held_at.borrow().elapsed() => self.renew().await,
            None => Ok(()),
        }
    }

    fn note(&mut self, ended: Result<(String, Outcome), tokio::task::JoinError>) {
        // Tasks catch their own panics, and are aborted only together with this drive.
        let Ok((step, outcome)) = ended else { return };
        self.cancels.remove(&step);
        self.permits.came_home(&step);
        let says_so = self.says_repeatable(&step);
        if let Outcome::NotDone(said) = &outcome {
            let look = looks::look(&self.state, &step, said, self.shared.store.now());
            self.looked.push((step, look));
            return;
        }
        self.happened.push(match outcome {
            Outcome::Uncertain { failure, .. } if says_so => {
                event(step, Outcome::Uncertain { failure, repeatable: true })
            }
            outcome => event(step, outcome),
        });
    }

    /// Lets what is out come home within a bound, and leaves the rest to the next worker.
    async fn hand_back(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + DRAIN;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.out.join_next()).await {
            self.note(ended);
        }
        // Nothing of it may still act when the lease is given back.
        self.out.shutdown().await;
        let now = self.shared.store.now();
        let (mut events, looked) = (mem::take(&mut self.happened), mem::take(&mut self.looked));
        events.extend(looks::begun(&mut self.state, &self.workflow, &looked));
        for event in &events {
            self.state.apply(&self.workflow, event, now)?;
        }
        let looks = looks::keep(&mut self.state, &self.workflow, looked);
        self.wake_at = Some(now);
        self.permits.give_back(&self.shared, &self.claim).await?;
        let written = Written { events: &events, children: &[], cancels: &[], looks: &looks };
        self.commit(written, now, true).await
    }

    /// What to make of calls that were out when the process that made them ended.
    ///
    /// A tool server that does not answer now may answer later, so that nobody has to be asked; unless somebody has
    /// already said something, which must not wait for it.
    async fn interrupted(&self, is_urgent: bool) -> Result<Vec<Event>, Error> {
        let steps = self.state.running_steps();
        let questions = steps.into_iter().filter_map(|name| {
            // What another execution does is interrupted by nobody's end.
            let tool = self.workflow.tool_at(name)?;
            let says_so = self.says_repeatable(name);
            Some(async move {
                let answer = if says_so { Ok(true) } else { self.is_repeatable(tool).await };
                let repeatable = match answer {
                    Err(err) if !is_urgent => return Err(Error::Unreachable(err)),
                    // Nobody can say that it is harmless, so a person has to.
                    Err(_) => false,
                    Ok(repeatable) => repeatable,
                };
                let message = "the process that made the call ended before the answer was recorded";
                let error = StepError {
                    code: INTERRUPTED.to_owned(),
                    message: message.to_owned(),
                    retryable: None,
                    retry_after_ms: None,
                };
                Ok(Event::AttemptUncertain { step: name.to_owned(), error, repeatable })
            })
        });
        futures::future::try_join_all(questions).await
    }

    /// Whether the author says that a call is harmless to repeat, whatever its tool says.
    fn says_repeatable(&self, path: &str) -> bool {
        let is_own = !path.ends_with(".verify") && !path.ends_with(".undo");
        let step = self.workflow.step_at(path).filter(|_| is_own);
        step.is_some_and(|step| step.on_uncertain == OnUncertain::Retry)
    }

    async fn is_repeatable(&self, tool: &ToolName) -> Result<bool, tool_servers::Error> {
        for attempt in 1..LOOKUPS {
            match self.shared.tool_servers.tool(tool).await {
                Err(tool_servers::Error::Unreachable { .. }) => {
                    tokio::time::sleep(Duration::from_millis(250) * 2u32.pow(attempt)).await;
                }
                answer => return is_harmless(answer),
            }
        }
        is_harmless(self.shared.tool_servers.tool(tool).await)
    }
}

fn is_harmless(
    answer: Result<tool_servers::ToolInfo, tool_servers::Error>,
) -> Result<bool, tool_servers::Error> {
    match answer {
        Ok(tool) => Ok(tool.retry_class != RetryClass::Unsafe),
        Err(err @ tool_servers::Error::Unreachable { .. }) => Err(err),
        // A tool that is not there any more says nothing for itself.
        Err(_) => Ok(false),
    }
}

async fn fold(
    store: &store::Store,
    workflow: &Workflow,
    claim: &Claim,
    loaded: &Loaded,
) -> Result<State, Error> {
    let mut state = State::new(workflow, &claim.execution_id, &loaded.requested_by);
    let take = |at, event: Event| Ok::<(), Error>(state.replay(workflow, &event, at)?);
    store.replay(&claim.execution_id, take).await?;
    Ok(state)
}

fn event(step: String, outcome: Outcome) -> Event {
    match outcome {
        // What is nested deeper than any history is read would be lost.
        Outcome::Succeeded(output) if is_too_deep(&output) => {
            Event::AttemptFailed { step, error: super::too_deep() }
        }
        Outcome::Succeeded(output) | Outcome::NotDone(output) => {
            Event::AttemptSucceeded { step, output }
        }
        // It was not made, so making it is no repetition; a lease that is lost is noticed by the commit.
        Outcome::Failed(failure) if failure.code == "lease_lost" => {
            let error = StepError { code: INTERRUPTED.to_owned(), ..step_error(failure) };
            Event::AttemptUncertain { step, error, repeatable: true }
        }
        Outcome::Failed(failure) => Event::AttemptFailed { step, error: step_error(failure) },
        // Harmless to repeat, so it simply took too long: `retry` decides.
        Outcome::Uncertain { failure, repeatable: true } if failure.code == "timeout" => {
            Event::AttemptFailed { step, error: step_error(failure) }
        }
        Outcome::Uncertain { failure, repeatable } => {
            Event::AttemptUncertain { step, error: step_error(failure), repeatable }
        }
    }
}

fn step_error(failure: Failure) -> StepError {
    let Failure { code, message, retryable, retry_after_ms } = failure;
    StepError { code, message, retryable, retry_after_ms }
}

fn too_late() -> Outcome {
    Outcome::Failed(Failure {
        code: "timeout".to_owned(),
        message: "the time was over before the call could go out; it was not made".to_owned(),
        retryable: None,
        retry_after_ms: None,
    })
}

fn panicked() -> Outcome {
    let failure = Failure {
        code: "internal".to_owned(),
        message: "Windlass failed while it made the call; its log says more".to_owned(),
        retryable: None,
        retry_after_ms: None,
    };
    Outcome::Uncertain { failure, repeatable: false }
}

/// A database that is gone, full or locked keeps nothing from being done: what it is asked is asked again.
/// A worker that is to stop asks for a bounded time.
pub(super) async fn patiently<T, F>(shared: &Shared, ask: impl Fn() -> F) -> Result<T, store::Error>
where
    F: Future<Output = Result<T, store::Error>>,
{
    let mut delay = Duration::from_millis(50);
    let mut give_up = None;
    loop {
        let err = match ask().await {
            Err(err) if err.is_passing() => err,
            other => return other,
        };
        if shared.stop.is_cancelled() {
            let give_up = *give_up.get_or_insert_with(|| Instant::now() + COMMIT_BACKOFF);
            if give_up <= Instant::now() {
                return Err(err);
            }
        }
        tracing::warn!("the database is asked again in {} ms: {err}", delay.as_millis());
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(COMMIT_BACKOFF);
    }
}

async fn until(store: &store::Store, at: Option<i64>) {
    match at {
        None => std::future::pending().await,
        Some(at) => {
            let left = u64::try_from(at - store.now()).unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
    }
}
