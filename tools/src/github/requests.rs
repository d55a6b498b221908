//! The kinds of requests that few tools need: lists over pages, texts, deletions, and routes of no repository.
//!
//! Pages are asked for by number. The addresses in GitHub's `Link` header are only looked at for whether there
//! is a next one: behind a proxy they name another host, to which no credentials may go.

use octocrab::FromResponse;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, LINK};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Repository, Sent, failure};
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
        let _permit = self.permit().await?;
        let read = async {
            let answer = octocrab::map_github_error(self.octocrab._get(route).await?).await?;
            let more = has_next(answer.headers());
            Ok((T::from_response(answer).await?, more))
        };
        read.await.map_err(|error| failure(error, Sent::Read))
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
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(media))]);
        let _permit = self.permit().await?;
        let read = async {
            let answer = self.octocrab._get_with_headers(self.route(rest), Some(headers)).await?;
            let answer = octocrab::map_github_error(answer).await?;
            match self.octocrab.body_to_string(answer).await {
                Err(octocrab::Error::InvalidUtf8 { .. }) => Ok(None),
                text => text.map(Some),
            }
        };
        read.await.map_err(|error| failure(error, Sent::Read))
    }

    /// Reads what belongs to no repository.
    pub(super) async fn get_at<T: DeserializeOwned>(&self, route: &str) -> Result<T, ToolError> {
        let _permit = self.permit().await?;
        let answer = self.octocrab.get(route, None::<&()>).await;
        answer.map_err(|error| failure(error, Sent::Read))
    }

    /// Creates something that GitHub itself keeps once, and says whether it was new (201) or there (200).
    pub(super) async fn post_or_find<T: DeserializeOwned>(
        &self,
        rest: &str,
        body: &impl Serialize,
    ) -> Result<(T, bool), ToolError> {
        let _permit = self.permit().await?;
        let create = async {
            let answer = self.octocrab._post(self.route(rest), Some(body)).await?;
            let answer = octocrab::map_github_error(answer).await?;
            let created = answer.status() == StatusCode::CREATED;
            Ok((T::from_response(answer).await?, created))
        };
        create.await.map_err(|error| failure(error, self.write()))
    }

    /// Puts something in its place.
    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        rest: &str,
        body: &impl Serialize,
    ) -> Result<T, ToolError> {
        let _permit = self.permit().await?;
        let answer = self.octocrab.put(self.route(rest), Some(body)).await;
        answer.map_err(|error| failure(error, self.write()))
    }

    /// Deletes something; false when it was not there.
    pub(super) async fn delete(&self, rest: &str) -> Result<bool, ToolError> {
        let _permit = self.permit().await?;
        let delete = async {
            let answer = self.octocrab._delete(self.route(rest), None::<&Value>).await?;
            octocrab::map_github_error(answer).await
        };
        match delete.await.map_err(|error| failure(error, self.write())) {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn has_next(headers: &HeaderMap) -> bool {
    let links = headers.get(LINK).and_then(|value| value.to_str().ok()).unwrap_or_default();
    links.contains("rel=\"next\"")
}
