//! One tenant's account at one provider.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::circuit::Breaker;
use crate::{IntegrationId, Provider, TenantId};

/// One tenant's account at one provider. Credentials are not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Integration {
    /// Its id.
    pub id: IntegrationId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Where the account is.
    pub provider: Provider,
    /// How to reach and use the account.
    pub settings: Settings,
    /// The account as the provider names it in webhooks: WhatsApp's phone number id,
    /// Telegram's bot id. Exactly one integration holds an account. `None` for an app of
    /// the operator that has no account of its own.
    pub account: Option<String>,
    /// The last characters of each credential, for people to recognise it by.
    pub hints: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its credentials were last changed: older copies of them are not to be used.
    #[serde(default)]
    pub credentials_at: Timestamp,
    /// When the hub stops sending through it for a while.
    #[serde(default)]
    pub circuit: Breaker,
    /// The names of the credentials that are not the operator's: the tenant gave them, or the
    /// hub made them up. Whoever gave a credential decides what it is used for. Where nobody
    /// wrote down who did, it was the operator.
    #[serde(default)]
    pub tenant_credentials: BTreeSet<String>,
    /// Whether what a program brings to this account, with a key of the hub, counts as proved
    /// by the provider. The operator alone says so.
    #[serde(default)]
    pub trusted_ingest: bool,
}

impl Integration {
    /// The names of the credentials that the operator gave, in order.
    pub fn operator_credentials(&self) -> impl Iterator<Item = &str> {
        let names = self.hints.keys().filter(|name| !self.tenant_credentials.contains(*name));
        names.map(String::as_str)
    }

    /// What its conversations are kept under: the account, or its own id if it holds none and
    /// takes whatever its own secret signs.
    #[must_use]
    pub fn line(&self) -> String {
        self.account.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// How to reach and use an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "provider", rename_all = "snake_case")]
pub enum Settings {
    /// WhatsApp Cloud API.
    Whatsapp(WhatsappSettings),
    /// Telegram Bot API.
    Telegram(TelegramSettings),
    /// Of a provider that reads its own; checked by it before they are kept.
    #[serde(untagged)]
    Own(serde_json::Map<String, serde_json::Value>),
}

/// What is wrong with an integration that somebody wants to make.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Flaw {
    /// The field at fault, in the words of `POST /integrations`.
    pub field: String,
    /// What would be right. Never quotes a value.
    pub reason: String,
}

impl Flaw {
    /// A flaw of `field`.
    #[must_use]
    pub fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), reason: reason.into() }
    }
}

/// Settings of a WhatsApp number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhatsappSettings {
    /// The number's id at Meta; absent only for the operator's own app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number_id: Option<String>,
    /// Version of the Graph API, such as `v26.0`.
    #[serde(default = "graph_version")]
    pub graph_version: String,
    /// Where the Graph API is.
    #[serde(default = "graph_url")]
    pub base_url: String,
    /// What to do when a send's outcome is unknown.
    #[serde(default)]
    pub delivery: DeliveryPolicy,
    /// Messages a second the number may send: 80 unless Meta raised it.
    #[serde(default = "whatsapp_pace")]
    pub messages_per_second: u32,
}

/// Settings of a Telegram bot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelegramSettings {
    /// Where the Bot API is.
    #[serde(default = "telegram_url")]
    pub base_url: String,
    /// What to do when a send's outcome is unknown.
    #[serde(default)]
    pub delivery: DeliveryPolicy,
    /// Messages a second the bot may send over all chats.
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

/// What to do when a send's outcome is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryPolicy {
    /// Never send it again: it stays `unknown` until a receipt tells. The default.
    #[default]
    AtMostOnce,
    /// Send it again: the person may get it twice.
    AtLeastOnce,
}

impl Settings {
    /// Each setting by its name, as it is given.
    #[must_use]
    pub fn fields(&self) -> serde_json::Map<String, serde_json::Value> {
        let fields = match self {
            Self::Whatsapp(settings) => serde_json::to_value(settings),
            Self::Telegram(settings) => serde_json::to_value(settings),
            Self::Own(settings) => return settings.clone(),
        };
        match fields {
            Ok(serde_json::Value::Object(fields)) => fields,
            // Both are structs, which are always objects.
            _ => serde_json::Map::new(),
        }
    }

    /// Where the provider is reached, if the settings say so.
    #[must_use]
    pub fn base_url(&self) -> Option<&str> {
        match self {
            Self::Whatsapp(settings) => Some(&settings.base_url),
            Self::Telegram(settings) => Some(&settings.base_url),
            Self::Own(settings) => settings.get("base_url")?.as_str(),
        }
    }

    /// Where the provider is reached, if that is not its own address.
    #[must_use]
    pub fn other_base_url(&self) -> Option<&str> {
        let own = match self {
            Self::Whatsapp(_) => graph_url(),
            Self::Telegram(_) => telegram_url(),
            Self::Own(_) => String::new(),
        };
        self.base_url().filter(|base_url| *base_url != own)
    }

    /// How fast the account may send, if the settings say so.
    #[must_use]
    pub fn messages_per_second(&self) -> Option<u32> {
        match self {
            Self::Whatsapp(settings) => Some(settings.messages_per_second),
            Self::Telegram(settings) => Some(settings.messages_per_second),
            Self::Own(settings) => settings.get("messages_per_second")?.as_u64()?.try_into().ok(),
        }
    }

    /// What to do when a send's outcome is unknown.
    #[must_use]
    pub fn delivery(&self) -> DeliveryPolicy {
        match self {
            Self::Whatsapp(settings) => settings.delivery,
            Self::Telegram(settings) => settings.delivery,
            Self::Own(settings) => settings
                .get("delivery")
                .and_then(|delivery| DeliveryPolicy::deserialize(delivery).ok())
                .unwrap_or_default(),
        }
    }
}

/// The secrets of one integration: each name has one value, or several while it is rotated.
///
/// Prints nothing of a value.
#[derive(Clone, Debug, Default)]
pub struct Credentials(BTreeMap<String, Vec<SecretString>>);

impl Credentials {
    /// Credentials from names and values; empty values are dropped, so that an empty secret
    /// can never verify anything.
    pub fn new(fields: impl IntoIterator<Item = (String, Vec<SecretString>)>) -> Self {
        let kept = fields.into_iter().filter_map(|(name, mut values)| {
            values.retain(|value| !value.expose_secret().is_empty());
            (!values.is_empty()).then_some((name, values))
        });
        Self(kept.collect())
    }

    /// Every value that is valid for `name` now; empty if there is none.
    #[must_use]
    pub fn all(&self, name: &str) -> &[SecretString] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The newest value for `name`.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&SecretString> {
        self.all(name).first()
    }

    /// Each name with its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[SecretString])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Whether these are the same names and values as `other`.
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

    /// The same without what has one of these names.
    #[must_use]
    pub fn without<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        for name in names {
            self.0.remove(name);
        }
        self
    }

    /// Puts the fields of `newer` over these.
    #[must_use]
    pub fn merged(mut self, newer: Self) -> Self {
        self.0.extend(newer.0);
        self
    }

    /// The last four characters of each first value; fewer of a short one.
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
    fn an_empty_secret_is_no_secret() {
        assert!(credentials("").all("TOKEN").is_empty());
        assert!(credentials("").first("TOKEN").is_none());
    }

    #[test]
    fn credentials_print_nothing_and_hint_at_a_quarter_at_most() {
        let long = credentials("0123456789abcdef");
        assert!(!format!("{long:?}").contains("0123"));
        assert_eq!(long.hints()["TOKEN"], "...cdef");
        assert_eq!(credentials("abc").hints()["TOKEN"], "...");
    }

    #[test]
    fn a_credential_of_which_nobody_wrote_down_who_gave_it_is_the_operators() {
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
    fn settings_have_the_providers_own_addresses_by_default() {
        let settings: WhatsappSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings.graph_version, "v26.0");
        assert_eq!(settings.base_url, "https://graph.facebook.com");
        assert!(serde_json::from_str::<TelegramSettings>(r#"{"basurl":"x"}"#).is_err());
    }
}
