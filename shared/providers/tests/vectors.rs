//! Signed requests with a known verdict: our own, and every one of the contracts folder when
//! the contracts folder stands beside the checkout.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::webhook::{Delivery, WebhookRequest, receive};
use domain::{Credentials, Provider};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use providers::{standard_webhooks, telegram, whatsapp};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Vector {
    id: String,
    method: String,
    url: String,
    headers: std::collections::BTreeMap<String, String>,
    body_base64: Option<String>,
    secret: String,
    expect: String,
    now: Option<i64>,
    expect_response: Option<Value>,
}

impl Vector {
    fn request(&self) -> WebhookRequest {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let query = self.url.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        WebhookRequest {
            method: self.method.parse().unwrap(),
            query: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            headers,
            body: STANDARD.decode(self.body_base64.as_deref().unwrap_or_default()).unwrap().into(),
            path_suffix: None,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now.unwrap_or_default()).unwrap()
    }

    /// Whether it is from the provider, and what follows.
    fn verdict(&self, provider: Provider) -> (bool, Option<Delivery>) {
        let names: &[&str] = match provider {
            Provider::Whatsapp => &[whatsapp::APP_SECRET, whatsapp::VERIFY_TOKEN],
            Provider::Telegram => &[telegram::WEBHOOK_SECRET],
        };
        let secret = || vec![self.secret.as_str().into()];
        let credentials = Credentials::new(names.iter().map(|name| ((*name).to_owned(), secret())));
        let source = providers::webhook(provider).source(&credentials, None);
        let request = self.request();
        let accepted = source.verify(&request, self.now()).is_ok();
        (accepted, receive(&*source, &request, self.now()).ok())
    }

    fn check(&self, accepted: bool) {
        assert_eq!(accepted, self.expect == "accept", "{}", self.id);
    }
}

fn vector(
    method: &str,
    url: &str,
    headers: &Value,
    body: &str,
    secret: &str,
    expect: &str,
) -> Vector {
    let vector = json!({ "id": format!("{method} {url} {headers}"), "method": method, "url": url,
        "headers": headers, "body_base64": STANDARD.encode(body), "secret": secret,
        "expect": expect });
    serde_json::from_value(vector).unwrap()
}

/// The contracts folder, if it stands beside the checkout.
fn contracts(name: &str) -> Vec<Vector> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/contracts/vectors");
    let path: PathBuf = beside.join(name).with_extension("json");
    std::fs::read(path).map_or_else(|_| Vec::new(), |file| serde_json::from_slice(&file).unwrap())
}

#[test]
fn our_own_vectors_of_meta_get_their_verdict() {
    // Computed with Python's hmac, not with the code under test.
    let body = r#"{"object":"whatsapp_business_account","entry":[],"x":"\u00fc\/"}"#;
    let signed = json!({ "X-Hub-Signature-256": "sha256=348f948c8d177a9ec2fa1d3843d0ee6f6375a7ae7b206196a0b73586c0076cbc" });
    let post = |headers: &Value, body: &str, secret: &str, expect: &str| {
        let vector = vector("POST", "https://h/", headers, body, secret, expect);
        vector.check(vector.verdict(Provider::Whatsapp).0);
    };
    post(&signed, body, "test-app-secret", "accept");
    post(&signed, &body.replace("\\u00fc", "ü"), "test-app-secret", "reject");
    post(&signed, body, "test-app-secret2", "reject");
    post(&signed, body, "", "reject");
    post(&json!({}), body, "test-app-secret", "reject");
    let sha1 = json!({ "X-Hub-Signature": "sha1=0000000000000000000000000000000000000000" });
    post(&sha1, body, "test-app-secret", "reject");
}

#[test]
fn our_own_vectors_of_standard_webhooks_get_their_verdict() {
    // Computed with Python's hmac, not with the code under test.
    let headers = json!({ "webhook-id": "evt_1", "webhook-timestamp": "1795176000",
        "webhook-signature": "v1,K7ZHgHOtPCvCFiHxnExojdVNDzy+Ma5uAiKqoS39/Qw=" });
    let secret = "whsec_c3dpdGNoYm9hcmQtdGVzdC1zZWNyZXQtMDE=";
    let verify = |body: &str, second: i64, expect: &str| {
        let mut vector = vector("POST", "https://h/", &headers, body, secret, expect);
        vector.now = Some(second);
        vector.check(is_standard(&vector));
    };
    verify(r#"{"type":"message.received"}"#, 1_795_176_000, "accept");
    verify(r#"{"type":"message.received"}"#, 1_795_176_300, "accept");
    verify(r#"{"type":"message.received"}"#, 1_795_176_301, "reject");
    verify(r#"{"type":"message.received"}"#, 1_795_175_699, "reject");
    verify(r#"{"type":"message.status"}"#, 1_795_176_000, "reject");
}

fn is_standard(vector: &Vector) -> bool {
    let request = vector.request();
    let secrets = [vector.secret.as_str().into()];
    standard_webhooks::verify(&secrets, &request.headers, &request.body, vector.now()).is_ok()
}

#[test]
fn every_vector_of_meta_gets_its_verdict() {
    for vector in contracts("meta") {
        let (accepted, delivery) = vector.verdict(Provider::Whatsapp);
        vector.check(accepted);
        match delivery {
            Some(Delivery::Handshake(reply)) => {
                let expected = vector.expect_response.as_ref().unwrap();
                assert_eq!(expected["body"], reply.body, "{}", vector.id);
            }
            Some(Delivery::Events(events)) => assert!(!events.is_empty(), "{}", vector.id),
            // Facebook's own pages and GitHub's vector prove the arithmetic, and are no
            // messages.
            None => assert!(!accepted || !vector.url.ends_with("/whatsapp"), "{}", vector.id),
        }
    }
}

#[test]
fn every_vector_of_telegram_gets_its_verdict() {
    for vector in contracts("telegram") {
        vector.check(vector.verdict(Provider::Telegram).0);
    }
}

#[test]
fn every_vector_of_standard_webhooks_gets_its_verdict() {
    for vector in contracts("standardwebhooks") {
        vector.check(is_standard(&vector));
    }
}
