//! Provider entries: the properties of each provider in one form, so that other crates need not
//! match on provider names.

use domain::integration::{FieldError, Settings};
use domain::provider::Channel;
use domain::sender::{
    AccountReader, MediaFetcher, ReadReceipts, RefusalScope, SendError, SenderProvider,
    WebhookRegistrar,
};
use domain::webhook::WebhookProvider;
use domain::{Credentials, Integration, Provider};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::invalid;

/// The properties of a provider.
#[expect(missing_debug_implementations, reason = "it holds traits of functions and no data")]
pub struct ProviderSpec {
    /// Its webhooks, each with its own function; the first is the one to register at the provider.
    /// Empty if it sends none.
    pub webhooks: &'static [&'static dyn WebhookProvider],
    /// How the hub sends through it; `None` if it only receives.
    pub sending: Option<Sending>,
    /// Downloads the files of received messages; `None` if the provider stores none.
    pub media_fetcher: Option<Factory<dyn MediaFetcher>>,
    /// Reads the account; `None` if the provider does not describe it.
    pub account_reader: Option<Factory<dyn AccountReader>>,
    /// Registers the hub's webhook; `None` if that is done by hand at the provider.
    pub webhook_registrar: Option<Factory<dyn WebhookRegistrar>>,
    /// Marks received messages as read; `None` if the provider has no read receipts.
    pub read_receipts: Option<Factory<dyn ReadReceipts>>,
    /// The field and the reason of the error for a capability that the provider lacks, where it can
    /// say more than [`Capability::missing`], such as where to register the webhook.
    pub missing: &'static [(Capability, &'static str, &'static str)],
    /// Names of its credentials.
    pub credentials: &'static [&'static str],
    /// The credential that the hub generates if none is given: one that only the hub and the
    /// provider need to know. It is returned once, in the response that creates the integration.
    pub generated_secret: Option<&'static str>,
    /// The credential that may be part of a webhook's path and identifies the integration.
    pub path_secret: Option<&'static str>,
    /// Whether webhooks of the operator's own app use a URL without an integration id.
    pub shared_webhook_url: bool,
    /// Whether the provider reports which account a credential belongs to: only then can a tenant
    /// prove that an account is its own. A server that the tenant runs itself proves nothing.
    pub verifies_account_ownership: bool,
    /// Whether the account is connected to the hub when its integration is created, instead of by a
    /// separate request.
    pub connects_on_create: bool,
    /// Whether a base URL is one of the provider's own. Only the operator may set another.
    pub is_own_base_url: fn(&str) -> bool,
    /// Parses the settings of a request and adds defaults.
    pub settings: fn(&Map<String, Value>) -> Result<Settings, FieldError>,
    /// Returns the account id that the provider uses in webhooks; `None` if the integration
    /// receives every webhook that its own secret signs.
    pub account: fn(RequestedBy, &Settings, &Credentials) -> Result<Option<String>, FieldError>,
    /// Validates the value of a credential with this name.
    pub check: fn(&str, &str) -> Result<(), FieldError>,
    /// The settings that only affect how the account is used. Every other setting selects an
    /// account, a number, a service, an instance or a host, or what is done there: a tenant cannot
    /// change it on an integration whose credentials the operator gave.
    pub usage_settings: &'static [&'static str],
    /// The credentials that only verify webhooks: nothing is sent with them. A tenant that gives
    /// all others may omit these.
    pub verification_credentials: &'static [&'static str],
    /// The channel of each setting that names a sender, where the provider has several channels.
    pub senders: &'static [(&'static str, Channel)],
}

/// Builds the implementation of a capability for one integration.
///
/// # Errors
/// [`SendError::Invalid`] if a setting or a credential is missing.
pub type Factory<T> = fn(&Integration, &Credentials) -> Result<Box<T>, SendError>;

/// A provider's API, with the settings and credentials of one integration.
pub trait ProviderApi: Sized + 'static {
    /// Creates the API of `integration`.
    ///
    /// # Errors
    /// [`SendError::Invalid`] if a setting or a credential is missing.
    fn new(integration: &Integration, credentials: &Credentials) -> Result<Self, SendError>;
}

macro_rules! factories {
    ($($(#[$doc:meta])* $name:ident $capability:ident,)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// As [`ProviderApi::new`].
            pub fn $name<T: ProviderApi + $capability>(
                integration: &Integration,
                credentials: &Credentials,
            ) -> Result<Box<dyn $capability>, SendError> {
                Ok(Box::new(T::new(integration, credentials)?))
            }
        )*
    };
}

factories! {
    /// The factory in [`ProviderSpec::media_fetcher`] of a provider whose API is `T`.
    media_fetcher MediaFetcher,
    /// The factory in [`ProviderSpec::account_reader`] of a provider whose API is `T`.
    account_reader AccountReader,
    /// The factory in [`ProviderSpec::webhook_registrar`] of a provider whose API is `T`.
    webhook_registrar WebhookRegistrar,
    /// The factory in [`ProviderSpec::read_receipts`] of a provider whose API is `T`.
    read_receipts ReadReceipts,
}

/// A capability whose absence is an error to whoever asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// [`ProviderSpec::media_fetcher`]
    FetchMedia,
    /// [`ProviderSpec::account_reader`]
    ReadAccount,
    /// [`ProviderSpec::webhook_registrar`]
    RegisterWebhook,
}

impl Capability {
    /// Returns the error for a provider without the capability: field and reason.
    #[must_use]
    pub const fn missing(self) -> (&'static str, &'static str) {
        match self {
            Self::FetchMedia => {
                ("media.provider_media_id", "cannot be fetched: the provider stores no files")
            }
            Self::ReadAccount => ("integration", "has a provider that does not describe accounts"),
            Self::RegisterWebhook => (
                "integration",
                "cannot be registered by the hub: enter the webhook's URL at the provider",
            ),
        }
    }
}

/// The settings in [`ProviderSpec::usage_settings`] that every sending provider has.
pub const SENDING_SETTINGS: &[&str] = &["delivery", "messages_per_second"];

/// The party that requests an integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedBy {
    /// The operator, for the operator's own integration.
    Hub,
    /// The operator for a tenant, or a tenant that is trusted like the operator.
    Operator,
    /// A tenant, whose request must not give it access to another tenant's account.
    Tenant,
}

/// How the hub sends through a provider.
#[expect(missing_debug_implementations, reason = "it holds traits of functions and no data")]
pub struct Sending {
    /// The sender.
    pub provider: &'static dyn SenderProvider,
    /// Returns a customer's address in the one format that the provider uses in its webhooks.
    pub address: fn(&str) -> Result<String, SendError>,
    /// Its credentials for sending, with placeholder values for checks that send nothing.
    pub placeholder_credentials: &'static [(&'static str, &'static str)],
    /// Whether messages are subject to the channel's service window. Unofficial APIs do not
    /// enforce it.
    pub windowed: bool,
    /// Returns the scope of the error code in a receipt that reports a failure. A code that says
    /// nothing about the account or the route has the scope of the message.
    pub failure_scope: fn(&Integration, &str) -> RefusalScope,
}

impl ProviderSpec {
    /// Creates the entry of a provider from which the hub only receives webhooks. Its settings are
    /// those of [`AccountSettings`].
    #[must_use]
    pub const fn receive_only(
        webhooks: &'static [&'static dyn WebhookProvider],
        credentials: &'static [&'static str],
    ) -> Self {
        Self {
            webhooks,
            sending: None,
            media_fetcher: None,
            account_reader: None,
            webhook_registrar: None,
            read_receipts: None,
            missing: &[],
            credentials,
            generated_secret: None,
            path_secret: None,
            shared_webhook_url: true,
            verifies_account_ownership: false,
            connects_on_create: false,
            is_own_base_url: |_| false,
            settings: with_defaults::<AccountSettings>,
            account: account_setting,
            check: |_, _| Ok(()),
            usage_settings: SENDING_SETTINGS,
            verification_credentials: &[],
            senders: &[],
        }
    }

    /// Returns the error for a capability that the provider lacks.
    #[must_use]
    pub fn missing(&self, capability: Capability) -> SendError {
        let own = self.missing.iter().find(|(lacked, ..)| *lacked == capability);
        let (field, reason) =
            own.map_or_else(|| capability.missing(), |&(_, field, reason)| (field, reason));
        invalid(field, reason)
    }

    /// Whether the setting affects more than how the account is used.
    #[must_use]
    pub fn selects_target(&self, setting: &str) -> bool {
        !self.usage_settings.contains(&setting)
    }
}

/// Settings of a provider that has only an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSettings {
    /// The account id that the provider uses in its webhooks; the provider's README says what it
    /// is. Without one, the integration receives every webhook that its own secret signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// Parses settings as `T` and keeps them with their defaults.
///
/// # Errors
/// [`FieldError`], naming the field.
pub fn with_defaults<T: DeserializeOwned + Serialize>(
    given: &Map<String, Value>,
) -> Result<Settings, FieldError> {
    fields(&read::<T>(given)?).map(Settings)
}

/// Returns `settings` as they are stored, with the name of `provider`: see [`Settings::tagged`].
///
/// # Errors
/// [`FieldError`] if they are not an object.
pub(crate) fn tagged<T: Serialize>(
    provider: Provider,
    settings: &T,
) -> Result<Settings, FieldError> {
    fields(settings).map(|fields| Settings::tagged(provider, fields))
}

/// Returns settings by name.
///
/// # Errors
/// [`FieldError`] if they are not an object.
pub(crate) fn fields<T: Serialize>(settings: &T) -> Result<Map<String, Value>, FieldError> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(FieldError::new("settings", "cannot be stored as JSON")),
    }
}

/// Parses settings as `T`.
///
/// # Errors
/// [`FieldError`], naming the field.
pub fn read<T: DeserializeOwned>(given: &Map<String, Value>) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(given).map_err(|error| {
        let error = explain(&error);
        FieldError { field: format!("settings.{}", error.field), ..error }
    })
}

/// Returns the settings of an integration as its provider's own `T`; `None` if they are another
/// provider's.
#[must_use]
pub fn settings_of<T: DeserializeOwned>(integration: &Integration) -> Option<T> {
    integration.settings.read()
}

/// Returns the setting `account`.
///
/// # Errors
/// [`FieldError`] if it is present and empty.
pub fn account_setting(
    _: RequestedBy,
    settings: &Settings,
    _: &Credentials,
) -> Result<Option<String>, FieldError> {
    match settings.0.get("account").and_then(Value::as_str) {
        Some("") => Err(FieldError::new("settings.account", "must not be empty; omit it instead")),
        account => Ok(account.map(ToOwned::to_owned)),
    }
}

/// Explains which field is invalid and what would be valid, without its value.
#[must_use]
pub fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    let path = error.path().to_string();
    let reason = error.inner().to_string();
    // "missing field `x`" and "unknown field `x`" name a field below the path.
    let named = reason.split('`').nth(1).filter(|_| reason.contains("field `"));
    let field = match (path.as_str(), named) {
        (".", Some(named)) => named.to_owned(),
        (path, Some(named)) if !path.ends_with(named) => format!("{path}.{named}"),
        (path, _) => path.to_owned(),
    };
    // The position in the document does not help the caller; the value could be personal data.
    let reason = reason.split(" at line ").next().unwrap_or_default();
    FieldError { field, reason: plain(reason) }
}

/// Says in plain words what the deserializer says in Rust's.
///
/// The forms of its messages: <https://docs.rs/serde/latest/serde/de/trait.Error.html>.
fn plain(reason: &str) -> String {
    let choices = |text: &str| {
        let names = text.split('`').skip(1).step_by(2).map(|name| format!("`{name}`"));
        names.collect::<Vec<_>>().join(", ")
    };
    let expected = reason.split_once("expected ").map(|(_, expected)| expected);
    if reason.starts_with("missing field") {
        return "is required".to_owned();
    }
    if reason.starts_with("duplicate field") {
        return "is given twice".to_owned();
    }
    if reason.starts_with("unknown field") {
        let known = expected.map(choices).filter(|known| !known.is_empty());
        return known.map_or_else(
            || "is not a known field: omit it".to_owned(),
            |known| format!("is not a known field; known are: {known}"),
        );
    }
    if reason.starts_with("unknown variant") {
        return format!("must be one of: {}", expected.map(choices).unwrap_or_default());
    }
    if reason.starts_with("data did not match any variant") {
        return "has none of the formats that are accepted".to_owned();
    }
    if reason.starts_with("invalid type") || reason.starts_with("invalid value") {
        return format!("must be {}", kind(expected.unwrap_or_default()));
    }
    if reason.starts_with("invalid length") {
        return "has the wrong number of elements".to_owned();
    }
    // A message of a type's own.
    reason.to_owned()
}

/// Returns what JSON calls a type that the deserializer expects.
fn kind(expected: &str) -> String {
    let first = expected.split_whitespace().next().unwrap_or_default();
    let kind = match first {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0",
        "i8" | "i16" | "i32" | "i64" | "isize" | "integer" => "a whole number",
        "f32" | "f64" => "a number",
        "string" | "borrowed" | "str" => "a string",
        "bool" => "true or false",
        "sequence" => "an array",
        "map" | "struct" | "enum" | "internally" | "adjacently" | "variant" | "tuple" => {
            "an object"
        }
        "null" | "unit" => "null",
        _ => match expected {
            "a string" | "a borrowed string" | "a string or null" => "a string",
            "a boolean" => "true or false",
            "a sequence" => "an array",
            "a map" => "an object",
            other => return other.to_owned(),
        },
    };
    kind.to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors matter")]
    struct Example {
        name: String,
        #[serde(default)]
        count: u32,
        #[serde(default)]
        share: f64,
        #[serde(default)]
        is_on: bool,
        #[serde(default)]
        list: Vec<String>,
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        choice: Option<Choice>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {}

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        First,
        Second,
    }

    #[test]
    fn an_error_names_the_field_and_what_would_be_valid_in_plain_words() {
        let known = "is not a known field; known are: `name`, `count`, `share`, `is_on`, `list`, \
                     `inner`, `choice`";
        for (body, field, reason) in [
            (json!({}), "name", "is required"),
            (json!({ "name": 5 }), "name", "must be a string"),
            (json!({ "name": "x", "count": -1 }), "count", "must be a whole number of at least 0"),
            (json!({ "name": "x", "count": "1" }), "count", "must be a whole number of at least 0"),
            (json!({ "name": "x", "share": [] }), "share", "must be a number"),
            (json!({ "name": "x", "is_on": "yes" }), "is_on", "must be true or false"),
            (json!({ "name": "x", "list": {} }), "list", "must be an array"),
            (json!({ "name": "x", "list": [1] }), "list[0]", "must be a string"),
            (json!({ "name": "x", "inner": "secret" }), "inner", "must be an object"),
            (
                json!({ "name": "x", "inner": { "y": 1 } }),
                "inner.y",
                "is not a known field: omit it",
            ),
            (
                json!({ "name": "x", "choice": "secret" }),
                "choice",
                "must be one of: `first`, `second`",
            ),
            (json!({ "name": "x", "names": "secret" }), "names", known),
        ] {
            let error = serde_path_to_error::deserialize::<_, Example>(&body).unwrap_err();
            let error = explain(&error);
            assert_eq!((error.field.as_str(), error.reason.as_str()), (field, reason), "{body}");
            assert!(!error.reason.contains("secret"));
        }
    }
}
