//! Batches: each record's fate is its own, each group keeps its order.

use std::sync::Mutex;
use std::time::Duration;

use domain::Fault;
use domain::ports::Clock;
use runtime::batch::{self, Failure, ReceiveContext, Worker};
use serde::{Deserialize, Serialize};
use testkit::FakeClock;

use crate::common::{World, event};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    name: String,
    act: String,
}

/// Does what its jobs say, and remembers in which order.
#[derive(Default)]
struct Clerk {
    done: Mutex<Vec<String>>,
    begun: Mutex<Vec<String>>,
    slow: Option<FakeClock>,
    archive_fails: Mutex<u32>,
}

impl Clerk {
    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }

    fn begun(&self, name: &str) -> usize {
        self.begun.lock().unwrap().iter().filter(|begun| *begun == name).count()
    }
}

impl Worker for Clerk {
    type Task = Job;

    async fn process_batch(&self, _jobs: &[&Job]) -> Result<(), Failure> {
        let mut left = self.archive_fails.lock().unwrap();
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        Err(Failure::retry("the archive is away"))
    }

    async fn work(&self, task: &Job, delivery: ReceiveContext<'_>) -> Result<(), Failure> {
        self.begun.lock().unwrap().push(task.name.clone());
        tokio::task::yield_now().await;
        if let Some(clock) = &self.slow {
            clock.advance(Duration::from_secs(5));
        }
        let failure = match task.act.as_str() {
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

async fn put(world: &World, group: &str, name: &str, act: &str) {
    world.put(group, name, &Job { name: name.to_owned(), act: act.to_owned() }).await;
}

fn reasons(world: &World) -> Vec<String> {
    world.dead.records().into_iter().filter_map(|record| record.reason).collect()
}

#[tokio::test]
async fn a_failed_record_holds_its_own_group_and_no_other() {
    let (world, clerk) = (World::fifo().await, Clerk::default());
    for (group, name, act) in [
        ("a", "a1", "ok"),
        ("b", "b1", "fail twice"),
        ("a", "a2", "ok"),
        ("b", "b2", "ok"),
        ("c", "c1", "ok"),
    ] {
        put(&world, group, name, act).await;
    }
    world.batch(&clerk, false).await;
    let mut done = clerk.done();
    done.sort();
    assert_eq!(done, ["a1", "a2", "c1"]);
    assert_eq!(clerk.begun("b2"), 0, "what follows in its group is not begun");
    assert_eq!(world.own.len(), 2);
    world.run_until_empty(&clerk, false).await;
    assert_eq!(clerk.done()[3..], ["b1", "b2"]);
    assert!(world.dead.is_empty());
}

#[tokio::test]
async fn in_a_standard_queue_every_record_is_its_own_group() {
    let (world, clerk) = (World::standard().await, Clerk::default());
    put(&world, "tenant", "one", "fail twice").await;
    put(&world, "tenant", "two", "ok").await;
    world.batch(&clerk, false).await;
    assert_eq!(clerk.done(), ["two"]);
    world.run_until_empty(&clerk, false).await;
    assert_eq!(clerk.done(), ["two", "one"]);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_a_dead_letter_and_its_group_goes_on() {
    let (world, clerk) = (World::fifo().await, Clerk::default());
    put(&world, "a", "a1", "ok").await;
    world.put("a", "poison", &serde_json::json!({ "secret": "do not quote me" })).await;
    put(&world, "a", "a2", "refuse").await;
    put(&world, "a", "a3", "ok").await;
    world.run_until_empty(&clerk, false).await;
    assert_eq!(clerk.done(), ["a1", "a3"]);
    let reasons = reasons(&world);
    assert!(reasons[0].starts_with("invalid JSON at line 1"), "{reasons:?}");
    assert!(!reasons[0].contains("quote"));
    assert_eq!(reasons[1], "refused");
    let dead = world.dead.records();
    assert!(dead[0].body.contains("do not quote me"), "it is kept byte for byte");
    assert!(dead.iter().all(|record| record.group == "a"));
}

#[tokio::test]
async fn after_five_receives_a_record_is_a_dead_letter_with_the_reason() {
    let (world, clerk) = (World::fifo().await, Clerk::default());
    put(&world, "a", "bad", "fail").await;
    put(&world, "a", "good", "ok").await;
    world.run_until_empty(&clerk, false).await;
    assert_eq!(clerk.begun("bad"), 5);
    assert_eq!(reasons(&world), ["failed"]);
    assert_eq!(clerk.done(), ["good"]);
}

#[tokio::test]
async fn where_the_worker_counts_attempts_no_number_of_receives_makes_a_dead_letter() {
    let (world, clerk) = (World::fifo().await, Clerk::default());
    put(&world, "a", "bad", "fail").await;
    for _receive in 0..40 {
        world.batch(&clerk, true).await;
        world.clock.advance(Duration::from_mins(20));
    }
    assert_eq!(clerk.begun("bad"), 40);
    assert!(world.dead.is_empty());
}

#[tokio::test]
async fn a_wait_hides_the_record_and_the_rest_of_its_group_for_as_long_as_was_asked() {
    let (world, clerk) = (World::fifo().await, Clerk::default());
    put(&world, "a", "a1", "wait nine times").await;
    put(&world, "a", "a2", "ok").await;
    put(&world, "b", "b1", "ok").await;
    let began = world.clock.now();
    world.batch(&clerk, false).await;
    assert_eq!(clerk.done(), ["b1"]);
    let postponed = world.own.postponed();
    assert_eq!(postponed.len(), 2);
    assert!(postponed.iter().all(|(_, wait)| wait.as_secs() == 77));
    world.clock.advance(Duration::from_secs(76));
    assert!(world.own.receive(10).is_empty());
    world.run_until_empty(&clerk, false).await;
    assert_eq!(clerk.done(), ["b1", "a1", "a2"]);
    assert!(world.dead.is_empty(), "a wait is no failure, however often");
    assert!(world.clock.now().duration_since(began).as_secs() >= 9 * 77);
}

#[tokio::test]
async fn a_failure_is_hidden_longer_each_time_so_that_it_outlasts_an_outage() {
    let (world, clerk) = (World::fifo().await, Clerk::default());
    put(&world, "a", "bad", "fail").await;
    world.run_until_empty(&clerk, false).await;
    let waits: Vec<u64> = world.own.postponed().iter().map(|(_, wait)| wait.as_secs()).collect();
    assert_eq!(waits.len(), 4);
    for (wait, within) in waits.iter().zip([2..=5, 15..=30, 60..=120, 300..=600]) {
        assert!(within.contains(wait), "{waits:?}");
    }
}

#[tokio::test]
async fn no_record_is_begun_after_the_budget_and_none_is_lost_by_it() {
    let world = World::fifo().await;
    let clerk = Clerk { slow: Some(world.clock.clone()), ..Clerk::default() };
    for name in ["1", "2", "3", "4", "5"] {
        put(&world, "a", name, "ok").await;
    }
    // Five seconds each, and eight in all.
    world.batch(&clerk, false).await;
    assert_eq!(clerk.done(), ["1", "2"]);
    world.run_until_empty(&clerk, false).await;
    assert_eq!(clerk.done(), ["1", "2", "3", "4", "5"]);
    assert!(world.dead.is_empty());
}

#[tokio::test]
async fn if_the_archive_fails_the_whole_batch_comes_back() {
    let world = World::fifo().await;
    let clerk = Clerk { archive_fails: Mutex::new(1), ..Clerk::default() };
    put(&world, "a", "1", "ok").await;
    put(&world, "b", "2", "ok").await;
    world.batch(&clerk, false).await;
    assert_eq!(world.own.len(), 2);
    world.run_until_empty(&clerk, false).await;
    assert_eq!(clerk.done().len(), 4, "harmless to repeat");
}

#[tokio::test]
async fn a_large_body_is_fetched_and_one_that_cannot_be_fetched_comes_back() {
    let (world, clerk) = (World::standard().await, Clerk::default());
    let body = serde_json::to_string(&Job { name: "large".into(), act: "x".repeat(300_000) });
    let record = domain::ports::Record {
        body: world.bucket.check_in(&body.unwrap()),
        ..domain::ports::Record::default()
    };
    domain::ports::Publisher::publish(&world.own, vec![record]).await.unwrap();
    world.faults.go_down();
    world.batch(&clerk, false).await;
    assert_eq!((world.own.len(), clerk.done().len()), (1, 0));
    world.faults.mend();
    world.run_until_empty(&clerk, false).await;
    assert_eq!(clerk.done(), ["large"]);
}

#[tokio::test]
async fn a_dead_letter_queue_that_is_away_loses_nothing() {
    let (world, clerk) = (World::fifo().await, Clerk::default());
    put(&world, "a", "bad", "refuse").await;
    put(&world, "a", "good", "ok").await;
    world.faults.go_down();
    world.batch(&clerk, false).await;
    assert_eq!((world.own.len(), clerk.done().len()), (2, 0), "its group waits with it");
    world.faults.mend();
    world.run_until_empty(&clerk, false).await;
    assert_eq!(
        (reasons(&world), clerk.done()),
        (vec!["refused".to_owned()], vec!["good".to_owned()])
    );
}

#[tokio::test]
async fn a_record_without_an_id_fails_the_batch_and_not_in_silence() {
    let world = World::fifo().await;
    put(&world, "a", "1", "ok").await;
    let mut records = world.own.receive(10);
    records[0].message_id.clear();
    let handled = batch::handle(event(&records), &world.context(false), &Clerk::default()).await;
    assert!(handled.is_err());
}
