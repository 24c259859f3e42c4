//! Progress of replays.

use domain::ports::{PortResult, Recorded};
use domain::record::{Replay, ReplayPage, ReplayPosition, ReplayStatus};
use domain::{ReplayId, TenantId};
use jiff::Timestamp;
use table::{
    Item, corrupt, failed, item, json, ms, n, number, parse, put_refused, refused, s, text, time,
    ttl,
};

use super::{Repository, keys};
use crate::ports::{ReplayProgress, Replays};

impl Replays for Repository {
    async fn create_replay(&self, replay: &Replay) -> PortResult<Recorded> {
        let operation = "create a replay";
        let item = item(
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
        let put =
            self.table.put(item).condition_expression("attribute_not_exists(pk)").send().await;
        match put {
            Ok(_) => Ok(Recorded::New),
            Err(error) if put_refused(&error).is_some() => Ok(Recorded::Duplicate),
            Err(error) => Err(failed(operation, &error)),
        }
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
            .table
            .update(&keys::replay(tenant, id))
            .update_expression(
                "SET #status = :status, #cursor = :next, came_from = :from, updated_at = :now \
                 REMOVE reason ADD matched :matched, published :published",
            )
            .condition_expression("attribute_exists(pk) AND #cursor = :from AND #status <> :done")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#cursor", "cursor")
            .expression_attribute_values(":status", s(status.as_str()))
            .expression_attribute_values(":done", s(ReplayStatus::Done.as_str()))
            .expression_attribute_values(":next", s(page.next.as_deref().unwrap_or_default()))
            .expression_attribute_values(":from", s(&page.from))
            .expression_attribute_values(":now", ms(now))
            .expression_attribute_values(":matched", count(page.matched))
            .expression_attribute_values(":published", count(page.published));
        match update.send().await {
            Ok(_) => Ok(Recorded::New),
            Err(error) if refused(&error).is_some() => Ok(Recorded::Duplicate),
            Err(error) => Err(failed(operation, &error)),
        }
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
            .table
            .update(&keys::replay(tenant, id))
            .update_expression("SET #status = :failed, reason = :reason, updated_at = :now")
            .condition_expression("attribute_exists(pk) AND #cursor = :from AND #status <> :done")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#cursor", "cursor")
            .expression_attribute_values(":failed", s(ReplayStatus::Failed.as_str()))
            .expression_attribute_values(":done", s(ReplayStatus::Done.as_str()))
            .expression_attribute_values(":from", s(from))
            .expression_attribute_values(":reason", s(reason))
            .expression_attribute_values(":now", ms(now));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if refused(&error).is_some() => Ok(()),
            Err(error) => Err(failed(operation, &error)),
        }
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
