//! Job maintenance, once a minute: ends overdue jobs, notifies their tenants, and records the
//! queue sizes for the health check.

use accounts::ports::{Automations, PullingTenants};
use domain::TenantId;
use domain::automation::{Automation, EndedJob, Notification, NotificationData, NotificationKind};
use domain::ports::{Clock, PortResult, Recorded};
use domain::pull::{HealthSnapshot, Job, JobStatus, QueueStats};
use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use lambda_runtime::{LambdaEvent, service_fn};
use messaging::ports::MessageReader;
use runtime::telemetry::{self, Metric};
use runtime::{Error, Kit, SystemClock};

use crate::Repository;
use crate::ports::{EndOverdueJobs, HealthReader, JobStats, JobSweep, OverdueJob};

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
pub async fn handle<S, A, M, C>(
    store: &S,
    accounts: &A,
    messages: &M,
    clock: &C,
) -> PortResult<usize>
where
    S: JobSweep + EndOverdueJobs + JobStats + HealthReader,
    A: Automations + PullingTenants,
    M: MessageReader,
    C: Clock,
{
    let started = clock.now();
    let mut remaining = tenants(accounts).await?;
    let mut stats: Vec<QueueStats> = Vec::with_capacity(remaining.len());
    for tenants in remaining.chunks(CONCURRENCY) {
        let counted = tenants.iter().map(|tenant| store.stats(tenant, started));
        stats.extend(try_join_all(counted).await?);
    }
    let queued = stats.iter().map(|stats| stats.queued).sum();
    let processing = stats.iter().map(|stats| stats.processing).sum();
    for (tenant, stats) in remaining.iter().zip(&stats) {
        // A tenant that stopped pulling is tracked until it has no jobs.
        if stats.queued == 0
            && stats.processing == 0
            && !matches!(accounts.automation(tenant).await?, Automation::Pull(_))
        {
            accounts.stop_tracking(tenant).await?;
        }
    }
    let (mut total, mut first_error) = (0, None);
    for round in 0..MAX_ROUNDS {
        // Work in rounds, so that a tenant with many jobs does not delay the others.
        let mut swept: Vec<usize> = Vec::with_capacity(remaining.len());
        for tenants in remaining.chunks(CONCURRENCY) {
            let found =
                tenants.iter().map(|tenant| sweep(store, accounts, messages, tenant, clock.now()));
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

async fn tenants<A: PullingTenants>(accounts: &A) -> PortResult<Vec<TenantId>> {
    let (mut tenants, mut cursor) = (Vec::new(), None);
    loop {
        let page = accounts.tracked_tenants(PAGE, cursor.as_deref()).await?;
        tenants.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(tenants);
        }
    }
}

/// Ends a batch of the tenant's overdue jobs. Returns how many were found, including those that
/// were already ended: where the index lags, there may be more.
async fn sweep<S, A, M>(
    store: &S,
    accounts: &A,
    messages: &M,
    tenant: &TenantId,
    now: Timestamp,
) -> PortResult<usize>
where
    S: JobSweep + EndOverdueJobs,
    A: Automations,
    M: MessageReader,
{
    let overdue = store.overdue(tenant, now).await?;
    end_all(store, accounts, messages, tenant, &overdue, now).await?;
    Ok(overdue.len())
}

/// Ends overdue jobs of a tenant; returns how many were not yet ended.
pub(crate) async fn end_all<S, A, M>(
    store: &S,
    accounts: &A,
    messages: &M,
    tenant: &TenantId,
    overdue: &[OverdueJob],
    now: Timestamp,
) -> PortResult<usize>
where
    S: EndOverdueJobs,
    A: Automations,
    M: MessageReader,
{
    if overdue.is_empty() {
        return Ok(0);
    }
    let automation = &accounts.automation(tenant).await?;
    let mut ended = 0;
    for overdue in overdue.chunks(CONCURRENCY) {
        let results = overdue.iter().map(|overdue| end(store, messages, automation, overdue, now));
        let results = try_join_all(results).await?;
        ended += results.into_iter().filter(|recorded| *recorded == Recorded::New).count();
    }
    Ok(ended)
}

async fn end<S, M>(
    store: &S,
    messages: &M,
    automation: &Automation,
    overdue: &OverdueJob,
    now: Timestamp,
) -> PortResult<Recorded>
where
    S: EndOverdueJobs,
    M: MessageReader,
{
    let notification = notification(messages, automation, &overdue.job, now).await?;
    let recorded = store.end(overdue, notification.as_ref(), now).await?;
    if recorded == Recorded::New {
        log_end(&overdue.job);
    }
    Ok(recorded)
}

/// Returns the notification about a failed or expired job, if the tenant has a webhook endpoint.
pub(crate) async fn notification<M: MessageReader>(
    messages: &M,
    automation: &Automation,
    job: &Job,
    now: Timestamp,
) -> PortResult<Option<Notification>> {
    let kind = match job.status {
        JobStatus::Failed => NotificationKind::JobFailed,
        JobStatus::Expired => NotificationKind::JobExpired,
        JobStatus::Queued | JobStatus::Processing | JobStatus::Completed => return Ok(None),
    };
    if automation.enabled_webhook().is_none() {
        return Ok(None);
    }
    // The notification contains the message; without it there is no notification.
    let Some((message, _)) = messages.message(&job.tenant, job.id.message()).await? else {
        return Ok(None);
    };
    let conversation = messages.conversation(&job.tenant, message.conversation).await?;
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

/// Repositories of the schedule.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Jobs.
    pub jobs: Repository,
    /// Automations of the tenants.
    pub accounts: accounts::Repository,
    /// Messages and conversations.
    pub messages: messaging::Repository,
}

/// Builds the repositories of the schedule from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn stores<N, C, R>(kit: &Kit<N, C, R>) -> Result<Stores, Error> {
    Ok(Stores {
        jobs: Repository::of(kit)?,
        accounts: accounts::Repository::of(kit)?,
        messages: messaging::Repository::of(kit)?,
    })
}

/// Serves the schedule until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::start(async |kit| {
        let stores = stores(&kit)?;
        let Stores { jobs, accounts, messages } = &stores;
        lambda_runtime::run(service_fn(async move |_: LambdaEvent<serde_json::Value>| {
            let ended = handle(jobs, accounts, messages, &SystemClock).await?;
            if ended > 0 {
                tracing::info!(ended, "overdue jobs ended");
            }
            Ok::<_, Error>(())
        }))
        .await
    })
}
