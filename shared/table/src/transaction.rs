//! Transactions and batches.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{ConditionCheck, DeleteRequest, TransactWriteItem, WriteRequest};
use domain::Fault;
use domain::ports::{PortError, PortResult};

use crate::{CancellationReason, Key, Table, Write, cancellation_reasons, corrupt, failed};

/// Result of a transaction.
pub type TransactionResult = Result<(), SdkError<TransactWriteItemsError>>;

/// Maximum number of writes in one `BatchWriteItem` request.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>
const MAX_BATCH_WRITES: usize = 25;

impl Table {
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
            .set_key(Some(key.attributes()))
            .condition_expression(condition);
        let check = check.build().map_err(|_| corrupt(operation, "keys"))?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }

    /// Writes a transaction, which may contain writes of other tables. The client sets an
    /// idempotency token, so that its own retry after a lost response has no further effect.
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
                let delete = DeleteRequest::builder().set_key(Some(key.attributes()));
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

/// Makes writes part of a transaction.
///
/// # Errors
/// As [`Write::in_transaction`].
pub fn in_transaction(
    operation: &'static str,
    writes: Vec<Write>,
) -> PortResult<Vec<TransactWriteItem>> {
    writes.into_iter().map(|write| write.in_transaction(operation)).collect()
}

/// Returns whether a transaction failed only because of a concurrent write: then the caller reads
/// again and retries.
#[must_use]
pub fn lost_race(error: &SdkError<TransactWriteItemsError>) -> bool {
    let reasons = cancellation_reasons(error);
    !reasons.is_empty() && !reasons.contains(&CancellationReason::Other)
}
