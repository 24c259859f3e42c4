//! Parts of bodies, byte for byte, as JSON: what is kept of an event.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Content;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

/// The whole of a body. JSON stays as it is; other text becomes a JSON string, and bytes that
/// are no text an object with their base64.
#[must_use]
pub fn whole(body: &[u8]) -> Box<RawValue> {
    if let Ok(raw) = serde_json::from_slice::<&RawValue>(body) {
        return raw.to_owned();
    }
    let raw = match std::str::from_utf8(body) {
        Ok(text) => to_raw_value(text),
        Err(_) => to_raw_value(&serde_json::json!({ "base64": STANDARD.encode(body) })),
    };
    raw.unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// What `raw` is as a `T`; `None` if it is absent or not one. For the many fields a provider
/// may leave out or change.
#[must_use]
pub fn fit<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// A message we have no words for, in its provider's own form. Text that is JSON and has no
/// value, such as `1e999`, is kept as text.
#[must_use]
pub fn unsupported(raw: &RawValue) -> Content {
    let value = serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().into());
    Content::Unsupported { raw: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_to_the_byte_and_anything_else_can_be_had_back() {
        assert_eq!(whole(br#"{ "a":1.0 }"#).get(), r#"{ "a":1.0 }"#);
        assert_eq!(serde_json::from_str::<String>(whole(b"a=1&b=%22").get()).unwrap(), "a=1&b=%22");
        assert_eq!(whole(&[0xff]).get(), r#"{"base64":"/w=="}"#);
    }
}
