//! Routes, and how the integrations on them fared.

use domain::circuit::Circuit;
use domain::conversation::Conversation;
use domain::ports::{Circuits, ConversationReader, MessageReader, PortResult, Recorded, Routes};
use domain::provider::Channel;
use domain::route::Route;
use domain::{ConversationId, IntegrationId, TenantId};

use super::MemoryStore;

impl Circuits for MemoryStore {
    async fn circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
    ) -> PortResult<(Circuit, u32)> {
        let key = (tenant.clone(), integration);
        self.pass("read how an integration fared", |tables| {
            tables.circuits.get(&key).cloned().unwrap_or_default()
        })
        .await
    }

    async fn set_circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
        circuit: &Circuit,
        seen: u32,
    ) -> PortResult<Recorded> {
        let key = (tenant.clone(), integration);
        self.pass("write down how an integration fared", |tables| {
            let version = tables.circuits.get(&key).map_or(0, |(_, version)| *version);
            if version != seen {
                return Recorded::Duplicate;
            }
            tables.circuits.insert(key, (circuit.clone(), seen + 1));
            Recorded::New
        })
        .await
    }
}

impl Routes for MemoryStore {
    async fn route(&self, tenant: &TenantId, channel: Channel) -> PortResult<Option<Route>> {
        let key = (tenant.clone(), channel);
        self.pass("read a route", |tables| tables.routes.get(&key).cloned()).await
    }
}

impl ConversationReader for MemoryStore {
    async fn read_conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> PortResult<Option<Conversation>> {
        self.conversation(tenant, id).await
    }
}
