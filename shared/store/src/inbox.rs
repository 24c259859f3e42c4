//! Inbound messages, conversations, automations and the state of media.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::MessageId;
use domain::TenantId;
use domain::automation::Automation;
use domain::conversation::{CLOCK_SKEW, Conversation};
use domain::failpoint::{self, Failpoint};
use domain::message::Message;
use domain::ports::{Automations, Inbox, MediaLog, MediaState, PortResult, Recorded};

use jiff::Timestamp;

use crate::item::{corrupt, failed, json, message_item, ms, parse, put_refused, refused, s};
use crate::library::read_conversation;
use crate::{DynamoStore, keys};

impl Inbox for DynamoStore {
    async fn record(&self, message: &Message) -> PortResult<Recorded> {
        let operation = "record an inbound message";
        let mut item = message_item(operation, message)?;
        if let Some(media) = message.content.media()
            && media.provider_media_id.is_some()
        {
            item.insert("media_state".to_owned(), s("pending"));
        }
        let put = self.put(item).condition_expression("attribute_not_exists(pk)").send().await;
        match put {
            Ok(_) => Ok(Recorded::New),
            Err(error) if put_refused(&error).is_some() => Ok(Recorded::Duplicate),
            Err(error) => Err(failed(operation, &error)),
        }
    }

    async fn touch(&self, conversation: &Conversation, now: Timestamp) -> PortResult<Conversation> {
        let operation = "update a conversation";
        let mut set = "SET doc = if_not_exists(doc, :doc), v = :v, integration = :integration, \
             last_activity_at = :activity, gsi1pk = :gsi1pk, gsi1sk = :gsi1sk"
            .to_owned();
        let mut update = conversation_update(self, operation, conversation)?;
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

impl Automations for DynamoStore {
    async fn automation(&self, tenant: &TenantId) -> PortResult<Automation> {
        let operation = "read a tenant's automation";
        let Some(item) = self.read(operation, &keys::automation(tenant)).await? else {
            return Ok(Automation::None);
        };
        let mut automation: Automation = parse(operation, &item, "doc")?;
        if let Some(push) = automation.push_mut() {
            push.disabled_at = crate::item::time(&item, "disabled_at");
        }
        Ok(automation)
    }
}

/// Returns the part of a conversation's update that inbound and outbound messages share.
pub(crate) fn conversation_update(
    store: &DynamoStore,
    operation: &'static str,
    conversation: &Conversation,
) -> PortResult<aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder> {
    let at = conversation.last_activity_at;
    let place = keys::conversation_place(at, conversation.id);
    Ok(store
        .update(&keys::conversation(&conversation.tenant, conversation.id))
        .expression_attribute_values(":doc", json(operation, conversation)?)
        .expression_attribute_values(":v", crate::item::n(crate::item::VERSION))
        .expression_attribute_values(":integration", s(conversation.integration.to_string()))
        .expression_attribute_values(":activity", ms(at))
        .expression_attribute_values(":gsi1pk", s(keys::conversations_of(&conversation.tenant)))
        .expression_attribute_values(":gsi1sk", s(place)))
}

impl MediaLog for DynamoStore {
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
