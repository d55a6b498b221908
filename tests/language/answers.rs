//! Persons are asked, and what they answer counts: once each, only theirs, and not for ever.

use serde_json::json;

use super::*;

on_both_databases!(
    what_is_approved_is_called_and_nothing_else,
    an_agent_does_not_approve_what_it_started,
    only_those_who_may_answer_are_heard,
    as_many_have_to_agree_as_the_workflow_says,
    what_is_refused_fails,
    values_are_checked_and_completed,
    nobody_is_waited_for_for_ever,
    an_event_is_taken_by_the_step_that_waits_for_it,
    an_answer_outlives_the_process_that_took_it,
);

const GUARDED: &str = r#"
steps:
  - name: send
    tool: demo.echo
    params: { to: "${'a' + 'da'}" }
    approval: { message: "Send it?" }
"#;

async fn what_is_approved_is_called_and_nothing_else(house: House) {
    house.workflow("guarded", GUARDED);
    let host = house.open().await;
    let id = run(&host.app, "guarded", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await;
    assert_eq!((request.kind.as_str(), request.message.as_str()), ("approval", "Send it?"));
    assert_eq!(request.tool.as_deref(), Some("demo.echo"));
    assert_eq!(request.params, Some(json!({ "to": "ada" })));
    let execution = host.app.status(&id, Detail::Results).await.unwrap();
    let waits = execution.waiting_for.as_deref().unwrap();
    assert!(waits.starts_with("approval of step send: Send it?"), "{waits}");
    assert!(waits.contains(&format!("windlass approve {}", request.request_id)), "{waits}");
    assert_eq!(step(&execution, "send").params, Some(json!({ "to": "ada" })));
    assert_eq!(host.app.requests(&terminal()).await.unwrap(), std::slice::from_ref(&request));

    let answered = host.app.answer(&terminal(), &request.request_id, approved(), false).await;
    assert!(answered.unwrap().requests.is_empty());
    let execution = ended(&host.app, &id).await;
    assert_eq!(
        (execution.status.as_str(), execution.output),
        ("completed", Some(json!({ "to": "ada" })))
    );
    let late = host.app.answer(&terminal(), &request.request_id, approved(), false).await;
    let late = late.unwrap_err().to_string();
    assert!(late.contains("was answered by local"), "{late}");
    let unknown = host.app.answer(&terminal(), "req_nothing", approved(), false).await;
    assert!(matches!(unknown, Err(Error::UnknownRequest(_))));
    host.stop().await;
}

async fn an_agent_does_not_approve_what_it_started(mut house: House) {
    house.workflow("guarded", GUARDED);
    let host = house.open().await;
    let id = run(&host.app, "guarded", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await.request_id;
    let refused = host.app.answer(&agent("local"), &request, approved(), false).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("local started the execution and may not answer"), "{refused}");
    assert!(refused.contains(&format!("windlass approve {request}")), "{refused}");
    // A client's name is what it says of itself.
    let disguised = Caller { client_name: Some("windlass".into()), ..agent("local") };
    assert!(host.app.answer(&disguised, &request, approved(), false).await.is_err());
    host.stop().await;

    house.set("WINDLASS_APPROVALS_AGENTS_MAY_ANSWER", "true");
    let host = house.open().await;
    host.app.answer(&agent("local"), &request, approved(), false).await.unwrap();
    assert_eq!(ended(&host.app, &id).await.status, "completed");
    host.stop().await;
}

async fn only_those_who_may_answer_are_heard(house: House) {
    let approval = "{ name: ok, approval: { approvers: [bob, carol], verified: true } }";
    house.workflow("strict", &format!("steps:\n  - {approval}\n"));
    let host = house.open().await;
    let id = run(&host.app, "strict", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await.request_id;
    let refusal = async |caller: &Caller, verified| {
        let refused = host.app.answer(caller, &request, approved(), verified).await;
        refused.unwrap_err().to_string()
    };
    let text = refusal(&agent("dave"), true).await;
    assert!(text.contains("only these may: bob, carol"), "{text}");
    let text = refusal(&agent("bob"), false).await;
    assert!(text.contains("whose identity is verified"), "{text}");
    host.app.answer(&agent("bob"), &request, approved(), true).await.unwrap();
    let execution = ended(&host.app, &id).await;
    assert_eq!(execution.output.unwrap()["by"], json!(["bob"]));
    host.stop().await;
}

async fn as_many_have_to_agree_as_the_workflow_says(house: House) {
    house.workflow("two", "steps:\n  - { name: ok, approval: { quorum: 2 } }\n");
    let host = house.open().await;
    let id = run(&host.app, "two", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await.request_id;
    let execution = host.app.answer(&agent("bob"), &request, approved(), false).await.unwrap();
    assert_eq!(
        (execution.status.as_str(), &execution.requests[0].agreed[..]),
        ("waiting", &["bob".to_owned()][..])
    );
    let again = host.app.answer(&agent("bob"), &request, approved(), false).await;
    let again = again.unwrap_err().to_string();
    assert!(again.contains("bob has answered") && again.contains("1 more"), "{again}");
    host.app.answer(&agent("carol"), &request, approved(), false).await.unwrap();
    assert_eq!(ended(&host.app, &id).await.output.unwrap()["by"], json!(["bob", "carol"]));
    host.stop().await;
}

async fn what_is_refused_fails(house: House) {
    house.workflow("guarded", GUARDED);
    let host = house.open().await;
    let id = run(&host.app, "guarded", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await.request_id;
    let no = Answer::Rejected { comment: Some("not today".into()) };
    host.app.answer(&agent("bob"), &request, no, false).await.unwrap();
    let error = ended(&host.app, &id).await.error.unwrap();
    assert_eq!((error.step.as_deref(), error.code.as_str()), (Some("send"), "rejected"));
    assert!(error.message.contains("bob") && error.message.contains("not today"), "{error:?}");
    host.stop().await;
}

async fn values_are_checked_and_completed(house: House) {
    let form = r#"
steps:
  - name: where
    ask:
      message: Where to?
      schema:
        type: object
        required: [region]
        properties:
          region: { type: string, enum: [north, south] }
          count: { type: integer, default: 2 }
        additionalProperties: false
"#;
    house.workflow("form", form);
    let host = house.open().await;
    let id = run(&host.app, "form", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await;
    assert_eq!((request.kind.as_str(), request.schema.is_some()), ("form", true));
    let answer =
        async |answer| host.app.answer(&terminal(), &request.request_id, answer, false).await;
    let values = json!({ "region": "nort", "cuont": 3 });
    let Err(Error::InvalidAnswer { problems, .. }) = answer(Answer::Given { values }).await else {
        panic!("they do not fit")
    };
    assert_eq!(problems.len(), 2, "{problems:?}");
    let refused = answer(approved()).await.unwrap_err().to_string();
    assert!(refused.contains("asks for values"), "{refused}");
    answer(Answer::Given { values: json!({ "region": "north" }) }).await.unwrap();
    let output = ended(&host.app, &id).await.output;
    assert_eq!(output, Some(json!({ "region": "north", "count": 2 })));
    host.stop().await;
}

async fn nobody_is_waited_for_for_ever(house: House) {
    house.workflow("short", "steps:\n  - { name: ok, approval: { expiresMs: 1000 } }\n");
    let host = house.open().await;
    let id = run(&host.app, "short", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await.request_id;
    let execution = ended(&host.app, &id).await;
    assert_eq!(execution.error.unwrap().code, "expired");
    assert!(execution.requests.is_empty());
    let late = host.app.answer(&terminal(), &request, approved(), false).await.unwrap_err();
    assert!(late.to_string().contains("the time to answer"), "{late}");
    assert_eq!(host.app.request(&request).await.unwrap().status, "expired");
    host.stop().await;
}

async fn an_event_is_taken_by_the_step_that_waits_for_it(house: House) {
    house.workflow("waits", "steps:\n  - { name: go, wait: { event: green } }\n  - { name: again, wait: { event: green } }\n");
    let host = house.open().await;
    let id = run(&host.app, "waits", json!({})).await.execution_id;
    let waits = |execution: &Execution| execution.waiting_for.is_some();
    let execution = until(&host.app, &id, "the wait", waits).await;
    assert_eq!(execution.waiting_for.as_deref(), Some("step go waits for the event \"green\""));
    let send = async |name: &str, data| host.app.send_event(&agent("bob"), &id, name, data).await;
    assert!(send("", json!(null)).await.is_err());
    send("red", json!(0)).await.unwrap();
    send("green", json!({ "n": 1 })).await.unwrap();
    send("green", json!({ "n": 2 })).await.unwrap();
    let execution = ended(&host.app, &id).await;
    assert_eq!(step(&execution, "go").result, Some(json!({ "n": 1 })));
    assert_eq!(execution.output, Some(json!({ "n": 2 })));
    assert!(matches!(send("green", json!(3)).await, Err(Error::Refused(_))));
    host.stop().await;
}

async fn an_answer_outlives_the_process_that_took_it(house: House) {
    house.workflow("guarded", GUARDED);
    let host = house.open().await;
    let id = run(&host.app, "guarded", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await.request_id;
    host.stop().await;
    let host = house.open().await;
    assert_eq!(asked(&host.app, &id).await.request_id, request, "it waits in the database");
    host.app.answer(&terminal(), &request, approved(), false).await.unwrap();
    assert_eq!(ended(&host.app, &id).await.status, "completed");
    host.stop().await;
}
