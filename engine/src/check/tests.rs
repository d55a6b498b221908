//! Which names can be seen from where, and what can never run: tables.

use crate::{Problem, parse};

/// A workflow in which every kind of place is there to be filled; `{…}` marks them.
const FRAME: &str = "
name: w
input: { type: object, properties: { x: {} } }
lock: \"{lock}k\"
vars: { count: 0, other: \"{vars}\" }
steps:
  - { name: first, tool: t.a, assign: firstly, params: { v: \"{first}\" } }
  - name: both
    parallel: true
    steps:
      - { name: left, tool: t.a, assign: leftly, params: { v: \"{left}\" } }
      - { name: right, tool: t.a, params: { v: \"{right}\" }, if: \"{right.if}\" }
      - { name: joined, tool: t.a, needs: [left], params: { v: \"{joined}\" } }
  - name: poll
    if: \"{poll.if}\"
    repeat: { while: \"{while}\", until: \"{until}\" }
    steps:
      - { name: look, tool: t.a, params: { v: \"{look}\" }, expect: \"{look.expect}\" }
      - name: inner
        if: \"{inner.if}\"
        steps:
          - { name: deep, tool: t.a, params: { v: \"{deep}\" } }
        else:
          - { name: flat, tool: t.a, params: { v: \"{flat}\" } }
      - { name: rest, wait: { ms: 5 } }
  - name: fan
    forEach: \"${[1, 2]}\"
    as: number
    if: \"{fan.if}\"
    steps:
      - { name: one, tool: t.a, params: { v: \"{one}\" } }
      - name: each
        forEach: \"{each.forEach}\"
        tool: t.a
        params: { v: \"{each}\" }
        approval: { message: \"{each.approval}\" }
        undo: { tool: t.b, params: { v: \"{each.undo}\" } }
        onUncertain: verify
        verify: { tool: t.c, params: { v: \"{each.verify}\" }, expect: \"{each.verified}\" }
      - { name: child, workflow: other, params: { v: \"{child}\" } }
  - { name: last, tool: t.a, params: { v: \"{last}\" } }
output: { v: \"{output}\" }
onFailure:
  - { name: tell, tool: t.a, params: { v: \"{tell}\" } }
  - { name: told, tool: t.a, params: { v: \"{told}\" } }
onCancel:
  - { name: cleaned, tool: t.a, params: { v: \"{cleaned}\" } }
";

/// The frame with one place filled with an expression.
fn filled(place: &str, expression: &str) -> String {
    let mut text = FRAME.to_owned();
    let mark = format!("{{{place}}}");
    assert_eq!(text.matches(&mark).count(), 1, "{place}");
    text = text.replace(&mark, &format!("${{{expression}}}"));
    let places = FRAME.split("\"{").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    for place in places {
        let filler = match place {
            "right.if" | "look.expect" | "fan.if" | "while" | "until" | "each.verified"
            | "poll.if" | "inner.if" => "true",
            "each.forEach" => "${[1]}",
            _ => "",
        };
        text = text.replace(&format!("{{{place}}}"), filler);
    }
    text
}

fn found(place: &str, expression: &str) -> Vec<Problem> {
    parse(&filled(place, expression)).err().unwrap_or_default()
}

#[test]
fn what_has_certainly_ended_can_be_seen() {
    let table = [
        ("left", "steps.first.x"),
        ("left", "firstly.x"),
        ("joined", "steps.left.x + leftly.y"),
        ("right.if", "status('first') == 'completed'"),
        // Inside a group that has ended, by the step's own name.
        ("poll.if", "steps.left.x == steps.both.left.x"),
        ("deep", "steps.look.x"),
        ("flat", "steps.look.x"),
        ("deep", "steps.joined.x"),
        ("rest_", ""),
        ("last", "steps.deep.x"),
        ("last", "steps.flat.x"),
        ("last", "steps.poll.look.x"),
        ("last", "steps.fan[0].one.x"),
        ("last", "default(steps.inner.x, 1)"),
        ("output", "steps.deep.x + steps.left.x + result.y"),
        ("output", "vars.count + firstly.x"),
        // The iteration before, when it says what to take in the first one.
        ("look", "default(steps.rest.x, 0)"),
        ("look", "default(steps.look.x, 0)"),
        ("look", "default(steps.deep.x, 0)"),
        ("look", "has(steps.inner.x) ? 1 : 2"),
        ("deep", "default(steps.flat.x, 0)"),
        ("deep", "default(steps.inner.x, 0)"),
        ("inner.if", "default(steps.deep.x, true)"),
        ("look", "status('rest')"),
        ("while", "default(steps.look.x, true)"),
        ("until", "steps.look.x"),
        ("until", "steps.deep.x || index > 2"),
        // Elements and numbers.
        ("one", "number + index"),
        ("each", "item + number + index"),
        ("each.undo", "result.x + item + number"),
        ("each.verify", "item"),
        ("each.verified", "result.x == item"),
        ("each.forEach", "[number, steps.one.x]"),
        ("each.approval", "number"),
        ("look", "index"),
        ("flat", "index"),
        ("while", "index < 3"),
        ("look.expect", "result.x && index == 0"),
        // Handlers.
        ("tell", "error.message + error.code + error.step"),
        ("tell", "steps.last.x"),
        ("tell", "steps.left.x + firstly.x + leftly.x"),
        ("told", "steps.tell.x"),
        ("cleaned", "error.message + vars.count"),
        // Before anything runs.
        ("lock", "input.x + execution.id"),
        ("vars", "input.x"),
        // Secrets.
        ("first", "secrets.TOKEN"),
        ("each.undo", "secrets.TOKEN"),
        ("each.verify", "secrets.TOKEN"),
    ];
    for (place, expression) in table.into_iter().filter(|(place, _)| *place != "rest_") {
        let found = found(place, expression);
        assert!(found.is_empty(), "{place}: {expression}: {found:#?}");
    }
}

#[test]
fn what_has_not_certainly_ended_cannot_be_seen() {
    // The place, the expression, the code and a part of the message.
    let table = [
        ("left", "steps.right.x", "not_needed", "does not need it"),
        ("left", "steps.joined.x", "not_needed", "runs after it"),
        ("joined", "steps.right.x", "not_needed", "does not need it"),
        ("first", "steps.last.x", "not_needed", "runs after it"),
        ("first", "steps.deep.x", "not_needed", "move `poll` before `first`"),
        ("first", "default(steps.last.x, 1)", "not_needed", "runs after it"),
        ("left", "steps.both.x", "not_ended", "`both` holds it"),
        ("poll.if", "steps.look.x", "not_ended", "a part of it"),
        ("poll.if", "default(steps.poll.x, true)", "uses_itself", "its own result"),
        ("deep", "steps.flat.x", "not_guarded", "default(steps.flat"),
        ("look", "steps.rest.x", "not_guarded", "the iteration before"),
        ("look", "steps.look.x", "not_guarded", "the iteration before"),
        ("look", "default(steps.poll.x, 1)", "not_ended", "`poll` holds it"),
        ("while", "steps.look.x", "not_guarded", "the iteration before"),
        ("last", "steps.one.x", "behind_for_each", "`steps.fan[0].one`"),
        ("last", "steps.each.x", "behind_for_each", "once for each element of `fan`"),
        ("output", "steps.one.x", "behind_for_each", "`steps.fan[0].one`"),
        ("tell", "default(steps.one.x, 1)", "behind_for_each", "`steps.fan[0].one`"),
        ("one", "default(steps.each.x, 1)", "not_needed", "runs after it"),
        ("last", "steps.tell.x", "not_ended", "only in `onFailure`"),
        ("output", "steps.cleaned.x", "not_ended", "only in `onCancel`"),
        ("tell", "steps.told.x", "not_needed", "runs after it"),
        ("told", "steps.cleaned.x", "not_ended", "only in `onCancel`"),
        ("lock", "steps.first.x", "too_early", "before anything runs"),
        ("lock", "vars.count", "too_early", "before anything runs"),
        ("vars", "vars.count", "too_early", "before anything runs"),
        ("vars", "firstly", "too_early", "before anything runs"),
        ("last", "vars.cont", "unknown_name", "`vars` has count, other"),
        ("last", "count", "unknown_name", "found under `vars`"),
        ("last", "number", "unknown_name", "no name `number`"),
        ("last", "item", "unknown_name", "the element that a `forEach` is at"),
        ("last", "index", "unknown_name", "number of an iteration"),
        ("one", "item", "unknown_name", "the element"),
        ("fan.if", "number == 1", "unknown_name", "no name `number`"),
        ("each.approval", "item", "unknown_name", "evaluated once"),
        ("each", "result", "unknown_name", "in its `expect` and `undo`"),
        ("last", "error.message", "unknown_name", "`onFailure`"),
        ("tell", "error.mesage", "unknown_name", "it has code, message, step"),
        ("look.expect", "steps.look.x", "uses_itself", "called `result` here"),
        ("each.undo", "steps.each.x", "uses_itself", "called `result` here"),
        // Secrets.
        ("right.if", "secrets.TOKEN == 'x'", "invalid_expression", "stands alone"),
        ("first", "secrets.TOKEN + 'x'", "invalid_expression", "stands alone"),
        ("first", "default(secrets.TOKEN, '')", "invalid_expression", "stands alone"),
        ("child", "secrets.TOKEN", "secret_not_allowed", "a child workflow"),
        ("output", "secrets.TOKEN", "secret_not_allowed", "in the `params` of a tool only"),
        ("each.approval", "secrets.TOKEN", "secret_not_allowed", "written into the history"),
        ("lock", "secrets.TOKEN", "secret_not_allowed", "in the `params` of a tool only"),
    ];
    for (place, expression, code, message) in table {
        let found = found(place, expression);
        let [problem] = found.as_slice() else { panic!("{place}: {expression}: {found:#?}") };
        assert_eq!(problem.code, code, "{place}: {expression}: {problem:#?}");
        assert!(problem.message.contains(message), "{place}: {expression}: {}", problem.message);
        assert!(0 < problem.line, "{place}: {expression}");
    }
}

/// The codes and pointers of the problems of a list of steps.
fn codes(steps: &str) -> Vec<(&'static str, String)> {
    let problems = parse(&format!("name: w\nsteps:\n{steps}")).err().unwrap_or_default();
    problems.into_iter().map(|problem| (problem.code, problem.pointer)).collect()
}

#[track_caller]
fn check(steps: &str, expected: &[(&'static str, &str)]) {
    let found = codes(steps);
    let found: Vec<(&str, &str)> =
        found.iter().map(|(code, pointer)| (*code, pointer.as_str())).collect();
    assert_eq!(found, expected, "{steps}");
}

#[test]
fn needs_name_steps_of_the_same_list() {
    let group = "  - { name: g, steps: [{ name: a, tool: t.a }, { name: b, tool: t.a, needs: [NEED] }] }\n  \
                 - { name: z, tool: t.a, needs: [ZNEED] }\n";
    let with = |need: &str, other: &str| group.replace("ZNEED", other).replace("NEED", need);
    check(&with("a", "g"), &[]);
    check(&with("z", "g"), &[("other_list", "/steps/0/steps/1/needs/0")]);
    check(&with("a", "b"), &[("other_list", "/steps/1/needs/0")]);
    check(&with("g", "g"), &[("other_list", "/steps/0/steps/1/needs/0")]);
    check(&with("zz", "g"), &[("unknown_step", "/steps/0/steps/1/needs/0")]);
}

#[test]
fn a_cycle_inside_a_group_is_found() {
    let steps = "  - name: g\n    steps:\n      - { name: a, tool: t.a, needs: [b] }\n      - { name: b, tool: t.a }\n";
    check(steps, &[("cycle", "/steps/0/steps/0/needs")]);
}

#[test]
fn names_are_unique_at_all_depths() {
    let steps = "  - { name: a, tool: t.a }\n  - { name: g, steps: [{ name: a, tool: t.a }] }\n";
    check(steps, &[("duplicate_name", "/steps/1/steps/0/name")]);
    let handlers =
        "name: w\nsteps: [{ name: a, tool: t.a }]\nonFailure: [{ name: a, tool: t.a }]\n";
    let found = parse(handlers).unwrap_err();
    assert_eq!((found[0].code, found[0].pointer.as_str()), ("duplicate_name", "/onFailure/0/name"));
}

#[test]
fn steps_after_a_certain_end_are_unreachable() {
    let stop = "{ name: s, stop: completed }";
    let after = "  - { name: z, tool: t.a }\n  - { name: y, tool: t.a }\n";
    let reaches: &[(&str, &str)] = &[];
    let never: &[(&str, &str)] = &[("unreachable", "/steps/1")];
    let table = [
        (format!("  - {stop}\n{after}"), never),
        (format!("  - {{ name: s, stop: completed, if: 'true' }}\n{after}"), reaches),
        (format!("  - {{ name: g, steps: [{stop}] }}\n{after}"), never),
        (format!("  - {{ name: g, if: 'true', steps: [{stop}] }}\n{after}"), reaches),
        (
            format!(
                "  - {{ name: g, if: 'true', steps: [{stop}], else: [{{ name: r, stop: failed }}] }}\n{after}"
            ),
            never,
        ),
        (
            format!("  - {{ name: g, steps: [{stop}], repeat: {{ until: 'true' }} }}\n{after}"),
            never,
        ),
        (
            format!("  - {{ name: g, steps: [{stop}], repeat: {{ while: 'true' }} }}\n{after}"),
            reaches,
        ),
        (format!("  - {{ name: g, steps: [{stop}], forEach: [1] }}\n{after}"), reaches),
        (
            format!(
                "  - {{ name: g, parallel: true, waitFor: any, steps: [{stop}, {{ name: r, tool: t.a }}] }}\n{after}"
            ),
            reaches,
        ),
        (format!("  - {stop}\n  - {{ name: z, tool: t.a, needs: [] }}\n"), reaches),
    ];
    for (steps, expected) in table {
        check(&steps, expected);
    }
}

#[test]
fn one_lock_at_a_time() {
    let group = "  - { name: g, lock: x, steps: [{ name: a, tool: t.a, lock: y }] }\n  - { name: b, tool: t.a, lock: z }\n";
    check(group, &[("nested_lock", "/steps/0/steps/0/lock")]);
    let whole = "name: w\nlock: x\nsteps: [{ name: a, tool: t.a, lock: y }]\n";
    assert_eq!(parse(whole).unwrap_err()[0].code, "nested_lock");
}

#[test]
fn a_workflow_does_not_always_run_itself() {
    let endless: &[(&str, &str)] = &[("endless_recursion", "/steps/0/workflow")];
    check("  - { name: a, workflow: w }\n", endless);
    check("  - { name: a, workflow: other }\n", &[]);
    check("  - { name: a, workflow: w, if: 'true' }\n", &[]);
    check("  - { name: a, workflow: w, forEach: [] }\n", &[]);
    check("  - { name: s, stop: completed, if: 'true' }\n  - { name: a, workflow: w }\n", &[]);
    check(
        "  - { name: g, steps: [{ name: a, workflow: w }] }\n",
        &[(endless[0].0, "/steps/0/steps/0/workflow")],
    );
}
