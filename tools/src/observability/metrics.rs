//! What all sources of metrics have in common: series of points, and what is told of them.

#[cfg(feature = "cloudwatch-metrics")]
pub(super) mod cloudwatch;
pub(super) mod prometheus;

use serde_json::{Map, Value, json};

use super::time::{Window, rfc3339};

/// Values over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Series {
    pub(super) labels: Map<String, Value>,
    /// Times in milliseconds since 1970, the oldest first.
    pub(super) points: Vec<(i64, f64)>,
}

impl Series {
    /// What is told of the points instead of them.
    #[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 points")]
    pub(super) fn stats(&self) -> Value {
        let mut values: Vec<f64> = self.points.iter().map(|(_, value)| *value).collect();
        let last = values.last().copied();
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max), Some(last)) = (values.first(), values.last(), last) else {
            return json!({ "count": 0, "min": null, "max": null, "avg": null, "last": null, "p95": null, "slope": null });
        };
        let avg = values.iter().sum::<f64>() / values.len() as f64;
        let p95 = values[(values.len() * 95).div_ceil(100).max(1) - 1];
        json!({
            "count": values.len(), "min": rounded(*min), "max": rounded(*max), "avg": rounded(avg),
            "last": rounded(last), "p95": rounded(p95), "slope": self.slope().map(rounded),
        })
    }

    /// The change per hour, by least squares.
    #[allow(clippy::cast_precision_loss, reason = "times are told in milliseconds")]
    fn slope(&self) -> Option<f64> {
        let first = self.points.first()?.0;
        let hours = |at: i64| (at - first) as f64 / 3_600_000.0;
        let count = self.points.len() as f64;
        let mean_x = self.points.iter().map(|(at, _)| hours(*at)).sum::<f64>() / count;
        let mean_y = self.points.iter().map(|(_, value)| value).sum::<f64>() / count;
        let (mut covariance, mut variance) = (0.0, 0.0);
        for (at, value) in &self.points {
            covariance += (hours(*at) - mean_x) * (value - mean_y);
            variance += (hours(*at) - mean_x).powi(2);
        }
        (0.0 < variance).then(|| covariance / variance)
    }

    pub(super) fn shown(&self, with_points: bool) -> Value {
        let mut shown = json!({ "labels": self.labels, "stats": self.stats() });
        if with_points {
            let points =
                self.points.iter().map(|(at, value)| json!([rfc3339(*at), rounded(*value)]));
            shown["points"] = points.collect();
        }
        shown
    }
}

/// To six digits: the rest is noise that costs words.
fn rounded(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    format!("{value:.5e}").parse::<f64>().map_or(Value::Null, Value::from)
}

/// A distance of points, in seconds, that makes about so many of a window.
pub(super) fn step(window: Window, points: i64, least: i64) -> i64 {
    let even = [1, 5, 10, 15, 30, 60, 300, 900, 3_600, 21_600, 86_400];
    let wanted = (window.length() / 1000 / points).max(least);
    even.into_iter().find(|step| wanted <= *step).unwrap_or(86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_become_a_few_numbers() {
        let points = (0..20)
            .map(|minute| (minute * 60_000, f64::from(i32::try_from(minute).unwrap())))
            .collect();
        let stats = Series { labels: Map::new(), points }.stats();
        let expected = json!({ "count": 20, "min": 0.0, "max": 19.0, "avg": 9.5, "last": 19.0, "p95": 18.0, "slope": 60.0 });
        assert_eq!(stats, expected);
        assert_eq!(Series::default().stats()["avg"], Value::Null);
        let one = Series { labels: Map::new(), points: vec![(0, 1.5)] }.stats();
        assert_eq!((&one["p95"], &one["slope"]), (&json!(1.5), &Value::Null));
    }

    #[test]
    fn steps_are_even() {
        let hours = |hours: i64| Window { start: 0, end: hours * 3_600_000 };
        assert_eq!(step(hours(1), 60, 60), 60);
        assert_eq!(step(hours(24), 60, 60), 3_600);
        assert_eq!(step(hours(1), 120, 1), 30);
        assert_eq!(step(hours(24 * 365), 60, 60), 86_400);
    }
}
