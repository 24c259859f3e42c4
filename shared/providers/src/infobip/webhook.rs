//! Receives Infobip's webhooks.

use std::borrow::Cow;

use domain::content::{ButtonPress, ContactCard, Content, Location, Media, Reaction, Reply};
use domain::event::{EventKind, InboundMessage, ParsedEvent, Receipt};
use domain::provider::Channel;
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider, Status};
use http::Method;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::value::RawValue;

use super::codes;
use super::settings::{Security, Settings, has_password};
use super::wire;
use crate::raw::{self, fit};
use crate::time::rfc3339;
use crate::{authorization, signature, spec};

/// Header with the time of the signature.
pub(super) const SIGNED_AT: &str = "x-ib-exchange-req-timestamp";
/// Header with the signature, HMAC-SHA256 in hex.
pub(super) const SIGNATURE: &str = "x-ib-exchange-req-signature";

/// Infobip's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Infobip
    }

    fn source(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Box<dyn WebhookSource> {
        Box::new(Source {
            security: spec::settings_of::<Settings>(integration).unwrap_or_default().security,
            secrets: credentials.all(super::WEBHOOK_SECRET).to_vec(),
            account: integration.account.clone().unwrap_or_default(),
        })
    }
}

struct Source {
    security: Security,
    secrets: Vec<SecretString>,
    /// The account: a report does not name it.
    account: String,
}

impl Source {
    /// <https://www.rfc-editor.org/rfc/rfc7617>
    fn verify_basic(&self, request: &WebhookRequest) -> Result<(), Rejection> {
        let given = authorization::decode_basic(authorization::value(request, "basic")?)?;
        if has_password(&given) && signature::is_one_of(&self.secrets, &given) {
            return Ok(());
        }
        Err(Rejection::Unauthenticated("user or password does not match"))
    }

    /// Source: README, facts 6.
    fn verify_hmac(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        let signed_at = request.header(SIGNED_AT)?;
        // The signed text is the timestamp and the body, without a separator.
        let at = signature::digits(signed_at).and_then(|ms| Timestamp::from_millisecond(ms).ok());
        signature::check_timestamp_age(signature::TOLERANCE, at, now)?;
        let given = hex::decode(request.header(SIGNATURE)?);
        let given = given.map_err(|_| Rejection::Unauthenticated("signature is not hex"))?;
        let signed = [signed_at.as_bytes(), &request.body];
        if signature::is_hmac_sha256(&self.secrets, &signed, &given) {
            return Ok(());
        }
        Err(Rejection::Unauthenticated("signature does not match"))
    }
}

impl WebhookSource for Source {
    /// Only the method in the integration's settings is accepted.
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        match self.security {
            Security::Basic => self.verify_basic(request),
            Security::Hmac => self.verify_hmac(request, now),
            Security::Bearer => authorization::verify_bearer(&self.secrets, request),
        }
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let raw: &RawValue = serde_json::from_slice(&request.body)?;
        if !is_object(raw) {
            return Err(Rejection::Unreadable("the body is not a JSON object".into()));
        }
        let batch: wire::Batch<'_> = serde_json::from_str(raw.get())?;
        let entries = match batch.results {
            Some(results) => serde_json::from_str::<Vec<&RawValue>>(results.get())?,
            // A notification of another kind is a single object, not a list.
            None => vec![raw],
        };
        Ok(ParsedWebhook::Events(entries.into_iter().map(|entry| self.read(entry)).collect()))
    }
}

impl Source {
    fn read(&self, raw: &RawValue) -> ParsedEvent {
        let object = Some(raw).filter(|raw| is_object(raw));
        let entry: wire::Entry<'_> = fit(object).unwrap_or_default();
        let id: Option<String> = fit(entry.message_id);
        let read = id.filter(|id| !id.is_empty()).and_then(|id| {
            if entry.seen_at.is_some() {
                Some(self.read_seen(&entry, id, raw))
            } else if entry.deleted_at.is_some() {
                Some(self.read_deleted(&entry, &id, raw))
            } else if entry.message.is_some() || entry.text.is_some() {
                read_message(&entry, id, raw)
            } else {
                self.read_delivery(&entry, id, raw)
            }
        });
        read.unwrap_or_else(|| self.other(&entry, raw))
    }

    /// Returns an event that has no id of its own, so its id is the hash of its bytes.
    fn other(&self, entry: &wire::Entry<'_>, raw: &RawValue) -> ParsedEvent {
        let typed = fit::<wire::Typed<'_>>(entry.content.or(entry.change));
        let name = typed.map(|typed| typed.kind.to_ascii_lowercase());
        let plain = |name: &String| {
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
            (1..=64).contains(&name.len()) && name.chars().all(word)
        };
        let name = name.filter(plain).unwrap_or_else(|| "unknown".to_owned());
        let at = rfc3339(entry.created_at.or(entry.timestamp).or(entry.received_at));
        let id = signature::fingerprint(raw.get().as_bytes());
        ParsedEvent::other(&self.account, id, &name, at, raw)
    }

    /// Returns an event about an outgoing message, ordered with the other events of that message.
    fn report(&self, what: &str, id: &str, at: Option<Timestamp>, raw: &RawValue) -> ParsedEvent {
        let name = what.split(':').next().unwrap_or(what);
        let event = ParsedEvent::other(&self.account, format!("{what}:{id}"), name, at, raw);
        event.ordered_by(format!("message:{id}"))
    }

    fn read_seen(&self, entry: &wire::Entry<'_>, id: String, raw: &RawValue) -> ParsedEvent {
        let event = self.report("seen", &id, rfc3339(entry.seen_at), raw);
        let kind = receipt(entry, id, Status::Read, None);
        ParsedEvent { kind, ..event }
    }

    fn read_deleted(&self, entry: &wire::Entry<'_>, id: &str, raw: &RawValue) -> ParsedEvent {
        self.report("deleted", id, rfc3339(entry.deleted_at), raw)
    }

    /// Source: README, facts 2 and 5.
    fn read_delivery(
        &self,
        entry: &wire::Entry<'_>,
        id: String,
        raw: &RawValue,
    ) -> Option<ParsedEvent> {
        let state: wire::State = fit(entry.status)?;
        let what = format!("delivery:{}", state.name.as_deref().unwrap_or(&state.group_name));
        let event = self.report(&what, &id, rfc3339(entry.done_at.or(entry.sent_at)), raw);
        let kind = match &*state.group_name {
            "DELIVERED" => receipt(entry, id, Status::Delivered, None),
            "UNDELIVERABLE" | "EXPIRED" | "REJECTED" => {
                let error =
                    fit::<wire::State>(entry.error).filter(|error| error.group_name != "OK");
                let why = error.unwrap_or(state);
                let known = codes::known(why.name.as_deref().unwrap_or_default());
                if why.name.as_deref().is_some_and(codes::is_duplicate) {
                    // A duplicate attempt: the first attempt has reports of its own.
                    return Some(event);
                }
                let description = known.map(|known| known.remedy.to_owned()).or(why.description);
                receipt(entry, id, Status::Failed, Some(wire::State { description, ..why }))
            }
            // The message is in transit, which its receipt already says.
            _ => return Some(event),
        };
        Some(ParsedEvent { kind, ..event })
    }
}

/// Serde would read a list as the fields in order.
fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

fn receipt(
    entry: &wire::Entry<'_>,
    provider_message_id: String,
    status: Status,
    why: Option<wire::State>,
) -> EventKind {
    // The hub sends its message id as callback data, and as the id where Infobip accepts it.
    let sent_along = fit::<Cow<'_, str>>(entry.callback_data);
    let reference = sent_along.and_then(|data| data.parse().ok());
    let reference = reference.or_else(|| provider_message_id.parse().ok());
    let (code, detail) =
        why.map_or((None, None), |why| (Some(why.name.unwrap_or(why.group_name)), why.description));
    EventKind::Receipt(Receipt { provider_message_id, reference, status, code, detail })
}

fn read_message(entry: &wire::Entry<'_>, id: String, raw: &RawValue) -> Option<ParsedEvent> {
    let from = fit::<String>(entry.from).filter(|from| !from.is_empty())?;
    let account: String = fit(entry.to).unwrap_or_default();
    let message = fit::<wire::Message<'_>>(entry.message);
    let content = match &message {
        Some(message) => read_content(message),
        None if entry.message.is_none() => fit(entry.text).map(|text| Content::Text { text }),
        None => None,
    };
    let content = content.unwrap_or_else(|| unsupported(entry.message.or(entry.text)));
    let replied_to = fit::<wire::Context>(message.and_then(|message| message.context));
    // A reaction is not a reply: the context names the message it is on.
    let replied_to = replied_to.filter(|_| !matches!(content, Content::Reaction { .. }));
    let at = rfc3339(entry.received_at);
    let event = ParsedEvent::other(&account, format!("message:{id}"), "message", at, raw);
    let kind = EventKind::Message(InboundMessage {
        // A message without `message` came by SMS.
        channel: entry.message.is_none().then_some(Channel::Sms),
        provider_message_id: id,
        from: from.clone(),
        name: fit::<wire::Contact>(entry.contact).map(|contact| contact.name),
        content,
        reply_to: replied_to.map(|replied_to| replied_to.id),
    });
    Some(ParsedEvent { kind, ..event }.ordered_by(from))
}

fn unsupported(raw: Option<&RawValue>) -> Content {
    raw::unsupported(raw.unwrap_or(RawValue::NULL))
}

/// Returns the content of a message; `None` if the hub does not support it.
/// Source: README, facts 4.
fn read_content(message: &wire::Message<'_>) -> Option<Content> {
    let title = || fit::<String>(message.title);
    let reply = || {
        let (id, title) = (fit(message.id)?, title()?);
        Some(Reply { id, title, description: fit(message.description) })
    };
    Some(match &*message.kind {
        "TEXT" => Content::Text { text: fit(message.text)? },
        "IMAGE" => Content::Image { media: media(message)? },
        "VIDEO" => Content::Video { media: media(message)? },
        "AUDIO" | "VOICE" => Content::Audio { media: media(message)? },
        "DOCUMENT" => Content::Document { media: media(message)? },
        "STICKER" => Content::Sticker { media: media(message)? },
        "LOCATION" => {
            let (latitude, longitude) = (fit(message.latitude)?, fit(message.longitude)?);
            let (name, address) = (fit(message.name), fit(message.address));
            Content::Location { location: Location { latitude, longitude, name, address } }
        }
        "CONTACT" => {
            let cards: Vec<wire::Card> = fit(message.contacts)?;
            Content::Contacts { contacts: cards.into_iter().map(card).collect() }
        }
        "BUTTON" => {
            let button = ButtonPress { payload: fit(message.payload)? };
            Content::Button { text: fit(message.text)?, button }
        }
        "INTERACTIVE_BUTTON_REPLY" => Content::ButtonReply { text: title()?, reply: reply()? },
        "INTERACTIVE_LIST_REPLY" => Content::ListReply { text: title()?, reply: reply()? },
        "REACTION" => {
            let message_id = fit::<wire::Context>(message.context)?.id;
            let emoji = fit(message.emoji).unwrap_or_default();
            Content::Reaction { reaction: Reaction { message_id, emoji } }
        }
        _ => return None,
    })
}

/// A file. Infobip serves it at a URL that needs the API key.
fn media(message: &wire::Message<'_>) -> Option<Media> {
    Some(Media {
        url: None,
        provider_media_id: Some(fit(message.url)?),
        mime_type: None,
        caption: fit(message.caption),
        filename: None,
        size: None,
    })
}

fn card(card: wire::Card) -> ContactCard {
    let parts = [card.name.first_name, card.name.last_name].into_iter().flatten();
    let name = card.name.formatted_name.unwrap_or_else(|| parts.collect::<Vec<_>>().join(" "));
    ContactCard {
        name,
        phones: card.phones.into_iter().filter_map(|phone| phone.phone).collect(),
        emails: card.emails.into_iter().filter_map(|email| email.email).collect(),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
