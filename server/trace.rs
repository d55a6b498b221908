//! OpenTelemetry traces: from whoever started an execution, through all who drive it, to the tools that it calls.
//!
//! The trace of an execution is a column of its row (W3C's `traceparent`), so that it goes on in another process. It is
//! handed on to tools whether anybody collects spans or not. Spans are made only where the standard variables name a
//! collector (`OTEL_EXPORTER_OTLP_ENDPOINT`), and sent there as OTLP in JSON. They hold names, statuses and codes: no
//! params, no results and no messages, in which there may be secrets.

mod export;
mod state;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use windlass_engine::{Event, State, Workflow};

use crate::{children::Family, metrics};

pub(crate) use export::flush;

/// One place in a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Context {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// What a span stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// A span that has begun.
pub(crate) struct Span {
    context: Context,
    parent: Option<u64>,
    /// W3C's `tracestate`.
    state: Option<String>,
    name: String,
    kind: Kind,
    began: SystemTime,
    attributes: Vec<(&'static str, Value)>,
}

/// Whether the lowest bit says that the trace is kept.
const SAMPLED: u8 = 1;

impl Context {
    /// Reads a `traceparent`; `None` when it is none.
    pub(crate) fn read(text: &str) -> Option<Context> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, length| {
            text.len() == length
                && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let fits = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        // A later version may say more behind it.
        if !fits || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        Some(Context { trace_id, span_id, flags: u8::from_str_radix(flags, 16).ok()? & SAMPLED })
    }

    fn new() -> Context {
        Context { trace_id: rand::random::<u128>() | 1, span_id: random_id(), flags: SAMPLED }
    }

    fn with_span(self, span_id: u64) -> Context {
        Context { span_id, ..self }
    }

    /// The place of an execution in the trace of those who started it: the same in every process.
    pub(crate) fn of_execution(self, execution_id: &str) -> Context {
        let digest = Sha256::digest(execution_id);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[..8]);
        self.with_span(u64::from_be_bytes(bytes) | 1)
    }

    fn is_sampled(self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }

    /// A new place below this one.
    pub(crate) fn below(self) -> Context {
        self.with_span(random_id())
    }
}

impl std::fmt::Display for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// A trace as the row of an execution has it: a place, and of its caller's `tracestate` what is handed on.
pub(crate) fn kept(place: Context, tracestate: Option<&str>) -> String {
    state::kept(place, tracestate.and_then(state::read).as_deref())
}

/// The `tracestate` that goes on with the trace of an execution, as its row has it.
pub(crate) fn tracestate(kept: &str) -> Option<&str> {
    state::of_kept(kept)
}

/// Whether spans are collected.
pub(crate) fn is_on() -> bool {
    export::exporter().is_some()
}

/// Begins the span of a request, below the caller's; `None` when nobody collects spans.
pub(crate) fn begin(name: &str, kind: Kind, caller: Option<Context>) -> Option<Span> {
    is_on().then(|| {
        let context = caller.map_or_else(Context::new, Context::below);
        Span::at(name.to_owned(), kind, context, caller.map(|caller| caller.span_id))
    })
}

/// Counts an execution that ended, and writes its span. Its messages stay out: a tool may have put anything into them.
pub(crate) fn execution_ended(family: &Family, id: &str, workflow: &Workflow, state: &State) {
    let status = state.status.as_str();
    metrics::execution_ended(status);
    let Some(kept) = family.traceparent.as_deref() else { return };
    let Some(caller) = Context::read(kept) else { return };
    // What is a step of another one stands below the topmost.
    let parent = if family.root_id == id { caller } else { caller.of_execution(&family.root_id) };
    let name = || format!("workflow {}", workflow.name);
    let Some(span) = begin_at(name, Kind::Internal, caller.of_execution(id), parent) else {
        return;
    };
    let failed = state.failure.as_ref().map(|(_, error)| error.code.as_str());
    let failed = failed.filter(|_| status == "failed");
    span.since(state.started_at)
        .in_state(tracestate(kept))
        .with("windlass.execution.id", id)
        .with("windlass.workflow.name", workflow.name.as_str())
        .with("windlass.workflow.revision", workflow.hash.as_str())
        .with("windlass.execution.status", status)
        .end(failed);
}

/// Begins the span of a transaction that writes a turn. `None`, after no more than a look, when nobody collects spans.
pub(crate) fn commit(family: &Family, execution_id: &str) -> Option<Span> {
    if !is_on() {
        return None;
    }
    let kept = family.traceparent.as_deref()?;
    let execution = Context::read(kept).filter(|caller| caller.is_sampled())?;
    let execution = execution.of_execution(execution_id);
    let span = begin_at(|| "commit".to_owned(), Kind::Internal, execution.below(), execution)?;
    Some(span.in_state(tracestate(kept)).with("windlass.execution.id", execution_id))
}

/// That transaction is over: what it wrote of the history, or why it wrote nothing.
pub(crate) fn committed(span: Option<Span>, written: Result<&[Event], &str>) {
    let Some(span) = span else { return };
    match written {
        Ok(events) => span.with("windlass.commit.events", events.len()).end(None),
        Err(code) => span.end(Some(code)),
    }
}

/// Begins a span at a place that is known already; `None` when nobody collects spans.
pub(crate) fn begin_at(
    name: impl FnOnce() -> String,
    kind: Kind,
    context: Context,
    parent: Context,
) -> Option<Span> {
    is_on().then(|| Span::at(name(), kind, context, Some(parent.span_id)))
}

impl Span {
    fn at(name: String, kind: Kind, context: Context, parent: Option<u64>) -> Span {
        let parent = parent.filter(|parent| *parent != context.span_id);
        let (began, attributes) = (SystemTime::now(), Vec::new());
        Span { context, parent, state: None, name, kind, began, attributes }
    }

    /// Where it stands.
    pub(crate) fn context(&self) -> Context {
        self.context
    }

    /// With the `tracestate` of its trace.
    #[must_use]
    pub(crate) fn in_state(mut self, tracestate: Option<&str>) -> Span {
        self.state = tracestate.map(str::to_owned);
        self
    }

    /// Says more of it.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Span {
        self.attributes.push((name, value.into()));
        self
    }

    /// As of then, in milliseconds since 1970.
    #[must_use]
    pub(crate) fn since(mut self, began_ms: i64) -> Span {
        let began = std::time::Duration::from_millis(u64::try_from(began_ms).unwrap_or_default());
        self.began = UNIX_EPOCH + began;
        self
    }

    /// It is over; with the code of what went wrong.
    pub(crate) fn end(self, error: Option<&str>) {
        let Some(exporter) = export::exporter() else { return };
        if self.context.is_sampled() {
            exporter.send(self.written(error));
        }
    }

    /// As OTLP has it in JSON.
    fn written(self, error: Option<&str>) -> Value {
        let mut attributes: Vec<Value> =
            self.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
        let mut status = json!({});
        if let Some(code) = error {
            attributes.push(attribute("error.type", &code.into()));
            status = json!({ "code": 2, "message": code });
        }
        let mut span = json!({
            "traceId": format!("{:032x}", self.context.trace_id),
            "spanId": format!("{:016x}", self.context.span_id),
            "name": self.name,
            "kind": self.kind as i64,
            "flags": self.context.flags,
            "startTimeUnixNano": nanoseconds(self.began),
            "endTimeUnixNano": nanoseconds(SystemTime::now().max(self.began)),
            "attributes": attributes,
            "status": status,
        });
        if let Some(parent) = self.parent {
            span["parentSpanId"] = format!("{parent:016x}").into();
        }
        if let Some(state) = &self.state {
            span["traceState"] = state.as_str().into();
        }
        span
    }
}

/// An attribute as OTLP has it in JSON.
fn attribute(name: &str, value: &Value) -> Value {
    let value = match value {
        Value::Bool(value) => json!({ "boolValue": value }),
        // JSON's numbers do not reach as far as its own, so whole ones are texts.
        Value::Number(value) => json!({ "intValue": value.to_string() }),
        Value::String(value) => json!({ "stringValue": value }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({ "key": name, "value": value })
}

fn nanoseconds(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn random_id() -> u64 {
    rand::random::<u64>() | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_as_it_is_written_and_nothing_else_is() {
        let context = Context::read(CALLER).unwrap();
        assert_eq!(context.to_string(), CALLER);
        assert!(
            Context::read(&CALLER.replace("00-4b", "cc-4b").replace("-01", "-01-more")).is_some()
        );
        for wrong in [
            "",
            "00-4bf9-00f067aa0ba902b7-01",
            &CALLER.to_uppercase(),
            &CALLER.replace("00-4b", "ff-4b"),
            &format!("{CALLER}-more"),
            &CALLER.replace("00f067aa0ba902b7", "0000000000000000"),
            &CALLER.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &CALLER.replace("4bf9", "4bé"),
        ] {
            assert_eq!(Context::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_execution_has_one_place_in_its_trace_whoever_drives_it() {
        let context = Context::read(CALLER).unwrap();
        let (one, other) = (context.of_execution("exec_1"), context.of_execution("exec_2"));
        assert_eq!(one, Context::read(CALLER).unwrap().of_execution("exec_1"));
        assert_eq!((one.trace_id, one.flags), (context.trace_id, context.flags));
        assert!(one.span_id != other.span_id && one.span_id != context.span_id);
        assert_ne!(one.below(), one.below());
    }

    #[test]
    fn without_a_collector_a_commit_makes_no_span() {
        let family = Family { traceparent: Some(CALLER.into()), ..Family::default() };
        assert!(commit(&family, "exec_1").is_none());
    }

    #[test]
    fn a_span_is_written_as_otlp_has_it() {
        let context = Context::read(CALLER).unwrap();
        let span = Span::at("a".into(), Kind::Client, context.below(), Some(context.span_id));
        let span = span.with("attempt", 2).with("tool", "x.one").in_state(Some("a=1"));
        let written = span.written(Some("timeout"));
        assert_eq!(written["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(written["parentSpanId"], "00f067aa0ba902b7");
        assert_eq!(written["traceState"], "a=1");
        assert_eq!((&written["kind"], &written["status"]["code"]), (&json!(3), &json!(2)));
        assert_eq!(written["attributes"][0]["value"], json!({ "intValue": "2" }));
        assert_eq!(written["attributes"][2]["value"], json!({ "stringValue": "timeout" }));
    }
}
