//! Messages that a tenant's own programs took in, for the hub to keep.

use domain::automation::Automation;
use domain::content::Content;
use domain::event::{EventKind, InboundEvent, InboundMessage};
use domain::ports::{Automations, Clock, JobFigures, JobReader, Publisher, Record};
use domain::provider::Channel;
use domain::pull::JobStatus;
use domain::tenant::Scope;
use domain::{EventId, IntegrationId, JobId, Provider, TenantId};
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
    /// To which account.
    to: String,
    /// What.
    message: Text,
    /// When: RFC 3339, or seconds since 1970.
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
/// Its scope is `send`: who calls it is a program that carries messages for the tenant, such
/// as a workflow that also answers them. `worker` is for those who pull jobs.
pub(crate) const ROUTES: &[Route<Operation>] = &[Route {
    operation: Operation::Take,
    method: "POST",
    path: "/webhook/inbound",
    summary: "Take in a message that a program of the tenant's received",
    scope: Some(Scope::Send),
    parameters: &[],
    request: Some(schema::<TakeMessage>),
    answer: (202, Some(schema::<Taken>)),
}];

impl<S, P, C> Resource for InboundMessages<S, P, C>
where
    S: Automations + JobFigures + JobReader,
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
    S: Automations + JobFigures + JobReader,
    P: Publisher,
    C: Clock,
{
    async fn take(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        request.caller(Scope::Send)?;
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
        let message = InboundMessage {
            // Such programs stand at WhatsApp numbers.
            channel: Some(Channel::Whatsapp),
            provider_message_id: asked.message_id.clone(),
            from: asked.from.clone(),
            name,
            content: Content::Text { text: asked.message.text },
            reply_to: None,
        };
        let raw = serde_json::from_slice::<Box<RawValue>>(&request.body);
        let event = InboundEvent {
            line: None,
            v: InboundEvent::VERSION,
            integration: door(&tenant),
            tenant,
            provider: Provider::Custom,
            account: asked.to,
            id: asked.message_id,
            occurred_at: asked.timestamp.read()?,
            received_at: self.clock.now(),
            kind: EventKind::Message(message),
            ordering_key: Some(asked.from),
            single_use: None,
            replay: None,
            raw: raw.map_err(|error| Problem::not_json(&error))?,
        };
        let event_id = event.event_id();
        let job = self.take_as_job(&event).await?;
        self.events.publish(vec![crate::events::queued(&event)?]).await?;
        tracing::info!(tenant = %event.tenant, %event_id, "message taken in");
        ApiReply::json(StatusCode::ACCEPTED, &Taken { status: "accepted", event_id, job })
    }

    /// Makes it a message and a job, if the tenant's workers pull. The job's id follows from the
    /// message's, so it is known before the message is worked.
    async fn take_as_job(&self, event: &InboundEvent) -> Result<Option<Queued>, Problem> {
        let tenant = &event.tenant;
        let EventKind::Message(message) = &event.kind else { return Ok(None) };
        let Some(parties) = event.parties(message) else { return Ok(None) };
        if !matches!(self.store.automation(tenant).await?, Automation::Pull(_)) {
            return Ok(None);
        }
        let job_id = JobId::of(crate::inbound::message_id(event, &message.provider_message_id));
        let group = parties.conversation().to_string();
        let record = Record { group, ..crate::events::queued(event)? };
        self.inbound.publish(vec![record]).await?;
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

/// What stands in for an integration where none stands behind a message.
pub(crate) fn door(tenant: &TenantId) -> IntegrationId {
    IntegrationId::derived(&[tenant.as_str(), "webhook/inbound"])
}

/// The key's tenant. A tenant's key cannot name another, and is told so: its programs send
/// the id along to notice when they hold the wrong key.
fn tenant(request: &ApiRequest, named: Option<&TenantId>) -> Result<TenantId, Problem> {
    let caller = request.caller(Scope::Send)?;
    if !caller.tenant.is_platform() && named.is_some_and(|named| *named != caller.tenant) {
        let title = "The key may not do this";
        let detail = "the key is another tenant's".to_owned();
        let problem = Problem::new(StatusCode::FORBIDDEN, "wrong_tenant", title, detail);
        return Err(problem.at("tenant_id"));
    }
    request.tenant(Scope::Send, named).map_err(|problem| {
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
