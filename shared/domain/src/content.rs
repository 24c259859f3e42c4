//! Message content, in a form that is the same for every provider.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maximum size of the content of an outbound message as JSON, in bytes: far above every provider's
/// limit and far below that of a table item.
pub const MAX_CONTENT_BYTES: usize = 64 * 1024;

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    Image {
        /// The file.
        media: Media,
    },
    /// A video.
    Video {
        /// The file.
        media: Media,
    },
    /// An audio file or voice message.
    Audio {
        /// The file.
        media: Media,
    },
    /// A document.
    Document {
        /// The file.
        media: Media,
    },
    /// A sticker.
    Sticker {
        /// The file.
        media: Media,
    },
    /// A location.
    Location {
        /// The location.
        location: Location,
    },
    /// Contact cards.
    Contacts {
        /// The cards.
        contacts: Vec<ContactCard>,
    },
    /// A reaction to an earlier message, or its removal.
    Reaction {
        /// The reaction.
        reaction: Reaction,
    },
    /// A tap on a quick-reply button of a template.
    Button {
        /// The button's label.
        text: String,
        /// The button's payload.
        button: ButtonPress,
    },
    /// A tap on a button of an interactive message.
    ButtonReply {
        /// The button's label.
        text: String,
        /// The selected button.
        reply: Reply,
    },
    /// A selection from the list of an interactive message.
    ListReply {
        /// The row's title.
        text: String,
        /// The selected row.
        reply: Reply,
    },
    /// A message template, approved by the provider. Outbound only.
    Template {
        /// The template.
        template: Template,
    },
    /// Text with buttons or a list. Outbound only.
    Interactive {
        /// The text and its choices.
        interactive: Interactive,
    },
    /// A phone call to make. Outbound only.
    Call {
        /// The call.
        call: Call,
    },
    /// Content of a type that the provider's API or the hub does not support; kept as received.
    Unsupported {
        /// The provider's own JSON.
        raw: serde_json::Value,
    },
}

impl Content {
    /// Returns the value of the field `type`.
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

    /// Returns the file, if the content has one.
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

/// A file attached to a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Media {
    /// Outbound: the URL from which the provider fetches the file. Inbound: the hub's URL of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The provider's media id. Inbound only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_media_id: Option<String>,
    /// MIME type, as the sender claims it or the provider reports it. The link to the file can serve
    /// another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Caption shown with the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// File name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Size in bytes, as the provider reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A geographic location.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// Latitude in degrees, -90 to 90.
    pub latitude: f64,
    /// Longitude in degrees, -180 to 180.
    pub longitude: f64,
    /// Name of the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Postal address of the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A contact card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactCard {
    /// Display name.
    pub name: String,
    /// Phone numbers.
    #[serde(default)]
    pub phones: Vec<String>,
    /// Email addresses.
    #[serde(default)]
    pub emails: Vec<String>,
}

/// A reaction to a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reaction {
    /// The message it reacts to: its id (`msg_`) if the hub knows it, else its provider message
    /// id.
    pub message_id: String,
    /// The emoji; empty removes the reaction.
    pub emoji: String,
}

/// A tapped quick-reply button.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ButtonPress {
    /// The payload that the sender of the template set for the button.
    pub payload: String,
}

/// A selected button or row of an interactive message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// The id that the sender of the interactive message set for it.
    pub id: String,
    /// The title shown to the customer.
    pub title: String,
    /// The description shown below the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A message template, approved by the provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Template name at the provider.
    pub name: String,
    /// Language code, such as `en_US`.
    pub language: String,
    /// Values for the template's variables, in the provider's own format.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<serde_json::Value>,
}

/// Text with buttons or a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Interactive {
    /// Up to three buttons.
    Button {
        /// The body text.
        body: String,
        /// Header above the body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<String>,
        /// Footer below the body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        footer: Option<String>,
        /// The buttons.
        buttons: Vec<Choice>,
    },
    /// A list that opens from a button.
    List {
        /// The body text.
        body: String,
        /// Header above the body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<String>,
        /// Footer below the body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        footer: Option<String>,
        /// Label of the button that opens the list.
        button: String,
        /// The rows, in sections.
        sections: Vec<Section>,
    },
}

/// A button or a row of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Id that is returned when the customer selects it.
    pub id: String,
    /// Title shown to the customer.
    pub title: String,
    /// Description shown below the title. Lists only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A section of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Section title; required if there is more than one section.
    #[serde(default)]
    pub title: String,
    /// Rows of the section.
    pub rows: Vec<Choice>,
}

/// A phone call to make. What happens once it is answered is given by `twiml` or by the
/// instructions fetched from `url`; set exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// `TwiML` instructions. With an API key of the tenant, over an integration whose credentials
    /// the operator gave, only these verbs are allowed: Say, Play, Pause, Reject and Hangup.
    /// <https://www.twilio.com/docs/voice/twiml>
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twiml: Option<String>,
    /// URL from which the provider fetches the instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How long to ring, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Whether the call is recorded.
    #[serde(default)]
    pub record: bool,
    /// Whether the provider detects answering machines.
    #[serde(default)]
    pub detect_machine: bool,
}
