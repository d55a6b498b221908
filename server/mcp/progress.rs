//! Tells a waiting client how an execution comes along. Nothing is said here that the answer does not say too.

use std::time::Duration;

use rmcp::{
    Peer, RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
    service::RequestContext,
};
use tokio_util::sync::CancellationToken;

use super::answer::{progress, step_has_ended, step_line};
use crate::app::{Execution, StepView};

/// A client hears something at least this often while it waits; some give up on a silent server.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10);

/// The line to one waiting client.
pub(crate) struct Progress {
    peer: Peer<RoleServer>,
    /// Only who gave a token wants to hear.
    token: Option<ProgressToken>,
    told: f64,
    hang_up: CancellationToken,
}

impl Progress {
    /// The line to whoever sent this request.
    pub(crate) fn of(context: &RequestContext<RoleServer>) -> Progress {
        Progress {
            peer: context.peer.clone(),
            token: context.meta.get_progress_token(),
            told: 0.0,
            hang_up: context.ct.clone(),
        }
    }

    /// Waits until the client does not want the answer any more.
    pub(crate) async fn hung_up(&self) {
        self.hang_up.cancelled().await;
    }

    /// Tells every step that changed, or that the execution still lives.
    pub(crate) async fn tell(&mut self, before: &Execution, now: &Execution) {
        let Some(token) = self.token.clone() else { return };
        let mut lines: Vec<_> =
            changed_steps(before, now).map(|step| step_line(now, step)).collect();
        if lines.is_empty() {
            lines.push(progress(now).unwrap_or_else(|| now.status.clone()));
        }
        let done = now.steps.iter().filter(|step| step_has_ended(&step.status)).count();
        for (place, line) in lines.iter().enumerate() {
            let ahead = lines.len() - 1 - place;
            self.told = further(self.told, done.saturating_sub(ahead));
            let message = ProgressNotificationParam::new(token.clone(), self.told)
                .with_total(steps_as_number(now.steps.len()))
                .with_message(line.clone());
            // A client that is gone is noticed elsewhere.
            _ = self.peer.notify_progress(message).await;
        }
    }
}

fn changed_steps<'a>(
    before: &'a Execution,
    now: &'a Execution,
) -> impl Iterator<Item = &'a StepView> {
    now.steps.iter().filter(|step| {
        let known = before.steps.iter().find(|known| known.name == step.name);
        known.is_none_or(|known| known.status != step.status || known.attempts != step.attempts)
    })
}

/// The number of steps that are done, or half the way there: the protocol wants a number that always grows.
fn further(told: f64, done: usize) -> f64 {
    let done = steps_as_number(done);
    if told < done { done } else { told + (told.floor() + 1.0 - told) / 2.0 }
}

fn steps_as_number(steps: usize) -> f64 {
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
            assert!(told < next && next < steps_as_number(done) + 1.0, "{told} {next} {done}");
            told = next;
        }
        assert!((told - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_step_is_told_when_its_status_or_attempt_changed() {
        let mut before = execution("running");
        before.steps[0].status = "running".into();
        let mut now = before.clone();
        assert_eq!(changed_steps(&before, &now).count(), 0);
        now.steps[0].status = "completed".into();
        now.steps[1].attempts = 2;
        let names: Vec<_> =
            changed_steps(&before, &now).map(|step| step_line(&now, step)).collect();
        assert_eq!(names, ["step 1/3 fetch completed", "step 2/3 create_branch running"]);
    }
}
