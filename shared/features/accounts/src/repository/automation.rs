//! Automations, and the list of the tenants whose workers pull jobs.

use domain::TenantId;
use domain::ports::{Page, PortResult};
use jiff::Timestamp;
use table::{Item, corrupt, failed, lost_race, ms, parse, s, text, time};

use super::{Repository, keys};
use crate::model::automation::{Automation, Push};
use crate::ports::{Automations, DisableEndpoint, PullingTenants};

impl Automations for Repository {
    async fn automation(&self, tenant: &TenantId) -> PortResult<Automation> {
        automation(self.table.read(READ, &keys::automation(tenant)).await?)
    }

    async fn recent_automation(&self, tenant: &TenantId) -> PortResult<Automation> {
        automation(self.table.read_eventually(READ, &keys::automation(tenant)).await?)
    }
}

/// Operation of both reads.
const READ: &str = "read a tenant's automation";

/// Parses the item of an automation.
fn automation(item: Option<Item>) -> PortResult<Automation> {
    let Some(item) = item else { return Ok(Automation::None) };
    let mut automation: Automation = parse(READ, &item, "doc")?;
    if let Some(push) = automation.push_mut() {
        push.disabled_at = time(&item, "disabled_at");
    }
    Ok(automation)
}

impl DisableEndpoint for Repository {
    async fn disable(&self, tenant: &TenantId, push: &Push, now: Timestamp) -> PortResult<bool> {
        let operation = "disable a webhook";
        let update = self
            .table
            .update(&keys::automation(tenant))
            .set("disabled_at = if_not_exists(disabled_at, :now)")
            // An automation that an earlier version set has no version.
            .only_if(
                "attribute_exists(pk) \
                 AND (attribute_not_exists(#version) OR #version = :version)",
            )
            .value(":now", ms(now))
            .value(":version", s(push.version()));
        Ok(update.apply(operation).await?.is_done())
    }
}

impl PullingTenants for Repository {
    async fn tracked_tenants(
        &self,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<TenantId>> {
        let operation = "list tenants that pull jobs";
        let list = keys::tracked_tenant("").pk;
        let page = self.table.entries(operation, list, limit, cursor).await?;
        let read = |item: &Item| {
            let tenant = text(item, "sk").and_then(|tenant| tenant.parse().ok());
            tenant.ok_or_else(|| corrupt(operation, "tenant"))
        };
        Ok(Page { items: page.items.iter().map(read).collect::<PortResult<_>>()?, next: page.next })
    }

    async fn stop_tracking(&self, tenant: &TenantId) -> PortResult<()> {
        let operation = "remove a tenant from the list of tenants that pull jobs";
        let unless = "attribute_not_exists(pulls)";
        let writes = vec![
            self.table.delete(&keys::tracked_tenant(tenant.as_str())).in_transaction(operation)?,
            self.table.check_write(operation, &keys::automation(tenant), unless)?,
        ];
        match self.table.write_all(writes).await {
            Ok(()) => Ok(()),
            // The tenant pulls jobs again.
            Err(error) if lost_race(&error) => Ok(()),
            Err(error) => Err(failed(operation, &error)),
        }
    }
}
