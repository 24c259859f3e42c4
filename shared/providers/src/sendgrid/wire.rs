//! SendGrid's JSON, limited to the fields that the hub reads. A field of another type is ignored.

#![expect(clippy::struct_field_names, reason = "the fields have the provider's names")]

use serde::Deserialize;
use serde_json::value::RawValue;

/// <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event>
#[derive(Debug, Default, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub(super) event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) sg_event_id: Option<&'a RawValue>,
    /// Absent in late bounces and in account events.
    #[serde(borrow, default)]
    pub(super) sg_message_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) timestamp: Option<&'a RawValue>,
    /// The SMTP status of a bounce.
    #[serde(borrow, default)]
    pub(super) status: Option<&'a RawValue>,
    /// The type of a bounce.
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reason: Option<&'a RawValue>,
}
