//! Sends a message once: what was sent is remembered under the key of the call, what may have been sent too.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Notify;
use super::config::NotifyConfig;
use super::drivers::{Place, Posted, Sending, digest};
use super::message::Message;
use super::post::outcome_unknown;
use crate::contract::schema::{changing_arguments, changing_result, planned, text};
use crate::contract::text::fits;
use crate::contract::{Answer, Call, Code, Host, RetryClass, Tool, ToolError, ToolSpec, no_host};

const SCOPE: &str = "notify";

/// What is known of a message under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Known {
    /// It was about to be sent.
    Sending,
    /// It was sent.
    Sent { posted: Posted, digest: String },
}

/// The tool that sends.
pub(super) fn tool() -> Tool<Notify> {
    let button = json!({
        "type": "object", "required": ["text", "url"], "additionalProperties": false,
        "properties": { "text": text("What it says"), "url": { "type": "string", "pattern": "^https?://" } },
    });
    let properties = json!({
        "channel": text("A channel of the configuration; the default one when left out. CHANNEL:TARGET where the channel allows other targets"),
        "text": text("What to say"),
        "level": { "type": "string", "enum": ["info", "success", "warning", "error"], "default": "info" },
        "fields": { "type": "object", "description": "Facts beside the text" },
        "thread_key": text("Messages with the same key stand in one thread, where the channel has threads"),
        "upsert_key": text("The message that was sent with this key before is changed instead, where the channel allows it"),
        "buttons": { "type": "array", "items": button, "maxItems": 5, "description": "Links" },
        "allow_duplicate": { "type": "boolean", "default": false, "description": "Whether to post again when nobody knows whether the first attempt did" },
    });
    let input = json!({ "type": "object", "properties": properties, "required": ["text"], "additionalProperties": false });
    let nullable =
        |description: &str| json!({ "type": ["string", "null"], "description": description });
    let result = json!({
        "message_id": nullable("Null where the channel gives none"),
        "url": nullable("Where it stands, if the channel says so"),
        "channel": { "type": "string" },
        "changed": { "type": "boolean", "description": "False when the same message stood there already" },
    });
    Tool {
        spec: ToolSpec {
            name: "send",
            title: "Send message",
            description: "Sends a message to a channel that the configuration names: the log, Slack, Teams, Discord, a \
                          webhook, or a comment on GitHub. Repeated calls send it once. Slack, Teams and Discord know no \
                          keys: when an attempt broke off there, a repeated call says so instead of posting twice.",
            input: changing_arguments(input),
            output: changing_result(result, &["message_id", "url", "channel", "changed"]),
            retry_class: RetryClass::Keyed,
            aliases: &[("text", &["message", "body"])],
            names: &["postMessage"],
            ..ToolSpec::default()
        },
        run: |notify, call| Box::pin(sent(notify, call)),
    }
}

async fn sent(notify: Arc<Notify>, call: Call) -> Answer {
    let message: Message = call.parse()?;
    let place = place(&notify.config, message.channel.as_deref())?;
    if message.dry_run {
        let plan =
            format!("send {:?} to {} ({})", message.text, place.name, place.channel.kind.word());
        return Ok(planned(vec![plan], json!({ "channel": place.name })));
    }
    let sending = Sending { notify: &notify, call: &call, place: &place, message: &message };
    let memory = Memory { host: notify.host(), place: &place };
    let own = call.idempotency_key.as_deref().map(|key| format!("sent/{key}"));
    if let Some(Known::Sent { posted, .. }) = memory.recall(own.as_deref()).await? {
        return Ok(answered(&place, &posted, false, false, Vec::new()));
    }
    let mut warnings = memory.doubts(&sending, own.as_deref()).await?;
    if message.thread_key.is_some() && !place.threads() {
        warnings.push(format!("{} has no threads: the message stands by itself", place.name));
    }
    let upsert = memory.name("upsert", message.upsert_key.as_deref())?;
    let earlier = memory.recall(upsert.as_deref()).await?;
    let digest = digest(&message.plain().to_string());
    if let Some(Known::Sent { posted, digest: before }) = &earlier
        && *before == digest
    {
        memory.remember(own.as_deref(), posted, &digest).await?;
        return Ok(answered(&place, posted, false, false, warnings));
    }
    memory.begin(own.as_deref()).await?;
    let outcome = put(&sending, &memory, earlier.as_ref(), &mut warnings).await;
    let (posted, created) = match outcome {
        Ok(done) => done,
        Err(error) => {
            memory.end(own.as_deref(), &error).await?;
            return Err(error);
        }
    };
    memory.remember(upsert.as_deref(), &posted, &digest).await?;
    memory.remember(own.as_deref(), &posted, &digest).await?;
    Ok(answered(&place, &posted, created, true, warnings))
}

/// Changes the message that stands there, or posts one. Answers whether it is a new one.
async fn put(
    sending: &Sending<'_>,
    memory: &Memory<'_>,
    earlier: Option<&Known>,
    warnings: &mut Vec<String>,
) -> Result<(Posted, bool), ToolError> {
    if let Some(Known::Sent { posted, .. }) = earlier {
        if sending.place.edits() && (posted.message_id.is_some() || sending.place.repeatable()) {
            match sending.edit(posted).await {
                Err(error) if error.code == Code::NotFound => {
                    warnings.push("the earlier message is gone: a new one was posted".to_owned());
                }
                edited => return edited.map(|posted| (posted, false)),
            }
        } else {
            let name = &sending.place.name;
            warnings.push(format!("messages in {name} cannot be changed: a new one was posted"));
        }
    }
    let key = sending.message.thread_key.as_deref().filter(|_| sending.place.threads());
    let thread = memory.name("thread", key)?;
    let first = match memory.recall(thread.as_deref()).await? {
        Some(Known::Sent { posted, .. }) => Some(posted),
        Some(Known::Sending) | None => None,
    };
    let posted = sending.post(first.as_ref()).await?;
    if first.is_none() {
        memory.remember(thread.as_deref(), &posted, "").await?;
    }
    Ok((posted, true))
}

fn answered(
    place: &Place<'_>,
    posted: &Posted,
    created: bool,
    changed: bool,
    warnings: Vec<String>,
) -> Value {
    json!({
        "message_id": posted.message_id, "url": posted.url, "channel": place.name, "created": created,
        "changed": changed, "warnings": warnings,
    })
}

/// The channel that a message names: `NAME`, `#NAME`, or `NAME:TARGET`.
fn place<'a>(config: &'a NotifyConfig, named: Option<&str>) -> Result<Place<'a>, ToolError> {
    let named = named.unwrap_or(&config.default_channel);
    // `stdout` is what others call a channel that needs nothing set up.
    let other = if named == "stdout" { "log" } else { named.trim_start_matches('#') };
    for name in [named, other] {
        if let Some(channel) = config.channels.get(name) {
            return Ok(Place { name: name.to_owned(), channel, target: channel.target.clone() });
        }
    }
    let parts = named
        .split_once(':')
        .and_then(|(name, target)| Some((config.channels.get_key_value(name)?, target)));
    let Some(((name, channel), target)) = parts else { return Err(unknown(config, named)) };
    if !channel.targets.iter().any(|glob| fits(glob, target)) {
        let message = format!("the channel {name} does not allow the target {target:?}");
        return Err(ToolError::new(Code::Guardrail, message)
            .hint(format!("add it to [notify.channels.{name}] targets; `*` stands for anything")));
    }
    Ok(Place { name: named.to_owned(), channel, target: target.to_owned() })
}

fn unknown(config: &NotifyConfig, name: &str) -> ToolError {
    let names: Vec<_> = config.channels.keys().map(String::as_str).collect();
    ToolError::new(Code::NotFound, format!("there is no channel {name:?}")).hint(format!(
        "there are: {}; set [notify.channels.NAME] kind and what it needs to add one",
        names.join(", ")
    ))
}

/// What is remembered of messages, where there is a host.
struct Memory<'a> {
    host: Option<&'a dyn Host>,
    place: &'a Place<'a>,
}

impl Memory<'_> {
    /// The name of what is remembered under a key of the caller.
    fn name(&self, kind: &str, key: Option<&str>) -> Result<Option<String>, ToolError> {
        match (key, self.host) {
            (None, _) => Ok(None),
            (Some(key), Some(_)) => Ok(Some(format!("{kind}/{}/{key}", self.place.name))),
            (Some(_), None) => Err(no_host(&format!("{kind}_key"))),
        }
    }

    async fn recall(&self, name: Option<&str>) -> Result<Option<Known>, ToolError> {
        let (Some(host), Some(name)) = (self.host, name) else { return Ok(None) };
        let value = host.recall(SCOPE, name).await?;
        Ok(value.and_then(|value| serde_json::from_value(value).ok()))
    }

    /// What an earlier attempt leaves unknown: nothing, something to warn of, or too much to go on.
    async fn doubts(
        &self,
        sending: &Sending<'_>,
        own: Option<&str>,
    ) -> Result<Vec<String>, ToolError> {
        let begun = match self.host {
            Some(_) => self.recall(own).await? == Some(Known::Sending),
            None => true,
        };
        if sending.call.attempt < 2 || !begun || self.place.repeatable() {
            return Ok(Vec::new());
        }
        let name = &self.place.name;
        if sending.message.allow_duplicate {
            return Ok(vec![format!("an earlier attempt may have posted this to {name} already")]);
        }
        Err(outcome_unknown(format!(
            "an earlier attempt to post to {name} broke off: the message may stand there or not"
        )))
    }

    async fn begin(&self, own: Option<&str>) -> Result<(), ToolError> {
        self.set(own, Some(&Known::Sending)).await
    }

    /// Forgets that a message was about to be sent, where it is certain that it was not.
    async fn end(&self, own: Option<&str>, error: &ToolError) -> Result<(), ToolError> {
        if error.code == Code::OutcomeUnknown {
            return Ok(());
        }
        self.set(own, None).await
    }

    async fn remember(
        &self,
        name: Option<&str>,
        posted: &Posted,
        digest: &str,
    ) -> Result<(), ToolError> {
        let known = Known::Sent { posted: posted.clone(), digest: digest.to_owned() };
        self.set(name, Some(&known)).await
    }

    /// The last one to know wins: two executions that share a key have sent two messages, and either may be changed.
    async fn set(&self, name: Option<&str>, known: Option<&Known>) -> Result<(), ToolError> {
        let (Some(host), Some(name)) = (self.host, name) else { return Ok(()) };
        let before = host.recall(SCOPE, name).await?;
        let after = known.and_then(|known| serde_json::to_value(known).ok());
        if before != after {
            host.swap(SCOPE, name, before.as_ref(), after.as_ref()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_anything() {
        for (glob, target, fit) in [
            ("#ops", "#ops", true),
            ("#ops", "#ops2", false),
            ("octo/*#*", "octo/app#12", true),
            ("octo/*#*", "evil/app#12", false),
            ("*", "", true),
            ("*a", "banana", true),
        ] {
            assert_eq!(fits(glob, target), fit, "{glob} {target}");
        }
    }
}
