//! Arbitrary requests: nothing panics, and no changed request verifies.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::webhook::{ParsedWebhook, Rejection, WebhookProvider, WebhookRequest, receive};
use domain::{Credentials, Integration, IntegrationId, Provider};
use http::{HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use providers::example::{self, Body, Draft, Example, Seed};
use providers::{form, telegram, whatsapp_cloud};
use serde_json::{Value, json};

/// URL of the webhooks.
const URL: &str = "https://hub.example.com/webhooks/here";

fn integration(provider: Provider) -> Integration {
    let id = IntegrationId::derived(&["arbitrary"]);
    example::integration(provider, id, "acme".parse().unwrap()).unwrap()
}

fn credentials(provider: Provider) -> Credentials {
    (example::of(provider).credentials)()
}

/// Returns the result of a request at a webhook, with its provider's example integration.
fn received(
    webhook: &dyn WebhookProvider,
    request: &WebhookRequest,
) -> Result<ParsedWebhook, Rejection> {
    let provider = webhook.provider();
    let source = webhook.source(&integration(provider), &credentials(provider));
    receive(&*source, request, Seed::FIXED)
}

fn outcome(provider: Provider, request: &WebhookRequest) -> Result<usize, Rejection> {
    match received(providers::webhook(provider).unwrap(), request)? {
        ParsedWebhook::Events(events) => Ok(events.len()),
        ParsedWebhook::Handshake(_) | ParsedWebhook::Confirm(_) => Ok(0),
    }
}

fn examples() -> Vec<(Provider, &'static Example)> {
    example::all().collect()
}

fn drafted(example: &Example) -> Draft {
    (example.draft)(&Seed::fixed(&example.full_name()))
}

fn signed(provider: Provider, example: &Example, draft: &Draft) -> WebhookRequest {
    example::signed(provider, example, draft, URL, Seed::FIXED)
}

/// Whether `rejection` is one for an unauthenticated request; the others require authentication.
fn is_unauthenticated(request: &WebhookRequest, rejection: &Rejection) -> bool {
    match rejection {
        Rejection::Unauthenticated(_) | Rejection::Forbidden(_) | Rejection::TooLarge(_) => true,
        // A handshake without a challenge.
        Rejection::Invalid(_) => request.method == Method::GET,
        Rejection::Unreadable(_) => false,
    }
}

/// Returns the headers that providers authenticate with.
fn header_names() -> Vec<HeaderName> {
    let names = examples().into_iter().flat_map(|(provider, example)| {
        let request = signed(provider, example, &drafted(example));
        request.headers.keys().cloned().collect::<Vec<_>>()
    });
    let known = ["authorization", "content-type", "x-signature", "x-webhook-secret"];
    let names: BTreeSet<String> =
        names.map(|name| name.to_string()).chain(known.map(str::to_owned)).collect();
    names.into_iter().map(|name| name.parse().unwrap()).collect()
}

/// Any request: relevant headers with meaningless values.
fn requests() -> impl Strategy<Value = WebhookRequest> {
    let header =
        (prop::sample::select(header_names()), "[ -~]{0,40}|(v1|sha256|t)=[0-9a-f,]{0,64}");
    let parameter = ("[a-z._]{0,12}|hub.mode|crc_token|challengeCode|bodySHA256", "\\PC{0,12}");
    (
        prop_oneof![Just(Method::POST), Just(Method::GET), Just(Method::PUT)],
        prop::collection::vec(header, 0..8),
        prop::collection::vec(parameter, 0..4),
        prop_oneof![
            any::<Vec<u8>>(),
            any_json().prop_map(|value| value.to_string().into_bytes()),
            "[a-zA-Z]{1,8}=[a-zA-Z0-9%+]{0,8}(&[a-zA-Z]{1,8}=[a-zA-Z0-9%+]{0,8}){0,4}"
                .prop_map(String::into_bytes),
        ],
    )
        .prop_map(|(method, headers, query, body)| {
            let mut request = WebhookRequest {
                method,
                url: format!("{URL}?{}", form::encode(&query)),
                query,
                body: body.into(),
                ..WebhookRequest::default()
            };
            for (name, value) in headers {
                request.headers.append(name, HeaderValue::from_str(&value).unwrap());
            }
            request
        })
}

/// Any JSON, as deep as a webhook's body.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[\\PC]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop_oneof![
                    Just("id".to_owned()),
                    Just("type".to_owned()),
                    Just("text".to_owned()),
                    Just("body".to_owned()),
                    Just("timestamp".to_owned()),
                    "[a-z_]{1,6}",
                ],
                inner,
                0..4
            )
            .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Adds every place in a value, as JSON pointers.
fn places(value: &Value, here: &str, all: &mut Vec<String>) {
    all.push(here.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                places(value, &format!("{here}/{name}"), all);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(value, &format!("{here}/{index}"), all);
            }
        }
        _ => {}
    }
}

/// Returns `value` with another value in one of its places.
fn mutated(mut value: Value, place: prop::sample::Index, other: Value) -> Value {
    let mut all = Vec::new();
    places(&value, "", &mut all);
    let place = all[place.index(all.len())].clone();
    *value.pointer_mut(&place).unwrap() = other;
    value
}

fn meta_batch() -> Value {
    let parts = [
        json!({ "type": "image", "image": { "id": "1" }, "context": { "id": "wamid.0" } }),
        json!({ "type": "contacts", "contacts": [{ "name": { "formatted_name": "a" }, "phones": [] }] }),
        json!({ "type": "interactive", "interactive": { "type": "button_reply",
            "button_reply": { "id": "a", "title": "b" } } }),
    ];
    let messages: Vec<Value> =
        parts.iter().map(|part| whatsapp_cloud::example::message("wamid.A", part)).collect();
    let failed = whatsapp_cloud::example::failed("wamid.B", 1, "t", None);
    whatsapp_cloud::example::envelope(&[
        whatsapp_cloud::example::messages("1", &messages),
        whatsapp_cloud::example::statuses("1", &[failed]),
    ])
}

fn updates() -> impl Strategy<Value = Value> {
    let press = json!({ "id": "1", "data": "y",
        "message": telegram::example::message(3, &json!({ "reply_markup": { "inline_keyboard": [] } })) });
    let reaction = json!({ "chat": telegram::example::chat(), "message_id": 1, "date": 1,
        "new_reaction": [{ "type": "emoji", "emoji": "x" }] });
    let photo = json!({ "photo": [{ "file_id": "1", "width": 1, "height": 1 }], "caption": "c" });
    prop_oneof![
        Just(telegram::example::text(1, 2, "t")),
        Just(telegram::example::update(1, "message", &telegram::example::message(2, &photo))),
        Just(telegram::example::update(1, "callback_query", &press)),
        Just(telegram::example::update(1, "message_reaction", &reaction)),
    ]
}

proptest! {
    #[test]
    fn a_verified_whatsapp_body_of_any_shape_is_parsed_or_parked(
        place in any::<prop::sample::Index>(),
        other in any_json(),
    ) {
        let body = whatsapp_cloud::example::escaped(&mutated(meta_batch(), place, other));
        let request = whatsapp_cloud::example::request(body);
        let result = outcome(Provider::WhatsappCloud, &request);
        prop_assert!(matches!(result, Ok(_) | Err(Rejection::Unreadable(_))), "{result:?}");
    }

    #[test]
    fn an_unknown_message_never_affects_the_others(other in any_json()) {
        let messages = [whatsapp_cloud::example::text("wamid.A", "a"), other, whatsapp_cloud::example::text("wamid.C", "c")];
        let body = whatsapp_cloud::example::envelope(&[whatsapp_cloud::example::messages("1", &messages)]);
        let request = whatsapp_cloud::example::request(whatsapp_cloud::example::escaped(&body));
        let result = outcome(Provider::WhatsappCloud, &request);
        prop_assert_eq!(result.unwrap(), 3);
    }

    #[test]
    fn a_verified_telegram_update_of_any_shape_is_parsed_or_parked(
        update in updates(),
        place in any::<prop::sample::Index>(),
        other in any_json(),
    ) {
        let request = telegram::example::request(&mutated(update, place, other));
        let result = outcome(Provider::Telegram, &request);
        prop_assert!(matches!(result, Ok(1) | Err(Rejection::Unreadable(_))), "{result:?}");
    }

    #[test]
    fn verified_bytes_of_any_kind_are_parked(body in any::<Vec<u8>>()) {
        let request = whatsapp_cloud::example::request(Bytes::from(body.clone()));
        let result = outcome(Provider::WhatsappCloud, &request);
        prop_assert!(matches!(result, Err(Rejection::Unreadable(_))));
        let mut request = telegram::example::request(&Value::Null);
        request.body = Bytes::from(body);
        let result = outcome(Provider::Telegram, &request);
        prop_assert!(matches!(result, Err(Rejection::Unreadable(_))));
    }

    #[test]
    fn a_flipped_byte_never_verifies(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let good = whatsapp_cloud::example::request(whatsapp_cloud::example::escaped(&meta_batch()));
        let mut body = good.body.to_vec();
        let at = at.index(body.len());
        body[at] ^= flip;
        let request = WebhookRequest { body: body.into(), ..good };
        let result = outcome(Provider::WhatsappCloud, &request);
        prop_assert!(matches!(result, Err(Rejection::Unauthenticated(_))));
    }

    #[test]
    fn a_random_signature_never_verifies(signature in "(sha256=)?[0-9a-f]{0,70}") {
        let mut request = whatsapp_cloud::example::request(whatsapp_cloud::example::escaped(&meta_batch()));
        request.headers.insert("x-hub-signature-256", signature.parse().unwrap());
        let result = outcome(Provider::WhatsappCloud, &request);
        prop_assert!(matches!(result, Err(Rejection::Unauthenticated(_))));
    }

    #[test]
    fn no_request_is_accepted_without_authentication(request in requests()) {
        for webhook in providers::webhooks() {
            match received(webhook, &request) {
                // A handshake is answered for anyone.
                Ok(ParsedWebhook::Handshake(_)) => prop_assert_eq!(&request.method, Method::GET),
                Ok(other) => prop_assert!(false, "{}: {other:?}", webhook.name()),
                Err(rejection) => {
                    let refused = is_unauthenticated(&request, &rejection);
                    prop_assert!(refused, "{}: {rejection}", webhook.name());
                }
            }
        }
    }

    #[test]
    fn no_request_is_accepted_without_a_secret_not_even_a_handshake(request in requests()) {
        for webhook in providers::webhooks() {
            let source = webhook.source(&integration(webhook.provider()), &Credentials::default());
            match receive(&*source, &request, Seed::FIXED) {
                Ok(other) => prop_assert!(false, "{}: {other:?}", webhook.name()),
                Err(rejection) => {
                    let refused = is_unauthenticated(&request, &rejection);
                    prop_assert!(refused, "{}: {rejection}", webhook.name());
                }
            }
        }
    }

    #[test]
    fn a_verified_body_of_any_shape_is_parsed_parked_or_rejected(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        other in any_json(),
        text in "\\PC{0,16}",
    ) {
        let all = examples();
        let (provider, one) = all[which.index(all.len())];
        let mut draft = drafted(one);
        match &mut draft.body {
            Body::Json(body) => *body = mutated(body.take(), place, other),
            Body::Form(fields) if !fields.is_empty() => {
                let place = place.index(fields.len());
                fields[place].1 = text;
            }
            _ => {}
        }
        let request = signed(provider, one, &draft);
        // The change may have affected a signature inside the body.
        if let Ok(ParsedWebhook::Events(events)) = received(example::webhook(provider, one), &request) {
            for event in events {
                prop_assert!(!event.id.is_empty(), "{}", one.full_name());
                prop_assert!(serde_json::from_str::<Value>(event.raw.get()).is_ok());
            }
        }
    }

    #[test]
    fn a_flipped_byte_of_a_signed_body_never_verifies(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let all = examples().into_iter().filter(|(_, one)| example::authenticates_body(one.webhook));
        let all: Vec<_> = all.collect();
        let (provider, one) = all[which.index(all.len())];
        let good = signed(provider, one, &drafted(one));
        prop_assume!(!good.body.is_empty());
        let mut body = good.body.to_vec();
        let at = at.index(body.len());
        body[at] ^= flip;
        // Twilio signs the fields, not their encoding.
        if matches!(drafted(one).body, Body::Form(_)) {
            let (was, is) = (form::decode(&good.body), form::decode(&body));
            prop_assume!(is != was && is.len() == was.len());
        }
        let request = WebhookRequest { body: body.into(), ..good };
        let refused = received(example::webhook(provider, one), &request);
        let is = matches!(refused, Err(Rejection::Unauthenticated(_)));
        prop_assert!(is, "{} at {at}: {refused:?}", one.full_name());
    }
}

#[test]
fn every_example_is_accepted_and_a_redelivery_has_equal_ids() {
    for (provider, one) in examples() {
        let webhook = example::webhook(provider, one);
        let ids = || match received(webhook, &signed(provider, one, &drafted(one))) {
            Ok(ParsedWebhook::Events(events)) => {
                assert!(!events.is_empty(), "{} produces no event", one.full_name());
                events.into_iter().map(|event| (event.account, event.id)).collect::<Vec<_>>()
            }
            Ok(ParsedWebhook::Handshake(_) | ParsedWebhook::Confirm(_)) => Vec::new(),
            Err(rejection) => panic!("{}: {rejection}", one.full_name()),
        };
        let once = ids();
        assert_eq!(once, ids(), "{}", one.full_name());
        let different: BTreeSet<_> = once.iter().collect();
        assert_eq!(different.len(), once.len(), "{}: two events share an id", one.full_name());

        let at = Seed::FIXED + Duration::from_secs(1);
        let draft = (one.draft)(&Seed { at, ..Seed::fixed("another") });
        if let Ok(ParsedWebhook::Events(others)) = received(webhook, &signed(provider, one, &draft))
        {
            let fresh = others
                .iter()
                .all(|event| !once.contains(&(event.account.clone(), event.id.clone())));
            assert!(fresh, "{}: another seed produces the same event", one.full_name());
        }
    }
}

#[test]
fn an_example_is_rejected_without_a_secret() {
    for (provider, one) in examples() {
        let request = signed(provider, one, &drafted(one));
        let mut integration_without_key = integration(provider);
        // The public key that verifies the examples is in their settings.
        if let Ok(settings) = (providers::spec(provider).settings)(&serde_json::Map::new()) {
            integration_without_key.settings = settings;
        }
        let source = example::webhook(provider, one)
            .source(&integration_without_key, &Credentials::default());
        let refused = receive(&*source, &request, Seed::FIXED);
        let is = matches!(refused, Err(Rejection::Unauthenticated(_) | Rejection::Forbidden(_)));
        assert!(is, "{}: {refused:?}", one.full_name());
    }
}

#[test]
fn the_list_of_webhooks_whose_signature_does_not_cover_the_body_is_accurate() {
    for (name, why) in example::unsigned_bodies() {
        let of = examples().into_iter().filter(|(_, one)| one.webhook == name);
        let of: Vec<_> = of.collect();
        if of.is_empty() {
            continue;
        }
        let passes = of.into_iter().any(|(provider, one)| {
            let good = signed(provider, one, &drafted(one));
            (0..good.body.len()).any(|at| {
                let mut body = good.body.to_vec();
                body[at] ^= 1;
                let request = WebhookRequest { body: body.into(), ..good.clone() };
                !matches!(
                    received(example::webhook(provider, one), &request),
                    Err(Rejection::Unauthenticated(_))
                )
            })
        });
        assert!(passes, "{name} covers its whole body, but is listed with {why}");
    }
}

/// Far more than any webhook needs, and far less than quadratic work would take.
const MAX_DURATION: Duration = Duration::from_secs(20);

#[test]
fn work_is_proportional_to_the_body() {
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat();
    let malformed = [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        format!("[{}1]", "1,".repeat(400_000)),
        format!("\"{}\"", "\\u00e9".repeat(150_000)),
        "a=1&".repeat(250_000),
        "%".repeat(1_000_000),
        format!("{{\"x\":{}}}", "9".repeat(1_000_000)),
    ];
    for (provider, one) in examples() {
        let begun = Instant::now();
        let webhook = example::webhook(provider, one);
        let mut draft = drafted(one);
        // Every list as long as a megabyte allows, then malformed bodies.
        if let Body::Json(body) = &mut draft.body {
            let times = 1_000_000 / body.to_string().len().max(1);
            lengthen(body, times);
        }
        let long = signed(provider, one, &draft);
        if let Ok(ParsedWebhook::Events(events)) = received(webhook, &long) {
            let stored: usize = events.iter().map(|event| event.raw.get().len()).sum();
            let most = 20 * long.body.len() + 1_000_000;
            assert!(stored < most, "{}: {stored} of {}", one.name, long.body.len());
        }
        let good = signed(provider, one, &drafted(one));
        for body in &malformed {
            let request = WebhookRequest { body: body.clone().into(), ..good.clone() };
            let _ended = received(webhook, &request);
        }
        let took = begun.elapsed();
        assert!(took < MAX_DURATION, "{}: {took:?}", one.full_name());
    }
}

/// Repeats the items of the first non-empty list.
fn lengthen(value: &mut Value, times: usize) -> bool {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let all = items.clone();
            *items = all.iter().cycle().take(all.len() * times).cloned().collect();
            true
        }
        Value::Object(fields) => fields.values_mut().any(|value| lengthen(value, times)),
        _ => false,
    }
}
