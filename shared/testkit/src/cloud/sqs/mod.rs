//! SQS: queues.
//!
//! A [`Chaos`] makes the choices that SQS leaves open: the order of messages in a standard queue,
//! how many a receive returns, and which are delivered twice. The guarantees of SQS hold whatever
//! it chooses. A receive answers at once; a caller that waits for a message asks
//! [`Sqs::next_visible_ms`].

mod digest;
mod entry;
mod queue;
mod refuse;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

pub use self::entry::{Attribute, Content};
use self::entry::{Entry, LARGEST, TRACE_HEADER, wire_len};
pub use self::queue::{Message, QueueSettings};
use self::queue::{Queue, Receipt};
pub use self::refuse::query_code;
use self::refuse::{invalid, missing, no_such_queue, not_modelled};
use super::Refusal;

const REGION: &str = "eu-central-1";
const ACCOUNT: &str = "000000000000";
/// Largest number of entries in a batch, and of messages in a receive.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const ENTRIES: usize = 10;
/// The longest visibility timeout, in seconds.
const LONGEST_HIDDEN_S: i64 = 43_200;
/// Bytes of payload that are billed as one request. <https://aws.amazon.com/sqs/pricing/>
const BILLED_BYTES: usize = 64 * 1024;

/// The choices that SQS leaves open. The defaults are in order, complete and without duplicates.
pub trait Chaos {
    /// How many messages a receive returns of the `available` ones: a short poll asks only some of
    /// the servers. A number above `available` means all.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>
    fn returned(&mut self, available: usize) -> usize {
        available
    }

    /// Index below `candidates` of the next message of a standard queue, or of the next group of a
    /// FIFO queue; the oldest is 0.
    fn next(&mut self, candidates: usize) -> usize {
        let _ = candidates;
        0
    }

    /// Index below `candidates` of a message of a standard queue to deliver again, if any. The
    /// candidates are in flight or were just deleted.
    fn again(&mut self, candidates: usize) -> Option<usize> {
        let _ = candidates;
        None
    }

    /// Whether an older receipt handle of a standard queue still works after the message was
    /// received again: "the request succeeds, but the message might not be deleted".
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html>
    fn older_receipt_counts(&mut self) -> bool {
        false
    }
}

/// The defaults of [`Chaos`].
#[derive(Clone, Copy, Debug, Default)]
pub struct NoChaos;

impl Chaos for NoChaos {}

/// SQS.
#[derive(Clone, Debug, Default)]
pub struct Sqs {
    /// The queues, by URL.
    queues: BTreeMap<String, Queue>,
    /// Number of messages so far.
    numbers: u64,
    requests: BTreeMap<String, u64>,
}

impl Sqs {
    /// Creates SQS without a queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a queue and returns its URL. The name of a FIFO queue must end in `.fifo`.
    ///
    /// # Errors
    /// `InvalidParameterValue` if the name or the dead-letter queue is invalid; `QueueNameExists`
    /// if a queue of this name has other settings.
    pub fn create_queue(
        &mut self,
        name: &str,
        mut settings: QueueSettings,
        now_ms: i64,
    ) -> Result<String, Refusal> {
        let stem = name.strip_suffix(".fifo").unwrap_or(name);
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_fifo = stem.len() < name.len();
        if stem.is_empty()
            || name.len() > 80
            || !stem.chars().all(allowed)
            || is_fifo != settings.fifo
        {
            let reason = "Can only include alphanumeric characters, hyphens, or underscores. \
                          1 to 80 in length; the name of a FIFO queue must end with .fifo";
            return Err(invalid("QueueName", name, reason));
        }
        if let Some(dead) = &settings.dead_letter_queue {
            let dead = self.queues.get(&url(dead));
            let dead = dead.filter(|dead| dead.settings.fifo == settings.fifo);
            let dead = dead.ok_or_else(|| {
                let reason = "Dead letter target does not exist, or is of another type.";
                invalid("RedrivePolicy", name, reason)
            })?;
            settings.dead_letter_queue = Some(dead.url.clone());
        }
        if settings.dead_letter_queue.is_some() != settings.max_receive_count.is_some() {
            let reason = "Redrive policy must have both maxReceiveCount and deadLetterTargetArn.";
            return Err(invalid("RedrivePolicy", name, reason));
        }
        let url = url(name);
        if let Some(there) = self.queues.get(&url) {
            if there.settings == settings {
                return Ok(url);
            }
            let reason = "A queue already exists with the same name and a different value for an \
                          attribute";
            return Err(Refusal::new("QueueNameExists", reason));
        }
        let number = self.queues.len() as u64 + 1;
        let queue = Queue::new(number, url.clone(), arn(name), settings, now_ms);
        self.queues.insert(url.clone(), queue);
        Ok(url)
    }

    /// Handles a request at `now_ms`.
    ///
    /// # Errors
    /// The errors of SQS, or `UnsupportedOperation` for what is not modelled.
    pub fn call(
        &mut self,
        operation: &str,
        body: &Value,
        now_ms: i64,
        chaos: &mut dyn Chaos,
    ) -> Result<Value, Refusal> {
        let answer = match operation {
            "ChangeMessageVisibility" => self.queue(body, now_ms).and_then(|queue| {
                change_visibility(queue, body, now_ms, chaos).map(|()| json!({}))
            }),
            "ChangeMessageVisibilityBatch" => self.change_visibility_batch(body, now_ms, chaos),
            "CreateQueue" => self.create_queue_by_request(body, now_ms),
            "DeleteMessage" => self
                .queue(body, now_ms)
                .and_then(|queue| delete(queue, body, now_ms, chaos).map(|()| json!({}))),
            "DeleteMessageBatch" => self.delete_batch(body, now_ms, chaos),
            "GetQueueAttributes" => {
                self.queue(body, now_ms).and_then(|queue| attributes_of(queue, body))
            }
            "GetQueueUrl" => self.get_queue_url(body),
            "ReceiveMessage" => self.receive(body, now_ms, chaos),
            "SendMessage" => self.send(body, now_ms),
            "SendMessageBatch" => self.send_batch(body, now_ms),
            _ => Err(not_modelled(operation)),
        };
        let billed = billed(operation, body, answer.as_ref().ok());
        match self.requests.get_mut(operation) {
            Some(requests) => *requests += billed,
            None => {
                self.requests.insert(operation.to_owned(), billed);
            }
        }
        answer
    }

    /// All messages of a queue, hidden ones too, in the order of arrival. Empty if the queue does
    /// not exist.
    pub fn messages(&self, url: &str) -> impl Iterator<Item = &Message> {
        self.queues.get(url).into_iter().flat_map(Queue::messages)
    }

    /// The URLs of all queues.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.queues.keys().map(String::as_str)
    }

    /// The settings of a queue.
    #[must_use]
    pub fn settings(&self, url: &str) -> Option<&QueueSettings> {
        self.queues.get(url).map(|queue| &queue.settings)
    }

    /// Whether a receive would find a message, or move one to the dead-letter queue.
    pub fn is_receivable(&mut self, url: &str, now_ms: i64) -> bool {
        let Some(queue) = self.queues.get_mut(url) else { return false };
        queue.settle(now_ms);
        queue.is_ready()
    }

    /// When the next hidden or delayed message of a queue becomes visible, if there is one. Visible
    /// messages do not count: see [`Self::is_receivable`].
    #[must_use]
    pub fn next_visible_ms(&self, url: &str) -> Option<i64> {
        self.queues.get(url).and_then(Queue::next_visible_ms)
    }

    /// Number of billed requests by operation, refused ones included: each 64 KB of payload is one.
    /// <https://aws.amazon.com/sqs/pricing/>
    #[must_use]
    pub fn requests(&self) -> &BTreeMap<String, u64> {
        &self.requests
    }

    /// Resets the counts.
    pub fn reset_requests(&mut self) {
        self.requests.clear();
    }

    fn queue(&mut self, body: &Value, now_ms: i64) -> Result<&mut Queue, Refusal> {
        let url = text(body, "QueueUrl").ok_or_else(|| missing("QueueUrl"))?;
        let queue = self.queues.get_mut(url).ok_or_else(no_such_queue)?;
        queue.settle(now_ms);
        Ok(queue)
    }

    fn get_queue_url(&self, body: &Value) -> Result<Value, Refusal> {
        only(body, &["QueueName"])?;
        let name = text(body, "QueueName").ok_or_else(|| missing("QueueName"))?;
        let queue = self.queues.get(&url(name)).ok_or_else(no_such_queue)?;
        Ok(json!({"QueueUrl": queue.url}))
    }

    fn create_queue_by_request(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        only(body, &["QueueName", "Attributes"])?;
        let name = text(body, "QueueName").ok_or_else(|| missing("QueueName"))?;
        let mut settings = QueueSettings::default();
        for (attribute, value) in
            body.get("Attributes").and_then(Value::as_object).into_iter().flatten()
        {
            set(&mut settings, attribute, value.as_str().unwrap_or_default())?;
        }
        let url = self.create_queue(name, settings, now_ms)?;
        Ok(json!({"QueueUrl": url}))
    }

    fn send(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        self.numbers += 1;
        let number = self.numbers;
        let queue = self.queue(body, now_ms)?;
        send(queue, body, number, now_ms)
    }

    fn send_batch(&mut self, body: &Value, now_ms: i64) -> Result<Value, Refusal> {
        only(body, &["QueueUrl", "Entries"])?;
        let first = self.numbers + 1;
        let queue = self.queue(body, now_ms)?;
        let entries = entries(body)?;
        let size: usize = entries.iter().map(wire_len).sum();
        if size > LARGEST {
            let reason = format!(
                "Batch requests cannot be longer than {LARGEST} bytes. You have sent {size} bytes."
            );
            return Err(Refusal::new("BatchRequestTooLong", reason));
        }
        let numbered = entries.iter().zip(first..);
        let answer = batch(numbered, |(entry, number)| (entry, send(queue, entry, number, now_ms)));
        self.numbers += ENTRIES as u64;
        Ok(answer)
    }

    fn delete_batch(
        &mut self,
        body: &Value,
        now_ms: i64,
        chaos: &mut dyn Chaos,
    ) -> Result<Value, Refusal> {
        only(body, &["QueueUrl", "Entries"])?;
        let queue = self.queue(body, now_ms)?;
        Ok(batch(entries(body)?.iter(), |entry| {
            (entry, delete(queue, entry, now_ms, chaos).map(|()| json!({})))
        }))
    }

    fn change_visibility_batch(
        &mut self,
        body: &Value,
        now_ms: i64,
        chaos: &mut dyn Chaos,
    ) -> Result<Value, Refusal> {
        only(body, &["QueueUrl", "Entries"])?;
        let queue = self.queue(body, now_ms)?;
        Ok(batch(entries(body)?.iter(), |entry| {
            (entry, change_visibility(queue, entry, now_ms, chaos).map(|()| json!({})))
        }))
    }

    fn receive(
        &mut self,
        body: &Value,
        now_ms: i64,
        chaos: &mut dyn Chaos,
    ) -> Result<Value, Refusal> {
        only(
            body,
            &[
                "QueueUrl",
                "AttributeNames",
                "MessageSystemAttributeNames",
                "MessageAttributeNames",
                "MaxNumberOfMessages",
                "VisibilityTimeout",
                "WaitTimeSeconds",
            ],
        )?;
        let number = self.numbers + 1;
        let queue = self.queue(body, now_ms)?;
        let most = within(body, "MaxNumberOfMessages", 1, 10)?.unwrap_or(1);
        let timeout_s = within(body, "VisibilityTimeout", 0, LONGEST_HIDDEN_S)?;
        within(body, "WaitTimeSeconds", 0, 20)?;
        let hide_ms = timeout_s.unwrap_or(queue.settings.visibility_timeout_s) * 1000;
        let most = usize::try_from(most).unwrap_or(1);
        let (taken, dead) = queue.receive(most, hide_ms, now_ms, chaos);
        let wanted = Wanted::read(body);
        let messages: Vec<Value> =
            taken.iter().filter_map(|number| received(queue, *number, &wanted)).collect();
        let source = queue.arn.clone();
        let target = queue.settings.dead_letter_queue.clone();
        if let Some(target) = target.and_then(|target| self.queues.get_mut(&target)) {
            self.numbers += dead.len() as u64;
            for (message, number) in dead.into_iter().zip(number..) {
                target.accept_dead(message, number, &source, now_ms);
            }
        }
        Ok(if messages.is_empty() { json!({}) } else { json!({"Messages": messages}) })
    }
}

/// The attributes that a receiver asks for.
struct Wanted<'a> {
    system: Vec<&'a str>,
    message: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    fn read(body: &'a Value) -> Self {
        // The first of these names is deprecated.
        let mut system = texts(body, "AttributeNames");
        system.extend(texts(body, "MessageSystemAttributeNames"));
        Self { system, message: texts(body, "MessageAttributeNames") }
    }

    fn has_system(&self, name: &str) -> bool {
        self.system.iter().any(|wanted| *wanted == "All" || *wanted == name)
    }

    fn has_message(&self, name: &str) -> bool {
        self.message.iter().any(|wanted| match *wanted {
            "All" | ".*" => true,
            wanted => {
                wanted.strip_suffix(".*").map_or(wanted == name, |start| name.starts_with(start))
            }
        })
    }
}

/// A message in the wire format of a receive.
fn received(queue: &Queue, number: u64, wanted: &Wanted<'_>) -> Option<Value> {
    let message = queue.message(number)?;
    let receipt = Receipt { queue: queue.number, number, receive: message.receives };
    let mut answer = json!({
        "MessageId": message.message_id,
        "ReceiptHandle": receipt.to_string(),
        "MD5OfBody": message.md5,
        "Body": message.body,
    });
    let fields = answer.as_object_mut()?;
    let system: Map<String, Value> = system_attributes(message)
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .filter(|(name, _)| wanted.has_system(name))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    if !system.is_empty() {
        fields.insert("Attributes".to_owned(), system.into());
    }
    let attributes = || message.attributes.iter().filter(|(name, _)| wanted.has_message(name));
    if let Some(md5) = digest::of_attributes(attributes()) {
        let attributes: Map<String, Value> =
            attributes().map(|(name, attribute)| (name.clone(), attribute.wire())).collect();
        fields.insert("MD5OfMessageAttributes".to_owned(), md5.into());
        fields.insert("MessageAttributes".to_owned(), attributes.into());
    }
    Some(answer)
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
fn system_attributes(message: &Message) -> [(&'static str, Option<String>); 9] {
    [
        (TRACE_HEADER, message.trace_header.clone()),
        ("ApproximateFirstReceiveTimestamp", message.first_received_at_ms.map(|at| at.to_string())),
        ("ApproximateReceiveCount", Some(message.receives.to_string())),
        ("DeadLetterQueueSourceArn", message.dead_letter_source.clone()),
        ("MessageDeduplicationId", message.deduplication_id.clone()),
        ("MessageGroupId", message.group.clone()),
        ("SenderId", Some(ACCOUNT.to_owned())),
        ("SentTimestamp", Some(message.sent_at_ms.to_string())),
        ("SequenceNumber", message.sequence_number.clone()),
    ]
}

fn send(queue: &mut Queue, body: &Value, number: u64, now_ms: i64) -> Result<Value, Refusal> {
    let entry = Entry::read(body)?;
    let md5 = entry.md5.clone();
    let attributes = digest::of_attributes(&entry.attributes);
    let system = entry.trace_header.clone().map(|header| {
        let (data_type, content) = ("String".to_owned(), Content::Text(header));
        (TRACE_HEADER.to_owned(), Attribute { data_type, content })
    });
    let system = digest::of_attributes(system.iter().map(|(name, header)| (name, header)));
    let sent = queue.send(entry, number, now_ms)?;
    let mut answer = json!({"MessageId": sent.message_id, "MD5OfMessageBody": md5});
    if let Some(fields) = answer.as_object_mut() {
        let more = [
            ("MD5OfMessageAttributes", attributes),
            ("MD5OfMessageSystemAttributes", system),
            ("SequenceNumber", sent.sequence_number),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value.into());
            }
        }
    }
    Ok(answer)
}

fn delete(
    queue: &mut Queue,
    body: &Value,
    now_ms: i64,
    chaos: &mut dyn Chaos,
) -> Result<(), Refusal> {
    only(body, &["Id", "QueueUrl", "ReceiptHandle"])?;
    let receipt = receipt(queue, body)?;
    queue.delete(&receipt, now_ms, chaos)
}

fn change_visibility(
    queue: &mut Queue,
    body: &Value,
    now_ms: i64,
    chaos: &mut dyn Chaos,
) -> Result<(), Refusal> {
    only(body, &["Id", "QueueUrl", "ReceiptHandle", "VisibilityTimeout"])?;
    let receipt = receipt(queue, body)?;
    let timeout_s = within(body, "VisibilityTimeout", 0, LONGEST_HIDDEN_S)?;
    let timeout_s = timeout_s.ok_or_else(|| missing("VisibilityTimeout"))?;
    queue.change_visibility(&receipt, timeout_s, now_ms, chaos)
}

fn receipt(queue: &Queue, body: &Value) -> Result<Receipt, Refusal> {
    let handle = text(body, "ReceiptHandle").ok_or_else(|| missing("ReceiptHandle"))?;
    let receipt = Receipt::read(handle).filter(|receipt| receipt.queue == queue.number);
    receipt.ok_or_else(|| {
        let reason =
            format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
        Refusal::new("ReceiptHandleIsInvalid", reason)
    })
}

/// The entries of a batch, if the batch is valid.
fn entries(body: &Value) -> Result<&Vec<Value>, Refusal> {
    let entries = body.get("Entries").and_then(Value::as_array);
    let entries = entries.filter(|entries| !entries.is_empty()).ok_or_else(|| {
        let reason = "There should be at least one entry in the request.";
        Refusal::new("EmptyBatchRequest", reason)
    })?;
    if entries.len() > ENTRIES {
        let reason = format!(
            "Maximum number of entries per request are {ENTRIES}. You have sent {}.",
            entries.len()
        );
        return Err(Refusal::new("TooManyEntriesInBatchRequest", reason));
    }
    let mut ids = BTreeSet::new();
    for entry in entries {
        let id = text(entry, "Id").unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(1..=80).contains(&id.len()) || !id.chars().all(allowed) {
            let reason = "A batch entry id can only contain alphanumeric characters, hyphens and \
                          underscores. It can be at most 80 letters long.";
            return Err(Refusal::new("InvalidBatchEntryId", reason));
        }
        if !ids.insert(id) {
            let reason = format!("Id {id} repeated.");
            return Err(Refusal::new("BatchEntryIdsNotDistinct", reason));
        }
    }
    Ok(entries)
}

/// Processes each entry of a batch: some may fail and others succeed.
fn batch<'a, T>(
    entries: impl Iterator<Item = T>,
    mut each: impl FnMut(T) -> (&'a Value, Result<Value, Refusal>),
) -> Value {
    let mut successful = Vec::new();
    let mut failed = Vec::new();
    for entry in entries {
        let (entry, outcome) = each(entry);
        let id = entry.get("Id").cloned().unwrap_or_default();
        match outcome {
            Ok(mut answer) => {
                if let Some(fields) = answer.as_object_mut() {
                    fields.insert("Id".to_owned(), id);
                }
                successful.push(answer);
            }
            Err(refusal) => failed.push(json!({
                "Id": id,
                "SenderFault": true,
                "Code": query_code(&refusal.code),
                "Message": refusal.message,
            })),
        }
    }
    let mut answer = json!({"Successful": successful});
    if let Some(fields) = answer.as_object_mut().filter(|_| !failed.is_empty()) {
        fields.insert("Failed".to_owned(), failed.into());
    }
    answer
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>
fn attributes_of(queue: &Queue, body: &Value) -> Result<Value, Refusal> {
    only(body, &["QueueUrl", "AttributeNames"])?;
    let wanted = texts(body, "AttributeNames");
    let settings = &queue.settings;
    let (visible, in_flight, delayed) = queue.counts();
    let redrive = settings.dead_letter_queue.as_deref().zip(settings.max_receive_count);
    let redrive = redrive.map(|(dead, most)| {
        json!({"deadLetterTargetArn": arn(dead), "maxReceiveCount": most}).to_string()
    });
    let scope = if settings.deduplication_scope_message_group { "messageGroup" } else { "queue" };
    let limit =
        if settings.deduplication_scope_message_group { "perMessageGroupId" } else { "perQueue" };
    let of_fifo = |value: &str| settings.fifo.then(|| value.to_owned());
    let all = [
        ("ApproximateNumberOfMessages", Some(visible.to_string())),
        ("ApproximateNumberOfMessagesDelayed", Some(delayed.to_string())),
        ("ApproximateNumberOfMessagesNotVisible", Some(in_flight.to_string())),
        ("ContentBasedDeduplication", of_fifo("false")),
        ("CreatedTimestamp", Some((queue.created_ms / 1000).to_string())),
        ("DeduplicationScope", of_fifo(scope)),
        ("DelaySeconds", Some(settings.delay_s.to_string())),
        ("FifoQueue", of_fifo("true")),
        ("FifoThroughputLimit", of_fifo(limit)),
        ("LastModifiedTimestamp", Some((queue.created_ms / 1000).to_string())),
        ("MaximumMessageSize", Some(LARGEST.to_string())),
        ("MessageRetentionPeriod", Some(settings.retention_s.to_string())),
        ("QueueArn", Some(queue.arn.clone())),
        ("ReceiveMessageWaitTimeSeconds", Some("0".to_owned())),
        ("RedrivePolicy", redrive),
        ("SqsManagedSseEnabled", Some("true".to_owned())),
        ("VisibilityTimeout", Some(settings.visibility_timeout_s.to_string())),
    ];
    if let Some(unknown) = wanted
        .iter()
        .find(|wanted| **wanted != "All" && !all.iter().any(|(name, _)| name == *wanted))
    {
        return Err(Refusal::new("InvalidAttributeName", format!("Unknown Attribute {unknown}.")));
    }
    let asked = |name: &str| wanted.iter().any(|wanted| *wanted == "All" || *wanted == name);
    let attributes: Map<String, Value> = all
        .into_iter()
        .filter(|(name, _)| asked(name))
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    Ok(if attributes.is_empty() { json!({}) } else { json!({"Attributes": attributes}) })
}

/// Sets an attribute of a queue from its text.
fn set(settings: &mut QueueSettings, attribute: &str, value: &str) -> Result<(), Refusal> {
    let refused = || {
        let reason = format!("Invalid value for the parameter {attribute}.");
        Refusal::new("InvalidAttributeValue", reason)
    };
    let seconds = |least: i64, most: i64| {
        let seconds = value.parse().ok().filter(|seconds| (least..=most).contains(seconds));
        seconds.ok_or_else(refused)
    };
    match (attribute, value) {
        ("FifoQueue", "true") => settings.fifo = true,
        ("DeduplicationScope", "messageGroup") => settings.deduplication_scope_message_group = true,
        ("DeduplicationScope", "queue")
        | ("FifoThroughputLimit", "perQueue" | "perMessageGroupId")
        | ("ContentBasedDeduplication", "false")
        | ("SqsManagedSseEnabled", "true") => {}
        ("VisibilityTimeout", _) => settings.visibility_timeout_s = seconds(0, LONGEST_HIDDEN_S)?,
        ("MessageRetentionPeriod", _) => settings.retention_s = seconds(60, 1_209_600)?,
        ("DelaySeconds", _) => settings.delay_s = seconds(0, 900)?,
        ("RedrivePolicy", _) => {
            let policy: Value = serde_json::from_str(value).map_err(|_| refused())?;
            let most = policy.get("maxReceiveCount").ok_or_else(refused)?;
            // The value is a number or a text.
            let most = most.as_u64().or_else(|| most.as_str()?.parse().ok());
            let most = most.filter(|most| (1..=1000).contains(most)).ok_or_else(refused)?;
            let dead = text(&policy, "deadLetterTargetArn").ok_or_else(refused)?;
            settings.max_receive_count = Some(u32::try_from(most).unwrap_or(u32::MAX));
            settings.dead_letter_queue = Some(dead.to_owned());
        }
        _ => {
            return Err(not_modelled(format_args!("attribute {attribute} with the value {value}")));
        }
    }
    Ok(())
}

/// Number of requests billed for one request.
fn billed(operation: &str, body: &Value, answer: Option<&Value>) -> u64 {
    let of = |value: Option<&Value>, name: &str| -> usize {
        let all = value.and_then(|value| value.get(name)).and_then(Value::as_array);
        all.into_iter().flatten().map(wire_len).sum()
    };
    let bytes = match operation {
        "SendMessage" => wire_len(body),
        "SendMessageBatch" => of(Some(body), "Entries"),
        "ReceiveMessage" => of(answer, "Messages"),
        _ => 0,
    };
    bytes.div_ceil(BILLED_BYTES).max(1) as u64
}

fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str)
}

fn texts<'a>(body: &'a Value, name: &str) -> Vec<&'a str> {
    let texts = body.get(name).and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(Value::as_str).collect()
}

/// An optional whole number within limits.
fn within(body: &Value, name: &str, least: i64, most: i64) -> Result<Option<i64>, Refusal> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let number = value.as_i64().filter(|number| (least..=most).contains(number));
    let refused = || {
        let reason = format!("Must be between {least} and {most}, if provided.");
        invalid(name, value, &reason)
    };
    number.map(Some).ok_or_else(refused)
}

/// Refuses a request with a field that the model would ignore.
fn only(body: &Value, known: &[&str]) -> Result<(), Refusal> {
    let fields = body.as_object().into_iter().flat_map(Map::keys);
    match fields.into_iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(not_modelled(format_args!("field {name} here"))),
    }
}

/// The URL of the queue with this name, URL or ARN.
fn url(queue: &str) -> String {
    let name = queue.rsplit(['/', ':']).next().unwrap_or_default();
    format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}")
}

fn arn(url: &str) -> String {
    let name = url.rsplit('/').next().unwrap_or_default();
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}
