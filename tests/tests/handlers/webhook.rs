//! Webhook handler tests: forged requests are rejected and accepted events are not lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use domain::event::{EventKind, InboundEvent, InboundMessage, ParsedEvent};
use domain::integration::{Credentials, Integration};
use domain::message::Status;
use domain::ports::Clock;
use domain::sender::SendError;
use domain::task::Parked;
use domain::trace::{TRACEPARENT, TraceContext};
use domain::webhook::{
    MAX_BODY_BYTES, ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookReply,
    WebhookRequest, WebhookSource,
};
use domain::{Content, IntegrationId, Provider, TenantId};
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use lambda_http::RequestExt;
use providers::{telegram, whatsapp_cloud};
use runtime::certificates::CertificateClient;
use runtime::webhook::{WebhookHandler, handle};
use runtime::{CachedDirectory, HttpClient};
use serde_json::Value;
use testkit::{FakeClock, FakeCredentials, FakeQueue, Faults, sample};
use whatsapp_cloud::example::PHONE_NUMBER_ID;

use crate::common::Table;
use crate::env::TestEnv;

/// An HTTP client that records URLs and returns a set status. Clones share one state.
#[derive(Clone, Debug, Default)]
struct FakeAddresses {
    status: Arc<Mutex<Option<StatusCode>>>,
    called: Arc<Mutex<Vec<String>>>,
}

impl FakeAddresses {
    /// Sets the status of all responses; 200 if `None`.
    fn answer(&self, status: Option<StatusCode>) {
        *self.status.lock().unwrap() = status;
    }

    /// The URLs that were called.
    fn called(&self) -> Vec<String> {
        self.called.lock().unwrap().clone()
    }
}

impl HttpClient for FakeAddresses {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        self.called.lock().unwrap().push(request.uri().to_string());
        let status = self.status.lock().unwrap().unwrap_or(StatusCode::OK);
        let mut response = Response::new(Bytes::from_static(b"certificate"));
        *response.status_mut() = status;
        Ok(response)
    }
}

/// A handler with its dependencies.
struct Fixture {
    handler: WebhookHandler<accounts::Repository, TestEnv<FakeAddresses>>,
    addresses: FakeAddresses,
    table: Table,
    table_faults: Faults,
    credential_store: FakeCredentials,
    clock: FakeClock,
    acme: TenantId,
    own: IntegrationId,
}

impl Fixture {
    /// Acme has a WhatsApp number and a Telegram bot; the operator has a WhatsApp app that serves
    /// all numbers.
    async fn new() -> Self {
        let clock = FakeClock::default();
        let acme = sample::tenant("acme");
        let (table, table_faults) = (Table::new(&clock), Faults::default());
        let store = table.store(&table_faults);
        let number = sample::whatsapp(&acme, Some(PHONE_NUMBER_ID));
        let bot = sample::telegram(&acme, Some(telegram::example::BOT_ID));
        let app = sample::whatsapp(&TenantId::platform(), None);
        table.insert_integration(&number, &[]).await;
        table.insert_integration(&bot, &[path_hash(telegram::example::WEBHOOK_SECRET)]).await;
        table.insert_integration(&app, &[]).await;
        let credential_store = FakeCredentials::new(&clock)
            .with(&number, whatsapp_cloud::example::credentials())
            .with(&bot, telegram::example::credentials())
            .with(&app, whatsapp_cloud::example::credentials());
        let addresses = FakeAddresses::default();
        let handler = WebhookHandler {
            directory: CachedDirectory::new(store.accounts.clone(), clock.clone()),
            credential_store: credential_store.clone(),
            inbound: Some(FakeQueue::fifo(&clock)),
            receipts: Some(FakeQueue::standard(&clock)),
            events: FakeQueue::fifo(&clock),
            parked: FakeQueue::standard(&clock),
            certificates: CertificateClient::new(addresses.clone()),
            clock: clock.clone(),
            base_url: None,
        };
        Self {
            handler,
            addresses,
            table,
            table_faults,
            credential_store,
            clock,
            acme,
            own: number.id,
        }
    }

    async fn send(&self, provider: Provider, request: &WebhookRequest) -> WebhookReply {
        self.send_to(providers::webhook(provider).unwrap(), request).await
    }

    async fn send_to(
        &self,
        webhook: &dyn WebhookProvider,
        request: &WebhookRequest,
    ) -> WebhookReply {
        handle(&self.handler, webhook, request.clone()).await
    }

    fn inbound(&self) -> &FakeQueue {
        self.handler.inbound.as_ref().unwrap()
    }

    fn receipts(&self) -> &FakeQueue {
        self.handler.receipts.as_ref().unwrap()
    }

    /// Sends a request to the URL of acme's own number.
    async fn at_own(&self, mut request: WebhookRequest) -> StatusCode {
        request.path_suffix = Some(self.own.to_string());
        self.send(Provider::WhatsappCloud, &request).await.status
    }

    /// Sends a request to the URL of the operator's app.
    async fn at_app(&self, request: WebhookRequest) -> StatusCode {
        self.send(Provider::WhatsappCloud, &request).await.status
    }

    fn published(&self) -> [usize; 3] {
        [self.inbound().len(), self.receipts().len(), self.handler.parked.len()]
    }
}

/// The SHA-256 of a path secret, in hex.
fn path_hash(secret: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes()))
}

fn signed(changes: &[Value]) -> WebhookRequest {
    whatsapp_cloud::example::request(whatsapp_cloud::example::escaped(
        &whatsapp_cloud::example::envelope(changes),
    ))
}

fn one_text() -> WebhookRequest {
    text_to(PHONE_NUMBER_ID)
}

fn text_to(number: &str) -> WebhookRequest {
    let text = whatsapp_cloud::example::text("wamid.1", "hello");
    signed(&[whatsapp_cloud::example::messages(number, &[text])])
}

#[tokio::test]
async fn a_verified_message_is_queued_for_its_tenant_and_conversation() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.at_own(one_text()).await, StatusCode::OK);
    assert_eq!(fixture.published(), [1, 0, 0]);
    let event = &fixture.inbound().bodies::<InboundEvent>()[0];
    assert_eq!((&event.tenant, event.integration), (&fixture.acme, fixture.own));
    assert_eq!(event.received_at, fixture.clock.now());
    let record = &fixture.inbound().records()[0];
    let EventKind::Message(message) = &event.kind else { panic!() };
    assert_eq!(message.from, whatsapp_cloud::example::WA_ID);
    let conversation = event.parties(message).unwrap().conversation();
    assert_eq!(record.group, conversation.to_string());
    assert_eq!(record.deduplication_id, event.deduplication_id());
}

#[tokio::test]
async fn a_forged_unsigned_or_empty_request_gets_401_and_nothing_is_published() {
    let fixture = Fixture::new().await;
    let mut altered = one_text();
    altered.body = [&altered.body[..], b" "].concat().into();
    let mut unsigned = one_text();
    unsigned.headers.clear();
    let mut empty = one_text();
    empty.body = bytes::Bytes::new();
    let mut empty_signature = one_text();
    empty_signature.headers.insert("x-hub-signature-256", "sha256=".parse().unwrap());
    let mut twice = one_text();
    let other = twice.headers["x-hub-signature-256"].clone();
    twice.headers.append("x-hub-signature-256", other);
    let secret = "another-secret";
    let mut foreign = one_text();
    let signature = whatsapp_cloud::example::signature(secret, &foreign.body);
    foreign.headers.insert("x-hub-signature-256", signature.parse().unwrap());
    for request in [altered, unsigned, empty, empty_signature, twice, foreign] {
        assert_eq!(fixture.at_own(request.clone()).await, StatusCode::UNAUTHORIZED);
        assert_eq!(fixture.at_app(request).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(fixture.published(), [0, 0, 0]);
}

#[tokio::test]
async fn a_url_without_an_integration_of_the_provider_gets_401() {
    let fixture = Fixture::new().await;
    let unknown = IntegrationId::derived(&["unknown"]).to_string();
    for suffix in [&unknown, "..", "", "guess"] {
        let request = WebhookRequest { path_suffix: Some(suffix.to_owned()), ..one_text() };
        let status = fixture.send(Provider::WhatsappCloud, &request).await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{suffix}");
    }
    let mut request = telegram::example::request(&telegram::example::text(1, 1, "hello"));
    request.path_suffix = Some(fixture.own.to_string());
    let status = fixture.send(Provider::Telegram, &request).await.status;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // The operator has no bot.
    request.path_suffix = None;
    let status = fixture.send(Provider::Telegram, &request).await.status;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(fixture.published(), [0, 0, 0]);
}

#[tokio::test]
async fn an_integration_without_secrets_rejects_every_request() {
    let fixture = Fixture::new().await;
    fixture.credential_store.rotate(fixture.own, Credentials::default());
    assert_eq!(fixture.at_own(one_text()).await, StatusCode::UNAUTHORIZED);
    let name = whatsapp_cloud::APP_SECRET.to_owned();
    fixture.credential_store.rotate(fixture.own, Credentials::new([(name, vec!["".into()])]));
    fixture.clock.advance(Duration::from_mins(10));
    let mut request = one_text();
    let signature = whatsapp_cloud::example::signature("", &request.body);
    request.headers.insert("x-hub-signature-256", signature.parse().unwrap());
    assert_eq!(fixture.at_own(request).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_bot_is_found_by_its_id_or_path_secret_and_verified_by_its_header() {
    let fixture = Fixture::new().await;
    let bot = sample::telegram(&fixture.acme, Some(telegram::example::BOT_ID)).id.to_string();
    for (n, suffix) in [bot.as_str(), telegram::example::WEBHOOK_SECRET].into_iter().enumerate() {
        let update = telegram::example::text(i64::try_from(n).unwrap(), 1, "hello");
        let mut request = telegram::example::request(&update);
        request.path_suffix = Some(suffix.to_owned());
        assert_eq!(fixture.send(Provider::Telegram, &request).await.status, StatusCode::OK);
        request.headers.clear();
        let status = fixture.send(Provider::Telegram, &request).await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "the path alone does not authenticate");
    }
    assert_eq!(fixture.published(), [2, 0, 0]);
    let events = fixture.inbound().bodies::<InboundEvent>();
    assert!(events.iter().all(|event| event.account == telegram::example::BOT_ID));
}

#[tokio::test]
async fn a_handshake_returns_its_challenge_and_a_wrong_token_gets_403() {
    let fixture = Fixture::new().await;
    let good = whatsapp_cloud::example::handshake(whatsapp_cloud::example::VERIFY_TOKEN, "12345");
    let reply = fixture.send(Provider::WhatsappCloud, &good).await;
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, "12345"));
    let bad = whatsapp_cloud::example::handshake("guess", "12345");
    let reply = fixture.send(Provider::WhatsappCloud, &bad).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert!(reply.body.contains("wrong_verify_token"), "{}", reply.body);
}

#[tokio::test]
async fn while_a_queue_the_table_or_the_credential_store_is_down_the_provider_gets_503() {
    let broken: [fn(&Fixture) -> Faults; 3] = [
        |fixture| fixture.inbound().faults().clone(),
        |fixture| fixture.table_faults.clone(),
        |fixture| fixture.credential_store.faults().clone(),
    ];
    for faults in broken {
        let fixture = Fixture::new().await;
        let faults = faults(&fixture);
        faults.fail_all();
        assert_eq!(fixture.at_own(one_text()).await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(fixture.published(), [0, 0, 0]);
        faults.clear();
        assert_eq!(fixture.at_own(one_text()).await, StatusCode::OK);
        assert_eq!(fixture.published(), [1, 0, 0]);
    }
}

#[tokio::test]
async fn if_one_of_several_queues_is_down_the_request_is_retried_without_duplicates() {
    let fixture = Fixture::new().await;
    let text = whatsapp_cloud::example::text("wamid.1", "hello");
    let sent = whatsapp_cloud::example::status("wamid.2", "sent", None);
    let request = signed(&[
        whatsapp_cloud::example::messages(PHONE_NUMBER_ID, &[text]),
        whatsapp_cloud::example::statuses(PHONE_NUMBER_ID, &[sent]),
    ]);
    fixture.receipts().faults().fail_all();
    assert_eq!(fixture.at_own(request.clone()).await, StatusCode::SERVICE_UNAVAILABLE);
    fixture.receipts().faults().clear();
    assert_eq!(fixture.at_own(request).await, StatusCode::OK);
    assert_eq!(fixture.published(), [1, 1, 0]);
}

#[tokio::test]
async fn a_verified_body_that_cannot_be_parsed_is_parked_unchanged_and_gets_200() {
    use base64::Engine as _;
    let fixture = Fixture::new().await;
    let body = bytes::Bytes::from_static(b"{\"object\": \xff nonsense");
    assert_eq!(
        fixture.at_own(whatsapp_cloud::example::request(body.clone())).await,
        StatusCode::OK
    );
    assert_eq!(fixture.published(), [0, 0, 1]);
    let parked = &fixture.handler.parked.bodies::<Parked>()[0];
    let bytes = base64::engine::general_purpose::STANDARD.decode(&parked.body).unwrap();
    assert_eq!(bytes, body);
    assert_eq!(parked.integration, Some(fixture.own));
    fixture.handler.parked.faults().fail_all();
    let status = fixture.at_own(whatsapp_cloud::example::request(body)).await;
    assert_eq!(
        status,
        StatusCode::SERVICE_UNAVAILABLE,
        "a request that cannot be parked is not accepted"
    );
}

#[tokio::test]
async fn a_secret_in_an_unparseable_body_is_not_parked() {
    use base64::Engine as _;
    use providers::evolution::example;
    let mut fixture = Fixture::new().await;
    let acme = sample::tenant("acme");
    let instance = sample::receive_only(&acme, Provider::Evolution, Some(example::INSTANCE));
    fixture.table.insert_integration(&instance, &[]).await;
    fixture.handler.credential_store =
        fixture.credential_store.clone().with(&instance, example::credentials());
    let first = &example::EXAMPLES.events[0];
    let draft = providers::example::Draft::json(Value::Null);
    let now = fixture.clock.now();
    let mut request =
        (example::EXAMPLES.sign)(first, &draft, &example::credentials(), "https://hub", now);
    request.body = r#"{"event":"call","apikey":"the-key","data":"#.into();
    request.path_suffix = Some(instance.id.to_string());
    assert_eq!(fixture.send(Provider::Evolution, &request).await.status, StatusCode::OK);
    let parked = &fixture.handler.parked.bodies::<Parked>()[0];
    let bytes = base64::engine::general_purpose::STANDARD.decode(&parked.body).unwrap();
    assert_eq!(bytes, br#"{"event":"call","apikey":null,"data":"#);
}

#[tokio::test]
async fn an_event_of_another_tenants_account_gets_403() {
    let fixture = Fixture::new().await;
    let globex = sample::whatsapp(&sample::tenant("globex"), Some("999"));
    fixture.table.insert_integration(&globex, &[]).await;
    assert_eq!(fixture.at_own(text_to("999")).await, StatusCode::FORBIDDEN);
    // Events of its own account in the same request are rejected too.
    let texts = ["999", PHONE_NUMBER_ID].map(|number| {
        whatsapp_cloud::example::messages(number, &[whatsapp_cloud::example::text(number, "hello")])
    });
    assert_eq!(fixture.at_own(signed(&texts)).await, StatusCode::FORBIDDEN);
    assert_eq!(fixture.published(), [0, 0, 0]);
}

#[tokio::test]
async fn events_of_an_unknown_account_are_parked_and_the_others_are_queued() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.at_own(text_to("555")).await, StatusCode::OK);
    assert_eq!(fixture.published(), [0, 0, 1]);
    let texts = ["555", PHONE_NUMBER_ID].map(|number| {
        whatsapp_cloud::example::messages(number, &[whatsapp_cloud::example::text(number, "hello")])
    });
    assert_eq!(fixture.at_app(signed(&texts)).await, StatusCode::OK);
    assert_eq!(fixture.published(), [1, 0, 2]);
}

#[tokio::test]
async fn events_of_the_operators_app_go_to_the_tenant_of_their_account() {
    let fixture = Fixture::new().await;
    let globex = sample::whatsapp(&sample::tenant("globex"), Some("999"));
    fixture.table.insert_integration(&globex, &[]).await;
    let texts = [PHONE_NUMBER_ID, "999"].map(|number| {
        whatsapp_cloud::example::messages(
            number,
            &[whatsapp_cloud::example::text("wamid.1", "hello")],
        )
    });
    assert_eq!(fixture.at_app(signed(&texts)).await, StatusCode::OK);
    let events = fixture.inbound().bodies::<InboundEvent>();
    let tenants: Vec<_> = events.iter().map(|event| event.tenant.as_str()).collect();
    assert_eq!(tenants, ["acme", "globex"]);
    assert_eq!(events[0].integration, fixture.own);
    assert_eq!(events[1].integration, globex.id);
    assert_ne!(events[0].deduplication_id(), events[1].deduplication_id());
}

#[tokio::test]
async fn a_rotated_secret_works_at_once_and_forgeries_cause_one_read_a_minute() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.at_own(one_text()).await, StatusCode::OK);
    assert_eq!(fixture.credential_store.reads(), 1);
    // Rotated a minute after it was read.
    fixture.clock.advance(Duration::from_secs(61));
    let name = whatsapp_cloud::APP_SECRET.to_owned();
    fixture.credential_store.rotate(fixture.own, Credentials::new([(name, vec!["newer".into()])]));
    let mut newer = text_to(PHONE_NUMBER_ID);
    let signature = whatsapp_cloud::example::signature("newer", &newer.body);
    newer.headers.insert("x-hub-signature-256", signature.parse().unwrap());
    assert_eq!(fixture.at_own(newer.clone()).await, StatusCode::OK);
    assert_eq!(fixture.credential_store.reads(), 2);
    let began = fixture.credential_store.reads();
    for _forgery in 0..1000 {
        let status = fixture.at_own(one_text()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "it is signed with the old secret");
        fixture.clock.advance(Duration::from_millis(120));
    }
    // Two minutes.
    assert!(
        fixture.credential_store.reads() - began <= 2,
        "{}",
        fixture.credential_store.reads() - began
    );
    assert_eq!(fixture.at_own(newer).await, StatusCode::OK);
}

#[tokio::test]
async fn a_request_with_many_events_is_split_in_order() {
    let fixture = Fixture::new().await;
    let texts: Vec<Value> = (0..25)
        .map(|n| whatsapp_cloud::example::text(&format!("wamid.{n}"), &n.to_string()))
        .collect();
    let statuses: Vec<Value> = ["sent", "delivered", "read"]
        .map(|status| whatsapp_cloud::example::status("wamid.out", status, None))
        .to_vec();
    let request = signed(&[
        whatsapp_cloud::example::messages(PHONE_NUMBER_ID, &texts[..10]),
        whatsapp_cloud::example::statuses(PHONE_NUMBER_ID, &statuses),
        whatsapp_cloud::example::messages(PHONE_NUMBER_ID, &texts[10..]),
    ]);
    assert_eq!(fixture.at_own(request.clone()).await, StatusCode::OK);
    assert_eq!(fixture.published(), [25, 3, 0]);
    let events = fixture.inbound().bodies::<InboundEvent>();
    for (n, event) in events.iter().enumerate() {
        let EventKind::Message(message) = &event.kind else { panic!("not a message") };
        assert_eq!(message.provider_message_id, format!("wamid.{n}"));
    }
    assert!(events.windows(2).all(|pair| pair[0].received_at < pair[1].received_at));
    let groups = fixture.inbound().records();
    assert!(groups.iter().all(|record| record.group == groups[0].group));
    // Meta redelivers the request; the queue deduplicates it.
    assert_eq!(fixture.at_own(request).await, StatusCode::OK);
    assert_eq!(fixture.inbound().len(), 25);
}

/// A webhook of a provider without a channel, which parses the events that the body names.
struct FakeWebhook;

/// The source of a [`FakeWebhook`].
struct FakeSource(bool);

impl WebhookProvider for FakeWebhook {
    fn provider(&self) -> Provider {
        Provider::Ghl
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(FakeSource(credentials.first("SECRET").is_some()))
    }
}

impl WebhookSource for FakeSource {
    fn signing_certificate_url(
        &self,
        request: &WebhookRequest,
    ) -> Result<Option<String>, Rejection> {
        Ok(request.query("certificate").map(ToOwned::to_owned))
    }

    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        let wanted = request.query("certificate").is_some();
        if !self.0 || wanted != (request.signing_certificate.as_deref() == Some(b"certificate")) {
            return Err(Rejection::Unauthenticated("no signature"));
        }
        Ok(())
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let raw = serde_json::value::to_raw_value("raw")?;
        let event = |account: &str, id: &str, kind| {
            let event = ParsedEvent::other(account, id.to_owned(), "x", None, &raw);
            ParsedEvent { kind, ..event.ordered_by("+1") }
        };
        let message = EventKind::Message(InboundMessage {
            channel: None,
            provider_message_id: "1".to_owned(),
            from: "+1".to_owned(),
            name: None,
            content: Content::Text { text: "hi".to_owned() },
            reply_to: None,
        });
        let receipt = EventKind::Receipt(sample::receipt(Status::Sent, "2"));
        let other = EventKind::Other { name: "call.ended".to_owned() };
        match &request.body[..] {
            b"all" => Ok(ParsedWebhook::Events(vec![
                event("AC1", "1", message),
                event("AC1", "2", receipt),
                event("AC1", "3", other),
            ])),
            b"another account" => Ok(ParsedWebhook::Events(vec![event("AC2", "4", other)])),
            b"no account" => Ok(ParsedWebhook::Events(vec![event("", "5", other)])),
            b"confirm" => Ok(ParsedWebhook::Confirm("https://sns.test/confirm".to_owned())),
            b"invalid" => Err(Rejection::Invalid("event: is missing".to_owned())),
            _ => Err(Rejection::Unreadable("line 1, column 1".to_owned())),
        }
    }
}

/// A fixture with an integration of `tenant` for `account` at the provider of [`FakeWebhook`].
async fn fixture_with_fake_webhook(
    tenant: &TenantId,
    account: Option<&str>,
) -> (Fixture, Integration) {
    let mut fixture = Fixture::new().await;
    let integration = sample::receive_only(tenant, Provider::Ghl, account);
    fixture.table.insert_integration(&integration, &[]).await;
    let secret = ("SECRET".to_owned(), vec!["secret".into()]);
    let credential_store =
        fixture.credential_store.clone().with(&integration, Credentials::new([secret]));
    fixture.handler.credential_store = credential_store.clone();
    fixture.credential_store = credential_store;
    (fixture, integration)
}

async fn post(fixture: &Fixture, integration: &Integration, body: &'static str) -> WebhookReply {
    let path_suffix = Some(integration.id.to_string());
    let request = WebhookRequest { body: body.into(), path_suffix, ..WebhookRequest::default() };
    fixture.send_to(&FakeWebhook, &request).await
}

#[tokio::test]
async fn events_of_a_provider_without_a_channel_go_to_the_event_queue_in_order() {
    let acme = sample::tenant("acme");
    let (mut fixture, twilio) = fixture_with_fake_webhook(&acme, Some("AC1")).await;
    // Such a handler has no other queue.
    (fixture.handler.inbound, fixture.handler.receipts) = (None, None);
    assert_eq!(post(&fixture, &twilio, "all").await.status, StatusCode::OK);
    let events = fixture.handler.events.bodies::<InboundEvent>();
    let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    assert!(events.iter().all(|event| event.tenant == acme && event.integration == twilio.id));
    let records = fixture.handler.events.records();
    assert!(records.iter().all(|record| record.group == events[0].ordering_group()));
    assert_eq!(records[0].deduplication_id, events[0].deduplication_id());
    assert_eq!(post(&fixture, &twilio, "all").await.status, StatusCode::OK);
    assert_eq!(fixture.handler.events.len(), 3, "the queue deduplicates them");
    fixture.handler.events.faults().fail_all();
    assert_eq!(post(&fixture, &twilio, "no account").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn other_events_of_a_channel_provider_go_to_the_event_queue() {
    let fixture = Fixture::new().await;
    let update = whatsapp_cloud::example::envelope(&[serde_json::json!({
        "field": "account_update",
        "value": { "event": "VERIFIED_ACCOUNT" },
    })]);
    let request = whatsapp_cloud::example::request(whatsapp_cloud::example::escaped(&update));
    assert_eq!(fixture.at_own(request).await, StatusCode::OK);
    assert_eq!(fixture.published(), [0, 0, 0]);
    assert_eq!(fixture.handler.events.len(), 1);
}

#[tokio::test]
async fn an_invalid_request_of_a_tenants_program_gets_400_with_a_detail() {
    let (fixture, twilio) = fixture_with_fake_webhook(&sample::tenant("acme"), Some("AC1")).await;
    let reply = post(&fixture, &twilio, "invalid").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(body["detail"], "event: is missing");
    assert!(fixture.handler.events.is_empty() && fixture.handler.parked.is_empty());
}

#[tokio::test]
async fn a_subscription_is_confirmed_by_calling_its_url() {
    let (fixture, twilio) = fixture_with_fake_webhook(&sample::tenant("acme"), Some("AC1")).await;
    assert_eq!(post(&fixture, &twilio, "confirm").await.status, StatusCode::OK);
    assert_eq!(fixture.addresses.called(), ["https://sns.test/confirm"]);
    fixture.addresses.answer(Some(StatusCode::FORBIDDEN));
    let status = post(&fixture, &twilio, "confirm").await.status;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "so that the provider retries");
    assert!(fixture.handler.events.is_empty() && fixture.handler.parked.is_empty());
}

#[tokio::test]
async fn a_signing_certificate_is_fetched_once_a_day() {
    let (fixture, twilio) = fixture_with_fake_webhook(&sample::tenant("acme"), Some("AC1")).await;
    let request_with = async |address: &str| {
        let path_suffix = Some(twilio.id.to_string());
        let query = vec![("certificate".to_owned(), address.to_owned())];
        let body = Bytes::from_static(b"all");
        let request = WebhookRequest { body, query, path_suffix, ..WebhookRequest::default() };
        fixture.send_to(&FakeWebhook, &request).await.status
    };
    let address = "https://sns.test/certificate.pem";
    for _time in 0..3 {
        assert_eq!(request_with(address).await, StatusCode::OK);
    }
    assert_eq!(fixture.addresses.called(), [address]);
    fixture.clock.advance(Duration::from_hours(25));
    assert_eq!(request_with(address).await, StatusCode::OK);
    assert_eq!(fixture.addresses.called().len(), 2);
    fixture.addresses.answer(Some(StatusCode::NOT_FOUND));
    assert_eq!(request_with("https://sns.test/other.pem").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(request_with(address).await, StatusCode::OK, "the cached certificate is used");
    fixture.addresses.answer(None);
    assert_eq!(
        request_with("https://sns.test/other.pem").await,
        StatusCode::OK,
        "a failure is not cached"
    );
}

#[tokio::test]
async fn an_integration_without_an_account_accepts_every_event_signed_with_its_secret() {
    let acme = sample::tenant("acme");
    let (fixture, own) = fixture_with_fake_webhook(&acme, None).await;
    for body in ["all", "another account", "no account"] {
        assert_eq!(post(&fixture, &own, body).await.status, StatusCode::OK);
    }
    let events = fixture.handler.events.bodies::<InboundEvent>();
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|event| event.tenant == acme && event.integration == own.id));
    assert!(fixture.handler.parked.is_empty());
    // The operator's integration accepts events of no account, and finds the integration of each
    // account.
    let (fixture, app) = fixture_with_fake_webhook(&TenantId::platform(), None).await;
    let number = sample::receive_only(&acme, Provider::Ghl, Some("AC1"));
    fixture.table.insert_integration(&number, &[]).await;
    for body in ["all", "another account", "no account"] {
        assert_eq!(post(&fixture, &app, body).await.status, StatusCode::OK);
    }
    let tenants = fixture.handler.events.bodies::<InboundEvent>();
    let tenants: Vec<_> = tenants.iter().map(|event| event.tenant.as_str()).collect();
    assert_eq!(tenants, ["acme", "acme", "acme", "platform"]);
    let parked = fixture.handler.parked.bodies::<Parked>();
    assert_eq!(parked.len(), 1, "no integration has the other account");
    assert_eq!(parked[0].tenant, Some(TenantId::platform()));
}

#[tokio::test]
async fn a_source_gets_the_requested_url() {
    /// Records the URLs of requests.
    struct RecordUrls(Arc<Mutex<Vec<String>>>);

    impl WebhookProvider for RecordUrls {
        fn provider(&self) -> Provider {
            Provider::WhatsappCloud
        }

        fn source(&self, _: &Integration, _: &Credentials) -> Box<dyn WebhookSource> {
            Box::new(Self(self.0.clone()))
        }
    }

    impl WebhookSource for RecordUrls {
        fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
            self.0.lock().unwrap().push(request.url.clone());
            Ok(())
        }

        fn parse(&self, _: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
            Ok(ParsedWebhook::Events(Vec::new()))
        }
    }

    let call = async |base_url: Option<&str>, path: &str, query: &str| {
        let mut fixture = Fixture::new().await;
        fixture.handler.base_url = base_url.map(ToOwned::to_owned);
        let event = serde_json::json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
            "headers": { "host": "abc.execute-api.eu-central-1.amazonaws.com" },
            "requestContext": {
                "accountId": "1", "apiId": "abc", "stage": "$default", "timeEpoch": 0,
                "domainName": "abc.execute-api.eu-central-1.amazonaws.com",
                "domainPrefix": "abc", "requestId": "1", "routeKey": "$default",
                "time": "", "http": {
                    "method": "POST", "path": path, "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1", "userAgent": "test",
                },
            },
            "body": "{}", "isBase64Encoded": false,
        });
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let seen = RecordUrls(Arc::default());
        let answer = runtime::webhook::answer(&fixture.handler, &seen, request).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let seen = seen.0.lock().unwrap();
        seen[0].clone()
    };
    let path = "/webhooks/whatsapp";
    let api_url = "https://abc.execute-api.eu-central-1.amazonaws.com/webhooks/whatsapp";
    assert_eq!(call(None, path, "").await, api_url);
    assert_eq!(call(None, path, "a=1&b=%20").await, format!("{api_url}?a=1&b=%20"));
    let slashed = Some("https://hub.example.com/");
    assert_eq!(call(slashed, path, "").await, "https://hub.example.com/webhooks/whatsapp");
    let public = Some("https://hub.example.com");
    assert_eq!(call(public, path, "").await, "https://hub.example.com/webhooks/whatsapp");
    let with_query = call(public, path, "a=1").await;
    assert_eq!(with_query, "https://hub.example.com/webhooks/whatsapp?a=1");
}

#[tokio::test]
async fn conversations_of_an_integration_without_an_account_use_its_id() {
    let acme = sample::tenant("acme");
    let (fixture, _) = fixture_with_fake_webhook(&acme, None).await;
    let twilio = sample::receive_only(&acme, Provider::Twilio, None);
    fixture.table.insert_integration(&twilio, &[]).await;
    let (_, example) = providers::example::find("twilio-sms", "text")[0];
    let credentials = (providers::example::of(Provider::Twilio).credentials)();
    fixture.credential_store.rotate(twilio.id, credentials);
    let seed = providers::example::Seed { at: fixture.clock.now(), nonce: "x".repeat(24) };
    let url = format!("https://hub.test/webhooks/sms/{}", twilio.id);
    let draft = (example.draft)(&seed);
    let request =
        providers::example::signed(Provider::Twilio, example, &draft, &url, fixture.clock.now());
    let path_suffix = Some(twilio.id.to_string());
    let request = WebhookRequest { path_suffix, url, ..request };
    let webhook = providers::example::webhook(Provider::Twilio, example);
    assert_eq!(fixture.send_to(webhook, &request).await.status, StatusCode::OK);
    let event = &fixture.inbound().bodies::<InboundEvent>()[0];
    let EventKind::Message(message) = &event.kind else { panic!("{:?}", event.kind) };
    let parties = event.parties(message).unwrap();
    assert_eq!(parties.account, twilio.conversation_account());
    assert_eq!(parties.channel, domain::provider::Channel::Sms);
}

#[tokio::test]
async fn a_body_over_the_lambda_limit_gets_413_at_every_webhook() {
    let fixture = Fixture::new().await;
    for webhook in providers::webhooks() {
        let name = webhook.name();
        let request = |bytes| WebhookRequest {
            method: Method::POST,
            body: vec![b'a'; bytes].into(),
            path_suffix: Some(fixture.own.to_string()),
            ..WebhookRequest::default()
        };
        let reply = fixture.send_to(webhook, &request(MAX_BODY_BYTES + 1)).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{name}");
        assert!(reply.body.contains("too_large") && reply.body.contains("4.4 MB"), "{name}");
        // A body of exactly the limit is verified.
        let reply = fixture.send_to(webhook, &request(MAX_BODY_BYTES)).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    assert_eq!(fixture.published(), [0, 0, 0]);
}

#[tokio::test]
async fn the_largest_batch_that_meta_sends_is_accepted() {
    let fixture = Fixture::new().await;
    let text = whatsapp_cloud::example::text("wamid.1", &"x".repeat(3_000_000));
    let request = signed(&[whatsapp_cloud::example::messages(PHONE_NUMBER_ID, &[text])]);
    assert!(request.body.len() > 3_000_000);
    assert_eq!(fixture.at_own(request).await, StatusCode::OK);
    assert_eq!(fixture.published(), [1, 0, 0]);
}

/// Returns a request to the URL of `integration`, as API Gateway hands it over.
fn gateway_request(request: &WebhookRequest, integration: IntegrationId) -> lambda_http::Request {
    let path = format!("/webhooks/whatsapp/{integration}");
    let headers: serde_json::Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect();
    let event = serde_json::json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": headers, "pathParameters": { "integration": integration },
        "requestContext": {
            "accountId": "1", "apiId": "abc", "stage": "$default", "timeEpoch": 0,
            "domainName": "hub.test", "domainPrefix": "hub", "requestId": "1",
            "routeKey": "$default", "time": "", "http": {
                "method": "POST", "path": path, "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1", "userAgent": "test",
            },
        },
        "body": String::from_utf8(request.body.to_vec()).unwrap(), "isBase64Encoded": false,
    });
    lambda_http::request::from_str(&event.to_string()).unwrap()
}

#[tokio::test]
async fn what_a_webhook_publishes_has_the_trace_id_of_x_ray_and_not_that_of_its_sender() {
    let fixture = Fixture::new().await;
    let mut sent = one_text();
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    sent.headers.insert(TRACEPARENT, given.parse().unwrap());
    let mut context = lambda_http::Context::default();
    context.request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned();
    let x_ray = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
    context.xray_trace_id = Some(x_ray.to_owned());
    let request = gateway_request(&sent, fixture.own).with_lambda_context(context);
    let webhook = providers::webhook(Provider::WhatsappCloud).unwrap();
    let answer = runtime::webhook::answer(&fixture.handler, webhook, request).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let record = &fixture.inbound().records()[0];
    let context: TraceContext = record.attributes[TRACEPARENT].parse().unwrap();
    assert_eq!(context.trace_id.to_string(), "5759e988bd862e3fe1be46a994272793");
    assert_ne!(context.span_id.to_string(), "53995c3f42cd8ad8", "a span of its own");
}
