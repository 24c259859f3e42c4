//! Notifications, and the schedule of their retries.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    DeleteRequest, ReturnValue, ReturnValuesOnConditionCheckFailure, WriteRequest,
};
use domain::automation::Notification;
use domain::ports::{
    Due, NotificationClaim, NotificationOutcome, Notifications, PortError, PortResult, Schedule,
};
use domain::{Fault, NotificationId, TenantId};
use jiff::Timestamp;

use crate::item::{corrupt, failed, item, json, ms, n, number, parse, refused, s, text, time, ttl};
use crate::{DynamoStore, keys};

impl Notifications for DynamoStore {
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
            .update(&keys::delivery(tenant, id))
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":pending", s("pending"))
            .expression_attribute_values(":sending", s("sending"))
            .expression_attribute_values(":now", ms(now))
            .expression_attribute_values(":until", ms(now + lease))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":v", n(crate::item::VERSION))
            .expression_attribute_values(":ttl", ttl(now, keys::KEEP_NOTIFICATIONS))
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
        let mut update = self.update(&keys::delivery(tenant, id));
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
        let key = keys::due(tenant, id, at);
        let item = item(&key, [("tenant", s(tenant.as_str())), ("delivery", s(id.to_string()))]);
        self.put(item).send().await.map(|_| ()).map_err(|error| failed(operation, &error))
    }

    async fn disable(&self, tenant: &TenantId, now: Timestamp) -> PortResult<()> {
        let operation = "disable a webhook";
        let update = self
            .update(&keys::automation(tenant))
            .update_expression("SET disabled_at = if_not_exists(disabled_at, :now)")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":now", ms(now));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if refused(&error).is_some() => Ok(()),
            Err(error) => Err(failed(operation, &error)),
        }
    }
}

/// Maximum number of writes in one `BatchWriteItem` request.
const MAX_BATCH_WRITES: usize = 25;

impl Schedule for DynamoStore {
    async fn due(&self, now: Timestamp, limit: u32) -> PortResult<Vec<Due>> {
        let operation = "find due retries";
        let shards = (0..keys::DUE_SHARDS).map(|shard| async move {
            let query = self
                .query()
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND sk < :end")
                .expression_attribute_values(":pk", s(keys::due_shard(shard)))
                // '$' sorts after '#', so that this millisecond is included.
                .expression_attribute_values(":end", s(format!("{:013}$", now.as_millisecond())))
                .limit(i32::try_from(limit).unwrap_or(i32::MAX));
            let answer = query.send().await.map_err(|error| failed(operation, &error))?;
            let read = |item: &crate::item::Item| {
                Some(Due {
                    tenant: text(item, "tenant")?.parse().ok()?,
                    id: text(item, "delivery")?.parse().ok()?,
                    place: format!("{}|{}", text(item, "pk")?, text(item, "sk")?),
                })
            };
            let read = |item| read(item).ok_or_else(|| corrupt(operation, "retry"));
            answer.items().iter().map(read).collect::<PortResult<Vec<_>>>()
        });
        let mut due = futures::future::try_join_all(shards).await?.concat();
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(due)
    }

    async fn done(&self, due: &[Due]) -> PortResult<()> {
        let operation = "remove retries from the schedule";
        for batch in due.chunks(MAX_BATCH_WRITES) {
            let writes = batch.iter().filter_map(|due| {
                let (pk, sk) = due.place.split_once('|')?;
                let delete =
                    DeleteRequest::builder().key("pk", s(pk)).key("sk", s(sk)).build().ok()?;
                Some(WriteRequest::builder().delete_request(delete).build())
            });
            let request =
                self.client().batch_write_item().request_items(self.table(), writes.collect());
            let answer = request.send().await.map_err(|error| failed(operation, &error))?;
            if answer.unprocessed_items().is_some_and(|items| !items.is_empty()) {
                // They are queued again in a minute, and deduplicated by their id.
                let reason = "some items were not processed".to_owned();
                return Err(PortError { operation, reason, fault: Fault::Retryable });
            }
        }
        Ok(())
    }
}
