//! Meta's JSON for Pages and Instagram, limited to the fields that the hub reads.
//!
//! The JSON is parsed in layers: a part with an unexpected shape only affects itself, and the layer
//! above keeps it as raw text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::raw::{fit, text_or_number};

/// Source: README, facts 2.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) object: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) entry: Vec<&'a RawValue>,
}

/// Events of one Page, Instagram account or user.
#[derive(Debug, Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) time: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) messaging: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub(super) standby: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub(super) changes: Option<Vec<&'a RawValue>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Change<'a> {
    #[serde(borrow)]
    pub(super) field: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) value: &'a RawValue,
}

/// Time and subject of a change.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Value<'a> {
    #[serde(borrow, default)]
    pub(super) created_time: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) post_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) media: Option<&'a RawValue>,
}

/// An item of `messaging`: two parties, a time, and one part with its content.
pub(super) type Item<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

#[derive(Debug, Deserialize)]
pub(super) struct Party<'a> {
    #[serde(borrow)]
    pub(super) id: &'a RawValue,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    pub(super) mid: String,
    #[serde(default)]
    pub(super) is_echo: bool,
    #[serde(default)]
    pub(super) is_deleted: bool,
    #[serde(borrow, default)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) quick_reply: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) attachments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reply_to: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct QuickReply {
    pub(super) payload: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Attachment<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) payload: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Payload<'a> {
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(borrow, default)]
    pub(super) sticker_id: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) coordinates: Option<Coordinates>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Coordinates {
    pub(super) lat: f64,
    pub(super) long: f64,
}

/// An object that identifies a message by its `mid`.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) mid: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Mids<'a> {
    #[serde(borrow)]
    pub(super) mids: Vec<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Postback {
    pub(super) mid: String,
    #[serde(default)]
    pub(super) title: String,
    pub(super) payload: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reaction<'a> {
    pub(super) mid: String,
    #[serde(borrow)]
    pub(super) action: Cow<'a, str>,
    #[serde(default)]
    pub(super) emoji: Option<String>,
}

/// Returns the id of one of the two parties.
pub(super) fn party(raw: Option<&RawValue>) -> Option<String> {
    text_or_number(Some(fit::<Party<'_>>(raw)?.id))
}
