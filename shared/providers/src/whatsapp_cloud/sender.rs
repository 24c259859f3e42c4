//! Sends through Meta's Cloud API.

use std::time::Duration;

use bytes::Bytes;
use domain::content::{Choice, Content, Interactive, Media, Section};
use domain::fault::{ErrorFormat, Fault};
use domain::sender::{
    Accepted, AccountReader, AnswerReader, MediaFetcher, MediaRequest, MediaSource, MessageSender,
    Outgoing, RateLimit, ReadReceipts, RefusalScope, SendError, SenderProvider, WebhookRegistrar,
};
use domain::{Credentials, Integration, Provider};
use http::{Request, Response, StatusCode, Uri};
use secrecy::SecretString;

use super::settings::NumberSettings;
use super::wire::{self, SendAction, SendBody};
use crate::address::{is_number, phone_number};
use crate::content::receive_only;
use crate::http::{
    check_coordinates, check_length, check_max_length, get, invalid, post_json, read, retry_after,
};
use crate::spec::ProviderApi;
use crate::spec::settings_of;

/// Sender for WhatsApp.
#[derive(Clone, Copy, Debug)]
pub struct Sender;

impl SenderProvider for Sender {
    fn provider(&self) -> Provider {
        Provider::WhatsappCloud
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
    /// URL of the Graph API, with its version.
    graph: String,
    id: String,
    token: SecretString,
    per_second: u32,
}

impl ProviderApi for Number {
    fn new(integration: &Integration, credentials: &Credentials) -> Result<Self, SendError> {
        let settings = settings_of::<NumberSettings>(integration).ok_or_else(|| {
            invalid("provider", "is not WhatsApp: the integration belongs to another provider")
        })?;
        let number = settings.phone_number_id.unwrap_or_default();
        if !is_plain(&number) {
            return Err(invalid(
                "settings.phone_number_id",
                "is missing: give the digits that Meta shows as Phone number ID",
            ));
        }
        if !is_version(&settings.graph_version) {
            return Err(invalid(
                "settings.graph_version",
                "must be a Graph API version such as v26.0",
            ));
        }
        let token = credentials.first(super::ACCESS_TOKEN);
        let token = token.ok_or_else(|| invalid("credentials.WHATSAPP_ACCESS_TOKEN", "is missing"));
        let base = settings.base_url.trim_end_matches('/');
        Ok(Self {
            graph: format!("{base}/{}", settings.graph_version),
            token: token?.clone(),
            per_second: settings.messages_per_second.max(1),
            id: number,
        })
    }
}

impl MessageSender for Number {
    /// Source: README, facts 4.
    fn idempotency_window(&self) -> Option<Duration> {
        None
    }

    /// Source: README, facts 5. Meta's limit for each pair of sender and recipient allows bursts,
    /// so Meta enforces it.
    fn rate_limits(&self, _: &str) -> Vec<RateLimit> {
        vec![RateLimit::per_second(&self.id, self.per_second)]
    }

    fn request(&self, message: &Outgoing<'_>) -> Result<Request<Bytes>, SendError> {
        let to = address(message.to)?;
        let is_reaction = matches!(message.content, Content::Reaction { .. });
        let replied_to = message.reply_to.filter(|_| !is_reaction);
        let body = wire::Send {
            messaging_product: "whatsapp",
            recipient_type: if is_number(&to) { "individual" } else { "group" },
            to: &to,
            biz_opaque_callback_data: message.id.to_string(),
            context: replied_to.map(|message_id| wire::SendContext { message_id }),
            body: body(message)?,
        };
        self.post("messages", &body)
    }

    fn outcome(&self, _: &Outgoing<'_>, response: &Response<Bytes>) -> Result<Accepted, SendError> {
        if !response.status().is_success() {
            return Err(refusal(response));
        }
        let sent: wire::Sent = read(response)?;
        let first = sent.messages.into_iter().find(|message| !message.id.is_empty());
        Ok(Accepted::new(first.ok_or(SendError::Unreadable)?.id))
    }
}

impl MediaFetcher for Number {
    fn locate_media(&self, provider_media_id: &str) -> Result<MediaRequest, SendError> {
        if !is_plain(provider_media_id) {
            return Err(invalid("media.provider_media_id", "must be a media id from Meta"));
        }
        get(&format!("{}/{provider_media_id}", self.graph), Some(&self.token))
            .map(MediaRequest::Lookup)
    }

    fn fetch_media(&self, located: &Response<Bytes>) -> Result<MediaSource, SendError> {
        if !located.status().is_success() {
            return Err(refusal(located));
        }
        let located: wire::Located = read(located)?;
        // The request carries the token, so it uses TLS, or else the scheme of the Graph API's own
        // URL.
        let scheme = |url: &str| url.parse::<Uri>().ok()?.scheme_str().map(str::to_owned);
        let secure = match scheme(&located.url).as_deref() {
            Some("https") => true,
            scheme_of_file => {
                scheme_of_file.is_some() && scheme_of_file == scheme(&self.graph).as_deref()
            }
        };
        if !secure {
            return Err(SendError::Unreadable);
        }
        get(&located.url, Some(&self.token)).map(MediaSource::Download)
    }
}

impl AnswerReader for Number {
    fn answer(&self, response: &Response<Bytes>) -> Result<serde_json::Value, SendError> {
        if response.status().is_success() { read(response) } else { Err(refusal(response)) }
    }
}

impl AccountReader for Number {
    fn describe_account(&self) -> Result<Request<Bytes>, SendError> {
        get(&format!("{}/{}", self.graph, self.id), Some(&self.token))
    }
}

impl WebhookRegistrar for Number {
    fn register(&self, _: &str, pin: Option<&str>) -> Result<Request<Bytes>, SendError> {
        let six = |pin: &&str| pin.len() == 6 && pin.bytes().all(|c| c.is_ascii_digit());
        let pin = pin.filter(six).ok_or_else(|| {
            invalid("pin", "must be six digits: the number's PIN for two-step verification")
        })?;
        self.post("register", &wire::Register { messaging_product: "whatsapp", pin })
    }
}

impl ReadReceipts for Number {
    fn mark_read(&self, provider_message_id: &str) -> Result<Option<Request<Bytes>>, SendError> {
        let body = wire::MarkRead {
            messaging_product: "whatsapp",
            status: "read",
            message_id: provider_message_id,
        };
        self.post("messages", &body).map(Some)
    }
}

impl Number {
    fn post(&self, edge: &str, body: &impl serde::Serialize) -> Result<Request<Bytes>, SendError> {
        post_json(&format!("{}/{}/{edge}", self.graph, self.id), Some(&self.token), body)
    }
}

/// Whether `text` can be a segment of a path.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
}

fn is_version(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let parts = text.strip_prefix('v').and_then(|version| version.split_once('.'));
    parts.is_some_and(|(major, minor)| digits(major) && digits(minor))
}

/// Returns a phone number as webhooks write it: the country code and number in digits. A group's id
/// is unchanged.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`.
pub fn address(to: &str) -> Result<String, SendError> {
    let number = phone_number(to);
    if number.is_ok() {
        return number;
    }
    let group = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=' | b'_' | b'-');
    if to.len() > 15 && to.bytes().all(group) && to.bytes().any(|c| c.is_ascii_alphabetic()) {
        return Ok(to.to_owned());
    }
    number
}

/// Returns the content of the request. Source of every limit: README, facts 4.
fn body<'a>(message: &Outgoing<'a>) -> Result<SendBody<'a>, SendError> {
    Ok(match message.content {
        Content::Text { text } => {
            check_length("text", text, 4096)?;
            SendBody::Text { text: wire::SendText { body: text, preview_url: false } }
        }
        Content::Image { media } => SendBody::Image { image: file(media, true)? },
        Content::Video { media } => SendBody::Video { video: file(media, true)? },
        Content::Audio { media } => SendBody::Audio { audio: file(media, false)? },
        Content::Sticker { media } => SendBody::Sticker { sticker: file(media, false)? },
        Content::Document { media } => {
            let filename = media.filename.as_deref();
            SendBody::Document { document: wire::SendMedia { filename, ..file(media, true)? } }
        }
        Content::Location { location } => {
            check_coordinates(location)?;
            SendBody::Location {
                location: wire::SendLocation {
                    latitude: location.latitude.to_string(),
                    longitude: location.longitude.to_string(),
                    name: location.name.as_deref(),
                    address: location.address.as_deref(),
                },
            }
        }
        Content::Contacts { contacts } => {
            if !(1..=5).contains(&contacts.len()) {
                return Err(invalid("contacts", "must have 1 to 5 contacts"));
            }
            let cards: Result<_, _> = contacts.iter().map(card).collect();
            SendBody::Contacts { contacts: cards? }
        }
        Content::Reaction { reaction } => {
            // Meta does not know the hub's message ids; for those, the caller gives Meta's id as
            // `reply_to`.
            let own = reaction.message_id.starts_with(domain::MessageId::PREFIX);
            let message_id = if own { message.reply_to } else { Some(&*reaction.message_id) };
            let message_id = message_id.filter(|id| !id.is_empty()).ok_or_else(|| {
                invalid("reaction.message_id", "must be a message that has an id at WhatsApp")
            })?;
            SendBody::Reaction {
                reaction: wire::SendReaction { message_id, emoji: &reaction.emoji },
            }
        }
        Content::Template { template } => {
            check_length("template.name", &template.name, 512)?;
            check_length("template.language", &template.language, 15)?;
            SendBody::Template {
                template: wire::SendTemplate {
                    name: &template.name,
                    language: wire::SendLanguage {
                        policy: "deterministic",
                        code: &template.language,
                    },
                    components: &template.components,
                },
            }
        }
        Content::Interactive { interactive } => {
            SendBody::Interactive { interactive: choices(interactive)? }
        }
        Content::Call { .. } => {
            return Err(invalid(
                "call",
                "is not supported by WhatsApp: use an integration that makes calls",
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

fn file(media: &Media, has_caption: bool) -> Result<wire::SendMedia<'_>, SendError> {
    let link = crate::http::check_media_url(media.url.as_deref())?;
    let caption = media.caption.as_deref();
    if let Some(caption) = caption {
        if !has_caption {
            return Err(invalid(
                "media.caption",
                "is not supported for this type: send it as a text",
            ));
        }
        check_max_length("media.caption", caption, 1024)?;
    }
    Ok(wire::SendMedia { link, caption, filename: None })
}

fn card(card: &domain::content::ContactCard) -> Result<wire::SendCard<'_>, SendError> {
    check_length("contacts.name", &card.name, 1024)?;
    Ok(wire::SendCard {
        name: wire::SendCardName { formatted_name: &card.name, first_name: &card.name },
        phones: card.phones.iter().map(|phone| wire::SendPhone { phone }).collect(),
        emails: card.emails.iter().map(|email| wire::SendEmail { email }).collect(),
    })
}

fn choices(interactive: &Interactive) -> Result<wire::SendInteractive<'_>, SendError> {
    crate::choices::check(interactive)?;
    let (kind, header, body, footer, action) = match interactive {
        Interactive::Button { body, header, footer, buttons } => {
            let button = |button| wire::SendButton { kind: "reply", reply: choice(button) };
            let buttons = buttons.iter().map(button).collect();
            ("button", header, body, footer, SendAction::Buttons { buttons })
        }
        Interactive::List { body, header, footer, button, sections } => {
            let sections = sections.iter().map(section).collect();
            ("list", header, body, footer, SendAction::List { button, sections })
        }
    };
    Ok(wire::SendInteractive {
        kind,
        header: header.as_deref().map(|text| wire::SendHeader { kind: "text", text }),
        body: wire::SendLine { text: body },
        footer: footer.as_deref().map(|text| wire::SendLine { text }),
        action,
    })
}

fn section(section: &Section) -> wire::SendSection<'_> {
    let rows = section.rows.iter().map(choice).collect();
    wire::SendSection { title: &section.title, rows }
}

fn choice(choice: &Choice) -> wire::SendChoice<'_> {
    let description = choice.description.as_deref();
    wire::SendChoice { id: &choice.id, title: &choice.title, description }
}

/// Meaning of one of Meta's error codes.
#[derive(Clone, Copy)]
enum Meaning {
    /// A retry cannot succeed.
    Permanent,
    /// The message was not sent, and a retry may succeed.
    Retryable,
    /// The message was not sent; wait this many seconds unless Meta says how long.
    Wait(u64),
}

/// Meta's error codes that say more than the HTTP status, each with a remedy. Source: README, facts
/// 7; the waits of 130429 and 131056: facts 5; the waits of the hourly limits are the hub's choice.
fn known(code: i64) -> Option<(Meaning, &'static str)> {
    use Meaning::{Permanent, Retryable, Wait};
    Some(match code {
        0 | 190 => (Permanent, "The access token has expired or was revoked. Store a new one."),
        3 | 10 | 200..=299 | 131_005 => (
            Permanent,
            "The access token lacks a permission. Grant its user whatsapp_business_messaging.",
        ),
        33 => (Permanent, "Meta does not know the number. Correct the setting `phone_number_id`."),
        100 | 131_008 | 131_009 => {
            (Permanent, "A value in the message is missing or invalid. Correct the message.")
        }
        368 | 130_497 | 131_031 => {
            (Permanent, "Meta has restricted or locked the account. See its business support page.")
        }
        130_472 => (
            Permanent,
            "Meta withholds marketing messages from this recipient as part of an experiment.",
        ),
        131_021 => {
            (Permanent, "The sender and the recipient are the same number. Use another recipient.")
        }
        131_026 => (
            Permanent,
            "The recipient is not on WhatsApp, has an old version, or has not accepted its terms.",
        ),
        131_030 => (
            Permanent,
            "A test number can only send to numbers on its list. Add the recipient to the list.",
        ),
        131_037 => (
            Permanent,
            "Meta has not approved the number's display name yet. Wait for the approval.",
        ),
        131_042 => (Permanent, "Meta could not charge the account. Check its payment method."),
        131_045 | 133_010 => (Permanent, "The number is not registered. Register the integration."),
        131_047 => (
            Permanent,
            "More than 24 hours have passed since the recipient's last message. Send a template \
             instead.",
        ),
        131_048 => (
            Permanent,
            "Too many recipients blocked or reported this number. Improve its quality rating \
             first.",
        ),
        131_049 => (
            Permanent,
            "Meta limits marketing messages to this recipient. Send it again another day.",
        ),
        131_050 => (Permanent, "The recipient opted out of marketing messages from this account."),
        131_051 => (Permanent, "WhatsApp does not support this message type. Send another type."),
        131_052 | 131_053 => {
            (Permanent, "Meta could not fetch the file. Check its URL, type and size.")
        }
        132_000 => (Permanent, "The number of values does not match the template's variables."),
        132_001 => (
            Permanent,
            "No approved template has this name and language. Correct them, or wait for the \
             approval.",
        ),
        132_005 | 132_007 | 132_012 => {
            (Permanent, "The values violate the template's length, policy or format. Correct them.")
        }
        132_015 | 132_016 => {
            (Permanent, "The template is paused or disabled for its quality. Use another one.")
        }
        132_068 | 132_069 => {
            (Permanent, "The flow is blocked or throttled. Check the flow's status at Meta.")
        }
        133_005 | 133_006 | 133_008 | 133_009 => {
            (Permanent, "Meta rejected the PIN. Check it, wait, and register again.")
        }
        135_000 => (Permanent, "Meta rejected the message's format. Correct the message."),
        2 => (Retryable, "Meta's service is down or overloaded."),
        131_000 => (Retryable, "Meta had an internal error and did not send the message."),
        131_016 => {
            (Retryable, "Meta failed to send the message because of a problem in its service.")
        }
        131_057 => (Retryable, "The account is in maintenance, such as a throughput upgrade."),
        133_004 => (Retryable, "Meta's server is temporarily unavailable."),
        4 | 17 | 80_007 => (Wait(60), "The app or account reached Meta's limit of API calls."),
        130_429 => (Wait(5), "The number exceeded Meta's sending rate."),
        131_056 => {
            (Wait(6), "This number sent too many messages to the recipient in a short time.")
        }
        133_016 => (Wait(3600), "The number was registered too often. Wait, then register again."),
        _ => return None,
    })
}

/// Returns the remedy for one of Meta's error codes.
pub(super) fn remedy(code: i64) -> Option<&'static str> {
    known(code).map(|(_, remedy)| remedy)
}

/// Returns the scope of the error code in a receipt.
pub(super) fn failure_scope(code: &str) -> RefusalScope {
    let code = code.parse::<i64>().ok();
    let Some((code, (meaning, _))) = code.and_then(|code| Some((code, known(code)?))) else {
        return RefusalScope::Message;
    };
    let fault = match meaning {
        Meaning::Permanent => Fault::Permanent,
        Meaning::Retryable | Meaning::Wait(_) => Fault::Retryable,
    };
    scope(code, fault, StatusCode::OK)
}

/// Reads a refusal: Meta's error code decides, and the HTTP status where the code is unknown.
fn refusal(response: &Response<Bytes>) -> SendError {
    let status = response.status();
    let wait = retry_after(response.headers());
    let Ok(wire::Failure { error }) = read(response) else {
        let fault = Fault::from_response(status, ErrorFormat::Other, wait);
        let remedy = match fault {
            Fault::Unknown => {
                "Meta failed during the request. A receipt may still report the outcome."
            }
            Fault::Permanent => "Meta rejected the request and gave no readable reason.",
            Fault::Retryable | Fault::RateLimited { .. } => "Meta's service asks to retry later.",
        };
        let code = status.as_u16().to_string();
        let scope = RefusalScope::from_status(status);
        return SendError::Refused { status, code, remedy: remedy.into(), fault, scope };
    };
    let retry = wait.map_or(Fault::Retryable, |retry_after| Fault::RateLimited { retry_after });
    let (fault, remedy) = match known(error.code) {
        Some((Meaning::Wait(seconds), remedy)) => {
            let retry_after = wait.unwrap_or(Duration::from_secs(seconds));
            (Fault::RateLimited { retry_after }, remedy)
        }
        Some((Meaning::Retryable, remedy)) => (retry, remedy),
        // Meta marks the error as transient, whatever its code.
        _ if error.is_transient => (retry, "Meta reports a temporary error."),
        Some((Meaning::Permanent, remedy)) => (Fault::Permanent, remedy),
        None => (
            Fault::from_response(status, ErrorFormat::Documented, wait),
            "Meta rejected the request. Look up the code in Meta's error codes.",
        ),
    };
    let scope = scope(error.code, fault, status);
    SendError::Refused { status, code: error.code.to_string(), remedy: remedy.into(), fault, scope }
}

/// Returns whether one of Meta's error codes is about the message, the route or the account.
/// Source: README, facts 7.
fn scope(code: i64, fault: Fault, status: StatusCode) -> RefusalScope {
    match code {
        0
        | 3
        | 10
        | 33
        | 190
        | 200..=299
        | 368
        | 130_497
        | 131_005
        | 131_031
        | 131_037
        | 131_042
        | 131_045
        | 131_048
        | 133_010 => RefusalScope::Account,
        // A service window, recipient list or template that this number lacks, and another may
        // have.
        131_030 | 131_047 | 132_001 | 132_015 | 132_016 => RefusalScope::Route,
        // Too many messages to one recipient.
        131_056 => RefusalScope::Message,
        _ if fault != Fault::Permanent => RefusalScope::Account,
        _ if known(code).is_some() => RefusalScope::Message,
        _ => RefusalScope::from_status(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whatsapp_cloud::example;
    use domain::content::{ContactCard, Location, Reaction, Template};
    use domain::integration::Settings;
    use domain::{Classify, IntegrationId, MessageId, TenantId};
    use jiff::Timestamp;
    use serde_json::{Value, json};

    fn integration(settings: &Value) -> Integration {
        let settings = Settings(settings.as_object().unwrap().clone());
        Integration {
            circuit: domain::circuit::Breaker::default(),
            id: IntegrationId::derived(&["i"]),
            tenant: TenantId::platform(),
            provider: Provider::WhatsappCloud,
            account: None,
            settings,
            hints: std::collections::BTreeMap::default(),
            credentials_at: jiff::Timestamp::UNIX_EPOCH,
            tenant_credentials: std::collections::BTreeSet::new(),
            trusted_ingest: false,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn sender() -> Number {
        let integration = integration(&json!({ "phone_number_id": "1555" }));
        Number::new(&integration, &example::credentials()).unwrap()
    }

    fn outgoing<'a>(content: &'a Content, reply_to: Option<&'a str>) -> Outgoing<'a> {
        Outgoing {
            id: MessageId::derived(&["m"]),
            channel: domain::provider::Channel::Whatsapp,
            integration: IntegrationId::derived(&["i"]),
            hub_url: None,
            to: "+1 650 555 1234",
            content,
            reply_to,
        }
    }

    fn sent(content: &Content, reply_to: Option<&str>) -> Result<Value, SendError> {
        let request = sender().request(&outgoing(content, reply_to))?;
        Ok(serde_json::from_slice(request.body()).unwrap())
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

    fn media() -> Media {
        Media { url: Some("https://example.com/f".into()), ..Media::default() }
    }

    fn choice(id: &str, title: &str) -> Choice {
        Choice { id: id.into(), title: title.into(), description: None }
    }

    fn button_message(buttons: Vec<Choice>) -> Content {
        let (header, footer) = (Some("h".into()), None);
        let interactive = Interactive::Button { body: "b".into(), header, footer, buttons };
        Content::Interactive { interactive }
    }

    fn list_message(sections: Vec<Section>) -> Content {
        let (header, footer) = (None, Some("f".into()));
        let (body, button) = ("b".into(), "open".into());
        Content::Interactive {
            interactive: Interactive::List { body, header, footer, button, sections },
        }
    }

    fn response(status: u16, retry_after: Option<&str>, body: &str) -> Response<Bytes> {
        let mut response = Response::builder().status(status);
        if let Some(seconds) = retry_after {
            response = response.header("retry-after", seconds);
        }
        response.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    fn outcome(status: u16, retry_after: Option<&str>, body: &str) -> Result<Accepted, SendError> {
        let content = text("t");
        sender().outcome(&outgoing(&content, None), &response(status, retry_after, body))
    }

    fn fault(status: u16, code: i64) -> Fault {
        let body = json!({ "error": { "message": "m", "type": "t", "code": code } });
        outcome(status, None, &body.to_string()).unwrap_err().fault()
    }

    fn seconds(seconds: u64) -> Fault {
        Fault::RateLimited { retry_after: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_text_is_posted_with_the_token_and_the_message_id() {
        let content = text("hi");
        let request = sender().request(&outgoing(&content, Some("wamid.0"))).unwrap();
        assert_eq!(request.method(), http::Method::POST);
        assert_eq!(request.uri(), "https://graph.facebook.com/v26.0/1555/messages");
        assert_eq!(request.headers()["authorization"], "Bearer test-access-token");
        assert_eq!(request.headers()["content-type"], "application/json");
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let expected = json!({
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": "16505551234",
            "biz_opaque_callback_data": MessageId::derived(&["m"]).to_string(),
            "context": { "message_id": "wamid.0" },
            "type": "text",
            "text": { "body": "hi", "preview_url": false },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn every_media_type_is_sent_by_its_url() {
        let with_caption = || Media { caption: Some("c".into()), ..media() };
        let body = sent(&Content::Image { media: with_caption() }, None).unwrap();
        assert_eq!(body["image"], json!({ "link": "https://example.com/f", "caption": "c" }));
        let body = sent(&Content::Video { media: with_caption() }, None).unwrap();
        assert_eq!(body["video"]["caption"], "c");
        let named = Media { filename: Some("n.pdf".into()), ..with_caption() };
        let body = sent(&Content::Document { media: named }, None).unwrap();
        assert_eq!(body["document"]["filename"], "n.pdf");
        let body = sent(&Content::Audio { media: media() }, None).unwrap();
        assert_eq!(body["audio"], json!({ "link": "https://example.com/f" }));
        let body = sent(&Content::Sticker { media: media() }, None).unwrap();
        assert_eq!(body["type"], "sticker");

        assert_eq!(field(&Content::Audio { media: with_caption() }), "media.caption");
        assert_eq!(field(&Content::Image { media: Media::default() }), "media.url");
        let long = Media { caption: Some("c".repeat(1025)), ..media() };
        assert_eq!(field(&Content::Image { media: long }), "media.caption");
    }

    #[test]
    fn locations_contacts_reactions_and_templates_have_metas_format() {
        let location = Location { latitude: 52.5, longitude: -13.25, name: None, address: None };
        let body = sent(&Content::Location { location }, None).unwrap();
        assert_eq!(body["location"], json!({ "latitude": "52.5", "longitude": "-13.25" }));

        let card = ContactCard { name: "Zoë".into(), phones: vec!["+1".into()], emails: vec![] };
        let body = sent(&Content::Contacts { contacts: vec![card] }, None).unwrap();
        let expected = json!([{ "name": { "formatted_name": "Zoë", "first_name": "Zoë" },
            "phones": [{ "phone": "+1" }] }]);
        assert_eq!(body["contacts"], expected);

        let template = Template {
            name: "hello".into(),
            language: "en_US".into(),
            components: vec![json!({})],
        };
        let body = sent(&Content::Template { template }, None).unwrap();
        let expected = json!({ "name": "hello", "language": { "policy": "deterministic", "code": "en_US" },
                "components": [{}] });
        assert_eq!(body["template"], expected);
    }

    #[test]
    fn a_reaction_refers_to_metas_message_id_and_has_no_context() {
        let reaction = |id: &str| Content::Reaction {
            reaction: Reaction { message_id: id.into(), emoji: "👍".into() },
        };
        let body = sent(&reaction("wamid.9"), None).unwrap();
        assert_eq!(body["reaction"], json!({ "message_id": "wamid.9", "emoji": "👍" }));
        let own = MessageId::derived(&["x"]).to_string();
        let body = sent(&reaction(&own), Some("wamid.8")).unwrap();
        assert_eq!(body["reaction"]["message_id"], "wamid.8");
        assert!(body.get("context").is_none());
        assert_eq!(field(&reaction(&own)), "reaction.message_id");
    }

    #[test]
    fn buttons_and_lists_have_metas_format() {
        let body = sent(&button_message(vec![choice("y", "Yes")]), None).unwrap();
        let expected = json!({
            "type": "button",
            "header": { "type": "text", "text": "h" },
            "body": { "text": "b" },
            "action": { "buttons": [{ "type": "reply", "reply": { "id": "y", "title": "Yes" } }] },
        });
        assert_eq!(body["interactive"], expected);

        let rows = vec![Choice { description: Some("d".into()), ..choice("1", "One") }];
        let section = Section { title: String::new(), rows };
        let body = sent(&list_message(vec![section]), None).unwrap();
        let expected = json!({
            "type": "list",
            "body": { "text": "b" },
            "footer": { "text": "f" },
            "action": { "button": "open",
                "sections": [{ "rows": [{ "id": "1", "title": "One", "description": "d" }] }] },
        });
        assert_eq!(body["interactive"], expected);
    }

    #[test]
    fn limits_are_checked_before_sending_and_name_the_field() {
        assert_eq!(field(&text("")), "text");
        assert_eq!(field(&text(&"x".repeat(4097))), "text");
        assert!(sent(&text(&"ü".repeat(4096)), None).is_ok());

        let many = |count: usize| (0..count).map(|i| choice(&i.to_string(), &i.to_string()));
        assert_eq!(field(&button_message(vec![])), "interactive.buttons");
        assert_eq!(field(&button_message(many(4).collect())), "interactive.buttons");
        let long = button_message(vec![choice("1", &"t".repeat(21))]);
        assert_eq!(field(&long), "interactive.buttons");
        let same = button_message(vec![choice("1", "a"), choice("1", "b")]);
        assert_eq!(field(&same), "interactive.buttons");

        let section = |title: &str, rows| Section { title: title.into(), rows };
        assert_eq!(field(&list_message(vec![])), "interactive.sections");
        let eleven = list_message(vec![section("", many(11).collect())]);
        assert_eq!(field(&eleven), "interactive.sections");
        let long = list_message(vec![section("", vec![choice("1", &"t".repeat(25))])]);
        assert_eq!(field(&long), "interactive.sections");
        let untitled =
            vec![section("", vec![choice("1", "a")]), section("b", vec![choice("2", "b")])];
        assert_eq!(field(&list_message(untitled)), "interactive.sections");

        let location = Location { latitude: 91.0, longitude: 0.0, name: None, address: None };
        assert_eq!(field(&Content::Location { location }), "location.latitude");
        let location = Location { latitude: 0.0, longitude: f64::NAN, name: None, address: None };
        assert_eq!(field(&Content::Location { location }), "location.longitude");
        assert_eq!(field(&Content::Contacts { contacts: vec![] }), "contacts");
        assert_eq!(field(&Content::Unsupported { raw: Value::Null }), "type");
    }

    #[test]
    fn an_address_is_digits_and_a_groups_id_is_unchanged() {
        assert_eq!(address("+49 (155) 500-09999").unwrap(), "4915550009999");
        for bad in ["", "12345", "1234567890123456", "abc", "@name", "+1/2"] {
            assert!(address(bad).is_err(), "{bad}");
        }
        let group = "Y2FwaV9ncm91cDoxODA1NTU1MDE3MjoxMjAz";
        let content = text("t");
        let message = Outgoing { to: group, ..outgoing(&content, None) };
        let body: Value =
            serde_json::from_slice(sender().request(&message).unwrap().body()).unwrap();
        assert_eq!((&body["recipient_type"], &body["to"]), (&json!("group"), &json!(group)));
    }

    #[test]
    fn the_base_url_comes_from_the_settings_and_ids_cannot_change_the_path() {
        let settings = json!({ "phone_number_id": "1", "graph_version": "v25.0",
            "base_url": "http://127.0.0.1:8788/graph/" });
        let sender = Number::new(&integration(&settings), &example::credentials()).unwrap();
        let uri = sender.describe_account().unwrap().uri().to_string();
        assert_eq!(uri, "http://127.0.0.1:8788/graph/v25.0/1");
        for settings in [
            json!({}),
            json!({ "phone_number_id": "1/../2" }),
            json!({ "phone_number_id": "1", "graph_version": "../x" }),
        ] {
            assert!(Number::new(&integration(&settings), &example::credentials()).is_err());
        }
        let known = integration(&json!({ "phone_number_id": "1" }));
        assert!(Number::new(&known, &Credentials::default()).is_err());
    }

    #[test]
    fn an_accepted_message_returns_metas_id_and_a_success_without_one_is_unknown() {
        let body = r#"{"messaging_product":"whatsapp","messages":[{"id":"wamid.X"}]}"#;
        assert_eq!(outcome(200, None, body).unwrap().provider_message_id(), "wamid.X");
        for body in ["", "{}", r#"{"messages":[]}"#, r#"{"messages":[{"id":""}]}"#, "<html>"] {
            assert_eq!(outcome(200, None, body).unwrap_err().fault(), Fault::Unknown, "{body}");
        }
    }

    #[test]
    fn a_rate_limit_waits_as_long_as_meta_says() {
        assert_eq!(fault(429, 130_429), seconds(5));
        assert_eq!(fault(400, 131_056), seconds(6));
        assert_eq!(fault(400, 80_007), seconds(60));
        assert_eq!(fault(400, 4), seconds(60));
        let body = r#"{"error":{"code":130429}}"#;
        assert_eq!(outcome(429, Some("7"), body).unwrap_err().fault(), seconds(7));
        assert_eq!(outcome(429, None, "").unwrap_err().fault(), seconds(5));
        assert_eq!(outcome(429, Some("9"), "").unwrap_err().fault(), seconds(9));
    }

    #[test]
    fn a_permanent_error_code_is_permanent_whatever_the_status_and_has_a_remedy() {
        for code in [100, 190, 10, 200, 368, 131_026, 131_047, 131_048, 131_051, 132_000, 132_001] {
            assert_eq!(fault(400, code), Fault::Permanent, "{code}");
            assert_eq!(fault(500, code), Fault::Permanent, "{code}");
        }
        assert_eq!(fault(400, 123_456), Fault::Permanent);
        let body = r#"{"error":{"code":131047,"message":"Re-engagement message"}}"#;
        let error = outcome(400, None, body).unwrap_err();
        assert_eq!(error.code(), "131047");
        assert!(error.detail().contains("template"), "{}", error.detail());
    }

    #[test]
    fn a_reported_failure_is_retried_and_an_unreadable_one_is_not() {
        for (status, code) in [(500, 131_000), (503, 131_016), (500, 2), (500, 1), (502, 1)] {
            assert_eq!(fault(status, code), Fault::Retryable, "{status} {code}");
        }
        let transient = r#"{"error":{"code":1,"is_transient":true}}"#;
        assert_eq!(outcome(400, None, transient).unwrap_err().fault(), Fault::Retryable);
        assert_eq!(outcome(500, None, transient).unwrap_err().fault(), Fault::Retryable);
        assert_eq!(fault(400, 1), Fault::Permanent, "an invalid request, as Meta says");
        assert_eq!(outcome(500, None, "oops").unwrap_err().fault(), Fault::Unknown);
        assert_eq!(outcome(502, None, "").unwrap_err().fault(), Fault::Unknown);
        assert_eq!(outcome(503, None, "").unwrap_err().fault(), Fault::Unknown);
        assert_eq!(outcome(503, Some("3"), "").unwrap_err().fault(), seconds(3));
        assert_eq!(outcome(400, None, "oops").unwrap_err().fault(), Fault::Permanent);
    }

    #[test]
    fn a_number_has_a_rate_limit_per_second() {
        let per = Duration::from_secs(1);
        let expected = RateLimit { identity: "1555".into(), messages: 80, per };
        assert_eq!(sender().rate_limits("1"), [expected]);
        assert_eq!(sender().idempotency_window(), None);
    }

    #[test]
    fn a_message_is_marked_as_read() {
        let request = sender().mark_read("wamid.1").unwrap().unwrap();
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let expected =
            json!({ "messaging_product": "whatsapp", "status": "read", "message_id": "wamid.1" });
        assert_eq!(body, expected);
        assert_eq!(request.uri().path(), "/v26.0/1555/messages");
    }

    #[test]
    fn a_file_is_located_then_fetched_with_the_token_over_tls_only() {
        let MediaRequest::Lookup(request) = sender().locate_media("77").unwrap() else { panic!() };
        assert_eq!((request.method(), request.uri().path()), (&http::Method::GET, "/v26.0/77"));
        assert!(sender().locate_media("../77").is_err());

        let located = response(200, None, r#"{"url":"https://lookaside.example/f?x=1","id":"77"}"#);
        let MediaSource::Download(request) = sender().fetch_media(&located).unwrap() else {
            panic!()
        };
        assert_eq!(request.uri(), "https://lookaside.example/f?x=1");
        assert_eq!(request.headers()["authorization"], "Bearer test-access-token");
        let plain = response(200, None, r#"{"url":"http://lookaside.example/f"}"#);
        assert!(sender().fetch_media(&plain).is_err());
        let gone = response(404, None, r#"{"error":{"code":100}}"#);
        assert_eq!(sender().fetch_media(&gone).unwrap_err().fault(), Fault::Permanent);
    }

    #[test]
    fn a_number_is_registered_with_a_six_digit_pin() {
        let request = sender().register("https://hub", Some("123456")).unwrap();
        assert_eq!(request.uri().path(), "/v26.0/1555/register");
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body, json!({ "messaging_product": "whatsapp", "pin": "123456" }));
        for pin in [None, Some("12345"), Some("1234567"), Some("12345a")] {
            let error = sender().register("https://hub", pin).unwrap_err();
            assert!(matches!(error, SendError::Invalid { field: "pin", .. }));
        }
        assert!(sender().answer(&response(200, None, r#"{"success":true}"#)).is_ok());
        let error = sender().answer(&response(401, None, r#"{"error":{"code":190}}"#));
        assert_eq!(error.unwrap_err().code(), "190");
    }
}
