//! Queues in the simulated SQS, for AWS clients.

use std::sync::{Arc, Mutex};

use aws_types::SdkConfig;
use domain::ports::Clock;
use serde_json::Value;

use crate::cloud::Refusal;
use crate::cloud::client::{self, AwsEndpoint, AwsRequest, AwsResponse, ConnectorError};
use crate::cloud::sqs::{Message, NoChaos, QueueSettings, Sqs};
use crate::table::{json_body, run_request};
use crate::{FakeClock, Faults, lock};

/// Fourteen days, the longest retention period, in seconds.
const RETENTION_S: i64 = 1_209_600;

/// Queues in the simulated SQS. Every request goes through its [`Faults`]. Clones share the queues.
#[derive(Clone, Debug)]
pub struct SimulatedQueues {
    sqs: Arc<Mutex<Sqs>>,
    clock: FakeClock,
    faults: Faults,
}

impl SimulatedQueues {
    /// Creates SQS without a queue, which handles requests at the time of `clock`.
    #[must_use]
    pub fn new(clock: &FakeClock) -> Self {
        Self { sqs: Arc::default(), clock: clock.clone(), faults: Faults::default() }
    }

    /// Returns the same queues with requests that fail as `faults` plans.
    #[must_use]
    pub fn with_faults(self, faults: &Faults) -> Self {
        Self { faults: faults.clone(), ..self }
    }

    /// Creates a queue as the hub has them, and its dead-letter queue, to which SQS moves a message
    /// after `max_receives` receives.
    ///
    /// # Errors
    /// If a name is not valid, or belongs to a queue with other settings.
    pub fn create(&self, name: &str, dead_letters: &str, max_receives: u32) -> Result<(), Refusal> {
        let fifo = name.strip_suffix(".fifo").is_some();
        let now_ms = Clock::now(&self.clock).as_millisecond();
        let base = QueueSettings { fifo, retention_s: RETENTION_S, ..QueueSettings::default() };
        let own = QueueSettings {
            deduplication_scope_message_group: fifo,
            max_receive_count: Some(max_receives),
            dead_letter_queue: Some(dead_letters.to_owned()),
            ..base.clone()
        };
        let mut sqs = lock(&self.sqs);
        sqs.create_queue(dead_letters, base, now_ms)?;
        sqs.create_queue(name, own, now_ms).map(|_| ())
    }

    /// Returns all messages of a queue, hidden ones too, in the order of arrival.
    #[must_use]
    pub fn messages(&self, url: &str) -> Vec<Message> {
        lock(&self.sqs).messages(url).cloned().collect()
    }

    /// Makes one request without faults.
    ///
    /// # Errors
    /// If SQS refuses it.
    pub fn request(&self, operation: &str, body: &Value) -> Result<Value, Refusal> {
        let now_ms = Clock::now(&self.clock).as_millisecond();
        lock(&self.sqs).call(operation, body, now_ms, &mut NoChaos)
    }

    /// Returns the configuration of an AWS client that sends its requests to the queues.
    #[must_use]
    pub fn config(&self) -> SdkConfig {
        client::config(self.clone(), self.clock.clone())
    }
}

impl AwsEndpoint for SimulatedQueues {
    async fn serve(&self, request: AwsRequest) -> Result<AwsResponse, ConnectorError> {
        let operation = &request.operation;
        let body = json_body(&request)?;
        run_request(&self.faults, operation.clone(), || self.request(operation, &body)).await
    }
}
