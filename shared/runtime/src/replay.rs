//! Events worked again: a page a record, and each page asks for the next.

use domain::Fault;
use domain::job::{ReplayJob, VERSION};
use domain::ports::{
    Clock, Dice, EventBodyReader, EventReader, PortResult, Publisher, Record, Recorded,
    ReplayProgress, Replays,
};
use domain::record::{
    Direction, EventFilter, KEEP_EVENTS, Kept, ReplayPage, ReplayPlace, ReplayStatus, State,
};
use queue::{Bucket, SqsQueue};
use store::DynamoStore;

use crate::batch::{Delivery, Failure, Worker};
use crate::{Consumer, Error, Kit};

/// Events of one page.
const PAGE: u32 = 100;
/// Events read back and published at once: each may be as large as a request.
const AT_ONCE: usize = 10;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct Replayer<S, B, P, C> {
    /// DynamoDB table.
    pub store: S,
    /// What is too large for the table.
    pub bucket: B,
    /// Events queue.
    pub events: P,
    /// Its own queue.
    pub queue: P,
    /// Clock.
    pub clock: C,
}

impl<S, B, P, C> Worker for Replayer<S, B, P, C>
where
    S: EventReader + Replays + ReplayProgress,
    B: EventBodyReader,
    P: Publisher,
    C: Clock,
{
    type Job = ReplayJob;

    async fn work(&self, job: &ReplayJob, delivery: Delivery<'_>) -> Result<(), Failure> {
        let done = self.page(job, delivery).await;
        if let Err(failure) = &done
            && (delivery.is_last() || failure.fault == Fault::Permanent)
        {
            let (tenant, now) = (&job.tenant, self.clock.now());
            self.store.stand_still(tenant, job.replay, &job.cursor, &failure.reason, now).await?;
        }
        done
    }
}

impl<S, B, P, C> Replayer<S, B, P, C>
where
    S: EventReader + Replays + ReplayProgress,
    B: EventBodyReader,
    P: Publisher,
    C: Clock,
{
    async fn page(&self, job: &ReplayJob, delivery: Delivery<'_>) -> Result<(), Failure> {
        let Some(place) = self.store.replay(&job.tenant, job.replay).await? else {
            tracing::warn!(tenant = %job.tenant, replay = %job.replay, "replay forgotten");
            return Ok(());
        };
        if place.replay.status == ReplayStatus::Done {
            return Ok(());
        }
        if place.cursor != job.cursor {
            // The page was counted before. If this record did that, it may have died before
            // it asked for the next.
            let own = place.before.as_ref() == Some(&job.cursor) && delivery.receives > 1;
            return if own { Ok(self.ask(job, place.cursor).await?) } else { Ok(()) };
        }
        let page = self.publish(job, &place).await?;
        let advanced =
            self.store.turn_page(&job.tenant, job.replay, &page, self.clock.now()).await?;
        tracing::info!(
            tenant = %job.tenant, replay = %job.replay, matched = page.matched,
            published = page.published, new = advanced == Recorded::New, "page replayed"
        );
        match (advanced, page.next) {
            // Another record did the same page meanwhile, and asks for the next.
            (Recorded::Duplicate, _) | (_, None) => Ok(()),
            (Recorded::New, Some(next)) => Ok(self.ask(job, next).await?),
        }
    }

    /// Publishes the page that begins where the replay is.
    async fn publish(&self, job: &ReplayJob, place: &ReplayPlace) -> Result<ReplayPage, Failure> {
        let filter = &place.replay.filter;
        // What is older may be gone in part.
        let oldest = self.clock.now() - KEEP_EVENTS;
        let filter = EventFilter {
            // What could not be read cannot be worked.
            state: Some(State::Recorded),
            from: Some(filter.from.map_or(oldest, |from| from.max(oldest))),
            ..filter.clone()
        };
        let cursor = Some(job.cursor.as_str()).filter(|cursor| !cursor.is_empty());
        let found =
            self.store.events(&job.tenant, &filter, Direction::OldestFirst, PAGE, cursor).await?;
        let mut published = 0;
        for events in found.items.chunks(AT_ONCE) {
            let records = self.records(events, job).await?;
            published += records.len() as u64;
            self.events.publish(records).await?;
        }
        Ok(ReplayPage {
            from: job.cursor.clone(),
            next: onward(&job.cursor, found.next)?,
            matched: found.items.len() as u64,
            published,
        })
    }

    async fn records(&self, events: &[Kept], job: &ReplayJob) -> PortResult<Vec<Record>> {
        let again =
            events.iter().map(|event| crate::events::again(&self.bucket, event, job.replay));
        let again = futures::future::try_join_all(again).await?;
        if again.iter().any(Option::is_none) {
            tracing::warn!(
                tenant = %job.tenant, replay = %job.replay,
                "events cannot be read back, and are passed over"
            );
        }
        Ok(again.into_iter().flatten().collect())
    }

    /// Asks for the page that begins at `cursor`.
    async fn ask(&self, job: &ReplayJob, cursor: String) -> PortResult<()> {
        self.queue.publish(vec![asked(&ReplayJob { cursor, ..job.clone() })?]).await
    }
}

/// The page after the one that begins at `cursor`. Each must begin behind the one before: that
/// is what ends a replay, for AWS is told to let its consumer call itself.
fn onward(cursor: &str, next: Option<String>) -> Result<Option<String>, Failure> {
    match next {
        Some(next) if next.as_str() <= cursor => Err(Failure {
            fault: Fault::Permanent,
            reason: "the next page does not begin behind this one; ask for the replay anew".into(),
            wait: None,
        }),
        next => Ok(next),
    }
}

/// A job as a record of the replays' queue.
pub(crate) fn asked(job: &ReplayJob) -> PortResult<Record> {
    let job = ReplayJob { v: VERSION, ..job.clone() };
    let body = serde_json::to_string(&job).map_err(|_| crate::unwritable())?;
    let group = job.tenant.to_string();
    let deduplication_id = format!("{}:{}", job.replay, job.cursor);
    Ok(Record { body, group, deduplication_id, ..Record::default() })
}

/// The worker with its production dependencies.
pub type OwnReplayer<C> = Replayer<DynamoStore, Bucket, SqsQueue, C>;

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<N, C: Clock + Clone, R: Dice + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<Consumer<OwnReplayer<C>, C, R>, Error> {
    let bucket = kit.bucket()?;
    let worker = Replayer {
        store: kit.store()?,
        events: kit.queue("EVENTS_QUEUE_URL", Some(&bucket))?,
        queue: kit.queue("QUEUE_URL", None)?,
        clock: kit.clock.clone(),
        bucket,
    };
    crate::consumer(kit, worker, 12, false)
}

/// Serves the consumer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let consumer = consumer(&kit)?;
        consumer.worker.store.prewarm().await;
        crate::consume(consumer).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_leads_back_ends_its_replay() {
        assert_eq!(onward("", Some("b".into())).unwrap(), Some("b".into()));
        assert_eq!(onward("b", Some("ba".into())).unwrap(), Some("ba".into()));
        assert_eq!(onward("b", None).unwrap(), None);
        for back in ["b", "a", ""] {
            let failure = onward("b", Some(back.into())).unwrap_err();
            assert_eq!(failure.fault, Fault::Permanent);
        }
    }
}
