//! Removes Evolution's own API key from a body before the hub stores any of it.

use std::borrow::Cow;

/// Name of the fields that hold the key, at any depth.
const SECRET: &str = "apikey";

/// Returns `json` with every non-null value of a field named `apikey` replaced by `null`. Every
/// other byte is unchanged. If `json` is not valid, everything that may be part of such a value is
/// removed.
///
/// One pass, without recursion.
pub(super) fn without_key(json: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(start) = find(json, at, |byte| byte == b'"') {
        let end = string_end(json, start);
        at = end;
        let value = skip_space(json, end);
        if byte(json, value) != Some(b':') || !is_secret(json.get(start..end)) {
            continue;
        }
        let value = skip_space(json, value + 1);
        at = value_end(json, value);
        if json.get(value..at) == Some(b"null".as_slice()) {
            continue;
        }
        out.extend_from_slice(json.get(kept..value).unwrap_or_default());
        out.extend_from_slice(b"null");
        kept = at;
    }
    if kept == 0 {
        return Cow::Borrowed(json);
    }
    out.extend_from_slice(json.get(kept..).unwrap_or_default());
    Cow::Owned(out)
}

/// Whether a quoted name is `apikey`; it may contain escapes.
fn is_secret(quoted: Option<&[u8]>) -> bool {
    let Some(quoted) = quoted else { return false };
    if quoted.contains(&b'\\') {
        let name = serde_json::from_slice::<String>(quoted);
        return name.is_ok_and(|name| name.eq_ignore_ascii_case(SECRET));
    }
    let name = quoted.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\""));
    name.is_some_and(|name| name.eq_ignore_ascii_case(SECRET.as_bytes()))
}

fn byte(json: &[u8], at: usize) -> Option<u8> {
    json.get(at).copied()
}

fn find(json: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let rest = json.get(from..)?;
    rest.iter().position(|byte| wanted(*byte)).map(|found| from + found)
}

fn skip_space(json: &[u8], from: usize) -> usize {
    find(json, from, |byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(json.len())
}

/// Returns the end of the string whose opening quote is at `start`, including the closing quote.
fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = find(json, at, |byte| byte == b'"' || byte == b'\\') {
        if byte(json, found) == Some(b'"') {
            return found + 1;
        }
        at = found + 2;
    }
    json.len()
}

/// Returns the end of the value that begins at `start`.
fn value_end(json: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match byte(json, at) {
            None => return json.len(),
            Some(b'"') => {
                at = string_end(json, at);
                if depth == 0 {
                    return at;
                }
            }
            Some(b'{' | b'[') => {
                depth += 1;
                at += 1;
            }
            Some(b'}' | b']') if depth > 1 => {
                depth -= 1;
                at += 1;
            }
            Some(b'}' | b']') if depth == 1 => return at + 1,
            // A number or literal ends before a closing bracket, a comma or white space.
            Some(b'}' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n') if depth == 0 => return at,
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn a_key_is_replaced_and_every_other_byte_is_unchanged() {
        for (given, kept) in [
            (r#"{"apikey":"k"}"#, r#"{"apikey":null}"#),
            (
                r#"{ "a" : 1.0, "apikey" : "k\"]},k" , "b":[ ] }"#,
                r#"{ "a" : 1.0, "apikey" : null , "b":[ ] }"#,
            ),
            (r#"{"apikey":123,"apikey":true}"#, r#"{"apikey":null,"apikey":null}"#),
            (r#"{"apikey":{"a":["k",{}]},"b":2}"#, r#"{"apikey":null,"b":2}"#),
            (r#"{"data":[{"apiKey":["k"]}]}"#, r#"{"data":[{"apiKey":null}]}"#),
            ("{\"\\u0061pikey\"\n:\t-1e5\n}", "{\"\\u0061pikey\"\n:\tnull\n}"),
        ] {
            let left = without_key(given.as_bytes());
            assert_eq!(str::from_utf8(&left).unwrap(), kept);
        }
    }

    #[test]
    fn a_body_without_a_key_is_borrowed() {
        for given in [
            r#"{"apikey":null}"#,
            r#"{"a":"apikey","b":["apikey","x"],"apikeys":"k"}"#,
            r#"{"a":"\"apikey\":\"k\""}"#,
            r#""apikey""#,
            "null",
            "",
        ] {
            let left = without_key(given.as_bytes());
            assert!(matches!(left, Cow::Borrowed(same) if same == given.as_bytes()), "{given}");
        }
    }

    #[test]
    fn nothing_of_a_key_remains_in_invalid_json() {
        for given in [
            &b"{\"apikey\":\"secret\""[..],
            b"{\"apikey\":\"secret",
            b"\xff{\"apikey\":\"secret\",\"b\":",
            b"{\"apikey\":[\"a\",\"secret",
            b"{,\"apikey\" : secret",
        ] {
            let left = without_key(given);
            assert!(!left.windows(6).any(|part| part == b"secret"), "{given:?}");
        }
    }

    /// Reference implementation.
    fn nulled(value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                let null = |(name, value): (String, Value)| {
                    let secret = name.eq_ignore_ascii_case(SECRET);
                    (name, if secret { Value::Null } else { nulled(value) })
                };
                Value::Object(fields.into_iter().map(null).collect())
            }
            Value::Array(items) => items.into_iter().map(nulled).collect(),
            other => other,
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\PC\"\\\\]{0,6}".prop_map(Value::from),
            Just(Value::from("apikey")),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let name = prop_oneof![
                Just("apikey".to_owned()),
                Just("apiKey".to_owned()),
                "[\\PC\"\\\\]{0,3}"
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn valid_json_is_redacted_like_serde_reads_it(value in any_json()) {
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let left: Value = serde_json::from_slice(&without_key(json.as_bytes())).unwrap();
                prop_assert_eq!(&left, &nulled(value.clone()));
            }
        }

        #[test]
        fn any_input_terminates(text in "[\\PC\"\\\\{}:,]{0,64}") {
            let _ = without_key(text.as_bytes());
            let _ = without_key(format!("{{\"apikey\":{text}").as_bytes());
        }
    }
}
