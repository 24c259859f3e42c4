//! Notifications: what the hub tells a tenant's automation about messages and jobs.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversation::Conversation;
use crate::job::JobStatus;
use crate::{JobId, Message, NotificationId, TenantId};

/// A notification to an automation.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// The event type.
    #[serde(rename = "type")]
    pub kind: NotificationKind,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The payload.
    pub data: NotificationData,
}

/// The event types of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NotificationKind {
    /// A message was received from a customer.
    #[serde(rename = "message.received")]
    MessageReceived,
    /// The status of an outbound message changed.
    #[serde(rename = "message.status")]
    MessageStatus,
    /// A job failed permanently.
    #[serde(rename = "job.failed")]
    JobFailed,
    /// A job was not completed within its time to live.
    #[serde(rename = "job.expired")]
    JobExpired,
}

/// The payload of a notification.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NotificationData {
    /// The tenant.
    pub tenant: TenantId,
    /// The message, as returned by `GET /messages/{id}`.
    pub message: Message,
    /// The conversation of the message. Absent from `message.status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Conversation>,
    /// The job. Only in `job.failed` and `job.expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<EndedJob>,
}

/// A failed or expired job, as a notification describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedJob {
    /// The job id.
    pub job_id: JobId,
    /// The final status.
    pub status: JobStatus,
    /// Number of attempts made.
    pub attempt: u32,
    /// Why the job failed or expired.
    pub reason: String,
}

impl NotificationData {
    /// Returns the notification id: the same for every redelivery of the underlying event.
    #[must_use]
    pub fn notification_id(&self, kind: NotificationKind) -> NotificationId {
        let message = self.message.id.to_string();
        let status = match kind {
            NotificationKind::MessageReceived => "received",
            NotificationKind::MessageStatus => self.message.status.as_str(),
            NotificationKind::JobFailed => "job.failed",
            NotificationKind::JobExpired => "job.expired",
        };
        NotificationId::derived(&[self.tenant.as_str(), &message, status])
    }
}
