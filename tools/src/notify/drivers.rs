//! How a message gets into each kind of channel.

use aws_lc_rs::hmac;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{Channel, Kind};
use super::message::Message;
use super::post::{Post, Reply};
use super::{Notify, log};
use crate::contract::now;
use crate::contract::text::{self, hex};
use crate::contract::{Call, Code, ToolError};

const SLACK_API: &str = "https://slack.com/api";
const GITHUB_API: &str = "https://api.github.com";
/// Clocks of two machines differ.
const CLOCKS_MS: i64 = 120_000;

/// Where a message goes.
pub(super) struct Place<'a> {
    /// The name that the message used.
    pub(super) name: String,
    pub(super) channel: &'a Channel,
    /// Where within the channel's service.
    pub(super) target: String,
}

/// A message that stands in a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Posted {
    pub(super) message_id: Option<String>,
    pub(super) url: Option<String>,
    /// Slack's own name of the channel, without which a message cannot be changed.
    pub(super) within: Option<String>,
}

/// Everything about one message on its way.
pub(super) struct Sending<'a> {
    pub(super) notify: &'a Notify,
    pub(super) call: &'a Call,
    pub(super) place: &'a Place<'a>,
    pub(super) message: &'a Message,
}

impl Place<'_> {
    /// Whether a message can be sent again without standing there twice.
    pub(super) fn repeatable(&self) -> bool {
        match self.channel.kind {
            Kind::Log | Kind::Webhook | Kind::Github => true,
            Kind::Slack | Kind::Teams | Kind::Discord => false,
        }
    }

    /// Whether a message that stands there can be changed.
    pub(super) fn edits(&self) -> bool {
        match self.channel.kind {
            Kind::Log | Kind::Discord | Kind::Github | Kind::Webhook => true,
            Kind::Slack => self.by_bot(),
            Kind::Teams => false,
        }
    }

    /// Whether a message can be put under another one.
    pub(super) fn threads(&self) -> bool {
        match self.channel.kind {
            Kind::Slack => self.by_bot(),
            Kind::Webhook => true,
            Kind::Log | Kind::Teams | Kind::Discord | Kind::Github => false,
        }
    }

    fn by_bot(&self) -> bool {
        !self.channel.token_env.is_empty()
    }
}

impl Sending<'_> {
    /// Posts a message, below another one if there is one.
    pub(super) async fn post(&self, thread: Option<&Posted>) -> Result<Posted, ToolError> {
        match self.place.channel.kind {
            Kind::Log => log::write(self).await,
            Kind::Slack if self.place.by_bot() => self.slack_bot(thread, None).await,
            Kind::Slack => self.plain("slack", self.message.slack()).await,
            Kind::Teams => self.plain("teams", self.message.teams()).await,
            Kind::Discord => self.discord(None).await,
            Kind::Webhook => self.webhook(thread, None).await,
            Kind::Github => self.github().await,
        }
    }

    /// Changes a message that stands there.
    pub(super) async fn edit(&self, earlier: &Posted) -> Result<Posted, ToolError> {
        match self.place.channel.kind {
            Kind::Log => log::write(self).await,
            Kind::Slack => self.slack_bot(None, Some(earlier)).await,
            Kind::Discord => self.discord(Some(earlier)).await,
            Kind::Webhook => self.webhook(None, Some(earlier)).await,
            Kind::Github => self.github_edit(earlier).await,
            Kind::Teams => Ok(earlier.clone()),
        }
    }

    async fn slack_bot(
        &self,
        thread: Option<&Posted>,
        earlier: Option<&Posted>,
    ) -> Result<Posted, ToolError> {
        let mut body = self.message.slack();
        body["channel"] = self.place.target.as_str().into();
        if let Some(id) = thread.and_then(|thread| thread.message_id.as_deref()) {
            body["thread_ts"] = id.into();
        }
        let mut method = "chat.postMessage";
        if let Some(Posted { message_id, within, .. }) = earlier {
            method = "chat.update";
            body["ts"] = message_id.as_deref().into();
            body["channel"] = within.as_deref().unwrap_or(&self.place.target).into();
        }
        let reply = self
            .notify
            .post(Post {
                to: "slack",
                method: Method::POST,
                url: format!("{}/{method}", self.api(SLACK_API)),
                headers: vec![("authorization", format!("Bearer {}", self.token()?))],
                body: Some(body),
                repeatable: earlier.is_some(),
            })
            .await?;
        slack_said(&reply)?;
        let text = |name: &str| reply.body[name].as_str().map(str::to_owned);
        Ok(Posted { message_id: text("ts"), url: None, within: text("channel") })
    }

    /// A post to an address that answers with nothing to remember.
    async fn plain(&self, to: &'static str, body: Value) -> Result<Posted, ToolError> {
        let (method, url) = (Method::POST, self.address()?);
        let post =
            Post { to, method, url, headers: Vec::new(), body: Some(body), repeatable: false };
        self.notify.post(post).await?;
        Ok(Posted::default())
    }

    async fn discord(&self, earlier: Option<&Posted>) -> Result<Posted, ToolError> {
        let address = self.address()?;
        let id = earlier.and_then(|earlier| earlier.message_id.as_deref());
        let (method, url) = match id {
            Some(id) => (Method::PATCH, format!("{address}/messages/{id}")),
            None => (Method::POST, format!("{address}?wait=true")),
        };
        let body = Some(self.message.discord());
        let repeatable = id.is_some();
        let post = Post { to: "discord", method, url, headers: Vec::new(), body, repeatable };
        let reply = self.notify.post(post).await?;
        let message_id = reply.body["id"].as_str().or(id).map(str::to_owned);
        Ok(Posted { message_id, ..Posted::default() })
    }

    async fn webhook(
        &self,
        thread: Option<&Posted>,
        earlier: Option<&Posted>,
    ) -> Result<Posted, ToolError> {
        let of = |posted: Option<&Posted>| posted.and_then(|posted| posted.message_id.clone());
        let mut body = self.message.plain();
        body["message_id"] = of(earlier).into();
        body["thread_id"] = of(thread).into();
        body["channel"] = self.place.name.as_str().into();
        body["execution_id"] = self.call.execution_id().into();
        let mut headers = self.signature(&body)?;
        headers.extend(
            self.call.idempotency_key.as_deref().map(|key| ("idempotency-key", digest(key))),
        );
        let (method, url) = (Method::POST, self.address()?);
        // Its receiver knows a message by the key that it comes with.
        let repeatable = self.call.idempotency_key.is_some();
        let post = Post { to: "webhook", method, url, headers, body: Some(body), repeatable };
        let reply = self.notify.post(post).await?;
        let text = |name: &str| reply.body[name].as_str().map(str::to_owned);
        let message_id = text("message_id").or_else(|| text("id")).or_else(|| of(earlier));
        Ok(Posted { message_id, url: text("url"), within: None })
    }

    /// `t=SECONDS,v1=HEX`: HMAC-SHA-256 over the seconds, a dot and the body.
    fn signature(&self, body: &Value) -> Result<Vec<(&'static str, String)>, ToolError> {
        let name = &self.place.channel.secret_env;
        if name.is_empty() {
            return Ok(Vec::new());
        }
        let secret = self.notify.around.variable(name).ok_or_else(|| self.missing(&[name]))?;
        let seconds = now() / 1_000;
        let bytes = serde_json::to_vec(body).unwrap_or_default();
        let signed = [format!("{seconds}.").as_bytes(), &bytes].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let hex = hex(hmac::sign(&key, &signed).as_ref());
        Ok(vec![("x-windlass-signature", format!("t={seconds},v1={hex}"))])
    }

    async fn github(&self) -> Result<Posted, ToolError> {
        let key = self.call.idempotency_key.as_deref();
        let marker = key.map(|key| format!("<!-- windlass:notify {} -->", digest(key)));
        if let (Some(marker), Some(_)) = (&marker, self.call.key_to_look_up())
            && let Some(found) = self.github_found(marker).await?
        {
            return Ok(found);
        }
        let (repository, number) = self.issue()?;
        let marker = marker.map(|marker| format!("\n\n{marker}")).unwrap_or_default();
        let body = json!({ "body": format!("{}{marker}", self.message.markdown()) });
        let path = format!("/repos/{repository}/issues/{number}/comments");
        self.github_call(Method::POST, &path, Some(body), key.is_some()).await.map(comment)
    }

    async fn github_found(&self, marker: &str) -> Result<Option<Posted>, ToolError> {
        let (repository, number) = self.issue()?;
        let since = self.call.first_started_at.unwrap_or_default().saturating_sub(CLOCKS_MS);
        let since = chrono::DateTime::from_timestamp_millis(since.max(0)).unwrap_or_default();
        let since = since.format("%Y-%m-%dT%H:%M:%SZ");
        let mut page = 1;
        loop {
            let path = format!(
                "/repos/{repository}/issues/{number}/comments?per_page=100&page={page}&since={since}"
            );
            let reply = self.github_call(Method::GET, &path, None, true).await?;
            let comments = reply.body.as_array().cloned().unwrap_or_default();
            let ours =
                |own: &&Value| own["body"].as_str().is_some_and(|body| body.contains(marker));
            if let Some(found) = comments.iter().find(ours) {
                return Ok(Some(posted(found)));
            }
            if comments.len() < 100 {
                return Ok(None);
            }
            page += 1;
        }
    }

    async fn github_edit(&self, earlier: &Posted) -> Result<Posted, ToolError> {
        let (repository, _) = self.issue()?;
        let id = earlier.message_id.as_deref().unwrap_or_default();
        let body = json!({ "body": self.message.markdown() });
        let path = format!("/repos/{repository}/issues/comments/{id}");
        self.github_call(Method::PATCH, &path, Some(body), true).await.map(comment)
    }

    async fn github_call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        repeatable: bool,
    ) -> Result<Reply, ToolError> {
        let headers = vec![
            ("authorization", format!("Bearer {}", self.token()?)),
            ("accept", "application/vnd.github+json".to_owned()),
            ("x-github-api-version", "2022-11-28".to_owned()),
        ];
        let url = format!("{}{path}", self.api(GITHUB_API));
        self.notify.post(Post { to: "github", method, url, headers, body, repeatable }).await
    }

    /// `OWNER/REPO#NUMBER` in two.
    fn issue(&self) -> Result<(&str, u64), ToolError> {
        let target = self.place.target.as_str();
        let parts = target.split_once('#').and_then(|(repository, number)| {
            let plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
            let (owner, name) = repository.split_once('/')?;
            let fits = !owner.is_empty()
                && !name.is_empty()
                && owner.chars().all(plain)
                && name.chars().all(plain)
                // They would lead to another route of the API.
                && [owner, name].iter().all(|part| !matches!(*part, "." | ".."));
            fits.then_some((repository, number.parse().ok()?))
        });
        parts.ok_or_else(|| {
            let message = format!("{target:?} is no issue on GitHub");
            ToolError::new(Code::InvalidArgument, message).hint("write OWNER/REPO#NUMBER")
        })
    }

    fn api(&self, usual: &str) -> String {
        let own = self.place.channel.api_url.trim_end_matches('/');
        if own.is_empty() { usual.to_owned() } else { own.to_owned() }
    }

    fn token(&self) -> Result<&str, ToolError> {
        let names = &self.place.channel.token_env;
        let found = self.notify.around.first_of(names).map(|(_, token)| token);
        found.ok_or_else(|| self.missing(names))
    }

    /// The address to post to, which is a secret where it comes from a variable.
    fn address(&self) -> Result<String, ToolError> {
        let Channel { url, url_env, .. } = self.place.channel;
        let found = self.notify.around.variable(url_env).or(Some(url.as_str()));
        let found = found.filter(|address| !address.is_empty());
        found.map(str::to_owned).ok_or_else(|| self.missing(&[url_env]))
    }

    fn missing(&self, names: &[impl AsRef<str>]) -> ToolError {
        let name = &self.place.name;
        let variables: Vec<_> =
            names.iter().map(AsRef::as_ref).filter(|own| !own.is_empty()).collect();
        let hint = if variables.is_empty() {
            format!("set [notify.channels.{name}] url_env or token_env to the name of a variable")
        } else {
            format!("set {} in the environment of Windlass", variables.join(" or "))
        };
        let message = format!("the channel {name} has no address or token to send with");
        ToolError::new(Code::FailedPrecondition, message).hint(hint)
    }
}

/// Slack answers 200 to what it refuses.
fn slack_said(reply: &Reply) -> Result<(), ToolError> {
    if reply.body["ok"] == true {
        return Ok(());
    }
    let error = reply.body["error"].as_str().unwrap_or("no reason");
    let code = match error {
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            Code::Unauthenticated
        }
        "missing_scope" | "restricted_action" | "cant_update_message" => Code::PermissionDenied,
        "channel_not_found" | "message_not_found" => Code::NotFound,
        "not_in_channel" | "is_archived" => Code::FailedPrecondition,
        "ratelimited" => Code::RateLimited,
        _ => Code::InvalidArgument,
    };
    let hint = match error {
        "not_in_channel" => "invite the bot to the channel",
        "missing_scope" => "the bot needs the scope chat:write",
        "channel_not_found" => "name the channel by its id, or invite the bot to it",
        _ => "https://docs.slack.dev/reference/methods/chat.postMessage says what it means",
    };
    Err(ToolError::new(code, format!("slack refused: {error}")).hint(hint))
}

fn comment(reply: Reply) -> Posted {
    posted(&reply.body)
}

fn posted(comment: &Value) -> Posted {
    let message_id = comment["id"].as_u64().map(|id| id.to_string());
    Posted { message_id, url: comment["html_url"].as_str().map(str::to_owned), within: None }
}

/// A key as it may be seen by others.
pub(super) fn digest(key: &str) -> String {
    text::digest(key)[..32].to_owned()
}
