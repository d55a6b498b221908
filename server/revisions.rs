//! The compiled workflows of stored revisions, each parsed once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use windlass_engine::Workflow;

use crate::store::{self, Store};

/// How many compiled revisions are kept.
const KEPT: usize = 256;

/// The compiled workflows of stored revisions; cheap to clone.
#[derive(Clone, Default)]
pub struct Revisions {
    known: Arc<Mutex<HashMap<String, Arc<Workflow>>>>,
}

/// A revision that cannot be executed by this release.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The row is not there.
    #[error("revision {0} is not in the database")]
    Missing(String),
    /// It was stored by a release that knows more.
    #[error("revision {hash} cannot be read by this release: {problem}")]
    Unreadable {
        /// Its hash.
        hash: String,
        /// The first problem.
        problem: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Revisions {
    /// The workflow of a stored revision.
    ///
    /// # Errors
    /// When it is not stored, or this release cannot read it.
    pub async fn get(&self, store: &Store, hash: &str) -> Result<Arc<Workflow>, Error> {
        if let Some(workflow) = self.known(hash) {
            return Ok(workflow);
        }
        let document = store.document(hash).await?;
        let document = document.ok_or_else(|| Error::Missing(hash.to_owned()))?;
        self.read(hash, &document)
    }

    /// The workflow of a revision whose document is at hand.
    ///
    /// # Errors
    /// When this release cannot read it.
    pub fn read(&self, hash: &str, document: &str) -> Result<Arc<Workflow>, Error> {
        if let Some(workflow) = self.known(hash) {
            return Ok(workflow);
        }
        let workflow = windlass_engine::parse(document).map_err(|problems| Error::Unreadable {
            hash: hash.to_owned(),
            problem: problems.first().map(ToString::to_string).unwrap_or_default(),
        })?;
        Ok(self.keep(Arc::new(workflow)))
    }

    /// Keeps a workflow that was compiled elsewhere.
    pub fn keep(&self, workflow: Arc<Workflow>) -> Arc<Workflow> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if KEPT <= known.len() {
            known.clear();
        }
        known.entry(workflow.hash.clone()).or_insert(workflow).clone()
    }

    fn known(&self, hash: &str) -> Option<Arc<Workflow>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }
}
