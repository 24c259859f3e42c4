//! Example webhooks in the shape Infobip documents, with a test secret. For tests, event files and
//! tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Credentials;
use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::example::{Answers, Draft, Example, Examples, Seed};

/// Infobip's responses to messages.
const ANSWERS: Answers = Answers {
    settings: || {
        let fields = [
            ("account", ACCOUNT),
            ("security", "basic"),
            ("base_url", "https://xxxxx.api.infobip.com"),
        ];
        fields.map(|(name, value)| (name.to_owned(), Value::from(value))).into_iter().collect()
    },
    accepted: || {
        let status = json!({ "groupId": 1, "groupName": "PENDING", "id": 7,
            "name": "PENDING_ENROUTE", "description": "Message sent to next instance" });
        let id = "a28dd97c-1ffb-4fcf-99f1-0b557ed381da";
        (200, json!({ "to": PERSON, "messageCount": 1, "messageId": id, "status": status }))
    },
    refused: |status| {
        let text = "Something went wrong. Please contact support.";
        let exception = json!({ "messageId": "GENERAL_ERROR", "text": text });
        [
            json!({ "requestError": { "serviceException": exception } }),
            json!({ "errorCode": format!("E{status}"), "description": text, "action": "Wait",
                "violations": [], "resources": [] }),
        ]
        .into()
    },
    in_doubt: Vec::new,
};

/// The example webhooks of Infobip.
pub static EXAMPLES: Examples = Examples {
    answers: Some(ANSWERS),
    events: &[
        Example { webhook: "infobip", name: "text", what: "A person sends a text", draft: a_text },
        Example {
            webhook: "infobip",
            name: "image_and_button",
            what: "A person sends a picture and presses a button",
            draft: image_and_button,
        },
        Example {
            webhook: "infobip",
            name: "delivered",
            what: "Two messages were delivered",
            draft: delivered,
        },
        Example {
            webhook: "infobip",
            name: "undeliverable",
            what: "A message could not be delivered",
            draft: undeliverable,
        },
        Example { webhook: "infobip", name: "seen", what: "A person read a message", draft: seen },
        Example {
            webhook: "infobip",
            name: "template_approved",
            what: "A template was approved",
            draft: template_approved,
        },
    ],
    unsigned_bodies: &[("infobip", "a password in a header, unless its profile signs")],
    credentials,
    settings: || {
        let fields = [("account", ACCOUNT), ("security", "basic")];
        fields.map(|(name, value)| (name.to_owned(), Value::from(value))).into_iter().collect()
    },
    sign: |_, draft, credentials, url, _| {
        let secret = credentials.first(super::WEBHOOK_SECRET);
        let secret = secret.map_or("", |secret| secret.expose_secret());
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(secret))) {
            headers.insert(header::AUTHORIZATION, value);
        }
        draft.request(draft.body.bytes(), headers, url)
    },
};

/// Webhook secret of the examples.
pub const WEBHOOK_SECRET: &str = "hub:test-infobip-password";
/// Number that the examples are sent to.
pub const ACCOUNT: &str = "4915550001111";
/// Customer of the examples.
pub const PERSON: &str = "4915550009999";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::API_KEY, "test-infobip-key"), (super::WEBHOOK_SECRET, WEBHOOK_SECRET)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns a time as Infobip writes it: without a colon in the offset.
#[must_use]
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

/// Returns a batch of incoming messages.
#[must_use]
pub fn inbound(results: &[Value]) -> Value {
    json!({ "results": results, "messageCount": results.len(), "pendingMessageCount": 0 })
}

/// Returns an incoming message.
#[must_use]
pub fn message(id: &str, message: &Value, at: Timestamp) -> Value {
    json!({
        "from": PERSON,
        "to": ACCOUNT,
        "integrationType": "WHATSAPP",
        "receivedAt": time(at),
        "messageId": id,
        "pairedMessageId": null,
        "callbackData": null,
        "message": message,
        "contact": { "name": "Zoë Müller" },
        "price": { "pricePerMessage": 0, "currency": "EUR" },
    })
}

fn a_text(seed: &Seed) -> Draft {
    let text = json!({ "type": "TEXT", "text": "Hello! Are you open today?" });
    Draft::json(inbound(&[message(&format!("wamid.{}", seed.nonce), &text, seed.at)]))
}

fn image_and_button(seed: &Seed) -> Draft {
    let url =
        format!("https://xxxxx.api.infobip.com/whatsapp/1/senders/{ACCOUNT}/media/{}", seed.nonce);
    let image = json!({ "type": "IMAGE", "caption": "Look", "url": url });
    let button = json!({
        "type": "INTERACTIVE_BUTTON_REPLY",
        "id": "yes",
        "title": "Yes",
        "context": { "from": ACCOUNT, "id": format!("wamid.{}Q", seed.nonce) },
    });
    let message = |part: &str, content: &Value| {
        message(&format!("wamid.{}{part}", seed.nonce), content, seed.at)
    };
    Draft::json(inbound(&[message("A", &image), message("B", &button)]))
}

/// Returns a delivery report.
#[must_use]
pub fn delivery(id: &str, group: (u32, &str), name: &str, at: Timestamp) -> Value {
    let failed = group.1 != "DELIVERED" && group.1 != "PENDING";
    let error = if failed {
        json!({
            "groupId": 1, "groupName": "HANDSET_ERRORS", "id": 1, "permanent": true,
            "name": "EC_UNKNOWN_SUBSCRIBER", "description": "Unknown Subscriber",
        })
    } else {
        json!({
            "groupId": 0, "groupName": "OK", "id": 0, "permanent": false,
            "name": "NO_ERROR", "description": "No Error",
        })
    };
    json!({
        "bulkId": "bulk-1",
        "messageId": id,
        "to": PERSON,
        "sentAt": time(at),
        "doneAt": time(at),
        "messageCount": 1,
        "price": { "pricePerMessage": 0.01, "currency": "EUR" },
        "status": {
            "groupId": group.0, "groupName": group.1, "id": 5,
            "name": name, "description": "As it says",
        },
        "error": error,
    })
}

fn delivered(seed: &Seed) -> Draft {
    let report = |part: &str| {
        let id = format!("{}-{part}", seed.nonce);
        delivery(&id, (3, "DELIVERED"), "DELIVERED_TO_HANDSET", seed.at)
    };
    Draft::json(json!({ "results": [report("1"), report("2")] }))
}

fn undeliverable(seed: &Seed) -> Draft {
    let name = "UNDELIVERABLE_NOT_DELIVERED";
    let report = delivery(&seed.nonce, (2, "UNDELIVERABLE"), name, seed.at);
    Draft::json(json!({ "results": [report] }))
}

fn seen(seed: &Seed) -> Draft {
    let report = json!({
        "messageId": seed.nonce,
        "from": ACCOUNT,
        "to": PERSON,
        "sentAt": time(seed.at),
        "seenAt": time(seed.at),
    });
    Draft::json(json!({ "results": [report] }))
}

fn template_approved(seed: &Seed) -> Draft {
    Draft::json(json!({
        "messageTemplateId": 111,
        "messageTemplateName": format!("reminder_{}", seed.nonce),
        "messageTemplateLanguage": "en",
        "timestamp": time(seed.at),
        "change": { "type": "TEMPLATE_STATUS_UPDATE", "newStatus": "APPROVED", "reason": "NONE" },
    }))
}
