//! The largest request that the settings can make of a permitted message, so that settings whose
//! requests could be too large are refused before the first message.
//!
//! The bound counts what a request counts when it is made (`template.rs`), with each value at its
//! maximum size. It assumes that no character of the message needs an escape in JSON, in a form or
//! in a URL.

use std::collections::BTreeMap;

use domain::content::MAX_CONTENT_BYTES;
use domain::integration::{FieldError, MAX_CREDENTIAL_BYTES};
use serde_json::Value;

use super::MAX_NAME_BYTES;
use super::sending::{Encoding, Kind, Message, Send};
use super::template::{
    MAX_ELEMENTS, MAX_MESSAGE_BYTES, Piece, each, pieces, text_size, value_size,
};

/// Maximum size of a message's content as JSON, in bytes, after the id of the message that it
/// reacts to was replaced by that of the provider.
const CONTENT_BYTES: usize = MAX_CONTENT_BYTES + MAX_NAME_BYTES;
/// Maximum size of a message id of the hub, and of a phone number, in bytes.
const ID_BYTES: usize = 64;
/// Maximum size of the URL for receipts, in bytes.
const CALLBACK_BYTES: usize = 2_048;
/// Maximum size of an escape in a form or a URL, in bytes: `%` and two digits.
const PERCENT_BYTES: usize = 3;

/// Checks that no permitted message makes a request of more than [`MAX_MESSAGE_BYTES`] bytes.
///
/// `from` is the sender of the messages, and `base_url` precedes their path.
pub(super) fn check(from: &str, base_url: Option<&str>, send: &Send) -> Result<(), FieldError> {
    let base_url = base_url.map_or(0, str::len);
    let measure = |encoding| Measure { encoding, from: text_size(from), uses: BTreeMap::new() };
    let headers = send.headers.iter().map(|(name, value)| {
        name.len() + measure(Encoding::Json).text(value, &Visits::ONCE, Position::Inline)
    });
    let fixed = base_url + headers.sum::<usize>();
    if fixed > MAX_MESSAGE_BYTES {
        let reason = format!(
            "can have {fixed} bytes with the credentials, and a request has at most \
             {MAX_MESSAGE_BYTES} bytes: remove headers, or shorten their values"
        );
        return Err(FieldError::new("settings.send.headers", reason));
    }
    for (kind, message) in &send.messages {
        let path = message.path.as_ref().unwrap_or(&send.path);
        let mut request = measure(Encoding::Json);
        let path = request.text(path, &Visits::ONCE, Position::Path);
        let body = request.body(message);
        request.check(*kind, fixed + path + body)?;
        if send.encoding == Encoding::Form {
            let mut form = measure(Encoding::Form);
            let body = form.body(message) * PERCENT_BYTES;
            form.check(*kind, body)?;
        }
    }
    Ok(())
}

/// Position of a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// The only content of a JSON string, which becomes the value.
    Whole,
    /// In other text.
    Inline,
    /// In a path.
    Path,
}

/// How often the parts of a message are visited where a template is filled in.
#[derive(Clone, Debug)]
struct Visits {
    /// Of the message's fields.
    fields: usize,
    /// The path of the current element of `{{each}}`, and how often each element is visited.
    item: Option<(String, usize)>,
}

impl Visits {
    /// Outside of every `{{each}}`.
    const ONCE: Self = Self { fields: 1, item: None };
}

/// Measurement of one request.
struct Measure {
    encoding: Encoding,
    /// Size of the setting `from`.
    from: usize,
    /// How often each field of the content is written at most, by its path.
    uses: BTreeMap<String, usize>,
}

impl Measure {
    /// Returns the maximum size of the body without the content.
    fn body(&mut self, message: &Message) -> usize {
        let mut element = 0;
        let outside = self.value(&message.body, &Visits::ONCE, &mut element);
        outside + MAX_ELEMENTS * element
    }

    /// Returns the size of a part without the content, for one visit. `element` becomes at least
    /// the size of an element of each `{{each}}` in it.
    fn value(&mut self, template: &Value, visits: &Visits, element: &mut usize) -> usize {
        match template {
            Value::String(text) => {
                if let Ok([Piece::Field(name)]) = pieces(text).as_deref() {
                    return 1 + text.len() + self.field(name, visits, Position::Whole);
                }
                1 + self.text(text, visits, Position::Inline)
            }
            Value::Array(parts) => {
                3 + parts.iter().map(|part| self.value(part, visits, element)).sum::<usize>()
            }
            Value::Object(fields) => {
                if let Some((name, part)) = each(fields) {
                    let (list, visits) = path(name, visits);
                    let item = Some((format!("{list}.*"), visits));
                    let inner = Visits { fields: MAX_ELEMENTS, item };
                    let size = self.value(part, &inner, element);
                    *element = size.max(*element);
                    return 3 + name.len();
                }
                let fields = fields
                    .iter()
                    .map(|(name, part)| text_size(name) + 1 + self.value(part, visits, element));
                3 + fields.sum::<usize>()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 1 + value_size(template),
        }
    }

    /// Returns the size of a text without the content.
    fn text(&mut self, text: &str, visits: &Visits, position: Position) -> usize {
        // Texts were validated before.
        let pieces = pieces(text).unwrap_or_default();
        let inserted = pieces.into_iter().map(|piece| match piece {
            Piece::Text(_) => 0,
            Piece::Field(name) => self.field(name, visits, position),
            // Any of its characters may need an escape in JSON.
            Piece::Credential(_) => 2 * MAX_CREDENTIAL_BYTES + 2,
            Piece::Basic(_) => MAX_CREDENTIAL_BYTES.div_ceil(3) * 4 + 2,
        });
        text_size(text) + inserted.sum::<usize>()
    }

    /// Counts a placeholder. Returns its size if it is not a part of the content.
    fn field(&mut self, name: &str, visits: &Visits, position: Position) -> usize {
        let common = match name {
            "id" | "to" => ID_BYTES,
            "from" => self.from,
            "reply_to" => MAX_NAME_BYTES + 2,
            "callback_url" => CALLBACK_BYTES,
            _ => {
                let (path, times) = path(name, visits);
                let times = times.saturating_mul(self.copies(&path, position));
                let uses = self.uses.entry(path).or_default();
                *uses = uses.saturating_add(times);
                // The quotation marks around JSON in a text.
                return 2;
            }
        };
        if position == Position::Path { common * PERCENT_BYTES } else { common }
    }

    /// Returns how many bytes are counted at most for each byte of a value.
    fn copies(&self, path: &str, position: Position) -> usize {
        if is_text(path) {
            return 1;
        }
        match (position, self.encoding) {
            (Position::Whole, Encoding::Json) => 1,
            (Position::Whole, Encoding::Form) => PERCENT_BYTES,
            // Once as JSON, and once as a text in which its quotation marks need an escape.
            (Position::Inline, Encoding::Json) => 3,
            // Both characters of such an escape need one in the form.
            (Position::Inline, Encoding::Form) => 2 * PERCENT_BYTES,
            (Position::Path, _) => 1 + PERCENT_BYTES,
        }
    }

    /// Checks the size of a request that has `fixed` bytes without the content.
    fn check(&self, kind: Kind, fixed: usize) -> Result<(), FieldError> {
        let error = |reason| {
            Err(FieldError::new(&format!("settings.send.messages.{}.body", kind.name()), reason))
        };
        if fixed > MAX_MESSAGE_BYTES {
            return error(format!(
                "can make a request of {fixed} bytes even if the message is empty, and a request \
                 has at most {MAX_MESSAGE_BYTES} bytes: shorten it, especially what {{{{each}}}} \
                 repeats for up to {MAX_ELEMENTS} elements"
            ));
        }
        // A byte of the content is written by each placeholder whose value contains it.
        let uses = |path: &str| {
            let parts = self.uses.iter().filter(|(part, _)| is_within(path, part));
            parts.fold(0_usize, |sum, (_, uses)| sum.saturating_add(*uses))
        };
        let most = self.uses.keys().map(|path| (uses(path), path)).max();
        let Some((uses, path)) = most else { return Ok(()) };
        let size = uses.saturating_mul(CONTENT_BYTES).saturating_add(fixed);
        if size <= MAX_MESSAGE_BYTES {
            return Ok(());
        }
        error(format!(
            "repeats `{path}` so often that a message can make a request of {size} bytes, and a \
             request has at most {MAX_MESSAGE_BYTES} bytes: insert it fewer times, outside of \
             {{{{each}}}}, and if it is not a text, as the only content of a string"
        ))
    }
}

/// Returns the path of a field in the content, with `*` for an element of a list, and how often it
/// is visited.
fn path(name: &str, visits: &Visits) -> (String, usize) {
    let (start, times, rest) = match (name.strip_prefix("item"), &visits.item) {
        (Some(rest), Some((item, times))) if rest.is_empty() || rest.starts_with('.') => {
            (item.as_str(), *times, rest)
        }
        _ => ("", visits.fields, name),
    };
    let is_index = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let rest = rest.split('.').map(|part| if is_index(part) { "*" } else { part });
    (format!("{start}{}", rest.collect::<Vec<_>>().join(".")), times)
}

/// Returns whether `path` is `part` or a field within it.
fn is_within(path: &str, part: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns whether the field is a text, if a message has it.
fn is_text(path: &str) -> bool {
    if is_within(path, "template.components") {
        return false;
    }
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    match name {
        "*" => parent.ends_with(".phones") || parent.ends_with(".emails"),
        "text" | "url" | "provider_media_id" | "mime_type" | "caption" | "filename" | "name"
        | "address" | "message_id" | "emoji" | "language" | "body" | "header" | "footer"
        | "button" | "id" | "title" | "description" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
