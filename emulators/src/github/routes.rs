//! GitHub's rules: what each route does to the state, and what it answers.

mod actions;
mod apps;
mod checks;
mod comments;
mod commits;
mod contents;
mod deployments;
mod git;
mod issues;
mod labels;
mod merges;
mod pulls;
mod reviews;
mod search;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::shapes::Shapes;
use super::state::{Effect, Issue, Pull, Repository, State};
use crate::clock;

const DOCUMENTATION: &str = "https://docs.github.com/rest";
const DEFAULT_PER_PAGE: usize = 30;
const MAX_PER_PAGE: usize = 100;
const LONGEST_BODY: usize = 65_536;

/// A request, taken apart.
pub(super) struct Request {
    pub(super) id: String,
    pub(super) method: Method,
    /// The path's segments, decoded.
    pub(super) segments: Vec<String>,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    /// The credentials, without their scheme.
    pub(super) token: Option<String>,
    pub(super) body: Value,
    /// The media type that is wanted.
    pub(super) accept: String,
}

/// What is answered.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// Where addresses in answers point to.
pub(super) struct Addresses {
    pub(super) base: String,
    /// The host of `Link` headers, which on GitHub Enterprise may differ from ours.
    pub(super) link_base: Option<String>,
    /// Another host, which keeps what is too large for this one.
    pub(super) blobs: String,
}

pub(super) type Outcome = Result<Reply, Reply>;

/// One request at work on the state.
pub(super) struct Handler<'a> {
    pub(super) state: &'a mut State,
    addresses: &'a Addresses,
    request: &'a Request,
    full_name: String,
}

/// Answers a request and changes the state as GitHub would.
pub(super) fn answer(state: &mut State, addresses: &Addresses, request: &Request) -> Reply {
    if let Err(refused) = apps::check(state, request) {
        return refused;
    }
    if let Some(outcome) = apps::answer(state, addresses, request) {
        return outcome.unwrap_or_else(|refused| refused);
    }
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    if let Some(outcome) = search::answer(state, addresses, request) {
        return outcome.unwrap_or_else(|refused| refused);
    }
    let ["repos", owner, name, rest @ ..] = segments.as_slice() else { return not_found() };
    let full_name = format!("{owner}/{name}");
    if let Some(moved) = moved(state, addresses, request, &full_name) {
        return moved;
    }
    let Some(repository) = state.repository(&full_name) else { return not_found() };
    let full_name = repository.full_name();
    let outcome = Handler { state, addresses, request, full_name }.route(rest);
    outcome.unwrap_or_else(|refused| refused)
}

/// A renamed repository answers with its new address.
fn moved(
    state: &State,
    addresses: &Addresses,
    request: &Request,
    full_name: &str,
) -> Option<Reply> {
    let (_, new) = state.renamed.iter().find(|(old, _)| old.eq_ignore_ascii_case(full_name))?;
    let rest =
        request.path.splitn(5, '/').nth(4).map(|rest| format!("/{rest}")).unwrap_or_default();
    let location = format!("{}/repos/{new}{rest}", addresses.base);
    let reading = request.method == Method::GET;
    let status =
        if reading { StatusCode::MOVED_PERMANENTLY } else { StatusCode::TEMPORARY_REDIRECT };
    let body = json!({ "message": "Moved Permanently", "url": location, "documentation_url": DOCUMENTATION });
    Some(Reply { status, body, headers: vec![("location", location)] })
}

/// A family of routes: an answer, or nothing when the route is not of this family.
type Routes = fn(&mut Handler<'_>, &[&str]) -> Option<Outcome>;

/// Every family there is.
const FAMILIES: [Routes; 13] = [
    |handler, rest| handler.repository_routes(rest),
    |handler, rest| handler.action_routes(rest),
    // Before those of commits, whose names may have slashes.
    |handler, rest| handler.check_routes(rest),
    |handler, rest| handler.comment_routes(rest),
    |handler, rest| handler.issue_routes(rest),
    |handler, rest| handler.label_routes(rest),
    |handler, rest| handler.content_routes(rest),
    |handler, rest| handler.deployment_routes(rest),
    |handler, rest| handler.review_routes(rest),
    |handler, rest| handler.merge_routes(rest),
    |handler, rest| handler.git_routes(rest),
    |handler, rest| handler.commit_routes(rest),
    |handler, rest| handler.pull_routes(rest),
];

impl Handler<'_> {
    fn route(&mut self, rest: &[&str]) -> Outcome {
        let found = FAMILIES.iter().find_map(|family| family(self, rest));
        found.unwrap_or_else(|| Err(not_found()))
    }

    fn repository_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        match (self.request.method.as_str(), rest) {
            ("GET", []) => Some(Ok(ok(self.shapes().full_repository()))),
            _ => None,
        }
    }

    // -- access ---------------------------------------------------------

    pub(super) fn repository(&self) -> &Repository {
        &self.state.repositories[&self.full_name]
    }

    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Repository) -> T) -> T {
        let repository =
            self.state.repository_mut(&self.full_name).expect("found by the same name before");
        change(repository)
    }

    pub(super) fn shapes(&self) -> Shapes<'_> {
        Shapes { base: &self.addresses.base, repository: self.repository() }
    }

    pub(super) fn record(&mut self, effect: &str, subject: impl ToString) {
        self.state.ledger.push(Effect {
            at_ms: clock::now_ms(),
            request_id: self.request.id.clone(),
            effect: effect.to_owned(),
            repository: self.full_name.clone(),
            subject: subject.to_string(),
        });
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.request.body.get(key).and_then(Value::as_str)
    }

    pub(super) fn required(&self, resource: &str, key: &str) -> Result<String, Reply> {
        let found = self.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
        found.ok_or_else(|| invalid(resource, key, "missing_field"))
    }

    /// A body that is not longer than GitHub takes.
    pub(super) fn body_text(&self, resource: &str) -> Result<Option<String>, Reply> {
        match self.text("body") {
            Some(body) if LONGEST_BODY < body.chars().count() => {
                Err(custom(resource, "body is too long (maximum is 65536 characters)"))
            }
            body => Ok(body.map(str::to_owned)),
        }
    }

    /// Whether something that last changed then is recent enough for `since`.
    pub(super) fn is_since(&self, ms: u64) -> bool {
        self.query("since").is_none_or(|since| since <= clock::timestamp(ms).as_str())
    }

    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        let list = self.request.body.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.request.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(super) fn issue(&self, number: &str) -> Result<&Issue, Reply> {
        let number = number.parse::<u64>().ok();
        number.and_then(|number| self.repository().issues.get(&number)).ok_or_else(not_found)
    }

    pub(super) fn pull(&self, number: &str) -> Result<(&Issue, &Pull), Reply> {
        let issue = self.issue(number)?;
        issue.pull.as_ref().map(|pull| (issue, pull)).ok_or_else(not_found)
    }

    pub(super) fn change_issue(&mut self, number: u64, change: impl FnOnce(&mut Issue)) {
        self.change(|repository| {
            let issue = repository.issues.get_mut(&number).expect("looked up before");
            change(issue);
            issue.updated_ms = clock::now_ms();
        });
    }

    // -- paging ---------------------------------------------------------

    pub(super) fn page(&self, items: Vec<Value>) -> Outcome {
        let (page, link) = self.cut(items);
        Ok(Reply { headers: link.into_iter().collect(), ..ok(page.into()) })
    }

    pub(super) fn cut(&self, items: Vec<Value>) -> (Vec<Value>, Option<(&'static str, String)>) {
        let number = |key: &str| self.query(key).and_then(|value| value.parse::<usize>().ok());
        let per_page = number("per_page").unwrap_or(DEFAULT_PER_PAGE).clamp(1, MAX_PER_PAGE);
        let page = number("page").unwrap_or(1).max(1);
        let last = items.len().div_ceil(per_page).max(1);
        let start = (page - 1).saturating_mul(per_page);
        let link = self.link(page, last);
        (items.into_iter().skip(start).take(per_page).collect(), link)
    }

    pub(super) fn link(&self, page: usize, last: usize) -> Option<(&'static str, String)> {
        let others =
            [("prev", page.wrapping_sub(1)), ("next", page + 1), ("last", last), ("first", 1)];
        let exists = |(name, number): &(&str, usize)| match *name {
            "prev" | "first" => 1 < page && *number <= last,
            _ => page < last,
        };
        let links: Vec<_> = others
            .iter()
            .filter(|other| exists(other))
            .map(|(name, number)| format!("<{}>; rel=\"{name}\"", self.page_address(*number)))
            .collect();
        (!links.is_empty()).then(|| ("link", links.join(", ")))
    }

    pub(super) fn page_address(&self, page: usize) -> String {
        let base = self.addresses.link_base.as_ref().unwrap_or(&self.addresses.base);
        let path = self.request.path.split('?').next().unwrap_or_default();
        let others = self.request.query.iter().filter(|(key, _)| key != "page");
        let query: String =
            others.map(|(key, value)| format!("{key}={}&", escape(value))).collect();
        format!("{base}{path}?{query}page={page}")
    }
}

pub(super) fn merge(list: &mut Vec<String>, more: Vec<String>) {
    for entry in more {
        if !list.contains(&entry) {
            list.push(entry);
        }
    }
}

/// Writes a query value so that it survives in an address.
fn escape(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    let write =
        |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(write).collect()
}

pub(super) fn ok(body: Value) -> Reply {
    Reply { status: StatusCode::OK, body, headers: Vec::new() }
}

pub(super) fn created(body: Value) -> Reply {
    Reply { status: StatusCode::CREATED, ..ok(body) }
}

pub(super) fn no_content() -> Reply {
    Reply { status: StatusCode::NO_CONTENT, ..ok(Value::Null) }
}

/// An answer that says no.
pub(super) fn refusal(status: StatusCode, message: &str) -> Reply {
    let body = json!({
        "message": message, "documentation_url": DOCUMENTATION, "status": status.as_str(),
    });
    Reply { status, body, headers: Vec::new() }
}

pub(super) fn not_found() -> Reply {
    refusal(StatusCode::NOT_FOUND, "Not Found")
}

pub(super) fn unprocessable(message: &str) -> Reply {
    refusal(StatusCode::UNPROCESSABLE_ENTITY, message)
}

pub(super) fn validation(error: Value) -> Reply {
    let mut reply = unprocessable("Validation Failed");
    reply.body["errors"] = json!([error]);
    reply
}

pub(super) fn invalid(resource: &str, field: &str, code: &str) -> Reply {
    validation(json!({ "resource": resource, "field": field, "code": code }))
}

pub(super) fn custom(resource: &str, message: &str) -> Reply {
    validation(json!({ "resource": resource, "code": "custom", "message": message }))
}
