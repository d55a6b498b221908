//! A repair in words, for those who do not read patches.

use serde_json::Value;
use windlass_engine::{PatchOperation, Problem};

/// How long a value may be that is written out.
const WRITTEN: usize = 200;

/// What would mend a problem, where one repair is obvious: `rename key stpes to steps`.
#[must_use]
pub fn fix(problem: &Problem) -> Option<String> {
    let operations: Vec<String> = problem.patch.iter().map(said).collect();
    (!operations.is_empty()).then(|| operations.join(", then "))
}

fn said(operation: &PatchOperation) -> String {
    match operation {
        PatchOperation::Add { path, value } => match last(path) {
            key if is_index(&key) || key == "-" => {
                format!("put {} into {}", written(value), place(above(path)))
            }
            key => format!("add {key}: {}{}", written(value), within(above(path))),
        },
        PatchOperation::Remove { path } => match last(path) {
            key if is_index(&key) => format!("remove {}", place(path)),
            key => format!("remove key {key}{}", within(above(path))),
        },
        PatchOperation::Replace { path, value } => {
            format!("write {} at {}", written(value), place(path))
        }
        PatchOperation::Move { from, path } if above(from) == above(path) => {
            format!("rename key {} to {}{}", last(from), last(path), within(above(from)))
        }
        PatchOperation::Move { from, path } => {
            format!("move {} to {}", place(from), place(path))
        }
    }
}

fn written(value: &Value) -> String {
    let text = value.to_string();
    match text.len() <= WRITTEN {
        true => text,
        false => format!("{}…", &text[..text.floor_char_boundary(WRITTEN)]),
    }
}

fn within(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!(" in {pointer}") }
}

fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "the document" } else { pointer }
}

/// The pointer of what holds it.
fn above(pointer: &str) -> &str {
    pointer.rsplit_once('/').map_or("", |(above, _)| above)
}

fn last(pointer: &str) -> String {
    let last = pointer.rsplit('/').next().unwrap_or_default();
    last.replace("~1", "/").replace("~0", "~")
}

fn is_index(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(patch: Vec<PatchOperation>, expected: Option<&str>) {
        let problem = Problem { patch, ..Problem::new("code", "", "message") };
        assert_eq!(fix(&problem).as_deref(), expected);
    }

    #[test]
    fn a_patch_is_one_sentence() {
        let rename =
            |from: &str, path: &str| PatchOperation::Move { from: from.into(), path: path.into() };
        check(vec![], None);
        check(vec![rename("/stpes", "/steps")], Some("rename key stpes to steps"));
        check(
            vec![rename("/steps/0/parms", "/steps/0/params")],
            Some("rename key parms to params in /steps/0"),
        );
        check(vec![rename("/a/b", "/c/b")], Some("move /a/b to /c/b"));
        let replace = PatchOperation::Replace { path: "/steps/0/tool".into(), value: json!("a.b") };
        check(vec![replace], Some("write \"a.b\" at /steps/0/tool"));
        let add = PatchOperation::Add { path: "/steps/0/params/x~1y".into(), value: json!(1) };
        let remove = PatchOperation::Remove { path: "/steps/1".into() };
        check(vec![add, remove], Some("add x/y: 1 in /steps/0/params, then remove /steps/1"));
        let put = PatchOperation::Add { path: "/steps/-".into(), value: json!({}) };
        check(vec![put], Some("put {} into /steps"));
    }
}
