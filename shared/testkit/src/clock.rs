//! A clock that tests control.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::ports::Clock;
use jiff::Timestamp;

use crate::lock;

/// A clock that shows the same time until it is moved. Clones show the same time.
#[derive(Clone, Debug)]
pub struct FakeClock(Arc<Mutex<Timestamp>>);

impl FakeClock {
    /// Creates a clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Sets the time to `now`, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        *lock(&self.0) = now;
    }

    /// Moves the time forwards.
    pub fn advance(&self, by: Duration) {
        let mut now = lock(&self.0);
        *now += by;
    }
}

impl Default for FakeClock {
    /// The time of the providers' examples: 2026-11-20 12:00:00 UTC.
    fn default() -> Self {
        Self::at(Timestamp::from_second(1_795_176_000).unwrap_or(Timestamp::UNIX_EPOCH))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *lock(&self.0)
    }
}
