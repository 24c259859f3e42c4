//! Validation of requests to send a message.
//!
//! As Infobip does, it reports every error of a request, each under the path of its field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The errors of a request, by field path.
#[derive(Debug, Default, PartialEq)]
pub struct FieldErrors(BTreeMap<String, Vec<String>>);

impl FieldErrors {
    fn add(&mut self, path: &str, reason: impl Into<String>) {
        self.0.entry(path.to_owned()).or_default().push(reason.into());
    }

    /// The errors in the format of `validationErrors`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!(self.0)
    }
}

/// A valid message.
#[derive(Clone, Debug, PartialEq)]
pub struct Send {
    /// The last part of the request path: `text`, `interactive/buttons`.
    pub kind: String,
    /// The sender's number.
    pub from: String,
    /// The recipient's number, digits only.
    pub to: String,
    /// The caller's id for the message.
    pub message_id: Option<String>,
    /// The caller's data, returned in reports.
    pub callback_data: Option<String>,
    /// The address for its reports.
    pub notify_url: Option<String>,
    /// The body of a text message.
    pub text: Option<String>,
    /// Name and language of a template.
    pub template: Option<(String, String)>,
    /// The message as received.
    pub body: Value,
}

/// Checks a request to `/whatsapp/1/message/{kind}`; `None` if there is no such kind.
///
/// # Errors
/// All errors of the request.
#[must_use]
pub fn check(kind: &str, body: &Value) -> Option<Result<Vec<Send>, FieldErrors>> {
    let content = content_of(kind)?;
    let mut errors = FieldErrors::default();
    let sends: Vec<_> = if kind == "template" {
        let mut fields = Fields::new(&mut errors, "", body);
        fields.text("bulkId", 0..=100, false);
        let messages = fields.list("messages", 1..=1000);
        fields.done();
        let each = messages.iter().enumerate();
        each.filter_map(|(n, one)| {
            message(&mut errors, &format!("messages[{n}]."), kind, content, one)
        })
        .collect()
    } else {
        message(&mut errors, "", kind, content, body).into_iter().collect()
    };
    Some(if errors.0.is_empty() { Ok(sends) } else { Err(errors) })
}

type Content = fn(&mut Fields<'_>);

fn content_of(kind: &str) -> Option<Content> {
    Some(match kind {
        "text" => |content| {
            let text = content.text("text", 1..=4096, true).unwrap_or_default();
            if content.flag("previewUrl") && !text.contains("http://") && !text.contains("https://")
            {
                content.error("previewUrl", "text must contain a URL");
            }
        },
        "image" | "video" => |content| {
            content.url("mediaUrl", true);
            content.text("caption", 0..=3000, false);
        },
        "document" => |content| {
            content.url("mediaUrl", true);
            content.text("caption", 0..=3000, false);
            content.text("filename", 0..=240, false);
        },
        "audio" | "sticker" => |content| {
            content.url("mediaUrl", true);
        },
        "location" => |content| {
            content.degrees("latitude", 90.0);
            content.degrees("longitude", 180.0);
            content.text("name", 0..=1000, false);
            content.text("address", 0..=1000, false);
        },
        "contact" => contacts,
        "interactive/buttons" => |content| {
            interactive(content, &["TEXT", "IMAGE", "VIDEO", "DOCUMENT"]);
            content.object("action", true, buttons);
        },
        "interactive/list" => |content| {
            interactive(content, &["TEXT"]);
            content.object("action", true, list);
        },
        "template" => template,
        _ => return None,
    })
}

fn message(
    errors: &mut FieldErrors,
    path: &str,
    kind: &str,
    content: Content,
    body: &Value,
) -> Option<Send> {
    let mut fields = Fields::new(errors, path, body);
    let from = fields.number("from");
    let to = fields.number("to");
    let message_id = fields.text("messageId", 1..=50, false);
    let callback_data = fields.text("callbackData", 0..=4000, false);
    let notify_url = fields.url("notifyUrl", false);
    fields.take("urlOptions");
    fields.take("entityId");
    fields.take("applicationId");
    if kind == "template" {
        fields.take("smsFailover");
    }
    fields.object("content", true, content);
    fields.done();
    let inside = |name: &str| body.pointer(name).and_then(Value::as_str).map(str::to_owned);
    let template = inside("/content/templateName").zip(inside("/content/language"));
    Some(Send {
        kind: kind.to_owned(),
        from: from?,
        to: to?,
        message_id,
        callback_data,
        notify_url,
        text: inside("/content/text"),
        template,
        body: body.clone(),
    })
}

fn contacts(content: &mut Fields<'_>) {
    content.each("contacts", 1..=100, |card| {
        card.object("name", true, |name| {
            name.text("firstName", 1..=1000, true);
            name.text("formattedName", 1..=1000, true);
            for other in ["lastName", "middleName", "nameSuffix", "namePrefix"] {
                name.text(other, 0..=1000, false);
            }
        });
        card.each("phones", 0..=100, |phone| {
            phone.text("phone", 0..=100, false);
            phone.text("waId", 0..=100, false);
            phone.one_of("type", &["CELL", "MAIN", "IPHONE", "HOME", "WORK"], false);
        });
        card.each("emails", 0..=100, |email| {
            email.text("email", 0..=1000, false);
            email.one_of("type", &["HOME", "WORK"], false);
        });
        for other in ["addresses", "birthday", "org", "urls"] {
            card.take(other);
        }
    });
}

fn interactive(content: &mut Fields<'_>, headers: &'static [&'static str]) {
    content.object("body", true, |body| {
        body.text("text", 1..=1024, true);
    });
    content.object("footer", false, |footer| {
        footer.text("text", 1..=60, true);
    });
    content.object("header", false, |header| {
        match header.one_of("type", headers, true).as_deref() {
            Some("TEXT") => {
                header.text("text", 1..=60, true);
            }
            Some("DOCUMENT") => {
                header.url("mediaUrl", true);
                header.text("filename", 0..=240, false);
            }
            Some(_) => {
                header.url("mediaUrl", true);
            }
            None => {}
        }
    });
}

fn buttons(action: &mut Fields<'_>) {
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    action.each("buttons", 1..=3, |button| {
        button.one_of("type", &["REPLY"], true);
        let id = button.text("id", 1..=256, true).unwrap_or_default();
        let title = button.text("title", 1..=20, true).unwrap_or_default();
        if id.trim() != id {
            button.error("id", "must have no leading or trailing whitespace");
        }
        if !ids.insert(id) {
            button.error("id", "must be unique");
        }
        if !titles.insert(title) {
            button.error("title", "must be unique");
        }
    });
}

fn list(action: &mut Fields<'_>) {
    action.text("title", 1..=20, true);
    let (mut ids, mut rows) = (BTreeSet::new(), 0);
    let several = action.count("sections") > 1;
    action.each("sections", 1..=10, |section| {
        if section.text("title", 0..=24, several).is_some_and(|title| several && title.is_empty()) {
            section.error("title", "must not be blank");
        }
        section.each("rows", 1..=10, |row| {
            rows += 1;
            if !ids.insert(row.text("id", 1..=200, true).unwrap_or_default()) {
                row.error("id", "must be unique across all sections");
            }
            row.text("title", 1..=24, true);
            row.text("description", 0..=72, false);
        });
    });
    if rows > 10 {
        action.error("sections", "a message can have up to ten rows");
    }
}

fn template(content: &mut Fields<'_>) {
    let name = content.text("templateName", 1..=512, true).unwrap_or_default();
    if !name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_') {
        content.error("templateName", "must only contain lowercase alphanumerics and underscores");
    }
    content.text("language", 2..=7, true);
    content.object("templateData", true, |data| {
        data.object("body", true, |body| {
            body.needed("placeholders");
            for placeholder in body.list("placeholders", 0..=1000) {
                if placeholder.as_str().is_none_or(|text| text.trim().is_empty()) {
                    body.error("placeholders", "must not be blank");
                }
            }
        });
        data.object("header", false, |header| {
            let kinds = &["TEXT", "IMAGE", "VIDEO", "DOCUMENT", "LOCATION"];
            match header.one_of("type", kinds, true).as_deref() {
                Some("TEXT") => {
                    header.text("placeholder", 1..=60, true);
                }
                Some("LOCATION") => {
                    header.degrees("latitude", 90.0);
                    header.degrees("longitude", 180.0);
                }
                Some("DOCUMENT") => {
                    header.url("mediaUrl", true);
                    header.text("filename", 1..=240, true);
                }
                Some(_) => {
                    header.url("mediaUrl", true);
                }
                None => {}
            }
        });
        data.each("buttons", 0..=10, |button| {
            let simple = ["QUICK_REPLY", "URL", "COPY_CODE"];
            let others = ["CATALOG", "FLOW", "MULTI_PRODUCT", "ORDER_DETAILS"];
            let kind = button.one_of("type", &[&simple[..], &others[..]].concat(), true);
            if kind.is_some_and(|kind| others.contains(&kind.as_str())) {
                button.left.clear();
            } else {
                button.text("parameter", 1..=2000, true);
            }
        });
        for other in ["carousel", "limitedTimeOffer", "orderStatus"] {
            data.take(other);
        }
    });
}

/// An object whose fields are taken one by one; the remaining ones are unknown.
struct Fields<'a> {
    errors: &'a mut FieldErrors,
    path: String,
    left: Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn new(errors: &'a mut FieldErrors, path: &str, value: &Value) -> Self {
        let left = value.as_object().cloned();
        if left.is_none() {
            errors.add(path.trim_end_matches('.'), "must be an object");
        }
        Self { errors, path: path.to_owned(), left: left.unwrap_or_default() }
    }

    fn done(self) {
        for name in self.left.keys() {
            self.errors.add(&format!("{}{name}", self.path), "is unknown");
        }
    }

    fn error(&mut self, name: &str, reason: impl Into<String>) {
        self.errors.add(&format!("{}{name}", self.path), reason);
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    fn needed(&mut self, name: &str) {
        if self.left.get(name).is_none_or(Value::is_null) {
            self.error(name, "must not be null");
        }
    }

    fn count(&self, name: &str) -> usize {
        self.left.get(name).and_then(Value::as_array).map_or(0, Vec::len)
    }

    fn text(
        &mut self,
        name: &str,
        length: std::ops::RangeInclusive<usize>,
        needed: bool,
    ) -> Option<String> {
        let value = self.take(name);
        if value.is_none() && needed {
            self.error(name, "must not be null");
        }
        let Value::String(text) = value? else {
            self.error(name, "must be a string");
            return None;
        };
        if !length.contains(&text.chars().count()) {
            let (least, most) = (length.start(), length.end());
            self.error(name, format!("size must be between {least} and {most}"));
        }
        if needed && text.trim().is_empty() {
            self.error(name, "must not be blank");
        }
        Some(text)
    }

    fn number(&mut self, name: &str) -> Option<String> {
        let text = self.text(name, 1..=24, true)?;
        let digits = text.strip_prefix('+').unwrap_or(&text);
        if digits.len() < 6 || !digits.bytes().all(|c| c.is_ascii_digit()) {
            self.error(name, "must be in international format");
        }
        Some(digits.to_owned())
    }

    fn url(&mut self, name: &str, needed: bool) -> Option<String> {
        let text = self.text(name, 1..=2048, needed)?;
        let web = url::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !web {
            self.error(name, "must be a valid URL starting with https:// or http://");
        }
        Some(text)
    }

    fn one_of(&mut self, name: &str, known: &[&str], needed: bool) -> Option<String> {
        let text = self.text(name, 1..=100, needed)?;
        if known.contains(&text.as_str()) {
            return Some(text);
        }
        self.error(name, format!("must be one of {}", known.join(", ")));
        None
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.error(name, "must be a boolean");
                false
            }
            None => false,
        }
    }

    fn degrees(&mut self, name: &str, most: f64) {
        match self.take(name).map(|value| value.as_f64()) {
            None => self.error(name, "must not be null"),
            Some(Some(degrees)) if degrees.abs() <= most => {}
            Some(_) => self.error(name, format!("must be between -{most} and {most}")),
        }
    }

    fn list(&mut self, name: &str, length: std::ops::RangeInclusive<usize>) -> Vec<Value> {
        let list = match self.take(name) {
            None if length.contains(&0) => return Vec::new(),
            Some(Value::Array(list)) => list,
            None => {
                self.error(name, "must not be null");
                return Vec::new();
            }
            Some(_) => {
                self.error(name, "must be a list");
                return Vec::new();
            }
        };
        if !length.contains(&list.len()) {
            let (least, most) = (length.start(), length.end());
            self.error(name, format!("size must be between {least} and {most}"));
        }
        list
    }

    fn each(
        &mut self,
        name: &str,
        length: std::ops::RangeInclusive<usize>,
        mut check: impl FnMut(&mut Fields<'_>),
    ) {
        for (n, one) in self.list(name, length).iter().enumerate() {
            let path = format!("{}{name}[{n}].", self.path);
            let mut fields = Fields::new(self.errors, &path, one);
            check(&mut fields);
            fields.done();
        }
    }

    fn object(&mut self, name: &str, needed: bool, check: impl FnOnce(&mut Fields<'_>)) {
        match self.take(name) {
            None if needed => self.error(name, "must not be null"),
            None => {}
            Some(value) => {
                let path = format!("{}{name}.", self.path);
                let mut fields = Fields::new(self.errors, &path, &value);
                check(&mut fields);
                fields.done();
            }
        }
    }
}

#[cfg(test)]
mod tests;
