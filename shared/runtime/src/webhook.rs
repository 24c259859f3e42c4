//! A webhook's edge: verify, parse, find the tenant, queue, answer.

use std::collections::HashMap;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::event::{EventKind, InboundEvent, ParsedEvent};
use domain::failpoint::{self, Failpoint};
use domain::integration::Integration;
use domain::job::Parked;
use domain::ports::{
    Clock, Directory, Freshness, Holder, PortError, PortResult, Publisher, Record, Vault,
};
use domain::webhook::{
    Delivery, LARGEST_BODY, Rejection, WebhookProvider, WebhookReply, WebhookRequest, receive,
};
use domain::{Fault, IntegrationId, Provider};
use http::{Method, Response, StatusCode};
use jiff::Timestamp;
use lambda_http::{Body, Request};
use queue::SqsQueue;
use serde_json::json;
use store::DynamoStore;

use crate::directory::CachedDirectory;
use crate::evidence::Evidence;
use crate::sender::Caller;
use crate::telemetry::{self, Metric};
use crate::vault::SecretsVault;
use crate::{Error, Kit, Network, SystemClock};

/// How long an edge tries before it answers 503. Its function has 10 s.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(9);

/// How long it may prepare for its first request.
const PREPARATION: std::time::Duration = std::time::Duration::from_secs(2);

/// What an edge needs.
#[derive(Debug)]
pub struct Edge<D, V, P, F> {
    /// Finds the integration, and who holds an account.
    pub directory: D,
    /// Reads its secrets.
    pub vault: V,
    /// Takes what people wrote, in order, if the hub talks through the provider.
    pub inbound: Option<P>,
    /// Takes how far our messages have come, in no order, if the hub talks through it.
    pub receipts: Option<P>,
    /// Takes everything else, in order.
    pub events: P,
    /// Takes what is authentic and not understood.
    pub parked: P,
    /// Fetches what a request says it is proved by.
    pub evidence: Evidence<F>,
    /// Where providers reach the hub; `None` if that is the address they called.
    pub base_url: Option<String>,
}

/// Answers one request.
///
/// | Outcome | Reply | Because |
/// | --- | --- | --- |
/// | queued, or nothing to do | the provider's success | |
/// | handshake | as asked | |
/// | not authentic | 401; 403 for a handshake | |
/// | larger than [`LARGEST_BODY`], or than anything the provider sends | 413, with the reason | it is not read |
/// | authentic, from a workflow of the tenant's and not as documented | 400, with the reason | they can mend it |
/// | authentic, about another tenant's account | 403 | nobody's provider sends that |
/// | authentic, unreadable or nobody's account | success | parked; a retry would bring the same |
/// | our own trouble | 503 | the provider will retry |
pub async fn handle<D, V, P, F, C>(
    edge: &Edge<D, V, P, F>,
    provider: &dyn WebhookProvider,
    clock: &C,
    request: WebhookRequest,
) -> WebhookReply
where
    D: Directory,
    V: Vault,
    P: Publisher,
    F: Caller,
    C: Clock,
{
    let name = provider.provider();
    let now = clock.now();
    let taken = if request.body.len() > LARGEST_BODY {
        Err(Refusal::NotProved(Rejection::TooLarge("the hub takes bodies of 4.4 MB at most")))
    } else {
        take_in(edge, provider, now, request).await
    };
    match taken {
        Ok(Taken::Answered(reply)) => reply,
        Ok(Taken::Queued { events, parked, reply }) => {
            tracing::info!(provider = %name, events, parked, "webhook accepted");
            telemetry::count(Metric::WebhookAccepted, name.as_str(), 1);
            if parked {
                telemetry::count(Metric::WebhookParked, name.as_str(), 1);
            }
            reply
        }
        Err(Refusal::NotProved(rejection)) => {
            tracing::warn!(provider = %name, reason = %rejection, "webhook rejected");
            telemetry::count(Metric::WebhookRejected, name.as_str(), 1);
            match rejection {
                Rejection::Forbidden(_) => WebhookReply::empty(StatusCode::FORBIDDEN),
                Rejection::TooLarge(reason) => WebhookReply::json(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    &json!({ "error": "too_large", "detail": reason }),
                ),
                Rejection::Invalid(reason) => WebhookReply::json(
                    StatusCode::BAD_REQUEST,
                    &json!({ "error": "invalid_request", "detail": reason }),
                ),
                _ => WebhookReply::empty(StatusCode::UNAUTHORIZED),
            }
        }
        Err(Refusal::Foreign { integration }) => {
            tracing::error!(provider = %name, %integration, "webhook names another tenant's account");
            telemetry::count(Metric::AccountMismatch, "webhooks", 1);
            WebhookReply::empty(StatusCode::FORBIDDEN)
        }
        Err(Refusal::Trouble(error)) => {
            tracing::error!(provider = %name, %error, "webhook not taken in; the provider will retry");
            WebhookReply::empty(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

enum Taken {
    Answered(WebhookReply),
    Queued { events: usize, parked: bool, reply: WebhookReply },
}

enum Refusal {
    NotProved(Rejection),
    Foreign { integration: IntegrationId },
    Trouble(PortError),
}

impl From<PortError> for Refusal {
    fn from(error: PortError) -> Self {
        Self::Trouble(error)
    }
}

async fn take_in<D: Directory, V: Vault, P: Publisher, F: Caller>(
    edge: &Edge<D, V, P, F>,
    provider: &dyn WebhookProvider,
    now: Timestamp,
    mut request: WebhookRequest,
) -> Result<Taken, Refusal> {
    let name = provider.provider();
    let integration = find(&edge.directory, name, request.path_suffix.as_deref()).await?;
    let Some(integration) = integration else {
        return Err(Refusal::NotProved(Rejection::Unauthenticated("no such integration")));
    };
    let events = match prove(edge, provider, &integration, now, &mut request).await? {
        Ok(Delivery::Handshake(reply)) => return Ok(Taken::Answered(reply)),
        Ok(Delivery::Confirm(address)) => {
            edge.evidence.confirm(&address).await?;
            tracing::info!(provider = %name, integration = %integration.id, "webhook confirmed");
            return Ok(Taken::Answered(provider.accepted_by(&integration)));
        }
        Ok(Delivery::Events(events)) => events,
        Err(Rejection::Unreadable(reason)) => {
            let record = park(provider, &request, &integration, now, reason);
            edge.parked.publish(record).await?;
            let reply = provider.accepted_by(&integration);
            return Ok(Taken::Queued { events: 0, parked: true, reply });
        }
        Err(rejection) => return Err(Refusal::NotProved(rejection)),
    };
    let holders = holders(&edge.directory, &integration, &events).await?;
    let (mut inbound, mut receipts, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut nobodys = false;
    let mut taken = 0;
    for (event, place) in events.into_iter().zip(0..) {
        let Some(Some(holder)) = holders.get(&event.account) else {
            nobodys = true;
            continue;
        };
        taken += 1;
        // An integration that holds no account is its own line.
        let own_line = holder.integration == integration.id && integration.account.is_none();
        let line = own_line.then(|| integration.line());
        let (tenant, integration) = (holder.tenant.clone(), holder.integration);
        let event = event.stamped(name, tenant, integration, now, place);
        let event = InboundEvent { line, ..event };
        let record = crate::events::queued(&event)?;
        let (queue, group) = match &event.kind {
            EventKind::Message(message) => match event.parties(message) {
                Some(parties) => (&mut inbound, parties.conversation().to_string()),
                None => (&mut others, record.group),
            },
            EventKind::Receipt(_) if !name.channels().is_empty() => {
                (&mut receipts, event.tenant.to_string())
            }
            EventKind::Receipt(_) | EventKind::Other { .. } => (&mut others, record.group),
        };
        queue.push(Record { group, ..record });
    }
    let parked = if nobodys {
        park(provider, &request, &integration, now, "no tenant holds the account".to_owned())
    } else {
        Vec::new()
    };
    let (inbound, receipts, others, parked) = futures::join!(
        publish(edge.inbound.as_ref(), inbound),
        publish(edge.receipts.as_ref(), receipts),
        publish(Some(&edge.events), others),
        publish(Some(&edge.parked), parked),
    );
    let queued = inbound.and(receipts).and(others).and(parked);
    if !failpoint::is_active(Failpoint::AnsweredBeforeQueued) {
        queued?;
    }
    let reply = provider.accepted_by(&integration);
    Ok(Taken::Queued { events: taken, parked: nobodys, reply })
}

async fn publish<P: Publisher>(queue: Option<&P>, records: Vec<Record>) -> PortResult<()> {
    match queue {
        _ if records.is_empty() => Ok(()),
        // On the heap: four of these wait side by side, and mostly one has something to do.
        Some(queue) => Box::pin(queue.publish(records)).await,
        None => Err(PortError {
            operation: "queue an event",
            reason: "the function was given no queue for it".to_owned(),
            fault: Fault::Retryable,
        }),
    }
}

/// The integration the URL names: by its id, by the secret in the path, or the operator's.
async fn find<D: Directory>(
    directory: &D,
    provider: Provider,
    suffix: Option<&str>,
) -> PortResult<Option<Integration>> {
    let id = match suffix {
        None => return directory.platform(provider).await,
        Some(suffix) => match suffix.parse::<IntegrationId>() {
            Ok(id) => Some(id),
            Err(_) => directory.by_path_secret(provider, &path_hash(suffix)).await?,
        },
    };
    let Some(id) = id else { return Ok(None) };
    let integration = directory.integration(id).await?;
    Ok(integration.filter(|integration| integration.provider == provider))
}

/// What a secret in a webhook's path is kept as.
pub(crate) fn path_hash(secret: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}

/// Verifies and parses; if that fails, once more with secrets read anew, because they may
/// have been rotated a moment ago.
async fn prove<D, V: Vault, P, F: Caller>(
    edge: &Edge<D, V, P, F>,
    provider: &dyn WebhookProvider,
    integration: &Integration,
    now: Timestamp,
    request: &mut WebhookRequest,
) -> PortResult<Result<Delivery, Rejection>> {
    // A handshake is answered with a secret, and a wrong answer can end a webhook.
    let mut freshness =
        if request.method == Method::GET { Freshness::Fresh } else { Freshness::Cached };
    loop {
        let credentials = edge.vault.credentials(integration, freshness).await?;
        let source = provider.source(integration, &credentials);
        match source.evidence(request) {
            Ok(None) => {}
            Ok(Some(address)) => {
                request.evidence = Some(edge.evidence.fetch(&address, now).await?);
            }
            Err(rejection) => return Ok(Err(rejection)),
        }
        let proved = receive(source.as_ref(), request, now);
        let refused =
            matches!(proved, Err(Rejection::Unauthenticated(_) | Rejection::Forbidden(_)));
        if !refused || freshness == Freshness::Fresh {
            return Ok(proved);
        }
        freshness = Freshness::Fresh;
    }
}

/// Who holds each account the events name. `None` for an account nobody holds.
async fn holders<D: Directory>(
    directory: &D,
    integration: &Integration,
    events: &[ParsedEvent],
) -> Result<HashMap<String, Option<Holder>>, Refusal> {
    let own = Holder { tenant: integration.tenant.clone(), integration: integration.id };
    let mut holders = HashMap::new();
    for event in events {
        if holders.contains_key(&event.account) {
            continue;
        }
        let is_own = match &integration.account {
            Some(account) => *account == event.account,
            // What a tenant's own secret signed is theirs, whatever account it names.
            None => !integration.tenant.is_platform(),
        };
        // What names no account is about the app itself.
        let holder = if is_own || event.account.is_empty() {
            Some(own.clone())
        } else {
            directory.account(integration.provider, &event.account).await?
        };
        // The operator's app speaks for every tenant, a tenant's own for that tenant alone.
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
        v: domain::job::VERSION,
        provider,
        integration: Some(integration.id),
        tenant: Some(integration.tenant.clone()),
        reason,
        received_at: now,
        body: STANDARD.encode(webhook.keepable(&request.body)),
    };
    let body = serde_json::to_string(&parked).unwrap_or_default();
    let group = integration.tenant.to_string();
    vec![Record { deduplication_id: path_hash(&body), body, group, ..Record::default() }]
}

/// An edge as it is deployed.
pub type OwnEdge<N, C> =
    Edge<CachedDirectory<DynamoStore, C>, SecretsVault<C>, SqsQueue, <N as Network>::Caller>;

/// The edge.
///
/// # Errors
/// If an environment variable is missing.
pub fn edge<N: Network, C: Clock + Clone, R>(
    kit: &Kit<N, C, R>,
    provider: Provider,
) -> Result<OwnEdge<N, C>, Error> {
    let bucket = kit.bucket()?;
    let talk = |name| {
        let talks = !provider.channels().is_empty();
        let queue = talks.then(|| kit.queue(name, Some(&bucket)));
        queue.transpose()
    };
    Ok(Edge {
        directory: CachedDirectory::new(kit.store()?, kit.clock.clone()),
        vault: kit.vault()?,
        inbound: talk("INBOUND_QUEUE_URL")?,
        receipts: talk("RECEIPTS_QUEUE_URL")?,
        events: kit.queue("EVENTS_QUEUE_URL", Some(&bucket))?,
        parked: kit.queue("PARKED_QUEUE_URL", Some(&bucket))?,
        evidence: Evidence::new(kit.network.caller()),
        base_url: kit.environment.optional("PUBLIC_BASE_URL"),
    })
}

/// Answers one request of API Gateway's, in time.
pub async fn answer<D, V, P, F, C>(
    edge: &Edge<D, V, P, F>,
    provider: &dyn WebhookProvider,
    clock: &C,
    request: Request,
) -> Response<Body>
where
    D: Directory,
    V: Vault,
    P: Publisher,
    F: Caller,
    C: Clock,
{
    let request = crate::gateway::webhook_request(request, edge.base_url.as_deref());
    let answer = handle(edge, provider, clock, request);
    // Before the function's own timeout, which would be an answer without a reason.
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
        let provider = provider.provider();
        tracing::error!(%provider, "webhook not taken in within the time; the provider will retry");
        WebhookReply::empty(StatusCode::SERVICE_UNAVAILABLE)
    });
    crate::gateway::webhook_reply(answer)
}

/// Does at init, where a function has a whole processor, what the first request would wait
/// for and does not depend on it. Failure changes nothing.
async fn prepare<D: Directory, V: Vault, F>(edge: &Edge<D, V, SqsQueue, F>, provider: Provider) {
    let own = async {
        if let Ok(Some(integration)) = edge.directory.platform(provider).await {
            let _cached = edge.vault.credentials(&integration, Freshness::Cached).await;
        }
    };
    futures::join!(own, edge.events.prewarm());
}

/// Runs an edge until Lambda ends it.
///
/// # Errors
/// If an environment variable is missing.
pub fn run(provider: &'static dyn WebhookProvider) -> Result<(), Error> {
    crate::start(async move |kit| {
        let edge = edge(&kit, provider.provider())?;
        // Init ends with its own failure after 10 s; a first request does without.
        let _late = tokio::time::timeout(PREPARATION, prepare(&edge, provider.provider())).await;
        let edge = &edge;
        crate::gateway::serve(move |request| answer(edge, provider, &SystemClock, request)).await
    })
}
