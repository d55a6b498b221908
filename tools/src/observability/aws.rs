//! The way to AWS: one configuration for each account and region, and failures in the tools' words.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
#[cfg(not(feature = "cloudwatch-logs"))]
use aws_sdk_cloudwatch::{
    config::Credentials,
    error::{ProvideErrorMetadata, SdkError},
};
#[cfg(feature = "cloudwatch-logs")]
use aws_sdk_cloudwatchlogs::{
    config::Credentials,
    error::{ProvideErrorMetadata, SdkError},
};
use tokio::sync::Mutex;

use super::Observability;
use super::patterns::cut;
use super::settings::Source;
use crate::contract::{Code, Provider, ToolError};

const TIMEOUT: Duration = Duration::from_secs(10);
const SHOWN: usize = 300;

/// Configurations that were made already: finding credentials takes time.
#[derive(Default)]
pub(super) struct Accounts(Mutex<BTreeMap<Place, SdkConfig>>);

/// A region and an address, as far as they are said.
type Place = (Option<String>, Option<String>);

/// The configuration for a source.
pub(super) async fn account(state: &Observability, source: &Source) -> SdkConfig {
    let key = (source.region.clone(), source.endpoint_url.clone());
    let mut accounts = state.aws.0.lock().await;
    if let Some(account) = accounts.get(&key) {
        return account.clone();
    }
    let account = load(state, source).await;
    accounts.insert(key, account.clone());
    account
}

async fn load(state: &Observability, source: &Source) -> SdkConfig {
    let variable = |name: &str| state.variables.get(name).cloned();
    // Trying again belongs to Windlass, which remembers that it did.
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build());
    let region = source.region.clone().or_else(|| variable("AWS_REGION"));
    if let Some(region) = region.or_else(|| variable("AWS_DEFAULT_REGION")) {
        loader = loader.region(Region::new(region));
    }
    if let Some(url) = &source.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    let keys = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
    if let (Some(id), Some(secret)) = keys {
        let token = variable("AWS_SESSION_TOKEN");
        loader =
            loader.credentials_provider(Credentials::new(id, secret, token, None, "environment"));
    }
    loader.load().await
}

/// A failure of AWS.
pub(super) fn failure<E, R>(what: &str, error: &SdkError<E, R>) -> ToolError
where
    E: ProvideErrorMetadata,
{
    let said = error.as_service_error().map(ProvideErrorMetadata::meta);
    let name = said.and_then(|said| said.code()).unwrap_or_default();
    let text = said.and_then(|said| said.message()).unwrap_or_default();
    let (code, text) = match error {
        SdkError::TimeoutError(_) => (Code::DeadlineExceeded, "AWS took too long".to_owned()),
        SdkError::ServiceError(_) => (code(name), cut(&format!("{name}: {text}"), SHOWN)),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            (Code::DeadlineExceeded, "AWS took too long".to_owned())
        }
        SdkError::DispatchFailure(failure) if failure.is_user() || failure.is_other() => {
            (Code::Unauthenticated, "there are no credentials that work for AWS".to_owned())
        }
        _ => (Code::Unavailable, "AWS cannot be reached".to_owned()),
    };
    let error = ToolError::new(code, format!("{what}: {text}"));
    let error = match code {
        Code::Unauthenticated => error.hint("set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        Code::PermissionDenied => error.hint("the tools need logs:FilterLogEvents, logs:DescribeLogGroups, cloudwatch:GetMetricData and cloudwatch:DescribeAlarms"),
        _ => error,
    };
    let provider = Provider {
        name: "aws",
        status: None,
        request_id: said.and_then(|said| said.extra("aws_request_id")).map(str::to_owned),
        documentation_url: None,
        reason: None,
    };
    ToolError { provider: Some(Box::new(provider)), ..error }
}

fn code(name: &str) -> Code {
    match name {
        "ResourceNotFoundException" | "ResourceNotFound" => Code::NotFound,
        name if name.starts_with("AccessDenied") => Code::PermissionDenied,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "ExpiredToken"
        | "ExpiredTokenException" => Code::Unauthenticated,
        name if name.starts_with("Throttling") || name.starts_with("LimitExceeded") => {
            Code::RateLimited
        }
        "TooManyRequestsException" => Code::RateLimited,
        name if name.starts_with("InvalidParameter") || name.starts_with("Validation") => {
            Code::InvalidArgument
        }
        "MalformedQueryException" | "InvalidNextToken" | "MissingRequiredParameterException" => {
            Code::InvalidArgument
        }
        _ => Code::Unavailable,
    }
}
