//! Claim of a message: taking it, and what follows if another sender had it.

use std::time::Duration;

use domain::failpoint::{self, Failpoint};
use domain::message::Status;
use domain::ports::Clock;
use domain::sender::AttemptContext;
use domain::task::SendTask;
use jiff::Timestamp;
use runtime::Env;
use runtime::batch::{Failure, ReceiveContext};

use super::outcome::Outcome;
use super::{Sender, time_until};
use crate::ports::{Claim, Outbox};

/// Lease of a claim: longer than the function may run, and shorter than the queue's visibility
/// timeout, so that the lease of a crashed sender has expired when its record is received again.
const LEASE: Duration = Duration::from_mins(1);

/// Whether a message that the provider may have can be sent again.
#[derive(Clone, Copy, Default)]
pub(super) struct Resend {
    /// Whether the integration allows duplicates (at-least-once).
    pub(super) allow_duplicates: bool,
    /// Time for which the provider deduplicates by message id, if it does.
    pub(super) window: Option<Duration>,
}

/// The claim that this sender holds on a message.
pub(super) struct ActiveClaim<'a> {
    pub(super) task: &'a SendTask,
    pub(super) token: String,
    pub(super) attempt: u32,
    pub(super) claimed_at: Timestamp,
}

impl ActiveClaim<'_> {
    /// Returns the outcome of a message that is too old to be sent.
    pub(super) fn expired(&self, resend: Resend) -> Option<Outcome> {
        if self.claimed_at > self.task.expires_at {
            let detail = "the message could not be sent in time";
            return Some(Outcome::of(Status::Expired, "expired", detail));
        }
        let since = self.task.failover.in_doubt_since?;
        let doubt = time_until(since, self.claimed_at);
        resend.window.is_none_or(|window| doubt >= window).then(|| {
            let detail = "the provider may have the message, and no longer recognizes its id";
            Outcome::failed("no_answer", detail)
        })
    }

    /// Returns the context that decides what follows a failed attempt.
    pub(super) fn attempt_context(&self, resend: Resend, now: Timestamp) -> AttemptContext {
        let failover = &self.task.failover;
        let waited = now.duration_since(self.task.message.created_at).unsigned_abs();
        AttemptContext {
            attempt: self.attempt,
            age: waited,
            window: resend.window,
            in_doubt_for: failover.in_doubt_since.map(|at| time_until(at, now)),
            allow_duplicates: resend.allow_duplicates,
            alternatives: u32::try_from(failover.remaining.len()).unwrap_or(u32::MAX),
            patience: Duration::from_secs(failover.patience.into()).saturating_sub(waited),
        }
    }
}

impl<E: Env> Sender<E> {
    /// Claims the message; `None` if there is nothing left to send.
    pub(super) async fn claim<'a>(
        &self,
        task: &'a SendTask,
        resend: Resend,
        context: ReceiveContext<'_>,
    ) -> Result<Option<ActiveClaim<'a>>, Failure> {
        // The token includes the number of receives: each receive is a new holder of the claim.
        let token = format!("{}:{}", context.record, context.receives);
        let claimed_at = self.clock.now();
        let retake = (resend.allow_duplicates
            || failpoint::is_active(Failpoint::InterruptedSentAgain))
            && !failpoint::is_active(Failpoint::InterruptedGivenUp);
        let mut claim = match self.store.claim(task, &token, claimed_at, LEASE, false).await {
            Err(_) if failpoint::is_active(Failpoint::FailedClaimGranted) => {
                Claim::Granted { attempt: 1 }
            }
            claim => claim?,
        };
        if retake && matches!(claim, Claim::Interrupted { .. }) {
            claim = self.store.claim(task, &token, claimed_at, LEASE, true).await?;
        }
        match claim {
            Claim::Granted { attempt } => {
                return Ok(Some(ActiveClaim { task, token, attempt, claimed_at }));
            }
            // The sender that settled the message may have crashed before it sent the notification.
            // A duplicate has the same id.
            Claim::Settled(_) if failpoint::is_active(Failpoint::EndNotTold) => {}
            Claim::Settled(message) => self.notify(*message).await?,
            // The sender that handed it over may have crashed before it queued the message.
            Claim::HandedOver(to) => self.forward(task, *to, context).await?,
            Claim::Held { until: at } => {
                let wait = time_until(claimed_at, at) + Duration::from_secs(1);
                return Err(Failure::wait("another sender has claimed the message", wait));
            }
            Claim::Interrupted { attempt, token } => {
                let held = ActiveClaim { task, token, attempt, claimed_at };
                self.resolve_interrupted(&held, resend).await?;
            }
        }
        Ok(None)
    }

    /// Handles a claim whose sender crashed while it sent. If the provider deduplicates by message
    /// id, the message is sent again with the same id.
    async fn resolve_interrupted(
        &self,
        held: &ActiveClaim<'_>,
        resend: Resend,
    ) -> Result<(), Failure> {
        if resend.window.is_some() && !resend.allow_duplicates {
            return self.retry_same_id(held, "interrupted", held.task.message.created_at).await;
        }
        let detail = "the sender was interrupted while it sent the message; the provider may have \
            it, so it is not sent again";
        self.settle(held, Outcome::of(Status::Unknown, "interrupted", detail)).await
    }
}
