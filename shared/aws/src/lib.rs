//! What every door to AWS tells of a failure, in one way.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use domain::Fault;
use domain::ports::PortError;

/// What a caller is told when `service` did not do `operation`: the service's code, never
/// data.
///
/// It is always worth another try. AWS throttles and is sometimes away; a missing right is
/// put right by a deployment, and the record is still there then.
pub fn failed<E: ProvideErrorMetadata, R>(
    service: &'static str,
    operation: &'static str,
    error: &SdkError<E, R>,
) -> PortError {
    let reason = match error {
        SdkError::ServiceError(refusal) => {
            format!("{service} refused: {}", refusal.err().code().unwrap_or("without a code"))
        }
        SdkError::TimeoutError(_) => format!("{service} did not answer in time"),
        SdkError::DispatchFailure(_) => format!("{service} could not be reached"),
        _ => format!("{service}'s answer could not be read"),
    };
    PortError { operation, reason, fault: Fault::Retryable }
}
