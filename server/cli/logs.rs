//! Logs: to standard error, and as much as was asked for.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use super::arguments::{Arguments, Command};
use crate::{secrets, tool_servers::QUIET};

/// The variable that says what is logged, in the form `warn,windlass=debug`.
const VARIABLE: &str = "WINDLASS_LOG";

/// Starts logging.
pub(super) fn start(arguments: &Arguments) {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_writer(|| Hiding(io::stderr()))
        .with_ansi(colours)
        .with_env_filter(filter(arguments))
        .init();
}

/// Writes without any secret that this process knows. Each event comes as one piece.
struct Hiding<W>(W);

impl<W: Write> Write for Hiding<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(secrets::hide(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Flags win over the variable, the variable over what the command would log anyway.
fn filter(arguments: &Arguments) -> EnvFilter {
    let asked = match arguments.shared.verbose {
        0 => std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()),
        1 => Some("warn,windlass=info".to_owned()),
        2 => Some("info,windlass=debug".to_owned()),
        _ => Some("trace".to_owned()),
    };
    match asked {
        Some(asked) if !asked.contains("rmcp") => EnvFilter::new(format!("{asked},{QUIET}")),
        Some(asked) => EnvFilter::new(asked),
        None => EnvFilter::new(usual(&arguments.command)),
    }
}

fn usual(command: &Command) -> String {
    match command {
        Command::Serve(_) | Command::ToolServer(_) | Command::Worker => {
            format!("warn,windlass=info,{QUIET}")
        }
        // It is slow on purpose, and says how slow.
        Command::Bench(_) => "warn,sqlx=error,rmcp=off,octocrab=off".to_owned(),
        // What rmcp warns of is said by whoever it happened to.
        _ => "warn,rmcp=off,octocrab=off".to_owned(),
    }
}
