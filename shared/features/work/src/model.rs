//! Jobs: messages that a tenant's own workers pull, one of a conversation at a time.
//!
//! A job moves `queued -> processing -> completed | failed | expired`. The worker that pulls it
//! holds a lease; when a lease expires, the job is offered again as the next attempt.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use domain::id::InvalidId;
use domain::job::JobStatus;
use domain::message::Message;
use domain::{ConversationId, JobId, TenantId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest number of attempts of a job.
pub const MAX_ATTEMPTS: u32 = 5;
/// The default lease.
pub const LEASE: Duration = Duration::from_mins(1);
/// The longest lease; heartbeats extend it.
pub const MAX_LEASE: Duration = Duration::from_mins(15);
/// The longest time that a request for a job may wait (long polling). API Gateway waits for 30 s:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>.
pub const MAX_WAIT: Duration = Duration::from_secs(20);
/// The largest result in bytes of JSON.
pub const MAX_RESULT_BYTES: usize = 32 * 1024;
/// The longest reason in bytes.
pub const MAX_REASON_BYTES: usize = 1000;
/// The reason of a job that failed because no worker ended its last attempt in time.
const LAST_LEASE_EXPIRED: &str = "the lease of the last attempt expired";

/// A job: one customer message for a worker to process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The job id, derived from the message id.
    pub id: JobId,
    /// The tenant that owns the job.
    pub tenant: TenantId,
    /// The conversation, whose jobs are processed in order.
    pub conversation: ConversationId,
    /// The status.
    pub status: JobStatus,
    /// Number of attempts started.
    pub attempt: u32,
    /// When the hub received the message.
    pub created_at: Timestamp,
    /// When it expires: no attempt starts after this.
    pub expires_at: Timestamp,
    /// When its last attempt started.
    pub processing_started_at: Option<Timestamp>,
    /// When the worker's lease expires, while a worker holds it.
    pub lease_expires_at: Option<Timestamp>,
    /// When it completed, failed or expired.
    pub finished_at: Option<Timestamp>,
    /// The worker's result, as JSON.
    pub result: Option<String>,
    /// Why the last attempt, or the job, failed.
    pub reason: Option<String>,
}

impl Job {
    /// Creates the job for `message`.
    #[must_use]
    pub fn new(message: &Message, time_to_live: Duration) -> Self {
        Self {
            id: JobId::of(message.id),
            tenant: message.tenant.clone(),
            conversation: message.conversation,
            status: JobStatus::Queued,
            attempt: 0,
            created_at: message.created_at,
            expires_at: message.created_at + time_to_live,
            processing_started_at: None,
            lease_expires_at: None,
            finished_at: None,
            result: None,
            reason: None,
        }
    }

    /// Returns the identifier under which workers know the current attempt.
    #[must_use]
    pub const fn ticket(&self) -> JobTicket {
        JobTicket { id: self.id, attempt: if self.attempt == 0 { 1 } else { self.attempt } }
    }

    /// Returns the final status and the reason if a job that no worker holds can no longer be
    /// offered at `now`: all attempts were made, or its time to live is over.
    #[must_use]
    pub fn overdue_status(&self, now: Timestamp) -> Option<(JobStatus, &'static str)> {
        if self.attempt >= MAX_ATTEMPTS {
            return Some((JobStatus::Failed, LAST_LEASE_EXPIRED));
        }
        if self.expires_at <= now {
            return Some((JobStatus::Expired, "no worker completed it within its time to live"));
        }
        None
    }
}

/// A job and an attempt: the identifier that a worker receives and sends back.
///
/// As text, the first attempt is the job id alone, a later one `<id>.<attempt>`. It is a fencing
/// token: after a lease has expired, the identifier of the next worker's attempt differs, so that
/// calls of the previous worker are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTicket {
    /// The job id.
    pub id: JobId,
    /// The attempt, counted from 1.
    pub attempt: u32,
}

impl fmt::Display for JobTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            0 | 1 => write!(f, "{}", self.id),
            attempt => write!(f, "{}.{attempt}", self.id),
        }
    }
}

impl FromStr for JobTicket {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((id, attempt)) = text.split_once('.') else {
            return Ok(Self { id: text.parse()?, attempt: 1 });
        };
        let id: JobId = id.parse()?;
        let written = Self { id, attempt: attempt.parse().unwrap_or_default() };
        // Only the canonical spelling is accepted.
        if written.to_string() == text { Ok(written) } else { Err(InvalidId(JobId::PREFIX)) }
    }
}

impl Serialize for JobTicket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobTicket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for JobTicket {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JobTicket".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^job_[0-9A-HJKMNP-TV-Z]{26}(\\.[0-9]+)?$",
        })
    }
}

/// The outcome of an attempt, as the worker reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// The job is completed.
    Completed {
        /// The worker's result, as JSON.
        result: Option<String>,
    },
    /// The job cannot be completed.
    Failed {
        /// The reason.
        reason: String,
    },
    /// The job is to be attempted again.
    Retry {
        /// The reason.
        reason: String,
        /// No earlier than this.
        at: Timestamp,
    },
}

impl JobOutcome {
    /// Returns the status of the job after this outcome.
    #[must_use]
    pub const fn status(&self) -> JobStatus {
        match self {
            Self::Completed { .. } => JobStatus::Completed,
            Self::Failed { .. } => JobStatus::Failed,
            Self::Retry { .. } => JobStatus::Queued,
        }
    }

    /// Whether `attempt` already ended `job` with this outcome, as a repeated call finds it. A job
    /// whose last lease expired was not ended by its worker.
    #[must_use]
    pub fn is_recorded_in(&self, job: &Job, attempt: u32) -> bool {
        job.attempt == attempt
            && job.status == self.status()
            && job.reason.as_deref() != Some(LAST_LEASE_EXPIRED)
    }
}

/// Returns the wait after failed attempt number `attempt` (from 1).
///
/// `jitter` (uniform in `0.0..1.0`) subtracts up to half, so that conversations that failed
/// together are not retried together.
#[must_use]
pub fn retry_wait(attempt: u32, jitter: f64) -> Duration {
    let longest = Duration::from_secs(10) * 3_u32.saturating_pow(attempt.saturating_sub(1).min(4));
    longest.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

/// Job counters of a tenant, and recent processing times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Number of queued jobs.
    pub queued: u64,
    /// Number of jobs in processing, whose lease has not expired.
    pub processing: u64,
    /// Number of jobs completed in the last hours.
    pub completed: u64,
    /// Total processing time of their last attempts.
    pub busy: Duration,
}

impl QueueStats {
    /// Counts `expired` jobs whose lease has expired as queued: they are offered again, but stay in
    /// the counter of the jobs in processing until a worker pulls them or they end.
    #[must_use]
    pub fn without_expired_leases(self, expired: u64) -> Self {
        let expired = expired.min(self.processing);
        Self {
            queued: self.queued.saturating_add(expired),
            processing: self.processing - expired,
            ..self
        }
    }

    /// Estimates the time until the job at `position` (from 1) is completed; `None` if no job was
    /// completed recently. Assumes one worker per job in processing.
    #[must_use]
    pub fn estimate(&self, position: u64) -> Option<Duration> {
        let completed = u32::try_from(self.completed).unwrap_or(u32::MAX);
        let mean = self.busy.checked_div(completed)?;
        let rounds = position.max(1).div_ceil(self.processing.max(1));
        Some(mean.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX)))
    }

    /// Returns when a worker that received no job should poll again. Jobs that are queued behind a
    /// job in processing become available as soon as that job ends.
    #[must_use]
    pub const fn next_poll(&self) -> Duration {
        if self.queued > 0 { Duration::from_secs(1) } else { Duration::from_secs(5) }
    }
}

/// Heartbeat of the hub, from which the health check derives its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSnapshot {
    /// Number of queued jobs of all tenants.
    pub queued: u64,
    /// Number of jobs of all tenants in processing.
    pub processing: u64,
    /// When the counts were taken.
    pub beat_at: Timestamp,
    /// Start of the current series of heartbeats without a gap.
    pub up_since: Timestamp,
}

impl HealthSnapshot {
    /// The longest interval between two heartbeats of a healthy hub; one is recorded every minute.
    pub const MAX_GAP: Duration = Duration::from_mins(3);

    /// Creates the heartbeat at `now` that follows `before`.
    #[must_use]
    pub fn following(before: Option<Self>, queued: u64, processing: u64, now: Timestamp) -> Self {
        let in_time = before.filter(|before| !before.is_late(now));
        let up_since = in_time.map_or(now, |before| before.up_since);
        Self { queued, processing, beat_at: now, up_since }
    }

    /// Whether the next heartbeat is overdue at `now`.
    #[must_use]
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.beat_at + Self::MAX_GAP < now
    }
}

#[cfg(test)]
mod tests {
    use domain::MessageId;
    use proptest::prelude::*;

    use super::*;

    fn id() -> JobId {
        JobId::of(MessageId::derived(&["a"]))
    }

    fn job(attempt: u32) -> Job {
        Job {
            id: id(),
            tenant: TenantId::platform(),
            conversation: ConversationId::derived(&["c"]),
            status: JobStatus::Queued,
            attempt,
            created_at: at(0),
            expires_at: at(100),
            processing_started_at: None,
            lease_expires_at: None,
            finished_at: None,
            result: None,
            reason: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_ticket_shows_the_attempt_from_the_second_one_on() {
        for (attempt, written) in [(1, id().to_string()), (2, format!("{}.2", id()))] {
            let ticket = JobTicket { id: id(), attempt };
            assert_eq!(ticket.to_string(), written);
            assert_eq!(written.parse::<JobTicket>().unwrap(), ticket);
        }
        for wrong in [".1", ".0", ".", ".02", ".2.2", ".-2", ".+2"] {
            assert!(format!("{}{wrong}", id()).parse::<JobTicket>().is_err(), "{wrong}");
        }
        assert_eq!(job(0).ticket().to_string(), id().to_string());
        assert_eq!(id().message(), MessageId::derived(&["a"]));
    }

    #[test]
    fn a_job_ends_after_its_last_attempt_or_its_time_to_live() {
        let verdict =
            |attempt, second| job(attempt).overdue_status(at(second)).map(|(status, _)| status);
        assert_eq!(verdict(0, 99), None);
        assert_eq!(verdict(MAX_ATTEMPTS - 1, 99), None);
        assert_eq!(verdict(0, 100), Some(JobStatus::Expired));
        assert_eq!(verdict(MAX_ATTEMPTS, 0), Some(JobStatus::Failed));
        assert_eq!(verdict(MAX_ATTEMPTS, 100), Some(JobStatus::Failed));
    }

    #[test]
    fn the_end_of_a_job_whose_last_lease_expired_is_not_the_outcome_of_a_late_worker() {
        let failed = JobOutcome::Failed { reason: "no".to_owned() };
        let ended = |reason: &str| Job {
            status: JobStatus::Failed,
            reason: Some(reason.to_owned()),
            ..job(MAX_ATTEMPTS)
        };
        assert!(failed.is_recorded_in(&ended("no"), MAX_ATTEMPTS), "a repeated call");
        let (_, reason) = job(MAX_ATTEMPTS).overdue_status(at(0)).unwrap();
        assert!(!failed.is_recorded_in(&ended(reason), MAX_ATTEMPTS));
    }

    #[test]
    fn an_expired_lease_counts_as_queued() {
        let stats = QueueStats { queued: 3, processing: 2, ..QueueStats::default() };
        let counts = |expired| {
            let stats = stats.without_expired_leases(expired);
            (stats.queued, stats.processing)
        };
        assert_eq!([counts(0), counts(1), counts(2)], [(3, 2), (4, 1), (5, 0)]);
        // The counter and the list are not read at the same time.
        assert_eq!(counts(9), (5, 0));
    }

    #[test]
    fn an_estimate_is_the_mean_time_for_each_round_of_the_workers() {
        let stats =
            QueueStats { queued: 10, processing: 2, completed: 4, busy: Duration::from_secs(12) };
        for (position, seconds) in [(0, 3), (1, 3), (2, 3), (3, 6), (11, 18)] {
            assert_eq!(stats.estimate(position), Some(Duration::from_secs(seconds)));
        }
        let idle = QueueStats { processing: 0, ..stats };
        assert_eq!(idle.estimate(3), Some(Duration::from_secs(9)));
        assert_eq!(QueueStats::default().estimate(1), None);
    }

    #[test]
    fn a_gap_between_heartbeats_resets_the_uptime() {
        let first = HealthSnapshot::following(None, 1, 2, at(0));
        assert_eq!(first.up_since, at(0));
        let second = HealthSnapshot::following(Some(first), 3, 4, at(60));
        assert_eq!((second.up_since, second.queued, second.beat_at), (at(0), 3, at(60)));
        assert!(!second.is_late(at(240)) && second.is_late(at(241)));
        assert_eq!(HealthSnapshot::following(Some(second), 0, 0, at(241)).up_since, at(241));
    }

    proptest! {
        #[test]
        fn waits_grow_with_the_attempt_and_jitter_subtracts_at_most_half(
            attempt in 1_u32..MAX_ATTEMPTS, jitter in 0.0..1.0,
        ) {
            let (wait, longest) = (retry_wait(attempt, jitter), retry_wait(attempt, 0.0));
            prop_assert!(wait <= longest && wait >= longest / 2);
            prop_assert!(longest < retry_wait(attempt + 1, 0.0));
            prop_assert!(longest < MAX_LEASE);
        }

        #[test]
        fn a_ticket_parses_back(bits: u128, attempt in 1_u32..100) {
            let id = JobId::of(MessageId::new(Timestamp::UNIX_EPOCH, bits));
            let ticket = JobTicket { id, attempt };
            prop_assert_eq!(ticket.to_string().parse::<JobTicket>().unwrap(), ticket);
        }
    }
}
