//! Bodies of the records in the hub's own queues. Each carries the version of its format.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::notification::Notification;
use crate::{IntegrationId, Message, MessageId, NotificationId, Provider, ReplayId, TenantId};

/// The version this build writes.
pub const VERSION: u8 = 1;

/// The body of a record in `outbound-<provider>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboundTask {
    /// Version of the format.
    pub v: u8,
    /// The task.
    #[serde(flatten)]
    pub action: OutboundAction,
}

/// A task for a sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum OutboundAction {
    /// Send a message, at most once.
    Send(Box<SendTask>),
    /// Mark an inbound message as read. Idempotent.
    MarkRead(MarkReadTask),
}

/// A message to send. It is durably accepted once it is in the queue: the record contains
/// everything the table needs, so the API's response does not depend on two writes that could
/// disagree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendTask {
    /// The message as it was accepted.
    pub message: Message,
    /// The recipient's address.
    pub to: String,
    /// The provider message id of the message it replies to.
    pub reply_to: Option<String>,
    /// When the message expires: it is not sent after this.
    pub expires_at: Timestamp,
    /// The failover plan.
    #[serde(default, skip_serializing_if = "FailoverPlan::is_empty")]
    pub failover: FailoverPlan,
}

/// Failover plan: the other integrations that may send a message, and how often it failed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailoverPlan {
    /// Number of failovers so far.
    pub generation: u32,
    /// The integrations to try next, in order.
    pub remaining: Vec<IntegrationId>,
    /// How many of these, at the end of the list, were tried before.
    pub asked: u32,
    /// When the next attempt is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// How long after the message was accepted it may wait for a rate-limited integration, in
    /// seconds.
    pub patience: u32,
    /// Whether the message fails over, once, if its provider accepts it and then reports that it
    /// could not deliver it for a reason of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub after_acceptance: bool,
    /// When the current provider may have accepted the message, if that is in doubt: from then on
    /// the message does not fail over and is not settled as failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_doubt_since: Option<Timestamp>,
}

impl FailoverPlan {
    /// Whether there is no other integration, and never was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.generation == 0 && self.remaining.is_empty()
    }

    /// Whether an integration is left that was not tried yet.
    #[must_use]
    pub fn has_untried(&self) -> bool {
        self.remaining.len() > self.asked as usize
    }

    /// Returns the next integration, whether it was tried before, and the plan after the failover.
    /// `current` is appended to the plan if it is to be tried again.
    #[must_use]
    pub fn next(&self, current: Option<IntegrationId>) -> Option<(IntegrationId, bool, Self)> {
        let (next, rest) = self.remaining.split_first()?;
        let was_asked = !self.has_untried();
        let remaining: Vec<_> = rest.iter().copied().chain(current).collect();
        let asked = self.asked - u32::from(was_asked) + u32::from(current.is_some());
        let failover = Self {
            generation: self.generation + 1,
            remaining,
            asked,
            not_before: None,
            ..self.clone()
        };
        Some((*next, was_asked, failover))
    }
}

/// A failover, as the ledger keeps it: a sender that receives an older record of the message can
/// complete the failover from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// The provider that sends it now.
    pub provider: Provider,
    /// The integration that sends it now.
    pub integration: IntegrationId,
    /// The remaining failover plan.
    pub failover: FailoverPlan,
}

/// What it takes to send a message that its provider accepted through the next integration. The
/// ledger keeps it for a message whose route allows that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standby {
    /// The recipient's address.
    pub to: String,
    /// When the message expires: it is not sent after this.
    pub expires_at: Timestamp,
    /// The failover plan.
    pub failover: FailoverPlan,
}

impl Standby {
    /// Returns the task to send `message` through the integration in `to`.
    #[must_use]
    pub fn task(self, message: Message, to: HandedOver) -> SendTask {
        let Self { to: address, expires_at, failover } = self;
        // The ledger has the history.
        let message = Message { history: Vec::new(), ..message };
        SendTask { message, to: address, reply_to: None, expires_at, failover }.handed_over(to)
    }
}

impl SendTask {
    /// Returns what it takes to send the message through the next integration after this one
    /// accepted it; `None` if the route does not allow that, or has no other integration.
    #[must_use]
    pub fn standby(&self) -> Option<Standby> {
        let failover = &self.failover;
        (failover.after_acceptance && !failover.remaining.is_empty()).then(|| Standby {
            to: self.to.clone(),
            expires_at: self.expires_at,
            failover: failover.clone(),
        })
    }

    /// Returns the task for the integration in `to`. `reply_to` is dropped if the integration
    /// changes, because only the account that received that message knows its id.
    #[must_use]
    pub fn handed_over(mut self, to: HandedOver) -> Self {
        let reply_to = self.reply_to.filter(|_| to.integration == self.message.integration);
        self.message.provider = to.provider;
        self.message.integration = to.integration;
        Self { reply_to, failover: to.failover, ..self }
    }
}

/// A message to mark as read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkReadTask {
    /// The tenant that owns the message.
    pub tenant: TenantId,
    /// The integration that received it.
    pub integration: IntegrationId,
    /// The provider message id.
    pub provider_message_id: String,
}

/// The body of a record in `automation`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NotificationTask {
    /// Version of the format.
    pub v: u8,
    /// The notification id; the same for every attempt.
    pub id: NotificationId,
    /// The tenant that owns the notification.
    pub tenant: TenantId,
    /// The notification. Absent on a retry: the table has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification: Option<Box<Notification>>,
}

/// The body of a record in `media`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaTask {
    /// Version of the format.
    pub v: u8,
    /// The tenant that owns the message.
    pub tenant: TenantId,
    /// The message that the file belongs to.
    pub message: MessageId,
    /// The integration that received the message.
    pub integration: IntegrationId,
    /// The provider's media id.
    pub provider_media_id: String,
    /// MIME type, as the provider reports it.
    pub mime_type: Option<String>,
}

/// The body of a record in `parked`: a verified webhook that could not be parsed, or whose account
/// has no integration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Version of the format.
    pub v: u8,
    /// The provider that sent it.
    pub provider: Provider,
    /// The integration in the URL, if there was one.
    pub integration: Option<IntegrationId>,
    /// The tenant that owns that integration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Why it was parked.
    pub reason: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// The request body, base64.
    pub body: String,
}

/// The body of a record in `replay`: one page to process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayTask {
    /// Version of the format.
    pub v: u8,
    /// The tenant that owns the events.
    pub tenant: TenantId,
    /// The replay id; the table has its filter.
    pub replay: ReplayId,
    /// Cursor of the page; empty at the start.
    pub cursor: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> IntegrationId {
        IntegrationId::derived(&[name])
    }

    #[test]
    fn every_integration_is_tried_once_before_any_is_tried_again() {
        let failover =
            FailoverPlan { remaining: vec![id("b"), id("c")], ..FailoverPlan::default() };
        let (next, again, failover) = failover.next(Some(id("a"))).unwrap();
        assert_eq!((next, again, failover.generation), (id("b"), false, 1));
        let (next, again, failover) = failover.next(Some(id("b"))).unwrap();
        assert_eq!((next, again), (id("c"), false));
        assert!(!failover.has_untried());
        let (next, again, failover) = failover.next(Some(id("c"))).unwrap();
        assert_eq!((next, again, failover.asked), (id("a"), true, 2));
        assert_eq!(failover.remaining, [id("b"), id("c")]);
    }

    #[test]
    fn an_integration_that_cannot_succeed_is_not_tried_again() {
        let failover = FailoverPlan { remaining: vec![id("b")], ..FailoverPlan::default() };
        let (next, again, failover) = failover.next(None).unwrap();
        assert_eq!((next, again), (id("b"), false));
        assert!(failover.next(None).is_none());
    }

    #[test]
    fn a_task_of_an_older_version_has_an_empty_failover_plan() {
        let failover: FailoverPlan = serde_json::from_str("{}").unwrap();
        assert!(failover.is_empty());
    }
}
