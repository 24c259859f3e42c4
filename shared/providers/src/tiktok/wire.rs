//! TikTok's JSON. Only the fields we read.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Source: README, facts 3. The parts are kept as they are written: they are the event's id.
#[derive(Debug, Deserialize)]
pub(super) struct Notice<'a> {
    pub(super) event: String,
    #[serde(borrow, default)]
    pub(super) create_time: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) user_openid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) content: Option<&'a RawValue>,
}
