//! Media tests: the file of a message is fetched once, or marked as failed.

use domain::Provider;
use domain::integration::Integration;
use domain::message::{Direction, Message, Status};
use domain::ports::Clock;
use domain::task::{MediaTask, VERSION};
use domain::tenant::{Principal, Scope};
use http::{Method, StatusCode};
use messaging::handlers::media::MediaFetcher;
use messaging::ports::{Inbox, MediaLog, MediaState, MessageReader};
use runtime::CachedDirectory;
use runtime::api::{ApiReply, ApiRequest, Client, handle};
use serde_json::Value;
use testkit::sample;

use crate::common::{Behavior, JPEG, World, faults_at_each_call, inject};
use crate::env::TestEnv;
use crate::messages;

fn worker(world: &World) -> MediaFetcher<TestEnv> {
    MediaFetcher {
        store: world.store.messages.clone(),
        directory: CachedDirectory::new(world.store.accounts.clone(), world.clock.clone()),
        credential_store: world.credential_store.clone(),
        media_store: world.bucket.clone(),
        http_client: world.provider.clone(),
    }
}

/// Stores an image message and queues its download.
async fn queue_image(world: &World, integration: &Integration) -> Message {
    queue_file(world, integration, "image/jpeg").await
}

/// Stores a message with a file of the type that its sender claims, and queues its download.
async fn queue_file(world: &World, integration: &Integration, claimed: &str) -> Message {
    let media = domain::content::Media {
        provider_media_id: Some("12345".to_owned()),
        mime_type: Some(claimed.to_owned()),
        ..domain::content::Media::default()
    };
    let message = Message {
        direction: Direction::Inbound,
        content: domain::Content::Image { media },
        status: Status::Received,
        ..sample::outbound(integration, "picture", world.clock.now())
    };
    world.store.messages.record(&message).await.unwrap();
    let job = MediaTask {
        v: VERSION,
        tenant: message.tenant.clone(),
        message: message.id,
        integration: integration.id,
        provider_media_id: "12345".to_owned(),
        mime_type: Some(claimed.to_owned()),
    };
    world.put("acme", "1", &job).await;
    message
}

async fn state(world: &World, message: &Message) -> MediaState {
    world.store.messages.message(&message.tenant, message.id).await.unwrap().unwrap().1.unwrap()
}

fn stored(message: &Message) -> MediaState {
    let key = format!("media/{}/{}", message.tenant, message.id);
    MediaState::Stored { key, content_type: "image/jpeg".to_owned() }
}

#[tokio::test]
async fn a_file_is_fetched_and_stored_from_every_provider() {
    for provider in Provider::senders() {
        let world = World::standard().await;
        let integration = match provider {
            Provider::Telegram => world.telegram.clone(),
            _ => world.whatsapp.clone(),
        };
        let message = queue_image(&world, &integration).await;
        world.run_until_empty(&worker(&world), false).await;
        assert_eq!(state(&world, &message).await, stored(&message), "{provider:?}");
        let name = format!("media/acme/{}", message.id);
        assert_eq!(world.bucket.object(&name).unwrap(), JPEG);
        assert_eq!(world.bucket.mime_type(&name).as_deref(), Some("image/jpeg"));
        assert_eq!(world.provider.calls().len(), 2);
    }
}

#[tokio::test]
async fn a_file_that_the_provider_refuses_fails_with_its_code() {
    let world = World::standard().await;
    let gone = serde_json::json!({ "error": { "code": 100, "message": "gone" } });
    world.provider.script([Behavior::Refuse(400, gone, None)]);
    let message = queue_image(&world, &world.whatsapp).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(state(&world, &message).await, MediaState::Failed { code: "100".to_owned() });
    assert_eq!(world.provider.calls().len(), 1);
    assert!(world.dead.is_empty());
}

#[tokio::test]
async fn a_failed_download_is_retried_and_finally_marked_as_failed() {
    let world = World::standard().await;
    let broken = || Behavior::Refuse(500, Value::Null, None);
    world.provider.script([Behavior::Unreachable, broken(), Behavior::Accept, broken()]);
    let message = queue_image(&world, &world.whatsapp).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(state(&world, &message).await, stored(&message));

    let world = World::standard().await;
    world.provider.script(std::iter::repeat_n(Behavior::Timeout, 50));
    let message = queue_image(&world, &world.whatsapp).await;
    world.run_until_empty(&worker(&world), false).await;
    assert_eq!(state(&world, &message).await, MediaState::Failed { code: "no_answer".to_owned() });
    assert_eq!(world.provider.calls().len(), 5);
    assert!(world.dead.is_empty());
}

#[tokio::test]
async fn a_stored_file_is_not_fetched_again() {
    let world = World::standard().await;
    let message = queue_image(&world, &world.whatsapp).await;
    world.store.messages.set_media(&world.acme, message.id, &stored(&message)).await.unwrap();
    world.run_until_empty(&worker(&world), false).await;
    assert!(world.provider.calls().is_empty());
}

#[tokio::test]
async fn a_file_of_a_deleted_integration_fails() {
    let world = World::standard().await;
    let other = sample::whatsapp(&world.acme, Some("never-stored"));
    let message = queue_image(&world, &other).await;
    world.run_until_empty(&worker(&world), false).await;
    let code = "integration_missing".to_owned();
    assert_eq!(state(&world, &message).await, MediaState::Failed { code });
}

#[tokio::test]
async fn with_a_fault_at_any_call_the_file_is_stored() {
    let world = World::standard().await;
    queue_image(&world, &world.whatsapp).await;
    let before = world.faults.calls();
    world.run_until_empty(&worker(&world), false).await;
    for fault in faults_at_each_call(world.faults.calls() - before) {
        let world = World::standard().await;
        let message = queue_image(&world, &world.whatsapp).await;
        inject(&world.faults, fault);
        world.batch(&worker(&world), false).await;
        assert!(world.faults.has_triggered(), "{fault:?}");
        world.faults.clear();
        world.run_until_empty(&worker(&world), false).await;
        assert_eq!(state(&world, &message).await, stored(&message), "{fault:?}");
        assert!(world.dead.is_empty());
    }
}

#[tokio::test]
async fn a_file_refused_for_its_credentials_is_retried_with_reloaded_credentials() {
    let world = World::standard().await;
    let telegram = world.telegram.clone();
    let message = queue_image(&world, &telegram).await;
    let worker = worker(&world);
    let unknown = || Behavior::Refuse(401, Value::Null, None);
    world.provider.script([unknown(), unknown()]);
    world.batch(&worker, false).await;
    assert_ne!(state(&world, &message).await, stored(&message), "the file is not stored");
    assert_eq!(world.provider.calls().len(), 2, "retried once, with reloaded credentials");
}

/// Gets the link to a message's file.
async fn link(world: &World, message: &Message) -> ApiReply {
    let request = ApiRequest {
        method: Method::GET,
        path: format!("/messages/{}/media", message.id),
        query: Vec::new(),
        idempotency_key: None,
        body: bytes::Bytes::new(),
        principal: Some(Principal {
            tenant: world.acme.clone(),
            scopes: vec![Scope::Read],
            key: None,
        }),
        client: Client::default(),
        base_url: "https://hub.test".to_owned(),
    };
    handle(&messages::resource(world), &request).await.unwrap()
}

#[tokio::test]
async fn the_link_to_a_file_sets_the_type_of_its_bytes_and_not_the_one_its_sender_claims() {
    for (file, claimed, expected) in [
        (JPEG, "image/jpeg", "type=image/jpeg&as=inline"),
        (JPEG, "text/html", "type=image/jpeg&as=inline"),
        (b"<script>alert(1)</script>", "text/html", "type=application/octet-stream&as=attachment"),
        (
            b"<svg onload='alert(1)'/>",
            "image/svg+xml",
            "type=application/octet-stream&as=attachment",
        ),
        (b"<script>alert(1)</script>", "image/png", "type=application/octet-stream&as=attachment"),
        (b"%PDF-1.7", "application/pdf", "type=application/pdf&as=attachment"),
    ] {
        let world = World::standard().await;
        world.provider.file(file);
        let message = queue_file(&world, &world.whatsapp, claimed).await;
        world.run_until_empty(&worker(&world), false).await;
        let reply = link(&world, &message).await;
        assert_eq!(reply.status, StatusCode::FOUND);
        let url = reply.location.unwrap();
        assert!(url.ends_with(expected), "{claimed}: {url}");
        let stored = world.bucket.mime_type(&format!("media/acme/{}", message.id)).unwrap();
        assert!(expected.contains(&format!("type={stored}&")), "{claimed}: stored as {stored}");
    }
}
