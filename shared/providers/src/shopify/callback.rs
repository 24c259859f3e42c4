//! OAuth callback of a shop's sign-in: a `GET` that Shopify signs in its query.

use domain::webhook::Rejection;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use crate::{form, signature};

/// Maximum age of the callback. Source: README, facts 6.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(90);

/// Verifies that Shopify redirected a browser here with this decoded `query`.
///
/// # Errors
/// [`Rejection::Unauthenticated`]
pub fn verify(
    secrets: &[SecretString],
    query: &[(String, String)],
    now: Timestamp,
) -> Result<(), Rejection> {
    let missing = Rejection::Unauthenticated("hmac or timestamp is missing");
    let (Some(given), Some(at)) = (form::field(query, "hmac"), form::field(query, "timestamp"))
    else {
        return Err(missing);
    };
    let given = hex::decode(given);
    let given = given.map_err(|_| Rejection::Unauthenticated("signature is not hex"))?;
    let mut signed = query.to_vec();
    signed.retain(|(name, _)| name != "hmac" && name != "signature");
    signed.sort();
    if !signature::is_hmac_sha256(secrets, &[form::encode(&signed).as_bytes()], &given) {
        return Err(Rejection::Unauthenticated("signature does not match"));
    }
    let at = at.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    let fresh = at.is_some_and(|at| now.duration_since(at).abs() <= TOLERANCE);
    if fresh {
        Ok(())
    } else {
        Err(Rejection::Unauthenticated("the timestamp is outside the tolerance"))
    }
}
