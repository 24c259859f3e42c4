//! Example webhooks in the shape Stripe documents, signed with a test secret. For tests, event
//! files and tools.

use domain::Credentials;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Draft, Example, Examples, Seed};
use crate::signature::hmac_sha256;

/// The example webhooks of Stripe.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example {
            webhook: "stripe",
            name: "checkout",
            what: "A customer completes a checkout and subscribes",
            draft: checkout,
        },
        Example {
            webhook: "stripe",
            name: "subscription_updated",
            what: "A subscription changes",
            draft: subscription_updated,
        },
        Example {
            webhook: "stripe",
            name: "subscription_deleted",
            what: "A subscription ends",
            draft: subscription_deleted,
        },
        Example {
            webhook: "stripe",
            name: "invoice_paid",
            what: "An invoice is paid",
            draft: invoice_paid,
        },
        Example {
            webhook: "stripe",
            name: "payment_failed",
            what: "A payment of an invoice fails, in the format of API versions before 2025",
            draft: payment_failed,
        },
        Example {
            webhook: "stripe",
            name: "connected_charge",
            what: "A customer pays a connected account",
            draft: connected_charge,
        },
        Example {
            webhook: "stripe",
            name: "thin",
            what: "A connected account creates a customer, as a thin event",
            draft: thin,
        },
    ],
    unsigned_bodies: &[],
    credentials,
    settings: Map::new,
    sign: |_, draft, credentials, url, at| {
        let secret = credentials.first(super::WEBHOOK_SECRET);
        let secret = secret.map_or("", |secret| secret.expose_secret());
        let body = draft.body.bytes();
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&signature(secret, &body, at)) {
            headers.insert("stripe-signature", value);
        }
        draft.request(body, headers, url)
    },
};

/// Secret that signs the examples.
pub const WEBHOOK_SECRET: &str = "whsec_test_stripe_secret";
/// Connected account of the examples that come through a platform.
pub const CONNECTED_ACCOUNT: &str = "acct_1ExampleConnected";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::SECRET_KEY, "test-stripe-key"), (super::WEBHOOK_SECRET, WEBHOOK_SECRET)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns the value of the header `Stripe-Signature`.
#[must_use]
pub fn signature(secret: &str, body: &[u8], at: Timestamp) -> String {
    let second = at.as_second().to_string();
    let tag = hmac_sha256(secret.as_bytes(), &[second.as_bytes(), b".", body]);
    format!("t={second},v1={}", hex::encode(tag))
}

/// Returns an event about `object`.
fn event(seed: &Seed, name: &str, object: &Value) -> Value {
    json!({
        "id": format!("evt_{}", seed.nonce), "object": "event", "type": name,
        "api_version": "2026-07-29.dahlia", "created": seed.at.as_second(), "livemode": false,
        "pending_webhooks": 1, "request": { "id": null, "idempotency_key": null },
        "data": { "object": object },
    })
}

fn customer(seed: &Seed) -> String {
    format!("cus_{}", seed.nonce)
}

fn subscription_id(seed: &Seed) -> String {
    format!("sub_{}", seed.nonce)
}

fn checkout(seed: &Seed) -> Draft {
    let session = json!({
        "id": format!("cs_test_{}", seed.nonce), "object": "checkout.session",
        "mode": "subscription", "status": "complete", "payment_status": "paid",
        "amount_total": 2000, "currency": "eur", "client_reference_id": "order-17",
        "customer": customer(seed), "subscription": subscription_id(seed),
    });
    Draft::json(event(seed, "checkout.session.completed", &session))
}

fn subscription(seed: &Seed, status: &str) -> Value {
    let item = json!({
        "id": format!("si_{}", seed.nonce), "object": "subscription_item", "quantity": 1,
        "current_period_end": seed.at.as_second() + 2_592_000,
    });
    json!({
        "id": subscription_id(seed), "object": "subscription", "status": status,
        "customer": customer(seed), "cancel_at_period_end": false,
        "items": { "object": "list", "data": [item] },
    })
}

fn subscription_updated(seed: &Seed) -> Draft {
    let mut event = event(seed, "customer.subscription.updated", &subscription(seed, "past_due"));
    if let Some(Value::Object(data)) = event.get_mut("data") {
        data.insert("previous_attributes".to_owned(), json!({ "status": "active" }));
    }
    Draft::json(event)
}

fn subscription_deleted(seed: &Seed) -> Draft {
    let ended = subscription(seed, "canceled");
    Draft::json(event(seed, "customer.subscription.deleted", &ended))
}

/// Returns an invoice. `more` names the subscription, as the API version does.
fn invoice(seed: &Seed, status: &str, more: &Value) -> Value {
    let mut invoice = json!({
        "id": format!("in_{}", seed.nonce), "object": "invoice", "status": status,
        "billing_reason": "subscription_cycle", "customer": customer(seed),
        "amount_due": 2000, "amount_paid": if status == "paid" { 2000 } else { 0 },
        "currency": "eur", "attempt_count": 1,
    });
    if let (Value::Object(invoice), Value::Object(more)) = (&mut invoice, more) {
        invoice.extend(more.clone());
    }
    invoice
}

fn invoice_paid(seed: &Seed) -> Draft {
    let details = json!({ "subscription": subscription_id(seed), "metadata": {} });
    let parent = json!({ "type": "subscription_details", "subscription_details": details });
    Draft::json(event(seed, "invoice.paid", &invoice(seed, "paid", &json!({ "parent": parent }))))
}

fn payment_failed(seed: &Seed) -> Draft {
    let more = json!({ "subscription": subscription_id(seed) });
    let mut event = event(seed, "invoice.payment_failed", &invoice(seed, "open", &more));
    if let Value::Object(event) = &mut event {
        event.insert("api_version".to_owned(), "2023-08-16".into());
    }
    Draft::json(event)
}

fn connected_charge(seed: &Seed) -> Draft {
    let charge = json!({
        "id": format!("ch_{}", seed.nonce), "object": "charge", "status": "succeeded",
        "amount": 1500, "currency": "eur", "paid": true, "customer": customer(seed),
    });
    let mut event = event(seed, "charge.succeeded", &charge);
    if let Value::Object(event) = &mut event {
        event.insert("account".to_owned(), CONNECTED_ACCOUNT.into());
    }
    Draft::json(event)
}

fn thin(seed: &Seed) -> Draft {
    let id = customer(seed);
    let url = format!("/v1/customers/{id}");
    Draft::json(json!({
        "id": format!("evt_{}", seed.nonce), "object": "v2.core.event",
        "type": "v1.customer.created", "created": seed.at.to_string(), "livemode": false,
        "context": CONNECTED_ACCOUNT, "reason": null,
        "related_object": { "id": id, "type": "customer", "url": url },
    }))
}
