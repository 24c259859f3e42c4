//! Shapes of GoHighLevel's webhooks. A field that is missing or of another type is ignored. Source:
//! README, facts 3 to 5.

use domain::content::{Content, Media};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::raw::{fit, text_or_number};
use crate::time::{rfc3339, seconds_or_milliseconds};

/// Fields that identify an event and its account.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    location_id: Option<&'a RawValue>,
    #[serde(borrow)]
    company_id: Option<&'a RawValue>,
    #[serde(borrow)]
    app_id: Option<&'a RawValue>,
    #[serde(borrow)]
    alt_id: Option<&'a RawValue>,
    #[serde(borrow)]
    alt_type: Option<&'a RawValue>,
    #[serde(borrow)]
    webhook_id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    date_added: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "_id")]
    under_id: Option<&'a RawValue>,
    #[serde(borrow)]
    contact_id: Option<&'a RawValue>,
    #[serde(borrow)]
    contact_details: Option<&'a RawValue>,
    #[serde(borrow)]
    appointment: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    email_message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    message_type: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    attachments: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Part<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    contact_id: Option<&'a RawValue>,
}

impl Event<'_> {
    /// Documented name of a delivery to a conversation provider: its body has no name, and its
    /// `type` is the channel.
    pub(super) const DELIVERY: &'static str = "ProviderOutboundMessage";

    /// Whether this is a message for a conversation provider to deliver: it has none of the fields
    /// of an app's webhook, and its `type` is a channel.
    pub(super) fn is_delivery(&self) -> bool {
        self.webhook_id.is_none()
            && self.message_type.is_none()
            && self.app_id.is_none()
            && text_or_number(self.message_id).is_some()
            && text_or_number(self.contact_id).is_some()
    }

    pub(super) fn name(&self) -> String {
        if self.is_delivery() {
            return Self::DELIVERY.to_owned();
        }
        text_or_number(self.kind).unwrap_or_else(|| "event".to_owned())
    }

    /// Returns the location, or else the company; empty if the body names neither.
    pub(super) fn account(&self) -> String {
        let is_location = text_or_number(self.alt_type).as_deref() == Some("location");
        let other = || if is_location { text_or_number(self.alt_id) } else { None };
        let location = text_or_number(self.location_id).or_else(other);
        location.or_else(|| text_or_number(self.company_id)).unwrap_or_default()
    }

    /// Returns the id that is equal for redeliveries.
    pub(super) fn id(&self) -> Option<String> {
        let delivery = || if self.is_delivery() { text_or_number(self.message_id) } else { None };
        text_or_number(self.webhook_id).or_else(delivery)
    }

    /// Returns the key of the events that stay in order with this one.
    pub(super) fn ordering_key(&self) -> Option<String> {
        let name = text_or_number(self.kind).unwrap_or_default();
        let nested = |part| fit::<Part<'_>>(part);
        let contact = text_or_number(self.contact_id)
            .or_else(|| text_or_number(nested(self.appointment)?.contact_id))
            .or_else(|| text_or_number(nested(self.contact_details)?.id))
            .or_else(|| if name.starts_with("Contact") { text_or_number(self.id) } else { None });
        if let Some(contact) = contact {
            return Some(format!("contact:{contact}"));
        }
        if let Some(app) = text_or_number(self.app_id) {
            return Some(format!("app:{app}"));
        }
        text_or_number(self.id)
            .or_else(|| text_or_number(self.under_id))
            .map(|id| format!("object:{id}"))
    }

    /// Returns the time of the event, if it has one. `dateAdded` is the creation time of the
    /// object, so it only applies to messages and new objects.
    pub(super) fn occurred_at(&self) -> Option<Timestamp> {
        let name = text_or_number(self.kind).unwrap_or_default();
        let is_new = name.ends_with("Create") || name.ends_with("Message");
        let added = || if is_new { time(self.date_added) } else { None };
        time(self.timestamp).or_else(added)
    }

    /// Returns the contact that wrote the message, if this is an incoming message: a call is not.
    pub(super) fn sender_contact(&self) -> Option<String> {
        let is_inbound = text_or_number(self.kind).as_deref() == Some("InboundMessage");
        let is_call = self.is_channel("CALL") || self.is_channel("VoiceMail");
        if is_inbound && !is_call { text_or_number(self.contact_id) } else { None }
    }

    fn is_channel(&self, channel: &str) -> bool {
        text_or_number(self.message_type).is_some_and(|name| name.eq_ignore_ascii_case(channel))
    }

    /// Returns the id of the message that the event is about.
    pub(super) fn message_id(&self) -> Option<String> {
        text_or_number(self.message_id).or_else(|| text_or_number(self.email_message_id))
    }

    /// Returns the content of the message; `None` if the hub does not support it. An email is HTML.
    pub(super) fn content(&self) -> Option<Content> {
        if self.is_channel("Email") {
            return None;
        }
        let text = fit::<String>(self.body).filter(|text| !text.is_empty());
        let mut files = fit::<Vec<String>>(self.attachments).unwrap_or_default();
        match (files.pop(), files.is_empty()) {
            (Some(file), true) => Some(attachment(file, text)),
            _ => text.map(|text| Content::Text { text }),
        }
    }
}

/// Returns a file that is only known by its URL.
fn attachment(url: String, caption: Option<String>) -> Content {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let filename = Some(name.to_owned()).filter(|name| name.contains('.'));
    let media = Media { provider_media_id: Some(url), caption, filename, ..Media::default() };
    match extension.as_deref() {
        Some("jpg" | "jpeg" | "png" | "gif" | "webp") => Content::Image { media },
        Some("mp4" | "mov" | "3gp" | "webm") => Content::Video { media },
        Some("mp3" | "ogg" | "wav" | "m4a" | "amr" | "aac") => Content::Audio { media },
        _ => Content::Document { media },
    }
}

/// Reads a time: RFC 3339, or seconds or milliseconds since the Unix epoch.
pub(super) fn time(raw: Option<&RawValue>) -> Option<Timestamp> {
    seconds_or_milliseconds(raw).or_else(|| rfc3339(raw))
}
