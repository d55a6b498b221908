//! Asks a deployer over HTTP, with a signature that it can check and a key by which it knows a repeated request.

use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::config::Webhook;
use super::driver::{Begun, Look, Order, plain_health};
use super::http::{Sent, client, send};
use super::place::Place;
use super::record::{Record, Status, current};
use super::{Deploy, now, template};
use crate::contract::text::hex;
use crate::contract::{Asked, Code, ToolError};

const NAME: &str = "webhook";
/// The longest a look may take.
const LOOK: Duration = Duration::from_secs(10);

pub(super) struct Driver<'a> {
    pub(super) deploy: &'a Deploy,
    pub(super) settings: Webhook,
}

impl super::driver::Driver for Driver<'_> {
    fn begin<'a>(&'a self, order: &'a mut Order<'_>) -> Asked<'a, Begun> {
        Box::pin(self.ask(order))
    }

    fn look<'a>(&'a self, place: &'a Place, record: &'a Record) -> Asked<'a, Look> {
        Box::pin(self.look(place, record))
    }

    fn health<'a>(&'a self, place: &'a Place, records: &'a [Record]) -> Asked<'a, Value> {
        Box::pin(async move { self.health(place, records).await })
    }
}

impl Driver<'_> {
    async fn ask(&self, order: &mut Order<'_>) -> Result<Begun, ToolError> {
        let record = &order.record;
        let url = template::fill(&self.settings.url, &record.words(order.place))?;
        let body = json!({
            "deployment_id": record.id, "action": record.action,
            "app": order.place.app, "environment": order.place.environment_name,
            "version": record.version, "previous_version": record.previous_version,
            "reason": record.reason, "execution_id": record.execution_id,
        })
        .to_string();
        let limit = Duration::from_secs(self.settings.timeout_seconds);
        // Without a key of the caller, the deployment's own id is one: it is the same for this call at least.
        let key = order.call.idempotency_key.as_deref().unwrap_or(&record.id);
        let mut request = client(limit)?
            .post(url)
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        if let Some(secret) = self.secret()? {
            let seconds = (now() / 1000).to_string();
            request = request
                .header("x-windlass-timestamp", &seconds)
                .header("x-windlass-signature", signature(secret, &seconds, &body));
        }
        let answered = send(NAME, request.body(body), Sent::Keyed).await?;
        let id = answered.body.get("id").or_else(|| answered.body.get("deployment_id"));
        order.record.state = json!({ "id": id });
        order.record.url = answered.body["url"].as_str().map(str::to_owned);
        if self.settings.status_url.is_none() {
            order.record.status = Status::Succeeded;
            order.record.finished_at = Some(now());
        }
        let warnings = match self.settings.status_url {
            Some(_) => Vec::new(),
            None => vec![
                "no status_url is configured: success means that the request was taken".to_owned(),
            ],
        };
        let details = json!({ "output": answered.body, "http_status": answered.status });
        Ok(Begun { changed: true, warnings, details })
    }

    async fn look(&self, place: &Place, record: &Record) -> Result<Look, ToolError> {
        let Some(pattern) = &self.settings.status_url else {
            let mut look = Look::at(record.status);
            look.finished_at = record.finished_at;
            return Ok(look);
        };
        let id = match &record.state["id"] {
            Value::String(id) => id.clone(),
            Value::Number(id) => id.to_string(),
            _ => record.id.clone(),
        };
        let url = template::fill(pattern, &record.words(place))?.replace("{id}", &in_path(&id));
        let body = self.get(url).await?;
        let word = body.pointer(&self.settings.status_pointer).and_then(Value::as_str).ok_or_else(
            || {
                let message =
                    format!("the status has no text at {:?}", self.settings.status_pointer);
                ToolError::new(Code::FailedPrecondition, message)
                    .hint("set status_pointer to where the word stands, such as \"/status\"")
            },
        )?;
        let mut look = Look::at(self.status(word));
        look.progress = json!({ "stage": word });
        if look.status.is_done() {
            look.finished_at = Some(now());
        }
        if look.status == Status::Failed {
            let told = body.get("reason").or_else(|| body.get("message")).and_then(Value::as_str);
            look.problem =
                Some(told.map_or_else(|| format!("its status is {word}"), str::to_owned));
        }
        Ok(look)
    }

    fn status(&self, word: &str) -> Status {
        let among = |words: &[String]| words.iter().any(|own| own.eq_ignore_ascii_case(word));
        if among(&self.settings.succeeded) {
            Status::Succeeded
        } else if among(&self.settings.failed) {
            Status::Failed
        } else {
            Status::InProgress
        }
    }

    async fn health(&self, place: &Place, records: &[Record]) -> Result<Value, ToolError> {
        let version = current(records).and_then(|record| record.version.clone());
        let Some(last) = records.last().filter(|_| self.settings.status_url.is_some()) else {
            let problems = vec!["no status_url is configured".to_owned()];
            return Ok(plain_health("unknown", problems, json!({ "version": version })));
        };
        let look = self.look(place, last).await?;
        let health = match look.status {
            Status::Succeeded => "healthy",
            Status::Pending | Status::InProgress | Status::AwaitingAction => "deploying",
            Status::Failed | Status::RolledBack | Status::Stopped => "degraded",
        };
        Ok(plain_health(health, look.problem.into_iter().collect(), json!({ "version": version })))
    }

    async fn get(&self, url: String) -> Result<Value, ToolError> {
        let mut request = client(LOOK)?.get(url);
        if let Some(secret) = self.secret()? {
            let seconds = (now() / 1000).to_string();
            request = request
                .header("x-windlass-timestamp", &seconds)
                .header("x-windlass-signature", signature(secret, &seconds, ""));
        }
        Ok(send(NAME, request, Sent::Look).await?.body)
    }

    fn secret(&self) -> Result<Option<&str>, ToolError> {
        let Some(name) = &self.settings.secret_env else { return Ok(None) };
        match self.deploy.around.variable(name) {
            Some(secret) => Ok(Some(secret)),
            None => Err(ToolError::new(Code::Unauthenticated, format!("{name} is not set")).hint(
                format!("set {name} to the secret that the deployer checks signatures with"),
            )),
        }
    }
}

/// An id that a deployer chose, as one part of a path: it leads to no other place, wherever it is put.
fn in_path(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    // A dot alone or two of them would be a way up, also in percents.
    let dots = id.bytes().all(|byte| byte == b'.');
    let written = |byte: u8| match byte {
        b'.' if dots => "_".to_owned(),
        b'.' => ".".to_owned(),
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    id.bytes().map(written).collect()
}

/// `v1=` and the HMAC-SHA256, in hex, of the timestamp, a dot and the body.
fn signature(secret: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    format!("v1={}", hex(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::{in_path, signature};

    #[test]
    fn an_id_of_a_deployer_stays_one_part_of_the_path() {
        let cases = [
            ("d-1.2_3~x", "d-1.2_3~x"),
            ("..", "__"),
            ("../../admin?x=1#y", "..%2F..%2Fadmin%3Fx%3D1%23y"),
            ("{{version}}", "%7B%7Bversion%7D%7D"),
            ("ü", "%C3%BC"),
        ];
        for (id, expected) in cases {
            assert_eq!(in_path(id), expected);
        }
    }

    /// Computed with `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 'a secret of a deployer'`.
    #[test]
    fn a_signature_is_what_others_compute() {
        let expected = "v1=3eac042c96dd211e075f225ad625e7b9b1d2aa45a98560b01aa694d5f39c86eb";
        assert_eq!(signature("a secret of a deployer", "1700000000", "{\"a\":1}"), expected);
    }
}
