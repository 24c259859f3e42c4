//! Fault injection.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use domain::Fault;
use domain::ports::{PortError, PortResult, Rng};

use crate::{SeededRng, lock};

/// When a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before it takes effect.
    Before,
    /// After it has taken effect; its response is lost.
    After,
}

/// The faults of the fakes that share it. Clones are the same plan.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    calls: u64,
    fail_at: Option<(u64, Side)>,
    lasting: bool,
    triggered: bool,
    down: bool,
    rng: Option<SeededRng>,
    log: Vec<String>,
}

impl Faults {
    /// Makes only the call number `number` from now fail, counted from 1.
    pub fn fail_call(&self, number: u64, side: Side) {
        self.plan(number, side, false);
    }

    /// Makes the call number `number` from now, counted from 1, and all later ones fail until
    /// [`Self::clear`]: that leaves the state of a process that crashed there.
    pub fn crash_at_call(&self, number: u64, side: Side) {
        self.plan(number, side, true);
    }

    fn plan(&self, number: u64, side: Side, lasting: bool) {
        let mut plan = lock(&self.0);
        let fail_at = Some((plan.calls + number, side));
        *plan = Plan { calls: plan.calls, fail_at, lasting, ..Plan::default() };
    }

    /// Makes one call in a hundred fail before it takes effect and one after, as `rng` draws, until
    /// [`Self::clear`].
    pub fn fail_at_random(&self, rng: SeededRng) {
        lock(&self.0).rng = Some(rng);
    }

    /// Makes every call fail from now on.
    pub fn fail_all(&self) {
        lock(&self.0).down = true;
    }

    /// Ends all faults.
    pub fn clear(&self) {
        let mut plan = lock(&self.0);
        plan.down = false;
        plan.fail_at = None;
        plan.rng = None;
    }

    /// Whether the call that was to fail has been made.
    #[must_use]
    pub fn has_triggered(&self) -> bool {
        lock(&self.0).triggered
    }

    /// Whether all calls fail at present, after a crash or an outage.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        lock(&self.0).down
    }

    /// Number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        lock(&self.0).calls
    }

    /// The calls since the last fault was planned, oldest first: ports by their operation, requests
    /// to the table by operation and the keys of the items.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        lock(&self.0).log.clone()
    }

    /// Counts a call and returns the side on which it fails, if it does.
    pub(crate) fn next(&self, what: String) -> Option<Side> {
        let mut plan = lock(&self.0);
        plan.calls += 1;
        plan.log.push(what);
        let due = plan.fail_at.filter(|(number, _)| *number == plan.calls);
        if let Some((_, side)) = due {
            plan.triggered = true;
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

    /// Counts a call that does not go through a port, such as one to a provider.
    ///
    /// # Errors
    /// If the call fails before it takes effect; `Ok(false)` if after.
    pub fn count_call(&self, operation: &'static str) -> PortResult<bool> {
        match self.next(operation.to_owned()) {
            Some(Side::Before) => Err(injected_error(operation)),
            Some(Side::After) => Ok(false),
            None => Ok(true),
        }
    }

    /// Runs `act` as one call of a port.
    pub(crate) async fn run_call<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce() -> T + Send,
    ) -> PortResult<T> {
        // Other tasks can run here, as they can during a real call.
        yield_once().await;
        let answered = self.count_call(operation)?;
        let done = act();
        if answered { Ok(done) } else { Err(injected_error(operation)) }
    }
}

fn injected_error(operation: &'static str) -> PortError {
    PortError { operation, reason: "injected fault".to_owned(), fault: Fault::Retryable }
}

/// Yields once, so that every other task can run.
pub(crate) async fn yield_once() {
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
