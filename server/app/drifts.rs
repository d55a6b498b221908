//! What became of the tools that workflows are pinned to.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use serde::Serialize;
use windlass_engine::{ToolName, Workflow};

use super::{App, Error, catalogue::Entry};
use crate::{
    drift::{self, Difference, Severity, ToolSnapshot, Usage},
    pins,
    store::PinRow,
    tool_servers,
};

/// How long the tool servers of a workflow have to say what their tools are.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether tool servers are asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Look {
    /// No: what open connections and earlier calls have told is good enough.
    #[default]
    Remembered,
    /// Yes, even if they have to be started.
    Live,
}

/// What became of the tools that a workflow's revision is pinned to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkflowDrift {
    /// The worst of its tools.
    pub verdict: Severity,
    /// The tools that are other ones now.
    pub tools: Vec<ToolDrift>,
    /// What to do about it, where something must be done before the tools are called again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What became of one tool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolDrift {
    /// `server.tool`
    pub tool: String,
    /// The worst of the differences.
    pub verdict: Severity,
    /// The worst first.
    pub differences: Vec<Difference>,
}

/// A tool as it is now.
pub(super) enum Live {
    Is(Box<ToolSnapshot>),
    Gone,
    /// With the reason.
    Unknown(String),
}

/// What is in the place of pinned tools, by the name that the workflow gives them.
pub(super) type LiveTools = BTreeMap<String, Live>;

impl App {
    /// What the tools of a workflow are now; asks their servers, for a bounded time.
    pub(super) async fn live_tools(&self, workflow: &Workflow) -> LiveTools {
        let names: BTreeMap<String, &ToolName> =
            workflow.tools().map(|tool| (tool.to_string(), tool)).collect();
        let asked = names.into_iter().map(|(name, tool)| async move {
            let answer = tokio::time::timeout(PATIENCE, self.inner.tool_servers.tool(tool)).await;
            let live = match answer {
                Ok(Ok(info)) => Live::Is(Box::new(ToolSnapshot::from(&info))),
                Ok(Err(tool_servers::Error::UnknownTool { .. })) => Live::Gone,
                Ok(Err(err)) => Live::Unknown(err.to_string()),
                Err(_) => {
                    let seconds = PATIENCE.as_secs();
                    Live::Unknown(format!("its tool server did not answer within {seconds} s"))
                }
            };
            (name, live)
        });
        join_all(asked).await.into_iter().collect()
    }

    /// What became of the tools of many workflows, by their hash.
    pub(super) async fn drifts(
        &self,
        entries: &[&Entry],
        look: Look,
    ) -> Result<BTreeMap<String, WorkflowDrift>, Error> {
        let only = match entries {
            [entry] => entry.read.as_ref().ok().map(|workflow| workflow.hash.as_str()),
            _ => None,
        };
        let mut pins: BTreeMap<String, Vec<PinRow>> = BTreeMap::new();
        for pin in self.inner.store.pins(only).await? {
            pins.entry(pin.revision.clone()).or_default().push(pin);
        }
        let mut drifts = BTreeMap::new();
        for workflow in entries.iter().filter_map(|entry| entry.read.as_ref().ok()) {
            let Some(pins) = pins.get(&workflow.hash) else { continue };
            let live = match look {
                Look::Remembered => self.remembered(pins).await?,
                Look::Live => self.live_tools(workflow).await,
            };
            if let Some(drift) = self.drift(workflow, pins, &live).await? {
                drifts.insert(workflow.hash.clone(), drift);
            }
        }
        Ok(drifts)
    }

    /// What became of the tools of one revision, and leaves word of it.
    pub(super) async fn drift(
        &self,
        workflow: &Workflow,
        pins: &[PinRow],
        live: &LiveTools,
    ) -> Result<Option<WorkflowDrift>, Error> {
        let mut tools = Vec::new();
        for pin in pins {
            let live = match live.get(&pin.tool) {
                Some(Live::Is(live)) => Some(&**live),
                Some(Live::Gone) => None,
                Some(Live::Unknown(_)) | None => continue,
            };
            if live.is_some_and(|live| live.digest() == pin.digest) && pin.seen.is_none() {
                continue;
            }
            let Some(pinned) = self.snapshot(&pin.digest).await? else { continue };
            let seen = pin.seen.as_deref();
            self.inner.pins.note(&pin.revision, &pin.tool, &pinned, seen, live).await?;
            let usage = ToolName::parse(&pin.tool)
                .map_or_else(Usage::unknown, |tool| Usage::of(workflow, &tool));
            let drift = drift::classify(&pinned, live, &usage);
            if let Some(verdict) = drift.severity() {
                let (tool, differences) = (pin.tool.clone(), drift.differences());
                tools.push(ToolDrift { tool, verdict, differences });
            }
        }
        let worst = tools.iter().map(|tool| tool.verdict).max();
        Ok(worst.map(|verdict| {
            let advice = (Severity::Compatible < verdict).then(|| drift::advice(&workflow.name));
            WorkflowDrift { verdict, tools, advice }
        }))
    }

    /// What open connections know of pinned tools; where there is none, what was seen last.
    async fn remembered(&self, pins: &[PinRow]) -> Result<LiveTools, Error> {
        let mut live = LiveTools::new();
        for pin in pins {
            let known =
                ToolName::parse(&pin.tool).and_then(|tool| self.inner.tool_servers.known(&tool));
            let is = match (known, pin.seen.as_deref()) {
                (Some(Some(info)), _) => Live::Is(Box::new(ToolSnapshot::from(&info))),
                (Some(None), _) | (None, Some("")) => Live::Gone,
                (None, Some(seen)) => match self.snapshot(seen).await? {
                    Some(snapshot) => Live::Is(Box::new(snapshot)),
                    None => continue,
                },
                (None, None) => continue,
            };
            live.insert(pin.tool.clone(), is);
        }
        Ok(live)
    }

    async fn snapshot(&self, digest: &str) -> Result<Option<ToolSnapshot>, Error> {
        let text = self.inner.store.tool_snapshot(digest).await?;
        Ok(text.and_then(|text| pins::read(&text)))
    }
}
