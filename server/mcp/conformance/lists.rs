//! Fixture resources and prompts.

use rmcp::model::{
    CacheScope, ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
    ImageContent, Prompt, PromptArgument, PromptMessage, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate, Role,
};
use serde_json::json;

use super::{content::PNG, input_required};

const TTL_MS: u64 = 60_000;

pub(crate) fn resources() -> Vec<Resource> {
    vec![
        Resource::new("test://static-text", "Static text").with_mime_type("text/plain"),
        Resource::new("test://static-binary", "Static image").with_mime_type("image/png"),
    ]
}

pub(crate) fn resource_templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new("test://template/{id}/data", "Data by id")
            .with_mime_type("application/json"),
    ]
}

/// A fixture's contents; `None` for what is not a fixture.
pub(crate) fn read_resource(uri: &str) -> Option<ReadResourceResult> {
    let contents = match uri {
        "test://static-text" => {
            ResourceContents::text("This is the content of the static text resource.", uri)
        }
        "test://static-binary" => ResourceContents::blob(PNG, uri).with_mime_type("image/png"),
        _ => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let data =
                json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
            ResourceContents::text(data.to_string(), uri).with_mime_type("application/json")
        }
    };
    let result = ReadResourceResult::new(vec![contents]);
    Some(result.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
}

pub(crate) fn prompts() -> Vec<Prompt> {
    let argument = |name: &str| PromptArgument::new(name).with_required(true);
    vec![
        Prompt::new("test_simple_prompt", Some("Takes no arguments"), None),
        Prompt::new(
            "test_prompt_with_arguments",
            Some("Takes two arguments"),
            Some(vec![argument("arg1"), argument("arg2")]),
        ),
        Prompt::new(
            "test_prompt_with_embedded_resource",
            Some("Embeds a resource"),
            Some(vec![argument("resourceUri")]),
        ),
        Prompt::new("test_prompt_with_image", Some("Has an image"), None),
        Prompt::new("test_input_required_result_prompt", Some("Asks before it answers"), None),
    ]
}

/// A fixture prompt; `None` for what is not one.
pub(crate) fn prompt(request: &GetPromptRequestParams) -> Option<GetPromptResponse> {
    let argument = |name: &str| {
        let arguments = request.arguments.as_ref();
        arguments.and_then(|arguments| arguments.get(name)?.as_str()).unwrap_or_default()
    };
    let user = |text: &str| PromptMessage::new_text(Role::User, text);
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![user("This is a simple test prompt.")],
        "test_prompt_with_arguments" => vec![user(&format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1"),
            argument("arg2")
        ))],
        "test_prompt_with_embedded_resource" => vec![
            embedded(argument("resourceUri")),
            user("Please process the embedded resource above."),
        ],
        "test_prompt_with_image" => vec![
            PromptMessage::new(
                Role::User,
                ContentBlock::Image(ImageContent::new(PNG, "image/png")),
            ),
            user("Please analyze the image above."),
        ],
        "test_input_required_result_prompt" => return Some(input_required::prompt(request)),
        _ => return None,
    };
    Some(GetPromptResult::new(messages).into())
}

fn embedded(uri: &str) -> PromptMessage {
    let text = "Embedded resource content for testing.";
    let contents = ResourceContents::text(text, uri).with_mime_type("text/plain");
    PromptMessage::new(Role::User, ContentBlock::resource(contents))
}
