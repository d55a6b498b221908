//! `kill -9` at every named point of an execution's life, every time it is passed.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    agent::{Agent, Trouble},
    history::{self, Told},
    observer::Observer,
    on, shapes, uncertain,
};
use crate::{durability::Scene, harness::HttpServer};

/// Where a server can be made to die. Postgres has no `group_filled`: there a group is one statement.
const POINTS: [&str; 15] = [
    "before_create",
    "after_create",
    "after_claim",
    "before_call",
    "after_call",
    "before_commit",
    "after_commit",
    "before_release",
    "group_begun",
    "group_filled",
    "group_written",
    "before_answer",
    "after_answer",
    "before_signal",
    "after_signal",
];

/// Where one can die that has driven an execution for longer than leases are left alone.
const LATER: [&str; 2] = ["before_renew", "after_renew"];

/// How long one server may take for all that is left of an execution; a disk may keep it waiting for some seconds, again and
/// again.
const PATIENCE: Duration = Duration::from_secs(180);

/// In what time a process that hung up has ended.
const A_MOMENT: Duration = Duration::from_secs(2);

/// More often than an execution passes any point.
const MANY: u32 = 60;

on_both!(a_process_that_dies_at_any_point_leaves_an_execution_that_another_one_finishes);

/// A bit of everything: in a row, side by side, for each, under a lock, below, after a while, after a word from outside, and
/// once a person has agreed.
fn mixed() -> Value {
    let tool = |name: &str, class: &str| json!({ "name": name, "tool": format!("ledger.{class}"), "params": { "n": 1, "ms": 5 } });
    let mut each = tool("each", "idempotent");
    each["forEach"] = json!([1, 2]);
    let mut locked = tool("locked", "keyed");
    locked["lock"] = json!("the lock of ${execution.id}");
    json!({ "name": "mixed", "steps": [
        tool("first", "read"),
        { "name": "both", "parallel": true, "steps": [tool("left", "keyed"), tool("right", "unsafe")] },
        each,
        { "name": "sure", "approval": { "message": "Go on?", "allowSelf": true } },
        { "name": "part", "workflow": "below" },
        locked,
        { "name": "nap", "wait": { "ms": 40 } },
        { "name": "word", "wait": { "event": "paid" } },
        tool("last", "unsafe"),
    ] })
}

/// One execution in a workspace of its own, which one server after the other drives.
struct Walk<'w> {
    scene: &'w Scene,
    workflow: &'w str,
    agent: Agent,
    workspace: String,
    told: &'w Mutex<Told>,
    /// What was last answered, for whoever waits in vain.
    said: RefCell<String>,
}

/// How a server ended before its execution did.
struct Gone(ExitStatus);

fn a_process_that_dies_at_any_point_leaves_an_execution_that_another_one_finishes(scene: &Scene) {
    let began = Instant::now();
    shapes::configure(&scene.project);
    shapes::put(&scene.project, "mixed", &mixed());
    let below = json!([{ "name": "inner", "tool": "ledger.unsafe", "params": { "n": 2 } }]);
    // One call that takes longer than a lease is left alone.
    shapes::put(&scene.project, "long", &shapes::long("long", 6_000));
    shapes::put(&scene.project, "below", &json!({ "name": "below", "steps": below }));
    // The schema, and then the audit.
    drop(scene.project.serve_http());
    let mut observer = Observer::at(scene.database());
    observer.audit();
    let told = Mutex::default();
    let points = POINTS.iter().map(|point| (*point, "mixed"));
    let points = points.chain(LATER.iter().map(|point| (*point, "long")));
    let points: Mutex<Vec<_>> = Mutex::new(points.collect());
    let kills: Mutex<BTreeMap<&str, u32>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((point, workflow)) = { points.lock().unwrap().pop() } {
                    let dies = |count: &u32| dies(scene, workflow, (point, *count), &told);
                    let count = (1..MANY).take_while(dies).count();
                    let count = u32::try_from(count).unwrap();
                    kills.lock().unwrap().insert(point, count);
                }
            });
        }
    });
    let kills = kills.into_inner().unwrap();
    let told = told.into_inner().unwrap();
    let figures = history::check(&mut observer, &scene.project.path().join("ledger"), &told);
    let all: u32 = kills.values().sum();
    println!(
        "faults: every point on {}: {figures}, {all} kills {kills:?}, {:.1} s",
        on(scene),
        began.elapsed().as_secs_f64()
    );
    assert!(figures.ended.keys().all(|status| status == "completed"), "{figures}");
    let is_one_statement = |point: &str| point == "group_filled" && on(scene) == "Postgres";
    for point in POINTS.into_iter().chain(LATER).filter(|point| !is_one_statement(point)) {
        assert!(
            0 < kills[point] && kills[point] + 1 < MANY,
            "killed {} times {point}",
            kills[point]
        );
    }
}

/// Whether a server dies when it passes the point this often; then another one has finished what it began.
fn dies(scene: &Scene, workflow: &str, (point, count): (&str, u32), told: &Mutex<Told>) -> bool {
    let workspace = format!("{point}-{count}");
    let said = RefCell::default();
    let walk = Walk { scene, workflow, agent: Agent::new(), workspace, told, said };
    let mut victim = walk.serve(Some(&format!("{point}:{count}")));
    let Err(Gone(status)) = walk.to_the_end(&mut victim) else { return false };
    assert_eq!(
        status.signal(),
        Some(6),
        "{point} {count}: {status}; {}; it said: {}",
        walk.said.borrow(),
        victim.process.stderr()
    );
    let expire = format!(
        "UPDATE executions SET lease_until = 0, wake_at = 0
         WHERE workspace = '{}' AND lease_owner IS NOT NULL",
        walk.workspace
    );
    Observer::at(scene.database()).execute(&expire);
    let mut other = walk.serve(None);
    if let Err(Gone(status)) = walk.to_the_end(&mut other) {
        let said = other.process.stderr();
        panic!("{point} {count}: the other server ended with {status}; it said: {said}");
    }
    true
}

impl Walk<'_> {
    fn serve(&self, fault: Option<&str>) -> HttpServer {
        let workspace = ("WINDLASS_WORKSPACE", self.workspace.as_str());
        match fault {
            None => self.scene.project.serve_http_with(&[workspace]),
            Some(fault) => {
                self.scene.project.serve_http_with(&[workspace, ("WINDLASS_FAULT", fault)])
            }
        }
    }

    /// Runs the workflow, answers and says what is waited for, until it has ended; or the server has.
    fn to_the_end(&self, server: &mut HttpServer) -> Result<(), Gone> {
        let run = json!({ "workflow": self.workflow, "idempotency_key": self.workspace, "wait_seconds": 0 });
        let id = self.patiently("its id", || {
            let begun = self.ask(server, "workflow.run", &run)?;
            Ok(begun["execution_id"].as_str().map(str::to_owned))
        })?;
        let before = self.told.lock().unwrap().accepted.insert(self.workspace.clone(), id.clone());
        assert!(before.is_none_or(|before| before == id), "one key, two executions");
        self.patiently("its end", || self.look(server, &id))
    }

    /// Looks again and again, for as long as the server lives.
    fn patiently<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, Gone>,
    ) -> Result<T, Gone> {
        let began = Instant::now();
        loop {
            if let Some(seen) = look()? {
                return Ok(seen);
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{} waited {PATIENCE:?} in vain for {what}; {}",
                self.workspace,
                self.said.borrow()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn look(&self, server: &mut HttpServer, id: &str) -> Result<Option<()>, Gone> {
        let known = self.ask(server, "workflow.status", &json!({ "execution_id": id }))?;
        let status = known["status"].as_str().unwrap_or_default();
        if status == "completed" {
            return Ok(Some(()));
        }
        assert!(!["failed", "cancelled"].contains(&status), "{}: {known:#}", self.workspace);
        for step in known["steps"].as_array().into_iter().flatten() {
            if step["status"] == "uncertain" {
                self.settle(server, id, step["name"].as_str().unwrap())?;
            }
        }
        let waits = known["waiting_for"].as_str().unwrap_or_default();
        if let Some(request) = known["requests"][0]["request_id"].as_str() {
            let answer = json!({ "request_id": request, "decision": "approve" });
            self.ask(server, "workflow.answer", &answer)?;
        } else if waits.contains("the event") {
            let said = json!({ "execution_id": id, "action": "signal", "event": "paid" });
            self.ask(server, "workflow.control", &said)?;
        } else if let Some(child) = waiting_below(&known) {
            self.look(server, &child)?;
        }
        Ok(None)
    }

    fn settle(&self, server: &mut HttpServer, id: &str, step: &str) -> Result<(), Gone> {
        let ledger = self.scene.project.path().join("ledger");
        let mut observer = Observer::at(self.scene.database());
        match uncertain::settled(&mut observer, &ledger, id, step) {
            Ok(Some(arguments)) => self.ask(server, "workflow.control", &arguments).map(drop),
            Ok(None) => Ok(()),
            Err(away) => {
                self.said.replace(format!("the database last said: {away}"));
                Ok(())
            }
        }
    }

    /// What was answered. Nothing where that was a refusal, since what is refused is asked again, or has been done; nor where
    /// no answer came in time from a server that lives.
    fn ask(&self, server: &mut HttpServer, tool: &str, arguments: &Value) -> Result<Value, Gone> {
        if let Some(status) = server.process.status() {
            return Err(Gone(status));
        }
        let answer = self.agent.call(&server.address, tool, arguments);
        let words = match &answer {
            Ok(known) => known.to_string(),
            Err(trouble) => trouble.to_string(),
        };
        self.said.replace(format!("to {tool} {arguments} it last said: {words}"));
        match answer {
            Ok(known) => Ok(known),
            Err(Trouble::Refused(_)) => Ok(Value::Null),
            Err(Trouble::Lost(_)) => {
                let began = Instant::now();
                while began.elapsed() < A_MOMENT {
                    if let Some(status) = server.process.status() {
                        return Err(Gone(status));
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(Value::Null)
            }
        }
    }
}

/// The execution below that needs somebody.
fn waiting_below(known: &Value) -> Option<String> {
    let mut steps = known["steps"].as_array()?.iter();
    let child = steps.find(|step| step["status"] == "waiting" || step["status"] == "running")?;
    child["execution_id"].as_str().map(str::to_owned)
}
