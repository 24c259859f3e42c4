#![doc = include_str!("README.md")]

pub mod example;
mod sender;
mod sending;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod webhook;

use crate::Entry;
use crate::entry::Sending;

pub use sender::Sender;
pub use webhook::Webhook;

/// What the hub knows of whoever speaks a scheme that the integration declares.
pub static ENTRY: Entry = Entry {
    one_address: false,
    sending: Some(Sending {
        provider: &SENDER,
        address: crate::address::telephone,
        stand_in: &[(API_KEY, "-"), (API_SECRET, "-")],
        windowed: true,
    }),
    settings: settings::read,
    check: settings::check_credential,
    proving: &[WEBHOOK_SECRET],
    ..Entry::taking(&[&WEBHOOK], &[WEBHOOK_SECRET, API_KEY, API_SECRET])
};

/// Takes such webhooks in.
pub static WEBHOOK: Webhook = Webhook;
/// Sends as the integration declares it.
pub static SENDER: Sender = Sender;

/// Name of the credential that proves webhooks, in whichever way the scheme says.
pub const WEBHOOK_SECRET: &str = "CUSTOM_WEBHOOK_SECRET";
/// Name of a credential that sends, wherever `send` puts it.
pub const API_KEY: &str = "CUSTOM_API_KEY";
/// Name of another, for whoever wants two.
pub const API_SECRET: &str = "CUSTOM_API_SECRET";

/// The credentials that `send` may name: never the one that proves webhooks.
const SENDING: &[&str] = &[API_KEY, API_SECRET];
/// The longest id, name, account or key that is taken as it is, in bytes.
const LONGEST: usize = 512;
