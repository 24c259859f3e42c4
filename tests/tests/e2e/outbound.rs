//! Outbound messages: sent once and in order, or failed with a clear reason.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixtures::{Tenant, history, no_receipts, person, step};
use crate::hub::{DEFAULT_TIMEOUT, eventually, run_concurrently};

#[test]
fn messages_of_one_conversation_reach_the_provider_in_order() {
    let tenant = Tenant::new("order");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    let sent: Vec<String> = (0..20)
        .map(|each| {
            tenant.send(&json!({"conversation": conversation, "text": format!("line {each}")}))
        })
        .collect();
    let accepted = eventually("20 messages at the provider", DEFAULT_TIMEOUT, || {
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
fn concurrent_requests_with_one_idempotency_key_create_one_message() {
    let tenant = Tenant::new("idempotent");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    let body = json!({"conversation": conversation, "text": "once"});
    let key = [("idempotency-key", "order-4711")];
    let answers = run_concurrently(20, |_| {
        tenant.api.send("POST", "/messages", &key, Some(&body)).expect(202)
    });
    let id = answers[0]["id"].as_str().unwrap();
    for answer in &answers {
        assert_eq!(answer["id"], id, "{answer}");
    }
    tenant.until(id, "read");
    let again = tenant.api.send("POST", "/messages", &key, Some(&body)).expect(202);
    assert_eq!(again["id"], id);
    assert_eq!(number.accepted(&from).len(), 1, "{:?}", number.accepted(&from));

    let other = json!({"conversation": conversation, "text": "something else"});
    let problem = tenant.api.send("POST", "/messages", &key, Some(&other));
    let problem = problem.problem(422, "idempotency_key_reused");
    assert_eq!(problem["field"], "Idempotency-Key");
    // Another tenant's key with the same name is a different key.
    let other_tenant = Tenant::new("other");
    let foreign = other_tenant.api.send("POST", "/messages", &key, Some(&body));
    foreign.problem(422, "invalid_field");
}

/// An invalid message: its flaw, the body, and the field in the problem.
type Shape = (&'static str, Value, &'static str);

const NO_MESSAGE: &str = "msg_01J9ZQ4J9T0000000000000000";

fn plain_shapes(conversation: &Value, from: &str) -> Vec<Shape> {
    let long = "x".repeat(4097);
    let unknown_conversation = "conv_01J9ZQ4J9T0000000000000000";
    vec![
        ("no recipient", json!({"channel": "whatsapp", "text": "hi"}), "to"),
        ("two recipients", json!({"to": from, "conversation": conversation, "text": "hi"}), "to"),
        ("not a phone number", json!({"to": "Zoë", "channel": "whatsapp", "text": "hi"}), "to"),
        ("no channel", json!({"to": from, "text": "hi"}), "channel"),
        ("an unknown channel", json!({"to": from, "channel": "fax", "text": "hi"}), "channel"),
        ("no content", json!({"conversation": conversation}), "text"),
        (
            "two contents",
            json!({"conversation": conversation, "text": "hi",
                   "location": {"latitude": 1.0, "longitude": 1.0}}),
            "location",
        ),
        ("an unknown field", json!({"conversation": conversation, "txt": "hi"}), "txt"),
        ("text that is a number", json!({"conversation": conversation, "text": 42}), "text"),
        ("empty text", json!({"conversation": conversation, "text": " "}), "text"),
        ("a long text", json!({"conversation": conversation, "text": long}), "text"),
        (
            "an unknown conversation",
            json!({"conversation": unknown_conversation, "text": "hi"}),
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

fn rich_shapes(conversation: &Value) -> Vec<Shape> {
    let buttons = |buttons: Value| {
        json!({"conversation": conversation,
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
        (
            "eleven rows",
            json!({"conversation": conversation, "interactive": list}),
            "interactive.sections",
        ),
        (
            "a file with an invalid URL",
            json!({"conversation": conversation, "media": {"type": "image", "url": "/etc/passwd"}}),
            "media.url",
        ),
        (
            "a file without a type",
            json!({"conversation": conversation, "media": {"url": "https://a/b"}}),
            "media.type",
        ),
        (
            "a caption where none is shown",
            json!({"conversation": conversation,
                   "media": {"type": "audio", "url": "https://a/b", "caption": "hear"}}),
            "media.caption",
        ),
        (
            "coordinates off the earth",
            json!({"conversation": conversation, "location": nowhere}),
            "location.latitude",
        ),
        (
            "a reply to an unknown message",
            json!({"conversation": conversation, "text": "hi", "reply_to": NO_MESSAGE}),
            "reply_to",
        ),
        (
            "a reaction to an unknown message",
            json!({"conversation": conversation,
                   "reaction": {"message_id": NO_MESSAGE, "emoji": "👍"}}),
            "reaction.message_id",
        ),
        ("not a conversation id", json!({"conversation": "4711", "text": "hi"}), "conversation"),
        (
            "a template without a language",
            json!({"conversation": conversation, "template": {"name": "hello_world"}}),
            "template.language",
        ),
    ]
}

#[test]
fn an_invalid_message_is_rejected_with_the_field_name() {
    let tenant = Tenant::new("shapes");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    let mut cases = plain_shapes(&conversation, &from);
    cases.extend(rich_shapes(&conversation));
    let mut wrong = Vec::new();
    for (what, body, field) in &cases {
        let answer = tenant.api.post("/messages", body);
        let problem = answer.json();
        if answer.status != 422 || problem["field"] != *field {
            wrong.push(format!("{what}: expected 422 for {field}, got {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let key = [("idempotency-key", &*"k".repeat(256))];
    let body = json!({"conversation": conversation, "text": "hi"});
    let problem = tenant.api.send("POST", "/messages", &key, Some(&body));
    assert_eq!(problem.problem(422, "invalid_field")["field"], "Idempotency-Key");
    let answer = tenant.api.send("POST", "/messages", &[], Some(&json!("text")));
    assert_eq!(answer.status, 422, "{answer}");
    let no_telegram = json!({"to": "4711", "channel": "telegram", "text": "hi"});
    tenant.api.post("/messages", &no_telegram).problem(422, "no_integration");
    assert!(number.accepted(&from).is_empty());
}

#[test]
fn outside_the_service_window_only_templates_are_accepted() {
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
    // A template does not open the window.
    tenant.api.post("/messages", &text).problem(422, "outside_service_window");
    let conversation = tenant.conversation(&to);
    let read = format!("/conversations/{}/read", conversation["id"].as_str().unwrap());
    tenant.api.post(&read, &json!({})).problem(422, "nothing_to_read");
    // The customer's message does.
    number.hello(&to);
    eventually("the window is open", DEFAULT_TIMEOUT, || {
        let answer = tenant.api.post("/messages", &text);
        if answer.status == 202 { Ok(()) } else { Err(answer.to_string()) }
    });
}

/// Sends one message with these faults armed. Returns the message once it is read, and the
/// provider's log.
fn sent_through(tenant: &Tenant, settings: &Value, faults: &Value) -> (Value, Vec<Value>) {
    let number = tenant.whatsapp(settings);
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    number.faults(faults);
    let id = tenant.send(&json!({"conversation": conversation, "text": "no hurry"}));
    (tenant.until(&id, "read"), number.accepted(&from))
}

#[test]
fn a_providers_retry_after_is_respected_and_the_message_is_sent_once() {
    let tenant = Tenant::new("pause");
    let faults = json!([{"kind": "rate_limited", "retry_after_s": 2, "times": 2}]);
    let (message, accepted) = sent_through(&tenant, &json!({}), &faults);
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert!(!history(&message).contains(&"failed".to_owned()), "{message}");
    // A rate limit does not count as an attempt.
    assert_eq!(step(&message, "accepted")["attempt"], 1, "{message}");
}

#[test]
fn rate_limits_of_the_number_and_the_recipient_are_respected() {
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
fn a_provider_error_that_sent_nothing_is_retried() {
    let tenant = Tenant::new("provider-error");
    let faults = json!([{"kind": "error", "code": 131_016}]);
    let (message, accepted) = sent_through(&tenant, &json!({}), &faults);
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert_eq!(step(&message, "accepted")["attempt"], 2, "{message}");
    assert!(!history(&message).contains(&"failed".to_owned()), "{message}");
}

#[test]
fn a_permanent_error_fails_with_the_code_and_a_remedy() {
    let tenant = Tenant::new("refused");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    let cases = [(190, "token"), (131_008, "missing or invalid"), (131_031, "locked")];
    for (code, remedy) in cases {
        number.faults(&json!([{"kind": "error", "code": code}]));
        let id = tenant.send(&json!({"conversation": conversation, "text": format!("{code}")}));
        let message = tenant.until(&id, "failed");
        let failed = step(&message, "failed");
        assert_eq!(failed["code"], code.to_string(), "{failed}");
        assert!(failed["detail"].as_str().unwrap().contains(remedy), "{failed}");
        assert_eq!(history(&message), ["queued", "sending", "failed"]);
    }
    let notifications = automation.until("message.status", 3);
    assert_eq!(notifications["total"], 3, "{notifications}");
    let mut deliveries = notifications["deliveries"].as_array().unwrap().iter();
    assert!(deliveries.all(|one| one["body"]["data"]["message"]["status"] == "failed"));
    assert!(number.accepted(&from).is_empty());
    // The next message is sent: a rejected one does not block others.
    let id = tenant.send(&json!({"conversation": conversation, "text": "now?"}));
    tenant.until(&id, "read");
}

#[test]
fn a_revoked_token_is_reported() {
    let tenant = Tenant::new("token");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    let path = format!("/integrations/{}", number.integration);
    let wrong = json!({"credentials": {"WHATSAPP_ACCESS_TOKEN": "EAAG-revoked"}});
    tenant.api.put(&path, &wrong).expect(200);
    let verify = tenant.api.post(&format!("{path}/verify"), &json!({}));
    let problem = verify.problem(502, "provider_refused");
    assert!(problem["detail"].as_str().unwrap().contains("190"), "{problem}");
    // The sender has not cached this secret yet, or reads it again for a new integration.
    let id = tenant.send(&json!({"conversation": conversation, "text": "hello"}));
    let message = tenant.until(&id, "failed");
    assert_eq!(step(&message, "failed")["code"], "190", "{message}");
}

#[test]
fn a_changed_token_is_used_for_the_next_message() {
    let tenant = Tenant::new("rotated-token");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    // Credentials are not cached until some seconds after a change.
    std::thread::sleep(Duration::from_secs(11));
    let id = tenant.send(&json!({"conversation": conversation, "text": "with the old token"}));
    tenant.until(&id, "read");
    number.set(&json!({"token": "EAAG-the-new-token"}));
    let path = format!("/integrations/{}", number.integration);
    let new = json!({"credentials": {"WHATSAPP_ACCESS_TOKEN": "EAAG-the-new-token"}});
    tenant.api.put(&path, &new).expect(200);
    let id = tenant.send(&json!({"conversation": conversation, "text": "with the new token"}));
    tenant.until(&id, "read");
    assert_eq!(number.accepted(&from).len(), 2);
}

#[test]
fn every_content_type_reaches_the_provider() {
    let tenant = Tenant::new("contents");
    let mut settings = no_receipts();
    settings["limits"] = json!({"pair_interval_ms": 0});
    let number = tenant.whatsapp(&settings);
    let from = person();
    let conversation = number.hello(&from);
    let received = tenant.messages(conversation["id"].as_str().unwrap())[0]["id"].clone();
    let choices = json!([{"id": "y", "title": "Yes"}, {"id": "n", "title": "No"}]);
    let sections = json!([{"title": "All", "rows": [{"id": "1", "title": "One"}]}]);
    let cases = [
        (json!({"text": "plain", "reply_to": received}), "text", "/text/body", json!("plain")),
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
            json!({"reaction": {"message_id": received, "emoji": "👍"}}),
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
        body["conversation"] = conversation["id"].clone();
        let id = tenant.send(&body);
        tenant.until(&id, "accepted");
    }
    let accepted = number.accepted(&from);
    assert_eq!(accepted.len(), cases.len());
    for ((_, kind, pointer, expected), send) in cases.iter().zip(&accepted) {
        assert_eq!(send["type"], *kind, "{send}");
        assert_eq!(send["body"].pointer(pointer), Some(expected), "{send}");
    }
    let context = accepted[0]["body"].pointer("/context/message_id");
    assert_eq!(context, Some(&conversation["last_inbound_message"]), "{}", accepted[0]);
}

#[test]
fn a_received_message_can_be_marked_as_read() {
    let tenant = Tenant::new("seen");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let conversation = number.hello(&from);
    let path = format!("/conversations/{}/read", conversation["id"].as_str().unwrap());
    let answer = tenant.api.post(&path, &json!({})).expect(202);
    assert_eq!(answer["status"], "queued");
    eventually("the message is marked as read", DEFAULT_TIMEOUT, || {
        let reads = number.reads();
        let marked = reads
            .as_array()
            .unwrap()
            .iter()
            .any(|read| read["message_id"] == conversation["last_inbound_message"]);
        if marked { Ok(()) } else { Err(reads.to_string()) }
    });
}
