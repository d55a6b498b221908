//! What the double of CloudWatch Logs promises, seen by the SDK of AWS.

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata;
use aws_sdk_cloudwatchlogs::operation::filter_log_events::FilterLogEventsOutput;
use aws_sdk_cloudwatchlogs::types::{InputLogEvent, OrderBy, QueryStatus};
use windlass_emulators::AwsEmulator;
use windlass_emulators::ecs::NewService;

const GROUP: &str = "/ecs/web";
/// 2026-11-21T10:05:05Z.
const T0: u64 = 1_795_255_505_000;

fn client(aws: &AwsEmulator) -> Client {
    let config = aws_sdk_cloudwatchlogs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(aws.url());
    Client::from_conf(config.build())
}

/// Five lines, a second after each other, in two streams.
async fn five() -> (AwsEmulator, Client) {
    let aws = AwsEmulator::start().await.unwrap();
    for (index, message) in (0..).zip(["INFO a", "ERROR b", "INFO c", "ERROR d", "WARN e"]) {
        let stream = if index % 2 == 0 { "ecs/web/1" } else { "ecs/web/2" };
        aws.put_log(GROUP, stream, T0 + index * 1000, message);
    }
    let client = client(&aws);
    (aws, client)
}

fn messages(found: &FilterLogEventsOutput) -> Vec<&str> {
    found.events().iter().filter_map(|event| event.message()).collect()
}

#[tokio::test]
async fn events_are_filtered_by_time_text_and_stream() {
    let (_aws, client) = five().await;
    let filter = || client.filter_log_events().log_group_name(GROUP);
    let all = filter().send().await.unwrap();
    assert_eq!(messages(&all), ["INFO a", "ERROR b", "INFO c", "ERROR d", "WARN e"]);
    let errors = filter().filter_pattern("ERROR").send().await.unwrap();
    assert_eq!(messages(&errors), ["ERROR b", "ERROR d"]);
    let at = |seconds: i64| T0 as i64 + seconds * 1000;
    let middle = filter().start_time(at(1)).end_time(at(3)).send().await.unwrap();
    assert_eq!(messages(&middle), ["ERROR b", "INFO c", "ERROR d"]);
    let stream = filter().log_stream_names("ecs/web/2").send().await.unwrap();
    assert_eq!(messages(&stream), ["ERROR b", "ERROR d"]);
    let latest = filter().start_from_head(false).start_time(at(0)).limit(2).send().await.unwrap();
    assert_eq!(messages(&latest), ["WARN e", "ERROR d"]);
    let token = latest.next_token.unwrap();
    let earlier = filter().next_token(token).start_time(at(0)).limit(9).send().await.unwrap();
    assert_eq!(messages(&earlier), ["INFO c", "ERROR b", "INFO a"]);
    assert_eq!(earlier.next_token, None);
}

#[tokio::test]
async fn what_aws_refuses_is_refused() {
    let (_aws, client) = five().await;
    let filter = || client.filter_log_events().log_group_name(GROUP);
    let old = filter().start_from_head(false).start_time(1_000).send().await.unwrap_err();
    assert_eq!(old.code(), Some("InvalidParameterException"));
    let none = client.filter_log_events().log_group_name("/none").send().await.unwrap_err();
    assert_eq!(none.code(), Some("ResourceNotFoundException"));
    let unnamed = client.filter_log_events().send().await.unwrap_err();
    assert_eq!(unnamed.code(), Some("InvalidParameterException"));
    let pattern = filter().filter_pattern("{ $.a").send().await.unwrap_err();
    assert_eq!(pattern.code(), Some("InvalidParameterException"));
}

#[tokio::test]
async fn pages_may_be_empty_and_still_have_a_token() {
    let (aws, client) = five().await;
    aws.change_logs(|logs| (logs.empty_pages, logs.most_per_page) = (2, 3));
    let (mut token, mut sizes) = (None, Vec::new());
    loop {
        let page = client.filter_log_events().log_group_name(GROUP).set_next_token(token);
        let page = page.send().await.unwrap();
        sizes.push(page.events().len());
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [0, 0, 3, 2]);
}

#[tokio::test]
async fn groups_and_streams_are_described_and_written_to() {
    let (_aws, client) = five().await;
    let groups = client.describe_log_groups().log_group_name_prefix("/ecs").send().await.unwrap();
    assert_eq!(groups.log_groups()[0].log_group_name(), Some(GROUP));
    let streams = client.describe_log_streams().log_group_name(GROUP);
    let streams = streams.order_by(OrderBy::LastEventTime).descending(true).send().await.unwrap();
    let latest = &streams.log_streams()[0];
    assert_eq!(latest.log_stream_name(), Some("ecs/web/1"));
    assert_eq!(latest.last_event_timestamp(), Some(T0 as i64 + 4000));
    client.create_log_group().log_group_name("/new").send().await.unwrap();
    let again = client.create_log_group().log_group_name("/new").send().await.unwrap_err();
    assert_eq!(again.code(), Some("ResourceAlreadyExistsException"));
    client.create_log_stream().log_group_name("/new").log_stream_name("s").send().await.unwrap();
    let event = InputLogEvent::builder().timestamp(T0 as i64).message("hello").build().unwrap();
    let put = client.put_log_events().log_group_name("/new").log_stream_name("s");
    put.log_events(event).send().await.unwrap();
    let read = client.get_log_events().log_group_name("/new").log_stream_name("s").send().await;
    let read = read.unwrap();
    assert_eq!(read.events()[0].message(), Some("hello"));
    let next = client.get_log_events().log_group_name("/new").log_stream_name("s");
    let next = next.next_token(read.next_forward_token().unwrap()).send().await.unwrap();
    assert_eq!((next.events().len(), next.next_forward_token()), (0, read.next_forward_token()));
}

#[tokio::test]
async fn a_query_runs_and_is_answered() {
    let (aws, client) = five().await;
    aws.change_logs(|logs| logs.query_looks = 1);
    let query = client
        .start_query()
        .log_group_names(GROUP)
        .start_time(T0 as i64 / 1000)
        .end_time(T0 as i64 / 1000 + 10)
        .query_string("fields @timestamp, @message | filter @message like /ERROR/ | sort @timestamp desc | limit 1");
    let id = query.send().await.unwrap().query_id.unwrap();
    let look = || client.get_query_results().query_id(&id).send();
    assert_eq!(look().await.unwrap().status, Some(QueryStatus::Running));
    let found = look().await.unwrap();
    assert_eq!(found.status, Some(QueryStatus::Complete));
    let row: Vec<_> = found.results()[0].iter().filter_map(|field| field.value()).collect();
    assert_eq!(&row[..2], ["2026-11-21 10:05:08.000", "ERROR d"]);
    assert_eq!(found.statistics.unwrap().records_matched, 2.0);
}

#[tokio::test]
async fn tasks_of_emulated_ecs_write_here_what_their_image_makes_them() {
    let aws = AwsEmulator::start().await.unwrap();
    aws.add_service(NewService::new("shop", "web", "registry.example/web:v2-buggy"));
    aws.advance(std::time::Duration::from_secs(60));
    let client = client(&aws);
    let filter = |pattern: &str| {
        client.filter_log_events().log_group_name(GROUP).filter_pattern(pattern).send()
    };
    assert!(3 <= filter("PaymentError").await.unwrap().events().len());
    assert!(3 <= filter("INFO").await.unwrap().events().len());
}
