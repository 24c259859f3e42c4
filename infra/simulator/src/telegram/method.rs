//! Validation of the sending methods of the Bot API.

use serde_json::{Map, Value, json};

use super::Params;

/// A valid call.
#[derive(Clone, Debug)]
pub struct Send {
    /// The method in Telegram's spelling.
    pub method: String,
    /// The fields of the message that it creates.
    pub content: Value,
    /// The text to show in the log.
    pub text: Option<String>,
    /// The id of the message that it replies to.
    pub reply_to: Option<i64>,
    /// The id of the message that it reacts to.
    pub reacts_to: Option<i64>,
}

/// Status and description of a refusal.
pub type Refusal = (u16, String);

/// Methods that send a file: method, parameter, whether it may have a caption.
const FILES: [(&str, &str, bool); 7] = [
    ("sendPhoto", "photo", true),
    ("sendVideo", "video", true),
    ("sendAudio", "audio", true),
    ("sendDocument", "document", true),
    ("sendVoice", "voice", true),
    ("sendAnimation", "animation", true),
    ("sendSticker", "sticker", false),
];

/// The emoji that a bot may react with.
const REACTIONS: &str = "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡";

/// Validates a call. `file_exists` tests whether the bot knows a file id.
///
/// # Errors
/// The status and description with which the Bot API answers.
pub fn parse(
    method: &str,
    params: &Params,
    file_exists: &dyn Fn(&str) -> bool,
) -> Result<Send, Refusal> {
    let is = |name: &str| method.eq_ignore_ascii_case(name);
    let mut send = if is("sendMessage") {
        message(params)?
    } else if is("sendLocation") {
        location(params)?
    } else if is("setMessageReaction") {
        return reaction(params);
    } else if let Some((name, field, caption)) = FILES.into_iter().find(|(name, ..)| is(name)) {
        file(name, field, caption, params, file_exists)?
    } else {
        return Err((404, "Not Found: method not found".into()));
    };
    if let Some(reply) = params.get("reply_parameters") {
        let Some(reply) = object(reply) else {
            return bad_request("can't parse reply parameters JSON object");
        };
        let Some(id) = reply.get("message_id").and_then(integer) else {
            return bad_request("message to be replied not specified");
        };
        send.reply_to = (!boolean(reply.get("allow_sending_without_reply"))).then_some(id);
    }
    if let Some(markup) = params.get("reply_markup")
        && object(markup).is_none()
    {
        return bad_request("can't parse reply keyboard markup JSON object");
    }
    if let Some(mode) = params.get("parse_mode").and_then(Value::as_str) {
        let known = ["html", "markdown", "markdownv2", ""];
        if !known.contains(&mode.to_ascii_lowercase().as_str()) {
            return bad_request("unsupported parse_mode");
        }
    }
    Ok(send)
}

fn bad_request<T>(what: &str) -> Result<T, Refusal> {
    Err((400, format!("Bad Request: {what}")))
}

fn send_of(method: &str, content: Value, text: Option<String>) -> Send {
    Send { method: method.to_owned(), content, text, reply_to: None, reacts_to: None }
}

fn message(params: &Params) -> Result<Send, Refusal> {
    let text = params.get("text").and_then(Value::as_str).unwrap_or_default();
    if text.trim().is_empty() {
        return bad_request("message text is empty");
    }
    if text.chars().count() > 4096 {
        return bad_request("message is too long");
    }
    Ok(send_of("sendMessage", json!({"text": text}), Some(text.to_owned())))
}

fn location(params: &Params) -> Result<Send, Refusal> {
    let mut place = Map::new();
    for (name, limit) in [("latitude", 90.0), ("longitude", 180.0)] {
        let number = match params.get(name) {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(number)) => number.parse().ok(),
            _ => None,
        };
        let Some(number) = number.filter(|number: &f64| number.abs() <= limit) else {
            return bad_request(&format!("{name} is invalid"));
        };
        place.insert(name.into(), json!(number));
    }
    Ok(send_of("sendLocation", json!({"location": place}), None))
}

fn file(
    method: &str,
    field: &str,
    captioned: bool,
    params: &Params,
    file_exists: &dyn Fn(&str) -> bool,
) -> Result<Send, Refusal> {
    let source = params.get(field).and_then(Value::as_str).unwrap_or_default();
    if source.is_empty() {
        return bad_request(&format!("there is no {field} in the request"));
    }
    let url = url::Url::parse(source).ok();
    let web = url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !web && !file_exists(source) {
        return bad_request(
            "wrong remote file identifier specified: Wrong character in the string",
        );
    }
    let caption = params.get("caption").and_then(Value::as_str).filter(|_| captioned);
    if caption.is_some_and(|caption| caption.chars().count() > 1024) {
        return bad_request("message caption is too long");
    }
    let id = if web { format!("AgACAgQAAx{}", unique(source)) } else { source.to_owned() };
    let described = describe(field, &id, None, 0);
    let mut content = json!({field: described});
    if let (Some(content), Some(caption)) = (content.as_object_mut(), caption) {
        content.insert("caption".into(), json!(caption));
    }
    Ok(send_of(method, content, caption.map(ToOwned::to_owned)))
}

/// A file as it appears in a message; a photo comes in several sizes.
#[must_use]
pub fn describe(kind: &str, id: &str, mime: Option<&str>, size: usize) -> Value {
    let mut file = json!({"file_id": id, "file_unique_id": unique(id), "file_size": size});
    let Some(fields) = file.as_object_mut() else { return file };
    match kind {
        "photo" => {
            fields.insert("width".into(), json!(800));
            fields.insert("height".into(), json!(600));
            let small = json!({"file_id": format!("{id}s"), "width": 90, "height": 67,
                "file_unique_id": unique(&format!("{id}s")), "file_size": size.min(1200)});
            return json!([small, file]);
        }
        "video" | "animation" => {
            fields.insert("width".into(), json!(640));
            fields.insert("height".into(), json!(480));
            fields.insert("duration".into(), json!(3));
        }
        "sticker" => {
            fields.insert("width".into(), json!(512));
            fields.insert("height".into(), json!(512));
            fields.insert("type".into(), json!("regular"));
            fields.insert("is_animated".into(), json!(false));
            fields.insert("is_video".into(), json!(false));
        }
        "audio" | "voice" => {
            fields.insert("duration".into(), json!(3));
        }
        _ => {}
    }
    if let Some(mime) = mime.filter(|_| kind != "sticker") {
        fields.insert("mime_type".into(), json!(mime));
    }
    file
}

fn reaction(params: &Params) -> Result<Send, Refusal> {
    let Some(id) = params.get("message_id").and_then(integer) else {
        return bad_request("message identifier is not specified");
    };
    let reactions = match params.get("reaction") {
        None => Vec::new(),
        Some(value) => match list(value) {
            Some(list) => list,
            None => return bad_request("can't parse reaction types JSON object"),
        },
    };
    if reactions.len() > 1 {
        return bad_request("REACTIONS_TOO_MANY");
    }
    let mut shown = None;
    for reaction in &reactions {
        let emoji = reaction.get("emoji").and_then(Value::as_str).unwrap_or_default();
        // Telegram writes the heart without the variation selector; callers often include it.
        let bare = emoji.replace('\u{fe0f}', "");
        let known = REACTIONS.split(' ').any(|known| known == bare);
        if reaction.get("type").and_then(Value::as_str) != Some("emoji") || !known {
            return bad_request("REACTION_INVALID");
        }
        shown = Some(emoji.to_owned());
    }
    let mut send = send_of("setMessageReaction", json!({}), shown);
    send.reacts_to = Some(id);
    Ok(send)
}

/// Checks whether Telegram would accept `url` as a webhook. The simulator also allows plain HTTP on
/// the loopback interface.
///
/// # Errors
/// The reason that Telegram gives.
pub fn webhook_url(url: &str) -> Result<(), &'static str> {
    let Ok(url) = url::Url::parse(url) else { return Err("invalid webhook URL specified") };
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    match url.scheme() {
        "http" if local => Ok(()),
        "https" if local || matches!(url.port_or_known_default(), Some(80 | 88 | 443 | 8443)) => {
            Ok(())
        }
        "https" => Err("Webhook can be set up only on ports 80, 88, 443 or 8443"),
        _ => Err("An HTTPS URL must be provided for webhook"),
    }
}

/// A number, or a string that holds one, as in a form.
#[must_use]
pub fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A boolean value, or a string that holds one, as in a form.
#[must_use]
pub fn boolean(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => {
            matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes")
        }
        Some(Value::Number(number)) => number.as_i64() == Some(1),
        _ => false,
    }
}

/// A list, or a string that holds one, as in a form.
#[must_use]
pub fn list(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) => Some(list.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

fn object(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// A short file id that does not change (`file_unique_id`).
#[must_use]
pub fn unique(id: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    hex::encode(digest.as_ref()).chars().take(12).collect()
}
