//! Runs that do not look their workflow up: how it stood the last time is compared when the execution is written.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{App, Caller, Error, Execution, RunRequest, start::Premise};
use crate::store::WorkflowRow;

/// How many workflows are remembered; more than a project has.
const MOST: usize = 1_024;

/// What the database had to say of workflows when they were last looked up: a row, or that there is none.
#[derive(Default)]
pub(super) struct Standings {
    rows: Mutex<HashMap<String, Option<WorkflowRow>>>,
}

impl Standings {
    /// Keeps what was found. What came in by SQL has to be looked at before it runs, and is not kept.
    pub(super) fn keep(&self, workflow: &str, row: Option<WorkflowRow>) {
        let mut rows = self.rows();
        if row.as_ref().is_some_and(|row| row.sql_definition.is_some()) {
            rows.remove(workflow);
            return;
        }
        if MOST <= rows.len() {
            rows.clear();
        }
        rows.insert(workflow.to_owned(), row);
    }

    fn get(&self, workflow: &str) -> Option<Option<WorkflowRow>> {
        self.rows().get(workflow).cloned()
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<String, Option<WorkflowRow>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Starts an execution of a workflow as it was the last time somebody looked. `None` when it is not known, is another
    /// one by now, or does not let itself be started: nothing was written then, and only who looks it up can say why.
    ///
    /// # Errors
    /// What goes wrong once the execution is there.
    pub(super) async fn run_as_known(
        &self,
        caller: &Caller,
        request: &RunRequest,
    ) -> Result<Option<Execution>, Error> {
        // A key or a plan is looked up anyway.
        if request.idempotency_key.is_some() || request.plan.is_some() {
            return Ok(None);
        }
        let Some(row) = self.inner.standings.get(&request.workflow) else { return Ok(None) };
        let standing = WorkflowRow::standing(row.as_ref());
        let Ok(Some(entry)) = self.entry(&request.workflow, row).await else { return Ok(None) };
        // The workflows that it runs would have to be compared, too.
        let is_alone = |workflow: &windlass_engine::Workflow| workflow.children().next().is_none();
        if !entry.enabled || !entry.read.as_ref().is_ok_and(|workflow| is_alone(workflow)) {
            return Ok(None);
        }
        let premise = Premise { standing: Some(standing), ..Premise::default() };
        self.start_from(caller, &entry, request.clone(), premise).await
    }
}
