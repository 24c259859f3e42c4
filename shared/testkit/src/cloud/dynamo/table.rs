//! A table: its items, its index, and the cost of requests.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::item::{self, Attribute, Item};
use super::partition::{Needs, PartitionUse};
use super::{Lag, TableSchema, invalid};
use crate::cloud::Refusal;

/// Largest size in bytes of a partition key and of a sort key.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const LONGEST_KEYS: [usize; 2] = [2048, 1024];

/// An item and its size in bytes.
#[derive(Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) item: Item,
    pub(super) size: usize,
}

impl Stored {
    pub(super) fn new(item: Item) -> Self {
        let size = item::size(&item);
        Self { item, size }
    }
}

/// An item; `None` if there is none.
pub(super) type State = Option<Arc<Stored>>;

/// The items of a partition key, by their sort keys.
pub(super) type Partition = BTreeMap<String, Arc<Stored>>;

/// The position of an entry under its partition key in the index: its sort key, and the item's
/// keys.
pub(super) type Place = (String, String, String);

/// The key of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    pub(super) pk: &'a str,
    pub(super) sk: &'a str,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) schema: TableSchema,
    items: BTreeMap<String, Partition>,
    index: BTreeMap<String, BTreeSet<Place>>,
    /// Changes that the index does not show yet, in the order of the writes.
    pending: VecDeque<IndexChange>,
    /// Previous states that an eventually consistent read may still return.
    past: VecDeque<Past>,
}

#[derive(Clone, Debug)]
struct IndexChange {
    due_ms: i64,
    partition: String,
    place: Place,
    is_there: bool,
}

#[derive(Clone, Debug)]
struct Past {
    until_ms: i64,
    pk: String,
    sk: String,
    before: State,
}

impl Table {
    pub(super) fn new(schema: TableSchema) -> Self {
        Self {
            schema,
            items: BTreeMap::new(),
            index: BTreeMap::new(),
            pending: VecDeque::new(),
            past: VecDeque::new(),
        }
    }

    /// Applies the changes that are due by `now_ms`.
    pub(super) fn settle(&mut self, now_ms: i64) {
        while let Some(change) = self.pending.pop_front_if(|change| change.due_ms <= now_ms) {
            self.change_index(change.partition, change.place, change.is_there);
        }
        while self.past.pop_front_if(|past| past.until_ms <= now_ms).is_some() {}
    }

    fn change_index(&mut self, partition: String, place: Place, is_there: bool) {
        if is_there {
            self.index.entry(partition).or_default().insert(place);
        } else if let Some(places) = self.index.get_mut(&partition) {
            places.remove(&place);
            if places.is_empty() {
                self.index.remove(&partition);
            }
        }
    }

    /// The item after the last write.
    pub(super) fn get(&self, key: Key<'_>) -> Option<&Arc<Stored>> {
        self.items.get(key.pk)?.get(key.sk)
    }

    /// The item as an eventually consistent read returns it.
    pub(super) fn get_eventually(&self, key: Key<'_>) -> Option<&Arc<Stored>> {
        match self.past.iter().find(|past| past.pk == key.pk && past.sk == key.sk) {
            Some(past) => past.before.as_ref(),
            None => self.get(key),
        }
    }

    /// A partition after the last writes, or as an eventually consistent read returns it.
    pub(super) fn partition(&self, pk: &str, is_consistent: bool) -> Option<Cow<'_, Partition>> {
        let now = self.items.get(pk);
        if is_consistent || self.past.iter().all(|past| past.pk != pk) {
            return now.map(Cow::Borrowed);
        }
        let mut then = now.cloned().unwrap_or_default();
        // The first of several changes has the previous state.
        for past in self.past.iter().rev().filter(|past| past.pk == pk) {
            match &past.before {
                Some(before) => then.insert(past.sk.clone(), Arc::clone(before)),
                None => then.remove(&past.sk),
            };
        }
        Some(Cow::Owned(then))
    }

    /// The entries of a partition of the index.
    pub(super) fn places(&self, partition: &str) -> Option<&BTreeSet<Place>> {
        self.index.get(partition)
    }

    /// All items, in the order of the keys.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.items.values().flat_map(BTreeMap::values)
    }

    /// All keys, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.items
            .iter()
            .flat_map(|(pk, partition)| partition.keys().map(move |sk| (pk.as_str(), sk.as_str())))
    }

    /// Writes or deletes an item.
    pub(super) fn put(&mut self, key: Key<'_>, after: State, lag: Lag, now_ms: i64) {
        let before = self.get(key).cloned();
        let (old, new) = (self.entry(before.as_ref()), self.entry(after.as_ref()));
        if old != new {
            self.schedule(old, key, false, lag, now_ms);
            self.schedule(new, key, true, lag, now_ms);
        }
        if lag.read_ms > 0 {
            let (pk, sk) = (key.pk.to_owned(), key.sk.to_owned());
            let before = before.clone();
            self.past.push_back(Past { until_ms: now_ms + lag.read_ms, pk, sk, before });
        }
        match after {
            Some(stored) => {
                let partition = match self.items.get_mut(key.pk) {
                    Some(partition) => partition,
                    None => self.items.entry(key.pk.to_owned()).or_default(),
                };
                match partition.get_mut(key.sk) {
                    Some(place) => *place = stored,
                    None => {
                        partition.insert(key.sk.to_owned(), stored);
                    }
                }
            }
            None => {
                if let Some(partition) = self.items.get_mut(key.pk) {
                    partition.remove(key.sk);
                    if partition.is_empty() {
                        self.items.remove(key.pk);
                    }
                }
            }
        }
    }

    fn schedule(
        &mut self,
        entry: Option<(String, String)>,
        key: Key<'_>,
        is_there: bool,
        lag: Lag,
        now_ms: i64,
    ) {
        let Some((partition, sort)) = entry else { return };
        let place = (sort, key.pk.to_owned(), key.sk.to_owned());
        if lag.index_ms == 0 && self.pending.is_empty() {
            return self.change_index(partition, place, is_there);
        }
        // The index applies the writes in their order.
        let last = self.pending.back().map_or(i64::MIN, |change| change.due_ms);
        let due_ms = (now_ms + lag.index_ms).max(last);
        self.pending.push_back(IndexChange { due_ms, partition, place, is_there });
    }

    /// The index keys of an item, if it is in the index.
    fn entry(&self, state: Option<&Arc<Stored>>) -> Option<(String, String)> {
        let index = self.schema.index.as_ref()?;
        let item = &state?.item;
        let part = |name: &str| item.get(name).and_then(Attribute::text).map(str::to_owned);
        Some((part(&index.pk)?, part(&index.sk)?))
    }

    /// The entry of the index as an item.
    pub(super) fn entry_item(&self, partition: &str, place: &Place) -> Stored {
        let (sort, pk, sk) = place;
        let mut item = Item::new();
        let mut insert = |name: &str, value: &str| {
            item.insert(name.to_owned(), Attribute::S(value.to_owned()));
        };
        insert(&self.schema.pk, pk);
        insert(&self.schema.sk, sk);
        if let Some(index) = &self.schema.index {
            insert(&index.pk, partition);
            insert(&index.sk, sort);
        }
        Stored::new(item)
    }

    /// Write units of the index when an item changes: one for each kilobyte of an entry that is
    /// added or removed; an entry whose key changes is removed and added.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations.Writes>
    pub(super) fn index_units(&self, key: Key<'_>, before: &State, after: &State) -> u32 {
        self.index_writes(key, before, after).into_iter().map(|(_, units)| units).sum()
    }

    /// The same for each partition key of the index that is written to.
    fn index_writes(&self, key: Key<'_>, before: &State, after: &State) -> Vec<(String, u32)> {
        let (old, new) = (self.entry(before.as_ref()), self.entry(after.as_ref()));
        if old == new {
            return Vec::new();
        }
        let write = |(partition, sort): (String, String)| {
            let place = (sort, key.pk.to_owned(), key.sk.to_owned());
            let units = write_units(self.entry_item(&partition, &place).size);
            (partition, units)
        };
        old.into_iter().chain(new).map(write).collect()
    }

    /// Adds the index writes of a write to the needs of a request, `factor` times.
    pub(super) fn add_index_writes(
        &self,
        needs: &mut Needs,
        key: Key<'_>,
        (before, after): (&State, &State),
        factor: u32,
    ) {
        let Some(index) = &self.schema.index else { return };
        for (partition, units) in self.index_writes(key, before, after) {
            let of = PartitionUse {
                table: self.schema.name.clone(),
                index: Some(index.name.clone()),
                key: partition,
                is_write: true,
            };
            *needs.entry(of).or_default() += units * factor;
        }
    }

    // ---- Validation by the schema

    /// Parses a key in wire format.
    pub(super) fn key<'a>(&self, value: &'a serde_json::Value) -> Result<Key<'a>, Refusal> {
        let mismatch = || invalid("The provided key element does not match the schema");
        let members = value.as_object().ok_or_else(mismatch)?;
        if members.len() != 2 {
            return Err(mismatch());
        }
        let part = |name: &str| text_of(value, name).ok_or_else(mismatch);
        let key = Key { pk: part(&self.schema.pk)?, sk: part(&self.schema.sk)? };
        self.check_key(key)?;
        Ok(key)
    }

    /// Parses the key of a whole item in wire format.
    pub(super) fn key_of_item<'a>(
        &self,
        wire: &'a serde_json::Value,
        item: &Item,
    ) -> Result<Key<'a>, Refusal> {
        let part = |name: &str| match item.get(name) {
            None => Err(item::parameter(&format!("Missing the key {name} in the item"))),
            Some(found) => text_of(wire, name).ok_or_else(|| {
                let actual = found.kind();
                let reason = format!("Type mismatch for key {name} expected: S actual: {actual}");
                item::parameter(&reason)
            }),
        };
        let key = Key { pk: part(&self.schema.pk)?, sk: part(&self.schema.sk)? };
        self.check_key(key)?;
        Ok(key)
    }

    fn check_key(&self, key: Key<'_>) -> Result<(), Refusal> {
        for (name, value) in [(&self.schema.pk, key.pk), (&self.schema.sk, key.sk)] {
            if value.is_empty() {
                return Err(invalid(format!(
                    "One or more parameter values are not valid. The AttributeValue for a key \
                     attribute cannot contain an empty string value. Key: {name}"
                )));
            }
        }
        let [longest, longest_sort] = LONGEST_KEYS;
        if key.pk.len() > longest {
            return Err(item::parameter(
                "Size of hashkey has exceeded the maximum size limit of2048 bytes",
            ));
        }
        if key.sk.len() > longest_sort {
            return Err(item::parameter(
                "Aggregated size of all range keys has exceeded the size limit of 1024 bytes",
            ));
        }
        Ok(())
    }

    /// Refuses an item whose index keys are not strings, or are empty or too long.
    pub(super) fn check_index(&self, item: &Item, is_update: bool) -> Result<(), Refusal> {
        let Some(index) = &self.schema.index else { return Ok(()) };
        for (name, longest) in [&index.pk, &index.sk].into_iter().zip(LONGEST_KEYS) {
            let Some(value) = item.get(name) else { continue };
            let Some(text) = value.text() else {
                if is_update {
                    return Err(invalid(
                        "The update expression attempted to update the secondary index key to \
                         unsupported type",
                    ));
                }
                return Err(item::parameter(&format!(
                    "Type mismatch for Index Key {name} Expected: S Actual: {} IndexName: {}",
                    value.kind(),
                    index.name
                )));
            };
            if text.is_empty() {
                let what = if is_update {
                    "The update expression attempted to update a secondary index key to a value \
                     that is not supported."
                } else {
                    "One or more parameter values are not valid. A value specified for a secondary \
                     index key is not supported."
                };
                return Err(invalid(format!(
                    "{what} The AttributeValue for a key attribute cannot contain an empty string \
                     value. IndexName: {}, IndexKey: {name}",
                    index.name
                )));
            }
            if text.len() > longest {
                return Err(item::parameter(&format!(
                    "Size of the index key {name} has exceeded the maximum size limit of {longest} \
                     bytes"
                )));
            }
        }
        Ok(())
    }
}

/// A string in a map of attributes in wire format.
pub(super) fn text_of<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    let value = value.get(name)?.as_object()?;
    (value.len() == 1).then(|| value.get("S")?.as_str()).flatten()
}

/// Write units: one for each kilobyte, and at least one.
pub(super) fn write_units(size: usize) -> u32 {
    u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}

/// Halves of read units: one for each four kilobytes, two if the read is consistent.
pub(super) fn read_halves(size: usize, is_consistent: bool) -> u32 {
    let units = u32::try_from(size.div_ceil(4096)).unwrap_or(u32::MAX / 2).max(1);
    if is_consistent { 2 * units } else { units }
}
