use super::*;
use crate::example::{Draft, Seed};
use crate::infobip::{SPEC, WEBHOOK, example};
use crate::vectors;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::integration::Settings as IntegrationSettings;
use domain::webhook::receive;
use domain::{IntegrationId, MessageId, TenantId};
use http::{HeaderMap, header};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const URL: &str = "https://hub.example.com/webhooks/infobip";
const NOW: i64 = 1_795_176_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn integration(settings: &Map<String, Value>) -> Integration {
    let settings = (SPEC.settings)(settings).unwrap();
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["infobip"]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::Infobip,
        account: (SPEC.account)(
            crate::spec::RequestedBy::Tenant,
            &settings,
            &Credentials::default(),
        )
        .unwrap(),
        settings,
        hints: BTreeMap::new(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    }
}

fn secrets(values: &[&str]) -> Credentials {
    let values = values.iter().map(|value| (*value).into()).collect();
    Credentials::new([(crate::infobip::WEBHOOK_SECRET.to_owned(), values)])
}

fn source(security: &str, values: &[&str]) -> Box<dyn WebhookSource> {
    let settings = Map::from_iter([("security".to_owned(), security.into())]);
    WEBHOOK.source(&integration(&settings), &secrets(values))
}

fn receive_it(request: &WebhookRequest) -> Result<Vec<ParsedEvent>, Rejection> {
    let integration = integration(&(example::EXAMPLES.settings)());
    let source = WEBHOOK.source(&integration, &example::credentials());
    match receive(&*source, request, now())? {
        ParsedWebhook::Events(events) => Ok(events),
        other => panic!("{other:?}"),
    }
}

fn signed(body: impl Into<Bytes>) -> WebhookRequest {
    let first = &example::EXAMPLES.events[0];
    let draft = Draft::json(Value::Null);
    let request = (example::EXAMPLES.sign)(first, &draft, &example::credentials(), URL, now());
    WebhookRequest { body: body.into(), ..request }
}

fn events(body: &Value) -> Vec<ParsedEvent> {
    receive_it(&signed(body.to_string())).unwrap()
}

fn entry(entry: &Value) -> ParsedEvent {
    let mut events = events(&json!({ "results": [entry] }));
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn message(content: &Value) -> InboundMessage {
    match entry(&example::message("M", content, now())).kind {
        EventKind::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn name(event: &ParsedEvent) -> &str {
    match &event.kind {
        EventKind::Other { name } => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_vector_verifies_with_its_own_method_only() {
    for vector in vectors::read(include_str!("vectors.json"), 5) {
        let (request, at) = (vector.request(), vector.now_or(now()));
        for security in ["basic", "hmac", "bearer"] {
            let result = receive(&*source(security, &[&vector.secret]), &request, at);
            let good = vector.accepted && vector.own["security"] == security;
            assert_eq!(result.is_ok(), good, "{} {security}", vector.name);
            let Ok(ParsedWebhook::Events(events)) = result else { continue };
            assert_eq!((&*events[0].id, &*events[0].account), ("message:wamid.X", "41793026731"));
            assert_eq!(events[0].occurred_at.unwrap().to_string(), "2025-01-01T10:10:00Z");
            assert_eq!(events[0].ordering_key.as_deref(), Some("385919998888"));
        }
    }
}

#[test]
fn every_example_is_accepted_and_a_redelivery_has_equal_ids() {
    let expected: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("text", &["text 4915550009999"][..]),
        ("image_and_button", &["image 4915550009999", "button_reply 4915550009999"]),
        (
            "delivered",
            &["Delivered message:a1b2c3d4e5f60718-1", "Delivered message:a1b2c3d4e5f60718-2"],
        ),
        ("undeliverable", &["Failed message:a1b2c3d4e5f60718"]),
        ("seen", &["Read message:a1b2c3d4e5f60718"]),
        ("template_approved", &["template_status_update "]),
    ]);
    let examples = &example::EXAMPLES;
    assert_eq!(examples.events.len(), expected.len());
    let mut ids = BTreeSet::new();
    for example in examples.events {
        assert_eq!(example.webhook, WEBHOOK.name());
        let make = |nonce: &str| {
            let draft = (example.draft)(&Seed { at: now(), nonce: nonce.to_owned() });
            let request = (examples.sign)(example, &draft, &(examples.credentials)(), URL, now());
            receive_it(&request).unwrap()
        };
        let first = make("a1b2c3d4e5f60718");
        let found: Vec<_> = first
            .iter()
            .map(|event| {
                let kind = match &event.kind {
                    EventKind::Message(message) => message.content.kind().to_owned(),
                    EventKind::Receipt(receipt) => format!("{:?}", receipt.status),
                    EventKind::Other { name } => name.clone(),
                };
                format!("{kind} {}", event.ordering_key.as_deref().unwrap_or_default())
            })
            .collect();
        assert_eq!(found, expected[example.name]);
        assert!(first.iter().all(|event| event.account == example::ACCOUNT));
        assert!(first.iter().all(|event| event.occurred_at == Some(now())));
        let id = |events: &[ParsedEvent]| -> Vec<_> {
            events.iter().map(|event| event.id.clone()).collect()
        };
        assert_eq!(id(&first), id(&make("a1b2c3d4e5f60718")));
        assert_ne!(id(&first), id(&make("ffffffffffffffff")));
        assert!(id(&first).into_iter().all(|id| ids.insert(id)), "{}", example.name);
    }
}

#[test]
fn each_part_is_kept_byte_for_byte() {
    let part = r#"{ "messageId" : "A","seenAt":"2018-12-12T11:21:58.251+0000", "x":1.0 }"#;
    let events = receive_it(&signed(format!(" {{\"results\":[ {part} ,{{}}]}} "))).unwrap();
    assert_eq!((events.len(), events[0].raw.get()), (2, part));
    assert_eq!(events[0].occurred_at.unwrap().to_string(), "2018-12-12T11:21:58.251Z");
}

#[test]
fn a_time_is_parsed_with_and_without_a_colon_and_in_any_zone() {
    let at = |time: Value| entry(&json!({ "messageId": "A", "seenAt": time })).occurred_at;
    for same in [
        "2019-04-09T19:01:56.494+0000",
        "2019-04-09T19:01:56.494+00:00",
        "2019-04-09T19:01:56.494Z",
        "2019-04-09T16:01:56.494-0300",
    ] {
        assert_eq!(at(json!(same)).unwrap().to_string(), "2019-04-09T19:01:56.494Z");
    }
    for odd in [json!(""), json!("soon"), json!(5), json!({}), json!("2019-04-09T19:01:56.494")] {
        assert_eq!(at(odd), None);
    }
}

#[test]
fn a_message_has_its_senders_name_and_the_message_it_answers() {
    let text = json!({ "type": "TEXT", "text": "hi", "context": { "id": "Q", "from": "1" } });
    let message = message(&text);
    assert_eq!((&*message.from, message.name.as_deref()), (example::PERSON, Some("Zoë Müller")));
    assert_eq!((&*message.provider_message_id, message.reply_to.as_deref()), ("M", Some("Q")));
    assert_eq!(message.content, Content::Text { text: "hi".into() });
}

#[test]
fn an_sms_is_a_message_too() {
    let sms = json!({ "messageId": "S", "from": "49155", "to": "49156", "text": "Stop", "cleanText": "", "keyword": "STOP", "receivedAt": "2025-01-01T10:10:00.000+0000" });
    for event in [entry(&sms), events(&sms).remove(0)] {
        assert_eq!((&*event.account, &*event.id), ("49156", "message:S"));
        let EventKind::Message(message) = event.kind else { panic!() };
        assert_eq!(message.content, Content::Text { text: "Stop".into() });
    }
}

#[test]
fn content_of_every_type_is_parsed() {
    let kind = |content: &Value| message(content).content;
    for (name, expected) in [
        ("IMAGE", "image"),
        ("VIDEO", "video"),
        ("AUDIO", "audio"),
        ("VOICE", "audio"),
        ("DOCUMENT", "document"),
        ("STICKER", "sticker"),
    ] {
        let content = kind(&json!({ "type": name, "url": "https://x.example/1", "caption": "c" }));
        assert_eq!(content.kind(), expected);
        let media = content.media().unwrap();
        assert_eq!(media.provider_media_id.as_deref(), Some("https://x.example/1"));
        assert_eq!((media.caption.as_deref(), media.url.as_deref()), (Some("c"), None));
    }
    let place = kind(&json!({ "type": "LOCATION", "latitude": 1.5, "longitude": 2, "name": "n" }));
    let Content::Location { location } = place else { panic!() };
    assert_eq!(
        (location.latitude, location.longitude, location.name.as_deref()),
        (1.5, 2.0, Some("n"))
    );
    let cards = kind(
        &json!({ "type": "CONTACT", "contacts": [{ "name": { "firstName": "A", "lastName": "B" }, "phones": [{ "phone": "+1", "type": "CELL" }, {}], "emails": [{ "email": "a@example.com" }] }] }),
    );
    let Content::Contacts { contacts } = cards else { panic!() };
    assert_eq!(
        (&*contacts[0].name, &*contacts[0].phones[0], &*contacts[0].emails[0]),
        ("A B", "+1", "a@example.com")
    );
    let button = kind(&json!({ "type": "BUTTON", "text": "Yes", "payload": "y" }));
    assert!(
        matches!(button, Content::Button { text, button } if text == "Yes" && button.payload == "y")
    );
    let row = kind(
        &json!({ "type": "INTERACTIVE_LIST_REPLY", "id": "r", "title": "T", "description": "D" }),
    );
    assert!(
        matches!(row, Content::ListReply { reply, .. } if reply.id == "r" && reply.description.as_deref() == Some("D"))
    );
    let reaction = message(&json!({ "type": "REACTION", "emoji": "👍", "context": { "id": "Q" } }));
    assert_eq!(reaction.reply_to, None);
    assert!(
        matches!(reaction.content, Content::Reaction { reaction } if reaction.message_id == "Q" && reaction.emoji == "👍")
    );
    for odd in [
        json!({}),
        json!("x"),
        json!(5),
        json!({ "type": "ORDER" }),
        json!({ "type": "TEXT" }),
        json!({ "type": "TEXT", "text": 5 }),
        json!({ "type": "IMAGE" }),
        json!({ "type": "LOCATION", "latitude": "x", "longitude": 1 }),
        json!({ "type": "CONTACT", "contacts": [{ "phones": 5 }] }),
        json!({ "type": "REACTION", "emoji": "👍" }),
        json!({ "type": "INTERACTIVE_BUTTON_REPLY", "id": "r" }),
    ] {
        assert_eq!(kind(&odd).kind(), "unsupported", "{odd}");
    }
}

#[test]
fn a_report_has_the_status_of_a_message_and_the_reason_of_a_failure() {
    let read = |group: &str, name: &str| entry(&example::delivery("M", (0, group), name, now()));
    for (group, name, status) in [
        ("DELIVERED", "DELIVERED_TO_HANDSET", Status::Delivered),
        ("UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED", Status::Failed),
        ("EXPIRED", "EXPIRED_EXPIRED", Status::Failed),
        ("REJECTED", "REJECTED_NOT_ENOUGH_CREDITS", Status::Failed),
    ] {
        let event = read(group, name);
        assert_eq!(event.id, format!("delivery:{name}:M"));
        let EventKind::Receipt(receipt) = event.kind else { panic!() };
        assert_eq!((receipt.status, &*receipt.provider_message_id), (status, "M"));
        let failed = status == Status::Failed;
        assert_eq!(receipt.code.as_deref(), failed.then_some("EC_UNKNOWN_SUBSCRIBER"));
        assert_eq!(receipt.detail.as_deref(), failed.then_some("Unknown Subscriber"));
    }
    assert_eq!(name(&read("PENDING", "PENDING_ENROUTE")), "delivery");
    assert_eq!(name(&read("NEW", "NEW_GROUP")), "delivery");

    // Without an error of its own, the status is the reason.
    let mut plain = example::delivery("M", (5, "REJECTED"), "REJECTED_SENDER", now());
    plain["error"] = json!({ "groupName": "OK", "name": "NO_ERROR" });
    let EventKind::Receipt(receipt) = entry(&plain).kind else { panic!() };
    assert_eq!(
        (receipt.code.as_deref(), receipt.detail.as_deref()),
        (
            Some("REJECTED_SENDER"),
            Some(
                "The account has blocked its own sender. Remove it from the blocklist at Infobip."
            )
        )
    );
}

#[test]
fn a_report_of_a_duplicate_attempt_is_not_a_receipt() {
    let mut report = example::delivery("M", (2, "UNDELIVERABLE"), "UNDELIVERABLE_NOT_SENT", now());
    report["error"] = json!({ "groupName": "SYSTEM_ERRORS", "name": "EC_DUPLICATE_REQUEST" });
    assert_eq!(name(&entry(&report)), "delivery");
}

#[test]
fn a_receipt_has_the_message_id_from_the_callback_data() {
    let message_id = MessageId::derived(&["x"]);
    let reference = |report: &Value| match entry(report).kind {
        EventKind::Receipt(receipt) => receipt.reference,
        other => panic!("{other:?}"),
    };
    let mut report = example::delivery("M", (3, "DELIVERED"), "DELIVERED_TO_HANDSET", now());
    assert_eq!(reference(&report), None);
    report["callbackData"] = json!("somebody else's");
    assert_eq!(reference(&report), None);
    report["callbackData"] = json!(message_id.to_string());
    assert_eq!(reference(&report), Some(message_id));
    let named =
        example::delivery(&message_id.to_string(), (3, "DELIVERED"), "DELIVERED_TO_HANDSET", now());
    assert_eq!(reference(&named), Some(message_id));
}

#[test]
fn other_events_are_recorded_under_their_own_names() {
    for (body, expected) in [
        (
            json!({ "from": "1", "content": { "type": "user_identity_changed", "userNumber": "2" }, "createdAt": "2022-01-18T23:23:09.206+0000" }),
            "user_identity_changed",
        ),
        (json!({ "from": "1", "content": { "type": "payment", "paymentId": "p" } }), "payment"),
        (json!({ "change": { "type": "TEMPLATE_STATUS_UPDATE" } }), "template_status_update"),
        (json!({ "change": { "type": "a b" } }), "unknown"),
        (json!({ "content": 5 }), "unknown"),
        (
            json!({ "results": [{ "messageId": "A", "deletedAt": "2022-01-18T23:23:09.206+0000" }] }),
            "deleted",
        ),
        (json!({ "results": [{ "messageId": "A" }] }), "unknown"),
    ] {
        let events = events(&body);
        assert_eq!((events.len(), name(&events[0])), (1, expected));
        assert_eq!(events[0].account, example::ACCOUNT);
    }
    assert!(events(&json!({ "results": [] })).is_empty());
}

#[test]
fn any_secret_of_a_list_verifies_and_an_empty_one_never_does() {
    let good = signed(r#"{"results":[]}"#);
    let verify = |request: &WebhookRequest, security: &str, values: &[&str]| {
        source(security, values).verify(request, now()).is_ok()
    };
    assert!(verify(&good, "basic", &["a:b", example::WEBHOOK_SECRET]));
    assert!(!verify(&good, "basic", &["a:b"]));
    assert!(!verify(&good, "basic", &[]));
    let with = |authorization: &str| {
        let mut request = good.clone();
        request.headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        request
    };
    for secret in ["", ":", "a:", ":b", "ab"] {
        let request = with(&format!("Basic {}", STANDARD.encode(secret)));
        assert!(!verify(&request, "basic", &[secret]), "{secret}");
    }
    for authorization in ["", "Basic", "Basic ", "Basic !", "Basic /w==", "Bearer ", "Bearer"] {
        for security in ["basic", "bearer", "hmac"] {
            assert!(!verify(&with(authorization), security, &["a:b", ""]), "{authorization}");
        }
    }
    assert!(verify(&with("bearer a:b"), "bearer", &["old", "a:b"]));
    assert!(!verify(&with("Bearer a:c"), "bearer", &["old", "a:b"]));
    // A bearer token is not a base64 password, nor the reverse.
    assert!(!verify(&with("Bearer a:b"), "basic", &["a:b"]));
    let mut twice = good.clone();
    twice.headers.append(header::AUTHORIZATION, "Basic x".parse().unwrap());
    assert!(!verify(&twice, "basic", &[example::WEBHOOK_SECRET]));
    let mut get = good;
    get.method = Method::GET;
    assert!(!verify(&get, "basic", &[example::WEBHOOK_SECRET]));
}

#[test]
fn a_signature_covers_the_time_and_the_body() {
    let at = (NOW * 1000).to_string();
    let request = |at: &str, body: &'static str, signature: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(SIGNED_AT, at.parse().unwrap());
        headers.insert(SIGNATURE, signature.parse().unwrap());
        WebhookRequest {
            method: Method::POST,
            headers,
            body: body.into(),
            ..WebhookRequest::default()
        }
    };
    let sign = |key: &str, at: &str, body: &str| {
        hex::encode(signature::hmac_sha256(key.as_bytes(), &[at.as_bytes(), body.as_bytes()]))
    };
    let verify = |request: &WebhookRequest, values: &[&str]| {
        source("hmac", values).verify(request, now()).is_ok()
    };
    let good = sign("key", &at, "{}");
    assert!(verify(&request(&at, "{}", &good), &["old", "key"]));
    assert!(verify(&request(&at, "{}", &good.to_uppercase()), &["key"]));
    assert!(!verify(&request(&at, "{}", &good), &["old"]));
    assert!(!verify(&request(&at, "{}", &sign("", &at, "{}")), &[""]));
    assert!(!verify(&request(&at, "{ }", &good), &["key"]));
    assert!(!verify(&request(&at, "{}", &good[..62]), &["key"]));
    assert!(!verify(&request(&at, "{}", "zz"), &["key"]));
    assert!(!verify(&request(&at, "{}", ""), &["key"]));
    let other = (NOW * 1000 + 1).to_string();
    assert!(!verify(&request(&other, "{}", &good), &["key"]));
    for (off, fresh) in [(300, true), (-300, true), (301, false), (-301, false)] {
        let at = ((NOW + off) * 1000).to_string();
        assert_eq!(verify(&request(&at, "{}", &sign("key", &at, "{}")), &["key"]), fresh, "{off}");
    }
    for odd in ["", "+1795176000000", "-1", "soon", "99999999999999999999", "1795176000000.0"] {
        assert!(!verify(&request(odd, "{}", &sign("key", odd, "{}")), &["key"]), "{odd}");
    }
    let mut missing = request(&at, "{}", &good);
    missing.headers.remove(SIGNED_AT);
    assert!(!verify(&missing, &["key"]));
}

#[test]
fn settings_errors_name_the_field() {
    let read = |settings: Value| (SPEC.settings)(settings.as_object().unwrap());
    assert_eq!(
        read(json!({})).unwrap(),
        IntegrationSettings(
            json!({ "security": "basic", "reports": "subscription", "delivery": "at_most_once",
                "messages_per_second": 80 })
            .as_object()
            .unwrap()
            .clone()
        )
    );
    assert!(read(json!({ "security": "none" })).is_err());
    assert!(read(json!({ "secret": "x" })).is_err());
    let account = |settings: Value, secret: &str| {
        (SPEC.account)(
            crate::spec::RequestedBy::Tenant,
            &read(settings).unwrap(),
            &secrets(&[secret]),
        )
    };
    assert_eq!(account(json!({ "account": "49155" }), "a:b").unwrap().as_deref(), Some("49155"));
    assert_eq!(account(json!({ "security": "bearer" }), "ab").unwrap(), None);
    assert_eq!(account(json!({}), "ab").unwrap_err().field, "credentials.INFOBIP_WEBHOOK_SECRET");
    assert_eq!(account(json!({ "account": "" }), "a:b").unwrap_err().field, "settings.account");
    assert!((SPEC.check)("INFOBIP_API_KEY", "a\nb").is_err());
    assert!((SPEC.check)("INFOBIP_API_KEY", "ab").is_ok());
}

#[test]
fn an_unparsable_verified_body_is_parked_and_unknown_parts_are_recorded() {
    let bodies: [&[u8]; 7] =
        [b"", b"{", b"[]", b"5", b"\xff", br#"{"results":5}"#, br#"{"results":{}}"#];
    for body in bodies {
        let result = receive_it(&signed(Bytes::from_static(body)));
        assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body:?}");
    }
    let parts = [
        "null",
        "1",
        "\"x\"",
        "[]",
        r#"["A","1","2","x"]"#,
        "{}",
        "1e999",
        r#"{"messageId":5,"message":{}}"#,
        r#"{"messageId":"","seenAt":1}"#,
        r#"{"messageId":"A","message":{"type":"TEXT","text":"x"}}"#,
        r#"{"messageId":"A","from":"","message":{}}"#,
        r#"{"messageId":"A","status":5}"#,
        r#"{"messageId":"A","status":{"groupName":1e999}}"#,
        r#"{"messageId":"A","from":"1","message":1e999,"to":[]}"#,
        r#"{"messageId":"A","messageId":"B"}"#,
    ];
    let events = receive_it(&signed(format!("{{\"results\":[{}]}}", parts.join(",")))).unwrap();
    assert_eq!(events.len(), parts.len());
    assert_eq!(name(&events[4]), "unknown");
    assert!(
        events
            .iter()
            .zip(parts)
            .all(|(event, part)| event.raw.get() == part && !event.id.is_empty())
    );
}
