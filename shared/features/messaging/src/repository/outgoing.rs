//! Outbound messages and idempotency keys.

use domain::conversation::Conversation;
use domain::message::Message;
use domain::ports::PortResult;
use domain::{MessageId, TenantId};
use jiff::Timestamp;
use table::{Item, Written, corrupt, item, n, number, s, text, ttl};

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
            .only_if("attribute_not_exists(pk) OR #ttl < :now")
            .value(":now", n(now.as_second()))
            .return_refused();
        match put.apply(operation).await? {
            Written::Done(_) => Ok(Reservation::New),
            Written::Refused(item) => reservation(operation, &item, request),
        }
    }

    async fn enqueue(&self, message: &Message) -> PortResult<()> {
        let operation = "store a queued message";
        let mut item = message_item(operation, message)?;
        table::expire(&mut item, message.created_at, self.retention());
        // If it is a duplicate, the sender has already stored it, or this is a repeated request.
        self.table.put_once(operation, item).await.map(|_| ())
    }

    async fn upsert_outbound_conversation(&self, conversation: &Conversation) -> PortResult<()> {
        let operation = "update a conversation";
        let update = conversation_update(&self.table, operation, conversation)?;
        update.apply(operation).await.map(|_| ())
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
