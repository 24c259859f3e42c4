//! Everything the hub does not act on itself, written down: once, under its tenant.

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

/// The largest body that stands beside its record: what a table is asked to write costs by the
/// kilobyte, and an object costs as much as eight.
const LARGEST_BODY: usize = 4 * 1024;
/// The longest a provider's names for an event may be together: an item may have 400 KB.
const LONGEST_NAMES: usize = 64 * 1024;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct EventBook<S, A, C> {
    /// DynamoDB table.
    pub store: S,
    /// The archive, and the place for what is too large for the table.
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

    async fn work(&self, event: &InboundEvent, _delivery: Delivery<'_>) -> Result<(), Failure> {
        let record = EventRecord::of(event);
        let (tenant, id, provider) = (&event.tenant, record.id, event.provider);
        let event_kind = record.kind.as_str();
        // The body first: who finds the record finds all of it.
        let kept = keep(&self.bucket, record, &EventBody::of(event)).await?;
        let entered = self.store.enter(&kept, event.single_use.as_deref()).await?;
        match entered {
            Entered::New => telemetry::count(Metric::EventRecorded, provider.as_str(), 1),
            Entered::Duplicate => {}
            Entered::Forged => {
                tracing::error!(
                    %tenant, event_id = %id, %provider,
                    "event refused: what proves it has proved another"
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

/// The record with its body: beside it, or in the bucket if it is large.
pub(crate) async fn keep<A: EventBodies>(
    bucket: &A,
    record: EventRecord,
    body: &EventBody,
) -> Result<Kept, Failure> {
    let names = record.account.len() + record.provider_event_id.len() + record.name.len();
    if names > LONGEST_NAMES {
        let reason = "what the provider calls it is too long for the table".to_owned();
        return Err(Failure { fault: Fault::Permanent, reason, wait: None });
    }
    let body = serde_json::to_string(body)
        .map_err(|_| Failure::retry("the event cannot be written as JSON"))?;
    let body = if body.len() > LARGEST_BODY {
        BodyPlace::Object(bucket.put_body(&record, body).await?)
    } else {
        BodyPlace::Here(body)
    };
    Ok(Kept { record, body })
}

/// What an event brought; `None` if it is gone, or not in a shape this version knows.
pub(crate) async fn body<B: EventBodyReader>(
    bucket: &B,
    kept: &Kept,
) -> PortResult<Option<EventBody>> {
    Ok(match &kept.body {
        BodyPlace::Here(body) => serde_json::from_str(body).ok(),
        BodyPlace::Object(key) => {
            bucket.body(key).await?.and_then(|body| serde_json::from_str(&body).ok())
        }
    })
}

/// The record that brings an event again; `None` if it was never one, or its body cannot be
/// had back.
pub(crate) async fn again<B: EventBodyReader>(
    bucket: &B,
    kept: &Kept,
    replay: ReplayId,
) -> PortResult<Option<Record>> {
    let event = body(bucket, kept).await?.and_then(|body| kept.record.event(body, replay));
    event.as_ref().map(queued).transpose()
}

/// An event as a record of the events' queue.
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
