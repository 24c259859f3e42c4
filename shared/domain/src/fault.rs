//! Fault: whether a failed operation may be retried, and when.

use std::time::Duration;

use http::StatusCode;

/// The retry classification of an error: the only question a queue consumer asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A retry cannot succeed: malformed request, revoked key, unknown recipient.
    Permanent,
    /// The request had no effect and a retry may succeed: connection refused, throttled table.
    Retryable,
    /// The service asked for a pause of at least `retry_after`. Not counted as an attempt.
    RateLimited {
        /// Time to wait before the next attempt, as the service stated it.
        retry_after: Duration,
    },
    /// The request may have taken effect: no response was received, or it was cut off.
    Unknown,
}

/// Whether an error response has the format that the service documents for its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// It has: the service itself read the request and refused it.
    Documented,
    /// It has not: a gateway's error page, an empty body, a truncated response.
    Other,
}

impl Fault {
    /// The pause after a 429 without `Retry-After`.
    pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

    /// Classifies an error response where the error code in it does not say more: the one rule for
    /// every provider.
    ///
    /// An error in the documented format is a refusal: the request had no effect. A 5xx in another
    /// format comes from a gateway in front of the service and says nothing about the request. Two
    /// statuses count as a refusal in any format, by RFC 9110: 503 with `Retry-After` asks for the
    /// request again (section 15.6.4), and 408 says that the request did not arrive completely
    /// (section 15.5.9).
    #[must_use]
    pub fn from_response(
        status: StatusCode,
        format: ErrorFormat,
        retry_after: Option<Duration>,
    ) -> Self {
        let again = match retry_after {
            Some(retry_after) => Self::RateLimited { retry_after },
            None => Self::Retryable,
        };
        match (status.as_u16(), format) {
            (429, _) => {
                Self::RateLimited { retry_after: retry_after.unwrap_or(Self::DEFAULT_RETRY_AFTER) }
            }
            (408, _) | (500..=599, ErrorFormat::Documented) => again,
            (503, ErrorFormat::Other) if retry_after.is_some() => again,
            (500..=599, ErrorFormat::Other) => Self::Unknown,
            _ => Self::Permanent,
        }
    }
}

/// An error with a retry classification.
pub trait Classify: std::error::Error {
    /// Returns the retry classification of this error.
    fn fault(&self) -> Fault;
}

/// Number of attempts after which a retryable failure may become final; see
/// [`after_failure`](crate::sender::after_failure).
pub const MAX_ATTEMPTS: u32 = 8;

/// Backoff before attempt `attempt + 1` of a request that certainly had no effect: full jitter over
/// 2 s three times, over 4 s three times, then doubling up to 15 minutes. `jitter` is uniform in
/// `0.0..1.0`.
///
/// Most outages are short: the quick attempts detect the end of one within seconds.
/// <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>
#[must_use]
pub fn backoff(attempt: u32, jitter: f64) -> Duration {
    let ceiling = match attempt {
        0..=3 => Duration::from_secs(2),
        4..=6 => Duration::from_secs(4),
        later => doubled(Duration::from_secs(4), later - 6),
    };
    jittered(ceiling, jitter)
}

/// Backoff for a request whose outcome is unknown: full jitter over 5 s, doubling, at most 15
/// minutes. Each attempt may have a second effect, so attempts are spread out.
#[must_use]
pub fn slow_backoff(attempt: u32, jitter: f64) -> Duration {
    jittered(doubled(Duration::from_secs(5), attempt.saturating_sub(1)), jitter)
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(Duration::from_mins(15))
}

fn jittered(ceiling: Duration, jitter: f64) -> Duration {
    // At least a second, so that a failure never causes a tight loop.
    ceiling.mul_f64(jitter.clamp(0.0, 1.0)).max(Duration::from_secs(1))
}

/// Visibility timeout for a record that failed for the `receives`-th time: 5 s, 30 s, 2 min,
/// 10 min, of which the second half is random.
///
/// Five receives span at least six and at most fifteen minutes, so an outage of a few minutes sends
/// nothing to the dead-letter queue.
#[must_use]
pub fn redelivery_backoff(receives: u32, jitter: f64) -> Duration {
    let ceiling = match receives {
        0 | 1 => Duration::from_secs(5),
        2 => Duration::from_secs(30),
        3 => Duration::from_mins(2),
        _ => Duration::from_mins(10),
    };
    ceiling.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// Wait before the `hop`-th failover of a message after each of its integrations refused it or was
/// skipped: the ceiling of [`backoff`], up to half a minute, doubled after each 64 failovers, up to
/// 15 minutes; the second half of each wait is random.
///
/// Where no provider was called, no limit on attempts applies: only the message's expiry, after a
/// day. By then it failed over at most 460 times, and its history still fits into the table.
#[must_use]
pub fn failover_backoff(hop: u32, jitter: f64) -> Duration {
    let ceiling = backoff(hop, 1.0).min(doubled(Duration::from_secs(30), hop / 64));
    ceiling.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(status: u16, format: ErrorFormat, wait: Option<u64>) -> Fault {
        let status = StatusCode::from_u16(status).unwrap();
        Fault::from_response(status, format, wait.map(Duration::from_secs))
    }

    #[test]
    fn a_5xx_is_a_refusal_in_the_documented_format_and_unknown_in_another() {
        for status in 500..=599 {
            assert_eq!(
                classified(status, ErrorFormat::Documented, None),
                Fault::Retryable,
                "{status}"
            );
            assert_eq!(classified(status, ErrorFormat::Other, None), Fault::Unknown, "{status}");
        }
        assert_eq!(
            classified(502, ErrorFormat::Other, Some(7)),
            Fault::Unknown,
            "set by a gateway"
        );
    }

    #[test]
    fn retry_after_is_honored_in_any_format() {
        let wait = |seconds| Fault::RateLimited { retry_after: Duration::from_secs(seconds) };
        for format in [ErrorFormat::Documented, ErrorFormat::Other] {
            assert_eq!(classified(429, format, Some(7)), wait(7));
            assert_eq!(classified(429, format, None), wait(5));
            assert_eq!(classified(503, format, Some(7)), wait(7));
            assert_eq!(classified(408, format, None), Fault::Retryable);
            assert_eq!(classified(400, format, None), Fault::Permanent);
        }
        assert_eq!(classified(500, ErrorFormat::Documented, Some(7)), wait(7));
    }

    #[test]
    fn five_receives_span_an_outage_of_a_few_minutes() {
        let span =
            |jitter| (1..5).map(|receives| redelivery_backoff(receives, jitter)).sum::<Duration>();
        assert!(span(0.0) > Duration::from_mins(6));
        assert!(span(1.0) < Duration::from_mins(15));
    }

    #[test]
    fn the_first_backoffs_are_short_and_later_ones_double() {
        let ceilings: Vec<u64> = (1..=14).map(|n| backoff(n, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [2, 2, 2, 4, 4, 4, 8, 16, 32, 64, 128, 256, 512, 900]);
        assert_eq!(backoff(u32::MAX, 1.0), Duration::from_mins(15));
    }

    #[test]
    fn ten_seconds_into_an_outage_the_next_attempt_is_at_most_five_seconds_away() {
        // Every wait uses the same jitter; each attempt is made at the end of its wait.
        for jitter in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let mut at = Duration::ZERO;
            let mut next = (1..).map(|attempt| {
                at += backoff(attempt, jitter);
                at
            });
            let after = next.find(|at| *at >= Duration::from_secs(10)).unwrap();
            assert!(after <= Duration::from_secs(15), "{jitter}: {after:?}");
        }
    }

    #[test]
    fn a_request_with_an_unknown_outcome_is_retried_slowly() {
        assert_eq!(slow_backoff(1, 1.0), Duration::from_secs(5));
        assert_eq!(slow_backoff(3, 1.0), Duration::from_secs(20));
        assert_eq!(slow_backoff(60, 1.0), Duration::from_mins(15));
        let all: Duration = (1..MAX_ATTEMPTS).map(|attempt| slow_backoff(attempt, 0.5)).sum();
        assert!(all > Duration::from_mins(5));
    }

    #[test]
    fn no_backoff_is_shorter_than_a_second() {
        for attempt in 0..20 {
            assert!(backoff(attempt, 0.0) == Duration::from_secs(1));
            assert!(slow_backoff(attempt, 0.0) == Duration::from_secs(1));
        }
    }

    #[test]
    fn a_message_skipped_for_a_day_fails_over_at_most_460_times() {
        let (mut waited, mut hops) = (Duration::ZERO, 0);
        while waited < Duration::from_hours(24) {
            hops += 1;
            waited += failover_backoff(hops, 0.0);
        }
        assert!(hops <= 460, "{hops}");
        assert_eq!(failover_backoff(1, 1.0), Duration::from_secs(2));
        assert_eq!(failover_backoff(30, 1.0), Duration::from_secs(30), "early in an outage");
        assert_eq!(failover_backoff(u32::MAX, 1.0), Duration::from_mins(15));
    }
}
