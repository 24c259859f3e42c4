//! Notifications, and the schedule of their retries.

use std::time::Duration;

use domain::automation::Notification;
use domain::ports::PortResult;
use domain::{NotificationId, TenantId};
use jiff::Timestamp;
use table::{
    Item, Key, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, VERSION,
    corrupt, failed, item, json, ms, n, number, parse, refused, s, text, time, ttl,
};

use super::{Repository, keys};
use crate::ports::{DueRetry, NotificationClaim, NotificationOutcome, Notifications, Schedule};

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
        let open = "(#state = :pending AND next_at <= :now) OR \
             (#state = :sending AND lease_until < :now";
        let mut update = self
            .table
            .update(&keys::delivery(tenant, id))
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":pending", s("pending"))
            .expression_attribute_values(":sending", s("sending"))
            .expression_attribute_values(":now", ms(now))
            .expression_attribute_values(":until", ms(now + lease))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":v", n(VERSION))
            .expression_attribute_values(":ttl", ttl(now, keys::NOTIFICATION_RETENTION))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut set = "SET #state = :sending, lease_until = :until, v = :v, #ttl = :ttl, \
             attempt = if_not_exists(attempt, :zero) + :one"
            .to_owned();
        // The notification is not stored here: its queue record has it, and most are delivered on
        // the first attempt. Only its hash is stored, because every attempt must send the same
        // body, and another record may describe the same status with a longer history.
        update = match notification {
            Some(notification) => {
                let text = serde_json::to_string(notification);
                let text = text.map_err(|_| corrupt(operation, "notification"))?;
                set.push_str(", body_hash = if_not_exists(body_hash, :hash)");
                update
                    .expression_attribute_values(
                        ":hash",
                        s(NotificationId::derived(&[&text]).to_string()),
                    )
                    .condition_expression(format!(
                        "attribute_not_exists(pk) OR {open} AND \
                         (attribute_not_exists(body_hash) OR body_hash = :hash))"
                    ))
            }
            None => update.condition_expression(format!("attribute_exists(pk) AND ({open}))")),
        };
        let error = match update.update_expression(set).send().await {
            Ok(answer) => {
                let item = answer.attributes.ok_or_else(|| corrupt(operation, "attributes"))?;
                let attempt = number(&item, "attempt").and_then(|attempt| attempt.try_into().ok());
                return Ok(NotificationClaim::Granted {
                    attempt: attempt.ok_or_else(|| corrupt(operation, "attempt"))?,
                    // Send the stored notification again, if there is one.
                    notification: Box::new(match notification {
                        Some(notification) if !item.contains_key("notification") => {
                            notification.clone()
                        }
                        _ => parse(operation, &item, "notification")?,
                    }),
                });
            }
            Err(error) => error,
        };
        match refused(&error) {
            Some(item) if text(item, "state") == Some("sending") => {
                let until = time(item, "lease_until").unwrap_or(now);
                // Only the record that took the lease may take it over after it expires.
                Ok(NotificationClaim::Held { until: if until < now { now + lease } else { until } })
            }
            Some(item) if text(item, "state") == Some("pending") => {
                Ok(NotificationClaim::Early { until: time(item, "next_at").unwrap_or(now) })
            }
            Some(_) => Ok(NotificationClaim::Settled),
            None => Err(failed(operation, &error)),
        }
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
            NotificationOutcome::RetryAt(at) => ("pending", at),
            NotificationOutcome::GivenUp => ("given_up", now),
        };
        let mut set =
            "SET #state = :state, next_at = :next, settled_at = :now, answer = :answer".to_owned();
        let mut update = self.table.update(&keys::delivery(tenant, id));
        if state == "pending" {
            set.push_str(", notification = if_not_exists(notification, :notification)");
            update =
                update.expression_attribute_values(":notification", json(operation, notification)?);
        }
        set.push_str(" REMOVE lease_until");
        let update = update
            .update_expression(set)
            // A slower holder of the claim must not overwrite a settled notification.
            .condition_expression("attribute_exists(pk) AND #state = :sending")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":sending", s("sending"))
            .expression_attribute_values(":state", s(state))
            .expression_attribute_values(":next", ms(next))
            .expression_attribute_values(":now", ms(now))
            .expression_attribute_values(":answer", n(status.unwrap_or_default()));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if refused(&error).is_some() => Ok(()),
            Err(error) => Err(failed(operation, &error)),
        }
    }

    async fn schedule(
        &self,
        tenant: &TenantId,
        id: NotificationId,
        at: Timestamp,
    ) -> PortResult<()> {
        let operation = "schedule a retry";
        self.table
            .put(due_item(tenant, id, at))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| failed(operation, &error))
    }
}

impl Schedule for Repository {
    async fn due(&self, now: Timestamp, limit: u32) -> PortResult<Vec<DueRetry>> {
        let operation = "find due retries";
        let shards = (0..keys::DUE_SHARDS).map(|shard| async move {
            let query = self
                .table
                .query()
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND sk < :end")
                .expression_attribute_values(":pk", s(keys::due_shard(shard)))
                // '$' sorts after '#', so that this millisecond is included.
                .expression_attribute_values(":end", s(format!("{:013}$", now.as_millisecond())))
                .limit(i32::try_from(limit).unwrap_or(i32::MAX));
            let answer = query.send().await.map_err(|error| failed(operation, &error))?;
            let read = |item: &Item| {
                Some(DueRetry {
                    tenant: text(item, "tenant")?.parse().ok()?,
                    id: text(item, "delivery")?.parse().ok()?,
                    sort_key: format!("{}|{}", text(item, "pk")?, text(item, "sk")?),
                })
            };
            let read = |item| read(item).ok_or_else(|| corrupt(operation, "retry"));
            answer.items().iter().map(read).collect::<PortResult<Vec<_>>>()
        });
        let mut due = futures::future::try_join_all(shards).await?.concat();
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(due)
    }

    async fn remove(&self, due: &[DueRetry]) -> PortResult<()> {
        let keys = due.iter().filter_map(|due| {
            let (pk, sk) = due.sort_key.split_once('|')?;
            Some(Key::new(pk.to_owned(), sk))
        });
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
                ("state", s("pending")),
                ("next_at", ms(now)),
                ("notification", json(operation, notification)?),
                ("ttl", ttl(now, keys::NOTIFICATION_RETENTION)),
            ],
        );
        let due = due_item(tenant, id, now);
        Ok(vec![self.table.put_always(operation, stored)?, self.table.put_always(operation, due)?])
    }
}

/// Returns the schedule entry of a retry at `at`.
fn due_item(tenant: &TenantId, id: NotificationId, at: Timestamp) -> Item {
    let key = keys::due(tenant, id, at);
    item(&key, [("tenant", s(tenant.as_str())), ("delivery", s(id.to_string()))])
}
