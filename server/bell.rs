//! Tells everybody who waits that an execution moved, or wants to be looked at.
//!
//! A hint, never a promise: whoever listens also looks by itself now and then.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, broadcast};

/// How many rings a slow listener may be behind before it is told only that it missed some.
const CAPACITY: usize = 1024;

/// What is rung.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Ring {
    /// A worker committed something about this execution.
    Moved(Arc<str>),
    /// A worker let go of this execution: it has ended, or goes on only when somebody or something else moves.
    Settled(Arc<str>),
    /// This execution wants a worker: it is new, or a signal came in.
    Due(Arc<str>),
}

/// The bell of one process; cheap to clone.
#[derive(Clone)]
pub struct Bell {
    /// What is due: for workers, which look for whatever is.
    due: broadcast::Sender<Ring>,
    own: broadcast::Sender<Ring>,
    ears: Arc<Mutex<HashMap<Ring, Vec<Arc<Notify>>>>>,
}

/// Hears one ring, and no other: most of what is rung is about other executions.
pub struct Ear {
    bell: Bell,
    ring: Ring,
    heard: Arc<Notify>,
}

impl Default for Bell {
    fn default() -> Bell {
        let (due, own) = (broadcast::Sender::new(CAPACITY), broadcast::Sender::new(CAPACITY));
        Bell { due, own, ears: Arc::default() }
    }
}

impl Bell {
    /// Rings for everybody, in this process and beyond.
    pub fn ring(&self, ring: Ring) {
        // Nobody listening is no error.
        _ = self.own.send(ring.clone());
        self.heard(ring);
    }

    /// Passes on what another process rang.
    pub fn heard(&self, ring: Ring) {
        for ear in self.ears().get(&ring).into_iter().flatten() {
            ear.notify_one();
        }
        if matches!(ring, Ring::Due(_)) {
            _ = self.due.send(ring);
        }
    }

    /// Every execution that is due from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Ring> {
        self.due.subscribe()
    }

    /// Hears this ring from now on, until it is dropped.
    #[must_use]
    pub fn listen_for(&self, ring: Ring) -> Ear {
        let heard = Arc::new(Notify::new());
        self.ears().entry(ring.clone()).or_default().push(Arc::clone(&heard));
        Ear { bell: self.clone(), ring, heard }
    }

    /// What this process itself rings from now on: for those who carry it to others.
    #[must_use]
    pub fn own(&self) -> broadcast::Receiver<Ring> {
        self.own.subscribe()
    }

    fn ears(&self) -> MutexGuard<'_, HashMap<Ring, Vec<Arc<Notify>>>> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear {
    /// Waits until it has rung since the last time, or since this listens.
    pub async fn rung(&self) {
        self.heard.notified().await;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut ears = self.bell.ears();
        if let Some(all) = ears.get_mut(&self.ring) {
            all.retain(|ear| !Arc::ptr_eq(ear, &self.heard));
            if all.is_empty() {
                ears.remove(&self.ring);
            }
        }
    }
}

impl Ring {
    /// The execution it is about.
    #[must_use]
    pub fn execution_id(&self) -> &str {
        match self {
            Ring::Moved(id) | Ring::Settled(id) | Ring::Due(id) => id,
        }
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ring::Moved(id) => write!(f, "moved {id}"),
            Ring::Settled(id) => write!(f, "settled {id}"),
            Ring::Due(id) => write!(f, "due {id}"),
        }
    }
}

impl FromStr for Ring {
    type Err = ();

    fn from_str(text: &str) -> Result<Ring, ()> {
        match text.split_once(' ') {
            Some(("moved", id)) => Ok(Ring::Moved(id.into())),
            Some(("settled", id)) => Ok(Ring::Settled(id.into())),
            Some(("due", id)) => Ok(Ring::Due(id.into())),
            Some(_) | None => Err(()),
        }
    }
}
