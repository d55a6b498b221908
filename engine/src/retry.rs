//! Whether a failed attempt is followed by another, and when.

use sha2::{Digest, Sha256};

use crate::{Backoff, Retry, StepError};

/// How often a call that is harmless to repeat goes out again after its answer was lost.
///
/// Beyond it the outside is not having a hiccup: the step fails, and says so.
pub const MAX_REPEATS: u32 = 8;

/// The code of a call that did nothing because there were too many of them.
pub const RATE_LIMITED: &str = "rate_limited";

/// How often a step waits for a limit to pass, in one generation. After that `retry` decides as about any failure.
pub(crate) const MOST_RATE_LIMITS: u32 = 100;

/// How long it does so in all, in milliseconds: a day.
pub(crate) const LONGEST_RATE_LIMIT_MS: u64 = LONGEST_ASKED_MS;

/// How long it waits where the tool does not say, in milliseconds.
const RATE_LIMIT_MS: u64 = 60_000;

/// How long a step is looked at whose time is bounded by nothing else, in milliseconds: a day.
pub(crate) const LONGEST_POLLING_MS: u64 = 24 * 3_600_000;

/// How long a tool that is not done is left alone where it does not say, in milliseconds.
const LOOK_MS: u64 = 5_000;

/// The shortest time between two looks, in milliseconds, and between two calls that were one too many.
const SHORTEST_MS: u64 = 50;

/// The longest time between two looks, in milliseconds: an hour.
const LONGEST_LOOK_MS: u64 = 3_600_000;

/// The longest wait a tool can ask for, in milliseconds: a day. More is a mistake, or a way to be rid of us.
const LONGEST_ASKED_MS: u64 = 24 * 3_600_000;

/// Whether `retry` allows another attempt after this error.
pub(crate) fn allows(retry: &Retry, attempt: u32, error: &StepError) -> bool {
    let named = retry.on.contains(&error.code);
    let possible = named || (retry.on.is_empty() && error.retryable != Some(false));
    attempt < retry.max_attempts && possible
}

/// How long to wait before the attempt after `attempt`, in milliseconds. What the tool asks for wins.
///
/// Jitter makes a delay up to a quarter longer, never shorter. It is taken from the
/// key, so that the same history leads to the same time.
pub(crate) fn delay_ms(retry: &Retry, attempt: u32, error: &StepError, key: &str) -> u64 {
    if let Some(asked) = error.retry_after_ms {
        return asked.min(LONGEST_ASKED_MS);
    }
    let grown = match retry.backoff {
        Backoff::Fixed => retry.initial_delay_ms as f64,
        Backoff::Linear => retry.initial_delay_ms as f64 * f64::from(attempt),
        Backoff::Exponential => {
            retry.initial_delay_ms as f64 * retry.multiplier.powf(f64::from(attempt) - 1.0)
        }
    };
    let capped = grown.min(retry.max_delay_ms as f64);
    let spread = if retry.jitter { 1.0 + spread(key, attempt) / 4.0 } else { 1.0 };
    (capped * spread).round() as u64
}

/// How long to wait before a call whose answer was lost is repeated, in milliseconds.
pub(crate) fn repeat_delay_ms(repeats: u32, error: &StepError) -> u64 {
    match (error.retry_after_ms, error.code.as_str()) {
        (Some(asked), _) => asked.min(LONGEST_ASKED_MS),
        // The process died, not the tool: there is nothing to wait for.
        (None, INTERRUPTED) => 0,
        (None, _) => 250u64 << repeats.min(7),
    }
}

/// How long to wait before a call that was one too many goes out again, in milliseconds.
pub(crate) fn rate_limit_ms(error: &StepError) -> u64 {
    error.retry_after_ms.unwrap_or(RATE_LIMIT_MS).clamp(SHORTEST_MS, LONGEST_ASKED_MS)
}

/// How long to wait before a tool that is not done is looked at again, in milliseconds, given what it asked for.
#[must_use]
pub fn look_delay_ms(asked: Option<u64>) -> i64 {
    let delay = asked.unwrap_or(LOOK_MS).clamp(SHORTEST_MS, LONGEST_LOOK_MS);
    i64::try_from(delay).unwrap_or(i64::MAX)
}

/// The code of a call that was out when the process that made it ended.
pub const INTERRUPTED: &str = "interrupted";

/// A number in `0..1` that depends on nothing but the key and the attempt.
fn spread(key: &str, attempt: u32) -> f64 {
    let digest = Sha256::new().chain_update(key).chain_update(attempt.to_be_bytes()).finalize();
    f64::from(u16::from_be_bytes([digest[0], digest[1]])) / 65_536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> StepError {
        StepError {
            code: "tool_error".into(),
            message: String::new(),
            retryable: None,
            retry_after_ms: None,
        }
    }

    fn retry(backoff: Backoff) -> Retry {
        Retry {
            backoff,
            initial_delay_ms: 100,
            max_delay_ms: 1_000,
            jitter: false,
            ..Retry::plain(4)
        }
    }

    #[test]
    fn delays_grow_as_the_backoff_says_and_stop_at_the_cap() {
        let cases = [
            (Backoff::Fixed, [100, 100, 100, 100, 100]),
            (Backoff::Linear, [100, 200, 300, 400, 500]),
            (Backoff::Exponential, [100, 200, 400, 800, 1_000]),
        ];
        for (backoff, expected) in cases {
            let delays =
                [1, 2, 3, 4, 5].map(|attempt| delay_ms(&retry(backoff), attempt, &error(), "k"));
            assert_eq!(delays, expected, "{backoff:?}");
        }
    }

    #[test]
    fn jitter_only_ever_makes_a_delay_longer_and_is_the_same_each_time() {
        let retry = Retry { jitter: true, ..retry(Backoff::Fixed) };
        for key in ["a", "b", "c", "d"] {
            let delay = delay_ms(&retry, 1, &error(), key);
            assert!((100..=125).contains(&delay), "{delay}");
            assert_eq!(delay, delay_ms(&retry, 1, &error(), key));
        }
    }

    #[test]
    fn no_tool_can_ask_for_more_than_a_day() {
        let error = StepError { retry_after_ms: Some(u64::MAX), ..error() };
        assert_eq!(delay_ms(&retry(Backoff::Fixed), 1, &error, "k"), 86_400_000);
        assert_eq!(repeat_delay_ms(1, &error), 86_400_000);
    }

    #[test]
    fn what_the_tool_asks_for_wins() {
        let error = StepError { retry_after_ms: Some(7), ..error() };
        assert_eq!(delay_ms(&retry(Backoff::Fixed), 1, &error, "k"), 7);
    }

    #[test]
    fn looks_and_rate_limits_keep_to_their_bounds_whatever_is_asked_for() {
        for (asked, look, limit) in [
            (None, 5_000, 60_000),
            (Some(0), 50, 50),
            (Some(700), 700, 700),
            (Some(u64::MAX), 3_600_000, 86_400_000),
        ] {
            assert_eq!(look_delay_ms(asked), look, "{asked:?}");
            assert_eq!(rate_limit_ms(&StepError { retry_after_ms: asked, ..error() }), limit);
        }
    }

    #[test]
    fn an_error_that_cannot_be_mended_is_not_tried_again_unless_it_is_named() {
        let permanent = StepError::permanent("not_found", "");
        assert!(!allows(&retry(Backoff::Fixed), 1, &permanent));
        let named = Retry { on: vec!["not_found".into()], ..retry(Backoff::Fixed) };
        assert!(allows(&named, 1, &permanent));
        assert!(!allows(&named, 1, &error()), "only named codes are retried");
        assert!(!allows(&retry(Backoff::Fixed), 5, &error()), "attempts are counted");
    }
}
