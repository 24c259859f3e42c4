#![doc = include_str!("README.md")]

pub mod example;
mod sender;
mod settings;
mod webhook;
mod wire;

pub use sender::{Sender, address, bot_id};
pub use webhook::Webhook;

use crate::spec::{ProviderSpec, SENDING_SETTINGS, Sending};

/// Specification of Telegram.
pub static SPEC: ProviderSpec = ProviderSpec {
    webhooks: &[&WEBHOOK],
    sending: Some(Sending {
        provider: &SENDER,
        address: sender::address,
        placeholder_credentials: &[(BOT_TOKEN, "0:-")],
        windowed: true,
    }),
    credentials: &[BOT_TOKEN, WEBHOOK_SECRET],
    generated_secret: Some(WEBHOOK_SECRET),
    path_secret: Some(WEBHOOK_SECRET),
    shared_webhook_url: false,
    verifies_account_ownership: true,
    connects_on_create: false,
    is_own_base_url: |_| false,
    settings: settings::read,
    account: settings::account,
    check: settings::check,
    usage_settings: SENDING_SETTINGS,
    verification_credentials: &[WEBHOOK_SECRET],
    senders: &[],
};

/// Receives Telegram's webhooks.
pub static WEBHOOK: Webhook = Webhook;
/// Sends through Telegram.
pub static SENDER: Sender = Sender;

/// Credential that authorizes sending and reading.
pub const BOT_TOKEN: &str = "TELEGRAM_BOT_TOKEN";
/// Credential that authenticates webhooks.
pub const WEBHOOK_SECRET: &str = "TELEGRAM_WEBHOOK_SECRET";
