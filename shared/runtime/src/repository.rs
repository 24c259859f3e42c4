//! Repositories of the features.

use table::Table;

/// Repository of a feature: its items, in its table. A [`Kit`](crate::Kit) creates it.
pub trait FeatureRepository: Sized + Send + Sync + 'static {
    /// Creates the repository. `table_of` returns the table of a feature, by the feature's name.
    ///
    /// # Errors
    /// The error of `table_of`.
    fn new<E>(table_of: &impl Fn(&'static str) -> Result<Table, E>) -> Result<Self, E>;

    /// Opens a connection ahead of the first request. Failures are ignored.
    fn prewarm(&self) -> impl Future<Output = ()> + Send;
}
