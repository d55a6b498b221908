//! `[secrets]`: which secrets workflows may name, and where each comes from.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The secrets of a configuration. Their values never stand in it.
pub type SecretSettings = BTreeMap<SecretName, SecretSource>;

/// What a workflow calls a secret: letters, digits and `_`, not beginning with a digit.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

/// Where a secret comes from.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// A variable of Windlass's environment.
    Env(String),
    /// A file, relative to the project's root; one newline at its end does not count.
    File(PathBuf),
    /// What a command writes to its standard output; one newline at its end does not count.
    Command(Argv),
}

/// A command and its arguments; no shell reads them.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Argv(Vec<String>);

impl SecretName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SecretName {
    type Error = String;

    fn try_from(name: String) -> Result<SecretName, String> {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(is_part)
        {
            return Err(format!(
                "a secret cannot be called {name:?}; use letters, digits and `_`, and begin with no digit"
            ));
        }
        Ok(SecretName(name))
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> String {
        name.0
    }
}

impl Argv {
    /// The program.
    #[must_use]
    pub fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// What it is given.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        self.0.get(1..).unwrap_or_default()
    }
}

impl TryFrom<Vec<String>> for Argv {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Argv, String> {
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Argv(words)),
            _ => Err("`command` must be a list that begins with a program, such as [\"op\", \"read\", \"op://…\"]".to_owned()),
        }
    }
}

impl From<Argv> for Vec<String> {
    fn from(argv: Argv) -> Vec<String> {
        argv.0
    }
}

/// Shows no arguments: somebody may have put there what belongs elsewhere.
impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::Env(variable) => write!(f, "Env({variable:?})"),
            SecretSource::File(path) => write!(f, "File({path:?})"),
            SecretSource::Command(argv) => write!(f, "Command({:?} …)", argv.program()),
        }
    }
}
