//! Receives webhooks in the scheme that the integration's settings describe.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Content;
use domain::event::{EventKind, InboundMessage, ParsedEvent, Receipt};
use domain::webhook::{
    MAX_BODY_BYTES, ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookReply,
    WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::{Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::Value;
use serde_json::value::RawValue;

use super::MAX_NAME_BYTES;
use super::settings::{
    Encoding, Hmac, Messages, ReceiptStatus, Receipts, Scheme, Settings, SignedTimestamp,
};
use crate::address::phone_number;
use crate::spec::settings_of;
use crate::{authorization, form, raw, signature, standard_webhooks, time};

/// Webhooks in the scheme that the integration's settings describe.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Custom
    }

    fn source(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Box<dyn WebhookSource> {
        let settings = settings_of::<Settings>(integration);
        Box::new(Source {
            secrets: credentials.all(super::WEBHOOK_SECRET).to_vec(),
            settings,
            account: integration.account.clone().unwrap_or_default(),
        })
    }

    /// Returns the response from the integration's settings.
    fn accepted_by(&self, integration: &Integration) -> WebhookReply {
        let answer = settings_of::<Settings>(integration).map(|settings| settings.answer);
        let answer = answer.unwrap_or_default();
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        let reply = WebhookReply::text(status, answer.body);
        // The text is returned unchanged: serializing it again could change it.
        if serde_json::from_str::<&RawValue>(&reply.body).is_ok() {
            return WebhookReply { content_type: "application/json", ..reply };
        }
        reply
    }
}

struct Source {
    secrets: Vec<SecretString>,
    /// `None` verifies nothing.
    settings: Option<Settings>,
    /// The integration's account, for events that name none.
    account: String,
}

/// Returns a header that is present once and is plain text.
fn header<'a>(request: &'a WebhookRequest, name: &str) -> Option<&'a str> {
    let mut values = request.headers.get_all(name).iter();
    match (values.next()?.to_str(), values.next()) {
        (Ok(value), None) => Some(value),
        _ => None,
    }
}

const MISSING: Rejection =
    Rejection::Unauthenticated("the header with the secret or signature is missing");
const NO_MATCH: Rejection = Rejection::Unauthenticated("secret or signature does not match");

impl Source {
    fn is_secret(&self, given: &str) -> Result<(), Rejection> {
        if signature::is_one_of(&self.secrets, given) { Ok(()) } else { Err(NO_MATCH) }
    }

    fn verify_hmac(
        &self,
        scheme: &Hmac,
        request: &WebhookRequest,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let value = header(request, &scheme.header).ok_or(MISSING)?;
        let value = value.strip_prefix(scheme.prefix.as_str());
        let given = value.and_then(|value| match scheme.encoding {
            Encoding::Hex => hex::decode(value).ok(),
            Encoding::Base64 => STANDARD.decode(value).ok(),
        });
        let given = given
            .ok_or(Rejection::Unauthenticated("the signature has another prefix or encoding"))?;
        let timestamp = scheme.timestamp.as_ref();
        let (time, separator) = match timestamp {
            Some(timestamp) => {
                (header(request, &timestamp.header).ok_or(MISSING)?, timestamp.separator.as_str())
            }
            None => ("", ""),
        };
        let signed = [time.as_bytes(), separator.as_bytes(), &request.body];
        if !signature::is_hmac(scheme.algorithm.hmac(), &self.secrets, &signed, &given) {
            return Err(NO_MATCH);
        }
        timestamp.map_or(Ok(()), |timestamp| fresh(timestamp, time, now))
    }
}

fn fresh(timestamp: &SignedTimestamp, time: &str, now: Timestamp) -> Result<(), Rejection> {
    let at =
        parse_time(time).ok_or(Rejection::Unauthenticated("the timestamp is not a valid time"))?;
    let tolerance = SignedDuration::from_secs(timestamp.tolerance_seconds.into());
    if now.duration_since(at).abs() > tolerance {
        return Err(Rejection::Unauthenticated("the timestamp is outside the tolerance"));
    }
    Ok(())
}

/// Parses seconds or milliseconds since the Unix epoch, or RFC 3339.
fn parse_time(text: &str) -> Option<Timestamp> {
    match text.parse() {
        Ok(number) => time::from_seconds_or_milliseconds(number),
        Err(_) => text.parse().ok(),
    }
}

impl WebhookSource for Source {
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        match self.settings.as_ref().map(|settings| &settings.scheme) {
            None => Err(Rejection::Unauthenticated("the integration has no scheme")),
            Some(Scheme::Hmac(scheme)) => self.verify_hmac(scheme, request, now),
            Some(Scheme::Bearer(_)) => authorization::verify_bearer(&self.secrets, request),
            Some(Scheme::Header(named)) => {
                self.is_secret(header(request, &named.name).ok_or(MISSING)?)
            }
            Some(Scheme::Basic(_)) => {
                let pair = authorization::value(request, "basic")?;
                self.is_secret(&authorization::decode_basic(pair)?)
            }
            Some(Scheme::StandardWebhooks(_)) => {
                standard_webhooks::verify(&self.secrets, &request.headers, &request.body, now)
            }
        }
    }

    /// Any verified body is accepted, because the provider defines its own format.
    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let body = fields(request);
        let whole = raw::whole(&request.body);
        let settings = self.settings.as_ref();
        let places = settings.map(|settings| settings.event.clone()).unwrap_or_default();
        let find = |place: &Option<String>| {
            let place = place.as_deref()?;
            let text = if place.starts_with('/') {
                scalar_text(body.pointer(place)?)?
            } else {
                header(request, place)?.trim().to_owned()
            };
            (!text.is_empty()).then_some(text)
        };
        let short = |text: &String| text.len() <= MAX_NAME_BYTES;
        let account = find(&places.account).filter(short);
        let account = account.unwrap_or_else(|| self.account.clone());
        let at = find(&places.time).and_then(|time| parse_time(&time));

        let mut events = Vec::new();
        if let Some(rules) = settings.and_then(|settings| settings.message.as_ref()) {
            let parts = parts(&whole, &body, &rules.at, &rules.when);
            let read = |part: Part| read_message(rules, &account, at, &part);
            events.extend(parts.into_iter().filter_map(read));
        }
        if let Some(rules) = settings.and_then(|settings| settings.receipt.as_ref()) {
            let parts = parts(&whole, &body, &rules.at, &rules.when);
            let read = |part: Part| read_receipt(rules, &account, at, &part);
            events.extend(parts.into_iter().filter_map(read));
        }
        if !events.is_empty() {
            return Ok(ParsedWebhook::Events(events));
        }

        let name = find(&places.name).filter(short).unwrap_or_else(|| "webhook".to_owned());
        let id = find(&places.id)
            .map(|id| if short(&id) { id } else { signature::fingerprint(id.as_bytes()) });
        // The same body with another event name is another event.
        let hash = || {
            let parts = [name.as_bytes(), b"\n", &request.body].concat();
            signature::fingerprint(&parts)
        };
        let id = id.unwrap_or_else(hash);
        let event = ParsedEvent::other(&account, id, &name, at, &whole);
        let key = find(&places.ordering_key).filter(short);
        Ok(ParsedWebhook::Events(vec![ParsedEvent { ordering_key: key, ..event }]))
    }
}

/// Part of a request: its raw bytes, and its value for JSON pointers.
struct Part {
    raw: Box<RawValue>,
    value: Value,
}

impl Part {
    /// Returns the scalar at `place`, if it is short enough for a name.
    fn get(&self, place: &str) -> Option<String> {
        let text = scalar_text(self.value.pointer(place)?)?;
        (1..=MAX_NAME_BYTES).contains(&text.len()).then_some(text)
    }

    fn time(&self, place: Option<&String>) -> Option<Timestamp> {
        parse_time(&self.get(place?)?)
    }
}

/// Returns the parts of a request at `at` that have the values in `when`.
fn parts(whole: &RawValue, body: &Value, at: &str, when: &BTreeMap<String, String>) -> Vec<Part> {
    let parts: Vec<Part> = if at.is_empty() {
        // A form is not JSON, but has fields.
        vec![Part { raw: whole.to_owned(), value: body.clone() }]
    } else {
        let part = |raw: &RawValue| {
            let value = serde_json::from_str(raw.get()).ok()?;
            Some(Part { raw: raw.to_owned(), value })
        };
        raw::all_at(whole, at).into_iter().filter_map(part).collect()
    };
    let fits = |part: &Part| {
        when.iter().all(|(place, expected)| part.get(place).as_ref() == Some(expected))
    };
    parts.into_iter().filter(fits).collect()
}

fn read_message(
    rules: &Messages,
    account: &str,
    at: Option<Timestamp>,
    part: &Part,
) -> Option<ParsedEvent> {
    let (id, from) = (part.get(&rules.id)?, part.get(&rules.from)?);
    // In the form that the hub sends to.
    let from = phone_number(&from).unwrap_or(from);
    let text = rules.text.as_ref().and_then(|place| part.value.pointer(place)?.as_str());
    let content = match text.filter(|text| !text.is_empty()) {
        Some(text) => Content::Text { text: text.to_owned() },
        None => raw::unsupported(&part.raw),
    };
    let optional = |place: &Option<String>| part.get(place.as_deref()?);
    let kind = EventKind::Message(InboundMessage {
        channel: None,
        provider_message_id: id.clone(),
        from: from.clone(),
        name: optional(&rules.name),
        content,
        reply_to: optional(&rules.reply_to),
    });
    let at = part.time(rules.time.as_ref()).or(at);
    let event = ParsedEvent::other(account, format!("message:{id}"), "message", at, &part.raw);
    Some(ParsedEvent { kind, ..event }.ordered_by(from))
}

fn read_receipt(
    rules: &Receipts,
    account: &str,
    at: Option<Timestamp>,
    part: &Part,
) -> Option<ParsedEvent> {
    let provider_message_id = part.get(&rules.id)?;
    let provider_status = part.get(&rules.status)?;
    let at = part.time(rules.time.as_ref()).or(at);
    let id = format!("receipt:{provider_status}:{provider_message_id}");
    let event = ParsedEvent::other(account, id, "receipt", at, &part.raw)
        .ordered_by(format!("message:{provider_message_id}"));
    // A status that the settings do not map is recorded.
    let Some(receipt_status) = rules.statuses.get(&provider_status) else { return Some(event) };
    let reference = rules.reference.as_ref().and_then(|place| part.get(place)?.parse().ok());
    let reference = reference.or_else(|| provider_message_id.parse().ok());
    let code = rules.code.as_ref().and_then(|place| part.get(place));
    let kind = EventKind::Receipt(Receipt {
        provider_message_id,
        reference,
        status: receipt_status.status(),
        code: code.filter(|_| *receipt_status == ReceiptStatus::Failed),
        detail: None,
    });
    Some(ParsedEvent { kind, ..event })
}

/// Returns the body as a value for JSON pointers: JSON, or the fields of a form.
fn fields(request: &WebhookRequest) -> Value {
    let kind = header(request, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if kind.starts_with("application/x-www-form-urlencoded") {
        let mut fields = serde_json::Map::new();
        for (name, value) in form::read(&request.body, MAX_BODY_BYTES).unwrap_or_default() {
            // The first of repeated fields, as in every other form.
            fields.entry(name).or_insert(Value::String(value));
        }
        return Value::Object(fields);
    }
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// Returns a text or a number as text.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
