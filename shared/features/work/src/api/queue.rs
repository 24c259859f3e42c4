//! Job queue for the tenant's own workers: a worker pulls a job, replies to the customer and
//! completes the job.

use std::ops::RangeInclusive;
use std::time::Duration;

use accounts::ports::Automations;
use domain::TenantId;
use domain::conversation::Conversation;
use domain::job::JobStatus;
use domain::message::Message;
use domain::ports::{Clock, Rng};
use domain::tenant::Scope;
use http::StatusCode;
use jiff::Timestamp;
use messaging::ports::MessageReader;
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, schema};
use runtime::telemetry::{self, Metric};
use runtime::{AwsEnv, Env, Error, FeatureRepository, Kit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::ending::{self, JobRepositories};
use crate::model::{
    Job, JobOutcome, JobTicket, LEASE, MAX_ATTEMPTS, MAX_LEASE, MAX_REASON_BYTES, MAX_RESULT_BYTES,
    MAX_WAIT, QueueStats, retry_wait,
};
use crate::ports::{JobReader, JobStats, JobUpdate, Jobs, LeaseOutcome};
use crate::waiting::{HeldSlot, Slot};

/// Interval at which the queue is checked for a waiting worker.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Checks after a job was announced: one at once, and two more, after which the jobs that were not
/// announced, because another one was, are in the index.
const CHECKS_OF_ANNOUNCED: u8 = 3;
/// Further checks after a queue was found empty: a job may have moved from one list to the other
/// while they were read.
const CHECKS_OF_EMPTY: u8 = 1;
/// Maximum number of times per check that expired jobs, and jobs whose message no longer exists,
/// are cleared.
const MAX_CLEARINGS: usize = 4;

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Queue<E: Env> {
    /// Jobs, and what their notifications contain.
    pub repositories: JobRepositories,
    /// Clock.
    pub clock: E::Clock,
    /// Random number generator, for jitter and to spread concurrent workers over the queue.
    pub rng: E::Rng,
    /// Slot of the worker that waits in this sandbox.
    pub waiting: HeldSlot,
}

/// Operations of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Pull the next job.
    Pull,
    /// Get a job.
    Get,
    /// Complete a job.
    Complete,
    /// Fail a job.
    Fail,
    /// Extend the lease of a job.
    Heartbeat,
}

/// Payload of a job.
#[derive(Debug, Serialize, JsonSchema)]
struct Payload {
    /// Message to process, as `GET /messages/{id}` returns it.
    message: Message,
    /// Conversation of the message, in which to reply.
    conversation: Option<Conversation>,
}

/// A job.
#[derive(Debug, Serialize, JsonSchema)]
struct JobView {
    /// Job id for all further requests. Send it back unchanged: it also identifies the attempt, and
    /// so the lease.
    job_id: JobTicket,
    /// Status of the job.
    status: JobStatus,
    /// Payload; absent if the message no longer exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    /// When the hub received the message.
    created_at: Timestamp,
    /// When the last attempt started.
    #[serde(skip_serializing_if = "Option::is_none")]
    processing_started_at: Option<Timestamp>,
    /// Number of attempts started.
    attempt: u32,
    /// When the worker's lease expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_expires_at: Option<Timestamp>,
    /// When the job expires: no attempt starts later.
    expires_at: Timestamp,
    /// When the job was completed, failed or expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    /// Result that the worker stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    result: Option<Box<RawValue>>,
    /// Reason of the last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Result of a check of the queue.
enum Pulled {
    /// A job was leased.
    Job(Box<Job>, Box<Payload>),
    /// No job is available.
    Nothing,
    /// The tenant has no unfinished job.
    Empty,
}

/// Response when no job is available.
#[derive(Debug, Serialize, JsonSchema)]
struct NoJobs {
    /// Always `no_jobs`.
    status: &'static str,
    /// Number of waiting jobs: each waits for an earlier job of its conversation or for its next
    /// attempt.
    queue_size: u64,
    /// Recommended seconds until the next request.
    next_poll_recommended: u64,
}

/// A job, or no job.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum NextJob {
    /// A job.
    Job(Box<JobView>),
    /// No job is available.
    None(NoJobs),
}

/// Body of `POST /queue/job/{job_id}/complete`. Optional.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompleteJob {
    /// Result to store with the job: any JSON.
    #[serde(default)]
    result: Option<Value>,
}

/// Body of `POST /queue/job/{job_id}/fail`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FailJob {
    /// Reason of the failure.
    reason: String,
    /// Whether to retry the job, after a backoff. Default: true.
    #[serde(default = "yes")]
    retry: bool,
}

const fn yes() -> bool {
    true
}

const TENANT: (&str, &str, &str) =
    ("tenant", "query", "Tenant to act for. Required with the platform key.");
const LEASE_SECONDS: (&str, &str, &str) =
    ("lease", "query", "Lease time in seconds, 1 to 900. Default: 60.");

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::Pull,
        method: "GET",
        path: "/queue/next-job",
        summary: "Get the oldest available job and lease it; optionally wait for one",
        scope: Some(Scope::Worker),
        parameters: &[
            TENANT,
            LEASE_SECONDS,
            ("wait", "query", "Seconds to wait for a job (long polling), 0 to 20. Default: 0."),
        ],
        request: None,
        answer: (200, Some(schema::<NextJob>)),
    },
    Route {
        operation: Operation::Get,
        method: "GET",
        path: "/queue/job/{job_id}",
        summary: "Get a job",
        scope: Some(Scope::Worker),
        parameters: &[TENANT],
        request: None,
        answer: (200, Some(schema::<JobView>)),
    },
    Route {
        operation: Operation::Complete,
        method: "POST",
        path: "/queue/job/{job_id}/complete",
        summary: "Complete a job",
        scope: Some(Scope::Worker),
        parameters: &[TENANT],
        request: Some(schema::<CompleteJob>),
        answer: (200, Some(schema::<JobView>)),
    },
    Route {
        operation: Operation::Fail,
        method: "POST",
        path: "/queue/job/{job_id}/fail",
        summary: "Fail a job, for this attempt or permanently",
        scope: Some(Scope::Worker),
        parameters: &[TENANT],
        request: Some(schema::<FailJob>),
        answer: (200, Some(schema::<JobView>)),
    },
    Route {
        operation: Operation::Heartbeat,
        method: "POST",
        path: "/queue/job/{job_id}/heartbeat",
        summary: "Extend the lease of a job",
        scope: Some(Scope::Worker),
        parameters: &[TENANT, LEASE_SECONDS],
        request: None,
        answer: (200, Some(schema::<JobView>)),
    },
];

impl<E: Env> Resource for Queue<E> {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        let tenant = &request.tenant(Scope::Worker, None)?;
        if matches!(operation, Operation::Pull) {
            return self.next(request, tenant).await;
        }
        let ticket: JobTicket = params.get("job_id")?;
        match operation {
            Operation::Pull | Operation::Get => self.show(tenant, ticket).await,
            Operation::Complete => self.complete(request, tenant, ticket).await,
            Operation::Fail => self.fail(request, tenant, ticket).await,
            Operation::Heartbeat => {
                let lease = lease(request)?;
                let answer =
                    self.repositories.jobs.extend(tenant, ticket, self.clock.now(), lease).await?;
                reply(ticket, answer)
            }
        }
    }
}

impl<E: Env> Queue<E> {
    async fn next(&self, request: &ApiRequest, tenant: &TenantId) -> Result<ApiReply, Problem> {
        let lease = lease(request)?;
        let wait = seconds(request, "wait", 0..=MAX_WAIT.as_secs())?.unwrap_or_default();
        let end = Instant::now() + wait;
        // Read before the queue, so that no job is between the two.
        let announced =
            if wait.is_zero() { 0 } else { self.repositories.jobs.announced(tenant).await? };
        // On the heap: the future has many kilobytes.
        let mut pulled = Box::pin(self.pull(tenant, lease)).await?;
        if !matches!(pulled, Pulled::Job(..))
            && !wait.is_zero()
            && let Some(slot) = self.begin_waiting(tenant, wait).await
        {
            let waited = self.wait(tenant, lease, end, announced, pulled).await;
            self.waiting.keep(slot);
            pulled = waited?;
        }
        let stats = match pulled {
            Pulled::Job(job, payload) => {
                let view = view(job.ticket(), *job, Some(*payload))?;
                return ApiReply::json(StatusCode::OK, &NextJob::Job(Box::new(view)));
            }
            Pulled::Empty => QueueStats::default(),
            Pulled::Nothing => self.repositories.jobs.stats(tenant, self.clock.now()).await?,
        };
        let none = NoJobs {
            status: "no_jobs",
            queue_size: stats.queued,
            next_poll_recommended: stats.next_poll().as_secs(),
        };
        ApiReply::json(StatusCode::OK, &NextJob::None(none))
    }

    /// Leases a slot for a worker that waits. `None` if as many workers of the tenant wait as may, or
    /// if the table does not answer: the worker is answered at once.
    async fn begin_waiting(&self, tenant: &TenantId, wait: Duration) -> Option<Slot> {
        let (jobs, limits) = (&self.repositories.jobs, &self.repositories.accounts);
        let now = self.clock.now();
        let slot = self.waiting.lease(jobs, limits, &self.rng, tenant, now, now + wait);
        match slot.await {
            Ok(slot) => slot,
            Err(error) => {
                tracing::warn!(%tenant, %error, "worker answered without waiting");
                None
            }
        }
    }

    /// Checks the queue until `end` or until a job is leased; returns the result of the last check.
    /// A queue that was empty twice is checked only after a job was announced, that is if the number
    /// of announced jobs is no longer `announced`.
    async fn wait(
        &self,
        tenant: &TenantId,
        lease: Duration,
        end: Instant,
        mut announced: u64,
        mut pulled: Pulled,
    ) -> Result<Pulled, Problem> {
        let mut checks = CHECKS_OF_EMPTY;
        while Instant::now() < end {
            tokio::time::sleep_until(end.min(Instant::now() + POLL_INTERVAL)).await;
            if matches!(pulled, Pulled::Empty) {
                let before = announced;
                announced = self.repositories.jobs.announced(tenant).await?;
                if announced != before {
                    checks = CHECKS_OF_ANNOUNCED;
                }
                if checks == 0 {
                    continue;
                }
                checks -= 1;
            } else {
                checks = CHECKS_OF_EMPTY;
            }
            pulled = Box::pin(self.pull(tenant, lease)).await?;
            if matches!(pulled, Pulled::Job(..)) {
                break;
            }
        }
        Ok(pulled)
    }

    /// Leases a job and reads its payload, if one is available.
    async fn pull(&self, tenant: &TenantId, lease: Duration) -> Result<Pulled, Problem> {
        for _clearing in 0..MAX_CLEARINGS {
            let now = self.clock.now();
            match self.repositories.jobs.lease_next(tenant, now, lease, self.rng.bits()).await? {
                LeaseOutcome::Nothing => return Ok(Pulled::Nothing),
                LeaseOutcome::Empty => return Ok(Pulled::Empty),
                LeaseOutcome::Overdue(overdue) => {
                    self.repositories.end_all(tenant, &overdue, now).await?;
                }
                LeaseOutcome::Job(job) => {
                    let payload = match self.payload(&job).await {
                        Ok(payload) => payload,
                        Err(problem) => {
                            // No worker received the job: return it before its lease expires.
                            let reason = "the message could not be read".to_owned();
                            let ending = JobOutcome::Retry { reason, at: now };
                            let ticket = job.ticket();
                            let returned = self
                                .repositories
                                .jobs
                                .settle_job(tenant, ticket, &ending, None, now);
                            if let Err(error) = returned.await {
                                tracing::warn!(%tenant, job_id = %job.id, %error, "job not returned");
                            }
                            return Err(problem);
                        }
                    };
                    if let Some(payload) = payload {
                        telemetry::count(Metric::JobPulled, "jobs", 1);
                        let (job_id, attempt) = (job.id, job.attempt);
                        tracing::info!(%tenant, %job_id, attempt, "job pulled");
                        return Ok(Pulled::Job(job, Box::new(payload)));
                    }
                    // The message was deleted after it was received.
                    let reason = "the message no longer exists".to_owned();
                    let ending = JobOutcome::Failed { reason };
                    let ticket = job.ticket();
                    self.repositories
                        .jobs
                        .settle_job(tenant, ticket, &ending, None, self.clock.now())
                        .await?;
                }
            }
        }
        Ok(Pulled::Nothing)
    }

    /// Returns the payload of a job; `None` if its message no longer exists.
    async fn payload(&self, job: &Job) -> Result<Option<Payload>, Problem> {
        let (message, conversation) = futures::try_join!(
            self.repositories.messages.message(&job.tenant, job.id.message()),
            self.repositories.messages.conversation(&job.tenant, job.conversation),
        )?;
        Ok(message.map(|(message, _)| Payload { message, conversation }))
    }

    async fn show(&self, tenant: &TenantId, ticket: JobTicket) -> Result<ApiReply, Problem> {
        let job =
            self.repositories.jobs.job(tenant, ticket.id).await?.ok_or_else(Problem::not_found)?;
        let payload = self.payload(&job).await?;
        ApiReply::json(StatusCode::OK, &view(ticket, job, payload)?)
    }

    async fn complete(
        &self,
        request: &ApiRequest,
        tenant: &TenantId,
        ticket: JobTicket,
    ) -> Result<ApiReply, Problem> {
        let input: CompleteJob =
            if request.body.is_empty() { CompleteJob::default() } else { request.read()? };
        let result = input.result.as_ref().map(ToString::to_string);
        if result.as_ref().is_some_and(|result| result.len() > MAX_RESULT_BYTES) {
            let detail = format!(
                "must be at most {MAX_RESULT_BYTES} bytes of JSON: store larger results yourself"
            );
            return Err(Problem::invalid("result", detail));
        }
        let ending = JobOutcome::Completed { result };
        let answer = self
            .repositories
            .jobs
            .settle_job(tenant, ticket, &ending, None, self.clock.now())
            .await?;
        log_end(&answer);
        reply(ticket, answer)
    }

    async fn fail(
        &self,
        request: &ApiRequest,
        tenant: &TenantId,
        ticket: JobTicket,
    ) -> Result<ApiReply, Problem> {
        let FailJob { reason, retry } = request.read()?;
        if reason.trim().is_empty() || reason.len() > MAX_REASON_BYTES {
            return Err(Problem::invalid(
                "reason",
                format!("must be 1 to {MAX_REASON_BYTES} bytes"),
            ));
        }
        let now = self.clock.now();
        let (ending, notification) = if retry && ticket.attempt < MAX_ATTEMPTS {
            let at = now + retry_wait(ticket.attempt, self.rng.fraction());
            (JobOutcome::Retry { reason, at }, None)
        } else {
            let job = self
                .repositories
                .jobs
                .job(tenant, ticket.id)
                .await?
                .ok_or_else(Problem::not_found)?;
            let job = Job { status: JobStatus::Failed, reason: Some(reason.clone()), ..job };
            let automation = self.repositories.accounts.automation(tenant).await?;
            let notification = self.repositories.notification(&automation, &job, now).await?;
            (JobOutcome::Failed { reason }, notification)
        };
        let notification = notification.as_ref();
        let answer =
            self.repositories.jobs.settle_job(tenant, ticket, &ending, notification, now).await?;
        log_end(&answer);
        reply(ticket, answer)
    }
}

/// Logs the end of a job.
fn log_end(answer: &JobUpdate) {
    if let JobUpdate::Done(job) = answer {
        ending::log_end(job);
    }
}

/// Returns the job's state as a response, with the job id that the worker sent.
fn reply(ticket: JobTicket, answer: JobUpdate) -> Result<ApiReply, Problem> {
    match answer {
        JobUpdate::Done(job) => ApiReply::json(StatusCode::OK, &view(ticket, *job, None)?),
        JobUpdate::Missing => Err(Problem::not_found()),
        JobUpdate::Refused(job) => {
            let detail = format!(
                "the job is {}, and the lease of this attempt has expired or was returned: \
                 nothing was changed; stop working on this job and get the next one",
                job.status.as_str()
            );
            let title = "The lease of the job has expired";
            let problem = Problem::new(StatusCode::CONFLICT, "lease_expired", title, detail);
            Err(problem.at("job_id"))
        }
    }
}

fn view(job_id: JobTicket, job: Job, payload: Option<Payload>) -> Result<JobView, Problem> {
    let result = job.result.map(RawValue::from_string).transpose();
    Ok(JobView {
        job_id,
        status: job.status,
        payload,
        created_at: job.created_at,
        processing_started_at: job.processing_started_at,
        attempt: job.attempt,
        lease_expires_at: job.lease_expires_at,
        expires_at: job.expires_at,
        finished_at: job.finished_at,
        result: result.map_err(|_| Problem::internal())?,
        reason: job.reason,
    })
}

fn lease(request: &ApiRequest) -> Result<Duration, Problem> {
    Ok(seconds(request, "lease", 1..=MAX_LEASE.as_secs())?.unwrap_or(LEASE))
}

/// Returns the query parameter `name`, in seconds.
fn seconds(
    request: &ApiRequest,
    name: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<Duration>, Problem> {
    let Some(text) = request.query(name) else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| range.contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        Problem::invalid(name, format!("must be {} to {} seconds", range.start(), range.end()))
    })?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(kit: &Kit<E>) -> Result<Queue<E>, Error> {
    Ok(Queue {
        repositories: JobRepositories::of(kit)?,
        clock: kit.clock.clone(),
        rng: kit.rng.clone(),
        waiting: HeldSlot::default(),
    })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    accounts::rate_limit::serve(resource, async |resource| {
        resource.repositories.jobs.prewarm().await;
    })
}
