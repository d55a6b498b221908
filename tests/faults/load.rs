//! Agents that start random executions, persons who answer them, and somebody who breaks things meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    agent::{Agent, Trouble},
    chance::Chance,
    fleet::{Fleet, Start},
    history::{self, Figures, Told},
    observer::Observer,
    shapes::{self, HELD},
    uncertain,
};
use crate::durability::Scene;

/// In what time an execution ends once nothing breaks any more: several leases, and a busy machine.
const BOUND: Duration = Duration::from_secs(90);

/// How long a person leaves alone what is unknown: what is still on its way has then most often arrived.
const CARE: Duration = Duration::from_secs(2);

/// How much is asked of the servers.
pub(super) struct Load<'l> {
    /// What the figures are printed under.
    pub(super) name: &'l str,
    pub(super) executions: usize,
    /// How many are under way at once.
    pub(super) agents: usize,
    pub(super) servers: usize,
    /// How each of them is started.
    pub(super) start: Start<'l>,
    /// The database's address as the test itself sees it, where that is another one.
    pub(super) observed: Option<String>,
}

/// The scene while the load is on it; all of it is shared by the threads that bear on it.
pub(super) struct Field<'f> {
    pub(super) fleet: Fleet<'f>,
    load: &'f Load<'f>,
    observed: String,
    ledger: PathBuf,
    told: Mutex<Told>,
    next: AtomicUsize,
    ended: Mutex<BTreeSet<String>>,
    /// What waits for a person, and when it is taken up.
    asked: Mutex<BTreeMap<Task, Instant>>,
    stuck: Mutex<Vec<String>>,
    /// Nothing is broken any more.
    is_calm: AtomicBool,
    is_over: AtomicBool,
}

/// What a person does.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
enum Task {
    Answer { request: String },
    Settle { execution: String, step: String },
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Puts the load on a scene, lets `disturb` break what it likes meanwhile, and checks what is left. Prints the figures.
pub(super) fn under_load(
    scene: &Scene,
    load: &Load<'_>,
    disturb: impl FnOnce(&Field<'_>, &mut Chance),
) -> Figures {
    // Two loads at once on a small machine keep each other from what they are to be disturbed in.
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = Chance::seed();
    println!("faults: {} begins with WINDLASS_FAULT_SEED={seed}", load.name);
    let began = Instant::now();
    shapes::write(&scene.project, seed);
    let observed = load.observed.clone().unwrap_or_else(|| scene.database().to_owned());
    let field = Field {
        fleet: Fleet::start(scene, load.servers, load.start, &observed),
        load,
        observed: observed.clone(),
        ledger: scene.project.path().join("ledger"),
        told: Mutex::default(),
        next: AtomicUsize::new(0),
        ended: Mutex::default(),
        asked: Mutex::default(),
        stuck: Mutex::default(),
        is_calm: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
    };
    let mut observer = Observer::at(&observed);
    observer.audit();
    field.bear(seed, disturb);
    let told = field.told.lock().unwrap();
    let figures = history::check(&mut observer, &field.ledger, &told);
    let kills = field.fleet.kills.load(Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "faults: {}: {figures}, {kills} kills, {seconds:.1} s, WINDLASS_FAULT_SEED={seed}",
        load.name
    );
    figures
}

/// Says to the threads that it is over, also when the test panics.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Field<'_> {
    /// Runs everybody until each agent has seen all of its executions end.
    fn bear(&self, seed: u64, disturb: impl FnOnce(&Self, &mut Chance)) {
        thread::scope(|scope| {
            let over = Over(&self.is_over);
            scope.spawn(|| self.watch());
            for _ in 0..4 {
                scope.spawn(|| self.be_a_person());
            }
            let mut chance = Chance::of(seed);
            let agents: Vec<_> = (0..self.load.agents)
                .map(|_| {
                    let chance = chance.fork();
                    scope.spawn(|| self.be_an_agent(chance))
                })
                .collect();
            disturb(self, &mut chance);
            self.is_calm.store(true, Ordering::Relaxed);
            for agent in agents {
                agent.join().unwrap();
            }
            self.comes_to_an_end();
            drop(over);
        });
    }

    /// Waits until so many executions of agents have ended, while the load lasts; no longer than a while, since what is
    /// broken may be what they wait for.
    pub(super) fn wait_for(&self, ended: usize, at_most: Duration) {
        let began = Instant::now();
        while self.ended.lock().unwrap().len() < ended
            && began.elapsed() < at_most
            && self.next.load(Ordering::Relaxed) < self.load.executions
        {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Has each server that answers begin an execution whose call stays out for a while.
    pub(super) fn have_calls_out(&self) {
        let agent = Agent::new();
        for address in self.fleet.addresses() {
            let number = self.told.lock().unwrap().accepted.len();
            let key = format!("{HELD} after {number}");
            let run = json!({ "workflow": HELD, "idempotency_key": key, "wait_seconds": 0 });
            if let Ok(begun) = agent.call(&address, "workflow.run", &run) {
                self.was_told(&key, begun["execution_id"].as_str().unwrap().to_owned());
            }
        }
    }

    /// A client was told that an execution is accepted.
    pub(super) fn was_told(&self, key: &str, id: String) {
        self.told.lock().unwrap().accepted.insert(key.to_owned(), id);
    }

    /// Nobody breaks anything any more, so nothing may stay where it is: not those below either.
    fn comes_to_an_end(&self) {
        let mut observer = Observer::at(&self.observed);
        let stuck = self.stuck.lock().unwrap().clone();
        let columns = "id, status, COALESCE(waiting_for, ''), COALESCE(wake_at, 0), lease_until";
        let mut open = || observer.rows(columns, "executions WHERE ended_at IS NULL");
        let began = Instant::now();
        while !open().is_empty() && began.elapsed() < BOUND {
            thread::sleep(Duration::from_millis(100));
        }
        let open = open();
        assert!(
            open.is_empty() && stuck.is_empty(),
            "these do not end: {open:#?}; agents waited in vain for {stuck:?}; the servers said:\n{}",
            (0..self.load.servers).map(|index| self.fleet.said(index)).collect::<String>()
        );
    }

    /// Sees what has ended and who is waited for.
    fn watch(&self) {
        let mut observer = Observer::at(&self.observed);
        while !self.is_over.load(Ordering::Relaxed) {
            // The database may be away, which somebody may have wanted.
            if self.look(&mut observer).is_err() {
                thread::sleep(Duration::from_millis(200));
            }
            thread::sleep(Duration::from_millis(40));
        }
    }

    fn look(&self, observer: &mut Observer) -> Result<(), String> {
        let ended = observer
            .try_rows("id", "executions WHERE ended_at IS NOT NULL AND parent_id IS NULL")?;
        let ended = ended.iter().map(|row| row[0].as_str().unwrap().to_owned());
        self.ended.lock().unwrap().extend(ended);
        let mut tasks = BTreeSet::new();
        for row in observer.try_rows("id", "requests WHERE status = 'open' AND answers = '[]'")? {
            tasks.insert(Task::Answer { request: row[0].as_str().unwrap().to_owned() });
        }
        let uncertain = "steps s JOIN executions e ON e.id = s.execution_id
                         WHERE s.status = 'uncertain' AND e.ended_at IS NULL";
        for row in observer.try_rows("s.execution_id, s.step", uncertain)? {
            let [execution, step] = [0, 1].map(|at| row[at].as_str().unwrap().to_owned());
            tasks.insert(Task::Settle { execution, step });
        }
        let mut asked = self.asked.lock().unwrap();
        asked.retain(|task, _| tasks.contains(task));
        for task in tasks {
            let care = if let Task::Settle { .. } = task { CARE } else { Duration::ZERO };
            asked.entry(task).or_insert_with(|| Instant::now() + care);
        }
        Ok(())
    }

    fn be_a_person(&self) {
        let agent = Agent::new();
        let mut chance = Chance::of(self.load.executions as u64);
        while !self.is_over.load(Ordering::Relaxed) {
            match self.next_task() {
                Some(task) => self.carry_out(&agent, &mut chance, &task),
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Something that waits for a person. It comes again later, when it still waits then.
    fn next_task(&self) -> Option<Task> {
        let mut asked = self.asked.lock().unwrap();
        // What has waited longest: the first by name would come again and again, and the last never.
        let longest = asked.iter().min_by_key(|(_, ripe_at)| **ripe_at)?;
        let (task, _) = Some(longest).filter(|(_, ripe_at)| **ripe_at <= Instant::now())?;
        let task = task.clone();
        asked.insert(task.clone(), Instant::now() + CARE);
        Some(task)
    }

    fn carry_out(&self, agent: &Agent, chance: &mut Chance, task: &Task) {
        match task {
            Task::Answer { request } => self.answer(agent, chance, request),
            Task::Settle { execution, step } => self.settle(agent, chance, execution, step),
        }
    }

    /// Two persons answer at once, each through a server of their own. One may be heard.
    fn answer(&self, agent: &Agent, chance: &mut Chance, request: &str) {
        let decision = if chance.percent(90) { "approve" } else { "reject" };
        let one = |agent: &Agent, address: Option<String>| {
            let Some(address) = address else { return };
            let comment = format!("{:016x}", rand::random::<u64>());
            let arguments =
                json!({ "request_id": request, "decision": decision, "comment": comment });
            if agent.call(&address, "workflow.answer", &arguments).is_ok() {
                let mut told = self.told.lock().unwrap();
                told.heard.entry(request.to_owned()).or_default().push(comment);
            }
        };
        let (first, second) = (self.some_server(chance), self.some_server(chance));
        thread::scope(|scope| {
            scope.spawn(|| one(&Agent::new(), first));
            one(agent, second);
        });
    }

    /// Finds out whether a call has happened, as a person would, and says so.
    fn settle(&self, agent: &Agent, chance: &mut Chance, execution: &str, step: &str) {
        let mut observer = Observer::at(&self.observed);
        // Where the database is away, or somebody else was faster, there is nothing to say now.
        let settled = uncertain::settled(&mut observer, &self.ledger, execution, step);
        let Ok(Some(arguments)) = settled else { return };
        if let Some(address) = self.some_server(chance) {
            _ = agent.call(&address, "workflow.control", &arguments);
        }
    }

    fn some_server(&self, chance: &mut Chance) -> Option<String> {
        let addresses = self.fleet.addresses();
        (!addresses.is_empty()).then(|| chance.among(&addresses).clone())
    }

    /// Starts one execution after the other and sees each end; some are cancelled on the way.
    fn be_an_agent(&self, mut chance: Chance) {
        let agent = Agent::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if self.load.executions <= number {
                return;
            }
            let key = format!("key-{number}");
            let Some(id) = self.begin(&agent, &mut chance, &key) else {
                self.stuck.lock().unwrap().push(key);
                continue;
            };
            if chance.percent(10) {
                thread::sleep(Duration::from_millis(chance.below(500) as u64));
                if let Some(address) = self.some_server(&mut chance) {
                    let arguments = json!({ "execution_id": id, "action": "cancel" });
                    _ = agent.call(&address, "workflow.control", &arguments);
                }
            }
            self.see_the_end(&id);
        }
    }

    /// Asks until it is told an execution's id. Who was told it once is told the same again.
    fn begin(&self, agent: &Agent, chance: &mut Chance, key: &str) -> Option<String> {
        let workflow = format!("w{}", chance.below(shapes::SHAPES));
        let arguments = json!({ "workflow": workflow, "idempotency_key": key, "wait_seconds": 0 });
        let mut calm_since = Instant::now();
        let mut last = Trouble::Lost(String::new());
        while calm_since.elapsed() < BOUND {
            if !self.is_calm.load(Ordering::Relaxed) {
                calm_since = Instant::now();
            }
            let Some(address) = self.some_server(chance) else {
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            match agent.call(&address, "workflow.run", &arguments) {
                Ok(begun) => {
                    let id = begun["execution_id"].as_str().unwrap().to_owned();
                    let mut told = self.told.lock().unwrap();
                    told.accepted.insert(key.to_owned(), id.clone());
                    return Some(id);
                }
                Err(trouble) => {
                    last = trouble;
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
        println!("faults: {key} is not accepted: {last}");
        None
    }

    fn see_the_end(&self, id: &str) {
        let mut calm_since = Instant::now();
        while !self.ended.lock().unwrap().contains(id) {
            if !self.is_calm.load(Ordering::Relaxed) {
                calm_since = Instant::now();
            }
            if BOUND < calm_since.elapsed() || self.is_over.load(Ordering::Relaxed) {
                self.stuck.lock().unwrap().push(id.to_owned());
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
