//! Signatures: Meta's and Standard Webhooks.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// HMAC-SHA256, in lower-case hex.
#[must_use]
pub fn hmac_hex(secret: &str, bytes: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex::encode(hmac::sign(&key, bytes).as_ref())
}

/// HMAC-SHA1, in lower-case hex: Meta's deprecated header.
#[must_use]
pub fn hmac_sha1_hex(secret: &str, bytes: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    hex::encode(hmac::sign(&key, bytes).as_ref())
}

/// JSON as Meta writes it on the wire: everything outside ASCII as `\uXXXX` in lower-case
/// hex, and each slash with a backslash before it.
#[must_use]
pub fn meta_escape(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 64);
    for character in json.chars() {
        match character {
            '/' => out.push_str("\\/"),
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    write!(out, "\\u{unit:04x}").unwrap_or_default();
                }
            }
        }
    }
    out
}

/// The reason why a Standard Webhooks delivery was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One of the three headers is missing.
    #[error("a webhook header is missing")]
    MissingHeader,
    /// The timestamp is not a number.
    #[error("webhook-timestamp is not a number of seconds")]
    BadTimestamp,
    /// The timestamp is more than five minutes in the past or the future.
    #[error("webhook-timestamp is more than five minutes in the past or the future")]
    Stale,
    /// The automation's secret is empty or not valid base64.
    #[error("the automation's secret is empty or not valid base64")]
    NoSecret,
    /// No signature matches.
    #[error("no signature matches")]
    WrongSignature,
}

/// Tolerance of a timestamp in seconds, in either direction.
const TOLERANCE_S: i64 = 300;

/// Verifies a Standard Webhooks delivery at `now_s`.
///
/// # Errors
/// If the delivery is not authentic.
pub fn verify_standard(
    secret: &str,
    id: Option<&str>,
    timestamp: Option<&str>,
    signatures: Option<&str>,
    body: &[u8],
    now_s: i64,
) -> Result<(), Refusal> {
    let (Some(id), Some(timestamp), Some(signatures)) = (id, timestamp, signatures) else {
        return Err(Refusal::MissingHeader);
    };
    let sent: i64 = timestamp.parse().map_err(|_| Refusal::BadTimestamp)?;
    if (now_s - sent).abs() > TOLERANCE_S {
        return Err(Refusal::Stale);
    }
    let secret = secret.strip_prefix("whsec_").unwrap_or(secret);
    let secret = STANDARD.decode(secret).map_err(|_| Refusal::NoSecret)?;
    if secret.is_empty() {
        return Err(Refusal::NoSecret);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let mut message = format!("{id}.{timestamp}.").into_bytes();
    message.extend_from_slice(body);
    let matches = signatures
        .split(' ')
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|signature| STANDARD.decode(signature).ok())
        .any(|signature| hmac::verify(&key, &message, &signature).is_ok());
    if matches { Ok(()) } else { Err(Refusal::WrongSignature) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_escaped_as_meta_sends_it() {
        assert_eq!(meta_escape("äöå / olá 👍"), r"\u00e4\u00f6\u00e5 \/ ol\u00e1 \ud83d\udc4d");
    }

    #[test]
    fn the_meta_signature_matches_the_published_example() {
        assert_eq!(
            hmac_hex("It's a Secret to Everybody", b"Hello, World!"),
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const GOOD: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn verify(time: &str, signatures: &str, body: &[u8], now: i64) -> Result<(), Refusal> {
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        verify_standard(SECRET, Some(id), Some(time), Some(signatures), body, now)
    }

    #[test]
    fn the_standard_webhooks_example_is_accepted_for_five_minutes() {
        for now in [1_614_265_330, 1_614_265_630, 1_614_265_030] {
            assert_eq!(verify("1614265330", GOOD, BODY, now), Ok(()));
        }
        assert_eq!(verify("1614265330", GOOD, BODY, 1_614_265_631), Err(Refusal::Stale));
        assert_eq!(verify("1614265330", GOOD, BODY, 1_614_265_029), Err(Refusal::Stale));
    }

    /// The published vectors, if the `contracts` folder is beside the checkout.
    fn vectors(name: &str) -> Vec<serde_json::Value> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/contracts/vectors");
        let text = std::fs::read_to_string(format!("{folder}/{name}.json"));
        text.map_or_else(|_| Vec::new(), |text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn meta_signatures_match_the_published_vectors() {
        for vector in vectors("meta") {
            let Some(header) = vector["headers"]["X-Hub-Signature-256"].as_str() else { continue };
            let body = STANDARD.decode(vector["body_base64"].as_str().unwrap()).unwrap();
            let ours = format!("sha256={}", hmac_hex(vector["secret"].as_str().unwrap(), &body));
            assert_eq!(ours == header, vector["expect"] == "accept", "{}", vector["id"]);
        }
    }

    #[test]
    fn standard_webhooks_verification_matches_the_published_vectors() {
        for vector in vectors("standardwebhooks") {
            let header = |name: &str| vector["headers"][name].as_str();
            let (Some(secret), Some(now)) = (vector["secret"].as_str(), vector["now"].as_i64())
            else {
                continue;
            };
            // The hub does not use the asymmetric scheme.
            if header("webhook-signature").is_some_and(|all| all.starts_with("v1a")) {
                continue;
            }
            let body = STANDARD.decode(vector["body_base64"].as_str().unwrap()).unwrap();
            let verdict = verify_standard(
                secret,
                header("webhook-id"),
                header("webhook-timestamp"),
                header("webhook-signature"),
                &body,
                now,
            );
            assert_eq!(verdict.is_ok(), vector["expect"] == "accept", "{}", vector["id"]);
        }
    }

    #[test]
    fn any_of_several_signatures_is_enough() {
        let several = format!("v1,AAAA v1a,xyz {GOOD}");
        assert_eq!(verify("1614265330", &several, BODY, 1_614_265_330), Ok(()));
    }

    #[test]
    fn other_deliveries_are_refused() {
        let now = 1_614_265_330;
        let wrong = Err(Refusal::WrongSignature);
        assert_eq!(verify("1614265330", GOOD, b"{}", now), wrong);
        assert_eq!(verify("1614265331", GOOD, BODY, now), wrong);
        assert_eq!(verify("1614265330", "v1,", BODY, now), wrong);
        assert_eq!(verify("soon", GOOD, BODY, now), Err(Refusal::BadTimestamp));
        assert_eq!(
            verify_standard(SECRET, None, Some("1"), Some(GOOD), BODY, now),
            Err(Refusal::MissingHeader)
        );
        assert_eq!(
            verify_standard("", Some("a"), Some("1614265330"), Some(GOOD), BODY, now),
            Err(Refusal::NoSecret)
        );
    }
}
