//! Receipts.

use domain::event::Receipt;
use domain::failpoint::{self, Failpoint};
use domain::message::{Status, Step};
use domain::ports::PortResult;
use domain::task::HandedOver;
use domain::{IntegrationId, MessageId, Provider, TenantId};
use jiff::Timestamp;
use table::{Item, Lease, Write, Written, corrupt, json, n, parse, s, text};

use super::item::{handed_over, read_message, receipt_attribute, steps};
use super::{Repository, keys};
use crate::ports::{MoveAccepted, Receipts, SentMessage, StatusUpdate};

impl Receipts for Repository {
    async fn resolve(
        &self,
        tenant: &TenantId,
        provider: Provider,
        integration: IntegrationId,
        provider_message_id: &str,
    ) -> PortResult<Option<MessageId>> {
        let operation = "find a message by its provider message id";
        let is_custom = provider == Provider::Custom;
        if is_custom {
            let key = keys::custom_reference(tenant, integration, provider_message_id);
            if let Some(item) = self.table.read(operation, &key).await? {
                return referenced(operation, &item).map(Some);
            }
        }
        let key = keys::reference(tenant, provider, provider_message_id);
        let Some(item) = self.table.read(operation, &key).await? else { return Ok(None) };
        let id = referenced(operation, &item)?;
        if !is_custom {
            return Ok(Some(id));
        }
        // An earlier version wrote the item, which may belong to another custom integration.
        let item = self.table.read(operation, &keys::message(tenant, id)).await?;
        let message = item.map(|item| read_message(operation, &item)).transpose()?;
        Ok(message.filter(|message| message.integration == integration).map(|_| id))
    }

    async fn advance(
        &self,
        tenant: &TenantId,
        message: MessageId,
        integration: IntegrationId,
        receipt: &Receipt,
        at: Timestamp,
    ) -> PortResult<StatusUpdate> {
        let operation = "advance the status of a message";
        let key = keys::message(tenant, message);
        let step = json(
            operation,
            &Step {
                status: receipt.status,
                at,
                attempt: None,
                code: receipt.code.clone(),
                detail: receipt.detail.clone(),
            },
        )?;
        let attribute = receipt_attribute(receipt.status);
        let advanced = self
            .table
            .update(&key)
            .set(
                "#status = :status, #rank = :rank, #receipt = :step, \
                 provider_message_id = if_not_exists(provider_message_id, :provider_message_id)",
            )
            .only_if(if failpoint::is_active(Failpoint::StatusOverwritten) {
                "attribute_exists(pk)"
            } else {
                "attribute_exists(pk) AND #rank < :rank"
            })
            .name("#receipt", &attribute)
            .value(":status", s(receipt.status.as_str()))
            .value(":rank", n(receipt.status.rank()))
            .value(":step", step.clone())
            .value(":provider_message_id", s(&receipt.provider_message_id))
            .return_item()
            .return_refused();
        let advanced = if_current(advanced, receipt.status, integration);
        let item = match advanced.apply(operation).await? {
            Written::Done(item) => {
                return Ok(StatusUpdate::Advanced(Box::new(read_message(operation, &item)?)));
            }
            Written::Refused(item) if item.is_empty() => return Ok(StatusUpdate::Missing),
            Written::Refused(item) => item,
        };
        let message = read_message(operation, &item)?;
        if item.contains_key(&attribute) || is_superseded(&item, receipt.status, integration) {
            return Ok(StatusUpdate::Stale(Box::new(message)));
        }
        // The receipt is late: it does not change the status, but it belongs to the history.
        let updated = self
            .table
            .update(&key)
            .set(
                "#receipt = if_not_exists(#receipt, :step), \
                 provider_message_id = if_not_exists(provider_message_id, :provider_message_id)",
            )
            .only_if("attribute_exists(pk)")
            .name("#receipt", &attribute)
            .value(":step", step)
            .value(":provider_message_id", s(&receipt.provider_message_id));
        updated.apply(operation).await?;
        Ok(StatusUpdate::Stale(Box::new(message)))
    }
}

impl MoveAccepted for Repository {
    async fn sent_message(
        &self,
        tenant: &TenantId,
        message: MessageId,
    ) -> PortResult<Option<SentMessage>> {
        let operation = "read a sent message";
        let Some(item) = self.table.read(operation, &keys::message(tenant, message)).await? else {
            return Ok(None);
        };
        let history = item.get("history").and_then(|list| list.as_l().ok());
        let standby = item.contains_key("standby");
        let moved_from = text(&item, "moved_from").map(str::parse).transpose();
        Ok(Some(SentMessage {
            stored_steps: history.map_or(0, Vec::len),
            standby: standby.then(|| parse(operation, &item, "standby")).transpose()?,
            handed_over: handed_over(operation, &item)?,
            moved_from: moved_from.map_err(|_| corrupt(operation, "moved_from"))?,
            message: read_message(operation, &item)?,
        }))
    }

    async fn move_accepted(
        &self,
        seen: &SentMessage,
        transitions: &[Step],
        to: &HandedOver,
    ) -> PortResult<bool> {
        let operation = "move an accepted message";
        let message = &seen.message;
        let update = self
            .table
            .update(&keys::message(&message.tenant, message.id))
            .set(
                "#status = :queued, #rank = :rank, history = list_append(history, :steps), \
                 generation = :generation, handed_over = :to, integration = :integration, \
                 moved_from = :from",
            )
            // The steps contain these receipts; those of the next integration follow.
            .remove("r_accepted, r_sent, provider_message_id, claimed_at")
            .only_if("attribute_exists(standby) AND attribute_not_exists(moved_from)")
            .only_if("#rank = :seen")
            .value(":queued", s(Status::Queued.as_str()))
            .value(":rank", n(Status::Queued.rank()))
            .value(":seen", n(message.status.rank()))
            .value(":steps", steps(operation, transitions)?)
            .value(":generation", n(to.failover.generation))
            .value(":to", json(operation, to)?)
            .value(":integration", s(to.integration.to_string()))
            .value(":from", s(message.integration.to_string()));
        let update = match seen.generation() {
            0 => update.only_if("attribute_not_exists(generation)"),
            generation => update
                .only_if("generation = :seen_generation")
                .value(":seen_generation", n(generation)),
        };
        Ok(Lease::end(update).apply(operation).await?.is_done())
    }
}

/// Returns the message that an item by provider message id refers to.
fn referenced(operation: &'static str, item: &Item) -> PortResult<MessageId> {
    let id = text(item, "message").and_then(|id| id.parse().ok());
    id.ok_or_else(|| corrupt(operation, "message"))
}

/// Adds to a write the condition that a receipt of `status` may change the message: its failure
/// must be that of the integration that has the message now, and no integration that reported a
/// failure after it accepted the message can report progress. Each may report that it delivered
/// the message.
fn if_current(write: Write, status: Status, integration: IntegrationId) -> Write {
    let condition = match status {
        Status::Delivered | Status::Read => return write,
        Status::Failed => "attribute_not_exists(integration) OR integration = :integration",
        _ => "attribute_not_exists(moved_from) OR moved_from <> :integration",
    };
    write.only_if(condition).value(":integration", s(integration.to_string()))
}

/// Returns whether the condition of [`if_current`] fails for an item.
fn is_superseded(item: &Item, status: Status, integration: IntegrationId) -> bool {
    let integration = integration.to_string();
    match status {
        Status::Delivered | Status::Read => false,
        Status::Failed => text(item, "integration").is_some_and(|current| current != integration),
        _ => text(item, "moved_from").is_some_and(|from| from == integration),
    }
}
