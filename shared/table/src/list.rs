//! Lists in the index `by_parent`, whose entries can be spread over several partitions.

use domain::ports::PortResult;

use crate::{Item, Table, failed, s, text};

/// A list of items in the index `by_parent`.
///
/// One partition of an index takes 1,000 writes per second, and a throttled index throttles the
/// writes of its table. Entries of a busy list are therefore spread over several partitions
/// (shards), and a page is merged from all of them.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-sharding.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Partition key of the first shard. The others are followed by `#` and their number.
    name: String,
    shards: u8,
}

impl List {
    /// A list in one partition.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, shards: 1 }
    }

    /// A list in `shards` partitions. The number of shards of a list may grow, but not shrink.
    #[must_use]
    pub fn sharded(name: String, shards: u8) -> Self {
        Self { name, shards: shards.max(1) }
    }

    /// Returns the partition key of the entry `id`.
    #[must_use]
    pub fn partition(&self, id: &str) -> String {
        self.shard(shard_of(id, self.shards))
    }

    /// Returns the partition key of a shard; `shard` is taken modulo the number of shards.
    #[must_use]
    pub fn shard(&self, shard: u8) -> String {
        let shard = shard % self.shards;
        if shard == 0 { self.name.clone() } else { format!("{}#{shard}", self.name) }
    }

    /// Returns the part of the list that is in one shard; `shard` is taken modulo the number of
    /// shards.
    #[must_use]
    pub fn only(&self, shard: u8) -> Self {
        Self::new(self.shard(shard))
    }

    /// Returns the partition keys of all shards.
    pub fn partitions(&self) -> impl Iterator<Item = String> {
        (0..self.shards).map(|shard| self.shard(shard))
    }
}

/// Returns the shard of an id: its FNV-1a hash modulo `shards`. It must never change, because it is
/// part of stored keys. <https://datatracker.ietf.org/doc/html/rfc9923>
pub(crate) fn shard_of(id: &str, shards: u8) -> u8 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u8::try_from((hash ^ (hash >> 32)) % u64::from(shards.max(1))).unwrap_or_default()
}

/// A part of a list: the entries whose sort keys are in a range.
#[derive(Clone, Debug)]
pub struct ListRange {
    /// Lowest sort key, inclusive.
    pub low: String,
    /// Highest sort key, inclusive.
    pub high: String,
    /// Whether the highest sort keys come first.
    pub descending: bool,
    /// Maximum number of entries.
    pub limit: i32,
}

impl Table {
    /// Returns the first entries of a range, in order, and whether the range has more. Reads all
    /// shards concurrently.
    ///
    /// # Errors
    /// If a request fails.
    pub async fn list(
        &self,
        operation: &'static str,
        list: &List,
        range: &ListRange,
    ) -> PortResult<(Vec<Item>, bool)> {
        let shards = list.partitions().map(|partition| async move {
            let query = self
                .query()
                .index_name("by_parent")
                .scan_index_forward(!range.descending)
                .limit(range.limit)
                .key_condition_expression("gsi1pk = :parent AND gsi1sk BETWEEN :low AND :high")
                .expression_attribute_values(":parent", s(partition))
                .expression_attribute_values(":low", s(&range.low))
                .expression_attribute_values(":high", s(&range.high));
            let answer = query.send().await.map_err(|error| failed(operation, &error))?;
            let more = answer.last_evaluated_key().is_some();
            Ok((answer.items.unwrap_or_default(), more))
        });
        let shards = futures::future::try_join_all(shards).await?;
        Ok(merge(shards, range))
    }
}

/// Merges the first entries of each shard.
fn merge(shards: Vec<(Vec<Item>, bool)>, range: &ListRange) -> (Vec<Item>, bool) {
    let sort_key = |item: &Item| text(item, "gsi1sk").unwrap_or_default().to_owned();
    let comes_after = |one: &str, other: &str| {
        if range.descending { one < other } else { one > other }
    };
    // A shard with more entries may have some after its last one, so that no entry of another shard
    // after it can be in this page.
    let mut end: Option<String> = None;
    for (entries, more) in &shards {
        let Some(last) = entries.last().filter(|_| *more).map(sort_key) else { continue };
        if end.as_ref().is_none_or(|end| comes_after(end, &last)) {
            end = Some(last);
        }
    }
    let mut more = end.is_some();
    let mut entries: Vec<Item> = shards.into_iter().flat_map(|(entries, _)| entries).collect();
    if let Some(end) = &end {
        entries.retain(|entry| !comes_after(&sort_key(entry), end));
    }
    entries.sort_by_cached_key(sort_key);
    if range.descending {
        entries.reverse();
    }
    let limit = usize::try_from(range.limit).unwrap_or_default();
    if entries.len() > limit {
        entries.truncate(limit);
        more = true;
    }
    (entries, more)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_shard_has_the_name_of_the_list_so_that_older_entries_are_found() {
        let list = List::sharded("T#acme#EVENTS".to_owned(), 16);
        let partitions: Vec<_> = list.partitions().collect();
        assert_eq!(partitions.len(), 16);
        assert_eq!(partitions.first().map(String::as_str), Some("T#acme#EVENTS"));
        assert_eq!(partitions.last().map(String::as_str), Some("T#acme#EVENTS#15"));
        assert_eq!(List::new("T#acme#EVENTS".to_owned()).partition("any"), "T#acme#EVENTS");
        for (shard, only) in [(0, "T#acme#EVENTS"), (3, "T#acme#EVENTS#3"), (19, "T#acme#EVENTS#3")]
        {
            let only: Vec<_> = vec![only.to_owned()];
            assert_eq!(list.only(shard).partitions().collect::<Vec<_>>(), only);
        }
    }

    /// Stored keys depend on it.
    #[test]
    fn shards_are_frozen() {
        let shards = ["evt_0", "evt_1", "conv_0", "acme#ntf_0"].map(|id| shard_of(id, 16));
        assert_eq!(shards, [5, 2, 14, 12]);
    }

    #[test]
    fn ids_are_spread_evenly_over_the_shards() {
        let mut counts: BTreeMap<u8, u32> = BTreeMap::new();
        for number in 0..16_000 {
            *counts.entry(shard_of(&format!("evt_01J9ZQ4J9T{number:016}"), 16)).or_default() += 1;
        }
        assert_eq!(counts.len(), 16);
        assert!(counts.values().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    fn entry(sort_key: u16) -> Item {
        Item::from([("gsi1sk".to_owned(), s(format!("{sort_key:05}")))])
    }

    proptest! {
        #[test]
        fn pages_merged_from_shards_are_those_of_one_list(
            keys in proptest::collection::btree_set(0_u16..2000, 0..60),
            limit in 1_i32..12,
            cuts in proptest::collection::vec(1_usize..12, 4),
            descending: bool,
        ) {
            // What one query of a shard returns: at most `limit` entries, or fewer if a response
            // reaches its maximum size.
            let shards_after = |seen: &BTreeSet<u16>| -> Vec<(Vec<Item>, bool)> {
                (0..4_usize).map(|shard| {
                    let mut rest: Vec<u16> = keys.iter().copied()
                        .filter(|key| usize::from(*key) % 4 == shard && !seen.contains(key)).collect();
                    if descending { rest.reverse(); }
                    let limit = usize::try_from(limit).unwrap_or(1);
                    let count = cuts.get(shard).copied().unwrap_or(1).min(limit);
                    let more = rest.len() > count;
                    rest.truncate(count);
                    (rest.into_iter().map(entry).collect(), more)
                }).collect()
            };
            let range = ListRange { low: "0".into(), high: ":".into(), descending, limit };
            let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
            loop {
                let (page, more) = merge(shards_after(&seen), &range);
                prop_assert!(i32::try_from(page.len()).unwrap_or(i32::MAX) <= limit);
                for item in &page {
                    let key: u16 = text(item, "gsi1sk").unwrap_or_default().parse().unwrap_or_default();
                    order.push(key);
                    seen.insert(key);
                }
                if !more { break; }
                prop_assert!(!page.is_empty(), "a page with more to come is not empty");
            }
            let mut expected: Vec<u16> = keys.into_iter().collect();
            if descending { expected.reverse(); }
            prop_assert_eq!(order, expected);
        }
    }
}
