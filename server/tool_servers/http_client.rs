//! The HTTP client below rmcp's transport. It knows whether the server can tell us anything that we did not ask for, and
//! ends a handshake that nobody waits for any more.

use std::{
    collections::HashMap,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::StreamExt as _;
use http::{HeaderName, HeaderValue};
use reqwest::{StatusCode, redirect};
use rmcp::{
    model::{ClientJsonRpcMessage, ClientNotification, ClientRequest},
    transport::{
        common::client_side_sse::BoxedSseResponse,
        streamable_http_client::{
            StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
        },
    },
};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::client::Client;

const MOST_REDIRECTS: usize = 10;

type Headers = HashMap<HeaderName, HeaderValue>;
type Error = StreamableHttpError<reqwest::Error>;

/// Until when the requests of a handshake are waited for. rmcp would wait for ever, and keep task and socket, although
/// who began the handshake has gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the question that a server of the legacy era may not even refuse.
    pub(super) probe: Instant,
    pub(super) handshake: Instant,
}

/// Sends as reqwest does.
#[derive(Clone)]
pub(super) struct HttpClient {
    client: reqwest::Client,
    patience: Patience,
    hears: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
}

impl HttpClient {
    /// Prepares requests for one connection; sends none.
    ///
    /// # Errors
    /// A sentence that says why there can be none.
    pub(super) fn new(client: &Client, patience: Patience) -> Result<HttpClient, String> {
        let Client { hears, changes, .. } = client.clone();
        let client = reqwest::Client::builder()
            // A connection whose last answer was not read to its end makes the next request wait for 40 ms.
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::custom(redirected))
            .build()
            .map_err(|error| format!("HTTP cannot be spoken: {error}"))?;
        Ok(HttpClient { client, patience, hears, changes })
    }

    fn heard(&self, stream: &Result<BoxedSseResponse, Error>, begins: bool) {
        match stream {
            Ok(_) => {
                // What changed before the stream stood was not told.
                self.changes.fetch_add(1, Ordering::AcqRel);
                // What goes on may be the stream of one answer, which tells of nothing else.
                self.hears.fetch_or(begins, Ordering::AcqRel);
            }
            Err(_) => self.hears.store(false, Ordering::Release),
        }
    }
}

impl Patience {
    fn until(self, message: &ClientJsonRpcMessage) -> Option<Instant> {
        match message {
            ClientJsonRpcMessage::Request(request) => match request.request {
                ClientRequest::DiscoverRequest(_) => Some(self.probe),
                ClientRequest::InitializeRequest(_) => Some(self.handshake),
                _ => None,
            },
            ClientJsonRpcMessage::Notification(notification) => match notification.notification {
                ClientNotification::InitializedNotification(_) => Some(self.handshake),
                _ => None,
            },
            ClientJsonRpcMessage::Response(_) | ClientJsonRpcMessage::Error(_) => None,
        }
    }
}

async fn within(
    until: Instant,
    answer: impl Future<Output = Result<StreamableHttpPostResponse, Error>>,
) -> Result<StreamableHttpPostResponse, Error> {
    match timeout_at(until, answer).await {
        // The answer may be long in coming on its stream, too.
        Ok(Ok(StreamableHttpPostResponse::Sse(stream, session))) => {
            let stream = stream.take_until(sleep_until(until)).boxed();
            Ok(StreamableHttpPostResponse::Sse(stream, session))
        }
        Ok(answer) => answer,
        Err(_) => Err(Error::Io(ErrorKind::TimedOut.into())),
    }
}

/// The address may have a key in it, and rmcp logs errors.
fn without_address(error: Error) -> Error {
    match error {
        Error::Client(error) => Error::Client(error.without_url()),
        error => error,
    }
}

impl StreamableHttpClient for HttpClient {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        url: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let until = self.patience.until(&message);
        let answer = self.client.post_message(url, message, session, token, headers);
        match until {
            Some(until) => within(until, answer).await,
            None => answer.await,
        }
        .map_err(without_address)
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        url: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Result<StreamableHttpPostResponse, Error> {
        let until = self.patience.until(&message);
        let answer = self
            .client
            .post_message_with_max_sse_event_size(url, message, session, token, headers, most);
        match until {
            Some(until) => within(until, answer).await,
            None => answer.await,
        }
        .map_err(without_address)
    }

    async fn delete_session(
        &self,
        url: Arc<str>,
        session: Arc<str>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<(), Error> {
        let deleted = self.client.delete_session(url, session, token, headers).await;
        deleted.map_err(without_address)
    }

    async fn get_stream(
        &self,
        url: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<BoxedSseResponse, Error> {
        let begins = last.is_none();
        let stream = self.client.get_stream(url, session, last, token, headers).await;
        self.heard(&stream, begins);
        stream.map_err(without_address)
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        url: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        token: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Result<BoxedSseResponse, Error> {
        let begins = last.is_none();
        let stream = self
            .client
            .get_stream_with_max_sse_event_size(url, session, last, token, headers, most)
            .await;
        self.heard(&stream, begins);
        stream.map_err(without_address)
    }
}

/// Only where the message stays whole, and no header with a secret follows to another place.
fn redirected(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let whole = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT];
    let first = attempt.previous().first();
    let here = first.is_some_and(|first| first.origin() == attempt.url().origin());
    if !here || !whole.contains(&attempt.status()) {
        attempt.stop()
    } else if MOST_REDIRECTS < attempt.previous().len() {
        attempt.error(format!("it redirects more than {MOST_REDIRECTS} times"))
    } else {
        attempt.follow()
    }
}
