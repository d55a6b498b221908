//! What goes wrong on request: a list of faults, each with the requests it waits for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A fault that waits for matching requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The method it waits for; any when left out.
    #[serde(default)]
    pub method: Option<String>,
    /// Text that the path and query must contain.
    #[serde(default)]
    pub path: String,
    /// How many matching requests pass before it strikes.
    #[serde(default)]
    pub skip: u32,
    /// How many requests it strikes, one unless it says otherwise.
    #[serde(default = "once")]
    pub times: u32,
    /// What it does to them.
    pub action: Action,
}

/// What a fault does to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Action {
    /// Ends the connection without an answer and without doing the work.
    DropBeforeWork,
    /// Does the work, then ends the connection without an answer.
    DropAfterWork,
    /// Answers 502 without doing the work.
    BadGatewayBeforeWork,
    /// Does the work, then answers 502.
    BadGatewayAfterWork,
    /// Answers 429 with `retry-after`.
    TooManyRequests {
        /// The value of `retry-after`.
        retry_after_s: u64,
    },
    /// Answers 403 with `x-ratelimit-remaining: 0`.
    RateLimited {
        /// How far in the future `x-ratelimit-reset` lies.
        reset_in_s: u64,
    },
    /// Answers 403 as if the token lacked a permission.
    Forbidden,
    /// Answers this status without doing the work, for reasons of its own.
    Refuse {
        /// The HTTP status.
        status: u16,
    },
    /// Waits before doing the work.
    Slow {
        /// How long.
        ms: u64,
    },
    /// Holds the request until it is released, then does the work.
    PauseBeforeWork,
    /// Does the work, then holds the answer until it is released.
    PauseAfterWork,
}

/// The faults of one double.
#[derive(Debug, Clone)]
pub struct Faults {
    waiting: Arc<Mutex<Vec<Fault>>>,
    held: Arc<watch::Sender<usize>>,
    releases: Arc<watch::Sender<u64>>,
}

fn once() -> u32 {
    1
}

impl Action {
    /// Strikes the next request with this method whose path contains this text.
    pub fn on(self, method: &str, path: &str) -> Fault {
        let method = Some(method.to_owned());
        Fault { method, path: path.to_owned(), skip: 0, times: 1, action: self }
    }
}

impl Fault {
    /// Strikes this many requests.
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Lets this many matching requests pass first.
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        let method_fits = self.method.as_deref().is_none_or(|own| own.eq_ignore_ascii_case(method));
        method_fits && path.contains(&self.path)
    }
}

impl Default for Faults {
    fn default() -> Self {
        let (held, releases) = (Arc::new(watch::Sender::new(0)), Arc::new(watch::Sender::new(0)));
        Self { waiting: Arc::default(), held, releases }
    }
}

impl Faults {
    /// Adds a fault.
    pub fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    /// Removes every fault that has not struck yet.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The faults that have not struck yet.
    pub fn waiting(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// How many requests are being held.
    pub fn held(&self) -> usize {
        *self.held.borrow()
    }

    /// Lets every held request go on.
    pub fn release(&self) {
        self.releases.send_modify(|count| *count += 1);
    }

    /// Waits until at least this many requests are held; false when the time is up first.
    pub async fn wait_until_held(&self, count: usize, at_most: Duration) -> bool {
        let mut held = self.held.subscribe();
        let enough = held.wait_for(|now| count <= *now);
        matches!(tokio::time::timeout(at_most, enough).await, Ok(Ok(_)))
    }

    /// Waits until no request is held; false when the time is up first.
    pub async fn wait_until_none_held(&self, at_most: Duration) -> bool {
        let mut held = self.held.subscribe();
        let none = held.wait_for(|now| *now == 0);
        matches!(tokio::time::timeout(at_most, none).await, Ok(Ok(_)))
    }

    /// The action for a request, if a fault was waiting for it.
    pub fn strike(&self, method: &str, path: &str) -> Option<Action> {
        let mut waiting = self.lock();
        let index =
            waiting.iter_mut().position(|fault| fault.matches(method, path) && due(fault))?;
        let fault = &mut waiting[index];
        let action = fault.action;
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            waiting.remove(index);
        }
        Some(action)
    }

    /// Holds the caller until the next release.
    pub async fn hold(&self) {
        let mut releases = self.releases.subscribe();
        let _counted = Held::new(&self.held);
        // The sender lives in `self`, so this ends only by a release.
        _ = releases.changed().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn due(fault: &mut Fault) -> bool {
    let passes = 0 < fault.skip;
    fault.skip = fault.skip.saturating_sub(1);
    !passes
}

/// Counts a held request for as long as it is held, also when its client gives up.
struct Held<'a>(&'a watch::Sender<usize>);

impl<'a> Held<'a> {
    fn new(held: &'a watch::Sender<usize>) -> Self {
        held.send_modify(|count| *count += 1);
        Self(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
