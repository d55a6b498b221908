//! What may happen next, and what whoever does it is told.

use crate::{
    workflow::{Resolution, Word},
    world::Key,
};

/// One thing that happens. Each is one transaction, or nothing that others see.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// A worker claims a row that is due.
    Claim {
        /// The worker, by index.
        worker: u8,
        /// The execution, by index.
        execution: u8,
        /// Whether the worker never hears that it has it.
        is_lost: bool,
    },
    /// It reads the row, the history and the signals.
    Load(Key),
    /// It reads the signals that came in.
    Listen(Key),
    /// It decides.
    Turn(Key),
    /// What was decided is written.
    Commit {
        /// The claim.
        key: Key,
        /// Whether the answer does not arrive.
        is_lost: bool,
    },
    /// What a worker has decided about several executions is written in one transaction.
    Group {
        /// The worker, by index.
        worker: u8,
        /// Whether the answer does not arrive.
        is_lost: bool,
    },
    /// The database renews the lease.
    Renew(Key),
    /// The worker hears of it.
    Renewed(Key),
    /// The call goes out.
    Send {
        /// The claim.
        key: Key,
        /// Whether the tool does it.
        is_done: bool,
    },
    /// The call does not go out: the lease is not known to hold.
    HoldBack(Key),
    /// The tool's answer is there.
    Answer(Key),
    /// The row is given back: it could not be loaded.
    SetAside(Key),
    /// The worker is told to stop, and gives the lease back with what it knows.
    HandBack(Key),
    /// Somebody sends an event.
    Tell {
        /// The execution, by index.
        execution: u8,
        /// The event.
        word: Word,
    },
    /// A person says what became of the call, after a look into the tool's ledger.
    Resolve {
        /// The execution, by index.
        execution: u8,
        /// The call that is meant.
        generation: u8,
        /// What they saw.
        resolution: Resolution,
    },
    /// Somebody pauses it.
    Pause {
        /// The execution, by index.
        execution: u8,
    },
    /// Somebody has it go on.
    Resume {
        /// The execution, by index.
        execution: u8,
    },
    /// Somebody who once saw that it failed has it go on.
    Reopen {
        /// The execution, by index.
        execution: u8,
    },
    /// Time passes.
    Tick,
    /// A worker's lock is seen to be gone: its leases end at once.
    Expire {
        /// The worker, by its name.
        name: u8,
    },
    /// A worker that lives loses its lock.
    Lose {
        /// By index.
        worker: u8,
    },
    /// It has one again.
    Regain {
        /// By index.
        worker: u8,
    },
    /// A worker is stopped.
    Freeze {
        /// By index.
        worker: u8,
    },
    /// It goes on.
    Thaw {
        /// By index.
        worker: u8,
    },
    /// A worker crashes, and starts again with nothing in its hands.
    Crash {
        /// By index.
        worker: u8,
    },
}

/// What the database says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// It was not asked.
    Nothing,
    /// The worker has the row.
    Claimed {
        /// The claim.
        key: Key,
        /// The number of its newest event.
        last_seq: u8,
    },
    /// The row, and the signals that its history does not take into account.
    Loaded {
        /// How many.
        unread: u8,
    },
    /// Others may know more: somebody else has claimed it.
    Fenced,
    /// The turn is written: the number of the newest event, and of the newest signal.
    Committed(u8, u8),
    /// What became of each member of a group.
    Group(Vec<(Key, Said)>),
    /// The epoch of the row and the number of its newest signal, where the worker has its lease.
    Renewed(Option<(u8, u8)>),
    /// Whether the word was taken.
    Told(bool),
}
