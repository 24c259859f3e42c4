//! One message, in or out, and how far it has come.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::provider::Channel;
use crate::{ConversationId, IntegrationId, MessageId, Provider, TenantId};

/// One message, in or out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The talk it belongs to.
    pub conversation: ConversationId,
    /// What it travels on.
    pub channel: Channel,
    /// Who carries it.
    pub provider: Provider,
    /// The account it came to or leaves from.
    pub integration: IntegrationId,
    /// In or out.
    pub direction: Direction,
    /// What it says.
    #[serde(flatten)]
    pub content: Content,
    /// How far it has come.
    pub status: Status,
    /// The provider's id, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_message_id: Option<String>,
    /// The message it answers: ours (`msg_`) where we know it, else the provider's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// When the hub took it in, or was asked to send it.
    pub created_at: Timestamp,
    /// When the provider says it happened. Inbound only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// Each state it has been in, oldest first.
    #[serde(default)]
    pub history: Vec<Step>,
}

/// In or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From a person to a tenant.
    Inbound,
    /// From a tenant to a person.
    Outbound,
}

/// One state a message has been in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The state.
    pub status: Status,
    /// When, by the provider's clock for receipts, else by ours.
    pub at: Timestamp,
    /// Which attempt to send, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The provider's or the hub's machine-readable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What it means and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Step {
    /// A state reached at `at`, with nothing more to say.
    #[must_use]
    pub const fn plain(status: Status, at: Timestamp) -> Self {
        Self { status, at, attempt: None, code: None, detail: None }
    }
}

/// How far a message has come.
///
/// Receipts arrive in any order, twice, and some never. The state only moves up this
/// order, so that every order of arrival ends in the same state. `Failed` and `Expired`
/// are final unless a proof of delivery follows, so they stand below `Delivered`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Inbound: taken in.
    Received,
    /// Durably accepted from the caller, not yet tried.
    Queued,
    /// A sender holds the lease.
    Sending,
    /// The request left, and no answer came back.
    Unknown,
    /// The provider took it.
    Accepted,
    /// The provider passed it on.
    Sent,
    /// It was too late to send it.
    Expired,
    /// It will not arrive.
    Failed,
    /// It reached the person's device.
    Delivered,
    /// The person saw it.
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

    /// Its place in the order. Stored: leave gaps, never renumber.
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

    /// Whether a message at `self` may move to `next`.
    ///
    /// ```
    /// use domain::Status::{Accepted, Delivered, Failed, Read};
    ///
    /// assert!(Accepted.may_become(Read), "a skipped state is no reason to wait");
    /// assert!(!Delivered.may_become(Accepted), "a late receipt must not move it back");
    /// assert!(Failed.may_become(Delivered), "a proof of delivery overrules a failure");
    /// ```
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        next.rank() > self.rank()
    }

    /// The name in the API and in the table.
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

    /// The status of that name.
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
    fn ranks_rise_in_the_order_of_the_list() {
        assert!(Status::ALL.windows(2).all(|pair| pair[0].may_become(pair[1])));
        for status in Status::ALL {
            assert_eq!(Status::from_name(status.as_str()), Some(status));
        }
    }

    proptest! {
        #[test]
        fn every_order_of_receipts_ends_in_the_same_state(
            receipts in Just(vec![Status::Accepted, Status::Sent, Status::Failed,
                Status::Delivered, Status::Read]).prop_shuffle(),
            take in 1_usize..=5,
        ) {
            let receipts = &receipts[..take];
            let end = receipts.iter().fold(Status::Sending, |now, &next| {
                if now.may_become(next) { next } else { now }
            });
            prop_assert_eq!(Some(end), receipts.iter().copied().max());
        }
    }
}
