//! Signature functions that several providers need.
//!
//! Every comparison takes constant time, every secret is tried, and nothing verifies without a
//! secret.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use domain::webhook::Rejection;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

/// The allowed difference between a signed timestamp and the hub's clock, in either direction.
///
/// Five minutes, as in the libraries of Standard Webhooks:
/// <https://github.com/standard-webhooks/standard-webhooks/tree/main/libraries>.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Returns the HMAC-SHA256 of the concatenated `parts`.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    tag(hmac::HMAC_SHA256, key, parts)
}

fn tag(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// Whether `signature` is the HMAC-SHA256 of the concatenated `parts` under any of `secrets`:
/// several are valid during rotation. Always `false` without secrets; empty secrets are ignored.
#[must_use]
pub fn is_hmac_sha256(secrets: &[SecretString], parts: &[&[u8]], signature: &[u8]) -> bool {
    is_hmac(hmac::HMAC_SHA256, secrets, parts, signature)
}

/// Same as [`is_hmac_sha256`], for any algorithm.
#[must_use]
pub fn is_hmac(
    algorithm: hmac::Algorithm,
    secrets: &[SecretString],
    parts: &[&[u8]],
    signature: &[u8],
) -> bool {
    secrets.iter().map(|secret| secret.expose_secret().as_bytes()).fold(false, |found, key| {
        let tag = tag(algorithm, key, parts);
        found | (!key.is_empty() & verify_slices_are_equal(tag.as_ref(), signature).is_ok())
    })
}

/// Whether `given` is one of `secrets`. Always `false` if it is empty.
///
/// Digests are compared, so that timing does not reveal the length either.
#[must_use]
pub fn is_one_of(secrets: &[SecretString], given: &str) -> bool {
    let given_digest = digest::digest(&digest::SHA256, given.as_bytes());
    let found = secrets.iter().fold(false, |found, secret| {
        let digest = digest::digest(&digest::SHA256, secret.expose_secret().as_bytes());
        found | verify_slices_are_equal(digest.as_ref(), given_digest.as_ref()).is_ok()
    });
    found && !given.is_empty()
}

/// Checks that a signed timestamp, in seconds since the Unix epoch, is within [`TOLERANCE`].
///
/// # Errors
/// [`Rejection::Unauthenticated`]
pub fn check_timestamp(signed_at: &str, now: Timestamp) -> Result<(), Rejection> {
    let signed_at = signed_at.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    check_timestamp_age(TOLERANCE, signed_at, now)
}

/// Checks a signed timestamp of a provider that redelivers with the original signature: it may be
/// up to `maximum_age` old. `None` is a timestamp that could not be parsed.
///
/// # Errors
/// [`Rejection::Unauthenticated`]
pub fn check_timestamp_age(
    maximum_age: SignedDuration,
    signed_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Rejection> {
    let signed_at = signed_at.ok_or(Rejection::Unauthenticated("timestamp is not a number"))?;
    let age = now.duration_since(signed_at);
    if age > maximum_age || age < -TOLERANCE {
        return Err(Rejection::Unauthenticated("timestamp is too old or in the future"));
    }
    Ok(())
}

/// Parses a number that consists of digits only: where no separator follows a signed timestamp, no
/// other byte may count as part of it.
#[must_use]
pub fn digits(text: &str) -> Option<i64> {
    Some(text).filter(|text| text.bytes().all(|c| c.is_ascii_digit()))?.parse().ok()
}

/// Returns the SHA-256 of `bytes` as hex: an id for an event without one, the same for every
/// redelivery.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Vec<SecretString> {
        values.iter().map(|value| SecretString::from(*value)).collect()
    }

    #[test]
    fn the_test_vector_of_rfc_4231_verifies() {
        let tag = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(tag.as_ref()), expected);
    }

    #[test]
    fn any_of_several_secrets_verifies_and_no_secret_never_does() {
        let tag = hmac_sha256(b"new", &[b"body"]);
        assert!(is_hmac_sha256(&secrets(&["old", "new"]), &[b"bo", b"dy"], tag.as_ref()));
        assert!(!is_hmac_sha256(&secrets(&["old"]), &[b"body"], tag.as_ref()));
        assert!(!is_hmac_sha256(&[], &[b"body"], tag.as_ref()));
        let empty = hmac_sha256(b"", &[b"body"]);
        assert!(!is_hmac_sha256(&secrets(&[""]), &[b"body"], empty.as_ref()));
    }

    #[test]
    fn a_secret_matches_itself_and_neither_its_prefix_nor_nothing() {
        assert!(is_one_of(&secrets(&["a", "token"]), "token"));
        assert!(!is_one_of(&secrets(&["token"]), "toke"));
        assert!(!is_one_of(&secrets(&["token"]), "Token"));
        assert!(!is_one_of(&secrets(&[""]), ""));
        assert!(!is_one_of(&[], "token"));
    }

    #[test]
    fn a_timestamp_is_fresh_for_five_minutes_in_both_directions() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert!(check_timestamp("999700", now).is_ok());
        assert!(check_timestamp("1000300", now).is_ok());
        assert!(check_timestamp("999699", now).is_err());
        assert!(check_timestamp("1000301", now).is_err());
        assert!(check_timestamp("soon", now).is_err());
        assert!(check_timestamp("99999999999999999", now).is_err());
    }
}
