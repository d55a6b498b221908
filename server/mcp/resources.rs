//! Workflows and executions as resources, for clients that let people attach them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rmcp::{
    ErrorData,
    model::{
        CacheScope, CompleteRequestParams, CompleteResult, CompletionInfo,
        ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Reference, Resource,
        ResourceContents, ResourceTemplate,
    },
};
use serde::Serialize;
use serde_json::json;

use super::Mcp;
use crate::app::{self, Caller, Detail, Look, WorkflowView};

const DEFINITIONS: &str = "workflow://definitions/";
const EXECUTIONS: &str = "workflow://executions/";
const ARTIFACTS: &str = "workflow://artifacts/";
const SCHEMA: &str = "workflow://schema";
const JSON: &str = "application/json";
const JSON_SCHEMA: &str = "application/schema+json";
/// How many executions are offered when an id is completed.
const OFFERED_EXECUTIONS: u32 = 100;

/// The schema of the language and every workflow. Executions are found by their template.
///
/// # Errors
/// When the database fails.
pub(crate) async fn list(mcp: &Mcp) -> Result<ListResourcesResult, ErrorData> {
    let workflows = workflows(mcp).await?;
    let resources = [language()].into_iter().chain(workflows.iter().map(resource)).collect();
    Ok(ListResourcesResult { resources, ..Default::default() }
        .with_ttl_ms(0)
        .with_cache_scope(CacheScope::Private))
}

async fn workflows(mcp: &Mcp) -> Result<Vec<WorkflowView>, ErrorData> {
    let workflows = mcp.app().workflows(Look::Remembered).await;
    workflows.map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn language() -> Resource {
    Resource::new(SCHEMA, "schema")
        .with_title("The workflow language")
        .with_description(
            "JSON Schema of a workflow document: every key, what it means and what it may be",
        )
        .with_mime_type(JSON_SCHEMA)
}

fn resource(workflow: &WorkflowView) -> Resource {
    let mut resource = Resource::new(format!("{DEFINITIONS}{}", workflow.name), &workflow.name)
        .with_mime_type(JSON);
    resource.title.clone_from(&workflow.title);
    resource.description.clone_from(&workflow.description);
    resource
}

/// The kinds there are.
pub(crate) fn templates() -> ListResourceTemplatesResult {
    let resource_templates = vec![
        ResourceTemplate::new(format!("{DEFINITIONS}{{name}}"), "workflow")
            .with_title("A workflow")
            .with_description("A workflow's input schema and steps")
            .with_mime_type(JSON),
        ResourceTemplate::new(format!("{EXECUTIONS}{{execution_id}}"), "execution")
            .with_title("An execution")
            .with_description("How an execution stands, with everything its steps returned")
            .with_mime_type(JSON),
        ResourceTemplate::new(format!("{ARTIFACTS}{{artifact_id}}"), "artifact")
            .with_title("A file")
            .with_description("A file that an execution left behind: a long text, an image"),
    ];
    ListResourceTemplatesResult { resource_templates, ..Default::default() }
        .with_ttl_ms(3_600_000)
        .with_cache_scope(CacheScope::Public)
}

/// The schema of the language, or one workflow or execution, whole.
///
/// # Errors
/// When there is none, or the database fails.
pub(crate) async fn read(mcp: &Mcp, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    if uri == SCHEMA {
        let text = windlass_engine::language_schema().to_string();
        let contents = ResourceContents::text(text, uri).with_mime_type(JSON_SCHEMA);
        // It changes with the program only.
        let result = ReadResourceResult::new(vec![contents]).with_ttl_ms(3_600_000);
        Ok(result.with_cache_scope(CacheScope::Public))
    } else if let Some(name) = uri.strip_prefix(DEFINITIONS) {
        let workflow = mcp.app().describe(name).await.map_err(|error| not_found(uri, &error))?;
        contents(uri, &workflow)
    } else if let Some(execution_id) = uri.strip_prefix(EXECUTIONS) {
        let execution = mcp.app().status(execution_id, Detail::Results).await;
        contents(uri, &execution.map_err(|error| not_found(uri, &error))?)
    } else if let Some(id) = uri.strip_prefix(ARTIFACTS) {
        artifact(mcp, uri, id).await
    } else {
        let message = format!(
            "there is no resource {uri:?}; there are {SCHEMA}, {DEFINITIONS}{{name}}, {EXECUTIONS}{{execution_id}} and \
             {ARTIFACTS}{{artifact_id}}"
        );
        Err(ErrorData::resource_not_found(message, Some(json!({ "uri": uri }))))
    }
}

async fn artifact(mcp: &Mcp, uri: &str, id: &str) -> Result<ReadResourceResult, ErrorData> {
    let found = mcp.app().artifact(id).await.map_err(|error| not_found(uri, &error))?;
    let Some((artifact, content)) = found else {
        let message = format!(
            "there is no artifact {id:?} in this workspace; workflow.status links to those of an execution"
        );
        return Err(ErrorData::resource_not_found(message, Some(json!({ "uri": uri }))));
    };
    let contents = match String::from_utf8(content) {
        Ok(text) if is_text(&artifact.mime) => ResourceContents::text(text, uri),
        Ok(text) => ResourceContents::blob(STANDARD.encode(text), uri),
        Err(bytes) => ResourceContents::blob(STANDARD.encode(bytes.as_bytes()), uri),
    };
    let result = ReadResourceResult::new(vec![contents.with_mime_type(artifact.mime)]);
    // It never changes.
    Ok(result.with_ttl_ms(3_600_000).with_cache_scope(CacheScope::Private))
}

fn is_text(mime: &str) -> bool {
    let kind = mime.split(';').next().unwrap_or_default().trim();
    let texts = ["application/json", "application/xml", "application/yaml", "application/x-ndjson"];
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || texts.contains(&kind)
}

fn contents(uri: &str, value: &impl Serialize) -> Result<ReadResourceResult, ErrorData> {
    let text = serde_json::to_string(value)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    let contents = ResourceContents::text(text, uri).with_mime_type(JSON);
    Ok(ReadResourceResult::new(vec![contents]).with_ttl_ms(0).with_cache_scope(CacheScope::Private))
}

fn not_found(uri: &str, error: &app::Error) -> ErrorData {
    match error {
        app::Error::Store(source) => {
            tracing::error!(error = %source, "the database did not answer a read of {uri}");
            ErrorData::internal_error(
                "Windlass could not reach its database; read it again in a moment",
                None,
            )
        }
        error => ErrorData::resource_not_found(error.to_string(), Some(json!({ "uri": uri }))),
    }
}

/// What a name or id that begins so may be.
///
/// # Errors
/// When the database fails.
pub(crate) async fn complete(
    mcp: &Mcp,
    caller: &Caller,
    request: &CompleteRequestParams,
) -> Result<CompleteResult, ErrorData> {
    let Reference::Resource(template) = &request.r#ref else {
        return Ok(CompleteResult::default());
    };
    let known = match request.argument.name.as_str() {
        "name" if template.uri.starts_with(DEFINITIONS) => {
            workflows(mcp).await?.into_iter().map(|workflow| workflow.name).collect()
        }
        "execution_id" if template.uri.starts_with(EXECUTIONS) => {
            let list = mcp.app().executions(caller, OFFERED_EXECUTIONS).await;
            let list = list.map_err(|error| not_found(&template.uri, &error))?;
            list.executions.into_iter().map(|execution| execution.execution_id).collect()
        }
        _ => Vec::new(),
    };
    completion(known, &request.argument.value)
}

fn completion(mut known: Vec<String>, begun: &str) -> Result<CompleteResult, ErrorData> {
    known.retain(|name| name.starts_with(begun));
    let total = u32::try_from(known.len()).ok();
    let has_more = CompletionInfo::MAX_VALUES < known.len();
    known.truncate(CompletionInfo::MAX_VALUES);
    CompletionInfo::with_pagination(known, total, has_more)
        .map(CompleteResult::new)
        .map_err(|error| ErrorData::internal_error(error, None))
}
