//! Receives Evolution's webhooks.

use std::borrow::Cow;
use std::cell::OnceCell;

use domain::event::{EventKind, InboundMessage, ParsedEvent, Receipt};
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider, Status};
use http::Method;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::value::RawValue;

use super::{content, redact, sender, wire};
use crate::jwt::{self, Expiry};
use crate::raw::fit;
use crate::{authorization, signature};

/// Evolution's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Evolution
    }

    fn keepable<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        redact::without_key(body)
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source { tokens: credentials.all(super::WEBHOOK_TOKEN).to_vec() })
    }
}

struct Source {
    tokens: Vec<SecretString>,
}

impl WebhookSource for Source {
    /// Source: README, facts 1. If both the token and a JWT are present, the token decides.
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        if request.headers.contains_key(wire::TOKEN) {
            return if signature::is_one_of(&self.tokens, request.header(wire::TOKEN)?) {
                Ok(())
            } else {
                Err(Rejection::Unauthenticated("token does not match"))
            };
        }
        let token = authorization::value(request, "bearer")?;
        let claims: wire::Claims = jwt::verify(&self.tokens, token, now, Expiry::Required)?;
        if claims.app != "evolution" || claims.action != "webhook" {
            return Err(Rejection::Unauthenticated("the JWT is not for webhooks"));
        }
        Ok(())
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let raw: &RawValue = serde_json::from_slice(&request.body)?;
        let whole = match redact::without_key(raw.get().as_bytes()) {
            Cow::Borrowed(_) => raw.to_owned(),
            Cow::Owned(redacted) => serde_json::from_slice(&redacted)?,
        };
        if !whole.get().starts_with('{') {
            return Err(Rejection::Unreadable("the body is not a JSON object".into()));
        }
        let envelope: wire::Envelope<'_> = serde_json::from_str(whole.get())?;
        let name = match fit::<Cow<'_, str>>(envelope.event) {
            Some(name) => Some(event_name(&name)),
            // With `byEvents`, the URL also ends with the event's name.
            None => last_segment(&request.url).and_then(known),
        };
        let name = name.ok_or_else(|| Rejection::Unreadable("event is missing".into()))?;
        let account: String = fit(envelope.instance).unwrap_or_default();
        let context = RequestContext {
            account: &account,
            name: &name,
            whole: &whole,
            fingerprint: OnceCell::new(),
        };

        let parts: Vec<&RawValue> = match fit::<Vec<&RawValue>>(envelope.data) {
            Some(parts) if is_itemized(&name) => parts,
            _ => Vec::new(),
        };
        if parts.is_empty() {
            return Ok(ParsedWebhook::Events(vec![context.read(envelope.data, &whole, 0)]));
        }
        let read = |(place, part): (usize, &&RawValue)| context.read(Some(part), part, place);
        Ok(ParsedWebhook::Events(parts.iter().enumerate().map(read).collect()))
    }
}

/// Names of Evolution's events, as written in `event`.
///
/// Source: README, facts 2.
const EVENTS: [&str; 34] = [
    "application.startup",
    "instance.create",
    "instance.delete",
    "qrcode.updated",
    "connection.update",
    "status.instance",
    "messages.set",
    "messages.upsert",
    "messages.edited",
    "messages.update",
    "messages.delete",
    "send.message",
    "send.message.update",
    "contacts.set",
    "contacts.upsert",
    "contacts.update",
    "presence.update",
    "chats.set",
    "chats.update",
    "chats.upsert",
    "chats.delete",
    "groups.upsert",
    "groups.update",
    "group-participants.update",
    "group.update",
    "call",
    "typebot.start",
    "typebot.change-status",
    "labels.edit",
    "labels.association",
    "creds.update",
    "messaging-history.set",
    "remove.instance",
    "logout.instance",
];

/// Maximum length of an event name taken from a body.
const MAX_EVENT_NAME: usize = 64;

/// Normalizes an event name: `MESSAGES_UPSERT`, `messages-upsert` and `messages.upsert` are the
/// same event.
fn normalized(name: &str) -> String {
    name.replace(['_', '-'], ".").to_ascii_lowercase()
}

/// Returns the name as Evolution writes it in `event`, if it is a known event.
fn known(name: &str) -> Option<String> {
    let name = Some(name).filter(|name| name.len() <= MAX_EVENT_NAME).map(normalized)?;
    EVENTS.iter().find(|event| normalized(event) == name).map(|event| (*event).to_owned())
}

fn event_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match known(name) {
        Some(known) => known,
        None if !name.is_empty() && name.len() <= MAX_EVENT_NAME && name.chars().all(plain) => {
            normalized(name)
        }
        None => "unknown".to_owned(),
    }
}

/// Returns the text after the last slash of the path.
fn last_segment(url: &str) -> Option<&str> {
    url.split(['?', '#']).next()?.rsplit('/').next()
}

/// Whether the data is one item, or a list of separate items. For other events, the list is one
/// item: a whole history, or all new members of a group.
fn is_itemized(name: &str) -> bool {
    matches!(
        name,
        "messages.upsert"
            | "messages.update"
            | "messages.edited"
            | "messages.delete"
            | "send.message"
            | "call"
    )
}

/// Data shared by all events of a request.
struct RequestContext<'a> {
    account: &'a str,
    name: &'a str,
    whole: &'a RawValue,
    /// Hash of the whole request, computed once if needed.
    fingerprint: OnceCell<String>,
}

impl RequestContext<'_> {
    /// Reads one item; `raw` is stored with its event.
    fn read(&self, data: Option<&RawValue>, raw: &RawValue, place: usize) -> ParsedEvent {
        let read = match self.name {
            // Serde would read a list as the fields in order.
            _ if !data.is_some_and(|data| data.get().starts_with('{')) => None,
            "messages.upsert" => self.read_message(data, raw),
            "messages.update" => self.read_update(data, raw),
            "send.message" | "messages.delete" => self.read_echo(data, raw),
            "call" => self.read_call(data, raw),
            _ => None,
        };
        read.unwrap_or_else(|| self.other(data, raw, place))
    }

    /// Returns an event that is recorded without further processing and has no id of its own. Its
    /// id is the hash of the whole request, which includes the time: the same status may occur
    /// twice.
    fn other(&self, data: Option<&RawValue>, raw: &RawValue, place: usize) -> ParsedEvent {
        let whole = || signature::fingerprint(self.whole.get().as_bytes());
        let fingerprint = self.fingerprint.get_or_init(whole);
        let id = format!("{}:{fingerprint}:{place}", self.name);
        let event = ParsedEvent::other(self.account, id, self.name, None, raw);
        let chat: wire::Chat<'_> = fit(data).unwrap_or_default();
        let key = fit::<wire::Key<'_>>(chat.key).map(|key| counterpart(&key));
        let jid = || fit::<Cow<'_, str>>(chat.remote_jid).map(|jid| number(&jid).to_owned());
        match key.or_else(jid) {
            Some(counterpart) => event.ordered_by(counterpart),
            None if self.name == "connection.update" => event.ordered_by("connection"),
            None => event,
        }
    }

    fn read_message(&self, data: Option<&RawValue>, raw: &RawValue) -> Option<ParsedEvent> {
        let message: wire::Message<'_> = fit(data)?;
        let key = key(message.key)?;
        let counterpart = counterpart(&key);
        let id = format!("{}:{counterpart}:{}", self.name, key.id);
        let at = time(message.message_timestamp);
        let event = |name: &str| {
            let event = ParsedEvent::other(self.account, id.clone(), name, at, raw);
            event.ordered_by(counterpart.clone())
        };
        if fit(key.from_me).unwrap_or(false) {
            return Some(event("messages.upsert.from_me"));
        }
        let read = if is_chat(&key.remote_jid) { content::read(&message, &key.id) } else { None };
        let Some((content, replied_to)) = read else { return Some(event(self.name)) };
        let reply_to = replied_to.map(|replied_to| {
            let author = fit::<Cow<'_, str>>(replied_to.participant).unwrap_or_default();
            // The quoted message may be the sender's own.
            if number(&author) == number(&key.remote_jid) || number(&author) == counterpart {
                sender::inbound_message_id(&key.remote_jid, &replied_to.stanza_id)
            } else {
                replied_to.stanza_id
            }
        });
        // A group conversation is not named after its latest sender.
        let name = fit(message.push_name).filter(|_| !is_group(&key.remote_jid));
        let kind = EventKind::Message(InboundMessage {
            channel: None,
            provider_message_id: sender::inbound_message_id(&key.remote_jid, &key.id),
            from: counterpart.clone(),
            name,
            content,
            reply_to,
        });
        Some(ParsedEvent { kind, ..event(self.name) })
    }

    /// Reads the status of an outgoing message. Incoming messages need no receipt.
    fn read_update(&self, data: Option<&RawValue>, raw: &RawValue) -> Option<ParsedEvent> {
        let update: wire::Update<'_> = fit(data)?;
        let status = match &*update.status {
            "SERVER_ACK" => Some(Status::Sent),
            "DELIVERY_ACK" => Some(Status::Delivered),
            "READ" | "PLAYED" => Some(Status::Read),
            "ERROR" => Some(Status::Failed),
            // Poll votes arrive one by one, without an id.
            _ => None,
        };
        let is_outgoing = fit(update.from_me).unwrap_or(true);
        let status = status.filter(|_| is_outgoing && !update.key_id.is_empty())?;
        let mut id = format!("{}:{}:{}", self.name, update.key_id, update.status);
        if let Some(participant) = fit::<Cow<'_, str>>(update.participant) {
            id.push(':');
            id.push_str(&participant);
        }
        // It has no usable time: README, quirks.
        let event = ParsedEvent::other(self.account, id, self.name, None, raw);
        let kind = EventKind::Receipt(Receipt {
            provider_message_id: update.key_id,
            reference: None,
            status,
            code: (status == Status::Failed).then(|| update.status.into_owned()),
            detail: None,
        });
        let event = ParsedEvent { kind, ..event };
        Some(match fit::<Cow<'_, str>>(update.remote_jid) {
            Some(jid) => event.ordered_by(number(&jid)),
            None => event,
        })
    }

    /// Reads an event about the business's own actions: it sent or deleted a message.
    fn read_echo(&self, data: Option<&RawValue>, raw: &RawValue) -> Option<ParsedEvent> {
        let message: wire::Message<'_> = fit(data)?;
        // The data of `messages.delete` is only the key.
        let key = key(message.key.or(data))?;
        let counterpart = counterpart(&key);
        let id = format!("{}:{counterpart}:{}", self.name, key.id);
        let at = time(message.message_timestamp);
        let event = ParsedEvent::other(self.account, id, self.name, at, raw);
        Some(event.ordered_by(counterpart))
    }

    fn read_call(&self, data: Option<&RawValue>, raw: &RawValue) -> Option<ParsedEvent> {
        let call: wire::Call<'_> = fit(data)?;
        if call.id.is_empty() {
            return None;
        }
        let at = fit(call.date);
        let id = format!("call:{}:{}", call.id, call.status);
        let event = ParsedEvent::other(self.account, id, self.name, at, raw);
        Some(event.ordered_by(format!("call:{}", call.id)))
    }
}

fn key(raw: Option<&RawValue>) -> Option<wire::Key<'_>> {
    let key = fit::<wire::Key<'_>>(raw);
    key.filter(|key| !key.id.is_empty() && !key.remote_jid.is_empty())
}

/// Parses a time in seconds.
fn time(raw: Option<&RawValue>) -> Option<Timestamp> {
    let second = fit::<wire::Number>(raw).and_then(|number| number.value());
    second.and_then(|second| Timestamp::from_second(second).ok())
}

/// Returns the digits of a person's address; any other address is unchanged.
fn number(jid: &str) -> &str {
    match wire::PERSON.iter().find_map(|suffix| jid.strip_suffix(suffix)) {
        // A device number follows a colon.
        Some(user) => user.split(':').next().unwrap_or(user),
        None => jid,
    }
}

fn is_group(jid: &str) -> bool {
    jid.ends_with("@g.us")
}

/// Whether the address is a chat with the business, not a status or a channel.
fn is_chat(jid: &str) -> bool {
    !jid.ends_with("@broadcast") && !jid.ends_with("@newsletter")
}

/// Returns the person or group that a message is from or to. A hidden number has another address,
/// and often the number in a second field.
fn counterpart(key: &wire::Key<'_>) -> String {
    let hidden = key.remote_jid.ends_with("@lid");
    let real_jid = fit::<Cow<'_, str>>(key.remote_jid_alt.or(key.sender_pn)).filter(|_| hidden);
    let real_jid = real_jid.filter(|jid| wire::PERSON.iter().any(|suffix| jid.ends_with(suffix)));
    number(real_jid.as_deref().unwrap_or(&key.remote_jid)).to_owned()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
