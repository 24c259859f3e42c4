//! Recorded requests, each with the result that it must have: most were published by the providers
//! or are from their libraries' own tests. Each provider's are in its `vectors.json`.
//!
//! A file is a list of vectors, or an object with the list `vectors` and what they have in common,
//! such as the `body`.

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::event::EventKind;
use domain::webhook::{ParsedWebhook, Rejection, WebhookReply, WebhookRequest};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A recorded request.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Vector {
    /// Unique in its file.
    pub(crate) name: String,
    #[serde(default = "post")]
    method: String,
    /// Complete URL, or its path.
    #[serde(default, alias = "path")]
    url: String,
    /// Query parameters, if `url` has none.
    #[serde(default)]
    pub(crate) query: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// The secret that the receiver has.
    #[serde(default)]
    pub(crate) secret: String,
    /// Time of the request: seconds since the Unix epoch, or RFC 3339.
    #[serde(default)]
    now: Value,
    /// Whether the request verifies.
    pub(crate) accepted: bool,
    /// Whether it verifies and cannot be parsed.
    #[serde(default)]
    unreadable: bool,
    /// The response to a handshake.
    reply: Option<Reply>,
    /// The result in words: one for each event, a handshake's response, or the kind of rejection.
    makes: Option<String>,
    /// Fields of one provider's file.
    #[serde(flatten)]
    pub(crate) own: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
struct Reply {
    status: u16,
    body: Option<String>,
    json: Option<Value>,
}

fn post() -> String {
    "POST".to_owned()
}

/// Returns the vectors of `file`, of which there must be `count`.
pub(crate) fn read(file: &str, count: usize) -> Vec<Vector> {
    let file: Value = serde_json::from_str(file).unwrap();
    let list = file.get("vectors").unwrap_or(&file).as_array().unwrap();
    let read = |vector: &Value| {
        let mut vector = vector.as_object().unwrap().clone();
        if let Some(body) = file.get("body") {
            vector.entry("body").or_insert_with(|| body.clone());
        }
        serde_json::from_value::<Vector>(Value::Object(vector)).unwrap()
    };
    let vectors: Vec<Vector> = list.iter().map(read).collect();
    assert_eq!(vectors.len(), count);
    assert!(vectors.iter().any(|vector| vector.accepted));
    assert!(vectors.iter().any(|vector| !vector.accepted));
    vectors
}

/// Returns the vectors of `file`, of which there must be `count`, with the result of `receive` for
/// each, which must be as recorded.
pub(crate) fn check_all(
    file: &str,
    count: usize,
    receive: impl Fn(&Vector) -> Result<ParsedWebhook, Rejection>,
) -> Vec<(Vector, Result<ParsedWebhook, Rejection>)> {
    let check = |vector: Vector| {
        let result = receive(&vector);
        vector.check(&result);
        (vector, result)
    };
    read(file, count).into_iter().map(check).collect()
}

impl Vector {
    /// Returns the request.
    pub(crate) fn request(&self) -> WebhookRequest {
        let header = |(name, value): (&String, &String)| {
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        };
        let query = self
            .url
            .split_once('?')
            .map(|(_, query)| url::form_urlencoded::parse(query.as_bytes()).into_owned().collect());
        let host = if self.url.starts_with('/') { "https://hub.example.com" } else { "" };
        WebhookRequest {
            method: self.method.parse().unwrap(),
            query: query.unwrap_or_else(|| self.query.clone()),
            headers: self.headers.iter().map(header).collect(),
            body: Bytes::from(self.body.clone()),
            url: format!("{host}{}", self.url),
            ..WebhookRequest::default()
        }
    }

    /// Returns the time of the request, or `otherwise` if none is recorded.
    pub(crate) fn now_or(&self, otherwise: Timestamp) -> Timestamp {
        match &self.now {
            Value::Null => otherwise,
            Value::String(time) => time.parse().unwrap(),
            second => Timestamp::from_second(second.as_i64().unwrap()).unwrap(),
        }
    }

    /// Returns the time of the request, or the Unix epoch if none is recorded.
    pub(crate) fn now(&self) -> Timestamp {
        self.now_or(Timestamp::UNIX_EPOCH)
    }

    /// Checks that the request verified as recorded.
    pub(crate) fn check_verified(&self, result: &Result<(), Rejection>) {
        let is_refusal = matches!(result, Err(Rejection::Unauthenticated(_)));
        assert!(result.is_ok() || is_refusal, "{}: {result:?}", self.name);
        assert_eq!(result.is_ok(), self.accepted, "{}: {result:?}", self.name);
    }

    /// Checks that the request had the recorded result.
    pub(crate) fn check(&self, result: &Result<ParsedWebhook, Rejection>) {
        let name = &self.name;
        if let Some(reply) = &self.reply {
            let status = match result {
                Ok(ParsedWebhook::Handshake(given)) => {
                    reply.check(given, name);
                    given.status.as_u16()
                }
                // As the webhook handler answers them.
                Err(Rejection::Invalid(_)) => 400,
                Err(Rejection::Forbidden(_)) => 403,
                _ => 0,
            };
            assert_eq!(status, reply.status, "{name}: {result:?}");
            assert_eq!(result.is_ok(), self.accepted, "{name}: {result:?}");
            return;
        }
        let words = in_words(result);
        match &self.makes {
            Some(makes) => assert_eq!(words, *makes, "{name}"),
            None => assert_eq!(words == "unreadable", self.unreadable, "{name}: {result:?}"),
        }
        let is_refused = matches!(&*words, "unauthenticated" | "forbidden");
        let is_verified = result.is_ok() || words == "unreadable";
        assert!(is_refused || is_verified, "{name}: {result:?}");
        assert_eq!(is_verified, self.accepted, "{name}: {result:?}");
    }
}

impl Reply {
    fn check(&self, given: &WebhookReply, name: &str) {
        if let Some(json) = &self.json {
            let body: Value = serde_json::from_str(&given.body).unwrap();
            assert_eq!(body, *json, "{name}");
            assert_eq!(given.content_type, "application/json", "{name}");
        }
        if let Some(body) = &self.body {
            assert_eq!(given.body, *body, "{name}");
            assert!(given.content_type.starts_with("text/plain"), "{name}");
        }
    }
}

/// Returns the result in words.
fn in_words(result: &Result<ParsedWebhook, Rejection>) -> String {
    match result {
        Ok(ParsedWebhook::Handshake(reply)) => reply.body.clone(),
        Ok(ParsedWebhook::Confirm(_)) => "confirm".to_owned(),
        Ok(ParsedWebhook::Events(events)) => {
            let words = events.iter().map(|event| match &event.kind {
                EventKind::Message(message) => message.content.kind(),
                EventKind::Receipt(receipt) => receipt.status.as_str(),
                EventKind::Other { .. } => "other",
            });
            words.collect::<Vec<_>>().join(" ")
        }
        Err(Rejection::Unauthenticated(_)) => "unauthenticated".to_owned(),
        Err(Rejection::Forbidden(_)) => "forbidden".to_owned(),
        Err(Rejection::Unreadable(_)) => "unreadable".to_owned(),
        Err(Rejection::Invalid(_)) => "invalid".to_owned(),
        Err(Rejection::TooLarge(_)) => "too_large".to_owned(),
    }
}
