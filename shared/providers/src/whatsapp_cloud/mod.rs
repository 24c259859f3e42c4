#![doc = include_str!("README.md")]

pub mod example;
mod sender;
mod settings;
mod webhook;
mod wire;

pub use sender::{Sender, address};
pub use webhook::Webhook;

use crate::spec;
use crate::spec::ProviderSpec;
use crate::spec::Sending;
use std::time::Duration;

/// Specification of WhatsApp.
pub static SPEC: ProviderSpec = ProviderSpec {
    sending: Some(Sending {
        provider: &SENDER,
        address: sender::address,
        placeholder_credentials: &[(ACCESS_TOKEN, "-")],
        windowed: true,
        failure_scope: |_, code| sender::failure_scope(code),
    }),
    media_fetcher: Some(spec::media_fetcher::<sender::Number>),
    account_reader: Some(spec::account_reader::<sender::Number>),
    webhook_registrar: Some(spec::webhook_registrar::<sender::Number>),
    read_receipts: Some(spec::read_receipts::<sender::Number>),
    verifies_account_ownership: true,
    is_own_base_url: settings::is_graph_url,
    settings: settings::read,
    account: settings::account,
    usage_settings: &["delivery", "graph_version", "messages_per_second"],
    verification_credentials: &[APP_SECRET, VERIFY_TOKEN],
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[ACCESS_TOKEN, APP_SECRET, VERIFY_TOKEN])
};

/// How long after a customer's last message any content may be sent on `WhatsApp`; after that, only
/// message templates. Meta enforces it through every provider of its API.
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-messages#customer-service-windows>
pub const SERVICE_WINDOW: Duration = Duration::from_hours(24);

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
