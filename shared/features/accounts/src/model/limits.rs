//! Limits of a tenant: requests a minute, and workers that wait.

use std::ops::RangeInclusive;

use runtime::api::RequestClass;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Permitted numbers of requests a minute. A limit of 0 would lock the tenant out.
pub const RATES: RangeInclusive<u32> = 1..=1_000_000;
/// Permitted numbers of waiting workers. With 0, no worker can wait.
pub const WAITING_WORKERS: RangeInclusive<u32> = 0..=200;

/// Largest number of permits that a sandbox takes at once.
const MAX_BATCH: u32 = 10;

/// Requests a minute, for each class of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Rates {
    /// Reads.
    pub reads: u32,
    /// Changes of settings, and all other requests.
    pub writes: u32,
    /// Messages that are sent or submitted as inbound, marks as read, and access tokens for voice.
    pub messages: u32,
    /// Requests to `/queue/*`.
    pub worker: u32,
}

/// Limits of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Limits {
    /// Requests a minute with one API key.
    pub key: Rates,
    /// Requests a minute with all API keys of the tenant.
    pub tenant: Rates,
    /// Workers that may wait for a job at the same time.
    pub waiting_workers: u32,
}

/// Limits of a tenant that has no settings.
pub const DEFAULT: Limits = Limits {
    key: Rates { reads: 1000, writes: 100, messages: 1000, worker: 3000 },
    tenant: Rates { reads: 5000, writes: 1000, messages: 5000, worker: 10_000 },
    waiting_workers: 20,
};

/// Settings of rates. An absent one is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateSettings {
    /// Reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<u32>,
    /// Writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<u32>,
    /// Messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<u32>,
    /// Requests of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
}

/// The operator's settings of a tenant's limits. An absent one is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitSettings {
    /// Requests a minute with one API key.
    #[serde(default)]
    pub key: RateSettings,
    /// Requests a minute with all API keys of the tenant.
    #[serde(default)]
    pub tenant: RateSettings,
    /// Workers that may wait for a job at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_workers: Option<u32>,
}

impl RateSettings {
    fn over(self, default: Rates) -> Rates {
        Rates {
            reads: self.reads.unwrap_or(default.reads),
            writes: self.writes.unwrap_or(default.writes),
            messages: self.messages.unwrap_or(default.messages),
            worker: self.worker.unwrap_or(default.worker),
        }
    }
}

impl LimitSettings {
    /// Returns the limits that follow from the settings.
    #[must_use]
    pub fn limits(self) -> Limits {
        Limits {
            key: self.key.over(DEFAULT.key),
            tenant: self.tenant.over(DEFAULT.tenant),
            waiting_workers: self.waiting_workers.unwrap_or(DEFAULT.waiting_workers),
        }
    }
}

impl Rates {
    /// Returns the limit of a class.
    #[must_use]
    pub const fn of(self, class: RequestClass) -> u32 {
        match class {
            RequestClass::Reads => self.reads,
            RequestClass::Writes => self.writes,
            RequestClass::Messages => self.messages,
            RequestClass::Worker => self.worker,
        }
    }
}

/// Limits of a class of requests in a minute, or permits taken from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Of one API key.
    pub key: u32,
    /// Of all API keys of the tenant.
    pub tenant: u32,
}

impl Counts {
    /// Returns the limits of a class.
    #[must_use]
    pub const fn limits(limits: Limits, class: RequestClass) -> Self {
        Self { key: limits.key.of(class), tenant: limits.tenant.of(class) }
    }

    /// Returns the limit that is closest to being exhausted after `taken` permits, and the number of
    /// permits that are left of it.
    #[must_use]
    pub const fn tightest(self, taken: Self) -> (u32, u32) {
        let of_key = self.key.saturating_sub(taken.key);
        let of_tenant = self.tenant.saturating_sub(taken.tenant);
        if of_key <= of_tenant { (self.key, of_key) } else { (self.tenant, of_tenant) }
    }
}

/// Returns how many permits to take at once. `last` is the size of the last batch in this minute,
/// 0 before the first, and `left` the number of permits that were left then.
///
/// A sandbox's batches double, so that it never takes more than twice what it needs: if a few
/// requests are spread over many sandboxes, none is refused because another sandbox holds unused
/// permits. Near the limit they become smaller again, for the same reason.
#[must_use]
pub fn batch_size(last: u32, left: u32) -> u32 {
    last.saturating_mul(2).min(MAX_BATCH).min(left / 2).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_setting_replaces_its_own_default_only() {
        let settings: LimitSettings =
            serde_json::from_str(r#"{"key":{"messages":4800},"waiting_workers":3}"#).unwrap();
        let limits = settings.limits();
        let expected =
            Limits { key: Rates { messages: 4800, ..DEFAULT.key }, waiting_workers: 3, ..DEFAULT };
        assert_eq!(limits, expected);
        assert_eq!(LimitSettings::default().limits(), DEFAULT);
        assert_eq!((DEFAULT.key.writes, DEFAULT.key.reads), (100, 1000));
    }

    #[test]
    fn the_tightest_limit_is_the_one_with_the_fewest_permits_left() {
        let limits = Counts { key: 100, tenant: 1000 };
        assert_eq!(limits.tightest(Counts { key: 10, tenant: 10 }), (100, 90));
        assert_eq!(limits.tightest(Counts { key: 10, tenant: 950 }), (1000, 50));
        // A limit may be lowered below what was taken.
        assert_eq!(limits.tightest(Counts { key: 200, tenant: 200 }), (100, 0));
    }

    proptest! {
        #[test]
        fn batches_double_up_to_ten_and_take_at_most_half_of_what_is_left(
            last in 0_u32..=MAX_BATCH, left in 0_u32..2000,
        ) {
            let size = batch_size(last, left);
            prop_assert!((1..=MAX_BATCH).contains(&size));
            prop_assert!(size == 1 || (size <= left / 2 && size <= last * 2));
        }
    }
}
