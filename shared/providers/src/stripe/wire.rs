//! Stripe's JSON, of any API version, limited to the fields that the hub reads. A field of another
//! type is ignored.

#![expect(clippy::struct_field_names, reason = "the fields have the provider's names")]

use serde::Deserialize;
use serde_json::value::RawValue;

/// <https://docs.stripe.com/api/events/object>, <https://docs.stripe.com/api/v2/core/events/object>
#[derive(Debug, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(rename = "type", borrow, default)]
    pub(super) name: Option<&'a RawValue>,
    /// Seconds; in a thin event, text.
    #[serde(borrow, default)]
    pub(super) created: Option<&'a RawValue>,
    /// The connected account.
    #[serde(borrow, default)]
    pub(super) account: Option<&'a RawValue>,
    /// The account of an organization, or the path to it.
    #[serde(borrow, default)]
    pub(super) context: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
    /// The object of a thin event.
    #[serde(borrow, default)]
    pub(super) related_object: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Data<'a> {
    #[serde(borrow, default)]
    pub(super) object: Option<&'a RawValue>,
}

/// The object of an event. In a thin event, `type` is its type.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Object<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) subscription: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) parent: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) customer: Option<&'a RawValue>,
}

/// In an invoice, since 2025.
#[derive(Debug, Deserialize)]
pub(super) struct Parent<'a> {
    #[serde(borrow, default)]
    pub(super) subscription_details: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SubscriptionDetails<'a> {
    #[serde(borrow, default)]
    pub(super) subscription: Option<&'a RawValue>,
}

/// An expanded object in place of its id.
#[derive(Debug, Deserialize)]
pub(super) struct Expanded {
    pub(super) id: String,
}
