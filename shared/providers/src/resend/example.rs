//! Example webhooks in the shape Resend documents, signed with a test secret. For tests, event
//! files and tools.

use domain::Credentials;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::example::{Draft, Example, Examples, Seed};
use crate::signature;
use crate::standard_webhooks::{self, SVIX_NAMES};

/// The example webhooks of Resend.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example { webhook: "resend", name: "sent", what: "Resend accepts an email", draft: sent },
        Example {
            webhook: "resend",
            name: "delivered",
            what: "An email is delivered",
            draft: delivered,
        },
        Example { webhook: "resend", name: "bounced", what: "An email bounces", draft: bounced },
        Example {
            webhook: "resend",
            name: "clicked",
            what: "A recipient clicks a link",
            draft: clicked,
        },
        Example {
            webhook: "resend",
            name: "received",
            what: "A person sends an email",
            draft: received,
        },
        Example {
            webhook: "resend",
            name: "contact",
            what: "A contact unsubscribes",
            draft: contact,
        },
    ],
    unsigned_bodies: &[],
    credentials,
    settings: Map::new,
    sign: |_, draft, credentials, url, at| {
        let body = draft.body.bytes();
        let id = signature::fingerprint(&body);
        let id = format!("msg_{}", id.get(..27).unwrap_or_default());
        let headers = headers(credentials.all(super::WEBHOOK_SECRET), &id, &body, at);
        draft.request(body, headers, url)
    },
};

/// Secret that signs the examples.
pub const WEBHOOK_SECRET: &str = "whsec_c3dpdGNoYm9hcmQtdGVzdC1zZWNyZXQtMDI=";
/// Sender and recipient of the examples.
pub const PERSON: &str = "zoe@example.com";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::API_KEY, "re_test_resend_key"), (super::WEBHOOK_SECRET, WEBHOOK_SECRET)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns the headers that sign a body at that time.
#[must_use]
pub fn headers(secrets: &[SecretString], id: &str, body: &[u8], at: Timestamp) -> HeaderMap {
    let signature = standard_webhooks::sign(secrets, id, at, body).unwrap_or_default();
    let proofs = [
        (SVIX_NAMES.id, id.to_owned()),
        (SVIX_NAMES.timestamp, at.as_second().to_string()),
        (SVIX_NAMES.signature, signature),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in proofs {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers
}

fn event(seed: &Seed, name: &str, data: &Value, more: &Value) -> Draft {
    let mut data = data.clone();
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more.clone());
    }
    Draft::json(json!({ "type": name, "created_at": seed.at.to_string(), "data": data }))
}

/// Returns an event about the seed's email. `more` has the fields of its type.
fn mail(seed: &Seed, name: &str, more: &Value) -> Draft {
    let data = json!({
        "email_id": seed.nonce, "created_at": seed.at.to_string(), "subject": "Your order",
        "from": "Shop <shop@mail.example.org>", "to": [PERSON], "tags": { "category": "order" },
    });
    event(seed, name, &data, more)
}

fn sent(seed: &Seed) -> Draft {
    mail(seed, "email.sent", &Value::Null)
}

fn delivered(seed: &Seed) -> Draft {
    mail(seed, "email.delivered", &Value::Null)
}

fn bounced(seed: &Seed) -> Draft {
    let bounce = json!({
        "type": "Permanent", "subType": "General", "message": "The mailbox does not exist",
        "diagnosticCode": ["smtp; 550 5.1.1 user unknown"],
    });
    mail(seed, "email.bounced", &json!({ "bounce": bounce }))
}

fn clicked(seed: &Seed) -> Draft {
    let click = json!({
        "ipAddress": "192.0.2.7", "link": "https://shop.example/offer",
        "timestamp": seed.at.to_string(), "userAgent": "Mozilla/5.0",
    });
    mail(seed, "email.clicked", &json!({ "click": click }))
}

fn received(seed: &Seed) -> Draft {
    let more = json!({
        "from": "Zoë Müller <zoe@example.com>", "to": ["help@mail.example.org"],
        "cc": [], "bcc": [],
        "subject": "Opening hours", "message_id": format!("<{}@example.com>", seed.nonce),
        "attachments": [],
    });
    mail(seed, "email.received", &more)
}

fn contact(seed: &Seed) -> Draft {
    let data = json!({
        "id": seed.nonce, "audience_id": "example-audience", "segment_ids": [], "email": PERSON,
        "created_at": seed.at.to_string(), "updated_at": seed.at.to_string(),
        "first_name": "Zoë", "last_name": "Müller", "unsubscribed": true,
    });
    event(seed, "contact.updated", &data, &Value::Null)
}
