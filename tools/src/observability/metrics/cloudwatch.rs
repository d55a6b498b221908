//! Metrics in CloudWatch, by `GetMetricData`.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, DimensionFilter, Metric, MetricDataQuery, MetricDataResult, MetricStat, ScanBy,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Series, step};
use crate::contract::ToolError;
use crate::observability::Observability;
use crate::observability::aws::{account, failure};
use crate::observability::settings::Source;
use crate::observability::time::Window;

const MOST_PAGES: usize = 5;
const POINTS: i64 = 60;
const BALANCERS: &str = "AWS/ApplicationELB";

/// What is asked for: one metric, or a formula.
#[derive(Debug, Clone)]
pub(in crate::observability) enum Wanted {
    Metric(Named),
    Expression(String),
}

/// A metric by its name.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::observability) struct Named {
    pub(in crate::observability) namespace: String,
    pub(in crate::observability) name: String,
    #[serde(default)]
    pub(in crate::observability) dimensions: BTreeMap<String, String>,
    #[serde(default = "average")]
    pub(in crate::observability) stat: String,
}

fn average() -> String {
    "Average".to_owned()
}

pub(in crate::observability) async fn client(state: &Observability, source: &Source) -> Client {
    Client::new(&account(state, source).await)
}

/// The distance of points in seconds: CloudWatch keeps older ones less densely.
pub(in crate::observability) fn period(window: Window, wanted: Option<i64>, now: i64) -> i64 {
    const DAY: i64 = 86_400_000;
    let kept = match now - window.start {
        age if age < 15 * DAY => 60,
        age if age < 63 * DAY => 300,
        _ => 3_600,
    };
    let period = wanted.unwrap_or_else(|| step(window, POINTS, kept)).max(kept);
    // It must be a multiple of a minute.
    (period + 59) / 60 * 60
}

/// The series of what is wanted, each under its id, all in one call.
pub(in crate::observability) async fn data(
    client: &Client,
    wanted: &[(String, Wanted)],
    window: Window,
    period: i64,
) -> Result<Vec<(String, Series)>, ToolError> {
    let queries: Vec<_> = wanted.iter().map(|(id, wanted)| query(id, wanted, period)).collect();
    let (mut found, mut page): (Vec<(String, Series)>, Option<String>) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let ask = client
            .get_metric_data()
            .set_metric_data_queries(Some(queries.clone()))
            .start_time(DateTime::from_millis(window.start))
            .end_time(DateTime::from_millis(window.end))
            .scan_by(ScanBy::TimestampAscending)
            .set_next_token(page);
        let answer = ask.send().await.map_err(|error| failure("reading metrics", &error))?;
        answer.metric_data_results().iter().for_each(|result| add(&mut found, wanted, result));
        page = answer.next_token;
        if page.is_none() {
            break;
        }
    }
    Ok(found)
}

fn query(id: &str, wanted: &Wanted, period: i64) -> MetricDataQuery {
    let period = i32::try_from(period).unwrap_or(i32::MAX);
    let query = MetricDataQuery::builder().id(id);
    match wanted {
        Wanted::Expression(text) => query.expression(text).period(period).build(),
        Wanted::Metric(named) => {
            let dimension = |(name, value): (&String, &String)| {
                Dimension::builder().name(name).value(value).build()
            };
            let metric = Metric::builder()
                .namespace(&named.namespace)
                .metric_name(&named.name)
                .set_dimensions(Some(named.dimensions.iter().map(dimension).collect()))
                .build();
            let stat =
                MetricStat::builder().metric(metric).period(period).stat(&named.stat).build();
            query.metric_stat(stat).build()
        }
    }
}

/// Adds a result, which may go on with a series of an earlier page.
fn add(found: &mut Vec<(String, Series)>, wanted: &[(String, Wanted)], result: &MetricDataResult) {
    let id = result.id().unwrap_or_default();
    let times = result.timestamps().iter().filter_map(|time| time.to_millis().ok());
    let points: Vec<_> = times.zip(result.values().iter().copied()).collect();
    let labels = labels(id, wanted, result);
    match found.iter_mut().find(|(own, series)| own == id && series.labels == labels) {
        Some((_, series)) => series.points.extend(points),
        None => found.push((id.to_owned(), Series { labels, points })),
    }
}

fn labels(id: &str, wanted: &[(String, Wanted)], result: &MetricDataResult) -> Map<String, Value> {
    let mut labels = Map::new();
    let mut add = |name: &str, value: &str| _ = labels.insert(name.to_owned(), value.into());
    add("id", id);
    add("label", result.label().unwrap_or_default());
    if let Some((_, Wanted::Metric(named))) = wanted.iter().find(|(own, _)| own == id) {
        add("stat", &named.stat);
    }
    labels
}

/// The last parts of an ARN, which are what the dimensions of metrics hold.
pub(in crate::observability) fn dimension(arn: &str) -> String {
    if let Some((_, rest)) = arn.split_once(":loadbalancer/") {
        return rest.to_owned();
    }
    match arn.split_once(":targetgroup/") {
        Some((_, rest)) => format!("targetgroup/{rest}"),
        None => arn.to_owned(),
    }
}

/// The load balancer as the dimensions of metrics name it, when only its short name or its target group is known.
pub(in crate::observability) async fn balancer(
    client: &Client,
    balancer: Option<&str>,
    group: Option<&str>,
) -> Result<Option<String>, ToolError> {
    let short = balancer.map(dimension);
    if let Some(full) = short.as_ref().filter(|name| name.contains('/')) {
        return Ok(Some(full.clone()));
    }
    if short.is_none() && group.is_none() {
        return Ok(None);
    }
    let filter = |name: &str, value: Option<String>| {
        DimensionFilter::builder().name(name).set_value(value).build()
    };
    let filters = [filter("LoadBalancer", None)].into_iter();
    let filters = filters.chain(group.map(|group| filter("TargetGroup", Some(dimension(group)))));
    let name = if group.is_some() { "HealthyHostCount" } else { "RequestCount" };
    let ask = client.list_metrics().namespace(BALANCERS).metric_name(name);
    let answer = ask.set_dimensions(Some(filters.collect())).send().await;
    let answer = answer.map_err(|error| failure("looking for the load balancer", &error))?;
    let names = answer.metrics().iter().flat_map(Metric::dimensions);
    let names = names.filter(|own| own.name() == Some("LoadBalancer")).filter_map(Dimension::value);
    let fits =
        |full: &&str| short.as_deref().is_none_or(|short| full.split('/').nth(1) == Some(short));
    Ok(names.filter(|own| fits(own)).map(str::to_owned).next())
}
