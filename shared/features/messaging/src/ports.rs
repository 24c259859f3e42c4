//! Ports of the feature: one trait per permission.

use std::time::Duration;

use domain::conversation::Conversation;
use domain::event::Receipt;
use domain::message::{Message, Step};
use domain::ports::{Page, PortResult, Recorded};
use domain::pull::Job;
use domain::sender::RateLimit;
use domain::task::{HandedOver, SendTask};
use domain::{ConversationId, MessageId, Provider, TenantId};
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

/// Delivery receipts for outbound messages.
pub trait Receipts: Send + Sync {
    /// Returns the id of the message that the provider identifies as `provider_message_id`.
    fn resolve(
        &self,
        tenant: &TenantId,
        provider: Provider,
        provider_message_id: &str,
    ) -> impl Future<Output = PortResult<Option<MessageId>>> + Send;

    /// Records the receipt and advances the message's status if the receipt's status is later.
    fn advance(
        &self,
        tenant: &TenantId,
        message: MessageId,
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

/// Outbound message ledger, as a sender uses it.
pub trait Outbox: Send + Sync {
    /// Takes the lease on the message until `now + lease`. `token` identifies the holder: a claim
    /// whose response was lost is recognized by it. Creates the message if it does not exist yet.
    /// `retake` also takes over an expired lease.
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

    /// Releases the lease. With `steps`, the attempt counts and is recorded; without, nothing of it
    /// is recorded.
    fn release(
        &self,
        message: &Message,
        token: &str,
        steps: &[Step],
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Hands the message over to the integration in `to` and records `steps`: a claim from an older
    /// record of the message then returns [`Claim::HandedOver`]. The attempt counts if `counted`.
    /// Returns `false` if the caller no longer held the lease.
    fn hand_over(
        &self,
        message: &Message,
        token: &str,
        steps: &[Step],
        counted: bool,
        to: &HandedOver,
    ) -> impl Future<Output = PortResult<bool>> + Send;

    /// Records the outcome of the attempt: the last of `steps` is the message's status. From then
    /// on the provider message id resolves to the message. A receipt that arrived first is not
    /// overwritten. Returns the current state of the message, or `None` if another holder settled
    /// it.
    fn settle(
        &self,
        message: &Message,
        token: &str,
        steps: &[Step],
        provider_message_id: Option<&str>,
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
    /// Appends the job to its conversation's queue, once.
    fn enqueue_job(&self, job: &Job) -> impl Future<Output = PortResult<Recorded>> + Send;
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
