//! Providers: one folder for each, with the same files in each.
//!
//! A provider verifies and parses webhooks, builds requests and reads responses. It does no I/O,
//! reads no clock and uses neither AWS nor an HTTP client.

mod address;
pub mod authorization;
mod choices;
pub mod content;
pub mod example;
pub mod form;
pub mod http;
pub mod jwt;
mod meta;
pub mod raw;
pub mod settings;
pub mod signature;
pub mod sms;
pub mod spec;
pub mod standard_webhooks;
pub mod time;
#[cfg(test)]
mod vectors;

pub mod custom;
pub mod evolution;
pub mod facebook;
pub mod ghl;
pub mod infobip;
pub mod linkedin;
pub mod mailgun;
pub mod n8n;
pub mod resend;
pub mod sendgrid;
pub mod ses;
pub mod shopify;
pub mod stripe;
pub mod telegram;
pub mod tiktok;
pub mod twilio;
pub mod whatsapp_cloud;
pub mod x;

pub use spec::ProviderSpec;

use std::time::Duration;

use domain::provider::Channel;
use domain::sender::{
    AccountReader, MediaFetcher, Outgoing, ReadReceipts, RefusalScope, SendError, SenderProvider,
    WebhookRegistrar,
};
use domain::webhook::WebhookProvider;
use domain::{Credentials, Integration, Provider};

use crate::spec::{Capability, Factory};

macro_rules! entries {
    ($($(#[$doc:meta])* $variant:ident $name:ident $channels:expr,)*) => {
        /// Returns the entry of `provider`.
        #[must_use]
        pub const fn spec(provider: Provider) -> &'static ProviderSpec {
            match provider {
                $(Provider::$variant => &$name::SPEC,)*
            }
        }
    };
}

domain::for_each_provider!(entries);

/// Returns the first webhook of `provider`, the one to register there; `None` if it sends none.
#[must_use]
pub fn webhook(provider: Provider) -> Option<&'static dyn WebhookProvider> {
    spec(provider).webhooks.first().copied()
}

/// Returns every webhook of every provider.
pub fn webhooks() -> impl Iterator<Item = &'static dyn WebhookProvider> {
    Provider::ALL.iter().flat_map(|provider| spec(*provider).webhooks.iter().copied())
}

/// Returns the sender of `provider`, if the hub sends through it.
#[must_use]
pub fn sender(provider: Provider) -> Option<&'static dyn SenderProvider> {
    spec(provider).sending.as_ref().map(|sending| sending.provider)
}

/// Returns what downloads the files of the integration's received messages.
///
/// # Errors
/// [`SendError::Invalid`] if the provider stores no files, or a setting or a credential is missing.
pub fn media_fetcher(
    integration: &Integration,
    credentials: &Credentials,
) -> Result<Box<dyn MediaFetcher>, SendError> {
    let factory = spec(integration.provider).media_fetcher;
    capability(factory, Capability::FetchMedia, integration, credentials)
}

/// Returns what reads the integration's account at its provider.
///
/// # Errors
/// [`SendError::Invalid`] if the provider does not describe accounts, or a setting or a credential
/// is missing.
pub fn account_reader(
    integration: &Integration,
    credentials: &Credentials,
) -> Result<Box<dyn AccountReader>, SendError> {
    let factory = spec(integration.provider).account_reader;
    capability(factory, Capability::ReadAccount, integration, credentials)
}

/// Returns what registers the hub's webhook for the integration.
///
/// # Errors
/// [`SendError::Invalid`] if webhooks are registered by hand at the provider, or a setting or a
/// credential is missing.
pub fn webhook_registrar(
    integration: &Integration,
    credentials: &Credentials,
) -> Result<Box<dyn WebhookRegistrar>, SendError> {
    let factory = spec(integration.provider).webhook_registrar;
    capability(factory, Capability::RegisterWebhook, integration, credentials)
}

/// Returns what marks the integration's received messages as read; `None` if its provider has no
/// read receipts.
///
/// # Errors
/// [`SendError::Invalid`] if a setting or a credential is missing.
pub fn read_receipts(
    integration: &Integration,
    credentials: &Credentials,
) -> Result<Option<Box<dyn ReadReceipts>>, SendError> {
    let factory = spec(integration.provider).read_receipts;
    factory.map(|build| build(integration, credentials)).transpose()
}

fn capability<T: ?Sized>(
    factory: Option<Factory<T>>,
    capability: Capability,
    integration: &Integration,
    credentials: &Credentials,
) -> Result<Box<T>, SendError> {
    if let Some(build) = factory {
        return build(integration, credentials);
    }
    let spec = spec(integration.provider);
    let sending = spec.sending.as_ref().ok_or_else(cannot_send)?;
    // An integration that cannot be used at all has a more basic problem: name it first.
    sending.provider.sender(integration, credentials)?;
    Err(spec.missing(capability))
}

/// Returns a customer's address in the one format that `provider` uses in its webhooks, so that
/// messages to and from a customer belong to the same conversation.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`, or if the hub does not send through it.
pub fn address(provider: Provider, to: &str) -> Result<String, SendError> {
    match &spec(provider).sending {
        Some(sending) => (sending.address)(to),
        None => Err(cannot_send()),
    }
}

/// Returns the service window on `channel` through `provider`: how long after a customer's last
/// message any content may be sent; `None` if always.
#[must_use]
pub fn service_window(provider: Provider, channel: Channel) -> Option<Duration> {
    let sending = spec(provider).sending.as_ref();
    let has_window = sending.is_some_and(|sending| sending.windowed);
    (has_window && channel == Channel::Whatsapp).then_some(whatsapp_cloud::SERVICE_WINDOW)
}

/// Returns the scope of a failure that the integration's provider reported with this error code
/// after it had accepted the message: whether another provider might deliver it.
#[must_use]
pub fn failure_scope(integration: &Integration, code: &str) -> RefusalScope {
    let sending = spec(integration.provider).sending.as_ref();
    sending.map_or(RefusalScope::Message, |sending| (sending.failure_scope)(integration, code))
}

/// Checks that the integration's provider could accept `message`, before the API accepts it. Needs
/// no credentials.
///
/// # Errors
/// [`SendError::Invalid`], naming the field.
pub fn check(integration: &Integration, message: &Outgoing<'_>) -> Result<(), SendError> {
    let sending = spec(integration.provider).sending.as_ref().ok_or_else(cannot_send)?;
    let placeholders = sending.placeholder_credentials.iter();
    let credentials = Credentials::new(
        placeholders.map(|(name, value)| ((*name).to_owned(), vec![(*value).into()])),
    );
    sending.provider.sender(integration, &credentials)?.request(message).map(|_| ())
}

/// Returns the error for a provider from which the hub only receives webhooks.
#[must_use]
pub fn cannot_send() -> SendError {
    http::invalid("integration", "the hub does not send through this provider")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn webhooks_and_senders_have_the_name_of_their_own_provider() {
        for provider in Provider::ALL {
            let spec = spec(*provider);
            // A provider without webhooks must be of use in another way.
            assert!(!spec.webhooks.is_empty() || spec.sending.is_some(), "{provider}");
            assert_eq!(webhook(*provider).is_some(), !spec.webhooks.is_empty(), "{provider}");
            assert!(spec.webhooks.iter().all(|webhook| webhook.provider() == *provider));
            assert_eq!(spec.sending.is_some(), !provider.channels().is_empty(), "{provider}");
            if let Some(sender) = sender(*provider) {
                assert_eq!(sender.provider(), *provider);
            }
        }
    }

    #[test]
    fn a_provider_explains_each_capability_that_it_lacks() {
        for provider in Provider::ALL {
            let spec = spec(*provider);
            let id = domain::IntegrationId::derived(&["capabilities"]);
            let tenant = domain::TenantId::platform();
            let sends = example::sending_integration(*provider, id, tenant.clone()).unwrap();
            let integration =
                sends.unwrap_or_else(|| example::integration(*provider, id, tenant).unwrap());
            let credentials = (example::of(*provider).credentials)();
            for (capability, has, built) in [
                (
                    Capability::FetchMedia,
                    spec.media_fetcher.is_some(),
                    media_fetcher(&integration, &credentials).err(),
                ),
                (
                    Capability::ReadAccount,
                    spec.account_reader.is_some(),
                    account_reader(&integration, &credentials).err(),
                ),
                (
                    Capability::RegisterWebhook,
                    spec.webhook_registrar.is_some(),
                    webhook_registrar(&integration, &credentials).err(),
                ),
            ] {
                let expected = match (has, &spec.sending) {
                    (true, _) => None,
                    (false, None) => Some(cannot_send()),
                    (false, Some(_)) => Some(spec.missing(capability)),
                };
                let [built, expected] =
                    [built, expected].map(|error| error.map(|error| error.to_string()));
                assert_eq!(built, expected, "{provider}: {capability:?}");
                let explained = spec.missing.iter().any(|(lacked, ..)| *lacked == capability);
                assert!(!(has && explained), "{provider} has {capability:?}");
            }
        }
    }

    #[test]
    fn the_code_of_a_failed_receipt_has_the_scope_of_its_cause() {
        use RefusalScope::{Account, Message, Route};
        for (provider, codes) in [
            (
                Provider::WhatsappCloud,
                &[("131042", Account), ("131047", Route), ("131026", Message)][..],
            ),
            (Provider::Twilio, &[("63007", Account), ("63016", Route), ("63003", Message)]),
            (
                Provider::Infobip,
                &[
                    ("EC_ACCOUNT_ISSUE", Account),
                    ("EC_TEMPORARY_GATEWAY_ERROR", Account),
                    ("EC_NO_SESSION", Route),
                    ("EC_UNKNOWN_USER", Message),
                ],
            ),
            (Provider::Evolution, &[("ERROR", Message)]),
            (Provider::Custom, &[]),
        ] {
            let id = domain::IntegrationId::derived(&["scopes"]);
            let tenant = domain::TenantId::platform();
            let integration = example::sending_integration(provider, id, tenant).unwrap().unwrap();
            // Nobody knows whether another provider would deliver it.
            for (code, scope) in codes.iter().chain(&[("no-such-code", Message)]) {
                assert_eq!(failure_scope(&integration, code), *scope, "{provider}: {code}");
            }
        }
        let id = domain::IntegrationId::derived(&["scopes"]);
        let tenant = domain::TenantId::platform();
        let mut custom =
            example::sending_integration(Provider::Custom, id, tenant).unwrap().unwrap();
        custom.settings.0["send"]["answer"]["errors"]["E7"] =
            serde_json::json!({ "fault": "permanent", "scope": "route" });
        assert_eq!(failure_scope(&custom, "E7"), Route);
    }

    #[test]
    fn every_webhook_has_a_unique_name_and_path() {
        let names: BTreeSet<_> = webhooks().map(WebhookProvider::name).collect();
        let paths: BTreeSet<_> = webhooks().map(WebhookProvider::path).collect();
        assert_eq!((names.len(), paths.len()), (webhooks().count(), webhooks().count()));
    }

    #[test]
    fn the_settings_and_credentials_that_an_entry_names_exist() {
        for provider in Provider::ALL {
            let spec = spec(*provider);
            let mut given = (example::of(*provider).settings)();
            given.insert("no such setting".to_owned(), true.into());
            let error = (spec.settings)(&given).unwrap_err();
            let known = |name: &&str| error.reason.contains(&format!("`{name}`"));
            let senders = spec.senders.iter().map(|(name, _)| name);
            let own =
                spec.usage_settings.iter().filter(|name| !spec::SENDING_SETTINGS.contains(name));
            assert!(own.chain(senders).all(known), "{provider}: {}", error.reason);
            assert!(
                spec.verification_credentials.iter().all(|name| spec.credentials.contains(name))
            );
            assert!(spec.senders.iter().all(|(_, channel)| provider.supports(*channel)));
            assert!(
                !spec.usage_settings.iter().any(|name| name.contains("url") || name == &"account")
            );
        }
    }

    #[test]
    fn a_credential_belongs_to_one_provider() {
        let all = Provider::ALL.iter().flat_map(|provider| spec(*provider).credentials);
        let all: Vec<_> = all.collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
