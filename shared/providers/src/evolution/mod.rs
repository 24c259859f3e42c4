#![doc = include_str!("README.md")]

mod content;
pub mod example;
mod redact;
mod sender;
mod settings;
mod webhook;
mod wire;

use crate::ProviderSpec;
use crate::spec::Sending;

pub use sender::Sender;
pub use webhook::Webhook;

/// Specification of Evolution.
pub static SPEC: ProviderSpec = ProviderSpec {
    sending: Some(Sending {
        provider: &SENDER,
        address: sender::address,
        placeholder_credentials: &[(API_KEY, "-")],
        // An instance acts as WhatsApp Web, which has no service window.
        windowed: false,
    }),
    generated_secret: Some(WEBHOOK_TOKEN),
    connects_on_create: true,
    settings: settings::read,
    check: settings::check,
    usage_settings: &["buttons", "delivery", "messages_per_second"],
    verification_credentials: &[WEBHOOK_TOKEN],
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[API_KEY, WEBHOOK_TOKEN])
};

/// Receives Evolution's webhooks.
pub static WEBHOOK: Webhook = Webhook;
/// Sends through Evolution.
pub static SENDER: Sender = Sender;

/// Credential that authorizes sending and reading.
pub const API_KEY: &str = "EVOLUTION_API_KEY";
/// Credential that authenticates webhooks.
pub const WEBHOOK_TOKEN: &str = "EVOLUTION_WEBHOOK_TOKEN";
