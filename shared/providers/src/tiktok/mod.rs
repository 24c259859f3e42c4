#![doc = include_str!("README.md")]

pub mod example;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

use crate::Entry;

pub use webhook::Webhook;

/// What the hub knows of TikTok.
pub static ENTRY: Entry = Entry::taking(&[&WEBHOOK], &[CLIENT_SECRET]);

/// Takes TikTok's webhooks in.
pub static WEBHOOK: Webhook = Webhook;

/// Name of the credential that signs webhooks.
pub const CLIENT_SECRET: &str = "TIKTOK_CLIENT_SECRET";
