//! The state of the simulator.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::ids::Ids;
use crate::log::{Log, ProviderContext};
use crate::provider::SimulatedProvider;

/// The state of one provider, with its type erased.
trait ErasedState: Any + Debug + Send {
    fn reset(&mut self);
}

impl<P: SimulatedProvider> ErasedState for P {
    fn reset(&mut self) {
        SimulatedProvider::reset(self);
    }
}

/// The providers, the identifiers and the log.
#[derive(Debug)]
pub struct World {
    providers: BTreeMap<TypeId, Box<dyn ErasedState>>,
    /// Generates identifiers.
    pub ids: Ids,
    /// The events so far.
    pub log: Log,
    /// Number of resets. Deliveries that were planned before a reset are dropped.
    pub epoch: u64,
}

impl World {
    /// Creates an empty state at `now_ms`.
    #[must_use]
    pub fn new(now_ms: i64) -> Self {
        Self { providers: BTreeMap::new(), ids: Ids::new(now_ms), log: Log::default(), epoch: 0 }
    }

    /// Removes everything except the record of used ids.
    pub fn reset(&mut self) {
        for provider in self.providers.values_mut() {
            provider.reset();
        }
        self.log.clear();
        self.epoch += 1;
    }

    /// Runs `act` on a provider. Every provider has a state, which is found by its type.
    pub fn provider<P: SimulatedProvider, T>(
        &mut self,
        now_ms: i64,
        act: impl FnOnce(&mut P, &mut ProviderContext<'_>) -> T,
    ) -> Option<T> {
        let state = self.providers.entry(TypeId::of::<P>());
        let state: &mut dyn Any = &mut **state.or_insert_with(|| Box::new(P::default()));
        let provider = state.downcast_mut::<P>()?;
        Some(act(provider, &mut ProviderContext { now_ms, ids: &mut self.ids, log: &mut self.log }))
    }

    /// Runs `act` on the account `name` of a provider, if the account exists.
    pub fn account<P: SimulatedProvider, T>(
        &mut self,
        now_ms: i64,
        name: &str,
        act: impl FnOnce(&mut P::Account, &mut ProviderContext<'_>) -> T,
    ) -> Option<T> {
        self.provider(now_ms, |provider: &mut P, context| {
            provider.account(name).map(|account| act(account, context))
        })
        .flatten()
    }
}
