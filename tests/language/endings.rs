//! Who waits for an execution is told of its end what everybody is told later.

use serde_json::json;
use windlass::app::Detail;

use super::{House, agent, ended, run};
use crate::harness::SOON;

on_both_databases!(
    who_waits_is_told_of_the_end_what_everybody_is_told_later,
    a_step_that_says_how_long_it_may_take_takes_that_long,
);

const TWO: &str = "\
input: { type: object, properties: { text: { type: string } } }
steps:
  - { name: one, tool: demo.echo, params: { text: \"${input.text}\" } }
  - { name: two, tool: demo.echo, needs: [one], params: { text: \"${steps.one.text}\" } }
output: \"${steps.two.text}\"
";

const FAILS: &str = "\
steps:
  - { name: one, tool: demo.noop, params: {} }
  - { name: two, tool: demo.fail, needs: [one], params: { message: no luck } }
";

const RESTS: &str = "steps:\n  - { name: rest, wait: { ms: 3600000 } }\n";

async fn who_waits_is_told_of_the_end_what_everybody_is_told_later(house: House) {
    house.workflow("two", TWO);
    house.workflow("fails", FAILS);
    house.workflow("rests", RESTS);
    let host = house.open().await;
    let app = &host.app;
    for detail in [Detail::Outcome, Detail::Steps, Detail::Results] {
        // One that fits into no row of the history, too.
        for text in ["a \u{0} b".to_owned(), "x".repeat(300_000)] {
            let begun = run(app, "two", json!({ "text": text })).await;
            let told = app.settled(&begun.execution_id, begun.version, SOON, detail).await.unwrap();
            assert_eq!((told.status.as_str(), &told.output), ("completed", &Some(json!(text))));
            assert_eq!(told, app.status(&begun.execution_id, detail).await.unwrap());
        }
        let begun = run(app, "fails", json!({})).await;
        let told = app.settled(&begun.execution_id, begun.version, SOON, detail).await.unwrap();
        assert_eq!(told.error.as_ref().unwrap().message, "no luck");
        assert_eq!(told, app.status(&begun.execution_id, detail).await.unwrap());

        let id = run(app, "rests", json!({})).await.execution_id;
        app.cancel(&agent("local"), &id, None).await.unwrap();
        let told = app.settled(&id, 0, SOON, detail).await.unwrap();
        assert_eq!(told.status, "cancelled");
        assert_eq!(told, app.status(&id, detail).await.unwrap());
        ended(app, &id).await;
    }
    host.stop().await;
}

async fn a_step_that_says_how_long_it_may_take_takes_that_long(mut house: House) {
    house.set("WINDLASS_WORKER_CALL_TIMEOUT_MS", "200");
    let nap = "{ name: nap, tool: demo.sleep, params: { ms: 700 }";
    house.workflow("patient", &format!("steps:\n  - {nap}, timeoutMs: 60000 }}\n"));
    house.workflow("hasty", &format!("steps:\n  - {nap} }}\n"));
    let host = house.open().await;
    let patient = run(&host.app, "patient", json!({})).await.execution_id;
    let hasty = run(&host.app, "hasty", json!({})).await.execution_id;
    assert_eq!(ended(&host.app, &patient).await.status, "completed");
    assert_eq!(ended(&host.app, &hasty).await.error.unwrap().code, "timeout");
    host.stop().await;
}
