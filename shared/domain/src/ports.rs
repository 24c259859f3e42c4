//! Ports: the traits through which handlers reach storage, queues, clocks and other services.
//!
//! Each trait is one permission: a handler that takes only [`Outbox`] needs no other right, and its
//! IAM policy grants no other.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use crate::automation::{Automation, Notification};
use crate::circuit::Circuit;
use crate::conversation::Conversation;
use crate::event::Receipt;
use crate::fault::{Classify, Fault};
use crate::message::{Message, Step};
use crate::provider::Channel;
use crate::pull::{HealthSnapshot, Job, JobEnding, JobTicket, QueueFigures};
use crate::record::{
    Direction, EventFilter, EventRecord, Replay, ReplayPage, ReplayPlace, StoredEvent,
};
use crate::route::Route;
use crate::sender::Pace;
use crate::task::{HandedOver, SendTask};
use crate::tenant::{ApiKey, Tenant};
use crate::{
    ConversationId, Credentials, EventId, Integration, IntegrationId, JobId, KeyId, MessageId,
    NotificationId, Provider, ReplayId, TenantId,
};

/// Error returned by a port.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {reason}")]
pub struct PortError {
    /// The operation that failed.
    pub operation: &'static str,
    /// The error code that the service returned; never data.
    pub reason: String,
    /// Whether the operation may be retried.
    pub fault: Fault,
}

impl Classify for PortError {
    fn fault(&self) -> Fault {
        self.fault
    }
}

/// Result of a port operation.
pub type PortResult<T> = Result<T, PortError>;

/// Clock.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// Random number generator.
pub trait Rng: Send + Sync {
    /// Returns 128 random bits from a cryptographically secure source.
    fn bits(&self) -> u128;

    /// Returns a number uniform in `0.0..1.0`.
    fn fraction(&self) -> f64 {
        // The mantissa of an `f64` holds 53 bits.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = (self.bits() >> 75) as f64 / (1_u64 << 53) as f64;
        fraction
    }
}

/// Integration lookup for webhook functions and senders.
pub trait Directory: Send + Sync {
    /// Returns the integration with this id.
    fn integration(
        &self,
        id: IntegrationId,
    ) -> impl Future<Output = PortResult<Option<Integration>>> + Send;

    /// Returns the operator's own integration at `provider`.
    fn platform(
        &self,
        provider: Provider,
    ) -> impl Future<Output = PortResult<Option<Integration>>> + Send;

    /// Returns the integration that `account` at `provider` belongs to, and its tenant.
    fn account(
        &self,
        provider: Provider,
        account: &str,
    ) -> impl Future<Output = PortResult<Option<Holder>>> + Send;

    /// Returns the integration whose webhook secret has the hash `hash`.
    fn by_path_secret(
        &self,
        provider: Provider,
        hash: &str,
    ) -> impl Future<Output = PortResult<Option<IntegrationId>>> + Send;
}

/// Tenant and integration lookup.
pub trait Accounts: Send + Sync {
    /// Returns whether the tenant exists.
    fn is_tenant(&self, tenant: &TenantId) -> impl Future<Output = PortResult<bool>> + Send;

    /// Returns the tenant's integrations.
    fn accounts_of(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = PortResult<Vec<Integration>>> + Send;
}

/// The integration that an account belongs to, and its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The tenant.
    pub tenant: TenantId,
    /// The tenant's integration.
    pub integration: IntegrationId,
}

/// How recently credentials must have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// A copy that is a few minutes old is acceptable.
    Cached,
    /// Read again, unless a read took place within the last minute.
    Fresh,
}

/// Credential reads.
pub trait CredentialReader: Send + Sync {
    /// Returns the credentials of an integration; empty if none were stored.
    fn credentials(
        &self,
        integration: &Integration,
        freshness: Freshness,
    ) -> impl Future<Output = PortResult<Credentials>> + Send;

    /// Returns the secrets that sign `tenant`'s outgoing webhooks, newest first, no older than
    /// `changed_at`.
    fn signing_secrets(
        &self,
        tenant: &TenantId,
        changed_at: Timestamp,
    ) -> impl Future<Output = PortResult<Vec<secrecy::SecretString>>> + Send;
}

/// A record to publish to a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The body, as JSON. The implementation stores a body that is too large for the queue.
    pub body: String,
    /// The message group id. A FIFO queue keeps the order within a group; a standard queue shares
    /// its consumers fairly between groups.
    pub group: String,
    /// The deduplication id. A FIFO queue drops a second record with this id for five minutes;
    /// standard queues ignore it. At most 128 letters, digits and punctuation.
    pub deduplication_id: String,
    /// How long the record is delayed, at most 15 minutes. Standard queues only.
    pub delay: Option<Duration>,
    /// The reason the record was moved here. Dead-letter queues only.
    pub reason: Option<String>,
}

/// Publishing to one queue.
pub trait Publisher: Send + Sync {
    /// Publishes all `records` in order. After `Ok` they are durable; after an error some of them
    /// may be.
    fn publish(&self, records: Vec<Record>) -> impl Future<Output = PortResult<()>> + Send;
}

/// Changes to the visibility timeout of received records.
pub trait ChangeVisibility: Send + Sync {
    /// Sets the visibility timeout of each record, identified by its receipt handle, counted from
    /// now; at most 12 hours.
    fn change_visibility(
        &self,
        records: &[(String, Duration)],
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Claim check: retrieval of bodies that are too large for a queue.
pub trait ClaimCheck: Send + Sync {
    /// Returns the full body: `body` itself, or the stored body if `body` is a pointer.
    fn redeem<'a>(
        &self,
        body: &'a str,
    ) -> impl Future<Output = PortResult<std::borrow::Cow<'a, str>>> + Send;
}

/// Archive of raw events.
pub trait Archive: Send + Sync {
    /// Stores `lines` (one event each) of `tenant` from `provider`, received at `at`.
    fn keep(
        &self,
        tenant: &TenantId,
        provider: Provider,
        at: Timestamp,
        lines: &[String],
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Whether a write was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The item was written.
    New,
    /// The item existed already; nothing changed.
    Duplicate,
}

/// Outcome of recording an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// The event was written.
    New,
    /// The event existed already; nothing changed.
    Duplicate,
    /// A single-use token was used before by another event: nothing was written.
    ReusedToken,
}

/// Event record, write side.
pub trait EventLog: Send + Sync {
    /// Records the event once. The event and its deduplication record are one item.
    /// `single_use` is a token that may authenticate this event only.
    fn record_event(
        &self,
        event: &StoredEvent,
        single_use: Option<&str>,
    ) -> impl Future<Output = PortResult<RecordOutcome>> + Send;

    /// Records once that `replay` replayed the event.
    fn note_replay(
        &self,
        tenant: &TenantId,
        event: EventId,
        replay: ReplayId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;
}

/// Event record, read side, for one tenant.
pub trait EventReader: Send + Sync {
    /// Returns an event of the tenant.
    fn event(
        &self,
        tenant: &TenantId,
        id: EventId,
    ) -> impl Future<Output = PortResult<Option<StoredEvent>>> + Send;

    /// Returns events of the tenant that match `filter`. A page may hold fewer than `limit`
    /// events, even none, although another page follows: each call reads a bounded part of the
    /// list.
    fn events(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        direction: Direction,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<StoredEvent>>> + Send;
}

/// Storage for event bodies that are too large for the table.
pub trait EventBodies: Send + Sync {
    /// Stores the body of `record` and returns its key. The same body always has the same key, and
    /// a different body never overwrites it.
    fn put_body(
        &self,
        record: &EventRecord,
        body: String,
    ) -> impl Future<Output = PortResult<String>> + Send;
}

/// Reads of event bodies that are too large for the table.
pub trait EventBodyReader: Send + Sync {
    /// Returns the body under `key`; `None` if it has been deleted.
    fn body(&self, key: &str) -> impl Future<Output = PortResult<Option<String>>> + Send;
}

/// Replays: creation and reads.
pub trait Replays: Send + Sync {
    /// Creates a replay; returns `Duplicate` if one with that id exists.
    fn begin(&self, replay: &Replay) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// Returns a replay of the tenant and its position.
    fn replay(
        &self,
        tenant: &TenantId,
        id: ReplayId,
    ) -> impl Future<Output = PortResult<Option<ReplayPlace>>> + Send;
}

/// Replay progress.
pub trait ReplayProgress: Send + Sync {
    /// Adds the page's counts to the replay and moves its position past the page; returns
    /// `Duplicate` if the replay's position is not the start of the page.
    fn advance_page(
        &self,
        tenant: &TenantId,
        id: ReplayId,
        page: &ReplayPage,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// Records why the page that begins at `from` could not be processed.
    fn record_failure(
        &self,
        tenant: &TenantId,
        id: ReplayId,
        from: &str,
        reason: &str,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Automation settings, read side.
pub trait Automations: Send + Sync {
    /// Returns the tenant's automation settings.
    fn automation(&self, tenant: &TenantId) -> impl Future<Output = PortResult<Automation>> + Send;
}

/// Storage of inbound messages and their conversations.
pub trait Inbox: Send + Sync {
    /// Records the message once. The message and its deduplication record are one item, so neither
    /// exists without the other.
    fn record(&self, message: &Message) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// Creates the conversation or updates it with an inbound message, and returns its current
    /// state. Idempotent. An older message changes nothing, except that it replaces a stored time
    /// that is later than `now`, because no message can have arrived then.
    fn touch(
        &self,
        conversation: &Conversation,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Conversation>> + Send;
}

/// Outcome of applying a receipt.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusUpdate {
    /// The message's status changed; this is its current state.
    Moved(Box<Message>),
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

    /// Counts one message against the rate limit `pace`; returns how long to wait if it is
    /// exhausted, or `None` if the message may be sent now.
    fn take_turn(
        &self,
        tenant: &TenantId,
        pace: &Pace,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Option<Duration>>> + Send;
}

/// Circuit breaker state of integrations.
pub trait Circuits: Send + Sync {
    /// Returns the circuit of an integration, and its version for optimistic locking; version 0 if
    /// the integration never failed.
    fn circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
    ) -> impl Future<Output = PortResult<(Circuit, u32)>> + Send;

    /// Replaces version `seen` with `circuit`; returns `Duplicate` if another write replaced it
    /// first.
    fn set_circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
        circuit: &Circuit,
        seen: u32,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;
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

/// Routes, read side.
pub trait Routes: Send + Sync {
    /// Returns the tenant's route for a channel; `None` if it has none.
    fn route(
        &self,
        tenant: &TenantId,
        channel: Channel,
    ) -> impl Future<Output = PortResult<Option<Route>>> + Send;
}

/// Outcome of claiming a notification for delivery.
#[derive(Clone, Debug)]
pub enum NotificationClaim {
    /// The caller holds the lease; this is attempt number `attempt`.
    Granted {
        /// Counted from 1.
        attempt: u32,
        /// The notification to deliver.
        notification: Box<Notification>,
    },
    /// Another consumer holds the lease.
    Held {
        /// When that lease ends.
        until: Timestamp,
    },
    /// The next attempt is not due yet.
    Early {
        /// When it is due.
        until: Timestamp,
    },
    /// The notification was delivered, or its delivery was given up.
    Settled,
}

/// Outcome of a delivery attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationOutcome {
    /// The notification was delivered.
    Delivered,
    /// The next attempt is due at this time.
    RetryAt(Timestamp),
    /// All attempts failed, or the receiver answered 410 Gone.
    GivenUp,
}

/// Delivery record of notifications.
pub trait Notifications: Send + Sync {
    /// Takes the lease on the delivery. Without `notification`, the table must hold it from a
    /// failed attempt. An expired lease is taken over with the same notification, because
    /// receivers deduplicate by its id.
    fn claim(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        notification: Option<&Notification>,
        now: Timestamp,
        lease: Duration,
    ) -> impl Future<Output = PortResult<NotificationClaim>> + Send;

    /// Records the outcome of the attempt and, with a retry, the notification itself: the record
    /// that brings it back has only its id. `status` is the receiver's HTTP status, if there was a
    /// response.
    fn settle(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        outcome: NotificationOutcome,
        notification: &Notification,
        status: Option<u16>,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Schedules another attempt at `at`, durably.
    fn schedule(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        at: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Disables the tenant's outgoing webhook, and records the time.
    fn disable(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// A retry that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The tenant that owns the notification.
    pub tenant: TenantId,
    /// The notification.
    pub id: NotificationId,
    /// The sort key of the schedule entry, used to remove it.
    pub place: String,
}

/// Schedule of retries that are later than a queue can delay them.
pub trait Schedule: Send + Sync {
    /// Returns up to `limit` retries that are due at `now`.
    fn due(&self, now: Timestamp, limit: u32) -> impl Future<Output = PortResult<Vec<Due>>> + Send;

    /// Removes the retries from the schedule.
    fn done(&self, due: &[Due]) -> impl Future<Output = PortResult<()>> + Send;
}

/// Job creation.
pub trait JobIntake: Send + Sync {
    /// Appends the job to its conversation's queue, once.
    fn queue_job(&self, job: &Job) -> impl Future<Output = PortResult<Recorded>> + Send;
}

/// Job counters.
pub trait JobFigures: Send + Sync {
    /// Returns the tenant's counters at `now`. They are stored, not computed by a query.
    fn figures(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<QueueFigures>> + Send;
}

/// Job reads.
pub trait JobReader: Send + Sync {
    /// Returns a job of the tenant.
    fn job(
        &self,
        tenant: &TenantId,
        id: JobId,
    ) -> impl Future<Output = PortResult<Option<Job>>> + Send;
}

/// A job without a lease that can no longer be offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverdueJob {
    /// The job, with the status and reason it is to end with.
    pub job: Job,
    /// The sort key of its conversation in the list where it was found.
    pub place: String,
}

/// Outcome of a worker's request for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// A job, leased to the worker.
    Job(Box<Job>),
    /// No job yet: these jobs must be ended first.
    Overdue(Vec<OverdueJob>),
    /// No conversation has a job that can be offered.
    Nothing,
}

/// Outcome of a worker's call about its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobAnswer {
    /// The call succeeded, or had already; this is the job's current state.
    Done(Box<Job>),
    /// The worker no longer holds this attempt: nothing was changed.
    Refused(Box<Job>),
    /// The job does not exist.
    Missing,
}

/// Job leases for workers.
pub trait Jobs: Send + Sync {
    /// Leases the oldest available job for `lease`. A conversation's jobs are offered in order, one
    /// at a time. `chance` is a random number that spreads concurrent workers over the available
    /// jobs.
    fn offer(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        lease: Duration,
        chance: u128,
    ) -> impl Future<Output = PortResult<Offer>> + Send;

    /// Extends a running lease to at least `now + lease`.
    fn extend(
        &self,
        tenant: &TenantId,
        ticket: JobTicket,
        now: Timestamp,
        lease: Duration,
    ) -> impl Future<Output = PortResult<JobAnswer>> + Send;

    /// Ends an attempt whose lease is running and makes the conversation's next job available;
    /// `notification`, if any, is recorded in the same write. Idempotent.
    fn settle_job(
        &self,
        tenant: &TenantId,
        ticket: JobTicket,
        ending: &JobEnding,
        notification: Option<&Notification>,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<JobAnswer>> + Send;
}

/// Ending of overdue jobs.
pub trait JobEnds: Send + Sync {
    /// Ends the job as `overdue` says and makes the conversation's next job available;
    /// `notification`, if any, is recorded in the same write. Returns `Duplicate` if the job is
    /// not where it was found.
    fn end(
        &self,
        overdue: &OverdueJob,
        notification: Option<&Notification>,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;
}

/// Periodic sweep for overdue jobs, and the heartbeat.
pub trait JobSweep: Send + Sync {
    /// Lists the tenants whose workers pull or that may have unfinished jobs, by id.
    fn pulling(
        &self,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<TenantId>>> + Send;

    /// Returns jobs of the tenant that are overdue at `now`: a bounded part of them.
    fn overdue(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Vec<OverdueJob>>> + Send;

    /// Removes the tenant from the list, unless its automation pulls jobs.
    fn stop_tracking(&self, tenant: &TenantId) -> impl Future<Output = PortResult<()>> + Send;

    /// Records a heartbeat, unless a newer one is stored.
    fn record_heartbeat(
        &self,
        health: &HealthSnapshot,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Heartbeat reads, for the health check.
pub trait HealthReader: Send + Sync {
    /// Returns the last heartbeat; `None` before the first.
    fn health(&self) -> impl Future<Output = PortResult<Option<HealthSnapshot>>> + Send;
}

/// Storage of inbound media files.
pub trait MediaShelf: Send + Sync {
    /// Returns the storage key for the media of a message.
    fn key(&self, tenant: &TenantId, message: MessageId) -> String;

    /// Stores a file.
    fn put(
        &self,
        key: &str,
        mime_type: Option<&str>,
        bytes: bytes::Bytes,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Returns a presigned URL of the file that is valid for `lifetime`.
    fn link(
        &self,
        key: &str,
        lifetime: Duration,
    ) -> impl Future<Output = PortResult<String>> + Send;
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

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The items on the page.
    pub items: Vec<T>,
    /// The cursor of the next page; `None` on the last.
    pub next: Option<String>,
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

    /// Returns the tenant's integrations.
    fn integrations(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = PortResult<Vec<Integration>>> + Send;
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
    fn touch_outbound(
        &self,
        conversation: &Conversation,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// API key lookup for the authorizer.
pub trait Keys: Send + Sync {
    /// Returns the key with this id, and the hash of the complete key.
    fn key(&self, id: KeyId) -> impl Future<Output = PortResult<Option<(ApiKey, String)>>> + Send;
}

/// Outcome of claiming an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The claim is held by this integration, now or already before.
    Ours,
    /// Another integration holds the account, or is the operator's own at this provider.
    Taken,
}

/// Storage of tenants and their keys, integrations, automations and routes.
pub trait Registry: Send + Sync {
    /// Creates a tenant; returns `Duplicate` if one with that id exists.
    fn create_tenant(&self, tenant: &Tenant) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// Returns the tenant with this id.
    fn tenant(&self, id: &TenantId) -> impl Future<Output = PortResult<Option<Tenant>>> + Send;

    /// Returns all tenants, by id.
    fn tenants(
        &self,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<Tenant>>> + Send;

    /// Stores a key under the hash of the complete key.
    fn create_key(&self, key: &ApiKey, hash: &str) -> impl Future<Output = PortResult<()>> + Send;

    /// Returns the tenant's keys.
    fn keys(&self, tenant: &TenantId) -> impl Future<Output = PortResult<Vec<ApiKey>>> + Send;

    /// Revokes a key of the tenant; returns `false` if it has no key with that id.
    fn revoke_key(
        &self,
        tenant: &TenantId,
        id: KeyId,
    ) -> impl Future<Output = PortResult<bool>> + Send;

    /// Sets the tenant's automation.
    fn set_automation(
        &self,
        tenant: &TenantId,
        automation: &Automation,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Sets the integrations that send the tenant's messages on a channel.
    fn set_route(
        &self,
        tenant: &TenantId,
        channel: Channel,
        route: &Route,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Returns the integration with this id, of any tenant.
    fn integration(
        &self,
        id: IntegrationId,
    ) -> impl Future<Output = PortResult<Option<Integration>>> + Send;

    /// Returns the tenant's integrations.
    fn integrations(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = PortResult<Vec<Integration>>> + Send;

    /// Writes an integration and claims its account, its webhook path secrets and, for the
    /// operator, its place as the operator's own integration at the provider; all or nothing.
    /// `before` is the integration it replaces, whose claims are released. `path_secrets` are
    /// hashes.
    fn put_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
        before: Option<(&Integration, &[String])>,
    ) -> impl Future<Output = PortResult<Claimed>> + Send;

    /// Locks the tenant's credentials at `provider` until `until`, because they share one secret;
    /// returns `false` if another caller holds the lock at `now`.
    fn lock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = PortResult<bool>> + Send;

    /// Releases the lock, if it is still the one that ends at `until`.
    fn unlock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        until: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Deletes an integration and all its claims.
    fn delete_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Credential writes; no method returns a credential.
pub trait CredentialWriter: Send + Sync {
    /// Replaces the integration's credentials with `credentials`; `None` removes them.
    fn store(
        &self,
        integration: &Integration,
        credentials: Option<&Credentials>,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Adds `secret` as the tenant's newest signing secret, and removes all but the newest two.
    fn add_signing_secret(
        &self,
        tenant: &TenantId,
        secret: secrecy::SecretString,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// DNS resolver.
pub trait Resolver: Send + Sync {
    /// Returns the addresses of `host`; `None` if the name cannot be resolved now.
    fn resolve(&self, host: &str) -> impl Future<Output = Option<Vec<std::net::IpAddr>>> + Send;
}
