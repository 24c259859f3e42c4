//! Waits until the queues are drained, and collects the evidence.

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
    evidence::{Evidence, ListedConversation, Message, SentMessage},
    fixtures::Fixtures,
    load::{Input, SendRequest},
    observations::Observations,
    plan::{ECHO, Provider},
    queues::{DeadLetter, Queue, Queues},
};
use crate::{
    error::{Error, Result},
    http::Client,
};

/// Concurrent calls to the hub.
const CONCURRENCY: usize = 6;
/// Attempts of a read request.
const READ_ATTEMPTS: usize = 5;
/// Most rounds of redriving dead letters.
const REDRIVES: usize = 3;
/// Messages, and conversations, that are read with another tenant's key.
const FOREIGN_READS: usize = 30;
/// Time without progress until draining fails. A queue hides a record for up to three minutes, and
/// some return several times.
const STALLED: Duration = Duration::from_mins(12);

/// Outstanding work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    /// Records in queues.
    pub(crate) records: u64,
    queues: Vec<String>,
    /// Webhooks that the simulator has yet to deliver.
    webhooks: u64,
    /// Replies that the automations have yet to send.
    replies: usize,
    /// Customer messages that the automations were not notified of yet.
    unnotified: u64,
}

impl Pending {
    fn is_nothing(&self) -> bool {
        self.records == 0 && self.webhooks == 0 && self.replies == 0 && self.unnotified == 0
    }

    /// A short description.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} records ({}), {} webhooks, {} replies, {} notifications outstanding",
            self.records,
            self.queues.join(", "),
            self.webhooks,
            self.replies,
            self.unnotified
        )
    }
}

/// Returns the outstanding work.
pub(crate) fn pending(
    fixtures: &Fixtures,
    queues: &Queues,
    seen: &Mutex<Observations>,
) -> Result<Pending> {
    let all = queues.all()?;
    let mut pending = Pending::default();
    for queue in consumed(&all).into_iter().filter(|queue| queue.records > 0) {
        pending.records += queue.records;
        pending.queues.push(format!("{} {}", short(queue.name()), queue.records));
    }
    for account in &fixtures.accounts {
        let shown = fixtures.simulator.get(&account.control(""))?;
        pending.webhooks +=
            shown.get("pending_webhooks").and_then(Value::as_u64).unwrap_or_default();
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    pending.replies = seen.open_replies();
    let notified = u64::try_from(seen.notified_texts()).unwrap_or_default();
    pending.unnotified = seen.written.saturating_sub(notified);
    Ok(pending)
}

/// Returns a short name of a queue.
fn short(name: &str) -> &str {
    let name = name.strip_prefix("switchboard-").unwrap_or(name);
    name.strip_suffix(".fifo").unwrap_or(name)
}

/// Returns the queues that a function consumes.
fn consumed(all: &[Queue]) -> Vec<&Queue> {
    all.iter().filter(|queue| queue.has_dead_letters()).collect()
}

/// Waits until no work is outstanding, and redrives dead letters. Returns the redriven records, and
/// a violation if the work did not end.
pub(crate) fn drain(
    fixtures: &Fixtures,
    queues: &Queues,
    seen: &Mutex<Observations>,
    mut say: impl FnMut(&Pending),
) -> Result<(Vec<DeadLetter>, Option<String>)> {
    let mut last = Pending::default();
    let mut moved_at = Instant::now();
    let mut idle_rounds = 0;
    let mut rounds = 0;
    let mut redriven = Vec::new();
    loop {
        let now = pending(fixtures, queues, seen)?;
        say(&now);
        idle_rounds = if now.is_nothing() { idle_rounds + 1 } else { 0 };
        if idle_rounds >= 3 {
            let back = queues.redrive(&queues.all()?)?;
            if back.is_empty() {
                return Ok((redriven, None));
            }
            redriven.extend(back);
            idle_rounds = 0;
            rounds += 1;
            if rounds > REDRIVES {
                return Ok((redriven, Some("records were dead-lettered repeatedly".to_owned())));
            }
        }
        if now != last {
            moved_at = Instant::now();
            last = now;
        } else if !last.is_nothing() && moved_at.elapsed() > STALLED {
            return Ok((redriven, Some(format!("no progress: {}", last.describe()))));
        }
        sleep(Duration::from_secs(1));
    }
}

/// Collects all evidence.
pub(crate) fn collect(
    fixtures: &Fixtures,
    input: Input,
    seen: &Observations,
    redriven: &[DeadLetter],
) -> Result<Evidence> {
    let mut evidence = Evidence { notified: seen.notified.clone(), ..Evidence::default() };
    let addresses: BTreeMap<&str, &str> = input
        .written
        .iter()
        .map(|written| (written.text.as_str(), written.address.as_str()))
        .collect();
    evidence.requested = input.requested;
    for reply in seen.replies.values() {
        let original = reply.text.strip_prefix(ECHO).and_then(|text| addresses.get(text));
        evidence.requested.push(SendRequest {
            tenant: reply.tenant.clone(),
            address: original.copied().unwrap_or_default().to_owned(),
            text: reply.text.clone(),
            ids: reply.ids.clone(),
            refusal: Some(reply.status.to_string()),
        });
    }
    let addresses_written: BTreeSet<&str> =
        input.written.iter().map(|written| written.address.as_str()).collect();
    for record in redriven {
        let about = addresses_written.iter().filter(|address| record.body.contains(**address));
        evidence.redriven.extend(about.map(|address| (*address).to_owned()));
    }
    evidence.written = input.written;
    evidence.violations.extend(seen.violations.iter().cloned());
    evidence.violations.extend(input.stuck.iter().map(|what| format!("timed out: {what}")));
    sent(fixtures, &mut evidence)?;
    listed(fixtures, &mut evidence)?;
    shown(fixtures, &mut evidence)?;
    read_foreign(fixtures, &mut evidence)?;
    Ok(evidence)
}

fn sent(fixtures: &Fixtures, evidence: &mut Evidence) -> Result<()> {
    for account in &fixtures.accounts {
        let tenant = fixtures.tenants.get(account.tenant).map_or("", |tenant| tenant.id.as_str());
        let log = fixtures.simulator.get(&account.control("/accepted"))?;
        let entries = log.get("accepted").and_then(Value::as_array).into_iter().flatten();
        evidence.sent.extend(entries.map(|entry| match account.provider {
            Provider::Whatsapp => SentMessage::whatsapp(tenant, entry),
            Provider::Telegram => SentMessage::telegram(tenant, entry),
        }));
    }
    evidence.sent.sort_by_key(|sent| sent.seq);
    Ok(())
}

/// Runs `work` on each element concurrently and returns the results in order.
fn each<T: Sync, U: Send>(all: &[T], work: impl Fn(&T) -> Result<U> + Sync) -> Result<Vec<U>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..CONCURRENCY)
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

/// Sends a GET request and retries after server errors and throttling.
fn get(api: &Client, path: &str) -> Result<(u16, Value)> {
    let mut last = api.send("GET", path, None);
    for _ in 1..READ_ATTEMPTS {
        match &last {
            Ok((status, _)) if *status < 500 && *status != 429 => return last,
            _ => sleep(Duration::from_millis(500)),
        }
        last = api.send("GET", path, None);
    }
    last
}

/// Reads all pages of a list.
fn pages(api: &Client, path: &str, name: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut next = format!("{path}?limit=100");
    loop {
        let (status, page) = get(api, &next)?;
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

fn listed(fixtures: &Fixtures, evidence: &mut Evidence) -> Result<()> {
    for tenant in &fixtures.tenants {
        let conversations = pages(&tenant.api, "/conversations", "conversations")?;
        evidence.conversations.extend(each(&conversations, |conversation| {
            let text = |path: &str| {
                conversation.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let id = text("/id");
            let path = format!("/conversations/{id}/messages");
            let newest_first = pages(&tenant.api, &path, "messages")?;
            Ok(ListedConversation {
                tenant: tenant.id.clone(),
                id,
                address: text("/contact/address"),
                messages: newest_first.iter().rev().map(Message::read).collect(),
            })
        })?);
    }
    Ok(())
}

fn shown(fixtures: &Fixtures, evidence: &mut Evidence) -> Result<()> {
    for tenant in &fixtures.tenants {
        let requested = evidence.requested.iter().filter(|requested| requested.tenant == tenant.id);
        let ids: Vec<String> =
            requested.flat_map(|requested| requested.ids.iter().cloned()).collect();
        let found = each(&ids, |id| {
            let (status, answer) = get(&tenant.api, &format!("/messages/{id}"))?;
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

/// Reads each tenant's messages and conversations with the previous tenant's key.
fn read_foreign(fixtures: &Fixtures, evidence: &mut Evidence) -> Result<()> {
    let next = fixtures.tenants.iter().cycle().skip(1);
    for (tenant, other) in fixtures.tenants.iter().zip(next) {
        let foreign =
            evidence.conversations.iter().filter(|conversation| conversation.tenant == other.id);
        let messages = foreign.clone().flat_map(|conversation| &conversation.messages);
        let messages = messages.map(|message| format!("/messages/{}", message.id));
        let conversations =
            foreign.map(|conversation| format!("/conversations/{}", conversation.id));
        let paths: Vec<String> =
            messages.take(FOREIGN_READS).chain(conversations.take(FOREIGN_READS)).collect();
        let answers = each(&paths, |path| get(&tenant.api, path))?;
        for (path, (status, answer)) in paths.iter().zip(answers) {
            if status != 404 {
                let what =
                    format!("{} requested {path} of {}: {status} {answer}", tenant.id, other.id);
                evidence.foreign_reads.push(what);
            }
        }
    }
    Ok(())
}
