//! Limit of the workers of a tenant that wait at the same time: each waits in one invocation of the
//! function, and Lambda's concurrency is limited.

use std::sync::{Mutex, PoisonError};

use accounts::ports::LimitReader;
use domain::TenantId;
use domain::ports::{PortResult, Rng};
use jiff::Timestamp;

use crate::ports::WaitingWorkers;

/// Largest number of writes to find a free slot. The first succeeds unless several workers begin to
/// wait in the same moment.
const MAX_WRITES: usize = 3;

/// Slot that a worker holds while it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    tenant: TenantId,
    number: u32,
    until: Timestamp,
}

/// Slot that this sandbox leased last. It keeps the slot between the requests of its tenant, so that a
/// worker that polls again needs one write, and none while the lease lasts. A sandbox that ends leaves
/// the slot to others when the lease expires.
#[derive(Debug, Default)]
pub struct HeldSlot(Mutex<Option<Slot>>);

impl HeldSlot {
    /// Leases a slot until `until`; `None` if as many workers of the tenant wait as may.
    ///
    /// # Errors
    /// If the table does not answer.
    pub async fn lease<S: WaitingWorkers, L: LimitReader, R: Rng>(
        &self,
        store: &S,
        limits: &L,
        rng: &R,
        tenant: &TenantId,
        now: Timestamp,
        until: Timestamp,
    ) -> PortResult<Option<Slot>> {
        // While it is in use, a second request in this process cannot use it.
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let max = limits.limits(tenant).await?.waiting_workers;
        if let Some(held) = held
            && (held.tenant == *tenant && held.number < max && held.until > now)
        {
            if held.until >= until {
                return Ok(Some(held));
            }
            let before = Some(held.until);
            if store.lease_slot(tenant, held.number, before, now, until).await? {
                return Ok(Some(Slot { until, ..held }));
            }
        }
        let leased = store.leased_slots(tenant, now).await?;
        let free: Vec<u32> = (0..max).filter(|slot| !leased.contains(slot)).collect();
        // Workers that begin at the same time try different slots.
        let start = usize::try_from(rng.bits() % free.len().max(1) as u128).unwrap_or(0);
        for number in free.iter().cycle().skip(start).take(free.len().min(MAX_WRITES)).copied() {
            if store.lease_slot(tenant, number, None, now, until).await? {
                return Ok(Some(Slot { tenant: tenant.clone(), number, until }));
            }
        }
        Ok(None)
    }

    /// Keeps a slot for the next request.
    pub fn keep(&self, slot: Slot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot);
    }
}
