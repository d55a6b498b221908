//! A message, in the words of each kind of channel.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::contract::text::without_invisible;

/// What services take, in characters. They refuse longer messages whole: a long error must not keep its alarm from coming.
const SLACK_TEXT: usize = 39_000;
const SLACK_SECTION: usize = 3_000;
const SLACK_FIELD: usize = 2_000;
const SLACK_BUTTON: usize = 75;
const MOST_FIELDS: usize = 100;
/// 28 kB in all.
const TEAMS_TEXT: usize = 5_000;
const TEAMS_FACT: usize = 500;
const MOST_FACTS: usize = 20;
const DISCORD_TEXT: usize = 2_000;
const DISCORD_NAME: usize = 256;
const DISCORD_VALUE: usize = 1_024;
const DISCORD_FIELDS: usize = 25;
/// Of all texts beside one another.
const DISCORD_ALL: usize = 6_000;
const GITHUB_TEXT: usize = 60_000;

/// What is sent.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Message {
    pub(super) channel: Option<String>,
    pub(super) text: String,
    #[serde(default)]
    pub(super) level: Level,
    #[serde(default)]
    pub(super) fields: Map<String, Value>,
    pub(super) thread_key: Option<String>,
    pub(super) upsert_key: Option<String>,
    #[serde(default)]
    pub(super) buttons: Vec<Button>,
    #[serde(default)]
    pub(super) allow_duplicate: bool,
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    #[default]
    Info,
    Success,
    Warning,
    Error,
}

/// A link that stands out.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Button {
    pub(super) text: String,
    pub(super) url: String,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Info => "",
            Self::Success => "✅ ",
            Self::Warning => "⚠️ ",
            Self::Error => "❌ ",
        }
    }

    fn color(self) -> u32 {
        match self {
            Self::Info => 0x57_60_6A,
            Self::Success => 0x1A_7F_37,
            Self::Warning => 0x9A_67_00,
            Self::Error => 0xCF_22_2E,
        }
    }
}

impl Message {
    /// The text with its sign, without what nobody can see.
    fn line(&self) -> String {
        format!("{}{}", self.level.sign(), without_invisible(&self.text))
    }

    fn field_texts(&self) -> impl Iterator<Item = (&str, String)> {
        self.fields.iter().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.as_str(), without_invisible(&text))
        })
    }

    /// For Slack's `chat.postMessage` and its webhooks.
    pub(super) fn slack(&self) -> Value {
        let line = unaddressed(&self.line());
        if self.fields.is_empty() && self.buttons.is_empty() {
            return json!({ "text": cut(&line, SLACK_TEXT) });
        }
        let mut blocks = vec![
            json!({ "type": "section", "text": { "type": "mrkdwn", "text": cut(&line, SLACK_SECTION) } }),
        ];
        let field = |(name, text): (&str, String)| {
            let text = unaddressed(&format!("*{name}*\n{text}"));
            json!({ "type": "mrkdwn", "text": cut(&text, SLACK_FIELD) })
        };
        let fields: Vec<_> = self.field_texts().take(MOST_FIELDS).map(field).collect();
        // Slack takes ten fields in one section.
        blocks
            .extend(fields.chunks(10).map(|fields| json!({ "type": "section", "fields": fields })));
        let button = |button: &Button| json!({ "type": "button", "url": button.url, "text": { "type": "plain_text", "text": cut(&button.text, SLACK_BUTTON) } });
        let buttons: Vec<_> = self.buttons.iter().map(button).collect();
        if !buttons.is_empty() {
            blocks.push(json!({ "type": "actions", "elements": buttons }));
        }
        json!({ "text": cut(&line, SLACK_SECTION), "blocks": blocks })
    }

    /// For Teams: an Adaptive Card, as its workflows expect it.
    pub(super) fn teams(&self) -> Value {
        let line = cut(&self.line(), TEAMS_TEXT);
        let mut body = vec![json!({ "type": "TextBlock", "text": line, "wrap": true })];
        let fact = |(name, text): (&str, String)| json!({ "title": cut(name, TEAMS_FACT), "value": cut(&text, TEAMS_FACT) });
        let facts: Vec<_> = self.field_texts().take(MOST_FACTS).map(fact).collect();
        if !facts.is_empty() {
            body.push(json!({ "type": "FactSet", "facts": facts }));
        }
        let action = |button: &Button| json!({ "type": "Action.OpenUrl", "title": button.text, "url": button.url });
        let actions: Vec<_> = self.buttons.iter().map(action).collect();
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
            "body": body, "actions": actions,
        });
        let content =
            json!({ "contentType": "application/vnd.microsoft.card.adaptive", "content": card });
        json!({ "type": "message", "attachments": [content] })
    }

    /// For Discord's webhooks. Nobody is woken by what stands in a text.
    pub(super) fn discord(&self) -> Value {
        let nobody = json!({ "parse": [] });
        let line = cut(&self.line(), DISCORD_TEXT);
        let link = |button: &Button| format!("[{}]({})", button.text, button.url);
        let links: Vec<_> = self.buttons.iter().map(link).collect();
        let links = (!links.is_empty()).then(|| ("Links", links.join(" · ")));
        let mut room = DISCORD_ALL - DISCORD_TEXT;
        let mut fields = Vec::new();
        for (name, text) in links.into_iter().chain(self.field_texts()).take(DISCORD_FIELDS) {
            let (name, value) = (cut(name, DISCORD_NAME), cut(&text, DISCORD_VALUE));
            let length = name.chars().count() + value.chars().count();
            if length <= room {
                room -= length;
                fields.push(json!({ "name": said(name), "value": said(value), "inline": true }));
            }
        }
        if fields.is_empty() {
            return json!({ "content": line, "allowed_mentions": nobody });
        }
        let embed = json!({ "description": line, "color": self.level.color(), "fields": fields });
        json!({ "embeds": [embed], "allowed_mentions": nobody })
    }

    /// As Markdown, for comments on GitHub.
    pub(super) fn markdown(&self) -> String {
        let mut text = cut(&self.line(), GITHUB_TEXT / 2);
        if !self.fields.is_empty() {
            let cell = |text: &str| text.replace('|', "\\|").replace('\n', "<br>");
            let row =
                |(name, text): (&str, String)| format!("| {} | {} |", cell(name), cell(&text));
            let rows: Vec<_> = self.field_texts().map(row).collect();
            let rows = cut(&rows.join("\n"), GITHUB_TEXT / 2);
            text = format!("{text}\n\n| | |\n|---|---|\n{rows}");
        }
        let link = |button: &Button| format!("[{}]({})", button.text, button.url);
        let links: Vec<_> = self.buttons.iter().map(link).collect();
        if links.is_empty() { text } else { format!("{text}\n\n{}", links.join(" · ")) }
    }

    /// As data, for programs.
    pub(super) fn plain(&self) -> Value {
        let button = |button: &Button| json!({ "text": button.text, "url": button.url });
        let buttons: Vec<_> = self.buttons.iter().map(button).collect();
        json!({
            "text": self.text, "level": self.level.word(), "fields": self.fields, "buttons": buttons,
            "thread_key": self.thread_key, "upsert_key": self.upsert_key,
        })
    }
}

/// A text for Slack that does not wake everybody in a channel, whoever wrote it.
fn unaddressed(text: &str) -> String {
    text.replace("<!", "&lt;!")
}

/// A text that is not longer than a service takes.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// What Discord does not refuse for saying nothing.
fn said(text: String) -> String {
    if text.trim().is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(arguments: Value) -> Message {
        serde_json::from_value(arguments).unwrap()
    }

    fn longest(value: &Value) -> usize {
        match value {
            Value::String(text) => text.chars().count(),
            Value::Array(items) => items.iter().map(longest).max().unwrap_or_default(),
            Value::Object(members) => members.values().map(longest).max().unwrap_or_default(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
    }

    #[test]
    fn no_message_is_longer_than_its_service_takes() {
        let fields: Map<String, Value> =
            (0..60).map(|n| (format!("field {n}"), "ü".repeat(5_000).into())).collect();
        let plain = message(json!({ "text": "x".repeat(100_000) }));
        let full = message(json!({
            "text": "x".repeat(100_000), "fields": fields,
            "buttons": [{ "text": "b".repeat(200), "url": "https://e.example/" }],
        }));
        let content = plain.discord()["content"].as_str().unwrap().chars().count();
        assert_eq!(content, DISCORD_TEXT);
        let embed = full.discord()["embeds"][0].clone();
        let texts =
            embed["fields"].as_array().unwrap().iter().flat_map(|field| {
                [field["name"].as_str().unwrap(), field["value"].as_str().unwrap()]
            });
        let all: usize = texts.map(|text| text.chars().count()).sum();
        assert!(all + embed["description"].as_str().unwrap().chars().count() <= DISCORD_ALL);
        assert!(embed["fields"][0]["value"].as_str().unwrap().contains("https://e.example/"));
        assert!(longest(&plain.slack()) <= SLACK_TEXT);
        assert!(longest(&full.slack()) <= SLACK_SECTION);
        assert!(full.slack()["blocks"].as_array().unwrap().len() <= 50);
        assert!(full.teams().to_string().len() < 28_000);
        assert!(full.markdown().chars().count() < 65_000);
    }

    #[test]
    fn nothing_that_discord_refuses_for_being_empty_is_sent() {
        let sent = message(json!({ "text": "x", "fields": { "why": "" } })).discord();
        assert_eq!(sent["embeds"][0]["fields"][0]["value"], "-");
    }
}
