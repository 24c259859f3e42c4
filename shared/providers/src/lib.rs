//! One folder a provider, the same files in each. No I/O, no clock, no AWS, no HTTP client:
//! a provider proves and reads webhooks, builds requests and reads answers.

pub mod http;
pub mod signature;
pub mod standard_webhooks;
pub mod telegram;
pub mod whatsapp;

use domain::sender::{Outgoing, SendError, SenderProvider};
use domain::webhook::WebhookProvider;
use domain::{Credentials, Integration, Provider};

/// The webhook side of `provider`.
#[must_use]
pub fn webhook(provider: Provider) -> &'static dyn WebhookProvider {
    match provider {
        Provider::Whatsapp => &whatsapp::WEBHOOK,
        Provider::Telegram => &telegram::WEBHOOK,
    }
}

/// The sending side of `provider`.
#[must_use]
pub fn sender(provider: Provider) -> &'static dyn SenderProvider {
    match provider {
        Provider::Whatsapp => &whatsapp::SENDER,
        Provider::Telegram => &telegram::SENDER,
    }
}

/// A person's address in the one form `provider` uses in its webhooks, so that a message to
/// somebody and one from them belong to the same conversation.
///
/// # Errors
/// [`SendError::Invalid`] for the field `to`.
pub fn address(provider: Provider, to: &str) -> Result<String, SendError> {
    match provider {
        Provider::Whatsapp => whatsapp::address(to),
        Provider::Telegram => telegram::address(to),
    }
}

/// Whether the integration's provider could take `message`: asked before a caller is
/// promised anything. Needs no credentials.
///
/// # Errors
/// [`SendError::Invalid`], naming the field.
pub fn check(integration: &Integration, message: &Outgoing<'_>) -> Result<(), SendError> {
    let stand_in = match integration.provider {
        Provider::Whatsapp => (whatsapp::ACCESS_TOKEN, "-"),
        Provider::Telegram => (telegram::BOT_TOKEN, "0:-"),
    };
    let credentials = Credentials::new([(stand_in.0.to_owned(), vec![stand_in.1.into()])]);
    let sender = sender(integration.provider).sender(integration, &credentials)?;
    sender.request(message).map(|_| ())
}

/// The names a provider's credentials have.
#[must_use]
pub const fn credential_names(provider: Provider) -> &'static [&'static str] {
    match provider {
        Provider::Whatsapp => {
            &[whatsapp::ACCESS_TOKEN, whatsapp::APP_SECRET, whatsapp::VERIFY_TOKEN]
        }
        Provider::Telegram => &[telegram::BOT_TOKEN, telegram::WEBHOOK_SECRET],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_has_both_sides_under_its_own_name() {
        for provider in Provider::ALL {
            assert_eq!(webhook(provider).provider(), provider);
            assert_eq!(sender(provider).provider(), provider);
        }
    }
}
