//! The kinds of requests that few tools need: whole lists, texts, and what is put, deleted or there once.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Ask, Repository, Verb};
use super::names::query;
use super::pages::Paging;
use crate::contract::ToolError;

/// A list from its start, as far as anybody wants to read it.
#[derive(Debug)]
pub(super) struct Collected<T> {
    pub(super) items: Vec<T>,
    /// Whether there are more.
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

impl Repository {
    /// A list of the repository over all its pages, up to the most that anybody reads.
    pub(super) async fn collect<T: DeserializeOwned>(
        &self,
        rest: &str,
    ) -> Result<Collected<T>, ToolError> {
        let found = self.pages(rest, None, Paging::all()).await?;
        Ok(Collected { items: found.items, more: found.next_page.is_some() })
    }

    /// Something of the repository as text of this media type.
    pub(super) async fn text(&self, rest: &str, media: &str) -> Result<String, ToolError> {
        let route = self.route(rest);
        let ask = Ask { accept: media, ..Ask::reading(Verb::Get, &route) };
        Ok(self.session.exchange(&ask).await?.text())
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
        match self.write(Verb::Delete, rest, None::<&Value>).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
