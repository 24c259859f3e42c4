//! Routes and circuit breakers.

use domain::circuit::Circuit;
use domain::ports::{PortResult, Recorded};
use domain::provider::Channel;
use domain::route::Route;
use domain::{IntegrationId, TenantId};
use table::{failed, item, json, n, number, parse, put_refused};

use super::{Repository, keys};
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
        let put = self.table.put(item(
            &key,
            [("doc", json(operation, circuit)?), ("version", n(seen.saturating_add(1)))],
        ));
        let put = match seen {
            0 => put.condition_expression("attribute_not_exists(pk)"),
            _ => put
                .condition_expression("version = :seen")
                .expression_attribute_values(":seen", n(seen)),
        };
        match put.send().await {
            Ok(_) => Ok(Recorded::New),
            Err(error) if put_refused(&error).is_some() => Ok(Recorded::Duplicate),
            Err(error) => Err(failed(operation, &error)),
        }
    }
}

impl Routes for Repository {
    async fn route(&self, tenant: &TenantId, channel: Channel) -> PortResult<Option<Route>> {
        let operation = "read a route";
        let found = self.table.read(operation, &keys::route(tenant, channel)).await?;
        found.map(|found| parse(operation, &found, "doc")).transpose()
    }
}
