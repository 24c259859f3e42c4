//! Resend's JSON. Only the fields we read; each costs only itself if it has another shape.

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
    /// Of mail.
    #[serde(borrow, default)]
    pub(super) email_id: Option<&'a RawValue>,
    /// Of contacts and domains.
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

/// Why a mail did not arrive: each event has some of it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Failure<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reason: Option<&'a RawValue>,
}
