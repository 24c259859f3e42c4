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

/// Specification of Evolution.
pub static ENTRY: Entry = Entry {
    sending: Some(Sending {
        provider: &SENDER,
        address: sender::address,
        stand_in: &[(API_KEY, "-")],
        // An instance acts as WhatsApp Web, which has no service window.
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

/// Receives Evolution's webhooks.
pub static WEBHOOK: Webhook = Webhook;
/// Sends through Evolution.
pub static SENDER: Sender = Sender;

/// Credential that authorizes sending and reading.
pub const API_KEY: &str = "EVOLUTION_API_KEY";
/// Credential that authenticates webhooks.
pub const WEBHOOK_TOKEN: &str = "EVOLUTION_WEBHOOK_TOKEN";
