//! TikTok's JSON, limited to the fields that the hub reads.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Source: README, facts 3. The fields are kept as written, because the event's id is their hash.
#[derive(Debug, Deserialize)]
pub(super) struct Notification<'a> {
    pub(super) event: String,
    #[serde(borrow, default)]
    pub(super) create_time: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) user_openid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) content: Option<&'a RawValue>,
}
