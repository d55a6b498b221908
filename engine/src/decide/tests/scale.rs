//! Large workflows and long lists: memory grows with what is in flight, time with how much there is to do.

use std::{
    collections::VecDeque,
    fmt::Write,
    sync::LazyLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{ID, lost, succeeded};
use crate::{Event, State, Status, Workflow, advance, parse};

/// What it took to run something to its end.
struct Cost {
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

fn read(text: &str) -> Workflow {
    let document = format!(
        "name: w
{text}"
    );
    parse(&document).unwrap_or_else(|problems| {
        panic!(
            "{document:.500}
{problems:#?}"
        )
    })
}

/// Runs a workflow to its end; every call comes home alone, in the order in which they went out.
fn run(workflow: &Workflow, input: &Value) -> Cost {
    let mut state = State::new(workflow, ID, "ada");
    let mut out: VecDeque<String> = VecDeque::new();
    let mut happened = vec![Event::ExecutionStarted { input: input.clone() }];
    let mut cost = Cost { most_alive: 0, events: 0 };
    loop {
        let turn = advance(workflow, &mut state, ID, happened, 1_000).expect("it can follow");
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

/// How long this thread has worked: what else the machine does meanwhile does not count, where it can tell.
fn worked() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let known = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let known = known.and_then(|text| text.split(' ').next()?.parse().ok());
    known.map_or_else(|| BEGAN.elapsed(), Duration::from_nanos)
}

/// How many times longer the larger one of two takes, at best. Asked again where it seems to be too long: a machine may be
/// slower for a moment, and what is quadratic is so every time.
fn growth(small: impl Fn(), large: impl Fn()) -> f64 {
    let take = |work: &dyn Fn()| {
        let began = worked();
        work();
        (worked() - began).as_secs_f64()
    };
    let (mut least, mut most) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..8 {
        least = least.min(take(&small));
        most = most.min(take(&large));
        if most < LINEAR * least {
            break;
        }
    }
    most / least
}

/// Four times as much takes about four times as long; what is quadratic takes sixteen times.
const LINEAR: f64 = 10.0;

#[test]
fn four_times_as_much_is_about_four_times_the_work() {
    for (name, shape) in SHAPES {
        let [(small, little), (large, much)] = [500, 2_000].map(shape);
        let (small, large) = (read(&small), read(&large));
        let (few, many) = (run(&small, &little).events, run(&large, &much).events);
        assert!((3 * few..5 * few).contains(&many), "{name}: {few} events become {many}");
        let times = growth(|| _ = run(&small, &little), || _ = run(&large, &much));
        assert!(times < LINEAR, "{name}: {times:.1} times as long");
    }
}

#[test]
fn four_times_as_many_steps_are_read_and_checked_in_about_four_times_the_time() {
    for (name, shape) in &SHAPES[..4] {
        let [(small, _), (large, _)] = [500, 2_000].map(shape);
        let times = growth(|| _ = read(&small), || _ = read(&large));
        assert!(times < LINEAR, "{name}: {times:.1} times as long");
    }
}

#[test]
fn ten_thousand_steps_in_a_row_are_read_and_run() {
    let (text, input) = SHAPES[0].1(10_000);
    let cost = run(&read(&text), &input);
    assert_eq!(cost.events, 20_002);
}

#[test]
fn what_repeats_keeps_only_what_is_in_flight() {
    for (name, shape) in &SHAPES[4..] {
        let [few, many] = [100, 2_000].map(|size| {
            let (text, input) = shape(size);
            run(&read(&text), &input).most_alive
        });
        assert_eq!(few, many, "{name}");
    }
}

#[test]
fn a_history_is_folded_without_what_nothing_refers_to_any_more() {
    for (name, shape) in &SHAPES[4..] {
        let (text, input) = shape(2_000);
        let workflow = read(&text);
        let (mut state, mut out, mut history) =
            (State::new(&workflow, ID, "ada"), VecDeque::new(), Vec::new());
        let mut happened = vec![Event::ExecutionStarted { input }];
        // To the middle of it, with calls out.
        for _ in 0..1_000 {
            let turn = advance(&workflow, &mut state, ID, happened, 1_000).expect("it can follow");
            history.extend(turn.events);
            out.extend(turn.calls.into_iter().map(|call| call.step));
            let step: String = out.pop_front().expect("it is not at its end");
            happened = vec![succeeded(&step, json!({ "by": step }))];
        }
        let mut folded = State::new(&workflow, ID, "ada");
        let mut most = 0;
        for event in &history {
            folded.replay(&workflow, event, 1_000).expect("what was written can be read");
            most = most.max(folded.known());
        }
        state.forget();
        assert!(folded == state, "{name}: a history says all there is");
        assert!(most < 50, "{name}: {most} records and lists at once");
    }
}

#[test]
fn a_second_call_that_finds_out_is_found_after_a_history_was_folded() {
    let text = "steps:\n  - { name: a, tool: x.y, onUncertain: verify, verify: { tool: x.z, params: {}, expect: 'result.there' } }\n";
    let workflow = read(text);
    let mut state = State::new(&workflow, ID, "ada");
    let mut history = Vec::new();
    let mut now = 1_000;
    let mut hears = |state: &mut State, event: Event| {
        now += 1_000_000;
        for happened in [vec![event], Vec::new()] {
            let turn = advance(&workflow, state, ID, happened, now).expect("it can follow");
            history.extend(turn.events);
            now += 1_000_000;
        }
        history.clone()
    };
    hears(&mut state, Event::ExecutionStarted { input: json!({}) });
    hears(&mut state, lost("a", false));
    hears(&mut state, succeeded("a.verify", json!({ "there": false })));
    let history = hears(&mut state, lost("a", false));
    let begun =
        |event: &&Event| matches!(event, Event::AttemptStarted { step, .. } if step == "a.verify");
    assert_eq!(history.iter().filter(begun).count(), 2, "{history:#?}");

    let mut folded = State::new(&workflow, ID, "ada");
    for event in &history {
        folded.apply(&workflow, event, now).expect("what was written can be read");
    }
    folded.forget();
    assert_eq!(folded.running_steps(), ["a.verify"]);
    assert!(folded.step("a.verify").is_some());
}

#[test]
fn the_results_of_a_list_are_written_and_kept_once() {
    let (text, input) = SHAPES[5].1(50);
    let workflow = read(&text);
    let mut state = State::new(&workflow, ID, "ada");
    let mut turn =
        advance(&workflow, &mut state, ID, vec![Event::ExecutionStarted { input }], 1_000).unwrap();
    let mut out: VecDeque<String> = VecDeque::new();
    let mut written = Vec::new();
    loop {
        out.extend(turn.calls.drain(..).map(|call| call.step));
        written.append(&mut turn.events);
        let Some(step) = out.pop_front() else { break };
        turn =
            advance(&workflow, &mut state, ID, vec![succeeded(&step, json!(step))], 1_000).unwrap();
    }
    let whole =
        |event: &&Event| matches!(event, Event::StepCompleted { output, .. } if output.is_some());
    assert_eq!(written.iter().filter(whole).count(), 0, "the instances have them");
    let list: Vec<String> = (0..50).map(|at| format!("fan[{at}]")).collect();
    assert_eq!(state.output, Some(json!(list)));
}

#[test]
fn what_doubles_in_every_round_is_written_in_between_and_fails_before_it_fills_the_memory() {
    let text = "name: grow\nvars: { s: x }\nsteps:\n  - name: l\n    repeat: { until: 'false', maxIterations: 100 }\n    \
                steps: [{ name: d, set: { s: '${vars.s}${vars.s}' } }]\n";
    let workflow = parse(text).unwrap();
    let mut state = State::new(&workflow, ID, "ada");
    let mut happened = vec![Event::ExecutionStarted { input: json!({}) }];
    let (mut turns, mut most) = (0, 0);
    while !state.status.is_final() {
        let turn = advance(&workflow, &mut state, ID, std::mem::take(&mut happened), 1).unwrap();
        turns += 1;
        most = most.max(turn.events.iter().map(Event::bytes).sum::<usize>());
        assert!(turn.is_unfinished || state.status.is_final());
    }
    assert_eq!(state.status, Status::Failed);
    assert!(3 < turns, "what is large is written before more is built");
    assert!(most < 80 * 1024 * 1024, "{most}");
}
