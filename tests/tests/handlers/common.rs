//! Test world: the real repository on the simulated table, fakes behind every other port, and
//! queues that are processed until they are empty.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accounts::model::automation::Automation;
use accounts::ports::{AccountClaim, Registry};
use accounts::recent_automations::RecentAutomations;
use aws_lambda_events::sqs::SqsEvent;
use bytes::Bytes;
use domain::conversation::Conversation;
use domain::integration::Integration;
use domain::message::{Message, Status};
use domain::ports::Clock;
use domain::sender::SendError;
use domain::task::HandedOver;
use domain::{NotificationId, Provider, Retention, TenantId};
use endpoints::handlers::dispatch::WebhookDispatcher;
use endpoints::repository::keys;
use events::model::StoredEvent;
use events::ports::EventReader;
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use messaging::ports::MessageReader;
use runtime::HttpClient;
use runtime::batch::{self, ConsumerContext, Worker};
use runtime::transport::{GuardedHttpError, WebhookClient};
use serde_json::{Value, json};
use testkit::cloud::dynamo::Attribute;
use testkit::{
    FakeBucket, FakeClock, FakeCredentials, FakeQueue, Faults, Received, SeededRng, Side,
    SimulatedTables, sample,
};
use tests::Repositories;
use tests::sample::audit;
use work::model::Job;
use work::ports::JobReader;

use crate::env::TestEnv;

/// The signing secret of notifications.
pub(crate) const SIGNING: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// Everything that a handler may need, with one source of faults.
pub(crate) struct World {
    pub(crate) clock: FakeClock,
    pub(crate) faults: Faults,
    pub(crate) table: Table,
    pub(crate) store: Repositories,
    pub(crate) credential_store: FakeCredentials,
    pub(crate) bucket: FakeBucket,
    pub(crate) provider: FakeProvider,
    pub(crate) receiver: FakeReceiver,
    pub(crate) acme: TenantId,
    pub(crate) whatsapp: Integration,
    pub(crate) telegram: Integration,
    /// The queue of the handler under test.
    pub(crate) own: FakeQueue,
    pub(crate) dead: FakeQueue,
    pub(crate) automation: FakeQueue,
    pub(crate) media: FakeQueue,
}

impl World {
    /// A world whose handler reads a FIFO queue.
    pub(crate) async fn fifo() -> Self {
        Self::new(FakeQueue::fifo).await
    }

    /// A world whose handler reads a standard queue.
    pub(crate) async fn standard() -> Self {
        Self::new(FakeQueue::standard).await
    }

    async fn new(own: fn(&FakeClock) -> FakeQueue) -> Self {
        let (clock, faults) = (FakeClock::default(), Faults::default());
        let acme = sample::tenant("acme");
        let whatsapp = sample::whatsapp(&acme, Some("111"));
        let telegram = sample::telegram(&acme, Some("700000001"));
        let table = Table::new(&clock);
        table.insert_integration(&whatsapp, &[]).await;
        table.insert_integration(&telegram, &[]).await;
        table.insert_automation(&acme, &tests::sample::push()).await;
        let credential_store = FakeCredentials::new(&clock)
            .with(&whatsapp, providers::whatsapp_cloud::example::credentials())
            .with(&telegram, providers::telegram::example::credentials());
        credential_store.sign_with(&acme, vec![SIGNING.into()]);
        Self {
            store: table.store(&faults),
            table,
            credential_store: credential_store.with_faults(&faults),
            bucket: FakeBucket::default().with_faults(&faults),
            provider: FakeProvider::new(&faults),
            receiver: FakeReceiver::new(&faults),
            own: own(&clock),
            dead: FakeQueue::fifo(&clock).with_faults(&faults),
            automation: FakeQueue::standard(&clock).with_faults(&faults),
            media: FakeQueue::standard(&clock).with_faults(&faults),
            acme,
            whatsapp,
            telegram,
            clock,
            faults,
        }
    }

    /// The consumer context of a handler. `counts_attempts` as in its `run`.
    pub(crate) fn context(&self, counts_attempts: bool) -> ConsumerContext<TestEnv> {
        ConsumerContext {
            queue: self.own.clone().with_faults(&self.faults),
            dead_letters: self.dead.clone(),
            bodies: self.bucket.clone(),
            clock: self.clock.clone(),
            rng: SeededRng::default(),
            budget: Duration::from_secs(8),
            counts_attempts,
        }
    }

    /// Adds a record to the handler's own queue.
    pub(crate) async fn put(&self, group: &str, id: &str, body: &impl serde::Serialize) {
        put(&self.own, group, id, body).await;
    }

    /// Processes one batch and returns its number of records. The response of a process that
    /// crashed is ignored.
    pub(crate) async fn batch<W: Worker>(&self, worker: &W, counts_attempts: bool) -> usize {
        let received = self.own.receive(10);
        let count = received.len();
        if count == 0 {
            return 0;
        }
        let context = self.context(counts_attempts);
        let answer = batch::handle(event(&received), &context, worker).await.unwrap();
        let failed: Vec<String> =
            answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
        if self.faults.is_failing() {
            return count;
        }
        for record in received.iter().filter(|record| !failed.contains(&record.message_id)) {
            self.own.delete(&record.message_id);
        }
        count
    }

    /// Processes a sender's queue until the injected fault occurs, which may be in a later batch.
    pub(crate) async fn run_until_fault<W: Worker>(&self, worker: &W) {
        for _batch in 0..20 {
            if self.faults.has_triggered() {
                break;
            }
            self.batch(worker, true).await;
            let next = self.own.next_visible().unwrap_or(self.clock.now());
            if !self.faults.has_triggered() {
                self.clock.set(next.max(self.clock.now()));
            }
        }
    }

    /// Processes the queue until it is empty, and advances the clock to records not yet visible.
    pub(crate) async fn run_until_empty<W: Worker>(&self, worker: &W, counts_attempts: bool) {
        for _batch in 0..500 {
            if self.batch(worker, counts_attempts).await > 0 {
                continue;
            }
            let Some(next) = self.own.next_visible() else { return };
            let now = self.clock.now();
            self.clock.set(next.max(now + Duration::from_millis(1)));
        }
        panic!("the queue did not become empty: {:?}", self.own.records());
    }

    /// The only message.
    pub(crate) async fn message(&self) -> Message {
        let messages = self.table.messages().await;
        assert_eq!(messages.len(), 1);
        messages[0].clone()
    }

    /// The ids and message statuses of the notifications in the automation's queue, without
    /// duplicates.
    pub(crate) fn notifications(&self) -> Vec<(String, Status)> {
        let jobs = self.automation.bodies::<domain::task::NotificationTask>();
        let mut notifications: Vec<_> = jobs
            .into_iter()
            .filter_map(|job| Some((job.id.to_string(), job.notification?.data.message.status)))
            .collect();
        notifications.sort();
        notifications.dedup();
        notifications
    }
}

/// The state of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotificationState {
    Pending,
    Sending,
    Delivered,
    GivenUp,
}

/// A notification in the table.
#[derive(Clone, Debug)]
pub(crate) struct StoredNotification {
    pub(crate) id: NotificationId,
    pub(crate) state: NotificationState,
    /// The number of attempts started.
    pub(crate) attempts: i64,
}

/// The hub's tables, for setup and assertions: their calls do not fail and do not count for fault
/// injection. Clones share the tables.
#[derive(Clone)]
pub(crate) struct Table {
    simulated: SimulatedTables,
    without_faults: Repositories,
}

fn repositories(tables: &SimulatedTables) -> Repositories {
    Repositories::new(&tables.config(), str::to_owned)
}

impl Table {
    pub(crate) fn new(clock: &FakeClock) -> Self {
        let simulated = SimulatedTables::new(clock);
        Self { without_faults: repositories(&simulated), simulated }
    }

    /// The repository for a handler, with the faults of `faults`.
    pub(crate) fn store(&self, faults: &Faults) -> Repositories {
        repositories(&self.simulated.clone().with_faults(faults))
    }

    /// The repository with this retention, without faults.
    pub(crate) fn keeping(&self, retention: Option<Retention>) -> Repositories {
        Repositories::keeping(&self.simulated.config(), str::to_owned, retention)
    }

    /// Deletes the expired items of a feature, as DynamoDB does. Returns their number.
    pub(crate) fn delete_expired(&self, feature: &str, now: Timestamp) -> usize {
        self.simulated.with(|dynamo| dynamo.delete_expired(feature, now.as_millisecond()))
    }

    /// The repository without faults.
    pub(crate) fn without_faults(&self) -> &Repositories {
        &self.without_faults
    }

    /// Writes an integration, replacing the one with its id.
    pub(crate) async fn insert_integration(&self, integration: &Integration, paths: &[String]) {
        let accounts = &self.without_faults.accounts;
        let audit = audit(&integration.tenant);
        let written = accounts.put_integration(integration, paths, None, &audit).await.unwrap();
        assert_eq!(written, AccountClaim::Granted);
    }

    /// Sets a tenant's automation.
    pub(crate) async fn insert_automation(&self, tenant: &TenantId, automation: &Automation) {
        let accounts = &self.without_faults.accounts;
        accounts.set_automation(tenant, automation, &audit(tenant)).await.unwrap();
    }

    /// The items of a feature's table whose partition key ends with `suffix`, as text.
    pub(crate) fn items_as_text(&self, feature: &str, suffix: &str) -> Vec<String> {
        self.simulated.with(|dynamo| {
            let keys = dynamo.keys(feature).filter(|(pk, _)| pk.ends_with(suffix));
            let items = keys.filter_map(|(pk, sk)| dynamo.item(feature, pk, sk));
            items.map(|item| format!("{item:?}")).collect()
        })
    }

    /// Deletes an item, to get the state that an earlier version of the hub left.
    pub(crate) fn delete_item(&self, feature: &str, pk: &str, sk: &str) {
        let key = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
        let request = json!({ "TableName": feature, "Key": key });
        self.simulated.with(|dynamo| dynamo.call("DeleteItem", &request, 0)).unwrap();
    }

    /// The tenants and ids of every item in a feature's table under a key
    /// `T#<tenant>#<kind>#<id>` with this sort key.
    fn ids<T: FromStr>(&self, feature: &str, kind: &str, sort: &str) -> Vec<(TenantId, T)> {
        let id = |pk: &str| {
            let mut parts = pk.strip_prefix("T#")?.splitn(3, '#');
            let tenant = parts.next()?.parse().ok()?;
            (parts.next()? == kind).then_some(())?;
            Some((tenant, parts.next()?.parse().ok()?))
        };
        self.simulated.with(|dynamo| {
            let keys = dynamo.keys(feature).filter(|(_, sk)| *sk == sort);
            keys.filter_map(|(pk, _)| id(pk)).collect()
        })
    }

    /// Every message of every tenant.
    pub(crate) async fn messages(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        for (tenant, id) in self.ids("messaging", "MSG", "MSG") {
            messages
                .push(self.without_faults.messages.message(&tenant, id).await.unwrap().unwrap().0);
        }
        messages
    }

    /// Every conversation of every tenant.
    pub(crate) async fn conversations(&self) -> Vec<Conversation> {
        let mut conversations = Vec::new();
        for (tenant, id) in self.ids("messaging", "C", "CONV") {
            conversations.push(
                self.without_faults.messages.conversation(&tenant, id).await.unwrap().unwrap(),
            );
        }
        conversations
    }

    /// Every event of every tenant.
    pub(crate) async fn events(&self) -> Vec<StoredEvent> {
        let mut events = Vec::new();
        for (tenant, id) in self.ids("events", "EVENT", "EVENT") {
            events.push(self.without_faults.events.event(&tenant, id).await.unwrap().unwrap());
        }
        events
    }

    /// Every job of every tenant.
    pub(crate) async fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (tenant, id) in self.ids("work", "JOB", "JOB") {
            jobs.push(self.without_faults.jobs.job(&tenant, id).await.unwrap().unwrap());
        }
        jobs
    }

    /// Every notification of every tenant.
    pub(crate) fn notifications(&self) -> Vec<StoredNotification> {
        let notification = |(tenant, id): (TenantId, NotificationId)| {
            let key = keys::delivery(&tenant, id);
            self.simulated.with(|dynamo| {
                let item = dynamo.item("endpoints", &key.pk, &key.sk).unwrap();
                let state = match item["state"].text().unwrap() {
                    "pending" => NotificationState::Pending,
                    "sending" => NotificationState::Sending,
                    "delivered" => NotificationState::Delivered,
                    "given_up" => NotificationState::GivenUp,
                    other => panic!("unknown notification state {other}"),
                };
                let attempts = item.get("attempt").and_then(Attribute::number).unwrap_or_default();
                StoredNotification { id, state, attempts }
            })
        };
        self.ids("endpoints", "DELIVERY", "DELIVERY").into_iter().map(notification).collect()
    }

    /// Moves an item to another sort key, as an earlier version stored it.
    pub(crate) fn replace_key(&self, feature: &str, (pk, sk): (&str, &str), new_sk: &str) {
        self.simulated.with(|dynamo| {
            let key = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
            let request = json!({ "TableName": feature, "Key": key });
            let found = dynamo.call("GetItem", &request, 0).unwrap();
            let mut item = found["Item"].clone();
            item["sk"]["S"] = new_sk.into();
            dynamo.call("DeleteItem", &request, 0).unwrap();
            dynamo.call("PutItem", &json!({ "TableName": feature, "Item": item }), 0).unwrap();
        });
    }

    /// The number of scheduled retries.
    pub(crate) fn scheduled(&self) -> usize {
        self.simulated.with(|dynamo| {
            dynamo.keys("endpoints").filter(|(pk, _)| pk.starts_with("DUE#")).count()
        })
    }

    /// The time when the first scheduled retry is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.simulated.with(|dynamo| {
            let retries = dynamo.keys("endpoints");
            let retries = retries.filter(|(pk, _)| pk.starts_with("DUE#"));
            let first = retries.filter_map(|(_, sk)| sk.split('#').next()?.parse().ok()).min();
            first.map(|ms| Timestamp::from_millisecond(ms).unwrap())
        })
    }

    /// The total number of failovers of all messages.
    pub(crate) fn failovers(&self) -> u32 {
        self.simulated.with(|dynamo| {
            let items = dynamo.items("messaging");
            let to = items.filter_map(|item| item.get("handed_over")?.text());
            to.map(|to| serde_json::from_str::<HandedOver>(to).unwrap().failover.generation).sum()
        })
    }
}

/// Adds a record to a queue.
pub(crate) async fn put(queue: &FakeQueue, group: &str, id: &str, body: &impl serde::Serialize) {
    let record = domain::ports::Record {
        body: serde_json::to_string(body).unwrap(),
        group: group.to_owned(),
        deduplication_id: id.to_owned(),
        ..domain::ports::Record::default()
    };
    domain::ports::Publisher::publish(queue, vec![record]).await.unwrap();
}

/// The event that Lambda passes to a handler for these records.
pub(crate) fn event(records: &[Received]) -> SqsEvent {
    let records: Vec<Value> = records
        .iter()
        .map(|record| {
            let mut attributes = json!({
                "ApproximateReceiveCount": record.receives.to_string(),
                "MessageGroupId": record.group,
            });
            if let Some(sequence) = &record.sequence {
                attributes["SequenceNumber"] = sequence.clone().into();
            }
            let message_attributes: BTreeMap<&String, Value> = record
                .attributes
                .iter()
                .map(|(name, text)| (name, json!({ "dataType": "String", "stringValue": text })))
                .collect();
            json!({
                "messageId": record.message_id,
                "receiptHandle": record.receipt,
                "body": record.body,
                "attributes": attributes,
                "messageAttributes": message_attributes,
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:own",
            })
        })
        .collect();
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

/// Faults at each call: the call number, the side of the call, and whether the process crashes.
pub(crate) fn faults_at_each_call(calls: u64) -> Vec<(u64, Side, bool)> {
    let kinds =
        [(Side::Before, false), (Side::Before, true), (Side::After, false), (Side::After, true)];
    (1..=calls).flat_map(|call| kinds.map(|(side, crashes)| (call, side, crashes))).collect()
}

/// Injects one fault.
pub(crate) fn inject(faults: &Faults, (call, side, crashes): (u64, Side, bool)) {
    if crashes { faults.crash_at_call(call, side) } else { faults.fail_call(call, side) }
}

/// Every order of `items`.
pub(crate) fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    (0..items.len())
        .flat_map(|index| {
            let mut rest = items.to_vec();
            let first = rest.remove(index);
            permutations(&rest).into_iter().map(move |mut order| {
                order.insert(0, first.clone());
                order
            })
        })
        .collect()
}

/// The behavior of a provider at a call.
#[derive(Clone, Debug)]
pub(crate) enum Behavior {
    /// Accepts the message and confirms it.
    Accept,
    /// Accepts the message; its response is lost.
    AcceptWithoutResponse,
    /// Does not accept the message and does not respond.
    Timeout,
    /// Refuses connections.
    Unreachable,
    /// Responds with this status, body and `Retry-After` in seconds.
    Refuse(u16, Value, Option<u64>),
}

/// A stateful provider: it checks its token and records the messages it accepted. Clones share one
/// state.
#[derive(Clone)]
pub(crate) struct FakeProvider {
    state: Arc<Mutex<ProviderState>>,
    faults: Faults,
}

#[derive(Default)]
struct ProviderState {
    script: VecDeque<Behavior>,
    /// The behavior of each account after the script ends.
    always: BTreeMap<String, Behavior>,
    calls: Vec<(String, Value)>,
    accepted: Vec<Value>,
    read: Vec<String>,
    token: Option<String>,
    /// The response to accepted messages, if it is not that of WhatsApp or Telegram.
    acceptance: Option<(u16, Value)>,
    /// Every file that a customer sends, if it is not [`JPEG`].
    file: Option<&'static [u8]>,
}

/// A file that a customer sends.
pub(crate) const JPEG: &[u8] = b"\xff\xd8\xff\xe0JPEG";

impl FakeProvider {
    fn new(faults: &Faults) -> Self {
        Self { state: Arc::default(), faults: faults.clone() }
    }

    /// Sets the behavior of the next calls, in this order; later calls are accepted.
    pub(crate) fn script(&self, behaviors: impl IntoIterator<Item = Behavior>) {
        self.state.lock().unwrap().script.extend(behaviors);
    }

    /// Sets the behavior of `account` after the script ends.
    pub(crate) fn always(&self, account: &str, behavior: Behavior) {
        self.state.lock().unwrap().always.insert(account.to_owned(), behavior);
    }

    /// Sets the response to accepted messages: status and body.
    pub(crate) fn accept_with(&self, answer: (u16, Value)) {
        self.state.lock().unwrap().acceptance = Some(answer);
    }

    /// Sets the file that customers send.
    pub(crate) fn file(&self, file: &'static [u8]) {
        self.state.lock().unwrap().file = Some(file);
    }

    /// Sets the only valid token.
    pub(crate) fn accept_only_token(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    /// The path and body of every call.
    pub(crate) fn calls(&self) -> Vec<(String, Value)> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The messages it accepted.
    pub(crate) fn accepted(&self) -> Vec<Value> {
        self.state.lock().unwrap().accepted.clone()
    }

    /// The messages that were marked as read.
    pub(crate) fn read(&self) -> Vec<String> {
        self.state.lock().unwrap().read.clone()
    }
}

fn answer(status: u16, body: &Value, retry_after: Option<u64>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

impl ProviderState {
    /// The response of the provider to an accepted call: status and body.
    fn accept(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        if let Some(answer) = &self.acceptance {
            // A look-up sends no message.
            if method != Method::GET {
                self.accepted.push(body.clone());
            }
            return answer.clone();
        }
        (200, self.accept_json(path, body))
    }

    /// The response of WhatsApp or Telegram to an accepted call.
    fn accept_json(&mut self, path: &str, body: &Value) -> Value {
        if let Some(method) = path.split("/bot").nth(1).and_then(|rest| rest.split('/').nth(1)) {
            if method == "getFile" {
                return json!({ "ok": true, "result": { "file_id": "1", "file_path": "photos/1.jpg" } });
            }
            if method == "getMe" {
                return json!({ "ok": true, "result": { "id": 700_000_001, "is_bot": true } });
            }
            self.accepted.push(body.clone());
            let chat = json!({ "id": body["chat_id"], "type": "private" });
            let message = json!({ "message_id": self.accepted.len(), "chat": chat, "date": 1 });
            return json!({ "ok": true, "result": message });
        }
        if body["status"] == "read" {
            self.read.push(body["message_id"].as_str().unwrap_or_default().to_owned());
            return json!({ "success": true });
        }
        if body.is_null() {
            return json!({ "url": "https://graph.test/files/1", "mime_type": "image/jpeg", "id": "1" });
        }
        self.accepted.push(body.clone());
        let id = format!("wamid.{}", self.accepted.len());
        json!({ "messaging_product": "whatsapp", "messages": [{ "id": id }] })
    }
}

impl HttpClient for FakeProvider {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        tokio::task::yield_now().await;
        let Ok(answered) = self.faults.count_call("call the provider") else {
            return Err(SendError::Connect);
        };
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let token = request.headers().get("authorization").and_then(|t| t.to_str().ok());
        let token = token.map(|token| token.trim_start_matches("Bearer ").to_owned());
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let mut state = self.state.lock().unwrap();
        state.calls.push((path.clone(), body.clone()));
        if state.token.is_some() && token != state.token {
            let error = json!({ "error": { "code": 190, "message": "expired" } });
            return Ok(answer(401, &error, None));
        }
        let always = path.split('/').find_map(|part| state.always.get(part).cloned());
        let behavior = state.script.pop_front().or(always).unwrap_or(Behavior::Accept);
        if path.contains("/file/bot") || path.starts_with("/files/") {
            return match behavior {
                Behavior::Refuse(status, body, wait) => Ok(answer(status, &body, wait)),
                _ if answered => Ok(Response::new(Bytes::from_static(state.file.unwrap_or(JPEG)))),
                _ => Err(SendError::NoAnswer),
            };
        }
        let response = match behavior {
            Behavior::Accept => {
                let (status, body) = state.accept(&method, &path, &body);
                Ok(answer(status, &body, None))
            }
            Behavior::AcceptWithoutResponse => {
                state.accept(&method, &path, &body);
                Err(SendError::NoAnswer)
            }
            Behavior::Timeout => Err(SendError::NoAnswer),
            Behavior::Unreachable => Err(SendError::Connect),
            Behavior::Refuse(status, body, wait) => Ok(answer(status, &body, wait)),
        };
        if answered { response } else { Err(SendError::NoAnswer) }
    }
}

/// A response of an automation: a status, and a `Retry-After` in seconds.
type Answer = (u16, Option<u64>);

/// Returns after how long an attempt (its time, and its number from 1) fails; `None` if it
/// succeeds.
type Failing = Box<dyn Fn(Timestamp, usize) -> Option<Duration> + Send + Sync>;

/// What happens while a request is in progress.
type Meanwhile = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// An automation that returns the responses of its script, then 204. Clones share one state.
#[derive(Clone)]
pub(crate) struct FakeReceiver {
    script: Arc<Mutex<VecDeque<Answer>>>,
    requests: Arc<Mutex<Vec<(http::HeaderMap, Bytes)>>>,
    always: Arc<Mutex<Option<u16>>>,
    failing: Arc<Mutex<Option<(FakeClock, Failing)>>>,
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
    faults: Faults,
}

impl FakeReceiver {
    fn new(faults: &Faults) -> Self {
        Self {
            script: Arc::default(),
            requests: Arc::default(),
            always: Arc::default(),
            failing: Arc::default(),
            meanwhile: Arc::default(),
            faults: faults.clone(),
        }
    }

    /// Sets what happens while the next request is in progress.
    pub(crate) fn meanwhile(&self, act: impl Future<Output = ()> + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::pin(act));
    }

    /// Sets the next responses.
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().extend(answers);
    }

    /// Sets the status of all responses after the script.
    pub(crate) fn always(&self, status: u16) {
        *self.always.lock().unwrap() = Some(status);
    }

    /// Fails each attempt for which `failing` returns a duration, after that duration on `clock`.
    pub(crate) fn hang(
        &self,
        clock: FakeClock,
        failing: impl Fn(Timestamp, usize) -> Option<Duration> + Send + Sync + 'static,
    ) {
        *self.failing.lock().unwrap() = Some((clock, Box::new(failing)));
    }

    /// The requests it received.
    pub(crate) fn requests(&self) -> Vec<(http::HeaderMap, Bytes)> {
        self.requests.lock().unwrap().clone()
    }

    /// The notification ids it received, without duplicates.
    pub(crate) fn ids(&self) -> Vec<String> {
        let id = |headers: &http::HeaderMap| headers["webhook-id"].to_str().unwrap().to_owned();
        let mut ids: Vec<_> = self.requests().iter().map(|(headers, _)| id(headers)).collect();
        ids.sort();
        ids.dedup();
        ids
    }
}

impl WebhookClient for FakeReceiver {
    async fn notify(
        &self,
        request: Request<Bytes>,
        _allow_private_network: bool,
    ) -> Result<Response<Bytes>, GuardedHttpError> {
        tokio::task::yield_now().await;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        let answered = self
            .faults
            .count_call("notify the automation")
            .map_err(|_| GuardedHttpError::NoAnswer)?;
        let (parts, body) = request.into_parts();
        self.requests.lock().unwrap().push((parts.headers, body));
        if let Some((clock, failing)) = &*self.failing.lock().unwrap()
            && let Some(after) = failing(clock.now(), self.requests.lock().unwrap().len())
        {
            clock.advance(after);
            return Err(GuardedHttpError::NoAnswer);
        }
        let (status, wait) = self
            .script
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or_else(|| (self.always.lock().unwrap().unwrap_or(204), None));
        if answered {
            Ok(answer(status, &json!({}), wait))
        } else {
            Err(GuardedHttpError::NoAnswer)
        }
    }
}

impl World {
    /// The webhook dispatcher, with `queue` for its retries.
    pub(crate) fn dispatcher(&self, queue: &FakeQueue) -> WebhookDispatcher<TestEnv> {
        WebhookDispatcher {
            store: self.store.endpoints.clone(),
            accounts: self.store.accounts.clone(),
            automations: RecentAutomations::new(self.store.accounts.clone(), self.clock.clone()),
            credential_store: self.credential_store.clone(),
            queue: queue.clone().with_faults(&self.faults),
            client: self.receiver.clone(),
            clock: self.clock.clone(),
            rng: SeededRng::default(),
        }
    }

    /// Processes the automation's queue until it is empty.
    pub(crate) async fn notify_all(&self) {
        let world = Self { own: self.automation.clone(), ..self.copy() };
        world.run_until_empty(&self.dispatcher(&self.automation), true).await;
    }

    /// The same world.
    pub(crate) fn copy(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            faults: self.faults.clone(),
            table: self.table.clone(),
            store: self.store.clone(),
            credential_store: self.credential_store.clone(),
            bucket: self.bucket.clone(),
            provider: self.provider.clone(),
            receiver: self.receiver.clone(),
            acme: self.acme.clone(),
            whatsapp: self.whatsapp.clone(),
            telegram: self.telegram.clone(),
            own: self.own.clone(),
            dead: self.dead.clone(),
            automation: self.automation.clone(),
            media: self.media.clone(),
        }
    }
}

/// The sender implementation of a provider.
pub(crate) fn sender_provider(provider: Provider) -> &'static dyn domain::sender::SenderProvider {
    providers::sender(provider).unwrap()
}
