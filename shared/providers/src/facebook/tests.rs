use std::collections::BTreeMap;

use bytes::Bytes;
use domain::content::Content;
use domain::event::{EventKind, InboundMessage, ParsedEvent};
use domain::integration::Settings;
use domain::webhook::{ParsedWebhook, Rejection, WebhookProvider, WebhookRequest, receive};
use domain::{Credentials, Integration, IntegrationId, Provider, Status, TenantId};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{APP_SECRET, SPEC, VERIFY_TOKEN, WEBHOOK, example};
use crate::example::{Draft, Seed};
use crate::vectors;
use crate::whatsapp_cloud::example::{escaped, signature};

fn integration() -> Integration {
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["facebook"]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::Facebook,
        settings: Settings(Map::new()),
        account: None,
        hints: BTreeMap::new(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    }
}

fn receive_with(
    request: &WebhookRequest,
    credentials: &Credentials,
) -> Result<ParsedWebhook, Rejection> {
    let source = WEBHOOK.source(&integration(), credentials);
    receive(&*source, request, Timestamp::UNIX_EPOCH)
}

fn seed() -> Seed {
    Seed { at: "2026-11-20T12:00:00Z".parse().unwrap(), nonce: "0123456789abcdef".to_owned() }
}

fn signed(draft: &Draft) -> WebhookRequest {
    let examples = &example::EXAMPLES;
    let url = "https://hub.example.com/webhooks/facebook";
    (examples.sign)(&examples.events[0], draft, &example::credentials(), url, seed().at)
}

fn events(request: &WebhookRequest) -> Vec<ParsedEvent> {
    match receive_with(request, &example::credentials()).unwrap() {
        ParsedWebhook::Events(events) => events,
        other => panic!("{other:?}"),
    }
}

fn received(body: &Value) -> Vec<ParsedEvent> {
    events(&signed(&Draft::json(body.clone())))
}

/// Returns the events of one item of `messaging` from the person to the Page.
fn item(part: &Value) -> Vec<ParsedEvent> {
    let item = example::item(&seed(), example::PAGE, part);
    received(&example::messaging(&seed(), "page", example::PAGE, &[item]))
}

fn message(mut events: Vec<ParsedEvent>) -> InboundMessage {
    assert_eq!(events.len(), 1);
    match events.remove(0).kind {
        EventKind::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn other(name: &str) -> EventKind {
    EventKind::Other { name: name.to_owned() }
}

fn described(event: &ParsedEvent) -> String {
    match &event.kind {
        EventKind::Message(message) => format!("message {}", message.content.kind()),
        EventKind::Receipt(receipt) => format!("receipt {}", receipt.status.as_str()),
        EventKind::Other { name } => name.clone(),
    }
}

#[test]
fn every_vector_verifies_as_recorded() {
    vectors::check_all(include_str!("vectors.json"), 14, |vector| {
        let names = [APP_SECRET, VERIFY_TOKEN];
        let credentials = Credentials::new(
            names.map(|name| (name.to_owned(), vec![vector.secret.as_str().into()])),
        );
        receive_with(&vector.request(), &credentials)
    });
}

#[test]
fn every_example_is_accepted_and_parsed_as_expected() {
    let (page, instagram) = (example::PAGE, example::INSTAGRAM);
    let expected = [
        ("message text", page, "m_0123456789abcdef"),
        ("message image", page, "m_0123456789abcdef"),
        ("message button_reply", page, "postback:m_0123456789abcdef:1795176000000"),
        (
            "message reaction",
            page,
            "reaction:m_0123456789abcdef:7000000000000301:1795176000000:react",
        ),
        ("message_echoes", page, "echo:m_0123456789abcdef"),
        ("receipt delivered", page, "m_0123456789abcdef:delivered"),
        ("message_reads", page, ""),
        ("feed", page, ""),
        ("message text", instagram, "m_0123456789abcdef"),
        ("receipt read", instagram, "m_0123456789abcdef:read"),
    ];
    let (handshake, examples) = example::EXAMPLES.events.split_last().unwrap();
    assert_eq!(examples.len(), expected.len());
    for (example, (what, account, id)) in examples.iter().zip(expected) {
        let request = signed(&(example.draft)(&seed()));
        let events = events(&request);
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((described(event).as_str(), event.account.as_str()), (what, account));
        assert_eq!(event.occurred_at, Some(seed().at));
        if id.is_empty() {
            assert_eq!(event.id.len(), 64);
        } else {
            assert_eq!(event.id, id);
        }
        let key = if what == "feed" { "post:100000000000201_901" } else { example::PERSON };
        assert_eq!(event.ordering_key.as_deref(), Some(key));
        assert!(std::str::from_utf8(&request.body).unwrap().contains(event.raw.get()));
        if let EventKind::Message(message) = &event.kind {
            assert_eq!(message.from, example::PERSON);
        }
        let again = self::events(&signed(&(example.draft)(&seed())));
        assert_eq!(again[0].id, event.id, "a redelivery is the same event");
    }
    let request = signed(&(handshake.draft)(&seed()));
    let ParsedWebhook::Handshake(reply) = receive_with(&request, &example::credentials()).unwrap()
    else {
        panic!("no handshake")
    };
    assert_eq!((reply.status, reply.body), (StatusCode::OK, seed().nonce));
}

#[test]
fn one_changed_byte_of_the_body_or_signature_is_rejected() {
    let good = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let refused = |request: &WebhookRequest| {
        matches!(receive_with(request, &example::credentials()), Err(Rejection::Unauthenticated(_)))
    };
    for place in 0..good.body.len() {
        let mut body = good.body.to_vec();
        body[place] ^= 1;
        assert!(refused(&WebhookRequest { body: body.into(), ..good.clone() }), "{place}");
    }
    let own = signature(example::APP_SECRET, &good.body);
    for value in ["", "sha256=", &own[..70], &own[7..], &own.replace("sha256", "sha1")] {
        let mut request = good.clone();
        request.headers.insert("x-hub-signature-256", value.parse().unwrap());
        assert!(refused(&request), "{value}");
    }
    let mut twice = good.clone();
    twice.headers.append("x-hub-signature-256", own.parse().unwrap());
    assert!(refused(&twice));
    assert!(refused(&WebhookRequest { method: Method::PUT, ..good }));
}

#[test]
fn any_secret_verifies_and_an_empty_secret_never_does() {
    let request = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let with = |name: &str, values: &[&str]| {
        let values = values.iter().map(|value| (*value).into()).collect();
        Credentials::new([(name.to_owned(), values)])
    };
    assert!(receive_with(&request, &with(APP_SECRET, &["new", example::APP_SECRET])).is_ok());
    for values in [&["new"][..], &[""], &[]] {
        assert!(receive_with(&request, &with(APP_SECRET, values)).is_err());
    }
    let empty = signature("", b"{}");
    let mut forged = WebhookRequest { body: Bytes::from_static(b"{}"), ..request };
    forged.headers.insert("x-hub-signature-256", empty.parse().unwrap());
    assert!(receive_with(&forged, &with(APP_SECRET, &[""])).is_err());

    let handshake = signed(&(example::EXAMPLES.events[10].draft)(&seed()));
    assert!(receive_with(&handshake, &with(VERIFY_TOKEN, &["new", example::VERIFY_TOKEN])).is_ok());
    for values in [&["new"][..], &[""], &[]] {
        let result = receive_with(&handshake, &with(VERIFY_TOKEN, values));
        assert!(matches!(result, Err(Rejection::Forbidden(_))));
    }
}

#[test]
fn every_entry_item_and_change_becomes_an_event_in_order() {
    let text =
        |mid: &str| example::item(&seed(), "1", &json!({ "message": { "mid": mid, "text": "t" } }));
    let body = json!({ "object": "page", "entry": [
        { "id": "1", "time": 1, "messaging": [text("a"), 7, text("b")] },
        { "id": 2, "time": 1, "changes": [{ "field": "feed", "value": { "item": "like" } }, "odd"] },
        { "id": "3", "time": 1, "standby": [text("c")] },
        { "id": "4", "time": 1, "changed_fields": ["name"] },
        "odd",
    ]});
    let events = received(&body);
    let all: Vec<_> = events.iter().map(|e| (e.account.as_str(), described(e))).collect();
    let expected = [
        ("1", "message text"),
        ("1", "messaging"),
        ("1", "message text"),
        ("2", "feed"),
        ("2", "change"),
        ("3", "standby"),
        ("4", "page"),
        ("", "page"),
    ];
    assert_eq!(all, expected.map(|(account, what)| (account, what.to_owned())));
    let ids: std::collections::BTreeSet<_> = events.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), events.len());
}

#[test]
fn choices_files_locations_and_replies_are_parsed() {
    let quick = json!({ "message": { "mid": "m", "text": "Yes",
        "quick_reply": { "payload": "YES" }, "reply_to": { "mid": "m_0" } } });
    let message_ = message(item(&quick));
    assert_eq!(message_.reply_to.as_deref(), Some("m_0"));
    let Content::ButtonReply { text, reply } = message_.content else { panic!() };
    assert_eq!((text.as_str(), reply.id.as_str()), ("Yes", "YES"));

    let file = |kind: &str, payload: Value| {
        let attachment = json!({ "type": kind, "payload": payload });
        message(item(
            &json!({ "message": { "mid": "m", "text": "c", "attachments": [attachment] } }),
        ))
    };
    for (kind, ours) in
        [("image", "image"), ("video", "video"), ("audio", "audio"), ("file", "document")]
    {
        let content = file(kind, json!({ "url": "https://x.example/f" })).content;
        assert_eq!(content.kind(), ours);
        let media = content.media().unwrap();
        assert_eq!(media.provider_media_id.as_deref(), Some("https://x.example/f"));
        assert_eq!(media.caption.as_deref(), Some("c"));
    }
    let sticker = json!({ "url": "https://x.example/s", "sticker_id": 369_239_263_222_822_i64 });
    assert_eq!(file("image", sticker).content.kind(), "sticker");
    let place = json!({ "coordinates": { "lat": 52.5, "long": 13.4 } });
    let Content::Location { location } = file("location", place).content else { panic!() };
    assert_eq!((location.latitude, location.longitude), (52.5, 13.4));
    for (kind, payload) in [
        ("fallback", json!({ "url": "https://x.example" })),
        ("image", json!({})),
        ("location", json!({ "coordinates": { "lat": "north" } })),
        ("ig_reel", json!(7)),
    ] {
        assert_eq!(file(kind, payload).content.kind(), "unsupported", "{kind}");
    }
    let nothing = message(item(&json!({ "message": { "mid": "m", "is_unsupported": true } })));
    assert_eq!(nothing.content.kind(), "unsupported");
}

#[test]
fn each_file_of_a_message_is_a_message() {
    let image = |name: &str| json!({ "type": "image", "payload": { "url": name } });
    let attachments = json!([image("a"), "odd", image("c")]);
    let events =
        item(&json!({ "message": { "mid": "m", "text": "t", "attachments": attachments } }));
    let all: Vec<_> = events.iter().map(|event| (event.id.as_str(), described(event))).collect();
    assert_eq!(
        all,
        [
            ("m", "message image".to_owned()),
            ("m:2", "message unsupported".to_owned()),
            ("m:3", "message image".to_owned())
        ]
    );
    assert_eq!(events[1].raw.get(), r#""odd""#);
}

#[test]
fn the_accounts_own_actions_are_not_messages() {
    let item = |part: Value| {
        let mut item = example::item(&seed(), "1", &part);
        item["sender"]["id"] = json!("1");
        item["recipient"]["id"] = json!("2");
        received(&example::messaging(&seed(), "instagram", "1", &[item])).remove(0)
    };
    let echo = item(json!({ "message": { "mid": "m", "text": "t" } }));
    assert_eq!((echo.kind, echo.id.as_str()), (other("message_echoes"), "echo:m"));
    assert_eq!(echo.ordering_key.as_deref(), Some("2"));
    let reaction = json!({ "reaction": { "mid": "m", "action": "react", "emoji": "x" } });
    assert_eq!(item(reaction).kind, other("message_reactions"));
}

#[test]
fn a_deleted_message_is_a_separate_event() {
    let deleted = item(&json!({ "message": { "mid": "m", "is_deleted": true } })).remove(0);
    assert_eq!((deleted.kind, deleted.id.as_str()), (other("messages.deleted"), "deleted:m"));
}

#[test]
fn a_removed_reaction_has_no_emoji_and_another_id() {
    let reaction = |action: &str| {
        let mut part = json!({ "mid": "m", "action": action, "emoji": "❤️" });
        if action == "unreact" {
            part["emoji"].take();
        }
        item(&json!({ "reaction": part })).remove(0)
    };
    let (on, off) = (reaction("react"), reaction("unreact"));
    assert_ne!(on.id, off.id);
    let EventKind::Message(message) = off.kind else { panic!() };
    let Content::Reaction { reaction } = message.content else { panic!() };
    assert_eq!((reaction.message_id.as_str(), reaction.emoji.as_str()), ("m", ""));
}

#[test]
fn a_receipt_names_its_message_and_a_watermark_is_recorded() {
    let events = item(&json!({ "delivery": { "mids": ["a", 7, {}, "b"], "watermark": 1 } }));
    let all: Vec<_> = events.iter().map(described).collect();
    assert_eq!(
        all,
        ["receipt delivered", "receipt delivered", "message_deliveries", "receipt delivered"]
    );
    let EventKind::Receipt(receipt) = &events[0].kind else { panic!() };
    assert_eq!((receipt.provider_message_id.as_str(), receipt.status), ("a", Status::Delivered));
    for watermark in
        [json!({ "delivery": { "watermark": 1 } }), json!({ "delivery": { "mids": [] } })]
    {
        assert_eq!(item(&watermark)[0].kind, other("message_deliveries"));
    }
}

#[test]
fn unknown_events_are_recorded_under_their_own_names() {
    for (part, name) in [
        (json!({ "optin": { "ref": "r" } }), "messaging_optins"),
        (json!({ "message_edit": { "mid": "m", "text": "t" } }), "message_edits"),
        (json!({ "pass_thread_control": {} }), "pass_thread_control"),
        (json!({ "message": { "text": "no mid" } }), "messages"),
        (json!({ "message": { "mid": "" } }), "messages"),
        (json!({ "message": { "mid": "m", "is_echo": "yes" } }), "messages"),
        (json!({ "postback": { "title": "no payload" } }), "messaging_postbacks"),
        (json!({ "reaction": { "mid": "m", "action": "wave" } }), "message_reactions"),
        (json!({ "read": 7 }), "message_reads"),
        (json!({}), "messaging"),
    ] {
        assert_eq!(item(&part)[0].kind, other(name), "{part}");
    }
    let nobody = json!({ "message": { "mid": "m", "text": "t" }, "sender": { "user_ref": "u" } });
    let nobody = item(&nobody).remove(0);
    assert_eq!((nobody.kind, nobody.ordering_key), (other("messages"), None));
}

#[test]
fn a_change_is_identified_by_its_own_time_then_by_the_requests() {
    let change = |time: i64, value: Value| {
        let entry =
            json!({ "id": "1", "time": time, "changes": [{ "field": "feed", "value": value }] });
        received(&json!({ "object": "page", "entry": [entry] })).remove(0)
    };
    let timed = || json!({ "post_id": "1_2", "created_time": 1_795_176_000 });
    let (first, later) = (change(1_795_176_001, timed()), change(1_795_176_900, timed()));
    assert_eq!((&first.id, first.occurred_at), (&later.id, Some(seed().at)));
    assert_ne!(change(1, json!({ "verb": "add" })).id, change(2, json!({ "verb": "add" })).id);
    assert_eq!(change(1, json!({ "verb": "add" })).id, change(1, json!({ "verb": "add" })).id);
    let media = change(1, json!({ "id": "9", "media": { "id": "77" } }));
    assert_eq!(media.ordering_key.as_deref(), Some("post:77"));
}

#[test]
fn times_are_seconds_or_milliseconds_as_numbers_or_text() {
    let at = |time: Value| {
        let entry = json!({ "id": "1", "time": time, "changes": [{ "field": "f", "value": 1 }] });
        received(&json!({ "object": "page", "entry": [entry] }))[0].occurred_at
    };
    for time in [json!(1_795_176_000), json!(1_795_176_000_000_i64), json!("1795176000")] {
        assert_eq!(at(time), Some(seed().at));
    }
    for odd in
        [json!(null), json!("soon"), json!(1e300), json!(i64::MAX), json!([1]), json!(i64::MIN)]
    {
        assert_eq!(at(odd), None);
    }
}

#[test]
fn a_verified_body_that_cannot_be_parsed_is_unreadable() {
    let bodies: [&[u8]; 7] = [
        b"",
        b"{",
        b"{}",
        b"\xff",
        br#"{"object":1,"entry":[]}"#,
        br#"{"object":"page","entry":{}}"#,
        b"null",
    ];
    for body in bodies {
        let mut request = signed(&Draft::json(json!({})));
        request.body = Bytes::from_static(body);
        let value = signature(example::APP_SECRET, body).parse().unwrap();
        request.headers.insert("x-hub-signature-256", value);
        let result = receive_with(&request, &example::credentials());
        assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body:?}");
    }
    assert!(received(&json!({ "object": "page", "entry": [] })).is_empty());
}

#[test]
fn the_stored_size_is_proportional_to_the_body() {
    let mids: Vec<String> = (0..2_000).map(|number| format!("m{number}")).collect();
    let body = example::messaging(
        &seed(),
        "page",
        "1",
        &[example::item(&seed(), "1", &json!({ "delivery": { "mids": mids } }))],
    );
    let size = escaped(&body).len();
    let kept: usize = received(&body).iter().map(|event| event.raw.get().len()).sum();
    assert!(kept <= size, "{kept} of {size}");
}

#[test]
fn an_account_is_an_id() {
    let account = |value: &str| {
        let given = Map::from_iter([("account".to_owned(), value.into())]);
        (SPEC.account)(
            crate::spec::RequestedBy::Tenant,
            &(SPEC.settings)(&given).unwrap(),
            &Credentials::default(),
        )
    };
    assert_eq!(account("17841").unwrap().as_deref(), Some("17841"));
    for wrong in ["", "my.page", "https://facebook.com/1"] {
        assert_eq!(account(wrong).unwrap_err().field, "settings.account", "{wrong}");
    }
}
