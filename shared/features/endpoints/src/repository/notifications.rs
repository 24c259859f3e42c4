//! Notifications, and the schedule of their retries.

use std::time::Duration;

use domain::notification::Notification;
use domain::ports::PortResult;
use domain::{NotificationId, TenantId, trace};
use jiff::Timestamp;
use table::{
    Holder, Item, Key, Lease, LeaseRequest, TakeOver, TransactWriteItem, VERSION, Written, attempt,
    corrupt, in_transaction, item, json, ms, n, parse, s, text, time, ttl,
};

use super::{Repository, keys};
use crate::ports::{DueRetry, NotificationClaim, NotificationOutcome, Notifications, Schedule};

/// A notification that waits is pending until its next attempt.
const LEASE: Lease = Lease { state: "state", waiting: "pending", held: "sending" };

impl Notifications for Repository {
    async fn claim(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        notification: Option<&Notification>,
        now: Timestamp,
        lease: Duration,
    ) -> PortResult<NotificationClaim> {
        let operation = "claim a notification";
        let mut request = LeaseRequest {
            now,
            duration: lease,
            token: None,
            may_create: false,
            if_waiting: Some("next_at <= :now"),
            take_over: TakeOver::Always,
        };
        let mut update = self
            .table
            .update(&keys::delivery(tenant, id))
            .set("v = :v, #ttl = :ttl")
            .value(":v", n(VERSION))
            .value(":ttl", ttl(now, keys::NOTIFICATION_RETENTION))
            .return_item()
            .return_refused();
        // The notification is not stored here: its queue record has it, and most are delivered on
        // the first attempt. Only its hash is stored, because every attempt must send the same
        // body, and another record may describe the same status with a longer history.
        if let Some(notification) = notification {
            let text = serde_json::to_string(notification);
            let text = text.map_err(|_| corrupt(operation, "notification"))?;
            request.may_create = true;
            request.take_over =
                TakeOver::If("(attribute_not_exists(body_hash) OR body_hash = :hash)");
            update = update
                .set("body_hash = if_not_exists(body_hash, :hash)")
                .value(":hash", s(NotificationId::derived(&[&text]).to_string()));
        }
        let item = match LEASE.claim(update, &request).apply(operation).await? {
            Written::Done(item) => {
                return Ok(NotificationClaim::Granted {
                    attempt: attempt(&item).ok_or_else(|| corrupt(operation, "attempt"))?,
                    // Send the stored notification again, if there is one.
                    notification: Box::new(match notification {
                        Some(notification) if !item.contains_key("notification") => {
                            notification.clone()
                        }
                        _ => parse(operation, &item, "notification")?,
                    }),
                });
            }
            Written::Refused(item) => item,
        };
        Ok(if let Some(Holder { until, .. }) = LEASE.holder(&item) {
            // Only the record that took the lease may take it over after it expires.
            NotificationClaim::Held { until: if until < now { now + lease } else { until } }
        } else if text(&item, LEASE.state) == Some(LEASE.waiting) {
            NotificationClaim::Early { until: time(&item, "next_at").unwrap_or(now) }
        } else {
            NotificationClaim::Settled
        })
    }

    async fn settle(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        outcome: NotificationOutcome,
        notification: &Notification,
        status: Option<u16>,
        now: Timestamp,
    ) -> PortResult<()> {
        let operation = "settle a notification";
        let (state, next) = match outcome {
            NotificationOutcome::Delivered => ("delivered", now),
            NotificationOutcome::RetryAt(at) => (LEASE.waiting, at),
            NotificationOutcome::GivenUp => ("given_up", now),
        };
        let mut update = self
            .table
            .update(&keys::delivery(tenant, id))
            .set("#state = :state, next_at = :next, settled_at = :now, answer = :answer")
            .value(":state", s(state))
            .value(":next", ms(next))
            .value(":now", ms(now))
            .value(":answer", n(status.unwrap_or_default()));
        if state == LEASE.waiting {
            update = update
                .set("notification = if_not_exists(notification, :notification)")
                .value(":notification", json(operation, notification)?);
        }
        // A slower holder of the claim must not overwrite a settled notification.
        LEASE.if_held(Lease::end(update)).apply(operation).await.map(|_| ())
    }

    async fn schedule(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        at: Timestamp,
    ) -> PortResult<()> {
        self.table.put(due_item(tenant, id, at)).apply("schedule a retry").await.map(|_| ())
    }
}

impl Schedule for Repository {
    async fn due(&self, now: Timestamp, limit: u32) -> PortResult<Vec<DueRetry>> {
        let operation = "find due retries";
        let due = keys::RETRIES.due(&self.table, operation, now, limit).await?;
        let read = |item: &Item| {
            let due_at = text(item, "sk")?.split('#').next()?.parse().ok()?;
            Some(DueRetry {
                due_at: Timestamp::from_millisecond(due_at).ok()?,
                tenant: text(item, "tenant")?.parse().ok()?,
                id: text(item, "delivery")?.parse().ok()?,
                sort_key: table::Schedule::text(&Key::of(item)?),
                trace: text(item, "trace").and_then(|text| text.parse().ok()),
            })
        };
        due.iter().map(|item| read(item).ok_or_else(|| corrupt(operation, "retry"))).collect()
    }

    async fn remove(&self, due: &[DueRetry]) -> PortResult<()> {
        let keys = due.iter().filter_map(|due| keys::RETRIES.parse(&due.sort_key));
        // Retries that stay are queued again in a minute, and deduplicated by their id.
        let keys: Vec<Key> = keys.collect();
        self.table.delete_all("remove retries from the schedule", &keys).await
    }
}

impl Repository {
    /// Returns the writes that schedule a notification, like one whose first attempt failed, so
    /// that what it reports and the notification are one transaction (outbox).
    ///
    /// # Errors
    /// If the notification cannot be written as JSON, which is a bug.
    pub fn schedule_write(
        &self,
        operation: &'static str,
        notification: &Notification,
        now: Timestamp,
    ) -> PortResult<Vec<TransactWriteItem>> {
        let tenant = &notification.data.tenant;
        let id = notification.data.notification_id(notification.kind);
        let stored = item(
            &keys::delivery(tenant, id),
            [
                (LEASE.state, s(LEASE.waiting)),
                ("next_at", ms(now)),
                ("notification", json(operation, notification)?),
                ("ttl", ttl(now, keys::NOTIFICATION_RETENTION)),
            ],
        );
        let due = due_item(tenant, id, now);
        in_transaction(operation, vec![self.table.put(stored), self.table.put(due)])
    }
}

/// Returns the schedule entry of a retry at `at`.
fn due_item(tenant: &TenantId, id: NotificationId, at: Timestamp) -> Item {
    let key = keys::due(tenant, id, at);
    let mut due = item(&key, [("tenant", s(tenant.as_str())), ("delivery", s(id.to_string()))]);
    if let Some(context) = trace::current() {
        due.insert("trace".to_owned(), s(context.to_string()));
    }
    due
}
