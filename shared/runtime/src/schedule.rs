//! Once a minute: retries whose time has come go back to their queue.

use domain::failpoint::{self, Failpoint};
use domain::ports::{Clock, PortResult, Publisher, Schedule};
use futures::future::try_join_all;
use lambda_runtime::{LambdaEvent, service_fn};
use queue::SqsQueue;
use store::DynamoStore;

use crate::{Error, Kit, SystemClock};

/// Retries taken at once. What is left is taken in the next round.
const ROUND: u32 = 500;
/// Rounds in one invocation, so that it ends in time.
const ROUNDS: usize = 20;

/// Puts back what is due; gives how many that were.
///
/// # Errors
/// If the table or the queue fails. What was not taken out comes again, and a notice that
/// is told already is known by its id.
pub async fn handle<S, P, C>(store: &S, queue: &P, clock: &C) -> PortResult<usize>
where
    S: Schedule,
    P: Publisher,
    C: Clock,
{
    let mut total = 0;
    for _round in 0..ROUNDS {
        let due = store.due(clock.now(), ROUND).await?;
        if due.is_empty() {
            break;
        }
        let records = due.iter().map(|due| crate::automation::retry(&due.tenant, due.id, None));
        if failpoint::is_active(Failpoint::ScheduleClearedFirst) {
            try_join_all(due.chunks(25).map(|batch| store.done(batch))).await?;
        }
        queue.publish(records.collect::<PortResult<_>>()?).await?;
        // Side by side: each batch is its own.
        try_join_all(due.chunks(25).map(|batch| store.done(batch))).await?;
        total += due.len();
    }
    Ok(total)
}

/// The table and the queue of the schedule.
///
/// # Errors
/// If an environment variable is missing.
pub fn parts<N, C, R>(kit: &Kit<N, C, R>) -> Result<(DynamoStore, SqsQueue), Error> {
    Ok((kit.store()?, kit.queue("AUTOMATION_QUEUE_URL", None)?))
}

/// Runs the schedule until Lambda ends it.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let (store, queue) = parts(&kit)?;
        let (store, queue) = (&store, &queue);
        lambda_runtime::run(service_fn(async move |_: LambdaEvent<serde_json::Value>| {
            let retries = handle(store, queue, &SystemClock).await?;
            if retries > 0 {
                tracing::info!(retries, "retries put back");
            }
            Ok::<_, Error>(())
        }))
        .await
    })
}
