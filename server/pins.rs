//! Which tools a revision is pinned to: looked at before each call, so that none goes to a tool that became another one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use windlass_engine::{ToolName, Workflow};

use crate::{
    drift::{self, ToolSnapshot, Usage},
    store::{self, NewPin, Store},
    tool_servers::{Failure, Inspect, ToolInfo},
};

/// How many tools are remembered to have passed.
const KEPT: usize = 4_096;

/// How long the database is left alone after it failed, at most.
const BACKOFF: Duration = Duration::from_secs(5);

/// Who pins a tool that no revision's author could pin: nobody saved it, or its server could not be reached.
const FIRST_CALL: &str = "first call";

/// The pins of a workspace; cheap to clone.
#[derive(Clone)]
pub struct Pins {
    store: Store,
    /// By revision and tool: what was let through last.
    passed: Arc<Mutex<HashMap<(String, String), ToolSnapshot>>>,
}

impl Pins {
    /// The pins in a database.
    #[must_use]
    pub fn new(store: Store) -> Pins {
        Pins { store, passed: Arc::default() }
    }

    /// What looks at a tool before a call of a workflow goes out to it. A tool that is called for the first time is
    /// pinned; one that is broken for the workflow or riskier than it was is not called.
    #[must_use]
    pub fn inspect(&self, workflow: &Arc<Workflow>, tool: &ToolName) -> Inspect {
        let (pins, workflow, tool) = (self.clone(), Arc::clone(workflow), tool.clone());
        Arc::new(move |live| {
            if live.is_some_and(|live| pins.has_passed(&workflow, &tool, live)) {
                return Box::pin(std::future::ready(Ok(())));
            }
            let (pins, workflow, tool) = (pins.clone(), Arc::clone(&workflow), tool.clone());
            let live = live.map(ToolSnapshot::from);
            Box::pin(async move { pins.look_patiently(&workflow, &tool, live.as_ref()).await })
        })
    }

    /// Whether the tool was let through as it is now: nothing is copied to see that.
    fn has_passed(&self, workflow: &Workflow, tool: &ToolName, live: &ToolInfo) -> bool {
        let key = (workflow.hash.clone(), tool.to_string());
        self.passed().get(&key).is_some_and(|passed| passed.is(live))
    }

    /// Asks a database that fails again and again; the call's own time limits that.
    async fn look_patiently(
        &self,
        workflow: &Workflow,
        tool: &ToolName,
        live: Option<&ToolSnapshot>,
    ) -> Result<(), Failure> {
        let mut delay = Duration::from_millis(50);
        loop {
            match self.look(workflow, tool, live).await {
                Ok(stopped) => return stopped.map_or(Ok(()), Err),
                Err(err) if err.is_passing() => tracing::warn!("pins cannot be read: {err}"),
                Err(err) => {
                    let message = format!("{tool} was not called: its pin cannot be read: {err}");
                    let code = "internal".to_owned();
                    let (retryable, retry_after_ms) = (Some(false), None);
                    return Err(Failure { code, message, retryable, retry_after_ms });
                }
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(BACKOFF);
        }
    }

    /// What stops the call, if anything does.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn look(
        &self,
        workflow: &Workflow,
        tool: &ToolName,
        live: Option<&ToolSnapshot>,
    ) -> Result<Option<Failure>, store::Error> {
        let (revision, name) = (workflow.hash.as_str(), tool.to_string());
        let key = (revision.to_owned(), name.clone());
        if live.is_some() && self.passed().get(&key) == live {
            return Ok(None);
        }
        let pinned = self.store.pinned(revision, &name).await?;
        let pinned = pinned.and_then(|(tool, seen)| Some((read(&tool)?, seen)));
        let stopped = match (pinned, live) {
            // It fails by itself, with the names there are.
            (None, None) => return Ok(None),
            (None, Some(live)) => {
                self.pin(revision, &name, live, FIRST_CALL, false).await?;
                None
            }
            (Some((pinned, seen)), live) => {
                self.note(revision, &name, &pinned, seen.as_deref(), live).await?;
                if Some(&pinned) == live {
                    None
                } else {
                    drift::stop(&workflow.name, &pinned, live, &Usage::of(workflow, tool))
                }
            }
        };
        if let (None, Some(live)) = (&stopped, live) {
            let mut passed = self.passed();
            if KEPT <= passed.len() {
                passed.clear();
            }
            passed.insert(key, live.clone());
        }
        Ok(stopped)
    }

    /// Pins a revision to a tool as it is now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pin(
        &self,
        revision: &str,
        tool: &str,
        live: &ToolSnapshot,
        by: &str,
        renew: bool,
    ) -> Result<(), store::Error> {
        let (digest, snapshot) = (live.digest(), json!(live).to_string());
        let pin = NewPin { revision, tool, digest: &digest, snapshot: &snapshot, by, renew };
        self.store.pin(&pin).await
    }

    /// Leaves word of what was found in the place of a pinned tool, for those who list workflows; once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note(
        &self,
        revision: &str,
        tool: &str,
        pinned: &ToolSnapshot,
        seen: Option<&str>,
        live: Option<&ToolSnapshot>,
    ) -> Result<(), store::Error> {
        let found = match live {
            None => Some((String::new(), String::new())),
            Some(live) if live == pinned => None,
            Some(live) => Some((live.digest(), json!(live).to_string())),
        };
        if seen == found.as_ref().map(|(digest, _)| digest.as_str()) {
            return Ok(());
        }
        let found = found.as_ref().map(|(digest, tool)| (digest.as_str(), tool.as_str()));
        self.store.saw(revision, tool, found).await
    }

    fn passed(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), ToolSnapshot>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot as its row has it. One that cannot be read pins nothing.
#[must_use]
pub fn read(snapshot: &str) -> Option<ToolSnapshot> {
    serde_json::from_str(snapshot)
        .inspect_err(|err| tracing::error!("a pinned tool cannot be read: {err}"))
        .ok()
}
