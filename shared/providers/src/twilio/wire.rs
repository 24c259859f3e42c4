//! Twilio's forms and JSON. Only what we read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::webhook::{Rejection, WebhookRequest};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::form;

/// The version of the API: a part of every address.
pub(super) const API_VERSION: &str = "2010-04-01";

/// The name of the query parameter by which our own id comes back with a message's states.
pub(super) const REFERENCE: &str = "message";

/// The name of the query parameter that holds the hash of a JSON body. Source: README, facts 1.
pub(super) const BODY_HASH: &str = "bodySHA256";

/// The largest form, in bytes. A message of WhatsApp's 4,096 characters has 48 KiB where each is
/// written as four bytes.
const LARGEST_FORM: usize = 256 * 1024;
const TOO_LARGE: Rejection = Rejection::TooLarge("a form may have 256 KiB and 1000 fields");

/// How a request brings what it tells. It follows from what is signed, never from a header
/// that is not.
pub(super) enum Carrier<'a> {
    /// In the query, which is signed with the address.
    Query,
    /// In a form, whose fields are signed.
    Form,
    /// In a body whose hash stands in the signed address.
    Hashed(&'a str),
}

impl<'a> Carrier<'a> {
    /// How `request` brings it; `None` if it is neither GET nor POST.
    pub(super) fn of(request: &'a WebhookRequest) -> Option<Self> {
        match (&request.method, request.query(BODY_HASH)) {
            (&Method::GET, _) => Some(Self::Query),
            (&Method::POST, Some(hash)) => Some(Self::Hashed(hash)),
            (&Method::POST, None) => Some(Self::Form),
            _ => None,
        }
    }
}

/// Fields, each pair of name and value once, sorted by name and then by value: as they are
/// signed. What is read of them does not depend on the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The fields of a form.
    ///
    /// # Errors
    /// [`Rejection::TooLarge`], before any field is read.
    pub(super) fn of_form(body: &[u8]) -> Result<Self, Rejection> {
        form::read(body, LARGEST_FORM).map(Self::new).ok_or(TOO_LARGE)
    }

    /// Those fields.
    pub(super) fn new(mut fields: Vec<(String, String)>) -> Self {
        // Whatever adds nothing to what is signed does not count.
        fields.retain(|(name, value)| !name.is_empty() || !value.is_empty());
        fields.sort_unstable();
        fields.dedup();
        Self(fields)
    }

    /// The value of `name`, if it is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.partition_point(|(key, _)| key.as_str() < name);
        let (key, value) =
            self.0.get(at..)?.iter().find(|(key, value)| key != name || !value.is_empty())?;
        (key == name).then_some(value.as_str())
    }

    /// Each name and value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The fields as JSON; of a name that comes twice, the last value.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let all: BTreeMap<&str, &str> = self.iter().collect();
        serde_json::json!(all)
    }
}

/// An event of an event stream, which is a `CloudEvent`.
///
/// <https://www.twilio.com/docs/events/event-types>
#[derive(Debug, Deserialize)]
pub(super) struct CloudEvent<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) time: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
}

/// Of an event's data, whose it is: products spell it in their own ways.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Owner<'a> {
    #[serde(alias = "AccountSid", alias = "account_sid", rename = "accountSid", borrow, default)]
    pub(super) account_sid: Option<Cow<'a, str>>,
}

/// The answer to a message or call that was taken.
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    pub(super) sid: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) error_code: Option<i64>,
}

/// The answer to what was refused.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: Option<i64>,
}

/// An account as Twilio shows it, or a list of its numbers.
#[derive(Debug, Deserialize)]
pub(super) struct Described {
    pub(super) sid: Option<String>,
    pub(super) friendly_name: Option<String>,
    pub(super) status: Option<String>,
}
