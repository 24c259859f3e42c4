#![doc = include_str!("README.md")]

pub mod example;
mod settings;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

use crate::Entry;

pub use webhook::Webhook;

/// What the hub knows of Facebook.
pub static ENTRY: Entry =
    Entry { account: settings::account, ..Entry::taking(&[&WEBHOOK], &[APP_SECRET, VERIFY_TOKEN]) };

/// Takes Facebook's webhooks in.
pub static WEBHOOK: Webhook = Webhook;

/// Name of the credential that signs webhooks.
pub const APP_SECRET: &str = "FACEBOOK_APP_SECRET";
/// Name of the credential that proves the handshake.
pub const VERIFY_TOKEN: &str = "FACEBOOK_VERIFY_TOKEN";
