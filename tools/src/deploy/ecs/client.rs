//! Connections to ECS, one for each account and region, and what its refusals mean.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::Credentials;
use aws_sdk_ecs::config::http::HttpResponse;
use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecs::operation::RequestId;

use super::super::Deploy;
use super::super::config::{Account, Ecs};
use crate::contract::{Code, Provider, ToolError};

const NAME: &str = "aws";
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);
const THROTTLED_FOR_MS: u64 = 5000;

/// The connections made so far.
#[derive(Default)]
pub(in super::super) struct Clients(Mutex<HashMap<(String, String, String), Client>>);

/// Whether a request changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Look,
    /// Its tool finds what it did when it is called again.
    Change,
}

impl Deploy {
    /// The connection for a service.
    pub(in super::super) async fn ecs(&self, own: &Ecs) -> Result<Client, ToolError> {
        let account = Account {
            region: own.region.clone().or_else(|| self.config.ecs.region.clone()),
            profile: own.profile.clone().or_else(|| self.config.ecs.profile.clone()),
            endpoint_url: own.endpoint_url.clone().or_else(|| self.config.ecs.endpoint_url.clone()),
        };
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let key = (part(&account.region), part(&account.profile), part(&account.endpoint_url));
        if let Some(client) = self.clients.lock().get(&key) {
            return Ok(client.clone());
        }
        let client = self.connect(account).await?;
        self.clients.lock().insert(key, client.clone());
        Ok(client)
    }

    async fn connect(&self, account: Account) -> Result<Client, ToolError> {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(ANSWER).build();
        // Nothing is sent twice by the transport: most of what is sent here changes something, and the engine, which
        // knows the tool's retry class, calls again.
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        let named = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let region = account.region.clone();
        let region = region.or_else(|| named.iter().find_map(|name| self.variable(name)));
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        if let Some(profile) = account.profile.clone().or_else(|| self.variable("AWS_PROFILE")) {
            loader = loader.profile_name(profile);
        }
        if let Some(url) = &account.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(credentials) = self.credentials(&account) {
            loader = loader.credentials_provider(credentials);
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(ToolError::new(Code::FailedPrecondition, "no AWS region is known")
                .hint("set region for the environment or under [deploy.ecs], or AWS_REGION"));
        }
        Ok(Client::new(&config))
    }

    /// Those of the variables; those of a profile, a role or SSO are found by the SDK.
    fn credentials(&self, account: &Account) -> Option<Credentials> {
        let keys = (self.variable("AWS_ACCESS_KEY_ID"), self.variable("AWS_SECRET_ACCESS_KEY"));
        let (id, secret) = match keys {
            (Some(id), Some(secret)) if account.profile.is_none() => (id, secret),
            // An emulator on this machine takes any, and the search for real ones takes seconds.
            _ if account.endpoint_url.as_deref().is_some_and(is_local) => {
                ("emulator".to_owned(), "emulator".to_owned())
            }
            _ => return None,
        };
        Some(Credentials::new(id, secret, self.variable("AWS_SESSION_TOKEN"), None, "windlass"))
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.around.variable(name).map(str::to_owned)
    }
}

impl Clients {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String, String), Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_local(url: &str) -> bool {
    let host = url.strip_prefix("http://").unwrap_or_default();
    ["127.0.0.1:", "localhost:", "[::1]:"].iter().any(|local| host.starts_with(local))
}

/// What a failure of the SDK means.
pub(super) fn failure<E>(error: SdkError<E, HttpResponse>, sent: Sent) -> ToolError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let request_id = error.request_id().map(str::to_owned);
    match error {
        SdkError::ServiceError(refused) => {
            let status = refused.raw().status().as_u16();
            let name = refused.err().code().unwrap_or_default().to_owned();
            let message = refused.err().message().unwrap_or_default().to_owned();
            refusal(&name, &message, status, sent, request_id)
        }
        SdkError::TimeoutError(_) => lost("ECS did not answer in time".to_owned(), true, sent),
        SdkError::DispatchFailure(failure) => {
            let cause =
                failure.as_connector_error().map_or_else(String::new, |error| deepest(error));
            // Without a connection nothing was sent; whether there was one, only a refused one says for certain.
            let never = cause.contains("refused") || cause.contains("dns");
            lost(
                format!("ECS cannot be reached: {cause}"),
                false,
                if never { Sent::Look } else { sent },
            )
        }
        SdkError::ConstructionFailure(failure) => {
            let cause = format!("{failure:?}");
            let message = if cause.contains("redentials") {
                "there are no AWS credentials".to_owned()
            } else {
                format!("the request could not be made: {cause}")
            };
            ToolError::new(Code::Unauthenticated, message)
                .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile")
        }
        other => {
            lost(format!("ECS answered something unreadable: {}", deepest(&other)), false, sent)
        }
    }
}

fn refusal(
    name: &str,
    message: &str,
    status: u16,
    sent: Sent,
    request_id: Option<String>,
) -> ToolError {
    let code = match name {
        "ThrottlingException" | "LimitExceededException" | "TooManyRequestsException" => {
            Code::RateLimited
        }
        "AccessDeniedException" | "UnauthorizedException" => Code::PermissionDenied,
        "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidSignatureException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException" => Code::Unauthenticated,
        "ClusterNotFoundException"
        | "ServiceNotFoundException"
        | "ServiceDeploymentNotFoundException"
        | "ResourceNotFoundException" => Code::NotFound,
        "ConflictException"
        | "ServiceNotActiveException"
        | "UpdateInProgressException"
        | "ResourceInUseException" => Code::Conflict,
        "UnsupportedFeatureException"
        | "PlatformTaskDefinitionIncompatibilityException"
        | "PlatformUnknownException"
        | "BlockedException" => Code::FailedPrecondition,
        "ClientException" | "InvalidParameterException" => Code::InvalidArgument,
        _ if 500 <= status && sent == Sent::Change => Code::OutcomeUnknown,
        _ if 500 <= status => Code::Unavailable,
        _ => Code::InvalidArgument,
    };
    let mut error = ToolError::new(code, format!("ECS answered {name}: {message}"));
    error.retryable |= code == Code::OutcomeUnknown;
    error.retry_after_ms = (code == Code::RateLimited).then_some(THROTTLED_FOR_MS);
    error.hint = hint(code).map(str::to_owned);
    let reason = (name == "UnsupportedFeatureException").then_some("unsupported");
    error.provider = Some(Box::new(Provider {
        name: NAME,
        status: Some(status),
        request_id,
        documentation_url: None,
        reason,
    }));
    error
}

fn hint(code: Code) -> Option<&'static str> {
    match code {
        Code::PermissionDenied => Some("give the role the permissions that the deploy guide lists"),
        Code::Unauthenticated => Some("the AWS credentials are missing, wrong or have expired"),
        Code::NotFound => Some("check cluster, service and region"),
        _ => None,
    }
}

fn lost(message: String, timeout: bool, sent: Sent) -> ToolError {
    let code = match sent {
        Sent::Change => Code::OutcomeUnknown,
        Sent::Look if timeout => Code::DeadlineExceeded,
        Sent::Look => Code::Unavailable,
    };
    let mut error = ToolError::new(code, message);
    // Every tool here finds its own work again.
    error.retryable = true;
    error
}

fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}
