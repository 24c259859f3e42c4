//! Dead-letter queues: receive, count and delete their records.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
};
use domain::Fault;
use domain::ports::{
    CountRecords, DeadLetter, DeleteRecords, PortError, PortResult, ReceiveDeadLetters, RecordCount,
};
use jiff::Timestamp;

use crate::SqsQueue;
use crate::sqs::{MAX_ENTRIES, REASON, SOURCE, failed, malformed};

/// Wait for a record, in seconds. Without a wait, SQS asks only some of its servers and may return
/// nothing although the queue has records.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>
const WAIT: i32 = 1;

impl ReceiveDeadLetters for SqsQueue {
    async fn receive(&self, hidden_for: Duration) -> PortResult<Vec<DeadLetter>> {
        let request = self.client.receive_message().queue_url(&self.url);
        let answer = request
            .max_number_of_messages(10)
            .visibility_timeout(i32::try_from(hidden_for.as_secs()).unwrap_or(i32::MAX))
            .wait_time_seconds(WAIT)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .map_err(|error| failed("receive dead letters", &error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(dead_letter).collect())
    }
}

impl DeleteRecords for SqsQueue {
    async fn delete(&self, receipts: &[String]) -> PortResult<()> {
        let operation = "delete records of a queue";
        for batch in receipts.chunks(MAX_ENTRIES) {
            let entries = batch.iter().enumerate().map(|(index, receipt)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
                entry.receipt_handle(receipt).build().map_err(|_| malformed(operation))
            });
            let entries = entries.collect::<PortResult<_>>()?;
            let request = self.client.delete_message_batch().queue_url(&self.url);
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

impl CountRecords for SqsQueue {
    async fn count(&self) -> PortResult<RecordCount> {
        let visible = QueueAttributeName::ApproximateNumberOfMessages;
        let hidden = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let request = request.attribute_names(visible.clone()).attribute_names(hidden.clone());
        let answer = request.send().await.map_err(|error| failed("count dead letters", &error))?;
        let number = |name: &QueueAttributeName| {
            let text = answer.attributes().and_then(|attributes| attributes.get(name));
            text.and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        Ok(RecordCount { visible: number(&visible), hidden: number(&hidden) })
    }
}

fn dead_letter(message: Message) -> DeadLetter {
    let system = message.attributes.unwrap_or_default();
    let time = |name: MessageSystemAttributeName| {
        let milliseconds = system.get(&name).and_then(|text| text.parse().ok());
        milliseconds.and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
    };
    let attributes = message.message_attributes.unwrap_or_default().into_iter();
    let attributes = attributes.filter_map(|(name, value)| Some((name, value.string_value?)));
    let mut attributes: BTreeMap<String, String> = attributes.collect();
    let source = system.get(&MessageSystemAttributeName::DeadLetterQueueSourceArn);
    DeadLetter {
        id: message.message_id.unwrap_or_default(),
        receipt: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        group: system.get(&MessageSystemAttributeName::MessageGroupId).cloned(),
        reason: attributes.remove(REASON),
        source: attributes.remove(SOURCE).or_else(|| source.cloned()),
        attributes,
        sent_at: time(MessageSystemAttributeName::SentTimestamp),
        first_received_at: time(MessageSystemAttributeName::ApproximateFirstReceiveTimestamp),
    }
}
