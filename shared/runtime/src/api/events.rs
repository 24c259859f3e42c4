//! Everything that happened, for its tenant: listed, shown and worked again.

use domain::job::{ReplayJob, VERSION};
use domain::ports::{Clock, Dice, EventBodyReader, EventReader, Publisher, Replays};
use domain::record::{
    Direction, EventFilter, EventRecord, Kept, Kind, Replay, ReplayStatus, State,
};
use domain::tenant::Scope;
use domain::{EventId, Provider, ReplayId, TenantId};
use http::StatusCode;
use jiff::Timestamp;
use queue::{Bucket, SqsQueue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::DynamoStore;

use super::{ApiReply, ApiRequest, Params, Problem, Resource, Route, cursor, schema};
use crate::{Error, Kit};

/// Pages that a dry run counts, of a hundred events each.
const DRY_PAGES: u32 = 10;
/// The longest name of an event that is asked for.
const LONGEST_NAME: usize = 200;

/// What the resource needs.
#[derive(Debug)]
pub struct Events<S, B, P, C, R> {
    /// The table.
    pub store: S,
    /// What is too large for the table.
    pub bucket: B,
    /// The events' queue.
    pub events: P,
    /// The replays' queue.
    pub replays: P,
    /// The time.
    pub clock: C,
    /// Ids.
    pub dice: R,
}

/// Its operations.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// List events.
    List,
    /// Show one.
    Show,
    /// Work one again.
    ReplayOne,
    /// Work many again.
    ReplayMany,
    /// Show how far that is.
    ShowReplay,
}

/// A page of events.
#[derive(Debug, Serialize, JsonSchema)]
struct EventPage {
    /// Newest first. May be empty although another page follows.
    events: Vec<EventRecord>,
    /// Where the next page begins.
    next: Option<String>,
}

/// An event.
#[derive(Debug, Serialize, JsonSchema)]
struct EventDetail {
    /// The record.
    #[serde(flatten)]
    record: EventRecord,
    /// What it was read from, as the provider sent it; for an admin's key only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    raw: Option<Box<RawValue>>,
}

/// Body of `POST /events/replay`: which events to work again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReplayMany {
    /// Whose, for the platform's key.
    #[serde(default)]
    tenant: Option<TenantId>,
    /// From this provider only.
    #[serde(default)]
    provider: Option<Provider>,
    /// Of this kind only.
    #[serde(default)]
    kind: Option<Kind>,
    /// Of this name only.
    #[serde(default)]
    name: Option<String>,
    /// Received at this time or later.
    from: Timestamp,
    /// Received before this time.
    to: Timestamp,
    /// Only count them.
    #[serde(default)]
    dry_run: bool,
}

/// What became of `POST /events/replay`.
#[derive(Debug, Serialize, JsonSchema)]
struct ReplayAnswer {
    /// The replay's id, to ask after it with; absent for a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<ReplayId>,
    /// `running`, or `dry_run`.
    status: &'static str,
    /// How many events a dry run found.
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<u64>,
    /// Whether there may be more than a dry run looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<bool>,
}

/// What became of `POST /events/{id}/replay`.
#[derive(Debug, Serialize, JsonSchema)]
struct ReplayedOne {
    /// The event.
    event: EventId,
    /// The replay's id, which the event's record shows once it was worked.
    replay: ReplayId,
    /// `queued`.
    status: &'static str,
}

const FILTERS: &[(&str, &str, &str)] = &[
    ("provider", "query", "From this provider only."),
    ("kind", "query", "`message`, `receipt` or `other`."),
    ("name", "query", "Of this name only."),
    ("state", "query", "`recorded`, or `parked`: authentic, and could not be read."),
    ("from", "query", "Received at this time or later, as RFC 3339."),
    ("to", "query", "Received before this time, as RFC 3339."),
    ("limit", "query", "Items on a page, 1 to 100; 50 if absent."),
    ("cursor", "query", "The `next` of the page before."),
    ("tenant", "query", "Which tenant's, for the platform's key."),
];
const TENANT: &[(&str, &str, &str)] =
    &[("tenant", "query", "Which tenant's, for the platform's key.")];

/// The routes of events.
pub(crate) const ROUTES: &[Route<Operation>] = &[
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
        operation: Operation::Show,
        method: "GET",
        path: "/events/{id}",
        summary: "Show an event; to an admin's key with what the provider sent",
        scope: Some(Scope::Read),
        parameters: TENANT,
        request: None,
        answer: (200, Some(schema::<EventDetail>)),
    },
    Route {
        operation: Operation::ReplayOne,
        method: "POST",
        path: "/events/{id}/replay",
        summary: "Work an event again",
        scope: Some(Scope::Admin),
        parameters: TENANT,
        request: None,
        answer: (202, Some(schema::<ReplayedOne>)),
    },
    Route {
        operation: Operation::ReplayMany,
        method: "POST",
        path: "/events/replay",
        summary: "Work many events again, in the order in which they came",
        scope: Some(Scope::Admin),
        parameters: TENANT,
        request: Some(schema::<ReplayMany>),
        answer: (202, Some(schema::<ReplayAnswer>)),
    },
    Route {
        operation: Operation::ShowReplay,
        method: "GET",
        path: "/events/replays/{id}",
        summary: "Show how far a replay is",
        scope: Some(Scope::Admin),
        parameters: TENANT,
        request: None,
        answer: (200, Some(schema::<Replay>)),
    },
];

impl<S, B, P, C, R> Resource for Events<S, B, P, C, R>
where
    S: EventReader + Replays,
    B: EventBodyReader,
    P: Publisher,
    C: Clock,
    R: Dice,
{
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
            Operation::Show => self.show(request, params.get("id")?).await,
            Operation::ReplayOne => self.replay_one(request, params.get("id")?).await,
            Operation::ReplayMany => self.replay_many(request).await,
            Operation::ShowReplay => {
                let tenant = request.tenant(Scope::Admin, None)?;
                let found = self.store.replay(&tenant, params.get("id")?).await?;
                ApiReply::json(StatusCode::OK, &found.ok_or_else(Problem::not_found)?.replay)
            }
        }
    }
}

impl<S, B, P, C, R> Events<S, B, P, C, R>
where
    S: EventReader + Replays,
    B: EventBodyReader,
    P: Publisher,
    C: Clock,
    R: Dice,
{
    async fn list(&self, request: &ApiRequest, filter: EventFilter) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Read, None)?;
        let (limit, from) = request.page()?;
        let newest = Direction::NewestFirst;
        let page = self.store.events(&tenant, &filter, newest, limit, from.as_deref()).await?;
        let events = page.items.into_iter().map(|event| event.record).collect();
        ApiReply::json(StatusCode::OK, &EventPage { events, next: cursor(page.next) })
    }

    async fn kept(&self, tenant: &TenantId, id: EventId) -> Result<Kept, Problem> {
        let kept = self.store.event(tenant, id).await?;
        let kept = kept.filter(|kept| !kept.record.is_forgotten(self.clock.now()));
        kept.ok_or_else(Problem::not_found)
    }

    async fn show(&self, request: &ApiRequest, id: EventId) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Read, None)?;
        let kept = self.kept(&tenant, id).await?;
        // What a provider sends may hold more than people who read lists are to see.
        let raw = if request.caller(Scope::Read)?.may(Scope::Admin) {
            crate::events::body(&self.bucket, &kept).await?.map(|body| body.raw)
        } else {
            None
        };
        ApiReply::json(StatusCode::OK, &EventDetail { record: kept.record, raw })
    }

    async fn replay_one(&self, request: &ApiRequest, id: EventId) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Admin, None)?;
        let kept = self.kept(&tenant, id).await?;
        let replay = ReplayId::new(self.clock.now(), self.dice.bits());
        let record = crate::events::again(&self.bucket, &kept, replay).await?;
        let record = record.ok_or_else(not_replayable)?;
        self.events.publish(vec![record]).await?;
        tracing::info!(%tenant, event_id = %id, %replay, "event replayed");
        let answer = ReplayedOne { event: id, replay, status: "queued" };
        ApiReply::json(StatusCode::ACCEPTED, &answer)
    }

    async fn replay_many(&self, request: &ApiRequest) -> Result<ApiReply, Problem> {
        // Before the body is looked at: who may not ask is told nothing about it.
        request.caller(Scope::Admin)?;
        let asked: ReplayMany = request.read()?;
        let tenant = request.tenant(Scope::Admin, asked.tenant.as_ref())?;
        let now = self.clock.now();
        let filter = EventFilter {
            provider: asked.provider,
            kind: asked.kind,
            name: asked.name.map(checked_name).transpose()?,
            // What could not be read cannot be worked.
            state: Some(State::Recorded),
            from: Some(asked.from),
            to: Some(asked.to.min(now)),
        };
        if filter.from >= filter.to {
            let detail = "a time after `from`, and `from` a time that has been".to_owned();
            return Err(Problem::invalid("to", detail));
        }
        if asked.dry_run {
            return self.dry_run(&tenant, &filter).await;
        }
        let replay = Replay {
            id: ReplayId::new(now, self.dice.bits()),
            tenant: tenant.clone(),
            filter,
            status: ReplayStatus::Running,
            matched: 0,
            published: 0,
            created_at: now,
            updated_at: now,
            reason: None,
        };
        self.store.begin(&replay).await?;
        let job = ReplayJob {
            v: VERSION,
            tenant: tenant.clone(),
            replay: replay.id,
            cursor: String::new(),
        };
        self.replays.publish(vec![crate::replay::asked(&job)?]).await?;
        tracing::info!(%tenant, replay = %replay.id, "replay begun");
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
        for _page in 0..DRY_PAGES {
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

fn not_replayable() -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let title = "The event cannot be worked again";
    let detail = "it could not be read when it came, or what it brought is gone".to_owned();
    Problem::new(status, "not_replayable", title, detail)
}

/// What the query asks for.
fn filter(request: &ApiRequest) -> Result<EventFilter, Problem> {
    let one_of = |name: &'static str, of: &str| Problem::invalid(name, of.to_owned());
    let provider = request.query("provider").map(|name| {
        name.parse::<Provider>().map_err(|error| Problem::invalid("provider", error.to_string()))
    });
    let kind = request.query("kind").map(|name| {
        Kind::from_name(name).ok_or_else(|| one_of("kind", "`message`, `receipt` or `other`"))
    });
    let state = request.query("state").map(|name| {
        State::from_name(name).ok_or_else(|| one_of("state", "`recorded` or `parked`"))
    });
    let time = |name: &'static str| {
        let read = request.query(name).map(|text| {
            let detail = "a time as RFC 3339, such as 2026-01-31T12:00:00Z";
            text.parse::<Timestamp>().map_err(|_| one_of(name, detail))
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
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(Problem::invalid("name", format!("1 to {LONGEST_NAME} bytes")));
    }
    Ok(name)
}

/// The resource as it is deployed.
pub type OwnEvents<C, R> = Events<DynamoStore, Bucket, SqsQueue, C, R>;

/// The resource.
///
/// # Errors
/// If the environment is incomplete.
pub fn resource<N, C: Clone, R: Clone>(kit: &Kit<N, C, R>) -> Result<OwnEvents<C, R>, Error> {
    let bucket = kit.bucket()?;
    Ok(Events {
        store: kit.store()?,
        events: kit.queue("EVENTS_QUEUE_URL", Some(&bucket))?,
        replays: kit.queue("REPLAY_QUEUE_URL", None)?,
        bucket,
        clock: kit.clock.clone(),
        dice: kit.dice.clone(),
    })
}

/// Runs the resource until Lambda ends it.
///
/// # Errors
/// If the environment is incomplete.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let resource = resource(&kit)?;
        resource.store.prewarm().await;
        super::serve(&kit, resource).await
    })
}
