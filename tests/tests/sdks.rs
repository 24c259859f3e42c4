//! Webhooks accept requests that the providers' own libraries have just signed, and reject them
//! with one character changed. `cargo xtask test` runs `tests/sdks/sign.py` to sign them.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed test panics")]

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::integration::Integration;
use domain::webhook::{ParsedWebhook, Rejection, WebhookRequest, WebhookSource, receive};
use domain::{Credentials, IntegrationId, TenantId};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Sample {
    name: String,
    webhook: String,
    credentials: BTreeMap<String, Vec<String>>,
    settings: Map<String, Value>,
    now: i64,
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: String,
    signed: Vec<String>,
}

impl Sample {
    fn source(&self) -> Box<dyn WebhookSource> {
        let webhook = providers::webhooks().find(|webhook| webhook.name() == self.webhook);
        let webhook = webhook.expect("a webhook of that name");
        let secrets = |values: &[String]| values.iter().map(|v| v.as_str().into()).collect();
        let credentials = self.credentials.iter().map(|(name, v)| (name.clone(), secrets(v)));
        let credentials = Credentials::new(credentials);
        let integration = Integration {
            circuit: domain::circuit::Breaker::default(),
            id: IntegrationId::derived(&[&self.name]),
            tenant: "acme".parse::<TenantId>().unwrap(),
            provider: webhook.provider(),
            settings: (providers::spec(webhook.provider()).settings)(&self.settings).unwrap(),
            account: None,
            hints: BTreeMap::new(),
            created_at: Timestamp::UNIX_EPOCH,
            credentials_at: Timestamp::UNIX_EPOCH,
            tenant_credentials: std::collections::BTreeSet::new(),
            trusted_ingest: false,
        };
        webhook.source(&integration, &credentials)
    }

    fn request(&self) -> WebhookRequest {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().unwrap();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let query = url::Url::parse(&self.url).unwrap();
        WebhookRequest {
            method: self.method.parse().unwrap(),
            query: query.query_pairs().into_owned().collect(),
            headers,
            body: STANDARD.decode(&self.body).unwrap().into(),
            path_suffix: None,
            url: self.url.clone(),
            signing_certificate: None,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now).unwrap()
    }
}

/// Returns `text` with one letter or digit near `position` changed.
fn changed(text: &[u8], position: usize) -> Vec<u8> {
    let mut text = text.to_vec();
    let near = (position..text.len()).chain(0..position);
    let position = near.into_iter().find(|at| text.get(*at).is_some_and(u8::is_ascii_alphanumeric));
    if let Some(byte) = position.and_then(|position| text.get_mut(position)) {
        // Not only in case, because hexadecimal digits are case-insensitive.
        *byte = if byte.eq_ignore_ascii_case(&b'a') { b'b' } else { b'a' };
    }
    text
}

fn assert_rejected(signed: &Sample, request: &WebhookRequest, now: Timestamp, what: &str) {
    let received = receive(&*signed.source(), request, now);
    assert!(
        matches!(received, Err(Rejection::Unauthenticated(_))),
        "{}: accepted with a changed {what}",
        signed.name
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test, not a function: an environment variable names the file"
)]
fn requests_signed_by_provider_libraries_are_accepted_and_rejected_with_one_character_changed() {
    let path = std::env::var("SIGNED_REQUESTS").expect("SIGNED_REQUESTS names the signed requests");
    let lines = std::fs::read_to_string(path).unwrap();
    let mut webhooks = BTreeSet::new();
    for line in lines.lines() {
        let signed: Sample = serde_json::from_str(line).unwrap();
        let (request, now) = (signed.request(), signed.now());
        let delivery = receive(&*signed.source(), &request, now);
        let delivery = delivery.unwrap_or_else(|error| panic!("{}: {error}", signed.name));
        assert!(
            matches!(&delivery, ParsedWebhook::Events(events) if !events.is_empty()),
            "{}: {delivery:?}",
            signed.name
        );
        for position in (0..request.body.len()).step_by(request.body.len() / 16 + 1) {
            let body = changed(&request.body, position).into();
            assert_rejected(&signed, &WebhookRequest { body, ..request.clone() }, now, "body");
        }
        for name in &signed.signed {
            let mut other = request.clone();
            let value = other.headers.get_mut(name.as_str()).unwrap();
            let text = changed(value.as_bytes(), value.len() * 2 / 3);
            *value = HeaderValue::from_bytes(&text).unwrap();
            assert_rejected(&signed, &other, now, name);
        }
        if signed.name.starts_with("twilio") {
            let url = changed(request.url.as_bytes(), request.url.len() - 1);
            let url = String::from_utf8(url).unwrap();
            assert_rejected(&signed, &WebhookRequest { url, ..request.clone() }, now, "address");
        } else {
            assert_rejected(&signed, &request, now + SignedDuration::from_hours(48), "time");
        }
        webhooks.insert(signed.webhook);
    }
    assert!(webhooks.len() >= 9, "only {webhooks:?}");
}
