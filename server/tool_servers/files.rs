//! Images and other files in what a tool answers: kept as artifacts, so that no row holds their bytes.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use windlass_tools::contract::{Host, NewArtifact, execution_of, step_of};

use super::answer::Answer;

/// Where the files of one call are kept.
pub(super) struct Files<'a> {
    pub(super) host: Option<&'a Arc<dyn Host>>,
    pub(super) key: &'a str,
    /// As `server.tool`, for the files' names.
    pub(super) tool: &'a str,
}

/// A block with bytes in it.
struct Found<'a> {
    kind: &'a str,
    data: &'a str,
    mime: &'a str,
    /// Where its server says that it comes from.
    uri: Option<&'a str>,
}

impl Files<'_> {
    /// The answer with every block of bytes replaced by what names the file that it became.
    pub(super) async fn keep(&self, mut answer: Answer) -> Answer {
        for (index, block) in answer.content.iter_mut().enumerate() {
            if let Some(kept) = self.kept(index, block).await {
                *block = kept;
            }
        }
        answer
    }

    async fn kept(&self, index: usize, block: &Value) -> Option<Value> {
        let found = found(block)?;
        let mut named = Map::new();
        named.insert("type".to_owned(), found.kind.into());
        if let Some(uri) = found.uri {
            named.insert("uri".to_owned(), uri.into());
        }
        named.insert("mime".to_owned(), found.mime.into());
        let missing = match STANDARD.decode(found.data.trim()) {
            Err(_) => Some("its data is not base64".to_owned()),
            Ok(bytes) => {
                named.insert("bytes".to_owned(), json!(bytes.len()));
                match self.store(index, &found, bytes).await {
                    Ok((artifact_id, resource_uri)) => {
                        named.insert("artifact_id".to_owned(), artifact_id.into());
                        named.insert("resource_uri".to_owned(), resource_uri.into());
                        None
                    }
                    Err(why) => Some(why),
                }
            }
        };
        if let Some(why) = missing {
            named.insert("not_kept".to_owned(), why.into());
        }
        Some(Value::Object(named))
    }

    async fn store(
        &self,
        index: usize,
        found: &Found<'_>,
        bytes: Vec<u8>,
    ) -> Result<(String, String), String> {
        let Some(host) = self.host else { return Err("there is no database to keep it in".into()) };
        let file = NewArtifact {
            key: format!("{}:content/{index}", self.key),
            execution_id: execution_of(self.key).map(str::to_owned),
            step: step_of(self.key).map(str::to_owned),
            name: self.name(index, found),
            mime: found.mime.to_owned(),
            bytes,
        };
        match host.keep(file).await {
            Ok(kept) => Ok((kept.artifact_id, kept.resource_uri)),
            Err(error) => {
                tracing::warn!(tool.name = %self.tool, "a file that {} answered is not kept: {error}", self.tool);
                Err(error.to_string())
            }
        }
    }

    /// As its server calls it, or after the tool and the kind of file.
    fn name(&self, index: usize, found: &Found<'_>) -> String {
        let told = found.uri.and_then(|uri| uri.rsplit('/').find(|part| !part.is_empty()));
        if let Some(told) = told {
            return told.chars().take(200).collect();
        }
        let (_, subtype) = found.mime.split_once('/').unwrap_or(("", "bin"));
        let extension = subtype.split(['+', ';', ' ']).next().unwrap_or("bin");
        format!("{}.{}.{extension}", self.tool, index + 1)
    }
}

fn found(block: &Value) -> Option<Found<'_>> {
    let kind = block.get("type")?.as_str()?;
    let (holder, bytes) = match kind {
        "image" | "audio" => (block, "data"),
        "resource" => (block.get("resource")?, "blob"),
        _ => return None,
    };
    let field = |name: &str| holder.get(name).and_then(Value::as_str);
    let mime = field("mimeType").unwrap_or("application/octet-stream");
    Some(Found { kind, data: field(bytes)?, mime, uri: field("uri") })
}

#[cfg(test)]
mod tests {
    use windlass_tools::contract::Forgetful;

    use super::*;

    const KEY: &str = "exec_1/draw#0~0";

    #[tokio::test]
    async fn bytes_become_artifacts_and_the_rest_stays_as_it_is() {
        let host: Arc<dyn Host> = Arc::new(Forgetful::default());
        let content = vec![
            json!({ "type": "text", "text": "two pictures" }),
            json!({ "type": "image", "data": STANDARD.encode([0, 255, 7]), "mimeType": "image/png" }),
            json!({ "type": "resource", "resource": { "uri": "file:///a/b.pdf", "blob": STANDARD.encode("pdf"), "mimeType": "application/pdf" } }),
            json!({ "type": "resource", "resource": { "uri": "file:///a/b.txt", "text": "words" } }),
            json!({ "type": "audio", "data": "no base64!", "mimeType": "audio/wav" }),
        ];
        let answer = Answer { content: content.clone(), ..Answer::default() };
        let files = Files { host: Some(&host), key: KEY, tool: "art.draw" };
        let kept = files.keep(answer.clone()).await.content;
        assert_eq!((&kept[0], &kept[3]), (&content[0], &content[3]));
        for (index, name, bytes) in [(1, "art.draw.2.png", &[0, 255, 7][..]), (2, "b.pdf", b"pdf")]
        {
            assert_eq!(kept[index]["bytes"], 3, "{kept:?}");
            let id = kept[index]["artifact_id"].as_str().unwrap();
            let (artifact, content) = host.artifact(id).await.unwrap().unwrap();
            assert_eq!((artifact.name.as_str(), content.as_slice()), (name, bytes));
            assert_eq!(artifact.execution_id.as_deref(), Some("exec_1"));
            assert_eq!(artifact.step.as_deref(), Some("draw"));
        }
        assert_eq!(kept[2]["uri"], "file:///a/b.pdf");
        assert_eq!(kept[4]["not_kept"], "its data is not base64");
        assert!(!json!(kept).to_string().contains("no base64!"));

        let alone = Files { host: None, ..files }.keep(answer).await.content;
        assert_eq!((&alone[1]["bytes"], &alone[1]["artifact_id"]), (&json!(3), &Value::Null));
    }
}
