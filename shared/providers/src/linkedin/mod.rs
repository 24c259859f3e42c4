#![doc = include_str!("README.md")]

pub mod example;
mod settings;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

use crate::Entry;
use crate::entry::own;

pub use webhook::Webhook;

/// Specification of LinkedIn.
pub static ENTRY: Entry =
    Entry { settings: own::<settings::Settings>, ..Entry::taking(&[&WEBHOOK], &[CLIENT_SECRET]) };

/// Receives LinkedIn's webhooks.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that signs webhooks and answers challenges.
pub const CLIENT_SECRET: &str = "LINKEDIN_CLIENT_SECRET";
