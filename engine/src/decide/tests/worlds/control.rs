//! What people do to an execution of a random world: they pause it, have it go on, skip steps, say what came of them,
//! and have it retried when it failed.

use super::{Chance, Event, Resolution, Status, StepStatus, Value, World, is_phase, json};

/// How often one execution is retried at most.
const MOST_RETRIES: usize = 4;

impl World {
    /// A word of a person who has the execution in hand.
    pub(super) fn by_hand(&mut self, chance: &mut Chance) -> Option<Event> {
        let by = || "ada".to_owned();
        let (state, workflow) = (&self.play.state, &self.play.workflow);
        if state.is_paused() {
            return Some(Event::ExecutionResumed { by: by() });
        }
        if chance.one_in(2) {
            return Some(Event::ExecutionPaused { by: by(), reason: None });
        }
        let paths: Vec<&str> = self.paths();
        let step = paths[chance.below(paths.len())].to_owned();
        let skip = Event::StepSkipped { step, by: Some(by()), reason: Some("done".to_owned()) };
        let may = state.allows(workflow, &[], &skip, self.play.now);
        may.then_some(skip)
    }

    fn paths(&self) -> Vec<&str> {
        let listed = self.play.workflow.steps.iter().map(|step| step.name.as_str());
        let seen = self.play.history.iter().filter_map(|(_, event)| event.step());
        listed.chain(seen).collect()
    }

    /// A person has a failed execution go on; whether somebody did.
    pub(super) fn is_retried(&mut self, chance: &mut Chance) -> bool {
        let retries = |entry: &&(i64, Event)| matches!(entry.1, Event::ExecutionRetried { .. });
        let before = self.play.history.iter().filter(retries).count();
        let failed = self.play.state.status == Status::Failed;
        if !failed || MOST_RETRIES <= before || chance.one_in(4) {
            return false;
        }
        self.play.now += chance.below(100_000) as i64;
        let failed: Vec<String> = self
            .paths()
            .into_iter()
            .filter_map(|path| {
                let step = self.play.state.step(path)?;
                let child = step.child.clone().filter(|_| step.status == StepStatus::Failed);
                child.filter(|_| chance.one_in(2))
            })
            .collect();
        self.failed_children.extend(failed.iter().cloned());
        let input = chance.one_in(3).then(|| json!({ "n": chance.below(8) }));
        let retry = Event::ExecutionRetried { by: "ada".to_owned(), input, children: failed };
        let mut events = vec![retry];
        if chance.one_in(3) {
            events.extend(self.with_retry(chance, &events));
        }
        self.old_keys.extend(self.called.keys().cloned());
        self.forget_undone();
        self.is_doomed = false;
        self.hears(events);
        true
    }

    /// What else may be said together with it: that a step is not to be done, or what came of it.
    fn with_retry(&self, chance: &mut Chance, happened: &[Event]) -> Option<Event> {
        let paths = self.paths();
        let step = paths[chance.below(paths.len())].to_owned();
        let output: Value = json!({ "n": 1 });
        let by = "ada".to_owned();
        let event = match chance.one_in(2) {
            true => Event::StepSkipped { step, by: Some(by), reason: None },
            false => Event::StepResolved { step, by, resolution: Resolution::Completed { output } },
        };
        let may = self.play.state.allows(&self.play.workflow, happened, &event, self.play.now);
        may.then_some(event)
    }

    /// What was undone is not done; nor is a loop in which something was. Handlers may run again.
    fn forget_undone(&mut self) {
        let workflow = &self.play.workflow;
        let main: Vec<&str> =
            workflow.main.iter().map(|index| workflow.steps[*index].name.as_str()).collect();
        self.completed.retain(|path| {
            let end = path.find(['/', '[', '.']).unwrap_or(path.len());
            main.contains(&&path[..end])
        });
        let undone = self.play.history.iter().filter_map(|(_, event)| match event {
            Event::AttemptSucceeded { step, .. } => step.strip_suffix(".undo"),
            _ => None,
        });
        for undone in undone {
            self.completed.retain(|path| {
                let rest = undone.strip_prefix(path.as_str());
                let holds =
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '[']));
                let looped = undone.split_once('[').is_some_and(|(head, _)| {
                    path.strip_prefix(head).is_some_and(|rest| rest.starts_with('['))
                });
                !holds && !looped
            });
        }
    }

    /// Whether something is run because of how the steps ended, since it was last begun.
    pub(super) fn is_in_phase(&self) -> bool {
        let mut since = self.play.history.iter().rev();
        let begun = |entry: &(i64, Event)| matches!(entry.1, Event::ExecutionRetried { .. });
        since.by_ref().take_while(|entry| !begun(entry)).any(is_phase)
    }
}
