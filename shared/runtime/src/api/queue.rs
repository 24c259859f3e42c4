//! Jobs, for the tenant's own workers: they ask for one, answer the person, and say that it is
//! done.

use std::ops::RangeInclusive;
use std::time::Duration;

use domain::TenantId;
use domain::conversation::Conversation;
use domain::message::Message;
use domain::ports::{
    Automations, Clock, Dice, JobAnswer, JobEnds, JobFigures, JobReader, Jobs, Library, Offer,
};
use domain::pull::{
    Job, JobEnding, JobStatus, JobTicket, LARGEST_RESULT, LEASE, LONGEST_LEASE, LONGEST_REASON,
    LONGEST_WAIT, MAX_ATTEMPTS, retry_wait,
};
use domain::tenant::Scope;
use http::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use store::DynamoStore;
use tokio::time::Instant;

use super::{ApiReply, ApiRequest, Params, Problem, Resource, Route, schema};
use crate::telemetry::{self, Metric};
use crate::{Error, Kit};

/// How often a worker that waits is looked after.
const LOOK: Duration = Duration::from_secs(1);
/// How often jobs in the way are cleared in one look.
const CLEARINGS: usize = 4;

/// What the resource needs.
#[derive(Debug)]
pub struct Queue<S, C, R> {
    /// The table.
    pub store: S,
    /// The time.
    pub clock: C,
    /// Chance, where several workers want one job; jitter.
    pub dice: R,
}

/// Its operations.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Give a job.
    Next,
    /// Show a job.
    Show,
    /// A job is done.
    Complete,
    /// A job cannot be done.
    Fail,
    /// A job takes longer.
    Heartbeat,
}

/// What is to be worked.
#[derive(Debug, Serialize, JsonSchema)]
struct Payload {
    /// The message, as `GET /messages/{id}` shows it.
    message: Message,
    /// Its conversation: where the answer goes.
    conversation: Option<Conversation>,
}

/// A job.
#[derive(Debug, Serialize, JsonSchema)]
struct JobView {
    /// Its name in all further requests: send it back as you got it, it says whose lease it is.
    job_id: JobTicket,
    /// How far it has come.
    status: JobStatus,
    /// What is to be worked; absent if the message is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    /// When the hub took the message in.
    created_at: Timestamp,
    /// When its last attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    processing_started_at: Option<Timestamp>,
    /// Attempts begun.
    attempt: u32,
    /// Until when the worker has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_expires_at: Option<Timestamp>,
    /// When it is too late to begin it.
    expires_at: Timestamp,
    /// When it came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    /// What the worker left.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    result: Option<Box<RawValue>>,
    /// Why it failed, the last time or for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// There is nothing to do.
#[derive(Debug, Serialize, JsonSchema)]
struct NoJobs {
    /// `no_jobs`.
    status: &'static str,
    /// Jobs that wait for a conversation, or for their next attempt.
    queue_size: u64,
    /// Ask again in so many seconds.
    next_poll_recommended: u64,
}

/// A job, or that there is none.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Next {
    /// A job.
    Job(Box<JobView>),
    /// There is nothing to do.
    None(NoJobs),
}

/// Body of `POST /queue/job/{job_id}/complete`; may be absent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompleteJob {
    /// What to keep of it: any JSON.
    #[serde(default)]
    result: Option<Value>,
}

/// Body of `POST /queue/job/{job_id}/fail`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FailJob {
    /// Why.
    reason: String,
    /// Whether it is to be tried again, after a while; yes if absent.
    #[serde(default = "yes")]
    retry: bool,
}

const fn yes() -> bool {
    true
}

const TENANT: (&str, &str, &str) = ("tenant", "query", "Whose, for the platform's key.");
const LEASE_SECONDS: (&str, &str, &str) =
    ("lease", "query", "Seconds until the job is given to another, 1 to 900; 60 if absent.");

/// The routes of jobs.
pub(crate) const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::Next,
        method: "GET",
        path: "/queue/next-job",
        summary: "Take the oldest job, or wait for one",
        scope: Some(Scope::Worker),
        parameters: &[
            TENANT,
            LEASE_SECONDS,
            ("wait", "query", "Seconds to wait for a job, 0 to 20; 0 if absent."),
        ],
        request: None,
        answer: (200, Some(schema::<Next>)),
    },
    Route {
        operation: Operation::Show,
        method: "GET",
        path: "/queue/job/{job_id}",
        summary: "Show a job",
        scope: Some(Scope::Worker),
        parameters: &[TENANT],
        request: None,
        answer: (200, Some(schema::<JobView>)),
    },
    Route {
        operation: Operation::Complete,
        method: "POST",
        path: "/queue/job/{job_id}/complete",
        summary: "Say that a job is done",
        scope: Some(Scope::Worker),
        parameters: &[TENANT],
        request: Some(schema::<CompleteJob>),
        answer: (200, Some(schema::<JobView>)),
    },
    Route {
        operation: Operation::Fail,
        method: "POST",
        path: "/queue/job/{job_id}/fail",
        summary: "Say that a job cannot be done, now or ever",
        scope: Some(Scope::Worker),
        parameters: &[TENANT],
        request: Some(schema::<FailJob>),
        answer: (200, Some(schema::<JobView>)),
    },
    Route {
        operation: Operation::Heartbeat,
        method: "POST",
        path: "/queue/job/{job_id}/heartbeat",
        summary: "Keep a job for longer",
        scope: Some(Scope::Worker),
        parameters: &[TENANT, LEASE_SECONDS],
        request: None,
        answer: (200, Some(schema::<JobView>)),
    },
];

impl<S, C, R> Resource for Queue<S, C, R>
where
    S: Jobs + JobReader + JobEnds + JobFigures + Library + Automations,
    C: Clock,
    R: Dice,
{
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        let tenant = &request.tenant(Scope::Worker, None)?;
        if matches!(operation, Operation::Next) {
            return self.next(request, tenant).await;
        }
        let ticket: JobTicket = params.get("job_id")?;
        match operation {
            Operation::Next | Operation::Show => self.show(tenant, ticket).await,
            Operation::Complete => self.complete(request, tenant, ticket).await,
            Operation::Fail => self.fail(request, tenant, ticket).await,
            Operation::Heartbeat => {
                let lease = lease(request)?;
                let answer = self.store.extend(tenant, ticket, self.clock.now(), lease).await?;
                reply(ticket, answer)
            }
        }
    }
}

impl<S, C, R> Queue<S, C, R>
where
    S: Jobs + JobReader + JobEnds + JobFigures + Library + Automations,
    C: Clock,
    R: Dice,
{
    async fn next(&self, request: &ApiRequest, tenant: &TenantId) -> Result<ApiReply, Problem> {
        let lease = lease(request)?;
        let wait = seconds(request, "wait", 0..=LONGEST_WAIT.as_secs())?.unwrap_or_default();
        let end = Instant::now() + wait;
        loop {
            if let Some((job, payload)) = self.take(tenant, lease).await? {
                let view = view(job.ticket(), job, Some(payload))?;
                return ApiReply::json(StatusCode::OK, &Next::Job(Box::new(view)));
            }
            let next = Instant::now() + LOOK;
            if next > end {
                break;
            }
            tokio::time::sleep_until(next).await;
        }
        let figures = self.store.figures(tenant, self.clock.now()).await?;
        let none = NoJobs {
            status: "no_jobs",
            queue_size: figures.queued,
            next_poll_recommended: figures.next_poll().as_secs(),
        };
        ApiReply::json(StatusCode::OK, &Next::None(none))
    }

    /// A job and what is to be worked, if there is one.
    async fn take(
        &self,
        tenant: &TenantId,
        lease: Duration,
    ) -> Result<Option<(Job, Payload)>, Problem> {
        for _clearing in 0..CLEARINGS {
            let now = self.clock.now();
            match self.store.offer(tenant, now, lease, self.dice.bits()).await? {
                Offer::Nothing => return Ok(None),
                Offer::Overdue(overdue) => {
                    crate::jobs::end_all(&self.store, tenant, &overdue, now).await?;
                }
                Offer::Job(job) => {
                    let payload = match self.payload(&job).await {
                        Ok(payload) => payload,
                        Err(problem) => {
                            // Nobody got it: it need not wait for its lease to lapse.
                            let reason = "its message could not be read".to_owned();
                            let ending = JobEnding::Retry { reason, at: now };
                            let ticket = job.ticket();
                            let back = self.store.settle_job(tenant, ticket, &ending, None, now);
                            if let Err(error) = back.await {
                                tracing::warn!(%tenant, job_id = %job.id, %error, "job not given back");
                            }
                            return Err(problem);
                        }
                    };
                    if let Some(payload) = payload {
                        telemetry::count(Metric::JobPulled, "jobs", 1);
                        let (job_id, attempt) = (job.id, job.attempt);
                        tracing::info!(%tenant, %job_id, attempt, "job pulled");
                        return Ok(Some((*job, payload)));
                    }
                    // Somebody had the message removed since it came in.
                    let ending = JobEnding::Failed { reason: "its message is gone".to_owned() };
                    let ticket = job.ticket();
                    self.store.settle_job(tenant, ticket, &ending, None, self.clock.now()).await?;
                }
            }
        }
        Ok(None)
    }

    /// What is to be worked; `None` if it is gone.
    async fn payload(&self, job: &Job) -> Result<Option<Payload>, Problem> {
        let (message, conversation) = futures::try_join!(
            self.store.message(&job.tenant, job.id.message()),
            self.store.conversation(&job.tenant, job.conversation),
        )?;
        Ok(message.map(|(message, _)| Payload { message, conversation }))
    }

    async fn show(&self, tenant: &TenantId, ticket: JobTicket) -> Result<ApiReply, Problem> {
        let job = self.store.job(tenant, ticket.id).await?.ok_or_else(Problem::not_found)?;
        let payload = self.payload(&job).await?;
        ApiReply::json(StatusCode::OK, &view(ticket, job, payload)?)
    }

    async fn complete(
        &self,
        request: &ApiRequest,
        tenant: &TenantId,
        ticket: JobTicket,
    ) -> Result<ApiReply, Problem> {
        let asked: CompleteJob =
            if request.body.is_empty() { CompleteJob::default() } else { request.read()? };
        let result = asked.result.as_ref().map(ToString::to_string);
        if result.as_ref().is_some_and(|result| result.len() > LARGEST_RESULT) {
            let detail = format!("at most {LARGEST_RESULT} bytes of JSON; keep the rest yourself");
            return Err(Problem::invalid("result", detail));
        }
        let ending = JobEnding::Completed { result };
        let answer = self.store.settle_job(tenant, ticket, &ending, None, self.clock.now()).await?;
        ended(&answer);
        reply(ticket, answer)
    }

    async fn fail(
        &self,
        request: &ApiRequest,
        tenant: &TenantId,
        ticket: JobTicket,
    ) -> Result<ApiReply, Problem> {
        let FailJob { reason, retry } = request.read()?;
        if reason.trim().is_empty() || reason.len() > LONGEST_REASON {
            return Err(Problem::invalid("reason", format!("1 to {LONGEST_REASON} bytes")));
        }
        let now = self.clock.now();
        let (ending, notice) = if retry && ticket.attempt < MAX_ATTEMPTS {
            let at = now + retry_wait(ticket.attempt, self.dice.fraction());
            (JobEnding::Retry { reason, at }, None)
        } else {
            let job = self.store.job(tenant, ticket.id).await?.ok_or_else(Problem::not_found)?;
            let reason_told = Some(reason.clone());
            let job = Job { status: JobStatus::Failed, reason: reason_told, ..job };
            let automation = self.store.automation(tenant).await?;
            let notice = crate::jobs::notice(&self.store, &automation, &job, now).await?;
            (JobEnding::Failed { reason }, notice)
        };
        let answer = self.store.settle_job(tenant, ticket, &ending, notice.as_ref(), now).await?;
        ended(&answer);
        reply(ticket, answer)
    }
}

/// Says of a job that came to its end that it did.
fn ended(answer: &JobAnswer) {
    if let JobAnswer::Done(job) = answer {
        crate::jobs::tell_log(job);
    }
}

/// How the job stands, in the words that its worker named it by.
fn reply(ticket: JobTicket, answer: JobAnswer) -> Result<ApiReply, Problem> {
    match answer {
        JobAnswer::Done(job) => ApiReply::json(StatusCode::OK, &view(ticket, *job, None)?),
        JobAnswer::Missing => Err(Problem::not_found()),
        JobAnswer::Refused(job) => {
            let detail = format!(
                "it is {}, and the lease of this attempt has lapsed or was given back: nothing \
                 was changed; drop it and ask for the next job",
                job.status.as_str()
            );
            let title = "The job is not yours any more";
            let problem = Problem::new(StatusCode::CONFLICT, "lease_lapsed", title, detail);
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
    Ok(seconds(request, "lease", 1..=LONGEST_LEASE.as_secs())?.unwrap_or(LEASE))
}

/// The query parameter `name`, in seconds.
fn seconds(
    request: &ApiRequest,
    name: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<Duration>, Problem> {
    let Some(text) = request.query(name) else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| range.contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        Problem::invalid(name, format!("seconds, {} to {}", range.start(), range.end()))
    })?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// The resource.
///
/// # Errors
/// If the environment is incomplete.
pub fn resource<N, C: Clone, R: Clone>(
    kit: &Kit<N, C, R>,
) -> Result<Queue<DynamoStore, C, R>, Error> {
    Ok(Queue { store: kit.store()?, clock: kit.clock.clone(), dice: kit.dice.clone() })
}

/// Runs the resource until Lambda ends it.
///
/// # Errors
/// If the environment is incomplete.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let resource = resource(&kit)?;
        resource.store.prewarm().await;
        super::serve(&kit, resource).await
    })
}
