//! The search, as far as words, `repo:`, `is:`, `label:` and `author:` go.

use axum::http::StatusCode;
use serde_json::json;

use super::{Addresses, Handler, Outcome, Request, invalid, ok, refusal};
use crate::github::state::{Issue, State};

/// Answers a search, if the request is one.
pub(super) fn answer(
    state: &mut State,
    addresses: &Addresses,
    request: &Request,
) -> Option<Outcome> {
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    if (request.method.as_str(), segments.as_slice()) != ("GET", &["search", "issues"]) {
        return None;
    }
    let query = request.query.iter().find(|(key, _)| key == "q").map(|(_, value)| value.as_str());
    let Some(query) = query.filter(|query| !query.trim().is_empty()) else {
        return Some(Err(invalid("Search", "q", "missing")));
    };
    let full_name = query.split_whitespace().find_map(|word| word.strip_prefix("repo:"));
    let Some(repository) = full_name.and_then(|name| state.repository(name)) else {
        let message = "Validation Failed: the listed users and repositories cannot be searched";
        return Some(Err(refusal(StatusCode::UNPROCESSABLE_ENTITY, message)));
    };
    let full_name = repository.full_name();
    Some(Handler { state, addresses, request, full_name }.search(query))
}

impl Handler<'_> {
    fn search(&self, query: &str) -> Outcome {
        let words: Vec<_> = query.split_whitespace().collect();
        let shapes = self.shapes();
        let fits = |issue: &&Issue| words.iter().all(|word| fits(issue, word));
        let found: Vec<_> = self
            .repository()
            .issues
            .values()
            .rev()
            .filter(fits)
            .map(|issue| {
                let mut shape = shapes.issue(issue);
                shape["score"] = 1.0.into();
                shape
            })
            .collect();
        let total = found.len();
        let (items, link) = self.cut(found);
        let body = json!({ "total_count": total, "incomplete_results": false, "items": items });
        let mut reply = ok(body);
        reply.headers.extend(link);
        Ok(reply)
    }
}

fn fits(issue: &Issue, word: &str) -> bool {
    let text = || format!("{} {}", issue.title, issue.body.as_deref().unwrap_or_default());
    match word.split_once(':') {
        Some(("repo", _)) => true,
        Some(("is" | "type" | "state", "issue")) => issue.pull.is_none(),
        Some(("is" | "type", "pr")) => issue.pull.is_some(),
        Some(("is" | "state", state)) => issue.state == state,
        Some(("label", name)) => issue.labels.iter().any(|own| own == name.trim_matches('"')),
        Some(("author", login)) => issue.user == login,
        _ => text().to_lowercase().contains(&word.to_lowercase()),
    }
}
