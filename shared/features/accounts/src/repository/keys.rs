//! Keys of the table. The page of the feature lists them.

use domain::provider::Channel;
use domain::{AuditId, IntegrationId, KeyId, Provider, TenantId};
use jiff::Timestamp;
use runtime::api::RequestClass;
use table::{Key, sortable_micros};

/// Key of a tenant.
#[must_use]
pub fn tenant(tenant: &TenantId) -> Key {
    Key::new(format!("T#{tenant}#TENANT"), "TENANT")
}

/// Key of a tenant's automation.
#[must_use]
pub fn automation(tenant: &TenantId) -> Key {
    Key::new(format!("T#{tenant}#TENANT"), "AUTOMATION")
}

/// Key of a tenant's limits.
#[must_use]
pub fn limits(tenant: &TenantId) -> Key {
    Key::new(format!("T#{tenant}#TENANT"), "LIMITS")
}

/// Key of the permits that a tenant's keys took for a class of requests in a minute.
#[must_use]
pub fn rate(tenant: &TenantId, class: RequestClass, minute: i64) -> Key {
    Key::new(format!("T#{tenant}#RATE#{minute}"), class.as_str())
}

/// Key of a tenant's route on a channel.
#[must_use]
pub fn route(tenant: &TenantId, channel: Channel) -> Key {
    Key::new(format!("T#{tenant}#TENANT"), format!("ROUTE#{channel}"))
}

/// Key of an integration's circuit breaker.
#[must_use]
pub fn circuit(tenant: &TenantId, id: IntegrationId) -> Key {
    Key::new(format!("T#{tenant}#CIRCUIT#{id}"), "CIRCUIT")
}

/// Key of a tenant in the list of all tenants.
#[must_use]
pub fn tenant_list_entry(tenant: &str) -> Key {
    Key::new("TENANTS".to_owned(), tenant)
}

/// Key of an API key.
#[must_use]
pub fn api_key(id: KeyId) -> Key {
    Key::new(format!("KEY#{id}"), "KEY")
}

/// Key of an API key in its tenant's list.
#[must_use]
pub fn api_key_list_entry(tenant: &TenantId, id: KeyId) -> Key {
    Key::new(api_keys_of(tenant), id.to_string())
}

/// Partition that lists a tenant's API keys.
#[must_use]
pub fn api_keys_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#KEYS")
}

/// Key of the number of a tenant's API keys.
#[must_use]
pub fn key_count(tenant: &TenantId) -> Key {
    Key::new(format!("T#{tenant}#TENANT"), "KEY_COUNT")
}

/// Key of an audit record.
#[must_use]
pub fn audit_record(tenant: &TenantId, at: Timestamp, id: AuditId) -> Key {
    Key::new(audit_records_of(tenant), format!("{}#{id}", sortable_micros(at)))
}

/// Partition that lists a tenant's audit records, by time.
#[must_use]
pub fn audit_records_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#AUDIT")
}

/// Key of an integration.
#[must_use]
pub fn integration(tenant: &TenantId, id: IntegrationId) -> Key {
    Key::new(integrations_of(tenant), id.to_string())
}

/// Partition that lists a tenant's integrations.
#[must_use]
pub fn integrations_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#INT")
}

/// Key of the item that maps an integration id to its tenant.
#[must_use]
pub fn integration_lookup(id: IntegrationId) -> Key {
    Key::new(format!("INT#{id}"), "INT")
}

/// Key of the lock on a tenant's credentials for a provider.
#[must_use]
pub fn credentials_lock(tenant: &TenantId, provider: Provider) -> Key {
    Key::new(format!("T#{tenant}#LOCK#{provider}"), "LOCK")
}

/// Key of the item that maps an account at a provider to its holder.
#[must_use]
pub fn account(provider: Provider, account: &str) -> Key {
    Key::new(format!("ACCOUNT#{provider}#{account}"), "ACCOUNT")
}

/// Key of the operator's own integration at a provider.
#[must_use]
pub fn platform(provider: Provider) -> Key {
    Key::new(format!("PLATFORM#{provider}"), "PLATFORM")
}

/// Key of the item that maps the hash of a webhook path's secret to the integration.
#[must_use]
pub fn path(provider: Provider, hash: &str) -> Key {
    Key::new(format!("PATH#{provider}#{hash}"), "PATH")
}

/// Key of a tenant in the list of tenants that pull jobs.
#[must_use]
pub fn tracked_tenant(tenant: &str) -> Key {
    Key::new("PULLING".to_owned(), tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys must never change: items with the old keys would be lost. This test pins them.
    #[test]
    fn keys_are_frozen() {
        let acme: TenantId = "acme".parse().unwrap();
        let zeros = "00000000000000000000000000";
        let int: IntegrationId = format!("int_{zeros}").parse().unwrap();
        let audit: AuditId = format!("aud_{zeros}").parse().unwrap();
        let k: KeyId = format!("key_{zeros}").parse().unwrap();
        let p = Provider::WhatsappCloud;
        let rows = [
            (tenant(&acme), "T#acme#TENANT TENANT".to_owned()),
            (automation(&acme), "T#acme#TENANT AUTOMATION".to_owned()),
            (limits(&acme), "T#acme#TENANT LIMITS".to_owned()),
            (
                rate(&acme, RequestClass::Messages, 29_589_120),
                "T#acme#RATE#29589120 messages".to_owned(),
            ),
            (route(&acme, Channel::Whatsapp), "T#acme#TENANT ROUTE#whatsapp".to_owned()),
            (circuit(&acme, int), format!("T#acme#CIRCUIT#int_{zeros} CIRCUIT")),
            (tenant_list_entry("acme"), "TENANTS acme".to_owned()),
            (api_key(k), format!("KEY#key_{zeros} KEY")),
            (api_key_list_entry(&acme, k), format!("T#acme#KEYS key_{zeros}")),
            (key_count(&acme), "T#acme#TENANT KEY_COUNT".to_owned()),
            (
                audit_record(&acme, Timestamp::from_second(1).unwrap(), audit),
                format!("T#acme#AUDIT 0000000001000000#aud_{zeros}"),
            ),
            (integration(&acme, int), format!("T#acme#INT int_{zeros}")),
            (integration_lookup(int), format!("INT#int_{zeros} INT")),
            (credentials_lock(&acme, p), "T#acme#LOCK#whatsapp_cloud LOCK".to_owned()),
            (account(p, "1"), "ACCOUNT#whatsapp_cloud#1 ACCOUNT".to_owned()),
            (platform(p), "PLATFORM#whatsapp_cloud PLATFORM".to_owned()),
            (path(p, "ab"), "PATH#whatsapp_cloud#ab PATH".to_owned()),
            (tracked_tenant("acme"), "PULLING acme".to_owned()),
        ];
        for (key, frozen) in rows {
            assert_eq!(format!("{} {}", key.pk, key.sk), frozen);
        }
    }
}
