//! SendGrid's JSON. Only the fields we read; each costs only itself if it has another shape.

#![expect(clippy::struct_field_names, reason = "the names are the provider's")]

use serde::Deserialize;
use serde_json::value::RawValue;

/// <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event>
#[derive(Debug, Default, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub(super) event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) sg_event_id: Option<&'a RawValue>,
    /// Absent in bounces that come late, and in what happens to the account.
    #[serde(borrow, default)]
    pub(super) sg_message_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) timestamp: Option<&'a RawValue>,
    /// The SMTP status of a bounce.
    #[serde(borrow, default)]
    pub(super) status: Option<&'a RawValue>,
    /// The kind of a bounce.
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reason: Option<&'a RawValue>,
}
