//! Example webhooks of a custom provider, signed with a test secret. For tests, event files and
//! tools.

use domain::Credentials;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Answers, Draft, Example, Examples, Seed};
use crate::signature;

/// Responses of a WhatsApp BSP with Meta's message format, as described by [`sending`].
const ANSWERS: Answers = Answers {
    settings: || sending_settings("https://bsp.example.com"),
    accepted: || (200, json!({ "messages": [{ "id": "gBEGkYiEB1VXAglK1ZEqA1YKPrU" }] })),
    refused: |_| {
        let error = |code: Value| json!({ "error": { "code": code, "message": "No" } });
        [error("internal".into()), error(1.into())].into()
    },
    in_doubt: Vec::new,
};

/// The example webhooks of a custom provider.
pub static EXAMPLES: Examples = Examples {
    answers: Some(ANSWERS),
    events: &[
        Example {
            webhook: "custom",
            name: "booking",
            what: "A booking is created",
            draft: booking,
        },
        Example {
            webhook: "custom",
            name: "cancellation",
            what: "A booking is cancelled",
            draft: cancellation,
        },
        Example {
            webhook: "custom",
            name: "nameless",
            what: "An event without an id and a name",
            draft: nameless,
        },
        Example { webhook: "custom", name: "form", what: "A form is submitted", draft: a_form },
    ],
    unsigned_bodies: &[],
    credentials,
    settings,
    sign: |_, draft, credentials, url, at| {
        let body = draft.body.bytes();
        let secret = credentials.first(super::WEBHOOK_SECRET);
        let secret = secret.map_or("", |secret| secret.expose_secret());
        let mut headers = HeaderMap::new();
        headers.insert("x-timestamp", HeaderValue::from(at.as_second()));
        if let Ok(value) = HeaderValue::from_str(&signature(secret, at, &body)) {
            headers.insert("x-signature", value);
        }
        draft.request(body, headers, url)
    },
};

/// Webhook secret that signs the examples.
pub const WEBHOOK_SECRET: &str = "test-custom-webhook-secret";

/// API key that the examples send with.
pub const API_KEY: &str = "test-custom-api-key";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::WEBHOOK_SECRET, WEBHOOK_SECRET), (super::API_KEY, API_KEY)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns the settings of the examples: a signed timestamp and body.
#[must_use]
pub fn settings() -> Map<String, Value> {
    let scheme = json!({
        "type": "hmac", "header": "X-Signature", "algorithm": "sha256", "encoding": "hex",
        "prefix": "sha256=", "timestamp": { "header": "X-Timestamp" },
    });
    let event = json!({
        "id": "/id", "name": "/event", "account": "/restaurant", "time": "/at",
        "ordering_key": "/booking/number",
    });
    Map::from_iter([("scheme".to_owned(), scheme), ("event".to_owned(), event)])
}

/// Returns settings that also describe how to send, to a BSP with Meta's message format.
#[must_use]
pub fn sending_settings(base_url: &str) -> Map<String, Value> {
    let always = json!({ "messaging_product": "whatsapp", "to": "{{to}}",
        "biz_opaque_callback_data": "{{id}}" });
    let message = |kind: &str, content: Value| {
        let mut body = always.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("type".to_owned(), kind.into());
            fields.insert(kind.to_owned(), content);
            fields.insert("context".to_owned(), json!({ "message_id": "{{reply_to}}" }));
        }
        json!({ "body": body })
    };
    let file = json!({ "link": "{{media.url}}", "caption": "{{media.caption}}" });
    let button = json!({ "type": "reply",
        "reply": { "id": "{{item.id}}", "title": "{{item.title}}" } });
    let buttons = json!({ "type": "button", "body": { "text": "{{interactive.body}}" },
        "action": { "buttons": { "{{each interactive.buttons}}": button } } });
    let template = json!({ "name": "{{template.name}}",
        "language": { "code": "{{template.language}}" },
        "components": "{{template.components}}" });
    let send = json!({
        "path": "/messages",
        "headers": { "D360-API-KEY": "{{credential:CUSTOM_API_KEY}}" },
        "messages": {
            "text": message("text", json!({ "body": "{{text}}" })),
            "image": message("image", file.clone()),
            "document": message("document", file),
            "template": message("template", template),
            "buttons": message("interactive", buttons),
        },
        "answer": {
            "id": "/messages/0/id",
            "error": "/error/code",
            "errors": {
                "131047": { "fault": "permanent", "scope": "route",
                    "remedy": "More than 24 hours have passed since the recipient's last message." },
                "130429": { "fault": "rate_limited", "retry_after_seconds": 5 },
            },
        },
    });
    let more = json!({
        "base_url": base_url,
        "message": { "at": "/entry/*/changes/*/value/messages/*", "id": "/id", "from": "/from",
            "text": "/text/body", "reply_to": "/context/id", "time": "/timestamp" },
        "receipt": { "at": "/entry/*/changes/*/value/statuses/*", "id": "/id",
            "reference": "/biz_opaque_callback_data", "status": "/status",
            "statuses": { "sent": "sent", "delivered": "delivered", "read": "read",
                "failed": "failed" },
            "code": "/errors/0/code", "time": "/timestamp" },
        "send": send,
    });
    let more = more.as_object().cloned().unwrap_or_default();
    settings().into_iter().chain(more).collect()
}

/// Returns the value of `X-Signature` for `body` at that time.
#[must_use]
pub fn signature(secret: &str, at: Timestamp, body: &[u8]) -> String {
    let second = at.as_second().to_string();
    let tag = signature::hmac_sha256(secret.as_bytes(), &[second.as_bytes(), b".", body]);
    format!("sha256={}", hex::encode(tag))
}

fn booking_event(seed: &Seed, name: &str, booking: &Value) -> Draft {
    Draft::json(json!({
        "id": format!("{name}-{}", seed.nonce), "event": name, "restaurant": "corner",
        "at": seed.at.to_string(), "booking": booking,
    }))
}

fn booking(seed: &Seed) -> Draft {
    let booking = json!({ "number": 4711, "name": "Zoë Müller", "people": 2 });
    booking_event(seed, "booking.created", &booking)
}

fn cancellation(seed: &Seed) -> Draft {
    booking_event(seed, "booking.cancelled", &json!({ "number": 4711 }))
}

fn nameless(seed: &Seed) -> Draft {
    Draft::json(json!({ "temperature": 21.5, "sensor": seed.nonce }))
}

fn a_form(seed: &Seed) -> Draft {
    Draft::form(&[
        ("id", &seed.nonce),
        ("event", "form.sent"),
        ("restaurant", "corner"),
        ("at", &seed.at.as_second().to_string()),
        ("text", "Grüße & Küsse"),
    ])
}
