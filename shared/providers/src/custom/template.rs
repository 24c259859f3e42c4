//! Templates of requests: JSON and text with placeholders.
//!
//! A placeholder is `{{name}}`, where `name` is a field of the message as `POST /messages` has
//! it: `{{text}}`, `{{media.url}}`. A string that is one placeholder becomes its value, of
//! whatever type; in other strings the value stands as text. What has no value is left out,
//! together with the field or element it would have been in. `{"{{each name}}": part}` becomes
//! a list with one `part` an element, which is `{{item}}` in it.
//!
//! Values only ever become values: never a name, and never JSON that is read again.
//!
//! A template and its values multiply: what is filled in counts, and ends at [`MOST`].

use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Credentials;
use domain::sender::SendError;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use crate::http::{invalid, path_part};

/// The deepest template.
const DEEPEST: usize = 16;
/// The largest template, in bytes.
const LARGEST: usize = 16_384;
/// The longest text with placeholders that stands alone, such as a header's, in bytes.
const LONGEST_TEXT: usize = 4_096;
/// How many lists may stand one in the other.
const DEEPEST_EACH: usize = 2;
/// What one message may become, in bytes: its address, its headers and its body together, each
/// value as JSON writes it. Every placeholder and every part of a template that is looked at
/// counts too, so that the work is bounded where nothing comes of it.
pub(super) const MOST: usize = 256 * 1024;

/// Part of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    /// A field of the message.
    Field(&'a str),
    /// The value of a credential.
    Credential(&'a str),
    /// The same in base64, as Basic authentication has it.
    Basic(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or("has {{ without }}")?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let name = name.trim();
        pieces.push(match name.split_once(':') {
            Some(("credential", name)) => Piece::Credential(name),
            Some(("basic", name)) => Piece::Basic(name),
            Some(_) => return Err("has a placeholder of another kind than credential or basic"),
            None => Piece::Field(name),
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// What a template may name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// The first parts of fields.
    pub(super) fields: &'a [&'static str],
    /// Credentials.
    pub(super) credentials: &'a [&'static str],
}

/// What is wrong with a text that stands alone.
pub(super) fn check_text(text: &str, known: Known<'_>) -> Result<(), String> {
    if text.len() > LONGEST_TEXT {
        return Err(format!("has more than {LONGEST_TEXT} bytes"));
    }
    check_pieces(text, known)
}

fn check_pieces(text: &str, known: Known<'_>) -> Result<(), String> {
    for piece in pieces(text)? {
        let (name, names, what) = match piece {
            Piece::Text(_) => continue,
            Piece::Field(name) => {
                let part = |part: &str| {
                    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
                    !part.is_empty() && part.bytes().all(word)
                };
                if !name.split('.').all(part) {
                    return Err("has a placeholder that is no name such as media.url".to_owned());
                }
                (name.split('.').next().unwrap_or(name), known.fields, "fields")
            }
            Piece::Credential(name) | Piece::Basic(name) => {
                (name, known.credentials, "credentials")
            }
        };
        if !names.contains(&name) {
            return Err(format!("may name these {what}: {}", names.join(", ")));
        }
    }
    Ok(())
}

/// What is wrong with a template.
pub(super) fn check(template: &Value, known: Known<'_>) -> Result<(), String> {
    if template.to_string().len() > LARGEST {
        return Err(format!("has more than {LARGEST} bytes"));
    }
    check_at(template, known, Depth { left: DEEPEST, each: DEEPEST_EACH })
}

/// How much deeper a template may become.
#[derive(Clone, Copy, Debug)]
struct Depth {
    left: usize,
    each: usize,
}

fn check_at(template: &Value, known: Known<'_>, depth: Depth) -> Result<(), String> {
    let left = depth.left.checked_sub(1).ok_or_else(|| format!("is deeper than {DEEPEST}"))?;
    let depth = Depth { left, ..depth };
    match template {
        Value::String(text) => check_pieces(text, known),
        Value::Array(parts) => parts.iter().try_for_each(|part| check_at(part, known, depth)),
        Value::Object(fields) => {
            if let Some((name, part)) = each(fields) {
                let each = depth.each.checked_sub(1).ok_or_else(|| {
                    format!(
                        "has {{{{each}}}} in more than {DEEPEST_EACH} levels: write it in fewer"
                    )
                })?;
                check_pieces(&format!("{{{{{name}}}}}"), known)?;
                let fields = [known.fields, &["item"]].concat();
                return check_at(part, Known { fields: &fields, ..known }, Depth { each, ..depth });
            }
            if fields.keys().any(|name| name.contains("{{")) {
                return Err("has a placeholder in a field's name, other than each alone".to_owned());
            }
            fields.values().try_for_each(|part| check_at(part, known, depth))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// The list and the part of `{"{{each list}}": part}`.
fn each(fields: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, part) = fields.iter().next().filter(|_| fields.len() == 1)?;
    let name = name.strip_prefix("{{each ")?.strip_suffix("}}")?;
    Some((name.trim(), part))
}

/// Whether a placeholder of this name is somewhere in the template.
pub(super) fn names(template: &Value, name: &str) -> bool {
    match template {
        Value::String(text) => text_names(text, name),
        Value::Array(parts) => parts.iter().any(|part| names(part, name)),
        Value::Object(fields) => fields.values().any(|part| names(part, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The same of a text.
pub(super) fn text_names(text: &str, name: &str) -> bool {
    pieces(text).is_ok_and(|pieces| pieces.contains(&Piece::Field(name)))
}

/// What one message may still become: [`MOST`] bytes, whatever it is filled into.
#[derive(Debug)]
pub(super) struct Room(Cell<usize>);

impl Room {
    pub(super) const fn new() -> Self {
        Self(Cell::new(MOST))
    }

    /// Counts `bytes` before they are written.
    fn take(&self, bytes: usize) -> Result<(), SendError> {
        let left = self.0.get().checked_sub(bytes).ok_or_else(too_large)?;
        self.0.set(left);
        Ok(())
    }

    /// Counts a text as JSON writes it, which is the longest it may stand as.
    fn take_text(&self, text: &str) -> Result<(), SendError> {
        self.take(text.len().saturating_add(2))?;
        // What is escaped is counted on, and no further than there is room.
        text.bytes().try_for_each(|byte| match byte {
            b'"' | b'\\' => self.take(1),
            0..=0x1f => self.take(5),
            _ => Ok(()),
        })
    }

    /// Counts a value as JSON writes it. What is in the message has no more levels than content.
    fn take_value(&self, value: &Value) -> Result<(), SendError> {
        match value {
            Value::String(text) => self.take_text(text),
            // No number is longer.
            Value::Null | Value::Bool(_) | Value::Number(_) => self.take(25),
            Value::Array(values) => {
                self.take(2 + values.len())?;
                values.iter().try_for_each(|value| self.take_value(value))
            }
            Value::Object(fields) => {
                self.take(2 + 2 * fields.len())?;
                fields.iter().try_for_each(|(name, value)| {
                    self.take_text(name)?;
                    self.take_value(value)
                })
            }
        }
    }
}

/// The error that says so, and what to do.
pub(super) fn too_large() -> SendError {
    invalid(
        "settings.send",
        "makes more than 262144 bytes of this message: let its templates repeat less of it, or \
         send less at once",
    )
}

/// Where values come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// The message, and what else there is.
    pub(super) fields: &'a Map<String, Value>,
    /// The element at hand.
    item: Option<&'a Value>,
    pub(super) credentials: &'a Credentials,
    room: &'a Room,
}

impl<'a> Scope<'a> {
    pub(super) const fn new(
        fields: &'a Map<String, Value>,
        credentials: &'a Credentials,
        room: &'a Room,
    ) -> Self {
        Self { fields, item: None, credentials, room }
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
            .ok_or_else(|| invalid("credentials", "one that settings.send names is missing"))?;
        Ok(secret.expose_secret())
    }

    /// The text with its values; `None` if one is missing. `write` writes each value.
    fn fill(
        &self,
        text: &str,
        write: impl Fn(&str) -> Result<String, SendError>,
    ) -> Result<Option<String>, SendError> {
        self.room.take_text(text)?;
        let mut filled = String::with_capacity(text.len());
        let push = |filled: &mut String, value: &str| {
            self.room.take_text(value)?;
            filled.push_str(value);
            Ok::<_, SendError>(())
        };
        // A text that could not be read was refused when the integration was made.
        for piece in pieces(text).map_err(|reason| invalid("settings.send", reason))? {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Field(name) => {
                    let Some(value) = self.find(name) else { return Ok(None) };
                    // Before it is written: as text it is a second copy.
                    self.room.take_value(value)?;
                    push(&mut filled, &write(&plain(value))?)?;
                }
                Piece::Credential(name) => push(&mut filled, self.secret(name)?)?,
                Piece::Basic(name) => {
                    push(&mut filled, &STANDARD.encode(self.secret(name)?))?;
                }
            }
        }
        Ok(Some(filled))
    }

    /// Fills a text in; `None` if a value is missing.
    pub(super) fn text(&self, text: &str) -> Result<Option<String>, SendError> {
        self.fill(text, |value| Ok(value.to_owned()))
    }

    /// Fills a path and its query in: each value is escaped, and cannot lead up.
    pub(super) fn path(&self, path: &str) -> Result<Option<String>, SendError> {
        self.fill(path, |value| {
            if matches!(value, "" | "." | "..") {
                return Err(invalid("type", "has a value that cannot stand in an address"));
            }
            Ok(path_part(value))
        })
    }

    /// Fills a template in; `None` if nothing is left of it.
    pub(super) fn value(&self, template: &Value) -> Result<Option<Value>, SendError> {
        // Each part counts, also one that nothing comes of: what parts it from the next, and what
        // stands around it.
        self.room.take(if template.is_array() || template.is_object() { 3 } else { 1 })?;
        Ok(Some(match template {
            Value::String(text) => {
                if let Ok(pieces) = pieces(text)
                    && let [Piece::Field(name)] = pieces.as_slice()
                {
                    self.room.take(text.len())?;
                    let Some(value) = self.find(name) else { return Ok(None) };
                    self.room.take_value(value)?;
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
                    self.room.take(name.len())?;
                    let filled =
                        elements.iter().map(|item| Scope { item: Some(item), ..*self }.value(part));
                    let filled = filled.filter_map(Result::transpose);
                    return Ok(Some(Value::Array(filled.collect::<Result<_, _>>()?)));
                }
                let mut filled = Map::new();
                for (name, part) in fields {
                    self.room.take_text(name)?;
                    self.room.take(1)?;
                    if let Some(value) = self.value(part)? {
                        filled.insert(name.clone(), value);
                    }
                }
                Value::Object(filled)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                self.room.take_value(template)?;
                template.clone()
            }
        }))
    }
}

/// A value as text: JSON, if it is not one line.
pub(super) fn plain(value: &Value) -> String {
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
        Scope::new(&fields(), &credentials(), &Room::new()).value(template).unwrap()
    }

    #[test]
    fn a_value_keeps_its_type_alone_and_is_text_among_text() {
        assert_eq!(filled(&json!("{{location.latitude}}")), Some(json!(1.5)));
        assert_eq!(filled(&json!("at {{ location.latitude }}")), Some(json!("at 1.5")));
        assert_eq!(filled(&json!("+{{to}}")), Some(json!("+49155")));
        assert_eq!(filled(&json!([1, true, null])), Some(json!([1, true, null])));
        assert_eq!(filled(&json!("{{interactive.buttons.1.id}}")), Some(json!("2")));
    }

    #[test]
    fn a_value_is_never_read_again() {
        let template = json!({ "a": "{{text}}", "b": "<{{text}}>" });
        let expected = json!({ "a": "a\"b{{to}}", "b": "<a\"b{{to}}>" });
        assert_eq!(filled(&template), Some(expected));
    }

    #[test]
    fn what_has_no_value_is_left_out() {
        let template = json!({ "caption": "{{media.caption}}", "line": "see {{media.none}}",
            "kept": 1, "list": ["{{text.more}}", "x"], "inner": { "a": "{{reply_to}}" } });
        assert_eq!(filled(&template), Some(json!({ "kept": 1, "list": ["x"], "inner": {} })));
        assert_eq!(filled(&json!("{{reply_to}}")), None);
    }

    #[test]
    fn each_element_is_a_part() {
        let template = json!({ "buttons": { "{{each interactive.buttons}}":
            { "reply": { "id": "{{item.id}}", "title": "{{item.title}}" }, "to": "{{to}}" } } });
        let expected = json!({ "buttons": [
            { "reply": { "id": "1", "title": "One" }, "to": "49155" },
            { "reply": { "id": "2" }, "to": "49155" }] });
        assert_eq!(filled(&template), Some(expected));
        assert_eq!(filled(&json!({ "{{each contacts}}": 1 })), None);
    }

    #[test]
    fn a_value_in_an_address_is_escaped_and_leads_nowhere_else() {
        let (fields, credentials, room) = (fields(), credentials(), Room::new());
        let scope = Scope::new(&fields, &credentials, &room);
        let path = scope.path("/m/{{to}}?u={{media.url}}").unwrap().unwrap();
        assert_eq!(path, "/m/49155?u=https%3A%2F%2Fx.test%2F%3Fa%3Db%26c");
        assert_eq!(scope.path("/{{reply_to}}").unwrap(), None);
        let up = Map::from_iter([("to".to_owned(), json!(".."))]);
        assert!(Scope::new(&up, &credentials, &room).path("/{{to}}/x").is_err());
    }

    #[test]
    fn secrets_are_credentials_as_they_are_or_in_base64() {
        let (fields, credentials, room) = (fields(), credentials(), Room::new());
        let scope = Scope::new(&fields, &credentials, &room);
        assert_eq!(scope.text("Key {{credential:KEY}}").unwrap().unwrap(), "Key user:pass");
        assert_eq!(scope.text("Basic {{basic:KEY}}").unwrap().unwrap(), "Basic dXNlcjpwYXNz");
        let error = scope.text("{{credential:OTHER}}").unwrap_err();
        assert!(error.is_of_account(), "{error:?}");
    }

    #[test]
    fn a_template_names_what_there_is_and_stays_small() {
        let known = Known { fields: &["to", "text", "interactive"], credentials: &["KEY"] };
        let good = json!({ "a": ["{{to}}", { "b": "{{credential:KEY}} {{text}}" }],
            "c": { "{{each interactive.buttons}}": "{{item.id}}" } });
        assert_eq!(check(&good, known), Ok(()));
        let mut deep = json!(1);
        for _ in 0..DEEPEST {
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
            json!("x".repeat(LARGEST)),
            deep,
        ] {
            assert!(check(&bad, known).is_err(), "{bad}");
        }
        assert!(check_text(&"x".repeat(LONGEST_TEXT), known).is_ok());
        assert!(check_text(&"x".repeat(LONGEST_TEXT + 1), known).is_err());
    }

    /// Lists in lists, so many levels of them, each with one part.
    fn nested(levels: usize, part: Value) -> Value {
        (0..levels).fold(part, |part, _| json!({ "{{each interactive.buttons}}": part }))
    }

    #[test]
    fn a_list_stands_in_one_other_and_no_deeper() {
        let known = Known { fields: &["interactive"], credentials: &[] };
        assert_eq!(check(&nested(2, json!("{{item.id}}")), known), Ok(()));
        for levels in 3..=DEEPEST {
            let reason = check(&nested(levels, json!(1)), known).unwrap_err();
            assert!(reason.contains("{{each}}") || reason.contains("deeper"), "{reason}");
        }
        // What stands between them changes nothing.
        let between = json!({ "a": [nested(2, json!({ "b": nested(1, json!("x")) }))] });
        assert!(check(&between, known).is_err());
    }

    #[test]
    fn what_a_message_becomes_ends_where_the_error_says_what_to_do() {
        let elements = vec![json!({ "id": "1" }); 400];
        let fields = json!({ "interactive": { "buttons": elements }, "text": "x".repeat(4096) });
        let fields = fields.as_object().unwrap().clone();
        let credentials = credentials();
        for template in [
            // 400 times 400, though nothing is in it.
            nested(2, json!("{{item.none}}")),
            nested(2, json!("{{item.id}}")),
            nested(1, json!("{{text}}")),
            nested(1, json!("a {{text}}")),
            nested(2, json!({})),
            json!(vec!["{{text}}"; 100]),
            json!(vec!["{{interactive}}"; 100]),
        ] {
            let room = Room::new();
            let error = Scope::new(&fields, &credentials, &room).value(&template).unwrap_err();
            let SendError::Invalid { field, reason } = &error else { panic!("{error:?}") };
            assert_eq!(*field, "settings.send");
            assert!(reason.contains("262144") && reason.contains("repeat less"), "{reason}");
            assert_eq!(error.fault(), Fault::Permanent);
        }
        let room = Room::new();
        let filled =
            Scope::new(&fields, &credentials, &room).value(&nested(1, json!("{{item.id}}")));
        assert_eq!(filled.unwrap().unwrap().as_array().unwrap().len(), 400);
    }

    #[test]
    fn address_headers_and_body_share_one_room() {
        let fields = Map::from_iter([("text".to_owned(), json!("x".repeat(100_000)))]);
        let (credentials, room) = (credentials(), Room::new());
        let scope = Scope::new(&fields, &credentials, &room);
        // Counted where it is read and where it is written.
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
        // Each makes thousands of values.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_declared_no_message_becomes_larger_than_that(
            template in any(prop_oneof![
                "[a-z{}\"\\\\\n\u{1}]{0,12}".prop_map(Value::from),
                "(a\u{1}|)\\{\\{(list|item|item\\.a|text|deep\\.list)\\}\\}(b|)".prop_map(Value::from),
                Just(json!(1.5)),
            ].boxed()),
            list in prop::collection::vec(any("[a\u{1}\"é]{0,40}".prop_map(Value::from).boxed()), 0..200),
            size in 0..200_000_usize,
        ) {
            let fields = json!({ "text": "x\u{1}".repeat(size), "deep": { "list": &list }, "list": list });
            let fields = fields.as_object().unwrap().clone();
            let credentials = Credentials::default();
            let room = Room::new();
            if let Ok(Some(filled)) = Scope::new(&fields, &credentials, &room).value(&template) {
                prop_assert!(filled.to_string().len() <= MOST);
            }
        }
    }

    #[test]
    fn a_name_is_found_wherever_it_stands() {
        assert!(names(&json!({ "a": ["x{{id}}"] }), "id"));
        assert!(!names(&json!({ "a": ["id", "{{text}}"] }), "id"));
    }
}
