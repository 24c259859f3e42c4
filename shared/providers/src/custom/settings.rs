//! Settings of a custom provider: how its webhooks are authenticated, and where a request has the
//! fields of an event.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use domain::Status;
use domain::integration::{DeliveryPolicy, FieldError, Settings as IntegrationSettings};
use http::{HeaderName, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::sending::{self, Send};
use super::size;
use crate::settings::PerSecond;
use crate::spec::{explain, with_defaults};

/// Maximum length of a prefix or separator, in bytes.
const MAX_PREFIX_BYTES: usize = 32;
/// Maximum tolerance, in seconds: a day.
const MAX_TOLERANCE_SECONDS: u32 = 86_400;
/// Maximum size of all settings as JSON, in bytes: a table item has at most 400 KB.
const MAX_SETTINGS_BYTES: usize = 256 * 1024;
/// Maximum size of the response body, in bytes.
const MAX_ANSWER_BYTES: usize = 4_096;

/// Settings of a custom provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Account of events that do not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// Authentication of a request.
    pub(super) scheme: Scheme,
    /// Location of the event's fields in a request.
    #[serde(default)]
    pub(super) event: EventPointers,
    /// Response to an accepted request.
    #[serde(default)]
    pub(super) answer: Answer,
    /// Which parts of a request are incoming messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Messages>,
    /// Which parts of a request are statuses of outgoing messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) receipt: Option<Receipts>,
    /// Base URL of the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base_url: Option<String>,
    /// The number to send from, if it is not `account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    /// Delivery policy for a send with an unknown outcome.
    #[serde(default)]
    pub(super) delivery: DeliveryPolicy,
    /// Messages per second.
    #[serde(default)]
    pub(super) messages_per_second: PerSecond<PACE>,
    /// Settings of sending; without them, the integration only receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) send: Option<Send>,
}

/// A low rate, because the provider's limits are unknown.
const PACE: u32 = 10;

/// Which parts of a request are incoming messages, and where their fields are.
///
/// `at` is a JSON pointer into the body in which `*` stands for each element; the other fields are
/// JSON pointers into such a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Messages {
    #[serde(default)]
    pub(super) at: String,
    /// Values that the part must have, by JSON pointer.
    #[serde(default)]
    pub(super) when: BTreeMap<String, String>,
    pub(super) id: String,
    pub(super) from: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reply_to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<String>,
}

/// Which parts of a request are statuses of outgoing messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipts {
    #[serde(default)]
    pub(super) at: String,
    /// Values that the part must have, by JSON pointer.
    #[serde(default)]
    pub(super) when: BTreeMap<String, String>,
    /// The provider's message id.
    pub(super) id: String,
    /// The hub's message id, sent as `{{id}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<String>,
    pub(super) status: String,
    /// Meaning of each of the provider's statuses.
    pub(super) statuses: BTreeMap<String, ReceiptStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<String>,
}

/// Status of an outgoing message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReceiptStatus {
    Sent,
    Delivered,
    Read,
    Failed,
}

impl ReceiptStatus {
    pub(super) const fn status(self) -> Status {
        match self {
            Self::Sent => Status::Sent,
            Self::Delivered => Status::Delivered,
            Self::Read => Status::Read,
            Self::Failed => Status::Failed,
        }
    }
}

/// Authentication of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Scheme {
    /// A header holds an HMAC keyed with the secret.
    Hmac(Hmac),
    /// `Authorization: Bearer <secret>`.
    Bearer(NoSettings),
    /// A header holds the secret.
    Header(HeaderScheme),
    /// `Authorization: Basic`, and the secret is `<user>:<password>`.
    Basic(NoSettings),
    /// Standard Webhooks; the secret is `whsec_...` or a public key `whpk_...`.
    StandardWebhooks(NoSettings),
}

/// A scheme without settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoSettings {}

/// A header that holds the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderScheme {
    pub(super) name: String,
}

/// A header that holds an HMAC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hmac {
    pub(super) header: String,
    #[serde(default)]
    pub(super) algorithm: Algorithm,
    #[serde(default)]
    pub(super) encoding: Encoding,
    /// Prefix of the signature in the header.
    #[serde(default)]
    pub(super) prefix: String,
    /// Timestamp that is signed before the body; without it, only the body is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<SignedTimestamp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Algorithm {
    Sha1,
    #[default]
    Sha256,
    Sha512,
}

impl Algorithm {
    pub(super) const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// Timestamp that is signed before the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignedTimestamp {
    pub(super) header: String,
    /// Separator between the timestamp and the body.
    #[serde(default = "dot")]
    pub(super) separator: String,
    /// Maximum difference from the current time, in either direction.
    #[serde(default = "five_minutes")]
    pub(super) tolerance_seconds: u32,
}

fn dot() -> String {
    ".".to_owned()
}

const fn five_minutes() -> u32 {
    300
}

/// Location of the event's fields in a request: each is a JSON pointer into the body, such as
/// `/data/id`, or the name of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventPointers {
    /// Id of the event; without one, the hash of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Name of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Account of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// Time of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<String>,
    /// Key of the events that stay in order with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ordering_key: Option<String>,
}

impl EventPointers {
    fn each(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("id", self.id.as_deref()),
            ("name", self.name.as_deref()),
            ("account", self.account.as_deref()),
            ("time", self.time.as_deref()),
            ("ordering_key", self.ordering_key.as_deref()),
        ]
    }
}

/// Response to an accepted request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    #[serde(default = "ok")]
    pub(super) status: u16,
    #[serde(default)]
    pub(super) body: String,
}

const fn ok() -> u16 {
    200
}

impl Default for Answer {
    fn default() -> Self {
        Self { status: ok(), body: String::new() }
    }
}

/// Reads and validates the settings. Every error names its field.
pub(super) fn read(given: &Map<String, Value>) -> Result<IntegrationSettings, FieldError> {
    if serde_json::to_string(given).map_or(usize::MAX, |text| text.len()) > MAX_SETTINGS_BYTES {
        return Err(FieldError::new(
            "settings",
            format!("must have at most {MAX_SETTINGS_BYTES} bytes"),
        ));
    }
    // A deserialization error in a tagged enum does not name its field, so the scheme is read by
    // its type first.
    let scheme =
        given.get("scheme").ok_or_else(|| FieldError::new("settings.scheme", "is missing"))?;
    let Value::Object(scheme) = scheme else {
        return Err(FieldError::new("settings.scheme", "must be an object"));
    };
    let mut rest = scheme.clone();
    let kind = rest.remove("type");
    match kind.as_ref().and_then(Value::as_str) {
        Some("hmac") => check_hmac(&part("settings.scheme", rest)?)?,
        Some("header") => {
            let named: HeaderScheme = part("settings.scheme", rest)?;
            header("settings.scheme.name", &named.name)?;
        }
        Some("bearer" | "basic" | "standard_webhooks") => {
            let NoSettings {} = part("settings.scheme", rest)?;
        }
        _ => {
            let types = "must be hmac, bearer, header, basic or standard_webhooks";
            return Err(FieldError::new("settings.scheme.type", types));
        }
    }
    let settings: Settings = part("settings", given.clone())?;
    for (name, place) in settings.event.each() {
        check_place(&format!("settings.event.{name}"), place)?;
    }
    check_answer(&settings.answer)?;
    if let Some(Messages { at, when, id, from, name, text, reply_to, time }) = &settings.message {
        check_part("message", at, when)?;
        let optional = [("name", name), ("text", text), ("reply_to", reply_to), ("time", time)];
        let optional = optional.map(|(name, place)| (name, place.as_deref()));
        check_pointers("message", &[("id", Some(id)), ("from", Some(from))])?;
        check_pointers("message", &optional)?;
    }
    if let Some(Receipts { at, when, id, reference, status, statuses: _, code, time }) =
        &settings.receipt
    {
        check_part("receipt", at, when)?;
        let optional = [("reference", reference), ("code", code), ("time", time)];
        let optional = optional.map(|(name, place)| (name, place.as_deref()));
        check_pointers("receipt", &[("id", Some(id)), ("status", Some(status))])?;
        check_pointers("receipt", &optional)?;
    }
    if let Some(send) = &settings.send {
        if settings.base_url.is_none() {
            return Err(FieldError::new(
                "settings.base_url",
                "is missing: give the URL of the provider's API",
            ));
        }
        sending::check(send)?;
        let from = settings.from.as_deref().or(settings.account.as_deref());
        size::check(from.unwrap_or_default(), settings.base_url.as_deref(), send)?;
    }
    with_defaults::<Settings>(given)
}

/// Reads a part of the settings.
fn part<T: DeserializeOwned>(place: &str, given: Map<String, Value>) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(Value::Object(given)).map_err(|error| {
        let error = explain(&error);
        FieldError { field: format!("{place}.{}", error.field), ..error }
    })
}

fn header(field: &str, name: &str) -> Result<(), FieldError> {
    match name.parse::<HeaderName>() {
        Ok(_) => Ok(()),
        Err(_) => Err(FieldError::new(field, "must be the name of a header")),
    }
}

fn check_ascii(field: &str, text: &str) -> Result<(), FieldError> {
    if text.len() > MAX_PREFIX_BYTES || !text.bytes().all(|c| (b' '..=b'~').contains(&c)) {
        let reason = format!("must have at most {MAX_PREFIX_BYTES} visible ASCII characters");
        return Err(FieldError::new(field, reason));
    }
    Ok(())
}

fn check_hmac(hmac: &Hmac) -> Result<(), FieldError> {
    header("settings.scheme.header", &hmac.header)?;
    check_ascii("settings.scheme.prefix", &hmac.prefix)?;
    let Some(stamp) = &hmac.timestamp else { return Ok(()) };
    header("settings.scheme.timestamp.header", &stamp.header)?;
    check_ascii("settings.scheme.timestamp.separator", &stamp.separator)?;
    if !(1..=MAX_TOLERANCE_SECONDS).contains(&stamp.tolerance_seconds) {
        let reason = format!("must be between 1 and {MAX_TOLERANCE_SECONDS}");
        return Err(FieldError::new("settings.scheme.timestamp.tolerance_seconds", reason));
    }
    Ok(())
}

fn check_part(of: &str, at: &str, when: &BTreeMap<String, String>) -> Result<(), FieldError> {
    if !at.is_empty() && !is_pointer(at) {
        let reason = "must be a JSON pointer such as /results/*, or empty for the whole body";
        return Err(FieldError::new(&format!("settings.{of}.at"), reason));
    }
    if !when.keys().all(|place| is_pointer(place)) {
        return Err(FieldError::new(
            &format!("settings.{of}.when"),
            "must map JSON pointers to the values they must have",
        ));
    }
    Ok(())
}

fn check_pointers(of: &str, places: &[(&str, Option<&str>)]) -> Result<(), FieldError> {
    for (name, place) in places {
        if !place.is_none_or(is_pointer) {
            let reason = "must be a JSON pointer into the part, such as /id";
            return Err(FieldError::new(&format!("settings.{of}.{name}"), reason));
        }
    }
    Ok(())
}

/// Whether `place` is a JSON pointer to a value inside a document. RFC 6901: `~` is only valid in
/// `~0` and `~1`.
pub(super) fn is_pointer(place: &str) -> bool {
    place.starts_with('/') && place.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

/// Checks that a credential for sending can be part of a header.
pub(super) fn check_credential(name: &str, value: &str) -> Result<(), FieldError> {
    let travels = value.bytes().all(|c| (b' '..=b'~').contains(&c));
    if super::SENDING_CREDENTIALS.contains(&name) && (!travels || value.trim().is_empty()) {
        let field = format!("credentials.{name}");
        return Err(FieldError::new(&field, "must only have visible ASCII characters"));
    }
    Ok(())
}

fn check_place(field: &str, place: Option<&str>) -> Result<(), FieldError> {
    match place {
        None => Ok(()),
        Some(pointer) if pointer.starts_with('/') => {
            if is_pointer(pointer) {
                Ok(())
            } else {
                Err(FieldError::new(field, "must be a JSON pointer such as /data/id"))
            }
        }
        Some(name) if name.parse::<HeaderName>().is_ok() => Ok(()),
        Some(_) => Err(FieldError::new(
            field,
            "must be a JSON pointer such as /data/id, or the name of a header",
        )),
    }
}

fn check_answer(answer: &Answer) -> Result<(), FieldError> {
    if !StatusCode::from_u16(answer.status).is_ok_and(|status| status.is_success()) {
        return Err(FieldError::new("settings.answer.status", "must be between 200 and 299"));
    }
    if answer.body.len() > MAX_ANSWER_BYTES {
        return Err(FieldError::new(
            "settings.answer.body",
            format!("must have at most {MAX_ANSWER_BYTES} bytes"),
        ));
    }
    if matches!(answer.status, 204 | 205) && !answer.body.is_empty() {
        return Err(FieldError::new(
            "settings.answer.body",
            "must be empty: this status has no body",
        ));
    }
    Ok(())
}
