//! A random number generator that gives the same sequence in every run.

use std::sync::{Arc, Mutex};

use domain::ports::Rng;

use crate::lock;

/// Random number generator with a seed. Clones draw from one sequence.
#[derive(Clone, Debug)]
pub struct SeededRng(Arc<Mutex<u64>>);

impl SeededRng {
    /// Creates a random number generator from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }
}

impl Default for SeededRng {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Rng for SeededRng {
    fn bits(&self) -> u128 {
        let mut state = lock(&self.0);
        // SplitMix64: <https://prng.di.unimi.it/splitmix64.c>
        let mut next = || {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            u128::from(z ^ (z >> 31))
        };
        (next() << 64) | next()
    }
}
