//! Ports of the feature: one trait per permission.

use std::time::Duration;

use domain::conversation::Conversation;
use domain::event::Receipt;
use domain::message::{Message, Step};
use domain::ports::{Page, PortResult, Recorded};
use domain::sender::{Accepted, RateLimit};
use domain::task::{HandedOver, SendTask, Standby};
use domain::{ConversationId, IntegrationId, MessageId, Provider, TenantId};
use jiff::Timestamp;

/// Storage of inbound messages and their conversations.
pub trait Inbox: Send + Sync {
    /// Records the message once. The message and its deduplication record are one item, so neither
    /// exists without the other.
    fn record(&self, message: &Message) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// Creates the conversation or updates it with an inbound message, and returns its current
    /// state. Idempotent. An older message changes nothing, except that it replaces a stored time
    /// that is later than `now`, because no message can have arrived then.
    fn upsert_conversation(
        &self,
        conversation: &Conversation,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Conversation>> + Send;
}

/// Outcome of applying a receipt.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusUpdate {
    /// The message's status changed; this is its current state.
    Advanced(Box<Message>),
    /// The message had this status or a later one already.
    Stale(Box<Message>),
    /// The message does not exist.
    Missing,
}

/// A sent message, as the failover after its acceptance sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct SentMessage {
    /// The message.
    pub message: Message,
    /// Number of steps in its history that are stored; the others follow from its state.
    pub stored_steps: usize,
    /// What it takes to send it through the next integration, if its route allows that.
    pub standby: Option<Standby>,
    /// The last failover, if it failed over.
    pub handed_over: Option<HandedOver>,
    /// The integration that accepted it, if it failed over after that.
    pub moved_from: Option<IntegrationId>,
}

impl SentMessage {
    /// Returns the number of failovers so far.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.handed_over.as_ref().map_or(0, |to| to.failover.generation)
    }
}

/// Failover of messages that their provider accepted and could not deliver.
pub trait MoveAccepted: Send + Sync {
    /// Returns a message that may fail over after its acceptance; `None` if it does not exist.
    fn sent_message(
        &self,
        tenant: &TenantId,
        message: MessageId,
    ) -> impl Future<Output = PortResult<Option<SentMessage>>> + Send;

    /// Queues the message for the integration in `to`, with `steps` at the end of its history; once
    /// for each message. Returns `false` if the message is no longer as `seen`.
    fn move_accepted(
        &self,
        seen: &SentMessage,
        steps: &[Step],
        to: &HandedOver,
    ) -> impl Future<Output = PortResult<bool>> + Send;
}

/// Delivery receipts for outbound messages.
pub trait Receipts: Send + Sync {
    /// Returns the id of the message that the integration's provider identifies as
    /// `provider_message_id`. Each custom integration is a provider of its own: the ids of two of
    /// them may be equal.
    fn resolve(
        &self,
        tenant: &TenantId,
        provider: Provider,
        integration: IntegrationId,
        provider_message_id: &str,
    ) -> impl Future<Output = PortResult<Option<MessageId>>> + Send;

    /// Records the receipt of `integration` and advances the message's status if the receipt's
    /// status is later. An integration that the message was handed over from can only report that
    /// it delivered the message: its failure is not that of the next integration.
    fn advance(
        &self,
        tenant: &TenantId,
        message: MessageId,
        integration: IntegrationId,
        receipt: &Receipt,
        at: Timestamp,
    ) -> impl Future<Output = PortResult<StatusUpdate>> + Send;
}

/// Outcome of claiming a message for sending.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// The caller holds the lease; this is attempt number `attempt`.
    Granted {
        /// Counted from 1.
        attempt: u32,
    },
    /// Another sender holds the lease.
    Held {
        /// When that lease ends.
        until: Timestamp,
    },
    /// A lease expired before its holder settled: whether the request was sent is unknown.
    Interrupted {
        /// The interrupted attempt.
        attempt: u32,
        /// The token of that attempt, with which it is settled.
        token: String,
    },
    /// The message has a final outcome; this is its current state.
    Settled(Box<Message>),
    /// The message was handed over to another integration after this record was published.
    HandedOver(Box<HandedOver>),
}

/// The end of an attempt after which the message is queued again.
#[derive(Clone, Copy, Debug)]
pub struct AttemptEnd<'a> {
    /// The steps for the history.
    pub steps: &'a [Step],
    /// Whether the attempt counts.
    pub counted: bool,
    /// Whether the provider may have accepted the message.
    pub in_doubt: bool,
}

impl<'a> AttemptEnd<'a> {
    /// An attempt that certainly sent nothing, does not count and is not recorded.
    pub const NONE: AttemptEnd<'static> =
        AttemptEnd { steps: &[], counted: false, in_doubt: false };

    /// An attempt that counts and certainly sent nothing.
    #[must_use]
    pub const fn refused(steps: &'a [Step]) -> Self {
        Self { steps, counted: true, in_doubt: false }
    }
}

/// Outbound message ledger, as a sender uses it.
pub trait Outbox: Send + Sync {
    /// Takes the lease on the message until `now + lease`. `token` identifies the holder: a claim
    /// whose response was lost is recognized by it. Creates the message if it does not exist yet.
    /// With `retake`, it only takes over an expired lease, and records that the provider may have
    /// accepted the message.
    ///
    /// The claim adds no step to the history; the call that ends the attempt adds it, so that a
    /// long wait does not fill the history.
    fn claim(
        &self,
        task: &SendTask,
        token: &str,
        now: Timestamp,
        lease: Duration,
        retake: bool,
    ) -> impl Future<Output = PortResult<Claim>> + Send;

    /// Releases the lease after an attempt that ended as `ended` says.
    fn release(
        &self,
        message: &Message,
        token: &str,
        ended: AttemptEnd<'_>,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Hands the message over to the integration in `to`, after an attempt that ended as `ended`
    /// says: a claim from an older record of the message then returns [`Claim::HandedOver`].
    /// Returns `false` if the caller no longer held the lease.
    fn hand_over(
        &self,
        message: &Message,
        token: &str,
        ended: AttemptEnd<'_>,
        to: &HandedOver,
    ) -> impl Future<Output = PortResult<bool>> + Send;

    /// Records the outcome of the attempt: the last of `steps` is the message's status. A message
    /// that an earlier attempt may have sent becomes unknown instead of failed or expired. From then
    /// on each provider message id in `accepted` resolves to the message, which shows the first. A
    /// receipt that arrived first is not overwritten. Returns the current state of the message, or
    /// `None` if another holder settled it.
    fn settle(
        &self,
        message: &Message,
        token: &str,
        steps: &[Step],
        accepted: Option<&Accepted>,
    ) -> impl Future<Output = PortResult<Option<Message>>> + Send;

    /// Counts one message against `rate_limit`; returns how long to wait if it is
    /// exhausted, or `None` if the message may be sent now.
    fn take_rate_limit(
        &self,
        tenant: &TenantId,
        rate_limit: &RateLimit,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Option<Duration>>> + Send;
}

/// Conversation reads, for the service window.
pub trait ConversationReader: Send + Sync {
    /// Returns a conversation of the tenant.
    fn read_conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> impl Future<Output = PortResult<Option<Conversation>>> + Send;
}

/// Job creation.
pub trait EnqueueJob: Send + Sync {
    /// Appends the job of an inbound message to the queue of its conversation, once. It expires
    /// `time_to_live` after the message was received.
    fn enqueue_job(
        &self,
        message: &Message,
        time_to_live: Duration,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;
}

/// State of a message's media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaState {
    /// The file is being fetched.
    Pending,
    /// The file is stored under this key.
    Stored {
        /// The key.
        key: String,
        /// The content type with which it was stored.
        content_type: String,
    },
    /// The file could not be fetched from the provider.
    Failed {
        /// The error code.
        code: String,
    },
}

/// Media state of messages, write side.
pub trait MediaLog: Send + Sync {
    /// Records the state of a message's media.
    fn set_media(
        &self,
        tenant: &TenantId,
        message: MessageId,
        state: &MediaState,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Message and conversation reads for one tenant.
pub trait MessageReader: Send + Sync {
    /// Returns a message of the tenant, and the state of its media.
    fn message(
        &self,
        tenant: &TenantId,
        id: MessageId,
    ) -> impl Future<Output = PortResult<Option<(Message, Option<MediaState>)>>> + Send;

    /// Returns a conversation of the tenant.
    fn conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> impl Future<Output = PortResult<Option<Conversation>>> + Send;

    /// Returns messages of a conversation, newest first.
    fn messages(
        &self,
        tenant: &TenantId,
        conversation: ConversationId,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<Message>>> + Send;

    /// Returns conversations of the tenant, latest activity first, exact to the hour between pages.
    fn conversations(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<Conversation>>> + Send;
}

/// Outcome of looking up an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// The key is new.
    New,
    /// The same request was made before, and created this message.
    Same(MessageId),
    /// The key was used with a different request.
    Other,
}

/// Acceptance of messages to send.
pub trait Outgoing: Send + Sync {
    /// Returns what the idempotency key `key` is reserved for; `New` if for nothing.
    fn reserved(
        &self,
        tenant: &TenantId,
        key: &str,
        request: &str,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Reservation>> + Send;

    /// Reserves the idempotency key `key` for `message` for 24 hours. `request` is the hash of the
    /// request.
    fn reserve(
        &self,
        tenant: &TenantId,
        key: &str,
        request: &str,
        message: MessageId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Reservation>> + Send;

    /// Creates the message as queued, unless it exists already.
    fn enqueue(&self, message: &Message) -> impl Future<Output = PortResult<()>> + Send;

    /// Creates the conversation, or records that a message was sent in it.
    fn upsert_outbound_conversation(
        &self,
        conversation: &Conversation,
    ) -> impl Future<Output = PortResult<()>> + Send;
}
