//! How integrations fare, remembered for a few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::IntegrationId;
use domain::circuit::{Admission, Circuit, State};
use domain::integration::Integration;
use domain::ports::{Circuits, Clock, PortResult, Recorded};
use jiff::Timestamp;

use crate::telemetry::{self, Metric};

/// How long what was read is used: so much later than another sender does this one notice that
/// a circuit opened or closed.
const LIFETIME: Duration = Duration::from_secs(5);
/// How long a probe has: as long as a claim.
const PROBE: Duration = Duration::from_mins(1);
/// How often a change is tried again because another was faster. What is lost then is one
/// failure of many.
const TRIES: u32 = 4;
/// Integrations that are remembered; a sandbox that has seen more starts over.
const LARGEST: usize = 10_000;

/// How integrations fare, remembered for a few seconds.
#[derive(Debug)]
pub struct Breakers<S, C> {
    store: S,
    clock: C,
    memory: Mutex<HashMap<IntegrationId, (Timestamp, Circuit)>>,
}

impl<S: Circuits, C: Clock> Breakers<S, C> {
    /// Remembers what `store` says.
    #[must_use]
    pub fn new(store: S, clock: C) -> Self {
        Self { store, clock, memory: Mutex::default() }
    }

    /// Whether a message may pass.
    ///
    /// # Errors
    /// As [`Circuits::circuit`].
    pub async fn admit(&self, integration: &Integration) -> PortResult<Admission> {
        let now = self.clock.now();
        if let Some(circuit) = self.known(integration.id, now) {
            // What is remembered as a probe's turn may be over.
            match circuit.admit(now) {
                Admission::Probe => {}
                admission => return Ok(admission),
            }
        }
        let (circuit, _) = self.store.circuit(&integration.tenant, integration.id).await?;
        let admission = circuit.admit(now);
        self.remember(integration.id, now, circuit);
        Ok(admission)
    }

    /// Takes the right to probe; `false` if another has it.
    ///
    /// # Errors
    /// As [`Circuits::set_circuit`].
    pub async fn probe(&self, integration: &Integration) -> PortResult<bool> {
        let now = self.clock.now();
        let (tenant, id) = (&integration.tenant, integration.id);
        let (circuit, seen) = self.store.circuit(tenant, id).await?;
        if circuit.admit(now) != Admission::Probe {
            let passes = circuit.admit(now) == Admission::Pass;
            self.remember(id, now, circuit);
            return Ok(passes);
        }
        let circuit = circuit.probed(now, PROBE);
        let taken = self.store.set_circuit(tenant, id, &circuit, seen).await?;
        self.remember(id, now, circuit);
        Ok(taken == Recorded::New)
    }

    /// Notes that the account failed with `code`.
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
            telemetry::count(Metric::CircuitOpened, integration.provider.as_str(), 1);
        }
        Ok(())
    }

    /// Notes that a probe was answered.
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

    /// How it stood and stands; `None` if others were always faster.
    async fn change(
        &self,
        integration: &Integration,
        now: Timestamp,
        change: impl Fn(Circuit) -> Circuit + Send,
    ) -> PortResult<Option<(State, State)>> {
        let (tenant, id) = (&integration.tenant, integration.id);
        for _ in 0..TRIES {
            let (before, seen) = self.store.circuit(tenant, id).await?;
            let state = before.state(now);
            let after = change(before);
            if self.store.set_circuit(tenant, id, &after, seen).await? == Recorded::New {
                let states = (state, after.state(now));
                self.remember(id, now, after);
                return Ok(Some(states));
            }
        }
        Ok(None)
    }

    fn known(&self, id: IntegrationId, now: Timestamp) -> Option<Circuit> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (read_at, circuit) = memory.get(&id)?;
        (now.duration_since(*read_at).unsigned_abs() < LIFETIME).then(|| circuit.clone())
    }

    fn remember(&self, id: IntegrationId, now: Timestamp, circuit: Circuit) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() >= LARGEST {
            memory.clear();
        }
        memory.insert(id, (now, circuit));
    }
}
