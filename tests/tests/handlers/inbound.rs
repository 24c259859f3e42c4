//! Inbound message tests: each message is stored once, in one conversation, with a fault at any
//! call.

use std::collections::BTreeSet;

use accounts::model::automation::Automation;
use domain::Content;
use domain::conversation::Conversation;
use domain::event::InboundEvent;
use domain::message::Message;
use domain::ports::Clock;
use domain::task::MediaTask;
use messaging::handlers::inbound::Inbound;
use messaging::ports::{MediaState, MessageReader};
use providers::whatsapp_cloud::SERVICE_WINDOW;
use runtime::batch::{ReceiveContext, Worker};
use testkit::sample;

use crate::common::{World, faults_at_each_call, inject};
use crate::env::TestEnv;

/// The consumer of inbound messages, whose jobs are in the same table.
pub(crate) fn worker(world: &World) -> Inbound<work::Repository, TestEnv> {
    Inbound {
        store: world.store.messages.clone(),
        accounts: world.store.accounts.clone(),
        jobs: world.store.jobs.clone(),
        bucket: world.bucket.clone(),
        automation: world.automation.clone(),
        media: world.media.clone(),
    }
}

async fn put(world: &World, id: &str, event: &InboundEvent) {
    world.put("conv", id, event).await;
}

fn text(world: &World, id: &str) -> InboundEvent {
    sample::text_event(&world.whatsapp, sample::PERSON, id, world.clock.now())
}

fn image(world: &World, id: &str) -> InboundEvent {
    sample::image_event(&world.whatsapp, sample::PERSON, id, world.clock.now())
}

fn oversize(world: &World) -> InboundEvent {
    let content = Content::Text { text: "x".repeat(250 * 1024) };
    sample::message_event(&world.whatsapp, sample::PERSON, "large", world.clock.now(), content)
}

#[tokio::test]
async fn a_message_is_stored_with_its_conversation_and_notified() {
    let world = World::fifo().await;
    let event = text(&world, "wamid.1");
    put(&world, "1", &event).await;
    world.run_until_empty(&worker(&world), false).await;
    let message = world.message().await;
    assert_eq!(message.provider_message_id.as_deref(), Some("wamid.1"));
    assert_eq!(message.content, Content::Text { text: "text of wamid.1".to_owned() });
    let conversation = &world.table.conversations().await[0];
    assert_eq!(conversation.id, message.conversation);
    assert_eq!(conversation.contact.name.as_deref(), Some("Zoë Müller"));
    let archived = world.bucket.archived();
    assert_eq!(archived, [serde_json::to_string(&event).unwrap()], "the whole event, for replays");
    world.notify_all().await;
    let requests = world.receiver.requests();
    let notification: domain::notification::Notification =
        serde_json::from_slice(&requests[0].1).unwrap();
    assert_eq!(notification.data.message, message);
    assert_eq!(notification.data.conversation.as_ref(), Some(conversation));
    assert!(world.media.is_empty());
}

#[tokio::test]
async fn a_message_received_a_hundred_times_is_stored_and_notified_once() {
    let world = World::standard().await;
    for n in 0..100 {
        put(&world, &n.to_string(), &text(&world, "wamid.1")).await;
    }
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.table.messages().await.len(), 1);
    assert_eq!(world.table.conversations().await.len(), 1);
    world.notify_all().await;
    assert_eq!(world.receiver.requests().len(), 1);
}

#[tokio::test]
async fn fifty_concurrent_first_messages_create_one_conversation() {
    let world = World::fifo().await;
    let worker = worker(&world);
    let events: Vec<_> = (0..50).map(|n| text(&world, &format!("wamid.{n}"))).collect();
    let calls = events.iter().map(|event| {
        let now = world.clock.now();
        worker.work(event, ReceiveContext { record: "r", receives: 1, now, is_last: false })
    });
    let results = futures::future::join_all(calls).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(world.table.messages().await.len(), 50);
    assert_eq!(world.table.conversations().await.len(), 1);
    world.notify_all().await;
    assert_eq!(world.receiver.ids().len(), 50);
}

#[tokio::test]
async fn messages_of_different_accounts_tenants_and_customers_are_different_messages() {
    let world = World::fifo().await;
    let (now, acme) = (world.clock.now(), &world.acme);
    let globex = sample::tenant("globex");
    for integration in [
        &world.whatsapp,
        &sample::whatsapp(acme, Some("222")),
        &sample::whatsapp(&globex, Some("333")),
        &world.telegram,
    ] {
        let event = sample::text_event(integration, "1", "same id", now);
        put(&world, &integration.id.to_string(), &event).await;
    }
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.table.messages().await.len(), 4);
    assert_eq!(world.table.conversations().await.len(), 4);
    let of_globex = world.store.messages.conversations(&globex, 10, None).await.unwrap();
    assert_eq!(of_globex.items.len(), 1);
    assert_eq!(world.notifications().len(), 3, "the other tenant has no automation");
}

#[tokio::test]
async fn an_older_message_that_arrives_late_does_not_move_the_conversation_back() {
    let world = World::fifo().await;
    let older = text(&world, "wamid.older");
    world.clock.advance(std::time::Duration::from_mins(1));
    let newer = text(&world, "wamid.newer");
    put(&world, "1", &newer).await;
    put(&world, "2", &older).await;
    world.run_until_empty(&worker(&world), false).await;
    let conversation = &world.table.conversations().await[0];
    assert_eq!(conversation.last_inbound_message.as_deref(), Some("wamid.newer"));
    assert_eq!(world.table.messages().await.len(), 2);
}

#[tokio::test]
async fn content_too_large_for_the_table_is_stored_as_a_file() {
    let world = World::fifo().await;
    put(&world, "1", &oversize(&world)).await;
    world.run_until_empty(&worker(&world), false).await;
    let message = world.message().await;
    let Content::Document { media } = &message.content else { panic!("not a document") };
    assert_eq!(media.url, Some(format!("/messages/{}/media", message.id)));
    let (_, state) = world.store.messages.message(&world.acme, message.id).await.unwrap().unwrap();
    let Some(MediaState::Stored { key, content_type }) = state else {
        panic!("no file: {state:?}")
    };
    assert_eq!(content_type, "application/json");
    let stored: Content = serde_json::from_slice(&world.bucket.object(&key).unwrap()).unwrap();
    assert_eq!(stored, Content::Text { text: "x".repeat(250 * 1024) });
    assert!(world.media.is_empty(), "there is nothing to fetch");
}

#[tokio::test]
async fn a_file_is_queued_for_download_and_shown_as_pending() {
    let world = World::fifo().await;
    put(&world, "1", &image(&world, "wamid.1")).await;
    world.run_until_empty(&worker(&world), false).await;
    let jobs = world.media.bodies::<MediaTask>();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].provider_media_id, "media-of-wamid.1");
    let (message, state) =
        world.store.messages.message(&world.acme, jobs[0].message).await.unwrap().unwrap();
    assert_eq!(state, Some(MediaState::Pending));
    assert_eq!(
        message.content.media().unwrap().url,
        Some(format!("/messages/{}/media", message.id))
    );
}

#[tokio::test]
async fn a_tenant_without_an_enabled_automation_is_not_notified() {
    let world = World::fifo().await;
    world.table.insert_automation(&world.acme, &Automation::None).await;
    put(&world, "1", &text(&world, "wamid.1")).await;
    world.run_until_empty(&worker(&world), false).await;
    let automation = tests::sample::push();
    world.table.insert_automation(&world.acme, &automation).await;
    let (now, endpoint) = (world.clock.now(), automation.push().unwrap());
    accounts::ports::DisableEndpoint::disable(&world.store.accounts, &world.acme, endpoint, now)
        .await
        .unwrap();
    put(&world, "2", &text(&world, "wamid.2")).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.table.messages().await.len(), 2);
    assert!(world.automation.is_empty());
}

#[tokio::test]
async fn a_receipt_in_the_wrong_queue_is_a_dead_letter() {
    let world = World::fifo().await;
    let receipt = sample::receipt(domain::Status::Read, "wamid.1");
    let event = sample::receipt_event(&world.whatsapp, receipt, world.clock.now());
    put(&world, "1", &event).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(world.dead.len(), 1);
    assert!(world.table.messages().await.is_empty());
}

/// The final state, which must be the same with every fault.
#[derive(Debug, PartialEq)]
struct FinalState {
    messages: Vec<Message>,
    conversations: Vec<Conversation>,
    files: Vec<String>,
    archived: BTreeSet<String>,
    media: BTreeSet<String>,
    notified: Vec<String>,
}

async fn final_state(world: &World) -> FinalState {
    assert!(world.dead.is_empty());
    world.notify_all().await;
    FinalState {
        messages: world.table.messages().await,
        conversations: world.table.conversations().await,
        files: world.bucket.names().into_iter().filter(|name| name.starts_with("media/")).collect(),
        archived: world.bucket.archived().into_iter().collect(),
        media: world.media.records().into_iter().map(|record| record.body).collect(),
        notified: world.receiver.ids(),
    }
}

async fn put_three(world: &World) {
    put(world, "1", &text(world, "wamid.1")).await;
    put(world, "2", &image(world, "wamid.2")).await;
    put(world, "3", &oversize(world)).await;
}

#[tokio::test]
async fn a_fault_at_any_call_does_not_change_the_final_state() {
    let world = World::fifo().await;
    put_three(&world).await;
    world.run_until_empty(&worker(&world), false).await;
    let calls = world.faults.calls();
    let undisturbed = final_state(&world).await;
    assert_eq!(undisturbed.messages.len(), 3);
    assert_eq!(undisturbed.notified.len(), 3);
    for fault in faults_at_each_call(calls) {
        let world = World::fifo().await;
        put_three(&world).await;
        inject(&world.faults, fault);
        world.batch(&worker(&world), false).await;
        assert!(world.faults.has_triggered(), "{fault:?}");
        world.faults.clear();
        world.run_until_empty(&worker(&world), false).await;
        assert_eq!(final_state(&world).await, undisturbed, "{fault:?}");
    }
}

#[tokio::test]
async fn a_message_with_an_impossible_time_is_stored_once_and_not_dated_in_the_future() {
    for date in [jiff::Timestamp::MAX, jiff::Timestamp::MIN] {
        let world = World::fifo().await;
        // As an earlier version queued it.
        let mut event = text(&world, "wamid.1");
        event.occurred_at = Some(date);
        put(&world, "1", &event).await;
        world.run_until_empty(&worker(&world), false).await;
        let conversation = async || world.table.conversations().await[0].clone();
        assert!(conversation().await.last_inbound_at.unwrap() <= event.received_at, "{date}");
        assert!(world.message().await.occurred_at.unwrap() <= event.received_at, "{date}");
        // The provider redelivers it later.
        world.clock.advance(std::time::Duration::from_mins(1));
        event.received_at = world.clock.now();
        put(&world, "2", &event).await;
        world.run_until_empty(&worker(&world), false).await;
        assert_eq!(world.table.messages().await.len(), 1, "{date}");
        // The customer writes again.
        world.clock.advance(std::time::Duration::from_mins(1));
        put(&world, "3", &text(&world, "wamid.2")).await;
        world.run_until_empty(&worker(&world), false).await;
        assert_eq!(conversation().await.last_inbound_message.as_deref(), Some("wamid.2"), "{date}");
        assert!(
            conversation().await.in_service_window(world.clock.now(), SERVICE_WINDOW),
            "{date}"
        );
    }
}
