//! Sends through Telegram's Bot API.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use domain::content::{Choice, Content, Interactive, Media};
use domain::fault::{ErrorFormat, Fault};
use domain::sender::{
    Accepted, AccountReader, AnswerReader, MediaFetcher, MediaRequest, MediaSource, MessageSender,
    Outgoing, RateLimit, ReadReceipts, RefusalScope, SendError, SenderProvider, WebhookRegistrar,
};
use domain::{Credentials, Integration, Provider};
use http::{Request, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};

use super::settings::BotSettings;
use super::wire::{self, SendBody};
use crate::content::receive_only;
use crate::http::{
    check_coordinates, check_length, check_media_url, get, invalid, post_json, read, retry_after,
};
use crate::spec::ProviderApi;
use crate::spec::settings_of;

/// Updates that a bot receives. Telegram sends reactions only to bots that list them here.
const SUBSCRIBED_UPDATES: [&str; 5] =
    ["message", "edited_message", "callback_query", "message_reaction", "my_chat_member"];

/// Prefix of the message id of a button press.
const BUTTON_PRESS_PREFIX: &str = "cb:";

/// Sender for Telegram.
#[derive(Clone, Copy, Debug)]
pub struct Sender;

impl SenderProvider for Sender {
    fn provider(&self) -> Provider {
        Provider::Telegram
    }

    fn sender(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<Box<dyn MessageSender>, SendError> {
        Ok(Box::new(Bot::new(integration, credentials)?))
    }
}

/// Returns the id of the bot that owns `token`: the digits before the colon.
#[must_use]
pub fn bot_id(token: &str) -> Option<&str> {
    let (id, key) = token.split_once(':')?;
    let digits = !id.is_empty() && id.bytes().all(|c| c.is_ascii_digit());
    // The token is part of a path.
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    (digits && !key.is_empty() && key.bytes().all(plain)).then_some(id)
}

/// Returns a chat id, or the `@name` of a public group or channel.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`.
pub fn address(to: &str) -> Result<String, SendError> {
    Ok(match chat_id(to.trim())? {
        wire::ChatId::Number(id) => id.to_string(),
        wire::ChatId::Name(name) => name.to_owned(),
    })
}

fn chat_id(to: &str) -> Result<wire::ChatId<'_>, SendError> {
    if let Ok(id) = to.parse() {
        return Ok(wire::ChatId::Number(id));
    }
    let name = |name: &str| {
        !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    };
    if to.strip_prefix('@').is_some_and(name) {
        return Ok(wire::ChatId::Name(to));
    }
    Err(invalid(
        "to",
        "must be a chat id or an @name: a bot can only write to people who wrote to it first",
    ))
}

/// Sender for one bot.
pub(super) struct Bot {
    base_url: String,
    id: String,
    token: SecretString,
    webhook_secret: Option<SecretString>,
    per_second: u32,
}

impl ProviderApi for Bot {
    fn new(integration: &Integration, credentials: &Credentials) -> Result<Self, SendError> {
        let settings = settings_of::<BotSettings>(integration).ok_or_else(|| {
            invalid("provider", "is not Telegram: the integration belongs to another provider")
        })?;
        let token = credentials.first(super::BOT_TOKEN);
        let token = token.ok_or_else(|| invalid("credentials.TELEGRAM_BOT_TOKEN", "is missing"))?;
        let id = bot_id(token.expose_secret()).ok_or_else(|| {
            invalid("credentials.TELEGRAM_BOT_TOKEN", "must be a bot token such as 123456789:AA...")
        })?;
        Ok(Self {
            base_url: settings.base_url.trim_end_matches('/').to_owned(),
            id: id.to_owned(),
            token: token.clone(),
            webhook_secret: credentials.first(super::WEBHOOK_SECRET).cloned(),
            per_second: settings.messages_per_second.max(1),
        })
    }
}

impl MessageSender for Bot {
    /// Source: README, facts 1.
    fn idempotency_window(&self) -> Option<Duration> {
        None
    }

    /// Source: README, facts 3.
    fn rate_limits(&self, to: &str) -> Vec<RateLimit> {
        let bot = RateLimit::per_second(&self.id, self.per_second);
        vec![bot, RateLimit::per_second(format!("{}:{to}", self.id), 1)]
    }

    fn request(&self, message: &Outgoing<'_>) -> Result<Request<Bytes>, SendError> {
        let (method, body) = body(message)?;
        let is_reaction = matches!(body, SendBody::Reaction { .. });
        // A button press or a reaction is not a message, so nothing can quote it.
        let replied_to = message.reply_to.filter(|_| !is_reaction).and_then(message_id);
        let reply_parameters = replied_to.map(|message_id| wire::ReplyParameters {
            message_id,
            allow_sending_without_reply: true,
        });
        self.post(method, &wire::Send { chat_id: chat_id(message.to)?, reply_parameters, body })
    }

    fn outcome(
        &self,
        message: &Outgoing<'_>,
        response: &Response<Bytes>,
    ) -> Result<Accepted, SendError> {
        let result = result(response)?;
        let is_reaction = matches!(message.content, Content::Reaction { .. });
        if is_reaction && result == serde_json::Value::Bool(true) {
            // Telegram gives a reaction no id.
            return Ok(Accepted::new(format!("reaction:{}", message.id)));
        }
        let sent: wire::Sent = serde_json::from_value(result).map_err(|_| SendError::Unreadable)?;
        Ok(Accepted::new(format!("{}:{}", sent.chat.id, sent.message_id)))
    }

    fn moved_to(&self, response: &Response<Bytes>) -> Option<String> {
        let answer: wire::Answer = read(response).ok()?;
        answer.parameters.migrate_to_chat_id.map(|id| id.to_string())
    }
}

impl MediaFetcher for Bot {
    fn locate_media(&self, provider_media_id: &str) -> Result<MediaRequest, SendError> {
        self.post("getFile", &wire::GetFile { file_id: provider_media_id })
            .map(MediaRequest::Lookup)
    }

    fn fetch_media(&self, located: &Response<Bytes>) -> Result<MediaSource, SendError> {
        let located: wire::Located =
            serde_json::from_value(result(located)?).map_err(|_| SendError::Unreadable)?;
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'/' | b'_' | b'-' | b'.');
        // The URL contains the token, so the path must not leave the bot's folder.
        if located.file_path.contains("..") || !located.file_path.bytes().all(plain) {
            return Err(SendError::Unreadable);
        }
        let token = self.token.expose_secret();
        get(&format!("{}/file/bot{token}/{}", self.base_url, located.file_path), None)
            .map(MediaSource::Download)
    }
}

impl AnswerReader for Bot {
    fn answer(&self, response: &Response<Bytes>) -> Result<serde_json::Value, SendError> {
        result(response)
    }
}

impl AccountReader for Bot {
    fn describe_account(&self) -> Result<Request<Bytes>, SendError> {
        get(&self.url("getMe"), None)
    }
}

impl WebhookRegistrar for Bot {
    fn register(&self, webhook_url: &str, _: Option<&str>) -> Result<Request<Bytes>, SendError> {
        let secret = self.webhook_secret.as_ref().map_or("", |secret| secret.expose_secret());
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
        if !(1..=256).contains(&secret.len()) || !secret.bytes().all(plain) {
            return Err(invalid(
                "credentials.TELEGRAM_WEBHOOK_SECRET",
                "must have 1 to 256 characters of A-Z, a-z, 0-9, - and _",
            ));
        }
        let body = wire::SetWebhook {
            url: webhook_url,
            secret_token: secret,
            allowed_updates: &SUBSCRIBED_UPDATES,
        };
        self.post("setWebhook", &body)
    }
}

impl ReadReceipts for Bot {
    /// Bots cannot mark messages as read. For a button press, this stops the button's spinner.
    fn mark_read(&self, provider_message_id: &str) -> Result<Option<Request<Bytes>>, SendError> {
        let Some(callback_query_id) = provider_message_id.strip_prefix(BUTTON_PRESS_PREFIX) else {
            return Ok(None);
        };
        let body = wire::AnswerCallbackQuery { callback_query_id };
        self.post("answerCallbackQuery", &body).map(Some)
    }
}

impl Bot {
    /// Returns the URL of a method. It contains the token: never log it.
    fn url(&self, method: &str) -> String {
        format!("{}/bot{}/{method}", self.base_url, self.token.expose_secret())
    }

    fn post(
        &self,
        method: &str,
        body: &impl serde::Serialize,
    ) -> Result<Request<Bytes>, SendError> {
        post_json(&self.url(method), None, body)
    }
}

/// Returns the message's number within its chat, from `<chat id>:<message id>`.
fn message_id(provider_message_id: &str) -> Option<i64> {
    let (chat, message) = provider_message_id.split_once(':')?;
    chat.parse::<i64>().ok()?;
    message.parse().ok()
}

/// Returns the method that sends the content, and its fields.
/// Source of every limit: README, facts 1.
fn body<'a>(message: &Outgoing<'a>) -> Result<(&'static str, SendBody<'a>), SendError> {
    Ok(match message.content {
        Content::Text { text } => {
            check_utf16_length("text", text, 4096)?;
            ("sendMessage", SendBody::Text { text: Cow::Borrowed(text), reply_markup: None })
        }
        Content::Image { media } => {
            let (photo, caption) = file(media)?;
            ("sendPhoto", SendBody::Photo { photo, caption })
        }
        Content::Video { media } => {
            let (video, caption) = file(media)?;
            ("sendVideo", SendBody::Video { video, caption })
        }
        Content::Audio { media } => {
            let (audio, caption) = file(media)?;
            ("sendAudio", SendBody::Audio { audio, caption })
        }
        Content::Document { media } => {
            let (document, caption) = file(media)?;
            ("sendDocument", SendBody::Document { document, caption })
        }
        Content::Sticker { media } => {
            let (sticker, caption) = file(media)?;
            if caption.is_some() {
                return Err(invalid(
                    "media.caption",
                    "is not supported for stickers: send it as a text",
                ));
            }
            ("sendSticker", SendBody::Sticker { sticker })
        }
        Content::Location { location } => {
            check_coordinates(location)?;
            let (latitude, longitude) = (location.latitude, location.longitude);
            let (name, address) = (location.name.as_deref(), location.address.as_deref());
            // A venue needs a title and an address.
            match (name.or(address), address.or(name)) {
                (Some(title), Some(address)) => {
                    ("sendVenue", SendBody::Venue { latitude, longitude, title, address })
                }
                _ => ("sendLocation", SendBody::Location { latitude, longitude }),
            }
        }
        Content::Contacts { contacts } => {
            let [card] = contacts.as_slice() else {
                return Err(invalid("contacts", "must have exactly one contact for Telegram"));
            };
            check_length("contacts.name", &card.name, 256)?;
            let phone = card.phones.first();
            let phone_number =
                phone.ok_or_else(|| invalid("contacts.phones", "must have a phone number"))?;
            ("sendContact", SendBody::Contact { phone_number, first_name: &card.name })
        }
        Content::Reaction { reaction } => {
            // Telegram does not know the hub's message ids; for those, the caller gives Telegram's
            // id as `reply_to`.
            let own = reaction.message_id.starts_with(domain::MessageId::PREFIX);
            let on = if own { message.reply_to } else { Some(&*reaction.message_id) };
            let message_id = on.and_then(message_id).ok_or_else(|| {
                invalid("reaction.message_id", "must be a message that has an id at Telegram")
            })?;
            let emoji = Some(&*reaction.emoji).filter(|emoji| !emoji.is_empty());
            let reaction = emoji.map(|emoji| wire::SendReaction { kind: "emoji", emoji });
            let reaction = reaction.into_iter().collect();
            ("setMessageReaction", SendBody::Reaction { message_id, reaction })
        }
        Content::Interactive { interactive } => ("sendMessage", choices(interactive)?),
        Content::Template { .. } => {
            return Err(invalid("template", "is not supported by Telegram: send a text"));
        }
        Content::Call { .. } => {
            return Err(invalid(
                "call",
                "is not supported by Telegram: use an integration that makes calls",
            ));
        }
        Content::Button { .. }
        | Content::ButtonReply { .. }
        | Content::ListReply { .. }
        | Content::Unsupported { .. } => {
            return Err(receive_only());
        }
    })
}

/// Checks a text's length in UTF-16 code units, as Telegram counts it.
fn check_utf16_length(field: &'static str, text: &str, most: usize) -> Result<(), SendError> {
    // The number of UTF-16 code units never exceeds the number of bytes.
    if text.len() > most && text.encode_utf16().count() > most {
        return Err(invalid(field, format!("must have at most {most} characters")));
    }
    if text.trim().is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    Ok(())
}

fn file(media: &Media) -> Result<(&str, Option<&str>), SendError> {
    let url = check_media_url(media.url.as_deref())?;
    let caption = media.caption.as_deref().filter(|caption| !caption.is_empty());
    if let Some(caption) = caption {
        check_utf16_length("media.caption", caption, 1024)?;
    }
    Ok((url, caption))
}

/// Text with an inline keyboard, one button per row.
fn choices(interactive: &Interactive) -> Result<SendBody<'_>, SendError> {
    let (header, body, footer, field, choices): (_, _, _, _, Vec<&Choice>) = match interactive {
        Interactive::Button { body, header, footer, buttons } => {
            (header, body, footer, "interactive.buttons", buttons.iter().collect())
        }
        Interactive::List { body, header, footer, sections, .. } => {
            let rows = sections.iter().flat_map(|section| &section.rows).collect();
            (header, body, footer, "interactive.sections", rows)
        }
    };
    if !(1..=100).contains(&choices.len()) {
        return Err(invalid(field, "must offer 1 to 100 choices"));
    }
    check_utf16_length("interactive.body", body, 4096)?;
    let lines = [header.as_deref(), Some(body.as_str()), footer.as_deref()];
    let lines: Vec<&str> = lines.into_iter().flatten().filter(|line| !line.is_empty()).collect();
    let text = lines.join("\n\n");
    check_utf16_length("interactive.body", &text, 4096)?;
    let buttons: Result<_, _> = choices.into_iter().map(|choice| button(field, choice)).collect();
    let reply_markup = Some(wire::Markup { inline_keyboard: buttons? });
    Ok(SendBody::Text { text: Cow::Owned(text), reply_markup })
}

fn button(field: &'static str, choice: &Choice) -> Result<[wire::SendButton; 1], SendError> {
    if !(1..=64).contains(&choice.id.len()) {
        return Err(invalid(field, "must each have an id of 1 to 64 bytes"));
    }
    if choice.title.trim().is_empty() {
        return Err(invalid(field, "must each have a title"));
    }
    let text = match &choice.description {
        Some(description) => format!("{}: {description}", choice.title),
        None => choice.title.clone(),
    };
    Ok([wire::SendButton { text, callback_data: choice.id.clone() }])
}

/// Returns the `result` of a call, or the error.
fn result(response: &Response<Bytes>) -> Result<serde_json::Value, SendError> {
    match read::<wire::Answer>(response) {
        Ok(answer) if answer.ok && response.status().is_success() => Ok(answer.result),
        // An error in the format that Telegram documents.
        Ok(wire::Answer { ok: false, error_code: Some(code), description, parameters, .. }) => {
            Err(refusal(response, code, &description, &parameters))
        }
        // Neither a success nor an error: the outcome is unknown.
        _ if response.status().is_success() => Err(SendError::Unreadable),
        _ => Err(unrecognized_answer(response)),
    }
}

/// Reads a response that does not have Telegram's format.
fn unrecognized_answer(response: &Response<Bytes>) -> SendError {
    let status = response.status();
    let fault = Fault::from_response(status, ErrorFormat::Other, retry_after(response.headers()));
    let remedy = match fault {
        Fault::Unknown => FAILED_IN_FLIGHT,
        _ => "Telegram rejected the request and gave no readable reason.",
    };
    refused(status, status.as_u16().to_string(), remedy, fault)
}

/// Reads a refusal: Telegram's error code decides, not the HTTP status, which a proxy may have
/// changed.
fn refusal(
    response: &Response<Bytes>,
    code: u16,
    description: &str,
    parameters: &wire::Parameters,
) -> SendError {
    let stated = StatusCode::from_u16(code).ok();
    let status = stated.filter(|_| response.status().is_success()).unwrap_or(response.status());
    if parameters.migrate_to_chat_id.is_some() {
        let remedy = "The group became a supergroup with another id. Send to the new id.";
        return refused(status, "migrated".into(), remedy, Fault::Permanent);
    }
    let code = stated.unwrap_or(status).as_u16();
    let by_header = retry_after(response.headers());
    let wait = parameters.retry_after.map(Duration::from_secs).or(by_header);
    let (fault, remedy) = match code {
        429 => (limited(wait), "The bot exceeded Telegram's sending rate."),
        401 | 404 => (
            Fault::Permanent,
            "Telegram does not know the bot token. Store the token that BotFather shows.",
        ),
        403 => (Fault::Permanent, forbidden(description)),
        400..=499 => (Fault::Permanent, bad_request(description)),
        _ if is_in_doubt(description) => (Fault::Unknown, FAILED_IN_FLIGHT),
        _ => match Fault::from_response(status, ErrorFormat::Documented, wait) {
            fault @ Fault::Retryable => {
                (fault, "Telegram had an internal error and did not send the message.")
            }
            fault => (fault, "Telegram asks to retry later."),
        },
    };
    let code = if code == 403 { "blocked".to_owned() } else { code.to_string() };
    refused(status, code, remedy, fault)
}

const FAILED_IN_FLIGHT: &str =
    "Telegram failed during the request. The outcome stays unknown: Telegram sends no receipts.";

/// Whether an error of Telegram's server may have ended a message in flight or after it was sent.
/// Source: README, errors in doubt.
fn is_in_doubt(description: &str) -> bool {
    description.ends_with(": restart") || description.contains("immediately deleted")
}

/// Telegram always says how long to wait; a few seconds if it does not.
fn limited(wait: Option<Duration>) -> Fault {
    Fault::RateLimited { retry_after: wait.unwrap_or(Duration::from_secs(5)) }
}

fn refused(status: StatusCode, code: String, remedy: &str, fault: Fault) -> SendError {
    let scope = match status {
        // The recipient blocked the bot, or never wrote to it.
        StatusCode::FORBIDDEN => RefusalScope::Message,
        status => RefusalScope::from_status(status),
    };
    SendError::Refused { status, code, remedy: remedy.to_owned(), fault, scope }
}

fn forbidden(description: &str) -> &'static str {
    if description.contains("kicked") || description.contains("not a member") {
        "The bot is no longer a member of the group. Add it again."
    } else if description.contains("deactivated") {
        "The recipient deleted their account."
    } else if description.contains("initiate") {
        "A bot cannot start a conversation. The recipient must press Start first."
    } else {
        "The recipient blocked the bot. They can unblock it and write to it at any time."
    }
}

/// Telegram's descriptions are meant for people and may change: they select the remedy, never the
/// fault.
fn bad_request(description: &str) -> &'static str {
    let says = |part: &str| description.to_ascii_lowercase().contains(part);
    if says("chat not found") {
        "There is no such chat, or the recipient never wrote to this bot."
    } else if says("rights") {
        "The bot may not send this content here. Ask an administrator of the group for the right."
    } else if says("get http url content") || says("wrong file") || says("web page content") {
        "Telegram could not fetch the file. Check its URL, type and size."
    } else if says("reaction") {
        "Telegram does not allow this reaction in the chat. Use another one."
    } else if says("too long") || says("is empty") {
        "The text is empty or too long. Correct it."
    } else if says("webhook") {
        "Telegram rejected the webhook URL. It must be a public https URL."
    } else {
        "Telegram rejected the message as invalid. Correct it."
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telegram::example;
    use domain::content::{ContactCard, Location, Reaction, Section, Template};
    use domain::integration::Settings;
    use domain::{Classify, IntegrationId, MessageId, TenantId};
    use jiff::Timestamp;
    use serde_json::{Value, json};

    fn integration() -> Integration {
        Integration {
            circuit: domain::circuit::Breaker::default(),
            id: IntegrationId::derived(&["i"]),
            tenant: TenantId::platform(),
            provider: Provider::Telegram,
            account: Some(example::BOT_ID.into()),
            settings: Settings::default(),
            hints: std::collections::BTreeMap::default(),
            credentials_at: jiff::Timestamp::UNIX_EPOCH,
            tenant_credentials: std::collections::BTreeSet::new(),
            trusted_ingest: false,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn sender() -> Bot {
        Bot::new(&integration(), &example::credentials()).unwrap()
    }

    fn outgoing<'a>(content: &'a Content, reply_to: Option<&'a str>) -> Outgoing<'a> {
        Outgoing {
            id: MessageId::derived(&["m"]),
            channel: domain::provider::Channel::Telegram,
            integration: IntegrationId::derived(&["i"]),
            hub_url: None,
            to: "42",
            content,
            reply_to,
        }
    }

    fn sent(content: &Content, reply_to: Option<&str>) -> Result<(String, Value), SendError> {
        let request = sender().request(&outgoing(content, reply_to))?;
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        Ok((method, serde_json::from_slice(request.body()).unwrap()))
    }

    fn field(content: &Content) -> &'static str {
        match sent(content, None) {
            Err(SendError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    fn text(text: &str) -> Content {
        Content::Text { text: text.into() }
    }

    fn response(status: u16, body: &str) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    fn outcome(status: u16, body: &str) -> Result<Accepted, SendError> {
        let content = text("t");
        sender().outcome(&outgoing(&content, None), &response(status, body))
    }

    fn refused(code: u16, description: &str, parameters: &Value) -> SendError {
        let body = json!({ "ok": false, "error_code": code, "description": description,
            "parameters": parameters });
        outcome(code, &body.to_string()).unwrap_err()
    }

    fn seconds(seconds: u64) -> Fault {
        Fault::RateLimited { retry_after: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_text_is_posted_to_the_bots_url() {
        let content = text("hi");
        let request = sender().request(&outgoing(&content, Some("42:7"))).unwrap();
        let url = "https://api.telegram.org/bot700000001:test-telegram-token/sendMessage";
        assert_eq!(request.uri(), url);
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let reply = json!({ "message_id": 7, "allow_sending_without_reply": true });
        assert_eq!(body, json!({ "chat_id": 42, "text": "hi", "reply_parameters": reply }));
    }

    #[test]
    fn a_reply_to_a_button_press_quotes_nothing() {
        let (_, body) = sent(&text("hi"), Some("cb:123")).unwrap();
        assert!(body.get("reply_parameters").is_none());
    }

    #[test]
    fn every_media_type_has_its_method() {
        let media = |caption: Option<&str>| Media {
            url: Some("https://example.com/f".into()),
            caption: caption.map(str::to_owned),
            ..Media::default()
        };
        let kinds = [
            (Content::Image { media: media(Some("c")) }, "sendPhoto", "photo"),
            (Content::Video { media: media(Some("c")) }, "sendVideo", "video"),
            (Content::Audio { media: media(Some("c")) }, "sendAudio", "audio"),
            (Content::Document { media: media(Some("c")) }, "sendDocument", "document"),
        ];
        for (content, method, name) in kinds {
            let expected =
                json!({ "chat_id": 42, (name): "https://example.com/f", "caption": "c" });
            assert_eq!(sent(&content, None).unwrap(), (method.to_owned(), expected));
        }
        let (method, body) = sent(&Content::Sticker { media: media(None) }, None).unwrap();
        assert_eq!(
            (method.as_str(), &body["sticker"]),
            ("sendSticker", &json!("https://example.com/f"))
        );
        assert_eq!(field(&Content::Sticker { media: media(Some("c")) }), "media.caption");
        let long = "c".repeat(1025);
        assert_eq!(field(&Content::Image { media: media(Some(&long)) }), "media.caption");
        assert_eq!(field(&Content::Image { media: Media::default() }), "media.url");
    }

    #[test]
    fn a_location_with_a_name_is_a_venue() {
        let place = |name: Option<&str>, address: Option<&str>| Content::Location {
            location: Location {
                latitude: 1.5,
                longitude: 2.5,
                name: name.map(str::to_owned),
                address: address.map(str::to_owned),
            },
        };
        let (method, body) = sent(&place(None, None), None).unwrap();
        assert_eq!(method, "sendLocation");
        assert_eq!(body, json!({ "chat_id": 42, "latitude": 1.5, "longitude": 2.5 }));
        let (method, body) = sent(&place(Some("n"), Some("a")), None).unwrap();
        assert_eq!(
            (method.as_str(), &body["title"], &body["address"]),
            ("sendVenue", &json!("n"), &json!("a"))
        );
        assert_eq!(sent(&place(Some("n"), None), None).unwrap().1["address"], "n");
    }

    #[test]
    fn a_message_has_exactly_one_contact_with_a_number() {
        let card = ContactCard { name: "A".into(), phones: vec!["+1".into()], emails: vec![] };
        let (method, body) =
            sent(&Content::Contacts { contacts: vec![card.clone()] }, None).unwrap();
        assert_eq!(method, "sendContact");
        assert_eq!(body, json!({ "chat_id": 42, "phone_number": "+1", "first_name": "A" }));
        assert_eq!(
            field(&Content::Contacts { contacts: vec![card.clone(), card.clone()] }),
            "contacts"
        );
        let mute = ContactCard { phones: vec![], ..card };
        assert_eq!(field(&Content::Contacts { contacts: vec![mute] }), "contacts.phones");
    }

    #[test]
    fn a_reaction_is_added_and_removed_and_gets_the_hubs_id() {
        let reaction = |emoji: &str| Content::Reaction {
            reaction: Reaction { message_id: "42:7".into(), emoji: emoji.into() },
        };
        let (method, body) = sent(&reaction("👍"), None).unwrap();
        assert_eq!(method, "setMessageReaction");
        let emoji = json!([{ "type": "emoji", "emoji": "👍" }]);
        assert_eq!(body, json!({ "chat_id": 42, "message_id": 7, "reaction": emoji }));
        assert_eq!(sent(&reaction(""), None).unwrap().1["reaction"], json!([]));
        let done = response(200, r#"{"ok":true,"result":true}"#);
        let content = reaction("👍");
        let accepted = sender().outcome(&outgoing(&content, None), &done).unwrap();
        assert_eq!(
            outcome(200, r#"{"ok":true,"result":true}"#).unwrap_err().code(),
            "unreadable_answer"
        );
        let own = MessageId::derived(&["m"]);
        assert_eq!(accepted.provider_message_id(), format!("reaction:{own}"));
    }

    #[test]
    fn choices_become_an_inline_keyboard() {
        let choice = |id: &str, title: &str| Choice {
            id: id.into(),
            title: title.into(),
            description: None,
        };
        let interactive = |buttons| Content::Interactive {
            interactive: Interactive::Button {
                body: "b".into(),
                header: Some("h".into()),
                footer: Some("f".into()),
                buttons,
            },
        };
        let (method, body) =
            sent(&interactive(vec![choice("y", "Yes"), choice("n", "No")]), None).unwrap();
        assert_eq!((method.as_str(), &body["text"]), ("sendMessage", &json!("h\n\nb\n\nf")));
        let keyboard = json!([
            [{ "text": "Yes", "callback_data": "y" }],
            [{ "text": "No", "callback_data": "n" }],
        ]);
        assert_eq!(body["reply_markup"], json!({ "inline_keyboard": keyboard }));
        assert_eq!(field(&interactive(vec![])), "interactive.buttons");
        assert_eq!(
            field(&interactive(vec![choice(&"x".repeat(65), "Yes")])),
            "interactive.buttons"
        );

        let row = Choice { description: Some("d".into()), ..choice("1", "One") };
        let sections = vec![Section { title: "s".into(), rows: vec![row] }];
        let list = Interactive::List {
            body: "b".into(),
            header: None,
            footer: None,
            button: "open".into(),
            sections,
        };
        let (_, body) = sent(&Content::Interactive { interactive: list }, None).unwrap();
        assert_eq!(body["reply_markup"]["inline_keyboard"][0][0]["text"], "One: d");
    }

    #[test]
    fn unsupported_content_is_rejected_with_its_field() {
        let template = Template { name: "t".into(), language: "en".into(), components: vec![] };
        assert_eq!(field(&Content::Template { template }), "template");
        assert_eq!(field(&Content::Unsupported { raw: Value::Null }), "type");
        assert_eq!(field(&text("")), "text");
        assert_eq!(field(&text(&"x".repeat(4097))), "text");
        // Telegram counts UTF-16 units: this has 4098.
        assert_eq!(field(&text(&"👋".repeat(2049))), "text");
        assert!(sent(&text(&"👋".repeat(2048)), None).is_ok());
    }

    #[test]
    fn an_address_is_a_chat_id_or_a_public_name() {
        assert_eq!(address(" -100200 ").unwrap(), "-100200");
        assert_eq!(address("@team").unwrap(), "@team");
        for bad in ["", "@", "team", "@a/b", "1.5"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_accepted_message_returns_the_chat_and_message_ids() {
        let body = r#"{"ok":true,"result":{"message_id":9,"chat":{"id":-42,"type":"group"}}}"#;
        assert_eq!(outcome(200, body).unwrap().provider_message_id(), "-42:9");
        for body in ["", "{}", r#"{"ok":true,"result":{}}"#, "<html>"] {
            assert_eq!(outcome(200, body).unwrap_err().fault(), Fault::Unknown, "{body}");
        }
    }

    #[test]
    fn a_rate_limit_waits_as_long_as_telegram_says() {
        let error = refused(429, "Too Many Requests: retry after 7", &json!({ "retry_after": 7 }));
        assert_eq!(error.fault(), seconds(7));
        assert_eq!(refused(429, "", &json!({})).fault(), seconds(5));
        assert_eq!(outcome(429, "").unwrap_err().fault(), seconds(5));
    }

    #[test]
    fn a_permanent_refusal_is_permanent_and_has_a_remedy() {
        let blocked = refused(403, "Forbidden: bot was blocked by the user", &json!({}));
        assert_eq!((blocked.code(), blocked.fault()), ("blocked", Fault::Permanent));
        assert!(blocked.detail().contains("blocked the bot"));
        let unknown = refused(400, "Bad Request: chat not found", &json!({}));
        assert_eq!((unknown.code(), unknown.fault()), ("400", Fault::Permanent));
        assert!(unknown.detail().contains("no such chat"));
        let revoked = refused(401, "Unauthorized", &json!({}));
        assert_eq!(revoked.fault(), Fault::Permanent);
        assert!(revoked.detail().contains("BotFather"));
    }

    #[test]
    fn a_reported_failure_is_retried_and_an_unreadable_answer_is_an_unknown_outcome() {
        assert_eq!(refused(500, "Internal Server Error", &json!({})).fault(), Fault::Retryable);
        // The HTTP status may have been changed by a proxy.
        let body = r#"{"ok":false,"error_code":502,"description":"Bad Gateway"}"#;
        assert_eq!(outcome(200, body).unwrap_err().fault(), Fault::Retryable);
        assert_eq!(outcome(502, "<html>").unwrap_err().fault(), Fault::Unknown);
        assert_eq!(outcome(503, "").unwrap_err().fault(), Fault::Unknown);
        for unsure in ["{\"ok\":false}", "{\"ok\":true,\"error_code\":500}"] {
            assert_eq!(outcome(500, unsure).unwrap_err().fault(), Fault::Unknown, "{unsure}");
        }
    }

    #[test]
    fn a_migrated_group_returns_its_new_id() {
        let body = r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded",
            "parameters":{"migrate_to_chat_id":-100200}}"#;
        assert_eq!(sender().moved_to(&response(400, body)).as_deref(), Some("-100200"));
        let error = outcome(400, body).unwrap_err();
        assert_eq!((error.code(), error.fault()), ("migrated", Fault::Permanent));
        assert_eq!(sender().moved_to(&response(400, r#"{"ok":false}"#)), None);
    }

    #[test]
    fn the_bot_and_each_chat_have_a_rate_limit() {
        let per = Duration::from_secs(1);
        let bot = RateLimit { identity: "700000001".into(), messages: 30, per };
        let chat = RateLimit { identity: "700000001:42".into(), messages: 1, per };
        assert_eq!(sender().rate_limits("42"), [bot, chat]);
        assert_eq!(sender().idempotency_window(), None);
    }

    #[test]
    fn only_a_button_press_can_be_marked_as_read() {
        assert!(sender().mark_read("42:7").unwrap().is_none());
        let request = sender().mark_read("cb:99").unwrap().unwrap();
        assert!(request.uri().path().ends_with("/answerCallbackQuery"));
        assert_eq!(request.body(), &Bytes::from_static(br#"{"callback_query_id":"99"}"#));
    }

    #[test]
    fn a_file_is_located_then_fetched_from_the_bots_folder() {
        let MediaRequest::Lookup(request) = sender().locate_media("f1").unwrap() else { panic!() };
        assert!(request.uri().path().ends_with("/getFile"));
        let located = |path: &str| {
            response(
                200,
                &json!({ "ok": true, "result": { "file_id": "f1", "file_path": path } })
                    .to_string(),
            )
        };
        let MediaSource::Download(request) =
            sender().fetch_media(&located("photos/file_1.jpg")).unwrap()
        else {
            panic!()
        };
        assert_eq!(
            request.uri().path(),
            "/file/bot700000001:test-telegram-token/photos/file_1.jpg"
        );
        assert!(sender().fetch_media(&located("../../bot1/getMe")).is_err());
        let gone =
            response(400, r#"{"ok":false,"error_code":400,"description":"file is too big"}"#);
        assert_eq!(sender().fetch_media(&gone).unwrap_err().fault(), Fault::Permanent);
    }

    #[test]
    fn a_bot_is_described_and_registered() {
        assert!(sender().describe_account().unwrap().uri().path().ends_with("/getMe"));
        let request = sender().register("https://hub/webhooks/telegram/int_1", None).unwrap();
        assert!(request.uri().path().ends_with("/setWebhook"));
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body["url"], "https://hub/webhooks/telegram/int_1");
        assert_eq!(body["secret_token"], example::WEBHOOK_SECRET);
        assert_eq!(body["allowed_updates"], json!(SUBSCRIBED_UPDATES));

        let token = vec![example::BOT_TOKEN.into()];
        let bare = Credentials::new([(crate::telegram::BOT_TOKEN.to_owned(), token)]);
        let bare = Bot::new(&integration(), &bare).unwrap();
        assert!(bare.register("https://hub", None).is_err());
    }

    #[test]
    fn a_bots_id_is_read_from_its_token_and_the_token_is_never_shown() {
        assert_eq!(bot_id("123:AA-b_c"), Some("123"));
        for bad in ["", "123", ":x", "123:", "a:x", "123:x/../y", "123:a b"] {
            assert_eq!(bot_id(bad), None, "{bad}");
            let field = vec![bad.into()];
            let credentials = Credentials::new([(crate::telegram::BOT_TOKEN.to_owned(), field)]);
            let error = Bot::new(&integration(), &credentials).err().unwrap();
            assert!(bad.is_empty() || !format!("{error:?}").contains(&format!("{bad:?}")));
        }
    }
}
