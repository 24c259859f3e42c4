//! Passes over a dead-letter queue: peek, and redrive.
//!
//! SQS has no filter: a pass receives each record, which hides it from other receives, and makes
//! those that it does not move visible again at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::ports::{
    ChangeVisibility, CountRecords, DeadLetter, DeleteRecords, PortResult, Publisher,
    ReceiveDeadLetters,
};
use futures::future::try_join_all;
use tokio::time::{Instant, sleep_until};

use crate::model::{Filter, QueueName, reason_of, redriven};

/// How long a redrive hides the records that it receives: longer than the function may run, so that
/// two redrives cannot move the same record. A redrive that ends early delays its records for this
/// time.
const HIDDEN: Duration = Duration::from_mins(2);
/// How long a peek hides the records that it receives.
const PEEKED: Duration = Duration::from_secs(10);
/// Time after which a peek returns what it has found.
const PEEK_TIME: Duration = Duration::from_secs(5);
/// Maximum number of records in one receive.
const MAX_RECEIVED: usize = 10;

/// A queue with its dead-letter queue.
#[derive(Clone, Debug)]
pub struct QueuePair<S, D> {
    /// Its name.
    pub queue: QueueName,
    /// The queue, to send to.
    pub source: S,
    /// Its dead-letter queue.
    pub dead_letters: D,
}

/// A request to redrive dead letters.
#[derive(Clone, Debug, Default)]
pub struct Redrive {
    /// Which to move.
    pub filter: Filter,
    /// Count them without moving them.
    pub dry_run: bool,
    /// Maximum number to move in a second, at least 1.
    pub per_second: Option<u32>,
}

/// What a redrive has found and moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Number of dead letters that were looked at.
    pub examined: u64,
    /// Number of those that match.
    pub matched: u64,
    /// Number of those that were moved.
    pub moved: u64,
    /// Number of matching dead letters by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Number of message groups with dead letters that could not be looked at: in a FIFO queue, SQS
    /// returns none behind ten that are hidden.
    pub blocked_groups: u64,
    /// Whether the time ended before all were looked at.
    pub more: bool,
}

/// The records that a pass has received and not deleted.
#[derive(Debug, Default)]
struct Held {
    /// Records that stay: id, message group and receipt handle.
    stay: Vec<(String, Option<String>, String)>,
    /// Receipt handles of records that are yet to be moved, by id.
    to_move: BTreeMap<String, String>,
    /// Groups of which SQS may have more than it could return in one receive.
    cut: BTreeSet<String>,
}

impl Held {
    /// Takes the receipt handles of the records that stay, of the groups for which `is_wanted`.
    fn take(&mut self, is_wanted: impl Fn(Option<&String>) -> bool) -> Vec<String> {
        let (taken, kept) = std::mem::take(&mut self.stay)
            .into_iter()
            .partition(|(_, group, _)| is_wanted(group.as_ref()));
        self.stay = kept;
        Vec::into_iter(taken).map(|(_, _, receipt)| receipt).collect()
    }
}

/// Makes records visible again. If this fails they become visible when their time is over.
async fn release(dead_letters: &impl ChangeVisibility, receipts: Vec<String>) {
    let receipts: Vec<_> = receipts.into_iter().map(|receipt| (receipt, Duration::ZERO)).collect();
    if let Err(error) = dead_letters.change_visibility(&receipts).await {
        tracing::warn!(%error, "dead letters stay hidden for a while");
    }
}

/// Returns up to `most` dead letters that match, and whether there may be others.
///
/// # Errors
/// If SQS fails.
pub async fn peek<S, D>(
    pair: &QueuePair<S, D>,
    filter: &Filter,
    most: usize,
) -> PortResult<(Vec<DeadLetter>, bool)>
where
    D: ReceiveDeadLetters + ChangeVisibility,
{
    let until = Instant::now() + PEEK_TIME;
    let (mut found, mut receipts, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    let answer = loop {
        let letters = match pair.dead_letters.receive(PEEKED).await {
            Ok(letters) if letters.is_empty() => break Ok(false),
            Ok(letters) => letters,
            Err(error) => break Err(error),
        };
        receipts.extend(letters.iter().map(|letter| letter.receipt.clone()));
        let matching = letters.into_iter().filter(|letter| filter.matches(letter, &pair.queue));
        found.extend(matching.filter(|letter| seen.insert(letter.id.clone())));
        if found.len() >= most || Instant::now() >= until {
            break Ok(true);
        }
    };
    release(&pair.dead_letters, receipts).await;
    let more = answer? || found.len() > most;
    found.truncate(most);
    Ok((found, more))
}

/// Moves the dead letters of `own` that match back to their source queues, until none is left or
/// until the time `until`. Each is sent and then deleted, so none is lost. If the process ends in
/// between, the next call sends it again: a FIFO queue drops the second within five minutes, and the
/// consumers of all queues are idempotent.
///
/// If the time ends first, the dead letters that stay are not made visible again at once, so that
/// the next call gets the others.
///
/// # Errors
/// If SQS fails. What was moved until then stays moved.
pub async fn redrive<S, D>(
    pairs: &[QueuePair<S, D>],
    own: &QueuePair<S, D>,
    request: &Redrive,
    until: Instant,
) -> PortResult<Outcome>
where
    S: Publisher,
    D: ReceiveDeadLetters + DeleteRecords + ChangeVisibility,
{
    let mut pass = Pass {
        pairs,
        own,
        request,
        until,
        began: Instant::now(),
        outcome: Outcome::default(),
        held: Held::default(),
        seen: BTreeSet::new(),
    };
    let done = pass.run().await;
    let Pass { mut held, outcome, .. } = pass;
    let mut receipts: Vec<String> = std::mem::take(&mut held.to_move).into_values().collect();
    let cut = std::mem::take(&mut held.cut);
    let is_wanted = |group: Option<&String>| {
        !outcome.more || done.is_err() || group.is_some_and(|group| cut.contains(group))
    };
    receipts.extend(held.take(is_wanted));
    release(&own.dead_letters, receipts).await;
    done.map(|()| outcome)
}

/// A redrive in progress.
struct Pass<'a, S, D> {
    pairs: &'a [QueuePair<S, D>],
    own: &'a QueuePair<S, D>,
    request: &'a Redrive,
    until: Instant,
    began: Instant,
    outcome: Outcome,
    held: Held,
    /// Ids of the dead letters that were looked at: some are received twice.
    seen: BTreeSet<String>,
}

impl<S, D> Pass<'_, S, D>
where
    S: Publisher,
    D: ReceiveDeadLetters + DeleteRecords + ChangeVisibility,
{
    async fn run(&mut self) -> PortResult<()> {
        let dead_letters = &self.own.dead_letters;
        let mut is_drained = false;
        loop {
            let letters = dead_letters.receive(HIDDEN).await?;
            let is_full = letters.len() >= MAX_RECEIVED;
            is_drained |= letters.is_empty();
            let last = letters.last().and_then(|letter| letter.group.clone());
            let matching = self.examine(letters);
            let can_continue = is_full && self.can_continue(last);
            for chunk in matching.chunks(self.chunk_size()) {
                if self.is_over() {
                    break;
                }
                self.hand_back(chunk).await?;
            }
            let is_last = is_drained && !can_continue;
            if self.is_over() && !(is_last && self.held.cut.is_empty()) {
                self.outcome.more = true;
                return Ok(());
            }
            if is_last {
                // While all other groups are hidden, a receive returns the first ten of this one.
                let Some(group) = self.held.cut.pop_first() else { return Ok(()) };
                let receipts = self.held.take(|of| of == Some(&group));
                release(dead_letters, receipts).await;
            }
        }
    }

    /// Sorts received records. Returns those to move.
    fn examine(&mut self, letters: Vec<DeadLetter>) -> Vec<DeadLetter> {
        let Redrive { filter, dry_run, .. } = self.request;
        let mut matching = Vec::new();
        for letter in letters {
            let matches = filter.matches(&letter, &self.own.queue);
            if self.seen.insert(letter.id.clone()) {
                self.outcome.examined += 1;
                if matches {
                    self.outcome.matched += 1;
                    *self.outcome.reasons.entry(reason_of(&letter).to_owned()).or_default() += 1;
                }
            }
            if matches && !dry_run {
                self.held.to_move.insert(letter.id.clone(), letter.receipt.clone());
                matching.push(letter);
            } else {
                self.held.stay.push((letter.id, letter.group, letter.receipt));
            }
        }
        matching
    }

    /// Whether another receive can return records behind those of a full receive, whose last is of
    /// `group`. A FIFO queue returns no further record of a group while one is hidden: those behind
    /// records that stay need another receive of the group, and cannot be received behind ten.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html>
    fn can_continue(&mut self, group: Option<String>) -> bool {
        let Some(group) = group.filter(|_| self.own.queue.fifo) else { return true };
        let staying = self.held.stay.iter().filter(|(_, of, _)| of.as_ref() == Some(&group));
        match staying.count() {
            0 => return true,
            MAX_RECEIVED.. => self.outcome.blocked_groups += 1,
            _ => {
                self.held.cut.insert(group);
            }
        }
        false
    }

    /// How many records to move before the next look at the time and the rate.
    fn chunk_size(&self) -> usize {
        let rate = self.request.per_second.map_or(MAX_RECEIVED, |rate| rate as usize);
        rate.clamp(1, MAX_RECEIVED)
    }

    /// Whether the time is over. Each call moves at least one chunk, if there is one.
    fn is_over(&self) -> bool {
        let is_waiting = self.outcome.moved == 0 && !self.held.to_move.is_empty();
        Instant::now() >= self.until && !is_waiting
    }

    /// Sends records to their source queues and deletes them, then waits as the rate demands.
    async fn hand_back(&mut self, letters: &[DeadLetter]) -> PortResult<()> {
        let mut records = BTreeMap::<usize, Vec<_>>::new();
        for letter in letters {
            records.entry(self.source_of(letter)).or_default().push(redriven(letter));
        }
        let sources = records.into_iter().filter_map(|(index, records)| {
            let QueuePair { source, .. } = self.pairs.get(index)?;
            Some(source.publish(records))
        });
        try_join_all(sources).await?;
        let receipts: Vec<String> = letters.iter().map(|letter| letter.receipt.clone()).collect();
        self.own.dead_letters.delete(&receipts).await?;
        for letter in letters {
            self.held.to_move.remove(&letter.id);
        }
        self.outcome.moved += letters.len() as u64;
        if let Some(rate) = self.request.per_second {
            let moved = u32::try_from(self.outcome.moved).unwrap_or(u32::MAX);
            let next = self.began + Duration::from_secs(1) * moved / rate.max(1);
            sleep_until(next.min(self.until)).await;
        }
        Ok(())
    }

    /// Returns the index of the queue that a dead letter names as its source. One that names none of
    /// this hub's goes to the queue that the dead-letter queue belongs to.
    fn source_of(&self, letter: &DeadLetter) -> usize {
        let named = letter.source.as_deref().and_then(|arn| arn.rsplit(':').next());
        let is_named = |pair: &&QueuePair<S, D>| {
            named.is_some_and(|name| name.ends_with(&pair.queue.source("-")))
        };
        let found = self.pairs.iter().position(|pair| is_named(&pair));
        let own = || self.pairs.iter().position(|pair| pair.queue == self.own.queue);
        found.or_else(own).unwrap_or_default()
    }
}

/// Returns the number of dead letters of each queue, in the order of `pairs`.
///
/// # Errors
/// If SQS fails.
pub async fn count_all<S, D: CountRecords>(
    pairs: &[QueuePair<S, D>],
) -> PortResult<Vec<domain::ports::RecordCount>> {
    try_join_all(pairs.iter().map(|QueuePair { dead_letters, .. }| dead_letters.count())).await
}
