//! Sender: claims a message, sends it and settles it. The claim is durable before the request is
//! sent.

mod admission;
mod attempt;
mod claim;
mod failover;
mod mark_read;
mod outcome;
mod request;
mod settle;

use std::time::Duration;

use accounts::circuit::CircuitBreakers;
use accounts::model::circuit::Admission;
use domain::IntegrationId;
use domain::ports::{Clock, CredentialReader, Directory, Freshness, PortResult};
use domain::sender::SenderProvider;
use domain::task::{OutboundAction, OutboundTask, SendTask};
use jiff::Timestamp;
use runtime::batch::{Failure, ReceiveContext, Worker};
use runtime::{AwsEnv, CachedDirectory, Consumer, Env, Error, FeatureRepository, Kit, Network};

use self::outcome::{Handover, Outcome};
use self::request::IntegrationSender;
use crate::Repository;
use crate::outbound::Outbound;

/// Time that a message may have used for failover to be tried in the same invocation.
const INLINE_FAILOVER_BUDGET: Duration = Duration::from_secs(2);

/// Sender worker and its dependencies.
pub struct Sender<E: Env> {
    /// Provider of the sender.
    pub provider: &'static dyn SenderProvider,
    /// Send ledger.
    pub store: Repository,
    /// Automations of the tenants.
    pub accounts: accounts::Repository,
    /// Directory of integrations.
    pub directory: CachedDirectory<accounts::Repository, E::Clock>,
    /// Credential store.
    pub credential_store: E::Credentials,
    /// Circuit breakers of the integrations.
    pub circuit_breakers: CircuitBreakers<accounts::Repository, E::Clock>,
    /// Notification queue.
    pub automation: E::Queue,
    /// Outbound queues, for failover to another provider.
    pub outbound: Outbound<E::Queue>,
    /// HTTP client for requests to the provider.
    pub http_client: E::HttpClient,
    /// Public base URL of the hub, if configured.
    pub hub_url: Option<String>,
    /// Clock.
    pub clock: E::Clock,
    /// Random number generator, for jitter.
    pub rng: E::Rng,
}

impl<E: Env> Worker for Sender<E> {
    type Task = OutboundTask;

    async fn work(&self, task: &OutboundTask, context: ReceiveContext<'_>) -> Result<(), Failure> {
        match &task.action {
            OutboundAction::Send(task) => self.send(task, context).await,
            OutboundAction::MarkRead(task) => self.mark_read(task, context).await,
        }
    }
}

/// Returns the time from `now` until `at`.
fn time_until(now: Timestamp, at: Timestamp) -> Duration {
    at.duration_since(now).unsigned_abs()
}

impl<E: Env> Sender<E> {
    /// Takes a message through the ledger: load its integration, admit, claim, check whether it
    /// has expired, attempt, and settle or hand over.
    async fn send(&self, task: &SendTask, context: ReceiveContext<'_>) -> Result<(), Failure> {
        let now = self.clock.now();
        let in_time = now <= task.expires_at;
        if let Some(at) = task.failover.not_before.filter(|at| in_time && now < *at) {
            return Err(Failure::wait("all integrations were tried", time_until(now, at)));
        }
        let sender = self.load(task.message.integration).await?;
        let admission = match &sender {
            Ok(sender) if in_time => self.admit(sender, task, context).await?,
            _ => Admission::Pass,
        };
        let resend = sender.as_ref().map(IntegrationSender::resend).unwrap_or_default();
        let Some(held) = self.claim(task, resend, context).await? else { return Ok(()) };
        if let Some(outcome) = held.expired(resend) {
            return self.settle(&held, outcome).await;
        }
        match sender {
            Ok(sender) => self.attempt_if_admitted(&held, sender, admission, context).await,
            Err(outcome) => self.hand_over(&held, Handover::unusable(outcome), context).await,
        }
    }

    /// Returns the sender for an integration, or the outcome of the message without one.
    async fn load(
        &self,
        integration: IntegrationId,
    ) -> PortResult<Result<IntegrationSender, Outcome>> {
        let Some(integration) = self.directory.integration(integration).await? else {
            return Ok(Err(Outcome::failed(
                "integration_missing",
                "the integration was deleted before the message was sent: use another one",
            )));
        };
        let credentials =
            self.credential_store.credentials(&integration, Freshness::Cached).await?;
        Ok(match self.provider.sender(&integration, &credentials) {
            Ok(sender) => Ok(IntegrationSender { sender, integration, credentials }),
            Err(error) => Err(Outcome::refused(&error)),
        })
    }
}

/// Builds the consumer of a provider's sender from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<E: AwsEnv>(
    kit: &Kit<E>,
    provider: &'static dyn SenderProvider,
) -> Result<Consumer<Sender<E>, E>, Error> {
    let accounts: accounts::Repository = kit.repository()?;
    let worker = Sender {
        provider,
        directory: CachedDirectory::new(accounts.clone(), kit.clock.clone()),
        credential_store: kit.credential_store()?,
        circuit_breakers: CircuitBreakers::new(accounts.clone(), kit.clock.clone()),
        automation: kit.queue("AUTOMATION_QUEUE_URL", Some(&kit.bucket()?))?,
        outbound: Outbound::failover(kit, provider.provider())?,
        hub_url: kit.environment.optional("PUBLIC_BASE_URL"),
        http_client: kit.network.http_client(),
        clock: kit.clock.clone(),
        rng: kit.rng.clone(),
        store: kit.repository()?,
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
    let build = move |kit: &Kit| consumer(kit, provider);
    runtime::consume(build, async |worker| worker.store.prewarm().await)
}
