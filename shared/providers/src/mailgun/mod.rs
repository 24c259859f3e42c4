#![doc = include_str!("README.md")]

pub mod example;
mod multipart;
mod webhook;
mod wire;

use crate::ProviderSpec;

pub use webhook::Webhook;

/// Specification of Mailgun.
pub static SPEC: ProviderSpec = ProviderSpec {
    verification_credentials: &[WEBHOOK_SIGNING_KEY],
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[API_KEY, WEBHOOK_SIGNING_KEY])
};

/// Receives Mailgun's webhooks.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that authorizes sending.
pub const API_KEY: &str = "MAILGUN_API_KEY";
/// Credential that verifies webhooks.
pub const WEBHOOK_SIGNING_KEY: &str = "MAILGUN_WEBHOOK_SIGNING_KEY";
