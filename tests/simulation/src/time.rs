//! Virtual time: the runtime's own, which moves on when nobody has anything to do.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use domain::ports::Clock;
use jiff::Timestamp;
use tokio::time::Instant;

/// When every run begins, in virtual time: the stage is set before.
pub const START: Duration = Duration::from_hours(1);

/// The beginning of time: 2026-11-20 12:00:00 UTC, in microseconds since 1970.
const BEGINNING: i64 = 1_795_176_000_000_000;

thread_local! {
    static BEGAN: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// Begins a run on this thread, `after` the beginning of time. To be called within its runtime.
pub fn begin(after: Duration) {
    BEGAN.set(Some((Instant::now(), after)));
}

/// How long the run has lasted.
#[must_use]
pub fn elapsed() -> Duration {
    BEGAN.get().map_or(Duration::ZERO, |(began, after)| after + began.elapsed())
}

/// Microseconds since 1970.
#[must_use]
pub fn now_us() -> i64 {
    BEGINNING + i64::try_from(elapsed().as_micros()).unwrap_or(i64::MAX / 2)
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    now_us() / 1000
}

/// The handlers' clock.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock;

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(now_us()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl TimeSource for VirtualClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(now_us().unsigned_abs())
    }
}
