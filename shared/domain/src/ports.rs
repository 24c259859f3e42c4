//! Ports that every feature needs: the traits through which handlers reach queues, object storage,
//! credentials, clocks and other services. Each feature has further ports for its own table.
//!
//! Each trait is one permission: a handler that takes only [`Publisher`] needs no other right, and
//! its IAM policy grants no other.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use crate::fault::Classify;
use crate::trace::{TRACEPARENT, TraceContext};
use crate::{
    Credentials, EventId, Fault, Integration, IntegrationId, MessageId, Provider, TenantId,
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
    ) -> impl Future<Output = PortResult<Option<AccountOwner>>> + Send;

    /// Returns the integration whose webhook secret has the hash `hash`.
    fn by_path_secret(
        &self,
        provider: Provider,
        hash: &str,
    ) -> impl Future<Output = PortResult<Option<IntegrationId>>> + Send;
}

/// The integration that an account belongs to, and its tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountOwner {
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
    /// Read again, because the provider has just refused them.
    Reread,
}

/// Credentials as they are stored.
#[derive(Clone, Debug)]
pub enum StoredCredentials {
    /// The credentials; empty if none were stored.
    Readable(Credentials),
    /// There are credentials that cannot be read, for this reason. Reading them again does not help;
    /// they must be stored again.
    Unreadable(&'static str),
}

/// Who changes credentials. A part of the changes that the store permits is reserved for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedBy {
    /// The tenant.
    Tenant,
    /// The operator.
    Operator,
}

/// Credential reads.
pub trait CredentialReader: Send + Sync {
    /// Returns the credentials of an integration; empty if none were stored. Credentials that cannot
    /// be read are an error, which is retryable.
    fn credentials(
        &self,
        integration: &Integration,
        freshness: Freshness,
    ) -> impl Future<Output = PortResult<Credentials>> + Send;

    /// Returns the stored credentials of an integration, not from a cache.
    fn stored_credentials(
        &self,
        integration: &Integration,
    ) -> impl Future<Output = PortResult<StoredCredentials>> + Send;

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
    /// ARN of the queue that the record was moved from. Dead-letter queues only.
    pub source: Option<String>,
    /// Other message attributes, by name. Text only.
    pub attributes: BTreeMap<String, String>,
}

impl Record {
    /// Adds the trace context of the span that publishes the record. A record that has one keeps
    /// it: it was moved, for example from a dead-letter queue.
    #[must_use]
    pub fn traced(mut self, context: Option<TraceContext>) -> Self {
        if let Some(context) = context
            && !self.attributes.contains_key(TRACEPARENT)
        {
            self.attributes.insert(TRACEPARENT.to_owned(), context.to_string());
        }
        self
    }
}

/// Publishing to one queue.
pub trait Publisher: Send + Sync {
    /// Publishes all `records` in order, each with the [current](crate::trace::current) trace
    /// context. After `Ok` they are durable; after an error some of them may be.
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

/// A record as it is received from a dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message id. It does not change while the record is in the queue.
    pub id: String,
    /// The receipt handle of this receive.
    pub receipt: String,
    /// The body as it was sent: a claim check stays a claim check.
    pub body: String,
    /// The message group id.
    pub group: Option<String>,
    /// The reason, if the hub moved it here. SQS gives none.
    pub reason: Option<String>,
    /// ARN of the queue that it was moved from, by the hub or by SQS.
    pub source: Option<String>,
    /// Other message attributes, by name. Text only.
    pub attributes: BTreeMap<String, String>,
    /// When it was sent: here by the hub, or to its source queue if SQS moved it.
    pub sent_at: Option<Timestamp>,
    /// When it was first received.
    pub first_received_at: Option<Timestamp>,
}

/// Receives from one dead-letter queue.
pub trait ReceiveDeadLetters: Send + Sync {
    /// Receives up to ten records and hides each from other receives for `hidden_for`. Returns none
    /// if no record is visible.
    fn receive(
        &self,
        hidden_for: Duration,
    ) -> impl Future<Output = PortResult<Vec<DeadLetter>>> + Send;
}

/// Deletion of received records.
pub trait DeleteRecords: Send + Sync {
    /// Deletes each record, identified by its receipt handle. After an error some may be deleted.
    fn delete(&self, receipts: &[String]) -> impl Future<Output = PortResult<()>> + Send;
}

/// Approximate number of records in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCount {
    /// Records that can be received.
    pub visible: u64,
    /// Records that were received and are hidden from other receives.
    pub hidden: u64,
}

/// Counts of records.
pub trait CountRecords: Send + Sync {
    /// Returns the number of records in the queue. SQS counts approximately, up to a minute late.
    fn count(&self) -> impl Future<Output = PortResult<RecordCount>> + Send;
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
    fn put_events(
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

/// Storage for event bodies that are too large for the table.
pub trait EventBodies: Send + Sync {
    /// Stores the body of the event `id` and returns its key. The same body always has the same
    /// key, and a different body never overwrites it.
    fn put_body(
        &self,
        tenant: &TenantId,
        provider: Provider,
        id: EventId,
        body: String,
    ) -> impl Future<Output = PortResult<String>> + Send;
}

/// Reads of event bodies that are too large for the table.
pub trait EventBodyReader: Send + Sync {
    /// Returns the body under `key`; `None` if it has been deleted.
    fn body(&self, key: &str) -> impl Future<Output = PortResult<Option<String>>> + Send;
}

/// Response headers with which a stored file is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeaders {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Disposition`: whether browsers display the file (`inline`) or download it
    /// (`attachment`).
    pub disposition: &'static str,
}

/// Storage of inbound media files.
pub trait MediaStore: Send + Sync {
    /// Returns the storage key for the media of a message.
    fn key(&self, tenant: &TenantId, message: MessageId) -> String;

    /// Stores a file. Who sent the file must not choose its `content_type`.
    fn put(
        &self,
        key: &str,
        content_type: &'static str,
        bytes: bytes::Bytes,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Returns a presigned URL of the file that is valid for `lifetime`. The response to it has
    /// these headers, whichever the file was stored with.
    fn link(
        &self,
        key: &str,
        headers: FileHeaders,
        lifetime: Duration,
    ) -> impl Future<Output = PortResult<String>> + Send;
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The items on the page.
    pub items: Vec<T>,
    /// The cursor of the next page; `None` on the last.
    pub next: Option<String>,
}

/// Credential writes; no method returns a credential.
pub trait CredentialWriter: Send + Sync {
    /// Checks that the integration's credentials can be replaced by `credentials` now. The error is
    /// rate-limited if they were changed too often, and permanent if they are too large.
    fn check_write(
        &self,
        integration: &Integration,
        credentials: &Credentials,
        changed_by: ChangedBy,
    ) -> impl Future<Output = PortResult<()>> + Send;

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
