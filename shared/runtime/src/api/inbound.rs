//! Messages that a tenant's own programs took in, for the hub to keep.
//!
//! Nobody has proved that a person wrote them, only that the key is the tenant's. So they stand
//! in conversations of their own and open no window, and an account that an integration holds is
//! not theirs to write in, unless the operator trusts the programs of that integration.

use domain::automation::Automation;
use domain::content::Content;
use domain::event::{EventKind, InboundEvent, InboundMessage, ParsedEvent};
use domain::ports::{
    Accounts, Automations, Clock, Directory, JobFigures, JobReader, PortResult, Publisher, Record,
};
use domain::provider::Channel;
use domain::pull::JobStatus;
use domain::tenant::Scope;
use domain::{EventId, Integration, IntegrationId, JobId, Provider, TenantId};
use futures::future::try_join_all;
use http::StatusCode;
use jiff::Timestamp;
use queue::SqsQueue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::DynamoStore;

use super::{ApiReply, ApiRequest, Params, Problem, Resource, Route, schema};
use crate::{Error, Kit};

/// The longest address, id or name.
const LONGEST_NAME: usize = 500;
/// The longest text: far above what any provider carries.
const LONGEST_TEXT: usize = 64 * 1024;

/// What the resource needs.
#[derive(Debug)]
pub struct InboundMessages<S, P, C> {
    /// The table.
    pub store: S,
    /// The events' queue.
    pub events: P,
    /// The queue of what people write.
    pub inbound: P,
    /// The time.
    pub clock: C,
}

/// Its one operation.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Take a message in.
    Take,
}

/// Body of `POST /webhook/inbound`: what somebody wrote, and to whom.
#[derive(Debug, Deserialize, JsonSchema)]
struct TakeMessage {
    /// Who wrote.
    from: String,
    /// To which account: a name of your own, or the account of an integration that has
    /// `trusted_ingest`.
    to: String,
    /// What.
    message: Text,
    /// When: RFC 3339, or seconds since 1970. What is still to come counts as now.
    timestamp: Time,
    /// The message's id where it comes from: the same for each redelivery.
    message_id: String,
    /// Whose it is: the key's own tenant, or the one that the platform's key acts for.
    #[serde(default)]
    tenant_id: Option<TenantId>,
    /// The name they gave themselves.
    #[serde(default)]
    contact_name: Option<String>,
}

/// What somebody wrote.
#[derive(Debug, Deserialize, JsonSchema)]
struct Text {
    /// The text.
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

/// What is done next.
#[derive(Debug, Serialize, JsonSchema)]
struct Taken {
    /// `accepted`.
    status: &'static str,
    /// The event's id in `/events`.
    event_id: EventId,
    /// The job it becomes, if the tenant's workers pull.
    #[serde(flatten)]
    job: Option<Queued>,
}

/// The job a message becomes.
#[derive(Debug, Serialize, JsonSchema)]
struct Queued {
    /// Its id.
    job_id: JobId,
    /// Its place among the jobs that wait; 0 if it waits no more.
    queue_position: u64,
    /// Seconds until it is likely to be done; `null` if none was done in the last hours.
    estimated_processing_time: Option<u64>,
}

/// The one route.
///
/// Its scope is its own: who has it writes in the name of the tenant's customers, and who sends
/// messages or pulls jobs has no need of that.
pub(crate) const ROUTES: &[Route<Operation>] = &[Route {
    operation: Operation::Take,
    method: "POST",
    path: "/webhook/inbound",
    summary: "Take in a message that a program of the tenant's received",
    scope: Some(Scope::Ingest),
    parameters: &[],
    request: Some(schema::<TakeMessage>),
    answer: (202, Some(schema::<Taken>)),
}];

impl<S, P, C> Resource for InboundMessages<S, P, C>
where
    S: Accounts + Directory + Automations + JobFigures + JobReader,
    P: Publisher,
    C: Clock,
{
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        _params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::Take => self.take(request).await,
        }
    }
}

impl<S, P, C> InboundMessages<S, P, C>
where
    S: Accounts + Directory + Automations + JobFigures + JobReader,
    P: Publisher,
    C: Clock,
{
    async fn take(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        request.caller(Scope::Ingest)?;
        let asked: TakeMessage = request.read()?;
        let tenant = tenant(request, asked.tenant_id.as_ref())?;
        for (field, value, longest) in [
            ("from", &asked.from, LONGEST_NAME),
            ("to", &asked.to, LONGEST_NAME),
            ("message_id", &asked.message_id, LONGEST_NAME),
            ("message.text", &asked.message.text, LONGEST_TEXT),
        ] {
            if value.trim().is_empty() || value.len() > longest {
                return Err(Problem::invalid(field, format!("1 to {longest} bytes")));
            }
        }
        let name = asked.contact_name.filter(|name| !name.is_empty());
        if name.as_ref().is_some_and(|name| name.len() > LONGEST_NAME) {
            let detail = format!("at most {LONGEST_NAME} bytes");
            return Err(Problem::invalid("contact_name", detail));
        }
        if !self.store.is_tenant(&tenant).await? {
            let detail = format!("there is no tenant {tenant}: make it first, or name another");
            let problem = Problem::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail);
            return Err(problem.at("tenant_id"));
        }
        let place = self.place(&tenant, &asked.to).await?;
        let from = match &place.integration {
            Some(integration) => providers::address(integration.provider, &asked.from)
                .map_err(|error| Problem::of_provider(&error).at("from"))?,
            None => asked.from,
        };
        let message = InboundMessage {
            channel: Some(place.channel),
            provider_message_id: asked.message_id.clone(),
            from: from.clone(),
            name,
            content: Content::Text { text: asked.message.text },
            reply_to: None,
        };
        let raw = serde_json::from_slice::<Box<RawValue>>(&request.body);
        let (provider, integration, account) = match &place.integration {
            Some(integration) => (integration.provider, integration.id, integration.line()),
            None => (Provider::Custom, door(&tenant), asked.to),
        };
        let event = ParsedEvent {
            account,
            id: asked.message_id,
            occurred_at: asked.timestamp.read()?,
            kind: EventKind::Message(message),
            ordering_key: Some(from),
            single_use: None,
            raw: raw.map_err(|error| Problem::not_json(&error))?,
        };
        let event = event.stamped(provider, tenant, integration, self.clock.now(), 0);
        let event = InboundEvent { ingested: true, ..event };
        let event_id = event.event_id();
        let job = self.take_as_message(&event, place.integration.is_some()).await?;
        self.events.publish(vec![crate::events::queued(&event)?]).await?;
        tracing::info!(tenant = %event.tenant, %event_id, "message taken in");
        ApiReply::json(StatusCode::ACCEPTED, &Taken { status: "accepted", event_id, job })
    }

    /// Where a message to `to` belongs: to the account of the tenant's integration that the
    /// operator trusts programs with, or to no integration at all.
    async fn place(&self, tenant: &TenantId, to: &str) -> Result<Place, Problem> {
        let own = self.store.accounts_of(tenant).await?;
        let held = own.into_iter().filter_map(|integration| {
            let channel = channel_of(&integration, to)?;
            Some((integration, channel))
        });
        let (trusted, others): (Vec<_>, Vec<_>) =
            held.partition(|(integration, _)| is_trusted(integration));
        match (<[_; 1]>::try_from(trusted), others.first()) {
            (Ok([(integration, channel)]), _) => {
                return Ok(Place { integration: Some(integration), channel });
            }
            (Err(trusted), _) if !trusted.is_empty() => {
                let detail = "several integrations have this account: give the id of the one meant";
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
        // Such programs stand at WhatsApp numbers.
        Ok(Place { integration: None, channel: Channel::Whatsapp })
    }

    /// Whether any tenant's integration holds the account `to`, however its number is written.
    async fn is_held(&self, to: &str) -> PortResult<bool> {
        if let Ok(id) = to.trim().parse::<IntegrationId>()
            && self.store.integration(id).await?.is_some()
        {
            return Ok(true);
        }
        let number = providers::number(to);
        let with_plus = number.as_ref().map(|number| format!("+{number}"));
        let mut forms: Vec<String> =
            [Some(to.trim().to_owned()), number, with_plus].into_iter().flatten().collect();
        forms.sort_unstable();
        forms.dedup();
        let places = Provider::senders().flat_map(|p| forms.iter().map(move |form| (p, form)));
        let asked = places.map(|(provider, form)| self.store.account(provider, form));
        Ok(try_join_all(asked).await?.iter().any(Option::is_some))
    }

    /// Makes it a message, if it is `proved` or the tenant's workers pull; and then a job, whose
    /// id follows from the message's, so it is known before the message is worked.
    async fn take_as_message(
        &self,
        event: &InboundEvent,
        proved: bool,
    ) -> Result<Option<Queued>, Problem> {
        let tenant = &event.tenant;
        let EventKind::Message(message) = &event.kind else { return Ok(None) };
        let Some(parties) = event.parties(message) else { return Ok(None) };
        let pulls = matches!(self.store.automation(tenant).await?, Automation::Pull(_));
        if pulls || proved {
            let group = parties.conversation().to_string();
            let record = Record { group, ..crate::events::queued(event)? };
            self.inbound.publish(vec![record]).await?;
        }
        if !pulls {
            return Ok(None);
        }
        let job_id = JobId::of(crate::inbound::message_id(event, &message.provider_message_id));
        let (job, figures) = futures::try_join!(
            self.store.job(tenant, job_id),
            self.store.figures(tenant, event.received_at),
        )?;
        let queue_position = match job.map(|job| job.status) {
            None => figures.queued + 1,
            // It came before.
            Some(JobStatus::Queued) => figures.queued.max(1),
            Some(_) => 0,
        };
        let estimate = figures.estimate(queue_position).filter(|_| queue_position > 0);
        let estimated_processing_time = estimate.map(|estimate| estimate.as_secs());
        Ok(Some(Queued { job_id, queue_position, estimated_processing_time }))
    }
}

/// Where a message belongs.
struct Place {
    /// The integration whose account it is to; `None` if no integration holds that.
    integration: Option<Integration>,
    /// What it travelled on.
    channel: Channel,
}

/// Whether what programs bring to an integration's account counts as proved.
fn is_trusted(integration: &Integration) -> bool {
    integration.trusted_ingest && !integration.provider.channels().is_empty()
}

/// The channel on which a message to `to` reaches an integration; `None` if that is none of the
/// names by which its account, or what it sends from, is known.
fn channel_of(integration: &Integration, to: &str) -> Option<Channel> {
    let first = || integration.provider.channels().first().copied().unwrap_or(Channel::Whatsapp);
    let is_itself = integration.account.as_deref().is_some_and(|account| is_same(account, to))
        || is_same(&integration.id.to_string(), to);
    let entry = providers::entry(integration.provider);
    let settings = integration.settings.fields();
    let named = settings.iter().filter(|(name, value)| {
        entry.leads(name) && value.as_str().is_some_and(|value| is_same(value, to))
    });
    let channels = named.map(|(name, _)| {
        let channel = entry.senders.iter().find(|(sender, _)| sender == name);
        channel.map_or_else(first, |(_, channel)| *channel)
    });
    // A number may be known by several settings: such programs stand at WhatsApp numbers.
    let best = channels.min_by_key(|channel| *channel != Channel::Whatsapp);
    best.or_else(|| is_itself.then(first))
}

/// Whether two names are one, or two ways to write one number.
fn is_same(name: &str, other: &str) -> bool {
    let number = providers::number(name);
    name == other.trim() || (number.is_some() && number == providers::number(other))
}

fn held_by(holder: &str) -> Problem {
    let detail = format!(
        "{holder} holds this account, and only its provider says what people write to it: name \
         an account that no integration holds, or let the operator set `trusted_ingest` on the \
         integration"
    );
    Problem::conflict("to", "account_held", detail)
}

/// What stands in for an integration where none stands behind a message.
pub(crate) fn door(tenant: &TenantId) -> IntegrationId {
    IntegrationId::derived(&[tenant.as_str(), "webhook/inbound"])
}

/// The key's tenant. A tenant's key cannot name another, and is told so: its programs send
/// the id along to notice when they hold the wrong key.
fn tenant(request: &ApiRequest, named: Option<&TenantId>) -> Result<TenantId, Problem> {
    let caller = request.caller(Scope::Ingest)?;
    if !caller.tenant.is_platform() && named.is_some_and(|named| *named != caller.tenant) {
        let title = "The key may not do this";
        let detail = "the key is another tenant's".to_owned();
        let problem = Problem::new(StatusCode::FORBIDDEN, "wrong_tenant", title, detail);
        return Err(problem.at("tenant_id"));
    }
    request.tenant(Scope::Ingest, named).map_err(|problem| {
        // Where this route's body has the field.
        if problem.field.as_deref() == Some("tenant") && named.is_none() {
            let detail = "the platform's key acts for any tenant: say which".to_owned();
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
            let detail = "a time as RFC 3339, or seconds since 1970".to_owned();
            Problem::invalid("timestamp", detail)
        })
    }
}

/// The resource.
///
/// # Errors
/// If the environment is incomplete.
pub fn resource<N, C: Clone, R>(
    kit: &Kit<N, C, R>,
) -> Result<InboundMessages<DynamoStore, SqsQueue, C>, Error> {
    let bucket = kit.bucket()?;
    Ok(InboundMessages {
        store: kit.store()?,
        events: kit.queue("EVENTS_QUEUE_URL", Some(&bucket))?,
        inbound: kit.queue("INBOUND_QUEUE_URL", Some(&bucket))?,
        clock: kit.clock.clone(),
    })
}

/// Runs the resource until Lambda ends it.
///
/// # Errors
/// If the environment is incomplete.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let resource = resource(&kit)?;
        futures::join!(resource.store.prewarm(), resource.events.prewarm());
        super::serve(&kit, resource).await
    })
}
