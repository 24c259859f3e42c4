//! Jobs on the model of the table: what a claim costs, and fifty workers at once, some of whom
//! die, whose index is late and whose answers get lost.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by it"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::automation::{
    Automation, EndedJob, Notification, NotificationData, NotificationKind, Pull,
};
use domain::content::Content;
use domain::message::{Direction, Message, Status};
use domain::ports::{
    Automations, Clock, HealthReader, JobAnswer, JobEnds, JobFigures, JobIntake, JobReader,
    JobSweep, Jobs, NotificationClaim, Notifications, Offer, Recorded, Registry, Rng, Schedule,
};
use domain::provider::Channel;
use domain::pull::{HealthSnapshot, Job, JobEnding, JobStatus, MAX_ATTEMPTS};
use domain::{ConversationId, IntegrationId, MessageId, Provider, TenantId};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::{DynamoStore, keys};
use testkit::cloud::dynamo::{Dynamo, Lag, Units};
use testkit::{FakeClock, SeededRng, SimulatedTable};

const TABLE: &str = SimulatedTable::NAME;
const LEASE: Duration = Duration::from_mins(1);

/// A table, and its clock.
#[derive(Clone, Debug)]
struct Hub {
    clock: FakeClock,
    table: SimulatedTable,
}

impl Hub {
    fn new() -> Self {
        let clock = FakeClock::at(at(0));
        Self { table: SimulatedTable::new(&clock), clock }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What was consumed since the last time.
    fn consumed(&self) -> Units {
        self.table.with(|dynamo| {
            let units = dynamo.consumed().total().units;
            dynamo.reset_consumed();
            units
        })
    }

    fn store(&self) -> DynamoStore {
        DynamoStore::new(&self.table.config(), TABLE.to_owned())
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_176_000 + second).unwrap()
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

/// Job number `number` of a conversation, made so many milliseconds after the beginning.
fn job(person: u64, number: u64) -> Job {
    Job::new(&message(person, number), Duration::from_hours(24))
}

/// Its message.
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

/// A lane with one job as the table has it, written past the store: a million of them through it
/// would take an hour.
fn seed(dynamo: &mut Dynamo, person: u64) {
    let job = job(person, 0);
    let place = keys::QueuePosition {
        created_at: job.created_at,
        expires_at: job.expires_at,
        conversation: job.conversation,
        place: 1,
        job: job.id,
        lease: None,
    };
    let put = |key: keys::Key, mut more: Value| {
        more["pk"] = json!({ "S": key.pk });
        more["sk"] = json!({ "S": key.sk });
        json!({ "TableName": TABLE, "Item": more })
    };
    let lane = put(
        keys::conversation_queue(&job.tenant, job.conversation),
        json!({ "v": { "N": "1" }, "tail": { "N": "1" }, "ttl": { "N": "1800000000" },
            "gsi1pk": { "S": keys::ready_of(&job.tenant) }, "gsi1sk": { "S": place.to_string() } }),
    );
    dynamo.call("PutItem", &lane, at(0).as_millisecond()).unwrap();
}

/// What a job costs when so many wait: queued, pulled, completed.
async fn costs(waiting: u64) -> [Units; 3] {
    let hub = Hub::new();
    let store = hub.store();
    hub.table.with(|dynamo| (1..=waiting).for_each(|person| seed(dynamo, person)));
    hub.consumed();
    assert_eq!(store.queue_job(&job(0, 0)).await.unwrap(), Recorded::New);
    let queued = hub.consumed();
    let Offer::Job(pulled) = store.offer(&acme(), at(60), LEASE, 1).await.unwrap() else {
        panic!("{waiting} jobs wait")
    };
    assert_eq!(pulled.id, job(0, 0).id, "the oldest");
    let claimed = hub.consumed();
    let ending = JobEnding::Completed { result: None };
    let answer = store.settle_job(&acme(), pulled.ticket(), &ending, None, at(61)).await.unwrap();
    assert!(matches!(answer, JobAnswer::Done(_)));
    [queued, claimed, hub.consumed()]
}

#[tokio::test]
async fn a_job_costs_the_same_however_many_wait() {
    let [queued, claimed, completed] = costs(10).await;
    // The pointer, the job, the lane with its entry in the index, the count; twice each.
    assert_eq!(queued, Units { read_halves: 2, write: 10 });
    // Both lists; the lane whose entry moves from one list to the other, the job, the count.
    assert_eq!(claimed, Units { read_halves: 2, write: 10 });
    // Where it is, its lane; the lane whose entry goes, the job, the count; and the hour.
    assert_eq!(completed, Units { read_halves: 4, write: 9 });
    let most = if cfg!(feature = "million") { 1_000_000 } else { 30_000 };
    for waiting in [10_000, most] {
        assert_eq!(costs(waiting).await, [queued, claimed, completed], "with {waiting} queued");
    }
}

/// What a tenant is told of the end of a job.
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

/// The job that is given at `second`.
async fn pulled(store: &DynamoStore, second: i64) -> Job {
    match store.offer(&acme(), at(second), LEASE, 1).await.unwrap() {
        Offer::Job(job) => *job,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_table_takes_every_turn_that_a_job_may_take() {
    let hub = Hub::new();
    let store = &hub.store();
    for number in 0..3 {
        store.queue_job(&job(0, number)).await.unwrap();
    }
    assert_eq!(store.queue_job(&job(0, 1)).await.unwrap(), Recorded::Duplicate);
    // Kept for longer, given back, and given again.
    let first = pulled(store, 0).await;
    let kept = store.extend(&acme(), first.ticket(), at(59), LEASE).await.unwrap();
    let JobAnswer::Done(kept) = kept else { panic!("{kept:?}") };
    assert_eq!(kept.lease_expires_at, Some(at(119)));
    let later = JobEnding::Retry { reason: "later".to_owned(), at: at(120) };
    let given_back = store.settle_job(&acme(), first.ticket(), &later, None, at(118)).await;
    assert!(matches!(given_back, Ok(JobAnswer::Done(_))));
    assert_eq!(store.offer(&acme(), at(119), LEASE, 1).await.unwrap(), Offer::Nothing);
    let again = pulled(store, 120).await;
    assert_eq!((again.id, again.attempt), (first.id, 2));
    // Failed for good, and told in the same write.
    let failed = JobEnding::Failed { reason: "why".to_owned() };
    let told = notification(&again);
    for _time in 0..2 {
        let ended = store.settle_job(&acme(), again.ticket(), &failed, Some(&told), at(121)).await;
        let JobAnswer::Done(ended) = ended.unwrap() else { panic!("it was its own") };
        assert_eq!((ended.status, ended.reason.as_deref()), (JobStatus::Failed, Some("why")));
    }
    assert_eq!(store.due(at(122), 10).await.unwrap().len(), 1);
    let id = told.data.notification_id(told.kind);
    let claim = Notifications::claim(store, &acme(), id, None, at(122), LEASE).await.unwrap();
    assert!(matches!(claim, NotificationClaim::Granted { attempt: 1, .. }), "{claim:?}");
    // Lapsed until the end, while the third waits behind it.
    let mut second = 200;
    for attempt in 1..=MAX_ATTEMPTS {
        let job = pulled(store, second).await;
        assert_eq!((job.id, job.attempt), (self::job(0, 1).id, attempt));
        second += 60;
        let late = store.extend(&acme(), job.ticket(), at(second), LEASE).await.unwrap();
        assert!(matches!(late, JobAnswer::Refused(_)), "{late:?}");
    }
    let lapsed = store.overdue(&acme(), at(second)).await.unwrap();
    assert_eq!((lapsed.len(), lapsed[0].job.status), (1, JobStatus::Failed));
    assert_eq!(store.end(&lapsed[0], None, at(second)).await.unwrap(), Recorded::New);
    assert_eq!(store.end(&lapsed[0], None, at(second)).await.unwrap(), Recorded::Duplicate);
    // Expired, and the lane is empty.
    let day = 24 * 3600 + 1;
    let expired = store.overdue(&acme(), at(day)).await.unwrap();
    assert_eq!((expired.len(), expired[0].job.status), (1, JobStatus::Expired));
    assert_eq!(store.end(&expired[0], None, at(day)).await.unwrap(), Recorded::New);
    assert_eq!(store.offer(&acme(), at(day), LEASE, 1).await.unwrap(), Offer::Nothing);
    let figures = store.figures(&acme(), at(day)).await.unwrap();
    assert_eq!((figures.queued, figures.processing), (0, 0));
    // And the lane goes on.
    store.queue_job(&job(0, 3)).await.unwrap();
    let last = pulled(store, 300).await;
    let done = JobEnding::Completed { result: Some("{}".to_owned()) };
    store.settle_job(&acme(), last.ticket(), &done, None, at(302)).await.unwrap();
    let figures = store.figures(&acme(), at(303)).await.unwrap();
    assert_eq!((figures.completed, figures.busy), (1, Duration::from_secs(2)));
    assert_eq!(store.job(&acme(), last.id).await.unwrap().unwrap().result.as_deref(), Some("{}"));
}

#[tokio::test]
async fn the_table_knows_who_pulls_and_how_the_hub_is() {
    let hub = Hub::new();
    let store = &hub.store();
    let pull = Automation::Pull(Pull { job_ttl: 60, push: None });
    store.set_automation(&acme(), &pull).await.unwrap();
    store.stop_tracking(&acme()).await.unwrap();
    assert_eq!(store.pulling(10, None).await.unwrap().items, [acme()]);
    assert_eq!(store.automation(&acme()).await.unwrap(), pull);
    store.set_automation(&acme(), &Automation::None).await.unwrap();
    store.stop_tracking(&acme()).await.unwrap();
    assert!(store.pulling(10, None).await.unwrap().items.is_empty());
    assert_eq!(store.health().await.unwrap(), None);
    let health = HealthSnapshot { queued: 3, processing: 1, beat_at: at(60), up_since: at(0) };
    store.record_heartbeat(&health).await.unwrap();
    store.record_heartbeat(&HealthSnapshot { beat_at: at(59), ..health }).await.unwrap();
    assert_eq!(store.health().await.unwrap(), Some(health));
}

const WORKERS: u64 = 50;

/// What the workers saw.
#[derive(Debug, Default)]
struct Seen {
    /// Attempts that were given to somebody.
    given: BTreeMap<(domain::JobId, u32), u64>,
    /// The attempt that completed each job.
    completed: BTreeMap<domain::JobId, u32>,
    /// Workers in a row that found nothing.
    idle: u64,
}

/// A life as a worker, which ends when somebody ends it.
async fn work(hub: Hub, number: u64, of: BTreeMap<ConversationId, u64>, seen: Arc<Mutex<Seen>>) {
    let store = hub.store();
    let mut chance = u128::from(number);
    loop {
        chance = chance.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
        let offer = store.offer(&acme(), hub.now(), LEASE, chance).await;
        let job = match offer {
            Ok(Offer::Job(job)) => job,
            Ok(Offer::Overdue(overdue)) => panic!("{overdue:?}"),
            Ok(Offer::Nothing) => {
                let mut seen = seen.lock().unwrap();
                seen.idle += 1;
                if seen.idle > WORKERS {
                    seen.idle = 0;
                    hub.clock.advance(Duration::from_secs(5));
                }
                continue;
            }
            Err(_) => continue,
        };
        {
            let mut seen = seen.lock().unwrap();
            seen.idle = 0;
            let holder = seen.given.insert((job.id, job.attempt), number);
            assert_eq!(holder, None, "{} was given twice as attempt {}", job.id, job.attempt);
        }
        // Every job before it in its conversation is done.
        let person = of.get(&job.conversation).unwrap();
        let place = (0..1000).find(|place| self::job(*person, *place).id == job.id).unwrap();
        if place > 0 {
            let before = keys::job(&acme(), job.conversation, place);
            let status = hub.table.with(|dynamo| {
                let item = dynamo.item(TABLE, &before.pk, &before.sk).unwrap();
                item.get("status").and_then(|status| status.text().map(str::to_owned))
            });
            assert_eq!(status.as_deref(), Some("completed"), "{} came too early", job.id);
        }
        for _step in 0..chance % 20 {
            tokio::task::yield_now().await;
        }
        let ending = JobEnding::Completed { result: Some(job.attempt.to_string()) };
        loop {
            let now = hub.now();
            match store.settle_job(&acme(), job.ticket(), &ending, None, now).await {
                Ok(JobAnswer::Done(_)) => {
                    let mut seen = seen.lock().unwrap();
                    let earlier = seen.completed.insert(job.id, job.attempt);
                    assert!(earlier.is_none(), "{} was completed twice", job.id);
                    break;
                }
                // Its lease lapsed.
                Ok(JobAnswer::Refused(_)) => break,
                Ok(JobAnswer::Missing) => panic!("{} is missing", job.id),
                // As any client library would.
                Err(_) => {}
            }
        }
    }
}

#[tokio::test]
async fn fifty_workers_that_die_at_any_moment_do_each_job_once_and_in_order() {
    let (people, each) = (30, 8);
    let hub = Hub::new();
    let store = hub.store();
    let mut of = BTreeMap::new();
    for person in 0..people {
        for number in 0..each {
            let job = job(person, number);
            store.queue_job(&job).await.unwrap();
            of.insert(job.conversation, person);
        }
    }
    hub.table.with(|dynamo| dynamo.set_lag(Lag { index_ms: 30, read_ms: 30 }));
    hub.table.faults().fail_at_random(SeededRng::new(7));
    hub.clock.set(at(60));
    let rng = SeededRng::new(11);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let hire = |number| tokio::spawn(work(hub.clone(), number, of.clone(), seen.clone()));
    let mut workers: Vec<_> = (0..WORKERS).map(&hire).collect();
    let mut killed = 0;
    for turn in 0_u64.. {
        for _step in 0..20 {
            tokio::task::yield_now().await;
        }
        hub.clock.advance(Duration::from_millis(100));
        let one = usize::try_from(rng.bits() % u128::from(WORKERS)).unwrap();
        if workers[one].is_finished() {
            let ended = std::mem::replace(&mut workers[one], hire(turn));
            ended.await.unwrap();
        } else if killed < 80 {
            workers[one].abort();
            workers[one] = hire(WORKERS + turn);
            killed += 1;
        }
        if turn % 5 == 0 {
            // Without trouble and without a cost to anybody: as the table stands.
            let done = hub.table.with(|dynamo| {
                let items = dynamo.items(TABLE);
                items.filter(|item| item.get("finished").is_some()).count()
            });
            let left = people * each - u64::try_from(done).unwrap();
            if left == 0 {
                break;
            }
            assert!(turn < 3_000, "{left} jobs are left after {killed} deaths");
        }
    }
    for worker in workers {
        worker.abort();
    }
    hub.table.faults().mend();
    assert!(killed >= 20, "only {killed} workers died");
    for person in 0..people {
        for number in 0..each {
            let job = store.job(&acme(), job(person, number).id).await.unwrap().unwrap();
            assert_eq!(job.status, JobStatus::Completed, "{person}:{number}");
            let told = seen.lock().unwrap().completed.get(&job.id).copied();
            assert!(told.is_none_or(|attempt| attempt == job.attempt), "{person}:{number}");
            assert_eq!(job.result, Some(job.attempt.to_string()));
        }
    }
    let figures = store.figures(&acme(), hub.now()).await.unwrap();
    assert_eq!((figures.queued, figures.processing), (0, 0));
    let given = seen.lock().unwrap().given.len();
    assert!(u64::try_from(given).unwrap() > people * each, "nobody left a job undone");
}
