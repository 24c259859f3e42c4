//! The bodies of our own queues. Each carries the version of its shape.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::automation::Notice;
use crate::{DeliveryId, IntegrationId, Message, MessageId, Provider, ReplayId, TenantId};

/// The version this build writes.
pub const VERSION: u8 = 1;

/// The body of a record in `outbound-<provider>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboundJob {
    /// Version of this shape.
    pub v: u8,
    /// What to do.
    #[serde(flatten)]
    pub task: OutboundTask,
}

/// What a sender is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum OutboundTask {
    /// Send a message, at most once.
    Send(Box<SendTask>),
    /// Tell the person that their message was read. Harmless to repeat.
    MarkRead(MarkReadTask),
}

/// A message to send. The queue is where it is durably accepted: the record has all the
/// table needs, so a caller's answer never waits on two writes that could disagree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendTask {
    /// The message as it was accepted.
    pub message: Message,
    /// The person's address.
    pub to: String,
    /// The provider's id of the message it answers.
    pub reply_to: Option<String>,
    /// After this it is too late to send it.
    pub expires_at: Timestamp,
    /// Who else may carry it.
    #[serde(default, skip_serializing_if = "Relay::is_empty")]
    pub relay: Relay,
}

/// Who else may carry a message, and how far it has been handed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Relay {
    /// How often it was handed over.
    pub hop: u32,
    /// Who is asked next, in this order.
    pub others: Vec<IntegrationId>,
    /// How many of these, at the end, were asked before.
    pub asked: u32,
    /// No attempt before then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// How long after it was accepted carriers may ask to wait, in seconds.
    pub patience: u32,
    /// When its carrier may have taken it, though it did not say so: from then on nobody else is
    /// asked, and it cannot have failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe_taken_at: Option<Timestamp>,
}

impl Relay {
    /// Whether there is nobody else, and never was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hop == 0 && self.others.is_empty()
    }

    /// Whether somebody is next who was not asked yet.
    #[must_use]
    pub fn has_fresh(&self) -> bool {
        self.others.len() > self.asked as usize
    }

    /// Who is next, whether they were asked before, and who is left behind them: with `current`
    /// at the end if it is to be asked again.
    #[must_use]
    pub fn next(&self, current: Option<IntegrationId>) -> Option<(IntegrationId, bool, Self)> {
        let (next, rest) = self.others.split_first()?;
        let was_asked = !self.has_fresh();
        let others: Vec<_> = rest.iter().copied().chain(current).collect();
        let asked = self.asked - u32::from(was_asked) + u32::from(current.is_some());
        let relay = Self { hop: self.hop + 1, others, asked, not_before: None, ..self.clone() };
        Some((*next, was_asked, relay))
    }
}

/// Who a message was handed over to: what the ledger keeps, so that whoever finds an older
/// record of it can hand it over again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// Who carries it now.
    pub provider: Provider,
    /// The account it leaves from now.
    pub integration: IntegrationId,
    /// Who else may.
    pub relay: Relay,
}

impl SendTask {
    /// The same message for who it was handed over to. What it answers is known to the account
    /// alone that it is with now.
    #[must_use]
    pub fn handed_over(mut self, to: HandedOver) -> Self {
        let reply_to = self.reply_to.filter(|_| to.integration == self.message.integration);
        self.message.provider = to.provider;
        self.message.integration = to.integration;
        Self { reply_to, relay: to.relay, ..self }
    }
}

/// A message to mark as read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkReadTask {
    /// Whose it is.
    pub tenant: TenantId,
    /// The account it came to.
    pub integration: IntegrationId,
    /// The provider's id of the message.
    pub provider_message_id: String,
}

/// The body of a record in `automation`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryJob {
    /// Version of this shape.
    pub v: u8,
    /// Which notice; stable across retries.
    pub id: DeliveryId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What to tell. Absent on a retry: the table has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Box<Notice>>,
}

/// The body of a record in `media`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaJob {
    /// Version of this shape.
    pub v: u8,
    /// Whose it is.
    pub tenant: TenantId,
    /// The message it belongs to.
    pub message: MessageId,
    /// The account it came to.
    pub integration: IntegrationId,
    /// The provider's id of the file.
    pub provider_media_id: String,
    /// MIME type, as the provider says.
    pub mime_type: Option<String>,
}

/// The body of a record in `parked`: authentic, and not understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Version of this shape.
    pub v: u8,
    /// Who sent it.
    pub provider: Provider,
    /// The integration named by the URL, if one was.
    pub integration: Option<IntegrationId>,
    /// Whose that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Why it could not be taken further.
    pub reason: String,
    /// When it came.
    pub received_at: Timestamp,
    /// The bytes, base64.
    pub body: String,
}

/// The body of a record in `replay`: one page of it is to be worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayJob {
    /// Version of this shape.
    pub v: u8,
    /// Whose events.
    pub tenant: TenantId,
    /// Which replay: the table has its filter.
    pub replay: ReplayId,
    /// Where the page begins; empty at the beginning.
    pub cursor: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> IntegrationId {
        IntegrationId::derived(&[name])
    }

    #[test]
    fn everybody_is_asked_once_before_anybody_is_asked_again() {
        let relay = Relay { others: vec![id("b"), id("c")], ..Relay::default() };
        let (next, again, relay) = relay.next(Some(id("a"))).unwrap();
        assert_eq!((next, again, relay.hop), (id("b"), false, 1));
        let (next, again, relay) = relay.next(Some(id("b"))).unwrap();
        assert_eq!((next, again), (id("c"), false));
        assert!(!relay.has_fresh());
        let (next, again, relay) = relay.next(Some(id("c"))).unwrap();
        assert_eq!((next, again, relay.asked), (id("a"), true, 2));
        assert_eq!(relay.others, [id("b"), id("c")]);
    }

    #[test]
    fn who_will_never_do_is_not_asked_again() {
        let relay = Relay { others: vec![id("b")], ..Relay::default() };
        let (next, again, relay) = relay.next(None).unwrap();
        assert_eq!((next, again), (id("b"), false));
        assert!(relay.next(None).is_none());
    }

    #[test]
    fn a_task_of_an_older_version_has_nobody_else() {
        let relay: Relay = serde_json::from_str("{}").unwrap();
        assert!(relay.is_empty());
    }
}
