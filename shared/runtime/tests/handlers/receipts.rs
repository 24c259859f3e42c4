//! Receipts: every order ends in the same state.

use std::time::Duration;

use domain::event::Receipt;
use domain::message::{Message, Status, Step};
use domain::ports::{Clock, Outbox};
use runtime::receipts::ApplyReceipt;
use store::DynamoStore;
use testkit::{FakeBucket, FakeQueue, sample};

use crate::common::{World, faults_at_each_call, inject, permutations};

fn worker(world: &World) -> ApplyReceipt<DynamoStore, FakeBucket, FakeQueue> {
    ApplyReceipt {
        store: world.store.clone(),
        bucket: world.bucket.clone(),
        automation: world.automation.clone(),
    }
}

/// A message that was claimed by a sender.
async fn claimed(world: &World) -> Message {
    let now = world.clock.now();
    let message = sample::outbound(&world.whatsapp, "hello", now);
    let task = sample::task(&message);
    Outbox::claim(&world.store, &task, "token", now, Duration::from_mins(1), false).await.unwrap();
    message
}

/// The sender's note that the provider took it as `wamid.1`.
async fn settle(world: &World, message: &Message) {
    let at = message.created_at;
    let steps = [Step::plain(Status::Sending, at), Step::plain(Status::Accepted, at)];
    let settled = world.store.settle(message, "token", &steps, Some("wamid.1")).await;
    settled.unwrap();
}

async fn put(world: &World, receipt: Receipt) {
    let rank = i64::from(receipt.status.rank());
    // By the provider's clock, so the same in every order.
    let at = jiff::Timestamp::from_second(1_795_176_000 + rank).unwrap();
    let event = sample::receipt_event(&world.whatsapp, receipt, at);
    let id = event.id.clone();
    world.put("acme", &id, &event).await;
}

fn with_reference(status: Status, message: &Message) -> Receipt {
    Receipt { reference: Some(message.id), ..sample::receipt(status, "wamid.1") }
}

#[tokio::test]
async fn every_order_of_receipts_and_the_senders_note_ends_in_the_same_message() {
    let all = [Status::Sent, Status::Failed, Status::Delivered, Status::Read];
    let mut ends = Vec::new();
    // `Accepted` stands for the sender's own note.
    for order in permutations(&[&all[..], &[Status::Accepted]].concat()) {
        let world = World::standard().await;
        let message = claimed(&world).await;
        for status in order {
            if status == Status::Accepted {
                settle(&world, &message).await;
                continue;
            }
            put(&world, with_reference(status, &message)).await;
            world.run_until_empty(&worker(&world), false).await;
        }
        assert!(world.dead.is_empty());
        let told = world.notifications();
        assert!(told.iter().any(|(_, status)| *status == Status::Read), "the last is always told");
        ends.push((world.message().await.status, world.message().await.history));
    }
    assert_eq!(ends.len(), 120);
    assert_eq!(ends[0].0, Status::Read);
    assert!(ends.iter().all(|end| *end == ends[0]));
}

#[tokio::test]
async fn a_receipt_without_our_reference_is_found_by_the_providers_id() {
    let world = World::standard().await;
    let message = claimed(&world).await;
    settle(&world, &message).await;
    put(&world, sample::receipt(Status::Delivered, "wamid.1")).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.message().await.status, Status::Delivered);
    assert_eq!(world.notifications().len(), 1);
}

#[tokio::test]
async fn a_receipt_without_a_time_happened_when_it_came() {
    let world = World::standard().await;
    let message = claimed(&world).await;
    let receipt = with_reference(Status::Delivered, &message);
    let mut event = sample::receipt_event(&world.whatsapp, receipt, jiff::Timestamp::UNIX_EPOCH);
    event.received_at = world.clock.now();
    world.put("acme", "r", &event).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.message().await.history.last().unwrap().at, event.received_at);
}

#[tokio::test]
async fn a_receipt_that_overtakes_the_senders_note_is_looked_at_again() {
    let world = World::standard().await;
    let message = claimed(&world).await;
    put(&world, sample::receipt(Status::Delivered, "wamid.1")).await;
    world.batch(&worker(&world), false).await;
    assert_eq!(world.own.len(), 1);
    settle(&world, &message).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.message().await.status, Status::Delivered);
}

#[tokio::test]
async fn a_receipt_for_a_message_sent_elsewhere_is_let_go_and_archived() {
    let world = World::standard().await;
    put(&world, sample::receipt(Status::Read, "wamid.elsewhere")).await;
    world.run_until_empty(&worker(&world), false).await;
    assert!(world.dead.is_empty() && world.automation.is_empty());
    assert!(world.table.messages().await.is_empty());
    assert!(!world.bucket.archived().is_empty());
}

#[tokio::test]
async fn a_receipt_of_another_tenants_account_moves_nothing() {
    let world = World::standard().await;
    let message = claimed(&world).await;
    settle(&world, &message).await;
    let globex = sample::whatsapp(&sample::tenant("globex"), Some("999"));
    let receipt = with_reference(Status::Read, &message);
    let event = sample::receipt_event(&globex, receipt, world.clock.now());
    world.put("globex", "1", &event).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.message().await.status, Status::Accepted);
}

#[tokio::test]
async fn a_receipt_that_arrives_a_hundred_times_is_told_once() {
    let world = World::standard().await;
    let message = claimed(&world).await;
    settle(&world, &message).await;
    for _time in 0..100 {
        put(&world, with_reference(Status::Delivered, &message)).await;
    }
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.message().await.history.len(), 4);
    world.notify_all().await;
    assert_eq!(world.receiver.requests().len(), 1);
}

#[tokio::test]
async fn wherever_the_consumer_breaks_off_the_message_moves_and_that_is_told() {
    let begin = async || {
        let world = World::standard().await;
        let message = claimed(&world).await;
        settle(&world, &message).await;
        put(&world, with_reference(Status::Sent, &message)).await;
        put(&world, sample::receipt(Status::Failed, "wamid.1")).await;
        world
    };
    let world = begin().await;
    let before = world.faults.calls();
    world.run_until_empty(&worker(&world), false).await;
    let (calls, undisturbed) = (world.faults.calls() - before, world.message().await);
    for fault in faults_at_each_call(calls) {
        let world = begin().await;
        inject(&world.faults, fault);
        world.batch(&worker(&world), false).await;
        assert!(world.faults.happened(), "{fault:?}");
        world.faults.mend();
        world.run_until_empty(&worker(&world), false).await;
        assert_eq!(world.message().await, undisturbed, "{fault:?}");
        assert!(world.dead.is_empty(), "{fault:?}");
        let told = world.notifications();
        assert!(told.iter().any(|(_, status)| *status == Status::Failed), "{fault:?}");
    }
}

#[tokio::test]
async fn a_receipt_dated_in_the_future_came_when_it_was_received() {
    for date in [jiff::Timestamp::MAX, jiff::Timestamp::MIN] {
        let world = World::standard().await;
        let message = claimed(&world).await;
        settle(&world, &message).await;
        let receipt = with_reference(Status::Delivered, &message);
        let mut event = sample::receipt_event(&world.whatsapp, receipt, world.clock.now());
        event.occurred_at = date;
        world.put("acme", "1", &event).await;
        world.run_until_empty(&worker(&world), false).await;
        let message = world.message().await;
        assert_eq!(message.status, Status::Delivered);
        let step = message.history.iter().find(|step| step.status == Status::Delivered).unwrap();
        assert!(step.at <= event.received_at, "{date}: {}", step.at);
    }
}
