//! Variables: which ones a child process gets, and `${VAR}` in a configuration.

use std::collections::BTreeMap;

use super::{config::Transport, redact::Redactor};

/// What every child gets when we have it. Nothing else goes over, so no token leaks into a tool server.
const PASSED_ON: &[&str] = &["PATH", "HOME", "LANG", "TMPDIR", "USER", "SHELL", "TERM"];
const PASSED_ON_PREFIXES: &[&str] = &["LC_", "XDG_", "SSL_CERT"];
const PROXIES: &[&str] = &["http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"];

/// A transport with its variables filled in, and what must never be shown of it.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// Nothing is left to expand.
    pub(super) transport: Transport,
    /// The child's whole environment; empty for HTTP.
    pub(super) environment: BTreeMap<String, String>,
    /// Hides the values that the configuration or a variable supplied.
    pub(super) redactor: Redactor,
}

/// Fills in a transport's variables.
///
/// # Errors
/// A sentence that names the variable that is not set.
pub(super) fn resolve(
    transport: &Transport,
    variables: &BTreeMap<String, String>,
) -> Result<Resolved, String> {
    let mut expander = Expander { variables, secrets: Vec::new() };
    let transport = expander.transport(transport)?;
    let environment = match &transport {
        Transport::Stdio { env, .. } => child_environment(variables, env),
        Transport::Http { .. } => BTreeMap::new(),
    };
    let redactor = Redactor::new(secrets(&transport).chain(expander.secrets));
    Ok(Resolved { transport, environment, redactor })
}

fn child_environment(
    ours: &BTreeMap<String, String>,
    extra: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let passed_on = ours.iter().filter(|(name, _)| is_passed_on(name));
    passed_on.chain(extra).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_passed_on(name: &str) -> bool {
    PASSED_ON.contains(&name)
        || PASSED_ON_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || PROXIES.contains(&name.to_ascii_lowercase().as_str())
}

/// Every value of `env` and `headers`; of `Bearer x` also the `x` alone.
fn secrets(transport: &Transport) -> impl Iterator<Item = String> {
    let values: Vec<String> = match transport {
        Transport::Stdio { env, .. } => env.values().cloned().collect(),
        Transport::Http { headers, .. } => headers
            .values()
            .flat_map(|value| [value.as_str(), value.rsplit(' ').next().unwrap_or_default()])
            .map(str::to_owned)
            .collect(),
    };
    values.into_iter()
}

struct Expander<'a> {
    variables: &'a BTreeMap<String, String>,
    secrets: Vec<String>,
}

impl Expander<'_> {
    fn transport(&mut self, transport: &Transport) -> Result<Transport, String> {
        Ok(match transport {
            Transport::Stdio { command, args, env, cwd } => Transport::Stdio {
                command: self.text(command)?,
                args: args.iter().map(|text| self.text(text)).collect::<Result<_, _>>()?,
                env: self.table(env)?,
                cwd: cwd.as_deref().map(|text| self.text(text)).transpose()?,
            },
            Transport::Http { url, headers } => {
                Transport::Http { url: self.text(url)?, headers: self.table(headers)? }
            }
        })
    }

    fn table(
        &mut self,
        table: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, String> {
        table.iter().map(|(name, text)| Ok((name.clone(), self.text(text)?))).collect()
    }

    /// `${VAR}`, `${VAR:-default}` and VS Code's `${env:VAR}`; any other text stays as it is.
    fn text(&mut self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            expanded.push_str(before);
            let Some((reference, behind)) = after.split_once('}') else {
                return Err(format!("`${{` without `}}` in {text:?}"));
            };
            expanded.push_str(&self.value(reference)?);
            rest = behind;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn value(&mut self, reference: &str) -> Result<String, String> {
        let reference = reference.strip_prefix("env:").unwrap_or(reference);
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        // As in a shell, `:-` also stands in for a variable that is empty.
        let value = self.variables.get(name).filter(|value| default.is_none() || !value.is_empty());
        match (value, default) {
            (Some(value), _) => {
                if !is_passed_on(name) {
                    self.secrets.push(value.clone());
                }
                Ok(value.clone())
            }
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(format!(
                "the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
            )),
        }
    }
}
