//! Events and replays, in the feature's table.

mod events;
pub mod keys;
mod replays;

use domain::Retention;
use runtime::FeatureRepository;
use table::Table;

use crate::model::EVENT_RETENTION;

/// Items of the feature.
#[derive(Clone, Debug)]
pub struct Repository {
    table: Table,
}

impl Repository {
    /// Returns how long event records are kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.table.retention().unwrap_or(EVENT_RETENTION)
    }
}

impl FeatureRepository for Repository {
    fn new<E>(table_of: &impl Fn(&'static str) -> Result<Table, E>) -> Result<Self, E> {
        Ok(Self { table: table_of("events")? })
    }

    async fn prewarm(&self) {
        self.table.prewarm().await;
    }
}
