//! The edge when the cloud fails it.

use std::time::Duration;

use providers::whatsapp::example;
use serde_json::{Value, json};

use crate::cast::{Tenant, person, text_from};
use crate::cloud::{self, Twin, output};
use crate::hub::{SOON, eventually, random};

/// A webhook as API Gateway hands it over.
fn event(path: &str, integration: &str, body: &[u8], secret: &str) -> Value {
    let example =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/whatsapp/text.json");
    let mut event: Value = serde_json::from_slice(&std::fs::read(example).unwrap()).unwrap();
    event["body"] = std::str::from_utf8(body).unwrap().into();
    event["headers"]["x-hub-signature-256"] = example::signature(secret, body).into();
    event["rawPath"] = path.into();
    event["requestContext"]["http"]["path"] = path.into();
    event["pathParameters"] = json!({"integration": integration});
    event
}

#[test]
fn a_webhook_that_the_queue_does_not_take_is_left_with_the_provider() {
    let tenant = Tenant::new("denied");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let change = example::messages(&number.number, &[text_from(&from, "wamid.DENIED", "keep me")]);
    let body = example::escaped(&example::envelope(&[change]));
    let path = format!("/webhooks/whatsapp/{}", number.integration);
    let event = event(&path, &number.integration, &body, &number.secret);

    // The same function, whose role has no right to the queue it is told to use.
    let suffix = format!("denied-{:08x}", random() >> 32);
    let elsewhere = output("MediaQueueUrl");
    let denied = Twin::of("webhook-whatsapp", &suffix, &[("INBOUND_QUEUE_URL", &elsewhere)]);
    for _ in 0..2 {
        let answer = denied.invoke(&event);
        assert_eq!(answer["statusCode"], 503, "{answer}");
        let retry_after = answer.pointer("/headers/retry-after").and_then(Value::as_str);
        assert!(retry_after.is_some_and(|wait| wait.parse::<u32>().is_ok()), "{answer}");
    }
    std::thread::sleep(Duration::from_secs(2));
    let page = tenant.api.get("/conversations").expect(200);
    assert_eq!(page["conversations"], json!([]), "{page}");
    assert_eq!(automation.deliveries("message.received")["total"], 0);

    // The provider's next try meets the function as it is deployed.
    number.deliver(&serde_json::from_slice(&body).unwrap()).expect(200);
    assert_eq!(tenant.until_messages(&from, 1)[0]["text"], "keep me");
    automation.until("message.received", 1);
}

#[test]
fn a_webhook_whose_integration_cannot_be_looked_up_is_left_with_the_provider() {
    let tenant = Tenant::new("no-table");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let change = example::messages(&number.number, &[text_from(&from, "wamid.TABLE", "keep me")]);
    let body = example::escaped(&example::envelope(&[change]));
    let path = format!("/webhooks/whatsapp/{}", number.integration);
    let event = event(&path, &number.integration, &body, &number.secret);
    let suffix = format!("blind-{:08x}", random() >> 32);
    for variable in ["TABLE_NAME", "SECRETS_PREFIX"] {
        let twin = Twin::of("webhook-whatsapp", &suffix, &[(variable, "switchboard-nowhere")]);
        let answer = twin.invoke(&event);
        assert_eq!(answer["statusCode"], 503, "{variable}: {answer}");
    }
}

#[test]
fn a_poisoned_record_is_put_aside_with_the_reason_and_holds_nobody_up() {
    let tenant = Tenant::new("poison");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let talk = number.hello(&from)["id"].as_str().unwrap().to_owned();
    let queue = output("InboundQueueUrl");
    let dead = cloud::dead_letters_of(&queue);
    let poison = format!("{{\"poison\": \"{talk}\"");
    cloud::put_record(&queue, &talk, &poison);
    number.writes(&json!({"from": from, "text": "after the poison"}));
    assert_eq!(tenant.until_messages(&from, 2)[0]["text"], "after the poison");
    let reasons = eventually("the dead letter", SOON, || {
        let reasons = cloud::take_reasons(&dead, &talk);
        if reasons.is_empty() { Err("none".to_owned()) } else { Ok(reasons) }
    });
    assert!(reasons.len() == 1 && reasons[0].contains("unreadable"), "{reasons:?}");
}
