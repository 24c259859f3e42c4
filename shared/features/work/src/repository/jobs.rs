//! Jobs that workers pull.
//!
//! The jobs of a conversation form a conversation queue: one item, which is the lock on them
//! (optimistic locking). Its index sort key contains the state of its head, the first job. A worker
//! lists the index and claims a head in one transaction, on the condition that the sort key has not
//! changed since; stale index entries fail there. Jobs behind the head are not read, so a claim
//! costs the same for any number of jobs.
//!
//! The index has two lists, of the free heads and of the held ones, each spread over partitions
//! (shards) by the conversation. A worker reads one random shard of each, so that every shard is read
//! sooner or later. If these have few jobs, it reads all shards: then it gets the oldest job.

use std::time::Duration;

use accounts::model::automation::MIN_TIME_TO_LIVE;
use domain::job::JobStatus;
use domain::message::Message;
use domain::notification::Notification;
use domain::ports::{PortError, PortResult, Recorded};
use domain::{ConversationId, Fault, JobId, TenantId};
use futures::future::try_join_all;
use jiff::Timestamp;
use messaging::ports::EnqueueJob;
use table::{
    AttributeValue, CancellationReason, Item, List, TransactWriteItem, Write, cancellation_reasons,
    corrupt, failed, in_transaction, item, lost_race, micros, micros_time, ms, n, number, s,
    sortable_micros, text, time, ttl, unsigned,
};
use tokio::time::Instant;

use super::Repository;
use super::keys::{self, Lease, QueuePosition, parse_queue_position};
use crate::model::{HealthSnapshot, Job, JobOutcome, JobTicket};
use crate::ports::{
    EndOverdueJobs, HealthReader, JobReader, JobSweep, JobUpdate, Jobs, LeaseOutcome, OverdueJob,
};

/// Number of conversation queues that are read from each shard of each list for a worker.
const OFFER_LIMIT: i32 = 16;
/// Number of conversation queues that a worker tries to claim before the lists are read again. If one
/// shard has fewer, all are read.
const CLAIM_ATTEMPTS: usize = 3;
/// Maximum number of overdue jobs that a worker ends before it asks again.
const MAX_OVERDUE: usize = 32;
/// Attempts at announcing a job after conflicts at the counter.
const ANNOUNCE_ATTEMPTS: u8 = 2;
/// Attempts at a write that loses to a concurrent write.
const WRITE_ATTEMPTS: u8 = 8;
/// Number of conversation queues that a sweep reads from each shard of each list.
pub(super) const SWEEP_LIMIT: i32 = 64;
/// Number of shards that are read concurrently: each request in progress needs a TLS connection.
pub(super) const CONCURRENCY: usize = 8;
/// Place of the counter in the transaction that queues a job.
const COUNTER: usize = 3;

/// A conversation queue in a list: its sort key, and the head that it contains.
pub(super) type Place = (String, QueuePosition);

impl EnqueueJob for Repository {
    async fn enqueue_job(&self, message: &Message, time_to_live: Duration) -> PortResult<Recorded> {
        let job = &Job::new(message, time_to_live);
        let operation = "queue a job";
        let keep = ttl(job.expires_at, keys::JOB_RETENTION);
        for round in 0..WRITE_ATTEMPTS {
            let conversation_queue =
                self.conversation_queue(operation, &job.tenant, job.conversation).await?;
            let place = QueuePosition {
                created_at: job.created_at,
                expires_at: job.expires_at,
                conversation: job.conversation,
                position: conversation_queue
                    .as_ref()
                    .map_or(0, |conversation_queue| conversation_queue.tail)
                    + 1,
                job: job.id,
                lease: None,
            };
            let found = item(
                &keys::job_lookup(&job.tenant, job.id),
                [
                    ("conversation", s(job.conversation.to_string())),
                    ("place", unsigned(place.position)),
                    ("ttl", keep.clone()),
                ],
            );
            // A job behind others cannot be pulled yet.
            let is_available = conversation_queue.as_ref().is_none_or(|queue| queue.head.is_none());
            let announces = is_available && self.announcements.begin(&job.tenant, Instant::now());
            let counted = if announces {
                self.announce(&job.tenant)
            } else {
                self.count(&job.tenant, job.id, round, (1, 0))
            };
            let writes = vec![
                // The deduplication record of the job.
                self.table.put_new(found),
                self.table.put(job_item(job, &place, keep.clone())),
                self.append(&job.tenant, conversation_queue.as_ref(), &place),
                counted,
            ];
            let writes = in_transaction(operation, writes)?;
            let Err(error) = self.table.write_all(writes).await else { return Ok(Recorded::New) };
            let reasons = cancellation_reasons(&error);
            // After several conflicts at the counter, other sandboxes announce jobs.
            let is_conflict = matches!(reasons.get(COUNTER), Some(CancellationReason::Conflict));
            if announces && !(is_conflict && round >= ANNOUNCE_ATTEMPTS) {
                self.announcements.cancel(&job.tenant);
            }
            match reasons.first() {
                Some(CancellationReason::Condition) => return Ok(Recorded::Duplicate),
                _ if lost_race(&error) => {}
                _ => return Err(failed(operation, &error)),
            }
        }
        Err(busy(operation))
    }
}

impl JobReader for Repository {
    async fn job(&self, tenant: &TenantId, id: JobId) -> PortResult<Option<Job>> {
        let operation = "read a job";
        let Some((conversation, place)) = self.find_job(operation, tenant, id).await? else {
            return Ok(None);
        };
        let (job, conversation_queue) = futures::try_join!(
            self.read_job(operation, tenant, conversation, place),
            self.conversation_queue(operation, tenant, conversation),
        )?;
        let head = conversation_queue
            .and_then(|conversation_queue| conversation_queue.head)
            .map(|(_, head)| head);
        let head = head.filter(|head| head.job == id);
        Ok(Some(match head.and_then(|head| head.lease) {
            Some(lease) if lease.leased && lease.attempt == job.attempt => {
                Job { lease_expires_at: Some(lease.until), ..job }
            }
            _ => job,
        }))
    }
}

impl Jobs for Repository {
    async fn lease_next(
        &self,
        tenant: &TenantId,
        now: Timestamp,
        lease: Duration,
        mut random: u128,
    ) -> PortResult<LeaseOutcome> {
        let operation = "find a job";
        for _round in 0..WRITE_ATTEMPTS {
            let offer = self.offer(operation, tenant, now, random).await?;
            random = random.rotate_right(5);
            if offer.available.is_empty() {
                return Ok(offer.without_a_job());
            }
            let candidates = offer.available;
            let leased = self.lease_one(operation, tenant, candidates, now, lease, &mut random);
            if let Some(job) = leased.await? {
                return Ok(LeaseOutcome::Job(Box::new(job)));
            }
        }
        // Other workers were faster; this one asks again if jobs remain.
        Ok(LeaseOutcome::Nothing)
    }

    async fn announced(&self, tenant: &TenantId) -> PortResult<u64> {
        let operation = "read the number of announced jobs";
        let item = self.table.read_eventually(operation, &keys::announced(tenant)).await?;
        let announced = item.and_then(|item| number(&item, "queued"));
        Ok(announced.and_then(|announced| announced.try_into().ok()).unwrap_or_default())
    }

    async fn extend(
        &self,
        tenant: &TenantId,
        ticket: JobTicket,
        now: Timestamp,
        lease: Duration,
    ) -> PortResult<JobUpdate> {
        let operation = "extend a lease";
        let Some((conversation, place)) = self.find_job(operation, tenant, ticket.id).await? else {
            return Ok(JobUpdate::Missing);
        };
        for _round in 0..WRITE_ATTEMPTS {
            let conversation_queue =
                self.conversation_queue(operation, tenant, conversation).await?;
            let Some((conversation_queue, seen, head, job_lease)) =
                conversation_queue.as_ref().and_then(|l| l.held(ticket, now))
            else {
                let job = self.read_job(operation, tenant, conversation, place).await?;
                return Ok(JobUpdate::Refused(Box::new(job)));
            };
            let until = job_lease.until.max(now + lease);
            let longer =
                QueuePosition { lease: Some(Lease { until, ..job_lease }), ..head.clone() };
            let done = JobUpdate::Done(Box::new(processing_job(
                tenant,
                &longer,
                conversation_queue.started,
            )));
            if until == job_lease.until {
                return Ok(done);
            }
            let update = self
                .seen_queue(tenant, conversation, seen)
                .set("gsi1sk = :place")
                .value(":place", s(longer.to_string()));
            // It conflicts while a new job of the same conversation is written.
            if update.try_apply(operation).await?.is_some_and(|written| written.is_done()) {
                return Ok(done);
            }
        }
        Err(busy(operation))
    }

    async fn settle_job(
        &self,
        tenant: &TenantId,
        ticket: JobTicket,
        ending: &JobOutcome,
        notification: Option<&Notification>,
        now: Timestamp,
    ) -> PortResult<JobUpdate> {
        let operation = "end an attempt at a job";
        let Some((conversation, place)) = self.find_job(operation, tenant, ticket.id).await? else {
            return Ok(JobUpdate::Missing);
        };
        for round in 0..WRITE_ATTEMPTS {
            let conversation_queue =
                self.conversation_queue(operation, tenant, conversation).await?;
            let Some((conversation_queue, seen, head, _)) =
                conversation_queue.as_ref().and_then(|l| l.held(ticket, now))
            else {
                let job = self.read_job(operation, tenant, conversation, place).await?;
                let is_repeated = ending.is_recorded_in(&job, ticket.attempt);
                let job = Box::new(job);
                return Ok(if is_repeated {
                    JobUpdate::Done(job)
                } else {
                    JobUpdate::Refused(job)
                });
            };
            let before = processing_job(tenant, head, conversation_queue.started);
            let started = before.processing_started_at;
            let mut job = Job { status: ending.status(), lease_expires_at: None, ..before };
            let writes = match ending {
                JobOutcome::Retry { reason, at } => {
                    job.reason = Some(reason.clone());
                    let writes = self.requeue_head(tenant, seen, head, &job, *at, round);
                    in_transaction(operation, writes)?
                }
                JobOutcome::Completed { result } => {
                    (job.finished_at, job.result) = (Some(now), result.clone());
                    self.complete_head(
                        operation,
                        conversation_queue,
                        seen,
                        head,
                        &job,
                        notification,
                        round,
                    )
                    .await?
                }
                JobOutcome::Failed { reason } => {
                    (job.finished_at, job.reason) = (Some(now), Some(reason.clone()));
                    self.complete_head(
                        operation,
                        conversation_queue,
                        seen,
                        head,
                        &job,
                        notification,
                        round,
                    )
                    .await?
                }
            };
            let Err(error) = self.table.write_all(writes).await else {
                if let (JobStatus::Completed, Some(started)) = (job.status, started) {
                    self.record_duration(tenant, job.id, started, now).await;
                }
                return Ok(JobUpdate::Done(Box::new(job)));
            };
            if !lost_race(&error) {
                return Err(failed(operation, &error));
            }
        }
        Err(busy(operation))
    }
}

impl EndOverdueJobs for Repository {
    async fn end(
        &self,
        overdue: &OverdueJob,
        notification: Option<&Notification>,
        now: Timestamp,
    ) -> PortResult<Recorded> {
        let operation = "end an overdue job";
        let job = Job { finished_at: Some(now), ..overdue.job.clone() };
        for round in 0..WRITE_ATTEMPTS {
            let conversation_queue =
                self.conversation_queue(operation, &job.tenant, job.conversation).await?;
            let head = conversation_queue.as_ref().and_then(|conversation_queue| {
                Some((conversation_queue, conversation_queue.head.as_ref()?))
            });
            let Some((conversation_queue, (seen, head))) =
                head.filter(|(_, (seen, _))| *seen == overdue.sort_key)
            else {
                return Ok(Recorded::Duplicate);
            };
            let writes = self
                .complete_head(operation, conversation_queue, seen, head, &job, notification, round)
                .await?;
            match self.table.write_all(writes).await {
                Ok(()) => return Ok(Recorded::New),
                Err(error) if lost_race(&error) => {}
                Err(error) => return Err(failed(operation, &error)),
            }
        }
        Err(busy(operation))
    }
}

impl JobSweep for Repository {
    async fn overdue(&self, tenant: &TenantId, now: Timestamp) -> PortResult<Vec<OverdueJob>> {
        let operation = "find overdue jobs";
        let oldest = now - MIN_TIME_TO_LIVE;
        let (ready, leased) = futures::try_join!(
            self.places(operation, keys::ready_of(tenant), Some(oldest), SWEEP_LIMIT),
            self.places(operation, keys::leased_of(tenant), Some(now), SWEEP_LIMIT),
        )?;
        Ok(self::overdue(tenant, &[ready, leased].concat(), now))
    }

    async fn record_heartbeat(&self, health: &HealthSnapshot) -> PortResult<()> {
        let operation = "write the health of the hub";
        let status = item(
            &keys::status(),
            [
                ("queued", unsigned(health.queued)),
                ("processing", unsigned(health.processing)),
                ("beat_at", ms(health.beat_at)),
                ("up_since", ms(health.up_since)),
            ],
        );
        let put = self
            .table
            .put(status)
            .only_if("attribute_not_exists(pk) OR beat_at <= :now")
            .value(":now", ms(health.beat_at));
        put.apply(operation).await.map(|_| ())
    }
}

impl HealthReader for Repository {
    async fn health(&self) -> PortResult<Option<HealthSnapshot>> {
        let operation = "read the health of the hub";
        let Some(item) = self.table.read(operation, &keys::status()).await? else {
            return Ok(None);
        };
        let count = |name| {
            let count = number(&item, name).and_then(|count| count.try_into().ok());
            count.ok_or_else(|| corrupt(operation, name))
        };
        let at = |name| time(&item, name).ok_or_else(|| corrupt(operation, name));
        Ok(Some(HealthSnapshot {
            queued: count("queued")?,
            processing: count("processing")?,
            beat_at: at("beat_at")?,
            up_since: at("up_since")?,
        }))
    }
}

/// A conversation queue as it was read.
#[derive(Debug)]
struct ConversationQueue {
    /// Position of the last job, ended or not.
    tail: u64,
    /// When the current attempt at the head started.
    started: Option<Timestamp>,
    /// Index sort key and the head that it contains; `None` if the queue has no jobs.
    head: Option<Place>,
}

impl ConversationQueue {
    /// Returns the head and its lease, if the lease is that of the ticket's attempt and has not
    /// expired at `now`.
    fn held(
        &self,
        ticket: JobTicket,
        now: Timestamp,
    ) -> Option<(&Self, &str, &QueuePosition, Lease)> {
        let (seen, head) = self.head.as_ref()?;
        let job_lease = head.lease.filter(|job_lease| job_lease.leased)?;
        let is_holder =
            head.job == ticket.id && job_lease.attempt == ticket.attempt && job_lease.until > now;
        is_holder.then_some((self, seen.as_str(), head, job_lease))
    }
}

impl Repository {
    async fn conversation_queue(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        conversation: ConversationId,
    ) -> PortResult<Option<ConversationQueue>> {
        let Some(item) =
            self.table.read(operation, &keys::conversation_queue(tenant, conversation)).await?
        else {
            return Ok(None);
        };
        let tail = number(&item, "tail").and_then(|tail| tail.try_into().ok());
        let head = match text(&item, "gsi1sk") {
            None => None,
            Some(place) => {
                let head =
                    parse_queue_position(place).ok_or_else(|| corrupt(operation, "place"))?;
                Some((place.to_owned(), head))
            }
        };
        let tail = tail.ok_or_else(|| corrupt(operation, "tail"))?;
        Ok(Some(ConversationQueue { tail, started: micros_time(&item, "started"), head }))
    }

    /// Returns the conversation and the position of a job.
    async fn find_job(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        id: JobId,
    ) -> PortResult<Option<(ConversationId, u64)>> {
        let Some(item) = self.table.read(operation, &keys::job_lookup(tenant, id)).await? else {
            return Ok(None);
        };
        let conversation = text(&item, "conversation").and_then(|id| id.parse().ok());
        let place = number(&item, "place").and_then(|place| place.try_into().ok());
        conversation.zip(place).map(Some).ok_or_else(|| corrupt(operation, "place"))
    }

    async fn read_job(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        conversation: ConversationId,
        place: u64,
    ) -> PortResult<Job> {
        let item = self.table.read(operation, &keys::job(tenant, conversation, place)).await?;
        let job = item.as_ref().and_then(|item| read_job(tenant, conversation, item));
        job.ok_or_else(|| corrupt(operation, "job"))
    }

    /// Returns the first conversation queues of each shard of a list, at most `limit`, or the first of
    /// those that sort before `before`.
    pub(super) async fn places(
        &self,
        operation: &'static str,
        list: List,
        before: Option<Timestamp>,
        limit: i32,
    ) -> PortResult<Vec<Place>> {
        let partitions: Vec<String> = list.partitions().collect();
        let mut places = Vec::new();
        for partitions in partitions.chunks(CONCURRENCY) {
            let shards = partitions.iter().map(|partition| async move {
                let query = self
                    .table
                    .query()
                    .index_name("by_parent")
                    .limit(limit)
                    .expression_attribute_values(":parent", s(partition));
                let query = match before {
                    None => query.key_condition_expression("gsi1pk = :parent"),
                    Some(before) => query
                        .key_condition_expression("gsi1pk = :parent AND gsi1sk < :end")
                        // '$' sorts after '#', so that this microsecond is included.
                        .expression_attribute_values(
                            ":end",
                            s(format!("{}$", sortable_micros(before))),
                        ),
                };
                let answer = query.send().await.map_err(|error| failed(operation, &error))?;
                let found = answer.items().iter().map(|item| {
                    let sort_key = text(item, "gsi1sk");
                    let head = sort_key.and_then(parse_queue_position);
                    let place = sort_key.map(ToOwned::to_owned).zip(head);
                    place.ok_or_else(|| corrupt(operation, "place"))
                });
                found.collect::<PortResult<Vec<Place>>>()
            });
            places.extend(try_join_all(shards).await?.into_iter().flatten());
        }
        Ok(places)
    }

    /// Returns what a worker is offered: from one shard of each list, or from all if that shard has
    /// few jobs.
    async fn offer(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        now: Timestamp,
        random: u128,
    ) -> PortResult<Offer> {
        let (ready, leased) = (keys::ready_of(tenant), keys::leased_of(tenant));
        let shard = u8::try_from(random % u128::from(keys::LIST_SHARDS)).unwrap_or_default();
        let (one_ready, one_leased) = (ready.only(shard), leased.only(shard));
        let offer = self.read_offer(operation, tenant, one_ready, one_leased, now).await?;
        if offer.available.len() >= CLAIM_ATTEMPTS {
            return Ok(offer);
        }
        self.read_offer(operation, tenant, ready, leased, now).await
    }

    async fn read_offer(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        ready: List,
        leased: List,
        now: Timestamp,
    ) -> PortResult<Offer> {
        let (free, held) = futures::try_join!(
            self.places(operation, ready, None, OFFER_LIMIT),
            self.places(operation, leased, None, OFFER_LIMIT),
        )?;
        Ok(Offer::new(tenant, free, held, now))
    }

    /// Leases the first candidate or, if another worker got it, a random one, so that concurrent
    /// workers spread over the queue.
    async fn lease_one(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        mut candidates: Vec<Place>,
        now: Timestamp,
        lease: Duration,
        random: &mut u128,
    ) -> PortResult<Option<Job>> {
        let mut next = 0;
        for _try in 0..CLAIM_ATTEMPTS {
            if candidates.is_empty() {
                break;
            }
            let (seen, head) = candidates.swap_remove(next);
            if let Some(job) = self.claim(operation, tenant, &seen, &head, now, lease).await? {
                return Ok(Some(job));
            }
            let remaining = u128::try_from(candidates.len()).unwrap_or(1).max(1);
            next = usize::try_from(*random % remaining).unwrap_or_default();
            *random = random.rotate_right(5);
        }
        Ok(None)
    }

    /// Claims the head of a conversation queue whose sort key is `seen`; returns `None` if the sort
    /// key has changed.
    async fn claim(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        seen: &str,
        head: &QueuePosition,
        now: Timestamp,
        lease: Duration,
    ) -> PortResult<Option<Job>> {
        let attempt = head.lease.map_or(0, |job_lease| job_lease.attempt) + 1;
        let job_lease = Some(Lease { until: now + lease, attempt, leased: true });
        let place = QueuePosition { lease: job_lease, ..head.clone() };
        for round in 0..WRITE_ATTEMPTS {
            let mut writes = vec![
                self.seen_queue(tenant, head.conversation, seen)
                    .set("gsi1pk = :list, gsi1sk = :place, started = :now, #ttl = :ttl")
                    .value(":list", s(partition(&keys::leased_of(tenant), head.conversation)))
                    .value(":place", s(place.to_string()))
                    .value(":now", micros(now))
                    .value(":ttl", ttl(now, keys::CONVERSATION_QUEUE_RETENTION)),
                self.existing_job(tenant, head)
                    .set("#status = :status, attempt = :attempt, started = :now")
                    .value(":status", s(JobStatus::Processing.as_str()))
                    .value(":attempt", n(attempt))
                    .value(":now", micros(now)),
            ];
            // A job with an expired lease is already counted as processing.
            if !head.lease.is_some_and(|job_lease| job_lease.leased) {
                writes.push(self.count(tenant, head.job, round, (-1, 1)));
            }
            let writes = in_transaction(operation, writes)?;
            let Err(error) = self.table.write_all(writes).await else {
                return Ok(Some(processing_job(tenant, &place, Some(now))));
            };
            match cancellation_reasons(&error).as_slice() {
                // Only the counter conflicted: use another shard.
                [
                    CancellationReason::None,
                    CancellationReason::None,
                    CancellationReason::Conflict,
                ] => {}
                _ if lost_race(&error) => return Ok(None),
                _ => return Err(failed(operation, &error)),
            }
        }
        Err(busy(operation))
    }

    /// Requeues the head of a conversation queue until `at`.
    fn requeue_head(
        &self,
        tenant: &TenantId,
        seen: &str,
        head: &QueuePosition,
        job: &Job,
        at: Timestamp,
        round: u8,
    ) -> Vec<Write> {
        let job_lease = Some(Lease { until: at, attempt: job.attempt, leased: false });
        let place = QueuePosition { lease: job_lease, ..head.clone() };
        vec![
            self.seen_queue(tenant, head.conversation, seen)
                .set("gsi1sk = :place")
                .remove("started")
                .value(":place", s(place.to_string())),
            self.existing_job(tenant, head)
                .set("#status = :status, reason = :reason")
                .value(":status", s(JobStatus::Queued.as_str()))
                .value(":reason", s(job.reason.clone().unwrap_or_default())),
            self.count(tenant, head.job, round, (1, -1)),
        ]
    }

    /// Ends the head of a conversation queue with the state in `job`, and makes the next job the
    /// head.
    #[expect(clippy::too_many_arguments, reason = "the writes need all of them")]
    async fn complete_head(
        &self,
        operation: &'static str,
        conversation_queue: &ConversationQueue,
        seen: &str,
        head: &QueuePosition,
        job: &Job,
        notification: Option<&Notification>,
        round: u8,
    ) -> PortResult<Vec<TransactWriteItem>> {
        let (tenant, conversation) = (&job.tenant, head.conversation);
        let now = job.finished_at.unwrap_or(job.created_at);
        let queue = self
            .seen_queue(tenant, conversation, seen)
            .set("#ttl = :ttl")
            .remove("started")
            .value(":ttl", ttl(now, keys::CONVERSATION_QUEUE_RETENTION));
        let advanced = if head.position < conversation_queue.tail {
            let next = self.read_job(operation, tenant, conversation, head.position + 1).await?;
            let place = QueuePosition {
                created_at: next.created_at,
                expires_at: next.expires_at,
                conversation,
                position: head.position + 1,
                job: next.id,
                lease: None,
            };
            queue
                .set("gsi1pk = :list, gsi1sk = :place")
                .value(":list", s(partition(&keys::ready_of(tenant), conversation)))
                .value(":place", s(place.to_string()))
        } else {
            queue
                .remove("gsi1pk, gsi1sk")
                .only_if("tail = :tail")
                .value(":tail", unsigned(conversation_queue.tail))
        };
        let mut ended = self
            .existing_job(tenant, head)
            .set("#status = :status, attempt = :attempt, finished = :now, #ttl = :ttl")
            .value(":status", s(job.status.as_str()))
            .value(":attempt", n(job.attempt))
            .value(":now", micros(now))
            .value(":ttl", ttl(now, keys::JOB_RETENTION));
        if let Some(result) = &job.result {
            ended = ended.set("#result = :result").value(":result", s(result));
        }
        if let Some(reason) = &job.reason {
            ended = ended.set("reason = :reason").value(":reason", s(reason));
        }
        // A job with an expired lease is still counted as processing.
        let leased = head.lease.is_some_and(|job_lease| job_lease.leased);
        let counted = self.count(tenant, job.id, round, if leased { (0, -1) } else { (-1, 0) });
        let mut writes = in_transaction(operation, vec![advanced, ended, counted])?;
        if let Some(notification) = notification {
            writes.extend(self.endpoints.schedule_write(operation, notification, now)?);
        }
        Ok(writes)
    }

    // ---- Writes of transactions -------------------------------------------------------------

    /// Appends a job to its conversation queue.
    fn append(
        &self,
        tenant: &TenantId,
        conversation_queue: Option<&ConversationQueue>,
        place: &QueuePosition,
    ) -> Write {
        let key = keys::conversation_queue(tenant, place.conversation);
        let list = partition(&keys::ready_of(tenant), place.conversation);
        let keep = ttl(place.created_at, keys::CONVERSATION_QUEUE_RETENTION);
        let Some(conversation_queue) = conversation_queue else {
            let conversation_queue = item(
                &key,
                [
                    ("tail", unsigned(place.position)),
                    ("gsi1pk", s(list)),
                    ("gsi1sk", s(place.to_string())),
                    ("ttl", keep),
                ],
            );
            return self.table.put_new(conversation_queue);
        };
        let update = self
            .table
            .update(&key)
            .set("tail = :next, #ttl = :ttl")
            .value(":next", unsigned(place.position))
            .value(":tail", unsigned(conversation_queue.tail))
            .value(":ttl", keep);
        if conversation_queue.head.is_some() {
            return update.only_if("tail = :tail AND attribute_exists(gsi1sk)");
        }
        update
            .set("gsi1pk = :list, gsi1sk = :place")
            .only_if("tail = :tail AND attribute_not_exists(gsi1sk)")
            .value(":list", s(list))
            .value(":place", s(place.to_string()))
    }

    /// Returns an update of a conversation queue on the condition that its index sort key is still
    /// `seen`.
    fn seen_queue(&self, tenant: &TenantId, conversation: ConversationId, seen: &str) -> Write {
        self.table
            .update(&keys::conversation_queue(tenant, conversation))
            .only_if("gsi1sk = :seen")
            .value(":seen", s(seen))
    }

    /// Returns an update of the job at the head of a conversation queue.
    fn existing_job(&self, tenant: &TenantId, head: &QueuePosition) -> Write {
        self.table
            .update(&keys::job(tenant, head.conversation, head.position))
            .only_if("attribute_exists(pk)")
    }
}

/// Conversation queues that were read for a worker.
#[derive(Debug)]
struct Offer {
    /// Those whose head can be leased, oldest first.
    available: Vec<Place>,
    /// Heads that must be ended first, oldest first.
    overdue: Vec<OverdueJob>,
    /// Whether there was no conversation queue in the lists.
    is_empty: bool,
}

impl Offer {
    fn new(tenant: &TenantId, free: Vec<Place>, held: Vec<Place>, now: Timestamp) -> Self {
        let mut available = [free, held].concat();
        let is_empty = available.is_empty();
        available.retain(|(_, head)| head.lease.is_none_or(|lease| lease.until <= now));
        available.sort_by_key(|(_, head)| (head.created_at, head.job));
        let mut overdue = overdue(tenant, &available, now);
        // Jobs that are not overdue are leased first, so that many overdue jobs of one conversation
        // do not block the others.
        available.retain(|(place, _)| overdue.iter().all(|job| job.sort_key != *place));
        overdue.truncate(MAX_OVERDUE);
        Self { available, overdue, is_empty }
    }

    /// Returns the outcome if no head can be leased.
    fn without_a_job(self) -> LeaseOutcome {
        if self.is_empty {
            LeaseOutcome::Empty
        } else if self.overdue.is_empty() {
            LeaseOutcome::Nothing
        } else {
            LeaseOutcome::Overdue(self.overdue)
        }
    }
}

/// Returns the partition of a conversation queue in a list.
fn partition(list: &List, conversation: ConversationId) -> String {
    list.partition(&conversation.to_string())
}

fn busy(operation: &'static str) -> PortError {
    let reason = "too many concurrent writes to the same item".to_owned();
    PortError { operation, reason, fault: Fault::Retryable }
}

/// Returns the overdue heads: jobs that no worker has and that no worker may get any more.
fn overdue(tenant: &TenantId, places: &[Place], now: Timestamp) -> Vec<OverdueJob> {
    let overdue = places.iter().filter_map(|(sort_key, head)| {
        let job = queued_job(tenant, head);
        let (status, reason) = job.overdue_status(now)?;
        let job = Job { status, reason: Some(reason.to_owned()), ..job };
        Some(OverdueJob { job, sort_key: sort_key.clone() })
    });
    overdue.collect()
}

/// Returns the head as a job that waits for a worker.
fn queued_job(tenant: &TenantId, head: &QueuePosition) -> Job {
    Job {
        id: head.job,
        tenant: tenant.clone(),
        conversation: head.conversation,
        status: JobStatus::Queued,
        attempt: head.lease.map_or(0, |job_lease| job_lease.attempt),
        created_at: head.created_at,
        expires_at: head.expires_at,
        processing_started_at: None,
        lease_expires_at: None,
        finished_at: None,
        result: None,
        reason: None,
    }
}

/// Returns the head as a job that a worker processes.
fn processing_job(tenant: &TenantId, head: &QueuePosition, started: Option<Timestamp>) -> Job {
    Job {
        status: JobStatus::Processing,
        processing_started_at: started,
        lease_expires_at: head.lease.map(|job_lease| job_lease.until),
        ..queued_job(tenant, head)
    }
}

fn job_item(job: &Job, place: &QueuePosition, keep: AttributeValue) -> Item {
    item(
        &keys::job(&job.tenant, job.conversation, place.position),
        [
            ("id", s(job.id.to_string())),
            ("status", s(job.status.as_str())),
            ("attempt", n(job.attempt)),
            ("created", micros(job.created_at)),
            ("expires", micros(job.expires_at)),
            ("ttl", keep),
        ],
    )
}

fn read_job(tenant: &TenantId, conversation: ConversationId, item: &Item) -> Option<Job> {
    let owned = |name| text(item, name).map(ToOwned::to_owned);
    Some(Job {
        id: text(item, "id")?.parse().ok()?,
        tenant: tenant.clone(),
        conversation,
        status: JobStatus::from_name(text(item, "status")?)?,
        attempt: number(item, "attempt")?.try_into().ok()?,
        created_at: micros_time(item, "created")?,
        expires_at: micros_time(item, "expires")?,
        processing_started_at: micros_time(item, "started"),
        lease_expires_at: None,
        finished_at: micros_time(item, "finished"),
        result: owned("result"),
        reason: owned("reason"),
    })
}
