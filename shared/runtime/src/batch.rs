//! SQS batch processing: groups concurrently, the records of a group in order, with partial batch
//! failures.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use domain::failpoint::{self, Failpoint};
use domain::fault::{Classify, Fault, redelivery_backoff};
use domain::ports::{ChangeVisibility, ClaimCheck, Clock, PortError, Publisher, Record, Rng};
use domain::trace;
use futures::future::join_all;
use serde::de::DeserializeOwned;

use crate::telemetry::{self, Metric};
use crate::{Env, span};

/// Receives after which a failed record moves to the dead-letter queue, with the reason. The
/// queue's own limit (`maxReceiveCount`) is higher and is for records that crash their function.
const MAX_RECEIVES: u32 = 5;
/// The same limit for a worker that counts attempts itself: it applies only to failures before
/// an attempt, and most receives only wait.
const MAX_UNCOUNTED: u32 = 50;

/// Dependencies of batch processing, apart from the worker.
#[derive(Debug)]
pub struct ConsumerContext<E: Env> {
    /// Source queue.
    pub queue: E::Queue,
    /// Dead-letter queue.
    pub dead_letters: E::Queue,
    /// Claim check store, for large bodies.
    pub bodies: E::Bucket,
    /// Clock.
    pub clock: E::Clock,
    /// Random number generator, for jitter.
    pub rng: E::Rng,
    /// Time after the start of the batch after which no record is started, so that the function's
    /// timeout interrupts none.
    pub budget: Duration,
    /// Whether the worker itself counts attempts. The limit of receives is then higher.
    pub counts_attempts: bool,
}

impl<E: Env> ConsumerContext<E> {
    /// Returns whether a record at `position` in its group that was received `receives` times moves
    /// to the dead-letter queue if it fails.
    const fn is_last(&self, receives: u32, position: usize) -> bool {
        let max = if self.counts_attempts { MAX_UNCOUNTED } else { MAX_RECEIVES };
        // A record behind another one may have been received as often without being tried.
        receives >= max && position == 0
    }
}

/// Context of a received SQS record.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveContext<'a> {
    /// Message id of the record, the same for each receive.
    pub record: &'a str,
    /// Number of receives, including this one.
    pub receives: u32,
    /// When processing started.
    pub now: jiff::Timestamp,
    /// Whether a retryable failure moves the record to the dead-letter queue.
    pub is_last: bool,
}

/// Failure to process a record.
#[derive(Debug)]
pub struct Failure {
    /// Fault, which decides about retries.
    pub fault: Fault,
    /// Reason, for logs and dead letters. It never contains message data.
    pub reason: String,
}

impl Failure {
    /// Returns a wait, which is not a failure: the record is received again after `wait`.
    #[must_use]
    pub fn wait(reason: &str, wait: Duration) -> Self {
        let fault = Fault::RateLimited { retry_after: wait };
        Self { fault, reason: reason.to_owned() }
    }

    /// Returns a retryable failure.
    #[must_use]
    pub fn retry(reason: &str) -> Self {
        Self { fault: Fault::Retryable, reason: reason.to_owned() }
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self { fault: error.fault(), reason: error.to_string() }
    }
}

/// Worker that processes the records of a queue.
pub trait Worker: Send + Sync {
    /// Body of a record.
    type Task: DeserializeOwned + Send + Sync;

    /// Processes the batch as a whole, concurrently with its records. If it fails, every record is
    /// retried.
    fn process_batch(
        &self,
        tasks: &[&Self::Task],
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = tasks;
        async { Ok(()) }
    }

    /// Processes one record. A record may be processed more than once, also concurrently.
    fn work(
        &self,
        task: &Self::Task,
        context: ReceiveContext<'_>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A record of the batch.
struct BatchRecord<J> {
    /// Whether the record was sent to the dead-letter queue, and so must not be retried.
    dead_lettered: AtomicBool,
    message: SqsMessage,
    receives: u32,
    task: Result<J, Failure>,
}

/// Processes a batch and reports the records to retry.
///
/// # Errors
/// If a record has no message id: reporting an empty one would silently retry the whole batch.
pub async fn handle<W: Worker, E: Env>(
    event: SqsEvent,
    context: &ConsumerContext<E>,
    worker: &W,
) -> Result<SqsBatchResponse, crate::Error> {
    if event.records.iter().any(|record| record.message_id.as_deref().unwrap_or("").is_empty()) {
        return Err("a record has no message id".into());
    }
    let started = context.clock.now();
    let records = join_all(event.records.into_iter().map(|message| open(&context.bodies, message)));
    let groups = grouped(records.await);
    let tasks: Vec<&W::Task> =
        groups.iter().flatten().filter_map(|record| record.task.as_ref().ok()).collect();
    let (batch_result, failed) = futures::join!(
        worker.process_batch(&tasks),
        join_all(groups.iter().map(|group| process_group(context, worker, group, started))),
    );
    let mut response = SqsBatchResponse::default();
    let mut failed: Vec<&SqsMessage> = failed.into_iter().flatten().collect();
    if let Err(failure) = batch_result {
        tracing::warn!(reason = %failure.reason, "the batch will be retried");
        failed = Vec::new();
        for group in &groups {
            let wait = redelivery_backoff(1, context.rng.fraction());
            failed.extend(return_to_queue(&context.queue, group, 0, wait).await);
        }
    }
    for message in failed {
        response.add_failure(message.message_id.clone().unwrap_or_default());
    }
    Ok(response)
}

async fn open<J: DeserializeOwned, B: ClaimCheck>(
    bodies: &B,
    message: SqsMessage,
) -> BatchRecord<J> {
    let receives = message.attributes.get("ApproximateReceiveCount");
    let receives = receives.and_then(|count| count.parse().ok()).unwrap_or(1);
    let body = bodies.redeem(message.body.as_deref().unwrap_or_default()).await;
    let task = body.map_err(Failure::from).and_then(|body| {
        serde_json::from_str(&body).map_err(|error| Failure {
            fault: Fault::Permanent,
            // Only the position: the parser's message can quote the body.
            reason: format!("invalid JSON at line {}, column {}", error.line(), error.column()),
        })
    });
    BatchRecord { dead_lettered: AtomicBool::new(false), message, receives, task }
}

/// Returns the records by group, in order. In a standard queue each record is its own group.
fn grouped<J>(records: Vec<BatchRecord<J>>) -> Vec<Vec<BatchRecord<J>>> {
    let mut groups: Vec<Vec<BatchRecord<J>>> = Vec::new();
    for record in records {
        let group = |record: &BatchRecord<J>| {
            // Standard queues have groups too (fair queues), but do not keep their order.
            record.message.attributes.get("SequenceNumber")?;
            record.message.attributes.get("MessageGroupId").cloned()
        };
        let own = group(&record).filter(|_| !failpoint::is_active(Failpoint::GroupInParallel));
        let existing = groups
            .iter_mut()
            .find(|members| own.is_some() && members.first().and_then(group) == own);
        match existing {
            Some(members) => members.push(record),
            None => groups.push(vec![record]),
        }
    }
    groups
}

/// Processes the records of a group until one fails; returns the records to retry.
async fn process_group<'a, W: Worker, E: Env>(
    context: &ConsumerContext<E>,
    worker: &W,
    group: &'a [BatchRecord<W::Task>],
    started: jiff::Timestamp,
) -> Vec<&'a SqsMessage> {
    for (position, record) in group.iter().enumerate() {
        let span = span::of_record(&record.message, record.receives);
        let processing = pin!(process_record(context, worker, group, position, started));
        if let Err(failed) = trace::scope(span, processing).await {
            return failed;
        }
    }
    Vec::new()
}

/// Processes the record at `position` of its group.
///
/// # Errors
/// The records to retry, if the record failed and was not sent to the dead-letter queue.
async fn process_record<'a, W: Worker, E: Env>(
    context: &ConsumerContext<E>,
    worker: &W,
    group: &'a [BatchRecord<W::Task>],
    position: usize,
    started: jiff::Timestamp,
) -> Result<(), Vec<&'a SqsMessage>> {
    let Some(record) = group.get(position) else { return Ok(()) };
    let id = record.message.message_id.as_deref().unwrap_or_default();
    let (now, receives) = (context.clock.now(), record.receives);
    let is_last = context.is_last(receives, position);
    let receive = ReceiveContext { record: id, receives, now, is_last };
    let late = now.duration_since(started).unsigned_abs() > context.budget;
    let done = match &record.task {
        _ if late => Err(Failure::wait("no time left in this invocation", Duration::ZERO)),
        Ok(task) => worker.work(task, receive).await,
        Err(failure) => Err(Failure { reason: failure.reason.clone(), ..*failure }),
    };
    let Err(failure) = done else { return Ok(()) };
    let Some(wait) = wait(&context.rng, &failure, receive) else {
        if send_to_dlq(&context.dead_letters, record, &failure).await {
            return Ok(());
        }
        let wait = Duration::from_secs(30);
        return Err(return_to_queue(&context.queue, group, position, wait).await);
    };
    tracing::warn!(
        record = %id,
        reason = %failure.reason,
        receives,
        wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        "record will be retried"
    );
    Err(return_to_queue(&context.queue, group, position, wait).await)
}

/// Returns how long to hide a failed record; `None` if it moves to the dead-letter queue.
fn wait(rng: &impl Rng, failure: &Failure, receive: ReceiveContext<'_>) -> Option<Duration> {
    match failure.fault {
        Fault::RateLimited { retry_after } => Some(retry_after),
        Fault::Permanent => None,
        Fault::Retryable | Fault::Unknown => {
            let wait = || redelivery_backoff(receive.receives, rng.fraction());
            (!receive.is_last).then(wait)
        }
    }
}

/// Sends a record to the dead-letter queue, with the reason. Returns `false` if that fails.
async fn send_to_dlq<J>(
    dead_letters: &impl Publisher,
    record: &BatchRecord<J>,
    failure: &Failure,
) -> bool {
    let id = record.message.message_id.clone().unwrap_or_default();
    tracing::error!(record = %id, reason = %failure.reason, "record sent to the dead-letter queue");
    let group = record.message.attributes.get("MessageGroupId").cloned();
    let attributes = record.message.message_attributes.iter();
    let attributes = attributes
        .filter_map(|(name, attribute)| Some((name.clone(), attribute.string_value.clone()?)));
    let dead_letter = Record {
        // Keep the body as received: a claim check stays a claim check.
        body: record.message.body.clone().unwrap_or_default(),
        group: group.unwrap_or_else(|| "dead".to_owned()),
        deduplication_id: id.clone(),
        delay: None,
        reason: Some(failure.reason.clone()),
        // SQS knows the source only of records that it moved itself.
        source: record.message.event_source_arn.clone(),
        attributes: attributes.collect(),
    };
    match dead_letters.publish(vec![dead_letter]).await {
        Ok(()) => {
            record.dead_lettered.store(true, Ordering::Relaxed);
            let queue = record.message.event_source_arn.as_deref().unwrap_or_default();
            let queue = queue.rsplit(':').next().unwrap_or_default();
            telemetry::count(Metric::DeadLetter, queue, 1);
            true
        }
        Err(error) => {
            tracing::error!(record = %id, %error, "record not sent to the dead-letter queue");
            false
        }
    }
}

/// Hides a failed record and the rest of its group for the same time: a group waits for the
/// record that is hidden longest.
async fn return_to_queue<'a, J>(
    queue: &impl ChangeVisibility,
    group: &'a [BatchRecord<J>],
    position: usize,
    wait: Duration,
) -> Vec<&'a SqsMessage> {
    let only_one = failpoint::is_active(Failpoint::RestOfTheGroupForgotten);
    let rest = group.iter().skip(position).take(if only_one { 1 } else { group.len() });
    let rest = rest.filter(|record| !record.dead_lettered.load(Ordering::Relaxed));
    let rest: Vec<&SqsMessage> = rest.map(|record| &record.message).collect();
    let receipts = rest.iter().filter_map(|message| message.receipt_handle.clone());
    let receipts: Vec<_> = receipts.map(|receipt| (receipt, wait)).collect();
    if let Err(error) = queue.change_visibility(&receipts).await {
        // They become visible again after the queue's visibility timeout.
        tracing::warn!(%error, "visibility of records not changed");
    }
    rest
}
