//! Evolution's JSON. Only the fields we read.
//!
//! A field whose type may differ between versions is kept raw, so that it cannot spoil the
//! others. Source: README, facts 1 and 3.

#![expect(clippy::struct_field_names, reason = "the names are the provider's")]

use std::borrow::Cow;

use serde::Deserialize;
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
pub(super) struct Answered {
    pub(super) stanza_id: String,
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
