//! Where things are: sources, apps and their environments, and how a call names one.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::contract::schema::text;
use crate::contract::{Code, ToolError};

/// What the AWS clients read by themselves, and what identifies the account.
const AWS_VARIABLES: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
];

/// Where logs, metrics and alarms are, and which hosts may be probed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObservabilityConfig {
    /// The hosts that checkHttp may probe: `api.example.com`, `*.example.com` or `localhost:8080`. The hosts of the
    /// apps' addresses are allowed as well.
    pub hosts: Vec<String>,
    /// Where logs and metrics are, by name.
    pub sources: BTreeMap<String, Source>,
    /// What calls name by `app` and `environment`.
    pub apps: BTreeMap<String, App>,
}

/// What kind of place a source is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// CloudWatch: logs, metrics and alarms.
    Cloudwatch,
    /// Loki: logs.
    Loki,
    /// Prometheus: metrics.
    Prometheus,
    /// Files on this machine: logs.
    Files,
}

/// A place where logs or metrics are.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What kind of place it is.
    pub kind: Kind,
    /// The address of Loki or Prometheus.
    #[serde(default)]
    pub url: Option<String>,
    /// The AWS region; what the environment says when it is left out.
    #[serde(default)]
    pub region: Option<String>,
    /// Another address of AWS, such as an emulator's.
    #[serde(default)]
    pub endpoint_url: Option<String>,
    /// The environment variable with the bearer token for `url`.
    #[serde(default)]
    pub token_env: Option<String>,
    /// The tenant, which Loki wants as `X-Scope-OrgID`.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The files, as globs such as `/var/log/myapp/*.log`. Only files within the named folders are read.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// An app: its environments, by name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct App {
    /// Where it runs.
    pub environments: BTreeMap<String, Environment>,
}

/// Where one environment of an app can be seen.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// The name of the source of its logs; not needed when only one kind fits.
    pub source: Option<String>,
    /// The name of the source of its metrics and alarms; its `source` when that has them.
    pub metrics: Option<String>,
    /// Its CloudWatch log group.
    pub log_group: Option<String>,
    /// Its Loki selector, such as `{app="myapp"}`.
    pub selector: Option<String>,
    /// Its files among those of the source, as globs.
    pub paths: Vec<String>,
    /// Its ECS cluster.
    pub cluster: Option<String>,
    /// Its ECS service.
    pub service: Option<String>,
    /// Its load balancer: the name, `app/NAME/ID` or the ARN.
    pub load_balancer: Option<String>,
    /// Its target group: `targetgroup/NAME/ID` or the ARN.
    pub target_group: Option<String>,
    /// What the names of its alarms begin with.
    pub alarm_prefix: Option<String>,
    /// Where it answers.
    pub url: Option<String>,
}

/// How a call names the logs that it means.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Address {
    pub(super) source: Option<String>,
    pub(super) log_group: Option<String>,
    pub(super) selector: Option<String>,
    pub(super) app: Option<String>,
    pub(super) environment: Option<String>,
}

/// The logs that a call means.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    /// What it is called in answers.
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) log_group: Option<String>,
    pub(super) selector: Option<String>,
    pub(super) paths: Vec<String>,
}

impl ObservabilityConfig {
    /// The variables that this configuration reads.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let tokens = self.sources.values().filter_map(|source| source.token_env.clone());
        tokens.chain(AWS_VARIABLES.map(str::to_owned)).collect()
    }

    /// The same, its relative paths starting at this folder.
    #[must_use]
    pub fn rooted(&self, folder: &Path) -> Self {
        let mut rooted = self.clone();
        let sources = rooted.sources.values_mut().flat_map(|source| &mut source.paths);
        let apps = rooted.apps.values_mut().flat_map(|app| app.environments.values_mut());
        for path in sources.chain(apps.flat_map(|environment| &mut environment.paths)) {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
        rooted
    }

    /// The environment of an app. It need not be named when there is only one.
    pub(super) fn environment(
        &self,
        app: &str,
        environment: Option<&str>,
    ) -> Result<(&str, &Environment), ToolError> {
        let found = self.apps.get(app).ok_or_else(|| unknown("app", app, self.apps.keys()))?;
        let environments = &found.environments;
        let only = environments.first_key_value().filter(|_| environments.len() == 1);
        let named = match environment {
            Some(name) => environments.get_key_value(name),
            None => only,
        };
        named.map(|(name, found)| (name.as_str(), found)).ok_or_else(|| match environment {
            Some(name) => unknown(&format!("environment of {app}"), name, environments.keys()),
            None => invalid(format!("which environment of {app}?"))
                .hint(format!("give environment: one of {}", listed(environments.keys()))),
        })
    }

    /// The logs that a call means.
    pub(super) fn target(&self, address: &Address) -> Result<Target, ToolError> {
        let Some(app) = &address.app else {
            return self.named(
                address.source.as_deref(),
                address.log_group.clone(),
                address.selector.clone(),
                Vec::new(),
            );
        };
        let (_, found) = self.environment(app, address.environment.as_deref())?;
        let source = address.source.as_deref().filter(|source| *source != "auto");
        self.named(
            source.or(found.source.as_deref()),
            address.log_group.clone().or_else(|| found.log_group.clone()),
            address.selector.clone().or_else(|| found.selector.clone()),
            found.paths.clone(),
        )
    }

    fn named(
        &self,
        source: Option<&str>,
        log_group: Option<String>,
        selector: Option<String>,
        paths: Vec<String>,
    ) -> Result<Target, ToolError> {
        let kind = match (&log_group, &selector) {
            (Some(_), _) => Some(Kind::Cloudwatch),
            (None, Some(_)) => Some(Kind::Loki),
            (None, None) => None,
        };
        let kinds: &[Kind] = match kind {
            Some(Kind::Cloudwatch) => &[Kind::Cloudwatch],
            Some(Kind::Loki) => &[Kind::Loki],
            _ => &[Kind::Files],
        };
        let (name, source) = self.source(source, kinds)?;
        let target = Target { name, source, log_group, selector, paths };
        target.complete()
    }

    /// The source of that name, or the only one of these kinds.
    pub(super) fn source(
        &self,
        name: Option<&str>,
        kinds: &[Kind],
    ) -> Result<(String, Source), ToolError> {
        if let Some(name) = name.filter(|name| *name != "auto") {
            let found = self.sources.get(name).cloned();
            // A source may be called by its kind, and CloudWatch needs nothing to be said about it.
            let by_kind = || self.only(&[Kind::by_name(name)?]);
            let found = found.map(|source| (name.to_owned(), source)).or_else(by_kind);
            return found.ok_or_else(|| unknown("source", name, self.sources.keys()));
        }
        self.only(kinds).ok_or_else(|| {
            let fit: Vec<_> =
                self.sources.iter().filter(|(_, own)| kinds.contains(&own.kind)).collect();
            let words: Vec<_> = kinds.iter().map(|kind| kind.word()).collect();
            let message = if fit.is_empty() {
                format!("no source of the kind {} is configured", words.join(" or "))
            } else {
                format!("several sources are of the kind {}", words.join(" or "))
            };
            ToolError::new(Code::FailedPrecondition, message).hint(format!(
                "give source, log_group, selector, or app and environment; sources: {}; apps: {}",
                listed(self.sources.keys()),
                listed(self.apps.keys()),
            ))
        })
    }

    fn only(&self, kinds: &[Kind]) -> Option<(String, Source)> {
        let mut fit = self.sources.iter().filter(|(_, source)| kinds.contains(&source.kind));
        match (fit.next(), fit.next()) {
            (Some((name, source)), None) => Some((name.clone(), source.clone())),
            (None, _) if kinds.contains(&Kind::Cloudwatch) => {
                Some(("cloudwatch".to_owned(), Source::new(Kind::Cloudwatch)))
            }
            _ => None,
        }
    }
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cloudwatch => "cloudwatch",
            Self::Loki => "loki",
            Self::Prometheus => "prometheus",
            Self::Files => "files",
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        [Self::Cloudwatch, Self::Loki, Self::Prometheus, Self::Files]
            .into_iter()
            .find(|kind| kind.word() == name)
    }
}

impl Source {
    /// A source of which nothing but its kind is said.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            url: None,
            region: None,
            endpoint_url: None,
            token_env: None,
            tenant: None,
            paths: Vec::new(),
        }
    }
}

impl Target {
    /// Refuses a place that the kind of the source cannot find.
    fn complete(self) -> Result<Self, ToolError> {
        let missing = match self.source.kind {
            Kind::Cloudwatch if self.log_group.is_none() => "log_group",
            Kind::Loki if self.selector.is_none() => "selector",
            Kind::Cloudwatch | Kind::Loki | Kind::Files => return Ok(self),
            Kind::Prometheus => {
                let message = format!("{} has metrics, but no logs", self.name);
                return Err(invalid(message).hint("use metrics.query, or another source"));
            }
        };
        let message = format!("{} is {}: it needs {missing}", self.name, self.source.kind.word());
        Err(invalid(message).hint(format!("give {missing}, or app and environment that name one")))
    }
}

/// The arguments that name logs.
pub(super) fn address_arguments() -> Map<String, Value> {
    let mut arguments = Map::new();
    let mut add = |name: &str, value: Value| _ = arguments.insert(name.to_owned(), value);
    add("source", text("The name of a configured source; may be left out when only one fits"));
    add("log_group", text("The CloudWatch log group"));
    add("selector", text("The Loki selector, such as {app=\"myapp\"}"));
    add("app", text("A configured app, instead of the above"));
    add("environment", text("The app's environment; may be left out when it has only one"));
    arguments
}

/// The schema of a tool's arguments, with those that name logs.
pub(super) fn addressed(properties: Value, required: &[&str]) -> Value {
    let mut all = address_arguments();
    if let Value::Object(own) = properties {
        all.extend(own);
    }
    json!({ "type": "object", "properties": all, "required": required, "additionalProperties": false })
}

pub(super) fn invalid(message: impl Into<String>) -> ToolError {
    ToolError::new(Code::InvalidArgument, message)
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> ToolError {
    ToolError::new(Code::NotFound, format!("no {what} is called {name:?}"))
        .hint(format!("configured are: {}", listed(known)))
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ObservabilityConfig {
        serde_json::from_value(json!({
            "sources": {
                "local": { "kind": "files", "paths": ["logs/*.log"] },
                "aws": { "kind": "cloudwatch", "region": "eu-central-1" },
                "grafana": { "kind": "loki", "url": "http://loki" },
                "prom": { "kind": "prometheus", "url": "http://prom" },
            },
            "apps": { "shop": { "environments": {
                "production": { "log_group": "/shop" },
                "staging": { "selector": "{app=\"shop\"}" },
                "local": { "source": "local", "paths": ["logs/shop*.log"] },
            } } },
        }))
        .unwrap()
    }

    fn target(address: Value) -> Result<Target, ToolError> {
        config().target(&serde_json::from_value(address).unwrap())
    }

    #[test]
    fn a_call_finds_the_source_by_what_it_names() {
        let cases = [
            (json!({ "log_group": "/x" }), "aws"),
            (json!({ "selector": "{a=\"b\"}" }), "grafana"),
            (json!({}), "local"),
            (json!({ "source": "auto" }), "local"),
            (json!({ "source": "files" }), "local"),
            (json!({ "app": "shop", "environment": "production" }), "aws"),
            (json!({ "app": "shop", "environment": "staging" }), "grafana"),
            (json!({ "app": "shop", "environment": "local" }), "local"),
        ];
        for (address, expected) in cases {
            assert_eq!(target(address.clone()).unwrap().name, expected, "{address}");
        }
    }

    #[test]
    fn what_cannot_be_found_is_refused_with_what_there_is() {
        let cases = [
            (json!({ "source": "gone" }), "aws, grafana, local, prom"),
            (json!({ "app": "shop" }), "local, production, staging"),
            (json!({ "app": "shop", "environment": "test" }), "local, production, staging"),
            (json!({ "app": "gone" }), "shop"),
            (json!({ "source": "aws" }), "log_group"),
            (json!({ "source": "prom" }), "metrics.query"),
        ];
        for (address, expected) in cases {
            let hint = target(address.clone()).unwrap_err().hint.unwrap();
            assert!(hint.contains(expected), "{address}: {hint}");
        }
    }

    #[test]
    fn cloudwatch_needs_no_configuration() {
        let address = Address { log_group: Some("/x".to_owned()), ..Address::default() };
        let target = ObservabilityConfig::default().target(&address).unwrap();
        assert_eq!((target.name.as_str(), target.source.kind), ("cloudwatch", Kind::Cloudwatch));
    }

    #[test]
    fn relative_paths_start_at_the_folder() {
        let rooted = config().rooted(Path::new("/project"));
        assert_eq!(rooted.sources["local"].paths, ["/project/logs/*.log"]);
        let paths = &rooted.apps["shop"].environments["local"].paths;
        assert_eq!(*paths, ["/project/logs/shop*.log"]);
    }
}
