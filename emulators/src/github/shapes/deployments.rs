//! Writes releases and deployments.

use serde_json::{Value, json};

use super::{Shapes, node_id};
use crate::clock::timestamp;
use crate::github::state::{CALLER, Deployment, DeploymentStatus, Release};

impl Shapes<'_> {
    pub(in crate::github) fn release(self, release: &Release) -> Value {
        let address = self.api(&format!("/releases/{}", release.id));
        let created = timestamp(release.created_ms);
        let published = (!release.draft).then(|| created.clone());
        json!({
            "url": address, "html_url": self.html(&format!("/releases/tag/{}", release.tag)),
            "assets_url": format!("{address}/assets"), "upload_url": format!("{address}/assets{{?name,label}}"),
            "tarball_url": self.api(&format!("/tarball/{}", release.tag)),
            "zipball_url": self.api(&format!("/zipball/{}", release.tag)),
            "id": release.id, "node_id": node_id("Release", &release.id.to_string()),
            "tag_name": release.tag, "target_commitish": release.target, "name": release.name,
            "body": release.body, "draft": release.draft, "prerelease": release.prerelease,
            "created_at": created, "published_at": published,
            "author": self.user(CALLER), "assets": [],
        })
    }

    pub(in crate::github) fn deployment(self, own: &Deployment) -> Value {
        let address = self.api(&format!("/deployments/{}", own.id));
        let changed = own.statuses.last().map_or(own.created_ms, |status| status.created_ms);
        json!({
            "url": address, "id": own.id, "node_id": node_id("Deployment", &own.id.to_string()),
            "sha": own.sha, "ref": own.git_ref, "task": own.task, "payload": own.payload,
            "original_environment": own.environment, "environment": own.environment,
            "description": own.description, "creator": self.user(CALLER),
            "created_at": timestamp(own.created_ms), "updated_at": timestamp(changed),
            "statuses_url": format!("{address}/statuses"), "repository_url": self.api(""),
            "transient_environment": own.transient, "production_environment": own.production,
        })
    }

    pub(in crate::github) fn deployment_status(
        self,
        deployment: &Deployment,
        own: &DeploymentStatus,
    ) -> Value {
        let address = self.api(&format!("/deployments/{}", deployment.id));
        let created = timestamp(own.created_ms);
        json!({
            "url": format!("{address}/statuses/{}", own.id), "id": own.id,
            "node_id": node_id("DeploymentStatus", &own.id.to_string()), "state": own.state,
            "creator": self.user(CALLER), "description": own.description,
            "environment": deployment.environment, "target_url": own.log_url, "log_url": own.log_url,
            "environment_url": own.environment_url, "created_at": created, "updated_at": created,
            "deployment_url": address, "repository_url": self.api(""),
        })
    }
}
