#![doc = include_str!("README.md")]

pub mod example;
mod settings;
mod webhook;
mod wire;

use crate::Entry;

pub use settings::{Security, Settings};
pub use webhook::Webhook;

/// What the hub knows of Infobip.
pub static ENTRY: Entry = Entry {
    settings: crate::entry::own::<Settings>,
    account: settings::account,
    check: settings::check,
    ..Entry::taking(&[&WEBHOOK], &[API_KEY, WEBHOOK_SECRET])
};

/// Takes Infobip's webhooks in.
pub static WEBHOOK: Webhook = Webhook;

/// Name of the credential that sends.
pub const API_KEY: &str = "INFOBIP_API_KEY";
/// Name of the credential that proves webhooks.
pub const WEBHOOK_SECRET: &str = "INFOBIP_WEBHOOK_SECRET";
