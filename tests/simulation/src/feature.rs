//! The interface of a feature, and the registry of features.
//!
//! The engine knows no feature. A feature's crate implements [`Feature`] and is registered by
//! value. Its [`Fixtures`] last as long as the initial state, and its [`Part`] as long as a run. Optional
//! methods do nothing by default.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use testkit::cloud::Cloud;
use tokio::time::Instant;

use crate::functions::{Instance, SimulationKit};
use crate::initial_state::Setup;
use crate::machine::Origin;
use crate::monitor::{INVARIANTS, Invariant, Monitor};
use crate::random::Seed;
use crate::run::Run;
use crate::scenario::{CanonicalScenario, Scenario, Step};

/// Future of a feature.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A feature in the simulation.
pub trait Feature: Send + Sync + Debug {
    /// Name.
    fn name(&self) -> &'static str;

    /// The feature's invariants. Their names must be unique.
    fn invariants(&self) -> Vec<Invariant> {
        Vec::new()
    }

    /// Secrets in its fixtures, which no request to a table, a queue or a bucket may contain.
    fn secrets(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Creates the deployed function `name` from `kit`, or returns `None` if the feature has no
    /// such function.
    fn function(
        &self,
        name: &str,
        kit: &SimulationKit,
    ) -> Option<Result<Box<dyn Instance>, String>> {
        let _ = (name, kit);
        None
    }

    /// The feature's schedules.
    fn schedules(&self) -> Vec<Schedule> {
        Vec::new()
    }

    /// Removes secrets from a request path for the history.
    fn redact_path<'a>(&self, path: Cow<'a, str>) -> Cow<'a, str> {
        path
    }

    /// Creates its fixtures through the hub's API, once, before all runs.
    fn set_up<'a>(&'a self, setup: &'a mut Setup) -> Work<'a, Result<Box<dyn Fixtures>, String>>;

    /// Its canonical scenarios. Each runs with every fault at every injection point.
    fn scenarios(&self) -> Vec<CanonicalScenario> {
        Vec::new()
    }

    /// The random scenario of a seed. By default, a canonical scenario with many faults.
    fn random_scenario(&self, seed: u64) -> Option<Scenario> {
        let rng = Seed(seed).rng("scenario");
        let scenario = rng.pick(&self.scenarios()).cloned()?;
        Some(scenario.with_random_faults(seed, &rng))
    }
}

/// Fixtures of a feature, the initial state of each run.
pub trait Fixtures: Send + Sync + Debug {
    /// Runs once what must have happened before the first run. Queues and schedules are active.
    /// Must end before [`crate::time::START`].
    ///
    /// # Errors
    /// If the warm-up fails.
    fn warm_up<'a>(&'a mut self, setup: &'a Setup) -> Work<'a, Result<(), String>> {
        let _ = setup;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Creates the feature's part in a run.
    fn create_part(&self) -> Arc<dyn Part>;
}

/// A feature's state in one run, with its observations and checks.
pub trait Part: Any + Send + Sync {
    /// Observes a request to the table, right before it is executed.
    fn table_call_begins(&self, call: &TableCall<'_>, cloud: &Cloud, monitor: &mut Monitor) {
        let _ = (call, cloud, monitor);
    }

    /// Observes it right after; no other request is executed in between.
    fn table_call_ended(&self, call: &TableCall<'_>, cloud: &Cloud, monitor: &mut Monitor) {
        let _ = (call, cloud, monitor);
    }

    /// Observes a request of the invocation `who` to a provider or an automation, right before it
    /// arrives.
    fn provider_call_begins(
        &self,
        who: &str,
        request: &Request<Bytes>,
        cloud: &Cloud,
        monitor: &mut Monitor,
    ) {
        let _ = (who, request, cloud, monitor);
    }

    /// Prepares the run, before queues and schedules are active.
    fn prepare<'a>(&'a self, run: &'a Run<'_>, steps: &'a [Step]) -> Work<'a, ()> {
        let _ = (run, steps);
        Box::pin(std::future::ready(()))
    }

    /// Starts background tasks of the run, such as workers.
    fn begin(&self, run: &Run<'_>, steps: &[Step], begin: Instant) {
        let _ = (run, steps, begin);
    }

    /// Ends the feature's own faults, when all faults end.
    fn end_faults<'a>(&'a self, run: &'a Run<'_>) -> Work<'a, ()> {
        let _ = run;
        Box::pin(std::future::ready(()))
    }

    /// Whether the feature has no work in progress.
    fn is_quiet<'a>(&'a self, run: &'a Run<'_>) -> Work<'a, bool> {
        let _ = run;
        Box::pin(std::future::ready(true))
    }

    /// Checks its invariants, after all work has ended.
    fn check_invariants<'a>(&'a self, run: &'a Run<'_>) -> Work<'a, ()> {
        let _ = run;
        Box::pin(std::future::ready(()))
    }
}

/// A request to the table.
#[derive(Clone, Copy, Debug)]
pub struct TableCall<'a> {
    /// The invocation that sends it.
    pub origin: &'a Origin,
    /// Operation, such as `GetItem`.
    pub operation: &'a str,
    /// Request body.
    pub body: &'a Value,
}

/// A function that runs once a minute.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Name of the function.
    pub function: &'static str,
    /// When it is next due, in milliseconds since 1970. The function is skipped while it is not
    /// due, and a run does not end while it is.
    pub next_due_ms: fn(&Cloud) -> Option<i64>,
}

/// The registered features.
#[derive(Debug, Default)]
pub struct Registry {
    features: Vec<Box<dyn Feature>>,
}

impl Registry {
    /// Creates an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a feature. It is set up after those before it, and may use their fixtures.
    #[must_use]
    pub fn with(mut self, feature: impl Feature + 'static) -> Self {
        self.features.push(Box::new(feature));
        self
    }

    /// The features in the order of registration.
    pub fn features(&self) -> impl Iterator<Item = &dyn Feature> {
        self.features.iter().map(AsRef::as_ref)
    }

    /// All invariants: the engine's, then those of the features.
    #[must_use]
    pub fn invariants(&self) -> Vec<Invariant> {
        let own = INVARIANTS.iter().copied();
        own.chain(self.features().flat_map(Feature::invariants)).collect()
    }

    /// All canonical scenarios.
    #[must_use]
    pub fn scenarios(&self) -> Vec<CanonicalScenario> {
        self.features().flat_map(Feature::scenarios).collect()
    }

    /// The random scenario of a seed, from one of the features that have one.
    #[must_use]
    pub fn random_scenario(&self, seed: u64) -> Option<Scenario> {
        let drawn: Vec<_> =
            self.features().filter_map(|feature| feature.random_scenario(seed)).collect();
        let place = Seed(seed).below("feature", drawn.len() as u64);
        drawn.into_iter().nth(usize::try_from(place).unwrap_or(0))
    }

    /// All schedules.
    pub(crate) fn schedules(&self) -> Vec<Schedule> {
        self.features().flat_map(Feature::schedules).collect()
    }

    /// All secrets in the fixtures.
    pub(crate) fn secrets(&self) -> Vec<&'static str> {
        self.features().flat_map(Feature::secrets).collect()
    }

    /// Removes secrets from a path.
    pub(crate) fn redact_path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        self.features().fold(Cow::Borrowed(path), |path, feature| feature.redact_path(path))
    }

    /// Creates a deployed function.
    pub(crate) fn function(
        &self,
        name: &str,
        kit: &SimulationKit,
    ) -> Result<Box<dyn Instance>, String> {
        let made = self.features().find_map(|feature| feature.function(name, kit));
        made.unwrap_or_else(|| Err(format!("{name} is not part of the simulation")))
    }

    /// Rejects duplicate names.
    pub(crate) fn check(&self) -> Result<(), String> {
        fn check_unique(
            what: &str,
            names: impl Iterator<Item = &'static str>,
        ) -> Result<(), String> {
            let mut seen = BTreeSet::new();
            for name in names {
                if !seen.insert(name) {
                    return Err(format!("two {what} are called {name}. Rename one"));
                }
            }
            Ok(())
        }
        check_unique("features", self.features().map(Feature::name))?;
        check_unique("invariants", self.invariants().into_iter().map(|invariant| invariant.name))?;
        check_unique(
            "canonical scenarios",
            self.scenarios().into_iter().map(|scenario| scenario.name),
        )
    }
}
