//! A model of the cloud: DynamoDB, SQS, S3 and Secrets Manager as state machines.
//!
//! They take a request as it goes over the wire, and the time. They do no I/O, throw no dice
//! and keep no clock: the same calls give the same answers. What AWS documents and what our
//! code relies on is modelled; anything else is refused with an error that says so, so that a
//! run never passes because the model looked away.

pub mod client;
pub mod dynamo;
pub mod s3;
pub mod secrets;
pub mod sqs;

use serde_json::Value;

/// The services the hub uses.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    /// Tables.
    pub dynamo: dynamo::Dynamo,
    /// Queues.
    pub sqs: sqs::Sqs,
    /// Objects.
    pub s3: s3::S3,
    /// Secrets.
    pub secrets: secrets::Secrets,
}

/// AWS says no.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The error's name, without a namespace: `ConditionalCheckFailedException`.
    pub code: String,
    /// For people.
    pub message: String,
    /// More fields of the error's body, such as `Item`.
    pub more: serde_json::Map<String, Value>,
}

impl Refusal {
    /// A refusal with status 400.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code: code.to_owned(),
            message: message.into(),
            more: serde_json::Map::new(),
        }
    }
}
