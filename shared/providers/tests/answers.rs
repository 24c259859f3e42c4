//! What an answer to a message means, by one rule for every provider: an error in the form that
//! the provider documents is a refusal and the message was not accepted; anything else is no
//! answer. A provider that the hub comes to send through joins by its examples.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by it")]

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

/// Every provider that the hub sends through, on each of its channels.
fn senders() -> Vec<(Provider, Channel, &'static Answers)> {
    let answers = |provider: &Provider| Some((*provider, example::of(*provider).answers.as_ref()?));
    let channels = |(provider, answers): (Provider, &'static Answers)| {
        provider.channels().iter().map(move |channel| (provider, *channel, answers))
    };
    Provider::ALL.iter().filter_map(answers).flat_map(channels).collect()
}

/// What the hub reads in this answer to a text, or to a call where the channel has calls only.
fn outcome(
    (provider, channel): (Provider, Channel),
    status: u16,
    body: impl Into<Bytes>,
    wait: Option<u64>,
) -> Result<Accepted, SendError> {
    let id = IntegrationId::derived(&["i"]);
    let tenant: TenantId = "acme".parse().unwrap();
    let integration = example::sending(provider, id, tenant).unwrap().unwrap();
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

/// What may be done about this answer.
fn fault(
    sender: (Provider, Channel),
    status: u16,
    body: impl Into<Bytes>,
    wait: Option<u64>,
) -> Fault {
    outcome(sender, status, body, wait).unwrap_err().fault()
}

/// Each copy of `body` that lacks one of its fields or elements, however deep.
fn lacking_one(body: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match body {
        Value::Object(fields) => {
            for (name, value) in fields {
                let mut without = fields.clone();
                without.remove(name);
                all.push(Value::Object(without));
                for inner in lacking_one(value) {
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
                for inner in lacking_one(value) {
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
fn every_provider_that_the_hub_sends_through_shows_how_it_answers() {
    for provider in Provider::ALL {
        let shows = example::of(*provider).answers.is_some();
        assert_eq!(shows, providers::sender(*provider).is_some(), "{provider}");
    }
    for (provider, channel, answers) in senders() {
        let (status, body) = (answers.accepted)();
        let accepted = outcome((provider, channel), status, body.to_string(), None);
        assert!(!accepted.unwrap().provider_message_id.is_empty(), "{provider} {channel:?}");
        for status in [500, 502, 503] {
            let doubts = (answers.in_doubt)();
            let shown = !(answers.refused)(status).is_empty()
                || doubts.iter().any(|doubt| doubt.status == status);
            assert!(shown, "{provider} does not show its error with status {status}");
        }
    }
}

#[test]
fn an_error_in_the_documented_form_was_not_accepted_and_is_retried() {
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
fn a_refusal_that_asks_for_a_pause_gets_it() {
    let wait = Fault::RateLimited { retry_after: Duration::from_secs(7) };
    for (provider, channel, answers) in senders() {
        for body in (answers.refused)(503) {
            let fault = fault((provider, channel), 503, body.to_string(), Some(7));
            assert_eq!(fault, wait, "{provider} {channel:?} {body}");
        }
    }
}

#[test]
fn what_is_not_the_providers_own_answer_leaves_the_outcome_unknown() {
    let page = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
    let others = [
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
            for body in &others {
                let fault = fault((provider, channel), status, body.clone(), None);
                assert_eq!(fault, Fault::Unknown, "{provider} {channel:?} {status} {body:?}");
            }
            for body in (answers.refused)(status) {
                let whole = body.to_string();
                // Half of a refusal is none.
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
fn an_acceptance_that_is_cut_off_or_names_no_message_leaves_the_outcome_unknown() {
    for (provider, channel, answers) in senders() {
        let sender = (provider, channel);
        let (status, body) = (answers.accepted)();
        let whole = body.to_string();
        for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            let half = whole[..end].to_owned();
            let fault = fault(sender, status, half.clone(), None);
            assert_eq!(fault, Fault::Unknown, "{provider} {channel:?} {half}");
        }
        let id = outcome(sender, status, whole, None).unwrap().provider_message_id;
        let mut nameless = 0;
        for body in lacking_one(&body) {
            match outcome(sender, status, body.to_string(), None) {
                Ok(accepted) => assert_eq!(accepted.provider_message_id, id, "{provider} {body}"),
                Err(error) => {
                    assert_eq!(error.fault(), Fault::Unknown, "{provider} {channel:?} {body}");
                    nameless += 1;
                }
            }
        }
        assert!(nameless > 0, "{provider}: nothing in {body} names the message");
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
