//! Senders: whatever breaks, a provider takes a message at most once, and its fate is known.

use std::time::Duration;

use domain::integration::Integration;
use domain::message::{Message, Status};
use domain::ports::{Clock, Receipts};
use domain::task::{MarkReadTask, OutboundAction, OutboundTask, VERSION};
use domain::{Content, Provider};
use runtime::batch::{ReceiveContext, Worker};
use runtime::circuit::Breakers;
use runtime::outbound::Outbound;
use runtime::sender::Sender;
use serde_json::{Value, json};
use store::DynamoStore;
use testkit::{FakeClock, FakeCredentials, FakeQueue, SeededRng, Side, sample};

use crate::common::{Act, FakeProvider, World, carrier, order, troubles};

pub(crate) type TestSender = Sender<
    'static,
    DynamoStore,
    DynamoStore,
    FakeCredentials,
    FakeQueue,
    Outbound<FakeQueue>,
    FakeProvider,
    FakeClock,
    SeededRng,
>;

pub(crate) fn sender(world: &World, provider: Provider) -> TestSender {
    Sender {
        provider: carrier(provider),
        store: world.store.clone(),
        directory: world.store.clone(),
        vault: world.vault.clone(),
        breakers: Breakers::new(world.store.clone(), world.clock.clone()),
        automation: world.automation.clone(),
        outbound: Outbound::of_all([(provider, world.own.clone())]),
        hub_url: Some("https://hub.test".to_owned()),
        http_client: world.provider.clone(),
        clock: world.clock.clone(),
        rng: SeededRng::default(),
    }
}

/// Puts a text into the sender's queue.
async fn ask(world: &World, integration: &Integration, name: &str) -> Message {
    let message = sample::outbound(integration, name, world.clock.now());
    let group = message.conversation.to_string();
    world.put(&group, &message.id.to_string(), &sample::job(&message)).await;
    message
}

/// Sends one text over WhatsApp while the provider acts so; gives the hub afterwards.
async fn sent(acts: impl IntoIterator<Item = Act>) -> World {
    let world = World::fifo().await;
    world.provider.script(acts);
    ask(&world, &world.whatsapp, "hello").await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    assert!(world.dead.is_empty());
    world
}

/// Each step of a message: its state, attempt and code.
fn steps(message: &Message) -> Vec<(Status, Option<u32>, Option<&str>)> {
    message.history.iter().map(|step| (step.status, step.attempt, step.code.as_deref())).collect()
}

fn refused(status: u16, code: i64) -> Act {
    Act::Refuse(status, json!({ "error": { "code": code, "message": "no" } }), None)
}

fn limited(seconds: u64) -> Act {
    let error = json!({ "error": { "code": 130_429, "message": "slow" } });
    Act::Refuse(429, error, Some(seconds))
}

#[tokio::test]
async fn an_accepted_message_has_the_providers_id_and_is_no_news() {
    let world = sent([]).await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Accepted);
    assert_eq!(message.provider_message_id.as_deref(), Some("wamid.1"));
    let walked = [
        (Status::Queued, None, None),
        (Status::Sending, Some(1), None),
        (Status::Accepted, Some(1), None),
    ];
    assert_eq!(steps(&message), walked);
    let taken = world.provider.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0]["biz_opaque_callback_data"], message.id.to_string());
    let found = world.store.resolve(&world.acme, Provider::WhatsappCloud, "wamid.1").await.unwrap();
    assert_eq!(found, Some(message.id));
    assert!(world.automation.is_empty());
}

#[tokio::test]
async fn a_permanent_refusal_fails_at_once_with_code_and_remedy_and_is_told() {
    let world = sent([refused(400, 131_026)]).await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Failed);
    let last = message.history.last().unwrap();
    assert_eq!(last.code.as_deref(), Some("131026"));
    assert!(last.detail.as_deref().is_some_and(|detail| !detail.is_empty()));
    assert_eq!(world.provider.calls().len(), 1);
    let notifications = world.notifications();
    assert_eq!(
        notifications.iter().map(|(_, status)| *status).collect::<Vec<_>>(),
        [Status::Failed]
    );
}

#[tokio::test]
async fn what_did_not_leave_is_tried_again_and_every_attempt_is_told_in_the_history() {
    let world = sent([Act::Unreachable, Act::Unreachable]).await;
    let message = world.message().await;
    let gone = Some("no_connection");
    let walked = [
        (Status::Queued, None, None),
        (Status::Sending, Some(1), None),
        (Status::Queued, Some(1), gone),
        (Status::Sending, Some(2), None),
        (Status::Queued, Some(2), gone),
        (Status::Sending, Some(3), None),
        (Status::Accepted, Some(3), None),
    ];
    assert_eq!(steps(&message), walked);
}

#[tokio::test]
async fn after_eight_attempts_and_an_hour_a_retryable_failure_is_final() {
    // Whether its circuit opens or not.
    for failures in [5, 1000] {
        let world = World::fifo().await;
        let circuit = domain::circuit::Breaker { failures, ..Default::default() };
        let integration = Integration { circuit, ..world.whatsapp.clone() };
        world.table.insert_integration(&integration, &[]).await;
        world.provider.mood("111", Act::Unreachable);
        let began = world.clock.now();
        ask(&world, &integration, "hello").await;
        world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
        let message = world.message().await;
        assert_eq!(message.status, Status::Failed, "{failures}");
        let took = world.clock.now().duration_since(began).unsigned_abs();
        let hour = Duration::from_hours(1);
        assert!((hour..=hour + Duration::from_mins(16)).contains(&took), "{failures}: {took:?}");
        assert!(world.provider.calls().len() > 8, "{failures}");
        assert!(message.history.len() < 60, "{failures}: {}", message.history.len());
        assert_eq!(world.notifications().len(), 1, "{failures}");
    }
}

#[tokio::test]
async fn a_wait_the_provider_asks_for_is_kept_and_is_no_attempt() {
    let world = World::fifo().await;
    let began = world.clock.now();
    world.provider.script(std::iter::repeat_n(limited(30), 20));
    ask(&world, &world.whatsapp, "hello").await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Accepted);
    assert_eq!(
        steps(&message)[1..],
        [(Status::Sending, Some(1), None), (Status::Accepted, Some(1), None)]
    );
    assert_eq!(world.provider.calls().len(), 21);
    assert!(world.clock.now().duration_since(began).as_secs() >= 600);
    assert!(world.own.postponed().iter().all(|(_, wait)| wait.as_secs() == 30));
}

#[tokio::test]
async fn a_message_without_an_answer_stays_unknown_and_is_never_sent_again() {
    for act in [Act::TakeInSilence, Act::Silence, Act::Refuse(500, Value::Null, None)] {
        let world = sent([act]).await;
        assert_eq!(world.message().await.status, Status::Unknown);
        assert_eq!(world.provider.calls().len(), 1);
        assert_eq!(world.notifications()[0].1, Status::Unknown);
    }
}

#[tokio::test]
async fn a_message_without_an_answer_is_sent_again_where_that_is_wanted() {
    let world = World::fifo().await;
    let integration = sample::at_least_once(world.whatsapp.clone());
    world.table.insert_integration(&integration, &[]).await;
    world.provider.script([Act::TakeInSilence, Act::Silence]);
    ask(&world, &integration, "hello").await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Accepted);
    assert_eq!(world.provider.taken().len(), 2);
    assert_eq!(message.history.last().unwrap().attempt, Some(3));
}

#[tokio::test]
async fn a_sender_that_dies_while_it_sends_leaves_an_unknown_message() {
    for side in [Side::Before, Side::After] {
        let world = World::fifo().await;
        let worker = sender(&world, Provider::WhatsappCloud);
        ask(&world, &world.whatsapp, "hello").await;
        world.faults.die_at_call(call_number("call the provider").await, side);
        world.batch(&worker, true).await;
        assert_eq!(world.message().await.status, Status::Sending);
        world.faults.mend();
        world.run_dry(&worker, true).await;
        let message = world.message().await;
        assert_eq!(message.status, Status::Unknown);
        assert_eq!(message.history.last().unwrap().code.as_deref(), Some("interrupted"));
        assert!(world.provider.calls().len() <= 1);
        assert_eq!(world.notifications()[0].1, Status::Unknown);
        // A receipt may still tell.
        let delivered = sample::receipt(Status::Delivered, "wamid.1");
        let now = world.clock.now();
        world.store.advance(&world.acme, message.id, &delivered, now).await.unwrap();
        assert_eq!(world.message().await.status, Status::Delivered);
    }
}

/// Which call of an undisturbed send that is.
async fn call_number(operation: &str) -> u64 {
    let world = sent([]).await;
    let place = world.faults.log().iter().position(|called| *called == operation);
    u64::try_from(place.unwrap()).unwrap() + 1
}

#[tokio::test]
async fn a_group_that_became_a_supergroup_is_written_to_there() {
    let world = World::fifo().await;
    let moved = json!({
        "ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded",
        "parameters": { "migrate_to_chat_id": -100_500 },
    });
    world.provider.script([Act::Refuse(400, moved.clone(), None)]);
    ask(&world, &world.telegram, "hello").await;
    let worker = sender(&world, Provider::Telegram);
    world.run_dry(&worker, true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(world.provider.taken()[0]["chat_id"], -100_500);
    assert_eq!(world.message().await.history.last().unwrap().attempt, Some(1));
    // It is followed once, not for ever.
    let world = World::fifo().await;
    world.provider.script(std::iter::repeat_n(Act::Refuse(400, moved, None), 9));
    ask(&world, &world.telegram, "hello").await;
    world.run_dry(&sender(&world, Provider::Telegram), true).await;
    assert_eq!(world.message().await.status, Status::Failed);
    assert_eq!(world.provider.calls().len(), 2);
}

#[tokio::test]
async fn what_could_not_be_sent_in_time_expires_and_is_told() {
    let world = World::fifo().await;
    world.provider.script(std::iter::repeat_n(limited(3600), 1000));
    ask(&world, &world.whatsapp, "hello").await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Expired);
    assert_eq!(world.provider.taken().len(), 0);
    assert_eq!(world.notifications()[0].1, Status::Expired);
}

#[tokio::test]
async fn a_number_keeps_its_own_pace() {
    let world = World::fifo().await;
    let mut integration = world.whatsapp.clone();
    if let domain::integration::Settings::WhatsappCloud(settings) = &mut integration.settings {
        settings.messages_per_second = 3;
    }
    world.table.insert_integration(&integration, &[]).await;
    let began = world.clock.now();
    for n in 0..9 {
        let mut message = sample::outbound(&integration, &n.to_string(), began);
        message.content = Content::Text { text: n.to_string() };
        // Each to a person of its own, so that they need not wait for one another.
        world.put(&n.to_string(), &n.to_string(), &sample::job(&message)).await;
    }
    let worker = sender(&world, Provider::WhatsappCloud);
    world.batch(&worker, true).await;
    assert_eq!(world.provider.taken().len(), 3);
    world.run_dry(&worker, true).await;
    assert_eq!(world.provider.taken().len(), 9);
    assert_eq!(world.clock.now().duration_since(began).as_secs(), 2);
    let messages = world.table.messages().await;
    assert!(messages.iter().all(|message| message.history.last().unwrap().attempt == Some(1)));
}

#[tokio::test]
async fn a_conversation_is_sent_in_order_even_when_its_first_message_has_to_wait() {
    let world = World::fifo().await;
    world.provider.script([limited(60), Act::Unreachable]);
    for name in ["one", "two", "three"] {
        ask(&world, &world.whatsapp, name).await;
    }
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    let taken = world.provider.taken();
    let texts: Vec<_> = taken.iter().map(|body| body["text"]["body"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
}

#[tokio::test]
async fn a_message_over_a_deleted_integration_fails_and_is_told() {
    let world = World::fifo().await;
    let other = sample::whatsapp(&world.acme, Some("never-stored"));
    ask(&world, &other, "hello").await;
    world.run_dry(&sender(&world, Provider::WhatsappCloud), true).await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Failed);
    assert_eq!(message.history.last().unwrap().code.as_deref(), Some("integration_missing"));
    assert_eq!(world.notifications().len(), 1);
    assert!(world.provider.calls().is_empty());
}

#[tokio::test]
async fn a_token_that_was_changed_a_moment_ago_is_read_anew_and_used() {
    let world = World::fifo().await;
    let worker = sender(&world, Provider::WhatsappCloud);
    ask(&world, &world.whatsapp, "one").await;
    world.run_dry(&worker, true).await;
    world.clock.advance(Duration::from_mins(2));
    let name = providers::whatsapp_cloud::ACCESS_TOKEN.to_owned();
    let newer = domain::Credentials::new([(name, vec!["newer".into()])]);
    let merged = providers::whatsapp_cloud::example::credentials().merged(newer);
    world.vault.rotate(world.whatsapp.id, merged);
    world.provider.know_only("newer");
    ask(&world, &world.whatsapp, "two").await;
    world.run_dry(&worker, true).await;
    let messages = world.table.messages().await;
    assert!(messages.iter().all(|message| message.status == Status::Accepted));
    // A token that is simply wrong is not asked with again.
    world.provider.know_only("unknown");
    ask(&world, &world.whatsapp, "three").await;
    let calls = world.provider.calls().len();
    world.run_dry(&worker, true).await;
    assert_eq!(world.provider.calls().len(), calls + 1);
}

#[tokio::test]
async fn a_record_that_two_senders_have_at_once_is_sent_by_one() {
    let world = World::fifo().await;
    let worker = sender(&world, Provider::WhatsappCloud);
    let message = sample::outbound(&world.whatsapp, "hello", world.clock.now());
    let job = sample::job(&message);
    let works = (1..=20).map(|receives| {
        worker.work(&job, ReceiveContext { record: "r", receives, now: world.clock.now() })
    });
    let results = futures::future::join_all(works).await;
    assert_eq!(world.provider.taken().len(), 1);
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 19);
}

#[tokio::test]
async fn wherever_a_sender_breaks_off_the_provider_takes_a_message_once_and_its_fate_is_told() {
    let acts = [
        vec![],
        vec![refused(400, 131_026)],
        vec![Act::Unreachable],
        vec![limited(30)],
        vec![Act::TakeInSilence],
        vec![Act::Silence],
    ];
    for acts in &acts {
        let calls = sent(acts.clone()).await.faults.calls();
        for trouble in troubles(calls) {
            let world = World::fifo().await;
            world.provider.script(acts.clone());
            let asked = ask(&world, &world.whatsapp, "hello").await;
            let worker = sender(&world, Provider::WhatsappCloud);
            order(&world.faults, trouble);
            world.work_until_trouble(&worker).await;
            assert!(world.faults.happened(), "{acts:?} {trouble:?}");
            world.faults.mend();
            world.run_dry(&worker, true).await;

            let why = format!("{acts:?} {trouble:?} {:?}", world.faults.log());
            let message = world.message().await;
            let taken = world.provider.taken().len();
            assert_eq!(message.id, asked.id);
            assert!(taken <= 1, "{why}");
            assert!(world.dead.is_empty(), "{why}");
            match message.status {
                Status::Accepted => {
                    assert_eq!(taken, 1, "{why}");
                    assert_eq!(message.provider_message_id.as_deref(), Some("wamid.1"), "{why}");
                }
                Status::Failed => assert_eq!(taken, 0, "{why}"),
                Status::Unknown => {}
                status => panic!("{status:?}: {why}"),
            }
            let told = world.notifications();
            let of_it = told.iter().filter(|(_, status)| *status == message.status).count();
            assert_eq!(of_it, usize::from(message.status != Status::Accepted), "{why}");
            assert_eq!(told.len(), of_it, "{why}");
        }
    }
}

#[tokio::test]
async fn wherever_a_sender_breaks_off_a_message_that_may_come_twice_arrives() {
    let calls = sent([]).await.faults.calls();
    for trouble in troubles(calls) {
        let world = World::fifo().await;
        let integration = sample::at_least_once(world.whatsapp.clone());
        world.table.insert_integration(&integration, &[]).await;
        ask(&world, &integration, "hello").await;
        let worker = sender(&world, Provider::WhatsappCloud);
        order(&world.faults, trouble);
        world.batch(&worker, true).await;
        world.faults.mend();
        world.run_dry(&worker, true).await;
        assert_eq!(world.message().await.status, Status::Accepted, "{trouble:?}");
        assert!((1..=2).contains(&world.provider.taken().len()), "{trouble:?}");
    }
}

async fn marked(world: &World) {
    let task = MarkReadTask {
        tenant: world.acme.clone(),
        integration: world.whatsapp.id,
        provider_message_id: "wamid.in".to_owned(),
    };
    let job = OutboundTask { v: VERSION, action: OutboundAction::MarkRead(task) };
    world.put("conv", "read", &job).await;
    world.run_dry(&sender(world, Provider::WhatsappCloud), true).await;
}

#[tokio::test]
async fn a_message_is_marked_as_read_and_a_refusal_of_that_is_no_dead_letter() {
    let world = World::fifo().await;
    marked(&world).await;
    assert_eq!(world.provider.read(), ["wamid.in"]);

    let world = World::fifo().await;
    world.provider.script([Act::Unreachable, Act::Silence, limited(5)]);
    marked(&world).await;
    assert_eq!(world.provider.read(), ["wamid.in"]);

    let world = World::fifo().await;
    world.provider.script([refused(400, 100)]);
    marked(&world).await;
    assert_eq!(world.provider.calls().len(), 1);
    assert!(world.dead.is_empty());
}
