//! Plans, and what their makers ask of earlier executions, on both databases.

use serde_json::json;
use windlass::store::{Created, PlanRow, Store};

use super::{DAY_MS, Database, Wish, create, driven, succeeded, wish};

fn both() -> [Database; 2] {
    [Database::sqlite(), Database::postgres()]
}

fn plan(id: &str, store: &Store, expires_in: i64) -> PlanRow {
    PlanRow {
        id: id.into(),
        caller: "ada".into(),
        workflow: "two_steps".into(),
        revision: "r".into(),
        input_hash: "i".into(),
        digests: "{}".into(),
        hash: "h".into(),
        plan: json!({ "input": { "nul": "\u{0} ☃" } }).to_string(),
        created_at: store.now(),
        expires_at: store.now() + expires_in,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_found_in_its_workspace_until_a_day_after_it_expired() {
    for database in both() {
        let store = database.open().await;
        let first = plan("plan_1", &store, 1_000);
        store.keep_plan(&first).await.unwrap();
        assert_eq!(store.plan("plan_1").await.unwrap(), Some(first));
        assert_eq!(store.plan("plan_2").await.unwrap(), None);
        let elsewhere = database.open_as("elsewhere").await;
        assert_eq!(elsewhere.plan("plan_1").await.unwrap(), None);
        store.keep_plan(&plan("plan_2", &store, -DAY_MS + 60_000)).await.unwrap();
        store.keep_plan(&plan("plan_3", &store, -DAY_MS - 60_000)).await.unwrap();
        assert!(store.plan("plan_2").await.unwrap().is_some(), "whoever comes late hears why");
        store.keep_plan(&plan("plan_4", &store, 1_000)).await.unwrap();
        assert!(store.plan("plan_3").await.unwrap().is_none(), "the next one takes it away");
        for id in ["plan_1", "plan_2", "plan_4"] {
            assert!(store.plan(id).await.unwrap().is_some(), "{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_result_of_a_step_is_that_of_the_newest_execution_that_completed_it() {
    for database in both() {
        let store = database.open().await;
        let last = async |step: &str, tool: &str| {
            let data = store.last_result("two_steps", step, tool).await.unwrap();
            data.map(|data| {
                serde_json::from_str::<serde_json::Value>(&data).unwrap()["output"].clone()
            })
        };
        assert_eq!(last("a", "x.one").await, None);
        for (id, output) in [("exec_1", json!("x".repeat(80_000))), ("exec_2", json!({ "n": 2 }))] {
            let mut driven = driven(&store, id, "worker_1").await;
            driven.hears(&store, vec![]).await;
            driven.hears(&store, vec![succeeded("a", output.clone())]).await;
            driven.hears(&store, vec![succeeded("b", json!(1))]).await;
            assert_eq!(last("a", "x.one").await, Some(output), "large ones too");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(last("a", "x.other").await, None, "another tool says nothing for this one");
        let elsewhere = database.open_as("elsewhere").await;
        assert_eq!(elsewhere.last_result("two_steps", "a", "x.one").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_used_once_an_execution_has_it() {
    for database in both() {
        let store = database.open().await;
        assert!(!store.is_key_used("ada", "k").await.unwrap());
        let wish = Wish { key: Some("k"), ..wish("exec_1") };
        assert!(matches!(create(&store, &wish).await.unwrap(), Created::New(_)));
        assert!(store.is_key_used("ada", "k").await.unwrap());
        assert!(!store.is_key_used("grace", "k").await.unwrap());
    }
}
