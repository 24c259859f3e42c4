//! Receipts of sent messages, in any order.

use providers::whatsapp_cloud::example;
use serde_json::{Value, json};

use crate::fixtures::{Tenant, history, no_receipts, person, step};
use crate::hub::{DEFAULT_TIMEOUT, eventually};

fn permutations(items: &[&'static str]) -> Vec<Vec<&'static str>> {
    if items.len() <= 1 {
        return vec![items.to_vec()];
    }
    let mut all = Vec::new();
    for (position, first) in items.iter().enumerate() {
        let mut rest = items.to_vec();
        rest.remove(position);
        for mut order in permutations(&rest) {
            order.insert(0, first);
            all.push(order);
        }
    }
    all
}

fn receipt(message: &Value, status: &str) -> Value {
    let provider_message_id = message["provider_message_id"].as_str().unwrap();
    let message_id = message["id"].as_str();
    if status == "failed" {
        example::failed(provider_message_id, 131_026, "Message undeliverable", message_id)
    } else {
        example::status(provider_message_id, status, message_id)
    }
}

#[test]
fn receipts_in_any_order_end_in_the_same_status_and_history() {
    let tenant = Tenant::new("orders");
    let mut settings = no_receipts();
    settings["limits"] = json!({"pair_interval_ms": 0});
    let number = tenant.whatsapp(&settings);
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    let orders = permutations(&["sent", "delivered", "read", "failed"]);
    let sent: Vec<String> = orders
        .iter()
        .map(|order| tenant.send(&json!({"conversation": conversation, "text": order.join(" ")})))
        .collect();
    let messages: Vec<Value> = sent.iter().map(|id| tenant.until(id, "accepted")).collect();

    // One webhook in each round. The next round waits for the effect of the previous one.
    for round in 0..4 {
        let each = messages.iter().zip(&orders);
        let statuses: Vec<Value> =
            each.map(|(message, order)| receipt(message, order[round])).collect();
        number.statuses(&statuses);
        for (id, order) in sent.iter().zip(&orders) {
            tenant.until_passed(id, order[round]);
        }
    }
    for (id, order) in sent.iter().zip(&orders) {
        let message = tenant.message(id);
        assert_eq!(message["status"], "read", "{order:?}: {message}");
        assert_eq!(
            history(&message),
            ["queued", "sending", "accepted", "sent", "failed", "delivered", "read"],
            "{order:?}"
        );
        assert_eq!(step(&message, "failed")["code"], "131026", "{order:?}");
    }
}

#[test]
fn a_failure_reported_later_is_final_and_has_a_remedy() {
    let tenant = Tenant::new("later");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    number.faults(&json!([{"kind": "fail_later", "code": 131_026}]));
    let id = tenant.send(&json!({"conversation": conversation, "text": "are you there?"}));
    let message = tenant.until(&id, "failed");
    let failed = step(&message, "failed");
    assert_eq!(failed["code"], "131026");
    assert!(failed["detail"].as_str().unwrap().contains("not on WhatsApp"), "{failed}");
    eventually("the automation is notified", DEFAULT_TIMEOUT, || {
        let notifications = automation.deliveries("message.status");
        let about = notifications["deliveries"].as_array().unwrap().iter();
        let mut about = about.map(|notification| &notification["body"]["data"]["message"]);
        let found = about
            .any(|notification| notification["id"] == id && notification["status"] == "failed");
        if found { Ok(()) } else { Err(notifications.to_string()) }
    });
}

#[test]
fn a_duplicate_or_unknown_receipt_has_no_effect() {
    let tenant = Tenant::new("nobodys");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&no_receipts());
    let from = person();
    let conversation = number.hello(&from)["id"].clone();
    let id = tenant.send(&json!({"conversation": conversation, "text": "hello"}));
    let message = tenant.until(&id, "accepted");
    let delivered = receipt(&message, "delivered");
    let foreign = example::status("wamid.SENT.ELSEWHERE", "read", None);
    for _ in 0..3 {
        number.statuses(&[delivered.clone(), foreign.clone(), delivered.clone()]);
    }
    tenant.until(&id, "delivered");
    // Without the hub's reference, the message is found by its provider message id.
    let provider_message_id = message["provider_message_id"].as_str().unwrap();
    number.statuses(&[example::status(provider_message_id, "read", None)]);
    let message = tenant.until(&id, "read");
    assert_eq!(history(&message), ["queued", "sending", "accepted", "delivered", "read"]);
    let notifications = automation.until("message.status", 2);
    assert_eq!(notifications["unique"], notifications["total"], "{notifications}");
}
