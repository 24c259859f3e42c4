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

/// Whether an answer has the form in which the other side documents its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It has: the other side itself read the request and refused it.
    Documented,
    /// It has not: a gateway's page, an empty body, half an answer.
    Other,
}

impl Fault {
    /// The pause after a 429 that names none.
    pub const PAUSE: Duration = Duration::from_secs(5);

    /// What an answer that is no success means where the code in it does not say more: the one
    /// rule for every provider.
    ///
    /// An error in the form that the other side documents is a refusal: the request had no
    /// effect. A 5xx in another form comes from whatever stands before it, and says nothing
    /// about the request. Two answers are as good as a refusal in any form, by RFC 9110: 503
    /// with `Retry-After` asks for the request again (section 15.6.4), and 408 says that the
    /// request did not arrive whole (section 15.5.9).
    #[must_use]
    pub fn of_answer(status: StatusCode, form: Form, retry_after: Option<Duration>) -> Self {
        let again = match retry_after {
            Some(retry_after) => Self::RateLimited { retry_after },
            None => Self::Retryable,
        };
        match (status.as_u16(), form) {
            (429, _) => Self::RateLimited { retry_after: retry_after.unwrap_or(Self::PAUSE) },
            (408, _) | (500..=599, Form::Documented) => again,
            (503, Form::Other) if retry_after.is_some() => again,
            (500..=599, Form::Other) => Self::Unknown,
            _ => Self::Permanent,
        }
    }
}

/// An error that can reach a queue consumer.
pub trait Classify: std::error::Error {
    /// What the consumer may do about this error.
    fn fault(&self) -> Fault;
}

/// Attempts after which a retryable failure may become a final one; see
/// [`after_failure`](crate::sender::after_failure).
pub const MAX_ATTEMPTS: u32 = 8;

/// How long to wait before attempt `attempt + 1` of a request that certainly had no effect: full
/// jitter over 2 s three times, over 4 s three times, then doubling up to 15 minutes. `jitter` is
/// uniform in `0.0..1.0`.
///
/// Most outages are short: the quick attempts find the end of one within seconds.
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

/// The same for a request whose outcome is not known: full jitter over 5 s, doubling, at most 15
/// minutes. Each attempt may be a second effect, so none is made in haste.
#[must_use]
pub fn slow_backoff(attempt: u32, jitter: f64) -> Duration {
    jittered(doubled(Duration::from_secs(5), attempt.saturating_sub(1)), jitter)
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(Duration::from_mins(15))
}

fn jittered(ceiling: Duration, jitter: f64) -> Duration {
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

/// How long a message waits that every one of its carriers refused or passed over, before it is
/// handed over for the `hop`-th time: the ceiling of [`backoff`], up to half a minute, and twice
/// as long after each 64 hand-overs, up to 15 minutes; the latter half of each at random.
///
/// Where nobody was asked, no count of attempts ends it: only its expiry does, after a day. By
/// then it was handed over 460 times at most, and its history still fits into the table.
#[must_use]
pub fn rest(hop: u32, jitter: f64) -> Duration {
    let ceiling = backoff(hop, 1.0).min(doubled(Duration::from_secs(30), hop / 64));
    ceiling.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, form: Form, wait: Option<u64>) -> Fault {
        let status = StatusCode::from_u16(status).unwrap();
        Fault::of_answer(status, form, wait.map(Duration::from_secs))
    }

    #[test]
    fn a_server_error_is_a_refusal_in_the_documented_form_and_says_nothing_in_another() {
        for status in 500..=599 {
            assert_eq!(of(status, Form::Documented, None), Fault::Retryable, "{status}");
            assert_eq!(of(status, Form::Other, None), Fault::Unknown, "{status}");
        }
        assert_eq!(of(502, Form::Other, Some(7)), Fault::Unknown, "its gateway's wish");
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept_whoever_asks() {
        let wait = |seconds| Fault::RateLimited { retry_after: Duration::from_secs(seconds) };
        for form in [Form::Documented, Form::Other] {
            assert_eq!(of(429, form, Some(7)), wait(7));
            assert_eq!(of(429, form, None), wait(5));
            assert_eq!(of(503, form, Some(7)), wait(7));
            assert_eq!(of(408, form, None), Fault::Retryable);
            assert_eq!(of(400, form, None), Fault::Permanent);
        }
        assert_eq!(of(500, Form::Documented, Some(7)), wait(7));
    }

    #[test]
    fn five_receives_outlast_an_outage_of_a_few_minutes() {
        let span = |jitter| (1..5).map(|receives| redelivery(receives, jitter)).sum::<Duration>();
        assert!(span(0.0) > Duration::from_mins(6));
        assert!(span(1.0) < Duration::from_mins(15));
    }

    #[test]
    fn the_first_attempts_are_quick_and_the_later_ones_ever_slower() {
        let ceilings: Vec<u64> = (1..=14).map(|n| backoff(n, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [2, 2, 2, 4, 4, 4, 8, 16, 32, 64, 128, 256, 512, 900]);
        assert_eq!(backoff(u32::MAX, 1.0), Duration::from_mins(15));
    }

    #[test]
    fn after_an_outage_of_ten_seconds_the_next_attempt_is_seconds_away() {
        // The attempts fall at the ends of their waits, early or late alike.
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
    fn what_may_have_had_an_effect_is_asked_again_slowly() {
        assert_eq!(slow_backoff(1, 1.0), Duration::from_secs(5));
        assert_eq!(slow_backoff(3, 1.0), Duration::from_secs(20));
        assert_eq!(slow_backoff(60, 1.0), Duration::from_mins(15));
        let all: Duration = (1..MAX_ATTEMPTS).map(|attempt| slow_backoff(attempt, 0.5)).sum();
        assert!(all > Duration::from_mins(5));
    }

    #[test]
    fn no_wait_is_shorter_than_a_second() {
        for attempt in 0..20 {
            assert!(backoff(attempt, 0.0) == Duration::from_secs(1));
            assert!(slow_backoff(attempt, 0.0) == Duration::from_secs(1));
        }
    }

    #[test]
    fn a_day_of_being_passed_over_is_a_few_hundred_hand_overs() {
        let (mut waited, mut hops) = (Duration::ZERO, 0);
        while waited < Duration::from_hours(24) {
            hops += 1;
            waited += rest(hops, 0.0);
        }
        assert!(hops <= 460, "{hops}");
        assert_eq!(rest(1, 1.0), Duration::from_secs(2));
        assert_eq!(rest(30, 1.0), Duration::from_secs(30), "as long as an outage is young");
        assert_eq!(rest(u32::MAX, 1.0), Duration::from_mins(15));
    }
}
