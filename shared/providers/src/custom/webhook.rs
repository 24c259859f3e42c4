//! Takes webhooks in from whoever speaks a scheme that the integration declares.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::event::ParsedEvent;
use domain::webhook::{
    Delivery, Rejection, Verified, WebhookProvider, WebhookReply, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::{Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::Value;

use super::settings::{Encoding, Hmac, Places, Scheme, Settings, Stamp};
use crate::entry::settings_of;
use crate::{form, raw, signature, standard_webhooks};

/// The webhooks of whoever speaks a scheme that the integration declares.
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
        let (scheme, places) = settings.map(|settings| (settings.scheme, settings.event)).unzip();
        Box::new(Source {
            secrets: credentials.all(super::WEBHOOK_SECRET).to_vec(),
            scheme,
            places: places.unwrap_or_default(),
            account: integration.account.clone().unwrap_or_default(),
        })
    }

    /// The answer that the sender of this integration wants to hear.
    fn accepted_by(&self, integration: &Integration) -> WebhookReply {
        let answer = settings_of::<Settings>(integration).map(|settings| settings.answer);
        let answer = answer.unwrap_or_default();
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
        let reply = WebhookReply::text(status, answer.body);
        // The text as it was given: writing it anew could change it.
        if serde_json::from_str::<&serde_json::value::RawValue>(&reply.body).is_ok() {
            return WebhookReply { content_type: "application/json", ..reply };
        }
        reply
    }
}

struct Source {
    secrets: Vec<SecretString>,
    /// `None` proves nothing.
    scheme: Option<Scheme>,
    places: Places,
    /// Of the integration, for events that name none.
    account: String,
}

/// The longest id, name, account or key that is taken as it is.
const LONGEST: usize = 512;

/// A header that is there, once, and plain text.
fn header<'a>(request: &'a WebhookRequest, name: &str) -> Option<&'a str> {
    let mut values = request.headers.get_all(name).iter();
    match (values.next()?.to_str(), values.next()) {
        (Ok(value), None) => Some(value),
        _ => None,
    }
}

const MISSING: Rejection = Rejection::Unauthenticated("a header that proves the sender is missing");
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
        let given = given.ok_or(Rejection::Unauthenticated("signature has another form"))?;
        let stamp = scheme.timestamp.as_ref();
        let (time, separator) = match stamp {
            Some(stamp) => {
                (header(request, &stamp.header).ok_or(MISSING)?, stamp.separator.as_str())
            }
            None => ("", ""),
        };
        let signed = [time.as_bytes(), separator.as_bytes(), &request.body];
        if !signature::is_hmac(scheme.algorithm.hmac(), &self.secrets, &signed, &given) {
            return Err(NO_MATCH);
        }
        stamp.map_or(Ok(()), |stamp| fresh(stamp, time, now))
    }
}

fn fresh(stamp: &Stamp, time: &str, now: Timestamp) -> Result<(), Rejection> {
    let at = moment(time).ok_or(Rejection::Unauthenticated("timestamp is no time"))?;
    let tolerance = SignedDuration::from_secs(stamp.tolerance_seconds.into());
    if now.duration_since(at).abs() > tolerance {
        return Err(Rejection::Unauthenticated("timestamp is not fresh"));
    }
    Ok(())
}

/// Seconds or milliseconds since the Unix epoch, or RFC 3339.
fn moment(text: &str) -> Option<Timestamp> {
    let Ok(number) = text.parse::<i64>() else { return text.parse().ok() };
    // 100,000,000,000 s are the year 5138, as many ms the year 1973.
    if number >= 100_000_000_000 {
        Timestamp::from_millisecond(number).ok()
    } else {
        Timestamp::from_second(number).ok()
    }
}

/// What follows the scheme's name in `Authorization`; the name's case does not matter.
fn authorization<'a>(request: &'a WebhookRequest, scheme: &str) -> Result<&'a str, Rejection> {
    let value = header(request, header::AUTHORIZATION.as_str()).ok_or(MISSING)?;
    match value.split_once(' ') {
        Some((name, rest)) if name.eq_ignore_ascii_case(scheme) => Ok(rest.trim()),
        _ => Err(Rejection::Unauthenticated("authorization is of another scheme")),
    }
}

impl WebhookSource for Source {
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        match &self.scheme {
            None => Err(Rejection::Unauthenticated("the integration declares no scheme")),
            Some(Scheme::Hmac(scheme)) => self.verify_hmac(scheme, request, now),
            Some(Scheme::Bearer(_)) => self.is_secret(authorization(request, "bearer")?),
            Some(Scheme::Header(named)) => {
                self.is_secret(header(request, &named.name).ok_or(MISSING)?)
            }
            Some(Scheme::Basic(_)) => {
                let pair = STANDARD.decode(authorization(request, "basic")?).ok();
                let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
                self.is_secret(&pair.ok_or(NO_MATCH)?)
            }
            Some(Scheme::StandardWebhooks(_)) => {
                standard_webhooks::verify(&self.secrets, &request.headers, &request.body, now)
            }
        }
    }

    /// Whatever it says is kept: the sender's rules are not ours.
    fn parse(&self, request: &Verified<'_>) -> Result<Delivery, Rejection> {
        let body = fields(request);
        let find = |place: &Option<String>| {
            let place = place.as_deref()?;
            let text = if place.starts_with('/') {
                said(body.pointer(place)?)?
            } else {
                header(request, place)?.trim().to_owned()
            };
            (!text.is_empty()).then_some(text)
        };
        let short = |text: &String| text.len() <= LONGEST;
        let name = find(&self.places.name).filter(short).unwrap_or_else(|| "webhook".to_owned());
        let id = find(&self.places.id)
            .map(|id| if short(&id) { id } else { signature::fingerprint(id.as_bytes()) });
        // The same body under another name is another event.
        let hash = || {
            let parts = [name.as_bytes(), b"\n", &request.body].concat();
            signature::fingerprint(&parts)
        };
        let id = id.unwrap_or_else(hash);
        let account = find(&self.places.account).filter(short);
        let account = account.unwrap_or_else(|| self.account.clone());
        let at = find(&self.places.time).and_then(|time| moment(&time));
        let at = at.unwrap_or(Timestamp::UNIX_EPOCH);
        let whole = raw::whole(&request.body);
        let event = ParsedEvent::other(&account, id, &name, at, &whole);
        let key = find(&self.places.ordering_key).filter(short);
        Ok(Delivery::Events(vec![ParsedEvent { ordering_key: key, ..event }]))
    }
}

/// The body as something to point into: JSON, or the fields of a form.
fn fields(request: &WebhookRequest) -> Value {
    let kind = header(request, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if kind.starts_with("application/x-www-form-urlencoded") {
        let mut fields = serde_json::Map::new();
        for (name, value) in form::decode(&request.body) {
            // The first of several, as everywhere.
            fields.entry(name).or_insert(Value::String(value));
        }
        return Value::Object(fields);
    }
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// What a value says in a line: text or a number.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
