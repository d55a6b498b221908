//! What derives from what, as a table; and examples that have in them what is named.

use serde_json::json;

use super::*;
use crate::parse;

fn workflow(text: &str) -> Workflow {
    parse(&format!("name: w\n{}", text.trim_start_matches('\n'))).expect("it can be read")
}

fn index(workflow: &Workflow, name: &str) -> usize {
    workflow.steps.iter().position(|step| step.name == name).expect("there is such a step")
}

fn words(workflow: &Workflow, origins: &BTreeSet<Origin>) -> String {
    let word = |origin: &Origin| match origin {
        Origin::Step(step) => workflow.steps[*step].name.clone(),
        Origin::Input => "input".to_owned(),
        Origin::Execution => "execution".to_owned(),
        Origin::Clock => "clock".to_owned(),
    };
    origins.iter().map(word).collect::<Vec<_>>().join(" ")
}

const EVERYTHING: &str = "
input: { type: object, properties: { who: { type: string } } }
vars: { tries: 0, who: \"${input.who}\" }
steps:
  - { name: look, tool: x.look, params: { who: \"${input.who}\" } }
  - { name: write, tool: x.write, assign: written, params: { at: \"${now()}\", of: \"${execution.id}\" } }
  - { name: sum, set: { tries: \"${steps.look.n + 1}\", other: 1 } }
  - name: rest
    if: steps.write.done
    steps:
      - { name: inner, tool: x.inner, params: { a: \"${vars.tries}\", b: [\"${written.id}\"], c: plain } }
      - { name: halt, stop: completed, if: steps.inner.enough }
  - { name: each, tool: x.each, needs: [rest], forEach: \"${steps.look.list}\", params: { v: \"${item.v}\", w: \"${vars.who}\" } }
  - name: poll
    repeat: { until: \"steps.state.is == 'done'\", maxIterations: 3 }
    steps:
      - { name: state, tool: x.state, expect: result.ok }
output: { a: \"${steps.sum.tries}\", b: \"${steps.poll.state.is}\" }
";

#[test]
fn params_derive_from_what_they_name_however_long_the_way() {
    let workflow = workflow(EVERYTHING);
    let origins = Origins::of(&workflow);
    let params = |name: &str| -> Vec<String> {
        let places = origins.params(index(&workflow, name));
        places.iter().map(|(at, of)| format!("{at}: {}", words(&workflow, of))).collect()
    };
    assert_eq!(params("look"), ["/who: input"]);
    assert_eq!(params("write"), ["/at: clock", "/of: execution"]);
    assert_eq!(params("inner"), ["/a: look", "/b/0: write"]);
    assert_eq!(params("each"), ["/v: look", "/w: input"]);
}

#[test]
fn whether_a_step_runs_derives_from_conditions_lists_loops_and_ends_before_it() {
    let workflow = workflow(EVERYTHING);
    let origins = Origins::of(&workflow);
    let control = |name: &str| words(&workflow, &origins.control(index(&workflow, name)));
    assert_eq!(control("look"), "");
    assert_eq!(control("inner"), "write");
    assert_eq!(control("each"), "look write inner");
    assert_eq!(control("state"), "write inner state");
    assert_eq!(
        words(&workflow, &origins.repetition(index(&workflow, "poll"))),
        "write inner state"
    );
    assert_eq!(words(&workflow, &origins.value(index(&workflow, "sum"))), "look");
    assert_eq!(words(&workflow, &origins.value(index(&workflow, "rest"))), "write inner");
    let expectation = origins.expectation(index(&workflow, "state"));
    assert_eq!(words(&workflow, &expectation), "state");
    assert_eq!(words(&workflow, &origins.output()), "look write inner state");
}

#[test]
fn an_example_has_what_expressions_name_and_keeps_what_is_known() {
    let workflow = workflow(
        "
steps:
  - { name: a, tool: x.a, assign: made }
  - { name: b, tool: x.b, params: { id: \"${steps.a.pr.id}\", url: \"${made.urls[1]}\", may: \"${default(steps.a.may, 1)}\" } }
  - { name: c, tool: x.c, forEach: \"${steps.a.files}\" }
  - { name: d, tool: x.d, forEach: [1], params: {} }
  - { name: e, tool: x.e, params: { id: \"${steps.d[0].id}\", all: \"${steps.b}\" } }
",
    );
    let origins = Origins::of(&workflow);
    let example = |name: &str, known| origins.example(index(&workflow, name), known);
    assert_eq!(
        example("a", None),
        json!({
            "pr": { "id": "<unknown: steps.a.pr.id>" },
            "urls": [null, "<unknown: steps.a.urls[1]>"],
            "files": ["<unknown: steps.a.files[0]>"],
        })
    );
    let known = example("a", Some(json!({ "pr": { "id": 7 }, "files": [] })));
    assert_eq!((&known["pr"]["id"], &known["files"]), (&json!(7), &json!([])));
    assert_eq!(example("d", None), json!({ "id": "<unknown: steps.d.id>" }));
    assert_eq!(example("b", None), json!({}));
}
