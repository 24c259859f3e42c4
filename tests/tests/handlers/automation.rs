//! Notification tests: each is delivered once, and retried for three days.

use std::time::Duration;

use accounts::model::automation::{Automation, Push};
use accounts::ports::Automations;
use domain::message::{Direction, Status};
use domain::notification::{Notification, NotificationData, NotificationKind};
use domain::ports::Clock;
use domain::task::{NotificationTask, VERSION};
use jiff::Timestamp;
use secrecy::SecretString;
use testkit::sample;

use crate::common::{NotificationState, SIGNING, World, faults_at_each_call, inject};

fn notification_task(world: &World, name: &str) -> NotificationTask {
    let mut message = sample::outbound(&world.whatsapp, name, world.clock.now());
    (message.direction, message.status) = (Direction::Inbound, Status::Received);
    let data =
        NotificationData { tenant: world.acme.clone(), message, conversation: None, job: None };
    let kind = NotificationKind::MessageReceived;
    let id = data.notification_id(kind);
    let notification = Notification { kind, timestamp: world.clock.now(), data };
    NotificationTask {
        v: VERSION,
        id,
        tenant: world.acme.clone(),
        notification: Some(Box::new(notification)),
    }
}

async fn put(world: &World, name: &str) {
    world.put("acme", name, &notification_task(world, name)).await;
}

/// Processes all visible records.
async fn process_queue(world: &World) {
    let dispatcher = world.dispatcher(&world.own);
    while world.batch(&dispatcher, true).await > 0 {}
}

/// Advances the clock by `minutes` and runs the schedule every minute; returns the times of the
/// delivery attempts.
async fn advance_minutes(world: &World, minutes: u64) -> Vec<Timestamp> {
    let mut attempts = Vec::new();
    let ends = world.clock.now() + Duration::from_mins(minutes);
    while world.clock.now() < ends {
        let before = world.receiver.requests().len();
        process_queue(world).await;
        let now = world.clock.now();
        attempts.extend(std::iter::repeat_n(now, world.receiver.requests().len() - before));
        if now.as_second() % 60 == 0 {
            endpoints::handlers::retries::handle(&world.store.endpoints, &world.own, &world.clock)
                .await
                .unwrap();
        }
        // With an empty queue, nothing happens before the schedule finds a retry.
        let step = if world.own.is_empty() {
            let due = world.table.next_due().unwrap_or(ends).min(ends);
            let from = due.as_second().max(now.as_second() + 1);
            from + (-from).rem_euclid(60) - now.as_second()
        } else {
            5
        };
        world.clock.advance(Duration::from_secs(step.unsigned_abs()));
    }
    attempts
}

#[tokio::test]
async fn a_notification_verifies_with_the_signing_secret() {
    let world = World::standard().await;
    put(&world, "hello").await;
    process_queue(&world).await;
    let requests = world.receiver.requests();
    let (headers, body) = &requests[0];
    let (secrets, now) = ([SecretString::from(SIGNING)], world.clock.now());
    providers::standard_webhooks::verify(&secrets, headers, body, now).unwrap();
    let forged = [body, &b" "[..]].concat();
    assert!(providers::standard_webhooks::verify(&secrets, headers, &forged, now).is_err());
    let notification: Notification = serde_json::from_slice(body).unwrap();
    assert_eq!(
        notification.data.message,
        notification_task(&world, "hello").notification.unwrap().data.message
    );
    let notifications = world.table.notifications();
    assert_eq!(
        (notifications[0].state, notifications[0].attempts),
        (NotificationState::Delivered, 1)
    );
    assert_eq!(headers["webhook-id"], notifications[0].id.to_string());
    assert!(world.own.is_empty());
}

#[tokio::test]
async fn during_secret_rotation_both_secrets_sign() {
    let world = World::standard().await;
    let newer = "whsec_BBECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    world.credential_store.sign_with(&world.acme, vec![newer.into(), SIGNING.into()]);
    put(&world, "hello").await;
    process_queue(&world).await;
    let (headers, body) = &world.receiver.requests()[0];
    for secret in [newer, SIGNING] {
        let secrets = [SecretString::from(secret)];
        providers::standard_webhooks::verify(&secrets, headers, body, world.clock.now()).unwrap();
    }
}

#[tokio::test]
async fn a_notification_is_attempted_fourteen_times_in_three_days_then_given_up() {
    let world = World::standard().await;
    world.receiver.always(500);
    put(&world, "hello").await;
    let attempts = advance_minutes(&world, 90 * 60).await;
    assert_eq!(attempts.len(), 14);
    let waits: Vec<i64> =
        attempts.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    let hour = 3600;
    let long = [300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour];
    for (wait, wanted) in waits.iter().zip([5, 15, 30, 60, 120].into_iter().chain(long)) {
        // 10% jitter, a step of the test's clock, and the interval of the schedule.
        assert!((wanted..=wanted + wanted / 10 + 70).contains(wait), "{waits:?}");
    }
    assert_eq!(world.table.notifications()[0].state, NotificationState::GivenUp);
    assert_eq!(world.receiver.ids().len(), 1, "each attempt has the same id");
    assert!(world.own.is_empty() && world.dead.is_empty());
    assert_eq!(world.table.scheduled(), 0);
}

/// The behavior of a receiver during an outage.
#[derive(Clone, Copy, Debug)]
enum Outage {
    /// Fails each attempt at once.
    Refuses,
    /// Does not respond within the client's timeout of 15 s.
    Hangs,
    /// The first attempt fails at once, the others hang.
    RefusesThenHangs,
    /// The first attempt hangs, the others fail at once.
    HangsThenRefuses,
}

/// Queues a notification and processes it, second by second, while the receiver is down for
/// `outage`; returns the time until it is delivered.
async fn delay(world: &World, kind: Outage, outage: Duration) -> Duration {
    let began = world.clock.now();
    let ends = began + outage;
    world.receiver.hang(world.clock.clone(), move |now, attempt| {
        let hangs = match kind {
            Outage::Refuses => false,
            Outage::Hangs => true,
            Outage::RefusesThenHangs => attempt > 1,
            Outage::HangsThenRefuses => attempt == 1,
        };
        (now < ends).then_some(if hangs { Duration::from_secs(15) } else { Duration::ZERO })
    });
    put(world, "hello").await;
    for _second in 0..600 {
        process_queue(world).await;
        let notifications = world.table.notifications();
        if notifications
            .iter()
            .any(|notification| notification.state == NotificationState::Delivered)
        {
            return world.clock.now().duration_since(began).unsigned_abs();
        }
        if world.clock.now().as_second() % 60 == 0 {
            endpoints::handlers::retries::handle(&world.store.endpoints, &world.own, &world.clock)
                .await
                .unwrap();
        }
        world.clock.advance(Duration::from_secs(1));
    }
    panic!("{kind:?} for {outage:?}: not delivered within ten minutes");
}

#[tokio::test]
async fn an_outage_of_up_to_fifteen_seconds_delays_at_most_forty_seconds() {
    let kinds =
        [Outage::Refuses, Outage::Hangs, Outage::RefusesThenHangs, Outage::HangsThenRefuses];
    for kind in kinds {
        for outage in (0..=15).map(Duration::from_secs) {
            let took = delay(&World::standard().await, kind, outage).await;
            assert!(took <= Duration::from_secs(40), "{kind:?} for {outage:?}: {took:?}");
        }
    }
}

#[tokio::test]
async fn an_outage_of_up_to_two_minutes_delays_at_most_as_long_again() {
    for outage in (15..=120).map(Duration::from_secs) {
        let took = delay(&World::standard().await, Outage::Refuses, outage).await;
        let wait = took.saturating_sub(outage);
        // 10% jitter, and a second for the queue.
        assert!(wait <= Duration::from_secs(133), "{outage:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_consumer_crash_at_any_call_delays_at_most_forty_seconds() {
    let world = World::standard().await;
    put(&world, "hello").await;
    process_queue(&world).await;
    let dies = faults_at_each_call(world.faults.calls()).into_iter().filter(|(.., dies)| *dies);
    for fault in dies {
        let mut world = World::standard().await;
        world.own = world.own.with_visibility_timeout(visibility_timeout());
        put(&world, "hello").await;
        let began = world.clock.now();
        inject(&world.faults, fault);
        world.batch(&world.dispatcher(&world.own), true).await;
        assert!(world.faults.has_triggered(), "{fault:?}");
        world.faults.clear();
        while world.receiver.requests().is_empty()
            || world.table.notifications()[0].state != NotificationState::Delivered
        {
            world.clock.advance(Duration::from_secs(1));
            process_queue(&world).await;
            let took = world.clock.now().duration_since(began).unsigned_abs();
            assert!(took <= Duration::from_secs(40), "{fault:?}: {took:?}");
        }
    }
}

/// The visibility timeout of the automation's queue in its stack.
fn visibility_timeout() -> Duration {
    let stack = include_str!("../../../infra/stacks/endpoints.yaml");
    let (_, queue) = stack
        .split_once(
            "
  AutomationQueue:",
        )
        .unwrap();
    let (_, timeout) = queue.split_once("VisibilityTimeout: \"").unwrap();
    let (timeout, _) = timeout.split_once('"').unwrap();
    Duration::from_secs(timeout.parse().unwrap())
}

#[tokio::test]
async fn a_distant_retry_is_stored_in_the_table_and_returns_to_the_queue() {
    let world = World::standard().await;
    world.receiver.script([(500, None); 7]);
    put(&world, "hello").await;
    advance_minutes(&world, 15).await;
    assert_eq!(world.receiver.requests().len(), 7);
    assert!(world.own.is_empty());
    assert_eq!(world.table.scheduled(), 1);
    advance_minutes(&world, 45).await;
    assert_eq!(world.receiver.requests().len(), 8);
    assert_eq!(world.table.notifications()[0].state, NotificationState::Delivered);
    assert_eq!(world.table.scheduled(), 0);
}

#[tokio::test]
async fn retry_after_is_honored() {
    let world = World::standard().await;
    world.receiver.script([(503, Some(120)), (429, Some(3600))]);
    put(&world, "hello").await;
    let attempts = advance_minutes(&world, 90).await;
    assert_eq!(attempts.len(), 3);
    assert!(attempts[1].duration_since(attempts[0]).as_secs() >= 120);
    assert!(attempts[2].duration_since(attempts[1]).as_secs() >= 3600);
}

#[tokio::test]
async fn an_automation_that_returns_410_is_disabled_until_it_is_set_again() {
    let world = World::standard().await;
    world.receiver.script([(410, None)]);
    put(&world, "one").await;
    process_queue(&world).await;
    put(&world, "two").await;
    advance_minutes(&world, 10).await;
    assert_eq!(world.receiver.requests().len(), 1);
    let Automation::Push(push) = world.store.accounts.automation(&world.acme).await.unwrap() else {
        panic!("the automation is still set")
    };
    assert!(push.disabled_at.is_some());
    assert_eq!(world.table.notifications()[0].state, NotificationState::GivenUp);
    assert!(world.own.is_empty());
    accounts::ports::Registry::set_automation(
        &world.store.accounts,
        &world.acme,
        &tests::sample::push(),
        &tests::sample::audit(&world.acme),
    )
    .await
    .unwrap();
    put(&world, "three").await;
    process_queue(&world).await;
    assert_eq!(world.receiver.requests().len(), 2);
}

#[tokio::test]
async fn a_410_of_an_endpoint_that_was_replaced_does_not_disable_the_new_one() {
    let world = World::standard().await;
    world.receiver.script([(410, None)]);
    let Automation::Push(old) = tests::sample::push() else { panic!("it must be a push") };
    let url = "https://automation.test/new".to_owned();
    let new = Automation::Push(Push { url, secret_at: world.clock.now(), ..old });
    let (store, acme, set) = (world.store.accounts.clone(), world.acme.clone(), new.clone());
    world.receiver.meanwhile(async move {
        let record = tests::sample::audit(&acme);
        accounts::ports::Registry::set_automation(&store, &acme, &set, &record).await.unwrap();
    });
    put(&world, "one").await;
    advance_minutes(&world, 1).await;
    assert_eq!(world.store.accounts.automation(&world.acme).await.unwrap(), new);
    assert_eq!(world.receiver.requests().len(), 2, "the notification is sent to the new endpoint");
    assert_eq!(world.table.notifications()[0].state, NotificationState::Delivered);
}

#[tokio::test]
async fn a_notification_queued_twenty_times_is_delivered_once() {
    let world = World::standard().await;
    for n in 0..20 {
        world.put("acme", &n.to_string(), &notification_task(&world, "hello")).await;
    }
    advance_minutes(&world, 10).await;
    assert_eq!(world.receiver.requests().len(), 1);
    assert!(world.own.is_empty() && world.dead.is_empty());
}

#[tokio::test]
async fn duplicates_of_a_notification_do_not_count_as_attempts() {
    let world = World::standard().await;
    world.receiver.always(500);
    for n in 0..100 {
        world.put("acme", &n.to_string(), &notification_task(&world, "hello")).await;
    }
    let attempts = advance_minutes(&world, 4).await;
    let waits: Vec<i64> =
        attempts.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    for (wait, wanted) in waits.iter().zip([5, 15, 30, 60, 120]) {
        assert!((wanted..=wanted + wanted / 10 + 70).contains(wait), "{waits:?}");
    }
    world.receiver.always(204);
    advance_minutes(&world, 10).await;
    assert_eq!(world.receiver.requests().len(), attempts.len() + 1);
    assert_eq!(world.table.notifications()[0].state, NotificationState::Delivered);
    advance_minutes(&world, 10).await;
    assert!(world.own.is_empty() && world.dead.is_empty());
    assert_eq!((world.receiver.requests().len(), world.table.scheduled()), (attempts.len() + 1, 0));
}

#[tokio::test]
async fn a_failed_notification_does_not_delay_another() {
    let world = World::standard().await;
    world.receiver.script([(500, None)]);
    put(&world, "one").await;
    put(&world, "two").await;
    process_queue(&world).await;
    assert_eq!(world.receiver.ids().len(), 2);
    let delivered = world.table.notifications();
    let count = delivered
        .iter()
        .filter(|notification| notification.state == NotificationState::Delivered)
        .count();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn with_a_fault_at_any_call_the_notification_is_delivered() {
    for answers in [vec![], vec![(500, None)], vec![(503, Some(3600))]] {
        let world = World::standard().await;
        world.receiver.script(answers.clone());
        put(&world, "hello").await;
        process_queue(&world).await;
        for fault in faults_at_each_call(world.faults.calls()) {
            let world = World::standard().await;
            world.receiver.script(answers.clone());
            put(&world, "hello").await;
            inject(&world.faults, fault);
            world.batch(&world.dispatcher(&world.own), true).await;
            assert!(world.faults.has_triggered(), "{answers:?} {fault:?}");
            world.faults.clear();
            advance_minutes(&world, 90).await;
            let notifications = world.table.notifications();
            let why = format!("{answers:?} {fault:?} {notifications:?}");
            assert_eq!(notifications[0].state, NotificationState::Delivered, "{why}");
            assert_eq!(world.receiver.ids().len(), 1, "{why}");
            assert!(world.receiver.requests().len() <= 3, "{why}");
            assert!(world.own.is_empty() && world.dead.is_empty(), "{why}");
            assert_eq!(world.table.scheduled(), 0, "{why}");
        }
    }
}

#[tokio::test]
async fn with_a_fault_at_any_call_the_schedule_requeues_every_due_retry() {
    let begin = async || {
        let world = World::standard().await;
        world.receiver.script(std::iter::repeat_n((503, Some(1800)), 30));
        for n in 0..30 {
            put(&world, &n.to_string()).await;
        }
        process_queue(&world).await;
        assert_eq!(world.table.scheduled(), 30);
        world.clock.advance(Duration::from_mins(31));
        world
    };
    let schedule = async |world: &World| {
        let queue = world.own.clone().with_faults(&world.faults);
        endpoints::handlers::retries::handle(&world.store.endpoints, &queue, &world.clock).await
    };
    let world = begin().await;
    let before = world.faults.calls();
    schedule(&world).await.unwrap();
    for fault in faults_at_each_call(world.faults.calls() - before) {
        let world = begin().await;
        inject(&world.faults, fault);
        let handled = schedule(&world).await;
        assert!(handled.is_err() && world.faults.has_triggered(), "{fault:?}");
        world.faults.clear();
        advance_minutes(&world, 5).await;
        let notifications = world.table.notifications();
        assert!(
            notifications
                .iter()
                .all(|notification| notification.state == NotificationState::Delivered)
        );
        assert_eq!(world.receiver.requests().len(), 60, "{fault:?}");
        assert_eq!(world.table.scheduled(), 0);
    }
}
