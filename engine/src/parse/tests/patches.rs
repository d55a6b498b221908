//! Patches mend what they are given for: each is applied, and the document read again.

use serde_json::{Value, json};

use super::{problems, with_steps};
use crate::{PatchOperation, Problem, parse};

/// Applies a JSON Patch (RFC 6902), as far as ours go.
fn apply(document: &mut Value, patch: &[PatchOperation]) {
    for operation in patch {
        match operation {
            PatchOperation::Add { path, value } => put(document, path, value.clone(), false),
            PatchOperation::Replace { path, value } => put(document, path, value.clone(), true),
            PatchOperation::Remove { path } => drop(take(document, path)),
            PatchOperation::Move { from, path } => {
                let value = take(document, from);
                put(document, path, value, false);
            }
        }
    }
}

fn parent<'d>(document: &'d mut Value, path: &str) -> (&'d mut Value, String) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    (document.pointer_mut(parent).unwrap_or_else(|| panic!("{path}")), key)
}

fn put(document: &mut Value, path: &str, value: Value, exists: bool) {
    let (parent, key) = parent(document, path);
    match parent {
        Value::Array(items) if exists => items[key.parse::<usize>().unwrap()] = value,
        Value::Array(items) => items.insert(key.parse().unwrap(), value),
        Value::Object(entries) => {
            assert_eq!(entries.insert(key, value).is_some(), exists, "{path}");
        }
        _ => panic!("{path}"),
    }
}

fn take(document: &mut Value, path: &str) -> Value {
    let (parent, key) = parent(document, path);
    match parent {
        Value::Array(items) => items.remove(key.parse::<usize>().unwrap()),
        Value::Object(entries) => entries.shift_remove(&key).unwrap(),
        _ => panic!("{path}"),
    }
}

/// Applies the patches of the first problem that has one, again and again, until the document is read.
#[track_caller]
fn mended(text: &str) -> Value {
    let mut document = crate::parse::read(text).unwrap().to_value();
    for _ in 0..6 {
        let found = match parse(&document.to_string()) {
            Ok(_) => return document,
            Err(found) => found,
        };
        let Some(problem) = found.iter().find(|problem| !problem.patch.is_empty()) else {
            panic!("{text}: no patch for {found:#?}");
        };
        apply(&mut document, &problem.patch);
        let again = parse(&document.to_string()).err().unwrap_or_default();
        let same = |other: &Problem| {
            other.code == problem.code
                && other.pointer == problem.pointer
                && other.found == problem.found
        };
        assert!(!again.iter().any(same), "{text}: the patch did not help: {problem:#?}");
    }
    panic!("{text}: there is no end of problems: {document}");
}

#[test]
fn a_patch_of_a_step_mends_it() {
    // The step beside its name, and the same mended.
    let table = [
        // Misspelt keys, and keys of other systems.
        ("tol: c.d", json!({ "tool": "c.d" })),
        ("uses: c.d, with: { x: 1 }", json!({ "tool": "c.d", "params": { "x": 1 } })),
        ("action: c.d, arguments: { x: 1 }", json!({ "tool": "c.d", "params": { "x": 1 } })),
        ("tool: c.d, args: { x: 1 }", json!({ "tool": "c.d", "params": { "x": 1 } })),
        ("tool: c.d, inputs: { x: 1 }", json!({ "tool": "c.d", "params": { "x": 1 } })),
        ("tool: c.d, depends_on: a", json!({ "tool": "c.d", "needs": ["a"] })),
        ("tool: c.d, dependsOn: [a]", json!({ "tool": "c.d", "needs": ["a"] })),
        ("tool: c.d, for_each: [1]", json!({ "tool": "c.d", "forEach": [1] })),
        ("tool: c.d, foreach: \"${input.x}\"", json!({ "tool": "c.d", "forEach": "${input.x}" })),
        ("tool: c.d, loop: [1]", json!({ "tool": "c.d", "forEach": [1] })),
        ("tool: c.d, when: input.x == 1", json!({ "tool": "c.d", "if": "input.x == 1" })),
        ("tool: c.d, condition: 'true'", json!({ "tool": "c.d", "if": "true" })),
        ("tool: c.d, on_error: continue", json!({ "tool": "c.d", "onError": "continue" })),
        ("tool: c.d, on_error: ignore", json!({ "tool": "c.d", "onError": "continue" })),
        ("tool: c.d, continue-on-error: true", json!({ "tool": "c.d", "onError": "continue" })),
        ("tool: c.d, timeout: 30s", json!({ "tool": "c.d", "timeoutMs": 30_000 })),
        ("tool: c.d, timeout-minutes: 2", json!({ "tool": "c.d", "timeoutMs": 120_000 })),
        ("tool: c.d, retries: 2", json!({ "tool": "c.d", "retry": { "maxAttempts": 3 } })),
        ("tool: c.d, max_attempts: 2", json!({ "tool": "c.d", "retry": { "maxAttempts": 2 } })),
        (
            "tool: c.d, retry: { max_attempts: 2 }",
            json!({ "tool": "c.d", "retry": { "maxAttempts": 2 } }),
        ),
        (
            "tool: c.d, retry: { retries: 2, delay: 5s }",
            json!({ "tool": "c.d", "retry": { "maxAttempts": 3, "initialDelayMs": 5_000 } }),
        ),
        (
            "if: 'true', then: [{ name: x, tool: c.d }]",
            json!({ "if": "true", "steps": [{ "name": "x", "tool": "c.d" }] }),
        ),
        ("wait: { seconds: 5 }", json!({ "wait": { "ms": 5_000 } })),
        (
            "stop: { outcome: error, reason: x }",
            json!({ "stop": { "status": "failed", "message": "x" } }),
        ),
        (
            "lock: { name: x, on_busy: deny }, tool: c.d",
            json!({ "tool": "c.d", "lock": { "key": "x", "onBusy": "reject" } }),
        ),
        // Values.
        ("tool: c/d", json!({ "tool": "c.d" })),
        ("tool: mcp__c__d", json!({ "tool": "c.d" })),
        ("tool: c.d, retry: 3", json!({ "tool": "c.d", "retry": { "maxAttempts": 3 } })),
        ("tool: c.d, timeoutMs: 30s", json!({ "tool": "c.d", "timeoutMs": 30_000 })),
        ("tool: c.d, timeoutMs: '30'", json!({ "tool": "c.d", "timeoutMs": 30 })),
        (
            "tool: c.d, retry: { jitter: 'no', backoffMultiplier: '1.5' }",
            json!({ "tool": "c.d", "retry": { "jitter": false, "backoffMultiplier": 1.5 } }),
        ),
        (
            "tool: c.d, retry: { backoff: Exponentail, on: timeout }",
            json!({ "tool": "c.d", "retry": { "backoff": "exponential", "on": ["timeout"] } }),
        ),
        ("tool: c.d, onError: contine", json!({ "tool": "c.d", "onError": "continue" })),
        ("wait: 2m", json!({ "wait": { "ms": 120_000 } })),
        ("wait: { ms: 2m }", json!({ "wait": { "ms": 120_000 } })),
        ("wait: { event: x }, timeoutMs: 5", json!({ "wait": { "event": "x", "timeoutMs": 5 } })),
        ("approval: Really?", json!({ "approval": { "message": "Really?" } })),
        (
            "steps: [{ name: x, tool: c.d }], repeat: 3",
            json!({ "steps": [{ "name": "x", "tool": "c.d" }], "repeat": { "while": "index < 3" } }),
        ),
        (
            "steps: [{ name: x, tool: c.d }], waitFor: first",
            json!({ "steps": [{ "name": "x", "tool": "c.d" }], "waitFor": "any", "parallel": true }),
        ),
        ("tool: c.d, forEach: input.x", json!({ "tool": "c.d", "forEach": "${input.x}" })),
        (
            "tool: c.d, verify: { tool: c.e, expect: result.ok }",
            json!({ "tool": "c.d", "verify": { "tool": "c.e", "expect": "result.ok" }, "onUncertain": "verify" }),
        ),
        (
            "ask: { schema: { type: object, properties: { n: { type: strin } } } }",
            json!({ "ask": { "schema": { "type": "object", "properties": { "n": { "type": "string" } } } } }),
        ),
        // Needs.
        ("tool: c.d, needs: a", json!({ "tool": "c.d", "needs": ["a"] })),
        ("tool: c.d, needs: [aa]", json!({ "tool": "c.d", "needs": ["a"] })),
        ("tool: c.d, needs: [a, a]", json!({ "tool": "c.d", "needs": ["a"] })),
        ("tool: c.d, needs: [b]", json!({ "tool": "c.d", "needs": [] })),
        ("tool: c.d, needs: [inner]", json!({ "tool": "c.d", "needs": ["group"] })),
        (
            "tool: c.d, needs: [], params: { x: \"${steps.a.x}\" }",
            json!({ "tool": "c.d", "needs": ["a"], "params": { "x": "${steps.a.x}" } }),
        ),
        // Expressions.
        ("tool: c.d, if: steps.aa.x === 1", json!({ "tool": "c.d", "if": "steps.a.x == 1" })),
        ("tool: c.d, if: \"{{ input.x }}\"", json!({ "tool": "c.d", "if": "input.x" })),
        (
            "tool: c.d, if: \"'${input.x}' == 'y'\"",
            json!({ "tool": "c.d", "if": "input.x == 'y'" }),
        ),
        (
            "tool: c.d, params: { x: \"{{ steps.a.x }}\" }",
            json!({ "tool": "c.d", "params": { "x": "${steps.a.x}" } }),
        ),
        (
            "tool: c.d, params: { x: \"Hi ${{ inputs.x }}\" }",
            json!({ "tool": "c.d", "params": { "x": "Hi ${input.x}" } }),
        ),
        (
            "tool: c.d, params: { x: \"={{ input.x }}\" }",
            json!({ "tool": "c.d", "params": { "x": "${input.x}" } }),
        ),
        ("tool: c.d, params: { 'a/b': \"${stat('a')}\" }", json!(null)),
        (
            "tool: c.d, params: { 'a/b': [\"${a.x} ${steps.a.y}\"] }",
            json!({ "tool": "c.d", "params": { "a/b": ["${steps.a.x} ${steps.a.y}"] } }),
        ),
        (
            "tool: c.d, params: { x: \"${status('aa')}\" }",
            json!({ "tool": "c.d", "params": { "x": "${status('a')}" } }),
        ),
        (
            "tool: c.d, params: { x: \"${execution.idd}\" }",
            json!({ "tool": "c.d", "params": { "x": "${execution.id}" } }),
        ),
        (
            "tool: c.d, params: { x: \"${vars.cout + count}\" }",
            json!({ "tool": "c.d", "params": { "x": "${vars.count + vars.count}" } }),
        ),
        ("tool: c.d, expect: steps.b.ok", json!({ "tool": "c.d", "expect": "result.ok" })),
        (
            "tool: c.d, forEach: [1], as: n, params: { x: \"${item}\" }",
            json!({ "tool": "c.d", "forEach": [1], "as": "n", "params": { "x": "${n}" } }),
        ),
        ("set: { a-b: 1 }", json!({ "set": { "a_b": 1 } })),
    ];
    for (step, expected) in table {
        let text = format!(
            "name: w\nvars: {{ count: 1 }}\nsteps:\n  - {{ name: a, tool: c.d }}\n  - {{ name: group, steps: [{{ name: inner, tool: c.d }}] }}\n  - {{ name: b, {step} }}\n"
        );
        if expected.is_null() {
            let found = problems(&text);
            assert!(found.iter().all(|problem| problem.patch.is_empty()), "{step}: {found:#?}");
            continue;
        }
        let mut found = mended(&text)["steps"][2].take();
        found.as_object_mut().unwrap().remove("name");
        assert_eq!(found, expected, "{step}");
    }
}

#[test]
fn a_patch_of_the_head_mends_it() {
    let table = [
        ("inputs: { type: object }", json!({ "input": { "type": "object" } })),
        ("maxParallel: 5", json!({ "config": { "maxParallel": 5 } })),
        (
            "config: { maxRetries: 1 }\ntimeoutMs: 5",
            json!({ "config": { "maxRetries": 1, "timeoutMs": 5 } }),
        ),
        ("config: { timeout: 5m }", json!({ "config": { "timeoutMs": 300_000 } })),
        ("config: { max_parallel: '5' }", json!({ "config": { "maxParallel": 5 } })),
        ("tags: a", json!({ "tags": ["a"] })),
        ("version: 1.0.0", json!({})),
        (
            "input: { app: string, count: 3, loud: true, to: prod, at: { type: int, required: true }, of: [a] }",
            json!({ "input": {
                "type": "object",
                "properties": {
                    "app": { "type": "string" },
                    "count": { "type": "integer", "default": 3 },
                    "loud": { "type": "boolean", "default": true },
                    "to": { "type": "string", "default": "prod" },
                    "at": { "type": "integer" },
                    "of": { "type": "array", "default": ["a"] },
                },
                "required": ["app", "at"],
            } }),
        ),
        (
            "input: { properties: { app: {} } }",
            json!({ "input": { "type": "object", "properties": { "app": {} } } }),
        ),
        ("env: { A: 1 }", json!({ "vars": { "A": 1 } })),
        ("output: \"{{ steps.b }}\"", json!({ "output": "${steps.b}" })),
        (
            "on_failure: [{ name: x, tool: c.d }]",
            json!({ "onFailure": [{ "name": "x", "tool": "c.d" }] }),
        ),
        (
            "input: { type: object, properties: { app: {} } }\noutput: \"${input.ap}\"",
            json!({ "input": { "type": "object", "properties": { "app": {} } }, "output": "${input.app}" }),
        ),
        (
            "input: { type: object, properties: { repo: { type: object, properties: { owner: {} } } } }\noutput: \"${repo.ownr} ${input.repo.owner}\"",
            json!({
                "input": { "type": "object", "properties": { "repo": { "type": "object", "properties": { "owner": {} } } } },
                "output": "${repo.owner} ${input.repo.owner}",
            }),
        ),
    ];
    for (head, mut expected) in table {
        let mut found = mended(&format!("name: w\n{head}\nsteps: [{{ name: b, tool: c.d }}]\n"));
        let found = found.as_object_mut().unwrap();
        found.remove("name");
        found.remove("steps");
        assert_eq!(Value::Object(found.clone()), expected.take(), "{head}");
    }
}

#[test]
fn an_input_that_is_neither_names_nor_a_schema_has_no_patch() {
    for input in ["{ app: null }", "{ required: [app] }", "{ app: { a: 1 } }", "[app]", "{}"] {
        let text = format!("name: w\ninput: {input}\nsteps: [{{ name: b, tool: c.d }}]\n");
        let found = problems(&text);
        assert!(found.iter().all(|problem| problem.patch.is_empty()), "{input}: {found:#?}");
    }
}

#[test]
fn what_has_no_obvious_repair_has_no_patch() {
    let steps = [
        "timeout: 30, tool: c.d",
        "tool: c.d, with: {}, params: {}",
        "tool: c.d, run: ls",
        "tool: c.d, params: { x: \"{{ $json.x }}\" }",
        "tool: c.d, params: { x: \"{{ input.x | upper }}\" }",
        "tool: c.d, if: a ?? b",
        "tool: c.d, needs: [zzzzz]",
        "tool: c.d, wait: { ms: 1 }",
    ];
    for step in steps {
        let found = problems(&with_steps(&format!("  - {{ name: b, {step} }}\n")));
        assert!(found.iter().all(|problem| problem.patch.is_empty()), "{step}: {found:#?}");
    }
}
