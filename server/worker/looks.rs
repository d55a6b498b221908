//! What came of looking at a tool that is not done: when it is looked at again, and what it said in a few words.

use serde_json::Value;
use windlass_engine::{Event, Look, State, Workflow, look_delay_ms};

/// How much of what a tool says is kept, in characters.
const LONGEST: usize = 300;

/// Under these names tools say how far they are.
const WORDS: [&str; 6] = ["message", "summary", "reason", "status", "state", "phase"];

/// The look that came home.
pub(super) fn look(state: &State, path: &str, said: &Value, now: i64) -> Look {
    let asked = said.get("retry_after_ms").and_then(Value::as_u64);
    Look { at: now + look_delay_ms(asked), count: state.looks(path) + 1, said: Some(words(said)) }
}

/// Takes note of looks; what is new to the history comes back. [`keep`] has to follow once that is part of the state.
pub(super) fn begun(
    state: &mut State,
    workflow: &Workflow,
    looks: &[(String, Look)],
) -> Vec<Event> {
    let mut events = Vec::new();
    for (step, look) in looks {
        if state.looked(workflow, step, look.clone()).is_none() {
            events.push(Event::PollingStarted { step: step.clone(), at: look.at });
        }
    }
    events
}

/// What is to be written of looks.
pub(super) fn keep(
    state: &mut State,
    workflow: &Workflow,
    looks: Vec<(String, Look)>,
) -> Vec<(String, Look)> {
    let kept = looks.into_iter().filter_map(|(step, look)| {
        let look = state.keep_look(workflow, &step, look)?.clone();
        Some((step, look))
    });
    kept.collect()
}

fn words(said: &Value) -> String {
    let word = WORDS.iter().find_map(|key| said.get(*key)?.as_str());
    let progress = said.get("progress").filter(|progress| !progress.is_null()).map(progress);
    let text = match (word, progress) {
        (Some(word), Some(progress)) => format!("{word} ({progress})"),
        (Some(word), None) => word.to_owned(),
        (None, Some(progress)) => progress,
        (None, None) => said.to_string(),
    };
    text.chars().take(LONGEST).collect()
}

fn progress(progress: &Value) -> String {
    let part = |names: [&str; 3]| names.iter().find_map(|name| progress.get(*name)?.as_u64());
    match (part(["done", "completed", "progress"]), part(["total", "of", "all"]), progress) {
        (Some(done), Some(total), _) => format!("{done} of {total}"),
        (_, _, Value::String(text)) => text.clone(),
        (_, _, other) => format!("progress {other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_tool_says_while_it_is_not_done_is_told_in_a_few_words() {
        let check = |said: Value, expected: &str| assert_eq!(words(&said), expected, "{said}");
        check(json!({ "message": "2 of 3 tasks run", "status": "rolling" }), "2 of 3 tasks run");
        check(
            json!({ "status": "rolling", "progress": { "done": 2, "total": 3 } }),
            "rolling (2 of 3)",
        );
        check(json!({ "progress": 0.5 }), "progress 0.5");
        check(json!({ "progress": "half way" }), "half way");
        check(json!({ "done": false }), "{\"done\":false}");
        assert_eq!(words(&json!({ "message": "ä".repeat(1_000) })).chars().count(), LONGEST);
    }
}
