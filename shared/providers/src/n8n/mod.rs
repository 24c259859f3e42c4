#![doc = include_str!("README.md")]

pub mod example;
mod webhook;
mod wire;

use domain::integration::Flaw;

use crate::{Entry, standard_webhooks};

pub use webhook::Webhook;

/// What the hub knows of n8n.
pub static ENTRY: Entry = Entry {
    made_up: Some(WEBHOOK_SECRET),
    check,
    ..Entry::taking(&[&AI_RESPONSE, &HUMAN_TAKEOVER], &[WEBHOOK_SECRET])
};

/// Takes what a workflow answers.
pub static AI_RESPONSE: Webhook = Webhook::AI_RESPONSE;
/// Takes a workflow's call for a person.
pub static HUMAN_TAKEOVER: Webhook = Webhook::HUMAN_TAKEOVER;

/// Name of the credential that proves webhooks.
pub const WEBHOOK_SECRET: &str = "N8N_WEBHOOK_SECRET";

/// It travels in a header, and one that signs must be able to.
fn check(name: &str, value: &str) -> Result<(), Flaw> {
    let flaw = |reason| Err(Flaw::new(&format!("credentials.{name}"), reason));
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return flaw("must be ASCII letters, digits and signs, without spaces");
    }
    let signs = value.starts_with(webhook::SIGNING);
    let at = jiff::Timestamp::UNIX_EPOCH;
    if signs && standard_webhooks::sign(&[value.into()], "", at, b"").is_err() {
        return flaw("must be whsec_ and base64 of 24 to 64 bytes");
    }
    Ok(())
}
