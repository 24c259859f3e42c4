use super::*;
use crate::evolution::{WEBHOOK, example};
use crate::example::{Draft, Seed};
use crate::vectors;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use domain::content::Content;
use domain::integration::Settings;
use domain::webhook::receive;
use domain::{IntegrationId, TenantId};
use http::header;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const URL: &str = "https://hub.example.com/webhooks/evolution";
const NOW: i64 = 1_795_176_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn integration() -> Integration {
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["evolution"]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::Evolution,
        settings: Settings((example::EXAMPLES.settings)()),
        account: Some(example::INSTANCE.to_owned()),
        hints: BTreeMap::new(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    }
}

fn tokens(values: &[&str]) -> Credentials {
    let values = values.iter().map(|value| (*value).into()).collect();
    Credentials::new([(crate::evolution::WEBHOOK_TOKEN.to_owned(), values)])
}

fn source(credentials: &Credentials) -> Box<dyn WebhookSource> {
    WEBHOOK.source(&integration(), credentials)
}

fn receive_at(request: &WebhookRequest, now: Timestamp) -> Result<Vec<ParsedEvent>, Rejection> {
    match receive(&*source(&example::credentials()), request, now)? {
        ParsedWebhook::Events(events) => Ok(events),
        other => panic!("{other:?}"),
    }
}

fn seed() -> Seed {
    Seed { at: now(), nonce: "a1b2c3d4e5f60718".to_owned() }
}

fn signed(body: impl Into<Bytes>) -> WebhookRequest {
    let draft = Draft::json(Value::Null);
    let sign = example::EXAMPLES.sign;
    let first = &example::EXAMPLES.events[0];
    let request = sign(first, &draft, &example::credentials(), URL, now());
    WebhookRequest { body: body.into(), ..request }
}

fn events(event: &str, data: &Value) -> Vec<ParsedEvent> {
    let body = example::envelope(event, data, &seed());
    receive_at(&signed(body.to_string()), now()).unwrap()
}

fn event(event: &str, data: &Value) -> ParsedEvent {
    let mut events = events(event, data);
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn message(body: &Value) -> InboundMessage {
    match event("messages.upsert", &example::message(false, body, &seed())).kind {
        EventKind::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn content(body: &Value) -> Content {
    message(body).content
}

fn name(event: &ParsedEvent) -> &str {
    match &event.kind {
        EventKind::Other { name } => name,
        other => panic!("{other:?}"),
    }
}

fn jwt(claims: &Value, key: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&json!({ "alg": "HS256", "typ": "JWT" })), encode(claims));
    let tag = signature::hmac_sha256(key.as_bytes(), &[signed.as_bytes()]);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[test]
fn every_vector_verifies_as_recorded() {
    let all = vectors::check_all(include_str!("vectors.json"), 9, |vector| {
        let source = source(&tokens(&[&vector.secret]));
        receive(&*source, &vector.request(), vector.now())
    });
    for (vector, result) in all {
        let Ok(ParsedWebhook::Events(events)) = result else { continue };
        assert_eq!(events[0].id, "messages.upsert:553198296801:BAE594145F4C59B4");
        let body = vector.request().body;
        assert_eq!((&*events[0].account, events[0].raw.get().as_bytes()), ("inst1", &*body));
        assert_eq!(events[0].occurred_at.unwrap().as_second(), 1_717_689_097);
    }
}

#[test]
fn every_example_is_accepted_and_a_redelivery_has_equal_ids() {
    let phone = "4915550009999";
    let call = "call:A1B2C3D4E5F60718";
    let expected: BTreeMap<&str, (&str, &str)> = BTreeMap::from([
        ("text", ("message text", phone)),
        ("image", ("message image", phone)),
        ("from_me", ("messages.upsert.from_me", phone)),
        ("delivered", ("receipt Delivered", phone)),
        ("failed", ("receipt Failed", phone)),
        ("connection_lost", ("connection.update", "connection")),
        ("call", ("call", call)),
    ]);
    let examples = &example::EXAMPLES;
    assert_eq!(examples.events.len(), expected.len());
    let mut ids = BTreeSet::new();
    for example in examples.events {
        assert_eq!(example.webhook, WEBHOOK.name());
        let make = |seed: &Seed| {
            let draft = (example.draft)(seed);
            let request = (examples.sign)(example, &draft, &(examples.credentials)(), URL, seed.at);
            receive_at(&request, seed.at).unwrap()
        };
        let (first, again) = (make(&seed()), make(&seed()));
        assert_eq!((first.len(), &first[0].id), (1, &again[0].id), "{}", example.name);
        let later = make(&Seed {
            nonce: "ffffffffffffffff".to_owned(),
            at: seed().at + jiff::SignedDuration::from_secs(1),
        });
        assert_ne!(first[0].id, later[0].id, "{}", example.name);
        let (kind, order) = expected[example.name];
        let found = match &first[0].kind {
            EventKind::Message(message) => format!("message {}", message.content.kind()),
            EventKind::Receipt(receipt) => format!("receipt {:?}", receipt.status),
            EventKind::Other { name } => name.clone(),
        };
        assert_eq!(found, kind);
        assert_eq!(first[0].ordering_key.as_deref(), Some(order), "{}", example.name);
        assert_eq!(first[0].account, example::INSTANCE);
        // Two statuses of one message have different ids.
        assert!(
            ids.insert(first[0].id.clone()) || example.name == "from_me" || example.name == "image"
        );
    }
}

#[test]
fn a_text_has_its_sender_name_time_and_id() {
    let data = example::message(false, &json!({ "conversation": "hi" }), &seed());
    let event = event("messages.upsert", &data);
    assert_eq!(event.occurred_at, Some(now()));
    let EventKind::Message(message) = event.kind else { panic!() };
    assert_eq!(message.from, "4915550009999");
    assert_eq!(message.name.as_deref(), Some("Zoë Müller"));
    assert_eq!(message.provider_message_id, format!("{}:A1B2C3D4E5F60718", example::JID));
    assert_eq!(message.content, Content::Text { text: "hi".into() });
    assert_eq!(message.reply_to, None);
}

#[test]
fn a_time_may_be_a_number_text_or_two_halves() {
    let at = |time: Value| {
        let mut data = example::message(false, &json!({ "conversation": "hi" }), &seed());
        data["messageTimestamp"] = time;
        event("messages.upsert", &data).occurred_at.map(Timestamp::as_second)
    };
    assert_eq!(at(json!(NOW)), Some(NOW));
    assert_eq!(at(json!(NOW.to_string())), Some(NOW));
    assert_eq!(at(json!({ "low": NOW, "high": 0, "unsigned": true })), Some(NOW));
    assert_eq!(at(json!({ "low": -1, "high": 0 })), Some(0xffff_ffff));
    for odd in [
        json!(null),
        json!("soon"),
        json!(i64::MAX),
        json!(1e300),
        json!([1]),
        json!({ "low": 1, "high": i64::MAX }),
    ] {
        assert_eq!(at(odd), None);
    }
}

#[test]
fn a_message_sent_from_the_phone_is_not_an_incoming_message() {
    let data = example::message(true, &json!({ "conversation": "hi" }), &seed());
    assert_eq!(name(&event("messages.upsert", &data)), "messages.upsert.from_me");
    assert_eq!(name(&event("send.message", &data)), "send.message");
}

#[test]
fn every_spelling_of_an_event_name_is_the_same_event() {
    let data = example::message(false, &json!({ "conversation": "hi" }), &seed());
    let id = event("messages.upsert", &data).id;
    for spelling in ["MESSAGES_UPSERT", "messages-upsert", "Messages.Upsert"] {
        assert_eq!(event(spelling, &data).id, id, "{spelling}");
    }
    assert_eq!(name(&event("GROUP_PARTICIPANTS_UPDATE", &json!({}))), "group-participants.update");
    assert_eq!(name(&event("SOMETHING_NEW", &json!({}))), "something.new");
    for odd in ["", "a b", "é", &"x".repeat(65)] {
        assert_eq!(name(&event(odd, &json!({}))), "unknown", "{odd}");
    }
}

#[test]
fn the_event_name_is_read_from_the_url_only_if_the_body_has_none() {
    let mut body = example::envelope("call", &json!({}), &seed());
    let named = |body: &Value| {
        let mut request = signed(body.to_string());
        request.url = format!("{URL}/int_x/connection-update?x=/y");
        receive_at(&request, now()).map(|events| name(&events[0]).to_owned())
    };
    assert_eq!(named(&body).unwrap(), "call");
    body.as_object_mut().unwrap().remove("event");
    assert_eq!(named(&body).unwrap(), "connection.update");
    let unnamed = receive_at(&signed(body.to_string()), now());
    assert!(matches!(unnamed, Err(Rejection::Unreadable(_))));
}

#[test]
fn a_number_is_found_without_its_device_and_behind_a_hidden_address() {
    let from = |key: Value| {
        let mut data = example::message(false, &json!({ "conversation": "hi" }), &seed());
        data["key"] = key;
        match event("messages.upsert", &data).kind {
            EventKind::Message(message) => (message.from, message.name.is_some()),
            other => panic!("{other:?}"),
        }
    };
    for (key, number, named) in [
        (json!({ "id": "A", "remoteJid": "49155:12@s.whatsapp.net" }), "49155", true),
        (json!({ "id": "A", "remoteJid": "49155@c.us" }), "49155", true),
        (json!({ "id": "A", "remoteJid": "7@lid" }), "7@lid", true),
        (
            json!({ "id": "A", "remoteJid": "7@lid", "remoteJidAlt": "49155@s.whatsapp.net", "senderPn": "1@s.whatsapp.net" }),
            "49155",
            true,
        ),
        (
            json!({ "id": "A", "remoteJid": "7@lid", "senderPn": "49155@s.whatsapp.net" }),
            "49155",
            true,
        ),
        (json!({ "id": "A", "remoteJid": "7@lid", "remoteJidAlt": "8@lid" }), "7@lid", true),
        (
            json!({ "id": "A", "remoteJid": "49155@s.whatsapp.net", "remoteJidAlt": "7@lid" }),
            "49155",
            true,
        ),
        (
            json!({ "id": "A", "remoteJid": "1-2@g.us", "participant": "49155@s.whatsapp.net" }),
            "1-2@g.us",
            false,
        ),
    ] {
        assert_eq!(from(key), (number.to_owned(), named));
    }
}

#[test]
fn a_status_or_channel_post_is_recorded_and_is_not_a_message() {
    for jid in ["status@broadcast", "1@newsletter"] {
        let mut data = example::message(false, &json!({ "conversation": "hi" }), &seed());
        data["key"]["remoteJid"] = json!(jid);
        assert_eq!(name(&event("messages.upsert", &data)), "messages.upsert");
    }
    let data = example::message(false, &json!({ "protocolMessage": { "type": 0 } }), &seed());
    assert_eq!(name(&event("messages.upsert", &data)), "messages.upsert");
}

#[test]
fn files_of_every_type_are_parsed() {
    for (field, kind) in [
        ("imageMessage", "image"),
        ("videoMessage", "video"),
        ("ptvMessage", "video"),
        ("audioMessage", "audio"),
        ("documentMessage", "document"),
        ("stickerMessage", "sticker"),
    ] {
        let file = json!({ "mimetype": "a/b", "caption": "c", "fileName": "n", "fileLength": { "low": 5, "high": 0 } });
        let content = content(&json!({ (field): file }));
        assert_eq!(content.kind(), kind, "{field}");
        let media = content.media().unwrap();
        assert_eq!(media.provider_media_id.as_deref(), Some("A1B2C3D4E5F60718"));
        assert_eq!((media.mime_type.as_deref(), media.size), (Some("a/b"), Some(5)));
        assert_eq!((media.caption.as_deref(), media.filename.as_deref()), (Some("c"), Some("n")));
    }
    let odd = content(&json!({ "imageMessage": { "mimetype": 1, "fileLength": "-5" } }));
    assert_eq!(odd.media().unwrap().size, None);
}

#[test]
fn a_wrapped_message_is_unwrapped_to_a_maximum_depth() {
    let text = json!({ "extendedTextMessage": { "text": "hi" } });
    for field in
        ["ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2", "documentWithCaptionMessage"]
    {
        let held = json!({ (field): { "message": text } });
        assert_eq!(content(&held), Content::Text { text: "hi".into() }, "{field}");
    }
    let mut deep = text;
    for _ in 0..40 {
        deep = json!({ "ephemeralMessage": { "message": deep } });
    }
    assert_eq!(content(&deep).kind(), "unsupported");
}

#[test]
fn locations_contacts_reactions_and_choices_are_parsed() {
    let place = json!({ "locationMessage": { "degreesLatitude": 1.5, "degreesLongitude": 2, "name": "n" } });
    let Content::Location { location } = content(&place) else { panic!() };
    assert_eq!(
        (location.latitude, location.longitude, location.name.as_deref()),
        (1.5, 2.0, Some("n"))
    );

    let vcard = "BEGIN:VCARD\r\nFN:A B\r\nitem1.TEL;waid=49155;type=CELL:+49 155\r\nTEL;VALUE=uri:tel:+1\nEMAIL:a@example.com\nTEL:\nEND:VCARD";
    let card = json!({ "displayName": "A B", "vcard": vcard });
    let one = content(&json!({ "contactMessage": card }));
    let Content::Contacts { contacts } = &one else { panic!() };
    assert_eq!(
        (&*contacts[0].name, &*contacts[0].phones),
        ("A B", &["+49 155".to_owned(), "+1".to_owned()][..])
    );
    assert_eq!(contacts[0].emails, ["a@example.com"]);
    let two = content(&json!({ "contactsArrayMessage": { "contacts": [card, card] } }));
    assert!(matches!(two, Content::Contacts { contacts } if contacts.len() == 2));

    let reaction = json!({ "reactionMessage": { "key": { "id": "B" }, "text": "👍" } });
    let Content::Reaction { reaction } = content(&reaction) else { panic!() };
    assert_eq!((&*reaction.message_id, &*reaction.emoji), ("B", "👍"));

    for pressed in [
        json!({ "buttonsResponseMessage": { "selectedButtonId": "y", "selectedDisplayText": "Yes" } }),
        json!({ "templateButtonReplyMessage": { "selectedId": "y", "selectedDisplayText": "Yes" } }),
        json!({ "interactiveResponseMessage": { "body": { "text": "Yes" }, "nativeFlowResponseMessage": { "name": "quick_reply", "paramsJson": "{\"id\":\"y\"}" } } }),
    ] {
        let Content::ButtonReply { text, reply } = content(&pressed) else { panic!("{pressed}") };
        assert_eq!((&*text, &*reply.id, &*reply.title), ("Yes", "y", "Yes"));
    }
    let row = json!({ "listResponseMessage": { "title": "T", "description": "D", "singleSelectReply": { "selectedRowId": "r" } } });
    let Content::ListReply { reply, .. } = content(&row) else { panic!() };
    assert_eq!((&*reply.id, reply.description.as_deref()), ("r", Some("D")));
}

#[test]
fn a_reply_names_the_message_it_answers_and_other_content_is_unsupported() {
    let mut data = example::message(false, &json!({ "conversation": "hi" }), &seed());
    data["contextInfo"] = json!({ "stanzaId": "B", "participant": "x" });
    let EventKind::Message(message) = event("messages.upsert", &data).kind else { panic!() };
    assert_eq!(message.reply_to.as_deref(), Some("B"));
    for odd in [
        json!({}),
        json!(null),
        json!("x"),
        json!({ "pollCreationMessage": {} }),
        json!({ "conversation": 5 }),
    ] {
        assert_eq!(content(&odd).kind(), "unsupported", "{odd}");
    }
}

#[test]
fn a_reply_to_the_senders_own_message_has_the_hubs_id_of_it() {
    let text = json!({ "conversation": "And tomorrow?" });
    for (writer, named) in [
        ("4915550009999@s.whatsapp.net", format!("{}:3A11", example::JID)),
        ("4915550009999:7@s.whatsapp.net", format!("{}:3A11", example::JID)),
        ("4915550001111@s.whatsapp.net", "3A11".to_owned()),
    ] {
        let mut data = example::message(false, &text, &seed());
        data["contextInfo"] = json!({ "stanzaId": "3A11", "participant": writer });
        let EventKind::Message(message) = event("messages.upsert", &data).kind else { panic!() };
        assert_eq!(message.reply_to, Some(named), "{writer}");
    }
}

#[test]
fn an_unreadable_body_is_stored_without_the_key() {
    let request = signed(r#"{"event":"messages.upsert","apikey":"the-key","data":{,}"#);
    let refused = receive_at(&request, now()).unwrap_err();
    assert!(matches!(refused, Rejection::Unreadable(_)), "{refused:?}");
    let kept = WEBHOOK.keepable(&request.body);
    assert_eq!(kept, &br#"{"event":"messages.upsert","apikey":null,"data":{,}"#[..]);
}

#[test]
fn a_receipt_is_only_created_for_outgoing_messages() {
    for (given, status) in [
        ("SERVER_ACK", Some(Status::Sent)),
        ("DELIVERY_ACK", Some(Status::Delivered)),
        ("READ", Some(Status::Read)),
        ("PLAYED", Some(Status::Read)),
        ("ERROR", Some(Status::Failed)),
        ("PENDING", None),
        ("DELETED", None),
        ("NEW", None),
    ] {
        let event = event("messages.update", &example::update(given, &seed()));
        match (status, event.kind) {
            (Some(status), EventKind::Receipt(receipt)) => {
                assert_eq!(receipt.provider_message_id, "A1B2C3D4E5F60718");
                assert_eq!((receipt.status, receipt.reference), (status, None));
                assert_eq!(receipt.code.is_some(), status == Status::Failed);
            }
            (None, EventKind::Other { name }) => assert_eq!(name, "messages.update"),
            (status, kind) => panic!("{status:?} {kind:?}"),
        }
    }
    let mut incoming = example::update("READ", &seed());
    incoming["fromMe"] = json!(false);
    let incoming = event("messages.update", &incoming);
    assert_eq!(
        (name(&incoming), incoming.ordering_key.as_deref()),
        ("messages.update", Some("4915550009999"))
    );
}

#[test]
fn each_item_of_a_list_is_an_event_and_a_repeated_status_is_two() {
    let one = |id: &str| json!({ "keyId": id, "remoteJid": "1@s.whatsapp.net", "fromMe": true, "status": "READ" });
    let both = events("messages.update", &json!([one("A"), one("B"), "odd", "odd"]));
    let ids: BTreeSet<&str> = both.iter().map(|event| &*event.id).collect();
    assert_eq!((both.len(), ids.len()), (4, 4));
    assert_eq!(both[1].raw.get(), one("B").to_string());
    // A history is one event.
    assert_eq!(events("messages.set", &json!([{}, {}])).len(), 1);
    assert_eq!(events("messages.upsert", &json!([])).len(), 1);

    let open = json!({ "instance": "front-desk", "state": "open" });
    let at = |second: i64| {
        let seed = Seed { at: Timestamp::from_second(second).unwrap(), ..seed() };
        let body = example::envelope("connection.update", &open, &seed).to_string();
        receive_at(&signed(body), now()).unwrap().remove(0).id
    };
    assert_eq!(at(NOW), at(NOW));
    assert_ne!(at(NOW), at(NOW + 60));
}

#[test]
fn the_body_is_kept_byte_for_byte_except_the_key() {
    let body = r#" { "event":"qrcode.updated","instance":"i", "data" : { "count" : 1.0 } , "apikey" : null } "#;
    let event = receive_at(&signed(body), now()).unwrap().remove(0);
    assert_eq!(event.raw.get(), body.trim());

    let body =
        body.replace("null", "\"very-secret\"").replace("1.0", "[{\"apiKey\":\"very-secret\"}]");
    let event = receive_at(&signed(body.clone()), now()).unwrap().remove(0);
    assert_eq!(event.raw.get(), body.trim().replace("\"very-secret\"", "null"));

    let mut data =
        example::message(false, &json!({ "newMessage": { "apikey": "very-secret" } }), &seed());
    data["apikey"] = json!("very-secret");
    for data in [data.clone(), json!([data])] {
        let body = example::envelope("messages.upsert", &data, &seed()).to_string();
        let event = receive_at(&signed(body), now()).unwrap().remove(0);
        assert!(!format!("{event:?}").contains("very-secret"));
    }
}

#[test]
fn the_token_must_match_and_be_present_once() {
    let good = signed(example::envelope("call", &json!({}), &seed()).to_string());
    let verify =
        |request: &WebhookRequest, values: &[&str]| source(&tokens(values)).verify(request, now());
    assert!(verify(&good, &["new", example::WEBHOOK_TOKEN]).is_ok());
    for values in [&["new"][..], &[""], &[]] {
        assert!(matches!(verify(&good, values), Err(Rejection::Unauthenticated(_))));
    }
    for value in ["", "test-evolution-toke", "test-evolution-tokem", "Test-evolution-token"] {
        let mut request = good.clone();
        request.headers.insert(wire::TOKEN, value.parse().unwrap());
        assert!(verify(&request, &[example::WEBHOOK_TOKEN]).is_err(), "{value}");
        assert!(verify(&request, &[""]).is_err());
    }
    let mut twice = good.clone();
    twice.headers.append(wire::TOKEN, example::WEBHOOK_TOKEN.parse().unwrap());
    assert!(verify(&twice, &[example::WEBHOOK_TOKEN]).is_err());
    let mut put = good;
    put.method = Method::PUT;
    assert!(verify(&put, &[example::WEBHOOK_TOKEN]).is_err());
}

#[test]
fn a_jwt_authenticates_if_there_is_no_token() {
    let claims = json!({ "iat": NOW, "exp": NOW + 600, "app": "evolution", "action": "webhook" });
    let mut request = signed(example::envelope("call", &json!({}), &seed()).to_string());
    request.headers.clear();
    let mut with = |authorization: &str| {
        request.headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        receive_at(&request, now()).is_ok()
    };
    let good = jwt(&claims, example::WEBHOOK_TOKEN);
    assert!(with(&format!("Bearer {good}")));
    assert!(with(&format!("bearer {good}")));
    assert!(!with(&good));
    assert!(!with(&format!("Basic {good}")));
    assert!(!with(&format!("Bearer {}", jwt(&claims, "other"))));
    for name in ["iat", "exp", "app", "action"] {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        assert!(!with(&format!("Bearer {}", jwt(&claims, example::WEBHOOK_TOKEN))), "{name}");
    }
    // The token itself is not a JWT.
    assert!(!with(&format!("Bearer {}", example::WEBHOOK_TOKEN)));
    for place in [3, good.len() / 2, good.len() - 2] {
        let mut flipped = good.clone().into_bytes();
        flipped[place] = if flipped[place] == b'A' { b'B' } else { b'A' };
        assert!(!with(&format!("Bearer {}", String::from_utf8(flipped).unwrap())), "{place}");
    }
    assert!(with(&format!("Bearer {good}")));
    request.headers.insert(wire::TOKEN, "wrong".parse().unwrap());
    assert!(receive_at(&request, now()).is_err());
}

#[test]
fn an_unparsable_verified_body_is_parked_and_unknown_data_is_recorded() {
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        br#"{"event":1}"#,
        br#"["call"]"#,
        br#"{"event":"a","event":"b"}"#,
    ];
    for body in bodies {
        let result = receive_at(&signed(Bytes::from_static(body)), now());
        assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body:?}");
    }
    for kind in [
        "messages.upsert",
        "messages.update",
        "messages.delete",
        "send.message",
        "call",
        "connection.update",
        "x",
    ] {
        for data in [
            "null",
            "1",
            "\"x\"",
            "{}",
            "[{}]",
            "[[]]",
            r#"[["A","READ"]]"#,
            "1e999",
            r#"{"key":{}}"#,
            r#"{"key":{"id":"","remoteJid":""}}"#,
            r#"{"key":{"id":1,"remoteJid":2}}"#,
            r#"{"keyId":"","status":"READ"}"#,
            r#"{"id":"","status":"offer"}"#,
            r#"{"key":{"id":"A","remoteJid":"1@s.whatsapp.net"},"message":1e999,"messageTimestamp":99999999999999999999}"#,
        ] {
            let body = format!(r#"{{"event":"{kind}","instance":7,"data":{data}}}"#);
            let events = receive_at(&signed(body), now()).unwrap();
            assert_eq!((events.len(), &*events[0].account), (1, ""), "{kind} {data}");
            assert!(!events[0].id.is_empty());
        }
    }
    let deep = format!(r#"{{"event":"x","data":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(receive_at(&signed(deep), now()).is_ok());
}

#[test]
fn a_credential_that_is_invalid_in_a_header_is_rejected() {
    let check = crate::evolution::SPEC.check;
    assert!(check(crate::evolution::WEBHOOK_TOKEN, example::WEBHOOK_TOKEN).is_ok());
    for bad in ["", "a b", "a\n", "é"] {
        assert!(check(crate::evolution::WEBHOOK_TOKEN, bad).is_err());
    }
}
