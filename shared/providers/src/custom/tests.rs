use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::event::{EventKind, ParsedEvent};
use domain::integration::{FieldError, Settings};
use domain::webhook::{
    ParsedWebhook, Rejection, WebhookProvider, WebhookReply, WebhookRequest, receive,
};
use domain::{Content, Credentials, Integration, IntegrationId, Provider, Status, TenantId};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{SPEC, WEBHOOK, WEBHOOK_SECRET, example};
use crate::example::Seed;
use crate::standard_webhooks;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other}"),
    }
}

fn error(settings: Value) -> FieldError {
    (SPEC.settings)(&object(settings)).unwrap_err()
}

/// Returns an integration with settings in the form of `POST /integrations`.
fn integration(settings: Value) -> Integration {
    let settings = (SPEC.settings)(&object(settings)).unwrap();
    let account =
        (SPEC.account)(crate::spec::RequestedBy::Tenant, &settings, &Credentials::default())
            .unwrap();
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["custom"]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::Custom,
        settings,
        account,
        hints: BTreeMap::new(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    }
}

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn seed() -> Seed {
    Seed { at: now(), nonce: "0123456789abcdef".to_owned() }
}

fn receive_at(
    integration: &Integration,
    request: &WebhookRequest,
    secrets: &[&str],
    now: Timestamp,
) -> Result<ParsedWebhook, Rejection> {
    let values = secrets.iter().map(|secret| (*secret).into()).collect();
    let credentials = Credentials::new([(WEBHOOK_SECRET.to_owned(), values)]);
    receive(&*WEBHOOK.source(integration, &credentials), request, now)
}

fn receive_with(
    settings: Value,
    request: &WebhookRequest,
    secrets: &[&str],
) -> Result<ParsedWebhook, Rejection> {
    receive_at(&integration(settings), request, secrets, now())
}

fn event(result: Result<ParsedWebhook, Rejection>) -> ParsedEvent {
    match result.unwrap() {
        ParsedWebhook::Events(mut events) if events.len() == 1 => events.remove(0),
        other => panic!("{other:?}"),
    }
}

fn refused(result: &Result<ParsedWebhook, Rejection>) -> bool {
    matches!(result, Err(Rejection::Unauthenticated(_)))
}

fn post(headers: &[(&str, &str)], body: &[u8]) -> WebhookRequest {
    let header = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
    };
    WebhookRequest {
        method: Method::POST,
        headers: headers.iter().map(header).collect(),
        body: Bytes::copy_from_slice(body),
        ..WebhookRequest::default()
    }
}

fn signed(number: usize) -> WebhookRequest {
    let examples = &example::EXAMPLES;
    let draft = (examples.events[number].draft)(&seed());
    let url = "https://hub.example.com/webhooks/custom/int_1";
    (examples.sign)(&examples.events[number], &draft, &example::credentials(), url, now())
}

fn bearer() -> Value {
    json!({ "scheme": { "type": "bearer" } })
}

#[test]
fn every_example_is_accepted_and_parsed_as_expected() {
    let settings = || Value::Object((example::EXAMPLES.settings)());
    let expected = [
        ("booking.created", "booking.created-0123456789abcdef", "corner", Some("4711")),
        ("booking.cancelled", "booking.cancelled-0123456789abcdef", "corner", Some("4711")),
        ("webhook", "", "", None),
        ("form.sent", "0123456789abcdef", "corner", None),
    ];
    assert_eq!(example::EXAMPLES.events.len(), expected.len());
    for (number, (name, id, account, key)) in expected.into_iter().enumerate() {
        let secrets = [example::WEBHOOK_SECRET];
        let received = event(receive_with(settings(), &signed(number), &secrets));
        assert_eq!(received.kind, EventKind::Other { name: name.to_owned() });
        assert_eq!((received.account.as_str(), received.ordering_key.as_deref()), (account, key));
        if id.is_empty() {
            assert_eq!((received.id.len(), received.occurred_at), (64, None));
        } else {
            assert_eq!((received.id.as_str(), received.occurred_at), (id, Some(now())));
        }
        let again = event(receive_with(settings(), &signed(number), &secrets));
        assert_eq!(again.id, received.id, "a redelivery is the same event");
    }
}

#[test]
fn one_changed_byte_of_the_body_timestamp_or_signature_is_rejected() {
    let settings = || Value::Object(example::settings());
    let good = signed(0);
    let refused = |request: &WebhookRequest| {
        refused(&receive_with(settings(), request, &[example::WEBHOOK_SECRET]))
    };
    for place in 0..good.body.len() {
        let mut body = good.body.to_vec();
        body[place] ^= 1;
        assert!(refused(&WebhookRequest { body: body.into(), ..good.clone() }), "{place}");
    }
    let own = example::signature(example::WEBHOOK_SECRET, now(), &good.body);
    for (name, value) in [
        ("x-timestamp", "1795176001"),
        ("x-timestamp", "01795176000"),
        ("x-timestamp", ""),
        ("x-signature", ""),
        ("x-signature", "sha256="),
        ("x-signature", &own[7..]),
        ("x-signature", &own[..69]),
        ("x-signature", &own.replace("sha256=", "sha1=")),
    ] {
        let mut request = good.clone();
        request.headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        assert!(refused(&request), "{name} {value}");
    }
    for name in ["x-timestamp", "x-signature"] {
        let mut without = good.clone();
        without.headers.remove(name);
        assert!(refused(&without));
        let mut twice = good.clone();
        let value = good.headers.get(name).unwrap().clone();
        twice.headers.append(name, value);
        assert!(refused(&twice));
    }
    assert!(refused(&WebhookRequest { method: Method::PUT, ..good }));
}

#[test]
fn a_signed_timestamp_is_valid_within_the_tolerance() {
    let request = signed(0);
    let at = |tolerance: Option<u32>, seconds: i64| {
        let mut settings = Value::Object(example::settings());
        if let Some(tolerance) = tolerance {
            settings["scheme"]["timestamp"]["tolerance_seconds"] = json!(tolerance);
        }
        let now = now() + SignedDuration::from_secs(seconds);
        receive_at(&integration(settings), &request, &[example::WEBHOOK_SECRET], now).is_ok()
    };
    assert!(at(None, 300) && at(None, -300) && !at(None, 301) && !at(None, -301));
    assert!(at(Some(60), 60) && !at(Some(60), 61));
    assert!(at(Some(86_400), 86_400));
}

#[test]
fn every_algorithm_encoding_prefix_and_separator_verifies() {
    let body = br#"{"a":1}"#;
    for (name, algorithm) in [
        ("sha1", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        ("sha256", hmac::HMAC_SHA256),
        ("sha512", hmac::HMAC_SHA512),
    ] {
        for encoding in ["hex", "base64"] {
            for (prefix, separator) in [("", None), ("v1=", Some("")), ("", Some(":"))] {
                let time = separator.map_or("", |_| "1795176000");
                let signed = [time.as_bytes(), separator.unwrap_or("").as_bytes(), body].concat();
                let tag = hmac::sign(&hmac::Key::new(algorithm, b"s"), &signed);
                let tag = match encoding {
                    "hex" => hex::encode(tag),
                    _ => STANDARD.encode(tag),
                };
                let mut scheme = json!({ "type": "hmac", "header": "X-Sig", "algorithm": name,
                    "encoding": encoding, "prefix": prefix });
                if let Some(separator) = separator {
                    scheme["timestamp"] = json!({ "header": "X-Time", "separator": separator });
                }
                let settings = json!({ "scheme": scheme });
                let value = format!("{prefix}{tag}");
                let request = post(&[("x-sig", &value), ("x-time", "1795176000")], body);
                assert!(
                    receive_with(settings.clone(), &request, &["old", "s"]).is_ok(),
                    "{settings}"
                );
                assert!(refused(&receive_with(settings.clone(), &request, &["old"])), "{settings}");
                let mut other = request.clone();
                other.body = Bytes::from_static(br#"{"a":2}"#);
                assert!(refused(&receive_with(settings, &other, &["s"])));
            }
        }
    }
}

#[test]
fn a_bearer_token_a_header_and_basic_credentials_verify() {
    let header = json!({ "scheme": { "type": "header", "name": "X-Token" } });
    let basic = json!({ "scheme": { "type": "basic" } });
    let pair = format!("Basic {}", STANDARD.encode("user:pass:word"));
    for (settings, secret, name, value) in [
        (bearer(), "token", "authorization", "Bearer token"),
        (bearer(), "token", "authorization", "bearer  token"),
        (header, "token", "x-token", "token"),
        (basic, "user:pass:word", "authorization", pair.as_str()),
    ] {
        let request = post(&[(name, value)], b"{}");
        assert!(receive_with(settings.clone(), &request, &["new", secret]).is_ok(), "{value}");
        for secrets in [&["new"][..], &[""], &[]] {
            assert!(refused(&receive_with(settings.clone(), &request, secrets)), "{value}");
        }
        for wrong in
            ["", "token2", "Bearer", "Bearer ", "Bearer toke", "Basic", "Basic !", "Basic "]
        {
            let request = post(&[(name, wrong)], b"{}");
            assert!(refused(&receive_with(settings.clone(), &request, &[secret])), "{wrong}");
        }
        assert!(refused(&receive_with(settings.clone(), &post(&[], b"{}"), &[secret])));
        let twice = post(&[(name, value)], b"{}");
        let mut headers: HeaderMap = twice.headers.clone();
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        let twice = WebhookRequest { headers, ..twice };
        assert!(refused(&receive_with(settings, &twice, &[secret])));
    }
}

#[test]
fn standard_webhooks_verify_and_use_their_own_id() {
    let secret = standard_webhooks::secret(&[7; 32]).unwrap();
    let text = secrecy::ExposeSecret::expose_secret(&secret).to_owned();
    let value = standard_webhooks::sign(&[secret], "msg_1", now(), b"{}").unwrap();
    let headers = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", "1795176000"),
        ("webhook-signature", value.as_str()),
    ];
    let settings =
        || json!({ "scheme": { "type": "standard_webhooks" }, "event": { "id": "webhook-id" } });
    assert_eq!(event(receive_with(settings(), &post(&headers, b"{}"), &[&text])).id, "msg_1");
    assert!(refused(&receive_with(settings(), &post(&headers, b"[]"), &[&text])));
    assert!(refused(&receive_with(settings(), &post(&headers, b"{}"), &[])));
}

#[test]
fn nothing_verifies_without_a_secret_or_a_scheme() {
    let empty = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), b"{}");
    let request = post(&[("x-sig", &hex::encode(empty)), ("authorization", "Bearer ")], b"{}");
    let hmac = json!({ "scheme": { "type": "hmac", "header": "X-Sig" } });
    for settings in [hmac, bearer()] {
        for secrets in [&[""][..], &[]] {
            assert!(refused(&receive_with(settings.clone(), &request, secrets)));
        }
    }
    let mut without = integration(bearer());
    without.settings = Settings(Map::new());
    let request = post(&[("authorization", "Bearer s")], b"{}");
    assert!(refused(&receive_at(&without, &request, &["s"], now())));
}

#[test]
fn event_fields_are_read_from_the_body_or_headers() {
    let settings = json!({
        "account": "fallback",
        "scheme": { "type": "bearer" },
        "event": { "id": "X-Id", "name": "/a~1b/0/~0n", "time": "/when", "account": "/who" },
    });
    let read = |body: Value, id: &str| {
        let headers = [("authorization", "Bearer s"), ("x-id", id)];
        event(receive_with(settings.clone(), &post(&headers, body.to_string().as_bytes()), &["s"]))
    };
    let received =
        read(json!({ "a/b": [{ "~n": "it" }], "when": 1_795_176_000_123_i64, "who": 7 }), "5");
    assert_eq!(received.kind, EventKind::Other { name: "it".into() });
    assert_eq!((received.id.as_str(), received.account.as_str()), ("5", "7"));
    assert_eq!(received.occurred_at.unwrap().as_millisecond(), 1_795_176_000_123);
    let bare = read(json!({ "when": "soon", "who": null, "a/b": [true] }), " ");
    assert_eq!(bare.kind, EventKind::Other { name: "webhook".into() });
    assert_eq!((bare.id.len(), bare.account.as_str()), (64, "fallback"));
    assert_eq!(bare.occurred_at, None);
    let long = "x".repeat(600);
    let long = read(json!({ "a/b": [{ "~n": long }], "who": long }), &long);
    assert_eq!((long.id.len(), long.account.as_str()), (64, "fallback"));
    assert_eq!(long.kind, EventKind::Other { name: "webhook".into() });
}

#[test]
fn without_an_id_the_event_is_identified_by_its_name_and_body() {
    let settings = json!({ "scheme": { "type": "bearer" }, "event": { "name": "X-Event" } });
    let id = |name: &str, body: &[u8]| {
        let headers = [("authorization", "Bearer s"), ("x-event", name)];
        event(receive_with(settings.clone(), &post(&headers, body), &["s"])).id
    };
    assert_eq!(id("a", b"{}"), id("a", b"{}"));
    assert_ne!(id("a", b"{}"), id("b", b"{}"));
    assert_ne!(id("a", b"{}"), id("a", b"{ }"));
}

#[test]
fn any_verified_body_is_kept_byte_for_byte_or_as_text() {
    let settings =
        || json!({ "scheme": { "type": "bearer" }, "event": { "id": "/id", "time": "/t" } });
    let deep = "[".repeat(100_000);
    for (body, kept) in [
        (&b""[..], r#""""#),
        (b"plain", r#""plain""#),
        (br#"{ "id":1e999 }"#, r#"{ "id":1e999 }"#),
        (b"\xff", r#"{"base64":"/w=="}"#),
        (br#"{"id":{},"t":[]}"#, r#"{"id":{},"t":[]}"#),
        (deep.as_bytes(), ""),
    ] {
        let request = post(&[("authorization", "Bearer s")], body);
        let received = event(receive_with(settings(), &request, &["s"]));
        assert_eq!(received.id.len(), 64);
        if !kept.is_empty() {
            assert_eq!(received.raw.get(), kept);
        }
    }
}

#[test]
fn every_invalid_setting_is_rejected_with_its_field_and_without_its_value() {
    let hmac = |part: Value| {
        let mut scheme = object(json!({ "type": "hmac", "header": "X-Sig" }));
        scheme.extend(object(part));
        json!({ "scheme": scheme })
    };
    let with = |part: Value| {
        let mut settings = object(bearer());
        settings.extend(object(part));
        Value::Object(settings)
    };
    for (settings, field) in [
        (json!({}), "settings.scheme"),
        (json!({ "scheme": "wrong!" }), "settings.scheme"),
        (json!({ "scheme": {} }), "settings.scheme.type"),
        (json!({ "scheme": { "type": "wrong!" } }), "settings.scheme.type"),
        (json!({ "scheme": { "type": "hmac" } }), "settings.scheme.header"),
        (json!({ "scheme": { "type": "header" } }), "settings.scheme.name"),
        (json!({ "scheme": { "type": "header", "name": "wrong! é" } }), "settings.scheme.name"),
        (json!({ "scheme": { "type": "bearer", "name": "x" } }), "settings.scheme.name"),
        (hmac(json!({ "header": "wrong! é" })), "settings.scheme.header"),
        (hmac(json!({ "header": 7 })), "settings.scheme.header"),
        (hmac(json!({ "algorithm": "wrong!" })), "settings.scheme.algorithm"),
        (hmac(json!({ "encoding": "wrong!" })), "settings.scheme.encoding"),
        (hmac(json!({ "prefix": "wrong!\n" })), "settings.scheme.prefix"),
        (hmac(json!({ "prefix": "x".repeat(33) })), "settings.scheme.prefix"),
        (hmac(json!({ "signed": "body" })), "settings.scheme.signed"),
        (hmac(json!({ "timestamp": {} })), "settings.scheme.timestamp.header"),
        (hmac(json!({ "timestamp": { "header": "" } })), "settings.scheme.timestamp.header"),
        (
            hmac(json!({ "timestamp": { "header": "X", "tolerance_seconds": 0 } })),
            "settings.scheme.timestamp.tolerance_seconds",
        ),
        (
            hmac(json!({ "timestamp": { "header": "X", "tolerance_seconds": -41_975 } })),
            "settings.scheme.timestamp.tolerance_seconds",
        ),
        (
            hmac(json!({ "timestamp": { "header": "X", "separator": "é" } })),
            "settings.scheme.timestamp.separator",
        ),
        (with(json!({ "secret": "wrong!" })), "settings.secret"),
        (with(json!({ "event": { "id": "" } })), "settings.event.id"),
        (with(json!({ "event": { "name": "/wrong!~2" } })), "settings.event.name"),
        (with(json!({ "event": { "time": "wrong! é" } })), "settings.event.time"),
        (with(json!({ "event": { "key": "/x" } })), "settings.event.key"),
        (with(json!({ "event": { "account": 7 } })), "settings.event.account"),
        (with(json!({ "answer": { "status": 302 } })), "settings.answer.status"),
        (with(json!({ "answer": { "status": 70_000 } })), "settings.answer.status"),
        (with(json!({ "answer": { "status": 204, "body": "wrong!" } })), "settings.answer.body"),
        (with(json!({ "answer": { "body": "x".repeat(4_097) } })), "settings.answer.body"),
    ] {
        let error = error(settings.clone());
        assert_eq!(error.field, field, "{settings}");
        let said = error.to_string();
        assert!(!said.contains("wrong!") && !said.contains("41975"), "{said}");
    }
    let settings = (SPEC.settings)(&object(with(json!({ "account": "" })))).unwrap();
    let error =
        (SPEC.account)(crate::spec::RequestedBy::Tenant, &settings, &Credentials::default())
            .unwrap_err();
    assert_eq!(error.field, "settings.account");
}

#[test]
fn settings_are_stored_with_their_defaults_and_can_be_read_again() {
    let given = json!({ "scheme": { "type": "hmac", "header": "X-Sig" } });
    let Settings(kept) = (SPEC.settings)(&object(given)).unwrap();
    assert_eq!(kept["scheme"]["algorithm"], "sha256");
    assert_eq!(kept["scheme"]["encoding"], "hex");
    assert_eq!(kept["answer"]["status"], 200);
    assert_eq!((SPEC.settings)(&kept).unwrap(), Settings(kept));
    assert!((SPEC.settings)(&example::settings()).is_ok());
}

#[test]
fn the_response_comes_from_the_settings() {
    let answer = |answer: Value| {
        WEBHOOK
            .accepted_by(&integration(json!({ "scheme": { "type": "bearer" }, "answer": answer })))
    };
    assert_eq!(WEBHOOK.accepted_by(&integration(bearer())), WebhookReply::empty(StatusCode::OK));
    assert_eq!(answer(json!({ "status": 202 })), WebhookReply::empty(StatusCode::ACCEPTED));
    let json = answer(json!({ "body": r#"{"ok": true}"# }));
    assert_eq!((json.content_type, json.body.as_str()), ("application/json", r#"{"ok": true}"#));
    assert!(answer(json!({ "body": "OK" })).content_type.starts_with("text/plain"));
}

/// Returns the events of a request to the example BSP's integration.
fn bsp_events(body: &Value) -> Vec<ParsedEvent> {
    let settings = Value::Object(example::sending_settings("https://waba.example"));
    let bytes = Bytes::from(body.to_string());
    let at = now().as_second().to_string();
    let signature = example::signature(example::WEBHOOK_SECRET, now(), &bytes);
    let request = post(&[("x-timestamp", &at), ("x-signature", &signature)], &bytes);
    let source = WEBHOOK.source(&integration(settings), &example::credentials());
    match receive(&*source, &request, now()).unwrap() {
        ParsedWebhook::Events(events) => events,
        other => panic!("{other:?}"),
    }
}

fn change(value: &Value) -> Value {
    json!({ "entry": [{ "changes": [{ "value": value }] }] })
}

#[test]
fn messages_are_parsed_where_the_settings_say() {
    let message = |id: &str, from: &str| {
        json!({ "id": id, "from": from, "timestamp": "1795176000",
        "type": "text", "text": { "body": "hi" }, "context": { "id": "wamid.0" } })
    };
    let image = json!({ "id": "C", "from": "4915550009999", "image": { "id": "7" } });
    let all = [message("A", "+49 15550009999"), message("B", "4915550008888"), image.clone()];
    let events = bsp_events(&change(&json!({ "messages": all })));
    let [first, second, third] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((&*first.id, &*second.id, &*third.id), ("message:A", "message:B", "message:C"));
    assert_eq!(first.ordering_key.as_deref(), Some("4915550009999"));
    assert_eq!(first.occurred_at, "2026-11-20T12:00:00Z".parse().ok());
    assert_eq!(serde_json::from_str::<Value>(first.raw.get()).unwrap(), all[0]);
    let EventKind::Message(read) = &first.kind else { panic!() };
    assert_eq!((&*read.from, read.reply_to.as_deref()), ("4915550009999", Some("wamid.0")));
    assert_eq!(read.content, Content::Text { text: "hi".into() });
    let EventKind::Message(read) = &third.kind else { panic!() };
    assert_eq!(read.content, Content::Unsupported { raw: image });
}

#[test]
fn receipts_have_the_mapped_status_of_a_message() {
    let message_id = domain::MessageId::derived(&["m"]);
    let status = |id: &str, status: &str| {
        json!({ "id": id, "status": status,
        "biz_opaque_callback_data": message_id.to_string(), "errors": [{ "code": 131_026 }] })
    };
    let all = ["sent", "delivered", "read", "failed", "odd"].map(|word| status("W", word));
    let events = bsp_events(&change(&json!({ "statuses": all })));
    let read: Vec<_> = events
        .iter()
        .map(|event| match &event.kind {
            EventKind::Receipt(receipt) => {
                assert_eq!(
                    (&*receipt.provider_message_id, receipt.reference),
                    ("W", Some(message_id))
                );
                (receipt.status, receipt.code.as_deref())
            }
            EventKind::Other { name } => {
                assert_eq!(name, "receipt");
                (Status::Unknown, None)
            }
            EventKind::Message(_) => panic!("{event:?}"),
        })
        .collect();
    let expected = [
        (Status::Sent, None),
        (Status::Delivered, None),
        (Status::Read, None),
        (Status::Failed, Some("131026")),
        (Status::Unknown, None),
    ];
    assert_eq!(read, expected);
    assert_eq!(events[1].id, "receipt:delivered:W");
    assert_eq!(events[1].ordering_key.as_deref(), Some("message:W"));
}

#[test]
fn a_request_without_messages_or_receipts_is_one_event() {
    for body in [json!({ "id": "x" }), change(&json!({ "messages": [{ "id": "A" }] }))] {
        let events = bsp_events(&body);
        assert_eq!(events.len(), 1);
        assert!(matches!(&events[0].kind, EventKind::Other { .. }));
        assert_eq!(serde_json::from_str::<Value>(events[0].raw.get()).unwrap(), body);
    }
}

#[test]
fn only_parts_with_the_required_values_are_parsed() {
    let rules =
        json!({ "at": "/events/*", "when": { "/type": "in" }, "id": "/id", "from": "/who" });
    let settings = json!({ "scheme": { "type": "bearer" }, "message": rules });
    let event = |kind: &str| json!({ "type": kind, "id": kind, "who": "4915550009999" });
    let body = json!({ "events": [event("in"), event("out"), { "type": "in" }] });
    let source = WEBHOOK.source(&integration(settings), &example::credentials());
    let bearer = format!("Bearer {}", example::WEBHOOK_SECRET);
    let request = post(&[("authorization", &bearer)], body.to_string().as_bytes());
    let ParsedWebhook::Events(events) = receive(&*source, &request, now()).unwrap() else {
        panic!()
    };
    assert_eq!(events.iter().map(|event| &*event.id).collect::<Vec<_>>(), ["message:in"]);
}

#[test]
fn message_and_receipt_pointers_are_validated() {
    let with = |part: Value| {
        let mut settings = object(bearer());
        settings.extend(object(part));
        Value::Object(settings)
    };
    let message = |part: Value| {
        let mut rules = object(json!({ "id": "/id", "from": "/from" }));
        rules.extend(object(part));
        with(json!({ "message": rules }))
    };
    let receipt = |part: Value| {
        let mut rules = object(json!({ "id": "/id", "status": "/status", "statuses": {} }));
        rules.extend(object(part));
        with(json!({ "receipt": rules }))
    };
    for (settings, field) in [
        (message(json!({ "at": "x" })), "settings.message.at"),
        (message(json!({ "when": { "x": "y" } })), "settings.message.when"),
        (message(json!({ "from": "x" })), "settings.message.from"),
        (message(json!({ "text": "x" })), "settings.message.text"),
        (with(json!({ "message": {} })), "settings.message.id"),
        (receipt(json!({ "status": "x" })), "settings.receipt.status"),
        (receipt(json!({ "code": "x" })), "settings.receipt.code"),
        (receipt(json!({ "statuses": { "x": "lost" } })), "settings.receipt.statuses.x"),
        (with(json!({ "messages_per_second": 0 })), "settings.messages_per_second"),
    ] {
        assert_eq!(error(settings.clone()).field, field, "{settings}");
    }
}
