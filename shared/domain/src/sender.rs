//! Sending a message: a provider builds the request and reads the response; the call is made
//! elsewhere.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::content::Content;
use crate::failpoint::{self, Failpoint};
use crate::fault::{Classify, Fault, MAX_ATTEMPTS};
use crate::provider::Channel;
use crate::{Credentials, Integration, IntegrationId, MessageId, Provider};

/// An outbound message, as a provider's sender receives it.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The hub's message id; sent to the provider if it returns it in receipts.
    pub id: MessageId,
    /// The channel.
    pub channel: Channel,
    /// The integration that sends the message.
    pub integration: IntegrationId,
    /// The hub's public URL, without a trailing slash; `None` if it is not known.
    pub hub_url: Option<&'a str>,
    /// The recipient's address.
    pub to: &'a str,
    /// The content.
    pub content: &'a Content,
    /// The provider message id of the message it replies to.
    pub reply_to: Option<&'a str>,
}

impl Outgoing<'_> {
    /// Returns the URL for delivery receipts: the integration's own webhook at `path`, as in
    /// [`WebhookProvider::path`](crate::webhook::WebhookProvider::path).
    #[must_use]
    pub fn callback(&self, path: &str) -> Option<String> {
        self.hub_url.map(|hub| format!("{hub}/webhooks/{path}/{}", self.integration))
    }
}

/// The provider accepted the message.
///
/// It has one provider message id, or several if the provider splits a message, such as a long SMS,
/// into messages of their own. The first identifies the message; a receipt may name any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    provider_message_id: String,
    further: Vec<String>,
}

impl Accepted {
    /// Creates the outcome with the message's provider message id.
    #[must_use]
    pub fn new(provider_message_id: impl Into<String>) -> Self {
        Self { provider_message_id: provider_message_id.into(), further: Vec::new() }
    }

    /// Adds the ids of the other parts of a message that the provider split, in order. Empty and
    /// repeated ids are left out.
    #[must_use]
    pub fn with_further(mut self, ids: impl IntoIterator<Item = String>) -> Self {
        for id in ids {
            if !id.is_empty() && self.provider_message_ids().all(|known| known != id) {
                self.further.push(id);
            }
        }
        self
    }

    /// Returns the first provider message id, which identifies the message.
    #[must_use]
    pub fn provider_message_id(&self) -> &str {
        &self.provider_message_id
    }

    /// Returns every provider message id, the first one first.
    pub fn provider_message_ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.provider_message_id).chain(&self.further).map(String::as_str)
    }
}

/// A rate limit of a sending identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The identity that is limited: a number, a bot, a chat.
    pub identity: String,
    /// Messages allowed in one window.
    pub messages: u32,
    /// Length of the window, whole seconds.
    pub per: Duration,
}

impl RateLimit {
    /// Creates a rate limit in messages per second.
    #[must_use]
    pub fn per_second(identity: impl Into<String>, messages: u32) -> Self {
        Self { identity: identity.into(), messages, per: Duration::from_secs(1) }
    }
}

/// The sender of one integration, with its settings and credentials: it builds requests and reads
/// responses.
///
/// What a provider may be able to do besides sending is a trait of its own: [`MediaFetcher`],
/// [`AccountReader`], [`WebhookRegistrar`] and [`ReadReceipts`]. A provider implements only what it
/// can do.
///
/// Implementations are pure; `runtime::transport` makes the calls.
pub trait MessageSender: Send + Sync {
    /// Returns how long the provider deduplicates requests by our [`MessageId`]; `None` if it does
    /// not deduplicate.
    fn idempotency_window(&self) -> Option<Duration>;

    /// Returns the rate limits that apply to a message to `to`, narrowest last.
    fn rate_limits(&self, to: &str) -> Vec<RateLimit>;

    /// Returns the HTTP request that sends `message`.
    ///
    /// # Errors
    /// [`SendError::Invalid`] if the provider could not accept the message.
    fn request(&self, message: &Outgoing<'_>) -> Result<Request<Bytes>, SendError>;

    /// Reads the provider's response to the request for `message`.
    ///
    /// # Errors
    /// [`SendError::Refused`], with the provider's own error code.
    fn outcome(
        &self,
        message: &Outgoing<'_>,
        response: &Response<Bytes>,
    ) -> Result<Accepted, SendError>;

    /// Returns the recipient's new address, if the error response says that it changed.
    /// Telegram groups do: <https://core.telegram.org/bots/api#responseparameters>.
    fn moved_to(&self, response: &Response<Bytes>) -> Option<String> {
        let _ = response;
        None
    }
}

/// Download of the files of received messages, for one integration.
pub trait MediaFetcher: Send + Sync {
    /// Returns the first request needed to download a file.
    ///
    /// # Errors
    /// [`SendError::Invalid`]
    fn locate_media(&self, provider_media_id: &str) -> Result<MediaRequest, SendError>;

    /// Reads the response to [`MediaRequest::Lookup`]. A provider that never returns one need not
    /// implement it.
    ///
    /// # Errors
    /// [`SendError::Refused`] or [`SendError::Unreadable`]
    fn fetch_media(&self, located: &Response<Bytes>) -> Result<MediaSource, SendError> {
        let _ = located;
        Err(SendError::Unreadable)
    }
}

/// Reading of the provider's responses to calls about an account, the same for each of them.
pub trait AnswerReader: Send + Sync {
    /// Reads the response to a request of [`AccountReader`], [`WebhookRegistrar`] or
    /// [`ReadReceipts`], without the secrets that it contains.
    ///
    /// # Errors
    /// [`SendError::Refused`] or [`SendError::Unreadable`]
    fn answer(&self, response: &Response<Bytes>) -> Result<serde_json::Value, SendError>;
}

/// Description of an integration's account by its provider.
pub trait AccountReader: AnswerReader {
    /// Returns the request for the provider's description of the account.
    ///
    /// # Errors
    /// [`SendError::Invalid`]
    fn describe_account(&self) -> Result<Request<Bytes>, SendError>;
}

/// Connection of an integration's account to the hub's webhook.
pub trait WebhookRegistrar: AnswerReader {
    /// Returns the request that connects the account to the hub. `webhook_url` is the URL for its
    /// webhooks; `pin` is WhatsApp's two-step verification PIN.
    ///
    /// # Errors
    /// [`SendError::Invalid`], naming what is missing.
    fn register(&self, webhook_url: &str, pin: Option<&str>) -> Result<Request<Bytes>, SendError>;
}

/// Read receipts for the messages that an integration received.
pub trait ReadReceipts: AnswerReader {
    /// Returns the request that marks a received message as read; `None` if the provider has no
    /// read receipt for this message.
    ///
    /// # Errors
    /// [`SendError::Invalid`]
    fn mark_read(&self, provider_message_id: &str) -> Result<Option<Request<Bytes>>, SendError>;
}

/// The first request needed to download a file.
#[derive(Debug)]
pub enum MediaRequest {
    /// Its response says where the file is, or contains the file in the provider's own format:
    /// [`MediaFetcher::fetch_media`] reads it.
    Lookup(Request<Bytes>),
    /// Its response is the file.
    Download(Request<Bytes>),
}

/// The file, or the request for it.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one value exists per file, and is used at once")]
pub enum MediaSource {
    /// The response to this request is the file.
    Download(Request<Bytes>),
    /// The file.
    Inline(Bytes),
}

/// A provider that can send messages.
pub trait SenderProvider: Send + Sync {
    /// Returns the provider.
    fn provider(&self) -> Provider;

    /// Returns the sender for one integration.
    ///
    /// # Errors
    /// [`SendError::Invalid`] if a credential is missing.
    fn sender(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<Box<dyn MessageSender>, SendError>;
}

/// The scope of a refusal: it decides whether another integration might send the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalScope {
    /// The message or the recipient: every other integration would be refused as well.
    Message,
    /// This message over this account: the service window is closed, the account lacks the template
    /// or may not send to the country. Another integration may succeed; the account is healthy.
    Route,
    /// The account or the provider, whatever the message: credentials, account standing or an
    /// outage.
    Account,
}

impl RefusalScope {
    /// Returns the scope that an HTTP status implies where the provider's own code does not say
    /// more: authentication, permission, payment, rate limit and server errors concern the account.
    #[must_use]
    pub fn from_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 | 402 | 403 | 408 | 429 | 500..=599 => Self::Account,
            _ => Self::Message,
        }
    }
}

/// The reason a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The message cannot be expressed in the provider's API.
    #[error("{field}: {reason}")]
    Invalid {
        /// The invalid field, as `POST /messages` names it.
        field: &'static str,
        /// What is wrong with the field, and what would be valid. Never quotes a value.
        reason: String,
    },
    /// The provider returned an error.
    #[error("refused with {status}: {code}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The provider's machine-readable code, or the HTTP status.
        code: String,
        /// What the code means and what to do.
        remedy: String,
        /// Set by that code where it is known, else by [`Fault::from_response`].
        fault: Fault,
        /// The scope of the refusal.
        scope: RefusalScope,
    },
    /// The provider returned success with a body in an unknown format.
    #[error("the provider's response could not be read; it may have accepted the message")]
    Unreadable,
    /// No connection was made, so nothing was sent.
    #[error("could not connect to the provider; nothing was sent")]
    Connect,
    /// The request was sent and no response was received.
    #[error("the provider did not respond; it may have accepted the message")]
    NoAnswer,
}

impl SendError {
    /// Returns the machine-readable code for the message's history.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Invalid { .. } => "invalid_message",
            Self::Refused { code, .. } => code,
            Self::Unreadable => "unreadable_answer",
            Self::Connect => "no_connection",
            Self::NoAnswer => "no_answer",
        }
    }

    /// Returns the explanation for the message's history: what happened and what to do.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Refused { remedy, .. } => remedy.clone(),
            other => other.to_string(),
        }
    }
}

impl SendError {
    /// Whether the error concerns the account, whatever the message: the circuit breaker counts
    /// these.
    #[must_use]
    pub fn is_account_error(&self) -> bool {
        match self {
            // The field names what is wrong with the integration, not with the message.
            Self::Invalid { field, .. } => {
                field.starts_with("credentials") || field.starts_with("settings")
            }
            // A rate limit does not mean that the account is unhealthy.
            Self::Refused { fault: Fault::RateLimited { .. }, .. } => false,
            Self::Refused { scope, .. } => *scope == RefusalScope::Account,
            Self::Unreadable | Self::Connect | Self::NoAnswer => true,
        }
    }

    /// Whether another integration might send the message, as far as this error shows.
    #[must_use]
    pub fn allows_failover(&self) -> bool {
        match self {
            Self::Refused { fault: Fault::Permanent, scope, .. } => *scope != RefusalScope::Message,
            // Another provider may be able to express what this one cannot.
            _ => true,
        }
    }
}

impl Classify for SendError {
    fn fault(&self) -> Fault {
        match self {
            Self::Invalid { .. } => Fault::Permanent,
            Self::Connect => Fault::Retryable,
            Self::NoAnswer | Self::Unreadable => Fault::Unknown,
            Self::Refused { fault, .. } => *fault,
        }
    }
}

/// The next action after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Release the lease and retry after a backoff.
    Retry,
    /// Release the lease and retry after the wait; not counted as an attempt.
    Wait(Duration),
    /// Fail over to the next integration. This integration is tried again, after the others, only
    /// if `come_back`.
    Failover {
        /// Whether a later attempt over this integration may succeed.
        come_back: bool,
    },
    /// Settle the message as failed.
    Fail,
    /// Settle the message as unknown.
    Unknown,
}

/// The minimum time, counted from when a message was accepted, for which it is retried even after
/// its attempts are used up: many quick attempts fit into an outage of minutes, which must not fail
/// the message.
pub const MIN_RETRY_PERIOD: Duration = Duration::from_mins(15);
/// The same minimum for errors of the account or the provider: the next message would fail as well.
pub const ACCOUNT_MIN_RETRY_PERIOD: Duration = Duration::from_hours(1);

/// The state of a message after a failed attempt, from which the next action follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptContext {
    /// The number of the failed attempt, over all integrations, counted from 1.
    pub attempt: u32,
    /// The time since the message was accepted.
    pub age: Duration,
    /// How long the provider deduplicates by our message id.
    pub window: Option<Duration>,
    /// The time since the provider may first have accepted the message, if it may have.
    pub in_doubt_for: Option<Duration>,
    /// Whether the integration's delivery policy accepts duplicates.
    pub allow_duplicates: bool,
    /// The number of other integrations that may send the message.
    pub alternatives: u32,
    /// How long the message may still wait for a rate-limited integration before it fails over to
    /// another.
    pub patience: Duration,
}

/// Decides what to do after a failed attempt: the one place where a retry or a failover is decided.
///
/// A message fails over only if this provider certainly did not accept it, or if duplicates are
/// accepted. A message that was certainly not accepted is retried for a minimum time, whatever the
/// number of attempts; one whose outcome is unknown is retried a limited number of times, because
/// each retry may create a duplicate.
#[must_use]
pub fn after_failure(error: &SendError, attempt_context: AttemptContext) -> NextAction {
    let AttemptContext {
        attempt,
        age,
        window,
        in_doubt_for,
        allow_duplicates,
        alternatives,
        patience,
    } = attempt_context;
    let is_remembered = window.is_some_and(|window| in_doubt_for.unwrap_or_default() < window);
    let retried_for =
        if error.is_account_error() { ACCOUNT_MIN_RETRY_PERIOD } else { MIN_RETRY_PERIOD };
    let is_in_doubt = error.fault() == Fault::Unknown;
    let may_retry = attempt < MAX_ATTEMPTS.saturating_mul(alternatives.saturating_add(1))
        || (!is_in_doubt && age < retried_for);
    let may_fail_over = alternatives > 0 && may_retry && error.allows_failover();
    match error.fault() {
        Fault::Permanent if may_fail_over => NextAction::Failover { come_back: false },
        Fault::RateLimited { retry_after } if may_fail_over && retry_after > patience => {
            NextAction::Failover { come_back: true }
        }
        Fault::RateLimited { retry_after } => NextAction::Wait(retry_after),
        Fault::Retryable if may_fail_over => NextAction::Failover { come_back: true },
        Fault::Retryable if may_retry => NextAction::Retry,
        Fault::Permanent | Fault::Retryable => NextAction::Fail,
        // A provider that deduplicates by our id can be asked again safely.
        Fault::Unknown if may_retry && is_remembered => NextAction::Retry,
        Fault::Unknown
            if may_fail_over
                && (allow_duplicates || failpoint::is_active(Failpoint::MovedWhenUnknown)) =>
        {
            NextAction::Failover { come_back: true }
        }
        Fault::Unknown if may_retry && allow_duplicates => NextAction::Retry,
        Fault::Unknown => NextAction::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALONE: AttemptContext = AttemptContext {
        attempt: 1,
        age: ACCOUNT_MIN_RETRY_PERIOD,
        window: None,
        in_doubt_for: None,
        allow_duplicates: false,
        alternatives: 0,
        patience: Duration::from_mins(1),
    };

    fn refused(fault: Fault, scope: RefusalScope) -> SendError {
        let status = StatusCode::BAD_REQUEST;
        SendError::Refused { status, code: "1".into(), remedy: String::new(), fault, scope }
    }

    #[test]
    fn an_accepted_message_has_each_provider_message_id_once_and_the_first_one_first() {
        let further = ["b", "", "a", "c", "b"].map(str::to_owned);
        let accepted = Accepted::new("a").with_further(further);
        assert_eq!(accepted.provider_message_id(), "a");
        assert_eq!(accepted.provider_message_ids().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(Accepted::new("a").provider_message_ids().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn an_unknown_outcome_is_retried_only_if_duplicates_are_accepted_or_impossible() {
        let error = SendError::NoAnswer;
        let window = Some(Duration::from_hours(24));
        assert_eq!(after_failure(&error, ALONE), NextAction::Unknown);
        assert_eq!(
            after_failure(&error, AttemptContext { allow_duplicates: true, ..ALONE }),
            NextAction::Retry
        );
        assert_eq!(after_failure(&error, AttemptContext { window, ..ALONE }), NextAction::Retry);
        let in_doubt_for = window;
        let late = AttemptContext { window, in_doubt_for, ..ALONE };
        assert_eq!(after_failure(&error, late), NextAction::Unknown, "the window is over");
        let last = AttemptContext { window, allow_duplicates: true, attempt: 8, ..ALONE };
        assert_eq!(after_failure(&error, last), NextAction::Unknown);
        // The message's age does not matter: each attempt may create a duplicate.
        let young = AttemptContext { age: Duration::ZERO, ..last };
        assert_eq!(after_failure(&error, young), NextAction::Unknown);
    }

    #[test]
    fn retries_are_limited_and_rate_limit_waits_are_not() {
        let error = refused(Fault::Retryable, RefusalScope::Account);
        assert_eq!(
            after_failure(&error, AttemptContext { attempt: 7, ..ALONE }),
            NextAction::Retry
        );
        assert_eq!(after_failure(&error, AttemptContext { attempt: 8, ..ALONE }), NextAction::Fail);
        let retry_after = Duration::from_secs(3);
        let limited = refused(Fault::RateLimited { retry_after }, RefusalScope::Account);
        let late = AttemptContext { attempt: 99, ..ALONE };
        assert_eq!(after_failure(&limited, late), NextAction::Wait(retry_after));
        for (scope, retried_for) in [
            (RefusalScope::Account, ACCOUNT_MIN_RETRY_PERIOD),
            (RefusalScope::Message, MIN_RETRY_PERIOD),
        ] {
            let error = refused(Fault::Retryable, scope);
            let age = retried_for.saturating_sub(Duration::from_secs(1));
            let young = AttemptContext { attempt: 99, age, ..ALONE };
            assert_eq!(after_failure(&error, young), NextAction::Retry, "{scope:?}");
            let old = AttemptContext { age: retried_for, ..young };
            assert_eq!(after_failure(&error, old), NextAction::Fail, "{scope:?}");
        }
        let permanent = refused(Fault::Permanent, RefusalScope::Account);
        assert_eq!(
            after_failure(&permanent, AttemptContext { allow_duplicates: true, ..ALONE }),
            NextAction::Fail
        );
    }

    #[test]
    fn an_error_of_one_integration_fails_over_to_the_next() {
        let two = AttemptContext { alternatives: 1, ..ALONE };
        let down = refused(Fault::Retryable, RefusalScope::Account);
        assert_eq!(after_failure(&down, two), NextAction::Failover { come_back: true });
        assert_eq!(
            after_failure(&SendError::Connect, two),
            NextAction::Failover { come_back: true }
        );
        let locked = refused(Fault::Permanent, RefusalScope::Account);
        assert_eq!(after_failure(&locked, two), NextAction::Failover { come_back: false });
        let no_window = refused(Fault::Permanent, RefusalScope::Route);
        assert_eq!(after_failure(&no_window, two), NextAction::Failover { come_back: false });
        assert!(!no_window.is_account_error(), "the account is healthy");
        let unknown_recipient = refused(Fault::Permanent, RefusalScope::Message);
        assert_eq!(after_failure(&unknown_recipient, two), NextAction::Fail);
        let invalid = SendError::Invalid { field: "template", reason: String::new() };
        assert_eq!(after_failure(&invalid, two), NextAction::Failover { come_back: false });
    }

    #[test]
    fn a_rate_limited_integration_is_waited_for_up_to_the_limit() {
        let limited = |seconds| {
            let retry_after = Duration::from_secs(seconds);
            refused(Fault::RateLimited { retry_after }, RefusalScope::Account)
        };
        let two = AttemptContext { alternatives: 1, ..ALONE };
        assert_eq!(after_failure(&limited(60), two), NextAction::Wait(Duration::from_mins(1)));
        assert_eq!(after_failure(&limited(61), two), NextAction::Failover { come_back: true });
    }

    proptest! {
        #[test]
        fn a_message_the_first_provider_may_have_accepted_does_not_fail_over(
            attempt in 1_u32..40, alternatives in 0_u32..5, unreadable: bool, windowed: bool,
        ) {
            let error = if unreadable { SendError::Unreadable } else { SendError::NoAnswer };
            let window = windowed.then(|| Duration::from_hours(24));
            let next = after_failure(&error, AttemptContext { attempt, window, alternatives, ..ALONE });
            prop_assert!(matches!(next, NextAction::Unknown | NextAction::Retry));
            prop_assert!(windowed || next == NextAction::Unknown);
        }

        #[test]
        fn a_series_of_failures_ends(alternatives in 0_u32..5, permanent: bool, allow_duplicates: bool) {
            let fault = if permanent { Fault::Permanent } else { Fault::Retryable };
            let error = refused(fault, RefusalScope::Account);
            let end = MAX_ATTEMPTS * (alternatives + 1);
            let next = after_failure(&error, AttemptContext { attempt: end, alternatives, allow_duplicates, ..ALONE });
            prop_assert_eq!(next, NextAction::Fail);
        }
    }
}
