//! What a refusal over HTTP says about asking again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::HeaderMap;

/// Whether a refusal says: not now. GitHub says so with 403, too, and with headers that tell it from a permission that
/// is missing (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>).
pub(crate) fn is_rate_limit(status: u16, headers: &HeaderMap) -> bool {
    status == 429
        || status == 403 && (header(headers, "retry-after").is_some() || is_exhausted(headers))
}

/// How long to wait, in milliseconds: as `retry-after` says, in seconds, which may have a fraction; else until GitHub's
/// limit is reset. `None` when neither is said.
pub(crate) fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let told = header(headers, "retry-after").and_then(|wait| wait.parse().ok());
    let wait =
        told.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).or_else(|| {
            let reset = header(headers, "x-ratelimit-reset").filter(|_| is_exhausted(headers))?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Some(Duration::from_secs(reset.parse().ok()?).saturating_sub(now))
        })?;
    u64::try_from(wait.as_millis()).ok()
}

fn is_exhausted(headers: &HeaderMap) -> bool {
    header(headers, "x-ratelimit-remaining") == Some("0")
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_refusal_for_now_is_told_from_one_for_good() {
        let (wait, none) = (headers(&[("retry-after", "1.5")]), headers(&[]));
        let spent = headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")]);
        let left = headers(&[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "1")]);
        for (status, headers, is_limit) in [
            (429, &none, true),
            (403, &none, false),
            (403, &left, false),
            (403, &wait, true),
            (403, &spent, true),
            (503, &wait, false),
        ] {
            assert_eq!(is_rate_limit(status, headers), is_limit, "{status} {headers:?}");
        }
        let waits = [&wait, &spent, &left, &none].map(retry_after_ms);
        assert_eq!(waits, [Some(1_500), Some(0), None, None]);
    }
}
