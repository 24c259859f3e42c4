//! Jobs on the simulated table: the capacity that a job consumes, 3,000 jobs per second on a table
//! with partition limits, and fifty concurrent workers, of which some crash, while the index lags and
//! responses get lost.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic fails the test"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accounts::model::automation::{Automation, Pull};
use accounts::ports::{Automations, PullingTenants, Registry};
use domain::content::Content;
use domain::job::JobStatus;
use domain::message::{Direction, Message, Status};
use domain::notification::{EndedJob, Notification, NotificationData, NotificationKind};
use domain::ports::{Clock, Recorded, Rng};
use domain::provider::Channel;
use domain::{ConversationId, IntegrationId, MessageId, Provider, TenantId};
use endpoints::ports::{NotificationClaim, Notifications, Schedule};
use jiff::Timestamp;
use messaging::ports::EnqueueJob;
use serde_json::{Value, json};
use testkit::cloud::dynamo::{Dynamo, Lag, PartitionLimits, PartitionUse, Units};
use testkit::{FakeClock, SeededRng, SimulatedTables};
use tests::Repositories;
use tests::sample::audit;
use work::model::{HealthSnapshot, Job, JobOutcome, MAX_ATTEMPTS};
use work::ports::{
    EndOverdueJobs, HealthReader, JobReader, JobStats, JobSweep, JobUpdate, Jobs, LeaseOutcome,
};
use work::repository::keys::ready_of;

const TABLE: &str = "work";
const LEASE: Duration = Duration::from_mins(1);
const TIME_TO_LIVE: Duration = Duration::from_hours(24);

/// Simulated tables and their clock.
#[derive(Clone, Debug)]
struct Hub {
    clock: FakeClock,
    table: SimulatedTables,
}

impl Hub {
    fn new() -> Self {
        let clock = FakeClock::at(at(0));
        Self { table: SimulatedTables::new(&clock), clock }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the capacity consumed since the last call, and resets it.
    fn consumed(&self) -> Units {
        self.table.with(|dynamo| {
            let units = dynamo.consumed().total().units;
            dynamo.reset_consumed();
            units
        })
    }

    fn store(&self) -> Repositories {
        Repositories::new(&self.table.config(), str::to_owned)
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_176_000 + second).unwrap()
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

/// Returns job `number` of the conversation of `person`.
fn job(person: u64, number: u64) -> Job {
    Job::new(&message(person, number), TIME_TO_LIVE)
}

/// Queues that job.
async fn enqueue(store: &Repositories, person: u64, number: u64) -> Recorded {
    store.jobs.enqueue_job(&message(person, number), TIME_TO_LIVE).await.unwrap()
}

/// Returns the message of that job, received `person + number` milliseconds after the start.
fn message(person: u64, number: u64) -> Message {
    let name = format!("{person}:{number}");
    Message {
        id: MessageId::derived(&[&name]),
        tenant: acme(),
        conversation: ConversationId::derived(&[&person.to_string()]),
        channel: Channel::Whatsapp,
        provider: Provider::WhatsappCloud,
        integration: IntegrationId::derived(&["own"]),
        direction: Direction::Inbound,
        content: Content::Text { text: name },
        status: Status::Received,
        provider_message_id: None,
        reply_to: None,
        created_at: at(0) + Duration::from_millis(person + number),
        occurred_at: None,
        history: Vec::new(),
    }
}

/// Returns the partition that lists the conversation of `person` if it has a job.
fn ready_partition(person: u64) -> String {
    ready_of(&acme()).partition(&message(person, 0).conversation.to_string())
}

/// Returns the random number of a worker that reads that partition first.
fn chance_of(person: u64) -> u128 {
    let partition = ready_partition(person);
    let shard = ready_of(&acme()).partitions().position(|shard| shard == partition);
    shard.unwrap().try_into().unwrap()
}

/// Writes a conversation queue with one job to the table, without the store: writing a million of
/// them through the store would take an hour.
fn seed(dynamo: &mut Dynamo, person: u64) {
    let job = job(person, 0);
    let head = work::repository::keys::QueuePosition {
        created_at: job.created_at,
        expires_at: job.expires_at,
        conversation: job.conversation,
        position: 1,
        job: job.id,
        lease: None,
    };
    let put = |key: table::Key, mut item: Value| {
        item["pk"] = json!({ "S": key.pk });
        item["sk"] = json!({ "S": key.sk });
        json!({ "TableName": TABLE, "Item": item })
    };
    let queue = put(
        work::repository::keys::conversation_queue(&job.tenant, job.conversation),
        json!({ "v": { "N": "1" }, "tail": { "N": "1" }, "ttl": { "N": "1800000000" },
            "gsi1pk": { "S": ready_partition(person) }, "gsi1sk": { "S": head.to_string() } }),
    );
    dynamo.call("PutItem", &queue, at(0).as_millisecond()).unwrap();
}

/// Returns the capacity consumed to queue, pull and complete a job while `waiting` others wait.
async fn costs(waiting: u64) -> [Units; 3] {
    let hub = Hub::new();
    let store = hub.store();
    hub.table.with(|dynamo| (1..=waiting).for_each(|person| seed(dynamo, person)));
    hub.consumed();
    assert_eq!(enqueue(&store, 0, 0).await, Recorded::New);
    let queued = hub.consumed();
    let chance = chance_of(0);
    let LeaseOutcome::Job(pulled) =
        store.jobs.lease_next(&acme(), at(60), LEASE, chance).await.unwrap()
    else {
        panic!("no job was offered with {waiting} others queued")
    };
    assert_eq!(pulled.id, job(0, 0).id, "the oldest job is offered first");
    let claimed = hub.consumed();
    let ending = JobOutcome::Completed { result: None };
    let answer =
        store.jobs.settle_job(&acme(), pulled.ticket(), &ending, None, at(61)).await.unwrap();
    assert!(matches!(answer, JobUpdate::Done(_)));
    [queued, claimed, hub.consumed()]
}

#[tokio::test]
async fn a_job_costs_the_same_however_many_wait() {
    let [queued, claimed, completed] = costs(10).await;
    // Writes the pointer, the job, the conversation queue with its index entry, and the counter.
    // In a transaction each counts twice.
    assert_eq!(queued, Units { read_halves: 2, write: 10 });
    // Reads one shard of both lists and, because it has few jobs, all sixteen. Writes the queue,
    // whose index entry moves from one list to the other, the job, and the counter.
    assert_eq!(claimed, Units { read_halves: 2 + 32, write: 10 });
    // Reads the pointer and the queue. Writes the queue, whose index entry is deleted, the job, the
    // counter, and, outside the transaction, the statistics of the hour.
    assert_eq!(completed, Units { read_halves: 4, write: 9 });
    let most = if cfg!(feature = "million") { 1_000_000 } else { 30_000 };
    // One shard of both lists is enough.
    let claimed = Units { read_halves: 2, ..claimed };
    for waiting in [10_000, most] {
        assert_eq!(costs(waiting).await, [queued, claimed, completed], "with {waiting} queued");
    }
}

#[tokio::test]
async fn a_check_of_an_idle_queue_for_announced_jobs_costs_half_a_read_unit() {
    let hub = Hub::new();
    let store = hub.store();
    assert_eq!(store.jobs.announced(&acme()).await.unwrap(), 0);
    assert_eq!(hub.consumed(), Units { read_halves: 1, write: 0 });
    let pulled = store.jobs.lease_next(&acme(), at(0), LEASE, 1).await.unwrap();
    assert_eq!(pulled, LeaseOutcome::Empty);
    assert_eq!(hub.consumed(), Units { read_halves: 2 + 32, write: 0 });
    // 32 partitions of counters, that of earlier versions, and the list of held queues.
    store.jobs.stats(&acme(), at(0)).await.unwrap();
    assert_eq!(hub.consumed(), Units { read_halves: 32 + 1 + 16, write: 0 });
    enqueue(&store, 0, 0).await;
    enqueue(&store, 0, 1).await;
    assert_eq!(store.jobs.announced(&acme()).await.unwrap(), 1, "the second job is not available");
    enqueue(&store, 1, 0).await;
    assert_eq!(store.jobs.announced(&acme()).await.unwrap(), 1, "within the same second");
    // Another sandbox does not know of the announcement.
    enqueue(&hub.store(), 2, 0).await;
    assert_eq!(store.jobs.announced(&acme()).await.unwrap(), 2);
    let stats = store.jobs.stats(&acme(), at(0)).await.unwrap();
    assert_eq!((stats.queued, stats.processing), (4, 0));
}

#[tokio::test]
async fn a_job_is_found_in_every_shard_whichever_is_read_first() {
    let hub = Hub::new();
    let store = hub.store();
    for chance in 0..16 {
        for person in 0..20 {
            enqueue(&store, person, u64::try_from(chance).unwrap()).await;
        }
        for person in 0..20 {
            let LeaseOutcome::Job(pulled) =
                store.jobs.lease_next(&acme(), at(60), LEASE, chance).await.unwrap()
            else {
                panic!("{} jobs are left", 20 - person)
            };
            let done = JobOutcome::Completed { result: None };
            store.jobs.settle_job(&acme(), pulled.ticket(), &done, None, at(60)).await.unwrap();
        }
        let pulled = store.jobs.lease_next(&acme(), at(60), LEASE, chance).await.unwrap();
        assert_eq!(pulled, LeaseOutcome::Empty);
    }
}

#[tokio::test]
async fn counters_and_lists_of_earlier_versions_still_count() {
    let hub = Hub::new();
    let store = hub.store();
    hub.table.with(|dynamo| {
        let partition = work::repository::keys::earlier_stats_of(&acme());
        let count = json!({ "TableName": TABLE, "Item": { "pk": { "S": partition },
            "sk": { "S": "COUNT#63" }, "queued": { "N": "5" }, "processing": { "N": "1" } } });
        dynamo.call("PutItem", &count, at(0).as_millisecond()).unwrap();
    });
    // A conversation queue that is in the first shard of its list, whatever its conversation is.
    let person = (0..100).find(|person| ready_partition(*person) != ready_of(&acme()).shard(0));
    let person = person.unwrap();
    enqueue(&store, person, 0).await;
    let conversation = job(person, 0).conversation;
    let queue = work::repository::keys::conversation_queue(&acme(), conversation);
    hub.table.with(|dynamo| {
        let moved = json!({ "TableName": TABLE,
            "Key": { "pk": { "S": queue.pk }, "sk": { "S": queue.sk } },
            "UpdateExpression": "SET gsi1pk = :list",
            "ExpressionAttributeValues": { ":list": { "S": ready_of(&acme()).shard(0) } } });
        dynamo.call("UpdateItem", &moved, at(0).as_millisecond()).unwrap();
    });
    let stats = store.jobs.stats(&acme(), at(0)).await.unwrap();
    assert_eq!((stats.queued, stats.processing), (6, 1));
    assert_eq!(pulled(&store, 1).await.id, job(person, 0).id);
    let stats = store.jobs.stats(&acme(), at(1)).await.unwrap();
    assert_eq!((stats.queued, stats.processing), (5, 2));
}

/// A tenth of what a partition key of AWS takes.
const TENTH: PartitionLimits = PartitionLimits {
    write_units: PartitionLimits::AWS.write_units / 10,
    read_units: PartitionLimits::AWS.read_units / 10,
};
/// A tenth of 3,000 jobs per second.
const PER_SECOND: u32 = 3000 / 10;
/// A tenth of the concurrent invocations of `consumer-inbound`.
const SANDBOXES: usize = 50 / 10;

/// Queues, pulls and completes jobs of one tenant for two seconds, one for each of `people`, on a
/// table with a tenth of the limits. Returns how many were completed, and the throttled keys.
async fn at_3000_per_second(people: impl Iterator<Item = u64>) -> (u32, Vec<String>) {
    let hub = Hub::new();
    hub.table.with(|dynamo| dynamo.set_partition_limits(Some(TENTH)));
    let sandboxes: Vec<_> = (0..SANDBOXES).map(|_| hub.store()).collect();
    let rng = SeededRng::new(3);
    let mut completed = 0;
    let jobs = people.zip(sandboxes.iter().cycle());
    for (number, (person, store)) in (0..2 * PER_SECOND).zip(jobs) {
        let passed = Duration::from_secs(1) / PER_SECOND * number;
        let now = at(60) + passed;
        hub.clock.set(now);
        // A throttled request fails, and is repeated later by its caller.
        let _queued = store.jobs.enqueue_job(&message(person, 0), TIME_TO_LIVE).await;
        // The workers are half a second behind.
        if number < PER_SECOND / 2 {
            continue;
        }
        let offer = store.jobs.lease_next(&acme(), now, LEASE, rng.bits()).await;
        let Ok(LeaseOutcome::Job(job)) = offer else { continue };
        let done = JobOutcome::Completed { result: None };
        let answer = store.jobs.settle_job(&acme(), job.ticket(), &done, None, now).await;
        completed += u32::from(matches!(answer, Ok(JobUpdate::Done(_))));
    }
    let keys = hub.table.with(|dynamo| {
        let keys = dynamo.throttled().keys().map(PartitionUse::to_string);
        keys.collect()
    });
    (completed, keys)
}

#[tokio::test]
async fn jobs_of_3000_messages_per_second_of_one_tenant_are_not_throttled() {
    let (completed, throttled) = at_3000_per_second(0..).await;
    assert_eq!(throttled, [""; 0]);
    assert_eq!(completed, 2 * PER_SECOND - PER_SECOND / 2);
}

#[tokio::test]
async fn the_same_jobs_in_one_shard_are_throttled() {
    let shard = ready_of(&acme()).shard(0);
    let (_, throttled) =
        at_3000_per_second((0..).filter(|person| ready_partition(*person) == shard)).await;
    let hot = format!("writes of by_parent {shard}");
    assert!(throttled.contains(&hot), "{throttled:?}");
}

/// Returns the notification that a job failed.
fn notification(job: &Job) -> Notification {
    let ended = EndedJob {
        job_id: job.id,
        status: JobStatus::Failed,
        attempt: job.attempt,
        reason: "why".to_owned(),
    };
    let data = NotificationData {
        tenant: acme(),
        message: message(0, 0),
        conversation: None,
        job: Some(ended),
    };
    Notification { kind: NotificationKind::JobFailed, timestamp: at(0), data }
}

/// Returns the job that a worker is offered at `second`.
async fn pulled(store: &Repositories, second: i64) -> Job {
    match store.jobs.lease_next(&acme(), at(second), LEASE, 1).await.unwrap() {
        LeaseOutcome::Job(job) => *job,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_transition_of_a_job_works_on_the_simulated_table() {
    let hub = Hub::new();
    let store = &hub.store();
    for number in 0..3 {
        enqueue(store, 0, number).await;
    }
    assert_eq!(enqueue(store, 0, 1).await, Recorded::Duplicate);
    // The lease is extended; the job is returned to the queue and offered again.
    let first = pulled(store, 0).await;
    let extended = store.jobs.extend(&acme(), first.ticket(), at(59), LEASE).await.unwrap();
    let JobUpdate::Done(extended) = extended else { panic!("{extended:?}") };
    assert_eq!(extended.lease_expires_at, Some(at(119)));
    let later = JobOutcome::Retry { reason: "later".to_owned(), at: at(120) };
    let returned = store.jobs.settle_job(&acme(), first.ticket(), &later, None, at(118)).await;
    assert!(matches!(returned, Ok(JobUpdate::Done(_))));
    assert_eq!(
        store.jobs.lease_next(&acme(), at(119), LEASE, 1).await.unwrap(),
        LeaseOutcome::Nothing
    );
    let again = pulled(store, 120).await;
    assert_eq!((again.id, again.attempt), (first.id, 2));
    // The job fails for good; its notification is recorded in the same write.
    let failed = JobOutcome::Failed { reason: "why".to_owned() };
    let job_failed = notification(&again);
    for _time in 0..2 {
        let ended = store
            .jobs
            .settle_job(&acme(), again.ticket(), &failed, Some(&job_failed), at(121))
            .await;
        let JobUpdate::Done(ended) = ended.unwrap() else { panic!("the worker holds the lease") };
        assert_eq!((ended.status, ended.reason.as_deref()), (JobStatus::Failed, Some("why")));
    }
    assert_eq!(store.endpoints.due(at(122), 10).await.unwrap().len(), 1);
    let id = job_failed.data.notification_id(job_failed.kind);
    let claim = store.endpoints.claim(&acme(), id, None, at(122), LEASE).await.unwrap();
    assert!(matches!(claim, NotificationClaim::Granted { attempt: 1, .. }), "{claim:?}");
    // The lease of the second job expires in every attempt, while the third waits behind it.
    let mut second = 200;
    for attempt in 1..=MAX_ATTEMPTS {
        let job = pulled(store, second).await;
        assert_eq!((job.id, job.attempt), (self::job(0, 1).id, attempt));
        second += 60;
        let late = store.jobs.extend(&acme(), job.ticket(), at(second), LEASE).await.unwrap();
        assert!(matches!(late, JobUpdate::Refused(_)), "{late:?}");
    }
    let failed = store.jobs.overdue(&acme(), at(second)).await.unwrap();
    assert_eq!((failed.len(), failed[0].job.status), (1, JobStatus::Failed));
    assert_eq!(store.jobs.end(&failed[0], None, at(second)).await.unwrap(), Recorded::New);
    assert_eq!(store.jobs.end(&failed[0], None, at(second)).await.unwrap(), Recorded::Duplicate);
    // The third job expires, and the conversation queue is empty.
    let day = 24 * 3600 + 1;
    let expired = store.jobs.overdue(&acme(), at(day)).await.unwrap();
    assert_eq!((expired.len(), expired[0].job.status), (1, JobStatus::Expired));
    assert_eq!(store.jobs.end(&expired[0], None, at(day)).await.unwrap(), Recorded::New);
    assert_eq!(
        store.jobs.lease_next(&acme(), at(day), LEASE, 1).await.unwrap(),
        LeaseOutcome::Empty
    );
    let stats = store.jobs.stats(&acme(), at(day)).await.unwrap();
    assert_eq!((stats.queued, stats.processing), (0, 0));
    // The conversation queue accepts jobs again.
    enqueue(store, 0, 3).await;
    let last = pulled(store, 300).await;
    let done = JobOutcome::Completed { result: Some("{}".to_owned()) };
    store.jobs.settle_job(&acme(), last.ticket(), &done, None, at(302)).await.unwrap();
    let stats = store.jobs.stats(&acme(), at(303)).await.unwrap();
    assert_eq!((stats.completed, stats.busy), (1, Duration::from_secs(2)));
    assert_eq!(
        store.jobs.job(&acme(), last.id).await.unwrap().unwrap().result.as_deref(),
        Some("{}")
    );
}

#[tokio::test]
async fn pulling_tenants_and_the_health_snapshot_are_stored() {
    let hub = Hub::new();
    let store = &hub.store();
    let pull = Automation::Pull(Pull { job_ttl: 60, push: None });
    store.accounts.set_automation(&acme(), &pull, &audit(&acme())).await.unwrap();
    store.accounts.stop_tracking(&acme()).await.unwrap();
    assert_eq!(store.accounts.tracked_tenants(10, None).await.unwrap().items, [acme()]);
    assert_eq!(store.accounts.automation(&acme()).await.unwrap(), pull);
    store.accounts.set_automation(&acme(), &Automation::None, &audit(&acme())).await.unwrap();
    store.accounts.stop_tracking(&acme()).await.unwrap();
    assert!(store.accounts.tracked_tenants(10, None).await.unwrap().items.is_empty());
    assert_eq!(store.jobs.health().await.unwrap(), None);
    let health = HealthSnapshot { queued: 3, processing: 1, beat_at: at(60), up_since: at(0) };
    store.jobs.record_heartbeat(&health).await.unwrap();
    store.jobs.record_heartbeat(&HealthSnapshot { beat_at: at(59), ..health }).await.unwrap();
    assert_eq!(store.jobs.health().await.unwrap(), Some(health));
}

const WORKERS: u64 = 50;

/// Observations of the workers.
#[derive(Debug, Default)]
struct Observations {
    /// Number of the worker that was offered each attempt.
    offered: BTreeMap<(domain::JobId, u32), u64>,
    /// Attempt that completed each job.
    completed: BTreeMap<domain::JobId, u32>,
    /// Requests in a row that found no job.
    idle: u64,
}

/// Works as a worker until aborted.
async fn work(
    hub: Hub,
    number: u64,
    people: BTreeMap<ConversationId, u64>,
    observations: Arc<Mutex<Observations>>,
) {
    let store = hub.store();
    let mut chance = u128::from(number);
    loop {
        chance = chance.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
        let offer = store.jobs.lease_next(&acme(), hub.now(), LEASE, chance).await;
        let job = match offer {
            Ok(LeaseOutcome::Job(job)) => job,
            Ok(LeaseOutcome::Overdue(overdue)) => panic!("{overdue:?}"),
            Ok(LeaseOutcome::Nothing | LeaseOutcome::Empty) => {
                {
                    let mut observations = observations.lock().unwrap();
                    observations.idle += 1;
                    if observations.idle > WORKERS / 10 {
                        observations.idle = 0;
                        hub.clock.advance(Duration::from_secs(5));
                    }
                }
                // A check of all shards takes long to simulate.
                for _step in 0..200 {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            Err(_) => continue,
        };
        {
            let mut observations = observations.lock().unwrap();
            observations.idle = 0;
            let holder = observations.offered.insert((job.id, job.attempt), number);
            assert_eq!(holder, None, "{} was offered twice as attempt {}", job.id, job.attempt);
        }
        // Every earlier job of its conversation must be completed.
        let person = people.get(&job.conversation).unwrap();
        let position = (0..1000).find(|n| self::job(*person, *n).id == job.id).unwrap();
        if position > 0 {
            let before = work::repository::keys::job(&acme(), job.conversation, position);
            let status = hub.table.with(|dynamo| {
                let item = dynamo.item(TABLE, &before.pk, &before.sk).unwrap();
                item.get("status").and_then(|status| status.text().map(str::to_owned))
            });
            assert_eq!(status.as_deref(), Some("completed"), "{} was offered too early", job.id);
        }
        for _step in 0..chance % 20 {
            tokio::task::yield_now().await;
        }
        let ending = JobOutcome::Completed { result: Some(job.attempt.to_string()) };
        loop {
            let now = hub.now();
            match store.jobs.settle_job(&acme(), job.ticket(), &ending, None, now).await {
                Ok(JobUpdate::Done(_)) => {
                    let mut observations = observations.lock().unwrap();
                    let earlier = observations.completed.insert(job.id, job.attempt);
                    assert!(earlier.is_none(), "{} was completed twice", job.id);
                    break;
                }
                // The lease has expired.
                Ok(JobUpdate::Refused(_)) => break,
                Ok(JobUpdate::Missing) => panic!("{} is missing", job.id),
                // Retry, as any client library would.
                Err(_) => {}
            }
        }
    }
}

#[tokio::test]
async fn fifty_workers_that_crash_at_random_complete_each_job_once_and_in_order() {
    let (conversations, each) = (30, 8);
    let hub = Hub::new();
    let store = hub.store();
    let mut people = BTreeMap::new();
    for person in 0..conversations {
        for number in 0..each {
            enqueue(&store, person, number).await;
            people.insert(message(person, number).conversation, person);
        }
    }
    hub.table.with(|dynamo| dynamo.set_lag(Lag { index_ms: 30, read_ms: 30 }));
    hub.table.faults().fail_at_random(SeededRng::new(7));
    hub.clock.set(at(60));
    let rng = SeededRng::new(11);
    let observations = Arc::new(Mutex::new(Observations::default()));
    let start =
        |number| tokio::spawn(work(hub.clone(), number, people.clone(), observations.clone()));
    let mut workers: Vec<_> = (0..WORKERS).map(&start).collect();
    let mut killed = 0;
    for turn in 0_u64.. {
        for _step in 0..20 {
            tokio::task::yield_now().await;
        }
        hub.clock.advance(Duration::from_millis(100));
        let one = usize::try_from(rng.bits() % u128::from(WORKERS)).unwrap();
        if workers[one].is_finished() {
            let ended = std::mem::replace(&mut workers[one], start(turn));
            ended.await.unwrap();
        } else if killed < 80 {
            workers[one].abort();
            workers[one] = start(WORKERS + turn);
            killed += 1;
        }
        if turn % 5 == 0 {
            // Read directly from the table, without faults and without consumed capacity.
            let done = hub.table.with(|dynamo| {
                let items = dynamo.items(TABLE);
                items.filter(|item| item.get("finished").is_some()).count()
            });
            let left = conversations * each - u64::try_from(done).unwrap();
            if left == 0 {
                break;
            }
            assert!(turn < 3_000, "{left} jobs are left after {killed} crashes");
        }
    }
    for worker in workers {
        worker.abort();
    }
    hub.table.faults().clear();
    assert!(killed >= 20, "only {killed} workers crashed");
    for person in 0..conversations {
        for number in 0..each {
            let job = store.jobs.job(&acme(), job(person, number).id).await.unwrap().unwrap();
            assert_eq!(job.status, JobStatus::Completed, "{person}:{number}");
            let reported = observations.lock().unwrap().completed.get(&job.id).copied();
            assert!(reported.is_none_or(|attempt| attempt == job.attempt), "{person}:{number}");
            assert_eq!(job.result, Some(job.attempt.to_string()));
        }
    }
    // The counters are read eventually consistently.
    hub.clock.advance(Duration::from_secs(1));
    let stats = store.jobs.stats(&acme(), hub.now()).await.unwrap();
    assert_eq!((stats.queued, stats.processing), (0, 0));
    let attempts = observations.lock().unwrap().offered.len();
    assert!(u64::try_from(attempts).unwrap() > conversations * each, "no attempt was repeated");
}
