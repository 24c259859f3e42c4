//! Consumer of receipts: advances the status of outbound messages and notifies their tenant.

use std::time::Duration;

use accounts::ports::Automations;
use domain::automation::{NotificationData, NotificationKind};
use domain::event::{EventKind, InboundEvent, Receipt};
use domain::message::Message;
use domain::ports::{Archive, Clock, PortResult, Publisher, Rng};
use queue::{Bucket, SqsQueue};
use runtime::batch::{Failure, ReceiveContext, Worker};
use runtime::telemetry::{self, Metric};
use runtime::{Consumer, Error, Kit};

use crate::Repository;
use crate::notify::notify;
use crate::ports::{Receipts, StatusUpdate};

/// Receives after which a receipt without a message is dropped. It may arrive before the sender has
/// stored the provider message id; later, it belongs to a message that was not sent by the hub.
const MAX_UNMATCHED_RECEIVES: u32 = 4;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct ApplyReceipt<S, A, B, P> {
    /// Messages.
    pub store: S,
    /// Automations of the tenants.
    pub accounts: A,
    /// Archive of raw events.
    pub bucket: B,
    /// Notification queue.
    pub automation: P,
}

impl<S, A, B, P> Worker for ApplyReceipt<S, A, B, P>
where
    S: Receipts,
    A: Automations,
    B: Archive,
    P: Publisher,
{
    type Task = InboundEvent;

    async fn process_batch(&self, tasks: &[&InboundEvent]) -> Result<(), Failure> {
        runtime::archive::keep(&self.bucket, tasks).await
    }

    async fn work(&self, event: &InboundEvent, context: ReceiveContext<'_>) -> Result<(), Failure> {
        let receipt = match &event.kind {
            EventKind::Receipt(receipt) => receipt,
            EventKind::Message(_) | EventKind::Other { .. } => {
                let fault = domain::Fault::Permanent;
                let reason = "the queue accepts only receipts".to_owned();
                return Err(Failure { fault, reason });
            }
        };
        let message = match self.advance(event, receipt).await? {
            StatusUpdate::Advanced(message) => message,
            // A duplicate: the first consumer may have crashed before it sent the notification.
            StatusUpdate::Stale(message) if message.status == receipt.status => message,
            StatusUpdate::Stale(_) => return Ok(()),
            StatusUpdate::Missing if context.receives < MAX_UNMATCHED_RECEIVES => {
                let wait = Duration::from_secs(2 * u64::from(context.receives));
                return Err(Failure::wait("no message has this provider message id yet", wait));
            }
            StatusUpdate::Missing => {
                tracing::warn!(
                    tenant = %event.tenant, provider = %event.provider,
                    "receipt for a message that was not sent by the hub"
                );
                telemetry::count(Metric::ReceiptUnmatched, event.provider.as_str(), 1);
                return Ok(());
            }
        };
        tracing::info!(
            tenant = %event.tenant, message_id = %message.id, status = message.status.as_str(),
            "message status advanced"
        );
        self.notify(event, *message).await?;
        Ok(())
    }
}

impl<S: Receipts, A: Automations, B, P: Publisher> ApplyReceipt<S, A, B, P> {
    async fn advance(&self, event: &InboundEvent, receipt: &Receipt) -> PortResult<StatusUpdate> {
        // Without a time from the provider, use the time of receipt.
        let (tenant, at) = (&event.tenant, event.provider_time().unwrap_or(event.received_at));
        if let Some(id) = receipt.reference {
            let advanced = self.store.advance(tenant, id, receipt, at).await?;
            if advanced != StatusUpdate::Missing {
                return Ok(advanced);
            }
        }
        let provider_message_id = &receipt.provider_message_id;
        match self.store.resolve(tenant, event.provider, provider_message_id).await? {
            Some(id) => self.store.advance(tenant, id, receipt, at).await,
            None => Ok(StatusUpdate::Missing),
        }
    }

    async fn notify(&self, event: &InboundEvent, message: Message) -> PortResult<()> {
        let automation = self.accounts.automation(&event.tenant).await?;
        let tenant = event.tenant.clone();
        let data = NotificationData { tenant, message, conversation: None, job: None };
        notify(&self.automation, &automation, NotificationKind::MessageStatus, data).await
    }
}

/// The worker with its production dependencies.
pub type ProductionApplyReceipt = ApplyReceipt<Repository, accounts::Repository, Bucket, SqsQueue>;

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<N, C: Clock + Clone, R: Rng + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<Consumer<ProductionApplyReceipt, C, R>, Error> {
    let bucket = kit.bucket()?;
    bucket.prepare();
    let worker = ApplyReceipt {
        store: Repository::of(kit)?,
        accounts: accounts::Repository::of(kit)?,
        automation: kit.queue("AUTOMATION_QUEUE_URL", Some(&bucket))?,
        bucket,
    };
    runtime::consumer(kit, worker, 12, false)
}

/// Serves the consumer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::start(async |kit| {
        let consumer = consumer(&kit)?;
        consumer.worker.store.prewarm().await;
        runtime::consume(consumer).await
    })
}
