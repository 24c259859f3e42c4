//! Integrations: a tenant's accounts at providers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    /// The account id that the provider uses in webhooks, such as the id of a number or a bot. An
    /// account belongs to exactly one integration. `None` for an app of the operator that has no
    /// account of its own.
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

/// Settings of an integration, by name. Its provider validates them and adds its defaults before
/// they are stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub Map<String, Value>);

/// The name under which the settings of some providers contain the provider.
const PROVIDER: &str = "provider";

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
    /// Creates settings that contain the name of their provider: earlier versions, which may still
    /// be running, do not recognize the settings of some providers without it.
    #[must_use]
    pub fn tagged(provider: Provider, mut fields: Map<String, Value>) -> Self {
        fields.insert(PROVIDER.to_owned(), provider.as_str().into());
        Self(fields)
    }

    /// Returns the settings by name.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = self.0.clone();
        fields.remove(PROVIDER);
        fields
    }

    /// Returns the settings as their provider's own `T`; `None` if they are another provider's.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        if self.0.contains_key(PROVIDER) {
            return T::deserialize(&self.fields()).ok();
        }
        T::deserialize(&self.0).ok()
    }

    /// Returns the provider's base URL, if the settings contain one.
    #[must_use]
    pub fn base_url(&self) -> Option<&str> {
        self.0.get("base_url")?.as_str()
    }

    /// Returns the rate limit of the account, if the settings contain one.
    #[must_use]
    pub fn messages_per_second(&self) -> Option<u32> {
        self.0.get("messages_per_second")?.as_u64()?.try_into().ok()
    }

    /// Returns what to do when the outcome of a send is unknown.
    #[must_use]
    pub fn delivery(&self) -> DeliveryPolicy {
        let delivery = self.0.get("delivery");
        delivery.and_then(|value| DeliveryPolicy::deserialize(value).ok()).unwrap_or_default()
    }
}

/// Maximum size of a value of a credential, in bytes: a private key in PEM has about 3,300. All
/// credentials of a tenant for a provider share one secret of at most 64 KiB.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
pub const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;

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
    fn settings_with_the_name_of_their_provider_are_read_without_it() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Own {
            base_url: String,
        }

        let stored = r#"{"base_url":"https://example.com","provider":"telegram"}"#;
        let settings: Settings = serde_json::from_str(stored).unwrap();
        let own = Own { base_url: "https://example.com".to_owned() };
        assert_eq!(settings.read(), Some(own));
        assert_eq!(settings.fields().keys().collect::<Vec<_>>(), ["base_url"]);
        assert_eq!(Settings::tagged(Provider::Telegram, settings.fields()), settings);
        assert_eq!(serde_json::to_string(&settings).unwrap(), stored);
        let other = Settings(Map::from_iter([("instance".to_owned(), "shop".into())]));
        assert_eq!(other.read::<Own>(), None);
    }
}
