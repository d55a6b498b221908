//! What a document is, and how it is kept: its content as an artifact, the rest as a memo that is changed by comparing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contract::now;
use crate::contract::text::digest;
use crate::contract::{Artifact, Call, Code, Host, NewArtifact, ToolError};

const SCOPE: &str = "documents";
/// The names of all documents begin so.
const PREFIX: &str = "doc_";
/// How often a change is tried that others make at the same time.
const TRIES: u32 = 8;

/// A text or a file, with what is attached to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) document_id: String,
    pub(crate) title: String,
    /// The content.
    pub(crate) content: Kept,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) created_by_execution: Option<String>,
    pub(crate) created_by_step: Option<String>,
    /// In milliseconds since 1970.
    pub(crate) created_at: i64,
}

/// An artifact, as documents refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) artifact_id: String,
    pub(crate) name: String,
    pub(crate) mime: String,
    pub(crate) bytes: u64,
    pub(crate) resource_uri: String,
}

/// An artifact that is attached to a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    #[serde(flatten)]
    pub(crate) file: Kept,
    pub(crate) primary: bool,
    pub(crate) caption: Option<String>,
    pub(crate) created_by_execution: Option<String>,
    pub(crate) created_by_step: Option<String>,
    /// In milliseconds since 1970.
    pub(crate) created_at: i64,
}

impl From<Artifact> for Kept {
    fn from(artifact: Artifact) -> Self {
        let Artifact { artifact_id, name, mime, bytes, resource_uri, .. } = artifact;
        Self { artifact_id, name, mime, bytes, resource_uri }
    }
}

/// The id of the document that a call with this key makes.
pub(crate) fn id(key: &str) -> String {
    format!("{PREFIX}{}", &digest(key)[..20])
}

/// Keeps a text as a document; the same key again leads to the first one. Answers whether this call made it.
#[cfg_attr(not(feature = "agent"), allow(dead_code, reason = "only the agent server writes texts"))]
pub(crate) async fn keep_text(
    host: &dyn Host,
    call: &Call,
    key: &str,
    title: &str,
    text: &str,
) -> Result<(Document, bool), ToolError> {
    let content = file(call, key, "document.txt", "text/plain; charset=utf-8", text.into());
    let content = host.keep(content).await?.into();
    create(host, call, key, title, content).await
}

/// The document that a call with this key made, with its text.
#[cfg_attr(not(feature = "agent"), allow(dead_code, reason = "only the agent server writes texts"))]
pub(crate) async fn found(
    host: &dyn Host,
    key: &str,
) -> Result<Option<(Document, String)>, ToolError> {
    let Some(document) = recall(host, &id(key)).await? else { return Ok(None) };
    let content = host.artifact(&document.content.artifact_id).await?;
    let text = |(_, bytes): (Artifact, Vec<u8>)| String::from_utf8_lossy(&bytes).into_owned();
    Ok(content.map(text).map(|text| (document, text)))
}

/// The content of a document to come.
pub(crate) fn file(call: &Call, key: &str, name: &str, mime: &str, bytes: Vec<u8>) -> NewArtifact {
    NewArtifact {
        key: format!("{key}/document"),
        execution_id: call.execution_id().map(str::to_owned),
        step: call.step().map(str::to_owned),
        name: name.to_owned(),
        mime: mime.to_owned(),
        bytes,
    }
}

/// Makes a document of what is kept already; the same key again leads to the first one.
pub(crate) async fn create(
    host: &dyn Host,
    call: &Call,
    key: &str,
    title: &str,
    content: Kept,
) -> Result<(Document, bool), ToolError> {
    let document_id = id(key);
    let document = Document {
        document_id: document_id.clone(),
        title: title.to_owned(),
        content,
        attachments: Vec::new(),
        created_by_execution: call.execution_id().map(str::to_owned),
        created_by_step: call.step().map(str::to_owned),
        created_at: now(),
    };
    let after = serde_json::to_value(&document).unwrap_or_default();
    if host.swap(SCOPE, &document_id, None, Some(&after)).await? {
        return Ok((document, true));
    }
    let first = recall(host, &document_id).await?;
    Ok((first.unwrap_or(document), false))
}

/// A document by its id.
pub(crate) async fn recall(host: &dyn Host, id: &str) -> Result<Option<Document>, ToolError> {
    host.recall(SCOPE, id).await?.map(read).transpose()
}

/// All documents, the newest first.
pub(crate) async fn all(host: &dyn Host) -> Result<Vec<Document>, ToolError> {
    let memos = host.memos(SCOPE, PREFIX).await?;
    let documents: Result<Vec<_>, _> = memos.into_iter().map(|(_, value)| read(value)).collect();
    let mut documents = documents?;
    documents.sort_by(|a, b| {
        b.created_at.cmp(&a.created_at).then_with(|| a.document_id.cmp(&b.document_id))
    });
    Ok(documents)
}

/// Changes a document. `change` answers whether there was anything to change.
pub(crate) async fn change(
    host: &dyn Host,
    id: &str,
    change: impl Fn(&mut Document) -> Result<bool, ToolError>,
) -> Result<(Document, bool), ToolError> {
    for _ in 0..TRIES {
        let before = host.recall(SCOPE, id).await?.ok_or_else(|| unknown(id))?;
        let mut document = read(before.clone())?;
        if !change(&mut document)? {
            return Ok((document, false));
        }
        let after = serde_json::to_value(&document).unwrap_or_default();
        if host.swap(SCOPE, id, Some(&before), Some(&after)).await? {
            return Ok((document, true));
        }
    }
    Err(ToolError::new(Code::Unavailable, format!("the document {id} changes all the time")))
}

/// What is said of a document that is not there.
pub(crate) fn unknown(id: &str) -> ToolError {
    ToolError::new(Code::NotFound, format!("there is no document {id:?}"))
        .hint("documents.list names those there are; ids begin with doc_")
}

fn read(value: Value) -> Result<Document, ToolError> {
    serde_json::from_value(value).map_err(|error| {
        ToolError::new(Code::Internal, format!("a document was kept in another form: {error}"))
    })
}
