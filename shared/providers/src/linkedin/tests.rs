use std::collections::BTreeMap;

use bytes::Bytes;
use domain::event::{EventKind, ParsedEvent};
use domain::integration::Settings;
use domain::webhook::{ParsedWebhook, Rejection, WebhookProvider, WebhookRequest, receive};
use domain::{Credentials, Integration, IntegrationId, Provider, TenantId};
use http::Method;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{CLIENT_SECRET, SPEC, WEBHOOK, example};
use crate::example::{Draft, Seed};
use crate::vectors;

fn integration(settings: Value) -> Integration {
    let Value::Object(settings) = settings else { panic!("no settings") };
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["linkedin"]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::Linkedin,
        settings: Settings(settings),
        account: None,
        hints: BTreeMap::new(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    }
}

fn receive_for(
    settings: Value,
    request: &WebhookRequest,
    secrets: &[&str],
) -> Result<ParsedWebhook, Rejection> {
    let values = secrets.iter().map(|secret| (*secret).into()).collect();
    let credentials = Credentials::new([(CLIENT_SECRET.to_owned(), values)]);
    let source = WEBHOOK.source(&integration(settings), &credentials);
    receive(&*source, request, Timestamp::UNIX_EPOCH)
}

fn receive_with(request: &WebhookRequest, secrets: &[&str]) -> Result<ParsedWebhook, Rejection> {
    receive_for(json!({}), request, secrets)
}

fn seed() -> Seed {
    Seed { at: "2026-11-20T12:00:00Z".parse().unwrap(), nonce: "0123456789abcdef".to_owned() }
}

fn signed(draft: &Draft) -> WebhookRequest {
    let examples = &example::EXAMPLES;
    let url = "https://hub.example.com/webhooks/linkedin";
    (examples.sign)(&examples.events[0], draft, &example::credentials(), url, seed().at)
}

fn events(request: &WebhookRequest) -> Vec<ParsedEvent> {
    match receive_with(request, &[example::CLIENT_SECRET]).unwrap() {
        ParsedWebhook::Events(events) => events,
        other => panic!("{other:?}"),
    }
}

fn received(body: &Value) -> Vec<ParsedEvent> {
    events(&signed(&Draft::json(body.clone())))
}

fn name(event: &ParsedEvent) -> &str {
    match &event.kind {
        EventKind::Other { name } => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_vector_verifies_as_recorded() {
    let all = vectors::check_all(include_str!("vectors.json"), 6, |vector| {
        // That of a child application, if it names one.
        let settings = match vector.own.get("application_id") {
            Some(application) => json!({ "application_id": application }),
            None => json!({}),
        };
        receive_for(settings, &vector.request(), &[&vector.secret])
    });
    for (vector, result) in all {
        let Ok(ParsedWebhook::Events(events)) = result else { continue };
        let expected = ("7", "urn:li:organization:1");
        assert_eq!((&*events[0].id, &*events[0].account), expected, "{}", vector.name);
    }
}

#[test]
fn every_example_is_accepted_and_parsed_as_expected() {
    let social = "ORGANIZATION_SOCIAL_ACTION_NOTIFICATIONS";
    let expected = [
        (vec![format!("{social}.COMMENT")], "urn:li:share:"),
        (vec![format!("{social}.LIKE"); 2], "urn:li:share:"),
        (vec![format!("{social}.SHARE_MENTION")], "urn:li:share:"),
        (vec!["LEAD_ACTION.CREATED".to_owned()], "urn:li:leadGenFormResponse:0123456789abcdef"),
        (vec!["LEAD_ACTION.DELETED".to_owned()], "urn:li:leadGenFormResponse:0123456789abcdef"),
    ];
    let (challenge, examples) = example::EXAMPLES.events.split_last().unwrap();
    assert_eq!(examples.len(), expected.len());
    let mut ids = std::collections::BTreeSet::new();
    for (example, (names, key)) in examples.iter().zip(expected) {
        let request = signed(&(example.draft)(&seed()));
        let events = events(&request);
        assert_eq!(events.iter().map(name).collect::<Vec<_>>(), names);
        let again = self::events(&signed(&(example.draft)(&seed())));
        for (event, again) in events.iter().zip(again) {
            assert_eq!(
                (event.account.as_str(), event.occurred_at),
                (example::ORGANIZATION, Some(seed().at))
            );
            assert!(event.ordering_key.as_deref().unwrap().starts_with(key));
            assert!(std::str::from_utf8(&request.body).unwrap().contains(event.raw.get()));
            assert_eq!(again.id, event.id, "a redelivery is the same event");
            assert!(ids.insert(event.id.clone()));
        }
    }
    let request = signed(&(challenge.draft)(&seed()));
    assert!(matches!(receive_with(&request, &["s"]), Ok(ParsedWebhook::Handshake(_))));
}

#[test]
fn the_signature_header_may_have_the_prefix() {
    let mut request = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let own = example::signature(example::CLIENT_SECRET, &request.body);
    request.headers.insert("x-li-signature", format!("hmacsha256={own}").parse().unwrap());
    assert!(receive_with(&request, &[example::CLIENT_SECRET]).is_ok());
}

#[test]
fn one_changed_byte_of_the_body_or_signature_is_rejected() {
    let good = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let refused = |request: &WebhookRequest| {
        let result = receive_with(request, &[example::CLIENT_SECRET]);
        matches!(result, Err(Rejection::Unauthenticated(_)))
    };
    for place in 0..good.body.len() {
        let mut body = good.body.to_vec();
        body[place] ^= 1;
        assert!(refused(&WebhookRequest { body: body.into(), ..good.clone() }), "{place}");
    }
    let own = example::signature(example::CLIENT_SECRET, &good.body);
    for value in ["", "hmacsha256=", &own[..62], &format!("sha256={own}"), &own[1..]] {
        let mut request = good.clone();
        request.headers.insert("x-li-signature", value.parse().unwrap());
        assert!(refused(&request), "{value}");
    }
    let mut unsigned = good.clone();
    unsigned.headers.clear();
    assert!(refused(&unsigned));
    assert!(refused(&WebhookRequest { method: Method::PUT, ..good }));
}

#[test]
fn any_secret_verifies_the_newest_answers_challenges_and_an_empty_one_does_neither() {
    let post = signed(&(example::EXAMPLES.events[0].draft)(&seed()));
    let challenge = signed(&(example::EXAMPLES.events[5].draft)(&seed()));
    assert!(receive_with(&post, &["new", example::CLIENT_SECRET]).is_ok());
    assert!(receive_with(&post, &["new"]).is_err());
    let answer = |secrets: &[&str]| match receive_with(&challenge, secrets).unwrap() {
        ParsedWebhook::Handshake(reply) => reply.body,
        other => panic!("{other:?}"),
    };
    assert_eq!(answer(&["new", "old"]), answer(&["new"]));
    assert_ne!(answer(&["new"]), answer(&["old"]));
    for secrets in [&[""][..], &[]] {
        for request in [&post, &challenge] {
            assert!(matches!(receive_with(request, secrets), Err(Rejection::Unauthenticated(_))));
        }
    }
}

#[test]
fn the_answer_to_a_challenge_never_signs_a_body() {
    for code in ["", "hmacsha256={}", "hmacsha256=", "a=b", "é", &"x".repeat(129)] {
        let request = signed(&Draft::get(&[("challengeCode", code)]));
        let result = receive_with(&request, &[example::CLIENT_SECRET]);
        assert!(matches!(result, Err(Rejection::Invalid(_))), "{code}");
    }
}

#[test]
fn only_challenges_of_the_configured_application_are_answered() {
    let ask = |application: &str| {
        signed(&Draft::get(&[("challengeCode", "c"), ("applicationId", application)]))
    };
    let settings = || json!({ "application_id": "1234" });
    assert!(receive_for(settings(), &ask("1234"), &["s"]).is_ok());
    assert!(matches!(receive_for(settings(), &ask("9"), &["s"]), Err(Rejection::Forbidden(_))));
    assert!(receive_with(&ask("9"), &["s"]).is_ok());
}

#[test]
fn an_unknown_notification_does_not_affect_the_others() {
    let odd = [json!(7), json!({}), json!([1, 2]), json!({ "notificationId": {}, "action": 3 })];
    for odd in odd {
        let good = |id: i64| json!({ "notificationId": id, "organizationalEntity": "urn:o" });
        let events = received(&example::notifications(&[good(1), odd.clone(), good(2)]));
        let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!((ids[0], ids[1].len(), ids[2]), ("1", 64, "2"), "{odd}");
    }
}

#[test]
fn unknown_events_are_recorded_and_a_body_that_is_not_an_object_is_parked() {
    for (body, what) in [
        (json!({}), "notification"),
        (json!({ "type": 7 }), "7"),
        (json!({ "type": "JOB_APPLICATION", "id": 1 }), "JOB_APPLICATION"),
        (json!({ "type": "X", "notifications": {} }), "X"),
        (json!({ "type": "LEAD_ACTION", "leadGenFormResponse": 1.5 }), "LEAD_ACTION"),
        (json!({ "type": "LEAD_ACTION", "owner": [], "occurredAt": "soon" }), "LEAD_ACTION"),
    ] {
        let events = received(&body);
        assert_eq!(events.iter().map(name).collect::<Vec<_>>(), [what], "{body}");
        assert_eq!((events[0].id.len(), events[0].occurred_at), (64, None));
    }
    for body in [&b""[..], b"{", b"[]", b"null", b"\xff"] {
        let mut request = signed(&Draft::json(json!({})));
        let value = example::signature(example::CLIENT_SECRET, body).parse().unwrap();
        request.headers.insert("x-li-signature", value);
        request.body = Bytes::copy_from_slice(body);
        let result = receive_with(&request, &[example::CLIENT_SECRET]);
        assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body:?}");
    }
}

#[test]
fn a_lead_without_a_time_has_none_and_its_id_is_stable() {
    let lead = json!({
        "type": "LEAD_ACTION", "leadAction": "CREATED", "leadGenFormResponse": "urn:li:response:1",
    });
    for event in [received(&lead), received(&lead)].concat() {
        assert_eq!(event.id, "urn:li:response:1:LEAD_ACTION.CREATED:0");
        assert_eq!(event.occurred_at, None);
    }
}

#[test]
fn settings_are_an_account_and_an_application() {
    let read = |given: Value| {
        let Value::Object(given) = given else { panic!() };
        (SPEC.settings)(&given)
    };
    assert!(read(json!({ "account": "urn:li:organization:1", "application_id": "12" })).is_ok());
    assert_eq!(read(json!({})).unwrap(), Settings(Map::new()));
    assert_eq!(read(json!({ "application_id": 12 })).unwrap_err().field, "settings.application_id");
    assert_eq!(read(json!({ "app": "12" })).unwrap_err().field, "settings.app");
}
