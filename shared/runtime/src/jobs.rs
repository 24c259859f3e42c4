//! Job maintenance, once a minute: ends overdue jobs, notifies their tenants, and records the
//! queue sizes for the health check.

use domain::TenantId;
use domain::automation::{Automation, EndedJob, Notification, NotificationData, NotificationKind};
use domain::ports::{
    Automations, Clock, HealthReader, JobEnds, JobFigures, JobSweep, MessageReader, OverdueJob,
    PortResult, Recorded,
};
use domain::pull::{HealthSnapshot, Job, JobStatus, QueueFigures};
use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use lambda_runtime::{LambdaEvent, service_fn};
use store::DynamoStore;

use crate::telemetry::{self, Metric};
use crate::{Error, Kit, SystemClock};

/// Page size of the list of tenants.
const PAGE: u32 = 500;
/// Number of tenants that are processed, and jobs that are ended, concurrently.
const CONCURRENCY: usize = 8;
/// Maximum number of rounds over all tenants in one invocation, so that it ends in time.
const MAX_ROUNDS: usize = 20;
/// Time limit for rounds: the function may run for 50 s.
const BUDGET: jiff::SignedDuration = jiff::SignedDuration::from_secs(35);

/// Ends the overdue jobs of all tenants; returns how many. The rest waits for the next run.
///
/// # Errors
/// If the table fails. Ended jobs stay ended, and the next run finds the rest.
pub async fn handle<S, C>(store: &S, clock: &C) -> PortResult<usize>
where
    S: JobSweep + JobEnds + JobFigures + HealthReader + MessageReader + Automations,
    C: Clock,
{
    let started = clock.now();
    let mut remaining = tenants(store).await?;
    let mut figures: Vec<QueueFigures> = Vec::with_capacity(remaining.len());
    for tenants in remaining.chunks(CONCURRENCY) {
        let counted = tenants.iter().map(|tenant| store.figures(tenant, started));
        figures.extend(try_join_all(counted).await?);
    }
    let queued = figures.iter().map(|figures| figures.queued).sum();
    let processing = figures.iter().map(|figures| figures.processing).sum();
    for (tenant, figures) in remaining.iter().zip(&figures) {
        // A tenant that stopped pulling is tracked until it has no jobs.
        if figures.queued == 0
            && figures.processing == 0
            && !matches!(store.automation(tenant).await?, Automation::Pull(_))
        {
            store.stop_tracking(tenant).await?;
        }
    }
    let (mut total, mut first_error) = (0, None);
    for round in 0..MAX_ROUNDS {
        // Work in rounds, so that a tenant with many jobs does not delay the others.
        let mut swept: Vec<usize> = Vec::with_capacity(remaining.len());
        for tenants in remaining.chunks(CONCURRENCY) {
            let found = tenants.iter().map(|tenant| sweep(store, tenant, clock.now()));
            for (tenant, found) in tenants.iter().zip(join_all(found).await) {
                // A failure of one tenant must not affect the others.
                swept.push(found.unwrap_or_else(|error| {
                    tracing::error!(%tenant, %error, "jobs not swept; the next run tries again");
                    first_error.get_or_insert(error);
                    0
                }));
            }
        }
        total += swept.iter().sum::<usize>();
        if round == 0 {
            // Record the heartbeat only now, because it reports that the jobs were processed.
            let before = store.health().await?;
            store
                .record_heartbeat(&HealthSnapshot::following(before, queued, processing, started))
                .await?;
        }
        remaining =
            remaining.into_iter().zip(&swept).filter(|(_, n)| **n > 0).map(|(id, _)| id).collect();
        if remaining.is_empty() || clock.now().duration_since(started) > BUDGET {
            break;
        }
    }
    first_error.map_or(Ok(total), Err)
}

async fn tenants<S: JobSweep>(store: &S) -> PortResult<Vec<TenantId>> {
    let (mut tenants, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.pulling(PAGE, cursor.as_deref()).await?;
        tenants.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(tenants);
        }
    }
}

/// Ends a batch of the tenant's overdue jobs. Returns how many were found, including those that
/// were already ended: where the index lags, there may be more.
async fn sweep<S>(store: &S, tenant: &TenantId, now: Timestamp) -> PortResult<usize>
where
    S: JobSweep + JobEnds + MessageReader + Automations,
{
    let overdue = store.overdue(tenant, now).await?;
    end_all(store, tenant, &overdue, now).await?;
    Ok(overdue.len())
}

/// Ends overdue jobs of a tenant; returns how many were not yet ended.
pub(crate) async fn end_all<S>(
    store: &S,
    tenant: &TenantId,
    overdue: &[OverdueJob],
    now: Timestamp,
) -> PortResult<usize>
where
    S: JobEnds + MessageReader + Automations,
{
    if overdue.is_empty() {
        return Ok(0);
    }
    let automation = &store.automation(tenant).await?;
    let mut ended = 0;
    for overdue in overdue.chunks(CONCURRENCY) {
        let results = overdue.iter().map(|overdue| end(store, automation, overdue, now));
        let results = try_join_all(results).await?;
        ended += results.into_iter().filter(|recorded| *recorded == Recorded::New).count();
    }
    Ok(ended)
}

async fn end<S>(
    store: &S,
    automation: &Automation,
    overdue: &OverdueJob,
    now: Timestamp,
) -> PortResult<Recorded>
where
    S: JobEnds + MessageReader,
{
    let notification = notification(store, automation, &overdue.job, now).await?;
    let recorded = store.end(overdue, notification.as_ref(), now).await?;
    if recorded == Recorded::New {
        log_end(&overdue.job);
    }
    Ok(recorded)
}

/// Returns the notification about a failed or expired job, if the tenant has a webhook endpoint.
pub(crate) async fn notification<S: MessageReader>(
    store: &S,
    automation: &Automation,
    job: &Job,
    now: Timestamp,
) -> PortResult<Option<Notification>> {
    let kind = match job.status {
        JobStatus::Failed => NotificationKind::JobFailed,
        JobStatus::Expired => NotificationKind::JobExpired,
        JobStatus::Queued | JobStatus::Processing | JobStatus::Completed => return Ok(None),
    };
    if automation.listener().is_none() {
        return Ok(None);
    }
    // The notification contains the message; without it there is no notification.
    let Some((message, _)) = store.message(&job.tenant, job.id.message()).await? else {
        return Ok(None);
    };
    let conversation = store.conversation(&job.tenant, message.conversation).await?;
    let ended = EndedJob {
        job_id: job.id,
        status: job.status,
        attempt: job.attempt,
        reason: job.reason.clone().unwrap_or_default(),
    };
    let tenant = job.tenant.clone();
    let data = NotificationData { tenant, message, conversation, job: Some(ended) };
    Ok(Some(Notification { kind, timestamp: now, data }))
}

/// Counts and logs the end of a job. The reason is not logged, because the worker wrote it and
/// it may name people.
pub(crate) fn log_end(job: &Job) {
    let (metric, part) = match job.status {
        JobStatus::Completed => (Metric::JobCompleted, "jobs"),
        JobStatus::Expired => (Metric::JobExpired, "jobs"),
        JobStatus::Failed => (Metric::JobFailed, "jobs"),
        JobStatus::Queued | JobStatus::Processing => return,
    };
    telemetry::count(metric, part, 1);
    let (tenant, status, attempt) = (&job.tenant, job.status.as_str(), job.attempt);
    if job.status == JobStatus::Completed {
        tracing::info!(%tenant, job_id = %job.id, status, attempt, "job ended");
    } else {
        tracing::warn!(%tenant, job_id = %job.id, status, attempt, "job ended without completion");
    }
}

/// Builds the table of the schedule from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn parts<N, C, R>(kit: &Kit<N, C, R>) -> Result<DynamoStore, Error> {
    kit.store()
}

/// Serves the schedule until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let store = parts(&kit)?;
        let store = &store;
        lambda_runtime::run(service_fn(async move |_: LambdaEvent<serde_json::Value>| {
            let ended = handle(store, &SystemClock).await?;
            if ended > 0 {
                tracing::info!(ended, "overdue jobs ended");
            }
            Ok::<_, Error>(())
        }))
        .await
    })
}
