//! LinkedIn's JSON, limited to the fields that the hub reads.

#![expect(clippy::struct_field_names, reason = "the fields have the provider's names")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::raw::fit;

/// A body: a list of notifications of one type, or an event of its own shape.
#[derive(Debug, Deserialize)]
pub(super) struct Body<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) notifications: Option<&'a RawValue>,
}

/// A social action on an organization's page. Source: README, facts 3.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notification<'a> {
    #[serde(borrow, default)]
    pub(super) notification_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) organizational_entity: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) action: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) source_post: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) generated_activity: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) last_modified_at: Option<&'a RawValue>,
}

/// A lead. Source: README, facts 4.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lead<'a> {
    #[serde(borrow, default)]
    pub(super) lead_gen_form_response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) owner: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) lead_action: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) occurred_at: Option<&'a RawValue>,
}

/// Returns the URN of an owner: `{"organization": "urn:..."}` or `{"sponsoredAccount": "urn:..."}`.
pub(super) fn owner(raw: Option<&RawValue>) -> Option<String> {
    let owner: BTreeMap<Cow<'_, str>, &RawValue> = fit(raw)?;
    owner.values().find_map(|urn| fit::<String>(Some(*urn)))
}
