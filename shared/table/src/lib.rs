//! DynamoDB access: keys, items, conditional writes, leases, schedules, pages and transactions.
//!
//! Each feature describes its items and their keys in its `repository`. There are no scans. Every
//! write that a retry may repeat is conditional or idempotent.

mod item;
mod key;
mod lease;
mod list;
mod pages;
mod schedule;
mod transaction;
mod write;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::builders::GetItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
pub use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use domain::Retention;
use domain::ports::{PortResult, Recorded};
pub use item::{
    CancellationReason, Item, VERSION, binary, bytes, cancellation_reasons, corrupt, expire,
    failed, item, json, micros, micros_time, ms, n, number, parse, s, text, time, ttl, unsigned,
};
pub use key::{Key, sortable_micros};
pub use lease::{Holder, Lease, LeaseRequest, TakeOver, attempt};
pub use list::{List, ListRange};
pub use schedule::Schedule;
pub use transaction::{TransactionResult, in_transaction, lost_race};
use write::Kind;
pub use write::{Write, Written};

/// A DynamoDB table whose primary key is `pk` and `sk`, with the index `by_parent` on `gsi1pk` and
/// `gsi1sk`.
#[derive(Clone, Debug)]
pub struct Table {
    client: Client,
    name: String,
    retention: Option<Retention>,
}

/// The tables of an account and region, with one client.
#[derive(Clone, Debug)]
pub struct Tables {
    client: Client,
}

impl Tables {
    /// Creates the client from `aws`.
    #[must_use]
    pub fn new(aws: &aws_types::SdkConfig) -> Self {
        Self { client: Client::new(aws) }
    }

    /// Returns the table `name`.
    #[must_use]
    pub fn table(&self, name: String) -> Table {
        Table { client: self.client.clone(), name, retention: None }
    }
}

impl Table {
    /// Sets the retention of the items that the feature lets expire.
    #[must_use]
    pub fn with_retention(self, retention: Option<Retention>) -> Self {
        Self { retention, ..self }
    }

    /// Returns the retention that was set.
    #[must_use]
    pub fn retention(&self) -> Option<Retention> {
        self.retention
    }

    /// Opens a connection ahead of the first request. Failures are ignored.
    pub async fn prewarm(&self) {
        let request = self.get(&Key::new("-".to_owned(), "-"));
        let _answer = request.send().await;
    }

    fn get(&self, key: &Key) -> GetItemFluentBuilder {
        let get = self.client.get_item().table_name(&self.name).consistent_read(true);
        get.set_key(Some(key.attributes()))
    }

    /// Returns a write of one item, which replaces the item with its key.
    pub fn put(&self, item: Item) -> Write {
        Write::new(self, Kind::Put(item))
    }

    /// Returns a write of an item that does not exist yet: of several writers, one succeeds.
    pub fn put_new(&self, item: Item) -> Write {
        self.put(item).only_if("attribute_not_exists(pk)")
    }

    /// Returns an update of one item, which creates it if it does not exist.
    pub fn update(&self, key: &Key) -> Write {
        Write::new(self, Kind::Update(key.clone()))
    }

    /// Returns a delete of one item.
    pub fn delete(&self, key: &Key) -> Write {
        Write::new(self, Kind::Delete(key.clone()))
    }

    /// Returns a query.
    #[must_use]
    pub fn query(&self) -> QueryFluentBuilder {
        self.client.query().table_name(&self.name)
    }

    /// Writes an item once; returns [`Recorded::Duplicate`] if it exists already.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn put_once(&self, operation: &'static str, item: Item) -> PortResult<Recorded> {
        Ok(self.put_new(item).apply(operation).await?.recorded())
    }

    /// Reads one item, consistently.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn read(&self, operation: &'static str, key: &Key) -> PortResult<Option<Item>> {
        let answer = self.get(key).send().await.map_err(|error| failed(operation, &error))?;
        Ok(answer.item)
    }

    /// Reads one item, eventually consistently: for half the read units, it may miss writes of
    /// about the last second.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn read_eventually(
        &self,
        operation: &'static str,
        key: &Key,
    ) -> PortResult<Option<Item>> {
        let answer = self.get(key).consistent_read(false).send().await;
        Ok(answer.map_err(|error| failed(operation, &error))?.item)
    }
}
