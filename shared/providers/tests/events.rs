//! Tests of the files in `events/`: each is generated from its example and ends as its name says.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "../examples/events.rs"]
#[expect(dead_code, reason = "the tests do not use `main`")]
mod generator;

use std::collections::BTreeMap;

use domain::event::{EventKind, InboundEvent};
use domain::task::{MediaTask, NotificationTask, OutboundTask, Parked};
use domain::webhook::{ParsedWebhook, Rejection, WebhookProvider, WebhookRequest, receive};
use domain::{Integration, IntegrationId, Provider, ReplayId, TenantId};
use http::{HeaderMap, HeaderName, HeaderValue};
use providers::example::{self, Seed};
use providers::form;
use serde_json::Value;

fn request(event: &Value) -> WebhookRequest {
    let mut headers = HeaderMap::new();
    for (name, value) in event["headers"].as_object().unwrap() {
        let name: HeaderName = name.parse().unwrap();
        headers.insert(name, HeaderValue::from_str(value.as_str().unwrap()).unwrap());
    }
    let (path, query) =
        (event["rawPath"].as_str().unwrap(), event["rawQueryString"].as_str().unwrap());
    let mut url =
        format!("https://{}{path}", event["requestContext"]["domainName"].as_str().unwrap());
    if !query.is_empty() {
        url = format!("{url}?{query}");
    }
    let mut suffix = ["integration", "secret"].into_iter();
    let suffix = suffix.find_map(|name| event["pathParameters"].get(name)?.as_str());
    WebhookRequest {
        method: event["requestContext"]["http"]["method"].as_str().unwrap().parse().unwrap(),
        query: form::decode(query.as_bytes()),
        headers,
        body: generator::bytes(event),
        path_suffix: suffix.map(str::to_owned),
        url,
        signing_certificate: None,
    }
}

fn integration(provider: Provider) -> Integration {
    let id = IntegrationId::derived(&["example", provider.as_str()]);
    example::integration(provider, id, "acme".parse().unwrap()).unwrap()
}

/// Returns the result of a webhook, with one word for each event.
fn result_words(webhook: &dyn WebhookProvider, request: &WebhookRequest) -> String {
    let provider = webhook.provider();
    let credentials = (example::of(provider).credentials)();
    let source = webhook.source(&integration(provider), &credentials);
    match receive(&*source, request, Seed::FIXED) {
        Ok(ParsedWebhook::Handshake(reply)) => format!("{} {}", reply.status.as_u16(), reply.body),
        Ok(ParsedWebhook::Confirm(_)) => "confirmed".to_owned(),
        Ok(ParsedWebhook::Events(events)) => {
            let words = events.iter().map(|event| match &event.kind {
                EventKind::Message(message) => message.content.kind(),
                EventKind::Receipt(receipt) => receipt.status.as_str(),
                EventKind::Other { .. } => "other",
            });
            words.collect::<Vec<_>>().join(" ")
        }
        Err(Rejection::Unauthenticated(_)) => "unauthenticated".to_owned(),
        Err(Rejection::Forbidden(_)) => "forbidden".to_owned(),
        Err(Rejection::Unreadable(_)) => "unreadable".to_owned(),
        Err(Rejection::Invalid(_)) => "invalid".to_owned(),
        Err(Rejection::TooLarge(_)) => "too_large".to_owned(),
    }
}

#[test]
fn the_files_are_generated_from_the_examples() {
    let hint = "run: cargo xtask generate";
    let mut files = generator::files().unwrap();
    for (name, event) in generator::events().unwrap() {
        let file = files.remove(&name).unwrap_or_else(|| panic!("events/{name}.json: {hint}"));
        let (file, event) = (generator::comparable(file), generator::comparable(event));
        assert_eq!(file, event, "events/{name}.json: {hint}");
    }
    assert!(files.is_empty(), "no example generates {:?}", files.keys());
}

#[test]
fn every_handwritten_webhook_ends_as_its_name_says() {
    let expected = BTreeMap::from([
        ("whatsapp/text", "text"),
        ("whatsapp/text_base64", "text"),
        ("whatsapp/text_own_app", "text"),
        ("whatsapp/image", "image"),
        ("whatsapp/location", "location"),
        ("whatsapp/reaction", "reaction"),
        ("whatsapp/button", "button"),
        ("whatsapp/list_reply", "list_reply"),
        ("whatsapp/unsupported", "unsupported"),
        ("whatsapp/statuses", "sent delivered read"),
        ("whatsapp/failed", "failed"),
        ("whatsapp/batch", "text unsupported text sent delivered read text"),
        ("whatsapp/other_field", "other"),
        ("whatsapp/unreadable", "unreadable"),
        ("whatsapp/forged", "unauthenticated"),
        ("whatsapp/unsigned", "unauthenticated"),
        ("whatsapp/handshake", "200 1158201444"),
        ("whatsapp/handshake_wrong_token", "forbidden"),
        ("telegram/text", "text"),
        ("telegram/text_secret_path", "text"),
        ("telegram/photo", "image"),
        ("telegram/group", "text"),
        ("telegram/reply", "text"),
        ("telegram/unsupported", "unsupported"),
        ("telegram/callback_query", "button_reply"),
        ("telegram/reaction", "reaction"),
        ("telegram/my_chat_member", "other"),
        ("telegram/wrong_secret", "unauthenticated"),
        ("telegram/missing_secret", "unauthenticated"),
        ("telegram/wrong_path", "unauthenticated"),
    ]);
    let files = generator::files().unwrap();
    let ended: BTreeMap<&str, String> = files
        .iter()
        .filter_map(|(name, event)| {
            let (folder, _) = name.split_once('/')?;
            let is_handwritten = expected.contains_key(name.as_str());
            let webhook = providers::webhooks().find(|webhook| webhook.name() == folder)?;
            is_handwritten.then(|| (&**name, result_words(webhook, &request(event))))
        })
        .collect();
    let ended: BTreeMap<&str, &str> = ended.iter().map(|(name, end)| (*name, &**end)).collect();
    assert_eq!(ended, expected);
}

#[test]
fn every_example_file_produces_an_event_or_a_handshake() {
    let files = generator::files().unwrap();
    for (provider, one) in example::all() {
        let name = one.full_name();
        let event = files.get(&name).unwrap_or_else(|| panic!("events/{name}.json is missing"));
        let mut request = request(event);
        // A fetched certificate is not part of a file.
        request.signing_certificate = generator::signed(provider, one).0.signing_certificate;
        let end = result_words(example::webhook(provider, one), &request);
        let refused = ["unauthenticated", "forbidden", "unreadable", "invalid", ""];
        assert!(!refused.contains(&&*end), "events/{name}.json: {end}");
    }
}

/// Task of a replay.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "the test only checks that it can be parsed")]
struct Page {
    v: u8,
    tenant: TenantId,
    replay: ReplayId,
    cursor: String,
}

#[test]
fn every_record_is_a_task_of_its_queue() {
    let mut read = 0;
    for (name, event) in generator::files().unwrap() {
        let Some(records) = event.get("Records").and_then(Value::as_array) else { continue };
        for body in records.iter().map(|record| record["body"].as_str().unwrap()) {
            let fits = match name.split_once('/').unwrap().0 {
                "consumer-parked" => serde_json::from_str::<Parked>(body).is_ok(),
                "consumer-replay" => serde_json::from_str::<Page>(body).is_ok(),
                "consumer-inbound" | "consumer-receipts" | "consumer-events" => {
                    serde_json::from_str::<InboundEvent>(body).is_ok()
                }
                "consumer-automation" => serde_json::from_str::<NotificationTask>(body).is_ok(),
                "consumer-media" => serde_json::from_str::<MediaTask>(body).is_ok(),
                _ => serde_json::from_str::<OutboundTask>(body).is_ok(),
            };
            assert_eq!(fits, !name.ends_with("/poison"), "events/{name}.json");
            read += 1;
        }
    }
    assert!(read > 15, "only {read} records");
}
