//! Parsing and validation of requests to the BSP.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

/// An error of the BSP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status in the JSON API.
    pub http: u16,
    /// The code in the JSON API.
    pub code: &'static str,
    /// The code in the form API.
    pub number: i64,
    /// The error text.
    pub reason: Cow<'static, str>,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $http:literal $code:literal $number:literal $reason:literal,)*) => {
        impl Refused {
            $(
                $(#[$doc])*
                pub const $name: Self = Self {
                    http: $http,
                    code: $code,
                    number: $number,
                    reason: Cow::Borrowed($reason),
                };
            )*
        }
    };
}

refusals! {
    /// The key is wrong.
    KEY: 401 "key_unknown" 1001 "the API key is not known",
    /// The request is malformed.
    SHAPE: 400 "shape" 1002 "the request is malformed",
    /// The sender does not belong to the account.
    SENDER: 403 "sender_unknown" 1003 "the sender does not belong to this account",
    /// The recipient has opted out.
    OPTED_OUT: 422 "opted_out" 1004 "the recipient opted out",
    /// The template is not approved.
    TEMPLATE: 422 "template_unknown" 1005 "the template is not approved",
    /// The service window is closed.
    WINDOW: 422 "window_closed" 1006 "the recipient has not written within 24 hours",
    /// The rate limit is exceeded.
    PACE: 429 "too_fast" 1007 "too many messages per second; retry later",
    /// The account is blocked.
    BLOCKED: 422 "account_blocked" 1008 "the account is blocked",
    /// An internal error of the BSP.
    INTERNAL: 500 "internal" 1009 "internal error; try again later",
}

fn shape(reason: impl Into<String>) -> Refused {
    Refused { reason: Cow::Owned(reason.into()), ..Refused::SHAPE }
}

/// A valid message.
#[derive(Clone, Debug, PartialEq)]
pub struct Send {
    /// Its kind.
    pub kind: &'static str,
    /// The sender's number.
    pub from: String,
    /// The recipient's number, digits only.
    pub to: String,
    /// The caller's reference for the message.
    pub reference: Option<String>,
    /// The body of a text message.
    pub text: Option<String>,
    /// Name and language of a template.
    pub template: Option<(String, String)>,
    /// The message as it was parsed.
    pub body: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    sender: String,
    recipient: String,
    reference: String,
    message: Message,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Message {
    Text { text: Text },
    Image { media: File },
    Video { media: File },
    Audio { media: File },
    File { media: File },
    Place { place: Place },
    Choice { text: Text, choices: Vec<Choice> },
    Template { template: Template },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    link: String,
    caption: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    lat: f64,
    lng: f64,
    label: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    id: String,
    title: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    name: String,
    language: String,
    values: Vec<String>,
}

/// Whether `text` is a number with country code, digits only.
#[must_use]
pub fn is_number(text: &str) -> bool {
    (6..=15).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
}

fn within(name: &str, text: &str, most: usize) -> Result<(), Refused> {
    if text.trim().is_empty() || text.chars().count() > most {
        return Err(shape(format!("{name}: must have 1 to {most} characters")));
    }
    Ok(())
}

/// Parses a request of the JSON API. Unknown fields are refused, even if they are `null`.
///
/// # Errors
/// If the request is invalid.
pub fn json(kind: &str, bytes: &[u8]) -> Result<Send, Refused> {
    if !kind.starts_with("application/json") {
        return Err(shape("content-type: must be application/json"));
    }
    let body: Value = serde_json::from_slice(bytes).map_err(|_| shape("no JSON"))?;
    let order: Order =
        serde_json::from_value(body.clone()).map_err(|error| shape(error.to_string()))?;
    let to = order.recipient.strip_prefix('+');
    let to = to
        .filter(|to| is_number(to))
        .ok_or_else(|| shape("recipient: must be a plus sign and digits"))?;
    within("reference", &order.reference, 64)?;
    let (mut text, mut template) = (None, None);
    let kind = match &order.message {
        Message::Text { text: said } => {
            within("message.text.body", &said.body, 4096)?;
            text = Some(said.body.clone());
            "text"
        }
        Message::Image { media } => media.checked("image")?,
        Message::Video { media } => media.checked("video")?,
        Message::Audio { media } => media.checked("audio")?,
        Message::File { media } => {
            within("message.media.name", media.name.as_deref().unwrap_or_default(), 240)?;
            media.checked("file")?
        }
        Message::Place { place } => {
            if place.lat.abs() > 90.0 || place.lng.abs() > 180.0 {
                return Err(shape(
                    "message.place: lat must be between -90 and 90, lng between -180 and 180",
                ));
            }
            within("message.place.label", place.label.as_deref().unwrap_or("-"), 1000)?;
            "place"
        }
        Message::Choice { text: said, choices } => {
            within("message.text.body", &said.body, 1024)?;
            if !(1..=3).contains(&choices.len()) {
                return Err(shape("message.choices: must have 1 to 3 entries"));
            }
            for choice in choices {
                within("message.choices.id", &choice.id, 256)?;
                within("message.choices.title", &choice.title, 20)?;
            }
            "choice"
        }
        Message::Template { template: named } => {
            within("message.template.name", &named.name, 512)?;
            within("message.template.language", &named.language, 7)?;
            for value in &named.values {
                within("message.template.values", value, 1024)?;
            }
            template = Some((named.name.clone(), named.language.clone()));
            "template"
        }
    };
    let reference = Some(order.reference);
    Ok(Send { kind, from: order.sender, to: to.to_owned(), reference, text, template, body })
}

impl File {
    fn checked(&self, kind: &'static str) -> Result<&'static str, Refused> {
        let web = url::Url::parse(&self.link);
        if !web.is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(shape("message.media.link: must be an http or https URL"));
        }
        within("message.media.caption", self.caption.as_deref().unwrap_or("-"), 1024)?;
        Ok(kind)
    }
}

/// Parses a request of the form API: `channel`, `source`, `destination`, `message` (JSON in a
/// field) and `ref`.
///
/// # Errors
/// If the request is invalid.
pub fn form(kind: &str, bytes: &[u8]) -> Result<Send, Refused> {
    #[derive(Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
    enum Field {
        Text {
            text: String,
        },
        Image {
            #[serde(rename = "originalUrl")]
            original_url: String,
            caption: Option<String>,
        },
    }
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(shape("content-type: must be application/x-www-form-urlencoded"));
    }
    let mut fields = std::collections::BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(bytes).into_owned() {
        if fields.insert(name, value).is_some() {
            return Err(shape("a field occurs more than once"));
        }
    }
    let mut take = |name: &str| {
        fields
            .remove(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| shape(format!("{name}: is required")))
    };
    let (channel, from, to, message) =
        (take("channel")?, take("source")?, take("destination")?, take("message")?);
    let reference = take("ref").ok();
    if let Some(name) = fields.keys().next() {
        return Err(shape(format!("{name}: is unknown")));
    }
    if channel != "whatsapp" {
        return Err(shape("channel: must be whatsapp"));
    }
    if !is_number(&to) {
        return Err(shape("destination: must contain digits only"));
    }
    let said: Field = serde_json::from_str(&message).map_err(|error| shape(error.to_string()))?;
    let (kind, text) = match said {
        Field::Text { text } => {
            within("message.text", &text, 4096)?;
            ("text", Some(text))
        }
        Field::Image { original_url, caption } => {
            let file = File { link: original_url, caption, name: None };
            (file.checked("image")?, None)
        }
    };
    let body = json!({"channel": channel, "source": from, "destination": to, "message": message,
                      "ref": reference});
    Ok(Send { kind, from, to, reference, text, template: None, body })
}
