//! Receives X's webhooks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::content::{Content, Media};
use domain::event::{EventKind, InboundMessage, ParsedEvent};
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookReply, WebhookRequest,
    WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::{Method, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use serde_json::value::RawValue;

use super::wire;
use crate::raw::{fit, text_or_number, unsupported};
use crate::signature;

/// X's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::X
    }

    /// The address that apps were registered with when X was Twitter.
    fn path(&self) -> &'static str {
        "twitter"
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source { secrets: credentials.all(super::CONSUMER_SECRET).to_vec() })
    }
}

struct Source {
    secrets: Vec<SecretString>,
}

/// Maximum length of a challenge token, which has a few dozen characters.
const MAX_TOKEN_LENGTH: usize = 512;

impl Source {
    /// Anyone may request the answer to a token, and that answer is also the signature of a body
    /// with those bytes. So no token may be a valid body, nor the reverse: every body contains a
    /// `{`, and no token does. Source: README, facts 1.
    fn verify_challenge(&self, request: &WebhookRequest) -> Result<(), Rejection> {
        let token = request.query("crc_token").unwrap_or_default();
        if token.is_empty() {
            return Err(Rejection::Invalid("crc_token is missing".to_owned()));
        }
        if token.len() > MAX_TOKEN_LENGTH || token.contains('{') {
            return Err(Rejection::Invalid("crc_token is not a valid token".to_owned()));
        }
        if self.secrets.is_empty() {
            return Err(Rejection::Unauthenticated("the integration has no secret to answer with"));
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
            return Err(Rejection::Unauthenticated(
                "the body has no `{`: it could be a challenge token",
            ));
        }
        Ok(())
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        if request.method == Method::GET {
            return Ok(ParsedWebhook::Handshake(self.answer(request)));
        }
        let whole: &RawValue = serde_json::from_slice(&request.body)?;
        let parts: wire::Parts<'_> = serde_json::from_str(whole.get())?;
        let account = text_or_number(parts.get("for_user_id").copied()).unwrap_or_default();
        let users: wire::Parts<'_> = fit(parts.get("users").copied()).unwrap_or_default();
        let mut events = Vec::new();
        for (name, raw) in &parts {
            // Users and apps that the events refer to.
            if matches!(name.as_ref(), "users" | "apps") {
                continue;
            }
            // Every list contains events, even of an unknown kind.
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
            events.push(other(&account, "activity", None, whole));
        }
        Ok(ParsedWebhook::Events(events))
    }
}

/// Returns an event that is recorded without further processing. It has no id of its own, so its id
/// is the hash of its bytes.
fn other(account: &str, name: &str, at: Option<Timestamp>, raw: &RawValue) -> ParsedEvent {
    let id = format!("{name}:{}", signature::fingerprint(raw.get().as_bytes()));
    ParsedEvent::other(account, id, name, at, raw)
}

/// Reads one element of the list `name`, or the object of that name.
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
    // Serde would read a list as the fields in order.
    let object = Some(raw).filter(|raw| raw.get().starts_with('{'));
    let element: wire::Element<'_> = fit(object).unwrap_or_default();
    let (at, source, target) =
        (element.at(), wire::id_of(element.source), wire::id_of(element.target));
    let own = text_or_number(element.id_str).or_else(|| text_or_number(element.id));
    let post = wire::id_of(element.status).or_else(|| wire::id_of(element.favorited_status));
    let id = match (&own, &post, &source, &target, at) {
        (Some(own), ..) => Some(own.clone()),
        (_, Some(post), ..) if name == "tweet_delete_events" => Some(post.clone()),
        // Follows, blocks and mutes are identified by the two users and the time: the users'
        // profiles may differ each time.
        (_, _, Some(source), Some(target), Some(at)) => {
            Some(format!("{source}:{target}:{}", at.as_millisecond()))
        }
        _ => None,
    };
    let posts = matches!(name, "tweet_create_events" | "tweet_delete_events" | "favorite_events");
    let users_involved = [source, target, text_or_number(element.sender_id)];
    let users_involved = users_involved.into_iter().flatten().find(|user| user != account);
    let key = if posts {
        post.or(own).map(|post| format!("post:{post}"))
    } else {
        users_involved.map(|user| format!("user:{user}"))
    };
    let event = match id {
        Some(id) => ParsedEvent::other(account, format!("{name}:{id}"), name, at, raw),
        None => other(account, name, at, raw),
    };
    ParsedEvent { ordering_key: key, ..event }
}

/// Reads a direct message; `None` if it has an unknown shape.
fn read_message(account: &str, users: &wire::Parts<'_>, raw: &RawValue) -> Option<ParsedEvent> {
    let element: wire::Element<'_> = fit(Some(raw))?;
    let id = text_or_number(element.id)?;
    let message: wire::MessageCreate<'_> = fit(element.message_create)?;
    let is_inbound = message.sender_id != account;
    let counterpart =
        if is_inbound { &message.sender_id } else { &message.target.recipient_id }.clone();
    let kind = if is_inbound && !message.sender_id.is_empty() {
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

/// Reads a revocation. It names its user itself: there is no `for_user_id`.
fn read_revoke(raw: &RawValue) -> Option<ParsedEvent> {
    let wire::UserEvent { revoke } = fit(Some(raw))?;
    let user = revoke.source.user_id;
    let at = revoke.date_time.and_then(|time| wire::parse_time(&time));
    let event = other(&user, "user_event", at, raw);
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
    // Direct messages have the same form as in `direct_message_events`, and are the same events.
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

/// Returns a user's name; the X Activity API nests it.
fn name_of(user: Option<&RawValue>) -> Option<String> {
    let nested = || fit::<wire::Nested>(user).map(|user| user.data.name);
    fit::<wire::User>(user).map(|user| user.name).or_else(nested)
}
