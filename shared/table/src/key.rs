//! Primary keys, and parts of sort keys.

use jiff::Timestamp;

use crate::{Item, s, text};

/// The primary key of one item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Partition key.
    pub pk: String,
    /// Sort key.
    pub sk: String,
}

impl Key {
    /// Creates a key.
    #[must_use]
    pub fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }

    /// Returns the key of an item, if it has one.
    #[must_use]
    pub fn of(item: &Item) -> Option<Self> {
        Some(Self::new(text(item, "pk")?.to_owned(), text(item, "sk")?))
    }

    /// Returns the attributes of the key.
    #[must_use]
    pub fn attributes(&self) -> Item {
        Item::from([("pk".to_owned(), s(&self.pk)), ("sk".to_owned(), s(&self.sk))])
    }
}

/// Returns microseconds since the Unix epoch as text that sorts by time.
#[must_use]
pub fn sortable_micros(at: Timestamp) -> String {
    format!("{:016}", at.as_microsecond().max(0))
}
