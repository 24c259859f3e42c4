//! Tenants, API keys, integrations, routes and automations: the writes of the API.

use domain::integration::Integration;
use domain::ports::{Page, PortError, PortResult, Recorded};
use domain::provider::Channel;
use domain::tenant::{ApiKey, Tenant};
use domain::{Fault, IntegrationId, KeyId, Provider, TenantId};
use jiff::Timestamp;
use table::{
    AttributeValue, CancellationReason, Item, Key, Write, cancellation_reasons, failed,
    in_transaction, item, json, n, parse, s, time,
};

use super::audit::audit_item;
use super::{Repository, keys};
use crate::model::audit::AuditRecord;
use crate::model::automation::Automation;
use crate::model::key::MAX_KEYS;
use crate::model::route::Route;
use crate::ports::{AccountClaim, KeyCreation, Registry};

/// Condition of a claim: no integration holds the item, or this integration does.
const FREE_OR_HELD: &str = "attribute_not_exists(pk) OR integration = :id";

impl Registry for Repository {
    async fn create_tenant(&self, tenant: &Tenant, audit: &AuditRecord) -> PortResult<Recorded> {
        let operation = "create a tenant";
        let doc = json(operation, tenant)?;
        let writes = vec![
            self.table.put_new(item(&keys::tenant(&tenant.id), [("doc", doc.clone())])),
            self.table.put_new(item(&keys::tenant_list_entry(tenant.id.as_str()), [("doc", doc)])),
        ];
        match self.transact(operation, writes, audit).await? {
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
        let list = keys::tenant_list_entry("").pk;
        let page = self.table.entries(operation, list, limit, cursor).await?;
        let items = page.items.iter().map(|item| parse(operation, item, "doc"));
        Ok(Page { items: items.collect::<PortResult<_>>()?, next: page.next })
    }

    async fn create_key(
        &self,
        key: &ApiKey,
        hash: &str,
        audit: &AuditRecord,
    ) -> PortResult<KeyCreation> {
        let operation = "create an API key";
        self.ensure_key_count(operation, &key.tenant).await?;
        let doc = json(operation, key)?;
        let found = item(&keys::api_key(key.id), [("doc", doc.clone()), ("hash", s(hash))]);
        let listed = item(&keys::api_key_list_entry(&key.tenant, key.id), [("doc", doc)]);
        // Of the conditions of the change, only this one can fail.
        let counted = self
            .table
            .update(&keys::key_count(&key.tenant))
            .add_to("key_count :one")
            .only_if("attribute_exists(pk) AND key_count < :max")
            .value(":one", n(1))
            .value(":max", n(MAX_KEYS));
        let writes = vec![self.table.put(found), self.table.put(listed), counted];
        Ok(match self.transact(operation, writes, audit).await? {
            AccountClaim::Granted => KeyCreation::Created,
            AccountClaim::Taken => KeyCreation::LimitReached,
        })
    }

    async fn keys(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<ApiKey>> {
        let operation = "list API keys";
        let list = keys::api_keys_of(tenant);
        let page = self.table.entries(operation, list, limit, cursor).await?;
        let items = page.items.iter().map(|item| listed_key(operation, item));
        Ok(Page { items: items.collect::<PortResult<_>>()?, next: page.next })
    }

    async fn api_key(&self, tenant: &TenantId, id: KeyId) -> PortResult<Option<ApiKey>> {
        let operation = "read an API key";
        let item = self.table.read(operation, &keys::api_key_list_entry(tenant, id)).await?;
        item.map(|item| listed_key(operation, &item)).transpose()
    }

    async fn revoke_key(
        &self,
        tenant: &TenantId,
        id: KeyId,
        audit: &AuditRecord,
    ) -> PortResult<bool> {
        let operation = "delete an API key";
        self.ensure_key_count(operation, tenant).await?;
        let listed = self.table.delete(&keys::api_key_list_entry(tenant, id));
        let listed = listed.only_if("attribute_exists(pk)");
        let found = self.table.delete(&keys::api_key(id));
        let count = self.table.update(&keys::key_count(tenant));
        let counted = count.add_to("key_count :less").value(":less", n(-1));
        let writes = vec![listed, found, counted];
        Ok(self.transact(operation, writes, audit).await? == AccountClaim::Granted)
    }

    async fn set_automation(
        &self,
        tenant: &TenantId,
        automation: &Automation,
        audit: &AuditRecord,
    ) -> PortResult<()> {
        let operation = "update a tenant's automation";
        let mut set = item(&keys::automation(tenant), [("doc", json(operation, automation)?)]);
        if let Some(push) = automation.push() {
            set.insert("version".to_owned(), s(push.version()));
        }
        let mut writes = Vec::new();
        if matches!(automation, Automation::Pull(_)) {
            // List the tenant before it has its first job, so that job maintenance finds it.
            set.insert("pulls".to_owned(), AttributeValue::Bool(true));
            writes.push(self.table.put(item(&keys::tracked_tenant(tenant.as_str()), [])));
        }
        writes.push(self.table.put(set));
        self.transact(operation, writes, audit).await.map(|_| ())
    }

    async fn set_route(
        &self,
        tenant: &TenantId,
        channel: Channel,
        route: &Route,
        audit: &AuditRecord,
    ) -> PortResult<()> {
        let operation = "update a tenant's route";
        let item = item(&keys::route(tenant, channel), [("doc", json(operation, route)?)]);
        self.transact(operation, vec![self.table.put(item)], audit).await.map(|_| ())
    }

    async fn integration(&self, id: IntegrationId) -> PortResult<Option<Integration>> {
        self.find_integration(id).await
    }

    async fn integrations(&self, tenant: &TenantId) -> PortResult<Vec<Integration>> {
        self.list_integrations(tenant).await
    }

    async fn integration_page(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<Integration>> {
        let operation = "list integrations";
        let list = keys::integrations_of(tenant);
        let page = self.table.entries(operation, list, limit, cursor).await?;
        let items = page.items.iter().map(|item| parse(operation, item, "doc"));
        Ok(Page { items: items.collect::<PortResult<_>>()?, next: page.next })
    }

    async fn put_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
        before: Option<(&Integration, &[String])>,
        audit: &AuditRecord,
    ) -> PortResult<AccountClaim> {
        let operation = "write an integration";
        let (tenant, id) = (&integration.tenant, integration.id);
        let doc = json(operation, integration)?;
        let mut writes = vec![
            self.table.put(item(&keys::integration(tenant, id), [("doc", doc)])),
            self.table.put(item(&keys::integration_lookup(id), [("tenant", s(tenant.as_str()))])),
        ];
        let claims = claims(integration, path_secrets);
        for key in &claims {
            let holder = [("tenant", s(tenant.as_str())), ("integration", s(id.to_string()))];
            let claim = self.table.put(item(key, holder));
            writes.push(claim.only_if(FREE_OR_HELD).value(":id", s(id.to_string())));
        }
        if let Some((before, path_secrets)) = before {
            let released = self::claims(before, path_secrets);
            for key in released.iter().filter(|key| !claims.contains(key)) {
                writes.push(self.release_holder(key, id));
            }
        }
        self.transact(operation, writes, audit).await
    }

    async fn record_action(&self, audit: &AuditRecord) -> PortResult<()> {
        let operation = "write an audit record";
        self.table.put_new(audit_item(operation, audit)?).apply(operation).await.map(|_| ())
    }

    async fn lock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        now: Timestamp,
        until: Timestamp,
    ) -> PortResult<bool> {
        let operation = "lock a tenant's credentials";
        self.table.lock(operation, &keys::credentials_lock(tenant, provider), now, until).await
    }

    async fn unlock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        until: Timestamp,
    ) -> PortResult<()> {
        let operation = "unlock a tenant's credentials";
        self.table.unlock(operation, &keys::credentials_lock(tenant, provider), until).await
    }

    async fn delete_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
        audit: &AuditRecord,
    ) -> PortResult<()> {
        let operation = "delete an integration";
        let (tenant, id) = (&integration.tenant, integration.id);
        let mut writes = vec![
            self.table.delete(&keys::integration(tenant, id)),
            self.table.delete(&keys::integration_lookup(id)),
        ];
        for key in claims(integration, path_secrets) {
            writes.push(self.release_holder(&key, id));
        }
        match self.transact(operation, writes, audit).await? {
            AccountClaim::Granted => Ok(()),
            AccountClaim::Taken => {
                let reason = "one of its accounts or paths has a new holder: try again".to_owned();
                Err(PortError { operation, reason, fault: Fault::Retryable })
            }
        }
    }
}

/// Reads an API key from its entry in the list.
fn listed_key(operation: &'static str, item: &Item) -> PortResult<ApiKey> {
    let key: ApiKey = parse(operation, item, "doc")?;
    Ok(ApiKey { last_used_at: time(item, "last_used_at"), ..key })
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
    fn release_holder(&self, key: &Key, holder: IntegrationId) -> Write {
        self.table.delete(key).only_if(FREE_OR_HELD).value(":id", s(holder.to_string()))
    }

    /// Creates the number of a tenant's API keys, if the keys are older than the number.
    async fn ensure_key_count(&self, operation: &'static str, tenant: &TenantId) -> PortResult<()> {
        let key = keys::key_count(tenant);
        if self.table.read(operation, &key).await?.is_some() {
            return Ok(());
        }
        let keys: Vec<ApiKey> = self.table.documents(operation, keys::api_keys_of(tenant)).await?;
        // While it does not exist, no key is created or deleted, so it is right when it is written.
        let count = n(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        self.table.put_once(operation, item(&key, [("key_count", count)])).await.map(|_| ())
    }

    /// Writes a change with its audit record in one transaction; returns `Taken` if a condition of
    /// the change failed.
    pub(super) async fn transact(
        &self,
        operation: &'static str,
        mut writes: Vec<Write>,
        audit: &AuditRecord,
    ) -> PortResult<AccountClaim> {
        writes.push(self.table.put_new(audit_item(operation, audit)?));
        let writes = in_transaction(operation, writes)?;
        let Err(error) = self.table.write_all(writes).await else {
            return Ok(AccountClaim::Granted);
        };
        let reasons = cancellation_reasons(&error);
        match reasons.split_last() {
            // The last condition is that of the audit record, whose id must be new.
            Some((CancellationReason::None, of_change))
                if of_change.contains(&CancellationReason::Condition) =>
            {
                Ok(AccountClaim::Taken)
            }
            _ => Err(failed(operation, &error)),
        }
    }
}
