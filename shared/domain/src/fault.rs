//! What a caller may do about a failure.

use std::time::Duration;

use http::StatusCode;

/// The only question a queue consumer asks of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Trying again cannot help: malformed request, revoked key, unknown recipient.
    Permanent,
    /// Nothing happened, and trying again may help: connection refused, throttled table.
    Retryable,
    /// The other side asked for a pause of at least `retry_after`. Not an attempt.
    RateLimited {
        /// Time to wait before the next attempt, as the other side stated it.
        retry_after: Duration,
    },
    /// It may have taken effect: no answer came back, or the other side broke off.
    Unknown,
}

impl Fault {
    /// What an HTTP status means where the provider's own code does not say more.
    ///
    /// RFC 9110, section 15: 4xx is our fault and nothing happened; 503 means the same,
    /// for a while; after any other 5xx, nobody knows.
    #[must_use]
    pub fn from_status(status: StatusCode, retry_after: Option<Duration>) -> Self {
        match (status.as_u16(), retry_after) {
            (429 | 503, Some(retry_after)) => Self::RateLimited { retry_after },
            (408 | 429 | 503, None) => Self::Retryable,
            (500..=599, _) => Self::Unknown,
            _ => Self::Permanent,
        }
    }
}

/// An error that can reach a queue consumer.
pub trait Classify: std::error::Error {
    /// What the consumer may do about this error.
    fn fault(&self) -> Fault;
}

/// Attempts after which a retryable failure becomes a final one.
pub const MAX_ATTEMPTS: u32 = 8;

/// How long to wait before attempt `attempt + 1`: full jitter over 5 s, doubling, at most
/// 15 minutes. `jitter` is uniform in `0.0..1.0`.
///
/// <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>
#[must_use]
pub fn backoff(attempt: u32, jitter: f64) -> Duration {
    let ceiling = Duration::from_secs(5)
        .saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)))
        .min(Duration::from_mins(15));
    // At least a second, so that a failure never spins.
    ceiling.mul_f64(jitter.clamp(0.0, 1.0)).max(Duration::from_secs(1))
}

/// How long to hide a record that failed for the `receives`-th time: 5 s, 30 s, 2 min, 10 min,
/// the latter half of each at random.
///
/// Five receives span a quarter of an hour at most and six minutes at least, so that an
/// outage of a few minutes makes no dead letters.
#[must_use]
pub fn redelivery(receives: u32, jitter: f64) -> Duration {
    let ceiling = match receives {
        0 | 1 => Duration::from_secs(5),
        2 => Duration::from_secs(30),
        3 => Duration::from_mins(2),
        _ => Duration::from_mins(10),
    };
    ceiling.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// How long a message waits that every one of its carriers passed over, before it is handed over
/// for the `hop`-th time: as [`backoff`], up to half a minute, and twice as long after each 64
/// hand-overs, up to 15 minutes; the latter half of each at random.
///
/// Nobody was asked, so no count of attempts ends it: only its expiry does, after a day. By then
/// it was handed over 450 times at most, and its history still fits into the table.
#[must_use]
pub fn rest(hop: u32, jitter: f64) -> Duration {
    let doubled = |first: u64, times: u32| {
        Duration::from_secs(first).saturating_mul(2_u32.saturating_pow(times))
    };
    let ceiling = doubled(5, hop.saturating_sub(1)).min(doubled(30, hop / 64));
    ceiling.min(Duration::from_mins(15)).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_without_a_promise_is_an_unknown_outcome() {
        assert_eq!(Fault::from_status(StatusCode::BAD_GATEWAY, None), Fault::Unknown);
        assert_eq!(Fault::from_status(StatusCode::SERVICE_UNAVAILABLE, None), Fault::Retryable);
        assert_eq!(Fault::from_status(StatusCode::BAD_REQUEST, None), Fault::Permanent);
        let retry_after = Duration::from_secs(7);
        assert_eq!(
            Fault::from_status(StatusCode::TOO_MANY_REQUESTS, Some(retry_after)),
            Fault::RateLimited { retry_after }
        );
    }

    #[test]
    fn five_receives_outlast_an_outage_of_a_few_minutes() {
        let span = |jitter| (1..5).map(|receives| redelivery(receives, jitter)).sum::<Duration>();
        assert!(span(0.0) > Duration::from_mins(6));
        assert!(span(1.0) < Duration::from_mins(15));
    }

    #[test]
    fn a_day_of_being_passed_over_is_a_few_hundred_hand_overs() {
        let (mut waited, mut hops) = (Duration::ZERO, 0);
        while waited < Duration::from_hours(24) {
            hops += 1;
            waited += rest(hops, 0.0);
        }
        assert!(hops <= 450, "{hops}");
        assert_eq!(rest(1, 1.0), Duration::from_secs(5));
        assert_eq!(rest(30, 1.0), Duration::from_secs(30), "as long as an outage is young");
        assert_eq!(rest(u32::MAX, 1.0), Duration::from_mins(15));
    }

    #[test]
    fn backoff_doubles_up_to_a_quarter_of_an_hour_and_never_spins() {
        assert_eq!(backoff(1, 1.0), Duration::from_secs(5));
        assert_eq!(backoff(3, 1.0), Duration::from_secs(20));
        assert_eq!(backoff(60, 1.0), Duration::from_mins(15));
        assert_eq!(backoff(3, 0.0), Duration::from_secs(1));
    }
}
