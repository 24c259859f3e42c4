//! What a message says, in the hub's own words; the same for every provider.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a message says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image {
        /// Where it is, and what it is.
        media: Media,
    },
    /// A film.
    Video {
        /// Where it is, and what it is.
        media: Media,
    },
    /// A sound or voice note.
    Audio {
        /// Where it is, and what it is.
        media: Media,
    },
    /// A file.
    Document {
        /// Where it is, and what it is.
        media: Media,
    },
    /// A sticker.
    Sticker {
        /// Where it is, and what it is.
        media: Media,
    },
    /// A place.
    Location {
        /// The place.
        location: Location,
    },
    /// Visiting cards.
    Contacts {
        /// The cards.
        contacts: Vec<ContactCard>,
    },
    /// An emoji put on an earlier message, or taken off it.
    Reaction {
        /// The reaction.
        reaction: Reaction,
    },
    /// A press on a template's quick-reply button.
    Button {
        /// What the button said.
        text: String,
        /// What the button carries.
        button: ButtonPress,
    },
    /// A press on an interactive message's button.
    ButtonReply {
        /// What the button said.
        text: String,
        /// The choice.
        reply: Reply,
    },
    /// A choice from an interactive message's list.
    ListReply {
        /// What the row said.
        text: String,
        /// The choice.
        reply: Reply,
    },
    /// A message the provider approved beforehand. Outbound only.
    Template {
        /// The template.
        template: Template,
    },
    /// Text with buttons or a list to choose from. Outbound only.
    Interactive {
        /// The text and choices.
        interactive: Interactive,
    },
    /// A telephone call to make. Outbound only.
    Call {
        /// What is said, and to whom it is shown.
        call: Call,
    },
    /// Something the provider or the hub has no words for yet; kept as it came.
    Unsupported {
        /// The provider's own form.
        raw: serde_json::Value,
    },
}

impl Content {
    /// The name in the field `type`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Image { .. } => "image",
            Self::Video { .. } => "video",
            Self::Audio { .. } => "audio",
            Self::Document { .. } => "document",
            Self::Sticker { .. } => "sticker",
            Self::Location { .. } => "location",
            Self::Contacts { .. } => "contacts",
            Self::Reaction { .. } => "reaction",
            Self::Button { .. } => "button",
            Self::ButtonReply { .. } => "button_reply",
            Self::ListReply { .. } => "list_reply",
            Self::Template { .. } => "template",
            Self::Interactive { .. } => "interactive",
            Self::Call { .. } => "call",
            Self::Unsupported { .. } => "unsupported",
        }
    }

    /// The media, if this is media.
    #[must_use]
    pub const fn media(&self) -> Option<&Media> {
        match self {
            Self::Image { media }
            | Self::Video { media }
            | Self::Audio { media }
            | Self::Document { media }
            | Self::Sticker { media } => Some(media),
            _ => None,
        }
    }
}

/// A file that belongs to a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Media {
    /// Outbound: where the provider fetches the file. Inbound: the hub's link to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The provider's id of the file. Inbound only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_media_id: Option<String>,
    /// MIME type, as the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Text shown with the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Name of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Size in bytes, as the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A place on the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// Degrees, -90 to 90.
    pub latitude: f64,
    /// Degrees, -180 to 180.
    pub longitude: f64,
    /// Name of the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its postal address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A visiting card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactCard {
    /// The person's name as shown.
    pub name: String,
    /// Telephone numbers.
    #[serde(default)]
    pub phones: Vec<String>,
    /// Email addresses.
    #[serde(default)]
    pub emails: Vec<String>,
}

/// An emoji on a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reaction {
    /// The message it is on: ours (`msg_`) where we know it, else the provider's id.
    pub message_id: String,
    /// The emoji; empty takes the reaction off.
    pub emoji: String,
}

/// A pressed quick-reply button.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ButtonPress {
    /// What the sender of the template put into the button.
    pub payload: String,
}

/// A choice among those an interactive message offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// The id the sender of the choices gave it.
    pub id: String,
    /// What the person saw.
    pub title: String,
    /// The small print under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A message the provider approved beforehand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its name at the provider.
    pub name: String,
    /// Language code, such as `en_US`.
    pub language: String,
    /// Values for its variables, in the provider's own form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<serde_json::Value>,
}

/// Text with something to choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Interactive {
    /// Up to three buttons.
    Button {
        /// The text.
        body: String,
        /// A line above it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<String>,
        /// A line below it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        footer: Option<String>,
        /// The buttons.
        buttons: Vec<Choice>,
    },
    /// A list behind one button.
    List {
        /// The text.
        body: String,
        /// A line above it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<String>,
        /// A line below it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        footer: Option<String>,
        /// What the button that opens the list says.
        button: String,
        /// The rows, in sections.
        sections: Vec<Section>,
    },
}

/// Something to choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Comes back when it is chosen.
    pub id: String,
    /// What the person sees.
    pub title: String,
    /// The small print under it. In lists only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Its heading; needed when there are several.
    #[serde(default)]
    pub title: String,
    /// Its rows.
    pub rows: Vec<Choice>,
}

/// A telephone call to make: what is done once somebody answers is said by `twiml` or by what
/// is fetched from `url`, one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Instructions in `TwiML`. Over an integration whose credentials the operator gave, a
    /// tenant's key may only speak: Say, Play, Pause, Reject and Hangup.
    /// <https://www.twilio.com/docs/voice/twiml>
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twiml: Option<String>,
    /// Where the provider fetches them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Seconds it may ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Whether it is recorded.
    #[serde(default)]
    pub record: bool,
    /// Whether the provider finds out if a machine answered.
    #[serde(default)]
    pub detect_machine: bool,
}
