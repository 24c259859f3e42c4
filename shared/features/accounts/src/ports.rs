//! Ports of the feature: one trait per permission.

use domain::ports::{Page, PortResult, Recorded};
use domain::provider::Channel;
use domain::tenant::{ApiKey, Tenant};
use domain::{Integration, IntegrationId, KeyId, Provider, TenantId};
use jiff::Timestamp;
use runtime::api::RequestClass;

use crate::model::audit::{AuditFilter, AuditRecord};
use crate::model::automation::{Automation, Push};
use crate::model::circuit::Circuit;
use crate::model::limits::{Counts, LimitSettings, Limits};
use crate::model::route::Route;

/// Tenant and integration lookup.
pub trait TenantReader: Send + Sync {
    /// Returns whether the tenant exists.
    fn is_tenant(&self, tenant: &TenantId) -> impl Future<Output = PortResult<bool>> + Send;

    /// Returns the tenant's integrations.
    fn integrations_of(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = PortResult<Vec<Integration>>> + Send;
}

/// Automation settings, read side.
pub trait Automations: Send + Sync {
    /// Returns the tenant's automation settings.
    fn automation(&self, tenant: &TenantId) -> impl Future<Output = PortResult<Automation>> + Send;

    /// Returns the tenant's automation settings, eventually consistently: for half the read units,
    /// it may miss a change of about the last second.
    fn recent_automation(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = PortResult<Automation>> + Send;
}

/// Circuit breaker state of integrations.
pub trait Circuits: Send + Sync {
    /// Returns the circuit of an integration, and its version for optimistic locking; version 0 if
    /// the integration never failed.
    fn circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
    ) -> impl Future<Output = PortResult<(Circuit, u32)>> + Send;

    /// Replaces version `seen` with `circuit`; returns `Duplicate` if another write replaced it
    /// first.
    fn set_circuit(
        &self,
        tenant: &TenantId,
        integration: IntegrationId,
        circuit: &Circuit,
        seen: u32,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;
}

/// Routes, read side.
pub trait Routes: Send + Sync {
    /// Returns the tenant's route for a channel; `None` if it has none.
    fn route(
        &self,
        tenant: &TenantId,
        channel: Channel,
    ) -> impl Future<Output = PortResult<Option<Route>>> + Send;
}

/// API key lookup for the authorizer.
pub trait Keys: Send + Sync {
    /// Returns the key with this id, and the hash of the complete key.
    fn key(&self, id: KeyId) -> impl Future<Output = PortResult<Option<(ApiKey, String)>>> + Send;
}

/// Record of when API keys are used.
pub trait RecordKeyUse: Send + Sync {
    /// Records that a key was used at `now`, if the recorded time is older than
    /// [`LAST_USED_PRECISION`](crate::model::key::LAST_USED_PRECISION) and the key still exists.
    fn record_use(
        &self,
        tenant: &TenantId,
        id: KeyId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Audit records, read side.
pub trait AuditReader: Send + Sync {
    /// Returns a tenant's audit records that match `filter`, newest first. A page may have fewer
    /// than `limit` records although another one follows.
    fn audit_records(
        &self,
        tenant: &TenantId,
        filter: &AuditFilter,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<AuditRecord>>> + Send;
}

/// Outcome of creating an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCreation {
    /// The key was created.
    Created,
    /// The tenant has [`MAX_KEYS`](crate::model::key::MAX_KEYS) keys; nothing was written.
    LimitReached,
}

/// Outcome of claiming an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountClaim {
    /// The claim is held by this integration, now or already before.
    Granted,
    /// Another integration holds the account, or is the operator's own at this provider.
    Taken,
}

/// Storage of tenants and their keys, integrations, automations and routes.
///
/// Each change is written together with its audit record, in one transaction: neither exists without
/// the other.
pub trait Registry: Send + Sync {
    /// Creates a tenant; returns `Duplicate` if one with that id exists.
    fn create_tenant(
        &self,
        tenant: &Tenant,
        audit: &AuditRecord,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// Returns the tenant with this id.
    fn tenant(&self, id: &TenantId) -> impl Future<Output = PortResult<Option<Tenant>>> + Send;

    /// Returns all tenants, by id.
    fn tenants(
        &self,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<Tenant>>> + Send;

    /// Stores a key under the hash of the complete key, unless the tenant has too many.
    fn create_key(
        &self,
        key: &ApiKey,
        hash: &str,
        audit: &AuditRecord,
    ) -> impl Future<Output = PortResult<KeyCreation>> + Send;

    /// Returns the tenant's keys, by id.
    fn keys(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<ApiKey>>> + Send;

    /// Returns the tenant's key with this id.
    fn api_key(
        &self,
        tenant: &TenantId,
        id: KeyId,
    ) -> impl Future<Output = PortResult<Option<ApiKey>>> + Send;

    /// Revokes a key of the tenant; returns `false` if it has no key with that id.
    fn revoke_key(
        &self,
        tenant: &TenantId,
        id: KeyId,
        audit: &AuditRecord,
    ) -> impl Future<Output = PortResult<bool>> + Send;

    /// Sets the tenant's automation.
    fn set_automation(
        &self,
        tenant: &TenantId,
        automation: &Automation,
        audit: &AuditRecord,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Sets the integrations that send the tenant's messages on a channel.
    fn set_route(
        &self,
        tenant: &TenantId,
        channel: Channel,
        route: &Route,
        audit: &AuditRecord,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Returns the integration with this id, of any tenant.
    fn integration(
        &self,
        id: IntegrationId,
    ) -> impl Future<Output = PortResult<Option<Integration>>> + Send;

    /// Returns all the tenant's integrations.
    fn integrations(
        &self,
        tenant: &TenantId,
    ) -> impl Future<Output = PortResult<Vec<Integration>>> + Send;

    /// Returns a page of the tenant's integrations, by id.
    fn integration_page(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<Integration>>> + Send;

    /// Writes an integration and claims its account, its webhook path secrets and, for the
    /// operator, its place as the operator's own integration at the provider; all or nothing.
    /// `before` is the integration it replaces, whose claims are released. `path_secrets` are
    /// hashes.
    fn put_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
        before: Option<(&Integration, &[String])>,
        audit: &AuditRecord,
    ) -> impl Future<Output = PortResult<AccountClaim>> + Send;

    /// Writes the audit record of an action outside of the table.
    fn record_action(&self, audit: &AuditRecord) -> impl Future<Output = PortResult<()>> + Send;

    /// Locks the tenant's credentials at `provider` until `until`, because they share one secret;
    /// returns `false` if another caller holds the lock at `now`.
    fn lock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = PortResult<bool>> + Send;

    /// Releases the lock, if it is still the one that ends at `until`.
    fn unlock_credentials(
        &self,
        tenant: &TenantId,
        provider: Provider,
        until: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;

    /// Deletes an integration and all its claims.
    fn delete_integration(
        &self,
        integration: &Integration,
        path_secrets: &[String],
        audit: &AuditRecord,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// Disabling of a tenant's webhook endpoint.
pub trait DisableEndpoint: Send + Sync {
    /// Disables the tenant's webhook endpoint `push`, and records the time. Returns `false` if the
    /// tenant has set or removed its endpoint since.
    fn disable(
        &self,
        tenant: &TenantId,
        push: &Push,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<bool>> + Send;
}

/// List of the tenants whose workers pull jobs.
pub trait PullingTenants: Send + Sync {
    /// Lists the tenants whose workers pull or that may have unfinished jobs, by id.
    fn tracked_tenants(
        &self,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<TenantId>>> + Send;

    /// Removes the tenant from the list, unless its automation pulls jobs.
    fn stop_tracking(&self, tenant: &TenantId) -> impl Future<Output = PortResult<()>> + Send;
}

/// Limits of tenants, read side.
pub trait LimitReader: Send + Sync {
    /// Returns the tenant's limits.
    fn limits(&self, tenant: &TenantId) -> impl Future<Output = PortResult<Limits>> + Send;
}

/// Limits of tenants, write side.
pub trait LimitWriter: Send + Sync {
    /// Sets the tenant's limits.
    fn set_limits(
        &self,
        tenant: &TenantId,
        settings: &LimitSettings,
        audit: &AuditRecord,
    ) -> impl Future<Output = PortResult<()>> + Send;
}

/// A minute of a class of requests of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateWindow<'a> {
    /// Tenant of the key.
    pub tenant: &'a TenantId,
    /// API key.
    pub key: KeyId,
    /// Class of the requests.
    pub class: RequestClass,
    /// Number of the minute since the Unix epoch.
    pub minute: i64,
}

/// Outcome of taking permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermitOutcome {
    /// The permits were taken. These are now taken in total.
    Taken(Counts),
    /// None was taken, because they would exceed a limit. These were taken before.
    Exceeded(Counts),
}

/// Permits for requests.
pub trait RateCounter: Send + Sync {
    /// Takes `count` permits for requests in `window`, all or none: the permits taken by all
    /// sandboxes together never exceed `limits`.
    fn take_permits(
        &self,
        window: RateWindow<'_>,
        count: u32,
        limits: Counts,
    ) -> impl Future<Output = PortResult<PermitOutcome>> + Send;
}
