//! What a tool may ask of the program it runs in, and how long a result of it lasts.
//!
//! A tool server that runs alone has no host. A tool that cannot do without one says so in
//! [`ToolSpec::needs`](super::ToolSpec::needs), and is then not offered.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::text::digest;
use super::{Code, ToolError};

/// The longest content of an artifact.
pub const MAX_ARTIFACT_BYTES: usize = 16 * 1024 * 1024;

/// A service of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Named locks that outlive a process: they are memos.
    Lock,
    /// Values under a name, changed by comparing.
    Memo,
    /// Files beside an execution.
    Artifact,
    /// What was spent on models.
    Usage,
}

impl Service {
    /// What it is, in a sentence that says who needs it.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Lock => "locks that outlive a process",
            Self::Memo => "a memory that outlives a process",
            Self::Artifact => "a place for files beside executions",
            Self::Usage => "an account of what models cost",
        }
    }
}

/// A host at work.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, ToolError>> + Send + 'a>>;

/// What the program offers that a tool server runs in. Everything is durable and the same in all
/// replicas. A failure is [`Code::Unavailable`]: the same call may work later.
pub trait Host: Send + Sync + 'static {
    /// The memo of that name, if there is one. Scopes keep tool servers apart.
    fn recall<'a>(&'a self, scope: &'a str, name: &'a str) -> Asked<'a, Option<Value>>;

    /// Replaces a memo, when it is still what the caller believes it to be (`None`: not there).
    /// `after: None` removes it. Answers whether it did.
    fn swap<'a>(
        &'a self,
        scope: &'a str,
        name: &'a str,
        before: Option<&'a Value>,
        after: Option<&'a Value>,
    ) -> Asked<'a, bool>;

    /// All memos of a scope whose names begin like this, in the order of their names; 1,000 at most.
    fn memos<'a>(&'a self, scope: &'a str, prefix: &'a str) -> Asked<'a, Vec<(String, Value)>>;

    /// Keeps a file. The same key again leads to the first one.
    fn keep<'a>(&'a self, file: NewArtifact) -> Asked<'a, Artifact>;

    /// A file that was kept, with its content.
    fn artifact<'a>(&'a self, id: &'a str) -> Asked<'a, Option<(Artifact, Vec<u8>)>>;

    /// Notes what a call of a model took. The same key again replaces the first note.
    fn spend<'a>(&'a self, usage: Usage) -> Asked<'a, ()>;

    /// What has been spent so far.
    fn spent<'a>(&'a self, on: SpentOn<'a>) -> Asked<'a, Spent>;
}

/// A file to keep.
#[derive(Clone, PartialEq, Eq)]
pub struct NewArtifact {
    /// The same over all attempts, and another one for every file: the idempotency key and a word.
    pub key: String,
    /// The execution it belongs to; `None` when the caller is not Windlass.
    pub execution_id: Option<String>,
    /// The step that made it.
    pub step: Option<String>,
    /// For people, such as `build.log`.
    pub name: String,
    /// The media type.
    pub mime: String,
    /// The content; [`MAX_ARTIFACT_BYTES`] at most.
    pub bytes: Vec<u8>,
}

/// A file that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// `art_…`.
    pub artifact_id: String,
    /// Where MCP clients read it: `workflow://artifacts/{artifact_id}`.
    pub resource_uri: String,
    /// For people.
    pub name: String,
    /// The media type.
    pub mime: String,
    /// The length of the content in bytes.
    pub bytes: u64,
    /// The content's SHA-256, in hex.
    pub sha256: String,
    /// The execution it belongs to.
    pub execution_id: Option<String>,
    /// The step that made it.
    pub step: Option<String>,
    /// When it was kept, in milliseconds since 1970.
    pub created_at: i64,
}

/// What one call of a model took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// The same over all attempts, and another one for every call: the idempotency key and a number.
    pub key: String,
    /// The execution that pays; `None` when the caller is not Windlass.
    pub execution_id: Option<String>,
    /// The step that called.
    pub step: Option<String>,
    /// The model, as its provider names it.
    pub model: String,
    /// Tokens sent, those from a cache included.
    pub prompt_tokens: u64,
    /// Tokens answered.
    pub completion_tokens: u64,
    /// Of the tokens sent, those that the provider had cached.
    pub cached_tokens: u64,
    /// In millionths of a US dollar; `None` when the price is not known, which is not nothing.
    pub cost_micro_usd: Option<u64>,
}

/// On what something was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpentOn<'a> {
    /// One execution, those below it included.
    Execution(&'a str),
    /// Everything in this workspace since midnight UTC.
    Today,
}

/// A sum of usages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// How many calls.
    pub calls: u64,
    /// Tokens sent.
    pub prompt_tokens: u64,
    /// Tokens answered.
    pub completion_tokens: u64,
    /// Of the calls whose price is known, in millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// How many calls have no known price.
    pub calls_without_price: u64,
}

/// What a tool server is put into: where it looks up variables and starts programs, and its host, if it has one.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The variables it may read; secrets come from here and from nowhere else.
    pub environment: BTreeMap<String, String>,
    /// Where relative paths of its settings start, and where programs are run; empty: the current directory.
    pub root: PathBuf,
    /// The program around it; `None` when it runs alone.
    pub host: Option<Arc<dyn Host>>,
}

/// A host that forgets everything with the process: for tests.
#[derive(Default)]
pub struct Forgetful(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    memos: BTreeMap<(String, String), Value>,
    artifacts: BTreeMap<String, (Artifact, Vec<u8>)>,
    usages: BTreeMap<String, Usage>,
}

impl Surroundings {
    /// The value of a variable that is set to something.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The first of these variables that is set, with its name.
    #[must_use]
    pub fn first_of<'a>(&self, names: &'a [String]) -> Option<(&'a str, &str)> {
        names.iter().find_map(|name| Some((name.as_str(), self.variable(name)?)))
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("hosted", &self.host.is_some()).finish_non_exhaustive()
    }
}

impl fmt::Debug for NewArtifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewArtifact")
            .field("name", &self.name)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl NewArtifact {
    /// The id that a file with this key has.
    #[must_use]
    pub fn id(&self) -> String {
        format!("art_{}", &digest(&self.key)[..20])
    }

    /// The key of a file that a call answers with, at some place of its answer. Another content is another file: what
    /// the next attempt answers is not what the one before did.
    #[must_use]
    pub fn key_of_answer(call: &str, place: &str, content: &[u8]) -> String {
        format!("{call}{place}/{}", digest(content))
    }

    /// What is kept of it beside the content.
    #[must_use]
    pub fn described(&self, created_at: i64) -> Artifact {
        let artifact_id = self.id();
        Artifact {
            resource_uri: format!("workflow://artifacts/{artifact_id}"),
            artifact_id,
            name: self.name.clone(),
            mime: self.mime.clone(),
            bytes: self.bytes.len() as u64,
            sha256: digest(&self.bytes),
            execution_id: self.execution_id.clone(),
            step: self.step.clone(),
            created_at,
        }
    }
}

impl Spent {
    /// Adds one call.
    pub fn add(&mut self, usage: &Usage) {
        self.calls += 1;
        self.prompt_tokens += usage.prompt_tokens;
        self.completion_tokens += usage.completion_tokens;
        self.cost_micro_usd += usage.cost_micro_usd.unwrap_or_default();
        self.calls_without_price += u64::from(usage.cost_micro_usd.is_none());
    }
}

/// What a tool says that needs a host and has none.
#[must_use]
pub fn no_host(what: &str) -> ToolError {
    ToolError::new(
        Code::FailedPrecondition,
        format!("{what} needs Windlass around this tool server"),
    )
    .hint("call it from a workflow that Windlass runs")
}

impl Host for Forgetful {
    fn recall<'a>(&'a self, scope: &'a str, name: &'a str) -> Asked<'a, Option<Value>> {
        let found = self.kept(|kept| kept.memos.get(&(scope.to_owned(), name.to_owned())).cloned());
        Box::pin(async move { Ok(found) })
    }

    fn swap<'a>(
        &'a self,
        scope: &'a str,
        name: &'a str,
        before: Option<&'a Value>,
        after: Option<&'a Value>,
    ) -> Asked<'a, bool> {
        let key = (scope.to_owned(), name.to_owned());
        let done = self.kept(|kept| {
            if kept.memos.get(&key) != before {
                return false;
            }
            match after {
                Some(after) => _ = kept.memos.insert(key, after.clone()),
                None => _ = kept.memos.remove(&key),
            }
            true
        });
        Box::pin(async move { Ok(done) })
    }

    fn memos<'a>(&'a self, scope: &'a str, prefix: &'a str) -> Asked<'a, Vec<(String, Value)>> {
        let found = self.kept(|kept| {
            let fits = |(own, name): &&(String, String)| own == scope && name.starts_with(prefix);
            let names: Vec<_> = kept.memos.keys().filter(fits).cloned().collect();
            names.into_iter().map(|key| (key.1.clone(), kept.memos[&key].clone())).collect()
        });
        Box::pin(async move { Ok(found) })
    }

    fn keep(&self, file: NewArtifact) -> Asked<'_, Artifact> {
        let kept = self.kept(|kept| {
            let first = (file.described(0), file.bytes);
            kept.artifacts.entry(first.0.artifact_id.clone()).or_insert(first).0.clone()
        });
        Box::pin(async move { Ok(kept) })
    }

    fn artifact<'a>(&'a self, id: &'a str) -> Asked<'a, Option<(Artifact, Vec<u8>)>> {
        let found = self.kept(|kept| kept.artifacts.get(id).cloned());
        Box::pin(async move { Ok(found) })
    }

    fn spend(&self, usage: Usage) -> Asked<'_, ()> {
        self.kept(|kept| _ = kept.usages.insert(usage.key.clone(), usage));
        Box::pin(async { Ok(()) })
    }

    fn spent<'a>(&'a self, on: SpentOn<'a>) -> Asked<'a, Spent> {
        let sum = self.kept(|kept| {
            let mut sum = Spent::default();
            let counts = |usage: &&Usage| match on {
                SpentOn::Execution(id) => usage.execution_id.as_deref() == Some(id),
                SpentOn::Today => true,
            };
            kept.usages.values().filter(counts).for_each(|usage| sum.add(usage));
            sum
        });
        Box::pin(async move { Ok(sum) })
    }
}

impl Forgetful {
    fn kept<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
