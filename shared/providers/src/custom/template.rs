//! Templates of requests: JSON and text with placeholders.
//!
//! A placeholder is `{{name}}`, where `name` is a field of the message in the form of
//! `POST /messages`: `{{text}}`, `{{media.url}}`. A string that is only one placeholder becomes
//! its value, of any type; in other strings the value is inserted as text. A placeholder without
//! a value is omitted, together with the field or element that contains it.
//! `{"{{each name}}": part}` becomes a list with one `part` for each element, which is `{{item}}`
//! in it.
//!
//! Values are only inserted as values: never as a name, and never as JSON that is parsed again.
//!
//! A template can multiply its values: the size of the result is counted and limited to
//! [`MAX_MESSAGE_BYTES`].

use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Credentials;
use domain::sender::SendError;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use crate::http::{encode_path_segment, invalid};

/// Maximum nesting of a template.
const MAX_DEPTH: usize = 16;
/// Maximum size of a template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 16_384;
/// Maximum length of a single text with placeholders, such as a header's value, in bytes.
const MAX_TEXT_BYTES: usize = 4_096;
/// Maximum nesting of `{{each}}`.
const MAX_EACH_DEPTH: usize = 2;
/// Maximum number of list elements that `{{each}}` fills in for one request, all lists together.
pub(super) const MAX_ELEMENTS: usize = 100;
/// Maximum size of one request, in bytes: its URL, headers and body together, each value as JSON
/// writes it. Every placeholder and every visited part of a template counts too, so that the work
/// is bounded even if the result is empty.
pub(super) const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// Part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// A field of the message.
    Field(&'a str),
    /// The value of a credential.
    Credential(&'a str),
    /// The value of a credential in base64, as in Basic authentication.
    Basic(&'a str),
}

/// Splits a text into its parts.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or("has `{{` without `}}`")?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let name = name.trim();
        pieces.push(match name.split_once(':') {
            Some(("credential", name)) => Piece::Credential(name),
            Some(("basic", name)) => Piece::Basic(name),
            Some(_) => {
                return Err("has a placeholder with an unknown prefix: use credential: or basic:");
            }
            None => Piece::Field(name),
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Names that a template may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllowedNames<'a> {
    /// First parts of field names.
    pub(super) fields: &'a [&'static str],
    /// Names of credentials.
    pub(super) credentials: &'a [&'static str],
}

/// Validates a text that is not part of a JSON template.
pub(super) fn check_text(text: &str, allowed: AllowedNames<'_>) -> Result<(), String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("must have at most {MAX_TEXT_BYTES} bytes"));
    }
    check_pieces(text, allowed)
}

fn check_pieces(text: &str, allowed: AllowedNames<'_>) -> Result<(), String> {
    for piece in pieces(text)? {
        let (name, names, what) = match piece {
            Piece::Text(_) => continue,
            Piece::Field(name) => {
                let part = |part: &str| {
                    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
                    !part.is_empty() && part.bytes().all(word)
                };
                if !name.split('.').all(part) {
                    return Err(
                        "has a placeholder with an invalid name: use a name such as media.url"
                            .to_owned(),
                    );
                }
                (name.split('.').next().unwrap_or(name), allowed.fields, "fields")
            }
            Piece::Credential(name) | Piece::Basic(name) => {
                (name, allowed.credentials, "credentials")
            }
        };
        if !names.contains(&name) {
            return Err(format!("may only use these {what}: {}", names.join(", ")));
        }
    }
    Ok(())
}

/// Validates a template.
pub(super) fn check(template: &Value, allowed: AllowedNames<'_>) -> Result<(), String> {
    if template.to_string().len() > MAX_TEMPLATE_BYTES {
        return Err(format!("must have at most {MAX_TEMPLATE_BYTES} bytes"));
    }
    check_at(template, allowed, Depth { left: MAX_DEPTH, each: MAX_EACH_DEPTH })
}

/// Remaining nesting of a template.
#[derive(Clone, Copy, Debug)]
struct Depth {
    left: usize,
    each: usize,
}

fn check_at(template: &Value, allowed: AllowedNames<'_>, depth: Depth) -> Result<(), String> {
    let left = depth
        .left
        .checked_sub(1)
        .ok_or_else(|| format!("is nested deeper than {MAX_DEPTH} levels"))?;
    let depth = Depth { left, ..depth };
    match template {
        Value::String(text) => check_pieces(text, allowed),
        Value::Array(parts) => parts.iter().try_for_each(|part| check_at(part, allowed, depth)),
        Value::Object(fields) => {
            if let Some((name, part)) = each(fields) {
                let each = depth.each.checked_sub(1).ok_or_else(|| {
                    format!(
                        "nests {{{{each}}}} in more than {MAX_EACH_DEPTH} levels: use fewer levels"
                    )
                })?;
                check_pieces(&format!("{{{{{name}}}}}"), allowed)?;
                let fields = [allowed.fields, &["item"]].concat();
                return check_at(
                    part,
                    AllowedNames { fields: &fields, ..allowed },
                    Depth { each, ..depth },
                );
            }
            if fields.keys().any(|name| name.contains("{{")) {
                return Err(
                    "has a placeholder in a field's name: only {{each ...}} is allowed there"
                        .to_owned(),
                );
            }
            fields.values().try_for_each(|part| check_at(part, allowed, depth))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// Returns the list and the part of `{"{{each list}}": part}`.
pub(super) fn each(fields: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, part) = fields.iter().next().filter(|_| fields.len() == 1)?;
    let name = name.strip_prefix("{{each ")?.strip_suffix("}}")?;
    Some((name.trim(), part))
}

/// Whether the template has a placeholder with this name.
pub(super) fn names(template: &Value, name: &str) -> bool {
    match template {
        Value::String(text) => text_names(text, name),
        Value::Array(parts) => parts.iter().any(|part| names(part, name)),
        Value::Object(fields) => fields.values().any(|part| names(part, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether the text has a placeholder with this name.
pub(super) fn text_names(text: &str, name: &str) -> bool {
    pieces(text).is_ok_and(|pieces| pieces.contains(&Piece::Field(name)))
}

/// Remaining size of one request, at most [`MAX_MESSAGE_BYTES`] bytes and [`MAX_ELEMENTS`] list
/// elements.
#[derive(Debug)]
pub(super) struct SizeBudget {
    bytes: Cell<usize>,
    elements: Cell<usize>,
}

impl SizeBudget {
    pub(super) const fn new() -> Self {
        Self { bytes: Cell::new(MAX_MESSAGE_BYTES), elements: Cell::new(MAX_ELEMENTS) }
    }

    /// Counts `bytes` before they are written.
    fn take(&self, bytes: usize) -> Result<(), SendError> {
        let left = self.bytes.get().checked_sub(bytes).ok_or_else(too_large)?;
        self.bytes.set(left);
        Ok(())
    }

    /// Counts the elements of a list before they are filled in.
    fn take_elements(&self, elements: usize) -> Result<(), SendError> {
        let left = self.elements.get().checked_sub(elements).ok_or_else(too_many_elements)?;
        self.elements.set(left);
        Ok(())
    }

    /// Counts a text as JSON writes it, which is its longest form.
    fn take_text(&self, text: &str) -> Result<(), SendError> {
        self.take(text_size(text))
    }

    /// Counts a value as JSON writes it.
    fn take_value(&self, value: &Value) -> Result<(), SendError> {
        self.take(value_size(value))
    }
}

/// Returns the size of a text as JSON writes it, in bytes.
pub(super) fn text_size(text: &str) -> usize {
    let escapes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' => 1,
        0..=0x1f => 5,
        _ => 0,
    });
    text.len() + 2 + escapes.sum::<usize>()
}

/// Returns the size of a value as JSON writes it, in bytes. A message's values are not nested deeper
/// than its content.
pub(super) fn value_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => text_size(text),
        Value::Array(values) => {
            let separators = values.len().saturating_sub(1);
            2 + separators + values.iter().map(value_size).sum::<usize>()
        }
        Value::Object(fields) => {
            let separators = (2 * fields.len()).saturating_sub(1);
            let fields = fields.iter().map(|(name, value)| text_size(name) + value_size(value));
            2 + separators + fields.sum::<usize>()
        }
    }
}

/// Returns the error for a request that is too large.
pub(super) fn too_large() -> SendError {
    invalid(
        "settings.send",
        "expands this message to more than 262144 bytes: repeat less of it in the templates, or \
         send a smaller message",
    )
}

/// Returns the error for a message with too many list elements.
fn too_many_elements() -> SendError {
    invalid(
        "settings.send",
        "fills in more than 100 list elements for this message: send fewer buttons, rows or other \
         elements",
    )
}

/// Values of placeholders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// The message's fields.
    pub(super) fields: &'a Map<String, Value>,
    /// The current element of `{{each}}`.
    item: Option<&'a Value>,
    pub(super) credentials: &'a Credentials,
    budget: &'a SizeBudget,
}

impl<'a> Scope<'a> {
    pub(super) const fn new(
        fields: &'a Map<String, Value>,
        credentials: &'a Credentials,
        budget: &'a SizeBudget,
    ) -> Self {
        Self { fields, item: None, credentials, budget }
    }

    fn find(&self, name: &str) -> Option<&'a Value> {
        let mut parts = name.split('.');
        let first = parts.next()?;
        let start = if first == "item" { self.item } else { self.fields.get(first) };
        let step = |value: &'a Value, part: &str| match value {
            Value::Object(fields) => fields.get(part),
            Value::Array(values) => values.get(part.parse::<usize>().ok()?),
            _ => None,
        };
        parts.try_fold(start?, step).filter(|value| !value.is_null())
    }

    fn secret(&self, name: &str) -> Result<&'a str, SendError> {
        let secret = self.credentials.first(name);
        let secret = secret
            .ok_or_else(|| invalid("credentials", "lack a credential that `settings.send` uses"))?;
        Ok(secret.expose_secret())
    }

    /// Fills in a text; `None` if a value is missing. `write` encodes each value.
    fn fill(
        &self,
        text: &str,
        write: impl Fn(&str) -> Result<String, SendError>,
    ) -> Result<Option<String>, SendError> {
        self.budget.take_text(text)?;
        let mut filled = String::with_capacity(text.len());
        let push = |filled: &mut String, value: &str| {
            self.budget.take_text(value)?;
            filled.push_str(value);
            Ok::<_, SendError>(())
        };
        // Texts are validated when the integration is created.
        for piece in pieces(text).map_err(|reason| invalid("settings.send", reason))? {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Field(name) => {
                    let Some(value) = self.find(name) else { return Ok(None) };
                    if !value.is_string() {
                        // Counted before it is written: as text it is a second copy.
                        self.budget.take_value(value)?;
                    }
                    push(&mut filled, &write(&as_text(value))?)?;
                }
                Piece::Credential(name) => push(&mut filled, self.secret(name)?)?,
                Piece::Basic(name) => {
                    push(&mut filled, &STANDARD.encode(self.secret(name)?))?;
                }
            }
        }
        Ok(Some(filled))
    }

    /// Fills in a text; `None` if a value is missing.
    pub(super) fn text(&self, text: &str) -> Result<Option<String>, SendError> {
        self.fill(text, |value| Ok(value.to_owned()))
    }

    /// Fills in a path and its query. Each value is escaped and cannot change the path's structure.
    pub(super) fn path(&self, path: &str) -> Result<Option<String>, SendError> {
        self.fill(path, |value| {
            if matches!(value, "" | "." | "..") {
                return Err(invalid("type", "has a value that cannot be part of a URL"));
            }
            Ok(encode_path_segment(value))
        })
    }

    /// Fills in a template; `None` if nothing is left of it.
    pub(super) fn value(&self, template: &Value) -> Result<Option<Value>, SendError> {
        // Each part counts, even if it has no result: its brackets and its separator.
        self.budget.take(if template.is_array() || template.is_object() { 3 } else { 1 })?;
        Ok(Some(match template {
            Value::String(text) => {
                if let Ok(pieces) = pieces(text)
                    && let [Piece::Field(name)] = pieces.as_slice()
                {
                    self.budget.take(text.len())?;
                    let Some(value) = self.find(name) else { return Ok(None) };
                    self.budget.take_value(value)?;
                    return Ok(Some(value.clone()));
                }
                return Ok(self.text(text)?.map(Value::String));
            }
            Value::Array(parts) => {
                let filled = parts.iter().map(|part| self.value(part));
                Value::Array(filled.filter_map(Result::transpose).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                if let Some((name, part)) = each(fields) {
                    let Some(Value::Array(elements)) = self.find(name) else { return Ok(None) };
                    self.budget.take(name.len())?;
                    self.budget.take_elements(elements.len())?;
                    let filled =
                        elements.iter().map(|item| Scope { item: Some(item), ..*self }.value(part));
                    let filled = filled.filter_map(Result::transpose);
                    return Ok(Some(Value::Array(filled.collect::<Result<_, _>>()?)));
                }
                let mut filled = Map::new();
                for (name, part) in fields {
                    self.budget.take_text(name)?;
                    self.budget.take(1)?;
                    if let Some(value) = self.value(part)? {
                        filled.insert(name.clone(), value);
                    }
                }
                Value::Object(filled)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                self.budget.take_value(template)?;
                template.clone()
            }
        }))
    }
}

/// Returns a value as text: JSON, unless it is a string.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Fault;
    use domain::fault::Classify;
    use proptest::prelude::*;
    use serde_json::json;

    fn fields() -> Map<String, Value> {
        let fields = json!({ "text": "a\"b{{to}}", "to": "49155", "location": { "latitude": 1.5 },
            "media": { "url": "https://x.test/?a=b&c", "caption": null },
            "interactive": { "buttons": [{ "id": "1", "title": "One" }, { "id": "2" }] } });
        fields.as_object().unwrap().clone()
    }

    fn credentials() -> Credentials {
        Credentials::new([("KEY".to_owned(), vec!["user:pass".into()])])
    }

    fn filled(template: &Value) -> Option<Value> {
        Scope::new(&fields(), &credentials(), &SizeBudget::new()).value(template).unwrap()
    }

    #[test]
    fn a_lone_placeholder_keeps_its_type_and_is_text_within_text() {
        assert_eq!(filled(&json!("{{location.latitude}}")), Some(json!(1.5)));
        assert_eq!(filled(&json!("at {{ location.latitude }}")), Some(json!("at 1.5")));
        assert_eq!(filled(&json!("+{{to}}")), Some(json!("+49155")));
        assert_eq!(filled(&json!([1, true, null])), Some(json!([1, true, null])));
        assert_eq!(filled(&json!("{{interactive.buttons.1.id}}")), Some(json!("2")));
    }

    #[test]
    fn a_value_is_never_parsed_again() {
        let template = json!({ "a": "{{text}}", "b": "<{{text}}>" });
        let expected = json!({ "a": "a\"b{{to}}", "b": "<a\"b{{to}}>" });
        assert_eq!(filled(&template), Some(expected));
    }

    #[test]
    fn a_placeholder_without_a_value_is_omitted() {
        let template = json!({ "caption": "{{media.caption}}", "line": "see {{media.none}}",
            "kept": 1, "list": ["{{text.more}}", "x"], "inner": { "a": "{{reply_to}}" } });
        assert_eq!(filled(&template), Some(json!({ "kept": 1, "list": ["x"], "inner": {} })));
        assert_eq!(filled(&json!("{{reply_to}}")), None);
    }

    #[test]
    fn each_element_of_a_list_fills_in_a_part() {
        let template = json!({ "buttons": { "{{each interactive.buttons}}":
            { "reply": { "id": "{{item.id}}", "title": "{{item.title}}" }, "to": "{{to}}" } } });
        let expected = json!({ "buttons": [
            { "reply": { "id": "1", "title": "One" }, "to": "49155" },
            { "reply": { "id": "2" }, "to": "49155" }] });
        assert_eq!(filled(&template), Some(expected));
        assert_eq!(filled(&json!({ "{{each contacts}}": 1 })), None);
    }

    #[test]
    fn a_value_in_a_path_is_escaped_and_cannot_change_it() {
        let (fields, credentials, budget) = (fields(), credentials(), SizeBudget::new());
        let scope = Scope::new(&fields, &credentials, &budget);
        let path = scope.path("/m/{{to}}?u={{media.url}}").unwrap().unwrap();
        assert_eq!(path, "/m/49155?u=https%3A%2F%2Fx.test%2F%3Fa%3Db%26c");
        assert_eq!(scope.path("/{{reply_to}}").unwrap(), None);
        let up = Map::from_iter([("to".to_owned(), json!(".."))]);
        assert!(Scope::new(&up, &credentials, &budget).path("/{{to}}/x").is_err());
    }

    #[test]
    fn credentials_are_inserted_unchanged_or_in_base64() {
        let (fields, credentials, budget) = (fields(), credentials(), SizeBudget::new());
        let scope = Scope::new(&fields, &credentials, &budget);
        assert_eq!(scope.text("Key {{credential:KEY}}").unwrap().unwrap(), "Key user:pass");
        assert_eq!(scope.text("Basic {{basic:KEY}}").unwrap().unwrap(), "Basic dXNlcjpwYXNz");
        let error = scope.text("{{credential:OTHER}}").unwrap_err();
        assert!(error.is_account_error(), "{error:?}");
    }

    #[test]
    fn a_template_only_uses_allowed_names_and_is_limited_in_size() {
        let allowed =
            AllowedNames { fields: &["to", "text", "interactive"], credentials: &["KEY"] };
        let good = json!({ "a": ["{{to}}", { "b": "{{credential:KEY}} {{text}}" }],
            "c": { "{{each interactive.buttons}}": "{{item.id}}" } });
        assert_eq!(check(&good, allowed), Ok(()));
        let mut deep = json!(1);
        for _ in 0..MAX_DEPTH {
            deep = json!([deep]);
        }
        for bad in [
            json!("{{tto}}"),
            json!("{{to"),
            json!("{{}}"),
            json!("{{to.}}"),
            json!("{{item.id}}"),
            json!("{{secret:KEY}}"),
            json!("{{credential:OTHER}}"),
            json!({ "{{to}}": 1 }),
            json!({ "{{each more}}": 1 }),
            json!({ "{{each interactive.buttons}}": 1, "x": 2 }),
            json!("x".repeat(MAX_TEMPLATE_BYTES)),
            deep,
        ] {
            assert!(check(&bad, allowed).is_err(), "{bad}");
        }
        assert!(check_text(&"x".repeat(MAX_TEXT_BYTES), allowed).is_ok());
        assert!(check_text(&"x".repeat(MAX_TEXT_BYTES + 1), allowed).is_err());
    }

    /// Nested lists with `levels` levels, each with one part.
    fn nested(levels: usize, part: Value) -> Value {
        (0..levels).fold(part, |part, _| json!({ "{{each interactive.buttons}}": part }))
    }

    #[test]
    fn a_list_is_nested_in_at_most_one_other() {
        let allowed = AllowedNames { fields: &["interactive"], credentials: &[] };
        assert_eq!(check(&nested(2, json!("{{item.id}}")), allowed), Ok(()));
        for levels in 3..=MAX_DEPTH {
            let reason = check(&nested(levels, json!(1)), allowed).unwrap_err();
            assert!(reason.contains("{{each}}") || reason.contains("deeper"), "{reason}");
        }
        // An element between the levels makes no difference.
        let between = json!({ "a": [nested(2, json!({ "b": nested(1, json!("x")) }))] });
        assert!(check(&between, allowed).is_err());
    }

    #[test]
    fn a_request_that_is_too_large_is_rejected_with_a_remedy() {
        let elements = vec![json!({ "id": "1" }); MAX_ELEMENTS];
        let fields = json!({ "interactive": { "buttons": elements }, "text": "x".repeat(4096) });
        let fields = fields.as_object().unwrap().clone();
        let credentials = credentials();
        for template in [
            nested(1, json!("{{text}}")),
            nested(1, json!("a {{text}}")),
            // The result is empty.
            nested(1, json!("{{text}} {{text}} {{item.none}}")),
            json!(vec!["{{text}}"; 100]),
            json!(vec!["{{interactive}}"; 300]),
        ] {
            let budget = SizeBudget::new();
            let error = Scope::new(&fields, &credentials, &budget).value(&template).unwrap_err();
            let SendError::Invalid { field, reason } = &error else { panic!("{error:?}") };
            assert_eq!(*field, "settings.send");
            assert!(reason.contains("262144") && reason.contains("repeat less"), "{reason}");
            assert_eq!(error.fault(), Fault::Permanent);
        }
        let budget = SizeBudget::new();
        let filled =
            Scope::new(&fields, &credentials, &budget).value(&nested(1, json!("{{item.id}}")));
        assert_eq!(filled.unwrap().unwrap().as_array().unwrap().len(), MAX_ELEMENTS);
    }

    #[test]
    fn lists_have_at_most_a_hundred_elements_in_one_request() {
        let credentials = credentials();
        for (elements, levels, is_permitted) in [
            (MAX_ELEMENTS, 1, true),
            (MAX_ELEMENTS + 1, 1, false),
            // 9 and 9 times 9, and 10 and 10 times 10.
            (9, 2, true),
            (10, 2, false),
        ] {
            let buttons = vec![json!({ "id": "1" }); elements];
            let fields = json!({ "interactive": { "buttons": buttons } });
            let (fields, budget) = (fields.as_object().unwrap(), SizeBudget::new());
            let template = nested(levels, json!("{{item.none}}"));
            let filled = Scope::new(fields, &credentials, &budget).value(&template);
            assert_eq!(filled.is_ok(), is_permitted, "{elements} {levels}: {filled:?}");
            assert!(is_permitted || format!("{filled:?}").contains("100 list elements"));
        }
    }

    #[test]
    fn a_value_is_counted_as_json_writes_it() {
        for value in [
            json!(null),
            json!([true, false, 1, -1.5e-300, u64::MAX]),
            json!({}),
            json!([[], [[]], { "a\u{1}": {}, "é\"": [null] }]),
            json!("\\\u{1}é"),
        ] {
            assert_eq!(value_size(&value), value.to_string().len(), "{value}");
        }
    }

    #[test]
    fn url_headers_and_body_share_one_size_budget() {
        let fields = Map::from_iter([("text".to_owned(), json!("x".repeat(200_000)))]);
        let (credentials, budget) = (credentials(), SizeBudget::new());
        let scope = Scope::new(&fields, &credentials, &budget);
        assert!(scope.text("{{text}}!").is_ok());
        assert!(scope.value(&json!("{{text}}")).is_err());
        assert!(scope.path("/{{text}}").is_err());
    }

    /// Any value, and any template over its fields.
    fn any(leaf: BoxedStrategy<Value>) -> impl Strategy<Value = Value> {
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec(("[a-c\"\n]{1,2}", inner.clone()), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
                ("(list|item|item\\.a|deep\\.list)", inner)
                    .prop_map(|(name, part)| json!({ format!("{{{{each {name}}}}}"): part })),
            ]
        })
    }

    proptest! {
        // Each case makes thousands of values.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_request_exceeds_the_size_limit_whatever_the_settings(
            template in any(prop_oneof![
                "[a-z{}\"\\\\\n\u{1}]{0,12}".prop_map(Value::from),
                "(a\u{1}|)\\{\\{(list|item|item\\.a|text|deep\\.list)\\}\\}(b|)".prop_map(Value::from),
                Just(json!(1.5)),
            ].boxed()),
            list in prop::collection::vec(any("[a\u{1}\"é]{0,40}".prop_map(Value::from).boxed()), 0..60),
            size in 0..200_000_usize,
        ) {
            let fields = json!({ "text": "x\u{1}".repeat(size), "deep": { "list": &list }, "list": list });
            let fields = fields.as_object().unwrap().clone();
            let credentials = Credentials::default();
            let budget = SizeBudget::new();
            if let Ok(Some(filled)) = Scope::new(&fields, &credentials, &budget).value(&template) {
                prop_assert!(filled.to_string().len() <= MAX_MESSAGE_BYTES);
            }
        }
    }

    #[test]
    fn a_placeholder_is_found_at_any_depth() {
        assert!(names(&json!({ "a": ["x{{id}}"] }), "id"));
        assert!(!names(&json!({ "a": ["id", "{{text}}"] }), "id"));
    }
}
