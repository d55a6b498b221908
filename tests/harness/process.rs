//! Child processes that end: in time, or by force.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit};
use serde_json::Value;

use super::eventually;

/// A command that has ended, and everything it said.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ended {
    /// The same, which must have ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ended {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }

    /// What it wrote to standard output, which must be one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs a command to its end; kills it and panics when the deadline passes first.
pub fn run(command: &mut Command, deadline: Duration) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = read_all(child.stdout.take().expect("piped above"));
    let stderr = read_all(child.stderr.take().expect("piped above"));
    let status = wait(&mut child, deadline);
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let status = status.unwrap_or_else(|| {
        panic!("{command:?} did not end within {deadline:?}\nstdout: {stdout}\nstderr: {stderr}")
    });
    Ended { status, stdout, stderr }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        _ = from.read_to_end(&mut bytes);
        String::from_utf8(bytes).unwrap_or_else(|error| panic!("this is no text: {error:?}"))
    })
}

/// None when the deadline passed first; then the child is dead all the same.
fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    kill(child);
    None
}

fn kill(child: &mut Child) {
    _ = child.kill();
    _ = child.wait();
}

/// A process that goes on while a test looks at it. Killed when dropped.
pub struct Running {
    child: Child,
    stderr: Lines,
}

impl Running {
    /// Starts a command. Its standard error is kept; standard input and output are as the command has them.
    pub fn start(command: &mut Command) -> Running {
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stderr = Lines::of(child.stderr.take().expect("piped above"));
        Running { child, stderr }
    }

    /// The process itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits for a line on standard error for which `find` has an answer.
    pub fn stderr_line<T>(
        &self,
        deadline: Duration,
        what: &str,
        find: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.stderr.wait_for(deadline, what, find)
    }

    /// Kills it, as a power cut would: it is not asked and cannot tidy up.
    pub fn kill(&mut self) {
        kill(&mut self.child);
    }

    /// Stops it where it is, until it is told to go on: it is not dead, and does nothing.
    pub fn pause(&self) {
        signal(self.child.id(), rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        signal(self.child.id(), rustix::process::Signal::CONT);
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub fn stop(&mut self, deadline: Duration) -> ExitStatus {
        signal(self.child.id(), rustix::process::Signal::TERM);
        self.ended(deadline)
    }

    /// Asks it to end, and does not wait.
    pub fn terminate(&self) {
        signal(self.child.id(), rustix::process::Signal::TERM);
    }

    /// Interrupts it, as Ctrl-C does, and waits until it has ended.
    pub fn interrupt(&mut self, deadline: Duration) -> ExitStatus {
        signal(self.child.id(), rustix::process::Signal::INT);
        self.ended(deadline)
    }

    /// How it has ended, once it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended by itself; kills it and panics when the deadline passes first.
    pub fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let status = wait(&mut self.child, deadline);
        status.unwrap_or_else(|| {
            panic!("the process did not end within {deadline:?}; it said:\n{}", self.stderr())
        })
    }
}

impl Drop for Running {
    #[allow(clippy::print_stderr, reason = "it belongs beside the panic")]
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- a process of this test said:\n{}---", self.stderr());
        }
    }
}

/// Lines that arrive on a pipe, kept for whoever looks.
#[derive(Clone, Default)]
struct Lines(Arc<Kept>);

#[derive(Default)]
struct Kept {
    lines: Mutex<Arrived>,
    bell: Condvar,
}

#[derive(Default)]
struct Arrived {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let kept = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                kept.change(|arrived| arrived.lines.push(line));
            }
            kept.change(|arrived| arrived.closed = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut Arrived)) {
        change(&mut self.0.lines.lock().unwrap());
        self.0.bell.notify_all();
    }

    fn text(&self) -> String {
        self.0.lines.lock().unwrap().lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn wait_for<T>(&self, deadline: Duration, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let until = Instant::now() + deadline;
        let mut arrived = self.0.lines.lock().unwrap();
        loop {
            if let Some(found) = arrived.lines.iter().find_map(|line| find(line)) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            if arrived.closed || left.is_zero() {
                let said = arrived.lines.join("\n");
                drop(arrived);
                panic!("no line on standard error was {what}; there was:\n{said}");
            }
            arrived = self.0.bell.wait_timeout(arrived, left).unwrap().0;
        }
    }
}

/// Sets how long the files that a process writes may become, in bytes; returns what it was before.
pub fn limit_files(id: u32, bytes: Option<u64>) -> Option<u64> {
    let before = rustix::process::getrlimit(Resource::Fsize);
    let limit = Rlimit { current: bytes, maximum: before.maximum };
    rustix::process::prlimit(pid(id), Resource::Fsize, limit).unwrap().current
}

/// Kills a process that is not our child, and waits until it is gone.
pub fn kill_stranger(id: u32) {
    signal(id, rustix::process::Signal::KILL);
    eventually(super::SOON, "a killed process to be gone", || (!is_alive(id)).then_some(()));
}

/// Whether a process of this id runs. A zombie does not: nobody may be there to bury it.
pub fn is_alive(id: u32) -> bool {
    let Some(pid) = pid(id) else { return false };
    let exists = rustix::process::test_kill_process(pid).is_ok();
    exists && !is_zombie(id)
}

fn is_zombie(id: u32) -> bool {
    // The state is the first field after the name, which stands in parentheses and may hold any character.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

fn signal(id: u32, signal: rustix::process::Signal) {
    if let Some(pid) = pid(id) {
        _ = rustix::process::kill_process(pid, signal);
    }
}

fn pid(id: u32) -> Option<rustix::process::Pid> {
    i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw)
}
