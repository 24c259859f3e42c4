//! Transactions.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, DeleteRequest, Put, TransactWriteItem, Update,
    WriteRequest,
};
use domain::Fault;
use domain::ports::{PortError, PortResult};

use crate::{CancellationReason, Item, Key, Table, cancellation_reasons, corrupt, failed, s};

/// Result of a transaction.
pub type TransactionResult = Result<(), SdkError<TransactWriteItemsError>>;

/// Maximum number of writes in one `BatchWriteItem` request.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>
const MAX_BATCH_WRITES: usize = 25;

/// Values of an expression, by name.
type Values<'a> = Vec<(&'a str, AttributeValue)>;

impl Table {
    /// Returns a write of an item, on a condition if there is one. Attribute names that are
    /// reserved words are written as `#name`.
    ///
    /// # Errors
    /// If the item has no key, which is a bug.
    pub fn put_write(
        &self,
        operation: &'static str,
        item: Item,
        condition: Option<&str>,
        values: Values<'_>,
    ) -> PortResult<TransactWriteItem> {
        let mut put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .set_condition_expression(condition.map(ToOwned::to_owned));
        for (word, name) in reserved(condition.unwrap_or_default()) {
            put = put.expression_attribute_names(word, name);
        }
        for (name, value) in values {
            put = put.expression_attribute_values(name, value);
        }
        let put = put.build().map_err(|_| corrupt(operation, "keys"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Returns a write of an item that does not exist yet.
    ///
    /// # Errors
    /// As [`Self::put_write`].
    pub fn put_new(&self, operation: &'static str, item: Item) -> PortResult<TransactWriteItem> {
        self.put_write(operation, item, Some("attribute_not_exists(pk)"), Vec::new())
    }

    /// Returns an unconditional write of an item.
    ///
    /// # Errors
    /// As [`Self::put_write`].
    pub fn put_always(&self, operation: &'static str, item: Item) -> PortResult<TransactWriteItem> {
        self.put_write(operation, item, None, Vec::new())
    }

    /// Returns an update, on a condition if there is one. Attribute names that are reserved words
    /// are written as `#name`.
    ///
    /// # Errors
    /// If the update has no key, which is a bug.
    pub fn update_write(
        &self,
        operation: &'static str,
        key: &Key,
        expression: &str,
        condition: Option<&str>,
        values: Values<'_>,
    ) -> PortResult<TransactWriteItem> {
        let mut update = Update::builder()
            .table_name(&self.name)
            .key("pk", s(&key.pk))
            .key("sk", s(&key.sk))
            .update_expression(expression)
            .set_condition_expression(condition.map(ToOwned::to_owned));
        for (word, name) in reserved(expression) {
            update = update.expression_attribute_names(word, name);
        }
        for (name, value) in values {
            update = update.expression_attribute_values(name, value);
        }
        let update = update.build().map_err(|_| corrupt(operation, "keys"))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Returns a delete of an item, on a condition if there is one.
    ///
    /// # Errors
    /// If the delete has no key, which is a bug.
    pub fn delete_write(
        &self,
        operation: &'static str,
        key: &Key,
        condition: Option<&str>,
        values: Values<'_>,
    ) -> PortResult<TransactWriteItem> {
        let mut delete = Delete::builder()
            .table_name(&self.name)
            .key("pk", s(&key.pk))
            .key("sk", s(&key.sk))
            .set_condition_expression(condition.map(ToOwned::to_owned));
        for (name, value) in values {
            delete = delete.expression_attribute_values(name, value);
        }
        let delete = delete.build().map_err(|_| corrupt(operation, "keys"))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// Returns a check of a condition on an item that is not written.
    ///
    /// # Errors
    /// If the check has no key, which is a bug.
    pub fn check_write(
        &self,
        operation: &'static str,
        key: &Key,
        condition: &str,
    ) -> PortResult<TransactWriteItem> {
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .key("pk", s(&key.pk))
            .key("sk", s(&key.sk))
            .condition_expression(condition);
        let check = check.build().map_err(|_| corrupt(operation, "keys"))?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// Writes a transaction. The client sets an idempotency token, so that its own retry after a
    /// lost response has no further effect.
    ///
    /// # Errors
    /// The error of the request; [`cancellation_reasons`] says which writes caused it.
    pub async fn write_all(&self, writes: Vec<TransactWriteItem>) -> TransactionResult {
        let request = self.client.transact_write_items().set_transact_items(Some(writes));
        request.send().await.map(|_| ())
    }

    /// Deletes items.
    ///
    /// # Errors
    /// If a request fails, or if DynamoDB deletes only a part of the items.
    pub async fn delete_all(&self, operation: &'static str, keys: &[Key]) -> PortResult<()> {
        for batch in keys.chunks(MAX_BATCH_WRITES) {
            let writes = batch.iter().filter_map(|key| {
                let delete = DeleteRequest::builder().key("pk", s(&key.pk)).key("sk", s(&key.sk));
                Some(WriteRequest::builder().delete_request(delete.build().ok()?).build())
            });
            let request =
                self.client.batch_write_item().request_items(&self.name, writes.collect());
            let answer = request.send().await.map_err(|error| failed(operation, &error))?;
            if answer.unprocessed_items().is_some_and(|items| !items.is_empty()) {
                let reason = "some items were not processed".to_owned();
                return Err(PortError { operation, reason, fault: Fault::Retryable });
            }
        }
        Ok(())
    }
}

/// Returns the attribute names in an expression that are written as `#name`, with the name itself.
fn reserved(expression: &str) -> impl Iterator<Item = (&str, &str)> {
    let words = expression.split([' ', ',', '(', ')']);
    words.filter_map(|word| Some((word, word.strip_prefix('#')?)))
}

/// Returns whether a transaction failed only because of a concurrent write: then the caller reads
/// again and retries.
#[must_use]
pub fn lost_race(error: &SdkError<TransactWriteItemsError>) -> bool {
    let reasons = cancellation_reasons(error);
    !reasons.is_empty() && !reasons.contains(&CancellationReason::Other)
}
