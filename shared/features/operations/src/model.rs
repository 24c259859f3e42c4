//! The hub's queues, and what identifies a dead letter: its reason and its tenant.

use std::collections::BTreeSet;

use domain::ports::{DeadLetter, Record};
use domain::{Provider, TenantId};
use jiff::Timestamp;
use serde::Deserialize;

/// Queues without those of the senders, and whether each is FIFO.
const QUEUES: &[(&str, bool)] = &[
    ("automation", false),
    ("events", true),
    ("inbound", true),
    ("media", false),
    ("parked", false),
    ("receipts", false),
    ("replay", false),
];

/// Reason of a dead letter that SQS moved itself, because its consumer crashed or did not answer.
pub const RECEIVED_TOO_OFTEN: &str = "received too often";
/// Reason of a dead letter that neither the hub nor SQS moved.
const NO_REASON: &str = "no reason given";

/// A queue of the hub. Each has its own dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueName {
    /// The name without the stack's: `inbound`, `outbound-whatsapp`.
    pub name: String,
    /// Whether it is a FIFO queue.
    pub fifo: bool,
}

impl QueueName {
    /// Returns all queues of the hub, by name.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let outbound = Provider::senders().map(|provider| {
            let name = format!("outbound-{}", provider.resource_name());
            Self { name, fifo: true }
        });
        let others = QUEUES.iter().map(|(name, fifo)| Self { name: (*name).into(), fifo: *fifo });
        let mut all: Vec<Self> = others.chain(outbound).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Returns its name in SQS, its URL or its ARN, after `prefix`: all end in the stack's name, a
    /// hyphen and this name.
    #[must_use]
    pub fn source(&self, prefix: &str) -> String {
        self.with_suffix(prefix, "")
    }

    /// Returns the same of its dead-letter queue.
    #[must_use]
    pub fn dead_letters(&self, prefix: &str) -> String {
        self.with_suffix(prefix, "-dead-letters")
    }

    fn with_suffix(&self, prefix: &str, suffix: &str) -> String {
        format!("{prefix}{}{suffix}{}", self.name, if self.fifo { ".fifo" } else { "" })
    }
}

/// Returns the reason of a dead letter.
#[must_use]
pub fn reason_of(letter: &DeadLetter) -> &str {
    match (&letter.reason, &letter.source) {
        (Some(reason), _) => reason,
        (None, Some(_)) => RECEIVED_TOO_OFTEN,
        (None, None) => NO_REASON,
    }
}

/// The part of a record's body that names its tenant.
#[derive(Deserialize)]
struct Owned {
    tenant: TenantId,
}

/// A task whose tenant is that of its message.
#[derive(Deserialize)]
struct WithMessage {
    message: Owned,
}

/// Returns the tenant of a dead letter of `queue`, if it is known: from its body or, in a standard
/// queue, from its message group. It is not known for a body in the bucket or one that is not JSON,
/// in a FIFO queue.
#[must_use]
pub fn tenant_of(letter: &DeadLetter, queue: &QueueName) -> Option<TenantId> {
    let own = serde_json::from_str(&letter.body).map(|Owned { tenant }| tenant);
    let own = own.or_else(|_| {
        serde_json::from_str(&letter.body).map(|task: WithMessage| task.message.tenant)
    });
    own.ok().or_else(|| letter.group.as_ref().filter(|_| !queue.fifo)?.parse().ok())
}

/// Which dead letters of a queue to redrive. Without a condition, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those whose reason begins with this text.
    pub reason: Option<String>,
    /// Only those of this tenant. One whose tenant is not known does not match.
    pub tenant: Option<TenantId>,
    /// Only those with these message ids.
    pub ids: Option<BTreeSet<String>>,
    /// Only those sent at this time or earlier. Otherwise a redrive would move those that fail again
    /// and come back, without end.
    pub before: Option<Timestamp>,
}

impl Filter {
    /// Whether a dead letter of `queue` meets all conditions.
    #[must_use]
    pub fn matches(&self, letter: &DeadLetter, queue: &QueueName) -> bool {
        let reason = |wanted: &String| reason_of(letter).starts_with(wanted.as_str());
        let is_older = |before| letter.sent_at.is_none_or(|sent_at| sent_at <= before);
        self.reason.as_ref().is_none_or(reason)
            && self.before.is_none_or(is_older)
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&letter.id))
            && self
                .tenant
                .as_ref()
                .is_none_or(|tenant| tenant_of(letter, queue).as_ref() == Some(tenant))
    }
}

/// Returns the record to send to the source queue: the same body, group and attributes. The
/// deduplication id is new, because the record's own may still be remembered, and is derived from
/// the message id, so that a FIFO queue drops a second send within five minutes.
#[must_use]
pub fn redriven(letter: &DeadLetter) -> Record {
    Record {
        body: letter.body.clone(),
        group: letter.group.clone().unwrap_or_else(|| letter.id.clone()),
        deduplication_id: format!("redriven-{}", letter.id),
        attributes: letter.attributes.clone(),
        ..Record::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(body: &str, group: &str) -> DeadLetter {
        DeadLetter {
            id: "1".to_owned(),
            receipt: "r".to_owned(),
            body: body.to_owned(),
            group: Some(group.to_owned()),
            reason: None,
            source: None,
            attributes: std::collections::BTreeMap::new(),
            sent_at: None,
            first_received_at: None,
        }
    }

    fn queue(name: &str) -> QueueName {
        QueueName::all().into_iter().find(|queue| queue.name == name).unwrap()
    }

    #[test]
    fn a_queue_and_its_dead_letter_queue_have_the_stacks_prefix_and_the_fifo_suffix() {
        let (inbound, media) = (queue("inbound"), queue("media"));
        assert_eq!(inbound.source("hub-"), "hub-inbound.fifo");
        assert_eq!(inbound.dead_letters("hub-"), "hub-inbound-dead-letters.fifo");
        assert_eq!(media.source("hub-"), "hub-media");
        assert_eq!(media.dead_letters("hub-"), "hub-media-dead-letters");
        assert!(queue("outbound-whatsapp").fifo);
    }

    #[test]
    fn the_tenant_is_that_of_the_body_or_of_a_standard_queues_group() {
        let tenant = |body: &str, group: &str, name: &str| {
            tenant_of(&letter(body, group), &queue(name)).map(|tenant| tenant.to_string())
        };
        let acme = Some("acme".to_owned());
        assert_eq!(tenant(r#"{"v":1,"tenant":"acme"}"#, "conv", "inbound"), acme);
        let send = r#"{"v":1,"task":"send","message":{"tenant":"acme","id":"m"},"to":"x"}"#;
        assert_eq!(tenant(send, "conv", "outbound-whatsapp"), acme);
        assert_eq!(tenant(r#"{"claim_check":"bodies/x"}"#, "acme", "receipts"), acme);
        // The group of a FIFO queue is a conversation or a subject.
        assert_eq!(tenant(r#"{"claim_check":"bodies/x"}"#, "acme", "inbound"), None);
        assert_eq!(tenant("not json", "acme", "inbound"), None);
    }

    #[test]
    fn a_filter_matches_letters_that_meet_all_conditions() {
        let queue = queue("inbound");
        let mut one = letter(r#"{"tenant":"acme"}"#, "g");
        one.reason = Some("invalid JSON at line 1, column 9".to_owned());
        let filter = |reason: Option<&str>, tenant: Option<&str>, id: Option<&str>| Filter {
            reason: reason.map(ToOwned::to_owned),
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            ids: id.map(|id| BTreeSet::from([id.to_owned()])),
            before: None,
        };
        assert!(Filter::default().matches(&one, &queue));
        assert!(filter(Some("invalid JSON"), Some("acme"), Some("1")).matches(&one, &queue));
        assert!(!filter(Some("line 1"), None, None).matches(&one, &queue));
        assert!(!filter(None, Some("globex"), None).matches(&one, &queue));
        assert!(!filter(None, None, Some("2")).matches(&one, &queue));
        one.reason = None;
        assert!(!filter(Some(RECEIVED_TOO_OFTEN), None, None).matches(&one, &queue));
        one.source = Some("arn:aws:sqs:eu-central-1:000000000000:hub-inbound.fifo".to_owned());
        assert!(filter(Some(RECEIVED_TOO_OFTEN), None, None).matches(&one, &queue));
    }

    #[test]
    fn a_redriven_record_keeps_body_group_and_attributes_and_has_a_new_deduplication_id() {
        let mut one = letter("body", "group");
        one.attributes.insert("trace".to_owned(), "t".to_owned());
        one.reason = Some("failed".to_owned());
        let record = redriven(&one);
        assert_eq!((record.body.as_str(), record.group.as_str()), ("body", "group"));
        assert_eq!(record.deduplication_id, "redriven-1");
        assert_eq!(record.attributes, one.attributes);
        assert_eq!((record.reason, record.source), (None, None));
    }
}
