//! Sends through the Evolution API.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::address::E164;
use domain::content::{Choice, ContactCard, Content, Interactive, Media, Reaction};
use domain::fault::{ErrorFormat, Fault};
use domain::sender::{
    Accepted, AccountReader, AnswerReader, MediaFetcher, MediaRequest, MediaSource, MessageSender,
    Outgoing, RateLimit, ReadReceipts, RefusalScope, SendError, SenderProvider, WebhookRegistrar,
};
use domain::{Credentials, Integration, Provider};
use http::{HeaderValue, Request, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::settings::{Buttons, InstanceSettings};
use super::wire::{self, SendBody};
use crate::content::receive_only;
use crate::http::{
    check_coordinates, check_media_url, encode_path_segment, get, invalid, post_json, read,
    retry_after,
};
use crate::settings::base_url;
use crate::spec::{ProviderApi, settings_of};

/// Events that an instance is subscribed to.
const SUBSCRIBED_EVENTS: [&str; 7] = [
    "MESSAGES_UPSERT",
    "MESSAGES_UPDATE",
    "MESSAGES_EDITED",
    "MESSAGES_DELETE",
    "SEND_MESSAGE",
    "CONNECTION_UPDATE",
    "CALL",
];

/// Wait for a 429 from a proxy that does not say how long.
const DEFAULT_RATE_LIMIT_WAIT: Duration = Duration::from_secs(30);

/// Evolution rejects URLs of this length or longer. Source: README, facts 6.
const MAX_URL_LENGTH: usize = 2083;

/// Sender for Evolution.
#[derive(Clone, Copy, Debug)]
pub struct Sender;

impl SenderProvider for Sender {
    fn provider(&self) -> Provider {
        Provider::Evolution
    }

    fn sender(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<Box<dyn MessageSender>, SendError> {
        Ok(Box::new(Instance::new(integration, credentials)?))
    }
}

/// Returns a phone number in digits; a group's address and the address of a hidden number are
/// unchanged.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`.
pub(super) fn address(to: &str) -> Result<String, SendError> {
    let to = to.trim();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if let Some((user, place)) = to.split_once('@') {
        let group = |user: &str| digits(&user.replacen('-', "", 1)) && !user.starts_with('-');
        return match place {
            "g.us" if group(user) => Ok(to.to_owned()),
            "lid" if digits(user) => Ok(to.to_owned()),
            "s.whatsapp.net" | "c.us" if digits(user) => address(user),
            _ => Err(invalid_address()),
        };
    }
    // Evolution treats a number that is longer than E.164 allows as a group.
    match to.parse::<E164>().ok().filter(|number| number.digits().len() >= 7) {
        Some(number) => Ok(number.digits().to_owned()),
        None => Err(invalid_address()),
    }
}

fn invalid_address() -> SendError {
    invalid("to", "must be an E.164 phone number such as +4915550009999, or a group's id")
}

/// Returns the hub's id for an incoming message. It includes the chat, because Evolution identifies
/// a message by chat and id.
pub(super) fn inbound_message_id(remote_jid: &str, id: &str) -> String {
    format!("{remote_jid}:{id}")
}

/// Splits a message id into the chat, which only incoming messages have, and `WhatsApp`'s own id.
fn split_message_id(provider_message_id: &str) -> (Option<&str>, &str) {
    match provider_message_id.rsplit_once(':') {
        Some((remote_jid, id)) => (Some(remote_jid), id),
        None => (None, provider_message_id),
    }
}

/// Sender for one instance.
pub(super) struct Instance {
    base_url: String,
    /// Percent-encoded name of the instance.
    name: String,
    key: SecretString,
    webhook_token: Option<SecretString>,
    line: String,
    buttons: Buttons,
    per_second: u32,
}

impl ProviderApi for Instance {
    fn new(integration: &Integration, credentials: &Credentials) -> Result<Self, SendError> {
        let settings: InstanceSettings = settings_of(integration).ok_or_else(|| {
            invalid(
                "settings",
                "are not those of an Evolution instance: the integration belongs to another \
                 provider",
            )
        })?;
        let what = "is missing: give the URL of your Evolution server";
        let base_url = base_url(settings.base_url.as_deref(), what)?;
        let instance = settings.instance().ok_or_else(|| {
            invalid(
                "settings.instance",
                "is missing: give the name of the instance to send through",
            )
        })?;
        let key = credentials.first(super::API_KEY);
        let key = key.ok_or_else(|| invalid("credentials.EVOLUTION_API_KEY", "is missing"))?;
        Ok(Self {
            base_url,
            name: encode_path_segment(instance),
            key: key.clone(),
            webhook_token: credentials.first(super::WEBHOOK_TOKEN).cloned(),
            line: integration.conversation_account(),
            buttons: settings.buttons,
            per_second: settings.messages_per_second.get(),
        })
    }
}

impl MessageSender for Instance {
    /// Source: README, facts 3 and 4.
    fn idempotency_window(&self) -> Option<Duration> {
        None
    }

    /// Source: README, quirks: Evolution has no rate limit, and `WhatsApp` bans accounts that send
    /// too fast.
    fn rate_limits(&self, _: &str) -> Vec<RateLimit> {
        vec![RateLimit::per_second(&self.line, self.per_second)]
    }

    fn request(&self, message: &Outgoing<'_>) -> Result<Request<Bytes>, SendError> {
        let to = address(message.to)?;
        if let Content::Reaction { reaction } = message.content {
            return self.post("message/sendReaction", &reaction_to(&to, reaction)?);
        }
        let (method, body) = self.body(message)?;
        // Evolution ignores the quoted message of a contact card.
        let supports_quote = !matches!(body, SendBody::Contact { .. });
        let quoted = message.reply_to.filter(|_| supports_quote).map(|message_id| wire::Quoted {
            key: wire::QuotedKey { id: split_message_id(message_id).1 },
        });
        self.post(&format!("message/{method}"), &wire::Send { number: &to, body, quoted })
    }

    fn outcome(
        &self,
        message: &Outgoing<'_>,
        response: &Response<Bytes>,
    ) -> Result<Accepted, SendError> {
        if !response.status().is_success() {
            return Err(refusal(response, Some(message.content)));
        }
        let sent: wire::Sent = read(response)?;
        if !sent.key.id.is_empty() {
            return Ok(Accepted::new(sent.key.id));
        }
        match sent.code {
            // Graph's own error, sent with a success status.
            Some(code) => Err(SendError::Refused {
                status: response.status(),
                code: code.to_string(),
                remedy:
                    "The instance's number is on Meta's Cloud API, which rejected the message. \
                     Connect the number as a WhatsApp integration instead."
                        .to_owned(),
                fault: Fault::Permanent,
                scope: RefusalScope::Account,
            }),
            None => Err(SendError::Unreadable),
        }
    }
}

impl MediaFetcher for Instance {
    fn locate_media(&self, provider_media_id: &str) -> Result<MediaRequest, SendError> {
        let body = wire::GetBase64 {
            message: wire::Quoted { key: wire::QuotedKey { id: provider_media_id } },
            convert_to_mp4: false,
        };
        self.post("chat/getBase64FromMediaMessage", &body).map(MediaRequest::Lookup)
    }

    fn fetch_media(&self, located: &Response<Bytes>) -> Result<MediaSource, SendError> {
        if !located.status().is_success() {
            return Err(refusal(located, None));
        }
        let file: wire::FileContent = read(located)?;
        let bytes = STANDARD.decode(file.base64).map_err(|_| SendError::Unreadable)?;
        Ok(MediaSource::Inline(bytes.into()))
    }
}

impl AnswerReader for Instance {
    /// An instance that is not connected is an error, although its server answers with a success.
    fn answer(&self, response: &Response<Bytes>) -> Result<serde_json::Value, SendError> {
        if !response.status().is_success() {
            return Err(refusal(response, None));
        }
        let mut answer: serde_json::Value = read(response)?;
        if let Ok(wire::ConnectionState { instance }) = read(response)
            && instance.state.as_deref() != Some("open")
        {
            return Err(disconnected(response.status()));
        }
        // Evolution returns the webhook's headers: remove the token from the result.
        if let Some(answer) = answer.as_object_mut() {
            answer.remove("headers");
        }
        Ok(answer)
    }
}

impl AccountReader for Instance {
    fn describe_account(&self) -> Result<Request<Bytes>, SendError> {
        self.with_api_key(get(&self.url("instance/connectionState"), None)?)
    }
}

impl WebhookRegistrar for Instance {
    fn register(&self, webhook_url: &str, _: Option<&str>) -> Result<Request<Bytes>, SendError> {
        let token = self.webhook_token.as_ref().ok_or_else(|| {
            invalid(
                "credentials.EVOLUTION_WEBHOOK_TOKEN",
                "is missing: give the token that authenticates webhooks",
            )
        })?;
        let webhook = wire::WebhookSettings {
            enabled: true,
            url: webhook_url,
            headers: BTreeMap::from([(wire::TOKEN, token.expose_secret())]),
            by_events: false,
            base64: false,
            events: &SUBSCRIBED_EVENTS,
        };
        self.post("webhook/set", &wire::SetWebhook { webhook })
    }
}

impl ReadReceipts for Instance {
    fn mark_read(&self, provider_message_id: &str) -> Result<Option<Request<Bytes>>, SendError> {
        let (Some(remote_jid), id) = split_message_id(provider_message_id) else { return Ok(None) };
        let key = wire::MessageKey { remote_jid: remote_jid.into(), from_me: false, id };
        self.post("chat/markMessageAsRead", &wire::MarkRead { read_messages: [key] }).map(Some)
    }
}

impl Instance {
    fn url(&self, call: &str) -> String {
        format!("{}/{call}/{}", self.base_url, self.name)
    }

    fn post(&self, call: &str, body: &impl Serialize) -> Result<Request<Bytes>, SendError> {
        self.with_api_key(post_json(&self.url(call), None, body)?)
    }

    fn with_api_key(&self, mut request: Request<Bytes>) -> Result<Request<Bytes>, SendError> {
        let mut key = HeaderValue::from_str(self.key.expose_secret()).map_err(|_| {
            invalid(
                "credentials.EVOLUTION_API_KEY",
                "has characters that are not allowed in an HTTP header",
            )
        })?;
        // Its `Debug` output is then "Sensitive".
        key.set_sensitive(true);
        request.headers_mut().insert("apikey", key);
        Ok(request)
    }

    /// Returns the method that sends the content, and its fields. Source of every rule: README,
    /// facts 4 to 6.
    fn body<'a>(&self, message: &Outgoing<'a>) -> Result<(&'static str, SendBody<'a>), SendError> {
        Ok(match message.content {
            Content::Text { text } => {
                check_not_blank("text", text)?;
                ("sendText", SendBody::Text { text: Cow::Borrowed(text) })
            }
            Content::Image { media } => ("sendMedia", file("image", media)?),
            Content::Video { media } => ("sendMedia", file("video", media)?),
            Content::Audio { media } => {
                without_caption(media)?;
                ("sendMedia", file("audio", media)?)
            }
            Content::Document { media } => ("sendMedia", file("document", media)?),
            Content::Sticker { media } => {
                without_caption(media)?;
                ("sendSticker", SendBody::Sticker { sticker: sticker(source(media)?) })
            }
            Content::Location { location } => {
                check_coordinates(location)?;
                let body = SendBody::Location {
                    latitude: location.latitude,
                    longitude: location.longitude,
                    // Both fields are required, and may be empty.
                    name: location.name.as_deref().unwrap_or_default(),
                    address: location.address.as_deref().unwrap_or_default(),
                };
                ("sendLocation", body)
            }
            Content::Contacts { contacts } => ("sendContact", cards(contacts)?),
            Content::Interactive { interactive } => match self.buttons {
                Buttons::Text => {
                    ("sendText", SendBody::Text { text: as_numbered_text(interactive)?.into() })
                }
                Buttons::Native => as_native_choices(interactive)?,
            },
            Content::Template { .. } => {
                let reason = "is not supported by WhatsApp Web: send a text";
                return Err(invalid("template", reason));
            }
            Content::Call { .. } => {
                let reason = "is not supported by Evolution: use an integration that makes calls";
                return Err(invalid("call", reason));
            }
            // `request` sends reactions; the other types can only be received.
            Content::Reaction { .. }
            | Content::Button { .. }
            | Content::ButtonReply { .. }
            | Content::ListReply { .. }
            | Content::Unsupported { .. } => {
                return Err(receive_only());
            }
        })
    }
}

/// Checks that a text is not blank.
fn check_not_blank(field: &'static str, text: &str) -> Result<(), SendError> {
    if text.trim().is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    Ok(())
}

/// Returns the URL of a file, if Evolution accepts it.
fn source(media: &Media) -> Result<&str, SendError> {
    let url = check_media_url(media.url.as_deref())?;
    let host = url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(ToOwned::to_owned));
    let number = host
        .as_deref()
        .is_some_and(|host| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok());
    let ending = host.as_deref().and_then(|host| Some(host.rsplit_once('.')?.1));
    let named = ending.is_some_and(|last| last.len() >= 2 && last.chars().all(char::is_alphabetic));
    if !number && !named {
        return Err(invalid("media.url", "must have a fully qualified host name or an IP address"));
    }
    if url.len() >= MAX_URL_LENGTH {
        return Err(invalid(
            "media.url",
            format!("must have fewer than {MAX_URL_LENGTH} characters"),
        ));
    }
    Ok(url)
}

fn without_caption(media: &Media) -> Result<(), SendError> {
    if media.caption.as_deref().is_some_and(|caption| !caption.is_empty()) {
        return Err(invalid("media.caption", "is not supported for this type: send it as a text"));
    }
    Ok(())
}

fn file<'a>(mediatype: &'static str, media: &'a Media) -> Result<SendBody<'a>, SendError> {
    let url = source(media)?;
    let given = media.filename.as_deref().filter(|name| !name.is_empty());
    // A document needs a name; for other types, Evolution derives the type from the name.
    let name = given.or_else(|| last_segment(url));
    let file_name = if mediatype == "document" { Some(name.unwrap_or("file")) } else { name };
    Ok(SendBody::Media {
        mediatype,
        media: url,
        mimetype: media.mime_type.as_deref(),
        file_name,
        caption: media.caption.as_deref().filter(|caption| !caption.is_empty()),
    })
}

/// Returns the last segment of the URL's path, if it is a file name with an extension.
fn last_segment(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split(['?', '#']).next()?.split_once('/')?;
    let last = path.rsplit('/').next()?;
    let (stem, ending) = last.rsplit_once('.')?;
    (!stem.is_empty() && !ending.is_empty()).then_some(last)
}

/// Returns the URL of a sticker. Evolution appends `?timestamp=`, which would corrupt an existing
/// query; after a `#` it is not sent.
fn sticker(url: &str) -> Cow<'_, str> {
    if url.contains('?') && !url.contains('#') {
        return Cow::Owned(format!("{url}#"));
    }
    Cow::Borrowed(url)
}

fn cards(contacts: &[ContactCard]) -> Result<SendBody<'_>, SendError> {
    if contacts.is_empty() {
        return Err(invalid("contacts", "must have at least one contact"));
    }
    let is_repeated = |(at, card): (usize, &ContactCard)| {
        contacts.get(at + 1..).is_some_and(|later| later.contains(card))
    };
    if contacts.iter().enumerate().any(is_repeated) {
        return Err(invalid("contacts", "must not repeat a contact"));
    }
    let cards: Result<Vec<_>, SendError> = contacts.iter().map(card).collect();
    Ok(SendBody::Contact { contact: cards? })
}

fn card(card: &ContactCard) -> Result<wire::SendCard<'_>, SendError> {
    check_not_blank("contacts.name", &card.name)?;
    let phone = card.phones.first().map(String::as_str);
    let phone_number = phone.filter(|phone| phone.chars().count() >= 10).ok_or_else(|| {
        invalid("contacts.phones", "must start with a phone number of at least 10 characters")
    })?;
    let digits: String = phone_number.chars().filter(char::is_ascii_digit).collect();
    let wuid = Some(digits).filter(|digits| digits.len() >= 10);
    let email = card.emails.first().map(String::as_str);
    Ok(wire::SendCard { full_name: &card.name, phone_number, wuid, email })
}

/// Whether Evolution accepts `text` as an emoji: it has a character other than letters, digits,
/// spaces and a few symbols. Source: README, facts 5.
fn is_emoji(text: &str) -> bool {
    text.chars().any(|c| {
        let plain = c.is_ascii_alphanumeric()
            || c == '_'
            || c.is_whitespace()
            || matches!(c, 'à'..='ú' | '"'..='+');
        !plain
    })
}

fn reaction_to<'a>(to: &str, reaction: &'a Reaction) -> Result<wire::SendReaction<'a>, SendError> {
    if reaction.emoji.is_empty() {
        return Err(invalid(
            "reaction.emoji",
            "must not be empty: Evolution cannot remove a reaction",
        ));
    }
    if !is_emoji(&reaction.emoji) {
        return Err(invalid("reaction.emoji", "must be an emoji"));
    }
    let (chat, id) = split_message_id(&reaction.message_id);
    // Ids of other providers have other characters; Evolution would silently ignore the reaction.
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    let known = !id.is_empty() && id.bytes().all(plain);
    if !known || chat.is_some_and(|chat| !chat.contains('@')) {
        return Err(invalid(
            "reaction.message_id",
            "must be a message that has an id at Evolution",
        ));
    }
    if chat.is_some_and(|chat| chat.ends_with("@g.us")) {
        let reason = "must be a message sent by the hub in a group: WhatsApp needs the author of \
                      other messages, which the hub does not store";
        return Err(invalid("reaction.message_id", reason));
    }
    let remote_jid = match chat {
        Some(chat) => Cow::Borrowed(chat),
        None if to.contains('@') => Cow::Owned(to.to_owned()),
        None => Cow::Owned(format!("{to}{}", wire::PERSON[0])),
    };
    let key = wire::MessageKey { remote_jid, from_me: chat.is_none(), id };
    Ok(wire::SendReaction { key, reaction: &reaction.emoji })
}

/// Parts of an interactive message: header, text, footer, and the choices under their section
/// titles.
struct ChoiceParts<'a> {
    header: Option<&'a str>,
    body: &'a str,
    footer: Option<&'a str>,
    sections: Vec<(&'a str, &'a [Choice])>,
}

fn choice_parts(interactive: &Interactive) -> Result<ChoiceParts<'_>, SendError> {
    let (body, header, footer, sections, field) = match interactive {
        Interactive::Button { body, header, footer, buttons } => {
            if !(1..=3).contains(&buttons.len()) {
                return Err(invalid("interactive.buttons", "must have 1 to 3 buttons"));
            }
            (body, header, footer, vec![("", buttons.as_slice())], "interactive.buttons")
        }
        Interactive::List { body, header, footer, sections, .. } => {
            let sections: Vec<(&str, &[Choice])> =
                sections.iter().map(|section| (&*section.title, &*section.rows)).collect();
            if sections.is_empty() || sections.iter().any(|(_, rows)| rows.is_empty()) {
                return Err(invalid(
                    "interactive.sections",
                    "must have at least one section, and each section a row",
                ));
            }
            (body, header, footer, sections, "interactive.sections")
        }
    };
    check_not_blank("interactive.body", body)?;
    let mut choices = sections.iter().flat_map(|(_, choices)| *choices);
    if choices.any(|choice| choice.title.trim().is_empty() || choice.id.is_empty()) {
        return Err(invalid(field, "must each have an id and a title"));
    }
    let header = header.as_deref().filter(|header| !header.is_empty());
    let footer = footer.as_deref().filter(|footer| !footer.is_empty());
    Ok(ChoiceParts { header, body, footer, sections })
}

/// Writes the choices as a numbered list: the answer is also a text.
fn as_numbered_text(interactive: &Interactive) -> Result<String, SendError> {
    let choice_parts = choice_parts(interactive)?;
    let mut blocks: Vec<String> =
        choice_parts.header.map(|header| format!("*{header}*")).into_iter().collect();
    blocks.push(choice_parts.body.to_owned());
    let mut number = 0;
    for (title, choices) in choice_parts.sections {
        let mut lines = Vec::new();
        if !title.is_empty() {
            lines.push(format!("*{title}*"));
        }
        for choice in choices {
            number += 1;
            let description = choice.description.as_deref().filter(|text| !text.is_empty());
            lines.push(match description {
                Some(description) => format!("{number}. {}: {description}", choice.title),
                None => format!("{number}. {}", choice.title),
            });
        }
        blocks.push(lines.join("\n"));
    }
    blocks.extend(choice_parts.footer.map(|footer| format!("_{footer}_")));
    Ok(blocks.join("\n\n"))
}

/// Writes the choices as `WhatsApp`'s own buttons or list. Evolution shows the title first, in
/// bold: without a header, the title is the text.
fn as_native_choices(interactive: &Interactive) -> Result<(&'static str, SendBody<'_>), SendError> {
    let ChoiceParts { header, body, footer, sections } = choice_parts(interactive)?;
    let (title, description) = match header {
        Some(header) => (header, Some(body)),
        None => (body, None),
    };
    Ok(match interactive {
        Interactive::Button { buttons, .. } => {
            let buttons = buttons.iter().map(button).collect();
            ("sendButtons", SendBody::Buttons { title, description, footer, buttons })
        }
        Interactive::List { button, .. } => {
            check_not_blank("interactive.button", button)?;
            let several = sections.len() > 1;
            let listed: Result<_, _> =
                sections.into_iter().map(|section| list_section(section, several)).collect();
            let body = SendBody::List {
                title,
                description,
                button_text: button,
                footer_text: footer.unwrap_or_default(),
                sections: listed?,
            };
            ("sendList", body)
        }
    })
}

fn button(choice: &Choice) -> wire::SendButton<'_> {
    wire::SendButton { kind: "reply", display_text: &choice.title, id: &choice.id }
}

fn list_section<'a>(
    (title, choices): (&'a str, &'a [Choice]),
    several: bool,
) -> Result<wire::SendSection<'a>, SendError> {
    if several && title.trim().is_empty() {
        let reason = "must each have a title if there are several sections";
        return Err(invalid("interactive.sections", reason));
    }
    let row = |choice: &'a Choice| wire::SendRow {
        title: &choice.title,
        description: choice.description.as_deref().filter(|text| !text.is_empty()),
        row_id: &choice.id,
    };
    let rows: Vec<wire::SendRow<'_>> = choices.iter().map(row).collect();
    let is_repeated = |(at, row): (usize, &wire::SendRow<'_>)| {
        rows.get(at + 1..).is_some_and(|later| later.contains(row))
    };
    if rows.iter().enumerate().any(is_repeated) {
        return Err(invalid("interactive.sections", "must not repeat a row"));
    }
    Ok(wire::SendSection { title, rows })
}

/// Meaning of a refusal.
enum Meaning {
    Disconnected,
    NotOnWhatsapp,
    NoFile,
    /// The outcome is unknown. The scope is a guess.
    FailedInFlight(RefusalScope),
    InvalidMessage,
    UnknownKey,
    UnknownInstance,
    Forbidden,
    Limited(Duration),
    Other(Fault),
}

/// Reads a refusal. Evolution has no error codes: the status and the texts in its source code
/// decide. Source: README, what a refusal means.
fn refusal(response: &Response<Bytes>, content: Option<&Content>) -> SendError {
    let status = response.status();
    let wait = retry_after(response.headers());
    let own = read::<wire::Refused>(response).ok().filter(|own| own.status == status.as_u16());
    let form = if own.is_some() { ErrorFormat::Documented } else { ErrorFormat::Other };
    let meaning = match (status.as_u16(), own) {
        (401, _) => Meaning::UnknownKey,
        (403, _) => Meaning::Forbidden,
        (404, _) => Meaning::UnknownInstance,
        (429, _) => Meaning::Limited(wait.unwrap_or(DEFAULT_RATE_LIMIT_WAIT)),
        (400 | 500, Some(own)) => meaning(status, &own.response.message, content),
        (400..=499, _) if status != StatusCode::REQUEST_TIMEOUT => Meaning::InvalidMessage,
        _ => match Fault::from_response(status, form, wait) {
            Fault::RateLimited { retry_after } => Meaning::Limited(retry_after),
            fault => Meaning::Other(fault),
        },
    };
    refused_with(status, &meaning)
}

/// Returns the meaning of the texts in a response from Evolution itself.
fn meaning(status: StatusCode, message: &serde_json::Value, content: Option<&Content>) -> Meaning {
    let parts = match message {
        serde_json::Value::Array(parts) => parts.as_slice(),
        one => std::slice::from_ref(one),
    };
    if parts.iter().any(|part| part.get("exists").is_some_and(|exists| *exists == false)) {
        return Meaning::NotOnWhatsapp;
    }
    let mut words = parts.iter().filter_map(serde_json::Value::as_str);
    if words.clone().any(|words| words.ends_with("Connection Closed")) {
        return Meaning::Disconnected;
    }
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        // The controller found no loaded instance.
        let unloaded = "Cannot read properties of undefined (reading '";
        if words.clone().any(|words| words.starts_with(unloaded)) {
            return Meaning::Disconnected;
        }
        // Evolution fetches and converts files before it sends anything.
        if content.is_some_and(|content| content.media().is_some()) {
            return Meaning::NoFile;
        }
        // These errors are thrown before the message is handed to WhatsApp.
        return Meaning::Other(Fault::from_response(status, ErrorFormat::Documented, None));
    }
    // Errors during the send are reported as a bad request, even after the message was sent.
    words.find_map(caught_error_scope).map_or(Meaning::InvalidMessage, Meaning::FailedInFlight)
}

/// Returns the scope of the failure, if `words` are an error that Evolution caught rather than one
/// of its own.
fn caught_error_scope(words: &str) -> Option<RefusalScope> {
    if words == "[object Object]" {
        return Some(RefusalScope::Message);
    }
    let (name, reason) = words.split_once(": ")?;
    let is_error = name.ends_with("Error") && name.bytes().all(|c| c.is_ascii_alphanumeric());
    // `WhatsApp`'s own refusals, such as for a group without the sender, are plain errors.
    let refusal = name == "Error" && reason != "Timed Out";
    is_error.then_some(if refusal { RefusalScope::Message } else { RefusalScope::Account })
}

fn disconnected(status: StatusCode) -> SendError {
    refused_with(status, &Meaning::Disconnected)
}

fn refused_with(status: StatusCode, meaning: &Meaning) -> SendError {
    let (code, fault, scope, remedy) = match meaning {
        Meaning::Disconnected => (
            Some("disconnected"),
            Fault::Retryable,
            RefusalScope::Account,
            "The instance is not connected to WhatsApp. Scan its QR code again in the Evolution \
             Manager.",
        ),
        Meaning::NotOnWhatsapp => (
            Some("not_on_whatsapp"),
            Fault::Permanent,
            RefusalScope::Message,
            "The number is not on WhatsApp. Correct it, or use another channel.",
        ),
        Meaning::NoFile => (
            Some("no_file"),
            Fault::Retryable,
            RefusalScope::Message,
            "Evolution could not fetch or convert the file. Check its URL, type and size.",
        ),
        Meaning::FailedInFlight(scope) => (
            None,
            Fault::Unknown,
            *scope,
            "Evolution failed while sending. Check its log; a receipt may still report the \
             outcome.",
        ),
        Meaning::InvalidMessage => (
            None,
            Fault::Permanent,
            RefusalScope::Message,
            "Evolution rejected the message as invalid. Correct it.",
        ),
        Meaning::UnknownKey => (
            None,
            Fault::Permanent,
            RefusalScope::Account,
            "Evolution does not know the API key. Store the instance's token or the server's key.",
        ),
        Meaning::UnknownInstance => (
            None,
            Fault::Permanent,
            RefusalScope::Account,
            "There is no such instance on the server. Correct the settings `instance` and \
             `base_url`.",
        ),
        Meaning::Forbidden => (
            None,
            Fault::Permanent,
            RefusalScope::Account,
            "The server, or a proxy in front of it, forbids the hub to send. Allow the hub's \
             requests.",
        ),
        Meaning::Limited(retry_after) => (
            None,
            Fault::RateLimited { retry_after: *retry_after },
            RefusalScope::Account,
            "The server, or a proxy in front of it, asks to retry later.",
        ),
        Meaning::Other(Fault::Unknown) => (
            None,
            Fault::Unknown,
            RefusalScope::Account,
            "The server failed during the request. A receipt may still report the outcome.",
        ),
        Meaning::Other(Fault::Retryable) => (
            None,
            Fault::Retryable,
            RefusalScope::Account,
            "Evolution failed before it sent the message. Check its log if the error persists.",
        ),
        Meaning::Other(fault) => (
            None,
            *fault,
            RefusalScope::from_status(status),
            "The server rejected the request and gave no readable reason.",
        ),
    };
    let code = code.map_or_else(|| status.as_str().to_owned(), ToOwned::to_owned);
    SendError::Refused { status, code, remedy: remedy.to_owned(), fault, scope }
}

#[cfg(test)]
#[path = "sender/tests.rs"]
mod tests;
