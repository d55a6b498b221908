//! What comes out of AFU-9's documents.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{Dialect, Imported, detect, import};

#[track_caller]
fn imported(document: &Value) -> Imported {
    let text = document.to_string();
    import(&text, Dialect::Afu9, "fallback").unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// A workflow of one step that assigns `data`, and a second with these params and this condition.
fn two_steps(params: Value, condition: Option<&str>) -> Value {
    let mut second = json!({ "name": "second", "tool": "x.act", "params": params });
    if let Some(condition) = condition {
        second["if"] = json!(condition);
    }
    let first = json!({ "name": "first", "tool": "x.read", "params": {}, "assign": "data" });
    json!({ "name": "two", "steps": [first, second] })
}

fn issue_to_pr() -> Value {
    json!({
        "name": "issue_to_pr",
        "description": "Opens a pull request for an issue that is ready",
        "steps": [
            {
                "name": "fetch",
                "tool": "github.getIssue",
                "params": {
                    "owner": "${repo.owner}", "repo": "${repo.name}", "number": "${input.number}",
                },
                "assign": "issue",
            },
            {
                "name": "branch",
                "tool": "github.createBranch",
                "params": {
                    "owner": "${repo.owner}", "repo": "${repo.name}",
                    "branch": "fix/${issue.number}", "from": "${repo.default_branch}",
                },
                "assign": "fix",
                "condition": "${issue.state} === open",
                "retry": { "backoff": "linear" },
            },
            {
                "name": "propose",
                "tool": "github.createPullRequest",
                "params": {
                    "owner": "${repo.owner}", "repo": "${repo.name}",
                    "title": "Fix: ${variables.issue.title}",
                    "body": "On ${new Date().toISOString()}: ${issue.body}",
                    "head": "fix/${issue.number}", "base": "${input.base || repo.default_branch}",
                },
                "if": "${issue.labels.length > 0 && !issue.locked}",
            },
        ],
        "config": { "timeoutMs": 600_000, "continueOnError": false, "maxRetries": 1 },
    })
}

#[test]
fn an_issue_becomes_a_pull_request() {
    let imported = imported(&issue_to_pr());
    let repo = json!({
        "type": "object",
        "required": ["owner", "name"],
        "properties": {
            "owner": { "type": "string" },
            "name": { "type": "string" },
            "default_branch": { "type": "string", "default": "main" },
        },
    });
    let expected = json!({
        "name": "issue_to_pr",
        "description": "Opens a pull request for an issue that is ready",
        "input": {
            "type": "object",
            "required": ["repo", "number"],
            "properties": { "repo": repo, "number": {}, "base": {} },
        },
        "config": { "timeoutMs": 600_000, "continueOnError": false, "maxRetries": 1 },
        "steps": [
            {
                "name": "fetch",
                "tool": "github.getIssue",
                "params": {
                    "owner": "${repo.owner}", "repo": "${repo.name}", "number": "${input.number}",
                },
                "assign": "issue",
            },
            {
                "name": "branch",
                "tool": "github.createBranch",
                "if": "${default(issue.state, null) == 'open'}",
                "params": {
                    "owner": "${repo.owner}", "repo": "${repo.name}",
                    "branch": "fix/${issue.number}", "from": "${repo.default_branch}",
                },
                "assign": "fix",
                "retry": {
                    "maxAttempts": 3, "initialDelayMs": 1_000, "backoffMultiplier": 2,
                    "maxDelayMs": 60_000, "backoff": "linear",
                },
            },
            {
                "name": "propose",
                "tool": "github.createPullRequest",
                "if": "${(default(size(issue.labels), null) != null && size(issue.labels) > 0) \
                       && (!(!(default(issue.locked, null) in [null, false, '', 0])))}",
                "params": {
                    "owner": "${repo.owner}", "repo": "${repo.name}",
                    "title": "Fix: ${issue.title}",
                    "body": "On ${now()}: ${issue.body}",
                    "head": "fix/${issue.number}",
                    "base": "${default(input.base, repo.default_branch)}",
                    "if_no_commits": "empty_commit",
                },
            },
        ],
    });
    assert_eq!(imported.document, expected);
    let codes: Vec<(&str, &str)> = imported
        .diagnostics
        .iter()
        .map(|diagnostic| (diagnostic.code, diagnostic.pointer.as_str()))
        .collect();
    assert_eq!(codes, [("added", "/steps/2/params")]);
}

#[test]
fn values_are_translated() {
    let table = [
        ("${data.a.b}", "${data.a.b}"),
        ("${variables.data[0].id}", "${data[0].id}"),
        ("${data['a b'].c-1}", "${data['a b'].c - 1}"),
        ("a ${data.x} b ${input.y}", "a ${data.x} b ${input.y}"),
        ("${input.a || 'none'}", "${default(input.a, 'none')}"),
        ("${input.a || data.b || 3}", "${default(default(input.a, data.b), 3)}"),
        ("${data.a ?? false}", "${default(data.a, false)}"),
        ("${new Date().toISOString()}", "${now()}"),
        ("${Date.now()}", "${now()}"),
        ("${data.list.length}", "${size(data.list)}"),
        ("${data.name.toUpperCase()}", "${data.name.upperAscii()}"),
        ("${data.list.includes('x')}", "${data.list.contains('x')}"),
        ("${JSON.stringify(data)}", "${json(data)}"),
        ("${data.n + 1}", "${data.n + 1}"),
        ("${'v' + data.n}", "${'v' + string(data.n)}"),
        (
            "${data.ok ? 'yes' : 'no'}",
            "${(!(default(data.ok, null) in [null, false, '', 0])) ? 'yes' : 'no'}",
        ),
        ("${data.a === 'x'}", "${default(data.a, null) == 'x'}"),
        ("costs $${data.price}", "costs ${'$'}${data.price}"),
        ("not closed ${data", "not closed $${data"),
        ("${(() => 1)()}", "$${(() => 1)()}"),
        ("no expression", "no expression"),
    ];
    for (original, expected) in table {
        let imported = imported(&two_steps(json!({ "v": original }), None));
        assert_eq!(imported.document["steps"][1]["params"]["v"], json!(expected), "{original}");
    }
}

#[test]
fn conditions_are_translated() {
    let table = [
        ("${data.ok}", "!(default(data.ok, null) in [null, false, '', 0])"),
        ("!${data.ok}", "!(!(default(data.ok, null) in [null, false, '', 0]))"),
        ("${data.ok} === true", "default(data.ok, null) == true"),
        ("${data.status} === failed", "default(data.status, null) == 'failed'"),
        ("'${data.status}' !== 'failed'", "default(data.status, null) != 'failed'"),
        ("${data.status === 'failed'}", "default(data.status, null) == 'failed'"),
        ("${data.n} > 3", "default(data.n, null) != null && data.n > 3"),
        (
            "${data.a} == 'x' && ${data.b} != 'y'",
            "(default(data.a, null) == 'x') && (default(data.b, null) != 'y')",
        ),
        ("${data.tags.includes('x')}", "default(data.tags.contains('x'), false)"),
        ("true", "true"),
    ];
    for (original, expected) in table {
        let imported = imported(&two_steps(json!({}), Some(original)));
        let condition = &imported.document["steps"][1]["if"];
        assert_eq!(condition, &json!(format!("${{{expected}}}")), "{original}");
    }
}

#[test]
fn a_condition_that_cannot_be_translated_is_refused_and_not_guessed() {
    let document = two_steps(json!({}), Some("${data.list.reduce(f)} > 1"));
    let problems = import(&document.to_string(), Dialect::Afu9, "x").unwrap_err();
    assert_eq!(problems[0].code, "untranslated");
    assert_eq!(problems[0].pointer, "/steps/1/if");
    assert!(problems[0].message.contains("`reduce`"), "{}", problems[0]);
}

#[test]
fn what_no_step_assigns_is_asked_for_as_input() {
    let params = json!({
        "a": "${issue.title}", "b": "${DEPLOY_URL}", "c": "${variables.late}", "d": "${input.e || 1}",
    });
    let imported = imported(&two_steps(params, Some("${input.f}")));
    let expected = json!({
        "type": "object",
        "required": ["issue", "DEPLOY_URL", "late"],
        "properties": { "f": {}, "issue": {}, "DEPLOY_URL": {}, "late": {}, "e": {} },
    });
    assert_eq!(imported.document["input"], expected);
    let params = &imported.document["steps"][1]["params"];
    assert_eq!(params["a"], "${input.issue.title}");
    assert_eq!(params["b"], "${input.DEPLOY_URL}");
    let located: Vec<&str> =
        imported.diagnostics.iter().map(|diagnostic| diagnostic.pointer.as_str()).collect();
    assert_eq!(located, ["/steps/1/params/b", "/steps/1/params/c"]);
    let literal = two_steps(json!({ "v": "${input.x.reduce(f)}" }), None);
    assert_eq!(self::imported(&literal).document.get("input"), None);
}

#[test]
fn names_are_made_to_fit_and_their_references_follow() {
    let step = |name: &str, assign: &str, value: &str| json!({ "name": name, "tool": "x.y", "params": { "v": value }, "assign": assign });
    let document = json!({
        "steps": [
            step("Build It", "status", "${input.a}"),
            step("check", "check", "${status.x}"),
            step("check", "data", "${check.x}"),
            step("last", "data", "${data.x}"),
            step("after", "import", "${data.x}"),
        ],
    });
    let imported = imported(&document);
    let rows: Vec<String> = imported.document["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            format!("{} {} {}", step["name"], step["assign"], step["params"]["v"]).replace('"', "")
        })
        .collect();
    let expected = [
        "build_it status_result ${input.a}",
        "check check_result ${status_result.x}",
        "check_2 data ${check_result.x}",
        "last data_result ${data.x}",
        "after import_result ${data_result.x}",
    ];
    assert_eq!(rows, expected);
    assert_eq!(imported.document["name"], "fallback");
}

#[test]
fn a_post_to_slack_becomes_a_message_to_a_channel() {
    let params = json!({ "channel": "#ops", "message": "Deployed ${input.version}" });
    let document =
        json!({ "steps": [{ "name": "tell", "tool": "slack.postMessage", "params": params }] });
    let imported = imported(&document);
    let step = &imported.document["steps"][0];
    assert_eq!(step["tool"], "notify.send");
    assert_eq!(step["params"], json!({ "channel": "#ops", "text": "Deployed ${input.version}" }));
    assert!(imported.diagnostics.iter().any(|note| note.message.contains("slack.postMessage")));
}

#[test]
fn other_shapes_of_a_document_are_understood() {
    let step = json!({ "name": "one", "tool": "x.y", "params": { "a": 1 }, "timeout": 5 });
    let request = json!({
        "workflow": { "steps": [step] },
        "context": { "variables": {}, "input": {} },
    });
    let result = imported(&request);
    assert_eq!(
        result.document["steps"][0],
        json!({ "name": "one", "tool": "x.y", "params": { "a": 1 } })
    );
    let pointers: Vec<&str> =
        result.diagnostics.iter().map(|diagnostic| diagnostic.pointer.as_str()).collect();
    assert_eq!(pointers, ["/context", "/workflow/name", "/workflow/steps/0/timeout"]);
    let handled = json!({
        "steps": [{ "name": "one", "tool": "x.y" }],
        "errorHandling": { "retryStrategy": "exponential", "maxRetries": 3 },
    });
    assert_eq!(imported(&handled).document["config"], json!({ "maxRetries": 3 }));
}

#[test]
fn a_broken_document_says_where() {
    let table = [
        ("{ \"steps\": [ }", "syntax", ""),
        ("{ \"name\": \"a\" }", "missing_key", ""),
        ("{ \"steps\": [3] }", "wrong_type", "/steps/0"),
        ("{ \"steps\": [{ \"name\": \"a\" }] }", "missing_key", "/steps/0"),
        ("{ \"steps\": [] }", "no_steps", "/steps"),
    ];
    for (text, code, pointer) in table {
        let problems = import(text, Dialect::Afu9, "x").unwrap_err();
        assert_eq!((problems[0].code, problems[0].pointer.as_str()), (code, pointer), "{text}");
    }
}

#[test]
fn a_condition_means_what_it_meant() {
    use windlass_engine::expr::{Condition, Names};

    struct Data(Value);
    impl Names for Data {
        fn name(&self, name: &str) -> Option<&Value> {
            self.0.get(name)
        }
        fn step(&self, _: &str) -> Option<&Value> {
            None
        }
        fn status(&self, _: &str) -> Option<&str> {
            None
        }
        fn error(&self, _: &str) -> Option<&Value> {
            None
        }
        fn now(&self) -> i64 {
            0
        }
    }
    let table = [
        ("${data.ok}", json!({ "ok": true }), true),
        ("${data.ok}", json!({ "ok": "yes" }), true),
        ("${data.ok}", json!({ "ok": {} }), true),
        ("${data.ok}", json!({ "ok": false }), false),
        ("${data.ok}", json!({ "ok": null }), false),
        ("${data.ok}", json!({ "ok": "" }), false),
        ("${data.ok}", json!({ "ok": 0 }), false),
        ("${data.ok}", json!({ "ok": 0.0 }), false),
        ("${data.ok}", json!({}), false),
        ("!${data.ok}", json!({}), true),
        ("${data.n} > 3", json!({ "n": 4 }), true),
        ("${data.n} > 3", json!({}), false),
        ("${data.status} === failed", json!({ "status": "failed" }), true),
        ("${data.status} === true", json!({}), false),
        ("${data.list.length > 0}", json!({ "list": [1] }), true),
        ("${data.list.length > 0}", json!({}), false),
        ("${data.list.includes('a')}", json!({ "list": ["a"] }), true),
        ("${data.list.includes('a')}", json!({}), false),
    ];
    for (original, data, expected) in table {
        let document = imported(&two_steps(json!({}), Some(original))).document;
        let condition = Condition::compile(document["steps"][1]["if"].as_str().unwrap()).unwrap();
        let names = Data(json!({ "data": data }));
        assert_eq!(condition.evaluate(&names), Ok(expected), "{original} with {data}");
    }
}

#[test]
fn documents_are_told_apart() {
    assert_eq!(detect(&issue_to_pr().to_string()), Dialect::Afu9);
    assert_eq!(
        detect(&two_steps(json!({ "a": "${Date.now()}" }), None).to_string()),
        Dialect::Afu9
    );
    let converted = imported(&issue_to_pr()).document;
    let step = |value: Value| json!({ "name": "a", "steps": [{ "name": "b", "tool": "x.y", "params": value }] });
    let ours = [
        converted.to_string(),
        step(json!({ "a": 1 })).to_string(),
        step(json!({ "a": "${steps.b.x} ${input.y}" })).to_string(),
        step(json!({ "a": "${default(input.y, 1)}" })).to_string(),
        json!({ "name": "a", "steps": [{ "name": "b", "tool": "x.y", "needs": [], "params": { "a": "${input.x}" } }] })
            .to_string(),
        "name: a\nsteps:\n  - { name: b, tool: x.y, if: \"${input.x === 1}\" }\n".to_owned(),
        "not a document".to_owned(),
        "{ broken".to_owned(),
    ];
    for text in ours {
        assert_eq!(detect(&text), Dialect::Windlass, "{text}");
    }
}

#[test]
fn our_own_documents_pass_through() {
    let text = "name: a\nsteps:\n  - { name: b, tool: x.y }\n";
    let imported = import(text, Dialect::Windlass, "x").unwrap();
    assert_eq!(
        imported.document,
        json!({ "name": "a", "steps": [{ "name": "b", "tool": "x.y" }] })
    );
    assert!(imported.diagnostics.is_empty());
}

#[test]
fn no_text_makes_the_import_panic() {
    let parts = [
        "${",
        "}",
        "$",
        "'",
        "\"",
        "`",
        "(",
        ")",
        "[",
        "]",
        ".",
        "?.",
        "?",
        ":",
        "!",
        "===",
        "&&",
        "||",
        "=>",
        "+",
        "-",
        "data",
        "input",
        "repo",
        "variables",
        "issue",
        "length",
        "new Date()",
        "1",
        "ü",
        "😀",
        "\\",
        "\n",
        " ",
        ",",
        "true",
        "undefined",
        "includes",
    ];
    let mut seed = 0x51ab_5eed_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for _ in 0..1_500 {
        let text: String = (0..next(12)).map(|_| parts[next(parts.len())]).collect();
        let value = two_steps(json!({ "v": text }), None).to_string();
        let result = import(&value, Dialect::Afu9, "x");
        assert!(result.is_ok(), "{text}: {result:?}");
        let _ = detect(&text);
        let condition = two_steps(json!({}), Some(&text)).to_string();
        let _ = import(&condition, Dialect::Afu9, "x");
        let _ = import(&text, Dialect::Afu9, "x");
    }
}

/// Where real documents are, on machines that have them.
fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("WINDLASS_CORPUS").map_or(beside, PathBuf::from);
    let folder = folder.join("000-afu9/workflows");
    folder.is_dir().then_some(folder)
}

#[test]
fn real_documents_are_imported() {
    let Some(folder) = corpus() else {
        println!("left out: there is no corpus (WINDLASS_CORPUS) on this machine");
        return;
    };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut passed = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        match import(&text, Dialect::Afu9, "imported") {
            Ok(imported) => {
                println!(
                    "{name}: {:?} with {} diagnostics",
                    detect(&text),
                    imported.diagnostics.len()
                );
                passed.push(name);
            }
            Err(problems) => println!("{name}: {problems:?}"),
        }
    }
    println!("{} of {} documents are imported", passed.len(), files.len());
    for expected in ["issue_to_pr.json", "sql_issue_to_pr.json"] {
        assert!(passed.iter().any(|name| name == expected), "{expected}");
    }
}

/// A step of that tool which assigns `data`, and a second with this param.
fn after(tool: &str, param: &str) -> Value {
    let first =
        json!({ "name": "first", "tool": tool, "params": { "files": [] }, "assign": "data" });
    let second = json!({ "name": "second", "tool": "x.act", "params": { "v": param } });
    imported(&json!({ "name": "two", "steps": [first, second] })).document["steps"][1]["params"]["v"].clone()
}

#[test]
fn what_tools_answer_in_another_place_is_found_there() {
    let (jobs, check) = ("github.getWorkflowJobs", "agent.checkDependencies");
    let table = [
        (jobs, "${data[0].id}", "${data.items[0].id}"),
        (jobs, "${variables.data[0].id}", "${data.items[0].id}"),
        (jobs, "${data.length}", "${size(data.items)}"),
        (jobs, "${data}", "${data}"),
        ("x.read", "${data[0].id}", "${data[0].id}"),
        ("x.read", "${data.length}", "${size(data)}"),
        (check, "${data.available}", "${data.updates}"),
        (check, "${data.available[0].name}", "${data.updates[0].name}"),
        (check, "${data.available.length}", "${size(data.updates)}"),
        (check, "${data.summary}", "${data.summary}"),
        (
            check,
            "${data.available.length > 0}",
            "${default(size(data.updates), null) != null && size(data.updates) > 0}",
        ),
        (check, "${data.available === true}", "${default(data.available, null) == true}"),
        ("agent.applyFix", "${data.commit_sha}", "${data.commit_sha}"),
    ];
    for (tool, original, expected) in table {
        assert_eq!(after(tool, original), expected, "{tool} {original}");
    }
}

#[test]
fn a_model_that_changes_files_is_given_them_and_its_answer_is_committed() {
    let document = json!({ "name": "mend", "steps": [
        { "name": "think", "tool": "agent.analyze", "params": { "prompt": "Why?" }, "assign": "found" },
        {
            "name": "mend", "tool": "agent.applyFix", "if": "${found.has_fix}", "assign": "mended",
            "params": { "branch": "b", "fix": "it", "context": { "files": "${found.affected_files}" } },
        },
        { "name": "tell", "tool": "x.tell", "params": { "v": "${mended.commit_sha}" } },
    ] });
    let imported = imported(&document);
    let condition = "!(default(found.has_fix, null) in [null, false, '', 0])";
    let of = json!({ "owner": "${repo.owner}", "repo": "${repo.name}" });
    let with = |more: Value| {
        let mut params = of.clone();
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let steps = &imported.document["steps"];
    let reading = json!({
        "name": "mend_files", "forEach": "${found.affected_files}", "as": "path",
        "tool": "github.getFileContents", "if": format!("${{{condition}}}"),
        "params": with(json!({ "ref": "b", "path": "${path}" })),
    });
    assert_eq!(steps[1], reading);
    assert_eq!(
        steps[2]["params"]["files"],
        "${steps.mend_files.map(file, {'path': file.path, 'content': file.content})}"
    );
    let committing = json!({
        "name": "mend_commit", "tool": "github.commitFileChanges",
        "if": format!("${{({condition}) && 0 < size(steps.mend.files)}}"),
        "params": with(json!({
            "branch": "b", "message": "${steps.mend.commit_message}", "files": "${steps.mend.files}",
        })),
    });
    assert_eq!(steps[3], committing);
    assert_eq!(steps[4]["params"]["v"], "${steps.mend_commit.commit_sha}");
    assert_eq!(imported.document["input"]["required"], json!(["repo"]));
    let added = imported.diagnostics.iter().filter(|note| note.code == "added");
    assert_eq!(added.count(), 2);
}

#[test]
fn a_model_reads_the_manifest_of_the_package_manager_once() {
    for (manager, path) in [("cargo", "Cargo.toml"), ("${input.manager}", "")] {
        let document = json!({ "name": "renew", "steps": [
            { "name": "look", "tool": "agent.checkDependencies", "params": { "packageManager": manager } },
            { "name": "renew", "tool": "agent.updateDependencies", "params": { "branch": "b", "updates": [] } },
        ] });
        let imported = imported(&document);
        let steps = imported.document["steps"].as_array().unwrap();
        let names: Vec<_> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["look_files", "look", "renew", "renew_commit"]);
        let read = steps[0]["params"]["path"].as_str().unwrap();
        let computed =
            read.contains("'cargo': 'Cargo.toml'") && read.ends_with(")[input.manager]}");
        assert!(if path.is_empty() { computed } else { read == path }, "{read}");
        assert_eq!(steps[2]["params"]["files"][0]["path"], "${steps.look_files.path}");
    }
}

#[test]
fn files_that_a_document_gives_itself_are_left_alone_and_missing_ones_are_told() {
    let step =
        |params: Value| json!({ "name": "mend", "tool": "agent.applyFix", "params": params });
    let commit = json!({ "name": "keep", "tool": "github.commitFileChanges", "params": {} });
    let own = json!({ "branch": "b", "fix": "it", "files": [{ "path": "a", "content": "" }] });
    let given = imported(&json!({ "name": "w", "steps": [step(own), commit] }));
    assert_eq!(given.document["steps"].as_array().unwrap().len(), 2);
    let none =
        imported(&json!({ "name": "w", "steps": [step(json!({ "branch": "b", "fix": "it" }))] }));
    assert_eq!(none.document["steps"].as_array().unwrap().len(), 1);
    assert_eq!(none.diagnostics[0].code, "missing_files");
}
