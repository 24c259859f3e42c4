//! Consumer that records events that are neither messages nor receipts: once each, for their
//! tenant.

use domain::ReplayId;
use domain::event::InboundEvent;
use domain::fault::Fault;
use domain::ports::{Clock, EventBodies, EventBodyReader, PortResult, Record};
use runtime::batch::{Failure, ReceiveContext, Worker};
use runtime::telemetry::{self, Metric};
use runtime::{AwsEnv, Consumer, Env, Error, FeatureRepository, Kit, archive};

use crate::Repository;
use crate::model::{BodyLocation, EventBody, EventRecord, StoredEvent};
use crate::ports::{EventLog, RecordOutcome};

/// Maximum size of a body that is stored inline in its record. A table write is billed per
/// kilobyte; storing an object costs as much as eight.
const MAX_INLINE_BYTES: usize = 4 * 1024;
/// Maximum total size of the provider's names for an event: an item may have 400 KB.
const MAX_NAME_BYTES: usize = 64 * 1024;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct RecordEvent<E: Env> {
    /// DynamoDB table.
    pub store: Repository,
    /// Archive of raw events, and storage for bodies that are too large for the table.
    pub bucket: E::Bucket,
    /// Clock.
    pub clock: E::Clock,
}

impl<E: Env> Worker for RecordEvent<E> {
    type Task = InboundEvent;

    async fn process_batch(&self, tasks: &[&InboundEvent]) -> Result<(), Failure> {
        archive::keep(&self.bucket, tasks).await
    }

    async fn work(
        &self,
        event: &InboundEvent,
        _context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        let record = EventRecord::of(event);
        let (tenant, id, provider) = (&event.tenant, record.id, event.provider);
        let event_kind = record.kind.as_str();
        // Store the body first, so that a record is never without its body.
        let stored = store_body(&self.bucket, record, &EventBody::of(event)).await?;
        let entered = self.store.record_event(&stored, event.single_use.as_deref()).await?;
        match entered {
            RecordOutcome::New => telemetry::count(Metric::EventRecorded, provider.as_str(), 1),
            RecordOutcome::Duplicate => {}
            RecordOutcome::ReusedToken => {
                tracing::error!(
                    %tenant, event_id = %id, %provider,
                    "event rejected: its single-use token belongs to another event"
                );
                telemetry::count(Metric::EventForged, "events", 1);
                return Ok(());
            }
        }
        if let Some(replay) = event.replay {
            self.store.record_replay(tenant, id, replay, self.clock.now()).await?;
        }
        tracing::info!(
            %tenant, event_id = %id, %provider, kind = event_kind,
            new = entered == RecordOutcome::New, replayed = event.replay.is_some(), "event recorded"
        );
        Ok(())
    }
}

/// Returns the record with its body: inline, or in the bucket if it is large.
pub(crate) async fn store_body<A: EventBodies>(
    bucket: &A,
    record: EventRecord,
    body: &EventBody,
) -> Result<StoredEvent, Failure> {
    let names = record.account.len() + record.provider_event_id.len() + record.name.len();
    if names > MAX_NAME_BYTES {
        let reason = "the provider's names for the event are too long for the table".to_owned();
        return Err(Failure { fault: Fault::Permanent, reason });
    }
    let body = serde_json::to_string(body)
        .map_err(|_| Failure::retry("the event cannot be written as JSON"))?;
    let body = if body.len() > MAX_INLINE_BYTES {
        BodyLocation::Object(
            bucket.put_body(&record.tenant, record.provider, record.id, body).await?,
        )
    } else {
        BodyLocation::Inline(body)
    };
    Ok(StoredEvent { record, body })
}

/// Returns the body of an event; `None` if it was deleted or has an unknown format.
pub(crate) async fn body<B: EventBodyReader>(
    bucket: &B,
    stored: &StoredEvent,
) -> PortResult<Option<EventBody>> {
    Ok(match &stored.body {
        BodyLocation::Inline(body) => serde_json::from_str(body).ok(),
        BodyLocation::Object(key) => {
            bucket.body(key).await?.and_then(|body| serde_json::from_str(&body).ok())
        }
    })
}

/// Returns the queue record that replays an event; `None` if it was parked or its body cannot be
/// read.
pub(crate) async fn replay_record<B: EventBodyReader>(
    bucket: &B,
    stored: &StoredEvent,
    replay: ReplayId,
) -> PortResult<Option<Record>> {
    let event = body(bucket, stored).await?.and_then(|body| stored.record.event(body, replay));
    event.as_ref().map(runtime::webhook::queued).transpose()
}

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<E: AwsEnv>(kit: &Kit<E>) -> Result<Consumer<RecordEvent<E>, E>, Error> {
    let bucket = kit.bucket()?;
    bucket.prepare();
    let worker = RecordEvent { store: kit.repository()?, bucket, clock: kit.clock.clone() };
    runtime::consumer(kit, worker, 12, false)
}

/// Serves the consumer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::consume(consumer, async |worker| worker.store.prewarm().await)
}
