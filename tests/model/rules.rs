//! What each action does: the statements of the store, and what a worker makes of their answers.

use crate::{
    Mistakes,
    action::{Action, Said},
    workflow::{Event, State, Status, Unexpected, Word},
    world::{
        Budget, Drive, FRESH, Key, LEASE, Lock, Out, Pending, Renewal, Row, Signal, Wake, World,
        Written,
    },
};

/// What an action leads to, and what the database says.
#[must_use]
pub fn step(mistakes: Mistakes, world: &World, action: Action) -> (World, Said) {
    let mut next = world.clone();
    let said = act(mistakes, &mut next, action).unwrap_or_else(|Unexpected(_)| {
        next.is_nonsense = true;
        Said::Nothing
    });
    (next, said)
}

fn act(mistakes: Mistakes, world: &mut World, action: Action) -> Result<Said, Unexpected> {
    match action {
        Action::Claim { worker, execution, is_lost } => {
            return Ok(claim(world, worker, execution, is_lost));
        }
        Action::Load(key) => return load(mistakes, world, key),
        Action::Listen(key) => {
            let row = world.row(key.execution).clone();
            hear(mistakes, drive(world, key), &row);
        }
        Action::Turn(key) => turn(mistakes, drive(world, key))?,
        Action::Commit { key, is_lost } => {
            world.left.losses -= u8::from(is_lost);
            return Ok(commit(mistakes, world, key, is_lost));
        }
        Action::Group { worker, is_lost } => {
            world.left.losses -= u8::from(is_lost);
            let keys = members(world, worker);
            let said = keys.into_iter().map(|key| (key, commit(mistakes, world, key, is_lost)));
            return Ok(Said::Group(said.collect()));
        }
        Action::Renew(key) => return Ok(renew(world, key)),
        Action::Renewed(key) => renewed(mistakes, world, key),
        Action::Send { key, is_done } => {
            world.left.failures -= u8::from(!is_done);
            world.rows[usize::from(key.execution)].effects += u8::from(is_done);
            drive(world, key).call = Out::Sent { is_done };
        }
        Action::HoldBack(key) => {
            world.left.held_back -= 1;
            home(drive(world, key), Event::AttemptUncertain { repeatable: true });
        }
        Action::Answer(key) => {
            let drive = drive(world, key);
            let is_done = drive.call == Out::Sent { is_done: true };
            home(drive, if is_done { Event::AttemptSucceeded } else { Event::AttemptFailed });
        }
        Action::SetAside(key) => set_aside(world, key),
        Action::HandBack(key) => hand_back(world, key)?,
        Action::Tell { execution, word } => return Ok(tell(world, execution, word)),
        Action::Resolve { execution, generation, resolution } => {
            let row = world.row(execution);
            let second = row.signals.iter().any(
                |signal| matches!(signal, Signal::Resolve { generation: of, .. } if *of == generation),
            );
            world.left.opinions -= u8::from(second);
            return Ok(signal(world, execution, Signal::Resolve { generation, resolution }));
        }
        Action::Pause { execution } => {
            world.left.pauses -= 1;
            return Ok(signal(world, execution, Signal::Pause));
        }
        Action::Resume { execution } => return Ok(signal(world, execution, Signal::Resume)),
        Action::Reopen { execution } => return Ok(reopen(mistakes, world, execution)),
        Action::Tick => tick(world),
        Action::Expire { name } => expire(world, name),
        Action::Lose { .. }
        | Action::Regain { .. }
        | Action::Freeze { .. }
        | Action::Thaw { .. }
        | Action::Crash { .. } => befall(mistakes, world, action),
    }
    Ok(Said::Nothing)
}

/// What befalls a worker.
fn befall(mistakes: Mistakes, world: &mut World, action: Action) {
    let Budget { crashes, freezes, absences, .. } = &mut world.left;
    match action {
        Action::Lose { worker } => {
            *absences -= 1;
            world.workers[usize::from(worker)].lock = Lock::Missing;
        }
        Action::Regain { worker } => {
            world.workers[usize::from(worker)].lock = Lock::Held;
            if !mistakes.present_without_renewal {
                // What was known of its leases is from before: anybody may have ended them.
                for drive in world.drives.iter_mut().filter(|drive| drive.worker == worker) {
                    drive.age = FRESH;
                    drive.renewal = None;
                }
            }
        }
        Action::Freeze { worker } => {
            *freezes -= 1;
            world.workers[usize::from(worker)].is_frozen = true;
        }
        Action::Thaw { worker } => world.workers[usize::from(worker)].is_frozen = false,
        Action::Crash { worker } => {
            *crashes -= 1;
            let many = u8::try_from(world.workers.len()).unwrap_or(u8::MAX);
            let dead = &mut world.workers[usize::from(worker)];
            dead.name += many;
            (dead.is_frozen, dead.lock) = (false, Lock::Held);
            world.drives.retain(|drive| drive.worker != worker);
        }
        _ => {}
    }
}

fn expire(world: &mut World, name: u8) {
    for row in world.rows.iter_mut().filter(|row| row.owner == Some(name)) {
        row.lease = 0;
    }
    for worker in world.workers.iter_mut().filter(|worker| worker.name == name) {
        worker.lock = Lock::Forgotten;
    }
}

fn claim(world: &mut World, worker: u8, execution: u8, is_lost: bool) -> Said {
    let name = world.worker(worker).name;
    let row = &mut world.rows[usize::from(execution)];
    row.owner = Some(name);
    row.lease = LEASE;
    row.epoch += 1;
    let (key, last_seq) = (Key { execution, epoch: row.epoch }, row.last_seq);
    if is_lost {
        world.left.losses -= 1;
    } else {
        world.drives.push(Drive {
            key,
            worker,
            last_seq,
            state: None,
            signals_done: 0,
            heard: false,
            happened: Vec::new(),
            pending: None,
            call: Out::Nothing,
            age: 0,
            renewal: None,
        });
    }
    Said::Claimed { key, last_seq }
}

fn load(mistakes: Mistakes, world: &mut World, key: Key) -> Result<Said, Unexpected> {
    let row = world.row(key.execution).clone();
    if row.epoch != key.epoch {
        world.drives.retain(|drive| drive.key != key);
        return Ok(Said::Fenced);
    }
    let state = State::of(row.history())?;
    let drive = drive(world, key);
    drive.state = Some(state);
    drive.signals_done = row.signals_done;
    if state.is_running() {
        // Whoever made the call is gone, and nobody can say what became of it.
        drive.happened.push(Event::AttemptUncertain { repeatable: false });
    }
    hear(mistakes, drive, &row);
    Ok(Said::Loaded { unread: row.signals_in() - row.signals_done })
}

fn hear(mistakes: Mistakes, drive: &mut Drive, row: &Row) {
    let mut unread = row.signals[usize::from(drive.signals_done)..].to_vec();
    drive.heard |= !unread.is_empty();
    let state = drive.state.unwrap_or_default();
    if state.status.is_final() && !mistakes.too_late_for_ever {
        // What was said before it ended, and was not heard, is heard when it goes on.
        unread.sort_by_key(|signal| matches!(signal, Signal::Event(_)));
    }
    for signal in unread {
        let event = heard(state, &drive.happened, signal);
        drive.happened.extend(event);
    }
    drive.signals_done = row.signals_in();
}

/// What a word means for what is known; nothing where it comes too late.
fn heard(state: State, happened: &[Event], signal: Signal) -> Option<Event> {
    let goes_on = happened.contains(&Event::ExecutionRetried);
    if state.status.is_final() && !goes_on {
        let is_meant = signal == Signal::Retry && state.status == Status::Failed;
        return is_meant.then_some(Event::ExecutionRetried);
    }
    let pauses = happened.iter().rev().find_map(|event| match event {
        Event::ExecutionPaused => Some(true),
        Event::ExecutionResumed => Some(false),
        _ => None,
    });
    let is_paused = pauses.unwrap_or(state.is_paused());
    match signal {
        Signal::Event(word) => Some(Event::EventReceived(word)),
        Signal::Resolve { generation, resolution } => {
            let is_meant = state.is_uncertain() && state.generation == generation;
            let is_first = !happened.iter().any(|event| matches!(event, Event::StepResolved(_)));
            (is_meant && is_first).then_some(Event::StepResolved(resolution))
        }
        Signal::Pause => (!is_paused).then_some(Event::ExecutionPaused),
        Signal::Resume => is_paused.then_some(Event::ExecutionResumed),
        Signal::Retry => None,
    }
}

fn turn(mistakes: Mistakes, drive: &mut Drive) -> Result<(), Unexpected> {
    let mut state = drive.state.unwrap_or_default();
    let turn = state.advance(std::mem::take(&mut drive.happened), mistakes.goes_on_in_pause)?;
    drive.state = Some(state);
    let release = drive.call == Out::Nothing && !turn.calls;
    if release || drive.heard || !turn.events.is_empty() {
        let (events, calls) = (turn.events, turn.calls);
        drive.pending = Some(Pending { events, release, wake: Wake::Far, calls, was_sent: false });
    }
    Ok(())
}

/// What the worker tells the tool to forget is the next worker's to find.
fn hand_back(world: &mut World, key: Key) -> Result<(), Unexpected> {
    world.left.hand_backs -= 1;
    let drive = drive(world, key);
    drive.call = Out::Nothing;
    let events = std::mem::take(&mut drive.happened);
    let mut state = drive.state.unwrap_or_default();
    for event in &events {
        state.apply(*event)?;
    }
    drive.state = Some(state);
    drive.pending =
        Some(Pending { events, release: true, wake: Wake::Due, calls: false, was_sent: false });
    Ok(())
}

/// The claims whose turns one worker can write together.
pub fn members(world: &World, worker: u8) -> Vec<Key> {
    let waiting =
        world.drives.iter().filter(|drive| drive.worker == worker && drive.pending.is_some());
    waiting.map(|drive| drive.key).collect()
}

fn commit(mistakes: Mistakes, world: &mut World, key: Key, is_lost: bool) -> Said {
    let at = world.drives.iter().position(|drive| drive.key == key);
    let Some(drive) = at.map(|at| &mut world.drives[at]) else { return Said::Nothing };
    let Some(pending) = drive.pending.as_mut() else { return Said::Nothing };
    let row = &mut world.rows[usize::from(key.execution)];
    let said =
        write(mistakes, row, key, (drive.last_seq, drive.signals_done), drive.state, pending);
    pending.was_sent = true;
    if is_lost {
        return said;
    }
    let Said::Committed(last_seq, _) = said else {
        world.drives.retain(|drive| drive.key != key);
        return said;
    };
    let is_over = pending.release || drive.state.is_some_and(|state| state.status.is_final());
    drive.last_seq = last_seq;
    drive.heard = false;
    if pending.calls {
        drive.call = Out::Ready;
    }
    drive.pending = None;
    if is_over {
        world.drives.retain(|drive| drive.key != key);
    }
    said
}

/// The one statement that matters. (Numbers of events are compared so that a turn is written once.)
fn write(
    mistakes: Mistakes,
    row: &mut Row,
    key: Key,
    (known, signals_done): (u8, u8),
    state: Option<State>,
    pending: &Pending,
) -> Said {
    let state = state.unwrap_or_default();
    let count = u8::try_from(pending.events.len()).unwrap_or(u8::MAX);
    let last_seq = known + count;
    let holds = mistakes.no_fence || row.epoch == key.epoch;
    if !holds || (row.last_seq != known && !mistakes.numbers_not_compared) {
        // It may have been written although the answer was lost.
        let is_known = holds && row.last_seq == last_seq && 0 < count;
        return if is_known { Said::Committed(last_seq, row.signals_in()) } else { Said::Fenced };
    }
    let is_stale = row.epoch != key.epoch;
    for (seq, event) in (known + 1..).zip(pending.events.iter().copied()) {
        row.written.push(Written { seq, event, epoch: key.epoch, is_stale });
    }
    row.status = state.status;
    row.last_seq = last_seq;
    row.signals_done = signals_done;
    let ended = state.status.is_final();
    row.wake = if ended {
        Wake::Far
    } else if signals_done < row.signals_in() && !mistakes.signals_forgotten {
        Wake::Due
    } else if pending.release {
        pending.wake
    } else {
        // While the lease is held the row stays due, so that whoever finds the lease run out goes on.
        Wake::Due
    };
    if pending.release || ended {
        row.owner = None;
        row.lease = 0;
    } else {
        row.lease = LEASE;
    }
    Said::Committed(last_seq, row.signals_in())
}

fn renew(world: &mut World, key: Key) -> Said {
    let drive = world.drive(key);
    let needs_it = drive.is_some_and(needs_renewal);
    let name = drive.map(|drive| world.worker(drive.worker).name);
    world.left.renewals -= u8::from(!needs_it);
    let row = &mut world.rows[usize::from(key.execution)];
    let is_owner = row.owner.is_some() && row.owner == name;
    let said = is_owner.then_some((row.epoch, row.signals_in()));
    if is_owner {
        row.lease = LEASE;
    }
    let holds = is_owner && row.epoch == key.epoch;
    self::drive(world, key).renewal = Some(Renewal { age: 0, holds });
    Said::Renewed(said)
}

/// Whether a call waits that may not go out before the lease is known to hold.
pub fn needs_renewal(drive: &Drive) -> bool {
    drive.call == Out::Ready && FRESH <= drive.age
}

fn renewed(mistakes: Mistakes, world: &mut World, key: Key) {
    let drive = drive(world, key);
    let Some(renewal) = drive.renewal.take() else { return };
    if renewal.holds {
        // From before it was sent: an answer that took long makes no lease longer.
        drive.age = if mistakes.renewed_from_answer { 0 } else { renewal.age };
    } else {
        world.drives.retain(|drive| drive.key != key);
    }
}

fn home(drive: &mut Drive, event: Event) {
    drive.call = Out::Nothing;
    drive.happened.push(event);
}

fn set_aside(world: &mut World, key: Key) {
    world.left.set_asides -= 1;
    world.drives.retain(|drive| drive.key != key);
    let row = &mut world.rows[usize::from(key.execution)];
    if row.epoch == key.epoch && !row.status.is_final() {
        row.owner = None;
        row.lease = 0;
        row.wake = Wake::Soon;
    }
}

fn tell(world: &mut World, execution: u8, word: Word) -> Said {
    match word {
        Word::Go => world.rows[usize::from(execution)].told = true,
        Word::Noise => world.left.noise -= 1,
    }
    signal(world, execution, Signal::Event(word))
}

/// The count on the row and the signal are one transaction.
fn signal(world: &mut World, execution: u8, signal: Signal) -> Said {
    let row = &mut world.rows[usize::from(execution)];
    if row.status.is_final() {
        return Said::Told(false);
    }
    row.signals.push(signal);
    row.wake = Wake::Due;
    Said::Told(true)
}

/// The row that says so and the word for whoever drives it are one transaction. That it still says so is what makes it
/// happen once.
fn reopen(mistakes: Mistakes, world: &mut World, execution: u8) -> Said {
    world.left.reopenings -= 1;
    let row = &mut world.rows[usize::from(execution)];
    if row.status != Status::Failed && !mistakes.reopened_unseen {
        return Said::Told(false);
    }
    row.status = Status::Running;
    row.wake = Wake::Due;
    row.signals.push(Signal::Retry);
    // Who was told that it had ended says it again.
    row.told = row.signals.contains(&Signal::Event(Word::Go));
    Said::Told(true)
}

fn tick(world: &mut World) {
    world.left.ticks = world.left.ticks.saturating_sub(1);
    for row in &mut world.rows {
        row.lease = row.lease.saturating_sub(1);
        if row.wake == Wake::Soon {
            row.wake = Wake::Due;
        }
    }
    for drive in &mut world.drives {
        drive.age = FRESH.min(drive.age + 1);
        if let Some(renewal) = &mut drive.renewal {
            renewal.age = FRESH.min(renewal.age + 1);
        }
    }
}

fn drive(world: &mut World, key: Key) -> &mut Drive {
    let found = world.drives.iter_mut().find(|drive| drive.key == key);
    found.expect("an action names only drives that exist")
}
