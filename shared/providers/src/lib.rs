//! Providers: one folder for each, with the same files in each.
//!
//! A provider verifies and parses webhooks, builds requests and reads responses. It does no I/O,
//! reads no clock and uses neither AWS nor an HTTP client.

mod address;
mod choices;
pub mod example;
pub mod form;
pub mod http;
mod jwt;
mod meta;
pub mod raw;
pub mod signature;
pub mod spec;
pub mod standard_webhooks;

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

use domain::provider::Channel;
use domain::sender::{Outgoing, SendError, SenderProvider};
use domain::webhook::WebhookProvider;
use domain::{Credentials, Integration, Provider};

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

/// Returns the first webhook of `provider`.
///
/// Every provider has one; a test of this crate checks it.
#[must_use]
pub fn webhook(provider: Provider) -> &'static dyn WebhookProvider {
    let [webhook, ..] = spec(provider).webhooks else { return &whatsapp_cloud::WEBHOOK };
    *webhook
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

/// Returns a phone number, in any notation, as digits with the country code; `None` if `text` is
/// not a phone number.
#[must_use]
pub fn number(text: &str) -> Option<String> {
    address::phone_number(text).ok()
}

/// Whether messages on `channel` through `provider` are subject to the channel's service window.
#[must_use]
pub fn is_windowed(provider: Provider, channel: Channel) -> bool {
    let sending = spec(provider).sending.as_ref();
    sending.is_some_and(|sending| sending.windowed) && channel.service_window().is_some()
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
    fn every_provider_has_webhooks_and_a_sender_under_its_own_name() {
        for provider in Provider::ALL {
            let spec = spec(*provider);
            assert!(!spec.webhooks.is_empty(), "{provider}");
            assert!(spec.webhooks.iter().all(|webhook| webhook.provider() == *provider));
            assert_eq!(spec.sending.is_some(), !provider.channels().is_empty(), "{provider}");
            if let Some(sender) = sender(*provider) {
                assert_eq!(sender.provider(), *provider);
            }
        }
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
