//! The hub's table, as an AWS client reaches it.

use std::sync::{Arc, Mutex};

use aws_smithy_async::time::TimeSource;
use aws_types::SdkConfig;
use domain::ports::Clock;
use serde_json::Value;

use crate::cloud::client::{self, AwsEndpoint, AwsRequest, AwsResponse, ConnectorError};
use crate::cloud::dynamo::{Dynamo, TableSchema};
use crate::faults::yield_once;
use crate::{FakeClock, Faults, Side, lock};

/// The hub's table in the simulated `DynamoDB`. Every request goes through its [`Faults`]. Copies
/// are one table.
#[derive(Clone, Debug)]
pub struct SimulatedTable {
    dynamo: Arc<Mutex<Dynamo>>,
    clock: FakeClock,
    faults: Faults,
}

impl SimulatedTable {
    /// Its name.
    pub const NAME: &str = "hub";

    /// An empty table that is asked at the time of `clock`.
    #[must_use]
    pub fn new(clock: &FakeClock) -> Self {
        let mut dynamo = Dynamo::new();
        dynamo.create_table(TableSchema::of_the_hub(Self::NAME));
        let dynamo = Arc::new(Mutex::new(dynamo));
        Self { dynamo, clock: clock.clone(), faults: Faults::default() }
    }

    /// The same table, where requests fail as `faults` says.
    #[must_use]
    pub fn with_faults(self, faults: &Faults) -> Self {
        Self { faults: faults.clone(), ..self }
    }

    /// Its faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Looks at the simulated service, or sets it, without a request.
    pub fn with<T>(&self, act: impl FnOnce(&mut Dynamo) -> T) -> T {
        act(&mut lock(&self.dynamo))
    }

    /// Returns the configuration of an AWS client that sends its requests to the table.
    #[must_use]
    pub fn config(&self) -> SdkConfig {
        client::config(self.clone(), self.clock.clone())
    }
}

impl AwsEndpoint for SimulatedTable {
    /// # Panics
    /// If the request is one that `DynamoDB` would never accept, or that is not modelled: no test
    /// may pass because of it.
    async fn serve(&self, request: AwsRequest) -> Result<AwsResponse, ConnectorError> {
        let AwsRequest { operation, body, .. } = &request;
        let body: Value =
            serde_json::from_slice(body).map_err(|error| ConnectorError::user(error.into()))?;
        // Others have their turn before a request and before its response, as over a network.
        yield_once().await;
        let fault = self.faults.next(format!("{operation} {}", items(&body).join(", ")));
        if fault == Some(Side::Before) {
            return Err(broken());
        }
        let now_ms = Clock::now(&self.clock).as_millisecond();
        let answer = self.with(|dynamo| dynamo.call(operation, &body, now_ms));
        yield_once().await;
        if let Err(refusal) = &answer {
            let is_ours = ["NotModelled", "SerializationException", "ValidationException"]
                .contains(&refusal.code.as_str());
            assert!(!is_ours, "{operation}: {}: {}", refusal.code, refusal.message);
        }
        if fault == Some(Side::After) { Err(broken()) } else { Ok(AwsResponse::json(answer)) }
    }
}

fn broken() -> ConnectorError {
    ConnectorError::io("broken on order".into())
}

/// The keys of the items that a request is about; of a query, the values it looks for.
fn items(body: &Value) -> Vec<String> {
    let text = |value: &Value| value.get("S").and_then(Value::as_str).map(str::to_owned);
    let key = |of: &Value| {
        let part = |name: &str| of.get(name).and_then(text);
        Some(format!("{} {}", part("pk")?, part("sk")?))
    };
    let of = |request: &Value| {
        let part = |name: &str| request.get(name).and_then(key);
        part("Key").or_else(|| part("Item"))
    };
    if let Some(key) = of(body) {
        return vec![key];
    }
    if let Some(actions) = body.get("TransactItems").and_then(Value::as_array) {
        let actions = actions.iter().filter_map(Value::as_object);
        return actions.flat_map(serde_json::Map::values).filter_map(of).collect();
    }
    if let Some(tables) = body.get("RequestItems").and_then(Value::as_object) {
        let read = tables.values().filter_map(|table| table.get("Keys")?.as_array()).flatten();
        let written = tables.values().filter_map(Value::as_array).flatten();
        let written = written.filter_map(Value::as_object).flat_map(serde_json::Map::values);
        return read.filter_map(key).chain(written.filter_map(of)).collect();
    }
    let values = body.get("ExpressionAttributeValues").and_then(Value::as_object);
    values.into_iter().flat_map(serde_json::Map::values).filter_map(text).collect()
}

impl TimeSource for FakeClock {
    fn now(&self) -> std::time::SystemTime {
        Clock::now(self).into()
    }
}
