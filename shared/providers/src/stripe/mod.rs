#![doc = include_str!("README.md")]

pub mod example;
mod webhook;
mod wire;

use domain::integration::Flaw;

use crate::Entry;

pub use webhook::Webhook;

/// What the hub knows of Stripe.
pub static ENTRY: Entry = Entry {
    check,
    proving: &[WEBHOOK_SECRET],
    ..Entry::taking(&[&WEBHOOK], &[SECRET_KEY, WEBHOOK_SECRET])
};

/// Takes Stripe's webhooks in.
pub static WEBHOOK: Webhook = Webhook;

/// Name of the credential that calls Stripe.
pub const SECRET_KEY: &str = "STRIPE_SECRET_KEY";
/// Name of the credential that proves webhooks.
pub const WEBHOOK_SECRET: &str = "STRIPE_WEBHOOK_SECRET";

/// An API key in the place of the signing secret would prove nothing.
fn check(name: &str, value: &str) -> Result<(), Flaw> {
    if name == WEBHOOK_SECRET && !value.starts_with("whsec_") {
        let reason = "must be the destination's signing secret: whsec_ and more";
        return Err(Flaw::new(&format!("credentials.{name}"), reason));
    }
    Ok(())
}
