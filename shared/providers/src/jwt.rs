//! JWTs signed with HMAC-SHA256, the only kind that a shared secret can verify.
//!
//! <https://www.rfc-editor.org/rfc/rfc7519>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::webhook::Rejection;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::signature;

/// Allowed difference between the signer's clock and the hub's, in seconds.
const LEEWAY: i64 = 60;

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood; none is supported.
    crit: Option<Value>,
}

/// Validity period.
#[derive(Deserialize)]
struct Times {
    iat: Option<i64>,
    nbf: Option<i64>,
    exp: Option<i64>,
}

/// Whether a JWT must say when it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// A JWT without an end is never valid.
    Required,
    /// A JWT without an end is always valid once it is: only for a signer that sets none, because
    /// whoever copies such a JWT can use it for as long as its secret exists.
    Optional,
}

/// Returns the claims of `token`, if one of `secrets` signed it with HMAC-SHA256 and it is valid at
/// `now`. The algorithm is fixed: the token's header must agree with it and selects nothing.
///
/// # Errors
/// [`Rejection::Unauthenticated`]
pub fn verify<T: DeserializeOwned>(
    secrets: &[SecretString],
    token: &str,
    now: Timestamp,
    expiry: Expiry,
) -> Result<T, Rejection> {
    let malformed = Rejection::Unauthenticated("the bearer token is not a JWT");
    let Some((signed, signature)) = token.rsplit_once('.') else { return Err(malformed) };
    let Some((header, claims)) = signed.split_once('.') else { return Err(malformed) };
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return Err(malformed) };
    if !signature::is_hmac_sha256(secrets, &[signed.as_bytes()], &signature) {
        return Err(Rejection::Unauthenticated("the JWT's signature does not match"));
    }
    let header: Header = part(header)?;
    if header.alg != "HS256" || header.crit.is_some() {
        return Err(Rejection::Unauthenticated("the JWT must use HS256 without extensions"));
    }
    let Times { iat, nbf, exp } = part(claims)?;
    let now = now.as_second();
    let valid_from = iat.into_iter().chain(nbf).max().unwrap_or(i64::MIN);
    let is_expired =
        exp.map_or(expiry == Expiry::Required, |exp| exp <= now.saturating_sub(LEEWAY));
    if valid_from > now.saturating_add(LEEWAY) || is_expired {
        return Err(Rejection::Unauthenticated("the JWT is expired or not valid yet"));
    }
    part(claims)
}

/// Creates a token with the given header and claims.
pub(crate) fn sign(header: &Value, claims: &Value, secret: &SecretString) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let tag = signature::hmac_sha256(secret.expose_secret().as_bytes(), &[signed.as_bytes()]);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn part<T: DeserializeOwned>(encoded: &str) -> Result<T, Rejection> {
    let json = URL_SAFE_NO_PAD.decode(encoded).ok();
    let read = json.and_then(|json| serde_json::from_slice(&json).ok());
    read.ok_or(Rejection::Unauthenticated("the JWT could not be decoded"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_795_176_000;

    fn token(header: &Value, claims: &Value, secret: &str) -> String {
        sign(header, claims, &secret.into())
    }

    fn claims(iat: i64, exp: i64) -> Value {
        json!({ "iat": iat, "exp": exp, "app": "a" })
    }

    #[derive(Deserialize)]
    struct Claims {
        app: String,
    }

    fn read(token: &str, secrets: &[&str], expiry: Expiry) -> bool {
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| (*secret).into()).collect();
        assert!(secrets.iter().all(|secret| secret.expose_secret().len() < 10));
        let now = Timestamp::from_second(NOW).unwrap();
        verify::<Claims>(&secrets, token, now, expiry).is_ok_and(|claims| claims.app == "a")
    }

    fn is_verified(token: &str, secrets: &[&str]) -> bool {
        read(token, secrets, Expiry::Required)
    }

    #[test]
    fn a_jwt_is_valid_between_its_times_with_a_minute_of_leeway() {
        let header = json!({ "alg": "HS256", "typ": "JWT" });
        for (iat, exp, good) in [
            (NOW, NOW + 600, true),
            (NOW - 600, NOW - 59, true),
            (NOW - 600, NOW - 60, false),
            (NOW + 60, NOW + 660, true),
            (NOW + 61, NOW + 661, false),
            (i64::MIN, i64::MAX, true),
            (i64::MAX, i64::MIN, false),
        ] {
            let token = token(&header, &claims(iat, exp), "key");
            assert_eq!(is_verified(&token, &["key"]), good, "{iat} {exp}");
        }
    }

    #[test]
    fn every_secret_is_tried_and_no_or_an_empty_secret_never_verifies() {
        let header = json!({ "alg": "HS256" });
        let good = token(&header, &claims(NOW, NOW + 600), "key");
        assert!(is_verified(&good, &["old", "key"]));
        assert!(!is_verified(&good, &["old"]));
        assert!(!is_verified(&good, &[]));
        assert!(!is_verified(&token(&header, &claims(NOW, NOW + 600), ""), &[""]));
    }

    #[test]
    fn another_algorithm_or_an_extension_is_refused_although_the_signature_matches() {
        for header in [
            json!({ "alg": "none" }),
            json!({ "alg": "HS512" }),
            json!({ "alg": "hs256" }),
            json!({ "alg": ["HS256"] }),
            json!({}),
            json!({ "alg": "HS256", "crit": ["b64"] }),
        ] {
            let token = token(&header, &claims(NOW, NOW + 600), "key");
            assert!(!is_verified(&token, &["key"]), "{header}");
        }
    }

    #[test]
    fn a_jwt_without_a_required_claim_is_refused() {
        let all = claims(NOW, NOW + 600);
        for (name, good) in [("iat", true), ("exp", false), ("app", false)] {
            let mut claims = all.clone();
            claims.as_object_mut().unwrap().remove(name);
            let token = token(&json!({ "alg": "HS256" }), &claims, "key");
            assert_eq!(is_verified(&token, &["key"]), good, "{name}");
        }
        let mut later = all;
        later["nbf"] = json!(NOW + 61);
        assert!(!is_verified(&token(&json!({ "alg": "HS256" }), &later, "key"), &["key"]));
        for odd in [json!(null), json!([]), json!({ "iat": "soon" })] {
            assert!(!is_verified(&token(&json!({ "alg": "HS256" }), &odd, "key"), &["key"]));
        }
    }

    #[test]
    fn a_jwt_without_an_end_is_valid_only_if_none_is_required_and_an_end_always_counts() {
        let header = json!({ "alg": "HS256" });
        for (claims, required, optional) in [
            (json!({ "app": "a" }), false, true),
            (json!({ "app": "a", "exp": null }), false, true),
            (json!({ "app": "a", "exp": NOW - 60 }), false, false),
            (json!({ "app": "a", "exp": NOW + 1 }), true, true),
            (json!({ "app": "a", "exp": "soon" }), false, false),
            (json!({ "app": "a", "nbf": NOW + 61 }), false, false),
        ] {
            let token = token(&header, &claims, "key");
            assert_eq!(read(&token, &["key"], Expiry::Required), required, "{claims}");
            assert_eq!(read(&token, &["key"], Expiry::Optional), optional, "{claims}");
            assert!(!read(&token, &["other"], Expiry::Optional), "{claims}");
        }
    }

    #[test]
    fn a_malformed_jwt_is_refused() {
        let good = token(&json!({ "alg": "HS256" }), &claims(NOW, NOW + 600), "key");
        let long = ".".repeat(10_000);
        for bad in ["", ".", "..", "a.b", "a.b.c.d", "é.é.é", &*long, &good[..good.len() - 1]] {
            assert!(!is_verified(bad, &["key"]));
        }
        assert!(!is_verified(&format!("{good}="), &["key"]));
    }
}
