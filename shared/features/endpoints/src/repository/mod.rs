//! Notifications, and the schedule of their retries, in the feature's table.

pub mod keys;
mod notifications;

use runtime::FeatureRepository;
use table::Table;

/// Items of the feature.
#[derive(Clone, Debug)]
pub struct Repository {
    table: Table,
}

impl FeatureRepository for Repository {
    fn new<E>(table_of: &impl Fn(&'static str) -> Result<Table, E>) -> Result<Self, E> {
        Ok(Self { table: table_of("endpoints")? })
    }

    async fn prewarm(&self) {
        self.table.prewarm().await;
    }
}
