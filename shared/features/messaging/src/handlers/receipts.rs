//! Consumer of receipts: advances the status of outbound messages and notifies their tenant.

use std::time::Duration;

use accounts::recent_automations::RecentAutomations;
use domain::event::{EventKind, InboundEvent, Receipt};
use domain::message::{Message, Status, Step};
use domain::notification::{NotificationData, NotificationKind};
use domain::ports::{Directory, PortResult, Publisher};
use domain::sender::RefusalScope;
use domain::task::{FailoverPlan, HandedOver, Standby};
use domain::{Integration, MessageId};
use jiff::Timestamp;
use runtime::batch::{Failure, ReceiveContext, Worker};
use runtime::telemetry::{self, Metric};
use runtime::{AwsEnv, Consumer, Env, Error, FeatureRepository, Kit};

use crate::Repository;
use crate::notify::notify;
use crate::outbound::{self, Outbound};
use crate::ports::{MoveAccepted, Receipts, SentMessage, StatusUpdate};
use crate::routing::reachable;

/// Receives after which a receipt without a message is dropped. It may arrive before the sender has
/// stored the provider message id; later, it belongs to a message that was not sent by the hub.
const MAX_UNMATCHED_RECEIVES: u32 = 4;
/// Attempts to move a message that changes at the same time.
const MOVE_ATTEMPTS: u32 = 4;

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct ApplyReceipt<E: Env> {
    /// Messages.
    pub store: Repository,
    /// Integrations of the tenants.
    pub accounts: accounts::Repository,
    /// Automations of the tenants.
    pub automations: RecentAutomations<accounts::Repository, E::Clock>,
    /// Archive of raw events.
    pub bucket: E::Bucket,
    /// Notification queue.
    pub automation: E::Queue,
    /// Outbound queues, for messages that fail over after their acceptance.
    pub outbound: Outbound<E::Queue>,
}

impl<E: Env> Worker for ApplyReceipt<E> {
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

impl<E: Env> ApplyReceipt<E> {
    async fn advance(
        &self,
        event: &InboundEvent,
        receipt: &Receipt,
    ) -> Result<StatusUpdate, Failure> {
        if let Some(id) = receipt.reference {
            let advanced = self.apply(event, receipt, id).await?;
            if advanced != StatusUpdate::Missing {
                return Ok(advanced);
            }
        }
        let (tenant, id) = (&event.tenant, &receipt.provider_message_id);
        match self.store.resolve(tenant, event.provider, event.integration, id).await? {
            Some(id) => self.apply(event, receipt, id).await,
            None => Ok(StatusUpdate::Missing),
        }
    }

    /// Applies the receipt to a message: it fails over or advances its status.
    async fn apply(
        &self,
        event: &InboundEvent,
        receipt: &Receipt,
        id: MessageId,
    ) -> Result<StatusUpdate, Failure> {
        // Without a time from the provider, use the time of receipt.
        let at = event.provider_time().unwrap_or(event.received_at);
        if receipt.status == Status::Failed
            && receipt.code.is_some()
            && let Some(moved) = self.fail_over(event, receipt, id, at).await?
        {
            return Ok(StatusUpdate::Stale(Box::new(moved)));
        }
        Ok(self.store.advance(&event.tenant, id, event.integration, receipt, at).await?)
    }

    /// Moves a message that its provider accepted, and could not deliver for a reason of its own, to
    /// the next provider, once. Returns the message if this receipt, or a duplicate, moved it.
    async fn fail_over(
        &self,
        event: &InboundEvent,
        receipt: &Receipt,
        id: MessageId,
        at: Timestamp,
    ) -> Result<Option<Message>, Failure> {
        for _attempt in 0..MOVE_ATTEMPTS {
            let sent = self.store.sent_message(&event.tenant, id).await?;
            let Some((sent, standby)) = sent.and_then(|sent| Some((sent.clone(), sent.standby?)))
            else {
                return Ok(None);
            };
            if sent.moved_from == Some(event.integration) {
                // The consumer that moved it may have crashed before it queued it.
                if let (Status::Queued, Some(to)) = (sent.message.status, &sent.handed_over) {
                    self.queue(standby, &sent.message, to).await?;
                }
                return Ok(Some(sent.message));
            }
            let Some((from, to)) = self.next(event, receipt, &sent, &standby).await? else {
                return Ok(None);
            };
            let steps = steps(&sent, &from, receipt, &to, at, event.received_at);
            if !self.store.move_accepted(&sent, &steps, &to).await? {
                continue;
            }
            tracing::warn!(
                tenant = %event.tenant, message_id = %id, code = receipt.code.as_deref(),
                to = %to.integration, "accepted message handed over"
            );
            telemetry::count(Metric::MessageHandedOver, event.provider.as_str(), 1);
            self.queue(standby, &sent.message, &to).await?;
            return Ok(Some(sent.message));
        }
        Err(Failure::retry("the message changes at the same time"))
    }

    /// Returns the integration that could not deliver a message and the next one, at another
    /// provider, that may; `None` if the message stays where it is.
    async fn next(
        &self,
        event: &InboundEvent,
        receipt: &Receipt,
        sent: &SentMessage,
        standby: &Standby,
    ) -> PortResult<Option<(Integration, HandedOver)>> {
        let message = &sent.message;
        let stays = sent.moved_from.is_some()
            || message.integration != event.integration
            || !message.status.can_transition_to(Status::Failed)
            || event.received_at > standby.expires_at;
        let Some(code) = receipt.code.as_deref().filter(|_| !stays) else { return Ok(None) };
        let Some(from) = self.accounts.integration(event.integration).await? else {
            return Ok(None);
        };
        if providers::failure_scope(&from, code) == RefusalScope::Message {
            return Ok(None);
        }
        let mut plan = standby.failover.clone();
        while let Some((next, _, rest)) = plan.next(None) {
            let integration = self.accounts.integration(next).await?;
            let usable = integration.filter(|integration| {
                // A provider that knows the message's id would take it for a duplicate.
                integration.tenant == message.tenant
                    && integration.provider != from.provider
                    && self.outbound.of(integration.provider).is_some()
            });
            let now = event.received_at;
            let usable = reachable(&self.store, usable, message, &standby.to, now).await?;
            if let Some(integration) = usable {
                let generation = sent.generation() + 1;
                let failover = FailoverPlan {
                    generation,
                    after_acceptance: false,
                    in_doubt_since: None,
                    ..rest
                };
                let provider = integration.provider;
                let to = HandedOver { provider, integration: integration.id, failover };
                return Ok(Some((from, to)));
            }
            plan = rest;
        }
        Ok(None)
    }

    /// Queues a message for the integration that it was handed over to. Idempotent.
    async fn queue(&self, standby: Standby, message: &Message, to: &HandedOver) -> PortResult<()> {
        let Some(queue) = self.outbound.of(to.provider) else { return Ok(()) };
        let task = standby.task(message.clone(), to.clone());
        queue.publish(vec![outbound::record(task)?]).await
    }

    async fn notify(&self, event: &InboundEvent, message: Message) -> PortResult<()> {
        let automation = self.automations.automation(&event.tenant).await?;
        let tenant = event.tenant.clone();
        let data = NotificationData { tenant, message, conversation: None, job: None };
        notify(&self.automation, &automation, NotificationKind::MessageStatus, data).await
    }
}

/// Returns the steps of a move: those that follow from the state of the message, the failure and
/// the handover.
fn steps(
    sent: &SentMessage,
    from: &Integration,
    receipt: &Receipt,
    to: &HandedOver,
    failed_at: Timestamp,
    now: Timestamp,
) -> Vec<Step> {
    let detail = format!(
        "{} ({}) accepted the message and could not deliver it; handed over to {} ({})",
        from.id, from.provider, to.integration, to.provider
    );
    let (code, why) = (receipt.code.clone(), receipt.detail.clone());
    let mut steps: Vec<Step> =
        sent.message.history.iter().skip(sent.stored_steps).cloned().collect();
    steps.push(Step { code, detail: why, ..Step::plain(Status::Failed, failed_at) });
    steps.push(Step { detail: Some(detail), ..Step::plain(Status::Queued, now) });
    steps
}

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<E: AwsEnv>(kit: &Kit<E>) -> Result<Consumer<ApplyReceipt<E>, E>, Error> {
    let bucket = kit.bucket()?;
    bucket.prepare();
    let worker = ApplyReceipt {
        store: kit.repository()?,
        accounts: kit.repository()?,
        automations: RecentAutomations::new(kit.repository()?, kit.clock.clone()),
        automation: kit.queue("AUTOMATION_QUEUE_URL", Some(&bucket))?,
        outbound: Outbound::new(kit, None)?,
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
