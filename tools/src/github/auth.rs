//! As whom the github server speaks: a token, an installation of a GitHub App, or who is signed in to `gh`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use octocrab::Octocrab;
use octocrab::models::AppId;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::GithubConfig;
use super::client::{self, Ask, Sent, Session, Verb};
use super::issues::User;
use super::names;
use crate::contract::{Code, Learned, Surroundings, ToolError};

const CLI_PATIENCE: Duration = Duration::from_secs(5);
/// A token that ends sooner is not used any more: a request may wait on its way.
const SHORTEST_LIFE_S: i64 = 60;
/// Where `gh` finds a token before it looks into its own memory: those are for other programs.
const CLI_VARIABLES: [&str; 4] =
    ["GH_TOKEN", "GITHUB_TOKEN", "GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN"];

/// A GitHub App to speak as. Its key stands in a variable or a file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppConfig {
    /// The App's id, a number that its settings page shows.
    pub app_id: u64,
    /// The environment variable that holds the private key, in PEM; line ends may be written as `\n`.
    pub private_key_env: Option<String>,
    /// The file that holds the private key, in PEM.
    pub private_key_file: Option<String>,
    /// The installation to use; looked up for each owner of a repository when left out.
    pub installation_id: Option<u64>,
}

/// How to get at credentials, and the connections that have them.
pub(super) struct Access {
    api_url: String,
    write_interval: Duration,
    way: Way,
    learned: Learned,
    /// The connection of a token or of `gh`.
    own: OnceCell<Arc<Session>>,
    /// The connection of the App itself, which may only ask for installations and tokens.
    app: OnceCell<Arc<Session>>,
    installations: Mutex<Installations>,
    /// Who we are, as comments name it.
    login: OnceCell<String>,
}

enum Way {
    Token(String),
    App(AppConfig, Key),
    Cli { program: PathBuf, environment: BTreeMap<String, String> },
    Nothing { hint: String },
}

/// Where an App's key comes from; read when it is first needed.
enum Key {
    Text(String),
    File(PathBuf),
    Missing(String),
}

#[derive(Default)]
struct Installations {
    by_owner: HashMap<String, u64>,
    sessions: HashMap<u64, Arc<Session>>,
}

/// What gives a request its credentials.
pub(super) enum Token {
    /// One that does not change.
    Fixed(String),
    /// The App's own signature, made anew for each request.
    Signed,
    /// One that the App is given for an installation, for an hour.
    Minted(Mint),
}

/// Where tokens of an installation are made.
pub(super) struct Mint {
    app: Arc<Session>,
    installation: u64,
    learned: Learned,
    current: tokio::sync::Mutex<Option<Minted>>,
}

#[derive(Clone, Deserialize)]
struct Minted {
    token: String,
    expires_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

impl Access {
    pub(super) fn new(config: &GithubConfig, around: &Surroundings, learned: Learned) -> Self {
        Self {
            api_url: config.api_url.trim_end_matches('/').to_owned(),
            write_interval: Duration::from_millis(config.write_interval_ms),
            way: way(config, around),
            learned,
            own: OnceCell::new(),
            app: OnceCell::new(),
            installations: Mutex::default(),
            login: OnceCell::new(),
        }
    }

    /// What must never be shown and is known before anything is asked.
    pub(super) fn secrets(&self) -> Vec<String> {
        match &self.way {
            Way::Token(token) => vec![token.clone()],
            Way::App(_, Key::Text(key)) => vec![key.clone()],
            Way::App(..) | Way::Cli { .. } | Way::Nothing { .. } => Vec::new(),
        }
    }

    /// The connection for a repository.
    pub(super) async fn session(&self, owner: &str, name: &str) -> Result<Arc<Session>, ToolError> {
        match &self.way {
            Way::App(config, key) => self.installed(config, key, owner, name).await,
            Way::Token(_) | Way::Cli { .. } | Way::Nothing { .. } => {
                self.own.get_or_try_init(|| self.connect()).await.cloned()
            }
        }
    }

    /// Who the credentials belong to, as runs and comments name them.
    pub(super) async fn login(&self, session: &Session) -> Result<String, ToolError> {
        self.login.get_or_try_init(|| self.ask_login(session)).await.cloned()
    }

    /// Whether we wrote what an author wrote. Anybody can copy a mark of ours into a text of theirs, and who may write
    /// to a repository may edit the comments of others too.
    pub(super) async fn wrote(
        &self,
        session: &Session,
        author: Option<&User>,
        association: Option<&str>,
    ) -> Result<bool, ToolError> {
        let Some(author) = author else { return Ok(false) };
        match self.login(session).await {
            Ok(own) => Ok(own.eq_ignore_ascii_case(&author.login)),
            Err(error) if error.retryable => Err(error),
            // The token of a run of Actions may not ask who it is: then those who may write there count as us.
            Err(_) => {
                Ok(author.is_bot()
                    || matches!(association, Some("OWNER" | "MEMBER" | "COLLABORATOR")))
            }
        }
    }

    async fn ask_login(&self, session: &Session) -> Result<String, ToolError> {
        #[derive(Deserialize)]
        struct App {
            slug: String,
        }
        match self.app.get() {
            Some(app) => app.read::<App>("/app").await.map(|app| format!("{}[bot]", app.slug)),
            None => session.read::<User>("/user").await.map(|user| user.login),
        }
    }

    async fn connect(&self) -> Result<Arc<Session>, ToolError> {
        let token = match &self.way {
            Way::Token(token) => token.clone(),
            Way::Cli { program, environment } => {
                let token = ask_cli(program, environment, &self.host()).await?;
                self.learned.add(&token);
                token
            }
            Way::App(..) => return Err(no_credentials("no token is needed by an App")),
            Way::Nothing { hint } => return Err(no_credentials(hint)),
        };
        self.open(Octocrab::builder(), Token::Fixed(token))
    }

    async fn installed(
        &self,
        config: &AppConfig,
        key: &Key,
        owner: &str,
        name: &str,
    ) -> Result<Arc<Session>, ToolError> {
        let app = self.app.get_or_try_init(|| async { self.sign(config, key) }).await?;
        let owner = owner.to_ascii_lowercase();
        let known =
            config.installation_id.or_else(|| self.known(|all| all.by_owner.get(&owner).copied()));
        let installation = match known {
            Some(installation) => installation,
            None => {
                let found = installation(app, &owner, name).await?;
                self.known(|all| all.by_owner.insert(owner, found));
                found
            }
        };
        if let Some(session) = self.known(|all| all.sessions.get(&installation).cloned()) {
            return Ok(session);
        }
        let (app, learned) = (Arc::clone(app), self.learned.clone());
        let mint = Mint { app, installation, learned, current: tokio::sync::Mutex::default() };
        let session = self.open(Octocrab::builder(), Token::Minted(mint))?;
        // Whoever was quicker wins, so that there is one pace for each installation.
        Ok(self.known(|all| Arc::clone(all.sessions.entry(installation).or_insert(session))))
    }

    fn sign(&self, config: &AppConfig, key: &Key) -> Result<Arc<Session>, ToolError> {
        let pem = key.read()?;
        self.learned.add(pem.trim());
        let unusable = |_| {
            // The cause might quote the key.
            let message = "the private key of the GitHub App is not an RSA key in PEM";
            ToolError::new(Code::FailedPrecondition, message)
                .hint("download a private key on the App's settings page and give all of it, its first and its last line too")
        };
        let builder = Octocrab::builder();
        let builder =
            builder.app_from_rsa_pem(AppId(config.app_id), pem.as_bytes()).map_err(unusable)?;
        self.open(builder, Token::Signed)
    }

    fn open(&self, builder: client::Builder, token: Token) -> Result<Arc<Session>, ToolError> {
        let octocrab = client::build(builder, &self.api_url)?;
        Ok(Arc::new(Session::new(octocrab, token, &self.api_url, self.write_interval)))
    }

    fn known<T>(&self, look: impl FnOnce(&mut Installations) -> T) -> T {
        look(&mut self.installations.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The host that `gh` knows the API by.
    fn host(&self) -> String {
        let rest = self.api_url.split_once("://").map_or(self.api_url.as_str(), |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or_default();
        if host == "api.github.com" { "github.com".to_owned() } else { host.to_owned() }
    }
}

/// Chooses: what the configuration names, then what the environment holds, then who is signed in.
fn way(config: &GithubConfig, around: &Surroundings) -> Way {
    if let Some(app) = &config.app {
        return Way::App(app.clone(), key(app, around));
    }
    if let Some((_, token)) = around.first_of(&config.token_env) {
        return Way::Token(token.to_owned());
    }
    let program = around.variable("PATH").filter(|_| config.gh_cli).and_then(find_cli);
    match program {
        Some(program) => {
            let mut environment = around.environment.clone();
            environment.retain(|name, _| !CLI_VARIABLES.contains(&name.as_str()));
            Way::Cli { program, environment }
        }
        None => Way::Nothing { hint: what_to_set(config) },
    }
}

fn key(app: &AppConfig, around: &Surroundings) -> Key {
    match (&app.private_key_env, &app.private_key_file) {
        (Some(name), _) => match around.variable(name) {
            Some(text) => Key::Text(text.replace("\\n", "\n")),
            None => Key::Missing(format!(
                "set the environment variable {name} to the App's private key"
            )),
        },
        (None, Some(file)) => Key::File(around.root.join(file)),
        (None, None) => Key::Missing(
            "give `private_key_env` or `private_key_file` in `app` of the github server".to_owned(),
        ),
    }
}

fn what_to_set(config: &GithubConfig) -> String {
    let variables = match config.token_env.as_slice() {
        [] => "name a variable in `token_env` of the github server".to_owned(),
        names => format!("set the environment variable {}", names.join(" or ")),
    };
    let signed_in = if config.gh_cli { ", or sign in with `gh auth login`," } else { "" };
    format!("{variables}{signed_in} and start Windlass again")
}

fn find_cli(path: &str) -> Option<PathBuf> {
    let name = format!("gh{}", std::env::consts::EXE_SUFFIX);
    let absolute = |folder: &PathBuf| folder.is_absolute();
    std::env::split_paths(path)
        .filter(absolute)
        .map(|folder| folder.join(&name))
        .find(|program| program.is_file())
}

/// Asks `gh` for its token, which it prints alone on a line.
async fn ask_cli(
    program: &Path,
    environment: &BTreeMap<String, String>,
    host: &str,
) -> Result<String, ToolError> {
    let mut command = tokio::process::Command::new(program);
    command.args(["auth", "token", "--hostname", host]).env_clear().envs(environment);
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(CLI_PATIENCE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(cli_failed(host, &format!("cannot be started: {error}"))),
        Err(_) => return Err(cli_failed(host, "did not answer in time")),
    };
    let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if output.status.success() && plain {
        Ok(token)
    } else {
        Err(cli_failed(host, "is not signed in"))
    }
}

fn cli_failed(host: &str, how: &str) -> ToolError {
    let message =
        format!("the github server has no token, and `gh`, which could give one for {host}, {how}");
    ToolError::new(Code::Unauthenticated, message).hint(format!(
        "set the environment variable GITHUB_TOKEN and start Windlass again, or sign in with `gh auth login --hostname {host}`"
    ))
}

fn no_credentials(hint: &str) -> ToolError {
    ToolError::new(Code::Unauthenticated, "the github server has no token").hint(hint)
}

/// The installation of the App that covers a repository.
async fn installation(app: &Session, owner: &str, name: &str) -> Result<u64, ToolError> {
    let route = format!("/repos/{}/{}/installation", names::path(owner), names::path(name));
    match app.read::<Id>(&route).await {
        Ok(found) => Ok(found.id),
        Err(error) if error.status() == Some(404) => {
            let message = format!("the GitHub App is not installed for {owner}/{name}");
            Err(ToolError { message, ..error }.hint(
                "install the App for this owner and give it this repository, or check the names",
            ))
        }
        Err(error) => Err(error),
    }
}

impl Key {
    fn read(&self) -> Result<String, ToolError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => std::fs::read_to_string(path).map_err(|error| {
                let message = format!(
                    "the private key of the GitHub App cannot be read from {}: {error}",
                    path.display()
                );
                ToolError::new(Code::Unauthenticated, message)
                    .hint("check `private_key_file` in `app` of the github server")
            }),
            Self::Missing(hint) => {
                Err(ToolError::new(Code::Unauthenticated, "the GitHub App has no private key")
                    .hint(hint))
            }
        }
    }
}

impl Mint {
    /// A token that lives long enough.
    pub(super) async fn token(&self) -> Result<String, ToolError> {
        // Held while one is on its way, so that many requests ask once.
        let mut current = self.current.lock().await;
        let lives =
            |minted: &&Minted| SHORTEST_LIFE_S < (minted.expires_at - Utc::now()).num_seconds();
        if let Some(minted) = current.as_ref().filter(lives) {
            return Ok(minted.token.clone());
        }
        let route = format!("/app/installations/{}/access_tokens", self.installation);
        let minted: Minted = Box::pin(self.app.exchange(&Ask::reading(Verb::Post, &route)))
            .await?
            .json(Sent::Read)?;
        self.learned.add(&minted.token);
        let token = minted.token.clone();
        *current = Some(minted);
        Ok(token)
    }

    /// Forgets a token that was refused, unless there is a newer one.
    pub(super) async fn forget(&self, refused: &str) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|minted| minted.token == refused) {
            *current = None;
        }
    }
}
