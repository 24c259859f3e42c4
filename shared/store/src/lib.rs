//! The table: every key, and one file a port.
//!
//! There are no scans. Every write that a retry may repeat is conditional, so that a second
//! one changes nothing.

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

/// The table, behind every port that is about records.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

impl DynamoStore {
    /// The table `table` in the account and region of `aws`.
    #[must_use]
    pub fn new(aws: &aws_types::SdkConfig, table: String) -> Self {
        Self { client: Client::new(aws), table }
    }

    /// Opens a connection, so that the first request need not. Failure changes nothing.
    pub async fn prewarm(&self) {
        let request = self.get(&keys::tenant_listed("-"));
        let _answer = request.send().await;
    }
}
