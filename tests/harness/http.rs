//! Plain HTTP for the tests: one request, one answer.

use std::sync::Once;

use super::{SOON, block_on};

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The whole body.
    pub body: String,
}

/// Gets a page.
pub fn get(url: &str, headers: &[(&str, &str)]) -> Answer {
    answer(with_headers(client().get(url), headers))
}

/// Deletes what is there.
pub fn delete(url: &str, headers: &[(&str, &str)]) -> Answer {
    answer(with_headers(client().delete(url), headers))
}

/// Posts a body; name its type among the headers.
pub fn post(url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    answer(with_headers(client().post(url), headers).body(body.to_owned()))
}

fn with_headers(
    request: reqwest::RequestBuilder,
    headers: &[(&str, &str)],
) -> reqwest::RequestBuilder {
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

fn answer(request: reqwest::RequestBuilder) -> Answer {
    block_on(async {
        let response = request.timeout(SOON).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    })
}

/// A client that goes straight to the address, whatever proxy the machine has.
pub fn client() -> reqwest::Client {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        // Somebody else of this process may have been first; the provider is the same.
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
    reqwest::Client::builder().no_proxy().build().unwrap()
}
