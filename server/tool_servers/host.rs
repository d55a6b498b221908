//! What the tool servers that ship may ask of Windlass around them, answered by the database.

use serde_json::Value;
use windlass_tools::contract::{
    Artifact, Asked, Code, Host, MAX_ARTIFACT_BYTES, NewArtifact, Spent, SpentOn, ToolError, Usage,
};

use crate::{
    fault, secrets,
    store::{ArtifactRow, Error, SpentRow, Store, UsageRow},
};

/// No call takes more, in tokens or in millionths of a dollar.
const MOST_OF_ONE_CALL: u64 = 1_000_000_000_000;
/// Where a process may be made to die: whatever a tool has it remember is remembered, and nothing after that.
const CHANGED: &str = "host_changed";

/// The host of every tool server of a workspace.
pub struct Hosted {
    store: Store,
}

impl Hosted {
    /// A host over the workspace of this handle. One that only looks refuses to write.
    #[must_use]
    pub fn new(store: Store) -> Hosted {
        Hosted { store }
    }

    fn may_write(&self) -> Result<(), ToolError> {
        if self.store.only_looks() {
            let message = "this Windlass process only looks at the database and writes nothing";
            return Err(ToolError::new(Code::FailedPrecondition, message)
                .hint("call the tool from a workflow that runs"));
        }
        Ok(())
    }
}

impl Host for Hosted {
    fn recall<'a>(&'a self, scope: &'a str, name: &'a str) -> Asked<'a, Option<Value>> {
        Box::pin(async move {
            let text = self.store.memo(scope, name).await.map_err(unavailable)?;
            text.map(|text| read(&text)).transpose()
        })
    }

    fn swap<'a>(
        &'a self,
        scope: &'a str,
        name: &'a str,
        before: Option<&'a Value>,
        after: Option<&'a Value>,
    ) -> Asked<'a, bool> {
        Box::pin(async move {
            self.may_write()?;
            let (before, after) = (before.map(canonical), after.map(canonical));
            let swapped =
                self.store.swap_memo(scope, name, before.as_deref(), after.as_deref()).await;
            swapped.map_err(unavailable).inspect(|_| fault::point(CHANGED))
        })
    }

    fn memos<'a>(&'a self, scope: &'a str, prefix: &'a str) -> Asked<'a, Vec<(String, Value)>> {
        Box::pin(async move {
            let rows = self.store.memos(scope, prefix).await.map_err(unavailable)?;
            rows.into_iter().map(|(name, text)| Ok((name, read(&text)?))).collect()
        })
    }

    fn keep(&self, file: NewArtifact) -> Asked<'_, Artifact> {
        Box::pin(async move {
            self.may_write()?;
            let file = without_secrets(file);
            if MAX_ARTIFACT_BYTES < file.bytes.len() {
                let message = format!(
                    "{} is {} bytes long; what is kept may be {MAX_ARTIFACT_BYTES} bytes",
                    file.name,
                    file.bytes.len()
                );
                return Err(ToolError::new(Code::InvalidArgument, message)
                    .hint("keep a part of it, or put it where it can be fetched from"));
            }
            let kept = row(&file.described(self.store.now()));
            let kept = self.store.keep_artifact(&kept, &file.bytes).await.map_err(unavailable)?;
            fault::point(CHANGED);
            Ok(described(kept))
        })
    }

    fn artifact<'a>(&'a self, id: &'a str) -> Asked<'a, Option<(Artifact, Vec<u8>)>> {
        Box::pin(async move {
            let found = self.store.artifact(id).await.map_err(unavailable)?;
            Ok(found.map(|(row, content)| (described(row), content)))
        })
    }

    fn spend(&self, usage: Usage) -> Asked<'_, ()> {
        Box::pin(async move {
            self.may_write()?;
            let noted = self.store.note_usage(&noted(usage)).await;
            noted.map_err(unavailable).inspect(|()| fault::point(CHANGED))
        })
    }

    fn spent<'a>(&'a self, on: SpentOn<'a>) -> Asked<'a, Spent> {
        Box::pin(async move {
            let sum = match on {
                SpentOn::Execution(id) => self.store.spent_by_execution(id).await,
                SpentOn::Today => self.store.spent_today().await,
            };
            sum.map(|sum| spent(&sum)).map_err(unavailable)
        })
    }
}

fn unavailable(error: Error) -> ToolError {
    ToolError::new(Code::Unavailable, error.to_string())
}

/// Equal values are equal texts.
fn canonical(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

fn read(text: &str) -> Result<Value, ToolError> {
    serde_json::from_str(text)
        .map_err(|error| ToolError::new(Code::Internal, format!("a memo is no JSON: {error}")))
}

/// A file may repeat what a tool was given, be it between bytes that are no text.
fn without_secrets(file: NewArtifact) -> NewArtifact {
    let known = secrets::scrubbers();
    let mut bytes = Vec::with_capacity(file.bytes.len());
    for chunk in file.bytes.utf8_chunks() {
        let text = chunk.valid();
        // No secret is shorter, and few texts in an image are longer.
        match secrets::SHORTEST <= text.len() {
            true => bytes.extend_from_slice(known.text(text).as_bytes()),
            false => bytes.extend_from_slice(text.as_bytes()),
        }
        bytes.extend_from_slice(chunk.invalid());
    }
    NewArtifact { bytes, name: known.text(&file.name).into_owned(), ..file }
}

fn row(artifact: &Artifact) -> ArtifactRow {
    ArtifactRow {
        id: artifact.artifact_id.clone(),
        execution_id: artifact.execution_id.clone(),
        step: artifact.step.clone(),
        name: artifact.name.clone(),
        mime: artifact.mime.clone(),
        bytes: whole(artifact.bytes),
        sha256: artifact.sha256.clone(),
        created_at: artifact.created_at,
    }
}

fn described(row: ArtifactRow) -> Artifact {
    Artifact {
        resource_uri: format!("workflow://artifacts/{}", row.id),
        artifact_id: row.id,
        name: row.name,
        mime: row.mime,
        bytes: count(row.bytes),
        sha256: row.sha256,
        execution_id: row.execution_id,
        step: row.step,
        created_at: row.created_at,
    }
}

fn noted(usage: Usage) -> UsageRow {
    // Whatever a provider says, sums of it stay in bounds.
    let whole = |count: u64| whole(count.min(MOST_OF_ONE_CALL));
    UsageRow {
        key: usage.key,
        execution_id: usage.execution_id,
        step: usage.step,
        model: usage.model,
        prompt_tokens: whole(usage.prompt_tokens),
        completion_tokens: whole(usage.completion_tokens),
        cached_tokens: whole(usage.cached_tokens),
        cost_micro_usd: usage.cost_micro_usd.map(whole),
    }
}

fn spent(row: &SpentRow) -> Spent {
    Spent {
        calls: count(row.calls),
        prompt_tokens: count(row.prompt_tokens),
        completion_tokens: count(row.completion_tokens),
        cost_micro_usd: count(row.cost_micro_usd),
        calls_without_price: count(row.calls_without_price),
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(whole: i64) -> u64 {
    u64::try_from(whole).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_holds_no_known_secret_be_it_between_bytes_that_are_no_text() {
        let secret = "a secret of this test alone";
        secrets::remember_minted([secret]);
        let kept = |bytes: Vec<u8>| {
            let (name, mime) = (format!("{secret}.log"), "text/plain".to_owned());
            let key = "k".to_owned();
            without_secrets(NewArtifact { key, execution_id: None, step: None, name, mime, bytes })
        };
        let between = [&[0xff, b'x'][..], secret.as_bytes(), &[0xfe, 0x80], b"end"].concat();
        let file = kept(between);
        assert_eq!(file.bytes, [&[0xff, b'x'][..], b"[sealed]", &[0xfe, 0x80], b"end"].concat());
        assert_eq!(file.name, "[sealed].log");
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        assert_eq!(kept(bytes.clone()).bytes, bytes);
    }
}
