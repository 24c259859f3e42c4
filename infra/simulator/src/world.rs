//! Everything the simulator knows.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::ids::Ids;
use crate::log::{Log, Scene};
use crate::provider::SimulatedProvider;

/// What is kept of a provider, whichever it is.
trait State: Any + Debug + Send {
    fn reset(&mut self);
}

impl<P: SimulatedProvider> State for P {
    fn reset(&mut self) {
        SimulatedProvider::reset(self);
    }
}

/// The providers and what happened to them.
#[derive(Debug)]
pub struct World {
    providers: BTreeMap<TypeId, Box<dyn State>>,
    /// Makes ids.
    pub ids: Ids,
    /// What happened.
    pub log: Log,
    /// Counts the resets: what was planned before one is void.
    pub epoch: u64,
}

impl World {
    /// An empty world that begins at `now_ms`.
    #[must_use]
    pub fn new(now_ms: i64) -> Self {
        Self { providers: BTreeMap::new(), ids: Ids::new(now_ms), log: Log::default(), epoch: 0 }
    }

    /// Forgets everything but which ids were used.
    pub fn reset(&mut self) {
        for provider in self.providers.values_mut() {
            provider.reset();
        }
        self.log.clear();
        self.epoch += 1;
    }

    /// Runs `act` on a provider. There is always one, as its state is kept by its type.
    pub fn provider<P: SimulatedProvider, T>(
        &mut self,
        now_ms: i64,
        act: impl FnOnce(&mut P, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let state = self.providers.entry(TypeId::of::<P>());
        let state: &mut dyn Any = &mut **state.or_insert_with(|| Box::new(P::default()));
        let provider = state.downcast_mut::<P>()?;
        Some(act(provider, &mut Scene { now_ms, ids: &mut self.ids, log: &mut self.log }))
    }

    /// Runs `act` on the account `name` of a provider, if it has been made.
    pub fn account<P: SimulatedProvider, T>(
        &mut self,
        now_ms: i64,
        name: &str,
        act: impl FnOnce(&mut P::Account, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        self.provider(now_ms, |provider: &mut P, scene| {
            provider.account(name).map(|account| act(account, scene))
        })
        .flatten()
    }
}
