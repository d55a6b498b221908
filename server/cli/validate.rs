//! `windlass validate`: every problem of a workflow file, in its place.

use std::{fs, io::Read, path::Path};

use serde::Serialize;
use windlass_engine::{Problem, Unchecked};

use super::{
    arguments::Validate,
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, bold, dim, green, red},
};
use crate::{
    app::{self, Validation},
    host::Host,
};

/// How long a list of what is allowed may be, in bytes; a longer one helps nobody who has a suggestion.
const WANTED: usize = 160;

/// A file and what is wrong with it.
#[derive(Serialize)]
struct Checked {
    file: String,
    valid: bool,
    problems: Vec<Problem>,
    unchecked: Vec<Unchecked>,
    #[serde(skip)]
    text: String,
}

pub(super) async fn run(session: &Session, arguments: &Validate) -> Result<Exit, Failure> {
    let texts = arguments.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let host = match arguments.offline {
        true => Err("left out, as --offline asks".to_owned()),
        // Without a database a document can be checked all the same, if not against its tools.
        false => {
            Host::look(&session.config()?).await.map_err(|error| format!("left out: {error:#}"))
        }
    };
    let mut all = Vec::new();
    for (file, text) in texts {
        let validation = match &host {
            Ok(host) => host.app.check(&text, &file).await,
            Err(why) => app::validate(&text, why),
        };
        let Validation { problems, unchecked, .. } = validation;
        all.push(Checked { file, valid: problems.is_empty(), problems, unchecked, text });
    }
    if let Ok(host) = host {
        host.stop().await;
    }
    show(session, &all);
    Ok(if all.iter().all(|checked| checked.valid) { Exit::Done } else { Exit::Failed })
}

/// A file's name and text; `-` is standard input.
pub(super) fn read(file: &Path) -> Result<(String, String), Failure> {
    let mut text = String::new();
    let (name, read) = match file.to_str() {
        Some("-") => ("<stdin>".to_owned(), std::io::stdin().read_to_string(&mut text).map(drop)),
        _ => (file.display().to_string(), fs::read_to_string(file).map(|read| text = read)),
    };
    match read {
        Ok(()) => Ok((name, text)),
        Err(error) => {
            Err(Failure::not_found("unknown_file", format!("{name} cannot be read: {error}")))
        }
    }
}

fn show(session: &Session, all: &[Checked]) {
    if session.json() {
        return terminal::say_json(&serde_json::json!({ "files": all }));
    }
    for Checked { file, problems, unchecked, text, .. } in all {
        problems.iter().for_each(|problem| terminal::say(&framed(file, text, problem)));
        terminal::say(&match problems.len() {
            0 => format!("{} {file}", green("✓")),
            1 => format!("{} {file}: 1 problem", red("✗")),
            count => format!("{} {file}: {count} problems", red("✗")),
        });
        unchecked.iter().for_each(|entry| terminal::say(&format!("  {}", not_checked(entry))));
    }
}

/// Something that nobody can say before it runs, in one line.
pub(super) fn not_checked(Unchecked { pointer, what, why }: &Unchecked) -> String {
    let place = if pointer.is_empty() { String::new() } else { format!(" {}", dim(pointer)) };
    format!("{} {what}: {why}{place}", dim("not checked:"))
}

/// A problem with the line it is in and a mark under the place.
pub(super) fn framed(file: &str, text: &str, problem: &Problem) -> String {
    let Problem { code, line, column, message, suggestion, pointer, .. } = problem;
    let mut shown = vec![format!("{}: {message}", red(&format!("error[{code}]")))];
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    match text.lines().nth(line.wrapping_sub(1)) {
        Some(source) => {
            let before = source.chars().take(column.saturating_sub(1));
            // Tabs stay tabs, so that the mark stands under the place.
            let indent: String =
                before.map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
            shown.push(format!("{margin}{} {file}:{line}:{column}", dim("-->")));
            shown.push(format!("{number} {} {source}", dim("|")));
            shown.push(format!("{margin} {} {indent}{}", dim("|"), red("^")));
        }
        None => {
            shown.push(format!("{margin}{} {file} {pointer}", dim("-->")).trim_end().to_owned())
        }
    }
    shown.extend(wanted(problem).map(|wanted| format!("{margin} {} {wanted}", bold("="))));
    if let Some(suggestion) = suggestion {
        shown.push(format!("{margin} {} {suggestion}", bold("= help:")));
    } else if !problem.nearest.is_empty() {
        let nearest = problem.nearest.join(", ");
        shown.push(format!("{margin} {} {nearest}", bold("= nearest:")));
    }
    if let Some(fix) = app::fix(problem) {
        shown.push(format!("{margin} {} {fix}", bold("= fix:")));
    }
    shown.join("\n")
}

/// What belongs there and what is there instead, unless the message says so.
fn wanted(problem: &Problem) -> Option<String> {
    let Problem { expected, found, message, .. } = problem;
    let said = |text: &Option<String>, what: &str| {
        let text = text.as_ref().filter(|text| text.len() <= WANTED)?;
        let text = Some(text).filter(|text| !message.contains(text.as_str()))?;
        Some(format!("{what} {text}"))
    };
    let words: Vec<String> =
        [said(expected, "expected"), said(found, "found")].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use windlass_engine::PatchOperation;

    use super::*;

    fn problem(line: usize, column: usize) -> Problem {
        let suggestion = Some("did you mean steps?".into());
        let problem = Problem::new("unknown_key", "/stpes", "unknown key \"stpes\"");
        Problem { line, column, suggestion, ..problem }
    }

    #[test]
    fn a_problem_is_shown_in_its_line_with_a_mark_under_the_place() {
        let text = "name: hello\n  \tstpes:\n";
        let expected = "\
error[unknown_key]: unknown key \"stpes\"
 --> hello.yaml:2:4
2 |   \tstpes:
  |   \t^
  = help: did you mean steps?";
        assert_eq!(framed("hello.yaml", text, &problem(2, 4)), expected);
    }

    #[test]
    fn a_problem_says_what_is_expected_and_how_it_is_mended() {
        let patch = PatchOperation::Move { from: "/stpes".into(), path: "/steps".into() };
        let problem = Problem {
            expected: Some("a list".into()),
            found: Some("a text".into()),
            nearest: vec!["steps".into()],
            suggestion: None,
            patch: vec![patch],
            ..problem(0, 0)
        };
        let shown = framed("hello.yaml", "", &problem);
        let lines: Vec<&str> = shown.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "  = expected a list, found a text",
                "  = nearest: steps",
                "  = fix: rename key stpes to steps"
            ]
        );
    }

    #[test]
    fn a_problem_without_a_place_in_the_text_names_the_pointer() {
        let shown = framed("hello.yaml", "", &problem(0, 0));
        assert_eq!(shown.lines().nth(1), Some(" --> hello.yaml /stpes"));
    }
}
