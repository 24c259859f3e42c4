//! Infobip's JSON, limited to the fields that the hub reads or writes. Most fields are kept raw, so
//! that an unexpected one does not affect the others. Source: README, facts 1 to 4.

#![expect(clippy::struct_field_names, reason = "the fields have the provider's names")]

use std::borrow::Cow;

use domain::content::{Choice, Section};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Body of most webhook requests.
#[derive(Debug, Deserialize)]
pub(super) struct Batch<'a> {
    #[serde(borrow, default)]
    pub(super) results: Option<&'a RawValue>,
}

/// One item: an incoming message, or a report about an outgoing one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry<'a> {
    #[serde(borrow, default)]
    pub(super) message_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) from: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) to: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) message: Option<&'a RawValue>,
    /// Text of an SMS.
    #[serde(borrow, default)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) contact: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) callback_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) received_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) sent_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) done_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) seen_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) deleted_at: Option<&'a RawValue>,
    /// Content of an event that is not a message.
    #[serde(borrow, default)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) change: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) created_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) timestamp: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Typed<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
}

/// Status of a message, or the error that ended it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    pub(super) group_name: String,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) description: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Contact {
    pub(super) name: String,
}

/// Content of a message: `type` says which of the fields are present.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) context: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) caption: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) title: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) description: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) latitude: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) longitude: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) address: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) contacts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) emoji: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Context {
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Card {
    #[serde(default)]
    pub(super) name: CardName,
    #[serde(default)]
    pub(super) phones: Vec<Phone>,
    #[serde(default)]
    pub(super) emails: Vec<Email>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CardName {
    pub(super) formatted_name: Option<String>,
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Phone {
    #[serde(default)]
    pub(super) phone: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Email {
    #[serde(default)]
    pub(super) email: Option<String>,
}

/// A message to send. Source: README, facts 9.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Send<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) message_id: &'a str,
    pub(super) content: SendContent<'a>,
    pub(super) callback_data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) notify_url: Option<String>,
}

/// A batch of messages; Infobip accepts templates only in batches.
#[derive(Debug, Serialize)]
pub(super) struct SendBatch<'a> {
    pub(super) messages: [Send<'a>; 1],
}

/// Content of an outgoing message; the path says which type it is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum SendContent<'a> {
    Text {
        text: &'a str,
    },
    File(SendFile<'a>),
    Location {
        latitude: f64,
        longitude: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<&'a str>,
    },
    Contacts {
        contacts: Vec<SendCard<'a>>,
    },
    #[serde(rename_all = "camelCase")]
    Template {
        template_name: &'a str,
        language: &'a str,
        template_data: serde_json::Map<String, serde_json::Value>,
    },
    Interactive {
        body: SendLine<'a>,
        action: SendAction<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        header: Option<SendHeader<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        footer: Option<SendLine<'a>>,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendFile<'a> {
    pub(super) media_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) caption: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct SendCard<'a> {
    pub(super) name: SendName<'a>,
    pub(super) phones: Vec<SendPhone<'a>>,
    pub(super) emails: Vec<SendEmail<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendName<'a> {
    pub(super) first_name: &'a str,
    pub(super) formatted_name: &'a str,
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
pub(super) struct SendLine<'a> {
    pub(super) text: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SendHeader<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) text: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum SendAction<'a> {
    Buttons { buttons: Vec<SendButton<'a>> },
    List { title: &'a str, sections: Vec<SendSection<'a>> },
}

#[derive(Debug, Serialize)]
pub(super) struct SendButton<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) id: &'a str,
    pub(super) title: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SendSection<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) title: &'a str,
    pub(super) rows: Vec<SendRow<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct SendRow<'a> {
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
}

impl<'a> From<&'a Choice> for SendButton<'a> {
    fn from(choice: &'a Choice) -> Self {
        Self { kind: "REPLY", id: &choice.id, title: &choice.title }
    }
}

impl<'a> From<&'a Section> for SendSection<'a> {
    fn from(section: &'a Section) -> Self {
        let row = |row: &'a Choice| SendRow {
            id: &row.id,
            title: &row.title,
            description: row.description.as_deref(),
        };
        Self { title: &section.title, rows: section.rows.iter().map(row).collect() }
    }
}

/// Response to a message, or to a batch of messages.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Sent {
    Batch { messages: Vec<SentMessage> },
    One(SentMessage),
}

/// Status of one sent message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SentMessage {
    pub(super) message_id: String,
    #[serde(default)]
    pub(super) status: Option<State>,
}

/// A refusal, in either of its two formats. Source: README, facts 11.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Failure {
    #[serde(rename_all = "camelCase")]
    Older { request_error: RequestError },
    #[serde(rename_all = "camelCase")]
    Newer {
        error_code: String,
        #[serde(default)]
        violations: Vec<Violation>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestError {
    pub(super) service_exception: ServiceException,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceException {
    pub(super) message_id: String,
    #[serde(default)]
    pub(super) validation_errors: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Violation {
    #[serde(default)]
    pub(super) property: Option<String>,
}

/// Quality report of senders.
#[derive(Debug, Deserialize)]
pub(super) struct Senders {
    pub(super) results: Vec<serde_json::Map<String, serde_json::Value>>,
}
