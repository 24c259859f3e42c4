use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use domain::content::Content;
use domain::event::{EventKind, ParsedEvent};
use domain::integration::Settings;
use domain::webhook::{ParsedWebhook, Rejection, WebhookProvider, WebhookRequest, receive};
use domain::{Credentials, Integration, IntegrationId, Provider, TenantId};
use http::Method;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{CONSUMER_SECRET, WEBHOOK, example};
use crate::example::{Draft, Seed};
use crate::vectors;

fn integration() -> Integration {
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["x"]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::X,
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
    let credentials = Credentials::new([(CONSUMER_SECRET.to_owned(), values)]);
    let source = WEBHOOK.source(&integration(), &credentials);
    receive(&*source, request, Timestamp::UNIX_EPOCH)
}

fn seed() -> Seed {
    Seed { at: "2026-11-20T12:00:00Z".parse().unwrap(), nonce: "0123456789abcdef".to_owned() }
}

fn signed(draft: &Draft) -> WebhookRequest {
    let examples = &example::EXAMPLES;
    let url = "https://hub.example.com/webhooks/twitter";
    (examples.sign)(&examples.events[0], draft, &example::credentials(), url, seed().at)
}

fn events(request: &WebhookRequest) -> Vec<ParsedEvent> {
    match receive_with(request, &[example::CONSUMER_SECRET]).unwrap() {
        ParsedWebhook::Events(events) => events,
        other => panic!("{other:?}"),
    }
}

fn received(body: &Value) -> Vec<ParsedEvent> {
    events(&signed(&Draft::json(body.clone())))
}

fn posted(body: &[u8]) -> WebhookRequest {
    let mut request = signed(&Draft::json(json!({})));
    let value = example::signature(example::CONSUMER_SECRET, body).parse().unwrap();
    request.headers.insert("x-twitter-webhooks-signature", value);
    WebhookRequest { body: Bytes::copy_from_slice(body), ..request }
}

fn name(event: &ParsedEvent) -> &str {
    match &event.kind {
        EventKind::Other { name } => name,
        EventKind::Message(_) => "message",
        EventKind::Receipt(_) => "receipt",
    }
}

#[test]
fn every_vector_verifies_as_recorded() {
    vectors::check_all(include_str!("vectors.json"), 7, |vector| {
        receive_with(&vector.request(), &[&vector.secret])
    });
}

#[test]
fn every_example_is_accepted_and_parsed_as_expected() {
    let person = format!("user:{}", example::PERSON);
    let expected = [
        ("tweet_create_events", "post:"),
        ("message", person.as_str()),
        ("favorite_events", "post:"),
        ("follow_events", &person),
        ("tweet_delete_events", "post:"),
        ("user_event", "user:2200000000000201"),
        ("post.create", ""),
    ];
    let (challenge, examples) = example::EXAMPLES.events.split_last().unwrap();
    assert_eq!(examples.len(), expected.len());
    let mut ids = BTreeSet::new();
    for (example, (what, key)) in examples.iter().zip(expected) {
        let request = signed(&(example.draft)(&seed()));
        let events = events(&request);
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((name(event), event.account.as_str()), (what, example::USER));
        assert_eq!(event.occurred_at, Some(seed().at), "{what}");
        assert!(event.ordering_key.as_deref().unwrap_or_default().starts_with(key), "{event:?}");
        assert_eq!(event.ordering_key.is_none(), key.is_empty());
        assert!(std::str::from_utf8(&request.body).unwrap().contains(event.raw.get()));
        let again = self::events(&signed(&(example.draft)(&seed())));
        assert_eq!(again[0].id, event.id, "a redelivery is the same event");
        assert!(ids.insert(event.id.clone()), "{}", event.id);
    }
    let request = signed(&(challenge.draft)(&seed()));
    let ParsedWebhook::Handshake(reply) =
        receive_with(&request, &[example::CONSUMER_SECRET]).unwrap()
    else {
        panic!("no handshake")
    };
    let token = example::signature(example::CONSUMER_SECRET, seed().nonce.as_bytes());
    assert_eq!(reply.body, json!({ "response_token": token }).to_string());
}

#[test]
fn one_changed_byte_of_the_body_or_signature_is_rejected() {
    let good = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let refused = |request: &WebhookRequest| {
        let result = receive_with(request, &[example::CONSUMER_SECRET]);
        matches!(result, Err(Rejection::Unauthenticated(_)))
    };
    for place in 0..good.body.len() {
        let mut body = good.body.to_vec();
        body[place] ^= 1;
        assert!(refused(&WebhookRequest { body: body.into(), ..good.clone() }), "{place}");
    }
    let own = example::signature(example::CONSUMER_SECRET, &good.body);
    for value in ["", "sha256=", &own[..50], &own[7..], &own.replace("sha256", "sha1")] {
        let mut request = good.clone();
        request.headers.insert("x-twitter-webhooks-signature", value.parse().unwrap());
        assert!(refused(&request), "{value}");
    }
    let mut unsigned = good.clone();
    unsigned.headers.remove("x-twitter-webhooks-signature");
    assert!(refused(&unsigned));
    assert!(refused(&WebhookRequest { method: Method::PUT, ..good }));
}

#[test]
fn any_secret_verifies_the_newest_answers_challenges_and_an_empty_one_does_neither() {
    let post = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let challenge = signed(&(example::EXAMPLES.events[7].draft)(&seed()));
    assert!(receive_with(&post, &["new", example::CONSUMER_SECRET]).is_ok());
    let ParsedWebhook::Handshake(reply) = receive_with(&challenge, &["new", "old"]).unwrap() else {
        panic!()
    };
    assert!(reply.body.contains(&example::signature("new", seed().nonce.as_bytes())));
    assert!(receive_with(&post, &["new"]).is_err());
    for secrets in [&[""][..], &[]] {
        for request in [&post, &challenge] {
            let result = receive_with(request, secrets);
            assert!(matches!(result, Err(Rejection::Unauthenticated(_))));
        }
    }
}

#[test]
fn the_answer_to_a_challenge_never_signs_a_body() {
    let body = r#"{"for_user_id":"1","tweet_create_events":[]}"#;
    for token in [body, " {", &"x".repeat(513), ""] {
        let request = signed(&Draft::get(&[("crc_token", token)]));
        let result = receive_with(&request, &[example::CONSUMER_SECRET]);
        assert!(matches!(result, Err(Rejection::Invalid(_))), "{token}");
    }
    // A text that could be a challenge token never verifies as a body.
    for body in ["", "challenge_string", "[]", "null", "7"] {
        let result = receive_with(&posted(body.as_bytes()), &[example::CONSUMER_SECRET]);
        assert!(matches!(result, Err(Rejection::Unauthenticated(_))), "{body}");
    }
}

#[test]
fn every_element_of_every_list_becomes_an_event_even_of_an_unknown_kind() {
    let body = json!({
        "for_user_id": 7,
        "tweet_create_events": [{ "id_str": "1" }, { "id_str": "2" }, "odd", [1]],
        "block_events": [{ "source": { "id": 7 }, "target": { "id": "8" }, "created_timestamp": "1" }],
        "levitation_events": [{ "id": 3 }, { "height": 2 }],
        "empty_events": [],
        "new_event": { "id": "9" },
        "users": { "8": {} }, "apps": {}, "user_has_blocked": true,
    });
    let events = received(&body);
    let all: Vec<_> = events.iter().map(|event| (name(event), event.id.as_str())).collect();
    let hash = |at: usize| events[at].id.as_str();
    assert_eq!(
        all,
        [
            ("block_events", "block_events:7:8:1"),
            ("levitation_events", "levitation_events:3"),
            ("levitation_events", hash(2)),
            ("new_event", "new_event:9"),
            ("tweet_create_events", "tweet_create_events:1"),
            ("tweet_create_events", "tweet_create_events:2"),
            ("tweet_create_events", hash(6)),
            ("tweet_create_events", hash(7)),
        ]
    );
    assert!(events.iter().all(|event| event.account == "7"));
    assert_eq!(events[0].ordering_key.as_deref(), Some("user:8"));
    assert_ne!(hash(6), hash(7));
}

#[test]
fn a_direct_message_is_a_message_unless_the_account_sent_it() {
    let message = |sender: &str, recipient: &str, data: Value| {
        let message = example::direct_message(&seed(), sender, recipient, &data);
        received(&example::body("direct_message_events", &message)).remove(0)
    };
    let (us, them) = (example::USER, example::PERSON);
    let text = message(them, us, json!({ "text": "Grüße" }));
    let EventKind::Message(inbound) = &text.kind else { panic!("{text:?}") };
    assert_eq!((inbound.from.as_str(), inbound.name.as_deref()), (them, None));
    assert_eq!(inbound.content, Content::Text { text: "Grüße".into() });
    assert_eq!(text.id, format!("direct_message_events:{}", inbound.provider_message_id));

    let own = message(us, them, json!({ "text": "Hi" }));
    assert_eq!(name(&own), "direct_message_events");
    assert_eq!(own.ordering_key, text.ordering_key);

    let content = |data: Value| match message(them, us, data).kind {
        EventKind::Message(message) => message.content,
        other => panic!("{other:?}"),
    };
    for (kind, ours) in [("photo", "image"), ("video", "video"), ("animated_gif", "video")] {
        let media = json!({ "id_str": "77", "type": kind });
        let content =
            content(json!({ "text": "t", "attachment": { "type": "media", "media": media } }));
        assert_eq!(content.kind(), ours);
        assert_eq!(content.media().unwrap().provider_media_id.as_deref(), Some("77"));
    }
    for odd in [json!({}), json!(7), json!({ "text": "t", "attachment": { "type": "location" } })] {
        assert_eq!(content(odd).kind(), "unsupported");
    }
}

#[test]
fn a_direct_message_has_its_senders_name() {
    let request = signed(&(example::EXAMPLES.events[1].draft)(&seed()));
    let EventKind::Message(message) = events(&request).remove(0).kind else { panic!() };
    assert_eq!(message.name.as_deref(), Some("Zoë Müller"));
}

#[test]
fn a_direct_message_has_the_same_id_in_both_apis() {
    let message = example::direct_message(
        &seed(),
        example::PERSON,
        example::USER,
        &json!({ "text": "Is this in stock?" }),
    );
    let users = json!({ example::PERSON: { "data": { "name": "Zoë Müller" } } });
    let from_activity_api = received(&json!({ "data": {
        "event_uuid": "-6850472171600526495", "event_type": "dm.received",
        "filter": { "user_id": example::USER },
        "payload": { "direct_message_events": [message, "odd"], "users": users },
    }}));
    let older = events(&signed(&(example::EXAMPLES.events[1].draft)(&seed())));
    assert_eq!(from_activity_api.len(), 2);
    assert_eq!(
        (&from_activity_api[0].id, &from_activity_api[0].account),
        (&older[0].id, &older[0].account)
    );
    assert_eq!(from_activity_api[0].kind, older[0].kind);
    assert_eq!(name(&from_activity_api[1]), "direct_message_events");
    let keyword =
        json!({ "event_uuid": "1", "event_type": "news.new", "filter": { "keyword": "k" } });
    let several = received(&json!({ "data": [keyword, { "event_uuid": "" }] }));
    assert_eq!(several.iter().map(name).collect::<Vec<_>>(), ["news.new", "data"]);
    assert_eq!((several[0].id.as_str(), several[0].account.as_str()), ("1", ""));
}

#[test]
fn times_are_milliseconds_or_one_of_two_text_formats() {
    let at = |part: Value| received(&example::body("x_events", &part))[0].occurred_at;
    for part in [
        json!({ "created_timestamp": "1795176000000" }),
        json!({ "timestamp_ms": 1_795_176_000_000_i64 }),
        json!({ "created_at": "Fri Nov 20 12:00:00 +0000 2026" }),
        json!({ "created_at": "2026-11-20T12:00:00.000Z" }),
    ] {
        assert_eq!(at(part.clone()), Some(seed().at), "{part}");
    }
    for odd in [json!({ "timestamp_ms": u64::MAX }), json!({ "created_at": "soon" }), json!({})] {
        assert_eq!(at(odd), None);
    }
}

#[test]
fn unknown_events_are_recorded_and_a_body_that_is_not_an_object_is_parked() {
    for (body, what) in [
        (json!({}), "activity"),
        (json!({ "for_user_id": "1" }), "activity"),
        (json!({ "user_event": { "granted": {} } }), "user_event"),
        (json!({ "data": { "event_uuid": 7 } }), "data"),
        (
            json!({ "direct_message_events": [{ "id": "1", "message_create": 7 }] }),
            "direct_message_events",
        ),
    ] {
        assert_eq!(received(&body).iter().map(name).collect::<Vec<_>>(), [what], "{body}");
    }
    for body in [&b"{"[..], b"[{}]", b"\"{\"", b"\xff{"] {
        let result = receive_with(&posted(body), &[example::CONSUMER_SECRET]);
        assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body:?}");
    }
    assert!(received(&json!({ "for_user_id": "1", "tweet_create_events": [] })).is_empty());
}
