//! Routes and circuit breakers.

use domain::circuit::Circuit;
use domain::conversation::Conversation;
use domain::ports::{Circuits, ConversationReader, MessageReader, PortResult, Recorded, Routes};
use domain::provider::Channel;
use domain::route::Route;
use domain::{ConversationId, IntegrationId, TenantId};

use crate::item::{failed, item, json, n, number, parse, put_refused};
use crate::{DynamoStore, keys};

impl Circuits for DynamoStore {
    async fn circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
    ) -> PortResult<(Circuit, u32)> {
        let operation = "read a circuit breaker";
        let found = self.read(operation, &keys::circuit(tenant, integration)).await?;
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
        let put = self.put(item(
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

impl Routes for DynamoStore {
    async fn route(&self, tenant: &TenantId, channel: Channel) -> PortResult<Option<Route>> {
        let operation = "read a route";
        let found = self.read(operation, &keys::route(tenant, channel)).await?;
        found.map(|found| parse(operation, &found, "doc")).transpose()
    }
}

impl ConversationReader for DynamoStore {
    async fn read_conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> PortResult<Option<Conversation>> {
        self.conversation(tenant, id).await
    }
}
