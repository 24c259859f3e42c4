//! A model of AWS: DynamoDB, SQS, S3, Secrets Manager and KMS as state machines.
//!
//! A call takes a request in its wire format, and the time. The services do no I/O, and have no
//! clock and no random number generator: the same calls give the same answers. The model covers
//! what AWS documents and what the hub relies on; it refuses anything else with an error that names
//! it, so that a run never passes because the model ignored something.

pub mod client;
pub mod dynamo;
pub mod kms;
pub mod s3;
pub mod secrets;
pub mod sqs;

use serde_json::Value;

/// The services that the hub uses.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    /// Tables: DynamoDB.
    pub dynamo: dynamo::Dynamo,
    /// Queues: SQS.
    pub sqs: sqs::Sqs,
    /// Objects: S3.
    pub s3: s3::S3,
    /// Secrets: Secrets Manager.
    pub secrets: secrets::Secrets,
    /// Encryption keys: KMS.
    pub kms: kms::Kms,
}

/// Returns the text field `name` of a request.
fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str)
}

/// An error of AWS.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The error code, without a namespace: `ConditionalCheckFailedException`.
    pub code: String,
    /// The error message.
    pub message: String,
    /// Further fields of the error's body, such as `Item`.
    pub more: serde_json::Map<String, Value>,
}

impl Refusal {
    /// An error with status 400.
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
