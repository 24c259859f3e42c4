//! Example webhooks in the shape Mailgun documents, signed with a test key. For tests, event files
//! and tools.

use bytes::Bytes;
use domain::Credentials;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Body, Draft, Example, Examples, Seed};
use crate::{form, signature};

/// The example webhooks of Mailgun.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example {
            webhook: "mailgun",
            name: "delivered",
            what: "An email is delivered",
            draft: delivered,
        },
        Example {
            webhook: "mailgun",
            name: "permanent_fail",
            what: "An email bounces",
            draft: permanent_fail,
        },
        Example {
            webhook: "mailgun",
            name: "temporary_fail",
            what: "An email is temporarily rejected",
            draft: temporary_fail,
        },
        Example {
            webhook: "mailgun",
            name: "clicked",
            what: "A recipient clicks a link",
            draft: clicked,
        },
        Example {
            webhook: "mailgun",
            name: "inbound",
            what: "A person sends an email",
            draft: inbound,
        },
        Example {
            webhook: "mailgun",
            name: "inbound_attachment",
            what: "A person sends an email with an attachment",
            draft: inbound_attachment,
        },
    ],
    unsigned_bodies: &[("mailgun", "a signature over a time and a token, which is taken once")],
    credentials,
    settings: Map::new,
    sign: |_, draft, credentials, url, at| {
        let key = credentials.first(super::WEBHOOK_SIGNING_KEY);
        let key = key.map_or("", |key| key.expose_secret());
        draft.request(signed(draft, key, at), HeaderMap::new(), url)
    },
};

/// Key that signs the examples.
pub const SIGNING_KEY: &str = "test-mailgun-signing-key";
/// Sender and recipient of the examples.
pub const PERSON: &str = "zoe@example.com";
const BOUNDARY: &str = "example-boundary-5c1f";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::API_KEY, "test-mailgun-key"), (super::WEBHOOK_SIGNING_KEY, SIGNING_KEY)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns a timestamp, a token and their signature, as fields.
#[must_use]
pub fn signature_fields(key: &str, token: &str, at: Timestamp) -> [(String, String); 3] {
    let timestamp = at.as_second().to_string();
    let tag = signature::hmac_sha256(key.as_bytes(), &[timestamp.as_bytes(), token.as_bytes()]);
    let fields =
        [("timestamp", timestamp), ("token", token.to_owned()), ("signature", hex::encode(tag))];
    fields.map(|(name, value)| (name.to_owned(), value))
}

/// Returns the body with its signature in it.
fn signed(draft: &Draft, key: &str, at: Timestamp) -> Bytes {
    let seen = format!("{at} {}", String::from_utf8_lossy(&draft.body.bytes()));
    let token = signature::fingerprint(seen.as_bytes());
    let proof = signature_fields(key, token.get(..50).unwrap_or_default(), at);
    match &draft.body {
        Body::Json(Value::Object(body)) => {
            let mut body = body.clone();
            let proof = proof.map(|(name, value)| (name, Value::from(value)));
            body.insert("signature".to_owned(), Map::from_iter(proof).into());
            Value::Object(body).to_string().into()
        }
        Body::Form(fields) => {
            let fields: Vec<_> = fields.iter().cloned().chain(proof).collect();
            let is_multipart = draft.headers.contains_key(CONTENT_TYPE);
            if is_multipart { multipart(&fields) } else { form::encode(&fields).into() }
        }
        other => other.bytes(),
    }
}

/// Writes the fields and a small file as `multipart/form-data`.
fn multipart(fields: &[(String, String)]) -> Bytes {
    let part = |head: &str, value: &str| {
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    };
    let fields = fields.iter().map(|(name, value)| part(&format!("name=\"{name}\""), value));
    let file = "name=\"attachment-1\"; filename=\"note.txt\"\r\nContent-Type: text/plain";
    let file = part(file, "Sizes: 38, 39");
    format!("{}{file}--{BOUNDARY}--\r\n", fields.collect::<String>()).into()
}

/// Returns an event about the seed's email. `more` has the fields of its type.
fn event(seed: &Seed, name: &str, more: &Value) -> Draft {
    let Seed { at, nonce } = seed;
    let mut event = json!({
        "id": nonce, "event": name, "timestamp": at.as_duration().as_secs_f64(),
        "account": { "id": "1234567890abcdef12345678" }, "domain": { "name": "mail.example.org" },
        "recipient": PERSON, "recipient-domain": "example.com", "tags": ["order"],
        "message": { "size": 341, "headers": {
            "message-id": format!("{nonce}@mail.example.org"), "subject": "Your order",
            "from": "Shop <shop@mail.example.org>", "to": PERSON,
        } },
    });
    if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
        event.extend(more.clone());
    }
    Draft::json(json!({ "event-data": event }))
}

fn delivered(seed: &Seed) -> Draft {
    let status = json!({ "code": 250, "message": "OK", "attempt-no": 1, "tls": true });
    event(seed, "delivered", &json!({ "delivery-status": status }))
}

fn permanent_fail(seed: &Seed) -> Draft {
    let status = json!({ "code": 550, "message": "5.1.1 No such user", "attempt-no": 1 });
    let more = json!({ "severity": "permanent", "reason": "bounce", "delivery-status": status });
    event(seed, "failed", &more)
}

fn temporary_fail(seed: &Seed) -> Draft {
    let status = json!({ "code": 452, "message": "4.2.2 Over quota", "retry-seconds": 600 });
    let more = json!({ "severity": "temporary", "reason": "generic", "delivery-status": status });
    event(seed, "failed", &more)
}

fn clicked(seed: &Seed) -> Draft {
    let more = json!({ "url": "https://shop.example/offer", "ip": "192.0.2.7" });
    event(seed, "clicked", &more)
}

fn inbound(seed: &Seed) -> Draft {
    let message_id = format!("<{}@example.com>", seed.nonce);
    Draft::form(&[
        ("sender", PERSON),
        ("recipient", "help@mail.example.org"),
        ("from", "Zoë Müller <zoe@example.com>"),
        ("subject", "Opening hours"),
        ("body-plain", "Hello! Are you open today?"),
        ("Message-Id", &message_id),
        ("In-Reply-To", "<earlier@mail.example.org>"),
    ])
}

fn inbound_attachment(seed: &Seed) -> Draft {
    let mut draft = inbound(seed);
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        draft.headers.insert(CONTENT_TYPE, kind);
    }
    draft
}
