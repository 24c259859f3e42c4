//! Example webhooks in the shape SendGrid documents, signed with a test key. For tests, event files
//! and tools.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use domain::Credentials;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::example::{Body, Draft, Example, Examples, Seed};

/// The example webhooks of SendGrid.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example {
            webhook: "sendgrid",
            name: "delivered",
            what: "An email is accepted and delivered: two events in one request",
            draft: delivered,
        },
        Example { webhook: "sendgrid", name: "bounce", what: "An email bounces", draft: bounce },
        Example {
            webhook: "sendgrid",
            name: "dropped",
            what: "An email is dropped because the address bounced before",
            draft: dropped,
        },
        Example {
            webhook: "sendgrid",
            name: "engagement",
            what: "A recipient opens an email, clicks a link and reports spam",
            draft: engagement,
        },
        Example {
            webhook: "sendgrid",
            name: "unsubscribe",
            what: "A recipient unsubscribes from a group",
            draft: unsubscribe,
        },
        Example {
            webhook: "sendgrid",
            name: "account",
            what: "SendGrid suspends the account",
            draft: account,
        },
    ],
    unsigned_bodies: &[],
    credentials,
    settings: Map::new,
    // The private key is not among the credentials, so it is always the examples' own.
    sign: |_, draft, _, url, at| {
        let body = as_sent(&draft.body);
        let headers = headers(&body, at);
        draft.request(body, headers, url)
    },
};

/// Public key that verifies the examples.
pub const PUBLIC_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEHhhTL9R1TALzBB2cdc6zO4P/2BrHzk/ogsyxyYvFiW6kbDEcTi/0DdlqNlPm5FRF0y3+SG7O11x6kMahiIHAow==";
/// Its private key: the number made of 32 bytes of 7.
const PRIVATE_KEY: [u8; 32] = [7; 32];
/// Length of the point at the end of a public key, in bytes.
const POINT: usize = 65;

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::API_KEY, "test-sendgrid-key"), (super::WEBHOOK_PUBLIC_KEY, PUBLIC_KEY)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns the headers that sign a body at that time.
#[must_use]
pub fn headers(body: &[u8], at: Timestamp) -> HeaderMap {
    let second = at.as_second().to_string();
    let proofs = [
        ("x-twilio-email-event-webhook-signature", signature(second.as_bytes(), body)),
        ("x-twilio-email-event-webhook-timestamp", Some(second)),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in proofs {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    headers
}

fn signature(second: &[u8], body: &[u8]) -> Option<String> {
    let public = STANDARD.decode(PUBLIC_KEY).ok()?;
    let point = public.get(public.len().checked_sub(POINT)?..)?;
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pair =
        EcdsaKeyPair::from_private_key_and_public_key(algorithm, &PRIVATE_KEY, point).ok()?;
    let signature = pair.sign(&SystemRandom::new(), &[second, body].concat()).ok()?;
    Some(STANDARD.encode(signature))
}

/// Writes events as SendGrid does: separated by a comma and CRLF, with a final CRLF.
fn as_sent(body: &Body) -> Bytes {
    let Body::Json(Value::Array(events)) = body else { return body.bytes() };
    let events: Vec<String> = events.iter().map(Value::to_string).collect();
    format!("[{}]\r\n", events.join(",\r\n")).into()
}

/// Returns an event about the seed's email. `more` has the fields of its type.
fn event(seed: &Seed, name: &str, more: &Value) -> Value {
    let Seed { at, nonce } = seed;
    let mut event = json!({
        "email": "zoe@example.com", "event": name, "timestamp": at.as_second(),
        "sg_event_id": URL_SAFE_NO_PAD.encode(format!("{name}-{nonce}")),
        "sg_message_id": format!("{nonce}.filterdrecv-example-1-0.0"),
        "smtp-id": format!("<{nonce}@ismtpd.example.net>"),
    });
    if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
        event.extend(more.clone());
    }
    event
}

fn delivered(seed: &Seed) -> Draft {
    Draft::json(json!([
        event(seed, "processed", &json!({ "send_at": 0 })),
        event(seed, "delivered", &json!({ "ip": "192.0.2.1", "response": "250 OK", "tls": 1 })),
    ]))
}

fn bounce(seed: &Seed) -> Draft {
    let more = json!({
        "type": "bounce", "status": "5.1.1", "ip": "192.0.2.1",
        "reason": "550 5.1.1 The account does not exist",
        "bounce_classification": "Invalid Address",
    });
    Draft::json(json!([event(seed, "bounce", &more)]))
}

fn dropped(seed: &Seed) -> Draft {
    let more = json!({ "reason": "Bounced Address", "status": "5.0.0" });
    Draft::json(json!([event(seed, "dropped", &more)]))
}

fn engagement(seed: &Seed) -> Draft {
    let browser = json!({ "useragent": "Mozilla/5.0", "ip": "192.0.2.7" });
    Draft::json(json!([
        event(seed, "open", &browser),
        event(seed, "click", &json!({ "url": "https://shop.example/offer", "ip": "192.0.2.7" })),
        event(seed, "spamreport", &Value::Null),
    ]))
}

fn unsubscribe(seed: &Seed) -> Draft {
    Draft::json(json!([event(seed, "group_unsubscribe", &json!({ "asm_group_id": 42 }))]))
}

fn account(seed: &Seed) -> Draft {
    Draft::json(json!([{
        "event": "account_status_change", "type": "compliance_suspend",
        "timestamp": seed.at.as_second(), "sg_event_id": URL_SAFE_NO_PAD.encode(&seed.nonce),
    }]))
}
