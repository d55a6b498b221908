//! Whether the secrets that a workflow names are configured. Of a secret, nothing but its name is known here.

use windlass_engine::{Kind, Problem, Unchecked, Workflow, expr::Template, near};

/// The secrets that a workflow names and that the configuration does not.
pub(super) fn unknown(workflow: &Workflow, configured: &[String]) -> Vec<Problem> {
    let named = named(workflow).into_iter();
    let unknown = named.filter(|(_, name)| !configured.iter().any(|known| known == name));
    unknown.map(|(pointer, name)| problem(pointer, name, configured)).collect()
}

/// The secrets that a workflow names, where nobody looks at the configuration.
pub(super) fn unchecked(workflow: &Workflow, why: &str) -> Vec<Unchecked> {
    let entry = |(pointer, name): (String, String)| Unchecked {
        pointer,
        what: format!("the secret {name}"),
        why: why.to_owned(),
    };
    named(workflow).into_iter().map(entry).collect()
}

/// Each secret with the JSON Pointer of the text in the document that names it.
fn named(workflow: &Workflow) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for step in &workflow.steps {
        let verify = step.verify.as_ref().map(|verify| ("/verify", &verify.params));
        let undo = step.undo.as_ref().map(|undo| ("/undo", &undo.params));
        let own = match &step.kind {
            Kind::Tool { params, .. } => Some(("", params)),
            _ => None,
        };
        for (place, params) in [own, verify, undo].into_iter().flatten() {
            let begin = format!("{}{place}/params", step.pointer);
            found.extend(secrets(params, &begin));
        }
    }
    // One text may name the same one twice.
    found.dedup();
    found
}

fn secrets(params: &Template, begin: &str) -> Vec<(String, String)> {
    let secrets = params.secrets();
    secrets.map(|(inside, name)| (format!("{begin}{inside}"), name.to_owned())).collect()
}

/// There is no patch: which secret a tool gets is for a person to say.
fn problem(pointer: String, name: String, configured: &[String]) -> Problem {
    let nearest = near(&name, configured.iter().map(String::as_str));
    let known = match configured {
        [] => "none is configured".to_owned(),
        configured => format!("configured are {}", configured.join(", ")),
    };
    let message = format!(
        "no secret is called `{name}`; {known}. Add `[secrets.{name}]` with `env`, `file` or `command` to windlass.toml"
    );
    let suggestion = nearest.first().map(|name| format!("did you mean `{name}`?"));
    let problem = Problem::new("unknown_secret", pointer, message);
    Problem { suggestion, nearest, found: Some(name), ..problem }
}
