//! What time it is, and how much of it has passed.
//!
//! In debug builds `WINDLASS_TEST_CLOCK` names a file with a number of milliseconds by which this machine's clock is off,
//! and `WINDLASS_TEST_DATABASE_CLOCK` one for the clock of Postgres, so that tests can let them jump.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, by this machine's clock.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(jump("WINDLASS_TEST_CLOCK"))
}

/// How far the database's clock is said to have jumped, in milliseconds; nothing but a test says so.
#[must_use]
pub(crate) fn database_jump() -> i64 {
    jump("WINDLASS_TEST_DATABASE_CLOCK")
}

/// How far a clock has jumped, by the file that a variable names, which may change at any time.
#[cfg(debug_assertions)]
fn jump(variable: &str) -> i64 {
    let Some(file) = std::env::var_os(variable) else { return 0 };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

/// In release builds no clock jumps by itself.
#[cfg(not(debug_assertions))]
fn jump(_variable: &str) -> i64 {
    0
}

/// A moment of a clock that nobody sets and that runs while the machine sleeps.
///
/// Leases are counted on it: a laptop that was closed for an hour holds none.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Moment(Duration);

impl Moment {
    /// This moment.
    #[must_use]
    pub fn now() -> Moment {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Moment(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default()))
    }

    /// Milliseconds since this machine started.
    #[must_use]
    pub fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// How long after another moment it was.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment so long after it.
    #[must_use]
    pub fn plus(self, time: Duration) -> Moment {
        Moment(self.0 + time)
    }

    /// How long ago it was.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Moment::now().0.saturating_sub(self.0)
    }
}
