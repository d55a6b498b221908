//! What tools ask of Windlass around them: every method of the host, on both databases.

use std::sync::Arc;

use serde_json::{Value, json};
use windlass::{
    store::{SpentBy, SpentRow, Store},
    tool_servers::Hosted,
};
use windlass_tools::contract::{Code, Host, MAX_ARTIFACT_BYTES, NewArtifact, SpentOn, Usage, lock};

use super::{DAY_MS, Database, create_due};

fn both() -> [Database; 2] {
    [Database::sqlite(), Database::postgres()]
}

async fn host(database: &Database) -> Hosted {
    Hosted::new(database.open().await)
}

fn file(key: &str, bytes: impl Into<Vec<u8>>) -> NewArtifact {
    NewArtifact {
        key: key.to_owned(),
        execution_id: Some("exec_1".to_owned()),
        step: Some("build".to_owned()),
        name: "build.log".to_owned(),
        mime: "text/plain".to_owned(),
        bytes: bytes.into(),
    }
}

fn usage(key: &str, execution_id: Option<&str>, cost_micro_usd: Option<u64>) -> Usage {
    Usage {
        key: key.to_owned(),
        execution_id: execution_id.map(str::to_owned),
        step: Some("ask".to_owned()),
        model: format!("model-{}", cost_micro_usd.is_some()),
        prompt_tokens: 100,
        completion_tokens: 10,
        cached_tokens: 5,
        cost_micro_usd,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memo_changes_only_from_what_its_caller_believes_it_to_be() {
    for database in both() {
        let host = host(&database).await;
        let (one, two) = (json!({ "b": 1.5, "a": "\u{0} ☃" }), json!([2]));
        let swap = async |before: Option<&Value>, after: Option<&Value>| {
            host.swap("s", "n", before, after).await.unwrap()
        };
        assert_eq!(host.recall("s", "n").await.unwrap(), None);
        assert!(swap(None, None).await);
        assert!(!swap(Some(&one), Some(&two)).await, "it is not there");
        assert!(!swap(Some(&one), None).await);
        assert!(swap(None, Some(&one)).await);
        assert!(!swap(None, Some(&two)).await, "it is there");
        assert!(!swap(None, None).await);
        assert!(!swap(Some(&two), Some(&one)).await, "it is another one");
        assert_eq!(host.recall("s", "n").await.unwrap(), Some(one.clone()));
        // The order of keys is no difference.
        let turned = json!({ "a": "\u{0} ☃", "b": 1.5 });
        assert!(swap(Some(&turned), Some(&two)).await);
        assert!(swap(Some(&two), None).await);
        assert_eq!(host.recall("s", "n").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memos_are_listed_by_how_their_names_begin_in_their_scope_and_workspace() {
    for database in both() {
        let host = host(&database).await;
        for name in ["a%b", "a_c", "aXc", "B", "b"] {
            assert!(host.swap("s", name, None, Some(&json!(name))).await.unwrap());
        }
        assert!(host.swap("t", "a%b", None, Some(&json!(0))).await.unwrap());
        let names = async |scope: &'static str, prefix: &'static str| -> Vec<String> {
            let found = host.memos(scope, prefix).await.unwrap();
            found.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names("s", "").await, ["B", "a%b", "aXc", "a_c", "b"]);
        assert_eq!(names("s", "a_").await, ["a_c"]);
        assert_eq!(names("s", "a%").await, ["a%b"]);
        assert_eq!(host.memos("t", "a").await.unwrap(), [("a%b".to_owned(), json!(0))]);
        let elsewhere = Hosted::new(database.open_as("elsewhere").await);
        assert_eq!(elsewhere.recall("s", "b").await.unwrap(), None);
        assert!(elsewhere.swap("s", "b", None, Some(&json!(1))).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_want_a_lock_at_once_one_gets_it() {
    for database in both() {
        let hosts: Vec<_> = futures::future::join_all((0..4).map(|_| host(&database))).await;
        let hosts: Vec<_> = hosts.into_iter().map(Arc::new).collect();
        for round in 0..5 {
            let takes = hosts.iter().cycle().take(12).enumerate().map(|(number, host)| {
                let host = Arc::clone(host);
                tokio::spawn(async move {
                    let wanted = lock::Lock {
                        name: format!("deploy/{round}"),
                        owner: format!("owner {number}"),
                        reason: None,
                        since: 0,
                        expires_at: None,
                    };
                    lock::take(&*host, wanted, 1).await.unwrap()
                })
            });
            let taken: Vec<_> =
                futures::future::join_all(takes).await.into_iter().map(Result::unwrap).collect();
            let now = taken.iter().filter(|taken| matches!(taken, lock::Taken::Now(_))).count();
            let held = taken.iter().filter(|taken| matches!(taken, lock::Taken::Held(_))).count();
            assert_eq!((now, held), (1, 11));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_kept_once_under_its_key_and_bytes_stay_as_they_are() {
    for database in both() {
        let host = host(&database).await;
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let kept = host.keep(file("exec_1/build#0~0:log", bytes.clone())).await.unwrap();
        assert_eq!(kept.bytes, 100_000);
        assert_eq!(kept.resource_uri, format!("workflow://artifacts/{}", kept.artifact_id));
        let again = host.keep(file("exec_1/build#0~0:log", "other")).await.unwrap();
        assert_eq!(again, kept);
        let (found, content) = host.artifact(&kept.artifact_id).await.unwrap().unwrap();
        assert_eq!((found, content), (kept.clone(), bytes));
        assert_eq!(host.artifact("art_none").await.unwrap(), None);
        host.keep(file("exec_1/build#0~0:second", "x")).await.unwrap();
        let store = database.open().await;
        assert_eq!(store.artifacts_of("exec_1", 10).await.unwrap().len(), 2);
        assert_eq!(store.artifacts_of("exec_1", 1).await.unwrap().len(), 1);
        let elsewhere = Hosted::new(database.open_as("elsewhere").await);
        assert_eq!(elsewhere.artifact(&kept.artifact_id).await.unwrap(), None);

        let longest = vec![0xff; MAX_ARTIFACT_BYTES + 1];
        let error = host.keep(file("k", longest)).await.unwrap_err();
        assert_eq!((error.code, error.retryable), (Code::InvalidArgument, false));
        assert!(error.message.contains("16777216 bytes"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_that_a_provider_makes_up_breaks_the_sums() {
    for database in both() {
        let host = host(&database).await;
        for key in ["one", "two", "three"] {
            let usage = usage(key, Some("exec_1"), Some(u64::MAX));
            host.spend(Usage { prompt_tokens: u64::MAX, ..usage }).await.unwrap();
        }
        let spent = host.spent(SpentOn::Execution("exec_1")).await.unwrap();
        assert_eq!((spent.calls, spent.prompt_tokens), (3, 3_000_000_000_000));
        assert_eq!(host.spent(SpentOn::Today).await.unwrap().calls, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_models_took_is_summed_over_an_execution_and_all_below_it() {
    for database in both() {
        let store = database.open().await;
        for id in ["exec_1", "exec_2", "exec_3", "exec_4"] {
            create_due(&store, id).await;
        }
        database.write("UPDATE executions SET parent_id = 'exec_1' WHERE id = 'exec_2'").await;
        database.write("UPDATE executions SET parent_id = 'exec_2' WHERE id = 'exec_3'").await;
        let host = Hosted::new(store.clone());
        let notes = [
            ("a", Some("exec_1"), Some(1_000)),
            ("b", Some("exec_2"), None),
            ("c", Some("exec_3"), Some(1)),
            ("d", Some("exec_4"), Some(7)),
            ("e", None, Some(5)),
            // An attempt that is repeated is paid for once.
            ("a", Some("exec_1"), Some(2_000)),
        ];
        for (key, execution_id, cost) in notes {
            host.spend(usage(key, execution_id, cost)).await.unwrap();
        }
        let of = async |id: &str| {
            let spent = host.spent(SpentOn::Execution(id)).await.unwrap();
            (spent.calls, spent.prompt_tokens, spent.cost_micro_usd, spent.calls_without_price)
        };
        assert_eq!(of("exec_1").await, (3, 300, 2_001, 1));
        assert_eq!(of("exec_2").await, (2, 200, 1, 1));
        assert_eq!(of("exec_4").await, (1, 100, 7, 0));
        assert_eq!(of("exec_9").await, (0, 0, 0, 0));

        database
            .write(format!(
                "UPDATE model_usages SET created_at = created_at - {DAY_MS} WHERE key = 'c'"
            ))
            .await;
        let today = host.spent(SpentOn::Today).await.unwrap();
        assert_eq!((today.calls, today.cost_micro_usd, today.completion_tokens), (4, 2_012, 40));
        sums(&store).await;
        let elsewhere = Hosted::new(database.open_as("elsewhere").await);
        assert_eq!(elsewhere.spent(SpentOn::Execution("exec_1")).await.unwrap().calls, 0);
        assert_eq!(elsewhere.spent(SpentOn::Today).await.unwrap().calls, 0);
    }
}

async fn sums(store: &Store) {
    let by = async |by: SpentBy| -> Vec<(String, i64)> {
        let rows = store.spent_since(0, by).await.unwrap();
        rows.into_iter().map(|row: SpentRow| (row.of, row.calls)).collect()
    };
    assert_eq!(by(SpentBy::Workflow).await, [(String::new(), 1), ("two_steps".to_owned(), 4)]);
    assert_eq!(by(SpentBy::Model).await, [("model-false".into(), 1), ("model-true".into(), 4)]);
    let days = by(SpentBy::Day).await;
    let today = (store.now() / DAY_MS).to_string();
    assert_eq!((days.len(), &days[1]), (2, &(today, 4)));
    let steps = store.spent_by_steps("exec_1").await.unwrap();
    assert_eq!((steps.len(), steps[0].of.as_str(), steps[0].calls), (1, "ask", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_looks_writes_nothing() {
    for database in both() {
        let writes = host(&database).await;
        assert!(writes.swap("s", "n", None, Some(&json!(1))).await.unwrap());
        let kept = writes.keep(file("k", "x")).await.unwrap();
        let looks = Hosted::new(Store::open_to_look(&database.url, "home").await.unwrap());
        let refused = [
            looks.swap("s", "n", Some(&json!(1)), None).await.unwrap_err(),
            looks.keep(file("l", "x")).await.unwrap_err(),
            looks.spend(usage("a", None, None)).await.unwrap_err(),
        ];
        for error in refused {
            assert_eq!((error.code, error.retryable), (Code::FailedPrecondition, false));
        }
        assert_eq!(looks.recall("s", "n").await.unwrap(), Some(json!(1)));
        assert_eq!(looks.artifact(&kept.artifact_id).await.unwrap().unwrap().1, b"x");
        assert_eq!(looks.spent(SpentOn::Today).await.unwrap().calls, 0);
    }
}
