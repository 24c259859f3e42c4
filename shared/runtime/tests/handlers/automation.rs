//! Automations: told once, in their time, and for three days if need be.

use std::time::Duration;

use domain::automation::{Automation, Notice, NoticeData, NoticeKind};
use domain::job::{DeliveryJob, VERSION};
use domain::message::{Direction, Status};
use domain::ports::{Automations, Clock};
use jiff::Timestamp;
use secrecy::SecretString;
use testkit::{NoticeState, sample};

use crate::common::{SIGNING, World, order, troubles};

fn job(world: &World, name: &str) -> DeliveryJob {
    let mut message = sample::outbound(&world.whatsapp, name, world.clock.now());
    (message.direction, message.status) = (Direction::Inbound, Status::Received);
    let data = NoticeData { tenant: world.acme.clone(), message, conversation: None, job: None };
    let kind = NoticeKind::MessageReceived;
    let id = data.delivery_id(kind);
    let notice = Notice { kind, timestamp: world.clock.now(), data };
    DeliveryJob { v: VERSION, id, tenant: world.acme.clone(), notice: Some(Box::new(notice)) }
}

async fn put(world: &World, name: &str) {
    world.put("acme", name, &job(world, name)).await;
}

/// Works everything that can be worked now.
async fn work(world: &World) {
    let teller = world.teller(&world.own);
    while world.batch(&teller, false).await > 0 {}
}

/// Lets time pass, minute for minute, as the schedule runs; gives when the automation was
/// told.
async fn live(world: &World, minutes: u64) -> Vec<Timestamp> {
    let mut told = Vec::new();
    for _second in 0..minutes * 12 {
        let before = world.receiver.told().len();
        work(world).await;
        let now = world.clock.now();
        told.extend(std::iter::repeat_n(now, world.receiver.told().len() - before));
        if now.as_second() % 60 == 0 {
            runtime::schedule::handle(&world.store, &world.own, &world.clock).await.unwrap();
        }
        world.clock.advance(Duration::from_secs(5));
    }
    told
}

#[tokio::test]
async fn what_an_automation_is_told_verifies_with_its_secret() {
    let world = World::standard();
    put(&world, "hello").await;
    work(&world).await;
    let told = world.receiver.told();
    let (headers, body) = &told[0];
    let (secrets, now) = ([SecretString::from(SIGNING)], world.clock.now());
    providers::standard_webhooks::verify(&secrets, headers, body, now).unwrap();
    let forged = [body, &b" "[..]].concat();
    assert!(providers::standard_webhooks::verify(&secrets, headers, &forged, now).is_err());
    let notice: Notice = serde_json::from_slice(body).unwrap();
    assert_eq!(notice.data.message, job(&world, "hello").notice.unwrap().data.message);
    let notices = world.store.all_notices();
    assert_eq!((notices[0].state, notices[0].attempts), (NoticeState::Delivered, 1));
    assert_eq!(headers["webhook-id"], notices[0].id.to_string());
    assert!(world.own.is_empty());
}

#[tokio::test]
async fn while_secrets_change_both_sign() {
    let world = World::standard();
    let newer = "whsec_BBECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    world.vault.sign_with(&world.acme, vec![newer.into(), SIGNING.into()]);
    put(&world, "hello").await;
    work(&world).await;
    let (headers, body) = &world.receiver.told()[0];
    for secret in [newer, SIGNING] {
        let secrets = [SecretString::from(secret)];
        providers::standard_webhooks::verify(&secrets, headers, body, world.clock.now()).unwrap();
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_is_told_ten_times_in_three_days_and_then_no_more() {
    let world = World::standard();
    world.receiver.always(500);
    put(&world, "hello").await;
    let told = live(&world, 80 * 60).await;
    assert_eq!(told.len(), 10);
    let waits: Vec<i64> =
        told.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    let hour = 3600;
    let wanted = [5, 300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour];
    for (wait, wanted) in waits.iter().zip(wanted) {
        // A tenth of jitter, a step of the test's clock, and the schedule's own minute.
        assert!((wanted..=wanted + wanted / 10 + 70).contains(wait), "{waits:?}");
    }
    assert_eq!(world.store.all_notices()[0].state, NoticeState::GivenUp);
    assert_eq!(world.receiver.ids().len(), 1, "the id is the same each time");
    assert!(world.own.is_empty() && world.dead.is_empty());
    assert_eq!(world.store.scheduled(), 0);
}

#[tokio::test]
async fn a_retry_that_is_far_off_waits_in_the_table_and_comes_back_from_there() {
    let world = World::standard();
    world.receiver.script([(500, None), (500, None), (500, None)]);
    put(&world, "hello").await;
    live(&world, 10).await;
    assert_eq!(world.receiver.told().len(), 3);
    assert!(world.own.is_empty());
    assert_eq!(world.store.scheduled(), 1);
    live(&world, 45).await;
    assert_eq!(world.receiver.told().len(), 4);
    assert_eq!(world.store.all_notices()[0].state, NoticeState::Delivered);
    assert_eq!(world.store.scheduled(), 0);
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let world = World::standard();
    world.receiver.script([(503, Some(120)), (429, Some(3600))]);
    put(&world, "hello").await;
    let told = live(&world, 90).await;
    assert_eq!(told.len(), 3);
    assert!(told[1].duration_since(told[0]).as_secs() >= 120);
    assert!(told[2].duration_since(told[1]).as_secs() >= 3600);
}

#[tokio::test]
async fn an_automation_that_is_gone_is_told_no_more_until_it_is_set_anew() {
    let world = World::standard();
    world.receiver.script([(410, None)]);
    put(&world, "one").await;
    work(&world).await;
    put(&world, "two").await;
    live(&world, 10).await;
    assert_eq!(world.receiver.told().len(), 1);
    let Automation::Push(push) = world.store.automation(&world.acme).await.unwrap() else {
        panic!("it is still known")
    };
    assert!(push.disabled_at.is_some());
    assert_eq!(world.store.all_notices()[0].state, NoticeState::GivenUp);
    assert!(world.own.is_empty());
    domain::ports::Registry::set_automation(&world.store, &world.acme, &sample::push())
        .await
        .unwrap();
    put(&world, "three").await;
    work(&world).await;
    assert_eq!(world.receiver.told().len(), 2);
}

#[tokio::test]
async fn a_notice_that_comes_twenty_times_at_once_is_told_once() {
    let world = World::standard();
    for n in 0..20 {
        world.put("acme", &n.to_string(), &job(&world, "hello")).await;
    }
    live(&world, 10).await;
    assert_eq!(world.receiver.told().len(), 1);
    assert!(world.own.is_empty() && world.dead.is_empty());
}

#[tokio::test]
async fn repetitions_of_a_notice_use_up_no_attempts_of_a_receiver_that_is_down() {
    let world = World::standard();
    world.receiver.always(500);
    for n in 0..100 {
        world.put("acme", &n.to_string(), &job(&world, "hello")).await;
    }
    let told = live(&world, 4).await;
    assert_eq!(told.len(), 2, "at once, after 5 s, and then only after 5 minutes");
    world.receiver.always(204);
    live(&world, 10).await;
    assert_eq!(world.receiver.told().len(), 3);
    assert_eq!(world.store.all_notices()[0].state, NoticeState::Delivered);
    live(&world, 10).await;
    assert!(world.own.is_empty() && world.dead.is_empty());
    assert_eq!((world.receiver.told().len(), world.store.scheduled()), (3, 0));
}

#[tokio::test]
async fn one_automation_that_is_down_does_not_hold_another_up() {
    let world = World::standard();
    world.receiver.script([(500, None)]);
    put(&world, "one").await;
    put(&world, "two").await;
    work(&world).await;
    assert_eq!(world.receiver.ids().len(), 2);
    let delivered = world.store.all_notices();
    let count = delivered.iter().filter(|notice| notice.state == NoticeState::Delivered).count();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn wherever_the_teller_breaks_off_the_automation_is_told_in_the_end() {
    for answers in [vec![], vec![(500, None)], vec![(503, Some(3600))]] {
        let world = World::standard();
        world.receiver.script(answers.clone());
        put(&world, "hello").await;
        work(&world).await;
        for trouble in troubles(world.faults.calls()) {
            let world = World::standard();
            world.receiver.script(answers.clone());
            put(&world, "hello").await;
            order(&world.faults, trouble);
            world.batch(&world.teller(&world.own), false).await;
            assert!(world.faults.happened(), "{answers:?} {trouble:?}");
            world.faults.mend();
            live(&world, 90).await;
            let notices = world.store.all_notices();
            let why = format!("{answers:?} {trouble:?} {notices:?}");
            assert_eq!(notices[0].state, NoticeState::Delivered, "{why}");
            assert_eq!(world.receiver.ids().len(), 1, "{why}");
            assert!(world.receiver.told().len() <= 3, "{why}");
            assert!(world.own.is_empty() && world.dead.is_empty(), "{why}");
            assert_eq!(world.store.scheduled(), 0, "{why}");
        }
    }
}

#[tokio::test]
async fn wherever_the_schedule_breaks_off_every_retry_goes_back_once_it_is_due() {
    for trouble in troubles(6) {
        let world = World::standard();
        world.receiver.script(std::iter::repeat_n((503, Some(1800)), 30));
        for n in 0..30 {
            put(&world, &n.to_string()).await;
        }
        work(&world).await;
        assert_eq!(world.store.scheduled(), 30);
        world.clock.advance(Duration::from_mins(31));
        order(&world.faults, trouble);
        let queue = world.own.clone().with_faults(&world.faults);
        let handled = runtime::schedule::handle(&world.store, &queue, &world.clock).await;
        assert_eq!(handled.is_err(), world.faults.happened());
        world.faults.mend();
        live(&world, 5).await;
        let notices = world.store.all_notices();
        assert!(notices.iter().all(|notice| notice.state == NoticeState::Delivered));
        assert_eq!(world.receiver.told().len(), 60, "{trouble:?}");
        assert_eq!(world.store.scheduled(), 0);
    }
}
