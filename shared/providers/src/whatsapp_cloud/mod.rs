#![doc = include_str!("README.md")]

pub mod example;
mod sender;
mod settings;
mod webhook;
mod wire;

pub use sender::{Sender, address};
pub use webhook::Webhook;

use crate::spec::{ProviderSpec, Sending};

/// Specification of WhatsApp.
pub static SPEC: ProviderSpec = ProviderSpec {
    webhooks: &[&WEBHOOK],
    sending: Some(Sending {
        provider: &SENDER,
        address: sender::address,
        placeholder_credentials: &[(ACCESS_TOKEN, "-")],
        windowed: true,
    }),
    credentials: &[ACCESS_TOKEN, APP_SECRET, VERIFY_TOKEN],
    generated_secret: None,
    path_secret: None,
    shared_webhook_url: true,
    verifies_account_ownership: true,
    connects_on_create: false,
    is_own_base_url: |_| false,
    settings: settings::read,
    account: settings::account,
    check: |_, _| Ok(()),
    usage_settings: &["delivery", "graph_version", "messages_per_second"],
    verification_credentials: &[APP_SECRET, VERIFY_TOKEN],
    senders: &[],
};

/// Receives WhatsApp's webhooks.
pub static WEBHOOK: Webhook = Webhook;
/// Sends through WhatsApp.
pub static SENDER: Sender = Sender;

/// Credential that authorizes sending and reading.
pub const ACCESS_TOKEN: &str = "WHATSAPP_ACCESS_TOKEN";
/// Credential that signs webhooks.
pub const APP_SECRET: &str = "WHATSAPP_APP_SECRET";
/// Credential that verifies Meta's webhook handshake.
pub const VERIFY_TOKEN: &str = "WHATSAPP_WEBHOOK_VERIFY_TOKEN";
