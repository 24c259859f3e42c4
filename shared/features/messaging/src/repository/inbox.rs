//! Inbound messages, conversations, automations and the state of media.

use domain::conversation::{CLOCK_SKEW, Conversation};
use domain::failpoint::{self, Failpoint};
use domain::message::Message;
use domain::ports::{PortResult, Recorded};
use domain::{MessageId, TenantId};
use jiff::Timestamp;
use table::{Table, VERSION, Write, Written, json, ms, n, s};

use super::item::message_item;
use super::library::read_conversation;
use super::{Repository, keys};
use crate::ports::{Inbox, MediaLog, MediaState};

impl Inbox for Repository {
    async fn record(&self, message: &Message) -> PortResult<Recorded> {
        let operation = "record an inbound message";
        let mut item = message_item(operation, message)?;
        table::expire(&mut item, message.created_at, self.retention());
        if let Some(media) = message.content.media()
            && media.provider_media_id.is_some()
        {
            item.insert("media_state".to_owned(), s("pending"));
        }
        self.table.put_once(operation, item).await
    }

    async fn upsert_conversation(
        &self,
        conversation: &Conversation,
        now: Timestamp,
    ) -> PortResult<Conversation> {
        let operation = "update a conversation";
        let mut update = conversation_update(&self.table, operation, conversation)?;
        if let Some(at) = conversation.last_inbound_at {
            let message = conversation.last_inbound_message.clone().unwrap_or_default();
            update = update
                .set("last_inbound_at = :inbound, last_inbound_message = :message")
                .only_if(if failpoint::is_active(Failpoint::OlderMessageWins) {
                    "attribute_not_exists(last_inbound_at) OR attribute_exists(last_inbound_at) \
                     OR last_inbound_at > :latest"
                } else {
                    "attribute_not_exists(last_inbound_at) OR last_inbound_at <= :inbound \
                     OR last_inbound_at > :latest"
                })
                .value(":latest", ms(now + CLOCK_SKEW))
                .value(":inbound", ms(at))
                .value(":message", s(message));
        }
        if let Some(name) = &conversation.contact.name {
            update = update.set("contact_name = :name").value(":name", s(name));
        }
        match update.return_item().return_refused().apply(operation).await? {
            // If it is refused, a later message has already updated the conversation.
            Written::Done(item) | Written::Refused(item) => read_conversation(operation, &item),
        }
    }
}

/// Returns the update of a conversation that inbound and outbound messages share.
pub(crate) fn conversation_update(
    table: &Table,
    operation: &'static str,
    conversation: &Conversation,
) -> PortResult<Write> {
    let at = conversation.last_activity_at;
    let place = keys::conversation_sort_key(at, conversation.id);
    let list = keys::conversations_of(&conversation.tenant);
    Ok(table
        .update(&keys::conversation(&conversation.tenant, conversation.id))
        .set(
            "doc = if_not_exists(doc, :doc), v = :v, integration = :integration, \
             last_activity_at = :activity, gsi1pk = :gsi1pk, gsi1sk = :gsi1sk",
        )
        .value(":doc", json(operation, conversation)?)
        .value(":v", n(VERSION))
        .value(":integration", s(conversation.integration.to_string()))
        .value(":activity", ms(at))
        .value(":gsi1pk", s(list.partition(&conversation.id.to_string())))
        .value(":gsi1sk", s(place)))
}

impl MediaLog for Repository {
    async fn set_media(
        &self,
        tenant: &TenantId,
        message: MessageId,
        state: &MediaState,
    ) -> PortResult<()> {
        let operation = "store the state of media";
        let (name, value) = match state {
            MediaState::Pending => ("pending", ""),
            MediaState::Stored { key, .. } => ("stored", key.as_str()),
            MediaState::Failed { code } => ("failed", code.as_str()),
        };
        let content_type = match state {
            MediaState::Stored { content_type, .. } => content_type.as_str(),
            MediaState::Pending | MediaState::Failed { .. } => "",
        };
        let update = self
            .table
            .update(&keys::message(tenant, message))
            .set("media_state = :state, media_value = :value, media_type = :type")
            .only_if("attribute_exists(pk)")
            .value(":state", s(name))
            .value(":value", s(value))
            .value(":type", s(content_type));
        update.apply(operation).await.map(|_| ())
    }
}
