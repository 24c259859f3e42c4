//! How a message is sent: two pure halves around one network call.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::content::Content;
use crate::fault::{Classify, Fault};
use crate::{Credentials, Integration, MessageId, Provider};

/// What a sender is given: everything the provider's request needs.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Our id; sent along where the provider gives it back.
    pub id: MessageId,
    /// The person's address.
    pub to: &'a str,
    /// What to say.
    pub content: &'a Content,
    /// The provider's id of the message it answers.
    pub reply_to: Option<&'a str>,
}

/// The provider took the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The provider's id of it.
    pub provider_message_id: String,
}

/// A limit on how fast an identity may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Who is limited: a number, a bot, a chat.
    pub identity: String,
    /// Messages in one window.
    pub messages: u32,
    /// Length of the window, whole seconds.
    pub per: Duration,
}

/// The request half of one provider, with the settings and secrets of one integration.
///
/// Implementations are pure; `runtime::transport` makes the call between the halves.
pub trait MessageSender: Send + Sync {
    /// How long the provider remembers our [`MessageId`], so that asking twice delivers
    /// once; `None` if it does not remember it at all.
    fn idempotency_window(&self) -> Option<Duration>;

    /// The limits that apply to a message to `to`, narrowest last.
    fn pace(&self, to: &str) -> Vec<Pace>;

    /// The HTTP request that asks for `message` to be delivered.
    ///
    /// # Errors
    /// [`SendError::Invalid`] if the provider could not accept the message.
    fn request(&self, message: &Outgoing<'_>) -> Result<Request<Bytes>, SendError>;

    /// Reads the provider's answer to the request for `message`.
    ///
    /// # Errors
    /// [`SendError::Refused`], with the provider's own code kept for support.
    fn outcome(
        &self,
        message: &Outgoing<'_>,
        response: &Response<Bytes>,
    ) -> Result<Accepted, SendError>;

    /// The request that tells a person their message was read; `None` where the provider
    /// has no such thing.
    fn mark_read(&self, provider_message_id: &str) -> Option<Result<Request<Bytes>, SendError>>;

    /// The request that asks where a file is.
    ///
    /// # Errors
    /// [`SendError::Invalid`]
    fn locate_media(&self, provider_media_id: &str) -> Result<Request<Bytes>, SendError>;

    /// The request that fetches the file, from the answer to [`Self::locate_media`].
    ///
    /// # Errors
    /// [`SendError::Refused`] or [`SendError::Unreadable`]
    fn fetch_media(&self, located: &Response<Bytes>) -> Result<Request<Bytes>, SendError>;

    /// The request that asks the provider about the account.
    ///
    /// # Errors
    /// [`SendError::Invalid`]
    fn describe_account(&self) -> Result<Request<Bytes>, SendError>;

    /// The request that connects the account to the hub. `webhook_url` is where its
    /// webhooks go; `pin` is WhatsApp's two-step PIN.
    ///
    /// # Errors
    /// [`SendError::Invalid`], naming what is missing.
    fn register(&self, webhook_url: &str, pin: Option<&str>) -> Result<Request<Bytes>, SendError>;

    /// Reads the answer to [`Self::describe_account`], [`Self::register`] or
    /// [`Self::mark_read`].
    ///
    /// # Errors
    /// [`SendError::Refused`] or [`SendError::Unreadable`]
    fn answer(&self, response: &Response<Bytes>) -> Result<serde_json::Value, SendError>;

    /// The address to use instead, if the refusal says that the counterpart moved.
    /// Telegram groups do: <https://core.telegram.org/bots/api#responseparameters>.
    fn moved_to(&self, response: &Response<Bytes>) -> Option<String> {
        let _ = response;
        None
    }
}

/// The sending side of a provider.
pub trait SenderProvider: Send + Sync {
    /// Who carries.
    fn provider(&self) -> Provider;

    /// The sender for one integration.
    ///
    /// # Errors
    /// [`SendError::Invalid`] if a credential is missing.
    fn sender(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<Box<dyn MessageSender>, SendError>;
}

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The message cannot be expressed in the provider's API.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field at fault, in the words of `POST /messages`.
        field: &'static str,
        /// What is wrong with it, and what would be right. Never quotes a value.
        reason: String,
    },
    /// The provider answered, and the answer was no.
    #[error("refused with {status}: {code}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// The provider's machine-readable code, or the HTTP status.
        code: String,
        /// What it means and what to do, in our words.
        remedy: String,
        /// By that code where it is known, else [`Fault::from_status`].
        fault: Fault,
    },
    /// The provider said yes in a shape we cannot read.
    #[error("the answer could not be read")]
    Unreadable,
    /// No connection was made, so nothing was sent.
    #[error("could not connect")]
    Connect,
    /// The request was sent and no answer came back.
    #[error("no answer")]
    NoAnswer,
}

impl SendError {
    /// The machine-readable code for the message's history.
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

    /// What happened and what to do, for the message's history.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Refused { remedy, .. } => remedy.clone(),
            other => other.to_string(),
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

/// What the hub does after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Give the lease back and try again after a backoff.
    Retry,
    /// Give the lease back and try again after the wait; not an attempt.
    Wait(Duration),
    /// Write down that it failed.
    Fail,
    /// Write down that nobody knows.
    Unknown,
}

/// What follows from a failure: the one place where a retry is decided.
///
/// `window` is how long the provider remembers our id; `again` whether the integration
/// accepts that a person may get a message twice.
#[must_use]
pub fn after_failure(fault: Fault, attempt: u32, window: Option<Duration>, again: bool) -> Next {
    match fault {
        Fault::Permanent => Next::Fail,
        Fault::RateLimited { retry_after } => Next::Wait(retry_after),
        Fault::Retryable if attempt >= crate::fault::MAX_ATTEMPTS => Next::Fail,
        Fault::Retryable => Next::Retry,
        Fault::Unknown if attempt < crate::fault::MAX_ATTEMPTS && (again || window.is_some()) => {
            Next::Retry
        }
        Fault::Unknown => Next::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_never_tried_again_unless_twice_is_accepted_or_impossible() {
        let day = Some(Duration::from_hours(24));
        assert_eq!(after_failure(Fault::Unknown, 1, None, false), Next::Unknown);
        assert_eq!(after_failure(Fault::Unknown, 1, None, true), Next::Retry);
        assert_eq!(after_failure(Fault::Unknown, 1, day, false), Next::Retry);
        assert_eq!(after_failure(Fault::Unknown, 8, day, true), Next::Unknown);
    }

    #[test]
    fn retries_end_and_waits_do_not() {
        assert_eq!(after_failure(Fault::Retryable, 7, None, false), Next::Retry);
        assert_eq!(after_failure(Fault::Retryable, 8, None, false), Next::Fail);
        let retry_after = Duration::from_secs(3);
        let limited = Fault::RateLimited { retry_after };
        assert_eq!(after_failure(limited, 99, None, false), Next::Wait(retry_after));
        assert_eq!(after_failure(Fault::Permanent, 1, None, true), Next::Fail);
    }
}
