#![doc = include_str!("README.md")]

mod content;
pub mod example;
mod redact;
mod sender;
mod settings;
mod webhook;
mod wire;

use crate::Entry;
use crate::entry::Sending;

pub use sender::Sender;
pub use webhook::Webhook;

/// What the hub knows of Evolution.
pub static ENTRY: Entry = Entry {
    sending: Some(Sending {
        provider: &SENDER,
        address: sender::address,
        stand_in: &[(API_KEY, "-")],
        // WhatsApp Web, which the instance plays, has no service window.
        windowed: false,
    }),
    made_up: Some(WEBHOOK_TOKEN),
    connects: true,
    settings: settings::read,
    check: settings::check,
    harmless: &["buttons", "delivery", "messages_per_second"],
    proving: &[WEBHOOK_TOKEN],
    ..Entry::taking(&[&WEBHOOK], &[API_KEY, WEBHOOK_TOKEN])
};

/// Takes Evolution's webhooks in.
pub static WEBHOOK: Webhook = Webhook;
/// Sends through Evolution.
pub static SENDER: Sender = Sender;

/// Name of the credential that sends.
pub const API_KEY: &str = "EVOLUTION_API_KEY";
/// Name of the credential that proves webhooks.
pub const WEBHOOK_TOKEN: &str = "EVOLUTION_WEBHOOK_TOKEN";
