//! Job counters and statistics, spread over partitions, and the announcement of new jobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::{PortError, PortResult};
use domain::{JobId, TenantId};
use futures::future::try_join_all;
use jiff::Timestamp;
use table::{Item, Key, Write, failed, n, number, s, text, ttl};
use tokio::time::Instant;

use super::Repository;
use super::jobs::{CONCURRENCY, Place, SWEEP_LIMIT};
use super::keys::{self, QueuePosition};
use crate::model::QueueStats;
use crate::ports::JobStats;

/// Time in which a sandbox announces at most one job of a tenant, so that announcements do not limit
/// the throughput.
const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of tenants whose last announcement is remembered; beyond it, all are forgotten.
const MAX_TENANTS: usize = 10_000;

/// When this sandbox last announced a job of each tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcements(Arc<Mutex<HashMap<TenantId, Instant>>>);

impl Announcements {
    /// Returns whether a job is to be announced at `now`. Until the interval ends, no other one is.
    pub(super) fn begin(&self, tenant: &TenantId, now: Instant) -> bool {
        let mut last = self.lock();
        if last.get(tenant).is_some_and(|last| now < *last + ANNOUNCEMENT_INTERVAL) {
            return false;
        }
        if last.len() >= MAX_TENANTS {
            last.clear();
        }
        last.insert(tenant.clone(), now);
        true
    }

    /// Undoes [`Self::begin`]: the job was not announced.
    pub(super) fn cancel(&self, tenant: &TenantId) {
        self.lock().remove(tenant);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JobStats for Repository {
    async fn stats(&self, tenant: &TenantId, now: Timestamp) -> PortResult<QueueStats> {
        let operation = "read the job statistics";
        let (counts, held) = futures::try_join!(
            self.counts(operation, tenant, false),
            self.places(operation, keys::leased_of(tenant), Some(now), SWEEP_LIMIT)
        )?;
        let is_leased = |head: &QueuePosition| head.lease.is_some_and(|lease| lease.leased);
        let expired = held.iter().filter(|(_, head): &&Place| is_leased(head)).count();
        let stats = sum(&counts, now);
        Ok(stats.without_expired_leases(u64::try_from(expired).unwrap_or(u64::MAX)))
    }

    async fn has_unfinished(&self, tenant: &TenantId) -> PortResult<bool> {
        let counts = self.counts("count the unfinished jobs", tenant, true).await?;
        let stats = sum(&counts, Timestamp::MAX);
        Ok(stats.queued + stats.processing > 0)
    }
}

/// Returns the sum of a tenant's counters and of the hours that are not expired, which DynamoDB
/// deletes late.
fn sum(counts: &[Item], now: Timestamp) -> QueueStats {
    let (mut queued, mut processing, mut done, mut busy) = (0_i64, 0_i64, 0_i64, 0_i64);
    let oldest = keys::hour_sort_key(now - keys::HOURLY_STATS_RETENTION);
    for item in counts {
        let field = |name: &str| number(item, name).unwrap_or_default();
        match text(item, "sk") {
            Some(hour) if hour.starts_with("HOUR#") => {
                if hour >= oldest.as_str() {
                    done += field("done");
                    busy += field("busy");
                }
            }
            _ => {
                queued += field("queued");
                processing += field("processing");
            }
        }
    }
    let positive = |number: i64| u64::try_from(number).unwrap_or_default();
    QueueStats {
        queued: positive(queued),
        processing: positive(processing),
        completed: positive(done),
        busy: Duration::from_millis(positive(busy)),
    }
}

impl Repository {
    /// Returns the counters of a tenant's jobs.
    async fn counts(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        consistent: bool,
    ) -> PortResult<Vec<Item>> {
        let stats = keys::stats_of(tenant);
        let partitions = stats.partitions().chain([keys::earlier_stats_of(tenant)]);
        let partitions: Vec<String> = partitions.collect();
        let mut counts = Vec::new();
        for partitions in partitions.chunks(CONCURRENCY) {
            let queries = partitions.iter().map(|partition| async move {
                let query = self
                    .table
                    .query()
                    .consistent_read(consistent)
                    .key_condition_expression("pk = :pk")
                    .expression_attribute_values(":pk", s(partition));
                let answer = query.send().await.map_err(|error| failed(operation, &error))?;
                Ok::<_, PortError>(answer.items.unwrap_or_default())
            });
            counts.extend(try_join_all(queries).await?.into_iter().flatten());
        }
        Ok(counts)
    }

    /// Updates one of the counters of queued and processing jobs. Which one depends on the job and
    /// the `round`.
    pub(super) fn count(
        &self,
        tenant: &TenantId,
        job: JobId,
        round: u8,
        change: (i64, i64),
    ) -> Write {
        let (shard, number) = counter_of(job, round);
        self.add(&keys::count(tenant, shard, number), change)
    }

    /// Counts a new job in the counter that waiting workers read.
    pub(super) fn announce(&self, tenant: &TenantId) -> Write {
        self.add(&keys::announced(tenant), (1, 0))
    }

    fn add(&self, counter: &Key, (queued, processing): (i64, i64)) -> Write {
        self.table
            .update(counter)
            .add_to("queued :queued, processing :processing")
            .value(":queued", n(queued))
            .value(":processing", n(processing))
    }

    /// Records the duration of a job. It is not retried, because a lost write only makes an
    /// estimate less exact.
    pub(super) async fn record_duration(
        &self,
        tenant: &TenantId,
        job: JobId,
        started: Timestamp,
        now: Timestamp,
    ) {
        let took = now.duration_since(started).unsigned_abs().as_millis();
        let (shard, _) = counter_of(job, 0);
        let update = self
            .table
            .update(&keys::hour(tenant, shard, now))
            .set("#ttl = :ttl")
            .add_to("done :one, busy :took")
            .value(":ttl", ttl(now, keys::HOURLY_STATS_RETENTION))
            .value(":one", n(1))
            .value(":took", n(i64::try_from(took).unwrap_or_default()));
        let _recorded = update.apply("record the duration of a job").await;
    }
}

/// Returns the shard and the number of the counter of a job in a round.
fn counter_of(job: JobId, round: u8) -> (u8, u8) {
    // The last characters of ids are evenly distributed.
    let hash = job.to_string().bytes().rev().take(8).fold(0x811c_9dc5_u32, |hash, character| {
        (hash ^ u32::from(character)).wrapping_mul(0x0100_0193)
    });
    let (shards, counters) = (u32::from(keys::COUNT_SHARDS), u32::from(keys::SHARD_COUNTERS));
    let counter =
        ((hash ^ (hash >> 16)) % (shards * counters) + 37 * u32::from(round)) % (shards * counters);
    let (shard, number) = (counter % shards, counter / shards);
    (u8::try_from(shard).unwrap_or_default(), u8::try_from(number).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::MessageId;

    use super::*;

    #[test]
    fn jobs_are_spread_evenly_over_the_counters_and_retried_at_another() {
        let (mut shards, mut counters) = (BTreeMap::new(), BTreeMap::new());
        for number in 0..32_000_u32 {
            let job = JobId::of(MessageId::derived(&[&number.to_string()]));
            let (shard, counter) = counter_of(job, 0);
            assert_ne!(counter_of(job, 1), (shard, counter));
            *shards.entry(shard).or_insert(0) += 1;
            *counters.entry((shard, counter)).or_insert(0) += 1;
        }
        assert_eq!((shards.len(), counters.len()), (32, 512));
        assert!(shards.values().all(|count| (850..1150).contains(count)), "{shards:?}");
        assert!(counters.values().all(|count| (25..110).contains(count)), "{counters:?}");
    }

    #[test]
    fn a_sandbox_announces_one_job_of_a_tenant_in_a_second() {
        let announcements = Announcements::default();
        let (acme, globex): (TenantId, TenantId) =
            ("acme".parse().unwrap(), "globex".parse().unwrap());
        let now = Instant::now();
        assert!(announcements.begin(&acme, now) && !announcements.clone().begin(&acme, now));
        assert!(announcements.begin(&globex, now));
        announcements.cancel(&acme);
        assert!(announcements.begin(&acme, now), "the other job was not announced");
        assert!(announcements.begin(&acme, now + ANNOUNCEMENT_INTERVAL));
    }

    #[test]
    fn counters_of_earlier_versions_and_recent_hours_are_added() {
        let now = Timestamp::from_second(36_000).unwrap();
        let item = |sk: String, fields: [(&str, i64); 2]| -> Item {
            let mut item: Item = Item::from([("sk".to_owned(), s(sk))]);
            item.extend(fields.map(|(name, value)| (name.to_owned(), n(value))));
            item
        };
        let hour = |at| keys::hour_sort_key(Timestamp::from_second(at).unwrap());
        let counts = [
            item("COUNT#63".to_owned(), [("queued", 5), ("processing", -1)]),
            item("COUNT#01".to_owned(), [("queued", -2), ("processing", 3)]),
            item("COUNT#NEW".to_owned(), [("queued", 1), ("processing", 0)]),
            item(hour(36_000), [("done", 2), ("busy", 700)]),
            item(hour(36_000 - 4 * 3600), [("done", 1), ("busy", 300)]),
            item(hour(36_000 - 5 * 3600), [("done", 9), ("busy", 900)]),
        ];
        let busy = Duration::from_secs(1);
        assert_eq!(sum(&counts, now), QueueStats { queued: 4, processing: 2, completed: 3, busy });
    }
}
