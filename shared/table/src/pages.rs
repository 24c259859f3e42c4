//! Reads of many items: pages, batches and small partitions.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use domain::Fault;
use domain::ports::{Page, PortError, PortResult};
use serde::de::DeserializeOwned;

use crate::{Item, Key, List, ListRange, Table, corrupt, failed, parse, s, text};

/// Maximum size of a page in bytes: a Lambda response has at most 6 MB.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

impl Table {
    /// Returns one page of the items of a list, latest first: queries of the index return the keys,
    /// and a batch request reads the items.
    ///
    /// # Errors
    /// If a request fails.
    pub async fn children(
        &self,
        operation: &'static str,
        of: &List,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<Item>> {
        let limit = i32::try_from(limit).unwrap_or(100).min(100);
        let range = ListRange {
            // Sort keys begin with a digit; ':' sorts after the digits.
            low: "0".to_owned(),
            high: cursor.unwrap_or(":").to_owned(),
            descending: true,
            // One more, because the cursor itself is in the range.
            limit: limit + i32::from(cursor.is_some()),
        };
        let (mut places, more) = self.list(operation, of, &range).await?;
        places.retain(|item| text(item, "gsi1sk") != cursor);
        let last = places.last().and_then(|item| text(item, "gsi1sk"));
        let next = last.filter(|_| more).map(ToOwned::to_owned);
        let wanted: Vec<Key> = places.iter().filter_map(Key::of).collect();
        let order =
            |item: &Item| Some((text(item, "gsi1sk")?.to_owned(), text(item, "pk")?.to_owned()));
        let order: Vec<(String, String)> = places.iter().filter_map(order).collect();
        let mut found = self.read_batch(operation, &wanted).await?;
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

    /// Reads up to a hundred items by primary key; returns them by partition key.
    ///
    /// # Errors
    /// If a request fails, or if DynamoDB returns only a part of the items.
    pub async fn read_batch(
        &self,
        operation: &'static str,
        keys: &[Key],
    ) -> PortResult<HashMap<String, Item>> {
        let mut wanted: Vec<Item> = keys.iter().map(Key::attributes).collect();
        let mut found: HashMap<String, Item> = HashMap::with_capacity(wanted.len());
        // DynamoDB may return a part of a batch; a few requests are enough for a page.
        for _round in 0..5 {
            if wanted.is_empty() {
                break;
            }
            let keys = KeysAndAttributes::builder().set_keys(Some(wanted)).build();
            let keys = keys.map_err(|_| corrupt(operation, "keys"))?;
            let request = self.client.batch_get_item().request_items(&self.name, keys);
            let answer = request.send().await.map_err(|error| failed(operation, &error))?;
            for item in
                answer.responses.into_iter().filter_map(|mut r| r.remove(&self.name)).flatten()
            {
                if let Some(pk) = text(&item, "pk") {
                    found.insert(pk.to_owned(), item);
                }
            }
            let rest = answer.unprocessed_keys.and_then(|mut keys| keys.remove(&self.name));
            wanted = rest.map(|rest| rest.keys).unwrap_or_default();
        }
        if !wanted.is_empty() {
            let reason = "DynamoDB returned only a part of the items".to_owned();
            return Err(PortError { operation, reason, fault: Fault::Retryable });
        }
        Ok(found)
    }

    /// Returns one page of the items of a list partition, in the order of their sort keys.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn entries(
        &self,
        operation: &'static str,
        partition: String,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<Item>> {
        let query = self
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :list AND sk > :cursor")
            .expression_attribute_values(":list", s(partition))
            // A space sorts before every id.
            .expression_attribute_values(":cursor", s(cursor.unwrap_or(" ")))
            .limit(i32::try_from(limit).unwrap_or(100));
        let answer = query.send().await.map_err(|error| failed(operation, &error))?;
        let last = answer.items().last().and_then(|item| text(item, "sk"));
        let next = last.filter(|_| answer.last_evaluated_key().is_some()).map(ToOwned::to_owned);
        Ok(Page { items: answer.items.unwrap_or_default(), next })
    }

    /// Returns all documents of a partition. Only for small partitions, filled through the API.
    ///
    /// # Errors
    /// If a request fails, or if an item has an unknown format.
    pub async fn documents<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        partition: String,
    ) -> PortResult<Vec<T>> {
        let pages = self
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(partition))
            .into_paginator()
            .items()
            .send();
        let items = pages.collect::<Result<Vec<_>, _>>().await;
        let items = items.map_err(|error| failed(operation, &error))?;
        items.iter().map(|item| parse(operation, item, "doc")).collect()
    }
}
