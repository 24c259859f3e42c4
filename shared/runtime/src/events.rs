//! Consumer that records events that are neither messages nor receipts: once each, for their
//! tenant.

use domain::ReplayId;
use domain::event::InboundEvent;
use domain::fault::Fault;
use domain::ports::{
    Archive, Clock, Dice, Entered, EventBodies, EventBodyReader, EventLog, PortResult, Record,
};
use domain::record::{BodyPlace, EventBody, EventRecord, Kept};
use queue::Bucket;
use store::DynamoStore;

use crate::batch::{Delivery, Failure, Worker};
use crate::telemetry::{self, Metric};
use crate::{Consumer, Error, Kit};

/// Maximum size of a body that is stored inline in its record. A table write is billed per
/// kilobyte; storing an object costs as much as eight.
const MAX_INLINE_BYTES: usize = 4 * 1024;
/// Maximum total size of the provider's names for an event: an item may have 400 KB.
const MAX_NAME_BYTES: usize = 64 * 1024;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct EventBook<S, A, C> {
    /// DynamoDB table.
    pub store: S,
    /// Archive of raw events, and storage for bodies that are too large for the table.
    pub bucket: A,
    /// Clock.
    pub clock: C,
}

impl<S, A, C> Worker for EventBook<S, A, C>
where
    S: EventLog,
    A: Archive + EventBodies,
    C: Clock,
{
    type Job = InboundEvent;

    async fn whole(&self, jobs: &[&InboundEvent]) -> Result<(), Failure> {
        crate::inbound::archive(&self.bucket, jobs).await
    }

    async fn work(&self, event: &InboundEvent, _context: Delivery<'_>) -> Result<(), Failure> {
        let record = EventRecord::of(event);
        let (tenant, id, provider) = (&event.tenant, record.id, event.provider);
        let event_kind = record.kind.as_str();
        // Store the body first, so that a record is never without its body.
        let stored = store_body(&self.bucket, record, &EventBody::of(event)).await?;
        let entered = self.store.enter(&stored, event.single_use.as_deref()).await?;
        match entered {
            Entered::New => telemetry::count(Metric::EventRecorded, provider.as_str(), 1),
            Entered::Duplicate => {}
            Entered::Forged => {
                tracing::error!(
                    %tenant, event_id = %id, %provider,
                    "event rejected: its single-use token belongs to another event"
                );
                telemetry::count(Metric::EventForged, "events", 1);
                return Ok(());
            }
        }
        if let Some(replay) = event.replay {
            self.store.note_replay(tenant, id, replay, self.clock.now()).await?;
        }
        tracing::info!(
            %tenant, event_id = %id, %provider, kind = event_kind,
            new = entered == Entered::New, replayed = event.replay.is_some(), "event recorded"
        );
        Ok(())
    }
}

/// Returns the record with its body: inline, or in the bucket if it is large.
pub(crate) async fn store_body<A: EventBodies>(
    bucket: &A,
    record: EventRecord,
    body: &EventBody,
) -> Result<Kept, Failure> {
    let names = record.account.len() + record.provider_event_id.len() + record.name.len();
    if names > MAX_NAME_BYTES {
        let reason = "the provider's names for the event are too long for the table".to_owned();
        return Err(Failure { fault: Fault::Permanent, reason, wait: None });
    }
    let body = serde_json::to_string(body)
        .map_err(|_| Failure::retry("the event cannot be written as JSON"))?;
    let body = if body.len() > MAX_INLINE_BYTES {
        BodyPlace::Object(bucket.put_body(&record, body).await?)
    } else {
        BodyPlace::Here(body)
    };
    Ok(Kept { record, body })
}

/// Returns the body of an event; `None` if it was deleted or has an unknown format.
pub(crate) async fn body<B: EventBodyReader>(
    bucket: &B,
    stored: &Kept,
) -> PortResult<Option<EventBody>> {
    Ok(match &stored.body {
        BodyPlace::Here(body) => serde_json::from_str(body).ok(),
        BodyPlace::Object(key) => {
            bucket.body(key).await?.and_then(|body| serde_json::from_str(&body).ok())
        }
    })
}

/// Returns the queue record that replays an event; `None` if it was parked or its body cannot be
/// read.
pub(crate) async fn replay_record<B: EventBodyReader>(
    bucket: &B,
    stored: &Kept,
    replay: ReplayId,
) -> PortResult<Option<Record>> {
    let event = body(bucket, stored).await?.and_then(|body| stored.record.event(body, replay));
    event.as_ref().map(queued).transpose()
}

/// Returns an event as a record of the events queue.
pub(crate) fn queued(event: &InboundEvent) -> PortResult<Record> {
    let body = serde_json::to_string(event).map_err(|_| crate::unwritable())?;
    let (group, deduplication_id) = (event.ordering_group(), event.deduplication_id());
    Ok(Record { body, group, deduplication_id, ..Record::default() })
}

/// The worker with its production dependencies.
pub type OwnEventBook<C> = EventBook<DynamoStore, Bucket, C>;

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<N, C: Clock + Clone, R: Dice + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<Consumer<OwnEventBook<C>, C, R>, Error> {
    let bucket = kit.bucket()?;
    bucket.prepare();
    let worker = EventBook { store: kit.store()?, bucket, clock: kit.clock.clone() };
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
