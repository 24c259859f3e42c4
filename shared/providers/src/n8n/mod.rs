#![doc = include_str!("README.md")]

pub mod example;
mod webhook;
mod wire;

use domain::integration::Flaw;

use crate::{Entry, standard_webhooks};

pub use webhook::Webhook;

/// Specification of n8n.
pub static ENTRY: Entry = Entry {
    made_up: Some(WEBHOOK_SECRET),
    check,
    ..Entry::taking(&[&AI_RESPONSE, &HUMAN_TAKEOVER], &[WEBHOOK_SECRET])
};

/// Receives a workflow's answers.
pub static AI_RESPONSE: Webhook = Webhook::AI_RESPONSE;
/// Receives a workflow's requests for a human takeover.
pub static HUMAN_TAKEOVER: Webhook = Webhook::HUMAN_TAKEOVER;

/// Credential that authenticates webhooks.
pub const WEBHOOK_SECRET: &str = "N8N_WEBHOOK_SECRET";

/// Checks that the secret can be sent in a header, and that a signing secret is valid.
fn check(name: &str, value: &str) -> Result<(), Flaw> {
    let flaw = |reason| Err(Flaw::new(&format!("credentials.{name}"), reason));
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return flaw("must only have ASCII letters, digits and symbols, without spaces");
    }
    let signs = value.starts_with(webhook::SIGNING_PREFIX);
    let at = jiff::Timestamp::UNIX_EPOCH;
    if signs && standard_webhooks::sign(&[value.into()], "", at, b"").is_err() {
        return flaw("must be whsec_ followed by the base64 of 24 to 64 bytes");
    }
    Ok(())
}
