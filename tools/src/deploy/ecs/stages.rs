//! How traffic moves to a new version: what the configuration says, in ECS's words.

use aws_sdk_ecs::types::{
    CanaryConfiguration, DeploymentConfiguration, DeploymentLifecycleHook,
    DeploymentLifecycleHookAction, DeploymentLifecycleHookStage, DeploymentLifecycleHookTargetType,
    DeploymentLifecycleHookTimeoutConfiguration, DeploymentStrategy, LinearConfiguration,
};

use super::super::config::Strategy;

/// The service's own configuration, with what the strategy says instead.
pub(super) fn configuration(
    own: Option<&DeploymentConfiguration>,
    strategy: &Strategy,
) -> DeploymentConfiguration {
    let mut all = own.cloned().unwrap_or_else(|| DeploymentConfiguration::builder().build());
    let bake = |minutes: i32| Some(minutes);
    if let Some(canary) = &strategy.canary {
        all.strategy = Some(DeploymentStrategy::Canary);
        let parts = CanaryConfiguration::builder().canary_percent(canary.percent);
        all.canary_configuration =
            Some(parts.canary_bake_time_in_minutes(canary.bake_minutes).build());
        all.linear_configuration = None;
    } else if let Some(linear) = &strategy.linear {
        all.strategy = Some(DeploymentStrategy::Linear);
        let parts = LinearConfiguration::builder().step_percent(linear.percent);
        all.linear_configuration =
            Some(parts.step_bake_time_in_minutes(linear.bake_minutes).build());
        all.canary_configuration = None;
    } else if let Some(blue_green) = &strategy.blue_green {
        all.strategy = Some(DeploymentStrategy::BlueGreen);
        all.bake_time_in_minutes = bake(blue_green.bake_minutes);
        (all.canary_configuration, all.linear_configuration) = (None, None);
    }
    if !strategy.pause_at.is_empty() {
        let is_pause = |hook: &DeploymentLifecycleHook| {
            hook.target_type() == Some(&DeploymentLifecycleHookTargetType::Pause)
        };
        let others = all.lifecycle_hooks().iter().filter(|hook| !is_pause(hook)).cloned();
        all.lifecycle_hooks = Some(others.chain([pause(strategy)]).collect());
    }
    all
}

fn pause(strategy: &Strategy) -> DeploymentLifecycleHook {
    let stages =
        strategy.pause_at.iter().map(|stage| DeploymentLifecycleHookStage::from(stage.as_str()));
    let timeout = strategy.pause_minutes.map(|minutes| {
        DeploymentLifecycleHookTimeoutConfiguration::builder()
            .timeout_in_minutes(minutes)
            .action(DeploymentLifecycleHookAction::Rollback)
            .build()
    });
    DeploymentLifecycleHook::builder()
        .target_type(DeploymentLifecycleHookTargetType::Pause)
        .set_lifecycle_stages(Some(stages.collect()))
        .set_timeout_configuration(timeout)
        .build()
}

#[cfg(test)]
mod tests {
    use super::super::super::config::Canary;
    use super::*;

    #[test]
    fn a_strategy_changes_what_it_names_and_keeps_the_rest() {
        let own = DeploymentConfiguration::builder().maximum_percent(150).build();
        let strategy = Strategy {
            canary: Some(Canary { percent: 10.0, bake_minutes: 5 }),
            pause_at: vec!["POST_TEST_TRAFFIC_SHIFT".to_owned()],
            pause_minutes: Some(60),
            ..Strategy::default()
        };
        let all = configuration(Some(&own), &strategy);
        assert_eq!(all.maximum_percent(), Some(150));
        assert_eq!(all.strategy(), Some(&DeploymentStrategy::Canary));
        assert_eq!(all.canary_configuration().unwrap().canary_percent(), Some(10.0));
        let [hook] = all.lifecycle_hooks() else { panic!("{all:?}") };
        assert_eq!(hook.lifecycle_stages(), [DeploymentLifecycleHookStage::PostTestTrafficShift]);
        assert_eq!(configuration(Some(&all), &strategy), all, "a pause is not added twice");
    }
}
