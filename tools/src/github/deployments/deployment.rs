//! createDeployment and createDeploymentStatus: what GitHub shows about deployments.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::contract::text::digest;
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::client::{Repository, Verb};
use crate::github::requests::with_query;
use crate::github::schemas::{choice, flag, given, number, texts};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned, text};

/// The member of the payload by which a later attempt finds the deployment.
const KEY: &str = "windlass_key";
const KEY_HEX: usize = 16;

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    r#ref: String,
    environment: Option<String>,
    task: Option<String>,
    description: Option<String>,
    #[serde(default)]
    payload: Map<String, Value>,
    #[serde(default)]
    auto_merge: bool,
    #[serde(default)]
    required_contexts: Vec<String>,
    production_environment: Option<bool>,
    transient_environment: Option<bool>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct Deployment {
    id: u64,
    sha: String,
    environment: String,
    statuses_url: String,
    #[serde(default)]
    payload: Value,
}

#[derive(Deserialize)]
struct StatusArguments {
    #[serde(flatten)]
    target: Target,
    deployment_id: u64,
    state: String,
    log_url: Option<String>,
    environment_url: Option<String>,
    description: Option<String>,
    auto_inactive: Option<bool>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct Status {
    id: u64,
    state: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    log_url: String,
    #[serde(default)]
    environment_url: String,
}

pub(super) fn create_tool() -> Tool<Github> {
    let properties = json!({
        "ref": text("The branch, tag or commit that is deployed"),
        "environment": text("Where to; production when left out"),
        "task": text("What is done; deploy when left out"),
        "description": text("For people"),
        "payload": { "type": "object", "description": "For programs that hear of the deployment" },
        "auto_merge": flag(false, "Let GitHub merge the default branch into ref instead of deploying, when ref is behind it"),
        "required_contexts": texts("Checks that must have succeeded; none when left out"),
        "production_environment": { "type": "boolean", "description": "Whether users are there; GitHub says so of production" },
        "transient_environment": flag(false, "Whether the environment will go away"),
    });
    let text = json!({ "type": "string" });
    let output = json!({ "id": { "type": "integer" }, "sha": text, "environment": text, "statuses_url": text });
    let spec = ToolSpec {
        name: "createDeployment",
        title: "Create deployment",
        description: "Records on GitHub that a ref is being deployed. It deploys nothing by itself.",
        input: changing_arguments(properties, &["ref"]),
        output: changing_result(output, &["id", "sha", "environment", "statuses_url"]),
        retry_class: RetryClass::Keyed,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { create(&github, &call).await }) }
}

pub(super) fn status_tool() -> Tool<Github> {
    let states = ["queued", "pending", "in_progress", "success", "failure", "error", "inactive"];
    let properties = json!({
        "deployment_id": number("The deployment's id"),
        "state": choice(&states, "How it is going"),
        "log_url": text("Where the log is"),
        "environment_url": text("Where to look at what was deployed"),
        "description": text("For people"),
        "auto_inactive": flag(true, "Make earlier deployments to the same environment inactive, on success"),
    });
    let output = json!({ "id": { "type": "integer" }, "state": { "type": "string" } });
    let spec = ToolSpec {
        name: "createDeploymentStatus",
        title: "Create deployment status",
        description: "Records on GitHub how a deployment is going. A status that is the newest one already is returned.",
        input: changing_arguments(properties, &["deployment_id", "state"]),
        output: changing_result(output, &["id", "state"]),
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { set_status(&github, &call).await }) }
}

async fn create(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let earlier = find_earlier(&repository, &arguments, call).await?;
    if arguments.dry_run {
        let environment = arguments.environment.as_deref().unwrap_or("production");
        let step = match &earlier {
            Some(found) => format!("return deployment {}", found.id),
            None => format!("record a deployment of {} to {environment}", arguments.r#ref),
        };
        return Ok(planned(vec![step], json!({ "environment": environment })));
    }
    if let Some(found) = earlier {
        return Ok(found.shape(false));
    }
    match repository.write(Verb::Post, "/deployments", Some(&body(&arguments, call))).await {
        // 202: GitHub merged the default branch into ref, and made no deployment.
        Ok(answered) if answered.status == 202 => Err(merged_instead(&arguments)),
        Ok(answered) => Ok(answered.json::<Deployment>(repository.sent())?.shape(true)),
        Err(error) if error.status() == Some(409) => Err(checks_failed(error)),
        Err(error) => Err(error),
    }
}

/// The deployment that an earlier attempt of this call recorded.
async fn find_earlier(
    repository: &Repository,
    arguments: &Arguments,
    call: &Call,
) -> Result<Option<Deployment>, ToolError> {
    let Some(key) = call.key_to_look_up() else { return Ok(None) };
    let environment = arguments.environment.as_deref().unwrap_or("production").to_owned();
    let pairs = [("environment", Some(environment)), ("ref", Some(arguments.r#ref.clone()))];
    let route = with_query("/deployments", &pairs);
    let recent = repository.collect::<Deployment>(&route).await?.items;
    let key = Value::from(&digest(key)[..KEY_HEX]);
    Ok(recent.into_iter().find(|deployment| deployment.has_key(&key)))
}

fn body(arguments: &Arguments, call: &Call) -> Map<String, Value> {
    let mut payload = arguments.payload.clone();
    if let Some(key) = &call.idempotency_key {
        payload.insert(KEY.to_owned(), digest(key)[..KEY_HEX].into());
    }
    given(vec![
        ("ref", Some(arguments.r#ref.clone().into())),
        ("environment", arguments.environment.clone().map(Value::from)),
        ("task", arguments.task.clone().map(Value::from)),
        ("description", arguments.description.clone().map(Value::from)),
        ("payload", Some(payload.into())),
        // GitHub's own default is true, which may merge instead of deploying.
        ("auto_merge", Some(arguments.auto_merge.into())),
        ("required_contexts", Some(json!(arguments.required_contexts))),
        ("production_environment", arguments.production_environment.map(Value::from)),
        ("transient_environment", arguments.transient_environment.map(Value::from)),
    ])
}

fn merged_instead(arguments: &Arguments) -> ToolError {
    let message = format!(
        "GitHub merged the default branch into {} and recorded no deployment",
        arguments.r#ref
    );
    ToolError::new(Code::FailedPrecondition, message)
        .hint("call again to deploy what was merged, or give auto_merge=false")
}

fn checks_failed(error: ToolError) -> ToolError {
    let hint = "wait for the checks, or name fewer of them in required_contexts";
    ToolError { code: Code::FailedPrecondition, hint: Some(hint.to_owned()), ..error }
}

async fn set_status(github: &Github, call: &Call) -> Answer {
    let arguments: StatusArguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let route = format!("/deployments/{}/statuses", arguments.deployment_id);
    let newest: Vec<Status> = repository.get(&format!("{route}?per_page=1")).await?;
    let same = newest.into_iter().next().filter(|status| arguments.asks_for(status));
    if arguments.dry_run {
        let step = match &same {
            Some(status) => format!("return status {}", status.id),
            None => format!("set deployment {} to {}", arguments.deployment_id, arguments.state),
        };
        return Ok(planned(vec![step], json!({ "state": arguments.state })));
    }
    let (status, created) = match same {
        Some(status) => (status, false),
        None => (repository.post(&route, &arguments.body()).await?, true),
    };
    Ok(json!({ "id": status.id, "state": status.state, "created": created, "warnings": [] }))
}

impl StatusArguments {
    fn asks_for(&self, status: &Status) -> bool {
        let same =
            |wanted: &Option<String>, own: &str| wanted.as_deref().unwrap_or_default() == own;
        self.state == status.state
            && same(&self.description, &status.description)
            && same(&self.log_url, &status.log_url)
            && same(&self.environment_url, &status.environment_url)
    }

    fn body(&self) -> Map<String, Value> {
        given(vec![
            ("state", Some(self.state.clone().into())),
            ("log_url", self.log_url.clone().map(Value::from)),
            ("environment_url", self.environment_url.clone().map(Value::from)),
            ("description", self.description.clone().map(Value::from)),
            ("auto_inactive", self.auto_inactive.map(Value::from)),
        ])
    }
}

impl Deployment {
    /// Whether it carries this key. A payload may come back as the text of its JSON.
    fn has_key(&self, key: &Value) -> bool {
        let parsed =
            self.payload.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        parsed.as_ref().unwrap_or(&self.payload).get(KEY) == Some(key)
    }

    fn shape(&self, created: bool) -> Value {
        json!({
            "id": self.id, "sha": self.sha, "environment": self.environment, "statuses_url": self.statuses_url,
            "created": created, "warnings": [],
        })
    }
}
