//! The simulated services that hold credentials, for AWS clients.

use std::sync::{Arc, Mutex};

use aws_types::SdkConfig;
use domain::ports::Clock;

use crate::cloud::client::{self, AwsEndpoint, AwsRequest, AwsResponse, ConnectorError, Service};
use crate::cloud::dynamo::TableSchema;
use crate::cloud::{Cloud, Refusal};
use crate::table::{json_body, run_request};
use crate::{FakeClock, Faults, lock};

/// Secrets Manager, the table of credentials, and KMS with its key. Every request goes through its
/// [`Faults`]. Clones share the services.
#[derive(Clone, Debug)]
pub struct SimulatedSecrets {
    cloud: Arc<Mutex<Cloud>>,
    clock: FakeClock,
    faults: Faults,
}

impl SimulatedSecrets {
    /// Name of the table.
    pub const TABLE: &str = "credentials";
    /// ARN of the key.
    pub const KEY_ARN: &str = "arn:aws:kms:eu-central-1:000000000000:key/credentials";

    /// Creates the services without a secret, which handle requests at the time of `clock`.
    #[must_use]
    pub fn new(clock: &FakeClock) -> Self {
        let mut cloud = Cloud::default();
        cloud.dynamo.create_table(TableSchema::of_the_hub(Self::TABLE));
        cloud.kms.add_key(Self::KEY_ARN);
        let cloud = Arc::new(Mutex::new(cloud));
        Self { cloud, clock: clock.clone(), faults: Faults::default() }
    }

    /// Returns the faults of the requests.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Reads or changes the services without a request.
    pub fn with<T>(&self, act: impl FnOnce(&mut Cloud) -> T) -> T {
        act(&mut lock(&self.cloud))
    }

    /// Returns the configuration of an AWS client that sends its requests to the services.
    #[must_use]
    pub fn config(&self) -> SdkConfig {
        client::config(self.clone(), self.clock.clone())
    }
}

impl AwsEndpoint for SimulatedSecrets {
    async fn serve(&self, request: AwsRequest) -> Result<AwsResponse, ConnectorError> {
        let AwsRequest { service, operation, .. } = &request;
        let body = json_body(&request)?;
        let call = || {
            let now_ms = Clock::now(&self.clock).as_millisecond();
            self.with(|cloud| match service {
                Service::DynamoDb => cloud.dynamo.call(operation, &body, now_ms),
                Service::SecretsManager => cloud.secrets.call(operation, &body, now_ms),
                Service::Kms => cloud.kms.call(operation, &body),
                other => {
                    let reason = format!("{} holds no credentials", other.name());
                    Err(Refusal::new("UnknownOperationException", reason))
                }
            })
        };
        run_request(&self.faults, request.to_string(), call).await
    }
}
