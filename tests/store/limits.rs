//! Who goes first, and how many calls of a limited tool may be out or begin: the same for all processes of a workspace.

use std::collections::{BTreeMap, BTreeSet};

use windlass::{
    limits::{Limit, Limits, Rate},
    store::{PermitsGranted, PermitsWanted},
};
use windlass_engine::{Priority, ToolName};

use super::*;

fn limits(named: &[(&str, Limit)]) -> Limits {
    let configured: BTreeMap<String, Limit> =
        named.iter().map(|(name, limit)| ((*name).to_owned(), limit.clone())).collect();
    Limits::new(&configured)
}

fn at_once(calls: u32) -> Limit {
    Limit { concurrency: Some(calls), rate: None }
}

fn a_minute(calls: u32) -> Limit {
    Limit { concurrency: None, rate: Some(Rate { calls, period_ms: 60_000 }) }
}

fn tool(name: &str) -> ToolName {
    ToolName { server: "x".to_owned(), tool: name.to_owned() }
}

/// Asks for permits for calls of `x.one`, or of the tool that is named after a colon.
async fn ask(
    store: &Store,
    claim: &Claim,
    limits: &Limits,
    out: &[&str],
    wanted: &[&str],
) -> Result<PermitsGranted, Error> {
    let tools: BTreeSet<ToolName> = ["one", "two", "three"].map(tool).into();
    let out: Vec<String> = out.iter().map(|step| (*step).to_owned()).collect();
    let wanted: Vec<(String, ToolName)> = wanted
        .iter()
        .map(|step| step.split_once(':').unwrap_or((step, "one")))
        .map(|(step, name)| (step.to_owned(), tool(name)))
        .collect();
    let wanted = PermitsWanted { limits, tools: &tools, out: &out, wanted: &wanted };
    store.permits(claim, &wanted).await
}

fn steps(granted: &PermitsGranted) -> Vec<&str> {
    granted.steps.iter().map(String::as_str).collect()
}

/// Creates an execution and claims it.
async fn claimed(store: &Store, id: &str, priority: Priority) -> Claim {
    let wish = Wish { priority, ..wish(id) };
    assert!(matches!(create(store, &wish).await.unwrap(), Created::New(None)));
    store.claim_among("worker_1", &[id.to_owned()]).await.unwrap().expect("it is due")
}

async fn create_at(store: &Store, id: &str, priority: Priority, at: i64) {
    let wish = Wish { priority, at: Some(at), ..wish(id) };
    assert!(matches!(create(store, &wish).await.unwrap(), Created::New(None)));
}

fn ids(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.execution_id.as_str()).collect()
}

on_both! {
    async fn what_is_due_is_claimed_by_its_priority_and_then_by_its_time(database) {
        let store = database.open().await;
        let now = store.now();
        create_at(&store, "low", Priority::Low, now - 9_000).await;
        create_at(&store, "older", Priority::Normal, now - 8_000).await;
        create_at(&store, "newer", Priority::Normal, now - 7_000).await;
        create_at(&store, "high", Priority::High, now - 1_000).await;
        store.close().await;

        let store = database.open().await;
        for expected in ["high", "older", "newer", "low"] {
            assert_eq!(claim(&store, "worker_1").await.execution_id, expected);
        }
        assert!(nothing_is_due(&store).await);
    }

    async fn some_are_claimed_at_once_and_a_place_is_kept_for_who_is_due_longest(database) {
        let store = database.open().await;
        let now = store.now();
        create_at(&store, "low", Priority::Low, now - 9_000).await;
        for number in 0..3 {
            create_at(&store, &format!("normal_{number}"), Priority::Normal, now - 5_000 + number).await;
        }
        create_at(&store, "high", Priority::High, now - 1_000).await;
        let some = store.claim_some("worker_1", &[], 2, 1).await.unwrap();
        assert_eq!(ids(&some), ["high", "low"]);
        let rest = store.claim_some("worker_1", &[], 16, 0).await.unwrap();
        assert_eq!(rest.len(), 3);
        assert!(store.claim_some("worker_1", &[], 16, 2).await.unwrap().is_empty());
        // Each of them is a claim like any other.
        let mut driven = Driven::of(&store, rest[0].clone()).await;
        driven.hears(&store, vec![]).await;
    }

    async fn many_workers_claim_each_execution_once(database) {
        let store = database.open().await;
        for number in 0..40 {
            create_due(&store, &format!("exec_{number}")).await;
        }
        let workers = (0..4).map(|worker| {
            let store = store.clone();
            tokio::spawn(async move {
                let (worker, mut claims) = (format!("worker_{worker}"), Vec::new());
                // Others may hold what is due for a moment.
                for _ in 0..40 {
                    claims.extend(store.claim_some(&worker, &[], 7, 0).await.unwrap());
                }
                claims
            })
        });
        let mut seen = BTreeSet::new();
        for claims in futures::future::join_all(workers).await {
            for claim in claims.unwrap() {
                assert!(seen.insert(claim.execution_id.clone()), "{} twice", claim.execution_id);
            }
        }
        assert_eq!(seen.len(), 40);
    }

    async fn what_is_driven_is_due_when_its_lease_ends_and_not_before(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        driven.hears(&store, vec![]).await;
        let due = "SELECT COUNT(*) FROM executions WHERE wake_at < lease_until - 15000";
        assert_eq!(database.number(due).await, 0);
        let held = "SELECT COUNT(*) FROM executions WHERE wake_at <= lease_until";
        assert_eq!(database.number(held).await, 1, "and not later either");
        store.renew("worker_1", &["exec_1".to_owned()]).await.unwrap();
        let renewed = "SELECT COUNT(*) FROM executions WHERE wake_at = lease_until";
        assert_eq!(database.number(renewed).await, 1);
        assert!(store.next_wake(&[]).await.unwrap().is_some_and(|at| store.now() < at));
    }

    async fn no_more_calls_are_out_than_a_limit_allows_whoever_asks(database) {
        let (here, there) = (database.open().await, database.open().await);
        let limits = limits(&[("x", at_once(2))]);
        let first = claimed(&here, "exec_1", Priority::Normal).await;
        let second = claimed(&there, "exec_2", Priority::Normal).await;
        let granted = ask(&here, &first, &limits, &[], &["a", "b", "c"]).await.unwrap();
        assert_eq!(steps(&granted), ["a", "b"]);
        assert!(granted.look_at.is_some_and(|at| here.now() < at), "{granted:?}");
        let refused = ask(&there, &second, &limits, &[], &["a"]).await.unwrap();
        assert_eq!(steps(&refused), Vec::<&str>::new());
        assert_eq!(there.permit_waits("exec_2").await.unwrap().len(), 1);

        // One comes home: the next is the one of the same execution, that asked before.
        let next = ask(&here, &first, &limits, &["b"], &["c"]).await.unwrap();
        assert_eq!(steps(&next), ["c"]);
        // Another: now the other execution is due, and its permit waits for it.
        let home = ask(&here, &first, &limits, &["c"], &[]).await.unwrap();
        assert_eq!((steps(&home), &*home.due), (vec![], &["exec_2".to_owned()][..]));
        let taken = ask(&there, &second, &limits, &[], &["a"]).await.unwrap();
        assert_eq!(steps(&taken), ["a"]);
        let full = ask(&here, &first, &limits, &["c"], &["d"]).await.unwrap();
        assert_eq!(steps(&full), Vec::<&str>::new());
    }

    async fn a_permit_ends_with_the_lease_of_its_holder(database) {
        let store = database.open().await;
        let limits = limits(&[("x", at_once(1))]);
        let lost = claimed(&store, "exec_1", Priority::Normal).await;
        assert_eq!(steps(&ask(&store, &lost, &limits, &[], &["a"]).await.unwrap()), ["a"]);
        let other = claimed(&store, "exec_2", Priority::Normal).await;
        assert!(ask(&store, &other, &limits, &[], &["a"]).await.unwrap().steps.is_empty());
        store.close().await;

        // The process is gone without a word, and nobody has taken its execution over yet.
        let store = database.open().await;
        database.let_the_lease_run_out("exec_1").await;
        assert_eq!(steps(&ask(&store, &other, &limits, &[], &["a"]).await.unwrap()), ["a"]);
        // Whoever takes it over asks again, and the one that comes back is told to leave it.
        let taken = store.claim_among("worker_2", &["exec_1".to_owned()]).await.unwrap().unwrap();
        assert!(ask(&store, &taken, &limits, &[], &["a"]).await.unwrap().steps.is_empty());
        let fenced = ask(&store, &lost, &limits, &[], &["a"]).await;
        assert!(matches!(fenced, Err(Error::Fenced(_))), "{fenced:?}");
        let home = ask(&store, &other, &limits, &[], &[]).await.unwrap();
        assert_eq!(home.due, ["exec_1"]);
        assert_eq!(steps(&ask(&store, &taken, &limits, &[], &["a"]).await.unwrap()), ["a"]);
    }

    async fn one_that_is_taken_over_gives_its_permits_back(database) {
        let store = database.open().await;
        let limits = limits(&[("x", at_once(1))]);
        let lost = claimed(&store, "exec_1", Priority::Normal).await;
        assert_eq!(steps(&ask(&store, &lost, &limits, &[], &["a"]).await.unwrap()), ["a"]);
        let other = claimed(&store, "exec_2", Priority::Normal).await;
        assert!(ask(&store, &other, &limits, &[], &["a"]).await.unwrap().steps.is_empty());
        database.let_the_lease_run_out("exec_1").await;
        let taken = store.claim_among("worker_2", &["exec_1".to_owned()]).await.unwrap().unwrap();
        let first = ask(&store, &taken, &limits, &[], &[]).await.unwrap();
        assert_eq!(first.due, ["exec_2"], "the call of before is nobody's");
    }

    async fn the_queue_goes_by_priority_and_then_by_arrival(database) {
        let store = database.open().await;
        let limits = limits(&[("x", at_once(1))]);
        let holder = claimed(&store, "holder", Priority::Low).await;
        assert_eq!(steps(&ask(&store, &holder, &limits, &[], &["a"]).await.unwrap()), ["a"]);
        let mut waiting = BTreeMap::new();
        for (id, priority) in [
            ("low", Priority::Low), ("first", Priority::Normal), ("second", Priority::Normal), ("high", Priority::High),
        ] {
            let claim = claimed(&store, id, priority).await;
            assert!(ask(&store, &claim, &limits, &[], &["a"]).await.unwrap().steps.is_empty());
            waiting.insert(id, claim);
        }
        let mut last = holder;
        for expected in ["high", "first", "second", "low"] {
            let home = ask(&store, &last, &limits, &[], &[]).await.unwrap();
            assert_eq!(home.due, [expected], "one is woken, and no more");
            last = waiting.remove(expected).unwrap();
            assert_eq!(steps(&ask(&store, &last, &limits, &[], &["a"]).await.unwrap()), ["a"]);
        }
    }

    async fn one_in_eight_goes_to_who_has_waited_longest(database) {
        let store = database.open().await;
        let limits = limits(&[("x", at_once(1))]);
        let low = claimed(&store, "low", Priority::Low).await;
        let high = claimed(&store, "high", Priority::High).await;
        assert_eq!(steps(&ask(&store, &high, &limits, &[], &["0"]).await.unwrap()), ["0"]);
        assert!(ask(&store, &low, &limits, &[], &["a"]).await.unwrap().steps.is_empty());
        let mut served = 0;
        for number in 1..20 {
            // There is always one more of the higher priority.
            let home = ask(&store, &high, &limits, &[], &[&format!("{number}")]).await.unwrap();
            if home.due == ["low"] {
                break;
            }
            served = number;
        }
        assert_eq!(served, 6, "the eighth permit is for whoever waits longest");
    }

    async fn what_nobody_takes_up_goes_to_the_next(database) {
        let store = database.open().await;
        let limits = limits(&[("x", at_once(1))]);
        let [first, second, third] = [
            claimed(&store, "first", Priority::Normal).await,
            claimed(&store, "second", Priority::Normal).await,
            claimed(&store, "third", Priority::Normal).await,
        ];
        assert_eq!(steps(&ask(&store, &first, &limits, &[], &["a"]).await.unwrap()), ["a"]);
        assert!(ask(&store, &second, &limits, &[], &["a"]).await.unwrap().steps.is_empty());
        assert!(ask(&store, &third, &limits, &[], &["a"]).await.unwrap().steps.is_empty());
        assert!(!store.take_up_permits("second").await.unwrap());
        assert_eq!(ask(&store, &first, &limits, &[], &[]).await.unwrap().due, ["second"]);
        assert!(store.take_up_permits("second").await.unwrap(), "it may have gone to sleep just before");
        assert!(ask(&store, &third, &limits, &[], &["a"]).await.unwrap().steps.is_empty());

        database.write("UPDATE limit_places SET granted_at = granted_at - 31000").await;
        assert_eq!(steps(&ask(&store, &third, &limits, &[], &["a"]).await.unwrap()), ["a"]);
        assert!(ask(&store, &second, &limits, &[], &["a"]).await.unwrap().steps.is_empty());
    }

    async fn no_more_calls_begin_in_any_minute_than_a_rate_allows(database) {
        let (here, there) = (database.open().await, database.open().await);
        let limits = limits(&[("x", a_minute(3))]);
        let first = claimed(&here, "exec_1", Priority::Normal).await;
        let second = claimed(&there, "exec_2", Priority::Normal).await;
        assert_eq!(steps(&ask(&here, &first, &limits, &[], &["a", "b"]).await.unwrap()), ["a", "b"]);
        let both = ask(&there, &second, &limits, &[], &["a", "b"]).await.unwrap();
        assert_eq!(steps(&both), ["a"]);
        let next = both.look_at.expect("a time to look") - there.now();
        assert!((55_000..=60_000).contains(&next), "as soon as a minute has passed since the first: {next}");
        // That they come home changes nothing: they have begun.
        assert!(ask(&here, &first, &limits, &[], &["c"]).await.unwrap().steps.is_empty());
        here.close().await;

        database.write("UPDATE limit_begun SET at = at - 60000 WHERE number = 1").await;
        // The one that asked first, although another one asks.
        let asked = ask(&there, &second, &limits, &["a"], &["b"]).await.unwrap();
        assert_eq!((steps(&asked), asked.due.len()), (vec!["b"], 0));
        database.write("UPDATE limit_begun SET at = at - 60000 WHERE number <= 4").await;
        let asked = ask(&there, &second, &limits, &[], &["c", "d", "e", "f"]).await.unwrap();
        assert_eq!((steps(&asked), &*asked.due), (vec!["c", "d"], &["exec_1".to_owned()][..]));
        assert_eq!(database.number("SELECT COUNT(*) FROM limit_begun").await, 3, "no more is kept");
    }

    async fn a_call_that_is_made_again_counts_again(database) {
        let store = database.open().await;
        let limits = limits(&[("x", a_minute(1))]);
        let claim = claimed(&store, "exec_1", Priority::Normal).await;
        assert_eq!(steps(&ask(&store, &claim, &limits, &[], &["a"]).await.unwrap()), ["a"]);
        assert!(ask(&store, &claim, &limits, &[], &["a"]).await.unwrap().steps.is_empty());
        // One that waits asks again without losing anything.
        let waits = store.permit_waits("exec_1").await.unwrap();
        assert_eq!(waits.iter().map(|wait| wait.step.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    async fn a_tool_has_a_limit_of_its_own_and_keeps_no_other_waiting(database) {
        let store = database.open().await;
        let limits = limits(&[("x", at_once(3)), ("x.one", at_once(1))]);
        let claim = claimed(&store, "exec_1", Priority::Normal).await;
        let asked = ask(&store, &claim, &limits, &[], &["a", "b", "c:two", "d:two", "e:two"]).await.unwrap();
        assert_eq!(steps(&asked), ["a", "c", "d"], "one of one, three in all");
        let home = ask(&store, &claim, &limits, &["c", "d"], &["b", "e:two"]).await.unwrap();
        assert_eq!(steps(&home), ["b"]);
        let waits = store.permit_waits("exec_1").await.unwrap();
        assert_eq!((waits[0].step.as_str(), waits[0].tool.as_str()), ("e", ""));
        let elsewhere = database.open_as("away").await;
        assert!(elsewhere.permit_waits("exec_1").await.unwrap().is_empty());
    }
}
