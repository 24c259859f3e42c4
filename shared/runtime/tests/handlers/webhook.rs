//! The edge: nothing forged gets in, nothing accepted gets lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use domain::event::{EventKind, InboundEvent, InboundMessage, ParsedEvent};
use domain::integration::{Credentials, Integration};
use domain::message::Status;
use domain::ports::Clock;
use domain::sender::SendError;
use domain::task::Parked;
use domain::webhook::{
    LARGEST_BODY, ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookReply,
    WebhookRequest, WebhookSource,
};
use domain::{Content, IntegrationId, Provider, TenantId};
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use providers::{telegram, whatsapp_cloud};
use runtime::directory::CachedDirectory;
use runtime::evidence::Evidence;
use runtime::sender::HttpClient;
use runtime::webhook::{Edge, handle};
use serde_json::Value;
use store::DynamoStore;
use testkit::{FakeClock, FakeCredentials, FakeQueue, Faults, sample};

use whatsapp_cloud::example::PHONE_NUMBER_ID;

use crate::common::Table;

/// An edge on the simulated table, and on fakes.
type OwnEdge =
    Edge<CachedDirectory<DynamoStore, FakeClock>, FakeCredentials, FakeQueue, FakeAddresses>;

/// Addresses outside: what they answer, and how often they were called. Copies are one.
#[derive(Clone, Debug, Default)]
struct FakeAddresses {
    status: Arc<Mutex<Option<StatusCode>>>,
    called: Arc<Mutex<Vec<String>>>,
}

impl FakeAddresses {
    /// What they answer from now on, in place of 200.
    fn answer(&self, status: Option<StatusCode>) {
        *self.status.lock().unwrap() = status;
    }

    /// Which were called.
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

/// An edge with what stands behind it.
struct House {
    edge: OwnEdge,
    addresses: FakeAddresses,
    table: Table,
    table_faults: Faults,
    vault: FakeCredentials,
    clock: FakeClock,
    acme: TenantId,
    own: IntegrationId,
}

impl House {
    /// Acme has a number and a bot; the operator has an app at WhatsApp that serves numbers.
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
        let vault = FakeCredentials::new(&clock)
            .with(&number, whatsapp_cloud::example::credentials())
            .with(&bot, telegram::example::credentials())
            .with(&app, whatsapp_cloud::example::credentials());
        let addresses = FakeAddresses::default();
        let edge = Edge {
            directory: CachedDirectory::new(store, clock.clone()),
            vault: vault.clone(),
            inbound: Some(FakeQueue::fifo(&clock)),
            receipts: Some(FakeQueue::standard(&clock)),
            events: FakeQueue::fifo(&clock),
            parked: FakeQueue::standard(&clock),
            evidence: Evidence::new(addresses.clone()),
            base_url: None,
        };
        Self { edge, addresses, table, table_faults, vault, clock, acme, own: number.id }
    }

    async fn ask(&self, provider: Provider, request: &WebhookRequest) -> WebhookReply {
        self.ask_with(providers::webhook(provider), request).await
    }

    async fn ask_with(
        &self,
        webhook: &dyn WebhookProvider,
        request: &WebhookRequest,
    ) -> WebhookReply {
        handle(&self.edge, webhook, &self.clock, request.clone()).await
    }

    fn inbound(&self) -> &FakeQueue {
        self.edge.inbound.as_ref().unwrap()
    }

    fn receipts(&self) -> &FakeQueue {
        self.edge.receipts.as_ref().unwrap()
    }

    /// Asks at the URL of acme's own number.
    async fn at_own(&self, mut request: WebhookRequest) -> StatusCode {
        request.path_suffix = Some(self.own.to_string());
        self.ask(Provider::WhatsappCloud, &request).await.status
    }

    /// Asks at the URL of the operator's app.
    async fn at_app(&self, request: WebhookRequest) -> StatusCode {
        self.ask(Provider::WhatsappCloud, &request).await.status
    }

    fn published(&self) -> [usize; 3] {
        [self.inbound().len(), self.receipts().len(), self.edge.parked.len()]
    }
}

/// SHA-256 of a path's secret, in hex.
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
async fn an_authentic_message_is_queued_for_its_tenant_and_conversation() {
    let house = House::new().await;
    assert_eq!(house.at_own(one_text()).await, StatusCode::OK);
    assert_eq!(house.published(), [1, 0, 0]);
    let event = &house.inbound().bodies::<InboundEvent>()[0];
    assert_eq!((&event.tenant, event.integration), (&house.acme, house.own));
    assert_eq!(event.received_at, house.clock.now());
    let record = &house.inbound().records()[0];
    let EventKind::Message(message) = &event.kind else { panic!() };
    assert_eq!(message.from, whatsapp_cloud::example::WA_ID);
    let talk = event.parties(message).unwrap().conversation();
    assert_eq!(record.group, talk.to_string());
    assert_eq!(record.deduplication_id, event.deduplication_id());
}

#[tokio::test]
async fn a_forged_unsigned_or_empty_request_gets_401_and_nothing_is_published() {
    let house = House::new().await;
    let mut reworded = one_text();
    reworded.body = [&reworded.body[..], b" "].concat().into();
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
    for request in [reworded, unsigned, empty, empty_signature, twice, foreign] {
        assert_eq!(house.at_own(request.clone()).await, StatusCode::UNAUTHORIZED);
        assert_eq!(house.at_app(request).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(house.published(), [0, 0, 0]);
}

#[tokio::test]
async fn a_url_that_names_no_integration_or_another_providers_gets_401() {
    let house = House::new().await;
    let nobody = IntegrationId::derived(&["nobody"]).to_string();
    for suffix in [&nobody, "..", "", "guess"] {
        let request = WebhookRequest { path_suffix: Some(suffix.to_owned()), ..one_text() };
        let status = house.ask(Provider::WhatsappCloud, &request).await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{suffix}");
    }
    let mut request = telegram::example::request(&telegram::example::text(1, 1, "hello"));
    request.path_suffix = Some(house.own.to_string());
    let status = house.ask(Provider::Telegram, &request).await.status;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // The operator has no bot.
    request.path_suffix = None;
    let status = house.ask(Provider::Telegram, &request).await.status;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(house.published(), [0, 0, 0]);
}

#[tokio::test]
async fn an_integration_without_secrets_lets_nobody_in() {
    let house = House::new().await;
    house.vault.rotate(house.own, Credentials::default());
    assert_eq!(house.at_own(one_text()).await, StatusCode::UNAUTHORIZED);
    let name = whatsapp_cloud::APP_SECRET.to_owned();
    house.vault.rotate(house.own, Credentials::new([(name, vec!["".into()])]));
    house.clock.advance(Duration::from_mins(10));
    let mut request = one_text();
    let signature = whatsapp_cloud::example::signature("", &request.body);
    request.headers.insert("x-hub-signature-256", signature.parse().unwrap());
    assert_eq!(house.at_own(request).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_bot_is_found_by_its_id_and_by_its_secret_and_the_header_proves_it() {
    let house = House::new().await;
    let bot = sample::telegram(&house.acme, Some(telegram::example::BOT_ID)).id.to_string();
    for (n, suffix) in [bot.as_str(), telegram::example::WEBHOOK_SECRET].into_iter().enumerate() {
        let update = telegram::example::text(i64::try_from(n).unwrap(), 1, "hello");
        let mut request = telegram::example::request(&update);
        request.path_suffix = Some(suffix.to_owned());
        assert_eq!(house.ask(Provider::Telegram, &request).await.status, StatusCode::OK);
        request.headers.clear();
        let status = house.ask(Provider::Telegram, &request).await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "the path alone proves nothing");
    }
    assert_eq!(house.published(), [2, 0, 0]);
    let events = house.inbound().bodies::<InboundEvent>();
    assert!(events.iter().all(|event| event.account == telegram::example::BOT_ID));
}

#[tokio::test]
async fn a_handshake_is_answered_and_one_with_a_wrong_token_gets_403() {
    let house = House::new().await;
    let good = whatsapp_cloud::example::handshake(whatsapp_cloud::example::VERIFY_TOKEN, "12345");
    let reply = house.ask(Provider::WhatsappCloud, &good).await;
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, "12345"));
    let bad = whatsapp_cloud::example::handshake("guess", "12345");
    let reply = house.ask(Provider::WhatsappCloud, &bad).await;
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::FORBIDDEN, ""));
}

#[tokio::test]
async fn while_a_queue_the_table_or_the_vault_is_away_the_provider_is_asked_to_come_back() {
    let broken: [fn(&House) -> Faults; 3] = [
        |house| house.inbound().faults().clone(),
        |house| house.table_faults.clone(),
        |house| house.vault.faults().clone(),
    ];
    for faults in broken {
        let house = House::new().await;
        let faults = faults(&house);
        faults.go_down();
        assert_eq!(house.at_own(one_text()).await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(house.published(), [0, 0, 0]);
        faults.mend();
        assert_eq!(house.at_own(one_text()).await, StatusCode::OK);
        assert_eq!(house.published(), [1, 0, 0]);
    }
}

#[tokio::test]
async fn if_one_of_several_queues_is_away_the_whole_request_comes_back_and_nothing_is_twice() {
    let house = House::new().await;
    let text = whatsapp_cloud::example::text("wamid.1", "hello");
    let sent = whatsapp_cloud::example::status("wamid.2", "sent", None);
    let request = signed(&[
        whatsapp_cloud::example::messages(PHONE_NUMBER_ID, &[text]),
        whatsapp_cloud::example::statuses(PHONE_NUMBER_ID, &[sent]),
    ]);
    house.receipts().faults().go_down();
    assert_eq!(house.at_own(request.clone()).await, StatusCode::SERVICE_UNAVAILABLE);
    house.receipts().faults().mend();
    assert_eq!(house.at_own(request).await, StatusCode::OK);
    assert_eq!(house.published(), [1, 1, 0]);
}

#[tokio::test]
async fn what_is_authentic_and_unreadable_is_parked_byte_for_byte_and_answered_200() {
    use base64::Engine as _;
    let house = House::new().await;
    let body = bytes::Bytes::from_static(b"{\"object\": \xff nonsense");
    assert_eq!(house.at_own(whatsapp_cloud::example::request(body.clone())).await, StatusCode::OK);
    assert_eq!(house.published(), [0, 0, 1]);
    let parked = &house.edge.parked.bodies::<Parked>()[0];
    let bytes = base64::engine::general_purpose::STANDARD.decode(&parked.body).unwrap();
    assert_eq!(bytes, body);
    assert_eq!(parked.integration, Some(house.own));
    house.edge.parked.faults().go_down();
    let status = house.at_own(whatsapp_cloud::example::request(body)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "what cannot be parked is not taken");
}

#[tokio::test]
async fn a_secret_in_what_cannot_be_read_is_not_parked() {
    use base64::Engine as _;
    use providers::evolution::example;
    let mut house = House::new().await;
    let acme = sample::tenant("acme");
    let instance = sample::taking(&acme, Provider::Evolution, Some(example::INSTANCE));
    house.table.insert_integration(&instance, &[]).await;
    house.edge.vault = house.vault.clone().with(&instance, example::credentials());
    let first = &example::EXAMPLES.events[0];
    let draft = providers::example::Draft::json(Value::Null);
    let now = house.clock.now();
    let mut request =
        (example::EXAMPLES.sign)(first, &draft, &example::credentials(), "https://hub", now);
    request.body = r#"{"event":"call","apikey":"the-key","data":"#.into();
    request.path_suffix = Some(instance.id.to_string());
    assert_eq!(house.ask(Provider::Evolution, &request).await.status, StatusCode::OK);
    let parked = &house.edge.parked.bodies::<Parked>()[0];
    let bytes = base64::engine::general_purpose::STANDARD.decode(&parked.body).unwrap();
    assert_eq!(bytes, br#"{"event":"call","apikey":null,"data":"#);
}

#[tokio::test]
async fn a_tenants_app_that_speaks_of_another_tenants_account_gets_403() {
    let house = House::new().await;
    let globex = sample::whatsapp(&sample::tenant("globex"), Some("999"));
    house.table.insert_integration(&globex, &[]).await;
    assert_eq!(house.at_own(text_to("999")).await, StatusCode::FORBIDDEN);
    // Not even what is its own goes through beside it.
    let texts = ["999", PHONE_NUMBER_ID].map(|number| {
        whatsapp_cloud::example::messages(number, &[whatsapp_cloud::example::text(number, "hello")])
    });
    assert_eq!(house.at_own(signed(&texts)).await, StatusCode::FORBIDDEN);
    assert_eq!(house.published(), [0, 0, 0]);
}

#[tokio::test]
async fn what_is_about_an_account_nobody_holds_is_parked_and_the_rest_goes_on() {
    let house = House::new().await;
    assert_eq!(house.at_own(text_to("555")).await, StatusCode::OK);
    assert_eq!(house.published(), [0, 0, 1]);
    let texts = ["555", PHONE_NUMBER_ID].map(|number| {
        whatsapp_cloud::example::messages(number, &[whatsapp_cloud::example::text(number, "hello")])
    });
    assert_eq!(house.at_app(signed(&texts)).await, StatusCode::OK);
    assert_eq!(house.published(), [1, 0, 2]);
}

#[tokio::test]
async fn the_operators_app_speaks_for_every_tenant_by_the_account() {
    let house = House::new().await;
    let globex = sample::whatsapp(&sample::tenant("globex"), Some("999"));
    house.table.insert_integration(&globex, &[]).await;
    let texts = [PHONE_NUMBER_ID, "999"].map(|number| {
        whatsapp_cloud::example::messages(
            number,
            &[whatsapp_cloud::example::text("wamid.1", "hello")],
        )
    });
    assert_eq!(house.at_app(signed(&texts)).await, StatusCode::OK);
    let events = house.inbound().bodies::<InboundEvent>();
    let tenants: Vec<_> = events.iter().map(|event| event.tenant.as_str()).collect();
    assert_eq!(tenants, ["acme", "globex"]);
    assert_eq!(events[0].integration, house.own);
    assert_eq!(events[1].integration, globex.id);
    assert_ne!(events[0].deduplication_id(), events[1].deduplication_id());
}

#[tokio::test]
async fn a_rotated_secret_works_at_once_and_forgeries_buy_one_read_a_minute() {
    let house = House::new().await;
    assert_eq!(house.at_own(one_text()).await, StatusCode::OK);
    assert_eq!(house.vault.reads(), 1);
    // Rotated a moment after it was read.
    house.clock.advance(Duration::from_secs(61));
    let name = whatsapp_cloud::APP_SECRET.to_owned();
    house.vault.rotate(house.own, Credentials::new([(name, vec!["newer".into()])]));
    let mut newer = text_to(PHONE_NUMBER_ID);
    let signature = whatsapp_cloud::example::signature("newer", &newer.body);
    newer.headers.insert("x-hub-signature-256", signature.parse().unwrap());
    assert_eq!(house.at_own(newer.clone()).await, StatusCode::OK);
    assert_eq!(house.vault.reads(), 2);
    let began = house.vault.reads();
    for _forgery in 0..1000 {
        let status = house.at_own(one_text()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "it is signed with the old secret");
        house.clock.advance(Duration::from_millis(120));
    }
    // Two minutes.
    assert!(house.vault.reads() - began <= 2, "{}", house.vault.reads() - began);
    assert_eq!(house.at_own(newer).await, StatusCode::OK);
}

#[tokio::test]
async fn a_request_with_many_events_is_split_in_order() {
    let house = House::new().await;
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
    assert_eq!(house.at_own(request.clone()).await, StatusCode::OK);
    assert_eq!(house.published(), [25, 3, 0]);
    let events = house.inbound().bodies::<InboundEvent>();
    for (n, event) in events.iter().enumerate() {
        let EventKind::Message(message) = &event.kind else { panic!("it is no message") };
        assert_eq!(message.provider_message_id, format!("wamid.{n}"));
    }
    assert!(events.windows(2).all(|pair| pair[0].received_at < pair[1].received_at));
    let groups = house.inbound().records();
    assert!(groups.iter().all(|record| record.group == groups[0].group));
    // Meta sends the same again; the queue knows it.
    assert_eq!(house.at_own(request).await, StatusCode::OK);
    assert_eq!(house.inbound().len(), 25);
}

/// A provider without a channel that says whatever the body asks for.
struct Talker;

/// The sources [`Talker`] makes.
struct TalkerSource(bool);

impl WebhookProvider for Talker {
    fn provider(&self) -> Provider {
        Provider::Ghl
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(TalkerSource(credentials.first("SECRET").is_some()))
    }
}

impl WebhookSource for TalkerSource {
    fn evidence(&self, request: &WebhookRequest) -> Result<Option<String>, Rejection> {
        Ok(request.query("evidence").map(ToOwned::to_owned))
    }

    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        let wanted = request.query("evidence").is_some();
        if !self.0 || wanted != (request.evidence.as_deref() == Some(b"certificate")) {
            return Err(Rejection::Unauthenticated("no proof"));
        }
        Ok(())
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let at = Timestamp::UNIX_EPOCH;
        let raw = serde_json::value::to_raw_value("raw")?;
        let event = |account: &str, id: &str, kind| {
            let event = ParsedEvent::other(account, id.to_owned(), "x", at, &raw);
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

/// A house with an integration at [`Talker`]'s provider, of `tenant` and for `account`.
async fn talking(tenant: &TenantId, account: Option<&str>) -> (House, Integration) {
    let mut house = House::new().await;
    let integration = sample::taking(tenant, Provider::Ghl, account);
    house.table.insert_integration(&integration, &[]).await;
    let secret = ("SECRET".to_owned(), vec!["secret".into()]);
    let vault = house.vault.clone().with(&integration, Credentials::new([secret]));
    house.edge.vault = vault.clone();
    house.vault = vault;
    (house, integration)
}

async fn say(house: &House, integration: &Integration, body: &'static str) -> WebhookReply {
    let path_suffix = Some(integration.id.to_string());
    let request = WebhookRequest { body: body.into(), path_suffix, ..WebhookRequest::default() };
    house.ask_with(&Talker, &request).await
}

#[tokio::test]
async fn what_comes_through_a_provider_without_a_channel_goes_to_the_events_in_its_order() {
    let acme = sample::tenant("acme");
    let (mut house, twilio) = talking(&acme, Some("AC1")).await;
    // Such an edge is given no other queue.
    (house.edge.inbound, house.edge.receipts) = (None, None);
    assert_eq!(say(&house, &twilio, "all").await.status, StatusCode::OK);
    let events = house.edge.events.bodies::<InboundEvent>();
    let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    assert!(events.iter().all(|event| event.tenant == acme && event.integration == twilio.id));
    let records = house.edge.events.records();
    assert!(records.iter().all(|record| record.group == events[0].ordering_group()));
    assert_eq!(records[0].deduplication_id, events[0].deduplication_id());
    assert_eq!(say(&house, &twilio, "all").await.status, StatusCode::OK);
    assert_eq!(house.edge.events.len(), 3, "the queue knows them");
    house.edge.events.faults().go_down();
    assert_eq!(say(&house, &twilio, "no account").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_a_channels_own_provider_says_besides_goes_to_the_events_too() {
    let house = House::new().await;
    let update = whatsapp_cloud::example::envelope(&[serde_json::json!({
        "field": "account_update",
        "value": { "event": "VERIFIED_ACCOUNT" },
    })]);
    let request = whatsapp_cloud::example::request(whatsapp_cloud::example::escaped(&update));
    assert_eq!(house.at_own(request).await, StatusCode::OK);
    assert_eq!(house.published(), [0, 0, 0]);
    assert_eq!(house.edge.events.len(), 1);
}

#[tokio::test]
async fn a_program_of_the_tenants_is_told_what_is_wrong_with_its_request() {
    let (house, twilio) = talking(&sample::tenant("acme"), Some("AC1")).await;
    let reply = say(&house, &twilio, "invalid").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(body["detail"], "event: is missing");
    assert!(house.edge.events.is_empty() && house.edge.parked.is_empty());
}

#[tokio::test]
async fn a_subscription_is_confirmed_by_calling_its_address() {
    let (house, twilio) = talking(&sample::tenant("acme"), Some("AC1")).await;
    assert_eq!(say(&house, &twilio, "confirm").await.status, StatusCode::OK);
    assert_eq!(house.addresses.called(), ["https://sns.test/confirm"]);
    house.addresses.answer(Some(StatusCode::FORBIDDEN));
    let status = say(&house, &twilio, "confirm").await.status;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "so that the provider asks again");
    assert!(house.edge.events.is_empty() && house.edge.parked.is_empty());
}

#[tokio::test]
async fn what_proves_a_request_is_fetched_once_a_day() {
    let (house, twilio) = talking(&sample::tenant("acme"), Some("AC1")).await;
    let ask = async |address: &str| {
        let path_suffix = Some(twilio.id.to_string());
        let query = vec![("evidence".to_owned(), address.to_owned())];
        let body = Bytes::from_static(b"all");
        let request = WebhookRequest { body, query, path_suffix, ..WebhookRequest::default() };
        house.ask_with(&Talker, &request).await.status
    };
    let address = "https://sns.test/certificate.pem";
    for _time in 0..3 {
        assert_eq!(ask(address).await, StatusCode::OK);
    }
    assert_eq!(house.addresses.called(), [address]);
    house.clock.advance(Duration::from_hours(25));
    assert_eq!(ask(address).await, StatusCode::OK);
    assert_eq!(house.addresses.called().len(), 2);
    house.addresses.answer(Some(StatusCode::NOT_FOUND));
    assert_eq!(ask("https://sns.test/other.pem").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(address).await, StatusCode::OK, "what is remembered is used");
    house.addresses.answer(None);
    assert_eq!(ask("https://sns.test/other.pem").await, StatusCode::OK, "a failure is not");
}

#[tokio::test]
async fn an_integration_without_an_account_takes_what_its_own_secret_signs() {
    let acme = sample::tenant("acme");
    let (house, own) = talking(&acme, None).await;
    for body in ["all", "another account", "no account"] {
        assert_eq!(say(&house, &own, body).await.status, StatusCode::OK);
    }
    let events = house.edge.events.bodies::<InboundEvent>();
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|event| event.tenant == acme && event.integration == own.id));
    assert!(house.edge.parked.is_empty());
    // The operator's takes what is about itself, and finds the holders of the rest.
    let (house, app) = talking(&TenantId::platform(), None).await;
    let number = sample::taking(&acme, Provider::Ghl, Some("AC1"));
    house.table.insert_integration(&number, &[]).await;
    for body in ["all", "another account", "no account"] {
        assert_eq!(say(&house, &app, body).await.status, StatusCode::OK);
    }
    let tenants = house.edge.events.bodies::<InboundEvent>();
    let tenants: Vec<_> = tenants.iter().map(|event| event.tenant.as_str()).collect();
    assert_eq!(tenants, ["acme", "acme", "acme", "platform"]);
    let parked = house.edge.parked.bodies::<Parked>();
    assert_eq!(parked.len(), 1, "nobody holds the other account");
    assert_eq!(parked[0].tenant, Some(TenantId::platform()));
}

#[tokio::test]
async fn a_source_sees_the_address_that_was_called() {
    /// Keeps the address it sees.
    struct Mirror(Arc<Mutex<Vec<String>>>);

    impl WebhookProvider for Mirror {
        fn provider(&self) -> Provider {
            Provider::WhatsappCloud
        }

        fn source(&self, _: &Integration, _: &Credentials) -> Box<dyn WebhookSource> {
            Box::new(Self(self.0.clone()))
        }
    }

    impl WebhookSource for Mirror {
        fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
            self.0.lock().unwrap().push(request.url.clone());
            Ok(())
        }

        fn parse(&self, _: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
            Ok(ParsedWebhook::Events(Vec::new()))
        }
    }

    let call = async |base_url: Option<&str>, path: &str, query: &str| {
        let mut house = House::new().await;
        house.edge.base_url = base_url.map(ToOwned::to_owned);
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
        let seen = Mirror(Arc::default());
        let answer = runtime::webhook::answer(&house.edge, &seen, &house.clock, request).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let seen = seen.0.lock().unwrap();
        seen[0].clone()
    };
    let path = "/webhooks/whatsapp";
    let own = "https://abc.execute-api.eu-central-1.amazonaws.com/webhooks/whatsapp";
    assert_eq!(call(None, path, "").await, own);
    assert_eq!(call(None, path, "a=1&b=%20").await, format!("{own}?a=1&b=%20"));
    let slashed = Some("https://hub.example.com/");
    assert_eq!(call(slashed, path, "").await, "https://hub.example.com/webhooks/whatsapp");
    let public = Some("https://hub.example.com");
    assert_eq!(call(public, path, "").await, "https://hub.example.com/webhooks/whatsapp");
    let with_query = call(public, path, "a=1").await;
    assert_eq!(with_query, "https://hub.example.com/webhooks/whatsapp?a=1");
}

#[tokio::test]
async fn conversations_of_an_integration_without_an_account_are_kept_under_its_own_id() {
    let acme = sample::tenant("acme");
    let (house, _) = talking(&acme, None).await;
    let twilio = sample::taking(&acme, Provider::Twilio, None);
    house.table.insert_integration(&twilio, &[]).await;
    let (_, example) = providers::example::named("twilio-sms", "text")[0];
    let credentials = (providers::example::of(Provider::Twilio).credentials)();
    house.vault.rotate(twilio.id, credentials);
    let seed = providers::example::Seed { at: house.clock.now(), nonce: "x".repeat(24) };
    let url = format!("https://hub.test/webhooks/sms/{}", twilio.id);
    let draft = (example.draft)(&seed);
    let request =
        providers::example::signed(Provider::Twilio, example, &draft, &url, house.clock.now());
    let path_suffix = Some(twilio.id.to_string());
    let request = WebhookRequest { path_suffix, url, ..request };
    let webhook = providers::example::webhook(Provider::Twilio, example);
    assert_eq!(house.ask_with(webhook, &request).await.status, StatusCode::OK);
    let event = &house.inbound().bodies::<InboundEvent>()[0];
    let EventKind::Message(message) = &event.kind else { panic!("{:?}", event.kind) };
    let parties = event.parties(message).unwrap();
    assert_eq!(parties.account, twilio.conversation_account());
    assert_eq!(parties.channel, domain::provider::Channel::Sms);
}

#[tokio::test]
async fn a_body_larger_than_lambda_passes_on_is_refused_with_413_at_every_webhook() {
    let house = House::new().await;
    for webhook in providers::webhooks() {
        let name = webhook.name();
        let request = |bytes| WebhookRequest {
            method: Method::POST,
            body: vec![b'a'; bytes].into(),
            path_suffix: Some(house.own.to_string()),
            ..WebhookRequest::default()
        };
        let reply = house.ask_with(webhook, &request(LARGEST_BODY + 1)).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{name}");
        assert!(reply.body.contains("too_large") && reply.body.contains("4.4 MB"), "{name}");
        // One byte less, and it is read.
        let reply = house.ask_with(webhook, &request(LARGEST_BODY)).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    assert_eq!(house.published(), [0, 0, 0]);
}

#[tokio::test]
async fn the_largest_batch_that_meta_sends_is_taken_in() {
    let house = House::new().await;
    let text = whatsapp_cloud::example::text("wamid.1", &"x".repeat(3_000_000));
    let request = signed(&[whatsapp_cloud::example::messages(PHONE_NUMBER_ID, &[text])]);
    assert!(request.body.len() > 3_000_000);
    assert_eq!(house.at_own(request).await, StatusCode::OK);
    assert_eq!(house.published(), [1, 0, 0]);
}
