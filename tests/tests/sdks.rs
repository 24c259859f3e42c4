//! Requests that the providers' own libraries signed a moment ago are accepted, and refused with
//! one character changed. `cargo xtask test` has `tests/sdks/sign.py` sign them.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::integration::Integration;
use domain::webhook::{Delivery, Rejection, WebhookRequest, WebhookSource, receive};
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
            settings: (providers::entry(webhook.provider()).settings)(&self.settings).unwrap(),
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
            evidence: None,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now).unwrap()
    }
}

/// `text` with one letter or digit near `place` changed.
fn changed(text: &[u8], place: usize) -> Vec<u8> {
    let mut text = text.to_vec();
    let near = (place..text.len()).chain(0..place);
    let place = near.into_iter().find(|at| text.get(*at).is_some_and(u8::is_ascii_alphanumeric));
    if let Some(byte) = place.and_then(|place| text.get_mut(place)) {
        // Not only in case: hexadecimal digits mean the same in both.
        *byte = if byte.eq_ignore_ascii_case(&b'a') { b'b' } else { b'a' };
    }
    text
}

fn refused(signed: &Sample, request: &WebhookRequest, now: Timestamp, what: &str) {
    let proved = receive(&*signed.source(), request, now);
    assert!(
        matches!(proved, Err(Rejection::Unauthenticated(_))),
        "{}: accepted with another {what}",
        signed.name
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "this is no function: the test's caller names a file"
)]
fn what_the_providers_own_libraries_sign_is_accepted_and_not_with_one_character_changed() {
    let path = std::env::var("SIGNED_REQUESTS").expect("SIGNED_REQUESTS names the signed requests");
    let lines = std::fs::read_to_string(path).unwrap();
    let mut webhooks = BTreeSet::new();
    for line in lines.lines() {
        let signed: Sample = serde_json::from_str(line).unwrap();
        let (request, now) = (signed.request(), signed.now());
        let delivery = receive(&*signed.source(), &request, now);
        let delivery = delivery.unwrap_or_else(|error| panic!("{}: {error}", signed.name));
        assert!(
            matches!(&delivery, Delivery::Events(events) if !events.is_empty()),
            "{}: {delivery:?}",
            signed.name
        );
        for place in (0..request.body.len()).step_by(request.body.len() / 16 + 1) {
            let body = changed(&request.body, place).into();
            refused(&signed, &WebhookRequest { body, ..request.clone() }, now, "body");
        }
        for name in &signed.signed {
            let mut other = request.clone();
            let value = other.headers.get_mut(name.as_str()).unwrap();
            let text = changed(value.as_bytes(), value.len() * 2 / 3);
            *value = HeaderValue::from_bytes(&text).unwrap();
            refused(&signed, &other, now, name);
        }
        if signed.name.starts_with("twilio") {
            let url = changed(request.url.as_bytes(), request.url.len() - 1);
            let url = String::from_utf8(url).unwrap();
            refused(&signed, &WebhookRequest { url, ..request.clone() }, now, "address");
        } else {
            refused(&signed, &request, now + SignedDuration::from_hours(48), "time");
        }
        webhooks.insert(signed.webhook);
    }
    assert!(webhooks.len() >= 9, "only {webhooks:?}");
}
