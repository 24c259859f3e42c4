//! Integrations, remembered for a few minutes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::integration::Integration;
use domain::ports::{Clock, Directory, Holder, PortResult};
use domain::{IntegrationId, Provider};
use jiff::Timestamp;

/// How long what was found is used before it is looked for again.
const LIFETIME: Duration = Duration::from_mins(5);
/// The same for who holds an account: it may change hands.
const HOLDER_LIFETIME: Duration = Duration::from_secs(30);
/// Entries of one kind; a sandbox that has seen more starts over.
const LARGEST: usize = 10_000;

/// A directory that remembers what it found. What it did not find it asks for again: a new
/// integration works at once.
#[derive(Debug)]
pub struct CachedDirectory<D, C> {
    directory: D,
    clock: C,
    integrations: Memory<IntegrationId, Integration>,
    platforms: Memory<Provider, Integration>,
    accounts: Memory<(Provider, String), Holder>,
    paths: Memory<(Provider, String), IntegrationId>,
}

/// What was found, and when.
type Memory<K, V> = Mutex<HashMap<K, (Timestamp, V)>>;

impl<D: Directory, C: Clock> CachedDirectory<D, C> {
    /// Remembers what `directory` says.
    #[must_use]
    pub fn new(directory: D, clock: C) -> Self {
        Self {
            directory,
            clock,
            integrations: Memory::default(),
            platforms: Memory::default(),
            accounts: Memory::default(),
            paths: Memory::default(),
        }
    }

    async fn remember<K, V, F>(
        &self,
        memory: &Memory<K, V>,
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
            let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((found_at, value)) = memory.get(&key)
                && now.duration_since(*found_at).unsigned_abs() < lifetime
            {
                return Ok(Some(value.clone()));
            }
        }
        let found = find().await?;
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() >= LARGEST {
            memory.clear();
        }
        match &found {
            Some(value) => memory.insert(key, (now, value.clone())),
            None => memory.remove(&key),
        };
        Ok(found)
    }
}

impl<D: Directory, C: Clock> Directory for CachedDirectory<D, C> {
    async fn integration(&self, id: IntegrationId) -> PortResult<Option<Integration>> {
        self.remember(&self.integrations, id, LIFETIME, || self.directory.integration(id)).await
    }

    async fn platform(&self, provider: Provider) -> PortResult<Option<Integration>> {
        self.remember(&self.platforms, provider, LIFETIME, || self.directory.platform(provider))
            .await
    }

    async fn account(&self, provider: Provider, account: &str) -> PortResult<Option<Holder>> {
        let key = (provider, account.to_owned());
        self.remember(&self.accounts, key, HOLDER_LIFETIME, || {
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
        self.remember(&self.paths, key, LIFETIME, || self.directory.by_path_secret(provider, hash))
            .await
    }
}
