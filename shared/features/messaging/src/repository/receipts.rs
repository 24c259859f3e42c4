//! Receipts.

use domain::event::Receipt;
use domain::failpoint::{self, Failpoint};
use domain::message::Step;
use domain::ports::PortResult;
use domain::{MessageId, Provider, TenantId};
use jiff::Timestamp;
use table::{
    ReturnValue, ReturnValuesOnConditionCheckFailure, corrupt, failed, json, n, refused, s, text,
};

use super::item::{read_message, receipt_attribute};
use super::{Repository, keys};
use crate::ports::{Receipts, StatusUpdate};

impl Receipts for Repository {
    async fn resolve(
        &self,
        tenant: &TenantId,
        provider: Provider,
        provider_message_id: &str,
    ) -> PortResult<Option<MessageId>> {
        let operation = "find a message by its provider message id";
        let key = keys::reference(tenant, provider, provider_message_id);
        let Some(item) = self.table.read(operation, &key).await? else { return Ok(None) };
        let id = text(&item, "message").and_then(|id| id.parse().ok());
        id.map(Some).ok_or_else(|| corrupt(operation, "message"))
    }

    async fn advance(
        &self,
        tenant: &TenantId,
        message: MessageId,
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
            .update_expression(
                "SET #status = :status, #rank = :rank, #receipt = :step, \
                 provider_message_id = if_not_exists(provider_message_id, :provider_message_id)",
            )
            .condition_expression(if failpoint::is_active(Failpoint::StatusOverwritten) {
                "attribute_exists(pk)"
            } else {
                "attribute_exists(pk) AND #rank < :rank"
            })
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_names("#receipt", &attribute)
            .expression_attribute_values(":status", s(receipt.status.as_str()))
            .expression_attribute_values(":rank", n(receipt.status.rank()))
            .expression_attribute_values(":step", step.clone())
            .expression_attribute_values(":provider_message_id", s(&receipt.provider_message_id))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let item = match advanced {
            Ok(answer) => {
                let item = answer.attributes.ok_or_else(|| corrupt(operation, "attributes"))?;
                return Ok(StatusUpdate::Advanced(Box::new(read_message(operation, &item)?)));
            }
            Err(error) => match refused(&error) {
                None => return Err(failed(operation, &error)),
                Some(item) if item.is_empty() => return Ok(StatusUpdate::Missing),
                Some(item) => item.clone(),
            },
        };
        let message = read_message(operation, &item)?;
        if item.contains_key(&attribute) {
            return Ok(StatusUpdate::Stale(Box::new(message)));
        }
        // The receipt is late: it does not change the status, but it belongs to the history.
        let updated = self
            .table
            .update(&key)
            .update_expression(
                "SET #receipt = if_not_exists(#receipt, :step), \
                 provider_message_id = if_not_exists(provider_message_id, :provider_message_id)",
            )
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#receipt", &attribute)
            .expression_attribute_values(":step", step)
            .expression_attribute_values(":provider_message_id", s(&receipt.provider_message_id))
            .send()
            .await;
        match updated {
            Err(error) if refused(&error).is_none() => Err(failed(operation, &error)),
            _ => Ok(StatusUpdate::Stale(Box::new(message))),
        }
    }
}
