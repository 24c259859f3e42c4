//! The files in `events/`: each is what its example makes, and ends as its name says.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../examples/events.rs"]
#[expect(dead_code, reason = "`main` writes the files, and the tests only read them")]
mod example;

use std::collections::BTreeMap;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::event::{EventKind, InboundEvent};
use domain::job::{DeliveryJob, MediaJob, OutboundJob};
use domain::webhook::{Delivery, Rejection, WebhookRequest, receive};
use domain::{Credentials, Provider};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use providers::{telegram, whatsapp};
use serde_json::Value;

/// Every file, by its path without `.json`.
fn files() -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    for folder in fs::read_dir(example::folder()).unwrap() {
        let folder = folder.unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let name = format!(
                "{}/{}",
                folder.file_name().to_str().unwrap(),
                path.file_stem().unwrap().to_str().unwrap()
            );
            files.insert(name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap());
        }
    }
    files
}

/// The event with its bodies read, so that the order of their fields does not matter.
fn comparable(mut event: Value) -> Value {
    let read = |event: &mut Value| {
        let bytes = bytes(event);
        if let Ok(body) = serde_json::from_slice::<Value>(&bytes) {
            event["body"] = body;
        }
        if let Some(headers) = event.get_mut("headers").and_then(Value::as_object_mut) {
            headers.remove("x-hub-signature-256");
        }
    };
    match event.get_mut("Records") {
        Some(records) => records.as_array_mut().unwrap().iter_mut().for_each(read),
        None => read(&mut event),
    }
    event
}

fn bytes(event: &Value) -> Bytes {
    let body = event.get("body").and_then(Value::as_str).unwrap_or_default();
    match event.get("isBase64Encoded") {
        Some(Value::Bool(true)) => STANDARD.decode(body).unwrap().into(),
        _ => Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn request(event: &Value, suffix: &str) -> WebhookRequest {
    let mut headers = HeaderMap::new();
    for (name, value) in event["headers"].as_object().unwrap() {
        let name: HeaderName = name.parse().unwrap();
        headers.insert(name, HeaderValue::from_str(value.as_str().unwrap()).unwrap());
    }
    let query = event.get("queryStringParameters").and_then(Value::as_object);
    let query = query.into_iter().flatten();
    let suffix = event["pathParameters"].get(suffix).and_then(Value::as_str);
    WebhookRequest {
        method: event["requestContext"]["http"]["method"].as_str().unwrap().parse().unwrap(),
        query: query.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect(),
        headers,
        body: bytes(event),
        path_suffix: suffix.map(str::to_owned),
    }
}

/// How a webhook ends, in one word for each event.
fn ending(
    provider: Provider,
    credentials: &Credentials,
    account: Option<&str>,
    event: &Value,
) -> String {
    let source = providers::webhook(provider).source(credentials, account);
    let suffix = if provider == Provider::Whatsapp { "integration" } else { "secret" };
    match receive(&*source, &request(event, suffix), Timestamp::UNIX_EPOCH) {
        Ok(Delivery::Handshake(reply)) => format!("{} {}", reply.status.as_u16(), reply.body),
        Ok(Delivery::Events(events)) => {
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
    }
}

#[test]
fn the_files_are_what_the_examples_make() {
    let hint = "run: cargo run -p providers --example events";
    let mut files = files();
    for (name, event) in example::events().unwrap() {
        let file = files.remove(name).unwrap_or_else(|| panic!("events/{name}.json: {hint}"));
        assert_eq!(comparable(file), comparable(event), "events/{name}.json: {hint}");
    }
    assert!(files.is_empty(), "nobody makes {:?}", files.keys());
}

#[test]
fn every_webhook_ends_as_its_name_says() {
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
    let (meta, bot) = (whatsapp::example::credentials(), telegram::example::credentials());
    let files = files();
    let ended: BTreeMap<&str, String> = files
        .iter()
        .filter_map(|(name, event)| match name.split_once('/')?.0.parse().ok()? {
            Provider::Whatsapp => Some((&**name, ending(Provider::Whatsapp, &meta, None, event))),
            Provider::Telegram => {
                let account = Some(telegram::example::BOT_ID);
                Some((&**name, ending(Provider::Telegram, &bot, account, event)))
            }
        })
        .collect();
    let ended: BTreeMap<&str, &str> = ended.iter().map(|(name, end)| (*name, &**end)).collect();
    assert_eq!(ended, expected);
}

#[test]
fn every_record_reads_as_the_job_of_its_queue() {
    let mut read = 0;
    for (name, event) in files() {
        let Some(records) = event.get("Records").and_then(Value::as_array) else { continue };
        for body in records.iter().map(|record| record["body"].as_str().unwrap()) {
            let fits = match name.split_once('/').unwrap().0 {
                "consumer-inbound" | "consumer-receipts" => {
                    serde_json::from_str::<InboundEvent>(body).is_ok()
                }
                "consumer-automation" => serde_json::from_str::<DeliveryJob>(body).is_ok(),
                "consumer-media" => serde_json::from_str::<MediaJob>(body).is_ok(),
                _ => serde_json::from_str::<OutboundJob>(body).is_ok(),
            };
            assert_eq!(fits, !name.ends_with("/poison"), "events/{name}.json");
            read += 1;
        }
    }
    assert!(read > 15, "only {read} records");
}
