//! Tools for GitHub Actions, and for what is said about commits and people: checks, statuses, permissions.

mod checks;
mod commit_status;
mod dispatch;
mod job_logs;
mod jobs;
mod log_text;
mod permission;
mod raw;
mod rerun;
mod runs;
mod trigger;

use super::{Github, GithubConfig};
use crate::contract::Tool;

/// Every tool of this family.
pub(super) fn tools(config: &GithubConfig) -> Vec<Tool<Github>> {
    vec![
        trigger::tool(),
        runs::get_tool(),
        runs::list_tool(),
        runs::wait_tool(),
        jobs::tool(),
        job_logs::tool(),
        rerun::rerun_tool(),
        rerun::cancel_tool(),
        checks::tool(),
        commit_status::tool(),
        permission::tool(),
        dispatch::tool(),
        raw::tool(config.allow_raw_write && !config.read_only),
    ]
}
