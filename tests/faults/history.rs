//! What must hold of every history whatever broke, checked against the ledger and the audit.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use super::{
    ledger::{self, Entry},
    observer::Observer,
};

/// What clients were told, to be held against what is there.
#[derive(Default)]
pub(super) struct Told {
    /// The executions that were accepted, by the idempotency key they were asked for with.
    pub(super) accepted: BTreeMap<String, String>,
    /// Per request the comments of the answers that were said to be heard.
    pub(super) heard: BTreeMap<String, Vec<String>>,
}

/// What happened in a run of the suite.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) executions: usize,
    pub(super) ended: BTreeMap<String, usize>,
    pub(super) takeovers: usize,
    pub(super) effects: usize,
    /// Effects of a key beyond the first, per class of tool.
    pub(super) repeats: BTreeMap<String, usize>,
    pub(super) uncertain: usize,
    pub(super) answers: usize,
    /// Calls that came when somebody had settled that they had not happened, and had no effect.
    pub(super) late: usize,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = |all: &BTreeMap<String, usize>| {
            let each = all.iter().map(|(name, count)| format!("{name} {count}"));
            each.collect::<Vec<_>>().join(", ")
        };
        let Figures { executions, ended, takeovers, effects, repeats, uncertain, answers, late } =
            self;
        write!(
            out,
            "{executions} executions ({}), {takeovers} takeovers, {effects} effects, repeats ({}), {uncertain} \
             uncertain, {answers} answers, {late} late",
            counts(ended),
            counts(repeats)
        )
    }
}

/// One event, as the database has it.
struct Happened {
    kind: String,
    data: Value,
}

impl Happened {
    fn step(&self) -> &str {
        self.data["step"].as_str().unwrap_or_default()
    }
}

struct Known {
    status: String,
    last_seq: i64,
    epoch: i64,
    events: Vec<Happened>,
    tools: BTreeMap<String, String>,
}

const FINAL: [&str; 3] = ["completed", "failed", "cancelled"];

/// Checks everything that must hold, and counts. Panics with all that does not.
pub(super) fn check(observer: &mut Observer, file: &Path, told: &Told) -> Figures {
    let known = read(observer);
    let effects = ledger::effects(file);
    let mut wrong = Vec::new();
    for (id, execution) in &known {
        whole(id, execution, &mut wrong);
        calls(id, execution, &mut wrong);
    }
    against_ledger(&known, &effects, &mut wrong);
    against_told(&known, told, &mut wrong);
    audited(observer, &known, &mut wrong);
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
    Figures { late: ledger::late(file), ..figures(observer, &known, &effects) }
}

fn read(observer: &mut Observer) -> BTreeMap<String, Known> {
    let mut known = BTreeMap::new();
    for row in observer.rows("id, status, last_seq, lease_epoch", "executions") {
        let execution = Known {
            status: text(&row[1]),
            last_seq: row[2].as_i64().unwrap(),
            epoch: row[3].as_i64().unwrap(),
            events: Vec::new(),
            tools: BTreeMap::new(),
        };
        known.insert(text(&row[0]), execution);
    }
    let from = "events ORDER BY execution_id, seq";
    for row in observer.rows("execution_id, seq, kind, data", from) {
        let id = text(&row[0]);
        let execution: &mut Known = known.get_mut(&id).expect("events have an execution");
        let data = row[3].as_str().unwrap_or("null");
        let event = Happened { kind: text(&row[2]), data: serde_json::from_str(data).unwrap() };
        execution.events.push(event);
        let place = i64::try_from(execution.events.len()).unwrap();
        assert_eq!(row[1], place, "the events of {id} have a gap");
    }
    for row in observer.rows("execution_id, step, tool", "steps") {
        let execution = known.get_mut(row[0].as_str().unwrap()).expect("steps have an execution");
        execution.tools.insert(text(&row[1]), text(&row[2]));
    }
    known
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Its events are all there, it began once, and it ended once, as it says, or waits for something that has a name.
fn whole(id: &str, execution: &Known, wrong: &mut Vec<String>) {
    let count = i64::try_from(execution.events.len()).unwrap();
    if count != execution.last_seq {
        wrong.push(format!("{id} has {count} events and says {}", execution.last_seq));
    }
    let of = |kind: &str| execution.events.iter().filter(|event| event.kind == kind).count();
    if of("execution_started") != 1 || execution.events[0].kind != "execution_started" {
        wrong.push(format!("{id} began {} times", of("execution_started")));
    }
    let ends: usize = FINAL.iter().map(|status| of(&format!("execution_{status}"))).sum();
    let last = &execution.events.last().expect("it began").kind;
    let is_final = FINAL.contains(&execution.status.as_str());
    if ends != usize::from(is_final)
        || (is_final && *last != format!("execution_{}", execution.status))
    {
        wrong.push(format!("{id} is {} and ended {ends} times, {last} last", execution.status));
    }
}

/// A call that is written as begun counts up, and none begins after its step has its result.
fn calls(id: &str, execution: &Known, wrong: &mut Vec<String>) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut answered: BTreeSet<&str> = BTreeSet::new();
    for event in &execution.events {
        let step = event.step();
        match event.kind.as_str() {
            "attempt_started" => {
                let call = event.data["call"].as_u64().unwrap();
                let before = last.insert(step, call).unwrap_or_default();
                if call != before + 1 && call != 1 {
                    wrong.push(format!("{id}: call {call} of {step} follows call {before}"));
                }
                if done.contains(step) {
                    wrong.push(format!("{id}: {step} is called again after it had its result"));
                }
            }
            "attempt_succeeded" | "step_completed" | "step_skipped" | "step_failed" => {
                done.insert(step);
            }
            "request_answered"
                if !answered.insert(event.data["request"].as_str().unwrap_or_default()) =>
            {
                wrong.push(format!("{id}: the request of {step} was answered twice"));
            }
            _ => {}
        }
    }
}

/// No effect without an intent, none twice for one intent, and of calls that may not be repeated none twice at all.
fn against_ledger(known: &BTreeMap<String, Known>, effects: &[Entry], wrong: &mut Vec<String>) {
    let mut intents: BTreeSet<(String, u64)> = BTreeSet::new();
    let mut results: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (id, execution) in known {
        for event in &execution.events {
            let step = event.step();
            if !execution.tools.get(step).is_some_and(|tool| tool.starts_with("ledger.")) {
                continue;
            }
            let key = ledger::key_of(id, step);
            match event.kind.as_str() {
                "attempt_started" => {
                    intents.insert((key, event.data["call"].as_u64().unwrap()));
                }
                "attempt_succeeded" => {
                    results.insert(key, (id.clone(), step.to_owned()));
                }
                _ => {}
            }
        }
    }
    let mut made: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    let mut of_step: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut unsafe_effects: BTreeMap<&str, usize> = BTreeMap::new();
    for effect in effects {
        let step = &effect.key[..=effect.key.rfind('~').unwrap()];
        if !intents.contains(&(step.to_owned(), effect.call)) {
            wrong.push(format!("an effect without an intent: {effect:?}"));
        }
        *made.entry((&effect.key, effect.call)).or_default() += 1;
        of_step.entry(step).or_default().insert(&effect.key);
        if effect.tool == "unsafe" {
            *unsafe_effects.entry(step).or_default() += 1;
        }
    }
    for ((key, call), count) in made {
        if 1 < count {
            wrong.push(format!("call {call} of {key} had its effect {count} times"));
        }
    }
    for (step, keys) in &of_step {
        if 1 < keys.len() {
            wrong.push(format!("{step} was repeated with other keys: {keys:?}"));
        }
    }
    for (step, count) in unsafe_effects {
        if 1 < count {
            wrong.push(format!("{step} may not be repeated and had its effect {count} times"));
        }
    }
    for (key, (id, step)) in results {
        if !of_step.contains_key(key.as_str()) {
            wrong.push(format!("{step} of {id} has a result and never had an effect"));
        }
    }
}

/// What a client was told as accepted is there, and of the answers to one request one was heard.
fn against_told(known: &BTreeMap<String, Known>, told: &Told, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (key, id) in &told.accepted {
        if !known.contains_key(id) {
            wrong.push(format!("{id} was accepted as {key} and is lost"));
        }
        if !seen.insert(id) {
            wrong.push(format!("{id} is the execution of several keys"));
        }
    }
    let events = known.values().flat_map(|execution| &execution.events);
    let answers = events.filter(|event| event.kind == "request_answered");
    let heard: BTreeMap<&str, &Value> = answers
        .map(|event| (event.data["request"].as_str().unwrap_or_default(), &event.data["answer"]))
        .collect();
    for (request, comments) in &told.heard {
        if 1 < comments.len() {
            wrong.push(format!("{request} was answered by several: {comments:?}"));
        }
        let Some(answer) = heard.get(request.as_str()) else { continue };
        if comments.iter().any(|comment| answer["comment"] != **comment) {
            wrong.push(format!("{request}: {comments:?} was heard, and {answer} is written"));
        }
    }
}

/// Epochs never go back, commits follow each other without a gap, and none comes from who has not the lease.
fn audited(observer: &mut Observer, known: &BTreeMap<String, Known>, wrong: &mut Vec<String>) {
    let mut last: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let columns = "execution_id, old_seq, new_seq, old_epoch, new_epoch, old_owner";
    let committers = committers(observer);
    for row in observer.rows(columns, "fault_audit ORDER BY number") {
        let id = text(&row[0]);
        let number = |at: usize| row[at].as_i64().unwrap();
        let (seq, epoch) = (number(1), number(3));
        if let Some(before) = last.insert(id.clone(), (number(2), number(4)))
            && before != (seq, epoch)
        {
            wrong.push(format!("{id}: {row} does not follow {before:?}"));
        }
        if number(4) < epoch || number(2) < seq {
            wrong.push(format!("{id} went back: {row}"));
        }
        if seq < number(2) && epoch != number(4) {
            wrong.push(format!("{id} was claimed and committed at once: {row}"));
        }
        if let Some(by) = committers.get(&(id.clone(), seq + 1))
            && seq < number(2)
            && *by != text(&row[5])
        {
            wrong.push(format!("{id}: {by} committed what {} held: {row}", row[5]));
        }
    }
    for (id, (seq, epoch)) in last {
        let execution = &known[&id];
        if (seq, epoch) != (execution.last_seq, execution.epoch) {
            wrong.push(format!("{id} is not as the audit left it: {seq}, {epoch}"));
        }
    }
}

/// Who wrote the first event of each commit, where the schema says so.
fn committers(observer: &mut Observer) -> BTreeMap<(String, i64), String> {
    let from = "events WHERE committed_by IS NOT NULL";
    let rows = observer.try_rows("execution_id, seq, committed_by", from).unwrap_or_default();
    rows.iter().map(|row| ((text(&row[0]), row[1].as_i64().unwrap()), text(&row[2]))).collect()
}

fn figures(observer: &mut Observer, known: &BTreeMap<String, Known>, effects: &[Entry]) -> Figures {
    let mut figures =
        Figures { executions: known.len(), effects: effects.len(), ..Figures::default() };
    for execution in known.values() {
        *figures.ended.entry(execution.status.clone()).or_default() += 1;
        let of = |kind: &str| execution.events.iter().filter(|event| event.kind == kind).count();
        figures.uncertain += of("step_uncertain");
        figures.answers += of("request_answered");
    }
    let mut keys = BTreeSet::new();
    for effect in effects {
        let repeats = figures.repeats.entry(effect.tool.clone()).or_default();
        *repeats += usize::from(!keys.insert(&effect.key));
    }
    // A claim of what nobody has given back.
    let from = "fault_audit WHERE old_epoch < new_epoch AND old_owner IS NOT NULL";
    figures.takeovers = observer.rows("number", from).len();
    figures
}
