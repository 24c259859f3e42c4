#![doc = include_str!("README.md")]

pub mod example;
mod sender;
mod sending;
mod settings;
mod size;
mod template;
#[cfg(test)]
mod tests;
mod webhook;

use crate::ProviderSpec;
use crate::spec::{Capability, Sending};

pub use sender::Sender;
pub use webhook::Webhook;

/// Specification of a custom provider, whose protocol the integration's settings describe.
pub static SPEC: ProviderSpec = ProviderSpec {
    shared_webhook_url: false,
    sending: Some(Sending {
        provider: &SENDER,
        address: crate::address::phone_number,
        placeholder_credentials: &[(API_KEY, "-"), (API_SECRET, "-")],
        windowed: true,
        failure_scope: sender::failure_scope,
    }),
    missing: &[
        (
            Capability::FetchMedia,
            "media.provider_media_id",
            "cannot be fetched from a custom provider",
        ),
        (
            Capability::ReadAccount,
            "integration",
            "is custom: the hub cannot read the account of a custom provider",
        ),
        (
            Capability::RegisterWebhook,
            "integration",
            "is custom: register the webhook at the provider",
        ),
    ],
    settings: settings::read,
    check: settings::check_credential,
    verification_credentials: &[WEBHOOK_SECRET],
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[WEBHOOK_SECRET, API_KEY, API_SECRET])
};

/// Receives a custom provider's webhooks.
pub static WEBHOOK: Webhook = Webhook;
/// Sends as the integration's settings describe.
pub static SENDER: Sender = Sender;

/// Credential that authenticates webhooks, as the setting `scheme` says.
pub const WEBHOOK_SECRET: &str = "CUSTOM_WEBHOOK_SECRET";
/// Credential that authorizes sending, wherever `send` uses it.
pub const API_KEY: &str = "CUSTOM_API_KEY";
/// Second credential for sending, for providers that need two.
pub const API_SECRET: &str = "CUSTOM_API_SECRET";

/// Credentials that `send` may use: never the one that authenticates webhooks.
const SENDING_CREDENTIALS: &[&str] = &[API_KEY, API_SECRET];
/// Maximum length of an id, name, account or key that is stored unchanged, in bytes.
const MAX_NAME_BYTES: usize = 512;
