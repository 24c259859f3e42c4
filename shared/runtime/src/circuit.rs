//! How integrations fare, remembered for a few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::circuit::{Admission, Circuit, PROBE_EVERY, State};
use domain::integration::Integration;
use domain::ports::{Circuits, Clock, PortResult, Recorded};
use domain::{IntegrationId, MessageId};
use jiff::Timestamp;

use crate::telemetry::{self, Metric};

/// How long what was read of a closed circuit is used: so much later than another sender does
/// this one notice that it opened.
const LIFETIME: Duration = Duration::from_secs(5);
/// The same of a circuit that is not closed: so much later does this one notice that it closed.
const OPEN_LIFETIME: Duration = Duration::from_secs(1);
/// How long a probe has: as long as its function may run.
const PROBE: Duration = Duration::from_secs(20);
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
    memory: Mutex<HashMap<IntegrationId, Known>>,
}

/// What is remembered of one integration.
#[derive(Debug)]
struct Known {
    read_at: Timestamp,
    circuit: Circuit,
    /// The message of this sandbox that was last told to probe, and until when it may be about
    /// it.
    candidate: Option<(MessageId, Timestamp)>,
}

impl Known {
    fn is_fresh(&self, now: Timestamp) -> bool {
        let closed = self.circuit.state(now) == State::Closed;
        let lifetime = if closed { LIFETIME } else { OPEN_LIFETIME };
        now.duration_since(self.read_at).unsigned_abs() < lifetime
    }

    /// Whether a message may pass. Of those that ask at once one is told to probe: the others
    /// would only write to the table to learn that it has the right to. That one may ask again,
    /// as it does when its record is from before it was handed over.
    fn admit(&mut self, message: MessageId, now: Timestamp) -> Admission {
        match (self.circuit.admit(now), self.candidate) {
            (Admission::Probe, Some((other, until))) if other != message && now < until => {
                Admission::No { until }
            }
            (Admission::Probe, _) => {
                self.candidate = Some((message, now + PROBE_EVERY));
                Admission::Probe
            }
            (admission, _) => admission,
        }
    }
}

impl<S: Circuits, C: Clock> Breakers<S, C> {
    /// Remembers what `store` says.
    #[must_use]
    pub fn new(store: S, clock: C) -> Self {
        Self { store, clock, memory: Mutex::default() }
    }

    /// Whether `message` may pass.
    ///
    /// # Errors
    /// As [`Circuits::circuit`].
    pub async fn admit(
        &self,
        integration: &Integration,
        message: MessageId,
    ) -> PortResult<Admission> {
        let (tenant, id) = (&integration.tenant, integration.id);
        if let Some(admission) = self.remembered(id, message, self.clock.now()) {
            return Ok(admission);
        }
        let (circuit, _) = self.store.circuit(tenant, id).await?;
        Ok(self.decide(id, message, self.clock.now(), circuit))
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
            self.note(id, now, circuit);
            return Ok(passes);
        }
        let circuit = circuit.probed(now, PROBE);
        let taken = self.store.set_circuit(tenant, id, &circuit, seen).await?;
        self.note(id, now, circuit);
        Ok(taken == Recorded::New)
    }

    /// When the integration may be probed, if its circuit is open as far as this sandbox knows.
    #[must_use]
    pub fn probed_at(&self, integration: IntegrationId) -> Option<Timestamp> {
        let memory = self.lock();
        memory.get(&integration).and_then(|known| known.circuit.open_until)
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
            telemetry::count(Metric::CircuitOpened, "integrations", 1);
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
                self.note(id, now, after);
                return Ok(Some(states));
            }
        }
        Ok(None)
    }

    /// What the memory says, while it is fresh. A turn to probe that it remembers may be over.
    fn remembered(
        &self,
        id: IntegrationId,
        message: MessageId,
        now: Timestamp,
    ) -> Option<Admission> {
        let mut memory = self.lock();
        let known = memory.get_mut(&id).filter(|known| known.is_fresh(now))?;
        let before = known.candidate;
        match known.admit(message, now) {
            Admission::Probe => {
                // Not yet: what the table says decides.
                known.candidate = before;
                None
            }
            admission => Some(admission),
        }
    }

    /// Remembers what was just read, and says whether `message` may pass.
    fn decide(
        &self,
        id: IntegrationId,
        message: MessageId,
        now: Timestamp,
        circuit: Circuit,
    ) -> Admission {
        let mut memory = self.lock();
        if memory.len() >= LARGEST {
            memory.clear();
        }
        let known = memory.entry(id).or_insert(Known {
            read_at: now,
            circuit: Circuit::default(),
            candidate: None,
        });
        known.read_at = now;
        known.circuit = circuit;
        known.admit(message, now)
    }

    /// Remembers how the circuit stands.
    fn note(&self, id: IntegrationId, now: Timestamp, circuit: Circuit) {
        let mut memory = self.lock();
        if memory.len() >= LARGEST {
            memory.clear();
        }
        memory.insert(id, Known { read_at: now, circuit, candidate: None });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IntegrationId, Known>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
