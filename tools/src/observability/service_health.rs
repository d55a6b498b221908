//! metrics.getServiceHealth: how an ECS service and its load balancer are, with a verdict.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Observability;
use super::logs_search::{an_hour, until_now, window};
use super::metrics::Series;
use super::metrics::cloudwatch::{Named, Wanted, balancer, client, data, dimension, period};
use super::settings::{Environment, Kind, invalid};
use super::time::{Window, rfc3339};
use crate::contract::now;
use crate::contract::schema::text;
use crate::contract::{Answer, Call, Tool, ToolSpec};

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Arguments {
    source: Option<String>,
    app: Option<String>,
    environment: Option<String>,
    cluster: Option<String>,
    service: Option<String>,
    load_balancer: Option<String>,
    target_group: Option<String>,
    #[serde(default = "five_minutes")]
    period: i64,
    #[serde(default = "an_hour")]
    since: String,
    #[serde(default = "until_now")]
    until: String,
    #[serde(default)]
    thresholds: Thresholds,
}

/// From where on it is worth a warning, and from where on it is bad, in percent.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Thresholds {
    cpu_warn: f64,
    cpu_critical: f64,
    memory_warn: f64,
    memory_critical: f64,
    error_warn: f64,
    error_critical: f64,
}

/// What was found, by the ids of the questions.
type Found = BTreeMap<String, Series>;

fn five_minutes() -> i64 {
    300
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            cpu_warn: 80.0,
            cpu_critical: 95.0,
            memory_warn: 85.0,
            memory_critical: 95.0,
            error_warn: 1.0,
            error_critical: 5.0,
        }
    }
}

pub(super) fn tool() -> Tool<Observability> {
    Tool { spec: spec(), run: |state, call| Box::pin(async move { run(&state, &call).await }) }
}

fn spec() -> ToolSpec {
    let percent = json!({ "type": "number", "minimum": 0 });
    let properties = json!({
        "source": text("The name of a configured source of the kind cloudwatch"),
        "app": text("A configured app, instead of cluster and service"),
        "environment": text("The app's environment; may be left out when it has only one"),
        "cluster": text("The ECS cluster"), "service": text("The ECS service"),
        "load_balancer": text("The load balancer: its name, app/NAME/ID or its ARN"),
        "target_group": text("The target group: targetgroup/NAME/ID or its ARN"),
        "period": { "type": "integer", "minimum": 60, "default": 300, "description": "Seconds between two points" },
        "since": { "type": "string", "default": "1h" }, "until": { "type": "string", "default": "now" },
        "thresholds": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "cpu_warn": percent, "cpu_critical": percent, "memory_warn": percent, "memory_critical": percent,
                "error_warn": percent, "error_critical": percent,
            },
            "description": "In percent; of errors: of all requests",
        },
    });
    ToolSpec {
        name: "metrics.getServiceHealth",
        title: "Get service health",
        description: "Reads CPU, memory, failed requests, latency and healthy hosts of an ECS service, with a verdict.",
        input: json!({ "type": "object", "additionalProperties": false, "properties": properties }),
        output: output(),
        names: &["metrics_getServiceHealth", "getServiceHealth"],
        aliases: &[
            ("load_balancer", &["loadBalancerName", "load_balancer_name", "loadBalancerArn"]),
            ("target_group", &["targetGroupArn", "target_group_arn"]),
            ("period", &["periodSeconds", "period_seconds"]),
        ],
        ..ToolSpec::default()
    }
}

fn output() -> Value {
    let points = json!({
        "type": "object", "required": ["datapoints", "unit"],
        "properties": {
            "datapoints": {
                "type": "array",
                "items": {
                    "type": "object", "required": ["timestamp"],
                    "properties": {
                        "timestamp": { "type": "string" }, "average": { "type": "number" },
                        "maximum": { "type": "number" }, "sum": { "type": "number" },
                    },
                },
            },
            "unit": { "type": "string" },
        },
    });
    json!({
        "type": "object",
        "required": ["cluster", "service", "period", "window", "cpu", "memory", "summary", "verdict", "reasons"],
        "properties": {
            "cluster": { "type": "string" }, "service": { "type": "string" }, "period": { "type": "integer" },
            "window": window(), "cpu": points, "memory": points, "alb5xx": points,
            "summary": { "type": "object", "description": "Of each: avg, max and last; null without points" },
            "verdict": { "enum": ["ok", "warn", "critical", "unknown"], "description": "unknown when there are no points" },
            "reasons": { "type": "array", "items": { "type": "string" } },
        },
    })
}

async fn run(state: &Observability, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let arguments = match &arguments.app {
        Some(app) => {
            let (_, own) = state.config.environment(app, arguments.environment.as_deref())?;
            arguments.clone().of(own)
        }
        None => arguments,
    };
    health(state, &arguments).await
}

/// The health of an environment's service, when it has one.
pub(super) async fn of_environment(
    state: &Observability,
    environment: &Environment,
    since: &str,
) -> Option<Answer> {
    environment.cluster.as_ref().and(environment.service.as_ref())?;
    let arguments = Arguments {
        period: five_minutes(),
        since: since.to_owned(),
        until: until_now(),
        ..Arguments::default()
    };
    Some(health(state, &arguments.of(environment)).await)
}

impl Arguments {
    fn of(self, own: &Environment) -> Self {
        Self {
            source: self.source.or_else(|| own.metrics.clone()),
            cluster: self.cluster.or_else(|| own.cluster.clone()),
            service: self.service.or_else(|| own.service.clone()),
            load_balancer: self.load_balancer.or_else(|| own.load_balancer.clone()),
            target_group: self.target_group.or_else(|| own.target_group.clone()),
            ..self
        }
    }
}

async fn health(state: &Observability, arguments: &Arguments) -> Answer {
    let window = Window::parse(&arguments.since, &arguments.until, now())?;
    let (_, source) = state.config.source(arguments.source.as_deref(), &[Kind::Cloudwatch])?;
    look(&client(state, &source).await, arguments, window).await
}

async fn look(client: &Client, arguments: &Arguments, window: Window) -> Answer {
    let (Some(cluster), Some(service)) = (&arguments.cluster, &arguments.service) else {
        return Err(invalid("give cluster and service, or app and environment that name them"));
    };
    let group = arguments.target_group.as_deref();
    let full = balancer(client, arguments.load_balancer.as_deref(), group).await?;
    let period = period(window, Some(arguments.period), now());
    let wanted = wanted(cluster, service, full.as_deref(), group);
    let found: Found = data(client, &wanted, window, period).await?.into_iter().collect();
    let missing = arguments.load_balancer.as_ref().filter(|_| full.is_none());
    let (verdict, mut reasons) = verdict(&found, &arguments.thresholds);
    reasons.extend(missing.map(|name| format!("no metrics of the load balancer {name} are found")));
    let mut answer = json!({
        "cluster": cluster, "service": service, "period": period, "window": window.shown(),
        "cpu": points(&found, &[("average", "cpu_average"), ("maximum", "cpu_maximum")], "Percent"),
        "memory": points(&found, &[("average", "memory_average"), ("maximum", "memory_maximum")], "Percent"),
        "summary": summary(&found), "verdict": verdict, "reasons": reasons,
    });
    if full.is_some() {
        answer["alb5xx"] =
            points(&found, &[("sum", "errors"), ("average", "errors_average")], "Count");
    }
    Ok(answer)
}

/// Everything in one call.
fn wanted(
    cluster: &str,
    service: &str,
    balancer: Option<&str>,
    group: Option<&str>,
) -> Vec<(String, Wanted)> {
    let ask = |id: &str, namespace: &str, name: &str, stat: &str, of: &[(&str, String)]| {
        let dimensions = of.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let named = Named {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions: dimensions.collect(),
            stat: stat.to_owned(),
        };
        (id.to_owned(), Wanted::Metric(named))
    };
    let ecs = [("ClusterName", cluster.to_owned()), ("ServiceName", service.to_owned())];
    let mut wanted = vec![
        ask("cpu_average", "AWS/ECS", "CPUUtilization", "Average", &ecs),
        ask("cpu_maximum", "AWS/ECS", "CPUUtilization", "Maximum", &ecs),
        ask("memory_average", "AWS/ECS", "MemoryUtilization", "Average", &ecs),
        ask("memory_maximum", "AWS/ECS", "MemoryUtilization", "Maximum", &ecs),
    ];
    let Some(balancer) = balancer else { return wanted };
    let mut of = vec![("LoadBalancer", balancer.to_owned())];
    of.extend(group.map(|group| ("TargetGroup", dimension(group))));
    let elb = "AWS/ApplicationELB";
    let failed = "HTTPCode_Target_5XX_Count";
    wanted.extend([
        ask("errors", elb, failed, "Sum", &of),
        ask("errors_average", elb, failed, "Average", &of),
        ask("requests", elb, "RequestCount", "Sum", &of),
        ask("latency", elb, "TargetResponseTime", "p95", &of),
    ]);
    if group.is_some() {
        wanted.push(ask("healthy_hosts", elb, "HealthyHostCount", "Minimum", &of));
        wanted.push(ask("unhealthy_hosts", elb, "UnHealthyHostCount", "Maximum", &of));
    }
    wanted
}

/// Points of several series as AFU-9's callers read them: one object for each time.
fn points(found: &Found, of: &[(&str, &str)], unit: &str) -> Value {
    let mut by_time: BTreeMap<i64, Value> = BTreeMap::new();
    for (name, id) in of {
        for (at, value) in found.get(*id).into_iter().flat_map(|series| &series.points) {
            let point = by_time.entry(*at).or_insert_with(|| json!({ "timestamp": rfc3339(*at) }));
            point[*name] = json!(value);
        }
    }
    json!({ "datapoints": by_time.into_values().collect::<Vec<_>>(), "unit": unit })
}

fn summary(found: &Found) -> Value {
    let stats = |id: &str| found.get(id).map(Series::stats).unwrap_or_default();
    let mut summary = json!({});
    for (name, average, maximum) in
        [("cpu", "cpu_average", "cpu_maximum"), ("memory", "memory_average", "memory_maximum")]
    {
        summary[name] = json!({
            "avg": stats(average)["avg"], "max": stats(maximum)["max"], "last": stats(average)["last"],
        });
    }
    let latency = stats("latency");
    summary["latency_p95_seconds"] =
        json!({ "avg": latency["avg"], "max": latency["max"], "last": latency["last"] });
    for id in ["errors", "requests"] {
        summary[id] = json!(sum(found, id));
    }
    summary["healthy_hosts"] = stats("healthy_hosts")["last"].clone();
    summary["unhealthy_hosts"] = stats("unhealthy_hosts")["last"].clone();
    summary
}

fn sum(found: &Found, id: &str) -> Option<f64> {
    let series = found.get(id).filter(|series| !series.points.is_empty())?;
    Some(series.points.iter().map(|(_, value)| value).sum())
}

fn verdict(found: &Found, thresholds: &Thresholds) -> (&'static str, Vec<String>) {
    let average = |id: &str| found.get(id).and_then(|series| series.stats()["avg"].as_f64());
    let last = |id: &str| found.get(id).and_then(|series| series.stats()["last"].as_f64());
    let share = sum(found, "requests")
        .filter(|requests| 0.0 < *requests)
        .map(|requests| sum(found, "errors").unwrap_or_default() / requests * 100.0);
    let of = thresholds;
    let percents = [
        ("CPU is at", average("cpu_average"), of.cpu_warn, of.cpu_critical),
        ("memory is at", average("memory_average"), of.memory_warn, of.memory_critical),
        ("failed requests are", share, of.error_warn, of.error_critical),
    ];
    let (mut grade, mut reasons) = (0, Vec::new());
    for (what, value, warn, critical) in percents {
        let Some(value) = value.filter(|value| warn <= *value) else { continue };
        grade = grade.max(if critical <= value { 2 } else { 1 });
        reasons.push(format!("{what} {value:.1} %"));
    }
    match (last("healthy_hosts"), last("unhealthy_hosts")) {
        (Some(healthy), _) if healthy < 1.0 => {
            grade = 2;
            reasons.push("no host is healthy".to_owned());
        }
        (_, Some(unhealthy)) if 1.0 <= unhealthy => {
            grade = grade.max(1);
            reasons.push(format!("{unhealthy:.0} hosts are not healthy"));
        }
        _ => {}
    }
    if average("cpu_average").is_none() && grade == 0 {
        return ("unknown", vec!["the service has no points in this window".to_owned()]);
    }
    (["ok", "warn", "critical"][grade], reasons)
}

#[cfg(test)]
mod tests;
