//! Randomness from one seed.
//!
//! Most values are derived from a name: a value does not depend on how many others were drawn, so
//! removing one fault from a run does not change the rest.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use domain::ports::Rng;

/// The seed of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// 64 random bits for `name`. The hasher's keys are fixed.
    #[must_use]
    pub fn bits(self, name: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        name.hash(&mut hasher);
        mix(hasher.finish())
    }

    /// A number in `0..below` for `name`, or 0 if the range is empty.
    #[must_use]
    pub fn below(self, name: impl Hash, below: u64) -> u64 {
        self.bits(name).checked_rem(below).unwrap_or(0)
    }

    /// Whether an event with a probability of `per_mille` in a thousand occurs for `name`.
    #[must_use]
    pub fn happens(self, name: impl Hash, per_mille: u64) -> bool {
        self.below(name, 1000) < per_mille
    }

    /// A random number generator for `name`.
    #[must_use]
    pub fn rng(self, name: impl Hash) -> SeededRng {
        SeededRng(Arc::new(Mutex::new(self.bits(name))))
    }
}

/// Finalizer of `SplitMix64`: <https://prng.di.unimi.it/splitmix64.c>.
fn mix(bits: u64) -> u64 {
    let z = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Random number generator. Clones share its state.
#[derive(Clone, Debug)]
pub struct SeededRng(Arc<Mutex<u64>>);

impl SeededRng {
    /// The next 64 bits.
    #[must_use]
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(*state)
    }

    /// A number in `0..below`, or 0 if the range is empty.
    #[must_use]
    pub fn below(&self, below: u64) -> u64 {
        self.next().checked_rem(below).unwrap_or(0)
    }

    /// A random element of `items`.
    #[must_use]
    pub fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        let place = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        items.get(place)
    }
}

impl Rng for SeededRng {
    fn bits(&self) -> u128 {
        (u128::from(self.next()) << 64) | u128::from(self.next())
    }
}
