//! What is played: who does what, when, and where trouble comes from.

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
use crate::trouble::{Place, Source, Trouble};

/// Something that somebody does in a run, as a feature defines it. It is shown as a sentence
/// without a full stop.
pub trait Act: Any + fmt::Debug + fmt::Display + Send + Sync {
    /// Does it. `number` is the number of its step, from 0.
    fn perform<'a>(&'a self, run: &'a Run<'_>, number: usize) -> Work<'a, ()>;

    /// Whether the feature's part does it by itself, from [`crate::feature::Part::begin`] on.
    fn is_of_its_part(&self) -> bool {
        false
    }

    /// Whether what follows from it comes hours later. Then trouble goes on that long.
    fn has_late_effects(&self) -> bool {
        false
    }
}

/// When somebody does what.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, after the run began.
    pub at: Duration,
    /// What.
    pub act: Arc<dyn Act>,
}

impl Step {
    /// A step.
    #[must_use]
    pub fn new(at: Duration, act: impl Act + 'static) -> Self {
        Self { at, act: Arc::new(act) }
    }

    /// What is done, if it is an act of this type.
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

/// A canonical scenario: a short one, to be played with every trouble at every place.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// Its name.
    pub name: &'static str,
    /// Its steps.
    pub steps: Vec<Step>,
}

impl Canonical {
    /// It with these troubles and no other.
    #[must_use]
    pub fn with(&self, troubles: BTreeMap<Place, Trouble>) -> Scenario {
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

    /// It with much trouble, which `chance` draws.
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

/// What is played.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For people.
    pub name: String,
    /// All chance comes from it.
    pub seed: Seed,
    /// What is done.
    pub steps: Vec<Step>,
    /// Where trouble comes from.
    pub source: Source,
    /// What lasts.
    pub outages: Vec<Outage>,
    /// Whether the queues do all that SQS leaves open.
    pub wild: bool,
    /// Whether every latency is the same.
    pub even: bool,
    /// What the table lets one partition key do, if that is limited.
    pub limits: Option<PartitionLimits>,
}
