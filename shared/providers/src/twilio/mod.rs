#![doc = include_str!("README.md")]

mod codes;
pub mod example;
mod sender;
mod settings;
mod token;
pub mod twiml;
mod verifier;
mod webhook;
mod wire;

pub use sender::{Sender, address};
pub use settings::is_declared_template;
pub use token::{VoiceGrant, access_token};
pub use webhook::Webhook;

use crate::spec::{self, Capability, ProviderSpec, Sending};
use domain::provider::Channel;

/// Specification of Twilio.
pub static SPEC: ProviderSpec = ProviderSpec {
    sending: Some(Sending {
        provider: &SENDER,
        address: sender::address,
        placeholder_credentials: &[(ACCOUNT_SID, "AC0"), (AUTH_TOKEN, "-")],
        windowed: true,
        failure_scope: |_, code| codes::scope(code),
    }),
    media_fetcher: Some(spec::media_fetcher::<sender::Account>),
    account_reader: Some(spec::account_reader::<sender::Account>),
    missing: &[(
        Capability::RegisterWebhook,
        "provider",
        "cannot be registered by the hub: paste the webhook's URL in Twilio's console",
    )],
    settings: settings::read,
    account: settings::account,
    check: settings::check,
    usage_settings: &["delivery", "messages_per_second", "templates"],
    verification_credentials: &[SHARED_KEY],
    senders: &[
        ("from", Channel::Sms),
        ("messaging_service_sid", Channel::Sms),
        ("whatsapp_from", Channel::Whatsapp),
        ("voice_from", Channel::Voice),
    ],
    ..ProviderSpec::receive_only(
        &[&SMS, &SMS_STATUS, &VOICE, &VOICE_STATUS, &WHATSAPP],
        &[ACCOUNT_SID, AUTH_TOKEN, SHARED_KEY, API_KEY, API_SECRET],
    )
};

/// Receives messages: SMS, MMS and RCS.
pub static SMS: Webhook = Webhook::new("twilio-sms", "sms", webhook::EMPTY_TWIML);
/// Receives message statuses.
pub static SMS_STATUS: Webhook =
    Webhook::new("twilio-sms-status", "sms/status", webhook::EMPTY_TWIML);
/// Receives calls.
pub static VOICE: Webhook = Webhook::new("twilio-voice", "voice", webhook::REJECT_TWIML);
/// Receives call statuses.
pub static VOICE_STATUS: Webhook =
    Webhook::new("twilio-voice-status", "voice/status", webhook::EMPTY_TWIML);
/// Receives `WhatsApp` messages and their statuses.
pub static WHATSAPP: Webhook =
    Webhook::new("twilio-whatsapp", "whatsapp/twilio", webhook::EMPTY_TWIML);

/// Sends through Twilio.
pub static SENDER: Sender = Sender;

/// Credential with the account SID: it begins with `AC`.
pub const ACCOUNT_SID: &str = "TWILIO_ACCOUNT_SID";
/// Credential that signs webhooks.
pub const AUTH_TOKEN: &str = "TWILIO_AUTH_TOKEN";
/// Credential that signs webhooks instead of the auth token, where a shared key is set up.
pub const SHARED_KEY: &str = "TWILIO_SHARED_KEY";
/// Credential with the SID of the API key to send with: it begins with `SK`.
pub const API_KEY: &str = "TWILIO_API_KEY";
/// Credential with the secret of the API key to send with.
pub const API_SECRET: &str = "TWILIO_API_SECRET";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::integration::Settings;
    use domain::{Integration, IntegrationId, Provider, TenantId};
    use jiff::Timestamp;
    use serde_json::Value;

    /// An integration with these settings.
    pub(super) fn integration(settings: &Value) -> Integration {
        Integration {
            circuit: domain::circuit::Breaker::default(),
            id: IntegrationId::derived(&["twilio"]),
            tenant: "acme".parse::<TenantId>().unwrap(),
            provider: Provider::Twilio,
            settings: Settings(settings.as_object().unwrap().clone()),
            account: None,
            hints: BTreeMap::new(),
            created_at: Timestamp::UNIX_EPOCH,
            credentials_at: Timestamp::UNIX_EPOCH,
            tenant_credentials: std::collections::BTreeSet::new(),
            trusted_ingest: false,
        }
    }
}
