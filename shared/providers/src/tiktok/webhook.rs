//! Receives TikTok's webhooks.

use domain::event::ParsedEvent;
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::Method;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::value::RawValue;

use super::wire;
use crate::raw::fit;
use crate::signature;
use crate::time::seconds;

/// TikTok's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Tiktok
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source { secrets: credentials.all(super::CLIENT_SECRET).to_vec() })
    }
}

struct Source {
    secrets: Vec<SecretString>,
}

/// Returns the timestamp and the signature in `t=<seconds>,s=<hex>`, each of which must occur once.
/// Source: README, facts 1.
fn split_header(header: &str) -> Option<(&str, &str)> {
    let (mut time, mut signature) = (None, None);
    for part in header.split(',') {
        let slot = match part.trim().split_once('=')? {
            ("t", value) => (&mut time, value),
            ("s", value) => (&mut signature, value),
            _ => continue,
        };
        if slot.0.replace(slot.1).is_some() {
            return None;
        }
    }
    Some((time?, signature?))
}

impl WebhookSource for Source {
    /// Source: README, facts 1.
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        let parts = split_header(request.header("tiktok-signature")?);
        let (time, given) =
            parts.ok_or(Rejection::Unauthenticated("signature is not t= and s="))?;
        let given = hex::decode(given);
        let given = given.map_err(|_| Rejection::Unauthenticated("signature is not hex"))?;
        let signed = [time.as_bytes(), b".", &request.body];
        if !signature::is_hmac_sha256(&self.secrets, &signed, &given) {
            return Err(Rejection::Unauthenticated("signature does not match"));
        }
        signature::check_timestamp(time, now)
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let whole: &RawValue = serde_json::from_slice(&request.body)?;
        if !whole.get().starts_with('{') {
            return Err(Rejection::Unreadable("the body is not an object".to_owned()));
        }
        let notification: wire::Notification<'_> = serde_json::from_str(whole.get())?;
        let parts = [notification.user_openid, notification.create_time, notification.content];
        let parts = parts.map(|part| part.map_or("", RawValue::get));
        let hashed = [notification.event.as_str(), "\n", &parts.join("\n")].concat();
        let id = signature::fingerprint(hashed.as_bytes());
        let at = seconds(notification.create_time);
        let user: String = fit(notification.user_openid).unwrap_or_default();
        let key = (!user.is_empty()).then(|| user.clone());
        let event = ParsedEvent::other(&user, id, &notification.event, at, whole);
        Ok(ParsedWebhook::Events(vec![ParsedEvent { ordering_key: key, ..event }]))
    }
}
