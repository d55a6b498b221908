//! A tool server that is a child process: starts it, hears what it complains about, ends it with all it started.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    lines::{Line, Lines},
    redact::Redactor,
};

/// How many lines of standard error are kept for error messages.
const KEPT_LINES: usize = 20;
const LONGEST_LINE: usize = 8 * 1024;
/// How long a child may take to leave once its standard input is closed.
pub(super) const LEAVE: Duration = Duration::from_millis(1_500);
/// How long a child may take to leave once it was asked to by signal.
const TERMINATE: Duration = Duration::from_millis(1_000);

/// What to start.
#[derive(Clone, Debug)]
pub(super) struct Launch<'a> {
    pub(super) name: &'a str,
    pub(super) command: &'a str,
    pub(super) args: &'a [String],
    /// Empty: where this process is.
    pub(super) cwd: PathBuf,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) redactor: &'a Redactor,
}

/// A child process and everything it starts: one process group, which dies with this value.
pub(super) struct Process {
    group: Option<Pid>,
    child: tokio::sync::Mutex<Child>,
    exit: watch::Sender<Option<ExitStatus>>,
    over: AtomicBool,
    words: Arc<Words>,
    listener: JoinHandle<()>,
}

/// The last lines that a child wrote to standard error.
struct Words {
    name: String,
    redactor: Redactor,
    lines: Mutex<VecDeque<String>>,
    ended: watch::Sender<bool>,
}

impl Process {
    /// Starts the child as the leader of a process group of its own.
    ///
    /// # Errors
    /// A sentence that says why it cannot be started and what to do.
    pub(super) fn start(
        launch: &Launch<'_>,
    ) -> Result<(Arc<Process>, ChildStdin, ChildStdout), String> {
        let mut command = Command::new(launch.command);
        command
            .args(launch.args)
            .env_clear()
            .envs(launch.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if !launch.cwd.as_os_str().is_empty() {
            command.current_dir(&launch.cwd);
        }
        let mut child = command.spawn().map_err(|error| cannot_start(launch, &error))?;
        let taken = "the child was started with a pipe here, and nobody has taken it";
        let stdin = child.stdin.take().expect(taken);
        let stdout = child.stdout.take().expect(taken);
        let stderr = child.stderr.take().expect(taken);
        Ok((Arc::new(Process::of(child, stderr, launch)), stdin, stdout))
    }

    fn of(child: Child, stderr: ChildStderr, launch: &Launch<'_>) -> Process {
        let words = Arc::new(Words {
            name: launch.name.to_owned(),
            redactor: launch.redactor.clone(),
            lines: Mutex::default(),
            ended: watch::Sender::new(false),
        });
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Process {
            group,
            child: tokio::sync::Mutex::new(child),
            exit: watch::Sender::new(None),
            over: AtomicBool::new(false),
            listener: tokio::spawn(listen(Lines::new(stderr, LONGEST_LINE), words.clone())),
            words,
        }
    }

    /// Notes something that does not belong where it was said, such as a log line on standard output.
    pub(super) fn note(&self, text: &str) {
        self.words.push(text);
    }

    /// Ends the child, whose standard input is closed by now, and everything it started: waits, asks, kills.
    pub(super) async fn end(&self, patience: Duration) {
        let mut child = self.child.lock().await;
        if self.over.load(Ordering::Acquire) {
            return;
        }
        let status = match timeout(patience, child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => self.force(&mut child).await,
        };
        self.exit.send_replace(status);
        self.clear_group().await;
        self.over.store(true, Ordering::Release);
    }

    async fn force(&self, child: &mut Child) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        match timeout(TERMINATE, child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                self.signal(Signal::KILL);
                child.wait().await.ok()
            }
        }
    }

    /// `npx` and its like leave their children behind when they go.
    async fn clear_group(&self) {
        self.signal(Signal::TERM);
        for _ in 0..25 {
            if self.group.is_none_or(|group| test_kill_process_group(group).is_err()) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.signal(Signal::KILL);
    }

    /// Ends the child and everything it started, at once.
    pub(super) fn kill(&self) {
        if !self.over.load(Ordering::Acquire) {
            self.signal(Signal::KILL);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Fails when nobody is left, which is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }

    /// How the child ended and what it said last, as the end of a sentence; waits a moment for both.
    pub(super) async fn last_words(&self) -> String {
        let mut exit = self.exit.subscribe();
        let _ = timeout(Duration::from_millis(500), exit.wait_for(Option::is_some)).await;
        let mut ended = self.words.ended.subscribe();
        let _ = timeout(Duration::from_millis(200), ended.wait_for(|ended| *ended)).await;
        let ending = self.exit.borrow().map(ending);
        let lines = self.words.lines();
        match (ending, lines.is_empty()) {
            (Some(ending), true) => format!("it {ending} and wrote nothing to standard error"),
            (Some(ending), false) => format!("it {ending}; its last lines:\n{lines}"),
            (None, true) => "it wrote nothing to standard error".to_owned(),
            (None, false) => format!("its last lines:\n{lines}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        self.listener.abort();
    }
}

impl Words {
    fn push(&self, text: &str) {
        self.keep(self.redactor.redact(text));
    }

    fn push_beginning(&self, text: &str) {
        self.keep(format!("{} …", self.redactor.redact_beginning(text)));
    }

    fn keep(&self, text: String) {
        tracing::debug!(tool_server.name = %self.name, "tool server {} says: {text}", self.name);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }

    fn lines(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

async fn listen(mut lines: Lines<ChildStderr>, words: Arc<Words>) {
    while let Some(line) = lines.next().await {
        match line {
            Line::Whole(line) => words.push(String::from_utf8_lossy(&line).trim_end()),
            Line::TooLong { head, .. } => {
                // The cut may have gone through a letter.
                let head = String::from_utf8_lossy(&head);
                words.push_beginning(head.trim_end_matches('\u{fffd}'));
            }
        }
    }
    words.ended.send_replace(true);
}

fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn cannot_start(launch: &Launch<'_>, error: &io::Error) -> String {
    let command = launch.redactor.redact(launch.command);
    let Launch { cwd, .. } = launch;
    match error.kind() {
        _ if !cwd.as_os_str().is_empty() && !cwd.is_dir() => {
            format!("its folder {cwd:?} does not exist; correct `cwd`")
        }
        io::ErrorKind::NotFound => format!(
            "the command {command:?} was not found; install it, or give its full path in `command`"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("the command {command:?} may not be executed; check its permissions")
        }
        _ => format!("the command {command:?} cannot be started: {error}"),
    }
}
