#![doc = include_str!("README.md")]

pub mod example;
mod settings;
mod sns;
mod webhook;
mod wire;

pub use settings::Settings;
pub use webhook::Webhook;

use crate::Entry;

/// What the hub knows of Amazon SES.
pub static ENTRY: Entry = Entry {
    settings: settings::read,
    account: settings::account,
    check: settings::check,
    ..Entry::taking(&[&WEBHOOK], &[TOPIC_ARNS])
};

/// Takes what Amazon SES publishes to SNS in.
pub static WEBHOOK: Webhook = Webhook;

/// Name of the credential that lists the topics whose messages are taken in.
pub const TOPIC_ARNS: &str = "SES_TOPIC_ARNS";
