//! Tells a waiting client how an execution comes along. Nothing is said here that the answer does not say too.

use std::{collections::HashMap, time::Duration};

use rmcp::{
    Peer, RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
    service::RequestContext,
};
use tokio_util::sync::CancellationToken;

use super::{
    answer::{progress, step_has_ended},
    steps,
};
use crate::app::{Execution, StepView};

/// How long a client may take to take a progress notification.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// A client hears something at least this often while it waits; some give up on a silent server.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10);

/// The line to one waiting client.
pub(crate) struct Progress {
    peer: Peer<RoleServer>,
    /// Only who gave a token wants to hear.
    token: Option<ProgressToken>,
    told: f64,
    known: Known,
    hang_up: CancellationToken,
}

/// How each step stood when the client last heard of it.
#[derive(Default)]
struct Known {
    steps: HashMap<String, (String, u32)>,
}

impl Progress {
    /// The line to whoever sent this request.
    pub(crate) fn of(context: &RequestContext<RoleServer>) -> Progress {
        Progress {
            peer: context.peer.clone(),
            token: context.meta.get_progress_token(),
            told: 0.0,
            known: Known::default(),
            hang_up: context.ct.clone(),
        }
    }

    /// Whether anybody wants to hear of it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.token.is_some()
    }

    /// Takes for granted that the client knows all this.
    pub(crate) fn assume(&mut self, execution: &Execution) {
        self.known.learn(execution);
    }

    /// Waits until the client does not want the answer any more.
    pub(crate) async fn hung_up(&self) {
        self.hang_up.cancelled().await;
    }

    /// Tells every step that changed.
    pub(crate) async fn tell_news(&mut self, execution: &Execution) {
        let lines = self.known.learn(execution);
        self.say(execution, &lines).await;
    }

    /// Tells every step that changed, or that the execution still lives.
    pub(crate) async fn tell(&mut self, execution: &Execution) {
        let mut lines = self.known.learn(execution);
        if lines.is_empty() {
            lines.push(progress(execution).unwrap_or_else(|| execution.status.clone()));
        }
        self.say(execution, &lines).await;
    }

    async fn say(&mut self, execution: &Execution, lines: &[String]) {
        let Some(token) = self.token.clone() else { return };
        // Nobody knows how many instances and iterations there will be.
        let all = execution.steps.iter().filter(|step| !steps::is_instance(step));
        let total = all.clone().count();
        let done = all.filter(|step| step_has_ended(&step.status)).count();
        for (place, line) in lines.iter().enumerate() {
            let ahead = lines.len() - 1 - place;
            self.told = further(self.told, done.saturating_sub(ahead));
            let message = ProgressNotificationParam::new(token.clone(), self.told)
                .with_total(as_number(total))
                .with_message(line.clone());
            // A client that is gone is noticed elsewhere; one that does not read keeps nobody waiting.
            _ = tokio::time::timeout(PATIENCE, self.peer.notify_progress(message)).await;
        }
    }
}

impl Known {
    /// What is new, a line for each step; from now on it is not new any more.
    fn learn(&mut self, execution: &Execution) -> Vec<String> {
        let is_new = |step: &&StepView| {
            let now = (step.status.clone(), step.attempts);
            let before = self.steps.insert(step.name.clone(), now.clone());
            before.map_or(step.status != "pending", |before| before != now)
        };
        execution.steps.iter().filter(is_new).map(|step| steps::line(execution, step)).collect()
    }
}

/// The number of steps that are done, or half the way there: the protocol wants a number that always grows.
fn further(told: f64, done: usize) -> f64 {
    let done = as_number(done);
    if told < done { done } else { told + (told.floor() + 1.0 - told) / 2.0 }
}

fn as_number(steps: usize) -> f64 {
    u32::try_from(steps).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::{super::answer::tests::execution, *};

    #[test]
    fn progress_always_grows_and_never_gets_ahead_of_the_next_step() {
        let mut told = 0.0;
        for done in [0, 0, 0, 1, 1, 2, 2, 2, 3] {
            let next = further(told, done);
            assert!(told < next && next < as_number(done) + 1.0, "{told} {next} {done}");
            told = next;
        }
        assert!((told - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_step_is_told_when_its_status_or_attempt_changed() {
        let mut known = Known::default();
        let mut execution = execution("running");
        let begun = ["step 1/3 fetch completed", "step 2/3 create_branch running"];
        assert_eq!(known.learn(&execution), begun);
        assert_eq!(known.learn(&execution), [] as [&str; 0]);
        execution.steps[1].attempts = 2;
        execution.steps[2].status = "running".into();
        let news = ["step 2/3 create_branch running", "step 3/3 open_pr running"];
        assert_eq!(known.learn(&execution), news);
    }
}
