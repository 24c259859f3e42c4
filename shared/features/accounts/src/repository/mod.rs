//! Tenants, API keys, integrations, routes, circuit breakers and automations, in the feature's table.

mod automation;
mod directory;
pub mod keys;
mod registry;
mod routes;

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
