#![doc = include_str!("README.md")]

pub mod example;
mod settings;
mod webhook;
mod wire;
mod workflow;

pub use settings::{PublicKeys, Settings};
pub use webhook::Webhook;
pub use workflow::WorkflowAction;

use crate::Entry;

/// What the hub knows of GoHighLevel.
pub static ENTRY: Entry = Entry {
    made_up: Some(WORKFLOW_TOKEN),
    settings: settings::read,
    account: settings::account,
    proving: &[WORKFLOW_TOKEN],
    ..Entry::taking(&[&WEBHOOK, &WORKFLOW_ACTION], &[CLIENT_ID, CLIENT_SECRET, WORKFLOW_TOKEN])
};

/// Takes the webhooks of apps and of conversation providers in.
pub static WEBHOOK: Webhook = Webhook;
/// Takes the calls of workflows in.
pub static WORKFLOW_ACTION: WorkflowAction = WorkflowAction;

/// Name of the credential that says which app it is.
pub const CLIENT_ID: &str = "GHL_CLIENT_ID";
/// Name of the credential that gets access tokens for the app.
pub const CLIENT_SECRET: &str = "GHL_CLIENT_SECRET";
/// Name of the credential that proves calls of workflows.
pub const WORKFLOW_TOKEN: &str = "GHL_WORKFLOW_TOKEN";
