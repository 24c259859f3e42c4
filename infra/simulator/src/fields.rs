//! Parts of settings and control calls that several providers share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An approved template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// Its language code.
    pub language: String,
}

/// A file that a customer sends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaUpload {
    /// Its media type.
    pub mime_type: String,
    /// Its content in base64.
    pub content_base64: String,
}

impl MediaUpload {
    /// Its content.
    ///
    /// # Errors
    /// If it is not base64.
    pub fn bytes(&self) -> Result<Bytes, String> {
        let bytes = STANDARD.decode(&self.content_base64);
        bytes.map(Bytes::from).map_err(|error| format!("content_base64: {error}"))
    }
}

/// The control call that sets when a customer last wrote.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetWindow {
    /// The customer's number.
    pub customer: String,
    /// How many milliseconds ago; `None`: never.
    pub last_wrote_ms_ago: Option<i64>,
}

/// Default of fields that count copies: 1.
#[must_use]
pub const fn once() -> usize {
    1
}

/// Default of fields that are true unless the call sets them.
#[must_use]
pub const fn yes() -> bool {
    true
}

/// Default of seeds.
#[must_use]
pub const fn seed() -> u64 {
    1
}

/// Default of customers' names.
#[must_use]
pub fn customer() -> String {
    "Customer".into()
}
