//! The workflows that ship inside the binary.

/// File names and texts; a file of the workspace with the same workflow name takes its place.
pub(super) const SHIPPED: &[(&str, &str)] = &[
    ("blog_article.yaml", include_str!("../../workflows/blog_article.yaml")),
    ("ci_failure_handler.yaml", include_str!("../../workflows/ci_failure_handler.yaml")),
    ("code_review.yaml", include_str!("../../workflows/code_review.yaml")),
    ("dependency_update.yaml", include_str!("../../workflows/dependency_update.yaml")),
    ("deploy_application.yaml", include_str!("../../workflows/deploy_application.yaml")),
    ("deploy_canary.yaml", include_str!("../../workflows/deploy_canary.yaml")),
    ("facebook_ads.yaml", include_str!("../../workflows/facebook_ads.yaml")),
    ("feature.yaml", include_str!("../../workflows/feature.yaml")),
    ("fix_deploy_failure.yaml", include_str!("../../workflows/fix_deploy_failure.yaml")),
    ("health_check.yaml", include_str!("../../workflows/health_check.yaml")),
    ("hello.yaml", include_str!("../../workflows/hello.yaml")),
    ("hotfix.yaml", include_str!("../../workflows/hotfix.yaml")),
    ("instagram_post.yaml", include_str!("../../workflows/instagram_post.yaml")),
    ("issue_to_pr.yaml", include_str!("../../workflows/issue_to_pr.yaml")),
    ("issue_triage.yaml", include_str!("../../workflows/issue_triage.yaml")),
    ("pr_review_workflow.yaml", include_str!("../../workflows/pr_review_workflow.yaml")),
    ("project_loop.yaml", include_str!("../../workflows/project_loop.yaml")),
    ("register_agent.yaml", include_str!("../../workflows/register_agent.yaml")),
    ("troubleshoot_failure.yaml", include_str!("../../workflows/troubleshoot_failure.yaml")),
];

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::SHIPPED;

    #[test]
    fn every_file_of_the_folder_ships() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows");
        let files = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let shipped: Vec<_> = SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(shipped, names);
    }
}
