//! Compatibility endpoints for sending: the WhatsApp engine API and one endpoint per channel.
//!
//! The WhatsApp engine API is the documented API of an existing product, whose clients keep
//! working without changes. All endpoints do the same as `POST /messages`.

use domain::content::{Call, Interactive, Location, Reaction, Template};
use domain::provider::Channel;
use domain::{ConversationId, IntegrationId, MessageId, TenantId};
use runtime::api::{ApiRequest, Problem};
use schemars::JsonSchema;
use serde::Deserialize;

use super::body::{MediaKind, SendMedia, SendMessage};

/// An endpoint that sends messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendEndpoint {
    /// `POST /messages`.
    Messages,
    /// `POST /messages/send`.
    Engine,
    /// `POST /whatsapp/send`.
    Whatsapp,
    /// `POST /telegram/send`.
    Telegram,
    /// `POST /sms/send`.
    Sms,
    /// `POST /calls`.
    Calls,
}

/// Body of `POST /messages/send`, `/whatsapp/send`, `/telegram/send` and `/sms/send`: a recipient
/// and exactly one content.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompatMessage {
    /// Tenant that sends. Default: the tenant of the key. Required with the platform key.
    #[serde(default, alias = "tenant")]
    tenant_id: Option<TenantId>,
    /// Recipient: a phone number in international format, or a chat id.
    #[serde(default, alias = "chat_id")]
    to: Option<Address>,
    /// Channel, for `/messages/send` only. Default: `whatsapp`.
    #[serde(default)]
    channel: Option<Channel>,
    /// Conversation to send in, instead of `to`.
    #[serde(default, alias = "conversation")]
    conversation_id: Option<ConversationId>,
    /// Integration to send through. Default: chosen by the tenant's route.
    #[serde(default)]
    integration: Option<IntegrationId>,
    /// Text message.
    #[serde(default, alias = "body")]
    text: Option<String>,
    /// Text message, as a string or as an object with `text`.
    #[serde(default)]
    message: Option<Text>,
    /// Media message.
    #[serde(default)]
    media: Option<SendMedia>,
    /// URL of the media, instead of `media`.
    #[serde(default)]
    media_url: Option<String>,
    /// Type of the media at `media_url`. Default: `image`.
    #[serde(default)]
    media_type: Option<MediaKind>,
    /// Caption of the media at `media_url`. Default: `text`.
    #[serde(default)]
    caption: Option<String>,
    /// File name of the media at `media_url`.
    #[serde(default)]
    filename: Option<String>,
    /// Message template that the provider has approved.
    #[serde(default)]
    template: Option<Template>,
    /// Interactive message: text with buttons or a list.
    #[serde(default)]
    interactive: Option<Interactive>,
    /// Location.
    #[serde(default)]
    location: Option<Location>,
    /// Emoji reaction to a message.
    #[serde(default)]
    reaction: Option<Reaction>,
    /// Message to reply to.
    #[serde(default)]
    reply_to: Option<MessageId>,
}

/// A phone number or chat id, as a string or a number.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Address {
    Text(String),
    Number(i64),
}

/// Text, as a string or as an object.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Object {
        /// Text.
        text: String,
    },
}

/// Body of `POST /calls`: the number to call and the instructions to run when it is answered.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct CreateCall {
    /// Tenant that calls. Default: the tenant of the key. Required with the platform key.
    #[serde(default, alias = "tenant")]
    tenant_id: Option<TenantId>,
    /// Phone number to call, in international format.
    to: String,
    /// Integration to call through. Required if the tenant has several.
    #[serde(default)]
    integration: Option<IntegrationId>,
    /// Call instructions.
    #[serde(flatten)]
    call: Call,
}

/// Parses the body of an endpoint into the body of `POST /messages`.
pub(super) fn read(request: &ApiRequest, endpoint: SendEndpoint) -> Result<SendMessage, Problem> {
    let channel = match endpoint {
        SendEndpoint::Messages => return request.read(),
        SendEndpoint::Calls => return call(request.read()?),
        SendEndpoint::Engine => None,
        SendEndpoint::Whatsapp => Some(Channel::Whatsapp),
        SendEndpoint::Telegram => Some(Channel::Telegram),
        SendEndpoint::Sms => Some(Channel::Sms),
    };
    let input: CompatMessage = request.read()?;
    if channel.is_some() && input.channel.is_some_and(|named| Some(named) != channel) {
        let detail = "the path sets the channel: leave `channel` out".to_owned();
        return Err(Problem::invalid("channel", detail));
    }
    // An integration or a conversation determines the channel.
    let is_determined = input.integration.is_some() || input.conversation_id.is_some();
    let default = (!is_determined).then_some(Channel::Whatsapp);
    let channel = channel.or(input.channel).or(default);
    let mut text = at_most_one("text", [input.text, input.message.map(Text::into_inner)])?;
    let by_url = input.media_url.map(|url| SendMedia {
        kind: input.media_type.unwrap_or(MediaKind::Image),
        url,
        // With media, the text is the caption.
        caption: input.caption.or_else(|| text.take()),
        filename: input.filename,
    });
    let (to, conversation) = (input.to.map(Address::into_inner), input.conversation_id);
    Ok(SendMessage {
        tenant: input.tenant_id,
        channel: channel.filter(|_| conversation.is_none()),
        to,
        conversation,
        integration: input.integration,
        text,
        media: at_most_one("media", [input.media, by_url])?,
        template: input.template,
        interactive: input.interactive,
        location: input.location,
        reaction: input.reaction,
        call: None,
        reply_to: input.reply_to,
    })
}

fn call(input: CreateCall) -> Result<SendMessage, Problem> {
    if input.call.twiml.is_some() == input.call.url.is_some() {
        let detail = "set either `twiml` or `url`, the instructions of the call".to_owned();
        return Err(Problem::invalid("twiml", detail));
    }
    Ok(SendMessage {
        tenant: input.tenant_id,
        to: Some(input.to),
        channel: Some(Channel::Voice),
        integration: input.integration,
        call: Some(input.call),
        ..SendMessage::default()
    })
}

/// Returns the value that is set, if any; both set is an error.
fn at_most_one<T>(field: &str, [first, second]: [Option<T>; 2]) -> Result<Option<T>, Problem> {
    if first.is_some() && second.is_some() {
        let detail = "the request sets this twice, under two names: set it once".to_owned();
        return Err(Problem::invalid(field, detail));
    }
    Ok(first.or(second))
}

impl Address {
    fn into_inner(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Text {
    fn into_inner(self) -> String {
        match self {
            Self::Plain(text) | Self::Object { text } => text,
        }
    }
}
