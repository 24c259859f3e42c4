//! Reads of messages and conversations.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use domain::conversation::Conversation;
use domain::integration::Integration;
use domain::message::Message;
use domain::ports::{MediaState, MessageReader, Page, PortError, PortResult};
use domain::{ConversationId, Fault, MessageId, TenantId};

use crate::item::{Item, corrupt, failed, parse, read_media, read_message, s, text, time};
use crate::{DynamoStore, keys};

/// Maximum size of a page in bytes: a Lambda response has at most 6 MB.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

impl MessageReader for DynamoStore {
    async fn message(
        &self,
        tenant: &TenantId,
        id: MessageId,
    ) -> PortResult<Option<(Message, Option<MediaState>)>> {
        let operation = "read a message";
        let Some(item) = self.read(operation, &keys::message(tenant, id)).await? else {
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
        let item = self.read(operation, &keys::conversation(tenant, id)).await?;
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
        let parent = keys::messages_of(tenant, conversation);
        let page = self.children(operation, parent, limit, cursor).await?;
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
        let page = self.children(operation, keys::conversations_of(tenant), limit, cursor).await?;
        let items = page.items.iter().map(|item| read_conversation(operation, item));
        let mut items = items.collect::<PortResult<Vec<_>>>()?;
        items.sort_by_key(|conversation| std::cmp::Reverse(conversation.last_activity_at));
        Ok(Page { items, next: page.next })
    }

    async fn integrations(&self, tenant: &TenantId) -> PortResult<Vec<Integration>> {
        self.list_integrations(tenant).await
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

impl DynamoStore {
    /// Returns one page of the items of a parent, latest first: a query of the index returns the
    /// keys, and a batch request reads the items.
    async fn children(
        &self,
        operation: &'static str,
        parent: String,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<Item>> {
        let mut query = self
            .query()
            .index_name("by_parent")
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(100))
            .expression_attribute_values(":parent", s(parent));
        query = match cursor {
            None => query.key_condition_expression("gsi1pk = :parent"),
            Some(cursor) => query
                .key_condition_expression("gsi1pk = :parent AND gsi1sk < :cursor")
                .expression_attribute_values(":cursor", s(cursor)),
        };
        let answer = query.send().await.map_err(|error| failed(operation, &error))?;
        let places = answer.items();
        let more = answer.last_evaluated_key().is_some();
        let last = places.last().and_then(|item| text(item, "gsi1sk"));
        let next = last.filter(|_| more).map(ToOwned::to_owned);
        let primary = |item: &Item| {
            let part = |name: &str| Some((name.to_owned(), item.get(name)?.clone()));
            Some(HashMap::from([part("pk")?, part("sk")?]))
        };
        let wanted: Vec<_> = places.iter().filter_map(primary).collect();
        let order =
            |item: &Item| Some((text(item, "gsi1sk")?.to_owned(), text(item, "pk")?.to_owned()));
        let order: Vec<(String, String)> = places.iter().filter_map(order).collect();
        let mut found = self.read_batch(operation, wanted).await?;
        // Limit the size of the page: the remaining items start the next page.
        let (mut items, mut size, mut last) = (Vec::with_capacity(order.len()), 0, None);
        for (place, pk) in &order {
            let Some(item) = found.remove(pk) else { continue };
            size += text(&item, "doc").map_or(0, str::len);
            if size > MAX_PAGE_BYTES && !items.is_empty() {
                return Ok(Page { items, next: last });
            }
            items.push(item);
            last = Some(place.clone());
        }
        Ok(Page { items, next })
    }

    /// Reads up to a hundred items by key; returns them by partition key.
    pub(crate) async fn read_batch(
        &self,
        operation: &'static str,
        mut wanted: Vec<Item>,
    ) -> PortResult<HashMap<String, Item>> {
        let mut found: HashMap<String, Item> = HashMap::with_capacity(wanted.len());
        // DynamoDB may return a part of a batch; a few requests are enough for a page.
        for _round in 0..5 {
            if wanted.is_empty() {
                break;
            }
            let keys = KeysAndAttributes::builder().set_keys(Some(wanted)).build();
            let keys = keys.map_err(|_| corrupt(operation, "keys"))?;
            let request = self.client().batch_get_item().request_items(self.table(), keys);
            let answer = request.send().await.map_err(|error| failed(operation, &error))?;
            for item in
                answer.responses.into_iter().filter_map(|mut r| r.remove(self.table())).flatten()
            {
                if let Some(pk) = text(&item, "pk") {
                    found.insert(pk.to_owned(), item);
                }
            }
            let rest = answer.unprocessed_keys.and_then(|mut keys| keys.remove(self.table()));
            wanted = rest.map(|rest| rest.keys).unwrap_or_default();
        }
        if !wanted.is_empty() {
            let reason = "DynamoDB returned only a part of the items".to_owned();
            return Err(PortError { operation, reason, fault: Fault::Retryable });
        }
        Ok(found)
    }
}
