//! Tests of the whole hub.

use table::Tables;

/// The repositories of all features, in one table.
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
    /// Creates the repositories in the table `name`.
    #[must_use]
    pub fn new(aws: &aws_types::SdkConfig, name: String) -> Self {
        let table = Tables::new(aws).table(name);
        let endpoints = endpoints::Repository::new(table.clone());
        Self {
            accounts: accounts::Repository::new(table.clone()),
            events: events::Repository::new(table.clone()),
            messages: messaging::Repository::new(table.clone()),
            jobs: work::Repository::new(table, endpoints.clone()),
            endpoints,
        }
    }
}
