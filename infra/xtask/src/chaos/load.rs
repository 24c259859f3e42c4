//! Load generator: customers and tenants in many concurrent conversations, each in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    fixtures::{Account, Fixtures, Tenant},
    observations::{Observations, update},
    plan::{Conversation, Provider},
    rng::Rng,
};
use crate::error::{Error, Result};

/// Most messages per conversation that wait to be sent. Otherwise most would be sent after the
/// faults have stopped.
const MAX_WAITING: u64 = 15;
const POLL: Duration = Duration::from_millis(30);
/// Time limit of each step. The hub's queues hide a record for minutes after a kill.
const STEP_TIMEOUT: Duration = Duration::from_mins(10);
/// Most attempts of a tenant to send a message.
const SEND_ATTEMPTS: u32 = 60;

/// A message that a customer wrote.
#[derive(Clone, Debug)]
pub(crate) struct CustomerMessage {
    pub(crate) tenant: String,
    pub(crate) address: String,
    pub(crate) text: String,
}

/// A message that a tenant asked the hub to send.
#[derive(Clone, Debug)]
pub(crate) struct SendRequest {
    pub(crate) tenant: String,
    pub(crate) address: String,
    pub(crate) text: String,
    /// Message ids that the hub returned: one, however often the request was repeated.
    pub(crate) ids: BTreeSet<String>,
    /// The hub's last error response, if it rejected the request.
    pub(crate) refusal: Option<String>,
}

/// Everything that was sent to the hub.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pub(crate) written: Vec<CustomerMessage>,
    pub(crate) requested: Vec<SendRequest>,
    /// Steps that timed out.
    pub(crate) stuck: Vec<String>,
    /// Calls to the hub without a success response, by status. 0 means no response.
    pub(crate) failures: BTreeMap<u16, u64>,
}

/// Options of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadOptions {
    /// Seed of the random number generator.
    pub(crate) seed: u64,
    /// Number of concurrent conversations.
    pub(crate) at_once: usize,
    /// How many messages a customer may write beyond those the automation was notified of.
    pub(crate) ahead: usize,
}

/// The load generator.
pub(crate) struct Load<'a> {
    pub(crate) fixtures: &'a Fixtures,
    pub(crate) conversations: &'a [Conversation],
    pub(crate) seen: &'a Mutex<Observations>,
    pub(crate) options: LoadOptions,
    /// Everything that was sent so far.
    pub(crate) input: Mutex<Input>,
    /// Number of finished conversations.
    pub(crate) done: AtomicUsize,
    next: AtomicUsize,
}

impl<'a> Load<'a> {
    pub(crate) fn new(
        fixtures: &'a Fixtures,
        conversations: &'a [Conversation],
        seen: &'a Mutex<Observations>,
        options: LoadOptions,
    ) -> Self {
        Self {
            fixtures,
            conversations,
            seen,
            options,
            input: Mutex::default(),
            done: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
        }
    }

    /// Runs all conversations.
    pub(crate) fn run(&self) -> Result<()> {
        thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.options.at_once).map(|_| scope.spawn(|| self.work())).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().map_err(|_| Error::step("load", "a customer panicked"))?
            })
        })
    }

    fn work(&self) -> Result<()> {
        while let Some(conversation) =
            self.conversations.get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            self.conversation(conversation)?;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Updates the input.
    pub(crate) fn input<T>(&self, change: impl FnOnce(&mut Input) -> T) -> T {
        change(&mut self.input.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait_until(&self, what: &str, condition: impl Fn(&Observations) -> bool) {
        let deadline = Instant::now() + STEP_TIMEOUT;
        while !condition(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
            if Instant::now() > deadline {
                self.input(|input| input.stuck.push(what.to_owned()));
                return;
            }
            sleep(POLL);
        }
    }

    fn conversation(&self, conversation: &Conversation) -> Result<()> {
        let missing = || Error::step("load", "a conversation without an account");
        let account = self.fixtures.accounts.get(conversation.account).ok_or_else(missing)?;
        let tenant = self.fixtures.tenants.get(account.tenant).ok_or_else(missing)?;
        let stream = u64::try_from(conversation.number).unwrap_or_default();
        let mut rng = Rng::new(self.options.seed, 1_000 + stream);
        let texts: Vec<String> = conversation.writes().collect();
        let room = MAX_WAITING * u64::try_from(self.options.at_once).unwrap_or(u64::MAX);
        for (nth, text) in texts.iter().enumerate() {
            self.wait_until("room in the queues", |seen| seen.open_sends() < room);
            let id = self.write(account, conversation, text)?;
            let (tenant_id, address) = (tenant.id.clone(), conversation.address.clone());
            let written = CustomerMessage { tenant: tenant_id, address, text: text.clone() };
            self.input(|input| input.written.push(written));
            if account.provider == Provider::Whatsapp {
                // Meta does not order webhooks, so the next message waits for the response to this
                // one.
                self.wait_until(&format!("the webhook for {text:?}"), |seen| seen.is_answered(&id));
            }
            let known = (nth + 1).checked_sub(self.options.ahead).and_then(|at| texts.get(at));
            if let Some(known) = known {
                self.wait_until(&format!("a notification of {known:?}"), |seen| {
                    seen.is_notified(known)
                });
            }
            if let Some(post) = conversation.post_after(nth) {
                let first = texts.first().unwrap_or(text);
                self.wait_until(&format!("a notification of {first:?}"), |seen| {
                    seen.is_notified(first)
                });
                self.post(tenant, account, conversation, post, &mut rng);
            }
            // Telegram allows one message per second in a chat.
            let pause = if account.provider == Provider::Telegram { 1500 } else { 300 };
            sleep(Duration::from_millis(rng.between(0, pause)));
        }
        Ok(())
    }

    /// Has a customer write. Returns the id for [`Observations::is_answered`].
    pub(crate) fn write(
        &self,
        account: &Account,
        conversation: &Conversation,
        text: &str,
    ) -> Result<String> {
        let path = account.control("/customer-writes");
        let simulator = &self.fixtures.simulator;
        match account.provider {
            Provider::Whatsapp => {
                let order = json!({"from": conversation.address, "name": "Ada", "text": text,
                    "wait": false});
                let answer = simulator.post(&path, &order)?;
                let wamid = answer.get("wamid").and_then(Value::as_str).unwrap_or_default();
                Ok(wamid.to_owned())
            }
            Provider::Telegram => {
                let chat: i64 = conversation.address.parse().unwrap_or_default();
                let order = json!({"chat_id": chat, "name": "Ada", "text": text, "wait": false});
                let answer = simulator.post(&path, &order)?;
                let id = answer.get("update_id").and_then(Value::as_u64).unwrap_or_default();
                Ok(update(&account.id, id))
            }
        }
    }

    /// Sends a tenant's message and retries until the hub accepts it. Sometimes repeats an accepted
    /// request, like a client that missed the response.
    pub(crate) fn post(
        &self,
        tenant: &Tenant,
        account: &Account,
        conversation: &Conversation,
        text: String,
        rng: &mut Rng,
    ) {
        let body = json!({"to": conversation.address, "channel": account.provider.name(),
                          "integration": account.integration, "text": text});
        let headers = [("idempotency-key", text.as_str())];
        let mut ids = BTreeSet::new();
        let mut refusal = None;
        let mut again = rng.chance(0.1);
        for attempt in 0..SEND_ATTEMPTS {
            let answer = tenant.api.send_with("POST", "/messages", &headers, Some(&body));
            let (status, answer) = answer.unwrap_or((0, Value::Null));
            if status == 202 {
                refusal = None;
                let id = answer.get("id").and_then(Value::as_str).unwrap_or_default();
                if ids.insert(id.to_owned()) {
                    let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.accepted.push((tenant.id.clone(), id.to_owned()));
                }
                if !std::mem::take(&mut again) {
                    break;
                }
                continue;
            }
            self.input(|input| *input.failures.entry(status).or_default() += 1);
            refusal = Some(format!("{status} {answer}"));
            if !matches!(status, 0 | 429 | 500..=599) {
                break;
            }
            sleep(Duration::from_millis(rng.between(200, 500 + 500 * u64::from(attempt.min(5)))));
        }
        let (tenant, address) = (tenant.id.clone(), conversation.address.clone());
        let requested = SendRequest { tenant, address, text, ids, refusal };
        self.input(|input| input.requested.push(requested));
    }
}
