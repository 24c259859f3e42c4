//! Checks of the hub's guarantees for every message: evidence in, findings out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    evidence::{Evidence, ListedConversation, Message, SentMessage, Step, rank},
    load::SendRequest,
    plan::{ECHO, position},
};

/// The guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// Every accepted message exists.
    Lost,
    /// Every message exists once and was sent once.
    Doubled,
    /// The messages of a conversation are in order.
    Order,
    /// Every message has a final status, and it matches the provider's.
    Status,
    /// A status never moves backward.
    History,
    /// The automation is notified.
    Notified,
    /// A tenant sees only its own data.
    TenantIsolation,
    /// Other violations.
    Other,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lost => "lost",
            Self::Doubled => "duplicated",
            Self::Order => "wrong order",
            Self::Status => "wrong status",
            Self::History => "wrong history",
            Self::Notified => "not notified",
            Self::TenantIsolation => "tenant isolation",
            Self::Other => "other violations",
        })
    }
}

/// A broken guarantee.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    pub(crate) what: String,
}

/// Result of the checks.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) inbound: usize,
    pub(crate) outbound: usize,
    /// Number of outbound messages by final status.
    pub(crate) statuses: BTreeMap<String, usize>,
    /// Messages with status `unknown` that the provider accepted.
    pub(crate) unknown_accepted: usize,
    /// Messages that were retried after a provider rejected an attempt with its own error code.
    pub(crate) refused: usize,
    /// Of the rejected messages, those that the provider accepted later.
    pub(crate) refused_accepted: usize,
    pub(crate) findings: Vec<Finding>,
}

impl Verdict {
    fn find(&mut self, rule: Rule, what: String) {
        self.findings.push(Finding { rule, what });
    }

    /// Number of findings for a guarantee.
    pub(crate) fn count(&self, rule: Rule) -> usize {
        self.findings.iter().filter(|finding| finding.rule == rule).count()
    }
}

/// Tenant, address of the customer, and text.
type Key<'a> = (&'a str, &'a str, &'a str);

/// Checks all guarantees.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    inbound(evidence, &mut verdict);
    tenant_isolation(evidence, &mut verdict);
    outbound(evidence, &mut verdict);
    for regression in &evidence.regressions {
        verdict.find(Rule::History, regression.clone());
    }
    for violation in &evidence.violations {
        verdict.find(Rule::Other, violation.clone());
    }
    verdict
}

/// Checks that every customer message exists once, in order, and that the automation was notified.
fn inbound(evidence: &Evidence, verdict: &mut Verdict) {
    verdict.inbound = evidence.written.len();
    let mut listed = BTreeMap::<Key<'_>, Vec<&Message>>::new();
    let mut homes = BTreeMap::<(&str, &str), &ListedConversation>::new();
    for conversation in &evidence.conversations {
        let (tenant, address) = (conversation.tenant.as_str(), conversation.address.as_str());
        if let Some(other) = homes.insert((tenant, address), conversation) {
            let what =
                format!("{address} has two conversations: {} and {}", other.id, conversation.id);
            verdict.find(Rule::Doubled, what);
        }
        for message in conversation.messages.iter().filter(|message| message.inbound) {
            listed.entry((tenant, address, &message.text)).or_default().push(message);
        }
        in_order(conversation, verdict);
    }
    for written in &evidence.written {
        let key = (written.tenant.as_str(), written.address.as_str(), written.text.as_str());
        match listed.remove(&key).as_deref() {
            None | Some([]) => verdict.find(Rule::Lost, format!("{key:?} is in no conversation")),
            Some([message]) => check_notification(evidence, message, verdict),
            Some(several) => {
                let ids: Vec<_> = several.iter().map(|message| &message.id).collect();
                verdict.find(Rule::Doubled, format!("{key:?} exists as {ids:?}"));
            }
        }
    }
    for (key, messages) in listed {
        let what = format!("no customer wrote {key:?}: {}", describe(messages.first().copied()));
        verdict.find(Rule::TenantIsolation, what);
    }
}

fn in_order(conversation: &ListedConversation, verdict: &mut Verdict) {
    let texts =
        conversation.messages.iter().filter(|message| message.inbound).map(|message| &message.text);
    let positions: Vec<Option<usize>> = texts.map(|text| position(text)).collect();
    if !positions.is_sorted() {
        let what = format!("{} with {}: {positions:?}", conversation.id, conversation.address);
        verdict.find(Rule::Order, what);
    }
}

fn check_notification(evidence: &Evidence, message: &Message, verdict: &mut Verdict) {
    let ids = evidence.notified.get(&message.id).map(|notified| &notified.received);
    match ids.map_or(0, BTreeSet::len) {
        1 => {}
        0 => {
            let what = format!("no notification of {:?}: {}", message.text, message.id);
            verdict.find(Rule::Notified, what);
        }
        _ => {
            let what = format!("{:?} has notifications with several ids: {ids:?}", message.text);
            verdict.find(Rule::Doubled, what);
        }
    }
}

/// Checks that an API key shows only its tenant's data.
fn tenant_isolation(evidence: &Evidence, verdict: &mut Verdict) {
    let customers: BTreeSet<(&str, &str)> = evidence
        .written
        .iter()
        .map(|written| (written.tenant.as_str(), written.address.as_str()))
        .collect();
    for conversation in &evidence.conversations {
        if !customers.contains(&(conversation.tenant.as_str(), conversation.address.as_str())) {
            let what = format!(
                "{} sees {} with {}",
                conversation.tenant, conversation.id, conversation.address
            );
            verdict.find(Rule::TenantIsolation, what);
        }
        for message in
            conversation.messages.iter().filter(|message| message.tenant != conversation.tenant)
        {
            let what = format!("{} sees {}'s {}", conversation.tenant, message.tenant, message.id);
            verdict.find(Rule::TenantIsolation, what);
        }
    }
    for foreign_read in &evidence.foreign_reads {
        verdict.find(Rule::TenantIsolation, foreign_read.clone());
    }
}

/// Checks that every message to send has a status that matches the provider's log.
fn outbound(evidence: &Evidence, verdict: &mut Verdict) {
    let mut sent = BTreeMap::<Key<'_>, Vec<&SentMessage>>::new();
    for message in &evidence.sent {
        let key = (message.tenant.as_str(), message.address.as_str(), message.text.as_str());
        sent.entry(key).or_default().push(message);
    }
    let mut listed = BTreeMap::<Key<'_>, Vec<&Message>>::new();
    for conversation in &evidence.conversations {
        for message in conversation.messages.iter().filter(|message| !message.inbound) {
            let key = (
                conversation.tenant.as_str(),
                conversation.address.as_str(),
                message.text.as_str(),
            );
            listed.entry(key).or_default().push(message);
        }
    }
    for requested in &evidence.requested {
        let key = (requested.tenant.as_str(), requested.address.as_str(), requested.text.as_str());
        let copies = sent.remove(&key).unwrap_or_default();
        let in_conversation = listed.remove(&key).unwrap_or_default();
        outbound_message(evidence, requested, &in_conversation, &copies, verdict);
    }
    for (key, copies) in sent {
        let ids: Vec<_> = copies.iter().map(|sent| &sent.id).collect();
        verdict.find(Rule::Doubled, format!("no tenant asked to send {key:?}: {ids:?}"));
    }
    for (key, messages) in listed {
        let what =
            format!("no tenant asked to send {key:?}: {}", describe(messages.first().copied()));
        verdict.find(Rule::Doubled, what);
    }
    posts_in_order(evidence, verdict);
}

/// Checks one message that a tenant asked to send.
fn outbound_message(
    evidence: &Evidence,
    requested: &SendRequest,
    in_conversation: &[&Message],
    copies: &[&SentMessage],
    verdict: &mut Verdict,
) {
    let key = (&requested.tenant, &requested.address, &requested.text);
    if copies.len() > 1 {
        let ids: Vec<_> = copies.iter().map(|sent| &sent.id).collect();
        let what =
            format!("{key:?} was sent as {ids:?}: {}", describe(in_conversation.first().copied()));
        verdict.find(Rule::Doubled, what);
    }
    if requested.ids.len() > 1 || in_conversation.len() > 1 {
        let there: Vec<_> = in_conversation.iter().map(|message| &message.id).collect();
        verdict.find(
            Rule::Doubled,
            format!("{key:?} is several messages: ids {:?}, listed {there:?}", requested.ids),
        );
    }
    // If there are several, prefer the one that the hub knows.
    let known = |message: &Message| {
        let same = copies.iter().find(|sent| Some(&sent.id) == message.provider_id.as_ref());
        same.or(copies.first()).copied()
    };
    let Some(id) = requested.ids.first() else {
        // The hub never confirmed the message. If it has it anyway, its status must be right.
        match in_conversation.first() {
            Some(message) => check_status(evidence, message, known(message), verdict),
            None if copies.is_empty() => {
                let what = format!("{key:?} was never accepted: {:?}", requested.refusal);
                verdict.find(Rule::Other, what);
            }
            None => verdict.find(Rule::Lost, format!("{key:?} was sent but does not exist")),
        }
        return;
    };
    let Some(Some(message)) = evidence.shown.get(id) else {
        verdict.find(Rule::Lost, format!("{key:?} was accepted as {id}, which does not exist"));
        return;
    };
    if in_conversation.is_empty() {
        verdict.find(Rule::Lost, format!("{key:?}, {id}, is in no conversation"));
    }
    check_status(evidence, message, known(message), verdict);
}

/// Checks that a message's status matches the provider's log.
fn check_status(
    evidence: &Evidence,
    message: &Message,
    copy: Option<&SentMessage>,
    verdict: &mut Verdict,
) {
    verdict.outbound += 1;
    *verdict.statuses.entry(message.status.clone()).or_default() += 1;
    if let Some(wrong) = contradiction(message, copy) {
        let what = format!("{wrong}: {}; the provider: {copy:?}", describe(Some(message)));
        verdict.find(Rule::Status, what);
    }
    if message.status == "unknown" && copy.is_some() {
        verdict.unknown_accepted += 1;
    }
    if was_refused(message) {
        verdict.refused += 1;
        verdict.refused_accepted += usize::from(copy.is_some());
    }
    if let Some(wrong) = invalid_history(message) {
        verdict.find(Rule::History, format!("{wrong}: {}", describe(Some(message))));
    }
    // `queued`, `sending` and `accepted` cause no notification; every later status does.
    let known = evidence
        .notified
        .get(&message.id)
        .is_some_and(|notified| notified.statuses.contains(&message.status));
    if !known && !matches!(message.status.as_str(), "queued" | "sending" | "accepted") {
        let what = format!("no notification of the last status: {}", describe(Some(message)));
        verdict.find(Rule::Notified, what);
    }
}

/// Whether the provider rejected an attempt with its own error code and the message was retried.
/// Provider codes are numbers; the hub's codes are words.
fn was_refused(message: &Message) -> bool {
    let own = |code: &String| code.bytes().all(|c| c.is_ascii_digit());
    let refused = |step: &Step| step.status == "queued" && step.code.as_ref().is_some_and(own);
    message.history.iter().any(refused)
}

/// Returns the contradiction between the hub's and the provider's view of a message.
fn contradiction(message: &Message, copy: Option<&SentMessage>) -> Option<String> {
    let status = message.status.as_str();
    let Some(sent) = copy else {
        return match status {
            "failed" | "unknown" => None,
            _ => Some(format!("{status}, but the provider never accepted it")),
        };
    };
    if let Some(id) = &message.provider_id
        && *id != sent.id
    {
        return Some("it has the id of another message".to_owned());
    }
    if sent.failed {
        // A provider with receipts reports the failure in one.
        return (status != "failed").then(|| format!("{status}, but it failed"));
    }
    let last = sent.receipts.iter().filter_map(|receipt| rank(receipt)).max();
    match (status, last) {
        // No receipt arrived that could resolve the outcome.
        ("unknown", None) => None,
        ("accepted", None) if message.provider_id.is_some() => None,
        ("accepted", None) => Some("accepted, without the provider's id".to_owned()),
        (_, last) if last.is_some() && last == rank(status) => None,
        _ => Some(format!("{status}, but the provider accepted it")),
    }
}

/// Returns what is wrong with a message's status history.
fn invalid_history(message: &Message) -> Option<String> {
    let ranks = message.history.iter().map(|step| rank(&step.status));
    let Some(ranks) = ranks.collect::<Option<Vec<usize>>>() else {
        return Some("a status that does not exist".to_owned());
    };
    let now = rank(&message.status);
    if ranks.iter().max().copied() != now {
        return Some("the status is not the highest in the history".to_owned());
    }
    // Steps of an attempt are recorded when the attempt ends, so a receipt may come first.
    let receipts = message.history.iter().filter(|step| step.attempt.is_none());
    let receipts: Vec<_> = receipts.map(|step| rank(&step.status)).collect();
    if !receipts.is_sorted_by(|one, next| one < next) {
        return Some("a receipt moved the status backward".to_owned());
    }
    let attempts: Vec<u64> = message.history.iter().filter_map(|step| step.attempt).collect();
    if !attempts.is_sorted() {
        return Some("an attempt ended after the next one".to_owned());
    }
    None
}

/// Checks that a tenant's own messages are sent in the order in which the hub accepted them.
fn posts_in_order(evidence: &Evidence, verdict: &mut Verdict) {
    let mut conversations = BTreeMap::<(&str, &str), Vec<(u64, Option<usize>)>>::new();
    for sent in evidence.sent.iter().filter(|sent| !sent.text.starts_with(ECHO)) {
        let conversation = (sent.tenant.as_str(), sent.address.as_str());
        conversations.entry(conversation).or_default().push((sent.seq, position(&sent.text)));
    }
    for ((tenant, address), mut sent) in conversations {
        sent.sort_unstable();
        let positions: Vec<_> = sent.iter().map(|(_, position)| position).collect();
        if !positions.is_sorted() && !evidence.redriven.contains(address) {
            let what = format!("{tenant} sent to {address}: {positions:?}");
            verdict.find(Rule::Order, what);
        }
    }
}

/// Formats a message with its status history for a finding.
fn describe(message: Option<&Message>) -> String {
    let Some(message) = message else { return "no message".to_owned() };
    let history: Vec<String> = message
        .history
        .iter()
        .map(|step| {
            let attempt = step.attempt.map(|attempt| format!(" #{attempt}")).unwrap_or_default();
            let code = step.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
            format!("{}{attempt}{code} at {}", step.status, step.at)
        })
        .collect();
    let (id, text, status) = (&message.id, &message.text, &message.status);
    let provider_id = message.provider_id.as_deref().unwrap_or("none");
    format!(
        "{id} {text:?} is {status}, provider message id {provider_id}, [{}]",
        history.join(", ")
    )
}

#[cfg(test)]
mod tests;
