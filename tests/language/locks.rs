//! A lock has one holder at a time, over all processes, and nobody who waits for it is forgotten.

use serde_json::json;

use super::*;

on_both_databases!(
    one_at_a_time_whoever_drives_them,
    who_finds_it_busy_waits_is_refused_or_takes_over,
    what_is_held_above_is_held_below,
    a_lock_is_taken_after_its_approval,
);

async fn one_at_a_time_whoever_drives_them(house: House) {
    let text = "lock: one\nsteps:\n  - { name: nap, tool: demo.sleep, params: { ms: 60 } }\n";
    house.workflow("alone", text);
    let (one, other) = (house.open().await, house.open().await);
    let mut ids = Vec::new();
    for number in 0..8 {
        let app = if number % 2 == 0 { &one.app } else { &other.app };
        ids.push(run(app, "alone", json!({})).await.execution_id);
    }
    let mut times = Vec::new();
    for id in &ids {
        let execution = ended(&one.app, id).await;
        assert_eq!(execution.status, "completed", "{execution:#?}");
        let nap = step(&execution, "nap");
        times.push((nap.started_at.unwrap(), nap.ended_at.unwrap()));
    }
    times.sort_unstable();
    assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{times:?}");
    one.stop().await;
    other.stop().await;
}

async fn who_finds_it_busy_waits_is_refused_or_takes_over(house: House) {
    let ask = "steps:\n  - { name: ok, approval: { message: Go? } }\n";
    house.workflow("first", &format!("lock: k\n{ask}"));
    house.workflow("waits", &format!("lock: k\n{ask}"));
    house.workflow("rejects", &format!("lock: {{ key: k, onBusy: reject }}\n{ask}"));
    house.workflow("replaces", &format!("lock: {{ key: k, onBusy: replace }}\n{ask}"));
    let host = house.open().await;
    let app = &host.app;
    let first = run(app, "first", json!({})).await.execution_id;
    asked(app, &first).await;
    let refused = run(app, "rejects", json!({})).await.execution_id;
    let error = ended(app, &refused).await.error.unwrap();
    assert!(error.message.contains(&first), "{error:?}");
    let second = run(app, "waits", json!({})).await.execution_id;
    let waits = |execution: &Execution| execution.waiting_for.is_some();
    let waiting = until(app, &second, "the lock", waits).await.waiting_for.unwrap();
    assert_eq!(waiting, format!("the execution waits for the lock \"k\", which {first} holds"));
    let third = run(app, "replaces", json!({})).await.execution_id;
    let cancelled = ended(app, &first).await;
    assert_eq!(cancelled.status, "cancelled");
    asked(app, &second).await;
    app.cancel(&agent("local"), &second, None).await.unwrap();
    asked(app, &third).await;
    app.cancel(&agent("local"), &third, None).await.unwrap();
    host.stop().await;
}

async fn what_is_held_above_is_held_below(house: House) {
    let below = "lock: { key: \"k${input.n}\", onBusy: reject }\ninput: { type: object, properties: { n: { type: integer } } }\n\
                 steps:\n  - { name: a, tool: demo.echo, params: { held: true } }\n";
    house.workflow("below", below);
    let above = r#"
steps:
  - name: within
    lock: k1
    steps:
      - { name: same, workflow: below, params: { n: 1 } }
      - { name: another, workflow: below, params: { n: 2 }, onError: continue }
  - { name: after, workflow: below, params: { n: 2 } }
output: { same: "${steps.same}", another: "${error('another')}", after: "${steps.after}" }
"#;
    house.workflow("above", above);
    let host = house.open().await;
    let id = run(&host.app, "above", json!({})).await.execution_id;
    let execution = ended(&host.app, &id).await;
    let output = execution.output.clone().unwrap_or_else(|| panic!("{execution:#?}"));
    assert_eq!((&output["same"]["held"], &output["after"]["held"]), (&json!(true), &json!(true)));
    assert!(output["another"]["message"].as_str().unwrap().contains(&id), "{output:#}");
    host.stop().await;
}

async fn a_lock_is_taken_after_its_approval(house: House) {
    let guarded = "{ name: a, tool: demo.echo, lock: k, approval: { message: Go? } }";
    house.workflow("guarded", &format!("steps:\n  - {guarded}\n"));
    house.workflow("quick", "lock: k\nsteps:\n  - { name: a, tool: demo.noop }\n");
    let host = house.open().await;
    let id = run(&host.app, "guarded", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await.request_id;
    let quick = run(&host.app, "quick", json!({})).await.execution_id;
    assert_eq!(
        ended(&host.app, &quick).await.status,
        "completed",
        "nobody waits for one who thinks"
    );
    host.app.answer(&terminal(), &request, approved(), false).await.unwrap();
    assert_eq!(ended(&host.app, &id).await.status, "completed");
    let again = run(&host.app, "quick", json!({})).await.execution_id;
    assert_eq!(ended(&host.app, &again).await.status, "completed", "it was given back");
    host.stop().await;
}
