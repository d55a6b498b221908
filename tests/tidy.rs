//! Who may know whom, and other house rules that a compiler does not check. ARCHITECTURE.md says why.
//!
//! Each rule is a function from files to complaints. It is tried on this project, where it must find nothing,
//! and on a planted violation, which it must find.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A file as a rule sees it; the path is relative to the project's root.
struct File {
    path: String,
    text: String,
}

type Rule = fn(&[File]) -> Vec<String>;

/// The doors: they call `app`, and nothing below it.
const DOORS: [&str; 4] = ["cli", "http", "mcp", "web"];

/// How `app` and `worker` find the store and each other. Doors see none of it.
const BELOW_DOORS: [&str; 5] = ["bell", "driver", "link", "store", "worker"];

/// A module of `server/`, and the modules that it must not name.
const STRANGERS: [(&str, &[&str]); 14] = [
    ("cli", &BELOW_DOORS),
    ("http", &BELOW_DOORS),
    ("mcp", &BELOW_DOORS),
    ("web", &BELOW_DOORS),
    // A benchmark is beside the doors: it calls `app` as they do, and looks into the store, which they do not see.
    ("bench", &["bell", "driver", "link", "worker", "cli", "http", "mcp", "web"]),
    // They meet in the database: the only way to make a worker do something is to write a row.
    ("app", &["worker", "host", "cli", "http", "mcp", "web"]),
    ("worker", &["app", "host", "cli", "http", "mcp", "web"]),
    ("tool_servers", &["app", "worker", "host", "cli", "http", "mcp", "web"]),
    ("children", &["app", "worker", "tool_servers", "host", "cli", "http", "mcp", "web"]),
    // What app and worker both use knows neither; the verdicts about tools need no database either.
    ("drift", &["app", "worker", "store", "host", "cli", "http", "mcp", "web"]),
    ("pins", &["app", "worker", "host", "cli", "http", "mcp", "web"]),
    ("secrets", &["app", "worker", "tool_servers", "store", "host", "cli", "http", "mcp", "web"]),
    ("keyring", &["app", "worker", "tool_servers", "store", "host", "cli", "http", "mcp", "web"]),
    ("store", &["app", "worker", "tool_servers", "host", "cli", "http", "mcp", "web"]),
];

/// Where secrets are known: those who let them out, those who keep them in, and who writes the log.
const KNOW_SECRETS: [&str; 4] = ["host", "secrets", "tool_servers", "worker"];
const WRITES_THE_LOG: &str = "server/cli/logs.rs";

/// A crate from outside, and the modules of `server/` that may name it.
const HOMES: [(&str, &[&str]); 4] = [
    ("sqlx", &["store"]),
    ("rusqlite", &["store"]),
    ("rmcp", &["http", "mcp", "tool_servers"]),
    ("axum", &["http", "web"]),
];

/// What only a client of other MCP servers needs.
const RMCP_CLIENT: [&str; 6] = [
    "RoleClient",
    "ClientHandler",
    "ClientServiceExt",
    "ClientLifecycleMode",
    "TokioChildProcess",
    "StreamableHttpClientTransport",
];

/// What a crate that only decides must not depend on. (chrono is a calendar; its clock is forbidden below.)
const WORLD: [&str; 17] = [
    "async-std",
    "axum",
    "fastrand",
    "futures",
    "getrandom",
    "hyper",
    "jiff",
    "octocrab",
    "rand",
    "reqwest",
    "rmcp",
    "rustix",
    "sqlx",
    "time",
    "tokio",
    "ureq",
    "uuid",
];

/// What it must not take from elsewhere either.
const WORLD_IN_STD: [&str; 10] = [
    "Utc::now",
    "Local::now",
    "SystemTime",
    "Instant",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "RandomState",
];

/// Our crates, and which of the others each may depend on outside its tests.
const OURS: [(&str, &[&str]); 4] =
    [("engine", &[]), ("import", &["windlass-engine"]), ("tools", &[]), ("emulators", &[])];

const MOST_LINES: usize = 800;

/// What lies in the project's folder and does not belong to it. (`.git` is a file in a second work tree.)
const OUTSIDE: [&str; 4] = [".git", ".cache", "node_modules", "target"];

/// This file names what it forbids.
const THIS_FILE: &str = "tests/tidy.rs";

// ---- The rules.

fn modules_name_no_strangers(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some(module) = file.server_module() else { continue };
        let strangers = STRANGERS.iter().find(|(name, _)| *name == module).map(|(_, them)| *them);
        for stranger in own_modules_named_in(file) {
            if strangers.unwrap_or_default().contains(&stranger.as_str()) {
                complaints.push(format!("{}: {module} must not name crate::{stranger}", file.path));
            }
        }
    }
    complaints
}

fn secrets_stay_with_few(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some(module) = file.server_module() else { continue };
        let may_know = KNOW_SECRETS.contains(&module) || file.path == WRITES_THE_LOG;
        if !may_know && own_modules_named_in(file).contains("secrets") {
            complaints.push(format!("{}: {module} must not name crate::secrets", file.path));
        }
        if module != "secrets" && file.code().contains(".expose(") {
            complaints.push(format!("{}: a secret's value belongs to secrets", file.path));
        }
    }
    complaints
}

fn outside_crates_stay_at_home(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some(module) = file.server_module() else { continue };
        for (name, homes) in HOMES {
            if !homes.contains(&module) && names_crate(&file.code(), name) {
                complaints.push(format!("{}: {name} belongs to {}", file.path, homes.join(", ")));
            }
        }
    }
    complaints
}

fn only_tool_servers_is_an_mcp_client(files: &[File]) -> Vec<String> {
    let elsewhere = files.iter().filter(|file| {
        file.is_rust() && file.server_module().is_some_and(|module| module != "tool_servers")
    });
    word_complaints(elsewhere, &RMCP_CLIENT, "belongs to tool_servers")
}

fn pure_crates_do_not_depend_on_the_world(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for krate in ["engine", "import"] {
        for dependency in dependencies_of(files, krate) {
            if WORLD.contains(&dependency.as_str()) {
                complaints
                    .push(format!("{krate}/Cargo.toml: {krate} is pure, {dependency} is not"));
            }
        }
    }
    complaints
}

fn pure_crates_do_not_look_at_the_world(files: &[File]) -> Vec<String> {
    let pure = files.iter().filter(|file| {
        file.is_rust()
            && !file.is_test()
            && ["engine/src/", "import/src/"].iter().any(|root| file.path.starts_with(root))
    });
    word_complaints(pure, &WORLD_IN_STD, "is not for a crate that only decides")
}

fn our_crates_know_only_whom_they_may(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (krate, allowed) in OURS {
        for dependency in dependencies_of(files, krate) {
            if dependency.starts_with("windlass") && !allowed.contains(&dependency.as_str()) {
                complaints.push(format!("{krate}/Cargo.toml: {krate} must not know {dependency}"));
            }
        }
    }
    complaints
}

fn only_the_command_line_prints(files: &[File]) -> Vec<String> {
    let silent = files
        .iter()
        .filter(|file| file.is_rust() && !file.is_test() && file.server_module() != Some("cli"));
    word_complaints(
        silent,
        &["println!", "eprintln!", "print!", "eprint!", "dbg!"],
        "is for cli alone",
    )
}

fn files_are_short(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.is_rust());
    rust.map(|file| (&file.path, file.text.lines().count()))
        .filter(|(_, lines)| MOST_LINES < *lines)
        .map(|(path, lines)| format!("{path}: {lines} lines; {MOST_LINES} are the most: split it"))
        .collect()
}

fn files_say_what_they_are_for(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.is_rust());
    rust.filter(|file| !file.text.starts_with("//! "))
        .map(|file| format!("{}: begin with `//! ` and the file's one job", file.path))
        .collect()
}

fn there_is_no_mod_rs(files: &[File]) -> Vec<String> {
    let named = files.iter().filter(|file| file.path.ends_with("/mod.rs"));
    named
        .map(|file| format!("{}: put it beside its folder, under the folder's name", file.path))
        .collect()
}

fn migrations_are_twins(files: &[File]) -> Vec<String> {
    let of = |database: &str| -> BTreeSet<&str> {
        let folder = format!("migrations/{database}/");
        files.iter().filter_map(|file| file.path.strip_prefix(&folder)).collect()
    };
    let (sqlite, postgres) = (of("sqlite"), of("postgres"));
    let lonely = sqlite.symmetric_difference(&postgres);
    lonely.map(|name| format!("migrations: {name} is there for one database only")).collect()
}

fn nothing_is_left_undone(files: &[File]) -> Vec<String> {
    let others = files.iter().filter(|file| file.is_rust() && file.path != THIS_FILE);
    word_complaints(others, &["todo!", "unimplemented!", "#[ignore"], "is not finished work")
}

fn paths_are_not_of_one_machine(files: &[File]) -> Vec<String> {
    let others = files.iter().filter(|file| file.path != THIS_FILE);
    let mut complaints = Vec::new();
    for file in others {
        for (number, line) in (1..).zip(file.text.lines()) {
            if let Some(root) = ["/work", "/root"].iter().find(|root| names_root(line, root)) {
                complaints.push(format!("{}:{number}: {root} is of one machine", file.path));
            }
        }
    }
    complaints
}

// ---- How they look.

impl File {
    /// Tests and measurements may look at the world, and may tell what they saw.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.starts_with("benches/")
            || self.path.contains("/benches/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The module of `server/` that the file belongs to: `store` for `server/store.rs` and `server/store/db.rs`.
    fn server_module(&self) -> Option<&str> {
        let path = self.path.strip_prefix("server/")?;
        path.split('/').next()?.split('.').next()
    }

    /// The text without whole-line comments.
    fn code(&self) -> String {
        let lines = self.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

fn word_complaints<'a>(
    files: impl Iterator<Item = &'a File>,
    words: &[&str],
    why: &str,
) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            let is_comment = line.trim_start().starts_with("//");
            for word in
                words.iter().filter(|word| !is_comment && places_of(line, word).next().is_some())
            {
                complaints.push(format!("{}:{number}: {word} {why}", file.path));
            }
        }
    }
    complaints
}

/// Where a word stands that is not part of a longer one.
fn places_of<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let places = text.match_indices(word).map(|(place, _)| place);
    places.filter(move |place| {
        let (before, after) = (&text[..*place], &text[place + word.len()..]);
        let ends_open = word.ends_with(is_part) && after.starts_with(is_part);
        let starts_open = word.starts_with(is_part) && before.ends_with(is_part);
        !ends_open && !starts_open
    })
}

/// Whether code uses a crate: `name::…` or `use name;`.
fn names_crate(code: &str, name: &str) -> bool {
    places_of(code, name).any(|place| {
        let (before, after) = (&code[..place], &code[place + name.len()..]);
        let is_ours = before.ends_with("::") && !before.ends_with(" ::");
        (after.starts_with("::") && !is_ours)
            || (after.starts_with(';') && before.ends_with("use "))
    })
}

/// The modules of the root crate that a file of `server/` names, by `crate::` or by as many `super::` as it takes.
fn own_modules_named_in(file: &File) -> BTreeSet<String> {
    let code = file.code();
    let depth = file.path.matches('/').count();
    let roots = ["crate::".to_owned(), "super::".repeat(depth)];
    let mut modules = BTreeSet::new();
    for root in &roots {
        for place in places_of(&code, root).filter(|place| !code[..*place].ends_with("super::")) {
            modules.extend(heads_of(&code[place + root.len()..]));
        }
    }
    modules
}

/// The first names in what follows a path: `a` in `a::b`, `a` and `c` in `{a::{b, d}, c::e}`.
fn heads_of(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else { return vec![identifier(rest)] };
    let (mut heads, mut depth, mut start) = (Vec::new(), 0, 0);
    for (place, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(identifier(&group[start..]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(identifier(&group[start..]));
                start = place + 1;
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// What a crate of the workspace depends on when it is built, not when it is tested.
fn dependencies_of(files: &[File], krate: &str) -> Vec<String> {
    let path = format!("{krate}/Cargo.toml");
    let Some(manifest) = files.iter().find(|file| file.path == path) else { return Vec::new() };
    let manifest: toml::Table = manifest.text.parse().unwrap();
    let mut names = Vec::new();
    for section in ["dependencies", "build-dependencies"] {
        let section = manifest.get(section).and_then(toml::Value::as_table);
        names.extend(section.into_iter().flat_map(|section| section.keys().cloned()));
    }
    names
}

/// Whether a line names a path under this root of a file system, as `/root/x` and not as `a/root/x` or `/rooted`.
fn names_root(line: &str, root: &str) -> bool {
    let is_path = |c: char| c.is_alphanumeric() || "_-.~/}$*".contains(c);
    line.match_indices(root).any(|(place, _)| {
        let (before, after) = (&line[..place], &line[place + root.len()..]);
        let ends =
            after.is_empty() || after.starts_with(|c: char| c == '/' || "\"'`):;, ".contains(c));
        ends && !before.ends_with(is_path)
    })
}

/// Every text file of the project that belongs to it.
fn project() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for path in files_under(root) {
        // What is no text has no rules.
        if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.push(File { path, text });
        }
    }
    files
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let (path, kind) = (entry.as_ref().unwrap().path(), entry.unwrap().file_type().unwrap());
        let name = path.file_name().unwrap().to_string_lossy();
        if OUTSIDE.contains(&&*name) {
            continue;
        }
        if kind.is_dir() {
            files.extend(files_under(&path));
        } else if kind.is_file() {
            files.push(path);
        }
    }
    files
}

// ---- The rules, tried.

fn holds(rule: Rule) {
    let complaints = rule(&project());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn complaints(rule: Rule, path: &str, text: &str) -> usize {
    rule(&[File { path: path.into(), text: text.into() }]).len()
}

#[track_caller]
fn finds(rule: Rule, path: &str, text: &str) {
    assert_eq!(complaints(rule, path, text), 1, "{path}: {text}");
}

#[track_caller]
fn allows(rule: Rule, path: &str, text: &str) {
    assert_eq!(complaints(rule, path, text), 0, "{path}: {text}");
}

#[test]
fn the_rules_look_at_the_whole_project() {
    let files = project();
    for path in ["Cargo.toml", "engine/Cargo.toml", "engine/src/lib.rs", "server/app.rs", THIS_FILE]
    {
        assert!(files.iter().any(|file| file.path == path), "{path} was not looked at");
    }
}

#[test]
fn no_module_names_a_stranger() {
    let rule = modules_name_no_strangers;
    finds(rule, "server/cli/run.rs", "use crate::store::Store;");
    finds(rule, "server/mcp.rs", "use crate::{\n    app::{App, Error},\n    store::Store,\n};");
    finds(rule, "server/http/health.rs", "fn f() { super::super::worker::ring() }");
    finds(rule, "server/http.rs", "fn f() { super::worker::ring() }");
    finds(rule, "server/app.rs", "use crate::{worker};");
    finds(rule, "server/worker/turn.rs", "fn f(app: crate::app::App) {}");
    finds(rule, "server/store/db.rs", "use crate::{clock, tool_servers::Call};");
    finds(rule, "server/tool_servers.rs", "use crate::mcp;");
    allows(rule, "server/cli/run.rs", "use crate::{app::App, host::Host};\nuse super::store;");
    allows(rule, "server/cli.rs", "// not crate::store\nmod worker;\nuse worker::run;");
    allows(rule, "server/app/run.rs", "use crate::{store::Store, tool_servers::ToolServers};");
    allows(rule, "server/host.rs", "use crate::{app::App, store::Store, worker};");
    holds(rule);
}

#[test]
fn doors_are_all_kept_from_what_is_below() {
    for door in DOORS {
        for below in BELOW_DOORS {
            let code = format!("use crate::{below}::Anything;");
            finds(modules_name_no_strangers, &format!("server/{door}.rs"), &code);
        }
        finds(modules_name_no_strangers, "server/app.rs", &format!("use crate::{door}::Options;"));
    }
}

#[test]
fn secrets_are_known_to_few_and_read_by_none() {
    let rule = secrets_stay_with_few;
    finds(rule, "server/app.rs", "use crate::{secrets::Secrets, store::Store};");
    finds(rule, "server/cli/run.rs", "use crate::secrets;");
    finds(rule, "server/store/db.rs", "fn f() { super::super::secrets::hide(\"\") }");
    finds(rule, "server/worker/outgoing.rs", "fn f(secret: &Secret) { secret.expose(); }");
    allows(rule, "server/cli/logs.rs", "use crate::secrets;");
    allows(rule, "server/worker/outgoing.rs", "use crate::secrets::Secret;");
    allows(rule, "server/secrets/known.rs", "fn f(secret: &Secret) { secret.expose(); }");
    allows(rule, "server/config.rs", "pub use secrets::SecretName;\nmod secrets;");
    holds(rule);
}

#[test]
fn no_outside_crate_leaves_its_home() {
    let rule = outside_crates_stay_at_home;
    finds(rule, "server/worker.rs", "fn f(error: sqlx::Error) {}");
    finds(rule, "server/cli/tools.rs", "use rmcp::model::Tool;");
    finds(rule, "server/mcp/call.rs", "use axum::Router;");
    finds(rule, "server/app.rs", "use sqlx;");
    allows(rule, "server/store/db.rs", "use sqlx::Row;");
    allows(rule, "server/cli/logs.rs", "const FILTER: &str = \"sqlx=warn,rmcp=warn\";");
    allows(rule, "server/worker.rs", "/// Not sqlx::Error.\nuse crate::store::my_sqlx::X;");
    holds(rule);
}

#[test]
fn only_tool_servers_calls_other_servers() {
    let rule = only_tool_servers_is_an_mcp_client;
    finds(rule, "server/mcp.rs", "use rmcp::{RoleClient, service::Peer};");
    allows(rule, "server/tool_servers/client.rs", "use rmcp::{RoleClient, service::Peer};");
    holds(rule);
}

#[test]
fn the_engine_and_the_importers_are_pure() {
    let rule = pure_crates_do_not_depend_on_the_world;
    finds(rule, "engine/Cargo.toml", "[dependencies]\ntokio = \"1\"");
    finds(rule, "import/Cargo.toml", "[dependencies]\nrand = { workspace = true }");
    allows(
        rule,
        "engine/Cargo.toml",
        "[dependencies]\nserde = \"1\"\n[dev-dependencies]\nrand = \"0.10\"",
    );
    holds(rule);
    let rule = pure_crates_do_not_look_at_the_world;
    finds(rule, "engine/src/decide.rs", "let now = std::time::Instant::now();");
    finds(rule, "import/src/afu9.rs", "use std::fs::read;");
    allows(rule, "engine/src/decide.rs", "// Instant would be wrong here.\nstruct Instantly;");
    holds(rule);
}

#[test]
fn our_crates_keep_their_distance() {
    let rule = our_crates_know_only_whom_they_may;
    finds(rule, "tools/Cargo.toml", "[dependencies]\nwindlass-engine = { path = \"../engine\" }");
    finds(rule, "engine/Cargo.toml", "[dependencies]\nwindlass = { path = \"..\" }");
    allows(rule, "import/Cargo.toml", "[dependencies]\nwindlass-engine = { path = \"../engine\" }");
    allows(rule, "tools/Cargo.toml", "[dev-dependencies]\nwindlass-emulators = \"0\"");
    holds(rule);
}

#[test]
fn nothing_prints_but_the_command_line() {
    let rule = only_the_command_line_prints;
    finds(rule, "server/worker.rs", "    println!(\"here\");");
    finds(rule, "tools/src/github.rs", "    eprintln!(\"here\");");
    allows(rule, "server/cli/list.rs", "    println!(\"here\");");
    allows(rule, "engine/src/lib.rs", "    //! println!(\"an example\")");
    holds(rule);
}

#[test]
fn no_file_is_too_long() {
    finds(files_are_short, "server/app.rs", &"x\n".repeat(MOST_LINES + 1));
    allows(files_are_short, "server/app.rs", &"x\n".repeat(MOST_LINES));
    allows(files_are_short, "Cargo.lock", &"x\n".repeat(MOST_LINES + 1));
    holds(files_are_short);
}

#[test]
fn every_file_says_what_it_is_for() {
    finds(files_say_what_they_are_for, "server/app.rs", "use std::fs;\n//! Late.");
    allows(files_say_what_they_are_for, "server/app.rs", "//! Everything.\n");
    holds(files_say_what_they_are_for);
}

#[test]
fn files_stand_beside_their_folders() {
    finds(there_is_no_mod_rs, "server/app/mod.rs", "//! Here.");
    allows(there_is_no_mod_rs, "server/app.rs", "//! Here.");
    holds(there_is_no_mod_rs);
}

#[test]
fn every_migration_is_there_for_both_databases() {
    finds(migrations_are_twins, "migrations/sqlite/0001_init.sql", "");
    let file = |path: &str| File { path: path.into(), text: String::new() };
    let twins = [file("migrations/sqlite/0001_a.sql"), file("migrations/postgres/0001_a.sql")];
    assert!(migrations_are_twins(&twins).is_empty());
    let named_apart =
        [file("migrations/sqlite/0001_a.sql"), file("migrations/postgres/0001_b.sql")];
    assert_eq!(migrations_are_twins(&named_apart).len(), 2);
    holds(migrations_are_twins);
}

#[test]
fn no_work_is_left_undone() {
    finds(nothing_is_left_undone, "server/app.rs", "    todo!()");
    finds(nothing_is_left_undone, "server/app.rs", "    unimplemented!(\"later\")");
    finds(nothing_is_left_undone, "tests/sdk.rs", "#[ignore = \"slow\"]");
    allows(nothing_is_left_undone, "server/app.rs", "fn f() { my_todo!() }");
    holds(nothing_is_left_undone);
}

#[test]
fn no_path_is_of_one_machine() {
    let rule = paths_are_not_of_one_machine;
    finds(rule, "README.md", "Run `/root/bin/x`.");
    finds(rule, "test", "cd /work");
    finds(rule, "tests/a.rs", "\"/work/tmp\"");
    allows(
        rule,
        "README.md",
        "GET /workflows, ~/work/x, $HOME/work, our/root/x, https://a.b/root/",
    );
    holds(rule);
}
