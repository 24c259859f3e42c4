//! The customers and the tenants at work: many talks at once, each in order.

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
    cast::{Account, Cast, Tenant},
    dice::Dice,
    plan::{Provider, Talk},
    seen::{Seen, update},
};
use crate::error::{Error, Result};

/// How many messages may wait to be sent, a talk: else most would be sent when all is well again.
const WAITING: u64 = 15;
/// How often somebody looks whether they may go on.
const LOOK: Duration = Duration::from_millis(30);
/// The hub's queues hide a record for minutes after a kill.
const PATIENCE: Duration = Duration::from_mins(10);
/// How often a tenant asks again for a message to be sent.
const ASKS: u32 = 60;

/// A message that a customer wrote.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) tenant: String,
    pub(crate) address: String,
    pub(crate) text: String,
}

/// A message that a tenant asked the hub to send.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: String,
    pub(crate) address: String,
    pub(crate) text: String,
    /// The messages the hub said it made of it: one, however often it was asked.
    pub(crate) ids: BTreeSet<String>,
    /// How the hub refused it, if it did.
    pub(crate) refusal: Option<String>,
}

/// What was put in.
#[derive(Debug, Default)]
pub(crate) struct Input {
    pub(crate) written: Vec<Written>,
    pub(crate) asked: Vec<Asked>,
    /// Talks that did not get on.
    pub(crate) stuck: Vec<String>,
    /// Calls to the hub that were not answered with success, by status. 0 is no answer.
    pub(crate) failures: BTreeMap<u16, u64>,
}

/// How they go about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// What their dice fall by.
    pub(crate) chance: u64,
    /// Talks at once.
    pub(crate) at_once: usize,
    /// How far a customer writes ahead of what the automation knows.
    pub(crate) ahead: usize,
}

/// The load.
pub(crate) struct Load<'a> {
    pub(crate) cast: &'a Cast,
    pub(crate) talks: &'a [Talk],
    pub(crate) seen: &'a Mutex<Seen>,
    pub(crate) manner: Manner,
    /// What has been put in so far.
    pub(crate) input: Mutex<Input>,
    /// How many talks are over.
    pub(crate) done: AtomicUsize,
    next: AtomicUsize,
}

impl<'a> Load<'a> {
    pub(crate) fn new(
        cast: &'a Cast,
        talks: &'a [Talk],
        seen: &'a Mutex<Seen>,
        manner: Manner,
    ) -> Self {
        Self {
            cast,
            talks,
            seen,
            manner,
            input: Mutex::default(),
            done: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
        }
    }

    /// Has every talk, so many at once.
    pub(crate) fn run(&self) -> Result<()> {
        thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.manner.at_once).map(|_| scope.spawn(|| self.work())).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().map_err(|_| Error::step("load", "a customer panicked"))?
            })
        })
    }

    fn work(&self) -> Result<()> {
        while let Some(talk) = self.talks.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            self.talk(talk)?;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Changes what has been put in.
    pub(crate) fn input<T>(&self, change: impl FnOnce(&mut Input) -> T) -> T {
        change(&mut self.input.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn until(&self, what: &str, look: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
            if Instant::now() > deadline {
                self.input(|input| input.stuck.push(what.to_owned()));
                return;
            }
            sleep(LOOK);
        }
    }

    fn talk(&self, talk: &Talk) -> Result<()> {
        let gone = || Error::step("load", "a talk without an account");
        let account = self.cast.accounts.get(talk.account).ok_or_else(gone)?;
        let tenant = self.cast.tenants.get(account.tenant).ok_or_else(gone)?;
        let stream = u64::try_from(talk.number).unwrap_or_default();
        let mut dice = Dice::new(self.manner.chance, 1_000 + stream);
        let texts: Vec<String> = talk.writes().collect();
        let room = WAITING * u64::try_from(self.manner.at_once).unwrap_or(u64::MAX);
        for (nth, text) in texts.iter().enumerate() {
            self.until("room in the queues", |seen| seen.open_sends() < room);
            let id = self.write(account, talk, text)?;
            let (tenant_id, address) = (tenant.id.clone(), talk.address.clone());
            let written = Written { tenant: tenant_id, address, text: text.clone() };
            self.input(|input| input.written.push(written));
            if account.provider == Provider::Whatsapp {
                // Meta keeps no order between webhooks: the next one waits for this one's answer.
                self.until(&format!("the webhook for {text:?}"), |seen| seen.is_answered(&id));
            }
            let known = (nth + 1).checked_sub(self.manner.ahead).and_then(|at| texts.get(at));
            if let Some(known) = known {
                self.until(&format!("a notice of {known:?}"), |seen| seen.is_told(known));
            }
            if let Some(post) = talk.post_after(nth) {
                let first = texts.first().unwrap_or(text);
                self.until(&format!("a notice of {first:?}"), |seen| seen.is_told(first));
                self.post(tenant, account, talk, post, &mut dice);
            }
            // A chat on Telegram takes one message a second.
            let pause = if account.provider == Provider::Telegram { 1500 } else { 300 };
            sleep(Duration::from_millis(dice.between(0, pause)));
        }
        Ok(())
    }

    /// A customer writes. Gives the name under which the webhook's answer is seen.
    pub(crate) fn write(&self, account: &Account, talk: &Talk, text: &str) -> Result<String> {
        let path = account.control("/customer-writes");
        let simulator = &self.cast.simulator;
        match account.provider {
            Provider::Whatsapp => {
                let order =
                    json!({"from": talk.address, "name": "Ada", "text": text, "wait": false});
                let answer = simulator.post(&path, &order)?;
                let wamid = answer.get("wamid").and_then(Value::as_str).unwrap_or_default();
                Ok(wamid.to_owned())
            }
            Provider::Telegram => {
                let chat: i64 = talk.address.parse().unwrap_or_default();
                let order = json!({"chat_id": chat, "name": "Ada", "text": text, "wait": false});
                let answer = simulator.post(&path, &order)?;
                let id = answer.get("update_id").and_then(Value::as_u64).unwrap_or_default();
                Ok(update(&account.id, id))
            }
        }
    }

    /// A tenant sends a message, and asks again until the hub says that it has it; now and then
    /// once more after that, as somebody does who missed the answer.
    pub(crate) fn post(
        &self,
        tenant: &Tenant,
        account: &Account,
        talk: &Talk,
        text: String,
        dice: &mut Dice,
    ) {
        let body = json!({"to": talk.address, "channel": account.provider.name(),
                          "integration": account.integration, "text": text});
        let headers = [("idempotency-key", text.as_str())];
        let mut ids = BTreeSet::new();
        let mut refusal = None;
        let mut again = dice.chance(0.1);
        for ask in 0..ASKS {
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
            sleep(Duration::from_millis(dice.between(200, 500 + 500 * u64::from(ask.min(5)))));
        }
        let (tenant, address) = (tenant.id.clone(), talk.address.clone());
        let asked = Asked { tenant, address, text, ids, refusal };
        self.input(|input| input.asked.push(asked));
    }
}
