//! The hub's senders against the rules of the simulated providers, and the providers' responses as
//! the senders interpret them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "Clippy does not recognize test helpers as test code"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use domain::content::{
    Choice, ContactCard, Content, Interactive, Location, Media, Section, Template,
};
use domain::event::{EventKind, ParsedEvent};
use domain::provider::Channel;
use domain::sender::{Accepted, MediaRequest, MessageSender, Outgoing, RefusalScope, SendError};
use domain::webhook::{ParsedWebhook, WebhookRequest, receive};
use domain::{
    Classify, Credentials, Fault, Integration, IntegrationId, MessageId, Provider, Status, TenantId,
};
use http::{HeaderMap, Method, Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use simulator::answer::{Answer, Body};
use simulator::clock::Clock;
use simulator::deliver::{App, BoxFuture, Hub};
use simulator::infobip::Infobip;
use simulator::provider::SimulatedProvider as _;
use simulator::server;

const SENDER: &str = "4915550001111";
const PERSON: &str = "4915550009999";

/// A hub that records every webhook and answers 200.
#[derive(Clone, Default)]
struct RecordingHub(Arc<Mutex<Vec<Request<Bytes>>>>);

impl Hub for RecordingHub {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<Result<Response<Bytes>, String>> {
        self.0.lock().unwrap().push(request);
        Box::pin(async { Ok(Response::new(Bytes::new())) })
    }
}

struct World {
    app: App,
    hub: RecordingHub,
    integration: Integration,
    credentials: Credentials,
    sender: Box<dyn MessageSender>,
    sim: &'static str,
}

impl World {
    async fn new(
        provider: Provider,
        settings: Value,
        credentials: &[(&str, &str)],
        sim: &'static str,
        account: Value,
    ) -> Self {
        let hub = RecordingHub::default();
        let app = App::in_process(Clock::Machine, Arc::new(hub.clone()));
        let settings = (providers::spec(provider).settings)(settings.as_object().unwrap());
        let integration = Integration {
            id: IntegrationId::derived(&["i"]),
            tenant: TenantId::platform(),
            provider,
            settings: settings.unwrap(),
            account: Some(SENDER.to_owned()),
            hints: BTreeMap::new(),
            created_at: Timestamp::UNIX_EPOCH,
            credentials_at: Timestamp::UNIX_EPOCH,
            tenant_credentials: std::collections::BTreeSet::new(),
            trusted_ingest: false,
            circuit: domain::circuit::Breaker::default(),
        };
        let values = credentials.iter();
        let values = values.map(|(name, value)| ((*name).to_owned(), vec![(*value).into()]));
        let credentials = Credentials::new(values);
        let sender = providers::sender(provider).unwrap();
        let sender = sender.sender(&integration, &credentials).unwrap();
        let world = Self { app, hub, integration, credentials, sender, sim };
        world.sim(Method::PUT, "", &account).await;
        let window = json!({ "customer": PERSON, "last_wrote_ms_ago": 0 });
        world.sim(Method::POST, "/window", &window).await;
        world
    }

    async fn sim(&self, method: Method, what: &str, body: &Value) -> Value {
        let uri = format!("{}{what}", self.sim).parse().unwrap();
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answer = server::route(&self.app, &method, &uri, &HeaderMap::new(), &bytes).await;
        assert_eq!(answer.status(), 200, "{what}: {}", answer.body());
        answer.body().clone()
    }

    async fn fault(&self, fault: Value) {
        self.sim(Method::POST, "/faults", &json!({ "faults": [fault] })).await;
    }

    /// The provider's answer to a request; `None` if the connection was closed.
    async fn call(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let (head, body) = request.into_parts();
        let answer = server::route(&self.app, &head.method, &head.uri, &head.headers, &body).await;
        let Answer::Reply(reply) = answer else { return None };
        let mut response = Response::builder().status(reply.status);
        if let Some(seconds) = reply.retry_after_s {
            response = response.header("retry-after", seconds);
        }
        let body = match reply.body {
            Body::Json(json) => json.to_string().into(),
            Body::File { bytes, .. } => bytes,
        };
        Some(response.body(body).unwrap())
    }

    async fn send(&self, content: &Content, to: &str) -> Result<Accepted, SendError> {
        let message = Outgoing {
            id: MessageId::derived(&["m"]),
            channel: Channel::Whatsapp,
            integration: IntegrationId::derived(&["i"]),
            hub_url: Some("https://hub.example.com"),
            to,
            content,
            reply_to: Some("wamid.0"),
        };
        let request = self.sender.request(&message)?;
        let response = self.call(request).await.ok_or(SendError::NoAnswer)?;
        self.sender.outcome(&message, &response)
    }

    async fn refused(&self, to: &str) -> (Fault, RefusalScope, String) {
        let error = self.send(&text("hi"), to).await.unwrap_err();
        let fault = error.fault();
        let SendError::Refused { scope, code, .. } = error else { panic!("{error:?}") };
        (fault, scope, code)
    }

    /// The events that the hub parses from the provider's webhooks, verified, once none is pending.
    async fn webhook_events(&self) -> Vec<ParsedEvent> {
        while self.sim(Method::GET, "", &Value::Null).await["pending_webhooks"] != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let webhook = providers::webhook(self.integration.provider).unwrap();
        let source = webhook.source(&self.integration, &self.credentials);
        let mut events = Vec::new();
        for request in self.hub.0.lock().unwrap().iter() {
            let request = WebhookRequest {
                method: request.method().clone(),
                query: Vec::new(),
                headers: request.headers().clone(),
                body: request.body().clone(),
                path_suffix: None,
                url: request.uri().to_string(),
                signing_certificate: None,
            };
            let now = Timestamp::from_millisecond(self.app.clock.now_ms()).unwrap();
            match receive(&*source, &request, now).unwrap() {
                ParsedWebhook::Events(parsed) => events.extend(parsed),
                other => panic!("{other:?}"),
            }
        }
        events
    }

    async fn accepted(&self) -> Vec<Value> {
        let accepted = self.sim(Method::GET, "/accepted", &Value::Null).await;
        accepted["accepted"].as_array().unwrap().clone()
    }
}

async fn infobip(extra: Value) -> World {
    let mut account = json!({ "api_key": "key", "webhook_secret": "hub:secret", "hub_url": "",
        "templates": [{ "name": "hello", "language": "en_GB" }] });
    account.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let settings = json!({ "base_url": "https://x1.api.infobip.com", "from": SENDER,
        "reports": "notify_url" });
    let credentials = [("INFOBIP_API_KEY", "key"), ("INFOBIP_WEBHOOK_SECRET", "hub:secret")];
    World::new(Provider::Infobip, settings, &credentials, "/_sim/infobip/4915550001111", account)
        .await
}

/// A declaration for the simulated BSP.
fn declared() -> Value {
    let message = |body: Value| {
        json!({ "body": { "sender": "{{from}}", "recipient": "+{{to}}", "reference": "{{id}}",
            "message": body } })
    };
    let file = |kind: &str| {
        message(json!({ "kind": kind, "media": { "link": "{{media.url}}",
            "caption": "{{media.caption}}", "name": "{{media.filename}}" } }))
    };
    json!({
        "path": "/bsp/acme/send",
        "headers": { "X-Api-Key": "{{credential:CUSTOM_API_KEY}}" },
        "messages": {
            "text": message(json!({ "kind": "text", "text": { "body": "{{text}}" } })),
            "image": file("image"),
            "video": file("video"),
            "audio": file("audio"),
            "document": file("file"),
            "location": message(json!({ "kind": "place", "place": {
                "lat": "{{location.latitude}}", "lng": "{{location.longitude}}",
                "label": "{{location.name}}" } })),
            "template": message(json!({ "kind": "template", "template": {
                "name": "{{template.name}}", "language": "{{template.language}}",
                "values": "{{template.components}}" } })),
            "buttons": message(json!({ "kind": "choice",
                "text": { "body": "{{interactive.body}}" },
                "choices": { "{{each interactive.buttons}}":
                    { "id": "{{item.id}}", "title": "{{item.title}}" } } })),
        },
        "answer": {
            "accepted": [202], "id": "/data/id", "error": "/error/code",
            "errors": {
                "sender_unknown": { "fault": "permanent", "scope": "account" },
                "account_blocked": { "fault": "permanent", "scope": "account" },
                "window_closed": { "fault": "permanent", "scope": "message" },
            },
        },
    })
}

async fn bsp(send: Value) -> World {
    let account = json!({ "api_key": "key", "sender": SENDER, "webhook_secret": "s",
        "hub_url": "http://hub.test/hook",
        "receipts": { "sent": 1, "delivered": 2, "read": 3 }, "opted_out": ["4915550007777"],
        "templates": [{ "name": "hello", "language": "en_GB" }] });
    let scheme = json!({ "type": "hmac", "header": "X-Bsp-Signature", "prefix": "sha256=",
        "timestamp": { "header": "X-Bsp-Timestamp" } });
    let message = json!({ "at": "/events/*", "when": { "/type": "message.in" },
        "id": "/message/id", "from": "/message/from", "name": "/message/name",
        "text": "/message/text", "time": "/at" });
    let receipt = json!({ "at": "/events/*", "when": { "/type": "message.status" },
        "id": "/status/message", "reference": "/status/reference", "status": "/status/state",
        "code": "/status/code", "time": "/at",
        "statuses": { "sent": "sent", "delivered": "delivered", "read": "read",
            "failed": "failed" } });
    let settings = json!({ "scheme": scheme, "message": message, "receipt": receipt,
        "base_url": "https://bsp.example", "from": SENDER, "send": send });
    let credentials = [("CUSTOM_API_KEY", "key"), ("CUSTOM_WEBHOOK_SECRET", "s")];
    World::new(Provider::Custom, settings, &credentials, "/_sim/bsp/acme", account).await
}

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

fn template(components: Vec<Value>) -> Content {
    let (name, language) = ("hello".into(), "en_GB".into());
    Content::Template { template: Template { name, language, components } }
}

fn choice(id: &str, description: Option<&str>) -> Choice {
    let description = description.map(str::to_owned);
    Choice { id: id.into(), title: format!("Choice {id}"), description }
}

/// One content of each kind that `WhatsApp` providers send, with all optional fields.
fn contents() -> Vec<Content> {
    let media = Media {
        url: Some("https://example.com/f?a=b&c=d".into()),
        caption: Some("Look: \"é\"".into()),
        ..Media::default()
    };
    let plain = Media { caption: None, ..media.clone() };
    let named = Media { filename: Some("menu.pdf".into()), ..media.clone() };
    let (latitude, longitude) = (52.5, -13.25);
    let (name, address) = (Some("Corner".to_owned()), Some("1 Road".to_owned()));
    let card = ContactCard {
        name: "Zoë".into(),
        phones: vec!["+49 1555 0008888".into()],
        emails: vec!["zoe@example.com".into()],
    };
    let (header, footer) = (Some("Header".to_owned()), Some("Footer".to_owned()));
    let button = Interactive::Button {
        body: "Shall we?".into(),
        header: header.clone(),
        footer: footer.clone(),
        buttons: vec![choice("y", None), choice("n", None)],
    };
    let section = |title: &str, id: &str| Section {
        title: title.into(),
        rows: vec![choice(id, Some("small print"))],
    };
    let list = Interactive::List {
        body: "Which?".into(),
        header,
        footer,
        button: "Open".into(),
        sections: vec![section("One", "1"), section("Two", "2")],
    };
    vec![
        text("Hello \"you\"\n{{to}}"),
        Content::Image { media: media.clone() },
        Content::Video { media },
        Content::Audio { media: plain.clone() },
        Content::Document { media: named },
        Content::Sticker { media: plain },
        Content::Location { location: Location { latitude, longitude, name, address } },
        Content::Contacts { contacts: vec![card] },
        Content::Interactive { interactive: button },
        Content::Interactive { interactive: list },
    ]
}

#[tokio::test]
async fn infobip_accepts_every_kind_of_content_that_the_hub_sends() {
    let world = infobip(json!({})).await;
    let mut all = contents();
    all.push(template(vec![
        json!({ "body": { "placeholders": ["Zoë", "12:00"] } }),
        json!({ "header": { "type": "DOCUMENT", "mediaUrl": "https://example.com/d",
            "filename": "d.pdf" },
            "buttons": [{ "type": "QUICK_REPLY", "parameter": "y" }] }),
    ]));
    all.push(template(vec![]));
    let own = MessageId::derived(&["m"]).to_string();
    for content in &all {
        let accepted = world.send(content, &format!("+{PERSON}")).await;
        assert_eq!(accepted.unwrap().provider_message_id(), own, "{}", content.kind());
    }
    let accepted = world.accepted().await;
    assert_eq!(accepted.len(), all.len());
    for message in &accepted {
        assert_eq!((&message["message_id"], &message["callback_data"]), (&json!(own), &json!(own)));
        assert_eq!((&message["to"], &message["failed"]), (&json!(PERSON), &Value::Null));
        let notify = message["body"]["notifyUrl"].as_str().unwrap();
        assert!(notify.starts_with("https://hub.example.com/webhooks/infobip/int_"), "{notify}");
    }
}

#[tokio::test]
async fn infobips_errors_are_parsed_in_both_formats() {
    for shape in ["mixed", "exception", "code"] {
        let world =
            infobip(json!({ "errors": shape, "limits": { "messages_per_second": 1 } })).await;
        world.fault(json!({ "kind": "error", "status": 400, "description": "BAD_REQUEST" })).await;
        let (fault, scope, _) = world.refused(PERSON).await;
        assert_eq!((fault, scope), (Fault::Permanent, RefusalScope::Message), "{shape}");
        world.fault(json!({ "kind": "error", "status": 403, "description": "FORBIDDEN" })).await;
        let (fault, scope, _) = world.refused(PERSON).await;
        assert_eq!((fault, scope), (Fault::Permanent, RefusalScope::Account), "{shape}");
        world.fault(json!({ "kind": "status", "status": 502 })).await;
        assert_eq!(world.refused(PERSON).await.0, Fault::Retryable, "{shape}");
        world.fault(json!({ "kind": "page" })).await;
        assert_eq!(world.refused(PERSON).await.0, Fault::Unknown, "{shape}");
        world.fault(json!({ "kind": "error", "code": 12 })).await;
        let expected =
            (Fault::Permanent, RefusalScope::Account, "REJECTED_NOT_ENOUGH_CREDITS".to_owned());
        assert_eq!(world.refused(PERSON).await, expected, "{shape}");
        world.send(&text("hi"), PERSON).await.unwrap();
        let (fault, scope, _) = world.refused(PERSON).await;
        assert!(matches!(fault, Fault::RateLimited { .. }), "{shape}: {fault:?}");
        assert_eq!((scope, world.accepted().await.len()), (RefusalScope::Account, 1), "{shape}");
    }
}

#[tokio::test]
async fn an_unknown_key_or_sender_at_infobip_is_an_error_of_the_account() {
    let world = infobip(json!({ "api_key": "another" })).await;
    let expected = (Fault::Permanent, RefusalScope::Account, "UNAUTHORIZED".to_owned());
    assert_eq!(world.refused(PERSON).await, expected);
    let world = infobip(json!({})).await;
    world.app.world().provider(0, |infobip: &mut Infobip, _| infobip.reset()).unwrap();
    let account = json!({ "api_key": "key", "webhook_secret": "a:b", "hub_url": "" });
    let other = World { sim: "/_sim/infobip/4915550002222", ..world };
    other.sim(Method::PUT, "", &account).await;
    let expected = (Fault::Permanent, RefusalScope::Account, "REJECTED_SOURCE".to_owned());
    assert_eq!(other.refused(PERSON).await, expected);
}

#[tokio::test]
async fn a_second_attempt_at_infobip_finds_the_message_of_the_first_attempt() {
    let world = infobip(json!({ "refuse_duplicate_ids": true })).await;
    world.fault(json!({ "kind": "accept_then_drop" })).await;
    let lost = world.send(&text("hi"), PERSON).await.unwrap_err();
    assert_eq!(lost.fault(), Fault::Unknown);
    let found = world.send(&text("hi"), PERSON).await.unwrap();
    let accepted = world.accepted().await;
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0]["message_id"], found.provider_message_id());
}

#[tokio::test]
async fn infobip_supports_read_receipts_file_downloads_and_account_health() {
    let world = infobip(json!({})).await;
    let order = json!({ "from": PERSON, "message": { "type": "IMAGE" }, "wait": false,
        "media": { "mime_type": "image/png", "content_base64": "AAAA" } });
    let written = world.sim(Method::POST, "/customer-writes", &order).await;
    let id = written["message_ids"][0].as_str().unwrap();
    let receipts = providers::read_receipts(&world.integration, &world.credentials).unwrap();
    let read = receipts.unwrap().mark_read(id).unwrap().unwrap();
    assert_eq!(world.call(read).await.unwrap().status(), 200);
    let reads = world.sim(Method::GET, "/reads", &Value::Null).await;
    assert_eq!(reads["reads"][0]["message_id"], id);

    let media = world.app.world().account::<Infobip, _>(0, SENDER, |sender, _| {
        sender.media_ids().next().unwrap().to_owned()
    });
    let media = media.unwrap();
    let url = format!("https://x1.api.infobip.com/whatsapp/1/senders/{SENDER}/media/{media}");
    let fetcher = providers::media_fetcher(&world.integration, &world.credentials).unwrap();
    let MediaRequest::Download(request) = fetcher.locate_media(&url).unwrap() else { panic!() };
    assert_eq!(world.call(request).await.unwrap().body(), &Bytes::from_static(&[0, 0, 0]));

    let reader = providers::account_reader(&world.integration, &world.credentials).unwrap();
    let request = reader.describe_account().unwrap();
    let response = world.call(request).await.unwrap();
    assert_eq!(reader.answer(&response).unwrap()["id"], SENDER);
}

#[tokio::test]
async fn a_bsp_accepts_the_declared_content_and_no_other_content_is_sent() {
    let world = bsp(declared()).await;
    let mut all = contents();
    all.push(template(vec![json!("Zoë"), json!("12:00")]));
    let mut kinds = Vec::new();
    for content in &all {
        match world.send(content, PERSON).await {
            Ok(accepted) => {
                assert!(accepted.provider_message_id().starts_with("bsp-"));
                kinds.push(content.kind());
            }
            Err(SendError::Invalid { field: "type", .. }) => {}
            Err(error) => panic!("{}: {error:?} {}", content.kind(), error.detail()),
        }
    }
    let expected =
        ["text", "image", "video", "audio", "document", "location", "interactive", "template"];
    assert_eq!(kinds, expected);
    let accepted = world.accepted().await;
    assert_eq!(accepted.len(), expected.len());
    assert_eq!(accepted[0]["body"]["message"]["text"]["body"], "Hello \"you\"\n{{to}}");
    let own = json!(MessageId::derived(&["m"]).to_string());
    assert!(accepted.iter().all(|message| message["reference"] == own));
}

#[tokio::test]
async fn a_bsps_errors_are_classified_as_the_integration_declares() {
    let world = bsp(declared()).await;
    let permanent = |scope, code: &str| (Fault::Permanent, scope, code.to_owned());
    let stranger = "4915550008888";
    assert_eq!(world.refused(stranger).await, permanent(RefusalScope::Message, "window_closed"));
    assert_eq!(world.refused("4915550007777").await, permanent(RefusalScope::Message, "opted_out"));
    world.fault(json!({ "kind": "error" })).await;
    assert_eq!(world.refused(PERSON).await, permanent(RefusalScope::Account, "account_blocked"));
    world.fault(json!({ "kind": "rate_limited", "retry_after_s": 7 })).await;
    let retry_after = std::time::Duration::from_secs(7);
    assert_eq!(world.refused(PERSON).await.0, Fault::RateLimited { retry_after });
    world.fault(json!({ "kind": "status", "status": 500 })).await;
    assert_eq!(world.refused(PERSON).await.0, Fault::Retryable);
    world.fault(json!({ "kind": "page" })).await;
    assert_eq!(world.refused(PERSON).await.0, Fault::Unknown);
    assert!(world.accepted().await.is_empty());
}

#[tokio::test]
async fn a_bsps_form_error_with_status_200_is_a_refusal() {
    let send = json!({
        "path": "/bsp/acme/form", "encoding": "form",
        "headers": { "apikey": "{{credential:CUSTOM_API_KEY}}" },
        "messages": {
            "text": { "body": { "channel": "whatsapp", "source": "{{from}}",
                "destination": "{{to}}", "ref": "{{id}}",
                "message": { "type": "text", "text": "{{text}}" } } },
            "image": { "body": { "channel": "whatsapp", "source": "{{from}}",
                "destination": "{{to}}", "message": { "type": "image",
                    "originalUrl": "{{media.url}}", "caption": "{{media.caption}}" } } },
        },
        "answer": { "id": "/messageId", "error": "/code",
            "errors": { "1008": { "fault": "permanent", "scope": "account" } } },
    });
    let world = bsp(send).await;
    for content in &contents()[..2] {
        world.send(content, PERSON).await.unwrap();
    }
    world.fault(json!({ "kind": "error", "status": 422 })).await;
    let expected = (Fault::Permanent, RefusalScope::Account, "1008".to_owned());
    assert_eq!(world.refused(PERSON).await, expected);
    let expected = (Fault::Permanent, RefusalScope::Message, "1006".to_owned());
    assert_eq!(world.refused("4915550008888").await, expected);
    assert_eq!(world.accepted().await.len(), 2);
}

/// The statuses that the receipts report for the message with this id.
fn statuses_of(events: &[ParsedEvent], id: &str) -> Vec<Status> {
    let own = MessageId::derived(&["m"]);
    let receipts = events.iter().filter_map(|event| match &event.kind {
        EventKind::Receipt(receipt) if receipt.provider_message_id == id => Some(receipt),
        _ => None,
    });
    receipts
        .map(|receipt| {
            assert_eq!(receipt.reference, Some(own));
            receipt.status
        })
        .collect()
}

fn messages_in(events: &[ParsedEvent]) -> Vec<(&str, &Content)> {
    events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Message(message) => Some((&*message.from, &message.content)),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn infobips_reports_are_verified_and_parsed_and_refer_to_the_sent_message() {
    let world = infobip(json!({ "hub_url": "http://hub.test/hook",
        "security_on_notify_url": true, "batch_ms": 5,
        "receipts": { "sent": 1, "delivered": 2, "read": 3 } }))
    .await;
    let sent = world.send(&text("hi"), PERSON).await.unwrap();
    let order = json!({ "from": PERSON, "texts": ["one", "two"], "wait": false });
    world.sim(Method::POST, "/customer-writes", &order).await;
    let events = world.webhook_events().await;
    let mut statuses = statuses_of(&events, sent.provider_message_id());
    statuses.sort_unstable();
    assert_eq!(statuses, [Status::Delivered, Status::Read]);
    assert_eq!(messages_in(&events), [(PERSON, &text("one")), (PERSON, &text("two"))]);
}

#[tokio::test]
async fn a_failure_reported_by_infobip_includes_a_remedy() {
    let world = infobip(json!({ "hub_url": "http://hub.test/hook",
        "security_on_notify_url": true, "receipts": { "sent": 1 } }))
    .await;
    world.send(&text("hi"), "4915550008888").await.unwrap();
    let events = world.webhook_events().await;
    let EventKind::Receipt(receipt) = &events[0].kind else { panic!("{events:?}") };
    assert_eq!((receipt.status, receipt.code.as_deref()), (Status::Failed, Some("EC_NO_SESSION")));
    assert!(receipt.detail.as_deref().unwrap().contains("Send a template"));
}

#[tokio::test]
async fn a_bsps_reports_are_verified_and_parsed_and_refer_to_the_sent_message() {
    let world = bsp(declared()).await;
    let sent = world.send(&text("hi"), PERSON).await.unwrap();
    let order = json!({ "from": PERSON, "texts": ["one", "two"], "wait": false });
    world.sim(Method::POST, "/customer-writes", &order).await;
    let events = world.webhook_events().await;
    let mut statuses = statuses_of(&events, sent.provider_message_id());
    statuses.sort_unstable();
    assert_eq!(statuses, [Status::Sent, Status::Delivered, Status::Read]);
    assert_eq!(messages_in(&events), [(PERSON, &text("one")), (PERSON, &text("two"))]);
}
