//! The HTTP client below rmcp's transport. It knows whether the server can tell us anything that we did not ask for.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::{HeaderName, HeaderValue};
use reqwest::{StatusCode, redirect};
use rmcp::{
    model::ClientJsonRpcMessage,
    transport::{
        common::client_side_sse::BoxedSseResponse,
        streamable_http_client::{
            StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
        },
    },
};

use super::client::Client;

const MOST_REDIRECTS: usize = 10;

type Headers = HashMap<HeaderName, HeaderValue>;
type Error = StreamableHttpError<reqwest::Error>;

/// Sends as reqwest does.
#[derive(Clone)]
pub(super) struct HttpClient {
    client: reqwest::Client,
    hears: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
}

impl HttpClient {
    /// Prepares requests for one connection; sends none.
    ///
    /// # Errors
    /// A sentence that says why there can be none.
    pub(super) fn new(client: &Client) -> Result<HttpClient, String> {
        let Client { hears, changes, .. } = client.clone();
        let client = reqwest::Client::builder()
            // A connection whose last answer was not read to its end makes the next request wait for 40 ms.
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::custom(redirected))
            .build()
            .map_err(|error| format!("HTTP cannot be spoken: {error}"))?;
        Ok(HttpClient { client, hears, changes })
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
        self.client.post_message(url, message, session, token, headers).await
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
        self.client
            .post_message_with_max_sse_event_size(url, message, session, token, headers, most)
            .await
    }

    async fn delete_session(
        &self,
        url: Arc<str>,
        session: Arc<str>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<(), Error> {
        self.client.delete_session(url, session, token, headers).await
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
        stream
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
        stream
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
