//! Events of a tenant: list, get and replay.

use domain::ports::{Clock, Publisher, Rng};
use domain::task::{ReplayTask, VERSION};
use domain::tenant::Scope;
use domain::{EventId, Provider, ReplayId, TenantId};
use http::StatusCode;
use jiff::Timestamp;
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, cursor, schema};
use runtime::{AwsEnv, Env, Error, FeatureRepository, Kit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Repository;
use crate::model::{
    Direction, EventFilter, EventRecord, Kind, Replay, ReplayStatus, State, StoredEvent,
};
use crate::ports::{EventReader, ReplayStart, Replays};

/// Maximum number of pages that a dry run counts, of a hundred events each.
const MAX_DRY_RUN_PAGES: u32 = 10;
/// Maximum length in bytes of the `name` filter.
const MAX_NAME_LEN: usize = 200;

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Events<E: Env> {
    /// DynamoDB table.
    pub store: Repository,
    /// Bucket with the event bodies that are too large for the table.
    pub bucket: E::Bucket,
    /// Events queue.
    pub events: E::Queue,
    /// Replay queue.
    pub replays: E::Queue,
    /// Clock.
    pub clock: E::Clock,
    /// Random number generator, for ids.
    pub rng: E::Rng,
}

/// Operations of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// List events.
    List,
    /// Get an event.
    Get,
    /// Replay an event.
    ReplayOne,
    /// Replay many events.
    ReplayMany,
    /// Get the progress of a replay.
    GetReplay,
}

/// A page of events.
#[derive(Debug, Serialize, JsonSchema)]
struct EventPage {
    /// Events, newest first. A page may be empty although another one follows.
    events: Vec<EventRecord>,
    /// Cursor of the next page; `null` on the last page.
    next: Option<String>,
}

/// An event.
#[derive(Debug, Serialize, JsonSchema)]
struct EventDetail {
    /// Event record.
    #[serde(flatten)]
    record: EventRecord,
    /// Payload as the provider sent it. Only with a key that has the scope `admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    raw: Option<Box<RawValue>>,
}

/// Body of `POST /events/replay`: the events to replay.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReplayMany {
    /// Tenant of the events. Required with the platform key.
    #[serde(default)]
    tenant: Option<TenantId>,
    /// Only events from this provider.
    #[serde(default)]
    provider: Option<Provider>,
    /// Only events of this kind.
    #[serde(default)]
    kind: Option<Kind>,
    /// Only events with this name.
    #[serde(default)]
    name: Option<String>,
    /// Only events received at this time or later.
    from: Timestamp,
    /// Only events received before this time.
    to: Timestamp,
    /// Count the events without replaying them.
    #[serde(default)]
    dry_run: bool,
}

/// Response of `POST /events/replay`.
#[derive(Debug, Serialize, JsonSchema)]
struct ReplayAnswer {
    /// Id of the replay, for `GET /events/replays/{id}`; absent for a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<ReplayId>,
    /// `running`, or `dry_run`.
    status: &'static str,
    /// Number of events that a dry run found.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<u64>,
    /// Whether more events may match than the dry run counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<bool>,
}

/// Response of `POST /events/{id}/replay`.
#[derive(Debug, Serialize, JsonSchema)]
struct ReplayedOne {
    /// Id of the event.
    event: EventId,
    /// Id of the replay, which the event record shows once the event was processed.
    replay: ReplayId,
    /// Always `queued`.
    status: &'static str,
}

const FILTERS: &[(&str, &str, &str)] = &[
    ("provider", "query", "Only events from this provider."),
    ("kind", "query", "Only events of this kind: `message`, `receipt` or `other`."),
    ("name", "query", "Only events with this name."),
    ("state", "query", "`recorded`, or `parked`: verified, but could not be parsed."),
    ("from", "query", "Only events received at this time or later (RFC 3339)."),
    ("to", "query", "Only events received before this time (RFC 3339)."),
    ("limit", "query", "Number of items per page, 1 to 100. Default: 50."),
    ("cursor", "query", "The `next` value of the previous page."),
    ("tenant", "query", "Tenant to act for. Required with the platform key."),
];
const TENANT: &[(&str, &str, &str)] =
    &[("tenant", "query", "Tenant to act for. Required with the platform key.")];

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::List,
        method: "GET",
        path: "/events",
        summary: "List events, newest first",
        scope: Some(Scope::Read),
        parameters: FILTERS,
        request: None,
        answer: (200, Some(schema::<EventPage>)),
    },
    Route {
        operation: Operation::Get,
        method: "GET",
        path: "/events/{id}",
        summary: "Get an event; with an admin key, also the provider's payload",
        scope: Some(Scope::Read),
        parameters: TENANT,
        request: None,
        answer: (200, Some(schema::<EventDetail>)),
    },
    Route {
        operation: Operation::ReplayOne,
        method: "POST",
        path: "/events/{id}/replay",
        summary: "Replay an event",
        scope: Some(Scope::Admin),
        parameters: TENANT,
        request: None,
        answer: (202, Some(schema::<ReplayedOne>)),
    },
    Route {
        operation: Operation::ReplayMany,
        method: "POST",
        path: "/events/replay",
        summary: "Replay many events, in the order in which they were received",
        scope: Some(Scope::Admin),
        parameters: TENANT,
        request: Some(schema::<ReplayMany>),
        answer: (202, Some(schema::<ReplayAnswer>)),
    },
    Route {
        operation: Operation::GetReplay,
        method: "GET",
        path: "/events/replays/{id}",
        summary: "Get the progress of a replay",
        scope: Some(Scope::Admin),
        parameters: TENANT,
        request: None,
        answer: (200, Some(schema::<Replay>)),
    },
];

impl<E: Env> Resource for Events<E> {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::List => self.list(request, filter(request)?).await,
            Operation::Get => self.show(request, params.get("id")?).await,
            Operation::ReplayOne => self.replay_one(request, params.get("id")?).await,
            Operation::ReplayMany => self.replay_many(request).await,
            Operation::GetReplay => {
                let tenant = request.tenant(Scope::Admin, None)?;
                let found = self.store.replay(&tenant, params.get("id")?).await?;
                ApiReply::json(StatusCode::OK, &found.ok_or_else(Problem::not_found)?.replay)
            }
        }
    }
}

impl<E: Env> Events<E> {
    async fn list(&self, request: &ApiRequest, filter: EventFilter) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Read, None)?;
        let (limit, from) = request.page()?;
        let newest = Direction::NewestFirst;
        let page = self.store.events(&tenant, &filter, newest, limit, from.as_deref()).await?;
        let events = page.items.into_iter().map(|event| event.record.repaired()).collect();
        ApiReply::json(StatusCode::OK, &EventPage { events, next: cursor(page.next) })
    }

    async fn find(&self, tenant: &TenantId, id: EventId) -> Result<StoredEvent, Problem> {
        let event = self.store.event(tenant, id).await?;
        let (retention, now) = (self.store.retention(), self.clock.now());
        let event = event.filter(|event| !event.record.is_expired(retention, now));
        event.ok_or_else(Problem::not_found)
    }

    async fn show(&self, request: &ApiRequest, id: EventId) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Read, None)?;
        let event = self.find(&tenant, id).await?;
        // The payload may hold data that is not meant for everyone with read access.
        let raw = if request.principal(Scope::Read)?.may(Scope::Admin) {
            crate::handlers::record::body(&self.bucket, &event).await?.map(|body| body.raw)
        } else {
            None
        };
        ApiReply::json(StatusCode::OK, &EventDetail { record: event.record.repaired(), raw })
    }

    async fn replay_one(&self, request: &ApiRequest, id: EventId) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Admin, None)?;
        let event = self.find(&tenant, id).await?;
        let replay = ReplayId::new(self.clock.now(), self.rng.bits());
        let record = crate::handlers::record::replay_record(&self.bucket, &event, replay).await?;
        let record = record.ok_or_else(not_replayable)?;
        self.events.publish(vec![record]).await?;
        tracing::info!(%tenant, event_id = %id, %replay, "event replayed");
        let answer = ReplayedOne { event: id, replay, status: "queued" };
        ApiReply::json(StatusCode::ACCEPTED, &answer)
    }

    async fn replay_many(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        // Check the key before the body, so that a request without permission learns nothing about
        // the body.
        request.principal(Scope::Admin)?;
        let input: ReplayMany = request.read()?;
        let tenant = request.tenant(Scope::Admin, input.tenant.as_ref())?;
        let now = self.clock.now();
        let filter = EventFilter {
            provider: input.provider,
            kind: input.kind,
            name: input.name.map(checked_name).transpose()?,
            // An event that could not be parsed cannot be processed.
            state: Some(State::Recorded),
            from: Some(input.from),
            to: Some(input.to.min(now)),
        };
        if filter.from >= filter.to {
            let detail = "must be later than `from`, and `from` must be in the past".to_owned();
            return Err(Problem::invalid("to", detail));
        }
        if input.dry_run {
            return self.dry_run(&tenant, &filter).await;
        }
        let replay = Replay {
            id: ReplayId::new(now, self.rng.bits()),
            tenant: tenant.clone(),
            filter,
            status: ReplayStatus::Running,
            matched: 0,
            published: 0,
            created_at: now,
            updated_at: now,
            reason: None,
        };
        if let ReplayStart::TooMany(running) = self.store.start_replay(&replay).await? {
            return Err(too_many_replays(&running));
        }
        let job = ReplayTask {
            v: VERSION,
            tenant: tenant.clone(),
            replay: replay.id,
            cursor: String::new(),
        };
        self.replays.publish(vec![crate::handlers::replay::page_record(&job)?]).await?;
        tracing::info!(%tenant, replay = %replay.id, "replay started");
        let answer = ReplayAnswer {
            replay: Some(replay.id),
            status: ReplayStatus::Running.as_str(),
            matched: None,
            more: None,
        };
        let location = Some(format!("{}/events/replays/{}", request.base_url, replay.id));
        Ok(ApiReply { location, ..ApiReply::json(StatusCode::ACCEPTED, &answer)? })
    }

    async fn dry_run(&self, tenant: &TenantId, filter: &EventFilter) -> Result<ApiReply, Problem> {
        let (mut matched, mut next) = (0, None::<String>);
        for _page in 0..MAX_DRY_RUN_PAGES {
            let oldest = Direction::OldestFirst;
            let page = self.store.events(tenant, filter, oldest, 100, next.as_deref()).await?;
            matched += page.items.len() as u64;
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let (matched, more) = (Some(matched), Some(next.is_some()));
        let reply = ReplayAnswer { replay: None, status: "dry_run", matched, more };
        ApiReply::json(StatusCode::ACCEPTED, &reply)
    }
}

fn too_many_replays(running: &[ReplayId]) -> Problem {
    let running: Vec<_> = running.iter().map(ToString::to_string).collect();
    let detail = format!(
        "{} replays of the tenant run, which is the most: wait until one of {} has ended, as \
         GET /events/replays/{{id}} shows",
        running.len(),
        running.join(", ")
    );
    let (status, title) = (StatusCode::CONFLICT, "Too many replays run");
    Problem::new(status, "too_many_replays", title, detail)
}

fn not_replayable() -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let title = "The event cannot be replayed";
    let detail =
        "it could not be parsed when it was received, or its payload has expired".to_owned();
    Problem::new(status, "not_replayable", title, detail)
}

/// Parses the filters of the query.
fn filter(request: &ApiRequest) -> Result<EventFilter, Problem> {
    let invalid = |name: &'static str, detail: &str| Problem::invalid(name, detail.to_owned());
    let provider = request.query("provider").map(|name| {
        name.parse::<Provider>().map_err(|error| Problem::invalid("provider", error.to_string()))
    });
    let kind = request.query("kind").map(|name| {
        Kind::from_name(name)
            .ok_or_else(|| invalid("kind", "must be `message`, `receipt` or `other`"))
    });
    let state = request.query("state").map(|name| {
        State::from_name(name).ok_or_else(|| invalid("state", "must be `recorded` or `parked`"))
    });
    let time = |name: &'static str| {
        let read = request.query(name).map(|text| {
            let detail = "must be an RFC 3339 time such as 2026-01-31T12:00:00Z";
            text.parse::<Timestamp>().map_err(|_| invalid(name, detail))
        });
        read.transpose()
    };
    Ok(EventFilter {
        provider: provider.transpose()?,
        kind: kind.transpose()?,
        name: request.query("name").map(|name| checked_name(name.to_owned())).transpose()?,
        state: state.transpose()?,
        from: time("from")?,
        to: time("to")?,
    })
}

fn checked_name(name: String) -> Result<String, Problem> {
    if name.is_empty() || name.len() > MAX_NAME_LEN {
        return Err(Problem::invalid("name", format!("must be 1 to {MAX_NAME_LEN} bytes")));
    }
    Ok(name)
}

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(kit: &Kit<E>) -> Result<Events<E>, Error> {
    let bucket = kit.bucket()?;
    Ok(Events {
        store: kit.repository()?,
        events: kit.queue("EVENTS_QUEUE_URL", Some(&bucket))?,
        replays: kit.queue("REPLAY_QUEUE_URL", None)?,
        bucket,
        clock: kit.clock.clone(),
        rng: kit.rng.clone(),
    })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    accounts::rate_limit::serve(resource, async |resource| resource.store.prewarm().await)
}
