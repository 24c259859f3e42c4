#![doc = include_str!("README.md")]

pub mod example;
mod webhook;
mod wire;

use domain::integration::FieldError;

use crate::{ProviderSpec, standard_webhooks};

pub use webhook::Webhook;

/// Specification of n8n.
pub static SPEC: ProviderSpec = ProviderSpec {
    generated_secret: Some(WEBHOOK_SECRET),
    check,
    ..ProviderSpec::receive_only(&[&AI_RESPONSE, &HUMAN_TAKEOVER], &[WEBHOOK_SECRET])
};

/// Receives a workflow's answers.
pub static AI_RESPONSE: Webhook = Webhook::AI_RESPONSE;
/// Receives a workflow's requests for a human takeover.
pub static HUMAN_TAKEOVER: Webhook = Webhook::HUMAN_TAKEOVER;

/// Credential that authenticates webhooks.
pub const WEBHOOK_SECRET: &str = "N8N_WEBHOOK_SECRET";

/// Checks that the secret can be sent in a header, and that a signing secret is valid.
fn check(name: &str, value: &str) -> Result<(), FieldError> {
    let error = |reason| Err(FieldError::new(&format!("credentials.{name}"), reason));
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return error("must only have ASCII letters, digits and symbols, without spaces");
    }
    let signs = value.starts_with(webhook::SIGNING_PREFIX);
    let at = jiff::Timestamp::UNIX_EPOCH;
    if signs && standard_webhooks::sign(&[value.into()], "", at, b"").is_err() {
        return error("must be whsec_ followed by the base64 of 24 to 64 bytes");
    }
    Ok(())
}
