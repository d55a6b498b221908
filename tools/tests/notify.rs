//! Messages reach the channels that the configuration names, once each.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use windlass_tools::contract::{Forgetful, Surroundings};
use windlass_tools::notify::{Channel, Kind};
use windlass_tools::{NotifyConfig, notify};

use crate::harness::{Client, Request, but_created, golden, request};

const KEY: &str = "exe_1/tell#0";

/// A request that the double got.
#[derive(Clone)]
struct Got {
    line: String,
    headers: HeaderMap,
    body: Value,
    raw: Vec<u8>,
}

/// What the double does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Answers,
    /// Does what it is asked, and breaks off instead of answering.
    Drops,
    Refuses(u16),
}

/// All services behind one address. Comments on GitHub are kept, and so are keys that a webhook has seen.
#[derive(Clone)]
struct Double {
    got: Arc<Mutex<Vec<Got>>>,
    comments: Arc<Mutex<Vec<Value>>>,
    events: Arc<Mutex<Vec<String>>>,
    mood: Arc<Mutex<Mood>>,
}

impl Double {
    fn lines(&self) -> Vec<String> {
        self.got.lock().unwrap().iter().map(|got| got.line.clone()).collect()
    }

    fn last(&self) -> Got {
        self.got.lock().unwrap().last().unwrap().clone()
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

async fn serve(
    State(double): State<Double>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    raw: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&raw).unwrap_or_default();
    let line = format!("{method} {uri}");
    let got = Got { line, headers: headers.clone(), body: body.clone(), raw: raw.to_vec() };
    double.got.lock().unwrap().push(got);
    let mood = *double.mood.lock().unwrap();
    if let Mood::Refuses(status) = mood {
        let retry = [("retry-after", "1.5")];
        return (StatusCode::from_u16(status).unwrap(), retry, "no").into_response();
    }
    let answer = double.does(&method, uri.path(), &headers, &body);
    if mood == Mood::Drops && method != Method::GET {
        // This ends the task of the connection, and the connection with it.
        std::panic::resume_unwind(Box::new("the connection breaks off"));
    }
    answer
}

impl Double {
    fn does(&self, method: &Method, path: &str, headers: &HeaderMap, body: &Value) -> Response {
        let mut comments = self.comments.lock().unwrap();
        match (method.as_str(), path) {
            ("POST", "/chat.postMessage") if body["channel"] == "#gone" => {
                axum::Json(json!({ "ok": false, "error": "channel_not_found" })).into_response()
            }
            ("POST", "/chat.postMessage" | "/chat.update") => {
                axum::Json(json!({ "ok": true, "ts": "1795.0001", "channel": "C1" }))
                    .into_response()
            }
            ("POST", "/repos/octo/app/issues/7/comments") => {
                let id = comments.len() + 1;
                let url = format!("https://github.com/octo/app/issues/7#issuecomment-{id}");
                let comment = json!({ "id": id, "html_url": url, "body": body["body"] });
                comments.push(comment.clone());
                (StatusCode::CREATED, axum::Json(comment)).into_response()
            }
            ("GET", "/repos/octo/app/issues/7/comments") => {
                axum::Json(Value::from(comments.clone())).into_response()
            }
            ("PATCH", "/repos/octo/app/issues/comments/1") => {
                comments[0]["body"] = body["body"].clone();
                axum::Json(comments[0].clone()).into_response()
            }
            ("POST", "/discord") => axum::Json(json!({ "id": "99" })).into_response(),
            ("PATCH", "/discord/messages/99") => axum::Json(json!({ "id": "99" })).into_response(),
            ("POST", "/hook") => {
                let key =
                    headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
                let mut events = self.events.lock().unwrap();
                if !key.as_ref().is_some_and(|key| events.contains(key)) {
                    events.push(key.unwrap_or_default());
                }
                axum::Json(json!({ "message_id": format!("m{}", events.len()), "url": "https://hooks.example/m" }))
                    .into_response()
            }
            ("POST", "/slack" | "/teams") => "ok".into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

async fn connected() -> (Client, Double) {
    let double = Double {
        got: Arc::default(),
        comments: Arc::default(),
        events: Arc::default(),
        mood: Arc::new(Mutex::new(Mood::Answers)),
    };
    let router = Router::new().fallback(serve).with_state(double.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let channel = |kind, change: fn(&mut Channel)| {
        let mut channel = Channel { kind, api_url: base.clone(), ..Channel::default() };
        change(&mut channel);
        channel
    };
    let channels = [
        ("log", channel(Kind::Log, |_| {})),
        (
            "bot",
            channel(Kind::Slack, |own| {
                own.token_env = vec!["BOT".into()];
                own.target = "#deploys".into();
                own.targets = vec!["#team-*".into(), "#gone".into()];
            }),
        ),
        ("slack", channel(Kind::Slack, |own| own.url_env = "SLACK".into())),
        ("teams", channel(Kind::Teams, |own| own.url_env = "TEAMS".into())),
        ("discord", channel(Kind::Discord, |own| own.url_env = "DISCORD".into())),
        (
            "hook",
            channel(Kind::Webhook, |own| {
                own.url_env = "HOOK".into();
                own.secret_env = "HOOK_KEY".into();
            }),
        ),
        (
            "issue",
            channel(Kind::Github, |own| {
                own.token_env = vec!["GH".into()];
                own.target = "octo/app#7".into();
                own.targets = vec!["*".into()];
            }),
        ),
        ("unset", channel(Kind::Teams, |own| own.url_env = "NOT_SET".into())),
    ];
    let mut config = NotifyConfig::default();
    config.channels.extend(channels.map(|(name, channel)| (name.to_owned(), channel)));
    let variables = [
        ("BOT", "xoxb-0123456789-bot".to_owned()),
        ("SLACK", format!("{base}/slack")),
        ("TEAMS", format!("{base}/teams")),
        ("DISCORD", format!("{base}/discord")),
        ("HOOK", format!("{base}/hook")),
        ("HOOK_KEY", "a key to sign with".to_owned()),
        ("GH", "ghp_0123456789abcdef".to_owned()),
    ];
    let environment = variables.map(|(name, value)| (name.to_owned(), value)).into();
    let host: Arc<Forgetful> = Arc::default();
    let client = Client::connect(notify(
        config,
        &Surroundings { environment, host: Some(host), ..Surroundings::default() },
    ))
    .await;
    (client, double)
}

fn send(channel: &str, more: Value) -> Request {
    let mut arguments = json!({ "channel": channel, "text": "Deployed <!channel>" });
    arguments.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    request("send", arguments)
}

fn full() -> Value {
    json!({
        "level": "success", "fields": { "version": "1.2.3", "tasks": 3 },
        "buttons": [{ "text": "Open", "url": "https://app.example" }],
    })
}

#[tokio::test]
async fn each_channel_is_told_in_its_own_words() {
    let (client, double) = connected().await;
    let cases = [
        ("bot", "POST /chat.postMessage", json!("1795.0001")),
        ("slack", "POST /slack", Value::Null),
        ("teams", "POST /teams", Value::Null),
        ("discord", "POST /discord?wait=true", json!("99")),
        ("hook", "POST /hook", json!("m1")),
        ("issue", "POST /repos/octo/app/issues/7/comments", json!("1")),
    ];
    for (channel, line, message_id) in cases {
        let answer = client.ok(send(channel, full()).attempt(&format!("{KEY}{channel}"), 1)).await;
        assert_eq!(
            (&answer["message_id"], &answer["created"]),
            (&message_id, &json!(true)),
            "{channel}"
        );
        let got = double.last();
        assert_eq!(got.line, line);
        let body = got.body.to_string();
        for part in ["1.2.3", "https://app.example", "Deployed"] {
            assert!(body.contains(part), "{channel}: {body}");
        }
    }
    let got = |index: usize| double.got.lock().unwrap()[index].clone();
    assert_eq!(got(0).headers["authorization"], "Bearer xoxb-0123456789-bot");
    assert_eq!(got(0).body["channel"], "#deploys");
    assert!(got(0).body["text"].as_str().unwrap().contains("&lt;!channel>"), "nobody is woken");
    assert_eq!(got(2).body["attachments"][0]["content"]["type"], "AdaptiveCard");
    assert_eq!(got(3).body["allowed_mentions"], json!({ "parse": [] }));
    assert_eq!(got(4).body["fields"], json!({ "version": "1.2.3", "tasks": 3 }));
    assert_eq!(got(5).headers["x-github-api-version"], "2022-11-28");
}

#[tokio::test]
async fn a_webhook_can_check_who_sent_a_message() {
    let (client, double) = connected().await;
    client.ok(send("hook", json!({}))).await;
    let got = double.last();
    let header = got.headers["x-windlass-signature"].to_str().unwrap().to_owned();
    let (seconds, hex) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let signature: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"a key to sign with");
    let signed = [format!("{seconds}.").as_bytes(), &got.raw].concat();
    aws_lc_rs::hmac::verify(&key, &signed, &signature).unwrap();
}

#[tokio::test]
async fn a_call_whose_answer_was_lost_does_not_tell_twice() {
    for channel in ["hook", "issue"] {
        let (client, double) = connected().await;
        double.is(Mood::Drops);
        let error = client.error(send(channel, json!({})).attempt(KEY, 1)).await;
        assert_eq!(
            (&error["code"], &error["retryable"]),
            (&json!("unavailable"), &json!(true)),
            "{channel}"
        );
        let posts = double.lines().iter().filter(|line| line.starts_with("POST")).count();
        assert_eq!(posts, 1, "{channel}: it was sent again by itself");
        double.is(Mood::Answers);
        let again = client.ok(send(channel, json!({})).attempt(KEY, 2)).await;
        let third = client.ok(send(channel, json!({})).attempt(KEY, 3)).await;
        assert_eq!(third["created"], false);
        assert_eq!(third["message_id"], again["message_id"]);
        let (comments, events) =
            (double.comments.lock().unwrap().len(), double.events.lock().unwrap().len());
        assert_eq!(comments + events, 1, "{channel}");
    }
}

#[tokio::test]
async fn where_nobody_can_know_a_message_is_not_posted_again_unasked() {
    for channel in ["bot", "slack", "teams", "discord"] {
        let (client, double) = connected().await;
        double.is(Mood::Drops);
        let error = client.error(send(channel, json!({})).attempt(KEY, 1)).await;
        assert_eq!(error["code"], "outcome_unknown", "{channel}");
        double.is(Mood::Answers);
        let error = client.error(send(channel, json!({})).attempt(KEY, 2)).await;
        assert_eq!(error["code"], "outcome_unknown", "{channel}");
        assert!(error["hint"].as_str().unwrap().contains("allow_duplicate"), "{error}");
        assert_eq!(double.lines().len(), 1, "{channel}");
        let allowed = send(channel, json!({ "allow_duplicate": true })).attempt(KEY, 3);
        let answer = client.ok(allowed).await;
        assert_eq!(answer["warnings"].as_array().unwrap().len(), 1, "{answer}");
        assert_eq!(double.lines().len(), 2, "{channel}");
    }
}

#[tokio::test]
async fn a_refusal_is_certain_and_leaves_the_way_free() {
    let (client, double) = connected().await;
    for (status, code, wait) in [
        (404, "not_found", json!(1_500)),
        (429, "rate_limited", json!(1_500)),
        (401, "unauthenticated", json!(1_500)),
    ] {
        double.is(Mood::Refuses(status));
        let error = client.error(send("discord", json!({})).attempt(KEY, 1)).await;
        assert_eq!((&error["code"], &error["retry_after_ms"]), (&json!(code), &wait));
    }
    double.is(Mood::Answers);
    let answer = client.ok(send("discord", json!({})).attempt(KEY, 2)).await;
    assert_eq!(answer["created"], true);
}

#[tokio::test]
async fn a_message_with_a_key_is_changed_where_it_stands() {
    for (channel, line) in [
        ("bot", "POST /chat.update"),
        ("discord", "PATCH /discord/messages/99"),
        ("issue", "PATCH /repos/octo/app/issues/comments/1"),
    ] {
        let (client, double) = connected().await;
        let with = |text: &str| send(channel, json!({ "text": text, "upsert_key": "deploy-7" }));
        assert_eq!(client.ok(with("1 of 3").attempt("exe_1/a#0", 1)).await["created"], true);
        let same = client.ok(with("1 of 3").attempt("exe_1/b#0", 1)).await;
        assert_eq!((&same["created"], &same["changed"]), (&json!(false), &json!(false)));
        assert_eq!(double.lines().len(), 1, "{channel}");
        let other = client.ok(with("2 of 3").attempt("exe_1/c#0", 1)).await;
        assert_eq!(
            (&other["created"], &other["changed"]),
            (&json!(false), &json!(true)),
            "{channel}"
        );
        assert_eq!(double.last().line, line);
    }
    let (client, double) = connected().await;
    let with = |text: &str| send("teams", json!({ "text": text, "upsert_key": "k" }));
    client.ok(with("1")).await;
    let answer = client.ok(with("2")).await;
    assert!(answer["warnings"][0].as_str().unwrap().contains("cannot be changed"), "{answer}");
    assert_eq!(double.lines().len(), 2);
}

#[tokio::test]
async fn messages_with_one_key_stand_in_one_thread() {
    let (client, double) = connected().await;
    let with = |text: &str| send("bot", json!({ "text": text, "thread_key": "deploy-7" }));
    client.ok(with("begin")).await;
    assert!(double.last().body.get("thread_ts").is_none());
    client.ok(with("end")).await;
    assert_eq!(double.last().body["thread_ts"], "1795.0001");
    let answer = client.ok(send("teams", json!({ "thread_key": "x" }))).await;
    assert!(answer["warnings"][0].as_str().unwrap().contains("no threads"), "{answer}");
}

#[tokio::test]
async fn the_log_is_a_channel_that_needs_nothing() {
    let (client, double) = connected().await;
    for channel in ["log", "stdout", "#log"] {
        let answer =
            client.ok(send(channel, full()).attempt(&format!("exe_1/{channel}#0"), 1)).await;
        golden("notify", "send", &answer);
        assert_eq!(answer["channel"], "log");
    }
    let again = client.ok(send("log", full()).attempt("exe_1/log#0", 2)).await;
    let first = client
        .ok(request("send", json!({ "message": "no channel" })).attempt("exe_2/a#0", 1))
        .await;
    assert_eq!((&again["created"], &first["created"]), (&json!(false), &json!(true)));
    assert_eq!(but_created(first.clone())["channel"], "log");
    let listed =
        client.ok(request("list", json!({ "execution_id": "exe_1", "per_page": 2 }))).await;
    golden("notify", "list", &listed);
    assert_eq!((&listed["total"], &listed["truncated"]), (&json!(3), &json!(true)));
    assert!(double.lines().is_empty());
}

#[tokio::test]
async fn what_cannot_be_sent_says_what_to_do() {
    let (client, double) = connected().await;
    let cases = [
        ("ops", "not_found", "there are: bot"),
        ("unset", "failed_precondition", "NOT_SET"),
        ("bot:#secret", "guardrail", "targets"),
        ("bot:#gone", "not_found", "invite"),
    ];
    for (channel, code, hint) in cases {
        let error = client.error(send(channel, json!({}))).await;
        assert_eq!(error["code"], code, "{error}");
        assert!(error["hint"].as_str().unwrap().contains(hint), "{error}");
    }
    client.ok(send("bot:#team-web", json!({}))).await;
    assert_eq!(double.last().body["channel"], "#team-web");
    let planned = client.ok(send("bot", json!({ "dry_run": true }))).await;
    assert_eq!((&planned["dry_run"], double.lines().len()), (&json!(true), 2));
    let wrong = json!({ "buttons": [{ "text": "x", "url": "javascript:alert(1)" }] });
    assert_eq!(client.error(send("bot", wrong)).await["code"], "invalid_argument");
    // Two dots would lead to another route of the API.
    for target in ["issue:../app#7", "issue:octo/..#7"] {
        assert_eq!(
            client.error(send(target, json!({}))).await["code"],
            "invalid_argument",
            "{target}"
        );
    }
}
