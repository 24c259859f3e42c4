//! Resend's JSON, limited to the fields that the hub reads. A field of another type is ignored.

use serde::Deserialize;
use serde_json::value::RawValue;

/// <https://github.com/resend/resend-openapi>
#[derive(Debug, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) created_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Data<'a> {
    /// Id of an email.
    #[serde(borrow, default)]
    pub(super) email_id: Option<&'a RawValue>,
    /// Id of a contact or domain.
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) from: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) bounce: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) failed: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) suppressed: Option<&'a RawValue>,
}

/// Reason of a failure: each event type has some of the fields.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Failure<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reason: Option<&'a RawValue>,
}
