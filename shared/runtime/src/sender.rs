//! Sends messages: claim, send, settle. The claim is durable before the request leaves.

use std::time::Duration;

use bytes::Bytes;
use domain::IntegrationId;
use domain::automation::{NoticeData, NoticeKind};
use domain::circuit::{Admission, PROBE_EVERY};
use domain::content::Content;
use domain::conversation::Parties;
use domain::failpoint::{self, Failpoint};
use domain::fault::{Classify, Fault, MAX_ATTEMPTS, backoff, rest, slow_backoff};
use domain::integration::{Credentials, DeliveryPolicy, Integration};
use domain::job::{HandedOver, MarkReadTask, OutboundJob, OutboundTask, SendTask};
use domain::message::{Message, Status, Step};
use domain::ports::{
    Automations, Circuits, Claim, Clock, Dice, Directory, Freshness, Outbox, PortResult, Publisher,
    Talks, Vault,
};
use domain::sender::{
    About, Accepted, Chances, MessageSender, Next, Outgoing, SendError, SenderProvider,
    after_failure,
};
use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use queue::SqsQueue;
use store::DynamoStore;

use crate::batch::{Delivery, Failure, Worker};
use crate::circuit::Breakers;
use crate::directory::CachedDirectory;
use crate::outbound::{self, Outbound, OutboundQueues};
use crate::telemetry::{self, Metric};
use crate::transport::Transport;
use crate::vault::SecretsVault;
use crate::{Consumer, Error, Kit, Network};

/// How long a claim lasts: longer than the function may run, shorter than the queue hides a
/// record, so that a record that comes back finds the lease of a dead holder at its end.
const LEASE: Duration = Duration::from_mins(1);

/// The longest wait for the next carrier once all of them were asked or passed over.
const NEXT_CARRIER: Duration = Duration::from_secs(30);
/// After so many receives a record that waits for a circuit comes back more seldom: its queue
/// takes a record that was received a thousand times for one that kills its function.
const MANY_RECEIVES: u32 = 500;
/// How often it comes back then: less than 1,000 receives in the day that a message may wait.
const SELDOM: Duration = Duration::from_mins(3);
/// Why a record waits for a probe.
const CIRCUIT_OPEN: &str = "the integration's circuit is open";
/// How much time one message may have used when it is asked of a second account at once.
const BRIEF: Duration = Duration::from_secs(2);

/// Makes the one network call between a sender's two halves.
pub trait Caller: Send + Sync {
    /// Makes the call.
    ///
    /// # Errors
    /// [`SendError::Connect`] if nothing was sent, [`SendError::NoAnswer`] if that is not
    /// sure.
    fn call(
        &self,
        request: Request<Bytes>,
    ) -> impl Future<Output = Result<Response<Bytes>, SendError>> + Send;
}

impl Caller for Transport {
    async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        self.send(request).await
    }
}

/// What a sender needs.
pub struct Sender<'p, S, D, V, P, Q, T, C, R> {
    /// Who carries.
    pub provider: &'p dyn SenderProvider,
    /// The ledger.
    pub store: S,
    /// Integrations.
    pub directory: D,
    /// Credential store.
    pub vault: V,
    /// How integrations fare.
    pub breakers: Breakers<S, C>,
    /// Notification queue.
    pub automation: P,
    /// The senders' queues, to hand messages over.
    pub outbound: Q,
    /// HTTP client for requests to the provider.
    pub caller: T,
    /// Where providers reach the hub, if that is known.
    pub hub_url: Option<String>,
    /// Clock.
    pub clock: C,
    /// Random number generator, for jitter.
    pub dice: R,
}

impl<S, D, V, P, Q, T, C, R> Worker for Sender<'_, S, D, V, P, Q, T, C, R>
where
    S: Outbox + Automations + Circuits + Talks,
    D: Directory,
    V: Vault,
    P: Publisher,
    Q: OutboundQueues,
    T: Caller,
    C: Clock,
    R: Dice,
{
    type Job = OutboundJob;

    async fn work(&self, job: &OutboundJob, delivery: Delivery<'_>) -> Result<(), Failure> {
        match &job.task {
            OutboundTask::Send(task) => self.send(task, delivery).await,
            OutboundTask::MarkRead(task) => self.mark_read(task, delivery).await,
        }
    }
}

/// How an attempt ended: its state, and the step that says so.
struct Ending {
    status: Status,
    code: Option<String>,
    detail: Option<String>,
    provider_message_id: Option<String>,
}

impl Ending {
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

/// A sender with what it was made from.
struct Carrier {
    sender: Box<dyn MessageSender>,
    integration: Integration,
    credentials: Credentials,
}

impl Carrier {
    /// Whether a person may get a message twice.
    fn again(&self) -> bool {
        self.integration.settings.delivery() == DeliveryPolicy::AtLeastOnce
    }
}

/// One claim, as long as it is ours.
struct Held<'a> {
    task: &'a SendTask,
    token: &'a str,
    attempt: u32,
    claimed_at: Timestamp,
}

impl Held<'_> {
    /// What the attempt still has before it.
    fn chances(&self, window: Option<Duration>, again: bool, now: Timestamp) -> Chances {
        let relay = &self.task.relay;
        let waited = now.duration_since(self.task.message.created_at).unsigned_abs();
        Chances {
            attempt: self.attempt,
            age: waited,
            window,
            maybe_taken: relay.maybe_taken_at.map(|at| until(at, now)),
            again,
            others: u32::try_from(relay.others.len()).unwrap_or(u32::MAX),
            patience: Duration::from_secs(relay.patience.into()).saturating_sub(waited),
        }
    }
}

/// A message on its way to the next carrier.
struct Handover {
    /// How the attempt ended, or why none was made.
    ending: Ending,
    /// Whether an attempt was made.
    counted: bool,
    /// Who is asked again after the others, if this one is.
    current: Option<IntegrationId>,
    /// Whether this one may have accepted it.
    in_doubt: bool,
}

/// How long from `now` until `at`.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    at.duration_since(now).unsigned_abs()
}

impl<S, D, V, P, Q, T, C, R> Sender<'_, S, D, V, P, Q, T, C, R>
where
    S: Outbox + Automations + Circuits + Talks,
    D: Directory,
    V: Vault,
    P: Publisher,
    Q: OutboundQueues,
    T: Caller,
    C: Clock,
    R: Dice,
{
    async fn send(&self, task: &SendTask, delivery: Delivery<'_>) -> Result<(), Failure> {
        let message = &task.message;
        let now = self.clock.now();
        let in_time = now <= task.expires_at;
        if let Some(at) = task.relay.not_before.filter(|at| in_time && now < *at) {
            return Err(Failure::wait("its carriers were all asked", until(now, at)));
        }
        let sender = match self.directory.integration(message.integration).await? {
            Some(integration) => self.sender(integration).await?,
            None => Err(Ending::failed(
                "integration_missing",
                "the integration was deleted before the message was sent; send it over another",
            )),
        };
        let (again, window) = match &sender {
            Ok(carrier) => (carrier.again(), carrier.sender.idempotency_window()),
            Err(_) => (false, None),
        };
        let admission = match &sender {
            Ok(carrier) if in_time => self.admission(carrier, task, delivery).await?,
            _ => Admission::Pass,
        };
        // The receive is part of the token: a record that is received again is a new holder.
        let token = format!("{}:{}", delivery.record, delivery.receives);
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
            // Whoever settled it may have died before it told; twice is known by its id.
            Claim::Settled(_) if failpoint::is_active(Failpoint::EndNotTold) => return Ok(()),
            Claim::Settled(message) => return self.tell(*message).await,
            // Whoever handed it over may have died before it was in the other queue.
            Claim::HandedOver(to) => return self.pass_on(task, *to, delivery).await,
            Claim::Held { until: at } => {
                let wait = until(claimed_at, at) + Duration::from_secs(1);
                return Err(Failure::wait("another sender holds the message", wait));
            }
            Claim::Interrupted { attempt, token } => {
                let held = Held { task, token: &token, attempt, claimed_at };
                return self.interrupted(&held, window.is_some() && !again).await;
            }
        };
        let held = Held { task, token: &token, attempt, claimed_at };
        if claimed_at > task.expires_at {
            let ending = Ending {
                status: Status::Expired,
                ..Ending::failed("expired", "it could not be sent in time")
            };
            return self.settle(&held, ending).await;
        }
        if let Some(since) = task.relay.maybe_taken_at
            && window.is_none_or(|window| until(since, claimed_at) >= window)
        {
            let detail = "the provider may have it, and no longer remembers its id";
            let ending = Ending::failed("no_answer", detail);
            return self.settle(&held, ending).await;
        }
        let carrier = match sender {
            Ok(carrier) => carrier,
            Err(ending) => {
                let gone = Handover { ending, counted: true, current: None, in_doubt: false };
                return self.hand_over(&held, gone, delivery).await;
            }
        };
        // After the claim: a probe that is taken is made.
        let is_probe = admission == Admission::Probe;
        let may = match admission {
            Admission::Pass => true,
            // Where that cannot be told it is as if another had it: nothing was asked yet.
            Admission::Probe => self.breakers.probe(&carrier.integration).await.unwrap_or(false),
            Admission::No { .. } => false,
        };
        if may {
            return self.attempt(&held, carrier, is_probe, delivery).await;
        }
        if task.relay.others.is_empty() {
            self.store.release(message, &token, &[]).await?;
            let at = self.clock.now() + PROBE_EVERY;
            return Err(self.until_probe("another message probes", at, delivery));
        }
        let detail = "this account failed too often of late, so it was not asked";
        let ending = Ending::failed("circuit_open", detail);
        let current = Some(message.integration);
        let passed_over = Handover { ending, counted: false, current, in_doubt: false };
        self.hand_over(&held, passed_over, delivery).await
    }

    /// Another sender was cut off while it sent. Where the provider remembers ids the message is
    /// asked for again under the same one.
    async fn interrupted(&self, held: &Held<'_>, is_remembered: bool) -> Result<(), Failure> {
        if is_remembered {
            return self.ask_again(held, "interrupted", held.task.message.created_at).await;
        }
        let detail = "the sender was cut off while it sent; the provider may have the message, so \
             it is not sent again";
        let ending = Ending {
            status: Status::Unknown,
            code: Some("interrupted".to_owned()),
            detail: Some(detail.to_owned()),
            provider_message_id: None,
        };
        self.settle(held, ending).await
    }

    /// Lets the record come back when the integration is to be probed next: that is when it is
    /// known to be well again.
    fn until_probe(&self, reason: &str, at: Timestamp, delivery: Delivery<'_>) -> Failure {
        let now = self.clock.now();
        let wait = if at > now { until(now, at) } else { Duration::ZERO };
        let least = if delivery.receives > MANY_RECEIVES { SELDOM } else { Duration::from_secs(1) };
        Failure::wait(reason, wait.max(least))
    }

    /// Whether the message may pass. Before the claim: a wait is no attempt and leaves no trace
    /// in the ledger.
    async fn admission(
        &self,
        carrier: &Carrier,
        task: &SendTask,
        delivery: Delivery<'_>,
    ) -> Result<Admission, Failure> {
        match self.breakers.admit(&carrier.integration, task.message.id).await? {
            Admission::No { until: at } if task.relay.others.is_empty() => {
                Err(self.until_probe(CIRCUIT_OPEN, at, delivery))
            }
            admission @ Admission::No { .. } => Ok(admission),
            admission => {
                self.keep_pace(carrier, task, delivery).await?;
                Ok(admission)
            }
        }
    }

    /// Makes one attempt, and does what follows from how it ended.
    async fn attempt(
        &self,
        held: &Held<'_>,
        carrier: Carrier,
        is_probe: bool,
        delivery: Delivery<'_>,
    ) -> Result<(), Failure> {
        let (again, window) = (carrier.again(), carrier.sender.idempotency_window());
        let integration = carrier.integration.clone();
        let knocked = if is_probe { self.knock(carrier.sender.as_ref()).await } else { Ok(()) };
        let asked = match knocked {
            Ok(()) => self.ask_with_fresh_credentials(carrier, held.task).await,
            Err(error) => Err(error),
        };
        let word = match &asked {
            Err(error) if error.is_of_account() => Some(Err(error.code().to_owned())),
            // What was never asked has proved nothing.
            Err(SendError::Invalid { .. }) => None,
            _ if is_probe => Some(Ok(())),
            _ => None,
        };
        // Side by side: how the message ended must be written down as soon as it can be.
        let noted = async {
            let noted = match word {
                Some(Err(code)) => self.breakers.failed(&integration, &code).await,
                Some(Ok(())) => self.breakers.succeeded(&integration).await,
                None => Ok(()),
            };
            if let Err(error) = noted {
                // How the message ended weighs more.
                tracing::warn!(integration = %integration.id, %error, "circuit not written down");
            }
        };
        let refused = asked
            .as_ref()
            .is_err_and(|error| error.is_of_account() && error.fault() == Fault::Retryable);
        let chances = held.chances(window, again, self.clock.now());
        let ended = self.conclude(held, asked, chances, is_probe, delivery);
        let (ended, ()) = futures::join!(ended, noted);
        match (ended, self.breakers.probed_at(integration.id)) {
            // The circuit opened, or stays open: it is probed sooner than a backoff would end.
            (Err(Failure { fault: Fault::RateLimited { .. }, reason, .. }), Some(at))
                if refused && held.task.relay.others.is_empty() =>
            {
                Err(self.until_probe(&reason, at, delivery))
            }
            (ended, _) => ended,
        }
    }

    /// Asks the account about itself, before a message is risked to find out whether it is well:
    /// one that gets no answer could not be sent again. What fails here sent nothing.
    async fn knock(&self, sender: &dyn MessageSender) -> Result<(), SendError> {
        let Ok(request) = sender.describe_account() else { return Ok(()) };
        let began = self.clock.now();
        let (status, code, fault) = match self.caller.call(request).await {
            Err(error) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                (status, error.code().to_owned(), Fault::Retryable)
            }
            Ok(answer) if answer.status().is_server_error() => {
                (answer.status(), answer.status().as_str().to_owned(), Fault::Retryable)
            }
            // It is well, but the function has no time left for the message's own request.
            Ok(answer) if until(began, self.clock.now()) > BRIEF => {
                let retry_after = Duration::from_secs(1);
                (answer.status(), "slow".to_owned(), Fault::RateLimited { retry_after })
            }
            Ok(_) => return Ok(()),
        };
        let remedy = "The account was asked about itself before the message was sent, and is not \
                      well yet."
            .to_owned();
        Err(SendError::Refused { status, code, remedy, fault, about: About::Account })
    }

    /// Does what follows from how an attempt ended.
    async fn conclude(
        &self,
        held: &Held<'_>,
        asked: Result<Accepted, SendError>,
        chances: Chances,
        is_probe: bool,
        delivery: Delivery<'_>,
    ) -> Result<(), Failure> {
        let message = &held.task.message;
        let error = match asked {
            Ok(accepted) => {
                let ending = Ending {
                    status: Status::Accepted,
                    code: None,
                    detail: None,
                    provider_message_id: Some(accepted.provider_message_id),
                };
                return self.settle(held, ending).await;
            }
            Err(error) => error,
        };
        let in_doubt = error.fault() == Fault::Unknown;
        match after_failure(&error, chances) {
            Next::Fail => self.settle(held, Ending::of(Status::Failed, &error)).await,
            Next::Unknown if failpoint::is_active(Failpoint::SentAgainWhenUnknown) => {
                self.store.release(message, held.token, &[]).await?;
                Err(Failure::retry(error.code()))
            }
            Next::Unknown => self.settle(held, Ending::of(Status::Unknown, &error)).await,
            Next::Elsewhere { come_back } => {
                let current = come_back.then_some(message.integration);
                let ending = Ending::of(Status::Failed, &error);
                let refused = Handover { ending, counted: true, current, in_doubt };
                self.hand_over(held, refused, delivery).await
            }
            Next::Wait(wait) => {
                self.store.release(message, held.token, &[]).await?;
                Err(Failure::wait(error.code(), wait))
            }
            Next::Retry if in_doubt && !chances.again => {
                self.ask_again(held, error.code(), held.claimed_at).await
            }
            Next::Retry => {
                let ending = Ending::of(Status::Queued, &error);
                // However long it lasts, an outage does not fill the history of the message that
                // probes for its end.
                let counted = in_doubt || !is_probe || held.attempt <= MAX_ATTEMPTS;
                self.retry(held, ending, counted, in_doubt).await
            }
        }
    }

    /// Lets the record come again, though the provider may have the message since `at`: it
    /// remembers the message's id. Nobody else is asked from then on. It is the ledger that
    /// says so, as it does when a message is handed over.
    async fn ask_again(&self, held: &Held<'_>, code: &str, at: Timestamp) -> Result<(), Failure> {
        let Held { task, token, attempt, .. } = *held;
        let message = &task.message;
        let wait = slow_backoff(attempt, self.dice.fraction());
        let relay = domain::job::Relay {
            hop: task.relay.hop + 1,
            others: Vec::new(),
            asked: 0,
            not_before: Some(self.clock.now() + wait),
            maybe_taken_at: task.relay.maybe_taken_at.or(Some(at)),
            ..task.relay.clone()
        };
        let (provider, integration) = (message.provider, message.integration);
        let to = HandedOver { provider, integration, relay };
        let detail =
            "no answer came; the provider knows the message by its id, so it is asked again";
        let ending = Ending { status: Status::Queued, ..Ending::failed(code, detail) };
        let steps = self.steps(held, &ending);
        self.store.hand_over(message, token, &steps, true, &to).await?;
        Err(Failure::wait(code, wait))
    }

    /// Gives the right back, and lets the record come again after a backoff.
    async fn retry(
        &self,
        held: &Held<'_>,
        ending: Ending,
        counted: bool,
        in_doubt: bool,
    ) -> Result<(), Failure> {
        let ending = Ending { status: Status::Queued, ..ending };
        let steps = if counted { self.steps(held, &ending) } else { Vec::new() };
        self.store.release(&held.task.message, held.token, &steps).await?;
        // The ledger counts attempts: receives, which waits use up too, make no dead letter.
        let jitter = self.dice.fraction();
        let wait = if in_doubt {
            slow_backoff(held.attempt, jitter)
        } else {
            backoff(held.attempt, jitter)
        };
        Err(Failure::wait(ending.code.as_deref().unwrap_or("retry"), wait))
    }

    /// Leaves the message with its carrier: asked again later, or once it may be asked at all.
    async fn stay(
        &self,
        held: &Held<'_>,
        handover: Handover,
        told: bool,
        delivery: Delivery<'_>,
    ) -> Result<(), Failure> {
        let Handover { ending, counted, in_doubt, .. } = handover;
        if counted {
            return self.retry(held, ending, told, in_doubt).await;
        }
        let message = &held.task.message;
        self.store.release(message, held.token, &[]).await?;
        // Each look for another carrier writes to the table, so they become seldom.
        let at = self.clock.now() + backoff(delivery.receives, 1.0).min(NEXT_CARRIER);
        let probed_at = self.breakers.probed_at(message.integration);
        let at = probed_at.map_or(at, |probed_at| at.max(probed_at));
        Err(self.until_probe(CIRCUIT_OPEN, at, delivery))
    }

    /// Before the claim: a wait is no attempt and leaves no trace in the ledger. The narrowest
    /// limit first: a chat that must wait takes no turn of its bot's.
    async fn keep_pace(
        &self,
        carrier: &Carrier,
        task: &SendTask,
        delivery: Delivery<'_>,
    ) -> Result<(), Failure> {
        let tenant = &task.message.tenant;
        for pace in carrier.sender.pace(&task.to).into_iter().rev() {
            let turn = self.store.take_turn(tenant, &pace, self.clock.now()).await?;
            if let Some(wait) = turn {
                // The longer it has waited, the wider it spreads: a flood that asks once a
                // second would use its receives up on asking. Slowly: a wait for a circuit
                // takes receives, too.
                let most = f64::from((delivery.receives - 1).min(240)) / 4.0;
                let spread = most * self.dice.fraction();
                let wait = wait + Duration::from_secs_f64(spread);
                return Err(Failure::wait("the account's own pace", wait));
            }
        }
        Ok(())
    }

    /// Gives the message to its next carrier, or settles it by its ending if there is none.
    async fn hand_over(
        &self,
        held: &Held<'_>,
        handover: Handover,
        delivery: Delivery<'_>,
    ) -> Result<(), Failure> {
        let message = &held.task.message;
        let mut relay = held.task.relay.clone();
        let carriers = u32::try_from(relay.others.len()).unwrap_or(u32::MAX).saturating_add(1);
        // As in an outage of one carrier: what lasts long does not fill the history.
        let told = handover.counted
            && (handover.in_doubt
                || handover.current.is_none()
                || held.attempt <= MAX_ATTEMPTS.saturating_mul(carriers));
        let (to, was_asked) = loop {
            let Some((next, was_asked, behind)) = relay.next(handover.current) else {
                // The others were deleted since, or cannot reach the person.
                return match handover.current {
                    Some(_) => self.stay(held, handover, told, delivery).await,
                    None => self.settle(held, handover.ending).await,
                };
            };
            let Ok(integration) = self.directory.integration(next).await else {
                // It was certainly not sent: this must not end as unknown.
                return self.stay(held, handover, told, delivery).await;
            };
            let ours = integration.filter(|integration| {
                integration.tenant == message.tenant
                    && self.outbound.of(integration.provider).is_some()
            });
            let Ok(ours) = self.reaching(ours, held.task).await else {
                return self.stay(held, handover, told, delivery).await;
            };
            if let Some(integration) = ours {
                // Everybody was asked: now they are given time.
                let not_before = was_asked.then(|| {
                    let wait = if handover.in_doubt { slow_backoff } else { rest };
                    self.clock.now() + wait(behind.hop, self.dice.fraction())
                });
                let relay = domain::job::Relay { not_before, ..behind };
                let provider = integration.provider;
                break (HandedOver { provider, integration: integration.id, relay }, was_asked);
            }
            // Deleted since: it is as if it had never been named.
            relay.asked -= u32::from(was_asked);
            relay.others.remove(0);
        };
        let Handover { ending, .. } = handover;
        let why = ending.detail.as_deref().unwrap_or("this account cannot carry it now");
        let detail = format!("{why}; handed over to {} ({})", to.integration, to.provider);
        let ending = Ending { status: Status::Queued, detail: Some(detail), ..ending };
        let mut steps = self.steps(held, &ending);
        if !told {
            // There is no attempt to tell of, and after the first round nothing new.
            let dropped = if was_asked { steps.len() } else { steps.len() - 1 };
            steps.drain(..dropped).for_each(drop);
            for step in &mut steps {
                step.attempt = None;
            }
        }
        if !self.store.hand_over(message, held.token, &steps, told, &to).await? {
            return Err(Failure::wait("it was settled already", Duration::from_secs(1)));
        }
        tracing::warn!(
            tenant = %message.tenant, message_id = %message.id, attempt = held.attempt,
            code = ending.code.as_deref(), to = %to.integration, "message handed over"
        );
        telemetry::count(Metric::MessageHandedOver, message.provider.as_str(), 1);
        let used = until(held.claimed_at, self.clock.now());
        if to.provider == self.provider.provider() && used > BRIEF {
            // The next receive finds where it went, and has the whole time for it.
            return Err(Failure::wait("handed over", Duration::from_secs(1)));
        }
        self.pass_on(held.task, to, delivery).await
    }

    /// The carrier, if the person may be written to over it now. Where a channel has a service
    /// window each account has its own.
    async fn reaching(
        &self,
        carrier: Option<Integration>,
        task: &SendTask,
    ) -> PortResult<Option<Integration>> {
        let Some(carrier) = carrier else { return Ok(None) };
        let message = &task.message;
        let bound = providers::is_windowed(carrier.provider, message.channel);
        if !bound || matches!(message.content, Content::Template { .. }) {
            return Ok(Some(carrier));
        }
        let Ok(counterpart) = providers::address(carrier.provider, &task.to) else {
            return Ok(None);
        };
        let (account, channel) = (carrier.line(), message.channel);
        let (tenant, counterpart) = (&message.tenant, counterpart.as_str());
        let parties = Parties { tenant, channel, account: &account, counterpart };
        let id = parties.conversation();
        if id == message.conversation {
            return Ok(Some(carrier));
        }
        let own = self.store.talk(tenant, id).await?;
        let now = self.clock.now();
        Ok(own.filter(|own| own.in_service_window(now)).map(|_| carrier))
    }

    /// Gives the message to who it was handed over to. Harmless to repeat.
    async fn pass_on(
        &self,
        task: &SendTask,
        to: HandedOver,
        delivery: Delivery<'_>,
    ) -> Result<(), Failure> {
        if to.provider == self.provider.provider() {
            // In its own queue it would come after what was written later.
            let task = task.clone().handed_over(to);
            return Box::pin(self.send(&task, delivery)).await;
        }
        let Some(queue) = self.outbound.of(to.provider) else {
            return Err(Failure::retry("the function was given no queue for the next carrier"));
        };
        queue.publish(vec![outbound::record(task.clone().handed_over(to))?]).await?;
        Ok(())
    }

    /// The sender for an integration, or how the message ends without one.
    async fn sender(&self, integration: Integration) -> PortResult<Result<Carrier, Ending>> {
        let credentials = self.vault.credentials(&integration, Freshness::Cached).await?;
        Ok(match self.provider.sender(&integration, &credentials) {
            Ok(sender) => Ok(Carrier { sender, integration, credentials }),
            Err(error) => Err(Ending::of(Status::Failed, &error)),
        })
    }

    /// Asks the provider. If it does not know the credentials, they may have been changed a
    /// moment ago: then once more with the new ones. A refusal sent nothing, so that is safe.
    async fn ask_with_fresh_credentials(
        &self,
        carrier: Carrier,
        task: &SendTask,
    ) -> Result<Accepted, SendError> {
        let asked = self.ask(carrier.sender.as_ref(), task).await;
        let Err(SendError::Refused { status: StatusCode::UNAUTHORIZED, .. }) = &asked else {
            return asked;
        };
        // As if changed just now: the directory's word on that may be minutes old.
        let changed =
            Integration { credentials_at: self.clock.now(), ..carrier.integration.clone() };
        let fresh = self.vault.credentials(&changed, Freshness::Fresh).await;
        match fresh {
            Ok(fresh) if !fresh.same_as(&carrier.credentials) => {
                let sender = self.provider.sender(&carrier.integration, &fresh)?;
                self.ask(sender.as_ref(), task).await
            }
            _ => asked,
        }
    }

    /// Asks the provider; once more at another address if the counterpart moved there.
    async fn ask(
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
            let response = self.caller.call(request).await;
            let response = response.map_err(|error| match address {
                Some(address) => SendError::Refused {
                    status: StatusCode::BAD_GATEWAY,
                    code: error.code().to_owned(),
                    remedy: format!("{error} from {address}"),
                    fault: error.fault(),
                    about: domain::sender::About::Account,
                },
                None => error,
            })?;
            match sender.moved_to(&response) {
                Some(address) if !moved => {
                    tracing::info!(message_id = %task.message.id, "the counterpart moved; sent there");
                    to = address;
                    moved = true;
                }
                _ => return sender.outcome(&outgoing, &response),
            }
        }
    }

    /// The claim and how it ended, as the history tells it.
    fn steps(&self, held: &Held<'_>, ending: &Ending) -> Vec<Step> {
        let attempt = Some(held.attempt);
        vec![
            Step { attempt, ..Step::plain(Status::Sending, held.claimed_at) },
            Step {
                status: ending.status,
                at: self.clock.now(),
                attempt,
                code: ending.code.clone(),
                detail: ending.detail.clone(),
            },
        ]
    }

    async fn settle(&self, held: &Held<'_>, ending: Ending) -> Result<(), Failure> {
        let message = &held.task.message;
        let ending = match (ending.status, held.task.relay.maybe_taken_at) {
            // What may have been taken cannot have failed.
            (Status::Failed | Status::Expired, Some(_)) => {
                Ending { status: Status::Unknown, ..ending }
            }
            _ => ending,
        };
        let steps = self.steps(held, &ending);
        let theirs = ending.provider_message_id.as_deref();
        let settled = self.store.settle(message, held.token, &steps, theirs).await?;
        tracing::info!(
            tenant = %message.tenant, message_id = %message.id, attempt = held.attempt,
            status = ending.status.as_str(), code = ending.code.as_deref(), "message settled"
        );
        let provider = message.provider.as_str();
        telemetry::count(
            match ending.status {
                Status::Accepted => Metric::MessageAccepted,
                Status::Unknown => Metric::MessageUnknown,
                _ => Metric::MessageFailed,
            },
            provider,
            1,
        );
        match settled {
            Some(message) => self.tell(message).await,
            // It was settled already, perhaps by this very call, whose answer was lost: the
            // next receive finds how it stands, and tells.
            None => Err(Failure::wait("it was settled already", Duration::from_secs(1))),
        }
    }

    /// Tells the tenant's automation of a message that did not leave. That one left is no
    /// news, and how far it came is told by its receipts.
    async fn tell(&self, message: Message) -> Result<(), Failure> {
        if !matches!(message.status, Status::Unknown | Status::Expired | Status::Failed) {
            return Ok(());
        }
        let automation = self.store.automation(&message.tenant).await?;
        let tenant = message.tenant.clone();
        let data = NoticeData { tenant, message, conversation: None, job: None };
        let told =
            crate::inbound::tell(&self.automation, &automation, NoticeKind::MessageStatus, data);
        Ok(told.await?)
    }

    async fn mark_read(&self, task: &MarkReadTask, delivery: Delivery<'_>) -> Result<(), Failure> {
        let Some(integration) = self.directory.integration(task.integration).await? else {
            return Ok(());
        };
        let Ok(Carrier { sender, .. }) = self.sender(integration).await? else { return Ok(()) };
        let Some(request) = sender.mark_read(&task.provider_message_id) else { return Ok(()) };
        let asked = async {
            let response = self.caller.call(request?).await?;
            sender.answer(&response)
        };
        let Err(error) = asked.await else { return Ok(()) };
        let reason = error.code().to_owned();
        tracing::warn!(tenant = %task.tenant, %reason, "message not marked as read");
        match error.fault() {
            Fault::Permanent => Ok(()),
            // A mark is not worth holding the conversation's messages back for long.
            _ if delivery.is_last() => Ok(()),
            fault => Err(Failure { fault, reason, wait: None }),
        }
    }
}

/// A sender's worker as it is deployed.
pub type OwnSender<N, C, R> = Sender<
    'static,
    DynamoStore,
    CachedDirectory<DynamoStore, C>,
    SecretsVault<C>,
    SqsQueue,
    Outbound<SqsQueue>,
    <N as Network>::Caller,
    C,
    R,
>;

/// The consumer with its production dependencies.
pub type OwnConsumer<N, C, R> = Consumer<OwnSender<N, C, R>, C, R>;

/// The sender of a provider.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<N: Network, C: Clock + Clone, R: Dice + Clone>(
    kit: &Kit<N, C, R>,
    provider: &'static dyn SenderProvider,
) -> Result<OwnConsumer<N, C, R>, Error> {
    let store = kit.store()?;
    let worker = Sender {
        provider,
        directory: CachedDirectory::new(store.clone(), kit.clock.clone()),
        vault: kit.vault()?,
        breakers: Breakers::new(store.clone(), kit.clock.clone()),
        automation: kit.queue("AUTOMATION_QUEUE_URL", Some(&kit.bucket()?))?,
        // What a sender hands over is small: none of it needs the bucket.
        outbound: Outbound::new(kit, None)?,
        hub_url: kit.environment.optional("PUBLIC_BASE_URL"),
        caller: kit.network.caller(),
        clock: kit.clock.clone(),
        dice: kit.dice.clone(),
        store,
    };
    // A message may take 10 s; the function has 20.
    crate::consumer(kit, worker, 8, true)
}

/// Runs a sender until Lambda ends it.
///
/// # Errors
/// If an environment variable is missing.
pub fn run(provider: &'static dyn SenderProvider) -> Result<(), Error> {
    crate::start(async move |kit| {
        let consumer = consumer(&kit, provider)?;
        consumer.worker.store.prewarm().await;
        crate::consume(consumer).await
    })
}
