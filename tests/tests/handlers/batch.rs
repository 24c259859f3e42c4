//! Batch tests: each record succeeds or fails by itself, and each group keeps its order.

use std::sync::Mutex;
use std::time::Duration;

use domain::Fault;
use domain::ports::Clock;
use runtime::batch::{self, Failure, ReceiveContext, Worker};
use serde::{Deserialize, Serialize};
use testkit::FakeClock;

use crate::common::{World, event};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct TestTask {
    name: String,
    action: String,
}

/// Takes the action of each task and records the order.
#[derive(Default)]
struct ScriptedWorker {
    done: Mutex<Vec<String>>,
    started: Mutex<Vec<String>>,
    slow: Option<FakeClock>,
    archive_fails: Mutex<u32>,
}

impl ScriptedWorker {
    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }

    fn started(&self, name: &str) -> usize {
        self.started.lock().unwrap().iter().filter(|started| *started == name).count()
    }
}

impl Worker for ScriptedWorker {
    type Task = TestTask;

    async fn process_batch(&self, _jobs: &[&TestTask]) -> Result<(), Failure> {
        let mut left = self.archive_fails.lock().unwrap();
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        Err(Failure::retry("the archive is down"))
    }

    async fn work(&self, task: &TestTask, delivery: ReceiveContext<'_>) -> Result<(), Failure> {
        self.started.lock().unwrap().push(task.name.clone());
        tokio::task::yield_now().await;
        if let Some(clock) = &self.slow {
            clock.advance(Duration::from_secs(5));
        }
        let failure = match task.action.as_str() {
            "refuse" => Failure { fault: Fault::Permanent, ..Failure::retry("refused") },
            "fail" => Failure::retry("failed"),
            "fail twice" if delivery.receives <= 2 => Failure::retry("failed"),
            "wait twice" if delivery.receives <= 2 => {
                Failure::wait("limited", Duration::from_secs(77))
            }
            "wait nine times" if delivery.receives <= 9 => {
                Failure::wait("limited", Duration::from_secs(77))
            }
            _ => {
                self.done.lock().unwrap().push(task.name.clone());
                return Ok(());
            }
        };
        Err(failure)
    }
}

async fn put(world: &World, group: &str, name: &str, action: &str) {
    world.put(group, name, &TestTask { name: name.to_owned(), action: action.to_owned() }).await;
}

fn reasons(world: &World) -> Vec<String> {
    world.dead.records().into_iter().filter_map(|record| record.reason).collect()
}

#[tokio::test]
async fn a_failed_record_blocks_only_its_own_group() {
    let (world, worker) = (World::fifo().await, ScriptedWorker::default());
    for (group, name, action) in [
        ("a", "a1", "ok"),
        ("b", "b1", "fail twice"),
        ("a", "a2", "ok"),
        ("b", "b2", "ok"),
        ("c", "c1", "ok"),
    ] {
        put(&world, group, name, action).await;
    }
    world.batch(&worker, false).await;
    let mut done = worker.done();
    done.sort();
    assert_eq!(done, ["a1", "a2", "c1"]);
    assert_eq!(worker.started("b2"), 0, "the next record of its group is not started");
    assert_eq!(world.own.len(), 2);
    world.run_until_empty(&worker, false).await;
    assert_eq!(worker.done()[3..], ["b1", "b2"]);
    assert!(world.dead.is_empty());
}

#[tokio::test]
async fn in_a_standard_queue_every_record_is_its_own_group() {
    let (world, worker) = (World::standard().await, ScriptedWorker::default());
    put(&world, "tenant", "one", "fail twice").await;
    put(&world, "tenant", "two", "ok").await;
    world.batch(&worker, false).await;
    assert_eq!(worker.done(), ["two"]);
    world.run_until_empty(&worker, false).await;
    assert_eq!(worker.done(), ["two", "one"]);
}

#[tokio::test]
async fn an_unparseable_record_is_a_dead_letter_and_its_group_continues() {
    let (world, worker) = (World::fifo().await, ScriptedWorker::default());
    put(&world, "a", "a1", "ok").await;
    world.put("a", "poison", &serde_json::json!({ "secret": "do not quote me" })).await;
    put(&world, "a", "a2", "refuse").await;
    put(&world, "a", "a3", "ok").await;
    world.run_until_empty(&worker, false).await;
    assert_eq!(worker.done(), ["a1", "a3"]);
    let reasons = reasons(&world);
    assert!(reasons[0].starts_with("invalid JSON at line 1"), "{reasons:?}");
    assert!(!reasons[0].contains("quote"));
    assert_eq!(reasons[1], "refused");
    let dead = world.dead.records();
    assert!(dead[0].body.contains("do not quote me"), "the body is unchanged");
    assert!(dead.iter().all(|record| record.group == "a"));
}

#[tokio::test]
async fn after_five_receives_a_record_is_a_dead_letter_with_its_reason() {
    let (world, worker) = (World::fifo().await, ScriptedWorker::default());
    put(&world, "a", "bad", "fail").await;
    put(&world, "a", "good", "ok").await;
    world.run_until_empty(&worker, false).await;
    assert_eq!(worker.started("bad"), 5);
    assert_eq!(reasons(&world), ["failed"]);
    assert_eq!(worker.done(), ["good"]);
}

#[tokio::test]
async fn if_the_worker_counts_attempts_receives_are_not_limited() {
    let (world, worker) = (World::fifo().await, ScriptedWorker::default());
    put(&world, "a", "bad", "fail").await;
    for _receive in 0..40 {
        world.batch(&worker, true).await;
        world.clock.advance(Duration::from_mins(20));
    }
    assert_eq!(worker.started("bad"), 40);
    assert!(world.dead.is_empty());
}

#[tokio::test]
async fn a_wait_hides_the_record_and_the_rest_of_its_group_for_its_duration() {
    let (world, worker) = (World::fifo().await, ScriptedWorker::default());
    put(&world, "a", "a1", "wait nine times").await;
    put(&world, "a", "a2", "ok").await;
    put(&world, "b", "b1", "ok").await;
    let began = world.clock.now();
    world.batch(&worker, false).await;
    assert_eq!(worker.done(), ["b1"]);
    let postponed = world.own.visibility_changes();
    assert_eq!(postponed.len(), 2);
    assert!(postponed.iter().all(|(_, wait)| wait.as_secs() == 77));
    world.clock.advance(Duration::from_secs(76));
    assert!(world.own.receive(10).is_empty());
    world.run_until_empty(&worker, false).await;
    assert_eq!(worker.done(), ["b1", "a1", "a2"]);
    assert!(world.dead.is_empty(), "waits do not count as failures");
    assert!(world.clock.now().duration_since(began).as_secs() >= 9 * 77);
}

#[tokio::test]
async fn a_failed_record_is_hidden_longer_after_each_receive() {
    let (world, worker) = (World::fifo().await, ScriptedWorker::default());
    put(&world, "a", "bad", "fail").await;
    world.run_until_empty(&worker, false).await;
    let waits: Vec<u64> =
        world.own.visibility_changes().iter().map(|(_, wait)| wait.as_secs()).collect();
    assert_eq!(waits.len(), 4);
    for (wait, within) in waits.iter().zip([2..=5, 15..=30, 60..=120, 300..=600]) {
        assert!(within.contains(wait), "{waits:?}");
    }
}

#[tokio::test]
async fn no_record_is_started_after_the_time_budget_and_none_is_lost() {
    let world = World::fifo().await;
    let worker = ScriptedWorker { slow: Some(world.clock.clone()), ..ScriptedWorker::default() };
    for name in ["1", "2", "3", "4", "5"] {
        put(&world, "a", name, "ok").await;
    }
    // Five seconds for each record, with a budget of eight.
    world.batch(&worker, false).await;
    assert_eq!(worker.done(), ["1", "2"]);
    world.run_until_empty(&worker, false).await;
    assert_eq!(worker.done(), ["1", "2", "3", "4", "5"]);
    assert!(world.dead.is_empty());
}

#[tokio::test]
async fn if_the_archive_fails_the_whole_batch_is_retried() {
    let world = World::fifo().await;
    let worker = ScriptedWorker { archive_fails: Mutex::new(1), ..ScriptedWorker::default() };
    put(&world, "a", "1", "ok").await;
    put(&world, "b", "2", "ok").await;
    world.batch(&worker, false).await;
    assert_eq!(world.own.len(), 2);
    world.run_until_empty(&worker, false).await;
    assert_eq!(worker.done().len(), 4, "both records are processed again");
}

#[tokio::test]
async fn a_large_body_is_fetched_and_a_failed_fetch_is_retried() {
    let (world, worker) = (World::standard().await, ScriptedWorker::default());
    let body =
        serde_json::to_string(&TestTask { name: "large".into(), action: "x".repeat(300_000) });
    let record = domain::ports::Record {
        body: world.bucket.put_claim_check(&body.unwrap()),
        ..domain::ports::Record::default()
    };
    domain::ports::Publisher::publish(&world.own, vec![record]).await.unwrap();
    world.faults.fail_all();
    world.batch(&worker, false).await;
    assert_eq!((world.own.len(), worker.done().len()), (1, 0));
    world.faults.clear();
    world.run_until_empty(&worker, false).await;
    assert_eq!(worker.done(), ["large"]);
}

#[tokio::test]
async fn while_the_dead_letter_queue_is_down_no_record_is_lost() {
    let (world, worker) = (World::fifo().await, ScriptedWorker::default());
    put(&world, "a", "bad", "refuse").await;
    put(&world, "a", "good", "ok").await;
    world.faults.fail_all();
    world.batch(&worker, false).await;
    assert_eq!((world.own.len(), worker.done().len()), (2, 0), "the rest of its group waits too");
    world.faults.clear();
    world.run_until_empty(&worker, false).await;
    assert_eq!(
        (reasons(&world), worker.done()),
        (vec!["refused".to_owned()], vec!["good".to_owned()])
    );
}

#[tokio::test]
async fn a_record_without_an_id_fails_the_batch_with_an_error() {
    let world = World::fifo().await;
    put(&world, "a", "1", "ok").await;
    let mut records = world.own.receive(10);
    records[0].message_id.clear();
    let handled =
        batch::handle(event(&records), &world.context(false), &ScriptedWorker::default()).await;
    assert!(handled.is_err());
}
