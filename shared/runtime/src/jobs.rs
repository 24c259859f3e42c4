//! What time does to jobs, once a minute: those that nobody did are ended, their tenants told,
//! and how many there are is written down for who asks how the hub is.

use domain::TenantId;
use domain::automation::{Automation, EndedJob, Notice, NoticeData, NoticeKind};
use domain::ports::{
    Automations, Clock, JobEnds, JobFigures, JobSweep, Library, OverdueJob, PortResult,
    PulseReader, Recorded,
};
use domain::pull::{Job, JobStatus, Pulse, QueueFigures};
use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use lambda_runtime::{LambdaEvent, service_fn};
use store::DynamoStore;

use crate::telemetry::{self, Metric};
use crate::{Error, Kit, SystemClock};

/// Tenants on one page of their list.
const PAGE: u32 = 500;
/// Tenants looked after, and jobs ended, side by side.
const SIDE_BY_SIDE: usize = 8;
/// Rounds over all tenants in one invocation, so that it ends in time.
const ROUNDS: usize = 20;
/// How long there may be rounds: the function may run for 50 s.
const BUDGET: jiff::SignedDuration = jiff::SignedDuration::from_secs(35);

/// Looks after every tenant's jobs; gives how many it ended. What is left waits for the next
/// minute.
///
/// # Errors
/// If the table fails. What was ended stays so, and the next run finds the rest.
pub async fn handle<S, C>(store: &S, clock: &C) -> PortResult<usize>
where
    S: JobSweep + JobEnds + JobFigures + PulseReader + Library + Automations,
    C: Clock,
{
    let began = clock.now();
    let mut left = tenants(store).await?;
    let mut figures: Vec<QueueFigures> = Vec::with_capacity(left.len());
    for tenants in left.chunks(SIDE_BY_SIDE) {
        let counted = tenants.iter().map(|tenant| store.figures(tenant, began));
        figures.extend(try_join_all(counted).await?);
    }
    let queued = figures.iter().map(|figures| figures.queued).sum();
    let processing = figures.iter().map(|figures| figures.processing).sum();
    for (tenant, figures) in left.iter().zip(&figures) {
        // Whoever stopped pulling is looked after until nothing is left.
        if figures.queued == 0
            && figures.processing == 0
            && !matches!(store.automation(tenant).await?, Automation::Pull(_))
        {
            store.retire(tenant).await?;
        }
    }
    let (mut total, mut trouble) = (0, None);
    for round in 0..ROUNDS {
        // In rounds: one tenant's many must not keep the others waiting.
        let mut swept: Vec<usize> = Vec::with_capacity(left.len());
        for tenants in left.chunks(SIDE_BY_SIDE) {
            let found = tenants.iter().map(|tenant| sweep(store, tenant, clock.now()));
            for (tenant, found) in tenants.iter().zip(join_all(found).await) {
                // One tenant's trouble is not the others'.
                swept.push(found.unwrap_or_else(|error| {
                    tracing::error!(%tenant, %error, "jobs not swept; the next run tries again");
                    trouble.get_or_insert(error);
                    0
                }));
            }
        }
        total += swept.iter().sum::<usize>();
        if round == 0 {
            // Only now have the jobs been looked after, which is what the beat says.
            let before = store.pulse().await?;
            store.beat(&Pulse::following(before, queued, processing, began)).await?;
        }
        left = left.into_iter().zip(&swept).filter(|(_, n)| **n > 0).map(|(id, _)| id).collect();
        if left.is_empty() || clock.now().duration_since(began) > BUDGET {
            break;
        }
    }
    trouble.map_or(Ok(total), Err)
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

/// Ends a part of the tenant's jobs that nobody did; gives how many were found, ended or not:
/// where the index lags there may be more behind them.
async fn sweep<S>(store: &S, tenant: &TenantId, now: Timestamp) -> PortResult<usize>
where
    S: JobSweep + JobEnds + Library + Automations,
{
    let overdue = store.overdue(tenant, now).await?;
    end_all(store, tenant, &overdue, now).await?;
    Ok(overdue.len())
}

/// Ends jobs of a tenant's that nobody did; gives how many were still there.
pub(crate) async fn end_all<S>(
    store: &S,
    tenant: &TenantId,
    overdue: &[OverdueJob],
    now: Timestamp,
) -> PortResult<usize>
where
    S: JobEnds + Library + Automations,
{
    if overdue.is_empty() {
        return Ok(0);
    }
    let automation = &store.automation(tenant).await?;
    let mut ended = 0;
    for overdue in overdue.chunks(SIDE_BY_SIDE) {
        let ends = overdue.iter().map(|overdue| end(store, automation, overdue, now));
        let new = try_join_all(ends).await?;
        ended += new.into_iter().filter(|recorded| *recorded == Recorded::New).count();
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
    S: JobEnds + Library,
{
    let notice = notice(store, automation, &overdue.job, now).await?;
    let recorded = store.end(overdue, notice.as_ref(), now).await?;
    if recorded == Recorded::New {
        tell_log(&overdue.job);
    }
    Ok(recorded)
}

/// What a tenant is told of a job that came to its end without being done, if somebody listens.
pub(crate) async fn notice<S: Library>(
    store: &S,
    automation: &Automation,
    job: &Job,
    now: Timestamp,
) -> PortResult<Option<Notice>> {
    let kind = match job.status {
        JobStatus::Failed => NoticeKind::JobFailed,
        JobStatus::Expired => NoticeKind::JobExpired,
        JobStatus::Queued | JobStatus::Processing | JobStatus::Completed => return Ok(None),
    };
    if automation.listener().is_none() {
        return Ok(None);
    }
    // A notice tells of a message; where that is gone there is nothing to tell of.
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
    let data = NoticeData { tenant, message, conversation, job: Some(ended) };
    Ok(Some(Notice { kind, timestamp: now, data }))
}

/// Counts a job that came to its end, and says so in the log. The reason is the worker's own
/// words and may name people: it stays in the table.
pub(crate) fn tell_log(job: &Job) {
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
        tracing::warn!(%tenant, job_id = %job.id, status, attempt, "job ended undone");
    }
}

/// The table of the schedule.
///
/// # Errors
/// If an environment variable is missing.
pub fn parts<N, C, R>(kit: &Kit<N, C, R>) -> Result<DynamoStore, Error> {
    kit.store()
}

/// Runs the schedule until Lambda ends it.
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
                tracing::info!(ended, "jobs ended that nobody did");
            }
            Ok::<_, Error>(())
        }))
        .await
    })
}
