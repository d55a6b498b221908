//! What a person does about a step of which nobody knows whether it happened: finds out, and says so.

use std::path::Path;

use serde_json::{Value, json};

use super::{ledger, observer::Observer};

/// What is to be said to `workflow.control` of a step; nothing where it is uncertain no more. From then on it is as said:
/// what has not happened does not happen any more.
pub(super) fn settled(
    observer: &mut Observer,
    file: &Path,
    execution: &str,
    step: &str,
) -> Result<Option<Value>, String> {
    let Some(generation) = generation(observer, execution, step)? else { return Ok(None) };
    let mut arguments = json!({ "execution_id": execution, "action": "resolve", "step": step });
    if ledger::settle(file, &ledger::key_of(execution, step), generation) {
        arguments["outcome"] = json!("completed");
        arguments["result"] = json!({ "n": 1 });
    } else {
        arguments["outcome"] = json!("retry");
    }
    Ok(Some(arguments))
}

/// Which generation of a step is uncertain, counted by those that were given up for it.
fn generation(
    observer: &mut Observer,
    execution: &str,
    step: &str,
) -> Result<Option<usize>, String> {
    let from = format!(
        "events e JOIN steps s ON s.execution_id = e.execution_id
         WHERE e.execution_id = '{execution}' AND s.step = '{step}' AND s.status = 'uncertain'
         AND e.kind IN ('attempt_started', 'step_resolved') ORDER BY e.seq"
    );
    let rows = observer.try_rows("e.kind, e.data", &from)?;
    let of_step = |row: &&Value| {
        let data: Value = serde_json::from_str(row[1].as_str().unwrap_or("null")).unwrap();
        data["step"] == step
    };
    let resolved = rows.iter().filter(of_step).filter(|row| row[0] == "step_resolved").count();
    Ok((!rows.is_empty()).then_some(resolved))
}
