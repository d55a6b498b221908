//! Large workflows and long lists: memory grows with what is in flight, time with how much there is to do.

use std::{
    collections::VecDeque,
    fmt::Write,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{ID, succeeded};
use crate::{Event, State, Status, Workflow, advance, parse};

/// What it took to run something to its end.
struct Cost {
    time: Duration,
    /// The most records and frames that were alive between two turns.
    most_alive: usize,
    events: usize,
}

/// A kind of workflow, by its size, and what it is given.
type Shape = fn(usize) -> (String, Value);

const SHAPES: [(&str, Shape); 7] = [
    ("a chain", |size| {
        (steps(size, |at| format!("name: s{at}, tool: x.y, params: {}", after(at))), json!({}))
    }),
    ("a fan with a join", |size| {
        let fan = steps(size, |at| format!("name: s{at}, needs: [], tool: x.y"));
        let all: Vec<String> = (0..size).map(|at| format!("s{at}")).collect();
        (format!("{fan}  - {{ name: join, needs: [{}], tool: x.y }}\n", all.join(", ")), json!({}))
    }),
    ("a graph", |size| {
        (steps(size, |at| format!("name: s{at}, needs: [{}], tool: x.y", needs(at))), json!({}))
    }),
    ("nested groups", |size| (nested(size), json!({}))),
    ("a loop", |size| {
        let text = format!(
            "steps:\n  - {{ name: l, repeat: {{ while: '${{default(steps.a.by, \"\") != input.last}}', \
             maxIterations: {size} }}, steps: [{{ name: a, tool: x.y }}] }}\n"
        );
        (text, json!({ "last": format!("l[{}]/a", size - 1) }))
    }),
    ("a list", |size| {
        let text = "steps:\n  - { name: fan, forEach: '${input.list}', tool: x.y, params: { n: '${item}' } }\n";
        (text.to_owned(), json!({ "list": (0..size).collect::<Vec<_>>() }))
    }),
    ("a list of groups", |size| {
        let text = "steps:\n  - name: fan\n    forEach: '${input.list}'\n    steps: [{ name: a, tool: x.y }, \
                    { name: b, set: { n: '${steps.a.by}' } }]\n";
        (text.to_owned(), json!({ "list": (0..size).collect::<Vec<_>>() }))
    }),
];

fn steps(size: usize, step: impl Fn(usize) -> String) -> String {
    let mut text = "config: { maxParallel: 8 }\nsteps:\n".to_owned();
    for at in 0..size {
        writeln!(text, "  - {{ {} }}", step(at)).unwrap();
    }
    text
}

fn after(at: usize) -> String {
    match at {
        0 => "{}".to_owned(),
        _ => format!("{{ n: '${{steps.s{}.by}}' }}", at - 1),
    }
}

/// Up to three steps before this one, by a recurrence that is the same in every run.
fn needs(at: usize) -> String {
    let mut chosen: Vec<usize> =
        (1..=3).map(|nth| at.wrapping_mul(7_919 * nth + 31) % at.max(1)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    let chosen: Vec<String> =
        chosen.into_iter().filter(|_| 0 < at).map(|at| format!("s{at}")).collect();
    chosen.join(", ")
}

/// Groups of ten steps in groups of ten, side by side and one after the other.
fn nested(size: usize) -> String {
    let mut text = "config: { maxParallel: 8 }\nsteps:\n".to_owned();
    for outer in 0..size.div_ceil(100) {
        writeln!(text, "  - name: g{outer}\n    parallel: true\n    steps:").unwrap();
        for middle in 0..10 {
            writeln!(text, "      - name: g{outer}x{middle}\n        steps:").unwrap();
            for inner in 0..10 {
                let first = format!("g{}x0x0", outer.saturating_sub(1));
                let seen =
                    if outer == 0 { "'none'".to_owned() } else { format!("steps.{first}.by") };
                writeln!(
                    text,
                    "          - {{ name: g{outer}x{middle}x{inner}, tool: x.y, params: {{ n: \"${{{seen}}}\" }} }}"
                )
                .unwrap();
            }
        }
    }
    text
}

fn read(text: &str) -> (Workflow, Duration) {
    let document = format!("name: w\n{text}");
    let began = Instant::now();
    let workflow =
        parse(&document).unwrap_or_else(|problems| panic!("{document:.500}\n{problems:#?}"));
    (workflow, began.elapsed())
}

/// Runs a workflow to its end; every call comes home alone, in the order in which they went out.
fn run(workflow: &Workflow, input: &Value) -> Cost {
    let mut state = State::new(workflow, ID, "ada");
    let mut out: VecDeque<String> = VecDeque::new();
    let mut happened = vec![Event::ExecutionStarted { input: input.clone() }];
    let mut cost = Cost { time: Duration::ZERO, most_alive: 0, events: 0 };
    loop {
        let began = Instant::now();
        let turn = advance(workflow, &mut state, ID, happened, 1_000).expect("it can follow");
        cost.time += began.elapsed();
        cost.events += turn.events.len();
        cost.most_alive = cost.most_alive.max(state.known());
        out.extend(turn.calls.into_iter().map(|call| call.step));
        happened = match out.pop_front() {
            Some(step) => vec![succeeded(&step, json!({ "by": step }))],
            None if turn.is_unfinished => Vec::new(),
            None => break,
        };
    }
    assert_eq!(state.status, Status::Completed, "{:?}", state.failure);
    cost
}

#[test]
fn probe() {
    for (name, shape) in SHAPES {
        for size in [500, 1000, 2000, 4000] {
            let (text, input) = shape(size);
            let (workflow, reading) = read(&text);
            let cost = run(&workflow, &input);
            println!(
                "{name:20} {size:6} read {reading:?} run {:?} alive {} events {}",
                cost.time, cost.most_alive, cost.events
            );
        }
    }
}
