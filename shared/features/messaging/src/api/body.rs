//! Body of a message to send.

use domain::content::{Call, Interactive, Location, Reaction, Template};
use domain::provider::Channel;
use domain::{ConversationId, IntegrationId, MessageId, TenantId};
use schemars::JsonSchema;
use serde::Deserialize;

/// Body of `POST /messages`: a recipient and exactly one content.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SendMessage {
    /// Tenant that sends. Required with the platform key.
    #[serde(default)]
    pub(super) tenant: Option<TenantId>,
    /// Recipient: a phone number in international format, or a chat id. Requires `channel` or
    /// `integration`.
    #[serde(default)]
    pub(super) to: Option<String>,
    /// Channel. Used with `to`.
    #[serde(default)]
    pub(super) channel: Option<Channel>,
    /// Conversation to send in, instead of `to` and `channel`.
    #[serde(default)]
    pub(super) conversation: Option<ConversationId>,
    /// Integration to send through. Disables failover. Required if the tenant has several for the
    /// channel and no route.
    #[serde(default)]
    pub(super) integration: Option<IntegrationId>,
    /// Text message.
    #[serde(default)]
    pub(super) text: Option<String>,
    /// Media message.
    #[serde(default)]
    pub(super) media: Option<SendMedia>,
    /// Message template that the provider has approved.
    #[serde(default)]
    pub(super) template: Option<Template>,
    /// Interactive message: text with buttons or a list.
    #[serde(default)]
    pub(super) interactive: Option<Interactive>,
    /// Location.
    #[serde(default)]
    pub(super) location: Option<Location>,
    /// Emoji reaction to a message.
    #[serde(default)]
    pub(super) reaction: Option<Reaction>,
    /// Phone call, on the channel `voice`.
    #[serde(default)]
    pub(super) call: Option<Call>,
    /// Message to reply to.
    #[serde(default)]
    pub(super) reply_to: Option<MessageId>,
}

/// Media to send.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SendMedia {
    /// Media type.
    #[serde(rename = "type")]
    pub(super) kind: MediaKind,
    /// URL from which the provider downloads the media.
    pub(super) url: String,
    /// Caption.
    #[serde(default)]
    pub(super) caption: Option<String>,
    /// File name.
    #[serde(default)]
    pub(super) filename: Option<String>,
}

/// Media types.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MediaKind {
    Image,
    Video,
    Audio,
    Document,
    Sticker,
}
