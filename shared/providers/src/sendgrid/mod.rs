#![doc = include_str!("README.md")]

pub mod example;
mod webhook;
mod wire;

use domain::integration::FieldError;

use crate::ProviderSpec;

pub use webhook::Webhook;

/// Specification of SendGrid.
pub static SPEC: ProviderSpec = ProviderSpec {
    check,
    verification_credentials: &[WEBHOOK_PUBLIC_KEY],
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[API_KEY, WEBHOOK_PUBLIC_KEY])
};

/// Receives SendGrid's webhooks.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that authorizes sending.
pub const API_KEY: &str = "SENDGRID_API_KEY";
/// Credential that verifies webhooks.
pub const WEBHOOK_PUBLIC_KEY: &str = "SENDGRID_WEBHOOK_PUBLIC_KEY";

/// Rejects an unusable key when it is set, rather than with each webhook.
fn check(name: &str, value: &str) -> Result<(), FieldError> {
    if name == WEBHOOK_PUBLIC_KEY && !webhook::is_key(value) {
        let reason = "must be the verification key, the base64 of a P-256 public key";
        return Err(FieldError::new(&format!("credentials.{name}"), reason));
    }
    Ok(())
}
