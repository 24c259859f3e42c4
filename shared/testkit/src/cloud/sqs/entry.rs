//! Parsing and validation of a message that is sent.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::refuse::{invalid, invalid_contents, missing, not_modelled};
use super::{digest, text};
use crate::cloud::Refusal;

/// Largest size in bytes of a message, and of all messages of a request: 1 MiB.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub(super) const LARGEST: usize = 1_048_576;
/// Largest number of attributes of a message.
const MOST_ATTRIBUTES: usize = 10;
/// The longest group or deduplication id, in characters.
const LONGEST_ID: usize = 128;
/// The longest delay, in seconds.
const LONGEST_DELAY: i64 = 900;
/// The system attribute that a sender may set: an X-Ray trace header.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html#sqs-message-system-attributes>
pub(super) const TRACE_HEADER: &str = "AWSTraceHeader";

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, optionally followed by a `.` and a label.
    pub data_type: String,
    /// Its value.
    pub content: Content,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A text, or a number in decimal notation.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Attribute {
    /// The attribute in its wire format.
    pub(super) fn wire(&self) -> Value {
        match &self.content {
            Content::Text(text) => json!({"DataType": self.data_type, "StringValue": text}),
            Content::Binary(bytes) => {
                json!({"DataType": self.data_type, "BinaryValue": STANDARD.encode(bytes)})
            }
        }
    }

    fn read(name: &str, value: &Value) -> Result<Self, Refusal> {
        let refused = |reason: String| {
            Refusal::new(
                "InvalidParameterValue",
                format!("The message attribute '{name}' {reason}"),
            )
        };
        let data_type = text(value, "DataType").unwrap_or_default();
        let content = match data_type.split('.').next().unwrap_or_default() {
            "String" | "Number" => {
                text(value, "StringValue").map(|text| Content::Text(text.to_owned()))
            }
            "Binary" => match text(value, "BinaryValue").map(|text| STANDARD.decode(text)) {
                None => None,
                Some(Ok(bytes)) => Some(Content::Binary(bytes)),
                Some(Err(_)) => return Err(refused("must be base64.".to_owned())),
            },
            _ => {
                return Err(refused(
                    "has an invalid message attribute type, the set of supported type prefixes \
                     is Binary, Number, and String."
                        .to_owned(),
                ));
            }
        };
        let content = content.filter(|content| content.len() > 0);
        let content = content.ok_or_else(|| {
            refused(format!("must contain a non-empty message attribute value for message attribute type '{data_type}'."))
        })?;
        match &content {
            Content::Text(text) if !text.chars().all(is_allowed) => Err(invalid_contents()),
            Content::Text(text)
                if data_type.starts_with("Number") && text.parse::<f64>().is_err() =>
            {
                Err(refused("must be a number.".to_owned()))
            }
            _ => Ok(Self { data_type: data_type.to_owned(), content }),
        }
    }

    fn len(&self) -> usize {
        self.data_type.len() + self.content.len()
    }
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// A message that is sent.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) body: String,
    /// The digest of the body.
    pub(super) md5: String,
    pub(super) group: Option<String>,
    pub(super) deduplication_id: Option<String>,
    pub(super) delay_s: Option<i64>,
    pub(super) attributes: BTreeMap<String, Attribute>,
    pub(super) trace_header: Option<String>,
}

/// The fields of a message, in a single request or in a batch.
const FIELDS: [&str; 8] = [
    "Id",
    "QueueUrl",
    "MessageBody",
    "MessageGroupId",
    "MessageDeduplicationId",
    "DelaySeconds",
    "MessageAttributes",
    "MessageSystemAttributes",
];

impl Entry {
    /// Parses a message. The queue validates what depends on its settings.
    pub(super) fn read(body: &Value) -> Result<Self, Refusal> {
        if let Some(name) = body
            .as_object()
            .and_then(|all| all.keys().find(|name| !FIELDS.contains(&name.as_str())))
        {
            return Err(not_modelled(format_args!("field {name} of a message")));
        }
        let message = text(body, "MessageBody").unwrap_or_default();
        if message.is_empty() {
            return Err(missing("MessageBody"));
        }
        if !message.chars().all(is_allowed) {
            return Err(invalid_contents());
        }
        let id = |name: &str| match text(body, name) {
            Some(id) if !is_id(id) => {
                let reason = format!(
                    "{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
                );
                Err(invalid(name, id, &reason))
            }
            id => Ok(id.map(str::to_owned)),
        };
        let delay_s = body.get("DelaySeconds").and_then(Value::as_i64);
        if let Some(delay_s) = delay_s.filter(|delay| !(0..=LONGEST_DELAY).contains(delay)) {
            return Err(invalid("DelaySeconds", delay_s, "DelaySeconds must be >= 0 and <= 900."));
        }
        let entry = Self {
            group: id("MessageGroupId")?,
            deduplication_id: id("MessageDeduplicationId")?,
            delay_s,
            attributes: attributes(body)?,
            trace_header: trace_header(body)?,
            md5: digest::of_body(message),
            body: message.to_owned(),
        };
        if entry.len() > LARGEST {
            let reason = format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {LARGEST} bytes."
            );
            return Err(Refusal::new("InvalidParameterValue", reason));
        }
        Ok(entry)
    }

    /// Size in bytes for the limit and for billing: the body and the attributes, without the trace
    /// header.
    pub(super) fn len(&self) -> usize {
        self.body.len() + attributes_len(&self.attributes)
    }
}

/// Size in bytes of the body and the attributes of a message in its wire format, sent or received.
pub(super) fn wire_len(body: &Value) -> usize {
    let attributes = body.get("MessageAttributes").and_then(Value::as_object);
    let of_attribute = |(name, value): (&String, &Value)| {
        let binary = text(value, "BinaryValue").map_or(0, |text| text.len() / 4 * 3);
        let parts = ["DataType", "StringValue"].map(|part| text(value, part).map_or(0, str::len));
        name.len() + binary + parts.iter().sum::<usize>()
    };
    let body = text(body, "MessageBody").or_else(|| text(body, "Body"));
    body.map_or(0, str::len) + attributes.into_iter().flatten().map(of_attribute).sum::<usize>()
}

pub(super) fn attributes_len(attributes: &BTreeMap<String, Attribute>) -> usize {
    attributes.iter().map(|(name, attribute)| name.len() + attribute.len()).sum()
}

fn attributes(body: &Value) -> Result<BTreeMap<String, Attribute>, Refusal> {
    let given = body.get("MessageAttributes").and_then(Value::as_object);
    let mut attributes = BTreeMap::new();
    for (name, value) in given.into_iter().flatten() {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
        let lower = name.to_ascii_lowercase();
        let reserved = lower.starts_with("aws.") || lower.starts_with("amazon.");
        if !(1..=256).contains(&name.len()) || !name.chars().all(allowed) || dots || reserved {
            let reason = format!("The message attribute name '{name}' is invalid.");
            return Err(Refusal::new("InvalidParameterValue", reason));
        }
        attributes.insert(name.clone(), Attribute::read(name, value)?);
    }
    if attributes.len() > MOST_ATTRIBUTES {
        let reason = format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MOST_ATTRIBUTES}].",
            attributes.len()
        );
        return Err(Refusal::new("InvalidParameterValue", reason));
    }
    Ok(attributes)
}

fn trace_header(body: &Value) -> Result<Option<String>, Refusal> {
    let given = body.get("MessageSystemAttributes").and_then(Value::as_object);
    let mut header = None;
    for (name, value) in given.into_iter().flatten() {
        if name != TRACE_HEADER {
            return Err(not_modelled(format_args!("system attribute {name} of a sender")));
        }
        let Attribute { data_type, content } = Attribute::read(name, value)?;
        match content {
            Content::Text(text) if data_type == "String" => header = Some(text),
            _ => return Err(invalid(name, data_type, "The type must be String.")),
        }
    }
    Ok(header)
}

/// Whether the character is allowed in a body.
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether `id` is a valid group or deduplication id: letters, digits and punctuation of ASCII.
fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic())
}
