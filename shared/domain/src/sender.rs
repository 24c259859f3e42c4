//! How a message is sent: two pure halves around one network call.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::content::Content;
use crate::failpoint::{self, Failpoint};
use crate::fault::{Classify, Fault, MAX_ATTEMPTS};
use crate::provider::Channel;
use crate::{Credentials, Integration, IntegrationId, MessageId, Provider};

/// What a sender is given: everything the provider's request needs.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Our id; sent along where the provider gives it back.
    pub id: MessageId,
    /// What it travels on.
    pub channel: Channel,
    /// The integration it leaves through.
    pub integration: IntegrationId,
    /// Where providers reach the hub, without a trailing slash; `None` if that is not known.
    pub hub_url: Option<&'a str>,
    /// The person's address.
    pub to: &'a str,
    /// What to say.
    pub content: &'a Content,
    /// The provider's id of the message it answers.
    pub reply_to: Option<&'a str>,
}

impl Outgoing<'_> {
    /// Where the provider is to tell what became of the message: the integration's own webhook
    /// at `path`, as in [`WebhookProvider::path`](crate::webhook::WebhookProvider::path).
    #[must_use]
    pub fn callback(&self, path: &str) -> Option<String> {
        self.hub_url.map(|hub| format!("{hub}/webhooks/{path}/{}", self.integration))
    }
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
    fn mark_read(&self, provider_message_id: &str) -> Option<Result<Request<Bytes>, SendError>> {
        let _ = provider_message_id;
        None
    }

    /// The first request on the way to a file.
    ///
    /// # Errors
    /// [`SendError::Invalid`]
    fn locate_media(&self, provider_media_id: &str) -> Result<Locate, SendError>;

    /// What the answer to [`Locate::Ask`] leads to.
    ///
    /// # Errors
    /// [`SendError::Refused`] or [`SendError::Unreadable`]
    fn fetch_media(&self, located: &Response<Bytes>) -> Result<Fetch, SendError>;

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

/// The first request on the way to a file.
#[derive(Debug)]
pub enum Locate {
    /// It asks where the file is, or for the file in the provider's own wrapping:
    /// [`MessageSender::fetch_media`] reads the answer.
    Ask(Request<Bytes>),
    /// Its answer is the file.
    Fetch(Request<Bytes>),
}

/// Where a file is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one is made a file, and used at once")]
pub enum Fetch {
    /// In the answer to this request.
    From(Request<Bytes>),
    /// Here.
    Here(Bytes),
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

/// What a refusal is about: it decides whether another account might carry the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The message or the person it goes to: no other account would do better.
    Message,
    /// The message over this account: a window that is not open, a template it does not have, a
    /// country it may not reach. Another account may; this one is well.
    Carrier,
    /// The account or the provider, whatever the message: its credentials, its standing, its
    /// service.
    Account,
}

impl About {
    /// What an HTTP status is about where the provider's own code does not say more: who is
    /// not known, may not or must pay, and a service in trouble, are not the message's fault.
    #[must_use]
    pub fn from_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 | 402 | 403 | 408 | 429 | 500..=599 => Self::Account,
            _ => Self::Message,
        }
    }
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
        /// By that code where it is known, else [`Fault::of_answer`].
        fault: Fault,
        /// What is at fault.
        about: About,
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

impl SendError {
    /// Whether this account is unwell, for whatever message: what a circuit breaker counts.
    #[must_use]
    pub fn is_of_account(&self) -> bool {
        match self {
            // The field names what is wrong with the integration, not with the message.
            Self::Invalid { field, .. } => {
                field.starts_with("credentials") || field.starts_with("settings")
            }
            // Too fast is not unwell.
            Self::Refused { fault: Fault::RateLimited { .. }, .. } => false,
            Self::Refused { about, .. } => *about == About::Account,
            Self::Unreadable | Self::Connect | Self::NoAnswer => true,
        }
    }

    /// Whether another account might carry the message, as far as this error tells.
    #[must_use]
    pub fn may_go_elsewhere(&self) -> bool {
        match self {
            Self::Refused { fault: Fault::Permanent, about, .. } => *about != About::Message,
            // What one provider has no form for another may have.
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

/// What the hub does after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Give the lease back and try again after a backoff.
    Retry,
    /// Give the lease back and try again after the wait; not an attempt.
    Wait(Duration),
    /// Hand the message over to the next carrier. This one is asked again, after the others,
    /// only if `come_back`.
    Elsewhere {
        /// Whether this carrier may do better later.
        come_back: bool,
    },
    /// Write down that it failed.
    Fail,
    /// Write down that nobody knows.
    Unknown,
}

/// How long after it was accepted a message is tried again at least, although its attempts are
/// used up: so that an outage of minutes, which takes many quick attempts, costs no message.
pub const PERSEVERANCE: Duration = Duration::from_mins(15);
/// The same where the account or the provider is unwell: the next message would fare no better.
pub const ACCOUNT_PERSEVERANCE: Duration = Duration::from_hours(1);

/// What an attempt still has before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chances {
    /// Which attempt failed, over all carriers, counted from 1.
    pub attempt: u32,
    /// How long ago the message was accepted.
    pub age: Duration,
    /// How long the provider remembers our id.
    pub window: Option<Duration>,
    /// How long ago the provider may have taken it first, if it may have.
    pub maybe_taken: Option<Duration>,
    /// Whether the integration accepts that a person may get a message twice.
    pub again: bool,
    /// How many other carriers may take the message.
    pub others: u32,
    /// How long the message may still wait for a carrier that asks for patience, before
    /// another is asked.
    pub patience: Duration,
}

/// What follows from a failure: the one place where a retry or a failover is decided.
///
/// A message goes elsewhere only when this carrier certainly has not taken it, or when twice is
/// accepted. What it certainly has not taken is tried again for a while, however often that is;
/// what it may have taken a few times at most, for each could be another copy.
#[must_use]
pub fn after_failure(error: &SendError, chances: Chances) -> Next {
    let Chances { attempt, age, window, maybe_taken, again, others, patience } = chances;
    let is_remembered = window.is_some_and(|window| maybe_taken.unwrap_or_default() < window);
    let perseverance = if error.is_of_account() { ACCOUNT_PERSEVERANCE } else { PERSEVERANCE };
    let is_in_doubt = error.fault() == Fault::Unknown;
    let left = attempt < MAX_ATTEMPTS.saturating_mul(others.saturating_add(1))
        || (!is_in_doubt && age < perseverance);
    let elsewhere = others > 0 && left && error.may_go_elsewhere();
    match error.fault() {
        Fault::Permanent if elsewhere => Next::Elsewhere { come_back: false },
        Fault::RateLimited { retry_after } if elsewhere && retry_after > patience => {
            Next::Elsewhere { come_back: true }
        }
        Fault::RateLimited { retry_after } => Next::Wait(retry_after),
        Fault::Retryable if elsewhere => Next::Elsewhere { come_back: true },
        Fault::Retryable if left => Next::Retry,
        Fault::Permanent | Fault::Retryable => Next::Fail,
        // Where the provider knows our id, asking it again is the way to find out.
        Fault::Unknown if left && is_remembered => Next::Retry,
        Fault::Unknown
            if elsewhere && (again || failpoint::is_active(Failpoint::MovedWhenUnknown)) =>
        {
            Next::Elsewhere { come_back: true }
        }
        Fault::Unknown if left && again => Next::Retry,
        Fault::Unknown => Next::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALONE: Chances = Chances {
        attempt: 1,
        age: ACCOUNT_PERSEVERANCE,
        window: None,
        maybe_taken: None,
        again: false,
        others: 0,
        patience: Duration::from_mins(1),
    };

    fn refused(fault: Fault, about: About) -> SendError {
        let status = StatusCode::BAD_REQUEST;
        SendError::Refused { status, code: "1".into(), remedy: String::new(), fault, about }
    }

    #[test]
    fn an_unknown_outcome_is_never_tried_again_unless_twice_is_accepted_or_impossible() {
        let error = SendError::NoAnswer;
        let window = Some(Duration::from_hours(24));
        assert_eq!(after_failure(&error, ALONE), Next::Unknown);
        assert_eq!(after_failure(&error, Chances { again: true, ..ALONE }), Next::Retry);
        assert_eq!(after_failure(&error, Chances { window, ..ALONE }), Next::Retry);
        let maybe_taken = window;
        let late = Chances { window, maybe_taken, ..ALONE };
        assert_eq!(after_failure(&error, late), Next::Unknown, "it is remembered no more");
        let last = Chances { window, again: true, attempt: 8, ..ALONE };
        assert_eq!(after_failure(&error, last), Next::Unknown);
        // However young it is: each attempt may be another copy.
        let young = Chances { age: Duration::ZERO, ..last };
        assert_eq!(after_failure(&error, young), Next::Unknown);
    }

    #[test]
    fn retries_end_and_waits_do_not() {
        let error = refused(Fault::Retryable, About::Account);
        assert_eq!(after_failure(&error, Chances { attempt: 7, ..ALONE }), Next::Retry);
        assert_eq!(after_failure(&error, Chances { attempt: 8, ..ALONE }), Next::Fail);
        let retry_after = Duration::from_secs(3);
        let limited = refused(Fault::RateLimited { retry_after }, About::Account);
        let late = Chances { attempt: 99, ..ALONE };
        assert_eq!(after_failure(&limited, late), Next::Wait(retry_after));
        for (about, least) in
            [(About::Account, ACCOUNT_PERSEVERANCE), (About::Message, PERSEVERANCE)]
        {
            let error = refused(Fault::Retryable, about);
            let age = least.saturating_sub(Duration::from_secs(1));
            let young = Chances { attempt: 99, age, ..ALONE };
            assert_eq!(after_failure(&error, young), Next::Retry, "{about:?}");
            let old = Chances { age: least, ..young };
            assert_eq!(after_failure(&error, old), Next::Fail, "{about:?}");
        }
        let permanent = refused(Fault::Permanent, About::Account);
        assert_eq!(after_failure(&permanent, Chances { again: true, ..ALONE }), Next::Fail);
    }

    #[test]
    fn what_only_this_carrier_cannot_do_goes_to_the_next() {
        let two = Chances { others: 1, ..ALONE };
        let down = refused(Fault::Retryable, About::Account);
        assert_eq!(after_failure(&down, two), Next::Elsewhere { come_back: true });
        assert_eq!(after_failure(&SendError::Connect, two), Next::Elsewhere { come_back: true });
        let locked = refused(Fault::Permanent, About::Account);
        assert_eq!(after_failure(&locked, two), Next::Elsewhere { come_back: false });
        let no_window = refused(Fault::Permanent, About::Carrier);
        assert_eq!(after_failure(&no_window, two), Next::Elsewhere { come_back: false });
        assert!(!no_window.is_of_account(), "nobody is unwell for that");
        let no_such_person = refused(Fault::Permanent, About::Message);
        assert_eq!(after_failure(&no_such_person, two), Next::Fail);
        let invalid = SendError::Invalid { field: "template", reason: String::new() };
        assert_eq!(after_failure(&invalid, two), Next::Elsewhere { come_back: false });
    }

    #[test]
    fn a_throttled_carrier_is_waited_for_as_long_as_there_is_patience() {
        let limited = |seconds| {
            let retry_after = Duration::from_secs(seconds);
            refused(Fault::RateLimited { retry_after }, About::Account)
        };
        let two = Chances { others: 1, ..ALONE };
        assert_eq!(after_failure(&limited(60), two), Next::Wait(Duration::from_mins(1)));
        assert_eq!(after_failure(&limited(61), two), Next::Elsewhere { come_back: true });
    }

    proptest! {
        #[test]
        fn nobody_gets_a_message_from_a_second_carrier_that_the_first_may_have_taken(
            attempt in 1_u32..40, others in 0_u32..5, unreadable: bool, windowed: bool,
        ) {
            let error = if unreadable { SendError::Unreadable } else { SendError::NoAnswer };
            let window = windowed.then(|| Duration::from_hours(24));
            let next = after_failure(&error, Chances { attempt, window, others, ..ALONE });
            prop_assert!(matches!(next, Next::Unknown | Next::Retry));
            prop_assert!(windowed || next == Next::Unknown);
        }

        #[test]
        fn every_run_of_failures_ends(others in 0_u32..5, permanent: bool, again: bool) {
            let fault = if permanent { Fault::Permanent } else { Fault::Retryable };
            let error = refused(fault, About::Account);
            let end = MAX_ATTEMPTS * (others + 1);
            let next = after_failure(&error, Chances { attempt: end, others, again, ..ALONE });
            prop_assert_eq!(next, Next::Fail);
        }
    }
}
