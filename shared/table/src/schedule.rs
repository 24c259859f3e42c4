//! Schedules: entries in the order of the time at which they are due.

use domain::ports::PortResult;
use jiff::Timestamp;

use crate::list::shard_of;
use crate::{Item, Key, Table, failed, s, text};

/// A schedule. Its entries are in several partitions (shards), so that the write limit of one
/// partition does not limit it.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// First part of the partition keys.
    pub name: &'static str,
    /// Number of shards.
    pub shards: u8,
}

impl Schedule {
    /// Returns the key of the entry `id` that is due at `at`.
    #[must_use]
    pub fn key(&self, at: Timestamp, id: &str) -> Key {
        Key::new(
            self.partition(shard_of(id, self.shards)),
            format!("{:013}#{id}", at.as_millisecond()),
        )
    }

    /// Returns the key of an entry as one text.
    #[must_use]
    pub fn text(key: &Key) -> String {
        format!("{}|{}", key.pk, key.sk)
    }

    /// Parses the key of an entry of this schedule.
    #[must_use]
    pub fn parse(&self, text: &str) -> Option<Key> {
        let (pk, sk) = text.split_once('|')?;
        pk.strip_prefix(self.name)?.strip_prefix('#')?;
        Some(Key::new(pk.to_owned(), sk))
    }

    fn partition(&self, shard: u8) -> String {
        format!("{}#{shard}", self.name)
    }

    /// Returns up to `limit` entries of `table` that are due at `now`, with their keys.
    ///
    /// # Errors
    /// If a request fails.
    pub async fn due(
        &self,
        table: &Table,
        operation: &'static str,
        now: Timestamp,
        limit: u32,
    ) -> PortResult<Vec<Item>> {
        let shards = (0..self.shards).map(|shard| async move {
            let query = table
                .query()
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND sk < :end")
                .expression_attribute_values(":pk", s(self.partition(shard)))
                // '$' sorts after '#', so that this millisecond is included.
                .expression_attribute_values(":end", s(format!("{:013}$", now.as_millisecond())))
                .limit(i32::try_from(limit).unwrap_or(i32::MAX));
            let answer = query.send().await.map_err(|error| failed(operation, &error))?;
            Ok(answer.items.unwrap_or_default())
        });
        let mut due = futures::future::try_join_all(shards).await?.concat();
        // The earliest of all shards first, so that a long shard does not delay the others.
        due.sort_by_cached_key(|entry| text(entry, "sk").map(ToOwned::to_owned));
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(due)
    }
}
