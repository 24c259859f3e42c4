//! What each provider has, in one shape: what other crates ask instead of matching on names.

use domain::integration::{Flaw, Settings};
use domain::provider::Channel;
use domain::sender::{SendError, SenderProvider};
use domain::webhook::WebhookProvider;
use domain::{Credentials, Integration};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Everything the hub knows of one provider.
#[expect(missing_debug_implementations, reason = "it holds traits of functions and no data")]
pub struct Entry {
    /// Its webhooks, each its own function; the first is the one to paste at the provider.
    pub webhooks: &'static [&'static dyn WebhookProvider],
    /// How the hub sends through it, if it does.
    pub sending: Option<Sending>,
    /// The names its credentials have.
    pub credentials: &'static [&'static str],
    /// The credential the hub generates if none is given: one that only it and the provider
    /// need to know. It is shown once, in the answer that makes the integration.
    pub made_up: Option<&'static str>,
    /// The credential that may stand in a webhook's path, to find the integration by.
    pub in_path: Option<&'static str>,
    /// Whether the operator's own app is called at an address without an integration's id.
    pub one_address: bool,
    /// Whether the provider itself says whose an account is: only then can a tenant prove that
    /// one is theirs. A server of the tenant's own proves nothing.
    pub proves_accounts: bool,
    /// Whether the account is connected to the hub as soon as its integration is made, and not
    /// only when somebody asks for it.
    pub connects: bool,
    /// Whether an address is one of the provider's own, where that has several: the operator
    /// alone may say that a provider is elsewhere.
    pub is_at: fn(&str) -> bool,
    /// Reads the settings somebody gave, and completes them with defaults.
    pub settings: fn(&Map<String, Value>) -> Result<Settings, Flaw>,
    /// The account as the provider names it in webhooks; `None` if the integration takes
    /// whatever its own secret signs.
    pub account: fn(Maker, &Settings, &Credentials) -> Result<Option<String>, Flaw>,
    /// Checks the value of a credential of that name.
    pub check: fn(&str, &str) -> Result<(), Flaw>,
    /// The settings that only say how the account is used. Every other one says which account,
    /// number, service, instance or host is, or what is done there: where the operator gave the
    /// credentials, a tenant does not change it.
    pub harmless: &'static [&'static str],
    /// The credentials that only prove what comes in: nothing is sent with them. A tenant who
    /// gives all others may leave these out.
    pub proving: &'static [&'static str],
    /// The channel of each setting that names a sender, where the provider has several.
    pub senders: &'static [(&'static str, Channel)],
}

/// The settings of [`Entry::harmless`] that all who send have.
pub const HOW_TO_SEND: &[&str] = &["delivery", "messages_per_second"];

/// Who makes an integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The operator, for the hub itself.
    Hub,
    /// The operator for a tenant, or a tenant who is believed as the operator is.
    Operator,
    /// A tenant, who may say nothing that could bring them what is another's.
    Tenant,
}

/// How the hub sends through a provider.
#[expect(missing_debug_implementations, reason = "it holds traits of functions and no data")]
pub struct Sending {
    /// The sender.
    pub provider: &'static dyn SenderProvider,
    /// A person's address in the one form the provider uses in its webhooks.
    pub address: fn(&str) -> Result<String, SendError>,
    /// The credentials it sends with, and values that stand in for them where nothing is sent.
    pub stand_in: &'static [(&'static str, &'static str)],
    /// Whether the channel's service window binds it. An unofficial carrier knows none.
    pub windowed: bool,
}

impl Entry {
    /// A provider whose webhooks are taken and through whom nothing is sent. Its settings are
    /// those of [`Plain`].
    #[must_use]
    pub const fn taking(
        webhooks: &'static [&'static dyn WebhookProvider],
        credentials: &'static [&'static str],
    ) -> Self {
        Self {
            webhooks,
            sending: None,
            credentials,
            made_up: None,
            in_path: None,
            one_address: true,
            proves_accounts: false,
            connects: false,
            is_at: |_| false,
            settings: own::<Plain>,
            account: account_setting,
            check: |_, _| Ok(()),
            harmless: HOW_TO_SEND,
            proving: &[],
            senders: &[],
        }
    }

    /// Whether a setting of that name says more than how the account is used.
    #[must_use]
    pub fn leads(&self, setting: &str) -> bool {
        !self.harmless.contains(&setting)
    }
}

/// Settings of a provider that needs no others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plain {
    /// The account as the provider names it in its webhooks; its README says what that is.
    /// Without one, the integration takes whatever its own secret signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// Reads settings as `T`, and keeps them with their defaults.
///
/// # Errors
/// [`Flaw`], naming the field.
pub fn own<T: DeserializeOwned + Serialize>(given: &Map<String, Value>) -> Result<Settings, Flaw> {
    let read: T = read(given)?;
    match serde_json::to_value(read) {
        Ok(Value::Object(settings)) => Ok(Settings::Own(settings)),
        _ => Err(Flaw::new("settings", "have no JSON form")),
    }
}

/// Reads settings as `T`.
///
/// # Errors
/// [`Flaw`], naming the field.
pub fn read<T: DeserializeOwned>(given: &Map<String, Value>) -> Result<T, Flaw> {
    serde_path_to_error::deserialize(given).map_err(|error| {
        let flaw = explain(&error);
        Flaw { field: format!("settings.{}", flaw.field), ..flaw }
    })
}

/// The settings of an integration as its provider's own `T`; `None` if they are another's.
#[must_use]
pub fn settings_of<T: DeserializeOwned>(integration: &Integration) -> Option<T> {
    match &integration.settings {
        Settings::Own(settings) => T::deserialize(settings).ok(),
        _ => None,
    }
}

/// The setting `account`.
///
/// # Errors
/// [`Flaw`] if it is there and empty.
pub fn account_setting(
    _: Maker,
    settings: &Settings,
    _: &Credentials,
) -> Result<Option<String>, Flaw> {
    let Settings::Own(settings) = settings else { return Ok(None) };
    match settings.get("account").and_then(Value::as_str) {
        Some("") => Err(Flaw::new("settings.account", "must not be empty: leave it out")),
        account => Ok(account.map(ToOwned::to_owned)),
    }
}

/// Which field does not fit, and what would: never the value.
#[must_use]
pub fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> Flaw {
    let path = error.path().to_string();
    let reason = error.inner().to_string();
    // "missing field `x`" and "unknown field `x`" name a field below the path.
    let named = reason.split('`').nth(1).filter(|_| reason.contains("field `"));
    let field = match (path.as_str(), named) {
        (".", Some(named)) => named.to_owned(),
        (path, Some(named)) if !path.ends_with(named) => format!("{path}.{named}"),
        (path, _) => path.to_owned(),
    };
    // The place in the document is of no use to a caller; the value could be personal.
    let reason = reason.split(" at line ").next().unwrap_or_default();
    let reason = match reason.split_once("invalid type: ") {
        Some((_, rest)) => {
            let expected = rest.split_once("expected ").map_or("another type", |(_, e)| e);
            format!("expected {expected}")
        }
        None => reason.to_owned(),
    };
    Flaw { field, reason }
}
