//! Events and replays, in the feature's table.

mod events;
pub mod keys;
mod replays;

use runtime::{Error, Kit};
use table::Table;

/// Items of the feature.
#[derive(Clone, Debug)]
pub struct Repository {
    table: Table,
}

impl Repository {
    /// Creates a repository in `table`.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    /// Returns the repository of a function.
    ///
    /// # Errors
    /// If an environment variable is missing.
    pub fn of<N, C, R>(kit: &Kit<N, C, R>) -> Result<Self, Error> {
        Ok(Self::new(kit.table("TABLE_NAME")?))
    }

    /// Opens a connection ahead of the first request. Failures are ignored.
    pub async fn prewarm(&self) {
        self.table.prewarm().await;
    }
}
