//! What reading promises for every construct of the language.

use serde_json::{Value, json};

use super::{check, problems, with_steps};
use crate::{
    Kind, OnBusy, OnError, OnExpire, OnUncertain, Outcome, Step, Wait, WaitFor, Workflow, locate,
    parse,
};

#[track_caller]
fn read(text: &str) -> Workflow {
    parse(text).unwrap_or_else(|problems| {
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{text}\n{}", shown.join("\n"))
    })
}

/// The only step of a workflow.
#[track_caller]
fn only_step(step: &str) -> Step {
    read(&with_steps(&format!("  - {{ name: b, {step} }}\n"))).steps.remove(0)
}

const DEPLOY: &str = r#"
name: deploy_application
input:
  type: object
  required: [app]
  properties:
    app: { type: string }
    version: { type: string, default: latest }
    environment: { type: string, enum: [staging, production], default: staging }
config: { timeoutMs: 3600000, maxParallel: 10, continueOnError: false, maxRetries: 0, undoOnFailure: true }
lock: "deploy:${input.app}:${input.environment}"
vars: { tries: 0, seen: [] }
steps:
  - name: current
    tool: deploy.getServiceStatus
    params: { app: "${input.app}", token: "Bearer ${secrets.TOKEN}" }
  - name: roll_out
    tool: deploy.deploy
    params: { app: "${input.app}", version: "${input.version}" }
    approval: { if: "${input.environment == 'production'}", message: "Deploy ${input.app}?", expiresMs: 86400000 }
    undo: { tool: deploy.rollbackService, params: { app: "${input.app}", to: "${result.before}" } }
    onUncertain: verify
    verify: { tool: deploy.status, params: { app: "${input.app}" }, expect: "result.version == input.version" }
  - name: settle
    steps:
      - { name: look, tool: deploy.status, expect: result.ok }
      - { name: count, set: { tries: "${vars.tries + 1}", twice: "${index * 2}" } }
      - { name: rest, wait: { ms: 5000 }, if: "!default(steps.look.done, false)" }
    repeat: { while: "!default(steps.look.done, false)", until: "steps.look.done", maxIterations: 30 }
  - name: check
    parallel: true
    waitFor: 2
    steps:
      - { name: health, tool: observability.checkHttp, params: { url: "${steps.current.url}" } }
      - { name: errors, tool: observability.logs.compare }
      - { name: both, tool: a.b, needs: [health], params: { n: "${steps.health.n}" } }
  - name: fan
    forEach: "${steps.check.errors.new}"
    as: problem
    maxParallel: 3
    steps:
      - { name: open, tool: github.createIssue, params: { title: "${problem.title} ${index}" }, onError: continue }
      - { name: note, tool: github.comment, params: { issue: "${steps.open.number}" } }
  - name: branch
    if: size(steps.fan) > 0
    steps:
      - { name: many, workflow: triage, params: { issues: "${steps.fan}" }, assign: triaged }
    else:
      - { name: none, stop: { status: completed, message: "No new errors in ${input.app}" } }
  - { name: sure, approval: { message: "Done?", approvers: [ada, bob], quorum: 2, onExpire: escalate } }
  - name: form
    ask:
      message: Which one?
      schema: { type: object, properties: { one: { enum: [a, b] }, n: { type: integer } }, required: [one] }
      allowSelf: true
  - { name: word, wait: { event: "go:${input.app}", timeoutMs: 1000 }, onError: continue }
  - { name: later, wait: { until: "2027-01-31T12:00:00Z" } }
output: { deployment: "${steps.roll_out}", first: "${steps.fan[0].open}", one: "${steps.form.one}", last: "${result}", t: "${triaged}" }
onFailure:
  - { name: tell, tool: notify.send, params: { text: "Deploy of ${input.app} failed: ${error.message} ${default(steps.look.x, 1)}" } }
  - { name: more, tool: notify.send, params: { text: "${steps.tell.id} ${steps.current.url}" } }
onCancel:
  - { name: cleaned, tool: deploy.clean, if: "error.code != ''" }
"#;

#[test]
fn a_workflow_with_every_construct_is_read() {
    let workflow = read(DEPLOY);
    let names: Vec<(&str, &str, Option<usize>)> = workflow
        .steps
        .iter()
        .map(|step| (step.name.as_str(), step.pointer.as_str(), step.parent))
        .collect();
    let expected = [
        ("current", "/steps/0", None),
        ("roll_out", "/steps/1", None),
        ("settle", "/steps/2", None),
        ("look", "/steps/2/steps/0", Some(2)),
        ("count", "/steps/2/steps/1", Some(2)),
        ("rest", "/steps/2/steps/2", Some(2)),
        ("check", "/steps/3", None),
        ("health", "/steps/3/steps/0", Some(6)),
        ("errors", "/steps/3/steps/1", Some(6)),
        ("both", "/steps/3/steps/2", Some(6)),
        ("fan", "/steps/4", None),
        ("open", "/steps/4/steps/0", Some(10)),
        ("note", "/steps/4/steps/1", Some(10)),
        ("branch", "/steps/5", None),
        ("many", "/steps/5/steps/0", Some(13)),
        ("none", "/steps/5/else/0", Some(13)),
        ("sure", "/steps/6", None),
        ("form", "/steps/7", None),
        ("word", "/steps/8", None),
        ("later", "/steps/9", None),
        ("tell", "/onFailure/0", None),
        ("more", "/onFailure/1", None),
        ("cleaned", "/onCancel/0", None),
    ];
    assert_eq!(names, expected);
    assert_eq!(workflow.main, [0, 1, 2, 6, 10, 13, 16, 17, 18, 19]);
    assert_eq!((&workflow.on_failure[..], &workflow.on_cancel[..]), (&[20, 21][..], &[22][..]));
    assert!(workflow.config.undo_on_failure && workflow.lock.is_some());
    let vars: Vec<&str> = workflow.vars.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(vars, ["tries", "seen"]);
    let needs: Vec<&[usize]> = workflow.steps.iter().map(|step| step.needs.as_slice()).collect();
    assert_eq!(&needs[2..10], [&[1][..], &[], &[3], &[4], &[2], &[], &[], &[7]]);
    assert_eq!(
        (needs[15], needs[20], needs[21], needs[22]),
        (&[][..], &[][..], &[20][..], &[][..])
    );

    let roll_out = workflow.step("roll_out").unwrap();
    assert_eq!(roll_out.on_uncertain, OnUncertain::Verify);
    assert_eq!(roll_out.verify.as_ref().unwrap().tool.to_string(), "deploy.status");
    assert_eq!(roll_out.undo.as_ref().unwrap().tool.tool, "rollbackService");
    assert_eq!(roll_out.approval.as_ref().unwrap().terms.expires_ms, 86_400_000);
    let Kind::Group(settle) = &workflow.step("settle").unwrap().kind else { panic!() };
    let repeat = settle.repeat.as_ref().unwrap();
    assert_eq!((repeat.max_iterations, repeat.while_holds.is_some()), (30, true));
    let Kind::Group(check) = &workflow.step("check").unwrap().kind else { panic!() };
    assert_eq!((check.parallel, check.wait_for), (true, WaitFor::Count(2)));
    let fan = workflow.step("fan").unwrap().for_each.as_ref().unwrap();
    assert_eq!((fan.variable.as_str(), fan.max_parallel), ("problem", Some(3)));
    let Kind::Group(branch) = &workflow.step("branch").unwrap().kind else { panic!() };
    assert_eq!((&branch.steps[..], &branch.otherwise[..]), (&[14][..], &[15][..]));
    let Kind::Stop(stop) = &workflow.step("none").unwrap().kind else { panic!() };
    assert_eq!(stop.outcome, Outcome::Completed);
    let Kind::Approval(sure) = &workflow.step("sure").unwrap().kind else { panic!() };
    assert_eq!((sure.terms.quorum, sure.terms.on_expire), (2, OnExpire::Escalate));
    let Kind::Ask(form) = &workflow.step("form").unwrap().kind else { panic!() };
    assert!(form.terms.allow_self && form.schema.accept(json!({ "one": "c" })).is_err());
    assert_eq!(workflow.step("word").unwrap().on_error, OnError::Continue);
    assert_eq!(workflow.tools().count(), 13);
    assert_eq!(workflow.children().collect::<Vec<_>>(), ["triage"]);
    let again = read(&workflow.document.to_string());
    assert_eq!(again.hash, workflow.hash);
}

#[test]
fn short_forms_mean_what_they_say() {
    let Kind::Stop(stop) = only_step("stop: cancelled").kind else { panic!() };
    assert_eq!((stop.outcome, stop.message.is_some()), (Outcome::Cancelled, false));
    let Kind::Approval(approval) = only_step("approval: true").kind else { panic!() };
    assert_eq!(approval.terms, crate::Terms::default());
    let step = only_step("tool: c.d, approval: true");
    assert!(step.approval.is_some() && step.kind.tool().is_some());
    let lock = only_step("tool: c.d, lock: x").lock.unwrap();
    assert_eq!(lock.on_busy, OnBusy::Queue);
    let lock = only_step("tool: c.d, lock: { key: x, onBusy: replace }").lock.unwrap();
    assert_eq!(lock.on_busy, OnBusy::Replace);
    let Kind::Group(group) =
        only_step("steps: [{ name: c, tool: c.d }], parallel: true, waitFor: any").kind
    else {
        panic!()
    };
    assert_eq!(group.wait_for, WaitFor::Count(1));
    let Kind::Group(group) =
        only_step("steps: [{ name: c, tool: c.d }], repeat: { until: index > 3 }").kind
    else {
        panic!()
    };
    assert_eq!(group.repeat.unwrap().max_iterations, 1_000);
    let each = only_step("tool: c.d, forEach: [1, \"${input.x}\"], params: { n: \"${item}\" }");
    assert_eq!(each.for_each.unwrap().variable, "item");
    let Kind::Wait(Wait::For(ms)) = only_step("wait: { ms: \"${input.ms}\" }").kind else {
        panic!()
    };
    assert!(ms.is_expression());
    let Kind::Wait(Wait::Event { timeout_ms, .. }) = only_step("wait: { event: go }").kind else {
        panic!()
    };
    assert_eq!(timeout_ms, None);
}

#[test]
fn every_construct_says_what_is_wrong_with_it() {
    // The step, then the code, the pointer below the step, and a part of the message.
    let table: &[(&str, &str, &str, &str)] = &[
        ("tool: c.d, wait: { ms: 1 }", "several_kinds", "/wait", "`tool` and `wait`"),
        ("workflow: x, approval: true", "several_kinds", "/approval", "a step of its own"),
        ("tool: c.d, steps: []", "several_kinds", "/steps", "one thing"),
        (
            "set: { a: 1 }, retry: {}",
            "misplaced_key",
            "/retry",
            "fits steps with `tool` or `workflow`",
        ),
        ("tool: c.d, parallel: true", "misplaced_key", "/parallel", "fits steps with `steps`"),
        ("tool: c.d, else: []", "misplaced_key", "/else", "fits steps with `steps`"),
        ("workflow: x, onUncertain: fail", "misplaced_key", "/onUncertain", "steps with `tool`"),
        (
            "ask: { schema: { type: object, properties: { a: { type: string } } } }, timeoutMs: 5",
            "misplaced_key",
            "/timeoutMs",
            "`tool`, `workflow` or `steps`",
        ),
        (
            "stop: failed, forEach: [1]",
            "misplaced_key",
            "/forEach",
            "does not fit a step with `stop`",
        ),
        ("tool: c.d, as: x", "misplaced_key", "/as", "goes with `forEach`"),
        (
            "steps: [{ name: c, tool: c.d }], else: [{ name: e, tool: c.d }]",
            "misplaced_key",
            "/else",
            "there is no `if`",
        ),
        (
            "steps: [{ name: c, tool: c.d }], waitFor: any",
            "misplaced_key",
            "/waitFor",
            "`parallel: true`",
        ),
        (
            "steps: [{ name: c, tool: c.d }], parallel: true, waitFor: 2",
            "out_of_range",
            "/waitFor",
            "the group's steps, 1",
        ),
        (
            "steps: [{ name: c, tool: c.d }], parallel: true, waitFor: some",
            "unknown_value",
            "/waitFor",
            "`all` or `any`",
        ),
        (
            "steps: [{ name: c, tool: c.d }], repeat: { until: 'true' }, forEach: [1]",
            "misplaced_key",
            "/repeat",
            "does not go with",
        ),
        ("steps: [{ name: c, tool: c.d }], repeat: {}", "missing_key", "/repeat", "`while`"),
        (
            "steps: [{ name: c, tool: c.d }], repeat: { until: 'true', maxIterations: 100001 }",
            "out_of_range",
            "/repeat/maxIterations",
            "100000",
        ),
        ("steps: []", "no_steps", "/steps", "at least one"),
        ("workflow: \"${input.x}\"", "invalid_name", "/workflow", "written out"),
        ("workflow: Build-It", "invalid_name", "/workflow", "not a name"),
        ("tool: c.d, forEach: x.y z", "wrong_type", "/forEach", "one expression"),
        ("tool: c.d, forEach: \"a${input.x}\"", "wrong_type", "/forEach", "gives a list"),
        ("tool: c.d, forEach: 5", "wrong_type", "/forEach", "gives a list"),
        ("tool: c.d, forEach: [1], maxParallel: 0", "out_of_range", "/maxParallel", "from 1"),
        ("tool: c.d, forEach: [1], as: input", "reserved_name", "/as", "meaning of its own"),
        ("approval: yes", "wrong_type", "/approval", "an object"),
        ("approval: false", "wrong_type", "/approval", "asks nobody"),
        (
            "approval: { approvers: [a], quorum: 2 }",
            "out_of_range",
            "/approval/quorum",
            "never be enough",
        ),
        ("approval: { approvers: [] }", "out_of_range", "/approval/approvers", "nobody"),
        (
            "approval: { onExpire: approve }",
            "unknown_value",
            "/approval/onExpire",
            "`reject` or `escalate`",
        ),
        ("approval: { expiresMs: 5 }", "out_of_range", "/approval/expiresMs", "from 1000"),
        ("ask: { message: x }", "missing_key", "/ask", "schema"),
        (
            "ask: { schema: { type: object, properties: { a: { type: object } } } }",
            "not_flat",
            "/ask/schema/properties/a/type",
            "flat forms",
        ),
        (
            "ask: { schema: { type: object, properties: { a: { type: array, items: {} } } } }",
            "not_flat",
            "/ask/schema/properties/a/type",
            "flat forms",
        ),
        (
            "ask: { schema: { type: object, properties: {} } }",
            "out_of_range",
            "/ask/schema/properties",
            "1 to 100",
        ),
        (
            "ask: { schema: { properties: { a: { type: string } } } }",
            "missing_key",
            "/ask/schema",
            "type: object",
        ),
        (
            "ask: { schema: { type: object, properties: { a: { type: string } } }, quorum: 2 }",
            "unknown_key",
            "/ask/quorum",
            "one person's answer",
        ),
        ("wait: 5", "wrong_type", "/wait", "`ms`, `until` or `event`"),
        ("wait: {}", "missing_key", "/wait", "`ms`, `until` or `event`"),
        ("wait: { ms: 1, event: x }", "several_kinds", "/wait", "waitFor: any"),
        ("wait: { ms: 1, timeoutMs: 5 }", "misplaced_key", "/wait/timeoutMs", "goes with `event`"),
        ("wait: { ms: 0 }", "out_of_range", "/wait/ms", "from 1"),
        ("wait: { until: tomorrow }", "wrong_type", "/wait/until", "a moment such as"),
        ("wait: { event: 5 }", "wrong_type", "/wait/event", "a text"),
        ("set: {}", "out_of_range", "/set", "at least one"),
        ("set: { a-b: 1 }", "invalid_name", "/set/a-b", "not a name"),
        ("set: [1]", "wrong_type", "/set", "an object"),
        ("stop: done", "unknown_value", "/stop", "`completed`, `failed` or `cancelled`"),
        ("stop: { message: x }", "missing_key", "/stop", "status"),
        (
            "tool: c.d, verify: { tool: c.e, expect: result.ok }",
            "missing_key",
            "/verify",
            "`onUncertain: verify`",
        ),
        ("tool: c.d, onUncertain: verify", "missing_key", "/onUncertain", "`verify: { tool"),
        (
            "tool: c.d, onUncertain: ask, verify: { tool: c.e, expect: result.ok }",
            "misplaced_key",
            "/verify",
            "only asked with",
        ),
        (
            "tool: c.d, onUncertain: verify, verify: { tool: c.e }",
            "missing_key",
            "/verify",
            "expect",
        ),
        ("tool: c.d, undo: { params: {} }", "missing_key", "/undo", "tool"),
        ("tool: c.d, undo: { tool: x }", "invalid_tool", "/undo/tool", "server.tool"),
        ("tool: c.d, lock: {}", "missing_key", "/lock", "key"),
        (
            "tool: c.d, lock: { key: x, onBusy: wait_for_it }",
            "unknown_value",
            "/lock/onBusy",
            "`queue`",
        ),
        (
            "tool: c.d, params: { a: \"{{ input.x }}\" }",
            "foreign_expression",
            "/params/a",
            "one pair of braces",
        ),
        (
            "tool: c.d, params: { a: [\"${{ github.sha }}\"] }",
            "invalid_expression",
            "/params/a/0",
            "not a CEL expression",
        ),
        (
            "ask: { schema: { type: object, properties: { a: { type: string } } }, message: \"Hi {{ steps.a.b }}\" }",
            "foreign_expression",
            "/ask/message",
            "one pair of braces",
        ),
        ("tool: c.d, run: ls", "unknown_key", "/run", "there is no shell"),
        ("tool: c.d, type: action", "unknown_key", "/type", "by the key itself"),
    ];
    for (step, code, pointer, message) in table {
        let found = problems(&with_steps(&format!("  - {{ name: b, {step} }}\n")));
        let first = found.iter().find(|problem| problem.code == *code);
        let first = first.unwrap_or_else(|| panic!("{step}: {found:#?}"));
        assert_eq!(first.pointer, format!("/steps/0{pointer}"), "{step}");
        assert!(first.message.contains(message), "{step}: {}", first.message);
        assert!(0 < first.line && first.line <= 3, "{step}");
    }
}

#[test]
fn the_kinds_are_named_when_there_is_none() {
    let found = problems(&with_steps("  - { name: b, if: 'true' }\n"));
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("`tool`, `workflow`, `approval`"), "{}", found[0]);
    // A key that was meant as one is the only problem.
    check(
        &with_steps("  - { name: b, uses: c.d }\n"),
        ("unknown_key", "/steps/0/uses", 3, 16, Some("did you mean `tool`?")),
    );
}

#[test]
fn a_step_that_is_named_by_its_id_is_known_to_the_others() {
    let steps =
        "  - { id: b, tool: c.d }\n  - { name: e, tool: c.d, needs: [b], if: steps.b.ok }\n";
    check(&with_steps(steps), ("unknown_key", "/steps/0/id", 3, 7, Some("did you mean `name`?")));
}

#[test]
fn vars_locks_and_handlers_are_checked_at_the_head() {
    let table = [
        ("vars: { a-b: 1 }", "invalid_name", "/vars/a-b"),
        ("vars: [1]", "wrong_type", "/vars"),
        ("lock: { onBusy: queue }", "missing_key", "/lock"),
        ("onFailure: []", "no_steps", "/onFailure"),
        ("onCancel: { name: x }", "wrong_type", "/onCancel"),
        ("maxParallel: 5", "unknown_key", "/maxParallel"),
        ("jobs: {}", "unknown_key", "/jobs"),
    ];
    for (head, code, pointer) in table {
        let found = problems(&format!("name: a\n{head}\nsteps: [{{ name: b, tool: c.d }}]\n"));
        assert_eq!((found[0].code, found[0].pointer.as_str()), (code, pointer), "{head}");
    }
}

#[test]
fn groups_are_nested_as_deep_as_is_allowed_and_no_deeper() {
    let nested = |depth: usize| {
        let mut step = json!({ "name": "inner", "tool": "c.d" });
        for level in 0..depth {
            step = json!({ "name": format!("g{level}"), "steps": [step] });
        }
        json!({ "name": "a", "steps": [step] }).to_string()
    };
    assert_eq!(read(&nested(16)).steps.len(), 17);
    let found = problems(&nested(17));
    assert_eq!(found[0].code, "too_deep");
    assert!(found[0].message.contains("16 are allowed"), "{}", found[0]);
}

#[test]
fn problems_that_were_found_later_get_their_place_in_the_text() {
    let text = with_steps("  - name: b\n    tool: c.d\n    params: { a: 1 }\n");
    let mut later = vec![
        crate::Problem::new("unknown_key", "/steps/0/params/a", "no such key"),
        crate::Problem::new("wrong_type", "/steps/0/params/a", "no such value"),
        crate::Problem::new("unknown_tool", "/steps/0/tool", "no such tool"),
    ];
    locate(&text, &mut later);
    let places: Vec<_> = later.iter().map(|found| (found.code, found.line, found.column)).collect();
    assert_eq!(places, [("unknown_tool", 4, 11), ("unknown_key", 5, 15), ("wrong_type", 5, 18)]);
    locate("{", &mut later);
    assert_eq!(later.len(), 3);
}

#[test]
fn ten_thousand_steps_take_no_more_than_twenty_times_five_hundred() {
    let text = |steps: usize| {
        let mut text = String::new();
        for group in 0..steps / 10 {
            text.push_str(&format!("  - name: g{group}\n    steps:\n"));
            for step in 0..9 {
                text.push_str(&format!(
                    "      - {{ name: s{group}_{step}, tool: c.d, params: {{ a: \"${{input.x}}\" }} }}\n"
                ));
            }
        }
        with_steps(&text)
    };
    let time = |text: &str| {
        let start = std::time::Instant::now();
        assert!(parse(text).is_ok());
        start.elapsed()
    };
    let small = (0..3).map(|_| time(&text(500))).min().unwrap();
    let large = time(&text(10_000));
    println!("500 steps: {small:?}; 10000 steps: {large:?}");
    // Twice what is linear, and room for a busy machine.
    assert!(large < small * 40 + std::time::Duration::from_millis(500), "{small:?} {large:?}");
}

#[test]
fn names_that_are_wrong_everywhere_are_reported_quickly() {
    let steps: String = (0..5_000)
        .map(|i| format!("  - {{ name: s{i}, tool: c.d, needs: [t{i}], params: {{ a: \"${{steps.u{i}.x}}\" }} }}\n"))
        .collect();
    let start = std::time::Instant::now();
    assert_eq!(problems(&with_steps(&steps)).len(), 10_000);
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn what_is_found_and_expected_is_there_for_machines() {
    let found = problems(&with_steps("  - { name: b, tool: c.d, onError: contine, wibble: 1 }\n"));
    let [word, key] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(word.expected.as_deref(), Some("`fail` or `continue`"));
    assert_eq!(
        (word.found.as_deref(), word.nearest.clone()),
        (Some("contine"), vec!["continue".to_owned()])
    );
    assert_eq!((key.found.as_deref(), key.patch.len()), (Some("wibble"), 0));
    let value = serde_json::to_value(word).unwrap();
    assert_eq!(
        value["patch"],
        json!([{ "op": "replace", "path": "/steps/0/onError", "value": "continue" }])
    );
    assert_eq!(value["pointer"], Value::from("/steps/0/onError"));
}
