//! Sends spans to a collector: OTLP over HTTP, in JSON.

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, Url, header::HeaderMap};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::attribute;

/// How many spans wait for the collector; of more, the newest are lost.
const MOST_WAITING: usize = 8_192;

/// How many spans are sent at once.
const MOST_SENT: usize = 512;

/// How long the end of the process waits for the collector.
const LAST: Duration = Duration::from_secs(2);

/// Hands spans to whoever sends them.
pub(super) struct Exporter {
    settings: Settings,
    /// Made by the first span: whoever sends lives in the runtime of that one.
    sender: Mutex<Option<mpsc::Sender<Message>>>,
}

enum Message {
    Span(Value),
    Flush(oneshot::Sender<()>),
}

/// What the standard variables say.
#[derive(Clone, Debug)]
struct Settings {
    endpoint: Url,
    headers: HeaderMap,
    timeout: Duration,
    delay: Duration,
    resource: Vec<(String, String)>,
}

/// `None` when no collector is named.
pub(super) fn exporter() -> Option<&'static Exporter> {
    static EXPORTER: LazyLock<Option<Exporter>> = LazyLock::new(|| {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let settings = Settings::of(variable)?;
        Some(Exporter { settings, sender: Mutex::default() })
    });
    EXPORTER.as_ref()
}

/// Lets what waits go out, within a bound.
pub(crate) async fn flush() {
    let Some(exporter) = exporter() else { return };
    let (done, sent) = oneshot::channel();
    let sender = exporter.sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(sender) = sender else { return };
    let flush = async {
        if sender.send(Message::Flush(done)).await.is_ok() {
            _ = sent.await;
        }
    };
    if tokio::time::timeout(LAST, flush).await.is_err() {
        tracing::debug!("the collector of traces did not take the last spans in time");
    }
}

impl Exporter {
    pub(super) fn send(&self, span: Value) {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.as_ref().is_none_or(mpsc::Sender::is_closed) {
            *sender = self.start();
        }
        // Nobody waits for a collector.
        _ = sender.as_ref().map(|sender| sender.try_send(Message::Span(span)));
    }

    fn start(&self) -> Option<mpsc::Sender<Message>> {
        let client = Client::builder()
            .default_headers(self.settings.headers.clone())
            .timeout(self.settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let client = match client {
            Ok(client) => client,
            Err(err) => {
                tracing::warn!("traces are not sent: {err}");
                return None;
            }
        };
        let (sender, messages) = mpsc::channel(MOST_WAITING);
        tokio::spawn(carry(self.settings.clone(), client, messages));
        Some(sender)
    }
}

async fn carry(settings: Settings, client: Client, mut messages: mpsc::Receiver<Message>) {
    let mut failing = false;
    while let Some(first) = messages.recv().await {
        let (mut spans, mut flushed) = (Vec::new(), Vec::new());
        sort(first, &mut spans, &mut flushed);
        let deadline = tokio::time::Instant::now() + settings.delay;
        while spans.len() < MOST_SENT && flushed.is_empty() {
            match tokio::time::timeout_at(deadline, messages.recv()).await {
                Ok(Some(message)) => sort(message, &mut spans, &mut flushed),
                Ok(None) | Err(_) => break,
            }
        }
        if !spans.is_empty() {
            let sent = post(&settings, &client, spans).await;
            match &sent {
                Err(reason) if !failing => tracing::warn!("spans are lost: {reason}"),
                Err(reason) => tracing::debug!("spans are lost: {reason}"),
                Ok(()) => {}
            }
            failing = sent.is_err();
        }
        // Whoever asked may have gone.
        flushed.into_iter().for_each(|done| _ = done.send(()));
    }
}

fn sort(message: Message, spans: &mut Vec<Value>, flushed: &mut Vec<oneshot::Sender<()>>) {
    match message {
        Message::Span(span) => spans.push(span),
        Message::Flush(done) => flushed.push(done),
    }
}

async fn post(settings: &Settings, client: &Client, spans: Vec<Value>) -> Result<(), String> {
    let resource: Vec<Value> = settings
        .resource
        .iter()
        .map(|(name, value)| attribute(name, &value.as_str().into()))
        .collect();
    let scope = json!({ "name": "windlass", "version": env!("CARGO_PKG_VERSION") });
    let body = json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }] });
    // The address may hold a password, and the answer is nobody's business.
    let answer = client.post(settings.endpoint.clone()).json(&body).send().await;
    let answer = answer.map_err(|err| err.without_url().to_string())?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("the collector answered {status}")),
    }
}

impl Settings {
    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Settings> {
        let is = |name: &str, value: &str| {
            variable(name).is_some_and(|said| said.trim().eq_ignore_ascii_case(value))
        };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return None;
        }
        let endpoint = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| {
            let endpoint = variable("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            Some(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        })?;
        let endpoint = match Url::parse(&endpoint) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            _ => {
                tracing::warn!(
                    "OTEL_EXPORTER_OTLP_ENDPOINT is no address of http or https; no traces are sent"
                );
                return None;
            }
        };
        let of_traces = |name: &str| {
            variable(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
                .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        if of_traces("PROTOCOL").is_some_and(|protocol| protocol != "http/json") {
            tracing::warn!(
                "spans are sent as http/json, whatever OTEL_EXPORTER_OTLP_PROTOCOL says"
            );
        }
        let milliseconds = |said: Option<String>, otherwise| {
            Duration::from_millis(
                said.and_then(|said| said.trim().parse().ok()).unwrap_or(otherwise),
            )
        };
        let mut resource = vec![
            ("service.name".to_owned(), "windlass".to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ];
        let named = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let service = variable("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name));
        for (name, value) in pairs(&named).into_iter().chain(service) {
            resource.retain(|(known, _)| *known != name);
            resource.push((name, value));
        }
        Some(Settings {
            endpoint,
            headers: headers(&of_traces("HEADERS").unwrap_or_default()),
            timeout: milliseconds(of_traces("TIMEOUT"), 10_000),
            delay: milliseconds(variable("OTEL_BSP_SCHEDULE_DELAY"), 5_000),
            resource,
        })
    }
}

fn headers(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(text) {
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(mut value)) = (name, reqwest::header::HeaderValue::from_str(&value)) {
            value.set_sensitive(true);
            headers.insert(name, value);
        } else {
            tracing::warn!(
                "OTEL_EXPORTER_OTLP_HEADERS names something that is no header; it is left out"
            );
        }
    }
    headers
}

/// `name=value,name=value`, the values percent-encoded.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), decoded(value.trim()))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Option<Settings> {
        Settings::of(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_standard_variables_say_where_spans_go() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        assert!(settings(&[]).is_none());
        assert!(settings(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]).is_none());
        assert!(settings(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]).is_none());
        assert!(settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")]).is_none());
        let said = settings(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, x-team = a"),
            ("OTEL_SERVICE_NAME", "flows"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=test"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ]);
        let said = said.unwrap();
        assert_eq!(said.endpoint.as_str(), "http://collector:4318/v1/traces");
        assert_eq!(said.headers["authorization"], "Bearer abc");
        assert_eq!(said.headers["x-team"], "a");
        assert_eq!(said.timeout, Duration::from_millis(250));
        assert!(said.resource.contains(&("service.name".into(), "flows".into())));
        assert!(said.resource.contains(&("deployment.environment".into(), "test".into())));
        assert!(!format!("{said:?}").contains("abc"));
        let own = [ENDPOINT, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t.example/x")];
        assert_eq!(settings(&own).unwrap().endpoint.as_str(), "https://t.example/x");
    }
}
