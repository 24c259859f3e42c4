//! Jobs: messages that a tenant's own workers pull, one of a conversation at a time.
//!
//! A job goes `queued -> processing -> completed | failed | expired`. Whoever pulls it has it
//! for the time of a lease; a lease that lapses is offered again, as the next attempt.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::InvalidId;
use crate::message::Message;
use crate::{ConversationId, JobId, TenantId};

/// Attempts that a job is given.
pub const MAX_ATTEMPTS: u32 = 5;
/// A lease, if none is asked for.
pub const LEASE: Duration = Duration::from_mins(1);
/// The longest lease; heartbeats make it longer.
pub const LONGEST_LEASE: Duration = Duration::from_mins(15);
/// The longest that a worker may wait for a job in one request. API Gateway waits for 30 s:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>.
pub const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How long a job may wait to be done, if the tenant does not say.
pub const TIME_TO_LIVE: Duration = Duration::from_hours(24);
/// The shortest time to live.
pub const SHORTEST_TIME_TO_LIVE: Duration = Duration::from_mins(1);
/// The longest time to live: far below what the table keeps of a job.
pub const LONGEST_TIME_TO_LIVE: Duration = Duration::from_hours(7 * 24);
/// The largest result in bytes of JSON.
pub const LARGEST_RESULT: usize = 32 * 1024;
/// The longest reason in bytes.
pub const LONGEST_REASON: usize = 1000;

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It waits for a worker: for the first time, or again.
    Queued,
    /// A worker pulled it.
    Processing,
    /// A worker did it.
    Completed,
    /// A worker says it cannot be done, or its last lease lapsed.
    Failed,
    /// Nobody did it in its time.
    Expired,
}

impl JobStatus {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::Processing, Self::Completed, Self::Failed, Self::Expired];

    /// The name in the API and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether nothing more will become of it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Expired)
    }
}

/// One job: one message of a person, to be worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id; that of its message.
    pub id: JobId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The talk it is worked in the order of.
    pub conversation: ConversationId,
    /// How far it has come.
    pub status: JobStatus,
    /// Attempts begun.
    pub attempt: u32,
    /// When the hub took its message in.
    pub created_at: Timestamp,
    /// When it is too late to begin it.
    pub expires_at: Timestamp,
    /// When its last attempt began.
    pub processing_started_at: Option<Timestamp>,
    /// Until when the worker has it, while one does.
    pub lease_expires_at: Option<Timestamp>,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
    /// What the worker left, as JSON.
    pub result: Option<String>,
    /// Why it failed, the last time or for good.
    pub reason: Option<String>,
}

impl Job {
    /// The job that `message` is to be worked, within `time_to_live`.
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

    /// What a worker names it by.
    #[must_use]
    pub const fn ticket(&self) -> JobTicket {
        JobTicket { id: self.id, attempt: if self.attempt == 0 { 1 } else { self.attempt } }
    }

    /// How it ends if it cannot be offered at `now`, though no worker has it: all attempts were
    /// made, or its time is over.
    #[must_use]
    pub fn verdict(&self, now: Timestamp) -> Option<(JobStatus, &'static str)> {
        if self.attempt >= MAX_ATTEMPTS {
            return Some((JobStatus::Failed, "the lease of its last attempt lapsed"));
        }
        if self.expires_at <= now {
            return Some((JobStatus::Expired, "no worker did it within its time to live"));
        }
        None
    }
}

/// What a worker names a job by: the job, and which attempt at it is theirs.
///
/// Written, the first attempt is the job's id alone, a later one `<id>.<attempt>`. A worker that
/// sends back what it was given is fenced without knowing it: once its lease lapsed, what it
/// names is not what the next worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobTicket {
    /// Which job.
    pub id: JobId,
    /// Which attempt, counted from 1.
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
        // One spelling for each.
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

/// How a worker ends its attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnding {
    /// It is done.
    Completed {
        /// What the worker leaves, as JSON.
        result: Option<String>,
    },
    /// It cannot be done.
    Failed {
        /// Why.
        reason: String,
    },
    /// It is to be tried again.
    Retry {
        /// Why.
        reason: String,
        /// Not before.
        at: Timestamp,
    },
}

impl JobEnding {
    /// How the job stands after it.
    #[must_use]
    pub const fn status(&self) -> JobStatus {
        match self {
            Self::Completed { .. } => JobStatus::Completed,
            Self::Failed { .. } => JobStatus::Failed,
            Self::Retry { .. } => JobStatus::Queued,
        }
    }

    /// Whether `job` was ended like this by `attempt`: what a repetition finds.
    #[must_use]
    pub fn was(&self, job: &Job, attempt: u32) -> bool {
        job.attempt == attempt && job.status == self.status()
    }
}

/// How long to wait before the attempt after failed attempt number `attempt` (from 1).
///
/// Up to half is taken off by `jitter` (uniform in `0.0..1.0`), so that conversations that
/// failed together are not tried together.
#[must_use]
pub fn retry_wait(attempt: u32, jitter: f64) -> Duration {
    let longest = Duration::from_secs(10) * 3_u32.saturating_pow(attempt.saturating_sub(1).min(4));
    longest.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

/// How many jobs a tenant has, and how fast they were done lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFigures {
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs that workers pulled and did not end.
    pub processing: u64,
    /// Jobs completed in the last hours.
    pub completed: u64,
    /// How long their last attempts took together.
    pub busy: Duration,
}

impl QueueFigures {
    /// How long the job at `position` (from 1) will take until it is done; `None` if none was
    /// done lately. As many workers are taken to be there as jobs are in process.
    #[must_use]
    pub fn estimate(&self, position: u64) -> Option<Duration> {
        let completed = u32::try_from(self.completed).unwrap_or(u32::MAX);
        let mean = self.busy.checked_div(completed)?;
        let rounds = position.max(1).div_ceil(self.processing.max(1));
        Some(mean.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX)))
    }

    /// When a worker that got nothing should ask again. What waits behind a job in process is
    /// free as soon as that ends.
    #[must_use]
    pub const fn next_poll(&self) -> Duration {
        if self.queued > 0 { Duration::from_secs(1) } else { Duration::from_secs(5) }
    }
}

/// What the hub says of itself to anybody who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Jobs of all tenants that wait.
    pub queued: u64,
    /// Jobs of all tenants that are in process.
    pub processing: u64,
    /// When this was counted.
    pub beat_at: Timestamp,
    /// Since when it has been counted without a gap.
    pub up_since: Timestamp,
}

impl Pulse {
    /// The longest between two beats of a hub that is well; it beats each minute.
    pub const LONGEST_GAP: Duration = Duration::from_mins(3);

    /// The beat at `now` that follows on `before`.
    #[must_use]
    pub fn following(before: Option<Self>, queued: u64, processing: u64, now: Timestamp) -> Self {
        let well = before.filter(|before| !before.is_late(now));
        let up_since = well.map_or(now, |before| before.up_since);
        Self { queued, processing, beat_at: now, up_since }
    }

    /// Whether the next beat should have come by `now`.
    #[must_use]
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.beat_at + Self::LONGEST_GAP < now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::MessageId;

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
    fn a_ticket_names_a_job_and_from_the_second_attempt_on_which_one() {
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
    fn a_job_ends_by_itself_after_its_last_attempt_or_its_time() {
        let verdict = |attempt, second| job(attempt).verdict(at(second)).map(|(status, _)| status);
        assert_eq!(verdict(0, 99), None);
        assert_eq!(verdict(MAX_ATTEMPTS - 1, 99), None);
        assert_eq!(verdict(0, 100), Some(JobStatus::Expired));
        assert_eq!(verdict(MAX_ATTEMPTS, 0), Some(JobStatus::Failed));
        assert_eq!(verdict(MAX_ATTEMPTS, 100), Some(JobStatus::Failed));
    }

    #[test]
    fn names_read_back_and_ends_are_ends() {
        for status in JobStatus::ALL {
            assert_eq!(JobStatus::from_name(status.as_str()), Some(status));
        }
        let ends: Vec<_> = JobStatus::ALL.into_iter().filter(|status| status.is_final()).collect();
        assert_eq!(ends, [JobStatus::Completed, JobStatus::Failed, JobStatus::Expired]);
    }

    #[test]
    fn an_estimate_is_the_mean_for_each_round_of_the_workers() {
        let figures =
            QueueFigures { queued: 10, processing: 2, completed: 4, busy: Duration::from_secs(12) };
        for (position, seconds) in [(0, 3), (1, 3), (2, 3), (3, 6), (11, 18)] {
            assert_eq!(figures.estimate(position), Some(Duration::from_secs(seconds)));
        }
        let idle = QueueFigures { processing: 0, ..figures };
        assert_eq!(idle.estimate(3), Some(Duration::from_secs(9)));
        assert_eq!(QueueFigures::default().estimate(1), None);
    }

    #[test]
    fn a_gap_in_the_pulse_begins_its_time_anew() {
        let first = Pulse::following(None, 1, 2, at(0));
        assert_eq!(first.up_since, at(0));
        let second = Pulse::following(Some(first), 3, 4, at(60));
        assert_eq!((second.up_since, second.queued, second.beat_at), (at(0), 3, at(60)));
        assert!(!second.is_late(at(240)) && second.is_late(at(241)));
        assert_eq!(Pulse::following(Some(second), 0, 0, at(241)).up_since, at(241));
    }

    proptest! {
        #[test]
        fn waits_grow_with_the_attempt_and_jitter_takes_at_most_half(
            attempt in 1_u32..MAX_ATTEMPTS, jitter in 0.0..1.0,
        ) {
            let (wait, longest) = (retry_wait(attempt, jitter), retry_wait(attempt, 0.0));
            prop_assert!(wait <= longest && wait >= longest / 2);
            prop_assert!(longest < retry_wait(attempt + 1, 0.0));
            prop_assert!(longest < LONGEST_LEASE);
        }

        #[test]
        fn what_is_written_of_a_ticket_reads_back(bits: u128, attempt in 1_u32..100) {
            let id = JobId::of(MessageId::new(Timestamp::UNIX_EPOCH, bits));
            let ticket = JobTicket { id, attempt };
            prop_assert_eq!(ticket.to_string().parse::<JobTicket>().unwrap(), ticket);
        }
    }
}
