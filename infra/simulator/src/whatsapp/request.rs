//! Validation of `POST /{phone-number-id}/messages`.

use serde_json::{Map, Value};

use super::error::GraphError;

type Object = Map<String, Value>;

/// A valid request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A message.
    Send(Send),
    /// A read receipt.
    Read {
        /// The customer's message.
        message_id: String,
    },
}

/// A valid message.
#[derive(Clone, Debug, PartialEq)]
pub struct Send {
    /// The recipient as it appears in the request.
    pub input: String,
    /// The recipient's WhatsApp id: digits only.
    pub wa_id: String,
    /// Its type.
    pub kind: String,
    /// `biz_opaque_callback_data`.
    pub opaque: Option<String>,
    /// Name and language of the template.
    pub template: Option<(String, String)>,
    /// The id of the message that it reacts to.
    pub reacts_to: Option<String>,
    /// The text to show in the log.
    pub text: Option<String>,
}

/// The message types, with their keys.
const TYPES: [(&str, &[&str]); 11] = [
    ("audio", &["id", "link", "voice"]),
    ("contacts", &[]),
    ("document", &["id", "link", "caption", "filename"]),
    ("image", &["id", "link", "caption"]),
    ("interactive", &["type", "header", "body", "footer", "action"]),
    ("location", &["latitude", "longitude", "name", "address"]),
    ("reaction", &["message_id", "emoji"]),
    ("sticker", &["id", "link"]),
    ("template", &["name", "language", "components", "namespace"]),
    ("text", &["body", "preview_url"]),
    ("video", &["id", "link", "caption"]),
];

/// Interactive types other than `button` and `list`; only their envelope is validated.
const OTHER_INTERACTIVE: [&str; 10] = [
    "address_message",
    "call_permission_request",
    "catalog_message",
    "cta_url",
    "flow",
    "location_request_message",
    "order_details",
    "order_status",
    "product",
    "product_list",
];

/// Validates the body of a request. `media_exists` tests whether the number has a media id.
///
/// # Errors
/// The error with which the Graph API answers.
pub fn check(body: &Value, media_exists: &dyn Fn(&str) -> bool) -> Result<Request, GraphError> {
    let Some(body) = body.as_object() else { return Err(GraphError::no_json()) };
    if text(body, "messaging_product", "messaging_product")? != "whatsapp" {
        return Err(GraphError::parameter("messaging_product", "must be one of {WHATSAPP}."));
    }
    if body.contains_key("status") { read_receipt(body) } else { message(body, media_exists) }
}

fn read_receipt(body: &Object) -> Result<Request, GraphError> {
    only(body, "", &["messaging_product", "status", "message_id", "typing_indicator"])?;
    if text(body, "status", "status")? != "read" {
        return Err(GraphError::parameter("status", "must be one of {READ}."));
    }
    if let Some(indicator) = body.get("typing_indicator") {
        let indicator = as_object(indicator, "typing_indicator")?;
        if text(indicator, "type", "typing_indicator['type']")? != "text" {
            return Err(GraphError::parameter(
                "typing_indicator['type']",
                "must be one of {TEXT}.",
            ));
        }
    }
    Ok(Request::Read { message_id: text(body, "message_id", "message_id")?.to_owned() })
}

fn message(body: &Object, media_exists: &dyn Fn(&str) -> bool) -> Result<Request, GraphError> {
    if text(body, "recipient_type", "recipient_type")? != "individual" {
        return Err(GraphError::parameter("recipient_type", "must be one of {INDIVIDUAL}."));
    }
    let input = text(body, "to", "to")?.to_owned();
    let wa_id = wa_id(&input)
        .ok_or_else(|| GraphError::parameter("to", "must be a valid phone number."))?;
    let kind = text(body, "type", "type")?;
    let Some((kind, keys)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        let names: Vec<String> = TYPES.iter().map(|(name, _)| name.to_uppercase()).collect();
        let rule = format!("must be one of {{{}}} - got \"{kind}\".", names.join(", "));
        return Err(GraphError::parameter("type", &rule));
    };
    only(
        body,
        "",
        &[
            "messaging_product",
            "recipient_type",
            "to",
            "type",
            "context",
            "biz_opaque_callback_data",
            kind,
        ],
    )?;
    let opaque = optional(body, "biz_opaque_callback_data", "biz_opaque_callback_data", 512)?;
    if let Some(context) = body.get("context") {
        let context = as_object(context, "context")?;
        only(context, "context", &["message_id"])?;
        text(context, "message_id", "context['message_id']")?;
    }

    let mut send = Send {
        input,
        wa_id,
        kind: (*kind).to_owned(),
        opaque: opaque.map(ToOwned::to_owned),
        template: None,
        reacts_to: None,
        text: None,
    };
    let content = body.get(*kind).ok_or_else(|| GraphError::required(kind))?;
    if *kind == "contacts" {
        contacts(content)?;
        return Ok(Request::Send(send));
    }
    let content = as_object(content, kind)?;
    only(content, kind, keys)?;
    match *kind {
        "text" => {
            send.text = Some(at_most(content, "body", "text['body']", 4096)?.to_owned());
            if content.get("preview_url").is_some_and(|value| !value.is_boolean()) {
                return Err(GraphError::parameter("text['preview_url']", "must be a boolean."));
            }
        }
        "reaction" => {
            let to = text(content, "message_id", "reaction['message_id']")?;
            send.reacts_to = Some(to.to_owned());
            // An empty emoji removes the reaction.
            let Some(emoji) = content.get("emoji").and_then(Value::as_str) else {
                return Err(GraphError::required("reaction['emoji']"));
            };
            send.text = Some(emoji.to_owned());
        }
        "location" => {
            coordinate(content, "latitude", 90.0)?;
            coordinate(content, "longitude", 180.0)?;
            optional(content, "name", "location['name']", 1000)?;
            optional(content, "address", "location['address']", 1000)?;
        }
        "template" => send.template = Some(template(content)?),
        "interactive" => send.text = interactive(content)?,
        _ => send.text = media(content, kind, media_exists)?,
    }
    Ok(Request::Send(send))
}

/// The WhatsApp id of a phone number in any usual format.
fn wa_id(input: &str) -> Option<String> {
    let readable = |c: char| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')');
    let digits: String = input.chars().filter(char::is_ascii_digit).collect();
    (input.chars().all(readable) && (7..=15).contains(&digits.len())).then_some(digits)
}

fn media(
    content: &Object,
    kind: &str,
    media_exists: &dyn Fn(&str) -> bool,
) -> Result<Option<String>, GraphError> {
    match (content.get("id"), content.get("link")) {
        (Some(_), Some(_)) => {
            let rule = "and link exclude each other: exactly one is required.";
            return Err(GraphError::parameter(&format!("{kind}['id']"), rule));
        }
        (None, None) => return Err(GraphError::required(&format!("{kind}['id'] or ['link']"))),
        (Some(_), None) => {
            let id = text(content, "id", &format!("{kind}['id']"))?;
            if !media_exists(id) {
                let rule =
                    "is not a valid whatsapp business account media attachment ID".to_owned();
                return Err(GraphError::parameter(&format!("{kind}['id']"), &rule));
            }
        }
        (None, Some(_)) => {
            let name = format!("{kind}['link']");
            let link = text(content, "link", &name)?;
            let web = url::Url::parse(link)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !web {
                return Err(GraphError::parameter(&name, "must be an http or https URL."));
            }
        }
    }
    optional(content, "filename", &format!("{kind}['filename']"), 240)?;
    let caption = optional(content, "caption", &format!("{kind}['caption']"), 1024)?;
    Ok(caption.map(ToOwned::to_owned))
}

fn template(content: &Object) -> Result<(String, String), GraphError> {
    let name = at_most(content, "name", "template['name']", 512)?;
    let language = content.get("language");
    let language = language.ok_or_else(|| GraphError::required("template['language']"))?;
    let language = as_object(language, "template['language']")?;
    only(language, "template['language']", &["code", "policy"])?;
    let code = text(language, "code", "template['language']['code']")?;
    if language.get("policy").is_some_and(|policy| policy != "deterministic") {
        let name = "template['language']['policy']";
        return Err(GraphError::parameter(name, "must be one of {DETERMINISTIC}."));
    }
    for (at, component) in array(content, "components", "template['components']")?.enumerate() {
        let path = format!("template['components'][{at}]");
        let component = as_object(component, &path)?;
        let kind = text(component, "type", &format!("{path}['type']"))?.to_lowercase();
        let known = ["header", "body", "footer", "button", "carousel", "limited_time_offer"];
        if !known.contains(&kind.as_str()) {
            return Err(GraphError::parameter(&format!("{path}['type']"), "is unknown."));
        }
        if kind == "button"
            && !(component.contains_key("sub_type") && component.contains_key("index"))
        {
            return Err(GraphError::required(&format!("{path}['sub_type'] and ['index']")));
        }
        for (at, parameter) in array(component, "parameters", &path)?.enumerate() {
            let path = format!("{path}['parameters'][{at}]");
            let parameter = as_object(parameter, &path)?;
            let kind = text(parameter, "type", &format!("{path}['type']"))?;
            if !parameter.contains_key(kind) {
                let details = format!(
                    "Parameter '{kind}' is mandatory for component parameter type '{kind}'"
                );
                return Err(GraphError::numbered(100, Some(details)));
            }
        }
    }
    Ok((name.to_owned(), code.to_owned()))
}

fn interactive(content: &Object) -> Result<Option<String>, GraphError> {
    let kind = text(content, "type", "interactive['type']")?;
    let action = content.get("action");
    let action = action.ok_or_else(|| GraphError::required("interactive['action']"))?;
    let action = as_object(action, "interactive['action']")?;
    if !matches!(kind, "button" | "list") {
        if OTHER_INTERACTIVE.contains(&kind) {
            return Ok(None);
        }
        return Err(GraphError::parameter("interactive['type']", "is unknown."));
    }
    let body = content.get("body");
    let body = body.ok_or_else(|| GraphError::required("interactive['body']"))?;
    let body = as_object(body, "interactive['body']")?;
    let shown = at_most(body, "text", "interactive['body']['text']", 1024)?;
    if let Some(footer) = content.get("footer") {
        let footer = as_object(footer, "interactive['footer']")?;
        value_length(footer, "text", "Footer text", 60)?;
    }
    if let Some(header) = content.get("header") {
        let header = as_object(header, "interactive['header']")?;
        match text(header, "type", "interactive['header']['type']")? {
            "text" => {
                value_length(header, "text", "Header text", 60)?;
            }
            media @ ("image" | "video" | "document") if kind == "button" => {
                let path = format!("interactive['header']['{media}']");
                let object = header.get(media).ok_or_else(|| GraphError::required(&path))?;
                let object = as_object(object, &path)?;
                if object.contains_key("id") == object.contains_key("link") {
                    return Err(GraphError::required(&format!("{path}['id'] or ['link']")));
                }
            }
            _ => return Err(GraphError::parameter("interactive['header']['type']", "is unknown.")),
        }
    }
    if kind == "button" {
        buttons(action)?;
    } else {
        list(action)?;
    }
    Ok(Some(shown.to_owned()))
}

fn buttons(action: &Object) -> Result<(), GraphError> {
    let buttons: Vec<&Value> =
        array(action, "buttons", "interactive['action']['buttons']")?.collect();
    if !(1..=3).contains(&buttons.len()) {
        return Err(invalid(
            "Invalid buttons count. Min allowed buttons: 1, Max allowed buttons: 3",
        ));
    }
    let (mut ids, mut titles) = (Vec::new(), Vec::new());
    for button in buttons {
        let path = "interactive['action']['buttons']";
        let button = as_object(button, path)?;
        if text(button, "type", &format!("{path}['type']"))? != "reply" {
            return Err(GraphError::parameter(
                &format!("{path}['type']"),
                "must be one of {REPLY}.",
            ));
        }
        let reply = button.get("reply").ok_or_else(|| GraphError::required("reply"))?;
        let reply = as_object(reply, &format!("{path}['reply']"))?;
        let id = value_length(reply, "id", "Button id", 256)?;
        let title = value_length(reply, "title", "Button title", 20)?;
        if id.trim() != id {
            return Err(invalid("Button id must not begin or end with spaces"));
        }
        if ids.contains(&id) || titles.contains(&title) {
            return Err(invalid("Button ids and titles must be unique"));
        }
        ids.push(id);
        titles.push(title);
    }
    Ok(())
}

fn list(action: &Object) -> Result<(), GraphError> {
    value_length(action, "button", "Button label", 20)?;
    let sections: Vec<&Value> =
        array(action, "sections", "interactive['action']['sections']")?.collect();
    if !(1..=10).contains(&sections.len()) {
        return Err(invalid("Invalid sections count. Min allowed: 1, Max allowed: 10"));
    }
    let mut ids = Vec::new();
    for section in &sections {
        let section = as_object(section, "interactive['action']['sections']")?;
        if sections.len() > 1 || section.contains_key("title") {
            value_length(section, "title", "Section title", 24)?;
        }
        for row in array(section, "rows", "interactive['action']['sections']['rows']")? {
            let row = as_object(row, "interactive['action']['sections']['rows']")?;
            let id = value_length(row, "id", "Row id", 200)?;
            value_length(row, "title", "Row title", 24)?;
            if row.contains_key("description") {
                value_length(row, "description", "Row description", 72)?;
            }
            if ids.contains(&id) {
                return Err(invalid("Row ids must be unique"));
            }
            ids.push(id);
        }
    }
    if (1..=10).contains(&ids.len()) {
        return Ok(());
    }
    Err(invalid("Total row count exceed max allowed count: 10, or there are no rows"))
}

fn contacts(content: &Value) -> Result<(), GraphError> {
    let contacts = content.as_array().filter(|all| (1..=5).contains(&all.len()));
    let Some(contacts) = contacts else {
        return Err(GraphError::parameter("contacts", "must be an array of 1 to 5 contacts."));
    };
    for (at, contact) in contacts.iter().enumerate() {
        let path = format!("contacts[{at}]");
        let contact = as_object(contact, &path)?;
        only(
            contact,
            &path,
            &["addresses", "birthday", "emails", "name", "org", "phones", "urls"],
        )?;
        let name = contact.get("name");
        let name = name.ok_or_else(|| GraphError::required(&format!("{path}['name']")))?;
        let name = as_object(name, &format!("{path}['name']"))?;
        text(name, "formatted_name", &format!("{path}['name']['formatted_name']"))?;
        if name.len() < 2 {
            let rule = "needs one more part than formatted_name.";
            return Err(GraphError::parameter(&format!("{path}['name']"), rule));
        }
    }
    Ok(())
}

fn coordinate(content: &Object, key: &str, limit: f64) -> Result<(), GraphError> {
    let path = format!("location['{key}']");
    let value = content.get(key).ok_or_else(|| GraphError::required(&path))?;
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(number) => number.parse().ok(),
        _ => None,
    };
    if number.is_some_and(|number: f64| number.abs() <= limit) {
        return Ok(());
    }
    Err(GraphError::parameter(&path, &format!("must be a number between -{limit} and {limit}.")))
}

fn invalid(details: &str) -> GraphError {
    GraphError::numbered(131_009, Some(details.to_owned()))
}

fn only(object: &Object, path: &str, allowed: &[&str]) -> Result<(), GraphError> {
    match object.keys().find(|key| !allowed.contains(&key.as_str())) {
        Some(key) => Err(GraphError::unexpected(key, if path.is_empty() { "body" } else { path })),
        None => Ok(()),
    }
}

fn as_object<'a>(value: &'a Value, path: &str) -> Result<&'a Object, GraphError> {
    value.as_object().ok_or_else(|| GraphError::parameter(path, "must be a JSON object."))
}

fn array<'a>(
    object: &'a Object,
    key: &str,
    path: &str,
) -> Result<impl Iterator<Item = &'a Value> + use<'a>, GraphError> {
    match object.get(key) {
        None => Ok([].iter()),
        Some(Value::Array(all)) => Ok(all.iter()),
        Some(_) => Err(GraphError::parameter(path, "must be an array.")),
    }
}

/// A required string that must not be empty.
fn text<'a>(object: &'a Object, key: &str, path: &str) -> Result<&'a str, GraphError> {
    match object.get(key) {
        None | Some(Value::Null) => Err(GraphError::required(path)),
        Some(Value::String(value)) if value.is_empty() => Err(GraphError::required(path)),
        Some(Value::String(value)) => Ok(value),
        Some(_) => Err(GraphError::parameter(path, "must be a string.")),
    }
}

/// A required string with a maximum length.
fn at_most<'a>(
    object: &'a Object,
    key: &str,
    path: &str,
    most: usize,
) -> Result<&'a str, GraphError> {
    let value = text(object, key, path)?;
    if value.chars().count() > most {
        let rule = format!("must be at most {most} characters long.");
        return Err(GraphError::parameter(path, &rule));
    }
    Ok(value)
}

/// An optional string with a maximum length.
fn optional<'a>(
    object: &'a Object,
    key: &str,
    path: &str,
    most: usize,
) -> Result<Option<&'a str>, GraphError> {
    if object.contains_key(key) { at_most(object, key, path, most).map(Some) } else { Ok(None) }
}

/// A string inside an interactive message; if its length is wrong, Meta answers 131009.
fn value_length<'a>(
    object: &'a Object,
    key: &str,
    what: &str,
    most: usize,
) -> Result<&'a str, GraphError> {
    let value = object.get(key).and_then(Value::as_str).unwrap_or_default();
    if (1..=most).contains(&value.chars().count()) {
        return Ok(value);
    }
    Err(invalid(&format!("{what} length invalid. Min length: 1, Max length: {most}")))
}

#[cfg(test)]
mod tests;
