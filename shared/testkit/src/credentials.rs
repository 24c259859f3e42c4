//! An in-memory credential store, with the cache of the real one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::integration::{Credentials, Integration};
use domain::ports::{
    ChangedBy, Clock, CredentialReader, CredentialWriter, Freshness, PortError, PortResult,
    StoredCredentials,
};
use domain::{Fault, IntegrationId, TenantId};
use jiff::Timestamp;
use secrecy::SecretString;

use crate::{FakeClock, Faults, lock};

/// How long a cached secret is used before it is read again.
const LIFETIME: Duration = Duration::from_mins(5);
/// The shortest interval between two forced reads of a secret.
const REFRESH: Duration = Duration::from_mins(1);
/// Time after a change during which a copy read since then may still be stale.
const SETTLING: Duration = Duration::from_secs(10);

/// Credentials and signing secrets. Clones share them, and the cache.
#[derive(Clone, Debug)]
pub struct FakeCredentials {
    state: Arc<Mutex<State>>,
    clock: FakeClock,
    faults: Faults,
}

#[derive(Debug, Default)]
struct State {
    credentials: BTreeMap<IntegrationId, Credentials>,
    signing: BTreeMap<TenantId, Vec<SecretString>>,
    cached: HashMap<IntegrationId, (Timestamp, Credentials)>,
    cached_signing: HashMap<TenantId, (Timestamp, Vec<SecretString>)>,
    reads: u64,
    unreadable: BTreeSet<IntegrationId>,
}

impl FakeCredentials {
    /// Creates an empty store.
    #[must_use]
    pub fn new(clock: &FakeClock) -> Self {
        Self { state: Arc::default(), clock: clock.clone(), faults: Faults::default() }
    }

    /// The same store with the faults of `faults`.
    #[must_use]
    pub fn with_faults(self, faults: &Faults) -> Self {
        Self { faults: faults.clone(), ..self }
    }

    /// The injected faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Stores credentials as another process would: the cache keeps the old ones.
    pub fn rotate(&self, integration: IntegrationId, credentials: Credentials) {
        lock(&self.state).credentials.insert(integration, credentials);
    }

    /// Adds credentials while the store is set up.
    #[must_use]
    pub fn with(self, integration: &Integration, credentials: Credentials) -> Self {
        self.rotate(integration.id, credentials);
        self
    }

    /// Stores signing secrets as another process would.
    pub fn sign_with(&self, tenant: &TenantId, secrets: Vec<SecretString>) {
        lock(&self.state).signing.insert(tenant.clone(), secrets);
    }

    /// Makes the stored credentials of an integration unreadable until they are stored again.
    pub fn corrupt(&self, integration: IntegrationId) {
        let mut state = lock(&self.state);
        state.unreadable.insert(integration);
        state.cached.remove(&integration);
    }

    /// Number of reads that bypassed the cache.
    #[must_use]
    pub fn reads(&self) -> u64 {
        lock(&self.state).reads
    }

    /// The stored credentials of an integration.
    #[must_use]
    pub fn stored(&self, integration: IntegrationId) -> Option<Credentials> {
        lock(&self.state).credentials.get(&integration).cloned()
    }
}

impl CredentialReader for FakeCredentials {
    async fn credentials(
        &self,
        integration: &Integration,
        freshness: Freshness,
    ) -> PortResult<Credentials> {
        let now = self.clock.now();
        let lifetime = match freshness {
            Freshness::Cached => LIFETIME,
            Freshness::Fresh => REFRESH,
            Freshness::Reread => Duration::ZERO,
        };
        if let Some((read_at, cached)) = lock(&self.state).cached.get(&integration.id)
            && *read_at
                >= integration.credentials_at.saturating_add(SETTLING).unwrap_or(Timestamp::MAX)
            && now.duration_since(*read_at).unsigned_abs() < lifetime
        {
            return Ok(cached.clone());
        }
        if lock(&self.state).unreadable.contains(&integration.id) {
            let reason = "the stored credentials cannot be read".to_owned();
            return Err(PortError { operation: "read a secret", reason, fault: Fault::Retryable });
        }
        self.faults
            .run_call("read a secret", || {
                let mut state = lock(&self.state);
                state.reads += 1;
                let found = state.credentials.get(&integration.id).cloned().unwrap_or_default();
                state.cached.insert(integration.id, (now, found.clone()));
                found
            })
            .await
    }

    async fn stored_credentials(&self, integration: &Integration) -> PortResult<StoredCredentials> {
        if lock(&self.state).unreadable.contains(&integration.id) {
            return Ok(StoredCredentials::Unreadable("they were corrupted"));
        }
        let found = self.credentials(integration, Freshness::Reread).await?;
        Ok(StoredCredentials::Readable(found))
    }

    async fn signing_secrets(
        &self,
        tenant: &TenantId,
        changed_at: Timestamp,
    ) -> PortResult<Vec<SecretString>> {
        let now = self.clock.now();
        if let Some((read_at, cached)) = lock(&self.state).cached_signing.get(tenant)
            && *read_at >= changed_at + SETTLING
            && now.duration_since(*read_at).unsigned_abs() < LIFETIME
        {
            return Ok(cached.clone());
        }
        self.faults
            .run_call("read a secret", || {
                let mut state = lock(&self.state);
                state.reads += 1;
                let found = state.signing.get(tenant).cloned().unwrap_or_default();
                state.cached_signing.insert(tenant.clone(), (now, found.clone()));
                found
            })
            .await
    }
}

impl CredentialWriter for FakeCredentials {
    async fn check_write(
        &self,
        _integration: &Integration,
        _credentials: &Credentials,
        _changed_by: ChangedBy,
    ) -> PortResult<()> {
        self.faults.run_call("check a secret", || ()).await
    }

    async fn store(
        &self,
        integration: &Integration,
        credentials: Option<&Credentials>,
    ) -> PortResult<()> {
        self.faults
            .run_call("write a secret", || {
                let mut state = lock(&self.state);
                state.cached.remove(&integration.id);
                state.unreadable.remove(&integration.id);
                match credentials {
                    Some(credentials) => {
                        state.credentials.insert(integration.id, credentials.clone());
                    }
                    None => {
                        state.credentials.remove(&integration.id);
                    }
                }
            })
            .await
    }

    async fn add_signing_secret(&self, tenant: &TenantId, secret: SecretString) -> PortResult<()> {
        self.faults
            .run_call("write a secret", || {
                let mut state = lock(&self.state);
                state.cached_signing.remove(tenant);
                let secrets = state.signing.entry(tenant.clone()).or_default();
                secrets.insert(0, secret);
                secrets.truncate(2);
            })
            .await
    }
}
