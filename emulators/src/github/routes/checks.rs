//! What is said about commits, what branches ask for, and what people may do.

use serde_json::{Value, json};

use super::{Handler, Outcome, created, invalid, not_found, ok, unprocessable};
use crate::clock::timestamp;
use crate::github::shapes::{Shapes, node_id};
use crate::github::state::{Check, Status};

const STATES: [&str; 4] = ["error", "failure", "pending", "success"];

impl Handler<'_> {
    /// The routes of checks, statuses, rules and permissions.
    pub(super) fn check_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["commits", name @ .., "check-runs"]) => self.list_checks(&name.join("/")),
            ("GET", ["commits", name @ .., "status"]) => self.combined_status(&name.join("/")),
            ("GET", ["commits", name @ .., "statuses"]) => self.list_statuses(&name.join("/")),
            ("POST", ["statuses", sha]) => self.create_status(sha),
            ("GET", ["rules", "branches", name @ ..]) => self.rules(&name.join("/")),
            ("GET", ["collaborators", login, "permission"]) => self.permission(login),
            _ => return None,
        })
    }

    fn sha_of(&self, name: &str) -> Result<String, super::Reply> {
        let found = self.repository().resolve(name).map(str::to_owned);
        found.ok_or_else(|| unprocessable(&format!("No commit found for SHA: {name}")))
    }

    fn list_checks(&self, name: &str) -> Outcome {
        let sha = self.sha_of(name)?;
        let shapes = self.shapes();
        let checks = self.repository().actions.checks.iter().filter(|check| check.sha == sha);
        self.wrapped("check_runs", checks.map(|check| shapes.check(check)).collect())
    }

    fn combined_status(&self, name: &str) -> Outcome {
        let sha = self.sha_of(name)?;
        let newest = self.repository().actions.newest(&sha);
        let any = |states: &[&str]| newest.iter().any(|own| states.contains(&own.state.as_str()));
        let state = match () {
            () if any(&["error", "failure"]) => "failure",
            () if newest.is_empty() || any(&["pending"]) => "pending",
            () => "success",
        };
        let shapes = self.shapes();
        let total = newest.len();
        let (page, link) = self.cut(newest.iter().map(|own| shapes.status(own)).collect());
        let mut reply = ok(json!({
            "state": state, "sha": sha, "total_count": total, "statuses": page,
            "repository": shapes.repository(),
            "commit_url": shapes.api(&format!("/commits/{sha}")),
            "url": shapes.api(&format!("/commits/{sha}/status")),
        }));
        reply.headers.extend(link);
        Ok(reply)
    }

    fn list_statuses(&self, name: &str) -> Outcome {
        let sha = self.sha_of(name)?;
        let shapes = self.shapes();
        let statuses = self.repository().actions.statuses.iter().rev().filter(|own| own.sha == sha);
        self.page(statuses.map(|own| shapes.full_status(own)).collect())
    }

    fn create_status(&mut self, sha: &str) -> Outcome {
        if !self.repository().commits.contains_key(sha) {
            return Err(unprocessable(&format!("No commit found for SHA: {sha}")));
        }
        let state = self.required("Status", "state")?;
        if !STATES.contains(&state.as_str()) {
            return Err(invalid("Status", "state", "invalid"));
        }
        let own = |key: &str| self.text(key).map(str::to_owned);
        let status = Status {
            sha: sha.to_owned(),
            context: own("context").unwrap_or_else(|| "default".to_owned()),
            state,
            description: own("description"),
            target_url: own("target_url"),
            ..Status::default()
        };
        let status = self.change(|repository| repository.actions.status(status).clone());
        self.record("status_created", status.id);
        Ok(created(self.shapes().full_status(&status)))
    }

    fn rules(&self, branch: &str) -> Outcome {
        let repository = self.repository();
        let required = repository.actions.required.get(branch).into_iter();
        let rule = |contexts: &Vec<String>| {
            let checks: Vec<_> =
                contexts.iter().map(|context| json!({ "context": context })).collect();
            json!({
                "type": "required_status_checks",
                "parameters": {
                    "required_status_checks": checks, "strict_required_status_checks_policy": false,
                },
                "ruleset_source_type": "Repository", "ruleset_source": repository.full_name(),
                "ruleset_id": 42,
            })
        };
        self.page(required.map(rule).collect())
    }

    fn permission(&self, login: &str) -> Outcome {
        let repository = self.repository();
        let role = repository.actions.roles.get(login).map(String::as_str);
        let role = match role {
            Some(role) => role,
            None if repository.owner == login => "admin",
            None if repository.collaborators.contains(login) => "write",
            None if login.starts_with("nobody") => return Err(not_found()),
            None if repository.private => "none",
            None => "read",
        };
        // The finer roles fall back to the coarser ones.
        let permission = match role {
            "maintain" => "write",
            "triage" => "read",
            other => other,
        };
        let mut user = self.shapes().user(login);
        user["role_name"] = role.into();
        let reads = permission != "none";
        user["permissions"] = json!({
            "admin": role == "admin", "maintain": matches!(role, "admin" | "maintain"),
            "push": matches!(permission, "admin" | "write"), "triage": reads && role != "read", "pull": reads,
        });
        Ok(ok(json!({ "permission": permission, "role_name": role, "user": user })))
    }
}

impl Shapes<'_> {
    fn check(self, check: &Check) -> Value {
        let address = self.api(&format!("/check-runs/{}", check.id));
        let html = self.html(&format!("/runs/{}", check.id));
        let created = timestamp(self.repository.created_ms);
        let done = check.status == "completed";
        json!({
            "id": check.id, "head_sha": check.sha, "node_id": node_id("CheckRun", &check.id.to_string()),
            "external_id": "", "url": address, "html_url": html, "details_url": html,
            "status": check.status, "conclusion": check.conclusion, "started_at": created,
            "completed_at": done.then_some(&created), "name": check.name,
            "output": {
                "title": null, "summary": null, "text": null, "annotations_count": 0,
                "annotations_url": format!("{address}/annotations"),
            },
            "check_suite": { "id": 5 }, "app": null, "pull_requests": [],
        })
    }

    /// A status as the combined one carries it.
    fn status(self, status: &Status) -> Value {
        let created = timestamp(status.at_ms);
        json!({
            "id": status.id, "node_id": node_id("Status", &status.id.to_string()), "state": status.state,
            "description": status.description, "context": status.context, "target_url": status.target_url,
            "avatar_url": format!("{}/avatars/windlass-bot", self.base),
            "url": self.api(&format!("/statuses/{}", status.sha)),
            "created_at": created, "updated_at": created,
        })
    }

    fn full_status(self, status: &Status) -> Value {
        let mut shape = self.status(status);
        shape["creator"] = self.user(crate::github::state::CALLER);
        shape
    }
}
