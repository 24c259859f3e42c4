#![doc = include_str!("README.md")]

mod content;
pub mod example;
mod redact;
mod sender;
mod settings;
mod webhook;
mod wire;

use domain::sender::RefusalScope;

use crate::ProviderSpec;
use crate::spec::{self, Sending};

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
        // A receipt of Evolution does not say why it failed.
        failure_scope: |_, _| RefusalScope::Message,
    }),
    media_fetcher: Some(spec::media_fetcher::<sender::Instance>),
    account_reader: Some(spec::account_reader::<sender::Instance>),
    webhook_registrar: Some(spec::webhook_registrar::<sender::Instance>),
    read_receipts: Some(spec::read_receipts::<sender::Instance>),
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
