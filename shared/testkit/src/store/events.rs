//! Everything that happened, and what is worked again.

use std::collections::BTreeSet;

use domain::ports::{
    EventLog, EventReader, Page, PortResult, RecordOutcome, Recorded, ReplayProgress, Replays,
};
use domain::record::{
    Direction, EventFilter, EventRecord, LastReplay, Replay, ReplayPage, ReplayPlace, ReplayStatus,
    State, StoredEvent,
};
use domain::{EventId, ReplayId, TenantId};
use jiff::Timestamp;

use super::{MemoryStore, ms};

/// Keys that one call of a list looks at.
const LOOKS: usize = 2500;
/// How many replays are noted at one event.
const MOST_REPLAYS: usize = 1000;

/// An event as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Row {
    event: StoredEvent,
    replayed_by: BTreeSet<ReplayId>,
    last: Option<LastReplay>,
}

impl Row {
    pub(super) fn read(&self) -> StoredEvent {
        let record = EventRecord {
            replays: u32::try_from(self.replayed_by.len()).unwrap_or(u32::MAX),
            last_replay: self.last,
            ..self.event.record.clone()
        };
        StoredEvent { record, body: self.event.body.clone() }
    }

    /// Its place in the tenant's lists.
    fn place(&self) -> String {
        let EventRecord { received_at, provider, kind, id, .. } = &self.event.record;
        format!("{}#{provider}#{}#{id}", time(*received_at), kind.as_str())
    }
}

fn time(at: Timestamp) -> String {
    format!("{:016}", at.as_microsecond().max(0))
}

impl EventLog for MemoryStore {
    async fn record_event(
        &self,
        event: &StoredEvent,
        single_use: Option<&str>,
    ) -> PortResult<RecordOutcome> {
        self.pass("record an event", |tables| {
            let record = &event.record;
            let proof =
                single_use.map(|proof| (record.tenant.clone(), record.provider, proof.to_owned()));
            if let Some(proof) = &proof
                && tables.once.get(proof).is_some_and(|other| *other != record.id)
            {
                return RecordOutcome::ReusedToken;
            }
            let key = (record.tenant.clone(), record.id);
            if tables.events.contains_key(&key) {
                return RecordOutcome::Duplicate;
            }
            if let Some(proof) = proof {
                tables.once.insert(proof, record.id);
            }
            let row = Row { event: event.clone(), replayed_by: BTreeSet::new(), last: None };
            tables.events.insert(key, row);
            RecordOutcome::New
        })
        .await
    }

    async fn note_replay(
        &self,
        tenant: &TenantId,
        event: EventId,
        replay: ReplayId,
        now: Timestamp,
    ) -> PortResult<Recorded> {
        self.pass("note a replay", |tables| {
            let Some(row) = tables.events.get_mut(&(tenant.clone(), event)) else {
                return Recorded::Duplicate;
            };
            if row.replayed_by.len() >= MOST_REPLAYS || !row.replayed_by.insert(replay) {
                return Recorded::Duplicate;
            }
            row.last = Some(LastReplay { replay, at: ms(now) });
            Recorded::New
        })
        .await
    }
}

impl EventReader for MemoryStore {
    async fn event(&self, tenant: &TenantId, id: EventId) -> PortResult<Option<StoredEvent>> {
        self.pass("read an event", |tables| tables.events.get(&(tenant.clone(), id)).map(Row::read))
            .await
    }

    async fn events(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        direction: Direction,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<StoredEvent>> {
        self.pass("list events", |tables| {
            let own = tables.events.iter().filter(|((own, _), _)| own == tenant);
            let own = own.map(|(_, row)| (row.place(), row));
            let in_time = |place: &str| {
                filter.from.is_none_or(|from| *place >= *time(from))
                    && filter.to.is_none_or(|to| *place < *time(to))
            };
            let after = |place: &str| match (cursor, direction) {
                (None, _) => true,
                (Some(cursor), Direction::NewestFirst) => place < cursor,
                (Some(cursor), Direction::OldestFirst) => place > cursor,
            };
            let parked_only = filter.state == Some(State::Parked);
            let listed = |row: &Row| !parked_only || row.event.record.state == State::Parked;
            let own = own.filter(|(place, row)| in_time(place) && after(place) && listed(row));
            let mut own: Vec<(String, &Row)> = own.collect();
            own.sort_by(|(one, _), (other, _)| one.cmp(other));
            if direction == Direction::NewestFirst {
                own.reverse();
            }
            let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(100);
            let mut page = Page { items: Vec::new(), next: None };
            for (looks, (place, row)) in own.into_iter().enumerate() {
                if looks >= LOOKS || page.items.len() >= limit {
                    return page;
                }
                let event = row.read();
                let (provider, kind) = (event.record.provider, event.record.kind);
                page.next = Some(place);
                if filter.fits_place(provider.as_str(), kind.as_str())
                    && filter.fits_record(&event.record)
                {
                    page.items.push(event);
                }
            }
            Page { next: None, ..page }
        })
        .await
    }
}

impl Replays for MemoryStore {
    async fn begin(&self, replay: &Replay) -> PortResult<Recorded> {
        self.pass("begin a replay", |tables| {
            let key = (replay.tenant.clone(), replay.id);
            if tables.replays.contains_key(&key) {
                return Recorded::Duplicate;
            }
            let replay = Replay { matched: 0, published: 0, ..replay.clone() };
            tables.replays.insert(key, ReplayPlace { replay, cursor: String::new(), before: None });
            Recorded::New
        })
        .await
    }

    async fn replay(&self, tenant: &TenantId, id: ReplayId) -> PortResult<Option<ReplayPlace>> {
        self.pass("read a replay", |tables| tables.replays.get(&(tenant.clone(), id)).cloned())
            .await
    }
}

impl ReplayProgress for MemoryStore {
    async fn advance_page(
        &self,
        tenant: &TenantId,
        id: ReplayId,
        page: &ReplayPage,
        now: Timestamp,
    ) -> PortResult<Recorded> {
        self.pass("move a replay on", |tables| {
            let Some(place) = tables.replays.get_mut(&(tenant.clone(), id)) else {
                return Recorded::Duplicate;
            };
            if place.cursor != page.from || place.replay.status == ReplayStatus::Done {
                return Recorded::Duplicate;
            }
            place.before = Some(std::mem::take(&mut place.cursor));
            place.cursor = page.next.clone().unwrap_or_default();
            let replay = &mut place.replay;
            replay.status =
                if page.next.is_some() { ReplayStatus::Running } else { ReplayStatus::Done };
            replay.matched += page.matched;
            replay.published += page.published;
            replay.updated_at = ms(now);
            replay.reason = None;
            Recorded::New
        })
        .await
    }

    async fn record_failure(
        &self,
        tenant: &TenantId,
        id: ReplayId,
        from: &str,
        reason: &str,
        now: Timestamp,
    ) -> PortResult<()> {
        self.pass("note why a replay stands still", |tables| {
            let Some(place) = tables.replays.get_mut(&(tenant.clone(), id)) else { return };
            if place.cursor == from && place.replay.status != ReplayStatus::Done {
                place.replay.status = ReplayStatus::Failed;
                place.replay.reason = Some(reason.to_owned());
                place.replay.updated_at = ms(now);
            }
        })
        .await
    }
}
