//! Notices to automations, and the schedule of their retries.

use std::time::Duration;

use domain::ports::{
    Due, NotificationClaim, NotificationOutcome, Notifications, PortError, PortResult, Schedule,
};
use domain::{NotificationId, TenantId};
use jiff::Timestamp;

use super::{MemoryStore, Tables, ms};

/// How a notification stands.
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

/// A notification, as tests see it.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// How it stands.
    pub state: NoticeState,
    /// Attempts begun.
    pub attempts: u32,
    /// When the next attempt is due, if it waits for one.
    pub next_at: Option<Timestamp>,
    /// What it tells.
    pub notification: domain::automation::Notification,
}

/// A notification as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Row {
    state: NoticeState,
    notification: domain::automation::Notification,
    /// Whether the table itself has the notification.
    kept: bool,
    attempt: u32,
    lease_until: Option<Timestamp>,
    next_at: Option<Timestamp>,
}

impl Row {
    pub(super) fn show(&self, id: NotificationId) -> Notification {
        let next_at = self.next_at.filter(|_| self.state == NoticeState::Pending);
        let notification = self.notification.clone();
        Notification { id, state: self.state, attempts: self.attempt, next_at, notification }
    }
}

impl Tables {
    /// Writes down that `notification` is to be told, by the schedule.
    pub(super) fn owe(
        &mut self,
        tenant: &TenantId,
        notification: &domain::automation::Notification,
        now: Timestamp,
    ) {
        let id = notification.data.notification_id(notification.kind);
        let row = Row {
            state: NoticeState::Pending,
            notification: notification.clone(),
            kept: true,
            attempt: 0,
            lease_until: None,
            next_at: Some(ms(now)),
        };
        self.deliveries.insert((tenant.clone(), id), row);
        self.due.insert((now.as_millisecond(), tenant.clone(), id));
    }
}

impl Notifications for MemoryStore {
    async fn claim(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        notification: Option<&domain::automation::Notification>,
        now: Timestamp,
        lease: Duration,
    ) -> PortResult<NotificationClaim> {
        self.pass("claim a notice", |tables| {
            let key = (tenant.clone(), id);
            let now = ms(now);
            if let (None, Some(notification)) = (tables.deliveries.get(&key), notification) {
                let row = Row {
                    state: NoticeState::Pending,
                    notification: notification.clone(),
                    kept: false,
                    attempt: 0,
                    lease_until: None,
                    next_at: None,
                };
                tables.deliveries.insert(key.clone(), row);
            }
            let Some(row) = tables.deliveries.get_mut(&key) else {
                return Ok(NotificationClaim::Settled);
            };
            let until = row.lease_until.unwrap_or(now);
            match row.state {
                NoticeState::Pending => {
                    if let Some(until) = row.next_at.filter(|next| *next > now) {
                        return Ok(NotificationClaim::Early { until });
                    }
                }
                NoticeState::Sending if until < now => {
                    let same = |notification| {
                        serde_json::to_string(notification).ok()
                            == serde_json::to_string(&row.notification).ok()
                    };
                    if !notification.is_none_or(same) {
                        return Ok(NotificationClaim::Held { until: ms(now + lease) });
                    }
                }
                NoticeState::Sending => return Ok(NotificationClaim::Held { until }),
                NoticeState::Delivered | NoticeState::GivenUp => {
                    return Ok(NotificationClaim::Settled);
                }
            }
            row.state = NoticeState::Sending;
            row.attempt += 1;
            row.lease_until = Some(ms(now + lease));
            if notification.is_none() && !row.kept {
                return Err(PortError {
                    operation: "claim a notice",
                    reason: "there is no notice".to_owned(),
                    fault: domain::Fault::Retryable,
                });
            }
            let notification = Box::new(row.notification.clone());
            Ok(NotificationClaim::Granted { attempt: row.attempt, notification })
        })
        .await?
    }

    async fn settle(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        outcome: NotificationOutcome,
        _notice: &domain::automation::Notification,
        _status: Option<u16>,
        now: Timestamp,
    ) -> PortResult<()> {
        self.pass("settle a notice", |tables| {
            let Some(row) = tables.deliveries.get_mut(&(tenant.clone(), id)) else { return };
            if row.state != NoticeState::Sending {
                return;
            }
            let (state, next_at) = match outcome {
                NotificationOutcome::Delivered => (NoticeState::Delivered, now),
                NotificationOutcome::RetryAt(at) => (NoticeState::Pending, at),
                NotificationOutcome::GivenUp => (NoticeState::GivenUp, now),
            };
            row.kept |= state == NoticeState::Pending;
            row.state = state;
            row.next_at = Some(ms(next_at));
            row.lease_until = None;
        })
        .await
    }

    async fn schedule(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        at: Timestamp,
    ) -> PortResult<()> {
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
