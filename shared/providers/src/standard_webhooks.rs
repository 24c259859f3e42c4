//! Standard Webhooks: the signatures of the hub's own outgoing webhooks, and of providers that use
//! Svix.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
//!
//! The signed text is `<id>.<timestamp>.<body>`. A secret is `whsec_` and base64; its
//! signature is `v1,` and base64 of an HMAC-SHA256. A public key is `whpk_` and base64; its
//! signature is `v1a,` and base64 of an Ed25519 signature.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::webhook::Rejection;
use http::HeaderMap;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::signature;

/// Header with the notification id: the same for every delivery attempt.
pub const ID: &str = "webhook-id";
/// Header with the time of the delivery attempt, in seconds.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// Header with one signature for each valid secret.
pub const SIGNATURE: &str = "webhook-signature";

/// Names of the headers that authenticate a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Header with the event id.
    pub id: &'static str,
    /// Header with the time of the delivery attempt.
    pub timestamp: &'static str,
    /// Header with the signatures.
    pub signature: &'static str,
}

/// Header names of the standard.
pub const NAMES: Names = Names { id: ID, timestamp: TIMESTAMP, signature: SIGNATURE };
/// Header names of Svix, which predate the standard:
/// <https://docs.svix.com/receiving/verifying-payloads/how-manual>.
pub const SVIX_NAMES: Names =
    Names { id: "svix-id", timestamp: "svix-timestamp", signature: "svix-signature" };

const SECRET_PREFIX: &str = "whsec_";
const PUBLIC_PREFIX: &str = "whpk_";

/// The secret cannot sign. Contains nothing of the secret.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSecret {
    /// No secret.
    #[error("no signing secret is set")]
    Missing,
    /// Not base64, or not 24 to 64 bytes.
    #[error("a signing secret must be whsec_ followed by base64 of 24 to 64 bytes")]
    Malformed,
}

/// Creates a secret from 24 to 64 random bytes.
///
/// # Errors
/// [`InvalidSecret::Malformed`] for fewer or more.
pub fn secret(random: &[u8]) -> Result<SecretString, InvalidSecret> {
    if !(24..=64).contains(&random.len()) {
        return Err(InvalidSecret::Malformed);
    }
    Ok(format!("{SECRET_PREFIX}{}", STANDARD.encode(random)).into())
}

/// Returns the value of the header [`SIGNATURE`]: one signature for each of `secrets`, so that a
/// receiver may use the old or the new secret during rotation.
///
/// # Errors
/// [`InvalidSecret`]; a secret that cannot sign is never skipped silently.
pub fn sign(
    secrets: &[SecretString],
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> Result<String, InvalidSecret> {
    if secrets.is_empty() {
        return Err(InvalidSecret::Missing);
    }
    let second = at.as_second().to_string();
    let signed = [id.as_bytes(), b".", second.as_bytes(), b".", body];
    let signatures: Result<Vec<_>, _> = secrets
        .iter()
        .map(|secret| {
            let tag = signature::hmac_sha256(&key(secret)?, &signed);
            Ok(format!("v1,{}", STANDARD.encode(tag)))
        })
        .collect();
    Ok(signatures?.join(" "))
}

/// Whether `secret` can sign.
#[must_use]
pub fn is_secret(secret: &SecretString) -> bool {
    key(secret).is_ok()
}

fn key(secret: &SecretString) -> Result<Vec<u8>, InvalidSecret> {
    let text = secret.expose_secret();
    let encoded = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
    let key = STANDARD.decode(encoded).map_err(|_| InvalidSecret::Malformed)?;
    if (24..=64).contains(&key.len()) { Ok(key) } else { Err(InvalidSecret::Malformed) }
}

/// Verifies a request that was signed with one of `secrets`, or with the private key of one of the
/// public keys among them.
///
/// # Errors
/// [`Rejection::Unauthenticated`]
pub fn verify(
    secrets: &[SecretString],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Rejection> {
    verify_named(&NAMES, secrets, headers, body, now)
}

/// Same as [`verify`], with other header names.
///
/// # Errors
/// [`Rejection::Unauthenticated`]
pub fn verify_named(
    names: &Names,
    secrets: &[SecretString],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Rejection> {
    let header = |name| {
        let mut values = headers.get_all(name).iter();
        match (values.next().map(http::HeaderValue::to_str), values.next()) {
            (Some(Ok(value)), None) if !value.is_empty() => Ok(value),
            _ => Err(Rejection::Unauthenticated("a required authentication header is missing")),
        }
    };
    let (id, signed_at) = (header(names.id)?, header(names.timestamp)?);
    let signatures = header(names.signature)?;
    signature::check_timestamp(signed_at, now)?;

    let signed = [id.as_bytes(), b".", signed_at.as_bytes(), b".", body];
    let matched =
        secrets.iter().any(|secret| match secret.expose_secret().strip_prefix(PUBLIC_PREFIX) {
            Some(public) => is_ed25519(public, &signed, signatures),
            None => is_hmac(secret, &signed, signatures),
        });
    if matched { Ok(()) } else { Err(Rejection::Unauthenticated("signature does not match")) }
}

/// Returns the signatures of one version in the header.
fn of_version<'a>(signatures: &'a str, prefix: &'a str) -> impl Iterator<Item = Vec<u8>> + 'a {
    let encoded = signatures.split(' ').filter_map(move |entry| entry.strip_prefix(prefix));
    encoded.filter_map(|encoded| STANDARD.decode(encoded).ok())
}

fn is_hmac(secret: &SecretString, signed: &[&[u8]], signatures: &str) -> bool {
    let Ok(key) = key(secret) else { return false };
    let tag = signature::hmac_sha256(&key, signed);
    of_version(signatures, "v1,").any(|given| verify_slices_are_equal(tag.as_ref(), &given).is_ok())
}

fn is_ed25519(public: &str, signed: &[&[u8]], signatures: &str) -> bool {
    let Ok(public) = STANDARD.decode(public) else { return false };
    let (key, message) = (UnparsedPublicKey::new(&ED25519, public), signed.concat());
    of_version(signatures, "v1a,").any(|given| key.verify(&message, &given).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use http::HeaderValue;

    fn headers(id: &str, at: Timestamp, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ID, HeaderValue::from_str(id).unwrap());
        headers.insert(TIMESTAMP, HeaderValue::from(at.as_second()));
        headers.insert(SIGNATURE, HeaderValue::from_str(signature).unwrap());
        headers
    }

    fn at() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    #[test]
    fn a_signed_request_verifies_with_each_of_the_secrets() {
        let (old, new) = (secret(&[1; 24]).unwrap(), secret(&[2; 32]).unwrap());
        let signature = sign(&[new.clone(), old.clone()], "ntf_1", at(), b"{}").unwrap();
        assert_eq!(signature.split(' ').count(), 2);
        let headers = headers("ntf_1", at(), &signature);
        for secret in [old, new] {
            assert!(verify(&[secret], &headers, b"{}", at()).is_ok());
        }
    }

    #[test]
    fn a_changed_body_id_time_or_secret_does_not_verify() {
        let secrets = [secret(&[1; 24]).unwrap()];
        let signature = sign(&secrets, "ntf_1", at(), b"{}").unwrap();
        let good = headers("ntf_1", at(), &signature);
        assert!(verify(&secrets, &good, b"{}", at()).is_ok());
        assert!(verify(&secrets, &good, b"{ }", at()).is_err());
        assert!(verify(&secrets, &headers("ntf_2", at(), &signature), b"{}", at()).is_err());
        let later = Timestamp::from_second(at().as_second() + 1).unwrap();
        assert!(verify(&secrets, &headers("ntf_1", later, &signature), b"{}", at()).is_err());
        assert!(verify(&[secret(&[3; 24]).unwrap()], &good, b"{}", at()).is_err());
        assert!(verify(&[], &good, b"{}", at()).is_err());
    }

    #[test]
    fn a_signature_of_another_version_is_ignored() {
        let secrets = [secret(&[1; 24]).unwrap()];
        let signature = sign(&secrets, "ntf_1", at(), b"{}").unwrap();
        let other = signature.replace("v1,", "v2,");
        assert!(verify(&secrets, &headers("ntf_1", at(), &other), b"{}", at()).is_err());
        let both = format!("{other} v1,AAAA {signature}");
        assert!(verify(&secrets, &headers("ntf_1", at(), &both), b"{}", at()).is_ok());
    }

    #[test]
    fn an_ed25519_signature_verifies_with_the_public_key() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let signed = format!("ntf_1.{}.{{}}", at().as_second());
        let signature = format!("v1a,{}", STANDARD.encode(pair.sign(signed.as_bytes())));
        let public = format!("whpk_{}", STANDARD.encode(pair.public_key().as_ref()));
        let headers = headers("ntf_1", at(), &signature);
        assert!(verify(&[public.as_str().into()], &headers, b"{}", at()).is_ok());
        assert!(verify(&[public.into()], &headers, b"[]", at()).is_err());
    }

    #[test]
    fn other_or_repeated_headers_do_not_verify() {
        let secrets = [secret(&[1; 24]).unwrap()];
        let good = headers("ntf_1", at(), &sign(&secrets, "ntf_1", at(), b"{}").unwrap());
        let mut svix = HeaderMap::new();
        for (name, value) in [
            (SVIX_NAMES.id, ID),
            (SVIX_NAMES.timestamp, TIMESTAMP),
            (SVIX_NAMES.signature, SIGNATURE),
        ] {
            svix.insert(name, good[value].clone());
        }
        let verify = |names: &Names, headers: &HeaderMap| {
            verify_named(names, &secrets, headers, b"{}", at()).is_ok()
        };
        assert!(verify(&NAMES, &good) && verify(&SVIX_NAMES, &svix));
        assert!(!verify(&NAMES, &svix) && !verify(&SVIX_NAMES, &good));
        for name in [ID, TIMESTAMP, SIGNATURE] {
            let mut twice = good.clone();
            twice.append(name, good[name].clone());
            assert!(!verify(&NAMES, &twice), "{name}");
        }
    }

    #[test]
    fn a_short_or_malformed_secret_does_not_sign() {
        assert!(secret(&[1; 23]).is_err());
        assert!(secret(&[1; 65]).is_err());
        for broken in ["whsec_short", "whsec_!!!", "", "whsec_"] {
            assert!(sign(&[broken.into()], "ntf_1", at(), b"{}").is_err(), "{broken}");
        }
        assert!(matches!(sign(&[], "ntf_1", at(), b"{}"), Err(InvalidSecret::Missing)));
    }
}
