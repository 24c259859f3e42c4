//! Health check for load balancers and monitors, which needs no key, and figures of the hub, which
//! need one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::TenantId;
use domain::ports::{Clock, PortResult};
use domain::tenant::Scope;
use http::StatusCode;
use jiff::Timestamp;
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, schema};
use runtime::{AwsEnv, Error, FeatureRepository, Kit};
use schemars::JsonSchema;
use serde::Serialize;

use crate::Repository;
use crate::model::HealthSnapshot;
use crate::ports::{HealthReader, JobStats};

/// How long the heartbeat is cached: anyone may request the health check, and the heartbeat changes
/// once a minute.
const HEALTH_LIFETIME: Duration = Duration::from_secs(5);

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Status<C> {
    /// DynamoDB table.
    pub store: Repository,
    /// Clock.
    pub clock: C,
    /// The last heartbeat that was read.
    pub cache: HealthCache,
}

/// The last heartbeat that was read, and when.
#[derive(Debug, Default)]
pub struct HealthCache(Mutex<Option<(Timestamp, Option<HealthSnapshot>)>>);

impl HealthCache {
    /// Returns the heartbeat, at most [`HEALTH_LIFETIME`] old. An error is not cached.
    async fn read<R: HealthReader>(
        &self,
        store: &R,
        now: Timestamp,
    ) -> PortResult<Option<HealthSnapshot>> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, health)) = known
            && now.duration_since(read_at).unsigned_abs() < HEALTH_LIFETIME
        {
            return Ok(health);
        }
        let health = store.health().await?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, health));
        Ok(health)
    }
}

/// Operations of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Get the health of the hub.
    Get,
    /// Get the figures of the hub.
    GetFigures,
}

/// Health of the hub.
#[derive(Debug, Serialize, JsonSchema)]
struct HubStatus {
    /// `ok`; `degraded` if the scheduled job maintenance is late; `starting` before its first run.
    status: &'static str,
    /// Always `switchboard`.
    service: &'static str,
    /// Version of the hub.
    version: &'static str,
}

/// Health and figures of the hub.
#[derive(Debug, Serialize, JsonSchema)]
struct HubFigures {
    /// Health of the hub.
    #[serde(flatten)]
    health: HubStatus,
    /// Seconds for which the hub has run without interruption.
    uptime: u64,
    /// Tenant whose jobs are counted; absent if those of all tenants are.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    /// Number of jobs that wait for workers. That of all tenants is updated every minute.
    queue_size: u64,
    /// Number of jobs that workers process. That of all tenants is updated every minute.
    processing: u64,
    /// Number of jobs that workers completed in the last four hours; absent for all tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
}

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::Get,
        method: "GET",
        path: "/",
        summary: "Get the health of the hub",
        scope: None,
        parameters: &[],
        request: None,
        answer: (200, Some(schema::<HubStatus>)),
    },
    Route {
        operation: Operation::GetFigures,
        method: "GET",
        path: "/status",
        summary: "Get the health of the hub and the number of jobs",
        scope: Some(Scope::Read),
        parameters: &[(
            "tenant",
            "query",
            "Tenant whose jobs are counted. Default: the tenant of the key; with the platform key, all \
             tenants.",
        )],
        request: None,
        answer: (200, Some(schema::<HubFigures>)),
    },
];

impl<C: Clock> Resource for Status<C> {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        _params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::Get => {
                let now = self.clock.now();
                let health = self.cache.read(&self.store, now).await?;
                ApiReply::json(StatusCode::OK, &status(health.as_ref(), now))
            }
            Operation::GetFigures => {
                let of_all = request.principal(Scope::Read)?.tenant.is_platform()
                    && request.query("tenant").is_none();
                let tenant = if of_all { None } else { Some(request.tenant(Scope::Read, None)?) };
                // On the heap: requests of the health check do not need its size.
                let figures = Box::pin(self.figures(tenant)).await?;
                ApiReply::json(StatusCode::OK, &figures)
            }
        }
    }
}

impl<C: Clock> Status<C> {
    /// Returns the figures of `tenant`, or of all tenants.
    async fn figures(&self, tenant: Option<TenantId>) -> Result<HubFigures, Problem> {
        let now = self.clock.now();
        let (health, stats) = futures::join!(self.cache.read(&self.store, now), async {
            match &tenant {
                Some(tenant) => self.store.stats(tenant, now).await.map(Some),
                None => Ok(None),
            }
        });
        let (health, stats) = (health?, stats?);
        // A degraded hub reports an uptime of 0.
        let up = health.filter(|health| !health.is_late(now));
        let uptime =
            up.and_then(|health| Duration::try_from(now.duration_since(health.up_since)).ok());
        let (queue_size, processing) = match (&stats, &health) {
            (Some(stats), _) => (stats.queued, stats.processing),
            (None, Some(health)) => (health.queued, health.processing),
            (None, None) => (0, 0),
        };
        Ok(HubFigures {
            health: status(health.as_ref(), now),
            uptime: uptime.unwrap_or_default().as_secs(),
            tenant,
            queue_size,
            processing,
            completed: stats.map(|stats| stats.completed),
        })
    }
}

fn status(health: Option<&HealthSnapshot>, now: Timestamp) -> HubStatus {
    let status = match health {
        None => "starting",
        Some(health) if health.is_late(now) => "degraded",
        Some(_) => "ok",
    };
    HubStatus { status, service: "switchboard", version: env!("CARGO_PKG_VERSION") }
}

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(kit: &Kit<E>) -> Result<Status<E::Clock>, Error> {
    let (store, clock) = (kit.repository()?, kit.clock.clone());
    Ok(Status { store, clock, cache: HealthCache::default() })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::api::run(resource, async |resource| resource.store.prewarm().await)
}
