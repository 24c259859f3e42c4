#![doc = include_str!("README.md")]

pub mod example;
mod settings;
#[cfg(test)]
mod tests;
mod webhook;

use crate::Entry;

pub use webhook::Webhook;

/// What the hub knows of whoever speaks a scheme that the integration declares.
pub static ENTRY: Entry = Entry {
    one_address: false,
    settings: settings::read,
    ..Entry::taking(&[&WEBHOOK], &[WEBHOOK_SECRET])
};

/// Takes such webhooks in.
pub static WEBHOOK: Webhook = Webhook;

/// Name of the credential that proves webhooks, in whichever way the scheme says.
pub const WEBHOOK_SECRET: &str = "CUSTOM_WEBHOOK_SECRET";
