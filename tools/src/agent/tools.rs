//! The tools: a profile each, and one for any profile.

use std::future::Future;
use std::sync::Arc;

use rmcp::model::JsonObject;
use serde_json::{Value, json};

use super::profiles::{self, Profile};
use super::turn::{self, Answered, Outcome, Taken, Wish};
use super::{Agent, images};
use crate::contract::schema::text;
use crate::contract::{Answer, Call, Code, RetryClass, Running, Tool, ToolError, ToolSpec};
use crate::documents::record;

/// Answers with whole files, or of a shape that others chose, must not be cut: a part of them is of no use.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// What ships.
pub(super) fn all() -> Vec<Tool<Agent>> {
    vec![
        run(),
        analyze(),
        review_code(),
        classify_issue(),
        apply_fix(),
        check_dependencies(),
        update_dependencies(),
        generate_copy(),
        review(),
        summarize(),
        extract(),
        decide(),
        images::tool(),
    ]
}

/// A tool that asks the profile of its name.
struct Asking {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    names: &'static [&'static str],
    aliases: &'static [(&'static str, &'static [&'static str])],
    arguments: Value,
    required: &'static [&'static str],
    run: fn(Arc<Agent>, Call) -> Running,
}

fn asking(asking: Asking) -> Tool<Agent> {
    let profile = profiles::shipped(asking.name).unwrap_or_default();
    Tool {
        spec: ToolSpec {
            name: asking.name,
            title: asking.title,
            description: asking.description,
            input: arguments(asking.arguments, asking.required),
            output: answer(
                &profile.output.unwrap_or_else(|| json!({ "type": "object" })),
                json!({}),
            ),
            retry_class: RetryClass::Idempotent,
            names: asking.names,
            aliases: asking.aliases,
            max_bytes: MAX_ANSWER_BYTES,
            ..ToolSpec::default()
        },
        run: asking.run,
    }
}

/// The schema of arguments, with those that every question may have.
pub(super) fn arguments(properties: Value, required: &[&str]) -> Value {
    let mut all = properties;
    all["model"] = json!({ "type": "string", "description": "PROVIDER/MODEL, or a name from agent.models; the configured one when left out" });
    all["max_tokens"] =
        json!({ "type": "integer", "minimum": 1, "description": "The longest answer" });
    all["max_cost_usd"] = json!({ "type": "number", "exclusiveMinimum": 0, "description": "What each turn of this call may cost at most; needs a known price" });
    all["temperature"] = json!({ "type": "number", "minimum": 0, "maximum": 2 });
    json!({ "type": "object", "properties": all, "required": required, "additionalProperties": false })
}

/// The schema of an answer, with what it took.
pub(super) fn answer(shape: &Value, more: Value) -> Value {
    let mut schema = shape.clone();
    let own = schema["required"].as_array().cloned().unwrap_or_default();
    let taken = taken_properties();
    let names = taken.keys().map(|name| Value::from(name.as_str()));
    schema["required"] = own.into_iter().chain(names).collect();
    for (name, property) in taken.into_iter().chain(members(more)) {
        schema["properties"][name] = property;
    }
    schema
}

fn taken_properties() -> JsonObject {
    let count = || json!({ "type": "integer" });
    members(json!({
        "usage": {
            "type": ["object", "null"],
            "description": "Tokens of all turns; null when an earlier call had done the work",
            "properties": { "prompt": count(), "completion": count(), "cached": count(), "total": count() },
            "required": ["prompt", "completion", "cached", "total"],
        },
        "cost_usd": { "type": ["number", "null"], "description": "Null when the price is not known" },
        "model": { "type": "string", "description": "The model that answered" },
        "finish_reason": { "type": "string" },
        "repaired": { "type": "boolean", "description": "Whether the first answer did not fit the schema and was repaired" },
    }))
}

fn members(value: Value) -> JsonObject {
    match value {
        Value::Object(members) => members,
        _ => JsonObject::new(),
    }
}

fn anything(description: &str) -> Value {
    json!({ "description": description })
}

fn words(description: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

fn file_contents() -> Value {
    anything(
        "The files: [{ path, content }], or an object from path to content. May also stand in context.files",
    )
}

fn boxed<F: Future<Output = Answer> + Send + 'static>(
    work: impl FnOnce(Arc<Agent>, Call) -> F,
    agent: Arc<Agent>,
    call: Call,
) -> Running {
    Box::pin(work(agent, call))
}

fn analyze() -> Tool<Agent> {
    asking(Asking {
        name: "analyze",
        title: "Analyze",
        description: "Asks a model for the cause of something and for what would help. The answer says whether there is a concrete fix.",
        names: &[],
        aliases: &[("prompt", &["task", "question"])],
        arguments: json!({
            "prompt": text("What to find out"),
            "context": anything("What is known: logs, an issue, a diff"),
        }),
        required: &["prompt"],
        run: |agent, call| boxed(|agent, call| ask(agent, call, "analyze"), agent, call),
    })
}

fn review_code() -> Tool<Agent> {
    asking(Asking {
        name: "reviewCode",
        title: "Review code",
        description: "Asks a model to review a change. The answer has a verdict and comments with path and line; nothing is posted.",
        names: &["review_code"],
        aliases: &[],
        arguments: json!({
            "diff": anything("The change, as a unified diff"),
            "files": anything("What else of the files matters, such as the list of changed files"),
            "context": anything("Title, description, author"),
            "focus": words("What to look at above all"),
        }),
        required: &["diff"],
        run: |agent, call| boxed(|agent, call| ask(agent, call, "reviewCode"), agent, call),
    })
}

fn classify_issue() -> Tool<Agent> {
    asking(Asking {
        name: "classifyIssue",
        title: "Classify issue",
        description: "Asks a model what kind of issue this is and which labels fit. Nothing is changed.",
        names: &["classify_issue"],
        aliases: &[],
        arguments: json!({
            "title": text("The issue's title"),
            "body": anything("The issue's text"),
            "labels": anything("The labels that it has"),
            "allowed_labels": words("The labels that may be suggested; any when left out"),
        }),
        required: &["title"],
        run: |agent, call| boxed(|agent, call| ask(agent, call, "classifyIssue"), agent, call),
    })
}

fn review() -> Tool<Agent> {
    asking(Asking {
        name: "review",
        title: "Review",
        description: "Asks a model to judge a text by criteria, with a score from 0 to 100.",
        names: &[],
        aliases: &[("content", &["content_ref", "text"])],
        arguments: json!({ "content": anything("What to judge"), "criteria": words("By what") }),
        required: &["content"],
        run: |agent, call| boxed(|agent, call| ask(agent, call, "review"), agent, call),
    })
}

fn summarize() -> Tool<Agent> {
    asking(Asking {
        name: "summarize",
        title: "Summarize",
        description: "Asks a model what a text says, in short.",
        names: &[],
        aliases: &[("content", &["text"])],
        arguments: json!({
            "content": anything("What to summarise"),
            "audience": text("For whom"),
            "max_words": { "type": "integer", "minimum": 1 },
        }),
        required: &["content"],
        run: |agent, call| boxed(|agent, call| ask(agent, call, "summarize"), agent, call),
    })
}

fn check_dependencies() -> Tool<Agent> {
    asking(Asking {
        name: "checkDependencies",
        title: "Check dependencies",
        description: "Asks a model which dependencies in the given manifests should be updated. It looks nothing up.",
        names: &["check_dependencies"],
        aliases: &[("files", &["manifests"])],
        arguments: json!({
            "branch": text("The branch that the manifests are from"),
            "package_manager": text("Such as npm, cargo, pip"),
            "files": file_contents(),
            "context": anything("What is known, such as advisories"),
        }),
        required: &[],
        run: |agent, call| boxed(with_files("checkDependencies"), agent, call),
    })
}

fn apply_fix() -> Tool<Agent> {
    let mut tool = asking(Asking {
        name: "applyFix",
        title: "Apply fix",
        description: "Asks a model for the new content of the files that a fix changes. The files go in and come back as data: read \
         them before, commit them afterwards.",
        names: &["apply_fix"],
        aliases: &[],
        arguments: json!({
            "branch": text("The branch that the files are from"),
            "fix": anything("What to change"),
            "files": file_contents(),
            "context": anything("What is known of the problem"),
        }),
        required: &["fix"],
        run: |agent, call| boxed(with_files("applyFix"), agent, call),
    });
    tool.spec.output["properties"]["changed_files"] = words("The paths of files");
    tool
}

fn update_dependencies() -> Tool<Agent> {
    let mut tool = asking(Asking {
        name: "updateDependencies",
        title: "Update dependencies",
        description: "Asks a model for the new content of the given manifests. Lock files are left to the package manager.",
        names: &["update_dependencies"],
        aliases: &[("files", &["manifests"])],
        arguments: json!({
            "branch": text("The branch that the manifests are from"),
            "updates": anything("What to update, such as what checkDependencies answered"),
            "strategy": text("Such as safe, minor, latest"),
            "package_manager": text("Such as npm, cargo, pip"),
            "files": file_contents(),
            "context": anything("What else is known"),
        }),
        required: &["updates"],
        run: |agent, call| boxed(with_files("updateDependencies"), agent, call),
    });
    tool.spec.output["properties"]["changed_files"] = words("The paths of files");
    tool
}

fn extract() -> Tool<Agent> {
    let mut tool = asking(Asking {
        name: "extract",
        title: "Extract",
        description: "Asks a model for the values in a text, in the shape of a schema.",
        names: &[],
        aliases: &[("content", &["text"]), ("schema", &["output_schema"])],
        arguments: json!({
            "content": anything("What to take values out of"),
            "schema": { "type": "object", "description": "The JSON Schema of the values" },
            "prompt": text("What to mind"),
        }),
        required: &["content", "schema"],
        run: |agent, call| boxed(extracted, agent, call),
    });
    let shape = json!({ "type": "object", "properties": { "json": anything("The values") }, "required": ["json"] });
    tool.spec.output = answer(&shape, json!({}));
    tool
}

fn decide() -> Tool<Agent> {
    asking(Asking {
        name: "decide",
        title: "Decide",
        description: "Asks a model to choose exactly one of several options.",
        names: &[],
        aliases: &[("prompt", &["question"]), ("options", &["choices"])],
        arguments: json!({
            "prompt": text("What to decide"),
            "options": { "type": "array", "items": { "type": "string" }, "minItems": 2, "uniqueItems": true },
            "context": anything("What is known"),
        }),
        required: &["prompt", "options"],
        run: |agent, call| boxed(decided, agent, call),
    })
}

fn run() -> Tool<Agent> {
    let shape = json!({
        "type": "object",
        "required": ["profile", "text", "json"],
        "properties": {
            "profile": { "type": "string", "description": "\"plain\" when none was named" },
            "text": { "type": ["string", "null"], "description": "The answer, when there is no schema" },
            "json": anything("The answer, when there is a schema; else null"),
        },
    });
    Tool {
        spec: ToolSpec {
            name: "run",
            title: "Ask a model",
            description: "Asks a language model once, by a profile or a prompt. With output_schema, or a profile that has \
                          one, the answer is a value that fits it.",
            input: arguments(
                json!({
                    "prompt": text("What to do; may be left out when the profile says it"),
                    "profile": text("A profile of the project or one that ships"),
                    "system": text("Instead of the profile's system prompt"),
                    "context": anything("Material; it is fenced as such"),
                    "output_schema": { "type": "object", "description": "The JSON Schema of the answer" },
                }),
                &[],
            ),
            output: answer(&shape, json!({})),
            retry_class: RetryClass::Idempotent,
            max_bytes: MAX_ANSWER_BYTES,
            aliases: &[
                ("prompt", &["task", "message"]),
                ("profile", &["persona", "agent", "agentId"]),
                ("output_schema", &["schema"]),
                ("context", &["payload"]),
            ],
            ..ToolSpec::default()
        },
        run: |agent, call| boxed(ran, agent, call),
    }
}

fn generate_copy() -> Tool<Agent> {
    let shape = json!({
        "type": "object",
        "required": ["text", "words", "document_id", "created"],
        "properties": {
            "text": { "type": "string" },
            "words": { "type": "integer" },
            "document_id": { "type": ["string", "null"], "description": "The document that keeps the text; null when none was made" },
            "created": { "type": "boolean", "description": "False when an earlier attempt had written it" },
        },
    });
    Tool {
        spec: ToolSpec {
            name: "generateCopy",
            title: "Generate copy",
            description: "Asks a model to write a text, and keeps it as a document where Windlass is around. Called again \
                          after a lost answer, it finds what it wrote.",
            input: arguments(
                json!({
                    "prompt": text("What to write"),
                    "variables": anything("What it is about"),
                    "tone": text("Such as friendly"),
                    "max_words": { "type": "integer", "minimum": 1 },
                    "title": text("The document's title; the start of the prompt when left out"),
                    "keep": { "type": "boolean", "default": true, "description": "Whether to make a document of it" },
                }),
                &["prompt"],
            ),
            output: answer(&shape, json!({})),
            retry_class: RetryClass::Keyed,
            names: &["generate_copy"],
            max_bytes: MAX_ANSWER_BYTES,
            ..ToolSpec::default()
        },
        run: |agent, call| boxed(copied, agent, call),
    }
}

/// Asks the profile of a tool's name, with the arguments of the call.
async fn ask(agent: Arc<Agent>, call: Call, name: &'static str) -> Answer {
    let profile = profiles::find(&agent.config.profiles, name)?;
    let outcome =
        turn::ask(&agent, &call, &profile, &call.arguments.clone().into(), wish(&call)).await?;
    Ok(merged(outcome))
}

fn with_files(
    name: &'static str,
) -> impl FnOnce(Arc<Agent>, Call) -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send>> {
    move |agent, call| Box::pin(changed(agent, call, name))
}

/// Asks for files on the grounds of files.
async fn changed(agent: Arc<Agent>, call: Call, name: &'static str) -> Answer {
    let has = |value: Option<&Value>| match value {
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        _ => false,
    };
    let context = call.arguments.get("context").and_then(|context| context.get("files"));
    if !has(call.arguments.get("files")) && !has(context) {
        return Err(no_files(name));
    }
    let (call_files, context_files) = (call.arguments.get("files").cloned(), context.cloned());
    let mut answer = ask(agent, call, name).await?;
    if let Some(files) = answer["files"].as_array() {
        let paths: Vec<Value> = files.iter().map(|file| file["path"].clone()).collect();
        if let Some(path) = paths.iter().filter_map(Value::as_str).find(|path| !inside(path)) {
            let message = format!("the model's answer has a file outside of the project: {path:?}");
            return Err(ToolError::new(Code::FailedPrecondition, message)
                .hint("call again, or give the paths relative to the project's root"));
        }
        let given =
            |path: &str| gave(call_files.as_ref(), path) || gave(context_files.as_ref(), path);
        let unasked = |path: &&str| runs_on_push(path) && !given(path);
        if let Some(path) = paths.iter().filter_map(Value::as_str).find(unasked) {
            let message =
                format!("the model's answer has {path:?}, which runs by itself and was not given");
            return Err(ToolError::new(Code::Guardrail, message)
                .hint("give this file in files if the fix is to change it"));
        }
        answer["changed_files"] = paths.into();
    }
    Ok(answer)
}

/// Whether a path stays inside of the project, and out of git's own files.
fn inside(path: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git");
    !path.contains(|char: char| char == ':' || char.is_control())
        && path.split(['/', '\\']).all(part)
}

/// Whether a file says what runs with the project's own rights when it is pushed. Issues and logs are written by others:
/// what they talk a model into must not get there by itself.
fn runs_on_push(path: &str) -> bool {
    const PLACES: [&str; 3] = [".github/workflows/", ".github/actions/", ".circleci/"];
    const FILES: [&str; 2] = [".gitlab-ci.yml", "azure-pipelines.yml"];
    let path = path.replace('\\', "/").to_ascii_lowercase();
    PLACES.iter().any(|place| path.starts_with(place)) || FILES.contains(&path.as_str())
}

/// Whether a call gave this file: as `path` in a list, or as a key of an object.
fn gave(files: Option<&Value>, path: &str) -> bool {
    match files {
        Some(Value::Array(items)) => items.iter().any(|item| item["path"] == path),
        Some(Value::Object(members)) => members.contains_key(path),
        _ => false,
    }
}

fn no_files(name: &str) -> ToolError {
    let message = format!("{name} was given no files, and a model cannot fetch any");
    ToolError::new(Code::FailedPrecondition, message).hint(
        "give files: [{ path, content }], read in a step before, and commit the files of the answer with \
         github.commitFileChanges; or configure a coding agent with a checkout as a tool server under [mcpServers] and \
         call that instead",
    )
}

async fn extracted(agent: Arc<Agent>, call: Call) -> Answer {
    let profile = profiles::find(&agent.config.profiles, "extract")?;
    let wish = Wish { schema: call.arguments.get("schema").cloned(), ..wish(&call) };
    let arguments = call.arguments.clone().into();
    let outcome = turn::ask(&agent, &call, &profile, &arguments, wish).await?;
    let mut answer = outcome.taken.described();
    answer["json"] = value(outcome.answer);
    Ok(answer)
}

async fn decided(agent: Arc<Agent>, call: Call) -> Answer {
    let profile = profiles::find(&agent.config.profiles, "decide")?;
    let mut schema = profile.output.clone().unwrap_or_default();
    schema["properties"]["choice"]["enum"] = call.arguments["options"].clone();
    let wish = Wish { schema: Some(schema), ..wish(&call) };
    let arguments = call.arguments.clone().into();
    Ok(merged(turn::ask(&agent, &call, &profile, &arguments, wish).await?))
}

async fn ran(agent: Arc<Agent>, call: Call) -> Answer {
    let argument = |name: &str| call.arguments.get(name).and_then(Value::as_str);
    let mut profile = match argument("profile") {
        Some(name) => profiles::find(&agent.config.profiles, name)?,
        None if argument("prompt").is_none() => return Err(nothing_asked()),
        None => Profile::plain(),
    };
    if let Some(system) = argument("system") {
        system.clone_into(&mut profile.system);
    }
    let wish = Wish { schema: call.arguments.get("output_schema").cloned(), ..wish(&call) };
    let arguments = call.arguments.clone().into();
    let outcome = turn::ask(&agent, &call, &profile, &arguments, wish).await?;
    let mut answer = outcome.taken.described();
    answer["profile"] = profile.name.into();
    let (text, json) = match outcome.answer {
        Answered::Text(text) => (text.into(), Value::Null),
        Answered::Json(json) => (Value::Null, json),
    };
    (answer["text"], answer["json"]) = (text, json);
    Ok(answer)
}

fn nothing_asked() -> ToolError {
    ToolError::new(Code::InvalidArgument, "run was given neither a prompt nor a profile")
        .hint("give a prompt, or a profile whose input says what to do")
}

async fn copied(agent: Arc<Agent>, call: Call) -> Answer {
    let keep = call.arguments.get("keep") != Some(&Value::Bool(false));
    let host = agent.host.clone().filter(|_| keep);
    let key = turn::key(&call);
    if let (Some(host), Some(_)) = (&host, call.key_to_look_up())
        && let Some((document, text)) = record::found(host.as_ref(), &key).await?
    {
        return Ok(copy(text, Some(document.document_id), None));
    }
    let profile = profiles::find(&agent.config.profiles, "generateCopy")?;
    let arguments = call.arguments.clone().into();
    let outcome = turn::ask(&agent, &call, &profile, &arguments, wish(&call)).await?;
    let text = match outcome.answer {
        Answered::Text(text) => text,
        Answered::Json(json) => json.to_string(),
    };
    let document_id = match &host {
        Some(host) => {
            let kept = record::keep_text(host.as_ref(), &call, &key, &title(&call), &text).await?;
            Some(kept.0.document_id)
        }
        None => None,
    };
    Ok(copy(text, document_id, Some(&outcome.taken)))
}

fn copy(text: String, document_id: Option<String>, taken: Option<&Taken>) -> Value {
    let mut answer = match taken {
        Some(taken) => taken.described(),
        None => {
            json!({ "usage": null, "cost_usd": null, "model": "", "finish_reason": "found", "repaired": false })
        }
    };
    answer["created"] = taken.is_some().into();
    answer["words"] = text.split_whitespace().count().into();
    answer["document_id"] = document_id.into();
    answer["text"] = text.into();
    answer
}

fn title(call: &Call) -> String {
    const TITLE_CHARS: usize = 80;
    let argument = |name: &str| call.arguments.get(name).and_then(Value::as_str);
    let title = argument("title").or(argument("prompt")).unwrap_or_default();
    title.lines().next().unwrap_or_default().chars().take(TITLE_CHARS).collect()
}

/// What a call says beside its question.
fn wish(call: &Call) -> Wish {
    let argument = |name: &str| call.arguments.get(name);
    let max_tokens = argument("max_tokens").and_then(Value::as_u64);
    Wish {
        model: argument("model").and_then(Value::as_str).map(str::to_owned),
        schema: None,
        max_tokens: max_tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)),
        temperature: argument("temperature").and_then(Value::as_f64),
        max_cost_usd: argument("max_cost_usd").and_then(Value::as_f64),
    }
}

/// An answer that is an object, with what it took beside its members.
fn merged(outcome: Outcome) -> Value {
    let mut answer = members(value(outcome.answer));
    answer.extend(members(outcome.taken.described()));
    answer.into()
}

fn value(answer: Answered) -> Value {
    match answer {
        Answered::Json(value) => value,
        Answered::Text(text) => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn files_of_an_answer_stay_inside_of_the_project() {
        for path in ["a.rs", "src/a.rs", ".github/x.yml"] {
            assert!(inside(path), "{path}");
        }
        for path in [
            "",
            "/etc/passwd",
            "../a",
            "a/../b",
            "C:\\a",
            "a//b",
            ".git/config",
            "a/.GIT/x",
            "./a",
            "a\nb",
        ] {
            assert!(!inside(path), "{path}");
        }
    }
}
