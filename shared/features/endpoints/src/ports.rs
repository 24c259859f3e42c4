//! Ports of the feature: one trait per permission.

use std::time::Duration;

use domain::notification::Notification;
use domain::ports::PortResult;
use domain::{NotificationId, TenantId, TraceContext};
use jiff::Timestamp;

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
}

/// A retry that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRetry {
    /// The tenant that owns the notification.
    pub tenant: TenantId,
    /// The notification.
    pub id: NotificationId,
    /// When it is due.
    pub due_at: Timestamp,
    /// The sort key of the schedule entry, used to remove it.
    pub sort_key: String,
    /// Trace context of the span that scheduled it, so that its attempt is in the same trace.
    pub trace: Option<TraceContext>,
}

/// Schedule of retries that are later than a queue can delay them.
pub trait Schedule: Send + Sync {
    /// Returns up to `limit` retries that are due at `now`.
    fn due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> impl Future<Output = PortResult<Vec<DueRetry>>> + Send;

    /// Removes the retries from the schedule.
    fn remove(&self, due: &[DueRetry]) -> impl Future<Output = PortResult<()>> + Send;
}
