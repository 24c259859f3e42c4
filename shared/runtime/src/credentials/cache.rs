//! Secrets that a sandbox has read.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::Freshness;
use jiff::Timestamp;

/// Lifetime of a cached secret.
const LIFETIME: Duration = Duration::from_mins(5);
/// Minimum age of a cached secret before a failed verification reads it again, so that forged
/// requests cannot cause a read each.
const MIN_REFRESH_AGE: Duration = Duration::from_mins(1);
/// Time after a change during which cached copies are not used: the time of a change is recorded
/// before the secret is written, and clocks differ.
const SETTLING_TIME: Duration = Duration::from_secs(10);
/// Largest number of cached secrets. Beyond it, those that are no longer used are forgotten and, if
/// there are none, all.
const MAX_ENTRIES: usize = 10_000;

/// Cached secrets, each with the time when it was read.
pub(super) struct Cache<K, V>(Mutex<HashMap<K, (Timestamp, V)>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V> std::fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, (Timestamp, V)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a copy that is recent enough at `now`, and was read after the change at `changed_at`.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(
        &self,
        key: &Q,
        freshness: Freshness,
        changed_at: Timestamp,
        now: Timestamp,
    ) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let lifetime = match freshness {
            Freshness::Cached => LIFETIME,
            Freshness::Fresh => MIN_REFRESH_AGE,
            Freshness::Reread => return None,
        };
        let settled_at = changed_at.saturating_add(SETTLING_TIME).unwrap_or(Timestamp::MAX);
        let cache = self.lock();
        let (read_at, value) = cache.get(key)?;
        let is_recent = now.duration_since(*read_at).unsigned_abs() < lifetime;
        (is_recent && *read_at >= settled_at).then(|| value.clone())
    }

    /// Returns the copy of `key`, however old it is.
    pub(super) fn last<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.lock().get(key).map(|(_, value)| value.clone())
    }

    /// Adds a copy that was read at `now`.
    pub(super) fn insert(&self, key: K, value: V, now: Timestamp) {
        let mut cache = self.lock();
        if cache.len() >= MAX_ENTRIES {
            cache.retain(|_, (read_at, _)| now.duration_since(*read_at).unsigned_abs() < LIFETIME);
        }
        if cache.len() >= MAX_ENTRIES {
            cache.clear();
        }
        cache.insert(key, (now, value));
    }

    /// Forgets the copy of `key`.
    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn a_copy_is_used_for_five_minutes_and_for_one_after_a_failed_verification() {
        let cache: Cache<String, u8> = Cache::default();
        cache.insert("a".to_owned(), 1, at(0));
        let get = |freshness, now| cache.get("a", freshness, Timestamp::UNIX_EPOCH, at(now));
        assert_eq!(get(Freshness::Cached, 299), Some(1));
        assert_eq!(get(Freshness::Cached, 300), None);
        assert_eq!(get(Freshness::Fresh, 59), Some(1));
        assert_eq!(get(Freshness::Fresh, 60), None);
    }

    #[test]
    fn a_copy_from_before_a_change_or_shortly_after_it_is_not_used() {
        let cache: Cache<String, u8> = Cache::default();
        cache.insert("a".to_owned(), 1, at(100));
        let get = |changed_at| cache.get("a", Freshness::Cached, at(changed_at), at(101));
        assert_eq!((get(90), get(91), get(101)), (Some(1), None, None));
    }

    #[test]
    fn the_number_of_copies_is_bounded() {
        let cache: Cache<usize, ()> = Cache::default();
        for key in 0..=MAX_ENTRIES {
            cache.insert(key, (), at(0));
        }
        assert_eq!(cache.lock().len(), 1);
        for key in 1..MAX_ENTRIES {
            cache.insert(key, (), at(200));
        }
        cache.insert(MAX_ENTRIES + 1, (), at(400));
        assert_eq!(cache.lock().len(), MAX_ENTRIES, "only the first one was too old");
    }
}
