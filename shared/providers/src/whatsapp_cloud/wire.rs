//! Meta's JSON, limited to the fields that the hub reads or writes.
//!
//! Webhooks are parsed in layers: a part with an unexpected shape only affects itself, and the
//! layer above keeps it as raw text.

#![expect(clippy::struct_field_names, reason = "the fields have the provider's names")]

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

// Requests from Meta.

/// <https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages>
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) object: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) entry: Vec<Entry<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(borrow, default)]
    pub(super) changes: Vec<Change<'a>>,
    /// Time of account events; messages have their own.
    #[serde(borrow, default)]
    pub(super) time: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Change<'a> {
    #[serde(borrow)]
    pub(super) field: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) value: &'a RawValue,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Value<'a> {
    #[serde(borrow, default)]
    pub(super) metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) contacts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) messages: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub(super) statuses: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub(super) errors: Option<Vec<&'a RawValue>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) phone_number_id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Contact<'a> {
    #[serde(borrow)]
    pub(super) wa_id: Cow<'a, str>,
    pub(super) profile: Profile,
}

#[derive(Debug, Deserialize)]
pub(super) struct Profile {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    pub(super) id: String,
    pub(super) from: String,
    #[serde(borrow, default)]
    pub(super) timestamp: Option<&'a RawValue>,
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Cow<'a, str>,
    #[serde(default)]
    pub(super) group_id: Option<String>,
    #[serde(borrow, default)]
    pub(super) context: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) image: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) video: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) audio: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) document: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) sticker: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) location: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) contacts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reaction: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) button: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) interactive: Option<&'a RawValue>,
}

/// A forwarded message has no id here.
#[derive(Debug, Deserialize)]
pub(super) struct Context {
    pub(super) id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Text {
    pub(super) body: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Media {
    pub(super) id: String,
    pub(super) mime_type: Option<String>,
    pub(super) caption: Option<String>,
    pub(super) filename: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Location {
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    pub(super) name: Option<String>,
    pub(super) address: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Card {
    pub(super) name: CardName,
    #[serde(default)]
    pub(super) phones: Vec<CardPhone>,
    #[serde(default)]
    pub(super) emails: Vec<CardEmail>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CardName {
    pub(super) formatted_name: Option<String>,
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CardPhone {
    pub(super) phone: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CardEmail {
    pub(super) email: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reaction {
    pub(super) message_id: String,
    /// Absent or empty when the reaction was removed.
    #[serde(default)]
    pub(super) emoji: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Button {
    pub(super) text: String,
    pub(super) payload: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Interactive {
    ButtonReply { button_reply: Choice },
    ListReply { list_reply: Choice },
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) description: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Status<'a> {
    pub(super) id: String,
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) biz_opaque_callback_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) errors: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StatusError {
    pub(super) code: i64,
    pub(super) title: Option<String>,
}

// Requests to Meta.

/// <https://github.com/facebook/openapi>, `POST /{Version}/{Phone-Number-ID}/messages`.
#[derive(Debug, Serialize)]
pub(super) struct Send<'a> {
    pub(super) messaging_product: &'static str,
    pub(super) recipient_type: &'static str,
    pub(super) to: &'a str,
    /// Returned in the message's statuses.
    pub(super) biz_opaque_callback_data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<SendContext<'a>>,
    #[serde(flatten)]
    pub(super) body: SendBody<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct SendContext<'a> {
    pub(super) message_id: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum SendBody<'a> {
    Text { text: SendText<'a> },
    Image { image: SendMedia<'a> },
    Video { video: SendMedia<'a> },
    Audio { audio: SendMedia<'a> },
    Document { document: SendMedia<'a> },
    Sticker { sticker: SendMedia<'a> },
    Location { location: SendLocation<'a> },
    Contacts { contacts: Vec<SendCard<'a>> },
    Reaction { reaction: SendReaction<'a> },
    Template { template: SendTemplate<'a> },
    Interactive { interactive: SendInteractive<'a> },
}

#[derive(Debug, Serialize)]
pub(super) struct SendText<'a> {
    pub(super) body: &'a str,
    pub(super) preview_url: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct SendMedia<'a> {
    pub(super) link: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) caption: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename: Option<&'a str>,
}

/// Degrees are strings here.
#[derive(Debug, Serialize)]
pub(super) struct SendLocation<'a> {
    pub(super) latitude: String,
    pub(super) longitude: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct SendCard<'a> {
    pub(super) name: SendCardName<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) phones: Vec<SendPhone<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) emails: Vec<SendEmail<'a>>,
}

/// Meta requires the formatted name and at least one part of it.
#[derive(Debug, Serialize)]
pub(super) struct SendCardName<'a> {
    pub(super) formatted_name: &'a str,
    pub(super) first_name: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SendPhone<'a> {
    pub(super) phone: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SendEmail<'a> {
    pub(super) email: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SendReaction<'a> {
    pub(super) message_id: &'a str,
    pub(super) emoji: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SendTemplate<'a> {
    pub(super) name: &'a str,
    pub(super) language: SendLanguage<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) components: &'a [serde_json::Value],
}

#[derive(Debug, Serialize)]
pub(super) struct SendLanguage<'a> {
    /// The only value that Meta's documentation allows.
    pub(super) policy: &'static str,
    pub(super) code: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SendInteractive<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) header: Option<SendHeader<'a>>,
    pub(super) body: SendLine<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) footer: Option<SendLine<'a>>,
    pub(super) action: SendAction<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct SendHeader<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) text: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SendLine<'a> {
    pub(super) text: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum SendAction<'a> {
    Buttons { buttons: Vec<SendButton<'a>> },
    List { button: &'a str, sections: Vec<SendSection<'a>> },
}

#[derive(Debug, Serialize)]
pub(super) struct SendButton<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) reply: SendChoice<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct SendSection<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) title: &'a str,
    pub(super) rows: Vec<SendChoice<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct SendChoice<'a> {
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct MarkRead<'a> {
    pub(super) messaging_product: &'static str,
    pub(super) status: &'static str,
    pub(super) message_id: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct Register<'a> {
    pub(super) messaging_product: &'static str,
    pub(super) pin: &'a str,
}

// Responses from Meta.

#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    pub(super) messages: Vec<SentMessage>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SentMessage {
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) error: GraphError,
}

/// <https://developers.facebook.com/docs/graph-api/guides/error-handling>
#[derive(Debug, Deserialize)]
pub(super) struct GraphError {
    pub(super) code: i64,
    #[serde(default)]
    pub(super) is_transient: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Located {
    pub(super) url: String,
}
