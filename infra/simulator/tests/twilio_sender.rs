//! The hub's Twilio sender against the simulated Twilio API, in one process.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "Clippy does not recognize test helpers as test code"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::content::{Call, Content, Location, Media, Template};
use domain::event::{EventKind, Receipt};
use domain::fault::Classify as _;
use domain::provider::Channel;
use domain::sender::{Accepted, MediaRequest, MediaSource, MessageSender, Outgoing, SendError};
use domain::webhook::{ParsedWebhook as Brought, WebhookRequest, receive};
use domain::{Fault, Integration, IntegrationId, MessageId, Provider, Status};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use providers::twilio::example::{ACCOUNT_SID, NUMBER, PERSON, TEMPLATE};
use providers::{example, form};
use serde_json::{Value, json};
use simulator::answer::{Answer, Body};
use simulator::clock::Clock;
use simulator::deliver::App;
use simulator::faults::Fault as Scripted;
use simulator::log::ProviderContext;
use simulator::provider::{OutgoingWebhook, SimulatedAccount as _, SimulatedProvider as _};
use simulator::server;
use simulator::twilio::request::Form;
use simulator::twilio::{Account, Delivery, Twilio};

/// 2026-11-20 12:00:00 UTC.
fn now_ms() -> i64 {
    1_795_176_000_000
}

struct World {
    app: App,
    integration: Integration,
    sender: Box<dyn MessageSender>,
}

impl World {
    fn new(extra: &Value) -> Self {
        let app = App::new(Clock::Given(now_ms));
        let mut settings = json!({
            "auth_token": providers::twilio::example::AUTH_TOKEN, "numbers": [NUMBER],
            "whatsapp": [NUMBER], "templates": [TEMPLATE],
            "urls": {"sms": "https://hub.example.com/webhooks/sms"},
        });
        settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let (uri, headers) = (Uri::from_static("/_sim"), HeaderMap::new());
        let body = Bytes::from(settings.to_string());
        let put = simulator::request::Request::new(&Method::PUT, &uri, &[], &headers, &body);
        let made = app.world().provider(now_ms(), |twilio: &mut Twilio, context| {
            twilio.put(context, ACCOUNT_SID, &put)
        });
        made.unwrap().unwrap();
        let id = IntegrationId::derived(&["twilio"]);
        let tenant = "acme".parse().unwrap();
        let integration = example::integration(Provider::Twilio, id, tenant).unwrap();
        let credentials = (example::of(Provider::Twilio).credentials)();
        let sender = providers::sender(Provider::Twilio).unwrap();
        let sender = sender.sender(&integration, &credentials).unwrap();
        Self { app, integration, sender }
    }

    fn act<T>(&self, act: impl FnOnce(&mut Account, &mut ProviderContext<'_>) -> T) -> T {
        self.app.world().account::<Twilio, T>(now_ms(), ACCOUNT_SID, act).unwrap()
    }

    fn outgoing<'a>(&self, channel: Channel, content: &'a Content) -> Outgoing<'a> {
        Outgoing {
            id: MessageId::derived(&["m"]),
            channel,
            integration: self.integration.id,
            hub_url: Some("https://hub.example.com"),
            to: PERSON,
            content,
            reply_to: None,
        }
    }

    /// The API's response, through the simulator's HTTP routing.
    async fn ask(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let answer =
            server::route(&self.app, &parts.method, &parts.uri, &parts.headers, &body).await;
        match answer {
            Answer::HangUp { .. } => panic!("the connection was dropped"),
            Answer::Redirect { to } => {
                Response::builder().status(307).header("location", to).body(Bytes::new()).unwrap()
            }
            Answer::Reply(reply) => {
                let bytes = match reply.body {
                    Body::Json(json) => json.to_string().into(),
                    Body::File { bytes, .. } => bytes,
                };
                Response::builder().status(reply.status).body(bytes).unwrap()
            }
        }
    }

    async fn send(&self, channel: Channel, content: &Content) -> Result<Accepted, SendError> {
        let message = self.outgoing(channel, content);
        let response = self.ask(self.sender.request(&message)?).await;
        self.sender.outcome(&message, &response)
    }

    /// The webhooks that follow a request.
    fn followed(&self, channel: Channel, content: &Content) -> Vec<Delivery> {
        let request = self.sender.request(&self.outgoing(channel, content)).unwrap();
        let kind = request.headers()["content-type"].to_str().unwrap();
        let form = Form::read(kind, request.body());
        self.act(|account, context| match channel {
            Channel::Voice => account.calls(context, &form).deliveries,
            _ => account.messages(context, &form).deliveries,
        })
    }

    /// The events that the hub's webhook parses from a delivery.
    fn read(&self, delivery: &Delivery) -> Vec<EventKind> {
        let OutgoingWebhook { url, headers, body, .. } =
            self.act(|account, _| account.outgoing(delivery));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.insert(name, HeaderValue::from_str(&value).unwrap());
        }
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let request = WebhookRequest {
            method: Method::POST,
            query: form::decode(query.as_bytes()),
            headers: map,
            body,
            url,
            ..WebhookRequest::default()
        };
        let credentials = (example::of(Provider::Twilio).credentials)();
        let source = providers::twilio::SMS_STATUS;
        let source =
            domain::webhook::WebhookProvider::source(&source, &self.integration, &credentials);
        let now = example::Seed::FIXED;
        match receive(&*source, &request, now).expect("an authentic webhook") {
            Brought::Events(events) => events.into_iter().map(|event| event.kind).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn receipts(&self, deliveries: &[Delivery]) -> Vec<Receipt> {
        let read = deliveries.iter().flat_map(|delivery| self.read(delivery));
        let receipts = read.filter_map(|kind| match kind {
            EventKind::Receipt(receipt) => Some(receipt),
            _ => None,
        });
        receipts.collect()
    }

    fn violations(&self) -> Value {
        self.act(|account, _| account.summary()["violations"].clone())
    }
}

fn text(text: &str) -> Content {
    Content::Text { text: text.to_owned() }
}

/// Every content that Twilio supports, on each channel.
fn everything() -> Vec<(Channel, Content)> {
    let media = |caption: Option<&str>| Media {
        url: Some("https://example.com/a".to_owned()),
        caption: caption.map(ToOwned::to_owned),
        ..Media::default()
    };
    let template = Content::Template {
        template: Template {
            name: "hello".into(),
            language: "en".into(),
            components: vec![json!("Anna"), json!(3)],
        },
    };
    let location = Location { latitude: 52.5, longitude: 13.4, name: None, address: None };
    let call = Call {
        twiml: Some("<Response><Say>Hello</Say></Response>".into()),
        timeout: Some(20),
        record: true,
        detect_machine: true,
        ..Call::default()
    };
    let fetched = Call { url: Some("https://example.com/twiml".into()), ..Call::default() };
    let mut all = vec![
        (Channel::Whatsapp, Content::Location { location }),
        (Channel::Voice, Content::Call { call }),
        (Channel::Voice, Content::Call { call: fetched }),
    ];
    for channel in [Channel::Sms, Channel::Whatsapp] {
        all.extend([
            (channel, text(&"ä".repeat(1600))),
            (channel, Content::Image { media: media(Some("Look")) }),
            (channel, Content::Video { media: media(Some("Look")) }),
            (channel, Content::Document { media: media(None) }),
            (channel, Content::Audio { media: media(None) }),
            (channel, Content::Sticker { media: media(None) }),
            (channel, template.clone()),
        ]);
    }
    all
}

#[tokio::test]
async fn twilio_accepts_without_violations_everything_that_the_sender_sends() {
    let world = World::new(&json!({}));
    let all = everything();
    for (channel, content) in &all {
        let taken = world.send(*channel, content).await;
        let taken = taken.unwrap_or_else(|error| panic!("{}: {error}", content.kind()));
        let last = world.act(|account, _| account.accepted().last().cloned()).unwrap();
        assert_eq!(taken.provider_message_id(), last.sid);
        assert_eq!(last.channel, channel.as_str());
    }
    assert_eq!(world.act(|account, _| account.accepted().len()), all.len());
    assert_eq!(world.violations(), 0);
}

#[tokio::test]
async fn each_error_is_classified() {
    let content = text("hi");
    let world = World::new(&json!({
        "regions": ["+1"], "limits": {"requests_per_second": 2}, "whatsapp": [], "templates": [],
    }));
    let template = Template { name: "hello".into(), language: "en".into(), components: vec![] };
    let template = Content::Template { template };
    for (channel, content, code) in [
        (Channel::Sms, &content, "21408"),
        (Channel::Whatsapp, &content, "63007"),
        (Channel::Sms, &template, "21655"),
    ] {
        let error = world.send(channel, content).await.unwrap_err();
        assert_eq!((error.code(), error.fault()), (code, Fault::Permanent));
        assert_eq!(error.is_account_error(), code == "63007");
    }
    let world = World::new(&json!({"limits": {"requests_per_second": 1}}));
    world.send(Channel::Sms, &content).await.unwrap();
    let error = world.send(Channel::Sms, &content).await.unwrap_err();
    assert_eq!(error.code(), "20429");
    assert!(matches!(error.fault(), Fault::RateLimited { .. }));
    let world = World::new(&json!({"auth_token": "another"}));
    let error = world.send(Channel::Sms, &content).await.unwrap_err();
    assert_eq!((error.code(), error.is_account_error()), ("20003", true));
    let world = World::new(&json!({}));
    let broken = json!({"kind": "status", "status": 500, "accepted": true});
    let broken: Scripted = serde_json::from_value(broken).unwrap();
    world.act(|account, _| account.faults().unwrap().add(vec![broken]));
    let error = world.send(Channel::Sms, &content).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Unknown);
    assert_eq!(world.act(|account, _| account.accepted().len()), 1);
}

#[tokio::test]
async fn statuses_refer_to_the_message_even_if_the_response_was_lost() {
    let world = World::new(&json!({}));
    let deliveries = world.followed(Channel::Sms, &text("hi"));
    let receipts = world.receipts(&deliveries);
    let sid = world.act(|account, _| account.accepted()[0].sid.clone());
    let states: Vec<_> = receipts.iter().map(|receipt| receipt.status).collect();
    assert_eq!(states, [Status::Sent, Status::Delivered]);
    for receipt in &receipts {
        assert_eq!(receipt.provider_message_id, sid);
        assert_eq!(receipt.reference, Some(MessageId::derived(&["m"])));
    }
    // No customer has written on WhatsApp.
    let deliveries = world.followed(Channel::Whatsapp, &text("hi"));
    let [receipt] = world.receipts(&deliveries).try_into().unwrap();
    assert_eq!((receipt.status, receipt.code.as_deref()), (Status::Failed, Some("63016")));
    assert!(receipt.detail.unwrap().contains("template"));
}

#[tokio::test]
async fn a_call_is_delivered_if_it_is_answered_and_failed_otherwise() {
    let (_, call) = everything().into_iter().find(|(c, _)| *c == Channel::Voice).unwrap();
    for (end, last, code) in [
        ("completed", Status::Delivered, None),
        ("busy", Status::Failed, Some("busy")),
        ("no-answer", Status::Failed, Some("no-answer")),
        ("failed", Status::Failed, Some("failed")),
    ] {
        let world = World::new(&json!({"people": {PERSON: {"call": end}}}));
        let receipts = world.receipts(&world.followed(Channel::Voice, &call));
        assert_eq!(receipts[0].status, Status::Sent);
        let receipt = receipts.last().unwrap();
        assert_eq!((receipt.status, receipt.code.as_deref()), (last, code), "{end}");
        assert_eq!(receipt.reference, Some(MessageId::derived(&["m"])));
    }
}

#[tokio::test]
async fn a_customers_file_is_downloaded_through_twilios_redirect() {
    let mut world = World::new(&json!({}));
    world.integration.settings.0.insert("base_url".to_owned(), json!("http://sim"));
    let credentials = (example::of(Provider::Twilio).credentials)();
    let fetcher = providers::media_fetcher(&world.integration, &credentials).unwrap();
    let file = json!({"mime_type": "image/png", "content_base64": "cG5n"});
    let order = json!({"from": PERSON, "text": "Look", "media": [file]});
    let order = serde_json::from_value(order).unwrap();
    let (_, deliveries) = world
        .act(|account, context| account.customer_writes(context, &order, "http://sim"))
        .unwrap();
    let mut read = world.read(&deliveries[0]);
    let EventKind::Message(message) = read.remove(0) else { panic!() };
    assert_eq!((message.channel, message.from.as_str()), (Some(Channel::Sms), PERSON));
    let media = message.content.media().unwrap().provider_media_id.clone().unwrap();
    let MediaRequest::Lookup(request) = fetcher.locate_media(&media).unwrap() else { panic!() };
    let mut request = request;
    request.headers_mut().insert("host", HeaderValue::from_static("sim"));
    let located = world.ask(request).await;
    let MediaSource::Download(request) = fetcher.fetch_media(&located).unwrap() else { panic!() };
    assert_eq!(world.ask(request).await.body(), "png");
}

#[tokio::test]
async fn the_hubs_account_description_does_not_contain_the_token() {
    let world = World::new(&json!({}));
    let credentials = (example::of(Provider::Twilio).credentials)();
    let reader = providers::account_reader(&world.integration, &credentials).unwrap();
    let response = world.ask(reader.describe_account().unwrap()).await;
    let shown = String::from_utf8_lossy(response.body()).into_owned();
    assert!(shown.contains(providers::twilio::example::AUTH_TOKEN), "Twilio shows it");
    let answer = reader.answer(&response).unwrap();
    let fields: BTreeMap<String, Value> = serde_json::from_value(answer).unwrap();
    assert_eq!(fields["sid"], ACCOUNT_SID);
    assert!(!format!("{fields:?}").contains(providers::twilio::example::AUTH_TOKEN));
}
