//! Tenants, API keys, integrations, routes and automations: the writes of the API.

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use domain::automation::Automation;
use domain::integration::Integration;
use domain::ports::{Claimed, Page, PortError, PortResult, Recorded, Registry};
use domain::provider::Channel;
use domain::route::Route;
use domain::tenant::{ApiKey, Tenant};
use domain::{Fault, IntegrationId, KeyId, Provider, TenantId};
use jiff::Timestamp;

use crate::item::{
    Item, Obstacle, corrupt, failed, item, json, ms, obstacles, parse, put_refused, s, text,
};
use crate::keys::Key;
use crate::{DynamoStore, keys};

impl Registry for DynamoStore {
    async fn create_tenant(&self, tenant: &Tenant) -> PortResult<Recorded> {
        let operation = "create a tenant";
        let doc = json(operation, tenant)?;
        let free = Some("attribute_not_exists(pk)");
        let writes = vec![
            self.put_if(item(&keys::tenant(&tenant.id), [("doc", doc.clone())]), free, None),
            self.put_if(item(&keys::tenant_listed(tenant.id.as_str()), [("doc", doc)]), free, None),
        ];
        match self.transact(operation, writes).await? {
            Claimed::Ours => Ok(Recorded::New),
            Claimed::Taken => Ok(Recorded::Duplicate),
        }
    }

    async fn tenant(&self, id: &TenantId) -> PortResult<Option<Tenant>> {
        let operation = "read a tenant";
        let item = self.read(operation, &keys::tenant(id)).await?;
        item.map(|item| parse(operation, &item, "doc")).transpose()
    }

    async fn tenants(&self, limit: u32, cursor: Option<&str>) -> PortResult<Page<Tenant>> {
        let operation = "list tenants";
        let partition = keys::tenant_listed("").pk;
        let query = self
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
        let listed = item(&keys::api_key_listed(&key.tenant, key.id), [("doc", doc)]);
        let writes = vec![self.put_if(found, None, None), self.put_if(listed, None, None)];
        self.transact(operation, writes).await.map(|_| ())
    }

    async fn keys(&self, tenant: &TenantId) -> PortResult<Vec<ApiKey>> {
        self.list("list API keys", keys::api_keys_of(tenant)).await
    }

    async fn revoke_key(&self, tenant: &TenantId, id: KeyId) -> PortResult<bool> {
        let operation = "delete an API key";
        let listed =
            self.delete_if(&keys::api_key_listed(tenant, id), Some("attribute_exists(pk)"), None);
        let found = self.delete_if(&keys::api_key(id), None, None);
        Ok(self.transact(operation, vec![listed, found]).await? == Claimed::Ours)
    }

    async fn set_automation(&self, tenant: &TenantId, automation: &Automation) -> PortResult<()> {
        let operation = "update a tenant's automation";
        let mut set = item(&keys::automation(tenant), [("doc", json(operation, automation)?)]);
        if !matches!(automation, Automation::Pull(_)) {
            let put = self.put(set).send().await;
            return put.map(|_| ()).map_err(|error| failed(operation, &error));
        }
        // List the tenant before it has its first job, so that job maintenance finds it.
        set.insert("pulls".to_owned(), AttributeValue::Bool(true));
        let listed = item(&keys::pulling(tenant.as_str()), []);
        let writes = vec![self.put_if(set, None, None), self.put_if(listed, None, None)];
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
        self.put(item).send().await.map(|_| ()).map_err(|error| failed(operation, &error))
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
    ) -> PortResult<Claimed> {
        let operation = "write an integration";
        let (tenant, id) = (&integration.tenant, integration.id);
        let doc = json(operation, integration)?;
        let mut writes = vec![
            self.put_if(item(&keys::integration(tenant, id), [("doc", doc)]), None, None),
            self.put_if(
                item(&keys::integration_found(id), [("tenant", s(tenant.as_str()))]),
                None,
                None,
            ),
        ];
        let claims = claims(integration, path_secrets);
        for key in &claims {
            let holder = [("tenant", s(tenant.as_str())), ("integration", s(id.to_string()))];
            let free_or_held = Some("attribute_not_exists(pk) OR integration = :id");
            writes.push(self.put_if(item(key, holder), free_or_held, Some(id)));
        }
        if let Some((before, path_secrets)) = before {
            let released = self::claims(before, path_secrets);
            for key in released.iter().filter(|key| !claims.contains(key)) {
                writes.push(self.release_holder(key, id));
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
        let key = keys::credentials_lock(tenant, provider);
        let delete = self
            .client()
            .delete_item()
            .table_name(self.table())
            .key("pk", s(key.pk))
            .key("sk", s(key.sk))
            .condition_expression("#until = :until")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":until", ms(until));
        match delete.send().await {
            Ok(_) => Ok(()),
            // The lock has expired and has another holder.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
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
            self.delete_if(&keys::integration(tenant, id), None, None),
            self.delete_if(&keys::integration_found(id), None, None),
        ];
        for key in claims(integration, path_secrets) {
            writes.push(self.release_holder(&key, id));
        }
        match self.transact(operation, writes).await? {
            Claimed::Ours => Ok(()),
            Claimed::Taken => {
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

impl DynamoStore {
    pub(crate) async fn list_integrations(
        &self,
        tenant: &TenantId,
    ) -> PortResult<Vec<Integration>> {
        self.list("list integrations", keys::integrations_of(tenant)).await
    }

    /// Returns all documents of a partition. Only for small partitions, filled through the API.
    async fn list<T: serde::de::DeserializeOwned>(
        &self,
        operation: &'static str,
        partition: String,
    ) -> PortResult<Vec<T>> {
        let pages = self
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(partition))
            .into_paginator()
            .items()
            .send();
        let items = pages.collect::<Result<Vec<_>, _>>().await;
        let items = items.map_err(|error| failed(operation, &error))?;
        items.iter().map(|item| parse(operation, item, "doc")).collect()
    }

    fn put_if(
        &self,
        item: Item,
        condition: Option<&str>,
        holder: Option<IntegrationId>,
    ) -> Option<TransactWriteItem> {
        let put = Put::builder()
            .table_name(self.table())
            .set_item(Some(item))
            .set_condition_expression(condition.map(ToOwned::to_owned))
            .set_expression_attribute_values(holder.map(holder_value));
        Some(TransactWriteItem::builder().put(put.build().ok()?).build())
    }

    fn delete_if(
        &self,
        key: &Key,
        condition: Option<&str>,
        holder: Option<IntegrationId>,
    ) -> Option<TransactWriteItem> {
        let delete = Delete::builder()
            .table_name(self.table())
            .key("pk", s(&key.pk))
            .key("sk", s(&key.sk))
            .set_condition_expression(condition.map(ToOwned::to_owned))
            .set_expression_attribute_values(holder.map(holder_value));
        Some(TransactWriteItem::builder().delete(delete.build().ok()?).build())
    }

    /// Deletes the item of a holder, on the condition that `holder` holds it or that it does not
    /// exist.
    fn release_holder(&self, key: &Key, holder: IntegrationId) -> Option<TransactWriteItem> {
        let free_or_held = Some("attribute_not_exists(pk) OR integration = :id");
        self.delete_if(key, free_or_held, Some(holder))
    }

    /// Writes a transaction; returns `Taken` if a condition failed.
    async fn transact(
        &self,
        operation: &'static str,
        writes: Vec<Option<TransactWriteItem>>,
    ) -> PortResult<Claimed> {
        let writes: Option<Vec<_>> = writes.into_iter().collect();
        let writes = writes.ok_or_else(|| corrupt(operation, "keys"))?;
        let request = self.client().transact_write_items().set_transact_items(Some(writes));
        match request.send().await {
            Ok(_) => Ok(Claimed::Ours),
            Err(error) if obstacles(&error).contains(&Obstacle::Condition) => Ok(Claimed::Taken),
            Err(error) => Err(failed(operation, &error)),
        }
    }
}

fn holder_value(holder: IntegrationId) -> Item {
    Item::from([(":id".to_owned(), s(holder.to_string()))])
}
