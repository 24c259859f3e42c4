//! Tests of the whole hub.

pub mod sample;

use std::convert::Infallible;

use domain::Retention;
use runtime::{Error, FeatureRepository, Kit};
use table::Tables;

/// The repositories of all features.
#[derive(Clone, Debug)]
pub struct Repositories {
    /// Tenants, keys and integrations.
    pub accounts: accounts::Repository,
    /// Events and replays.
    pub events: events::Repository,
    /// Notifications.
    pub endpoints: endpoints::Repository,
    /// Messages and conversations.
    pub messages: messaging::Repository,
    /// Jobs.
    pub jobs: work::Repository,
}

impl Repositories {
    /// Creates the repositories. `name_of` returns the name of a feature's table.
    #[must_use]
    pub fn new(aws: &aws_types::SdkConfig, name_of: impl Fn(&str) -> String) -> Self {
        Self::keeping(aws, name_of, None)
    }

    /// Creates the repositories with the same retention for every feature that has one.
    #[must_use]
    pub fn keeping(
        aws: &aws_types::SdkConfig,
        name_of: impl Fn(&str) -> String,
        retention: Option<Retention>,
    ) -> Self {
        let tables = Tables::new(aws);
        let table_of = |feature| {
            let table = tables.table(name_of(feature));
            Ok::<_, Infallible>(table.with_retention(retention))
        };
        let Ok(repositories) = Self::on(&table_of);
        repositories
    }

    /// Returns the repositories of a deployment.
    ///
    /// # Errors
    /// If an environment variable with the name of a table is missing.
    pub fn of(kit: &Kit) -> Result<Self, Error> {
        Ok(Self {
            accounts: kit.repository()?,
            events: kit.repository()?,
            endpoints: kit.repository()?,
            messages: kit.repository()?,
            jobs: kit.repository()?,
        })
    }

    fn on<E>(table_of: &impl Fn(&'static str) -> Result<table::Table, E>) -> Result<Self, E> {
        Ok(Self {
            accounts: accounts::Repository::new(table_of)?,
            events: events::Repository::new(table_of)?,
            endpoints: endpoints::Repository::new(table_of)?,
            messages: messaging::Repository::new(table_of)?,
            jobs: work::Repository::new(table_of)?,
        })
    }
}
