//! Progress of replays.

use domain::ports::{PortError, PortResult, Recorded};
use domain::{Fault, ReplayId, TenantId};
use jiff::Timestamp;
use table::{
    Item, Write, corrupt, failed, in_transaction, item, json, lost_race, ms, n, number, parse, s,
    text, time, ttl,
};

use super::{Repository, keys};
use crate::model::{MAX_RUNNING_REPLAYS, Replay, ReplayPage, ReplayPosition, ReplayStatus};
use crate::ports::{ReplayProgress, ReplayStart, Replays};

/// Largest number of attempts to start a replay while others start.
const MAX_START_ATTEMPTS: usize = 4;

impl Replays for Repository {
    async fn start_replay(&self, replay: &Replay) -> PortResult<ReplayStart> {
        let operation = "create a replay";
        let tenant = &replay.tenant;
        let new = item(
            &keys::replay(&replay.tenant, replay.id),
            [
                ("doc", json(operation, replay)?),
                ("status", s(replay.status.as_str())),
                ("cursor", s("")),
                ("matched", n(0)),
                ("published", n(0)),
                ("updated_at", ms(replay.updated_at)),
                ("ttl", ttl(replay.created_at, keys::REPLAY_RETENTION)),
            ],
        );
        for _attempt in 0..MAX_START_ATTEMPTS {
            let now = replay.created_at;
            let slots = (0..MAX_RUNNING_REPLAYS).map(|slot| self.slot_holder(tenant, slot, now));
            let slots = futures::future::try_join_all(slots).await?;
            let (mut running, mut free) = (Vec::new(), None);
            for (slot, holder) in (0..).zip(slots) {
                match holder {
                    Some((id, true)) => running.push(id),
                    holder => free = free.or(Some((slot, holder.map(|(ended, _)| ended)))),
                }
            }
            let Some((slot, ended)) = free else { return Ok(ReplayStart::TooMany(running)) };
            let slot = item(
                &keys::replay_slot(tenant, slot),
                [
                    ("replay", s(replay.id.to_string())),
                    ("ttl", ttl(replay.created_at, keys::REPLAY_RETENTION)),
                ],
            );
            // A slot changes from one replay to the next in one write, so no two get it.
            let slot = match ended {
                None => self.table.put_new(slot),
                Some(ended) => {
                    let slot = self.table.put(slot).only_if("#replay = :ended");
                    slot.value(":ended", s(ended.to_string()))
                }
            };
            let writes = vec![self.table.put_new(new.clone()), slot];
            match self.table.write_all(in_transaction(operation, writes)?).await {
                Ok(()) => return Ok(ReplayStart::Started),
                // Another replay began in the same moment.
                Err(error) if lost_race(&error) => {}
                Err(error) => return Err(failed(operation, &error)),
            }
        }
        let reason = "other replays began at the same time: try again".to_owned();
        Err(PortError { operation, reason, fault: Fault::Retryable })
    }

    async fn replay(&self, tenant: &TenantId, id: ReplayId) -> PortResult<Option<ReplayPosition>> {
        let operation = "read a replay";
        let item = self.table.read(operation, &keys::replay(tenant, id)).await?;
        item.map(|item| read_replay(operation, &item)).transpose()
    }
}

impl ReplayProgress for Repository {
    async fn advance_page(
        &self,
        tenant: &TenantId,
        id: ReplayId,
        page: &ReplayPage,
        now: Timestamp,
    ) -> PortResult<Recorded> {
        let operation = "advance a replay";
        let status = match page.next {
            Some(_) => ReplayStatus::Running,
            None => ReplayStatus::Done,
        };
        let count = |count: u64| n(i64::try_from(count).unwrap_or(i64::MAX));
        let update = self
            .unfinished_replay(tenant, id, &page.from)
            .set("#status = :status, #cursor = :next, came_from = :from, updated_at = :now")
            .remove("reason")
            .add_to("matched :matched, published :published")
            .value(":status", s(status.as_str()))
            .value(":next", s(page.next.as_deref().unwrap_or_default()))
            .value(":now", ms(now))
            .value(":matched", count(page.matched))
            .value(":published", count(page.published));
        Ok(update.apply(operation).await?.recorded())
    }

    async fn record_failure(
        &self,
        tenant: &TenantId,
        id: ReplayId,
        from: &str,
        reason: &str,
        now: Timestamp,
    ) -> PortResult<()> {
        let operation = "record the failure of a replay";
        let update = self
            .unfinished_replay(tenant, id, from)
            .set("#status = :failed, reason = :reason, updated_at = :now")
            .value(":failed", s(ReplayStatus::Failed.as_str()))
            .value(":reason", s(reason))
            .value(":now", ms(now));
        update.apply(operation).await.map(|_| ())
    }
}

impl Repository {
    /// Returns the replay that took a slot last, and whether it counts as running at `now`; `None` if
    /// the slot was never taken.
    async fn slot_holder(
        &self,
        tenant: &TenantId,
        slot: u32,
        now: Timestamp,
    ) -> PortResult<Option<(ReplayId, bool)>> {
        let operation = "read the running replays";
        let slot = self.table.read(operation, &keys::replay_slot(tenant, slot)).await?;
        let Some(slot) = slot else { return Ok(None) };
        let id = text(&slot, "replay").and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| corrupt(operation, "replay"))?;
        let holder = self.replay(tenant, id).await?;
        Ok(Some((id, holder.is_some_and(|holder| holder.replay.counts_as_running(now)))))
    }

    /// Returns an update of a replay on the condition that it is at `from` and not done.
    fn unfinished_replay(&self, tenant: &TenantId, id: ReplayId, from: &str) -> Write {
        self.table
            .update(&keys::replay(tenant, id))
            .only_if("attribute_exists(pk) AND #cursor = :from AND #status <> :done")
            .value(":from", s(from))
            .value(":done", s(ReplayStatus::Done.as_str()))
    }
}

fn read_replay(operation: &'static str, item: &Item) -> PortResult<ReplayPosition> {
    let mut replay: Replay = parse(operation, item, "doc")?;
    let status = text(item, "status").and_then(ReplayStatus::from_name);
    replay.status = status.ok_or_else(|| corrupt(operation, "status"))?;
    let count = |name| number(item, name).and_then(|n| n.try_into().ok()).unwrap_or_default();
    replay.matched = count("matched");
    replay.published = count("published");
    replay.updated_at = time(item, "updated_at").unwrap_or(replay.created_at);
    replay.reason = text(item, "reason").map(ToOwned::to_owned);
    let cursor = text(item, "cursor").unwrap_or_default().to_owned();
    Ok(ReplayPosition { replay, cursor, before: text(item, "came_from").map(ToOwned::to_owned) })
}
