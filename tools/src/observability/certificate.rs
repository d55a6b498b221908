//! Reads from a certificate until when it holds. Whether it is to be trusted has been checked by then.

use chrono::NaiveDateTime;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Until when a certificate in DER holds, in milliseconds since 1970.
pub(super) fn expires_at(der: &[u8]) -> Option<i64> {
    let (certificate, _) = inside(der, SEQUENCE)?;
    let (mut rest, _) = inside(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // The serial number, the algorithm and the issuer come before the validity.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (validity, _) = inside(rest, SEQUENCE)?;
    let (_, _, after) = element(validity)?;
    let (tag, time, _) = element(after)?;
    moment(tag, std::str::from_utf8(time).ok()?)
}

/// The tag, the content and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let add = |sum: usize, byte: &u8| sum.checked_mul(256)?.checked_add(usize::from(*byte));
        (bytes.iter().try_fold(0, add)?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn inside(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (own, content, rest) = element(der)?;
    (own == tag).then_some((content, rest))
}

fn moment(tag: u8, text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let full = match tag {
        // Two digits of the year: 50 and more are of the last century.
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let at = NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%S").ok()?;
    Some(at.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Made for this test; its key is gone.
    const CERTIFICATE: &str = "MIIBfjCCASOgAwIBAgIUAZbaThPptblNheNtut/odk/MOhYwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MB4X\
        DTI2MTEyMTE4MDE1NVoXDTM2MTExODE4MDE1NVowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0D\
        AQcDQgAEjFlDtzMjTXjMaR95orFpeMSAFbzT5QQWKEw60oyPKVUdW21sVhj+7Q1nq25fPmfWXkGw+bpMT/H/NC1LJukRsaNT\
        MFEwHQYDVR0OBBYEFNoHCj4VzYi28/vZdr2SjPBq3VDNMB8GA1UdIwQYMBaAFNoHCj4VzYi28/vZdr2SjPBq3VDNMA8GA1Ud\
        EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAPz7kCp3nFNytHmlA6n6CgbBpArZnpx3sKlOOGBUr84IAiEAmnnXtSAG\
        ut4dZKl2cEpmlv48nA57aHwZBr6cgOB2dmo=";

    #[test]
    fn a_certificate_says_until_when_it_holds() {
        let der = STANDARD.decode(CERTIFICATE).unwrap();
        assert_eq!(expires_at(&der), Some(2_110_644_115_000));
        for end in 0..der.len() / 2 {
            assert_eq!(expires_at(&der[..end]), None, "cut after {end}");
        }
    }

    #[test]
    fn years_have_two_or_four_digits() {
        assert_eq!(moment(UTC_TIME, "700101000001Z"), Some(1_000));
        assert_eq!(moment(GENERALIZED_TIME, "20361118180155Z"), Some(2_110_644_115_000));
        assert_eq!(moment(UTC_TIME, "20361118180155"), None);
    }
}
