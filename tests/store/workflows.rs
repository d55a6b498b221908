//! Saved workflows, revisions and pins, on both databases.

use futures::future::join_all;
use windlass::store::{Created, NewPin, NewRevision, RevisionRow, Saving, Store, WorkflowRow};
use windlass_engine::{Workflow, parse};

use super::{Database, Wish, create, wish, workflow};

fn both() -> [Database; 2] {
    [Database::sqlite(), Database::postgres()]
}

fn titled(title: &str) -> Workflow {
    let steps = serde_json::json!([{ "name": "a", "tool": "x.one" }]);
    let document = serde_json::json!({ "name": "two_steps", "title": title, "steps": steps });
    parse(&document.to_string()).unwrap()
}

async fn save(store: &Store, workflow: &Workflow, expected: Option<i64>) -> Saving {
    let new = NewRevision {
        hash: &workflow.hash,
        workflow: &workflow.name,
        document: &workflow.document.to_string(),
        source: "saved",
        author: "ada",
        on_behalf_of: Some("grace"),
        comment: workflow.title.as_deref(),
    };
    store.save_workflow(&new, expected).await.unwrap()
}

fn saved(number: i64, is_new: bool) -> Saving {
    Saving::Saved { number, is_new }
}

fn numbers(rows: &[RevisionRow]) -> Vec<(i64, &str)> {
    rows.iter().map(|row| (row.number, row.author.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_count_from_one_and_the_same_content_is_one_revision() {
    for database in both() {
        let store = database.open().await;
        let (one, two) = (titled("one"), titled("two"));
        assert_eq!(save(&store, &one, None).await, saved(1, true));
        assert_eq!(save(&store, &two, None).await, saved(2, true));
        assert_eq!(save(&store, &one, None).await, saved(1, false));
        let row = store.workflow("two_steps").await.unwrap().unwrap();
        assert_eq!(row.revision.as_deref(), Some(one.hash.as_str()));
        assert_eq!((row.enabled, row.updated_by.as_str()), (1, "ada"));
        let rows = store.revisions("two_steps").await.unwrap();
        assert_eq!(numbers(&rows), [(2, "ada"), (1, "ada")]);
        assert_eq!(rows[1].on_behalf_of.as_deref(), Some("grace"));
        assert_eq!(rows[1].comment.as_deref(), Some("one"));
        let elsewhere = database.open_as("elsewhere").await;
        assert!(elsewhere.workflows().await.unwrap().is_empty());
        assert!(elsewhere.revisions("two_steps").await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_not_saved_over_another_one_than_was_expected() {
    for database in both() {
        let store = database.open().await;
        assert_eq!(save(&store, &titled("one"), Some(1)).await, Saving::Conflict(None));
        assert_eq!(save(&store, &titled("one"), Some(0)).await, saved(1, true));
        let Saving::Conflict(Some(other)) = save(&store, &titled("two"), Some(0)).await else {
            panic!("it was saved")
        };
        assert_eq!((other.number, other.author.as_str()), (1, "ada"));
        assert_eq!(save(&store, &titled("two"), Some(1)).await, saved(2, true));
        assert_eq!(store.revisions("two_steps").await.unwrap().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_save_at_once_get_numbers_of_their_own() {
    for database in both() {
        let store = database.open().await;
        let workflows: Vec<_> = (0..8).map(|number| titled(&number.to_string())).collect();
        let saving = workflows.iter().map(|workflow| save(&store, workflow, None));
        let mut numbers: Vec<_> = futures::future::join_all(saving)
            .await
            .into_iter()
            .map(|saving| match saving {
                Saving::Saved { number, is_new: true } => number,
                other => panic!("{other:?}"),
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_run_or_seen_in_a_file_is_numbered_in_the_order_it_came() {
    for database in both() {
        let store = database.open().await;
        // What an execution, or an earlier release, writes has neither number nor author.
        create(&store, &wish("exec_1")).await.unwrap();
        database.write("UPDATE revisions SET created_at = created_at - 1000").await;
        let seen = titled("seen");
        let new = NewRevision {
            hash: &seen.hash,
            workflow: &seen.name,
            document: &seen.document.to_string(),
            source: "workflows/two_steps.yaml",
            author: "file",
            on_behalf_of: None,
            comment: None,
        };
        store.note_revision(&new).await.unwrap();
        store.note_revision(&new).await.unwrap();
        assert_eq!(save(&store, &titled("saved"), None).await, saved(3, true));
        let rows = store.revisions("two_steps").await.unwrap();
        assert_eq!(numbers(&rows), [(3, "ada"), (2, "file"), (1, "file")]);
        assert_eq!(rows[2].hash, workflow().hash);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_switched_off_and_on_whether_it_is_saved_or_not() {
    for database in both() {
        let store = database.open().await;
        store.set_enabled("hello", false, "ada").await.unwrap();
        let row = store.workflow("hello").await.unwrap().unwrap();
        assert_eq!((row.revision, row.enabled), (None, 0));
        save(&store, &titled("one"), None).await;
        store.set_enabled("two_steps", false, "ada").await.unwrap();
        save(&store, &titled("two"), None).await;
        let row = store.workflow("two_steps").await.unwrap().unwrap();
        assert_eq!((row.revision, row.enabled), (Some(titled("two").hash), 0), "it stays off");
        store.set_enabled("two_steps", true, "ada").await.unwrap();
        assert_eq!(store.workflow("two_steps").await.unwrap().unwrap().enabled, 1);
    }
}

fn pin<'p>(digest: &'p str, renew: bool) -> NewPin<'p> {
    NewPin { revision: "r", tool: "x.one", digest, snapshot: digest, by: "ada", renew }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_pin_stays_until_it_is_renewed() {
    for database in both() {
        let store = database.open().await;
        assert_eq!(store.pinned("r", "x.one").await.unwrap(), None);
        store.pin(&pin("old", false)).await.unwrap();
        store.pin(&pin("new", false)).await.unwrap();
        assert_eq!(store.pinned("r", "x.one").await.unwrap(), Some(("old".into(), None)));

        store.saw("r", "x.one", Some(("new", "new"))).await.unwrap();
        let seen = Some("new".to_owned());
        assert_eq!(store.pinned("r", "x.one").await.unwrap(), Some(("old".into(), seen.clone())));
        assert_eq!(store.pins(None).await.unwrap()[0].seen, seen);
        assert_eq!(store.tool_snapshot("new").await.unwrap(), seen);
        store.saw("r", "x.one", None).await.unwrap();
        assert_eq!(store.pins(Some("r")).await.unwrap()[0].seen, None);

        store.saw("r", "x.one", Some(("", ""))).await.unwrap();
        store.pin(&pin("new", true)).await.unwrap();
        assert_eq!(store.pinned("r", "x.one").await.unwrap(), Some(("new".into(), None)));
        assert!(store.pins(Some("other")).await.unwrap().is_empty());
    }
}

/// How the workflow of these tests stands.
async fn standing(store: &Store) -> String {
    WorkflowRow::standing(store.workflow("two_steps").await.unwrap().as_ref())
}

/// Whether an execution came to be that was to run a workflow which stands like that.
async fn is_created(store: &Store, id: &str, standing: &str) -> bool {
    let wish = Wish { standing: Some(standing.to_owned()), ..wish(id) };
    match create(store, &wish).await.unwrap() {
        Created::New(_) => true,
        Created::Outdated => {
            assert!(store.execution(id).await.unwrap().is_none(), "{id} was written");
            assert!(store.history(id).await.unwrap().is_empty());
            false
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_of_a_workflow_that_stands_otherwise_than_was_known() {
    for database in both() {
        let store = database.open().await;
        let unsaved = standing(&store).await;
        // The first one is written alone, since its revision is not known to be there; the second one is not.
        assert!(is_created(&store, "exec_1", &unsaved).await);
        assert!(is_created(&store, "exec_2", &unsaved).await);
        assert!(!is_created(&store, "exec_3", "1 other").await);

        save(&store, &titled("one"), None).await;
        let first = standing(&store).await;
        assert!(!is_created(&store, "exec_4", &unsaved).await, "somebody saved it");
        assert!(is_created(&store, "exec_5", &first).await);
        store.set_enabled("two_steps", false, "ada").await.unwrap();
        assert!(!is_created(&store, "exec_6", &first).await, "somebody switched it off");
        store.set_enabled("two_steps", true, "ada").await.unwrap();
        assert!(is_created(&store, "exec_7", &first).await);
        save(&store, &titled("two"), None).await;
        assert!(!is_created(&store, "exec_8", &first).await, "somebody saved another one");

        let second = standing(&store).await;
        let table = if database.is_postgres() { "workflow_states" } else { "workflows" };
        let pending = "sql_definition = '{}', sql_taken = NULL, sql_over = revision";
        database.write(format!("UPDATE {table} SET {pending}")).await;
        assert!(!is_created(&store, "exec_9", &second).await, "another one came in by SQL");
        assert_ne!(standing(&store).await, second);
        assert_eq!(store.failed_groups(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_that_start_together_only_those_are_created_whose_workflow_stands_as_known() {
    for database in both() {
        let store = database.open().await;
        assert!(is_created(&store, "exec_first", "").await);
        let ids: Vec<String> = (0..24).map(|number| format!("exec_{number:02}")).collect();
        let standing = |number: usize| if number.is_multiple_of(3) { "1 other" } else { "" };
        let all = ids.iter().enumerate().map(|(at, id)| is_created(&store, id, standing(at)));
        for (at, created) in join_all(all).await.into_iter().enumerate() {
            assert_eq!(created, !at.is_multiple_of(3), "{}", ids[at]);
        }
        assert_eq!(database.number("SELECT COUNT(*) FROM executions").await, 17);
        assert_eq!(store.failed_groups(), 0);
    }
}
