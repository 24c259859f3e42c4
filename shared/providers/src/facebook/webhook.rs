//! Receives Meta's webhooks for Pages and Instagram.

use domain::content::{Content, Location, Media, Reaction, Reply};
use domain::event::{EventKind, InboundMessage, ParsedEvent, Receipt};
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider, Status};
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::wire;
use crate::meta::{self, SignatureVerifier};
use crate::raw::{fit, text_or_number, unsupported};
use crate::signature;
use crate::time::seconds_or_milliseconds;

/// Meta's webhooks for Pages and Instagram.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Facebook
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source(SignatureVerifier {
            app_secrets: credentials.all(super::APP_SECRET).to_vec(),
            verify_tokens: credentials.all(super::VERIFY_TOKEN).to_vec(),
        }))
    }
}

struct Source(SignatureVerifier);

impl WebhookSource for Source {
    /// Source: README, facts 1.
    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        self.0.verify(request)
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        if let Some(handshake) = meta::handshake(request) {
            return Ok(handshake);
        }
        let envelope: wire::Envelope<'_> = serde_json::from_slice(&request.body)?;
        let mut events = Vec::new();
        for raw in envelope.entry {
            read_entry(&envelope.object, raw, &mut events);
        }
        Ok(ParsedWebhook::Events(events))
    }
}

/// Adds the events of one entry. Unknown parts are kept as [`EventKind::Other`].
fn read_entry(object: &str, raw: &RawValue, events: &mut Vec<ParsedEvent>) {
    let Some(entry) = fit::<wire::Entry<'_>>(Some(raw)) else {
        events.push(other("", object, &[], None, raw));
        return;
    };
    let account = text_or_number(entry.id).unwrap_or_default();
    let before = events.len();
    for item in entry.messaging.unwrap_or_default() {
        read_item(&account, item, events);
    }
    for item in entry.standby.unwrap_or_default() {
        events.push(other(&account, "standby", &[], time_of(item), item));
    }
    for change in entry.changes.unwrap_or_default() {
        events.push(read_change(&account, entry.time, change));
    }
    if events.len() == before {
        events.push(other(&account, object, &[], seconds_or_milliseconds(entry.time), raw));
    }
}

/// Returns an event that is recorded without further processing. It has no id of its own, so its id
/// is the hash of its bytes and of `extra`.
fn other(
    account: &str,
    name: &str,
    extra: &[&str],
    at: Option<Timestamp>,
    raw: &RawValue,
) -> ParsedEvent {
    let mut hashed = [&[name], extra].concat().join("\n");
    hashed.push('\n');
    hashed.push_str(raw.get());
    let id = signature::fingerprint(hashed.as_bytes());
    ParsedEvent::other(account, id, name, at, raw)
}

/// Source: README, facts 4.
fn read_change(account: &str, time: Option<&RawValue>, raw: &RawValue) -> ParsedEvent {
    let Some(change) = fit::<wire::Change<'_>>(Some(raw)) else {
        return other(account, "change", &[], seconds_or_milliseconds(time), raw);
    };
    let value: wire::Value<'_> = fit(Some(change.value)).unwrap_or_default();
    let created_at = seconds_or_milliseconds(value.created_time);
    let sent_at = time.map_or("", RawValue::get);
    // Without a time of its own, only the request's time distinguishes it from an equal change.
    let extra = if created_at.is_some() { "" } else { sent_at };
    let at = created_at.or_else(|| seconds_or_milliseconds(time));
    let event = other(account, &change.field, &[extra], at, raw);
    let post = text_or_number(value.post_id).or_else(|| wire::party(value.media));
    ParsedEvent { ordering_key: post.map(|post| format!("post:{post}")), ..event }
}

fn time_of(item: &RawValue) -> Option<Timestamp> {
    fit::<wire::Item<'_>>(Some(item))
        .and_then(|item| seconds_or_milliseconds(item.get("timestamp").copied()))
}

/// A parsed item of `messaging`.
struct Item<'a> {
    account: &'a str,
    /// The person; empty if the item does not name them.
    person: String,
    /// Whether the person is the sender.
    from_person: bool,
    /// Whether the account is the sender. An item without a sender is neither.
    from_account: bool,
    /// The timestamp as written.
    timestamp: &'a str,
    at: Option<Timestamp>,
    raw: &'a RawValue,
}

impl Item<'_> {
    fn event(&self, id: String, kind: EventKind, raw: &RawValue) -> ParsedEvent {
        ParsedEvent {
            account: self.account.to_owned(),
            id,
            occurred_at: self.at,
            kind,
            ordering_key: self.ordering_key(),
            single_use: None,
            raw: raw.to_owned(),
        }
    }

    fn ordering_key(&self) -> Option<String> {
        (!self.person.is_empty()).then(|| self.person.clone())
    }

    fn message(&self, id: String, content: Content, reply_to: Option<String>) -> ParsedEvent {
        self.part(id.clone(), id, content, reply_to, self.raw)
    }

    fn part(
        &self,
        id: String,
        provider_message_id: String,
        content: Content,
        reply_to: Option<String>,
        raw: &RawValue,
    ) -> ParsedEvent {
        let from = self.person.clone();
        let message = InboundMessage {
            channel: None,
            provider_message_id,
            from,
            name: None,
            content,
            reply_to,
        };
        self.event(id, EventKind::Message(message), raw)
    }

    fn receipt(&self, mid: String, status: Status, raw: &RawValue) -> ParsedEvent {
        let id = format!("{mid}:{}", status.as_str());
        let receipt =
            Receipt { provider_message_id: mid, reference: None, status, code: None, detail: None };
        self.event(id, EventKind::Receipt(receipt), raw)
    }

    fn other(&self, name: &str) -> ParsedEvent {
        let event = other(self.account, name, &[], self.at, self.raw);
        ParsedEvent { ordering_key: self.ordering_key(), ..event }
    }
}

/// Adds the events of one item of `messaging`. Source: README, facts 3.
fn read_item(account: &str, raw: &RawValue, events: &mut Vec<ParsedEvent>) {
    let Some(parts) = fit::<wire::Item<'_>>(Some(raw)) else {
        events.push(other(account, "messaging", &[], None, raw));
        return;
    };
    let part = |name: &str| parts.get(name).copied();
    let (sender, recipient) = (wire::party(part("sender")), wire::party(part("recipient")));
    let from_account = sender.as_deref() == Some(account);
    let from_person = sender.is_some() && !from_account;
    let item = Item {
        account,
        person: if from_account { recipient } else { sender }.unwrap_or_default(),
        from_person,
        from_account,
        timestamp: part("timestamp").map_or("", RawValue::get),
        at: seconds_or_milliseconds(part("timestamp")),
        raw,
    };
    let before = events.len();
    if let Some(message) = part("message") {
        read_message(&item, message, events);
    } else if let Some(postback) = part("postback") {
        events.extend(read_postback(&item, postback));
    } else if let Some(reaction) = part("reaction") {
        events.extend(read_reaction(&item, reaction));
    } else if let Some(delivery) = part("delivery") {
        read_delivery(&item, delivery, events);
    } else if let Some(read) = fit::<wire::Named>(part("read")) {
        events.push(item.receipt(read.mid, Status::Read, raw));
    }
    if events.len() == before {
        events.push(item.other(name_of(&parts)));
    }
}

/// Returns the name of the subscribed field for the item's part, or else the part's own name.
fn name_of<'a>(parts: &'a wire::Item<'_>) -> &'a str {
    const PARTS: [(&str, &str); 8] = [
        ("message", "messages"),
        ("postback", "messaging_postbacks"),
        ("reaction", "message_reactions"),
        ("delivery", "message_deliveries"),
        ("read", "message_reads"),
        ("message_edit", "message_edits"),
        ("optin", "messaging_optins"),
        ("referral", "messaging_referrals"),
    ];
    let known = PARTS.iter().find(|(part, _)| parts.contains_key(*part)).map(|(_, name)| *name);
    let no_part = ["sender", "recipient", "timestamp"];
    let first = || parts.keys().map(AsRef::as_ref).find(|name| !no_part.contains(name));
    known.or_else(first).unwrap_or("messaging")
}

fn read_message(item: &Item<'_>, raw: &RawValue, events: &mut Vec<ParsedEvent>) {
    let message = fit::<wire::Message<'_>>(Some(raw)).filter(|message| !message.mid.is_empty());
    let Some(message) = message else { return };
    if message.is_echo || item.from_account {
        let name = EventKind::Other { name: "message_echoes".to_owned() };
        events.push(item.event(format!("echo:{}", message.mid), name, item.raw));
        return;
    }
    if !item.from_person {
        return;
    }
    if message.is_deleted {
        let name = EventKind::Other { name: "messages.deleted".to_owned() };
        events.push(item.event(format!("deleted:{}", message.mid), name, item.raw));
        return;
    }
    let text: Option<String> = fit(message.text);
    let reply_to = fit::<wire::Named>(message.reply_to).map(|message| message.mid);
    let attachments: Vec<&RawValue> = fit(message.attachments).unwrap_or_default();
    let mut attachments = attachments.into_iter();
    let content = match (fit::<wire::QuickReply>(message.quick_reply), attachments.next()) {
        (Some(quick), _) => {
            let title = text.unwrap_or_default();
            let reply = Reply { id: quick.payload, title: title.clone(), description: None };
            Content::ButtonReply { text: title, reply }
        }
        (None, Some(attachment)) => {
            read_attachment(attachment, text.clone()).unwrap_or_else(|| unsupported(item.raw))
        }
        (None, None) => text.map_or_else(|| unsupported(item.raw), |text| Content::Text { text }),
    };
    events.push(item.message(message.mid.clone(), content, reply_to));
    // A message in the hub has one file. The whole item is stored only with the first one, so that
    // the stored size never exceeds the request's.
    for (place, attachment) in attachments.enumerate() {
        let content = read_attachment(attachment, None).unwrap_or_else(|| unsupported(attachment));
        let id = format!("{}:{}", message.mid, place + 2);
        events.push(item.part(id.clone(), id, content, None, attachment));
    }
}

/// Reads a file or a location; `None` if the hub does not support it.
fn read_attachment(raw: &RawValue, caption: Option<String>) -> Option<Content> {
    let attachment: wire::Attachment<'_> = fit(Some(raw))?;
    let payload: wire::Payload<'_> = fit(attachment.payload)?;
    if attachment.kind == "location" {
        let wire::Coordinates { lat, long } = payload.coordinates?;
        let location = Location { latitude: lat, longitude: long, name: None, address: None };
        return Some(Content::Location { location });
    }
    // Meta identifies a file by its URL only.
    let media = Media { provider_media_id: Some(payload.url?), caption, ..Media::default() };
    Some(match &*attachment.kind {
        "image" if payload.sticker_id.is_some() => Content::Sticker { media },
        "image" => Content::Image { media },
        "video" => Content::Video { media },
        "audio" => Content::Audio { media },
        "file" => Content::Document { media },
        _ => return None,
    })
}

fn read_postback(item: &Item<'_>, raw: &RawValue) -> Option<ParsedEvent> {
    let postback: wire::Postback = fit(Some(raw)).filter(|_| item.from_person)?;
    let wire::Postback { mid, title, payload } = postback;
    // The same button may be pressed twice.
    let id = format!("postback:{mid}:{}", item.timestamp);
    let reply = Reply { id: payload, title: title.clone(), description: None };
    let content = Content::ButtonReply { text: title, reply };
    Some(item.part(id, mid, content, None, item.raw))
}

fn read_reaction(item: &Item<'_>, raw: &RawValue) -> Option<ParsedEvent> {
    let reaction: wire::Reaction<'_> = fit(Some(raw)).filter(|_| item.from_person)?;
    let emoji = match &*reaction.action {
        "react" => reaction.emoji?,
        "unreact" => String::new(),
        _ => return None,
    };
    let wire::Reaction { mid, action, .. } = reaction;
    let id = format!("reaction:{mid}:{}:{}:{action}", item.person, item.timestamp);
    Some(item.message(
        id,
        Content::Reaction { reaction: Reaction { message_id: mid, emoji } },
        None,
    ))
}

/// Adds a receipt for each message that the delivery names. It may name none.
fn read_delivery(item: &Item<'_>, raw: &RawValue, events: &mut Vec<ParsedEvent>) {
    let mids = fit::<wire::Mids<'_>>(Some(raw)).map(|delivery| delivery.mids).unwrap_or_default();
    let several = mids.len() > 1;
    for raw in mids {
        // Each of several receipts stores its own message id only, so that the stored size never
        // exceeds the request's.
        let kept = if several { raw } else { item.raw };
        events.push(match text_or_number(Some(raw)) {
            Some(mid) => item.receipt(mid, Status::Delivered, kept),
            None => other(item.account, "message_deliveries", &[item.timestamp], item.at, kept),
        });
    }
}
