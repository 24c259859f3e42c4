//! A queue's records: groups side by side, each group in order, each record's fate its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use domain::failpoint::{self, Failpoint};
use domain::fault::{Classify, Fault, redelivery};
use domain::ports::{ClaimCheck, Clock, Dice, PortError, Postpone, Publisher, Record};
use futures::future::join_all;
use serde::de::DeserializeOwned;

use crate::telemetry::{self, Metric};

/// After so many failed receives a record goes to the dead-letter queue, with the reason.
/// The queue's own limit is higher: it is for records that kill their function.
const MAX_RECEIVES: u32 = 5;
/// The same for a worker that counts attempts itself: only trouble before an attempt gets
/// here, and most receives are waits.
const MAX_UNCOUNTED: u32 = 50;

/// What a batch needs besides its worker.
#[derive(Debug)]
pub struct Desk<Q, D, B, C, R> {
    /// Its own queue.
    pub queue: Q,
    /// Its dead-letter queue.
    pub dead_letters: D,
    /// Large bodies.
    pub bodies: B,
    /// Clock.
    pub clock: C,
    /// Random number generator, for jitter.
    pub dice: R,
    /// No record is begun later than this after the batch began, so that none is cut off by
    /// the function's timeout.
    pub budget: Duration,
    /// Whether the worker itself counts attempts: then a retryable failure never makes a
    /// dead letter.
    pub counts_attempts: bool,
}

/// Where a record is in its life.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The record's id, the same at each receive.
    pub record: &'a str,
    /// How often it was received, this time included.
    pub receives: u32,
    /// When it is worked.
    pub now: jiff::Timestamp,
}

impl Delivery<'_> {
    /// Whether a retryable failure would make it a dead letter.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.receives >= MAX_RECEIVES
    }
}

/// Why a record was not done.
#[derive(Debug)]
pub struct Failure {
    /// What may be done about it.
    pub fault: Fault,
    /// A code, for logs and dead letters. Never data.
    pub reason: String,
    /// How long to wait, where the worker knows better than a backoff over receives.
    pub wait: Option<Duration>,
}

impl Failure {
    /// A failure that is none: come back in `wait`.
    #[must_use]
    pub fn wait(reason: &str, wait: Duration) -> Self {
        let fault = Fault::RateLimited { retry_after: wait };
        Self { fault, reason: reason.to_owned(), wait: None }
    }

    /// Something that may work next time.
    #[must_use]
    pub fn retry(reason: &str) -> Self {
        Self { fault: Fault::Retryable, reason: reason.to_owned(), wait: None }
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self { fault: error.fault(), reason: error.to_string(), wait: None }
    }
}

/// Works records of one shape.
pub trait Worker: Send + Sync {
    /// The shape.
    type Job: DeserializeOwned + Send + Sync;

    /// Done once for the whole batch, beside the work; if it fails, every record comes back.
    fn whole(&self, jobs: &[&Self::Job]) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = jobs;
        async { Ok(()) }
    }

    /// Works one record. It may be the second time, at any moment, or for two at once.
    fn work(
        &self,
        job: &Self::Job,
        delivery: Delivery<'_>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A record on the desk.
struct Entry<J> {
    /// Set once it is in the dead-letter queue: then it must not come back.
    buried: AtomicBool,
    message: SqsMessage,
    receives: u32,
    job: Result<J, Failure>,
}

/// Works a batch and says which records must come back.
///
/// # Errors
/// If a record has no message id: reporting an empty one would fail the batch in silence.
pub async fn handle<W, Q, D, B, C, R>(
    event: SqsEvent,
    desk: &Desk<Q, D, B, C, R>,
    worker: &W,
) -> Result<SqsBatchResponse, crate::Error>
where
    W: Worker,
    Q: Postpone,
    D: Publisher,
    B: ClaimCheck,
    C: Clock,
    R: Dice,
{
    if event.records.iter().any(|record| record.message_id.as_deref().unwrap_or("").is_empty()) {
        return Err("a record has no message id".into());
    }
    let began = desk.clock.now();
    let entries = join_all(event.records.into_iter().map(|message| open(&desk.bodies, message)));
    let groups = grouped(entries.await);
    let jobs: Vec<&W::Job> =
        groups.iter().flatten().filter_map(|entry| entry.job.as_ref().ok()).collect();
    let (whole, left) = futures::join!(
        worker.whole(&jobs),
        join_all(groups.iter().map(|group| work_group(desk, worker, group, began))),
    );
    let mut response = SqsBatchResponse::default();
    let mut failed: Vec<&SqsMessage> = left.into_iter().flatten().collect();
    if let Err(failure) = whole {
        tracing::warn!(reason = %failure.reason, "the whole batch will be retried");
        failed = Vec::new();
        for group in &groups {
            failed.extend(give_back(desk, group, 0, redelivery(1, desk.dice.fraction())).await);
        }
    }
    for message in failed {
        response.add_failure(message.message_id.clone().unwrap_or_default());
    }
    Ok(response)
}

async fn open<J: DeserializeOwned, B: ClaimCheck>(bodies: &B, message: SqsMessage) -> Entry<J> {
    let receives = message.attributes.get("ApproximateReceiveCount");
    let receives = receives.and_then(|count| count.parse().ok()).unwrap_or(1);
    let body = bodies.redeem(message.body.as_deref().unwrap_or_default()).await;
    let job = body.map_err(Failure::from).and_then(|body| {
        serde_json::from_str(&body).map_err(|error| Failure {
            fault: Fault::Permanent,
            // Only the place: the message can quote the body.
            reason: format!("unreadable at line {}, column {}", error.line(), error.column()),
            wait: None,
        })
    });
    Entry { buried: AtomicBool::new(false), message, receives, job }
}

/// Records by group, in order. In a standard queue each record is its own group.
fn grouped<J>(entries: Vec<Entry<J>>) -> Vec<Vec<Entry<J>>> {
    let mut groups: Vec<Vec<Entry<J>>> = Vec::new();
    for entry in entries {
        let group = |entry: &Entry<J>| {
            // Standard queues know groups too, but promise no order in them.
            entry.message.attributes.get("SequenceNumber")?;
            entry.message.attributes.get("MessageGroupId").cloned()
        };
        let own = group(&entry).filter(|_| !failpoint::is_active(Failpoint::GroupInParallel));
        let home = groups
            .iter_mut()
            .find(|members| own.is_some() && members.first().and_then(group) == own);
        match home {
            Some(members) => members.push(entry),
            None => groups.push(vec![entry]),
        }
    }
    groups
}

/// Works one group until one fails; returns what must come back.
async fn work_group<'a, W, Q, D, B, C, R>(
    desk: &Desk<Q, D, B, C, R>,
    worker: &W,
    group: &'a [Entry<W::Job>],
    began: jiff::Timestamp,
) -> Vec<&'a SqsMessage>
where
    W: Worker,
    Q: Postpone,
    D: Publisher,
    B: ClaimCheck,
    C: Clock,
    R: Dice,
{
    for (place, entry) in group.iter().enumerate() {
        let id = entry.message.message_id.as_deref().unwrap_or_default();
        let now = desk.clock.now();
        let late = now.duration_since(began).unsigned_abs() > desk.budget;
        let failure = if late {
            Failure::wait("no time left in this invocation", Duration::ZERO)
        } else {
            let delivery = Delivery { record: id, receives: entry.receives, now };
            let done = match &entry.job {
                Ok(job) => worker.work(job, delivery).await,
                Err(failure) => Err(Failure { reason: failure.reason.clone(), ..*failure }),
            };
            let Err(failure) = done else { continue };
            failure
        };
        let Some(wait) = wait(desk, &failure, entry.receives, place) else {
            if bury(desk, entry, &failure).await {
                continue;
            }
            return give_back(desk, group, place, Duration::from_secs(30)).await;
        };
        tracing::warn!(
            record = %id,
            reason = %failure.reason,
            receives = entry.receives,
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "record will come back"
        );
        return give_back(desk, group, place, wait).await;
    }
    Vec::new()
}

/// How long to hide a failed record; `None` if it is a dead letter.
fn wait<Q, D, B, C, R: Dice>(
    desk: &Desk<Q, D, B, C, R>,
    failure: &Failure,
    receives: u32,
    place: usize,
) -> Option<Duration> {
    match failure.fault {
        Fault::RateLimited { retry_after } => Some(retry_after),
        Fault::Permanent => None,
        Fault::Retryable | Fault::Unknown => {
            let most = if desk.counts_attempts { MAX_UNCOUNTED } else { MAX_RECEIVES };
            // Behind another it may have been received as often without ever being tried.
            let last = receives >= most && place == 0;
            let wait = failure.wait.unwrap_or_else(|| redelivery(receives, desk.dice.fraction()));
            (!last).then_some(wait)
        }
    }
}

/// Moves a record to the dead-letter queue, with the reason. `false` if that failed too.
async fn bury<J, Q, D: Publisher, B, C, R>(
    desk: &Desk<Q, D, B, C, R>,
    entry: &Entry<J>,
    failure: &Failure,
) -> bool {
    let id = entry.message.message_id.clone().unwrap_or_default();
    tracing::error!(record = %id, reason = %failure.reason, "record is a dead letter");
    let group = entry.message.attributes.get("MessageGroupId").cloned();
    let record = Record {
        // As it was: a pointer stays a pointer.
        body: entry.message.body.clone().unwrap_or_default(),
        group: group.unwrap_or_else(|| "dead".to_owned()),
        deduplication_id: id.clone(),
        delay: None,
        reason: Some(failure.reason.clone()),
    };
    match desk.dead_letters.publish(vec![record]).await {
        Ok(()) => {
            entry.buried.store(true, Ordering::Relaxed);
            let queue = entry.message.event_source_arn.as_deref().unwrap_or_default();
            let queue = queue.rsplit(':').next().unwrap_or_default();
            telemetry::count(Metric::DeadLetter, queue, 1);
            true
        }
        Err(error) => {
            tracing::error!(record = %id, %error, "the dead-letter queue did not take it");
            false
        }
    }
}

/// Hides a failed record and the rest of its group for the same time: a group waits for its
/// longest hidden record.
async fn give_back<'a, J, Q: Postpone, D, B, C, R>(
    desk: &Desk<Q, D, B, C, R>,
    group: &'a [Entry<J>],
    place: usize,
    wait: Duration,
) -> Vec<&'a SqsMessage> {
    let forgotten = failpoint::is_active(Failpoint::RestOfTheGroupForgotten);
    let rest = group.iter().skip(place).take(if forgotten { 1 } else { group.len() });
    let rest = rest.filter(|entry| !entry.buried.load(Ordering::Relaxed));
    let rest: Vec<&SqsMessage> = rest.map(|entry| &entry.message).collect();
    let receipts = rest.iter().filter_map(|message| message.receipt_handle.clone());
    let receipts: Vec<_> = receipts.map(|receipt| (receipt, wait)).collect();
    if let Err(error) = desk.queue.postpone(&receipts).await {
        // They come back by themselves, later.
        tracing::warn!(%error, "records not postponed");
    }
    rest
}
