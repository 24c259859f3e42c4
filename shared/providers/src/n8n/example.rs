//! Example webhooks of a workflow, in the shapes of the README, with a test secret. For tests,
//! event files and tools.

use domain::{ConversationId, Credentials};
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::webhook;
use crate::example::{Draft, Example, Examples, Seed};
use crate::standard_webhooks;

const AI_RESPONSE: &str = "n8n-ai-response";
const HUMAN_TAKEOVER: &str = "n8n-human-takeover";

/// The example webhooks of n8n.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example {
            webhook: AI_RESPONSE,
            name: "answer",
            what: "A workflow answers with a text",
            draft: answer,
        },
        Example {
            webhook: AI_RESPONSE,
            name: "choice",
            what: "A workflow answers with buttons",
            draft: choice,
        },
        Example {
            webhook: AI_RESPONSE,
            name: "signed",
            what: "A workflow answers with a signed request",
            draft: signed,
        },
        Example {
            webhook: HUMAN_TAKEOVER,
            name: "takeover",
            what: "A workflow requests a human takeover",
            draft: takeover,
        },
        Example {
            webhook: HUMAN_TAKEOVER,
            name: "takeover_by",
            what: "A workflow requests a takeover by one person",
            draft: takeover_by,
        },
        Example {
            webhook: HUMAN_TAKEOVER,
            name: "takeover_signed",
            what: "A workflow requests a human takeover with a signed request",
            draft: takeover_signed,
        },
    ],
    unsigned_bodies: &[
        (AI_RESPONSE, "a secret in a header, unless the workflow signs too"),
        (HUMAN_TAKEOVER, "a secret in a header, unless the workflow signs too"),
    ],
    credentials,
    settings: Map::new,
    sign: |_, draft, credentials, url, at| {
        let secret = credentials.first(super::WEBHOOK_SECRET);
        let mut headers = HeaderMap::new();
        let plain = secret.map_or("", |secret| secret.expose_secret());
        if let Ok(value) = HeaderValue::from_str(plain) {
            headers.insert(webhook::SECRET, value);
        }
        let body = draft.body.bytes();
        // A request with an id to sign is signed.
        let id = draft.headers.get(standard_webhooks::ID).and_then(|id| id.to_str().ok());
        if let (Some(id), Some(secret)) = (id, secret)
            && let Ok(signature) =
                standard_webhooks::sign(std::slice::from_ref(secret), id, at, &body)
            && let Ok(signature) = HeaderValue::from_str(&signature)
        {
            headers.insert(standard_webhooks::TIMESTAMP, HeaderValue::from(at.as_second()));
            headers.insert(standard_webhooks::SIGNATURE, signature);
        }
        draft.request(body, headers, url)
    },
};

/// Secret that the examples send and sign with.
pub const WEBHOOK_SECRET: &str = "whsec_dGVzdC1uOG4tc2VjcmV0LXRlc3QtbjhuLXNlY3JldA==";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials::new([(super::WEBHOOK_SECRET.to_owned(), vec![WEBHOOK_SECRET.into()])])
}

/// Returns a conversation id.
#[must_use]
pub fn conversation() -> ConversationId {
    ConversationId::derived(&["example"])
}

/// Returns a body about [`conversation`], with `fields` in addition.
#[must_use]
pub fn body(fields: &Value) -> Value {
    let mut body = json!({ "conversation": conversation(), "epoch": 3 });
    if let (Value::Object(body), Value::Object(fields)) = (&mut body, fields) {
        body.extend(fields.clone());
    }
    body
}

/// Returns a body with a header that identifies the request.
fn named(fields: &Value, name: &'static str, seed: &Seed) -> Draft {
    let mut draft = Draft::json(body(fields));
    if let Ok(value) = HeaderValue::from_str(&format!("run-{}", seed.nonce)) {
        draft.headers.insert(name, value);
    }
    draft
}

fn answer(seed: &Seed) -> Draft {
    named(&json!({ "text": "We are open until six." }), webhook::IDEMPOTENCY_KEY, seed)
}

fn choice(seed: &Seed) -> Draft {
    let interactive = json!({
        "type": "button",
        "body": "Which day suits you?",
        "buttons": [{ "id": "mon", "title": "Monday" }, { "id": "tue", "title": "Tuesday" }],
    });
    Draft::json(body(&json!({
        "content": { "type": "interactive", "interactive": interactive },
        "idempotency_key": format!("run-{}", seed.nonce),
        "metadata": { "workflow": "booking", "model": "small" },
    })))
}

fn signed(seed: &Seed) -> Draft {
    named(&json!({ "text": "We are open until six." }), standard_webhooks::ID, seed)
}

fn takeover(seed: &Seed) -> Draft {
    let fields = json!({ "reason": "The person asks for a refund" });
    named(&fields, webhook::IDEMPOTENCY_KEY, seed)
}

fn takeover_by(seed: &Seed) -> Draft {
    Draft::json(body(&json!({
        "reason": null,
        "assignee": "front-desk",
        "idempotency_key": format!("run-{}", seed.nonce),
    })))
}

fn takeover_signed(seed: &Seed) -> Draft {
    named(&json!({}), standard_webhooks::ID, seed)
}
