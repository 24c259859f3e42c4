#![doc = include_str!("README.md")]

pub mod example;
mod settings;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

use crate::ProviderSpec;

pub use webhook::Webhook;

/// Specification of Facebook.
pub static SPEC: ProviderSpec = ProviderSpec {
    account: settings::account,
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[APP_SECRET, VERIFY_TOKEN])
};

/// Receives Facebook's webhooks.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that signs webhooks.
pub const APP_SECRET: &str = "FACEBOOK_APP_SECRET";
/// Credential that verifies Meta's webhook handshake.
pub const VERIFY_TOKEN: &str = "FACEBOOK_VERIFY_TOKEN";
