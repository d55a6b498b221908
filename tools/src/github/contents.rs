//! Repositories: what they are, their branches, files and commits.

mod branches;
mod commit_file_changes;
mod commits;
mod compare;
mod create_branch;
mod delete_branch;
mod get_file;
mod get_repository;
mod tree;

use super::Github;
use crate::contract::Tool;

/// The tools that work on what a repository holds.
pub(super) fn tools() -> Vec<Tool<Github>> {
    vec![
        get_repository::tool(),
        branches::get_tool(),
        branches::list_tool(),
        create_branch::tool(),
        delete_branch::tool(),
        get_file::tool(),
        tree::tool(),
        commit_file_changes::tool(),
        commits::get_tool(),
        commits::list_tool(),
        compare::tool(),
    ]
}
