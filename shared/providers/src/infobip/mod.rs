#![doc = include_str!("README.md")]

mod codes;
pub mod example;
mod sender;
mod settings;
mod webhook;
mod wire;

use crate::ProviderSpec;
use crate::spec::{self, Capability, Sending};

pub use sender::Sender;
pub use settings::{Reports, Security, Settings};
pub use webhook::Webhook;

/// Specification of Infobip.
pub static SPEC: ProviderSpec = ProviderSpec {
    sending: Some(Sending {
        provider: &SENDER,
        address: crate::address::phone_number,
        placeholder_credentials: &[(API_KEY, "-")],
        windowed: true,
        failure_scope: |_, code| codes::scope(code),
    }),
    media_fetcher: Some(spec::media_fetcher::<sender::Number>),
    account_reader: Some(spec::account_reader::<sender::Number>),
    read_receipts: Some(spec::read_receipts::<sender::Number>),
    missing: &[(
        Capability::RegisterWebhook,
        "integration",
        "cannot be registered by the hub: set the webhooks in Infobip's web interface, \
         Subscriptions Management",
    )],
    is_own_base_url: settings::is_infobip_url,
    settings: settings::read,
    account: settings::account,
    check: settings::check,
    usage_settings: &["delivery", "messages_per_second", "reports"],
    verification_credentials: &[WEBHOOK_SECRET],
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[API_KEY, WEBHOOK_SECRET])
};

/// Receives Infobip's webhooks.
pub static WEBHOOK: Webhook = Webhook;
/// Sends through Infobip.
pub static SENDER: Sender = Sender;

/// Credential that authorizes sending and reading.
pub const API_KEY: &str = "INFOBIP_API_KEY";
/// Credential that authenticates webhooks.
pub const WEBHOOK_SECRET: &str = "INFOBIP_WEBHOOK_SECRET";
