//! Sender tests: with a fault at any call, a provider accepts a message at most once, and the
//! message reaches a final status.

use std::time::Duration;

use accounts::circuit::CircuitBreakers;
use domain::integration::Integration;
use domain::message::{Message, Status};
use domain::ports::Clock;
use domain::task::{MarkReadTask, OutboundAction, OutboundTask, VERSION};
use domain::{Content, Provider};
use messaging::handlers::sender::Sender;
use messaging::outbound::Outbound;
use messaging::ports::Receipts;
use runtime::CachedDirectory;
use runtime::batch::{ReceiveContext, Worker};
use serde_json::{Value, json};
use testkit::{SeededRng, Side, sample};

use crate::common::{Behavior, World, faults_at_each_call, inject, sender_provider};
use crate::env::TestEnv;

pub(crate) fn sender(world: &World, provider: Provider) -> Sender<TestEnv> {
    Sender {
        provider: sender_provider(provider),
        store: world.store.messages.clone(),
        accounts: world.store.accounts.clone(),
        directory: CachedDirectory::new(world.store.accounts.clone(), world.clock.clone()),
        credential_store: world.credential_store.clone(),
        circuit_breakers: CircuitBreakers::new(world.store.accounts.clone(), world.clock.clone()),
        automation: world.automation.clone(),
        outbound: Outbound::of_all([(provider, world.own.clone())]),
        hub_url: Some("https://hub.test".to_owned()),
        http_client: world.provider.clone(),
        clock: world.clock.clone(),
        rng: SeededRng::default(),
    }
}

/// Adds a text message to the sender's queue.
async fn enqueue(world: &World, integration: &Integration, name: &str) -> Message {
    let message = sample::outbound(integration, name, world.clock.now());
    let group = message.conversation.to_string();
    world.put(&group, &message.id.to_string(), &sample::job(&message)).await;
    message
}

/// Sends one text over WhatsApp while the provider shows these behaviors; returns the world
/// afterwards.
async fn send_text(behaviors: impl IntoIterator<Item = Behavior>) -> World {
    let world = World::fifo().await;
    world.provider.script(behaviors);
    enqueue(&world, &world.whatsapp, "hello").await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    assert!(world.dead.is_empty());
    world
}

/// Each step of a message: its status, attempt and code.
fn steps(message: &Message) -> Vec<(Status, Option<u32>, Option<&str>)> {
    message.history.iter().map(|step| (step.status, step.attempt, step.code.as_deref())).collect()
}

fn refused(status: u16, code: i64) -> Behavior {
    Behavior::Refuse(status, json!({ "error": { "code": code, "message": "no" } }), None)
}

fn limited(seconds: u64) -> Behavior {
    let error = json!({ "error": { "code": 130_429, "message": "slow" } });
    Behavior::Refuse(429, error, Some(seconds))
}

#[tokio::test]
async fn an_accepted_message_has_the_provider_message_id_and_sends_no_notification() {
    let world = send_text([]).await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Accepted);
    assert_eq!(message.provider_message_id.as_deref(), Some("wamid.1"));
    let expected = [
        (Status::Queued, None, None),
        (Status::Sending, Some(1), None),
        (Status::Accepted, Some(1), None),
    ];
    assert_eq!(steps(&message), expected);
    let accepted = world.provider.accepted();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0]["biz_opaque_callback_data"], message.id.to_string());
    let found = world
        .store
        .messages
        .resolve(&world.acme, Provider::WhatsappCloud, message.integration, "wamid.1")
        .await
        .unwrap();
    assert_eq!(found, Some(message.id));
    assert!(world.automation.is_empty());
}

#[tokio::test]
async fn a_permanent_refusal_fails_at_once_with_code_and_remedy_and_is_notified() {
    let world = send_text([refused(400, 131_026)]).await;
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
async fn a_message_that_was_not_sent_is_retried_and_the_history_has_every_attempt() {
    let world = send_text([Behavior::Unreachable, Behavior::Unreachable]).await;
    let message = world.message().await;
    let no_connection = Some("no_connection");
    let expected = [
        (Status::Queued, None, None),
        (Status::Sending, Some(1), None),
        (Status::Queued, Some(1), no_connection),
        (Status::Sending, Some(2), None),
        (Status::Queued, Some(2), no_connection),
        (Status::Sending, Some(3), None),
        (Status::Accepted, Some(3), None),
    ];
    assert_eq!(steps(&message), expected);
}

#[tokio::test]
async fn after_eight_attempts_and_an_hour_a_retryable_failure_is_final() {
    // With a circuit that opens, and with one that does not.
    for failures in [5, 1000] {
        let world = World::fifo().await;
        let circuit = domain::circuit::Breaker { failures, ..Default::default() };
        let integration = Integration { circuit, ..world.whatsapp.clone() };
        world.table.insert_integration(&integration, &[]).await;
        world.provider.always("111", Behavior::Unreachable);
        let began = world.clock.now();
        enqueue(&world, &integration, "hello").await;
        world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
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
async fn retry_after_is_honored_and_does_not_count_as_an_attempt() {
    let world = World::fifo().await;
    let began = world.clock.now();
    world.provider.script(std::iter::repeat_n(limited(30), 20));
    enqueue(&world, &world.whatsapp, "hello").await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Accepted);
    assert_eq!(
        steps(&message)[1..],
        [(Status::Sending, Some(1), None), (Status::Accepted, Some(1), None)]
    );
    assert_eq!(world.provider.calls().len(), 21);
    assert!(world.clock.now().duration_since(began).as_secs() >= 600);
    assert!(world.own.visibility_changes().iter().all(|(_, wait)| wait.as_secs() == 30));
}

#[tokio::test]
async fn a_message_without_a_response_is_unknown_and_is_not_retried() {
    for behavior in [
        Behavior::AcceptWithoutResponse,
        Behavior::Timeout,
        Behavior::Refuse(500, Value::Null, None),
    ] {
        let world = send_text([behavior]).await;
        assert_eq!(world.message().await.status, Status::Unknown);
        assert_eq!(world.provider.calls().len(), 1);
        assert_eq!(world.notifications()[0].1, Status::Unknown);
    }
}

#[tokio::test]
async fn a_message_without_a_response_is_retried_with_at_least_once_delivery() {
    let world = World::fifo().await;
    let integration = sample::at_least_once(world.whatsapp.clone());
    world.table.insert_integration(&integration, &[]).await;
    world.provider.script([Behavior::AcceptWithoutResponse, Behavior::Timeout]);
    enqueue(&world, &integration, "hello").await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Accepted);
    assert_eq!(world.provider.accepted().len(), 2);
    assert_eq!(message.history.last().unwrap().attempt, Some(3));
}

#[tokio::test]
async fn a_refusal_after_an_attempt_in_doubt_ends_as_unknown_and_a_receipt_still_counts() {
    for is_interrupted in [false, true] {
        let world = World::fifo().await;
        let integration = sample::at_least_once(world.whatsapp.clone());
        world.table.insert_integration(&integration, &[]).await;
        let worker = sender(&world, Provider::WhatsappCloud);
        let message = enqueue(&world, &integration, "hello").await;
        if is_interrupted {
            let call = call_number("call the provider").await;
            world.faults.crash_at_call(call, Side::After);
            world.batch(&worker, true).await;
            world.faults.clear();
        } else {
            world.provider.script([Behavior::AcceptWithoutResponse]);
            world.batch(&worker, true).await;
        }
        world.provider.always("111", refused(400, 131_026));
        world.run_until_empty(&worker, true).await;
        let ended = world.message().await;
        let last = ended.history.last().unwrap();
        assert_eq!((ended.status, last.attempt), (Status::Unknown, Some(2)));
        assert_eq!(last.code.as_deref(), Some("131026"), "the history has the refusal");
        assert_eq!(world.notifications()[0].1, Status::Unknown);
        let delivered = sample::receipt(Status::Delivered, "wamid.1");
        let now = world.clock.now();
        let id = integration.id;
        world.store.messages.advance(&world.acme, message.id, id, &delivered, now).await.unwrap();
        assert_eq!(world.message().await.status, Status::Delivered);
    }
}

#[tokio::test]
async fn a_message_whose_sender_crashes_during_the_call_is_unknown() {
    for side in [Side::Before, Side::After] {
        let world = World::fifo().await;
        let worker = sender(&world, Provider::WhatsappCloud);
        enqueue(&world, &world.whatsapp, "hello").await;
        world.faults.crash_at_call(call_number("call the provider").await, side);
        world.batch(&worker, true).await;
        assert_eq!(world.message().await.status, Status::Sending);
        world.faults.clear();
        world.run_until_empty(&worker, true).await;
        let message = world.message().await;
        assert_eq!(message.status, Status::Unknown);
        assert_eq!(message.history.last().unwrap().code.as_deref(), Some("interrupted"));
        assert!(world.provider.calls().len() <= 1);
        assert_eq!(world.notifications()[0].1, Status::Unknown);
        // A later receipt still sets the status.
        let delivered = sample::receipt(Status::Delivered, "wamid.1");
        let now = world.clock.now();
        world
            .store
            .messages
            .advance(&world.acme, message.id, message.integration, &delivered, now)
            .await
            .unwrap();
        assert_eq!(world.message().await.status, Status::Delivered);
    }
}

/// The number of this call in a send without faults.
async fn call_number(operation: &str) -> u64 {
    let world = send_text([]).await;
    let place = world.faults.log().iter().position(|called| *called == operation);
    u64::try_from(place.unwrap()).unwrap() + 1
}

#[tokio::test]
async fn a_message_to_a_group_that_became_a_supergroup_is_sent_to_the_supergroup() {
    let world = World::fifo().await;
    let moved = json!({
        "ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded",
        "parameters": { "migrate_to_chat_id": -100_500 },
    });
    world.provider.script([Behavior::Refuse(400, moved.clone(), None)]);
    enqueue(&world, &world.telegram, "hello").await;
    let worker = sender(&world, Provider::Telegram);
    world.run_until_empty(&worker, true).await;
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(world.provider.accepted()[0]["chat_id"], -100_500);
    assert_eq!(world.message().await.history.last().unwrap().attempt, Some(1));
    // A migration is followed once.
    let world = World::fifo().await;
    world.provider.script(std::iter::repeat_n(Behavior::Refuse(400, moved, None), 9));
    enqueue(&world, &world.telegram, "hello").await;
    world.run_until_empty(&sender(&world, Provider::Telegram), true).await;
    assert_eq!(world.message().await.status, Status::Failed);
    assert_eq!(world.provider.calls().len(), 2);
}

#[tokio::test]
async fn a_message_that_is_not_sent_in_time_expires_and_is_notified() {
    let world = World::fifo().await;
    world.provider.script(std::iter::repeat_n(limited(3600), 1000));
    enqueue(&world, &world.whatsapp, "hello").await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    assert_eq!(world.message().await.status, Status::Expired);
    assert_eq!(world.provider.accepted().len(), 0);
    assert_eq!(world.notifications()[0].1, Status::Expired);
}

#[tokio::test]
async fn a_number_keeps_its_rate_limit() {
    let world = World::fifo().await;
    let mut integration = world.whatsapp.clone();
    integration.settings.0.insert("messages_per_second".to_owned(), 3.into());
    world.table.insert_integration(&integration, &[]).await;
    let began = world.clock.now();
    for n in 0..9 {
        let mut message = sample::outbound(&integration, &n.to_string(), began);
        message.content = Content::Text { text: n.to_string() };
        // Each has its own recipient, so that the messages do not wait for one another.
        world.put(&n.to_string(), &n.to_string(), &sample::job(&message)).await;
    }
    let worker = sender(&world, Provider::WhatsappCloud);
    world.batch(&worker, true).await;
    assert_eq!(world.provider.accepted().len(), 3);
    world.run_until_empty(&worker, true).await;
    assert_eq!(world.provider.accepted().len(), 9);
    assert_eq!(world.clock.now().duration_since(began).as_secs(), 2);
    let messages = world.table.messages().await;
    assert!(messages.iter().all(|message| message.history.last().unwrap().attempt == Some(1)));
}

#[tokio::test]
async fn a_conversation_is_sent_in_order_even_if_its_first_message_waits() {
    let world = World::fifo().await;
    world.provider.script([limited(60), Behavior::Unreachable]);
    for name in ["one", "two", "three"] {
        enqueue(&world, &world.whatsapp, name).await;
    }
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    let accepted = world.provider.accepted();
    let texts: Vec<_> =
        accepted.iter().map(|body| body["text"]["body"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
}

#[tokio::test]
async fn a_message_over_a_deleted_integration_fails_and_is_notified() {
    let world = World::fifo().await;
    let other = sample::whatsapp(&world.acme, Some("never-stored"));
    enqueue(&world, &other, "hello").await;
    world.run_until_empty(&sender(&world, Provider::WhatsappCloud), true).await;
    let message = world.message().await;
    assert_eq!(message.status, Status::Failed);
    assert_eq!(message.history.last().unwrap().code.as_deref(), Some("integration_missing"));
    assert_eq!(world.notifications().len(), 1);
    assert!(world.provider.calls().is_empty());
}

#[tokio::test]
async fn a_rotated_token_is_reloaded_and_used() {
    let world = World::fifo().await;
    let worker = sender(&world, Provider::WhatsappCloud);
    enqueue(&world, &world.whatsapp, "one").await;
    world.run_until_empty(&worker, true).await;
    world.clock.advance(Duration::from_mins(2));
    let name = providers::whatsapp_cloud::ACCESS_TOKEN.to_owned();
    let newer = domain::Credentials::new([(name, vec!["newer".into()])]);
    let merged = providers::whatsapp_cloud::example::credentials().merged(newer);
    world.credential_store.rotate(world.whatsapp.id, merged);
    world.provider.accept_only_token("newer");
    enqueue(&world, &world.whatsapp, "two").await;
    world.run_until_empty(&worker, true).await;
    let messages = world.table.messages().await;
    assert!(messages.iter().all(|message| message.status == Status::Accepted));
    // An invalid token is not retried.
    world.provider.accept_only_token("unknown");
    enqueue(&world, &world.whatsapp, "three").await;
    let calls = world.provider.calls().len();
    world.run_until_empty(&worker, true).await;
    assert_eq!(world.provider.calls().len(), calls + 1);
}

#[tokio::test]
async fn a_record_received_by_twenty_senders_at_once_is_sent_once() {
    let world = World::fifo().await;
    let worker = sender(&world, Provider::WhatsappCloud);
    let message = sample::outbound(&world.whatsapp, "hello", world.clock.now());
    let job = sample::job(&message);
    let attempts = (1..=20).map(|receives| {
        let now = world.clock.now();
        worker.work(&job, ReceiveContext { record: "r", receives, now, is_last: false })
    });
    let results = futures::future::join_all(attempts).await;
    assert_eq!(world.provider.accepted().len(), 1);
    assert_eq!(world.message().await.status, Status::Accepted);
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 19);
}

#[tokio::test]
async fn with_a_fault_at_any_call_a_provider_accepts_a_message_once_and_failures_are_notified() {
    let behaviors = [
        vec![],
        vec![refused(400, 131_026)],
        vec![Behavior::Unreachable],
        vec![limited(30)],
        vec![Behavior::AcceptWithoutResponse],
        vec![Behavior::Timeout],
    ];
    for behaviors in &behaviors {
        let calls = send_text(behaviors.clone()).await.faults.calls();
        for fault in faults_at_each_call(calls) {
            let world = World::fifo().await;
            world.provider.script(behaviors.clone());
            let queued = enqueue(&world, &world.whatsapp, "hello").await;
            let worker = sender(&world, Provider::WhatsappCloud);
            inject(&world.faults, fault);
            world.run_until_fault(&worker).await;
            assert!(world.faults.has_triggered(), "{behaviors:?} {fault:?}");
            world.faults.clear();
            world.run_until_empty(&worker, true).await;

            let why = format!("{behaviors:?} {fault:?} {:?}", world.faults.log());
            let message = world.message().await;
            let accepted = world.provider.accepted().len();
            assert_eq!(message.id, queued.id);
            assert!(accepted <= 1, "{why}");
            assert!(world.dead.is_empty(), "{why}");
            match message.status {
                Status::Accepted => {
                    assert_eq!(accepted, 1, "{why}");
                    assert_eq!(message.provider_message_id.as_deref(), Some("wamid.1"), "{why}");
                }
                Status::Failed => assert_eq!(accepted, 0, "{why}"),
                Status::Unknown => {}
                status => panic!("{status:?}: {why}"),
            }
            let notifications = world.notifications();
            let of_this_status =
                notifications.iter().filter(|(_, status)| *status == message.status).count();
            assert_eq!(of_this_status, usize::from(message.status != Status::Accepted), "{why}");
            assert_eq!(notifications.len(), of_this_status, "{why}");
        }
    }
}

#[tokio::test]
async fn with_a_fault_at_any_call_an_at_least_once_message_is_accepted() {
    let calls = send_text([]).await.faults.calls();
    for fault in faults_at_each_call(calls) {
        let world = World::fifo().await;
        let integration = sample::at_least_once(world.whatsapp.clone());
        world.table.insert_integration(&integration, &[]).await;
        enqueue(&world, &integration, "hello").await;
        let worker = sender(&world, Provider::WhatsappCloud);
        inject(&world.faults, fault);
        world.batch(&worker, true).await;
        world.faults.clear();
        world.run_until_empty(&worker, true).await;
        assert_eq!(world.message().await.status, Status::Accepted, "{fault:?}");
        assert!((1..=2).contains(&world.provider.accepted().len()), "{fault:?}");
    }
}

async fn mark_as_read(world: &World) {
    let task = MarkReadTask {
        tenant: world.acme.clone(),
        integration: world.whatsapp.id,
        provider_message_id: "wamid.in".to_owned(),
    };
    let job = OutboundTask { v: VERSION, action: OutboundAction::MarkRead(task) };
    world.put("conv", "read", &job).await;
    world.run_until_empty(&sender(world, Provider::WhatsappCloud), true).await;
}

#[tokio::test]
async fn a_message_is_marked_as_read_and_a_refused_mark_is_not_a_dead_letter() {
    let world = World::fifo().await;
    mark_as_read(&world).await;
    assert_eq!(world.provider.read(), ["wamid.in"]);

    let world = World::fifo().await;
    world.provider.script([Behavior::Unreachable, Behavior::Timeout, limited(5)]);
    mark_as_read(&world).await;
    assert_eq!(world.provider.read(), ["wamid.in"]);

    let world = World::fifo().await;
    world.provider.script([refused(400, 100)]);
    mark_as_read(&world).await;
    assert_eq!(world.provider.calls().len(), 1);
    assert!(world.dead.is_empty());
}
