//! What a configuration of tool servers may say.

use std::time::Duration;

use serde_json::{Value, json};
use windlass::tool_servers::{Protocol, ServerConfig, ToolServers, Transport, read_mcp_config};

use super::harness::settings;

#[test]
fn a_file_of_another_program_is_read_and_what_is_not_ours_is_told() {
    let text = r#"{ "mcpServers": {
        "github": { "command": "npx", "args": ["-y", "@x/github"], "env": { "TOKEN": "${TOKEN}" },
                    "alwaysAllow": ["a"], "icon": "x" },
        "remote": { "type": "streamable-http", "url": "https://example.com/mcp",
                    "headers": { "Authorization": "Bearer ${TOKEN}" }, "timeout_ms": 1500,
                    "max_in_flight": 3, "protocol": "modern", "disabled": true }
    } }"#;
    let servers = read_mcp_config(text).unwrap();
    let github = &servers["github"];
    assert!(matches!(&github.transport, Transport::Stdio { command, .. } if command == "npx"));
    assert_eq!(github.ignored, ["alwaysAllow", "icon"]);
    assert_eq!((github.protocol, github.max_in_flight, github.timeout), (Protocol::Auto, 64, None));
    let remote = &servers["remote"];
    assert!(matches!(&remote.transport, Transport::Http { headers, .. } if headers.len() == 1));
    assert_eq!((remote.protocol, remote.max_in_flight), (Protocol::Modern, 3));
    assert_eq!((remote.timeout, remote.disabled), (Some(Duration::from_millis(1500)), true));
}

#[test]
fn the_form_of_vs_code_is_read_too() {
    let servers = read_mcp_config(r#"{ "servers": { "a": { "type": "stdio", "command": "a" } } }"#);
    assert_eq!(servers.unwrap().len(), 1);
}

#[test]
fn what_cannot_be_used_is_named_by_its_key() {
    let check = |entry: Value, expect: &str| {
        let text = json!({ "mcpServers": { "s": entry } }).to_string();
        let error = read_mcp_config(&text).unwrap_err().to_string();
        assert!(error.starts_with(expect), "{error}\n  does not start with\n{expect}");
    };
    check(json!({ "type": "sse", "url": "http://x" }), "mcpServers.s.type: \"sse\"");
    check(
        json!({ "type": "carrier-pigeon" }),
        "mcpServers.s.type: \"carrier-pigeon\" is not known",
    );
    check(json!({}), "mcpServers.s.command: is missing");
    check(json!({ "type": "http" }), "mcpServers.s.url: is missing");
    check(
        json!({ "command": "a", "url": "http://x" }),
        "mcpServers.s.url: stands beside `command`",
    );
    check(json!({ "url": "ftp://x" }), "mcpServers.s.url: must start with http");
    check(json!({ "command": 5 }), "mcpServers.s.command: must be a text");
    check(json!({ "command": "a", "args": ["b", []] }), "mcpServers.s.args[1]: must be a text");
    check(json!({ "command": "a", "env": { "A": null } }), "mcpServers.s.env.A: must be a text");
    check(json!({ "command": "a", "timeout_ms": 0 }), "mcpServers.s.timeout_ms: must be a whole");
    check(json!({ "command": "a", "max_in_flight": -1 }), "mcpServers.s.max_in_flight: must be");
    check(
        json!({ "command": "a", "protocol": "afu9" }),
        "mcpServers.s.protocol: \"afu9\" is spoken",
    );
    check(json!({ "command": "a", "protocol": "x" }), "mcpServers.s.protocol: \"x\" is not known");
    check(
        json!({ "command": "a", "disabled": "no" }),
        "mcpServers.s.disabled: must be true or false",
    );
    check(json!("npx"), "mcpServers.s: must be an object");
    let dotted = ServerConfig::parse("a.b", &json!({ "command": "a" })).unwrap_err().to_string();
    assert!(dotted.contains("must not be empty or contain a dot"), "{dotted}");
}

#[test]
fn a_file_without_servers_is_no_configuration() {
    let error = read_mcp_config("{}").unwrap_err().to_string();
    assert!(error.starts_with("mcpServers: is missing"), "{error}");
    assert!(read_mcp_config("{").is_err());
}

#[test]
fn an_identity_tells_configurations_apart_but_holds_no_secret() {
    let identity = |entry: Value| {
        let config = ServerConfig::parse("s", &entry).unwrap();
        let servers = ToolServers::new([("s".to_owned(), config)].into(), Vec::new(), settings());
        servers.identities()["s"].clone()
    };
    let one = identity(json!({ "command": "a", "env": { "TOKEN": "one" } }));
    assert_eq!(one, identity(json!({ "command": "a", "env": { "TOKEN": "two" } })));
    assert_ne!(one, identity(json!({ "command": "b", "env": { "TOKEN": "one" } })));
    assert_ne!(one, identity(json!({ "command": "a", "env": { "OTHER": "one" } })));
    assert!(one.starts_with("stdio:") && one.len() == 22, "{one}");
}

#[tokio::test]
async fn a_disabled_server_says_so() {
    let config = ServerConfig::parse("s", &json!({ "command": "a", "disabled": true })).unwrap();
    let servers = ToolServers::new([("s".to_owned(), config)].into(), Vec::new(), settings());
    let error = servers.tools("s").await.unwrap_err().to_string();
    assert!(error.contains("disabled in the configuration"), "{error}");
}

#[tokio::test]
async fn a_default_stands_in_for_a_variable_that_is_missing_or_empty() {
    let entry =
        json!({ "command": "${MISSING:-no-such-thing}/${env:SET}", "args": ["${EMPTY:-x}"] });
    let config = ServerConfig::parse("s", &entry).unwrap();
    let mut settings = settings();
    settings.environment.insert("SET".to_owned(), "b".to_owned());
    settings.environment.insert("EMPTY".to_owned(), String::new());
    let servers = ToolServers::new([("s".to_owned(), config)].into(), Vec::new(), settings);
    let error = servers.tools("s").await.unwrap_err().to_string();
    assert!(error.contains("\"no-such-thing/b\" was not found"), "{error}");
}
