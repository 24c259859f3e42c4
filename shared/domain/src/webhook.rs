//! How a webhook is taken in: verify, then parse. The other order does not compile.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

use crate::event::ParsedEvent;
use crate::{Credentials, Integration, Provider};

/// The largest body that the hub takes, in bytes, from providers and at its API: what Lambda's
/// 6 MB a call leave of a body that is no text, which travels as base64. API Gateway itself takes
/// 10 MB. <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const LARGEST_BODY: usize = 4_400_000;

/// A request as it reached the edge.
#[derive(Clone, Debug, Default)]
pub struct WebhookRequest {
    /// HTTP method.
    pub method: Method,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Headers.
    pub headers: HeaderMap,
    /// The body exactly as it was received.
    pub body: Bytes,
    /// What follows the webhook's name in the path.
    pub path_suffix: Option<String>,
    /// The whole address as the caller knows it, query included: some sign it.
    pub url: String,
    /// What [`WebhookSource::evidence`] asked for.
    pub evidence: Option<Bytes>,
}

impl WebhookRequest {
    /// The header `name`, if it is there, once, and plain text.
    ///
    /// # Errors
    /// [`Rejection::Unauthenticated`]: every header a provider's rules name is a proof.
    pub fn header(&self, name: &'static str) -> Result<&str, Rejection> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next().map(http::HeaderValue::to_str), values.next()) {
            (Some(Ok(value)), None) => Ok(value),
            _ => Err(Rejection::Unauthenticated("a header that proves the sender is missing")),
        }
    }

    /// The first query parameter `name`.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A request whose sender has been proved. Only [`receive`] can make one.
#[derive(Debug)]
pub struct Verified<'a>(&'a WebhookRequest);

impl std::ops::Deref for Verified<'_> {
    type Target = WebhookRequest;

    fn deref(&self) -> &WebhookRequest {
        self.0
    }
}

/// What an authentic request brings.
#[derive(Debug)]
pub enum Delivery {
    /// Things that happened, in order. May be none.
    Events(Vec<ParsedEvent>),
    /// A handshake, and the answer it wants.
    Handshake(WebhookReply),
    /// A handshake that is answered by calling an address; the source has checked whose it is.
    Confirm(String),
}

/// An answer to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookReply {
    /// HTTP status.
    pub status: StatusCode,
    /// The body, as text.
    pub body: String,
    /// What the body is.
    pub content_type: &'static str,
}

impl WebhookReply {
    /// An answer without a body.
    #[must_use]
    pub const fn empty(status: StatusCode) -> Self {
        Self { status, body: String::new(), content_type: "text/plain; charset=utf-8" }
    }

    /// An answer in plain text.
    #[must_use]
    pub const fn text(status: StatusCode, body: String) -> Self {
        Self { status, body, content_type: "text/plain; charset=utf-8" }
    }

    /// An answer in JSON.
    #[must_use]
    pub fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self { status, body: body.to_string(), content_type: "application/json" }
    }

    /// An answer in XML, such as `TwiML`.
    #[must_use]
    pub fn xml(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), content_type: "text/xml; charset=utf-8" }
    }
}

/// Why a request was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// Not proved to be from the provider: nothing of it is kept.
    #[error("not authentic: {0}")]
    Unauthenticated(&'static str),
    /// Larger than anything the provider sends, so it is not read and nothing of it is proved.
    /// Answered with 413 and the reason.
    #[error("too large to be the provider's: {0}")]
    TooLarge(&'static str),
    /// A handshake with a wrong token. Meta's own SDK and examples answer 403.
    #[error("handshake refused: {0}")]
    Forbidden(&'static str),
    /// Authentic, but not in a shape we know: parked, never dropped.
    #[error("authentic, but unreadable: {0}")]
    Unreadable(String),
    /// From somebody who can mend it and try again: an authentic workflow of the tenant's own,
    /// or who asks for a proof and does not say of what. Answered with 400 and the reason, which
    /// never quotes a value.
    #[error("not as documented: {0}")]
    Invalid(String),
}

impl From<serde_json::Error> for Rejection {
    fn from(error: serde_json::Error) -> Self {
        // Only the place: the message can quote the body.
        Self::Unreadable(format!("line {}, column {}", error.line(), error.column()))
    }
}

/// A provider that calls us, with the secrets of one integration.
///
/// Implementations are pure: they read the request, their secrets and the time.
pub trait WebhookSource: Send + Sync {
    /// The address of what `request` says it is proved by, such as a certificate, to be in
    /// [`WebhookRequest::evidence`] when it is verified. Only addresses that are the
    /// provider's by its own rules: nothing is proved yet.
    ///
    /// # Errors
    /// [`Rejection::Unauthenticated`] if it names an address that is not the provider's.
    fn evidence(&self, request: &WebhookRequest) -> Result<Option<String>, Rejection> {
        let _ = request;
        Ok(None)
    }

    /// Proves that `request` came from the provider and is fresh at `now`.
    ///
    /// There is no default: every provider must say how it is authenticated.
    ///
    /// # Errors
    /// [`Rejection::Unauthenticated`], or [`Rejection::Forbidden`] for a handshake;
    /// [`Rejection::TooLarge`] before anything is read whose cost grows with the body.
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection>;

    /// Translates the body into our words.
    ///
    /// An event we do not act on becomes [`EventKind::Other`](crate::event::EventKind), not
    /// an error.
    ///
    /// # Errors
    /// [`Rejection::Unreadable`]
    fn parse(&self, request: &Verified<'_>) -> Result<Delivery, Rejection>;
}

/// One webhook of a provider: most have one, each its own function.
pub trait WebhookProvider: Send + Sync {
    /// Who calls.
    fn provider(&self) -> Provider;

    /// What follows `webhook-` in the function's name.
    fn name(&self) -> &'static str {
        self.provider().as_str()
    }

    /// What follows `/webhooks/` in its address, before the integration's id.
    fn path(&self) -> &'static str {
        self.name()
    }

    /// The verifier and parser for one integration.
    fn source(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Box<dyn WebhookSource>;

    /// What may be kept of an authentic body that is not understood: all of it, but for what is
    /// a secret of the sender's own.
    fn keepable<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(body)
    }

    /// The answer to an accepted request, as this provider wants it.
    fn accepted(&self) -> WebhookReply {
        WebhookReply::empty(StatusCode::OK)
    }

    /// The same where the integration says what is wanted.
    fn accepted_by(&self, integration: &Integration) -> WebhookReply {
        let _ = integration;
        self.accepted()
    }
}

/// Verifies and parses one request.
///
/// # Errors
/// As [`WebhookSource::verify`] and [`WebhookSource::parse`].
pub fn receive(
    source: &dyn WebhookSource,
    request: &WebhookRequest,
    now: Timestamp,
) -> Result<Delivery, Rejection> {
    source.verify(request, now)?;
    source.parse(&Verified(request))
}
