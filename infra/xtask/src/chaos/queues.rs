//! Client for the local cloud's SQS queues. Bypasses the fault proxy.

use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    http::Client,
};

/// Credentials for the local cloud, which checks the account and not the signature.
const CREDENTIALS: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, \
     SignedHeaders=host, Signature=0";

/// SQS client.
pub(crate) struct Queues(Client);

/// A queue and its depth.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) url: String,
    arn: String,
    /// ARN of its dead-letter queue.
    dead_letters: Option<String>,
    /// Records that are visible, in flight or delayed.
    pub(crate) records: u64,
}

impl Queue {
    /// The queue's name.
    pub(crate) fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the queue has a dead-letter queue, which means that a function consumes it.
    pub(crate) fn has_dead_letters(&self) -> bool {
        self.dead_letters.is_some()
    }
}

/// A record from a dead-letter queue.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetter {
    /// The dead-letter queue.
    pub(crate) queue: String,
    /// The reason, if a function gave one.
    pub(crate) reason: String,
    /// The record's body.
    pub(crate) body: String,
}

impl Queues {
    /// A client for the local cloud at `url`.
    pub(crate) fn new(url: String) -> Self {
        Self(Client::new(url, None))
    }

    fn call(&self, action: &str, body: &Value) -> Result<Value> {
        let headers = [
            ("authorization", CREDENTIALS),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", &format!("AmazonSQS.{action}") as &str),
        ];
        let (status, answer) = self.0.send_with("POST", "/", &headers, Some(body))?;
        if status == 200 { Ok(answer) } else { Err(Error::step(action, answer.to_string())) }
    }

    /// Returns all queues.
    pub(crate) fn all(&self) -> Result<Vec<Queue>> {
        let found = self.call("ListQueues", &json!({"MaxResults": 1000}))?;
        let urls = found.get("QueueUrls").and_then(Value::as_array).cloned().unwrap_or_default();
        urls.iter().filter_map(Value::as_str).map(|url| self.queue(url)).collect()
    }

    fn queue(&self, url: &str) -> Result<Queue> {
        let request = json!({"QueueUrl": url, "AttributeNames": ["All"]});
        let answer = self.call("GetQueueAttributes", &request)?;
        let attribute = |name: &str| {
            answer.get("Attributes").and_then(|all| all.get(name)).and_then(Value::as_str)
        };
        let count =
            |name: &str| attribute(name).and_then(|count| count.parse().ok()).unwrap_or(0_u64);
        let policy: Option<Value> =
            attribute("RedrivePolicy").and_then(|policy| serde_json::from_str(policy).ok());
        let target = policy.as_ref().and_then(|policy| policy.get("deadLetterTargetArn"));
        Ok(Queue {
            url: url.to_owned(),
            arn: attribute("QueueArn").unwrap_or_default().to_owned(),
            dead_letters: target.and_then(Value::as_str).map(str::to_owned),
            records: count("ApproximateNumberOfMessages")
                + count("ApproximateNumberOfMessagesNotVisible")
                + count("ApproximateNumberOfMessagesDelayed"),
        })
    }

    /// Moves all records from dead-letter queues back to their source queues.
    pub(crate) fn redrive(&self, all: &[Queue]) -> Result<Vec<DeadLetter>> {
        let mut moved = Vec::new();
        for source in all {
            let dlq = all.iter().find(|queue| source.dead_letters.as_ref() == Some(&queue.arn));
            let Some(dlq) = dlq.filter(|queue| queue.records > 0) else { continue };
            loop {
                let request = json!({"QueueUrl": dlq.url, "MaxNumberOfMessages": 10,
                    "AttributeNames": ["All"], "MessageAttributeNames": ["All"]});
                let found = self.call("ReceiveMessage", &request)?;
                let records = found.get("Messages").and_then(Value::as_array).cloned();
                let records = records.unwrap_or_default();
                if records.is_empty() {
                    break;
                }
                for record in &records {
                    moved.push(self.redrive_record(source, dlq, record)?);
                }
            }
        }
        Ok(moved)
    }

    fn redrive_record(&self, source: &Queue, dlq: &Queue, record: &Value) -> Result<DeadLetter> {
        let text = |path: &str| {
            record.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let body = text("/Body");
        let mut message = json!({"QueueUrl": source.url, "MessageBody": body});
        if let Some(fields) = message.as_object_mut() {
            let group = text("/Attributes/MessageGroupId");
            if !group.is_empty() {
                fields.insert("MessageGroupId".to_owned(), group.into());
            }
            if source.name().split_once(".fifo").is_some() {
                let id = format!("redriven-{}", text("/MessageId"));
                fields.insert("MessageDeduplicationId".to_owned(), id.into());
            }
        }
        self.call("SendMessage", &message)?;
        let receipt = json!({"QueueUrl": dlq.url, "ReceiptHandle": text("/ReceiptHandle")});
        self.call("DeleteMessage", &receipt)?;
        let reason = text("/MessageAttributes/reason/StringValue");
        let reason = if reason.is_empty() { "too many receives".to_owned() } else { reason };
        Ok(DeadLetter { queue: dlq.name().to_owned(), reason, body })
    }
}
