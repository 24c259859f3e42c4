//! Items: conversion of values, and errors of requests.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::Fault;
use domain::Retention;
use domain::ports::{PortError, PortResult};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Key;

/// Version of the item format that this build writes.
pub const VERSION: i64 = 1;

/// One item.
pub type Item = HashMap<String, AttributeValue>;

/// Text.
#[must_use]
pub fn s(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// Number.
#[must_use]
pub fn n(value: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn ms(at: Timestamp) -> AttributeValue {
    n(at.as_millisecond())
}

/// Time to live of an item: seconds since the Unix epoch.
#[must_use]
pub fn ttl(now: Timestamp, keep: Duration) -> AttributeValue {
    n(now.as_second() + i64::try_from(keep.as_secs()).unwrap_or(i64::MAX / 2))
}

/// Sets the time to live of an item with data from `start`, or removes it if data is kept for ever.
pub fn expire(item: &mut Item, start: Timestamp, retention: Retention) {
    match retention.period() {
        Some(period) => item.insert("ttl".to_owned(), ttl(start, period)),
        None => item.remove("ttl"),
    };
}

/// Document, stored as JSON.
///
/// # Errors
/// If the value cannot be written as JSON, which is a bug.
pub fn json<T: Serialize>(operation: &'static str, value: &T) -> PortResult<AttributeValue> {
    serde_json::to_string(value).map(AttributeValue::S).map_err(|_| corrupt(operation, "JSON"))
}

/// Bytes.
#[must_use]
pub fn bytes(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// Returns the binary attribute `name`.
#[must_use]
pub fn binary<'a>(item: &'a Item, name: &str) -> Option<&'a [u8]> {
    item.get(name)?.as_b().ok().map(AsRef::as_ref)
}

/// Returns the text attribute `name`.
#[must_use]
pub fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// Returns the number attribute `name`.
#[must_use]
pub fn number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Returns the time attribute `name`, stored in milliseconds.
#[must_use]
pub fn time(item: &Item, name: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(number(item, name)?).ok()
}

/// Parses the document in the attribute `name`.
///
/// # Errors
/// If the attribute is missing or has another format.
pub fn parse<T: DeserializeOwned>(
    operation: &'static str,
    item: &Item,
    name: &'static str,
) -> PortResult<T> {
    let text = text(item, name).ok_or_else(|| corrupt(operation, name))?;
    serde_json::from_str(text).map_err(|_| corrupt(operation, name))
}

/// Returns the error for an item in an unknown format: a bug, or an item of a newer version. It is
/// retryable, because a newer build can read it.
#[must_use]
pub fn corrupt(operation: &'static str, what: &'static str) -> PortError {
    let reason = format!("the item's {what} has a format that this version cannot read");
    PortError { operation, reason, fault: Fault::Retryable }
}

/// Returns the error for a failed request. A retry is always safe, because every write is
/// conditional or idempotent.
#[must_use]
pub fn failed<E: ProvideErrorMetadata, R>(
    operation: &'static str,
    error: &SdkError<E, R>,
) -> PortError {
    aws::failed("DynamoDB", operation, error)
}

/// Cancellation reason of one write of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancellationReason {
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
#[must_use]
pub fn cancellation_reasons<R>(
    error: &SdkError<TransactWriteItemsError, R>,
) -> Vec<CancellationReason> {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
            .cancellation_reasons()
            .iter()
            .map(|reason| match reason.code() {
                None | Some("None") => CancellationReason::None,
                Some("ConditionalCheckFailed") => CancellationReason::Condition,
                Some("TransactionConflict") => CancellationReason::Conflict,
                Some(_) => CancellationReason::Other,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Returns an item with its key, its format version and more attributes.
#[must_use]
pub fn item<const N: usize>(key: &Key, more: [(&str, AttributeValue); N]) -> Item {
    let mut item = key.attributes();
    item.insert("v".to_owned(), n(VERSION));
    item.extend(more.map(|(name, value)| (name.to_owned(), value)));
    item
}

/// Number without a sign.
#[must_use]
pub fn unsigned(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Microseconds since the Unix epoch.
#[must_use]
pub fn micros(at: Timestamp) -> AttributeValue {
    n(at.as_microsecond())
}

/// Returns the time attribute `name`, stored in microseconds.
#[must_use]
pub fn micros_time(item: &Item, name: &str) -> Option<Timestamp> {
    Timestamp::from_microsecond(number(item, name)?).ok()
}
