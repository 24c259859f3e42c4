//! Jobs, job counters, waiting workers and the health of the hub, in the feature's table.

mod jobs;
pub mod keys;
mod stats;
mod waiting;

use runtime::FeatureRepository;
use stats::Announcements;
use table::Table;

/// Items of the feature.
#[derive(Clone, Debug)]
pub struct Repository {
    table: Table,
    /// A notification about the end of a job is written in the same transaction.
    endpoints: endpoints::Repository,
    announcements: Announcements,
}

impl FeatureRepository for Repository {
    fn new<E>(table_of: &impl Fn(&'static str) -> Result<Table, E>) -> Result<Self, E> {
        Ok(Self {
            table: table_of("work")?,
            endpoints: endpoints::Repository::new(table_of)?,
            announcements: Announcements::default(),
        })
    }

    async fn prewarm(&self) {
        self.table.prewarm().await;
    }
}
