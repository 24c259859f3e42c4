//! Plays one scenario, and looks whether everything held.

#![expect(clippy::indexing_slicing, reason = "what is not in a JSON value is null")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::integration::{Credentials, Integration, Settings};
use domain::ports::Clock;
use domain::webhook::{Delivery, WebhookRequest, receive};
use http::{Method, Request};
use providers::example::Seed;
use providers::{example, shopify};
use serde_json::{Value, json};

use crate::chance::Sequence;
use crate::check::{End, Promised, Told, Violation, Watch, Written};
use crate::cloud::dynamo::Consumed;
use crate::cloud::sqs::{Chaos, NoChaos};
use crate::history::History;
use crate::machine::Machine;
use crate::scenario::{Act, Scenario, Step, Writing};
use crate::stage::{self, Account, SHOPS, Shop, Stage};
use crate::time::{self, VirtualClock};
use crate::trouble::{Place, Plan, Source, Trouble};

/// How long trouble goes on after the last step.
const AFTERMATH: Duration = Duration::from_secs(20);
/// The same where an automation fails, whose later retries wait in the table, and where a shop
/// tells again: what comes so late is to meet trouble too.
const LONG_AFTERMATH: Duration = Duration::from_hours(3);
/// How long everything may take to come to rest: an automation is told for three days.
const PATIENCE: Duration = Duration::from_hours(5 * 24);
/// How long nothing must happen until that is called rest.
const REST: Duration = Duration::from_secs(30);
/// After this no queue knows a record by its id.
const FORGOTTEN: Duration = Duration::from_secs(400);
/// How often a caller of the API tries.
const TRIES: u64 = 400;

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// What did not hold; empty if all is well.
    pub violations: Vec<Violation>,
    /// How often each invariant was looked at.
    pub looks: BTreeMap<&'static str, u64>,
    /// What happened.
    pub history: History,
    /// What went wrong at which place.
    pub troubles: BTreeMap<Place, Trouble>,
    /// What the table was asked for.
    pub consumed: Consumed,
    /// Every place a call came through, and what might have gone wrong there.
    pub places: Vec<(Place, Vec<Trouble>)>,
}

/// What SQS leaves open, by chance.
#[derive(Debug)]
pub struct Whims(pub Sequence);

impl Chaos for Whims {
    fn returned(&mut self, available: usize) -> usize {
        if self.0.below(3) > 0 {
            return available;
        }
        1 + usize::try_from(self.0.below(available as u64)).unwrap_or(0)
    }

    fn next(&mut self, candidates: usize) -> usize {
        if self.0.below(2) > 0 {
            return 0;
        }
        usize::try_from(self.0.below(candidates as u64)).unwrap_or(0)
    }

    fn again(&mut self, candidates: usize) -> Option<usize> {
        if candidates == 0 || self.0.below(12) > 0 {
            return None;
        }
        Some(usize::try_from(self.0.below(candidates as u64)).unwrap_or(0))
    }

    fn older_receipt_counts(&mut self) -> bool {
        self.0.below(2) == 0
    }
}

/// What was done in a run.
#[derive(Debug, Default)]
struct Deeds {
    written: Vec<Written>,
    promised: Vec<Promised>,
    forged: Vec<String>,
    told: Vec<Told>,
    strays: Vec<String>,
    promises: u64,
    waiting: usize,
}

/// Plays `scenario` on `stage`.
///
/// # Errors
/// If the machine it runs on has no means left.
pub fn play(stage: &Stage, scenario: &Scenario) -> Result<Ending, String> {
    let runtime = stage::runtime()?;
    let ending = runtime.block_on(async {
        let machine = stage
            .begin(
                |parts| crate::machine::Parts {
                    plan: Plan::new(scenario.seed, scenario.source.clone()),
                    outages: scenario.outages.clone(),
                    wild: scenario.wild,
                    even: scenario.even,
                    ..parts
                },
                scenario.seed,
            )
            .await;
        let run = Run { stage, machine: machine.clone(), deeds: Arc::default() };
        run.play(scenario).await;
        let ending = run.ending().await;
        machine.shut_down();
        ending
    });
    Ok(ending)
}

struct Run<'a> {
    stage: &'a Stage,
    machine: Arc<Machine>,
    deeds: Arc<Mutex<Deeds>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run<'_> {
    async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let done = stage::control(self.machine.providers(), &method, path, &body).await;
        done.unwrap_or_else(|error| {
            self.machine.watch().violated("rules", format!("the stage is broken: {error}"));
            Value::Null
        })
    }

    async fn play(&self, scenario: &Scenario) {
        let begin = tokio::time::Instant::now();
        self.machine.tell("world", format!("{}, seed {}", scenario.name, scenario.seed.0));
        self.open_windows(&scenario.steps).await;
        self.machine.begin();
        self.begin_sending(&scenario.steps, begin);
        for (number, step) in scenario.steps.iter().enumerate() {
            tokio::time::sleep_until(begin + step.at).await;
            if !matches!(step.act, Act::Sends { .. }) {
                self.machine.tell("world", step.to_string());
                self.act(&step.act, number).await;
            }
        }
        let late = |step: &Step| match step.act {
            Act::AutomationFault { .. } => true,
            Act::Tells { copies, .. } => copies > 1,
            _ => false,
        };
        let is_long = scenario.steps.iter().any(late);
        let aftermath = match scenario.source {
            _ if is_long => LONG_AFTERMATH,
            Source::Given(_) if scenario.even => AFTERMATH,
            // Long enough that what a dead holder left behind meets trouble again.
            _ => AFTERMATH + Duration::from_secs(scenario.seed.below("aftermath", 250)),
        };
        tokio::time::sleep(aftermath).await;
        self.calm_down().await;
        let mut rests = self.rest().await;
        for _ in 0..3 {
            if !rests || !self.redrive() {
                break;
            }
            rests = self.rest().await;
        }
        let what = || "it still goes on after five days".to_owned();
        self.machine.watch().holds("comes-to-rest", rests, what);
    }

    /// Customers who are written to have written before, so that WhatsApp's window is open.
    async fn open_windows(&self, steps: &[Step]) {
        for step in steps {
            let Act::Sends { account, customer } = &step.act else { continue };
            let Some(account) = self.stage.accounts.get(*account) else { continue };
            if account.provider == "whatsapp" {
                let path = format!("/_sim/whatsapp/{}/window", account.name);
                let body =
                    json!({ "customer": account.address(*customer), "last_wrote_ms_ago": 1000 });
                self.control(Method::POST, &path, body).await;
            }
        }
    }

    /// One caller a conversation: it sends one message after the other.
    fn begin_sending(&self, steps: &[Step], begin: tokio::time::Instant) {
        let mut talks: BTreeMap<(usize, u64), Vec<(Duration, u64)>> = BTreeMap::new();
        let mut number = 0;
        for step in steps {
            if let Act::Sends { account, customer } = &step.act {
                number += 1;
                talks.entry((*account, *customer)).or_default().push((step.at, number));
            }
        }
        for ((account_number, customer), sends) in talks {
            let Some(account) = self.stage.accounts.get(account_number).cloned() else { continue };
            let key = self
                .machine
                .keys()
                .iter()
                .find_map(|(key, known)| (known.tenant == account.tenant).then(|| key.clone()));
            let caller = Caller {
                machine: self.machine.clone(),
                deeds: self.deeds.clone(),
                number: account_number,
                to: account.address(customer),
                account,
                key: key.unwrap_or_default(),
            };
            lock(&self.deeds).waiting += sends.len();
            tokio::spawn(async move {
                for (at, number) in sends {
                    tokio::time::sleep_until(begin + at).await;
                    caller.send(number).await;
                    lock(&caller.deeds).waiting -= 1;
                }
            });
        }
    }

    async fn act(&self, act: &Act, number: usize) {
        match act {
            Act::Writes { account, customer, what, copies } => {
                self.write(*account, *customer, *what, *copies, number).await;
            }
            Act::Sends { .. } => {}
            Act::Quiet => self.quiet().await,
            Act::Contradicts { account } => {
                if let Some(account) = self.stage.accounts.get(*account) {
                    self.contradict(account).await;
                }
            }
            Act::ProviderFault { account, fault } => {
                if let Some(account) = self.stage.accounts.get(*account) {
                    let path = format!("/_sim/{}/{}/faults", account.provider, account.name);
                    self.control(Method::POST, &path, json!({ "faults": [fault] })).await;
                }
            }
            Act::AutomationFault { account, script } => {
                if let Some(account) = self.stage.accounts.get(*account) {
                    self.stage
                        .change(&self.machine, "automation", &account.tenant, "script", script)
                        .await;
                }
            }
            Act::Receipts { account, receipts } => {
                if let Some(account) = self.stage.accounts.get(*account) {
                    self.stage
                        .change(&self.machine, "whatsapp", &account.name, "receipts", receipts)
                        .await;
                }
            }
            Act::Forges { account, kind } => {
                if let Some(account) = self.stage.accounts.get(*account) {
                    let text = format!("forged {number}");
                    let path = format!("/_sim/whatsapp/{}/forge", account.name);
                    let body = json!({ "kind": kind, "from": "49155500009999", "text": text });
                    let answer = self.control(Method::POST, &path, body).await;
                    lock(&self.deeds).forged.push(text);
                    let status = answer["webhook_status"].as_u64().unwrap_or(0);
                    // Trouble of our own answers 5xx; nothing answers 2xx.
                    self.machine.watch().holds("forged", !(200..300).contains(&status), || {
                        format!("a forged webhook ({kind}) was answered {status}")
                    });
                }
            }
            Act::Tells { example, copies, forged } => {
                self.tell(*example, *copies, *forged, number);
            }
            Act::Strays => self.stray(number),
            Act::Reaches { account, other } => {
                let accounts = &self.stage.accounts;
                if let (Some(account), Some(other)) = (accounts.get(*account), accounts.get(*other))
                {
                    self.reach(account, other, number).await;
                }
            }
        }
    }

    async fn write(&self, number: usize, customer: u64, what: Writing, copies: u64, step: usize) {
        let Some(account) = self.stage.accounts.get(number) else { return };
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
            Writing::Text => body["text"] = mark.clone().into(),
            Writing::Long => body["text"] = format!("{mark} {}", "x".repeat(210_000)).into(),
            Writing::Picture => {
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
        let file = what != Writing::Text;
        lock(&self.deeds).written.push(Written { account: number, from, text: mark, file });
        let path = format!("/_sim/{}/{}/customer-writes", account.provider, account.name);
        self.control(Method::POST, &path, body).await;
    }

    async fn quiet(&self) {
        let receipts = json!({ "sent": null, "delivered": 20, "read": null });
        for account in &self.stage.accounts {
            let machine = &self.machine;
            self.stage.change(machine, "automation", &account.tenant, "reply", &Value::Null).await;
            if account.provider == "whatsapp" {
                self.stage.change(machine, "whatsapp", &account.name, "receipts", &receipts).await;
            }
        }
    }

    /// The provider says two things of the last message that a number sent.
    async fn contradict(&self, account: &Account) {
        let path = format!("/_sim/whatsapp/{}/accepted", account.name);
        let log = self.control(Method::GET, &path, Value::Null).await;
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
        if self.machine.seed.happens(("contradicts", time::now_us()), 500) {
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
            // The answer may take as long as the hub's trouble lasts.
            let (app, body) = (self.machine.providers().clone(), json!({ "value": value }));
            tokio::spawn(async move {
                drop(stage::control(&app, &Method::POST, &path, &body).await);
            });
        }
    }

    /// A tenant's own app signs for another tenant's number.
    async fn reach(&self, account: &Account, other: &Account, number: usize) {
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
        let answer = self.control(Method::POST, &path, body).await;
        lock(&self.deeds).forged.push(text);
        let status = answer["webhook_status"].as_u64().unwrap_or(0);
        self.machine.watch().holds("forged", !(200..300).contains(&status), || {
            format!("a webhook for another tenant's number was answered {status}")
        });
    }

    /// The operator's app is told of a number that nobody has, until it hears.
    fn stray(&self, number: usize) {
        let mut accounts = self.stage.accounts.iter();
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
        lock(&self.deeds).strays.push(text);
        let path = format!("/_sim/whatsapp/{}/webhook", account.name);
        // The answer may take as long as the hub's trouble lasts.
        let (app, body) = (self.machine.providers().clone(), json!({ "value": value }));
        tokio::spawn(async move {
            drop(stage::control(&app, &Method::POST, &path, &body).await);
        });
    }

    /// The shop tells of something, and again until it is heard.
    fn tell(&self, example: usize, copies: u64, forged: bool, number: usize) {
        let shown = example::of(SHOPS);
        let Some(example) = shown.events.get(example % shown.events.len().max(1)) else { return };
        let machine = &self.machine;
        let now = VirtualClock.now();
        let nonce = format!("{:016x}", machine.seed.bits(("event", number)));
        let draft = (example.draft)(&Seed { at: now, nonce });
        let own = (shown.credentials)();
        let credentials = if forged {
            Credentials::new([(shopify::API_SECRET.to_owned(), vec!["a-guess".into()])])
        } else {
            own.clone()
        };
        let request = (shown.sign)(example, &draft, &credentials, &self.stage.shop.address, now);
        // What is expected is what the provider means by it, were it signed as it should be.
        let right = (shown.sign)(example, &draft, &own, &self.stage.shop.address, now);
        let events = match meant(&self.stage.shop, &own, &right, now) {
            Ok(events) => events,
            Err(reason) => {
                machine.watch().violated("rules", format!("the stage is broken: {reason}"));
                return;
            }
        };
        {
            let mut deeds = lock(&self.deeds);
            deeds.told.extend(events.into_iter().map(|id| Told { id, forged }));
            deeds.waiting += 1;
        }
        let (machine, deeds) = (machine.clone(), self.deeds.clone());
        tokio::spawn(async move {
            for copy in 0..copies {
                if copy > 0 {
                    tokio::time::sleep(FORGOTTEN).await;
                }
                let answered = deliver(&machine, &request).await;
                let heard = (200..300).contains(&answered);
                let (invariant, right) =
                    if forged { ("forged", !heard) } else { ("recorded", heard) };
                machine.watch().holds(invariant, right, || {
                    format!("an event ({number}) was answered {answered}")
                });
            }
            lock(&deeds).waiting -= 1;
        });
    }

    /// Ends all trouble, that of providers and automations too.
    async fn calm_down(&self) {
        self.machine.calm_down();
        for account in &self.stage.accounts {
            let path = format!("/_sim/{}/{}/faults", account.provider, account.name);
            self.control(Method::DELETE, &path, Value::Null).await;
            self.stage
                .change(&self.machine, "automation", &account.tenant, "script", &json!([]))
                .await;
        }
    }

    /// Waits until nothing goes on; `false` if that takes too long.
    async fn rest(&self) -> bool {
        let began = tokio::time::Instant::now();
        let mut quiet_since = None;
        loop {
            let waited = began.elapsed();
            if waited > PATIENCE {
                return false;
            }
            if self.is_quiet().await {
                let since = *quiet_since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() >= REST {
                    return true;
                }
            } else {
                quiet_since = None;
            }
            let pause =
                if waited < Duration::from_mins(10) || quiet_since.is_some() { 5 } else { 60 };
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
    }

    async fn is_quiet(&self) -> bool {
        if !self.machine.is_idle() || lock(&self.deeds).waiting > 0 {
            return false;
        }
        if self.machine.next_due_ms().is_some() {
            return false;
        }
        let left = {
            let cloud = self.machine.cloud();
            let functions = self.machine.deployment.functions.values();
            let read = functions.filter_map(|function| function.reads.as_ref());
            read.filter_map(|(queue, _)| self.machine.deployment.queues.get(queue))
                .any(|queue| cloud.sqs.messages(&queue.url).next().is_some())
        };
        if left {
            return false;
        }
        for account in &self.stage.accounts {
            let path = format!("/_sim/{}/{}", account.provider, account.name);
            let state = self.control(Method::GET, &path, Value::Null).await;
            if state["pending_webhooks"].as_u64() != Some(0) {
                return false;
            }
        }
        true
    }

    /// Puts dead letters back, as an operator does after a repair; `false` if there are none.
    fn redrive(&self) -> bool {
        let mut any = false;
        let queues: Vec<_> = self.machine.deployment.queues.values().cloned().collect();
        for queue in queues {
            let Some(dead) = &queue.dead_letters else { continue };
            let mut cloud = self.machine.cloud();
            let letters: Vec<_> = cloud.sqs.messages(dead).cloned().collect();
            for letter in letters {
                any = true;
                self.machine.tell("operator", "puts a dead letter back");
                let source = letter.dead_letter_source.is_some();
                let reason = letter.attributes.contains_key("reason");
                self.machine.watch().holds("nothing-left", source || reason, || {
                    format!("a dead letter of {} has no reason", queue.url)
                });
                let mut send = json!({ "QueueUrl": queue.url, "MessageBody": letter.body });
                if let Some(group) = &letter.group {
                    send["MessageGroupId"] = group.clone().into();
                }
                if queue.fifo {
                    let id = format!("redriven-{}", letter.message_id);
                    send["MessageDeduplicationId"] = id.into();
                }
                let now_ms = time::now_ms();
                let back = cloud.sqs.call("SendMessage", &send, now_ms, &mut NoChaos);
                if let Err(refusal) = back {
                    self.machine.watch().violated("nothing-left", refusal.message);
                }
            }
            // They were all put back.
            loop {
                let wish = json!({ "QueueUrl": dead, "MaxNumberOfMessages": 10 });
                let now_ms = time::now_ms();
                let received = cloud.sqs.call("ReceiveMessage", &wish, now_ms, &mut NoChaos);
                let received = received.unwrap_or_default();
                let received = received["Messages"].as_array().cloned().unwrap_or_default();
                if received.is_empty() {
                    break;
                }
                for message in received {
                    let wish =
                        json!({ "QueueUrl": dead, "ReceiptHandle": message["ReceiptHandle"] });
                    drop(cloud.sqs.call("DeleteMessage", &wish, now_ms, &mut NoChaos));
                }
            }
        }
        if any {
            self.machine.wake();
        }
        any
    }

    async fn ending(&self) -> Ending {
        let mut accepted = Vec::new();
        for account in &self.stage.accounts {
            // What the spare number took, it took for this one.
            let mut taken = Vec::new();
            for name in [Some(&account.name), account.spare.as_ref()].into_iter().flatten() {
                let path = format!("/_sim/{}/{name}/accepted", account.provider);
                let mut log = self.control(Method::GET, &path, Value::Null).await;
                taken.append(
                    &mut log["accepted"].as_array_mut().map(std::mem::take).unwrap_or_default(),
                );
            }
            taken.sort_by_key(|entry| entry["seq"].as_u64());
            accepted.push(taken);
        }
        let mut told = BTreeMap::new();
        for account in &self.stage.accounts {
            if told.contains_key(&account.tenant) {
                continue;
            }
            let path = format!("/_sim/automation/{}/deliveries", account.tenant);
            let mut log = self.control(Method::GET, &path, Value::Null).await;
            let log = log["deliveries"].as_array_mut().map(std::mem::take).unwrap_or_default();
            told.insert(account.tenant.clone(), log);
        }
        let log = self.control(Method::GET, "/_sim/log?limit=100000", Value::Null).await;
        let broken_rules: Vec<String> = log["events"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|event| event["kind"] == "violation")
            .map(Value::to_string)
            .collect();
        let left = self.left();
        let deeds = lock(&self.deeds);
        let mut watch = std::mem::take(&mut *self.machine.watch());
        {
            let cloud = self.machine.cloud();
            let end = End {
                accounts: &self.stage.accounts,
                before: &self.stage.before,
                cloud: &cloud,
                written: &deeds.written,
                promised: &deeds.promised,
                forged: &deeds.forged,
                shop: &self.stage.shop,
                events: &deeds.told,
                strays: &deeds.strays,
                accepted: &accepted,
                told: &told,
                broken_rules: &broken_rules,
                left: &left,
            };
            end.check(&mut watch);
        }
        let Watch { violations, looks, .. } = watch;
        Ending {
            violations,
            looks,
            history: self.machine.history(),
            consumed: self.machine.cloud().dynamo.consumed().clone(),
            troubles: self.machine.plan.met(),
            places: self.machine.plan.places(),
        }
    }

    /// Records where none should be.
    fn left(&self) -> Vec<String> {
        let cloud = self.machine.cloud();
        let mut left = Vec::new();
        for queue in self.machine.deployment.queues.values() {
            for url in std::iter::once(&queue.url).chain(&queue.dead_letters) {
                let count = cloud.sqs.messages(url).count();
                if count > 0 {
                    left.push(format!("{count} records are left in {url}"));
                }
            }
        }
        left
    }
}

/// The ids of the events that `request` tells of.
fn meant(
    shop: &Shop,
    credentials: &Credentials,
    request: &WebhookRequest,
    now: jiff::Timestamp,
) -> Result<Vec<String>, String> {
    let integration = Integration {
        circuit: domain::circuit::Breaker::default(),
        id: shop.integration.parse().map_err(|_| "the shop has no id")?,
        tenant: shop.tenant.parse().map_err(|_| "the shop has no tenant")?,
        provider: SHOPS,
        settings: Settings::Own((example::of(SHOPS).settings)()),
        account: None,
        hints: BTreeMap::new(),
        created_at: now,
        credentials_at: now,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    };
    let source = providers::webhook(SHOPS).source(&integration, credentials);
    match receive(source.as_ref(), request, now).map_err(|error| error.to_string())? {
        Delivery::Events(events) => Ok(events.into_iter().map(|event| event.id).collect()),
        _ => Err("it is no event".to_owned()),
    }
}

/// Posts a webhook until it is answered with something that ends it; gives that answer.
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

/// A caller of the API.
struct Caller {
    machine: Arc<Machine>,
    deeds: Arc<Mutex<Deeds>>,
    number: usize,
    account: Account,
    to: String,
    key: String,
}

impl Caller {
    /// Sends one message: the same request until it is promised.
    async fn send(&self, number: u64) {
        let text = format!("sent {number}");
        let body = json!({
            "to": self.to, "channel": self.account.provider,
            "integration": self.account.integration, "text": text,
        });
        let place = {
            let mut deeds = lock(&self.deeds);
            deeds.promised.push(Promised {
                account: self.number,
                to: self.to.clone(),
                text: text.clone(),
                ids: std::collections::BTreeSet::new(),
                accepted: None,
            });
            deeds.promised.len() - 1
        };
        for attempt in 0..TRIES {
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
                let mut deeds = lock(&self.deeds);
                deeds.promises += 1;
                let order = deeds.promises;
                if let Some(promised) = deeds.promised.get_mut(place) {
                    promised.accepted.get_or_insert(order);
                    promised.ids.insert(id);
                }
                drop(deeds);
                // Now and then a caller asks again although it was promised.
                if attempt > 0 || self.machine.seed.happens(("again", number), 300) {
                    if self.machine.is_calm() {
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
                    .watch()
                    .violated("fate-known", format!("{text:?} was answered {status}"));
                return;
            }
            let wait = 200 + self.machine.seed.below(("caller", number, attempt), 4000);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }
}
