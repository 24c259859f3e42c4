//! Example webhooks in the shapes GoHighLevel documents, signed with a test key.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Credentials;
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::webhook::SIGNATURE;
use crate::example::{Draft, Example, Examples, Seed};

/// The example webhooks of GoHighLevel.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example {
            webhook: "ghl",
            name: "installed",
            what: "An app is installed in a location",
            draft: installed,
        },
        Example {
            webhook: "ghl",
            name: "uninstalled",
            what: "An app is uninstalled from a location",
            draft: uninstalled,
        },
        Example {
            webhook: "ghl",
            name: "inbound_message",
            what: "A contact sends an SMS",
            draft: inbound_message,
        },
        Example {
            webhook: "ghl",
            name: "outbound_message",
            what: "A user sends a message to a contact",
            draft: outbound_message,
        },
        Example {
            webhook: "ghl",
            name: "delivery",
            what: "A conversation provider is asked to deliver an SMS",
            draft: delivery,
        },
        Example {
            webhook: "ghl",
            name: "contact_created",
            what: "A contact is created",
            draft: contact_created,
        },
        Example {
            webhook: "ghl",
            name: "opportunity_won",
            what: "The status of an opportunity changes",
            draft: opportunity_won,
        },
        Example {
            webhook: "workflow-action",
            name: "app_action",
            what: "A workflow runs an app's own action",
            draft: app_action,
        },
        Example {
            webhook: "workflow-action",
            name: "webhook_action",
            what: "A workflow runs the action \"Webhook\"",
            draft: webhook_action,
        },
        Example {
            webhook: "workflow-action",
            name: "custom_webhook",
            what: "A workflow runs the action \"Custom Webhook\"",
            draft: custom_webhook,
        },
    ],
    unsigned_bodies: &[("workflow-action", "a token in a header")],
    credentials,
    settings,
    sign: |example, draft, credentials, url, _| {
        let body = draft.body.bytes();
        let mut headers = HeaderMap::new();
        let (name, value) = if example.webhook == "workflow-action" {
            let token = credentials.first(super::WORKFLOW_TOKEN);
            let token = token.map_or("", |token| token.expose_secret());
            ("authorization", format!("Bearer {token}"))
        } else {
            (SIGNATURE, signature(&body))
        };
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
        draft.request(body, headers, url)
    },
};

/// Seed of the key that signs the examples.
const KEY_SEED: [u8; 32] = *b"a test key of the hub's examples";
/// App of the examples.
const APP: &str = "6840d1f2a7c9b3e5d8f01234";
/// Agency of the examples.
const COMPANY: &str = "hubExampleCompany001";
/// Location of the examples.
pub const LOCATION: &str = "hubExampleLocation01";
/// Contact of the examples.
pub const CONTACT: &str = "hubExampleContact001";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [
        (super::CLIENT_ID, "6840d1f2a7c9b3e5d8f01234-test"),
        (super::CLIENT_SECRET, "test-client-secret"),
        (super::WORKFLOW_TOKEN, "test-workflow-token"),
    ];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

fn settings() -> Map<String, Value> {
    let keys = json!({ "ed25519": [public_key()], "rsa": [] });
    Map::from_iter([("account".to_owned(), LOCATION.into()), ("public_keys".to_owned(), keys)])
}

/// Returns the public key that verifies the examples, in the form of the settings.
#[must_use]
pub fn public_key() -> String {
    // DER header before the 32 bytes of the key: RFC 8410, section 4.
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    if let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&KEY_SEED) {
        der.extend_from_slice(pair.public_key().as_ref());
    }
    STANDARD.encode(der)
}

/// Returns the signature of `body` with the key of the examples.
#[must_use]
pub fn signature(body: &[u8]) -> String {
    let pair = Ed25519KeyPair::from_seed_unchecked(&KEY_SEED);
    pair.map_or_else(|_| String::new(), |pair| STANDARD.encode(pair.sign(body)))
}

/// Returns a webhook of an app, of type `kind` with the fields in `what`.
fn app(seed: &Seed, kind: &str, what: Value) -> Draft {
    let mut body = json!({
        "type": kind,
        "timestamp": seed.at.to_string(),
        "webhookId": format!("wh-{}", seed.nonce),
        "locationId": LOCATION,
    });
    if let (Value::Object(body), Value::Object(what)) = (&mut body, what) {
        body.extend(what);
    }
    Draft::json(body)
}

fn installed(seed: &Seed) -> Draft {
    let what = json!({ "appId": APP, "companyId": COMPANY, "companyName": "Example & Söhne" });
    app(seed, "INSTALL", what)
}

fn uninstalled(seed: &Seed) -> Draft {
    app(seed, "UNINSTALL", json!({ "appId": APP, "companyId": COMPANY }))
}

fn message(seed: &Seed, direction: &str, body: &str) -> Value {
    json!({
        "appId": APP,
        "attachments": [],
        "body": body,
        "contactId": CONTACT,
        "contentType": "text/plain",
        "conversationId": "hubExampleTalk000001",
        "conversationProviderId": "hubExampleProvider01",
        "dateAdded": seed.at.to_string(),
        "direction": direction,
        "messageId": format!("msg{}", seed.nonce),
        "messageType": "SMS",
        "status": "delivered",
    })
}

fn inbound_message(seed: &Seed) -> Draft {
    app(seed, "InboundMessage", message(seed, "inbound", "Is Grüner Veltliner in stock?"))
}

fn outbound_message(seed: &Seed) -> Draft {
    app(seed, "OutboundMessage", message(seed, "outbound", "Yes: come by until six."))
}

fn delivery(seed: &Seed) -> Draft {
    Draft::json(json!({
        "contactId": CONTACT,
        "locationId": LOCATION,
        "messageId": format!("msg{}", seed.nonce),
        "type": "SMS",
        "phone": "+15005550006",
        "message": "Your table is ready.",
        "attachments": [],
        "userId": "hubExampleUser000001",
    }))
}

fn contact_created(seed: &Seed) -> Draft {
    let what = json!({
        "id": format!("contact{}", seed.nonce),
        "firstName": "Zoë",
        "lastName": "Example",
        "email": "zoe@example.com",
        "tags": ["newsletter"],
        "dateAdded": seed.at.to_string(),
    });
    app(seed, "ContactCreate", what)
}

fn opportunity_won(seed: &Seed) -> Draft {
    let what = json!({
        "id": format!("opportunity{}", seed.nonce),
        "contactId": CONTACT,
        "name": "Twelve bottles",
        "monetaryValue": 148.5,
        "status": "won",
        "dateAdded": seed.at.to_string(),
    });
    app(seed, "OpportunityStatusUpdate", what)
}

fn app_action(seed: &Seed) -> Draft {
    Draft::json(json!({
        "data": { "executionId": format!("run-{}", seed.nonce), "note": "Call back" },
        "extras": {
            "locationId": LOCATION,
            "contactId": CONTACT,
            "workflowId": "hubExampleFlow000001",
        },
        "meta": { "key": "hub_example", "version": "1.0" },
    }))
}

fn webhook_action(seed: &Seed) -> Draft {
    Draft::json(json!({
        "contact_id": CONTACT,
        "full_name": "Zoë Example",
        "email": "zoe@example.com",
        "location": { "id": LOCATION, "name": "Example & Söhne" },
        "workflow": { "id": "hubExampleFlow000001", "name": "Follow up" },
        "customData": { "event_id": format!("run-{}", seed.nonce) },
    }))
}

fn custom_webhook(seed: &Seed) -> Draft {
    Draft::json(json!({
        "locationId": LOCATION,
        "contactId": CONTACT,
        "timestamp": seed.at.to_string(),
        "note": seed.nonce,
    }))
}
