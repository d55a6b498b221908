//! JSON-RPC over a child's standard input and output, a line each.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{Incoming, Running};

pub(super) struct Wire {
    process: Running,
    // Taken when it is closed.
    stdin: Option<ChildStdin>,
}

impl Wire {
    pub(super) fn start(command: &mut Command) -> (Wire, Receiver<Incoming>) {
        let mut process = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = process.child().stdin.take();
        let stdout = process.child().stdout.take().expect("piped above");
        let (sender, incoming) = channel();
        thread::spawn(move || read(stdout, &sender));
        (Wire { process, stdin }, incoming)
    }

    /// A server that is gone does not stop a test here: it notices when it waits for the answer.
    pub(super) fn send(&mut self, message: &Value) {
        let stdin = self.stdin.as_mut().expect("closed only with the client");
        _ = writeln!(stdin, "{message}").and_then(|()| stdin.flush());
    }

    pub(super) fn process(&mut self) -> &mut Running {
        &mut self.process
    }

    pub(super) fn close(&mut self, deadline: Duration) -> ExitStatus {
        drop(self.stdin.take());
        self.process.ended(deadline)
    }

    pub(super) fn stderr(&self) -> String {
        self.process.stderr()
    }
}

fn read(stdout: ChildStdout, sender: &Sender<Incoming>) {
    for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
        let incoming = match serde_json::from_slice(&line) {
            Ok(message) => Incoming::Message(message),
            Err(_) => {
                let line = String::from_utf8_lossy(&line);
                Incoming::Broken(format!("standard output is for messages, not {line:?}"))
            }
        };
        if sender.send(incoming).is_err() {
            return;
        }
    }
}
