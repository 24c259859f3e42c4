#![doc = include_str!("README.md")]

pub mod example;
mod webhook;
mod wire;

use domain::integration::FieldError;

use crate::{ProviderSpec, standard_webhooks};

pub use webhook::Webhook;

/// Specification of Resend.
pub static SPEC: ProviderSpec = ProviderSpec {
    check,
    verification_credentials: &[WEBHOOK_SECRET],
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[API_KEY, WEBHOOK_SECRET])
};

/// Receives Resend's webhooks.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that authorizes sending.
pub const API_KEY: &str = "RESEND_API_KEY";
/// Credential that verifies webhooks.
pub const WEBHOOK_SECRET: &str = "RESEND_WEBHOOK_SECRET";

/// Rejects an unusable secret when it is set, rather than with each webhook.
fn check(name: &str, value: &str) -> Result<(), FieldError> {
    if name == WEBHOOK_SECRET && !standard_webhooks::is_secret(&value.into()) {
        let reason = "must be the signing secret: whsec_ followed by base64";
        return Err(FieldError::new(&format!("credentials.{name}"), reason));
    }
    Ok(())
}
