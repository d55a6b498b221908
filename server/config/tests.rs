//! What layers make of each other.

use std::{collections::BTreeMap, fs, path::Path};

use tempfile::TempDir;

use super::*;

/// A project with a `.git` and, when it says something, a `windlass.toml`.
fn project(file: &str) -> TempDir {
    let project = TempDir::new().unwrap();
    fs::create_dir(project.path().join(".git")).unwrap();
    if !file.is_empty() {
        fs::write(project.path().join(FILE_NAME), file).unwrap();
    }
    project
}

fn load(
    directory: &Path,
    variables: &[(&str, &str)],
    overrides: &Overrides,
) -> Result<Config, Error> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let environment = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    Config::load_from(directory, None, &environment, overrides)
}

fn load_file(text: &str) -> Result<Config, Error> {
    load(project(text).path(), &[], &Overrides::default())
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    assert_eq!(toml::from_str::<Config>(DEFAULTS).unwrap(), Config::default());
}

#[test]
fn every_setting_is_documented() {
    let written: toml::Table = DEFAULTS.parse().unwrap();
    let known = toml::Table::try_from(Config::default()).unwrap();
    assert_eq!(written, known);
    assert!(DEFAULTS.lines().all(|line| line.len() <= 120));
}

#[test]
fn a_file_wins_over_the_defaults_and_leaves_the_rest() {
    let config = load_file("[worker]\nidle_ms = 5\n").unwrap();
    assert_eq!((config.worker.idle_ms, config.worker.max_executions), (5, 256));
}

#[test]
fn a_variable_wins_over_the_file_and_a_flag_over_both() {
    let project = project("workspace = 'file'\n");
    let variables = [("WINDLASS_WORKSPACE", "variable")];
    let flags = Overrides { workspace: Some("flag".into()), ..Overrides::default() };
    let none = Overrides::default();
    assert_eq!(load(project.path(), &[], &none).unwrap().workspace, "file");
    assert_eq!(load(project.path(), &variables, &none).unwrap().workspace, "variable");
    assert_eq!(load(project.path(), &variables, &flags).unwrap().workspace, "flag");
}

#[test]
fn every_setting_has_a_variable_of_its_own() {
    let project = project("");
    let root = project.path();
    let variables = [
        ("WINDLASS_DATABASE", "postgres://u:p@h/d"),
        ("WINDLASS_DATA_DIR", "data"),
        ("WINDLASS_WORKSPACE", "team"),
        ("WINDLASS_WORKFLOWS", "a, b"),
        ("WINDLASS_TOOL_NAMES", "underscore"),
        ("WINDLASS_KEYRING_FILE", "keys"),
        ("WINDLASS_SECRETS", r#"{"KEY":{"env":"MY_KEY"}}"#),
        ("WINDLASS_MCP_CONFIG", ".mcp.json"),
        ("WINDLASS_MCP_SERVERS", r#"{"files":{"command":"npx","args":["x"]}}"#),
        ("WINDLASS_GITHUB_API_URL", "http://localhost:1"),
        ("WINDLASS_GITHUB_TOKEN_ENV", "MY_TOKEN"),
        ("WINDLASS_GITHUB_REPOS", "octo/*"),
        ("WINDLASS_GITHUB_READ_ONLY", "true"),
        ("WINDLASS_HTTP_TOKEN_ENV", "MY_HTTP_TOKEN"),
        ("WINDLASS_HTTP_ALLOWED_HOSTS", "windlass.example.com"),
        ("WINDLASS_HTTP_ALLOWED_ORIGINS", "https://example.com"),
        ("WINDLASS_APPROVALS_AGENTS_MAY_ANSWER", "true"),
        ("WINDLASS_HTTP_AUTHORING", "true"),
        ("WINDLASS_SYNCHRONOUS", "normal"),
        ("WINDLASS_HTTP_LINGER_MS", "6"),
        ("WINDLASS_HTTP_METRICS", "false"),
        ("WINDLASS_DATABASE_DIRECT_URL", "postgres://u:p@direct/d"),
        ("WINDLASS_WORKER_MAX_EXECUTIONS", "3"),
        ("WINDLASS_WORKER_CALL_TIMEOUT_MS", "4"),
        ("WINDLASS_WORKER_IDLE_MS", "5"),
    ];
    let config = load(root, &variables, &Overrides::default()).unwrap();
    let expected = Config {
        project: root.into(),
        database: "postgres://u:p@h/d".into(),
        synchronous: Synchronous::Normal,
        database_direct_url: "postgres://u:p@direct/d".into(),
        data_dir: root.join("data"),
        workspace: "team".into(),
        workflows: vec![root.join("a"), root.join("b")],
        tool_names: ToolNames::Underscore,
        keyring_file: root.join("keys"),
        secrets: BTreeMap::from([(
            SecretName::try_from("KEY".to_owned()).unwrap(),
            SecretSource::Env("MY_KEY".into()),
        )]),
        mcp_config: vec![root.join(".mcp.json")],
        mcp_servers: BTreeMap::from([(
            "files".into(),
            serde_json::json!({ "command": "npx", "args": ["x"] }),
        )]),
        github: GithubConfig {
            api_url: "http://localhost:1".into(),
            token_env: vec!["MY_TOKEN".into()],
            repos: vec!["octo/*".into()],
            read_only: true,
            ..GithubConfig::default()
        },
        deploy: DeployConfig::default(),
        observability: ObservabilityConfig::default(),
        agent: AgentConfig::default().rooted(root),
        notify: NotifyConfig::default(),
        documents: DocumentsConfig::default(),
        http: HttpSettings {
            token_env: "MY_HTTP_TOKEN".into(),
            allowed_hosts: vec!["windlass.example.com".into()],
            allowed_origins: vec!["https://example.com".into()],
            authoring: true,
            linger_ms: 6,
            metrics: false,
        },
        approvals: ApprovalSettings { agents_may_answer: true },
        worker: WorkerSettings { max_executions: 3, call_timeout_ms: 4, idle_ms: 5 },
        limits: BTreeMap::new(),
    };
    assert_eq!(config, expected);
}

#[test]
fn what_has_no_default_and_tables_of_ones_own_names_have_variables_too() {
    let project = project(
        "[notify.channels.team]\nkind = 'slack'\n\
         [deploy.targets.a.environments.b]\nkind = 'command'\ndeploy = ['x']\n",
    );
    let variables = [
        ("WINDLASS_GITHUB_DEFAULT_OWNER", "octo"),
        ("WINDLASS_GITHUB_APP", r#"{"app_id":1,"private_key_env":"KEY"}"#),
        ("WINDLASS_DEPLOY_ECS_REGION", "eu-central-1"),
        ("WINDLASS_DEPLOY_TARGETS", r#"{"shop":{"environments":{"test":{"kind":"mock"}}}}"#),
        ("WINDLASS_NOTIFY_CHANNELS", r#"{"log":{"kind":"log"},"other":{"kind":"teams"}}"#),
        ("WINDLASS_AGENT_PROVIDERS", r#"{"openai":{"model":"whole"},"own":{"kind":"ollama"}}"#),
        ("WINDLASS_AGENT_PROVIDERS_OPENAI_MODEL", "alone"),
        ("WINDLASS_LIMITS", r#"{"github":{"concurrency":4}}"#),
    ];
    let config = load(project.path(), &variables, &Overrides::default()).unwrap();
    assert_eq!(config.github.default_owner.as_deref(), Some("octo"));
    assert_eq!(config.github.app.unwrap().app_id, 1);
    assert_eq!(config.deploy.ecs.region.as_deref(), Some("eu-central-1"));
    assert!(config.deploy.targets.contains_key("shop"));
    let channels: Vec<&str> = config.notify.channels.keys().map(String::as_str).collect();
    assert_eq!(channels, ["log", "other", "team"]);
    assert_eq!(config.agent.providers["openai"].model, "alone");
    assert!(config.agent.providers.contains_key("own"));
    assert!(config.limits.contains_key("github"));

    let refused = [
        ("WINDLASS_GITHUB_APP", "garbage"),
        ("WINDLASS_GITHUB_APP", r#"{"app_id":"garbage"}"#),
        ("WINDLASS_DEPLOY_TARGETS", "garbage"),
        ("WINDLASS_SECRETS", r#"{"A":"garbage"}"#),
        // It fits alone, and not what the file says of the same environment.
        ("WINDLASS_DEPLOY_TARGETS", r#"{"a":{"environments":{"b":{"kind":"mock"}}}}"#),
    ];
    for variable in refused {
        let error = load(project.path(), &[variable], &Overrides::default()).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(variable.0) && !said.contains("garbage"), "{said}");
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let project = project("workspace = 'file'\n");
    let config = load(project.path(), &[("WINDLASS_WORKSPACE", "")], &Overrides::default());
    assert_eq!(config.unwrap().workspace, "file");
}

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_the_nearest_name() {
    let error = load_file("# mine\ndatabse = 'sqlite:x.db'\n").unwrap_err().to_string();
    assert!(error.contains("windlass.toml:2: unknown field `databse`"), "{error}");
    assert!(error.ends_with("did you mean `database`?"), "{error}");
    let error = load_file("[worker]\nidle = 3\n").unwrap_err().to_string();
    assert!(error.ends_with("did you mean `idle_ms`?"), "{error}");
}

#[test]
fn a_variable_that_does_not_fit_is_named_and_its_value_is_not_shown() {
    let project = project("");
    let check = |name, value, expected: &str| {
        let error = load(project.path(), &[(name, value)], &Overrides::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("the variable {name} does not fit: {expected}"));
    };
    check("WINDLASS_WORKER_IDLE_MS", "soon", "it must be a whole number");
    check("WINDLASS_GITHUB_READ_ONLY", "maybe", "it must be true or false");
    check("WINDLASS_MCP_SERVERS", "secret", "it must be a JSON object");
    let refused = "unknown word, expected `dotted` or `underscore`; did you mean `dotted`?";
    check("WINDLASS_TOOL_NAMES", "dots", refused);
}

#[test]
fn the_project_is_the_nearest_folder_that_is_marked() {
    let outer = project("");
    let inner = outer.path().join("a/b");
    fs::create_dir_all(&inner).unwrap();
    let found = |directory: &Path| load(directory, &[], &Overrides::default()).unwrap().project;
    assert_eq!(found(&inner), outer.path());
    fs::write(outer.path().join("a").join(FILE_NAME), "").unwrap();
    assert_eq!(found(&inner), outer.path().join("a"));
}

#[test]
fn without_a_word_it_is_a_sqlite_file_in_the_data_directory_and_the_project_is_the_workspace() {
    let project = project("data_dir = 'in here?'\n");
    let root = project.path().to_str().unwrap();
    let config = load(project.path(), &[], &Overrides::default()).unwrap();
    assert_eq!(config.database, format!("sqlite:{root}/in here%3F/windlass.db"));
    assert_eq!(config.workspace, root);
    assert!(load_file("").unwrap().data_dir.ends_with("windlass"));
}

#[test]
fn on_postgres_the_workspace_is_shared_unless_it_is_named() {
    let config = load_file("database = 'postgres://host/name'\n").unwrap();
    assert_eq!(config.workspace, "default");
}

#[test]
fn paths_start_at_the_project_in_a_file_and_at_the_prompt_on_the_command_line() {
    let project = project("database = 'sqlite:x.db'\nmcp_config = ['.mcp.json']\n");
    let inner = project.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let config = load(&inner, &[], &Overrides::default()).unwrap();
    assert_eq!(config.database, format!("sqlite:{}/x.db", project.path().display()));
    assert_eq!(config.mcp_config, [project.path().join(".mcp.json")]);
    let typed = Overrides {
        database: Some("sqlite:y.db".into()),
        data_dir: Some("data".into()),
        mcp_config: vec!["z.json".into()],
        ..Overrides::default()
    };
    let config = load(&inner, &[], &typed).unwrap();
    assert_eq!(config.database, format!("sqlite:{}/y.db", inner.display()));
    assert_eq!(
        (config.data_dir, config.mcp_config),
        (inner.join("data"), vec![inner.join("z.json")])
    );
}

#[test]
fn a_database_that_is_neither_sqlite_nor_postgres_is_refused_without_showing_it() {
    let error = load_file("database = 'mysql://root:hush@host'\n").unwrap_err().to_string();
    assert!(error.contains("sqlite:PATH") && !error.contains("hush"), "{error}");
}

#[test]
fn a_file_that_was_named_must_exist() {
    let project = project("");
    let nothing = |_: &str| None;
    let named = Some(Path::new("other.toml"));
    let error = Config::load_from(project.path(), named, &nothing, &Overrides::default());
    assert!(matches!(error.unwrap_err(), Error::Unreadable { .. }));
}

#[test]
fn a_configuration_survives_being_handed_over() {
    let file = "[mcpServers.files]\ncommand = 'npx'\n";
    let config = load_file(file).unwrap();
    assert_eq!(Config::from_json(&config.to_json().unwrap()).unwrap(), config);
}

#[test]
fn no_secret_is_shown_for_debugging() {
    let file = "database = 'postgres://u:hush@h/d'\n[mcpServers.files]\nenv = { TOKEN = 'hush' }\n";
    let shown = format!("{:?}", load_file(file).unwrap());
    assert!(
        shown.contains("postgres") && shown.contains("files") && !shown.contains("hush"),
        "{shown}"
    );
}

#[test]
fn a_secret_has_one_source_and_a_name_that_can_be_written() {
    let config = load_file("[secrets.A_1]\nenv = 'A'\n[secrets.b]\ncommand = ['op', 'read']\n");
    let names: Vec<String> = config.unwrap().secrets.into_keys().map(String::from).collect();
    assert_eq!(names, ["A_1", "b"]);
    for (file, expected) in [
        ("[secrets.A]\nenv = 'A'\nfile = 'a'\n", ":1: "),
        ("[secrets.A]\n", ":1: "),
        ("[secrets.A]\ncomand = ['a']\n", "did you mean `command`?"),
        ("[secrets.A]\ncommand = []\n", "begins with a program"),
        ("[secrets.'a-b']\nenv = 'A'\n", "a secret cannot be called \"a-b\""),
        ("[secrets.1a]\nenv = 'A'\n", "begin with no digit"),
    ] {
        let message = load_file(file).unwrap_err().to_string();
        assert!(message.contains(expected), "{file}: {message}");
    }
}

#[test]
fn files_of_secrets_and_keys_start_at_the_projects_root() {
    let project = project("keyring_file = 'keys'\n[secrets.A]\nfile = 'a'\n");
    let config = load(project.path(), &[], &Overrides::default()).unwrap();
    let file = &config.secrets.values().next().unwrap();
    assert_eq!(**file, SecretSource::File(config.project.join("a")));
    assert_eq!(config.keyring_file, config.project.join("keys"));
}
