use std::collections::BTreeMap;

use bytes::Bytes;
use domain::event::{EventKind, ParsedEvent};
use domain::integration::Settings;
use domain::webhook::{
    ParsedWebhook, Rejection, WebhookProvider, WebhookReply, WebhookRequest, receive,
};
use domain::{Credentials, Integration, IntegrationId, Provider, TenantId};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{CLIENT_SECRET, WEBHOOK, example};
use crate::example::{Draft, Seed};
use crate::vectors;

fn receive_with(
    request: &WebhookRequest,
    secrets: &[&str],
    now: Timestamp,
) -> Result<ParsedWebhook, Rejection> {
    let integration = Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["tiktok"]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::Tiktok,
        settings: Settings(Map::new()),
        account: None,
        hints: BTreeMap::new(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    };
    let values = secrets.iter().map(|secret| (*secret).into()).collect();
    let credentials = Credentials::new([(CLIENT_SECRET.to_owned(), values)]);
    receive(&*WEBHOOK.source(&integration, &credentials), request, now)
}

fn seed() -> Seed {
    Seed { at: "2026-11-20T12:00:00Z".parse().unwrap(), nonce: "0123456789abcdef".to_owned() }
}

fn signed_at(draft: &Draft, at: Timestamp) -> WebhookRequest {
    let examples = &example::EXAMPLES;
    let url = "https://hub.example.com/webhooks/tiktok";
    (examples.sign)(&examples.events[0], draft, &example::credentials(), url, at)
}

fn signed(draft: &Draft) -> WebhookRequest {
    signed_at(draft, seed().at)
}

fn event(request: &WebhookRequest, now: Timestamp) -> ParsedEvent {
    match receive_with(request, &[example::CLIENT_SECRET], now).unwrap() {
        ParsedWebhook::Events(mut events) if events.len() == 1 => events.remove(0),
        other => panic!("{other:?}"),
    }
}

fn received(body: &Value) -> ParsedEvent {
    event(&signed(&Draft::json(body.clone())), seed().at)
}

#[test]
fn every_vector_verifies_as_recorded() {
    vectors::check_all(include_str!("vectors.json"), 4, |vector| {
        receive_with(&vector.request(), &[&vector.secret], vector.now())
    });
}

#[test]
fn every_example_is_accepted_and_parsed_as_expected() {
    let expected = [
        "authorization.removed",
        "video.upload.failed",
        "video.publish.completed",
        "portability.download.ready",
    ];
    assert_eq!(example::EXAMPLES.events.len(), expected.len());
    let mut ids = std::collections::BTreeSet::new();
    for (example, name) in example::EXAMPLES.events.iter().zip(expected) {
        let request = signed(&(example.draft)(&seed()));
        let event = event(&request, seed().at);
        assert_eq!(event.kind, EventKind::Other { name: name.to_owned() });
        assert_eq!((event.account.as_str(), event.occurred_at), (example::USER, Some(seed().at)));
        assert_eq!(event.ordering_key.as_deref(), Some(example::USER));
        assert_eq!(event.raw.get().as_bytes(), &*request.body);
        assert!(ids.insert(event.id));
    }
}

#[test]
fn a_redelivery_with_a_new_signature_is_the_same_event() {
    let draft = (example::EXAMPLES.events[2].draft)(&seed());
    let later = seed().at + jiff::SignedDuration::from_hours(71);
    let again = event(&signed_at(&draft, later), later);
    assert_eq!(event(&signed(&draft), seed().at).id, again.id);
}

#[test]
fn any_difference_makes_another_event() {
    let body = json!({ "event": "a", "user_openid": "u", "create_time": 1, "content": "c" });
    let id = received(&body).id;
    for (field, other) in [
        ("event", json!("b")),
        ("user_openid", json!("v")),
        ("create_time", json!(2)),
        ("content", json!("d")),
    ] {
        let mut changed = body.clone();
        changed[field] = other;
        assert_ne!(received(&changed).id, id, "{field}");
    }
    let mut key = body;
    key["client_key"] = json!("k");
    assert_eq!(received(&key).id, id);
}

#[test]
fn one_changed_byte_of_the_body_timestamp_or_signature_is_rejected() {
    let good = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let refused = |request: &WebhookRequest| {
        let result = receive_with(request, &[example::CLIENT_SECRET], seed().at);
        matches!(result, Err(Rejection::Unauthenticated(_)))
    };
    for place in 0..good.body.len() {
        let mut body = good.body.to_vec();
        body[place] ^= 1;
        assert!(refused(&WebhookRequest { body: body.into(), ..good.clone() }), "{place}");
    }
    let own = example::signature(example::CLIENT_SECRET, seed().at, &good.body);
    let (time, hex) = own.split_once(',').unwrap();
    let later = example::signature(
        example::CLIENT_SECRET,
        seed().at + jiff::SignedDuration::from_secs(1),
        &good.body,
    );
    let other = later.split_once(',').unwrap().1;
    for value in [
        "",
        time,
        hex,
        "t=,s=",
        &format!("{time},{other}"),
        &format!("{time},{time},{hex}"),
        &format!("{own},{hex}"),
        &format!("{time},s="),
        &own[..own.len() - 2],
        &own.replace("s=", "v="),
    ] {
        let mut request = good.clone();
        request.headers.insert("tiktok-signature", value.parse().unwrap());
        assert!(refused(&request), "{value}");
    }
    let mut spaced = good.clone();
    let value = format!("{time}, {hex}, v=2").parse().unwrap();
    spaced.headers.insert("tiktok-signature", value);
    assert!(!refused(&spaced), "an unknown part changes nothing");
    let mut unsigned = good.clone();
    unsigned.headers.remove("tiktok-signature");
    assert!(refused(&unsigned));
    assert!(refused(&WebhookRequest { method: Method::GET, ..good }));
}

#[test]
fn a_signature_is_valid_for_five_minutes_in_both_directions() {
    let request = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let at = |seconds: i64| {
        let now = seed().at + jiff::SignedDuration::from_secs(seconds);
        receive_with(&request, &[example::CLIENT_SECRET], now)
    };
    assert!(at(300).is_ok() && at(-300).is_ok());
    assert!(at(301).is_err() && at(-301).is_err());
}

#[test]
fn any_secret_verifies_and_an_empty_secret_never_does() {
    let request = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    assert!(receive_with(&request, &["new", example::CLIENT_SECRET], seed().at).is_ok());
    for secrets in [&["new"][..], &[""], &[]] {
        let result = receive_with(&request, secrets, seed().at);
        assert!(matches!(result, Err(Rejection::Unauthenticated(_))));
    }
    let mut forged = request;
    let value = example::signature("", seed().at, &forged.body).parse().unwrap();
    forged.headers.insert("tiktok-signature", value);
    assert!(receive_with(&forged, &[""], seed().at).is_err());
}

#[test]
fn unknown_events_are_recorded_and_a_body_without_an_event_is_parked() {
    for body in [
        json!({ "event": "a" }),
        json!({ "event": "a", "user_openid": 7, "create_time": "soon", "content": {} }),
        json!({ "event": "a", "create_time": u64::MAX }),
        json!({ "event": "a", "create_time": 1e300 }),
    ] {
        let event = received(&body);
        assert_eq!((event.account.as_str(), event.ordering_key), ("", None));
        assert_eq!(event.occurred_at, None);
    }
    for body in [&b""[..], b"{", b"{}", b"[]", b"[\"a\"]", b"null", b"\xff", br#"{"event":1}"#] {
        let mut request = signed(&Draft::json(json!({})));
        let value = example::signature(example::CLIENT_SECRET, seed().at, body).parse().unwrap();
        request.headers.insert("tiktok-signature", value);
        request.body = Bytes::copy_from_slice(body);
        let result = receive_with(&request, &[example::CLIENT_SECRET], seed().at);
        assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body:?}");
    }
}

#[test]
fn an_accepted_request_is_answered_with_200_and_no_body() {
    assert_eq!(WEBHOOK.accepted(), WebhookReply::empty(StatusCode::OK));
}
