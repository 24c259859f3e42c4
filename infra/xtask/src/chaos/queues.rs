//! The queues of the local cloud, read directly and not through the proxy.

use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    http::Client,
};

/// The local cloud's owner. It looks at the name and not at the signature.
const CREDENTIALS: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, \
     SignedHeaders=host, Signature=0";

/// A caller of SQS.
pub(crate) struct Queues(Client);

/// How full a queue is.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) url: String,
    arn: String,
    /// The queue that its hopeless records go to.
    dead_letters: Option<String>,
    /// Records that wait, are being worked on, or are put off.
    pub(crate) records: u64,
}

impl Queue {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// Whether its hopeless records go to another queue: then somebody works on it.
    pub(crate) fn has_dead_letters(&self) -> bool {
        self.dead_letters.is_some()
    }
}

/// A record that was given up.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetter {
    /// The queue it was found in.
    pub(crate) queue: String,
    /// Why, if a function said so.
    pub(crate) reason: String,
    /// What it is.
    pub(crate) body: String,
}

impl Queues {
    /// The queues of the local cloud at `url`.
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

    /// All queues.
    pub(crate) fn all(&self) -> Result<Vec<Queue>> {
        let found = self.call("ListQueues", &json!({"MaxResults": 1000}))?;
        let urls = found.get("QueueUrls").and_then(Value::as_array).cloned().unwrap_or_default();
        urls.iter().filter_map(Value::as_str).map(|url| self.queue(url)).collect()
    }

    fn queue(&self, url: &str) -> Result<Queue> {
        let asked = json!({"QueueUrl": url, "AttributeNames": ["All"]});
        let answer = self.call("GetQueueAttributes", &asked)?;
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

    /// Puts what was given up back into the queues it came from.
    pub(crate) fn redrive(&self, all: &[Queue]) -> Result<Vec<DeadLetter>> {
        let mut moved = Vec::new();
        for home in all {
            let dead = all.iter().find(|queue| home.dead_letters.as_ref() == Some(&queue.arn));
            let Some(dead) = dead.filter(|queue| queue.records > 0) else { continue };
            loop {
                let asked = json!({"QueueUrl": dead.url, "MaxNumberOfMessages": 10,
                    "AttributeNames": ["All"], "MessageAttributeNames": ["All"]});
                let found = self.call("ReceiveMessage", &asked)?;
                let records = found.get("Messages").and_then(Value::as_array).cloned();
                let records = records.unwrap_or_default();
                if records.is_empty() {
                    break;
                }
                for record in &records {
                    moved.push(self.put_back(home, dead, record)?);
                }
            }
        }
        Ok(moved)
    }

    fn put_back(&self, home: &Queue, dead: &Queue, record: &Value) -> Result<DeadLetter> {
        let text = |path: &str| {
            record.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let body = text("/Body");
        let mut back = json!({"QueueUrl": home.url, "MessageBody": body});
        if let Some(fields) = back.as_object_mut() {
            let group = text("/Attributes/MessageGroupId");
            if !group.is_empty() {
                fields.insert("MessageGroupId".to_owned(), group.into());
            }
            if home.name().split_once(".fifo").is_some() {
                let id = format!("redriven-{}", text("/MessageId"));
                fields.insert("MessageDeduplicationId".to_owned(), id.into());
            }
        }
        self.call("SendMessage", &back)?;
        let done = json!({"QueueUrl": dead.url, "ReceiptHandle": text("/ReceiptHandle")});
        self.call("DeleteMessage", &done)?;
        let reason = text("/MessageAttributes/reason/StringValue");
        let reason = if reason.is_empty() { "received too often".to_owned() } else { reason };
        Ok(DeadLetter { queue: dead.name().to_owned(), reason, body })
    }
}
