//! Negative cache: keys that were looked up and do not exist.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// Keys that do not exist, for a short time: whoever asks for the same unknown key again causes no
/// request to the table. A key that is created meanwhile is found after [`Self::LIFETIME`] at the
/// latest.
///
/// Its size is bounded: of many unknown keys, the oldest are forgotten. Only an answer of the table
/// may be inserted, never an error.
#[derive(Debug)]
pub struct NegativeCache<K>(Mutex<Generations<K>>);

/// Keys and the times when they were looked up, in two generations: once the young one is full, it
/// becomes the old one, and the old one is dropped.
#[derive(Debug)]
struct Generations<K> {
    young: HashMap<K, Timestamp>,
    old: HashMap<K, Timestamp>,
}

impl<K> Default for NegativeCache<K> {
    fn default() -> Self {
        Self(Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }))
    }
}

impl<K: Eq + Hash> NegativeCache<K> {
    /// Time for which a key counts as unknown.
    pub const LIFETIME: Duration = Duration::from_secs(15);

    /// Largest number of keys in a generation.
    const MAX_KEYS: usize = 1000;

    /// Returns whether `key` did not exist at most [`Self::LIFETIME`] before `now`.
    pub fn contains(&self, key: &K, now: Timestamp) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missed_at = known.young.get(key).or_else(|| known.old.get(key));
        missed_at.is_some_and(|at| now.duration_since(*at).unsigned_abs() < Self::LIFETIME)
    }

    /// Records that `key` did not exist at `now`.
    pub fn insert(&self, key: K, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.young.len() >= Self::MAX_KEYS {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(key, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_unknown_key_is_remembered_for_a_short_time() {
        let cache = NegativeCache::default();
        assert!(!cache.contains(&1, at(100)));
        cache.insert(1, at(100));
        assert!(cache.contains(&1, at(114)) && !cache.contains(&2, at(114)));
        assert!(!cache.contains(&1, at(115)));
    }

    #[test]
    fn of_many_unknown_keys_the_oldest_are_forgotten() {
        let cache = NegativeCache::default();
        let max = NegativeCache::<usize>::MAX_KEYS;
        for key in 0..=2 * max {
            cache.insert(key, at(0));
        }
        assert!(!cache.contains(&0, at(0)) && !cache.contains(&(max - 1), at(0)));
        assert!(cache.contains(&max, at(0)) && cache.contains(&(2 * max), at(0)));
        let known = cache.0.lock().unwrap();
        assert!(known.young.len() + known.old.len() <= 2 * max);
    }
}
