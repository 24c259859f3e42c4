//! Twilio's forms and JSON, limited to the fields that the hub reads.

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::webhook::{Rejection, WebhookRequest};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::form;

/// Version of the API, a segment of every URL.
pub(super) const API_VERSION: &str = "2010-04-01";

/// Query parameter that returns the hub's message id with a message's statuses.
pub(super) const REFERENCE: &str = "message";

/// Query parameter with the hash of a JSON body. Source: README, facts 1.
pub(super) const BODY_HASH: &str = "bodySHA256";

/// Maximum size of a form, in bytes. A `WhatsApp` message of 4,096 characters takes 48 KiB where
/// each character is 4 bytes, percent-encoded.
const MAX_FORM_BYTES: usize = 256 * 1024;
const FORM_TOO_LARGE: Rejection =
    Rejection::TooLarge("the form is larger than 256 KiB or has more than 1000 fields");

/// Part of a request that holds the payload. It is derived from what is signed, never from an
/// unsigned header.
pub(super) enum PayloadLocation<'a> {
    /// The query, which is signed with the URL.
    Query,
    /// A form, whose fields are signed.
    Form,
    /// A body whose hash is in the signed URL.
    Hashed(&'a str),
}

impl<'a> PayloadLocation<'a> {
    /// Returns the payload's location in `request`; `None` if the method is neither GET nor POST.
    pub(super) fn of(request: &'a WebhookRequest) -> Option<Self> {
        match (&request.method, request.query(BODY_HASH)) {
            (&Method::GET, _) => Some(Self::Query),
            (&Method::POST, Some(hash)) => Some(Self::Hashed(hash)),
            (&Method::POST, None) => Some(Self::Form),
            _ => None,
        }
    }
}

/// Fields of a request: each distinct pair of name and value once, sorted by name and then by
/// value, which is the order in which they are signed. The result does not depend on the order of
/// arrival.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads the fields of a form.
    ///
    /// # Errors
    /// [`Rejection::TooLarge`], before any field is read.
    pub(super) fn of_form(body: &[u8]) -> Result<Self, Rejection> {
        form::read(body, MAX_FORM_BYTES).map(Self::new).ok_or(FORM_TOO_LARGE)
    }

    /// Sorts and deduplicates `fields`.
    pub(super) fn new(mut fields: Vec<(String, String)>) -> Self {
        // An empty pair adds nothing to the signed text.
        fields.retain(|(name, value)| !name.is_empty() || !value.is_empty());
        fields.sort_unstable();
        fields.dedup();
        Self(fields)
    }

    /// Returns the value of `name`, if it is present and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.partition_point(|(key, _)| key.as_str() < name);
        let (key, value) =
            self.0.get(at..)?.iter().find(|(key, value)| key != name || !value.is_empty())?;
        (key == name).then_some(value.as_str())
    }

    /// Returns each name and value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the fields as JSON; of a repeated name, the last value.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let all: BTreeMap<&str, &str> = self.iter().collect();
        serde_json::json!(all)
    }
}

/// Event of an event stream, which is a `CloudEvent`.
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

/// Account of an event. Twilio's products spell the field differently.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Owner<'a> {
    #[serde(alias = "AccountSid", alias = "account_sid", rename = "accountSid", borrow, default)]
    pub(super) account_sid: Option<Cow<'a, str>>,
}

/// Response to an accepted message or call.
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    pub(super) sid: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) error_code: Option<i64>,
}

/// Response to a rejected request.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: Option<i64>,
}

/// An account, or the list of its numbers.
#[derive(Debug, Deserialize)]
pub(super) struct Described {
    pub(super) sid: Option<String>,
    pub(super) friendly_name: Option<String>,
    pub(super) status: Option<String>,
}
