//! Tenants, API keys, integrations, routes, circuit breakers, automations and audit records, in the
//! feature's table.

mod audit;
mod automation;
mod directory;
pub mod keys;
mod limits;
mod registry;
mod routes;

use runtime::FeatureRepository;
use table::Table;

/// Items of the feature.
#[derive(Clone, Debug)]
pub struct Repository {
    table: Table,
}

impl FeatureRepository for Repository {
    fn new<E>(table_of: &impl Fn(&'static str) -> Result<Table, E>) -> Result<Self, E> {
        Ok(Self { table: table_of("accounts")? })
    }

    async fn prewarm(&self) {
        self.table.prewarm().await;
    }
}
