//! Throughput limits of partition keys.
//!
//! `DynamoDB` limits the reads and writes of a partition per second, and all items of one partition
//! key can be in one partition. A partition of an index has the same limits, and a write that
//! changes the index needs units of both.
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>
//!
//! Each key has a token bucket that holds the units of one second. A request takes all the units
//! that it costs, or is throttled and takes none. A request that costs more than a full bucket
//! holds is admitted by a full bucket, which then has a debt. AWS may split a partition between
//! sort keys, and lets some keys burst; neither is modelled, so this is the minimum throughput of a
//! key.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::Charge;
use crate::cloud::Refusal;

/// Throughput limits of a partition key, in units per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLimits {
    /// Write units per second.
    pub write_units: u32,
    /// Read units per second.
    pub read_units: u32,
}

impl PartitionLimits {
    /// The limits of AWS: 1,000 write units and 3,000 read units per second.
    pub const AWS: Self = Self { write_units: 1000, read_units: 3000 };
}

/// The reads or the writes of a partition key of a table or an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionUse {
    /// The table.
    pub table: String,
    /// The index; `None` for the table itself.
    pub index: Option<String>,
    /// The value of the partition key.
    pub key: String,
    /// Whether it is the writes.
    pub is_write: bool,
}

impl PartitionUse {
    /// The throttling reason in AWS's terms.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ThrottlingReason.html>
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match (self.index.is_some(), self.is_write) {
            (false, true) => "TableWriteKeyRangeThroughputExceeded",
            (false, false) => "TableReadKeyRangeThroughputExceeded",
            (true, true) => "IndexWriteKeyRangeThroughputExceeded",
            (true, false) => "IndexReadKeyRangeThroughputExceeded",
        }
    }

    fn resource(&self) -> String {
        let index = self.index.as_ref().map(|name| format!("/index/{name}")).unwrap_or_default();
        format!("arn:aws:dynamodb:eu-central-1:000000000000:table/{}{index}", self.table)
    }
}

impl fmt::Display for PartitionUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_write { "writes" } else { "reads" };
        let of = self.index.as_ref().unwrap_or(&self.table);
        write!(f, "{what} of {of} {}", self.key)
    }
}

/// The units that a request needs of each key: read halves or write units.
pub(super) type Needs = BTreeMap<PartitionUse, u32>;

/// The buckets of all keys, if there are limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Partitions {
    pub(super) limits: Option<PartitionLimits>,
    buckets: BTreeMap<PartitionUse, Bucket>,
    pub(super) throttled: BTreeMap<PartitionUse, u64>,
}

/// Tokens in thousandths, at a point in time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: i64,
    at_ms: i64,
}

impl Partitions {
    /// Takes the units of a request from every bucket, or returns the keys whose limits it exceeds
    /// and takes none.
    pub(super) fn take(
        &mut self,
        now_ms: i64,
        needs: impl FnOnce(&mut Needs),
    ) -> Result<(), Vec<PartitionUse>> {
        let Some(limits) = self.limits else { return Ok(()) };
        let mut all = Needs::new();
        needs(&mut all);
        // Reads are counted in halves of units. A limit per second is the same number of
        // thousandths per millisecond.
        let limit = |of: &PartitionUse| {
            i64::from(if of.is_write { limits.write_units } else { 2 * limits.read_units })
        };
        let full = |of: &PartitionUse| limit(of) * 1000;
        let mut exceeded = Vec::new();
        for (of, units) in &all {
            let bucket = self
                .buckets
                .entry(of.clone())
                .or_insert_with(|| Bucket { left: full(of), at_ms: now_ms });
            let passed = (now_ms - bucket.at_ms).max(0);
            bucket.left =
                full(of).min(bucket.left.saturating_add(passed.saturating_mul(limit(of))));
            bucket.at_ms = now_ms;
            if bucket.left < full(of).min(i64::from(*units) * 1000) {
                *self.throttled.entry(of.clone()).or_default() += 1;
                exceeded.push(of.clone());
            }
        }
        if !exceeded.is_empty() {
            return Err(exceeded);
        }
        for (of, units) in &all {
            if let Some(bucket) = self.buckets.get_mut(of) {
                bucket.left -= i64::from(*units) * 1000;
            }
        }
        Ok(())
    }

    pub(super) fn forget(&mut self) {
        self.buckets.clear();
        self.throttled.clear();
    }
}

/// The error of a throttled request to a table with on-demand capacity.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
pub(super) fn throttled(exceeded: &[PartitionUse]) -> Refusal {
    let mut refusal = Refusal::new("ThrottlingException", MESSAGE);
    let reasons = exceeded
        .iter()
        .map(|of| json!({ "reason": of.reason(), "resource": of.resource() }))
        .collect::<Vec<_>>();
    refusal.more.insert("throttlingReasons".to_owned(), reasons.into());
    refusal
}

const MESSAGE: &str = "Throughput exceeds the current capacity of your table or index. DynamoDB \
     is automatically scaling your table or index so please try again shortly. If exceptions \
     persist, check if you have a hot key: \
     https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html";

/// The cancellation reason of one action of a throttled transaction.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
pub(super) fn cancellation(of_this: bool) -> Value {
    if of_this {
        json!({ "Code": "ThrottlingError", "Message": MESSAGE })
    } else {
        json!({ "Code": "None" })
    }
}

/// Adds the charge for one item under `key` to the needs of a request.
pub(super) fn add(needs: &mut Needs, table: &str, key: &str, charge: Charge) {
    let mut count = |is_write, units| {
        if units > 0 {
            let (table, key) = (table.to_owned(), key.to_owned());
            *needs.entry(PartitionUse { table, index: None, key, is_write }).or_default() += units;
        }
    };
    count(true, charge.write);
    count(false, charge.read_halves);
}
