//! Tenants, API keys, integrations, routes and automations: the writes of the API.

use domain::automation::Automation;
use domain::integration::Integration;
use domain::ports::{Page, PortError, PortResult, Recorded};
use domain::provider::Channel;
use domain::route::Route;
use domain::tenant::{ApiKey, Tenant};
use domain::{Fault, IntegrationId, KeyId, Provider, TenantId};
use jiff::Timestamp;
use table::{
    AttributeValue, CancellationReason, Key, TransactWriteItem, cancellation_reasons,
    delete_refused, failed, item, json, ms, parse, put_refused, s, text,
};

use super::{Repository, keys};
use crate::ports::{AccountClaim, Registry};

/// Condition of a claim: no integration holds the item, or this integration does.
const FREE_OR_HELD: &str = "attribute_not_exists(pk) OR integration = :id";

impl Registry for Repository {
    async fn create_tenant(&self, tenant: &Tenant) -> PortResult<Recorded> {
        let operation = "create a tenant";
        let doc = json(operation, tenant)?;
        let writes = vec![
            self.table
                .put_new(operation, item(&keys::tenant(&tenant.id), [("doc", doc.clone())]))?,
            self.table.put_new(
                operation,
                item(&keys::tenant_list_entry(tenant.id.as_str()), [("doc", doc)]),
            )?,
        ];
        match self.transact(operation, writes).await? {
            AccountClaim::Granted => Ok(Recorded::New),
            AccountClaim::Taken => Ok(Recorded::Duplicate),
        }
    }

    async fn tenant(&self, id: &TenantId) -> PortResult<Option<Tenant>> {
        let operation = "read a tenant";
        let item = self.table.read(operation, &keys::tenant(id)).await?;
        item.map(|item| parse(operation, &item, "doc")).transpose()
    }

    async fn tenants(&self, limit: u32, cursor: Option<&str>) -> PortResult<Page<Tenant>> {
        let operation = "list tenants";
        let partition = keys::tenant_list_entry("").pk;
        let query = self
            .table
            .query()
            .key_condition_expression("pk = :list AND sk > :cursor")
            .expression_attribute_values(":list", s(partition))
            // A space sorts before every tenant id.
            .expression_attribute_values(":cursor", s(cursor.unwrap_or(" ")))
            .limit(i32::try_from(limit).unwrap_or(100));
        let answer = query.send().await.map_err(|error| failed(operation, &error))?;
        let last = answer.items().last().and_then(|item| text(item, "sk"));
        let next = last.filter(|_| answer.last_evaluated_key().is_some()).map(ToOwned::to_owned);
        let items = answer.items().iter().map(|item| parse(operation, item, "doc"));
        Ok(Page { items: items.collect::<PortResult<_>>()?, next })
    }

    async fn create_key(&self, key: &ApiKey, hash: &str) -> PortResult<()> {
        let operation = "create an API key";
        let doc = json(operation, key)?;
        let found = item(&keys::api_key(key.id), [("doc", doc.clone()), ("hash", s(hash))]);
        let listed = item(&keys::api_key_list_entry(&key.tenant, key.id), [("doc", doc)]);
        let writes = vec![
            self.table.put_always(operation, found)?,
            self.table.put_always(operation, listed)?,
        ];
        self.transact(operation, writes).await.map(|_| ())
    }

    async fn keys(&self, tenant: &TenantId) -> PortResult<Vec<ApiKey>> {
        self.table.documents("list API keys", keys::api_keys_of(tenant)).await
    }

    async fn revoke_key(&self, tenant: &TenantId, id: KeyId) -> PortResult<bool> {
        let operation = "delete an API key";
        let listed = self.table.delete_write(
            operation,
            &keys::api_key_list_entry(tenant, id),
            Some("attribute_exists(pk)"),
            Vec::new(),
        )?;
        let found = self.table.delete_write(operation, &keys::api_key(id), None, Vec::new())?;
        Ok(self.transact(operation, vec![listed, found]).await? == AccountClaim::Granted)
    }

    async fn set_automation(&self, tenant: &TenantId, automation: &Automation) -> PortResult<()> {
        let operation = "update a tenant's automation";
        let mut set = item(&keys::automation(tenant), [("doc", json(operation, automation)?)]);
        if !matches!(automation, Automation::Pull(_)) {
            let put = self.table.put(set).send().await;
            return put.map(|_| ()).map_err(|error| failed(operation, &error));
        }
        // List the tenant before it has its first job, so that job maintenance finds it.
        set.insert("pulls".to_owned(), AttributeValue::Bool(true));
        let listed = item(&keys::tracked_tenant(tenant.as_str()), []);
        let writes =
            vec![self.table.put_always(operation, set)?, self.table.put_always(operation, listed)?];
        self.transact(operation, writes).await.map(|_| ())
    }

    async fn set_route(
        &self,
        tenant: &TenantId,
        channel: Channel,
        route: &Route,
    ) -> PortResult<()> {
        let operation = "update a tenant's route";
        let item = item(&keys::route(tenant, channel), [("doc", json(operation, route)?)]);
        self.table.put(item).send().await.map(|_| ()).map_err(|error| failed(operation, &error))
    }

    async fn integration(&self, id: IntegrationId) -> PortResult<Option<Integration>> {
        self.find_integration(id).await
    }

    async fn integrations(&self, tenant: &TenantId) -> PortResult<Vec<Integration>> {
        self.list_integrations(tenant).await
    }

    async fn put_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
        before: Option<(&Integration, &[String])>,
    ) -> PortResult<AccountClaim> {
        let operation = "write an integration";
        let (tenant, id) = (&integration.tenant, integration.id);
        let doc = json(operation, integration)?;
        let mut writes = vec![
            self.table
                .put_always(operation, item(&keys::integration(tenant, id), [("doc", doc)]))?,
            self.table.put_always(
                operation,
                item(&keys::integration_lookup(id), [("tenant", s(tenant.as_str()))]),
            )?,
        ];
        let claims = claims(integration, path_secrets);
        for key in &claims {
            let holder = [("tenant", s(tenant.as_str())), ("integration", s(id.to_string()))];
            writes.push(self.table.put_write(
                operation,
                item(key, holder),
                Some(FREE_OR_HELD),
                vec![(":id", s(id.to_string()))],
            )?);
        }
        if let Some((before, path_secrets)) = before {
            let released = self::claims(before, path_secrets);
            for key in released.iter().filter(|key| !claims.contains(key)) {
                writes.push(self.release_holder(operation, key, id)?);
            }
        }
        self.transact(operation, writes).await
    }

    async fn lock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        now: Timestamp,
        until: Timestamp,
    ) -> PortResult<bool> {
        let operation = "lock a tenant's credentials";
        let lock = item(&keys::credentials_lock(tenant, provider), [("until", ms(until))]);
        let put = self
            .table
            .put(lock)
            .condition_expression("attribute_not_exists(pk) OR #until < :now")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":now", ms(now));
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) if put_refused(&error).is_some() => Ok(false),
            Err(error) => Err(failed(operation, &error)),
        }
    }

    async fn unlock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        until: Timestamp,
    ) -> PortResult<()> {
        let operation = "unlock a tenant's credentials";
        let delete = self
            .table
            .delete(&keys::credentials_lock(tenant, provider))
            .condition_expression("#until = :until")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":until", ms(until));
        match delete.send().await {
            Ok(_) => Ok(()),
            // The lock has expired and has another holder.
            Err(error) if delete_refused(&error) => Ok(()),
            Err(error) => Err(failed(operation, &error)),
        }
    }

    async fn delete_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
    ) -> PortResult<()> {
        let operation = "delete an integration";
        let (tenant, id) = (&integration.tenant, integration.id);
        let mut writes = vec![
            self.table.delete_write(operation, &keys::integration(tenant, id), None, Vec::new())?,
            self.table.delete_write(operation, &keys::integration_lookup(id), None, Vec::new())?,
        ];
        for key in claims(integration, path_secrets) {
            writes.push(self.release_holder(operation, &key, id)?);
        }
        match self.transact(operation, writes).await? {
            AccountClaim::Granted => Ok(()),
            AccountClaim::Taken => {
                let reason = "one of its accounts or paths has a new holder: try again".to_owned();
                Err(PortError { operation, reason, fault: Fault::Retryable })
            }
        }
    }
}

/// Returns the keys of the items that only one integration may hold.
fn claims(integration: &Integration, path_secrets: &[String]) -> Vec<Key> {
    let provider = integration.provider;
    let mut claims: Vec<Key> = path_secrets.iter().map(|hash| keys::path(provider, hash)).collect();
    claims.extend(integration.account.as_deref().map(|account| keys::account(provider, account)));
    claims.extend(integration.tenant.is_platform().then(|| keys::platform(provider)));
    claims
}

impl Repository {
    pub(crate) async fn list_integrations(
        &self,
        tenant: &TenantId,
    ) -> PortResult<Vec<Integration>> {
        self.table.documents("list integrations", keys::integrations_of(tenant)).await
    }

    /// Deletes the item of a holder, on the condition that `holder` holds it or that it does not
    /// exist.
    fn release_holder(
        &self,
        operation: &'static str,
        key: &Key,
        holder: IntegrationId,
    ) -> PortResult<TransactWriteItem> {
        let values = vec![(":id", s(holder.to_string()))];
        self.table.delete_write(operation, key, Some(FREE_OR_HELD), values)
    }

    /// Writes a transaction; returns `Taken` if a condition failed.
    async fn transact(
        &self,
        operation: &'static str,
        writes: Vec<TransactWriteItem>,
    ) -> PortResult<AccountClaim> {
        match self.table.write_all(writes).await {
            Ok(()) => Ok(AccountClaim::Granted),
            Err(error) if cancellation_reasons(&error).contains(&CancellationReason::Condition) => {
                Ok(AccountClaim::Taken)
            }
            Err(error) => Err(failed(operation, &error)),
        }
    }
}
