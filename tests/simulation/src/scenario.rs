//! Scenarios: the steps of a run and its faults.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use testkit::cloud::dynamo::PartitionLimits;

use crate::chance::{Seed, Sequence};
use crate::feature::Work;
use crate::machine::Outage;
use crate::run::Run;
use crate::trouble::{Fault, Place, Source};

/// An action of a customer, a tenant or a provider, as a feature defines it. Its `Display` is a
/// sentence without a full stop.
pub trait Act: Any + fmt::Debug + fmt::Display + Send + Sync {
    /// Performs the action. `number` is the number of its step, from 0.
    fn perform<'a>(&'a self, run: &'a Run<'_>, number: usize) -> Work<'a, ()>;

    /// Whether the feature performs it itself, from [`crate::feature::Part::begin`] on.
    fn is_of_its_part(&self) -> bool {
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
    pub act: Arc<dyn Act>,
}

impl Step {
    /// Creates a step.
    #[must_use]
    pub fn new(at: Duration, act: impl Act + 'static) -> Self {
        Self { at, act: Arc::new(act) }
    }

    /// Returns the action if it has this type.
    #[must_use]
    pub fn act_as<T: Act>(&self) -> Option<&T> {
        (self.act.as_ref() as &dyn Any).downcast_ref()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:.1} s: {}", self.at.as_secs_f64(), self.act)
    }
}

/// A canonical scenario: a short scenario that runs with every fault at every injection point.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// Name.
    pub name: &'static str,
    /// Steps.
    pub steps: Vec<Step>,
}

impl Canonical {
    /// The scenario with exactly these faults.
    #[must_use]
    pub fn with(&self, troubles: BTreeMap<Place, Fault>) -> Scenario {
        Scenario {
            name: self.name.to_owned(),
            seed: Seed(1),
            steps: self.steps.clone(),
            source: Source::Given(troubles),
            outages: Vec::new(),
            wild: false,
            even: true,
            limits: None,
        }
    }

    /// The scenario with many random faults from `chance`.
    #[must_use]
    pub fn drawn(self, seed: u64, chance: &Sequence) -> Scenario {
        Scenario {
            name: self.name.to_owned(),
            seed: Seed(seed),
            steps: self.steps,
            source: Source::Drawn { per_mille: 20 + chance.below(150) },
            outages: Vec::new(),
            wild: chance.below(2) == 0,
            even: false,
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
    pub wild: bool,
    /// Whether all latencies are equal.
    pub even: bool,
    /// Limits of each partition key of the table, if any.
    pub limits: Option<PartitionLimits>,
}
