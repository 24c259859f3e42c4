//! How the hub is, for people and monitors: it needs no key and tells no secret.

use std::time::Duration;

use domain::ports::{Clock, PulseReader};
use domain::pull::Pulse;
use http::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use store::DynamoStore;

use super::{ApiReply, ApiRequest, Params, Problem, Resource, Route, schema};
use crate::{Error, Kit};

/// What the resource needs.
#[derive(Debug)]
pub struct Status<S, C> {
    /// The table.
    pub store: S,
    /// The time.
    pub clock: C,
}

/// Its one operation.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Tell how the hub is.
    Show,
}

/// How the hub is.
#[derive(Debug, Serialize, JsonSchema)]
struct View {
    /// `ok`; `degraded` if the hub does not look after its jobs; `starting` before it did for the
    /// first time.
    status: &'static str,
    /// `switchboard`.
    service: &'static str,
    /// Jobs that wait for workers, as of the last minute.
    queue_size: u64,
    /// Seconds since when it runs without a gap.
    uptime: u64,
    /// The version that answers.
    version: &'static str,
}

/// The one route.
pub(crate) const ROUTES: &[Route<Operation>] = &[Route {
    operation: Operation::Show,
    method: "GET",
    path: "/",
    summary: "Tell how the hub is",
    scope: None,
    parameters: &[],
    request: None,
    answer: (200, Some(schema::<View>)),
}];

impl<S: PulseReader, C: Clock> Resource for Status<S, C> {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        _request: &ApiRequest,
        _params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::Show => {
                let view = view(self.store.pulse().await?, self.clock.now());
                ApiReply::json(StatusCode::OK, &view)
            }
        }
    }
}

fn view(pulse: Option<Pulse>, now: Timestamp) -> View {
    let status = match &pulse {
        None => "starting",
        Some(pulse) if pulse.is_late(now) => "degraded",
        Some(_) => "ok",
    };
    // What is not well does not count as up.
    let up = pulse.filter(|pulse| !pulse.is_late(now));
    let uptime = up.and_then(|pulse| Duration::try_from(now.duration_since(pulse.up_since)).ok());
    View {
        status,
        service: "switchboard",
        queue_size: pulse.map_or(0, |pulse| pulse.queued),
        uptime: uptime.unwrap_or_default().as_secs(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// The resource.
///
/// # Errors
/// If the environment is incomplete.
pub fn resource<N, C: Clone, R>(kit: &Kit<N, C, R>) -> Result<Status<DynamoStore, C>, Error> {
    Ok(Status { store: kit.store()?, clock: kit.clock.clone() })
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
