//! A new revision of a task definition: everything of the old one but what is to be different.

use aws_sdk_ecs::operation::register_task_definition::builders::RegisterTaskDefinitionInputBuilder;
use aws_sdk_ecs::types::{ContainerDefinition, Tag, TaskDefinition};

use super::super::place::invalid;
use crate::contract::text::digest;
use crate::contract::{Code, ToolError};

/// The tag by which a second attempt finds the revision that the first registered.
pub(super) const KEY_TAG: &str = "windlass:key";
const RESERVED: &str = "aws:";
const TAG_BYTES: usize = 20;

/// What the tag says for a key: keys have characters that tags may not have.
pub(super) fn tag_of(key: &str) -> String {
    digest(key)[..2 * TAG_BYTES].to_owned()
}

/// The container whose image is replaced.
pub(super) fn container<'a>(
    definition: &'a TaskDefinition,
    name: Option<&str>,
) -> Result<&'a ContainerDefinition, ToolError> {
    let all = definition.container_definitions();
    let names = || all.iter().filter_map(ContainerDefinition::name).collect::<Vec<_>>().join(", ");
    let family = definition.family().unwrap_or_default();
    if let Some(name) = name {
        return all.iter().find(|own| own.name() == Some(name)).ok_or_else(|| {
            invalid(format!("task definition {family} has no container {name:?}"))
                .hint(format!("its containers are: {}", names()))
        });
    }
    let mut essential = all.iter().filter(|own| own.essential() != Some(false));
    match (essential.next(), essential.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(ToolError::new(
            Code::FailedPrecondition,
            format!("task definition {family} has no essential container"),
        )),
        (Some(_), Some(_)) => {
            Err(invalid(format!("task definition {family} has several essential containers"))
                .hint(format!("give container: one of {}", names())))
        }
    }
}

/// A copy with another image for one container (`None`: the same images), tagged with a key.
pub(super) fn copy(
    definition: &TaskDefinition,
    tags: &[Tag],
    image: Option<(&str, &str)>,
    key_tag: &str,
) -> RegisterTaskDefinitionInputBuilder {
    let containers = definition.container_definitions.clone().map(|all| {
        let replaced = |mut own: ContainerDefinition| {
            if let Some((name, image)) = image
                && own.name() == Some(name)
            {
                own.image = Some(image.to_owned());
            }
            own
        };
        all.into_iter().map(replaced).collect()
    });
    let input = RegisterTaskDefinitionInputBuilder::default()
        .set_family(definition.family.clone())
        .set_task_role_arn(definition.task_role_arn.clone())
        .set_execution_role_arn(definition.execution_role_arn.clone())
        .set_network_mode(definition.network_mode.clone())
        .set_container_definitions(containers)
        .set_volumes(definition.volumes.clone())
        .set_placement_constraints(definition.placement_constraints.clone())
        .set_requires_compatibilities(definition.requires_compatibilities.clone())
        .set_cpu(definition.cpu.clone())
        .set_memory(definition.memory.clone())
        .set_pid_mode(definition.pid_mode.clone())
        .set_ipc_mode(definition.ipc_mode.clone())
        .set_proxy_configuration(definition.proxy_configuration.clone())
        .set_ephemeral_storage(definition.ephemeral_storage.clone())
        .set_runtime_platform(definition.runtime_platform.clone())
        .set_enable_fault_injection(definition.enable_fault_injection)
        .set_tags(Some(with_key(tags, key_tag)));
    // Amazon has retired these, and still refuses a definition that loses them.
    #[allow(deprecated, reason = "a copy has what its original has")]
    input.set_inference_accelerators(definition.inference_accelerators.clone())
}

fn with_key(tags: &[Tag], key_tag: &str) -> Vec<Tag> {
    let own =
        |tag: &&Tag| tag.key().is_some_and(|key| key != KEY_TAG && !key.starts_with(RESERVED));
    let key = Tag::builder().key(KEY_TAG).value(key_tag).build();
    tags.iter().filter(own).cloned().chain([key]).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::{
        Compatibility, EphemeralStorage, IpcMode, NetworkMode, PidMode, ProxyConfiguration,
        RuntimePlatform, TaskDefinitionPlacementConstraint, Volume,
    };

    use super::*;

    fn named(name: &str, image: &str, essential: bool) -> ContainerDefinition {
        ContainerDefinition::builder().name(name).image(image).essential(essential).build()
    }

    fn definition() -> TaskDefinition {
        TaskDefinition::builder()
            .family("web")
            .revision(7)
            .task_definition_arn("arn:aws:ecs:eu:1:task-definition/web:7")
            .task_role_arn("task")
            .execution_role_arn("execution")
            .network_mode(NetworkMode::Awsvpc)
            .container_definitions(named("app", "r/app:1", true))
            .container_definitions(named("proxy", "r/proxy:1", false))
            .volumes(Volume::builder().name("data").build())
            .placement_constraints(
                TaskDefinitionPlacementConstraint::builder().expression("x").build(),
            )
            .requires_compatibilities(Compatibility::Fargate)
            .cpu("256")
            .memory("512")
            .pid_mode(PidMode::Task)
            .ipc_mode(IpcMode::None)
            .proxy_configuration(
                ProxyConfiguration::builder().container_name("proxy").build().unwrap(),
            )
            .ephemeral_storage(EphemeralStorage::builder().size_in_gib(30).build())
            .runtime_platform(RuntimePlatform::builder().build())
            .enable_fault_injection(true)
            .registered_by("somebody")
            .build()
    }

    #[test]
    fn a_copy_keeps_all_that_can_be_written_and_changes_one_image() {
        let old = definition();
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let tags = [tag("team", "shop"), tag(KEY_TAG, "older"), tag("aws:ecs:x", "y")];
        let input = copy(&old, &tags, Some(("app", "r/app:2")), "k").build().unwrap();
        assert_eq!(input.family, old.family);
        assert_eq!(input.task_role_arn, old.task_role_arn);
        assert_eq!(input.execution_role_arn, old.execution_role_arn);
        assert_eq!(input.network_mode, old.network_mode);
        assert_eq!(input.volumes, old.volumes);
        assert_eq!(input.placement_constraints, old.placement_constraints);
        assert_eq!(input.requires_compatibilities, old.requires_compatibilities);
        assert_eq!((&input.cpu, &input.memory), (&old.cpu, &old.memory));
        assert_eq!((&input.pid_mode, &input.ipc_mode), (&old.pid_mode, &old.ipc_mode));
        assert_eq!(input.proxy_configuration, old.proxy_configuration);
        assert_eq!(input.ephemeral_storage, old.ephemeral_storage);
        assert_eq!(input.runtime_platform, old.runtime_platform);
        assert_eq!(input.enable_fault_injection, Some(true));
        let images: Vec<_> =
            input.container_definitions().iter().filter_map(ContainerDefinition::image).collect();
        assert_eq!(images, ["r/app:2", "r/proxy:1"]);
        assert_eq!(input.tags(), [tag("team", "shop"), tag(KEY_TAG, "k")]);
    }

    #[test]
    fn the_container_is_the_named_one_or_the_only_essential_one() {
        let one = definition();
        assert_eq!(container(&one, None).unwrap().name(), Some("app"));
        assert_eq!(container(&one, Some("proxy")).unwrap().name(), Some("proxy"));
        let error = container(&one, Some("web")).unwrap_err();
        assert!(error.hint.unwrap().contains("app, proxy"));
        let two = TaskDefinition::builder()
            .container_definitions(named("a", "i", true))
            .container_definitions(named("b", "i", true))
            .build();
        let error = container(&two, None).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(error.hint.unwrap().contains("a, b"));
    }

    #[test]
    fn a_tag_has_only_what_tags_may_have() {
        let tag = tag_of("exec_1/step#0~0");
        assert!(tag.chars().all(|char| char.is_ascii_hexdigit()) && tag.len() == 40);
        assert_ne!(tag, tag_of("exec_1/step#0~1"));
    }
}
