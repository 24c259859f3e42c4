#![doc = include_str!("README.md")]

pub mod example;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

use crate::ProviderSpec;

pub use webhook::Webhook;

/// Specification of X.
pub static SPEC: ProviderSpec = ProviderSpec::receive_only(&[&WEBHOOK], &[CONSUMER_SECRET]);

/// Receives X's webhooks.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that signs webhooks and answers challenges: the app's API key secret.
pub const CONSUMER_SECRET: &str = "TWITTER_CONSUMER_SECRET";
