//! Trouble on order.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use domain::Fault;
use domain::ports::{PortError, PortResult, Rng};

use crate::{SeededRng, lock};

/// When a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It has no effect.
    Before,
    /// It took effect, and its answer is lost.
    After,
}

/// What the fakes that share it do wrong. Copies are one.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    fail_at: Option<(u64, Side)>,
    lasting: bool,
    happened: bool,
    down: bool,
    rng: Option<SeededRng>,
    log: Vec<String>,
}

impl Faults {
    /// Fails call number `number` from now, counted from 1, and no other.
    pub fn fail_call(&self, number: u64, side: Side) {
        self.plan(number, side, false);
    }

    /// Fails call number `number` from now, counted from 1, and all that follow until
    /// [`Self::mend`]: what a process leaves behind that dies there.
    pub fn die_at_call(&self, number: u64, side: Side) {
        self.plan(number, side, true);
    }

    fn plan(&self, number: u64, side: Side, lasting: bool) {
        let mut plan = lock(&self.0);
        let fail_at = Some((plan.calls + number, side));
        *plan = Plan { calls: plan.calls, fail_at, lasting, ..Plan::default() };
    }

    /// Fails one call in a hundred before it has an effect and one after, as `dice` fall, until
    /// [`Self::mend`].
    pub fn fail_at_random(&self, rng: SeededRng) {
        lock(&self.0).rng = Some(rng);
    }

    /// Fails every call from now on.
    pub fn go_down(&self) {
        lock(&self.0).down = true;
    }

    /// Ends all trouble.
    pub fn mend(&self) {
        let mut plan = lock(&self.0);
        plan.down = false;
        plan.fail_at = None;
        plan.rng = None;
    }

    /// Whether the ordered call came.
    #[must_use]
    pub fn happened(&self) -> bool {
        lock(&self.0).happened
    }

    /// Whether the process is dead, or everything down, and not yet mended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        lock(&self.0).down
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        lock(&self.0).calls
    }

    /// What was asked since the last order, oldest first: ports by their operation, requests to
    /// the table by theirs and the keys of the items.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        lock(&self.0).log.clone()
    }

    /// Counts a call and says on which side it fails, if it does.
    pub(crate) fn next(&self, what: String) -> Option<Side> {
        let mut plan = lock(&self.0);
        plan.calls += 1;
        plan.log.push(what);
        let due = plan.fail_at.filter(|(number, _)| *number == plan.calls);
        if let Some((_, side)) = due {
            plan.happened = true;
            plan.down = plan.lasting;
            return Some(side);
        }
        if plan.down {
            return Some(Side::Before);
        }
        match plan.rng.as_ref()?.bits() % 100 {
            0 => Some(Side::After),
            1 => Some(Side::Before),
            _ => None,
        }
    }

    /// Counts a call that goes past the ports, such as one to a provider.
    ///
    /// # Errors
    /// If it is to fail before it has an effect; `Ok(false)` if after.
    pub fn record_event(&self, operation: &'static str) -> PortResult<bool> {
        match self.next(operation.to_owned()) {
            Some(Side::Before) => Err(broken(operation)),
            Some(Side::After) => Ok(false),
            None => Ok(true),
        }
    }

    /// Does `act` as one call of a port.
    pub(crate) async fn pass<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce() -> T + Send,
    ) -> PortResult<T> {
        // Others have their turn here, as they have at a real port.
        give_way().await;
        let answered = self.record_event(operation)?;
        let done = act();
        if answered { Ok(done) } else { Err(broken(operation)) }
    }
}

fn broken(operation: &'static str) -> PortError {
    PortError { operation, reason: "broken on order".to_owned(), fault: Fault::Retryable }
}

/// Lets every other task have a turn.
pub(crate) async fn give_way() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
