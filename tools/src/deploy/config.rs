//! What the configuration says about where applications are deployed, and how.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::template;

/// What every kind of environment may say.
const SHARED: [&str; 4] = ["production", "require_approval", "app_url", "health"];
/// What every command gets, so that programs are found and find their own settings.
pub(super) const ALWAYS_PASSED: [&str; 2] = ["PATH", "HOME"];
const AWS_VARIABLES: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];
const GITHUB: &str = "https://api.github.com";

/// Where applications are deployed, and how.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployConfig {
    /// The applications, each with its environments.
    #[serde(deserialize_with = "by_name")]
    pub targets: BTreeMap<String, Target>,
    /// Where ECS is, when an environment or a call does not say.
    pub ecs: Account,
    /// Whether only tools that change nothing are offered.
    pub read_only: bool,
}

/// An application and the environments it runs in.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// The environment that is meant when a call names none.
    pub default_environment: Option<String>,
    /// The environments by name.
    #[serde(deserialize_with = "by_name")]
    pub environments: BTreeMap<String, Environment>,
}

/// One environment of an application: what is true of every kind, and what its kind needs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Environment {
    /// What is true of every kind.
    pub shared: Shared,
    /// How it is deployed to.
    pub kind: Kind,
}

/// What every kind of environment may say.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shared {
    /// Whether real users depend on it: what changes it is then announced as destructive.
    pub production: bool,
    /// Whether a person has to agree first. Workflows ask; the tools only say it.
    pub require_approval: bool,
    /// Where the application is seen.
    pub app_url: Option<String>,
    /// Addresses that answer when it is well, for workflows to check.
    pub health: Vec<Health>,
}

/// An address that answers when an application is well.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The address.
    pub url: String,
}

/// How an environment is deployed to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A service on Amazon ECS.
    Ecs(Ecs),
    /// A workflow of GitHub Actions that deploys.
    GithubWorkflow(GithubWorkflow),
    /// Commands on this machine.
    Command(Command),
    /// An HTTP endpoint of a deployer.
    Webhook(Webhook),
    /// A rollout that only happens in Windlass's memory: for tests, demos and tours.
    Mock(Mock),
}

/// Where an account of AWS is reached.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Account {
    /// The region, such as `eu-central-1`.
    pub region: Option<String>,
    /// The profile of the AWS configuration files.
    pub profile: Option<String>,
    /// Another address than Amazon's own, such as an emulator's.
    pub endpoint_url: Option<String>,
}

/// A service on Amazon ECS.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ecs {
    /// The region.
    pub region: Option<String>,
    /// The profile of the AWS configuration files.
    pub profile: Option<String>,
    /// Another address than Amazon's own.
    pub endpoint_url: Option<String>,
    /// The cluster, by name or ARN.
    pub cluster: String,
    /// The service, by name or ARN.
    pub service: String,
    /// The container whose image is replaced; the only essential one when left out.
    pub container: Option<String>,
    /// The image of a version: `registry/myapp:{{version}}`.
    pub image: Option<String>,
    /// How traffic moves to a new version; as the service is set up when left out.
    pub strategy: Option<Strategy>,
    /// CloudWatch alarms that speak against a version, for workflows to check.
    pub alarms: Vec<String>,
}

/// How traffic moves to a new version. At most one of `canary`, `linear` and `blue_green`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Strategy {
    /// A part of the traffic first, then all.
    pub canary: Option<Canary>,
    /// In equal steps.
    pub linear: Option<Linear>,
    /// All at once, with the old tasks kept for a while.
    pub blue_green: Option<BlueGreen>,
    /// The stages before which a person decides, such as `POST_TEST_TRAFFIC_SHIFT`.
    pub pause_at: Vec<String>,
    /// How long a pause waits before it rolls back, in minutes.
    pub pause_minutes: Option<i32>,
}

/// A part of the traffic first.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The part, in percent.
    pub percent: f64,
    /// How long it is watched.
    pub bake_minutes: i32,
}

/// Traffic in equal steps.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Each step, in percent.
    pub percent: f64,
    /// How long each is watched.
    pub bake_minutes: i32,
}

/// All traffic at once.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BlueGreen {
    /// How long the old tasks are kept.
    pub bake_minutes: i32,
}

/// A workflow of GitHub Actions that deploys.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GithubWorkflow {
    /// `owner/name`.
    pub repo: String,
    /// The workflow's file name or id.
    pub workflow: String,
    /// The branch or tag whose workflow runs; the default branch when left out.
    pub r#ref: Option<String>,
    /// What it is started with.
    pub inputs: BTreeMap<String, String>,
    /// An input of the workflow that takes the idempotency key and that its `run-name` shows: a run is then found by it
    /// with certainty after a lost answer.
    pub key_input: Option<String>,
    /// The REST API.
    pub api_url: String,
    /// The variables looked at for a token, in order.
    pub token_env: Vec<String>,
}

/// Commands on this machine, as lists of words; no shell reads them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Command {
    /// Deploys a version.
    pub deploy: Vec<String>,
    /// Says how it is: exit code 0 means well.
    pub status: Vec<String>,
    /// Goes back; when left out, `deploy` runs with the earlier version.
    pub rollback: Vec<String>,
    /// Where they run; the project's root when left out.
    pub directory: Option<String>,
    /// The variables they get, beside PATH and HOME.
    pub env: Vec<String>,
    /// How long one may take.
    pub timeout_seconds: u64,
    /// Whether running `deploy` twice with the same version does no harm.
    pub idempotent: bool,
}

/// An HTTP endpoint of a deployer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// Where deployments are asked for.
    pub url: String,
    /// The variable with the secret that signs requests.
    pub secret_env: Option<String>,
    /// Where a deployment's status is read; done when the request was taken, if left out.
    pub status_url: Option<String>,
    /// Where in the status's JSON the word stands.
    pub status_pointer: String,
    /// The words that mean success.
    pub succeeded: Vec<String>,
    /// The words that mean failure.
    pub failed: Vec<String>,
    /// How long one request may take.
    pub timeout_seconds: u64,
}

/// A rollout that only happens in Windlass's memory.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mock {
    /// How many looks a rollout takes.
    pub steps: u64,
    /// The versions that fail at their last step and are rolled back.
    pub fail_versions: Vec<String>,
    /// The versions that wait for a person before their last step.
    pub pause_versions: Vec<String>,
    /// The image of a version.
    pub image: Option<String>,
    /// How long to wait between looks.
    pub step_ms: u64,
    /// How many tasks it pretends to run.
    pub desired: u64,
}

impl Default for GithubWorkflow {
    fn default() -> Self {
        Self {
            repo: String::new(),
            workflow: String::new(),
            r#ref: None,
            inputs: BTreeMap::new(),
            key_input: None,
            api_url: GITHUB.to_owned(),
            token_env: vec!["GITHUB_TOKEN".to_owned(), "GH_TOKEN".to_owned()],
        }
    }
}

impl Default for Command {
    fn default() -> Self {
        Self {
            deploy: Vec::new(),
            status: Vec::new(),
            rollback: Vec::new(),
            directory: None,
            env: Vec::new(),
            timeout_seconds: 600,
            idempotent: false,
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            url: String::new(),
            secret_env: None,
            status_url: None,
            status_pointer: "/status".to_owned(),
            succeeded: words(&["succeeded", "success", "successful", "completed", "healthy", "ok"]),
            failed: words(&["failed", "failure", "error", "cancelled", "rolled_back", "degraded"]),
            timeout_seconds: 30,
        }
    }
}

impl Default for Mock {
    fn default() -> Self {
        let (fail_versions, pause_versions) = (Vec::new(), Vec::new());
        Self { steps: 3, fail_versions, pause_versions, image: None, step_ms: 1000, desired: 2 }
    }
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ecs(_) => "ecs",
            Self::GithubWorkflow(_) => "github_workflow",
            Self::Command(_) => "command",
            Self::Webhook(_) => "webhook",
            Self::Mock(_) => "mock",
        }
    }

    fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Ecs(ecs) if ecs.cluster.is_empty() || ecs.service.is_empty() => {
                Some("kind \"ecs\" needs cluster and service")
            }
            Self::Ecs(Ecs { strategy: Some(strategy), .. }) if 1 < strategy.kinds() => {
                Some("strategy takes one of canary, linear and blue_green")
            }
            Self::GithubWorkflow(workflow)
                if !workflow.repo.contains('/') || workflow.workflow.is_empty() =>
            {
                Some("kind \"github_workflow\" needs repo = \"owner/name\" and workflow")
            }
            Self::Command(command) if command.deploy.is_empty() => {
                Some("kind \"command\" needs deploy = [\"program\", \"argument\", …]")
            }
            Self::Webhook(webhook) if !webhook.url.starts_with("http") => {
                Some("kind \"webhook\" needs url = \"https://…\"")
            }
            Self::Mock(mock) if mock.steps == 0 => Some("steps must be at least 1"),
            _ => None,
        }
    }
}

/// What stands under names that can be one part of a longer name: `app/environment` means one environment only.
fn by_name<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let all = BTreeMap::<String, T>::deserialize(from)?;
    match all.keys().find(|name| name.is_empty() || name.contains(['/', '*'])) {
        None => Ok(all),
        Some(name) => {
            Err(D::Error::custom(format!("{name:?} cannot be a name: leave out / and *")))
        }
    }
}

impl Strategy {
    fn kinds(&self) -> usize {
        let given = [self.canary.is_some(), self.linear.is_some(), self.blue_green.is_some()];
        given.into_iter().filter(|given| *given).count()
    }
}

impl TryFrom<Map<String, Value>> for Environment {
    type Error = String;

    fn try_from(all: Map<String, Value>) -> Result<Self, String> {
        let is_shared = |name: &str| SHARED.contains(&name);
        let (shared, own): (Map<_, _>, Map<_, _>) =
            all.into_iter().partition(|(name, _)| is_shared(name));
        let shared = serde_json::from_value(Value::Object(shared)).map_err(|e| e.to_string())?;
        let kind: Kind = serde_json::from_value(Value::Object(own))
            .map_err(|error| format!("{error} (every kind also takes {})", SHARED.join(", ")))?;
        if let Some(problem) = kind.problem() {
            return Err(problem.to_owned());
        }
        template::check(&serde_json::to_value(&kind).map_err(|error| error.to_string())?)?;
        Ok(Self { shared, kind })
    }
}

impl From<Environment> for Map<String, Value> {
    fn from(environment: Environment) -> Self {
        let parts = [
            serde_json::to_value(environment.shared).unwrap_or_default(),
            serde_json::to_value(environment.kind).unwrap_or_default(),
        ];
        let members = parts.into_iter().filter_map(|part| match part {
            Value::Object(members) => Some(members),
            _ => None,
        });
        // A key that is not given is left out: TOML has no word for nothing.
        members.flatten().filter(|(_, value)| !value.is_null()).collect()
    }
}

impl DeployConfig {
    /// The variables that this configuration reads.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let environments = self.targets.values().flat_map(|target| target.environments.values());
        let mut names: Vec<String> = environments.flat_map(|own| own.kind.variables()).collect();
        if cfg!(feature = "ecs") {
            names.extend(AWS_VARIABLES.map(str::to_owned));
        }
        names.sort();
        names.dedup();
        names
    }

    /// Whether anything that real users depend on can be changed.
    pub(super) fn has_production(&self) -> bool {
        let mut environments = self.targets.values().flat_map(|own| own.environments.values());
        environments.any(|environment| environment.shared.production)
    }
}

impl Kind {
    fn variables(&self) -> Vec<String> {
        match self {
            Self::Ecs(_) | Self::Mock(_) => Vec::new(),
            Self::GithubWorkflow(workflow) => workflow.token_env.clone(),
            Self::Command(command) => {
                command.env.iter().cloned().chain(ALWAYS_PASSED.map(str::to_owned)).collect()
            }
            Self::Webhook(webhook) => webhook.secret_env.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(environment: Value) -> Result<Environment, String> {
        serde_json::from_value(environment).map_err(|error| error.to_string())
    }

    #[test]
    fn an_environment_is_read_with_what_its_kind_needs() {
        let given = json!({
            "kind": "ecs", "cluster": "prod", "service": "web", "production": true, "require_approval": true,
            "image": "registry/myapp:{{version}}", "strategy": { "canary": { "percent": 10, "bake_minutes": 5 } },
        });
        let environment = read(given).unwrap();
        assert!(environment.shared.production && environment.shared.require_approval);
        let Kind::Ecs(ecs) = &environment.kind else { panic!("{environment:?}") };
        assert_eq!((ecs.cluster.as_str(), ecs.service.as_str()), ("prod", "web"));
        let again = read(serde_json::to_value(&environment).unwrap()).unwrap();
        assert_eq!(again, environment);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        let cases = [
            (
                json!({ "kind": "ecs", "cluster": "a", "service": "b", "imge": "x" }),
                "unknown field `imge`",
            ),
            (
                json!({ "kind": "ecs", "cluster": "a", "service": "b", "imge": "x" }),
                "require_approval",
            ),
            (json!({ "kind": "ecs", "cluster": "a" }), "needs cluster and service"),
            (json!({ "kind": "lambda" }), "unknown variant `lambda`, expected one of `ecs`"),
            (json!({ "kind": "command" }), "needs deploy"),
            (json!({ "kind": "command", "deploy": ["x", "{{verson}}"] }), "{{verson}}"),
            (json!({ "kind": "webhook" }), "needs url"),
            (json!({ "kind": "github_workflow", "repo": "a/b" }), "workflow"),
            (json!({ "kind": "mock", "steps": 0 }), "at least 1"),
            (
                json!({ "kind": "ecs", "cluster": "a", "service": "b", "strategy": {
                    "canary": { "percent": 1, "bake_minutes": 1 }, "blue_green": { "bake_minutes": 1 } } }),
                "one of canary",
            ),
        ];
        for (given, expected) in cases {
            let problem = read(given.clone()).unwrap_err();
            assert!(problem.contains(expected), "{given}: {problem}");
        }
    }

    #[test]
    fn a_name_with_a_slash_is_refused_because_it_could_mean_two_environments() {
        for (app, environment) in [("a/b", "c"), ("a", "b/c"), ("*", "c"), ("a", "")] {
            let given = json!({ "targets": { app: { "environments": { environment: { "kind": "mock" } } } } });
            let problem = serde_json::from_value::<DeployConfig>(given).unwrap_err().to_string();
            assert!(problem.contains("cannot be a name"), "{problem}");
        }
    }

    #[test]
    fn variables_are_named_and_never_held() {
        let config: DeployConfig =
            serde_json::from_value(json!({ "targets": { "a": { "environments": {
            "x": { "kind": "webhook", "url": "https://h/", "secret_env": "HOOK" },
            "y": { "kind": "command", "deploy": ["d"], "env": ["TOKEN"] },
        } } } }))
            .unwrap();
        let names = config.variables();
        for name in ["HOOK", "TOKEN", "PATH", "HOME"] {
            assert!(names.iter().any(|own| own == name), "{names:?}");
        }
    }
}
