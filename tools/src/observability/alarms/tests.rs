//! What CloudWatch would answer, and what is made of it.

use aws_sdk_cloudwatch::operation::describe_alarm_history::DescribeAlarmHistoryOutput;
use aws_sdk_cloudwatch::operation::describe_alarms::DescribeAlarmsError;
use aws_sdk_cloudwatch::operation::describe_alarms::DescribeAlarmsOutput;
use aws_sdk_cloudwatch::types::AlarmHistoryItem;
use aws_sdk_cloudwatch::types::error::InvalidNextToken;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use jsonschema::is_valid;

use super::*;

fn alarm(name: &str, state: StateValue) -> MetricAlarm {
    MetricAlarm::builder()
        .alarm_name(name)
        .state_value(state)
        .state_reason(
            "Threshold Crossed: 1 datapoint [97.2] was greater than the threshold (90.0).",
        )
        .state_updated_timestamp(DateTime::from_secs(1_795_255_505))
        .metric_name("CPUUtilization")
        .namespace("AWS/ECS")
        .threshold(90.0)
        .build()
}

#[tokio::test]
async fn alarms_that_ring_come_first_over_all_pages() {
    let first = mock!(Client::describe_alarms)
        .match_requests(|ask| ask.next_token().is_none())
        .then_output(|| {
            let calm = alarm("shop-memory", StateValue::Ok);
            DescribeAlarmsOutput::builder().metric_alarms(calm).next_token("2").build()
        });
    let second = mock!(Client::describe_alarms)
        .match_requests(|ask| ask.next_token() == Some("2"))
        .then_output(|| {
            let composite = CompositeAlarm::builder()
                .alarm_name("shop")
                .state_value(StateValue::Ok)
                .alarm_rule("ALARM(shop-cpu)");
            DescribeAlarmsOutput::builder()
                .metric_alarms(alarm("shop-cpu", StateValue::Alarm))
                .composite_alarms(composite.build())
                .build()
        });
    let client = mock_client!(aws_sdk_cloudwatch, RuleMode::MatchAny, [&first, &second]);
    let names = ["shop-memory", "shop-cpu", "shop", "shop-gone"].map(str::to_owned).to_vec();
    let arguments = Arguments { alarm_names: Some(names), ..Arguments::default() };
    let seen = look(&client, &arguments).await.unwrap();
    assert!(is_valid(&spec().output, &seen), "{seen}");
    assert_eq!(
        (&seen["in_alarm"], &seen["alarms"][0]["alarmName"]),
        (&json!(1), &json!("shop-cpu"))
    );
    assert_eq!(seen["alarms"][0]["stateUpdatedTimestamp"], "2026-11-21T10:05:05Z");
    assert_eq!(seen["alarms"].as_array().unwrap().len(), 3);
    assert_eq!(seen["hints"], json!(["no alarm is called \"shop-gone\""]));
}

#[tokio::test]
async fn a_refusal_is_told_in_our_words() {
    let refused = mock!(Client::describe_alarms).then_error(|| {
        DescribeAlarmsError::InvalidNextToken(InvalidNextToken::builder().message("no").build())
    });
    let client = mock_client!(aws_sdk_cloudwatch, [&refused]);
    let error = look(&client, &Arguments::default()).await.unwrap_err();
    assert!(error.message.starts_with("reading alarms"), "{error}");
    assert_eq!(error.provider.unwrap().name, "aws");
}

#[tokio::test]
async fn the_history_is_of_the_alarms_that_were_asked_for() {
    let history = mock!(Client::describe_alarm_history).then_output(|| {
        let item = |name: &str| {
            AlarmHistoryItem::builder()
                .alarm_name(name)
                .timestamp(DateTime::from_secs(1_795_255_505))
                .history_summary("Alarm updated from OK to ALARM")
                .build()
        };
        let items = vec![item("shop-cpu"), item("other"), item("shop-memory")];
        DescribeAlarmHistoryOutput::builder().set_alarm_history_items(Some(items)).build()
    });
    let client = mock_client!(aws_sdk_cloudwatch, [&history]);
    let arguments =
        Arguments { prefix: Some("shop-".to_owned()), limit: 50, ..Arguments::default() };
    let window = Window { start: 1_795_255_200_000, end: 1_795_258_800_000 };
    let seen = changes(&client, &arguments, window).await.unwrap();
    assert!(is_valid(&history_spec().output, &seen), "{seen}");
    let expected = json!({ "alarmName": "shop-cpu", "timestamp": "2026-11-21T10:05:05Z", "summary": "Alarm updated from OK to ALARM" });
    assert_eq!((&seen["items"][0], &seen["truncated"]), (&expected, &json!(false)));
    assert_eq!(seen["items"].as_array().unwrap().len(), 2);
}
