//! Virtual time: the paused clock of the Tokio runtime, which advances when all tasks are idle.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use domain::ports::Clock;
use jiff::Timestamp;
use tokio::time::Instant;

/// Virtual time at which every run starts. Fixtures are set up before.
pub const START: Duration = Duration::from_hours(1);

/// Real time at virtual time zero: 2026-11-20 12:00:00 UTC, in microseconds since 1970.
const BEGINNING: i64 = 1_795_176_000_000_000;

thread_local! {
    static BEGAN: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// Starts the clock of this thread at virtual time `after`. Must be called within the runtime.
pub fn begin(after: Duration) {
    BEGAN.set(Some((Instant::now(), after)));
}

/// Current virtual time.
#[must_use]
pub fn elapsed() -> Duration {
    BEGAN.get().map_or(Duration::ZERO, |(began, after)| after + began.elapsed())
}

/// Current time in microseconds since 1970.
#[must_use]
pub fn now_us() -> i64 {
    BEGINNING + i64::try_from(elapsed().as_micros()).unwrap_or(i64::MAX / 2)
}

/// Current time in milliseconds since 1970.
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
