//! A client on the server's standard input and output.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ExitStatus},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    client::{Client, Era},
    project::{PATIENCE, Project, ended},
};

pub(super) struct Stdio {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Value>,
    era: Era,
    last_id: u64,
    /// What the server said besides answers.
    pub(super) notifications: Vec<Value>,
}

impl Stdio {
    /// Starts a server and, where the era asks for it, shakes hands.
    pub(super) fn start(project: &Project, era: Era, arguments: &[&str]) -> Stdio {
        let mut child = project.serve(arguments).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let line =
                    serde_json::from_str(&line).expect("nothing but JSON on standard output");
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut client = Stdio { child, input, lines, era, last_id: 0, notifications: Vec::new() };
        if era == Era::Legacy {
            client.request("initialize", era.hello());
            client.notify("notifications/initialized", &json!({}));
        }
        client
    }

    /// Sends a request and returns its id, without waiting for the answer.
    pub(super) fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let request = self.era.request(self.last_id, method, params);
        self.write(&request);
        self.last_id
    }

    pub(super) fn notify(&mut self, method: &str, params: &Value) {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// The answer to a request; notifications on the way are kept, answers to other requests are not expected.
    #[track_caller]
    pub(super) fn answer(&mut self, id: u64) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the server answers");
            if line.get("method").is_some() {
                self.notifications.push(line);
                continue;
            }
            assert_eq!(line["id"], id, "an answer that nobody waits for: {line:#}");
            return line;
        }
    }

    /// Whether the server stays silent for a while.
    pub(super) fn is_silent(&mut self, time: Duration) -> bool {
        self.lines.recv_timeout(time).is_err()
    }

    /// Hangs up and returns how the server ended.
    pub(super) fn hang_up(&mut self) -> ExitStatus {
        drop(self.input.take());
        ended(&mut self.child)
    }

    fn write(&mut self, message: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }
}

impl Client for Stdio {
    fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.answer(id)
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        drop(self.input.take());
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
