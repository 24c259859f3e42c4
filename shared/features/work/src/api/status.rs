//! Health check for people and monitors. It needs no key and returns no secret.

use std::time::Duration;

use domain::ports::Clock;
use domain::pull::HealthSnapshot;
use http::StatusCode;
use jiff::Timestamp;
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, schema};
use runtime::{Error, Kit};
use schemars::JsonSchema;
use serde::Serialize;

use crate::Repository;
use crate::ports::HealthReader;

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Status<S, C> {
    /// DynamoDB table.
    pub store: S,
    /// Clock.
    pub clock: C,
}

/// The only operation of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Get the health of the hub.
    Get,
}

/// Health of the hub.
#[derive(Debug, Serialize, JsonSchema)]
struct HubStatus {
    /// `ok`; `degraded` if the scheduled job maintenance is late; `starting` before its first run.
    status: &'static str,
    /// Always `switchboard`.
    service: &'static str,
    /// Number of jobs that wait for workers. Updated every minute.
    queue_size: u64,
    /// Seconds for which the hub has run without interruption.
    uptime: u64,
    /// Version of the hub.
    version: &'static str,
}

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[Route {
    operation: Operation::Get,
    method: "GET",
    path: "/",
    summary: "Get the health of the hub",
    scope: None,
    parameters: &[],
    request: None,
    answer: (200, Some(schema::<HubStatus>)),
}];

impl<S: HealthReader, C: Clock> Resource for Status<S, C> {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        _request: &ApiRequest,
        _params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::Get => {
                let view = view(self.store.health().await?, self.clock.now());
                ApiReply::json(StatusCode::OK, &view)
            }
        }
    }
}

fn view(health: Option<HealthSnapshot>, now: Timestamp) -> HubStatus {
    let status = match &health {
        None => "starting",
        Some(health) if health.is_late(now) => "degraded",
        Some(_) => "ok",
    };
    // A degraded hub reports an uptime of 0.
    let up = health.filter(|health| !health.is_late(now));
    let uptime = up.and_then(|health| Duration::try_from(now.duration_since(health.up_since)).ok());
    HubStatus {
        status,
        service: "switchboard",
        queue_size: health.map_or(0, |health| health.queued),
        uptime: uptime.unwrap_or_default().as_secs(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<N, C: Clone, R>(kit: &Kit<N, C, R>) -> Result<Status<Repository, C>, Error> {
    Ok(Status { store: Repository::of(kit)?, clock: kit.clock.clone() })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    runtime::start(async |kit| {
        let resource = resource(&kit)?;
        resource.store.prewarm().await;
        runtime::api::serve(&kit, resource).await
    })
}
