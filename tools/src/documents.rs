//! The `documents` tool server: texts and files that executions leave behind, with what is attached to them.

pub(crate) mod record;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::ServerHandler;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::record::{Attachment, Document, Kept};
use crate::contract::now;
use crate::contract::schema::{changing_arguments, changing_result, planned, text};
use crate::contract::{
    Answer, Call, Code, Host, RetryClass, Server, Service, Surroundings, Tool, ToolError, ToolSpec,
    no_host,
};

/// The longest content that comes with a call. Longer ones are made by tools that keep artifacts themselves.
const MAX_BYTES: usize = 4 * 1024 * 1024;
const MAX_LISTED: usize = 100;
const MAX_LIST_BYTES: usize = 512 * 1024;
/// As many documents as a host lists.
const MAX_KNOWN: usize = 1_000;
const NEEDS: &[Service] = &[Service::Memo, Service::Artifact];
const ARTIFACT: (&str, &[&str]) = ("artifact_id", &["artifact", "image_id", "image_ref"]);
const DOCUMENT: (&str, &[&str]) = ("document_id", &["document", "document_ref"]);

/// Nothing is to be set yet.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DocumentsConfig {}

/// What the tools share.
struct Documents {
    host: Option<Arc<dyn Host>>,
}

impl DocumentsConfig {
    /// The variables that this configuration reads.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        Vec::new()
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").field("hosted", &self.host.is_some()).finish()
    }
}

impl Documents {
    fn host(&self) -> Result<&dyn Host, ToolError> {
        self.host.as_deref().ok_or_else(|| no_host("documents"))
    }
}

/// The `documents` tool server: create, get, list, attach, detach and setPrimary.
pub fn documents(
    _config: DocumentsConfig,
    around: &Surroundings,
) -> impl ServerHandler + Clone + use<> {
    let tools = vec![create(), get(), list(), attach(), detach(), set_primary()];
    let state = Documents { host: around.host.clone() };
    let instructions = "Keeps texts and files as documents, and attaches images and other artifacts to them. Every \
                        change can be called again without doing it twice.";
    Server::new("documents", instructions, state, tools)
        .redacting(Vec::new())
        .hosted(around.host.clone())
}

fn arguments(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn document_id() -> Value {
    text("The document, such as doc_0123456789abcdef0123")
}

fn artifact_id() -> Value {
    text("The artifact, such as art_0123456789abcdef0123")
}

fn document_schema() -> Value {
    let nullable = || json!({ "type": ["string", "null"] });
    let kept = json!({
        "artifact_id": { "type": "string" }, "name": { "type": "string" }, "mime": { "type": "string" },
        "bytes": { "type": "integer" }, "resource_uri": { "type": "string" },
    });
    let mut attachment = kept.clone();
    attachment["primary"] = json!({ "type": "boolean" });
    attachment["caption"] = nullable();
    attachment["created_by_execution"] = nullable();
    attachment["created_by_step"] = nullable();
    attachment["created_at"] =
        json!({ "type": "integer", "description": "Milliseconds since 1970" });
    let kept_names = ["artifact_id", "name", "mime", "bytes", "resource_uri"];
    json!({
        "type": "object",
        "required": ["document_id", "title", "content", "attachments", "created_by_execution", "created_by_step", "created_at"],
        "properties": {
            "document_id": { "type": "string" },
            "title": { "type": "string" },
            "content": { "type": "object", "properties": kept, "required": kept_names },
            "attachments": {
                "type": "array",
                "items": { "type": "object", "properties": attachment, "required": ["artifact_id", "primary", "created_at"] },
            },
            "created_by_execution": nullable(),
            "created_by_step": nullable(),
            "created_at": { "type": "integer", "description": "Milliseconds since 1970" },
        },
    })
}

/// The schema of what a change answers.
fn changed_schema() -> Value {
    let changed = json!({ "type": "boolean", "description": "False when it was so already" });
    let properties = json!({
        "document": document_schema(), "document_id": { "type": "string" }, "changed": changed,
        "attachment": { "type": "object" },
    });
    changing_result(properties, &["document", "document_id", "changed"])
}

fn create() -> Tool<Documents> {
    let properties = json!({
        "title": text("For people"),
        "text": { "type": "string", "description": "The content as a text" },
        "base64": { "type": "string", "description": "The content of a file, in base64; 4 MiB at most" },
        "artifact_id": text("An artifact that is the content"),
        "mime": text("The media type; text/plain for a text when left out"),
        "name": text("The file's name"),
    });
    Tool {
        spec: ToolSpec {
            name: "create",
            title: "Create document",
            description: "Makes a document of a text, of a file in base64, or of an artifact.",
            input: changing_arguments(arguments(properties, &["title"])),
            output: changed_schema(),
            open_world: false,
            retry_class: RetryClass::Keyed,
            aliases: &[ARTIFACT, ("text", &["content"])],
            names: &["documents.create"],
            needs: NEEDS,
            ..ToolSpec::default()
        },
        run: |documents, call| Box::pin(created(documents, call)),
    }
}

fn get() -> Tool<Documents> {
    let mut output = document_schema();
    output["properties"]["text"] =
        json!({ "type": ["string", "null"], "description": "The content, when it is a text" });
    output["properties"]["truncated"] = json!({ "type": "boolean", "description": "Whether the text goes on; all of it is behind content.resource_uri" });
    Tool {
        spec: ToolSpec {
            name: "get",
            title: "Get document",
            description: "A document with its attachments, and its content when that is a text.",
            input: arguments(json!({ "document_id": document_id() }), &["document_id"]),
            output,
            open_world: false,
            aliases: &[DOCUMENT],
            names: &["documents.get"],
            needs: NEEDS,
            ..ToolSpec::default()
        },
        run: |documents, call| Box::pin(got(documents, call)),
    }
}

fn list() -> Tool<Documents> {
    let properties = json!({
        "execution_id": text("Only documents that this execution made"),
        "title": text("Only documents whose title contains this"),
        "per_page": { "type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": 30 },
        "page": { "type": "integer", "minimum": 1, "default": 1 },
    });
    let output = json!({
        "type": "object",
        "required": ["items", "total", "next_page", "truncated"],
        "properties": {
            "items": { "type": "array", "items": document_schema() },
            "total": { "type": "integer", "description": "How many fit" },
            "next_page": { "type": ["integer", "null"] },
            "truncated": { "type": "boolean", "description": "Whether there are more documents than can be looked through" },
        },
    });
    Tool {
        spec: ToolSpec {
            name: "list",
            title: "List documents",
            description: "Documents with their attachments, the newest first.",
            input: arguments(properties, &[]),
            output,
            open_world: false,
            names: &["documents.list"],
            max_bytes: MAX_LIST_BYTES,
            needs: NEEDS,
            ..ToolSpec::default()
        },
        run: |documents, call| Box::pin(listed(documents, call)),
    }
}

fn attach() -> Tool<Documents> {
    let properties = json!({
        "document_id": document_id(),
        "artifact_id": artifact_id(),
        "primary": { "type": "boolean", "default": false, "description": "Whether it is the one to show first" },
        "caption": text("A line under it"),
    });
    Tool {
        spec: ToolSpec {
            name: "attach",
            title: "Attach to document",
            description: "Attaches an artifact, such as an image, to a document. Attached twice it is there once.",
            input: changing_arguments(arguments(properties, &["document_id", "artifact_id"])),
            output: changed_schema(),
            open_world: false,
            retry_class: RetryClass::Idempotent,
            aliases: &[DOCUMENT, ARTIFACT, ("primary", &["is_primary", "isPrimary"])],
            names: &["documents.attach", "attach_to_document"],
            needs: NEEDS,
            ..ToolSpec::default()
        },
        run: |documents, call| Box::pin(attached(documents, call)),
    }
}

fn detach() -> Tool<Documents> {
    let properties = json!({ "document_id": document_id(), "artifact_id": artifact_id() });
    Tool {
        spec: ToolSpec {
            name: "detach",
            title: "Detach from document",
            description: "Takes an attachment off a document. The artifact itself stays.",
            input: changing_arguments(arguments(properties, &["document_id", "artifact_id"])),
            output: changed_schema(),
            destructive: true,
            open_world: false,
            retry_class: RetryClass::Idempotent,
            aliases: &[DOCUMENT, ARTIFACT],
            names: &["documents.detach", "remove"],
            needs: NEEDS,
            ..ToolSpec::default()
        },
        run: |documents, call| Box::pin(detached(documents, call)),
    }
}

fn set_primary() -> Tool<Documents> {
    let properties = json!({ "document_id": document_id(), "artifact_id": artifact_id() });
    Tool {
        spec: ToolSpec {
            name: "setPrimary",
            title: "Set primary attachment",
            description: "Says which attachment of a document is the one to show first.",
            input: changing_arguments(arguments(properties, &["document_id", "artifact_id"])),
            output: changed_schema(),
            open_world: false,
            retry_class: RetryClass::Idempotent,
            aliases: &[DOCUMENT, ARTIFACT],
            names: &["documents.setPrimary", "set_primary"],
            needs: NEEDS,
            ..ToolSpec::default()
        },
        run: |documents, call| Box::pin(made_primary(documents, call)),
    }
}

fn argument<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.arguments.get(name).and_then(Value::as_str)
}

fn dry(call: &Call) -> bool {
    call.arguments.get("dry_run") == Some(&Value::Bool(true))
}

async fn created(documents: Arc<Documents>, call: Call) -> Answer {
    let host = documents.host()?;
    let title = argument(&call, "title").unwrap_or_default();
    let given = ["text", "base64", "artifact_id"].map(|name| argument(&call, name));
    let key = call.idempotency_key.clone().unwrap_or_else(|| unkeyed(title, &given));
    let document = match given {
        [Some(text), None, None] => {
            let (name, mime) = named(&call, "document.txt", "text/plain; charset=utf-8");
            bounded(text.len())?;
            fresh(host, &call, &key, title, record::file(&call, &key, name, mime, text.into()))
                .await?
        }
        [None, Some(base64), None] => {
            bounded(base64.len() / 4 * 3)?;
            let bytes = STANDARD.decode(base64.trim()).map_err(|error| not_base64(&error))?;
            let (name, mime) = named(&call, "document", "application/octet-stream");
            fresh(host, &call, &key, title, record::file(&call, &key, name, mime, bytes)).await?
        }
        [None, None, Some(id)] => {
            let content = artifact(host, id).await?;
            if dry(&call) {
                None
            } else {
                Some(record::create(host, &call, &key, title, content).await?)
            }
        }
        _ => return Err(one_content()),
    };
    Ok(match document {
        Some((document, created)) => answered(document, created, created),
        None => planned(vec![format!("make a document {title:?}")], json!({})),
    })
}

async fn fresh(
    host: &dyn Host,
    call: &Call,
    key: &str,
    title: &str,
    content: crate::contract::NewArtifact,
) -> Result<Option<(Document, bool)>, ToolError> {
    if dry(call) {
        return Ok(None);
    }
    let content = host.keep(content).await?.into();
    record::create(host, call, key, title, content).await.map(Some)
}

/// The key of a call that has none: the same content under the same title is the same document.
fn unkeyed(title: &str, given: &[Option<&str>]) -> String {
    json!([title, given]).to_string()
}

fn named<'a>(call: &'a Call, name: &'a str, mime: &'a str) -> (&'a str, &'a str) {
    (argument(call, "name").unwrap_or(name), argument(call, "mime").unwrap_or(mime))
}

fn bounded(bytes: usize) -> Result<(), ToolError> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("the content has {bytes} bytes; {MAX_BYTES} may come with a call");
    Err(ToolError::new(Code::InvalidArgument, message)
        .hint("let the tool that makes it keep it as an artifact, and give artifact_id"))
}

fn not_base64(error: &base64::DecodeError) -> ToolError {
    ToolError::new(Code::InvalidArgument, format!("base64 is not base64: {error}"))
        .hint("give a text as text")
}

fn one_content() -> ToolError {
    ToolError::new(Code::InvalidArgument, "a document has exactly one content")
        .hint("give one of text, base64 and artifact_id")
}

async fn artifact(host: &dyn Host, id: &str) -> Result<Kept, ToolError> {
    let found = host.artifact(id).await?;
    found.map(|(artifact, _)| artifact.into()).ok_or_else(|| {
        ToolError::new(Code::NotFound, format!("there is no artifact {id:?}"))
            .hint("tools that keep files answer with artifact_id; ids begin with art_")
    })
}

async fn got(documents: Arc<Documents>, call: Call) -> Answer {
    const SHOWN_BYTES: usize = 48 * 1024;
    let host = documents.host()?;
    let id = argument(&call, "document_id").unwrap_or_default();
    let document = record::recall(host, id).await?.ok_or_else(|| record::unknown(id))?;
    let content = host.artifact(&document.content.artifact_id).await?;
    let text = content.and_then(|(_, bytes)| String::from_utf8(bytes).ok());
    let readable = text.filter(|_| is_text(&document.content.mime));
    let mut answer = described(&document);
    let shown = readable.as_deref().map(|text| &text[..text.floor_char_boundary(SHOWN_BYTES)]);
    answer["truncated"] = (shown.map(str::len) != readable.as_ref().map(String::len)).into();
    answer["text"] = shown.into();
    Ok(answer)
}

fn is_text(mime: &str) -> bool {
    mime.starts_with("text/") || mime.starts_with("application/json")
}

async fn listed(documents: Arc<Documents>, call: Call) -> Answer {
    let host = documents.host()?;
    let number = |name: &str, otherwise: usize| {
        let given = call.arguments.get(name).and_then(Value::as_u64);
        given.map_or(otherwise, |given| usize::try_from(given).unwrap_or(usize::MAX))
    };
    let (size, page) = (number("per_page", 30), number("page", 1));
    let known = record::all(host).await?;
    let truncated = MAX_KNOWN <= known.len();
    let (execution, title) = (argument(&call, "execution_id"), argument(&call, "title"));
    let fits = |document: &&Document| {
        execution.is_none_or(|id| document.created_by_execution.as_deref() == Some(id))
            && title.is_none_or(|title| document.title.contains(title))
    };
    let fitting: Vec<_> = known.iter().filter(fits).collect();
    let start = size.saturating_mul(page - 1);
    let items: Vec<_> = fitting.iter().skip(start).take(size).map(|own| described(own)).collect();
    let more = start.saturating_add(size) < fitting.len();
    Ok(json!({
        "items": items, "total": fitting.len(), "next_page": more.then(|| page.saturating_add(1)), "truncated": truncated,
    }))
}

async fn attached(documents: Arc<Documents>, call: Call) -> Answer {
    let host = documents.host()?;
    let (id, file) = named_pair(&call);
    let file = artifact(host, file).await?;
    let primary = call.arguments.get("primary") == Some(&Value::Bool(true));
    let caption = argument(&call, "caption").map(str::to_owned);
    let attachment = Attachment {
        primary,
        caption,
        created_by_execution: call.execution_id().map(str::to_owned),
        created_by_step: call.step().map(str::to_owned),
        created_at: now(),
        file,
    };
    if dry(&call) {
        record::recall(host, id).await?.ok_or_else(|| record::unknown(id))?;
        let plan = format!("attach {} to {id}", attachment.file.artifact_id);
        return Ok(planned(vec![plan], json!({ "document_id": id })));
    }
    let changed = record::change(host, id, |document| Ok(put(document, &attachment))).await?;
    let (document, changed) = changed;
    let added = attachment_of(&document, &attachment.file.artifact_id).cloned();
    let mut answer = answered(document, changed, changed);
    answer["attachment"] = json!(added);
    Ok(answer)
}

/// Attaches; answers whether anything changed by it.
fn put(document: &mut Document, attachment: &Attachment) -> bool {
    let before = document.attachments.clone();
    let id = &attachment.file.artifact_id;
    match document.attachments.iter_mut().find(|own| own.file.artifact_id == *id) {
        Some(own) => {
            own.primary |= attachment.primary;
            own.caption = attachment.caption.clone().or(own.caption.take());
        }
        None => document.attachments.push(attachment.clone()),
    }
    if attachment.primary {
        show_first(document, id);
    }
    before != document.attachments
}

fn show_first(document: &mut Document, artifact_id: &str) {
    for own in &mut document.attachments {
        own.primary = own.file.artifact_id == artifact_id;
    }
}

async fn detached(documents: Arc<Documents>, call: Call) -> Answer {
    let host = documents.host()?;
    let (id, artifact_id) = named_pair(&call);
    if dry(&call) {
        record::recall(host, id).await?.ok_or_else(|| record::unknown(id))?;
        let plan = format!("take {artifact_id} off {id}");
        return Ok(planned(vec![plan], json!({ "document_id": id })));
    }
    let take_off = |document: &mut Document| {
        let before = document.attachments.len();
        document.attachments.retain(|own| own.file.artifact_id != artifact_id);
        Ok(before != document.attachments.len())
    };
    let (document, changed) = record::change(host, id, take_off).await?;
    Ok(answered(document, false, changed))
}

async fn made_primary(documents: Arc<Documents>, call: Call) -> Answer {
    let host = documents.host()?;
    let (id, artifact_id) = named_pair(&call);
    let choose = |document: &mut Document| {
        let own =
            attachment_of(document, artifact_id).ok_or_else(|| not_attached(id, artifact_id))?;
        let already = own.primary;
        show_first(document, artifact_id);
        Ok(!already)
    };
    if dry(&call) {
        let mut document = record::recall(host, id).await?.ok_or_else(|| record::unknown(id))?;
        choose(&mut document)?;
        let plan = format!("show {artifact_id} first in {id}");
        return Ok(planned(vec![plan], json!({ "document_id": id })));
    }
    let (document, changed) = record::change(host, id, choose).await?;
    Ok(answered(document, false, changed))
}

fn not_attached(id: &str, artifact_id: &str) -> ToolError {
    ToolError::new(Code::NotFound, format!("{artifact_id:?} is not attached to {id}"))
        .hint("attach it, with primary: true")
}

fn attachment_of<'a>(document: &'a Document, artifact_id: &str) -> Option<&'a Attachment> {
    document.attachments.iter().find(|own| own.file.artifact_id == artifact_id)
}

fn named_pair(call: &Call) -> (&str, &str) {
    let named = |name: &str| argument(call, name).unwrap_or_default();
    (named("document_id"), named("artifact_id"))
}

fn described(document: &Document) -> Value {
    serde_json::to_value(document).unwrap_or_default()
}

fn answered(document: Document, created: bool, changed: bool) -> Value {
    json!({
        "document_id": document.document_id, "document": document, "created": created, "changed": changed,
        "warnings": [],
    })
}
