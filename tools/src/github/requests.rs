//! The kinds of requests that few tools need: lists over pages, texts, deletions, and routes of no repository.
//!
//! Pages are asked for by number. The addresses in GitHub's `Link` header are only looked at for whether there
//! is a next one: behind a proxy they name another host, to which no credentials may go.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::{Ask, Repository, Sent, Verb};
use super::names::query;
use crate::contract::ToolError;

/// As many as GitHub puts on one page.
pub(super) const LARGEST_PAGE: usize = 100;
/// As many as a tool collects over pages.
pub(super) const MOST_ITEMS: usize = 1000;

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Whether there is another one after it.
    pub(super) more: bool,
}

/// Adds a query to a route; what has no value is left out.
pub(super) fn with_query(route: &str, pairs: &[(&str, Option<String>)]) -> String {
    let given = pairs.iter().filter_map(|(key, value)| value.as_ref().map(|value| (key, value)));
    let written: Vec<_> = given.map(|(key, value)| format!("{key}={}", query(value))).collect();
    match (written.is_empty(), route.contains('?')) {
        (true, _) => route.to_owned(),
        (false, true) => format!("{route}&{}", written.join("&")),
        (false, false) => format!("{route}?{}", written.join("&")),
    }
}

impl Repository<'_> {
    /// One page of a list of the repository.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        rest: &str,
        page: usize,
        per_page: usize,
    ) -> Result<Page<T>, ToolError> {
        let (items, more) = self.page_at(&self.route(rest), page, per_page).await?;
        Ok(Page { items, more })
    }

    /// One page of whatever a route answers, and whether there is another one after it.
    pub(super) async fn page_at<T: DeserializeOwned>(
        &self,
        route: &str,
        page: usize,
        per_page: usize,
    ) -> Result<(T, bool), ToolError> {
        let pairs = [("per_page", Some(per_page.to_string())), ("page", Some(page.to_string()))];
        let route = with_query(route, &pairs);
        let answered = self.session.exchange(&Ask::reading(Verb::Get, &route)).await?;
        let links = answered.header("link").unwrap_or_default();
        let more = links.contains("rel=\"next\"");
        Ok((answered.json(Sent::Read)?, more))
    }

    /// A list of the repository from its start, over as many pages as it takes to have so many.
    pub(super) async fn collect<T: DeserializeOwned>(
        &self,
        rest: &str,
        at_most: usize,
    ) -> Result<Page<T>, ToolError> {
        let mut all = Page { items: Vec::new(), more: true };
        for page in 1.. {
            if !all.more || at_most <= all.items.len() {
                break;
            }
            let next = self.page(rest, page, LARGEST_PAGE).await?;
            all.items.extend(next.items);
            all.more = next.more;
        }
        all.more |= at_most < all.items.len();
        all.items.truncate(at_most);
        Ok(all)
    }

    /// Something of the repository as text of this media type; `None` where it is not UTF-8.
    pub(super) async fn text(
        &self,
        rest: &str,
        media: &'static str,
    ) -> Result<Option<String>, ToolError> {
        let route = self.route(rest);
        let ask = Ask { accept: media, ..Ask::reading(Verb::Get, &route) };
        let answered = self.session.exchange(&ask).await?;
        Ok(String::from_utf8(answered.body).ok())
    }

    /// Reads what belongs to no repository.
    pub(super) async fn get_at<T: DeserializeOwned>(&self, route: &str) -> Result<T, ToolError> {
        self.session.read(route).await
    }

    /// Creates something that GitHub itself keeps once, and says whether it was new (201) or there (200).
    pub(super) async fn post_or_find<T: DeserializeOwned>(
        &self,
        rest: &str,
        body: &impl Serialize,
    ) -> Result<(T, bool), ToolError> {
        let answered = self.write(Verb::Post, rest, Some(body)).await?;
        Ok((answered.json(self.sent())?, answered.status == 201))
    }

    /// Puts something in its place.
    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        rest: &str,
        body: &impl Serialize,
    ) -> Result<T, ToolError> {
        self.write(Verb::Put, rest, Some(body)).await?.json(self.sent())
    }

    /// Deletes something; false when it was not there.
    pub(super) async fn delete(&self, rest: &str) -> Result<bool, ToolError> {
        match self.write(Verb::Delete, rest, None::<&()>).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
