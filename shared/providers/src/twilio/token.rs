//! Access tokens for Twilio's voice SDK, with which a browser or phone makes and receives calls.
//! Source: README, facts 20.

use std::time::Duration;

use domain::sender::SendError;
use domain::{Credentials, Integration};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, json};

use super::{API_KEY, API_SECRET, settings};
use crate::http::invalid;
use crate::jwt;

/// Maximum lifetime of a token.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// Permissions of the holder of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoiceGrant<'a> {
    /// Identity of the holder, called as `client:<identity>`.
    pub identity: &'a str,
    /// Whether the holder may receive calls.
    pub incoming: bool,
    /// The `TwiML` application that handles the holder's outgoing calls; `None` allows no outgoing
    /// calls.
    pub application_sid: Option<&'a str>,
}

/// Creates an access token for the integration's account, valid from `now` for `lifetime`, in whole
/// seconds.
///
/// # Errors
/// [`SendError::Invalid`] if the integration is not Twilio's, a credential is missing, the identity
/// is empty, or `lifetime` is not between a second and a day.
pub fn access_token(
    integration: &Integration,
    credentials: &Credentials,
    grant: &VoiceGrant<'_>,
    now: Timestamp,
    lifetime: Duration,
) -> Result<SecretString, SendError> {
    let settings = settings::of(integration).ok_or_else(|| invalid("provider", "is not Twilio"))?;
    let account = settings.account_sid(integration, credentials);
    let account = account.ok_or_else(|| invalid("credentials.TWILIO_ACCOUNT_SID", "is missing"))?;
    let key = credentials.first(API_KEY);
    let key = key.ok_or_else(|| invalid("credentials.TWILIO_API_KEY", "is missing"))?;
    let secret = credentials.first(API_SECRET).filter(|s| !s.expose_secret().is_empty());
    let secret = secret.ok_or_else(|| invalid("credentials.TWILIO_API_SECRET", "is missing"))?;
    if grant.identity.is_empty() {
        return Err(invalid("identity", "must not be empty"));
    }
    if !(Duration::from_secs(1)..=MAX_LIFETIME).contains(&lifetime) {
        return Err(invalid("lifetime", "must be between 1 second and 24 hours"));
    }
    let mut voice = Map::new();
    if grant.incoming {
        voice.insert("incoming".to_owned(), json!({ "allow": true }));
    }
    if let Some(application_sid) = grant.application_sid {
        voice.insert("outgoing".to_owned(), json!({ "application_sid": application_sid }));
    }
    let iat = now.as_second();
    let key = key.expose_secret();
    let claims = json!({
        "jti": format!("{key}-{iat}"),
        "iss": key,
        "sub": account,
        "iat": iat,
        "exp": iat.saturating_add_unsigned(lifetime.as_secs()),
        "grants": { "identity": grant.identity, "voice": voice },
    });
    let header = json!({ "alg": "HS256", "typ": "JWT", "cty": "twilio-fpa;v=1" });
    Ok(jwt::sign(&header, &claims, secret).into())
}

#[cfg(test)]
mod tests {
    use super::super::{ACCOUNT_SID, tests::integration};
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::Value;

    const NOW: i64 = 1_795_176_000;
    const HOUR: Duration = Duration::from_hours(1);

    fn credentials() -> Credentials {
        let all = [(ACCOUNT_SID, "AC1"), (API_KEY, "SK1"), (API_SECRET, "key-secret")];
        Credentials::new(all.map(|(name, value)| (name.to_owned(), vec![value.into()])))
    }

    fn token(grant: &VoiceGrant<'_>, lifetime: Duration) -> Result<SecretString, SendError> {
        token_of(&json!({}), grant, lifetime)
    }

    fn token_of(
        settings: &Value,
        grant: &VoiceGrant<'_>,
        lifetime: Duration,
    ) -> Result<SecretString, SendError> {
        let now = Timestamp::from_second(NOW).unwrap();
        access_token(&integration(settings), &credentials(), grant, now, lifetime)
    }

    fn part(token: &str, place: usize) -> Value {
        let part = token.split('.').nth(place).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn access_token_has_the_shape_twilios_library_produces() {
        let grant = VoiceGrant { identity: "anna", incoming: true, application_sid: Some("AP1") };
        let token = token(&grant, HOUR).unwrap();
        let token = token.expose_secret();
        assert_eq!(
            part(token, 0),
            json!({ "alg": "HS256", "typ": "JWT", "cty": "twilio-fpa;v=1" })
        );
        let claims = json!({
            "jti": "SK1-1795176000", "iss": "SK1", "sub": "AC1",
            "iat": NOW, "exp": NOW + 3600,
            "grants": {
                "identity": "anna",
                "voice": {
                    "incoming": { "allow": true }, "outgoing": { "application_sid": "AP1" },
                },
            },
        });
        assert_eq!(part(token, 1), claims);
        let now = Timestamp::from_second(NOW).unwrap();
        let read = |secret: &str| {
            jwt::verify::<Value>(&[secret.into()], token, now, jwt::Expiry::Required)
        };
        assert_eq!(read("key-secret").unwrap(), claims);
        assert!(read("another").is_err());
    }

    #[test]
    fn access_token_is_for_the_subaccount_in_the_settings() {
        let grant = VoiceGrant { identity: "anna", ..VoiceGrant::default() };
        let token = token_of(&json!({ "account": "AC2" }), &grant, HOUR).unwrap();
        let claims = part(token.expose_secret(), 1);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("SK1"), &json!("AC2")));
    }

    #[test]
    fn access_token_without_grants_allows_nothing() {
        let grant = VoiceGrant { identity: "anna", ..VoiceGrant::default() };
        let token = token(&grant, HOUR).unwrap();
        assert_eq!(part(token.expose_secret(), 1)["grants"]["voice"], json!({}));
    }

    #[test]
    fn access_token_requires_a_key_an_identity_and_a_valid_lifetime() {
        let grant = VoiceGrant { identity: "anna", incoming: true, application_sid: None };
        assert!(token(&VoiceGrant { identity: "", ..grant }, HOUR).is_err());
        assert!(token(&grant, Duration::ZERO).is_err());
        assert!(token(&grant, MAX_LIFETIME).is_ok());
        assert!(token(&grant, MAX_LIFETIME + Duration::from_secs(1)).is_err());
        let now = Timestamp::from_second(NOW).unwrap();
        for missing in [ACCOUNT_SID, API_KEY, API_SECRET] {
            let kept = [(ACCOUNT_SID, "AC1"), (API_KEY, "SK1"), (API_SECRET, "key-secret")];
            let kept = kept.into_iter().filter(|(name, _)| *name != missing);
            let kept = kept.map(|(name, value)| (name.to_owned(), vec![value.into()]));
            let kept = Credentials::new(kept);
            let refused = access_token(&integration(&json!({})), &kept, &grant, now, HOUR);
            assert!(refused.is_err(), "{missing}");
        }
    }
}
