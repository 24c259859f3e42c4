//! A small hub: the real repository on the simulated table, fakes behind every other port, and
//! queues that are worked until they are empty.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use bytes::Bytes;
use domain::automation::Automation;
use domain::conversation::Conversation;
use domain::integration::Integration;
use domain::message::{Message, Status};
use domain::ports::{Claimed, Clock, EventReader, JobReader, MessageReader, Registry};
use domain::pull::Job;
use domain::record::StoredEvent;
use domain::sender::SendError;
use domain::task::HandedOver;
use domain::{NotificationId, Provider, TenantId};
use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use runtime::batch::{self, ConsumerContext, Worker};
use runtime::sender::HttpClient;
use runtime::transport::{GuardedHttpError, WebhookClient};
use serde_json::{Value, json};
use store::{DynamoStore, keys};
use testkit::cloud::dynamo::Attribute;
use testkit::{
    FakeBucket, FakeClock, FakeCredentials, FakeQueue, Faults, Received, SeededRng, Side,
    SimulatedTable, sample,
};

/// The secret that signs what automations are told.
pub(crate) const SIGNING: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// Everything a handler may need, with trouble from one place.
pub(crate) struct World {
    pub(crate) clock: FakeClock,
    pub(crate) faults: Faults,
    pub(crate) table: Table,
    pub(crate) store: DynamoStore,
    pub(crate) vault: FakeCredentials,
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
    /// A hub whose handler reads a FIFO queue.
    pub(crate) async fn fifo() -> Self {
        Self::new(FakeQueue::fifo).await
    }

    /// A hub whose handler reads a standard queue.
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
        table.insert_automation(&acme, &sample::push()).await;
        let vault = FakeCredentials::new(&clock)
            .with(&whatsapp, providers::whatsapp_cloud::example::credentials())
            .with(&telegram, providers::telegram::example::credentials());
        vault.sign_with(&acme, vec![SIGNING.into()]);
        Self {
            store: table.store(&faults),
            table,
            vault: vault.with_faults(&faults),
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

    /// The desk of a handler. `counts_attempts` as in its `run`.
    pub(crate) fn context(
        &self,
        counts_attempts: bool,
    ) -> ConsumerContext<FakeQueue, FakeQueue, FakeBucket, FakeClock, SeededRng> {
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

    /// Puts a record into the handler's own queue.
    pub(crate) async fn put(&self, group: &str, id: &str, body: &impl serde::Serialize) {
        put(&self.own, group, id, body).await;
    }

    /// Works one batch; gives how many records it had. What a process that died would have
    /// answered is not heard.
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
        if self.faults.is_dead() {
            return count;
        }
        for record in received.iter().filter(|record| !failed.contains(&record.message_id)) {
            self.own.delete(&record.message_id);
        }
        count
    }

    /// Works a sender's queue until the ordered trouble comes, which may be in a later batch: a
    /// process dies once.
    pub(crate) async fn work_until_trouble<W: Worker>(&self, worker: &W) {
        for _batch in 0..20 {
            if self.faults.happened() {
                break;
            }
            self.batch(worker, true).await;
            let next = self.own.next_visible().unwrap_or(self.clock.now());
            if !self.faults.happened() {
                self.clock.set(next.max(self.clock.now()));
            }
        }
    }

    /// Works the queue until it is empty, waiting for what is hidden.
    pub(crate) async fn run_dry<W: Worker>(&self, worker: &W, counts_attempts: bool) {
        for _batch in 0..500 {
            if self.batch(worker, counts_attempts).await > 0 {
                continue;
            }
            let Some(next) = self.own.next_visible() else { return };
            let now = self.clock.now();
            self.clock.set(next.max(now + Duration::from_millis(1)));
        }
        panic!("the queue does not become empty: {:?}", self.own.records());
    }

    /// The one message there is.
    pub(crate) async fn message(&self) -> Message {
        let messages = self.table.messages().await;
        assert_eq!(messages.len(), 1);
        messages[0].clone()
    }

    /// The ids and states of the notifications in the automation's queue, each once.
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

/// How a notification to an automation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoticeState {
    Pending,
    Sending,
    Delivered,
    GivenUp,
}

/// A notification to an automation, as the table has it.
#[derive(Clone, Debug)]
pub(crate) struct KnownNotice {
    pub(crate) id: NotificationId,
    pub(crate) state: NoticeState,
    /// Attempts begun.
    pub(crate) attempts: i64,
}

/// The hub's table, to look at and to set up: nothing here fails or counts as a call of a
/// handler's. Copies are one table.
#[derive(Clone)]
pub(crate) struct Table {
    simulated: SimulatedTable,
    quiet: DynamoStore,
}

fn repository(table: &SimulatedTable) -> DynamoStore {
    DynamoStore::new(&table.config(), SimulatedTable::NAME.to_owned())
}

impl Table {
    pub(crate) fn new(clock: &FakeClock) -> Self {
        let simulated = SimulatedTable::new(clock);
        Self { quiet: repository(&simulated), simulated }
    }

    /// The repository for a handler, whose requests fail as `faults` says.
    pub(crate) fn store(&self, faults: &Faults) -> DynamoStore {
        repository(&self.simulated.clone().with_faults(faults))
    }

    /// The repository whose requests do not fail.
    pub(crate) fn quiet(&self) -> &DynamoStore {
        &self.quiet
    }

    /// Writes an integration, in the place of one that has its id.
    pub(crate) async fn insert_integration(&self, integration: &Integration, paths: &[String]) {
        let written = self.quiet.put_integration(integration, paths, None).await.unwrap();
        assert_eq!(written, Claimed::Ours);
    }

    /// Sets how a tenant's automation is told.
    pub(crate) async fn insert_automation(&self, tenant: &TenantId, automation: &Automation) {
        self.quiet.set_automation(tenant, automation).await.unwrap();
    }

    /// The tenants and ids of every item under a key `T#<tenant>#<kind>#<id>` with this sort key.
    fn ids<T: FromStr>(&self, kind: &str, sort: &str) -> Vec<(TenantId, T)> {
        let id = |pk: &str| {
            let mut parts = pk.strip_prefix("T#")?.splitn(3, '#');
            let tenant = parts.next()?.parse().ok()?;
            (parts.next()? == kind).then_some(())?;
            Some((tenant, parts.next()?.parse().ok()?))
        };
        self.simulated.with(|dynamo| {
            let keys = dynamo.keys(SimulatedTable::NAME).filter(|(_, sk)| *sk == sort);
            keys.filter_map(|(pk, _)| id(pk)).collect()
        })
    }

    /// Every message of every tenant.
    pub(crate) async fn messages(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        for (tenant, id) in self.ids("MSG", "MSG") {
            messages.push(self.quiet.message(&tenant, id).await.unwrap().unwrap().0);
        }
        messages
    }

    /// Every conversation of every tenant.
    pub(crate) async fn conversations(&self) -> Vec<Conversation> {
        let mut conversations = Vec::new();
        for (tenant, id) in self.ids("C", "CONV") {
            conversations.push(self.quiet.conversation(&tenant, id).await.unwrap().unwrap());
        }
        conversations
    }

    /// Every event of every tenant.
    pub(crate) async fn events(&self) -> Vec<StoredEvent> {
        let mut events = Vec::new();
        for (tenant, id) in self.ids("EVENT", "EVENT") {
            events.push(self.quiet.event(&tenant, id).await.unwrap().unwrap());
        }
        events
    }

    /// Every job of every tenant.
    pub(crate) async fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (tenant, id) in self.ids("JOB", "JOB") {
            jobs.push(self.quiet.job(&tenant, id).await.unwrap().unwrap());
        }
        jobs
    }

    /// Every notification to every tenant's automation.
    pub(crate) fn notifications(&self) -> Vec<KnownNotice> {
        let notification = |(tenant, id): (TenantId, NotificationId)| {
            let key = keys::delivery(&tenant, id);
            self.simulated.with(|dynamo| {
                let item = dynamo.item(SimulatedTable::NAME, &key.pk, &key.sk).unwrap();
                let state = match item["state"].text().unwrap() {
                    "pending" => NoticeState::Pending,
                    "sending" => NoticeState::Sending,
                    "delivered" => NoticeState::Delivered,
                    "given_up" => NoticeState::GivenUp,
                    other => panic!("a notice is {other}"),
                };
                let attempts = item.get("attempt").and_then(Attribute::number).unwrap_or_default();
                KnownNotice { id, state, attempts }
            })
        };
        self.ids("DELIVERY", "DELIVERY").into_iter().map(notification).collect()
    }

    /// How many retries are in the schedule.
    pub(crate) fn scheduled(&self) -> usize {
        self.simulated.with(|dynamo| {
            dynamo.keys(SimulatedTable::NAME).filter(|(pk, _)| pk.starts_with("DUE#")).count()
        })
    }

    /// When the first retry in the schedule is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.simulated.with(|dynamo| {
            let retries = dynamo.keys(SimulatedTable::NAME);
            let retries = retries.filter(|(pk, _)| pk.starts_with("DUE#"));
            let first = retries.filter_map(|(_, sk)| sk.split('#').next()?.parse().ok()).min();
            first.map(|ms| Timestamp::from_millisecond(ms).unwrap())
        })
    }

    /// How often the messages of every tenant were handed over, in all.
    pub(crate) fn hand_overs(&self) -> u32 {
        self.simulated.with(|dynamo| {
            let items = dynamo.items(SimulatedTable::NAME);
            let to = items.filter_map(|item| item.get("handed_over")?.text());
            to.map(|to| serde_json::from_str::<HandedOver>(to).unwrap().failover.generation).sum()
        })
    }
}

/// Puts a record into a queue.
pub(crate) async fn put(queue: &FakeQueue, group: &str, id: &str, body: &impl serde::Serialize) {
    let record = domain::ports::Record {
        body: serde_json::to_string(body).unwrap(),
        group: group.to_owned(),
        deduplication_id: id.to_owned(),
        ..domain::ports::Record::default()
    };
    domain::ports::Publisher::publish(queue, vec![record]).await.unwrap();
}

/// Records as Lambda hands them over.
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
            json!({
                "messageId": record.message_id,
                "receiptHandle": record.receipt,
                "body": record.body,
                "attributes": attributes,
                "messageAttributes": {},
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:own",
            })
        })
        .collect();
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

/// Trouble at every call: its number, on which side, and whether the process dies of it.
pub(crate) fn troubles(calls: u64) -> Vec<(u64, Side, bool)> {
    let kinds =
        [(Side::Before, false), (Side::Before, true), (Side::After, false), (Side::After, true)];
    (1..=calls).flat_map(|call| kinds.map(|(side, dies)| (call, side, dies))).collect()
}

/// Orders one trouble.
pub(crate) fn order(faults: &Faults, (call, side, dies): (u64, Side, bool)) {
    if dies { faults.die_at_call(call, side) } else { faults.fail_call(call, side) }
}

/// Every order of `items`.
pub(crate) fn orders<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    (0..items.len())
        .flat_map(|place| {
            let mut rest = items.to_vec();
            let first = rest.remove(place);
            orders(&rest).into_iter().map(move |mut order| {
                order.insert(0, first.clone());
                order
            })
        })
        .collect()
}

/// What a provider does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Takes the message and says so.
    Take,
    /// Takes the message; its answer is lost.
    TakeInSilence,
    /// Takes nothing, and does not answer.
    Silence,
    /// Cannot be reached.
    Unreachable,
    /// Refuses.
    Refuse(u16, Value, Option<u64>),
}

/// A provider with rules: it knows its tokens, and remembers what it took. Copies are one.
#[derive(Clone)]
pub(crate) struct FakeProvider {
    state: Arc<Mutex<ProviderState>>,
    faults: Faults,
}

#[derive(Default)]
struct ProviderState {
    script: VecDeque<Act>,
    /// What each account does where the script says nothing.
    moods: BTreeMap<String, Act>,
    calls: Vec<(String, Value)>,
    taken: Vec<Value>,
    read: Vec<String>,
    token: Option<String>,
}

impl FakeProvider {
    fn new(faults: &Faults) -> Self {
        Self { state: Arc::default(), faults: faults.clone() }
    }

    /// What it does next, in this order; after that it takes everything.
    pub(crate) fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.state.lock().unwrap().script.extend(acts);
    }

    /// What `account` does from now on, where the script says nothing.
    pub(crate) fn mood(&self, account: &str, act: Act) {
        self.state.lock().unwrap().moods.insert(account.to_owned(), act);
    }

    /// The only token it knows from now on.
    pub(crate) fn know_only(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    /// Every call: its path and body.
    pub(crate) fn calls(&self) -> Vec<(String, Value)> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The messages it took.
    pub(crate) fn taken(&self) -> Vec<Value> {
        self.state.lock().unwrap().taken.clone()
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
    /// What the provider says to a call it does not refuse.
    fn take(&mut self, path: &str, body: &Value) -> Value {
        if let Some(method) = path.split("/bot").nth(1).and_then(|rest| rest.split('/').nth(1)) {
            if method == "getFile" {
                return json!({ "ok": true, "result": { "file_id": "1", "file_path": "photos/1.jpg" } });
            }
            if method == "getMe" {
                return json!({ "ok": true, "result": { "id": 700_000_001, "is_bot": true } });
            }
            self.taken.push(body.clone());
            let chat = json!({ "id": body["chat_id"], "type": "private" });
            let message = json!({ "message_id": self.taken.len(), "chat": chat, "date": 1 });
            return json!({ "ok": true, "result": message });
        }
        if body["status"] == "read" {
            self.read.push(body["message_id"].as_str().unwrap_or_default().to_owned());
            return json!({ "success": true });
        }
        if body.is_null() {
            return json!({ "url": "https://graph.test/files/1", "mime_type": "image/jpeg", "id": "1" });
        }
        self.taken.push(body.clone());
        let id = format!("wamid.{}", self.taken.len());
        json!({ "messaging_product": "whatsapp", "messages": [{ "id": id }] })
    }
}

impl HttpClient for FakeProvider {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        tokio::task::yield_now().await;
        let Ok(answered) = self.faults.record_event("call the provider") else {
            return Err(SendError::Connect);
        };
        let path = request.uri().path().to_owned();
        let token = request.headers().get("authorization").and_then(|t| t.to_str().ok());
        let token = token.map(|token| token.trim_start_matches("Bearer ").to_owned());
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let mut state = self.state.lock().unwrap();
        state.calls.push((path.clone(), body.clone()));
        if state.token.is_some() && token != state.token {
            let error = json!({ "error": { "code": 190, "message": "expired" } });
            return Ok(answer(401, &error, None));
        }
        let mood = path.split('/').find_map(|part| state.moods.get(part).cloned());
        let act = state.script.pop_front().or(mood).unwrap_or(Act::Take);
        if path.contains("/file/bot") || path.starts_with("/files/") {
            return match act {
                Act::Refuse(status, body, wait) => Ok(answer(status, &body, wait)),
                _ if answered => Ok(Response::new(Bytes::from_static(b"JPEG"))),
                _ => Err(SendError::NoAnswer),
            };
        }
        let said = match act {
            Act::Take => Ok(answer(200, &state.take(&path, &body), None)),
            Act::TakeInSilence => {
                state.take(&path, &body);
                Err(SendError::NoAnswer)
            }
            Act::Silence => Err(SendError::NoAnswer),
            Act::Unreachable => Err(SendError::Connect),
            Act::Refuse(status, body, wait) => Ok(answer(status, &body, wait)),
        };
        if answered { said } else { Err(SendError::NoAnswer) }
    }
}

/// An answer of an automation: a status, and a `Retry-After` in seconds.
type Answer = (u16, Option<u64>);

/// How an attempt (its time, and its number from 1) fails: after how long; `None` if it does
/// not.
type Failing = Box<dyn Fn(Timestamp, usize) -> Option<Duration> + Send + Sync>;

/// An automation that answers as its script says, then 204. Copies are one.
#[derive(Clone)]
pub(crate) struct FakeReceiver {
    script: Arc<Mutex<VecDeque<Answer>>>,
    told: Arc<Mutex<Vec<(http::HeaderMap, Bytes)>>>,
    always: Arc<Mutex<Option<u16>>>,
    failing: Arc<Mutex<Option<(FakeClock, Failing)>>>,
    faults: Faults,
}

impl FakeReceiver {
    fn new(faults: &Faults) -> Self {
        Self {
            script: Arc::default(),
            told: Arc::default(),
            always: Arc::default(),
            failing: Arc::default(),
            faults: faults.clone(),
        }
    }

    /// What it answers next.
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().extend(answers);
    }

    /// What it answers from now on.
    pub(crate) fn always(&self, status: u16) {
        *self.always.lock().unwrap() = Some(status);
    }

    /// While `failing` says so it fails each attempt after that time, which passes on `clock`.
    pub(crate) fn hang(
        &self,
        clock: FakeClock,
        failing: impl Fn(Timestamp, usize) -> Option<Duration> + Send + Sync + 'static,
    ) {
        *self.failing.lock().unwrap() = Some((clock, Box::new(failing)));
    }

    /// What it was told.
    pub(crate) fn told(&self) -> Vec<(http::HeaderMap, Bytes)> {
        self.told.lock().unwrap().clone()
    }

    /// The ids of what it was told, each once.
    pub(crate) fn ids(&self) -> Vec<String> {
        let id = |headers: &http::HeaderMap| headers["webhook-id"].to_str().unwrap().to_owned();
        let mut ids: Vec<_> = self.told().iter().map(|(headers, _)| id(headers)).collect();
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
        let answered = self
            .faults
            .record_event("tell the automation")
            .map_err(|_| GuardedHttpError::NoAnswer)?;
        let (parts, body) = request.into_parts();
        self.told.lock().unwrap().push((parts.headers, body));
        if let Some((clock, failing)) = &*self.failing.lock().unwrap()
            && let Some(after) = failing(clock.now(), self.told.lock().unwrap().len())
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

/// The worker that tells automations.
pub(crate) type WebhookDispatcher = runtime::automation::WebhookDispatcher<
    DynamoStore,
    FakeCredentials,
    FakeQueue,
    FakeReceiver,
    FakeClock,
    SeededRng,
>;

impl World {
    /// The worker that tells automations, with `queue` for its retries.
    pub(crate) fn dispatcher(&self, queue: &FakeQueue) -> WebhookDispatcher {
        WebhookDispatcher {
            store: self.store.clone(),
            vault: self.vault.clone(),
            queue: queue.clone().with_faults(&self.faults),
            client: self.receiver.clone(),
            clock: self.clock.clone(),
            rng: SeededRng::default(),
        }
    }

    /// Tells the automation everything that is in its queue.
    pub(crate) async fn tell_all(&self) {
        let hub = Self { own: self.automation.clone(), ..self.copy() };
        hub.run_dry(&self.dispatcher(&self.automation), true).await;
    }

    /// The same hub.
    pub(crate) fn copy(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            faults: self.faults.clone(),
            table: self.table.clone(),
            store: self.store.clone(),
            vault: self.vault.clone(),
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

/// The sending side of a provider.
pub(crate) fn carrier(provider: Provider) -> &'static dyn domain::sender::SenderProvider {
    providers::sender(provider).unwrap()
}
