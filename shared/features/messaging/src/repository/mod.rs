//! Messages, conversations, idempotency keys and rate limit counters, in the feature's table.

mod inbox;
mod item;
pub mod keys;
mod library;
mod outbox;
mod outgoing;
mod receipts;

use domain::Retention;
use runtime::FeatureRepository;
use table::Table;

/// Items of the feature.
#[derive(Clone, Debug)]
pub struct Repository {
    table: Table,
}

impl Repository {
    /// Returns how long messages are kept.
    fn retention(&self) -> Retention {
        self.table.retention().unwrap_or(Retention::FOREVER)
    }
}

impl FeatureRepository for Repository {
    fn new<E>(table_of: &impl Fn(&'static str) -> Result<Table, E>) -> Result<Self, E> {
        Ok(Self { table: table_of("messaging")? })
    }

    async fn prewarm(&self) {
        self.table.prewarm().await;
    }
}
