//! Ports of the feature: one trait per permission.

use std::time::Duration;

use domain::notification::Notification;
use domain::ports::{PortResult, Recorded};
use domain::{JobId, TenantId};
use jiff::Timestamp;

use crate::model::{HealthSnapshot, Job, JobOutcome, JobTicket, QueueStats};

/// Job counters.
pub trait JobStats: Send + Sync {
    /// Returns the tenant's counters at `now`. They are stored, and read eventually consistently:
    /// they may miss changes of about the last second. Only the jobs whose lease has expired, of
    /// which about 1,000 conversations are read, count as queued without a write.
    fn stats(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<QueueStats>> + Send;

    /// Returns whether the tenant has an unfinished job, read consistently.
    fn has_unfinished(&self, tenant: &TenantId) -> impl Future<Output = PortResult<bool>> + Send;
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
    pub sort_key: String,
}

/// Outcome of a worker's request for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// A job, leased to the worker.
    Job(Box<Job>),
    /// No job yet: these jobs must be ended first.
    Overdue(Vec<OverdueJob>),
    /// No conversation has a job that can be offered.
    Nothing,
    /// No conversation has a job.
    Empty,
}

/// Outcome of a worker's call about its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobUpdate {
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
    /// at a time. Of many conversations, a random part is read, and its oldest job is leased.
    /// `chance` is the random number, which also spreads concurrent workers over the available jobs.
    fn lease_next(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        lease: Duration,
        chance: u128,
    ) -> impl Future<Output = PortResult<LeaseOutcome>> + Send;

    /// Returns the number of announced jobs of the tenant, eventually consistently. It changes when a
    /// job can be pulled, except for jobs that become available within a second after an announced
    /// one, or when another job of their conversation ends.
    fn announced(&self, tenant: &TenantId) -> impl Future<Output = PortResult<u64>> + Send;

    /// Extends a running lease to at least `now + lease`.
    fn extend(
        &self,
        tenant: &TenantId,
        ticket: JobTicket,
        now: Timestamp,
        lease: Duration,
    ) -> impl Future<Output = PortResult<JobUpdate>> + Send;

    /// Ends an attempt whose lease is running and makes the conversation's next job available;
    /// `notification`, if any, is recorded in the same write. Idempotent.
    fn settle_job(
        &self,
        tenant: &TenantId,
        ticket: JobTicket,
        ending: &JobOutcome,
        notification: Option<&Notification>,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<JobUpdate>> + Send;
}

/// Ending of overdue jobs.
pub trait EndOverdueJobs: Send + Sync {
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
    /// Returns jobs of the tenant that are overdue at `now`: a bounded part of them.
    fn overdue(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Vec<OverdueJob>>> + Send;

    /// Records a heartbeat, unless a newer one is stored.
    fn record_heartbeat(
        &self,
        health: &HealthSnapshot,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Slots of waiting workers. A slot is free again when its lease expires.
pub trait WaitingWorkers: Send + Sync {
    /// Returns the tenant's slots that are leased at `now`.
    fn leased_slots(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Vec<u32>>> + Send;

    /// Leases a slot until `until`; returns `false` if another worker has it. `held_until` is the end
    /// of the lease to extend, if the caller has one.
    fn lease_slot(
        &self,
        tenant: &TenantId,
        slot: u32,
        held_until: Option<Timestamp>,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = PortResult<bool>> + Send;
}

/// Heartbeat reads, for the health check.
pub trait HealthReader: Send + Sync {
    /// Returns the last heartbeat; `None` before the first.
    fn health(&self) -> impl Future<Output = PortResult<Option<HealthSnapshot>>> + Send;
}
