#![doc = include_str!("README.md")]

pub mod example;
mod webhook;
mod wire;

use domain::integration::Flaw;

use crate::Entry;

pub use webhook::Webhook;

/// What the hub knows of SendGrid.
pub static ENTRY: Entry = Entry {
    check,
    proving: &[WEBHOOK_PUBLIC_KEY],
    ..Entry::taking(&[&WEBHOOK], &[API_KEY, WEBHOOK_PUBLIC_KEY])
};

/// Takes SendGrid's webhooks in.
pub static WEBHOOK: Webhook = Webhook;

/// Name of the credential that sends.
pub const API_KEY: &str = "SENDGRID_API_KEY";
/// Name of the credential that proves webhooks.
pub const WEBHOOK_PUBLIC_KEY: &str = "SENDGRID_WEBHOOK_PUBLIC_KEY";

/// A key that can prove nothing is better refused now than with each webhook.
fn check(name: &str, value: &str) -> Result<(), Flaw> {
    if name == WEBHOOK_PUBLIC_KEY && !webhook::is_key(value) {
        let reason = "must be the verification key: base64 of a P-256 public key";
        return Err(Flaw::new(&format!("credentials.{name}"), reason));
    }
    Ok(())
}
