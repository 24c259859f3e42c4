//! Failover: a message that one integration cannot send now is handed over to the next.

use std::time::Duration;

use domain::fault::{MAX_ATTEMPTS, backoff, failover_backoff, slow_backoff};
use domain::message::Status;
use domain::ports::{Clock, Directory, Publisher, Rng};
use domain::task::{FailoverPlan, HandedOver, SendTask};
use runtime::Env;
use runtime::batch::{Failure, ReceiveContext};
use runtime::telemetry::{self, Metric};

use super::admission::CIRCUIT_OPEN;
use super::claim::ActiveClaim;
use super::outcome::{Handover, Outcome};
use super::{INLINE_FAILOVER_BUDGET, Sender, time_until};
use crate::outbound;
use crate::ports::{AttemptEnd, Outbox};
use crate::routing::reachable;

/// Maximum wait before failover is tried again, once all integrations were tried or skipped.
const MAX_FAILOVER_WAIT: Duration = Duration::from_secs(30);

impl<E: Env> Sender<E> {
    /// Hands the message over to the next integration, or settles it if there is none.
    pub(super) async fn hand_over(
        &self,
        held: &ActiveClaim<'_>,
        handover: Handover,
        context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        let message = &held.task.message;
        let mut failover = held.task.failover.clone();
        let integrations =
            u32::try_from(failover.remaining.len()).unwrap_or(u32::MAX).saturating_add(1);
        // A long outage must not fill the history.
        let recorded = handover.counted
            && (handover.in_doubt
                || handover.current.is_none()
                || held.attempt <= MAX_ATTEMPTS.saturating_mul(integrations));
        let (to, was_tried) = loop {
            let Some((next, was_tried, remaining)) = failover.next(handover.current) else {
                // The others were deleted, or cannot reach the recipient.
                return match handover.current {
                    Some(_) => self.keep_integration(held, handover, recorded, context).await,
                    None => self.settle(held, handover.outcome).await,
                };
            };
            let Ok(integration) = self.directory.integration(next).await else {
                // The message was not sent, so the outcome must not become unknown.
                return self.keep_integration(held, handover, recorded, context).await;
            };
            let usable = integration.filter(|integration| {
                integration.tenant == message.tenant
                    && self.outbound.of(integration.provider).is_some()
            });
            let now = self.clock.now();
            let usable = reachable(&self.store, usable, message, &held.task.to, now);
            let Ok(usable) = usable.await else {
                return self.keep_integration(held, handover, recorded, context).await;
            };
            if let Some(integration) = usable {
                // All integrations were tried: wait before the next round.
                let not_before = was_tried.then(|| {
                    let wait = if handover.in_doubt { slow_backoff } else { failover_backoff };
                    self.clock.now() + wait(remaining.generation, self.rng.fraction())
                });
                let failover = FailoverPlan { not_before, ..remaining };
                let provider = integration.provider;
                break (HandedOver { provider, integration: integration.id, failover }, was_tried);
            }
            // Remove an integration that was deleted or cannot be used.
            failover.asked -= u32::from(was_tried);
            failover.remaining.remove(0);
        };
        let Handover { outcome, in_doubt, .. } = handover;
        let why = outcome.detail.as_deref().unwrap_or("this account cannot send it now");
        let detail = format!("{why}; handed over to {} ({})", to.integration, to.provider);
        let outcome = Outcome { status: Status::Queued, detail: Some(detail), ..outcome };
        let mut steps = self.steps(held, &outcome);
        if !recorded {
            // There was no attempt to record, and after the first round nothing is new.
            let dropped = if was_tried { steps.len() } else { steps.len() - 1 };
            steps.drain(..dropped).for_each(drop);
            for step in &mut steps {
                step.attempt = None;
            }
        }
        let ended = AttemptEnd { steps: &steps, counted: recorded, in_doubt };
        if !self.store.hand_over(message, &held.token, ended, &to).await? {
            return Err(Failure::wait("the message was already settled", Duration::from_secs(1)));
        }
        tracing::warn!(
            tenant = %message.tenant, message_id = %message.id, attempt = held.attempt,
            code = outcome.code.as_deref(), to = %to.integration, "message handed over"
        );
        telemetry::count(Metric::MessageHandedOver, message.provider.as_str(), 1);
        let used = time_until(held.claimed_at, self.clock.now());
        if to.provider == self.provider.provider() && used > INLINE_FAILOVER_BUDGET {
            // The next receive continues the failover, with the function's full time.
            return Err(Failure::wait("handed over", Duration::from_secs(1)));
        }
        self.forward(held.task, to, context).await
    }

    /// Keeps the message at its integration. It is retried after a backoff or, if the circuit is
    /// open, at the next probe.
    async fn keep_integration(
        &self,
        held: &ActiveClaim<'_>,
        handover: Handover,
        recorded: bool,
        context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        let Handover { outcome, counted, in_doubt, .. } = handover;
        if counted {
            return self.retry(held, outcome, recorded, in_doubt).await;
        }
        let message = &held.task.message;
        self.store.release(message, &held.token, AttemptEnd::NONE).await?;
        // Each search for another integration writes to the table, so back off.
        let at = self.clock.now() + backoff(context.receives, 1.0).min(MAX_FAILOVER_WAIT);
        let probed_at = self.circuit_breakers.probed_at(message.integration);
        let at = probed_at.map_or(at, |probed_at| at.max(probed_at));
        Err(self.until_probe(CIRCUIT_OPEN, at, context))
    }

    /// Forwards the message to the integration it was handed over to. Idempotent.
    pub(super) async fn forward(
        &self,
        task: &SendTask,
        to: HandedOver,
        context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        if to.provider == self.provider.provider() {
            // Send it now: queued again, it would come after later messages of the conversation.
            let task = task.clone().handed_over(to);
            return Box::pin(self.send(&task, context)).await;
        }
        let Some(queue) = self.outbound.of(to.provider) else {
            return Err(Failure::retry("the function has no queue for the next provider"));
        };
        queue.publish(vec![outbound::record(task.clone().handed_over(to))?]).await?;
        Ok(())
    }
}
