//! Where secrets come from: a variable, a file, a command.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{io::AsyncReadExt, process::Command, time::timeout};
use zeroize::Zeroizing;

use crate::config::{Argv, SecretSource};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A secret is not longer, wherever it comes from.
const LONGEST: usize = 64 * 1024;

/// Reads a secret. What goes wrong is told without a word of what was read.
pub(super) async fn read(
    source: &SecretSource,
    project: &Path,
) -> Result<Zeroizing<String>, String> {
    match source {
        SecretSource::Env(variable) => of_environment(variable),
        SecretSource::File(path) => of_file(path).await,
        SecretSource::Command(argv) => of_command(argv, project).await,
    }
}

/// The secret, where nobody has to be asked for it.
pub(super) fn at_hand(source: &SecretSource) -> Option<Zeroizing<String>> {
    match source {
        SecretSource::Env(variable) => of_environment(variable).ok(),
        SecretSource::File(path) => {
            let known = std::fs::metadata(path).ok()?;
            let is_small = known.len() <= u64::try_from(LONGEST).unwrap_or(u64::MAX);
            // Reading a pipe would take its content away from whoever needs it.
            let bytes = (known.is_file() && is_small).then(|| std::fs::read(path).ok())??;
            text(Zeroizing::new(bytes))
        }
        SecretSource::Command(_) => None,
    }
}

fn of_environment(variable: &str) -> Result<Zeroizing<String>, String> {
    match std::env::var(variable) {
        Ok(value) => Ok(Zeroizing::new(value)),
        Err(std::env::VarError::NotPresent) => Err(format!(
            "the environment variable {variable} is not set; set it where Windlass is started"
        )),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("the environment variable {variable} is not UTF-8"))
        }
    }
}

async fn of_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    let file = tokio::fs::File::open(path).await;
    let file = file.map_err(|err| format!("the file {shown} cannot be read: {err}"))?;
    let bytes = bounded(file).await.map_err(|err| format!("the file {shown} {err}"))?;
    text(bytes).ok_or_else(|| format!("the file {shown} is not UTF-8"))
}

async fn of_command(argv: &Argv, project: &Path) -> Result<Zeroizing<String>, String> {
    let program = argv.program();
    let mut child = Command::new(program)
        .args(argv.arguments())
        .current_dir(project)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // It may repeat what it read.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|err| format!("the command {program:?} cannot be started: {err}"))?;
    let output = child.stdout.take().expect("it was started with a pipe here");
    let ended = async {
        let bytes = bounded(output)
            .await
            .map_err(|err| format!("what the command {program:?} wrote {err}"))?;
        let status = child.wait().await;
        let status = status.map_err(|err| format!("the command {program:?} was lost: {err}"))?;
        if !status.success() {
            return Err(format!(
                "the command {program:?} failed ({status}); run it by hand to see why"
            ));
        }
        text(bytes).ok_or_else(|| format!("what the command {program:?} wrote is not UTF-8"))
    };
    let seconds = PATIENCE.as_secs();
    let ended = timeout(PATIENCE, ended).await;
    ended.unwrap_or_else(|_| Err(format!("the command {program:?} did not end within {seconds} s")))
}

async fn bounded(source: impl tokio::io::AsyncRead + Unpin) -> Result<Zeroizing<Vec<u8>>, String> {
    // Never grown, so that no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
    let most = u64::try_from(LONGEST + 1).unwrap_or(u64::MAX);
    let read = source.take(most).read_to_end(&mut bytes).await;
    read.map_err(|err| format!("cannot be read: {err}"))?;
    if LONGEST < bytes.len() {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    Ok(bytes)
}

/// Without the newline that editors and `echo` put at the end.
fn text(bytes: Zeroizing<Vec<u8>>) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(&bytes).ok()?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Some(Zeroizing::new(text.to_owned()))
}
