//! Event tests: every event is recorded once, under its tenant, and can be replayed.

use bytes::Bytes;
use domain::event::{InboundEvent, Receipt};
use domain::message::Status;
use domain::ports::{Clock, Publisher};
use domain::task::{Parked, ReplayTask};
use domain::tenant::{Principal, Scope};
use domain::webhook::MAX_BODY_BYTES;
use domain::{Integration, Provider, ReplayId, TenantId};
use events::api::Events;
use events::handlers::parked::RecordParked;
use events::handlers::record::RecordEvent;
use events::handlers::replay::Replayer;
use events::model::{BodyLocation, EventBody, EventRecord, Kind, ReplayStatus, State, StoredEvent};
use events::ports::EventLog;
use http::{Method, StatusCode};
use jiff::Timestamp;
use runtime::api::{ApiReply, ApiRequest, Client, Problem, handle};
use serde_json::{Value, json};
use testkit::{FakeQueue, SeededRng, sample};

use crate::common::{World, faults_at_each_call, inject};
use crate::env::TestEnv;

fn recorder(world: &World) -> RecordEvent<TestEnv> {
    RecordEvent {
        store: world.store.events.clone(),
        bucket: world.bucket.clone(),
        clock: world.clock.clone(),
    }
}

fn parked_recorder(world: &World) -> RecordParked<TestEnv> {
    RecordParked {
        store: world.store.events.clone(),
        directory: world.store.accounts.clone(),
        bucket: world.bucket.clone(),
    }
}

/// The replay worker; `world.media` is the event queue.
fn replayer(world: &World) -> Replayer<TestEnv> {
    Replayer {
        store: world.store.events.clone(),
        bucket: world.bucket.clone(),
        events: world.media.clone(),
        queue: world.own.clone().with_faults(&world.faults),
        clock: world.clock.clone(),
    }
}

fn stripe(world: &World) -> Integration {
    sample::receive_only(&world.acme, Provider::Stripe, Some("acct_1"))
}

fn paid(world: &World, id: &str) -> InboundEvent {
    sample::other_event(&stripe(world), id, "invoice.paid", world.clock.now())
}

async fn put(world: &World, event: &InboundEvent) {
    world.put(&event.ordering_group(), &event.deduplication_id(), event).await;
}

async fn records(world: &World) -> Vec<EventRecord> {
    world.table.events().await.into_iter().map(|event| event.record).collect()
}

fn with_raw(event: InboundEvent, raw: &Value) -> InboundEvent {
    InboundEvent { raw: serde_json::value::to_raw_value(raw).unwrap(), ..event }
}

#[tokio::test]
async fn every_kind_of_event_is_recorded_under_its_tenant_and_archived() {
    let world = World::fifo().await;
    let now = world.clock.now();
    let twilio = sample::receive_only(&world.acme, Provider::Twilio, Some("AC1"));
    let receipt =
        Receipt { code: Some("30003".to_owned()), ..sample::receipt(Status::Failed, "SM2") };
    let events = [
        paid(&world, "evt_1"),
        sample::text_event(&twilio, "+1555", "SM1", now),
        sample::receipt_event(&twilio, receipt, now),
    ];
    for event in &events {
        put(&world, event).await;
    }
    world.run_until_empty(&recorder(&world), false).await;
    let mut found: Vec<_> = records(&world)
        .await
        .into_iter()
        .map(|record| {
            assert_eq!((&record.tenant, record.state), (&world.acme, State::Recorded));
            assert_eq!((record.received_at, record.replays), (now, 0));
            (record.provider, record.kind, record.name)
        })
        .collect();
    found.sort();
    let name = ToOwned::to_owned;
    let expected = [
        (Provider::Twilio, Kind::Message, name("message.text")),
        (Provider::Twilio, Kind::Receipt, name("receipt.failed")),
        (Provider::Stripe, Kind::Other, name("invoice.paid")),
    ];
    assert_eq!(found, expected);
    assert_eq!(world.bucket.archived().len(), 3);
    assert!(world.dead.is_empty());
}

#[tokio::test]
async fn an_event_received_twice_is_recorded_once_with_its_first_time() {
    let world = World::fifo().await;
    let first = paid(&world, "evt_1");
    put(&world, &first).await;
    world.run_until_empty(&recorder(&world), false).await;
    world.clock.advance(std::time::Duration::from_mins(10));
    put(&world, &paid(&world, "evt_1")).await;
    put(&world, &paid(&world, "evt_2")).await;
    world.run_until_empty(&recorder(&world), false).await;
    let records = records(&world).await;
    assert_eq!(records.len(), 2);
    let record = records.iter().find(|record| record.id == first.event_id()).unwrap();
    assert_eq!(record.received_at, first.received_at);
}

#[tokio::test]
async fn a_large_body_is_stored_in_the_bucket_and_a_small_one_inline() {
    let world = World::fifo().await;
    let small = with_raw(paid(&world, "small"), &json!({ "a": "x".repeat(3900) }));
    let large = with_raw(paid(&world, "large"), &json!({ "a": "x".repeat(5000) }));
    for event in [&small, &large] {
        put(&world, event).await;
    }
    world.run_until_empty(&recorder(&world), false).await;
    for stored in world.table.events().await {
        let is_large = stored.record.id == large.event_id();
        let body = match &stored.body {
            BodyLocation::Inline(body) => {
                assert!(!is_large);
                body.clone()
            }
            BodyLocation::Object(key) => {
                assert!(is_large);
                assert!(key.starts_with("archive/acme/stripe/events/evt_"), "{key}");
                String::from_utf8(world.bucket.object(key).unwrap().to_vec()).unwrap()
            }
        };
        let body: EventBody = serde_json::from_str(&body).unwrap();
        let original = if is_large { &large } else { &small };
        assert_eq!(body.raw.get(), original.raw.get());
    }
}

#[tokio::test]
async fn with_a_fault_at_any_call_the_event_is_recorded_once() {
    let begin = async || {
        let world = World::fifo().await;
        put(&world, &with_raw(paid(&world, "large"), &json!("x".repeat(5000)))).await;
        let replay = Some(ReplayId::derived(&["r"]));
        put(&world, &InboundEvent { replay, ..paid(&world, "replayed") }).await;
        world
    };
    let world = begin().await;
    let before = world.faults.calls();
    world.run_until_empty(&recorder(&world), false).await;
    let (calls, expected) = (world.faults.calls() - before, world.table.events().await);
    assert_eq!(expected.len(), 2);
    for fault in faults_at_each_call(calls) {
        let world = begin().await;
        inject(&world.faults, fault);
        world.batch(&recorder(&world), false).await;
        assert!(world.faults.has_triggered(), "{fault:?}");
        world.faults.clear();
        world.run_until_empty(&recorder(&world), false).await;
        let events = world.table.events().await;
        assert_eq!(events.len(), 2, "{fault:?}");
        for (event, expected) in events.iter().zip(&expected) {
            assert_eq!((event.record.id, &event.body), (expected.record.id, &expected.body));
            assert_eq!(event.record.replays, expected.record.replays, "{fault:?}");
        }
        assert!(world.dead.is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn while_the_archive_or_the_table_is_down_events_are_retried() {
    let world = World::fifo().await;
    put(&world, &paid(&world, "evt_1")).await;
    world.faults.fail_all();
    world.batch(&recorder(&world), false).await;
    assert_eq!((world.own.len(), records(&world).await.len()), (1, 0));
    world.faults.clear();
    world.run_until_empty(&recorder(&world), false).await;
    assert_eq!(records(&world).await.len(), 1);
}

#[tokio::test]
async fn an_event_with_the_single_use_token_of_another_is_not_recorded() {
    let world = World::fifo().await;
    let signed = |id: &str| {
        let mailgun = sample::receive_only(&world.acme, Provider::Mailgun, None);
        let event = sample::other_event(&mailgun, id, "delivered", world.clock.now());
        InboundEvent { single_use: Some("token".to_owned()), ..event }
    };
    let large = with_raw(signed("one"), &json!("x".repeat(5000)));
    // The same id and token with other content changes nothing either.
    let other = with_raw(signed("one"), &json!("y".repeat(5000)));
    for event in [&large, &signed("two"), &other] {
        put(&world, event).await;
        world.run_until_empty(&recorder(&world), false).await;
        world.clock.advance(std::time::Duration::from_mins(10));
    }
    let events = world.table.events().await;
    assert_eq!(events.len(), 1);
    let BodyLocation::Object(key) = &events[0].body else { panic!("not in the bucket") };
    assert!(world.bucket.object(key).unwrap().windows(3).any(|part| part == b"xxx"));
    assert!(world.own.is_empty() && world.dead.is_empty());
}

#[tokio::test]
async fn an_invalid_event_is_a_dead_letter() {
    let world = World::fifo().await;
    world.put("g", "1", &json!({ "v": 1 })).await;
    put(&world, &paid(&world, &"x".repeat(100_000))).await;
    world.run_until_empty(&recorder(&world), false).await;
    assert_eq!((world.dead.len(), records(&world).await.len()), (2, 0));
}

fn parked(tenant: Option<&TenantId>, integration: Option<&Integration>, body: &[u8]) -> Parked {
    use base64::Engine as _;
    Parked {
        v: domain::task::VERSION,
        provider: Provider::Stripe,
        integration: integration.map(|integration| integration.id),
        tenant: tenant.cloned(),
        reason: "line 1, column 1".to_owned(),
        received_at: Timestamp::from_second(1_795_176_000).unwrap(),
        body: base64::engine::general_purpose::STANDARD.encode(body),
    }
}

#[tokio::test]
async fn a_parked_body_is_an_event_of_its_integrations_tenant_with_every_byte() {
    let world = World::standard().await;
    let number = &world.whatsapp;
    let cases: [(Parked, &str, Value); 4] = [
        (parked(Some(&world.acme), None, b"{ nonsense"), "acme", json!({ "text": "{ nonsense" })),
        (parked(None, Some(number), &[0xff, 0]), "acme", json!({ "base64": "/wA=" })),
        (parked(None, None, b"1"), "platform", json!({ "text": "1" })),
        (parked(None, Some(&stripe(&world)), b""), "platform", json!({ "text": "" })),
    ];
    for (parked, tenant, raw) in cases {
        let world = World::standard().await;
        // Twice: a standard queue delivers at least once.
        for time in ["1", "2"] {
            world.put("g", time, &parked).await;
        }
        world.run_until_empty(&parked_recorder(&world), false).await;
        assert!(world.dead.is_empty());
        let events = world.table.events().await;
        assert_eq!(events.len(), 1);
        let record = &events[0].record;
        assert_eq!((record.tenant.as_str(), record.state), (tenant, State::Parked));
        assert_eq!(record.reason.as_deref(), Some("line 1, column 1"));
        assert_eq!(record.received_at, parked.received_at);
        let BodyLocation::Inline(body) = &events[0].body else { panic!("not inline") };
        assert_eq!(serde_json::from_str::<Value>(body).unwrap()["raw"], raw);
        assert_eq!(world.bucket.archived().len(), 1, "both records use the same object");
    }
}

#[tokio::test]
async fn with_a_fault_at_any_call_a_parked_body_is_recorded_once() {
    let begin = async || {
        let world = World::standard().await;
        world.put("g", "1", &parked(None, Some(&world.whatsapp), &[b'x'; 9000])).await;
        world
    };
    let world = begin().await;
    let before = world.faults.calls();
    world.run_until_empty(&parked_recorder(&world), false).await;
    let (calls, expected) = (world.faults.calls() - before, world.table.events().await);
    for fault in faults_at_each_call(calls) {
        let world = begin().await;
        inject(&world.faults, fault);
        world.batch(&parked_recorder(&world), false).await;
        world.faults.clear();
        world.run_until_empty(&parked_recorder(&world), false).await;
        assert_eq!(world.table.events().await, expected, "{fault:?}");
        assert!(world.dead.is_empty(), "{fault:?}");
    }
}

/// The events API. `world.media` is the event queue, `world.automation` the replay queue.
struct Api {
    world: World,
}

impl Api {
    async fn new() -> Self {
        Self { world: World::standard().await }
    }

    /// Records `count` events, one per second from the current time.
    async fn with_events(self, count: u64) -> Self {
        for second in 0..count {
            let at = self.world.clock.now() + std::time::Duration::from_secs(second);
            let name = if second % 2 == 0 { "invoice.paid" } else { "invoice.voided" };
            let event =
                sample::other_event(&stripe(&self.world), &format!("evt_{second:03}"), name, at);
            self.record_event(&event).await;
        }
        self.world.clock.advance(std::time::Duration::from_hours(1));
        self
    }

    async fn record_event(&self, event: &InboundEvent) {
        let body = serde_json::to_string(&EventBody::of(event)).unwrap();
        let stored =
            StoredEvent { record: EventRecord::of(event), body: BodyLocation::Inline(body) };
        self.world.store.events.record_event(&stored, None).await.unwrap();
    }

    async fn call(
        &self,
        http_client: (&str, &[Scope]),
        method: Method,
        address: &str,
        body: &Value,
    ) -> Result<ApiReply, Problem> {
        handle(&self.resource(), &request(http_client, method, address, body)).await
    }

    fn resource(&self) -> Events<TestEnv> {
        let world = &self.world;
        Events {
            store: world.store.events.clone(),
            bucket: world.bucket.clone(),
            events: world.media.clone(),
            replays: world.automation.clone(),
            clock: world.clock.clone(),
            rng: SeededRng::new(u64::try_from(world.clock.now().as_millisecond()).unwrap_or(1)),
        }
    }

    async fn get(&self, http_client: (&str, &[Scope]), address: &str) -> Result<Value, Problem> {
        let reply = self.call(http_client, Method::GET, address, &Value::Null).await?;
        assert_eq!(reply.status, StatusCode::OK);
        Ok(serde_json::from_str(&reply.body.unwrap()).unwrap())
    }

    async fn post(
        &self,
        http_client: (&str, &[Scope]),
        address: &str,
        body: Value,
    ) -> Result<Value, Problem> {
        let reply = self.call(http_client, Method::POST, address, &body).await?;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        Ok(serde_json::from_str(&reply.body.unwrap()).unwrap())
    }

    /// The provider event ids on a page.
    async fn ids(&self, address: &str) -> String {
        let page = self.get(READER, address).await.unwrap();
        let events = page["events"].as_array().unwrap();
        let id = |event: &Value| event["provider_event_id"].as_str().unwrap().to_owned();
        events.iter().map(id).collect::<Vec<_>>().join(" ")
    }
}

const READER: (&str, &[Scope]) = ("acme", &[Scope::Read]);
const ADMIN: (&str, &[Scope]) = ("acme", &[Scope::Admin]);
const SPY: (&str, &[Scope]) = ("spy", &[Scope::Admin]);
const PLATFORM: (&str, &[Scope]) = ("platform", &[Scope::Admin]);

fn request(
    (tenant, scopes): (&str, &[Scope]),
    method: Method,
    address: &str,
    body: &Value,
) -> ApiRequest {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    ApiRequest {
        method,
        path: path.to_owned(),
        query,
        idempotency_key: None,
        body: Bytes::from(body.to_string()),
        principal: Some(Principal {
            tenant: sample::tenant(tenant),
            scopes: scopes.to_vec(),
            key: None,
        }),
        base_url: "https://hub.example.com".to_owned(),
        client: Client::default(),
    }
}

#[tokio::test]
async fn a_tenant_lists_its_events_newest_first_with_filters() {
    let api = Api::new().await.with_events(5).await;
    assert_eq!(api.ids("/events").await, "evt_004 evt_003 evt_002 evt_001 evt_000");
    assert_eq!(api.ids("/events?name=invoice.voided").await, "evt_003 evt_001");
    assert_eq!(api.ids("/events?provider=stripe&kind=other&limit=2").await, "evt_004 evt_003");
    assert_eq!(api.ids("/events?provider=shopify").await, "");
    assert_eq!(api.ids("/events?kind=message").await, "");
    let page = api.get(READER, "/events?limit=2").await.unwrap();
    let next = page["next"].as_str().unwrap();
    assert_eq!(api.ids(&format!("/events?limit=2&cursor={next}")).await, "evt_002 evt_001");
    let at = api.world.table.events().await;
    let at = at.iter().find(|event| event.record.provider_event_id == "evt_002").unwrap();
    let at = at.record.received_at;
    assert_eq!(api.ids(&format!("/events?to={at}")).await, "evt_001 evt_000");
    assert_eq!(api.ids(&format!("/events?from={at}")).await, "evt_004 evt_003 evt_002");
    for (query, field) in [
        ("provider=nobody", "provider"),
        ("kind=x", "kind"),
        ("state=x", "state"),
        ("from=yesterday", "from"),
        ("to=", "to"),
        ("name=", "name"),
        ("limit=0", "limit"),
        ("cursor=zz", "cursor"),
    ] {
        let problem = api.get(READER, &format!("/events?{query}")).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (422, Some(field)));
    }
}

#[tokio::test]
async fn parked_events_are_listed_by_state_and_are_not_replayable() {
    let api = Api::new().await.with_events(2).await;
    let world = &api.world;
    world.put("g", "1", &parked(Some(&world.acme), None, b"nonsense")).await;
    world.run_until_empty(&parked_recorder(world), false).await;
    let by_state = api.get(READER, "/events?state=parked").await.unwrap();
    assert_eq!(by_state["events"].as_array().unwrap().len(), 1);
    assert_eq!(by_state["events"][0]["reason"], "line 1, column 1");
    assert_eq!(api.ids("/events?state=recorded").await, "evt_001 evt_000");
    let id = by_state["events"][0]["id"].as_str().unwrap();
    let problem = api.post(ADMIN, &format!("/events/{id}/replay"), json!({})).await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.code.as_str()), (422, "not_replayable"));
    let shown = api.get(ADMIN, &format!("/events/{id}")).await.unwrap();
    assert_eq!(shown["raw"], json!({ "text": "nonsense" }));
}

#[tokio::test]
async fn an_event_dated_in_the_future_is_shown_with_its_time_of_receipt() {
    let api = Api::new().await;
    let event = paid(&api.world, "evt_1");
    // An earlier version stored the provider's time unchanged.
    let dated = Some(event.received_at + std::time::Duration::from_hours(1));
    let record = EventRecord { occurred_at: dated, ..EventRecord::of(&event) };
    let body = BodyLocation::Inline(json!({ "raw": {} }).to_string());
    let stored = StoredEvent { record, body };
    api.world.store.events.record_event(&stored, None).await.unwrap();
    let shown = api.get(READER, &format!("/events/{}", event.event_id())).await.unwrap();
    let listed = api.get(READER, "/events").await.unwrap();
    for shown in [&shown, &listed["events"][0]] {
        assert_eq!(shown["occurred_at"], json!(event.received_at), "{shown}");
    }
    // The id of a replayed message is derived from the stored time.
    assert_eq!(records(&api.world).await[0].occurred_at, dated);
}

#[tokio::test]
async fn an_event_is_shown_to_its_tenant_and_its_raw_body_to_an_admin() {
    let api = Api::new().await;
    let event = with_raw(paid(&api.world, "evt_1"), &json!({ "secret": 1 }));
    api.record_event(&event).await;
    let address = format!("/events/{}", event.event_id());
    let shown = api.get(READER, &address).await.unwrap();
    assert_eq!((&shown["name"], &shown["state"]), (&json!("invoice.paid"), &json!("recorded")));
    assert!(shown.get("raw").is_none());
    let full = api.call(ADMIN, Method::GET, &address, &Value::Null).await.unwrap();
    assert!(full.body.unwrap().contains(r#""raw":{"secret":1}"#));
    let as_platform = format!("{address}?tenant=acme");
    assert_eq!(api.get(PLATFORM, &as_platform).await.unwrap()["raw"]["secret"], 1);
    for (http_client, address) in [
        (SPY, address.clone()),
        (SPY, as_platform),
        (READER, format!("/events/{}", paid(&api.world, "evt_2").event_id())),
        (READER, "/events/guess".to_owned()),
    ] {
        let problem = api.get(http_client, &address).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::NOT_FOUND, "{address}");
    }
    let problem = api.get(("acme", &[Scope::Send]), &address).await.unwrap_err();
    assert_eq!(problem.status, StatusCode::FORBIDDEN);
    assert!(api.get(SPY, "/events").await.unwrap()["events"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_replayed_event_is_queued_again_and_its_record_has_the_replay() {
    let api = Api::new().await;
    let event = paid(&api.world, "evt_1");
    api.record_event(&event).await;
    let address = format!("/events/{}/replay", event.event_id());
    for http_client in [SPY, READER] {
        assert!(api.post(http_client, &address, json!({})).await.is_err());
    }
    assert!(api.world.media.is_empty());
    let answer = api.post(ADMIN, &address, json!({})).await.unwrap();
    let again = &api.world.media.bodies::<InboundEvent>()[0];
    assert_eq!(again.replay.unwrap().to_string(), answer["replay"].as_str().unwrap());
    assert_eq!((&again.id, again.raw.get()), (&event.id, event.raw.get()));
    let record = &api.world.media.records()[0];
    assert_eq!(record.group, event.ordering_group());
    assert_ne!(record.deduplication_id, event.deduplication_id());
    let hub = World { own: FakeQueue::fifo(&api.world.clock), ..api.world.copy() };
    // Twice: the queue delivers at least once.
    for id in ["1", "2"] {
        hub.put(&again.ordering_group(), id, again).await;
    }
    hub.run_until_empty(&recorder(&hub), false).await;
    let shown = api.get(READER, &format!("/events/{}", event.event_id())).await.unwrap();
    assert_eq!(
        (&shown["replays"], &shown["last_replay"]["replay"]),
        (&json!(1), &answer["replay"])
    );
    assert_eq!(records(&hub).await.len(), 1);
}

fn range(api: &Api, more: &Value) -> Value {
    let mut body = json!({ "from": "2000-01-01T00:00:00Z", "to": api.world.clock.now() });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// Processes the replay queue until it is empty.
async fn process_replays(world: &World) {
    let hub = World { own: world.automation.clone(), ..world.copy() };
    hub.run_until_empty(&replayer(&hub), false).await;
}

#[tokio::test]
async fn many_events_are_replayed_in_order_with_visible_progress() {
    let api = Api::new().await.with_events(250).await;
    let dry = api.post(ADMIN, "/events/replay", range(&api, &json!({ "dry_run": true }))).await;
    let dry = dry.unwrap();
    assert_eq!((&dry["matched"], &dry["more"]), (&json!(250), &json!(false)));
    assert!(dry.get("replay").is_none());
    assert!(api.world.automation.is_empty() && api.world.media.is_empty());
    let started = api.post(ADMIN, "/events/replay", range(&api, &json!({}))).await.unwrap();
    assert_eq!(started["status"], "running");
    let address = format!("/events/replays/{}", started["replay"].as_str().unwrap());
    assert_eq!(api.get(ADMIN, &address).await.unwrap()["status"], "running");
    process_replays(&api.world).await;
    let done = api.get(ADMIN, &address).await.unwrap();
    assert_eq!((&done["status"], &done["published"]), (&json!("done"), &json!(250)));
    assert_eq!(done["matched"], 250);
    let events = api.world.media.bodies::<InboundEvent>();
    assert_eq!(events.len(), 250);
    assert!(events.windows(2).all(|pair| pair[0].received_at < pair[1].received_at));
    let replay = events[0].replay.unwrap().to_string();
    assert_eq!(replay, started["replay"].as_str().unwrap());
    for http_client in [SPY, READER] {
        assert!(api.get(http_client, &address).await.is_err());
    }
}

#[tokio::test]
async fn a_replay_publishes_only_matching_events() {
    let api = Api::new().await.with_events(6).await;
    let globex = sample::receive_only(&sample::tenant("globex"), Provider::Stripe, None);
    let world = &api.world;
    let ago = |hours| world.clock.now() - std::time::Duration::from_hours(hours);
    api.record_event(&sample::other_event(&globex, "of_globex", "invoice.paid", ago(24))).await;
    // The table deletes expired items late; the API filters by time.
    api.record_event(&sample::other_event(&globex, "forgotten", "invoice.paid", ago(31 * 24)))
        .await;
    world.put("g", "1", &parked(Some(&world.acme), None, b"nonsense")).await;
    world.run_until_empty(&parked_recorder(world), false).await;
    let filter =
        range(&api, &json!({ "provider": "stripe", "kind": "other", "name": "invoice.paid" }));
    api.post(ADMIN, "/events/replay", filter).await.unwrap();
    process_replays(&api.world).await;
    let ids = |world: &World| {
        let events = world.media.drain();
        let id = |record: &domain::ports::Record| {
            serde_json::from_str::<InboundEvent>(&record.body).unwrap().id
        };
        events.iter().map(id).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids(world), "evt_000 evt_002 evt_004");
    let filter = range(&api, &json!({ "tenant": "globex" }));
    assert_eq!(
        api.post(ADMIN, "/events/replay", filter.clone()).await.unwrap_err().status,
        StatusCode::NOT_FOUND
    );
    api.post(PLATFORM, "/events/replay", filter).await.unwrap();
    process_replays(&api.world).await;
    assert_eq!(ids(world), "of_globex");
    let now = world.clock.now();
    for (filter, field) in [
        (json!({ "from": now, "to": now }), "to"),
        (json!({ "from": now, "to": "2100-01-01T00:00:00Z" }), "to"),
        (json!({ "to": now }), "from"),
        (json!({ "from": now, "to": now, "kind": "x" }), "kind"),
        (json!({ "from": now, "to": now, "more": 1 }), "more"),
        (range(&api, &json!({ "name": "" })), "name"),
    ] {
        let problem = api.post(ADMIN, "/events/replay", filter).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (422, Some(field)));
    }
}

#[tokio::test]
async fn with_a_fault_at_any_call_a_replay_publishes_every_event_and_ends() {
    let begin = async || {
        let api = Api::new().await.with_events(120).await;
        api.post(ADMIN, "/events/replay", range(&api, &json!({}))).await.unwrap();
        api.world
    };
    let hub = |world: &World| World { own: world.automation.clone(), ..world.copy() };
    let world = begin().await;
    let before = world.faults.calls();
    process_replays(&world).await;
    let calls = world.faults.calls() - before;
    for fault in faults_at_each_call(calls) {
        let world = begin().await;
        inject(&world.faults, fault);
        let hub = hub(&world);
        while !world.faults.has_triggered() && hub.batch(&replayer(&hub), false).await > 0 {}
        world.faults.clear();
        hub.run_until_empty(&replayer(&hub), false).await;
        let mut ids: Vec<_> = world.media.bodies::<InboundEvent>();
        let replay = ids[0].replay.unwrap();
        let mut ids: Vec<String> = ids.drain(..).map(|event| event.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 120, "{fault:?}");
        let progress =
            events::ports::Replays::replay(&world.store.events, &world.acme, replay).await;
        let replay = progress.unwrap().unwrap().replay;
        assert_eq!(replay.status, ReplayStatus::Done, "{fault:?}");
        assert_eq!((replay.matched, replay.published), (120, 120), "{fault:?}");
        assert!(world.dead.is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_redelivered_replay_page_has_no_effect() {
    let api = Api::new().await.with_events(150).await;
    let started = api.post(ADMIN, "/events/replay", range(&api, &json!({}))).await.unwrap();
    let hub = World { own: api.world.automation.clone(), ..api.world.copy() };
    let first: ReplayTask = hub.own.bodies::<ReplayTask>()[0].clone();
    hub.batch(&replayer(&hub), false).await;
    assert_eq!(hub.own.bodies::<ReplayTask>().len(), 1, "the next page is queued");
    // The record of the first page is redelivered.
    hub.put("g", "again", &first).await;
    hub.run_until_empty(&replayer(&hub), false).await;
    hub.put("g", "late", &first).await;
    hub.run_until_empty(&replayer(&hub), false).await;
    let address = format!("/events/replays/{}", started["replay"].as_str().unwrap());
    let done = api.get(ADMIN, &address).await.unwrap();
    assert_eq!((&done["status"], &done["published"]), (&json!("done"), &json!(150)));
    assert_eq!(api.world.media.len(), 150);
}

#[tokio::test]
async fn a_failed_replay_has_its_reason_and_continues_after_a_redrive() {
    let api = Api::new().await.with_events(3).await;
    let started = api.post(ADMIN, "/events/replay", range(&api, &json!({}))).await.unwrap();
    let faults = testkit::Faults::default();
    let broken = api.world.media.clone().with_faults(&faults);
    faults.fail_all();
    let hub = World { own: api.world.automation.clone(), ..api.world.copy() };
    let worker = Replayer { events: broken, ..replayer(&hub) };
    hub.run_until_empty(&worker, false).await;
    let address = format!("/events/replays/{}", started["replay"].as_str().unwrap());
    let failed = api.get(ADMIN, &address).await.unwrap();
    assert_eq!(failed["status"], "failed");
    assert!(!failed["reason"].as_str().unwrap().is_empty());
    let dead_letters = api.world.dead.drain();
    assert_eq!(dead_letters.len(), 1);
    api.world.automation.publish(dead_letters).await.unwrap();
    process_replays(&api.world).await;
    assert_eq!(api.get(ADMIN, &address).await.unwrap()["status"], "done");
    assert_eq!(api.world.media.len(), 3);
}

#[tokio::test]
async fn a_third_replay_of_a_tenant_is_refused_until_one_has_ended() {
    let api = Api::new().await.with_events(3).await;
    let start = async |extra: &Value| {
        api.world.clock.advance(std::time::Duration::from_secs(1));
        api.post(ADMIN, "/events/replay", range(&api, extra)).await
    };
    let running = [start(&json!({})).await.unwrap(), start(&json!({})).await.unwrap()];
    let refused = start(&json!({})).await.unwrap_err();
    assert_eq!((refused.status.as_u16(), refused.code.as_str()), (409, "too_many_replays"));
    for replay in &running {
        assert!(refused.detail.contains(replay["replay"].as_str().unwrap()), "{}", refused.detail);
    }
    assert_eq!(api.world.automation.len(), 2, "nothing is queued");
    start(&json!({ "dry_run": true })).await.unwrap();
    process_replays(&api.world).await;
    start(&json!({})).await.unwrap();
    start(&json!({})).await.unwrap();
    assert!(start(&json!({})).await.is_err());
    // Their records are lost: without progress, they no longer count.
    api.world.clock.advance(events::model::REPLAY_LEASE);
    start(&json!({})).await.unwrap();
    start(&json!({})).await.unwrap();
    assert!(start(&json!({})).await.is_err());
}

#[tokio::test]
async fn of_replays_that_begin_together_two_run() {
    for seed in 1..20 {
        let api = Api::new().await.with_events(1).await;
        // Each request reaches another sandbox.
        let sandboxes: Vec<_> = (0..6)
            .map(|number| Events { rng: SeededRng::new(100 * seed + number), ..api.resource() })
            .collect();
        let body = range(&api, &json!({}));
        let request = request(ADMIN, Method::POST, "/events/replay", &body);
        let started = sandboxes.iter().map(|sandbox| handle(sandbox, &request));
        let started = futures::future::join_all(started).await;
        let count = |wanted: fn(&Problem) -> bool| {
            started.iter().filter(|one| one.as_ref().is_err_and(wanted)).count()
        };
        assert_eq!(started.iter().filter(|one| one.is_ok()).count(), 2);
        // The others are refused, or met each other too often.
        let refused = count(|problem| problem.code == "too_many_replays");
        assert_eq!(refused + count(|problem| problem.code == "unavailable"), 4);
        assert_eq!(api.world.automation.len(), 2);
    }
}

#[tokio::test]
async fn a_body_over_the_lambda_limit_gets_413_from_the_api() {
    let api = Api::new().await;
    let request = |bytes| {
        let mut request = request(ADMIN, Method::POST, "/events/replay", &Value::Null);
        request.body = vec![b' '; bytes].into();
        request
    };
    let resource = api.resource();
    let problem = handle(&resource, &request(MAX_BODY_BYTES + 1)).await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.code.as_str()), (413, "too_large"));
    assert!(problem.detail.contains("4.4 MB"), "{}", problem.detail);
    let problem = handle(&resource, &request(MAX_BODY_BYTES)).await.unwrap_err();
    assert_eq!(problem.status.as_u16(), 400, "the body is parsed");
}
