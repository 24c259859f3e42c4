//! The hub's Evolution sender and webhook against the simulated Evolution API, in one process.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "Clippy does not recognize test helpers as test code"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use domain::circuit::Breaker;
use domain::content::{
    Choice, ContactCard, Content, Interactive, Location, Media, Reaction, Section,
};
use domain::event::EventKind;
use domain::fault::Classify;
use domain::provider::Channel;
use domain::sender::{Accepted, MediaRequest, MediaSource, MessageSender, Outgoing, SendError};
use domain::webhook::{ParsedWebhook, WebhookProvider, WebhookRequest, receive};
use domain::{Fault, Integration, IntegrationId, MessageId, Provider, Status, TenantId};
use http::{Method, Request, Response, Uri};
use jiff::Timestamp;
use providers::evolution::example;
use serde_json::{Value, json};
use simulator::answer::{Answer, Body};
use simulator::clock::Clock;
use simulator::deliver::{App, BoxFuture, Hub};
use simulator::evolution::{Evolution, Instance};
use simulator::provider::SimulatedProvider as _;
use simulator::server;

const URL: &str = "https://hub.example.com/webhooks/evolution/int_1";
const TO: &str = example::NUMBER;

/// A hub that records every webhook and answers 200.
#[derive(Default)]
struct RecordingHub(Mutex<Vec<Request<Bytes>>>);

impl Hub for RecordingHub {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<Result<Response<Bytes>, String>> {
        self.0.lock().unwrap().push(request);
        Box::pin(async { Ok(Response::new(Bytes::new())) })
    }
}

struct World {
    app: App,
    hub: Arc<RecordingHub>,
    integration: Integration,
    sender: Box<dyn MessageSender>,
}

fn integration(settings: &Value) -> Integration {
    let mut given = settings.as_object().unwrap().clone();
    given.insert("base_url".into(), "https://evolution.example.com".into());
    given.insert("account".into(), example::INSTANCE.into());
    Integration {
        circuit: Breaker::default(),
        id: IntegrationId::derived(&["i"]),
        tenant: "acme".parse::<TenantId>().unwrap(),
        provider: Provider::Evolution,
        settings: (providers::spec(Provider::Evolution).settings)(&given).unwrap(),
        account: Some(example::INSTANCE.into()),
        hints: std::collections::BTreeMap::default(),
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

impl World {
    async fn new(settings: &Value, instance: &Value) -> Self {
        let hub = Arc::new(RecordingHub::default());
        let app = App::in_process(Clock::Machine, Arc::clone(&hub) as Arc<dyn Hub>);
        let sender = providers::sender(Provider::Evolution).unwrap();
        let integration = integration(settings);
        let sender = sender.sender(&integration, &example::credentials()).unwrap();
        let world = Self { app, hub, integration, sender };
        let mut plan = json!({ "token": "test-evolution-key",
            "receipts": { "sent": 1, "delivered": 2, "read": 3 } });
        plan.as_object_mut().unwrap().extend(instance.as_object().unwrap().clone());
        let path = format!("/_sim/evolution/{}", example::INSTANCE);
        let made = world.control(Method::PUT, &path, &plan).await;
        assert_eq!(made["ok"], true, "{made}");
        world
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> Value {
        let uri: Uri = path.parse().unwrap();
        let body = Bytes::from(body.to_string());
        let headers = http::HeaderMap::new();
        server::route(&self.app, &method, &uri, &headers, &body).await.body().clone()
    }

    async fn simulate(&self, what: &str, body: Value) -> Value {
        let path = format!("/_sim/evolution/{}/{what}", example::INSTANCE);
        let answer = self.control(Method::POST, &path, &body).await;
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        let (head, body) = request.into_parts();
        match server::route(&self.app, &head.method, &head.uri, &head.headers, &body).await {
            Answer::HangUp { .. } => Err(SendError::NoAnswer),
            Answer::Redirect { to } => panic!("sent on to {to}"),
            Answer::Reply(reply) => {
                let body = match reply.body {
                    Body::Json(json) => json.to_string().into(),
                    Body::File { bytes, .. } => bytes,
                };
                let mut response = Response::builder().status(reply.status);
                if let Some(seconds) = reply.retry_after_s {
                    response = response.header("retry-after", seconds);
                }
                Ok(response.body(body).unwrap())
            }
        }
    }

    async fn send(&self, content: &Content, reply_to: Option<&str>) -> Result<Accepted, SendError> {
        let outgoing = Outgoing {
            id: MessageId::derived(&["m"]),
            channel: Channel::Whatsapp,
            integration: IntegrationId::derived(&["i"]),
            hub_url: None,
            to: TO,
            content,
            reply_to,
        };
        let response = self.call(self.sender.request(&outgoing)?).await?;
        self.sender.outcome(&outgoing, &response)
    }

    async fn register(&self) {
        let registrar = providers::webhook_registrar(&self.integration, &example::credentials());
        let registrar = registrar.unwrap();
        let response = self.call(registrar.register(URL, None).unwrap()).await.unwrap();
        assert_eq!(response.status(), 201);
        assert!(registrar.answer(&response).is_ok());
    }

    fn instance<T>(&self, act: impl FnOnce(&Instance) -> T) -> T {
        let name = example::INSTANCE;
        self.app.world().account::<Evolution, _>(0, name, |one, _| act(one)).unwrap()
    }

    fn summary(&self) -> Value {
        self.instance(Instance::summary)
    }

    fn accepted(&self) -> Vec<Value> {
        self.instance(|instance| {
            let accepted = instance.accepted().iter();
            accepted.map(|one| serde_json::to_value(one).unwrap()).collect()
        })
    }

    /// The events that the hub parses from the webhooks, once all have arrived.
    async fn events(&self) -> Vec<EventKind> {
        while self.summary()["pending_webhooks"] != 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let received = std::mem::take(&mut *self.hub.0.lock().unwrap());
        let mut events = Vec::new();
        for request in received {
            let (head, body) = request.into_parts();
            let request = WebhookRequest {
                method: head.method,
                headers: head.headers,
                body,
                url: head.uri.to_string(),
                ..WebhookRequest::default()
            };
            let webhook = &providers::evolution::WEBHOOK;
            let source = webhook.source(&integration(&json!({})), &example::credentials());
            let now = Timestamp::from_millisecond(self.app.clock.now_ms()).unwrap();
            let ParsedWebhook::Events(read) = receive(&*source, &request, now).unwrap() else {
                panic!()
            };
            events.extend(read.into_iter().map(|event| event.kind));
        }
        events
    }
}

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

fn media(url: &str) -> Media {
    Media { url: Some(url.into()), ..Media::default() }
}

fn choice(id: &str, title: &str) -> Choice {
    Choice { id: id.into(), title: title.into(), description: Some("more".into()) }
}

/// One content of every kind that can be sent.
fn every_kind() -> Vec<Content> {
    let location = Location { latitude: 1.5, longitude: 2.0, name: None, address: None };
    let card = |name: &str| ContactCard {
        name: name.into(),
        phones: vec!["+49 155 5000 1111".into()],
        emails: vec![],
    };
    let buttons = Interactive::Button {
        body: "Shall we?".into(),
        header: None,
        footer: None,
        buttons: vec![choice("y", "Yes"), choice("n", "No")],
    };
    let rows = vec![choice("1", "One"), choice("2", "Two")];
    let list = Interactive::List {
        body: "Which?".into(),
        header: Some("h".into()),
        footer: None,
        button: "Show".into(),
        sections: vec![Section { title: "All".into(), rows }],
    };
    let reaction = Reaction { message_id: "3EB0AA".into(), emoji: "❤️".into() };
    vec![
        text("Hello"),
        Content::Image { media: media("https://example.com/a.jpg") },
        Content::Video { media: media("https://example.com/a") },
        Content::Audio { media: media("https://example.com/a.mp3") },
        Content::Document { media: media("https://example.com/invoice") },
        Content::Sticker { media: media("https://example.com/s.webp?signature=a") },
        Content::Location { location },
        Content::Contacts { contacts: vec![card("A")] },
        Content::Contacts { contacts: vec![card("A"), card("B")] },
        Content::Reaction { reaction },
        Content::Interactive { interactive: buttons },
        Content::Interactive { interactive: list },
    ]
}

#[tokio::test]
async fn every_kind_of_content_follows_evolutions_rules() {
    for buttons in ["text", "native"] {
        let world = World::new(&json!({ "buttons": buttons }), &json!({})).await;
        for content in every_kind() {
            for reply_to in [None, Some("4915550009999@s.whatsapp.net:3A11")] {
                let sent = world.send(&content, reply_to).await;
                let sent = sent.unwrap_or_else(|error| panic!("{}: {error:?}", content.kind()));
                assert_eq!(world.accepted().last().unwrap()["id"], sent.provider_message_id());
            }
        }
        // No field was one that Evolution silently ignores.
        assert_eq!(world.summary()["violations"], 0);
    }
}

#[tokio::test]
async fn receipts_refer_to_sent_messages_and_echoes_are_not_messages() {
    let world = World::new(&json!({}), &json!({})).await;
    world.register().await;
    let sent = world.send(&text("Hello"), None).await.unwrap();
    let (mut statuses, mut others) = (Vec::new(), Vec::new());
    for event in world.events().await {
        match event {
            EventKind::Receipt(receipt) => {
                assert_eq!(receipt.provider_message_id, sent.provider_message_id());
                statuses.push(receipt.status);
            }
            EventKind::Other { name, .. } => others.push(name),
            EventKind::Message(message) => panic!("{message:?}"),
        }
    }
    statuses.sort_by_key(|status| *status as u8);
    assert_eq!(statuses, [Status::Sent, Status::Delivered, Status::Read]);
    others.sort();
    assert_eq!(others, ["messages.upsert.from_me", "send.message"]);
    // A message that the business writes on its phone is not a customer's message either.
    world.simulate("business-writes", json!({ "to": TO, "text": "From the phone" })).await;
    let events = world.events().await;
    assert!(matches!(&events[..], [EventKind::Other { .. }]), "{events:?}");
}

#[tokio::test]
async fn a_customers_message_is_replied_to_reacted_to_marked_read_and_its_file_downloaded() {
    let world = World::new(&json!({}), &json!({})).await;
    world.register().await;
    let file = json!({ "mime_type": "image/jpeg", "content_base64": "AAEC" });
    let order = json!({ "from": TO, "name": "Zoë", "type": "imageMessage", "object": {},
        "media": file });
    world.simulate("customer-writes", order).await;
    let events = world.events().await;
    let [EventKind::Message(message)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((message.from.as_str(), message.name.as_deref()), (TO, Some("Zoë")));
    let provider_id = message.provider_message_id.as_str();
    let id = provider_id.rsplit(':').next().unwrap();

    world.send(&text("Thanks"), Some(provider_id)).await.unwrap();
    assert_eq!(world.accepted()[0]["quoted"], id);
    let reaction = Reaction { message_id: provider_id.into(), emoji: "👍".into() };
    world.send(&Content::Reaction { reaction }, None).await.unwrap();
    let key = json!({ "remoteJid": example::JID, "fromMe": false, "id": id });
    assert_eq!(world.accepted()[1]["body"]["key"], key);
    let receipts = providers::read_receipts(&world.integration, &example::credentials());
    let receipts = receipts.unwrap().unwrap();
    let seen = receipts.mark_read(provider_id).unwrap().unwrap();
    let response = world.call(seen).await.unwrap();
    assert!(receipts.answer(&response).is_ok());
    assert_eq!(world.summary()["read_receipts"], 1);

    let media = message.content.media().unwrap().provider_media_id.clone().unwrap();
    let fetcher = providers::media_fetcher(&world.integration, &example::credentials()).unwrap();
    let MediaRequest::Lookup(ask) = fetcher.locate_media(&media).unwrap() else { panic!() };
    let located = world.call(ask).await.unwrap();
    let MediaSource::Inline(bytes) = fetcher.fetch_media(&located).unwrap() else { panic!() };
    assert_eq!(&bytes[..], [0, 1, 2]);
}

#[tokio::test]
async fn an_instance_without_a_connection_accepts_no_message_and_the_send_is_retried() {
    let world = World::new(&json!({}), &json!({ "state": "close" })).await;
    let reader = providers::account_reader(&world.integration, &example::credentials()).unwrap();
    let ask = reader.describe_account().unwrap();
    let described = reader.answer(&world.call(ask).await.unwrap());
    assert_eq!(described.unwrap_err().code(), "disconnected");
    let picture = Content::Image { media: media("https://example.com/a.jpg") };
    for round in 0..2 {
        for content in [&text("Hello"), &picture] {
            let error = world.send(content, None).await.unwrap_err();
            assert_eq!((error.code(), error.fault()), ("disconnected", Fault::Retryable));
            assert!(error.is_account_error());
        }
        if round == 0 {
            // Evolution now knows the number and answers with another error.
            world
                .simulate("customer-writes", json!({ "from": TO, "text": "hi", "wait": false }))
                .await;
        }
    }
    assert_eq!(world.summary()["accepted"], 0);
    world.simulate("state", json!({ "state": "open" })).await;
    assert!(world.send(&text("Hello"), None).await.is_ok());
    world.simulate("state", json!({ "state": "not_loaded" })).await;
    let error = world.send(&text("Hello"), None).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), ("disconnected", Fault::Retryable));
}

#[tokio::test]
async fn a_number_that_is_not_on_whatsapp_is_a_permanent_failure() {
    let world = World::new(&json!({}), &json!({ "not_on_whatsapp": [TO] })).await;
    let error = world.send(&text("Hello"), None).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), ("not_on_whatsapp", Fault::Permanent));
    assert!(!error.is_account_error());
}

#[tokio::test]
async fn a_wrong_key_or_instance_is_a_permanent_failure_of_the_account() {
    let world = World::new(&json!({}), &json!({ "token": "another" })).await;
    let error = world.send(&text("Hello"), None).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), ("401", Fault::Permanent));
    assert!(error.is_account_error());
    world.app.world().provider(0, |evolution: &mut Evolution, _| evolution.reset()).unwrap();
    let error = world.send(&text("Hello"), None).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), ("404", Fault::Permanent));
    assert!(error.is_account_error());
}

#[tokio::test]
async fn a_send_that_may_have_succeeded_is_unknown_and_any_other_failure_is_retryable() {
    let world = World::new(&json!({}), &json!({})).await;
    let database = "PrismaClientKnownRequestError: gone";
    let wait = Duration::from_secs(5);
    for (fault, expected, taken) in [
        (json!({ "kind": "accept_then_drop" }), Fault::Unknown, true),
        (json!({ "kind": "drop" }), Fault::Unknown, false),
        (
            json!({ "kind": "status", "status": 400, "accepted": true, "description": database }),
            Fault::Unknown,
            true,
        ),
        (json!({ "kind": "status", "status": 502 }), Fault::Retryable, false),
        (json!({ "kind": "page" }), Fault::Unknown, false),
        (json!({ "kind": "page", "accepted": true }), Fault::Unknown, true),
        (
            json!({ "kind": "error", "code": 400, "description": "Error: Timed Out" }),
            Fault::Unknown,
            false,
        ),
        (
            json!({ "kind": "rate_limited", "retry_after_s": 5 }),
            Fault::RateLimited { retry_after: wait },
            false,
        ),
    ] {
        let before = world.accepted().len();
        world.simulate("faults", json!({ "faults": [fault] })).await;
        let error = world.send(&text("Hello"), None).await.unwrap_err();
        assert_eq!(error.fault(), expected, "{fault}");
        assert_eq!(world.accepted().len() - before, usize::from(taken), "{fault}");
    }
}
