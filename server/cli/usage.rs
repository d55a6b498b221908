//! `windlass usage`: what calls of language models took, in sums.

use serde_json::json;

use super::{
    arguments::{Usage, UsageBy},
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, bold},
};
use crate::{
    app::{SpentView, SumsBy, UsageView},
    host::Drive,
};

pub(super) async fn run(session: &Session, arguments: &Usage) -> Result<Exit, Failure> {
    let by = match arguments.by {
        UsageBy::Workflow => SumsBy::Workflow,
        UsageBy::Day => SumsBy::Day,
        UsageBy::Model => SumsBy::Model,
    };
    let host = session.host(Drive::Nobody).await?;
    let sums = host.app.usage(by, arguments.days).await;
    host.stop().await;
    let sums = sums?;
    if session.json() {
        terminal::say_json(&json!({ "usage": sums }));
        return Ok(Exit::Done);
    }
    if sums.is_empty() {
        terminal::tell("no language model was called");
        return Ok(Exit::Done);
    }
    let head = ["", "calls", "prompt tokens", "completion tokens", "cost"];
    let head = head.map(bold).to_vec();
    let rows: Vec<_> = [head].into_iter().chain(sums.iter().map(row)).collect();
    terminal::columns(&rows).iter().for_each(|line| terminal::say(line));
    Ok(Exit::Done)
}

fn row(sum: &SpentView) -> Vec<String> {
    let UsageView { calls, prompt_tokens, completion_tokens, .. } = &sum.usage;
    let of = if sum.of.is_empty() { "(outside of workflows)" } else { &sum.of };
    vec![
        of.to_owned(),
        calls.to_string(),
        prompt_tokens.to_string(),
        completion_tokens.to_string(),
        cost(&sum.usage),
    ]
}

/// What is known of the price, and what is not.
pub(super) fn cost(usage: &UsageView) -> String {
    let known = usage.cost_usd.map(|usd| format!("${usd:.4}"));
    match (known, usage.calls_without_price) {
        (Some(known), 0) => known,
        (Some(known), unknown) => format!("{known}, and {unknown} calls whose price is not known"),
        (None, _) => "price not known".to_owned(),
    }
}
