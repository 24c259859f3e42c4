//! X's JSON, limited to the fields that the hub reads.
//!
//! The JSON is parsed in layers: a part with an unexpected shape only affects itself, and the layer
//! above keeps it as raw text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::strtime;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::raw::{fit, text_or_number};
use crate::time::milliseconds;

/// A body, or its users by id.
pub(super) type Parts<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Fields that several kinds of events share; each is optional.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Element<'a> {
    #[serde(borrow, default)]
    pub(super) id_str: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) created_timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) timestamp_ms: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) created_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) sender_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) source: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) target: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) favorited_status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) message_create: Option<&'a RawValue>,
}

/// An object identified by its id, as text or as a number.
#[derive(Debug, Deserialize)]
pub(super) struct Identified<'a> {
    #[serde(borrow, default)]
    pub(super) id_str: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct MessageCreate<'a> {
    pub(super) sender_id: String,
    pub(super) target: Recipient,
    #[serde(borrow)]
    pub(super) message_data: &'a RawValue,
}

#[derive(Debug, Deserialize)]
pub(super) struct Recipient {
    pub(super) recipient_id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct MessageData<'a> {
    pub(super) text: String,
    #[serde(borrow, default)]
    pub(super) attachment: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Attachment {
    pub(super) media: Media,
}

#[derive(Debug, Deserialize)]
pub(super) struct Media {
    pub(super) id_str: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Nested {
    pub(super) data: User,
}

/// A user revoked the app's authorization.
#[derive(Debug, Deserialize)]
pub(super) struct UserEvent {
    pub(super) revoke: Revoke,
}

#[derive(Debug, Deserialize)]
pub(super) struct Revoke {
    #[serde(default)]
    pub(super) date_time: Option<String>,
    pub(super) source: RevokeSource,
}

#[derive(Debug, Deserialize)]
pub(super) struct RevokeSource {
    pub(super) user_id: String,
}

/// An event of the X Activity API. Source: README, facts 4.
#[derive(Debug, Deserialize)]
pub(super) struct Activity<'a> {
    pub(super) event_uuid: String,
    pub(super) event_type: String,
    #[serde(borrow, default)]
    pub(super) filter: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) payload: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    pub(super) user_id: String,
}

/// Returns the id of an object.
pub(super) fn id_of(raw: Option<&RawValue>) -> Option<String> {
    let part: Identified<'_> = fit(raw)?;
    text_or_number(part.id_str).or_else(|| text_or_number(part.id))
}

impl Element<'_> {
    /// Returns the event's time, which X writes in three ways.
    pub(super) fn at(&self) -> Option<Timestamp> {
        let at = milliseconds(self.created_timestamp);
        let at = at.or_else(|| milliseconds(self.timestamp_ms));
        at.or_else(|| parse_time(&fit::<String>(self.created_at)?))
    }
}

/// Parses `Wed Oct 10 20:19:24 +0000 2018`, or RFC 3339.
pub(super) fn parse_time(time: &str) -> Option<Timestamp> {
    let old = || strtime::parse("%a %b %d %H:%M:%S %z %Y", time).ok()?.to_timestamp().ok();
    time.parse().ok().or_else(old)
}
