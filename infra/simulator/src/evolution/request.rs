//! Validation of the sending methods of the Evolution API.
//!
//! The schemas follow Evolution's validation schemas, the later checks its controller and its
//! service for `WhatsApp` Web; the simulator's README lists the sources.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// A valid call.
#[derive(Clone, Debug)]
pub struct Send {
    /// The recipient as it appears in the request.
    pub number: String,
    /// `WhatsApp`'s name of the message type: `conversation`, `imageMessage` ...
    pub kind: &'static str,
    /// The message object of that type.
    pub content: Value,
    /// The text to show in the log.
    pub text: Option<String>,
    /// The id of the message it quotes.
    pub quoted: Option<String>,
    /// Whether a file is uploaded to `WhatsApp` before the number is looked up.
    pub uploads: bool,
    /// Fields that Evolution silently ignores.
    pub unknown: Vec<String>,
}

/// Status, and the content of `response.message`.
pub type Refusal = (u16, Value);

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    Text,
    Number,
    Integer,
    Truth,
    Object,
    List,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Truth => "boolean",
            Self::Object => "object",
            Self::List => "array",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            // In JavaScript, 1.0 is an integer.
            Self::Integer => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            Self::Truth => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::List => value.is_array(),
        }
    }
}

/// A field: its name, its type, and whether it is required.
type Field = (&'static str, Type, bool);

/// Fields of every message except a reaction.
const COMMON: [Field; 8] = [
    ("number", Type::Text, true),
    ("delay", Type::Integer, false),
    ("quoted", Type::Object, false),
    ("linkPreview", Type::Truth, false),
    ("mentionsEveryOne", Type::Truth, false),
    ("mentioned", Type::List, false),
    ("encoding", Type::Truth, false),
    ("notConvertSticker", Type::Truth, false),
];

const TEXT: [Field; 1] = [("text", Type::Text, true)];
const MEDIA: [Field; 5] = [
    ("mediatype", Type::Text, true),
    ("mimetype", Type::Text, false),
    ("media", Type::Text, false),
    ("fileName", Type::Text, false),
    ("caption", Type::Text, false),
];
const AUDIO: [Field; 1] = [("audio", Type::Text, false)];
const STICKER: [Field; 1] = [("sticker", Type::Text, false)];
const LOCATION: [Field; 4] = [
    ("latitude", Type::Number, true),
    ("longitude", Type::Number, true),
    ("name", Type::Text, true),
    ("address", Type::Text, true),
];
const CONTACT: [Field; 1] = [("contact", Type::List, true)];
const CARD: [Field; 6] = [
    ("fullName", Type::Text, true),
    ("wuid", Type::Text, false),
    ("phoneNumber", Type::Text, true),
    ("organization", Type::Text, false),
    ("email", Type::Text, false),
    ("url", Type::Text, false),
];
const REACTION: [Field; 2] = [("key", Type::Object, true), ("reaction", Type::Text, true)];
const KEY: [Field; 3] =
    [("id", Type::Text, true), ("remoteJid", Type::Text, true), ("fromMe", Type::Truth, true)];
const LIST: [Field; 5] = [
    ("title", Type::Text, true),
    ("description", Type::Text, false),
    ("footerText", Type::Text, true),
    ("buttonText", Type::Text, true),
    ("sections", Type::List, true),
];
const SECTION: [Field; 2] = [("title", Type::Text, true), ("rows", Type::List, true)];
const ROW: [Field; 3] =
    [("title", Type::Text, true), ("description", Type::Text, false), ("rowId", Type::Text, true)];
const BUTTONS: [Field; 5] = [
    ("thumbnailUrl", Type::Text, false),
    ("title", Type::Text, false),
    ("description", Type::Text, false),
    ("footer", Type::Text, false),
    ("buttons", Type::List, false),
];
const BUTTON: [Field; 9] = [
    ("type", Type::Text, true),
    ("displayText", Type::Text, false),
    ("id", Type::Text, false),
    ("url", Type::Text, false),
    ("phoneNumber", Type::Text, false),
    ("copyCode", Type::Text, false),
    ("currency", Type::Text, false),
    ("name", Type::Text, false),
    ("keyType", Type::Text, false),
];

const MEDIA_TYPES: [&str; 4] = ["image", "document", "video", "audio"];
const BUTTON_TYPES: [&str; 5] = ["reply", "copy", "url", "call", "pix"];

/// Validates a call of `/message/<method>`; `None` if the method does not exist.
#[must_use]
pub fn parse(method: &str, body: &Value) -> Option<Result<Send, Refusal>> {
    Some(match method {
        "sendText" => text(body),
        "sendMedia" => media(body),
        "sendWhatsAppAudio" => audio(body),
        "sendSticker" => sticker(body),
        "sendLocation" => location(body),
        "sendContact" => contact(body),
        "sendReaction" => reaction(body),
        "sendList" => list(body),
        "sendButtons" => buttons(body),
        _ => return None,
    })
}

/// The schema errors of a body, in Evolution's texts.
#[derive(Default)]
struct Findings {
    wrong: Vec<Value>,
    unknown: Vec<String>,
}

impl Findings {
    fn add(&mut self, words: impl Into<String>) {
        self.wrong.push(Value::String(words.into()));
    }

    /// Validates an object; `at` is the prefix of its path, such as `contact[0].`.
    fn object(&mut self, at: &str, value: &Value, fields: &[Field]) {
        let empty = Map::new();
        let object = value.as_object().unwrap_or(&empty);
        for (name, kind, required) in fields {
            match object.get(*name) {
                None if *required => {
                    let place = at.trim_end_matches('.');
                    let place = if place.is_empty() { "instance" } else { place };
                    self.add(format!("{place} requires property \"{name}\""));
                }
                Some(value) if !kind.fits(value) => self.add(match *name {
                    "number" => "Invalid format".to_owned(),
                    "delay" => "Enter a value in milliseconds".to_owned(),
                    _ => format!("{at}{name} is not of a type(s) {}", kind.name()),
                }),
                _ => {}
            }
        }
        let known = |name: &str| fields.iter().any(|(known, ..)| *known == name);
        let strange = object.keys().filter(|name| !known(name));
        self.unknown.extend(strange.map(|name| format!("{at}{name}")));
    }

    /// Validates every item of the list `name` of `value`, which needs at least one.
    fn items(&mut self, at: &str, value: &Value, name: &str, fields: &[Field]) {
        let Some(items) = value.get(name).and_then(Value::as_array) else { return };
        if items.is_empty() {
            self.add(format!("{at}{name} does not meet minimum length of 1"));
        }
        for (place, item) in items.iter().enumerate() {
            self.object(&format!("{at}{name}[{place}]."), item, fields);
        }
    }

    /// Checks that the items of the list `name` are unique.
    fn unique(&mut self, at: &str, value: &Value, name: &str) {
        let Some(items) = value.get(name).and_then(Value::as_array) else { return };
        let twice = items
            .iter()
            .enumerate()
            .any(|(at, item)| items.get(at + 1..).is_some_and(|later| later.contains(item)));
        if twice {
            self.add(format!("{at}{name} contains duplicate item"));
        }
    }

    fn done(self) -> Result<Vec<String>, Refusal> {
        if self.wrong.is_empty() { Ok(self.unknown) } else { Err((400, self.wrong.into())) }
    }
}

/// Validates the body of a message other than a reaction.
fn shape(body: &Value, fields: &[Field]) -> Findings {
    let mut findings = Findings::default();
    let all: Vec<Field> = COMMON.iter().chain(fields).copied().collect();
    findings.object("", body, &all);
    if let Some(quoted) = body.get("quoted").filter(|quoted| quoted.is_object()) {
        match quoted.get("key") {
            Some(key) if key.get("id").is_none() => {
                findings.add("quoted.key requires property \"id\"");
            }
            Some(key) if !key.is_object() => {
                findings.add("quoted.key is not of a type(s) object");
            }
            _ => {}
        }
    }
    findings
}

fn bad_request<T>(words: &str) -> Result<T, Refusal> {
    Err((400, json!([words])))
}

fn word<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn send_of(body: &Value, kind: &'static str, content: Value, unknown: Vec<String>) -> Send {
    let quoted = body.get("quoted").and_then(|quoted| quoted.get("key")?.get("id")?.as_str());
    Send {
        number: word(body, "number").to_owned(),
        kind,
        content,
        text: None,
        quoted: quoted.map(ToOwned::to_owned),
        uploads: false,
        unknown,
    }
}

fn text(body: &Value) -> Result<Send, Refusal> {
    let unknown = shape(body, &TEXT).done()?;
    let text = word(body, "text");
    if text.trim().is_empty() {
        return bad_request("Text is required");
    }
    let send = send_of(body, "conversation", json!(text), unknown);
    Ok(Send { text: Some(text.to_owned()), ..send })
}

/// Whether Evolution accepts `source` as an address: it must not be too long, and its host needs a
/// dot.
fn is_url(source: &str) -> bool {
    if source.len() >= 2083 {
        return false;
    }
    let Ok(url) = url::Url::parse(source) else { return false };
    let named = match url.host() {
        Some(url::Host::Domain(name)) => {
            let last = name.rsplit('.').next().unwrap_or_default();
            name.contains('.') && last.len() >= 2 && last.chars().all(char::is_alphabetic)
        }
        Some(_) => true,
        None => false,
    };
    matches!(url.scheme(), "http" | "https" | "ftp") && named
}

fn is_base64(source: &str) -> bool {
    STANDARD.decode(source).is_ok_and(|bytes| !bytes.is_empty())
}

fn media(body: &Value) -> Result<Send, Refusal> {
    let mut findings = shape(body, &MEDIA);
    let kind = word(body, "mediatype");
    if body.get("mediatype").is_some_and(Value::is_string) && !MEDIA_TYPES.contains(&kind) {
        let words = MEDIA_TYPES.join(",");
        findings.add(format!("mediatype is not one of enum values: {words}"));
    }
    let unknown = findings.done()?;
    let (source, name) = (word(body, "media"), word(body, "fileName"));
    let from_web = is_url(source);
    if !from_web && !is_base64(source) {
        return bad_request("Owned media must be a url or base64");
    }
    if kind == "document" && name.is_empty() {
        if !from_web {
            return bad_request("For base64 the file name must be informed.");
        }
        // Evolution takes the file name from the address, whose last segment must contain a dot.
        let path = source.split(['?', '#']).next().unwrap_or_default();
        let (_, last) = path.rsplit_once('/').unwrap_or_default();
        if last.split_once('.').is_none_or(|(stem, _)| stem.is_empty()) {
            let words = "TypeError: Cannot read properties of null (reading '1')";
            return Err((500, json!([words])));
        }
    }
    let kind = match kind {
        "image" => "imageMessage",
        "video" => "videoMessage",
        "audio" => "audioMessage",
        _ => "documentMessage",
    };
    let mut content = json!({"url": "https://mmg.whatsapp.net/example.enc"});
    if let Some(content) = content.as_object_mut() {
        for field in ["mimetype", "fileName", "caption"] {
            if let Some(value) = body.get(field) {
                content.insert(field.into(), value.clone());
            }
        }
    }
    let caption = body.get("caption").and_then(Value::as_str).map(ToOwned::to_owned);
    Ok(Send { text: caption, uploads: true, ..send_of(body, kind, content, unknown) })
}

fn audio(body: &Value) -> Result<Send, Refusal> {
    let unknown = shape(body, &AUDIO).done()?;
    let source = word(body, "audio");
    if !is_url(source) && !is_base64(source) {
        return bad_request("Owned media must be a url, base64, or valid file with buffer");
    }
    let content = json!({"mimetype": "audio/ogg; codecs=opus", "ptt": true});
    Ok(send_of(body, "audioMessage", content, unknown))
}

fn sticker(body: &Value) -> Result<Send, Refusal> {
    let unknown = shape(body, &STICKER).done()?;
    let source = word(body, "sticker");
    if !is_url(source) && !is_base64(source) {
        return bad_request("Owned media must be a url or base64");
    }
    Ok(send_of(body, "stickerMessage", json!({"mimetype": "image/webp"}), unknown))
}

fn location(body: &Value) -> Result<Send, Refusal> {
    let unknown = shape(body, &LOCATION).done()?;
    let content = json!({
        "degreesLatitude": body.get("latitude"), "degreesLongitude": body.get("longitude"),
        "name": body.get("name"), "address": body.get("address"),
    });
    Ok(send_of(body, "locationMessage", content, unknown))
}

fn contact(body: &Value) -> Result<Send, Refusal> {
    let mut findings = shape(body, &CONTACT);
    if body.get("quoted").is_some() {
        // A contact message cannot quote another message.
        findings.unknown.push("quoted".to_owned());
    }
    findings.items("", body, "contact", &CARD);
    findings.unique("", body, "contact");
    let cards = body.get("contact").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (place, card) in cards.iter().enumerate() {
        let short = |name: &str| card.get(name).is_some_and(|_| word(card, name).len() < 10);
        if short("phoneNumber") {
            let at = format!("contact[{place}].phoneNumber");
            findings.add(format!("{at} does not meet minimum length of 10"));
        }
        if short("wuid") || (card.get("wuid").is_some() && !word(card, "wuid").contains(digit)) {
            findings.add("\"wuid\" must be a numeric string");
        }
    }
    let unknown = findings.done()?;
    let shown = |card: &Value| {
        let (name, phone) = (word(card, "fullName"), word(card, "phoneNumber"));
        let vcard = format!(
            "BEGIN:VCARD\nVERSION:3.0\nFN:{name}\nitem1.TEL;waid={}:{phone}\nEND:VCARD",
            phone.replace(|c: char| !c.is_ascii_digit(), "")
        );
        json!({"displayName": name, "vcard": vcard})
    };
    Ok(match cards {
        [card] => send_of(body, "contactMessage", shown(card), unknown),
        cards => {
            let cards: Vec<Value> = cards.iter().map(shown).collect();
            send_of(body, "contactsArrayMessage", json!({"contacts": cards}), unknown)
        }
    })
}

fn digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// Evolution's test for an emoji: it contains something other than letters, digits, spaces and a
/// few signs. An empty text, which would remove a reaction, fails the test.
fn is_emoji(text: &str) -> bool {
    text.chars().any(|c| {
        let plain = c.is_ascii_alphanumeric()
            || c == '_'
            || c.is_whitespace()
            || matches!(c, 'à'..='ú' | '"'..='+');
        !plain
    })
}

fn reaction(body: &Value) -> Result<Send, Refusal> {
    let mut findings = Findings::default();
    findings.object("", body, &REACTION);
    if let Some(key) = body.get("key").filter(|key| key.is_object()) {
        findings.object("key.", key, &KEY);
    }
    let unknown = findings.done()?;
    let emoji = word(body, "reaction");
    if !is_emoji(emoji) {
        return bad_request("\"reaction\" must be an emoji");
    }
    let key = body.get("key").cloned().unwrap_or_default();
    let number = word(&key, "remoteJid").to_owned();
    let content = json!({"key": key, "text": emoji});
    let send = send_of(body, "reactionMessage", content, unknown);
    Ok(Send { number, text: Some(emoji.to_owned()), ..send })
}

fn list(body: &Value) -> Result<Send, Refusal> {
    let mut findings = shape(body, &LIST);
    findings.items("", body, "sections", &SECTION);
    findings.unique("", body, "sections");
    let sections = body.get("sections").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (place, section) in sections.iter().enumerate() {
        let at = format!("sections[{place}].");
        findings.items(&at, section, "rows", &ROW);
        findings.unique(&at, section, "rows");
    }
    let unknown = findings.done()?;
    let content = json!({
        "title": body.get("title"), "description": body.get("description"),
        "buttonText": body.get("buttonText"), "footerText": body.get("footerText"),
        "sections": sections, "listType": 2,
    });
    Ok(Send {
        text: Some(word(body, "title").to_owned()),
        ..send_of(body, "listMessage", content, unknown)
    })
}

fn buttons(body: &Value) -> Result<Send, Refusal> {
    let mut findings = shape(body, &BUTTONS);
    let given = body.get("buttons").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (place, button) in given.iter().enumerate() {
        findings.object(&format!("buttons[{place}]."), button, &BUTTON);
        let known = BUTTON_TYPES.contains(&word(button, "type"));
        if button.get("type").is_some_and(Value::is_string) && !known {
            let words = BUTTON_TYPES.join(",");
            findings.add(format!("buttons[{place}].type is not one of enum values: {words}"));
        }
    }
    let unknown = findings.done()?;
    if body.get("buttons").is_none() {
        return Err((500, json!("Cannot read properties of undefined (reading 'length')")));
    }
    if given.is_empty() {
        return bad_request("At least one button is required");
    }
    let is = |wanted: &str| given.iter().any(|button| word(button, "type") == wanted);
    let other = given.iter().any(|button| !matches!(word(button, "type"), "reply" | "pix"));
    if is("reply") {
        if given.len() > 3 {
            return bad_request("Maximum of 3 reply buttons allowed");
        }
        if other {
            return bad_request("Reply buttons cannot be mixed with other button types");
        }
    }
    if is("pix") {
        if given.len() > 1 {
            return bad_request("Only one PIX button is allowed");
        }
        if other {
            return bad_request("PIX button cannot be mixed with other button types");
        }
    }
    let title = word(body, "title");
    let text = match word(body, "description") {
        "" => format!("*{title}*"),
        description => format!("*{title}*\n\n{description}\n"),
    };
    let content = json!({"message": {"interactiveMessage": {
        "body": {"text": text}, "footer": {"text": body.get("footer")},
        "nativeFlowMessage": {"buttons": given},
    }}});
    Ok(Send { text: Some(text), ..send_of(body, "viewOnceMessage", content, unknown) })
}
