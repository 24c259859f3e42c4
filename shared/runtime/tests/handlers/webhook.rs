//! The edge: nothing forged gets in, nothing accepted gets lost.

use std::time::Duration;

use domain::Credentials;
use domain::event::{EventKind, InboundEvent};
use domain::job::Parked;
use domain::ports::Clock;
use domain::webhook::{WebhookReply, WebhookRequest};
use domain::{IntegrationId, Provider, TenantId};
use http::StatusCode;
use providers::{telegram, whatsapp};
use runtime::directory::CachedDirectory;
use runtime::webhook::{Edge, handle};
use serde_json::Value;
use testkit::{MemoryQueue, MemoryStore, MemoryVault, TestClock, sample};

use whatsapp::example::PHONE_NUMBER_ID;

/// An edge with what stands behind it.
struct House {
    edge: Edge<CachedDirectory<MemoryStore, TestClock>, MemoryVault, MemoryQueue>,
    store: MemoryStore,
    vault: MemoryVault,
    clock: TestClock,
    acme: TenantId,
    own: IntegrationId,
}

impl House {
    /// Acme has a number and a bot; the operator has an app at WhatsApp that serves numbers.
    fn new() -> Self {
        let clock = TestClock::default();
        let acme = sample::tenant("acme");
        let store = MemoryStore::default();
        let number = sample::whatsapp(&acme, Some(PHONE_NUMBER_ID));
        let bot = sample::telegram(&acme, Some(telegram::example::BOT_ID));
        let app = sample::whatsapp(&TenantId::platform(), None);
        store.insert_integration(&number, &[]);
        store.insert_integration(&bot, &[path_hash(telegram::example::WEBHOOK_SECRET)]);
        store.insert_integration(&app, &[]);
        let vault = MemoryVault::new(&clock)
            .with(&number, whatsapp::example::credentials())
            .with(&bot, telegram::example::credentials())
            .with(&app, whatsapp::example::credentials());
        let edge = Edge {
            directory: CachedDirectory::new(store.clone(), clock.clone()),
            vault: vault.clone(),
            inbound: MemoryQueue::fifo(&clock),
            receipts: MemoryQueue::standard(&clock),
            parked: MemoryQueue::standard(&clock),
        };
        Self { edge, store, vault, clock, acme, own: number.id }
    }

    async fn ask(&self, provider: Provider, request: &WebhookRequest) -> WebhookReply {
        handle(&self.edge, providers::webhook(provider), &self.clock, request).await
    }

    /// Asks at the URL of acme's own number.
    async fn at_own(&self, mut request: WebhookRequest) -> StatusCode {
        request.path_suffix = Some(self.own.to_string());
        self.ask(Provider::Whatsapp, &request).await.status
    }

    /// Asks at the URL of the operator's app.
    async fn at_app(&self, request: WebhookRequest) -> StatusCode {
        self.ask(Provider::Whatsapp, &request).await.status
    }

    fn published(&self) -> [usize; 3] {
        [self.edge.inbound.len(), self.edge.receipts.len(), self.edge.parked.len()]
    }
}

/// SHA-256 of a path's secret, in hex.
fn path_hash(secret: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes()))
}

fn signed(changes: &[Value]) -> WebhookRequest {
    whatsapp::example::request(whatsapp::example::escaped(&whatsapp::example::envelope(changes)))
}

fn one_text() -> WebhookRequest {
    text_to(PHONE_NUMBER_ID)
}

fn text_to(number: &str) -> WebhookRequest {
    let text = whatsapp::example::text("wamid.1", "hello");
    signed(&[whatsapp::example::messages(number, &[text])])
}

#[tokio::test]
async fn an_authentic_message_is_queued_for_its_tenant_and_conversation() {
    let house = House::new();
    assert_eq!(house.at_own(one_text()).await, StatusCode::OK);
    assert_eq!(house.published(), [1, 0, 0]);
    let event = &house.edge.inbound.bodies::<InboundEvent>()[0];
    assert_eq!((&event.tenant, event.integration), (&house.acme, house.own));
    assert_eq!(event.received_at, house.clock.now());
    let record = &house.edge.inbound.records()[0];
    let talk = event.parties(whatsapp::example::WA_ID).conversation();
    assert_eq!(record.group, talk.to_string());
    assert_eq!(record.deduplication_id, event.deduplication_id());
}

#[tokio::test]
async fn a_forged_unsigned_or_empty_request_gets_401_and_nothing_is_published() {
    let house = House::new();
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
    let signature = whatsapp::example::signature(secret, &foreign.body);
    foreign.headers.insert("x-hub-signature-256", signature.parse().unwrap());
    for request in [reworded, unsigned, empty, empty_signature, twice, foreign] {
        assert_eq!(house.at_own(request.clone()).await, StatusCode::UNAUTHORIZED);
        assert_eq!(house.at_app(request).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(house.published(), [0, 0, 0]);
}

#[tokio::test]
async fn a_url_that_names_no_integration_or_another_providers_gets_401() {
    let house = House::new();
    let nobody = IntegrationId::derived(&["nobody"]).to_string();
    for suffix in [&nobody, "..", "", "guess"] {
        let request = WebhookRequest { path_suffix: Some(suffix.to_owned()), ..one_text() };
        let status = house.ask(Provider::Whatsapp, &request).await.status;
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
    let house = House::new();
    house.vault.rotate(house.own, Credentials::default());
    assert_eq!(house.at_own(one_text()).await, StatusCode::UNAUTHORIZED);
    let name = whatsapp::APP_SECRET.to_owned();
    house.vault.rotate(house.own, Credentials::new([(name, vec!["".into()])]));
    house.clock.advance(Duration::from_mins(10));
    let mut request = one_text();
    let signature = whatsapp::example::signature("", &request.body);
    request.headers.insert("x-hub-signature-256", signature.parse().unwrap());
    assert_eq!(house.at_own(request).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_bot_is_found_by_its_id_and_by_its_secret_and_the_header_proves_it() {
    let house = House::new();
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
    let events = house.edge.inbound.bodies::<InboundEvent>();
    assert!(events.iter().all(|event| event.account == telegram::example::BOT_ID));
}

#[tokio::test]
async fn a_handshake_is_answered_and_one_with_a_wrong_token_gets_403() {
    let house = House::new();
    let good = whatsapp::example::handshake(whatsapp::example::VERIFY_TOKEN, "12345");
    let reply = house.ask(Provider::Whatsapp, &good).await;
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, "12345"));
    let bad = whatsapp::example::handshake("guess", "12345");
    let reply = house.ask(Provider::Whatsapp, &bad).await;
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::FORBIDDEN, ""));
}

#[tokio::test]
async fn while_a_queue_the_table_or_the_vault_is_away_the_provider_is_asked_to_come_back() {
    let broken: [fn(&House) -> testkit::Faults; 3] = [
        |house| house.edge.inbound.faults().clone(),
        |house| house.store.faults().clone(),
        |house| house.vault.faults().clone(),
    ];
    for faults in broken {
        let house = House::new();
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
    let house = House::new();
    let text = whatsapp::example::text("wamid.1", "hello");
    let sent = whatsapp::example::status("wamid.2", "sent", None);
    let request = signed(&[
        whatsapp::example::messages(PHONE_NUMBER_ID, &[text]),
        whatsapp::example::statuses(PHONE_NUMBER_ID, &[sent]),
    ]);
    house.edge.receipts.faults().go_down();
    assert_eq!(house.at_own(request.clone()).await, StatusCode::SERVICE_UNAVAILABLE);
    house.edge.receipts.faults().mend();
    assert_eq!(house.at_own(request).await, StatusCode::OK);
    assert_eq!(house.published(), [1, 1, 0]);
}

#[tokio::test]
async fn what_is_authentic_and_unreadable_is_parked_byte_for_byte_and_answered_200() {
    use base64::Engine as _;
    let house = House::new();
    let body = bytes::Bytes::from_static(b"{\"object\": \xff nonsense");
    assert_eq!(house.at_own(whatsapp::example::request(body.clone())).await, StatusCode::OK);
    assert_eq!(house.published(), [0, 0, 1]);
    let parked = &house.edge.parked.bodies::<Parked>()[0];
    let bytes = base64::engine::general_purpose::STANDARD.decode(&parked.body).unwrap();
    assert_eq!(bytes, body);
    assert_eq!(parked.integration, Some(house.own));
    house.edge.parked.faults().go_down();
    let status = house.at_own(whatsapp::example::request(body)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "what cannot be parked is not taken");
}

#[tokio::test]
async fn a_tenants_app_that_speaks_of_another_tenants_account_gets_403() {
    let house = House::new();
    let globex = sample::whatsapp(&sample::tenant("globex"), Some("999"));
    house.store.insert_integration(&globex, &[]);
    assert_eq!(house.at_own(text_to("999")).await, StatusCode::FORBIDDEN);
    // Not even what is its own goes through beside it.
    let texts = ["999", PHONE_NUMBER_ID].map(|number| {
        whatsapp::example::messages(number, &[whatsapp::example::text(number, "hello")])
    });
    assert_eq!(house.at_own(signed(&texts)).await, StatusCode::FORBIDDEN);
    assert_eq!(house.published(), [0, 0, 0]);
}

#[tokio::test]
async fn what_is_about_an_account_nobody_holds_is_parked_and_the_rest_goes_on() {
    let house = House::new();
    assert_eq!(house.at_own(text_to("555")).await, StatusCode::OK);
    assert_eq!(house.published(), [0, 0, 1]);
    let texts = ["555", PHONE_NUMBER_ID].map(|number| {
        whatsapp::example::messages(number, &[whatsapp::example::text(number, "hello")])
    });
    assert_eq!(house.at_app(signed(&texts)).await, StatusCode::OK);
    assert_eq!(house.published(), [1, 0, 2]);
}

#[tokio::test]
async fn the_operators_app_speaks_for_every_tenant_by_the_account() {
    let house = House::new();
    let globex = sample::whatsapp(&sample::tenant("globex"), Some("999"));
    house.store.insert_integration(&globex, &[]);
    let texts = [PHONE_NUMBER_ID, "999"].map(|number| {
        whatsapp::example::messages(number, &[whatsapp::example::text("wamid.1", "hello")])
    });
    assert_eq!(house.at_app(signed(&texts)).await, StatusCode::OK);
    let events = house.edge.inbound.bodies::<InboundEvent>();
    let tenants: Vec<_> = events.iter().map(|event| event.tenant.as_str()).collect();
    assert_eq!(tenants, ["acme", "globex"]);
    assert_eq!(events[0].integration, house.own);
    assert_eq!(events[1].integration, globex.id);
    assert_ne!(events[0].deduplication_id(), events[1].deduplication_id());
}

#[tokio::test]
async fn a_rotated_secret_works_at_once_and_forgeries_buy_one_read_a_minute() {
    let house = House::new();
    assert_eq!(house.at_own(one_text()).await, StatusCode::OK);
    assert_eq!(house.vault.reads(), 1);
    // Rotated a moment after it was read.
    house.clock.advance(Duration::from_secs(61));
    let name = whatsapp::APP_SECRET.to_owned();
    house.vault.rotate(house.own, Credentials::new([(name, vec!["newer".into()])]));
    let mut newer = text_to(PHONE_NUMBER_ID);
    let signature = whatsapp::example::signature("newer", &newer.body);
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
    let house = House::new();
    let texts: Vec<Value> =
        (0..25).map(|n| whatsapp::example::text(&format!("wamid.{n}"), &n.to_string())).collect();
    let statuses: Vec<Value> = ["sent", "delivered", "read"]
        .map(|status| whatsapp::example::status("wamid.out", status, None))
        .to_vec();
    let request = signed(&[
        whatsapp::example::messages(PHONE_NUMBER_ID, &texts[..10]),
        whatsapp::example::statuses(PHONE_NUMBER_ID, &statuses),
        whatsapp::example::messages(PHONE_NUMBER_ID, &texts[10..]),
    ]);
    assert_eq!(house.at_own(request.clone()).await, StatusCode::OK);
    assert_eq!(house.published(), [25, 3, 0]);
    let events = house.edge.inbound.bodies::<InboundEvent>();
    for (n, event) in events.iter().enumerate() {
        let EventKind::Message(message) = &event.kind else { panic!("it is no message") };
        assert_eq!(message.provider_message_id, format!("wamid.{n}"));
    }
    assert!(events.windows(2).all(|pair| pair[0].received_at < pair[1].received_at));
    let groups = house.edge.inbound.records();
    assert!(groups.iter().all(|record| record.group == groups[0].group));
    // Meta sends the same again; the queue knows it.
    assert_eq!(house.at_own(request).await, StatusCode::OK);
    assert_eq!(house.edge.inbound.len(), 25);
}
