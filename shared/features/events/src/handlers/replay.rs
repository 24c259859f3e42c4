//! Consumer that replays events: one page per record, and each page queues the next.

use domain::Fault;
use domain::ports::{Clock, PortResult, Publisher, Record, Recorded};
use domain::task::{ReplayTask, VERSION};
use runtime::batch::{Failure, ReceiveContext, Worker};
use runtime::{AwsEnv, Consumer, Env, Error, FeatureRepository, Kit};

use crate::Repository;
use crate::model::{
    Direction, EventFilter, ReplayPage, ReplayPosition, ReplayStatus, State, StoredEvent,
};
use crate::ports::{EventReader, ReplayProgress, Replays};

/// Page size in events.
const PAGE: u32 = 100;
/// Number of events that are read and published at once: each may be as large as a request.
const CHUNK: usize = 10;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct Replayer<E: Env> {
    /// DynamoDB table.
    pub store: Repository,
    /// Bucket with the event bodies that are too large for the table.
    pub bucket: E::Bucket,
    /// Events queue.
    pub events: E::Queue,
    /// The consumer's own queue, for the next page.
    pub queue: E::Queue,
    /// Clock.
    pub clock: E::Clock,
}

impl<E: Env> Worker for Replayer<E> {
    type Task = ReplayTask;

    async fn work(&self, task: &ReplayTask, context: ReceiveContext<'_>) -> Result<(), Failure> {
        let result = self.page(task, context).await;
        if let Err(failure) = &result
            && (context.is_last || failure.fault == Fault::Permanent)
        {
            let (tenant, now) = (&task.tenant, self.clock.now());
            self.store
                .record_failure(tenant, task.replay, &task.cursor, &failure.reason, now)
                .await?;
        }
        result
    }
}

impl<E: Env> Replayer<E> {
    async fn page(&self, task: &ReplayTask, context: ReceiveContext<'_>) -> Result<(), Failure> {
        let Some(position) = self.store.replay(&task.tenant, task.replay).await? else {
            tracing::warn!(tenant = %task.tenant, replay = %task.replay, "replay expired");
            return Ok(());
        };
        if position.replay.status == ReplayStatus::Done {
            return Ok(());
        }
        if position.cursor != task.cursor {
            // The page was already counted. If this record did so, the consumer may have crashed
            // before it queued the next page.
            let own = position.before.as_ref() == Some(&task.cursor) && context.receives > 1;
            return if own { Ok(self.queue_page(task, position.cursor).await?) } else { Ok(()) };
        }
        let page = self.publish(task, &position).await?;
        let advanced =
            self.store.advance_page(&task.tenant, task.replay, &page, self.clock.now()).await?;
        tracing::info!(
            tenant = %task.tenant, replay = %task.replay, matched = page.matched,
            published = page.published, new = advanced == Recorded::New, "page replayed"
        );
        match (advanced, page.next) {
            // Another record has replayed the same page meanwhile, and queues the next.
            (Recorded::Duplicate, _) | (_, None) => Ok(()),
            (Recorded::New, Some(next)) => Ok(self.queue_page(task, next).await?),
        }
    }

    /// Publishes the page at the position of the replay.
    async fn publish(
        &self,
        task: &ReplayTask,
        position: &ReplayPosition,
    ) -> Result<ReplayPage, Failure> {
        let filter = &position.replay.filter;
        // Older events may be partly deleted.
        let oldest = self.store.retention().oldest(self.clock.now());
        let filter = EventFilter {
            // Events that could not be parsed cannot be processed.
            state: Some(State::Recorded),
            from: filter.from.max(oldest),
            ..filter.clone()
        };
        let cursor = Some(task.cursor.as_str()).filter(|cursor| !cursor.is_empty());
        let found =
            self.store.events(&task.tenant, &filter, Direction::OldestFirst, PAGE, cursor).await?;
        let mut published = 0;
        for events in found.items.chunks(CHUNK) {
            let records = self.records(events, task).await?;
            published += records.len() as u64;
            self.events.publish(records).await?;
        }
        Ok(ReplayPage {
            from: task.cursor.clone(),
            next: next_page(&task.cursor, found.next)?,
            matched: found.items.len() as u64,
            published,
        })
    }

    async fn records(&self, events: &[StoredEvent], task: &ReplayTask) -> PortResult<Vec<Record>> {
        let records = events
            .iter()
            .map(|event| super::record::replay_record(&self.bucket, event, task.replay));
        let records = futures::future::try_join_all(records).await?;
        if records.iter().any(Option::is_none) {
            tracing::warn!(
                tenant = %task.tenant, replay = %task.replay,
                "events cannot be read and are skipped"
            );
        }
        Ok(records.into_iter().flatten().collect())
    }

    /// Queues the page that starts at `cursor`.
    async fn queue_page(&self, task: &ReplayTask, cursor: String) -> PortResult<()> {
        self.queue.publish(vec![page_record(&ReplayTask { cursor, ..task.clone() })?]).await
    }
}

/// Returns the page after the one that starts at `cursor`. Each page must start after the one
/// before: this guarantees that a replay ends, because Lambda's recursive loop detection is turned
/// off for its consumer.
fn next_page(cursor: &str, next: Option<String>) -> Result<Option<String>, Failure> {
    match next {
        Some(next) if next.as_str() <= cursor => Err(Failure {
            fault: Fault::Permanent,
            reason: "the next page does not start after this one: start the replay again".into(),
        }),
        next => Ok(next),
    }
}

/// Returns a job as a record of the replay queue.
pub(crate) fn page_record(task: &ReplayTask) -> PortResult<Record> {
    let task = ReplayTask { v: VERSION, ..task.clone() };
    let body = serde_json::to_string(&task).map_err(|_| runtime::unwritable())?;
    let group = task.tenant.to_string();
    let deduplication_id = format!("{}:{}", task.replay, task.cursor);
    Ok(Record { body, group, deduplication_id, ..Record::default() })
}

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<E: AwsEnv>(kit: &Kit<E>) -> Result<Consumer<Replayer<E>, E>, Error> {
    let bucket = kit.bucket()?;
    let worker = Replayer {
        store: kit.repository()?,
        events: kit.queue("EVENTS_QUEUE_URL", Some(&bucket))?,
        queue: kit.queue("QUEUE_URL", None)?,
        clock: kit.clock.clone(),
        bucket,
    };
    runtime::consumer(kit, worker, 12, false)
}

/// Serves the consumer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::consume(consumer, async |worker| worker.store.prewarm().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_does_not_advance_ends_its_replay() {
        assert_eq!(next_page("", Some("b".into())).unwrap(), Some("b".into()));
        assert_eq!(next_page("b", Some("ba".into())).unwrap(), Some("ba".into()));
        assert_eq!(next_page("b", None).unwrap(), None);
        for back in ["b", "a", ""] {
            let failure = next_page("b", Some(back.into())).unwrap_err();
            assert_eq!(failure.fault, Fault::Permanent);
        }
    }
}
