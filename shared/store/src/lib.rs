//! DynamoDB table: all keys, and one file per port.
//!
//! There are no scans. Every write that a retry may repeat is conditional or idempotent.

mod deliveries;
mod directory;
mod events;
mod inbox;
mod item;
mod jobs;
pub mod keys;
mod library;
mod outbox;
mod outgoing;
mod receipts;
mod registry;
mod replays;
mod routes;

use aws_sdk_dynamodb::Client;

/// DynamoDB implementation of the storage ports.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

impl DynamoStore {
    /// Returns the table `table` in the account and region of `aws`.
    #[must_use]
    pub fn new(aws: &aws_types::SdkConfig, table: String) -> Self {
        Self { client: Client::new(aws), table }
    }

    /// Opens a connection ahead of the first request. Failures are ignored.
    pub async fn prewarm(&self) {
        let request = self.get(&keys::tenant_listed("-"));
        let _answer = request.send().await;
    }
}
