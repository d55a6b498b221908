//! metrics.query: a metric over a window, as a few numbers.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Observability;
use super::logs_search::{an_hour, bytes, two_thousand_tokens, until_now, window};
use super::metrics::{Series, prometheus};
use super::settings::{Kind, Source, invalid};
use super::time::{Window, length};
use crate::contract::now;
use crate::contract::schema::text;
use crate::contract::{Answer, Call, Tool, ToolError, ToolSpec};

const MOST_SERIES: usize = 50;

#[derive(Debug, Deserialize)]
struct Arguments {
    source: Option<String>,
    app: Option<String>,
    environment: Option<String>,
    #[serde(flatten)]
    one: Query,
    #[serde(default)]
    queries: Vec<Query>,
    #[serde(default = "an_hour")]
    since: String,
    #[serde(default = "until_now")]
    until: String,
    #[serde(default = "auto")]
    step: String,
    #[serde(default)]
    include_points: bool,
    #[serde(default = "two_thousand_tokens")]
    max_bytes: usize,
}

#[derive(Debug, Clone, Deserialize)]
struct Query {
    expr: Option<String>,
    metric: Option<Value>,
}

fn auto() -> String {
    "auto".to_owned()
}

pub(super) fn tool() -> Tool<Observability> {
    Tool { spec: spec(), run: |state, call| Box::pin(async move { query(&state, &call).await }) }
}

fn spec() -> ToolSpec {
    let expr = text("An expression in PromQL, or in CloudWatch's metric math");
    let metric = json!({
        "type": "object", "required": ["namespace", "name"], "additionalProperties": false,
        "properties": {
            "namespace": text("Such as AWS/ECS"), "name": text("Such as CPUUtilization"),
            "dimensions": { "type": "object", "additionalProperties": { "type": "string" } },
            "stat": { "type": "string", "default": "Average", "description": "Average, Sum, Maximum, p99 and so on" },
        },
        "description": "A metric of CloudWatch, instead of expr",
    });
    let query = json!({
        "type": "object", "additionalProperties": false, "properties": { "expr": expr, "metric": metric },
    });
    let properties = json!({
        "source": text("The name of a configured source; may be left out when only one fits"),
        "app": text("A configured app, whose source of metrics is asked"),
        "environment": text("The app's environment; may be left out when it has only one"),
        "expr": expr, "metric": metric,
        "queries": { "type": "array", "items": query, "maxItems": 20, "description": "Several at once" },
        "since": { "type": "string", "default": "1h", "description": "15m, 2h, 7d, now-90m, a time, or seconds or milliseconds since 1970" },
        "until": { "type": "string", "default": "now", "description": "As since" },
        "step": { "type": "string", "default": "auto", "description": "The time between two points, such as 1m" },
        "include_points": { "type": "boolean", "default": false },
        "max_bytes": { "type": "integer", "minimum": 1000, "maximum": 60_000, "default": 8000, "description": "The longest answer" },
    });
    ToolSpec {
        name: "metrics.query",
        title: "Query a metric",
        description: "Reads metrics over a window from Prometheus or CloudWatch, and tells of each series its least, greatest, \
                      average and last value, its 95th percentile and its change per hour.",
        input: json!({ "type": "object", "additionalProperties": false, "properties": properties }),
        output: output(),
        names: &["metrics_query"],
        aliases: &[("expr", &["query", "promql"])],
        ..ToolSpec::default()
    }
}

fn output() -> Value {
    let number = json!({ "type": ["number", "null"] });
    let stats = json!({
        "type": "object", "required": ["count", "min", "max", "avg", "last", "p95", "slope"],
        "properties": {
            "count": { "type": "integer" }, "min": number, "max": number, "avg": number,
            "last": number, "p95": number, "slope": number,
        },
        "description": "slope is the change per hour",
    });
    let series = json!({
        "type": "object", "required": ["labels", "stats"],
        "properties": {
            "labels": { "type": "object" }, "stats": stats,
            "points": { "type": "array", "items": { "type": "array" }, "description": "Pairs of time and value" },
        },
    });
    json!({
        "type": "object", "required": ["window", "source", "series", "truncated", "hints"],
        "properties": {
            "window": window(), "source": { "type": "string" },
            "series": { "type": "array", "items": series },
            "truncated": { "type": "boolean" },
            "hints": { "type": "array", "items": { "type": "string" } },
        },
    })
}

async fn query(state: &Observability, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let (name, source) = arguments.source(state)?;
    let window = Window::parse(&arguments.since, &arguments.until, now())?;
    let step = match arguments.step.as_str() {
        "auto" => None,
        step => Some((length("step", step)? / 1000).max(1)),
    };
    let queries = arguments.queries();
    if queries.is_empty() {
        return Err(invalid("give expr, metric or queries"));
    }
    let series = match source.kind {
        Kind::Prometheus => {
            let mut all = Vec::new();
            for query in &queries {
                let expr = query.expr.as_deref().ok_or_else(|| {
                    invalid(format!("{name} is prometheus: it needs expr"))
                        .hint("metric is for CloudWatch")
                })?;
                all.extend(prometheus::query(state, (&name, &source), expr, window, step).await?);
            }
            all
        }
        Kind::Cloudwatch => cloudwatch(state, &source, &queries, window, step).await?,
        Kind::Loki | Kind::Files => {
            return Err(invalid(format!("{name} has logs, but no metrics")));
        }
    };
    Ok(answer(&arguments, &name, window, &series))
}

impl Arguments {
    fn queries(&self) -> Vec<Query> {
        let own = Some(self.one.clone()).filter(|own| own.expr.is_some() || own.metric.is_some());
        own.into_iter().chain(self.queries.iter().cloned()).collect()
    }

    fn source(&self, state: &Observability) -> Result<(String, Source), ToolError> {
        let environment = match &self.app {
            Some(app) => Some(state.config.environment(app, self.environment.as_deref())?.1),
            None => None,
        };
        let of_app = environment.and_then(|own| own.metrics.as_deref());
        let metric = self.queries().iter().any(|query| query.metric.is_some());
        let kinds: &[Kind] = if metric { &[Kind::Cloudwatch] } else { &[Kind::Prometheus] };
        state.config.source(self.source.as_deref().or(of_app), kinds)
    }
}

#[cfg(feature = "cloudwatch-metrics")]
async fn cloudwatch(
    state: &Observability,
    source: &Source,
    queries: &[Query],
    window: Window,
    step: Option<i64>,
) -> Result<Vec<Series>, ToolError> {
    use super::metrics::cloudwatch::{Wanted, client, data, period};

    let wanted = |(place, query): (usize, &Query)| {
        let wanted = match (&query.metric, &query.expr) {
            (Some(metric), _) => serde_json::from_value(metric.clone())
                .map(Wanted::Metric)
                .map_err(|error| invalid(format!("metric does not fit: {error}"))),
            (None, Some(expr)) => Ok(Wanted::Expression(expr.clone())),
            (None, None) => Err(invalid("each of queries needs expr or metric")),
        };
        Ok((format!("q{place}"), wanted?))
    };
    let wanted: Result<Vec<_>, ToolError> = queries.iter().enumerate().map(wanted).collect();
    let client = client(state, source).await;
    let found = data(&client, &wanted?, window, period(window, step, now())).await?;
    Ok(found.into_iter().map(|(_, series)| series).collect())
}

#[cfg(not(feature = "cloudwatch-metrics"))]
async fn cloudwatch(
    _: &Observability,
    _: &Source,
    _: &[Query],
    _: Window,
    _: Option<i64>,
) -> Result<Vec<Series>, ToolError> {
    let message = "this build of Windlass has no CloudWatch metrics";
    Err(ToolError::new(crate::contract::Code::FailedPrecondition, message)
        .hint("build it with the feature cloudwatch-metrics"))
}

fn answer(arguments: &Arguments, source: &str, window: Window, series: &[Series]) -> Value {
    let shown = |points: bool| -> Vec<Value> {
        series.iter().take(MOST_SERIES).map(|series| series.shown(points)).collect()
    };
    let budget = arguments.max_bytes.saturating_sub(500);
    let mut hints = Vec::new();
    let mut told = shown(arguments.include_points);
    if arguments.include_points && budget < bytes(&told) {
        told = shown(false);
        hints.push("the points do not fit: make step longer or max_bytes greater".to_owned());
    }
    while budget < bytes(&told) {
        told.pop();
    }
    if series.iter().all(|series| series.points.is_empty()) {
        hints.push(
            "there are no points in this window: check names and labels, or look further back"
                .to_owned(),
        );
    }
    let truncated = told.len() < series.len() || (arguments.include_points && !hints.is_empty());
    json!({ "window": window.shown(), "source": source, "series": told, "truncated": truncated, "hints": hints })
}
