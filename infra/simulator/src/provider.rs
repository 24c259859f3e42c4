//! The traits of a simulated provider.
//!
//! A provider keeps state and rules. It does no I/O and reads no clock: requests and control calls
//! are its input, answers and webhooks its output, and `deliver` sends the webhooks to the hub.

use std::any::Any;
use std::fmt::Debug;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome};
use crate::faults::Faults;
use crate::limits::ServiceWindows;
use crate::log::ProviderContext;
use crate::redelivery::AttemptResult;
use crate::request::{Refusal, Request};

/// A simulated provider: a folder, and a line in `providers::PROVIDERS`.
///
/// `default` is a provider without accounts.
pub trait SimulatedProvider: Any + Debug + Default + Send {
    /// Its name: its control calls are below `/_sim/{NAME}/`.
    const NAME: &'static str;

    /// An account at the provider.
    type Account: SimulatedAccount;

    /// Answers a request to the provider's API; `None` if the path belongs to another provider.
    fn answer(
        &mut self,
        context: &mut ProviderContext<'_>,
        request: &Request<'_>,
    ) -> Option<ProviderResponse<Self>>;

    /// Checks the format of the account name in a control call, before anything else.
    ///
    /// # Errors
    /// If no account can have this name.
    fn check_name(_name: &str) -> Result<(), Refusal> {
        Ok(())
    }

    /// The account `name`, if it exists.
    fn account(&mut self, name: &str) -> Option<&mut Self::Account>;

    /// `PUT /_sim/{NAME}/{name}`: creates the account or changes its settings, and keeps its state.
    ///
    /// # Errors
    /// If the name or the settings are wrong.
    fn put(
        &mut self,
        context: &mut ProviderContext<'_>,
        name: &str,
        call: &Request<'_>,
    ) -> Result<Value, Refusal>;

    /// `/_sim/{NAME}/{name}/{what}`: a control call that is specific to the provider.
    ///
    /// # Errors
    /// If the call is wrong.
    fn control(
        &mut self,
        context: &mut ProviderContext<'_>,
        name: &str,
        what: &str,
        call: &Request<'_>,
    ) -> Result<Step<Self>, Refusal>;

    /// Removes everything except the record of used ids.
    fn reset(&mut self) {
        *self = Self::default();
    }

    /// The account `name`.
    ///
    /// # Errors
    /// If it does not exist.
    fn require_account(&mut self, name: &str) -> Result<&mut Self::Account, Refusal> {
        self.account(name).ok_or_else(|| (404, format!("PUT /_sim/{}/{name} first", Self::NAME)))
    }
}

/// A webhook of one of the provider's accounts to the hub.
pub type Delivery<P> = <<P as SimulatedProvider>::Account as SimulatedAccount>::Delivery;

/// An account at a provider: its summary, its faults and its webhooks.
pub trait SimulatedAccount: Debug + Send + 'static {
    /// A webhook to the hub.
    type Delivery: Debug + Send + 'static;

    /// The shared control calls that this account supports: the empty name (the account's summary),
    /// `accepted`, `reads`, `faults`, `window`.
    const CALLS: &'static [&'static str];

    /// Statuses after which the provider may have accepted a message although it answers with its
    /// own error.
    const IN_DOUBT: &'static [u16] = &[];

    /// The answer to `GET /_sim/.../{what}`, for those of `CALLS` that return data.
    fn show(&self, what: &str, call: &Request<'_>) -> Option<Value>;

    /// The scripted faults, if the account supports them.
    fn faults(&mut self) -> Option<&mut Faults> {
        None
    }

    /// When each customer last wrote, and how many milliseconds the business may write freely after
    /// that; `None` if the provider has no such window.
    fn service_windows(&mut self) -> Option<(&mut ServiceWindows, i64)> {
        None
    }

    /// Delay in milliseconds before the first attempt of a webhook. `None`: at once.
    fn delay_ms(delivery: &Self::Delivery) -> Option<u64>;

    /// Prepares an attempt (from 1) and logs it.
    fn attempt(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: &mut Self::Delivery,
        attempt: u32,
    ) -> Next;

    /// Records how an attempt ended, `passed_ms` after the first one began. Returns the delay in
    /// milliseconds before the next one; `None` if there is none.
    fn attempted(
        &mut self,
        context: &mut ProviderContext<'_>,
        delivery: &Self::Delivery,
        attempt: u32,
        passed_ms: u64,
        how: &AttemptResult,
    ) -> Option<u64>;

    /// Whether the delivery continues with another webhook, which was queued behind this one. Its
    /// attempts are counted from 1 again.
    fn advance(&mut self, _delivery: &mut Self::Delivery) -> bool {
        false
    }

    /// The deliveries that can begin now because another one has ended.
    fn released(&mut self) -> Vec<Self::Delivery> {
        Vec::new()
    }
}

/// The next attempt of a delivery.
#[derive(Clone, Debug)]
pub enum Next {
    /// A request to the hub.
    Send(OutgoingWebhook),
    /// Wait: the account has no webhook address yet.
    NoAddress,
    /// Stop: nothing is left to send.
    Nothing,
}

impl Next {
    /// The request to the hub, if there is one.
    #[must_use]
    pub fn webhook(self) -> Option<OutgoingWebhook> {
        match self {
            Self::Send(webhook) => Some(webhook),
            Self::NoAddress | Self::Nothing => None,
        }
    }
}

/// One attempt of a webhook, ready to be sent.
#[derive(Clone, Debug)]
pub struct OutgoingWebhook {
    /// The method.
    pub method: Method,
    /// The address.
    pub url: String,
    /// Timeout of the attempt.
    pub timeout_ms: u64,
    /// The headers, with the signature or the credentials.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Number of copies that are sent concurrently.
    pub copies: usize,
}

impl OutgoingWebhook {
    /// A `POST` of `body`.
    pub fn post<N: Into<String>>(
        url: String,
        headers: impl IntoIterator<Item = (N, String)>,
        body: Bytes,
        timeout_ms: u64,
    ) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Self { method: Method::POST, url, timeout_ms, headers, body, copies: 1 }
    }
}

/// A provider's response to a request: an answer, and the webhooks of an account that follow.
#[derive(Debug)]
pub struct ProviderResponse<P: SimulatedProvider> {
    /// The answer to the caller.
    pub answer: Answer,
    /// The account.
    pub account: String,
    /// The webhooks to the hub.
    pub deliveries: Vec<Delivery<P>>,
}

impl<P: SimulatedProvider> ProviderResponse<P> {
    /// The response of an account.
    #[must_use]
    pub fn of(account: &str, outcome: Outcome<Delivery<P>>) -> Self {
        let Outcome { answer, deliveries } = outcome;
        Self { answer, account: account.to_owned(), deliveries }
    }
}

impl<P: SimulatedProvider> From<Answer> for ProviderResponse<P> {
    fn from(answer: Answer) -> Self {
        Self { answer, account: String::new(), deliveries: Vec::new() }
    }
}

/// How the first attempts of webhooks ended; `None` if there was no attempt.
pub type FirstAttempts = Vec<Option<AttemptResult>>;

/// Continues a control call when `T` is known.
pub type Continuation<P, T> =
    Box<dyn FnOnce(&mut P, &mut ProviderContext<'_>, T) -> Result<Step<P>, Refusal> + Send>;

/// Checks whether the answer to a control call is available.
pub type PollFn<P> = Box<dyn FnMut(&mut P) -> Option<Value> + Send>;

/// A step of a control call.
pub enum Step<P: SimulatedProvider> {
    /// The call is answered.
    Done(Value),
    /// Deliver webhooks.
    Deliver {
        /// The account that sends them.
        account: String,
        /// The webhooks.
        deliveries: Vec<Delivery<P>>,
        /// Whether the caller waits for their first attempts.
        wait: bool,
        /// Continues with the results of the first attempts; with none, if the caller does not
        /// wait.
        then: Continuation<P, FirstAttempts>,
    },
    /// Send one request that is not a webhook.
    Ask {
        /// The request.
        request: OutgoingWebhook,
        /// Continues with its result.
        then: Continuation<P, AttemptResult>,
    },
    /// Poll for the answer.
    Poll {
        /// Returns the answer once it is available.
        poll: PollFn<P>,
        /// The answer if there is none in time.
        otherwise: Value,
    },
}

impl<P: SimulatedProvider> Step<P> {
    /// Delivers webhooks. The answer is `fields`, with the status of the first webhook's first
    /// attempt as `webhook_status` and those of all as `webhook_statuses`.
    #[must_use]
    pub fn deliver(
        account: &str,
        deliveries: Vec<Delivery<P>>,
        wait: bool,
        mut fields: Value,
    ) -> Self {
        Self::then(account, deliveries, wait, move |_, _, first| {
            let statuses: Vec<Option<u16>> =
                first.iter().map(|how| how.as_ref().map(|how| how.status)).collect();
            if let Some(fields) = fields.as_object_mut() {
                fields.insert("webhook_status".into(), json!(statuses.first().copied().flatten()));
                fields.insert("webhook_statuses".into(), json!(statuses));
            }
            Ok(Self::Done(fields))
        })
    }

    /// Delivers one webhook that the hub must refuse. The answer is its `webhook_status`.
    #[must_use]
    pub fn forge(account: &str, delivery: Delivery<P>) -> Self {
        Self::then(account, vec![delivery], true, |_, _, first| {
            let status = first.into_iter().next().flatten().map(|how| how.status);
            Ok(Self::Done(json!({"webhook_status": status})))
        })
    }

    /// Delivers webhooks, and continues with `then`.
    pub fn then(
        account: &str,
        deliveries: Vec<Delivery<P>>,
        wait: bool,
        then: impl FnOnce(&mut P, &mut ProviderContext<'_>, FirstAttempts) -> Result<Self, Refusal>
        + Send
        + 'static,
    ) -> Self {
        Self::Deliver { account: account.to_owned(), deliveries, wait, then: Box::new(then) }
    }
}
