//! Tells everybody who waits that an execution moved, or wants to be looked at.
//!
//! A hint, never a promise: whoever listens also looks by itself now and then.

use std::{fmt, str::FromStr, sync::Arc};

use tokio::sync::broadcast;

/// How many rings a slow listener may be behind before it is told only that it missed some.
const CAPACITY: usize = 1024;

/// What is rung.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Ring {
    /// A worker committed something about this execution.
    Moved(Arc<str>),
    /// This execution wants a worker: it is new, or a signal came in.
    Due(Arc<str>),
}

/// The bell of one process; cheap to clone.
#[derive(Clone)]
pub struct Bell {
    all: broadcast::Sender<Ring>,
    /// Only what is due: whoever drives is not woken by every step that anybody makes.
    due: broadcast::Sender<Ring>,
    own: broadcast::Sender<Ring>,
}

impl Default for Bell {
    fn default() -> Bell {
        let [all, due, own] = [(); 3].map(|()| broadcast::Sender::new(CAPACITY));
        Bell { all, due, own }
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
        if let Ring::Due(_) = ring {
            _ = self.due.send(ring.clone());
        }
        _ = self.all.send(ring);
    }

    /// Everything that is rung from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Ring> {
        self.all.subscribe()
    }

    /// What is rung as due from now on, and nothing else.
    #[must_use]
    pub fn listen_for_due(&self) -> broadcast::Receiver<Ring> {
        self.due.subscribe()
    }

    /// What this process itself rings from now on: for those who carry it to others.
    #[must_use]
    pub fn own(&self) -> broadcast::Receiver<Ring> {
        self.own.subscribe()
    }
}

impl Ring {
    /// The execution it is about.
    #[must_use]
    pub fn execution_id(&self) -> &str {
        match self {
            Ring::Moved(id) | Ring::Due(id) => id,
        }
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ring::Moved(id) => write!(f, "moved {id}"),
            Ring::Due(id) => write!(f, "due {id}"),
        }
    }
}

impl FromStr for Ring {
    type Err = ();

    fn from_str(text: &str) -> Result<Ring, ()> {
        match text.split_once(' ') {
            Some(("moved", id)) => Ok(Ring::Moved(id.into())),
            Some(("due", id)) => Ok(Ring::Due(id.into())),
            Some(_) | None => Err(()),
        }
    }
}
