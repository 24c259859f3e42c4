//! Other ways to say what `POST /messages` says: by channel, and in the words of the WhatsApp
//! engine's API.

use domain::content::{Call, Interactive, Location, Reaction, Template};
use domain::provider::Channel;
use domain::{ConversationId, IntegrationId, MessageId, TenantId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::messages::{MediaKind, SendMedia, SendMessage};
use super::{ApiRequest, Problem};

/// A way to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
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

/// Body of `POST /messages/send`, `/whatsapp/send`, `/telegram/send` and `/sms/send`: to whom,
/// and exactly one kind of content.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EngineMessage {
    /// Which tenant sends: the key's own, or the one that the platform's key acts for.
    #[serde(default, alias = "tenant")]
    tenant_id: Option<TenantId>,
    /// A telephone number in international form, or a chat id.
    #[serde(default, alias = "chat_id")]
    to: Option<Address>,
    /// What it travels on. Of `/messages/send` alone; WhatsApp unless said.
    #[serde(default)]
    channel: Option<Channel>,
    /// A conversation, in the place of `to`.
    #[serde(default, alias = "conversation")]
    conversation_id: Option<ConversationId>,
    /// Which account sends it; by the tenant's settings unless said.
    #[serde(default)]
    integration: Option<IntegrationId>,
    /// Plain text.
    #[serde(default, alias = "body")]
    text: Option<String>,
    /// Plain text, or an object with it.
    #[serde(default)]
    message: Option<Text>,
    /// A file.
    #[serde(default)]
    media: Option<SendMedia>,
    /// Where a file is, in the place of `media`.
    #[serde(default)]
    media_url: Option<String>,
    /// What kind of file that is; an image unless said.
    #[serde(default)]
    media_type: Option<MediaKind>,
    /// Text shown with it; `text` serves as well.
    #[serde(default)]
    caption: Option<String>,
    /// Its name.
    #[serde(default)]
    filename: Option<String>,
    /// A message the provider approved beforehand.
    #[serde(default)]
    template: Option<Template>,
    /// Text with buttons or a list.
    #[serde(default)]
    interactive: Option<Interactive>,
    /// A place.
    #[serde(default)]
    location: Option<Location>,
    /// An emoji on a message.
    #[serde(default)]
    reaction: Option<Reaction>,
    /// The message it answers.
    #[serde(default)]
    reply_to: Option<MessageId>,
}

/// A number or chat id; the latter is often written as a number.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Address {
    Text(String),
    Number(i64),
}

/// Plain text, or an object with it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Object {
        /// The text.
        text: String,
    },
}

/// Body of `POST /calls`: whom to call, and what is done once somebody answers.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct MakeCall {
    /// Which tenant calls: the key's own, or the one that the platform's key acts for.
    #[serde(default, alias = "tenant")]
    tenant_id: Option<TenantId>,
    /// A telephone number in international form.
    to: String,
    /// Which account calls, where the tenant has several.
    #[serde(default)]
    integration: Option<IntegrationId>,
    /// What is done.
    #[serde(flatten)]
    call: Call,
}

/// What is asked for at a door, in the words of `POST /messages`.
pub(super) fn read(request: &ApiRequest, door: Door) -> Result<SendMessage, Problem> {
    let channel = match door {
        Door::Messages => return request.read(),
        Door::Calls => return call(request.read()?),
        Door::Engine => None,
        Door::Whatsapp => Some(Channel::Whatsapp),
        Door::Telegram => Some(Channel::Telegram),
        Door::Sms => Some(Channel::Sms),
    };
    let asked: EngineMessage = request.read()?;
    if channel.is_some() && asked.channel.is_some_and(|named| Some(named) != channel) {
        let detail = "is what the path says; leave it out".to_owned();
        return Err(Problem::invalid("channel", detail));
    }
    // An integration and a conversation say it themselves.
    let said = asked.integration.is_some() || asked.conversation_id.is_some();
    let default = (!said).then_some(Channel::Whatsapp);
    let channel = channel.or(asked.channel).or(default);
    let mut text = one("text", [asked.text, asked.message.map(Text::into_inner)])?;
    let by_url = asked.media_url.map(|url| SendMedia {
        kind: asked.media_type.unwrap_or(MediaKind::Image),
        url,
        // Beside a file a text is what is shown with it.
        caption: asked.caption.or_else(|| text.take()),
        filename: asked.filename,
    });
    let (to, conversation) = (asked.to.map(Address::into_inner), asked.conversation_id);
    Ok(SendMessage {
        tenant: asked.tenant_id,
        channel: channel.filter(|_| conversation.is_none()),
        to,
        conversation,
        integration: asked.integration,
        text,
        media: one("media", [asked.media, by_url])?,
        template: asked.template,
        interactive: asked.interactive,
        location: asked.location,
        reaction: asked.reaction,
        call: None,
        reply_to: asked.reply_to,
    })
}

fn call(asked: MakeCall) -> Result<SendMessage, Problem> {
    if asked.call.twiml.is_some() == asked.call.url.is_some() {
        let detail = "either `twiml` or `url`: what is done once somebody answers".to_owned();
        return Err(Problem::invalid("twiml", detail));
    }
    Ok(SendMessage {
        tenant: asked.tenant_id,
        to: Some(asked.to),
        channel: Some(Channel::Voice),
        integration: asked.integration,
        call: Some(asked.call),
        ..SendMessage::default()
    })
}

/// The one that is given, if one is.
fn one<T>(field: &str, [first, second]: [Option<T>; 2]) -> Result<Option<T>, Problem> {
    if first.is_some() && second.is_some() {
        let detail = "is said twice; once is enough".to_owned();
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
