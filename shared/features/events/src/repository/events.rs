//! Events.

use domain::ports::{Page, PortResult, Recorded};
use domain::{EventId, ReplayId, TenantId};
use jiff::Timestamp;
use table::{
    AttributeValue, CancellationReason, Item, ListRange, cancellation_reasons, corrupt, expire,
    failed, item, json, ms, n, number, parse, s, sortable_micros, text, time,
};

use super::{Repository, keys};
use crate::model::{
    BodyLocation, Direction, EventFilter, EventRecord, LastReplay, State, StoredEvent,
};
use crate::ports::{EventLog, EventReader, RecordOutcome};

/// Number of keys per query, if a filter may exclude max of them.
const FILTERED_LIMIT: i32 = 500;
/// Maximum number of queries per page: after that, the page ends even if it is not full.
const MAX_QUERIES: u32 = 5;
/// Maximum number of replays that are recorded for an event.
const MAX_REPLAYS: i64 = 1000;

impl EventLog for Repository {
    async fn record_event(
        &self,
        event: &StoredEvent,
        single_use: Option<&str>,
    ) -> PortResult<RecordOutcome> {
        let operation = "record an event";
        let record = &event.record;
        let mut entry = event_item(operation, event)?;
        expire(&mut entry, record.received_at, self.retention());
        if single_use.is_none() && record.state == State::Recorded {
            return Ok(match self.table.put_once(operation, entry).await? {
                Recorded::New => RecordOutcome::New,
                Recorded::Duplicate => RecordOutcome::Duplicate,
            });
        }
        let mut writes = vec![self.table.put_new(entry).in_transaction(operation)?];
        if record.state == State::Parked {
            let mut listed = item(
                &keys::parked_list_entry(&record.tenant, record.id),
                [
                    (
                        "gsi1pk",
                        s(keys::parked_of(&record.tenant).partition(&record.id.to_string())),
                    ),
                    ("gsi1sk", s(place(record))),
                ],
            );
            expire(&mut listed, record.received_at, self.retention());
            writes.push(self.table.put(listed).in_transaction(operation)?);
        }
        // This write must be the last one: its cancellation reason is read below.
        if let Some(token) = single_use {
            let hash = EventId::derived(&[token]).to_string();
            let key = keys::single_use_token(&record.tenant, record.provider, &hash);
            let mut once = item(&key, [("event", s(record.id.to_string()))]);
            expire(&mut once, record.received_at, self.retention());
            let once = self
                .table
                .put(once)
                .only_if("attribute_not_exists(pk) OR #event = :event")
                .value(":event", s(record.id.to_string()));
            writes.push(once.in_transaction(operation)?);
        }
        let Err(error) = self.table.write_all(writes).await else { return Ok(RecordOutcome::New) };
        let reasons = cancellation_reasons(&error);
        match (reasons.first(), reasons.last()) {
            (_, Some(CancellationReason::Condition)) if single_use.is_some() => {
                Ok(RecordOutcome::ReusedToken)
            }
            (Some(CancellationReason::Condition), _) => Ok(RecordOutcome::Duplicate),
            _ => Err(failed(operation, &error)),
        }
    }

    async fn record_replay(
        &self,
        tenant: &TenantId,
        event: EventId,
        replay: ReplayId,
        now: Timestamp,
    ) -> PortResult<Recorded> {
        let operation = "record a replay";
        let id = replay.to_string();
        let update = self
            .table
            .update(&keys::event(tenant, event))
            .set("last_replay = :id, last_replay_at = :now")
            .add_to("replays :one, replayed_by :ids")
            .only_if(
                "attribute_exists(pk) AND (attribute_not_exists(replayed_by) OR \
                 (NOT contains(replayed_by, :id) AND replays < :max))",
            )
            .value(":ids", AttributeValue::Ss(vec![id.clone()]))
            .value(":id", s(id))
            .value(":now", ms(now))
            .value(":one", n(1))
            .value(":max", n(MAX_REPLAYS));
        Ok(update.apply(operation).await?.recorded())
    }
}

impl EventReader for Repository {
    async fn event(&self, tenant: &TenantId, id: EventId) -> PortResult<Option<StoredEvent>> {
        let operation = "read an event";
        let item = self.table.read(operation, &keys::event(tenant, id)).await?;
        item.map(|item| read_event(operation, &item)).transpose()
    }

    async fn events(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        direction: Direction,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<StoredEvent>> {
        let operation = "list events";
        let wanted = usize::try_from(limit).unwrap_or(100).min(100);
        let mut page = Page { items: Vec::new(), next: cursor.map(ToOwned::to_owned) };
        for _round in 0..MAX_QUERIES {
            let room = wanted - page.items.len();
            let matches = self
                .event_places(operation, tenant, filter, direction, room, page.next.as_deref())
                .await?;
            let keys = matches.found.iter().map(|(_, id)| keys::event(tenant, *id));
            let mut items = self.table.read_batch(operation, &keys.collect::<Vec<_>>()).await?;
            for (_, id) in &matches.found {
                // The item may have been deleted after the index was read.
                let Some(item) = items.remove(&keys::event(tenant, *id).pk) else { continue };
                let event = read_event(operation, &item)?;
                if filter.matches_record(&event.record) {
                    page.items.push(event);
                }
            }
            page.next = matches.next;
            if page.next.is_none() || page.items.len() >= wanted {
                break;
            }
        }
        Ok(page)
    }
}

/// Sort keys of events that match by key, and the cursor of the next query.
struct Matches {
    found: Vec<(String, EventId)>,
    next: Option<String>,
}

impl Repository {
    /// Queries a part of a tenant's list, and returns at max `max` events that match by provider
    /// and kind.
    async fn event_places(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        filter: &EventFilter,
        direction: Direction,
        max: usize,
        cursor: Option<&str>,
    ) -> PortResult<Matches> {
        let newest_first = direction == Direction::NewestFirst;
        let mut low = filter.from.map_or_else(|| "0".to_owned(), sortable_micros);
        // ':' sorts after the digits.
        let mut high = filter.to.map_or_else(|| ":".to_owned(), sortable_micros);
        match cursor {
            Some(cursor) if newest_first => high = high.min(cursor.to_owned()),
            Some(cursor) => low = low.max(cursor.to_owned()),
            None => {}
        }
        if low > high {
            return Ok(Matches { found: Vec::new(), next: None });
        }
        let of = match filter.state {
            Some(State::Parked) => keys::parked_of(tenant),
            _ => keys::events_of(tenant),
        };
        // One more, because the cursor itself is in the result.
        let needed = i32::try_from(max + 1).unwrap_or(FILTERED_LIMIT);
        let is_unfiltered = filter.provider.is_none() && filter.kind.is_none();
        let limit = if is_unfiltered { needed } else { FILTERED_LIMIT };
        let range = ListRange { low, high, descending: newest_first, limit };
        let (entries, more) = self.table.list(operation, &of, &range).await?;
        let places = entries.iter().filter_map(|item| text(item, "gsi1sk"));
        let mut matches = Matches { found: Vec::new(), next: None };
        let mut last = None;
        for place in places.filter(|place| Some(*place) != cursor) {
            if matches.found.len() >= max {
                // There is at least one more.
                matches.next = last;
                return Ok(matches);
            }
            last = Some(place.to_owned());
            let read = keys::parse_event_sort_key(place);
            let (provider, kind, id) = read.ok_or_else(|| corrupt(operation, "place"))?;
            if filter.matches_key(provider, kind) {
                matches.found.push((place.to_owned(), id));
            }
        }
        matches.next = last.filter(|_| more);
        Ok(matches)
    }
}

/// Returns the sort key of an event in its tenant's lists.
fn place(record: &EventRecord) -> String {
    keys::event_sort_key(record.received_at, record.provider, record.kind, record.id)
}

fn event_item(operation: &'static str, event: &StoredEvent) -> PortResult<Item> {
    let record = &event.record;
    let (name, body) = match &event.body {
        BodyLocation::Inline(body) => ("body", body),
        BodyLocation::Object(key) => ("object", key),
    };
    Ok(item(
        &keys::event(&record.tenant, record.id),
        [
            ("doc", json(operation, record)?),
            (name, s(body)),
            ("gsi1pk", s(keys::events_of(&record.tenant).partition(&record.id.to_string()))),
            ("gsi1sk", s(place(record))),
        ],
    ))
}

fn read_event(operation: &'static str, item: &Item) -> PortResult<StoredEvent> {
    let mut record: EventRecord = parse(operation, item, "doc")?;
    record.replays = number(item, "replays").and_then(|n| n.try_into().ok()).unwrap_or_default();
    let replay = text(item, "last_replay").and_then(|id| id.parse().ok());
    record.last_replay =
        replay.zip(time(item, "last_replay_at")).map(|(replay, at)| LastReplay { replay, at });
    let body = match (text(item, "body"), text(item, "object")) {
        (Some(body), _) => BodyLocation::Inline(body.to_owned()),
        (None, Some(key)) => BodyLocation::Object(key.to_owned()),
        (None, None) => return Err(corrupt(operation, "body")),
    };
    Ok(StoredEvent { record, body })
}
