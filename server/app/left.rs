//! What executions leave behind beside their history: files, and what their calls of language models took.

use serde::Serialize;
use windlass_engine::Workflow;

use super::{App, Error};
use crate::{
    store::{ArtifactRow, SpentBy, SpentRow},
    tool_servers::CALLS_MODELS,
};

const DAY_MS: i64 = 24 * 3_600_000;
/// How many files of one execution are listed.
const MOST_ARTIFACTS: i64 = 1_000;
/// How many of them come with its status.
const SHOWN_ARTIFACTS: i64 = 20;

/// A file that an execution left behind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArtifactView {
    /// `art_…`
    pub artifact_id: String,
    /// Where MCP clients read it.
    pub resource_uri: String,
    /// For people.
    pub name: String,
    /// The media type.
    pub mime: String,
    /// The length of the content.
    pub bytes: u64,
    /// Of the content, in hex.
    pub sha256: String,
    /// The execution it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// The path of the step that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Milliseconds since 1970.
    pub created_at: i64,
}

/// What calls of language models took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UsageView {
    /// How many there were.
    pub calls: u64,
    /// Tokens sent.
    pub prompt_tokens: u64,
    /// Tokens answered.
    pub completion_tokens: u64,
    /// What those cost whose price is known; `None` when that is none of them.
    pub cost_usd: Option<f64>,
    /// How many calls have no known price.
    pub calls_without_price: u64,
}

/// A sum over calls.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpentView {
    /// The workflow, the day or the model.
    pub of: String,
    /// The sum.
    #[serde(flatten)]
    pub usage: UsageView,
}

/// What sums are made by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SumsBy {
    /// The workflow whose execution called.
    Workflow,
    /// The day, UTC.
    Day,
    /// The model.
    Model,
}

impl App {
    /// A file, with its content.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artifact(&self, id: &str) -> Result<Option<(ArtifactView, Vec<u8>)>, Error> {
        let found = self.inner.store.artifact(id).await?;
        Ok(found.map(|(row, content)| (row.into(), content)))
    }

    /// The files that an execution left behind, the first ones first.
    ///
    /// # Errors
    /// When there is no such execution.
    pub async fn artifacts(&self, execution_id: &str) -> Result<Vec<ArtifactView>, Error> {
        let store = &self.inner.store;
        if store.execution(execution_id).await?.is_none() {
            return Err(Error::UnknownExecution(execution_id.to_owned()));
        }
        let rows = store.artifacts_of(execution_id, MOST_ARTIFACTS).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Those that come with its status.
    pub(super) async fn shown_artifacts(&self, id: &str) -> Result<Vec<ArtifactView>, Error> {
        let rows = self.inner.store.artifacts_of(id, SHOWN_ARTIFACTS).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// What an execution and those below it have spent; `None` when they called no model.
    pub(super) async fn spent(&self, id: &str) -> Result<Option<UsageView>, Error> {
        let spent = self.inner.store.spent_by_execution(id).await?;
        Ok((0 < spent.calls).then(|| (&spent).into()))
    }

    /// What its own steps have spent, by their paths.
    pub(super) async fn spent_by_steps(&self, id: &str) -> Result<Vec<(String, UsageView)>, Error> {
        let rows = self.inner.store.spent_by_steps(id).await?;
        Ok(rows.into_iter().map(|row| (row.of.clone(), (&row).into())).collect())
    }

    /// What was spent in so many days, today included.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn usage(&self, by: SumsBy, days: u32) -> Result<Vec<SpentView>, Error> {
        let store = &self.inner.store;
        let now = store.now();
        let since = now - now.rem_euclid(DAY_MS) - i64::from(days.saturating_sub(1)) * DAY_MS;
        let rows = match by {
            SumsBy::Workflow => store.spent_since(since, SpentBy::Workflow).await?,
            SumsBy::Day => store.spent_since(since, SpentBy::Day).await?,
            SumsBy::Model => store.spent_since(since, SpentBy::Model).await?,
        };
        let view = |row: SpentRow| {
            let of = if by == SumsBy::Day { date(&row.of) } else { row.of.clone() };
            SpentView { of, usage: (&row).into() }
        };
        Ok(rows.into_iter().map(view).collect())
    }
}

/// Whether steps of a workflow, or those of the workflows that it runs, may call language models.
pub(super) fn calls_models(workflow: &Workflow) -> bool {
    workflow.tools().any(|tool| tool.server == CALLS_MODELS) || workflow.children().next().is_some()
}

/// The date of a number of days since 1970: `2026-11-21`.
fn date(days: &str) -> String {
    let Ok(days) = days.parse::<i64>() else { return days.to_owned() };
    // Counted from the first of March of the year 0, so that a leap day ends its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

impl From<ArtifactRow> for ArtifactView {
    fn from(row: ArtifactRow) -> ArtifactView {
        ArtifactView {
            resource_uri: format!("workflow://artifacts/{}", row.id),
            artifact_id: row.id,
            name: row.name,
            mime: row.mime,
            bytes: u64::try_from(row.bytes).unwrap_or_default(),
            sha256: row.sha256,
            execution_id: row.execution_id,
            step: row.step,
            created_at: row.created_at,
        }
    }
}

impl From<&SpentRow> for UsageView {
    fn from(row: &SpentRow) -> UsageView {
        let count = |whole: i64| u64::try_from(whole).unwrap_or_default();
        // An unknown price is not nothing.
        let known = row.calls_without_price < row.calls;
        #[expect(
            clippy::cast_precision_loss,
            reason = "millionths of a dollar up to a billion are exact"
        )]
        let cost = row.cost_micro_usd as f64 / 1e6;
        UsageView {
            calls: count(row.calls),
            prompt_tokens: count(row.prompt_tokens),
            completion_tokens: count(row.completion_tokens),
            cost_usd: known.then_some(cost),
            calls_without_price: count(row.calls_without_price),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_since_1970_have_dates() {
        for (days, expected) in [
            ("0", "1970-01-01"),
            ("59", "1970-03-01"),
            ("11016", "2000-02-29"),
            ("20778", "2026-11-21"),
            ("-1", "1969-12-31"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn an_unknown_price_is_null_and_never_0() {
        let cost = |calls, calls_without_price, cost_micro_usd| {
            let row =
                SpentRow { calls, calls_without_price, cost_micro_usd, ..SpentRow::default() };
            UsageView::from(&row).cost_usd
        };
        assert_eq!(cost(2, 2, 0), None);
        assert_eq!(cost(2, 1, 1_500_000), Some(1.5));
        assert_eq!(cost(1, 0, 0), Some(0.0));
    }
}
