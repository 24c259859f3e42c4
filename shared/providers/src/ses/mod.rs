#![doc = include_str!("README.md")]

pub mod example;
mod settings;
mod sns;
mod webhook;
mod wire;

pub use settings::Settings;
pub use webhook::Webhook;

use crate::ProviderSpec;

/// Specification of Amazon SES.
pub static SPEC: ProviderSpec = ProviderSpec {
    settings: settings::read,
    account: settings::account,
    check: settings::check,
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[TOPIC_ARNS])
};

/// Receives the events that Amazon SES publishes to SNS.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that lists the topics whose messages are accepted.
pub const TOPIC_ARNS: &str = "SES_TOPIC_ARNS";
