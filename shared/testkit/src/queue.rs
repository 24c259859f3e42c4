//! An in-memory queue.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::ports::{ChangeVisibility, Clock, PortResult, Publisher, Record};
use domain::trace;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::{FakeClock, Faults, lock};

/// How long a FIFO queue remembers a deduplication id.
const DEDUPLICATION: Duration = Duration::from_mins(5);
/// The default visibility timeout.
const VISIBILITY: Duration = Duration::from_mins(2);

/// A queue with the rules of SQS: order and exclusion within a group, deduplication for five
/// minutes, delays, and a visibility timeout. Clones share the records.
#[derive(Clone, Debug)]
pub struct FakeQueue {
    state: Arc<Mutex<State>>,
    clock: FakeClock,
    faults: Faults,
    fifo: bool,
    visibility: Duration,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    seen: HashMap<String, Timestamp>,
    numbers: u64,
    visibility_changes: Vec<(String, Duration)>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    record: Record,
    visible_at: Timestamp,
    receives: u32,
    receipt: String,
}

/// A record as a consumer receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The message id, which is the same at each receive.
    pub message_id: String,
    /// The receipt handle of this receive.
    pub receipt: String,
    /// The body.
    pub body: String,
    /// The message group.
    pub group: String,
    /// How many times it was received, this time included.
    pub receives: u32,
    /// The sequence number; in FIFO queues only.
    pub sequence: Option<String>,
    /// The message attributes, by name.
    pub attributes: BTreeMap<String, String>,
}

impl FakeQueue {
    /// Creates a standard queue.
    #[must_use]
    pub fn standard(clock: &FakeClock) -> Self {
        let clock = clock.clone();
        Self {
            state: Arc::default(),
            clock,
            faults: Faults::default(),
            fifo: false,
            visibility: VISIBILITY,
        }
    }

    /// Creates a FIFO queue.
    #[must_use]
    pub fn fifo(clock: &FakeClock) -> Self {
        Self { fifo: true, ..Self::standard(clock) }
    }

    /// The same queue with the faults of `faults`.
    #[must_use]
    pub fn with_faults(self, faults: &Faults) -> Self {
        Self { faults: faults.clone(), ..self }
    }

    /// The same queue with another visibility timeout.
    #[must_use]
    pub fn with_visibility_timeout(self, visibility: Duration) -> Self {
        Self { visibility, ..self }
    }

    /// The injected faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// All records in the queue, hidden ones too, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        lock(&self.state).entries.iter().map(|entry| entry.record.clone()).collect()
    }

    /// The bodies of [`Self::records`] that can be parsed as `T`.
    #[must_use]
    pub fn bodies<T: DeserializeOwned>(&self) -> Vec<T> {
        let records = self.records();
        records.iter().filter_map(|record| serde_json::from_str(&record.body).ok()).collect()
    }

    /// Number of records in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.state).entries.len()
    }

    /// Whether the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all records and returns them.
    #[must_use]
    pub fn drain(&self) -> Vec<Record> {
        lock(&self.state).entries.drain(..).map(|entry| entry.record).collect()
    }

    /// Receives up to `most` records, and hides them for the visibility timeout.
    #[must_use]
    pub fn receive(&self, most: usize) -> Vec<Received> {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        let mut blocked = HashSet::new();
        let mut received = Vec::new();
        for entry in &mut state.entries {
            let group = entry.record.group.clone();
            if received.len() >= most || (self.fifo && blocked.contains(&group)) {
                continue;
            }
            if entry.visible_at > now {
                blocked.insert(group);
                continue;
            }
            entry.receives += 1;
            entry.visible_at = now + self.visibility;
            entry.receipt = format!("receipt-{}-{}", entry.number, entry.receives);
            received.push(Received {
                message_id: format!("record-{}", entry.number),
                receipt: entry.receipt.clone(),
                body: entry.record.body.clone(),
                group,
                receives: entry.receives,
                sequence: self.fifo.then(|| format!("{:020}", entry.number)),
                attributes: entry.record.attributes.clone(),
            });
        }
        received
    }

    /// When the first record becomes visible.
    #[must_use]
    pub fn next_visible(&self) -> Option<Timestamp> {
        lock(&self.state).entries.iter().map(|entry| entry.visible_at).min()
    }

    /// Deletes a record.
    pub fn delete(&self, message_id: &str) {
        let is = |entry: &Entry| format!("record-{}", entry.number) == message_id;
        lock(&self.state).entries.retain(|entry| !is(entry));
    }

    /// Every change of a visibility timeout: the receipt handle and the new timeout.
    #[must_use]
    pub fn visibility_changes(&self) -> Vec<(String, Duration)> {
        lock(&self.state).visibility_changes.clone()
    }
}

impl Publisher for FakeQueue {
    async fn publish(&self, records: Vec<Record>) -> PortResult<()> {
        let now = self.clock.now();
        self.faults
            .run_call("publish", || {
                let mut state = lock(&self.state);
                for record in records {
                    if self.fifo {
                        let seen = state.seen.get(&record.deduplication_id);
                        let age = |at: &Timestamp| now.duration_since(*at).unsigned_abs();
                        if seen.is_some_and(|at| age(at) < DEDUPLICATION) {
                            continue;
                        }
                        state.seen.insert(record.deduplication_id.clone(), now);
                    }
                    let delay = record.delay.filter(|_| !self.fifo).unwrap_or_default();
                    state.numbers += 1;
                    let number = state.numbers;
                    let record = record.traced(trace::current());
                    // SQS counts delays in whole seconds.
                    let visible_at = now + Duration::from_secs(delay.as_secs().min(900));
                    let (receives, receipt) = (0, String::new());
                    state.entries.push(Entry { number, record, visible_at, receives, receipt });
                }
            })
            .await
    }
}

impl ChangeVisibility for FakeQueue {
    async fn change_visibility(&self, records: &[(String, Duration)]) -> PortResult<()> {
        let now = self.clock.now();
        self.faults
            .run_call("postpone", || {
                let mut state = lock(&self.state);
                for (receipt, wait) in records {
                    for entry in state.entries.iter_mut().filter(|entry| entry.receipt == *receipt)
                    {
                        entry.visible_at = now + *wait;
                    }
                    state.visibility_changes.push((receipt.clone(), *wait));
                }
            })
            .await
    }
}
