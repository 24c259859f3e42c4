//! How the hub sends, as the integration declares it.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Fault;
use domain::integration::Flaw;
use domain::sender::About;
use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::template::{self, Known};

/// The longest time a sender may be said to remember our id, in seconds: a week.
const LONGEST_MEMORY: u32 = 604_800;
/// The longest pause that an error may ask for, in seconds: an hour.
const LONGEST_PAUSE: u32 = 3_600;
/// The most headers or errors.
const MOST: usize = 100;

/// What every message has.
const ALWAYS: &[&str] = &["id", "to", "from", "reply_to", "callback_url"];
/// Headers that the hub writes itself, or that are not for one request alone.
const OWN: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the hub sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    /// Where, below `base_url`.
    #[serde(default)]
    pub(super) path: String,
    #[serde(default)]
    pub(super) method: Method,
    /// Name and value of each header; credentials and the message's id may stand in a value.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) encoding: Encoding,
    /// What each kind of content becomes; what is not here is not sent.
    pub(super) messages: BTreeMap<Kind, Message>,
    /// How the answer is read.
    #[serde(default)]
    pub(super) answer: Answer,
    /// For how many seconds the same `{{id}}` is one message, however often it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) remembers_id_seconds: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Method {
    #[default]
    #[serde(rename = "POST")]
    Post,
    #[serde(rename = "PUT")]
    Put,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    #[default]
    Json,
    /// A form: what is neither text nor number is JSON in its field.
    Form,
}

/// The kinds of content that can be declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Text,
    Image,
    Video,
    Audio,
    Document,
    Sticker,
    Location,
    Contacts,
    Reaction,
    Template,
    /// Text with buttons.
    Buttons,
    /// Text with a list.
    List,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
            Self::Sticker => "sticker",
            Self::Location => "location",
            Self::Contacts => "contacts",
            Self::Reaction => "reaction",
            Self::Template => "template",
            Self::Buttons => "buttons",
            Self::List => "list",
        }
    }

    /// The field of `POST /messages` that says it.
    const fn field(self) -> &'static str {
        match self {
            Self::Image | Self::Video | Self::Audio | Self::Document | Self::Sticker => "media",
            Self::Buttons | Self::List => "interactive",
            other => other.name(),
        }
    }
}

/// What a kind of content becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    /// Where, if not where the others go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// The body, with placeholders.
    pub(super) body: Value,
}

/// How the answer is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// The statuses that mean yes; every 2xx, if none are given.
    #[serde(default)]
    pub(super) accepted: Vec<u16>,
    /// Where the provider's id of the message is; without it, our own id is taken for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Where the code of an error is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// What stands there when all is well.
    #[serde(default)]
    pub(super) success: Vec<String>,
    /// What codes mean, or statuses.
    #[serde(default)]
    pub(super) errors: BTreeMap<String, Meaning>,
}

/// What a code means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meaning {
    pub(super) fault: Means,
    /// What is at fault; by the status, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) about: Option<Blame>,
    /// What to do, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
    /// The pause of `rate_limited`, where the answer names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_seconds: Option<u32>,
}

/// What may be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Means {
    Permanent,
    Retryable,
    RateLimited,
    Unknown,
}

/// What is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Blame {
    Message,
    Account,
    /// The message over this account: another may have what this one lacks.
    Carrier,
}

impl Meaning {
    /// What may be done, when the answer asks for a pause of `wait`.
    pub(super) fn fault(&self, wait: Option<Duration>) -> Fault {
        let declared = Duration::from_secs(self.retry_after_seconds.unwrap_or(5).into());
        match self.fault {
            Means::Permanent => Fault::Permanent,
            Means::Unknown => Fault::Unknown,
            Means::RateLimited => Fault::RateLimited { retry_after: wait.unwrap_or(declared) },
            Means::Retryable => match wait {
                Some(retry_after) => Fault::RateLimited { retry_after },
                None => Fault::Retryable,
            },
        }
    }

    pub(super) fn about(&self, status: StatusCode) -> About {
        match self.about {
            Some(Blame::Message) => About::Message,
            Some(Blame::Account) => About::Account,
            Some(Blame::Carrier) => About::Carrier,
            None => About::from_status(status),
        }
    }
}

/// Checks what is declared. Every flaw names its field.
pub(super) fn check(send: &Send) -> Result<(), Flaw> {
    let flaw = |field: &str, reason: String| Flaw::new(&format!("settings.send.{field}"), reason);
    check_path("path", &send.path, ALWAYS)?;
    if send.headers.len() > MOST {
        return Err(flaw("headers", format!("at most {MOST}")));
    }
    for (name, value) in &send.headers {
        let header = name.parse::<HeaderName>().ok();
        if header.is_none_or(|header| OWN.contains(&header.as_str())) {
            return Err(flaw("headers", "the names of headers, without those of the hub".into()));
        }
        if !value.bytes().all(|c| (b' '..=b'~').contains(&c)) {
            return Err(flaw(&format!("headers.{name}"), "visible characters of ASCII".into()));
        }
        let known = Known { fields: &["id"], credentials: super::SENDING };
        template::check_text(value, known)
            .map_err(|reason| flaw(&format!("headers.{name}"), reason))?;
    }
    if send.messages.is_empty() {
        return Err(flaw("messages", "at least one kind of content".into()));
    }
    for (kind, message) in &send.messages {
        let at = format!("messages.{}", kind.name());
        let fields = [ALWAYS, &[kind.field()]].concat();
        if let Some(path) = &message.path {
            check_path(&format!("{at}.path"), path, &fields)?;
        }
        if !message.body.is_object() {
            return Err(flaw(&format!("{at}.body"), "expected an object".into()));
        }
        let known = Known { fields: &fields, credentials: super::SENDING };
        template::check(&message.body, known)
            .map_err(|reason| flaw(&format!("{at}.body"), reason))?;
    }
    check_answer(&send.answer)?;
    if let Some(seconds) = send.remembers_id_seconds {
        if !(1..=LONGEST_MEMORY).contains(&seconds) {
            return Err(flaw("remembers_id_seconds", format!("1 to {LONGEST_MEMORY}")));
        }
        let carries = |message: &Message| template::names(&message.body, "id");
        let in_headers = send.headers.values().any(|value| template::text_names(value, "id"));
        if !in_headers && !send.messages.values().all(carries) {
            let reason = "every message, or a header, must then carry {{id}}".into();
            return Err(flaw("remembers_id_seconds", reason));
        }
    }
    Ok(())
}

fn check_path(field: &str, path: &str, fields: &[&'static str]) -> Result<(), Flaw> {
    let field = format!("settings.send.{field}");
    // No credential: addresses are written down on the way.
    template::check_text(path, Known { fields, credentials: &[] })
        .map_err(|reason| Flaw::new(&field, reason))?;
    let plain = path.replace("{{", "").replace("}}", "");
    let shape = path.is_empty() || path.starts_with('/');
    let stays = !plain.split(['/', '?']).any(|part| matches!(part, "." | ".."));
    let sound = plain.bytes().all(|c| (b'!'..=b'~').contains(&c) && !matches!(c, b'#' | b'\\'));
    // Two slashes would begin another host.
    if shape && stays && sound && !path.starts_with("//") {
        return Ok(());
    }
    Err(Flaw::new(&field, "a path like /v1/messages, and its query if it has one"))
}

fn check_answer(answer: &Answer) -> Result<(), Flaw> {
    let flaw = |field: &str, reason: &str| {
        Flaw::new(&format!("settings.send.answer.{field}"), reason.to_owned())
    };
    let yes = |status: &u16| (200..300).contains(status);
    if !answer.accepted.iter().all(yes) {
        return Err(flaw("accepted", "statuses of 200 to 299"));
    }
    for (name, place) in [("id", &answer.id), ("error", &answer.error)] {
        if place.as_ref().is_some_and(|place| !super::settings::is_pointer(place)) {
            return Err(flaw(name, "a JSON pointer like /messages/0/id"));
        }
    }
    if !answer.success.is_empty() && answer.error.is_none() {
        return Err(flaw("success", "belongs to error, which is missing"));
    }
    if answer.errors.len() > MOST {
        return Err(flaw("errors", "at most 100"));
    }
    for meaning in answer.errors.values() {
        if meaning.retry_after_seconds.is_some_and(|wait| !(1..=LONGEST_PAUSE).contains(&wait)) {
            return Err(flaw("errors", "retry_after_seconds must be 1 to 3600"));
        }
        if meaning.remedy.as_ref().is_some_and(|remedy| remedy.len() > 500) {
            return Err(flaw("errors", "a remedy has 500 bytes at most"));
        }
    }
    Ok(())
}
