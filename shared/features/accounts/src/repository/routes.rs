//! Routes and circuit breakers.

use domain::ports::{PortResult, Recorded};
use domain::provider::Channel;
use domain::{IntegrationId, TenantId};
use table::{item, json, n, number, parse};

use super::{Repository, keys};
use crate::model::circuit::Circuit;
use crate::model::route::Route;
use crate::ports::{Circuits, Routes};

impl Circuits for Repository {
    async fn circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
    ) -> PortResult<(Circuit, u32)> {
        let operation = "read a circuit breaker";
        let found = self.table.read(operation, &keys::circuit(tenant, integration)).await?;
        let Some(found) = found else { return Ok((Circuit::default(), 0)) };
        let version = number(&found, "version").and_then(|version| version.try_into().ok());
        Ok((parse(operation, &found, "doc")?, version.unwrap_or(0)))
    }

    async fn set_circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
        circuit: &Circuit,
        seen: u32,
    ) -> PortResult<Recorded> {
        let operation = "write a circuit breaker";
        let key = keys::circuit(tenant, integration);
        let item = item(
            &key,
            [("doc", json(operation, circuit)?), ("version", n(seen.saturating_add(1)))],
        );
        let put = match seen {
            0 => self.table.put_new(item),
            _ => self.table.put(item).only_if("version = :seen").value(":seen", n(seen)),
        };
        Ok(put.apply(operation).await?.recorded())
    }
}

impl Routes for Repository {
    async fn route(&self, tenant: &TenantId, channel: Channel) -> PortResult<Option<Route>> {
        let operation = "read a route";
        let found = self.table.read(operation, &keys::route(tenant, channel)).await?;
        found.map(|found| parse(operation, &found, "doc")).transpose()
    }
}
