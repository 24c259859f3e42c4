//! Slots of waiting workers.

use std::time::Duration;

use domain::TenantId;
use domain::ports::PortResult;
use jiff::Timestamp;
use table::{VERSION, failed, ms, n, s, text, time, ttl};

use super::{Repository, keys};
use crate::ports::WaitingWorkers;

/// Retention of a slot after its lease.
const SLOT_RETENTION: Duration = Duration::from_hours(1);

impl WaitingWorkers for Repository {
    async fn leased_slots(&self, tenant: &TenantId, now: Timestamp) -> PortResult<Vec<u32>> {
        let operation = "read the waiting workers";
        let query = self
            .table
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(keys::waiting_of(tenant)));
        let answer = query.send().await.map_err(|error| failed(operation, &error))?;
        let slots = answer.items().iter();
        let slots = slots.filter(|slot| time(slot, "until").is_some_and(|until| until > now));
        Ok(slots.filter_map(|slot| text(slot, "sk")?.parse().ok()).collect())
    }

    async fn lease_slot(
        &self,
        tenant: &TenantId,
        slot: u32,
        held_until: Option<Timestamp>,
        now: Timestamp,
        until: Timestamp,
    ) -> PortResult<bool> {
        let update = self
            .table
            .update(&keys::waiting(tenant, slot))
            .set("v = :v, #until = :until, #ttl = :ttl")
            .only_if("attribute_not_exists(pk) OR #until <= :now OR #until = :held")
            .value(":v", n(VERSION))
            .value(":until", ms(until))
            .value(":ttl", ttl(until, SLOT_RETENTION))
            .value(":now", ms(now))
            // A lease that has expired is free in any case.
            .value(":held", ms(held_until.unwrap_or(now)));
        Ok(update.apply("lease a slot of a waiting worker").await?.is_done())
    }
}
