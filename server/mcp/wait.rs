//! Waiting for an execution on a caller's behalf.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Mcp,
    answer::has_ended,
    progress::{HEARTBEAT, Progress},
};
use crate::app::{self, Detail, Execution};

/// No call waits longer: some clients give up after a minute, whatever they are told.
pub(crate) const MAX_SECONDS: u64 = 50;

/// What a call waits for.
pub(crate) struct Wait {
    /// A version that the caller knows: only what is newer counts.
    pub(crate) since: i64,
    /// How long to wait.
    pub(crate) patience: Duration,
    /// What to fetch.
    pub(crate) detail: Detail,
}

/// Waits until the execution has changed and has ended or needs somebody, or the patience is over, or nobody listens any
/// more. Steps that merely follow one another are told as progress: an agent that polls would pay for each answer.
///
/// # Errors
/// When there is no such execution.
pub(crate) async fn until_settled(
    mcp: &Mcp,
    progress: &mut Progress,
    mut execution: Execution,
    wait: Wait,
) -> Result<Execution, app::Error> {
    let deadline = Instant::now() + wait.patience;
    // When too many wait already, an answer at once beats one that never comes.
    let Ok(_place) = mcp.waits().try_acquire() else { return Ok(execution) };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_news = wait.since < execution.version && is_settled(&execution);
        if left.is_zero() || is_news || has_ended(&execution.status) {
            return Ok(execution);
        }
        let known = execution.version.max(wait.since);
        let (app, id) = (mcp.app(), execution.execution_id.as_str());
        let newer = async {
            if progress.is_wanted() {
                app.changed(id, known, left.min(HEARTBEAT), wait.detail).await
            } else {
                app.settled(id, wait.since, left, wait.detail).await
            }
        };
        let newer = tokio::select! {
            newer = newer => newer,
            () = progress.hung_up() => return Ok(execution),
            () = mcp.closing().cancelled() => return Ok(execution),
        };
        let newer = match newer {
            // It goes on all the same, and whoever started it must hear of its id.
            Err(error) if error.is_passing() => {
                tracing::warn!("the database was away while somebody waited for {id}: {error}");
                execution.clone()
            }
            newer => newer?,
        };
        if has_ended(&newer.status) {
            // The answer says that it has ended, and comes now.
            progress.tell_news(&newer).await;
        } else {
            progress.tell(&newer).await;
        }
        execution = newer;
    }
}

/// Whether there is something to do for somebody other than the worker.
fn is_settled(execution: &Execution) -> bool {
    has_ended(&execution.status) || execution.rests()
}

#[cfg(test)]
mod tests {
    use super::{super::answer::tests::execution, *};

    #[test]
    fn an_execution_is_settled_when_nothing_happens_without_somebody() {
        for (status, waiting_for, settled) in [
            ("pending", None, false),
            ("running", None, false),
            ("running", Some("execution exec_2 waits"), true),
            ("waiting", None, false),
            ("waiting", Some("an approval"), true),
            ("paused", None, true),
            ("completed", None, true),
            ("failed", None, true),
            ("cancelled", None, true),
        ] {
            let mut execution = execution(status);
            execution.waiting_for = waiting_for.map(str::to_owned);
            assert_eq!(is_settled(&execution), settled, "{status}");
        }
    }
}
