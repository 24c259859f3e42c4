//! Job maintenance, once a minute: ends overdue jobs, notifies their tenants, and records the
//! queue sizes for the health check.

use accounts::model::automation::Automation;
use accounts::ports::{Automations, PullingTenants};
use domain::TenantId;
use domain::ports::{Clock, PortResult};
use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use runtime::{Error, SystemClock};

use crate::ending::JobRepositories;
use crate::model::{HealthSnapshot, QueueStats};
use crate::ports::{HealthReader, JobStats, JobSweep};

/// Page size of the list of tenants.
const PAGE: u32 = 500;
/// Number of tenants that are processed concurrently.
const CONCURRENCY: usize = 8;
/// Maximum number of rounds over all tenants in one invocation, so that it ends in time.
const MAX_ROUNDS: usize = 20;
/// Time limit for rounds: the function may run for 50 s.
const BUDGET: jiff::SignedDuration = jiff::SignedDuration::from_secs(35);

/// Ends the overdue jobs of all tenants; returns how many. The rest waits for the next run.
///
/// # Errors
/// If the table fails. Ended jobs stay ended, and the next run finds the rest.
pub async fn handle(repositories: &JobRepositories, clock: &impl Clock) -> PortResult<usize> {
    let JobRepositories { jobs, accounts, .. } = repositories;
    let started = clock.now();
    let mut remaining = tenants(accounts).await?;
    let mut stats: Vec<QueueStats> = Vec::with_capacity(remaining.len());
    for tenants in remaining.chunks(CONCURRENCY) {
        let counted = tenants.iter().map(|tenant| jobs.stats(tenant, started));
        stats.extend(try_join_all(counted).await?);
    }
    let queued = stats.iter().map(|stats| stats.queued).sum();
    let processing = stats.iter().map(|stats| stats.processing).sum();
    for (tenant, stats) in remaining.iter().zip(&stats) {
        // A tenant that stopped pulling is tracked until it has no jobs.
        if stats.queued == 0
            && stats.processing == 0
            && !matches!(accounts.automation(tenant).await?, Automation::Pull(_))
            // After the automation, and consistently: its last job may be a moment old.
            && !jobs.has_unfinished(tenant).await?
        {
            accounts.stop_tracking(tenant).await?;
        }
    }
    let (mut total, mut first_error) = (0, None);
    for round in 0..MAX_ROUNDS {
        // Work in rounds, so that a tenant with many jobs does not delay the others.
        let mut swept: Vec<usize> = Vec::with_capacity(remaining.len());
        for tenants in remaining.chunks(CONCURRENCY) {
            let found = tenants.iter().map(|tenant| sweep(repositories, tenant, clock.now()));
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
            let before = jobs.health().await?;
            jobs.record_heartbeat(&HealthSnapshot::following(before, queued, processing, started))
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

/// Returns the tenants whose workers pull or that may have unfinished jobs.
async fn tenants(accounts: &impl PullingTenants) -> PortResult<Vec<TenantId>> {
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
async fn sweep(
    repositories: &JobRepositories,
    tenant: &TenantId,
    now: Timestamp,
) -> PortResult<usize> {
    let overdue = repositories.jobs.overdue(tenant, now).await?;
    repositories.end_all(tenant, &overdue, now).await?;
    Ok(overdue.len())
}

/// Serves the schedule until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::start(async |kit| {
        let repositories = &JobRepositories::of(&kit)?;
        runtime::serve(async move |_: serde_json::Value| {
            let ended = handle(repositories, &SystemClock).await?;
            if ended > 0 {
                tracing::info!(ended, "overdue jobs ended");
            }
            Ok(())
        })
        .await
    })
}
