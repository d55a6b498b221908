//! A call on its way out and back: secrets go in at the last moment, and nothing of them comes back.
//!
//! What the history and everybody else sees of the params are the words `${secrets.NAME}` and sealed texts.

mod params;

use std::{
    collections::BTreeMap,
    panic,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde_json::Value;
use windlass_engine::SecretSlot;
use zeroize::Zeroizing;

use crate::{
    keyring::{Keyring, Purpose, SHOWN},
    secrets::{self, Scrubber, Scrubbers, Secret, Secrets},
    tool_servers::{Call, Failure, Outcome, ToolProgress, ToolServers},
};

/// What stands in the place of a value that had to be sealed and could not.
const LOST: &str = "[not kept: the keyring cannot be used]";

/// A value with so many bytes of text takes long to be searched for secrets.
const LONG: usize = 256 * 1024;

/// Makes calls; cheap to clone.
#[derive(Clone)]
pub struct Outgoing {
    tool_servers: ToolServers,
    secrets: Secrets,
    keyring: Keyring,
}

/// Texts that this call has to do with and that must be in nothing it leads to.
#[derive(Default)]
struct Minted(Mutex<Vec<Zeroizing<String>>>);

impl Outgoing {
    /// Makes calls to these tool servers, with these secrets.
    #[must_use]
    pub fn new(tool_servers: ToolServers, secrets: Secrets, keyring: Keyring) -> Outgoing {
        Outgoing { tool_servers, secrets, keyring }
    }

    /// The tool servers that it calls.
    #[must_use]
    pub fn tool_servers(&self) -> &ToolServers {
        &self.tool_servers
    }

    /// Makes a call; never fails otherwise than by its outcome. `root_id` is the execution at the root of the tree that
    /// the call is made in: what was sealed in one execution of a tree is opened in all of it.
    pub async fn call(
        &self,
        root_id: &str,
        mut call: Call,
        slots: &[SecretSlot],
        progress: &(dyn Fn(ToolProgress) + Send + Sync),
    ) -> Outcome {
        let begun = Instant::now();
        let found = tokio::select! {
            found = self.find(slots) => found,
            () = call.cancel.cancelled() => Err(cancelled(&call)),
            () = tokio::time::sleep(call.timeout) => Err(unavailable(format!(
                "its secrets could not be had within {} ms, so that {} was not called",
                call.timeout.as_millis(), call.tool
            ))),
        };
        let minted = Minted::default();
        let params = std::mem::take(&mut call.params);
        let open = |token: &str| self.open(root_id, token, &minted);
        // Held to the end of the call: what is used is not forgotten, and may come back.
        let filled = found.as_ref().map_err(Failure::clone).and_then(|secrets| {
            params::filled(params, slots, secrets, &open).ok_or_else(|| misplaced(&call))
        });
        call.params = match filled {
            Ok(params) => params,
            Err(failure) => return Outcome::Failed(failure),
        };
        call.timeout = call.timeout.saturating_sub(begun.elapsed());
        minted.remember();
        let keep = |result, places: &[String]| self.seal(root_id, result, places, &minted);
        let told = |said: ToolProgress| progress(scrub_progress(said, &minted));
        let outcome = self.tool_servers.call_and_keep(call, &told, &keep).await;
        minted.remember();
        scrubbed(outcome, &minted).await
    }

    async fn find(&self, slots: &[SecretSlot]) -> Result<BTreeMap<String, Secret>, Failure> {
        let mut found = BTreeMap::new();
        for slot in slots {
            if !found.contains_key(&slot.name) {
                let secret = self.secrets.get(&slot.name).await;
                let secret = secret.map_err(|err| unavailable(err.to_string()))?;
                found.insert(slot.name.clone(), secret);
            }
        }
        Ok(found)
    }

    /// What was sealed in this tree of executions; anything else is no secret of it.
    fn open(&self, root_id: &str, token: &str, minted: &Minted) -> Option<Value> {
        match self.keyring.open(Purpose::Output, root_id, token) {
            Ok(bytes) => {
                let value = serde_json::from_slice(&bytes).ok()?;
                minted.add(&value);
                Some(value)
            }
            Err(err) => {
                tracing::warn!(execution.root_id = %root_id, "a sealed text is passed on as it is: {err}");
                None
            }
        }
    }

    /// The result as it may be kept.
    fn seal(&self, root_id: &str, result: Value, places: &[String], minted: &Minted) -> Value {
        let mut result = result;
        for place in places {
            let Some(value) = result.pointer_mut(place) else { continue };
            minted.add(value);
            let text = Zeroizing::new(value.to_string());
            let sealed = self.keyring.seal(Purpose::Output, root_id, text.as_bytes());
            *value = Value::from(sealed.unwrap_or_else(|err| {
                tracing::error!(execution.root_id = %root_id, "what a tool made for later is not kept: {err}");
                LOST.to_owned()
            }));
        }
        result
    }
}

impl Minted {
    /// Every text in the value, and every number.
    fn add(&self, value: &Value) {
        match value {
            Value::String(text) => self.push(text.clone()),
            Value::Number(number) => self.push(number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(entries) => entries.values().for_each(|entry| self.add(entry)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn push(&self, text: String) {
        // A shorter one would be found where it is not.
        if secrets::SHORTEST <= text.len() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Zeroizing::new(text));
        }
    }

    /// From now on the process's log hides them, too.
    fn remember(&self) {
        let texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.is_empty() {
            return;
        }
        secrets::remember_minted(texts.iter().map(|text| text.as_str()));
    }

    fn scrubber(&self) -> Scrubber {
        let texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Scrubber::new(texts.iter().map(|text| (SHOWN.to_owned(), text.as_str())))
    }
}

/// The outcome without anything that this call or this process knows to be secret.
async fn scrubbed(outcome: Outcome, minted: &Minted) -> Outcome {
    let (own, known) = (minted.scrubber(), secrets::scrubbers());
    let text = |text: String| known.text(&own.text(&text)).into_owned();
    let failure = |failure: Failure| Failure {
        code: text(failure.code),
        message: text(failure.message),
        ..failure
    };
    match outcome {
        Outcome::Succeeded(result) => Outcome::Succeeded(cleaned(result, own, known).await),
        Outcome::NotDone(said) => Outcome::NotDone(cleaned(said, own, known).await),
        Outcome::Failed(failed) => Outcome::Failed(failure(failed)),
        Outcome::Uncertain { failure: seen, repeatable } => {
            Outcome::Uncertain { failure: failure(seen), repeatable }
        }
    }
}

/// A long value is searched where others do not wait for it.
async fn cleaned(value: Value, own: Scrubber, known: Scrubbers) -> Value {
    if length(&value) < LONG {
        return known.value(own.value(value));
    }
    let cleaned = tokio::task::spawn_blocking(move || known.value(own.value(value))).await;
    cleaned.unwrap_or_else(|err| panic::resume_unwind(err.into_panic()))
}

/// About how many bytes its texts have.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(length).sum(),
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| key.len() + length(value)).sum()
        }
        Value::Number(_) | Value::Null | Value::Bool(_) => 0,
    }
}

fn scrub_progress(said: ToolProgress, minted: &Minted) -> ToolProgress {
    let (own, known) = (minted.scrubber(), secrets::scrubbers());
    let message = said.message.map(|text| known.text(&own.text(&text)).into_owned());
    ToolProgress { message, ..said }
}

/// The call was not made, and trying again does not help.
fn unavailable(message: String) -> Failure {
    Failure {
        code: "secret_unavailable".to_owned(),
        message,
        retryable: Some(false),
        retry_after_ms: None,
    }
}

fn misplaced(call: &Call) -> Failure {
    unavailable(format!(
        "the places of the secrets in what was recorded for {} do not fit it, so that it was not called; \
         start the workflow anew",
        call.tool
    ))
}

fn cancelled(call: &Call) -> Failure {
    Failure {
        code: "cancelled".to_owned(),
        message: format!("{} was cancelled before it was called", call.tool),
        retryable: Some(false),
        retry_after_ms: None,
    }
}

#[cfg(test)]
mod tests;
