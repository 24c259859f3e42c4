//! The bodies of our own queues. Each carries the version of its shape.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::automation::Notice;
use crate::{DeliveryId, IntegrationId, Message, MessageId, ReplayId, TenantId};

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
    pub provider: crate::Provider,
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
