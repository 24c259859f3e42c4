//! What tenants send: once, in order, or a plain reason why not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cast::{Tenant, history, no_receipts, person, step};
use crate::hub::{SOON, at_once, eventually};

#[test]
fn messages_of_one_conversation_reach_the_provider_in_order() {
    let tenant = Tenant::new("order");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let talk = number.hello(&from)["id"].clone();
    let sent: Vec<String> = (0..20)
        .map(|each| tenant.send(&json!({"conversation": talk, "text": format!("line {each}")})))
        .collect();
    let accepted = eventually("20 messages at the provider", SOON, || {
        let accepted = number.accepted(&from);
        if accepted.len() >= 20 { Ok(accepted) } else { Err(format!("{accepted:?}")) }
    });
    let arrived: Vec<_> = accepted.iter().map(|send| send["opaque"].as_str().unwrap()).collect();
    assert_eq!(arrived, sent);
    for id in &sent {
        tenant.until(id, "read");
    }
    assert_eq!(number.accepted(&from).len(), 20);
}

#[test]
fn the_same_key_and_body_at_once_is_one_message_sent_once() {
    let tenant = Tenant::new("idempotent");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let talk = number.hello(&from)["id"].clone();
    let body = json!({"conversation": talk, "text": "once"});
    let key = [("idempotency-key", "order-4711")];
    let answers =
        at_once(20, |_| tenant.api.send("POST", "/messages", &key, Some(&body)).expect(202));
    let id = answers[0]["id"].as_str().unwrap();
    for answer in &answers {
        assert_eq!(answer["id"], id, "{answer}");
    }
    tenant.until(id, "read");
    let again = tenant.api.send("POST", "/messages", &key, Some(&body)).expect(202);
    assert_eq!(again["id"], id);
    assert_eq!(number.accepted(&from).len(), 1, "{:?}", number.accepted(&from));

    let other = json!({"conversation": talk, "text": "something else"});
    let problem = tenant.api.send("POST", "/messages", &key, Some(&other));
    let problem = problem.problem(422, "idempotency_key_reused");
    assert_eq!(problem["field"], "Idempotency-Key");
    // Another tenant's key of the same name is another key.
    let neighbour = Tenant::new("neighbour");
    let foreign = neighbour.api.send("POST", "/messages", &key, Some(&body));
    foreign.problem(422, "invalid_field");
}

/// What a message lacks or has too much of, and the field that is named for it.
type Shape = (&'static str, Value, &'static str);

const NO_MESSAGE: &str = "msg_01J9ZQ4J9T0000000000000000";

fn plain_shapes(talk: &Value, from: &str) -> Vec<Shape> {
    let long = "x".repeat(4097);
    let unknown_talk = "conv_01J9ZQ4J9T0000000000000000";
    vec![
        ("no recipient", json!({"channel": "whatsapp", "text": "hi"}), "to"),
        ("two recipients", json!({"to": from, "conversation": talk, "text": "hi"}), "to"),
        ("no number", json!({"to": "Zoë", "channel": "whatsapp", "text": "hi"}), "to"),
        ("no channel", json!({"to": from, "text": "hi"}), "channel"),
        ("an unknown channel", json!({"to": from, "channel": "fax", "text": "hi"}), "channel"),
        ("no content", json!({"conversation": talk}), "text"),
        (
            "two contents",
            json!({"conversation": talk, "text": "hi",
                   "location": {"latitude": 1.0, "longitude": 1.0}}),
            "location",
        ),
        ("an unknown field", json!({"conversation": talk, "txt": "hi"}), "txt"),
        ("no text", json!({"conversation": talk, "text": 42}), "text"),
        ("empty text", json!({"conversation": talk, "text": " "}), "text"),
        ("a long text", json!({"conversation": talk, "text": long}), "text"),
        (
            "an unknown conversation",
            json!({"conversation": unknown_talk, "text": "hi"}),
            "conversation",
        ),
        (
            "an unknown integration",
            json!({"to": from, "channel": "whatsapp", "text": "hi",
                   "integration": "int_01J9ZQ4J9T0000000000000000"}),
            "integration",
        ),
    ]
}

fn rich_shapes(talk: &Value) -> Vec<Shape> {
    let buttons = |buttons: Value| {
        json!({"conversation": talk,
               "interactive": {"type": "button", "body": "Which?", "buttons": buttons}})
    };
    let rows: Vec<Value> =
        (0..11).map(|each| json!({"id": each.to_string(), "title": "row"})).collect();
    let list = json!({"type": "list", "body": "Which?", "button": "Open",
                      "sections": [{"title": "All", "rows": rows}]});
    let nowhere = json!({"latitude": 91.0, "longitude": 0.0});
    vec![
        (
            "a long button",
            buttons(json!([{"id": "a", "title": "x".repeat(21)}])),
            "interactive.buttons",
        ),
        (
            "two equal buttons",
            buttons(json!([{"id": "a", "title": "A"}, {"id": "a", "title": "B"}])),
            "interactive.buttons",
        ),
        ("no buttons", buttons(json!([])), "interactive.buttons"),
        ("eleven rows", json!({"conversation": talk, "interactive": list}), "interactive.sections"),
        (
            "a file that is nowhere",
            json!({"conversation": talk, "media": {"type": "image", "url": "/etc/passwd"}}),
            "media.url",
        ),
        (
            "a file without a type",
            json!({"conversation": talk, "media": {"url": "https://a/b"}}),
            "media.type",
        ),
        (
            "a caption where none is shown",
            json!({"conversation": talk,
                   "media": {"type": "audio", "url": "https://a/b", "caption": "hear"}}),
            "media.caption",
        ),
        (
            "a place off the earth",
            json!({"conversation": talk, "location": nowhere}),
            "location.latitude",
        ),
        (
            "an answer to nothing",
            json!({"conversation": talk, "text": "hi", "reply_to": NO_MESSAGE}),
            "reply_to",
        ),
        (
            "a reaction to nothing",
            json!({"conversation": talk, "reaction": {"message_id": NO_MESSAGE, "emoji": "👍"}}),
            "reaction.message_id",
        ),
        ("no conversation's id", json!({"conversation": "4711", "text": "hi"}), "conversation"),
        (
            "a template without a language",
            json!({"conversation": talk, "template": {"name": "hello_world"}}),
            "template.language",
        ),
    ]
}

#[test]
fn a_message_in_a_bad_shape_is_refused_with_the_field_named() {
    let tenant = Tenant::new("shapes");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let talk = number.hello(&from)["id"].clone();
    let mut cases = plain_shapes(&talk, &from);
    cases.extend(rich_shapes(&talk));
    let mut wrong = Vec::new();
    for (what, body, field) in &cases {
        let answer = tenant.api.post("/messages", body);
        let problem = answer.json();
        if answer.status != 422 || problem["field"] != *field {
            wrong.push(format!("{what}: wanted 422 for {field}, got {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let key = [("idempotency-key", &*"k".repeat(256))];
    let body = json!({"conversation": talk, "text": "hi"});
    let problem = tenant.api.send("POST", "/messages", &key, Some(&body));
    assert_eq!(problem.problem(422, "invalid_field")["field"], "Idempotency-Key");
    let answer = tenant.api.send("POST", "/messages", &[], Some(&json!("text")));
    assert_eq!(answer.status, 422, "{answer}");
    let no_telegram = json!({"to": "4711", "channel": "telegram", "text": "hi"});
    tenant.api.post("/messages", &no_telegram).problem(422, "no_integration");
    assert!(number.accepted(&from).is_empty());
}

#[test]
fn outside_the_service_window_only_a_template_is_taken() {
    let tenant = Tenant::new("window");
    let number = tenant.whatsapp(&json!({}));
    let to = person();
    let text = json!({"to": to, "channel": "whatsapp", "text": "we have news"});
    let problem = tenant.api.post("/messages", &text).problem(422, "outside_service_window");
    assert_eq!(problem["field"], "text");
    assert!(problem["detail"].as_str().unwrap().contains("template"), "{problem}");
    let template = json!({"name": "hello_world", "language": "en_US"});
    let template = json!({"to": to, "channel": "whatsapp", "template": template});
    let id = tenant.send(&template);
    tenant.until(&id, "read");
    // A template does not open it.
    tenant.api.post("/messages", &text).problem(422, "outside_service_window");
    let talk = tenant.conversation(&to);
    let read = format!("/conversations/{}/read", talk["id"].as_str().unwrap());
    tenant.api.post(&read, &json!({})).problem(422, "nothing_to_read");
    // The person's answer does.
    number.hello(&to);
    eventually("the window is open", SOON, || {
        let answer = tenant.api.post("/messages", &text);
        if answer.status == 202 { Ok(()) } else { Err(answer.to_string()) }
    });
}

/// Sends one message into these faults; gives it once it was read, and the provider's log.
fn sent_through(tenant: &Tenant, settings: &Value, faults: &Value) -> (Value, Vec<Value>) {
    let number = tenant.whatsapp(settings);
    let from = person();
    let talk = number.hello(&from)["id"].clone();
    number.faults(faults);
    let id = tenant.send(&json!({"conversation": talk, "text": "no hurry"}));
    (tenant.until(&id, "read"), number.accepted(&from))
}

#[test]
fn a_provider_that_asks_for_a_pause_gets_it_and_the_message_once() {
    let tenant = Tenant::new("pause");
    let faults = json!([{"kind": "rate_limited", "retry_after_s": 2, "times": 2}]);
    let (message, accepted) = sent_through(&tenant, &json!({}), &faults);
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert!(!history(&message).contains(&"failed".to_owned()), "{message}");
    // A wait is no attempt.
    assert_eq!(step(&message, "accepted")["attempt"], 1, "{message}");
}

#[test]
fn the_numbers_and_the_persons_limit_are_waited_for() {
    for code in [130_429, 131_056] {
        let tenant = Tenant::new("limit");
        let faults = json!([{"kind": "error", "code": code}]);
        let (message, accepted) = sent_through(&tenant, &json!({}), &faults);
        assert_eq!(accepted.len(), 1, "{code}: {accepted:?}");
        assert!(!history(&message).contains(&"failed".to_owned()), "{code}: {message}");
        assert_eq!(step(&message, "accepted")["attempt"], 1, "{code}: {message}");
    }
}

#[test]
fn trouble_at_the_provider_that_sent_nothing_is_tried_again() {
    let tenant = Tenant::new("trouble");
    let faults = json!([{"kind": "error", "code": 131_016}]);
    let (message, accepted) = sent_through(&tenant, &json!({}), &faults);
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert_eq!(step(&message, "accepted")["attempt"], 2, "{message}");
    assert!(!history(&message).contains(&"failed".to_owned()), "{message}");
}

#[test]
fn a_refusal_for_good_is_failed_with_the_code_and_what_to_do() {
    let tenant = Tenant::new("refused");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let talk = number.hello(&from)["id"].clone();
    let cases = [(190, "token"), (131_008, "missing or invalid"), (131_031, "locked")];
    for (code, remedy) in cases {
        number.faults(&json!([{"kind": "error", "code": code}]));
        let id = tenant.send(&json!({"conversation": talk, "text": format!("{code}")}));
        let message = tenant.until(&id, "failed");
        let failed = step(&message, "failed");
        assert_eq!(failed["code"], code.to_string(), "{failed}");
        assert!(failed["detail"].as_str().unwrap().contains(remedy), "{failed}");
        assert_eq!(history(&message), ["queued", "sending", "failed"]);
    }
    let told = automation.until("message.status", 3);
    assert_eq!(told["total"], 3, "{told}");
    let told = told["deliveries"].as_array().unwrap().iter();
    assert!(told.clone().all(|told| told["body"]["data"]["message"]["status"] == "failed"));
    assert!(number.accepted(&from).is_empty());
    // The next one goes through: one refusal holds nobody up.
    let id = tenant.send(&json!({"conversation": talk, "text": "now?"}));
    tenant.until(&id, "read");
}

#[test]
fn a_token_that_was_revoked_is_said_to_be() {
    let tenant = Tenant::new("token");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let talk = number.hello(&from)["id"].clone();
    let path = format!("/integrations/{}", number.integration);
    let wrong = json!({"credentials": {"WHATSAPP_ACCESS_TOKEN": "EAAG-revoked"}});
    tenant.api.put(&path, &wrong).expect(200);
    let verify = tenant.api.post(&format!("{path}/verify"), &json!({}));
    let problem = verify.problem(502, "provider_refused");
    assert!(problem["detail"].as_str().unwrap().contains("190"), "{problem}");
    // The sender has not read this secret yet, or reads it anew for a new integration.
    let id = tenant.send(&json!({"conversation": talk, "text": "hello"}));
    let message = tenant.until(&id, "failed");
    assert_eq!(step(&message, "failed")["code"], "190", "{message}");
}

#[test]
fn a_token_that_was_changed_is_used_for_the_next_message() {
    let tenant = Tenant::new("rotated-token");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let talk = number.hello(&from)["id"].clone();
    // What is read sooner after a change is not remembered.
    std::thread::sleep(Duration::from_secs(11));
    let id = tenant.send(&json!({"conversation": talk, "text": "with the old token"}));
    tenant.until(&id, "read");
    number.set(&json!({"token": "EAAG-the-new-token"}));
    let path = format!("/integrations/{}", number.integration);
    let new = json!({"credentials": {"WHATSAPP_ACCESS_TOKEN": "EAAG-the-new-token"}});
    tenant.api.put(&path, &new).expect(200);
    let id = tenant.send(&json!({"conversation": talk, "text": "with the new token"}));
    tenant.until(&id, "read");
    assert_eq!(number.accepted(&from).len(), 2);
}

#[test]
fn every_content_reaches_the_provider_in_its_own_form() {
    let tenant = Tenant::new("contents");
    let mut settings = no_receipts();
    settings["limits"] = json!({"pair_interval_ms": 0});
    let number = tenant.whatsapp(&settings);
    let from = person();
    let talk = number.hello(&from);
    let theirs = tenant.messages(talk["id"].as_str().unwrap())[0]["id"].clone();
    let choices = json!([{"id": "y", "title": "Yes"}, {"id": "n", "title": "No"}]);
    let sections = json!([{"title": "All", "rows": [{"id": "1", "title": "One"}]}]);
    let cases = [
        (json!({"text": "plain", "reply_to": theirs}), "text", "/text/body", json!("plain")),
        (
            json!({"media": {"type": "image", "url": "https://example.com/a.png", "caption": "a"}}),
            "image",
            "/image/link",
            json!("https://example.com/a.png"),
        ),
        (
            json!({"media": {"type": "document", "url": "https://example.com/a.pdf", "filename": "a.pdf"}}),
            "document",
            "/document/filename",
            json!("a.pdf"),
        ),
        (
            json!({"interactive": {"type": "button", "body": "Sure?", "buttons": choices}}),
            "interactive",
            "/interactive/action/buttons/0/reply/id",
            json!("y"),
        ),
        (
            json!({"interactive": {"type": "list", "body": "Which?", "button": "Open", "sections": sections}}),
            "interactive",
            "/interactive/action/sections/0/rows/0/title",
            json!("One"),
        ),
        (
            json!({"location": {"latitude": 52.5, "longitude": 13.4, "name": "Berlin"}}),
            "location",
            "/location/name",
            json!("Berlin"),
        ),
        (
            json!({"reaction": {"message_id": theirs, "emoji": "👍"}}),
            "reaction",
            "/reaction/emoji",
            json!("👍"),
        ),
        (
            json!({"template": {"name": "hello_world", "language": "en_US"}}),
            "template",
            "/template/name",
            json!("hello_world"),
        ),
    ];
    for (content, ..) in &cases {
        let mut body = content.clone();
        body["conversation"] = talk["id"].clone();
        let id = tenant.send(&body);
        tenant.until(&id, "accepted");
    }
    let accepted = number.accepted(&from);
    assert_eq!(accepted.len(), cases.len());
    for ((_, kind, place, wanted), send) in cases.iter().zip(&accepted) {
        assert_eq!(send["type"], *kind, "{send}");
        assert_eq!(send["body"].pointer(place), Some(wanted), "{send}");
    }
    let context = accepted[0]["body"].pointer("/context/message_id");
    assert_eq!(context, Some(&talk["last_inbound_message"]), "{}", accepted[0]);
}

#[test]
fn a_person_sees_that_their_message_was_read() {
    let tenant = Tenant::new("seen");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let talk = number.hello(&from);
    let path = format!("/conversations/{}/read", talk["id"].as_str().unwrap());
    let answer = tenant.api.post(&path, &json!({})).expect(202);
    assert_eq!(answer["status"], "queued");
    eventually("the message is marked as read", SOON, || {
        let reads = number.reads();
        let marked = reads
            .as_array()
            .unwrap()
            .iter()
            .any(|read| read["message_id"] == talk["last_inbound_message"]);
        if marked { Ok(()) } else { Err(reads.to_string()) }
    });
}
