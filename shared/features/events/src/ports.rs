//! Ports of the feature: one trait per permission.

use domain::ports::{Page, PortResult, Recorded};
use domain::{EventId, ReplayId, TenantId};
use jiff::Timestamp;

use crate::model::{Direction, EventFilter, Replay, ReplayPage, ReplayPosition, StoredEvent};

/// Outcome of recording an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// The event was written.
    New,
    /// The event existed already; nothing changed.
    Duplicate,
    /// A single-use token was used before by another event: nothing was written.
    ReusedToken,
}

/// Event record, write side.
pub trait EventLog: Send + Sync {
    /// Records the event once. The event and its deduplication record are one item.
    /// `single_use` is a token that may authenticate this event only.
    fn record_event(
        &self,
        event: &StoredEvent,
        single_use: Option<&str>,
    ) -> impl Future<Output = PortResult<RecordOutcome>> + Send;

    /// Records once that `replay` replayed the event.
    fn record_replay(
        &self,
        tenant: &TenantId,
        event: EventId,
        replay: ReplayId,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;
}

/// Event record, read side, for one tenant.
pub trait EventReader: Send + Sync {
    /// Returns an event of the tenant.
    fn event(
        &self,
        tenant: &TenantId,
        id: EventId,
    ) -> impl Future<Output = PortResult<Option<StoredEvent>>> + Send;

    /// Returns events of the tenant that match `filter`. A page may hold fewer than `limit`
    /// events, even none, although another page follows: each call reads a bounded part of the
    /// list.
    fn events(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        direction: Direction,
        limit: u32,
        cursor: Option<&str>,
    ) -> impl Future<Output = PortResult<Page<StoredEvent>>> + Send;
}

/// Outcome of starting a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayStart {
    /// The replay was created.
    Started,
    /// These replays of the tenant run: nothing was created.
    TooMany(Vec<ReplayId>),
}

/// Replays: creation and reads.
pub trait Replays: Send + Sync {
    /// Creates a replay, unless [`MAX_RUNNING_REPLAYS`](crate::model::MAX_RUNNING_REPLAYS) of its
    /// tenant run when it is created.
    fn start_replay(&self, replay: &Replay)
    -> impl Future<Output = PortResult<ReplayStart>> + Send;

    /// Returns a replay of the tenant and its position.
    fn replay(
        &self,
        tenant: &TenantId,
        id: ReplayId,
    ) -> impl Future<Output = PortResult<Option<ReplayPosition>>> + Send;
}

/// Replay progress.
pub trait ReplayProgress: Send + Sync {
    /// Adds the page's counts to the replay and moves its position past the page; returns
    /// `Duplicate` if the replay's position is not the start of the page.
    fn advance_page(
        &self,
        tenant: &TenantId,
        id: ReplayId,
        page: &ReplayPage,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<Recorded>> + Send;

    /// Records why the page that begins at `from` could not be processed.
    fn record_failure(
        &self,
        tenant: &TenantId,
        id: ReplayId,
        from: &str,
        reason: &str,
        now: Timestamp,
    ) -> impl Future<Output = PortResult<()>> + Send;
}
