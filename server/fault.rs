//! Ends the process at a named point, so that tests can show what a crash there does.
//!
//! `WINDLASS_FAULT=commit_sent:3` kills it the third time it passes the point
//! `commit_sent`. In release builds the points are nothing.

/// Passes a named point; dies there when the environment says so.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };

    static FAULT: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let text = std::env::var("WINDLASS_FAULT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    static PASSED: AtomicU32 = AtomicU32::new(0);

    let Some((at, count)) = &*FAULT else { return };
    if at == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count {
        // As abrupt as `kill -9`: no destructor runs, nothing is flushed.
        std::process::abort();
    }
}

/// Passes a named point.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_name: &str) {}
