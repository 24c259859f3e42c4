//! The result of a delivery attempt, and the delay until the next one.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The retry policy of a provider. Delays are far shorter than in the real world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redelivery {
    /// The first delay.
    pub first_ms: u64,
    /// The factor by which each delay grows.
    pub factor: u64,
    /// The longest delay.
    pub max_ms: u64,
    /// Time after the first attempt at which the delivery is given up.
    pub give_up_ms: u64,
    /// Timeout of one attempt.
    pub timeout_ms: u64,
    /// Telegram: answering 410 for this long removes the webhook.
    pub gone_after_ms: u64,
}

impl Default for Redelivery {
    fn default() -> Self {
        Self {
            first_ms: 500,
            factor: 2,
            max_ms: 8000,
            give_up_ms: 120_000,
            timeout_ms: 10_000,
            gone_after_ms: 82_800_000,
        }
    }
}

impl Redelivery {
    /// The delay after the failed attempt `attempt` (from 1), `passed_ms` after the first one
    /// began; `None` gives up. A longer delay that the receiver asked for takes precedence.
    #[must_use]
    pub fn wait_ms(&self, attempt: u32, passed_ms: u64, asked_s: Option<u64>) -> Option<u64> {
        if passed_ms >= self.give_up_ms {
            return None;
        }
        let mut pause_ms = self.first_ms;
        for _ in 1..attempt {
            pause_ms = pause_ms.saturating_mul(self.factor).min(self.max_ms);
        }
        // Telegram never waits longer than an hour, whatever `Retry-After` asks for.
        let longer_ms = asked_s.unwrap_or(0).min(3600) * 1000;
        Some(pause_ms.min(self.max_ms).max(longer_ms))
    }
}

/// The result of a delivery attempt.
#[derive(Clone, Debug, Default)]
pub struct AttemptResult {
    /// HTTP status; 0 if there was no answer.
    pub status: u16,
    /// Duration in milliseconds.
    pub took_ms: i64,
    /// The reason why there was no answer.
    pub error: Option<String>,
    /// `Retry-After` in seconds.
    pub retry_after_s: Option<u64>,
    /// The body, if it is JSON.
    pub body: Option<Value>,
    /// The body.
    pub bytes: Bytes,
    /// The results of the other copies that were sent at the same time.
    pub copies: Vec<AttemptResult>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_its_limit_and_then_retries_end() {
        let redelivery = Redelivery::default();
        let waits: Vec<_> = (1..=6).map(|n| redelivery.wait_ms(n, 0, None).unwrap()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(redelivery.wait_ms(1, 0, Some(3)), Some(3000));
        assert_eq!(redelivery.wait_ms(1, 0, Some(99_999)), Some(3_600_000));
        assert_eq!(redelivery.wait_ms(1, 120_000, None), None);
    }
}
