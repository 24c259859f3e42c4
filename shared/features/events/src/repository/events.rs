//! Events.

use std::collections::HashMap;

use domain::ports::{Page, PortResult, Recorded};
use domain::record::{
    BodyLocation, Direction, EVENT_RETENTION, EventFilter, EventRecord, LastReplay, State,
    StoredEvent,
};
use domain::{EventId, ReplayId, TenantId};
use jiff::Timestamp;
use table::{
    AttributeValue, CancellationReason, Item, Key, cancellation_reasons, corrupt, failed, item,
    json, ms, n, number, parse, put_refused, refused, s, text, time, ttl,
};

use super::{Repository, keys};
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
        let entry = event_item(operation, event)?;
        if single_use.is_none() && record.state == State::Recorded {
            let put = self.table.put(entry).condition_expression("attribute_not_exists(pk)").send();
            return match put.await {
                Ok(_) => Ok(RecordOutcome::New),
                Err(error) if put_refused(&error).is_some() => Ok(RecordOutcome::Duplicate),
                Err(error) => Err(failed(operation, &error)),
            };
        }
        let mut writes = vec![self.table.put_new(operation, entry)?];
        let keep = ttl(record.received_at, EVENT_RETENTION);
        if record.state == State::Parked {
            let listed = item(
                &keys::parked_list_entry(&record.tenant, record.id),
                [
                    ("gsi1pk", s(keys::parked_of(&record.tenant))),
                    ("gsi1sk", s(place(record))),
                    ("ttl", keep.clone()),
                ],
            );
            writes.push(self.table.put_always(operation, listed)?);
        }
        // This write must be the last one: its cancellation reason is read below.
        if let Some(token) = single_use {
            let hash = EventId::derived(&[token]).to_string();
            let key = keys::single_use_token(&record.tenant, record.provider, &hash);
            let once = item(&key, [("event", s(record.id.to_string())), ("ttl", keep)]);
            let free = "attribute_not_exists(pk) OR #event = :event";
            let values = vec![(":event", s(record.id.to_string()))];
            writes.push(self.table.put_write(operation, once, Some(free), values)?);
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
            .update_expression(
                "SET last_replay = :id, last_replay_at = :now ADD replays :one, replayed_by :ids",
            )
            .condition_expression(
                "attribute_exists(pk) AND (attribute_not_exists(replayed_by) OR \
                 (NOT contains(replayed_by, :id) AND replays < :max))",
            )
            .expression_attribute_values(":ids", AttributeValue::Ss(vec![id.clone()]))
            .expression_attribute_values(":id", s(id))
            .expression_attribute_values(":now", ms(now))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":max", n(MAX_REPLAYS));
        match update.send().await {
            Ok(_) => Ok(Recorded::New),
            Err(error) if refused(&error).is_some() => Ok(Recorded::Duplicate),
            Err(error) => Err(failed(operation, &error)),
        }
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
            let keys = matches.found.iter().map(|(_, id)| primary(&keys::event(tenant, *id)));
            let mut items = self.table.read_batch(operation, keys.collect()).await?;
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
        let mut low = filter.from.map_or_else(|| "0".to_owned(), keys::event_time);
        // ':' sorts after the digits.
        let mut high = filter.to.map_or_else(|| ":".to_owned(), keys::event_time);
        match cursor {
            Some(cursor) if newest_first => high = high.min(cursor.to_owned()),
            Some(cursor) => low = low.max(cursor.to_owned()),
            None => {}
        }
        if low > high {
            return Ok(Matches { found: Vec::new(), next: None });
        }
        let parent = match filter.state {
            Some(State::Parked) => keys::parked_of(tenant),
            _ => keys::events_of(tenant),
        };
        // One more, because the cursor itself is in the result.
        let needed = i32::try_from(max + 1).unwrap_or(FILTERED_LIMIT);
        let is_unfiltered = filter.provider.is_none() && filter.kind.is_none();
        let query = self
            .table
            .query()
            .index_name("by_parent")
            .scan_index_forward(!newest_first)
            .limit(if is_unfiltered { needed } else { FILTERED_LIMIT })
            .key_condition_expression("gsi1pk = :parent AND gsi1sk BETWEEN :low AND :high")
            .expression_attribute_values(":parent", s(parent))
            .expression_attribute_values(":low", s(low))
            .expression_attribute_values(":high", s(high));
        let answer = query.send().await.map_err(|error| failed(operation, &error))?;
        let places = answer.items().iter().filter_map(|item| text(item, "gsi1sk"));
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
        let more = answer.last_evaluated_key().is_some();
        matches.next = last.filter(|_| more);
        Ok(matches)
    }
}

/// Returns the sort key of an event in its tenant's lists.
fn place(record: &EventRecord) -> String {
    keys::event_sort_key(record.received_at, record.provider, record.kind, record.id)
}

fn primary(key: &Key) -> Item {
    HashMap::from([("pk".to_owned(), s(&key.pk)), ("sk".to_owned(), s(&key.sk))])
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
            ("gsi1pk", s(keys::events_of(&record.tenant))),
            ("gsi1sk", s(place(record))),
            ("ttl", ttl(record.received_at, EVENT_RETENTION)),
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
