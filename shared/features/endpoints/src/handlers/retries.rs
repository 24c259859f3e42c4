//! Schedule that queues due notification retries, once a minute.

use domain::failpoint::{self, Failpoint};
use domain::ports::{Clock, PortResult, Publisher};
use futures::future::try_join_all;
use queue::SqsQueue;
use runtime::telemetry::{self, Metric};
use runtime::{AwsEnv, Error, Kit, SystemClock};

use crate::Repository;
use crate::ports::Schedule;

/// Maximum number of retries per round. The rest is queued in the next round.
const ROUND_SIZE: u32 = 500;
/// Maximum number of rounds in one invocation, so that it ends in time.
const MAX_ROUNDS: usize = 20;

/// Queues due retries; returns how many.
///
/// # Errors
/// If the table or the queue fails. Retries that were not removed from the schedule are queued
/// again, and a notification that was already delivered is recognized by its id.
pub async fn handle<S, P, C>(store: &S, queue: &P, clock: &C) -> PortResult<usize>
where
    S: Schedule,
    P: Publisher,
    C: Clock,
{
    let mut total = 0;
    for _round in 0..MAX_ROUNDS {
        let due = store.due(clock.now(), ROUND_SIZE).await?;
        if due.is_empty() {
            break;
        }
        if let Some(oldest) = due.iter().map(|due| due.due_at).min() {
            telemetry::time(Metric::RetryDelay, "automation", oldest, clock.now());
        }
        let records = due.iter().map(|due| {
            let record = super::dispatch::retry(&due.tenant, due.id, None)?;
            Ok(record.traced(due.trace))
        });
        if failpoint::is_active(Failpoint::ScheduleClearedFirst) {
            try_join_all(due.chunks(25).map(|batch| store.remove(batch))).await?;
        }
        queue.publish(records.collect::<PortResult<_>>()?).await?;
        // Concurrently: the batches are independent.
        try_join_all(due.chunks(25).map(|batch| store.remove(batch))).await?;
        total += due.len();
    }
    Ok(total)
}

/// Builds the table and the queue of the schedule from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn parts<E: AwsEnv>(kit: &Kit<E>) -> Result<(Repository, SqsQueue), Error> {
    Ok((kit.repository()?, kit.queue("AUTOMATION_QUEUE_URL", None)?))
}

/// Serves the schedule until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::start(async |kit| {
        let (store, queue) = parts(&kit)?;
        let (store, queue) = (&store, &queue);
        runtime::serve(async move |_: serde_json::Value| {
            let retries = handle(store, queue, &SystemClock).await?;
            if retries > 0 {
                tracing::info!(retries, "retries queued");
            }
            Ok(())
        })
        .await
    })
}
