use super::*;
use crate::example::Seed;
use crate::n8n::{AI_RESPONSE, HUMAN_TAKEOVER, SPEC, example};
use crate::vectors;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use domain::TenantId;
use domain::event::EventKind;
use domain::integration::Settings;
use domain::webhook::receive;
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

const URL: &str = "https://hub.example.com/webhooks/n8n";
const NOW: i64 = 1_795_176_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn integration(name: &str) -> Integration {
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&[name]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::N8n,
        account: None,
        settings: Settings(Map::new()),
        hints: BTreeMap::new(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    }
}

fn secrets(values: &[&str]) -> Credentials {
    let values = values.iter().map(|value| (*value).into()).collect();
    Credentials::new([(crate::n8n::WEBHOOK_SECRET.to_owned(), values)])
}

fn verify_at(request: &WebhookRequest, values: &[&str], now: Timestamp) -> bool {
    let source = AI_RESPONSE.source(&integration("a"), &secrets(values));
    match source.verify(request, now) {
        Ok(()) => true,
        Err(Rejection::Unauthenticated(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

fn verify(request: &WebhookRequest, values: &[&str]) -> bool {
    verify_at(request, values, now())
}

fn with(headers: &[(&str, &str)], body: impl Into<Bytes>) -> WebhookRequest {
    let header = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
    };
    let headers: HeaderMap = headers.iter().map(header).collect();
    WebhookRequest { method: Method::POST, headers, body: body.into(), ..WebhookRequest::default() }
}

/// Returns an authenticated request with an idempotency key.
fn good(body: impl Into<Bytes>) -> WebhookRequest {
    with(&[(SECRET, example::WEBHOOK_SECRET), (IDEMPOTENCY_KEY, "k")], body)
}

fn receive_by(webhook: Webhook, request: &WebhookRequest) -> Result<ParsedEvent, Rejection> {
    let source = webhook.source(&integration("a"), &example::credentials());
    match receive(&*source, request, now())? {
        ParsedWebhook::Events(mut events) if events.len() == 1 => Ok(events.remove(0)),
        other => panic!("{other:?}"),
    }
}

/// Returns the reason for which a body is rejected.
fn refusal(webhook: Webhook, body: &str) -> String {
    match receive_by(webhook, &good(body.to_owned())) {
        Err(Rejection::Invalid(reason)) => reason,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn every_vector_verifies_as_recorded() {
    for vector in vectors::read(include_str!("vectors.json"), 5) {
        let (request, at) = (vector.request(), vector.now_or(now()));
        let verified = verify_at(&request, &[&vector.secret], at);
        assert_eq!(verified, vector.accepted, "{}", vector.name);
        assert!(!verify_at(&request, &["another"], at), "{}", vector.name);
    }
}

#[test]
fn every_example_is_accepted_and_a_redelivery_has_equal_ids() {
    let examples = &example::EXAMPLES;
    let mut ids = BTreeSet::new();
    for example in examples.events {
        let webhook =
            if example.webhook == AI_RESPONSE.name() { AI_RESPONSE } else { HUMAN_TAKEOVER };
        assert_eq!(webhook.name(), example.webhook);
        let make = |nonce: &str, at: Timestamp| {
            let draft = (example.draft)(&Seed { at, nonce: nonce.to_owned() });
            (examples.sign)(example, &draft, &(examples.credentials)(), URL, at)
        };
        let request = make("a1b2c3d4e5f60718", now());
        let event = receive_by(webhook, &request).unwrap();
        // Signed again, as a retry is.
        let later = now() - jiff::SignedDuration::from_secs(60);
        let again = receive_by(webhook, &make("a1b2c3d4e5f60718", later)).unwrap();
        assert_eq!((&event.id, event.occurred_at), (&again.id, again.occurred_at));
        let other = receive_by(webhook, &make("ffffffffffffffff", now())).unwrap();
        assert_ne!(event.id, other.id);
        ids.insert(event.id.clone());

        let name =
            if webhook.name() == AI_RESPONSE.name() { "ai.response" } else { "human.takeover" };
        assert_eq!(event.kind, EventKind::Other { name: name.to_owned() });
        assert_eq!(event.id, format!("{}:{name}:run-a1b2c3d4e5f60718", integration("a").id));
        assert_eq!(event.ordering_key, Some(example::conversation().to_string()));
        assert_eq!((&*event.account, event.raw.get().as_bytes()), ("", &request.body[..]));

        let mut flipped = request.clone();
        flipped.headers.insert(SECRET, example::WEBHOOK_SECRET.replace('d', "e").parse().unwrap());
        assert!(!verify(&flipped, &[example::WEBHOOK_SECRET]));
        let signed = request.headers.contains_key(standard_webhooks::SIGNATURE);
        assert_eq!(signed, example.name.contains("signed"));
        if signed {
            let mut reworded = request;
            reworded.body = [&reworded.body[..], b" "].concat().into();
            assert!(!verify(&reworded, &[example::WEBHOOK_SECRET]));
        }
    }
    // The same key at the other webhook is another event.
    assert_eq!(ids.len(), 2);
}

#[test]
fn a_key_of_another_integration_is_another_event() {
    let request = good(example::body(&json!({ "text": "hi" })).to_string());
    let id = |name: &str| {
        let source = AI_RESPONSE.source(&integration(name), &example::credentials());
        match receive(&*source, &request, now()).unwrap() {
            ParsedWebhook::Events(events) => events[0].id.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(id("a"), id("a"));
    assert_ne!(id("a"), id("b"));
}

#[test]
fn the_secret_is_sent_once_in_a_header_a_bearer_token_or_basic() {
    for (name, value) in [
        (SECRET, "a:b"),
        ("authorization", "Bearer a:b"),
        ("authorization", "bearer a:b"),
        ("authorization", "Basic YTpi"),
    ] {
        let request = with(&[(name, value)], "{}");
        assert!(verify(&request, &["old", "a:b"]), "{value}");
        assert!(!verify(&request, &["old"]), "{value}");
        assert!(!verify(&request, &[]), "{value}");
        assert!(!verify(&request, &[""]), "{value}");
        let twice = with(&[(name, value), (name, value)], "{}");
        assert!(!verify(&twice, &["a:b"]), "{value}");
        let mut put = request;
        put.method = Method::PUT;
        assert!(!verify(&put, &["a:b"]));
    }
    for value in [
        "",
        "a:b",
        "Bearer",
        "Bearer ",
        "Bearer a:c",
        "Basic",
        "Basic ",
        "Basic !",
        "Basic /w==",
        "Digest a:b",
    ] {
        assert!(!verify(&with(&[("authorization", value)], "{}"), &["a:b", ""]), "{value}");
    }
    assert!(!verify(&with(&[], "{}"), &["a:b"]));
    // A valid bearer token does not replace a wrong header.
    let both = with(&[(SECRET, "x"), ("authorization", "Bearer a:b")], "{}");
    assert!(!verify(&both, &["a:b"]));
}

#[test]
fn a_jwt_authenticates_while_it_is_valid() {
    let jwt = |claims: Value| {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&json!({ "alg": "HS256" })), encode(&claims));
        let tag = signature::hmac_sha256(b"key", &[signed.as_bytes()]);
        format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    for (claims, good) in [
        (json!({ "exp": NOW + 60 }), true),
        (json!({ "exp": NOW - 60 }), false),
        (json!({ "exp": NOW + 600, "nbf": NOW + 100 }), false),
        (json!({ "sub": "n8n" }), false),
    ] {
        let request = with(&[("authorization", &jwt(claims.clone()))], "{}");
        assert_eq!(verify(&request, &["old", "key"]), good, "{claims}");
        assert!(!verify(&request, &["old"]));
    }
}

#[test]
fn a_signature_that_is_present_must_be_valid_too() {
    let sign = |secret: &str, at: Timestamp| {
        standard_webhooks::sign(&[secret.into()], "k", at, b"{}").unwrap()
    };
    let second = NOW.to_string();
    let good = sign(example::WEBHOOK_SECRET, now());
    let signed = |parts: &[(&str, &str)]| {
        let mut headers = vec![(SECRET, example::WEBHOOK_SECRET)];
        headers.extend(parts);
        with(&headers, "{}")
    };
    let (id, at, signature) =
        (("webhook-id", "k"), ("webhook-timestamp", &*second), ("webhook-signature", &*good));
    let own = [example::WEBHOOK_SECRET];
    assert!(verify(&signed(&[id, at, signature]), &own));
    assert!(verify(&signed(&[id]), &own));
    for parts in [
        &[at][..],
        &[signature],
        &[id, at],
        &[id, signature],
        &[at, signature],
        &[id, at, signature, signature],
        &[id, id, at, signature],
        &[("webhook-id", "l"), at, signature],
        &[id, at, ("webhook-signature", "v1,AAAA")],
        &[id, at, ("webhook-signature", "")],
    ] {
        assert!(!verify(&signed(parts), &own), "{parts:?}");
    }
    let old = now() - jiff::SignedDuration::from_secs(301);
    let (stale, second) = (sign(example::WEBHOOK_SECRET, old), old.as_second().to_string());
    assert!(!verify(
        &signed(&[id, ("webhook-timestamp", &second), ("webhook-signature", &stale)]),
        &own
    ));
    // The signature does not replace the secret.
    assert!(!verify(&with(&[id, at, signature], "{}"), &own));
    // One secret for the header, another to sign.
    let request = with(&[(SECRET, "plain"), id, at, signature], "{}");
    assert!(verify(&request, &["plain", example::WEBHOOK_SECRET]));
    assert!(!verify(&request, &["plain"]));
    // A plain base64 secret is not a signing secret.
    let bare = example::WEBHOOK_SECRET.trim_start_matches(SIGNING_PREFIX);
    let request = with(&[(SECRET, bare), id, at, ("webhook-signature", &sign(bare, now()))], "{}");
    assert!(!verify(&request, &[bare]));
}

#[test]
fn the_idempotency_key_is_read_from_the_header_then_the_signature_then_the_body() {
    let body = example::body(&json!({ "text": "hi", "idempotency_key": "body" })).to_string();
    let key = |headers: &[(&str, &str)], body: &str| {
        let mut all = vec![(SECRET, example::WEBHOOK_SECRET)];
        all.extend(headers);
        let event = receive_by(AI_RESPONSE, &with(&all, body.to_owned()));
        event.map(|event| event.id.rsplit(':').next().unwrap().to_owned())
    };
    let (header, id) = ((IDEMPOTENCY_KEY, "header"), ("webhook-id", "id"));
    assert_eq!(key(&[id, header], &body).unwrap(), "header");
    assert_eq!(key(&[id], &body).unwrap(), "id");
    assert_eq!(key(&[], &body).unwrap(), "body");
    let unnamed = example::body(&json!({ "text": "hi" })).to_string();
    let long = "x".repeat(256);
    let null = example::body(&json!({ "text": "hi", "idempotency_key": null })).to_string();
    for (headers, body, field) in [
        (&[][..], &unnamed, "Idempotency-Key: is missing"),
        (&[], &null, "Idempotency-Key: is missing"),
        (&[(IDEMPOTENCY_KEY, "")], &body, "Idempotency-Key: must have"),
        (&[(IDEMPOTENCY_KEY, &*long)], &body, "Idempotency-Key: must have"),
        (&[header, header], &body, "Idempotency-Key: must be present once"),
        (&[(IDEMPOTENCY_KEY, "é")], &body, "Idempotency-Key: must be present once"),
        (&[("webhook-id", " ")], &body, "webhook-id: must have"),
    ] {
        match key(headers, body) {
            Err(Rejection::Invalid(reason)) => assert!(reason.starts_with(field), "{reason}"),
            other => panic!("{field}: {other:?}"),
        }
    }
    for odd in [json!(""), json!(5), json!("a\nb"), json!(long)] {
        let body = example::body(&json!({ "text": "hi", "idempotency_key": odd })).to_string();
        assert!(
            matches!(key(&[], &body), Err(Rejection::Invalid(reason)) if reason.starts_with("idempotency_key: "))
        );
    }
}

#[test]
fn an_invalid_field_is_rejected_by_name() {
    let response = |fields: Value| example::body(&fields).to_string();
    let secret = "Very Secret";
    for (body, expected) in [
        (String::new(), "body: "),
        ("{".to_owned(), "body: "),
        ("[]".to_owned(), "body: "),
        ("5".to_owned(), "body: "),
        ("{}".to_owned(), "conversation: is missing"),
        (response(json!({ "conversation": null })), "conversation: is missing"),
        (response(json!({ "conversation": secret })), "conversation: must be"),
        (
            response(json!({ "conversation": "msg_01J9ZQ4J9T0000000000000000" })),
            "conversation: must be",
        ),
        (response(json!({ "epoch": null })), "epoch: is missing"),
        (response(json!({ "epoch": -1 })), "epoch: must be"),
        (response(json!({ "epoch": 1.5 })), "epoch: must be"),
        (response(json!({ "epoch": "3" })), "epoch: must be"),
        (response(json!({ "epoch": 1e300 })), "epoch: must be"),
        (response(json!({})), "text: is missing"),
        (response(json!({ "text": null })), "text: is missing"),
        (response(json!({ "text": " " })), "text: must be"),
        (response(json!({ "text": [secret] })), "text: must be"),
        (
            response(json!({ "text": "x", "content": { "type": "text", "text": "x" } })),
            "text: must not",
        ),
        (response(json!({ "content": { "type": secret } })), "content: must have"),
        (
            response(json!({ "content": { "type": "unsupported", "raw": {} } })),
            "content: must have",
        ),
        (response(json!({ "text": "x", "metadata": secret })), "metadata: must be"),
        (response(json!({ "text": "x", "reason": "x" })), "reason: is not a known field"),
        (
            response(json!({ "text": "x", "idempotencyKey": "x" })),
            "idempotencyKey: is not a known field",
        ),
        (response(json!({ "text": "x", (secret): "x" })), "a field: is not a known field"),
    ] {
        let reason = refusal(AI_RESPONSE, &body);
        assert!(reason.starts_with(expected), "{body}: {reason}");
        assert!(!reason.contains(secret));
    }
    for (fields, expected) in [
        (json!({ "text": "x" }), "text: is not a known field"),
        (json!({ "reason": 5 }), "reason: must be"),
        (json!({ "reason": "x".repeat(1001) }), "reason: must be"),
        (json!({ "assignee": {} }), "assignee: must be"),
        (json!({ "epoch": -1 }), "epoch: must be"),
    ] {
        assert!(refusal(HUMAN_TAKEOVER, &response(fields)).starts_with(expected), "{expected}");
    }
    let not_text = receive_by(AI_RESPONSE, &good(Bytes::from_static(b"\xff")));
    assert!(matches!(not_text, Err(Rejection::Invalid(_))));
    let deep = format!("{{\"metadata\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refusal(AI_RESPONSE, &deep).starts_with("conversation: "));
}

#[test]
fn minimal_and_complete_bodies_are_accepted() {
    let conversation = example::conversation();
    for (webhook, fields) in [
        (AI_RESPONSE, json!({ "epoch": 0, "text": "x" })),
        (
            AI_RESPONSE,
            json!({ "epoch": u64::MAX, "content": { "type": "text", "text": "x" }, "metadata": { "a": 1e9 }, "idempotency_key": null }),
        ),
        (HUMAN_TAKEOVER, json!({})),
        (
            HUMAN_TAKEOVER,
            json!({ "reason": "x".repeat(1000), "assignee": "", "metadata": null, "idempotency_key": "k" }),
        ),
    ] {
        let body = example::body(&fields).to_string();
        let event = receive_by(webhook, &good(body.clone())).unwrap();
        assert_eq!(event.raw.get(), body);
        assert_eq!(event.ordering_key, Some(conversation.to_string()));
    }
    let spaced = format!(" {{ \"conversation\" : \"{conversation}\", \"epoch\" : 3 }} ");
    let event = receive_by(HUMAN_TAKEOVER, &good(spaced.clone())).unwrap();
    assert_eq!(event.raw.get(), spaced.trim());
}

#[test]
fn the_response_is_json_and_an_unusable_secret_is_rejected() {
    let reply = AI_RESPONSE.accepted();
    assert_eq!((reply.status, &*reply.body), (StatusCode::ACCEPTED, r#"{"status":"accepted"}"#));
    assert_eq!(
        (AI_RESPONSE.path(), HUMAN_TAKEOVER.path()),
        ("n8n/ai-response", "n8n/human-takeover")
    );
    for good in ["plain-secret", "user:password", example::WEBHOOK_SECRET] {
        assert!((SPEC.check)(crate::n8n::WEBHOOK_SECRET, good).is_ok(), "{good}");
    }
    for bad in ["", "a b", "é", "a\n", "whsec_", "whsec_!!!", "whsec_c2hvcnQ="] {
        assert!((SPEC.check)(crate::n8n::WEBHOOK_SECRET, bad).is_err(), "{bad}");
    }
}
