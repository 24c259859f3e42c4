//! Body of `PUT /tenants/{tenant}/limits`.

use std::ops::RangeInclusive;

use runtime::api::Problem;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::limits::{LimitSettings, RATES, RateSettings, WAITING_WORKERS};

/// Body of `PUT /tenants/{tenant}/limits`. It replaces all settings; an absent limit is the default.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetLimits {
    /// Requests a minute with one API key.
    #[serde(default)]
    key: SetRates,
    /// Requests a minute with all API keys of the tenant.
    #[serde(default)]
    tenant: SetRates,
    /// Workers that may wait for a job at the same time, 0 to 200. Default: 20.
    #[serde(default)]
    waiting_workers: Option<u32>,
}

/// Requests a minute, 1 to 1,000,000, for each class of requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetRates {
    /// Reads. Default: 1,000 with one key, 5,000 with all keys.
    #[serde(default)]
    reads: Option<u32>,
    /// Changes of settings, and all other requests. Default: 100 and 1,000.
    #[serde(default)]
    writes: Option<u32>,
    /// Messages that are sent or submitted as inbound, marks as read, and access tokens for voice.
    /// Default: 1,000 and 5,000.
    #[serde(default)]
    messages: Option<u32>,
    /// Requests to `/queue/*`. Default: 3,000 and 10,000.
    #[serde(default)]
    worker: Option<u32>,
}

impl SetLimits {
    /// Returns the settings.
    ///
    /// # Errors
    /// 422 with the field that is out of its range.
    pub(crate) fn checked(self) -> Result<LimitSettings, Problem> {
        let waiting_workers = in_range("waiting_workers", self.waiting_workers, WAITING_WORKERS)?;
        let (key, tenant) = (self.key.checked("key")?, self.tenant.checked("tenant")?);
        Ok(LimitSettings { key, tenant, waiting_workers })
    }
}

impl SetRates {
    fn checked(self, of: &str) -> Result<RateSettings, Problem> {
        let checked = |name: &str, rate| in_range(&format!("{of}.{name}"), rate, RATES);
        Ok(RateSettings {
            reads: checked("reads", self.reads)?,
            writes: checked("writes", self.writes)?,
            messages: checked("messages", self.messages)?,
            worker: checked("worker", self.worker)?,
        })
    }
}

fn in_range(
    field: &str,
    value: Option<u32>,
    range: RangeInclusive<u32>,
) -> Result<Option<u32>, Problem> {
    if value.is_none_or(|value| range.contains(&value)) {
        return Ok(value);
    }
    Err(Problem::invalid(field, format!("must be {} to {}", range.start(), range.end())))
}
