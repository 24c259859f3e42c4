//! What a simulated provider is.
//!
//! A provider keeps state and rules. It does no I/O and reads no clock: requests and control
//! calls go in, answers and webhooks come out, and `deliver` takes the webhooks to the hub.

use std::any::Any;
use std::fmt::Debug;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome};
use crate::faults::Faults;
use crate::limits::ServiceWindows;
use crate::log::Scene;
use crate::redelivery::Attempted;
use crate::request::{Refusal, Request};

/// A provider that the simulator plays: a folder, and a line in `providers::PROVIDERS`.
///
/// The default is a provider whose accounts have yet to be made.
pub trait SimulatedProvider: Any + Debug + Default + Send {
    /// Its name: its control calls are below `/_sim/{NAME}/`.
    const NAME: &'static str;

    /// An account at the provider.
    type Account: SimulatedAccount;

    /// Answers a request to the provider's API; `None` if the path belongs to another provider.
    fn answer(&mut self, scene: &mut Scene<'_>, request: &Request<'_>) -> Option<Reaction<Self>>;

    /// Checks the form of the name in a control call, before anything else.
    ///
    /// # Errors
    /// If no account can have it.
    fn check_name(_name: &str) -> Result<(), Refusal> {
        Ok(())
    }

    /// The account `name`, if it has been made.
    fn account(&mut self, name: &str) -> Option<&mut Self::Account>;

    /// `PUT /_sim/{NAME}/{name}`: makes the account or changes its settings, and keeps its state.
    ///
    /// # Errors
    /// What is wrong with the name or the settings.
    fn put(
        &mut self,
        scene: &mut Scene<'_>,
        name: &str,
        call: &Request<'_>,
    ) -> Result<Value, Refusal>;

    /// `/_sim/{NAME}/{name}/{what}`: a control call that is not the same for every provider.
    ///
    /// # Errors
    /// What is wrong with the call.
    fn control(
        &mut self,
        scene: &mut Scene<'_>,
        name: &str,
        what: &str,
        call: &Request<'_>,
    ) -> Result<Step<Self>, Refusal>;

    /// Forgets everything but which ids were used.
    fn reset(&mut self) {
        *self = Self::default();
    }

    /// The account `name`.
    ///
    /// # Errors
    /// If it has not been made.
    fn known(&mut self, name: &str) -> Result<&mut Self::Account, Refusal> {
        self.account(name).ok_or_else(|| (404, format!("PUT /_sim/{}/{name} first", Self::NAME)))
    }
}

/// A webhook of one of the provider's accounts, on its way to the hub.
pub type Delivery<P> = <<P as SimulatedProvider>::Account as SimulatedAccount>::Delivery;

/// An account at a provider: what it shows, its faults, its webhooks.
pub trait SimulatedAccount: Debug + Send + 'static {
    /// A webhook on its way to the hub.
    type Delivery: Debug + Send + 'static;

    /// The control calls that several providers have and this one has too: the empty name (the
    /// account's figures), `accepted`, `reads`, `faults`, `window`.
    const CALLS: &'static [&'static str];

    /// Statuses after which the provider may have accepted a message although it answers with
    /// an error of its own.
    const IN_DOUBT: &'static [u16] = &[];

    /// What `GET /_sim/.../{what}` shows, for those of `CALLS` that show something.
    fn show(&self, what: &str, call: &Request<'_>) -> Option<Value>;

    /// The scripted faults, if the account can have some.
    fn faults(&mut self) -> Option<&mut Faults> {
        None
    }

    /// When each customer last wrote, and how many milliseconds the business may write freely
    /// after that; `None` where there is no such window.
    fn service_windows(&mut self) -> Option<(&mut ServiceWindows, i64)> {
        None
    }

    /// How many milliseconds after it was planned the first attempt of a webhook begins.
    /// `None`: at once.
    fn delay_ms(delivery: &Self::Delivery) -> Option<u64>;

    /// Prepares an attempt (from 1), and logs it.
    fn attempt(
        &mut self,
        scene: &mut Scene<'_>,
        delivery: &mut Self::Delivery,
        attempt: u32,
    ) -> Next;

    /// Notes how an attempt ended, `passed_ms` after the first one began. Returns how many
    /// milliseconds later the next one is; `None` if there is none.
    fn attempted(
        &mut self,
        scene: &mut Scene<'_>,
        delivery: &Self::Delivery,
        attempt: u32,
        passed_ms: u64,
        how: &Attempted,
    ) -> Option<u64>;

    /// Whether the delivery goes on with another webhook, which waited in line for this one to
    /// end. Its attempts are counted from 1 again.
    fn advance(&mut self, _delivery: &mut Self::Delivery) -> bool {
        false
    }

    /// The deliveries that can begin now because one has ended.
    fn released(&mut self) -> Vec<Self::Delivery> {
        Vec::new()
    }
}

/// What the next attempt of a delivery is.
#[derive(Clone, Debug)]
pub enum Next {
    /// A request to the hub.
    Send(OutgoingWebhook),
    /// A pause: the account has no address to send to yet.
    NoAddress,
    /// The end: nothing is left to send.
    Nothing,
}

impl Next {
    /// What goes to the hub, if anything does.
    #[must_use]
    pub fn webhook(self) -> Option<OutgoingWebhook> {
        match self {
            Self::Send(webhook) => Some(webhook),
            Self::NoAddress | Self::Nothing => None,
        }
    }
}

/// One attempt of a webhook, ready to go.
#[derive(Clone, Debug)]
pub struct OutgoingWebhook {
    /// The method.
    pub method: Method,
    /// The address.
    pub url: String,
    /// How long the attempt may take.
    pub timeout_ms: u64,
    /// The headers, with the proof of who sends it.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Copies that go side by side.
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

/// What a provider does with a request: an answer, and the webhooks of an account that follow.
#[derive(Debug)]
pub struct Reaction<P: SimulatedProvider> {
    /// For the caller.
    pub answer: Answer,
    /// The account.
    pub account: String,
    /// For the hub.
    pub deliveries: Vec<Delivery<P>>,
}

impl<P: SimulatedProvider> Reaction<P> {
    /// What an account does with a request.
    #[must_use]
    pub fn of(account: &str, outcome: Outcome<Delivery<P>>) -> Self {
        let Outcome { answer, deliveries } = outcome;
        Self { answer, account: account.to_owned(), deliveries }
    }
}

impl<P: SimulatedProvider> From<Answer> for Reaction<P> {
    fn from(answer: Answer) -> Self {
        Self { answer, account: String::new(), deliveries: Vec::new() }
    }
}

/// How the first attempts of webhooks ended; `None` where there was none.
pub type FirstAttempts = Vec<Option<Attempted>>;

/// Goes on with a control call when `T` is known.
pub type Then<P, T> = Box<dyn FnOnce(&mut P, &mut Scene<'_>, T) -> Result<Step<P>, Refusal> + Send>;

/// Looks whether the answer to a control call is there.
pub type Look<P> = Box<dyn FnMut(&mut P) -> Option<Value> + Send>;

/// What a control call comes to.
pub enum Step<P: SimulatedProvider> {
    /// The answer.
    Done(Value),
    /// Webhooks go out.
    Deliver {
        /// The account whose they are.
        account: String,
        /// The webhooks.
        deliveries: Vec<Delivery<P>>,
        /// Whether the caller waits for their first attempts.
        wait: bool,
        /// Goes on with how these ended; with none, if the caller does not wait.
        then: Then<P, FirstAttempts>,
    },
    /// One request goes out, outside of the webhooks.
    Ask {
        /// The request.
        request: OutgoingWebhook,
        /// Goes on with how it ended.
        then: Then<P, Attempted>,
    },
    /// Looks again and again for the answer.
    Poll {
        /// Finds it.
        look: Look<P>,
        /// The answer if it is not found in time.
        otherwise: Value,
    },
}

impl<P: SimulatedProvider> Step<P> {
    /// Webhooks go out. The answer is `fields`, with the status of the first webhook's first
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

    /// One webhook goes out that the hub must refuse. The answer is its `webhook_status`.
    #[must_use]
    pub fn forge(account: &str, delivery: Delivery<P>) -> Self {
        Self::then(account, vec![delivery], true, |_, _, first| {
            let status = first.into_iter().next().flatten().map(|how| how.status);
            Ok(Self::Done(json!({"webhook_status": status})))
        })
    }

    /// Webhooks go out, and `then` goes on.
    pub fn then(
        account: &str,
        deliveries: Vec<Delivery<P>>,
        wait: bool,
        then: impl FnOnce(&mut P, &mut Scene<'_>, FirstAttempts) -> Result<Self, Refusal>
        + Send
        + 'static,
    ) -> Self {
        Self::Deliver { account: account.to_owned(), deliveries, wait, then: Box::new(then) }
    }
}
