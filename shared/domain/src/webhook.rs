//! Receiving webhooks: verify, then parse. The other order does not compile.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

use crate::event::ParsedEvent;
use crate::{Credentials, Integration, Provider};

/// The largest body that the hub accepts, in bytes, from providers and at its API: what remains of
/// Lambda's 6 MB per invocation when a binary body is base64-encoded. API Gateway itself accepts
/// 10 MB. <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const MAX_BODY_BYTES: usize = 4_400_000;

/// A webhook request as API Gateway delivered it.
#[derive(Clone, Debug, Default)]
pub struct WebhookRequest {
    /// HTTP method.
    pub method: Method,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Headers.
    pub headers: HeaderMap,
    /// Raw body, exactly as received.
    pub body: Bytes,
    /// Path after the webhook's name.
    pub path_suffix: Option<String>,
    /// Complete URL as the caller used it, including the query: some providers sign it.
    pub url: String,
    /// The document at the URL returned by [`WebhookSource::signing_certificate_url`].
    pub signing_certificate: Option<Bytes>,
}

impl WebhookRequest {
    /// Returns the header `name`, if it occurs exactly once and is plain text.
    ///
    /// # Errors
    /// [`Rejection::Unauthenticated`]: the headers that providers' verifiers read authenticate the
    /// request.
    pub fn header(&self, name: &'static str) -> Result<&str, Rejection> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next().map(http::HeaderValue::to_str), values.next()) {
            (Some(Ok(value)), None) => Ok(value),
            _ => Err(Rejection::Unauthenticated("a required authentication header is missing")),
        }
    }

    /// Returns the first query parameter `name`.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A request whose sender has been verified. Only [`receive`] creates one.
#[derive(Debug)]
pub struct Verified<'a>(&'a WebhookRequest);

impl std::ops::Deref for Verified<'_> {
    type Target = WebhookRequest;

    fn deref(&self) -> &WebhookRequest {
        self.0
    }
}

/// The content of a verified webhook.
#[derive(Debug)]
pub enum ParsedWebhook {
    /// Events, in order. May be empty.
    Events(Vec<ParsedEvent>),
    /// A handshake, and the response to it.
    Handshake(WebhookReply),
    /// A handshake that is confirmed by calling a URL; the source has checked that the URL is the
    /// provider's.
    Confirm(String),
}

/// A response to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookReply {
    /// HTTP status.
    pub status: StatusCode,
    /// Body text.
    pub body: String,
    /// Content type of the body.
    pub content_type: &'static str,
}

impl WebhookReply {
    /// Creates a response without a body.
    #[must_use]
    pub const fn empty(status: StatusCode) -> Self {
        Self { status, body: String::new(), content_type: "text/plain; charset=utf-8" }
    }

    /// Creates a plain text response.
    #[must_use]
    pub const fn text(status: StatusCode, body: String) -> Self {
        Self { status, body, content_type: "text/plain; charset=utf-8" }
    }

    /// Creates a JSON response.
    #[must_use]
    pub fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self { status, body: body.to_string(), content_type: "application/json" }
    }

    /// Creates an XML response, such as `TwiML`.
    #[must_use]
    pub fn xml(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), content_type: "text/xml; charset=utf-8" }
    }
}

/// The reason a webhook request was rejected.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// Not verified to be from the provider: nothing of it is kept.
    #[error("authentication failed: {0}")]
    Unauthenticated(&'static str),
    /// Larger than anything the provider sends, so it is not read or verified. Answered with 413
    /// and the reason.
    #[error("body too large: {0}")]
    TooLarge(&'static str),
    /// A handshake with a wrong token. Answered with 403, as Meta's own SDK and examples do.
    #[error("handshake refused: {0}")]
    Forbidden(&'static str),
    /// Verified, but not in a known format: parked, never dropped.
    #[error("verified, but could not be parsed: {0}")]
    Unreadable(String),
    /// Invalid, from a sender that can correct it and try again: a verified workflow of the tenant,
    /// or a handshake with a missing or invalid parameter. Answered with 400 and the reason, which
    /// never quotes a value.
    #[error("invalid request: {0}")]
    Invalid(String),
}

impl From<serde_json::Error> for Rejection {
    fn from(error: serde_json::Error) -> Self {
        // Only the position: serde's message can quote the body.
        Self::Unreadable(format!("line {}, column {}", error.line(), error.column()))
    }
}

/// Webhook verification and parsing for one integration, with its credentials.
///
/// Implementations are pure: they depend only on the request, the credentials and the time.
pub trait WebhookSource: Send + Sync {
    /// Returns the URL of the document, such as a certificate, that is needed to verify `request`;
    /// [`WebhookRequest::signing_certificate`] holds it when the request is verified. Only URLs that belong to
    /// the provider by its own rules are returned, because nothing has been verified yet.
    ///
    /// # Errors
    /// [`Rejection::Unauthenticated`] if the request names a URL that is not the provider's.
    fn signing_certificate_url(
        &self,
        request: &WebhookRequest,
    ) -> Result<Option<String>, Rejection> {
        let _ = request;
        Ok(None)
    }

    /// Verifies that `request` came from the provider and is fresh at `now`.
    ///
    /// There is no default implementation: every provider must state how it is authenticated.
    ///
    /// # Errors
    /// [`Rejection::Unauthenticated`], or [`Rejection::Forbidden`] for a handshake;
    /// [`Rejection::TooLarge`] before any work whose cost grows with the body.
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection>;

    /// Parses the body into events.
    ///
    /// An event that the hub does not process further becomes
    /// [`EventKind::Other`](crate::event::EventKind), not an error.
    ///
    /// # Errors
    /// [`Rejection::Unreadable`]
    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection>;
}

/// A webhook endpoint for a provider: most providers have one. Each is its own function.
pub trait WebhookProvider: Send + Sync {
    /// Returns the provider.
    fn provider(&self) -> Provider;

    /// Returns the part of the function's name after `webhook-`.
    fn name(&self) -> &'static str {
        self.provider().resource_name()
    }

    /// Returns the part of the URL path after `/webhooks/` and before the integration id.
    fn path(&self) -> &'static str {
        self.name()
    }

    /// Returns the verifier and parser for one integration.
    fn source(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Box<dyn WebhookSource>;

    /// Returns the part of a verified body that may be kept if it cannot be parsed: all of it,
    /// except for secrets of the sender.
    fn keepable<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(body)
    }

    /// Returns the response to an accepted request, as this provider expects it.
    fn accepted(&self) -> WebhookReply {
        WebhookReply::empty(StatusCode::OK)
    }

    /// Returns the response to an accepted request where it depends on the integration.
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
) -> Result<ParsedWebhook, Rejection> {
    source.verify(request, now)?;
    source.parse(&Verified(request))
}
