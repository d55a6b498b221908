//! The built binary in a project of its own, which knows nothing of the machine's user.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{Client, Ended, Running, SOON, database, process};

/// What a developer's shell may hold and a test must not see.
const PRIVATE: [&str; 3] = ["GITHUB_TOKEN", "GH_TOKEN", "RUST_LOG"];
const PRIVATE_PREFIXES: [&str; 4] = ["WINDLASS_", "AWS_", "XDG_", "OTEL_"];

/// A folder with a `workflows` folder, a data directory, and everything that runs for them. All of it goes when this is dropped.
pub struct Project {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// A Windlass that serves HTTP. Killed when dropped.
pub struct HttpServer {
    /// `http://127.0.0.1:PORT`
    pub address: String,
    /// Its process.
    pub process: Running,
}

impl HttpServer {
    /// Starts `windlass serve --http`, however it is wrapped, and waits until it says where.
    pub fn start(command: &mut Command) -> HttpServer {
        let process = Running::start(command);
        let address = process.stderr_line(3 * SOON, "the address it listens on", address_in);
        HttpServer { address, process }
    }

    /// A raw MCP client of this server; not yet initialized.
    pub fn client(&self) -> Client {
        Client::http(&format!("{}/mcp", self.address))
    }
}

impl Project {
    /// A project whose executions live in SQLite, as they do when nothing is configured.
    pub fn new() -> Project {
        let folder = TempDir::with_prefix("windlass-test-").unwrap();
        let project = Project { folder, environment: Vec::new() };
        fs::create_dir_all(project.path().join("workflows")).unwrap();
        fs::create_dir_all(project.home()).unwrap();
        fs::create_dir_all(project.temporary()).unwrap();
        project
    }

    /// A project whose executions live in a fresh PostgreSQL database.
    pub fn on_postgres() -> Project {
        Project::new().with_env("WINDLASS_DATABASE", &database())
    }

    /// Adds a file to its `workflows` folder.
    #[must_use]
    pub fn with_workflow(self, name: &str, text: &str) -> Project {
        self.with_file(&format!("workflows/{name}.yaml"), text)
    }

    /// Adds a file, such as `windlass.toml` or `.mcp.json`.
    #[must_use]
    pub fn with_file(self, path: &str, text: &str) -> Project {
        self.write(path, text);
        self
    }

    /// Sets a variable for everything that it starts.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Project {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes a file while the project lives.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a path in the project has a parent")).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The project's root.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// Where the database and the worker's files live.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// What everything that it starts takes for the machine's folder of temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// `windlass ARGUMENTS`, ready to be started in the project's root.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        command.args(arguments);
        self.isolate(&mut command);
        command
    }

    /// Gives any command this project's folder and environment, so that the Windlass it starts belongs here.
    pub fn isolate(&self, command: &mut Command) {
        let inherited = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let private = inherited.filter(|name| PRIVATE_PREFIXES.iter().any(|p| name.starts_with(p)));
        for name in private.chain(PRIVATE.map(str::to_owned)) {
            command.env_remove(name);
        }
        command
            .current_dir(self.path())
            .env("HOME", self.home())
            .env("TMPDIR", self.temporary())
            .env("WINDLASS_DATA_DIR", self.data_dir())
            .env("WINDLASS_WORKER_IDLE_MS", "2000")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// Runs `windlass ARGUMENTS` to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        process::run(&mut self.command(arguments), 3 * SOON)
    }

    /// Runs `windlass ARGUMENTS`, which must succeed, and returns what it printed.
    pub fn run_ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert!(ended.status.success(), "windlass {arguments:?} failed: {ended:#?}");
        ended.stdout
    }

    /// Starts `windlass ARGUMENTS` and speaks MCP to it over stdio; not yet initialized.
    pub fn client(&self, arguments: &[&str]) -> Client {
        Client::stdio(&mut self.command(arguments))
    }

    /// Starts `windlass serve --http` on a port of its choice, and waits until it says which.
    pub fn serve_http(&self) -> HttpServer {
        self.serve_http_with(&[])
    }

    /// The same, with variables of its own.
    pub fn serve_http_with(&self, variables: &[(&str, &str)]) -> HttpServer {
        let mut command = self.command(&["serve", "--http", "127.0.0.1:0"]);
        command.envs(variables.iter().copied());
        HttpServer::start(&mut command)
    }

    /// The ids of the detached workers that live for this project, or for a demonstration that it started.
    pub fn workers(&self) -> Vec<u32> {
        let mut files = Vec::new();
        files_under(self.folder.path(), &mut files);
        let ids = files.iter().filter_map(|file| worker_in(file));
        ids.filter(|id| process::is_alive(*id) && is_windlass(*id)).collect()
    }

    /// Kills the detached workers, as a power cut would; returns how many there were.
    pub fn kill_workers(&self) -> usize {
        let workers = self.workers();
        workers.iter().for_each(|id| process::kill_stranger(*id));
        workers.len()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.kill_workers();
    }
}

/// Folders come and go while they are read; what is gone holds no file.
fn files_under(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_under(&entry.path(), files),
            Ok(_) => files.push(entry.path()),
            Err(_) => {}
        }
    }
}

/// The process id in a file named `worker-….pid`.
fn worker_in(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    let is_pid_file = name.starts_with("worker-") && name.ends_with(".pid");
    is_pid_file.then(|| fs::read_to_string(path).ok()?.trim().parse().ok()).flatten()
}

/// False only where we can see that the id has gone to somebody else since the file was written.
fn is_windlass(id: u32) -> bool {
    fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains("windlass"))
        || !Path::new("/proc/self/cmdline").exists()
}

/// `http://127.0.0.1:PORT` in a line of the log, colours or not.
fn address_in(line: &str) -> Option<String> {
    let rest = &line[line.find("http://127.0.0.1:")?..];
    let port = rest["http://127.0.0.1:".len()..].split(|c: char| !c.is_ascii_digit()).next()?;
    (!port.is_empty()).then(|| format!("http://127.0.0.1:{port}"))
}
