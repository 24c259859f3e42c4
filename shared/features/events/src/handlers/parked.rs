//! Consumer that records parked webhooks: verified webhooks that could not be parsed or match no
//! account. Their complete body is stored for inspection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::TenantId;
use domain::fault::Fault;
use domain::ports::{Archive, Directory, PortResult};
use domain::task::Parked;
use runtime::batch::{Failure, ReceiveContext, Worker};
use runtime::telemetry::{self, Metric};
use runtime::{AwsEnv, Consumer, Env, Error, FeatureRepository, Kit};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::Repository;
use crate::model::{EventBody, EventRecord};
use crate::ports::{EventLog, RecordOutcome};

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct RecordParked<E: Env> {
    /// Events.
    pub store: Repository,
    /// Integrations.
    pub directory: accounts::Repository,
    /// Archive of raw events, and storage for bodies that are too large for the table.
    pub bucket: E::Bucket,
}

impl<E: Env> Worker for RecordParked<E> {
    type Task = Parked;

    async fn work(&self, parked: &Parked, _context: ReceiveContext<'_>) -> Result<(), Failure> {
        let tenant = self.tenant(parked).await?;
        let conversation_account = serde_json::to_string(parked)
            .map_err(|_| Failure::retry("the parked webhook cannot be written as JSON"))?;
        self.bucket
            .put_events(&tenant, parked.provider, parked.received_at, &[conversation_account])
            .await?;
        let record = EventRecord::of_parked(parked, &tenant);
        let (id, provider) = (record.id, parked.provider);
        let raw = raw(&parked.body)?;
        let body = EventBody {
            conversation_account: None,
            dated: None,
            kind: None,
            ordering_key: None,
            single_use: None,
            raw,
        };
        let stored = super::record::store_body(&self.bucket, record, &body).await?;
        let entered = self.store.record_event(&stored, None).await?;
        if entered == RecordOutcome::New {
            telemetry::count(Metric::EventParked, "parked", 1);
        }
        tracing::error!(
            %tenant, event_id = %id, %provider, reason = %parked.reason,
            new = entered == RecordOutcome::New, "event parked"
        );
        Ok(())
    }
}

impl<E: Env> RecordParked<E> {
    /// Returns the tenant of a parked webhook: that of its integration, or the platform if the
    /// integration was deleted.
    async fn tenant(&self, parked: &Parked) -> PortResult<TenantId> {
        if let Some(tenant) = &parked.tenant {
            return Ok(tenant.clone());
        }
        let Some(id) = parked.integration else { return Ok(TenantId::platform()) };
        let found = self.directory.integration(id).await?;
        Ok(found.map_or_else(TenantId::platform, |integration| integration.tenant))
    }
}

/// Returns the body, given as base64, in the stored format: as text if it is UTF-8.
fn raw(body: &str) -> Result<Box<RawValue>, Failure> {
    let bytes = STANDARD.decode(body).map_err(|_| Failure {
        fault: Fault::Permanent,
        reason: "the body is not base64".to_owned(),
    })?;
    let raw = match String::from_utf8(bytes) {
        Ok(text) => to_raw_value(&json!({ "text": text })),
        Err(_) => to_raw_value(&json!({ "base64": body })),
    };
    raw.map_err(|_| Failure::retry("the parked webhook cannot be written as JSON"))
}

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<E: AwsEnv>(kit: &Kit<E>) -> Result<Consumer<RecordParked<E>, E>, Error> {
    let bucket = kit.bucket()?;
    bucket.prepare();
    let worker = RecordParked { store: kit.repository()?, directory: kit.repository()?, bucket };
    runtime::consumer(kit, worker, 12, false)
}

/// Serves the consumer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::consume(consumer, async |worker| worker.store.prewarm().await)
}
