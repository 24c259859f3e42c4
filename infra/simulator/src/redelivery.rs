//! How an attempt to deliver ends, and when the next one comes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How often and how long a provider tries again. Far shorter than in the real world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redelivery {
    /// The first wait.
    pub first_ms: u64,
    /// What each wait is multiplied by.
    pub factor: u64,
    /// The longest wait.
    pub max_ms: u64,
    /// Gives up when this much time has passed since the first attempt.
    pub give_up_ms: u64,
    /// How long one attempt may take.
    pub timeout_ms: u64,
    /// Telegram: 410 for this long removes the webhook.
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
    /// The wait after the failed attempt `attempt` (from 1), `passed_ms` after the first one
    /// began; `None` gives up. A wait that the receiver asked for counts if it is longer.
    #[must_use]
    pub fn wait_ms(&self, attempt: u32, passed_ms: u64, asked_s: Option<u64>) -> Option<u64> {
        if passed_ms >= self.give_up_ms {
            return None;
        }
        let mut pause_ms = self.first_ms;
        for _ in 1..attempt {
            pause_ms = pause_ms.saturating_mul(self.factor).min(self.max_ms);
        }
        // Telegram never waits longer than an hour, whatever it is asked for.
        let longer_ms = asked_s.unwrap_or(0).min(3600) * 1000;
        Some(pause_ms.min(self.max_ms).max(longer_ms))
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, Default)]
pub struct Attempted {
    /// HTTP status; 0: no answer.
    pub status: u16,
    /// How long it took.
    pub took_ms: i64,
    /// Why there was no answer.
    pub error: Option<String>,
    /// `Retry-After` in seconds.
    pub retry_after_s: Option<u64>,
    /// The body, if it is JSON.
    pub body: Option<Value>,
    /// The body.
    pub bytes: Bytes,
    /// How the other copies ended that were sent side by side.
    pub copies: Vec<Attempted>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_its_limit_and_ends() {
        let redelivery = Redelivery::default();
        let waits: Vec<_> = (1..=6).map(|n| redelivery.wait_ms(n, 0, None).unwrap()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(redelivery.wait_ms(1, 0, Some(3)), Some(3000));
        assert_eq!(redelivery.wait_ms(1, 0, Some(99_999)), Some(3_600_000));
        assert_eq!(redelivery.wait_ms(1, 120_000, None), None);
    }
}
