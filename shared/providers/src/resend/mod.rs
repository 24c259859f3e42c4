#![doc = include_str!("README.md")]

pub mod example;
mod webhook;
mod wire;

use domain::integration::Flaw;

use crate::{Entry, standard_webhooks};

pub use webhook::Webhook;

/// What the hub knows of Resend.
pub static ENTRY: Entry = Entry {
    check,
    proving: &[WEBHOOK_SECRET],
    ..Entry::taking(&[&WEBHOOK], &[API_KEY, WEBHOOK_SECRET])
};

/// Takes Resend's webhooks in.
pub static WEBHOOK: Webhook = Webhook;

/// Name of the credential that sends.
pub const API_KEY: &str = "RESEND_API_KEY";
/// Name of the credential that proves webhooks.
pub const WEBHOOK_SECRET: &str = "RESEND_WEBHOOK_SECRET";

/// A secret that can prove nothing is better refused now than with each webhook.
fn check(name: &str, value: &str) -> Result<(), Flaw> {
    if name == WEBHOOK_SECRET && !standard_webhooks::is_secret(&value.into()) {
        let reason = "must be the signing secret: whsec_ and base64";
        return Err(Flaw::new(&format!("credentials.{name}"), reason));
    }
    Ok(())
}
