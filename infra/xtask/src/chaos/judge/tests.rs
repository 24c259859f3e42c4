//! Tests of each guarantee, kept and broken.

use super::{
    super::{evidence::Step, load::CustomerMessage, observations::Notified},
    *,
};

const TENANT: &str = "alder";
const CUSTOMER: &str = "16501";

fn step(status: &str, attempt: Option<u64>) -> Step {
    Step { status: status.to_owned(), attempt, ..Step::default() }
}

fn inbound_message(id: &str, text: &str) -> Message {
    Message {
        id: id.to_owned(),
        tenant: TENANT.to_owned(),
        inbound: true,
        text: text.to_owned(),
        status: "received".to_owned(),
        history: vec![step("received", None)],
        ..Message::default()
    }
}

fn outbound(id: &str, text: &str, status: &str) -> Message {
    let attempt = (status != "delivered").then_some(1);
    Message {
        id: id.to_owned(),
        tenant: TENANT.to_owned(),
        text: text.to_owned(),
        status: status.to_owned(),
        provider_id: (status == "accepted").then(|| "wamid.1".to_owned()),
        history: vec![step("queued", None), step("sending", Some(1)), step(status, attempt)],
        ..Message::default()
    }
}

fn provider_accepted(text: &str, id: &str, seq: u64) -> SentMessage {
    SentMessage {
        tenant: TENANT.to_owned(),
        address: CUSTOMER.to_owned(),
        text: text.to_owned(),
        id: id.to_owned(),
        seq,
        ..SentMessage::default()
    }
}

fn requested(text: &str, id: &str) -> SendRequest {
    SendRequest {
        tenant: TENANT.to_owned(),
        address: CUSTOMER.to_owned(),
        text: text.to_owned(),
        ids: [id.to_owned()].into(),
        refusal: None,
    }
}

fn notified_once(id: &str) -> Notified {
    Notified { received: [id.to_owned()].into(), statuses: BTreeSet::new() }
}

/// Evidence of two inbound and two outbound messages without violations.
fn good() -> Evidence {
    let written = |text: &str| CustomerMessage {
        tenant: TENANT.to_owned(),
        address: CUSTOMER.to_owned(),
        text: text.to_owned(),
    };
    let out = outbound("msg_3", "out 0 0", "accepted");
    let echo = Message {
        provider_id: Some("wamid.2".to_owned()),
        ..outbound("msg_4", "Echo: in 0 0", "accepted")
    };
    let messages = vec![
        inbound_message("msg_1", "in 0 0"),
        inbound_message("msg_2", "in 0 1"),
        out.clone(),
        echo.clone(),
    ];
    Evidence {
        written: vec![written("in 0 0"), written("in 0 1")],
        requested: vec![requested("out 0 0", "msg_3"), requested("Echo: in 0 0", "msg_4")],
        conversations: vec![ListedConversation {
            tenant: TENANT.to_owned(),
            id: "conv_1".to_owned(),
            address: CUSTOMER.to_owned(),
            messages,
        }],
        shown: [("msg_3".to_owned(), Some(out)), ("msg_4".to_owned(), Some(echo))].into(),
        sent: vec![
            provider_accepted("out 0 0", "wamid.1", 5),
            provider_accepted("Echo: in 0 0", "wamid.2", 4),
        ],
        notified: [
            ("msg_1".to_owned(), notified_once("ntf_1")),
            ("msg_2".to_owned(), notified_once("ntf_2")),
        ]
        .into(),
        ..Evidence::default()
    }
}

/// Returns the guarantees that are broken after `change`.
fn broken(change: impl FnOnce(&mut Evidence)) -> Vec<Rule> {
    let mut evidence = good();
    change(&mut evidence);
    let findings = judge(&evidence).findings;
    let rules: BTreeSet<Rule> = findings.into_iter().map(|finding| finding.rule).collect();
    rules.into_iter().collect()
}

fn ends_as(evidence: &mut Evidence, status: &str) {
    let message = outbound("msg_3", "out 0 0", status);
    evidence.shown.insert("msg_3".to_owned(), Some(message));
    let notified = evidence.notified.entry("msg_3".to_owned()).or_default();
    notified.statuses.insert(status.to_owned());
}

#[test]
fn a_good_run_has_no_findings() {
    let verdict = judge(&good());
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    assert_eq!((verdict.inbound, verdict.outbound), (2, 2));
    assert_eq!(verdict.statuses["accepted"], 2);
}

#[test]
fn an_inbound_message_in_no_conversation_is_lost() {
    assert_eq!(broken(|e| drop(e.conversations[0].messages.remove(0))), [Rule::Lost]);
}

#[test]
fn a_message_that_exists_twice_is_a_duplicate() {
    let twice = |e: &mut Evidence| {
        e.conversations[0].messages.insert(1, inbound_message("msg_9", "in 0 0"));
    };
    assert_eq!(broken(twice), [Rule::Doubled]);
    let notified_twice = |e: &mut Evidence| {
        e.notified.get_mut("msg_1").unwrap().received.insert("ntf_9".to_owned());
    };
    assert_eq!(broken(notified_twice), [Rule::Doubled]);
    assert_eq!(broken(|e| e.requested[0].ids.extend(["msg_9".to_owned()])), [Rule::Doubled]);
}

#[test]
fn a_message_the_provider_accepted_twice_is_a_duplicate() {
    let again = |e: &mut Evidence| e.sent.push(provider_accepted("out 0 0", "wamid.9", 9));
    assert_eq!(broken(again), [Rule::Doubled]);
    let ghost = |e: &mut Evidence| e.sent.push(provider_accepted("out 0 1", "wamid.9", 9));
    assert_eq!(broken(ghost), [Rule::Doubled]);
}

#[test]
fn messages_out_of_order_are_found() {
    assert_eq!(broken(|e| e.conversations[0].messages.swap(0, 1)), [Rule::Order]);
    let sent = |e: &mut Evidence| {
        e.requested.push(requested("out 0 1", "msg_5"));
        let message = Message {
            provider_id: Some("wamid.0".to_owned()),
            ..outbound("msg_5", "out 0 1", "accepted")
        };
        e.conversations[0].messages.push(message.clone());
        e.shown.insert("msg_5".to_owned(), Some(message));
        e.sent.push(provider_accepted("out 0 1", "wamid.0", 1));
    };
    assert_eq!(broken(sent), [Rule::Order]);
    let redriven = |e: &mut Evidence| {
        sent(e);
        e.redriven.insert(CUSTOMER.to_owned());
    };
    assert!(broken(redriven).is_empty());
}

#[test]
fn an_accepted_message_the_api_does_not_return_is_lost() {
    assert_eq!(broken(|e| drop(e.shown.insert("msg_3".to_owned(), None))), [Rule::Lost]);
    assert_eq!(broken(|e| drop(e.conversations[0].messages.remove(2))), [Rule::Lost]);
}

#[test]
fn the_hubs_status_must_match_the_providers() {
    for status in ["queued", "sending", "failed", "delivered"] {
        assert!(broken(|e| ends_as(e, status)).contains(&Rule::Status), "{status}");
    }
    assert!(broken(|e| ends_as(e, "unknown")).is_empty());
    let refused = |e: &mut Evidence| {
        ends_as(e, "failed");
        e.sent.remove(0);
    };
    assert!(broken(refused).is_empty());
    assert_eq!(broken(|e| drop(e.sent.remove(0))), [Rule::Status]);
    assert_eq!(broken(|e| e.sent[0].id = "wamid.7".to_owned()), [Rule::Status]);
    assert_eq!(broken(|e| e.sent[0].failed = true), [Rule::Status]);
}

#[test]
fn acknowledged_receipts_decide_the_status() {
    let delivered = |e: &mut Evidence| {
        ends_as(e, "delivered");
        e.sent[0].receipts = ["sent".to_owned(), "delivered".to_owned()].into();
    };
    assert!(broken(delivered).is_empty());
    let read = |e: &mut Evidence| {
        delivered(e);
        e.sent[0].receipts.insert("read".to_owned());
    };
    assert_eq!(broken(read), [Rule::Status]);
}

#[test]
fn unknown_messages_that_the_provider_accepted_are_counted() {
    let mut evidence = good();
    ends_as(&mut evidence, "unknown");
    assert_eq!(judge(&evidence).unknown_accepted, 1);
    evidence.sent.remove(0);
    let verdict = judge(&evidence);
    assert_eq!((verdict.unknown_accepted, verdict.statuses["unknown"]), (0, 1));
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
}

#[test]
fn a_history_that_moves_backward_is_found() {
    let lower = |e: &mut Evidence| {
        let message = e.shown.get_mut("msg_3").unwrap().as_mut().unwrap();
        message.history.push(step("sent", None));
    };
    assert!(broken(lower).contains(&Rule::History));
    let fell = |e: &mut Evidence| {
        let message = e.shown.get_mut("msg_3").unwrap().as_mut().unwrap();
        message.history.insert(0, step("accepted", None));
    };
    assert!(broken(fell).contains(&Rule::History));
}

#[test]
fn a_status_observed_to_move_backward_is_found() {
    assert_eq!(broken(|e| e.regressions.push("read, then sent".to_owned())), [Rule::History]);
}

#[test]
fn an_automation_that_was_not_notified_is_found() {
    assert_eq!(broken(|e| drop(e.notified.remove("msg_1"))), [Rule::Notified]);
    let silent = |e: &mut Evidence| {
        ends_as(e, "unknown");
        e.notified.remove("msg_3");
    };
    assert_eq!(broken(silent), [Rule::Notified]);
}

#[test]
fn data_of_another_tenant_is_found() {
    let foreign = |e: &mut Evidence| e.conversations[0].messages[0].tenant = "birch".to_owned();
    assert_eq!(broken(foreign), [Rule::TenantIsolation]);
    let conversation = |e: &mut Evidence| {
        e.conversations.push(ListedConversation {
            tenant: "birch".to_owned(),
            ..ListedConversation::default()
        });
    };
    assert_eq!(broken(conversation), [Rule::TenantIsolation]);
    assert_eq!(broken(|e| e.foreign_reads.push("seen".to_owned())), [Rule::TenantIsolation]);
}

#[test]
fn a_message_that_was_never_accepted_is_reported_but_not_lost() {
    let never = |e: &mut Evidence| {
        e.requested[0].ids.clear();
        e.shown.remove("msg_3");
        e.conversations[0].messages.remove(2);
        e.sent.remove(0);
    };
    assert_eq!(broken(never), [Rule::Other]);
}
