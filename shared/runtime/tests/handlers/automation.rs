//! Automations: told once, in their time, and for three days if need be.

use std::time::Duration;

use domain::automation::{Automation, Notification, NotificationData, NotificationKind};
use domain::message::{Direction, Status};
use domain::ports::{Automations, Clock};
use domain::task::{NotificationTask, VERSION};
use jiff::Timestamp;
use secrecy::SecretString;
use testkit::sample;

use crate::common::{NotificationState, SIGNING, World, faults_at_each_call, inject};

fn job(world: &World, name: &str) -> NotificationTask {
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
    world.put("acme", name, &job(world, name)).await;
}

/// Works everything that can be worked now.
async fn work(world: &World) {
    let dispatcher = world.dispatcher(&world.own);
    while world.batch(&dispatcher, true).await > 0 {}
}

/// Lets time pass, minute for minute, as the schedule runs and finds something; gives when the
/// automation was told.
async fn live(world: &World, minutes: u64) -> Vec<Timestamp> {
    let mut told = Vec::new();
    let ends = world.clock.now() + Duration::from_mins(minutes);
    while world.clock.now() < ends {
        let before = world.receiver.requests().len();
        work(world).await;
        let now = world.clock.now();
        told.extend(std::iter::repeat_n(now, world.receiver.requests().len() - before));
        if now.as_second() % 60 == 0 {
            runtime::schedule::handle(&world.store, &world.own, &world.clock).await.unwrap();
        }
        // Nothing can happen before the schedule finds a retry, if nothing is in the queue.
        let step = if world.own.is_empty() {
            let due = world.table.next_due().unwrap_or(ends).min(ends);
            let from = due.as_second().max(now.as_second() + 1);
            from + (-from).rem_euclid(60) - now.as_second()
        } else {
            5
        };
        world.clock.advance(Duration::from_secs(step.unsigned_abs()));
    }
    told
}

#[tokio::test]
async fn what_an_automation_is_told_verifies_with_its_secret() {
    let world = World::standard().await;
    put(&world, "hello").await;
    work(&world).await;
    let told = world.receiver.requests();
    let (headers, body) = &told[0];
    let (secrets, now) = ([SecretString::from(SIGNING)], world.clock.now());
    providers::standard_webhooks::verify(&secrets, headers, body, now).unwrap();
    let forged = [body, &b" "[..]].concat();
    assert!(providers::standard_webhooks::verify(&secrets, headers, &forged, now).is_err());
    let notification: Notification = serde_json::from_slice(body).unwrap();
    assert_eq!(notification.data.message, job(&world, "hello").notification.unwrap().data.message);
    let notifications = world.table.notifications();
    assert_eq!(
        (notifications[0].state, notifications[0].attempts),
        (NotificationState::Delivered, 1)
    );
    assert_eq!(headers["webhook-id"], notifications[0].id.to_string());
    assert!(world.own.is_empty());
}

#[tokio::test]
async fn while_secrets_change_both_sign() {
    let world = World::standard().await;
    let newer = "whsec_BBECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    world.vault.sign_with(&world.acme, vec![newer.into(), SIGNING.into()]);
    put(&world, "hello").await;
    work(&world).await;
    let (headers, body) = &world.receiver.requests()[0];
    for secret in [newer, SIGNING] {
        let secrets = [SecretString::from(secret)];
        providers::standard_webhooks::verify(&secrets, headers, body, world.clock.now()).unwrap();
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_is_told_fourteen_times_in_three_days_and_then_no_more() {
    let world = World::standard().await;
    world.receiver.always(500);
    put(&world, "hello").await;
    let told = live(&world, 90 * 60).await;
    assert_eq!(told.len(), 14);
    let waits: Vec<i64> =
        told.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    let hour = 3600;
    let long = [300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour];
    for (wait, wanted) in waits.iter().zip([5, 15, 30, 60, 120].into_iter().chain(long)) {
        // A tenth of jitter, a step of the test's clock, and the schedule's own minute.
        assert!((wanted..=wanted + wanted / 10 + 70).contains(wait), "{waits:?}");
    }
    assert_eq!(world.table.notifications()[0].state, NotificationState::GivenUp);
    assert_eq!(world.receiver.ids().len(), 1, "the id is the same each time");
    assert!(world.own.is_empty() && world.dead.is_empty());
    assert_eq!(world.table.scheduled(), 0);
}

/// How a receiver that is out behaves.
#[derive(Clone, Copy, Debug)]
enum Outage {
    /// It answers 503 at once.
    Refuses,
    /// It takes the request and does not answer within the client's time limit of 15 s.
    Hangs,
    /// The first attempt fails at once, the others hang.
    RefusesThenHangs,
    /// The first attempt hangs, the others fail at once.
    HangsThenRefuses,
}

/// Works a notification that is queued now, second for second, while the receiver is out for
/// `outage`; gives how long it took until the receiver had it.
async fn delay(world: &World, how: Outage, outage: Duration) -> Duration {
    let began = world.clock.now();
    let ends = began + outage;
    world.receiver.hang(world.clock.clone(), move |now, attempt| {
        let hangs = match how {
            Outage::Refuses => false,
            Outage::Hangs => true,
            Outage::RefusesThenHangs => attempt > 1,
            Outage::HangsThenRefuses => attempt == 1,
        };
        (now < ends).then_some(if hangs { Duration::from_secs(15) } else { Duration::ZERO })
    });
    put(world, "hello").await;
    for _second in 0..600 {
        work(world).await;
        let notifications = world.table.notifications();
        if notifications
            .iter()
            .any(|notification| notification.state == NotificationState::Delivered)
        {
            return world.clock.now().duration_since(began).unsigned_abs();
        }
        if world.clock.now().as_second() % 60 == 0 {
            runtime::schedule::handle(&world.store, &world.own, &world.clock).await.unwrap();
        }
        world.clock.advance(Duration::from_secs(1));
    }
    panic!("{how:?} for {outage:?}: not delivered within ten minutes");
}

#[tokio::test]
async fn an_outage_of_fifteen_seconds_costs_at_most_forty_however_the_receiver_fails() {
    let kinds =
        [Outage::Refuses, Outage::Hangs, Outage::RefusesThenHangs, Outage::HangsThenRefuses];
    for how in kinds {
        for outage in (0..=15).map(Duration::from_secs) {
            let took = delay(&World::standard().await, how, outage).await;
            assert!(took <= Duration::from_secs(40), "{how:?} for {outage:?}: {took:?}");
        }
    }
}

#[tokio::test]
async fn an_outage_of_up_to_two_minutes_costs_at_most_as_long_again() {
    for outage in (15..=120).map(Duration::from_secs) {
        let took = delay(&World::standard().await, Outage::Refuses, outage).await;
        let wait = took.saturating_sub(outage);
        // A tenth of jitter, and a second of the queue's.
        assert!(wait <= Duration::from_secs(133), "{outage:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_consumer_that_dies_at_any_call_costs_at_most_forty_seconds() {
    let world = World::standard().await;
    put(&world, "hello").await;
    work(&world).await;
    let dies = faults_at_each_call(world.faults.calls()).into_iter().filter(|(.., dies)| *dies);
    for fault in dies {
        let mut world = World::standard().await;
        world.own = world.own.with_visibility_timeout(visibility_timeout());
        put(&world, "hello").await;
        let began = world.clock.now();
        inject(&world.faults, fault);
        world.batch(&world.dispatcher(&world.own), true).await;
        assert!(world.faults.happened(), "{fault:?}");
        world.faults.mend();
        while world.receiver.requests().is_empty()
            || world.table.notifications()[0].state != NotificationState::Delivered
        {
            world.clock.advance(Duration::from_secs(1));
            work(&world).await;
            let took = world.clock.now().duration_since(began).unsigned_abs();
            assert!(took <= Duration::from_secs(40), "{fault:?}: {took:?}");
        }
    }
}

/// The visibility timeout of the automation's queue, as `template.yaml` deploys it.
fn visibility_timeout() -> Duration {
    let template = include_str!("../../../../template.yaml");
    let (_, queue) = template.split_once("\n  AutomationQueue:").unwrap();
    let (_, timeout) = queue.split_once("VisibilityTimeout: \"").unwrap();
    let (timeout, _) = timeout.split_once('"').unwrap();
    Duration::from_secs(timeout.parse().unwrap())
}

#[tokio::test]
async fn a_retry_that_is_far_off_waits_in_the_table_and_comes_back_from_there() {
    let world = World::standard().await;
    world.receiver.script([(500, None); 7]);
    put(&world, "hello").await;
    live(&world, 15).await;
    assert_eq!(world.receiver.requests().len(), 7);
    assert!(world.own.is_empty());
    assert_eq!(world.table.scheduled(), 1);
    live(&world, 45).await;
    assert_eq!(world.receiver.requests().len(), 8);
    assert_eq!(world.table.notifications()[0].state, NotificationState::Delivered);
    assert_eq!(world.table.scheduled(), 0);
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let world = World::standard().await;
    world.receiver.script([(503, Some(120)), (429, Some(3600))]);
    put(&world, "hello").await;
    let told = live(&world, 90).await;
    assert_eq!(told.len(), 3);
    assert!(told[1].duration_since(told[0]).as_secs() >= 120);
    assert!(told[2].duration_since(told[1]).as_secs() >= 3600);
}

#[tokio::test]
async fn an_automation_that_is_gone_is_told_no_more_until_it_is_set_anew() {
    let world = World::standard().await;
    world.receiver.script([(410, None)]);
    put(&world, "one").await;
    work(&world).await;
    put(&world, "two").await;
    live(&world, 10).await;
    assert_eq!(world.receiver.requests().len(), 1);
    let Automation::Push(push) = world.store.automation(&world.acme).await.unwrap() else {
        panic!("it is still known")
    };
    assert!(push.disabled_at.is_some());
    assert_eq!(world.table.notifications()[0].state, NotificationState::GivenUp);
    assert!(world.own.is_empty());
    domain::ports::Registry::set_automation(&world.store, &world.acme, &sample::push())
        .await
        .unwrap();
    put(&world, "three").await;
    work(&world).await;
    assert_eq!(world.receiver.requests().len(), 2);
}

#[tokio::test]
async fn a_notice_that_comes_twenty_times_at_once_is_told_once() {
    let world = World::standard().await;
    for n in 0..20 {
        world.put("acme", &n.to_string(), &job(&world, "hello")).await;
    }
    live(&world, 10).await;
    assert_eq!(world.receiver.requests().len(), 1);
    assert!(world.own.is_empty() && world.dead.is_empty());
}

#[tokio::test]
async fn repetitions_of_a_notice_use_up_no_attempts_of_a_receiver_that_is_down() {
    let world = World::standard().await;
    world.receiver.always(500);
    for n in 0..100 {
        world.put("acme", &n.to_string(), &job(&world, "hello")).await;
    }
    let told = live(&world, 4).await;
    let waits: Vec<i64> =
        told.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    for (wait, wanted) in waits.iter().zip([5, 15, 30, 60, 120]) {
        assert!((wanted..=wanted + wanted / 10 + 70).contains(wait), "{waits:?}");
    }
    world.receiver.always(204);
    live(&world, 10).await;
    assert_eq!(world.receiver.requests().len(), told.len() + 1);
    assert_eq!(world.table.notifications()[0].state, NotificationState::Delivered);
    live(&world, 10).await;
    assert!(world.own.is_empty() && world.dead.is_empty());
    assert_eq!((world.receiver.requests().len(), world.table.scheduled()), (told.len() + 1, 0));
}

#[tokio::test]
async fn one_automation_that_is_down_does_not_hold_another_up() {
    let world = World::standard().await;
    world.receiver.script([(500, None)]);
    put(&world, "one").await;
    put(&world, "two").await;
    work(&world).await;
    assert_eq!(world.receiver.ids().len(), 2);
    let delivered = world.table.notifications();
    let count = delivered
        .iter()
        .filter(|notification| notification.state == NotificationState::Delivered)
        .count();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn wherever_the_teller_breaks_off_the_automation_is_told_in_the_end() {
    for answers in [vec![], vec![(500, None)], vec![(503, Some(3600))]] {
        let world = World::standard().await;
        world.receiver.script(answers.clone());
        put(&world, "hello").await;
        work(&world).await;
        for fault in faults_at_each_call(world.faults.calls()) {
            let world = World::standard().await;
            world.receiver.script(answers.clone());
            put(&world, "hello").await;
            inject(&world.faults, fault);
            world.batch(&world.dispatcher(&world.own), true).await;
            assert!(world.faults.happened(), "{answers:?} {fault:?}");
            world.faults.mend();
            live(&world, 90).await;
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
async fn wherever_the_schedule_breaks_off_every_retry_goes_back_once_it_is_due() {
    let begin = async || {
        let world = World::standard().await;
        world.receiver.script(std::iter::repeat_n((503, Some(1800)), 30));
        for n in 0..30 {
            put(&world, &n.to_string()).await;
        }
        work(&world).await;
        assert_eq!(world.table.scheduled(), 30);
        world.clock.advance(Duration::from_mins(31));
        world
    };
    let schedule = async |world: &World| {
        let queue = world.own.clone().with_faults(&world.faults);
        runtime::schedule::handle(&world.store, &queue, &world.clock).await
    };
    let world = begin().await;
    let before = world.faults.calls();
    schedule(&world).await.unwrap();
    for fault in faults_at_each_call(world.faults.calls() - before) {
        let world = begin().await;
        inject(&world.faults, fault);
        let handled = schedule(&world).await;
        assert!(handled.is_err() && world.faults.happened(), "{fault:?}");
        world.faults.mend();
        live(&world, 5).await;
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
