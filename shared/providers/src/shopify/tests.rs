use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::event::{EventKind, ParsedEvent};
use domain::integration::Settings;
use domain::webhook::{ParsedWebhook, Rejection, WebhookProvider, WebhookRequest, receive};
use domain::{Credentials, Integration, IntegrationId, Provider, TenantId};
use http::{HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};

use super::{API_SECRET, SPEC, WEBHOOK, callback, example};
use crate::example::{Draft, Seed};
use crate::signature;
use crate::vectors::Vector;

/// Returns the vectors with this method: webhooks are posted, and the callback of a sign-in is a GET.
fn vectors(method: &Method) -> Vec<Vector> {
    let mut vectors = crate::vectors::read(include_str!("vectors.json"), 14);
    vectors.retain(|vector| vector.request().method == *method);
    vectors
}

fn integration() -> Integration {
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["shopify"]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::Shopify,
        settings: Settings(Map::new()),
        account: None,
        hints: BTreeMap::new(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    }
}

fn receive_with(request: &WebhookRequest, secrets: &[&str]) -> Result<ParsedWebhook, Rejection> {
    let values = secrets.iter().map(|secret| (*secret).into()).collect();
    let credentials = Credentials::new([(API_SECRET.to_owned(), values)]);
    let source = WEBHOOK.source(&integration(), &credentials);
    receive(&*source, request, Timestamp::UNIX_EPOCH)
}

fn event(result: Result<ParsedWebhook, Rejection>) -> ParsedEvent {
    match result.unwrap() {
        ParsedWebhook::Events(mut events) if events.len() == 1 => events.remove(0),
        other => panic!("{other:?}"),
    }
}

fn seed() -> Seed {
    Seed { at: "2026-11-20T12:00:00Z".parse().unwrap(), nonce: "0123456789abcdef".to_owned() }
}

fn signed(draft: &Draft) -> WebhookRequest {
    let examples = &example::EXAMPLES;
    let url = "https://hub.example.com/webhooks/shopify";
    (examples.sign)(&examples.events[0], draft, &example::credentials(), url, seed().at)
}

/// Returns a signed webhook of `topic` with this body.
fn signed_webhook(topic: &'static str, body: &[u8]) -> WebhookRequest {
    let mut draft = (example::EXAMPLES.events[0].draft)(&seed());
    draft.headers.insert("x-shopify-topic", HeaderValue::from_static(topic));
    let mut request = signed(&draft);
    let tag = signature::hmac_sha256(example::API_SECRET.as_bytes(), &[body]);
    let tag = STANDARD.encode(tag).parse().unwrap();
    request.headers.insert("x-shopify-hmac-sha256", tag);
    request.body = Bytes::copy_from_slice(body);
    request
}

fn received(topic: &'static str, body: &[u8]) -> ParsedEvent {
    event(receive_with(&signed_webhook(topic, body), &[example::API_SECRET]))
}

#[test]
fn every_vector_of_shopifys_own_tests_verifies_as_recorded() {
    let vectors = vectors(&Method::POST);
    assert_eq!(vectors.len(), 12);
    for vector in vectors {
        vector.check(&receive_with(&vector.request(), &[&vector.secret]));
    }
}

#[test]
fn an_oauth_callback_verifies_as_recorded() {
    let calls = vectors(&Method::GET);
    assert_eq!(calls.len(), 2);
    for vector in calls {
        let verify = |secret: &str, query: &[(String, String)], now: Timestamp| {
            callback::verify(&[secret.into()], query, now)
        };
        let (secret, query, now) = (&vector.secret, &vector.query, vector.now());
        vector.check_verified(&verify(secret, query, now));
        assert!(verify("", query, now).is_err());
        assert!(verify("another", query, now).is_err());
        assert!(verify(secret, &query[..3], now).is_err());
        assert!(verify(secret, query, now + SignedDuration::from_secs(91)).is_err());
        assert!(verify(secret, &[], now).is_err());
        let mut other = query.clone();
        other[2].1.push('x');
        assert!(verify(secret, &other, now).is_err());
        assert!(
            receive_with(&vector.request(), &[&vector.secret]).is_err(),
            "a callback is not a webhook"
        );
    }
}

#[test]
fn every_example_is_accepted_and_parsed_as_expected() {
    let expected = [
        ("orders/create", Some("orders:")),
        ("refunds/create", Some("orders:")),
        ("products/update", Some("products:")),
        ("Product/update", Some("gid://shopify/Product/")),
        ("app/uninstalled", Some("app:548380009")),
        ("customers/data_request", Some("customers:")),
        ("customers/redact", Some("customers:")),
        ("shop/redact", None),
    ];
    assert_eq!(example::EXAMPLES.events.len(), expected.len());
    for (example, (name, key)) in example::EXAMPLES.events.iter().zip(expected) {
        let request = signed(&(example.draft)(&seed()));
        let event = event(receive_with(&request, &[example::API_SECRET]));
        assert_eq!(event.kind, EventKind::Other { name: name.to_owned() });
        assert_eq!(event.account, example::SHOP);
        assert_eq!(event.id, "hook-0123456789abcdef");
        assert_eq!(event.occurred_at, Some(seed().at));
        match (event.ordering_key, key) {
            (Some(key), Some(start)) => assert!(key.starts_with(start), "{key}"),
            (key, expected) => assert_eq!(key.as_deref(), expected),
        }
        assert_eq!(event.raw.get().as_bytes(), &*request.body);
    }
}

#[test]
fn one_changed_byte_of_the_body_or_signature_is_rejected() {
    for example in example::EXAMPLES.events {
        let good = signed(&(example.draft)(&seed()));
        let refused = |request: &WebhookRequest| {
            matches!(
                receive_with(request, &[example::API_SECRET]),
                Err(Rejection::Unauthenticated(_))
            )
        };
        for place in [0, good.body.len() / 2, good.body.len() - 1] {
            let mut request = good.clone();
            let mut body = good.body.to_vec();
            body[place] ^= 1;
            request.body = body.into();
            assert!(refused(&request), "{} {place}", example.name);
        }
        let newer = good.headers.contains_key("shopify-hmac-sha256");
        let hmac = if newer { "shopify-hmac-sha256" } else { "x-shopify-hmac-sha256" };
        let given = good.headers.get(hmac).unwrap().to_str().unwrap();
        let flipped = if given.starts_with('A') { "B" } else { "A" };
        let mut request = good.clone();
        request.headers.insert(hmac, format!("{flipped}{}", &given[1..]).parse().unwrap());
        assert!(refused(&request));
        let mut twice = good.clone();
        twice.headers.append(hmac, good.headers.get(hmac).unwrap().clone());
        assert!(refused(&twice));
        let mut get = good.clone();
        get.method = Method::GET;
        assert!(refused(&get));
    }
}

#[test]
fn any_secret_verifies_and_an_empty_secret_never_does() {
    let request = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    assert!(receive_with(&request, &["new", example::API_SECRET]).is_ok());
    for secrets in [&["new"][..], &[""], &[]] {
        assert!(matches!(receive_with(&request, secrets), Err(Rejection::Unauthenticated(_))));
    }
    let mut unsigned = signed_webhook("orders/create", b"{}");
    let empty = STANDARD.encode(signature::hmac_sha256(b"", &[b"{}"]));
    unsigned.headers.insert("x-shopify-hmac-sha256", empty.parse().unwrap());
    assert!(receive_with(&unsigned, &[""]).is_err());
}

#[test]
fn a_redelivery_has_the_same_id_and_another_topic_has_another() {
    let first = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let again = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let secrets = [example::API_SECRET];
    assert_eq!(event(receive_with(&first, &secrets)).id, event(receive_with(&again, &secrets)).id);
    let mut paid = again;
    paid.headers.insert("x-shopify-topic", HeaderValue::from_static("orders/paid"));
    paid.headers.insert("x-shopify-webhook-id", HeaderValue::from_static("hook-2"));
    assert_ne!(event(receive_with(&first, &secrets)).id, event(receive_with(&paid, &secrets)).id);
}

#[test]
fn an_event_without_a_webhook_id_is_identified_by_its_event_id_and_name() {
    let mut request = signed(&(example::EXAMPLES.events[3].draft)(&seed()));
    request.headers.remove("shopify-webhook-id");
    let event = event(receive_with(&request, &[example::API_SECRET]));
    assert_eq!(event.id, "event-0123456789abcdef:Product/update");
    request.headers.remove("shopify-event-id");
    assert!(receive_with(&request, &[example::API_SECRET]).is_err());
}

#[test]
fn an_empty_header_counts_as_missing() {
    for name in ["x-shopify-topic", "x-shopify-shop-domain", "x-shopify-webhook-id"] {
        let mut request = signed_webhook("orders/create", b"{}");
        request.headers.insert(name, HeaderValue::from_static(" "));
        assert!(receive_with(&request, &[example::API_SECRET]).is_err(), "{name}");
    }
}

#[test]
fn unknown_bodies_are_stored_whole_and_without_an_ordering_key() {
    let bodies: [&[u8]; 8] = [
        b"<order><id>1</id></order>",
        b"[1]",
        b"null",
        br#"{"id":null}"#,
        br#"{"id":{"a":1}}"#,
        br#"{"id":1,"id":2}"#,
        b"\xff\xfe",
        b"{",
    ];
    for body in bodies {
        let event = received("orders/create", body);
        assert_eq!(event.ordering_key, None, "{}", String::from_utf8_lossy(body));
        assert_eq!(event.kind, EventKind::Other { name: "orders/create".into() });
    }
    let huge = received("orders/create", br#"{"id":1e999,"updated_at":7}"#);
    assert_eq!(huge.ordering_key.as_deref(), Some("orders:1e999"));
}

#[test]
fn events_about_one_resource_share_an_ordering_key() {
    let key = |topic, body: serde_json::Value| {
        received(topic, body.to_string().as_bytes()).ordering_key.unwrap_or_default()
    };
    let id = 788_032_119_674_292_922_i64;
    assert_eq!(key("orders/create", json!({ "id": id })), format!("orders:{id}"));
    assert_eq!(
        key("fulfillments/update", json!({ "id": 1, "order_id": id })),
        format!("orders:{id}")
    );
    assert_eq!(key("refunds/create", json!({ "id": 1 })), "refunds:1");
    assert_eq!(key("carts/update", json!({ "id": "eeafa272" })), "carts:eeafa272");
    assert_eq!(
        key("inventory_levels/update", json!({ "inventory_item_id": 2 })),
        "inventory_items:2"
    );
    assert_eq!(key("customers/redact", json!({ "customer": { "id": 3 } })), "customers:3");
    assert_eq!(key("shop/redact", json!({ "shop_id": 4 })), "");
}

#[test]
fn the_time_is_the_triggers_then_the_resources() {
    let mut request =
        signed_webhook("orders/create", br#"{"updated_at":"2026-04-22T14:30:00-05:00"}"#);
    let secrets = [example::API_SECRET];
    assert_eq!(event(receive_with(&request, &secrets)).occurred_at, Some(seed().at));
    request.headers.remove("x-shopify-triggered-at");
    let at = event(receive_with(&request, &secrets)).occurred_at;
    assert_eq!(at, "2026-04-22T19:30:00Z".parse().ok());
    let mut silent = signed_webhook("orders/create", b"{}");
    silent.headers.insert("x-shopify-triggered-at", HeaderValue::from_static("soon"));
    assert_eq!(event(receive_with(&silent, &secrets)).occurred_at, None);
}

#[test]
fn a_shop_is_identified_by_its_domain() {
    let account = |value: &str| {
        let given = Map::from_iter([("account".to_owned(), value.into())]);
        let settings = (SPEC.settings)(&given).unwrap();
        (SPEC.account)(crate::spec::RequestedBy::Tenant, &settings, &Credentials::default())
    };
    assert_eq!(account("Name.myshopify.com").unwrap().as_deref(), Some("name.myshopify.com"));
    for wrong in ["", "name", "https://name.myshopify.com", "name.myshopify.com/admin"] {
        assert_eq!(account(wrong).unwrap_err().field, "settings.account", "{wrong}");
    }
    let none = (SPEC.settings)(&Map::new()).unwrap();
    assert_eq!(
        (SPEC.account)(crate::spec::RequestedBy::Tenant, &none, &Credentials::default()).unwrap(),
        None
    );
    let other = Map::from_iter([("shop".to_owned(), "x".into())]);
    assert_eq!((SPEC.settings)(&other).unwrap_err().field, "settings.shop");
}
