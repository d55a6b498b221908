//! Metrics in Prometheus, by its `query_range`.

use serde_json::{Map, Value};

use super::{Series, step};
use crate::contract::ToolError;
use crate::observability::Observability;
use crate::observability::http::ask;
use crate::observability::settings::Source;
use crate::observability::time::{Window, rfc3339};

const POINTS: i64 = 120;

/// The series of an expression.
pub(in crate::observability) async fn query(
    state: &Observability,
    source: (&str, &Source),
    expr: &str,
    window: Window,
    wanted_step: Option<i64>,
) -> Result<Vec<Series>, ToolError> {
    let step = wanted_step.unwrap_or_else(|| step(window, POINTS, 15));
    let query = [
        ("query", expr.to_owned()),
        ("start", rfc3339(window.start)),
        ("end", rfc3339(window.end)),
        ("step", step.to_string()),
    ];
    let answer = ask(state, source, "/api/v1/query_range", &query).await?;
    let found = answer.pointer("/data/result").and_then(Value::as_array);
    Ok(found.into_iter().flatten().map(series).collect())
}

fn series(found: &Value) -> Series {
    let labels = found["metric"].as_object().cloned().unwrap_or_else(Map::new);
    let values = found["values"].as_array().into_iter().flatten();
    let points = values.filter_map(point).filter(|(_, value)| value.is_finite()).collect();
    Series { labels, points }
}

/// A time in seconds and a value as text.
#[allow(clippy::cast_possible_truncation, reason = "times fit")]
fn point(pair: &Value) -> Option<(i64, f64)> {
    let seconds = pair[0].as_f64()?;
    Some(((seconds * 1000.0).round() as i64, pair[1].as_str()?.parse().ok()?))
}
