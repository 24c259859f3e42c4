//! Notification of tenants' automations.

use std::time::Duration;

use serde_json::json;

use crate::fixtures::{Tenant, person};
use crate::hub::{DEFAULT_TIMEOUT, eventually};

#[test]
fn a_failed_notification_is_retried_with_the_same_id() {
    let tenant = Tenant::new("stumbles");
    let automation = tenant.automation(&json!([{"status": 500}]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    number.hello(&from);
    let notifications = automation.until("message.received", 1);
    assert_eq!(
        (&notifications["total"], &notifications["unique"]),
        (&json!(2), &json!(1)),
        "{notifications}"
    );
    let (first, second) = (&notifications["deliveries"][0], &notifications["deliveries"][1]);
    assert_eq!(first["webhook_id"], second["webhook_id"]);
    assert_eq!((&first["answer"], &second["answer"]), (&json!(500), &json!(200)));
    assert_eq!(first["body"], second["body"]);
    assert_eq!((&first["verified"], &second["verified"]), (&json!(true), &json!(true)));
    let waited = second["at_ms"].as_u64().unwrap() - first["at_ms"].as_u64().unwrap();
    assert!(waited >= 4_500, "{waited} ms");
}

#[test]
fn an_automation_that_returns_410_is_disabled_until_it_is_set_again() {
    let tenant = Tenant::new("no-more");
    let automation = tenant.automation(&json!([{"status": 410}]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    number.hello(&from);
    let path = format!("/tenants/{}/automation", tenant.id);
    let view = eventually("the automation is disabled", DEFAULT_TIMEOUT, || {
        let view = tenant.api.get(&path).expect(200);
        if view["disabled_at"].is_string() { Ok(view) } else { Err(view.to_string()) }
    });
    assert!(view.get("secret").is_none(), "{view}");
    number.writes(&json!({"from": from, "text": "anyone?"}));
    tenant.until_messages(&from, 2);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(automation.deliveries("message.received")["total"], 1);

    automation.set(&tenant, &json!([]));
    assert!(tenant.api.get(&path).expect(200).get("disabled_at").is_none());
    number.writes(&json!({"from": from, "text": "and now?"}));
    let notifications = automation.until("message.received", 1);
    assert_eq!(notifications["total"], 2, "{notifications}");
    assert_eq!(notifications["deliveries"][1]["body"]["data"]["message"]["text"], "and now?");
}

#[test]
fn a_private_address_is_rejected_unless_it_is_allowed() {
    let tenant = Tenant::new("private");
    let automation = tenant.automation(&json!([]));
    let path = format!("/tenants/{}/automation", tenant.id);
    let before = tenant.api.get(&path).expect(200);
    let push = json!({"kind": "push", "url": before["url"], "allow_private_network": false});
    let problem = tenant.api.put(&path, &push).expect(422);
    assert_eq!((&problem["code"], &problem["field"]), (&json!("private_address"), &json!("url")));
    assert_eq!(tenant.api.get(&path).expect(200), before, "nothing changed");
    automation.set(&tenant, &json!([]));
}

#[test]
fn notifications_are_signed_with_the_new_and_the_old_secret() {
    let tenant = Tenant::new("secrets");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    number.hello(&from);
    automation.until("message.received", 1);
    // The simulator keeps the old secret; notifications are signed with both.
    let url =
        tenant.api.get(&format!("/tenants/{}/automation", tenant.id)).expect(200)["url"].clone();
    let push = json!({"kind": "push", "url": url, "allow_private_network": true});
    tenant.api.put(&format!("/tenants/{}/automation", tenant.id), &push).expect(200);
    number.writes(&json!({"from": from, "text": "old secret"}));
    let notifications = automation.until("message.received", 2);
    assert_eq!(notifications["rejected"], 0, "{notifications}");
    automation.set(&tenant, &json!([]));
    number.writes(&json!({"from": from, "text": "new secret"}));
    let notifications = automation.until("message.received", 3);
    assert_eq!(notifications["rejected"], 0, "{notifications}");
}

#[test]
fn a_removed_automation_is_not_notified() {
    let tenant = Tenant::new("off");
    let automation = tenant.automation(&json!([]));
    let path = format!("/tenants/{}/automation", tenant.id);
    let view = tenant.api.put(&path, &json!({"kind": "none"})).expect(200);
    assert_eq!(view["kind"], "none");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    number.hello(&from);
    tenant.until_messages(&from, 1);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(automation.deliveries("message.received")["total"], 0);
}
