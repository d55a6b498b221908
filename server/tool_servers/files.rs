//! Images and other files in what a tool answers: kept as artifacts, so that no row holds their bytes.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use windlass_tools::contract::{Artifact, Host, NewArtifact, execution_of, step_of};

use super::answer::Answer;

/// How many files of one answer are kept.
const MOST_FILES: usize = 64;
const LONGEST_NAME: usize = 200;
const LONGEST_MIME: usize = 100;
const UNKNOWN_MIME: &str = "application/octet-stream";

/// Where the files of one call are kept.
pub(super) struct Files<'a> {
    pub(super) host: Option<&'a Arc<dyn Host>>,
    pub(super) key: &'a str,
    /// As `server.tool`, for the files' names.
    pub(super) tool: &'a str,
    /// Whether the tool may answer that it is not done: what it says until then is kept nowhere.
    pub(super) pollable: bool,
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
        let refused = self.refusal(&answer);
        let mut count = 0;
        for (index, block) in answer.content.iter_mut().enumerate() {
            let Some(found) = found(block) else { continue };
            count += 1;
            let too_many = (MOST_FILES < count)
                .then(|| format!("no more than {MOST_FILES} files of one answer are kept"));
            *block = self.kept(index, &found, refused.clone().or(too_many)).await;
        }
        answer
    }

    /// Why nothing of an answer is kept.
    fn refusal(&self, answer: &Answer) -> Option<String> {
        let done = answer.structured.as_ref().and_then(|result| result.get("done"));
        if self.pollable && done == Some(&Value::Bool(false)) {
            return Some("the tool is not done".to_owned());
        }
        self.host.is_none().then(|| "no files of this call are kept".to_owned())
    }

    async fn kept(&self, index: usize, found: &Found<'_>, refused: Option<String>) -> Value {
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
                let stored = match refused {
                    Some(why) => Err(why),
                    None => self.store(index, found, bytes).await,
                };
                match stored {
                    Ok(artifact) => {
                        named.insert("bytes".to_owned(), json!(artifact.bytes));
                        named.insert("artifact_id".to_owned(), artifact.artifact_id.into());
                        named.insert("resource_uri".to_owned(), artifact.resource_uri.into());
                        None
                    }
                    Err(why) => Some(why),
                }
            }
        };
        if let Some(why) = missing {
            named.insert("not_kept".to_owned(), why.into());
        }
        Value::Object(named)
    }

    async fn store(
        &self,
        index: usize,
        found: &Found<'_>,
        bytes: Vec<u8>,
    ) -> Result<Artifact, String> {
        let Some(host) = self.host else { return Err("no files of this call are kept".into()) };
        let file = NewArtifact {
            key: NewArtifact::key_of_answer(self.key, &format!(":content/{index}"), &bytes),
            execution_id: execution_of(self.key).map(str::to_owned),
            step: step_of(self.key).map(str::to_owned),
            name: self.name(index, found),
            mime: found.mime.to_owned(),
            bytes,
        };
        host.keep(file).await.map_err(|error| {
            tracing::warn!(tool.name = %self.tool, "a file that {} answered is not kept: {error}", self.tool);
            error.to_string()
        })
    }

    /// As its server calls it, or after the tool and the kind of file.
    fn name(&self, index: usize, found: &Found<'_>) -> String {
        let told = found.uri.and_then(|uri| uri.rsplit('/').find(|part| !part.is_empty()));
        if let Some(told) = told {
            return told.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
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
    let mime = field("mimeType").filter(|mime| is_mime(mime)).unwrap_or(UNKNOWN_MIME);
    Some(Found { kind, data: field(bytes)?, mime, uri: field("uri") })
}

fn is_mime(text: &str) -> bool {
    text.contains('/')
        && text.len() <= LONGEST_MIME
        && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
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
        let files = Files { host: Some(&host), key: KEY, tool: "art.draw", pollable: false };
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

    fn images(count: u8) -> Vec<Value> {
        let image = |n: u8| json!({ "type": "image", "data": STANDARD.encode([n]), "mimeType": "image/png" });
        (0..count).map(image).collect()
    }

    #[tokio::test]
    async fn another_content_is_another_file_and_the_same_one_is_kept_once() {
        let host: Arc<dyn Host> = Arc::new(Forgetful::default());
        let files = Files { host: Some(&host), key: KEY, tool: "art.draw", pollable: false };
        let mut ids = Vec::new();
        for image in [0, 1, 0] {
            let content = vec![images(2)[image].clone()];
            let kept = files.keep(Answer { content, ..Answer::default() }).await.content;
            let id = kept[0]["artifact_id"].as_str().unwrap().to_owned();
            let content = host.artifact(&id).await.unwrap().unwrap().1;
            assert_eq!(content, [u8::try_from(image).unwrap()], "what was answered now");
            ids.push(id);
        }
        assert_eq!(ids[0], ids[2]);
    }

    #[tokio::test]
    async fn files_without_number_or_of_a_tool_that_is_not_done_are_named_and_not_kept() {
        let host: Arc<dyn Host> = Arc::new(Forgetful::default());
        let count = |content: &[Value]| {
            content.iter().filter(|block| block.get("artifact_id").is_some()).count()
        };
        for (pollable, done, expected) in
            [(false, false, MOST_FILES), (true, false, 0), (true, true, MOST_FILES)]
        {
            let files = Files { host: Some(&host), key: KEY, tool: "art.draw", pollable };
            let structured = Some(json!({ "done": done }));
            let answer = Answer { content: images(100), structured, is_error: false };
            let kept = files.keep(answer).await.content;
            assert_eq!((kept.len(), count(&kept)), (100, expected), "{pollable} {done}");
            assert!(kept[99]["not_kept"].is_string(), "{}", kept[99]);
        }
    }

    #[test]
    fn what_is_no_media_type_is_not_taken_for_one() {
        for (told, expected) in [
            ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
            ("text/plain\r\nX: y", UNKNOWN_MIME),
            ("png", UNKNOWN_MIME),
            (&format!("a/{}", "b".repeat(LONGEST_MIME)), UNKNOWN_MIME),
        ] {
            let block = json!({ "type": "image", "data": "", "mimeType": told });
            assert_eq!(found(&block).unwrap().mime, expected);
        }
    }
}
