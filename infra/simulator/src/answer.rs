//! A provider's answer to a request: a response, a delayed response, or a closed connection.

use serde_json::Value;

/// What a provider answers to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// An HTTP response.
    Reply(Reply),
    /// A 307 redirect.
    Redirect {
        /// The address it redirects to.
        to: String,
    },
    /// The connection closes without a response.
    HangUp {
        /// Delay in milliseconds before the connection closes.
        after_ms: u64,
    },
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after_s: Option<u64>,
    /// The body.
    pub body: Body,
    /// Delay of the response in milliseconds.
    pub delay_ms: u64,
}

/// The body of a response.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// JSON.
    Json(Value),
    /// A file.
    File {
        /// Media type.
        mime: String,
        /// Content.
        bytes: bytes::Bytes,
    },
}

/// An answer, and the webhooks that follow.
#[derive(Debug)]
pub struct Outcome<D> {
    /// The answer to the caller.
    pub answer: Answer,
    /// The webhooks to the hub.
    pub deliveries: Vec<D>,
}

impl<D> From<Answer> for Outcome<D> {
    fn from(answer: Answer) -> Self {
        Self { answer, deliveries: Vec::new() }
    }
}

impl Answer {
    /// A JSON answer without delay.
    #[must_use]
    pub fn json(status: u16, body: Value) -> Self {
        Self::Reply(Reply { status, retry_after_s: None, body: Body::Json(body), delay_ms: 0 })
    }

    /// Delays the answer by `delay_ms`.
    #[must_use]
    pub fn with_delay(mut self, delay_ms: u64) -> Self {
        match &mut self {
            Self::Reply(reply) => reply.delay_ms = delay_ms,
            Self::HangUp { after_ms } => *after_ms = delay_ms,
            Self::Redirect { .. } => {}
        }
        self
    }

    /// Sets `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: Option<u64>) -> Self {
        if let Self::Reply(reply) = &mut self {
            reply.retry_after_s = seconds;
        }
        self
    }

    /// The HTTP status; 0 if there is no response.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Reply(reply) => reply.status,
            Self::HangUp { .. } => 0,
            Self::Redirect { .. } => 307,
        }
    }

    /// The JSON body; null if there is none.
    #[must_use]
    pub fn body(&self) -> &Value {
        match self {
            Self::Reply(Reply { body: Body::Json(body), .. }) => body,
            _ => &Value::Null,
        }
    }
}
