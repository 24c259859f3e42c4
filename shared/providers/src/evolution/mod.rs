#![doc = include_str!("README.md")]

mod content;
pub mod example;
mod redact;
mod webhook;
mod wire;

use domain::integration::Flaw;

use crate::Entry;

pub use webhook::Webhook;

/// What the hub knows of Evolution.
pub static ENTRY: Entry = Entry {
    made_up: Some(WEBHOOK_TOKEN),
    check,
    ..Entry::taking(&[&WEBHOOK], &[API_KEY, WEBHOOK_TOKEN])
};

/// Takes Evolution's webhooks in.
pub static WEBHOOK: Webhook = Webhook;

/// Name of the credential that sends.
pub const API_KEY: &str = "EVOLUTION_API_KEY";
/// Name of the credential that proves webhooks.
pub const WEBHOOK_TOKEN: &str = "EVOLUTION_WEBHOOK_TOKEN";

/// Both travel in a header.
fn check(name: &str, value: &str) -> Result<(), Flaw> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        let field = format!("credentials.{name}");
        return Err(Flaw::new(&field, "must be ASCII letters, digits and signs, without spaces"));
    }
    Ok(())
}
