//! Jobs that workers pull.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use domain::automation::{Automation, Notification};
use domain::ports::{
    HealthReader, JobAnswer, JobEnds, JobFigures, JobIntake, JobReader, JobSweep, Jobs, Offer,
    OverdueJob, Page, PortResult, Recorded,
};
use domain::pull::{HealthSnapshot, Job, JobEnding, JobStatus, JobTicket, QueueFigures};
use domain::{ConversationId, JobId, TenantId};
use jiff::Timestamp;

use super::{MemoryStore, Tables, ms};

/// Lanes that a worker is shown of each list.
const SHOWN: usize = 16;
/// How far back the mean looks.
const KEEP_HOURS: Duration = Duration::from_hours(4);

/// What is known of jobs.
#[derive(Debug, Default)]
pub(super) struct Book {
    jobs: BTreeMap<(TenantId, JobId), Row>,
    /// The jobs of each conversation that are not at their end, in their order.
    lanes: BTreeMap<(TenantId, ConversationId), VecDeque<JobId>>,
    pulling: BTreeSet<TenantId>,
    /// When jobs were done, and how long each took.
    done: Vec<(TenantId, Timestamp, Duration)>,
    health: Option<HealthSnapshot>,
}

/// A job as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) job: Job,
    /// Until when it waits for its next attempt.
    waits_until: Option<Timestamp>,
}

impl Row {
    /// Where it is, so that whoever saw it there knows whether it moved.
    fn place(&self) -> String {
        let Self { job, waits_until } = self;
        format!("{:?} {} {:?} {waits_until:?}", job.status, job.attempt, job.lease_expires_at)
    }

    /// Whether it may be given to a worker, if it is the first of its lane.
    fn is_free(&self, now: Timestamp) -> bool {
        let held = self.job.lease_expires_at.or(self.waits_until);
        held.is_none_or(|until| until <= now)
    }
}

/// The table keeps microseconds of jobs.
fn us(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

impl Tables {
    /// Tenants whose automation pulls are looked after from then on.
    pub(super) fn note_pulling(&mut self, tenant: &TenantId, automation: &Automation) {
        if matches!(automation, Automation::Pull(_)) {
            self.book.pulling.insert(tenant.clone());
        }
    }

    pub(super) fn all_jobs(&self) -> Vec<Job> {
        self.book.jobs.values().map(|row| row.job.clone()).collect()
    }

    /// The first job of each of the tenant's lanes, oldest first, if it may be given away.
    fn free(&self, tenant: &TenantId, now: Timestamp) -> Vec<Row> {
        let own = self.book.lanes.iter().filter(|((owner, _), _)| owner == tenant);
        let fronts =
            own.filter_map(|(_, lane)| self.book.jobs.get(&(tenant.clone(), *lane.front()?)));
        let mut free: Vec<Row> = fronts.filter(|row| row.is_free(now)).cloned().collect();
        free.sort_by_key(|row| (row.job.created_at, row.job.id));
        free
    }

    fn overdue(&self, tenant: &TenantId, now: Timestamp, most: usize) -> Vec<OverdueJob> {
        let judged = self.free(tenant, now).into_iter().take(most).filter_map(|row| {
            let (status, reason) = row.job.verdict(now)?;
            let job = Job { status, reason: Some(reason.to_owned()), ..row.job.clone() };
            let job = Job { lease_expires_at: None, processing_started_at: None, ..job };
            Some(OverdueJob { place: row.place(), job })
        });
        judged.collect()
    }

    /// Ends the first job of its lane.
    fn complete_head(&mut self, ended: &Job, notification: Option<&Notification>, now: Timestamp) {
        let key = (ended.tenant.clone(), ended.id);
        let Some(row) = self.book.jobs.get_mut(&key) else { return };
        row.waits_until = None;
        row.job.lease_expires_at = None;
        row.job.status = ended.status;
        row.job.finished_at = Some(us(now));
        row.job.result.clone_from(&ended.result);
        if ended.reason.is_some() {
            row.job.reason.clone_from(&ended.reason);
        }
        if let Some(lane) = self.book.lanes.get_mut(&(ended.tenant.clone(), ended.conversation)) {
            lane.pop_front();
        }
        if let Some(notification) = notification {
            self.owe(&ended.tenant, notification, now);
        }
    }

    /// The job in the hands of the ticket's holder, if its lease runs.
    fn held(&mut self, tenant: &TenantId, ticket: JobTicket, now: Timestamp) -> Held<'_> {
        let Some(row) = self.book.jobs.get_mut(&(tenant.clone(), ticket.id)) else {
            return Held::Missing;
        };
        let runs = row.job.lease_expires_at.is_some_and(|until| until > now);
        if runs && row.job.attempt == ticket.attempt {
            Held::Ours(row)
        } else {
            Held::Not(Box::new(Job { lease_expires_at: None, ..row.job.clone() }))
        }
    }
}

enum Held<'a> {
    Ours(&'a mut Row),
    Not(Box<Job>),
    Missing,
}

impl JobIntake for MemoryStore {
    async fn queue_job(&self, job: &Job) -> PortResult<Recorded> {
        self.pass("queue a job", |tables| {
            let key = (job.tenant.clone(), job.id);
            if tables.book.jobs.contains_key(&key) {
                return Recorded::Duplicate;
            }
            let (created_at, expires_at) = (us(job.created_at), us(job.expires_at));
            let job = Job { created_at, expires_at, ..job.clone() };
            let lane = (job.tenant.clone(), job.conversation);
            tables.book.lanes.entry(lane).or_default().push_back(job.id);
            tables.book.jobs.insert(key, Row { job, waits_until: None });
            Recorded::New
        })
        .await
    }
}

impl JobFigures for MemoryStore {
    async fn figures(&self, tenant: &TenantId, now: Timestamp) -> PortResult<QueueFigures> {
        self.pass("read how many jobs there are", |tables| {
            let own = tables.book.jobs.iter().filter(|((owner, _), _)| owner == tenant);
            let mut figures = QueueFigures::default();
            for (_, row) in own {
                match row.job.status {
                    JobStatus::Queued => figures.queued += 1,
                    JobStatus::Processing => figures.processing += 1,
                    _ => {}
                }
            }
            for (owner, at, took) in &tables.book.done {
                if owner == tenant && *at + KEEP_HOURS > now {
                    figures.completed += 1;
                    figures.busy += *took;
                }
            }
            figures
        })
        .await
    }
}

impl JobReader for MemoryStore {
    async fn job(&self, tenant: &TenantId, id: JobId) -> PortResult<Option<Job>> {
        self.pass("read a job", |tables| {
            tables.book.jobs.get(&(tenant.clone(), id)).map(|row| row.job.clone())
        })
        .await
    }
}

impl Jobs for MemoryStore {
    async fn offer(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        lease: Duration,
        _chance: u128,
    ) -> PortResult<Offer> {
        self.pass("find a job", |tables| {
            let overdue = tables.overdue(tenant, now, SHOWN);
            let in_time = |row: &Row| row.job.verdict(now).is_none();
            let Some(first) = tables.free(tenant, now).into_iter().find(in_time) else {
                return if overdue.is_empty() { Offer::Nothing } else { Offer::Overdue(overdue) };
            };
            let Some(row) = tables.book.jobs.get_mut(&(tenant.clone(), first.job.id)) else {
                return Offer::Nothing;
            };
            row.waits_until = None;
            row.job.status = JobStatus::Processing;
            row.job.attempt += 1;
            row.job.processing_started_at = Some(us(now));
            row.job.lease_expires_at = Some(us(now + lease));
            // Why it failed before is for those who look it up.
            Offer::Job(Box::new(Job { reason: None, ..row.job.clone() }))
        })
        .await
    }

    async fn extend(
        &self,
        tenant: &TenantId,
        ticket: JobTicket,
        now: Timestamp,
        lease: Duration,
    ) -> PortResult<JobAnswer> {
        self.pass("extend a lease", |tables| match tables.held(tenant, ticket, now) {
            Held::Missing => JobAnswer::Missing,
            Held::Not(job) => JobAnswer::Refused(job),
            Held::Ours(row) => {
                row.job.lease_expires_at = row.job.lease_expires_at.max(Some(us(now + lease)));
                JobAnswer::Done(Box::new(Job { reason: None, ..row.job.clone() }))
            }
        })
        .await
    }

    async fn settle_job(
        &self,
        tenant: &TenantId,
        ticket: JobTicket,
        ending: &JobEnding,
        notification: Option<&Notification>,
        now: Timestamp,
    ) -> PortResult<JobAnswer> {
        self.pass("end an attempt at a job", |tables| {
            let row = match tables.held(tenant, ticket, now) {
                Held::Missing => return JobAnswer::Missing,
                Held::Not(job) if ending.was(&job, ticket.attempt) => return JobAnswer::Done(job),
                Held::Not(job) => return JobAnswer::Refused(job),
                Held::Ours(row) => row,
            };
            let before = Job { reason: None, ..row.job.clone() };
            let mut job = Job { status: ending.status(), lease_expires_at: None, ..before };
            match ending {
                JobEnding::Retry { reason, at } => {
                    job.reason = Some(reason.clone());
                    *row = Row { job: job.clone(), waits_until: Some(us(*at)) };
                    return JobAnswer::Done(Box::new(job));
                }
                JobEnding::Completed { result } => job.result.clone_from(result),
                JobEnding::Failed { reason } => job.reason = Some(reason.clone()),
            }
            job.finished_at = Some(us(now));
            tables.complete_head(&job, notification, now);
            if let (JobStatus::Completed, Some(started)) = (job.status, job.processing_started_at) {
                let took = Duration::from_millis(
                    u64::try_from(now.duration_since(started).as_millis()).unwrap_or_default(),
                );
                tables.book.done.push((tenant.clone(), now, took));
            }
            JobAnswer::Done(Box::new(job))
        })
        .await
    }
}

impl JobEnds for MemoryStore {
    async fn end(
        &self,
        overdue: &OverdueJob,
        notification: Option<&Notification>,
        now: Timestamp,
    ) -> PortResult<Recorded> {
        self.pass("end a job that nobody did", |tables| {
            let job = &overdue.job;
            let row = tables.book.jobs.get(&(job.tenant.clone(), job.id));
            if row.is_none_or(|row| row.place() != overdue.place) {
                return Recorded::Duplicate;
            }
            tables.complete_head(job, notification, now);
            Recorded::New
        })
        .await
    }
}

impl JobSweep for MemoryStore {
    async fn pulling(&self, limit: u32, cursor: Option<&str>) -> PortResult<Page<TenantId>> {
        self.pass("list tenants whose workers pull", |tables| {
            let sorted = tables.book.pulling.iter().map(|id| (id.to_string(), id.clone()));
            super::page(sorted, limit, |place| cursor.is_none_or(|cursor| place > cursor))
        })
        .await
    }

    async fn overdue(&self, tenant: &TenantId, now: Timestamp) -> PortResult<Vec<OverdueJob>> {
        self.pass("find jobs that nobody did", |tables| tables.overdue(tenant, now, 1000)).await
    }

    async fn stop_tracking(&self, tenant: &TenantId) -> PortResult<()> {
        self.pass("forget that a tenant's workers pulled", |tables| {
            let automation = tables.automations.get(tenant);
            if !automation.is_some_and(|(set, _)| matches!(set, Automation::Pull(_))) {
                tables.book.pulling.remove(tenant);
            }
        })
        .await
    }

    async fn record_heartbeat(&self, health: &HealthSnapshot) -> PortResult<()> {
        self.pass("write down how the hub is", |tables| {
            let newer = tables.book.health.filter(|stands| stands.beat_at > ms(health.beat_at));
            let (beat_at, up_since) = (ms(health.beat_at), ms(health.up_since));
            tables.book.health = newer.or(Some(HealthSnapshot { beat_at, up_since, ..*health }));
        })
        .await
    }
}

impl HealthReader for MemoryStore {
    async fn health(&self) -> PortResult<Option<HealthSnapshot>> {
        self.pass("read how the hub is", |tables| tables.book.health).await
    }
}
