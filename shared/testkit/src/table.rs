//! The hub's tables in the simulated `DynamoDB`, for AWS clients.

use std::sync::{Arc, Mutex};

use aws_smithy_async::time::TimeSource;
use aws_types::SdkConfig;
use domain::ports::Clock;
use serde_json::Value;

use crate::cloud::Refusal;
use crate::cloud::client::{self, AwsEndpoint, AwsRequest, AwsResponse, ConnectorError};
use crate::cloud::dynamo::{Dynamo, TableSchema};
use crate::faults::yield_once;
use crate::{FakeClock, Faults, Side, lock};

/// The hub's tables in the simulated `DynamoDB`. Every request goes through its [`Faults`]. Clones
/// share the tables.
#[derive(Clone, Debug)]
pub struct SimulatedTables {
    dynamo: Arc<Mutex<Dynamo>>,
    clock: FakeClock,
    faults: Faults,
}

impl SimulatedTables {
    /// The features that have a table, which has the feature's name.
    pub const FEATURES: [&str; 5] = ["accounts", "events", "endpoints", "messaging", "work"];

    /// Creates empty tables that handle requests at the time of `clock`.
    #[must_use]
    pub fn new(clock: &FakeClock) -> Self {
        let mut dynamo = Dynamo::new();
        for name in Self::FEATURES {
            dynamo.create_table(TableSchema::of_the_hub(name));
        }
        let dynamo = Arc::new(Mutex::new(dynamo));
        Self { dynamo, clock: clock.clone(), faults: Faults::default() }
    }

    /// Returns the same tables with requests that fail as `faults` plans.
    #[must_use]
    pub fn with_faults(self, faults: &Faults) -> Self {
        Self { faults: faults.clone(), ..self }
    }

    /// Returns the faults of the requests to the tables.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Reads or changes the simulated service without a request.
    pub fn with<T>(&self, act: impl FnOnce(&mut Dynamo) -> T) -> T {
        act(&mut lock(&self.dynamo))
    }

    /// Returns the configuration of an AWS client that sends its requests to the tables.
    #[must_use]
    pub fn config(&self) -> SdkConfig {
        client::config(self.clone(), self.clock.clone())
    }
}

impl AwsEndpoint for SimulatedTables {
    /// # Panics
    /// If `DynamoDB` would never accept the request, or the request is not modelled: no test may
    /// pass because of such an error.
    async fn serve(&self, request: AwsRequest) -> Result<AwsResponse, ConnectorError> {
        let operation = &request.operation;
        let body = json_body(&request)?;
        let what = format!("{operation} {}", item_keys(&body).join(", "));
        let call = || {
            let now_ms = Clock::now(&self.clock).as_millisecond();
            let answer = self.with(|dynamo| dynamo.call(operation, &body, now_ms));
            if let Err(refusal) = &answer {
                let is_callers_error =
                    ["NotModelled", "SerializationException", "ValidationException"]
                        .contains(&refusal.code.as_str());
                assert!(!is_callers_error, "{operation}: {}: {}", refusal.code, refusal.message);
            }
            answer
        };
        run_request(&self.faults, what, call).await
    }
}

/// Reads the body of a request.
pub(crate) fn json_body(request: &AwsRequest) -> Result<Value, ConnectorError> {
    serde_json::from_slice(&request.body).map_err(|error| ConnectorError::user(error.into()))
}

/// Runs `call` as one request, which fails as `faults` plans.
pub(crate) async fn run_request(
    faults: &Faults,
    what: String,
    call: impl FnOnce() -> Result<Value, Refusal> + Send,
) -> Result<AwsResponse, ConnectorError> {
    let connection_error = || ConnectorError::io("injected fault".into());
    // Other tasks run before the request and before its response, as over a network.
    yield_once().await;
    let fault = faults.next(what);
    if fault == Some(Side::Before) {
        return Err(connection_error());
    }
    let answer = call();
    yield_once().await;
    if fault == Some(Side::After) { Err(connection_error()) } else { Ok(AwsResponse::json(answer)) }
}

/// Returns the keys of the items that a request names; for a query, the values it searches for.
fn item_keys(body: &Value) -> Vec<String> {
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
