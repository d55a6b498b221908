//! The `deploy` tool server: brings versions of applications to environments, waits for them, and takes them back.

mod change;
mod command;
mod config;
mod driver;
#[cfg(feature = "ecs")]
mod ecs;
mod follow;
mod github_workflow;
mod http;
mod locks;
mod mock;
mod place;
mod process;
mod record;
mod rollback;
mod services;
mod shapes;
mod targets;
mod template;
mod webhook;

use std::fmt;
use std::sync::Arc;

use rmcp::ServerHandler;

use crate::contract::now;
use crate::contract::{
    Code, Forgetful, Host, Provider, Server, Surroundings, Tool, ToolError, no_host,
};

pub use self::config::{
    Account, BlueGreen, Canary, Command, DeployConfig, Ecs, Environment, GithubWorkflow, Health,
    Kind, Linear, Mock, Shared, Strategy, Target, Webhook,
};

const NAME: &str = "deploy";

/// What the tools share.
struct Deploy {
    config: DeployConfig,
    around: Surroundings,
    /// Where deployments and locks are remembered; forgotten with the process where there is no program around.
    host: Arc<dyn Host>,
    #[cfg(feature = "ecs")]
    clients: ecs::Clients,
}

impl fmt::Debug for Deploy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deploy").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The `deploy` tool server.
pub fn deploy(config: DeployConfig, around: &Surroundings) -> impl ServerHandler + Clone + use<> {
    let instructions = "Deploys applications to configured environments, and services of Amazon ECS. listTargets says \
                        where one can deploy, plan what would change. deploy answers at once; waitForDeployment says \
                        how it ended: only success = true is success. A deployment that awaits an action goes on with \
                        continueDeployment.";
    let (read_only, production) = (config.read_only, config.has_production());
    let secrets = secrets(&config, around);
    let host = around.host.clone().unwrap_or_else(|| Arc::new(Forgetful::default()));
    let state = Deploy {
        config,
        around: around.clone(),
        host,
        #[cfg(feature = "ecs")]
        clients: ecs::Clients::default(),
    };
    let server = Server::new(NAME, instructions, state, tools(production))
        .redacting(secrets)
        .hosted(around.host.clone());
    if read_only { server.read_only() } else { server }
}

fn tools(production: bool) -> Vec<Tool<Deploy>> {
    let mut tools = change::tools(production);
    tools.extend(rollback::tools());
    tools.extend(follow::tools());
    tools.extend(targets::tools());
    tools.extend(services::tools(production));
    #[cfg(feature = "ecs")]
    tools.extend(ecs::tools(production));
    tools.extend(locks::tools());
    tools
}

/// The values of all variables that may hold a secret.
fn secrets(config: &DeployConfig, around: &Surroundings) -> Vec<String> {
    let names = config.variables().into_iter().filter(|name| holds_secret(name));
    names.filter_map(|name| around.variable(&name).map(str::to_owned)).collect()
}

fn holds_secret(name: &str) -> bool {
    const PLAIN: [&str; 5] = ["PATH", "HOME", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"];
    !PLAIN.contains(&name)
}

/// A failure with a word for the particular case.
fn refused(code: Code, reason: &'static str, message: String) -> ToolError {
    let mut error = ToolError::new(code, message);
    error.provider = Some(Box::new(Provider {
        name: NAME,
        status: None,
        request_id: None,
        documentation_url: None,
        reason: Some(reason),
    }));
    error
}

/// Refuses what makes no sense where nothing is remembered.
fn hosted(deploy: &Deploy, what: &str) -> Result<(), ToolError> {
    if deploy.around.host.is_some() { Ok(()) } else { Err(no_host(what)) }
}
