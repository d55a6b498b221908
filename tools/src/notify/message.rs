//! A message, in the words of each kind of channel.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::contract::text::without_invisible;

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
            return json!({ "text": line });
        }
        let mut blocks =
            vec![json!({ "type": "section", "text": { "type": "mrkdwn", "text": line } })];
        let field = |(name, text): (&str, String)| json!({ "type": "mrkdwn", "text": unaddressed(&format!("*{name}*\n{text}")) });
        let fields: Vec<_> = self.field_texts().map(field).collect();
        // Slack takes ten fields in one section.
        blocks
            .extend(fields.chunks(10).map(|fields| json!({ "type": "section", "fields": fields })));
        let button = |button: &Button| json!({ "type": "button", "url": button.url, "text": { "type": "plain_text", "text": button.text } });
        let buttons: Vec<_> = self.buttons.iter().map(button).collect();
        if !buttons.is_empty() {
            blocks.push(json!({ "type": "actions", "elements": buttons }));
        }
        json!({ "text": line, "blocks": blocks })
    }

    /// For Teams: an Adaptive Card, as its workflows expect it.
    pub(super) fn teams(&self) -> Value {
        let mut body = vec![json!({ "type": "TextBlock", "text": self.line(), "wrap": true })];
        let facts: Vec<_> = self
            .field_texts()
            .map(|(name, text)| json!({ "title": name, "value": text }))
            .collect();
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
        let field =
            |(name, text): (&str, String)| json!({ "name": name, "value": text, "inline": true });
        let mut fields: Vec<_> = self.field_texts().map(field).collect();
        let link = |button: &Button| format!("[{}]({})", button.text, button.url);
        let links: Vec<_> = self.buttons.iter().map(link).collect();
        if !links.is_empty() {
            fields.push(json!({ "name": "Links", "value": links.join(" · ") }));
        }
        if fields.is_empty() {
            return json!({ "content": self.line(), "allowed_mentions": nobody });
        }
        let embed =
            json!({ "description": self.line(), "color": self.level.color(), "fields": fields });
        json!({ "embeds": [embed], "allowed_mentions": nobody })
    }

    /// As Markdown, for comments on GitHub.
    pub(super) fn markdown(&self) -> String {
        let mut text = self.line();
        if !self.fields.is_empty() {
            let cell = |text: &str| text.replace('|', "\\|").replace('\n', "<br>");
            let row =
                |(name, text): (&str, String)| format!("| {} | {} |", cell(name), cell(&text));
            let rows: Vec<_> = self.field_texts().map(row).collect();
            text = format!("{text}\n\n| | |\n|---|---|\n{}", rows.join("\n"));
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
