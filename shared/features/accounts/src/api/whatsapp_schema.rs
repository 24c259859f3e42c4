//! Request and response bodies of the WhatsApp settings.

use std::collections::BTreeMap;

use domain::{IntegrationId, Provider};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::route::{Choice, Policy};

/// Body of `PUT /tenants/{tenant}/whatsapp-settings`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetWhatsapp {
    /// Provider for WhatsApp messages: `whatsapp` (or `meta`), `infobip`, `twilio`, `evolution` or
    /// `custom`.
    pub(super) whatsapp_provider: String,
    /// Integration to use. Required if the tenant has several at the provider.
    #[serde(default)]
    pub(super) integration: Option<IntegrationId>,
    /// Settings and credentials of the account: the integration is created, or updated if it
    /// exists. A credential with the same value as the response shows (its last characters) is not
    /// changed.
    #[serde(default)]
    pub(super) provider_config: Map<String, Value>,
    /// Failover integrations, in the order in which they are tried.
    #[serde(default)]
    pub(super) failover: Vec<FailoverEntry>,
    /// Routing policy.
    #[serde(default)]
    pub(super) policy: SetPolicy,
    /// Weight of the provider for new conversations, with the policy `weighted`. Default: 1.
    #[serde(default = "one")]
    pub(super) weight: u32,
}

const fn one() -> u32 {
    1
}

/// A failover integration.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum FailoverEntry {
    /// Integration id, or a provider at which the tenant has one integration.
    Name(String),
    /// Integration with a weight.
    Weighted {
        /// Integration id, or a provider at which the tenant has one integration.
        integration: String,
        /// Weight for new conversations, with the policy `weighted`.
        weight: u32,
    },
}

/// A routing policy, or only its choice.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum SetPolicy {
    /// Choice of the first integration.
    Choice(Choice),
    /// The complete policy.
    Whole(Policy),
}

impl Default for SetPolicy {
    fn default() -> Self {
        Self::Whole(Policy::default())
    }
}

/// WhatsApp settings of a tenant.
#[derive(Serialize, JsonSchema)]
pub(super) struct WhatsappView {
    /// Provider for WhatsApp messages.
    pub(super) whatsapp_provider: Provider,
    /// Integration of the tenant at the provider.
    pub(super) integration: IntegrationId,
    /// Settings of the account, and the last characters of each credential.
    pub(super) provider_config: Map<String, Value>,
    /// Credentials that the hub generated because they were absent, by name. They are returned only
    /// once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generated_credentials: Option<BTreeMap<String, String>>,
    /// Failover integrations, in the order in which they are tried.
    pub(super) failover: Vec<FailoverEntryView>,
    /// Routing policy.
    pub(super) policy: Policy,
    /// Weight of the provider for new conversations, with the policy `weighted`.
    pub(super) weight: u32,
}

/// A failover integration.
#[derive(Serialize, JsonSchema)]
pub(super) struct FailoverEntryView {
    /// Integration id.
    pub(super) integration: IntegrationId,
    /// Provider of the integration.
    pub(super) provider: Provider,
    /// Weight for new conversations, with the policy `weighted`.
    pub(super) weight: u32,
}
