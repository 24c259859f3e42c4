//! What may go wrong, and where.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::chance::Seed;

/// A place in a run: the nth call of the nth invocation of a function. Call 0 is what the queue
/// service does when the invocation has ended: it deletes what was done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The function.
    pub function: String,
    /// Which of its invocations, from 1.
    pub invocation: u64,
    /// Which of its calls, from 1.
    pub call: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}.{}", self.function, self.invocation, self.call)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('#').and_then(|(function, rest)| {
            let (invocation, call) = rest.split_once('.')?;
            let (invocation, call) = (invocation.parse().ok()?, call.parse().ok()?);
            Some(Self { function: function.to_owned(), invocation, call })
        });
        parts.ok_or_else(|| format!("{text} is no place: function#invocation.call"))
    }
}

/// What goes wrong at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// The service throttles or fails; nothing happened.
    Refused,
    /// The connection breaks before the request has left.
    Unreachable,
    /// It took effect, and the connection breaks before the answer.
    AnswerLost,
    /// It took effect, and no answer comes.
    Silence,
    /// The process dies before the request leaves.
    DiesBefore,
    /// The process dies while the request is on its way; the request arrives.
    DiesUnderWay,
    /// The process dies right after it took effect, before the answer.
    DiesAfter,
    /// The process stands still before the request leaves, longer than any lease or
    /// visibility, and then goes on as if nothing had been.
    FrozenBefore,
    /// The same, after it took effect.
    FrozenAfter,
    /// Only the first half of a batch is taken.
    Half,
    /// The queue service does not hear that the invocation succeeded.
    AckLost,
    /// The queue service deletes late, after the records have come back.
    AckLate,
}

impl Trouble {
    /// What may happen at a call.
    pub const OF_CALLS: [Self; 10] = [
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

    /// What may happen after an invocation.
    pub const OF_ENDS: [Self; 2] = [Self::AckLost, Self::AckLate];

    /// As the command line writes it.
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

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Trouble {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::OF_CALLS.iter().chain(&Self::OF_ENDS);
        let found = all.find(|trouble| trouble.name() == text);
        found.copied().ok_or_else(|| format!("{text} is no trouble"))
    }
}

/// Where the trouble of a run comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// These, and no other.
    Given(BTreeMap<Place, Trouble>),
    /// By chance, so many times in a thousand calls.
    Drawn {
        /// In a thousand calls.
        per_mille: u64,
    },
}

/// The trouble of one run, and what of it came to pass.
#[derive(Debug)]
pub struct Plan {
    seed: Seed,
    source: Source,
    met: Mutex<BTreeMap<Place, Trouble>>,
    places: Mutex<Vec<(Place, Vec<Trouble>)>>,
}

impl Plan {
    /// A plan of which nothing has come to pass.
    #[must_use]
    pub fn new(seed: Seed, source: Source) -> Self {
        Self { seed, source, met: Mutex::default(), places: Mutex::default() }
    }

    /// What happens at `place`, of `possible`. It is noted as met.
    pub fn meet(&self, place: &Place, possible: &[Trouble]) -> Option<Trouble> {
        if matches!(self.source, Source::Given(_)) {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.push((place.clone(), possible.to_vec()));
        }
        let trouble = match &self.source {
            Source::Given(given) => given.get(place).copied().filter(|t| possible.contains(t)),
            Source::Drawn { per_mille } => {
                if !self.seed.happens(("trouble", place), *per_mille) {
                    return None;
                }
                let kind = self.seed.below(("kind", place), possible.len() as u64);
                possible.get(usize::try_from(kind).unwrap_or(0)).copied()
            }
        }?;
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.insert(place.clone(), trouble);
        Some(trouble)
    }

    /// The places that were come through, in a run whose trouble was given.
    #[must_use]
    pub fn places(&self) -> Vec<(Place, Vec<Trouble>)> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came to pass.
    #[must_use]
    pub fn met(&self) -> BTreeMap<Place, Trouble> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_troubles_are_read_as_they_are_written() {
        let place = Place { function: "sender-whatsapp".into(), invocation: 3, call: 12 };
        assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        for trouble in Trouble::OF_CALLS.into_iter().chain(Trouble::OF_ENDS) {
            assert_eq!(trouble.to_string().parse::<Trouble>().unwrap(), trouble);
        }
        assert!("sender".parse::<Place>().is_err());
        assert!("rain".parse::<Trouble>().is_err());
    }

    #[test]
    fn what_was_drawn_is_met_again_when_it_is_given() {
        let place = |call| Place { function: "f".into(), invocation: 1, call };
        let drawn = Plan::new(Seed(7), Source::Drawn { per_mille: 300 });
        let first: Vec<_> = (1..100).map(|n| drawn.meet(&place(n), &Trouble::OF_CALLS)).collect();
        assert!(first.iter().any(Option::is_some) && first.iter().any(Option::is_none));
        let given = Plan::new(Seed(8), Source::Given(drawn.met()));
        let again: Vec<_> = (1..100).map(|n| given.meet(&place(n), &Trouble::OF_CALLS)).collect();
        assert_eq!(first, again);
    }
}
