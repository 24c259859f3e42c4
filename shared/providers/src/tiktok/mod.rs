#![doc = include_str!("README.md")]

pub mod example;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

use crate::ProviderSpec;

pub use webhook::Webhook;

/// Specification of TikTok.
pub static SPEC: ProviderSpec = ProviderSpec::receive_only(&[&WEBHOOK], &[CLIENT_SECRET]);

/// Receives TikTok's webhooks.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that signs webhooks.
pub const CLIENT_SECRET: &str = "TIKTOK_CLIENT_SECRET";
