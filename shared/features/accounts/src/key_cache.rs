//! API keys with a cache of unknown ones, for the authorizer.

use domain::KeyId;
use domain::ports::{Clock, PortResult};
use domain::tenant::ApiKey;
use runtime::NegativeCache;

use crate::ports::Keys;

/// API keys. An id that does not exist is looked up once in a few seconds.
///
/// API Gateway caches the authorizer's result for a header; this cache also covers other headers
/// with the same id. Keys that exist are not cached here, so that a deleted one ends.
#[derive(Debug)]
pub(crate) struct CachedKeys<S, C> {
    pub(crate) store: S,
    clock: C,
    unknown: NegativeCache<KeyId>,
}

impl<S, C> CachedKeys<S, C> {
    pub(crate) fn new(store: S, clock: C) -> Self {
        Self { store, clock, unknown: NegativeCache::default() }
    }
}

impl<S: Keys, C: Clock> Keys for CachedKeys<S, C> {
    async fn key(&self, id: KeyId) -> PortResult<Option<(ApiKey, String)>> {
        let now = self.clock.now();
        if self.unknown.contains(&id, now) {
            return Ok(None);
        }
        let found = self.store.key(id).await?;
        if found.is_none() {
            self.unknown.insert(id, now);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use domain::Fault;
    use domain::ports::PortError;
    use jiff::Timestamp;

    use super::*;

    struct TestClock(Mutex<Timestamp>);

    impl Clock for &TestClock {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    /// A table without keys, which may be down.
    #[derive(Default)]
    struct NoKeys {
        reads: AtomicU32,
        is_down: bool,
    }

    impl Keys for &NoKeys {
        async fn key(&self, _id: KeyId) -> PortResult<Option<(ApiKey, String)>> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let reason = "injected fault".to_owned();
            let error = PortError { operation: "read an API key", reason, fault: Fault::Retryable };
            if self.is_down { Err(error) } else { Ok(None) }
        }
    }

    fn id(bits: u128) -> KeyId {
        KeyId::new(Timestamp::UNIX_EPOCH, bits)
    }

    #[tokio::test]
    async fn an_unknown_api_key_is_looked_up_once_in_a_few_seconds() {
        let (table, clock) = (NoKeys::default(), TestClock(Mutex::new(Timestamp::UNIX_EPOCH)));
        let keys = CachedKeys::new(&table, &clock);
        let reads_after = async |id: KeyId| {
            assert!(keys.key(id).await.unwrap().is_none());
            table.reads.load(Ordering::Relaxed)
        };
        for (bits, reads) in [(1, 1), (1, 1), (2, 2), (2, 2)] {
            assert_eq!(reads_after(id(bits)).await, reads);
        }
        *clock.0.lock().unwrap() += Duration::from_secs(15);
        assert_eq!(reads_after(id(1)).await, 3, "a key may have been created meanwhile");
    }

    #[tokio::test]
    async fn an_error_of_the_table_is_not_taken_for_an_unknown_key() {
        let (table, clock) =
            (NoKeys { is_down: true, ..NoKeys::default() }, TestClock(Mutex::default()));
        let keys = CachedKeys::new(&table, &clock);
        for reads in 1..=2 {
            assert!(keys.key(id(1)).await.is_err());
            assert_eq!(table.reads.load(Ordering::Relaxed), reads);
        }
    }
}
