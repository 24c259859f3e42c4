//! Senders and providers that stop in the middle of a message. The file's name puts it first,
//! because its first test waits longest.

use std::process::Command;
use std::sync::PoisonError;
use std::time::Duration;

use providers::whatsapp_cloud::example;
use serde_json::{Value, json};

use crate::cloud;
use crate::fixtures::{SENDER, Tenant, history, no_receipts, person, step};
use crate::hub::{DEFAULT_TIMEOUT, HUB, eventually};

/// Sends a message that the provider accepts without a response, and kills the sender.
fn send_and_kill<'a>(
    tenant: &'a Tenant,
    settings: &Value,
) -> (String, impl Fn() -> usize + use<'a>) {
    let number = tenant.whatsapp_alone(settings);
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    number.faults(&json!([{"kind": "accept_then_time_out", "hold_ms": 30_000}]));
    let id = tenant.send(&json!({"conversation": conversation, "text": "will it come twice?"}));
    eventually("the provider has it", DEFAULT_TIMEOUT, || {
        if number.accepted(&from).len() == 1 { Ok(()) } else { Err("nothing".to_owned()) }
    });
    let senders = cloud::processes().remove("switchboard-sender-whatsapp");
    let senders = senders.unwrap_or_else(|| panic!("no sender runs"));
    let kill = Command::new("kill").arg("-9").args(&senders).status().unwrap();
    assert!(kill.success(), "{kill}");
    (id, move || number.accepted(&from).len())
}

#[test]
fn a_sender_killed_after_the_provider_accepted_the_message_never_sends_it_twice() {
    let tenant = Tenant::new("killed");
    let automation = tenant.automation(&json!([]));
    let alone = SENDER.write().unwrap_or_else(PoisonError::into_inner);
    let (silent, silent_sends) = send_and_kill(&tenant, &no_receipts());
    let (confirmed, confirmed_sends) = send_and_kill(&tenant, &json!({}));
    drop(alone);

    // Its receipts carry the hub's reference, so its status is known before the record is retried.
    let message = tenant.until(&confirmed, "read");
    assert!(message["provider_message_id"].is_string(), "{message}");
    // The record is retried after the queue's visibility timeout of 120 s.
    let message = tenant.until_within(&silent, "unknown", Duration::from_secs(170));
    assert_eq!(step(&message, "unknown")["code"], "interrupted", "{message}");
    assert_eq!(history(&message), ["queued", "sending", "unknown"]);
    eventually("the automation is notified of the unknown status", DEFAULT_TIMEOUT, || {
        let notifications = automation.deliveries("message.status");
        let messages = notifications["deliveries"].as_array().unwrap().iter();
        let mut messages = messages.map(|one| &one["body"]["data"]["message"]);
        let found = messages.any(|one| one["id"] == silent && one["status"] == "unknown");
        if found { Ok(()) } else { Err(notifications.to_string()) }
    });
    assert_eq!(silent_sends(), 1);
    assert_eq!(confirmed_sends(), 1);
    assert_eq!(tenant.message(&confirmed)["status"], "read");
}

#[test]
fn a_message_with_a_lost_response_is_unknown_until_a_receipt_and_never_sent_twice() {
    let tenant = Tenant::new("unanswered");
    let number = tenant.whatsapp(&no_receipts());
    let faults = [
        json!({"kind": "accept_then_drop"}),
        json!({"kind": "page", "status": 502, "accepted": true}),
        json!({"kind": "accept_then_time_out", "hold_ms": 15_000}),
    ];
    for fault in faults {
        let from = person();
        let conversation = number.hello(&from)["id"].clone();
        number.faults(&json!([fault]));
        let id = tenant.send(&json!({"conversation": conversation, "text": "did it come?"}));
        let message = tenant.until(&id, "unknown");
        assert_eq!(history(&message), ["queued", "sending", "unknown"], "{fault}");
        let accepted = number.accepted(&from);
        assert_eq!(accepted.len(), 1, "{fault}: {accepted:?}");

        let wamid = accepted[0]["wamid"].as_str().unwrap();
        number.statuses(&[example::status(wamid, "delivered", Some(&id))]);
        let message = tenant.until(&id, "delivered");
        assert_eq!(history(&message), ["queued", "sending", "unknown", "delivered"], "{fault}");
        assert_eq!(message["provider_message_id"], wamid, "{fault}");
        // The next message is not blocked.
        let next = tenant.send(&json!({"conversation": conversation, "text": "and this?"}));
        tenant.until(&next, "accepted");
        assert_eq!(number.accepted(&from).len(), 2, "{fault}");
    }
}

#[test]
fn at_least_once_delivery_retries_after_a_lost_response() {
    let tenant = Tenant::new("at-least-once");
    // A receipt would show that no retry is needed.
    let number = tenant.whatsapp(&no_receipts());
    let settings = json!({"phone_number_id": number.number, "base_url": HUB.simulator,
                          "delivery": "at_least_once"});
    let path = format!("/integrations/{}", number.integration);
    tenant.api.put(&path, &json!({"settings": settings})).expect(200);
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    number.faults(&json!([{"kind": "drop"}, {"kind": "accept_then_drop"}]));
    let id = tenant.send(&json!({"conversation": conversation, "text": "at least once"}));
    let message = tenant.until(&id, "accepted");
    assert_eq!(step(&message, "accepted")["attempt"], 3, "{message}");
    assert_eq!(number.accepted(&from).len(), 2);
}

#[test]
fn a_lost_response_from_telegram_is_unknown_and_never_retried() {
    let tenant = Tenant::new("tg-unanswered");
    let automation = tenant.automation(&json!([]));
    let bot = tenant.telegram();
    let chat = 7_770_001;
    let conversation = bot.hello(chat);
    bot.control("faults", &json!({"faults": [{"kind": "accept_then_drop"}]}));
    let id = tenant.send(&json!({"conversation": conversation["id"], "text": "did it come?"}));
    let message = tenant.until(&id, "unknown");
    assert_eq!(step(&message, "unknown")["code"], "no_answer", "{message}");
    let notifications = automation.until("message.status", 1);
    assert_eq!(notifications["deliveries"][0]["body"]["data"]["message"]["status"], "unknown");
    let next = tenant.send(&json!({"conversation": conversation["id"], "text": "and this?"}));
    tenant.until(&next, "accepted");
    assert_eq!(bot.accepted(chat).len(), 2);
}
