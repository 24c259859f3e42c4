//! Faults of a run, and the points where they are injected.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::random::Seed;

/// An injection point: the nth call of the nth invocation of a function. Call 0 is the queue
/// service's deletion of processed records after the invocation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InjectionPoint {
    /// Name of the function.
    pub function: String,
    /// Number of the invocation, from 1.
    pub invocation: u64,
    /// Number of the call, from 1.
    pub call: u64,
}

impl fmt::Display for InjectionPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}.{}", self.function, self.invocation, self.call)
    }
}

impl FromStr for InjectionPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('#').and_then(|(function, rest)| {
            let (invocation, call) = rest.split_once('.')?;
            let (invocation, call) = (invocation.parse().ok()?, call.parse().ok()?);
            Some(Self { function: function.to_owned(), invocation, call })
        });
        parts.ok_or_else(|| format!("{text} must be FUNCTION#INVOCATION.CALL"))
    }
}

/// A fault at an injection point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The service throttles or fails; the request has no effect.
    Refused,
    /// The connection breaks before the request is sent.
    Unreachable,
    /// The request takes effect, and the connection breaks before the response.
    AnswerLost,
    /// The request takes effect, and no response arrives.
    Silence,
    /// The process dies before the request is sent.
    DiesBefore,
    /// The process dies while the request is in transit; the request arrives.
    DiesUnderWay,
    /// The process dies after the request takes effect, before the response.
    DiesAfter,
    /// The process freezes before the request is sent, longer than any lease or visibility timeout,
    /// and then continues as if nothing had happened.
    FrozenBefore,
    /// The process freezes after the request takes effect.
    FrozenAfter,
    /// Only the first half of a batch is accepted.
    Half,
    /// The queue service does not receive the invocation's success.
    AckLost,
    /// The queue service deletes processed records late, after they are visible again.
    AckLate,
}

impl Fault {
    /// Faults of a call.
    pub const CALL_FAULTS: [Self; 10] = [
        Self::Refused,
        Self::Unreachable,
        Self::AnswerLost,
        Self::Silence,
        Self::DiesBefore,
        Self::DiesUnderWay,
        Self::DiesAfter,
        Self::FrozenBefore,
        Self::FrozenAfter,
        Self::Half,
    ];

    /// Faults at the end of an invocation.
    pub const COMPLETION_FAULTS: [Self; 2] = [Self::AckLost, Self::AckLate];

    /// Name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::AnswerLost => "answer-lost",
            Self::Silence => "silence",
            Self::DiesBefore => "dies-before",
            Self::DiesUnderWay => "dies-under-way",
            Self::DiesAfter => "dies-after",
            Self::FrozenBefore => "frozen-before",
            Self::FrozenAfter => "frozen-after",
            Self::Half => "half",
            Self::AckLost => "ack-lost",
            Self::AckLate => "ack-late",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::CALL_FAULTS.iter().chain(&Self::COMPLETION_FAULTS);
        let found = all.find(|fault| fault.name() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = Self::CALL_FAULTS
                .iter()
                .chain(&Self::COMPLETION_FAULTS)
                .map(|known| known.name())
                .collect();
            format!("unknown fault {text}. Choose one of: {}", names.join(", "))
        })
    }
}

/// Source of a run's faults.
#[derive(Clone, Debug)]
pub enum Source {
    /// Exactly these faults.
    Given(BTreeMap<InjectionPoint, Fault>),
    /// Random faults.
    Random {
        /// Probability of a fault for each call, in a thousand.
        per_mille: u64,
    },
}

/// The faults of a run, and those that were injected.
#[derive(Debug)]
pub struct Plan {
    seed: Seed,
    source: Source,
    injected: Mutex<BTreeMap<InjectionPoint, Fault>>,
    points: Mutex<Vec<(InjectionPoint, Vec<Fault>)>>,
}

impl Plan {
    /// Creates a plan without injected faults.
    #[must_use]
    pub fn new(seed: Seed, source: Source) -> Self {
        Self { seed, source, injected: Mutex::default(), points: Mutex::default() }
    }

    /// Returns the fault at `point`, if any, out of `possible`, and records it as injected.
    pub fn inject(&self, point: &InjectionPoint, possible: &[Fault]) -> Option<Fault> {
        if matches!(self.source, Source::Given(_)) {
            let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
            points.push((point.clone(), possible.to_vec()));
        }
        let fault = match &self.source {
            Source::Given(given) => given.get(point).copied().filter(|t| possible.contains(t)),
            Source::Random { per_mille } => {
                if !self.seed.happens(("trouble", point), *per_mille) {
                    return None;
                }
                let kind = self.seed.below(("kind", point), possible.len() as u64);
                possible.get(usize::try_from(kind).unwrap_or(0)).copied()
            }
        }?;
        let mut injected = self.injected.lock().unwrap_or_else(PoisonError::into_inner);
        injected.insert(point.clone(), fault);
        Some(fault)
    }

    /// The injection points that the run reached. Recorded only if its faults are given.
    #[must_use]
    pub fn injection_points(&self) -> Vec<(InjectionPoint, Vec<Fault>)> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The injected faults.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<InjectionPoint, Fault> {
        self.injected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn injection_points_and_faults_round_trip_through_text() {
        let point = InjectionPoint { function: "sender-whatsapp".into(), invocation: 3, call: 12 };
        assert_eq!(point.to_string().parse::<InjectionPoint>().unwrap(), point);
        for fault in Fault::CALL_FAULTS.into_iter().chain(Fault::COMPLETION_FAULTS) {
            assert_eq!(fault.to_string().parse::<Fault>().unwrap(), fault);
        }
        assert!("sender".parse::<InjectionPoint>().is_err());
        assert!("rain".parse::<Fault>().is_err());
    }

    #[test]
    fn random_faults_can_be_reproduced_explicitly() {
        let point = |call| InjectionPoint { function: "f".into(), invocation: 1, call };
        let drawn = Plan::new(Seed(7), Source::Random { per_mille: 300 });
        let first: Vec<_> =
            (1..100).map(|n| drawn.inject(&point(n), &Fault::CALL_FAULTS)).collect();
        assert!(first.iter().any(Option::is_some) && first.iter().any(Option::is_none));
        let given = Plan::new(Seed(8), Source::Given(drawn.injected()));
        let again: Vec<_> =
            (1..100).map(|n| given.inject(&point(n), &Fault::CALL_FAULTS)).collect();
        assert_eq!(first, again);
    }
}
