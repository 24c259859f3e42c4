//! A message, inbound or outbound, and its status.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::provider::Channel;
use crate::{ConversationId, IntegrationId, MessageId, Provider, TenantId};

/// A message, inbound or outbound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// The message id.
    pub id: MessageId,
    /// The tenant that owns the message.
    pub tenant: TenantId,
    /// The conversation it belongs to.
    pub conversation: ConversationId,
    /// The channel.
    pub channel: Channel,
    /// The provider that received or sends it.
    pub provider: Provider,
    /// The integration that received or sends it.
    pub integration: IntegrationId,
    /// The direction.
    pub direction: Direction,
    /// The content.
    #[serde(flatten)]
    pub content: Content,
    /// The current status.
    pub status: Status,
    /// The provider message id, once the provider has assigned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_message_id: Option<String>,
    /// The message it replies to: its id (`msg_`) if the hub knows it, else its provider message
    /// id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// When the hub received it, or accepted it for sending.
    pub created_at: Timestamp,
    /// When it was sent, by the provider's clock. Inbound only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// Every status it has had, oldest first.
    #[serde(default)]
    pub history: Vec<Step>,
}

impl Message {
    /// Replaces an impossible time of sending, one later than the hub received the message, by the
    /// time of receipt: an earlier version stored the provider's time unchanged.
    #[must_use]
    pub fn repaired(mut self) -> Self {
        self.occurred_at = self.occurred_at.map(|at| at.min(self.created_at));
        self
    }
}

/// The direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From a customer to the tenant.
    Inbound,
    /// From the tenant to a customer.
    Outbound,
}

/// A status change of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The new status.
    pub status: Status,
    /// When it changed: by the provider's clock for receipts, else by the hub's.
    pub at: Timestamp,
    /// The number of the send attempt, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The provider's or the hub's machine-readable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What the code means and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Step {
    /// Creates a step with a status and a time only.
    #[must_use]
    pub const fn plain(status: Status, at: Timestamp) -> Self {
        Self { status, at, attempt: None, code: None, detail: None }
    }
}

/// The status of a message.
///
/// Receipts arrive in any order, some twice, some never. A status only moves up this order, so
/// every order of arrival ends in the same status. `Failed` and `Expired` rank below `Delivered`
/// because a delivery receipt overrides them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Inbound: received by the hub.
    Received,
    /// Accepted by the hub and stored durably; no attempt made yet.
    Queued,
    /// A sender holds the lease and is sending it.
    Sending,
    /// The request was sent and no response was received.
    Unknown,
    /// The provider accepted it.
    Accepted,
    /// The provider sent it on.
    Sent,
    /// It was not sent before its expiry time.
    Expired,
    /// It could not be sent or delivered.
    Failed,
    /// It was delivered to the recipient's device.
    Delivered,
    /// The recipient read it.
    Read,
}

impl Status {
    /// Every status, lowest first.
    pub const ALL: [Self; 10] = [
        Self::Received,
        Self::Queued,
        Self::Sending,
        Self::Unknown,
        Self::Accepted,
        Self::Sent,
        Self::Expired,
        Self::Failed,
        Self::Delivered,
        Self::Read,
    ];

    /// Returns the rank in the order. Stored in the table: leave gaps, never renumber.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Received => 0,
            Self::Queued => 5,
            Self::Sending => 10,
            Self::Unknown => 20,
            Self::Accepted => 30,
            Self::Sent => 40,
            Self::Expired => 45,
            Self::Failed => 50,
            Self::Delivered => 60,
            Self::Read => 70,
        }
    }

    /// Whether a message with the status `self` may move to `next`.
    ///
    /// ```
    /// use domain::Status::{Accepted, Delivered, Failed, Read};
    ///
    /// assert!(Accepted.can_transition_to(Read), "statuses may be skipped");
    /// assert!(!Delivered.can_transition_to(Accepted), "a late receipt does not move it back");
    /// assert!(Failed.can_transition_to(Delivered), "a delivery receipt overrides a failure");
    /// ```
    #[must_use]
    pub const fn can_transition_to(self, next: Self) -> bool {
        next.rank() > self.rank()
    }

    /// Returns the name used in the API and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
            Self::Read => "read",
        }
    }

    /// Returns the status with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranks_increase_in_the_order_of_the_list() {
        assert!(Status::ALL.windows(2).all(|pair| pair[0].can_transition_to(pair[1])));
        for status in Status::ALL {
            assert_eq!(Status::from_name(status.as_str()), Some(status));
        }
    }

    proptest! {
        #[test]
        fn receipts_in_any_order_end_in_the_same_status(
            receipts in Just(vec![Status::Accepted, Status::Sent, Status::Failed,
                Status::Delivered, Status::Read]).prop_shuffle(),
            count in 1_usize..=5,
        ) {
            let receipts = &receipts[..count];
            let end = receipts.iter().fold(Status::Sending, |now, &next| {
                if now.can_transition_to(next) { next } else { now }
            });
            prop_assert_eq!(Some(end), receipts.iter().copied().max());
        }
    }
}
