//! Circuit breakers of integrations, cached for a few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::integration::Integration;
use domain::ports::{Clock, PortResult, Recorded};
use domain::{IntegrationId, MessageId};
use jiff::Timestamp;
use runtime::telemetry::{self, Metric};

use crate::model::circuit::{Admission, Circuit, PROBE_INTERVAL, State};
use crate::ports::Circuits;

/// Cache lifetime of a closed circuit, after which this sandbox notices that another sender opened
/// it.
const CLOSED_LIFETIME: Duration = Duration::from_secs(5);
/// Cache lifetime of a circuit that is not closed, after which this sandbox notices that it closed.
const OPEN_LIFETIME: Duration = Duration::from_secs(1);
/// Time limit of a probe: as long as its function may run.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// Attempts to write a change (optimistic locking). If all fail, one failure of many is lost.
const WRITE_ATTEMPTS: u32 = 4;
/// Maximum number of cached integrations; beyond it, the cache is cleared.
const MAX_ENTRIES: usize = 10_000;

/// Circuit breakers of integrations, cached for a few seconds.
#[derive(Debug)]
pub struct CircuitBreakers<S, C> {
    store: S,
    clock: C,
    cache: Mutex<HashMap<IntegrationId, CachedCircuit>>,
}

/// Cached circuit of one integration.
#[derive(Debug)]
struct CachedCircuit {
    read_at: Timestamp,
    circuit: Circuit,
    /// The message of this sandbox that was last chosen as the probe, and until when it is
    /// expected to probe.
    candidate: Option<(MessageId, Timestamp)>,
}

impl CachedCircuit {
    fn is_fresh(&self, now: Timestamp) -> bool {
        let closed = self.circuit.state(now) == State::Closed;
        let lifetime = if closed { CLOSED_LIFETIME } else { OPEN_LIFETIME };
        now.duration_since(self.read_at).unsigned_abs() < lifetime
    }

    /// Returns whether a message may pass. Of concurrent messages only one becomes the probe: the
    /// others would write to the table only to find the probe reserved. The chosen message may ask
    /// again, as it does when its record is older than its handover.
    fn admit(&mut self, message: MessageId, now: Timestamp) -> Admission {
        match (self.circuit.admit(now), self.candidate) {
            (Admission::Probe, Some((other, until))) if other != message && now < until => {
                Admission::No { until }
            }
            (Admission::Probe, _) => {
                self.candidate = Some((message, now + PROBE_INTERVAL));
                Admission::Probe
            }
            (admission, _) => admission,
        }
    }
}

impl<S: Circuits, C: Clock> CircuitBreakers<S, C> {
    /// Creates a cache of the circuits in `store`.
    #[must_use]
    pub fn new(store: S, clock: C) -> Self {
        Self { store, clock, cache: Mutex::default() }
    }

    /// Returns whether `message` may pass.
    ///
    /// # Errors
    /// As [`Circuits::circuit`].
    pub async fn admit(
        &self,
        integration: &Integration,
        message: MessageId,
    ) -> PortResult<Admission> {
        let (tenant, id) = (&integration.tenant, integration.id);
        if let Some(admission) = self.admit_from_cache(id, message, self.clock.now()) {
            return Ok(admission);
        }
        let (circuit, _) = self.store.circuit(tenant, id).await?;
        Ok(self.decide(id, message, self.clock.now(), circuit))
    }

    /// Reserves the probe; returns `false` if another sender has reserved it.
    ///
    /// # Errors
    /// As [`Circuits::set_circuit`].
    pub async fn probe(&self, integration: &Integration) -> PortResult<bool> {
        let now = self.clock.now();
        let (tenant, id) = (&integration.tenant, integration.id);
        let (circuit, seen) = self.store.circuit(tenant, id).await?;
        if circuit.admit(now) != Admission::Probe {
            let passes = circuit.admit(now) == Admission::Pass;
            self.update_cache(id, now, circuit);
            return Ok(passes);
        }
        let circuit = circuit.probed(now, PROBE_TIMEOUT);
        let recorded = self.store.set_circuit(tenant, id, &circuit, seen).await?;
        self.update_cache(id, now, circuit);
        Ok(recorded == Recorded::New)
    }

    /// Returns when the integration may be probed, if its cached circuit is open.
    #[must_use]
    pub fn probed_at(&self, integration: IntegrationId) -> Option<Timestamp> {
        let cache = self.lock();
        cache.get(&integration).and_then(|cached| cached.circuit.open_until)
    }

    /// Records that the account failed with `code`.
    ///
    /// # Errors
    /// As [`Circuits::set_circuit`].
    pub async fn failed(&self, integration: &Integration, code: &str) -> PortResult<()> {
        let now = self.clock.now();
        let change = |circuit: Circuit| circuit.failed(integration.circuit, now, code);
        let Some((before, after)) = self.change(integration, now, change).await? else {
            return Ok(());
        };
        if before != State::Open && after == State::Open {
            tracing::error!(
                tenant = %integration.tenant, integration = %integration.id,
                provider = %integration.provider, code, "circuit opened"
            );
            telemetry::count(Metric::CircuitOpened, "integrations", 1);
        }
        Ok(())
    }

    /// Records that a probe succeeded.
    ///
    /// # Errors
    /// As [`Circuits::set_circuit`].
    pub async fn succeeded(&self, integration: &Integration) -> PortResult<()> {
        let now = self.clock.now();
        self.change(integration, now, |circuit| circuit.succeeded(now)).await?;
        tracing::info!(
            tenant = %integration.tenant, integration = %integration.id,
            provider = %integration.provider, "circuit closed"
        );
        Ok(())
    }

    /// Changes a circuit. Returns the states before and after; `None` if every attempt lost to a
    /// concurrent change.
    async fn change(
        &self,
        integration: &Integration,
        now: Timestamp,
        change: impl Fn(Circuit) -> Circuit + Send,
    ) -> PortResult<Option<(State, State)>> {
        let (tenant, id) = (&integration.tenant, integration.id);
        for _ in 0..WRITE_ATTEMPTS {
            let (before, seen) = self.store.circuit(tenant, id).await?;
            let state = before.state(now);
            let after = change(before);
            if self.store.set_circuit(tenant, id, &after, seen).await? == Recorded::New {
                let states = (state, after.state(now));
                self.update_cache(id, now, after);
                return Ok(Some(states));
            }
        }
        Ok(None)
    }

    /// Returns the admission from the cache, while it is fresh; `None` for a probe, about which the
    /// table decides.
    fn admit_from_cache(
        &self,
        id: IntegrationId,
        message: MessageId,
        now: Timestamp,
    ) -> Option<Admission> {
        let mut cache = self.lock();
        let cached = cache.get_mut(&id).filter(|cached| cached.is_fresh(now))?;
        let before = cached.candidate;
        match cached.admit(message, now) {
            Admission::Probe => {
                // The table decides about the probe.
                cached.candidate = before;
                None
            }
            admission => Some(admission),
        }
    }

    /// Caches a circuit that was just read, and returns whether `message` may pass.
    fn decide(
        &self,
        id: IntegrationId,
        message: MessageId,
        now: Timestamp,
        circuit: Circuit,
    ) -> Admission {
        let mut cache = self.lock();
        if cache.len() >= MAX_ENTRIES {
            cache.clear();
        }
        let cached = cache.entry(id).or_insert(CachedCircuit {
            read_at: now,
            circuit: Circuit::default(),
            candidate: None,
        });
        cached.read_at = now;
        cached.circuit = circuit;
        cached.admit(message, now)
    }

    /// Caches the state of the circuit.
    fn update_cache(&self, id: IntegrationId, now: Timestamp, circuit: Circuit) {
        let mut cache = self.lock();
        if cache.len() >= MAX_ENTRIES {
            cache.clear();
        }
        cache.insert(id, CachedCircuit { read_at: now, circuit, candidate: None });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IntegrationId, CachedCircuit>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
