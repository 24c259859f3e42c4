//! Evolution's JSON, limited to the fields that the hub reads or writes.
//!
//! A field whose type may differ between versions is kept raw, so that it does not affect the
//! others. Source: README, facts 1 and 3. Requests to Evolution are at the end.

#![expect(clippy::struct_field_names, reason = "the fields have the provider's names")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Header with the webhook token.
pub(super) const TOKEN: &str = "x-webhook-token";
/// Suffixes of a person's address. Source: README, facts 3.
pub(super) const PERSON: [&str; 2] = ["@s.whatsapp.net", "@c.us"];

/// Body of every webhook request.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(super) event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) instance: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
}

/// Claims of the JWT besides its times.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    /// Issue time, set by Evolution.
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

/// Key of a message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key<'a> {
    pub(super) id: String,
    #[serde(borrow)]
    pub(super) remote_jid: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) from_me: Option<&'a RawValue>,
    /// The phone number of a hidden address.
    #[serde(borrow, default)]
    pub(super) remote_jid_alt: Option<&'a RawValue>,
    /// The phone number of a hidden address, in earlier versions.
    #[serde(borrow, default)]
    pub(super) sender_pn: Option<&'a RawValue>,
}

/// `data` of `messages.update`. Its `messageId` is Evolution's internal id, which the hub does not
/// use.
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

/// Chat of an event of any other kind.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chat<'a> {
    #[serde(borrow, default)]
    pub(super) remote_jid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) key: Option<&'a RawValue>,
}

/// Content of a message: one of these fields, named as in `WhatsApp`.
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
    /// A video note.
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
    /// A message about another message: deleted, edited, history.
    #[serde(borrow, default)]
    pub(super) protocol_message: Option<&'a RawValue>,
    // Wrappers of another message.
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

/// A file of any type. All fields are optional.
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
    /// Absent or empty if the reaction was removed.
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
    /// Author of the quoted message.
    #[serde(borrow, default)]
    pub(super) participant: Option<&'a RawValue>,
}

/// A number: as text, as a number, or as two 32-bit halves where it is too large for JavaScript.
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

// Requests to Evolution. Source: README, facts 4.

/// A message other than a reaction.
#[derive(Debug, Serialize)]
pub(super) struct Send<'a> {
    pub(super) number: &'a str,
    #[serde(flatten)]
    pub(super) body: SendBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quoted: Option<Quoted<'a>>,
}

/// Fields of the sending method.
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

/// The message to reply to.
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

/// Key of a message.
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
    pub(super) webhook: WebhookSettings<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebhookSettings<'a> {
    pub(super) enabled: bool,
    pub(super) url: &'a str,
    pub(super) headers: BTreeMap<&'static str, &'a str>,
    pub(super) by_events: bool,
    pub(super) base64: bool,
    pub(super) events: &'a [&'a str],
}

// Responses from Evolution.

/// Response to an accepted message, or Graph's error for a number that is not on `WhatsApp` Web.
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
    /// Absent if the server has not loaded the instance.
    #[serde(default)]
    pub(super) state: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FileContent {
    pub(super) base64: String,
}
