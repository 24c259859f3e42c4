//! Integrations: a tenant's accounts at providers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::circuit::Breaker;
use crate::{IntegrationId, Provider, TenantId};

/// A tenant's account at a provider. Does not contain credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Integration {
    /// The integration id.
    pub id: IntegrationId,
    /// The tenant that owns the integration.
    pub tenant: TenantId,
    /// The provider of the account.
    pub provider: Provider,
    /// Settings of the account.
    pub settings: Settings,
    /// The account id that the provider uses in webhooks: WhatsApp's phone number id, Telegram's
    /// bot id. An account belongs to exactly one integration. `None` for an app of the operator
    /// that has no account of its own.
    pub account: Option<String>,
    /// The last characters of each credential, by which users recognize it.
    pub hints: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its credentials were last changed: cached copies from before must not be used.
    #[serde(default)]
    pub credentials_at: Timestamp,
    /// Circuit breaker settings.
    #[serde(default)]
    pub circuit: Breaker,
    /// Names of the credentials that are not the operator's: the tenant supplied them, or the hub
    /// generated them. The party that supplied a credential decides what it is used for. If the
    /// field is missing, all credentials are the operator's.
    #[serde(default)]
    pub tenant_credentials: BTreeSet<String>,
    /// Whether messages ingested for this account with an API key count as verified by the
    /// provider. Only the operator can set this.
    #[serde(default)]
    pub trusted_ingest: bool,
}

impl Integration {
    /// Returns the names of the credentials that the operator supplied, in order.
    pub fn operator_credentials(&self) -> impl Iterator<Item = &str> {
        let names = self.hints.keys().filter(|name| !self.tenant_credentials.contains(*name));
        names.map(String::as_str)
    }

    /// Returns the key of its conversations: the account id, or the integration id if it has no
    /// account and receives every webhook that its own secret signs.
    #[must_use]
    pub fn conversation_account(&self) -> String {
        self.account.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// Settings of an integration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "provider", rename_all = "snake_case")]
pub enum Settings {
    /// WhatsApp Cloud API.
    WhatsappCloud(WhatsappSettings),
    /// Telegram Bot API.
    Telegram(TelegramSettings),
    /// Settings of another provider, which validates them before they are stored.
    #[serde(untagged)]
    Own(serde_json::Map<String, serde_json::Value>),
}

/// A validation error in a request to create or update an integration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// The invalid field, as `POST /integrations` names it.
    pub field: String,
    /// What would be valid. Never quotes a value.
    pub reason: String,
}

impl FieldError {
    /// Creates an error about `field`.
    #[must_use]
    pub fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), reason: reason.into() }
    }
}

/// Settings of a WhatsApp number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhatsappSettings {
    /// The phone number id at Meta; absent only for the operator's own app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number_id: Option<String>,
    /// Graph API version, such as `v26.0`.
    #[serde(default = "graph_version")]
    pub graph_version: String,
    /// Base URL of the Graph API.
    #[serde(default = "graph_url")]
    pub base_url: String,
    /// What to do when the outcome of a send is unknown.
    #[serde(default)]
    pub delivery: DeliveryPolicy,
    /// Messages per second that the number may send: 80 unless Meta raised the limit.
    #[serde(default = "whatsapp_pace")]
    pub messages_per_second: u32,
}

/// Settings of a Telegram bot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelegramSettings {
    /// Base URL of the Bot API.
    #[serde(default = "telegram_url")]
    pub base_url: String,
    /// What to do when the outcome of a send is unknown.
    #[serde(default)]
    pub delivery: DeliveryPolicy,
    /// Messages per second that the bot may send, over all chats.
    #[serde(default = "telegram_pace")]
    pub messages_per_second: u32,
}

fn graph_version() -> String {
    "v26.0".to_owned()
}

fn graph_url() -> String {
    "https://graph.facebook.com".to_owned()
}

fn telegram_url() -> String {
    "https://api.telegram.org".to_owned()
}

const fn whatsapp_pace() -> u32 {
    80
}

const fn telegram_pace() -> u32 {
    30
}

/// What to do when the outcome of a send is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryPolicy {
    /// Never send it again: it stays `unknown` until a receipt arrives. The default.
    #[default]
    AtMostOnce,
    /// Send it again: the recipient may receive it twice.
    AtLeastOnce,
}

impl Settings {
    /// Returns the settings by name.
    #[must_use]
    pub fn fields(&self) -> serde_json::Map<String, serde_json::Value> {
        let fields = match self {
            Self::WhatsappCloud(settings) => serde_json::to_value(settings),
            Self::Telegram(settings) => serde_json::to_value(settings),
            Self::Own(settings) => return settings.clone(),
        };
        match fields {
            Ok(serde_json::Value::Object(fields)) => fields,
            // Both are structs, which are always objects.
            _ => serde_json::Map::new(),
        }
    }

    /// Returns the provider's base URL, if the settings contain one.
    #[must_use]
    pub fn base_url(&self) -> Option<&str> {
        match self {
            Self::WhatsappCloud(settings) => Some(&settings.base_url),
            Self::Telegram(settings) => Some(&settings.base_url),
            Self::Own(settings) => settings.get("base_url")?.as_str(),
        }
    }

    /// Returns the provider's base URL, if it differs from the default.
    #[must_use]
    pub fn other_base_url(&self) -> Option<&str> {
        let own = match self {
            Self::WhatsappCloud(_) => graph_url(),
            Self::Telegram(_) => telegram_url(),
            Self::Own(_) => String::new(),
        };
        self.base_url().filter(|base_url| *base_url != own)
    }

    /// Returns the rate limit of the account, if the settings contain one.
    #[must_use]
    pub fn messages_per_second(&self) -> Option<u32> {
        match self {
            Self::WhatsappCloud(settings) => Some(settings.messages_per_second),
            Self::Telegram(settings) => Some(settings.messages_per_second),
            Self::Own(settings) => settings.get("messages_per_second")?.as_u64()?.try_into().ok(),
        }
    }

    /// Returns what to do when the outcome of a send is unknown.
    #[must_use]
    pub fn delivery(&self) -> DeliveryPolicy {
        match self {
            Self::WhatsappCloud(settings) => settings.delivery,
            Self::Telegram(settings) => settings.delivery,
            Self::Own(settings) => settings
                .get("delivery")
                .and_then(|delivery| DeliveryPolicy::deserialize(delivery).ok())
                .unwrap_or_default(),
        }
    }
}

/// The credentials of an integration: each name has one value, or several during rotation.
///
/// `Debug` prints no value.
#[derive(Clone, Debug, Default)]
pub struct Credentials(BTreeMap<String, Vec<SecretString>>);

impl Credentials {
    /// Creates credentials from names and values. Empty values are dropped, so that an empty secret
    /// never verifies anything.
    pub fn new(fields: impl IntoIterator<Item = (String, Vec<SecretString>)>) -> Self {
        let kept = fields.into_iter().filter_map(|(name, mut values)| {
            values.retain(|value| !value.expose_secret().is_empty());
            (!values.is_empty()).then_some((name, values))
        });
        Self(kept.collect())
    }

    /// Returns every valid value for `name`, newest first; empty if there is none.
    #[must_use]
    pub fn all(&self, name: &str) -> &[SecretString] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the newest value for `name`.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&SecretString> {
        self.all(name).first()
    }

    /// Returns each name with its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[SecretString])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Whether `other` has the same names and values.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let values = |credentials: &Self| -> Vec<(String, Vec<String>)> {
            let exposed = |secrets: &[SecretString]| {
                secrets.iter().map(|secret| secret.expose_secret().to_owned()).collect()
            };
            credentials.iter().map(|(name, secrets)| (name.to_owned(), exposed(secrets))).collect()
        };
        values(self) == values(other)
    }

    /// Returns these credentials without the given names.
    #[must_use]
    pub fn without<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        for name in names {
            self.0.remove(name);
        }
        self
    }

    /// Returns these credentials with those in `newer` added or replaced.
    #[must_use]
    pub fn merged(mut self, newer: Self) -> Self {
        self.0.extend(newer.0);
        self
    }

    /// Returns the last four characters of each first value; fewer of a short one.
    #[must_use]
    pub fn hints(&self) -> BTreeMap<String, String> {
        let hint = |values: &Vec<SecretString>| {
            let value = values.first().map_or("", |value| value.expose_secret());
            let length = value.chars().count();
            // Never more than a quarter of the secret.
            let tail: String = value.chars().skip(length - 4.min(length / 4)).collect();
            format!("...{tail}")
        };
        self.0.iter().map(|(name, values)| (name.clone(), hint(values))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(value: &str) -> Credentials {
        Credentials::new([("TOKEN".to_owned(), vec![value.into()])])
    }

    #[test]
    fn an_empty_secret_is_dropped() {
        assert!(credentials("").all("TOKEN").is_empty());
        assert!(credentials("").first("TOKEN").is_none());
    }

    #[test]
    fn credentials_are_not_printed_and_hints_show_at_most_a_quarter() {
        let long = credentials("0123456789abcdef");
        assert!(!format!("{long:?}").contains("0123"));
        assert_eq!(long.hints()["TOKEN"], "...cdef");
        assert_eq!(credentials("abc").hints()["TOKEN"], "...");
    }

    #[test]
    fn credentials_stored_without_an_owner_are_the_operators() {
        let stored = r#"{
            "id": "int_01J9ZQ4J9T0000000000000000", "tenant": "acme", "provider": "evolution",
            "settings": {}, "account": null, "hints": { "A": "...", "B": "..." },
            "created_at": "2026-11-30T12:00:00Z"
        }"#;
        let mut integration: Integration = serde_json::from_str(stored).unwrap();
        assert_eq!(integration.operator_credentials().collect::<Vec<_>>(), ["A", "B"]);
        assert!(!integration.trusted_ingest);
        integration.tenant_credentials.insert("A".to_owned());
        assert_eq!(integration.operator_credentials().collect::<Vec<_>>(), ["B"]);
    }

    #[test]
    fn base_urls_default_to_the_providers_own() {
        let settings: WhatsappSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings.graph_version, "v26.0");
        assert_eq!(settings.base_url, "https://graph.facebook.com");
        assert!(serde_json::from_str::<TelegramSettings>(r#"{"basurl":"x"}"#).is_err());
    }
}
