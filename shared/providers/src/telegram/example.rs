//! Example webhooks in the shape Telegram documents, with test secrets. For tests, event files and
//! tools.

use bytes::Bytes;
use domain::Credentials;
use domain::webhook::WebhookRequest;
use http::{HeaderMap, HeaderValue, Method};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Answers, Draft, Example, Examples, InDoubt, Seed};

/// Telegram's responses to calls.
const ANSWERS: Answers = Answers {
    settings: Map::new,
    accepted: || {
        let chat = json!({ "id": CHAT_ID, "first_name": "Zoë", "type": "private" });
        let from = json!({ "id": 700_000_001, "is_bot": true, "first_name": "Bot" });
        let result = json!({ "message_id": 9, "from": from, "chat": chat, "date": AT,
            "text": "hi" });
        (200, json!({ "ok": true, "result": result }))
    },
    refused: |status| {
        let of = |words: &str| json!({ "ok": false, "error_code": status, "description": words });
        [of("Internal Server Error"), of("Bad Gateway")].into()
    },
    in_doubt: || {
        let body = |words: &str| json!({ "ok": false, "error_code": 500, "description": words });
        let source =
            "https://github.com/tdlib/telegram-bot-api/blob/master/telegram-bot-api/Client.cpp";
        let deleted = "Internal Server Error: sent message was immediately deleted and can't be \
                       returned";
        let doubt = |words: &str| InDoubt { status: 500, body: body(words), source };
        ["Internal Server Error: restart", deleted].map(doubt).into()
    },
};

/// The example webhooks of Telegram.
pub static EXAMPLES: Examples = Examples {
    answers: Some(ANSWERS),
    events: &[
        Example { webhook: "telegram", name: "text", what: "A person sends a text", draft: a_text },
        Example {
            webhook: "telegram",
            name: "photo",
            what: "A person sends a picture",
            draft: a_photo,
        },
        Example {
            webhook: "telegram",
            name: "blocked",
            what: "A person blocks the bot",
            draft: blocked,
        },
    ],
    unsigned_bodies: &[("telegram", "a secret in a header")],
    credentials,
    settings: Map::new,
    sign: |_, draft, credentials, url, _| {
        let secret = credentials.first(super::WEBHOOK_SECRET);
        let secret = secret.map_or("", |secret| secret.expose_secret());
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(secret) {
            headers.insert("x-telegram-bot-api-secret-token", value);
        }
        draft.request(draft.body.bytes(), headers, url)
    },
};

/// Returns a number of at most 9 digits that differs for each seed.
fn number(seed: &Seed) -> i64 {
    let digest = crate::signature::fingerprint(seed.nonce.as_bytes());
    i64::from_str_radix(digest.get(..7).unwrap_or_default(), 16).unwrap_or_default()
}

/// Returns an update with the message `content` at the seed's time.
fn message_update(seed: &Seed, content: &Value) -> Draft {
    let id = number(seed);
    let mut message = message(id, content);
    if let Value::Object(message) = &mut message {
        message.insert("date".to_owned(), seed.at.as_second().into());
    }
    Draft::json(update(id, "message", &message))
}

fn a_text(seed: &Seed) -> Draft {
    message_update(seed, &json!({ "text": "Hello! Are you open today?" }))
}

fn a_photo(seed: &Seed) -> Draft {
    let size = |id: &str, width: i64| json!({ "file_id": id, "file_unique_id": id, "width": width, "height": width });
    message_update(
        seed,
        &json!({ "photo": [size("small", 90), size("large", 800)], "caption": "Look" }),
    )
}

fn blocked(seed: &Seed) -> Draft {
    let bot = json!({ "id": 700_000_001, "is_bot": true, "first_name": "Hub" });
    let member = |status: &str| json!({ "user": bot, "status": status });
    let what = json!({
        "chat": chat(), "from": user(), "date": seed.at.as_second(),
        "old_chat_member": member("member"), "new_chat_member": member("kicked"),
    });
    Draft::json(update(number(seed), "my_chat_member", &what))
}

/// Webhook secret of the examples.
pub const WEBHOOK_SECRET: &str = "test-telegram-secret";
/// Bot token that the examples send with.
pub const BOT_TOKEN: &str = "700000001:test-telegram-token";
/// Bot that the examples are sent to.
pub const BOT_ID: &str = "700000001";
/// Customer of the examples, and the private chat with them.
pub const CHAT_ID: i64 = 5_550_009_999;
/// Time of the examples: 2026-11-20 12:00:00 UTC.
pub const AT: i64 = 1_795_176_000;

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::BOT_TOKEN, BOT_TOKEN), (super::WEBHOOK_SECRET, WEBHOOK_SECRET)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns the customer.
#[must_use]
pub fn user() -> Value {
    json!({
        "id": CHAT_ID, "is_bot": false, "first_name": "Zoë", "last_name": "Müller",
        "language_code": "de",
    })
}

/// Returns the private chat with the customer.
#[must_use]
pub fn chat() -> Value {
    json!({ "id": CHAT_ID, "type": "private", "first_name": "Zoë", "last_name": "Müller" })
}

/// Returns an update of one kind.
#[must_use]
pub fn update(id: i64, kind: &str, what: &Value) -> Value {
    json!({ "update_id": id, kind: what })
}

/// Returns a message in the private chat. `content` has the fields of its type.
#[must_use]
pub fn message(message_id: i64, content: &Value) -> Value {
    let mut message =
        json!({ "message_id": message_id, "from": user(), "chat": chat(), "date": AT });
    if let (Value::Object(message), Value::Object(content)) = (&mut message, content) {
        message.extend(content.clone());
    }
    message
}

/// Returns an update with a text.
#[must_use]
pub fn text(id: i64, message_id: i64, text: &str) -> Value {
    update(id, "message", &message(message_id, &json!({ "text": text })))
}

/// Returns a request with `body` and [`WEBHOOK_SECRET`].
#[must_use]
pub fn request(body: &Value) -> WebhookRequest {
    let mut headers = HeaderMap::new();
    let secret = HeaderValue::from_static(WEBHOOK_SECRET);
    headers.insert("x-telegram-bot-api-secret-token", secret);
    WebhookRequest {
        method: Method::POST,
        headers,
        body: Bytes::from(body.to_string()),
        ..WebhookRequest::default()
    }
}
