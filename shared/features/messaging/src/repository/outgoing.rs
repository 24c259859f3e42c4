//! Outbound messages and idempotency keys.

use domain::conversation::Conversation;
use domain::message::Message;
use domain::ports::PortResult;
use domain::{MessageId, TenantId};
use jiff::Timestamp;
use table::{
    Item, ReturnValuesOnConditionCheckFailure, corrupt, failed, item, n, number, put_refused, s,
    text, ttl,
};

use super::inbox::conversation_update;
use super::item::message_item;
use super::{Repository, keys};
use crate::ports::{Outgoing, Reservation};

impl Outgoing for Repository {
    async fn reserved(
        &self,
        tenant: &TenantId,
        key: &str,
        request: &str,
        now: Timestamp,
    ) -> PortResult<Reservation> {
        let operation = "look up an idempotency key";
        match self.table.read(operation, &keys::idempotency(tenant, key)).await? {
            // DynamoDB deletes expired items late, so check the time.
            Some(item) if number(&item, "ttl").is_some_and(|ttl| ttl >= now.as_second()) => {
                reservation(operation, &item, request)
            }
            _ => Ok(Reservation::New),
        }
    }

    async fn reserve(
        &self,
        tenant: &TenantId,
        key: &str,
        request: &str,
        message: MessageId,
        now: Timestamp,
    ) -> PortResult<Reservation> {
        let operation = "reserve an idempotency key";
        let item = item(
            &keys::idempotency(tenant, key),
            [
                ("request", s(request)),
                ("message", s(message.to_string())),
                ("ttl", ttl(now, keys::IDEMPOTENCY_RETENTION)),
            ],
        );
        let put = self
            .table
            .put(item)
            // DynamoDB deletes expired items late, so check the time.
            .condition_expression("attribute_not_exists(pk) OR #ttl < :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", n(now.as_second()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = put else { return Ok(Reservation::New) };
        match put_refused(&error) {
            Some(item) => reservation(operation, item, request),
            None => Err(failed(operation, &error)),
        }
    }

    async fn enqueue(&self, message: &Message) -> PortResult<()> {
        let operation = "store a queued message";
        let item = message_item(operation, message)?;
        let put =
            self.table.put(item).condition_expression("attribute_not_exists(pk)").send().await;
        match put {
            Ok(_) => Ok(()),
            // The sender has already stored it, or this is a repeated request.
            Err(error) if put_refused(&error).is_some() => Ok(()),
            Err(error) => Err(failed(operation, &error)),
        }
    }

    async fn upsert_outbound_conversation(&self, conversation: &Conversation) -> PortResult<()> {
        let operation = "update a conversation";
        let update = conversation_update(&self.table, operation, conversation)?.update_expression(
            "SET doc = if_not_exists(doc, :doc), v = :v, integration = :integration, \
             last_activity_at = :activity, gsi1pk = :gsi1pk, gsi1sk = :gsi1sk",
        );
        update.send().await.map(|_| ()).map_err(|error| failed(operation, &error))
    }
}

/// Returns the reservation in an idempotency key's item, as seen by a request.
fn reservation(operation: &'static str, item: &Item, request: &str) -> PortResult<Reservation> {
    if text(item, "request") != Some(request) {
        return Ok(Reservation::Other);
    }
    let id = text(item, "message").and_then(|id| id.parse().ok());
    id.map(Reservation::Same).ok_or_else(|| corrupt(operation, "message"))
}
