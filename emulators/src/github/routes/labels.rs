//! Labels and milestones of the repository, and labels on issues.

use axum::http::StatusCode;

use super::{Handler, Outcome, created, invalid, not_found, ok, refusal};
use crate::github::state::Label;

impl Handler<'_> {
    /// The routes of labels and milestones.
    pub(super) fn label_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["labels"]) => self.list_labels(),
            ("POST", ["labels"]) => self.create_label(),
            ("GET", ["labels", name]) => self.get_label(name),
            ("GET", ["milestones"]) => self.list_milestones(),
            ("GET", ["issues", number, "labels"]) => self.list_issue_labels(number),
            ("POST", ["issues", number, "labels"]) => self.add_labels(number),
            ("DELETE", ["issues", number, "labels", name]) => self.remove_label(number, name),
            _ => return None,
        })
    }

    /// The name of a label as it is known: labels have no case.
    fn known_label(&self, name: &str) -> Option<String> {
        self.repository().labels.keys().find(|own| own.eq_ignore_ascii_case(name)).cloned()
    }

    fn list_labels(&self) -> Outcome {
        self.page(self.repository().labels.keys().map(|name| self.shapes().label(name)).collect())
    }

    fn create_label(&mut self) -> Outcome {
        let name = self.required("Label", "name")?;
        if self.known_label(&name).is_some() {
            return Err(invalid("Label", "name", "already_exists"));
        }
        let color = self.text("color").unwrap_or("ededed").to_owned();
        if color.len() != 6 || !color.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid("Label", "color", "invalid"));
        }
        let id = self.state.take_id();
        self.change(|repository| {
            _ = repository.labels.insert(name.clone(), Label { id, color });
        });
        self.record("label_created", &name);
        Ok(created(self.shapes().label(&name)))
    }

    fn get_label(&self, name: &str) -> Outcome {
        let name = self.known_label(name).ok_or_else(not_found)?;
        Ok(ok(self.shapes().label(&name)))
    }

    fn list_milestones(&self) -> Outcome {
        let numbers = self.repository().milestones.keys();
        self.page(numbers.map(|number| self.shapes().milestone(Some(*number))).collect())
    }

    fn list_issue_labels(&self, number: &str) -> Outcome {
        let issue = self.issue(number)?;
        self.page(issue.labels.iter().map(|name| self.shapes().label(name)).collect())
    }

    fn add_labels(&mut self, number: &str) -> Outcome {
        let number = self.issue(number)?.number;
        let labels = self.texts("labels");
        self.know_labels(&labels);
        for label in labels {
            let label = self.known_label(&label).unwrap_or(label);
            if !self.repository().issues[&number].labels.contains(&label) {
                self.change_issue(number, |issue| issue.labels.push(label.clone()));
                self.record("label_added", format!("{number} {label}"));
            }
        }
        Ok(ok(self.shapes().labels(&self.repository().issues[&number])))
    }

    fn remove_label(&mut self, number: &str, name: &str) -> Outcome {
        let issue = self.issue(number)?;
        let number = issue.number;
        let label = issue.labels.iter().find(|own| own.eq_ignore_ascii_case(name)).cloned();
        let label = label.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "Label does not exist"))?;
        self.change_issue(number, |issue| issue.labels.retain(|own| *own != label));
        self.record("label_removed", format!("{number} {label}"));
        Ok(ok(self.shapes().labels(&self.repository().issues[&number])))
    }

    /// A label that is used comes into being.
    pub(super) fn know_labels(&mut self, labels: &[String]) {
        for name in labels {
            if self.known_label(name).is_none() {
                let id = self.state.take_id();
                let new = Label { id, color: "ededed".to_owned() };
                self.change(|repository| _ = repository.labels.insert(name.clone(), new));
            }
        }
    }
}
