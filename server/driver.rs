//! How an application gets its executions driven: by a row, and a nudge to whoever reads rows.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use windlass_engine::{Call, State, Workflow};

use crate::{
    children::Family,
    clock::Moment,
    link::Link,
    store::{Claim, ExecutionRow},
};

/// An execution that was created with a lease for the worker of this process, ready to go on.
///
/// A short cut, not an exception: if that worker is gone, the row is claimed as any other.
pub struct HandOver {
    /// The lease.
    pub claim: Claim,
    /// Its row, as it was written.
    pub row: ExecutionRow,
    /// From before the lease was written: it is counted from here.
    pub claimed_at: Moment,
    /// What is executed.
    pub workflow: Arc<Workflow>,
    /// Where it stands after the events that were written with it.
    pub state: State,
    /// What it hands down to the executions that its steps are.
    pub family: Family,
    /// The calls whose intent was written with it.
    pub calls: Vec<Call>,
    /// When there is something to do without anybody saying so.
    pub wake_at: Option<i64>,
}

/// The letter box of the worker in this process.
#[derive(Clone)]
pub struct LetterBox {
    /// The worker's id, which owns the leases.
    pub worker: Arc<str>,
    /// Takes executions in.
    pub letters: mpsc::Sender<Letter>,
    /// As many places as the worker drives executions at once.
    pub places: Arc<Semaphore>,
    /// Whether executions wait for a place: then new ones wait with them, and the highest priority goes first.
    pub crowded: Arc<AtomicBool>,
    /// Where the worker drives only some executions: their ids.
    pub own: Option<Own>,
    /// What was handed over, and is not let go of yet.
    pub in_hand: InHand,
}

/// An execution that is handed over, with the place that it takes.
pub struct Letter {
    /// The execution.
    pub execution: HandOver,
    /// Its place among those that the worker drives.
    pub place: OwnedSemaphorePermit,
    /// Kept until the worker lets go of it.
    pub kept: Kept,
}

/// Executions that were handed to a worker which has not let go of them yet: whoever waits for one of them need not look,
/// for the bell will ring. Cheap to clone.
#[derive(Clone, Default)]
pub struct InHand(Arc<Mutex<HashMap<String, Ending>>>);

/// The row of an execution in hand as soon as it has ended: whoever waits for that need not read what was just written.
/// Empty for ever when the worker lets go of it otherwise. Cheap to clone.
#[derive(Clone, Default)]
pub struct Ending(Arc<OnceLock<ExecutionRow>>);

/// Keeps an execution among those in hand until it is dropped.
pub struct Kept {
    in_hand: InHand,
    execution_id: String,
    ending: Ending,
}

impl InHand {
    /// An execution is handed over.
    #[must_use]
    pub fn keep(&self, execution_id: &str) -> Kept {
        let (execution_id, ending) = (execution_id.to_owned(), Ending::default());
        self.lock().insert(execution_id.clone(), ending.clone());
        Kept { in_hand: self.clone(), execution_id, ending }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Ending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ending {
    /// The row, if the worker has written that it ended.
    #[must_use]
    pub fn row(&self) -> Option<&ExecutionRow> {
        self.0.get()
    }
}

impl Kept {
    /// The execution has ended, and this is its row.
    pub fn ended(self, row: ExecutionRow) {
        // Nobody else says so of it.
        _ = self.ending.0.set(row);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.in_hand.lock().remove(&self.execution_id);
    }
}

/// The executions that a worker drives, where it drives only some.
pub type Own = Arc<Mutex<BTreeSet<String>>>;

/// Starts a worker in this process.
pub type Fallback = Arc<dyn Fn() -> LetterBox + Send + Sync>;

/// Who drives what this application starts; cheap to clone.
#[derive(Clone)]
pub enum Driver {
    /// The worker of this process.
    InProcess(LetterBox),
    /// A detached worker, started on demand; one in this process where none can be started.
    Detached {
        /// The wire to it.
        link: Link,
        /// Starts the one in this process.
        fallback: Fallback,
        /// The one in this process, with the reason for it, once it was needed.
        instead: Arc<OnceLock<(LetterBox, String)>>,
    },
    /// Whoever lives; this process only asks.
    Nobody,
}

impl Driver {
    /// A place in the letter box of this process's worker, if it has one and room; new executions are leased to it.
    ///
    /// Taken before the row is written: an execution whose first calls are written as begun must reach the worker.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let letter_box = self.letter_box()?;
        if letter_box.crowded.load(Ordering::Relaxed) {
            return None;
        }
        let place = Arc::clone(&letter_box.places).try_acquire_owned().ok()?;
        let permit = letter_box.letters.clone().try_reserve_owned().ok()?;
        Some(Place { letter_box: letter_box.clone(), permit, place })
    }

    /// Has a worker that drives only some executions drive this one too, when it is due.
    pub fn adopt(&self, execution_id: &str) {
        if let Some(letter_box) = self.letter_box() {
            letter_box.adopt(execution_id);
        }
    }

    /// Sees to it that somebody lives who will look at due rows; what the caller should know about that, if anything.
    pub async fn ensure(&self) -> Option<String> {
        let Driver::Detached { link, fallback, instead } = self else { return None };
        if instead.get().is_none()
            && let Err(err) = link.ensure().await
        {
            let reason = format!(
                "no detached worker could be started ({err}): executions move only while this process lives"
            );
            tracing::warn!("{reason}");
            instead.get_or_init(|| (fallback(), reason));
        }
        instead.get().map(|(_, reason)| reason.clone())
    }

    /// Whether the worker of this process drives only the executions that it was told of.
    #[must_use]
    pub fn is_told_which(&self) -> bool {
        self.letter_box().is_some_and(|letter_box| letter_box.own.is_some())
    }

    /// How an execution ends that the worker of this process has in hand: it rings when it lets go of it.
    #[must_use]
    pub fn in_hand(&self, execution_id: &str) -> Option<Ending> {
        self.letter_box()?.in_hand.lock().get(execution_id).cloned()
    }

    fn letter_box(&self) -> Option<&LetterBox> {
        match self {
            Driver::InProcess(letter_box) => Some(letter_box),
            Driver::Detached { instead, .. } => instead.get().map(|(letter_box, _)| letter_box),
            Driver::Nobody => None,
        }
    }
}

/// A place that is kept in a letter box.
pub struct Place {
    letter_box: LetterBox,
    permit: mpsc::OwnedPermit<Letter>,
    place: OwnedSemaphorePermit,
}

impl Place {
    /// The worker that owns the lease.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.letter_box.worker
    }

    /// Hands an execution to the worker.
    pub fn hand_over(self, execution: HandOver) {
        let id = &execution.claim.execution_id;
        self.letter_box.adopt(id);
        let kept = self.letter_box.in_hand.keep(id);
        self.permit.send(Letter { execution, place: self.place, kept });
    }
}

impl LetterBox {
    fn adopt(&self, execution_id: &str) {
        if let Some(own) = &self.own {
            own.lock().unwrap_or_else(PoisonError::into_inner).insert(execution_id.to_owned());
        }
    }
}
