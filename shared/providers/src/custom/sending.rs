//! Settings that describe how the hub sends.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Fault;
use domain::integration::FieldError;
use domain::sender::RefusalScope;
use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::template::{self, AllowedNames};

/// Maximum time for which a provider may remember the message id, in seconds: a week.
const MAX_WINDOW_SECONDS: u32 = 604_800;
/// Maximum wait of an error, in seconds: an hour.
const MAX_WAIT_SECONDS: u32 = 3_600;
/// Maximum number of headers, and of errors.
const MAX_ENTRIES: usize = 100;

/// Fields that every message has.
const COMMON_FIELDS: &[&str] = &["id", "to", "from", "reply_to", "callback_url"];
/// Headers that the hub sets itself, or that apply to the connection.
const RESERVED_HEADERS: &[&str] = &[
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

/// Settings of sending through a custom provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    /// Path below `base_url`.
    #[serde(default)]
    pub(super) path: String,
    #[serde(default)]
    pub(super) method: Method,
    /// Name and value of each header. A value may use credentials and the message id.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) encoding: Encoding,
    /// Request for each kind of content; content without one cannot be sent.
    pub(super) messages: BTreeMap<Kind, Message>,
    /// Reading of the response.
    #[serde(default)]
    pub(super) answer: Answer,
    /// Period in which the provider deduplicates messages with the same `{{id}}`, in seconds.
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

/// Encoding of the request body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    #[default]
    Json,
    /// A form. A value that is neither text nor a number is written as JSON.
    Form,
}

/// Kinds of content that the settings can describe.
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
    pub(super) const fn name(self) -> &'static str {
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

    /// Returns the field of `POST /messages` with this content.
    const fn field(self) -> &'static str {
        match self {
            Self::Image | Self::Video | Self::Audio | Self::Document | Self::Sticker => "media",
            Self::Buttons | Self::List => "interactive",
            other => other.name(),
        }
    }
}

/// Request for one kind of content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    /// Path, if it differs from the common one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// The body, with placeholders.
    pub(super) body: Value,
}

/// Reading of the response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// Statuses that mean success; every 2xx if empty.
    #[serde(default)]
    pub(super) accepted: Vec<u16>,
    /// JSON pointer to the provider's message id; without it, the hub's own message id is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// JSON pointer to the error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// Values of the error code that mean success.
    #[serde(default)]
    pub(super) success: Vec<String>,
    /// Meaning of error codes and of HTTP statuses.
    #[serde(default)]
    pub(super) errors: BTreeMap<String, Meaning>,
}

/// Meaning of an error code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meaning {
    pub(super) fault: DeclaredFault,
    /// Scope of the refusal; derived from the status if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<DeclaredScope>,
    /// Remedy, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
    /// Wait of `rate_limited`, if the response has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_seconds: Option<u32>,
}

/// Fault of an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeclaredFault {
    Permanent,
    Retryable,
    RateLimited,
    Unknown,
}

/// Scope of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeclaredScope {
    Message,
    Account,
    /// The message on this route: another account may have what this one lacks.
    Route,
}

impl Meaning {
    /// Returns the fault, where the response asks to wait for `wait`.
    pub(super) fn fault(&self, wait: Option<Duration>) -> Fault {
        let declared = Duration::from_secs(self.retry_after_seconds.unwrap_or(5).into());
        match self.fault {
            DeclaredFault::Permanent => Fault::Permanent,
            DeclaredFault::Unknown => Fault::Unknown,
            DeclaredFault::RateLimited => {
                Fault::RateLimited { retry_after: wait.unwrap_or(declared) }
            }
            DeclaredFault::Retryable => match wait {
                Some(retry_after) => Fault::RateLimited { retry_after },
                None => Fault::Retryable,
            },
        }
    }

    pub(super) fn scope(&self, status: StatusCode) -> RefusalScope {
        match self.scope {
            Some(DeclaredScope::Message) => RefusalScope::Message,
            Some(DeclaredScope::Account) => RefusalScope::Account,
            Some(DeclaredScope::Route) => RefusalScope::Route,
            None => RefusalScope::from_status(status),
        }
    }
}

/// Validates the settings. Every error names its field.
pub(super) fn check(send: &Send) -> Result<(), FieldError> {
    let error =
        |field: &str, reason: String| FieldError::new(&format!("settings.send.{field}"), reason);
    check_path("path", &send.path, COMMON_FIELDS)?;
    if send.headers.len() > MAX_ENTRIES {
        return Err(error("headers", format!("must have at most {MAX_ENTRIES} entries")));
    }
    for (name, value) in &send.headers {
        let header = name.parse::<HeaderName>().ok();
        if header.is_none_or(|header| RESERVED_HEADERS.contains(&header.as_str())) {
            return Err(error(
                "headers",
                "must have valid header names, except those that the hub sets itself".into(),
            ));
        }
        if !value.bytes().all(|c| (b' '..=b'~').contains(&c)) {
            return Err(error(
                &format!("headers.{name}"),
                "must only have visible ASCII characters".into(),
            ));
        }
        let allowed = AllowedNames { fields: &["id"], credentials: super::SENDING_CREDENTIALS };
        template::check_text(value, allowed)
            .map_err(|reason| error(&format!("headers.{name}"), reason))?;
    }
    if send.messages.is_empty() {
        return Err(error("messages", "must have at least one kind of content".into()));
    }
    for (kind, message) in &send.messages {
        let at = format!("messages.{}", kind.name());
        let fields = [COMMON_FIELDS, &[kind.field()]].concat();
        if let Some(path) = &message.path {
            check_path(&format!("{at}.path"), path, &fields)?;
        }
        if !message.body.is_object() {
            return Err(error(&format!("{at}.body"), "must be an object".into()));
        }
        let allowed = AllowedNames { fields: &fields, credentials: super::SENDING_CREDENTIALS };
        template::check(&message.body, allowed)
            .map_err(|reason| error(&format!("{at}.body"), reason))?;
    }
    check_answer(&send.answer)?;
    if let Some(seconds) = send.remembers_id_seconds {
        if !(1..=MAX_WINDOW_SECONDS).contains(&seconds) {
            return Err(error(
                "remembers_id_seconds",
                format!("must be between 1 and {MAX_WINDOW_SECONDS}"),
            ));
        }
        let carries = |message: &Message| template::names(&message.body, "id");
        let in_headers = send.headers.values().any(|value| template::text_names(value, "id"));
        if !in_headers && !send.messages.values().all(carries) {
            let reason = "needs {{id}} in a header or in every message".into();
            return Err(error("remembers_id_seconds", reason));
        }
    }
    Ok(())
}

fn check_path(field: &str, path: &str, fields: &[&'static str]) -> Result<(), FieldError> {
    let field = format!("settings.send.{field}");
    // Credentials are not allowed: proxies log URLs.
    template::check_text(path, AllowedNames { fields, credentials: &[] })
        .map_err(|reason| FieldError::new(&field, reason))?;
    let plain = path.replace("{{", "").replace("}}", "");
    let shape = path.is_empty() || path.starts_with('/');
    let stays = !plain.split(['/', '?']).any(|part| matches!(part, "." | ".."));
    let sound = plain.bytes().all(|c| (b'!'..=b'~').contains(&c) && !matches!(c, b'#' | b'\\'));
    // Two slashes would start another host.
    if shape && stays && sound && !path.starts_with("//") {
        return Ok(());
    }
    Err(FieldError::new(&field, "must be a path such as /v1/messages, with an optional query"))
}

fn check_answer(answer: &Answer) -> Result<(), FieldError> {
    let error = |field: &str, reason: &str| {
        FieldError::new(&format!("settings.send.answer.{field}"), reason.to_owned())
    };
    let yes = |status: &u16| (200..300).contains(status);
    if !answer.accepted.iter().all(yes) {
        return Err(error("accepted", "must be statuses between 200 and 299"));
    }
    for (name, place) in [("id", &answer.id), ("error", &answer.error)] {
        if place.as_ref().is_some_and(|place| !super::settings::is_pointer(place)) {
            return Err(error(name, "must be a JSON pointer such as /messages/0/id"));
        }
    }
    if !answer.success.is_empty() && answer.error.is_none() {
        return Err(error("success", "needs the setting `error`"));
    }
    if answer.errors.len() > MAX_ENTRIES {
        return Err(error("errors", "must have at most 100 entries"));
    }
    for meaning in answer.errors.values() {
        if meaning.retry_after_seconds.is_some_and(|wait| !(1..=MAX_WAIT_SECONDS).contains(&wait)) {
            return Err(error("errors", "must have retry_after_seconds between 1 and 3600"));
        }
        if meaning.remedy.as_ref().is_some_and(|remedy| remedy.len() > 500) {
            return Err(error("errors", "must have remedies of at most 500 bytes"));
        }
    }
    Ok(())
}
