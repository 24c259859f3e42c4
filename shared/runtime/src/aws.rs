//! Configuration of the AWS clients.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::retry::{ReconnectMode, RetryConfig};
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;

use crate::transport::SdkClient;
use crate::{Environment, Error};

/// Returns the configuration of all AWS clients, from the environment variables that Lambda sets.
/// The SDK's credential provider chain would find the same credentials, but more slowly.
pub(crate) fn config(environment: &Environment, client: SdkClient) -> Result<SdkConfig, Error> {
    let optional = |name: &str| environment.optional(name);
    let region = optional("AWS_REGION").or_else(|| optional("AWS_DEFAULT_REGION"));
    let region = region.ok_or("the environment variable AWS_REGION is missing")?;
    let credentials = Credentials::new(
        environment.var("AWS_ACCESS_KEY_ID")?,
        environment.var("AWS_SECRET_ACCESS_KEY")?,
        optional("AWS_SESSION_TOKEN"),
        None,
        "lambda",
    );
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(client)
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(SystemTimeSource::new())
        // The hub's HTTP client closes broken connections itself; the SDK's mechanism would
        // log an error for each.
        .retry_config(
            RetryConfig::standard().with_reconnect_mode(ReconnectMode::ReuseAllConnections),
        )
        // The attempt timeout ends a stalled request earlier, because bodies are small.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(Duration::from_secs(3))
                .operation_timeout(Duration::from_secs(8))
                .build(),
        );
    if let Some(endpoint) = optional("AWS_ENDPOINT_URL") {
        config = config.endpoint_url(endpoint);
    }
    Ok(config.build())
}
