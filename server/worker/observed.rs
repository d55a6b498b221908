//! Tells those who watch, in numbers and spans, what became of calls and turns.

use std::collections::BTreeSet;

use windlass_engine::{Event, State, StepStatus, Workflow};

use crate::{
    children::Family,
    metrics, store,
    tool_servers::{Call, Outcome},
    trace::{self, Context, Kind, Span},
};

/// Gives a call its place in the trace of its execution, and begins its span where spans are collected.
pub(super) fn sent(
    family: &Family,
    execution_id: &str,
    step: &str,
    call: &mut Call,
) -> Option<Span> {
    let kept = family.traceparent.as_deref()?;
    let execution = Context::read(kept)?.of_execution(execution_id);
    let place = execution.below();
    let tracestate = trace::tracestate(kept);
    call.traceparent = Some(place.to_string());
    call.tracestate = tracestate.map(str::to_owned);
    let span =
        trace::begin_at(|| format!("tools/call {}", call.tool), Kind::Client, place, execution)?;
    Some(
        span.in_state(tracestate)
            .with("mcp.method.name", "tools/call")
            .with("gen_ai.operation.name", "execute_tool")
            .with("gen_ai.tool.name", call.tool.tool.as_str())
            .with("windlass.tool_server.name", call.tool.server.as_str())
            .with("windlass.execution.id", execution_id)
            .with("windlass.step.name", step)
            .with("windlass.attempt", call.attempt),
    )
}

/// A call came home.
pub(super) fn answered(span: Option<Span>, outcome: &Outcome) {
    let Some(span) = span else { return };
    match outcome {
        Outcome::Succeeded(_) => span.end(None),
        Outcome::NotDone(_) => span.with("windlass.done", false).end(None),
        Outcome::Failed(failure) => span.end(Some(&failure.code)),
        Outcome::Uncertain { failure, .. } => {
            span.with("windlass.uncertain", true).end(Some(&failure.code));
        }
    }
}

/// A turn was sent to the database, which took it or did not.
pub(super) fn committed(
    span: Option<Span>,
    events: &[Event],
    committed: &Result<store::Committed, store::Error>,
) {
    let written = match committed {
        Ok(_) => Ok(events),
        Err(store::Error::Fenced(_)) => Err("lease_lost"),
        Err(_) => Err("database"),
    };
    trace::committed(span, written);
}

/// A turn was written.
pub(super) fn turned(
    family: &Family,
    execution_id: &str,
    workflow: &Workflow,
    state: &State,
    events: &[Event],
    children: &[store::NewChild],
) {
    metrics::executions_started(children.iter().filter(|child| child.beginning.is_ok()).count());
    let steps: BTreeSet<&str> = events.iter().filter_map(Event::step).collect();
    for step in steps.into_iter().filter_map(|step| state.step(step)) {
        match step.status {
            StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::Skipped
            | StepStatus::Cancelled => metrics::step_ended(step.status.as_str()),
            StepStatus::Pending
            | StepStatus::Running
            | StepStatus::Waiting
            | StepStatus::Uncertain => {}
        }
    }
    if !events.is_empty() && state.status.is_final() {
        trace::execution_ended(family, execution_id, workflow, state);
    }
}
