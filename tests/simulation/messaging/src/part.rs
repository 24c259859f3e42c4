//! Messaging's part in a run: its actions, observations and checks.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::integration::{Credentials, Integration, Settings};
use domain::ports::Clock;
use domain::webhook::{ParsedWebhook, WebhookRequest, receive};
use http::{Method, Request};
use providers::example::Seed;
use providers::{example, shopify};
use serde_json::{Value, json};
use simulation::feature::{Part, TableCall, Work};
use simulation::initial_state;
use simulation::machine::Machine;
use simulation::monitor::Monitor;
use simulation::run::Run;
use simulation::scenario::{self, Step};
use simulation::time::{self, VirtualClock};
use testkit::cloud::Cloud;

use crate::check::{self, CustomerMessage, FinalState, SendRequest, SentEvent};
use crate::fixtures::{Account, SHOP_PROVIDER, Shop, World};
use crate::scenario::{Action, MessageKind};

/// Longer than the deduplication interval of the queues.
const DEDUPLICATION_EXPIRED: Duration = Duration::from_secs(400);
/// Most attempts of an API client to send a message.
const SEND_ATTEMPTS: u64 = 400;

/// Log of the actions of a run.
#[derive(Debug, Default)]
struct RunLog {
    written: Vec<CustomerMessage>,
    requested: Vec<SendRequest>,
    forged: Vec<String>,
    sent_events: Vec<SentEvent>,
    unclaimed: Vec<String>,
    acceptances: u64,
    waiting: usize,
}

/// Messaging's part in a run.
#[derive(Debug)]
pub(crate) struct MessagingPart {
    world: Arc<World>,
    log: Arc<Mutex<RunLog>>,
    /// Messages that the current request to the table names, with their ranks before it.
    ranks: Mutex<Vec<(String, Option<i64>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MessagingPart {
    pub(crate) fn new(world: Arc<World>) -> Self {
        Self { world, log: Arc::default(), ranks: Mutex::default() }
    }
}

impl Part for MessagingPart {
    fn table_call_begins(&self, call: &TableCall<'_>, cloud: &Cloud, _monitor: &mut Monitor) {
        let keys = check::messages_in(call.body).into_iter();
        let ranks = keys.map(|pk| {
            let rank = check::rank(cloud, &pk);
            (pk, rank)
        });
        *lock(&self.ranks) = ranks.collect();
    }

    fn table_call_ended(&self, call: &TableCall<'_>, cloud: &Cloud, monitor: &mut Monitor) {
        for (pk, before) in lock(&self.ranks).drain(..) {
            check::check_rank(monitor, &call.origin.who, &pk, before, check::rank(cloud, &pk));
        }
    }

    fn provider_call_begins(
        &self,
        who: &str,
        request: &Request<Bytes>,
        cloud: &Cloud,
        monitor: &mut Monitor,
    ) {
        check::check_claimed(monitor, who, cloud, request);
    }

    fn prepare<'a>(&'a self, run: &'a Run<'_>, steps: &'a [Step]) -> Work<'a, ()> {
        Box::pin(Doing { run, part: self }.open_windows(steps))
    }

    fn begin(&self, run: &Run<'_>, steps: &[Step], begin: tokio::time::Instant) {
        Doing { run, part: self }.begin_sending(steps, begin);
    }

    fn end_faults<'a>(&'a self, run: &'a Run<'_>) -> Work<'a, ()> {
        Box::pin(Doing { run, part: self }.end_faults())
    }

    fn is_quiet<'a>(&'a self, run: &'a Run<'_>) -> Work<'a, bool> {
        Box::pin(Doing { run, part: self }.is_quiet())
    }

    fn check_invariants<'a>(&'a self, run: &'a Run<'_>) -> Work<'a, ()> {
        Box::pin(Doing { run, part: self }.check_invariants())
    }
}

impl scenario::Action for Action {
    fn perform<'a>(&'a self, run: &'a Run<'_>, number: usize) -> Work<'a, ()> {
        Box::pin(async move {
            if let Some(part) = run.part::<MessagingPart>() {
                Doing { run, part }.perform(self, number).await;
            } else {
                let what = "the simulation is broken: messaging is not registered".to_owned();
                run.machine.monitor().record_violation("rules", what);
            }
        })
    }

    fn runs_in_background(&self) -> bool {
        matches!(self, Self::Sends { .. })
    }

    fn has_late_effects(&self) -> bool {
        match self {
            // Later retries are scheduled in the table.
            Self::AutomationFault { .. } => true,
            Self::SendsEvent { copies, .. } => *copies > 1,
            _ => false,
        }
    }
}

/// The part together with its run.
#[derive(Clone, Copy)]
struct Doing<'a> {
    run: &'a Run<'a>,
    part: &'a MessagingPart,
}

impl Doing<'_> {
    /// Opens WhatsApp's service window for customers that messages are sent to.
    async fn open_windows(self, steps: &[Step]) {
        for step in steps {
            let Some(Action::Sends { account, customer }) = step.action_as() else { continue };
            let Some(account) = self.part.world.accounts.get(*account) else { continue };
            if account.provider == "whatsapp" {
                let path = format!("/_sim/whatsapp/{}/window", account.name);
                let body =
                    json!({ "customer": account.address(*customer), "last_wrote_ms_ago": 1000 });
                self.run.control(Method::POST, &path, body).await;
            }
        }
    }

    /// Starts one API client for each conversation, which sends its messages one by one.
    fn begin_sending(self, steps: &[Step], begin: tokio::time::Instant) {
        let mut conversations: BTreeMap<(usize, u64), Vec<(Duration, u64)>> = BTreeMap::new();
        let mut number = 0;
        for step in steps {
            if let Some(Action::Sends { account, customer }) = step.action_as() {
                number += 1;
                conversations.entry((*account, *customer)).or_default().push((step.at, number));
            }
        }
        for ((account_number, customer), sends) in conversations {
            let Some(account) = self.part.world.accounts.get(account_number).cloned() else {
                continue;
            };
            let key = self
                .run
                .machine
                .keys()
                .iter()
                .find_map(|(key, known)| (known.tenant == account.tenant).then(|| key.clone()));
            let client = ApiClient {
                machine: self.run.machine.clone(),
                log: self.part.log.clone(),
                number: account_number,
                to: account.address(customer),
                account,
                key: key.unwrap_or_default(),
            };
            lock(&self.part.log).waiting += sends.len();
            tokio::spawn(async move {
                for (at, number) in sends {
                    tokio::time::sleep_until(begin + at).await;
                    client.send(number).await;
                    lock(&client.log).waiting -= 1;
                }
            });
        }
    }

    async fn perform(self, action: &Action, number: usize) {
        match action {
            Action::Writes { account, customer, what, copies } => {
                self.write(*account, *customer, *what, *copies, number).await;
            }
            Action::Sends { .. } => {}
            Action::Quiet => self.quiet().await,
            Action::Contradicts { account } => {
                if let Some(account) = self.part.world.accounts.get(*account) {
                    self.contradict(account).await;
                }
            }
            Action::ProviderFault { account, fault } => {
                if let Some(account) = self.part.world.accounts.get(*account) {
                    let path = format!("/_sim/{}/{}/faults", account.provider, account.name);
                    self.run.control(Method::POST, &path, json!({ "faults": [fault] })).await;
                }
            }
            Action::AutomationFault { account, script } => {
                if let Some(account) = self.part.world.accounts.get(*account) {
                    self.run
                        .initial_state
                        .change_setting(
                            &self.run.machine,
                            "automation",
                            &account.tenant,
                            "script",
                            script,
                        )
                        .await;
                }
            }
            Action::Receipts { account, receipts } => {
                if let Some(account) = self.part.world.accounts.get(*account) {
                    self.run
                        .initial_state
                        .change_setting(
                            &self.run.machine,
                            "whatsapp",
                            &account.name,
                            "receipts",
                            receipts,
                        )
                        .await;
                }
            }
            Action::Forges { account, kind } => {
                if let Some(account) = self.part.world.accounts.get(*account) {
                    let text = format!("forged {number}");
                    let path = format!("/_sim/whatsapp/{}/forge", account.name);
                    let body = json!({ "kind": kind, "from": "49155500009999", "text": text });
                    let answer = self.run.control(Method::POST, &path, body).await;
                    lock(&self.part.log).forged.push(text);
                    let status = answer["webhook_status"].as_u64().unwrap_or(0);
                    // A failure of the hub is 5xx; a 2xx would accept the forgery.
                    self.run.machine.monitor().check(
                        "forged",
                        !(200..300).contains(&status),
                        || format!("a forged webhook ({kind}) got the response {status}"),
                    );
                }
            }
            Action::SendsEvent { example, copies, forged } => {
                self.send_event(*example, *copies, *forged, number);
            }
            Action::WritesToUnclaimed => self.write_to_unclaimed(number),
            Action::SignsForOther { account, other } => {
                let accounts = &self.part.world.accounts;
                if let (Some(account), Some(other)) = (accounts.get(*account), accounts.get(*other))
                {
                    self.sign_for_other(account, other, number).await;
                }
            }
        }
    }

    async fn write(
        self,
        number: usize,
        customer: u64,
        what: MessageKind,
        copies: u64,
        step: usize,
    ) {
        let Some(account) = self.part.world.accounts.get(number) else { return };
        let from = account.address(customer);
        let mark = format!("said {step} by {customer}.");
        let mut body = if account.provider == "whatsapp" {
            json!({ "from": from, "name": "Zoë" })
        } else {
            json!({ "chat_id": from.parse::<i64>().unwrap_or(0), "name": "Zoë" })
        };
        body["wait"] = false.into();
        body["repeat"] = copies.into();
        let picture = json!({ "mime_type": "image/jpeg", "content_base64": "/9j/4AAQSkZJRg==" });
        match what {
            MessageKind::Text => body["text"] = mark.clone().into(),
            MessageKind::Long => body["text"] = format!("{mark} {}", "x".repeat(210_000)).into(),
            MessageKind::Picture => {
                body["media"] = picture;
                if account.provider == "whatsapp" {
                    body["type"] = "image".into();
                    body["object"] = json!({ "caption": mark });
                } else {
                    body["type"] = "photo".into();
                    body["caption"] = mark.clone().into();
                }
            }
        }
        let file = what != MessageKind::Text;
        lock(&self.part.log).written.push(CustomerMessage {
            account: number,
            from,
            text: mark,
            file,
        });
        let path = format!("/_sim/{}/{}/customer-writes", account.provider, account.name);
        self.run.control(Method::POST, &path, body).await;
    }

    async fn quiet(self) {
        let receipts = json!({ "sent": null, "delivered": 20, "read": null });
        for account in &self.part.world.accounts {
            let machine = &self.run.machine;
            self.run
                .initial_state
                .change_setting(machine, "automation", &account.tenant, "reply", &Value::Null)
                .await;
            if account.provider == "whatsapp" {
                self.run
                    .initial_state
                    .change_setting(machine, "whatsapp", &account.name, "receipts", &receipts)
                    .await;
            }
        }
    }

    /// Sends a `failed` and a `delivered` receipt for the last message of a number.
    async fn contradict(self, account: &Account) {
        let path = format!("/_sim/whatsapp/{}/accepted", account.name);
        let log = self.run.control(Method::GET, &path, Value::Null).await;
        let Some(last) = log["accepted"].as_array().and_then(|all| all.last()) else { return };
        let said = |status: &str, errors: Value| {
            json!({
                "id": last["wamid"], "status": status, "recipient_id": last["to"],
                "timestamp": (time::now_ms() / 1000).to_string(), "errors": errors,
                "biz_opaque_callback_data": last["opaque"],
            })
        };
        let failed = said("failed", json!([{ "code": 131_026, "title": "undeliverable" }]));
        let arrived = said("delivered", Value::Null);
        let mut both = [failed, arrived];
        if self.run.machine.seed.happens(("contradicts", time::now_us()), 500) {
            both.reverse();
        }
        for status in both {
            let value = json!({
                "messaging_product": "whatsapp",
                "metadata": {
                    "display_phone_number": "15550000000", "phone_number_id": account.name,
                },
                "statuses": [status],
            });
            let path = format!("/_sim/whatsapp/{}/webhook", account.name);
            // The response may be delayed as long as faults continue.
            let (app, body) = (self.run.machine.providers().clone(), json!({ "value": value }));
            tokio::spawn(async move {
                drop(initial_state::control(&app, &Method::POST, &path, &body).await);
            });
        }
    }

    /// A tenant's app signs a webhook for another tenant's number.
    async fn sign_for_other(self, account: &Account, other: &Account, number: usize) {
        let text = format!("forged {number}");
        let value = json!({
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "15550000000", "phone_number_id": other.name },
            "contacts": [{ "profile": { "name": "Zoë" }, "wa_id": "49155500009999" }],
            "messages": [{
                "from": "49155500009999", "id": format!("wamid.reach{number}"),
                "timestamp": (time::now_ms() / 1000).to_string(),
                "type": "text", "text": { "body": text },
            }],
        });
        let path = format!("/_sim/whatsapp/{}/webhook", account.name);
        let body = json!({ "value": value, "redeliver": false });
        let answer = self.run.control(Method::POST, &path, body).await;
        lock(&self.part.log).forged.push(text);
        let status = answer["webhook_status"].as_u64().unwrap_or(0);
        self.run.machine.monitor().check("forged", !(200..300).contains(&status), || {
            format!("a webhook for another tenant's number got the response {status}")
        });
    }

    /// Sends a message for an unclaimed number to the operator's app until it is acknowledged.
    fn write_to_unclaimed(self, number: usize) {
        let mut accounts = self.part.world.accounts.iter();
        let Some(account) = accounts.find(|account| account.through_platform) else { return };
        let text = format!("stray {number}.");
        let value = json!({
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "15550000000", "phone_number_id": "40404" },
            "contacts": [{ "profile": { "name": "Zoë" }, "wa_id": "49155500009999" }],
            "messages": [{
                "from": "49155500009999", "id": format!("wamid.stray{number}"),
                "timestamp": (time::now_ms() / 1000).to_string(),
                "type": "text", "text": { "body": text },
            }],
        });
        lock(&self.part.log).unclaimed.push(text);
        let path = format!("/_sim/whatsapp/{}/webhook", account.name);
        // The response may be delayed as long as faults continue.
        let (app, body) = (self.run.machine.providers().clone(), json!({ "value": value }));
        tokio::spawn(async move {
            drop(initial_state::control(&app, &Method::POST, &path, &body).await);
        });
    }

    /// Sends an event of the shop until it is acknowledged.
    fn send_event(self, example: usize, copies: u64, forged: bool, number: usize) {
        let shown = example::of(SHOP_PROVIDER);
        let Some(example) = shown.events.get(example % shown.events.len().max(1)) else { return };
        let machine = &self.run.machine;
        let now = VirtualClock.now();
        let nonce = format!("{:016x}", machine.seed.bits(("event", number)));
        let draft = (example.draft)(&Seed { at: now, nonce });
        let own = (shown.credentials)();
        let credentials = if forged {
            Credentials::new([(shopify::API_SECRET.to_owned(), vec!["a-guess".into()])])
        } else {
            own.clone()
        };
        let request =
            (shown.sign)(example, &draft, &credentials, &self.part.world.shop.address, now);
        // The expected events are those of the correctly signed request.
        let right = (shown.sign)(example, &draft, &own, &self.part.world.shop.address, now);
        let events = match event_ids(&self.part.world.shop, &own, &right, now) {
            Ok(events) => events,
            Err(reason) => {
                machine
                    .monitor()
                    .record_violation("rules", format!("the simulation is broken: {reason}"));
                return;
            }
        };
        {
            let mut log = lock(&self.part.log);
            log.sent_events.extend(events.into_iter().map(|id| SentEvent { id, forged }));
            log.waiting += 1;
        }
        let (machine, log) = (machine.clone(), self.part.log.clone());
        tokio::spawn(async move {
            for copy in 0..copies {
                if copy > 0 {
                    tokio::time::sleep(DEDUPLICATION_EXPIRED).await;
                }
                let status = deliver(&machine, &request).await;
                let accepted = (200..300).contains(&status);
                let (invariant, right) =
                    if forged { ("forged", !accepted) } else { ("recorded", accepted) };
                machine.monitor().check(invariant, right, || {
                    format!("an event ({number}) got the response {status}")
                });
            }
            lock(&log).waiting -= 1;
        });
    }

    /// Ends the faults of providers and automations.
    async fn end_faults(self) {
        for account in &self.part.world.accounts {
            let path = format!("/_sim/{}/{}/faults", account.provider, account.name);
            self.run.control(Method::DELETE, &path, Value::Null).await;
            self.run
                .initial_state
                .change_setting(
                    &self.run.machine,
                    "automation",
                    &account.tenant,
                    "script",
                    &json!([]),
                )
                .await;
        }
    }

    async fn is_quiet(self) -> bool {
        if lock(&self.part.log).waiting > 0 {
            return false;
        }
        for account in &self.part.world.accounts {
            let path = format!("/_sim/{}/{}", account.provider, account.name);
            let state = self.run.control(Method::GET, &path, Value::Null).await;
            if state["pending_webhooks"].as_u64() != Some(0) {
                return false;
            }
        }
        true
    }

    async fn check_invariants(self) {
        let mut accepted = Vec::new();
        for account in &self.part.world.accounts {
            // Messages accepted from the spare number count for this account.
            let mut entries = Vec::new();
            for name in [Some(&account.name), account.spare.as_ref()].into_iter().flatten() {
                let path = format!("/_sim/{}/{name}/accepted", account.provider);
                let mut log = self.run.control(Method::GET, &path, Value::Null).await;
                entries.append(
                    &mut log["accepted"].as_array_mut().map(std::mem::take).unwrap_or_default(),
                );
            }
            entries.sort_by_key(|entry: &Value| entry["seq"].as_u64());
            accepted.push(entries);
        }
        let mut notifications = BTreeMap::new();
        for account in &self.part.world.accounts {
            if notifications.contains_key(&account.tenant) {
                continue;
            }
            let path = format!("/_sim/automation/{}/deliveries", account.tenant);
            let mut log = self.run.control(Method::GET, &path, Value::Null).await;
            let log = log["deliveries"].as_array_mut().map(std::mem::take).unwrap_or_default();
            notifications.insert(account.tenant.clone(), log);
        }
        let log = lock(&self.part.log);
        let cloud = self.run.machine.cloud();
        let end = FinalState {
            accounts: &self.part.world.accounts,
            before: &self.part.world.before,
            cloud: &cloud,
            written: &log.written,
            requested: &log.requested,
            forged: &log.forged,
            shop: &self.part.world.shop,
            events: &log.sent_events,
            unclaimed: &log.unclaimed,
            accepted: &accepted,
            notifications: &notifications,
        };
        end.check(&mut self.run.machine.monitor());
    }
}

/// Returns the ids of the events in `request`.
fn event_ids(
    shop: &Shop,
    credentials: &Credentials,
    request: &WebhookRequest,
    now: jiff::Timestamp,
) -> Result<Vec<String>, String> {
    let integration = Integration {
        circuit: domain::circuit::Breaker::default(),
        id: shop.integration.parse().map_err(|_| "the shop has no id")?,
        tenant: shop.tenant.parse().map_err(|_| "the shop has no tenant")?,
        provider: SHOP_PROVIDER,
        settings: Settings((example::of(SHOP_PROVIDER).settings)()),
        account: None,
        hints: BTreeMap::new(),
        created_at: now,
        credentials_at: now,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    };
    let webhook = providers::webhook(SHOP_PROVIDER).ok_or("the shop's provider has no webhook")?;
    let source = webhook.source(&integration, credentials);
    match receive(source.as_ref(), request, now).map_err(|error| error.to_string())? {
        ParsedWebhook::Events(events) => Ok(events.into_iter().map(|event| event.id).collect()),
        _ => Err("it is not an event".to_owned()),
    }
}

/// Sends a webhook until the response is final, and returns its status.
async fn deliver(machine: &Arc<Machine>, webhook: &WebhookRequest) -> u16 {
    let mut wait = Duration::from_secs(2);
    loop {
        let mut request = Request::new(webhook.body.clone());
        *request.method_mut() = webhook.method.clone();
        *request.uri_mut() = webhook.url.parse().unwrap_or_default();
        *request.headers_mut() = webhook.headers.clone();
        let answer = machine.request(request).await;
        let status = answer.map_or(0, |answer| answer.status().as_u16());
        if (200..500).contains(&status) {
            return status;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_mins(1));
    }
}

/// A client of the hub's API.
struct ApiClient {
    machine: Arc<Machine>,
    log: Arc<Mutex<RunLog>>,
    number: usize,
    account: Account,
    to: String,
    key: String,
}

impl ApiClient {
    /// Sends one message, and repeats the request until it is accepted.
    async fn send(&self, number: u64) {
        let text = format!("sent {number}");
        let body = json!({
            "to": self.to, "channel": self.account.provider,
            "integration": self.account.integration, "text": text,
        });
        let index = {
            let mut log = lock(&self.log);
            log.requested.push(SendRequest {
                account: self.number,
                to: self.to.clone(),
                text: text.clone(),
                ids: std::collections::BTreeSet::new(),
                accepted: None,
            });
            log.requested.len() - 1
        };
        for attempt in 0..SEND_ATTEMPTS {
            let request = Request::post("https://hub.test/messages")
                .header("authorization", format!("Bearer {}", self.key))
                .header("content-type", "application/json")
                .header("idempotency-key", format!("key-{number}"))
                .body(Bytes::from(body.to_string()));
            let Ok(request) = request else { return };
            let answer = self.machine.request(request).await;
            let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            if (200..300).contains(&status) {
                let body = answer.map(http::Response::into_body).unwrap_or_default();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let id = body["id"].as_str().unwrap_or_default().to_owned();
                let mut log = lock(&self.log);
                log.acceptances += 1;
                let order = log.acceptances;
                if let Some(requested) = log.requested.get_mut(index) {
                    requested.accepted.get_or_insert(order);
                    requested.ids.insert(id);
                }
                drop(log);
                // Sometimes a client repeats an accepted request.
                if attempt > 0 || self.machine.seed.happens(("again", number), 300) {
                    if self.machine.faults_have_ended() {
                        return;
                    }
                    if self.machine.seed.happens(("and again", number, attempt), 500) {
                        return;
                    }
                } else {
                    return;
                }
            } else if (400..500).contains(&status) && status != 429 {
                self.machine
                    .monitor()
                    .record_violation("fate-known", format!("{text:?} was answered {status}"));
                return;
            }
            let wait = 200 + self.machine.seed.below(("caller", number, attempt), 4000);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }
}
