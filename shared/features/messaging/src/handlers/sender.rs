//! Sender: claims a message, sends it and settles it. The claim is durable before the request is
//! sent.

use std::time::Duration;

use accounts::circuit::CircuitBreakers;
use accounts::ports::{Automations, Circuits};
use domain::IntegrationId;
use domain::automation::{NotificationData, NotificationKind};
use domain::circuit::{Admission, PROBE_INTERVAL};
use domain::content::Content;
use domain::conversation::Parties;
use domain::failpoint::{self, Failpoint};
use domain::fault::{Classify, Fault, MAX_ATTEMPTS, backoff, failover_backoff, slow_backoff};
use domain::integration::{Credentials, DeliveryPolicy, Integration};
use domain::message::{Message, Status, Step};
use domain::ports::{Clock, CredentialReader, Directory, Freshness, PortResult, Publisher, Rng};
use domain::sender::{
    Accepted, AttemptContext, MessageSender, NextAction, Outgoing, RefusalScope, SendError,
    SenderProvider, after_failure,
};
use domain::task::{HandedOver, MarkReadTask, OutboundAction, OutboundTask, SendTask};
use http::StatusCode;
use jiff::Timestamp;
use queue::SqsQueue;
use runtime::batch::{Failure, ReceiveContext, Worker};
use runtime::telemetry::{self, Metric};
use runtime::{
    CachedDirectory, Consumer, Error, HttpClient, Kit, Network, SecretsManagerCredentials,
};

use crate::Repository;
use crate::outbound::{self, Outbound, OutboundQueues};
use crate::ports::{Claim, ConversationReader, Outbox};

/// Lease of a claim: longer than the function may run, and shorter than the queue's visibility
/// timeout, so that the lease of a crashed sender has expired when its record is received again.
const LEASE: Duration = Duration::from_mins(1);

/// Maximum wait before failover is tried again, once all integrations were tried or skipped.
const MAX_FAILOVER_WAIT: Duration = Duration::from_secs(30);
/// Receives after which a record that waits for a circuit is hidden for longer: the queue moves a
/// record to the dead-letter queue after 1,000 receives, as one that crashes its function.
const MANY_RECEIVES: u32 = 500;
/// Minimum wait after that: fewer than 1,000 receives in the day for which a message may wait.
const MIN_WAIT_AFTER_MANY_RECEIVES: Duration = Duration::from_mins(3);
/// Reason of a wait for a probe.
const CIRCUIT_OPEN: &str = "the integration's circuit is open";
/// Time that a message may have used for failover to be tried in the same invocation.
const INLINE_FAILOVER_BUDGET: Duration = Duration::from_secs(2);

/// Sender worker and its dependencies.
pub struct Sender<'p, S, A, D, V, P, Q, T, C, R> {
    /// Provider of the sender.
    pub provider: &'p dyn SenderProvider,
    /// Send ledger.
    pub store: S,
    /// Automations of the tenants.
    pub accounts: A,
    /// Directory of integrations.
    pub directory: D,
    /// Credential store.
    pub credential_store: V,
    /// Circuit breakers of the integrations.
    pub circuit_breakers: CircuitBreakers<A, C>,
    /// Notification queue.
    pub automation: P,
    /// Outbound queues, for failover to another provider.
    pub outbound: Q,
    /// HTTP client for requests to the provider.
    pub http_client: T,
    /// Public base URL of the hub, if configured.
    pub hub_url: Option<String>,
    /// Clock.
    pub clock: C,
    /// Random number generator, for jitter.
    pub rng: R,
}

impl<S, A, D, V, P, Q, T, C, R> Worker for Sender<'_, S, A, D, V, P, Q, T, C, R>
where
    S: Outbox + ConversationReader,
    A: Automations + Circuits,
    D: Directory,
    V: CredentialReader,
    P: Publisher,
    Q: OutboundQueues,
    T: HttpClient,
    C: Clock,
    R: Rng,
{
    type Task = OutboundTask;

    async fn work(&self, task: &OutboundTask, context: ReceiveContext<'_>) -> Result<(), Failure> {
        match &task.action {
            OutboundAction::Send(task) => self.send(task, context).await,
            OutboundAction::MarkRead(task) => self.mark_read(task, context).await,
        }
    }
}

/// Outcome of an attempt: the new status and its step in the history.
struct Outcome {
    status: Status,
    code: Option<String>,
    detail: Option<String>,
    provider_message_id: Option<String>,
}

impl Outcome {
    fn failed(code: &str, detail: &str) -> Self {
        Self {
            status: Status::Failed,
            code: Some(code.to_owned()),
            detail: Some(detail.to_owned()),
            provider_message_id: None,
        }
    }

    fn of(status: Status, error: &SendError) -> Self {
        let code = Some(error.code().to_owned());
        Self { status, code, detail: Some(error.detail()), provider_message_id: None }
    }
}

/// A sender with its integration and credentials.
struct IntegrationSender {
    sender: Box<dyn MessageSender>,
    integration: Integration,
    credentials: Credentials,
}

impl IntegrationSender {
    /// Returns whether the integration allows duplicates (at-least-once).
    fn again(&self) -> bool {
        self.integration.settings.delivery() == DeliveryPolicy::AtLeastOnce
    }
}

/// The claim that this sender holds on a message.
struct ActiveClaim<'a> {
    task: &'a SendTask,
    token: &'a str,
    attempt: u32,
    claimed_at: Timestamp,
}

impl ActiveClaim<'_> {
    /// Returns the context that decides what follows a failed attempt.
    fn attempt_context(
        &self,
        window: Option<Duration>,
        again: bool,
        now: Timestamp,
    ) -> AttemptContext {
        let failover = &self.task.failover;
        let waited = now.duration_since(self.task.message.created_at).unsigned_abs();
        AttemptContext {
            attempt: self.attempt,
            age: waited,
            window,
            in_doubt_for: failover.in_doubt_since.map(|at| time_until(at, now)),
            allow_duplicates: again,
            alternatives: u32::try_from(failover.remaining.len()).unwrap_or(u32::MAX),
            patience: Duration::from_secs(failover.patience.into()).saturating_sub(waited),
        }
    }
}

/// A message to hand over to the next integration (failover).
struct Handover {
    /// Outcome of the attempt, or why none was made.
    outcome: Outcome,
    /// Whether an attempt was made.
    counted: bool,
    /// Current integration, if it is to be tried again after the others.
    current: Option<IntegrationId>,
    /// Whether the current integration may have sent the message.
    in_doubt: bool,
}

/// Returns the time from `now` until `at`.
fn time_until(now: Timestamp, at: Timestamp) -> Duration {
    at.duration_since(now).unsigned_abs()
}

impl<S, A, D, V, P, Q, T, C, R> Sender<'_, S, A, D, V, P, Q, T, C, R>
where
    S: Outbox + ConversationReader,
    A: Automations + Circuits,
    D: Directory,
    V: CredentialReader,
    P: Publisher,
    Q: OutboundQueues,
    T: HttpClient,
    C: Clock,
    R: Rng,
{
    async fn send(&self, task: &SendTask, context: ReceiveContext<'_>) -> Result<(), Failure> {
        let message = &task.message;
        let now = self.clock.now();
        let in_time = now <= task.expires_at;
        if let Some(at) = task.failover.not_before.filter(|at| in_time && now < *at) {
            return Err(Failure::wait("all integrations were tried", time_until(now, at)));
        }
        let sender = match self.directory.integration(message.integration).await? {
            Some(integration) => self.sender(integration).await?,
            None => Err(Outcome::failed(
                "integration_missing",
                "the integration was deleted before the message was sent: use another one",
            )),
        };
        let (again, window) = match &sender {
            Ok(sender) => (sender.again(), sender.sender.idempotency_window()),
            Err(_) => (false, None),
        };
        let admission = match &sender {
            Ok(sender) if in_time => self.admission(sender, task, context).await?,
            _ => Admission::Pass,
        };
        // The token includes the number of receives: each receive is a new holder of the claim.
        let token = format!("{}:{}", context.record, context.receives);
        let claimed_at = self.clock.now();
        let retake = (again || failpoint::is_active(Failpoint::InterruptedSentAgain))
            && !failpoint::is_active(Failpoint::InterruptedGivenUp);
        let claim = match self.store.claim(task, &token, claimed_at, LEASE, retake).await {
            Err(_) if failpoint::is_active(Failpoint::FailedClaimGranted) => {
                Claim::Granted { attempt: 1 }
            }
            claim => claim?,
        };
        let attempt = match claim {
            Claim::Granted { attempt } => attempt,
            // The sender that settled the message may have crashed before it sent the notification.
            // A duplicate has the same id.
            Claim::Settled(_) if failpoint::is_active(Failpoint::EndNotTold) => return Ok(()),
            Claim::Settled(message) => return self.notify(*message).await,
            // The sender that handed it over may have crashed before it queued the message.
            Claim::HandedOver(to) => return self.forward(task, *to, context).await,
            Claim::Held { until: at } => {
                let wait = time_until(claimed_at, at) + Duration::from_secs(1);
                return Err(Failure::wait("another sender has claimed the message", wait));
            }
            Claim::Interrupted { attempt, token } => {
                let held = ActiveClaim { task, token: &token, attempt, claimed_at };
                return self.interrupted(&held, window.is_some() && !again).await;
            }
        };
        let held = ActiveClaim { task, token: &token, attempt, claimed_at };
        if claimed_at > task.expires_at {
            let outcome = Outcome {
                status: Status::Expired,
                ..Outcome::failed("expired", "the message could not be sent in time")
            };
            return self.settle(&held, outcome).await;
        }
        if let Some(since) = task.failover.in_doubt_since
            && window.is_none_or(|window| time_until(since, claimed_at) >= window)
        {
            let detail = "the provider may have the message, and no longer recognizes its id";
            let outcome = Outcome::failed("no_answer", detail);
            return self.settle(&held, outcome).await;
        }
        let sender = match sender {
            Ok(sender) => sender,
            Err(outcome) => {
                let gone = Handover { outcome, counted: true, current: None, in_doubt: false };
                return self.hand_over(&held, gone, context).await;
            }
        };
        // Reserve the probe after the claim, so that a reserved probe is always sent.
        let is_probe = admission == Admission::Probe;
        let may_send = match admission {
            Admission::Pass => true,
            // On an error, treat the probe as reserved by another sender: nothing was sent yet.
            Admission::Probe => {
                self.circuit_breakers.probe(&sender.integration).await.unwrap_or(false)
            }
            Admission::No { .. } => false,
        };
        if may_send {
            return self.attempt(&held, sender, is_probe, context).await;
        }
        if task.failover.remaining.is_empty() {
            self.store.release(message, &token, &[]).await?;
            let at = self.clock.now() + PROBE_INTERVAL;
            return Err(self.until_probe("another message is the probe", at, context));
        }
        let detail = "this account has failed too often recently, so it was not tried";
        let outcome = Outcome::failed("circuit_open", detail);
        let current = Some(message.integration);
        let skipped = Handover { outcome, counted: false, current, in_doubt: false };
        self.hand_over(&held, skipped, context).await
    }

    /// Handles a claim whose sender crashed while it sent. If the provider deduplicates by message
    /// id, the message is sent again with the same id.
    async fn interrupted(&self, held: &ActiveClaim<'_>, deduplicates: bool) -> Result<(), Failure> {
        if deduplicates {
            return self.retry_same_id(held, "interrupted", held.task.message.created_at).await;
        }
        let detail = "the sender was interrupted while it sent the message; the provider may have \
            it, so it is not sent again";
        let outcome = Outcome {
            status: Status::Unknown,
            code: Some("interrupted".to_owned()),
            detail: Some(detail.to_owned()),
            provider_message_id: None,
        };
        self.settle(held, outcome).await
    }

    /// Returns a wait until the integration's next probe, which shows whether it has recovered.
    fn until_probe(&self, reason: &str, at: Timestamp, context: ReceiveContext<'_>) -> Failure {
        let now = self.clock.now();
        let wait = if at > now { time_until(now, at) } else { Duration::ZERO };
        let min_wait = if context.receives > MANY_RECEIVES {
            MIN_WAIT_AFTER_MANY_RECEIVES
        } else {
            Duration::from_secs(1)
        };
        Failure::wait(reason, wait.max(min_wait))
    }

    /// Returns whether the circuit breaker and the rate limits let the message through. It runs
    /// before the claim, because a wait is not an attempt and is not recorded in the ledger.
    async fn admission(
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

    /// Makes one attempt and processes its outcome.
    async fn attempt(
        &self,
        held: &ActiveClaim<'_>,
        sender: IntegrationSender,
        is_probe: bool,
        context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        let (again, window) = (sender.again(), sender.sender.idempotency_window());
        let integration = sender.integration.clone();
        let checked =
            if is_probe { self.check_account(sender.sender.as_ref()).await } else { Ok(()) };
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
        let attempt_context = held.attempt_context(window, again, self.clock.now());
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
    async fn check_account(&self, sender: &dyn MessageSender) -> Result<(), SendError> {
        let Ok(request) = sender.describe_account() else { return Ok(()) };
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
                let outcome = Outcome {
                    status: Status::Accepted,
                    code: None,
                    detail: None,
                    provider_message_id: Some(accepted.provider_message_id),
                };
                return self.settle(held, outcome).await;
            }
            Err(error) => error,
        };
        let in_doubt = error.fault() == Fault::Unknown;
        match after_failure(&error, attempt_context) {
            NextAction::Fail => self.settle(held, Outcome::of(Status::Failed, &error)).await,
            NextAction::Unknown if failpoint::is_active(Failpoint::SentAgainWhenUnknown) => {
                self.store.release(message, held.token, &[]).await?;
                Err(Failure::retry(error.code()))
            }
            NextAction::Unknown => self.settle(held, Outcome::of(Status::Unknown, &error)).await,
            NextAction::Failover { come_back } => {
                let current = come_back.then_some(message.integration);
                let outcome = Outcome::of(Status::Failed, &error);
                let refused = Handover { outcome, counted: true, current, in_doubt };
                self.hand_over(held, refused, context).await
            }
            NextAction::Wait(wait) => {
                self.store.release(message, held.token, &[]).await?;
                Err(Failure::wait(error.code(), wait))
            }
            NextAction::Retry if in_doubt && !attempt_context.allow_duplicates => {
                self.retry_same_id(held, error.code(), held.claimed_at).await
            }
            NextAction::Retry => {
                let outcome = Outcome::of(Status::Queued, &error);
                // A long outage must not fill the history of the message that is the probe.
                let counted = in_doubt || !is_probe || held.attempt <= MAX_ATTEMPTS;
                self.retry(held, outcome, counted, in_doubt).await
            }
        }
    }

    /// Retries a message that the provider may have had since `at`, with the same id, by which the
    /// provider deduplicates. Failover ends: no other integration is tried. The ledger records
    /// this like a handover.
    async fn retry_same_id(
        &self,
        held: &ActiveClaim<'_>,
        code: &str,
        at: Timestamp,
    ) -> Result<(), Failure> {
        let ActiveClaim { task, token, attempt, .. } = *held;
        let message = &task.message;
        let wait = slow_backoff(attempt, self.rng.fraction());
        let failover = domain::task::FailoverPlan {
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
        let outcome = Outcome { status: Status::Queued, ..Outcome::failed(code, detail) };
        let steps = self.steps(held, &outcome);
        self.store.hand_over(message, token, &steps, true, &to).await?;
        Err(Failure::wait(code, wait))
    }

    /// Releases the claim and retries the record after a backoff.
    async fn retry(
        &self,
        held: &ActiveClaim<'_>,
        outcome: Outcome,
        counted: bool,
        in_doubt: bool,
    ) -> Result<(), Failure> {
        let outcome = Outcome { status: Status::Queued, ..outcome };
        let steps = if counted { self.steps(held, &outcome) } else { Vec::new() };
        self.store.release(&held.task.message, held.token, &steps).await?;
        // The ledger counts the attempts. Receives do not count, because waits use them too.
        let jitter = self.rng.fraction();
        let wait = if in_doubt {
            slow_backoff(held.attempt, jitter)
        } else {
            backoff(held.attempt, jitter)
        };
        Err(Failure::wait(outcome.code.as_deref().unwrap_or("retry"), wait))
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
        self.store.release(message, held.token, &[]).await?;
        // Each search for another integration writes to the table, so back off.
        let at = self.clock.now() + backoff(context.receives, 1.0).min(MAX_FAILOVER_WAIT);
        let probed_at = self.circuit_breakers.probed_at(message.integration);
        let at = probed_at.map_or(at, |probed_at| at.max(probed_at));
        Err(self.until_probe(CIRCUIT_OPEN, at, context))
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

    /// Hands the message over to the next integration, or settles it if there is none.
    async fn hand_over(
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
            let Ok(usable) = self.reachable(usable, held.task).await else {
                return self.keep_integration(held, handover, recorded, context).await;
            };
            if let Some(integration) = usable {
                // All integrations were tried: wait before the next round.
                let not_before = was_tried.then(|| {
                    let wait = if handover.in_doubt { slow_backoff } else { failover_backoff };
                    self.clock.now() + wait(remaining.generation, self.rng.fraction())
                });
                let failover = domain::task::FailoverPlan { not_before, ..remaining };
                let provider = integration.provider;
                break (HandedOver { provider, integration: integration.id, failover }, was_tried);
            }
            // Remove an integration that was deleted or cannot be used.
            failover.asked -= u32::from(was_tried);
            failover.remaining.remove(0);
        };
        let Handover { outcome, .. } = handover;
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
        if !self.store.hand_over(message, held.token, &steps, recorded, &to).await? {
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

    /// Returns the integration if it can reach the recipient now: on a channel with a service
    /// window, each account has its own.
    async fn reachable(
        &self,
        integration: Option<Integration>,
        task: &SendTask,
    ) -> PortResult<Option<Integration>> {
        let Some(integration) = integration else { return Ok(None) };
        let message = &task.message;
        let has_window = providers::is_windowed(integration.provider, message.channel);
        if !has_window || matches!(message.content, Content::Template { .. }) {
            return Ok(Some(integration));
        }
        let Ok(counterpart) = providers::address(integration.provider, &task.to) else {
            return Ok(None);
        };
        let (account, channel) = (integration.conversation_account(), message.channel);
        let (tenant, counterpart) = (&message.tenant, counterpart.as_str());
        let parties = Parties { tenant, channel, account: &account, counterpart };
        let id = parties.conversation();
        if id == message.conversation {
            return Ok(Some(integration));
        }
        let conversation = self.store.read_conversation(tenant, id).await?;
        let now = self.clock.now();
        Ok(conversation.filter(|c| c.in_service_window(now)).map(|_| integration))
    }

    /// Forwards the message to the integration it was handed over to. Idempotent.
    async fn forward(
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

    /// Returns the sender for an integration, or the outcome of the message without one.
    async fn sender(
        &self,
        integration: Integration,
    ) -> PortResult<Result<IntegrationSender, Outcome>> {
        let credentials =
            self.credential_store.credentials(&integration, Freshness::Cached).await?;
        Ok(match self.provider.sender(&integration, &credentials) {
            Ok(sender) => Ok(IntegrationSender { sender, integration, credentials }),
            Err(error) => Err(Outcome::of(Status::Failed, &error)),
        })
    }

    /// Sends the message. If the provider rejects the credentials, reads them again, because they
    /// may just have been changed, and sends once more with new ones. This is safe, because a
    /// rejected request sent nothing.
    async fn send_with_fresh_credentials(
        &self,
        sender: IntegrationSender,
        task: &SendTask,
    ) -> Result<Accepted, SendError> {
        let sent = self.send_to(sender.sender.as_ref(), task).await;
        let Err(SendError::Refused { status: StatusCode::UNAUTHORIZED, .. }) = &sent else {
            return sent;
        };
        // Assume a change right now: the cached directory entry may be minutes old.
        let changed =
            Integration { credentials_at: self.clock.now(), ..sender.integration.clone() };
        let fresh = self.credential_store.credentials(&changed, Freshness::Fresh).await;
        match fresh {
            Ok(fresh) if !fresh.same_as(&sender.credentials) => {
                let sender = self.provider.sender(&sender.integration, &fresh)?;
                self.send_to(sender.as_ref(), task).await
            }
            _ => sent,
        }
    }

    /// Sends the message to the provider; once more if the provider returns a new address of the
    /// recipient.
    async fn send_to(
        &self,
        sender: &dyn MessageSender,
        task: &SendTask,
    ) -> Result<Accepted, SendError> {
        let mut to = task.to.clone();
        let mut moved = false;
        loop {
            let outgoing = Outgoing {
                id: task.message.id,
                channel: task.message.channel,
                integration: task.message.integration,
                hub_url: self.hub_url.as_deref(),
                to: &to,
                content: &task.message.content,
                reply_to: task.reply_to.as_deref(),
            };
            let request = sender.request(&outgoing)?;
            let address = failpoint::is_active(Failpoint::AddressInTheHistory)
                .then(|| request.uri().to_string());
            let response = self.http_client.call(request).await;
            let response = response.map_err(|error| match address {
                Some(address) => SendError::Refused {
                    status: StatusCode::BAD_GATEWAY,
                    code: error.code().to_owned(),
                    remedy: format!("{error} from {address}"),
                    fault: error.fault(),
                    scope: domain::sender::RefusalScope::Account,
                },
                None => error,
            })?;
            match sender.moved_to(&response) {
                Some(address) if !moved => {
                    tracing::info!(message_id = %task.message.id, "the recipient has a new address; sent there");
                    to = address;
                    moved = true;
                }
                _ => return sender.outcome(&outgoing, &response),
            }
        }
    }

    /// Returns the history steps of the claim and its outcome.
    fn steps(&self, held: &ActiveClaim<'_>, outcome: &Outcome) -> Vec<Step> {
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

    async fn settle(&self, held: &ActiveClaim<'_>, outcome: Outcome) -> Result<(), Failure> {
        let message = &held.task.message;
        let outcome = match (outcome.status, held.task.failover.in_doubt_since) {
            // If the provider may have the message, the outcome is unknown, not failed.
            (Status::Failed | Status::Expired, Some(_)) => {
                Outcome { status: Status::Unknown, ..outcome }
            }
            _ => outcome,
        };
        let steps = self.steps(held, &outcome);
        let provider_message_id = outcome.provider_message_id.as_deref();
        let settled = self.store.settle(message, held.token, &steps, provider_message_id).await?;
        tracing::info!(
            tenant = %message.tenant, message_id = %message.id, attempt = held.attempt,
            status = outcome.status.as_str(), code = outcome.code.as_deref(), "message settled"
        );
        let provider = message.provider.as_str();
        telemetry::count(
            match outcome.status {
                Status::Accepted => Metric::MessageAccepted,
                Status::Unknown => Metric::MessageUnknown,
                _ => Metric::MessageFailed,
            },
            provider,
            1,
        );
        match settled {
            Some(message) => self.notify(message).await,
            // The message was already settled, perhaps by this same request whose response was
            // lost: the next receive finds the outcome and sends the notification.
            None => Err(Failure::wait("the message was already settled", Duration::from_secs(1))),
        }
    }

    /// Notifies the tenant of a message that was not sent. Sent messages cause no notification
    /// here: their receipts do.
    async fn notify(&self, message: Message) -> Result<(), Failure> {
        if !matches!(message.status, Status::Unknown | Status::Expired | Status::Failed) {
            return Ok(());
        }
        let automation = self.accounts.automation(&message.tenant).await?;
        let tenant = message.tenant.clone();
        let data = NotificationData { tenant, message, conversation: None, job: None };
        let told = crate::notify::notify(
            &self.automation,
            &automation,
            NotificationKind::MessageStatus,
            data,
        );
        Ok(told.await?)
    }

    async fn mark_read(
        &self,
        task: &MarkReadTask,
        context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        let Some(integration) = self.directory.integration(task.integration).await? else {
            return Ok(());
        };
        let Ok(IntegrationSender { sender, .. }) = self.sender(integration).await? else {
            return Ok(());
        };
        let Some(request) = sender.mark_read(&task.provider_message_id) else { return Ok(()) };
        let marked = async {
            let response = self.http_client.call(request?).await?;
            sender.answer(&response)
        };
        let Err(error) = marked.await else { return Ok(()) };
        let reason = error.code().to_owned();
        tracing::warn!(tenant = %task.tenant, %reason, "message not marked as read");
        match error.fault() {
            Fault::Permanent => Ok(()),
            // Do not delay the conversation's messages for a read receipt.
            _ if context.is_last => Ok(()),
            fault => Err(Failure { fault, reason }),
        }
    }
}

/// The worker with its production dependencies.
pub type ProductionSender<N, C, R> = Sender<
    'static,
    Repository,
    accounts::Repository,
    CachedDirectory<accounts::Repository, C>,
    SecretsManagerCredentials<C>,
    SqsQueue,
    Outbound<SqsQueue>,
    <N as Network>::HttpClient,
    C,
    R,
>;

/// The consumer with its production dependencies.
pub type ProductionConsumer<N, C, R> = Consumer<ProductionSender<N, C, R>, C, R>;

/// Builds the consumer of a provider's sender from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<N: Network, C: Clock + Clone, R: Rng + Clone>(
    kit: &Kit<N, C, R>,
    provider: &'static dyn SenderProvider,
) -> Result<ProductionConsumer<N, C, R>, Error> {
    let accounts = accounts::Repository::of(kit)?;
    let worker = Sender {
        provider,
        directory: CachedDirectory::new(accounts.clone(), kit.clock.clone()),
        credential_store: kit.credential_store()?,
        circuit_breakers: CircuitBreakers::new(accounts.clone(), kit.clock.clone()),
        automation: kit.queue("AUTOMATION_QUEUE_URL", Some(&kit.bucket()?))?,
        // Messages that are handed over are small and never need the bucket.
        outbound: Outbound::new(kit, None)?,
        hub_url: kit.environment.optional("PUBLIC_BASE_URL"),
        http_client: kit.network.http_client(),
        clock: kit.clock.clone(),
        rng: kit.rng.clone(),
        store: Repository::of(kit)?,
        accounts,
    };
    // A message may take 10 s; the function has 20.
    runtime::consumer(kit, worker, 8, true)
}

/// Serves a sender until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run(provider: &'static dyn SenderProvider) -> Result<(), Error> {
    runtime::start(async move |kit| {
        let consumer = consumer(&kit, provider)?;
        consumer.worker.store.prewarm().await;
        runtime::consume(consumer).await
    })
}
