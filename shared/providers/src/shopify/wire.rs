//! Shopify's JSON, limited to the fields with an event's resource and time.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A resource. Ids have up to 64 bits or are text, so they are kept as written.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Resource<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) order_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) inventory_item_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) customer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) updated_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) created_at: Option<&'a RawValue>,
}

/// An object identified by its id.
#[derive(Debug, Deserialize)]
pub(super) struct Identified<'a> {
    #[serde(borrow)]
    pub(super) id: &'a RawValue,
}

/// Returns an id as text: a number as it is written, or the text.
pub(super) fn id(raw: Option<&RawValue>) -> Option<String> {
    let raw = raw?;
    let text = crate::raw::fit::<String>(Some(raw)).unwrap_or_else(|| raw.get().to_owned());
    // Any other type is not an id.
    let named = !text.is_empty() && text != "null" && !text.starts_with(['{', '[']);
    named.then_some(text)
}
