//! Tool servers over HTTP: the transport, and what its errors say about the call.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error as _,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use rmcp::transport::{
    StreamableHttpClientTransport,
    common::client_side_sse::ExponentialBackoff,
    streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError},
};

use super::{
    Failure, Outcome,
    catalogue::Entry,
    client::Client,
    http_client::{HttpClient, Patience},
    pipe::LONGEST_MESSAGE,
};

/// Longer waits than a day are not believed.
const LONGEST_RETRY_AFTER_MS: u64 = 24 * 60 * 60 * 1000;

/// A stream that broke is resumed at least this often.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What an error of the transport says about the call.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) failure: Failure,
    /// Whether the call happened in spite of it.
    pub(super) happened: Happened,
    /// Whether the connection (the session) is of no further use.
    pub(super) session_over: bool,
}

/// Whether a call happened of which no result came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Happened {
    No,
    Perhaps,
    /// Only its result cannot be used.
    Yes,
}

impl Trouble {
    /// What it means where no tool was called yet.
    pub(super) fn before_a_call(self) -> Failure {
        match self.happened {
            Happened::Perhaps => Failure::unavailable(self.failure.message),
            Happened::No | Happened::Yes => self.failure,
        }
    }

    /// What it means for a call.
    pub(super) fn outcome(self, entry: &Entry) -> Outcome {
        let name = &entry.info.name;
        let called = |text: &str| format!("{name} was called, but {text}");
        let refused = |text: &str| format!("no result of {name} came from its tool server: {text}");
        match self.happened {
            Happened::No => Outcome::Failed(self.failure.told(refused)),
            Happened::Perhaps => Outcome::uncertain(self.failure.told(called), entry),
            Happened::Yes => Outcome::unusable(self.failure.told(called), entry),
        }
    }
}

/// The transport of one connection.
///
/// # Errors
/// A sentence that names the header that cannot be sent.
pub(super) fn transport(
    url: &str,
    headers: &BTreeMap<String, String>,
    max_in_flight: u32,
    client: &Client,
    patience: Patience,
) -> Result<StreamableHttpClientTransport<HttpClient>, String> {
    use_our_tls();
    let mut config = StreamableHttpClientTransportConfig::with_uri(url)
        .custom_headers(sendable(headers)?)
        // It would send calls again behind our back, which may no longer go out then.
        .reinit_on_expired_session(false)
        .max_concurrent_requests(max_in_flight as usize);
    config.max_sse_event_size = LONGEST_MESSAGE;
    let mut backoff = ExponentialBackoff::default();
    // Without a bound it would not come back for days after a long pause.
    backoff.max_delay = Some(LONGEST_PAUSE);
    config.retry_config = Arc::new(backoff);
    Ok(StreamableHttpClientTransport::with_client(HttpClient::new(client, patience)?, config))
}

/// The TLS of this process; does nothing when somebody has chosen before.
pub(super) fn use_our_tls() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The headers of a configuration, marked so that no log shows their values.
///
/// # Errors
/// A sentence that names the header that cannot be sent.
pub(super) fn sendable(
    headers: &BTreeMap<String, String>,
) -> Result<HashMap<HeaderName, HeaderValue>, String> {
    headers
        .iter()
        .map(|(name, value)| {
            let key = HeaderName::try_from(name)
                .map_err(|_| format!("headers.{name}: is not the name of an HTTP header"))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| format!("headers.{name}: its value cannot be sent in a header"))?;
            value.set_sensitive(true);
            Ok((key, value))
        })
        .collect()
}

/// Reads an error of the transport.
pub(super) fn trouble(error: &StreamableHttpError<reqwest::Error>, now_ms: i64) -> Trouble {
    match error {
        StreamableHttpError::Client(error) => of_client(error),
        StreamableHttpError::HttpStatus(error) => {
            of_status(error.status, error.retry_after.as_deref(), now_ms)
        }
        StreamableHttpError::AuthRequired(_) => of_status(401, None, now_ms),
        StreamableHttpError::InsufficientScope(_) => of_status(403, None, now_ms),
        StreamableHttpError::UnexpectedServerResponse(text) => match status_in(text) {
            Some(status) => of_status(status, None, now_ms),
            None => lost(format!("it did not answer in MCP: {text}")),
        },
        StreamableHttpError::ResponseBodyTooLarge { max_size } => {
            let mib = max_size / 1024 / 1024;
            let failure = Failure::new(
                "result_too_large",
                format!("its answer is longer than {mib} MiB; ask it for less, or for pages"),
                Some(false),
            );
            Trouble { happened: Happened::Yes, ..refused(failure) }
        }
        StreamableHttpError::SessionExpired | StreamableHttpError::ReinitializationFailed(_) => {
            Trouble { session_over: true, ..refused(Failure::unavailable(error.to_string())) }
        }
        StreamableHttpError::ReservedHeaderConflict(name) => refused(Failure::new(
            "unavailable",
            format!("header {name:?} is set by the protocol; take it out of `headers`"),
            Some(false),
        )),
        StreamableHttpError::TransportChannelClosed => {
            Trouble { session_over: true, ..lost("the connection is closed".to_owned()) }
        }
        _ => lost(error.to_string()),
    }
}

/// What an error of the HTTP client says.
pub(super) fn of_client(error: &reqwest::Error) -> Trouble {
    let text = chain(error);
    if error.is_connect() {
        refused(Failure::unavailable(format!("nobody answers at its address: {text}")))
    } else if error.is_builder() {
        refused(Failure::new(
            "unavailable",
            format!("its `url` cannot be used: {text}"),
            Some(false),
        ))
    } else {
        lost(format!("the request broke off: {text}"))
    }
}

/// What an HTTP status other than success says.
pub(super) fn of_status(status: u16, retry_after: Option<&str>, now_ms: i64) -> Trouble {
    let wait = retry_after.and_then(|text| retry_after_ms(text, now_ms));
    match status {
        401 => refused(Failure::new(
            "unauthenticated",
            "it answered HTTP 401: set `headers.Authorization` (for example \"Bearer ${TOKEN}\") in its entry, or renew the token",
            Some(false),
        )),
        403 => refused(Failure::new(
            "unauthenticated",
            "it answered HTTP 403: what `headers.Authorization` in its entry holds does not allow this; use a token that does",
            Some(false),
        )),
        429 => refused(limited(status, wait)),
        503 if wait.is_some() => refused(limited(status, wait)),
        // What stands in between says so when it has waited for an answer in vain.
        408 | 499 => lost(format!("it answered HTTP {status}")),
        400..=499 => refused(Failure::new(
            "unavailable",
            format!("it answered HTTP {status}: is `url` the address of its MCP endpoint?"),
            Some(false),
        )),
        _ => lost(format!("it answered HTTP {status}")),
    }
}

fn limited(status: u16, wait: Option<u64>) -> Failure {
    let text = match wait {
        Some(wait) => {
            format!("it answered HTTP {status}: too much was asked of it; wait {wait} ms")
        }
        None => format!("it answered HTTP {status}: too much was asked of it"),
    };
    Failure::new("rate_limited", text, Some(true)).after(wait)
}

fn refused(failure: Failure) -> Trouble {
    Trouble { failure, happened: Happened::No, session_over: false }
}

fn lost(text: String) -> Trouble {
    Trouble {
        failure: Failure::connection_lost(text),
        happened: Happened::Perhaps,
        session_over: false,
    }
}

/// rmcp puts some statuses into words.
fn status_in(text: &str) -> Option<u16> {
    text.strip_prefix("HTTP ")?.get(..3)?.parse().ok()
}

/// An error with its causes, but without the address, which may hold a secret.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "no cause was told".to_owned() } else { text }
}

/// `Retry-After`: seconds, or a moment.
fn retry_after_ms(text: &str, now_ms: i64) -> Option<u64> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1000),
        Err(_) => u64::try_from(moment_ms(text)? - now_ms).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_RETRY_AFTER_MS))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in milliseconds since 1970.
fn moment_ms(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = text.strip_suffix(" GMT")?.split_once(", ")?;
    let [day, month, year, time] = date.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let (day, year): (i64, i64) = (day.parse().ok()?, year.parse().ok()?);
    let mut seconds = 0;
    for part in time.split(':') {
        seconds = seconds * 60 + part.parse::<i64>().ok()?;
    }
    Some((days_since_1970(year, month, day) * 86_400 + seconds) * 1000)
}

/// Counts in years that begin in March, so that a leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_moment() {
        let check = |text: &str, expect| {
            assert_eq!(retry_after_ms(text, 784_111_777_000), expect, "{text}")
        };
        check("7", Some(7_000));
        check("Sun, 06 Nov 1994 08:49:47 GMT", Some(10_000));
        check("Sun, 06 Nov 1994 08:49:00 GMT", Some(0));
        check("99999999999999999999", None);
        check("9999999", Some(LONGEST_RETRY_AFTER_MS));
        check("soon", None);
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
        assert_eq!(days_since_1970(2024, 2, 29), 19_782);
    }

    #[test]
    fn a_status_says_whether_the_call_may_have_happened() {
        let check = |status, retry_after, code: &str, happened| {
            let trouble = of_status(status, retry_after, 0);
            assert_eq!(
                (trouble.failure.code.as_str(), trouble.happened),
                (code, happened),
                "{status}"
            );
        };
        check(401, None, "unauthenticated", Happened::No);
        check(403, None, "unauthenticated", Happened::No);
        check(404, None, "unavailable", Happened::No);
        check(429, None, "rate_limited", Happened::No);
        check(429, Some("7"), "rate_limited", Happened::No);
        check(503, Some("7"), "rate_limited", Happened::No);
        check(503, None, "connection_lost", Happened::Perhaps);
        check(408, None, "connection_lost", Happened::Perhaps);
        check(499, None, "connection_lost", Happened::Perhaps);
        check(502, None, "connection_lost", Happened::Perhaps);
    }

    #[test]
    fn what_may_have_happened_to_a_call_is_merely_unavailable_before_one() {
        let failure = of_status(503, None, 0).before_a_call();
        assert_eq!((failure.code.as_str(), failure.retryable), ("unavailable", Some(true)));
        let failure = of_status(401, None, 0).before_a_call();
        assert_eq!((failure.code.as_str(), failure.retryable), ("unauthenticated", Some(false)));
    }
}
