//! Inbound messages, conversations, automations and the state of media.

use domain::conversation::{CLOCK_SKEW, Conversation};
use domain::failpoint::{self, Failpoint};
use domain::message::Message;
use domain::ports::{PortResult, Recorded};
use domain::{MessageId, TenantId};
use jiff::Timestamp;
use table::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, Table,
    UpdateItemFluentBuilder, VERSION, corrupt, failed, json, ms, n, put_refused, refused, s,
};

use super::item::message_item;
use super::library::read_conversation;
use super::{Repository, keys};
use crate::ports::{Inbox, MediaLog, MediaState};

impl Inbox for Repository {
    async fn record(&self, message: &Message) -> PortResult<Recorded> {
        let operation = "record an inbound message";
        let mut item = message_item(operation, message)?;
        if let Some(media) = message.content.media()
            && media.provider_media_id.is_some()
        {
            item.insert("media_state".to_owned(), s("pending"));
        }
        let put =
            self.table.put(item).condition_expression("attribute_not_exists(pk)").send().await;
        match put {
            Ok(_) => Ok(Recorded::New),
            Err(error) if put_refused(&error).is_some() => Ok(Recorded::Duplicate),
            Err(error) => Err(failed(operation, &error)),
        }
    }

    async fn upsert_conversation(
        &self,
        conversation: &Conversation,
        now: Timestamp,
    ) -> PortResult<Conversation> {
        let operation = "update a conversation";
        let mut set = "SET doc = if_not_exists(doc, :doc), v = :v, integration = :integration, \
             last_activity_at = :activity, gsi1pk = :gsi1pk, gsi1sk = :gsi1sk"
            .to_owned();
        let mut update = conversation_update(&self.table, operation, conversation)?;
        if let Some(at) = conversation.last_inbound_at {
            set.push_str(", last_inbound_at = :inbound, last_inbound_message = :message");
            let message = conversation.last_inbound_message.clone().unwrap_or_default();
            update = update
                .condition_expression(if failpoint::is_active(Failpoint::OlderMessageWins) {
                    "attribute_not_exists(last_inbound_at) OR attribute_exists(last_inbound_at) \
                     OR last_inbound_at > :latest"
                } else {
                    "attribute_not_exists(last_inbound_at) OR last_inbound_at <= :inbound \
                     OR last_inbound_at > :latest"
                })
                .expression_attribute_values(":latest", ms(now + CLOCK_SKEW))
                .expression_attribute_values(":inbound", ms(at))
                .expression_attribute_values(":message", s(message));
        }
        if let Some(name) = &conversation.contact.name {
            set.push_str(", contact_name = :name");
            update = update.expression_attribute_values(":name", s(name));
        }
        let update = update
            .update_expression(set)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await {
            Ok(answer) => {
                let item = answer.attributes.ok_or_else(|| corrupt(operation, "attributes"))?;
                read_conversation(operation, &item)
            }
            Err(error) => match refused(&error) {
                // A later message has already updated the conversation.
                Some(item) => read_conversation(operation, item),
                None => Err(failed(operation, &error)),
            },
        }
    }
}

/// Returns the part of a conversation's update that inbound and outbound messages share.
pub(crate) fn conversation_update(
    table: &Table,
    operation: &'static str,
    conversation: &Conversation,
) -> PortResult<UpdateItemFluentBuilder> {
    let at = conversation.last_activity_at;
    let place = keys::conversation_sort_key(at, conversation.id);
    Ok(table
        .update(&keys::conversation(&conversation.tenant, conversation.id))
        .expression_attribute_values(":doc", json(operation, conversation)?)
        .expression_attribute_values(":v", n(VERSION))
        .expression_attribute_values(":integration", s(conversation.integration.to_string()))
        .expression_attribute_values(":activity", ms(at))
        .expression_attribute_values(":gsi1pk", s(keys::conversations_of(&conversation.tenant)))
        .expression_attribute_values(":gsi1sk", s(place)))
}

impl MediaLog for Repository {
    async fn set_media(
        &self,
        tenant: &TenantId,
        message: MessageId,
        state: &MediaState,
    ) -> PortResult<()> {
        let operation = "store the state of media";
        let (state, value) = match state {
            MediaState::Pending => ("pending", ""),
            MediaState::Stored { key } => ("stored", key.as_str()),
            MediaState::Failed { code } => ("failed", code.as_str()),
        };
        let update = self
            .table
            .update(&keys::message(tenant, message))
            .update_expression("SET media_state = :state, media_value = :value")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":state", s(state))
            .expression_attribute_values(":value", AttributeValue::S(value.to_owned()));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if refused(&error).is_some() => Ok(()),
            Err(error) => Err(failed(operation, &error)),
        }
    }
}
