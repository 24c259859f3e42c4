//! Webhook handler: verifies a request, parses it, finds the tenant, queues the events, responds.

use std::collections::HashMap;
use std::pin::pin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::event::{EventKind, InboundEvent, ParsedEvent};
use domain::failpoint::{self, Failpoint};
use domain::integration::Integration;
use domain::ports::{
    AccountOwner, Clock, CredentialReader, Directory, Freshness, PortError, PortResult, Publisher,
    Record,
};
use domain::task::Parked;
use domain::webhook::{
    MAX_BODY_BYTES, ParsedWebhook, Rejection, WebhookProvider, WebhookReply, WebhookRequest,
    receive,
};
use domain::{Fault, IntegrationId, Provider, trace};
use http::{Method, Response, StatusCode};
use jiff::Timestamp;
use lambda_http::{Body, Request};

use crate::api::problem::Problem;
use crate::certificates::CertificateClient;
use crate::digest::sha256;
use crate::telemetry::{self, Metric};
use crate::{AwsEnv, CachedDirectory, Env, Error, FeatureRepository, Kit, Network};

/// Time after which a handler responds 503. The function's timeout is 10 s.
const WEBHOOK_DEADLINE: std::time::Duration = std::time::Duration::from_secs(9);

/// Time limit of the preparation at init.
const PREPARE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// Webhook handler and its dependencies. `D` reads integrations.
#[derive(Debug)]
pub struct WebhookHandler<D, E: Env> {
    /// Directory of integrations and account holders.
    pub directory: CachedDirectory<D, E::Clock>,
    /// Credential store.
    pub credential_store: E::Credentials,
    /// Queue of inbound messages (ordered), if the provider has a message channel.
    pub inbound: Option<E::Queue>,
    /// Queue of receipts (not ordered), if the provider has a message channel.
    pub receipts: Option<E::Queue>,
    /// Queue of all other events (ordered).
    pub events: E::Queue,
    /// Queue of verified webhooks that could not be parsed or match no account.
    pub parked: E::Queue,
    /// Fetches the certificates that verify a request.
    pub certificates: CertificateClient<E::HttpClient>,
    /// Clock.
    pub clock: E::Clock,
    /// Public base URL of the hub; `None` if it is the host of the request.
    pub base_url: Option<String>,
}

/// Handles one request.
///
/// | Outcome | Response | Reason |
/// | --- | --- | --- |
/// | queued, or nothing to do | success, as the provider expects it | |
/// | handshake | the requested response | |
/// | not verified | 401; 403 for a handshake | |
/// | larger than [`MAX_BODY_BYTES`] or the provider's limit | 413, with the reason | it is not parsed |
/// | verified, invalid, from a tenant's workflow | 400, with the reason | the tenant can fix it |
/// | verified, for another tenant's account | 403 | no provider sends this |
/// | verified, not parsable or for an unknown account | success | parked; retries are pointless |
/// | failure of the hub | 503 | the provider retries |
pub async fn handle<D: Directory, E: Env>(
    handler: &WebhookHandler<D, E>,
    provider: &dyn WebhookProvider,
    request: WebhookRequest,
) -> WebhookReply {
    let name = provider.provider();
    let now = handler.clock.now();
    let outcome = if request.body.len() > MAX_BODY_BYTES {
        let rejection = Rejection::TooLarge("the hub accepts bodies of at most 4.4 MB");
        Err(Refusal::Rejected { rejection, integration: None })
    } else {
        accept(handler, provider, now, request).await
    };
    match outcome {
        Ok(Acceptance::Answered(reply)) => reply,
        Ok(Acceptance::Queued { events, parked, reply }) => {
            tracing::info!(provider = %name, events, parked, "webhook accepted");
            telemetry::count(Metric::WebhookAccepted, name.as_str(), 1);
            if parked {
                telemetry::count(Metric::WebhookParked, name.as_str(), 1);
            }
            reply
        }
        Err(Refusal::Rejected { rejection, integration }) => {
            let named = integration.map(tracing::field::display);
            tracing::warn!(
                provider = %name, integration = named, reason = %rejection, "webhook rejected"
            );
            telemetry::count(Metric::WebhookRejected, name.as_str(), 1);
            if raises_alarm(&rejection, integration) {
                telemetry::count(Metric::VerificationFailed, "webhooks", 1);
            }
            refused(&problem(rejection))
        }
        Err(Refusal::Foreign { integration }) => {
            tracing::error!(provider = %name, %integration, "webhook names another tenant's account");
            telemetry::count(Metric::AccountMismatch, "webhooks", 1);
            let detail = "the request names an account that its sender does not hold".to_owned();
            let (status, title) = (StatusCode::FORBIDDEN, "The account is another one");
            refused(&Problem::new(status, "account_mismatch", title, detail))
        }
        Err(Refusal::Failed(error)) => {
            tracing::error!(provider = %name, %error, "webhook not accepted; the provider will retry");
            refused(&unavailable())
        }
    }
}

/// Returns whether a rejected request may mean that a provider's webhooks get lost: one to the URL of
/// an integration, in whose secret the provider and the hub may differ.
const fn raises_alarm(rejection: &Rejection, integration: Option<IntegrationId>) -> bool {
    integration.is_some()
        && matches!(rejection, Rejection::Unauthenticated(_) | Rejection::Forbidden(_))
}

/// Returns the problem document of a refusal: the format of all errors of the hub.
fn refused(problem: &Problem) -> WebhookReply {
    let body = problem.body().unwrap_or_default();
    WebhookReply { status: problem.status, body, content_type: "application/problem+json" }
}

/// Explains why a request was rejected. Which check of an authentication failed is in the log only,
/// because the response would help an attacker.
fn problem(rejection: Rejection) -> Problem {
    match rejection {
        Rejection::Forbidden(_) => {
            let detail = "the verify token is not the integration's: check it at the provider";
            let title = "The handshake was refused";
            Problem::new(StatusCode::FORBIDDEN, "wrong_verify_token", title, detail.to_owned())
        }
        Rejection::TooLarge(_) => Problem::too_large(),
        Rejection::Invalid(reason) => {
            let title = "The request is not valid";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_request", title, reason)
        }
        Rejection::Unauthenticated(_) | Rejection::Unreadable(_) => {
            let detail = "check the URL, the secret and the signature of the request";
            let title = "The sender could not be verified";
            Problem::new(StatusCode::UNAUTHORIZED, "not_verified", title, detail.to_owned())
        }
    }
}

fn unavailable() -> Problem {
    let detail = "the request was not accepted: send it again".to_owned();
    let (status, title) = (StatusCode::SERVICE_UNAVAILABLE, "The hub is temporarily unavailable");
    Problem::new(status, "unavailable", title, detail)
}

enum Acceptance {
    Answered(WebhookReply),
    Queued { events: usize, parked: bool, reply: WebhookReply },
}

enum Refusal {
    Rejected {
        rejection: Rejection,
        /// The integration in the URL, if there is one. It is not who sent the request.
        integration: Option<IntegrationId>,
    },
    Foreign {
        integration: IntegrationId,
    },
    Failed(PortError),
}

impl From<PortError> for Refusal {
    fn from(error: PortError) -> Self {
        Self::Failed(error)
    }
}

async fn accept<D: Directory, E: Env>(
    handler: &WebhookHandler<D, E>,
    provider: &dyn WebhookProvider,
    now: Timestamp,
    mut request: WebhookRequest,
) -> Result<Acceptance, Refusal> {
    let name = provider.provider();
    let integration = find(&handler.directory, name, request.path_suffix.as_deref()).await?;
    let Some(integration) = integration else {
        let rejection = Rejection::Unauthenticated("no such integration");
        return Err(Refusal::Rejected { rejection, integration: None });
    };
    let events = match verify(handler, provider, &integration, now, &mut request).await? {
        Ok(ParsedWebhook::Handshake(reply)) => return Ok(Acceptance::Answered(reply)),
        Ok(ParsedWebhook::Confirm(address)) => {
            handler.certificates.confirm(&address).await?;
            tracing::info!(provider = %name, integration = %integration.id, "webhook confirmed");
            return Ok(Acceptance::Answered(provider.accepted_by(&integration)));
        }
        Ok(ParsedWebhook::Events(events)) => events,
        Err(Rejection::Unreadable(reason)) => {
            let record = park(provider, &request, &integration, now, reason);
            handler.parked.publish(record).await?;
            let reply = provider.accepted_by(&integration);
            return Ok(Acceptance::Queued { events: 0, parked: true, reply });
        }
        Err(rejection) => {
            return Err(Refusal::Rejected { rejection, integration: Some(integration.id) });
        }
    };
    let holders = holders(&handler.directory, &integration, &events).await?;
    let (mut inbound, mut receipts, mut other_events) = (Vec::new(), Vec::new(), Vec::new());
    let mut has_unknown_account = false;
    let mut queued_events = 0;
    for (event, position) in events.into_iter().zip(0..) {
        let Some(Some(holder)) = holders.get(&event.account) else {
            has_unknown_account = true;
            continue;
        };
        queued_events += 1;
        // The conversations of an integration without an account belong to its own id.
        let is_own = holder.integration == integration.id && integration.account.is_none();
        let conversation_account = is_own.then(|| integration.conversation_account());
        let (tenant, integration) = (holder.tenant.clone(), holder.integration);
        let event = event.into_inbound_event(name, tenant, integration, now, position);
        let event = InboundEvent { conversation_account, ..event };
        let record = queued(&event)?;
        let (queue, group) = match &event.kind {
            EventKind::Message(message) => match event.parties(message) {
                Some(parties) => (&mut inbound, parties.conversation().to_string()),
                None => (&mut other_events, record.group),
            },
            EventKind::Receipt(_) if !name.channels().is_empty() => {
                (&mut receipts, event.tenant.to_string())
            }
            EventKind::Receipt(_) | EventKind::Other { .. } => (&mut other_events, record.group),
        };
        queue.push(Record { group, ..record });
    }
    let parked = if has_unknown_account {
        park(provider, &request, &integration, now, "no tenant holds the account".to_owned())
    } else {
        Vec::new()
    };
    let (inbound, receipts, other_events, parked) = futures::join!(
        publish(handler.inbound.as_ref(), inbound),
        publish(handler.receipts.as_ref(), receipts),
        publish(Some(&handler.events), other_events),
        publish(Some(&handler.parked), parked),
    );
    let queued = inbound.and(receipts).and(other_events).and(parked);
    if !failpoint::is_active(Failpoint::AnsweredBeforeQueued) {
        queued?;
    }
    let reply = provider.accepted_by(&integration);
    Ok(Acceptance::Queued { events: queued_events, parked: has_unknown_account, reply })
}

async fn publish<P: Publisher>(queue: Option<&P>, records: Vec<Record>) -> PortResult<()> {
    match queue {
        _ if records.is_empty() => Ok(()),
        // On the heap: four of these futures are joined, and usually only one has work.
        Some(queue) => Box::pin(queue.publish(records)).await,
        None => Err(PortError {
            operation: "queue an event",
            reason: "the function has no queue for it".to_owned(),
            fault: Fault::Retryable,
        }),
    }
}

/// Returns the integration in the URL: by its id, by the secret in the path or, without either,
/// the operator's.
async fn find<D: Directory>(
    directory: &D,
    provider: Provider,
    suffix: Option<&str>,
) -> PortResult<Option<Integration>> {
    let id = match suffix {
        None => return directory.platform(provider).await,
        Some(suffix) => match suffix.parse::<IntegrationId>() {
            Ok(id) => Some(id),
            Err(_) => directory.by_path_secret(provider, &sha256(suffix)).await?,
        },
    };
    let Some(id) = id else { return Ok(None) };
    let integration = directory.integration(id).await?;
    Ok(integration.filter(|integration| integration.provider == provider))
}

/// Verifies and parses a request. If verification fails, tries once more with freshly read
/// credentials, because they may just have been rotated.
async fn verify<D: Directory, E: Env>(
    handler: &WebhookHandler<D, E>,
    provider: &dyn WebhookProvider,
    integration: &Integration,
    now: Timestamp,
    request: &mut WebhookRequest,
) -> PortResult<Result<ParsedWebhook, Rejection>> {
    // The response to a handshake depends on a secret, and a wrong one can disable the webhook.
    let mut freshness =
        if request.method == Method::GET { Freshness::Fresh } else { Freshness::Cached };
    loop {
        let credentials = handler.credential_store.credentials(integration, freshness).await?;
        let source = provider.source(integration, &credentials);
        match source.signing_certificate_url(request) {
            Ok(None) => {}
            Ok(Some(address)) => {
                request.signing_certificate =
                    Some(handler.certificates.fetch(&address, now).await?);
            }
            Err(rejection) => return Ok(Err(rejection)),
        }
        let parsed = receive(source.as_ref(), request, now);
        let refused =
            matches!(parsed, Err(Rejection::Unauthenticated(_) | Rejection::Forbidden(_)));
        if !refused || freshness == Freshness::Fresh {
            return Ok(parsed);
        }
        freshness = Freshness::Fresh;
    }
}

/// Returns the holder of each account that the events name; `None` if an account has none.
async fn holders<D: Directory>(
    directory: &D,
    integration: &Integration,
    events: &[ParsedEvent],
) -> Result<HashMap<String, Option<AccountOwner>>, Refusal> {
    let own = AccountOwner { tenant: integration.tenant.clone(), integration: integration.id };
    let mut holders = HashMap::new();
    for event in events {
        if holders.contains_key(&event.account) {
            continue;
        }
        let is_own = match &integration.account {
            Some(account) => *account == event.account,
            // Events signed with a tenant's own secret belong to that tenant, for any account.
            None => !integration.tenant.is_platform(),
        };
        // An event without an account is about the app itself.
        let holder = if is_own || event.account.is_empty() {
            Some(own.clone())
        } else {
            directory.account(integration.provider, &event.account).await?
        };
        // The operator's app may send events for every tenant, a tenant's app only for its own.
        if let Some(holder) = &holder
            && !integration.tenant.is_platform()
            && holder.tenant != integration.tenant
            && !failpoint::is_active(Failpoint::TenantNotChecked)
        {
            return Err(Refusal::Foreign { integration: integration.id });
        }
        holders.insert(event.account.clone(), holder);
    }
    Ok(holders)
}

fn park(
    webhook: &dyn WebhookProvider,
    request: &WebhookRequest,
    integration: &Integration,
    now: Timestamp,
    reason: String,
) -> Vec<Record> {
    let provider = webhook.provider();
    tracing::error!(%provider, integration = %integration.id, %reason, "webhook parked");
    let parked = Parked {
        v: domain::task::VERSION,
        provider,
        integration: Some(integration.id),
        tenant: Some(integration.tenant.clone()),
        reason,
        received_at: now,
        body: STANDARD.encode(webhook.keepable(&request.body)),
    };
    let body = serde_json::to_string(&parked).unwrap_or_default();
    let group = integration.tenant.to_string();
    vec![Record { deduplication_id: sha256(&body), body, group, ..Record::default() }]
}

/// Returns an event as a record of a queue.
///
/// # Errors
/// If the event cannot be written as JSON, which is a bug.
pub fn queued(event: &InboundEvent) -> PortResult<Record> {
    let body = serde_json::to_string(event).map_err(|_| crate::unwritable())?;
    let (group, deduplication_id) = (event.ordering_group(), event.deduplication_id());
    Ok(Record { body, group, deduplication_id, ..Record::default() })
}

/// Builds the handler from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn handler<D: Directory + FeatureRepository, E: AwsEnv>(
    kit: &Kit<E>,
    provider: Provider,
) -> Result<WebhookHandler<D, E>, Error> {
    let bucket = kit.bucket()?;
    let channel_queue = |name| {
        let has_channel = !provider.channels().is_empty();
        let queue = has_channel.then(|| kit.queue(name, Some(&bucket)));
        queue.transpose()
    };
    Ok(WebhookHandler {
        directory: CachedDirectory::new(kit.repository()?, kit.clock.clone()),
        credential_store: kit.credential_store()?,
        inbound: channel_queue("INBOUND_QUEUE_URL")?,
        receipts: channel_queue("RECEIPTS_QUEUE_URL")?,
        events: kit.queue("EVENTS_QUEUE_URL", Some(&bucket))?,
        parked: kit.queue("PARKED_QUEUE_URL", Some(&bucket))?,
        certificates: CertificateClient::new(kit.network.http_client()),
        clock: kit.clock.clone(),
        base_url: kit.environment.optional("PUBLIC_BASE_URL"),
    })
}

/// Handles one request from API Gateway within the deadline, as the first span of a trace.
pub async fn answer<D: Directory, E: Env>(
    handler: &WebhookHandler<D, E>,
    provider: &dyn WebhookProvider,
    request: Request,
) -> Response<Body> {
    // A provider does not choose the ids by which the logs are searched.
    let context = crate::span::of_request(&request, false);
    trace::scope(context, pin!(answer_in_time(handler, provider, request))).await
}

async fn answer_in_time<D: Directory, E: Env>(
    handler: &WebhookHandler<D, E>,
    provider: &dyn WebhookProvider,
    request: Request,
) -> Response<Body> {
    let request = crate::gateway::webhook_request(request, handler.base_url.as_deref());
    let received_at = handler.clock.now();
    let answer = handle(handler, provider, request);
    // End before the function's timeout, whose response would have no reason.
    let answer = tokio::time::timeout(WEBHOOK_DEADLINE, answer).await.unwrap_or_else(|_| {
        let provider = provider.provider();
        tracing::error!(%provider, "webhook deadline exceeded; the provider will retry");
        refused(&unavailable())
    });
    telemetry::time(Metric::WebhookTime, "webhooks", received_at, handler.clock.now());
    crate::gateway::webhook_reply(answer)
}

/// Fills caches and opens connections at init, where the function has a full vCPU, so that the
/// first request does not wait for them. Failures are ignored.
async fn prepare<D: Directory, E: AwsEnv>(handler: &WebhookHandler<D, E>, provider: Provider) {
    let credentials = async {
        if let Ok(Some(integration)) = handler.directory.platform(provider).await {
            let _cached =
                handler.credential_store.credentials(&integration, Freshness::Cached).await;
        }
    };
    futures::join!(credentials, handler.events.prewarm());
}

/// Serves a handler until Lambda stops the process. `D` reads integrations.
///
/// # Errors
/// If an environment variable is missing.
pub fn run<D: Directory + FeatureRepository>(
    provider: &'static dyn WebhookProvider,
) -> Result<(), Error> {
    crate::start(async move |kit| {
        let handler = handler::<D, _>(&kit, provider.provider())?;
        // Init fails after 10 s; the first request works without the preparation.
        let _late =
            tokio::time::timeout(PREPARE_TIMEOUT, prepare(&handler, provider.provider())).await;
        let handler = &handler;
        crate::gateway::serve(move |request| answer(handler, provider, request)).await
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_refusal_of_a_webhook_is_a_problem_document() {
        let rejections = [
            (Rejection::Unauthenticated("signature does not match"), 401, "not_verified"),
            (Rejection::Unreadable("line 1, column 2".to_owned()), 401, "not_verified"),
            (Rejection::Forbidden("wrong token"), 403, "wrong_verify_token"),
            (Rejection::TooLarge("too large"), 413, "too_large"),
            (Rejection::Invalid("text: is missing".to_owned()), 400, "invalid_request"),
        ];
        let refusals =
            rejections.map(|(rejection, status, code)| (problem(rejection), status, code));
        for (problem, status, code) in
            refusals.into_iter().chain([(unavailable(), 503, "unavailable")])
        {
            let reply = refused(&problem);
            assert_eq!(
                (reply.status.as_u16(), reply.content_type),
                (status, "application/problem+json")
            );
            let body: Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!((&body["status"], &body["code"]), (&status.into(), &code.into()));
            assert!(!body["detail"].as_str().unwrap().contains("signature does not match"));
        }
    }

    #[test]
    fn only_a_failed_verification_at_an_integration_that_exists_raises_an_alarm() {
        let integration = Some(IntegrationId::derived(&["1"]));
        for (rejection, expected) in [
            (Rejection::Unauthenticated("signature does not match"), true),
            (Rejection::Forbidden("wrong token"), true),
            (Rejection::TooLarge("too large"), false),
            (Rejection::Invalid("text: is missing".to_owned()), false),
        ] {
            assert_eq!(raises_alarm(&rejection, integration), expected, "{rejection}");
            assert!(!raises_alarm(&rejection, None), "anyone can invent a URL: {rejection}");
        }
    }

    #[test]
    fn the_refusal_of_a_workflow_names_what_to_correct() {
        let reply = refused(&problem(Rejection::Invalid("text: is missing".to_owned())));
        assert!(reply.body.contains("text: is missing"));
    }
}
