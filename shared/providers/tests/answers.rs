//! Meaning of responses to messages, by one rule for every provider: an error in the provider's
//! documented format is a refusal, and the message was not accepted; for any other response the
//! outcome is unknown. A new sending provider is covered through its examples.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic fails the test")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use domain::content::{Call, Content};
use domain::fault::{Classify, Fault};
use domain::provider::Channel;
use domain::sender::{Accepted, Outgoing, SendError};
use domain::{IntegrationId, MessageId, Provider, TenantId};
use http::Response;
use providers::example::{self, Answers};
use serde_json::{Value, json};

/// Returns every provider that the hub sends through, on each of its channels.
fn senders() -> Vec<(Provider, Channel, &'static Answers)> {
    let answers = |provider: &Provider| Some((*provider, example::of(*provider).answers.as_ref()?));
    let channels = |(provider, answers): (Provider, &'static Answers)| {
        provider.channels().iter().map(move |channel| (provider, *channel, answers))
    };
    Provider::ALL.iter().filter_map(answers).flat_map(channels).collect()
}

/// Returns what the hub reads from this response to a text, or to a call on a channel that only has
/// calls.
fn outcome(
    (provider, channel): (Provider, Channel),
    status: u16,
    body: impl Into<Bytes>,
    wait: Option<u64>,
) -> Result<Accepted, SendError> {
    let id = IntegrationId::derived(&["i"]);
    let tenant: TenantId = "acme".parse().unwrap();
    let integration = example::sending_integration(provider, id, tenant).unwrap().unwrap();
    let credentials = (example::of(provider).credentials)();
    let sender = providers::sender(provider).unwrap().sender(&integration, &credentials).unwrap();
    let content = match channel {
        Channel::Voice => {
            let twiml = Some("<Response><Say>Hi</Say></Response>".to_owned());
            Content::Call { call: Call { twiml, ..Call::default() } }
        }
        _ => Content::Text { text: "hi".to_owned() },
    };
    let message = Outgoing {
        id: MessageId::derived(&["m"]),
        channel,
        integration: id,
        hub_url: None,
        to: "+4915550009999",
        content: &content,
        reply_to: None,
    };
    let mut response = Response::builder().status(status);
    if let Some(seconds) = wait {
        response = response.header("retry-after", seconds);
    }
    sender.outcome(&message, &response.body(body.into()).unwrap())
}

/// Returns the fault of this response.
fn fault(
    sender: (Provider, Channel),
    status: u16,
    body: impl Into<Bytes>,
    wait: Option<u64>,
) -> Fault {
    outcome(sender, status, body, wait).unwrap_err().fault()
}

/// Returns each copy of `body` that lacks one of its fields or elements, at any depth.
fn with_one_part_missing(body: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match body {
        Value::Object(fields) => {
            for (name, value) in fields {
                let mut without = fields.clone();
                without.remove(name);
                all.push(Value::Object(without));
                for inner in with_one_part_missing(value) {
                    let mut with = fields.clone();
                    with.insert(name.clone(), inner);
                    all.push(Value::Object(with));
                }
            }
        }
        Value::Array(items) => {
            for (place, value) in items.iter().enumerate() {
                let mut without = items.clone();
                without.remove(place);
                all.push(Value::Array(without));
                for inner in with_one_part_missing(value) {
                    let mut with = items.clone();
                    with[place] = inner;
                    all.push(Value::Array(with));
                }
            }
        }
        _ => {}
    }
    all
}

#[test]
fn every_sending_provider_has_example_responses() {
    for provider in Provider::ALL {
        let has_examples = example::of(*provider).answers.is_some();
        assert_eq!(has_examples, providers::sender(*provider).is_some(), "{provider}");
    }
    for (provider, channel, answers) in senders() {
        let (status, body) = (answers.accepted)();
        let accepted = outcome((provider, channel), status, body.to_string(), None);
        assert_ne!(accepted.unwrap().provider_message_id(), "", "{provider} {channel:?}");
        for status in [500, 502, 503] {
            let doubts = (answers.in_doubt)();
            let shown = !(answers.refused)(status).is_empty()
                || doubts.iter().any(|doubt| doubt.status == status);
            assert!(shown, "{provider} has no example error with status {status}");
        }
    }
}

#[test]
fn an_error_in_the_documented_format_was_not_accepted_and_is_retried() {
    for (provider, channel, answers) in senders() {
        for status in [500, 502, 503] {
            for body in (answers.refused)(status) {
                let fault = fault((provider, channel), status, body.to_string(), None);
                assert_eq!(fault, Fault::Retryable, "{provider} {channel:?} {status} {body}");
            }
        }
    }
}

#[test]
fn a_refusal_with_retry_after_is_delayed() {
    let wait = Fault::RateLimited { retry_after: Duration::from_secs(7) };
    for (provider, channel, answers) in senders() {
        for body in (answers.refused)(503) {
            let fault = fault((provider, channel), 503, body.to_string(), Some(7));
            assert_eq!(fault, wait, "{provider} {channel:?} {body}");
        }
    }
}

#[test]
fn a_response_that_is_not_the_providers_own_leaves_the_outcome_unknown() {
    let page = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
    let unreadable_bodies = [
        String::new(),
        page.to_owned(),
        "upstream connect error or disconnect/reset before headers".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#""no""#.to_owned(),
        r#"{"message":"Internal server error"}"#.to_owned(),
        r#"{"error":"Service Unavailable","message":null}"#.to_owned(),
        json!({ "fault": { "faultstring": "no", "detail": { "errorcode": "x" } } }).to_string(),
    ];
    for (provider, channel, answers) in senders() {
        for status in [500, 502, 503, 504] {
            for body in &unreadable_bodies {
                let fault = fault((provider, channel), status, body.clone(), None);
                assert_eq!(fault, Fault::Unknown, "{provider} {channel:?} {status} {body:?}");
            }
            for body in (answers.refused)(status) {
                let whole = body.to_string();
                // A truncated refusal is not a refusal.
                for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
                    let half = whole[..end].to_owned();
                    let fault = fault((provider, channel), status, half.clone(), None);
                    assert_eq!(fault, Fault::Unknown, "{provider} {channel:?} {status} {half}");
                }
            }
        }
    }
}

#[test]
fn a_truncated_acceptance_or_one_without_a_message_id_leaves_the_outcome_unknown() {
    for (provider, channel, answers) in senders() {
        let sender = (provider, channel);
        let (status, body) = (answers.accepted)();
        let whole = body.to_string();
        for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            let half = whole[..end].to_owned();
            let fault = fault(sender, status, half.clone(), None);
            assert_eq!(fault, Fault::Unknown, "{provider} {channel:?} {half}");
        }
        let accepted_whole = outcome(sender, status, whole, None).unwrap();
        let mut without_id = 0;
        for body in with_one_part_missing(&body) {
            match outcome(sender, status, body.to_string(), None) {
                // Without a part of a split message, its other ids are the same.
                Ok(accepted) => {
                    let whole: Vec<_> = accepted_whole.provider_message_ids().collect();
                    let mut ids = accepted.provider_message_ids();
                    assert!(ids.all(|id| whole.contains(&id)), "{provider} {body}");
                }
                Err(error) => {
                    assert_eq!(error.fault(), Fault::Unknown, "{provider} {channel:?} {body}");
                    without_id += 1;
                }
            }
        }
        assert!(without_id > 0, "{provider}: no field of {body} is the message id");
        for body in ["{}", "[]", "null", "true", "<html></html>", r#"{"ok":true,"result":true}"#] {
            let fault = fault(sender, status, body, None);
            assert_eq!(fault, Fault::Unknown, "{provider} {channel:?} {body}");
        }
    }
}

#[test]
fn each_exception_has_a_source_in_the_providers_readme() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (provider, channel, answers) in senders() {
        for doubt in (answers.in_doubt)() {
            let whole = doubt.body.to_string();
            let fault = fault((provider, channel), doubt.status, whole.clone(), None);
            assert_eq!(fault, Fault::Unknown, "{provider} {channel:?} {} {whole}", doubt.status);
            let readme = folder.join(provider.as_str()).join("README.md");
            let readme = std::fs::read_to_string(readme).unwrap();
            assert!(readme.contains(doubt.source), "{provider}: {}", doubt.source);
        }
    }
}
