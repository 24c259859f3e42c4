//! Signed requests with a recorded result: the hub's own, and the published ones of Meta, Telegram
//! and Standard Webhooks in `vectors/`. Those of other providers are in their folders.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use domain::event::EventKind;
use domain::webhook::{ParsedWebhook, Rejection, WebhookRequest, receive};
use domain::{Credentials, IntegrationId, Provider, TenantId};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use providers::{example, form, standard_webhooks, telegram, whatsapp_cloud};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    accepted: bool,
    #[serde(rename = "note")]
    _note: Option<String>,
    method: String,
    path: String,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
    secret: String,
    now: Option<i64>,
    /// The result: a word for each event, a handshake's response, or the kind of rejection.
    makes: Option<String>,
}

impl Vector {
    fn request(&self) -> WebhookRequest {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        WebhookRequest {
            method: self.method.parse().unwrap(),
            query: form::decode(query.as_bytes()),
            headers,
            body: self.body.clone().into(),
            url: format!("https://hub.example.com{}", self.path),
            ..WebhookRequest::default()
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now.unwrap_or_default()).unwrap()
    }

    /// Returns whether the request is authentic, and its result.
    fn result(&self, provider: Provider) -> (bool, String) {
        let names: &[&str] = match provider {
            Provider::WhatsappCloud => &[whatsapp_cloud::APP_SECRET, whatsapp_cloud::VERIFY_TOKEN],
            _ => &[telegram::WEBHOOK_SECRET],
        };
        let secret = || vec![self.secret.as_str().into()];
        let credentials = Credentials::new(names.iter().map(|name| ((*name).to_owned(), secret())));
        let tenant: TenantId = "acme".parse().unwrap();
        let id = IntegrationId::derived(&["vectors"]);
        let integration = example::integration(provider, id, tenant).unwrap();
        let source = providers::webhook(provider).source(&integration, &credentials);
        let request = self.request();
        let accepted = source.verify(&request, self.now()).is_ok();
        (accepted, result_words(receive(&*source, &request, self.now())))
    }

    fn check(&self, accepted: bool) {
        assert_eq!(accepted, self.accepted, "{}", self.name);
    }
}

fn result_words(result: Result<ParsedWebhook, Rejection>) -> String {
    match result {
        Ok(ParsedWebhook::Handshake(reply)) => reply.body,
        Ok(ParsedWebhook::Confirm(_)) => "confirm".to_owned(),
        Ok(ParsedWebhook::Events(events)) => {
            let result_words = events.iter().map(|event| match &event.kind {
                EventKind::Message(message) => message.content.kind(),
                EventKind::Receipt(receipt) => receipt.status.as_str(),
                EventKind::Other { .. } => "other",
            });
            result_words.collect::<Vec<_>>().join(" ")
        }
        Err(Rejection::Unauthenticated(_)) => "unauthenticated".to_owned(),
        Err(Rejection::Forbidden(_)) => "forbidden".to_owned(),
        Err(Rejection::Unreadable(_)) => "unreadable".to_owned(),
        Err(Rejection::Invalid(_)) => "invalid".to_owned(),
        Err(Rejection::TooLarge(_)) => "too_large".to_owned(),
    }
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
        vector.check(vector.result(Provider::WhatsappCloud).0);
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
        let mut vector = vector(&headers, body, secret, accepted);
        vector.now = Some(second);
        vector.check(is_standard(&vector));
    };
    verify(r#"{"type":"message.received"}"#, 1_795_176_000, true);
    verify(r#"{"type":"message.received"}"#, 1_795_176_300, true);
    verify(r#"{"type":"message.received"}"#, 1_795_176_301, false);
    verify(r#"{"type":"message.received"}"#, 1_795_175_699, false);
    verify(r#"{"type":"message.status"}"#, 1_795_176_000, false);
}

fn is_standard(vector: &Vector) -> bool {
    let request = vector.request();
    let secrets = [vector.secret.as_str().into()];
    standard_webhooks::verify(&secrets, &request.headers, &request.body, vector.now()).is_ok()
}

fn published(file: &str) -> Vec<Vector> {
    let vectors: Vec<Vector> = serde_json::from_str(file).unwrap();
    assert!(vectors.iter().any(|vector| vector.accepted));
    assert!(vectors.iter().any(|vector| !vector.accepted));
    vectors
}

fn check_all(provider: Provider, file: &str) {
    let mut wrong = Vec::new();
    for vector in published(file) {
        let (accepted, makes) = vector.result(provider);
        vector.check(accepted);
        if vector.makes.as_deref() != Some(&makes) {
            wrong.push(format!("{}: {makes}", vector.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_published_vector_of_meta_verifies_as_recorded() {
    check_all(Provider::WhatsappCloud, include_str!("vectors/meta.json"));
}

#[test]
fn every_published_vector_of_telegram_verifies_as_recorded() {
    check_all(Provider::Telegram, include_str!("vectors/telegram.json"));
}

#[test]
fn every_published_vector_of_standard_webhooks_verifies_as_recorded() {
    for vector in published(include_str!("vectors/standard_webhooks.json")) {
        vector.check(is_standard(&vector));
    }
}
