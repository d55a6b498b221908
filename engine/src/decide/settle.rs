//! What becomes of attempts that are over, and of results that are there.

use std::sync::Arc;

use serde_json::Value;

use super::{Call, Command, Decider, expression_error, failed, last_error};
use crate::{
    OnUncertain, Retry,
    event::{Again, Event, StepError},
    retry,
    state::{Outcome, Role, Scope, StepState},
};

/// How often the call that finds out about another one is tried.
const FINDING_OUT: u32 = 2;

impl Decider<'_> {
    /// Decides about everything that waits for it. Where a list goes no further only results count.
    pub(super) fn settle(&self) -> Vec<Command> {
        let unsettled = self.state.unsettled.iter().copied();
        let settled = unsettled.filter_map(|id| self.settled(id));
        // What finds out about a call is a call, and must not keep everything else waiting.
        settled.filter(|command| !self.waits_for_permit(command)).collect()
    }

    fn waits_for_permit(&self, command: &Command) -> bool {
        let Command::CallTool(call) = command else { return false };
        self.state.is_exhausted(&call.step, &call.tool)
    }

    fn settled(&self, id: usize) -> Option<Command> {
        let standing = self.state.record(id);
        if let Some(Outcome::Delivered(output, by_call)) = &standing.outcome {
            return Some(self.delivered(id, output, *by_call));
        }
        if self.is_stopping(id) {
            if standing.lost == Some(false) && matches!(standing.finding, Some(Ok(_))) {
                // It was asked before: what is known to have happened is no doubt, and can be undone.
                return Some(self.find_out(id, last_error(standing)));
            }
            // Unless it is the finding about another: that one decides then.
            let finds = matches!(standing.role, Role::Verify(_));
            return finds.then(|| failed(&standing.path, last_error(standing)));
        }
        Some(match &standing.outcome {
            Some(Outcome::Refused(error)) => failed(&standing.path, error.clone()),
            _ => self.verdict(id),
        })
    }

    fn delivered(&self, id: usize, output: &Arc<Value>, by_call: bool) -> Command {
        let path = &self.state.record(id).path;
        match self.expectation(id, output) {
            Ok(()) => {
                let output = (!by_call).then(|| Value::clone(output));
                Command::Record(Event::StepCompleted { step: path.to_string(), output })
            }
            Err(error) if by_call => {
                Command::Record(Event::AttemptFailed { step: path.to_string(), error })
            }
            Err(error) => failed(path, error),
        }
    }

    /// Completes a step that calls nothing, if what it expects of its result holds.
    pub(super) fn completed(&self, id: usize, output: Value) -> Command {
        let path = &self.state.record(id).path;
        match self.expectation(id, &output) {
            Ok(()) => Command::Record(Event::StepCompleted {
                step: path.to_string(),
                output: Some(output),
            }),
            Err(error) => failed(path, error),
        }
    }

    fn expectation(&self, id: usize, output: &Value) -> Result<(), StepError> {
        let definition = self.step(id);
        // What is expected of a `forEach` is expected of each of its instances.
        let is_list = definition.for_each.is_some() && self.state.record(id).role == Role::Step;
        let Some(expect) = definition.expect.as_ref().filter(|_| !is_list) else { return Ok(()) };
        if self.state.is_satisfied(self.state.record(id).definition) {
            return Ok(());
        }
        let inner = self.state.record(id).inner;
        let scope = Scope { result: Some(output), ..self.scope(id) };
        let scope = Scope { frame: inner.unwrap_or(scope.frame), ..scope };
        match expect.evaluate(&self.state.names(self.workflow, scope)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(StepError {
                code: "expectation_failed".to_owned(),
                message: "what `expect` says does not hold of the result".to_owned(),
                retryable: None,
                retry_after_ms: None,
            }),
            Err(err) => Err(expression_error("expect", &err)),
        }
    }

    fn verdict(&self, id: usize) -> Command {
        let standing = self.state.record(id);
        let step = standing.path.to_string();
        let error = last_error(standing);
        if standing.overdue {
            return failed(&step, self.out_of_time(id));
        }
        if let Some(lost) = standing.lost {
            if !lost && !self.is_harmless(id) {
                return self.doubt(id, error);
            }
            if retry::MAX_REPEATS <= standing.repeats {
                return failed(&step, never_answered(standing, error));
            }
            let delay = retry::repeat_delay_ms(standing.repeats, &error);
            return self.again(id, Again::SameAttempt, delay, error);
        }
        if let Some(wait) = self.rate_limit_ms(standing, &error) {
            return self.again(id, Again::RateLimited, wait, error);
        }
        let retry = self.retry(id);
        if !retry::allows(&retry, standing.attempts, &error) {
            return failed(&step, error);
        }
        let key = self.idempotency_key(id);
        let delay = retry::delay_ms(&retry, standing.attempts, &error, &key);
        self.again(id, Again::NextAttempt, delay, error)
    }

    fn retry(&self, id: usize) -> Retry {
        match self.state.record(id).role {
            Role::Verify(_) => Retry::plain(FINDING_OUT),
            Role::Step | Role::Instance(_) | Role::Undo => self.step(id).retry.clone(),
        }
    }

    fn again(&self, id: usize, again: Again, delay: u64, error: StepError) -> Command {
        let standing = self.state.record(id);
        let at = self.now.saturating_add_unsigned(delay);
        if self.step_deadline(id).is_some_and(|deadline| deadline <= at) {
            return failed(&standing.path, error);
        }
        Command::Record(Event::CallScheduled { step: standing.path.to_string(), again, at })
    }

    /// Whether the author says that calling again is harmless.
    pub(super) fn is_harmless(&self, id: usize) -> bool {
        let is_step = matches!(self.state.record(id).role, Role::Step | Role::Instance(_));
        is_step && self.step(id).on_uncertain == OnUncertain::Retry
    }

    /// A call may have happened, and must not be repeated.
    fn doubt(&self, id: usize, error: StepError) -> Command {
        let standing = self.state.record(id);
        let uncertain = |message: String| StepError {
            code: "uncertain".to_owned(),
            message,
            retryable: Some(false),
            retry_after_ms: None,
        };
        let happened = format!("{}; the call may or may not have happened", error.message);
        match (standing.role, self.step(id).on_uncertain) {
            (Role::Verify(_) | Role::Undo, _) | (_, OnUncertain::Fail) => {
                failed(&standing.path, uncertain(happened))
            }
            (_, OnUncertain::Verify) => self.find_out(id, error),
            (_, OnUncertain::Ask | OnUncertain::Retry) => self.ask_a_person(id, error),
        }
    }

    fn ask_a_person(&self, id: usize, error: StepError) -> Command {
        let step = self.state.record(id).path.to_string();
        Command::Record(Event::StepUncertain { step, error })
    }

    fn find_out(&self, id: usize, error: StepError) -> Command {
        let standing = self.state.record(id);
        match &standing.finding {
            None => self.call_to_find_out(id).unwrap_or_else(|why| self.unknown(id, error, &why)),
            Some(Err(why)) => self.unknown(id, error, why),
            Some(Ok(found)) => match self.says_it_happened(id, found) {
                Ok(happened) => Command::Record(Event::StepVerified {
                    step: standing.path.to_string(),
                    output: happened.then(|| Value::clone(found)),
                    happened,
                }),
                Err(why) => self.unknown(id, error, &why),
            },
        }
    }

    fn unknown(&self, id: usize, error: StepError, why: &StepError) -> Command {
        let message = format!(
            "{}; whether it happened could not be verified: {}",
            error.message, why.message
        );
        self.ask_a_person(id, StepError { message, ..error })
    }

    fn says_it_happened(&self, id: usize, found: &Value) -> Result<bool, StepError> {
        let scope = Scope { result: Some(found), ..self.scope(id) };
        let names = self.state.names(self.workflow, scope);
        let Some(verify) = &self.step(id).verify else { return Ok(false) };
        verify.expect.evaluate(&names).map_err(|err| expression_error("verify.expect", &err))
    }

    fn call_to_find_out(&self, id: usize) -> Result<Command, StepError> {
        let standing = self.state.record(id);
        let missing = || StepError::permanent("expression", "the step has no `verify`");
        let verify = self.step(id).verify.as_ref().ok_or_else(missing)?;
        let names = self.state.names(self.workflow, self.scope(id));
        let evaluated = verify.params.evaluate_params(&names);
        let (params, secrets) = evaluated.map_err(|err| expression_error("verify.params", &err))?;
        let step = format!("{}.verify", standing.path);
        Ok(Command::CallTool(Call {
            idempotency_key: format!(
                "{}/{step}#0~{}.{}",
                self.execution_id, standing.generation, standing.calls
            ),
            step,
            attempt: 1,
            call: 1,
            tool: verify.tool.clone(),
            params: Arc::new(params),
            secrets,
            approval: None,
            is_repeatable: true,
            first_started_at: self.now,
            deadline: None,
        }))
    }
}

/// Nobody should take the last error for the whole story.
fn never_answered(standing: &StepState, error: StepError) -> StepError {
    let times = standing.calls;
    let message = format!(
        "{} (the call went out {times} times and was never answered; it may have happened)",
        error.message
    );
    StepError { message, ..error }
}
