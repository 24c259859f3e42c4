//! One queue: its messages, their visibility, and its deduplication ids.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Chaos;
use super::entry::{Attribute, Entry};
use super::refuse::{invalid, missing};
use crate::cloud::Refusal;

/// How long a FIFO queue remembers a deduplication id, from the first send.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html>
const DEDUPLICATION_MS: i64 = 5 * 60 * 1000;
/// The longest time that a message can be hidden after its receive: 12 hours.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>
const LONGEST_HIDDEN_MS: i64 = 12 * 60 * 60 * 1000;
/// Number of deleted messages that a standard queue may still deliver again.
const GHOSTS: usize = 32;

/// The settings of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Whether it is a FIFO queue, which keeps order within a group.
    pub fifo: bool,
    /// Whether deduplication applies within a group, rather than within the whole queue.
    pub deduplication_scope_message_group: bool,
    /// The visibility timeout.
    pub visibility_timeout_s: i64,
    /// Number of receives after which a message moves to the dead-letter queue, which must be set.
    pub max_receive_count: Option<u32>,
    /// The dead-letter queue: its name, URL or ARN.
    pub dead_letter_queue: Option<String>,
    /// The retention period.
    pub retention_s: i64,
    /// The delay before a new message becomes visible.
    pub delay_s: i64,
}

impl Default for QueueSettings {
    /// The defaults of a standard queue.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html>
    fn default() -> Self {
        Self {
            fifo: false,
            deduplication_scope_message_group: false,
            visibility_timeout_s: 30,
            max_receive_count: None,
            dead_letter_queue: None,
            retention_s: 345_600,
            delay_s: 0,
        }
    }
}

/// A message in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message id, which stays the same in a dead-letter queue.
    pub message_id: String,
    /// The body.
    pub body: String,
    /// The message group, if the sender set one.
    pub group: Option<String>,
    /// The deduplication id; in FIFO queues only.
    pub deduplication_id: Option<String>,
    /// The sequence number; in FIFO queues only.
    pub sequence_number: Option<String>,
    /// The message attributes.
    pub attributes: BTreeMap<String, Attribute>,
    /// The X-Ray trace header of the request that sent it, if any.
    pub trace_header: Option<String>,
    /// When it was sent.
    pub sent_at_ms: i64,
    /// When it was first received.
    pub first_received_at_ms: Option<i64>,
    /// When it was last received.
    pub received_at_ms: Option<i64>,
    /// Number of receives, in all queues that it was in.
    pub receives: u32,
    /// Until when it is hidden; in the past if it is visible.
    pub hidden_until_ms: i64,
    /// Whether it is hidden because it was received, rather than delayed.
    pub in_flight: bool,
    /// The ARN of the queue that it was moved from as a dead letter.
    pub dead_letter_source: Option<String>,
    pub(super) md5: String,
    /// Number of receives in this queue.
    receives_here: u32,
    /// Start of its retention period.
    kept_since_ms: i64,
}

/// The result of a send.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) message_id: String,
    pub(super) sequence_number: Option<String>,
}

/// A message group of a FIFO queue.
#[derive(Clone, Debug, Default)]
struct Group {
    /// Its messages, in order.
    numbers: BTreeSet<u64>,
    /// Number of its messages in flight.
    in_flight: usize,
    /// Its first message, if it can be received.
    ready: Option<u64>,
}

/// A queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    /// The queue's number, which is part of receipt handles.
    pub(super) number: u64,
    pub(super) url: String,
    pub(super) arn: String,
    pub(super) settings: QueueSettings,
    pub(super) created_ms: i64,
    /// The messages by number, which is the order of arrival.
    messages: BTreeMap<u64, Message>,
    /// The hidden messages, by the time at which they become visible.
    hidden: BTreeSet<(i64, u64)>,
    /// What can be received: the messages of a standard queue, or the first message of each group
    /// of a FIFO queue.
    ready: BTreeSet<u64>,
    in_flight: usize,
    groups: BTreeMap<String, Group>,
    /// The results of sends within the last five minutes, by scope and deduplication id.
    remembered: BTreeMap<(String, String), Sent>,
    remembered_in_order: VecDeque<(i64, (String, String))>,
    /// Deleted messages that may still be on a server.
    ghosts: VecDeque<(u64, Message)>,
    /// The earliest start of a retention period: no message in the queue is older.
    oldest_ms: i64,
}

impl Queue {
    pub(super) fn new(
        number: u64,
        url: String,
        arn: String,
        settings: QueueSettings,
        now_ms: i64,
    ) -> Self {
        Self {
            number,
            url,
            arn,
            settings,
            created_ms: now_ms,
            messages: BTreeMap::new(),
            hidden: BTreeSet::new(),
            ready: BTreeSet::new(),
            in_flight: 0,
            groups: BTreeMap::new(),
            remembered: BTreeMap::new(),
            remembered_in_order: VecDeque::new(),
            ghosts: VecDeque::new(),
            oldest_ms: i64::MAX,
        }
    }

    /// All messages, in the order of arrival.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.values()
    }

    pub(super) fn message(&self, number: u64) -> Option<&Message> {
        self.messages.get(&number)
    }

    /// Number of messages that are visible, in flight and delayed.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let hidden = self.hidden.len();
        (self.messages.len() - hidden, self.in_flight, hidden - self.in_flight)
    }

    /// When the next hidden message becomes visible.
    pub(super) fn next_visible_ms(&self) -> Option<i64> {
        self.hidden.first().map(|(until, _)| *until)
    }

    /// Whether a receive can return a message.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Advances the time: hidden messages become visible, and expired ones are removed.
    pub(super) fn settle(&mut self, now_ms: i64) {
        self.uncover(now_ms);
        while let Some((at_ms, _)) = self.remembered_in_order.front()
            && at_ms + DEDUPLICATION_MS <= now_ms
        {
            if let Some((_, key)) = self.remembered_in_order.pop_front() {
                self.remembered.remove(&key);
            }
        }
        let oldest_kept_ms = now_ms - self.settings.retention_s * 1000;
        if self.oldest_ms <= oldest_kept_ms {
            let old = self.messages.iter().filter(|(_, m)| m.kept_since_ms <= oldest_kept_ms);
            for number in old.map(|(number, _)| *number).collect::<Vec<_>>() {
                self.take_out(number);
            }
            let since = self.messages.values().map(|message| message.kept_since_ms);
            self.oldest_ms = since.min().unwrap_or(i64::MAX);
        }
    }

    /// Adds a message, or finds its duplicate.
    pub(super) fn send(&mut self, entry: Entry, number: u64, now_ms: i64) -> Result<Sent, Refusal> {
        let known_as = self.known_as(&entry)?;
        if let Some(known) = known_as.as_ref().and_then(|key| self.remembered.get(key)) {
            return Ok(known.clone());
        }
        let own = entry.delay_s.filter(|_| !self.settings.fifo);
        let delay_s = own.unwrap_or(self.settings.delay_s);
        let sent = Sent {
            message_id: format!("00000000-0000-4000-8000-{number:012x}"),
            sequence_number: self.settings.fifo.then(|| sequence_number(number)),
        };
        let message = Message {
            message_id: sent.message_id.clone(),
            body: entry.body,
            group: entry.group,
            deduplication_id: known_as.as_ref().map(|(_, id)| id.clone()),
            sequence_number: sent.sequence_number.clone(),
            attributes: entry.attributes,
            trace_header: entry.trace_header,
            sent_at_ms: now_ms,
            first_received_at_ms: None,
            received_at_ms: None,
            receives: 0,
            hidden_until_ms: now_ms + delay_s * 1000,
            in_flight: false,
            dead_letter_source: None,
            md5: entry.md5,
            receives_here: 0,
            kept_since_ms: now_ms,
        };
        if let Some(key) = known_as {
            self.remembered_in_order.push_back((now_ms, key.clone()));
            self.remembered.insert(key, sent.clone());
        }
        self.put_in(number, message, now_ms);
        Ok(sent)
    }

    /// Accepts a dead letter of another queue.
    pub(super) fn accept_dead(
        &mut self,
        mut message: Message,
        number: u64,
        source: &str,
        now_ms: i64,
    ) {
        message.dead_letter_source = Some(source.to_owned());
        message.receives_here = 0;
        message.in_flight = false;
        message.hidden_until_ms = now_ms;
        if self.settings.fifo {
            message.sequence_number = Some(sequence_number(number));
            // In a standard queue the retention period still counts from the send.
            // <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html>
            message.kept_since_ms = now_ms;
        }
        self.put_in(number, message, now_ms);
    }

    /// Receives up to `most` messages and hides them. Returns their numbers, and removes those that
    /// were received too often.
    pub(super) fn receive(
        &mut self,
        most: usize,
        hide_ms: i64,
        now_ms: i64,
        chaos: &mut dyn Chaos,
    ) -> (Vec<u64>, Vec<Message>) {
        let mut taken = Vec::new();
        let mut dead = Vec::new();
        let available = self.available(most, now_ms);
        let wanted = if available == 0 { 0 } else { chaos.returned(available).min(available) };
        while taken.len() < wanted && !self.ready.is_empty() {
            let index = chaos.next(self.ready.len()).min(self.ready.len() - 1);
            let Some(number) = self.ready.iter().nth(index).copied() else { break };
            let run = self.run_of(number, wanted - taken.len(), now_ms);
            for number in run {
                if self.is_exhausted(number) {
                    dead.extend(self.take_out(number));
                } else {
                    self.hand_out(number, hide_ms, now_ms);
                    taken.push(number);
                }
            }
        }
        if !self.settings.fifo && taken.len() < most {
            let again = self.hand_out_again(&taken, hide_ms, now_ms, chaos);
            taken.extend(again);
        }
        // With a visibility timeout of zero messages are visible again at once, but not twice in
        // one answer.
        self.uncover(now_ms);
        (taken, dead)
    }

    /// Deletes the message of `receipt`.
    pub(super) fn delete(
        &mut self,
        receipt: &Receipt,
        now_ms: i64,
        chaos: &mut dyn Chaos,
    ) -> Result<(), Refusal> {
        let Some(message) = self.messages.get(&receipt.number) else {
            return Ok(());
        };
        let last = message.receives == receipt.receive;
        if self.settings.fifo {
            // <https://repost.aws/knowledge-center/sqs-receipt-handle-error>
            if !last || !message.in_flight || message.hidden_until_ms <= now_ms {
                return Err(invalid("ReceiptHandle", receipt, "The receipt handle has expired."));
            }
        } else if !last && !chaos.older_receipt_counts() {
            return Ok(());
        }
        if let Some(message) = self.take_out(receipt.number)
            && !self.settings.fifo
        {
            self.ghosts.push_back((receipt.number, message));
            if self.ghosts.len() > GHOSTS {
                self.ghosts.pop_front();
            }
        }
        Ok(())
    }

    /// Hides the message of `receipt` until `timeout_s` from now.
    pub(super) fn change_visibility(
        &mut self,
        receipt: &Receipt,
        timeout_s: i64,
        now_ms: i64,
        chaos: &mut dyn Chaos,
    ) -> Result<(), Refusal> {
        let unavailable = || {
            let reason =
                "Message does not exist or is not available for visibility timeout change.";
            invalid("ReceiptHandle", receipt, reason)
        };
        let message = self.messages.get(&receipt.number).ok_or_else(unavailable)?;
        let last = message.receives == receipt.receive;
        if self.settings.fifo && !(last && message.in_flight) {
            return Err(unavailable());
        }
        // A standard queue reports success and does nothing.
        if !message.in_flight || !(last || chaos.older_receipt_counts()) {
            return Ok(());
        }
        let until = now_ms + timeout_s * 1000;
        if until > message.received_at_ms.unwrap_or(now_ms) + LONGEST_HIDDEN_MS {
            let reason =
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
            return Err(invalid("VisibilityTimeout", timeout_s, reason));
        }
        let number = receipt.number;
        if let Some(message) = self.messages.get_mut(&number) {
            self.hidden.remove(&(message.hidden_until_ms, number));
            message.hidden_until_ms = until;
            self.hidden.insert((until, number));
        }
        self.uncover(now_ms);
        Ok(())
    }

    /// Scope and id of a message for deduplication in a FIFO queue.
    fn known_as(&self, entry: &Entry) -> Result<Option<(String, String)>, Refusal> {
        let unfit = "The request include parameter that is not valid for this queue type";
        if !self.settings.fifo {
            return match &entry.deduplication_id {
                None => Ok(None),
                Some(id) => Err(invalid("MessageDeduplicationId", id, unfit)),
            };
        }
        if let Some(delay_s) = entry.delay_s.filter(|delay| *delay != 0) {
            return Err(invalid("DelaySeconds", delay_s, unfit));
        }
        let group = entry.group.as_ref().ok_or_else(|| missing("MessageGroupId"))?;
        let id = entry.deduplication_id.clone().ok_or_else(|| {
            let reason = "The queue should either have ContentBasedDeduplication enabled or \
                          MessageDeduplicationId provided explicitly";
            Refusal::new("InvalidParameterValue", reason)
        })?;
        let scope = if self.settings.deduplication_scope_message_group { &**group } else { "" };
        Ok(Some((scope.to_owned(), id)))
    }

    fn put_in(&mut self, number: u64, message: Message, now_ms: i64) {
        self.oldest_ms = self.oldest_ms.min(message.kept_since_ms);
        let shows = message.hidden_until_ms <= now_ms;
        if !shows {
            self.hidden.insert((message.hidden_until_ms, number));
        }
        if self.settings.fifo {
            let group = message.group.clone().unwrap_or_default();
            self.messages.insert(number, message);
            self.groups.entry(group.clone()).or_default().numbers.insert(number);
            self.look_at_group(&group);
        } else {
            self.messages.insert(number, message);
            if shows {
                self.ready.insert(number);
            }
        }
    }

    fn take_out(&mut self, number: u64) -> Option<Message> {
        let message = self.messages.remove(&number)?;
        self.hidden.remove(&(message.hidden_until_ms, number));
        self.in_flight -= usize::from(message.in_flight);
        self.ready.remove(&number);
        if self.settings.fifo
            && let Some(name) = message.group.as_deref()
            && let Some(group) = self.groups.get_mut(name)
        {
            group.numbers.remove(&number);
            group.in_flight -= usize::from(message.in_flight);
            if group.numbers.is_empty() {
                self.groups.remove(name);
            } else {
                self.look_at_group(name);
            }
        }
        Some(message)
    }

    /// Makes the message visible.
    fn show(&mut self, number: u64) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        self.hidden.remove(&(message.hidden_until_ms, number));
        let was_in_flight = std::mem::take(&mut message.in_flight);
        self.in_flight -= usize::from(was_in_flight);
        if self.settings.fifo {
            let name = message.group.clone().unwrap_or_default();
            if let Some(group) = self.groups.get_mut(&name) {
                group.in_flight -= usize::from(was_in_flight);
            }
            self.look_at_group(&name);
        } else {
            self.ready.insert(number);
        }
    }

    /// Updates whether the first message of a group can be received.
    fn look_at_group(&mut self, name: &str) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if let Some(number) = group.ready.take() {
            self.ready.remove(&number);
        }
        // A message in flight blocks its whole group.
        let first = group.numbers.first().filter(|_| group.in_flight == 0);
        let is_hidden = |number: &&u64| {
            let until = self.messages.get(*number).map_or(0, |message| message.hidden_until_ms);
            self.hidden.contains(&(until, **number))
        };
        if let Some(number) = first.filter(|number| !is_hidden(number)).copied() {
            group.ready = Some(number);
            self.ready.insert(number);
        }
    }

    /// How many messages, at most `most`, can be received, dead letters included.
    fn available(&self, most: usize, now_ms: i64) -> usize {
        if !self.settings.fifo {
            return self.ready.len().min(most);
        }
        let mut available = 0;
        for number in &self.ready {
            available += self.run_of(*number, most, now_ms).len();
            if available >= most {
                return most;
            }
        }
        available
    }

    /// The messages received together, beginning with `number`: in a FIFO queue as many of the
    /// group as possible, up to `most`.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html>
    fn run_of(&self, number: u64, most: usize, now_ms: i64) -> Vec<u64> {
        let group = self.messages.get(&number).and_then(|message| message.group.as_ref());
        let group = group.filter(|_| self.settings.fifo).and_then(|name| self.groups.get(name));
        let Some(group) = group else { return vec![number] };
        let shows = |number: &u64| {
            self.messages.get(number).is_some_and(|message| message.hidden_until_ms <= now_ms)
        };
        group.numbers.iter().copied().take_while(shows).take(most).collect()
    }

    fn is_exhausted(&self, number: u64) -> bool {
        let most = self.settings.max_receive_count;
        let receives = self.messages.get(&number).map(|message| message.receives_here);
        most.zip(receives).is_some_and(|(most, receives)| receives >= most)
    }

    fn hand_out(&mut self, number: u64, hide_ms: i64, now_ms: i64) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        self.ready.remove(&number);
        self.hidden.remove(&(message.hidden_until_ms, number));
        message.receives += 1;
        message.receives_here += 1;
        message.first_received_at_ms.get_or_insert(now_ms);
        message.received_at_ms = Some(now_ms);
        message.hidden_until_ms = now_ms + hide_ms;
        let was_in_flight = std::mem::replace(&mut message.in_flight, true);
        self.hidden.insert((message.hidden_until_ms, number));
        self.in_flight += usize::from(!was_in_flight);
        if self.settings.fifo
            && let Some(name) = message.group.clone()
            && let Some(group) = self.groups.get_mut(&name)
        {
            group.in_flight += usize::from(!was_in_flight);
            self.look_at_group(&name);
        }
    }

    /// At-least-once delivery: a standard queue occasionally delivers a hidden or deleted message.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues-at-least-once-delivery.html>
    fn hand_out_again(
        &mut self,
        taken: &[u64],
        hide_ms: i64,
        now_ms: i64,
        chaos: &mut dyn Chaos,
    ) -> Option<u64> {
        let hidden = self.in_flight - taken.len();
        let candidates = hidden + self.ghosts.len();
        let index = (candidates > 0).then(|| chaos.again(candidates)).flatten()?;
        let number = if index < hidden {
            let in_flight = self.messages.iter().filter(|(_, message)| message.in_flight);
            let others = in_flight.map(|(number, _)| *number).filter(|n| !taken.contains(n));
            others.skip(index).find(|number| !self.is_exhausted(*number))?
        } else {
            let (number, mut message) = self.ghosts.remove(index - hidden)?;
            message.in_flight = false;
            message.hidden_until_ms = now_ms;
            self.put_in(number, message, now_ms);
            number
        };
        self.hand_out(number, hide_ms, now_ms);
        Some(number)
    }

    /// Makes messages visible whose timeout has passed.
    fn uncover(&mut self, now_ms: i64) {
        while let Some((until, number)) = self.hidden.first().copied()
            && until <= now_ms
        {
            self.show(number);
        }
    }
}

/// A receipt handle: it identifies one receive of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub(super) queue: u64,
    pub(super) number: u64,
    pub(super) receive: u32,
}

impl std::fmt::Display for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "receipt-{}-{}-{}", self.queue, self.number, self.receive)
    }
}

impl Receipt {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("receipt-")?.split('-');
        let queue = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let receive = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { queue, number, receive })
    }
}

/// A sequence number: twenty digits as in SQS, larger for each later message.
fn sequence_number(number: u64) -> String {
    format!("{:020}", 10_000_000_000_000_000_000_u64 + number * 256)
}
