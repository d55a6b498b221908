//! A tool server that writes down everything it does, and breaks on request: what the fault tests call.
//!
//! `ledger_tool_server LEDGER`
//!
//! Beside the ledger, `LEDGER.settled` may name keys of which somebody has said that nothing happened under them: a call that
//! comes after that word has no effect any more, and leaves a line that says so.
//!
//! Its tools `read`, `idempotent`, `keyed` and `unsafe` say of themselves what they are called; each leaves one line in
//! the ledger when it has its effect, and one when it answers, both as JSON. They take
//! - `n`: what the answer holds
//! - `ms`: how long they take; the effect comes first, or last with `late`
//! - `breaks` and `times`: how the first calls of a step go wrong, and how many do: `crash_before` or `crash_after` the effect,
//!   `hang`, `twice` (answers two times), `garbage` (says something that is no message first), `lie` (answers something else
//!   than the schema promises), `refuse` (says that it failed)
//!
//! It ends when its input does, at once: what is half done stays so, as when a machine loses its power.
//! Speaks JSON-RPC by hand, so that it shares no code, and no mistake, with what it tests.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, Write},
    panic,
    path::PathBuf,
    process::exit,
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

const CLASSES: [&str; 4] = ["read", "idempotent", "keyed", "unsafe"];

struct Ledger {
    file: PathBuf,
}

fn main() {
    write_without_bound();
    end_with_a_panic();
    let file = std::env::args_os().nth(1).expect("the first argument names the ledger");
    let ledger = Arc::new(Ledger { file: file.into() });
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        hear(&ledger, message);
    }
    exit(0);
}

/// Who starts us may be a server whose disk is made full by a limit on its files, which we would have, too, for as long as we
/// live.
fn write_without_bound() {
    let mut files = getrlimit(Resource::Fsize);
    files.current = files.maximum;
    setrlimit(Resource::Fsize, files).expect("a limit can be raised up to its maximum");
}

/// A call whose thread is gone would never be answered, and nobody would know why.
fn end_with_a_panic() {
    let say = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        say(panic);
        exit(101);
    }));
}

fn hear(ledger: &Arc<Ledger>, message: Value) {
    let (method, id) = (message["method"].as_str().unwrap_or_default(), &message["id"]);
    if id.is_null() {
        return;
    }
    match method {
        "initialize" => reply(
            id,
            &json!({
                "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                "serverInfo": { "name": "ledger", "version": "1" },
            }),
        ),
        "ping" => reply(id, &json!({})),
        "tools/list" => reply(id, &json!({ "tools": CLASSES.map(tool) })),
        "tools/call" => {
            let ledger = Arc::clone(ledger);
            thread::spawn(move || ledger.call(&message["id"], &message["params"]));
        }
        _ => say(&json!({
            "jsonrpc": "2.0", "id": id,
            "error": { "code": -32_601, "message": format!("Method not found: {method}") },
        })),
    }
}

impl Ledger {
    fn call(&self, id: &Value, params: &Value) {
        let arguments = &params["arguments"];
        let number = |name: &str| arguments[name].as_u64().unwrap_or_default();
        let began = now();
        let call = params["_meta"]["dev.windlass/attempt"].as_u64().unwrap_or_default();
        // A person who has it called again has a new key, and counts from 1: it would go wrong for ever.
        let is_first = key_of(params).ends_with("~0");
        let breaks = arguments["breaks"].as_str();
        let breaks = breaks.filter(|_| is_first && call <= number("times"));
        if breaks == Some("crash_before") {
            exit(3);
        }
        let is_late = arguments["late"] == true;
        if is_late {
            thread::sleep(Duration::from_millis(number("ms")));
        }
        if !self.has_effect(params, began) {
            let text = "somebody has said that this call did not happen, and so it does not";
            let content = json!([{ "type": "text", "text": text }]);
            return reply(id, &json!({ "isError": true, "content": content }));
        }
        if !is_late {
            thread::sleep(Duration::from_millis(number("ms")));
        }
        match breaks {
            Some("crash_after") => exit(3),
            Some("hang") => return,
            Some("garbage") => write("this is no message, and {neither} is it JSON\n"),
            _ => {}
        }
        note(&mut self.open(), "answered", params, began);
        match breaks {
            Some("lie") => reply(id, &structured(&json!({ "n": "not a number" }))),
            Some("refuse") => reply(
                id,
                &json!({ "isError": true, "content": [{ "type": "text", "text": "it said no" }] }),
            ),
            _ => reply(id, &structured(&json!({ "n": number("n"), "call": call }))),
        }
        if breaks == Some("twice") {
            reply(id, &structured(&json!({ "n": number("n") + 1_000_000, "call": call })));
        }
    }

    /// Has its effect, unless it is settled that there is none.
    fn has_effect(&self, params: &Value, began: u64) -> bool {
        let mut file = self.open();
        // Whoever settles holds it too, so that no effect comes between a look into the ledger and the word about it.
        file.lock().expect("the ledger can be locked");
        let key = key_of(params);
        let settled = self.file.with_added_extension("settled");
        let settled = fs::read_to_string(settled).unwrap_or_default();
        let is_settled = settled.lines().any(|line| line == key);
        note(&mut file, if is_settled { "late" } else { "effect" }, params, began);
        !is_settled
    }

    fn open(&self) -> File {
        let file = OpenOptions::new().append(true).create(true).open(&self.file);
        file.expect("the ledger can be opened")
    }
}

/// One line, in one write, so that lines of several processes do not mix. It ends the line before it: of that one, half may
/// stand there, where its writer was killed while the disk kept it waiting.
fn note(file: &mut File, what: &str, params: &Value, began: u64) {
    let key = key_of(params);
    let (execution, rest) = key.split_once('/').unwrap_or_default();
    let step = rest.rsplit_once('#').map_or(rest, |(step, _)| step);
    let line = json!({
        "what": what, "tool": params["name"], "key": key, "execution": execution, "step": step,
        "call": params["_meta"]["dev.windlass/attempt"], "pid": std::process::id(),
        "owner": std::os::unix::process::parent_id(), "began": began, "at": now(),
    });
    file.write_all(format!("\n{line}").as_bytes()).expect("the ledger can be written");
}

fn key_of(params: &Value) -> &str {
    params["_meta"]["dev.windlass/idempotency_key"].as_str().unwrap_or_default()
}

fn tool(class: &str) -> Value {
    let mut tool = json!({
        "name": class, "description": format!("Leaves a line; {class}."),
        "inputSchema": { "type": "object", "properties": {
            "n": { "type": "integer" }, "ms": { "type": "integer" }, "late": { "type": "boolean" },
            "breaks": { "type": "string" }, "times": { "type": "integer" },
        } },
        "outputSchema": { "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } },
    });
    match class {
        "read" => tool["annotations"] = json!({ "readOnlyHint": true }),
        "idempotent" => tool["annotations"] = json!({ "idempotentHint": true }),
        class => tool["_meta"] = json!({ "dev.windlass/retry_class": class }),
    }
    tool
}

fn structured(result: &Value) -> Value {
    json!({ "content": [{ "type": "text", "text": result.to_string() }], "structuredContent": result })
}

fn reply(id: &Value, result: &Value) {
    say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
}

fn say(message: &Value) {
    write(&format!("{message}\n"));
}

fn write(text: &str) {
    // A client that is gone is no reason to panic. The lock of `stdout` keeps each text in one piece.
    let mut output = std::io::stdout().lock();
    _ = output.write_all(text.as_bytes());
    _ = output.flush();
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
