//! Directory of integrations, cached for a few minutes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::integration::Integration;
use domain::ports::{AccountOwner, Clock, Directory, PortResult};
use domain::{IntegrationId, Provider};
use jiff::Timestamp;

use crate::NegativeCache;

/// Cache lifetime of an entry.
const LIFETIME: Duration = Duration::from_mins(5);
/// Cache lifetime of an account's holder, which may change.
const HOLDER_LIFETIME: Duration = Duration::from_secs(30);
/// Maximum number of entries of one kind; beyond it, the cache is cleared.
const MAX_ENTRIES: usize = 10_000;

/// A directory with a cache.
///
/// An unknown integration id or webhook path is cached for a few seconds, because anyone may request
/// it. A missing account or operator's integration is not: a new integration works immediately.
#[derive(Debug)]
pub struct CachedDirectory<D, C> {
    directory: D,
    clock: C,
    integrations: Cache<IntegrationId, Integration>,
    platforms: Cache<Provider, Integration>,
    accounts: Cache<(Provider, String), AccountOwner>,
    paths: Cache<(Provider, String), IntegrationId>,
    unknown_integrations: NegativeCache<IntegrationId>,
    unknown_paths: NegativeCache<(Provider, String)>,
}

/// Cached values and the times when they were read.
type Cache<K, V> = Mutex<HashMap<K, (Timestamp, V)>>;

impl<D: Directory, C: Clock> CachedDirectory<D, C> {
    /// Creates a cache of `directory`.
    #[must_use]
    pub fn new(directory: D, clock: C) -> Self {
        Self {
            directory,
            clock,
            integrations: Cache::default(),
            platforms: Cache::default(),
            accounts: Cache::default(),
            paths: Cache::default(),
            unknown_integrations: NegativeCache::default(),
            unknown_paths: NegativeCache::default(),
        }
    }

    async fn cached<K, V, F>(
        &self,
        cache: &Cache<K, V>,
        unknown: Option<&NegativeCache<K>>,
        key: K,
        lifetime: Duration,
        find: impl FnOnce() -> F + Send,
    ) -> PortResult<Option<V>>
    where
        F: Future<Output = PortResult<Option<V>>> + Send,
        K: Eq + Hash + Send + Sync,
        V: Clone + Send + Sync,
    {
        let now = self.clock.now();
        {
            let cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((found_at, value)) = cache.get(&key)
                && now.duration_since(*found_at).unsigned_abs() < lifetime
            {
                return Ok(Some(value.clone()));
            }
        }
        if unknown.is_some_and(|unknown| unknown.contains(&key, now)) {
            return Ok(None);
        }
        let found = find().await?;
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_ENTRIES {
            cache.clear();
        }
        if let Some(value) = &found {
            cache.insert(key, (now, value.clone()));
        } else {
            cache.remove(&key);
            if let Some(unknown) = unknown {
                unknown.insert(key, now);
            }
        }
        Ok(found)
    }
}

impl<D: Directory, C: Clock> Directory for CachedDirectory<D, C> {
    async fn integration(&self, id: IntegrationId) -> PortResult<Option<Integration>> {
        let unknown = Some(&self.unknown_integrations);
        self.cached(&self.integrations, unknown, id, LIFETIME, || self.directory.integration(id))
            .await
    }

    async fn platform(&self, provider: Provider) -> PortResult<Option<Integration>> {
        self.cached(&self.platforms, None, provider, LIFETIME, || self.directory.platform(provider))
            .await
    }

    async fn account(&self, provider: Provider, account: &str) -> PortResult<Option<AccountOwner>> {
        let key = (provider, account.to_owned());
        self.cached(&self.accounts, None, key, HOLDER_LIFETIME, || {
            self.directory.account(provider, account)
        })
        .await
    }

    async fn by_path_secret(
        &self,
        provider: Provider,
        hash: &str,
    ) -> PortResult<Option<IntegrationId>> {
        let key = (provider, hash.to_owned());
        let unknown = Some(&self.unknown_paths);
        self.cached(&self.paths, unknown, key, LIFETIME, || {
            self.directory.by_path_secret(provider, hash)
        })
        .await
    }
}
