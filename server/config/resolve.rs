//! Fills in what a configuration leaves open: the project's root, the data directory, the database, the workspace.

use std::path::{Path, PathBuf};

use super::{Config, Error, FILE_NAME, Overrides, SecretSource};

/// The nearest folder upwards that looks like a project, or the folder itself.
pub(super) fn project_root(directory: &Path) -> PathBuf {
    let marked = |folder: &&Path| folder.join(FILE_NAME).is_file() || folder.join(".git").exists();
    directory.ancestors().find(marked).unwrap_or(directory).to_owned()
}

/// What was typed at a prompt is meant from where the prompt stands.
pub(super) fn from_directory(overrides: &Overrides, directory: &Path) -> Overrides {
    let database = overrides.database.as_deref();
    Overrides {
        database: database.map(|database| rooted_database(database, directory)),
        data_dir: overrides.data_dir.as_ref().map(|path| directory.join(path)),
        mcp_config: overrides.mcp_config.iter().map(|path| directory.join(path)).collect(),
        ..overrides.clone()
    }
}

/// A configuration in which nothing is left open.
pub(super) fn resolve(config: Config) -> Result<Config, Error> {
    let data_dir = data_dir(&config)?;
    let database = database(&config, &data_dir)?;
    let workspace = workspace(&config, &database);
    let rooted = |path: &PathBuf| config.project.join(path);
    Ok(Config {
        workflows: config.workflows.iter().map(rooted).collect(),
        mcp_config: config.mcp_config.iter().map(rooted).collect(),
        keyring_file: if config.keyring_file.as_os_str().is_empty() {
            config.keyring_file.clone()
        } else {
            rooted(&config.keyring_file)
        },
        secrets: config
            .secrets
            .iter()
            .map(|(name, source)| {
                let source = match source {
                    SecretSource::File(path) => SecretSource::File(rooted(path)),
                    SecretSource::Env(_) | SecretSource::Command(_) => source.clone(),
                };
                (name.clone(), source)
            })
            .collect(),
        agent: config.agent.rooted(&config.project),
        observability: config.observability.rooted(&config.project),
        data_dir,
        database,
        workspace,
        ..config
    })
}

/// The scheme and no more: the rest may hold a password.
pub(super) fn without_secrets(database: &str) -> String {
    match database.split_once(':') {
        Some(("sqlite", _)) | None => database.to_owned(),
        Some((scheme, _)) => format!("{scheme}:…"),
    }
}

fn data_dir(config: &Config) -> Result<PathBuf, Error> {
    if !config.data_dir.as_os_str().is_empty() {
        return Ok(config.project.join(&config.data_dir));
    }
    let directories = directories::ProjectDirs::from("", "", "windlass");
    directories.map(|found| found.data_dir().to_owned()).ok_or(Error::NoDataDirectory)
}

fn database(config: &Config, data_dir: &Path) -> Result<String, Error> {
    let database = config.database.as_str();
    if database.is_empty() {
        return Ok(sqlite(&data_dir.join("windlass.db")));
    }
    let known = ["sqlite:", "postgres://", "postgresql://"];
    if !known.iter().any(|scheme| database.starts_with(scheme)) {
        return Err(Error::Database);
    }
    Ok(rooted_database(database, &config.project))
}

/// Makes the path of a SQLite database absolute; leaves everything else alone.
fn rooted_database(database: &str, root: &Path) -> String {
    let Some(path) = database.strip_prefix("sqlite:") else { return database.to_owned() };
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.starts_with(":memory:") || path.starts_with('/') || path.is_empty() {
        return database.to_owned();
    }
    let root = sqlite(&root.join(""));
    format!("{root}{path}")
}

/// A path as a database address, in which `%` and `?` mean something else.
fn sqlite(path: &Path) -> String {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3F");
    format!("sqlite:{path}")
}

fn workspace(config: &Config, database: &str) -> String {
    if !config.workspace.is_empty() {
        config.workspace.clone()
    } else if database.starts_with("sqlite:") {
        config.project.to_string_lossy().into_owned()
    } else {
        "default".to_owned()
    }
}
