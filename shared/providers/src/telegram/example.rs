//! Example webhooks in the shape Telegram documents, with test secrets. For tests, event
//! files and tools.

use bytes::Bytes;
use domain::Credentials;
use domain::webhook::WebhookRequest;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

/// The secret the examples carry.
pub const WEBHOOK_SECRET: &str = "test-telegram-secret";
/// The token the examples send with.
pub const BOT_TOKEN: &str = "700000001:test-telegram-token";
/// The bot the examples come to.
pub const BOT_ID: &str = "700000001";
/// The person the examples come from, and the chat with them.
pub const CHAT_ID: i64 = 5_550_009_999;
/// When the examples happened: 2026-11-20 12:00:00 UTC.
pub const AT: i64 = 1_795_176_000;

/// The credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::BOT_TOKEN, BOT_TOKEN), (super::WEBHOOK_SECRET, WEBHOOK_SECRET)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// The person who writes.
#[must_use]
pub fn user() -> Value {
    json!({
        "id": CHAT_ID, "is_bot": false, "first_name": "Zoë", "last_name": "Müller",
        "language_code": "de",
    })
}

/// The private chat with them.
#[must_use]
pub fn chat() -> Value {
    json!({ "id": CHAT_ID, "type": "private", "first_name": "Zoë", "last_name": "Müller" })
}

/// An update of one kind.
#[must_use]
pub fn update(id: i64, kind: &str, what: &Value) -> Value {
    json!({ "update_id": id, kind: what })
}

/// A message in the private chat: `content` brings the fields of its kind.
#[must_use]
pub fn message(message_id: i64, content: &Value) -> Value {
    let mut message =
        json!({ "message_id": message_id, "from": user(), "chat": chat(), "date": AT });
    if let (Value::Object(message), Value::Object(content)) = (&mut message, content) {
        message.extend(content.clone());
    }
    message
}

/// An update with a text.
#[must_use]
pub fn text(id: i64, message_id: i64, text: &str) -> Value {
    update(id, "message", &message(message_id, &json!({ "text": text })))
}

/// A request that brings `body`, with [`WEBHOOK_SECRET`].
#[must_use]
pub fn request(body: &Value) -> WebhookRequest {
    let mut headers = HeaderMap::new();
    let secret = HeaderValue::from_static(WEBHOOK_SECRET);
    headers.insert("x-telegram-bot-api-secret-token", secret);
    WebhookRequest {
        method: Method::POST,
        query: Vec::new(),
        headers,
        body: Bytes::from(body.to_string()),
        path_suffix: None,
    }
}
