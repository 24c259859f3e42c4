//! Delivery of notifications: what a receiver's response means, and when the next attempt is made.

use std::time::Duration;

/// Waits before each attempt after the first.
///
/// The first five are short, so that a restart of the receiver is hardly noticed; the others are
/// those that Standard Webhooks recommends.
///
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
const SCHEDULE: [Duration; 13] = [
    SHORTEST,
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(2),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

/// The shortest wait between the end of an attempt and the next one.
const SHORTEST: Duration = Duration::from_secs(5);

/// Returns the wait after failed attempt number `attempt` (from 1); `None` after the last.
///
/// The schedule is counted from the start of an attempt, which took `took`: a receiver that does
/// not respond until the timeout does not delay the notification by both. `jitter` (uniform in
/// `0.0..1.0`) adds up to a tenth, so that receivers that failed together are not retried together.
/// A longer `retry_after` is honored, up to a day.
#[must_use]
pub fn next_attempt(
    attempt: u32,
    took: Duration,
    jitter: f64,
    retry_after: Option<Duration>,
) -> Option<Duration> {
    let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
    let spread = |wait: Duration| wait.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 10.0);
    let wait = spread(*SCHEDULE.get(index)?).saturating_sub(took).max(spread(SHORTEST));
    Some(wait.max(retry_after.unwrap_or_default().min(Duration::from_hours(24))))
}

/// The meaning of the receiver's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookResponse {
    /// The receiver accepted the notification.
    Accepted,
    /// The receiver wants no more notifications.
    Gone,
    /// The receiver did not accept it; retry, no sooner than its `Retry-After`.
    Retry(Option<Duration>),
}

/// Interprets the receiver's HTTP status.
#[must_use]
pub fn classify_response(status: u16, retry_after: Option<Duration>) -> WebhookResponse {
    match status {
        200..=299 => WebhookResponse::Accepted,
        410 => WebhookResponse::Gone,
        _ => WebhookResponse::Retry(retry_after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_short_waits_precede_the_standard_webhooks_schedule() {
        let waits = (1..).map_while(|attempt| next_attempt(attempt, Duration::ZERO, 0.0, None));
        let waits: Vec<u64> = waits.map(|wait| wait.as_secs()).collect();
        let hour = 3600;
        assert_eq!(waits[..5], [5, 15, 30, 60, 120]);
        let long = [300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour];
        assert_eq!(waits[5..], long);
    }

    #[test]
    fn a_longer_retry_after_is_honored_and_jitter_only_adds() {
        let minute = Some(Duration::from_mins(1));
        assert_eq!(next_attempt(1, Duration::ZERO, 0.0, minute), minute);
        let most = next_attempt(6, Duration::ZERO, 1.0, None);
        assert_eq!(most, Some(Duration::from_secs(330)));
    }

    #[test]
    fn the_duration_of_an_attempt_counts_towards_the_wait_but_five_seconds_remain() {
        let slow = Duration::from_secs(15);
        let wait = |attempt| next_attempt(attempt, slow, 0.0, None).unwrap().as_secs();
        assert_eq!([1, 2, 3, 4].map(wait), [5, 5, 15, 45]);
        // `Retry-After` is counted from the response.
        let asked = Some(Duration::from_secs(20));
        assert_eq!(next_attempt(2, slow, 0.0, asked), asked);
    }
}
