#![doc = include_str!("README.md")]

pub mod example;
mod multipart;
mod webhook;
mod wire;

use crate::Entry;

pub use webhook::Webhook;

/// What the hub knows of Mailgun.
pub static ENTRY: Entry = Entry {
    proving: &[WEBHOOK_SIGNING_KEY],
    ..Entry::taking(&[&WEBHOOK], &[API_KEY, WEBHOOK_SIGNING_KEY])
};

/// Takes Mailgun's webhooks in.
pub static WEBHOOK: Webhook = Webhook;

/// Name of the credential that sends.
pub const API_KEY: &str = "MAILGUN_API_KEY";
/// Name of the credential that proves webhooks.
pub const WEBHOOK_SIGNING_KEY: &str = "MAILGUN_WEBHOOK_SIGNING_KEY";
