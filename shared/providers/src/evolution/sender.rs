//! Sends through the Evolution API.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::content::{Choice, ContactCard, Content, Interactive, Media, Reaction};
use domain::fault::{Fault, Form};
use domain::sender::{
    About, Accepted, Fetch, Locate, MessageSender, Outgoing, Pace, SendError, SenderProvider,
};
use domain::{Credentials, Integration, Provider};
use http::{HeaderValue, Request, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::settings::{Buttons, Own};
use super::webhook::{self, PERSON};
use super::wire::{self, SendBody};
use crate::entry::settings_of;
use crate::http::{get, invalid, on_earth, post_json, read, retry_after, web_address};

/// What an instance tells us about.
const EVENTS: [&str; 7] = [
    "MESSAGES_UPSERT",
    "MESSAGES_UPDATE",
    "MESSAGES_EDITED",
    "MESSAGES_DELETE",
    "SEND_MESSAGE",
    "CONNECTION_UPDATE",
    "CALL",
];

/// How long to wait where a proxy before the server says 429 and not how long.
const A_WHILE: Duration = Duration::from_secs(30);

/// Addresses of this length and longer are none to Evolution. Source: README, facts 6.
const TOO_LONG: usize = 2083;

/// Evolution, to send through.
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
        let settings: Own = settings_of(integration)
            .ok_or_else(|| invalid("settings", "are not those of an instance of Evolution"))?;
        let base_url = settings.base_url.as_deref().ok_or_else(|| {
            invalid("settings.base_url", "is missing: say where your Evolution server is")
        })?;
        let instance = settings.instance().ok_or_else(|| {
            invalid("settings.instance", "is missing: name the instance to send through")
        })?;
        let key = credentials.first(super::API_KEY);
        let key = key.ok_or_else(|| invalid("credentials.EVOLUTION_API_KEY", "is missing"))?;
        Ok(Box::new(Instance {
            base_url: base_url.trim_end_matches('/').to_owned(),
            name: segment(instance),
            key: key.clone(),
            webhook_token: credentials.first(super::WEBHOOK_TOKEN).cloned(),
            line: integration.line(),
            buttons: settings.buttons,
            per_second: settings.messages_per_second.max(1),
        }))
    }
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

/// A person's number in digits; the address of a group, or of who hides the number, as it is.
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
            _ => Err(no_address()),
        };
    }
    let number: String =
        to.chars().filter(|c| !matches!(c, '+' | '-' | ' ' | '(' | ')' | '.')).collect();
    // E.164: <https://www.itu.int/rec/T-REC-E.164>. Longer ones Evolution takes for groups.
    if digits(&number) && (7..=15).contains(&number.len()) && !number.starts_with('0') {
        return Ok(number);
    }
    Err(no_address())
}

fn no_address() -> SendError {
    invalid("to", "must be a number with its country code, such as +4915550009999, or a group's id")
}

/// The id that an inbound message has with us: Evolution names a message by its chat, too.
pub(super) fn of_person(remote_jid: &str, id: &str) -> String {
    format!("{remote_jid}:{id}")
}

/// The chat, if a person wrote the message, and `WhatsApp`'s own id of it.
fn named(provider_message_id: &str) -> (Option<&str>, &str) {
    match provider_message_id.rsplit_once(':') {
        Some((remote_jid, id)) => (Some(remote_jid), id),
        None => (None, provider_message_id),
    }
}

/// An instance that sends.
struct Instance {
    base_url: String,
    /// Its name, fit for a path.
    name: String,
    key: SecretString,
    webhook_token: Option<SecretString>,
    line: String,
    buttons: Buttons,
    per_second: u32,
}

impl MessageSender for Instance {
    /// Source: README, facts 3 and 4.
    fn idempotency_window(&self) -> Option<Duration> {
        None
    }

    /// Source: README, quirks: Evolution has no limit, and `WhatsApp` bans who floods.
    fn pace(&self, _: &str) -> Vec<Pace> {
        let per = Duration::from_secs(1);
        vec![Pace { identity: self.line.clone(), messages: self.per_second, per }]
    }

    fn request(&self, message: &Outgoing<'_>) -> Result<Request<Bytes>, SendError> {
        let to = address(message.to)?;
        if let Content::Reaction { reaction } = message.content {
            return self.post("message/sendReaction", &reaction_to(&to, reaction)?);
        }
        let (method, body) = self.body(message)?;
        // Visiting cards answer nothing: Evolution passes over what they quote.
        let answers = !matches!(body, SendBody::Contact { .. });
        let quoted = message
            .reply_to
            .filter(|_| answers)
            .map(|theirs| wire::Quoted { key: wire::QuotedKey { id: named(theirs).1 } });
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
            return Ok(Accepted { provider_message_id: sent.key.id });
        }
        match sent.code {
            // Graph's own refusal, with the status of a success.
            Some(code) => Err(SendError::Refused {
                status: response.status(),
                code: code.to_string(),
                remedy: "The instance's number is on Meta's Cloud API, which refused the message. \
                         Connect such a number as an integration of WhatsApp."
                    .to_owned(),
                fault: Fault::Permanent,
                about: About::Account,
            }),
            None => Err(SendError::Unreadable),
        }
    }

    fn mark_read(&self, provider_message_id: &str) -> Option<Result<Request<Bytes>, SendError>> {
        let (Some(remote_jid), id) = named(provider_message_id) else { return None };
        let key = wire::MessageKey { remote_jid: remote_jid.into(), from_me: false, id };
        Some(self.post("chat/markMessageAsRead", &wire::MarkRead { read_messages: [key] }))
    }

    fn locate_media(&self, provider_media_id: &str) -> Result<Locate, SendError> {
        let body = wire::GetBase64 {
            message: wire::Quoted { key: wire::QuotedKey { id: provider_media_id } },
            convert_to_mp4: false,
        };
        self.post("chat/getBase64FromMediaMessage", &body).map(Locate::Ask)
    }

    fn fetch_media(&self, located: &Response<Bytes>) -> Result<Fetch, SendError> {
        if !located.status().is_success() {
            return Err(refusal(located, None));
        }
        let file: wire::FileContent = read(located)?;
        let bytes = STANDARD.decode(file.base64).map_err(|_| SendError::Unreadable)?;
        Ok(Fetch::Here(bytes.into()))
    }

    fn describe_account(&self) -> Result<Request<Bytes>, SendError> {
        self.keyed(get(&self.url("instance/connectionState"), None)?)
    }

    fn register(&self, webhook_url: &str, _: Option<&str>) -> Result<Request<Bytes>, SendError> {
        let token = self.webhook_token.as_ref().ok_or_else(|| {
            invalid("credentials.EVOLUTION_WEBHOOK_TOKEN", "is missing: it proves webhooks")
        })?;
        let webhook = wire::WebhookOrder {
            enabled: true,
            url: webhook_url,
            headers: BTreeMap::from([(webhook::TOKEN, token.expose_secret())]),
            by_events: false,
            base64: false,
            events: &EVENTS,
        };
        self.post("webhook/set", &wire::SetWebhook { webhook })
    }

    /// An instance that is not connected is no success, although its server answers.
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
        // What it was told is told back: the token is nobody's to see.
        if let Some(answer) = answer.as_object_mut() {
            answer.remove("headers");
        }
        Ok(answer)
    }
}

impl Instance {
    fn url(&self, call: &str) -> String {
        format!("{}/{call}/{}", self.base_url, self.name)
    }

    fn post(&self, call: &str, body: &impl Serialize) -> Result<Request<Bytes>, SendError> {
        self.keyed(post_json(&self.url(call), None, body)?)
    }

    fn keyed(&self, mut request: Request<Bytes>) -> Result<Request<Bytes>, SendError> {
        let mut key = HeaderValue::from_str(self.key.expose_secret()).map_err(|_| {
            invalid("credentials.EVOLUTION_API_KEY", "has characters no header can carry")
        })?;
        // Its debug form is then "Sensitive".
        key.set_sensitive(true);
        request.headers_mut().insert("apikey", key);
        Ok(request)
    }

    /// The method that sends the content, and its fields. Source of every rule: README,
    /// facts 4 to 6.
    fn body<'a>(&self, message: &Outgoing<'a>) -> Result<(&'static str, SendBody<'a>), SendError> {
        Ok(match message.content {
            Content::Text { text } => {
                filled("text", text)?;
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
                on_earth(location)?;
                let body = SendBody::Location {
                    latitude: location.latitude,
                    longitude: location.longitude,
                    // Both must be there, and may be empty.
                    name: location.name.as_deref().unwrap_or_default(),
                    address: location.address.as_deref().unwrap_or_default(),
                };
                ("sendLocation", body)
            }
            Content::Contacts { contacts } => ("sendContact", cards(contacts)?),
            Content::Interactive { interactive } => match self.buttons {
                Buttons::Text => {
                    ("sendText", SendBody::Text { text: spelled(interactive)?.into() })
                }
                Buttons::Native => native(interactive)?,
            },
            Content::Template { .. } => {
                let reason = "WhatsApp Web has no templates: send it as text";
                return Err(invalid("template", reason));
            }
            Content::Call { .. } => {
                let reason = "is no message: use an integration that makes calls";
                return Err(invalid("call", reason));
            }
            // Has no place in a chat of its own.
            Content::Reaction { .. }
            | Content::Button { .. }
            | Content::ButtonReply { .. }
            | Content::ListReply { .. }
            | Content::Unsupported { .. } => {
                let reason = "WhatsApp carries this from people only, not to them";
                return Err(invalid("type", reason));
            }
        })
    }
}

/// Checks that there is something to read.
fn filled(field: &'static str, text: &str) -> Result<(), SendError> {
    if text.trim().is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    Ok(())
}

/// The address of a file, if Evolution takes it for one.
fn source(media: &Media) -> Result<&str, SendError> {
    let url = web_address(media.url.as_deref())?;
    let host = url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(ToOwned::to_owned));
    let number = host
        .as_deref()
        .is_some_and(|host| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok());
    let ending = host.as_deref().and_then(|host| Some(host.rsplit_once('.')?.1));
    let named = ending.is_some_and(|last| last.len() >= 2 && last.chars().all(char::is_alphabetic));
    if !number && !named {
        return Err(invalid("media.url", "must have a host with a dot: Evolution takes no other"));
    }
    if url.len() >= TOO_LONG {
        return Err(invalid("media.url", format!("must have less than {TOO_LONG} characters")));
    }
    Ok(url)
}

fn without_caption(media: &Media) -> Result<(), SendError> {
    if media.caption.as_deref().is_some_and(|caption| !caption.is_empty()) {
        return Err(invalid("media.caption", "WhatsApp shows none here: send it as text"));
    }
    Ok(())
}

fn file<'a>(mediatype: &'static str, media: &'a Media) -> Result<SendBody<'a>, SendError> {
    let url = source(media)?;
    let given = media.filename.as_deref().filter(|name| !name.is_empty());
    // A document must have a name, and of the others the name says what they are.
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

/// The name a file has in its address, if it ends in one with a dot.
fn last_segment(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split(['?', '#']).next()?.split_once('/')?;
    let last = path.rsplit('/').next()?;
    let (stem, ending) = last.rsplit_once('.')?;
    (!stem.is_empty() && !ending.is_empty()).then_some(last)
}

/// The address of a sticker. Evolution puts `?timestamp=` behind it, which would spoil a query;
/// behind a `#` it is not sent.
fn sticker(url: &str) -> Cow<'_, str> {
    if url.contains('?') && !url.contains('#') {
        return Cow::Owned(format!("{url}#"));
    }
    Cow::Borrowed(url)
}

fn cards(contacts: &[ContactCard]) -> Result<SendBody<'_>, SendError> {
    if contacts.is_empty() {
        return Err(invalid("contacts", "must have one at least"));
    }
    let twice = |(at, card): (usize, &ContactCard)| {
        contacts.get(at + 1..).is_some_and(|later| later.contains(card))
    };
    if contacts.iter().enumerate().any(twice) {
        return Err(invalid("contacts", "must differ from each other"));
    }
    let cards: Result<Vec<_>, SendError> = contacts.iter().map(card).collect();
    Ok(SendBody::Contact { contact: cards? })
}

fn card(card: &ContactCard) -> Result<wire::SendCard<'_>, SendError> {
    filled("contacts.name", &card.name)?;
    let phone = card.phones.first().map(String::as_str);
    let phone_number = phone.filter(|phone| phone.chars().count() >= 10).ok_or_else(|| {
        invalid("contacts.phones", "must begin with a number of at least 10 characters")
    })?;
    let digits: String = phone_number.chars().filter(char::is_ascii_digit).collect();
    let wuid = Some(digits).filter(|digits| digits.len() >= 10);
    let email = card.emails.first().map(String::as_str);
    Ok(wire::SendCard { full_name: &card.name, phone_number, wuid, email })
}

/// What Evolution takes for an emoji: something besides letters, digits, spaces and a few
/// signs. Source: README, facts 5.
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
        return Err(invalid("reaction.emoji", "Evolution cannot take a reaction off"));
    }
    if !is_emoji(&reaction.emoji) {
        return Err(invalid("reaction.emoji", "must be an emoji"));
    }
    let (chat, id) = named(&reaction.message_id);
    // Another carrier's ids have other signs in them. Evolution would react to nothing.
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    let known = !id.is_empty() && id.bytes().all(plain);
    if !known || chat.is_some_and(|chat| !chat.contains('@')) {
        return Err(invalid("reaction.message_id", "Evolution does not know that message"));
    }
    if chat.is_some_and(|chat| chat.ends_with("@g.us")) {
        let reason = "in a group only the hub's own messages can be reacted to: WhatsApp must be \
                      told who wrote one, which is not kept";
        return Err(invalid("reaction.message_id", reason));
    }
    let remote_jid = match chat {
        Some(chat) => Cow::Borrowed(chat),
        None if to.contains('@') => Cow::Owned(to.to_owned()),
        None => Cow::Owned(format!("{to}{}", PERSON[0])),
    };
    let key = wire::MessageKey { remote_jid, from_me: chat.is_none(), id };
    Ok(wire::SendReaction { key, reaction: &reaction.emoji })
}

/// The parts of a choice: what stands above, the text, what stands below, and the choices under
/// their headings.
struct Offer<'a> {
    header: Option<&'a str>,
    body: &'a str,
    footer: Option<&'a str>,
    sections: Vec<(&'a str, &'a [Choice])>,
}

fn offer(interactive: &Interactive) -> Result<Offer<'_>, SendError> {
    let (body, header, footer, sections, field) = match interactive {
        Interactive::Button { body, header, footer, buttons } => {
            if !(1..=3).contains(&buttons.len()) {
                return Err(invalid("interactive.buttons", "must be 1 to 3"));
            }
            (body, header, footer, vec![("", buttons.as_slice())], "interactive.buttons")
        }
        Interactive::List { body, header, footer, sections, .. } => {
            let sections: Vec<(&str, &[Choice])> =
                sections.iter().map(|section| (&*section.title, &*section.rows)).collect();
            if sections.is_empty() || sections.iter().any(|(_, rows)| rows.is_empty()) {
                return Err(invalid("interactive.sections", "must each have a row"));
            }
            (body, header, footer, sections, "interactive.sections")
        }
    };
    filled("interactive.body", body)?;
    let mut choices = sections.iter().flat_map(|(_, choices)| *choices);
    if choices.any(|choice| choice.title.trim().is_empty() || choice.id.is_empty()) {
        return Err(invalid(field, "must each have an id and a title"));
    }
    let header = header.as_deref().filter(|header| !header.is_empty());
    let footer = footer.as_deref().filter(|footer| !footer.is_empty());
    Ok(Offer { header, body, footer, sections })
}

/// A choice as text, with its numbers: the answer comes as text, too.
fn spelled(interactive: &Interactive) -> Result<String, SendError> {
    let offer = offer(interactive)?;
    let mut blocks: Vec<String> =
        offer.header.map(|header| format!("*{header}*")).into_iter().collect();
    blocks.push(offer.body.to_owned());
    let mut number = 0;
    for (title, choices) in offer.sections {
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
    blocks.extend(offer.footer.map(|footer| format!("_{footer}_")));
    Ok(blocks.join("\n\n"))
}

/// A choice as `WhatsApp` itself has them. Evolution puts the title first, in bold: without a
/// header that is the text.
fn native(interactive: &Interactive) -> Result<(&'static str, SendBody<'_>), SendError> {
    let Offer { header, body, footer, sections } = offer(interactive)?;
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
            filled("interactive.button", button)?;
            let several = sections.len() > 1;
            let listed: Result<_, _> =
                sections.into_iter().map(|section| listed(section, several)).collect();
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

fn listed<'a>(
    (title, choices): (&'a str, &'a [Choice]),
    several: bool,
) -> Result<wire::SendSection<'a>, SendError> {
    if several && title.trim().is_empty() {
        let reason = "must each have a title where there are several";
        return Err(invalid("interactive.sections", reason));
    }
    let row = |choice: &'a Choice| wire::SendRow {
        title: &choice.title,
        description: choice.description.as_deref().filter(|text| !text.is_empty()),
        row_id: &choice.id,
    };
    let rows: Vec<wire::SendRow<'_>> = choices.iter().map(row).collect();
    let twice = |(at, row): (usize, &wire::SendRow<'_>)| {
        rows.get(at + 1..).is_some_and(|later| later.contains(row))
    };
    if rows.iter().enumerate().any(twice) {
        return Err(invalid("interactive.sections", "must have no row twice"));
    }
    Ok(wire::SendSection { title, rows })
}

/// What a refusal means.
enum Meaning {
    Disconnected,
    NotOnWhatsapp,
    NoFile,
    /// Nobody knows what became of the message. What is at fault is a guess.
    Broken(About),
    Wrong,
    NoKey,
    NoInstance,
    Forbidden,
    Limited(Duration),
    Other(Fault),
}

/// Reads a refusal. Evolution has no codes: its status and the words of its own source decide.
/// Source: README, what a refusal means.
fn refusal(response: &Response<Bytes>, content: Option<&Content>) -> SendError {
    let status = response.status();
    let wait = retry_after(response.headers());
    let own = read::<wire::Refused>(response).ok().filter(|own| own.status == status.as_u16());
    let form = if own.is_some() { Form::Documented } else { Form::Other };
    let meaning = match (status.as_u16(), own) {
        (401, _) => Meaning::NoKey,
        (403, _) => Meaning::Forbidden,
        (404, _) => Meaning::NoInstance,
        (429, _) => Meaning::Limited(wait.unwrap_or(A_WHILE)),
        (400 | 500, Some(own)) => meaning(status, &own.response.message, content),
        (400..=499, _) if status != StatusCode::REQUEST_TIMEOUT => Meaning::Wrong,
        _ => match Fault::of_answer(status, form, wait) {
            Fault::RateLimited { retry_after } => Meaning::Limited(retry_after),
            fault => Meaning::Other(fault),
        },
    };
    explained(status, &meaning)
}

/// What the words of an answer of Evolution's own mean.
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
        // The controller found no instance to ask.
        let unloaded = "Cannot read properties of undefined (reading '";
        if words.clone().any(|words| words.starts_with(unloaded)) {
            return Meaning::Disconnected;
        }
        // Files are fetched and converted before anything is sent.
        if content.is_some_and(|content| content.media().is_some()) {
            return Meaning::NoFile;
        }
        // These errors are thrown before the message is handed to WhatsApp.
        return Meaning::Other(Fault::of_answer(status, Form::Documented, None));
    }
    // Whatever went wrong around the send is told as a bad request, also after it.
    words.find_map(broken).map_or(Meaning::Wrong, Meaning::Broken)
}

/// What is at fault if `words` are an error that Evolution caught and did not make.
fn broken(words: &str) -> Option<About> {
    if words == "[object Object]" {
        return Some(About::Message);
    }
    let (name, reason) = words.split_once(": ")?;
    let is_error = name.ends_with("Error") && name.bytes().all(|c| c.is_ascii_alphanumeric());
    // `WhatsApp`'s own refusals, such as that of a group one is not in, are plain errors.
    let refusal = name == "Error" && reason != "Timed Out";
    is_error.then_some(if refusal { About::Message } else { About::Account })
}

fn disconnected(status: StatusCode) -> SendError {
    explained(status, &Meaning::Disconnected)
}

fn explained(status: StatusCode, meaning: &Meaning) -> SendError {
    let (code, fault, about, remedy) = match meaning {
        Meaning::Disconnected => (
            Some("disconnected"),
            Fault::Retryable,
            About::Account,
            "The instance is not connected to WhatsApp. Scan its QR code again in Evolution's \
             manager.",
        ),
        Meaning::NotOnWhatsapp => (
            Some("not_on_whatsapp"),
            Fault::Permanent,
            About::Message,
            "The number is not on WhatsApp. Check it, or write on another channel.",
        ),
        Meaning::NoFile => (
            Some("no_file"),
            Fault::Retryable,
            About::Message,
            "Evolution could not fetch or convert the file. Check its address, type and size.",
        ),
        Meaning::Broken(about) => (
            None,
            Fault::Unknown,
            *about,
            "Evolution broke off while it sent. Look into its log; a receipt may still tell.",
        ),
        Meaning::Wrong => (
            None,
            Fault::Permanent,
            About::Message,
            "Evolution found the message wrong. Correct it.",
        ),
        Meaning::NoKey => (
            None,
            Fault::Permanent,
            About::Account,
            "Evolution does not know the key. Store the instance's token or the server's key.",
        ),
        Meaning::NoInstance => (
            None,
            Fault::Permanent,
            About::Account,
            "There is no such instance on that server. Check its name and the base_url.",
        ),
        Meaning::Forbidden => (
            None,
            Fault::Permanent,
            About::Account,
            "The server, or what stands before it, forbids the hub to send.",
        ),
        Meaning::Limited(retry_after) => (
            None,
            Fault::RateLimited { retry_after: *retry_after },
            About::Account,
            "The server, or what stands before it, asks for patience.",
        ),
        Meaning::Other(Fault::Unknown) => (
            None,
            Fault::Unknown,
            About::Account,
            "The server broke off. A receipt may still tell whether it was sent.",
        ),
        Meaning::Other(Fault::Retryable) => (
            None,
            Fault::Retryable,
            About::Account,
            "Evolution failed before it sent. Look into its log if it goes on.",
        ),
        Meaning::Other(fault) => (
            None,
            *fault,
            About::from_status(status),
            "The server refused without a reason we can read.",
        ),
    };
    let code = code.map_or_else(|| status.as_str().to_owned(), ToOwned::to_owned);
    SendError::Refused { status, code, remedy: remedy.to_owned(), fault, about }
}

#[cfg(test)]
#[path = "sender/tests.rs"]
mod tests;
