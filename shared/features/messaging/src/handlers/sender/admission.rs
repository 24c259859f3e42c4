//! Admission of a message: circuit breaker and rate limits.

use std::time::Duration;

use accounts::model::circuit::{Admission, PROBE_INTERVAL};
use domain::ports::{Clock, Rng};
use domain::task::SendTask;
use jiff::Timestamp;
use runtime::Env;
use runtime::batch::{Failure, ReceiveContext};

use super::claim::ActiveClaim;
use super::outcome::Handover;
use super::request::IntegrationSender;
use super::{Sender, time_until};
use crate::ports::{AttemptEnd, Outbox};

/// Receives after which a record that waits for a circuit is hidden for longer: the queue moves a
/// record to the dead-letter queue after 1,000 receives, as one that crashes its function.
const MANY_RECEIVES: u32 = 500;
/// Minimum wait after that: fewer than 1,000 receives in the day for which a message may wait.
const MIN_WAIT_AFTER_MANY_RECEIVES: Duration = Duration::from_mins(3);
/// Reason of a wait for a probe.
pub(super) const CIRCUIT_OPEN: &str = "the integration's circuit is open";

impl<E: Env> Sender<E> {
    /// Returns whether the circuit breaker and the rate limits let the message through. It runs
    /// before the claim, because a wait is not an attempt and is not recorded in the ledger.
    pub(super) async fn admit(
        &self,
        sender: &IntegrationSender,
        task: &SendTask,
        context: ReceiveContext<'_>,
    ) -> Result<Admission, Failure> {
        match self.circuit_breakers.admit(&sender.integration, task.message.id).await? {
            Admission::No { until: at } if task.failover.remaining.is_empty() => {
                Err(self.until_probe(CIRCUIT_OPEN, at, context))
            }
            admission @ Admission::No { .. } => Ok(admission),
            admission => {
                self.apply_rate_limits(sender, task, context).await?;
                Ok(admission)
            }
        }
    }

    /// Applies the rate limits. It runs before the claim, because a wait is not an attempt and is
    /// not recorded in the ledger. The narrowest limit comes first, so that a chat that must wait
    /// uses no capacity of its bot.
    async fn apply_rate_limits(
        &self,
        sender: &IntegrationSender,
        task: &SendTask,
        context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        let tenant = &task.message.tenant;
        for rate_limit in sender.sender.rate_limits(&task.to).into_iter().rev() {
            let turn = self.store.take_rate_limit(tenant, &rate_limit, self.clock.now()).await?;
            if let Some(wait) = turn {
                // Jitter that grows with the number of receives: a large backlog that retried
                // once a second would use up its receives. It grows slowly, because a wait for
                // a circuit uses receives, too.
                let max_spread = f64::from((context.receives - 1).min(240)) / 4.0;
                let spread = max_spread * self.rng.fraction();
                let wait = wait + Duration::from_secs_f64(spread);
                return Err(Failure::wait("the account's rate limit", wait));
            }
        }
        Ok(())
    }

    /// Makes an attempt if the circuit breaker admits it. Else the message is handed over to the
    /// next integration or, without one, waits for the next probe.
    pub(super) async fn attempt_if_admitted(
        &self,
        held: &ActiveClaim<'_>,
        sender: IntegrationSender,
        admission: Admission,
        context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        // Reserve the probe after the claim, so that a reserved probe is always sent.
        let may_send = match admission {
            Admission::Pass => true,
            // On an error, treat the probe as reserved by another sender: nothing was sent yet.
            Admission::Probe => {
                self.circuit_breakers.probe(&sender.integration).await.unwrap_or(false)
            }
            Admission::No { .. } => false,
        };
        if may_send {
            return self.attempt(held, sender, admission == Admission::Probe, context).await;
        }
        let message = &held.task.message;
        if held.task.failover.remaining.is_empty() {
            self.store.release(message, &held.token, AttemptEnd::NONE).await?;
            let at = self.clock.now() + PROBE_INTERVAL;
            return Err(self.until_probe("another message is the probe", at, context));
        }
        self.hand_over(held, Handover::skipped(message.integration), context).await
    }

    /// Returns a wait until the integration's next probe, which shows whether it has recovered.
    pub(super) fn until_probe(
        &self,
        reason: &str,
        at: Timestamp,
        context: ReceiveContext<'_>,
    ) -> Failure {
        let now = self.clock.now();
        let wait = if at > now { time_until(now, at) } else { Duration::ZERO };
        let min_wait = if context.receives > MANY_RECEIVES {
            MIN_WAIT_AFTER_MANY_RECEIVES
        } else {
            Duration::from_secs(1)
        };
        Failure::wait(reason, wait.max(min_wait))
    }
}
