//! Receipt tests: every order of receipts ends in the same state.

use std::time::Duration;

use accounts::recent_automations::RecentAutomations;
use domain::Provider;
use domain::event::Receipt;
use domain::message::{Message, Status, Step};
use domain::ports::Clock;
use domain::sender::Accepted;
use messaging::handlers::receipts::ApplyReceipt;
use messaging::ports::Outbox;
use testkit::sample;

use crate::common::{World, faults_at_each_call, inject, permutations};
use crate::env::TestEnv;

pub(crate) fn worker(world: &World) -> ApplyReceipt<TestEnv> {
    ApplyReceipt {
        store: world.store.messages.clone(),
        accounts: world.store.accounts.clone(),
        automations: RecentAutomations::new(world.store.accounts.clone(), world.clock.clone()),
        bucket: world.bucket.clone(),
        automation: world.automation.clone(),
        outbound: messaging::outbound::Outbound::of_all([]),
    }
}

/// A message claimed by a sender.
async fn claimed_message(world: &World) -> Message {
    let now = world.clock.now();
    let message = sample::outbound(&world.whatsapp, "hello", now);
    let task = sample::task(&message);
    Outbox::claim(&world.store.messages, &task, "token", now, Duration::from_mins(1), false)
        .await
        .unwrap();
    message
}

/// Records, as a sender does, that the provider accepted the message as `wamid.1`.
async fn settle(world: &World, message: &Message) {
    settle_as(world, message, "wamid.1").await;
}

/// The same, with another provider message id.
async fn settle_as(world: &World, message: &Message, provider_message_id: &str) {
    let at = message.created_at;
    let steps = [Step::plain(Status::Sending, at), Step::plain(Status::Accepted, at)];
    let accepted = Accepted::new(provider_message_id);
    let settled = world.store.messages.settle(message, "token", &steps, Some(&accepted)).await;
    settled.unwrap();
}

async fn put(world: &World, receipt: Receipt) {
    let rank = i64::from(receipt.status.rank());
    // The provider's time, so the same in every order.
    let at = jiff::Timestamp::from_second(1_795_176_000 + rank).unwrap();
    let event = sample::receipt_event(&world.whatsapp, receipt, at);
    let id = event.id.clone();
    world.put("acme", &id, &event).await;
}

fn with_reference(status: Status, message: &Message) -> Receipt {
    Receipt { reference: Some(message.id), ..sample::receipt(status, "wamid.1") }
}

#[tokio::test]
async fn every_order_of_receipts_and_the_senders_update_ends_in_the_same_message() {
    let all = [Status::Sent, Status::Failed, Status::Delivered, Status::Read];
    let mut ends = Vec::new();
    // `Accepted` stands for the sender's update.
    for order in permutations(&[&all[..], &[Status::Accepted]].concat()) {
        let world = World::standard().await;
        let message = claimed_message(&world).await;
        for status in order {
            if status == Status::Accepted {
                settle(&world, &message).await;
                continue;
            }
            put(&world, with_reference(status, &message)).await;
            world.run_until_empty(&worker(&world), false).await;
        }
        assert!(world.dead.is_empty());
        let notifications = world.notifications();
        assert!(
            notifications.iter().any(|(_, status)| *status == Status::Read),
            "the last status is always notified"
        );
        ends.push((world.message().await.status, world.message().await.history));
    }
    assert_eq!(ends.len(), 120);
    assert_eq!(ends[0].0, Status::Read);
    assert!(ends.iter().all(|end| *end == ends[0]));
}

#[tokio::test]
async fn a_receipt_without_a_reference_is_matched_by_provider_message_id() {
    let world = World::standard().await;
    let message = claimed_message(&world).await;
    settle(&world, &message).await;
    put(&world, sample::receipt(Status::Delivered, "wamid.1")).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.message().await.status, Status::Delivered);
    assert_eq!(world.notifications().len(), 1);
}

#[tokio::test]
async fn a_receipt_without_a_time_has_its_receipt_time() {
    let world = World::standard().await;
    let message = claimed_message(&world).await;
    let receipt = with_reference(Status::Delivered, &message);
    let mut event = sample::receipt_event(&world.whatsapp, receipt, world.clock.now());
    event.occurred_at = None;
    world.put("acme", "r", &event).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.message().await.history.last().unwrap().at, event.received_at);
}

#[tokio::test]
async fn a_receipt_before_the_senders_update_is_retried() {
    let world = World::standard().await;
    let message = claimed_message(&world).await;
    put(&world, sample::receipt(Status::Delivered, "wamid.1")).await;
    world.batch(&worker(&world), false).await;
    assert_eq!(world.own.len(), 1);
    settle(&world, &message).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.message().await.status, Status::Delivered);
}

#[tokio::test]
async fn a_receipt_of_an_unknown_message_is_archived_and_dropped() {
    let world = World::standard().await;
    put(&world, sample::receipt(Status::Read, "wamid.elsewhere")).await;
    world.run_until_empty(&worker(&world), false).await;
    assert!(world.dead.is_empty() && world.automation.is_empty());
    assert!(world.table.messages().await.is_empty());
    assert!(!world.bucket.archived().is_empty());
}

#[tokio::test]
async fn a_receipt_of_another_tenants_account_changes_no_message() {
    let world = World::standard().await;
    let message = claimed_message(&world).await;
    settle(&world, &message).await;
    let globex = sample::whatsapp(&sample::tenant("globex"), Some("999"));
    let receipt = with_reference(Status::Read, &message);
    let event = sample::receipt_event(&globex, receipt, world.clock.now());
    world.put("globex", "1", &event).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.message().await.status, Status::Accepted);
}

#[tokio::test]
async fn a_receipt_of_a_custom_integration_changes_no_message_of_another_one() {
    for is_stored_by_an_earlier_version in [false, true] {
        let world = World::standard().await;
        let customs =
            ["a", "b"].map(|name| sample::receive_only(&world.acme, Provider::Custom, Some(name)));
        let now = world.clock.now();
        // Both providers number their messages from 1; only the first has sent one.
        let message = sample::outbound(&customs[0], "hello", now);
        let task = sample::task(&message);
        Outbox::claim(&world.store.messages, &task, "token", now, Duration::from_mins(1), false)
            .await
            .unwrap();
        settle_as(&world, &message, "1").await;
        if is_stored_by_an_earlier_version {
            let key =
                messaging::repository::keys::custom_reference(&world.acme, customs[0].id, "1");
            world.table.replace_key("messaging", (&key.pk, &key.sk), "REF");
        }
        for (custom, status) in customs.iter().zip([Status::Delivered, Status::Read]).rev() {
            let event = sample::receipt_event(custom, sample::receipt(status, "1"), now);
            world.put("acme", &event.id, &event).await;
            world.run_until_empty(&worker(&world), false).await;
            let expected =
                if status == Status::Read { Status::Accepted } else { Status::Delivered };
            assert_eq!(world.message().await.status, expected, "{is_stored_by_an_earlier_version}");
        }
        assert_eq!(world.notifications().len(), 1);
    }
}

#[tokio::test]
async fn a_receipt_that_moves_a_final_status_forward_is_notified_however_late() {
    for end in [Status::Unknown, Status::Failed, Status::Expired] {
        let world = World::standard().await;
        let message = claimed_message(&world).await;
        let at = message.created_at;
        let steps = [Step::plain(Status::Sending, at), Step::plain(end, at)];
        let settled = world.store.messages.settle(&message, "token", &steps, None).await;
        assert_eq!(settled.unwrap().unwrap().status, end);
        world.clock.advance(Duration::from_hours(60 * 24));
        for status in [Status::Delivered, Status::Sent, Status::Read] {
            put(&world, with_reference(status, &message)).await;
            world.run_until_empty(&worker(&world), false).await;
        }
        assert_eq!(world.message().await.status, Status::Read);
        let notified: Vec<Status> =
            world.notifications().into_iter().map(|(_, status)| status).collect();
        // A receipt that does not move the status belongs to the history only.
        assert_eq!(notified.len(), 2, "{end:?}: {notified:?}");
        assert!(notified.contains(&Status::Delivered) && notified.contains(&Status::Read));
        let history = world.message().await.history;
        assert!(history.iter().any(|step| step.status == Status::Sent));
    }
}

#[tokio::test]
async fn a_receipt_received_a_hundred_times_is_notified_once() {
    let world = World::standard().await;
    let message = claimed_message(&world).await;
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
async fn with_a_fault_at_any_call_the_status_is_updated_and_notified() {
    let begin = async || {
        let world = World::standard().await;
        let message = claimed_message(&world).await;
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
        assert!(world.faults.has_triggered(), "{fault:?}");
        world.faults.clear();
        world.run_until_empty(&worker(&world), false).await;
        assert_eq!(world.message().await, undisturbed, "{fault:?}");
        assert!(world.dead.is_empty(), "{fault:?}");
        let notifications = world.notifications();
        assert!(notifications.iter().any(|(_, status)| *status == Status::Failed), "{fault:?}");
    }
}

#[tokio::test]
async fn a_receipt_with_an_impossible_time_has_its_receipt_time() {
    for date in [jiff::Timestamp::MAX, jiff::Timestamp::MIN] {
        let world = World::standard().await;
        let message = claimed_message(&world).await;
        settle(&world, &message).await;
        let receipt = with_reference(Status::Delivered, &message);
        let mut event = sample::receipt_event(&world.whatsapp, receipt, world.clock.now());
        event.occurred_at = Some(date);
        world.put("acme", "1", &event).await;
        world.run_until_empty(&worker(&world), false).await;
        let message = world.message().await;
        assert_eq!(message.status, Status::Delivered);
        let step = message.history.iter().find(|step| step.status == Status::Delivered).unwrap();
        assert!(step.at <= event.received_at, "{date}: {}", step.at);
    }
}
