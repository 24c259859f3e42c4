//! Message API tests: every send endpoint, and the tenant's route.

use std::collections::BTreeSet;

use accounts::model::route::{Choice, Policy, Route, RoutedIntegration};
use accounts::ports::Registry;
use bytes::Bytes;
use domain::ports::Clock;
use domain::provider::Channel;
use domain::task::{OutboundAction, OutboundTask, SendTask};
use domain::tenant::{Principal, Scope};
use domain::{Content, Integration, IntegrationId, Provider};
use http::{Method, StatusCode};
use messaging::api::messages::Messages;
use messaging::outbound::Outbound;
use messaging::ports::Inbox;
use runtime::api::{ApiReply, ApiRequest, Client, Problem, handle};
use serde_json::{Value, json};
use testkit::{SeededRng, sample};
use tests::sample::audit;

use crate::addresses::{FakeResolver, PRIVATE, PUBLIC};
use crate::common::World;
use crate::env::TestEnv;

pub(crate) fn resource(world: &World) -> Messages<TestEnv> {
    let queues = [Provider::WhatsappCloud, Provider::Telegram, Provider::Twilio]
        .map(|p| (p, world.own.clone()));
    Messages {
        store: world.store.messages.clone(),
        accounts: world.store.accounts.clone(),
        outbound: Outbound::of_all(queues),
        media_store: world.bucket.clone(),
        clock: world.clock.clone(),
        rng: SeededRng::default(),
        resolver: FakeResolver,
        skip_tenant_checks: false,
    }
}

pub(crate) async fn post(world: &World, path: &str, body: &Value) -> Result<ApiReply, Problem> {
    let http_client =
        Principal { tenant: world.acme.clone(), scopes: vec![Scope::Send], key: None };
    let request = ApiRequest {
        method: Method::POST,
        path: path.to_owned(),
        query: Vec::new(),
        idempotency_key: None,
        body: Bytes::from(body.to_string()),
        principal: Some(http_client),
        base_url: "https://hub.test".to_owned(),
        client: Client::default(),
    };
    handle(&resource(world), &request).await
}

/// Sends `body` to `path`, which must accept it; returns the queued task.
async fn queued(world: &World, path: &str, body: &Value) -> SendTask {
    // Each message has its own id.
    world.clock.advance(std::time::Duration::from_secs(1));
    let reply = post(world, path, body).await.unwrap_or_else(|problem| panic!("{problem:?}"));
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    let record = world.own.records().pop().unwrap();
    let job: OutboundTask = serde_json::from_str(&record.body).unwrap();
    let OutboundAction::Send(task) = job.action else { panic!("{:?}", job.action) };
    *task
}

/// A world whose customer has just written over WhatsApp to each of `accounts`, and over Telegram.
async fn hub(accounts: &[&str]) -> (World, Vec<Integration>) {
    let world = World::fifo().await;
    let numbers = accounts.iter().map(|account| sample::whatsapp(&world.acme, Some(account)));
    let numbers: Vec<_> = numbers.collect();
    for integration in numbers.iter().chain([&world.telegram]) {
        world.table.insert_integration(integration, &[]).await;
        let conversation = sample::conversation(integration, sample::PERSON, world.clock.now());
        world.store.messages.upsert_conversation(&conversation, world.clock.now()).await.unwrap();
    }
    (world, numbers)
}

fn text(task: &SendTask) -> &str {
    match &task.message.content {
        Content::Text { text } => text,
        content => panic!("{content:?}"),
    }
}

async fn route(world: &World, integrations: &[&Integration], choice: Choice) {
    let integrations =
        integrations.iter().map(|c| RoutedIntegration { integration: c.id, weight: 1 }).collect();
    let policy = Policy { choice, patience_seconds: 7, failover_after_acceptance: true };
    let route = Route { integrations, policy };
    world
        .store
        .accounts
        .set_route(&world.acme, Channel::Whatsapp, &route, &audit(&world.acme))
        .await
        .unwrap();
}

#[tokio::test]
async fn every_send_endpoint_queues_the_same_message() {
    let person = sample::PERSON;
    for (path, body, channel) in [
        ("/messages", json!({ "to": person, "channel": "whatsapp", "text": "hi" }), "whatsapp"),
        ("/messages/send", json!({ "to": person, "message": { "text": "hi" } }), "whatsapp"),
        (
            "/messages/send",
            json!({ "to": person, "message": "hi", "tenant_id": "acme" }),
            "whatsapp",
        ),
        (
            "/messages/send",
            json!({ "to": person, "text": "hi", "channel": "telegram" }),
            "telegram",
        ),
        ("/whatsapp/send", json!({ "to": person, "text": "hi" }), "whatsapp"),
        ("/whatsapp/send", json!({ "to": person, "body": "hi" }), "whatsapp"),
        ("/telegram/send", json!({ "chat_id": person, "text": "hi" }), "telegram"),
        (
            "/telegram/send",
            json!({ "chat_id": person.parse::<i64>().unwrap(), "text": "hi" }),
            "telegram",
        ),
    ] {
        let (world, _) = hub(&["111"]).await;
        world
            .store
            .accounts
            .delete_integration(&world.whatsapp, &[], &audit(&world.acme))
            .await
            .unwrap();
        let number = sample::whatsapp(&world.acme, Some("111"));
        world.table.insert_integration(&number, &[]).await;
        let task = queued(&world, path, &body).await;
        assert_eq!((text(&task), task.to.as_str()), ("hi", person), "{path} {body}");
        assert_eq!(task.message.channel.as_str(), channel, "{path} {body}");
    }
}

#[tokio::test]
async fn the_text_beside_a_media_url_is_its_caption() {
    let (world, _) = hub(&["111"]).await;
    let body = json!({ "to": sample::PERSON, "media_url": "https://example.com/a.pdf",
        "media_type": "document", "filename": "a.pdf", "text": "look" });
    let task = queued(&world, "/whatsapp/send", &body).await;
    let Content::Document { media } = task.message.content else { panic!() };
    assert_eq!(media.url.as_deref(), Some("https://example.com/a.pdf"));
    assert_eq!(
        (media.caption.as_deref(), media.filename.as_deref()),
        (Some("look"), Some("a.pdf"))
    );
}

#[tokio::test]
async fn an_invalid_field_is_rejected_by_name() {
    let (world, _) = hub(&["111"]).await;
    let to = sample::PERSON;
    for (path, body, field) in [
        ("/whatsapp/send", json!({ "to": to, "text": "a", "message": "b" }), "text"),
        ("/whatsapp/send", json!({ "to": to, "text": "a", "channel": "sms" }), "channel"),
        ("/whatsapp/send", json!({ "text": "a" }), "to"),
        ("/whatsapp/send", json!({ "to": to }), "text"),
        ("/whatsapp/send", json!({ "to": to, "txt": "a" }), "txt"),
        ("/sms/send", json!({ "to": to, "text": "a" }), "channel"),
        ("/calls", json!({ "to": to }), "twiml"),
        ("/calls", json!({ "to": to, "twiml": "<a/>", "url": "https://a.example" }), "twiml"),
        (
            "/messages",
            json!({ "to": to, "channel": "whatsapp", "call": { "twiml": "<a/>" } }),
            "channel",
        ),
    ] {
        let problem = post(&world, path, &body).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {body}");
        assert_eq!(problem.field.as_deref(), Some(field), "{path} {body} {problem:?}");
    }
    assert!(world.own.is_empty());
}

#[tokio::test]
async fn the_route_sets_the_integration_and_the_failover_plan() {
    let (world, numbers) = hub(&["111", "222", "333"]).await;
    let body = json!({ "to": sample::PERSON, "text": "hi" });
    let problem = post(&world, "/whatsapp/send", &body).await.unwrap_err();
    assert_eq!(
        problem.field.as_deref(),
        Some("integration"),
        "several integrations without a route"
    );
    route(&world, &[&numbers[1], &numbers[0], &numbers[2]], Choice::Ordered).await;
    let task = queued(&world, "/whatsapp/send", &body).await;
    assert_eq!(task.message.integration, numbers[1].id);
    assert_eq!(task.failover.remaining, [numbers[0].id, numbers[2].id]);
    assert_eq!((task.failover.generation, task.failover.patience), (0, 7));
    assert!(task.failover.after_acceptance);
    // A message that names an integration has no failover plan.
    let body = json!({ "to": sample::PERSON, "text": "hi", "integration": numbers[2].id });
    let task = queued(&world, "/messages/send", &body).await;
    assert_eq!(task.message.integration, numbers[2].id);
    assert!(task.failover.is_empty());
}

#[tokio::test]
async fn a_reply_is_sent_from_the_account_of_its_conversation() {
    let (world, numbers) = hub(&["111", "222"]).await;
    route(&world, &[&numbers[0], &numbers[1]], Choice::Ordered).await;
    let conversation = sample::conversation_id(&numbers[1], sample::PERSON);
    let body = json!({ "conversation": conversation, "text": "hi" });
    let task = queued(&world, "/messages", &body).await;
    assert_eq!(task.message.integration, numbers[1].id);
    assert_eq!(task.failover.remaining, [numbers[0].id]);
    assert_eq!(task.message.conversation, conversation);
}

#[tokio::test]
async fn a_reply_to_a_deleted_account_uses_the_route() {
    let (world, numbers) = hub(&["111", "222"]).await;
    let conversation = sample::conversation_id(&numbers[1], sample::PERSON);
    world.store.accounts.delete_integration(&numbers[1], &[], &audit(&world.acme)).await.unwrap();
    let body = json!({ "conversation": conversation, "text": "hi" });
    // The only remaining integration is used, or else the first of the route.
    let task = queued(&world, "/messages", &body).await;
    assert_eq!(task.message.integration, numbers[0].id);
    let third = sample::whatsapp(&world.acme, Some("333"));
    world.table.insert_integration(&third, &[]).await;
    let problem = post(&world, "/messages", &body).await.unwrap_err();
    assert_eq!(problem.code, "no_integration", "two integrations without a route");
    let gone = json!({ "conversation": conversation, "text": "hi", "integration": numbers[1].id });
    let problem = post(&world, "/messages", &gone).await.unwrap_err();
    assert_eq!(problem.code, "no_integration", "a named integration is not replaced");
    route(&world, &[&numbers[1], &numbers[0]], Choice::Ordered).await;
    let task = queued(&world, "/messages", &body).await;
    assert_eq!(
        (task.message.integration, task.message.conversation),
        (numbers[0].id, conversation)
    );
}

#[tokio::test]
async fn by_weight_each_customer_always_gets_the_same_account() {
    let (world, numbers) = hub(&["111", "222"]).await;
    route(&world, &[&numbers[0], &numbers[1]], Choice::Weighted).await;
    let mut first = 0;
    for person in 0..40 {
        let template = json!({ "name": "hello", "language": "en" });
        let to = format!("1650555{person:04}");
        let body = json!({ "to": to, "template": template });
        let task = queued(&world, "/whatsapp/send", &body).await;
        let again = queued(&world, "/whatsapp/send", &body).await;
        assert_eq!(task.message.integration, again.message.integration);
        first += u32::from(task.message.integration == numbers[0].id);
    }
    assert!((10..=30).contains(&first), "{first} of 40");
}

#[tokio::test]
async fn a_media_url_in_a_private_network_is_rejected() {
    let (world, _) = hub(&["111"]).await;
    let person = sample::PERSON;
    // Senders reject percent-encoded hosts.
    for url in PRIVATE.into_iter().filter(|url| !url.contains('%')) {
        let media = json!({ "type": "image", "url": url });
        for (path, body) in [
            ("/messages", json!({ "to": person, "channel": "whatsapp", "media": media })),
            ("/whatsapp/send", json!({ "to": person, "media_url": url })),
        ] {
            let problem = post(&world, path, &body).await.unwrap_err();
            assert_eq!(problem.code, "private_address", "{path} {url}: {problem:?}");
            assert_eq!(problem.field.as_deref(), Some("media.url"), "{path} {url}");
            assert!(problem.detail.contains("public internet"), "{}", problem.detail);
        }
    }
    assert!(world.own.is_empty());
    for url in PUBLIC {
        let media = json!({ "type": "image", "url": url });
        let body = json!({ "to": person, "channel": "whatsapp", "media": media });
        post(&world, "/messages", &body)
            .await
            .unwrap_or_else(|problem| panic!("{url} {problem:?}"));
    }
}

/// A Twilio integration of acme with credentials of the operator.
fn operators_twilio(world: &World, settings: &Value) -> Integration {
    let settings = (providers::spec(Provider::Twilio).settings)(settings.as_object().unwrap());
    let names = ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"];
    let hints = names.map(|name| (name.to_owned(), "1".to_owned()));
    Integration {
        id: IntegrationId::derived(&["twilio"]),
        provider: Provider::Twilio,
        settings: settings.unwrap(),
        account: Some("AC00000000000000000000000000000001".to_owned()),
        hints: hints.into_iter().collect(),
        tenant_credentials: BTreeSet::new(),
        ..sample::whatsapp(&world.acme, Some("111"))
    }
}

/// The same integration with credentials of the tenant.
fn taken_over(integration: Integration) -> Integration {
    let tenant_credentials = integration.hints.keys().cloned().collect();
    Integration { tenant_credentials, ..integration }
}

#[tokio::test]
async fn with_operator_credentials_a_tenant_sends_only_the_templates_in_the_settings() {
    let (world, numbers) = hub(&["111"]).await;
    let sid = |digit: &str| format!("HX{}", digit.repeat(32));
    let settings = json!({ "whatsapp_from": "+15550001111", "templates": { "hello": sid("1") } });
    let twilio = operators_twilio(&world, &settings);
    world.table.insert_integration(&twilio, &[]).await;
    let message = |name: &str, integration: Option<&Integration>| {
        let mut body = json!({ "to": "+15550009999", "channel": "whatsapp",
            "template": { "name": name, "language": "en" } });
        if let Some(integration) = integration {
            body["integration"] = json!(integration.id);
        }
        body
    };
    queued(&world, "/messages", &message("hello", Some(&twilio))).await;
    for id in [sid("1"), sid("2")] {
        let refused = post(&world, "/messages", &message(&id, Some(&twilio))).await.unwrap_err();
        let refusal = (refused.status.as_u16(), refused.code.as_str(), refused.field.as_deref());
        assert_eq!(refusal, (403, "operator_credentials", Some("template.name")));
    }
    // A failover does not use what a direct send may not.
    route(&world, &[&numbers[0], &twilio], Choice::Ordered).await;
    let listed = queued(&world, "/messages", &message("hello", None)).await;
    assert_eq!(listed.failover.remaining, [twilio.id]);
    let unlisted = queued(&world, "/messages", &message(&sid("2"), None)).await;
    assert!(unlisted.failover.remaining.is_empty(), "{:?}", unlisted.failover);
    let own = taken_over(twilio);
    world.table.insert_integration(&own, &[]).await;
    queued(&world, "/messages", &message(&sid("2"), Some(&own))).await;
    let unlisted = queued(&world, "/messages", &message(&sid("2"), None)).await;
    assert_eq!(unlisted.failover.remaining, [own.id]);
}

#[tokio::test]
async fn with_operator_credentials_a_tenants_call_may_only_speak() {
    let world = World::fifo().await;
    let settings = json!({ "base_url": "https://api.twilio.com", "voice_from": "+15550001111" });
    let twilio = operators_twilio(&world, &settings);
    let dial = "<Response><Dial callerId=\"+15550002222\">+15550003333</Dial></Response>";
    let call = |call: Value| {
        let mut body = call;
        body["to"] = "+15550009999".into();
        body
    };
    let say = call(json!({ "twiml": "<Response><Say>Hello</Say></Response>" }));
    let more = [
        (call(json!({ "twiml": dial })), "call.twiml"),
        (call(json!({ "url": "https://example.com/twiml" })), "call.url"),
    ];
    world.table.insert_integration(&twilio, &[]).await;
    for (body, field) in &more {
        let problem = post(&world, "/calls", body).await.unwrap_err();
        let refusal = (problem.status.as_u16(), problem.code.as_str(), problem.field.as_deref());
        assert_eq!(refusal, (403, "operator_credentials", Some(*field)));
    }
    queued(&world, "/calls", &say).await;
    world.table.insert_integration(&taken_over(twilio), &[]).await;
    for (body, _) in more {
        queued(&world, "/calls", &body).await;
    }
}
