//! Takes X's webhooks in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::content::{Content, Media};
use domain::event::{EventKind, InboundMessage, ParsedEvent};
use domain::webhook::{
    Delivery, Rejection, Verified, WebhookProvider, WebhookReply, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::{Method, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use serde_json::value::RawValue;

use super::wire;
use crate::raw::{fit, unsupported};
use crate::signature;

/// X's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Twitter
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source { secrets: credentials.all(super::CONSUMER_SECRET).to_vec() })
    }
}

struct Source {
    secrets: Vec<SecretString>,
}

/// A token is a few dozen characters.
const LONGEST_TOKEN: usize = 512;

impl Source {
    /// Anybody may ask for the answer to a token, and the answer is what a body of those
    /// bytes would be signed with: so no token may be a body, and no body a token. Every
    /// body has a `{`, and no token. Source: README, facts 1.
    fn verify_challenge(&self, request: &WebhookRequest) -> Result<(), Rejection> {
        let token = request.query("crc_token").unwrap_or_default();
        if token.is_empty() {
            return Err(Rejection::Invalid("crc_token is missing".to_owned()));
        }
        if token.len() > LONGEST_TOKEN || token.contains('{') {
            return Err(Rejection::Invalid("crc_token is not a token".to_owned()));
        }
        if self.secrets.is_empty() {
            return Err(Rejection::Unauthenticated("there is no secret to answer with"));
        }
        Ok(())
    }

    fn answer(&self, request: &WebhookRequest) -> WebhookReply {
        let token = request.query("crc_token").unwrap_or_default();
        let secret = self.secrets.first().map_or("", |secret| secret.expose_secret());
        let tag = signature::hmac_sha256(secret.as_bytes(), &[token.as_bytes()]);
        let response = format!("sha256={}", STANDARD.encode(tag));
        WebhookReply::json(StatusCode::OK, &json!({ "response_token": response }))
    }
}

impl WebhookSource for Source {
    /// Source: README, facts 1 and 2.
    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        if request.method == Method::GET {
            return self.verify_challenge(request);
        }
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("neither GET nor POST"));
        }
        let given = request.header("x-twitter-webhooks-signature")?.strip_prefix("sha256=");
        let given = given.and_then(|text| STANDARD.decode(text).ok());
        let given =
            given.ok_or(Rejection::Unauthenticated("signature is not sha256= and base64"))?;
        if !signature::is_hmac_sha256(&self.secrets, &[&request.body], &given) {
            return Err(Rejection::Unauthenticated("signature does not match"));
        }
        if !request.body.contains(&b'{') {
            return Err(Rejection::Unauthenticated("a challenge's answer signs no body"));
        }
        Ok(())
    }

    fn parse(&self, request: &Verified<'_>) -> Result<Delivery, Rejection> {
        if request.method == Method::GET {
            return Ok(Delivery::Handshake(self.answer(request)));
        }
        let whole: &RawValue = serde_json::from_slice(&request.body)?;
        let parts: wire::Parts<'_> = serde_json::from_str(whole.get())?;
        let account = wire::id(parts.get("for_user_id").copied()).unwrap_or_default();
        let users: wire::Parts<'_> = fit(parts.get("users").copied()).unwrap_or_default();
        let mut events = Vec::new();
        for (name, raw) in &parts {
            // Who and what the events speak of.
            if matches!(name.as_ref(), "users" | "apps") {
                continue;
            }
            // Whatever comes as a list is events, also of a kind we have not heard of.
            let elements = match fit::<Vec<&RawValue>>(Some(*raw)) {
                Some(elements) => elements,
                None if raw.get().starts_with('{') => vec![*raw],
                None => continue,
            };
            for raw in elements {
                if name == "data" {
                    read_activity(raw, &mut events);
                } else {
                    events.push(read(&account, &users, name, raw));
                }
            }
        }
        if events.is_empty() && !parts.values().any(|raw| raw.get().starts_with('[')) {
            events.push(other(&account, "activity", Timestamp::UNIX_EPOCH, whole));
        }
        Ok(Delivery::Events(events))
    }
}

/// Something we keep and do not act on, and that has no id of its own: its bytes are hashed.
fn other(account: &str, name: &str, at: Timestamp, raw: &RawValue) -> ParsedEvent {
    let id = format!("{name}:{}", signature::fingerprint(raw.get().as_bytes()));
    ParsedEvent::other(account, id, name, at, raw)
}

/// One element of the list `name`, or the object of that name.
fn read(account: &str, users: &wire::Parts<'_>, name: &str, raw: &RawValue) -> ParsedEvent {
    match name {
        "direct_message_events" => {
            read_message(account, users, raw).unwrap_or_else(|| read_other(account, name, raw))
        }
        "user_event" => read_revoke(raw).unwrap_or_else(|| read_other(account, name, raw)),
        _ => read_other(account, name, raw),
    }
}

fn read_other(account: &str, name: &str, raw: &RawValue) -> ParsedEvent {
    // A derived shape would also be read from a list.
    let object = Some(raw).filter(|raw| raw.get().starts_with('{'));
    let element: wire::Element<'_> = fit(object).unwrap_or_default();
    let (at, source, target) =
        (element.at(), wire::id_of(element.source), wire::id_of(element.target));
    let own = wire::id(element.id_str).or_else(|| wire::id(element.id));
    let post = wire::id_of(element.status).or_else(|| wire::id_of(element.favorited_status));
    let id = match (&own, &post, &source, &target) {
        (Some(own), ..) => Some(own.clone()),
        (_, Some(post), ..) if name == "tweet_delete_events" => Some(post.clone()),
        // Who follows, blocks or mutes whom: the two users may be described anew each time.
        (_, _, Some(source), Some(target)) if at != Timestamp::UNIX_EPOCH => {
            Some(format!("{source}:{target}:{}", at.as_millisecond()))
        }
        _ => None,
    };
    let posts = matches!(name, "tweet_create_events" | "tweet_delete_events" | "favorite_events");
    let with = [source, target, wire::id(element.sender_id)];
    let with = with.into_iter().flatten().find(|user| user != account);
    let key = if posts {
        post.or(own).map(|post| format!("post:{post}"))
    } else {
        with.map(|user| format!("user:{user}"))
    };
    let event = match id {
        Some(id) => ParsedEvent::other(account, format!("{name}:{id}"), name, at, raw),
        None => other(account, name, at, raw),
    };
    ParsedEvent { ordering_key: key, ..event }
}

/// A direct message; `None` if it has another shape than we know.
fn read_message(account: &str, users: &wire::Parts<'_>, raw: &RawValue) -> Option<ParsedEvent> {
    let element: wire::Element<'_> = fit(Some(raw))?;
    let id = wire::id(element.id)?;
    let message: wire::MessageCreate<'_> = fit(element.message_create)?;
    let theirs = message.sender_id != account;
    let counterpart =
        if theirs { &message.sender_id } else { &message.target.recipient_id }.clone();
    let kind = if theirs && !message.sender_id.is_empty() {
        let user = users.get(message.sender_id.as_str()).copied();
        EventKind::Message(InboundMessage {
            channel: None,
            provider_message_id: id.clone(),
            name: name_of(user),
            content: read_content(message.message_data).unwrap_or_else(|| unsupported(raw)),
            from: message.sender_id,
            reply_to: None,
        })
    } else {
        EventKind::Other { name: "direct_message_events".to_owned() }
    };
    Some(ParsedEvent {
        account: account.to_owned(),
        id: format!("direct_message_events:{id}"),
        occurred_at: element.at(),
        kind,
        ordering_key: Some(format!("user:{counterpart}")),
        single_use: None,
        raw: raw.to_owned(),
    })
}

fn read_content(raw: &RawValue) -> Option<Content> {
    let data: wire::MessageData<'_> = fit(Some(raw))?;
    if data.attachment.is_none() {
        return Some(Content::Text { text: data.text });
    }
    let wire::Attachment { media } = fit(data.attachment)?;
    let file = Media {
        provider_media_id: Some(media.id_str),
        caption: Some(data.text),
        ..Media::default()
    };
    match media.kind.as_str() {
        "photo" => Some(Content::Image { media: file }),
        "video" | "animated_gif" => Some(Content::Video { media: file }),
        _ => None,
    }
}

/// It names its user itself: there is no `for_user_id`.
fn read_revoke(raw: &RawValue) -> Option<ParsedEvent> {
    let wire::UserEvent { revoke } = fit(Some(raw))?;
    let user = revoke.source.user_id;
    let at = revoke.date_time.and_then(|time| wire::written(&time));
    let event = other(&user, "user_event", at.unwrap_or(Timestamp::UNIX_EPOCH), raw);
    Some(event.ordered_by(format!("user:{user}")))
}

/// Adds the events of the X Activity API. Source: README, facts 4.
fn read_activity(raw: &RawValue, events: &mut Vec<ParsedEvent>) {
    let activity = fit::<wire::Activity<'_>>(Some(raw));
    let named = |it: &wire::Activity<'_>| !it.event_uuid.is_empty() && !it.event_type.is_empty();
    let Some(activity) = activity.filter(named) else {
        events.push(read_other("", "data", raw));
        return;
    };
    let account = fit::<wire::Filter>(activity.filter).map(|filter| filter.user_id);
    let account = account.unwrap_or_default();
    let before = events.len();
    // Direct messages come as they do to `direct_message_events`, and are the same events.
    let parts: wire::Parts<'_> = fit(activity.payload).unwrap_or_default();
    let list = "direct_message_events";
    let messages: Vec<&RawValue> = fit(parts.get(list).copied()).unwrap_or_default();
    let users: wire::Parts<'_> = fit(parts.get("users").copied()).unwrap_or_default();
    events.extend(messages.into_iter().map(|raw| read(&account, &users, list, raw)));
    if events.len() == before {
        let payload: wire::Element<'_> = fit(activity.payload).unwrap_or_default();
        let (name, id) = (activity.event_type, activity.event_uuid);
        events.push(ParsedEvent::other(&account, id, &name, payload.at(), raw));
    }
}

/// What a user is called; the X Activity API puts it one level down.
fn name_of(user: Option<&RawValue>) -> Option<String> {
    let nested = || fit::<wire::Nested>(user).map(|user| user.data.name);
    fit::<wire::User>(user).map(|user| user.name).or_else(nested)
}
