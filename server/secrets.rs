//! Secrets: a type that refuses to be printed, where its values come from, and what takes them out of everything said.
//!
//! A workflow writes `${secrets.NAME}` in the params of a tool. Rows and answers keep those words; only the call that
//! goes out has the value, and what comes back of the call is read with the value taken out, in every form.

mod forms;
mod known;
mod scrub;
mod source;
mod view;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use zeroize::Zeroizing;

pub(crate) use self::{
    known::{Scrubbers, hide, hide_in_beginning, remember_minted, scrubbers},
    scrub::Scrubber,
};
use crate::config::{Config, SecretSource};

/// A shorter value is refused: it could not be hidden without hiding ordinary text.
pub(crate) const SHORTEST: usize = 8;

/// How long the output of a command is used.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// A value that nobody may see: it cannot be printed, compared or written, and is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

/// The secrets of a configuration; cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    inner: Arc<Inner>,
}

struct Inner {
    project: PathBuf,
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    source: SecretSource,
    /// What a command wrote, and when. Whoever comes while it runs waits for it.
    kept: tokio::sync::Mutex<Option<(Secret, Instant)>>,
}

/// Why a secret cannot be had. Says nothing of its value.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The configuration does not name it.
    #[error("no secret is called {name}: {}; add `[secrets.{name}]` with `env`, `file` or `command` to windlass.toml", listed(.known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Its source does not give it.
    #[error("the secret {name} is not available: {reason}")]
    Unreadable {
        /// The secret.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// It could not be kept out of rows and logs.
    #[error(
        "the secret {name} has fewer than {SHORTEST} bytes, so that hiding it would hide ordinary text; use a longer one, or write the value in the workflow if it is no secret"
    )]
    TooShort {
        /// The secret.
        name: String,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none is configured".to_owned()
    } else {
        format!("configured are {}", names.join(", "))
    }
}

impl Secret {
    fn new(text: Zeroizing<String>) -> Secret {
        Secret(Arc::new(text))
    }

    /// Whether anybody else has it, too.
    fn is_used(&self) -> bool {
        1 < Arc::strong_count(&self.0)
    }

    /// The value. Called in this module and nowhere else.
    fn expose(&self) -> &str {
        &self.0
    }
}

/// Never the value.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Secrets {
    /// Those of a configuration. From now on nothing that this process says repeats one that stands in a variable or
    /// a file; what a command writes is known once it was needed.
    #[must_use]
    pub fn new(config: &Config) -> Secrets {
        let entries = config.secrets.iter().map(|(name, source)| {
            (name.as_str().to_owned(), Entry { source: source.clone(), kept: Default::default() })
        });
        let inner = Inner { project: config.project.clone(), entries: entries.collect() };
        let secrets = Secrets { inner: Arc::new(inner) };
        for (name, entry) in &secrets.inner.entries {
            // A tool may give back what an earlier process gave it.
            if let Some(text) = source::at_hand(&entry.source) {
                _ = accept(name, text);
            }
        }
        secrets
    }

    /// The secret of that name.
    ///
    /// # Errors
    /// When it is not configured, its source does not give it, or it is too short; the text says what to do.
    pub(crate) async fn get(&self, name: &str) -> Result<Secret, Unavailable> {
        let Some(entry) = self.inner.entries.get(name) else {
            let known = self.inner.entries.keys().cloned().collect();
            return Err(Unavailable::Unknown { name: name.to_owned(), known });
        };
        if !matches!(entry.source, SecretSource::Command(_)) {
            return self.read(name, entry).await;
        }
        let mut kept = entry.kept.lock().await;
        match &*kept {
            Some((secret, since)) if since.elapsed() < KEPT => Ok(secret.clone()),
            Some(_) | None => {
                let secret = self.read(name, entry).await?;
                *kept = Some((secret.clone(), Instant::now()));
                Ok(secret)
            }
        }
    }

    async fn read(&self, name: &str, entry: &Entry) -> Result<Secret, Unavailable> {
        let text = source::read(&entry.source, &self.inner.project).await;
        let unreadable = |reason| Unavailable::Unreadable { name: name.to_owned(), reason };
        accept(name, text.map_err(unreadable)?)
    }
}

fn accept(name: &str, text: Zeroizing<String>) -> Result<Secret, Unavailable> {
    if text.len() < SHORTEST {
        return Err(Unavailable::TooShort { name: name.to_owned() });
    }
    let secret = Secret::new(text);
    known::remember(name, &secret);
    Ok(secret)
}

/// A digest of which secrets there are and of those that stand in variables, for comparing and nothing else.
pub(crate) fn digest(config: &Config) -> String {
    let values: BTreeMap<&str, Option<String>> = config
        .secrets
        .iter()
        .filter_map(|(name, source)| match source {
            SecretSource::Env(variable) => Some((name.as_str(), std::env::var(variable).ok())),
            SecretSource::File(_) | SecretSource::Command(_) => None,
        })
        .collect();
    windlass_engine::content_hash(&json!([config.secrets, values]))
}

/// What `${secrets.NAME}` looks like where a slot says it stands.
fn reference(name: &str) -> String {
    format!("${{secrets.{name}}}")
}

/// A text with secrets in their places. `slots` say where each `${secrets.NAME}` begins, in order; what lies between
/// goes through `between`. `None` where one of them stands somewhere else.
pub(crate) fn fill(
    text: &str,
    slots: &[(usize, &str, &Secret)],
    between: &mut dyn FnMut(&str) -> String,
) -> Option<String> {
    let (mut filled, mut end) = (String::new(), 0);
    for (offset, name, secret) in slots {
        let reference = reference(name);
        if !text.get(*offset..)?.starts_with(&reference) {
            return None;
        }
        filled.push_str(&between(text.get(end..*offset)?));
        filled.push_str(secret.expose());
        end = offset + reference.len();
    }
    filled.push_str(&between(&text[end..]));
    Some(filled)
}

#[cfg(test)]
mod tests;
