//! Evolution's JSON. Only the fields we read.
//!
//! A field whose type may differ between versions is kept raw, so that it cannot spoil the
//! others. Source: README, facts 1 and 3. What we send stands below.

#![expect(clippy::struct_field_names, reason = "the names are the provider's")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What every request is.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(super) event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) instance: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
}

/// What the JWT says beside its times.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    /// Evolution says when it made the JWT.
    #[serde(rename = "iat")]
    pub(super) _iat: i64,
    pub(super) app: String,
    pub(super) action: String,
}

/// `data` of `messages.upsert` and `send.message`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) push_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) message_timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) context_info: Option<&'a RawValue>,
}

/// What names a message, whoever wrote it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key<'a> {
    pub(super) id: String,
    #[serde(borrow)]
    pub(super) remote_jid: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) from_me: Option<&'a RawValue>,
    /// The number behind a hidden one.
    #[serde(borrow, default)]
    pub(super) remote_jid_alt: Option<&'a RawValue>,
    /// The same, in earlier versions.
    #[serde(borrow, default)]
    pub(super) sender_pn: Option<&'a RawValue>,
}

/// `data` of `messages.update`. Its `messageId` is Evolution's own and of no use to us.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update<'a> {
    pub(super) key_id: String,
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) remote_jid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) from_me: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) participant: Option<&'a RawValue>,
}

/// `data` of `call`.
#[derive(Debug, Deserialize)]
pub(super) struct Call<'a> {
    pub(super) id: String,
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) date: Option<&'a RawValue>,
}

/// Where an event of any other kind says which chat it is of.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chat<'a> {
    #[serde(borrow, default)]
    pub(super) remote_jid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) key: Option<&'a RawValue>,
}

/// What a message says: one of these, as `WhatsApp` itself has them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    #[serde(borrow, default)]
    pub(super) conversation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) extended_text_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) image_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) video_message: Option<&'a RawValue>,
    /// A round film.
    #[serde(borrow, default)]
    pub(super) ptv_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) audio_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) document_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) sticker_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) location_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) live_location_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) contact_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) contacts_array_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reaction_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) buttons_response_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) template_button_reply_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) list_response_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) interactive_response_message: Option<&'a RawValue>,
    /// A message about a message: taken back, edited, history.
    #[serde(borrow, default)]
    pub(super) protocol_message: Option<&'a RawValue>,
    // What holds a message inside.
    #[serde(borrow, default)]
    pub(super) ephemeral_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) view_once_message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) view_once_message_v2: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) document_with_caption_message: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wrapper<'a> {
    #[serde(borrow)]
    pub(super) message: &'a RawValue,
}

#[derive(Debug, Deserialize)]
pub(super) struct Text {
    pub(super) text: String,
}

/// A file of any kind. All but its presence may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File<'a> {
    #[serde(borrow, default)]
    pub(super) mimetype: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) caption: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) file_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) file_length: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Location {
    pub(super) degrees_latitude: f64,
    pub(super) degrees_longitude: f64,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) address: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Card<'a> {
    #[serde(default)]
    pub(super) display_name: String,
    #[serde(borrow, default)]
    pub(super) vcard: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cards<'a> {
    #[serde(borrow)]
    pub(super) contacts: Vec<Card<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reaction<'a> {
    #[serde(borrow)]
    pub(super) key: ReactedTo<'a>,
    /// Absent or empty where the reaction is taken off.
    #[serde(default)]
    pub(super) text: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReactedTo<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pressed {
    #[serde(alias = "selectedButtonId")]
    pub(super) selected_id: String,
    #[serde(default)]
    pub(super) selected_display_text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chosen {
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) description: Option<String>,
    pub(super) single_select_reply: Row,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) selected_row_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Flow<'a> {
    #[serde(borrow, default)]
    pub(super) body: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) native_flow_response_message: FlowResponse<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlowResponse<'a> {
    /// JSON in a string.
    #[serde(borrow)]
    pub(super) params_json: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FlowChoice {
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answered<'a> {
    pub(super) stanza_id: String,
    /// Who wrote the message that is answered.
    #[serde(borrow, default)]
    pub(super) participant: Option<&'a RawValue>,
}

/// A number, as text, as a number, or as the halves of one that was too long for JavaScript.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    Plain(i64),
    Text(String),
    Halves { low: i64, high: i64 },
}

impl Number {
    pub(super) fn value(&self) -> Option<i64> {
        match self {
            Self::Plain(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            // The lower half may be written as a negative number.
            Self::Halves { low, high } => {
                Some(high.checked_mul(1 << 32)?.checked_add(low & 0xffff_ffff)?)
            }
        }
    }
}

// What we send. Source: README, facts 4.

/// A message but a reaction.
#[derive(Debug, Serialize)]
pub(super) struct Send<'a> {
    pub(super) number: &'a str,
    #[serde(flatten)]
    pub(super) body: SendBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quoted: Option<Quoted<'a>>,
}

/// The fields of the method that sends it.
#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(super) enum SendBody<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Media {
        mediatype: &'static str,
        media: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        mimetype: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        caption: Option<&'a str>,
    },
    Sticker {
        sticker: Cow<'a, str>,
    },
    Location {
        latitude: f64,
        longitude: f64,
        name: &'a str,
        address: &'a str,
    },
    Contact {
        contact: Vec<SendCard<'a>>,
    },
    Buttons {
        title: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        footer: Option<&'a str>,
        buttons: Vec<SendButton<'a>>,
    },
    List {
        title: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        button_text: &'a str,
        footer_text: &'a str,
        sections: Vec<SendSection<'a>>,
    },
}

/// The message that is answered.
#[derive(Debug, Serialize)]
pub(super) struct Quoted<'a> {
    pub(super) key: QuotedKey<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct QuotedKey<'a> {
    pub(super) id: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendCard<'a> {
    pub(super) full_name: &'a str,
    pub(super) phone_number: &'a str,
    /// The number's digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendButton<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) display_text: &'a str,
    pub(super) id: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SendSection<'a> {
    pub(super) title: &'a str,
    pub(super) rows: Vec<SendRow<'a>>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendRow<'a> {
    pub(super) title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
    pub(super) row_id: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct SendReaction<'a> {
    pub(super) key: MessageKey<'a>,
    pub(super) reaction: &'a str,
}

/// What names a message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageKey<'a> {
    pub(super) remote_jid: Cow<'a, str>,
    pub(super) from_me: bool,
    pub(super) id: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MarkRead<'a> {
    pub(super) read_messages: [MessageKey<'a>; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetBase64<'a> {
    pub(super) message: Quoted<'a>,
    pub(super) convert_to_mp4: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct SetWebhook<'a> {
    pub(super) webhook: WebhookOrder<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebhookOrder<'a> {
    pub(super) enabled: bool,
    pub(super) url: &'a str,
    pub(super) headers: BTreeMap<&'static str, &'a str>,
    pub(super) by_events: bool,
    pub(super) base64: bool,
    pub(super) events: &'a [&'a str],
}

// Answers.

/// The answer to a message that was taken, or Graph's error of a number that is not on
/// `WhatsApp` Web.
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    pub(super) key: SentKey,
    #[serde(default)]
    pub(super) code: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct SentKey {
    #[serde(default)]
    pub(super) id: String,
}

/// A refusal.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) response: RefusedResponse,
}

#[derive(Debug, Deserialize)]
pub(super) struct RefusedResponse {
    /// A text, or a list of texts and objects.
    #[serde(default)]
    pub(super) message: serde_json::Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConnectionState {
    pub(super) instance: InstanceState,
}

#[derive(Debug, Deserialize)]
pub(super) struct InstanceState {
    /// Absent where the server has not loaded the instance.
    #[serde(default)]
    pub(super) state: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FileContent {
    pub(super) base64: String,
}
