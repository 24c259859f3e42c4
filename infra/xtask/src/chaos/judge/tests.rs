//! Each promise, kept and broken.

use super::{
    super::{evidence::Step, load::Written, seen::Told},
    *,
};

const TENANT: &str = "alder";
const PERSON: &str = "16501";

fn step(status: &str, attempt: Option<u64>) -> Step {
    Step { status: status.to_owned(), attempt, ..Step::default() }
}

fn came_in(id: &str, text: &str) -> Message {
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

fn to_send(id: &str, text: &str, status: &str) -> Message {
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

fn taken(text: &str, id: &str, seq: u64) -> Carried {
    Carried {
        tenant: TENANT.to_owned(),
        address: PERSON.to_owned(),
        text: text.to_owned(),
        id: id.to_owned(),
        seq,
        ..Carried::default()
    }
}

fn asked(text: &str, id: &str) -> Asked {
    Asked {
        tenant: TENANT.to_owned(),
        address: PERSON.to_owned(),
        text: text.to_owned(),
        ids: [id.to_owned()].into(),
        refusal: None,
    }
}

fn one_told(id: &str) -> Told {
    Told { received: [id.to_owned()].into(), statuses: BTreeSet::new() }
}

/// Two messages in, two out, nothing wrong.
fn good() -> Evidence {
    let written = |text: &str| Written {
        tenant: TENANT.to_owned(),
        address: PERSON.to_owned(),
        text: text.to_owned(),
    };
    let out = to_send("msg_3", "out 0 0", "accepted");
    let echo = Message {
        provider_id: Some("wamid.2".to_owned()),
        ..to_send("msg_4", "Echo: in 0 0", "accepted")
    };
    let messages =
        vec![came_in("msg_1", "in 0 0"), came_in("msg_2", "in 0 1"), out.clone(), echo.clone()];
    Evidence {
        written: vec![written("in 0 0"), written("in 0 1")],
        asked: vec![asked("out 0 0", "msg_3"), asked("Echo: in 0 0", "msg_4")],
        talks: vec![Listed {
            tenant: TENANT.to_owned(),
            id: "conv_1".to_owned(),
            address: PERSON.to_owned(),
            messages,
        }],
        shown: [("msg_3".to_owned(), Some(out)), ("msg_4".to_owned(), Some(echo))].into(),
        carried: vec![taken("out 0 0", "wamid.1", 5), taken("Echo: in 0 0", "wamid.2", 4)],
        told: [("msg_1".to_owned(), one_told("evt_1")), ("msg_2".to_owned(), one_told("evt_2"))]
            .into(),
        ..Evidence::default()
    }
}

/// The rules that are broken after `change`.
fn broken(change: impl FnOnce(&mut Evidence)) -> Vec<Rule> {
    let mut evidence = good();
    change(&mut evidence);
    let findings = judge(&evidence).findings;
    let rules: BTreeSet<Rule> = findings.into_iter().map(|finding| finding.rule).collect();
    rules.into_iter().collect()
}

fn ends_as(evidence: &mut Evidence, status: &str) {
    let message = to_send("msg_3", "out 0 0", status);
    evidence.shown.insert("msg_3".to_owned(), Some(message));
    let told = evidence.told.entry("msg_3".to_owned()).or_default();
    told.statuses.insert(status.to_owned());
}

#[test]
fn a_good_run_has_no_findings() {
    let verdict = judge(&good());
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    assert_eq!((verdict.inbound, verdict.outbound), (2, 2));
    assert_eq!(verdict.statuses["accepted"], 2);
}

#[test]
fn a_message_that_came_in_and_is_nowhere_is_lost() {
    assert_eq!(broken(|e| drop(e.talks[0].messages.remove(0))), [Rule::Lost]);
}

#[test]
fn a_message_that_is_there_twice_is_doubled() {
    let twice = |e: &mut Evidence| e.talks[0].messages.insert(1, came_in("msg_9", "in 0 0"));
    assert_eq!(broken(twice), [Rule::Doubled]);
    let told_twice = |e: &mut Evidence| {
        e.told.get_mut("msg_1").unwrap().received.insert("evt_9".to_owned());
    };
    assert_eq!(broken(told_twice), [Rule::Doubled]);
    assert_eq!(broken(|e| e.asked[0].ids.extend(["msg_9".to_owned()])), [Rule::Doubled]);
}

#[test]
fn a_message_the_provider_took_twice_is_doubled() {
    let again = |e: &mut Evidence| e.carried.push(taken("out 0 0", "wamid.9", 9));
    assert_eq!(broken(again), [Rule::Doubled]);
    let ghost = |e: &mut Evidence| e.carried.push(taken("out 0 1", "wamid.9", 9));
    assert_eq!(broken(ghost), [Rule::Doubled]);
}

#[test]
fn messages_in_another_order_are_found() {
    assert_eq!(broken(|e| e.talks[0].messages.swap(0, 1)), [Rule::Order]);
    let sent = |e: &mut Evidence| {
        e.asked.push(asked("out 0 1", "msg_5"));
        let message = Message {
            provider_id: Some("wamid.0".to_owned()),
            ..to_send("msg_5", "out 0 1", "accepted")
        };
        e.talks[0].messages.push(message.clone());
        e.shown.insert("msg_5".to_owned(), Some(message));
        e.carried.push(taken("out 0 1", "wamid.0", 1));
    };
    assert_eq!(broken(sent), [Rule::Order]);
    let redriven = |e: &mut Evidence| {
        sent(e);
        e.redriven.insert(PERSON.to_owned());
    };
    assert!(broken(redriven).is_empty());
}

#[test]
fn an_accepted_message_that_nobody_knows_is_lost() {
    assert_eq!(broken(|e| drop(e.shown.insert("msg_3".to_owned(), None))), [Rule::Lost]);
    assert_eq!(broken(|e| drop(e.talks[0].messages.remove(2))), [Rule::Lost]);
}

#[test]
fn what_the_hub_says_must_be_what_the_provider_says() {
    for status in ["queued", "sending", "failed", "delivered"] {
        assert!(broken(|e| ends_as(e, status)).contains(&Rule::Fate), "{status}");
    }
    assert!(broken(|e| ends_as(e, "unknown")).is_empty());
    let refused = |e: &mut Evidence| {
        ends_as(e, "failed");
        e.carried.remove(0);
    };
    assert!(broken(refused).is_empty());
    assert_eq!(broken(|e| drop(e.carried.remove(0))), [Rule::Fate]);
    assert_eq!(broken(|e| e.carried[0].id = "wamid.7".to_owned()), [Rule::Fate]);
    assert_eq!(broken(|e| e.carried[0].failed = true), [Rule::Fate]);
}

#[test]
fn receipts_that_were_taken_decide_the_status() {
    let delivered = |e: &mut Evidence| {
        ends_as(e, "delivered");
        e.carried[0].receipts = ["sent".to_owned(), "delivered".to_owned()].into();
    };
    assert!(broken(delivered).is_empty());
    let read = |e: &mut Evidence| {
        delivered(e);
        e.carried[0].receipts.insert("read".to_owned());
    };
    assert_eq!(broken(read), [Rule::Fate]);
}

#[test]
fn unknown_messages_are_counted_with_what_the_provider_took() {
    let mut evidence = good();
    ends_as(&mut evidence, "unknown");
    assert_eq!(judge(&evidence).unknown_taken, 1);
    evidence.carried.remove(0);
    let verdict = judge(&evidence);
    assert_eq!((verdict.unknown_taken, verdict.statuses["unknown"]), (0, 1));
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
}

#[test]
fn a_status_that_went_down_is_found() {
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
fn a_status_that_was_seen_to_fall_is_found() {
    assert_eq!(broken(|e| e.fallen.push("read, then sent".to_owned())), [Rule::History]);
}

#[test]
fn an_automation_that_was_not_told_is_found() {
    assert_eq!(broken(|e| drop(e.told.remove("msg_1"))), [Rule::Told]);
    let silent = |e: &mut Evidence| {
        ends_as(e, "unknown");
        e.told.remove("msg_3");
    };
    assert_eq!(broken(silent), [Rule::Told]);
}

#[test]
fn what_is_another_tenants_is_found() {
    let foreign = |e: &mut Evidence| e.talks[0].messages[0].tenant = "birch".to_owned();
    assert_eq!(broken(foreign), [Rule::Walls]);
    let talk = |e: &mut Evidence| {
        e.talks.push(Listed { tenant: "birch".to_owned(), ..Listed::default() });
    };
    assert_eq!(broken(talk), [Rule::Walls]);
    assert_eq!(broken(|e| e.trespasses.push("seen".to_owned())), [Rule::Walls]);
}

#[test]
fn a_message_that_was_never_accepted_is_a_complaint_and_no_loss() {
    let never = |e: &mut Evidence| {
        e.asked[0].ids.clear();
        e.shown.remove("msg_3");
        e.talks[0].messages.remove(2);
        e.carried.remove(0);
    };
    assert_eq!(broken(never), [Rule::Complaint]);
}
