//! SQS queues.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue, SendMessageBatchRequestEntry,
};
use domain::Fault;
use domain::ports::{ChangeVisibility, PortError, PortResult, Publisher, Record};
use domain::trace;
use futures::future::try_join_all;

use crate::Bucket;

/// Maximum number of entries in one request. <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub(crate) const MAX_ENTRIES: usize = 10;
/// Maximum total size of the bodies in one request: 1 MiB less the size of the other fields.
const MAX_REQUEST_BYTES: usize = 1_000_000;
/// Size above which a body is stored in the bucket, so that a typical batch of ten fits into one
/// request.
const CLAIM_CHECK_BYTES: usize = 200 * 1024;
/// Number of concurrent requests. The records of a group are in the same partition, and so keep
/// their order.
const PARTITIONS: u64 = 8;
/// Maximum visibility timeout: 12 hours from the receive, less the processing time.
const MAX_VISIBILITY: Duration = Duration::from_mins(11 * 60 + 50);

/// Message attribute with the reason for which the hub moved a record to a dead-letter queue.
pub(crate) const REASON: &str = "reason";
/// Message attribute with the ARN of the queue that the hub moved a record from.
pub(crate) const SOURCE: &str = "source";

/// One SQS queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    pub(crate) client: Client,
    pub(crate) url: String,
    fifo: bool,
    bucket: Option<Bucket>,
}

/// SQS client for all queues. It is shared, because creating one is expensive.
#[derive(Clone, Debug)]
pub struct Queues(Client);

impl Queues {
    /// Creates the client for the account and region of `aws`.
    #[must_use]
    pub fn new(aws: &aws_types::SdkConfig) -> Self {
        Self(Client::new(aws))
    }

    /// Returns the queue at `url`. Large bodies are stored in `bucket`; without a bucket, SQS
    /// rejects them.
    #[must_use]
    pub fn queue(&self, url: String, bucket: Option<Bucket>) -> SqsQueue {
        let fifo = url.strip_suffix(".fifo").is_some();
        SqsQueue { client: self.0.clone(), url, fifo, bucket }
    }
}

impl SqsQueue {
    /// Opens a connection ahead of the first request. Failures are ignored.
    pub async fn prewarm(&self) {
        // Any response will do, even a denied permission.
        let _answer = self.client.get_queue_attributes().queue_url(&self.url).send().await;
    }

    async fn send(&self, entries: Vec<SendMessageBatchRequestEntry>) -> PortResult<()> {
        let operation = "send records to a queue";
        let request = self.client.send_message_batch().queue_url(&self.url);
        let answer = request.set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| failed(operation, &error))?;
        match answer.failed().first() {
            None => Ok(()),
            Some(refused) => {
                let reason = refused.code().to_owned();
                Err(PortError { operation, reason, fault: Fault::Retryable })
            }
        }
    }

    /// Sends the records of a partition sequentially: a later record of a group must not overtake
    /// an earlier one.
    async fn send_in_order(&self, partition: Vec<Record>) -> PortResult<()> {
        // Escape before the sizes are added up.
        let escape = |record: Record| Record { body: escaped(record.body), ..record };
        let partition = partition.into_iter().map(escape).collect();
        for batch in batches(partition, self.bucket.is_some()) {
            let entries = batch.into_iter().enumerate();
            let entries = entries.map(|(index, record)| self.entry(index, record));
            self.send(try_join_all(entries).await?).await?;
        }
        Ok(())
    }

    /// Returns an entry, with its body in the bucket if it is large.
    async fn entry(
        &self,
        index: usize,
        record: Record,
    ) -> PortResult<SendMessageBatchRequestEntry> {
        let operation = "send records to a queue";
        let record = record.traced(trace::current());
        let body = match &self.bucket {
            // On the heap: this rare future would be the largest part of every entry.
            Some(bucket) if record.body.len() > CLAIM_CHECK_BYTES => {
                Box::pin(bucket.put_claim_check(record.body)).await?
            }
            _ => record.body,
        };
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .message_body(body)
            .message_group_id(record.group);
        if self.fifo {
            entry = entry.message_deduplication_id(record.deduplication_id);
        } else if let Some(delay) = record.delay {
            entry = entry.delay_seconds(i32::try_from(delay.as_secs().min(900)).unwrap_or(900));
        }
        let reason = record.reason.map(|reason| (REASON.to_owned(), attribute(&reason)));
        let source = record.source.map(|source| (SOURCE.to_owned(), source));
        for (name, text) in record.attributes.into_iter().chain(reason).chain(source) {
            let value = MessageAttributeValue::builder().data_type("String").string_value(text);
            let value = value.build().map_err(|_| malformed(operation))?;
            entry = entry.message_attributes(name, value);
        }
        entry.build().map_err(|_| malformed(operation))
    }
}

impl Publisher for SqsQueue {
    async fn publish(&self, records: Vec<Record>) -> PortResult<()> {
        if records.len() <= MAX_ENTRIES {
            return self.send_in_order(records).await;
        }
        let partitions =
            partitions(records).into_iter().map(|partition| self.send_in_order(partition));
        try_join_all(partitions).await.map(|_| ())
    }
}

impl ChangeVisibility for SqsQueue {
    async fn change_visibility(&self, records: &[(String, Duration)]) -> PortResult<()> {
        let operation = "change the visibility of records";
        for batch in records.chunks(MAX_ENTRIES) {
            let entries = batch.iter().enumerate().map(|(index, (receipt, wait))| {
                // Round up: a record that is received too early has to wait again.
                let wait = (*wait).min(MAX_VISIBILITY).as_millis().div_ceil(1000);
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(receipt)
                    .visibility_timeout(i32::try_from(wait).unwrap_or(i32::MAX))
                    .build()
                    .map_err(|_| malformed(operation))
            });
            let request = self.client.change_message_visibility_batch().queue_url(&self.url);
            let entries = entries.collect::<PortResult<_>>()?;
            let answer = request.set_entries(Some(entries)).send().await;
            let answer = answer.map_err(|error| failed(operation, &error))?;
            if let Some(refused) = answer.failed().first() {
                let reason = refused.code().to_owned();
                return Err(PortError { operation, reason, fault: Fault::Retryable });
            }
        }
        Ok(())
    }
}

/// Characters that SQS rejects, besides control characters, which JSON escapes.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
const INVALID_CHARACTERS: [char; 2] = ['\u{fffe}', '\u{ffff}'];

/// Escapes the characters that SQS rejects in a JSON body, so that a message that contains them
/// cannot block a queue.
fn escaped(body: String) -> String {
    if !body.contains(INVALID_CHARACTERS) {
        return body;
    }
    body.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
}

/// Returns a text that is valid as an attribute: not empty, and without invalid characters.
fn attribute(text: &str) -> String {
    let is_valid =
        |c: char| !INVALID_CHARACTERS.contains(&c) && (!c.is_control() || "\t\n\r".contains(c));
    let text: String = text.chars().filter(|c| is_valid(*c)).take(1000).collect();
    if text.is_empty() { "no reason given".to_owned() } else { text }
}

/// Distributes records over partitions. The records of a group stay together, in order.
fn partitions(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut partitions: Vec<Vec<Record>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    for record in records {
        let mut hasher = DefaultHasher::new();
        record.group.hash(&mut hasher);
        let partition = usize::try_from(hasher.finish() % PARTITIONS).unwrap_or_default();
        if let Some(partition) = partitions.get_mut(partition) {
            partition.push(record);
        }
    }
    partitions
}

/// Splits a partition into requests, by number and size.
fn batches(records: Vec<Record>, has_bucket: bool) -> Vec<Vec<Record>> {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    let mut size = 0;
    for record in records {
        // A large body is replaced by a claim check, if there is a bucket.
        let is_replaced = has_bucket && record.body.len() > CLAIM_CHECK_BYTES;
        let bytes = if is_replaced { 512 } else { record.body.len() + 512 };
        match batches.last_mut() {
            Some(batch) if batch.len() < MAX_ENTRIES && size + bytes <= MAX_REQUEST_BYTES => {
                size += bytes;
                batch.push(record);
            }
            _ => {
                size = bytes;
                batches.push(vec![record]);
            }
        }
    }
    batches
}

pub(crate) fn malformed(operation: &'static str) -> PortError {
    let reason = "a field of the record is missing".to_owned();
    PortError { operation, reason, fault: Fault::Permanent }
}

pub(crate) fn failed<E: ProvideErrorMetadata, R>(
    operation: &'static str,
    error: &SdkError<E, R>,
) -> PortError {
    aws::failed("SQS", operation, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(group: &str, size: usize) -> Record {
        Record { body: "x".repeat(size), group: group.to_owned(), ..Record::default() }
    }

    #[test]
    fn a_request_has_at_most_ten_records_and_a_megabyte() {
        let sizes = |records: Vec<Record>| -> Vec<usize> {
            batches(records, true).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes((0..23).map(|_| record("a", 10)).collect()), [10, 10, 3]);
        assert_eq!(sizes((0..10).map(|_| record("a", 190_000)).collect()), [5, 5]);
        assert_eq!(sizes((0..10).map(|_| record("a", 3_000_000)).collect()), [10]);
        let large = (0..3).map(|_| record("a", 400_000)).collect();
        assert_eq!(batches(large, false).iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn characters_that_sqs_rejects_are_escaped_and_parse_back() {
        let text = "a\u{fffe}b\u{ffff}c";
        let body = escaped(serde_json::to_string(text).unwrap());
        assert!(!body.contains(INVALID_CHARACTERS));
        assert_eq!(serde_json::from_str::<String>(&body).unwrap(), text);
        assert_eq!(attribute("\u{1}bad\u{ffff}"), "bad");
        assert_eq!(attribute(""), "no reason given");
    }

    #[test]
    fn records_of_one_group_share_a_partition_in_order() {
        let records = (0..100).map(|n| record(&format!("g{}", n % 7), n)).collect();
        let partitions = partitions(records);
        assert_eq!(partitions.iter().map(Vec::len).sum::<usize>(), 100);
        for group in 0..7 {
            let group = format!("g{group}");
            let holders: Vec<_> = partitions
                .iter()
                .filter(|partition| partition.iter().any(|r| r.group == group))
                .collect();
            assert_eq!(holders.len(), 1);
            let sizes = holders[0].iter().filter(|r| r.group == group).map(|r| r.body.len());
            assert!(sizes.is_sorted());
        }
    }
}
