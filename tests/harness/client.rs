//! A raw MCP client: JSON-RPC as it goes over the wire, so that a test sees what any client would.

mod http;
mod stdio;

use std::{
    collections::HashSet,
    process::{Command, ExitStatus},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use super::{Running, SOON};

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// One client of one server. Each method that waits panics when its deadline passes, with what the server said.
pub struct Client {
    wire: Wire,
    incoming: Receiver<Incoming>,
    /// The requests that have no answer yet.
    unanswered: HashSet<u64>,
    /// Answers that came before somebody waited for them.
    answers: Vec<(u64, Result<Value, Value>)>,
    notifications: Vec<Value>,
    next_id: u64,
    accepted: bool,
    deadline: Duration,
    modern: bool,
}

enum Wire {
    Stdio(stdio::Wire),
    Http(http::Wire),
}

/// What a wire brings in.
enum Incoming {
    Message(Value),
    /// Something that is no message at all: a transport error, or noise on standard output.
    Broken(String),
    /// An HTTP status without a JSON-RPC answer, for the request of this id.
    Refused(Option<u64>, Value),
    /// A notification was taken, which only HTTP says.
    Accepted,
}

impl Client {
    /// Starts a server and speaks to it over its standard input and output. It is killed when the client is dropped.
    pub fn stdio(command: &mut Command) -> Client {
        let (wire, incoming) = stdio::Wire::start(command);
        Client::new(Wire::Stdio(wire), incoming)
    }

    /// Speaks to a server over streamable HTTP. The URL includes the path, usually `/mcp`.
    pub fn http(url: &str) -> Client {
        let (wire, incoming) = http::Wire::new(url);
        Client::new(Wire::Http(wire), incoming)
    }

    fn new(wire: Wire, incoming: Receiver<Incoming>) -> Client {
        Client {
            wire,
            incoming,
            unanswered: HashSet::new(),
            answers: Vec::new(),
            notifications: Vec::new(),
            next_id: 1,
            accepted: false,
            deadline: SOON,
            modern: false,
        }
    }

    /// Sends a header with every HTTP request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Client {
        match &mut self.wire {
            Wire::Http(wire) => wire.add_header(name, value),
            Wire::Stdio(_) => panic!("there are no headers on stdio"),
        }
        self
    }

    /// Waits at most this long for each answer, instead of [`SOON`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Client {
        self.deadline = deadline;
        self
    }

    /// Speaks protocol 2026-07-28: no `initialize`, and each request says who asks. Otherwise it is 2025-11-25.
    #[must_use]
    pub fn modern(mut self) -> Client {
        self.modern = true;
        self
    }

    /// Shakes hands as clients up to 2025-11-25 do, and returns what the server says of itself.
    pub fn initialize(&mut self) -> Value {
        let params = json!({
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": client_info(),
        });
        let said = self.ask("initialize", params);
        self.notify("notifications/initialized", json!({}));
        if let Wire::Http(_) = self.wire {
            // The next request goes its own way and could be there first.
            self.wait_for("the handshake to be accepted", |client| client.accepted.then_some(()));
        }
        said
    }

    /// The session that a legacy HTTP server gave, if it gave one.
    pub fn session(&self) -> Option<&str> {
        match &self.wire {
            Wire::Http(wire) => wire.session(),
            Wire::Stdio(_) => None,
        }
    }

    /// Goes on in a session that another server gave, as behind a load balancer.
    #[must_use]
    pub fn in_session(mut self, session: &str) -> Client {
        match &mut self.wire {
            Wire::Http(wire) => wire.go_on(session),
            Wire::Stdio(_) => panic!("there are no sessions on stdio"),
        }
        self
    }

    /// Calls a tool and returns its result, which may be one with `isError`.
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// Calls a tool that must succeed, and returns its structured result, which its text must repeat.
    #[track_caller]
    pub fn call_ok(&mut self, tool: &str, arguments: Value) -> Value {
        let mut result = self.call(tool, arguments);
        assert!(result["isError"] != true, "{tool} failed: {}", text_of(&result));
        let repeated = serde_json::from_str(&text_of(&result));
        let repeated: Value = repeated.unwrap_or_else(|error| panic!("{error}: {result:#}"));
        assert_eq!(repeated, result["structuredContent"], "clients see the one or the other");
        result["structuredContent"].take()
    }

    /// Calls a tool that must fail, and returns the text of its error.
    #[track_caller]
    pub fn call_err(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert!(result["isError"] == true, "{tool} should have failed, but said: {result}");
        text_of(&result)
    }

    /// Sends a request that must succeed, and returns its result.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let answer = self.request(method, params);
        answer.unwrap_or_else(|error| panic!("{method} was answered with an error: {error}"))
    }

    /// Sends a request and returns its result or its JSON-RPC error.
    /// An HTTP status without either is the error `{"http_status", "headers", "body"}`.
    ///
    /// # Errors
    /// When the server answers with one.
    pub fn request(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.begin(method, params);
        self.answer(id)
    }

    /// Sends a request without waiting, and returns its id for [`Client::answer`].
    pub fn begin(&mut self, method: &str, mut params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if self.modern {
            params = signed(params);
        }
        self.unanswered.insert(id);
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Waits for the answer to a request that was begun.
    ///
    /// # Errors
    /// When the server answers with one.
    pub fn answer(&mut self, id: u64) -> Result<Value, Value> {
        self.wait_for(&format!("the answer to request {id}"), |client| {
            let index = client.answers.iter().position(|(answered, _)| *answered == id)?;
            Some(client.answers.remove(index).1)
        })
    }

    /// Gives a request up: on HTTP by closing its stream, on stdio by saying so.
    pub fn cancel(&mut self, id: u64) {
        match &mut self.wire {
            Wire::Http(wire) => wire.hang_up(id),
            Wire::Stdio(_) => self.notify("notifications/cancelled", json!({ "requestId": id })),
        }
    }

    /// Sends a notification.
    pub fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// The notifications that have been read so far, oldest first. Reading goes on while something is waited for.
    pub fn notifications(&self) -> &[Value] {
        &self.notifications
    }

    /// Waits for a notification, takes it out, and returns its parameters.
    pub fn notification(&mut self, method: &str) -> Value {
        self.wait_for(&format!("a notification {method}"), |client| {
            let mut all = client.notifications.iter();
            let index = all.position(|notification| notification["method"] == method)?;
            Some(client.notifications.remove(index)["params"].take())
        })
    }

    fn send(&mut self, message: Value) {
        match &mut self.wire {
            Wire::Stdio(wire) => wire.send(&message),
            Wire::Http(wire) => wire.send(message, self.modern),
        }
    }

    /// The server's process, when the client started it.
    pub fn process(&mut self) -> &mut Running {
        match &mut self.wire {
            Wire::Stdio(wire) => wire.process(),
            Wire::Http(_) => panic!("over HTTP the server is somebody else's process"),
        }
    }

    /// Kills the server, as a power cut would.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// Whether no answer is left over and nothing else comes in for a while, or ever if the server is gone.
    pub fn is_silent(&self, time: Duration) -> bool {
        self.answers.is_empty() && self.incoming.recv_timeout(time).is_err()
    }

    /// Closes the server's standard input, which tells it to end, and waits until it has.
    pub fn close(&mut self) -> ExitStatus {
        match &mut self.wire {
            Wire::Stdio(wire) => wire.close(self.deadline),
            Wire::Http(_) => panic!("over HTTP there is nothing to close"),
        }
    }

    /// Reads what comes in until `look` finds what it looks for.
    fn wait_for<T>(&mut self, what: &str, look: impl Fn(&mut Client) -> Option<T>) -> T {
        let until = Instant::now() + self.deadline;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(incoming) => self.sort(incoming),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("waited {:?} in vain for {what}{}", self.deadline, self.said())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the server closed the connection before {what}{}", self.said())
                }
            }
        }
    }

    fn sort(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message(message) => self.sort_message(message),
            Incoming::Refused(Some(id), refusal) => self.sort_answer(id, Err(refusal)),
            Incoming::Refused(None, refusal) => panic!("a notification was refused: {refusal}"),
            Incoming::Accepted => self.accepted = true,
            Incoming::Broken(how) => panic!("{how}{}", self.said()),
        }
    }

    fn sort_message(&mut self, mut message: Value) {
        match (message.get("method").is_some(), message["id"].as_u64()) {
            (true, None) if message.get("id").is_none_or(Value::is_null) => {
                self.notifications.push(message);
            }
            (true, _) => panic!("a client that can do nothing was asked: {message}"),
            (false, Some(id)) if message.get("error").is_some() => {
                self.sort_answer(id, Err(message["error"].take()));
            }
            (false, Some(id)) => self.sort_answer(id, Ok(message["result"].take())),
            (false, None) => panic!("an answer to nothing: {message}"),
        }
    }

    fn sort_answer(&mut self, id: u64, answer: Result<Value, Value>) {
        assert!(self.unanswered.remove(&id), "nobody waits for an answer to {id}: {answer:?}");
        self.answers.push((id, answer));
    }

    fn said(&self) -> String {
        match &self.wire {
            Wire::Stdio(wire) => format!("; on standard error it said:\n{}", wire.stderr()),
            Wire::Http(_) => String::new(),
        }
    }
}

/// The text of a tool's result: all its text blocks, joined.
pub fn text_of(result: &Value) -> String {
    let blocks = result["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
    texts.join("\n")
}

/// The parameters of a request in 2026-07-28, where each says which protocol it speaks and what its client can do.
pub fn signed(mut params: Value) -> Value {
    let meta = params.as_object_mut().expect("parameters are an object");
    let meta = meta.entry("_meta").or_insert_with(|| Value::Object(Map::new()));
    meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    meta["io.modelcontextprotocol/clientInfo"] = client_info();
    params
}

fn client_info() -> Value {
    json!({ "name": "windlass-tests", "version": env!("CARGO_PKG_VERSION") })
}
