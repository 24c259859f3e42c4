//! One SQS queue.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue, SendMessageBatchRequestEntry,
};
use domain::Fault;
use domain::ports::{PortError, PortResult, Postpone, Publisher, Record};
use futures::future::try_join_all;

use crate::Bucket;

/// Entries in one request. <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const ENTRIES: usize = 10;
/// Bytes in one request: 1 MiB, less room for what surrounds the bodies.
const BYTES: usize = 1_000_000;
/// Bodies above this go to the bucket, so that ten of a usual batch still share a request.
const CLAIM_CHECK: usize = 200 * 1024;
/// Requests under way at once. Records of one group share a lane, and so keep their order.
const LANES: u64 = 8;
/// The longest a record may be hidden: 12 hours since it was received, less the time it has
/// been worked on.
const LONGEST: Duration = Duration::from_mins(11 * 60 + 50);

/// One SQS queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
    fifo: bool,
    bucket: Option<Bucket>,
}

/// The way to all queues: making it costs more than all the queues together.
#[derive(Clone, Debug)]
pub struct Queues(Client);

impl Queues {
    /// The queues in the account and region of `aws`.
    #[must_use]
    pub fn new(aws: &aws_types::SdkConfig) -> Self {
        Self(Client::new(aws))
    }

    /// The queue at `url`; what is too large for it goes to `bucket`. Without one, large
    /// bodies are refused.
    #[must_use]
    pub fn queue(&self, url: String, bucket: Option<Bucket>) -> SqsQueue {
        let fifo = url.strip_suffix(".fifo").is_some();
        SqsQueue { client: self.0.clone(), url, fifo, bucket }
    }
}

impl SqsQueue {
    /// Opens a connection, so that the first request need not. Failure changes nothing.
    pub async fn prewarm(&self) {
        // It need not be allowed; it needs an answer.
        let _answer = self.client.get_queue_attributes().queue_url(&self.url).send().await;
    }

    async fn send(&self, entries: Vec<SendMessageBatchRequestEntry>) -> PortResult<()> {
        let operation = "put records into a queue";
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

    /// Sends the records of a lane in series: a later record of a group must not overtake an
    /// earlier one.
    async fn work_off(&self, lane: Vec<Record>) -> PortResult<()> {
        for batch in batches(lane) {
            let entries = batch.into_iter().enumerate();
            let entries = entries.map(|(index, record)| self.entry(index, record));
            self.send(try_join_all(entries).await?).await?;
        }
        Ok(())
    }

    /// One entry, with its body in the bucket if it is large.
    async fn entry(
        &self,
        index: usize,
        record: Record,
    ) -> PortResult<SendMessageBatchRequestEntry> {
        let operation = "put records into a queue";
        let body = match &self.bucket {
            // On the heap, because it is rare: it would be the largest part of every entry.
            Some(bucket) if record.body.len() > CLAIM_CHECK => {
                Box::pin(bucket.check_in(record.body)).await?
            }
            _ => fit(record.body),
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
        if let Some(reason) = record.reason {
            let value = MessageAttributeValue::builder();
            let value = value.data_type("String").string_value(attribute(&reason));
            let value = value.build().map_err(|_| malformed(operation))?;
            entry = entry.message_attributes("reason", value);
        }
        entry.build().map_err(|_| malformed(operation))
    }
}

impl Publisher for SqsQueue {
    async fn publish(&self, records: Vec<Record>) -> PortResult<()> {
        if records.len() <= ENTRIES {
            return self.work_off(records).await;
        }
        let lanes = lanes(records).into_iter().map(|lane| self.work_off(lane));
        try_join_all(lanes).await.map(|_| ())
    }
}

impl Postpone for SqsQueue {
    async fn postpone(&self, records: &[(String, Duration)]) -> PortResult<()> {
        let operation = "postpone records";
        for batch in records.chunks(ENTRIES) {
            let entries = batch.iter().enumerate().map(|(index, (receipt, wait))| {
                // Rounded up: a record that comes back too early has waited for nothing.
                let wait = (*wait).min(LONGEST).as_millis().div_ceil(1000);
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

/// What no message of a queue may hold, besides control characters, which JSON escapes.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
const REFUSED: [char; 2] = ['\u{fffe}', '\u{ffff}'];

/// A JSON body in the characters that a queue takes: those it refuses are escaped, so that
/// nobody can stop a queue by writing them.
fn fit(body: String) -> String {
    if !body.contains(REFUSED) {
        return body;
    }
    body.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
}

/// A text as an attribute may hold it: not empty, and in the characters that a queue takes.
fn attribute(text: &str) -> String {
    let fits = |c: char| !REFUSED.contains(&c) && (!c.is_control() || "\t\n\r".contains(c));
    let text: String = text.chars().filter(|c| fits(*c)).take(1000).collect();
    if text.is_empty() { "no reason was given".to_owned() } else { text }
}

/// Spreads records over lanes so that those of one group stay together, in order.
fn lanes(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut lanes: Vec<Vec<Record>> = (0..LANES).map(|_| Vec::new()).collect();
    for record in records {
        let mut hasher = DefaultHasher::new();
        record.group.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES).unwrap_or_default();
        if let Some(lane) = lanes.get_mut(lane) {
            lane.push(record);
        }
    }
    lanes
}

/// Cuts a lane into requests by number and size.
fn batches(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    let mut size = 0;
    for record in records {
        // A large body leaves only a pointer.
        let bytes = if record.body.len() > CLAIM_CHECK { 512 } else { record.body.len() + 512 };
        match batches.last_mut() {
            Some(batch) if batch.len() < ENTRIES && size + bytes <= BYTES => {
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

fn malformed(operation: &'static str) -> PortError {
    let reason = "a record lacks a part".to_owned();
    PortError { operation, reason, fault: Fault::Permanent }
}

fn failed<E: ProvideErrorMetadata, R>(
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
            batches(records).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes((0..23).map(|_| record("a", 10)).collect()), [10, 10, 3]);
        assert_eq!(sizes((0..10).map(|_| record("a", 190_000)).collect()), [5, 5]);
        assert_eq!(sizes((0..10).map(|_| record("a", 3_000_000)).collect()), [10]);
    }

    #[test]
    fn what_a_queue_refuses_is_escaped_and_reads_as_before() {
        let said = "a\u{fffe}b\u{ffff}c";
        let body = fit(serde_json::to_string(said).unwrap());
        assert!(!body.contains(REFUSED));
        assert_eq!(serde_json::from_str::<String>(&body).unwrap(), said);
        assert_eq!(attribute("\u{1}bad\u{ffff}"), "bad");
        assert_eq!(attribute(""), "no reason was given");
    }

    #[test]
    fn records_of_one_group_share_a_lane_in_order() {
        let records = (0..100).map(|n| record(&format!("g{}", n % 7), n)).collect();
        let lanes = lanes(records);
        assert_eq!(lanes.iter().map(Vec::len).sum::<usize>(), 100);
        for group in 0..7 {
            let group = format!("g{group}");
            let homes: Vec<_> =
                lanes.iter().filter(|lane| lane.iter().any(|r| r.group == group)).collect();
            assert_eq!(homes.len(), 1);
            let sizes = homes[0].iter().filter(|r| r.group == group).map(|r| r.body.len());
            assert!(sizes.is_sorted());
        }
    }
}
