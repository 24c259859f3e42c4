#![doc = include_str!("README.md")]

pub mod example;
mod settings;
mod webhook;
mod wire;
mod workflow;

pub use settings::{PublicKeys, Settings};
pub use webhook::Webhook;
pub use workflow::WorkflowAction;

use crate::ProviderSpec;

/// Specification of GoHighLevel.
pub static SPEC: ProviderSpec = ProviderSpec {
    generated_secret: Some(WORKFLOW_TOKEN),
    settings: settings::read,
    account: settings::account,
    verification_credentials: &[WORKFLOW_TOKEN],
    ..ProviderSpec::receive_only(
        &[&WEBHOOK, &WORKFLOW_ACTION],
        &[CLIENT_ID, CLIENT_SECRET, WORKFLOW_TOKEN],
    )
};

/// Receives the webhooks of apps and of conversation providers.
pub static WEBHOOK: Webhook = Webhook;
/// Receives the calls of workflows.
pub static WORKFLOW_ACTION: WorkflowAction = WorkflowAction;

/// Credential with the client id of the app.
pub const CLIENT_ID: &str = "GHL_CLIENT_ID";
/// Credential that obtains access tokens for the app.
pub const CLIENT_SECRET: &str = "GHL_CLIENT_SECRET";
/// Credential that authenticates calls of workflows.
pub const WORKFLOW_TOKEN: &str = "GHL_WORKFLOW_TOKEN";
