//! Circuit breaker: when the hub stops sending through an unhealthy account, and how it detects
//! that the account has recovered.
//!
//! ```text
//! closed --failures in a window--> open --pause--> half open --probe succeeded--> closed
//!                                   ^                  |
//!                                   +---probe failed---+
//! ```
//!
//! In its first minute an open circuit is probed every two seconds, because most outages are short;
//! after that the pauses double up to the longest that the integration's settings allow.

use std::time::Duration;

use domain::circuit::Breaker;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The pause between two probes in a circuit's first minute. While a probe is running, also the
/// wait before its outcome is checked.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// How long after it opened a circuit is probed at that rate.
pub const FAST_PROBE_PERIOD: Duration = Duration::from_mins(1);

/// The circuit of an integration. The default is that of an integration that never failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Circuit {
    /// Failures in the window that began at `since`.
    pub failures: u32,
    /// When the window began.
    pub since: Timestamp,
    /// When the circuit opened; `None` while it is closed.
    pub opened_at: Option<Timestamp>,
    /// When the next probe is allowed.
    pub open_until: Option<Timestamp>,
    /// Number of probes that failed after the first minute.
    pub slow_probes: u32,
    /// When the running probe times out.
    pub probe_until: Option<Timestamp>,
    /// The last failure.
    pub last_failure: Option<Failure>,
    /// When the circuit last closed.
    pub closed_at: Option<Timestamp>,
}

/// A failure that the circuit breaker counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// When it happened.
    pub at: Timestamp,
    /// The provider's or the hub's error code.
    pub code: String,
}

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Messages are sent.
    Closed,
    /// No messages are sent.
    Open,
    /// One message is sent, as a probe.
    HalfOpen,
}

/// Whether a message may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may be sent.
    Pass,
    /// It may be sent as a probe, if no other probe is running: store [`Circuit::probed`] first.
    Probe,
    /// It may not be sent.
    No {
        /// When to check again.
        until: Timestamp,
    },
}

impl Circuit {
    /// Returns the state at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        match self.open_until {
            None => State::Closed,
            Some(until) if now < until => State::Open,
            Some(_) => State::HalfOpen,
        }
    }

    /// Returns whether a message may be sent at `now`.
    #[must_use]
    pub fn admit(&self, now: Timestamp) -> Admission {
        match (self.open_until, self.probe_until) {
            (None, _) => Admission::Pass,
            (Some(until), _) if now < until => Admission::No { until },
            // A probe usually ends long before its timeout.
            (_, Some(lease)) if now < lease => {
                Admission::No { until: lease.min(now + PROBE_INTERVAL) }
            }
            _ => Admission::Probe,
        }
    }

    /// Records the start of a probe, which times out after `lease`.
    #[must_use]
    pub fn probed(self, now: Timestamp, lease: Duration) -> Self {
        Self { probe_until: Some(now + lease), ..self }
    }

    /// Records a failure of the account with `code`.
    #[must_use]
    pub fn failed(self, breaker: Breaker, now: Timestamp, code: &str) -> Self {
        let last_failure = Some(Failure { at: now, code: code.to_owned() });
        if self.open_until.is_some() {
            // A request that was running when the circuit opened adds no information; a probe does.
            if self.probe_until.is_none() {
                return Self { last_failure, ..self };
            }
            let age = now.duration_since(self.opened_at.unwrap_or(now)).unsigned_abs();
            let slow_probes =
                if age < FAST_PROBE_PERIOD { 0 } else { self.slow_probes.saturating_add(1) };
            let open_until = Some(now + pause(breaker, slow_probes));
            return Self { slow_probes, open_until, probe_until: None, last_failure, ..self };
        }
        let window = Duration::from_secs(u64::from(breaker.window_seconds.max(1)));
        let over = now.duration_since(self.since).unsigned_abs() >= window;
        let (since, failures) = if over { (now, 1) } else { (self.since, self.failures + 1) };
        let counted = Self { failures, since, last_failure, ..self };
        if failures < breaker.failures.max(1) {
            return counted;
        }
        Self {
            opened_at: Some(now),
            open_until: Some(now + pause(breaker, 0)),
            slow_probes: 0,
            ..counted
        }
    }

    /// Records a successful probe.
    #[must_use]
    pub fn succeeded(self, now: Timestamp) -> Self {
        Self { last_failure: self.last_failure, closed_at: Some(now), ..Self::default() }
    }
}

/// Returns the pause before the next probe, after `slow_probes` probes failed since the first
/// minute ended.
fn pause(breaker: Breaker, slow_probes: u32) -> Duration {
    let longest = Duration::from_secs(u64::from(breaker.open_seconds.max(1)));
    PROBE_INTERVAL.saturating_mul(2_u32.saturating_pow(slow_probes)).min(longest)
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
    fn enough_failures_within_the_window_open_the_circuit() {
        let two = Circuit::default().failed(BREAKER, at(0), "1").failed(BREAKER, at(1), "1");
        assert_eq!((two.state(at(2)), two.admit(at(2))), (State::Closed, Admission::Pass));
        let open = opened();
        assert_eq!(open.state(at(3)), State::Open);
        assert_eq!(open.admit(at(3)), Admission::No { until: at(4) });
        assert_eq!(open.opened_at, Some(at(2)));
    }

    #[test]
    fn failures_in_different_windows_do_not_add_up() {
        let far = (0..9).fold(Circuit::default(), |c, n| c.failed(BREAKER, at(40 * n), "503"));
        assert_eq!((far.state(at(361)), far.failures), (State::Closed, 1));
    }

    #[test]
    fn after_a_pause_one_probe_is_sent_and_other_messages_wait_for_it() {
        let open = opened();
        assert_eq!(open.admit(at(4)), Admission::Probe);
        let probed = open.probed(at(4), LEASE);
        assert_eq!(probed.admit(at(5)), Admission::No { until: at(7) }, "not the whole lease");
        assert_eq!(probed.admit(at(63)), Admission::No { until: at(64) });
        assert_eq!(probed.admit(at(64)), Admission::Probe, "a probe that timed out is replaced");
        let closed = probed.clone().succeeded(at(6));
        assert_eq!((closed.admit(at(6)), closed.closed_at), (Admission::Pass, Some(at(6))));
        assert_eq!(closed.last_failure.unwrap().code, "503", "kept for diagnosis");
        let again = probed.failed(BREAKER, at(6), "503");
        assert_eq!(again.admit(at(7)), Admission::No { until: at(8) });
    }

    #[test]
    fn a_request_running_when_the_circuit_opened_does_not_keep_it_open_longer() {
        let late = opened().failed(BREAKER, at(3), "504");
        assert_eq!(late.open_until, Some(at(4)));
        assert_eq!(late.last_failure.unwrap().code, "504");
    }

    /// Returns the seconds after the circuit opened at which it is probed, until `last`, where each
    /// probe takes `took` seconds to fail.
    fn probes(breaker: Breaker, took: i64, last: i64) -> Vec<i64> {
        let mut circuit = (0..breaker.failures)
            .fold(Circuit::default(), |circuit, _| circuit.failed(breaker, at(0), "503"));
        let mut seconds = Vec::new();
        for second in 0..=last {
            if circuit.admit(at(second)) == Admission::Probe {
                seconds.push(second);
                circuit = circuit.probed(at(second), LEASE);
                circuit = circuit.failed(breaker, at(second + took), "503");
            }
        }
        seconds
    }

    #[test]
    fn it_is_probed_every_two_seconds_for_a_minute_then_at_doubling_pauses_up_to_half_a_minute() {
        let seconds = probes(Breaker::default(), 0, 240);
        let quick: Vec<i64> = (1..=30).map(|n| 2 * n).collect();
        let slow = [64, 72, 88, 118, 148, 178, 208, 238];
        assert_eq!(seconds, [quick, slow.to_vec()].concat());
    }

    proptest! {
        #[test]
        fn after_an_outage_the_next_probe_is_at_most_one_pause_away(
            failures in 1_u32..20, open_seconds in 1_u32..600, took in 0_i64..10,
            outage in 0_i64..4000,
        ) {
            let breaker = Breaker { failures, open_seconds, ..BREAKER };
            let seconds = probes(breaker, took, outage + 700);
            let next = seconds.iter().find(|second| **second >= outage).unwrap();
            let longest = i64::from(open_seconds);
            let pause = if outage < 60 - took { longest.min(2) } else { longest };
            // A probe that is running when the outage ends may still fail.
            prop_assert!(next - outage <= pause + took, "{seconds:?}");
        }

        #[test]
        fn pauses_never_shrink_and_are_never_longer_than_allowed(
            open_seconds in 1_u32..600, took in 0_i64..10,
        ) {
            let longest = i64::from(open_seconds);
            let seconds = probes(Breaker { open_seconds, ..BREAKER }, took, 3000);
            let pauses = seconds.windows(2).map(|pair| pair[1] - pair[0] - took);
            let pauses: Vec<i64> = pauses.collect();
            prop_assert!(pauses.is_sorted(), "{pauses:?}");
            prop_assert!(pauses.iter().all(|pause| (longest.min(2)..=longest).contains(pause)));
        }

        #[test]
        fn a_circuit_never_stays_open_forever(
            failures in prop::collection::vec(0_i64..200, 0..60),
        ) {
            let mut circuit = Circuit::default();
            let mut now = 0;
            for step in failures {
                now += step;
                if circuit.admit(at(now)) == Admission::Probe {
                    circuit = circuit.probed(at(now), LEASE);
                }
                circuit = circuit.failed(BREAKER, at(now), "503");
            }
            let later = at(now) + Duration::from_secs(BREAKER.open_seconds.into()) + LEASE;
            let is_open = matches!(circuit.admit(later), Admission::No { .. });
            prop_assert!(!is_open);
        }
    }
}
