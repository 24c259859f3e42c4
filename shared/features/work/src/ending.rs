//! Ending of jobs: overdue jobs, and the notification about a job that failed or expired.

use accounts::model::automation::Automation;
use accounts::ports::Automations;
use domain::TenantId;
use domain::job::JobStatus;
use domain::notification::{EndedJob, Notification, NotificationData, NotificationKind};
use domain::ports::{PortResult, Recorded};
use futures::future::try_join_all;
use jiff::Timestamp;
use messaging::ports::MessageReader;
use runtime::telemetry::{self, Metric};
use runtime::{AwsEnv, Error, Kit};

use crate::Repository;
use crate::model::Job;
use crate::ports::{EndOverdueJobs, OverdueJob};

/// Number of jobs that are ended concurrently.
const CONCURRENCY: usize = 8;

/// Jobs, and the repositories that a notification about the end of a job is made from.
#[derive(Clone, Debug)]
pub struct JobRepositories {
    /// Jobs.
    pub jobs: Repository,
    /// Automations of the tenants.
    pub accounts: accounts::Repository,
    /// Messages and conversations.
    pub messages: messaging::Repository,
}

impl JobRepositories {
    /// Returns the repositories of a function.
    ///
    /// # Errors
    /// If an environment variable is missing.
    pub fn of<E: AwsEnv>(kit: &Kit<E>) -> Result<Self, Error> {
        Ok(Self {
            jobs: kit.repository()?,
            accounts: kit.repository()?,
            messages: kit.repository()?,
        })
    }

    /// Ends overdue jobs of a tenant; returns how many were not yet ended.
    pub(crate) async fn end_all(
        &self,
        tenant: &TenantId,
        overdue: &[OverdueJob],
        now: Timestamp,
    ) -> PortResult<usize> {
        if overdue.is_empty() {
            return Ok(0);
        }
        let automation = &self.accounts.automation(tenant).await?;
        let mut ended = 0;
        for overdue in overdue.chunks(CONCURRENCY) {
            let results = overdue.iter().map(|overdue| self.end(automation, overdue, now));
            let results = try_join_all(results).await?;
            ended += results.into_iter().filter(|recorded| *recorded == Recorded::New).count();
        }
        Ok(ended)
    }

    async fn end(
        &self,
        automation: &Automation,
        overdue: &OverdueJob,
        now: Timestamp,
    ) -> PortResult<Recorded> {
        let notification = self.notification(automation, &overdue.job, now).await?;
        let recorded = self.jobs.end(overdue, notification.as_ref(), now).await?;
        if recorded == Recorded::New {
            log_end(&overdue.job);
        }
        Ok(recorded)
    }

    /// Returns the notification about a failed or expired job, if the tenant has a webhook
    /// endpoint.
    pub(crate) async fn notification(
        &self,
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
        let found = self.messages.message(&job.tenant, job.id.message()).await?;
        let Some((message, _)) = found else { return Ok(None) };
        let conversation = self.messages.conversation(&job.tenant, message.conversation).await?;
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
    if let (JobStatus::Completed, Some(start), Some(end)) =
        (job.status, job.processing_started_at, job.finished_at)
    {
        telemetry::time(Metric::JobTime, "jobs", start, end);
    }
    let (tenant, status, attempt) = (&job.tenant, job.status.as_str(), job.attempt);
    if job.status == JobStatus::Completed {
        tracing::info!(%tenant, job_id = %job.id, status, attempt, "job ended");
    } else {
        tracing::warn!(%tenant, job_id = %job.id, status, attempt, "job ended without completion");
    }
}
