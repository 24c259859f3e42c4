//! Receives LinkedIn's webhooks.

use domain::event::ParsedEvent;
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookReply, WebhookRequest,
    WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::{Method, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use serde_json::value::RawValue;

use super::settings::Settings;
use super::wire;
use crate::raw::{fit, text_or_number};
use crate::signature;
use crate::spec::settings_of;
use crate::time::milliseconds;

/// LinkedIn's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Linkedin
    }

    fn source(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Box<dyn WebhookSource> {
        let settings = settings_of::<Settings>(integration).unwrap_or_default();
        Box::new(Source {
            secrets: credentials.all(super::CLIENT_SECRET).to_vec(),
            application_id: settings.application_id,
        })
    }
}

struct Source {
    secrets: Vec<SecretString>,
    application_id: Option<String>,
}

/// Prefix of the signed text, before the body. Source: README, facts 2.
const PREFIX: &str = "hmacsha256=";
/// Maximum length of a challenge code, which is a UUID.
const MAX_CODE_LENGTH: usize = 128;

impl Source {
    /// Anyone may request the answer to a challenge code, and a code that starts with [`PREFIX`]
    /// would be answered with the signature of a body. A valid code has no `=`. Source: README,
    /// facts 1.
    fn verify_challenge(&self, request: &WebhookRequest) -> Result<(), Rejection> {
        let code = request.query("challengeCode").unwrap_or_default();
        if code.is_empty() {
            return Err(Rejection::Invalid("challengeCode is missing".to_owned()));
        }
        let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if code.len() > MAX_CODE_LENGTH || !code.bytes().all(fits) {
            return Err(Rejection::Invalid("challengeCode is not a valid code".to_owned()));
        }
        match (request.query("applicationId"), self.application_id.as_deref()) {
            (Some(asked), Some(ours)) if asked != ours => {
                return Err(Rejection::Forbidden(
                    "applicationId is not the integration's application",
                ));
            }
            _ => {}
        }
        if self.secrets.is_empty() {
            return Err(Rejection::Unauthenticated("the integration has no secret to answer with"));
        }
        Ok(())
    }

    fn answer(&self, request: &WebhookRequest) -> WebhookReply {
        let code = request.query("challengeCode").unwrap_or_default();
        let secret = self.secrets.first().map_or("", |secret| secret.expose_secret());
        let tag = signature::hmac_sha256(secret.as_bytes(), &[code.as_bytes()]);
        let body = json!({ "challengeCode": code, "challengeResponse": hex::encode(tag) });
        WebhookReply::json(StatusCode::OK, &body)
    }
}

impl WebhookSource for Source {
    /// Source: README, facts 1 and 2.
    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        if request.method == Method::GET {
            return self.verify_challenge(request);
        }
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("neither GET nor POST"));
        }
        let header = request.header("x-li-signature")?;
        let given = hex::decode(header.strip_prefix(PREFIX).unwrap_or(header));
        let given = given.map_err(|_| Rejection::Unauthenticated("signature is not hex"))?;
        let signed = [PREFIX.as_bytes(), &request.body];
        if signature::is_hmac_sha256(&self.secrets, &signed, &given) {
            Ok(())
        } else {
            Err(Rejection::Unauthenticated("signature does not match"))
        }
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        if request.method == Method::GET {
            return Ok(ParsedWebhook::Handshake(self.answer(request)));
        }
        let whole: &RawValue = serde_json::from_slice(&request.body)?;
        if !whole.get().starts_with('{') {
            return Err(Rejection::Unreadable("the body is not a JSON object".to_owned()));
        }
        let body: wire::Body<'_> = serde_json::from_str(whole.get())?;
        let kind = text_or_number(body.kind).unwrap_or_else(|| "notification".to_owned());
        let events = match fit::<Vec<&RawValue>>(body.notifications) {
            Some(list) => list.into_iter().map(|raw| read_notification(&kind, raw)).collect(),
            None if kind == "LEAD_ACTION" => vec![read_lead(whole)],
            None => vec![other("", &kind, None, whole)],
        };
        Ok(ParsedWebhook::Events(events))
    }
}

/// Returns an event that has no id of its own, so its id is the hash of its bytes.
fn other(account: &str, name: &str, at: Option<Timestamp>, raw: &RawValue) -> ParsedEvent {
    let id = signature::fingerprint(raw.get().as_bytes());
    ParsedEvent::other(account, id, name, at, raw)
}

fn event_name(kind: &str, action: Option<&RawValue>) -> String {
    text_or_number(action).map_or_else(|| kind.to_owned(), |action| format!("{kind}.{action}"))
}

/// Source: README, facts 3.
fn read_notification(kind: &str, raw: &RawValue) -> ParsedEvent {
    // Serde would read a list as the fields in order.
    let object = Some(raw).filter(|raw| raw.get().starts_with('{'));
    let notification: wire::Notification<'_> = fit(object).unwrap_or_default();
    let account = text_or_number(notification.organizational_entity).unwrap_or_default();
    let name = event_name(kind, notification.action);
    let at = milliseconds(notification.last_modified_at);
    let post = text_or_number(notification.source_post);
    let event = match text_or_number(notification.notification_id) {
        Some(id) => ParsedEvent::other(&account, id, &name, at, raw),
        None => other(&account, &name, at, raw),
    };
    let key = post.or_else(|| text_or_number(notification.generated_activity));
    ParsedEvent { ordering_key: key, ..event }
}

/// Source: README, facts 4.
fn read_lead(raw: &RawValue) -> ParsedEvent {
    let lead: wire::Lead<'_> = fit(Some(raw)).unwrap_or_default();
    let account = wire::owner(lead.owner).unwrap_or_default();
    let name = event_name("LEAD_ACTION", lead.lead_action);
    let at = milliseconds(lead.occurred_at);
    let Some(response) = text_or_number(lead.lead_gen_form_response) else {
        return other(&account, &name, at, raw);
    };
    let millisecond = at.map_or(0, Timestamp::as_millisecond);
    let id = format!("{response}:{name}:{millisecond}");
    ParsedEvent::other(&account, id, &name, at, raw).ordered_by(response)
}
