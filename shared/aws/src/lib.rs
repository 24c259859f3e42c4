//! Common error mapping of the AWS clients.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use domain::Fault;
use domain::ports::PortError;

/// Returns the error for a failed `operation` of `service`. It contains the service's error code,
/// but no data.
///
/// It is always retryable: throttling and outages end, and missing permissions are fixed by a
/// deployment, after which the record is still in its queue.
pub fn failed<E: ProvideErrorMetadata, R>(
    service: &'static str,
    operation: &'static str,
    error: &SdkError<E, R>,
) -> PortError {
    let reason = match error {
        SdkError::ServiceError(error) => {
            format!("{service} returned an error: {}", error.err().code().unwrap_or("no code"))
        }
        SdkError::TimeoutError(_) => format!("{service} timed out"),
        SdkError::DispatchFailure(_) => format!("{service} could not be reached"),
        _ => format!("the response of {service} could not be read"),
    };
    PortError { operation, reason, fault: Fault::Retryable }
}
