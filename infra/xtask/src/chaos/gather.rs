//! Waits until the hub is done, and gathers what there is to judge by.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    cast::Cast,
    evidence::{Carried, Evidence, Listed, Message},
    load::{Asked, Input},
    plan::{ECHO, Provider},
    queues::{DeadLetter, Queue, Queues},
    seen::Seen,
};
use crate::{
    error::{Error, Result},
    http::Client,
};

/// Calls to the hub at once.
const AT_ONCE: usize = 6;
/// How often a question is asked that the hub does not answer.
const ASKS: usize = 5;
/// How often records that were given up are put back.
const REDRIVES: usize = 3;
/// Messages that another tenant's key is tried on.
const TRESPASSES: usize = 30;
/// The longest a queue hides a record is three minutes; some come back several times.
const STALLED: Duration = Duration::from_mins(12);

/// What is still under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Records in queues, and in which.
    pub(crate) records: u64,
    queues: Vec<String>,
    /// Webhooks the simulator has yet to deliver.
    webhooks: u64,
    /// Replies the automation has yet to send.
    replies: usize,
    /// Messages the automation does not know yet.
    untold: u64,
}

impl Left {
    fn is_nothing(&self) -> bool {
        self.records == 0 && self.webhooks == 0 && self.replies == 0 && self.untold == 0
    }

    /// In a few words.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} records ({}), {} webhooks, {} replies, {} notices to go",
            self.records,
            self.queues.join(", "),
            self.webhooks,
            self.replies,
            self.untold
        )
    }
}

/// What is under way now.
pub(crate) fn left(cast: &Cast, queues: &Queues, seen: &Mutex<Seen>) -> Result<Left> {
    let all = queues.all()?;
    let mut left = Left::default();
    for queue in working(&all).into_iter().filter(|queue| queue.records > 0) {
        left.records += queue.records;
        left.queues.push(format!("{} {}", short(queue.name()), queue.records));
    }
    for account in &cast.accounts {
        let shown = cast.simulator.get(&account.control(""))?;
        left.webhooks += shown.get("pending_webhooks").and_then(Value::as_u64).unwrap_or_default();
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    left.replies = seen.open_replies();
    let told = u64::try_from(seen.told_texts()).unwrap_or_default();
    left.untold = seen.written.saturating_sub(told);
    Ok(left)
}

/// The part of a queue's name that tells it from the others.
fn short(name: &str) -> &str {
    let name = name.strip_prefix("switchboard-").unwrap_or(name);
    name.split("Queue").next().unwrap_or(name)
}

/// The queues whose records somebody works on.
fn working(all: &[Queue]) -> Vec<&Queue> {
    all.iter().filter(|queue| queue.has_dead_letters()).collect()
}

/// Waits until nothing is under way. What was given up is put back. Gives what was put
/// back, and a complaint if it did not end.
pub(crate) fn drain(
    cast: &Cast,
    queues: &Queues,
    seen: &Mutex<Seen>,
    mut say: impl FnMut(&Left),
) -> Result<(Vec<DeadLetter>, Option<String>)> {
    let mut last = Left::default();
    let mut moved_at = Instant::now();
    let mut calm = 0;
    let mut rounds = 0;
    let mut redriven = Vec::new();
    loop {
        let now = left(cast, queues, seen)?;
        say(&now);
        calm = if now.is_nothing() { calm + 1 } else { 0 };
        if calm >= 3 {
            let back = queues.redrive(&queues.all()?)?;
            if back.is_empty() {
                return Ok((redriven, None));
            }
            redriven.extend(back);
            calm = 0;
            rounds += 1;
            if rounds > REDRIVES {
                return Ok((redriven, Some("records were given up again and again".to_owned())));
            }
        }
        if now != last {
            moved_at = Instant::now();
            last = now;
        } else if !last.is_nothing() && moved_at.elapsed() > STALLED {
            return Ok((redriven, Some(format!("it never ended: {}", last.describe()))));
        }
        sleep(Duration::from_secs(1));
    }
}

/// Gathers it all.
pub(crate) fn gather(
    cast: &Cast,
    input: Input,
    seen: &Seen,
    redriven: &[DeadLetter],
) -> Result<Evidence> {
    let mut evidence = Evidence { told: seen.told.clone(), ..Evidence::default() };
    let addresses: BTreeMap<&str, &str> = input
        .written
        .iter()
        .map(|written| (written.text.as_str(), written.address.as_str()))
        .collect();
    evidence.asked = input.asked;
    for reply in seen.replies.values() {
        let heard = reply.text.strip_prefix(ECHO).and_then(|text| addresses.get(text));
        evidence.asked.push(Asked {
            tenant: reply.tenant.clone(),
            address: heard.copied().unwrap_or_default().to_owned(),
            text: reply.text.clone(),
            ids: reply.ids.clone(),
            refusal: Some(reply.status.to_string()),
        });
    }
    let people: BTreeSet<&str> =
        input.written.iter().map(|written| written.address.as_str()).collect();
    for letter in redriven {
        let about = people.iter().filter(|person| letter.body.contains(**person));
        evidence.redriven.extend(about.map(|person| (*person).to_owned()));
    }
    evidence.written = input.written;
    evidence.complaints.extend(seen.complaints.iter().cloned());
    evidence.complaints.extend(input.stuck.iter().map(|what| format!("never came: {what}")));
    carried(cast, &mut evidence)?;
    listed(cast, &mut evidence)?;
    shown(cast, &mut evidence)?;
    trespass(cast, &mut evidence)?;
    Ok(evidence)
}

fn carried(cast: &Cast, evidence: &mut Evidence) -> Result<()> {
    for account in &cast.accounts {
        let tenant = cast.tenants.get(account.tenant).map_or("", |tenant| tenant.id.as_str());
        let log = cast.simulator.get(&account.control("/accepted"))?;
        let entries = log.get("accepted").and_then(Value::as_array).into_iter().flatten();
        evidence.carried.extend(entries.map(|entry| match account.provider {
            Provider::Whatsapp => Carried::whatsapp(tenant, entry),
            Provider::Telegram => Carried::telegram(tenant, entry),
        }));
    }
    evidence.carried.sort_by_key(|carried| carried.seq);
    Ok(())
}

/// Does something with each, a few at once, in order.
fn each<T: Sync, U: Send>(all: &[T], work: impl Fn(&T) -> Result<U> + Sync) -> Result<Vec<U>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(one) = all.get(at) else { return Ok::<_, Error>(()) };
                        let result = work(one)?;
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().map_err(|_| Error::step("gathering", "a worker panicked"))?
        })
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// Asks until there is an answer that is not the machine's trouble.
fn ask(api: &Client, path: &str) -> Result<(u16, Value)> {
    let mut last = api.send("GET", path, None);
    for _ in 1..ASKS {
        match &last {
            Ok((status, _)) if *status < 500 && *status != 429 => return last,
            _ => sleep(Duration::from_millis(500)),
        }
        last = api.send("GET", path, None);
    }
    last
}

/// All pages of a list.
fn pages(api: &Client, path: &str, name: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut next = format!("{path}?limit=100");
    loop {
        let (status, page) = ask(api, &next)?;
        if status != 200 {
            return Err(Error::step(path, format!("{status} {page}")));
        }
        all.extend(page.get(name).and_then(Value::as_array).into_iter().flatten().cloned());
        match page.get("next").and_then(Value::as_str) {
            Some(cursor) => next = format!("{path}?limit=100&cursor={cursor}"),
            None => return Ok(all),
        }
    }
}

fn listed(cast: &Cast, evidence: &mut Evidence) -> Result<()> {
    for tenant in &cast.tenants {
        let talks = pages(&tenant.api, "/conversations", "conversations")?;
        evidence.talks.extend(each(&talks, |talk| {
            let text = |path: &str| {
                talk.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let id = text("/id");
            let path = format!("/conversations/{id}/messages");
            let newest_first = pages(&tenant.api, &path, "messages")?;
            Ok(Listed {
                tenant: tenant.id.clone(),
                id,
                address: text("/contact/address"),
                messages: newest_first.iter().rev().map(Message::read).collect(),
            })
        })?);
    }
    Ok(())
}

fn shown(cast: &Cast, evidence: &mut Evidence) -> Result<()> {
    for tenant in &cast.tenants {
        let asked = evidence.asked.iter().filter(|asked| asked.tenant == tenant.id);
        let ids: Vec<String> = asked.flat_map(|asked| asked.ids.iter().cloned()).collect();
        let found = each(&ids, |id| {
            let (status, answer) = ask(&tenant.api, &format!("/messages/{id}"))?;
            match status {
                200 => Ok((id.clone(), Some(Message::read(&answer)))),
                404 => Ok((id.clone(), None)),
                _ => Err(Error::step(id, format!("{status} {answer}"))),
            }
        })?;
        evidence.shown.extend(found);
    }
    Ok(())
}

/// Tries each tenant's key on the next one's messages and conversations.
fn trespass(cast: &Cast, evidence: &mut Evidence) -> Result<()> {
    let next = cast.tenants.iter().cycle().skip(1);
    for (tenant, other) in cast.tenants.iter().zip(next) {
        let theirs = evidence.talks.iter().filter(|talk| talk.tenant == other.id);
        let messages = theirs.clone().flat_map(|talk| &talk.messages);
        let messages = messages.map(|message| format!("/messages/{}", message.id));
        let talks = theirs.map(|talk| format!("/conversations/{}", talk.id));
        let paths: Vec<String> = messages.take(TRESPASSES).chain(talks.take(TRESPASSES)).collect();
        let answers = each(&paths, |path| ask(&tenant.api, path))?;
        for (path, (status, answer)) in paths.iter().zip(answers) {
            if status != 404 {
                let what =
                    format!("{} asked for {path} of {}: {status} {answer}", tenant.id, other.id);
                evidence.trespasses.push(what);
            }
        }
    }
    Ok(())
}
