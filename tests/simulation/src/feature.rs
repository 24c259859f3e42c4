//! What a feature brings to the simulation, and the registry of all that take part.
//!
//! The engine knows no feature. A feature's own crate implements [`Feature`] and is registered by
//! value; one part of it lives as long as the stage ([`Fixtures`]), one as long as a run
//! ([`Part`]). Every method that a feature may leave out does nothing.

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

use crate::chance::Seed;
use crate::functions::{Instance, OwnKit};
use crate::machine::Origin;
use crate::run::Run;
use crate::scenario::{Canonical, Scenario, Step};
use crate::stage::Setup;
use crate::watch::{INVARIANTS, Invariant, Watch};

/// Work of a feature's, later.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A feature, as the simulation knows it.
pub trait Feature: Send + Sync + Debug {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The invariants that it watches. The names must be its own.
    fn invariants(&self) -> Vec<Invariant> {
        Vec::new()
    }

    /// What no request to a table, a queue or a bucket may contain: the secrets in its fixtures.
    fn secrets(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Makes the deployed function `name` from `kit`; `None` if it is not the feature's.
    fn function(&self, name: &str, kit: &OwnKit) -> Option<Result<Box<dyn Instance>, String>> {
        let _ = (name, kit);
        None
    }

    /// Its schedules.
    fn schedules(&self) -> Vec<Schedule> {
        Vec::new()
    }

    /// A path of a request without the secrets in it, as the history shows it.
    fn shown<'a>(&self, path: Cow<'a, str>) -> Cow<'a, str> {
        path
    }

    /// Makes its fixtures through the hub's API, once, before anything else happens.
    fn set_up<'a>(&'a self, setup: &'a mut Setup) -> Work<'a, Result<Box<dyn Fixtures>, String>>;

    /// Its canonical scenarios: each is played with every trouble at every place.
    fn scenarios(&self) -> Vec<Canonical> {
        Vec::new()
    }

    /// The scenario that a seed stands for. Without one of its own it is a canonical scenario
    /// with much trouble.
    fn drawn(&self, seed: u64) -> Option<Scenario> {
        let chance = Seed(seed).sequence("scenario");
        let scenario = chance.pick(&self.scenarios()).cloned()?;
        Some(scenario.drawn(seed, &chance))
    }
}

/// What a feature has on the stage, from which each run begins.
pub trait Fixtures: Send + Sync + Debug {
    /// Lets happen, once, what must have happened before the first run. Queues and schedules
    /// work by now; it must end before [`crate::time::START`].
    ///
    /// # Errors
    /// What did not go as it should.
    fn warm_up<'a>(&'a mut self, setup: &'a Setup) -> Work<'a, Result<(), String>> {
        let _ = setup;
        Box::pin(std::future::ready(Ok(())))
    }

    /// The feature's part in one run.
    fn begin(&self) -> Arc<dyn Part>;
}

/// A feature's part in one run: what it has done, what it watches, and what it judges.
pub trait Part: Any + Send + Sync {
    /// Watches a request to the table, right before it is done.
    fn table_call_begins(&self, call: &TableCall<'_>, cloud: &Cloud, watch: &mut Watch) {
        let _ = (call, cloud, watch);
    }

    /// Watches it right after; no other request comes in between.
    fn table_call_ended(&self, call: &TableCall<'_>, cloud: &Cloud, watch: &mut Watch) {
        let _ = (call, cloud, watch);
    }

    /// Watches a request of the invocation `who` to a provider or an automation, right before
    /// it arrives.
    fn outside_call_begins(
        &self,
        who: &str,
        request: &Request<Bytes>,
        cloud: &Cloud,
        watch: &mut Watch,
    ) {
        let _ = (who, request, cloud, watch);
    }

    /// Prepares the run, before queues and schedules work.
    fn prepare<'a>(&'a self, run: &'a Run<'_>, steps: &'a [Step]) -> Work<'a, ()> {
        let _ = (run, steps);
        Box::pin(std::future::ready(()))
    }

    /// Begins what goes on beside the steps, such as callers with work of their own.
    fn begin(&self, run: &Run<'_>, steps: &[Step], begin: Instant) {
        let _ = (run, steps, begin);
    }

    /// Ends the trouble that it has made, when all trouble ends.
    fn calm_down<'a>(&'a self, run: &'a Run<'_>) -> Work<'a, ()> {
        let _ = run;
        Box::pin(std::future::ready(()))
    }

    /// Whether nothing of it goes on.
    fn is_quiet<'a>(&'a self, run: &'a Run<'_>) -> Work<'a, bool> {
        let _ = run;
        Box::pin(std::future::ready(true))
    }

    /// Judges its invariants, when everything has come to rest.
    fn judge<'a>(&'a self, run: &'a Run<'_>) -> Work<'a, ()> {
        let _ = run;
        Box::pin(std::future::ready(()))
    }
}

/// A request to the table.
#[derive(Clone, Copy, Debug)]
pub struct TableCall<'a> {
    /// The invocation that it comes from.
    pub origin: &'a Origin,
    /// The operation, such as `GetItem`.
    pub operation: &'a str,
    /// Its JSON.
    pub body: &'a Value,
}

/// A function that is started once a minute.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The function.
    pub function: &'static str,
    /// When it has something to do next, in milliseconds since 1970. It is not started in the
    /// minutes before; while it has something to do, a run is not over.
    pub next_due_ms: fn(&Cloud) -> Option<i64>,
}

/// The features that take part.
#[derive(Debug, Default)]
pub struct Registry {
    features: Vec<Box<dyn Feature>>,
}

impl Registry {
    /// No feature.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more feature. It is set up after those that are there, and may use theirs.
    #[must_use]
    pub fn with(mut self, feature: impl Feature + 'static) -> Self {
        self.features.push(Box::new(feature));
        self
    }

    /// The features, in the order in which they were registered.
    pub fn features(&self) -> impl Iterator<Item = &dyn Feature> {
        self.features.iter().map(AsRef::as_ref)
    }

    /// Every invariant: the engine's own, then those of the features.
    #[must_use]
    pub fn invariants(&self) -> Vec<Invariant> {
        let own = INVARIANTS.iter().copied();
        own.chain(self.features().flat_map(Feature::invariants)).collect()
    }

    /// Every canonical scenario.
    #[must_use]
    pub fn scenarios(&self) -> Vec<Canonical> {
        self.features().flat_map(Feature::scenarios).collect()
    }

    /// The scenario that a seed stands for: that of one of the features that have any.
    #[must_use]
    pub fn drawn(&self, seed: u64) -> Option<Scenario> {
        let drawn: Vec<_> = self.features().filter_map(|feature| feature.drawn(seed)).collect();
        let place = Seed(seed).below("feature", drawn.len() as u64);
        drawn.into_iter().nth(usize::try_from(place).unwrap_or(0))
    }

    /// Every schedule.
    pub(crate) fn schedules(&self) -> Vec<Schedule> {
        self.features().flat_map(Feature::schedules).collect()
    }

    /// Every secret of the fixtures.
    pub(crate) fn secrets(&self) -> Vec<&'static str> {
        self.features().flat_map(Feature::secrets).collect()
    }

    /// A path without the secrets in it.
    pub(crate) fn shown<'a>(&self, path: &'a str) -> Cow<'a, str> {
        self.features().fold(Cow::Borrowed(path), |path, feature| feature.shown(path))
    }

    /// Makes a deployed function.
    pub(crate) fn function(&self, name: &str, kit: &OwnKit) -> Result<Box<dyn Instance>, String> {
        let made = self.features().find_map(|feature| feature.function(name, kit));
        made.unwrap_or_else(|| Err(format!("{name} is not part of the simulation")))
    }

    /// Refuses names that stand for two things.
    pub(crate) fn check(&self) -> Result<(), String> {
        fn twice(what: &str, names: impl Iterator<Item = &'static str>) -> Result<(), String> {
            let mut seen = BTreeSet::new();
            for name in names {
                if !seen.insert(name) {
                    return Err(format!("two {what} are called {name}; rename one"));
                }
            }
            Ok(())
        }
        twice("features", self.features().map(Feature::name))?;
        twice("invariants", self.invariants().into_iter().map(|invariant| invariant.name))?;
        twice("canonical scenarios", self.scenarios().into_iter().map(|scenario| scenario.name))
    }
}
