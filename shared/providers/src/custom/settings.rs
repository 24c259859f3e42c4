//! The settings of a sender of the tenant's own: how it proves itself, and where its events say
//! what they are.

use std::collections::BTreeMap;

use domain::Status;
use domain::integration::{DeliveryPolicy, Flaw, Settings as Kept};
use http::{HeaderName, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::sending::{self, Send};
use crate::entry::{explain, own};
use aws_lc_rs::hmac;

/// The longest prefix or separator.
const LONGEST_MARK: usize = 32;
/// The longest tolerance, in seconds: a day.
const LONGEST_TOLERANCE: u32 = 86_400;
/// The most that all settings have together, as JSON, in bytes: an item of the table has 400 KB.
const LARGEST: usize = 256 * 1024;
/// The longest answer, in bytes.
const LONGEST_ANSWER: usize = 4_096;

/// Settings of a sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The account that all events happen to, if they do not say themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// How a request is proved.
    pub(super) scheme: Scheme,
    /// Where a request says what happened.
    #[serde(default)]
    pub(super) event: Places,
    /// What the sender wants to hear.
    #[serde(default)]
    pub(super) answer: Answer,
    /// Which parts of a request are messages of people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Messages>,
    /// Which say how far a message of ours has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) receipt: Option<Receipts>,
    /// Where the provider is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base_url: Option<String>,
    /// What is sent from, if that is not `account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    /// What to do when a send's outcome is unknown.
    #[serde(default)]
    pub(super) delivery: DeliveryPolicy,
    /// Messages a second.
    #[serde(default = "pace")]
    pub(super) messages_per_second: u32,
    /// How the hub sends; without it, it only takes in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) send: Option<Send>,
}

/// Careful, with somebody whose limits are not known.
const fn pace() -> u32 {
    10
}

/// Which parts of a request are messages of people, and where in them it says what.
///
/// `at` is a pointer into the body in which `*` stands for each element; the others are
/// pointers into such a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Messages {
    #[serde(default)]
    pub(super) at: String,
    /// What must stand where.
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

/// Which parts of a request say how far a message of ours has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipts {
    #[serde(default)]
    pub(super) at: String,
    /// What must stand where.
    #[serde(default)]
    pub(super) when: BTreeMap<String, String>,
    /// The id that the provider gave the message.
    pub(super) id: String,
    /// What we sent along as `{{id}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<String>,
    pub(super) status: String,
    /// What the provider's words for a status mean.
    pub(super) statuses: BTreeMap<String, Reached>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<String>,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reached {
    Sent,
    Delivered,
    Read,
    Failed,
}

impl Reached {
    pub(super) const fn status(self) -> Status {
        match self {
            Self::Sent => Status::Sent,
            Self::Delivered => Status::Delivered,
            Self::Read => Status::Read,
            Self::Failed => Status::Failed,
        }
    }
}

/// How a request is proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Scheme {
    /// A header holds an HMAC under the secret.
    Hmac(Hmac),
    /// `Authorization: Bearer <secret>`.
    Bearer(Nothing),
    /// A header holds the secret.
    Header(Named),
    /// `Authorization: Basic`, and the secret is `<user>:<password>`.
    Basic(Nothing),
    /// Standard Webhooks; the secret is `whsec_...` or a public key `whpk_...`.
    StandardWebhooks(Nothing),
}

/// A scheme without settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A header that holds the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
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
    /// What stands before the signature in the header.
    #[serde(default)]
    pub(super) prefix: String,
    /// A time that is signed before the body; without it the body alone is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<Stamp>,
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

/// A time that is signed before the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    pub(super) header: String,
    /// What stands between the time and the body.
    #[serde(default = "dot")]
    pub(super) separator: String,
    /// How far the time may be from ours, in either direction.
    #[serde(default = "five_minutes")]
    pub(super) tolerance_seconds: u32,
}

fn dot() -> String {
    ".".to_owned()
}

const fn five_minutes() -> u32 {
    300
}

/// Where a request says what happened: each a JSON pointer into the body, `/data/id`, or the
/// name of a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Places {
    /// The event's id; without one, the body's hash is it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Whom it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<String>,
    /// What it must stay in order with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ordering_key: Option<String>,
}

impl Places {
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

/// What the sender wants to hear when a request was taken.
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

/// Reads the settings. Every flaw names its field.
pub(super) fn read(given: &Map<String, Value>) -> Result<Kept, Flaw> {
    if serde_json::to_string(given).map_or(usize::MAX, |text| text.len()) > LARGEST {
        return Err(Flaw::new("settings", format!("at most {LARGEST} bytes")));
    }
    // A tagged shape forgets at which field it failed: it is read by its type first.
    let scheme = given.get("scheme").ok_or_else(|| Flaw::new("settings.scheme", "is missing"))?;
    let Value::Object(scheme) = scheme else {
        return Err(Flaw::new("settings.scheme", "expected an object"));
    };
    let mut rest = scheme.clone();
    let kind = rest.remove("type");
    match kind.as_ref().and_then(Value::as_str) {
        Some("hmac") => check_hmac(&part("settings.scheme", rest)?)?,
        Some("header") => {
            let named: Named = part("settings.scheme", rest)?;
            header("settings.scheme.name", &named.name)?;
        }
        Some("bearer" | "basic" | "standard_webhooks") => {
            let Nothing {} = part("settings.scheme", rest)?;
        }
        _ => {
            let types = "expected hmac, bearer, header, basic or standard_webhooks";
            return Err(Flaw::new("settings.scheme.type", types));
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
    if settings.messages_per_second == 0 {
        return Err(Flaw::new("settings.messages_per_second", "at least 1"));
    }
    if let Some(send) = &settings.send {
        if settings.base_url.is_none() {
            return Err(Flaw::new("settings.base_url", "is missing: where the messages go"));
        }
        sending::check(send)?;
    }
    own::<Settings>(given)
}

/// Reads a part of the settings.
fn part<T: DeserializeOwned>(place: &str, given: Map<String, Value>) -> Result<T, Flaw> {
    serde_path_to_error::deserialize(Value::Object(given)).map_err(|error| {
        let flaw = explain(&error);
        // "unknown variant `x`, expected ..." would quote the value.
        let reason = match flaw.reason.split_once(", expected ") {
            Some((start, rest)) if start.starts_with("unknown variant") => {
                format!("expected {rest}")
            }
            _ if flaw.reason.starts_with("invalid value") => "is out of range".to_owned(),
            _ => flaw.reason,
        };
        Flaw { field: format!("{place}.{}", flaw.field), reason }
    })
}

fn header(field: &str, name: &str) -> Result<(), Flaw> {
    match name.parse::<HeaderName>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Flaw::new(field, "the name of a header")),
    }
}

fn mark(field: &str, text: &str) -> Result<(), Flaw> {
    if text.len() > LONGEST_MARK || !text.bytes().all(|c| (b' '..=b'~').contains(&c)) {
        let reason = format!("at most {LONGEST_MARK} visible characters of ASCII");
        return Err(Flaw::new(field, reason));
    }
    Ok(())
}

fn check_hmac(hmac: &Hmac) -> Result<(), Flaw> {
    header("settings.scheme.header", &hmac.header)?;
    mark("settings.scheme.prefix", &hmac.prefix)?;
    let Some(stamp) = &hmac.timestamp else { return Ok(()) };
    header("settings.scheme.timestamp.header", &stamp.header)?;
    mark("settings.scheme.timestamp.separator", &stamp.separator)?;
    if !(1..=LONGEST_TOLERANCE).contains(&stamp.tolerance_seconds) {
        let reason = format!("1 to {LONGEST_TOLERANCE}");
        return Err(Flaw::new("settings.scheme.timestamp.tolerance_seconds", reason));
    }
    Ok(())
}

fn check_part(of: &str, at: &str, when: &BTreeMap<String, String>) -> Result<(), Flaw> {
    if !at.is_empty() && !is_pointer(at) {
        let reason = "a JSON pointer like /results/*, or nothing for the whole body";
        return Err(Flaw::new(&format!("settings.{of}.at"), reason));
    }
    if !when.keys().all(|place| is_pointer(place)) {
        return Err(Flaw::new(&format!("settings.{of}.when"), "JSON pointers, with what is there"));
    }
    Ok(())
}

fn check_pointers(of: &str, places: &[(&str, Option<&str>)]) -> Result<(), Flaw> {
    for (name, place) in places {
        if !place.is_none_or(is_pointer) {
            let reason = "a JSON pointer like /id, into the part";
            return Err(Flaw::new(&format!("settings.{of}.{name}"), reason));
        }
    }
    Ok(())
}

/// Whether a text is a JSON pointer to something inside. RFC 6901: `~` stands only in `~0` and
/// `~1`.
pub(super) fn is_pointer(place: &str) -> bool {
    place.starts_with('/') && place.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

/// What sends may travel in a header.
pub(super) fn check_credential(name: &str, value: &str) -> Result<(), Flaw> {
    let travels = value.bytes().all(|c| (b' '..=b'~').contains(&c));
    if super::SENDING.contains(&name) && (!travels || value.trim().is_empty()) {
        let field = format!("credentials.{name}");
        return Err(Flaw::new(&field, "must have visible characters of ASCII alone"));
    }
    Ok(())
}

fn check_place(field: &str, place: Option<&str>) -> Result<(), Flaw> {
    match place {
        None => Ok(()),
        Some(pointer) if pointer.starts_with('/') => {
            if is_pointer(pointer) {
                Ok(())
            } else {
                Err(Flaw::new(field, "a JSON pointer like /data/id"))
            }
        }
        Some(name) if name.parse::<HeaderName>().is_ok() => Ok(()),
        Some(_) => Err(Flaw::new(field, "a JSON pointer like /data/id, or the name of a header")),
    }
}

fn check_answer(answer: &Answer) -> Result<(), Flaw> {
    if !StatusCode::from_u16(answer.status).is_ok_and(|status| status.is_success()) {
        return Err(Flaw::new("settings.answer.status", "200 to 299"));
    }
    if answer.body.len() > LONGEST_ANSWER {
        return Err(Flaw::new("settings.answer.body", format!("at most {LONGEST_ANSWER} bytes")));
    }
    if matches!(answer.status, 204 | 205) && !answer.body.is_empty() {
        return Err(Flaw::new("settings.answer.body", "that status has no body"));
    }
    Ok(())
}
