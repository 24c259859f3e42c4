//! Automations, and the list of the tenants whose workers pull jobs.

use domain::TenantId;
use domain::automation::Automation;
use domain::ports::{Page, PortResult};
use jiff::Timestamp;
use table::{Item, corrupt, failed, lost_race, ms, parse, refused, s, text, time};

use super::{Repository, keys};
use crate::ports::{Automations, DisableEndpoint, PullingTenants};

impl Automations for Repository {
    async fn automation(&self, tenant: &TenantId) -> PortResult<Automation> {
        let operation = "read a tenant's automation";
        let Some(item) = self.table.read(operation, &keys::automation(tenant)).await? else {
            return Ok(Automation::None);
        };
        let mut automation: Automation = parse(operation, &item, "doc")?;
        if let Some(push) = automation.push_mut() {
            push.disabled_at = time(&item, "disabled_at");
        }
        Ok(automation)
    }
}

impl DisableEndpoint for Repository {
    async fn disable(&self, tenant: &TenantId, now: Timestamp) -> PortResult<()> {
        let operation = "disable a webhook";
        let update = self
            .table
            .update(&keys::automation(tenant))
            .update_expression("SET disabled_at = if_not_exists(disabled_at, :now)")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", ms(now));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if refused(&error).is_some() => Ok(()),
            Err(error) => Err(failed(operation, &error)),
        }
    }
}

impl PullingTenants for Repository {
    async fn tracked_tenants(
        &self,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<TenantId>> {
        let operation = "list tenants that pull jobs";
        let query = self
            .table
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :list AND sk > :cursor")
            .expression_attribute_values(":list", s(keys::tracked_tenant("").pk))
            // A space sorts before every tenant id.
            .expression_attribute_values(":cursor", s(cursor.unwrap_or(" ")))
            .limit(i32::try_from(limit).unwrap_or(100));
        let answer = query.send().await.map_err(|error| failed(operation, &error))?;
        let last = answer.items().last().and_then(|item| text(item, "sk"));
        let next = last.filter(|_| answer.last_evaluated_key().is_some()).map(ToOwned::to_owned);
        let read = |item: &Item| {
            let tenant = text(item, "sk").and_then(|tenant| tenant.parse().ok());
            tenant.ok_or_else(|| corrupt(operation, "tenant"))
        };
        Ok(Page { items: answer.items().iter().map(read).collect::<PortResult<_>>()?, next })
    }

    async fn stop_tracking(&self, tenant: &TenantId) -> PortResult<()> {
        let operation = "remove a tenant from the list of tenants that pull jobs";
        let unless = "attribute_not_exists(pulls)";
        let writes = vec![
            self.table.delete_write(
                operation,
                &keys::tracked_tenant(tenant.as_str()),
                None,
                vec![],
            )?,
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
