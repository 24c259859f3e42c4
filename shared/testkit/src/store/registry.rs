//! Tenants, keys, integrations and automations.

use domain::automation::Automation;
use domain::integration::Integration;
use domain::ports::{
    Accounts, Automations, Claimed, Directory, Holder, Keys, Page, PortResult, Recorded, Registry,
};
use domain::provider::Channel;
use domain::route::Route;
use domain::tenant::{ApiKey, Tenant};
use domain::{IntegrationId, KeyId, Provider, TenantId};
use jiff::Timestamp;

use super::{MemoryStore, Tables};

/// What only one integration may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Account(Provider, String),
    Path(Provider, String),
    Platform(Provider),
}

fn places(integration: &Integration, path_secrets: &[String]) -> Vec<Place> {
    let provider = integration.provider;
    let mut places: Vec<Place> =
        path_secrets.iter().map(|hash| Place::Path(provider, hash.clone())).collect();
    places.extend(integration.account.clone().map(|account| Place::Account(provider, account)));
    places.extend(integration.tenant.is_platform().then_some(Place::Platform(provider)));
    places
}

impl Tables {
    fn integration(&self, id: IntegrationId) -> Option<Integration> {
        let tenant = self.found.get(&id)?;
        self.integrations.get(&(tenant.clone(), id)).cloned()
    }

    fn integrations_of(&self, tenant: &TenantId) -> Vec<Integration> {
        let own = self.integrations.iter().filter(|((owner, _), _)| owner == tenant);
        own.map(|(_, integration)| integration.clone()).collect()
    }

    /// Whether nobody but `id` holds the place.
    fn is_open(&self, place: &Place, id: IntegrationId) -> bool {
        self.claims.get(place).is_none_or(|holder| holder.integration == id)
    }

    pub(super) fn write_integration(&mut self, integration: &Integration, path_secrets: &[String]) {
        let (tenant, id) = (integration.tenant.clone(), integration.id);
        for place in places(integration, path_secrets) {
            let holder = Holder { tenant: tenant.clone(), integration: id };
            self.claims.insert(place, holder);
        }
        self.found.insert(id, tenant.clone());
        self.integrations.insert((tenant, id), integration.clone());
    }
}

impl Directory for MemoryStore {
    async fn integration(&self, id: IntegrationId) -> PortResult<Option<Integration>> {
        self.pass("find an integration", |tables| tables.integration(id)).await
    }

    async fn platform(&self, provider: Provider) -> PortResult<Option<Integration>> {
        self.pass("find the operator's integration", |tables| {
            let holder = tables.claims.get(&Place::Platform(provider))?;
            let key = (TenantId::platform(), holder.integration);
            tables.integrations.get(&key).cloned()
        })
        .await
    }

    async fn account(&self, provider: Provider, account: &str) -> PortResult<Option<Holder>> {
        let place = Place::Account(provider, account.to_owned());
        self.pass("find who holds an account", |tables| tables.claims.get(&place).cloned()).await
    }

    async fn by_path_secret(
        &self,
        provider: Provider,
        hash: &str,
    ) -> PortResult<Option<IntegrationId>> {
        let place = Place::Path(provider, hash.to_owned());
        self.pass("find an integration by its webhook path", |tables| {
            tables.claims.get(&place).map(|holder| holder.integration)
        })
        .await
    }
}

impl Accounts for MemoryStore {
    async fn is_tenant(&self, tenant: &TenantId) -> PortResult<bool> {
        self.pass("look for a tenant", |tables| tables.tenants.contains_key(tenant)).await
    }

    async fn accounts_of(&self, tenant: &TenantId) -> PortResult<Vec<Integration>> {
        self.pass("list integrations", |tables| tables.integrations_of(tenant)).await
    }
}

impl Keys for MemoryStore {
    async fn key(&self, id: KeyId) -> PortResult<Option<(ApiKey, String)>> {
        self.pass("find a key", |tables| tables.keys.get(&id).cloned()).await
    }
}

impl Automations for MemoryStore {
    async fn automation(&self, tenant: &TenantId) -> PortResult<Automation> {
        self.pass("read a tenant's automation", |tables| {
            let Some((automation, disabled_at)) = tables.automations.get(tenant) else {
                return Automation::None;
            };
            let mut automation = automation.clone();
            if let Some(push) = automation.push_mut() {
                push.disabled_at = *disabled_at;
            }
            automation
        })
        .await
    }
}

impl Registry for MemoryStore {
    async fn lock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        now: Timestamp,
        until: Timestamp,
    ) -> PortResult<bool> {
        self.pass("lock a tenant's credentials", |tables| {
            let key = (tenant.clone(), provider);
            let free = tables.locks.get(&key).is_none_or(|until| *until < now);
            if free {
                tables.locks.insert(key, until);
            }
            free
        })
        .await
    }

    async fn unlock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        until: Timestamp,
    ) -> PortResult<()> {
        self.pass("unlock a tenant's credentials", |tables| {
            let key = (tenant.clone(), provider);
            if tables.locks.get(&key) == Some(&until) {
                tables.locks.remove(&key);
            }
        })
        .await
    }

    async fn create_tenant(&self, tenant: &Tenant) -> PortResult<Recorded> {
        self.pass("make a tenant", |tables| {
            if tables.tenants.contains_key(&tenant.id) {
                return Recorded::Duplicate;
            }
            tables.tenants.insert(tenant.id.clone(), tenant.clone());
            Recorded::New
        })
        .await
    }

    async fn tenant(&self, id: &TenantId) -> PortResult<Option<Tenant>> {
        self.pass("read a tenant", |tables| tables.tenants.get(id).cloned()).await
    }

    async fn tenants(&self, limit: u32, cursor: Option<&str>) -> PortResult<Page<Tenant>> {
        self.pass("list tenants", |tables| {
            let sorted = tables.tenants.iter().map(|(id, tenant)| (id.to_string(), tenant.clone()));
            super::page(sorted, limit, |place| cursor.is_none_or(|cursor| place > cursor))
        })
        .await
    }

    async fn create_key(&self, key: &ApiKey, hash: &str) -> PortResult<()> {
        self.pass("keep a key", |tables| {
            tables.keys.insert(key.id, (key.clone(), hash.to_owned()));
            tables.keys_of.insert((key.tenant.clone(), key.id), key.clone());
        })
        .await
    }

    async fn keys(&self, tenant: &TenantId) -> PortResult<Vec<ApiKey>> {
        self.pass("list keys", |tables| {
            let own = tables.keys_of.iter().filter(|((owner, _), _)| owner == tenant);
            own.map(|(_, key)| key.clone()).collect()
        })
        .await
    }

    async fn revoke_key(&self, tenant: &TenantId, id: KeyId) -> PortResult<bool> {
        self.pass("end a key", |tables| {
            let ours = tables.keys_of.remove(&(tenant.clone(), id)).is_some();
            if ours {
                tables.keys.remove(&id);
            }
            ours
        })
        .await
    }

    async fn set_automation(&self, tenant: &TenantId, automation: &Automation) -> PortResult<()> {
        self.pass("set a tenant's automation", |tables| {
            tables.note_pulling(tenant, automation);
            tables.automations.insert(tenant.clone(), (automation.clone(), None));
        })
        .await
    }

    async fn set_route(
        &self,
        tenant: &TenantId,
        channel: Channel,
        route: &Route,
    ) -> PortResult<()> {
        self.pass("set a tenant's route", |tables| {
            tables.routes.insert((tenant.clone(), channel), route.clone());
        })
        .await
    }

    async fn integration(&self, id: IntegrationId) -> PortResult<Option<Integration>> {
        self.pass("find an integration", |tables| tables.integration(id)).await
    }

    async fn integrations(&self, tenant: &TenantId) -> PortResult<Vec<Integration>> {
        self.pass("list integrations", |tables| tables.integrations_of(tenant)).await
    }

    async fn put_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
        before: Option<(&Integration, &[String])>,
    ) -> PortResult<Claimed> {
        self.pass("write an integration", |tables| {
            let id = integration.id;
            let wanted = places(integration, path_secrets);
            let given_up = before.map(|(before, secrets)| places(before, secrets));
            let mut given_up = given_up.unwrap_or_default();
            given_up.retain(|place| !wanted.contains(place));
            if wanted.iter().chain(&given_up).any(|place| !tables.is_open(place, id)) {
                return Claimed::Taken;
            }
            for place in &given_up {
                tables.claims.remove(place);
            }
            tables.write_integration(integration, path_secrets);
            Claimed::Ours
        })
        .await
    }

    async fn delete_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
    ) -> PortResult<()> {
        self.pass("remove an integration", |tables| {
            let id = integration.id;
            let places = places(integration, path_secrets);
            // All or nothing, like the transaction it stands for.
            if places.iter().any(|place| !tables.is_open(place, id)) {
                return;
            }
            for place in &places {
                tables.claims.remove(place);
            }
            tables.found.remove(&id);
            tables.integrations.remove(&(integration.tenant.clone(), id));
        })
        .await
    }
}
