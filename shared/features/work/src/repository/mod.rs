//! Jobs, job counters and the health of the hub, in the feature's table.

mod jobs;
pub mod keys;

use runtime::{Error, Kit};
use table::Table;

/// Items of the feature.
#[derive(Clone, Debug)]
pub struct Repository {
    table: Table,
    /// A notification about the end of a job is written in the same transaction.
    endpoints: endpoints::Repository,
}

impl Repository {
    /// Creates a repository in `table`, next to that of the notifications.
    #[must_use]
    pub fn new(table: Table, endpoints: endpoints::Repository) -> Self {
        Self { table, endpoints }
    }

    /// Returns the repository of a function.
    ///
    /// # Errors
    /// If an environment variable is missing.
    pub fn of<N, C, R>(kit: &Kit<N, C, R>) -> Result<Self, Error> {
        Ok(Self::new(kit.table("TABLE_NAME")?, endpoints::Repository::of(kit)?))
    }

    /// Opens a connection ahead of the first request. Failures are ignored.
    pub async fn prewarm(&self) {
        self.table.prewarm().await;
    }
}
