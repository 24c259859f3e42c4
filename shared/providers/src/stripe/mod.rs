#![doc = include_str!("README.md")]

pub mod example;
mod webhook;
mod wire;

use domain::integration::FieldError;

use crate::ProviderSpec;

pub use webhook::Webhook;

/// Specification of Stripe.
pub static SPEC: ProviderSpec = ProviderSpec {
    check,
    verification_credentials: &[WEBHOOK_SECRET],
    ..ProviderSpec::receive_only(&[&WEBHOOK], &[SECRET_KEY, WEBHOOK_SECRET])
};

/// Receives Stripe's webhooks.
pub static WEBHOOK: Webhook = Webhook;

/// Credential that calls Stripe's API.
pub const SECRET_KEY: &str = "STRIPE_SECRET_KEY";
/// Credential that verifies webhooks.
pub const WEBHOOK_SECRET: &str = "STRIPE_WEBHOOK_SECRET";

/// Checks that the signing secret is not an API key, which would verify nothing.
fn check(name: &str, value: &str) -> Result<(), FieldError> {
    if name == WEBHOOK_SECRET && !value.starts_with("whsec_") {
        let reason =
            "must be the signing secret of the event destination, which starts with whsec_";
        return Err(FieldError::new(&format!("credentials.{name}"), reason));
    }
    Ok(())
}
