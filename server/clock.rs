//! What time it is, and how much of it has passed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, by this machine's clock.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
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
