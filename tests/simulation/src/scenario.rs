//! Scenarios: the steps of a run and its faults.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use testkit::cloud::dynamo::PartitionLimits;

use crate::faults::{Fault, InjectionPoint, Source};
use crate::feature::Work;
use crate::machine::Outage;
use crate::random::{Seed, SeededRng};
use crate::run::Run;

/// An action of a customer, a tenant or a provider, as a feature defines it. Its `Display` is a
/// sentence without a full stop.
pub trait Action: Any + fmt::Debug + fmt::Display + Send + Sync {
    /// Performs the action. `number` is the number of its step, from 0.
    fn perform<'a>(&'a self, run: &'a Run<'_>, number: usize) -> Work<'a, ()>;

    /// Whether the feature performs it itself, from [`crate::feature::Part::begin`] on.
    fn runs_in_background(&self) -> bool {
        false
    }

    /// Whether it has effects hours later. If so, faults continue for hours.
    fn has_late_effects(&self) -> bool {
        false
    }
}

/// An action at a time.
#[derive(Clone, Debug)]
pub struct Step {
    /// Time after the start of the run.
    pub at: Duration,
    /// The action.
    pub action: Arc<dyn Action>,
}

impl Step {
    /// Creates a step.
    #[must_use]
    pub fn new(at: Duration, action: impl Action + 'static) -> Self {
        Self { at, action: Arc::new(action) }
    }

    /// Returns the action if it has this type.
    #[must_use]
    pub fn action_as<T: Action>(&self) -> Option<&T> {
        (self.action.as_ref() as &dyn Any).downcast_ref()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:.1} s: {}", self.at.as_secs_f64(), self.action)
    }
}

/// A canonical scenario: a short scenario that runs with every fault at every injection point.
#[derive(Clone, Debug)]
pub struct CanonicalScenario {
    /// Name.
    pub name: &'static str,
    /// Steps.
    pub steps: Vec<Step>,
}

impl CanonicalScenario {
    /// The scenario with exactly these faults.
    #[must_use]
    pub fn with_faults(&self, faults: BTreeMap<InjectionPoint, Fault>) -> Scenario {
        Scenario {
            name: self.name.to_owned(),
            seed: Seed(1),
            steps: self.steps.clone(),
            source: Source::Given(faults),
            outages: Vec::new(),
            nondeterministic_queues: false,
            equal_latencies: true,
            limits: None,
        }
    }

    /// The scenario with many random faults from `rng`.
    #[must_use]
    pub fn with_random_faults(self, seed: u64, rng: &SeededRng) -> Scenario {
        Scenario {
            name: self.name.to_owned(),
            seed: Seed(seed),
            steps: self.steps,
            source: Source::Random { per_mille: 20 + rng.below(150) },
            outages: Vec::new(),
            nondeterministic_queues: rng.below(2) == 0,
            equal_latencies: false,
            limits: None,
        }
    }
}

/// A scenario with all parameters of its run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name, for people.
    pub name: String,
    /// Seed of all randomness.
    pub seed: Seed,
    /// Steps.
    pub steps: Vec<Step>,
    /// Source of the faults.
    pub source: Source,
    /// Outages of services.
    pub outages: Vec<Outage>,
    /// Whether the queues show all behavior that SQS allows.
    pub nondeterministic_queues: bool,
    /// Whether all latencies are equal.
    pub equal_latencies: bool,
    /// Limits of each partition key of the table, if any.
    pub limits: Option<PartitionLimits>,
}
