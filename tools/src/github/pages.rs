//! Lists that come in pages: what a caller may ask of them, how they are fetched, and how they are answered.
//!
//! A list tool adds [`properties`] to its arguments and flattens [`Paging`] into their type, fetches with
//! [`Repository::pages`], and answers [`Pages::answer`], whose schema is [`output`].

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::{Answered, Ask, Repository, Sent, Verb};
use crate::contract::{Code, ToolError};

const PER_PAGE: u64 = 30;
const MOST_PER_PAGE: u64 = 100;
const MOST_ITEMS: u64 = 1_000;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Paging {
    pub(super) per_page: Option<u64>,
    pub(super) page: Option<u64>,
    /// Pages are fetched until there are so many; one page when left out.
    pub(super) max_items: Option<u64>,
}

/// A part of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pages<T> {
    pub(super) items: Vec<T>,
    /// The page to go on with. Where `max_items` cut a page, it is that page.
    pub(super) next_page: Option<u64>,
    /// How many there are in all, where GitHub says so.
    pub(super) total: Option<u64>,
}

/// The arguments of a list tool: its own, and those of every list.
pub(super) fn properties(mut own: Value) -> Value {
    own["per_page"] = json!({
        "type": "integer", "minimum": 1, "maximum": MOST_PER_PAGE, "default": PER_PAGE,
        "description": "How many a page has",
    });
    own["page"] = json!({ "type": "integer", "minimum": 1, "default": 1, "description": "The page to begin with" });
    own["max_items"] = json!({
        "type": "integer", "minimum": 1, "maximum": MOST_ITEMS,
        "description": "Fetch as many pages as it takes to have so many; one page when left out",
    });
    own
}

/// The schema of a list of such items.
pub(super) fn output(item: Value) -> Value {
    json!({
        "type": "object", "required": ["items", "next_page", "truncated"],
        "properties": {
            "items": { "type": "array", "items": item },
            "next_page": { "type": ["integer", "null"], "description": "The page to go on with" },
            "total": { "type": "integer", "description": "How many there are in all" },
            "truncated": { "type": "boolean", "description": "Whether there are more" },
            "warnings": { "type": "array", "items": { "type": "string" } },
        },
    })
}

impl Paging {
    /// All there is, as far as anybody wants to read it.
    pub(super) fn all() -> Self {
        Self { per_page: Some(MOST_PER_PAGE), page: None, max_items: Some(MOST_ITEMS) }
    }

    fn per_page(self) -> u64 {
        let told = self.per_page.unwrap_or_else(|| self.max_items.unwrap_or(PER_PAGE));
        told.clamp(1, MOST_PER_PAGE)
    }

    fn first(self) -> u64 {
        self.page.unwrap_or(1).max(1)
    }
}

impl<T> Pages<T> {
    /// The answer of a list tool.
    pub(super) fn answer(self, item: impl FnMut(T) -> Value) -> Value {
        let items: Vec<_> = self.items.into_iter().map(item).collect();
        let truncated = self.next_page.is_some();
        let mut answer =
            json!({ "items": items, "next_page": self.next_page, "truncated": truncated });
        if let Some(total) = self.total {
            answer["total"] = total.into();
        }
        answer
    }
}

impl Repository {
    /// Fetches a list, or the one under a key of each page. The route may have a query of its own.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        rest: &str,
        key: Option<&str>,
        paging: Paging,
    ) -> Result<Pages<T>, ToolError> {
        self.pages_of(rest, key, paging, |_| true).await
    }

    /// The same, of those that are wanted: `max_items` counts no others.
    pub(super) async fn pages_of<T: DeserializeOwned>(
        &self,
        rest: &str,
        key: Option<&str>,
        paging: Paging,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Pages<T>, ToolError> {
        self.pages_at(self.route(rest), key, paging, wanted).await
    }

    /// The same, of a route anywhere, such as a search.
    pub(super) async fn pages_at<T: DeserializeOwned>(
        &self,
        route: String,
        key: Option<&str>,
        paging: Paging,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Pages<T>, ToolError> {
        let mut page = paging.first();
        let join = if route.contains('?') { '&' } else { '?' };
        let mut next = format!("{route}{join}per_page={}&page={page}", paging.per_page());
        let mut found = Pages { items: Vec::new(), next_page: None, total: None };
        loop {
            let answered = self.session.exchange(&Ask::reading(Verb::Get, &next)).await?;
            let following = next_route(&answered).and_then(|next| self.session.route_of(next));
            let (items, total) = items(&answered, key)?;
            found.total = total.or(found.total);
            found.items.extend(items.into_iter().filter(&wanted));
            found.next_page = following.as_ref().map(|_| page.saturating_add(1));
            let Some(most) =
                paging.max_items.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
            else {
                return Ok(found);
            };
            if most < found.items.len() {
                found.items.truncate(most);
                found.next_page = Some(page);
            }
            match following {
                Some(following) if found.items.len() < most => next = following,
                _ => return Ok(found),
            }
            page = page.saturating_add(1);
        }
    }
}

fn items<T: DeserializeOwned>(
    answered: &Answered,
    key: Option<&str>,
) -> Result<(Vec<T>, Option<u64>), ToolError> {
    let mut body: Value = answered.json(Sent::Read)?;
    let total = body.get("total_count").and_then(Value::as_u64);
    let list = match key {
        Some(key) => body.get_mut(key).map(Value::take).unwrap_or_default(),
        None => body,
    };
    let items = serde_json::from_value(list).map_err(|error| {
        let message = format!("GitHub's answer could not be read: {error}");
        ToolError::new(Code::Unavailable, message)
    })?;
    Ok((items, total))
}

/// Where GitHub says that the list goes on.
fn next_route(answered: &Answered) -> Option<&str> {
    let links = answered.header("link")?.split(',');
    let mut next = links.filter(|link| link.contains("rel=\"next\""));
    next.next()?.split_once('<')?.1.split_once('>').map(|(address, _)| address)
}
