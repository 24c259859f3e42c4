//! The clock: the only place that reads the time.

/// A source of the current time. Provider rules never read it: they get the time as an argument.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The system clock.
    #[default]
    Machine,
    /// A simulated clock that returns milliseconds since 1970.
    Given(fn() -> i64),
}

impl Clock {
    /// Milliseconds since 1970.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "a provider has its own clock; this is the one place that reads it"
    )]
    pub fn now_ms(self) -> i64 {
        match self {
            Self::Machine => jiff::Timestamp::now().as_millisecond(),
            Self::Given(now_ms) => now_ms(),
        }
    }
}

/// `ms` since 1970 as RFC 3339 with milliseconds, in UTC.
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_time_is_written_with_milliseconds() {
        assert_eq!(super::rfc3339(1_795_228_567_890), "2026-11-21T02:36:07.890Z");
        assert_eq!(super::rfc3339(1_795_228_567_000), "2026-11-21T02:36:07.000Z");
    }
}
