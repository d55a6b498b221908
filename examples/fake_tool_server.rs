//! A tool server that misbehaves on request: what the tests of tool servers, and of everything above, call.
//!
//! `fake_tool_server [MODE] [--ledger FILE] [--state FILE] [--changes FILE] [--slow-once]`
//!
//! MODE is one of
//! - `normal`: MCP 2025-11-25; refuses `server/discover` as unknown
//! - `modern`: MCP 2026-07-28 without `initialize`
//! - `exits-at-once`: complains on standard error and exits with code 7
//! - `silent-until-initialize`: answers nothing else before it
//! - `exits-on-unknown-first-message`: leaves when that is not `initialize`
//! - `grandchild`: like `normal`, with a child of its own whose id it writes to the state file
//! - `deaf`: like `normal`, but reads nothing after the first call
//! - `stubborn`: like `normal`, but does not leave when its input ends
//!
//! The ledger gets one line for each effect: `TOOL KEY ATTEMPT ARGUMENTS`, and `cancelled TOOL` for each
//! cancellation that arrived. The state file is where `crash_once` remembers that it has crashed, what `recite`
//! says, and where `--slow-once` remembers that it has taken eleven seconds to start, which is longer than clients wait for a probe.
//! The file of changes, where there is one, holds by a tool's name what is to be laid over it (RFC 7396); null takes
//! the tool away. It is read again whenever the tools are listed.
//! Speaks JSON-RPC by hand, so that it shares no code, and no mistake, with what it tests.

use std::{
    collections::{HashMap, HashSet},
    fs::OpenOptions,
    io::{BufRead, Write},
    path::PathBuf,
    process::{Command, Stdio, exit},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

const NOT_FOUND: i64 = -32_601;
/// What `mint` makes: it says that it is not to be read again.
const MINTED: &str = "minted/\"token\"+1=?\u{e9}";
const INVALID_PARAMS: i64 = -32_602;

struct Server {
    mode: String,
    ledger: Option<PathBuf>,
    state: Option<PathBuf>,
    changes: Option<PathBuf>,
    slow_once: bool,
    output: Mutex<std::io::Stdout>,
    cancelled: Mutex<HashSet<String>>,
    running: Mutex<HashMap<String, String>>,
    asked: Mutex<HashMap<String, Value>>,
    grown: AtomicBool,
}

fn main() {
    let server = Arc::new(Server::from_arguments());
    if server.slow_once {
        server.be_slow_once();
    }
    match server.mode.as_str() {
        "exits-at-once" => {
            complain("the configuration file is missing");
            exit(7);
        }
        "grandchild" => server.start_grandchild(),
        _ => {}
    }
    let mut initialized = false;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let method = message["method"].as_str().unwrap_or_default();
        if !initialized && method != "initialize" {
            match server.mode.as_str() {
                "silent-until-initialize" => continue,
                "exits-on-unknown-first-message" => exit(1),
                _ => {}
            }
        }
        initialized |= method == "initialize";
        server.hear(&message);
        if method == "tools/call" && server.mode == "deaf" {
            stay();
        }
    }
    if server.mode == "stubborn" {
        stay();
    }
}

fn stay() {
    loop {
        thread::park();
    }
}

impl Server {
    fn from_arguments() -> Server {
        let mut server = Server {
            mode: "normal".to_owned(),
            ledger: None,
            state: None,
            changes: None,
            slow_once: false,
            output: Mutex::new(std::io::stdout()),
            cancelled: Mutex::default(),
            running: Mutex::default(),
            asked: Mutex::default(),
            grown: AtomicBool::new(false),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--ledger" => server.ledger = arguments.next().map(PathBuf::from),
                "--state" => server.state = arguments.next().map(PathBuf::from),
                "--changes" => server.changes = arguments.next().map(PathBuf::from),
                "--slow-once" => server.slow_once = true,
                mode => server.mode = mode.to_owned(),
            }
        }
        server
    }

    #[expect(clippy::zombie_processes, reason = "it is there to be left behind")]
    fn start_grandchild(&self) {
        let child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("there is a `sleep` on every system the tests run on");
        let state = self.state.as_ref().expect("`grandchild` needs a state file");
        std::fs::write(state, child.id().to_string()).expect("the state file can be written");
    }

    fn hear(self: &Arc<Self>, message: &Value) {
        let method = message["method"].as_str().unwrap_or_default();
        match (method, message.get("id")) {
            ("notifications/cancelled", _) => self.cancel(&message["params"]["requestId"]),
            ("", Some(id)) => {
                lock(&self.asked).insert(id.to_string(), message.clone());
            }
            ("tools/call", Some(id)) => self.start(id.clone(), message["params"].clone()),
            (_, Some(id)) => {
                let answer = self.answer(method, &message["params"]);
                self.reply(id, answer);
            }
            (_, None) => {}
        }
    }

    fn answer(&self, method: &str, params: &Value) -> Result<Value, (i64, String)> {
        let about = json!({ "name": "fake", "version": "1" });
        let able = json!({ "tools": { "listChanged": true } });
        match (method, self.mode.as_str()) {
            ("initialize", "modern") => Err((NOT_FOUND, "initialize is gone".to_owned())),
            ("initialize", _) => Ok(json!({
                "protocolVersion": "2025-11-25", "capabilities": able, "serverInfo": about,
            })),
            ("server/discover", "modern") => Ok(json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} },
                "ttlMs": 0, "cacheScope": "private",
                "_meta": { "io.modelcontextprotocol/serverInfo": about },
            })),
            ("ping", _) => Ok(json!({})),
            ("tools/list", _) => Ok(self.page(params)),
            _ => Err((NOT_FOUND, format!("Method not found: {method}"))),
        }
    }

    /// Two pages, so that whoever reads one misses half.
    fn page(&self, params: &Value) -> Value {
        let mut tools = self.changed(tools());
        if self.grown.load(Ordering::SeqCst) {
            tools.push(tool("grown", "Came later.", &json!({}), &json!({ "readOnlyHint": true })));
        }
        let second = tools.split_off(tools.len() / 2);
        let mut page = match params["cursor"].as_str() {
            None => json!({ "tools": tools, "nextCursor": "second" }),
            Some(_) => json!({ "tools": second }),
        };
        if self.mode == "modern" {
            page["resultType"] = json!("complete");
            page["ttlMs"] = json!(0);
            page["cacheScope"] = json!("private");
        }
        page
    }

    /// The tools with the changes of the moment.
    fn changed(&self, tools: Vec<Value>) -> Vec<Value> {
        let text = self.changes.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let changes: Value = text.map_or(Value::Null, |text| {
            serde_json::from_str(&text).expect("the file of changes is JSON")
        });
        let lay = |mut tool: Value| {
            if let Some(change) = changes.get(tool["name"].as_str()?) {
                merge(&mut tool, change);
            }
            (!tool.is_null()).then_some(tool)
        };
        tools.into_iter().filter_map(lay).collect()
    }

    fn start(self: &Arc<Self>, id: Value, params: Value) {
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        self.arrived(&name);
        lock(&self.running).insert(id.to_string(), name.clone());
        let server = self.clone();
        thread::spawn(move || {
            if let Some(answer) = server.call(&name, &id, &params) {
                lock(&server.running).remove(&id.to_string());
                server.reply(&id, answer);
            }
        });
    }

    fn call(&self, name: &str, id: &Value, params: &Value) -> Option<Result<Value, (i64, String)>> {
        let arguments = &params["arguments"];
        Some(Ok(match name {
            "echo" => structured(json!({ "text": arguments["text"], "meta": params["_meta"] })),
            "plain" => blocks(json!([{ "type": "text", "text": arguments["text"] }])),
            "blocks" => blocks(json!([
                { "type": "text", "text": "one" }, { "type": "hologram", "text": "two" },
            ])),
            "big" => text(&"x".repeat(count(arguments, "bytes"))),
            "slow" => {
                self.timed("begins");
                self.sleep(id, count(arguments, "ms"));
                self.timed("ends");
                text("slept")
            }
            "never" => loop {
                self.sleep(id, 60_000);
            },
            "crash" => {
                self.record(name, params);
                complain("out of cheese");
                exit(3);
            }
            "crash_once" => {
                self.record(name, params);
                self.crash_unless_crashed();
                text("survived")
            }
            "append" | "put" | "keyed" => {
                self.record(name, params);
                structured(json!({ "done": true }))
            }
            "wrong" | "wrong_unsafe" => structured(json!({ "count": "three" })),
            "fail" => json!({
                "isError": true, "content": [{ "type": "text", "text": "it failed" }],
                "structuredContent": { "error": arguments },
            }),
            "fail_in_words" => json!({
                "isError": true, "content": [{ "type": "text", "text": "the disk is full" }],
            }),
            "refuse" => {
                return Some(Err((
                    arguments["code"].as_i64().unwrap_or(-32_603),
                    "the server said no".to_owned(),
                )));
            }
            "malformed" => {
                self.write(&json!({ "jsonrpc": "2.0", "id": id, "error": "not an object" }));
                return None;
            }
            "progress" => {
                for step in 1..=3 {
                    self.notify(
                        "notifications/progress",
                        json!({
                            "progressToken": params["_meta"]["progressToken"],
                            "progress": step, "total": 3, "message": format!("step {step}"),
                        }),
                    );
                    thread::sleep(Duration::from_millis(20));
                }
                text("done")
            }
            "grow" => {
                self.grown.store(true, Ordering::SeqCst);
                self.notify("notifications/tools/list_changed", json!({}));
                text("grown")
            }
            "environment" => structured(json!(std::env::vars().collect::<HashMap<_, _>>())),
            "complain" => {
                complain(arguments["text"].as_str().unwrap_or_default());
                text("complained")
            }
            "look" => self.look(params),
            "limited" => self.limited(params),
            "ask" => structured(self.ask()),
            "recite" => return Some(self.recite()),
            "mint" => structured(
                json!({ "id": "key-1", "token": MINTED, "note": format!("keep {MINTED}") }),
            ),
            _ => return Some(Err((INVALID_PARAMS, format!("Unknown tool: {name}")))),
        }))
    }

    /// Sleeps, but notices when it is cancelled; then it never answers.
    fn sleep(&self, id: &Value, ms: usize) {
        for _ in 0..ms.div_ceil(10) {
            if lock(&self.cancelled).contains(&id.to_string()) {
                loop {
                    thread::park();
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn cancel(&self, id: &Value) {
        if let Some(name) = lock(&self.running).get(&id.to_string()) {
            self.note(&format!("cancelled {name}"));
        }
        lock(&self.cancelled).insert(id.to_string());
    }

    fn crash_unless_crashed(&self) {
        if self.is_first_time() {
            exit(3);
        }
    }

    fn be_slow_once(&self) {
        if self.is_first_time() {
            thread::sleep(Duration::from_secs(11));
        }
    }

    fn is_first_time(&self) -> bool {
        let state = self.state.as_ref().expect("what happens once needs a state file");
        let first = !state.exists();
        if first {
            std::fs::write(state, "happened").expect("the state file can be written");
        }
        first
    }

    /// Asks the client a question, and gives its answer back.
    fn ask(&self) -> Value {
        self.write(&json!({
            "jsonrpc": "2.0", "id": "question", "method": "elicitation/create",
            "params": { "message": "sure?", "requestedSchema": { "type": "object", "properties": {} } },
        }));
        for _ in 0..500 {
            if let Some(answer) = lock(&self.asked).remove("\"question\"") {
                return answer;
            }
            thread::sleep(Duration::from_millis(10));
        }
        json!({ "nothing": "was answered" })
    }

    /// Says whatever the state file tells it to: lines on standard error, then a result, an error, or nothing at all.
    fn recite(&self) -> Result<Value, (i64, String)> {
        let state = self.state.as_ref().expect("what is recited needs a state file");
        let text = std::fs::read_to_string(state).expect("the state file can be read");
        let part: Value = serde_json::from_str(&text).expect("what is recited is JSON");
        for line in part["stderr"].as_array().into_iter().flatten() {
            complain(line.as_str().unwrap_or_default());
        }
        if part["crash"] == true {
            exit(3);
        }
        match part["error"].as_str() {
            Some(message) => Err((-32_050, message.to_owned())),
            None => Ok(part["result"].clone()),
        }
    }

    /// Is done when it was looked at `looks` times.
    fn look(&self, params: &Value) -> Value {
        self.record("look", params);
        let (seen, wanted) = (self.recorded("look", params), count(&params["arguments"], "looks"));
        if wanted <= seen {
            return structured(json!({ "done": true, "success": true, "seen": seen }));
        }
        structured(json!({
            "done": false, "success": null, "message": format!("{seen} of {wanted}"),
            "retry_after_ms": count(&params["arguments"], "ms"),
        }))
    }

    /// Refuses the first calls because there were too many.
    fn limited(&self, params: &Value) -> Value {
        self.record("limited", params);
        if count(&params["arguments"], "times") < self.recorded("limited", params) {
            return structured(json!({ "meta": params["_meta"] }));
        }
        json!({
            "isError": true, "content": [{ "type": "text", "text": "too many calls" }],
            "structuredContent": { "error": {
                "code": "rate_limited", "message": "too many calls", "retryable": true,
                "retry_after_ms": count(&params["arguments"], "ms"),
            } },
        })
    }

    /// How often a call is in the ledger with this key.
    fn recorded(&self, name: &str, params: &Value) -> usize {
        let ledger = self.ledger.as_ref().expect("what counts needs a ledger");
        let text = std::fs::read_to_string(ledger).expect("the ledger can be read");
        let key = params["_meta"]["dev.windlass/idempotency_key"].as_str().unwrap_or("-");
        text.lines().filter(|line| line.starts_with(&format!("{name} {key} "))).count()
    }

    fn record(&self, name: &str, params: &Value) {
        let meta = &params["_meta"];
        let key = meta["dev.windlass/idempotency_key"].as_str().unwrap_or("-");
        let attempt = &meta["dev.windlass/attempt"];
        self.note(&format!("{name} {key} {attempt} {}", params["arguments"]));
    }

    fn note(&self, line: &str) {
        self.append(line, "");
    }

    /// Another file beside the ledger tells which calls have arrived.
    fn arrived(&self, name: &str) {
        self.append(name, ".arrived");
    }

    /// And another one when those that take their time begin and end.
    fn timed(&self, what: &str) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("it is after 1970").as_millis();
        self.append(&format!("{now} {what}"), ".times");
    }

    fn append(&self, line: &str, ending: &str) {
        let Some(ledger) = &self.ledger else { return };
        let mut path = ledger.clone().into_os_string();
        path.push(ending);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .expect("the ledger can be opened");
        // One write, so that lines of several processes do not mix.
        file.write_all(format!("{line}\n").as_bytes()).expect("the ledger can be written");
    }

    fn reply(&self, id: &Value, answer: Result<Value, (i64, String)>) {
        self.write(&match answer {
            Ok(mut result) => {
                if self.mode == "modern" && result.is_object() && result.get("resultType").is_none()
                {
                    result["resultType"] = json!("complete");
                }
                json!({ "jsonrpc": "2.0", "id": id, "result": result })
            }
            Err((code, message)) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
            }
        });
    }

    fn notify(&self, method: &str, params: Value) {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    fn write(&self, message: &Value) {
        let mut output = lock(&self.output);
        // A client that is gone is no reason to panic.
        let _ = output.write_all(format!("{message}\n").as_bytes());
        let _ = output.flush();
    }
}

/// Lays a JSON Merge Patch (RFC 7396) over a value.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, patch) in patch {
        match patch {
            Value::Null => drop(value.as_object_mut().and_then(|value| value.remove(key))),
            patch => merge(&mut value[key], patch),
        }
    }
}

fn tools() -> Vec<Value> {
    let read = json!({ "readOnlyHint": true });
    let idempotent = json!({ "idempotentHint": true });
    let none = json!({});
    let word = json!({ "text": { "type": "string" } });
    let mut wrong = tool("wrong", "Breaks its promise; reads only.", &none, &read);
    let mut wrong_unsafe = tool("wrong_unsafe", "Breaks its promise.", &none, &none);
    for tool in [&mut wrong, &mut wrong_unsafe] {
        tool["outputSchema"] =
            json!({ "type": "object", "properties": { "count": { "type": "integer" } } });
    }
    let mut echo = tool("echo", "Says it again.", &word, &read);
    echo["inputSchema"]["required"] = json!(["text"]);
    echo["inputSchema"]["additionalProperties"] = json!(false);
    let mut mint = tool("mint", "Makes a token.", &none, &idempotent);
    mint["outputSchema"] = json!({ "type": "object", "required": ["token"], "properties": {
        "id": { "type": "string" }, "token": { "$ref": "#/$defs/token" } },
        "$defs": { "token": { "type": "string", "writeOnly": true } },
    });
    let mut keyed =
        tool("keyed", "Takes a key.", &json!({ "idempotency_key": { "type": "string" } }), &none);
    keyed["inputSchema"]["required"] = json!(["idempotency_key"]);
    keyed["_meta"] = json!({ "dev.windlass/retry_class": "keyed" });
    let number = |name: &str| json!({ name: { "type": "integer" } });
    let pause = |name: &str| json!({ name: { "type": "integer" }, "ms": { "type": "integer" } });
    let mut look = tool("look", "Looks once.", &pause("looks"), &read);
    look["_meta"] = json!({ "dev.windlass/pollable": true });
    vec![
        echo,
        keyed,
        wrong,
        wrong_unsafe,
        tool("plain", "A text.", &word, &read),
        tool("blocks", "Several blocks.", &none, &read),
        tool("big", "Much text.", &number("bytes"), &read),
        tool("slow", "Takes its time.", &number("ms"), &none),
        tool("never", "Never ends.", &none, &idempotent),
        tool("crash", "Crashes.", &none, &none),
        tool("crash_once", "Crashes the first time.", &none, &idempotent),
        tool("append", "Adds a line.", &word, &none),
        tool("put", "Sets a line.", &word, &idempotent),
        tool("fail", "Fails with fields.", &none, &none),
        tool("fail_in_words", "Fails in words.", &none, &none),
        tool("refuse", "Fails by JSON-RPC.", &number("code"), &none),
        tool("malformed", "Answers nonsense.", &none, &none),
        tool("progress", "Tells of progress.", &none, &read),
        tool("grow", "Adds a tool.", &none, &none),
        tool("environment", "Its variables.", &none, &read),
        tool("complain", "Writes to standard error.", &word, &read),
        tool("ask", "Asks the client.", &none, &read),
        tool("recite", "Says what it is told to say.", &none, &none),
        mint,
        look,
        tool("limited", "Refuses at first.", &pause("times"), &none),
    ]
}

fn tool(name: &str, description: &str, properties: &Value, annotations: &Value) -> Value {
    json!({
        "name": name, "description": description, "annotations": annotations,
        "inputSchema": { "type": "object", "properties": properties },
    })
}

fn structured(result: Value) -> Value {
    json!({ "content": [{ "type": "text", "text": result.to_string() }], "structuredContent": result })
}

fn text(text: &str) -> Value {
    blocks(json!([{ "type": "text", "text": text }]))
}

fn blocks(content: Value) -> Value {
    json!({ "content": content })
}

fn count(arguments: &Value, name: &str) -> usize {
    arguments[name].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no thread panics while it holds a lock")
}

fn complain(text: &str) {
    // `eprintln!` would panic once the pipe is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
