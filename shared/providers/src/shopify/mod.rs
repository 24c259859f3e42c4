#![doc = include_str!("README.md")]

pub mod callback;
pub mod example;
mod settings;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

use crate::ProviderSpec;

pub use webhook::Webhook;

/// Specification of Shopify.
pub static SPEC: ProviderSpec = ProviderSpec {
    account: settings::account,
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[API_SECRET])
};

/// Receives Shopify's webhooks.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that signs webhooks: the app's client secret.
pub const API_SECRET: &str = "SHOPIFY_API_SECRET";
