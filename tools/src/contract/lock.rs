//! Locks that outlive a process: memos that one holder swaps in and the same, or somebody with force, swaps out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Host, ToolError};

const SCOPE: &str = "lock";
/// How often a lock is tried that others take and free meanwhile.
const TRIES: u32 = 5;

/// Who holds what, why and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// What is held, such as `deploy/myapp/production`.
    pub name: String,
    /// Who holds it: a person's name, or an execution's id.
    pub owner: String,
    /// Why.
    pub reason: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since: i64,
    /// Until when at most, in milliseconds since 1970; `None`: until it is freed.
    pub expires_at: Option<i64>,
}

/// What became of an attempt to take a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It was free, or had expired.
    Now(Lock),
    /// The same owner has it already.
    Already(Lock),
    /// Somebody else has it.
    Held(Lock),
}

/// Takes a lock, unless somebody else holds it. `now` is in milliseconds since 1970.
///
/// # Errors
/// When the host cannot be asked.
pub async fn take(host: &dyn Host, wanted: Lock, now: i64) -> Result<Taken, ToolError> {
    let after = serde_json::to_value(&wanted).unwrap_or_default();
    for _ in 0..TRIES {
        let before = host.recall(SCOPE, &wanted.name).await?;
        if let Some(held) = before.as_ref().and_then(|value| live(value, now)) {
            let own = held.owner == wanted.owner;
            return Ok(if own { Taken::Already(held) } else { Taken::Held(held) });
        }
        if host.swap(SCOPE, &wanted.name, before.as_ref(), Some(&after)).await? {
            return Ok(Taken::Now(wanted));
        }
    }
    Err(ToolError::new(
        super::Code::Unavailable,
        format!("the lock {} changes hands all the time", wanted.name),
    ))
}

/// Frees a lock that `owner` holds, or whoever holds it (`None`). Answers what was held and is not any more.
///
/// # Errors
/// When the host cannot be asked.
pub async fn free(
    host: &dyn Host,
    name: &str,
    owner: Option<&str>,
) -> Result<Option<Lock>, ToolError> {
    let Some(before) = host.recall(SCOPE, name).await? else { return Ok(None) };
    let held: Option<Lock> = serde_json::from_value(before.clone()).ok();
    let Some(held) = held.filter(|held| owner.is_none_or(|owner| held.owner == owner)) else {
        return Ok(None);
    };
    Ok(host.swap(SCOPE, name, Some(&before), None).await?.then_some(held))
}

/// Who holds a lock now.
///
/// # Errors
/// When the host cannot be asked.
pub async fn held(host: &dyn Host, name: &str, now: i64) -> Result<Option<Lock>, ToolError> {
    Ok(host.recall(SCOPE, name).await?.and_then(|value| live(&value, now)))
}

fn live(value: &Value, now: i64) -> Option<Lock> {
    let lock: Lock = serde_json::from_value(value.clone()).ok()?;
    lock.expires_at.is_none_or(|end| now < end).then_some(lock)
}

#[cfg(test)]
mod tests {
    use super::super::Forgetful;
    use super::*;

    fn lock(owner: &str, expires_at: Option<i64>) -> Lock {
        Lock { name: "deploy/a".into(), owner: owner.into(), reason: None, since: 0, expires_at }
    }

    #[tokio::test]
    async fn a_lock_has_one_owner_until_it_is_freed_or_expires() {
        let host = Forgetful::default();
        let ada = lock("ada", Some(10));
        assert_eq!(take(&host, ada.clone(), 0).await.unwrap(), Taken::Now(ada.clone()));
        assert_eq!(take(&host, ada.clone(), 1).await.unwrap(), Taken::Already(ada.clone()));
        assert_eq!(take(&host, lock("bo", None), 9).await.unwrap(), Taken::Held(ada));
        let bo = lock("bo", None);
        assert_eq!(take(&host, bo.clone(), 10).await.unwrap(), Taken::Now(bo.clone()));
        assert_eq!(held(&host, "deploy/a", 99).await.unwrap(), Some(bo.clone()));
        assert_eq!(free(&host, "deploy/a", Some("ada")).await.unwrap(), None);
        assert_eq!(free(&host, "deploy/a", None).await.unwrap(), Some(bo));
        assert_eq!(held(&host, "deploy/a", 99).await.unwrap(), None);
    }
}
