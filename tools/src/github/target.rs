//! Which repository a call is about, and whether it may be touched.

use serde::Deserialize;

use super::client::Repository;
use super::names::{fits, is_plain_name};
use super::{Github, GithubConfig};
use crate::contract::{Call, Code, ToolError};

/// The arguments that say where a tool works.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    owner: Option<String>,
    repo: Option<String>,
}

impl Github {
    /// Opens the repository that a call is about.
    pub(super) async fn open(&self, call: &Call, target: &Target) -> Result<Repository, ToolError> {
        let (owner, name) = names(target, &self.config)?;
        check_allowed(&format!("{owner}/{name}"), &self.config)?;
        let session = self.access.session(&owner, &name).await?;
        Ok(Repository { session, owner, name, retry_safe: call.retry_safe })
    }
}

impl Target {
    /// The owner and the name of the repository.
    pub(super) fn names(&self, config: &GithubConfig) -> Result<(String, String), ToolError> {
        names(self, config)
    }
}

fn names(target: &Target, config: &GithubConfig) -> Result<(String, String), ToolError> {
    let repo = target.repo.as_ref().or(config.default_repo.as_ref());
    let repo = repo.ok_or_else(|| missing("repo", "give repo as \"owner/name\""))?;
    let (owner, name) = match repo.split_once('/') {
        Some((owner, name)) => (Some(owner), name),
        None => (None, repo.as_str()),
    };
    let given = target.owner.as_deref();
    if let (Some(given), Some(owner)) = (given, owner)
        && !given.eq_ignore_ascii_case(owner)
    {
        let message = format!("owner is {given:?} but repo is {repo:?}");
        return Err(invalid(message).hint("give the owner once"));
    }
    let owner = given.or(owner).or(config.default_owner.as_deref());
    let owner = owner.ok_or_else(|| missing("owner", "give owner, or repo as \"owner/name\""))?;
    if !is_plain_name(owner) || !is_plain_name(name) {
        return Err(invalid(format!("{owner}/{name} cannot be a repository"))
            .hint("give repo as \"owner/name\""));
    }
    Ok((owner.to_owned(), name.to_owned()))
}

/// Refuses a repository that the configuration does not list.
pub(super) fn check_allowed(full_name: &str, config: &GithubConfig) -> Result<(), ToolError> {
    if config.repos.is_empty() || config.repos.iter().any(|glob| fits(glob, full_name)) {
        return Ok(());
    }
    let message = format!("{full_name} is not among the repositories that this server may touch");
    let allowed = config.repos.join(", ");
    Err(ToolError::new(Code::Guardrail, message)
        .hint(format!("allowed: {allowed}; change `repos` of the github server to allow more")))
}

fn missing(argument: &str, hint: &str) -> ToolError {
    invalid(format!("{argument} is missing and the server has no default for it")).hint(hint)
}

fn invalid(message: String) -> ToolError {
    ToolError::new(Code::InvalidArgument, message)
}
