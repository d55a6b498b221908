//! A call that only looks, for whoever plans: nothing secret is in what it says, and nothing is kept of it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use futures::FutureExt;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Call, Failure, Inspect, Outcome, RetryClass, ToolInfo, ToolServers};
use crate::secrets;

/// What stands in the place of what the tool's output schema marks `writeOnly`.
const HIDDEN: &str = "[sealed]";

impl ToolServers {
    /// Calls a tool if it is one that only reads at the last moment before the call goes out. Whether something of the
    /// result was hidden comes with it.
    pub async fn look(&self, call: Call) -> (Outcome, bool) {
        let minted = Mutex::new(Vec::new());
        let hidden = AtomicBool::new(false);
        let keep = |mut result: Value, places: &[String]| {
            for place in places {
                let Some(value) = result.pointer_mut(place) else { continue };
                texts(value, &mut minted.lock().unwrap_or_else(PoisonError::into_inner));
                *value = HIDDEN.into();
                hidden.store(true, Ordering::Relaxed);
            }
            result
        };
        let call = Call { inspect: Some(only_reads()), ..call };
        let outcome = self.call_and_keep(call, &|_| {}, &keep).await;
        let minted = minted.into_inner().unwrap_or_else(PoisonError::into_inner);
        secrets::remember_minted(minted.iter().map(|text| text.as_str()));
        (scrubbed(outcome), hidden.into_inner())
    }
}

/// What a tool is may have changed since it was looked up.
fn only_reads() -> Inspect {
    Arc::new(|tool: Option<&ToolInfo>| {
        let writes = tool.filter(|tool| tool.retry_class != RetryClass::Read);
        let looked = match writes {
            None => Ok(()),
            Some(tool) => {
                let message = format!(
                    "{} does not say any more that it only reads, and was not called",
                    tool.name
                );
                Err(Failure::new("tool_changed", message, Some(false)))
            }
        };
        async move { looked }.boxed()
    })
}

/// Every text in the value, and every number.
fn texts(value: &Value, found: &mut Vec<Zeroizing<String>>) {
    match value {
        Value::String(text) => found.push(Zeroizing::new(text.clone())),
        Value::Number(number) => found.push(Zeroizing::new(number.to_string())),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(entries) => entries.values().for_each(|entry| texts(entry, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn scrubbed(outcome: Outcome) -> Outcome {
    let known = secrets::scrubbers();
    let failure = |failure: Failure| Failure {
        code: known.text(&failure.code).into_owned(),
        message: known.text(&failure.message).into_owned(),
        ..failure
    };
    match outcome {
        Outcome::Succeeded(result) => Outcome::Succeeded(known.value(result)),
        Outcome::NotDone(said) => Outcome::NotDone(known.value(said)),
        Outcome::Failed(failed) => Outcome::Failed(failure(failed)),
        Outcome::Uncertain { failure: seen, repeatable } => {
            Outcome::Uncertain { failure: failure(seen), repeatable }
        }
    }
}
