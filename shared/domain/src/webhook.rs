//! How a webhook is taken in: verify, then parse. The other order does not compile.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

use crate::event::ParsedEvent;
use crate::{Credentials, Provider};

/// A request as it reached the edge.
#[derive(Clone, Debug)]
pub struct WebhookRequest {
    /// HTTP method.
    pub method: Method,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Headers.
    pub headers: HeaderMap,
    /// The body exactly as it was received.
    pub body: Bytes,
    /// What follows the provider's name in the path.
    pub path_suffix: Option<String>,
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
}

/// An answer to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookReply {
    /// HTTP status.
    pub status: StatusCode,
    /// The body, as text.
    pub body: String,
}

impl WebhookReply {
    /// An answer without a body.
    #[must_use]
    pub const fn empty(status: StatusCode) -> Self {
        Self { status, body: String::new() }
    }
}

/// Why a request was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// Not proved to be from the provider: nothing of it is kept.
    #[error("not authentic: {0}")]
    Unauthenticated(&'static str),
    /// A handshake with a wrong token. Meta's own SDK and examples answer 403.
    #[error("handshake refused: {0}")]
    Forbidden(&'static str),
    /// Authentic, but not in a shape we know: parked, never dropped.
    #[error("authentic, but unreadable: {0}")]
    Unreadable(String),
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
    /// Proves that `request` came from the provider and is fresh at `now`.
    ///
    /// There is no default: every provider must say how it is authenticated.
    ///
    /// # Errors
    /// [`Rejection::Unauthenticated`], or [`Rejection::Forbidden`] for a handshake.
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

/// The webhook side of a provider.
pub trait WebhookProvider: Send + Sync {
    /// Who calls.
    fn provider(&self) -> Provider;

    /// The verifier and parser for one integration. `account` is the integration's own.
    fn source(&self, credentials: &Credentials, account: Option<&str>) -> Box<dyn WebhookSource>;

    /// The answer to an accepted request, as this provider wants it.
    fn accepted(&self) -> WebhookReply {
        WebhookReply::empty(StatusCode::OK)
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
