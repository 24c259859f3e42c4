//! Example webhooks of a sender of a tenant's own, signed with a test secret. For tests, event
//! files and tools.

use domain::Credentials;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Draft, Example, Examples, Seed};
use crate::signature;

/// The examples.
pub static EXAMPLES: Examples = Examples {
    events: &[
        Example { webhook: "custom", name: "booking", what: "A table is booked", draft: booking },
        Example {
            webhook: "custom",
            name: "cancellation",
            what: "A booking is cancelled",
            draft: cancellation,
        },
        Example {
            webhook: "custom",
            name: "nameless",
            what: "Something happens that has neither id nor name",
            draft: nameless,
        },
        Example { webhook: "custom", name: "form", what: "A form is filled in", draft: a_form },
    ],
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

/// The secret the examples are signed with.
pub const WEBHOOK_SECRET: &str = "test-custom-webhook-secret";

/// The credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials::new([(super::WEBHOOK_SECRET.to_owned(), vec![WEBHOOK_SECRET.into()])])
}

/// The settings of the examples: a signed time and body.
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

/// The value of `X-Signature` for `body` at that time.
#[must_use]
pub fn signature(secret: &str, at: Timestamp, body: &[u8]) -> String {
    let second = at.as_second().to_string();
    let tag = signature::hmac_sha256(secret.as_bytes(), &[second.as_bytes(), b".", body]);
    format!("sha256={}", hex::encode(tag))
}

fn told(seed: &Seed, name: &str, booking: &Value) -> Draft {
    Draft::json(json!({
        "id": format!("{name}-{}", seed.nonce), "event": name, "restaurant": "corner",
        "at": seed.at.to_string(), "booking": booking,
    }))
}

fn booking(seed: &Seed) -> Draft {
    let booking = json!({ "number": 4711, "name": "Zoë Müller", "people": 2 });
    told(seed, "booking.created", &booking)
}

fn cancellation(seed: &Seed) -> Draft {
    told(seed, "booking.cancelled", &json!({ "number": 4711 }))
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
