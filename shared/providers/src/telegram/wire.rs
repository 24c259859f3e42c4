//! Telegram's JSON, limited to the fields that the hub reads or writes.
//!
//! <https://core.telegram.org/bots/api#available-types>

#![expect(clippy::struct_field_names, reason = "the fields have the provider's names")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

// Requests from Telegram.

/// An update: `update_id` and one other field, named after the kind of update.
pub(super) type Update<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    pub(super) message_id: i64,
    pub(super) date: i64,
    pub(super) chat: Chat,
    #[serde(borrow, default)]
    pub(super) reply_to_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reply_markup: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) caption: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) photo: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) video: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) animation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) video_note: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) audio: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) voice: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) document: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) sticker: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) location: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) venue: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) contact: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Chat {
    pub(super) id: i64,
    /// Title of a group or channel.
    pub(super) title: Option<String>,
    /// First name of a person.
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct MessageRef {
    pub(super) message_id: i64,
}

/// A file of any type.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub(super) file_id: String,
    pub(super) file_size: Option<u64>,
    pub(super) file_name: Option<String>,
    pub(super) mime_type: Option<String>,
    #[serde(default)]
    pub(super) width: u64,
    #[serde(default)]
    pub(super) height: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Location {
    pub(super) latitude: f64,
    pub(super) longitude: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Venue {
    pub(super) location: Location,
    pub(super) title: String,
    pub(super) address: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Contact {
    pub(super) phone_number: String,
    pub(super) first_name: String,
    pub(super) last_name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CallbackQuery<'a> {
    pub(super) id: String,
    /// Absent if the message is too old or the button belongs to an inline message.
    #[serde(borrow, default)]
    pub(super) message: Option<&'a RawValue>,
    /// Absent for games.
    pub(super) data: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Keyboard {
    pub(super) inline_keyboard: Vec<Vec<KeyboardButton>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct KeyboardButton {
    pub(super) text: String,
    pub(super) callback_data: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReactionUpdate {
    pub(super) chat: Chat,
    pub(super) message_id: i64,
    pub(super) date: i64,
    pub(super) new_reaction: Vec<ReactionType>,
}

/// Only reactions of the type `emoji` have an emoji.
#[derive(Debug, Deserialize)]
pub(super) struct ReactionType {
    pub(super) emoji: Option<String>,
}

// Requests to Telegram.

/// <https://core.telegram.org/bots/api#available-methods>
#[derive(Debug, Serialize)]
pub(super) struct Send<'a> {
    pub(super) chat_id: ChatId<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply_parameters: Option<ReplyParameters>,
    #[serde(flatten)]
    pub(super) body: SendBody<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum ChatId<'a> {
    Number(i64),
    /// `@name` of a public group or channel.
    Name(&'a str),
}

#[derive(Debug, Serialize)]
pub(super) struct ReplyParameters {
    pub(super) message_id: i64,
    /// Send the message even if the original was deleted.
    pub(super) allow_sending_without_reply: bool,
}

/// Fields of the sending method.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum SendBody<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_markup: Option<Markup>,
    },
    Photo {
        photo: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        caption: Option<&'a str>,
    },
    Video {
        video: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        caption: Option<&'a str>,
    },
    Audio {
        audio: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        caption: Option<&'a str>,
    },
    Document {
        document: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        caption: Option<&'a str>,
    },
    Sticker {
        sticker: &'a str,
    },
    Location {
        latitude: f64,
        longitude: f64,
    },
    Venue {
        latitude: f64,
        longitude: f64,
        title: &'a str,
        address: &'a str,
    },
    Contact {
        phone_number: &'a str,
        first_name: &'a str,
    },
    Reaction {
        message_id: i64,
        reaction: Vec<SendReaction<'a>>,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct Markup {
    pub(super) inline_keyboard: Vec<[SendButton; 1]>,
}

#[derive(Debug, Serialize)]
pub(super) struct SendButton {
    pub(super) text: String,
    pub(super) callback_data: String,
}

#[derive(Debug, Serialize)]
pub(super) struct SendReaction<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) emoji: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct AnswerCallbackQuery<'a> {
    pub(super) callback_query_id: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct GetFile<'a> {
    pub(super) file_id: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SetWebhook<'a> {
    pub(super) url: &'a str,
    pub(super) secret_token: &'a str,
    pub(super) allowed_updates: &'a [&'a str],
}

// Responses from Telegram.

/// <https://core.telegram.org/bots/api#making-requests>
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) ok: bool,
    #[serde(default)]
    pub(super) result: serde_json::Value,
    pub(super) error_code: Option<u16>,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Parameters {
    pub(super) retry_after: Option<u64>,
    pub(super) migrate_to_chat_id: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    pub(super) message_id: i64,
    pub(super) chat: SentChat,
}

#[derive(Debug, Deserialize)]
pub(super) struct SentChat {
    pub(super) id: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Located {
    pub(super) file_path: String,
}
