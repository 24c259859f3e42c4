//! Audit records.

use domain::TenantId;
use domain::ports::{Page, PortResult};
use table::{Item, failed, item, json, parse, s, sortable_micros, text, ttl};

use super::{Repository, keys};
use crate::model::audit::{AUDIT_RETENTION, AuditFilter, AuditRecord};
use crate::ports::AuditReader;

/// Number of records per query, if a filter may exclude most of them.
const FILTERED_LIMIT: i32 = 500;
/// Maximum number of queries per page: after that, the page ends even if it is not full.
const MAX_QUERIES: u32 = 5;
/// Maximum size of a page in bytes: a Lambda response has at most 6 MB.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Returns the item of an audit record.
pub(super) fn audit_item(operation: &'static str, record: &AuditRecord) -> PortResult<Item> {
    Ok(item(
        &keys::audit_record(&record.tenant, record.at, record.id),
        [
            ("doc", json(operation, record)?),
            ("action", s(record.change.action.as_str())),
            ("actor", s(record.actor.to_string())),
            ("ttl", ttl(record.at, AUDIT_RETENTION)),
        ],
    ))
}

impl AuditReader for Repository {
    async fn audit_records(
        &self,
        tenant: &TenantId,
        filter: &AuditFilter,
        limit: u32,
        cursor: Option<&str>,
    ) -> PortResult<Page<AuditRecord>> {
        let operation = "list audit records";
        let wanted = usize::try_from(limit).unwrap_or(100).min(100);
        let mut page = Page { items: Vec::new(), next: cursor.map(ToOwned::to_owned) };
        let mut size = 0;
        for _round in 0..MAX_QUERIES {
            let mut last = page.next.take();
            let room = wanted - page.items.len();
            let found = self.audit_items(operation, tenant, filter, room, last.as_deref()).await?;
            for item in &found.items {
                let position = text(item, "sk");
                size += text(item, "doc").map_or(0, str::len);
                let is_full = page.items.len() >= wanted || size > MAX_PAGE_BYTES;
                if is_full && !page.items.is_empty() {
                    return Ok(Page { next: last, ..page });
                }
                page.items.push(parse(operation, item, "doc")?);
                last = position.map(ToOwned::to_owned);
            }
            page.next = found.next;
            if page.next.is_none() || page.items.len() >= wanted {
                break;
            }
        }
        Ok(page)
    }
}

impl Repository {
    /// Queries a part of a tenant's audit records, newest first, and returns those that match and
    /// the sort key of the last one that was read, if more may follow.
    async fn audit_items(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        filter: &AuditFilter,
        max: usize,
        cursor: Option<&str>,
    ) -> PortResult<Page<Item>> {
        let low = filter.from.map_or_else(|| "0".to_owned(), sortable_micros);
        // ':' sorts after the digits.
        let high = filter.to.map_or_else(|| ":".to_owned(), sortable_micros);
        let high = match cursor {
            Some(cursor) => high.min(cursor.to_owned()),
            None => high,
        };
        if low > high {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let action = filter.action.map(|action| ("#action = :action", ":action", action.as_str()));
        let actor = filter.actor.map(|actor| actor.to_string());
        let actor = actor.as_deref().map(|actor| ("actor = :actor", ":actor", actor));
        let conditions: Vec<_> = action.into_iter().chain(actor).collect();
        // One more, because the cursor itself is in the result.
        let needed = i32::try_from(max + 1).unwrap_or(FILTERED_LIMIT);
        let mut query = self
            .table
            .query()
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(if conditions.is_empty() { needed } else { FILTERED_LIMIT })
            .key_condition_expression("pk = :pk AND sk BETWEEN :low AND :high")
            .expression_attribute_values(":pk", s(keys::audit_records_of(tenant)))
            .expression_attribute_values(":low", s(low))
            .expression_attribute_values(":high", s(high));
        if !conditions.is_empty() {
            let expressions: Vec<_> =
                conditions.iter().map(|(expression, ..)| *expression).collect();
            query = query.filter_expression(expressions.join(" AND "));
        }
        if filter.action.is_some() {
            query = query.expression_attribute_names("#action", "action");
        }
        for (_, name, value) in conditions {
            query = query.expression_attribute_values(name, s(value));
        }
        let answer = query.send().await.map_err(|error| failed(operation, &error))?;
        let last = answer.last_evaluated_key().and_then(|key| text(key, "sk"));
        let next = last.map(ToOwned::to_owned);
        let mut items = answer.items.unwrap_or_default();
        items.retain(|item| text(item, "sk") != cursor);
        Ok(Page { items, next })
    }
}
