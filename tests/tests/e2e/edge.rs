//! Webhook functions while AWS services fail.

use std::time::Duration;

use providers::whatsapp_cloud::example;
use serde_json::{Value, json};

use crate::cloud::{self, FunctionCopy, output};
use crate::fixtures::{Tenant, person, text_from};
use crate::hub::{Client, DEFAULT_TIMEOUT, eventually, random};

/// A webhook request as an API Gateway event.
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
fn a_webhook_that_cannot_be_queued_returns_503_for_a_retry() {
    let tenant = Tenant::new("denied");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let change = example::messages(&number.number, &[text_from(&from, "wamid.DENIED", "keep me")]);
    let body = example::escaped(&example::envelope(&[change]));
    let path = format!("/webhooks/whatsapp/{}", number.integration);
    let event = event(&path, &number.integration, &body, &number.secret);

    // A copy of the function whose role may not send to its queue.
    let suffix = format!("denied-{:08x}", random() >> 32);
    let forbidden_queue = output("MediaQueueUrl");
    let variables = [("INBOUND_QUEUE_URL", forbidden_queue.as_str())];
    let denied = FunctionCopy::of("webhook-whatsapp", &suffix, &variables);
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

    // The provider's retry reaches the deployed function.
    number.deliver(&serde_json::from_slice(&body).unwrap()).expect(200);
    assert_eq!(tenant.until_messages(&from, 1)[0]["text"], "keep me");
    automation.until("message.received", 1);
}

#[test]
fn a_webhook_whose_integration_cannot_be_read_returns_503() {
    let tenant = Tenant::new("no-table");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let change = example::messages(&number.number, &[text_from(&from, "wamid.TABLE", "keep me")]);
    let body = example::escaped(&example::envelope(&[change]));
    let path = format!("/webhooks/whatsapp/{}", number.integration);
    let event = event(&path, &number.integration, &body, &number.secret);
    let suffix = format!("no-table-{:08x}", random() >> 32);
    for variable in ["ACCOUNTS_TABLE_NAME", "SECRETS_PREFIX"] {
        let copy =
            FunctionCopy::of("webhook-whatsapp", &suffix, &[(variable, "switchboard-nowhere")]);
        let answer = copy.invoke(&event);
        assert_eq!(answer["statusCode"], 503, "{variable}: {answer}");
    }
}

#[test]
fn a_poison_record_is_dead_lettered_with_a_reason_and_does_not_block_others() {
    let tenant = Tenant::new("poison");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let conversation = number.hello(&from)["id"].as_str().unwrap().to_owned();
    let queue = output("InboundQueueUrl");
    let dead = cloud::dead_letters_of(&queue);
    let poison = format!("{{\"poison\": \"{conversation}\"");
    cloud::put_record(&queue, &conversation, &poison);
    number.writes(&json!({"from": from, "text": "after the poison"}));
    assert_eq!(tenant.until_messages(&from, 2)[0]["text"], "after the poison");
    let reasons = eventually("the dead letter", DEFAULT_TIMEOUT, || {
        let reasons = cloud::take_reasons(&dead, &conversation);
        if reasons.is_empty() { Err("none".to_owned()) } else { Ok(reasons) }
    });
    assert!(reasons.len() == 1 && reasons[0].contains("invalid JSON"), "{reasons:?}");
}

#[test]
fn a_dead_letter_is_listed_and_redriven_through_the_api() {
    let operator = Client::admin();
    let group = format!("redrive-{:016x}", random());
    let queue = output("InboundQueueUrl");
    // Its size identifies it in the list, which has no bodies.
    let padding = " ".repeat(usize::try_from(5000 + random() % 5000).unwrap());
    let poison = format!("{{\"poison\": \"{group}\"{padding}");
    cloud::put_record(&queue, &group, &poison);
    // Other tests look at the same dead-letter queue, which hides its records for a moment.
    let listed = |previous: &str| {
        eventually("the dead letter is listed", DEFAULT_TIMEOUT, || {
            let page = "/dead-letters?queue=inbound&reason=invalid&limit=100";
            let page = operator.get(page).expect(200);
            let letters = page["dead_letters"].as_array().unwrap();
            let own = letters
                .iter()
                .find(|letter| letter["size"] == poison.len() && letter["id"] != previous);
            own.cloned().ok_or_else(|| format!("{} others", letters.len()))
        })
    };
    let letter = listed("");
    assert_eq!(letter["queue"], "inbound");
    assert!(letter["reason"].as_str().unwrap().starts_with("invalid JSON"), "{letter}");
    let id = letter["id"].as_str().unwrap();

    let tenant = Tenant::new("no-redrive");
    tenant.api.get("/dead-letters").problem(403, "platform_only");
    let request = json!({"queue": "inbound", "ids": [id]});
    tenant.api.post("/dead-letters/redrive", &request).problem(403, "platform_only");

    let until = |what: &str, request: &Value, field: &str| {
        eventually(what, DEFAULT_TIMEOUT, || {
            let answer = operator.post("/dead-letters/redrive", request).expect(200);
            if answer[field] == 1 { Ok(answer) } else { Err(answer.to_string()) }
        })
    };
    let dry_run = json!({"queue": "inbound", "ids": [id], "dry_run": true});
    assert_eq!(until("the dry run finds it", &dry_run, "matched")["moved"], 0);
    until("it is moved", &request, "moved");
    // The consumer received it again, and still cannot parse it.
    let again = listed(id);
    assert_eq!(again["reason"], letter["reason"]);
    let dead = cloud::dead_letters_of(&queue);
    eventually("it is removed", DEFAULT_TIMEOUT, || {
        let removed = cloud::take_reasons(&dead, &group);
        if removed.is_empty() { Err("not received".to_owned()) } else { Ok(()) }
    });
}
