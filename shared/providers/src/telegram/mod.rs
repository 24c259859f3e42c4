#![doc = include_str!("README.md")]

pub mod example;
mod sender;
mod webhook;
mod wire;

pub use sender::{Sender, address, bot_id};
pub use webhook::Webhook;

/// Takes Telegram's webhooks in.
pub static WEBHOOK: Webhook = Webhook;
/// Sends through Telegram.
pub static SENDER: Sender = Sender;

/// Name of the credential that sends and reads.
pub const BOT_TOKEN: &str = "TELEGRAM_BOT_TOKEN";
/// Name of the credential that proves webhooks.
pub const WEBHOOK_SECRET: &str = "TELEGRAM_WEBHOOK_SECRET";
