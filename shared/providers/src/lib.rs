//! One folder a provider, the same files in each. No I/O, no clock, no AWS, no HTTP client:
//! a provider proves and reads webhooks, builds requests and reads answers.

mod address;
mod choices;
pub mod entry;
pub mod example;
pub mod form;
pub mod http;
mod jwt;
mod meta;
pub mod raw;
pub mod signature;
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
pub mod twitter;
pub mod whatsapp;

pub use entry::Entry;

use domain::provider::Channel;
use domain::sender::{Outgoing, SendError, SenderProvider};
use domain::webhook::WebhookProvider;
use domain::{Credentials, Integration, Provider};

macro_rules! entries {
    ($($(#[$doc:meta])* $variant:ident $name:ident $channels:expr,)*) => {
        /// What `provider` has.
        #[must_use]
        pub const fn entry(provider: Provider) -> &'static Entry {
            match provider {
                $(Provider::$variant => &$name::ENTRY,)*
            }
        }
    };
}

domain::for_each_provider!(entries);

/// The first webhook of `provider`.
///
/// Every provider has one: a test of this crate sees to it.
#[must_use]
pub fn webhook(provider: Provider) -> &'static dyn WebhookProvider {
    let [webhook, ..] = entry(provider).webhooks else { return &whatsapp::WEBHOOK };
    *webhook
}

/// Every webhook of every provider.
pub fn webhooks() -> impl Iterator<Item = &'static dyn WebhookProvider> {
    Provider::ALL.iter().flat_map(|provider| entry(*provider).webhooks.iter().copied())
}

/// The sending side of `provider`, if the hub sends through it.
#[must_use]
pub fn sender(provider: Provider) -> Option<&'static dyn SenderProvider> {
    entry(provider).sending.as_ref().map(|sending| sending.provider)
}

/// A person's address in the one form `provider` uses in its webhooks, so that a message to
/// somebody and one from them belong to the same conversation.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`, or if the hub does not send through it.
pub fn address(provider: Provider, to: &str) -> Result<String, SendError> {
    match &entry(provider).sending {
        Some(sending) => (sending.address)(to),
        None => Err(cannot_send()),
    }
}

/// A telephone number as digits with the country's code, however it is written; `None` if it is
/// none.
#[must_use]
pub fn number(text: &str) -> Option<String> {
    address::telephone(text).ok()
}

/// Whether what is sent on `channel` through `provider` is bound by the channel's service
/// window.
#[must_use]
pub fn is_windowed(provider: Provider, channel: Channel) -> bool {
    let sending = entry(provider).sending.as_ref();
    sending.is_some_and(|sending| sending.windowed) && channel.service_window().is_some()
}

/// Whether the integration's provider could take `message`: asked before a caller is
/// promised anything. Needs no credentials.
///
/// # Errors
/// [`SendError::Invalid`], naming the field.
pub fn check(integration: &Integration, message: &Outgoing<'_>) -> Result<(), SendError> {
    let sending = entry(integration.provider).sending.as_ref().ok_or_else(cannot_send)?;
    let stand_in = sending.stand_in.iter();
    let credentials =
        Credentials::new(stand_in.map(|(name, value)| ((*name).to_owned(), vec![(*value).into()])));
    sending.provider.sender(integration, &credentials)?.request(message).map(|_| ())
}

/// The hub only takes this provider's webhooks.
#[must_use]
pub fn cannot_send() -> SendError {
    http::invalid("integration", "the hub does not send through this provider")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_provider_has_its_sides_under_its_own_name() {
        for provider in Provider::ALL {
            let entry = entry(*provider);
            assert!(!entry.webhooks.is_empty(), "{provider}");
            assert!(entry.webhooks.iter().all(|webhook| webhook.provider() == *provider));
            assert_eq!(entry.sending.is_some(), !provider.channels().is_empty(), "{provider}");
            if let Some(sender) = sender(*provider) {
                assert_eq!(sender.provider(), *provider);
            }
        }
    }

    #[test]
    fn every_webhook_has_a_name_and_a_path_of_its_own() {
        let names: BTreeSet<_> = webhooks().map(WebhookProvider::name).collect();
        let paths: BTreeSet<_> = webhooks().map(WebhookProvider::path).collect();
        assert_eq!((names.len(), paths.len()), (webhooks().count(), webhooks().count()));
    }

    #[test]
    fn what_an_entry_says_of_settings_and_credentials_there_is() {
        for provider in Provider::ALL {
            let entry = entry(*provider);
            let mut given = (example::of(*provider).settings)();
            given.insert("no such setting".to_owned(), true.into());
            let flaw = (entry.settings)(&given).unwrap_err();
            let known = |name: &&str| flaw.reason.contains(&format!("`{name}`"));
            let senders = entry.senders.iter().map(|(name, _)| name);
            let own = entry.harmless.iter().filter(|name| !entry::HOW_TO_SEND.contains(name));
            assert!(own.chain(senders).all(known), "{provider}: {}", flaw.reason);
            assert!(entry.proving.iter().all(|name| entry.credentials.contains(name)));
            assert!(entry.senders.iter().all(|(_, channel)| provider.carries(*channel)));
            assert!(!entry.harmless.iter().any(|name| name.contains("url") || name == &"account"));
        }
    }

    #[test]
    fn a_credential_belongs_to_one_provider() {
        let all = Provider::ALL.iter().flat_map(|provider| entry(*provider).credentials);
        let all: Vec<_> = all.collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
