//! DynamoDB access: keys, items, expressions, pages and transactions.
//!
//! Each feature describes its items and their keys in its `repository`. There are no scans. Every
//! write that a retry may repeat is conditional or idempotent.

mod item;
mod key;
mod pages;
mod transaction;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::builders::DeleteItemFluentBuilder;
use aws_sdk_dynamodb::operation::get_item::builders::GetItemFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
pub use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
pub use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use domain::ports::PortResult;
pub use item::{
    CancellationReason, Item, VERSION, base, cancellation_reasons, corrupt, delete_refused, failed,
    item, json, micros, micros_time, ms, n, number, parse, put_refused, refused, s, text, time,
    ttl, unsigned, update_conflicted,
};
pub use key::Key;
pub use transaction::{TransactionResult, lost_race};

/// A DynamoDB table whose primary key is `pk` and `sk`, with the index `by_parent` on `gsi1pk` and
/// `gsi1sk`.
#[derive(Clone, Debug)]
pub struct Table {
    client: Client,
    name: String,
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
        Table { client: self.client.clone(), name }
    }
}

impl Table {
    /// Opens a connection ahead of the first request. Failures are ignored.
    pub async fn prewarm(&self) {
        let request = self.get(&Key::new("-".to_owned(), "-"));
        let _answer = request.send().await;
    }

    /// Returns a consistent read of one item.
    #[must_use]
    pub fn get(&self, key: &Key) -> GetItemFluentBuilder {
        let get = self.client.get_item().table_name(&self.name).consistent_read(true);
        get.key("pk", s(&key.pk)).key("sk", s(&key.sk))
    }

    /// Returns a write of one item.
    #[must_use]
    pub fn put(&self, item: Item) -> PutItemFluentBuilder {
        self.client.put_item().table_name(&self.name).set_item(Some(item))
    }

    /// Returns an update of one item.
    #[must_use]
    pub fn update(&self, key: &Key) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.name);
        update.key("pk", s(&key.pk)).key("sk", s(&key.sk))
    }

    /// Returns a delete of one item.
    #[must_use]
    pub fn delete(&self, key: &Key) -> DeleteItemFluentBuilder {
        let delete = self.client.delete_item().table_name(&self.name);
        delete.key("pk", s(&key.pk)).key("sk", s(&key.sk))
    }

    /// Returns a query.
    #[must_use]
    pub fn query(&self) -> QueryFluentBuilder {
        self.client.query().table_name(&self.name)
    }

    /// Reads one item.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn read(&self, operation: &'static str, key: &Key) -> PortResult<Option<Item>> {
        let answer = self.get(key).send().await.map_err(|error| failed(operation, &error))?;
        Ok(answer.item)
    }
}
