//! Example webhooks in the shape Meta documents, signed with test secrets. For tests, event files
//! and tools.

use std::fmt::Write as _;

use bytes::Bytes;
use domain::Credentials;
use domain::webhook::WebhookRequest;
use http::{HeaderMap, HeaderValue, Method};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Answers, Body, Draft, Example, Examples, Seed};
use crate::signature;

/// Meta's responses to messages.
/// <https://developers.facebook.com/docs/graph-api/guides/error-handling>
const ANSWERS: Answers = Answers {
    settings: || Map::from_iter([("phone_number_id".to_owned(), PHONE_NUMBER_ID.into())]),
    accepted: || {
        let contact = json!({ "input": WA_ID, "wa_id": WA_ID });
        let message = json!({ "id": "wamid.HBgLNDkxNTU1MDAwOTk5ORUCABEYEjdG" });
        let body = json!({ "messaging_product": "whatsapp", "contacts": [contact],
            "messages": [message] });
        (200, body)
    },
    refused: |_| {
        // "API Unknown", "API Service", "Something went wrong", "Service unavailable", and an
        // unknown code.
        let error = |code: i64| {
            json!({ "error": { "message": "An unknown error occurred", "type": "OAuthException",
                "code": code, "fbtrace_id": "AeX1y2z3" } })
        };
        [1, 2, 131_000, 131_016, 999_999].map(error).into()
    },
    in_doubt: Vec::new,
};

/// The example webhooks of WhatsApp.
pub static EXAMPLES: Examples = Examples {
    answers: Some(ANSWERS),
    events: &[
        Example { webhook: "whatsapp", name: "text", what: "A person sends a text", draft: a_text },
        Example {
            webhook: "whatsapp",
            name: "image",
            what: "A person sends a picture",
            draft: an_image,
        },
        Example {
            webhook: "whatsapp",
            name: "delivered",
            what: "A message was delivered",
            draft: delivered,
        },
        Example {
            webhook: "whatsapp",
            name: "failed",
            what: "A message failed",
            draft: delivery_failed,
        },
    ],
    unsigned_bodies: &[],
    credentials,
    settings: || Map::from_iter([("phone_number_id".to_owned(), PHONE_NUMBER_ID.into())]),
    sign: |_, draft, credentials, url, _| {
        let body = match &draft.body {
            Body::Json(body) => escaped(body),
            other => other.bytes(),
        };
        let secret = credentials.first(super::APP_SECRET);
        let secret = secret.map_or("", |secret| secret.expose_secret());
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&signature(secret, &body)) {
            headers.insert("x-hub-signature-256", value);
        }
        draft.request(body, headers, url)
    },
};

/// Sets the timestamp of `value` to the seed's time.
fn now(mut value: Value, seed: &Seed) -> Value {
    if let Value::Object(value) = &mut value {
        value.insert("timestamp".to_owned(), seed.at.as_second().to_string().into());
    }
    value
}

fn a_text(seed: &Seed) -> Draft {
    let text = now(text(&format!("wamid.{}", seed.nonce), "Hello! Are you open today?"), seed);
    Draft::json(envelope(&[messages(PHONE_NUMBER_ID, &[text])]))
}

fn an_image(seed: &Seed) -> Draft {
    let id = format!("wamid.{}", seed.nonce);
    let image = now(image(&id, "1003383421387256", "Look"), seed);
    Draft::json(envelope(&[messages(PHONE_NUMBER_ID, &[image])]))
}

fn delivered(seed: &Seed) -> Draft {
    let status = now(status(&format!("wamid.{}", seed.nonce), "delivered", None), seed);
    Draft::json(envelope(&[statuses(PHONE_NUMBER_ID, &[status])]))
}

fn delivery_failed(seed: &Seed) -> Draft {
    let id = format!("wamid.{}", seed.nonce);
    let status = now(failed(&id, 131_026, "Message undeliverable", None), seed);
    Draft::json(envelope(&[statuses(PHONE_NUMBER_ID, &[status])]))
}

/// App secret that signs the examples.
pub const APP_SECRET: &str = "test-app-secret";
/// Verify token of the example handshakes.
pub const VERIFY_TOKEN: &str = "test-verify-token";
/// Access token that the examples send with.
pub const ACCESS_TOKEN: &str = "test-access-token";
/// Number that the examples are sent to.
pub const PHONE_NUMBER_ID: &str = "15550001111222";
/// Customer of the examples.
pub const WA_ID: &str = "4915550009999";
/// Profile name of the customer, with non-ASCII characters on purpose.
pub const NAME: &str = "Zoë Müller";
/// Time of the examples: 2026-11-20 12:00:00 UTC.
pub const AT: i64 = 1_795_176_000;

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [
        (super::ACCESS_TOKEN, ACCESS_TOKEN),
        (super::APP_SECRET, APP_SECRET),
        (super::VERIFY_TOKEN, VERIFY_TOKEN),
    ];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns a message from [`WA_ID`]. `content` has its `type` and the object of that name.
#[must_use]
pub fn message(id: &str, content: &Value) -> Value {
    let mut message = json!({ "from": WA_ID, "id": id, "timestamp": AT.to_string() });
    if let (Value::Object(message), Value::Object(content)) = (&mut message, content) {
        message.extend(content.clone());
    }
    message
}

/// Returns a text from [`WA_ID`].
#[must_use]
pub fn text(id: &str, body: &str) -> Value {
    message(id, &json!({ "type": "text", "text": { "body": body } }))
}

/// Returns an image from [`WA_ID`].
#[must_use]
pub fn image(id: &str, media_id: &str, caption: &str) -> Value {
    let image = json!({
        "id": media_id,
        "mime_type": "image/jpeg",
        "sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "caption": caption,
    });
    message(id, &json!({ "type": "image", "image": image }))
}

/// Returns a status of an outgoing message; `reference` is the hub's message id, as Meta returns
/// it.
#[must_use]
pub fn status(id: &str, status: &str, reference: Option<&str>) -> Value {
    let mut value = json!({
        "id": id,
        "status": status,
        "timestamp": AT.to_string(),
        "recipient_id": WA_ID,
        "pricing": {
            "billable": true, "pricing_model": "PMP", "type": "regular", "category": "service",
        },
    });
    if let (Value::Object(value), Some(reference)) = (&mut value, reference) {
        value.insert("biz_opaque_callback_data".to_owned(), reference.into());
    }
    value
}

/// Returns a status with the reason of a failure.
#[must_use]
pub fn failed(id: &str, code: i64, title: &str, reference: Option<&str>) -> Value {
    let mut value = status(id, "failed", reference);
    if let Value::Object(value) = &mut value {
        value.remove("pricing");
        value.insert(
            "errors".to_owned(),
            json!([{ "code": code, "title": title, "message": title }]),
        );
    }
    value
}

/// Returns a change with messages to `phone_number_id`.
#[must_use]
pub fn messages(phone_number_id: &str, messages: &[Value]) -> Value {
    let contact = json!({ "profile": { "name": NAME }, "wa_id": WA_ID });
    change(phone_number_id, &json!({ "contacts": [contact], "messages": messages }))
}

/// Returns a change with statuses of messages from `phone_number_id`.
#[must_use]
pub fn statuses(phone_number_id: &str, statuses: &[Value]) -> Value {
    change(phone_number_id, &json!({ "statuses": statuses }))
}

fn change(phone_number_id: &str, parts: &Value) -> Value {
    let mut value = json!({
        "messaging_product": "whatsapp",
        "metadata": { "display_phone_number": "15550001111", "phone_number_id": phone_number_id },
    });
    if let (Value::Object(value), Value::Object(parts)) = (&mut value, parts) {
        value.extend(parts.clone());
    }
    json!({ "value": value, "field": "messages" })
}

/// Returns the whole body, with one entry for each of `changes`.
#[must_use]
pub fn envelope(changes: &[Value]) -> Value {
    let entry = |change: &Value| json!({ "id": "100000000000001", "changes": [change] });
    let entries: Vec<Value> = changes.iter().map(entry).collect();
    json!({ "object": "whatsapp_business_account", "entry": entries })
}

/// Returns the bytes as Meta writes them: every non-ASCII character as `\uXXXX` in lower-case hex,
/// and a backslash before each slash.
#[must_use]
pub fn escaped(body: &Value) -> Bytes {
    let json = body.to_string();
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    for character in json.chars() {
        match character {
            '/' => out.push_str("\\/"),
            character if character.is_ascii() => out.push(character),
            character => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    write!(out, "\\u{unit:04x}").unwrap_or_default();
                }
            }
        }
    }
    out.into()
}

/// Returns the value of `X-Hub-Signature-256` for `body`.
#[must_use]
pub fn signature(app_secret: &str, body: &[u8]) -> String {
    let tag = signature::hmac_sha256(app_secret.as_bytes(), &[body]);
    format!("sha256={}", hex::encode(tag.as_ref()))
}

/// Returns a request with `body`, signed with [`APP_SECRET`].
#[must_use]
pub fn request(body: Bytes) -> WebhookRequest {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&signature(APP_SECRET, &body)) {
        headers.insert("x-hub-signature-256", value);
    }
    WebhookRequest { method: Method::POST, headers, body, ..WebhookRequest::default() }
}

/// Returns Meta's webhook handshake with the verify token `token`.
#[must_use]
pub fn handshake(token: &str, challenge: &str) -> WebhookRequest {
    let parameters =
        [("hub.mode", "subscribe"), ("hub.challenge", challenge), ("hub.verify_token", token)];
    let query = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    WebhookRequest { method: Method::GET, query, ..WebhookRequest::default() }
}
