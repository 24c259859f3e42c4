//! Whether the hub kept its promises, to the message. Evidence goes in, findings come out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    evidence::{Carried, Evidence, Listed, Message, Step, rank},
    load::Asked,
    plan::{ECHO, place},
};

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// What was taken in is there.
    Lost,
    /// It is there once, and was sent once.
    Doubled,
    /// A conversation is in order.
    Order,
    /// What became of a message is known, and is what the provider says.
    Fate,
    /// A status never goes down.
    History,
    /// The automation knows.
    Told,
    /// Tenants are walls.
    Walls,
    /// Everything else that somebody complained about.
    Complaint,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Order => "wrong order",
            Self::Fate => "wrong fate",
            Self::History => "wrong history",
            Self::Told => "not told",
            Self::Walls => "another tenant's",
            Self::Complaint => "complaints",
        })
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    pub(crate) what: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) inbound: usize,
    pub(crate) outbound: usize,
    /// How many messages to send ended in each status.
    pub(crate) statuses: BTreeMap<String, usize>,
    /// Of those that ended as `unknown`: how many the provider took.
    pub(crate) unknown_taken: usize,
    /// Messages that a provider refused with an error of its own, and that were tried again.
    pub(crate) refused: usize,
    /// Of those: how many the provider took later.
    pub(crate) refused_taken: usize,
    pub(crate) findings: Vec<Finding>,
}

impl Verdict {
    fn find(&mut self, rule: Rule, what: String) {
        self.findings.push(Finding { rule, what });
    }

    /// How often a promise was not kept.
    pub(crate) fn count(&self, rule: Rule) -> usize {
        self.findings.iter().filter(|finding| finding.rule == rule).count()
    }
}

/// A person of a tenant's, and what is said.
type Place<'a> = (&'a str, &'a str, &'a str);

/// Judges.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    inbound(evidence, &mut verdict);
    walls(evidence, &mut verdict);
    outbound(evidence, &mut verdict);
    for fallen in &evidence.fallen {
        verdict.find(Rule::History, fallen.clone());
    }
    for complaint in &evidence.complaints {
        verdict.find(Rule::Complaint, complaint.clone());
    }
    verdict
}

/// What customers wrote is there, once, in order, and the automation knows of it.
fn inbound(evidence: &Evidence, verdict: &mut Verdict) {
    verdict.inbound = evidence.written.len();
    let mut listed = BTreeMap::<Place<'_>, Vec<&Message>>::new();
    let mut homes = BTreeMap::<(&str, &str), &Listed>::new();
    for talk in &evidence.talks {
        let (tenant, address) = (talk.tenant.as_str(), talk.address.as_str());
        if let Some(other) = homes.insert((tenant, address), talk) {
            let what = format!("{address} has two conversations: {} and {}", other.id, talk.id);
            verdict.find(Rule::Doubled, what);
        }
        for message in talk.messages.iter().filter(|message| message.inbound) {
            listed.entry((tenant, address, &message.text)).or_default().push(message);
        }
        in_order(talk, verdict);
    }
    for written in &evidence.written {
        let place = (written.tenant.as_str(), written.address.as_str(), written.text.as_str());
        match listed.remove(&place).as_deref() {
            None | Some([]) => verdict.find(Rule::Lost, format!("{place:?} is in no conversation")),
            Some([message]) => told_of(evidence, message, verdict),
            Some(several) => {
                let ids: Vec<_> = several.iter().map(|message| &message.id).collect();
                verdict.find(Rule::Doubled, format!("{place:?} is there as {ids:?}"));
            }
        }
    }
    for (place, messages) in listed {
        let what = format!("nobody wrote {place:?}: {}", describe(messages.first().copied()));
        verdict.find(Rule::Walls, what);
    }
}

fn in_order(talk: &Listed, verdict: &mut Verdict) {
    let texts = talk.messages.iter().filter(|message| message.inbound).map(|message| &message.text);
    let places: Vec<Option<usize>> = texts.map(|text| place(text)).collect();
    if !places.is_sorted() {
        let what = format!("{} with {}: {places:?}", talk.id, talk.address);
        verdict.find(Rule::Order, what);
    }
}

fn told_of(evidence: &Evidence, message: &Message, verdict: &mut Verdict) {
    let ids = evidence.told.get(&message.id).map(|told| &told.received);
    match ids.map_or(0, BTreeSet::len) {
        1 => {}
        0 => {
            let what = format!("no notice that {:?} came in: {}", message.text, message.id);
            verdict.find(Rule::Told, what);
        }
        _ => {
            let what = format!("{:?} was told under several ids: {ids:?}", message.text);
            verdict.find(Rule::Doubled, what);
        }
    }
}

/// A key shows only what is its tenant's.
fn walls(evidence: &Evidence, verdict: &mut Verdict) {
    let people: BTreeSet<(&str, &str)> = evidence
        .written
        .iter()
        .map(|written| (written.tenant.as_str(), written.address.as_str()))
        .collect();
    for talk in &evidence.talks {
        if !people.contains(&(talk.tenant.as_str(), talk.address.as_str())) {
            let what = format!("{} sees {} with {}", talk.tenant, talk.id, talk.address);
            verdict.find(Rule::Walls, what);
        }
        for message in talk.messages.iter().filter(|message| message.tenant != talk.tenant) {
            let what = format!("{} sees {}'s {}", talk.tenant, message.tenant, message.id);
            verdict.find(Rule::Walls, what);
        }
    }
    for trespass in &evidence.trespasses {
        verdict.find(Rule::Walls, trespass.clone());
    }
}

/// What was asked to be sent has a fate, and the provider agrees.
fn outbound(evidence: &Evidence, verdict: &mut Verdict) {
    let mut carried = BTreeMap::<Place<'_>, Vec<&Carried>>::new();
    for message in &evidence.carried {
        let place = (message.tenant.as_str(), message.address.as_str(), message.text.as_str());
        carried.entry(place).or_default().push(message);
    }
    let mut listed = BTreeMap::<Place<'_>, Vec<&Message>>::new();
    for talk in &evidence.talks {
        for message in talk.messages.iter().filter(|message| !message.inbound) {
            let place = (talk.tenant.as_str(), talk.address.as_str(), message.text.as_str());
            listed.entry(place).or_default().push(message);
        }
    }
    for asked in &evidence.asked {
        let place = (asked.tenant.as_str(), asked.address.as_str(), asked.text.as_str());
        let theirs = carried.remove(&place).unwrap_or_default();
        let in_talk = listed.remove(&place).unwrap_or_default();
        one(evidence, asked, &in_talk, &theirs, verdict);
    }
    for (place, theirs) in carried {
        let ids: Vec<_> = theirs.iter().map(|carried| &carried.id).collect();
        verdict.find(Rule::Doubled, format!("nobody asked to send {place:?}: {ids:?}"));
    }
    for (place, messages) in listed {
        let what =
            format!("nobody asked to send {place:?}: {}", describe(messages.first().copied()));
        verdict.find(Rule::Doubled, what);
    }
    posts_in_order(evidence, verdict);
}

/// One message that a tenant asked to be sent.
fn one(
    evidence: &Evidence,
    asked: &Asked,
    in_talk: &[&Message],
    theirs: &[&Carried],
    verdict: &mut Verdict,
) {
    let place = (&asked.tenant, &asked.address, &asked.text);
    if theirs.len() > 1 {
        let ids: Vec<_> = theirs.iter().map(|carried| &carried.id).collect();
        let what = format!("{place:?} was sent as {ids:?}: {}", describe(in_talk.first().copied()));
        verdict.find(Rule::Doubled, what);
    }
    if asked.ids.len() > 1 || in_talk.len() > 1 {
        let there: Vec<_> = in_talk.iter().map(|message| &message.id).collect();
        verdict.find(
            Rule::Doubled,
            format!("{place:?} is several messages: answered {:?}, listed {there:?}", asked.ids),
        );
    }
    // Of several, the one the hub knows of is not the one too many.
    let known = |message: &Message| {
        let same = theirs.iter().find(|carried| Some(&carried.id) == message.provider_id.as_ref());
        same.or(theirs.first()).copied()
    };
    let Some(id) = asked.ids.first() else {
        // The hub never said that it has it. If it has it all the same, it has to be right.
        match in_talk.first() {
            Some(message) => fate(evidence, message, known(message), verdict),
            None if theirs.is_empty() => {
                let what = format!("{place:?} was never accepted: {:?}", asked.refusal);
                verdict.find(Rule::Complaint, what);
            }
            None => verdict.find(Rule::Lost, format!("{place:?} was sent, and is nowhere")),
        }
        return;
    };
    let Some(Some(message)) = evidence.shown.get(id) else {
        verdict.find(Rule::Lost, format!("{place:?} was accepted as {id}, and is unknown now"));
        return;
    };
    if in_talk.is_empty() {
        verdict.find(Rule::Lost, format!("{place:?}, {id}, is in no conversation"));
    }
    fate(evidence, message, known(message), verdict);
}

/// Whether a message's status is what the provider says.
fn fate(evidence: &Evidence, message: &Message, theirs: Option<&Carried>, verdict: &mut Verdict) {
    verdict.outbound += 1;
    *verdict.statuses.entry(message.status.clone()).or_default() += 1;
    if let Some(wrong) = contradiction(message, theirs) {
        let what = format!("{wrong}: {}; the provider: {theirs:?}", describe(Some(message)));
        verdict.find(Rule::Fate, what);
    }
    if message.status == "unknown" && theirs.is_some() {
        verdict.unknown_taken += 1;
    }
    if was_refused(message) {
        verdict.refused += 1;
        verdict.refused_taken += usize::from(theirs.is_some());
    }
    if let Some(wrong) = falls(message) {
        verdict.find(Rule::History, format!("{wrong}: {}", describe(Some(message))));
    }
    // That it left is no news; everything after that is.
    let known =
        evidence.told.get(&message.id).is_some_and(|told| told.statuses.contains(&message.status));
    if !known && !matches!(message.status.as_str(), "queued" | "sending" | "accepted") {
        let what = format!("no notice of the last status: {}", describe(Some(message)));
        verdict.find(Rule::Told, what);
    }
}

/// Whether the provider refused an attempt by a code of its own, after which another was made.
/// The hub's own codes are words.
fn was_refused(message: &Message) -> bool {
    let own = |code: &String| code.bytes().all(|c| c.is_ascii_digit());
    let refused = |step: &Step| step.status == "queued" && step.code.as_ref().is_some_and(own);
    message.history.iter().any(refused)
}

/// What is wrong between what the hub says and what the provider says.
fn contradiction(message: &Message, theirs: Option<&Carried>) -> Option<String> {
    let status = message.status.as_str();
    let Some(carried) = theirs else {
        return match status {
            "failed" | "unknown" => None,
            _ => Some(format!("{status}, and the provider never took it")),
        };
    };
    if let Some(id) = &message.provider_id
        && *id != carried.id
    {
        return Some("it has another message's id".to_owned());
    }
    if carried.failed {
        // A receipt says so where receipts are.
        return (status != "failed").then(|| format!("{status}, and it failed"));
    }
    let last = carried.receipts.iter().filter_map(|receipt| rank(receipt)).max();
    match (status, last) {
        // No receipt came that could have told.
        ("unknown", None) => None,
        ("accepted", None) if message.provider_id.is_some() => None,
        ("accepted", None) => Some("accepted, without the provider's id".to_owned()),
        (_, last) if last.is_some() && last == rank(status) => None,
        _ => Some(format!("{status}, and the provider took it")),
    }
}

/// What is wrong in a message's history.
fn falls(message: &Message) -> Option<String> {
    let ranks = message.history.iter().map(|step| rank(&step.status));
    let Some(ranks) = ranks.collect::<Option<Vec<usize>>>() else {
        return Some("an unknown status".to_owned());
    };
    let now = rank(&message.status);
    if ranks.iter().max().copied() != now {
        return Some("the status is not the highest it has had".to_owned());
    }
    // Steps of attempts are written down when the attempt ends: a receipt may be faster.
    let receipts = message.history.iter().filter(|step| step.attempt.is_none());
    let receipts: Vec<_> = receipts.map(|step| rank(&step.status)).collect();
    if !receipts.is_sorted_by(|one, next| one < next) {
        return Some("a receipt moved it down".to_owned());
    }
    let attempts: Vec<u64> = message.history.iter().filter_map(|step| step.attempt).collect();
    if !attempts.is_sorted() {
        return Some("an attempt ended after the next one".to_owned());
    }
    None
}

/// A tenant's own messages leave in the order in which the hub accepted them.
fn posts_in_order(evidence: &Evidence, verdict: &mut Verdict) {
    let mut talks = BTreeMap::<(&str, &str), Vec<(u64, Option<usize>)>>::new();
    for carried in evidence.carried.iter().filter(|carried| !carried.text.starts_with(ECHO)) {
        let talk = (carried.tenant.as_str(), carried.address.as_str());
        talks.entry(talk).or_default().push((carried.seq, place(&carried.text)));
    }
    for ((tenant, address), mut sent) in talks {
        sent.sort_unstable();
        let places: Vec<_> = sent.iter().map(|(_, place)| place).collect();
        if !places.is_sorted() && !evidence.redriven.contains(address) {
            let what = format!("{tenant} sent to {address}: {places:?}");
            verdict.find(Rule::Order, what);
        }
    }
}

/// A message with its history, for whoever reads a finding.
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
    let theirs = message.provider_id.as_deref().unwrap_or("none");
    format!("{id} {text:?} is {status}, provider's id {theirs}, [{}]", history.join(", "))
}

#[cfg(test)]
mod tests;
