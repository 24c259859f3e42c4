//! Inbound messages that a tenant's own programs received and post to the hub.
//!
//! Only the tenant's key authenticates such a message; no provider has verified its sender. These
//! messages therefore form conversations of their own and open no service window. They cannot be
//! addressed to the account of an integration, unless the operator set `trusted_ingest` on it.

use accounts::model::automation::Automation;
use accounts::ports::{Automations, TenantReader};
use domain::address::Address;
use domain::content::Content;
use domain::event::{EventKind, InboundEvent, InboundMessage, ParsedEvent};
use domain::job::JobStatus;
use domain::ports::{Clock, Directory, PortResult, Publisher, Record};
use domain::provider::Channel;
use domain::tenant::Scope;
use domain::{EventId, Integration, IntegrationId, JobId, Provider, TenantId};
use futures::future::try_join_all;
use http::StatusCode;
use jiff::Timestamp;
use messaging::handlers::inbound::{ingest_integration, message_id};
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, schema};
use runtime::{AwsEnv, Env, Error, FeatureRepository, Kit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Repository;
use crate::ports::{JobReader, JobStats};

/// Maximum size of an address, id or name, in bytes.
const MAX_NAME_LEN: usize = 500;
/// Maximum size of a text in bytes: far above every provider's limit.
const MAX_TEXT_LEN: usize = 64 * 1024;

/// API resource and its dependencies.
#[derive(Debug)]
pub struct InboundMessages<E: Env> {
    /// Jobs.
    pub store: Repository,
    /// Tenants, integrations and automations.
    pub accounts: accounts::Repository,
    /// Events queue.
    pub events: E::Queue,
    /// Inbound message queue.
    pub inbound: E::Queue,
    /// Clock.
    pub clock: E::Clock,
}

/// The only operation of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Ingest a message.
    Ingest,
}

/// Body of `POST /webhook/inbound`: an inbound message.
#[derive(Debug, Deserialize, JsonSchema)]
struct IngestMessage {
    /// Address of the sender.
    from: String,
    /// Account that received the message: a name that you choose, or the account of an integration
    /// with `trusted_ingest`.
    to: String,
    /// Content of the message.
    message: Text,
    /// When the message was sent: RFC 3339, or seconds since 1970. A time in the future is replaced
    /// by the current time.
    timestamp: Time,
    /// Message id at the source, for deduplication: use the same id for each redelivery.
    message_id: String,
    /// Tenant that received the message. Default: the tenant of the key. Required with the platform
    /// key.
    #[serde(default)]
    tenant_id: Option<TenantId>,
    /// Display name of the sender.
    #[serde(default)]
    contact_name: Option<String>,
}

/// Content of an inbound message.
#[derive(Debug, Deserialize, JsonSchema)]
struct Text {
    /// Text.
    text: String,
}

/// A point in time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Time {
    /// Seconds since 1970.
    Seconds(i64),
    /// RFC 3339, or seconds since 1970 as text.
    Text(String),
}

/// Response to an ingested message.
#[derive(Debug, Serialize, JsonSchema)]
struct IngestedMessage {
    /// Always `accepted`.
    status: &'static str,
    /// Id of the event, for `GET /events/{id}`.
    event_id: EventId,
    /// Job for the message, if the tenant's workers pull jobs.
    #[serde(flatten)]
    job: Option<QueuedJob>,
}

/// Job for an inbound message.
#[derive(Debug, Serialize, JsonSchema)]
struct QueuedJob {
    /// Job id.
    job_id: JobId,
    /// Position among the waiting jobs; 0 if the job no longer waits.
    queue_position: u64,
    /// Estimated seconds until the job is completed; `null` if no job was completed in the last
    /// hours.
    estimated_processing_time: Option<u64>,
}

/// Routes of the resource.
///
/// The route has a scope of its own (least privilege): its key can post messages in the name of
/// the tenant's customers, which programs that send messages or pull jobs do not need.
pub const ROUTES: &[Route<Operation>] = &[Route {
    operation: Operation::Ingest,
    method: "POST",
    path: "/webhook/inbound",
    summary: "Create an inbound message that one of the tenant's programs received",
    scope: Some(Scope::Ingest),
    parameters: &[],
    request: Some(schema::<IngestMessage>),
    answer: (202, Some(schema::<IngestedMessage>)),
}];

impl<E: Env> Resource for InboundMessages<E> {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        _params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::Ingest => self.ingest(request).await,
        }
    }
}

impl<E: Env> InboundMessages<E> {
    async fn ingest(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        request.principal(Scope::Ingest)?;
        let input: IngestMessage = request.read()?;
        let tenant = tenant(request, input.tenant_id.as_ref())?;
        for (field, value, max) in [
            ("from", &input.from, MAX_NAME_LEN),
            ("to", &input.to, MAX_NAME_LEN),
            ("message_id", &input.message_id, MAX_NAME_LEN),
            ("message.text", &input.message.text, MAX_TEXT_LEN),
        ] {
            if value.trim().is_empty() || value.len() > max {
                return Err(Problem::invalid(field, format!("must be 1 to {max} bytes")));
            }
        }
        let name = input.contact_name.filter(|name| !name.is_empty());
        if name.as_ref().is_some_and(|name| name.len() > MAX_NAME_LEN) {
            let detail = format!("must be at most {MAX_NAME_LEN} bytes");
            return Err(Problem::invalid("contact_name", detail));
        }
        if !self.accounts.is_tenant(&tenant).await? {
            let detail =
                format!("the tenant {tenant} does not exist: create it first, or name another one");
            let problem = Problem::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail);
            return Err(problem.at("tenant_id"));
        }
        let destination = self.destination(&tenant, &input.to).await?;
        let from = match &destination.integration {
            Some(integration) => providers::address(integration.provider, &input.from)
                .map_err(|error| Problem::of_provider(&error).at("from"))?,
            None => input.from,
        };
        let message = InboundMessage {
            channel: Some(destination.channel),
            provider_message_id: input.message_id.clone(),
            from: from.clone(),
            name,
            content: Content::Text { text: input.message.text },
            reply_to: None,
        };
        let raw = serde_json::from_slice::<Box<RawValue>>(&request.body);
        let (provider, integration, account) = match &destination.integration {
            Some(integration) => {
                (integration.provider, integration.id, integration.conversation_account())
            }
            None => (Provider::Custom, ingest_integration(&tenant), input.to),
        };
        let event = ParsedEvent {
            account,
            id: input.message_id,
            occurred_at: Some(input.timestamp.read()?),
            kind: EventKind::Message(message),
            ordering_key: Some(from),
            single_use: None,
            raw: raw.map_err(|error| Problem::not_json(&error))?,
        };
        let event = event.into_inbound_event(provider, tenant, integration, self.clock.now(), 0);
        let event = InboundEvent { ingested: true, ..event };
        let event_id = event.event_id();
        let job = self.queue_message(&event, destination.integration.is_some()).await?;
        self.events.publish(vec![runtime::webhook::queued(&event)?]).await?;
        tracing::info!(tenant = %event.tenant, %event_id, "message ingested");
        ApiReply::json(StatusCode::ACCEPTED, &IngestedMessage { status: "accepted", event_id, job })
    }

    /// Returns the destination of a message to `to`: the account of a tenant's integration with
    /// `trusted_ingest`, or no integration.
    async fn destination(&self, tenant: &TenantId, to: &str) -> Result<Destination, Problem> {
        let own = self.accounts.integrations_of(tenant).await?;
        let held = own.into_iter().filter_map(|integration| {
            let channel = channel_of(&integration, to)?;
            Some((integration, channel))
        });
        let (trusted, others): (Vec<_>, Vec<_>) =
            held.partition(|(integration, _)| is_trusted(integration));
        match (<[_; 1]>::try_from(trusted), others.first()) {
            (Ok([(integration, channel)]), _) => {
                return Ok(Destination { integration: Some(integration), channel });
            }
            (Err(trusted), _) if !trusted.is_empty() => {
                let detail =
                    "several integrations have this account: use an integration id as `to`";
                return Err(Problem::invalid("to", detail.to_owned()));
            }
            (Err(_), Some((integration, _))) => {
                return Err(held_by(&format!("your integration {}", integration.id)));
            }
            (Err(_), None) => {}
        }
        if self.is_held(to).await? {
            return Err(held_by("an integration of another tenant"));
        }
        // Such programs receive WhatsApp messages.
        Ok(Destination { integration: None, channel: Channel::Whatsapp })
    }

    /// Returns whether an integration of any tenant holds the account `to`, in any number format.
    async fn is_held(&self, to: &str) -> PortResult<bool> {
        if let Ok(id) = to.trim().parse::<IntegrationId>()
            && self.accounts.integration(id).await?.is_some()
        {
            return Ok(true);
        }
        let number = Address::phone(to).map(|number| number.without_plus().to_owned());
        let with_plus = number.as_ref().map(|number| format!("+{number}"));
        let mut forms: Vec<String> =
            [Some(to.trim().to_owned()), number, with_plus].into_iter().flatten().collect();
        forms.sort_unstable();
        forms.dedup();
        let accounts = Provider::senders().flat_map(|p| forms.iter().map(move |form| (p, form)));
        let lookups = accounts.map(|(provider, form)| self.accounts.account(provider, form));
        Ok(try_join_all(lookups).await?.iter().any(Option::is_some))
    }

    /// Queues the event as a message, if it is `verified` or the tenant's workers pull jobs. In
    /// the latter case also returns its job, whose id is derived from the message id and so known
    /// before the message is processed.
    async fn queue_message(
        &self,
        event: &InboundEvent,
        verified: bool,
    ) -> Result<Option<QueuedJob>, Problem> {
        let tenant = &event.tenant;
        let EventKind::Message(message) = &event.kind else { return Ok(None) };
        let Some(parties) = event.parties(message) else { return Ok(None) };
        let pulls = matches!(self.accounts.automation(tenant).await?, Automation::Pull(_));
        if pulls || verified {
            let group = parties.conversation().to_string();
            let record = Record { group, ..runtime::webhook::queued(event)? };
            self.inbound.publish(vec![record]).await?;
        }
        if !pulls {
            return Ok(None);
        }
        let job_id = JobId::of(message_id(event, &message.provider_message_id));
        let (job, stats) = futures::try_join!(
            self.store.job(tenant, job_id),
            self.store.stats(tenant, event.received_at),
        )?;
        let queue_position = match job.map(|job| job.status) {
            None => stats.queued + 1,
            // The message was received before.
            Some(JobStatus::Queued) => stats.queued.max(1),
            Some(_) => 0,
        };
        let estimate = stats.estimate(queue_position).filter(|_| queue_position > 0);
        let estimated_processing_time = estimate.map(|estimate| estimate.as_secs());
        Ok(Some(QueuedJob { job_id, queue_position, estimated_processing_time }))
    }
}

/// Destination of an inbound message.
struct Destination {
    /// Integration that holds the account; `None` if none does.
    integration: Option<Integration>,
    /// Channel of the message.
    channel: Channel,
}

/// Returns whether messages from programs are treated as verified for an integration.
fn is_trusted(integration: &Integration) -> bool {
    integration.trusted_ingest && !integration.provider.channels().is_empty()
}

/// Returns the channel on which a message to `to` reaches an integration; `None` if `to` is neither
/// its id, its account nor the value of a setting that identifies the account or a sender.
fn channel_of(integration: &Integration, to: &str) -> Option<Channel> {
    let first = || integration.provider.channels().first().copied().unwrap_or(Channel::Whatsapp);
    let is_account = integration.account.as_deref().is_some_and(|account| is_same(account, to))
        || is_same(&integration.id.to_string(), to);
    let entry = providers::spec(integration.provider);
    let settings = integration.settings.fields();
    let named = settings.iter().filter(|(name, value)| {
        entry.selects_target(name) && value.as_str().is_some_and(|value| is_same(value, to))
    });
    let channels = named.map(|(name, _)| {
        let channel = entry.senders.iter().find(|(sender, _)| sender == name);
        channel.map_or_else(first, |(_, channel)| *channel)
    });
    // Several settings may have the number: prefer WhatsApp, which such programs receive.
    let best = channels.min_by_key(|channel| *channel != Channel::Whatsapp);
    best.or_else(|| is_account.then(first))
}

/// Returns whether two names are equal, or the same number in different formats.
fn is_same(name: &str, other: &str) -> bool {
    let number = Address::phone(name);
    name == other.trim() || (number.is_some() && number == Address::phone(other))
}

fn held_by(holder: &str) -> Problem {
    let detail = format!(
        "{holder} has this account, and only its provider can deliver messages to it: use an \
         account that no integration has, or ask the operator to set `trusted_ingest` on the \
         integration"
    );
    Problem::conflict("to", "account_held", detail)
}

/// Returns the tenant to act for. If a tenant's key names another tenant, the error says so:
/// programs send the tenant id to detect that they use the wrong key.
fn tenant(request: &ApiRequest, named: Option<&TenantId>) -> Result<TenantId, Problem> {
    let caller = request.principal(Scope::Ingest)?;
    if !caller.tenant.is_platform() && named.is_some_and(|named| *named != caller.tenant) {
        let title = "The key has no permission";
        let detail = "the key belongs to another tenant than `tenant_id`".to_owned();
        let problem = Problem::new(StatusCode::FORBIDDEN, "wrong_tenant", title, detail);
        return Err(problem.at("tenant_id"));
    }
    request.tenant(Scope::Ingest, named).map_err(|problem| {
        // In the body of this route, the field is `tenant_id`.
        if problem.field.as_deref() == Some("tenant") && named.is_none() {
            let detail = "the platform key acts for any tenant: set `tenant_id`".to_owned();
            return Problem::invalid("tenant_id", detail);
        }
        problem
    })
}

impl Time {
    fn read(&self) -> Result<Timestamp, Problem> {
        let seconds = match self {
            Self::Seconds(seconds) => Some(*seconds),
            Self::Text(text) => match text.parse::<Timestamp>() {
                Ok(at) => return Ok(at),
                Err(_) => text.parse().ok(),
            },
        };
        seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or_else(|| {
            let detail = "must be an RFC 3339 time, or seconds since 1970".to_owned();
            Problem::invalid("timestamp", detail)
        })
    }
}

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(kit: &Kit<E>) -> Result<InboundMessages<E>, Error> {
    let bucket = kit.bucket()?;
    Ok(InboundMessages {
        store: kit.repository()?,
        accounts: kit.repository()?,
        events: kit.queue("EVENTS_QUEUE_URL", Some(&bucket))?,
        inbound: kit.queue("INBOUND_QUEUE_URL", Some(&bucket))?,
        clock: kit.clock.clone(),
    })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    accounts::rate_limit::serve(resource, async |resource| {
        futures::join!(resource.store.prewarm(), resource.events.prewarm());
    })
}
