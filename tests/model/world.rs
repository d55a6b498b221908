//! What there is: rows, workers, and the executions that they drive.

use crate::workflow::{Event, Resolution, State, Status, Word};

/// How many ticks a lease holds without being renewed.
pub const LEASE: u8 = 2;

/// A holder starts no call when its lease was last known to hold so many ticks ago.
pub const FRESH: u8 = 2;

/// Everything at one moment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct World {
    /// What the database has of each execution.
    pub rows: Vec<Row>,
    /// Those who drive.
    pub workers: Vec<Worker>,
    /// What they drive, in the order in which it was claimed.
    pub drives: Vec<Drive>,
    /// What may still go wrong.
    pub left: Budget,
    /// Whether a worker found a history that is none.
    pub is_nonsense: bool,
}

/// An execution in the database. Its history stands in `written`, and so does what the tool's ledger has of it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Row {
    /// How it stands.
    pub status: Status,
    /// When somebody looks at it next.
    pub wake: Wake,
    /// The name of the worker that has the lease.
    pub owner: Option<u8>,
    /// How many ticks the lease holds.
    pub lease: u8,
    /// Grows with every claim.
    pub epoch: u8,
    /// The number of its newest event.
    pub last_seq: u8,
    /// The words it was left; the first has the number 1.
    pub signals: Vec<Signal>,
    /// The number of the last one that its history takes into account.
    pub signals_done: u8,
    /// Whether it was told to go; that comes once, also when it has ended.
    pub told: bool,
    /// Its events, in the order in which they were written.
    pub written: Vec<Written>,
    /// How often the tool did it.
    pub effects: u8,
}

/// When a row is looked at next.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Wake {
    /// Now.
    Due,
    /// After the next tick.
    Soon,
    /// When somebody says something; the time that the wait for that is over is not modelled.
    Far,
}

/// An event as it was written.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Written {
    /// Its number.
    pub seq: u8,
    /// What it is.
    pub event: Event,
    /// The epoch of whoever wrote it.
    pub epoch: u8,
    /// Whether somebody else had claimed the row by then.
    pub is_stale: bool,
}

/// A word for an execution.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Signal {
    /// An event.
    Event(Word),
    /// What became of `a`.
    Resolve {
        /// The call that is meant.
        generation: u8,
        /// What became of it.
        resolution: Resolution,
    },
    /// It begins nothing for now.
    Pause,
    /// It goes on.
    Resume,
    /// It failed, and goes on.
    Retry,
}

/// A process that drives executions. One that crashes starts again under another name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Worker {
    /// Never used twice.
    pub name: u8,
    /// Whether it is stopped (`SIGSTOP`, a closed laptop): it does nothing until it goes on.
    pub is_frozen: bool,
    /// The lock in the database by which others see that it lives.
    pub lock: Lock,
}

/// A worker's lock, as others see it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Lock {
    /// It lives.
    Held,
    /// Its leases may be ended.
    Missing,
    /// They were; nobody looks for the lock any more before there is another one.
    Forgotten,
}

/// One execution in the hands of one worker.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Drive {
    /// The claim.
    pub key: Key,
    /// By index.
    pub worker: u8,
    /// The number of the newest event that it knows.
    pub last_seq: u8,
    /// What it has read; nothing before the row was loaded.
    pub state: Option<State>,
    /// The number of the last signal it has read.
    pub signals_done: u8,
    /// Whether there is one among those that no commit has written.
    pub heard: bool,
    /// What happened and is not part of the state yet.
    pub happened: Vec<Event>,
    /// A turn that is decided, on its way into the database; sent again until there is an answer.
    pub pending: Option<Pending>,
    /// The call.
    pub call: Out,
    /// How many ticks ago the lease was last known to hold.
    pub age: u8,
    /// A renewal that the database has made, and whose answer is on its way.
    pub renewal: Option<Renewal>,
}

/// A claim: no epoch of an execution is given out twice.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    /// By index.
    pub execution: u8,
    /// The epoch.
    pub epoch: u8,
}

/// What a turn writes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Pending {
    /// In order.
    pub events: Vec<Event>,
    /// Whether the lease is given back.
    pub release: bool,
    /// When somebody is to look again, when it is.
    pub wake: Wake,
    /// Whether a call goes out after it.
    pub calls: bool,
    /// Whether this very turn was sent before, and the answer was lost.
    pub was_sent: bool,
}

/// The call of step `a`, in the worker that makes it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Out {
    /// There is none.
    Nothing,
    /// Its intent is committed; it waits for its turn.
    Ready,
    /// The tool has it.
    Sent {
        /// Whether it did it.
        is_done: bool,
    },
}

/// The answer of a renewal.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Renewal {
    /// How many ticks ago it was sent.
    pub age: u8,
    /// Whether the lease is still this claim's.
    pub holds: bool,
}

/// How often each fault may happen: what keeps the model finite.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Budget {
    /// Ticks while somebody could do something. When nobody can, time always goes on.
    pub ticks: u8,
    /// Workers that crash, and start again.
    pub crashes: u8,
    /// Workers that are stopped, and go on some time.
    pub freezes: u8,
    /// Answers of the database that do not arrive.
    pub losses: u8,
    /// Renewals beside those that a call needs.
    pub renewals: u8,
    /// Calls that are not sent, because the lease was not known to hold any more.
    pub held_back: u8,
    /// Rows that are given back because they could not be loaded.
    pub set_asides: u8,
    /// Drives that end because their worker is told to stop.
    pub hand_backs: u8,
    /// Events that nobody waits for.
    pub noise: u8,
    /// Second opinions of persons.
    pub opinions: u8,
    /// Tools that do not do it.
    pub failures: u8,
    /// Connections that are lost by workers that live.
    pub absences: u8,
    /// Times that somebody pauses an execution.
    pub pauses: u8,
    /// Times that somebody has one go on that failed.
    pub reopenings: u8,
}

impl Budget {
    /// Nothing goes wrong.
    pub const NONE: Budget = Budget {
        ticks: 0,
        crashes: 0,
        freezes: 0,
        losses: 0,
        renewals: 0,
        held_back: 0,
        set_asides: 0,
        hand_backs: 0,
        noise: 0,
        opinions: 0,
        failures: 0,
        absences: 0,
        pauses: 0,
        reopenings: 0,
    };
}

impl Row {
    /// Its events, in order.
    pub fn history(&self) -> impl Iterator<Item = Event> {
        self.written.iter().map(|written| written.event)
    }

    /// How many signals it was left.
    #[must_use]
    pub fn signals_in(&self) -> u8 {
        u8::try_from(self.signals.len()).unwrap_or(u8::MAX)
    }

    /// Whether a worker that looks for something to do may have it.
    #[must_use]
    pub fn is_claimable(&self) -> bool {
        self.wake == Wake::Due && self.lease == 0
    }
}

impl World {
    /// A claim's drive.
    #[must_use]
    pub fn drive(&self, key: Key) -> Option<&Drive> {
        self.drives.iter().find(|drive| drive.key == key)
    }

    /// The row of an execution.
    #[must_use]
    pub fn row(&self, execution: u8) -> &Row {
        &self.rows[usize::from(execution)]
    }

    /// A worker.
    #[must_use]
    pub fn worker(&self, worker: u8) -> &Worker {
        &self.workers[usize::from(worker)]
    }
}
