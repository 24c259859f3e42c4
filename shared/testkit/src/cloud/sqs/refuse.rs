//! How SQS says no.

use crate::cloud::Refusal;

/// What `x-amzn-query-error` holds for a code: SDKs match its first part.
///
/// The names are older than the JSON protocol.
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

/// The model does not have what was asked for. It says so; a run must not pass by it.
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

/// A parameter's value cannot be taken.
pub(super) fn invalid(name: &str, value: impl std::fmt::Display, reason: &str) -> Refusal {
    let message = format!("Value {value} for parameter {name} is invalid. Reason: {reason}");
    Refusal::new("InvalidParameterValue", message)
}

/// The text of a message holds a character that SQS does not take.
pub(super) fn invalid_contents() -> Refusal {
    let reason = "Invalid characters found. Valid unicode characters are \
                  #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
    Refusal::new("InvalidMessageContents", reason)
}
