//! Ports that every feature needs: the traits through which handlers reach queues, object storage,
//! credentials, clocks and other services. Each feature has further ports for its own table.
//!
//! Each trait is one permission: a handler that takes only [`Publisher`] needs no other right, and
//! its IAM policy grants no other.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use crate::fault::Classify;
use crate::record::EventRecord;
use crate::{Credentials, Fault, Integration, IntegrationId, MessageId, Provider, TenantId};

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

/// Storage of inbound media files.
pub trait MediaStore: Send + Sync {
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
