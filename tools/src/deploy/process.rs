//! Runs a program of the configuration: no shell, few variables, a bound on time and output, and nothing left behind
//! when nobody waits any more.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::contract::{Code, ToolError};

/// How much of each stream is kept: its end, where programs say what went wrong.
const KEPT_BYTES: usize = 64 * 1024;
/// How long a program may tidy up before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How long the output of a program that ended is waited for: what it left running may hold the pipe.
const DRAIN: Duration = Duration::from_secs(1);

/// A program to run.
pub(super) struct Program<'a> {
    /// Its name and arguments.
    pub(super) words: &'a [String],
    /// Where it runs; empty: where this process does.
    pub(super) directory: PathBuf,
    /// All variables that it gets.
    pub(super) variables: BTreeMap<String, String>,
    pub(super) limit: Duration,
}

/// What a program did.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A program at work. Dropping it ends its whole process group.
struct Running {
    child: Option<Child>,
    group: Option<Pid>,
}

/// What a stream said so far.
type Tail = Arc<Mutex<Vec<u8>>>;

/// Runs a program to its end.
pub(super) async fn run(program: Program<'_>) -> Result<Ended, ToolError> {
    let Some((name, arguments)) = program.words.split_first() else {
        return Err(ToolError::new(Code::Internal, "a command without words"));
    };
    let mut command = Command::new(name);
    command.args(arguments).env_clear().envs(&program.variables).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if !program.directory.as_os_str().is_empty() {
        command.current_dir(&program.directory);
    }
    let mut child =
        command.spawn().map_err(|error| not_started(name, &program.directory, &error))?;
    let (stdout, stderr) = (Tail::default(), Tail::default());
    let readers = [
        child.stdout.take().map(|pipe| read(pipe, Arc::clone(&stdout))),
        child.stderr.take().map(|pipe| read(pipe, Arc::clone(&stderr))),
    ];
    let mut running = Running::of(child);
    let status = timeout(program.limit, running.wait()).await.map_err(|_| {
        let seconds = program.limit.as_secs();
        // Nobody knows how far it came; another attempt may look, or run it again where that does no harm.
        let message = format!("{name} took longer than {seconds} s and was ended");
        let unknown = ToolError::new(Code::OutcomeUnknown, message);
        ToolError { retryable: true, ..unknown }.hint(
            "look at the environment before deploying again; timeout_seconds allows more time",
        )
    })?;
    let status = status.map_err(|error| ToolError::new(Code::OutcomeUnknown, error.to_string()))?;
    for reader in readers.into_iter().flatten() {
        _ = timeout(DRAIN, reader).await;
    }
    Ok(Ended { status, stdout: text(&stdout), stderr: text(&stderr) })
}

fn not_started(name: &str, directory: &Path, error: &io::Error) -> ToolError {
    let place = match directory.as_os_str().is_empty() {
        true => String::new(),
        false => format!(" in {}", directory.display()),
    };
    ToolError::new(Code::FailedPrecondition, format!("{name} cannot be started{place}: {error}"))
        .hint("check the command and its `directory` in the configuration, and PATH")
}

fn read(mut pipe: impl AsyncRead + Unpin + Send + 'static, tail: Tail) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut chunk = vec![0; 8 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend_from_slice(&chunk[..length]);
            let over = tail.len().saturating_sub(KEPT_BYTES);
            tail.drain(..over);
        }
    })
}

fn text(tail: &Tail) -> String {
    String::from_utf8_lossy(&tail.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

impl Running {
    fn of(child: Child) -> Self {
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        Self { child: Some(child), group }
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let Some(child) = &mut self.child else { return Err(io::ErrorKind::NotFound.into()) };
        let status = child.wait().await?;
        // It ended by itself: what it left running, it meant to.
        self.child = None;
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (Some(mut child), Some(group)) = (self.child.take(), self.group) else { return };
        _ = kill_process_group(group, Signal::TERM);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            _ = kill_process_group(group, Signal::KILL);
            return;
        };
        runtime.spawn(async move {
            _ = timeout(GRACE, child.wait()).await;
            _ = kill_process_group(group, Signal::KILL);
            _ = child.wait().await;
        });
    }
}
