//! End of an attempt: settling the message, or releasing it for a retry.

use std::time::Duration;

use accounts::ports::Automations;
use domain::fault::{backoff, slow_backoff};
use domain::message::{Message, Status, Step};
use domain::notification::{NotificationData, NotificationKind};
use domain::ports::{Clock, Rng};
use domain::task::{FailoverPlan, HandedOver};
use jiff::Timestamp;
use runtime::Env;
use runtime::batch::Failure;
use runtime::telemetry::{self, Metric};

use super::Sender;
use super::claim::ActiveClaim;
use super::outcome::Outcome;
use crate::ports::{AttemptEnd, Outbox};

impl<E: Env> Sender<E> {
    /// Records the outcome and notifies the tenant of it.
    pub(super) async fn settle(
        &self,
        held: &ActiveClaim<'_>,
        outcome: Outcome,
    ) -> Result<(), Failure> {
        let message = &held.task.message;
        let outcome = match (outcome.status, held.task.failover.in_doubt_since) {
            // If the provider may have the message, the outcome is unknown, not failed.
            (Status::Failed | Status::Expired, Some(_)) => {
                Outcome { status: Status::Unknown, ..outcome }
            }
            _ => outcome,
        };
        let steps = self.steps(held, &outcome);
        let accepted = outcome.accepted.as_ref();
        let settled = self.store.settle(message, &held.token, &steps, accepted).await?;
        let status = match &settled {
            // The ledger knows of an earlier attempt that may have sent the message.
            Some(message) if message.status == Status::Unknown => Status::Unknown,
            _ => outcome.status,
        };
        tracing::info!(
            tenant = %message.tenant, message_id = %message.id, attempt = held.attempt,
            status = status.as_str(), code = outcome.code.as_deref(), "message settled"
        );
        let provider = message.provider.as_str();
        telemetry::count(
            match status {
                Status::Accepted => Metric::MessageAccepted,
                Status::Unknown => Metric::MessageUnknown,
                _ => Metric::MessageFailed,
            },
            provider,
            1,
        );
        if outcome.status == Status::Accepted {
            telemetry::time(Metric::SendTime, "messages", message.created_at, self.clock.now());
        }
        match settled {
            Some(message) => self.notify(message).await,
            // The message was already settled, perhaps by this same request whose response was
            // lost: the next receive finds the outcome and sends the notification.
            None => Err(Failure::wait("the message was already settled", Duration::from_secs(1))),
        }
    }

    /// Releases the claim and retries the record after a backoff.
    pub(super) async fn retry(
        &self,
        held: &ActiveClaim<'_>,
        outcome: Outcome,
        counted: bool,
        in_doubt: bool,
    ) -> Result<(), Failure> {
        let outcome = Outcome { status: Status::Queued, ..outcome };
        let steps = if counted { self.steps(held, &outcome) } else { Vec::new() };
        let ended = AttemptEnd { steps: &steps, counted: !steps.is_empty(), in_doubt };
        self.store.release(&held.task.message, &held.token, ended).await?;
        // The ledger counts the attempts. Receives do not count, because waits use them too.
        let jitter = self.rng.fraction();
        let wait = if in_doubt {
            slow_backoff(held.attempt, jitter)
        } else {
            backoff(held.attempt, jitter)
        };
        Err(Failure::wait(outcome.code.as_deref().unwrap_or("retry"), wait))
    }

    /// Retries a message that the provider may have had since `at`, with the same id, by which the
    /// provider deduplicates. Failover ends: no other integration is tried. The ledger records
    /// this like a handover.
    pub(super) async fn retry_same_id(
        &self,
        held: &ActiveClaim<'_>,
        code: &str,
        at: Timestamp,
    ) -> Result<(), Failure> {
        let task = held.task;
        let message = &task.message;
        let wait = slow_backoff(held.attempt, self.rng.fraction());
        let failover = FailoverPlan {
            generation: task.failover.generation + 1,
            remaining: Vec::new(),
            asked: 0,
            not_before: Some(self.clock.now() + wait),
            in_doubt_since: task.failover.in_doubt_since.or(Some(at)),
            ..task.failover.clone()
        };
        let (provider, integration) = (message.provider, message.integration);
        let to = HandedOver { provider, integration, failover };
        let detail =
            "no response; the message is sent again, and the provider deduplicates it by its id";
        let steps = self.steps(held, &Outcome::of(Status::Queued, code, detail));
        let ended = AttemptEnd { steps: &steps, counted: true, in_doubt: true };
        self.store.hand_over(message, &held.token, ended, &to).await?;
        Err(Failure::wait(code, wait))
    }

    /// Returns the history steps of the claim and its outcome.
    pub(super) fn steps(&self, held: &ActiveClaim<'_>, outcome: &Outcome) -> Vec<Step> {
        let attempt = Some(held.attempt);
        vec![
            Step { attempt, ..Step::plain(Status::Sending, held.claimed_at) },
            Step {
                status: outcome.status,
                at: self.clock.now(),
                attempt,
                code: outcome.code.clone(),
                detail: outcome.detail.clone(),
            },
        ]
    }

    /// Notifies the tenant of a message that was not sent. Sent messages cause no notification
    /// here: their receipts do.
    pub(super) async fn notify(&self, message: Message) -> Result<(), Failure> {
        if !matches!(message.status, Status::Unknown | Status::Expired | Status::Failed) {
            return Ok(());
        }
        let automation = self.accounts.automation(&message.tenant).await?;
        let tenant = message.tenant.clone();
        let data = NotificationData { tenant, message, conversation: None, job: None };
        let notified = crate::notify::notify(
            &self.automation,
            &automation,
            NotificationKind::MessageStatus,
            data,
        );
        Ok(notified.await?)
    }
}
