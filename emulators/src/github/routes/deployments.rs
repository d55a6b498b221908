//! Releases and deployments.

use axum::http::StatusCode;
use serde_json::Value;

use super::{Handler, Outcome, Reply, created, invalid, not_found, ok, refusal, validation};
use crate::clock;
use crate::github::state::{Deployment, DeploymentStatus, Release};

const STATES: [&str; 7] =
    ["error", "failure", "inactive", "in_progress", "queued", "pending", "success"];

impl Handler<'_> {
    /// The routes of releases and deployments.
    pub(super) fn deployment_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["releases"]) => self.list_releases(),
            ("POST", ["releases"]) => self.create_release(),
            ("GET", ["releases", "latest"]) => self.latest_release(),
            ("GET", ["releases", "tags", tag @ ..]) => self.release_by_tag(&tag.join("/")),
            ("GET", ["deployments"]) => self.list_deployments(),
            ("POST", ["deployments"]) => self.create_deployment(),
            ("GET", ["deployments", id]) => self.get_deployment(id),
            ("GET", ["deployments", id, "statuses"]) => self.deployment_statuses(id),
            ("POST", ["deployments", id, "statuses"]) => self.create_deployment_status(id),
            _ => return None,
        })
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.request.body.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    fn list_releases(&self) -> Outcome {
        let releases = self.repository().releases.iter().rev();
        self.page(releases.map(|release| self.shapes().release(release)).collect())
    }

    fn latest_release(&self) -> Outcome {
        let published = |release: &&Release| !release.draft && !release.prerelease;
        let latest = self.repository().releases.iter().rev().find(published);
        Ok(ok(self.shapes().release(latest.ok_or_else(not_found)?)))
    }

    fn release_by_tag(&self, tag: &str) -> Outcome {
        let named = |release: &&Release| !release.draft && release.tag == tag;
        let found = self.repository().releases.iter().find(named);
        Ok(ok(self.shapes().release(found.ok_or_else(not_found)?)))
    }

    fn create_release(&mut self) -> Outcome {
        let tag = self.required("Release", "tag_name")?;
        let draft = self.flag("draft", false);
        let repository = self.repository();
        if !draft && repository.releases.iter().any(|own| !own.draft && own.tag == tag) {
            return Err(invalid("Release", "tag_name", "already_exists"));
        }
        let target = self.text("target_commitish").unwrap_or(&repository.default_branch).to_owned();
        let full = format!("refs/tags/{tag}");
        if !draft && !repository.refs.contains_key(&full) {
            let sha = repository.resolve(&target).map(str::to_owned);
            let sha = sha.ok_or_else(|| invalid("Release", "target_commitish", "invalid"))?;
            self.change(|repository| _ = repository.refs.insert(full.clone(), sha));
            self.record("ref_created", &full);
        }
        let notes = self.flag("generate_release_notes", false);
        let body = self.text("body").map(str::to_owned);
        let release = Release {
            id: self.state.take_id(),
            tag,
            target,
            name: self.text("name").map(str::to_owned),
            body: if notes {
                Some(format!("{}**Full Changelog**", body.unwrap_or_default()))
            } else {
                body
            },
            draft,
            prerelease: self.flag("prerelease", false),
            created_ms: clock::now_ms(),
        };
        self.change(|repository| repository.releases.push(release.clone()));
        self.record("release_created", &release.tag);
        Ok(created(self.shapes().release(&release)))
    }

    fn deployment(&self, id: &str) -> Result<&Deployment, Reply> {
        let id = id.parse::<u64>().ok();
        let found = self.repository().deployments.iter().find(|own| Some(own.id) == id);
        found.ok_or_else(not_found)
    }

    fn list_deployments(&self) -> Outcome {
        let fits = |key: &str, own: &str| self.query(key).is_none_or(|wanted| wanted == own);
        let wanted = |own: &&Deployment| {
            fits("sha", &own.sha)
                && fits("ref", &own.git_ref)
                && fits("environment", &own.environment)
                && fits("task", &own.task)
        };
        let found = self.repository().deployments.iter().rev().filter(wanted);
        self.page(found.map(|own| self.shapes().deployment(own)).collect())
    }

    fn get_deployment(&self, id: &str) -> Outcome {
        Ok(ok(self.shapes().deployment(self.deployment(id)?)))
    }

    fn create_deployment(&mut self) -> Outcome {
        let git_ref = self.required("Deployment", "ref")?;
        let sha = self.repository().resolve(&git_ref).map(str::to_owned);
        let sha = sha.ok_or_else(|| {
            validation(
                serde_json::json!({ "resource": "Deployment", "field": "ref", "code": "invalid" }),
            )
        })?;
        // What is merged automatically is no deployment yet.
        if self.flag("auto_merge", true) {
            let body = serde_json::json!({ "message": "Auto-merged main into the ref" });
            return Ok(Reply { status: StatusCode::ACCEPTED, ..ok(body) });
        }
        self.refuse_missing_contexts()?;
        let text = |key: &str, default: &str| self.text(key).unwrap_or(default).to_owned();
        let environment = text("environment", "production");
        let deployment = Deployment {
            sha,
            git_ref,
            task: text("task", "deploy"),
            description: self.text("description").map(str::to_owned),
            payload: self.request.body.get("payload").cloned().unwrap_or_else(|| "".into()),
            production: self.flag("production_environment", environment == "production"),
            transient: self.flag("transient_environment", false),
            environment,
            created_ms: clock::now_ms(),
            statuses: Vec::new(),
            id: self.state.take_id(),
        };
        self.change(|repository| repository.deployments.push(deployment.clone()));
        self.record("deployment_created", deployment.id);
        Ok(created(self.shapes().deployment(&deployment)))
    }

    /// Nothing has succeeded on any commit that this file knows of: whoever requires a check is refused.
    fn refuse_missing_contexts(&self) -> Result<(), Reply> {
        let wanted = self.texts("required_contexts");
        let Some(first) = wanted.first() else { return Ok(()) };
        let mut reply =
            refusal(StatusCode::CONFLICT, "Conflict: Commit status checks failed for the ref.");
        reply.body["errors"] = serde_json::json!([{ "contexts": [], "resource": "Deployment", "field": "required_contexts", "code": "invalid", "message": first }]);
        Err(reply)
    }

    fn deployment_statuses(&self, id: &str) -> Outcome {
        let deployment = self.deployment(id)?;
        let statuses = deployment.statuses.iter().rev();
        self.page(statuses.map(|own| self.shapes().deployment_status(deployment, own)).collect())
    }

    fn create_deployment_status(&mut self, id: &str) -> Outcome {
        let number = self.deployment(id)?.id;
        let state = self.required("DeploymentStatus", "state")?;
        if !STATES.contains(&state.as_str()) {
            return Err(invalid("DeploymentStatus", "state", "custom"));
        }
        let text = |key: &str| self.text(key).unwrap_or_default().to_owned();
        let status = DeploymentStatus {
            state,
            description: text("description"),
            log_url: text("log_url"),
            environment_url: text("environment_url"),
            created_ms: clock::now_ms(),
            id: self.state.take_id(),
        };
        self.change(|repository| {
            let found = repository.deployments.iter_mut().find(|own| own.id == number);
            found.expect("looked up before").statuses.push(status.clone());
        });
        self.record("deployment_status_created", status.id);
        Ok(created(self.shapes().deployment_status(self.deployment(id)?, &status)))
    }
}
