//! Directory: the integration of a webhook or message.

use domain::integration::Integration;
use domain::ports::{AccountOwner, Directory, PortResult};
use domain::tenant::ApiKey;
use domain::{IntegrationId, KeyId, Provider, TenantId};
use jiff::Timestamp;
use table::{Item, corrupt, ms, parse, text};

use super::{Repository, keys};
use crate::model::key::LAST_USED_PRECISION;
use crate::ports::{Keys, RecordKeyUse, TenantReader};

impl Directory for Repository {
    async fn integration(&self, id: IntegrationId) -> PortResult<Option<Integration>> {
        self.find_integration(id).await
    }

    async fn platform(&self, provider: Provider) -> PortResult<Option<Integration>> {
        let operation = "find the operator's integration";
        let Some(item) = self.table.read(operation, &keys::platform(provider)).await? else {
            return Ok(None);
        };
        let id = text(&item, "integration").and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| corrupt(operation, "integration"))?;
        self.read_integration(&TenantId::platform(), id).await
    }

    async fn account(&self, provider: Provider, account: &str) -> PortResult<Option<AccountOwner>> {
        let operation = "find the holder of an account";
        let Some(item) = self.table.read(operation, &keys::account(provider, account)).await?
        else {
            return Ok(None);
        };
        holder(&item).map(Some).ok_or_else(|| corrupt(operation, "holder"))
    }

    async fn by_path_secret(
        &self,
        provider: Provider,
        hash: &str,
    ) -> PortResult<Option<IntegrationId>> {
        let operation = "find an integration by its webhook path";
        let Some(item) = self.table.read(operation, &keys::path(provider, hash)).await? else {
            return Ok(None);
        };
        holder(&item).map(|h| Some(h.integration)).ok_or_else(|| corrupt(operation, "holder"))
    }
}

impl TenantReader for Repository {
    async fn is_tenant(&self, tenant: &TenantId) -> PortResult<bool> {
        Ok(self.table.read("read a tenant", &keys::tenant(tenant)).await?.is_some())
    }

    async fn integrations_of(&self, tenant: &TenantId) -> PortResult<Vec<Integration>> {
        self.list_integrations(tenant).await
    }
}

impl Keys for Repository {
    async fn key(&self, id: KeyId) -> PortResult<Option<(ApiKey, String)>> {
        let operation = "read an API key";
        let Some(item) = self.table.read(operation, &keys::api_key(id)).await? else {
            return Ok(None);
        };
        let hash = text(&item, "hash").ok_or_else(|| corrupt(operation, "hash"))?;
        Ok(Some((parse(operation, &item, "doc")?, hash.to_owned())))
    }
}

impl RecordKeyUse for Repository {
    async fn record_use(&self, tenant: &TenantId, id: KeyId, now: Timestamp) -> PortResult<()> {
        // The entry in the list, not the key's own item: the authorizer cannot change a key.
        let update = self
            .table
            .update(&keys::api_key_list_entry(tenant, id))
            .set("last_used_at = :now")
            .only_if(
                "attribute_exists(pk) AND (attribute_not_exists(last_used_at) OR \
                 last_used_at <= :due)",
            )
            .value(":now", ms(now))
            .value(":due", ms(now - LAST_USED_PRECISION));
        update.apply("record the use of an API key").await.map(|_| ())
    }
}

fn holder(item: &Item) -> Option<AccountOwner> {
    Some(AccountOwner {
        tenant: text(item, "tenant")?.parse().ok()?,
        integration: text(item, "integration")?.parse().ok()?,
    })
}

impl Repository {
    pub(crate) async fn find_integration(
        &self,
        id: IntegrationId,
    ) -> PortResult<Option<Integration>> {
        let operation = "find an integration";
        let Some(item) = self.table.read(operation, &keys::integration_lookup(id)).await? else {
            return Ok(None);
        };
        let tenant = text(&item, "tenant").and_then(|tenant| tenant.parse().ok());
        let tenant: TenantId = tenant.ok_or_else(|| corrupt(operation, "tenant"))?;
        self.read_integration(&tenant, id).await
    }

    async fn read_integration(
        &self,
        tenant: &TenantId,
        id: IntegrationId,
    ) -> PortResult<Option<Integration>> {
        let operation = "read an integration";
        let item = self.table.read(operation, &keys::integration(tenant, id)).await?;
        item.map(|item| parse(operation, &item, "doc")).transpose()
    }
}
