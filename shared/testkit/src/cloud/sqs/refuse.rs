//! The errors of SQS.

use crate::cloud::Refusal;

/// The value of `x-amzn-query-error` for a code: SDKs match its first part.
///
/// These names are older than the JSON protocol.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html>
#[must_use]
pub fn query_code(code: &str) -> String {
    match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".to_owned(),
        "QueueNameExists" => "QueueAlreadyExists".to_owned(),
        "BatchEntryIdsNotDistinct"
        | "BatchRequestTooLong"
        | "EmptyBatchRequest"
        | "InvalidBatchEntryId"
        | "MessageNotInflight"
        | "TooManyEntriesInBatchRequest"
        | "UnsupportedOperation" => format!("AWS.SimpleQueueService.{code}"),
        other => other.to_owned(),
    }
}

/// An error for what the model does not support, so that a run cannot pass by ignoring it.
pub(super) fn not_modelled(what: impl std::fmt::Display) -> Refusal {
    Refusal::new("UnsupportedOperation", format!("the model of SQS has no {what}"))
}

pub(super) fn no_such_queue() -> Refusal {
    Refusal::new("QueueDoesNotExist", "The specified queue does not exist.")
}

pub(super) fn missing(name: &str) -> Refusal {
    let reason = format!("The request must contain the parameter {name}.");
    Refusal::new("MissingParameter", reason)
}

/// An error for the invalid value of a parameter.
pub(super) fn invalid(name: &str, value: impl std::fmt::Display, reason: &str) -> Refusal {
    let message = format!("Value {value} for parameter {name} is invalid. Reason: {reason}");
    Refusal::new("InvalidParameterValue", message)
}

/// An error for a message text with a character that SQS does not accept.
pub(super) fn invalid_contents() -> Refusal {
    let reason = "Invalid characters found. Valid unicode characters are \
                  #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
    Refusal::new("InvalidMessageContents", reason)
}
