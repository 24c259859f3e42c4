//! One attempt: the request to the provider, and what follows from its outcome.

use std::time::Duration;

use domain::failpoint::{self, Failpoint};
use domain::fault::{Classify, Fault, MAX_ATTEMPTS};
use domain::message::Status;
use domain::ports::Clock;
use domain::sender::{
    Accepted, AttemptContext, NextAction, RefusalScope, SendError, after_failure,
};
use http::StatusCode;
use runtime::batch::{Failure, ReceiveContext};
use runtime::{Env, HttpClient};

use super::claim::ActiveClaim;
use super::outcome::{Handover, Outcome};
use super::request::IntegrationSender;
use super::{INLINE_FAILOVER_BUDGET, Sender, time_until};
use crate::ports::{AttemptEnd, Outbox};

impl<E: Env> Sender<E> {
    /// Makes one attempt and processes its outcome.
    pub(super) async fn attempt(
        &self,
        held: &ActiveClaim<'_>,
        sender: IntegrationSender,
        is_probe: bool,
        context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        let (resend, integration) = (sender.resend(), sender.integration.clone());
        let checked = if is_probe { self.check_account(&sender).await } else { Ok(()) };
        let sent = match checked {
            Ok(()) => self.send_with_fresh_credentials(sender, held.task).await,
            Err(error) => Err(error),
        };
        let account_result = match &sent {
            Err(error) if error.is_account_error() => Some(Err(error.code().to_owned())),
            // A request that was never sent says nothing about the account.
            Err(SendError::Invalid { .. }) => None,
            _ if is_probe => Some(Ok(())),
            _ => None,
        };
        // Concurrently: the outcome of the message must be stored as soon as possible.
        let record_result = async {
            let recorded = match account_result {
                Some(Err(code)) => self.circuit_breakers.failed(&integration, &code).await,
                Some(Ok(())) => self.circuit_breakers.succeeded(&integration).await,
                None => Ok(()),
            };
            if let Err(error) = recorded {
                // Only log it: the outcome of the message is more important.
                tracing::warn!(integration = %integration.id, %error, "circuit not stored");
            }
        };
        let refused = sent
            .as_ref()
            .is_err_and(|error| error.is_account_error() && error.fault() == Fault::Retryable);
        let attempt_context = held.attempt_context(resend, self.clock.now());
        let concluded = self.conclude(held, sent, attempt_context, is_probe, context);
        let (concluded, ()) = futures::join!(concluded, record_result);
        match (concluded, self.circuit_breakers.probed_at(integration.id)) {
            // The circuit is open: the next probe is due before a backoff would end.
            (Err(Failure { fault: Fault::RateLimited { .. }, reason, .. }), Some(at))
                if refused && held.task.failover.remaining.is_empty() =>
            {
                Err(self.until_probe(&reason, at, context))
            }
            (concluded, _) => concluded,
        }
    }

    /// Requests the account's status before a probe sends a message: a message without a response
    /// could not be sent again. If this fails, no message was sent.
    async fn check_account(&self, sender: &IntegrationSender) -> Result<(), SendError> {
        let reader = providers::account_reader(&sender.integration, &sender.credentials);
        let Ok(request) = reader.and_then(|reader| reader.describe_account()) else {
            return Ok(());
        };
        let started = self.clock.now();
        let (status, code, fault) = match self.http_client.call(request).await {
            Err(error) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                (status, error.code().to_owned(), Fault::Retryable)
            }
            Ok(answer) if answer.status().is_server_error() => {
                (answer.status(), answer.status().as_str().to_owned(), Fault::Retryable)
            }
            // The account works, but the function has too little time left to send the message.
            Ok(answer) if time_until(started, self.clock.now()) > INLINE_FAILOVER_BUDGET => {
                let retry_after = Duration::from_secs(1);
                (answer.status(), "slow".to_owned(), Fault::RateLimited { retry_after })
            }
            Ok(_) => return Ok(()),
        };
        let remedy =
            "The account status was checked before sending the message, and the account has \
             not recovered yet."
                .to_owned();
        Err(SendError::Refused { status, code, remedy, fault, scope: RefusalScope::Account })
    }

    /// Processes the outcome of an attempt.
    async fn conclude(
        &self,
        held: &ActiveClaim<'_>,
        sent: Result<Accepted, SendError>,
        attempt_context: AttemptContext,
        is_probe: bool,
        context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        let message = &held.task.message;
        let error = match sent {
            Ok(accepted) => {
                let outcome = Outcome::accepted(accepted);
                return self.settle(held, outcome).await;
            }
            Err(error) => error,
        };
        let in_doubt = error.fault() == Fault::Unknown;
        match after_failure(&error, attempt_context) {
            NextAction::Fail => self.settle(held, Outcome::refused(&error)).await,
            NextAction::Unknown if failpoint::is_active(Failpoint::SentAgainWhenUnknown) => {
                self.store.release(message, &held.token, AttemptEnd::NONE).await?;
                Err(Failure::retry(error.code()))
            }
            NextAction::Unknown => {
                let outcome = Outcome { status: Status::Unknown, ..Outcome::refused(&error) };
                self.settle(held, outcome).await
            }
            NextAction::Failover { come_back } => {
                let current = come_back.then_some(message.integration);
                let outcome = Outcome::refused(&error);
                let refused = Handover { outcome, counted: true, current, in_doubt };
                self.hand_over(held, refused, context).await
            }
            NextAction::Wait(wait) => {
                self.store.release(message, &held.token, AttemptEnd::NONE).await?;
                Err(Failure::wait(error.code(), wait))
            }
            NextAction::Retry if in_doubt && !attempt_context.allow_duplicates => {
                self.retry_same_id(held, error.code(), held.claimed_at).await
            }
            NextAction::Retry => {
                // A long outage must not fill the history of the message that is the probe.
                let counted = in_doubt || !is_probe || held.attempt <= MAX_ATTEMPTS;
                self.retry(held, Outcome::refused(&error), counted, in_doubt).await
            }
        }
    }
}
