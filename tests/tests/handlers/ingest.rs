//! Ingest API tests: messages that a program submits with an API key are recorded, and trusted only
//! for integrations with `trusted_ingest`.

use std::time::Duration;

use accounts::ports::Registry;
use domain::conversation::{Conversation, Parties};
use domain::event::{EventKind, InboundEvent};
use domain::integration::Settings;
use domain::ports::Clock;
use domain::provider::Channel;
use domain::tenant::{Principal, Scope, Tenant};
use domain::{Integration, Provider, TenantId};
use http::{Method, StatusCode};
use messaging::handlers::inbound::Inbound;
use messaging::ports::MessageReader;
use providers::whatsapp_cloud::SERVICE_WINDOW;
use runtime::api::{ApiRequest, Client, Problem, handle};
use serde_json::{Value, json};
use testkit::sample;
use tests::sample::audit;
use work::api::inbound::InboundMessages;

use crate::common::World;
use crate::env::TestEnv;
use crate::inbound::worker;

/// A world with the tenants `acme` and `globex`.
async fn hub() -> World {
    let world = World::fifo().await;
    for name in ["acme", "globex"] {
        let id = sample::tenant(name);
        let tenant = Tenant { id, name: name.to_owned(), created_at: world.clock.now() };
        world.store.accounts.create_tenant(&tenant, &audit(&tenant.id)).await.unwrap();
    }
    world
}

fn request(
    (tenant, scopes): (&str, &[Scope]),
    method: Method,
    path: &str,
    body: &Value,
) -> ApiRequest {
    ApiRequest {
        method,
        path: path.to_owned(),
        query: Vec::new(),
        idempotency_key: None,
        body: body.to_string().into(),
        principal: Some(Principal {
            tenant: sample::tenant(tenant),
            scopes: scopes.to_vec(),
            key: None,
        }),
        base_url: "https://hub.example.com".to_owned(),
        client: Client::default(),
    }
}

async fn submit(
    world: &World,
    http_client: (&str, &[Scope]),
    body: &Value,
) -> Result<Value, Problem> {
    let resource = InboundMessages::<TestEnv> {
        store: world.store.jobs.clone(),
        accounts: world.store.accounts.clone(),
        events: world.media.clone(),
        inbound: world.own.clone(),
        clock: world.clock.clone(),
    };
    let reply =
        handle(&resource, &request(http_client, Method::POST, "/webhook/inbound", body)).await?;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    Ok(serde_json::from_str(&reply.body.unwrap()).unwrap())
}

/// An API key of acme with the `ingest` scope.
const PROGRAM: (&str, &[Scope]) = ("acme", &[Scope::Ingest]);
const PLATFORM: (&str, &[Scope]) = ("platform", &[Scope::Admin]);

fn hello() -> Value {
    json!({
        "from": "+15550001", "to": "+15550002", "message": { "text": "hello" },
        "timestamp": "2026-11-19T10:00:00Z", "message_id": "m-1", "contact_name": "Zoë",
        "channel": "sms",
    })
}

#[tokio::test]
async fn an_ingested_message_is_an_event_of_the_keys_tenant() {
    let world = hub().await;
    let answer = submit(&world, PROGRAM, &hello()).await.unwrap();
    assert_eq!(answer["status"], "accepted");
    let event = &world.media.bodies::<InboundEvent>()[0];
    assert_eq!(answer["event_id"], event.event_id().to_string());
    assert_eq!((&event.tenant, event.provider), (&world.acme, Provider::Custom));
    assert_eq!((event.account.as_str(), event.id.as_str()), ("+15550002", "m-1"));
    assert_eq!(event.ordering_key.as_deref(), Some("+15550001"));
    assert_eq!(event.occurred_at.unwrap().as_second(), 1_795_082_400);
    let EventKind::Message(message) = &event.kind else { panic!("not a message") };
    assert_eq!((message.from.as_str(), message.name.as_deref()), ("+15550001", Some("Zoë")));
    let raw: Value = serde_json::from_str(event.raw.get()).unwrap();
    assert_eq!(raw, hello());
    // The same message is the same event.
    assert_eq!(submit(&world, PROGRAM, &hello()).await.unwrap(), answer);
    for (timestamp, second) in [(json!(1_795_082_400), 1_795_082_400), (json!("17"), 17)] {
        let mut body = hello();
        body["timestamp"] = timestamp;
        submit(&world, PROGRAM, &body).await.unwrap();
        let last = world.media.bodies::<InboundEvent>().pop().unwrap();
        assert_eq!(last.occurred_at.unwrap().as_second(), second);
    }
}

#[tokio::test]
async fn a_key_submits_messages_only_for_its_own_tenant() {
    let world = hub().await;
    let named = |tenant: &str| {
        let mut body = hello();
        body["tenant_id"] = tenant.into();
        body
    };
    submit(&world, PROGRAM, &named("acme")).await.unwrap();
    let problem = submit(&world, PROGRAM, &named("globex")).await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.code.as_str()), (403, "wrong_tenant"));
    let problem = submit(&world, PLATFORM, &hello()).await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (422, Some("tenant_id")));
    submit(&world, PLATFORM, &named("globex")).await.unwrap();
    let tenants = world.media.bodies::<InboundEvent>();
    let tenants: Vec<_> = tenants.iter().map(|event| event.tenant.as_str()).collect();
    assert_eq!(tenants, ["acme", "globex"]);
}

#[tokio::test]
async fn a_missing_or_invalid_field_is_named() {
    let world = hub().await;
    let without = |field: &str| {
        let mut body = hello();
        body.as_object_mut().unwrap().remove(field);
        (body, field.to_owned())
    };
    let with = |field: &str, value: Value| {
        let mut body = hello();
        body[field] = value;
        (body, field.to_owned())
    };
    let mut cases: Vec<(Value, String)> =
        ["from", "to", "message", "timestamp", "message_id"].map(without).to_vec();
    cases.extend([
        with("from", json!("")),
        with("to", json!("x".repeat(501))),
        with("message_id", json!(7)),
        with("timestamp", json!("yesterday")),
        with("timestamp", json!(1.5)),
        with("timestamp", json!(i64::MAX)),
        with("tenant_id", json!("../acme")),
        (with("message", json!({})).0, "message.text".to_owned()),
        (with("message", json!({ "text": " " })).0, "message.text".to_owned()),
        with("contact_name", json!("x".repeat(501))),
    ]);
    for (body, field) in cases {
        let problem = submit(&world, PROGRAM, &body).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (422, Some(&*field)));
    }
    assert!(world.media.is_empty());
    world.media.faults().fail_all();
    let problem = submit(&world, PROGRAM, &hello()).await.unwrap_err();
    assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE, "the message is not accepted");
}

#[tokio::test]
async fn only_keys_with_the_ingest_scope_submit_messages() {
    let world = hub().await;
    for scope in Scope::ALL {
        let result = submit(&world, ("acme", &[scope]), &hello()).await;
        if matches!(scope, Scope::Ingest | Scope::Admin) {
            result.unwrap();
        } else {
            let problem = result.unwrap_err();
            assert_eq!((problem.status.as_u16(), problem.code.as_str()), (403, "missing_scope"));
            assert!(problem.detail.contains("`ingest`"), "{}", problem.detail);
        }
    }
}

#[tokio::test]
async fn a_message_for_an_unknown_tenant_gets_404() {
    let world = hub().await;
    for tenant in ["nobody", "platform"] {
        let mut body = hello();
        body["tenant_id"] = tenant.into();
        let problem = submit(&world, PLATFORM, &body).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (404, Some("tenant_id")));
    }
    let problem = submit(&world, ("gone", &[Scope::Ingest]), &hello()).await.unwrap_err();
    assert_eq!(problem.status, StatusCode::NOT_FOUND);
    assert!(world.media.is_empty() && world.own.is_empty());
}

const ACCOUNT: &str = "15550007777";

/// An integration at `provider` with [`ACCOUNT`], and with more accounts in its settings.
fn integration_with_account(tenant: &TenantId, provider: Provider) -> Integration {
    match provider {
        Provider::WhatsappCloud => sample::whatsapp(tenant, Some(ACCOUNT)),
        Provider::Telegram => sample::telegram(tenant, Some(ACCOUNT)),
        _ => {
            let settings = json!({ "from": "+15550008888", "whatsapp_from": "+15550009999",
                "instance": "shop", "messages_per_second": 7, "delivery": "at_most_once" });
            let settings = Settings(settings.as_object().unwrap().clone());
            Integration { settings, ..sample::receive_only(tenant, provider, Some(ACCOUNT)) }
        }
    }
}

async fn submit_to(world: &World, to: &str) -> Result<Value, Problem> {
    let mut body = hello();
    body["to"] = to.into();
    submit(world, PROGRAM, &body).await
}

fn assert_account_held(result: Result<Value, Problem>, what: &str) {
    let problem = result.unwrap_err();
    let error = (problem.status.as_u16(), problem.code.as_str(), problem.field.as_deref());
    assert_eq!(error, (409, "account_held", Some("to")), "{what}");
    assert!(problem.detail.contains("trusted_ingest"), "{what}: {}", problem.detail);
}

#[tokio::test]
async fn an_account_of_an_untrusted_integration_gets_409_in_every_notation() {
    for &provider in Provider::ALL {
        let world = hub().await;
        let own = integration_with_account(&world.acme, provider);
        world.table.insert_integration(&own, &[]).await;
        let id = own.id.to_string();
        let mut names = vec![ACCOUNT, "+15550007777", " +1 (555) 000-7777", id.as_str()];
        if own.settings.0.contains_key("from") {
            names.extend(["15550008888", "+15550008888", "1 555 000 9999", "shop", " shop"]);
        }
        for to in names {
            assert_account_held(submit_to(&world, to).await, &format!("{to} of {provider}"));
        }
        for free in ["front-desk", "at_most_once", "7", "15550006666"] {
            submit_to(&world, free).await.unwrap();
        }
        assert!(
            world.own.is_empty(),
            "a message without an integration must not reach a conversation"
        );
    }
}

#[tokio::test]
async fn an_account_of_another_tenant_gets_409_even_if_it_is_trusted() {
    for provider in Provider::senders() {
        for trusted_ingest in [false, true] {
            let world = hub().await;
            let of_globex = integration_with_account(&sample::tenant("globex"), provider);
            let of_globex = Integration { trusted_ingest, ..of_globex };
            world.table.insert_integration(&of_globex, &[]).await;
            for to in [ACCOUNT, "+15550007777", &of_globex.id.to_string()] {
                let result = submit_to(&world, to).await;
                let problem = result.as_ref().unwrap_err();
                assert!(
                    !problem.detail.contains(&of_globex.id.to_string()),
                    "the error must not expose an id of another tenant"
                );
                assert_account_held(result, &format!("{to} of {provider}"));
            }
        }
    }
}

#[tokio::test]
async fn a_number_that_another_tenant_has_not_proven_is_free() {
    // Anybody could write a number into a setting, and so block its owner's programs.
    for (provider, setting, value) in [
        (Provider::Twilio, "from", "+15550008888"),
        (Provider::Twilio, "whatsapp_from", "+15550009999"),
        (Provider::Evolution, "instance", "shop"),
    ] {
        let world = hub().await;
        let of_globex = integration_with_account(&sample::tenant("globex"), provider);
        assert_eq!(of_globex.settings.0[setting], value);
        world.table.insert_integration(&of_globex, &[]).await;
        submit_to(&world, value).await.unwrap();
        let proven = of_globex.account.as_deref().unwrap();
        assert_account_held(submit_to(&world, proven).await, proven);
    }
}

/// Processes the inbound queue until it is empty.
async fn process_inbound(world: &World) {
    let consumer = Inbound { media: world.automation.clone(), ..worker(world) };
    world.run_until_empty(&consumer, false).await;
}

async fn conversation(
    world: &World,
    channel: Channel,
    account: &str,
    person: &str,
) -> Conversation {
    let tenant = &world.acme;
    let parties = Parties { tenant, channel, account, counterpart: person };
    let found = world.store.messages.conversation(tenant, parties.conversation()).await.unwrap();
    let all = world.table.conversations().await;
    found.unwrap_or_else(|| panic!("{account}: {all:?}"))
}

#[tokio::test]
async fn a_message_to_a_trusted_account_belongs_to_it_and_opens_its_window() {
    for provider in Provider::senders() {
        let trusted = |world: &World| {
            let integration = integration_with_account(&world.acme, provider);
            Integration { trusted_ingest: true, ..integration }
        };
        for to in [ACCOUNT, "+15550007777", "id"] {
            let world = hub().await;
            let integration = trusted(&world);
            world.table.insert_integration(&integration, &[]).await;
            let id = integration.id.to_string();
            let to = if to == "id" { id.as_str() } else { to };
            let mut body = hello();
            (body["to"], body["from"]) = (to.into(), "15550001".into());
            submit(&world, PROGRAM, &body).await.unwrap();
            process_inbound(&world).await;
            let message = world.message().await;
            assert_eq!((message.integration, message.provider), (integration.id, provider));
            let person = providers::address(provider, "15550001").unwrap();
            let channel = provider.channels()[0];
            let conversation = conversation(&world, channel, ACCOUNT, &person).await;
            assert_eq!(
                conversation.id, message.conversation,
                "{provider}: the conversation of the account"
            );
            assert_eq!(conversation.integration, integration.id);
            assert!(conversation.last_inbound_at.is_some());
            // The same message with another time.
            body["timestamp"] = json!(1_795_000_000);
            submit(&world, PROGRAM, &body).await.unwrap();
            process_inbound(&world).await;
            assert_eq!(world.table.messages().await.len(), 1, "{provider}");
        }
    }
}

#[tokio::test]
async fn the_number_of_a_trusted_integration_sets_the_channel() {
    for (to, channel) in [("15550008888", Channel::Sms), ("+15550009999", Channel::Whatsapp)] {
        let world = hub().await;
        let twilio = integration_with_account(&world.acme, Provider::Twilio);
        let twilio = Integration { trusted_ingest: true, ..twilio };
        world.table.insert_integration(&twilio, &[]).await;
        let mut body = hello();
        (body["to"], body["timestamp"]) = (to.into(), json!(world.clock.now().as_second()));
        submit(&world, PROGRAM, &body).await.unwrap();
        process_inbound(&world).await;
        let person = providers::address(Provider::Twilio, "+15550001").unwrap();
        let conversation = conversation(&world, channel, ACCOUNT, &person).await;
        assert!(conversation.in_service_window(world.clock.now(), SERVICE_WINDOW), "{channel}");
    }
}

#[tokio::test]
async fn a_number_of_several_trusted_integrations_needs_an_integration_id() {
    let world = hub().await;
    for provider in [Provider::Twilio, Provider::Infobip] {
        let integration = integration_with_account(&world.acme, provider);
        let integration = Integration { trusted_ingest: true, ..integration };
        world.table.insert_integration(&integration, &[]).await;
    }
    let problem = submit_to(&world, "15550008888").await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (422, Some("to")));
    let id = integration_with_account(&world.acme, Provider::Infobip).id.to_string();
    submit_to(&world, &id).await.unwrap();
}

#[tokio::test]
async fn a_message_dated_in_the_future_has_its_receipt_time() {
    for timestamp in
        [json!("2099-01-01T00:00:00Z"), json!(253_402_207_200_i64), json!("9999999999")]
    {
        let world = hub().await;
        let number = Integration { trusted_ingest: true, ..world.whatsapp.clone() };
        world.table.insert_integration(&number, &[]).await;
        let mut body = hello();
        (body["to"], body["timestamp"]) = ("111".into(), timestamp.clone());
        submit(&world, PROGRAM, &body).await.unwrap();
        process_inbound(&world).await;
        let account = number.conversation_account();
        let person = providers::address(Provider::WhatsappCloud, "+15550001").unwrap();
        let read = async || conversation(&world, Channel::Whatsapp, &account, &person).await;
        let now = world.clock.now();
        let last_inbound = read().await.last_inbound_at.unwrap();
        assert!(
            last_inbound <= now && read().await.in_service_window(now, SERVICE_WINDOW),
            "{timestamp}: {last_inbound}"
        );
        world.clock.advance(Duration::from_hours(25));
        assert!(!read().await.in_service_window(world.clock.now(), SERVICE_WINDOW), "{timestamp}");
        // The customer writes again, through Meta.
        let event = sample::text_event(&number, &person, "wamid.2", world.clock.now());
        world.put("conv", "2", &event).await;
        process_inbound(&world).await;
        assert!(read().await.in_service_window(world.clock.now(), SERVICE_WINDOW), "{timestamp}");
        assert_eq!(read().await.last_inbound_message.as_deref(), Some("wamid.2"));
    }
}

#[tokio::test]
async fn an_unverified_message_opens_no_service_window() {
    let world = hub().await;
    world.table.insert_automation(&world.acme, &tests::sample::pull(false)).await;
    let person = "15550001555";
    let mut body = hello();
    (body["to"], body["from"]) = ("333".into(), person.into());
    body["timestamp"] = json!(world.clock.now().as_second());
    submit(&world, PROGRAM, &body).await.unwrap();
    process_inbound(&world).await;
    let read = async || conversation(&world, Channel::Whatsapp, "333", person).await;
    assert_eq!(read().await.last_inbound_at, None);
    let sends = async |to: &Value| {
        let mut body = to.clone();
        body["text"] = "hi".into();
        crate::messages::post(&world, "/messages", &body).await
    };
    // The reply is sent from the tenant's number, so the window of that number applies.
    let answer = json!({ "conversation": read().await.id });
    assert_eq!(sends(&answer).await.unwrap_err().code, "outside_service_window");
    let event = sample::text_event(&world.whatsapp, person, "wamid.1", world.clock.now());
    world.put("conv", "1", &event).await;
    process_inbound(&world).await;
    sends(&answer).await.unwrap();
    // The account now has an integration, and its window is closed.
    let number = sample::whatsapp(&world.acme, Some("333"));
    world.table.insert_integration(&number, &[]).await;
    let over = json!({ "channel": "whatsapp", "to": person, "integration": number.id });
    assert_eq!(sends(&over).await.unwrap_err().code, "outside_service_window");
    assert_account_held(submit_to(&world, "333").await, "333");
}
