//! Releases, and what GitHub is told about deployments.

mod deployment;
mod release;

use super::Github;
use crate::contract::Tool;

/// The tools that work on releases and deployments.
pub(super) fn tools() -> Vec<Tool<Github>> {
    vec![
        release::create_tool(),
        release::latest_tool(),
        deployment::create_tool(),
        deployment::status_tool(),
    ]
}
