//! A client over HTTP that hides nothing: each request is a connection of its own, read to its end.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Child,
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{
    client::{Client, Era},
    project::{PATIENCE, Project, ended},
};

/// A server that listens.
pub(super) struct Web {
    pub(super) child: Child,
    pub(super) address: SocketAddr,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: String,
    pub(super) body: String,
}

/// A client of such a server.
pub(super) struct WebClient {
    address: SocketAddr,
    era: Era,
    session: Option<String>,
    last_id: u64,
    /// Headers for every request.
    pub(super) headers: Vec<(&'static str, String)>,
    /// What the server said besides answers.
    pub(super) notifications: Vec<Value>,
}

impl Web {
    /// Starts a server on a free port.
    pub(super) fn start(project: &Project, arguments: &[&str]) -> Web {
        Web::start_with(project, arguments, &[])
    }

    pub(super) fn start_with(
        project: &Project,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Web {
        let mut command = project.serve(&["--http", "127.0.0.1:0"]);
        let mut child = command.args(arguments).envs(variables.iter().copied()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (send, addresses) = channel();
        // Reads on to the end, so that the server never waits for a full pipe.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("http://")
                    && let Some((address, _)) = rest.split_once("/mcp")
                {
                    _ = send.send(address.parse().expect("the log names the address"));
                }
            }
        });
        let address = addresses.recv_timeout(PATIENCE).expect("the server says where it listens");
        Web { child, address }
    }

    pub(super) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        exchange(self.address, "GET", path, headers, "")
    }

    pub(super) fn post(&self, headers: &[(&str, &str)], body: &Value) -> Response {
        let accept = ("Accept", "application/json, text/event-stream");
        let headers = [&[("Content-Type", "application/json"), accept], headers].concat();
        exchange(self.address, "POST", "/mcp", &headers, &body.to_string())
    }

    pub(super) fn client(&self, era: Era) -> WebClient {
        self.client_with(era, Vec::new())
    }

    /// Connects, and shakes hands where the era asks for it.
    pub(super) fn client_with(&self, era: Era, headers: Vec<(&'static str, String)>) -> WebClient {
        let mut client = WebClient {
            address: self.address,
            era,
            session: None,
            last_id: 0,
            headers,
            notifications: Vec::new(),
        };
        if era == Era::Legacy {
            client.shake_hands();
        }
        client
    }

    /// Asks the server to end.
    pub(super) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        _ = self.child.kill();
        ended(&mut self.child);
    }
}

impl WebClient {
    /// Sends a request and hangs up without waiting for the answer.
    pub(super) fn send_and_hang_up(&mut self, method: &str, params: Value) {
        let request = self.next(method, params);
        let (headers, body) = self.written(&request);
        let stream = send(self.address, "POST", "/mcp", &headers, &body);
        // The server has taken the request once it begins to answer.
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut first = [0];
        (&stream).read_exact(&mut first).unwrap();
    }

    /// Sends a request in the background; the response comes later.
    pub(super) fn send(&mut self, method: &str, params: Value) -> thread::JoinHandle<Response> {
        let request = self.next(method, params);
        let (headers, body) = self.written(&request);
        let stream = send(self.address, "POST", "/mcp", &headers, &body);
        thread::spawn(move || receive(stream))
    }

    fn shake_hands(&mut self) {
        let request = self.next("initialize", self.era.hello());
        let response = self.post(&request);
        let session = response.header("mcp-session-id").expect("a session").to_owned();
        self.session = Some(session);
        let response =
            self.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        assert_eq!(response.status, 202, "{response:?}");
    }

    fn next(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        self.era.request(self.last_id, method, params)
    }

    fn post(&self, request: &Value) -> Response {
        let (headers, body) = self.written(request);
        exchange(self.address, "POST", "/mcp", &headers, &body)
    }

    fn written<'a>(&'a self, request: &'a Value) -> (Vec<(&'a str, &'a str)>, String) {
        let mut headers = vec![
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("MCP-Protocol-Version", self.era.version()),
        ];
        if let Some(session) = &self.session {
            headers.push(("Mcp-Session-Id", session));
        }
        if self.era == Era::Modern {
            headers.push(("Mcp-Method", request["method"].as_str().unwrap()));
            let params = &request["params"];
            let name = params["name"].as_str().or_else(|| params["uri"].as_str());
            headers.extend(name.map(|name| ("Mcp-Name", name)));
        }
        headers.extend(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        (headers, request.to_string())
    }
}

impl Client for WebClient {
    fn request(&mut self, method: &str, params: Value) -> Value {
        let request = self.next(method, params);
        let response = self.post(&request);
        let (answers, notifications): (Vec<_>, Vec<_>) =
            response.messages().into_iter().partition(|message| message.get("id").is_some());
        self.notifications.extend(notifications);
        assert_eq!(answers.len(), 1, "{response:?}");
        answers.into_iter().next().unwrap()
    }
}

impl Response {
    /// A header's value, by its lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Every JSON-RPC message in it, whether it is a stream of events or one document.
    pub(super) fn messages(&self) -> Vec<Value> {
        let is_stream =
            self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        if !is_stream {
            return vec![self.json()];
        }
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter(|data| !data.trim().is_empty())
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

/// Sends a request and reads the answer to the end of the connection.
pub(super) fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    receive(send(address, method, path, headers, body))
}

fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    // A server may refuse a body before it has read all of it.
    _ = stream.write_all(body.as_bytes());
    stream
}

fn receive(mut stream: TcpStream) -> Response {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    // A server that refuses a body resets the connection after its answer.
    _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = status.split(' ').nth(1).unwrap().parse().unwrap();
    let mut response = Response { status, headers: headers.to_owned(), body: String::new() };
    let is_chunked = response.header("transfer-encoding") == Some("chunked");
    response.body = if is_chunked { joined(body) } else { body.to_owned() };
    response
}

/// A chunked body in one piece.
fn joined(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        whole += &rest[..size];
        body = &rest[size + 2..];
    }
    whole
}
