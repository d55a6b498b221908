//! Locks on environments: lock, unlock and getLock, and the guard that deployments pass.

use serde::Deserialize;
use serde_json::{Value, json};

use super::place::{Place, application, arguments, invalid};
use super::record::time;
use super::{Deploy, hosted, now, refused};
use crate::contract::lock::{Lock, Taken, free, held, take};
use crate::contract::schema::{changing_arguments, changing_result, planned, text};
use crate::contract::{Answer, Call, Code, RetryClass, Service, Tool, ToolError, ToolSpec};

/// The lock on everything.
const EVERYTHING: &str = "deploy/*";
const NEEDS: &[Service] = &[Service::Lock];

#[derive(Deserialize)]
struct Arguments {
    app: Option<String>,
    environment: Option<String>,
    #[serde(default)]
    global: bool,
    owner: Option<String>,
    reason: Option<String>,
    ttl_minutes: Option<i64>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    dry_run: bool,
}

pub(super) fn tools() -> Vec<Tool<Deploy>> {
    vec![
        Tool {
            spec: lock_spec(),
            run: |deploy, call| Box::pin(async move { lock(&deploy, &call).await }),
        },
        Tool {
            spec: unlock_spec(),
            run: |deploy, call| Box::pin(async move { unlock(&deploy, &call).await }),
        },
        Tool {
            spec: get_lock_spec(),
            run: |deploy, call| Box::pin(async move { get_lock(&deploy, &call).await }),
        },
    ]
}

fn what(own: Value) -> Value {
    let mut all = application();
    all.insert(
        "global".to_owned(),
        json!({ "type": "boolean", "default": false, "description": "The lock on every environment of every application, instead of one" }),
    );
    arguments(all, own, &[])
}

fn owner() -> Value {
    text("Who holds it; the execution that calls when left out. Persons give their name")
}

/// The schema of a lock as it is shown.
pub(super) fn schema() -> Value {
    json!({
        "type": ["object", "null"],
        "properties": {
            "name": { "type": "string" }, "owner": { "type": "string" }, "reason": { "type": ["string", "null"] },
            "since": { "type": "string" }, "expires_at": { "type": ["string", "null"] },
        },
        "required": ["name", "owner", "reason", "since", "expires_at"],
    })
}

fn lock_spec() -> ToolSpec {
    let own = json!({
        "owner": owner(),
        "reason": text("Why, for those who are kept out"),
        "ttl_minutes": { "type": "integer", "minimum": 1, "description": "It frees itself after so many minutes; never when left out" },
    });
    ToolSpec {
        name: "lock",
        title: "Lock an environment",
        description: "Keeps everybody else from deploying to an environment, or to all of them, until it is unlocked.",
        input: changing_arguments(what(own)),
        output: changed_output(),
        open_world: false,
        retry_class: RetryClass::Idempotent,
        aliases: &[("ttl_minutes", &["ttl"])],
        needs: NEEDS,
        ..ToolSpec::default()
    }
}

fn unlock_spec() -> ToolSpec {
    let own = json!({
        "owner": owner(),
        "force": { "type": "boolean", "default": false, "description": "Free it whoever holds it" },
    });
    ToolSpec {
        name: "unlock",
        title: "Unlock an environment",
        description: "Frees a lock that the caller holds; with force, anybody's.",
        input: changing_arguments(what(own)),
        output: changed_output(),
        open_world: false,
        retry_class: RetryClass::Idempotent,
        needs: NEEDS,
        ..ToolSpec::default()
    }
}

fn get_lock_spec() -> ToolSpec {
    ToolSpec {
        name: "getLock",
        title: "Get lock",
        description: "Says who keeps others from deploying to an environment, and why.",
        input: what(json!({})),
        output: json!({
            "type": "object",
            "properties": { "locked": { "type": "boolean" }, "lock": schema() },
            "required": ["locked", "lock"],
        }),
        open_world: false,
        needs: NEEDS,
        ..ToolSpec::default()
    }
}

fn changed_output() -> Value {
    let properties = json!({ "lock": schema(), "changed": { "type": "boolean" } });
    changing_result(properties, &["lock", "changed"])
}

async fn lock(deploy: &Deploy, call: &Call) -> Answer {
    hosted(deploy, "a lock")?;
    let arguments: Arguments = call.parse()?;
    let name = name(deploy, &arguments)?;
    let owner = owner_of(&arguments, call)?;
    let since = now();
    let expires_at =
        arguments.ttl_minutes.map(|minutes| since.saturating_add(minutes.saturating_mul(60_000)));
    if arguments.dry_run {
        let held = held(&*deploy.host, &name, since).await?;
        return Ok(planned(
            vec![format!("lock {name} for {owner}")],
            json!({ "lock": held.as_ref().map(shown) }),
        ));
    }
    let wanted = Lock { name, owner, reason: arguments.reason, since, expires_at };
    match take(&*deploy.host, wanted, since).await? {
        Taken::Now(lock) => Ok(answer(Some(&lock), true)),
        Taken::Already(lock) => Ok(answer(Some(&lock), false)),
        Taken::Held(lock) => Err(locked(&lock)),
    }
}

async fn unlock(deploy: &Deploy, call: &Call) -> Answer {
    hosted(deploy, "a lock")?;
    let arguments: Arguments = call.parse()?;
    let name = name(deploy, &arguments)?;
    let owner = if arguments.force { None } else { Some(owner_of(&arguments, call)?) };
    let before = held(&*deploy.host, &name, now()).await?;
    if let (Some(lock), Some(owner)) = (&before, &owner)
        && lock.owner != *owner
    {
        return Err(locked(lock).hint("only its owner frees it, or whoever says force = true"));
    }
    if arguments.dry_run {
        return Ok(planned(
            vec![format!("unlock {name}")],
            json!({ "lock": before.as_ref().map(shown) }),
        ));
    }
    let freed = free(&*deploy.host, &name, owner.as_deref()).await?;
    Ok(answer(freed.as_ref(), freed.is_some()))
}

async fn get_lock(deploy: &Deploy, call: &Call) -> Answer {
    hosted(deploy, "a lock")?;
    let arguments: Arguments = call.parse()?;
    let found = match &arguments {
        Arguments { app: None, .. } => held(&*deploy.host, EVERYTHING, now()).await?,
        _ => {
            let name = name(deploy, &arguments)?;
            holder(deploy, &[&name, EVERYTHING]).await?
        }
    };
    Ok(json!({ "locked": found.is_some(), "lock": found.as_ref().map(shown) }))
}

/// The lock that stands before a place, if one does.
pub(super) async fn before(deploy: &Deploy, place: &Place) -> Result<Option<Lock>, ToolError> {
    holder(deploy, &[&of(place), EVERYTHING]).await
}

/// Refuses to go on where somebody else holds a lock.
pub(super) async fn guard(
    deploy: &Deploy,
    place: &Place,
    call: &Call,
    by: Option<&str>,
) -> Result<(), ToolError> {
    for name in [of(place).as_str(), EVERYTHING] {
        let Some(lock) = held(&*deploy.host, name, now()).await? else { continue };
        let own = [call.execution_id(), by].into_iter().flatten().any(|own| own == lock.owner);
        if !own {
            return Err(locked(&lock));
        }
    }
    Ok(())
}

async fn holder(deploy: &Deploy, names: &[&str]) -> Result<Option<Lock>, ToolError> {
    for name in names {
        if let Some(lock) = held(&*deploy.host, name, now()).await? {
            return Ok(Some(lock));
        }
    }
    Ok(None)
}

fn of(place: &Place) -> String {
    format!("deploy/{}", place.name)
}

fn name(deploy: &Deploy, arguments: &Arguments) -> Result<String, ToolError> {
    match (&arguments.app, arguments.global) {
        (None, true) => Ok(EVERYTHING.to_owned()),
        (Some(app), false) => {
            let address = super::place::Address::of(app, arguments.environment.as_deref());
            Ok(of(&deploy.place(&address)?))
        }
        (Some(_), true) => Err(invalid("app and global are both given".to_owned())
            .hint("give app and environment, or global = true")),
        (None, false) => Err(invalid("it is not said what to lock".to_owned())
            .hint("give app and environment, or global = true")),
    }
}

fn owner_of(arguments: &Arguments, call: &Call) -> Result<String, ToolError> {
    let owner = arguments.owner.as_deref().or(call.execution_id());
    owner.map(str::to_owned).ok_or_else(|| {
        invalid("it is not said who holds the lock".to_owned())
            .hint("give owner: a person's name, or the id of an execution")
    })
}

fn locked(lock: &Lock) -> ToolError {
    let reason = lock.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let what = if lock.name == EVERYTHING { "every environment" } else { &lock.name };
    let message = format!("{what} is locked by {} since {}{reason}", lock.owner, time(lock.since));
    let until = match lock.expires_at {
        Some(end) => format!("it frees itself at {}; ", time(end)),
        None => String::new(),
    };
    refused(Code::Guardrail, "locked", message)
        .hint(format!("{until}ask {} to unlock it, or unlock it with force = true", lock.owner))
}

/// A lock as tools show it.
pub(super) fn shown(lock: &Lock) -> Value {
    json!({
        "name": lock.name, "owner": lock.owner, "reason": lock.reason, "since": time(lock.since),
        "expires_at": lock.expires_at.map(time),
    })
}

fn answer(lock: Option<&Lock>, changed: bool) -> Value {
    json!({ "lock": lock.map(shown), "changed": changed, "created": changed, "warnings": [] })
}
