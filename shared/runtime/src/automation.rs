//! Consumer that sends notifications to webhook endpoints: signed, with stable ids for
//! deduplication, and retried for three days.

use std::time::Duration;

use bytes::Bytes;
use domain::automation::{Answer, Notice, Push, next_attempt, read_answer};
use domain::failpoint::{self, Failpoint};
use domain::job::{DeliveryJob, VERSION};
use domain::ports::{
    Automations, Clock, Deliveries, DeliveryClaim, DeliveryOutcome, Dice, PortResult, Publisher,
    Record, Vault,
};
use domain::{DeliveryId, TenantId};
use http::Request;
use jiff::Timestamp;
use queue::SqsQueue;
use store::DynamoStore;

use crate::batch::{Delivery, Failure, Worker};
use crate::telemetry::{self, Metric};
use crate::transport::{Messenger, OutsideError};
use crate::vault::SecretsVault;
use crate::{Consumer, Error, Kit, Network};

/// Lease of a delivery attempt: longer than the function may run, and shorter than the queue's
/// visibility timeout, so that after a crash the next receive need not wait for the lease.
const LEASE: Duration = Duration::from_secs(30);
/// Maximum delay of an SQS record; later retries are scheduled in the table.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-delay-queues.html>
const MAX_QUEUE_DELAY: Duration = Duration::from_mins(15);
/// Tolerance for a delayed record that arrives early.
const SLACK: Duration = Duration::from_secs(1);

/// Consumer worker and its dependencies.
#[derive(Debug)]
pub struct Teller<S, V, P, M, C, R> {
    /// DynamoDB table.
    pub store: S,
    /// Store of signing secrets.
    pub vault: V,
    /// The consumer's own queue, for retries within 15 minutes.
    pub queue: P,
    /// Webhook client.
    pub messenger: M,
    /// Clock.
    pub clock: C,
    /// Random number generator, for jitter.
    pub dice: R,
}

/// A completed delivery attempt.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// Attempt number, from 1.
    number: u32,
    /// When the attempt started.
    started: Timestamp,
    /// Meaning of the response.
    answer: Answer,
    /// HTTP status of the response, if there was one.
    status: Option<u16>,
}

impl<S, V, P, M, C, R> Worker for Teller<S, V, P, M, C, R>
where
    S: Deliveries + Automations,
    V: Vault,
    P: Publisher,
    M: Messenger,
    C: Clock,
    R: Dice,
{
    type Job = DeliveryJob;

    async fn work(&self, job: &DeliveryJob, _context: Delivery<'_>) -> Result<(), Failure> {
        let (tenant, id) = (&job.tenant, job.id);
        let automation = self.store.automation(tenant).await?;
        // The tenant may have removed the webhook.
        let Some(push) = automation.listener() else { return Ok(()) };
        let now = self.clock.now();
        let claim = self.store.claim(tenant, id, job.notice.as_deref(), now, LEASE).await?;
        let (attempt, notice) = match claim {
            DeliveryClaim::Granted { attempt, notice } => (attempt, notice),
            DeliveryClaim::Settled => return Ok(()),
            DeliveryClaim::Held { until } => {
                let wait = until.duration_since(now).unsigned_abs() + Duration::from_secs(1);
                return Err(Failure::wait("another attempt is in progress", wait));
            }
            DeliveryClaim::Early { until } => return self.defer(tenant, id, now, until).await,
        };
        let started = self.clock.now();
        let (answer, status) = self.attempt(tenant, id, push, &notice).await?;
        tracing::info!(%tenant, notice = %id, attempt, status, "notification attempted");
        let completed = Attempt { number: attempt, started, answer, status };
        self.settle(tenant, id, &notice, completed).await?;
        Ok(())
    }
}

impl<S, V, P, M, C, R> Teller<S, V, P, M, C, R>
where
    S: Deliveries + Automations,
    V: Vault,
    P: Publisher,
    M: Messenger,
    C: Clock,
    R: Dice,
{
    /// Defers a record that arrives before its attempt is due: a duplicate record, or one that the
    /// queue, which counts in whole seconds, delivered early.
    async fn defer(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), Failure> {
        let wait = until.duration_since(now).unsigned_abs();
        if wait <= SLACK {
            return Err(Failure::wait("the next attempt is not yet due", wait));
        }
        // The consumer that set the time may have crashed before it scheduled the retry.
        // Scheduling is idempotent, so duplicates do not add entries.
        Ok(self.store.schedule(tenant, id, until).await?)
    }

    /// Sends one request; returns the meaning of the response and its HTTP status.
    async fn attempt(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        push: &Push,
        notice: &Notice,
    ) -> Result<(Answer, Option<u16>), Failure> {
        let secrets = self.vault.signing_secrets(tenant, push.secret_at).await?;
        let body = serde_json::to_vec(notice)
            .map_err(|_| Failure::retry("the notification cannot be written as JSON"))?;
        let id = id.to_string();
        let now = self.clock.now();
        let signature = providers::standard_webhooks::sign(&secrets, &id, now, &body);
        let signature = signature
            .map_err(|_| Failure::retry("no usable signing secret: set the automation again"))?;
        // Normalize the URL: the host may be an internationalized domain name.
        let url = url::Url::parse(&push.url).map_or_else(|_| push.url.clone(), Into::into);
        let request = Request::post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", now.as_second())
            .header("webhook-signature", signature)
            .body(Bytes::from(body));
        let Ok(request) = request else { return Ok((Answer::Gone, None)) };
        match self.messenger.tell(request, push.allow_private_network).await {
            Ok(response) => {
                let status = response.status().as_u16();
                let retry_after = retry_after(response.headers(), self.clock.now());
                Ok((read_answer(status, retry_after), Some(status)))
            }
            Err(error @ (OutsideError::Private | OutsideError::Address)) => {
                tracing::error!(%tenant, notice = %id, %error, "webhook not called");
                Ok((Answer::Later(None), None))
            }
            Err(OutsideError::NoAnswer) => Ok((Answer::Later(None), None)),
        }
    }

    async fn settle(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        notice: &Notice,
        completed: Attempt,
    ) -> PortResult<()> {
        let Attempt { number: attempt, started, answer, status } = completed;
        let now = self.clock.now();
        let settle =
            async |outcome| self.store.settle(tenant, id, outcome, notice, status, now).await;
        match answer {
            Answer::Taken => {
                telemetry::count(Metric::NoticeDelivered, "automation", 1);
                settle(DeliveryOutcome::Delivered).await
            }
            Answer::Gone => {
                tracing::error!(%tenant, notice = %id, "webhook returned 410 Gone and is disabled");
                telemetry::count(Metric::NoticeGivenUp, "automation", 1);
                self.store.disable(tenant, now).await?;
                settle(DeliveryOutcome::GivenUp).await
            }
            Answer::Later(retry_after) => {
                let took = now.duration_since(started).unsigned_abs();
                let jitter = self.dice.fraction();
                let Some(wait) = next_attempt(attempt, took, jitter, retry_after) else {
                    tracing::error!(%tenant, notice = %id, attempt, "notification abandoned after the last attempt");
                    telemetry::count(Metric::NoticeGivenUp, "automation", 1);
                    return settle(DeliveryOutcome::GivenUp).await;
                };
                settle(DeliveryOutcome::RetryAt(now + wait)).await?;
                // After a crash here, SQS delivers this record again, which causes another attempt.
                if wait > MAX_QUEUE_DELAY {
                    return self.store.schedule(tenant, id, now + wait).await;
                }
                if failpoint::is_active(Failpoint::RetryForgotten) {
                    return Ok(());
                }
                self.queue.publish(vec![retry(tenant, id, Some(wait))?]).await
            }
        }
    }
}

/// Returns the wait that the endpoint requests, in seconds or as a date.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>
fn retry_after(headers: &http::HeaderMap, now: jiff::Timestamp) -> Option<Duration> {
    providers::http::retry_after(headers).or_else(|| {
        let date = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
        let date = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
        Duration::try_from(date.duration_since(now)).ok()
    })
}

/// Returns the queue record that retries a notification, whose content is in the table.
pub(crate) fn retry(
    tenant: &TenantId,
    id: DeliveryId,
    delay: Option<Duration>,
) -> PortResult<Record> {
    let job = DeliveryJob { v: VERSION, id, tenant: tenant.clone(), notice: None };
    let body = serde_json::to_string(&job).map_err(|_| crate::unwritable())?;
    let deduplication_id = id.to_string();
    Ok(Record { body, group: tenant.to_string(), deduplication_id, delay, reason: None })
}

/// The worker with its production dependencies.
pub type OwnTeller<N, C, R> =
    Teller<DynamoStore, SecretsVault<C>, SqsQueue, <N as Network>::Messenger, C, R>;

/// The consumer with its production dependencies.
pub type OwnConsumer<N, C, R> = Consumer<OwnTeller<N, C, R>, C, R>;

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<N: Network, C: Clock + Clone, R: Dice + Clone>(
    kit: &Kit<N, C, R>,
) -> Result<OwnConsumer<N, C, R>, Error> {
    let worker = Teller {
        store: kit.store()?,
        vault: kit.vault()?,
        // A retry record is small: the notification is in the table.
        queue: kit.queue("QUEUE_URL", None)?,
        messenger: kit.network.messenger()?,
        clock: kit.clock.clone(),
        dice: kit.dice.clone(),
    };
    // Attempts are counted in the table; most receives only wait.
    crate::consumer(kit, worker, 8, true)
}

/// Serves the consumer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let consumer = consumer(&kit)?;
        consumer.worker.store.prewarm().await;
        crate::consume(consumer).await
    })
}
