//! Sends through Infobip's WhatsApp API.

use std::time::Duration;

use bytes::Bytes;
use domain::content::{ContactCard, Content, Interactive, Media, Template};
use domain::fault::{ErrorFormat, Fault};
use domain::provider::Channel;
use domain::sender::{
    Accepted, AccountReader, AnswerReader, MediaFetcher, MediaRequest, MessageSender, Outgoing,
    RateLimit, ReadReceipts, RefusalScope, SendError, SenderProvider,
};
use domain::{Credentials, Integration, Provider};
use http::{Request, Response};
use secrecy::SecretString;
use serde::{Deserialize as _, Serialize};
use serde_json::{Map, Value};

use super::codes::{self, Meaning};
use super::settings::{Reports, Settings};
use super::wire::{self, SendAction, SendContent};
use crate::address::{is_number, phone_number};
use crate::content::receive_only;
use crate::http::{
    authorized, check_coordinates, check_length, check_max_length, check_media_url,
    encode_path_segment, get, invalid, post_json, read, retry_after,
};
use crate::settings::base_url;
use crate::spec::{ProviderApi, settings_of};

/// Sender for Infobip.
#[derive(Clone, Copy, Debug)]
pub struct Sender;

impl SenderProvider for Sender {
    fn provider(&self) -> Provider {
        Provider::Infobip
    }

    fn sender(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<Box<dyn MessageSender>, SendError> {
        Ok(Box::new(Number::new(integration, credentials)?))
    }
}

/// Sender for one WhatsApp number.
pub(super) struct Number {
    /// URL of Infobip's WhatsApp API.
    api: String,
    key: SecretString,
    from: String,
    reports: Reports,
    per_second: u32,
}

impl ProviderApi for Number {
    fn new(integration: &Integration, credentials: &Credentials) -> Result<Self, SendError> {
        let settings = settings_of::<Settings>(integration).ok_or_else(|| {
            invalid("provider", "is not Infobip: the integration belongs to another provider")
        })?;
        let what = "is missing: give the base URL that Infobip shows, such as \
                    https://xxxxx.api.infobip.com";
        let base_url = base_url(settings.base_url.as_deref(), what)?;
        let from = settings.from.or(settings.account).filter(|from| is_number(from));
        let from = from.ok_or_else(|| {
            invalid("settings.from", "is missing: give the number to send from, in digits")
        })?;
        let key = credentials.first(super::API_KEY);
        let key = key.ok_or_else(|| invalid("credentials.INFOBIP_API_KEY", "is missing"))?;
        Ok(Self {
            api: format!("{base_url}/whatsapp/1"),
            key: key.clone(),
            from,
            reports: settings.reports,
            per_second: settings.messages_per_second.get(),
        })
    }
}

impl MessageSender for Number {
    /// Infobip rejects a `messageId` that it knows, but documents neither for how long nor whether
    /// its WhatsApp API does. Source: README, facts 5 and 9.
    fn idempotency_window(&self) -> Option<Duration> {
        None
    }

    /// Source: README, facts 12.
    fn rate_limits(&self, _: &str) -> Vec<RateLimit> {
        vec![RateLimit::per_second(&self.from, self.per_second)]
    }

    fn request(&self, message: &Outgoing<'_>) -> Result<Request<Bytes>, SendError> {
        if message.channel != Channel::Whatsapp {
            return Err(invalid("channel", "must be `whatsapp` for Infobip"));
        }
        let (path, content) = content(message.content)?;
        let id = message.id.to_string();
        let notify_url = match self.reports {
            Reports::Subscription => None,
            Reports::NotifyUrl => message.callback("infobip"),
        };
        let send = wire::Send {
            from: &self.from,
            to: &phone_number(message.to)?,
            message_id: &id,
            content,
            callback_data: &id,
            notify_url,
        };
        let url = format!("{}/message/{path}", self.api);
        if matches!(send.content, SendContent::Template { .. }) {
            return self.post(&url, &wire::SendBatch { messages: [send] });
        }
        self.post(&url, &send)
    }

    fn outcome(
        &self,
        message: &Outgoing<'_>,
        response: &Response<Bytes>,
    ) -> Result<Accepted, SendError> {
        // A duplicate is an earlier attempt of this message: no other message has this id.
        let earlier = || Ok(Accepted::new(message.id.to_string()));
        if !response.status().is_success() {
            let error = refusal(response);
            return if codes::is_duplicate(error.code()) { earlier() } else { Err(error) };
        }
        let sent = match read::<wire::Sent>(response)? {
            wire::Sent::One(sent) => Some(sent),
            wire::Sent::Batch { messages } => messages.into_iter().next(),
        };
        let sent = sent.filter(|sent| !sent.message_id.is_empty()).ok_or(SendError::Unreadable)?;
        let state = sent.status.filter(|state| is_refused(&state.group_name));
        let Some(state) = state else {
            return Ok(Accepted::new(sent.message_id));
        };
        let code = state.name.unwrap_or(state.group_name);
        if codes::is_duplicate(&code) {
            return earlier();
        }
        let known = codes::known(&code);
        // The status says that Infobip did not accept the message, so nothing was sent.
        let (fault, scope, remedy) = if let Some(known) = known {
            (fault(known.meaning, None), known.scope, known.remedy)
        } else {
            let remedy =
                "Infobip rejected the message. Look up the code in Infobip's status codes.";
            (Fault::Permanent, RefusalScope::Message, remedy)
        };
        Err(SendError::Refused {
            status: response.status(),
            code,
            remedy: remedy.into(),
            fault,
            scope,
        })
    }
}

impl MediaFetcher for Number {
    /// The id is a URL at Infobip. Only its path is used, at the account's own base URL: the
    /// request carries the API key, which no other host may receive.
    fn locate_media(&self, provider_media_id: &str) -> Result<MediaRequest, SendError> {
        let url = provider_media_id.parse::<http::Uri>().ok();
        let path = url.as_ref().and_then(|url| url.path().strip_prefix("/whatsapp/1/senders/"));
        let plain = |path: &&str| {
            let mut parts = path.split('/');
            let is_part = |part: Option<&str>| {
                part.is_some_and(|part| {
                    let word = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
                    !part.is_empty() && part.bytes().all(word)
                })
            };
            // The key also opens the files of other senders, which do not belong to this account.
            parts.next() == Some(self.from.as_str())
                && parts.next() == Some("media")
                && is_part(parts.next())
                && parts.next().is_none()
        };
        let path = path.filter(plain).ok_or_else(|| {
            invalid(
                "media.provider_media_id",
                "must be the URL of a file of this sender at Infobip",
            )
        })?;
        let request = get(&format!("{}/senders/{path}", self.api), None)?;
        authorized(request, "App", &self.key).map(MediaRequest::Download)
    }
}

impl AnswerReader for Number {
    fn answer(&self, response: &Response<Bytes>) -> Result<Value, SendError> {
        if !response.status().is_success() {
            return Err(refusal(response));
        }
        // A message marked as read is answered with an empty body.
        if response.body().is_empty() {
            return Ok(Value::Null);
        }
        let answer: Value = read(response)?;
        let Ok(wire::Senders { results }) = wire::Senders::deserialize(&answer) else {
            return Ok(answer);
        };
        let own = results.into_iter().find(|sender| {
            sender.get("sender").and_then(Value::as_str) == Some(self.from.as_str())
        });
        let mut own = own.ok_or_else(|| {
            invalid("settings.from", "must be a sender of the account that owns the API key")
        })?;
        own.insert("id".to_owned(), self.from.clone().into());
        Ok(Value::Object(own))
    }
}

impl AccountReader for Number {
    fn describe_account(&self) -> Result<Request<Bytes>, SendError> {
        let request = get(&format!("{}/senders/quality?senders={}", self.api, self.from), None)?;
        authorized(request, "App", &self.key)
    }
}

impl ReadReceipts for Number {
    fn mark_read(&self, provider_message_id: &str) -> Result<Option<Request<Bytes>>, SendError> {
        let id = encode_path_segment(provider_message_id);
        let url = format!("{}/senders/{}/message/{id}/read", self.api, self.from);
        let request = Request::post(url).body(Bytes::new());
        let request = request.map_err(|_| invalid("settings.base_url", "is not a valid URL"));
        authorized(request?, "App", &self.key).map(Some)
    }
}

impl Number {
    fn post(&self, url: &str, body: &impl Serialize) -> Result<Request<Bytes>, SendError> {
        authorized(post_json(url, None, body)?, "App", &self.key)
    }
}

/// Returns the path and body of the content. Source of every limit: README, facts 10.
fn content(content: &Content) -> Result<(&'static str, SendContent<'_>), SendError> {
    Ok(match content {
        Content::Text { text } => {
            check_length("text", text, 4096)?;
            ("text", SendContent::Text { text })
        }
        Content::Image { media } => ("image", SendContent::File(file(media, true)?)),
        Content::Video { media } => ("video", SendContent::File(file(media, true)?)),
        Content::Audio { media } => ("audio", SendContent::File(file(media, false)?)),
        Content::Sticker { media } => ("sticker", SendContent::File(file(media, false)?)),
        Content::Document { media } => {
            let filename = media.filename.as_deref();
            check_max_length("media.filename", filename.unwrap_or_default(), 240)?;
            let file = wire::SendFile { filename, ..file(media, true)? };
            ("document", SendContent::File(file))
        }
        Content::Location { location } => {
            check_coordinates(location)?;
            let (name, address) = (location.name.as_deref(), location.address.as_deref());
            check_max_length("location.name", name.unwrap_or_default(), 1000)?;
            check_max_length("location.address", address.unwrap_or_default(), 1000)?;
            let (latitude, longitude) = (location.latitude, location.longitude);
            ("location", SendContent::Location { latitude, longitude, name, address })
        }
        Content::Contacts { contacts } => {
            if contacts.is_empty() {
                return Err(invalid("contacts", "must have at least one contact"));
            }
            let contacts: Result<_, _> = contacts.iter().map(card).collect();
            ("contact", SendContent::Contacts { contacts: contacts? })
        }
        Content::Template { template } => ("template", self::template(template)?),
        Content::Interactive { interactive } => choices(interactive)?,
        Content::Reaction { .. } => {
            return Err(invalid("reaction", "is not supported by Infobip"));
        }
        Content::Call { .. } => {
            return Err(invalid(
                "call",
                "is not supported by Infobip: use an integration that makes calls",
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

fn file(media: &Media, has_caption: bool) -> Result<wire::SendFile<'_>, SendError> {
    let media_url = check_media_url(media.url.as_deref())?;
    check_max_length("media.url", media_url, 2048)?;
    let caption = media.caption.as_deref();
    if let Some(caption) = caption {
        if !has_caption {
            return Err(invalid(
                "media.caption",
                "is not supported for this type: send it as a text",
            ));
        }
        check_max_length("media.caption", caption, 3000)?;
    }
    Ok(wire::SendFile { media_url, caption, filename: None })
}

fn card(card: &ContactCard) -> Result<wire::SendCard<'_>, SendError> {
    check_length("contacts.name", &card.name, 1000)?;
    Ok(wire::SendCard {
        name: wire::SendName { first_name: &card.name, formatted_name: &card.name },
        phones: card.phones.iter().map(|phone| wire::SendPhone { phone }).collect(),
        emails: card.emails.iter().map(|email| wire::SendEmail { email }).collect(),
    })
}

/// The components are parts of `templateData`, merged into one object.
fn template(template: &Template) -> Result<SendContent<'_>, SendError> {
    const FIELD: &str = "template.components";
    check_length("template.name", &template.name, 512)?;
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    if !template.name.bytes().all(plain) {
        return Err(invalid("template.name", "must only have a-z, 0-9 and _"));
    }
    check_length("template.language", &template.language, 7)?;
    if template.language.len() < 2 {
        return Err(invalid("template.language", "must be a code such as en or en_GB"));
    }
    let mut data = Map::new();
    for component in &template.components {
        let Value::Object(parts) = component else {
            return Err(invalid(FIELD, "must be objects with parts of Infobip's `templateData`"));
        };
        for (name, part) in parts {
            let known =
                ["body", "header", "buttons", "carousel", "limitedTimeOffer", "orderStatus"];
            if !known.contains(&name.as_str()) {
                return Err(invalid(
                    FIELD,
                    "must only have parts of Infobip's `templateData`, such as body, header and \
                     buttons",
                ));
            }
            if data.insert(name.clone(), part.clone()).is_some() {
                return Err(invalid(FIELD, "must not repeat a part"));
            }
        }
    }
    let body = data.entry("body").or_insert_with(|| serde_json::json!({ "placeholders": [] }));
    let placeholders = body.get("placeholders").and_then(Value::as_array);
    let is_filled = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
    if !placeholders.is_some_and(|values| values.iter().all(is_filled)) {
        return Err(invalid(FIELD, "must have body.placeholders, a list of non-empty texts"));
    }
    let (template_name, language) = (&template.name, &template.language);
    Ok(SendContent::Template { template_name, language, template_data: data })
}

fn choices(interactive: &Interactive) -> Result<(&'static str, SendContent<'_>), SendError> {
    crate::choices::check(interactive)?;
    let (path, header, body, footer, action) = match interactive {
        Interactive::Button { body, header, footer, buttons } => {
            if buttons.iter().any(|button| button.id.trim() != button.id) {
                let reason = "must have ids without leading or trailing spaces";
                return Err(invalid("interactive.buttons", reason));
            }
            let buttons = buttons.iter().map(wire::SendButton::from).collect();
            ("interactive/buttons", header, body, footer, SendAction::Buttons { buttons })
        }
        Interactive::List { body, header, footer, button, sections } => {
            let sections = sections.iter().map(wire::SendSection::from).collect();
            let action = SendAction::List { title: button, sections };
            ("interactive/list", header, body, footer, action)
        }
    };
    let content = SendContent::Interactive {
        body: wire::SendLine { text: body },
        action,
        header: header.as_deref().map(|text| wire::SendHeader { kind: "TEXT", text }),
        footer: footer.as_deref().map(|text| wire::SendLine { text }),
    };
    Ok((path, content))
}

/// Whether a status group says that Infobip did not accept the message. Source: README, facts 5.
fn is_refused(group: &str) -> bool {
    matches!(group, "REJECTED" | "UNDELIVERABLE" | "EXPIRED")
}

/// Returns the fault for a code's meaning, where nothing was sent.
fn fault(meaning: Meaning, wait: Option<Duration>) -> Fault {
    match (meaning, wait) {
        (Meaning::Wait(seconds), wait) => {
            Fault::RateLimited { retry_after: wait.unwrap_or(Duration::from_secs(seconds)) }
        }
        (Meaning::Retryable, Some(retry_after)) => Fault::RateLimited { retry_after },
        (Meaning::Retryable, None) => Fault::Retryable,
        (Meaning::Permanent | Meaning::Duplicate, _) => Fault::Permanent,
    }
}

/// Reads a refusal: Infobip's code decides, and the HTTP status where the code is unknown.
fn refusal(response: &Response<Bytes>) -> SendError {
    let status = response.status();
    let wait = retry_after(response.headers());
    let (code, fields, form) = match read(response) {
        Ok(wire::Failure::Older { request_error }) => {
            let exception = request_error.service_exception;
            let errors = exception.validation_errors.unwrap_or_default();
            (exception.message_id, errors.keys().cloned().collect(), ErrorFormat::Documented)
        }
        Ok(wire::Failure::Newer { error_code, violations }) => {
            let fields = violations.into_iter().filter_map(|violation| violation.property);
            (error_code, fields.collect(), ErrorFormat::Documented)
        }
        Err(_) => (status.as_u16().to_string(), Vec::new(), ErrorFormat::Other),
    };
    let (fault, scope, remedy) = if let Some(known) = codes::known(&code) {
        (fault(known.meaning, wait), known.scope, known.remedy)
    } else {
        let fault = Fault::from_response(status, form, wait);
        let remedy = match fault {
            Fault::Unknown => {
                "Infobip failed during the request. A report may still report the outcome."
            }
            Fault::Permanent => {
                "Infobip rejected the request. Look up the code in Infobip's response codes."
            }
            Fault::Retryable => "Infobip had an internal error and did not accept the message.",
            Fault::RateLimited { .. } => "Infobip asks to retry later.",
        };
        (fault, RefusalScope::from_status(status), remedy)
    };
    let mut remedy = remedy.to_owned();
    let named: Vec<_> = fields.into_iter().filter(|field| is_path(field)).take(5).collect();
    if !named.is_empty() {
        remedy = format!("{remedy} Infobip names: {}.", named.join(", "));
    }
    SendError::Refused { status, code, remedy, fault, scope }
}

/// Whether `text` is the path of a field, not a quoted value.
fn is_path(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'[' | b']' | b'_');
    (1..=100).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests;
