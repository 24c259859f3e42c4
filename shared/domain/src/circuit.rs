//! When the hub stops sending through an account that is unwell, and how it finds out that the
//! account is well again.
//!
//! ```text
//! closed --failures in a window--> open --time--> half open --a probe answered--> closed
//!                                   ^                 |
//!                                   +--a probe failed-+  for twice as long
//! ```

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest a circuit stays open before it is probed again.
pub const LONGEST_OPEN: Duration = Duration::from_mins(10);

/// How much an integration may fail before the hub stops sending through it for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures within the window that open the circuit.
    pub failures: u32,
    /// Length of the window in seconds.
    pub window_seconds: u32,
    /// Seconds until the first probe; doubled with each probe that fails, up to ten minutes.
    pub open_seconds: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, window_seconds: 60, open_seconds: 30 }
    }
}

impl Breaker {
    fn open_for(self, openings: u32) -> Duration {
        let first = Duration::from_secs(u64::from(self.open_seconds.max(1)));
        let doubled = first.saturating_mul(2_u32.saturating_pow(openings.saturating_sub(1)));
        doubled.min(LONGEST_OPEN.max(first))
    }
}

/// How an integration fared of late. The default is that of one that never failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Circuit {
    /// Failures in the window that began at `since`.
    pub failures: u32,
    /// When the window began.
    pub since: Timestamp,
    /// When it opened; `None` while it is closed.
    pub opened_at: Option<Timestamp>,
    /// When it may be probed.
    pub open_until: Option<Timestamp>,
    /// How often it opened since it was last closed.
    pub openings: u32,
    /// Until when a probe has the time to be answered.
    pub probe_until: Option<Timestamp>,
    /// The last failure.
    pub last_failure: Option<Failure>,
    /// When it last closed.
    pub closed_at: Option<Timestamp>,
}

/// A failure that counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// The provider's or the hub's code.
    pub code: String,
}

/// How a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Messages pass.
    Closed,
    /// None pass.
    Open,
    /// One passes, as a probe.
    HalfOpen,
}

/// Whether a message may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Pass,
    /// It may if nobody else probes: write [`Circuit::probed`] down first.
    Probe,
    /// It may not.
    No {
        /// When it is worth asking again.
        until: Timestamp,
    },
}

impl Circuit {
    /// How it stands.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        match self.open_until {
            None => State::Closed,
            Some(until) if now < until => State::Open,
            Some(_) => State::HalfOpen,
        }
    }

    /// Whether a message may pass at `now`.
    #[must_use]
    pub fn admit(&self, now: Timestamp) -> Admission {
        match (self.open_until, self.probe_until) {
            (None, _) => Admission::Pass,
            (Some(until), _) if now < until => Admission::No { until },
            (Some(_), Some(until)) if now < until => Admission::No { until },
            _ => Admission::Probe,
        }
    }

    /// A probe begins, and has `lease` to be answered.
    #[must_use]
    pub fn probed(self, now: Timestamp, lease: Duration) -> Self {
        Self { probe_until: Some(now + lease), ..self }
    }

    /// The account failed with `code`.
    #[must_use]
    pub fn failed(self, breaker: Breaker, now: Timestamp, code: &str) -> Self {
        let last_failure = Some(Failure { at: now, code: code.to_owned() });
        if self.open_until.is_some() {
            // What was under way when it opened says nothing new; a probe does.
            if self.probe_until.is_none() {
                return Self { last_failure, ..self };
            }
            let openings = self.openings.saturating_add(1);
            let open_until = Some(now + breaker.open_for(openings));
            return Self { openings, open_until, probe_until: None, last_failure, ..self };
        }
        let window = Duration::from_secs(u64::from(breaker.window_seconds.max(1)));
        let over = now.duration_since(self.since).unsigned_abs() >= window;
        let (since, failures) = if over { (now, 1) } else { (self.since, self.failures + 1) };
        let counted = Self { since, failures, last_failure, ..self };
        if failures < breaker.failures.max(1) {
            return counted;
        }
        Self {
            opened_at: Some(now),
            open_until: Some(now + breaker.open_for(1)),
            openings: 1,
            ..counted
        }
    }

    /// A probe was answered.
    #[must_use]
    pub fn succeeded(self, now: Timestamp) -> Self {
        Self { last_failure: self.last_failure, closed_at: Some(now), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BREAKER: Breaker = Breaker { failures: 3, window_seconds: 60, open_seconds: 30 };
    const LEASE: Duration = Duration::from_mins(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn opened() -> Circuit {
        (0..3).fold(Circuit::default(), |c, second| c.failed(BREAKER, at(second), "503"))
    }

    #[test]
    fn so_many_failures_within_the_window_open_it() {
        let two = Circuit::default().failed(BREAKER, at(0), "1").failed(BREAKER, at(1), "1");
        assert_eq!((two.state(at(2)), two.admit(at(2))), (State::Closed, Admission::Pass));
        let open = opened();
        assert_eq!(open.state(at(3)), State::Open);
        assert_eq!(open.admit(at(3)), Admission::No { until: at(32) });
        assert_eq!(open.opened_at, Some(at(2)));
    }

    #[test]
    fn failures_that_are_far_apart_do_not_add_up() {
        let far = (0..9).fold(Circuit::default(), |c, n| c.failed(BREAKER, at(40 * n), "503"));
        assert_eq!((far.state(at(361)), far.failures), (State::Closed, 1));
    }

    #[test]
    fn after_its_time_one_probe_passes_and_the_rest_waits_for_it() {
        let open = opened();
        assert_eq!(open.admit(at(32)), Admission::Probe);
        let probed = open.probed(at(32), LEASE);
        assert_eq!(probed.admit(at(33)), Admission::No { until: at(92) });
        assert_eq!(probed.admit(at(92)), Admission::Probe, "a probe that died is replaced");
        let closed = probed.clone().succeeded(at(34));
        assert_eq!((closed.admit(at(34)), closed.closed_at), (Admission::Pass, Some(at(34))));
        assert_eq!(closed.last_failure.unwrap().code, "503", "kept for people to see");
        let again = probed.failed(BREAKER, at(35), "503");
        assert_eq!(again.admit(at(36)), Admission::No { until: at(95) }, "twice as long");
    }

    #[test]
    fn what_was_under_way_when_it_opened_does_not_prolong_it() {
        let late = opened().failed(BREAKER, at(20), "504");
        assert_eq!(late.open_until, Some(at(32)));
        assert_eq!(late.last_failure.unwrap().code, "504");
    }

    proptest! {
        #[test]
        fn it_is_never_shut_for_good(failures in prop::collection::vec(0_i64..200, 0..60)) {
            let mut circuit = Circuit::default();
            let mut now = 0;
            for step in failures {
                now += step;
                if circuit.admit(at(now)) == Admission::Probe {
                    circuit = circuit.probed(at(now), LEASE);
                }
                circuit = circuit.failed(BREAKER, at(now), "503");
            }
            let later = at(now) + LONGEST_OPEN + LEASE;
            let shut = matches!(circuit.admit(later), Admission::No { .. });
            prop_assert!(!shut);
        }
    }
}
