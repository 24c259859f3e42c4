//! Notices to automations, and the schedule of their retries.

use std::time::Duration;

use domain::ports::{
    Deliveries, DeliveryClaim, DeliveryOutcome, Due, PortError, PortResult, Schedule,
};
use domain::{DeliveryId, TenantId};
use jiff::Timestamp;

use super::{MemoryStore, Tables, ms};

/// How a notice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeState {
    /// It waits for its next attempt.
    Pending,
    /// An attempt is under way, or was broken off.
    Sending,
    /// It was told.
    Delivered,
    /// It is not tried again.
    GivenUp,
}

/// A notice, as tests see it.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Its id.
    pub id: DeliveryId,
    /// How it stands.
    pub state: NoticeState,
    /// Attempts begun.
    pub attempts: u32,
    /// When the next attempt is due, if it waits for one.
    pub next_at: Option<Timestamp>,
    /// What it tells.
    pub notice: domain::automation::Notice,
}

/// A notice as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Row {
    state: NoticeState,
    notice: domain::automation::Notice,
    /// Whether the table itself has the notice.
    kept: bool,
    attempt: u32,
    lease_until: Option<Timestamp>,
    next_at: Option<Timestamp>,
}

impl Row {
    pub(super) fn show(&self, id: DeliveryId) -> Notice {
        let next_at = self.next_at.filter(|_| self.state == NoticeState::Pending);
        let notice = self.notice.clone();
        Notice { id, state: self.state, attempts: self.attempt, next_at, notice }
    }
}

impl Tables {
    /// Writes down that `notice` is to be told, by the schedule.
    pub(super) fn owe(
        &mut self,
        tenant: &TenantId,
        notice: &domain::automation::Notice,
        now: Timestamp,
    ) {
        let id = notice.data.delivery_id(notice.kind);
        let row = Row {
            state: NoticeState::Pending,
            notice: notice.clone(),
            kept: true,
            attempt: 0,
            lease_until: None,
            next_at: Some(ms(now)),
        };
        self.deliveries.insert((tenant.clone(), id), row);
        self.due.insert((now.as_millisecond(), tenant.clone(), id));
    }
}

impl Deliveries for MemoryStore {
    async fn claim(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        notice: Option<&domain::automation::Notice>,
        now: Timestamp,
        lease: Duration,
    ) -> PortResult<DeliveryClaim> {
        self.pass("claim a notice", |tables| {
            let key = (tenant.clone(), id);
            let now = ms(now);
            if let (None, Some(notice)) = (tables.deliveries.get(&key), notice) {
                let row = Row {
                    state: NoticeState::Pending,
                    notice: notice.clone(),
                    kept: false,
                    attempt: 0,
                    lease_until: None,
                    next_at: None,
                };
                tables.deliveries.insert(key.clone(), row);
            }
            let Some(row) = tables.deliveries.get_mut(&key) else {
                return Ok(DeliveryClaim::Settled);
            };
            let until = row.lease_until.unwrap_or(now);
            match row.state {
                NoticeState::Pending => {
                    if let Some(until) = row.next_at.filter(|next| *next > now) {
                        return Ok(DeliveryClaim::Early { until });
                    }
                }
                NoticeState::Sending if until < now => {
                    let same = |notice| {
                        serde_json::to_string(notice).ok()
                            == serde_json::to_string(&row.notice).ok()
                    };
                    if !notice.is_none_or(same) {
                        return Ok(DeliveryClaim::Held { until: ms(now + lease) });
                    }
                }
                NoticeState::Sending => return Ok(DeliveryClaim::Held { until }),
                NoticeState::Delivered | NoticeState::GivenUp => return Ok(DeliveryClaim::Settled),
            }
            row.state = NoticeState::Sending;
            row.attempt += 1;
            row.lease_until = Some(ms(now + lease));
            if notice.is_none() && !row.kept {
                return Err(PortError {
                    operation: "claim a notice",
                    reason: "there is no notice".to_owned(),
                    fault: domain::Fault::Retryable,
                });
            }
            let notice = Box::new(row.notice.clone());
            Ok(DeliveryClaim::Granted { attempt: row.attempt, notice })
        })
        .await?
    }

    async fn settle(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        outcome: DeliveryOutcome,
        _notice: &domain::automation::Notice,
        _status: Option<u16>,
        now: Timestamp,
    ) -> PortResult<()> {
        self.pass("settle a notice", |tables| {
            let Some(row) = tables.deliveries.get_mut(&(tenant.clone(), id)) else { return };
            if row.state != NoticeState::Sending {
                return;
            }
            let (state, next_at) = match outcome {
                DeliveryOutcome::Delivered => (NoticeState::Delivered, now),
                DeliveryOutcome::RetryAt(at) => (NoticeState::Pending, at),
                DeliveryOutcome::GivenUp => (NoticeState::GivenUp, now),
            };
            row.kept |= state == NoticeState::Pending;
            row.state = state;
            row.next_at = Some(ms(next_at));
            row.lease_until = None;
        })
        .await
    }

    async fn schedule(&self, tenant: &TenantId, id: DeliveryId, at: Timestamp) -> PortResult<()> {
        self.pass("schedule a retry", |tables| {
            tables.due.insert((at.as_millisecond(), tenant.clone(), id));
        })
        .await
    }

    async fn disable(&self, tenant: &TenantId, now: Timestamp) -> PortResult<()> {
        self.pass("stop telling an automation", |tables| {
            if let Some((_, disabled_at)) = tables.automations.get_mut(tenant) {
                disabled_at.get_or_insert(ms(now));
            }
        })
        .await
    }
}

impl Schedule for MemoryStore {
    async fn due(&self, now: Timestamp, limit: u32) -> PortResult<Vec<Due>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.pass("find retries whose time has come", |tables| {
            let ripe = tables.due.iter().take_while(|(at, ..)| *at <= now.as_millisecond());
            ripe.take(limit)
                .map(|(at, tenant, id)| Due {
                    tenant: tenant.clone(),
                    id: *id,
                    place: format!("{at}"),
                })
                .collect()
        })
        .await
    }

    async fn done(&self, due: &[Due]) -> PortResult<()> {
        self.pass("take retries out of the schedule", |tables| {
            for due in due {
                if let Ok(at) = due.place.parse() {
                    tables.due.remove(&(at, due.tenant.clone(), due.id));
                }
            }
        })
        .await
    }
}
