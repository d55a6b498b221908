//! Counts what this process does, for Prometheus.
//!
//! Whoever does something counts it here; a scrape writes all of it out. Labels are words that this program or its
//! configuration knows: never an id, never what a document or a caller made up.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::Write,
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use crate::tool_servers::Breaker;

/// How long a call of a tool takes, in seconds: from a built-in one to a deployment.
const CALL_SECONDS: [f64; 14] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

/// How long a commit takes, in seconds.
const COMMIT_SECONDS: [f64; 12] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// How many turns share a transaction.
const COMMIT_TURNS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What stands for a tool that its server does not have.
const UNKNOWN: &str = "unknown";

type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// What can only be asked of the database and the tool servers, and is when somebody scrapes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Executions that are due and that nobody drives; counted up to a bound.
    pub due: i64,
    /// How long the one that has been due longest has been, in milliseconds.
    pub oldest_due_ms: i64,
    /// Executions that wait for somebody or something outside; counted up to a bound.
    pub parked: i64,
    /// Whether the database answered.
    pub database_up: bool,
    /// Each tool server that this process knows, and whether it is called.
    pub breakers: BTreeMap<String, Breaker>,
}

/// Everything that is counted.
struct Metrics {
    registry: Registry,
    executions_started: Counter,
    executions_ended: Family<Labels, Counter>,
    steps_ended: Family<Labels, Counter>,
    attempts: Family<Labels, Counter>,
    call_seconds: Family<Labels, Histogram, Buckets>,
    calls_out: Gauge,
    driven: Gauge,
    lease_losses: Counter,
    takeovers: Counter,
    commit_turns: Histogram,
    commit_seconds: Histogram,
    due: Gauge,
    oldest_due: Gauge<f64, std::sync::atomic::AtomicU64>,
    parked: Gauge,
    database_up: Gauge,
    broken: Family<Labels, Gauge>,
    breakers: Family<Labels, Gauge>,
    sessions: Gauge,
    resident: Gauge,
}

#[derive(Clone)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(CALL_SECONDS)
    }
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Something that is under way until this is dropped.
pub(crate) struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// So many executions began.
pub(crate) fn executions_started(count: usize) {
    METRICS.executions_started.inc_by(count as u64);
}

/// An execution ended.
pub(crate) fn execution_ended(status: &'static str) {
    METRICS.executions_ended.get_or_create(&vec![("status", status.into())]).inc();
}

/// A step ended.
pub(crate) fn step_ended(status: &'static str) {
    METRICS.steps_ended.get_or_create(&vec![("status", status.into())]).inc();
}

/// An execution is driven here.
pub(crate) fn driven() -> UnderWay {
    METRICS.driven.inc();
    UnderWay(METRICS.driven.clone())
}

/// A call of a tool is out.
pub(crate) fn call_out() -> UnderWay {
    METRICS.calls_out.inc();
    UnderWay(METRICS.calls_out.clone())
}

/// A call of a tool is over; `server` and `tool` are `None` where the configuration or the server has none of that name.
pub(crate) fn called(
    server: Option<&str>,
    tool: Option<&str>,
    outcome: &'static str,
    took: Duration,
) {
    let name = |known: Option<&str>| known.map_or(UNKNOWN.into(), |name| name.to_owned().into());
    let mut labels: Labels = vec![("server", name(server)), ("tool", name(tool))];
    METRICS.call_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    labels.push(("outcome", outcome.into()));
    METRICS.attempts.get_or_create(&labels).inc();
}

/// Somebody else drives what this process drove.
pub(crate) fn lease_lost() {
    METRICS.lease_losses.inc();
}

/// This process goes on with calls that were out when another one ended.
pub(crate) fn took_over() {
    METRICS.takeovers.inc();
}

/// One transaction wrote so many turns.
pub(crate) fn committed(turns: usize, began: Instant) {
    METRICS.commit_turns.observe(turns as f64);
    METRICS.commit_seconds.observe(began.elapsed().as_secs_f64());
}

/// So many sessions of the older protocols are open over HTTP.
pub(crate) fn sessions(count: usize) {
    METRICS.sessions.set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Everything, in Prometheus' text format.
pub(crate) fn text(standing: &Standing) -> String {
    let metrics = &*METRICS;
    metrics.due.set(standing.due);
    metrics.oldest_due.set(standing.oldest_due_ms as f64 / 1000.0);
    metrics.parked.set(standing.parked);
    metrics.database_up.set(i64::from(standing.database_up));
    for (server, breaker) in &standing.breakers {
        metrics.tell_breaker(server, *breaker);
    }
    metrics.resident.set(resident_bytes().unwrap_or_default());
    let mut text = String::new();
    encode(&mut text, &metrics.registry).expect("a text takes everything");
    plain(&text)
}

/// Counting starts with the process.
pub(crate) fn start() {
    LazyLock::force(&METRICS);
}

impl Metrics {
    fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::default(),
            executions_started: Counter::default(),
            executions_ended: Family::default(),
            steps_ended: Family::default(),
            attempts: Family::default(),
            call_seconds: Family::new_with_constructor(Buckets),
            calls_out: Gauge::default(),
            driven: Gauge::default(),
            lease_losses: Counter::default(),
            takeovers: Counter::default(),
            commit_turns: Histogram::new(COMMIT_TURNS),
            commit_seconds: Histogram::new(COMMIT_SECONDS),
            due: Gauge::default(),
            oldest_due: Gauge::default(),
            parked: Gauge::default(),
            database_up: Gauge::default(),
            broken: Family::default(),
            breakers: Family::default(),
            sessions: Gauge::default(),
            resident: Gauge::default(),
        };
        for status in ["completed", "failed", "cancelled"] {
            drop(metrics.executions_ended.get_or_create(&vec![("status", status.into())]));
        }
        metrics.register();
        metrics
    }

    /// One of the states is 1, as a state set is written.
    fn tell_breaker(&self, server: &str, breaker: Breaker) {
        let mut labels: Labels = vec![("server", server.to_owned().into())];
        let is_open = matches!(breaker, Breaker::Open { .. });
        self.broken.get_or_create(&labels).set(i64::from(is_open));
        for state in Breaker::STATES {
            labels.push(("state", state.into()));
            self.breakers.get_or_create(&labels).set(i64::from(state == breaker.word()));
            labels.pop();
        }
    }

    fn register(&mut self) {
        let process = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        process.set(since.as_secs_f64());
        let registry = &mut self.registry;
        registry.register_with_unit(
            "process_start_time",
            "When this process started",
            Unit::Seconds,
            process,
        );
        registry.register_with_unit(
            "process_resident_memory",
            "Memory that is resident",
            Unit::Bytes,
            self.resident.clone(),
        );
        let ours = registry.sub_registry_with_prefix("windlass");
        let build = Family::<Labels, Gauge>::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").into())]).set(1);
        ours.register("build_info", "The release", build);
        ours.register(
            "executions_started",
            "Executions that began here",
            self.executions_started.clone(),
        );
        ours.register(
            "executions_ended",
            "Executions that ended here",
            self.executions_ended.clone(),
        );
        ours.register("steps_ended", "Steps that ended here", self.steps_ended.clone());
        ours.register("attempts", "Calls of tools that came home", self.attempts.clone());
        ours.register_with_unit(
            "tool_call_duration",
            "How long calls of tools took",
            Unit::Seconds,
            self.call_seconds.clone(),
        );
        ours.register("tool_calls_out", "Calls of tools that are out", self.calls_out.clone());
        ours.register(
            "executions_driven",
            "Executions that this process drives now",
            self.driven.clone(),
        );
        ours.register(
            "lease_losses",
            "Executions that somebody else drove in the end",
            self.lease_losses.clone(),
        );
        ours.register(
            "takeovers",
            "Executions whose calls were out when another process ended",
            self.takeovers.clone(),
        );
        ours.register(
            "commit_turns",
            "How many turns a transaction wrote",
            self.commit_turns.clone(),
        );
        ours.register_with_unit(
            "commit_duration",
            "How long a transaction of turns took",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        ours.register(
            "executions_due",
            "Executions of the workspace that are due and not driven, up to 10000",
            self.due.clone(),
        );
        ours.register_with_unit(
            "queue_age",
            "How long the oldest of those has been due",
            Unit::Seconds,
            self.oldest_due.clone(),
        );
        ours.register(
            "executions_parked",
            "Executions of the workspace that wait for somebody, up to 10000",
            self.parked.clone(),
        );
        ours.register(
            "database_up",
            "Whether the database answered this scrape",
            self.database_up.clone(),
        );
        ours.register(
            "tool_server_broken",
            "Whether calls are refused because the server could not be reached",
            self.broken.clone(),
        );
        ours.register(
            "tool_server_breaker_state",
            "1 for the state that the breaker of calls to the server is in",
            self.breakers.clone(),
        );
        ours.register(
            "mcp_sessions",
            "Sessions of clients up to MCP 2025-11-25 that this process holds",
            self.sessions.clone(),
        );
    }
}

/// OpenMetrics as Prometheus' older text format, which everybody reads: there, a counter's family is called as its samples
/// are, and neither units nor an end are said.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut help: Option<&str> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            let said =
                help.take().and_then(|help| help.split_once(' ')).map_or("", |(_, said)| said);
            // A text takes everything.
            _ = writeln!(plain, "# HELP {name}{suffix} {said}\n# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

/// `None` where the system does not say.
fn resident_bytes() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<i64>().ok()? * 1024)
}
