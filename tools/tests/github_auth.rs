//! As whom the github server speaks, at which pace, and what it does with limits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use windlass_emulators::GithubEmulator;
use windlass_emulators::github::Action;
use windlass_tools::contract::Surroundings;
use windlass_tools::github::AppConfig;
use windlass_tools::{GithubConfig, github};

use super::github::{around, branch, config, signed_in};
use crate::harness::{Client, Request, request};

const KEY: &str = include_str!("github_app_test_key.pem");

fn app(emulator: &GithubEmulator) -> GithubConfig {
    let app = AppConfig {
        app_id: 4242,
        private_key_env: Some("APP_KEY".to_owned()),
        ..AppConfig::default()
    };
    GithubConfig { app: Some(app), ..config(emulator) }
}

fn with_key() -> Surroundings {
    // As it stands in an environment file, on one line.
    let key = KEY.trim().replace('\n', "\\n");
    around(&[("APP_KEY", &key), ("GITHUB_TOKEN", "ghp_notThisOne12345")])
}

async fn start_as_app() -> (GithubEmulator, Client) {
    let emulator = GithubEmulator::start().await.unwrap();
    emulator.add_repository("acme/rocket");
    emulator.add_repository("octo/other");
    emulator.install_app(4242, "windlass", &[("octo", 11), ("acme", 22)]);
    let client = Client::connect(github(app(&emulator), &with_key())).await;
    (emulator, client)
}

fn repository(name: &str) -> Request {
    request("getRepository", json!({ "repo": name }))
}

// -- a GitHub App -------------------------------------------------------------

#[tokio::test]
async fn an_app_looks_up_its_installation_and_asks_for_one_token_for_each_owner() {
    let (emulator, client) = start_as_app().await;
    for name in ["octo/hello", "octo/other", "acme/rocket", "octo/hello", "ACME/rocket"] {
        client.ok(repository(name)).await;
    }
    let state = emulator.state();
    assert_eq!(state.requests_like("GET", "/installation"), 2);
    assert_eq!(state.requests_like("POST", "/access_tokens"), 2);
    let installations: Vec<_> = state.app.tokens.iter().map(|token| token.installation).collect();
    assert_eq!(installations, [11, 22]);
    assert!(state.requests.iter().all(|request| request.authorized));
    assert!(state.requests.iter().all(|own| own.api_version.as_deref() == Some("2022-11-28")));
}

#[tokio::test]
async fn an_app_pages_with_its_credentials_whatever_host_the_links_name() {
    let (emulator, client) = start_as_app().await;
    let other = "https://ghe.example.com".to_owned();
    for link_host in [None, Some(other)] {
        emulator.set_link_host(link_host);
        emulator.change("octo/hello", |repository| {
            let sha = repository.branch("main").unwrap().to_owned();
            for number in 0..150 {
                repository.actions.check(&sha, &format!("c{number}"), "completed", Some("success"));
            }
        });
        let answer = client.ok(request("waitForChecks", json!({ "ref": "main" }))).await;
        assert_eq!(answer["checks"].as_array().unwrap().len(), 150);
    }
    let state = emulator.state();
    assert!(2 <= state.requests_like("GET", "page=2"));
    assert!(
        state.requests.iter().all(|request| request.authorized && request.status == Some(200)
            || request.status == Some(201)
            || request.path.contains("/git/ref/")),
        "{:?}",
        state.requests
    );
}

#[tokio::test]
async fn a_token_that_was_taken_back_is_asked_for_once_more() {
    let (emulator, client) = start_as_app().await;
    client.ok(repository("octo/hello")).await;
    emulator.revoke_app_tokens();
    client.ok(branch("after")).await;
    let state = emulator.state();
    assert_eq!(state.requests_like("POST", "/access_tokens"), 2);
    assert_eq!(state.count("ref_created"), 1);
}

#[tokio::test]
async fn credentials_that_stay_refused_are_not_tried_for_ever() {
    let (emulator, client) = start_as_app().await;
    emulator.faults().add(Action::Refuse { status: 401 }.on("GET", "/repos/octo/hello?").times(9));
    emulator
        .faults()
        .add(Action::Refuse { status: 401 }.on("GET", "/repos/octo/other").skip(1).times(9));
    let error = client.error(repository("octo/other")).await;
    assert_eq!(error["code"], "unauthenticated");
    assert_eq!(emulator.state().requests_like("POST", "/access_tokens"), 2);
}

#[tokio::test]
async fn tokens_and_keys_of_an_app_are_in_no_answer() {
    let (emulator, client) = start_as_app().await;
    client.ok(repository("octo/hello")).await;
    let token = emulator.state().app.tokens[0].token.clone();
    // A part of the token that no longer looks like one is still not shown when it is all of it.
    let body = format!("{token} {}", KEY.trim());
    let issue =
        windlass_emulators::github::NewIssue { title: "t".into(), body, ..Default::default() };
    let number = emulator.add_issue("octo/hello", issue);
    let answer = client.ok(request("getIssue", json!({ "number": number }))).await;
    assert_eq!(answer["body"], "[redacted] [redacted]");
}

#[tokio::test]
async fn an_app_that_cannot_speak_says_what_to_do() {
    let (emulator, _client) = start_as_app().await;
    let base = app(&emulator);
    let with = |change: fn(&mut AppConfig)| {
        let mut own = base.app.clone().unwrap();
        change(&mut own);
        GithubConfig { app: Some(own), ..base.clone() }
    };
    let cases: [(GithubConfig, Surroundings, &str, &str); 5] = [
        (base.clone(), around(&[]), "unauthenticated", "APP_KEY"),
        (
            with(|app| app.private_key_env = None),
            around(&[]),
            "unauthenticated",
            "private_key_file",
        ),
        (
            with(|app| {
                (app.private_key_env, app.private_key_file) =
                    (None, Some("/no/such/key.pem".into()))
            }),
            around(&[]),
            "unauthenticated",
            "private_key_file",
        ),
        (base.clone(), around(&[("APP_KEY", "not a key")]), "failed_precondition", "settings page"),
        (with(|app| app.app_id = 1), with_key(), "unauthenticated", ""),
    ];
    for (config, around, code, hint) in cases {
        let client = Client::connect(github(config, &around)).await;
        let error = client.error(repository("octo/hello")).await;
        assert_eq!(error["code"], code, "{error}");
        assert!(error["hint"].as_str().unwrap_or_default().contains(hint), "{error}");
    }
    emulator.add_repository("stranger/thing");
    let client = Client::connect(github(base, &with_key())).await;
    let error = client.error(repository("stranger/thing")).await;
    assert_eq!(error["code"], "not_found");
    assert!(error["hint"].as_str().unwrap().contains("install the App"), "{error}");
}

#[tokio::test]
async fn an_installation_that_is_named_is_not_looked_up() {
    let (emulator, _client) = start_as_app().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), KEY).unwrap();
    let app = AppConfig {
        app_id: 4242,
        private_key_file: Some(file.path().display().to_string()),
        installation_id: Some(11),
        ..AppConfig::default()
    };
    let config = GithubConfig { app: Some(app), ..config(&emulator) };
    let client = Client::connect(github(config, &around(&[]))).await;
    client.ok(repository("octo/hello")).await;
    assert_eq!(emulator.state().requests_like("GET", "/installation"), 0);
}

#[test]
fn a_configuration_names_every_variable_it_reads() {
    let config: GithubConfig =
        serde_json::from_value(json!({ "app": { "app_id": 1, "private_key_env": "APP_KEY" } }))
            .unwrap();
    assert_eq!(config.variables(), ["GITHUB_TOKEN", "GH_TOKEN", "APP_KEY"]);
    assert!(
        serde_json::from_value::<GithubConfig>(json!({ "app": { "private_key": "k" } })).is_err()
    );
}

// -- gh -----------------------------------------------------------------------

/// A folder with a program called `gh` that does this.
#[cfg(unix)]
fn cli(script: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gh");
    // Written by another process, so that no other test's fork holds it open for writing when it is started.
    let text = format!("#!/bin/sh\n{script}\n");
    let status = std::process::Command::new("sh")
        .args(["-c", "printf '%s' \"$1\" > \"$2\"", "sh", &text, path.to_str().unwrap()])
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[cfg(unix)]
fn with_cli(folder: &tempfile::TempDir, more: &[(&str, &str)]) -> Surroundings {
    let path = folder.path().display().to_string();
    let mut environment = BTreeMap::from([("PATH".to_owned(), path)]);
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Surroundings { environment, host: None, ..Surroundings::default() }
}

#[cfg(unix)]
#[tokio::test]
async fn who_is_signed_in_to_gh_needs_no_variable_and_is_asked_once() {
    let emulator = GithubEmulator::start().await.unwrap();
    let count = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "[ -z \"$GH_TOKEN\" ] && [ \"$1 $2 $3\" = 'auth token --hostname' ] || exit 1\necho x >> {}\necho opaque-token-of-gh",
        count.path().display()
    );
    let folder = cli(&script);
    let config = GithubConfig { token_env: vec!["MY_TOKEN".into()], ..config(&emulator) };
    // A token that the configuration does not name is not taken by way of gh either.
    let around = with_cli(&folder, &[("GH_TOKEN", "ghp_ofAnotherProgram")]);
    let client = Client::connect(github(config.clone(), &around)).await;
    client.ok(repository("octo/hello")).await;
    client.ok(repository("octo/hello")).await;
    assert_eq!(std::fs::read_to_string(count.path()).unwrap(), "x\n");
    let body = "it is opaque-token-of-gh!".to_owned();
    let issue =
        windlass_emulators::github::NewIssue { title: "t".into(), body, ..Default::default() };
    let number = emulator.add_issue("octo/hello", issue);
    let answer = client.ok(request("getIssue", json!({ "number": number }))).await;
    assert_eq!(answer["body"], "it is [redacted]!");
    let off = GithubConfig { gh_cli: false, ..config };
    let client = Client::connect(github(off, &around)).await;
    let error = client.error(repository("octo/hello")).await;
    assert_eq!(error["code"], "unauthenticated");
    assert!(error["hint"].as_str().unwrap().contains("MY_TOKEN"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_gh_that_has_no_token_is_named_in_the_answer() {
    let emulator = GithubEmulator::start().await.unwrap();
    for script in ["exit 1", "echo"] {
        let folder = cli(script);
        let client = Client::connect(github(config(&emulator), &with_cli(&folder, &[]))).await;
        let error = client.error(repository("octo/hello")).await;
        assert_eq!(error["code"], "unauthenticated");
        assert!(error["message"].as_str().unwrap().contains("is not signed in"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("gh auth login"), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_variable_wins_over_gh() {
    let emulator = GithubEmulator::start().await.unwrap();
    let folder = cli("echo called > \"$0.called\"; echo token-of-gh");
    let around = with_cli(&folder, &[("GITHUB_TOKEN", "ghp_thisIsTheToken12345")]);
    let client = Client::connect(github(config(&emulator), &around)).await;
    client.ok(repository("octo/hello")).await;
    assert!(!folder.path().join("gh.called").exists());
}

// -- pace and limits ----------------------------------------------------------

#[tokio::test]
async fn changes_that_others_hear_of_keep_their_distance() {
    let emulator = GithubEmulator::start().await.unwrap();
    let config = GithubConfig { write_interval_ms: 250, ..config(&emulator) };
    let client = Client::connect(github(config, &signed_in())).await;
    let started = Instant::now();
    for name in ["a", "b", "c"] {
        client.ok(branch(name)).await;
    }
    // A lower bound: however slow the machine, it cannot be quicker.
    assert!(Duration::from_millis(500) <= started.elapsed(), "{:?}", started.elapsed());
}

#[tokio::test]
async fn limits_are_answered_at_once_with_how_long_to_wait() {
    let emulator = GithubEmulator::start().await.unwrap();
    let client = Client::connect(github(config(&emulator), &signed_in())).await;
    let cases = [
        (Action::TooManyRequests { retry_after_s: 7 }, 7_000..=7_000),
        (Action::RateLimited { reset_in_s: 90 }, 80_000..=91_000),
        (Action::Refuse { status: 429 }, 60_000..=60_000),
    ];
    for (action, expected) in cases {
        emulator.faults().add(action.on("GET", "/repos"));
        let before = emulator.state().requests.len();
        let error = client.error(repository("octo/hello")).await;
        assert_eq!((&error["code"], &error["retryable"]), (&json!("rate_limited"), &json!(true)));
        let wait = error["retry_after_ms"].as_u64().unwrap();
        assert!(expected.contains(&wait), "{action:?}: {wait}");
        assert_eq!(emulator.state().requests.len(), before + 1);
    }
    emulator.faults().add(Action::Forbidden.on("GET", "/repos"));
    let error = client.error(repository("octo/hello")).await;
    assert_eq!(
        (&error["code"], &error["retry_after_ms"]),
        (&json!("permission_denied"), &Value::Null)
    );
}
