//! Mailgun's JSON, limited to the fields that the hub reads. A field of another type is ignored.

#![expect(clippy::struct_field_names, reason = "the fields have the provider's names")]

use serde::Deserialize;
use serde_json::value::RawValue;

/// <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads>
#[derive(Debug, Deserialize)]
pub(super) struct Posted<'a> {
    #[serde(borrow)]
    pub(super) signature: Signature<'a>,
    #[serde(rename = "event-data", borrow, default)]
    pub(super) event_data: Option<&'a RawValue>,
}

/// <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks>
#[derive(Debug, Deserialize)]
pub(super) struct Signature<'a> {
    /// Documented as a number, but shown as text.
    #[serde(borrow)]
    pub(super) timestamp: &'a RawValue,
    pub(super) token: String,
    pub(super) signature: String,
    #[serde(rename = "parent-signature", default)]
    pub(super) parent_signature: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) severity: Option<&'a RawValue>,
    /// Seconds, with a fraction.
    #[serde(borrow, default)]
    pub(super) timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(rename = "delivery-status", borrow, default)]
    pub(super) delivery_status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) reason: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) headers: Headers<'a>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Headers<'a> {
    #[serde(rename = "message-id", borrow, default)]
    pub(super) message_id: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct DeliveryStatus<'a> {
    #[serde(borrow, default)]
    pub(super) code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) description: Option<&'a RawValue>,
}
