//! Which environment a call is about: one of the configuration, or a service of ECS by its name.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Deploy;
use super::config::{Ecs, Environment, Kind, Shared};
use super::template::Words;
use crate::contract::schema::text;
use crate::contract::{Code, ToolError};

/// Stands for the region that nobody names.
const DEFAULT_REGION: &str = "default";

/// The arguments that say where.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Address {
    app: Option<String>,
    environment: Option<String>,
    cluster: Option<String>,
    service: Option<String>,
    region: Option<String>,
    profile: Option<String>,
}

/// Where something is deployed.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// `app/environment`, or `ecs/region/cluster/service`.
    pub(super) name: String,
    pub(super) app: Option<String>,
    pub(super) environment_name: Option<String>,
    pub(super) environment: Environment,
}

/// The schemas of the arguments that say where.
pub(super) fn properties() -> Map<String, Value> {
    let mut all = application();
    let ecs = [
        ("cluster", "The ECS cluster, when it is not addressed by app and environment"),
        ("service", "The ECS service in that cluster"),
        ("region", "The AWS region of cluster and service; the configured one when left out"),
        ("profile", "The AWS profile; the configured one when left out"),
    ];
    all.extend(ecs.map(|(name, description)| (name.to_owned(), text(description))));
    all
}

/// The schemas of the arguments that name a configured application.
pub(super) fn application() -> Map<String, Value> {
    let all = [
        ("app", "The application, as the configuration names it; listTargets lists them"),
        (
            "environment",
            "The environment, such as staging; the application's default when left out",
        ),
    ];
    all.map(|(name, description)| (name.to_owned(), text(description))).into_iter().collect()
}

/// The schema of arguments: where, and what else.
pub(super) fn arguments(mut all: Map<String, Value>, own: Value, required: &[&str]) -> Value {
    if let Value::Object(own) = own {
        all.extend(own);
    }
    json!({ "type": "object", "properties": all, "required": required, "additionalProperties": false })
}

impl Address {
    /// The place with this name in the configuration.
    pub(super) fn of(app: &str, environment: Option<&str>) -> Self {
        Self {
            app: Some(app.to_owned()),
            environment: environment.map(str::to_owned),
            ..Self::default()
        }
    }

    /// Whether it says anything.
    pub(super) fn is_given(&self) -> bool {
        self.app.is_some() || self.service.is_some()
    }
}

impl Place {
    /// The placeholders that the place itself fills.
    pub(super) fn words(&self) -> Words {
        let (app, environment) = (self.app.clone(), self.environment_name.clone());
        Words { app, environment, ..Words::default() }
    }

    /// What it is called in sentences.
    pub(super) fn spoken(&self) -> String {
        match (&self.app, &self.environment_name, &self.environment.kind) {
            (Some(app), Some(environment), _) => format!("{app} in {environment}"),
            (_, _, Kind::Ecs(ecs)) => format!("service {} in cluster {}", ecs.service, ecs.cluster),
            _ => self.name.clone(),
        }
    }

    /// Its service, when it is one of ECS.
    pub(super) fn ecs(&self) -> Result<&Ecs, ToolError> {
        match &self.environment.kind {
            Kind::Ecs(ecs) => Ok(ecs),
            other => {
                let message = format!("{} is of kind {:?}", self.spoken(), other.word());
                Err(unsupported(message).hint("this needs an environment of kind \"ecs\""))
            }
        }
    }
}

impl Deploy {
    /// The place that a call is about.
    pub(super) fn place(&self, address: &Address) -> Result<Place, ToolError> {
        match (&address.app, &address.cluster, &address.service) {
            (Some(app), None, None) => self.configured(app, address.environment.as_deref()),
            (None, Some(cluster), Some(service)) => Ok(self.service(cluster, service, address)),
            (Some(_), _, _) => {
                Err(invalid("app is given together with cluster or service".to_owned())
                    .hint("give app and environment, or cluster and service"))
            }
            (None, _, _) => Err(invalid("it is not said where".to_owned()).hint(format!(
                "give app and environment, or cluster and service of ECS. {}",
                self.known()
            ))),
        }
    }

    /// The place of a deployment's id.
    pub(super) fn place_of(&self, deployment_id: &str) -> Result<Place, ToolError> {
        if let Some(place) = self.service_of_arn(deployment_id) {
            return Ok(place);
        }
        let parts: Vec<_> = deployment_id.splitn(5, '/').collect();
        if let ["ecs", region, cluster, service, _] = parts.as_slice() {
            let region = Some((*region).to_owned()).filter(|region| region != DEFAULT_REGION);
            return Ok(self.service(cluster, service, &Address { region, ..Address::default() }));
        }
        let mut parts = deployment_id.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(app), Some(environment), Some(_)) => self.configured(app, Some(environment)),
            _ => Err(invalid(format!("{deployment_id:?} is not the id of a deployment"))
                .hint("give deployment_id as deploy or listDeployments answered it")),
        }
    }

    /// Every configured place.
    pub(super) fn places(&self) -> Vec<Place> {
        let targets = self.config.targets.iter();
        let pairs = targets.flat_map(|(app, target)| {
            target.environments.keys().map(move |environment| (app, environment))
        });
        pairs
            .filter_map(|(app, environment)| self.configured(app, Some(environment)).ok())
            .collect()
    }

    fn configured(&self, app: &str, environment: Option<&str>) -> Result<Place, ToolError> {
        let target = self.config.targets.get(app).ok_or_else(|| {
            not_found(format!("no application is called {app:?}")).hint(self.known())
        })?;
        let names = || target.environments.keys().cloned().collect::<Vec<_>>().join(", ");
        let only = || {
            let mut names = target.environments.keys();
            names.next().filter(|_| names.next().is_none()).map(String::as_str)
        };
        let name = environment.or(target.default_environment.as_deref()).or_else(only).ok_or_else(
            || {
                invalid(format!("{app} has several environments and none is the default"))
                    .hint(format!("give environment: {}", names()))
            },
        )?;
        let environment = target.environments.get(name).ok_or_else(|| {
            not_found(format!("{app} has no environment {name:?}"))
                .hint(format!("it has: {}", names()))
        })?;
        Ok(Place {
            name: format!("{app}/{name}"),
            app: Some(app.to_owned()),
            environment_name: Some(name.to_owned()),
            environment: environment.clone(),
        })
    }

    /// A service by its name: the configured environment that it is, or one for this call.
    fn service(&self, cluster: &str, service: &str, address: &Address) -> Place {
        let (region, profile) = (address.region.as_deref(), address.profile.as_deref());
        let account = &self.config.ecs;
        let is_it = |place: &Place| match &place.environment.kind {
            Kind::Ecs(ecs) => {
                let own_region = ecs.region.as_deref().or(account.region.as_deref());
                let own_region = own_region.or_else(|| self.region_around());
                let own_profile = ecs.profile.as_deref().or(account.profile.as_deref());
                short(&ecs.cluster) == short(cluster)
                    && short(&ecs.service) == short(service)
                    && region.is_none_or(|region| own_region == Some(region))
                    && profile.is_none_or(|profile| own_profile == Some(profile))
            }
            _ => false,
        };
        if let Some(place) = self.places().into_iter().find(is_it) {
            return place;
        }
        let ecs = Ecs {
            region: region.map(str::to_owned).or_else(|| account.region.clone()),
            profile: address.profile.clone().or_else(|| account.profile.clone()),
            endpoint_url: account.endpoint_url.clone(),
            cluster: cluster.to_owned(),
            service: service.to_owned(),
            ..Ecs::default()
        };
        let region = ecs.region.as_deref().unwrap_or(DEFAULT_REGION);
        Place {
            name: format!("ecs/{region}/{}/{}", short(cluster), short(service)),
            app: None,
            environment_name: None,
            environment: Environment { shared: Shared::default(), kind: Kind::Ecs(ecs) },
        }
    }

    /// The region that holds where no setting says one.
    fn region_around(&self) -> Option<&str> {
        ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| self.around.variable(name))
    }

    /// `arn:aws:ecs:REGION:ACCOUNT:service-deployment/CLUSTER/SERVICE/ID`, or a service's or task's.
    pub(super) fn service_of_arn(&self, arn: &str) -> Option<Place> {
        let mut parts = arn.strip_prefix("arn:")?.splitn(5, ':');
        let (_, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let mut path = parts.nth(1).filter(|_| service == "ecs")?.split('/').skip(1);
        let (cluster, service) = (path.next()?, path.next()?);
        let region = Some(region.to_owned()).filter(|region| !region.is_empty());
        let address = Address { region, ..Address::default() };
        Some(self.service(cluster, service, &address))
    }

    fn known(&self) -> String {
        let names: Vec<_> = self.config.targets.keys().cloned().collect();
        if names.is_empty() {
            return "no applications are configured: add [deploy.targets.NAME]".to_owned();
        }
        format!("the applications are: {}", names.join(", "))
    }
}

/// The name at the end of an ARN, or the name itself.
pub(super) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

pub(super) fn invalid(message: String) -> ToolError {
    ToolError::new(Code::InvalidArgument, message)
}

pub(super) fn not_found(message: String) -> ToolError {
    ToolError::new(Code::NotFound, message)
}

/// What this kind of environment cannot do.
pub(super) fn unsupported(message: String) -> ToolError {
    super::refused(Code::FailedPrecondition, "unsupported", message)
}
