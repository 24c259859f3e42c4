//! Traces in the logs: one id finds everything about a message.

use serde_json::{Value, json};

use crate::fixtures::{Tenant, person};
use crate::hub::{DEFAULT_TIMEOUT, eventually, log_lines, random};

/// Waits until a function has logged a line for which `is_wanted`, and returns the line.
#[track_caller]
fn until_logged(function: &str, message: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("`{message}` in the log of {function}"), DEFAULT_TIMEOUT, || {
        let lines = log_lines();
        let count = lines.len();
        let found = lines
            .into_iter()
            .find(|(name, line)| name == function && line["message"] == message && is_wanted(line));
        found.map(|(_, line)| line).ok_or_else(|| format!("{count} lines"))
    })
}

#[test]
fn one_trace_id_finds_a_received_message_in_the_log_of_each_function() {
    let tenant = Tenant::new("traced");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&json!({}));
    number.hello(&person());
    automation.until("message.received", 1);
    let received = until_logged("consumer-inbound", "message received", |line| {
        line["tenant"] == tenant.id.as_str()
    });
    let trace_id = received["trace_id"].as_str().unwrap();
    let in_trace = |line: &Value| line["trace_id"] == trace_id;
    let accepted = until_logged("webhook-whatsapp", "webhook accepted", in_trace);
    let notified = until_logged("consumer-automation", "notification attempted", in_trace);
    assert_eq!(notified["tenant"], tenant.id.as_str(), "{notified}");
    assert_eq!(received["parent_id"], accepted["span_id"], "{received}");
    assert_eq!(notified["parent_id"], received["span_id"], "{notified}");
}

#[test]
fn the_trace_that_a_client_chooses_finds_its_message_in_the_logs() {
    let tenant = Tenant::new("tracing");
    let number = tenant.whatsapp(&json!({}));
    let conversation = number.hello(&person())["id"].clone();
    let trace_id = format!("{:016x}{:016x}", random(), random() | 1);
    let traceparent = format!("00-{trace_id}-b7ad6b7169203331-01");
    let body = json!({"conversation": conversation, "text": "traced"});
    let headers = [("traceparent", traceparent.as_str())];
    let answer = tenant.api.send("POST", "/messages", &headers, Some(&body));
    let returned = answer.headers.get("traceparent").cloned().unwrap_or_default();
    assert!(returned.starts_with(&format!("00-{trace_id}-")), "{returned}\n{answer}");
    answer.expect(202);
    let in_trace = |line: &Value| line["trace_id"] == trace_id.as_str();
    let queued = until_logged("api-messages", "message queued", in_trace);
    let settled = until_logged("sender-whatsapp", "message settled", in_trace);
    assert_eq!(queued["parent_id"], "b7ad6b7169203331", "{queued}");
    assert_eq!(settled["parent_id"], queued["span_id"], "{settled}");
    assert_eq!(settled["message_id"], queued["message_id"], "{settled}");
}
