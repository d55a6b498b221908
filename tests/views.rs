//! Views for people who ask the database: they say what a status says, and workflows come in through them.

use serde_json::{Map, Value, json};
use sqlx::{
    AssertSqlSafe, Column, Connection, PgConnection, Row, SqliteConnection, TypeInfo, ValueRef,
    postgres::PgConnectOptions, sqlite::SqliteRow,
};

use crate::harness::{Client, Project, begin, block_on, database, settled};

/// A project, and the address of its database.
struct House {
    project: Project,
    database: String,
}

impl House {
    fn sqlite() -> House {
        let project = Project::new();
        let database = format!("sqlite:{}", project.data_dir().join("views.db").display());
        let project = project.with_env("WINDLASS_DATABASE", &database);
        House { project, database }
    }

    fn postgres() -> House {
        let database = database();
        let project = Project::new().with_env("WINDLASS_DATABASE", &database);
        House { project, database }
    }

    /// Every row, as an object; what is JSON in the view is JSON here.
    fn rows(&self, sql: &str) -> Vec<Value> {
        match self.database.starts_with("postgres") {
            true => rows_of_postgres(&self.database, None, sql).unwrap(),
            false => rows_of_sqlite(&self.database, sql),
        }
    }

    fn row(&self, sql: &str) -> Value {
        let mut rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:#?}");
        rows.remove(0)
    }

    /// Statements as somebody types them: not prepared, no parameters. What the database answers when it refuses.
    fn says(&self, sql: &str) -> Result<u64, String> {
        block_on(async {
            let mut connection = PgConnection::connect(&self.database).await.unwrap();
            let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await;
            done.map(|done| done.rows_affected()).map_err(|err| err.to_string())
        })
    }

    fn json(&self, arguments: &[&str], code: i32) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        self.project.run(&arguments).expect(code).json()
    }

    /// What an agent is told who has it checked by its name.
    fn validated(&self, name: &str) -> Value {
        let mut door = self.project.client(&["serve"]);
        door.initialize();
        door.call("workflow.validate", json!({ "workflow": name }))["structuredContent"].clone()
    }

    fn listed(&self, name: &str) -> Value {
        let listed = self.json(&["list"], 0);
        let workflows = listed["workflows"].as_array().unwrap();
        workflows.iter().find(|workflow| workflow["name"] == name).cloned().unwrap_or_default()
    }
}

fn rows_of_postgres(url: &str, program: Option<&str>, sql: &str) -> sqlx::Result<Vec<Value>> {
    let options: PgConnectOptions = url.parse().unwrap();
    let options = match program {
        Some(program) => options.application_name(program),
        None => options,
    };
    let sql = format!("SELECT to_jsonb(shown)::text FROM ({sql}) AS shown");
    block_on(async {
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
        Ok(rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect())
    })
}

fn rows_of_sqlite(url: &str, sql: &str) -> Vec<Value> {
    block_on(async {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await;
        rows.unwrap().iter().map(object).collect()
    })
}

fn object(row: &SqliteRow) -> Value {
    let mut object = Map::new();
    for column in row.columns() {
        let raw = row.try_get_raw(column.ordinal()).unwrap();
        let value = match raw.type_info().name() {
            "NULL" => Value::Null,
            "INTEGER" => json!(row.get::<i64, _>(column.ordinal())),
            "REAL" => json!(row.get::<f64, _>(column.ordinal())),
            _ => read(column.name(), row.get::<String, _>(column.ordinal())),
        };
        object.insert(column.name().to_owned(), value);
    }
    Value::Object(object)
}

/// What is JSON on Postgres is text in SQLite.
fn read(column: &str, text: String) -> Value {
    match column {
        "input" | "output" | "definition" | "pause_metadata" => {
            serde_json::from_str(&text).unwrap()
        }
        _ => Value::String(text),
    }
}

const GREETING: &str = r#"{
    "steps": [
        { "name": "greet", "tool": "demo.echo", "params": { "text": "Hello, ${input.who}!" }, "assign": "greeting" },
        { "name": "thank", "tool": "demo.echo", "params": { "text": "Thank you for ${greeting.text}" } }
    ]
}"#;

fn insert(name: &str, definition: &str) -> String {
    format!(
        "INSERT INTO workflows (name, description, definition, version, enabled) VALUES (
           '{name}', 'Says hello', '{definition}'::jsonb, 1, true
         );"
    )
}

#[test]
fn a_workflow_that_came_in_by_sql_is_listed_checked_and_run() {
    let house = House::postgres();
    house.json(&["list"], 0);
    house.says(&insert("greeting", GREETING)).unwrap();
    let counted = |sql: &str| house.row(sql)["count"].clone();
    assert_eq!(counted("SELECT COUNT(*) FROM workflows"), 1);
    let listed = house.listed("greeting");
    assert_eq!((&listed["source"], &listed["description"]), (&json!("sql"), &json!("Says hello")));
    assert!(!house.validated("greeting").to_string().contains("problems\":[{"));

    let ran = house.json(&["run", "greeting", "who=Ada"], 0);
    assert_eq!(ran["status"], "completed", "{ran:#}");
    assert_eq!(house.listed("greeting")["source"], "saved");
    let revision = &house.json(&["revisions", "greeting"], 0)["revisions"][0];
    assert_eq!((&revision["number"], &revision["source"]), (&json!(1), &json!("sql")));
    assert!(revision["author"].as_str().unwrap().starts_with("sql:"), "{revision}");
    // What was written is what is read, also now that it is a revision.
    let kept =
        house.row("SELECT definition, enabled, version FROM workflows WHERE name = 'greeting'");
    let written: Value = serde_json::from_str(GREETING).unwrap();
    assert_eq!(kept, json!({ "definition": written, "enabled": true, "version": 1 }));

    let history = house.row(
        "SELECT we.id, w.name AS workflow_name, we.status, we.started_at, we.completed_at,
             COUNT(ws.id) AS total_steps,
             COUNT(CASE WHEN ws.status = 'completed' THEN 1 END) AS completed_steps
         FROM workflow_executions we
         JOIN workflows w ON we.workflow_id = w.id
         LEFT JOIN workflow_steps ws ON ws.execution_id = we.id
         WHERE we.created_at > NOW() - INTERVAL '7 days'
         GROUP BY we.id, w.name, we.status, we.started_at, we.completed_at
         ORDER BY we.started_at DESC",
    );
    assert_eq!(history["id"], ran["execution_id"]);
    assert_eq!(history["workflow_name"], "greeting");
    assert_eq!((&history["total_steps"], &history["completed_steps"]), (&json!(2), &json!(2)));
    let active = "SELECT we.id, NOW() - we.started_at AS duration FROM workflow_executions we
        JOIN workflows w ON we.workflow_id = w.id WHERE we.status IN ('pending', 'running')
        ORDER BY we.started_at DESC";
    assert_eq!(house.rows(active), Vec::<Value>::new());
    let took = "SELECT AVG(EXTRACT(EPOCH FROM (completed_at - started_at)) * 1000) AS took
        FROM workflow_executions WHERE status IN ('completed', 'failed')
          AND started_at >= NOW() - INTERVAL '24 hours'";
    assert!(0.0 <= house.row(took)["took"].as_f64().unwrap());
    let steps = house.rows(
        "SELECT step_name, step_index, status, retry_count, error FROM workflow_steps ORDER BY step_index",
    );
    assert_eq!((&steps[0]["step_name"], &steps[0]["step_index"]), (&json!("greet"), &json!(0)));
    assert_eq!((&steps[1]["step_name"], &steps[1]["step_index"]), (&json!("thank"), &json!(1)));
}

#[test]
fn a_broken_workflow_that_came_in_by_sql_is_listed_with_its_problems_and_not_run() {
    let house = House::postgres();
    house.json(&["list"], 0);
    let wrong = GREETING.replace("demo.echo", "demo.no_such_tool");
    house.says(&insert("wrong_tool", &wrong)).unwrap();
    house.says(&insert("no_steps", r#"{"steps": [{"name": "a"}]}"#)).unwrap();
    house.says(&insert("one_name", r#"{"name": "another", "steps": [{"name": "a", "tool": "demo.echo", "params": {"text": "a"}}]}"#)).unwrap();
    assert!(house.listed("no_steps")["problems"][0]["message"].is_string());
    assert!(house.listed("one_name").to_string().contains("calls itself"));
    for name in ["wrong_tool", "no_steps", "one_name"] {
        let refused = house.json(&["run", name, "who=Ada"], 1);
        assert_eq!(refused["error"]["code"], "broken_workflow", "{refused:#}");
        let checked = house.validated(name);
        assert!(checked["problems"][0]["message"].is_string(), "{checked:#}");
    }
    assert!(house.validated("wrong_tool").to_string().contains("no_such_tool"));
    assert_eq!(house.rows("SELECT id FROM workflow_executions"), Vec::<Value>::new());

    // What is mended runs.
    let mended =
        format!("UPDATE workflows SET definition = '{GREETING}'::jsonb WHERE name = 'wrong_tool'");
    assert_eq!(house.says(&mended), Ok(1));
    house.json(&["run", "wrong_tool", "who=Ada"], 0);
}

#[test]
fn an_update_by_sql_is_a_new_revision_and_the_switch_holds() {
    let house = House::postgres();
    house.json(&["list"], 0);
    house.says(&insert("greeting", GREETING)).unwrap();
    house.json(&["run", "greeting", "who=Ada"], 0);
    let again = house.says(&insert("greeting", GREETING)).unwrap_err();
    assert!(again.contains("is there already"), "{again}");

    let other = GREETING.replace("Hello", "Good morning");
    let update = format!(
        "UPDATE workflows SET definition = '{other}'::jsonb, version = 2 WHERE name = 'greeting'"
    );
    assert_eq!(house.says(&update), Ok(1));
    let ran = house.json(&["run", "greeting", "who=Ada"], 0);
    let step = format!(
        "SELECT output FROM workflow_steps WHERE execution_id = '{}' AND step_name = 'greet'",
        ran["execution_id"].as_str().unwrap()
    );
    assert_eq!(house.row(&step)["output"]["text"], "Good morning, Ada!");
    let revisions = house.json(&["revisions", "greeting"], 0);
    assert_eq!(revisions["revisions"][0]["number"], 2);
    assert_eq!(house.row("SELECT version FROM workflows WHERE name = 'greeting'")["version"], 2);

    // Who saves afterwards is the last one who did.
    house.project.write(
        "greeting.yaml",
        "name: greeting\nsteps:\n  - { name: hum, tool: demo.echo, params: { text: la } }\n",
    );
    house.json(&["save", "greeting.yaml"], 0);
    let ran = house.json(&["run", "greeting"], 0);
    assert_eq!(ran["steps"][0]["name"], "hum");

    house.says("UPDATE workflows SET enabled = false WHERE name = 'greeting'").unwrap();
    let refused = house.json(&["run", "greeting"], 2);
    assert_eq!(refused["error"]["code"], "disabled", "{refused:#}");
    house.json(&["enable", "greeting"], 0);
    assert_eq!(house.row("SELECT enabled FROM workflows")["enabled"], true);
    house.json(&["run", "greeting"], 0);

    for (sql, why) in [
        ("UPDATE workflows SET name = 'other'", "keeps its name"),
        ("DELETE FROM workflows", "has a history"),
        ("INSERT INTO workflows (name) VALUES ('x')", "needs a name and a definition"),
        ("INSERT INTO workflows (name, definition) VALUES ('x', '[]')", "is a JSON object"),
    ] {
        let refused = house.says(sql).unwrap_err();
        assert!(refused.contains(why), "{sql}: {refused}");
    }
}

#[test]
fn a_file_of_the_project_wins_over_what_came_in_by_sql() {
    let house = House::postgres();
    let file = "name: greeting\nsteps:\n  - { name: hum, tool: demo.echo, params: { text: la } }\n";
    house.project.write("workflows/greeting.yaml", file);
    house.json(&["list"], 0);
    house.says(&insert("greeting", GREETING)).unwrap();
    assert_eq!(house.json(&["run", "greeting"], 0)["steps"][0]["name"], "hum");
    std::fs::remove_file(house.project.path().join("workflows/greeting.yaml")).unwrap();
    assert_eq!(house.json(&["run", "greeting", "who=Ada"], 0)["steps"][0]["name"], "greet");
    // A workspace of its own has workflows of its own.
    let elsewhere =
        "INSERT INTO workflows (workspace, name, definition) VALUES ('elsewhere', 'theirs', '{}')";
    house.says(elsewhere).unwrap();
    assert_eq!(house.listed("theirs"), Value::Null);
    assert_eq!(house.row("SELECT COUNT(*) AS count FROM workflows")["count"], 2);
}

#[test]
fn the_release_before_these_views_still_finds_its_table() {
    let house = House::postgres();
    house.json(&["list"], 0);
    house.says(&insert("greeting", GREETING)).unwrap();
    house.json(&["run", "greeting", "who=Ada"], 0);
    house.json(&["run", "hello"], 0);
    let earlier = |name: &str| {
        let sql = format!(
            "SELECT name, revision, enabled, updated_at, updated_by FROM workflows
             WHERE workspace = 'default' AND name = '{name}'"
        );
        rows_of_postgres(&house.database, Some("windlass"), &sql).unwrap()
    };
    // Where it would read its own words wrong, it fails; where there is nothing to know, it finds nothing.
    assert_eq!(earlier("hello"), Vec::<Value>::new());
    assert_eq!(earlier("greeting")[0]["enabled"], true);
    let name = house.database.rsplit('/').next().unwrap();
    house.says(&format!("ALTER DATABASE {name} RESET search_path")).unwrap();
    assert_eq!(earlier("greeting")[0]["enabled"], 1);
    let row = house.row("SELECT enabled FROM windlass_views.workflows WHERE name = 'greeting'");
    assert_eq!(row["enabled"], true);
}

const MANY: &str = "\
name: many
input: { type: object, properties: { what: { type: string, default: \"nul \\0 and a \\\\ ☃\" } } }
steps:
  - { name: each, forEach: \"${[1, 2, 3]}\", tool: demo.echo, params: { text: \"${string(item)}\" } }
  - { name: never, if: \"${false}\", tool: demo.echo, params: { text: x } }
  - { name: say, tool: demo.echo, params: { text: \"${input.what}\" } }
output: { said: \"${steps.say.text}\", all: \"${steps.each}\" }
";
const FAILS: &str = "\
name: fails
steps:
  - { name: say, tool: demo.echo, params: { text: a } }
  - { name: stop, stop: { status: failed, message: it was not to be } }
";
const ASKS: &str = "\
name: asks
steps:
  - { name: ask, approval: { message: \"Go on?\" } }
  - { name: say, tool: demo.echo, params: { text: a } }
";
const SLEEPS: &str = "\
name: sleeps
steps:
  - { name: rest, wait: { ms: 600000 } }
";

/// What a view calls a status of ours.
fn in_the_view(status: &str, execution: &Value) -> &'static str {
    match status {
        "waiting" if execution["waiting_for"].is_string() => "paused",
        "waiting" => "running",
        "completed" => "completed",
        "failed" => "failed",
        "cancelled" => "cancelled",
        "paused" => "paused",
        "running" => "running",
        other => panic!("{other}"),
    }
}

fn said_by_status(door: &mut Client, id: &str) -> Value {
    let fields = json!(["steps", "results", "input", "output", "error"]);
    door.call_ok("workflow.status", json!({ "execution_id": id, "fields": fields }))
}

fn views_say_what_a_status_says(house: &House) {
    for (name, text) in [("many", MANY), ("fails", FAILS), ("asks", ASKS), ("sleeps", SLEEPS)] {
        house.project.write(&format!("workflows/{name}.yaml"), text);
    }
    let mut door = house.project.client(&["serve"]);
    door.initialize();
    let mut ids = Vec::new();
    for name in ["many", "many", "fails", "asks", "asks", "sleeps"] {
        ids.push(begin(&mut door, name, json!({})));
    }
    for id in &ids[..5] {
        settled(&mut door, id);
    }
    let cancel = json!({ "execution_id": ids[4], "action": "cancel" });
    door.call_ok("workflow.control", cancel);
    settled(&mut door, &ids[4]);
    let rests = |known: &Value| known["status"] == "waiting";
    crate::harness::eventually(crate::harness::SOON, "a rest", || {
        rests(&said_by_status(&mut door, &ids[5])).then_some(())
    });

    for id in &ids {
        let said = said_by_status(&mut door, id);
        let row = house.row(&format!("SELECT * FROM workflow_executions WHERE id = '{id}'"));
        let status = said["status"].as_str().unwrap();
        assert_eq!(row["state"], status);
        assert_eq!(row["status"], in_the_view(status, &said), "{row:#}");
        assert_eq!(row["workflow_name"], said["workflow"]);
        assert_eq!(row["error"], said["error"]["message"], "{said:#}");
        assert_eq!(
            row["completed_at"].is_null(),
            !["completed", "failed", "cancelled"].contains(&status)
        );
        assert!(row["started_at"].as_str().unwrap().contains('T'));
        if house.database.starts_with("sqlite") || !row["output"].to_string().contains('\u{fffd}') {
            assert_eq!(row["output"], said["output"], "{said:#}");
        }
        let steps = house.rows(&format!(
            "SELECT * FROM workflow_steps WHERE execution_id = '{id}' ORDER BY step_index, step_name"
        ));
        let begun: Vec<&Value> = said["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| steps.iter().any(|row| row["step_name"] == step["name"]))
            .collect();
        assert_eq!(begun.len(), steps.len(), "{said:#} {steps:#?}");
        for row in &steps {
            let step = begun.iter().find(|step| step["name"] == row["step_name"]).unwrap();
            assert_eq!(row["state"], step["status"]);
            // One attempt goes without saying.
            match step["attempts"].as_i64() {
                Some(attempts) => assert_eq!(row["attempts"], attempts),
                None => assert!(row["attempts"].as_i64().unwrap() <= 1, "{row:#}"),
            }
            assert_eq!(row["tool"], step["tool"]);
            if row["status"] == "completed" && !row["output"].to_string().contains('\u{fffd}') {
                assert_eq!(row["output"], step["result"], "{row:#} {step:#}");
            }
        }
    }
    let order = house.rows(&format!(
        "SELECT step_name, step_index FROM workflow_steps WHERE execution_id = '{}' AND step_name NOT LIKE '%]' ORDER BY step_index", ids[0]));
    let order: Vec<(&str, i64)> = order
        .iter()
        .map(|row| (row["step_name"].as_str().unwrap(), row["step_index"].as_i64().unwrap()))
        .collect();
    assert_eq!(order, [("each", 0), ("never", 1), ("say", 2)]);

    let summary =
        house.row("SELECT * FROM workflow_execution_summary WHERE workflow_name = 'asks'");
    assert_eq!((&summary["paused"], &summary["cancelled"]), (&json!(1), &json!(1)));
    let summary =
        house.row("SELECT * FROM workflow_execution_summary WHERE workflow_name = 'many'");
    assert_eq!((&summary["total_executions"], &summary["completed"]), (&json!(2), &json!(2)));
    assert_eq!(summary["success_rate"].as_f64(), Some(100.0));
    let summary =
        house.row("SELECT * FROM workflow_execution_summary WHERE workflow_name = 'sleeps'");
    assert_eq!((&summary["running"], &summary["paused"]), (&json!(1), &json!(0)));
    let steps = house.row(
        "SELECT * FROM workflow_step_summary WHERE workflow_name = 'many' AND step_name = 'each'",
    );
    assert_eq!((&steps["total_steps"], &steps["completed"]), (&json!(8), &json!(8)));
    let recent = house.rows("SELECT * FROM workflow_recent_runs ORDER BY started_at DESC");
    assert_eq!(recent.len(), 6);
    let many = recent.iter().find(|run| run["workflow_name"] == "many").unwrap();
    assert_eq!((&many["total_steps"], &many["completed_steps"]), (&json!(6), &json!(5)));
    let catalogue = house.rows("SELECT * FROM workflow_catalogue ORDER BY name");
    let names: Vec<&str> = catalogue.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["asks", "fails", "many", "sleeps"]);
    assert_eq!(catalogue[2]["definition"]["name"], "many");
}

#[test]
fn views_of_sqlite_say_what_a_status_says() {
    views_say_what_a_status_says(&House::sqlite());
}

#[test]
fn views_of_postgres_say_what_a_status_says() {
    views_say_what_a_status_says(&House::postgres());
}

#[test]
fn every_statement_of_the_guide_runs() {
    let page = include_str!("../docs/guide/sql.md");
    let house = House::postgres();
    house.json(&["list"], 0);
    let statements: Vec<&str> = page
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block ends").0)
        .collect();
    assert!(5 < statements.len());
    for statement in statements {
        house.says(statement).unwrap_or_else(|err| panic!("{statement}: {err}"));
    }
    // The last of them switched off what the one before had written.
    let refused = house.json(&["run", "greeting", "who=Ada"], 2);
    assert_eq!(refused["error"]["code"], "disabled", "{refused:#}");
    house.says("UPDATE workflows SET enabled = true").unwrap();
    house.json(&["run", "greeting", "who=Ada"], 0);
}
