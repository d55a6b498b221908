//! What CloudWatch would answer, and what is made of it.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::operation::get_metric_data::GetMetricDataOutput;
use aws_sdk_cloudwatch::operation::list_metrics::ListMetricsOutput;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataResult};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use jsonschema::is_valid;

use super::*;

const WINDOW: Window = Window { start: 1_795_255_200_000, end: 1_795_258_800_000 };

fn result(id: &str, values: &[f64]) -> MetricDataResult {
    let times =
        (0..).zip(values).map(|(place, _)| DateTime::from_millis(WINDOW.start + place * 300_000));
    let builder = MetricDataResult::builder().id(id).label(id);
    builder.set_timestamps(Some(times.collect())).set_values(Some(values.to_vec())).build()
}

fn arguments(given: Value) -> Arguments {
    serde_json::from_value(given).unwrap()
}

async fn look_at(given: Value, results: &'static [(&'static str, &'static [f64])]) -> Value {
    let metrics = mock!(Client::list_metrics).then_output(|| {
        let dimension =
            |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
        let metric =
            |value: &str| Metric::builder().dimensions(dimension("LoadBalancer", value)).build();
        ListMetricsOutput::builder()
            .metrics(metric("app/other/1"))
            .metrics(metric("app/shop/50dc"))
            .build()
    });
    let data = mock!(Client::get_metric_data).then_output(move || {
        let results = results.iter().map(|(id, values)| result(id, values));
        GetMetricDataOutput::builder().set_metric_data_results(Some(results.collect())).build()
    });
    let client = mock_client!(aws_sdk_cloudwatch, RuleMode::MatchAny, [&metrics, &data]);
    let answer = look(&client, &arguments(given), WINDOW).await.unwrap();
    assert!(is_valid(&output(), &answer), "{answer}");
    answer
}

#[tokio::test]
async fn the_health_of_a_service_has_points_a_summary_and_a_verdict() {
    let given = json!({ "cluster": "prod", "service": "shop", "load_balancer": "shop" });
    let seen = look_at(
        given,
        &[
            ("cpu_average", &[20.0, 40.0]),
            ("cpu_maximum", &[50.0, 70.0]),
            ("memory_average", &[88.0, 90.0]),
            ("memory_maximum", &[91.0, 92.0]),
            ("errors", &[0.0, 12.0]),
            ("requests", &[90.0, 110.0]),
            ("latency", &[0.12, 0.2]),
        ],
    )
    .await;
    let first = json!({ "timestamp": "2026-11-21T10:00:00Z", "average": 20.0, "maximum": 50.0 });
    assert_eq!(seen["cpu"]["datapoints"][0], first);
    assert_eq!(
        (&seen["cpu"]["unit"], &seen["alb5xx"]["datapoints"][1]["sum"]),
        (&json!("Percent"), &json!(12.0))
    );
    assert_eq!(seen["summary"]["cpu"], json!({ "avg": 30.0, "max": 70.0, "last": 40.0 }));
    assert_eq!(seen["verdict"], "critical");
    assert_eq!(seen["reasons"], json!(["memory is at 89.0 %", "failed requests are 6.0 %"]));
}

#[tokio::test]
async fn without_points_nobody_knows_and_a_balancer_that_is_not_found_is_told() {
    let given = json!({ "cluster": "prod", "service": "shop", "load_balancer": "gone" });
    let seen = look_at(given, &[]).await;
    assert_eq!(seen["verdict"], "unknown");
    assert!(seen["reasons"][1].as_str().unwrap().contains("gone"), "{seen}");
    assert!(seen.get("alb5xx").is_none());
    let calm = look_at(json!({ "cluster": "a", "service": "b" }), &[("cpu_average", &[1.0])]).await;
    assert_eq!((&calm["verdict"], &calm["reasons"]), (&json!("ok"), &json!([])));
}

#[tokio::test]
async fn no_healthy_host_is_critical() {
    let group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop/6d0e";
    let given = json!({ "cluster": "a", "service": "b", "load_balancer": "app/shop/50dc", "target_group": group });
    let seen = look_at(given, &[("cpu_average", &[1.0]), ("healthy_hosts", &[2.0, 0.0])]).await;
    assert_eq!(
        (&seen["verdict"], &seen["reasons"]),
        (&json!("critical"), &json!(["no host is healthy"]))
    );
}

#[test]
fn dimensions_are_the_last_parts_of_arns() {
    let arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/shop/50dc";
    assert_eq!(dimension(arn), "app/shop/50dc");
    assert_eq!(
        dimension("arn:aws:elasticloadbalancing:x:1:targetgroup/shop/6d0e"),
        "targetgroup/shop/6d0e"
    );
    assert_eq!(dimension("app/shop/50dc"), "app/shop/50dc");
}
