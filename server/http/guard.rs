//! Who may come in: the token a caller shows, the host name a request was sent to.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{
        HeaderMap, StatusCode, Uri,
        header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::mcp::Principal;

/// Whom a caller is who shows the one token there is.
const TOKEN_PRINCIPAL: &str = "token";

/// What a caller has shown, as a digest; all zeros where nothing had to be shown.
#[derive(Clone, Copy, Default)]
pub(super) struct Authorisation(pub(super) [u8; 32]);

/// The token that callers must show. Only its digest is kept, which also makes all comparisons equally long.
#[derive(Clone)]
pub(super) struct Token {
    digest: [u8; 32],
}

impl Token {
    pub(super) fn new(token: &str) -> Token {
        Token { digest: Sha256::digest(token.trim()).into() }
    }

    fn is(&self, shown: &str) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.digest.ct_eq(&shown).into()
    }
}

/// Lets in who shows the token, and says who that is.
pub(super) async fn token(
    State(token): State<Token>,
    mut request: Request,
    next: Next,
) -> Response {
    match bearer(request.headers()) {
        Some(shown) if token.is(shown) => {
            request.extensions_mut().insert(Principal(TOKEN_PRINCIPAL.to_owned()));
            request.extensions_mut().insert(Authorisation(token.digest));
            next.run(request).await
        }
        Some(_) => unauthorized(
            "Bearer realm=\"windlass\", error=\"invalid_token\"",
            "this token is not the right one",
        ),
        None => unauthorized("Bearer realm=\"windlass\"", "a token is needed"),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized(challenge: &'static str, what: &str) -> Response {
    let error = format!(
        "{what}: send the header Authorization: Bearer TOKEN with the token of this server"
    );
    let body = Json(json!({ "error": error }));
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)], body).into_response()
}

/// The host names that a request may be sent to.
#[derive(Clone)]
pub(super) struct Hosts {
    allowed: Arc<[String]>,
}

impl Hosts {
    pub(super) fn new(allowed: Vec<String>) -> Hosts {
        Hosts { allowed: allowed.into() }
    }

    /// With or without a port, as the entry has it.
    fn allow(&self, authority: &Authority) -> bool {
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        self.allowed.iter().any(|allowed| {
            [authority.as_str(), host, bare].iter().any(|name| allowed.eq_ignore_ascii_case(name))
        })
    }
}

/// Lets in what was sent to a name of this server.
pub(super) async fn hosts(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match authority(request.uri(), request.headers()) {
        Some(authority) if hosts.allow(&authority) => next.run(request).await,
        Some(_) | None => {
            let error = "this host name is not one of this server's; the setting `http.allowed_hosts` names them";
            (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response()
        }
    }
}

fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let in_header = || headers.get(HOST)?.to_str().ok()?.parse().ok();
    uri.authority().cloned().or_else(in_header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_token_is_read_from_its_header() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("abc", None),
        ] {
            assert_eq!(bearer(&headers(AUTHORIZATION, value)), token, "{value}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn only_the_same_token_is_the_token() {
        let token = Token::new("secret\n");
        assert!(token.is("secret"));
        for other in ["", "secre", "secrets", "Secret"] {
            assert!(!token.is(other), "{other:?}");
        }
    }

    #[test]
    fn hosts_match_with_or_without_a_port() {
        let hosts =
            Hosts::new(["localhost", "::1", "windlass.example:8443"].map(str::to_owned).into());
        for (host, allowed) in [
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("[::1]:8080", true),
            ("windlass.example:8443", true),
            ("windlass.example", false),
            ("localhost.evil.example", false),
            ("evil.example", false),
        ] {
            let authority = authority(&Uri::from_static("/readyz"), &headers(HOST, host)).unwrap();
            assert_eq!(hosts.allow(&authority), allowed, "{host}");
        }
    }
}
