//! Parts of bodies as JSON, byte for byte, as they are kept with an event.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Content;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

/// Returns a complete body as JSON. JSON stays unchanged; other text becomes a JSON string, and
/// bytes that are not text become an object with their base64.
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

/// Parses `raw` as a `T`; `None` if it is absent or does not parse. For the many fields that a
/// provider may omit or change.
#[must_use]
pub fn fit<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// Returns a text that is not empty.
#[must_use]
pub fn text(raw: Option<&RawValue>) -> Option<String> {
    fit::<String>(raw).filter(|text| !text.is_empty())
}

/// Returns a text that is not empty, or a whole number as it is written: providers write ids and
/// times as either.
#[must_use]
pub fn text_or_number(raw: Option<&RawValue>) -> Option<String> {
    let number = || {
        let number = raw?.get();
        let digits = number.strip_prefix('-').unwrap_or(number);
        digits.bytes().all(|c| c.is_ascii_digit()).then(|| number.to_owned())
    };
    text(raw).or_else(number)
}

/// Creates the content for a message of an unsupported type, in its provider's own form. JSON
/// without a representable value, such as `1e999`, is kept as text.
#[must_use]
pub fn unsupported(raw: &RawValue) -> Content {
    let value = serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().into());
    Content::Unsupported { raw: value }
}

/// Returns every part of `whole` at a JSON pointer, in which `*` stands for each element of a list
/// or field of an object. <https://www.rfc-editor.org/rfc/rfc6901>
#[must_use]
pub fn all_at<'a>(whole: &'a RawValue, pointer: &str) -> Vec<&'a RawValue> {
    let mut found = vec![whole];
    for step in pointer.split('/').skip(1) {
        let name = step.replace("~1", "/").replace("~0", "~");
        found = found.into_iter().flat_map(|part| step_into(part, step == "*", &name)).collect();
    }
    found
}

fn step_into<'a>(part: &'a RawValue, each: bool, name: &str) -> Vec<&'a RawValue> {
    if let Some(elements) = fit::<Vec<&RawValue>>(Some(part)) {
        let at = |index: usize| elements.get(index).copied();
        return match name.parse::<usize>() {
            _ if each => elements,
            Ok(index) => at(index).into_iter().collect(),
            Err(_) => Vec::new(),
        };
    }
    let Some(fields) = fit::<BTreeMap<Cow<'_, str>, &RawValue>>(Some(part)) else {
        return Vec::new();
    };
    if each {
        return fields.into_values().collect();
    }
    fields.get(name).copied().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_pointer_finds_one_or_all_parts_byte_for_byte() {
        let whole = whole(br#"{"a":[{"b":[1.0, 2]},{"b":[ 3 ]},{}],"c/d":{"x":4,"y":5}}"#);
        let at = |pointer: &str| -> Vec<&str> {
            all_at(&whole, pointer).into_iter().map(RawValue::get).collect()
        };
        assert_eq!(at("/a/*/b/*"), ["1.0", "2", "3"]);
        assert_eq!(at("/a/1/b"), ["[ 3 ]"]);
        assert_eq!(at("/c~1d/*"), ["4", "5"]);
        assert!(at("/a/b").is_empty() && at("/a/9").is_empty() && at("/c~1d/x/z").is_empty());
        assert_eq!(at(""), [whole.get()]);
    }

    #[test]
    fn a_text_or_a_whole_number_is_read_as_it_is_written() {
        for (json, expected) in [
            (r#""a""#, Some("a")),
            (r#""7""#, Some("7")),
            ("7", Some("7")),
            ("-7", Some("-7")),
            ("98765432109876543210", Some("98765432109876543210")),
            (r#""""#, None),
            ("1.5", None),
            ("1e3", None),
            ("null", None),
            ("true", None),
            ("[7]", None),
        ] {
            let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
            assert_eq!(text_or_number(Some(&raw)).as_deref(), expected, "{json}");
            let is_text = json.starts_with('"');
            assert_eq!(text(Some(&raw)).as_deref(), expected.filter(|_| is_text), "{json}");
        }
        assert_eq!((text(None), text_or_number(None)), (None, None));
    }

    #[test]
    fn json_is_kept_byte_for_byte_and_other_bodies_can_be_restored() {
        assert_eq!(whole(br#"{ "a":1.0 }"#).get(), r#"{ "a":1.0 }"#);
        assert_eq!(serde_json::from_str::<String>(whole(b"a=1&b=%22").get()).unwrap(), "a=1&b=%22");
        assert_eq!(whole(&[0xff]).get(), r#"{"base64":"/w=="}"#);
    }
}
