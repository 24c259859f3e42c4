//! Retention: how long a kind of data is kept.

use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

/// Retention period; without one, data is kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention(Option<Duration>);

impl Retention {
    /// Data is kept for ever.
    pub const FOREVER: Self = Self(None);

    /// Data is kept for `days`; for ever if 0.
    #[must_use]
    pub const fn days(days: u16) -> Self {
        match days {
            0 => Self::FOREVER,
            days => Self(Some(Duration::from_hours(days as u64 * 24))),
        }
    }

    /// Returns the period; `None` if it is for ever.
    #[must_use]
    pub const fn period(self) -> Option<Duration> {
        self.0
    }

    /// Returns the time before which data may have expired at `now`; `None` if none has.
    #[must_use]
    pub fn oldest(self, now: Timestamp) -> Option<Timestamp> {
        self.0.map(|period| now.saturating_sub(period).unwrap_or(Timestamp::MIN))
    }
}

/// Parses a number of days.
impl FromStr for Retention {
    type Err = ParseIntError;

    fn from_str(days: &str) -> Result<Self, ParseIntError> {
        days.parse().map(Self::days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_expires_after_its_days_and_never_after_zero_days() {
        let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        let oldest = |days: &str| days.parse::<Retention>().unwrap().oldest(now);
        assert_eq!(oldest("30"), Some("2026-11-01T00:00:00Z".parse().unwrap()));
        assert_eq!(oldest("0"), None);
        assert!("-1".parse::<Retention>().is_err() && "a month".parse::<Retention>().is_err());
    }
}
