//! Dice that fall the same way for the same seed.

/// A small generator: <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice that fall as `seed` says. `stream` tells those of one run apart.
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

    /// From 0 up to 1, without 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or_default();
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    /// Whether something happens that has this chance, from 0 to 1.
    pub(crate) fn chance(&mut self, chance: f64) -> bool {
        self.fraction() < chance
    }

    /// From `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most.saturating_sub(least) + 1)
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let last = u64::try_from(from.len()).ok()?.checked_sub(1)?;
        from.get(usize::try_from(self.between(0, last)).ok()?)
    }

    /// One of these, each as likely as its weight says.
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
    fn the_same_seed_falls_the_same_way_and_another_stream_does_not() {
        let throw = |seed, stream| {
            let mut dice = Dice::new(seed, stream);
            [dice.next(), dice.next(), dice.next()]
        };
        assert_eq!(throw(1, 1), throw(1, 1));
        assert_ne!(throw(1, 1), throw(1, 2));
        assert_ne!(throw(1, 1), throw(2, 1));
    }

    #[test]
    fn weights_decide_how_often_each_comes() {
        let mut dice = Dice::new(7, 0);
        let mut often = 0;
        for _ in 0..1000 {
            let one = dice.weighted(&[(9, true), (1, false)]).unwrap();
            often += u32::from(one);
        }
        assert!((850..950).contains(&often), "{often}");
        assert_eq!(dice.weighted::<bool>(&[]), None);
        assert_eq!(dice.pick::<bool>(&[]), None);
        assert!((3..=5).contains(&dice.between(3, 5)));
        assert!(dice.chance(1.0) && !dice.chance(0.0));
    }
}
