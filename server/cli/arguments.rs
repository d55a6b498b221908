//! The command line: every subcommand, every flag and what `--help` says about them.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::ToolNames;

const EXIT_CODES: &str = "\
Exit codes:
    0  done; the execution completed
    1  the execution failed or was cancelled, or a document has problems
    2  the command line, the configuration or the input is wrong
    3  there is no such workflow, execution, step or tool server
    4  the execution waits for a person
    5  something else failed: the database, a tool server
  130  interrupted; the execution itself is not lost

Every setting, its default and its variable: windlass config";

/// Runs workflows that survive crashes, for agents (MCP) and people.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) shared: Shared,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every subcommand understands.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Shared {
    /// Where executions are kept: sqlite:PATH or postgres://… (WINDLASS_DATABASE keeps a password off the command line)
    #[arg(long, global = true, value_name = "URL", help_heading = "Configuration")]
    pub(super) database: Option<String>,
    /// Where the database file and the worker's socket and log live
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Configuration")]
    pub(super) data_dir: Option<PathBuf>,
    /// Whose workflows and executions these are
    #[arg(long, global = true, value_name = "NAME", help_heading = "Configuration")]
    pub(super) workspace: Option<String>,
    /// Read this file instead of the project's windlass.toml
    #[arg(long, global = true, value_name = "FILE", help_heading = "Configuration")]
    pub(super) config: Option<PathBuf>,
    /// Take tool servers from this file in the mcpServers form; may be repeated
    #[arg(long, global = true, value_name = "FILE", help_heading = "Configuration")]
    pub(super) mcp_config: Vec<PathBuf>,
    /// Answer with one JSON object on standard output, errors too
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Log more to standard error; -vv and -vvv more still
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a workflow, by its name or from a file
    #[command(after_help = RUN_HELP)]
    Run(Run),
    /// Show what a run would do: really reads, and writes nothing
    #[command(after_help = RUN_HELP)]
    Plan(Plan),
    /// List workflows, or executions
    List(List),
    /// Show how an execution stands; without an id, the newest ones
    Status(Status),
    /// Ask for an execution to be cancelled
    Cancel(Cancel),
    /// Have an execution start nothing new; what is out comes home, and is kept
    Pause(Pause),
    /// Have a paused execution go on
    Resume(Resume),
    /// Have a failed execution go on from where it failed; what completed is kept
    Retry(Retry),
    /// Settle an uncertain step by hand, or give the result of a failed one, from which the execution goes on
    Resolve(Resolve),
    /// Have a failed, an uncertain or a coming step not be done; a failed execution goes on
    Skip(Skip),
    /// Start a new execution from a step of another one, with the results of the steps before it
    Fork(Fork),
    /// Show each committed turn of an execution, the newest first
    Checkpoints(Checkpoints),
    /// Show what persons are asked, and how to answer
    Requests,
    /// Answer a request: allow it, refuse it, or give the values it asks for
    Answer(Answer),
    /// Allow what a request asks
    Approve(Decide),
    /// Refuse what a request asks
    Reject(Decide),
    /// Tell an execution that something happened that it waits for
    Signal(Signal),
    /// Check workflow files without running them
    Validate(Validate),
    /// Check a workflow file and keep it in the database, as a revision
    Save(Save),
    /// List the revisions of a workflow, or print one
    Revisions(Revisions),
    /// Show what is different between two revisions of a workflow
    Diff(Diff),
    /// Allow a workflow to be started again
    Enable(Enable),
    /// Keep a workflow from being started; what runs goes on
    Disable(Enable),
    /// Take the tools that a workflow calls as they are now, after they changed
    Accept(Accept),
    /// List the tools that workflows may call
    Tools(Tools),
    /// Serve workflows over MCP, on standard input and output or over HTTP
    Serve(Serve),
    /// Serve one of the tool servers that ship, alone, over MCP
    ToolServer(ToolServer),
    /// Show what calls of language models took
    Usage(Usage),
    /// List the files that an execution left behind
    Artifacts(Artifacts),
    /// Write a file that an execution left behind
    Artifact(Artifact),
    /// Show it all in a few seconds: no account, database or network needed
    Demo(Demo),
    /// Measure how fast executions run here, and what each takes: one line of JSON
    #[command(after_help = BENCH_HELP)]
    Bench(Bench),
    /// Print the JSON Schema of workflow files, for editors
    Schema,
    /// Print every setting with its default, as a windlass.toml to start from
    Config,
    /// Drive executions in the background; started on demand
    #[command(hide = true)]
    Worker,
    /// Print the version
    Version,
}

const BENCH_HELP: &str = "\
Shapes:
  n5    five calls of a built-in tool that does nothing, one after the other
  w5    five calls of the tool `echo` of the server in --tool-server, one after the other
  f20   one call, twenty side by side, and one that joins them; of `echo` with --tool-server, else of the built-in tool
  park  executions that wait for a person: what it takes to have them

Every call and every result is in the database before the next call goes out. Without --database a new SQLite file
is used; the configured database never is. The rows are in the workspace `bench` and go at the end, unless --keep.
PGPASSWORD keeps a password off the command line.";

const RUN_HELP: &str = "\
Inputs are read by the workflow's input schema:
  count=3 draft=true        numbers and booleans where the schema wants them
  labels=bug,docs           a list of texts; or JSON: labels='[\"bug\"]'
  repo.owner=octo           builds the object repo
  repo=octo/hello           the same as repo.owner=octo repo.name=hello";

#[derive(Args, Debug)]
pub(super) struct Demo {
    /// What is shown; left out: from an issue to a pull request
    #[command(subcommand)]
    pub(super) what: Option<DemoOf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum DemoOf {
    /// Deploy a canary with an error in it to an emulated AWS, see what is new in its log, and decide
    Deploy(DemoDeploy),
}

#[derive(Args, Debug)]
pub(super) struct DemoDeploy {
    /// What to answer when you are asked; without it and without a terminal: roll-back
    #[arg(long, value_name = "ANSWER")]
    pub(super) answer: Option<Verdict>,
}

/// What is done with a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Verdict {
    /// Gives it all of the traffic
    Promote,
    /// Brings the version before again
    RollBack,
}

/// More in flight at once than anybody needs.
pub(super) const MOST_LANES: usize = 10_000;

#[derive(Args, Debug)]
pub(super) struct Bench {
    /// What is run
    #[arg(value_enum)]
    pub(super) shape: Option<BenchShape>,
    /// How many executions are in flight at once
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = lanes)]
    pub(super) concurrency: usize,
    /// How long to measure, after warming up; for park, how long to look at the executions at rest
    #[arg(long, value_name = "SECONDS", default_value_t = 8.0, value_parser = seconds)]
    pub(super) seconds: f64,
    /// The command of a tool server that speaks MCP on standard input and output and has the tool `echo`
    #[arg(long, value_name = "COMMAND")]
    pub(super) tool_server: Option<String>,
    /// When a commit is on the disk: off, normal (SQLite only), full or on, which mean the same
    #[arg(long, value_enum)]
    pub(super) synchronous: Option<BenchSynchronous>,
    /// How many executions park
    #[arg(long, value_name = "NUMBER", default_value = "1k", value_parser = many)]
    pub(super) executions: i64,
    /// Put so many executions into the database first, finished ones and 1 % parked ones: 500k, 10M
    #[arg(long, value_name = "NUMBER", value_parser = many)]
    pub(super) fill: Option<i64>,
    /// Leave the rows, or the new SQLite file, where they are
    #[arg(long)]
    pub(super) keep: bool,
    /// Measure what is asked for on standard input: {"shape":"n5","conc":32,"secs":8} a line, and `quit`
    #[arg(long, conflicts_with = "shape")]
    pub(super) driver: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BenchShape {
    N5,
    W5,
    F20,
    Park,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BenchSynchronous {
    Off,
    Normal,
    Full,
    On,
}

/// `0.0.0.0:7321`, `localhost:7321`, or a port of this machine alone.
fn address(text: &str) -> Result<SocketAddr, String> {
    let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let named = text.strip_prefix("localhost:").unwrap_or(text);
    let parsed = text.parse().ok().or_else(|| named.parse().ok().map(local));
    parsed.ok_or_else(|| {
        "an address is written as IP:PORT, such as 127.0.0.1:7321, or 0.0.0.0:7321 for other machines".to_owned()
    })
}

fn lanes(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST_LANES).contains(number));
    number.ok_or_else(|| format!("a whole number from 1 to {MOST_LANES}"))
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.1..=86_400.0).contains(number));
    number.ok_or_else(|| "a number of seconds from 0.1 to 86400".to_owned())
}

/// `2000`, `2k` or `10M`.
fn many(text: &str) -> Result<i64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'm' | 'M')) => (&text[..at], 1_000_000),
        _ => (text, 1),
    };
    let number = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
    let number = number.filter(|number| (1..=1_000_000_000).contains(number));
    number.ok_or_else(|| "a whole number from 1 to 1000M, such as 500, 2k or 10M".to_owned())
}

#[derive(Args, Debug)]
pub(super) struct Run {
    /// A workflow's name, or the path of a .yaml, .yml or .json file, which runs even if its workflow is disabled
    pub(super) workflow: String,
    /// Inputs
    #[arg(value_name = "KEY=VALUE")]
    pub(super) pairs: Vec<String>,
    /// The whole input as a JSON object: text, @FILE, or - for standard input; key=value pairs are put over it
    #[arg(long, value_name = "JSON")]
    pub(super) input: Option<String>,
    /// Keep watching while the execution waits for a person
    #[arg(long, overrides_with = "no_watch")]
    pub(super) watch: bool,
    /// Show no steps, only the result
    #[arg(long, overrides_with = "watch")]
    pub(super) no_watch: bool,
    /// The same key twice is one execution
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
    /// Only if it is what this plan says, as in plan_…; inputs may be left off then
    #[arg(long, value_name = "PLAN")]
    pub(super) plan: Option<String>,
    /// Who goes first where not all can go at once; without it, what the workflow's config says
    #[arg(long, value_parser = ["low", "normal", "high"])]
    pub(super) priority: Option<String>,
    /// Start it, print its id and return; a worker in the background drives it
    #[arg(long, conflicts_with = "watch")]
    pub(super) detach: bool,
}

#[derive(Args, Debug)]
pub(super) struct Plan {
    /// A workflow's name, or the path of a .yaml, .yml or .json file
    pub(super) workflow: String,
    /// Inputs
    #[arg(value_name = "KEY=VALUE")]
    pub(super) pairs: Vec<String>,
    /// The whole input as a JSON object: text, @FILE, or - for standard input; key=value pairs are put over it
    #[arg(long, value_name = "JSON")]
    pub(super) input: Option<String>,
    /// How long `windlass run --plan` takes it: 90s, 30m, 1h, 7d; an hour when it is left off
    #[arg(long, value_name = "TIME")]
    pub(super) expires: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// List executions instead of workflows
    #[arg(long)]
    pub(super) executions: bool,
    /// How many executions at most
    #[arg(long, value_name = "NUMBER", default_value_t = 20, requires = "executions")]
    pub(super) limit: u32,
    /// Ask the tool servers whether tools have changed, starting them if need be
    #[arg(long, conflicts_with = "executions")]
    pub(super) live: bool,
}

#[derive(Args, Debug)]
pub(super) struct Save {
    /// A workflow file; - for standard input
    pub(super) file: PathBuf,
    /// Why; kept with the revision
    #[arg(long, value_name = "TEXT")]
    pub(super) comment: Option<String>,
    /// Save only if this is the saved revision so far; 0: only if there is none
    #[arg(long, value_name = "NUMBER")]
    pub(super) expect: Option<u32>,
    /// Check everything and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Args, Debug)]
pub(super) struct Revisions {
    /// The workflow
    pub(super) workflow: String,
    /// Print this revision's document: its number, or the beginning of its hash
    pub(super) revision: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Diff {
    /// The workflow
    pub(super) workflow: String,
    /// A revision's number, or the beginning of its hash; left out: the one before the current one
    pub(super) from: Option<String>,
    /// The other revision; left out: the current one
    pub(super) to: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Enable {
    /// The workflow
    pub(super) workflow: String,
}

#[derive(Args, Debug)]
pub(super) struct Accept {
    /// A workflow's name, or the path of a .yaml, .yml or .json file
    pub(super) workflow: String,
    /// Show what changed and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Args, Debug)]
pub(super) struct Status {
    /// The execution, as in exec_…
    pub(super) id: Option<String>,
    /// Show the results of its steps too
    #[arg(long, requires = "id")]
    pub(super) results: bool,
    /// Wait so long for it to end
    #[arg(long, value_name = "SECONDS", requires = "id")]
    pub(super) wait: Option<u64>,
}

#[derive(Args, Debug)]
pub(super) struct Cancel {
    /// The execution, as in exec_…
    pub(super) id: String,
    /// Why; recorded with the execution
    #[arg(long)]
    pub(super) reason: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Pause {
    /// The execution, as in exec_…; those below it pause with it
    pub(super) id: String,
    /// Why; recorded with the execution
    #[arg(long)]
    pub(super) reason: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Resume {
    /// The execution, as in exec_…
    pub(super) id: String,
}

#[derive(Args, Debug)]
pub(super) struct Retry {
    /// The execution, as in exec_…
    pub(super) id: String,
    /// Inputs to change; the others stay as they are
    #[arg(value_name = "KEY=VALUE")]
    pub(super) pairs: Vec<String>,
    /// The inputs to change as a JSON object: text, @FILE, or - for standard input; key=value pairs are put over it
    #[arg(long, value_name = "JSON")]
    pub(super) input: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Skip {
    /// The execution, as in exec_…
    pub(super) id: String,
    /// The step
    pub(super) step: String,
    /// Why; recorded with the execution
    #[arg(long)]
    pub(super) reason: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Fork {
    /// The execution, as in exec_…; it may have ended or not, and stays as it is
    pub(super) id: String,
    /// The first step that is done again: one of the workflow's own list
    #[arg(long, value_name = "STEP")]
    pub(super) from: String,
    /// Inputs to change; the others are those of the execution
    #[arg(value_name = "KEY=VALUE")]
    pub(super) pairs: Vec<String>,
    /// The inputs to change as a JSON object: text, @FILE, or - for standard input; key=value pairs are put over it
    #[arg(long, value_name = "JSON")]
    pub(super) input: Option<String>,
    /// Run the current revision of the workflow, if the steps before are the same in it
    #[arg(long)]
    pub(super) latest: bool,
    /// The same key twice is one execution
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Checkpoints {
    /// The execution, as in exec_…
    pub(super) id: String,
    /// How many
    #[arg(long, value_name = "COUNT", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: u32,
}

#[derive(Args, Debug)]
pub(super) struct Resolve {
    /// The execution, as in exec_…
    pub(super) id: String,
    /// The step
    pub(super) step: String,
    #[command(flatten)]
    pub(super) how: How,
}

#[derive(Args, Debug)]
pub(super) struct Answer {
    /// The request, as in req_…
    pub(super) request: String,
    /// Allow it
    #[arg(long, conflicts_with_all = ["reject", "value", "values"])]
    pub(super) approve: bool,
    /// Refuse it; a form can be refused, too
    #[arg(long, conflicts_with_all = ["value", "values"])]
    pub(super) reject: bool,
    /// One of the values that a form asks for; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) value: Vec<String>,
    /// All the values as a JSON object: text, @FILE, or - for standard input; each --value is put over it
    #[arg(long, value_name = "JSON")]
    pub(super) values: Option<String>,
    /// Why; recorded with the answer
    #[arg(long, value_name = "TEXT")]
    pub(super) comment: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Decide {
    /// The request, as in req_…
    pub(super) request: String,
    /// Why; recorded with the answer
    #[arg(short, long, value_name = "TEXT")]
    pub(super) message: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Signal {
    /// The execution, as in exec_…
    pub(super) id: String,
    /// The event's name, as the step that waits has it
    pub(super) event: String,
    /// What it says: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    pub(super) data: Option<String>,
}

/// Exactly one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct How {
    /// It happened, and this is its result: JSON or @FILE
    #[arg(long, value_name = "JSON")]
    pub(super) result: Option<String>,
    /// It did not happen: call it again, as a new generation with a new idempotency key
    #[arg(long)]
    pub(super) retry: bool,
    /// It failed for good, and this is why
    #[arg(long, value_name = "MESSAGE")]
    pub(super) failed: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Validate {
    /// Workflow files; - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Look at the documents alone: ask no tool server whether it has the tools and what they take
    #[arg(long)]
    pub(super) offline: bool,
}

#[derive(Args, Debug)]
pub(super) struct Tools {
    /// Only this tool server's
    pub(super) server: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Serve over HTTP at this address instead of standard input and output, such as 0.0.0.0:7321 (127.0.0.1:7321 without one)
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:7321", value_parser = address)]
    pub(super) http: Option<SocketAddr>,
    /// How tools are listed: dotted (workflow.run) or underscore (workflow_run), for clients that refuse dots; both can be called
    #[arg(long, value_enum)]
    pub(super) tool_names: Option<ToolNames>,
    /// Offer what the protocol's conformance suite asks for
    #[arg(long, hide = true)]
    pub(super) conformance_fixtures: bool,
}

#[derive(Args, Debug)]
pub(super) struct ToolServer {
    /// agent, demo, deploy, documents, github, notify or observability
    pub(super) name: String,
    /// Serve over HTTP at this address (127.0.0.1:7322 without one); on other addresses than loopback a token is needed
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:7322", value_parser = address)]
    pub(super) http: Option<SocketAddr>,
}

#[derive(Args, Debug)]
pub(super) struct Usage {
    /// What the sums are made by
    #[arg(long, value_enum, default_value = "workflow")]
    pub(super) by: UsageBy,
    /// How many days back, today included
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(super) days: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum UsageBy {
    Workflow,
    Day,
    Model,
}

#[derive(Args, Debug)]
pub(super) struct Artifacts {
    /// The execution, as in exec_…
    #[arg(value_name = "EXECUTION")]
    pub(super) id: String,
}

#[derive(Args, Debug)]
pub(super) struct Artifact {
    /// The file, as in art_…
    pub(super) id: String,
    /// Where to write it; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
}

impl ValueEnum for ToolNames {
    fn value_variants<'a>() -> &'a [ToolNames] {
        &[ToolNames::Dotted, ToolNames::Underscore]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            ToolNames::Dotted => "dotted",
            ToolNames::Underscore => "underscore",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_and_a_port_or_a_port_of_this_machine() {
        let local: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        for text in ["127.0.0.1:8080", "localhost:8080", "8080"] {
            assert_eq!(address(text), Ok(local), "{text}");
        }
        assert_eq!(address("[::1]:1").unwrap().to_string(), "[::1]:1");
        for text in ["", "localhost", "example.com:80", "127.0.0.1", "80800"] {
            assert!(address(text).unwrap_err().contains("0.0.0.0:7321"), "{text}");
        }
    }
}
