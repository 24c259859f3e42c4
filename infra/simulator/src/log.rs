//! The ordered event log.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use crate::clock::rfc3339;
use crate::ids::Ids;

/// Largest number of events that the log keeps; older ones are dropped.
const MAX_EVENTS: usize = 200_000;

/// A logged event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its sequence number.
    pub seq: u64,
    /// The event as the control API shows it.
    pub shown: Value,
}

/// The ordered log of all events.
#[derive(Debug, Default)]
pub struct Log {
    events: VecDeque<Event>,
    last_seq: u64,
}

impl Log {
    /// Adds an event with `fields` (an object) and returns its sequence number.
    pub fn push(
        &mut self,
        now_ms: i64,
        source: &str,
        name: &str,
        kind: &str,
        fields: Value,
    ) -> u64 {
        self.last_seq += 1;
        let mut shown = Map::new();
        shown.insert("seq".into(), json!(self.last_seq));
        shown.insert("at_ms".into(), json!(now_ms));
        shown.insert("at".into(), json!(rfc3339(now_ms)));
        shown.insert("source".into(), json!(source));
        shown.insert("name".into(), json!(name));
        shown.insert("kind".into(), json!(kind));
        if let Value::Object(fields) = fields {
            shown.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        }
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event { seq: self.last_seq, shown: Value::Object(shown) });
        self.last_seq
    }

    /// The sequence number of the newest event; 0 if there is none.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// At most `limit` events after `since`, and the sequence number to continue from.
    #[must_use]
    pub fn since(&self, since: u64, limit: usize) -> (Vec<Value>, u64) {
        let start = self.events.partition_point(|event| event.seq <= since);
        let found: Vec<&Event> = self.events.iter().skip(start).take(limit).collect();
        let next = found.last().map_or(since, |event| event.seq);
        (found.into_iter().map(|event| event.shown.clone()).collect(), next)
    }

    /// Removes all events; the sequence numbers continue.
    pub fn clear(&mut self) {
        self.events.clear();
    }
}

/// What the rules of a provider need from outside: the time, new ids and the log.
#[derive(Debug)]
pub struct ProviderContext<'a> {
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// Generates identifiers.
    pub ids: &'a mut Ids,
    /// The log.
    pub log: &'a mut Log,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_after_a_sequence_number() {
        let mut log = Log::default();
        for n in 0..5 {
            log.push(n, "whatsapp", "1", "read", json!({"n": n, "none": null}));
        }
        let (first, next) = log.since(0, 3);
        assert_eq!((first.len(), next), (3, 3));
        let (rest, next) = log.since(next, 100);
        assert_eq!((rest.len(), next), (2, 5));
        assert_eq!(rest[0]["n"], 3);
        assert!(rest[0].get("none").is_none());
        assert_eq!(log.since(5, 100), (vec![], 5));
        log.clear();
        assert_eq!(log.push(9, "a", "b", "c", Value::Null), 6);
    }
}
