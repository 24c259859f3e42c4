#![doc = include_str!("README.md")]

pub mod example;
mod sender;
mod settings;
mod webhook;
mod wire;

pub use sender::{Sender, address, bot_id};
pub use webhook::Webhook;

use domain::sender::RefusalScope;

use crate::spec::{self, ProviderSpec, Sending};

/// Specification of Telegram.
pub static SPEC: ProviderSpec = ProviderSpec {
    sending: Some(Sending {
        provider: &SENDER,
        address: sender::address,
        placeholder_credentials: &[(BOT_TOKEN, "0:-")],
        windowed: true,
        // Telegram sends no receipts.
        failure_scope: |_, _| RefusalScope::Message,
    }),
    media_fetcher: Some(spec::media_fetcher::<sender::Bot>),
    account_reader: Some(spec::account_reader::<sender::Bot>),
    webhook_registrar: Some(spec::webhook_registrar::<sender::Bot>),
    read_receipts: Some(spec::read_receipts::<sender::Bot>),
    generated_secret: Some(WEBHOOK_SECRET),
    path_secret: Some(WEBHOOK_SECRET),
    shared_webhook_url: false,
    verifies_account_ownership: true,
    is_own_base_url: settings::is_bot_api_url,
    settings: settings::read,
    account: settings::account,
    check: settings::check,
    verification_credentials: &[WEBHOOK_SECRET],
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[BOT_TOKEN, WEBHOOK_SECRET])
};

/// Receives Telegram's webhooks.
pub static WEBHOOK: Webhook = Webhook;
/// Sends through Telegram.
pub static SENDER: Sender = Sender;

/// Credential that authorizes sending and reading.
pub const BOT_TOKEN: &str = "TELEGRAM_BOT_TOKEN";
/// Credential that authenticates webhooks.
pub const WEBHOOK_SECRET: &str = "TELEGRAM_WEBHOOK_SECRET";
