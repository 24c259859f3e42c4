//! Items: conversion of values, and request builders.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::get_item::builders::GetItemFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::Fault;
use domain::message::{Message, Status, Step};
use domain::ports::{MediaState, PortError, PortResult};
use domain::task::HandedOver;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::DynamoStore;
use crate::keys::Key;

/// Version of the item format that this build writes.
pub(crate) const VERSION: i64 = 1;

/// One item.
pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn s(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn n(value: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

/// Milliseconds since the Unix epoch.
pub(crate) fn ms(at: Timestamp) -> AttributeValue {
    n(at.as_millisecond())
}

/// Time to live of an item: seconds since the Unix epoch.
pub(crate) fn ttl(now: Timestamp, keep: std::time::Duration) -> AttributeValue {
    n(now.as_second() + i64::try_from(keep.as_secs()).unwrap_or(i64::MAX / 2))
}

pub(crate) fn json<T: Serialize>(operation: &'static str, value: &T) -> PortResult<AttributeValue> {
    serde_json::to_string(value).map(AttributeValue::S).map_err(|_| corrupt(operation, "JSON"))
}

pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(crate) fn number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

pub(crate) fn time(item: &Item, name: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(number(item, name)?).ok()
}

pub(crate) fn parse<T: DeserializeOwned>(
    operation: &'static str,
    item: &Item,
    name: &'static str,
) -> PortResult<T> {
    let text = text(item, name).ok_or_else(|| corrupt(operation, name))?;
    serde_json::from_str(text).map_err(|_| corrupt(operation, name))
}

/// Returns the error for an item in an unknown format: a bug, or an item of a newer version. It is
/// retryable, because a newer build can read it.
pub(crate) fn corrupt(operation: &'static str, what: &'static str) -> PortError {
    let reason = format!("the item's {what} has a format that this version cannot read");
    PortError { operation, reason, fault: Fault::Retryable }
}

/// Returns the error for a failed request. A retry is always safe, because every write is
/// conditional or idempotent.
pub(crate) fn failed<E: ProvideErrorMetadata, R>(
    operation: &'static str,
    error: &SdkError<E, R>,
) -> PortError {
    aws::failed("DynamoDB", operation, error)
}

/// Empty item, for a condition that failed because the item does not exist.
static NO_ITEM: std::sync::LazyLock<Item> = std::sync::LazyLock::new(Item::new);

/// Returns the item for which an update's condition failed, empty if it does not exist; `None`
/// if the update failed for another reason.
pub(crate) fn refused<R>(error: &SdkError<UpdateItemError, R>) -> Option<&Item> {
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(refusal) => {
            Some(refusal.item().unwrap_or(&NO_ITEM))
        }
        _ => None,
    }
}

/// Returns the item for which a put's condition failed, empty if it does not exist; `None` if the
/// put failed for another reason.
pub(crate) fn put_refused<R>(error: &SdkError<PutItemError, R>) -> Option<&Item> {
    match error.as_service_error()? {
        PutItemError::ConditionalCheckFailedException(refusal) => {
            Some(refusal.item().unwrap_or(&NO_ITEM))
        }
        _ => None,
    }
}

/// Cancellation reason of one write of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The write did not cause the cancellation.
    None,
    /// The condition of the write failed.
    Condition,
    /// A concurrent write conflicted.
    Conflict,
    /// Another reason.
    Other,
}

/// Returns the cancellation reason of each write of a transaction; empty if the transaction failed
/// for another reason.
pub(crate) fn obstacles<R>(error: &SdkError<TransactWriteItemsError, R>) -> Vec<Obstacle> {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
            .cancellation_reasons()
            .iter()
            .map(|reason| match reason.code() {
                None | Some("None") => Obstacle::None,
                Some("ConditionalCheckFailed") => Obstacle::Condition,
                Some("TransactionConflict") => Obstacle::Conflict,
                Some(_) => Obstacle::Other,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Returns the attributes that every item has.
pub(crate) fn base(key: &Key) -> Item {
    HashMap::from([
        ("pk".to_owned(), s(&key.pk)),
        ("sk".to_owned(), s(&key.sk)),
        ("v".to_owned(), n(VERSION)),
    ])
}

/// Returns an item with its base attributes and more.
pub(crate) fn item<const N: usize>(key: &Key, more: [(&str, AttributeValue); N]) -> Item {
    let mut item = base(key);
    item.extend(more.map(|(name, value)| (name.to_owned(), value)));
    item
}

impl DynamoStore {
    pub(crate) fn get(&self, key: &Key) -> GetItemFluentBuilder {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        get.key("pk", s(&key.pk)).key("sk", s(&key.sk))
    }

    pub(crate) fn put(&self, item: Item) -> PutItemFluentBuilder {
        self.client.put_item().table_name(&self.table).set_item(Some(item))
    }

    pub(crate) fn update(&self, key: &Key) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.table);
        update.key("pk", s(&key.pk)).key("sk", s(&key.sk))
    }

    pub(crate) fn query(&self) -> QueryFluentBuilder {
        self.client.query().table_name(&self.table)
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    pub(crate) fn client(&self) -> &aws_sdk_dynamodb::Client {
        &self.client
    }

    /// Reads one item.
    pub(crate) async fn read(
        &self,
        operation: &'static str,
        key: &Key,
    ) -> PortResult<Option<Item>> {
        let answer = self.get(key).send().await.map_err(|error| failed(operation, &error))?;
        Ok(answer.item)
    }
}

/// Returns the item of a message: the immutable part as one document, the mutable part as
/// attributes.
pub(crate) fn message_item(operation: &'static str, message: &Message) -> PortResult<Item> {
    let key = crate::keys::message(&message.tenant, message.id);
    let mut item = item(
        &key,
        [
            ("doc", document(operation, message)?),
            ("status", s(message.status.as_str())),
            ("rank", n(message.status.rank())),
            ("gsi1pk", s(crate::keys::messages_of(&message.tenant, message.conversation))),
            ("gsi1sk", s(crate::keys::message_place(message.created_at, message.id))),
            ("history", steps(operation, &message.history)?),
        ],
    );
    if let Some(id) = &message.provider_message_id {
        item.insert("provider_message_id".to_owned(), s(id));
    }
    Ok(item)
}

/// Returns the immutable part of a message.
pub(crate) fn document(operation: &'static str, message: &Message) -> PortResult<AttributeValue> {
    json(operation, &Message { history: Vec::new(), ..message.clone() })
}

/// Returns the steps of a history as a list.
pub(crate) fn steps(operation: &'static str, steps: &[Step]) -> PortResult<AttributeValue> {
    let steps = steps.iter().map(|step| json(operation, step));
    Ok(AttributeValue::L(steps.collect::<PortResult<_>>()?))
}

/// Returns the name of the attribute that holds a receipt of `status`.
pub(crate) fn receipt_attribute(status: Status) -> String {
    format!("r_{}", status.as_str())
}

/// Parses the item of a message.
pub(crate) fn read_message(operation: &'static str, item: &Item) -> PortResult<Message> {
    let mut message: Message = parse(operation, item, "doc")?;
    let status = text(item, "status").and_then(Status::from_name);
    message.status = status.ok_or_else(|| corrupt(operation, "status"))?;
    if let Some(id) = text(item, "provider_message_id") {
        message.provider_message_id = Some(id.to_owned());
    }
    if let Some(to) = handed_over(operation, item)? {
        message.provider = to.provider;
        message.integration = to.integration;
    }
    let history = item.get("history").and_then(|list| list.as_l().ok());
    for step in history.into_iter().flatten() {
        let step = step.as_s().ok().and_then(|step| serde_json::from_str(step).ok());
        message.history.push(step.ok_or_else(|| corrupt(operation, "history"))?);
    }
    // A claim is added to the history when it ends. Until then, show it as a step.
    if message.status == Status::Sending
        && let Some(at) = time(item, "claimed_at")
    {
        let attempt = number(item, "attempt").and_then(|attempt| attempt.try_into().ok());
        message.history.push(Step { attempt, ..Step::plain(Status::Sending, at) });
    }
    // Receipts arrive in any order and are shown in the order of progress.
    for status in Status::ALL {
        if let Some(step) = text(item, &receipt_attribute(status)) {
            let step = serde_json::from_str(step).map_err(|_| corrupt(operation, "receipt"))?;
            message.history.push(step);
        }
    }
    Ok(message)
}

/// Returns the integration that the message was handed over to, if it was.
pub(crate) fn handed_over(operation: &'static str, item: &Item) -> PortResult<Option<HandedOver>> {
    item.contains_key("handed_over").then(|| parse(operation, item, "handed_over")).transpose()
}

/// Parses the state of a message's media.
pub(crate) fn read_media(item: &Item) -> Option<MediaState> {
    let value = || text(item, "media_value").unwrap_or_default().to_owned();
    match text(item, "media_state")? {
        "pending" => Some(MediaState::Pending),
        "stored" => Some(MediaState::Stored { key: value() }),
        _ => Some(MediaState::Failed { code: value() }),
    }
}
