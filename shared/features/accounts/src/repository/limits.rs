//! Limits of tenants, and the permits taken from them.

use std::time::Duration;

use domain::TenantId;
use domain::ports::PortResult;
use jiff::Timestamp;
use table::{Item, VERSION, Written, item, json, n, number, parse, ttl};

use super::{Repository, keys};
use crate::model::audit::AuditRecord;
use crate::model::limits::{Counts, DEFAULT, LimitSettings, Limits};
use crate::ports::{LimitReader, LimitWriter, PermitOutcome, RateCounter, RateWindow};

/// Retention of a minute's permits: longer than the clocks of two sandboxes may differ.
const RATE_RETENTION: Duration = Duration::from_mins(5);

impl LimitReader for Repository {
    async fn limits(&self, tenant: &TenantId) -> PortResult<Limits> {
        let operation = "read a tenant's limits";
        let Some(item) = self.table.read(operation, &keys::limits(tenant)).await? else {
            return Ok(DEFAULT);
        };
        Ok(parse::<LimitSettings>(operation, &item, "doc")?.limits())
    }
}

impl LimitWriter for Repository {
    async fn set_limits(
        &self,
        tenant: &TenantId,
        settings: &LimitSettings,
        audit: &AuditRecord,
    ) -> PortResult<()> {
        let operation = "update a tenant's limits";
        let item = item(&keys::limits(tenant), [("doc", json(operation, settings)?)]);
        self.transact(operation, vec![self.table.put(item)], audit).await.map(|_| ())
    }
}

impl RateCounter for Repository {
    async fn take_permits(
        &self,
        window: RateWindow<'_>,
        count: u32,
        limits: Counts,
    ) -> PortResult<PermitOutcome> {
        let operation = "take permits for requests";
        let RateWindow { tenant, key, class, minute } = window;
        let room = |limit: u32| n(i64::from(limit) - i64::from(count));
        // Permits beyond the limit may not be the first of a minute, either.
        let fits = |taken: &str, room: &str, limit: u32| {
            let has_room = format!("{taken} <= {room}");
            if count <= limit {
                format!("attribute_not_exists({taken}) OR {has_room}")
            } else {
                has_room
            }
        };
        let begins = Timestamp::from_second(minute.saturating_mul(60)).unwrap_or_default();
        // The count of the tenant and of each of its keys are in one item, so that one write checks
        // and takes both.
        let key = key.to_string();
        let update = self
            .table
            .update(&keys::rate(tenant, class, minute))
            .set("v = :v, #ttl = :ttl")
            .add_to("taken :count, #key :count")
            .only_if(fits("taken", ":room", limits.tenant))
            .only_if(fits("#key", ":key_room", limits.key))
            .name("#key", &key)
            .value(":v", n(VERSION))
            .value(":ttl", ttl(begins, RATE_RETENTION))
            .value(":count", n(count))
            .value(":room", room(limits.tenant))
            .value(":key_room", room(limits.key))
            .return_item()
            .return_refused();
        let counts = |item: &Item| {
            let count = |name: &str| number(item, name).and_then(|count| count.try_into().ok());
            Counts { key: count(&key).unwrap_or(0), tenant: count("taken").unwrap_or(0) }
        };
        Ok(match update.apply(operation).await? {
            Written::Done(item) => PermitOutcome::Taken(counts(&item)),
            Written::Refused(item) => PermitOutcome::Exceeded(counts(&item)),
        })
    }
}
