//! Who is asking: people, and a GitHub App with its installations.

use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Addresses, Outcome, Reply, Request, created, not_found, ok, refusal};
use crate::clock::{self, timestamp};
use crate::github::shapes::{Shapes, node_id};
use crate::github::state::{App, CALLER, Repository, State};

const LONGEST_SIGNATURE_S: u64 = 600;

/// What a token says about who sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// A person or a bot with a token of their own.
    Person,
    /// The App itself, by its signature.
    App,
    /// An installation of the App.
    Installation,
}

/// Refuses credentials that are no good, and those of the wrong kind for a route.
pub(super) fn check(state: &State, request: &Request) -> Result<(), Reply> {
    let Some(token) = &request.token else {
        return Err(refusal(StatusCode::UNAUTHORIZED, "Requires authentication"));
    };
    let bad = || refusal(StatusCode::UNAUTHORIZED, "Bad credentials");
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    match (caller(token), segments.as_slice()) {
        (Caller::Person, ["app", ..] | ["repos", _, _, "installation"]) => {
            Err(refusal(StatusCode::UNAUTHORIZED, "A JSON web token could not be decoded"))
        }
        (Caller::Person, _) => Ok(()),
        (Caller::App, ["app", ..] | ["repos", _, _, "installation"]) => {
            if is_signed(token, &state.app) { Ok(()) } else { Err(bad()) }
        }
        (Caller::App, _) => {
            Err(refusal(StatusCode::FORBIDDEN, "Resource not accessible by integration"))
        }
        (Caller::Installation, ["repos", owner, ..]) => {
            if state.app.accepts(token, Some(owner)) {
                Ok(())
            } else {
                Err(bad())
            }
        }
        (Caller::Installation, _) if state.app.accepts(token, None) => Ok(()),
        (Caller::Installation, _) => Err(bad()),
    }
}

fn caller(token: &str) -> Caller {
    match token {
        token if token.starts_with("ghs_installation") => Caller::Installation,
        token if token.starts_with("eyJ") && token.matches('.').count() == 2 => Caller::App,
        _ => Caller::Person,
    }
}

/// Whether a signature is in time and names the App. Its last part is not checked: that would need the key.
fn is_signed(token: &str, app: &App) -> bool {
    let claims = token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let claims =
        claims.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()).unwrap_or_default();
    let now = clock::now_ms() / 1000;
    let issuer = claims["iss"].as_u64().or_else(|| claims["iss"].as_str()?.parse().ok());
    let (from, to) =
        (claims["iat"].as_u64().unwrap_or(u64::MAX), claims["exp"].as_u64().unwrap_or_default());
    issuer == Some(app.id) && from <= now && now < to && to <= now + LONGEST_SIGNATURE_S
}

/// The routes that belong to no repository.
pub(super) fn answer(
    state: &mut State,
    addresses: &Addresses,
    request: &Request,
) -> Option<Outcome> {
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    Some(match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["user"]) => user(state, addresses),
        ("GET", ["app"]) => Ok(ok(app(state, addresses))),
        ("GET", ["repos", owner, name, "installation"]) => {
            installation(state, addresses, owner, &format!("{owner}/{name}"))
        }
        ("POST", ["app", "installations", id, "access_tokens"]) => token(state, id),
        _ => return None,
    })
}

/// Any repository will do: people are the same everywhere.
fn anywhere(state: &State) -> Result<&Repository, Reply> {
    state.repositories.values().next().ok_or_else(not_found)
}

fn user(state: &State, addresses: &Addresses) -> Outcome {
    let repository = anywhere(state)?;
    let created = timestamp(repository.created_ms);
    let mut user = Shapes { base: &addresses.base, repository }.user(CALLER);
    let more = json!({
        "name": "Windlass", "company": null, "blog": null, "location": null, "email": null,
        "hireable": null, "bio": null, "public_repos": 0, "public_gists": 0, "followers": 0, "following": 0,
        "created_at": created, "updated_at": created,
    });
    if let (Value::Object(user), Value::Object(more)) = (&mut user, more) {
        user.extend(more);
    }
    Ok(ok(user))
}

fn app(state: &State, addresses: &Addresses) -> Value {
    let app = &state.app;
    let owner = anywhere(state).map_or(Value::Null, |repository| {
        Shapes { base: &addresses.base, repository }.user("octo")
    });
    json!({
        "id": app.id, "slug": app.slug, "node_id": node_id("App", &app.id.to_string()), "owner": owner,
        "name": app.slug, "description": null, "external_url": addresses.base,
        "html_url": format!("{}/apps/{}", addresses.base, app.slug),
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
        "permissions": { "actions": "write" }, "events": [],
    })
}

fn installation(state: &State, addresses: &Addresses, owner: &str, full_name: &str) -> Outcome {
    let repository = state.repository(full_name).ok_or_else(not_found)?;
    let id = state.app.installation(owner).ok_or_else(not_found)?;
    let account = Shapes { base: &addresses.base, repository }.user(owner);
    let address = format!("{}/app/installations/{id}", addresses.base);
    Ok(ok(json!({
        "id": id, "account": account, "repository_selection": "all",
        "access_tokens_url": format!("{address}/access_tokens"),
        "repositories_url": format!("{}/installation/repositories", addresses.base),
        "html_url": format!("{}/settings/installations/{id}", addresses.base),
        "app_id": state.app.id, "app_slug": state.app.slug, "target_id": account["id"], "target_type": "User",
        "permissions": { "actions": "write", "contents": "write" }, "events": [],
        "single_file_name": null, "suspended_by": null, "suspended_at": null,
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
    })))
}

fn token(state: &mut State, id: &str) -> Outcome {
    let id = id.parse::<u64>().map_err(|_| not_found())?;
    if !state.app.installations.values().any(|own| *own == id) {
        return Err(not_found());
    }
    let minted = state.app.mint(id);
    Ok(created(json!({
        "token": minted.token, "expires_at": timestamp(minted.expires_ms),
        "permissions": { "actions": "write", "contents": "write" }, "repository_selection": "all",
    })))
}
