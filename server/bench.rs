//! How fast executions run, and what each of them takes: on a real store, through the calls that doors make.
//!
//! A benchmark lives in a workspace of its own, and under a name of its own in it: whatever else a database holds is
//! neither driven nor counted nor removed. It reads no configuration, so that two that are compared differ in nothing
//! that was not said.

mod costs;
mod load;
mod shapes;

use std::{
    collections::BTreeMap,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use self::{
    costs::{Costs, rounded},
    shapes::Echo,
};
pub use self::{
    load::{Measured, Until},
    shapes::Shape,
};
use crate::{
    app::{App, Caller, Detail, Execution, RunRequest, SaveRequest},
    clock,
    config::{Config, Synchronous},
    host::{Drive, Host},
    store::{self, BENCH, Engine, FILLED_BY, Store, Templates},
};

/// The name under which workflows know the tool server that was named.
const ECHO_SERVER: &str = "bench";

/// How many calls that server is given at once: every step of as many executions as anybody tries.
const MAX_IN_FLIGHT: u32 = 10_000;

/// What no execution of a shape takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a shape is run before anybody looks.
const WARM_UP: Duration = Duration::from_secs(1);

/// What can be chosen.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `sqlite:PATH` or `postgres://…`; without one a new SQLite file that goes at the end.
    pub database: Option<String>,
    /// The command of a tool server that speaks MCP on standard input and output and has the tool `echo`.
    pub tool_server: Vec<String>,
    /// When a commit is on the disk; left out: as it is without a benchmark.
    pub synchronous: Option<Synchronous>,
    /// How many executions are in flight at once.
    pub concurrency: usize,
    /// Whether the rows stay, and the file if it is a new one.
    pub keep: bool,
}

/// A process that is put together to be measured.
pub struct Bench {
    host: Host,
    settings: Settings,
    folder: PathBuf,
    database: String,
    synchronous: Synchronous,
    caller: Caller,
    echo: Option<Echo>,
    engine: Engine,
    filled: AtomicBool,
}

impl Bench {
    /// Opens the database, clears what an earlier benchmark left that was killed, and saves the workflows.
    ///
    /// # Errors
    /// When the database or the tool server cannot be had, or cannot be asked for what was chosen.
    pub async fn open(settings: Settings) -> anyhow::Result<Bench> {
        let folder = own_folder()?;
        match Bench::open_in(&folder, settings).await {
            Ok(bench) => Ok(bench),
            Err(err) => {
                drop(std::fs::remove_dir_all(&folder));
                Err(err)
            }
        }
    }

    async fn open_in(folder: &Path, settings: Settings) -> anyhow::Result<Bench> {
        let (database, synchronous) = database(&settings, folder)?;
        let config = config(&settings, folder, &database, synchronous);
        if settings.database.is_some() {
            // Before this process has a worker of its own, which lives.
            let store = Store::open_with(&database, BENCH, synchronous).await?;
            let cleared = clear_what_was_left(&store).await;
            store.close().await;
            cleared?;
        }
        let host = Host::start(&config, Drive::InProcess).await?;
        let name = format!("bench_run_{:032x}", rand::random::<u128>());
        let caller = Caller {
            name,
            client_name: Some("windlass bench".to_owned()),
            client_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..Caller::default()
        };
        let folder = folder.to_owned();
        let engine = host.store().engine().await?;
        let mut bench = Bench {
            host,
            settings,
            folder,
            database,
            synchronous,
            caller,
            echo: None,
            engine,
            filled: AtomicBool::default(),
        };
        match bench.prepare().await {
            Ok(()) => Ok(bench),
            Err(err) => {
                bench.settings.keep = false;
                bench.close().await?;
                Err(err)
            }
        }
    }

    async fn prepare(&mut self) -> anyhow::Result<()> {
        self.store().begin_bench(&self.caller.name).await?;
        self.echo = self.ask_for_echo().await?;
        for shape in Shape::ALL {
            if let Some(document) = shape.document(self.echo) {
                self.save(document).await?;
            }
        }
        Ok(())
    }

    /// The shapes that can be run: without a tool server there is none to call.
    pub fn shapes(&self) -> impl Iterator<Item = Shape> {
        Shape::ALL.into_iter().filter(|shape| self.has(*shape))
    }

    /// Whether a shape can be run.
    #[must_use]
    pub fn has(&self, shape: Shape) -> bool {
        shape.document(self.echo).is_some()
    }

    /// Where the rows are, for people; without what a password may be in.
    #[must_use]
    pub fn place(&self) -> String {
        let Engine { kind, version, .. } = &self.engine;
        match self.database.strip_prefix("sqlite:") {
            Some(path) => format!("{kind} {version} in {path}"),
            None => format!("{kind} {version}"),
        }
    }

    /// Runs executions of a shape, so many at once, until it is enough.
    pub async fn measure(&self, shape: Shape, concurrency: usize, until: Until) -> Measured {
        let (app, caller) = (self.host.app.clone(), self.caller.clone());
        let work = move |number: u64| {
            let (app, caller) = (app.clone(), caller.clone());
            async move { run_to_the_end(&app, &caller, shape, number).await }
        };
        load::keep_busy(concurrency, until, work).await
    }

    /// Runs a shape until whatever happens once has happened: connections, pins, compiled patterns, caches.
    pub async fn warm_up(&self, shape: Shape, concurrency: usize) -> Measured {
        self.measure(shape, concurrency, Until::Time(WARM_UP)).await
    }

    /// Measures a shape, and what it took; the line to print, and how many executions did not complete.
    ///
    /// # Errors
    /// When the database does not tell what was counted.
    pub async fn report(&self, shape: Shape, seconds: f64) -> anyhow::Result<(Value, Measured)> {
        let concurrency = self.settings.concurrency;
        let warm = self.warm_up(shape, concurrency).await;
        if 0 < warm.errors {
            return Ok((self.line(shape, &warm, json!({})), warm));
        }
        let before = Costs::now(self.store()).await?;
        let time = Duration::from_secs_f64(seconds);
        let measured = self.measure(shape, concurrency, Until::Time(time)).await;
        let used = Costs::now(self.store()).await?.since(&before);
        let line = self.line(shape, &measured, used.per_execution(measured.latencies.len()));
        Ok((line, measured))
    }

    fn line(&self, shape: Shape, measured: &Measured, costs: Value) -> Value {
        let line = json!({
            "shape": shape.as_str(),
            "calls": shape.tool(self.echo.is_some()),
            "concurrency": self.settings.concurrency,
            "seconds": rounded(measured.elapsed.as_secs_f64()),
            "executions": measured.latencies.len(),
            "errors": measured.errors,
            "first_error": measured.first_error,
            "executions_per_s": measured.rate(),
            "p50_ms": measured.percentile(50),
            "p95_ms": measured.percentile(95),
            "p99_ms": measured.percentile(99),
        });
        joined([line, costs, self.surroundings()])
    }

    /// Starts executions that wait for a person, and looks at what it takes to have them; the line to print, and what
    /// was seen of the starts.
    ///
    /// # Errors
    /// When the database does not tell what was counted.
    pub async fn park(&self, count: u64, seconds: f64) -> anyhow::Result<(Value, Measured)> {
        // The first one connects, compiles and fills caches.
        self.measure(Shape::Park, 1, Until::Count(1)).await;
        let (resident, connections) = (costs::resident_bytes(), self.store().connections().await?);
        let tasks = alive_tasks();
        let measured =
            self.measure(Shape::Park, self.settings.concurrency, Until::Count(count)).await;
        self.calm().await?;
        let before = Costs::now(self.store()).await?;
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        let used = Costs::now(self.store()).await?.since(&before);
        let [executions, events, steps, requests] = self.store().rows_of(&self.caller.name).await?;
        // Looking takes two of its own: the server's processes, and how far it has written ahead.
        let looks = if self.engine.kind == "postgres" { 2.0 } else { 0.0 };
        let line = json!({
            "shape": Shape::Park.as_str(),
            "concurrency": self.settings.concurrency,
            "parked": measured.latencies.len(),
            "errors": measured.errors,
            "first_error": measured.first_error,
            "starts_per_s": measured.rate(),
            "seconds": seconds,
            "queries_per_s": rounded((used.statements as f64 - looks).max(0.0) / seconds),
            "cpu_ms_per_s": rounded(used.own_ms / seconds),
            "tasks_before": tasks,
            "tasks": alive_tasks(),
            "connections_before": connections,
            "connections": self.store().connections().await?,
            "resident_bytes_before": resident,
            "rows": { "executions": executions, "events": events, "steps": steps, "requests": requests },
        });
        Ok((joined([line, self.surroundings()]), measured))
    }

    /// Waits until what was started is at rest: a second in which hardly anything is asked, or ten.
    async fn calm(&self) -> anyhow::Result<()> {
        for _ in 0..10 {
            let before = self.store().counts().await?.statements;
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.store().counts().await?.statements - before <= 4 {
                break;
            }
        }
        Ok(())
    }

    fn surroundings(&self) -> Value {
        let Engine { kind, version, synchronous, fsync } = &self.engine;
        json!({
            "synchronous": synchronous,
            "fsync": fsync,
            "resident_bytes": costs::resident_bytes(),
            "database": kind,
            "database_version": version,
            "version": env!("CARGO_PKG_VERSION"),
            "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        })
    }

    /// Whether the database holds anything of others: then it is not to be filled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_shared(&self) -> anyhow::Result<bool> {
        Ok(self.store().is_shared().await?)
    }

    /// Makes so many executions without running them, one of a hundred parked; what was made.
    ///
    /// # Errors
    /// When the database fails; what was made until then goes at the end.
    pub async fn fill(&self, count: i64, told: &(dyn Fn(i64) + Sync)) -> anyhow::Result<Value> {
        self.filled.store(true, Ordering::Relaxed);
        let (finished_name, document) = shapes::finished();
        self.save(document).await?;
        let filler = Caller { name: FILLED_BY.to_owned(), ..self.caller.clone() };
        let finished = started(&self.host.app, &filler, finished_name, 0).await?;
        let finished = settled(&self.host.app, finished).await?;
        let parked = started(&self.host.app, &filler, Shape::Park.workflow(), 0).await?;
        let parked = settled(&self.host.app, parked).await?;
        let request = parked.requests.first().context("the parked execution asks nobody")?;
        let ending = format!("{:024x}", rand::random::<u128>() >> 32);
        let templates = Templates {
            finished: &finished.execution_id,
            parked: &parked.execution_id,
            request: &request.request_id,
            ending: &ending,
        };
        let filled = self.store().fill(count, &templates, told).await?;
        self.store().analyze().await?;
        Ok(json!(filled))
    }

    /// Ends the process that was put together, and takes away what it made.
    ///
    /// # Errors
    /// When the rows cannot be removed; they stay then.
    pub async fn close(self) -> anyhow::Result<()> {
        let Bench { host, settings, folder, database, synchronous, caller, filled, .. } = self;
        host.stop().await;
        let own_file = settings.database.is_none();
        if !own_file {
            // With another handle: the worker's last words come with the end of the first one.
            let store = Store::open_with(&database, BENCH, synchronous).await?;
            let cleared = match settings.keep {
                true => store.end_bench(&caller.name).await,
                false => clear(&store, &caller.name, filled.into_inner()).await,
            };
            store.close().await;
            cleared?;
        }
        if !settings.keep || !own_file {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        Ok(())
    }

    fn store(&self) -> &Store {
        self.host.store()
    }

    async fn save(&self, text: String) -> anyhow::Result<()> {
        let request =
            SaveRequest { text, source: "windlass bench".to_owned(), ..SaveRequest::default() };
        self.host.app.save(&self.caller, request).await?;
        Ok(())
    }

    /// How the tool server that was named answers.
    async fn ask_for_echo(&self) -> anyhow::Result<Option<Echo>> {
        if self.settings.tool_server.is_empty() {
            return Ok(None);
        }
        let name = format!("{ECHO_SERVER}.echo");
        for (server, tools) in self.host.app.tools().await {
            if server != ECHO_SERVER {
                continue;
            }
            let tools = tools.context("the tool server of --tool-server cannot be asked")?;
            let tool = tools.iter().find(|tool| tool.name == name);
            let tool = tool.context("the tool server of --tool-server has no tool echo")?;
            let is_object = tool.output_schema.is_some();
            return Ok(Some(if is_object { Echo::Object } else { Echo::Text }));
        }
        bail!("the tool server of --tool-server is not there")
    }
}

/// Those of benchmarks that live are left alone; who lives says so in the database.
async fn clear_what_was_left(store: &Store) -> Result<(), store::Error> {
    if store.worker_lives().await? {
        return Ok(());
    }
    for name in store.begun_benches().await? {
        let removed = store.clear(&name).await?;
        tracing::warn!("removed {removed} executions of a benchmark that did not end ({name})");
    }
    Ok(())
}

async fn clear(store: &Store, own: &str, filled: bool) -> Result<(), store::Error> {
    store.clear(own).await?;
    if filled { store.clear_fill().await } else { Ok(()) }
}

/// One execution, as `workflow.run` has it: started, and waited for until it has ended or waits for a person.
async fn run_to_the_end(
    app: &App,
    caller: &Caller,
    shape: Shape,
    number: u64,
) -> anyhow::Result<()> {
    let execution = started(app, caller, shape.workflow(), number).await?;
    let execution = settled(app, execution).await?;
    let wanted = if shape == Shape::Park { "waiting" } else { "completed" };
    if execution.status != wanted {
        let error = execution.error.map(|error| error.message).unwrap_or_default();
        bail!(
            "execution {} is {}, not {wanted}: {error}",
            execution.execution_id,
            execution.status
        );
    }
    Ok(())
}

async fn started(
    app: &App,
    caller: &Caller,
    workflow: &str,
    number: u64,
) -> anyhow::Result<Execution> {
    let message = Value::from(format!("m{number}"));
    let input = match workflow {
        "bench_w5" | "bench_f20" => Map::from_iter([("message".to_owned(), message)]),
        _ => Map::new(),
    };
    let request = RunRequest { workflow: workflow.to_owned(), input, ..RunRequest::default() };
    Ok(app.run(caller, request).await?)
}

async fn settled(app: &App, execution: Execution) -> anyhow::Result<Execution> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut execution = execution;
    while execution.ended_at.is_none() && !execution.rests() {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() {
            let seconds = PATIENCE.as_secs();
            bail!("execution {} has not ended within {seconds} s", execution.execution_id);
        }
        let Execution { execution_id, version, .. } = execution;
        execution = app.settled(&execution_id, version, left, Detail::Outcome).await?;
    }
    Ok(execution)
}

fn own_folder() -> anyhow::Result<PathBuf> {
    let name = format!("windlass-bench-{}-{:08x}", clock::now(), rand::random::<u32>());
    let folder = std::env::temp_dir().join(name);
    // Another user of the machine must neither read it nor have put it there.
    DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .context("cannot make a folder for the benchmark")?;
    Ok(folder)
}

/// The database, with what was said of its commits.
fn database(settings: &Settings, folder: &Path) -> anyhow::Result<(String, Synchronous)> {
    let synchronous = settings.synchronous.unwrap_or_default();
    let Some(url) = &settings.database else {
        return Ok((format!("sqlite:{}", folder.join("windlass.db").display()), synchronous));
    };
    let (true, Some(said)) = (url.starts_with("postgres"), settings.synchronous) else {
        return Ok((url.clone(), synchronous));
    };
    let said = match said {
        Synchronous::Full => "on",
        Synchronous::Off => "off",
        Synchronous::Normal => {
            bail!("synchronous normal is a setting of SQLite; Postgres knows on and off")
        }
    };
    let separator = if url.contains('?') { '&' } else { '?' };
    Ok((format!("{url}{separator}options=-c%20synchronous_commit%3D{said}"), synchronous))
}

/// The defaults, and nothing that a project or a shell may have set.
fn config(settings: &Settings, folder: &Path, database: &str, synchronous: Synchronous) -> Config {
    let mut config = Config {
        project: folder.to_owned(),
        data_dir: folder.to_owned(),
        database: database.to_owned(),
        workspace: BENCH.to_owned(),
        workflows: Vec::new(),
        synchronous,
        mcp_servers: echo_server(&settings.tool_server),
        ..Config::default()
    };
    config.worker.max_executions = config.worker.max_executions.max(settings.concurrency);
    config
}

fn echo_server(command: &[String]) -> BTreeMap<String, Value> {
    let Some((program, arguments)) = command.split_first() else { return BTreeMap::new() };
    let entry = json!({ "command": program, "args": arguments, "max_in_flight": MAX_IN_FLIGHT });
    BTreeMap::from([(ECHO_SERVER.to_owned(), entry)])
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

fn joined<const PARTS: usize>(parts: [Value; PARTS]) -> Value {
    let members = parts.into_iter().filter_map(|part| match part {
        Value::Object(members) => Some(members),
        _ => None,
    });
    Value::Object(members.flatten().collect())
}
