//! Seeded random number generator.

/// `SplitMix64` generator: <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator with this seed. `stream` separates the generators of one run.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 (inclusive) to 1 (exclusive).
    pub(crate) fn fraction(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or_default();
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns true with this probability, from 0 to 1.
    pub(crate) fn chance(&mut self, chance: f64) -> bool {
        self.fraction() < chance
    }

    /// Returns a number from `least` to `most`, both inclusive.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most.saturating_sub(least) + 1)
    }

    /// Returns a random element.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let last = u64::try_from(from.len()).ok()?.checked_sub(1)?;
        from.get(usize::try_from(self.between(0, last)).ok()?)
    }

    /// Returns a random element, with probability proportional to its weight.
    pub(crate) fn weighted<T: Copy>(&mut self, from: &[(u64, T)]) -> Option<T> {
        let all: u64 = from.iter().map(|(weight, _)| weight).sum();
        let mut at = self.between(1, all.max(1));
        for (weight, one) in from {
            if at <= *weight {
                return Some(*one);
            }
            at -= weight;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_stream_does_not() {
        let draw = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            [rng.next(), rng.next(), rng.next()]
        };
        assert_eq!(draw(1, 1), draw(1, 1));
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
    }

    #[test]
    fn weights_set_the_frequency_of_each_element() {
        let mut rng = Rng::new(7, 0);
        let mut count = 0;
        for _ in 0..1000 {
            let one = rng.weighted(&[(9, true), (1, false)]).unwrap();
            count += u32::from(one);
        }
        assert!((850..950).contains(&count), "{count}");
        assert_eq!(rng.weighted::<bool>(&[]), None);
        assert_eq!(rng.pick::<bool>(&[]), None);
        assert!((3..=5).contains(&rng.between(3, 5)));
        assert!(rng.chance(1.0) && !rng.chance(0.0));
    }
}
