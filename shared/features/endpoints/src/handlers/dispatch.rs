//! Consumer that sends notifications to webhook endpoints: signed, with stable ids for
//! deduplication, and retried for three days.

use std::time::Duration;

use accounts::model::automation::Push;
use accounts::ports::DisableEndpoint;
use accounts::recent_automations::RecentAutomations;
use bytes::Bytes;
use domain::failpoint::{self, Failpoint};
use domain::notification::Notification;
use domain::ports::{Clock, CredentialReader, PortResult, Publisher, Record, Rng};
use domain::task::{NotificationTask, VERSION};
use domain::trace::{self, TRACEPARENT};
use domain::{NotificationId, TenantId};
use http::Request;
use jiff::Timestamp;
use runtime::batch::{Failure, ReceiveContext, Worker};
use runtime::telemetry::{self, Metric};
use runtime::transport::{GuardedHttpError, WebhookClient};
use runtime::{AwsEnv, Consumer, Env, Error, FeatureRepository, Kit, Network};

use crate::Repository;
use crate::model::{WebhookResponse, classify_response, next_attempt};
use crate::ports::{NotificationClaim, NotificationOutcome, Notifications};

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
pub struct WebhookDispatcher<E: Env> {
    /// Notifications.
    pub store: Repository,
    /// Webhook endpoints of the tenants, to disable them.
    pub accounts: accounts::Repository,
    /// Automations of the tenants.
    pub automations: RecentAutomations<accounts::Repository, E::Clock>,
    /// Store of signing secrets.
    pub credential_store: E::Credentials,
    /// The consumer's own queue, for retries within 15 minutes.
    pub queue: E::Queue,
    /// Webhook client.
    pub client: E::WebhookClient,
    /// Clock.
    pub clock: E::Clock,
    /// Random number generator, for jitter.
    pub rng: E::Rng,
}

/// A completed delivery attempt.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// Attempt number, from 1.
    number: u32,
    /// When the attempt started.
    started: Timestamp,
    /// Meaning of the response.
    answer: WebhookResponse,
    /// HTTP status of the response, if there was one.
    status: Option<u16>,
}

impl<E: Env> Worker for WebhookDispatcher<E> {
    type Task = NotificationTask;

    async fn work(
        &self,
        task: &NotificationTask,
        _context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        let (tenant, id) = (&task.tenant, task.id);
        let automation = self.automations.automation(tenant).await?;
        // The tenant may have removed the webhook.
        let Some(push) = automation.enabled_webhook() else { return Ok(()) };
        let now = self.clock.now();
        let claim = self.store.claim(tenant, id, task.notification.as_deref(), now, LEASE).await?;
        let (attempt, notification) = match claim {
            NotificationClaim::Granted { attempt, notification } => (attempt, notification),
            NotificationClaim::Settled => return Ok(()),
            NotificationClaim::Held { until } => {
                let wait = until.duration_since(now).unsigned_abs() + Duration::from_secs(1);
                return Err(Failure::wait("another attempt is in progress", wait));
            }
            NotificationClaim::Early { until } => return self.defer(tenant, id, now, until).await,
        };
        let started = self.clock.now();
        let (answer, status) = self.attempt(tenant, id, push, &notification).await?;
        tracing::info!(%tenant, notification = %id, attempt, status, "notification attempted");
        let completed = Attempt { number: attempt, started, answer, status };
        self.settle(tenant, id, push, &notification, completed).await?;
        Ok(())
    }
}

impl<E: Env> WebhookDispatcher<E> {
    /// Defers a record that arrives before its attempt is due: a duplicate record, or one that the
    /// queue, which counts in whole seconds, delivered early.
    async fn defer(
        &self,
        tenant: &TenantId,
        id: NotificationId,
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
        id: NotificationId,
        push: &Push,
        notification: &Notification,
    ) -> Result<(WebhookResponse, Option<u16>), Failure> {
        let secrets = self.credential_store.signing_secrets(tenant, push.secret_at).await?;
        let body = serde_json::to_vec(notification)
            .map_err(|_| Failure::retry("the notification cannot be written as JSON"))?;
        let id = id.to_string();
        let now = self.clock.now();
        let signature = providers::standard_webhooks::sign(&secrets, &id, now, &body);
        let signature = signature
            .map_err(|_| Failure::retry("no usable signing secret: set the automation again"))?;
        // Normalize the URL: the host may be an internationalized domain name.
        let url = url::Url::parse(&push.url).map_or_else(|_| push.url.clone(), Into::into);
        let mut request = Request::post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", now.as_second())
            .header("webhook-signature", signature);
        if let Some(context) = trace::current() {
            request = request.header(TRACEPARENT, context.to_string());
        }
        let request = request.body(Bytes::from(body));
        let Ok(request) = request else { return Ok((WebhookResponse::Gone, None)) };
        match self.client.notify(request, push.allow_private_network).await {
            Ok(response) => {
                let status = response.status().as_u16();
                let retry_after = retry_after(response.headers(), self.clock.now());
                Ok((classify_response(status, retry_after), Some(status)))
            }
            Err(
                error @ (GuardedHttpError::Private
                | GuardedHttpError::Address
                | GuardedHttpError::Insecure),
            ) => {
                tracing::error!(%tenant, notification = %id, %error, "webhook not called");
                Ok((WebhookResponse::Retry(None), None))
            }
            Err(GuardedHttpError::NoAnswer) => Ok((WebhookResponse::Retry(None), None)),
        }
    }

    async fn settle(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        push: &Push,
        notification: &Notification,
        completed: Attempt,
    ) -> PortResult<()> {
        let Attempt { number: attempt, started, mut answer, status } = completed;
        let now = self.clock.now();
        if answer == WebhookResponse::Gone {
            if !self.accounts.disable(tenant, push, now).await? {
                // The tenant has set another endpoint meanwhile: send the notification there.
                answer = WebhookResponse::Retry(None);
            }
            self.automations.forget(tenant);
        }
        let settle =
            async |outcome| self.store.settle(tenant, id, outcome, notification, status, now).await;
        match answer {
            WebhookResponse::Accepted => {
                telemetry::count(Metric::NoticeDelivered, "automation", 1);
                settle(NotificationOutcome::Delivered).await
            }
            WebhookResponse::Gone => {
                tracing::error!(%tenant, notification = %id, "webhook returned 410 Gone and is disabled");
                telemetry::count(Metric::NoticeGivenUp, "automation", 1);
                settle(NotificationOutcome::GivenUp).await
            }
            WebhookResponse::Retry(retry_after) => {
                let took = now.duration_since(started).unsigned_abs();
                let jitter = self.rng.fraction();
                let Some(wait) = next_attempt(attempt, took, jitter, retry_after) else {
                    tracing::error!(%tenant, notification = %id, attempt, "notification abandoned after the last attempt");
                    telemetry::count(Metric::NoticeGivenUp, "automation", 1);
                    return settle(NotificationOutcome::GivenUp).await;
                };
                settle(NotificationOutcome::RetryAt(now + wait)).await?;
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
    id: NotificationId,
    delay: Option<Duration>,
) -> PortResult<Record> {
    let task = NotificationTask { v: VERSION, id, tenant: tenant.clone(), notification: None };
    let body = serde_json::to_string(&task).map_err(|_| runtime::unwritable())?;
    let deduplication_id = id.to_string();
    let group = tenant.to_string();
    Ok(Record { body, group, deduplication_id, delay, ..Record::default() })
}

/// Builds the consumer from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn consumer<E: AwsEnv>(kit: &Kit<E>) -> Result<Consumer<WebhookDispatcher<E>, E>, Error> {
    let worker = WebhookDispatcher {
        store: kit.repository()?,
        accounts: kit.repository()?,
        automations: RecentAutomations::new(kit.repository()?, kit.clock.clone()),
        credential_store: kit.credential_store()?,
        // A retry record is small: the notification is in the table.
        queue: kit.queue("QUEUE_URL", None)?,
        client: kit.network.webhook_client(kit.skip_tenant_checks())?,
        clock: kit.clock.clone(),
        rng: kit.rng.clone(),
    };
    // Attempts are counted in the table; most receives only wait.
    runtime::consumer(kit, worker, 8, true)
}

/// Serves the consumer until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::consume(consumer, async |worker| worker.store.prewarm().await)
}
