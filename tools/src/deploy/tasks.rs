//! runTask, waitForTask, getTask and stopTask: one-off tasks on ECS.

use super::Deploy;
use crate::contract::Tool;

pub(super) fn tools() -> Vec<Tool<Deploy>> {
    Vec::new()
}
