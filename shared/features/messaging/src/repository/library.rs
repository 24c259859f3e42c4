//! Reads of messages and conversations.

use domain::conversation::Conversation;
use domain::message::Message;
use domain::ports::{Page, PortResult};
use domain::{ConversationId, MessageId, TenantId};
use table::{Item, List, corrupt, parse, text, time};

use super::item::{read_media, read_message};
use super::{Repository, keys};
use crate::ports::{ConversationReader, MediaState, MessageReader};

impl MessageReader for Repository {
    async fn message(
        &self,
        tenant: &TenantId,
        id: MessageId,
    ) -> PortResult<Option<(Message, Option<MediaState>)>> {
        let operation = "read a message";
        let Some(item) = self.table.read(operation, &keys::message(tenant, id)).await? else {
            return Ok(None);
        };
        Ok(Some((read_message(operation, &item)?, read_media(&item))))
    }

    async fn conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> PortResult<Option<Conversation>> {
        let operation = "read a conversation";
        let item = self.table.read(operation, &keys::conversation(tenant, id)).await?;
        item.map(|item| read_conversation(operation, &item)).transpose()
    }

    async fn messages(
        &self,
        tenant: &TenantId,
        conversation: ConversationId,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<Message>> {
        let operation = "list messages";
        let list = List::new(keys::messages_of(tenant, conversation));
        let page = self.table.children(operation, &list, limit, cursor).await?;
        let items = page.items.iter().map(|item| read_message(operation, item));
        Ok(Page { items: items.collect::<PortResult<_>>()?, next: page.next })
    }

    async fn conversations(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<Conversation>> {
        let operation = "list conversations";
        let list = keys::conversations_of(tenant);
        let page = self.table.children(operation, &list, limit, cursor).await?;
        let items = page.items.iter().map(|item| read_conversation(operation, item));
        let mut items = items.collect::<PortResult<Vec<_>>>()?;
        items.sort_by_key(|conversation| std::cmp::Reverse(conversation.last_activity_at));
        Ok(Page { items, next: page.next })
    }
}

/// Parses the item of a conversation.
pub(crate) fn read_conversation(operation: &'static str, item: &Item) -> PortResult<Conversation> {
    let mut conversation: Conversation = parse(operation, item, "doc")?;
    let integration = text(item, "integration").and_then(|id| id.parse().ok());
    conversation.integration = integration.ok_or_else(|| corrupt(operation, "integration"))?;
    let activity = time(item, "last_activity_at");
    conversation.last_activity_at = activity.ok_or_else(|| corrupt(operation, "activity"))?;
    conversation.last_inbound_at = time(item, "last_inbound_at");
    conversation.last_inbound_message = text(item, "last_inbound_message").map(ToOwned::to_owned);
    if let Some(name) = text(item, "contact_name") {
        conversation.contact.name = Some(name.to_owned());
    }
    Ok(conversation.repaired())
}

impl ConversationReader for Repository {
    async fn read_conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> PortResult<Option<Conversation>> {
        self.conversation(tenant, id).await
    }
}
