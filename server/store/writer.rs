//! Group commit: turns that wait while others are being written share one transaction.
//!
//! A turn that comes when nothing is under way is written at once, with those that the tasks which are ready bring along:
//! a group costs the database about as much as three turns before there is any turn in it. How many are worth waiting for
//! is told by the groups so far ([`Pace`]). Where turns come one by one nobody else is expected: each time that the tasks
//! which are ready go first wakes another thread, and a lone execution waits for every one of its turns. A turn that is not
//! written with its group, because its claim was lost or because the group failed, is handed back: whoever brought it
//! writes it alone, and is told then what was wrong with it. So no turn suffers from its neighbours, and a group needs no
//! answers of its own.

mod pace;
mod postgres;
mod sqlite;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use windlass_engine::Workflow;

use self::pace::Pace;
use super::{
    Result, connections::Connections, create::Start, db::Db, open, record::Lines, rows::Row,
    turn::PlainTurn,
};
use crate::{fault, metrics};

/// How many turns share a transaction at most.
const MOST_TURNS: usize = 256;

/// How many groups may be under way at once on Postgres: while one waits for the disk, another one is written.
const GROUPS: usize = 2;

/// How many times in a row the tasks that are ready go first without bringing a turn, before those that wait are written.
/// A result goes through about as many tasks until it is one.
const QUIET_ROUNDS: u32 = 4;

/// How long a group takes at most that waits for nobody: for one that takes longer, nobody else waits.
const SLOW: Duration = Duration::from_millis(50);

/// How large a transaction gets, about, in bytes.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// How many revisions are remembered to be in the database.
const MOST_REVISIONS: usize = 4_096;

/// What can be written together with others.
pub(super) enum Write {
    Turn(PlainTurn),
    Start(Start),
}

/// The one place where turns are put together; cheap to clone.
#[derive(Clone)]
pub(super) struct Writer {
    inner: Arc<Inner>,
}

/// Where groups are written to.
enum Place {
    Sqlite(sqlite::File),
    Postgres(Box<Connections>),
}

struct Inner {
    place: Place,
    queue: Mutex<Queue>,
    /// How many groups were not written.
    failed: AtomicU64,
    /// The hashes of revisions whose rows are there: they are never removed.
    revisions: Mutex<HashSet<String>>,
}

struct Queue {
    waiting: VecDeque<Waiting>,
    under_way: usize,
    /// How many of those under way take longer than they should: a row is locked, or a connection hangs.
    slow: usize,
    pace: Pace,
}

struct Waiting {
    write: Write,
    written: oneshot::Sender<Written>,
}

/// What became of what was to be written together with others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Written {
    /// It is there; with the number of the execution's newest signal.
    Yes(i64),
    /// The database has something else than it was to match, and nothing of it.
    No,
    /// The group failed, and nobody can tell: even what the database says while it shuts down may come after the commit.
    Unknown,
}

/// What is written together, in the order of the executions' ids.
#[derive(Default)]
struct Group {
    turns: Vec<Row<'static>>,
    starts: Vec<Row<'static>>,
    lines: Vec<Lines>,
}

/// Who hears what became of each execution's turn.
type Answers = HashMap<String, oneshot::Sender<Written>>;

/// What was written of a group: for each execution the number of its newest signal.
type Passed = Vec<(String, i64)>;

impl Write {
    fn execution_id(&self) -> &str {
        match self {
            Write::Turn(turn) => &turn.execution_id,
            Write::Start(start) => start.lines.execution_id(),
        }
    }

    fn lines(&self) -> &Lines {
        match self {
            Write::Turn(turn) => &turn.lines,
            Write::Start(start) => &start.lines,
        }
    }
}

impl Writer {
    /// Writes to the database that the URL names.
    pub(super) fn new(db: &Db, url: &str) -> Result<Writer> {
        let (place, most_groups) = match db {
            // It has one writer at a time.
            Db::Sqlite { write, .. } => (Place::Sqlite(sqlite::File::new(write)), 1),
            Db::Postgres(_) => {
                let connections = Connections::new(open::postgres_options(url)?);
                (Place::Postgres(Box::new(connections)), GROUPS)
            }
        };
        let inner = Inner {
            place,
            queue: Mutex::new(Queue::new(most_groups)),
            failed: AtomicU64::default(),
            revisions: Mutex::default(),
        };
        Ok(Writer { inner: Arc::new(inner) })
    }

    /// Closes the connections.
    pub(super) async fn close(&self) {
        match &self.inner.place {
            Place::Sqlite(file) => file.close(),
            Place::Postgres(connections) => connections.close().await,
        }
    }

    /// Writes it, alone or with others that wait.
    pub(super) async fn write(&self, write: Write) -> Written {
        let (written, answer) = oneshot::channel();
        self.inner.queue().waiting.push_back(Waiting { write, written });
        self.inner.begin();
        answer.await.unwrap_or(Written::Unknown)
    }

    /// How many groups were not written, so that those in them were written one by one.
    pub(super) fn failed(&self) -> u64 {
        self.inner.failed.load(Ordering::Relaxed)
    }

    /// Whether the rows of these revisions are known to be there.
    pub(super) fn knows<'w>(&self, mut revisions: impl Iterator<Item = &'w Workflow>) -> bool {
        let known = lock(&self.inner.revisions);
        revisions.all(|workflow| known.contains(&workflow.hash))
    }

    /// Remembers that the rows of these revisions are there.
    pub(super) fn learn<'w>(&self, revisions: impl Iterator<Item = &'w Workflow>) {
        let mut known = lock(&self.inner.revisions);
        if MOST_REVISIONS <= known.len() {
            known.clear();
        }
        known.extend(revisions.map(|workflow| workflow.hash.clone()));
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Begins a group for those that wait, if there is to be one.
    fn begin(self: &Arc<Self>) {
        let begins = {
            let mut queue = self.queue();
            let begins = queue.has_place() && queue.may_begin();
            queue.under_way += usize::from(begins);
            begins
        };
        if begins {
            // Not in the future of a caller: it may be dropped, and others wait for the same transaction.
            tokio::spawn(Arc::clone(self).work_off());
        }
    }

    /// Writes one group after the other until nobody waits any more.
    async fn work_off(self: Arc<Self>) {
        // For when it panics: those who wait are told, and others may go on.
        let under_way = UnderWay(&self);
        loop {
            self.gather().await;
            let Some(group) = self.queue().next_group() else {
                // Its place was given back under the lock: whoever comes from now on begins a group. Those that are left
                // go with the next one of whoever is under way.
                return mem::forget(under_way);
            };
            let (group, answers) = Group::of(group);
            let (size, began) = (answers.len(), Instant::now());
            fault::point("group_begun");
            let written = self.write_or_let_others_go_first(group).await;
            self.queue().ends(size, written.is_ok().then(|| began.elapsed()));
            fault::point("group_written");
            match written {
                Ok(passed) => {
                    metrics::committed(size, began);
                    tell(answers, passed);
                }
                Err(err) => {
                    tracing::debug!("{size} turns are written one by one: {err}");
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Lets those who are about to bring a turn come along. Who always comes alone is not kept waiting for them.
    async fn gather(&self) {
        let is_there = |queue: &Queue| queue.is_lonely() || queue.is_enough();
        let (mut waiting, mut quiet_rounds) = (self.queue().waiting.len(), 0);
        while quiet_rounds < QUIET_ROUNDS && !is_there(&self.queue()) {
            tokio::task::yield_now().await;
            let before = mem::replace(&mut waiting, self.queue().waiting.len());
            quiet_rounds = if waiting == before { quiet_rounds + 1 } else { 0 };
        }
    }

    /// Writes a group. When that takes too long, those that wait meanwhile get a group of their own.
    async fn write_or_let_others_go_first(self: &Arc<Self>, group: Group) -> Result<Passed> {
        let mut writing = pin!(self.write(group));
        if let Ok(written) = tokio::time::timeout(SLOW, &mut writing).await {
            return written;
        }
        let _slow = Slow::of(self);
        if !self.queue().waiting.is_empty() {
            self.begin();
        }
        writing.await
    }

    async fn write(&self, group: Group) -> Result<Passed> {
        match &self.place {
            Place::Sqlite(file) => file.write(group).await,
            Place::Postgres(connections) => postgres::write(connections, group).await,
        }
    }
}

/// A group that takes too long, until it has ended.
struct Slow<'i>(&'i Inner);

impl Slow<'_> {
    fn of(inner: &Inner) -> Slow<'_> {
        inner.queue().slow += 1;
        Slow(inner)
    }
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        self.0.queue().slow -= 1;
    }
}

/// Gives the place of a group back when writing panics.
struct UnderWay<'i>(&'i Inner);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.under_way -= 1;
        if queue.under_way == 0 {
            // There are some only when writing them has panicked: each is written alone then.
            queue.waiting.clear();
        }
    }
}

impl Queue {
    fn new(most_groups: usize) -> Queue {
        Queue { waiting: VecDeque::new(), under_way: 0, slow: 0, pace: Pace::new(most_groups) }
    }

    /// A group of so many turns has ended; it took so long, if it was written.
    fn ends(&mut self, turns: usize, took: Option<Duration>) {
        self.pace.ends(turns, self.waiting.len(), took);
    }

    /// Whether one more group may be under way.
    fn has_place(&self) -> bool {
        self.under_way < self.pace.most_groups
    }

    /// Whether those that wait are to be written beside the groups that are under way already.
    fn may_begin(&self) -> bool {
        self.under_way <= self.slow || self.is_enough()
    }

    /// Whether those that wait are a group, and wait for nobody.
    fn is_enough(&self) -> bool {
        self.pace.enough() <= self.waiting.len()
    }

    /// Whether nobody is likely to share a group with the one who waits.
    fn is_lonely(&self) -> bool {
        self.waiting.len() <= 1 && self.pace.is_lonely()
    }

    /// Takes those that have waited longest, in the order of their executions' ids. Each execution once: of two turns of
    /// one, at most one is not outdated. `None` gives the place of the group back.
    fn next_group(&mut self) -> Option<Vec<Waiting>> {
        self.under_way -= 1;
        if self.under_way == 0 {
            self.pace.rests();
        }
        if self.waiting.is_empty() || !self.may_begin() {
            return None;
        }
        self.under_way += 1;
        let (mut group, mut later) = (Vec::new(), VecDeque::new());
        let (mut bytes, mut seen) = (0, HashSet::new());
        while let Some(next) = self.waiting.pop_front() {
            if !seen.insert(next.write.execution_id().to_owned()) {
                later.push_back(next);
                continue;
            }
            bytes += next.write.lines().bytes();
            group.push(next);
            if MOST_TURNS <= group.len() || MOST_BYTES <= bytes {
                break;
            }
        }
        later.append(&mut self.waiting);
        self.waiting = later;
        self.pace.begins(group.len(), self.waiting.len());
        // Everybody locks executions in this order.
        group.sort_unstable_by(|one, other| {
            one.write.execution_id().cmp(other.write.execution_id())
        });
        Some(group)
    }
}

impl Group {
    fn of(waiting: Vec<Waiting>) -> (Group, Answers) {
        let (mut group, mut answers) = (Group::default(), Answers::new());
        for Waiting { write, written } in waiting {
            answers.insert(write.execution_id().to_owned(), written);
            let lines = match write {
                Write::Turn(turn) => {
                    group.turns.push(turn.row);
                    turn.lines
                }
                Write::Start(start) => {
                    group.starts.push(start.row);
                    start.lines
                }
            };
            group.lines.push(lines);
        }
        (group, answers)
    }
}

fn tell(mut answers: Answers, passed: Passed) {
    for (execution_id, signals_in) in passed {
        if let Some(answer) = answers.remove(&execution_id) {
            // Whoever asked may have gone.
            _ = answer.send(Written::Yes(signals_in));
        }
    }
    for answer in answers.into_values() {
        _ = answer.send(Written::No);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use windlass_engine::State;

    use super::{pace::ENOUGH, *};
    use crate::store::record::Record;

    fn waiting(number: usize) -> Waiting {
        let document = "name: w\nsteps:\n  - { name: a, wait: { ms: 1 } }\n";
        let workflow = windlass_engine::parse(document).unwrap();
        let execution_id = format!("exec_{number:03}");
        let record = Record {
            workspace: "test",
            execution_id: &execution_id,
            workflow: &workflow,
            state: &State::new(&workflow, &execution_id, "ada"),
            events: &[],
            at: 0,
            worker: "worker",
        };
        let lines = Lines::of(0, &record).unwrap();
        let turn = PlainTurn { execution_id, last_seq: 0, row: Vec::new(), lines };
        Waiting { write: Write::Turn(turn), written: oneshot::channel().0 }
    }

    #[test]
    fn a_few_turns_go_with_the_next_group_of_who_writes_already() {
        let mut queue = Queue { under_way: 1, ..Queue::new(GROUPS) };
        queue.pace.begins(4 * ENOUGH, 0);
        queue.waiting.extend((1..ENOUGH).map(waiting));
        assert!(!queue.may_begin());
        queue.waiting.push_front(waiting(0));
        assert!(queue.may_begin(), "so many have a group of their own");

        queue.under_way = 2;
        assert_eq!(queue.next_group().unwrap().len(), ENOUGH);
        queue.waiting.push_back(waiting(0));
        assert!(queue.next_group().is_none(), "the other one takes it along");
        assert_eq!((queue.under_way, queue.waiting.len()), (1, 1));
        assert_eq!(queue.next_group().unwrap().len(), 1);
        assert!(queue.next_group().is_none());
        assert_eq!(queue.under_way, 0);
    }
}
