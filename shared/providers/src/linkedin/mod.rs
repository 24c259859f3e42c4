#![doc = include_str!("README.md")]

pub mod example;
mod settings;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

use crate::ProviderSpec;
use crate::spec::with_defaults;

pub use webhook::Webhook;

/// Specification of LinkedIn.
pub static SPEC: ProviderSpec = ProviderSpec {
    settings: with_defaults::<settings::Settings>,
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[CLIENT_SECRET])
};

/// Receives LinkedIn's webhooks.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that signs webhooks and answers challenges.
pub const CLIENT_SECRET: &str = "LINKEDIN_CLIENT_SECRET";
