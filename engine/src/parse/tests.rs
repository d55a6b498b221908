//! What the reader promises.

use crate::parse;

#[test]
fn a_small_workflow_is_read() {
    let text = "name: a\nsteps:\n  - { name: one, tool: x.y, params: { a: \"${input.a}\" } }\n  - name: two\n    tool: x.z\n    if: steps.one.ok == true\n";
    let workflow = parse(text).unwrap();
    assert_eq!(workflow.steps[1].needs, [0]);
}
