//! Signed requests with a recorded result: the hub's own, and the published ones of Meta, Telegram
//! and Standard Webhooks in `vectors/`. Those of other providers are in their folders.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "../src/vectors.rs"]
#[expect(dead_code, reason = "the crate's own tests use the rest")]
mod vectors;

use domain::webhook::{ParsedWebhook, Rejection, receive};
use domain::{Credentials, IntegrationId, Provider, TenantId};
use jiff::Timestamp;
use providers::{example, standard_webhooks, telegram, whatsapp_cloud};
use serde_json::{Value, json};
use vectors::Vector;

/// Returns the result of the request at the provider's first webhook.
fn received(provider: Provider, vector: &Vector) -> Result<ParsedWebhook, Rejection> {
    let names: &[&str] = match provider {
        Provider::WhatsappCloud => &[whatsapp_cloud::APP_SECRET, whatsapp_cloud::VERIFY_TOKEN],
        _ => &[telegram::WEBHOOK_SECRET],
    };
    let secret = || vec![vector.secret.as_str().into()];
    let credentials = Credentials::new(names.iter().map(|name| ((*name).to_owned(), secret())));
    let tenant: TenantId = "acme".parse().unwrap();
    let id = IntegrationId::derived(&["vectors"]);
    let integration = example::integration(provider, id, tenant).unwrap();
    let source = providers::webhook(provider).unwrap().source(&integration, &credentials);
    receive(&*source, &vector.request(), vector.now())
}

fn vector(headers: &Value, body: &str, secret: &str, accepted: bool) -> Vector {
    let vector = json!({ "name": headers.to_string(), "method": "POST", "path": "/",
        "headers": headers, "body": body, "secret": secret, "accepted": accepted });
    serde_json::from_value(vector).unwrap()
}

#[test]
fn the_hubs_own_vectors_of_meta_verify_as_recorded() {
    // Computed with Python's hmac, not with the code under test.
    let body = r#"{"object":"whatsapp_business_account","entry":[],"x":"\u00fc\/"}"#;
    let signed = json!({ "X-Hub-Signature-256": "sha256=348f948c8d177a9ec2fa1d3843d0ee6f6375a7ae7b206196a0b73586c0076cbc" });
    let post = |headers: &Value, body: &str, secret: &str, accepted: bool| {
        let vector = vector(headers, body, secret, accepted);
        vector.check(&received(Provider::WhatsappCloud, &vector));
    };
    post(&signed, body, "test-app-secret", true);
    post(&signed, &body.replace("\\u00fc", "ü"), "test-app-secret", false);
    post(&signed, body, "test-app-secret2", false);
    post(&signed, body, "", false);
    post(&json!({}), body, "test-app-secret", false);
    let sha1 = json!({ "X-Hub-Signature": "sha1=0000000000000000000000000000000000000000" });
    post(&sha1, body, "test-app-secret", false);
}

#[test]
fn the_hubs_own_vectors_of_standard_webhooks_verify_as_recorded() {
    // Computed with Python's hmac, not with the code under test.
    let headers = json!({ "webhook-id": "evt_1", "webhook-timestamp": "1795176000",
        "webhook-signature": "v1,K7ZHgHOtPCvCFiHxnExojdVNDzy+Ma5uAiKqoS39/Qw=" });
    let secret = "whsec_c3dpdGNoYm9hcmQtdGVzdC1zZWNyZXQtMDE=";
    let verify = |body: &str, second: i64, accepted: bool| {
        let now = Timestamp::from_second(second).unwrap();
        check_standard(&vector(&headers, body, secret, accepted), now);
    };
    verify(r#"{"type":"message.received"}"#, 1_795_176_000, true);
    verify(r#"{"type":"message.received"}"#, 1_795_176_300, true);
    verify(r#"{"type":"message.received"}"#, 1_795_176_301, false);
    verify(r#"{"type":"message.received"}"#, 1_795_175_699, false);
    verify(r#"{"type":"message.status"}"#, 1_795_176_000, false);
}

fn check_standard(vector: &Vector, now: Timestamp) {
    let request = vector.request();
    let secrets = [vector.secret.as_str().into()];
    let verified = standard_webhooks::verify(&secrets, &request.headers, &request.body, now);
    vector.check_verified(&verified);
}

fn check_all(provider: Provider, file: &str, count: usize) {
    vectors::check_all(file, count, |vector| received(provider, vector));
}

#[test]
fn every_published_vector_of_meta_verifies_as_recorded() {
    check_all(Provider::WhatsappCloud, include_str!("vectors/meta.json"), 31);
}

#[test]
fn every_published_vector_of_telegram_verifies_as_recorded() {
    check_all(Provider::Telegram, include_str!("vectors/telegram.json"), 5);
}

#[test]
fn every_published_vector_of_standard_webhooks_verifies_as_recorded() {
    for vector in vectors::read(include_str!("vectors/standard_webhooks.json"), 15) {
        check_standard(&vector, vector.now());
    }
}
