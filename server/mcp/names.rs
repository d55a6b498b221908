//! The tools' names in both spellings.

use crate::config::ToolNames;

/// A tool of this server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ToolId {
    Run,
    Status,
    List,
    Describe,
    Control,
    Answer,
    Validate,
    Save,
    Manage,
    Plan,
}

impl ToolId {
    /// Every tool, in the order in which they are listed.
    pub(crate) const ALL: [ToolId; 8] = [
        ToolId::List,
        ToolId::Describe,
        ToolId::Run,
        ToolId::Status,
        ToolId::Control,
        ToolId::Answer,
        ToolId::Validate,
        ToolId::Plan,
    ];

    /// Those for authors, which not every door has.
    pub(crate) const AUTHORING: [ToolId; 2] = [ToolId::Save, ToolId::Manage];

    /// All of them.
    pub(crate) fn every() -> impl Iterator<Item = ToolId> {
        ToolId::ALL.into_iter().chain(ToolId::AUTHORING)
    }

    /// The tool that is called so, in either spelling.
    pub(crate) fn named(name: &str) -> Option<ToolId> {
        let name = name.replace('.', "_");
        ToolId::every().find(|tool| tool.listed(ToolNames::Underscore) == name)
    }

    /// Its name, as `tools/list` shows it.
    pub(crate) fn listed(self, names: ToolNames) -> &'static str {
        match (self, names) {
            (ToolId::Run, ToolNames::Dotted) => "workflow.run",
            (ToolId::Run, ToolNames::Underscore) => "workflow_run",
            (ToolId::Status, ToolNames::Dotted) => "workflow.status",
            (ToolId::Status, ToolNames::Underscore) => "workflow_status",
            (ToolId::List, ToolNames::Dotted) => "workflow.list",
            (ToolId::List, ToolNames::Underscore) => "workflow_list",
            (ToolId::Describe, ToolNames::Dotted) => "workflow.describe",
            (ToolId::Describe, ToolNames::Underscore) => "workflow_describe",
            (ToolId::Control, ToolNames::Dotted) => "workflow.control",
            (ToolId::Control, ToolNames::Underscore) => "workflow_control",
            (ToolId::Answer, ToolNames::Dotted) => "workflow.answer",
            (ToolId::Answer, ToolNames::Underscore) => "workflow_answer",
            (ToolId::Validate, ToolNames::Dotted) => "workflow.validate",
            (ToolId::Validate, ToolNames::Underscore) => "workflow_validate",
            (ToolId::Save, ToolNames::Dotted) => "workflow.save",
            (ToolId::Save, ToolNames::Underscore) => "workflow_save",
            (ToolId::Manage, ToolNames::Dotted) => "workflow.manage",
            (ToolId::Manage, ToolNames::Underscore) => "workflow_manage",
            (ToolId::Plan, ToolNames::Dotted) => "workflow.plan",
            (ToolId::Plan, ToolNames::Underscore) => "workflow_plan",
        }
    }
}

/// Text from below the door, with its mentions of our tools in the listed spelling.
pub(crate) fn respell(names: ToolNames, text: &str) -> String {
    match names {
        ToolNames::Dotted => text.to_owned(),
        ToolNames::Underscore => ToolId::every().fold(text.to_owned(), |text, tool| {
            text.replace(tool.listed(ToolNames::Dotted), tool.listed(ToolNames::Underscore))
        }),
    }
}

/// The known name that was most likely meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    known
        .into_iter()
        .filter_map(|candidate| Some((distance(&name, candidate)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How far apart two names are; `None` when they have nothing to do with each other.
fn distance(name: &str, candidate: &str) -> Option<usize> {
    let edits = strsim::damerau_levenshtein(name, candidate);
    let contained = 1 < name.len() && (candidate.contains(name) || name.contains(candidate));
    (edits <= 1 + candidate.len() / 4 || contained).then_some(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_tool() {
        for tool in ToolId::every() {
            for names in [ToolNames::Dotted, ToolNames::Underscore] {
                assert_eq!(ToolId::named(tool.listed(names)), Some(tool));
            }
        }
        assert_eq!(ToolId::named("workflow.runs"), None);
        assert_eq!(ToolId::named("workflow"), None);
    }

    #[test]
    fn names_are_inside_the_alphabet_of_every_client() {
        for tool in ToolId::every() {
            let name = tool.listed(ToolNames::Underscore);
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert!(!name.contains("__") && name.len() <= 40, "{name}");
        }
    }

    #[test]
    fn text_mentions_tools_in_the_listed_spelling() {
        let text = "settle it with workflow.control, then workflow.status";
        assert_eq!(respell(ToolNames::Dotted, text), text);
        assert_eq!(
            respell(ToolNames::Underscore, text),
            "settle it with workflow_control, then workflow_status"
        );
    }

    #[test]
    fn the_nearest_name_is_what_was_meant() {
        let known = ["workflow", "input", "wait_seconds", "execution_id"];
        for (given, meant) in [
            ("worfklow", Some("workflow")),
            ("inputs", Some("input")),
            ("wait", Some("wait_seconds")),
            ("id", Some("execution_id")),
            ("Workflow", Some("workflow")),
            ("colour", None),
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
    }
}
