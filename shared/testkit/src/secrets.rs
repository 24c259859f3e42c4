//! The simulated services that hold credentials, for AWS clients.

use std::sync::{Arc, Mutex};

use aws_types::SdkConfig;
use domain::ports::Clock;
use serde_json::Value;

use crate::cloud::Cloud;
use crate::cloud::client::{self, AwsEndpoint, AwsRequest, AwsResponse, ConnectorError, Service};
use crate::cloud::dynamo::TableSchema;
use crate::faults::yield_once;
use crate::table::connection_error;
use crate::{FakeClock, Faults, Side, lock};

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
        let AwsRequest { service, operation, body, .. } = &request;
        let body: Value =
            serde_json::from_slice(body).map_err(|error| ConnectorError::user(error.into()))?;
        // Other tasks run before the request and before its response, as over a network.
        yield_once().await;
        let fault = self.faults.next(request.to_string());
        if fault == Some(Side::Before) {
            return Err(connection_error());
        }
        let now_ms = Clock::now(&self.clock).as_millisecond();
        let answer = self.with(|cloud| match service {
            Service::DynamoDb => Ok(cloud.dynamo.call(operation, &body, now_ms)),
            Service::SecretsManager => Ok(cloud.secrets.call(operation, &body, now_ms)),
            Service::Kms => Ok(cloud.kms.call(operation, &body)),
            other => {
                Err(ConnectorError::user(format!("{} has no part in this", other.name()).into()))
            }
        })?;
        yield_once().await;
        if fault == Some(Side::After) {
            Err(connection_error())
        } else {
            Ok(AwsResponse::json(answer))
        }
    }
}
